
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to the engine host: llm_host.c (lease, door, threads, messages),
 * llm_instance.c (one configured model and its scheduler), llm_job.c (one
 * request, from its slot to its sequences and back), llm_grant.c (its tokens).
 */


#ifndef _LLM_HOST_H_INCLUDED_
#define _LLM_HOST_H_INCLUDED_


#include <pthread.h>
#include <stdatomic.h>

#include "llm_engine.h"
#include "llm_request.h"
#include "llm_sched.h"


typedef struct llm_job_s       llm_job_t;
typedef struct llm_instance_s  llm_instance_t;


/* one configured engine.  Written by the host thread before its scheduler
 * thread starts and after it was joined; atomics say more */
struct llm_instance_s {
    llm_host_t            *host;
    llm_engine_conf_t      conf;
    uint64_t               hash;        /* of the name */
    llm_engine_status_t   *status;      /* in the zone */
    llm_sched_stats_t      base;        /* of counters, by former holders */

    llm_model_t           *model;
    llm_tokenizer_t       *tok;
    llm_template_t        *chat;
    char                  *bos;
    char                  *eos;
    llk_t                 *be;
    llm_ctx_t             *ctx;
    llm_sched_t           *sched;
    llm_request_env_t      env;
    uint64_t               build;       /* llm_build() */

    pthread_t              thread;
    int                    started;
    _Atomic int            stop;
    _Atomic int            jobs;        /* taken and not ended */
    char                   failure[LLM_ERRLEN];     /* "" if it serves */
};


/* a request that this host has taken.  One thread at a time has it: host,
 * then intake, then scheduler, then, when events are left over, host */
struct llm_job_s {
    llm_instance_t  *instance;
    llm_job_t       *next;              /* in a queue of the host */

    int              slot;
    uint32_t         gen;
    int              n_choice;
    int              n_open;            /* choices not yet finished */
    int              failed;            /* 1: an error event was pushed;
                                           2: it must be, memory ran out */

    llm_event_t     *backlog;           /* what the full ring did not take */
    size_t           backlog_first;
    size_t           backlog_len;
    size_t           backlog_size;

    uint64_t         account;           /* 0: none */
    uint64_t         granted;           /* tokens in all */
    uint64_t         spare;             /* of these, left by ended choices */

    struct llm_choice_s {
        llm_job_t   *job;
        int          index;
        uint32_t     granted;           /* tokens to generate */
        uint32_t     room;              /* it can't use more */
        uint64_t     told_us;           /* the last text; 0: none, or its
                                           client was slow since */
    }                choice[LLM_CHOICES_MAX];
};


typedef struct {
    llm_job_t   *first;
    llm_job_t  **last;
} llm_job_queue_t;


struct llm_host_s {
    llm_zone_t       *zone;
    pid_t             master;
    uint64_t          hash;             /* of the configuration */
    llm_grant_pt      grant;            /* or NULL */
    void             *grant_data;
    llm_gpu_status_t *gpu;              /* or NULL */

    int               n_instance;
    llm_instance_t   *instance;

    pthread_t         thread;
    int               fd;               /* to the caller's event loop */
    _Atomic int       holds;
    _Atomic int       retired;
    _Atomic int       stop;
    _Atomic int       left;

    pthread_mutex_t   mutex;            /* what follows */
    pthread_cond_t    cond;             /* intake: work or stop */
    llm_job_queue_t   intake;
    llm_job_queue_t   leftover;         /* ended but for their backlog */
    int               intake_stop;
    struct llm_message_s  *messages;
    struct llm_message_s **messages_last;
};


/* llm_host.c */
void llm_host_log(llm_host_t *host, llm_log_e level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void llm_job_queue_init(llm_job_queue_t *q);
void llm_job_queue_push(llm_job_queue_t *q, llm_job_t *job);
llm_job_t *llm_job_queue_pop(llm_job_queue_t *q);

/* llm_instance.c: what a directory has but for its weights' bytes; on failure
 * too, what was opened is the caller's to close */
int llm_model_files(llm_model_t **model, llm_tokenizer_t **tok,
    llm_template_t **chat, char **bos, char **eos, const char *dir, char *err,
    size_t errlen);

/* open (the model is loaded, the scheduler runs) and close;
 * a failure is kept in instance->failure and told to each request */
void llm_instance_open(llm_instance_t *in);
void llm_instance_close(llm_instance_t *in);

/* requests that it may have at a time, now */
int llm_instance_room(const llm_instance_t *in);

/* llm_job.c */

/* host thread: a taken slot becomes a job for intake, or is refused */
void llm_job_start(llm_host_t *host, int slot, uint32_t gen);

/* intake thread */
void llm_job_intake(llm_job_t *job);

/* host thread: 1 when the backlog is gone and the job with it */
int llm_job_finish_leftover(llm_job_t *job);

/* the end without an answer: status, code and message for the client */
void llm_job_fail(llm_job_t *job, int status, uint32_t retry_after,
    const char *code, const char *param, const char *message);


/* llm_grant.c */

/* intake thread: ask for a request's tokens; LLM_OK and each choice's granted,
 * 0 where none is asked; else g says what to answer */
int llm_job_grant(llm_job_t *job, const llm_request_t *rq, llm_grant_t *g);

/* scheduler thread: llm_seq_handler_t's more(), and a choice's end */
uint32_t llm_choice_more(void *data, uint32_t used);
void llm_choice_spare(llm_job_t *job, int choice, uint32_t used);


#endif /* _LLM_HOST_H_INCLUDED_ */
