
/*
 * Copyright (C) nginx-llm contributors
 *
 * The metrics' shared memory, for the files of the metrics only.
 *
 * What never changes after init comes first; all else is atomics, each of its
 * own.  Tables of names only grow: an entry is claimed by its hash, its name
 * is written, then it is published.  Who finds a claim of the same hash writes
 * the same name again, so a writer that died in between leaves nothing undone
 * and no name gets two entries.
 *
 * Pages of models, rows and samples that nobody used are never touched, not
 * even for reading.
 */


#ifndef _LLM_METRICS_INT_H_INCLUDED_
#define _LLM_METRICS_INT_H_INCLUDED_


#include <stdatomic.h>

#include "llm_metrics.h"


#define LLM_METRICS_MAGIC    0x31544d4d58474eull    /* "NGXMMT1" */
#define LLM_METRICS_VERSION  1

#define LLM_METRICS_ALL      (LLM_METRICS_MODELS + 2)   /* with other, none */
#define LLM_METRICS_PROXIED  (LLM_METRICS_MODELS - LLM_ZONE_ENGINES)
#define LLM_METRICS_STATUSES 500        /* 100 to 599 */
#define LLM_METRICS_SLACK    250        /* ms before a sample's time */

#define LLM_METRICS_WORDS(type)  (sizeof(type) / sizeof(uint64_t))

/* other threads' counts need no order among each other */
#define llm_metrics_add(counter, n)                                           \
    ((void) atomic_fetch_add_explicit(counter, n, memory_order_relaxed))
#define llm_metrics_get(counter)                                              \
    atomic_load_explicit(counter, memory_order_relaxed)
#define llm_metrics_put(counter, n)                                           \
    atomic_store_explicit(counter, n, memory_order_relaxed)


typedef struct {
    _Atomic uint64_t  bucket[LLM_METRICS_BUCKETS];      /* not cumulative */
    _Atomic uint64_t  sum;                              /* microseconds */
} llm_metrics_hist_t;

_Static_assert(sizeof(llm_metrics_hist_t) == 256, "cache lines");


typedef struct {
    _Atomic uint64_t  state;            /* 0: free; hash | llm_name_e */
    _Atomic uint64_t  len;
    _Atomic uint64_t  word[LLM_METRICS_NAME / 8];
} llm_metrics_name_t;

typedef enum {
    LLM_NAME_CLAIMED = 1,
    LLM_NAME_THERE = 2,
    LLM_NAME_BITS = 3
} llm_name_e;


typedef struct {
    _Alignas(64) llm_metrics_hist_t  ttft;
    llm_metrics_hist_t  total;
    llm_metrics_hist_t  gap;
    llm_metrics_hist_t  queue;
    llm_metrics_hist_t  each;           /* a token of an answer, on average */
    _Atomic uint64_t    cancelled;
    _Atomic uint64_t    refused;
    _Atomic uint64_t    prompt_tokens;
    _Atomic uint64_t    completion_tokens;
    _Atomic uint64_t    finish[LLM_METRICS_FINISHES];
    _Atomic uint64_t    status[LLM_METRICS_STATUSES];
} llm_metrics_model_t;


typedef struct {
    _Atomic uint64_t  requests;
    _Atomic uint64_t  prompt_tokens;
    _Atomic uint64_t  completion_tokens;
} llm_metrics_client_t;


typedef struct {
    _Atomic uint64_t  records;
    _Atomic uint64_t  failures;
    _Atomic uint64_t  off;              /* 1: the configuration has no trail */
    _Atomic uint64_t  writable;         /* 0: not known, 1: no, 2: yes */
    _Atomic int64_t   since;            /* of what is not signed, ms; 0 */
    llm_metrics_hist_t  commit;

    struct {
        _Atomic int32_t  pid;           /* 0: free */
        _Atomic int64_t  since;         /* ms; 0: nothing waits */
    } wait[LLM_ZONE_WORKERS];
} llm_metrics_audit_t;


/* what the last look into the stores found */
typedef struct {
    _Atomic int64_t   begun;            /* ms; 0: nobody looked yet */
    _Atomic uint64_t  took;             /* ms */
    _Atomic uint64_t  txnid;            /* of the keys that were counted */
    _Atomic int64_t   counted;          /* unix seconds: when */
    _Atomic int64_t   recount;          /* a key's state changes by itself
                                           then */
    _Atomic uint64_t  word[LLM_METRICS_WORDS(llm_metrics_stores_t)];
} llm_metrics_look_t;


/* a sample has a stamp, 2 * number while it is written and one more when it
 * is whole, and its rows' words; of a row the last word is its model + 1 */
typedef struct {
    _Atomic int64_t   time;             /* of the last sample, 0: none */
    _Atomic uint64_t  number;
    _Atomic uint64_t  stamp[LLM_METRICS_SAMPLES];
    _Atomic uint64_t  engines[LLM_METRICS_SAMPLES];     /* rows of them */
    _Atomic uint64_t  host[LLM_METRICS_SAMPLES]
                          [LLM_METRICS_WORDS(llm_metrics_host_t)];

    /* all together, then the engines by their place in the configuration */
    _Alignas(4096) _Atomic uint64_t
                      row[LLM_ZONE_ENGINES + 1][LLM_METRICS_SAMPLES]
                         [LLM_METRICS_WORDS(llm_metrics_row_t) + 1];
} llm_metrics_history_t;


struct llm_metrics_s {
    uint64_t              magic;
    uint32_t              version;
    uint32_t              pad;
    uint64_t              size;
    int64_t               start;        /* unix ms */

    _Atomic uint32_t      engines;      /* of the configuration */
    _Atomic uint32_t      engine[LLM_ZONE_ENGINES];     /* model + 1 */
    _Atomic uint64_t      lost;
    llm_metrics_look_t    stores;
    _Alignas(64) llm_metrics_audit_t  audit;
    _Alignas(64) llm_gpu_status_t     gpu;

    llm_metrics_name_t    model_name[LLM_METRICS_MODELS];
    llm_metrics_name_t    client_name[LLM_METRICS_CLIENTS];
    llm_metrics_name_t    code_name[LLM_METRICS_CODES];

    /* the last of both: "other" */
    _Alignas(64) _Atomic uint64_t  code[LLM_METRICS_CODES + 1];
    llm_metrics_client_t  client[LLM_METRICS_CLIENTS + 1];

    _Alignas(4096) llm_metrics_model_t    model[LLM_METRICS_ALL];
    _Alignas(4096) llm_metrics_history_t  history;
};


/* llm_metrics.c */

/* the name's length, 0: there is none.  name: LLM_METRICS_NAME bytes */
size_t llm_metrics_name(llm_metrics_name_t *n, char *name);

/* of "other" and "none" too; 0: that model is not there */
size_t llm_metrics_model_name(llm_metrics_t *m, uint32_t model, char *name);

/* place i of the configuration: its model, or LLM_METRICS_OTHER */
uint32_t llm_metrics_engine(llm_metrics_t *m, uint32_t i);

/* how long the oldest record of the audit waits, ms; 0: none does */
uint64_t llm_metrics_audit_lag(llm_metrics_t *m, int64_t time);


/* llm_metrics_stores.c */

void llm_metrics_stores(llm_metrics_t *m, llm_metrics_stores_t *st);


/* llm_metrics_history.c */

/* what the engine tells of itself; NULL: it tells nothing */
llm_engine_status_t *llm_metrics_status(llm_zone_t *zone, const char *name,
    size_t len);

/* llm_engine_state_e, none when the engines' process is dead */
uint32_t llm_metrics_state(llm_zone_t *zone, llm_engine_status_t *st);


#endif /* _LLM_METRICS_INT_H_INCLUDED_ */
