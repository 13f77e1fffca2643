
/*
 * Copyright (C) nginx-llm contributors
 *
 * The engine host: what the helper process of nginx runs.  It waits for the
 * lease on the shared zone, opens the configured models, and serves the
 * zone's requests until it is told to leave.
 *
 * Threads, all with every signal blocked:
 *     host       waits for the lease, loads, then answers the door: takes
 *                requests, watches for dead workers and a dead master
 *     intake (2) parse, template and tokenise request bodies
 *     scheduler  one an engine: llm_sched_step() and its back end's threads
 *     GPU        looks at them every few seconds, where there are any
 *
 * The caller's thread only starts, asks and stops; it learns of messages and
 * of the end by an eventfd (llm_host_fd()).
 */


#ifndef _LLM_ENGINE_H_INCLUDED_
#define _LLM_ENGINE_H_INCLUDED_


#include "llm.h"
#include "llm_gpu.h"
#include "llm_ring.h"
#include "../kernels/llk.h"


typedef struct {
    char          name[64];
    char          model[1024];      /* a directory */
    llk_device_e  device;
    int           threads;          /* 0: one a CPU */
    int           context;          /* 0: the model's, 8192 at most */
    int           max_batch;        /* sequences in a step, at most */
    int           queue;            /* requests that wait beyond these */
    uint64_t      kv_cache;         /* bytes, at most */
} llm_engine_conf_t;


/*
 * The tokens of a request, asked for before they are used.  Totals: prompts
 * and completions of all choices, with what was granted to the request before
 * (which a request that is run again after a holder's death asks for again).
 */
typedef struct {
    uint64_t      account;      /* that llm_slot_submit() was given */
    uint64_t      want;
    uint64_t      least;        /* less is of no use */
    uint64_t      got;          /* set when granted */

    int           status;       /* set when refused: HTTP, for the client */
    uint32_t      retry;        /* seconds, 0: not given */
    char          code[48];
    char          message[LLM_ERRLEN];
} llm_grant_t;


/*
 * LLM_OK: got is at least least (what is above want is not used).  LLM_AGAIN:
 * refused, nothing granted; status, retry, code and message are for a request
 * that has not begun.  One that has ends with "length".
 *
 * Called on any engine thread, several at a time; must not block.
 */
typedef int (*llm_grant_pt)(void *data, llm_grant_t *g);


typedef struct llm_host_s  llm_host_t;


/* hash of all that a holder must agree on to stay over a reload: the
 * configurations and the model files' identity (inode, size, mtime) */
uint64_t llm_engine_conf_hash(const llm_engine_conf_t *conf, int n);

/*
 * Opens everything of the model that can be malformed and closes it again:
 * for a configuration test.  Reads no weights, starts no thread.
 */
int llm_engine_check(const llm_engine_conf_t *conf, char *err,
    size_t errlen);


/*
 * Start waiting for the lease; conf is copied, the zone borrowed.  hash: of
 * the configuration, as whoever sets zone->wanted computed it.  master: the
 * process whose death ends this host once no worker lives; 0: none.  grant:
 * asked, with data, for the tokens of requests with an account; NULL: all are
 * granted.  gpu: where the holder writes what the GPUs do; NULL: nowhere.
 */
int llm_host_start(llm_host_t **host, llm_zone_t *zone,
    const llm_engine_conf_t *conf, int n, uint64_t hash, pid_t master,
    llm_grant_pt grant, void *data, llm_gpu_status_t *gpu, char *err,
    size_t errlen);

/* readable when there are messages or the host has left */
int llm_host_fd(llm_host_t *host);

/* the next message, or 0 */
int llm_host_message(llm_host_t *host, llm_log_e *level, char *buf,
    size_t len);

/* 1 once the host has left by itself: the process may go */
int llm_host_left(llm_host_t *host);

/* 1 if this host holds the lease */
int llm_host_holds(llm_host_t *host);

/*
 * The process was asked to quit.  1: the host goes on, and will leave when no
 * worker lives; swallow the quit.  0: nothing holds the process.
 *
 * A holder whose configuration is not the one in force (zone->wanted) takes
 * no more requests, finishes those that it has, gives the lease back and
 * leaves, asked or not: requests wait in the zone for the next holder.
 */
int llm_host_retire(llm_host_t *host);

/* end every request with an error event, join all threads, free everything.
 * NULL is fine */
void llm_host_stop(llm_host_t *host);


#endif /* _LLM_ENGINE_H_INCLUDED_ */
