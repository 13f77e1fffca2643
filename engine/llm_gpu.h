
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the machine's GPUs are doing, as NVIDIA's management library tells it.
 *
 * The process that holds the models has one thread that opens
 * libnvidia-ml.so.1, looks every LLM_GPU_PERIOD and writes what it saw into
 * shared memory, where any process reads it by llm_gpu_read().  Where the
 * library, the driver or a GPU is missing the thread ends at once; nothing
 * else is different.  No header or library of NVIDIA's is needed to build.
 *
 * llm_gpu_status_t begins as zeros.  It has one writer at a time, the holder
 * of the models; every field is an atomic of its own, none waits for another.
 * What is in it is untrusted: read it through llm_gpu_read() only.
 */


#ifndef _LLM_GPU_H_INCLUDED_
#define _LLM_GPU_H_INCLUDED_


#include <stdatomic.h>

#include "llm.h"


#define LLM_GPU_MAX     16
#define LLM_GPU_NAME    64      /* bytes, the terminating zero included */
#define LLM_GPU_PERIOD  5000    /* ms from sample to sample */
#define LLM_GPU_STALE   20000   /* ms: an older sample counts as none */


/* what the driver can tell of a GPU; it may well not know some of them */
typedef enum {
    LLM_GPU_UTILIZATION = 1,
    LLM_GPU_MEMORY = 2,
    LLM_GPU_POWER = 4,
    LLM_GPU_TEMPERATURE = 8,
    LLM_GPU_ECC = 16,
    LLM_GPU_XID = 32
} llm_gpu_known_e;


typedef struct {
    _Atomic uint32_t  present;
    _Atomic uint32_t  known;            /* llm_gpu_known_e, or'ed */
    _Atomic uint32_t  utilization;      /* 0 to 1000: per mille of the time */
    _Atomic uint32_t  power;            /* mW */
    _Atomic uint32_t  temperature;      /* degrees Celsius */
    _Atomic uint32_t  xid_last;         /* number of the last XID error */
    _Atomic uint64_t  memory_used;      /* bytes */
    _Atomic uint64_t  memory_total;
    _Atomic uint64_t  ecc;              /* uncorrected errors, as the GPU
                                           counts them: of all its life */
    _Atomic uint64_t  xid;              /* XID errors while somebody looked */
    _Atomic uint64_t  sampled;          /* CLOCK_MONOTONIC, ms */
    _Atomic uint64_t  name[LLM_GPU_NAME / 8];
} llm_gpu_row_t;

_Static_assert(sizeof(llm_gpu_row_t) == 128, "no holes");


typedef struct {
    llm_gpu_row_t     gpu[LLM_GPU_MAX];         /* by the driver's index */
} llm_gpu_status_t;

_Static_assert(sizeof(llm_gpu_status_t) == 2048, "shared by processes");


/* a reader's copy, in range: fields that known does not name are 0 */
typedef struct {
    unsigned  known;
    uint32_t  utilization;              /* per mille */
    uint32_t  power;                    /* mW */
    uint32_t  temperature;
    uint32_t  xid_last;
    uint64_t  memory_used;
    uint64_t  memory_total;
    uint64_t  ecc;
    uint64_t  xid;
    uint32_t  age;                      /* ms since the sample */
    char      name[LLM_GPU_NAME];       /* printable ASCII, no " and \ */
} llm_gpu_t;


/* GPU i of LLM_GPU_MAX; any thread and process.  LLM_NOTFOUND: there is none,
 * or nobody has looked for LLM_GPU_STALE */
int llm_gpu_read(const llm_gpu_status_t *st, int i, llm_gpu_t *g);


/* the sampler; both calls by one thread */
typedef struct llm_gpu_sampler_s  llm_gpu_sampler_t;

/* on the sampler's thread, until llm_gpu_stop() returns and not after */
typedef void (*llm_gpu_log_pt)(void *data, llm_log_e level, const char *text);

/*
 * st: shared, and mapped until the process ends.  period: ms, 100 at least;
 * LLM_GPU_PERIOD.  Says once by log whether there is something to look at, and
 * each XID error.  Fails only when there is no memory or thread.
 */
int llm_gpu_start(llm_gpu_sampler_t **s, llm_gpu_status_t *st,
    uint32_t period, llm_gpu_log_pt log, void *data, char *err, size_t errlen);

/*
 * The GPUs are taken out of st.  A thread that the driver does not give back
 * within two seconds is left behind, with its memory and the library: it will
 * touch neither st nor log any more, and ends when the call returns, or with
 * the process.
 */
void llm_gpu_stop(llm_gpu_sampler_t *s);          /* NULL is fine */


#endif /* _LLM_GPU_H_INCLUDED_ */
