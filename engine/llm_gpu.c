
/*
 * Copyright (C) nginx-llm contributors
 *
 * GPU sampling: the thread, the shared rows that it writes, their reader.
 *
 * A call into the driver may never return.  So the thread makes its calls
 * without the lock, and takes it to hand over what it saw, when it looks
 * first whether it is still wanted: after llm_gpu_stop() it touches nothing
 * but its own memory, which a thread that is left behind keeps.
 */


#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llm_nvml.h"


#define LLM_GPU_PATIENCE  2000      /* ms for the driver at the end */
#define LLM_GPU_XIDS      64        /* taken at a time */

/* more than any GPU has: the driver, or the memory, is out of order */
#define LLM_GPU_WATTS     20000
#define LLM_GPU_HOT       250
#define LLM_GPU_COUNT     (1ull << 53)
#define LLM_GPU_BYTES     (1ull << 50)


struct llm_gpu_sampler_s {
    llm_gpu_status_t  *status;
    uint32_t           period;
    llm_gpu_log_pt     log;
    void              *data;

    pthread_t          thread;
    pthread_mutex_t    mutex;       /* what follows, status and log */
    pthread_cond_t     cond;        /* by CLOCK_MONOTONIC */
    int                stop;
    int                ended;
    int                left;        /* behind: the thread frees all of it */
};


static int llm_gpu_thread(llm_gpu_sampler_t *s);
static void llm_gpu_free(llm_gpu_sampler_t *s);
static void *llm_gpu_main(void *data);
static int llm_gpu_welcome(llm_gpu_sampler_t *s, int rc, int n, int all,
    const char *err);
static int llm_gpu_wait(llm_gpu_sampler_t *s);
static int llm_gpu_sample(llm_gpu_sampler_t *s, llm_nvml_t *nv, int n);
static void llm_gpu_xids(llm_gpu_sampler_t *s, llm_nvml_t *nv);
static void llm_gpu_xid(llm_gpu_sampler_t *s, int i, uint32_t xid);
static void llm_gpu_put(llm_gpu_row_t *row, const llm_gpu_t *g);
static void llm_gpu_clear(llm_gpu_status_t *st);
static void llm_gpu_check(llm_gpu_t *g);
static void llm_gpu_name(char *name);
static struct timespec llm_gpu_after(uint32_t ms);
static uint64_t llm_gpu_now(void);


#define llm_gpu_load(p)                                                       \
    atomic_load_explicit(p, memory_order_relaxed)

#define llm_gpu_store(p, value)                                               \
    atomic_store_explicit(p, value, memory_order_relaxed)


int
llm_gpu_start(llm_gpu_sampler_t **sp, llm_gpu_status_t *st, uint32_t period,
    llm_gpu_log_pt log, void *data, char *err, size_t errlen)
{
    int                 rc;
    llm_gpu_sampler_t  *s;
    pthread_condattr_t  attr;

    *sp = NULL;

    s = calloc(1, sizeof(llm_gpu_sampler_t));
    if (s == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "out of memory");
    }

    s->status = st;
    s->period = period < 100 ? 100 : period;
    s->log = log;
    s->data = data;

    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->cond, &attr);
    pthread_condattr_destroy(&attr);

    llm_gpu_clear(st);

    rc = llm_gpu_thread(s);

    if (rc != 0) {
        llm_gpu_free(s);
        return llm_err(err, errlen, LLM_ERROR,
                       "pthread_create() failed (%d: %s)", rc, strerror(rc));
    }

    *sp = s;

    return LLM_OK;
}


void
llm_gpu_stop(llm_gpu_sampler_t *s)
{
    int              rc, ended;
    struct timespec  end;

    if (s == NULL) {
        return;
    }

    end = llm_gpu_after(LLM_GPU_PATIENCE);
    rc = 0;

    pthread_mutex_lock(&s->mutex);

    s->stop = 1;
    pthread_cond_broadcast(&s->cond);
    llm_gpu_clear(s->status);

    while (!s->ended && rc == 0) {
        rc = pthread_cond_timedwait(&s->cond, &s->mutex, &end);
    }

    ended = s->ended;

    if (!ended) {
        s->left = 1;
        pthread_detach(s->thread);
    }

    pthread_mutex_unlock(&s->mutex);

    if (ended) {
        pthread_join(s->thread, NULL);
        llm_gpu_free(s);
    }
}


/* nginx's signal handlers belong to its main thread */

static int
llm_gpu_thread(llm_gpu_sampler_t *s)
{
    int       rc;
    sigset_t  all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&s->thread, NULL, llm_gpu_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    return rc;
}


static void
llm_gpu_free(llm_gpu_sampler_t *s)
{
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}


static void *
llm_gpu_main(void *data)
{
    int                 rc, n, all, left;
    char                err[LLM_ERRLEN];
    llm_nvml_t         *nv;
    llm_gpu_sampler_t  *s = data;

    rc = llm_nvml_open(&nv, &n, &all, err, sizeof(err));

    if (llm_gpu_welcome(s, rc, n, all, err)) {
        while (llm_gpu_sample(s, nv, n) && llm_gpu_wait(s)) { /* void */ }
    }

    llm_nvml_close(nv);

    pthread_mutex_lock(&s->mutex);
    s->ended = 1;
    left = s->left;
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->mutex);

    if (left) {
        llm_gpu_free(s);
    }

    return NULL;
}


/* 1 if there is something to sample */

static int
llm_gpu_welcome(llm_gpu_sampler_t *s, int rc, int n, int all, const char *err)
{
    int   go;
    char  text[LLM_ERRLEN + 64];

    if (rc != LLM_OK) {
        snprintf(text, sizeof(text), "no GPU is watched: %s", err);

    } else if (n < all) {
        snprintf(text, sizeof(text), "watching %d of %d GPUs", n, all);

    } else {
        snprintf(text, sizeof(text), "watching %d GPU%s", n, n > 1 ? "s" : "");
    }

    pthread_mutex_lock(&s->mutex);

    go = !s->stop;

    if (go) {
        s->log(s->data, LLM_LOG_INFO, text);
    }

    pthread_mutex_unlock(&s->mutex);

    return go && rc == LLM_OK;
}


/* 1 when it is time for another look */

static int
llm_gpu_wait(llm_gpu_sampler_t *s)
{
    int              rc, go;
    struct timespec  end;

    end = llm_gpu_after(s->period);
    rc = 0;

    pthread_mutex_lock(&s->mutex);

    while (!s->stop && rc == 0) {
        rc = pthread_cond_timedwait(&s->cond, &s->mutex, &end);
    }

    go = !s->stop;

    pthread_mutex_unlock(&s->mutex);

    return go;
}


static int
llm_gpu_sample(llm_gpu_sampler_t *s, llm_nvml_t *nv, int n)
{
    int        i, rc, go;
    llm_gpu_t  g;

    go = 1;

    for (i = 0; i < n && go; i++) {
        rc = llm_nvml_look(nv, i, &g);
        llm_gpu_check(&g);

        pthread_mutex_lock(&s->mutex);

        go = !s->stop;

        if (go && rc == LLM_OK) {
            llm_gpu_put(&s->status->gpu[i], &g);
        }

        pthread_mutex_unlock(&s->mutex);
    }

    if (go) {
        llm_gpu_xids(s, nv);
    }

    return go;
}


static void
llm_gpu_xids(llm_gpu_sampler_t *s, llm_nvml_t *nv)
{
    int       i, n, go;
    uint32_t  xid;

    go = 1;

    for (n = 0; n < LLM_GPU_XIDS && go && llm_nvml_xid(nv, &i, &xid); n++) {
        pthread_mutex_lock(&s->mutex);

        go = !s->stop;

        if (go && i >= 0) {
            llm_gpu_xid(s, i, xid);
        }

        pthread_mutex_unlock(&s->mutex);
    }
}


static void
llm_gpu_xid(llm_gpu_sampler_t *s, int i, uint32_t xid)
{
    char            text[LLM_ERRLEN];
    llm_gpu_row_t  *row = &s->status->gpu[i];

    llm_gpu_store(&row->xid_last, xid);
    atomic_fetch_add_explicit(&row->xid, 1, memory_order_relaxed);

    snprintf(text, sizeof(text), "GPU %d: XID error %u", i, xid);
    s->log(s->data, LLM_LOG_ERR, text);
}


static void
llm_gpu_put(llm_gpu_row_t *row, const llm_gpu_t *g)
{
    int       i;
    uint64_t  name[LLM_GPU_NAME / 8];

    memcpy(name, g->name, sizeof(name));

    for (i = 0; i < LLM_GPU_NAME / 8; i++) {
        llm_gpu_store(&row->name[i], name[i]);
    }

    llm_gpu_store(&row->utilization, g->utilization);
    llm_gpu_store(&row->power, g->power);
    llm_gpu_store(&row->temperature, g->temperature);
    llm_gpu_store(&row->memory_used, g->memory_used);
    llm_gpu_store(&row->memory_total, g->memory_total);
    llm_gpu_store(&row->ecc, g->ecc);
    llm_gpu_store(&row->known, g->known);
    llm_gpu_store(&row->sampled, llm_gpu_now());

    /* who sees it present sees what is above */
    atomic_store_explicit(&row->present, 1, memory_order_release);
}


/* what was counted stays */

static void
llm_gpu_clear(llm_gpu_status_t *st)
{
    int  i;

    for (i = 0; i < LLM_GPU_MAX; i++) {
        llm_gpu_store(&st->gpu[i].present, 0);
    }
}


int
llm_gpu_read(const llm_gpu_status_t *st, int i, llm_gpu_t *g)
{
    int                   k;
    uint64_t              now, sampled, name[LLM_GPU_NAME / 8];
    const llm_gpu_row_t  *row;

    memset(g, 0, sizeof(llm_gpu_t));

    if (i < 0 || i >= LLM_GPU_MAX) {
        return LLM_NOTFOUND;
    }

    row = &st->gpu[i];

    if (atomic_load_explicit(&row->present, memory_order_acquire) != 1) {
        return LLM_NOTFOUND;
    }

    sampled = llm_gpu_load(&row->sampled);
    now = llm_gpu_now();

    if (sampled > now || now - sampled >= LLM_GPU_STALE) {
        return LLM_NOTFOUND;
    }

    g->age = (uint32_t) (now - sampled);
    g->known = llm_gpu_load(&row->known);
    g->utilization = llm_gpu_load(&row->utilization);
    g->power = llm_gpu_load(&row->power);
    g->temperature = llm_gpu_load(&row->temperature);
    g->memory_used = llm_gpu_load(&row->memory_used);
    g->memory_total = llm_gpu_load(&row->memory_total);
    g->ecc = llm_gpu_load(&row->ecc);
    g->xid = llm_gpu_load(&row->xid);
    g->xid_last = llm_gpu_load(&row->xid_last);

    for (k = 0; k < LLM_GPU_NAME / 8; k++) {
        name[k] = llm_gpu_load(&row->name[k]);
    }

    memcpy(g->name, name, sizeof(name));

    llm_gpu_check(g);

    return LLM_OK;
}


/* drops what can't be; of a driver as of the shared memory */

static void
llm_gpu_check(llm_gpu_t *g)
{
    if (g->utilization > 1000) {
        g->known &= ~(unsigned) LLM_GPU_UTILIZATION;
    }

    if (g->memory_total == 0 || g->memory_used > g->memory_total
        || g->memory_total > LLM_GPU_BYTES)
    {
        g->known &= ~(unsigned) LLM_GPU_MEMORY;
    }

    if (g->power > LLM_GPU_WATTS * 1000) {
        g->known &= ~(unsigned) LLM_GPU_POWER;
    }

    if (g->temperature > LLM_GPU_HOT) {
        g->known &= ~(unsigned) LLM_GPU_TEMPERATURE;
    }

    if (g->ecc > LLM_GPU_COUNT) {
        g->known &= ~(unsigned) LLM_GPU_ECC;
    }

    if (g->xid > LLM_GPU_COUNT) {
        g->known &= ~(unsigned) LLM_GPU_XID;
    }

    g->known &= LLM_GPU_XID * 2 - 1;

    g->utilization = g->known & LLM_GPU_UTILIZATION ? g->utilization : 0;
    g->power = g->known & LLM_GPU_POWER ? g->power : 0;
    g->temperature = g->known & LLM_GPU_TEMPERATURE ? g->temperature : 0;
    g->memory_used = g->known & LLM_GPU_MEMORY ? g->memory_used : 0;
    g->memory_total = g->known & LLM_GPU_MEMORY ? g->memory_total : 0;
    g->ecc = g->known & LLM_GPU_ECC ? g->ecc : 0;
    g->xid = g->known & LLM_GPU_XID ? g->xid : 0;
    g->xid_last = g->known & LLM_GPU_XID ? g->xid_last : 0;

    llm_gpu_name(g->name);
}


static void
llm_gpu_name(char *name)
{
    char  *p;

    name[LLM_GPU_NAME - 1] = '\0';

    for (p = name; *p; p++) {
        if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\') {
            *p = '?';
        }
    }
}


static struct timespec
llm_gpu_after(uint32_t ms)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    ts.tv_sec += ms / 1000;
    ts.tv_nsec += (long) (ms % 1000) * 1000000;

    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }

    return ts;
}


static uint64_t
llm_gpu_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}
