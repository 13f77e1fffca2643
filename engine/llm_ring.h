
/*
 * Copyright (C) nginx-llm contributors
 *
 * The whole contract between nginx's workers and the engine: one zone of
 * shared memory that every process of the host inherits from the master.
 *
 *     worker                                engine (the lease's holder)
 *     claim a slot, write the body,
 *     submit                ---- door --->  take, parse, queue, generate
 *     pop events            <--- ready ---  push events
 *     release
 *
 * A slot's life is one atomic word, (generation, owning worker, state):
 *
 *     FREE -> CLAIMED -> SUBMITTED -> ACTIVE -> ENDED -> FREE
 *                                       |
 *                                    CANCEL -> FREE
 *
 * The worker claims, submits, cancels and releases; the engine takes, ends,
 * and frees what was cancelled.  The generation grows with every FREE, so a
 * late event can't hit a new owner: an event carries the generation that it
 * was made for, and the reader drops any other.
 *
 * Nothing here waits.  Either side may be killed at any instruction: the other
 * one, or its successor, brings the slots back (llm_worker_attach(),
 * llm_zone_takeover()).  What is read from the zone is checked before use:
 * indexes and lengths may be a dead process's half-done work.
 *
 * Wake-ups are eventfds that the master makes once; their numbers are in the
 * zone and mean the same file in every child.
 */


#ifndef _LLM_RING_H_INCLUDED_
#define _LLM_RING_H_INCLUDED_


#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "llm.h"
#include "llm_params.h"


#define LLM_ZONE_MAGIC      0x314d4c4c58474eull     /* "NGXLLM1" */
#define LLM_ZONE_VERSION    4

#define LLM_ZONE_SLOTS      1024     /* requests at a time, all engines */
#define LLM_ZONE_WORKERS    128      /* processes, old generations included */
#define LLM_ZONE_ENGINES    16
#define LLM_ZONE_BATCHES    10       /* 1, 2, 4, ... 256 sequences, more */
#define LLM_ZONE_EVENTS     128      /* per slot; a power of two */
#define LLM_ZONE_BLOCKS     4096     /* of request bodies, shared by all */
#define LLM_ZONE_BLOCK      16384    /* bytes */
#define LLM_BODY_MAX        (LLM_ZONE_BLOCKS / 2 * LLM_ZONE_BLOCK)

#define LLM_EVENT_TEXT      48       /* bytes of text in an event */


typedef enum {
    LLM_SLOT_FREE = 0,
    LLM_SLOT_CLAIMED,
    LLM_SLOT_SUBMITTED,
    LLM_SLOT_ACTIVE,
    LLM_SLOT_CANCEL,
    LLM_SLOT_ENDED
} llm_slot_e;


typedef enum {
    LLM_EVENT_ACCEPT = 1,   /* u.accept: the request is well-formed, queued */
    LLM_EVENT_TEXT_PIECE,   /* text: whole characters of choice */
    LLM_EVENT_FINISH,       /* u.finish: choice has ended */
    LLM_EVENT_CODE,         /* text: a piece of the error's code */
    LLM_EVENT_PARAM,        /* text: a piece of the offending field's path */
    LLM_EVENT_MESSAGE,      /* text: a piece of the error's message */
    LLM_EVENT_ERROR,        /* u.error: what to answer; the last event */
    LLM_EVENT_END           /* every choice has finished; the last event */
} llm_event_e;


/* one cache line */
typedef struct {
    uint32_t  gen;
    uint8_t   type;         /* llm_event_e */
    uint8_t   len;          /* of text */
    uint8_t   choice;
    uint8_t   finish;       /* llm_finish_e */
    uint32_t  n_token;      /* new tokens that the text stands for */
    uint32_t  gap_us;       /* of text: since the choice's last, 0: first */

    union {
        char      text[LLM_EVENT_TEXT];

        struct {
            uint32_t         prompt_tokens;
            uint8_t          stream;
            uint8_t          include_usage;
            uint8_t          n_choice;
            uint8_t          pad;
            llm_effective_t  effective;
            uint64_t         seed;      /* of a prompt's first choice, those
                                           after it count on */
            uint64_t         build;     /* llm_build() of what answers */
        } accept;

        struct {
            uint32_t  prompt_tokens;
            uint32_t  cached_tokens;
            uint32_t  completion_tokens;
            uint32_t  pad;
            uint64_t  queued_us;
            uint64_t  first_us;
            uint64_t  total_us;
        } finish;

        struct {
            uint32_t  status;
            uint32_t  retry_after;      /* seconds; 0: not given */
        } error;
    } u;
} llm_event_t;

_Static_assert(sizeof(llm_event_t) == 64, "an event is a cache line");


typedef struct {
    /* set by the worker before SUBMITTED, read-only afterwards */
    uint64_t           ticket;      /* order of arrival */
    uint64_t           engine;      /* llm_engine_hash() of its name */
    uint64_t           account;     /* whose tokens it uses, 0: none */
    uint32_t           api;         /* llm_api_e */
    uint32_t           body_len;
    int32_t            body_first;  /* chain of blocks, -1: none */
    int32_t            body_last;

    _Atomic uint32_t   streamed;    /* an answer began: can't be run again */
    _Atomic uint32_t   want_door;   /* the engine waits for room */

    /* events head to tail - 1; head is the worker's, tail the engine's */
    _Alignas(64) _Atomic uint32_t  head;
    _Alignas(64) _Atomic uint32_t  tail;
    _Alignas(64) llm_event_t       event[LLM_ZONE_EVENTS];
} llm_slot_t;


typedef struct {
    _Atomic int32_t    pid;         /* 0: free */
    int32_t            fd;          /* eventfd */
    _Atomic uint32_t   pending;     /* fd was written and not yet read */
    uint32_t           pad;
    _Atomic uint64_t   ready[LLM_ZONE_SLOTS / 64];
} llm_worker_t;


typedef enum {
    LLM_ENGINE_NONE = 0,
    LLM_ENGINE_LOADING,
    LLM_ENGINE_READY,
    LLM_ENGINE_FAILED
} llm_engine_state_e;


/* what an engine tells of itself; written by the holder only, each by one of
 * its threads */
typedef struct {
    _Atomic uint64_t   hash;
    _Atomic uint32_t   state;       /* llm_engine_state_e */
    _Atomic uint32_t   running;
    _Atomic uint32_t   waiting;
    _Atomic uint32_t   blocks_used;
    _Atomic uint32_t   blocks;
    _Atomic uint32_t   max_batch;   /* sequences in a step, now at most */
    _Atomic uint32_t   queue;       /* requests that may wait, now */
    uint32_t           pad;

    /* counters, which the next holder goes on with.  counted: the hash of the
     * engine that they are of; another one begins at 0 */
    _Atomic uint64_t   counted;
    _Atomic uint64_t   steps;
    _Atomic uint64_t   step_us;     /* that they took */
    _Atomic uint64_t   batched;     /* sequences in them */
    _Atomic uint64_t   batch[LLM_ZONE_BATCHES];     /* steps, by sequences:
                                       [i] up to 1 << i, the last: more */
    _Atomic uint64_t   prefill_tokens;
    _Atomic uint64_t   decode_tokens;
    _Atomic uint64_t   prefix_asked;    /* prompt tokens looked for in it */
    _Atomic uint64_t   prefix_hit;      /* found */
    _Atomic uint64_t   preemptions;
} llm_engine_status_t;

_Static_assert(sizeof(llm_engine_status_t) == 8 + 8 * 4 + 8 * 19,
               "no holes");


/* the live parameters of an engine: copy[turn % 2] holds, the other is written
 * under params_lock */
typedef struct {
    _Atomic uint32_t       turn;
    uint32_t               pad;

    struct {
        _Atomic uint64_t   hash;    /* of the engine's name, 0: free */
        _Atomic uint32_t   set;     /* 1 << llm_param_e */
        uint32_t           pad;
        _Atomic uint64_t   value[LLM_PARAMS];   /* bits of a double */
    } copy[2];
} llm_params_t;

_Static_assert(sizeof(llm_params_t) == 8 + 2 * (16 + 8 * LLM_PARAMS),
               "no holes");
_Static_assert(sizeof(double) == 8, "a parameter's bits");


typedef struct {
    uint64_t             magic;
    uint32_t             version;
    uint32_t             size;

    pthread_mutex_t      lease;     /* robust: whose holder has the weights */
    _Atomic int32_t      holder;    /* its process, 0: none */
    _Atomic uint32_t     takeovers;
    _Atomic uint64_t     wanted;    /* hash of the configuration in force */
    _Atomic uint64_t     held;      /* of the holder's */

    int32_t              door;      /* eventfd: workers to the engine */
    _Atomic uint32_t     door_pending;
    _Atomic uint64_t     ticket;
    _Atomic uint32_t     block_hint;
    _Atomic uint32_t     deaths;    /* of holders, with the lease */

    llm_engine_status_t  engine[LLM_ZONE_ENGINES];

    pthread_mutex_t      params_lock;       /* robust: who writes */
    llm_params_t         params[LLM_ZONE_ENGINES];

    llm_worker_t         worker[LLM_ZONE_WORKERS];

    /* the words of the slots stand together: the engine scans them */
    _Alignas(64) _Atomic uint64_t  word[LLM_ZONE_SLOTS];
    llm_slot_t           slot[LLM_ZONE_SLOTS];

    _Atomic uint32_t     block_owner[LLM_ZONE_BLOCKS];  /* slot + 1 */
    int32_t              block_next[LLM_ZONE_BLOCKS];
    char                 block[LLM_ZONE_BLOCKS][LLM_ZONE_BLOCK];
} llm_zone_t;


/* FNV-1a of an engine's name; never 0 */
uint64_t llm_engine_hash(const char *name, size_t len);


/* master: format zeroed memory of sizeof(llm_zone_t) and make the eventfds;
 * done() closes them */
int llm_zone_init(llm_zone_t *z, char *err, size_t errlen);
void llm_zone_done(llm_zone_t *z);

/* 1 when magic, version and size are this build's */
int llm_zone_valid(const llm_zone_t *z);

/* counts for tests and metrics */
int llm_zone_slots_used(llm_zone_t *z);
int llm_zone_blocks_used(llm_zone_t *z);
int llm_zone_workers(llm_zone_t *z);             /* registered and alive */


/*
 * Live parameters of an engine, by its llm_engine_hash(); any process and
 * thread.  set() replaces all of them: LLM_INVALID when one is out of range,
 * LLM_AGAIN when no entry is free, LLM_ERROR when the lock is broken.  A set of
 * none frees the entry: to be done when an engine leaves the configuration.
 * The engine uses them from its next step and the next request on.
 *
 * get(): LLM_NOTFOUND, *v without values, when none are set.
 */
int llm_zone_params_set(llm_zone_t *z, uint64_t engine,
    const llm_param_values_t *v);
int llm_zone_params_get(llm_zone_t *z, uint64_t engine,
    llm_param_values_t *v);


/*
 * Worker: take a place under pid, bringing back what a dead predecessor left.
 * Returns its number, or LLM_AGAIN when all places are taken.
 */
int llm_worker_attach(llm_zone_t *z, pid_t pid);
void llm_worker_detach(llm_zone_t *z, int w);

/* bring back the slots of workers that died; returns how many died */
int llm_worker_reap(llm_zone_t *z);

/* worker, when its eventfd is readable: begin, then next until -1 */
void llm_worker_ready_begin(llm_zone_t *z, int w);
int llm_worker_ready_next(llm_zone_t *z, int w);


/* worker: a slot number, or LLM_AGAIN when none is free */
int llm_slot_claim(llm_zone_t *z, int w);

/* append to the body: LLM_AGAIN when the zone has no room now,
 * LLM_INVALID past LLM_BODY_MAX */
int llm_slot_write(llm_zone_t *z, int slot, const void *p, size_t len);

/* account: for the engine's llm_grant_pt, 0: it is not asked */
void llm_slot_submit(llm_zone_t *z, int slot, uint64_t engine, uint32_t api,
    uint64_t account);

/* 1 and *ev, or 0 when there is none */
int llm_slot_pop(llm_zone_t *z, int slot, llm_event_t *ev);

/* worker: done with the slot, in whatever state it is */
void llm_slot_release(llm_zone_t *z, int slot);

/* the state and generation now */
llm_slot_e llm_slot_state(llm_zone_t *z, int slot);
uint32_t llm_slot_gen(llm_zone_t *z, int slot);


/* engine: after the lease was taken: slots that a dead holder left ACTIVE are
 * submitted again if no answer has begun, else failed by an error
 * event; cancelled ones are freed */
void llm_zone_takeover(llm_zone_t *z);

/* engine: SUBMITTED -> ACTIVE, *gen set; LLM_CANCELLED if it went away */
int llm_slot_take(llm_zone_t *z, int slot, uint32_t *gen);

/* engine: 1 while the worker wants the answer */
int llm_slot_wanted(llm_zone_t *z, int slot, uint32_t gen);

/* engine: append the body to b; LLM_INVALID when the chain is broken */
int llm_slot_body(llm_zone_t *z, int slot, llm_buf_t *b);

/* engine, one thread at a time for a slot: LLM_AGAIN when the ring is full
 * (the worker will ring the door when there is room) */
int llm_slot_push(llm_zone_t *z, int slot, uint32_t gen, llm_event_t *ev);

/* engine: wake the slot's worker after pushes */
void llm_slot_notify(llm_zone_t *z, int slot, uint32_t gen);

/* engine: ACTIVE -> ENDED, or CANCEL -> FREE */
void llm_slot_end(llm_zone_t *z, int slot, uint32_t gen);

/* anybody: wake the engine; the engine: about to look at the slots */
void llm_zone_ring(llm_zone_t *z);
void llm_zone_answer(llm_zone_t *z);


#endif /* _LLM_RING_H_INCLUDED_ */
