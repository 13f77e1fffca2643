
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics: what nginx's workers have counted, in memory that they share and
 * that outlives each of them, the last hour of it, and its text for
 * Prometheus.
 *
 *     llm_metrics_model()        a model's number, once a request
 *     llm_metrics_first()        its first token
 *     llm_metrics_token()        more tokens, and the time since the last
 *     llm_metrics_request()      it has ended
 *     llm_metrics_sample()       every ten seconds: the next sample of history
 *     llm_metrics_text()         all of it as text
 *     llm_metrics_now(), llm_metrics_at()        numbers, for alerts and charts
 *
 * Everything is relaxed atomics that any process and thread may add to at any
 * time: no call waits or locks, none but llm_metrics_text() allocates, and one
 * that was killed in the middle leaves a count that is short by one at most.
 * Counters only grow (but for 64 bits' end).  Numbers of a model, client or
 * code are checked where they are used.
 *
 * Times that are counted are microseconds; the history's clock is
 * CLOCK_MONOTONIC in milliseconds, the same for all processes of the host.
 *
 * Engines are models, by name; models of other servers follow as they answer,
 * up to LLM_METRICS_MODELS in all, and what comes after them is "other" (so is
 * what has that name, or "none").  Clients and error codes are bounded in the
 * same way.  Names are kept as llm_call_text() has them.
 */


#ifndef _LLM_METRICS_H_INCLUDED_
#define _LLM_METRICS_H_INCLUDED_


#include <sys/types.h>

#include "../../engine/llm.h"
#include "../../engine/llm_gpu.h"
#include "../../engine/llm_ring.h"
#include "../store/llm_calls.h"
#include "../store/llm_store.h"


#define LLM_METRICS_MODELS    48        /* with a name */
#define LLM_METRICS_CLIENTS   256
#define LLM_METRICS_CODES     96        /* of refusals */
#define LLM_METRICS_NAME      64        /* bytes, cut beyond */
#define LLM_METRICS_FINISHES  5         /* llm_finish_e */

#define LLM_METRICS_OTHER     LLM_METRICS_MODELS        /* model "other" */
#define LLM_METRICS_NOMODEL   (LLM_METRICS_MODELS + 1)  /* model "none" */

#define LLM_METRICS_PERIOD    10000     /* ms between samples */
#define LLM_METRICS_SAMPLES   376       /* more than an hour of them */

#define LLM_METRICS_BOUNDS    30        /* of a histogram of times */
#define LLM_METRICS_BUCKETS   (LLM_METRICS_BOUNDS + 1)

#define LLM_METRICS_UNKNOWN   UINT64_MAX        /* a time that is not known */


typedef struct llm_metrics_s  llm_metrics_t;


/* upper bounds, microseconds, ascending; the last bucket has none.  500,000
 * and 1,000,000 are among them */
extern const uint64_t  llm_metrics_bound[LLM_METRICS_BOUNDS];


/* bytes of shared memory */
size_t llm_metrics_size(void);

/* format zeroed shared memory, aligned to 64 bytes; the master, once.
 * Untouched pages stay so.  now: unix milliseconds, of nginx's start */
int llm_metrics_init(llm_metrics_t *m, size_t size, int64_t now, char *err,
    size_t errlen);

/* 1 when the memory is this build's; size: bytes there are */
int llm_metrics_valid(const llm_metrics_t *m, size_t size);

/* the engines of the configuration, LLM_ZONE_ENGINES at most; the master, at
 * init and at every reload.  LLM_FULL: not all have a place of their own */
int llm_metrics_engines(llm_metrics_t *m, const char *const *name, int n);


/* ---- counting ---- */

/* a model's number, for below.  add: give it one when it has none; else, or
 * when all are taken, LLM_METRICS_OTHER.  len 0: LLM_METRICS_NOMODEL.  Have
 * models added only when they answered: names come from clients */
uint32_t llm_metrics_model(llm_metrics_t *m, const char *name, size_t len,
    int add);

/* from a request's arrival to its first token */
void llm_metrics_first(llm_metrics_t *m, uint32_t model, uint64_t us);

/* n more tokens were generated, us after those before them */
void llm_metrics_token(llm_metrics_t *m, uint32_t model, uint32_t n,
    uint64_t us);

/* a request that has ended.  Zero it, set what is known */
typedef struct {
    uint32_t     model;
    uint32_t     status;            /* HTTP; 499: the client went first */
    const char  *client;            /* NULL: not known */
    size_t       client_len;
    const char  *code;              /* of the error, NULL: none */
    size_t       code_len;
    uint64_t     prompt_tokens;
    uint64_t     completion_tokens;
    uint64_t     counted;           /* of these, by llm_metrics_token() */
    uint64_t     queue_us;          /* or LLM_METRICS_UNKNOWN, as below */
    uint64_t     ttft_us;           /* counted by llm_metrics_first() */
    uint64_t     total_us;
    uint32_t     finish[LLM_METRICS_FINISHES];  /* choices, by llm_finish_e */
    unsigned     refused:1;         /* by us: code counts */
    unsigned     cancelled:1;       /* by its client */
    unsigned     generates:1;       /* its times are a model's */
} llm_metrics_request_t;

void llm_metrics_request(llm_metrics_t *m, const llm_metrics_request_t *q);

/* call records that the store could not take */
void llm_metrics_lost(llm_metrics_t *m, uint64_t n);


/*
 * The audit, whose writers say how it stands.  Times are CLOCK_MONOTONIC in
 * milliseconds (llm_metrics_clock()).
 *
 * committed: n records are durable, us after the first was posted.  failed: n
 * could not be written.  waiting: the oldest record of process pid that waits
 * was posted at since, 0: none waits; what a dead process said is passed over.
 * writable: 0 or 1.  unsigned: there are records without a signature since
 * then, 0: none; any process, the last says it.  kept: 0 when the configuration
 * has no trail, and how one stood is told no more; the master, at init and at
 * every reload.
 */
void llm_metrics_audit_committed(llm_metrics_t *m, uint64_t n, uint64_t us);
void llm_metrics_audit_failed(llm_metrics_t *m, uint64_t n);
void llm_metrics_audit_waiting(llm_metrics_t *m, pid_t pid, int64_t since);
void llm_metrics_audit_writable(llm_metrics_t *m, int writable);
void llm_metrics_audit_unsigned(llm_metrics_t *m, int64_t since);
void llm_metrics_audit_kept(llm_metrics_t *m, int kept);

/* forget what dead processes said: a worker when it starts, before another
 * process gets the number of one that was killed */
void llm_metrics_reap(llm_metrics_t *m);

int64_t llm_metrics_clock(void);                /* ms */


typedef enum {
    LLM_METRICS_KEYS = 0,       /* data.mdb */
    LLM_METRICS_CALLS,          /* calls.mdb */
    LLM_METRICS_AUDIT,          /* audit.mdb */
    LLM_METRICS_STORES
} llm_metrics_store_e;

/* how the stores stand, found out by who looked last */
typedef struct {
    uint64_t  bytes[LLM_METRICS_STORES];    /* in use; 0: not there */
    uint64_t  map[LLM_METRICS_STORES];      /* that it may have, 0: no limit */
    uint64_t  active;                       /* keys, with those expiring */
    uint64_t  expiring;                     /* of them, within 14 days */
    uint64_t  expired;
    uint64_t  revoked;
    uint64_t  next_expiry;                  /* unix seconds, 0: none */
    uint64_t  known;                        /* 1; 0: nobody looked yet */
} llm_metrics_stores_t;

void llm_metrics_stores_set(llm_metrics_t *m, const llm_metrics_stores_t *st);

/*
 * Should this caller look now?  1: it should, by llm_metrics_stores_look(), and
 * nobody else will for a while.  Keys are counted again when the store has
 * changed (txnid: llm_store_txnid()) or one of them has come near its end;
 * sizes are read once a minute.  time: llm_metrics_clock(), now: unix seconds.
 */
int llm_metrics_stores_due(llm_metrics_t *m, uint64_t txnid, int64_t time,
    int64_t now);

/* reads, and waits for the disk: on a thread, with its handles; calls: NULL
 * when there is none.  What can't be read stays as it was */
int llm_metrics_stores_look(llm_metrics_t *m, llm_store_t *store,
    llm_calls_t *calls, int64_t now, int64_t max_age, char *err,
    size_t errlen);

/* where the holder of the models writes what the GPUs do (llm_gpu_start()) */
llm_gpu_status_t *llm_metrics_gpus(llm_metrics_t *m);


/* ---- reading ---- */

/*
 * One engine, or all models together; what asks for no model (administration,
 * probes, scrapes) is in neither.  Counters are those since the start
 * of nginx; what is in a time is the difference of two rows
 * (llm_metrics_diff()).  Buckets are not cumulative.
 */
typedef struct {
    uint64_t  requests[6];      /* [status / 100]; [0]: none */
    uint64_t  refused;
    uint64_t  cancelled;
    uint64_t  prompt_tokens;
    uint64_t  completion_tokens;
    uint64_t  ttft[LLM_METRICS_BUCKETS];
    uint64_t  total[LLM_METRICS_BUCKETS];   /* arrival to end: e2e */
    uint64_t  gap[LLM_METRICS_BUCKETS];     /* between tokens */

    /* of engines (of all together: sums); 0 without */
    uint64_t  steps;
    uint64_t  batched;          /* sequences in them: / steps is the batch */
    uint64_t  preemptions;

    /* as it stands: no counters */
    uint64_t  state;            /* llm_engine_state_e; of all: the worst */
    uint64_t  running;          /* sequences */
    uint64_t  waiting;          /* requests */
    uint64_t  max_batch;
    uint64_t  queue;            /* limit of waiting */
    uint64_t  kv_used;          /* blocks */
    uint64_t  kv_total;
} llm_metrics_row_t;


/* of a GPU, by its index; llm_gpu.h has the units */
typedef struct {
    uint64_t  present;
    uint64_t  known;            /* llm_gpu_known_e: the others are 0 */
    uint64_t  utilization;
    uint64_t  power;
    uint64_t  temperature;
    uint64_t  memory_used;
    uint64_t  memory_total;
    uint64_t  ecc;              /* counter */
    uint64_t  xid;              /* counter */
} llm_metrics_gpu_t;


/* what is the host's */
typedef struct {
    int64_t               time;         /* CLOCK_MONOTONIC, ms */
    int64_t               wall;         /* unix ms */
    uint64_t              workers;
    uint64_t              restarts;     /* of the engines' process, after its
                                           death: counter */
    uint64_t              lost;         /* call records: counter */
    uint64_t              audit_records;        /* counter */
    uint64_t              audit_failures;       /* counter */
    uint64_t              audit_lag;            /* ms */
    uint64_t              audit_writable;       /* 1; 0: no; 2: not known */
    uint64_t              audit_unsigned;       /* ms; 0: all are signed */
    llm_metrics_stores_t  stores;
    llm_metrics_gpu_t     gpu[LLM_GPU_MAX];
} llm_metrics_host_t;

_Static_assert(sizeof(llm_metrics_row_t) % 8 == 0
               && sizeof(llm_metrics_host_t) % 8 == 0, "words");


/* now.  zone: the engines', NULL: none.  engine: a name, NULL: all together.
 * LLM_NOTFOUND: no such engine in the configuration */
int llm_metrics_now(llm_metrics_t *m, llm_zone_t *zone, const char *engine,
    llm_metrics_row_t *row);
void llm_metrics_now_host(llm_metrics_t *m, llm_zone_t *zone,
    llm_metrics_host_t *host);

/*
 * Take a sample when one is due: 1 when it was taken by this call.  Any
 * process; the first one that comes takes it.  wall: unix ms.
 */
int llm_metrics_sample(llm_metrics_t *m, llm_zone_t *zone, int64_t time,
    int64_t wall);

/* the samples that there may be, by number: first to last, 0 and 0: none */
void llm_metrics_range(llm_metrics_t *m, uint64_t *first, uint64_t *last);

/*
 * A sample.  row and host: NULL when not wanted; time: what host->time has,
 * may be NULL.  LLM_NOTFOUND: it was overwritten, its writer died or is at it,
 * or the engine was not there then.
 */
int llm_metrics_at(llm_metrics_t *m, uint64_t number, const char *engine,
    llm_metrics_row_t *row, llm_metrics_host_t *host, int64_t *time);

/*
 * The newest sample that is not younger than ms at time, as llm_metrics_at();
 * the oldest there is when all are younger.  LLM_NOTFOUND: there is none.
 */
int llm_metrics_before(llm_metrics_t *m, int64_t time, int64_t ms,
    const char *engine, llm_metrics_row_t *row, llm_metrics_host_t *host,
    int64_t *when);

/* d = b - a of the counters, 0 where one ran backwards; what is no counter is
 * b's.  d may be b */
void llm_metrics_diff(llm_metrics_row_t *d, const llm_metrics_row_t *a,
    const llm_metrics_row_t *b);

/* seconds below which the part q (0..1) of a histogram lies, as Prometheus has
 * it: straight lines within a bucket, the last bound for what is above it.
 * Below 0: the histogram is empty */
double llm_metrics_quantile(const uint64_t bucket[LLM_METRICS_BUCKETS],
    double q);


/* append the text, format 0.0.4; LLM_NOMEM.  time: llm_metrics_clock() */
int llm_metrics_text(llm_metrics_t *m, llm_zone_t *zone, const char *version,
    int64_t time, llm_buf_t *text);

/* a label's value, escaped; len bytes of UTF-8, dst: 2 * len + 1.  Returns its
 * end, where a zero is */
char *llm_metrics_label(char *dst, const char *value, size_t len);


#endif /* _LLM_METRICS_H_INCLUDED_ */
