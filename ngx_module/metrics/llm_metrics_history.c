
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics as numbers: how things stand now, and samples of the last hour.
 *
 * A sample is written by whoever moved history.time on; its stamp tells a
 * reader that it is whole.  Each word of it is stored with release and loaded
 * with acquire order between the stamp's two changes and two looks, so a
 * reader that saw a word of a later writing sees that writing's stamp.
 */


#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "llm_metrics_int.h"


#define LLM_ROW_WORDS   LLM_METRICS_WORDS(llm_metrics_row_t)
#define LLM_HOST_WORDS  LLM_METRICS_WORDS(llm_metrics_host_t)

/* of a row, what is no counter comes last */
#define LLM_ROW_COUNTERS                                                      \
    (offsetof(llm_metrics_row_t, state) / sizeof(uint64_t))


static void llm_metrics_row_model(llm_metrics_t *m, uint32_t model,
    llm_metrics_row_t *row);
static void llm_metrics_row_engine(llm_metrics_t *m, llm_zone_t *zone,
    uint32_t model, llm_metrics_row_t *row);
static void llm_metrics_row_all(llm_metrics_t *m, llm_zone_t *zone,
    llm_metrics_row_t *row);
static void llm_metrics_add_hist(uint64_t bucket[LLM_METRICS_BUCKETS],
    llm_metrics_hist_t *h);
static uint64_t llm_metrics_worse(uint64_t a, uint64_t b);
static uint32_t llm_metrics_engine_model(llm_metrics_t *m, const char *name);
static void llm_metrics_host_audit(llm_metrics_t *m,
    llm_metrics_host_t *host);
static void llm_metrics_gpu_rows(llm_metrics_t *m, llm_metrics_host_t *host);
static void llm_metrics_sample_engine(llm_metrics_t *m, llm_zone_t *zone,
    uint32_t slot, uint32_t i);
static void llm_metrics_store(_Atomic uint64_t *to, const void *from,
    size_t n);
static void llm_metrics_load(void *to, _Atomic uint64_t *from, size_t n);
static int llm_metrics_row_at(llm_metrics_t *m, uint32_t slot,
    const char *engine, llm_metrics_row_t *row);


int
llm_metrics_now(llm_metrics_t *m, llm_zone_t *zone, const char *engine,
    llm_metrics_row_t *row)
{
    uint32_t  model;

    memset(row, 0, sizeof(llm_metrics_row_t));

    if (engine == NULL) {
        llm_metrics_row_all(m, zone, row);
        return LLM_OK;
    }

    model = llm_metrics_engine_model(m, engine);

    if (model == LLM_METRICS_OTHER) {
        return LLM_NOTFOUND;
    }

    llm_metrics_row_model(m, model, row);
    llm_metrics_row_engine(m, zone, model, row);

    return LLM_OK;
}


static uint32_t
llm_metrics_engine_model(llm_metrics_t *m, const char *name)
{
    char      known[LLM_METRICS_NAME];
    size_t    len, n;
    uint32_t  i, model;

    len = strlen(name);

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        model = llm_metrics_engine(m, i);

        if (model == LLM_METRICS_OTHER) {
            continue;
        }

        n = llm_metrics_model_name(m, model, known);

        if (n && n == len && memcmp(known, name, n) == 0) {
            return model;
        }
    }

    return LLM_METRICS_OTHER;
}


/* what workers counted of a model, added to the row */

static void
llm_metrics_row_model(llm_metrics_t *m, uint32_t model,
    llm_metrics_row_t *row)
{
    int                   i;
    llm_metrics_model_t  *c = &m->model[model];

    for (i = 0; i < LLM_METRICS_STATUSES; i++) {
        row->requests[i / 100 + 1] += llm_metrics_get(&c->status[i]);
    }

    row->refused += llm_metrics_get(&c->refused);
    row->cancelled += llm_metrics_get(&c->cancelled);
    row->prompt_tokens += llm_metrics_get(&c->prompt_tokens);
    row->completion_tokens += llm_metrics_get(&c->completion_tokens);

    llm_metrics_add_hist(row->ttft, &c->ttft);
    llm_metrics_add_hist(row->total, &c->total);
    llm_metrics_add_hist(row->gap, &c->gap);
}


static void
llm_metrics_add_hist(uint64_t bucket[LLM_METRICS_BUCKETS],
    llm_metrics_hist_t *h)
{
    int  i;

    for (i = 0; i < LLM_METRICS_BUCKETS; i++) {
        bucket[i] += llm_metrics_get(&h->bucket[i]);
    }
}


/* what an engine tells of itself, added to the row */

static void
llm_metrics_row_engine(llm_metrics_t *m, llm_zone_t *zone, uint32_t model,
    llm_metrics_row_t *row)
{
    char                  name[LLM_METRICS_NAME];
    size_t                len;
    llm_engine_status_t  *st;

    len = llm_metrics_model_name(m, model, name);
    st = llm_metrics_status(zone, name, len);

    if (st == NULL) {
        row->state = LLM_ENGINE_NONE;
        return;
    }

    row->steps += llm_metrics_get(&st->steps);
    row->batched += llm_metrics_get(&st->batched);
    row->preemptions += llm_metrics_get(&st->preemptions);
    row->max_batch += llm_metrics_get(&st->max_batch);
    row->queue += llm_metrics_get(&st->queue);
    row->state = llm_metrics_state(zone, st);

    if (row->state == LLM_ENGINE_NONE) {
        return;
    }

    row->running += llm_metrics_get(&st->running);
    row->waiting += llm_metrics_get(&st->waiting);
    row->kv_used += llm_metrics_get(&st->blocks_used);
    row->kv_total += llm_metrics_get(&st->blocks);
}


static void
llm_metrics_row_all(llm_metrics_t *m, llm_zone_t *zone,
    llm_metrics_row_t *row)
{
    char      name[LLM_METRICS_NAME];
    uint32_t  i, model;
    uint64_t  state, worst;

    for (i = 0; i < LLM_METRICS_ALL; i++) {
        if (i != LLM_METRICS_NOMODEL && llm_metrics_model_name(m, i, name)) {
            llm_metrics_row_model(m, i, row);
        }
    }

    worst = LLM_ENGINE_READY;

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        model = llm_metrics_engine(m, i);

        if (model == LLM_METRICS_OTHER) {
            continue;
        }

        llm_metrics_row_engine(m, zone, model, row);
        state = row->state;
        worst = llm_metrics_worse(worst, state);
    }

    row->state = llm_metrics_get(&m->engines) ? worst : LLM_ENGINE_NONE;
}


/* failed, none, loading, ready */

static uint64_t
llm_metrics_worse(uint64_t a, uint64_t b)
{
    if (a == LLM_ENGINE_FAILED || b == LLM_ENGINE_FAILED) {
        return LLM_ENGINE_FAILED;
    }

    return a < b ? a : b;
}


llm_engine_status_t *
llm_metrics_status(llm_zone_t *zone, const char *name, size_t len)
{
    int       i;
    uint64_t  hash;

    if (zone == NULL || len == 0) {
        return NULL;
    }

    hash = llm_engine_hash(name, len);

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        if (llm_metrics_get(&zone->engine[i].counted) == hash) {
            return &zone->engine[i];
        }
    }

    return NULL;
}


/* it may be of a holder that was killed; one of another configuration finishes
 * what it has, and takes nothing */

uint32_t
llm_metrics_state(llm_zone_t *zone, llm_engine_status_t *st)
{
    int32_t   holder;
    uint32_t  state;

    holder = llm_metrics_get(&zone->holder);

    if (holder <= 0 || (kill(holder, 0) == -1 && errno == ESRCH)
        || llm_metrics_get(&st->hash) != llm_metrics_get(&st->counted))
    {
        return LLM_ENGINE_NONE;
    }

    state = llm_metrics_get(&st->state);

    if (state == LLM_ENGINE_READY
        && llm_metrics_get(&zone->held) != llm_metrics_get(&zone->wanted))
    {
        return LLM_ENGINE_LOADING;
    }

    return state <= LLM_ENGINE_FAILED ? state : LLM_ENGINE_NONE;
}


void
llm_metrics_now_host(llm_metrics_t *m, llm_zone_t *zone,
    llm_metrics_host_t *host)
{
    memset(host, 0, sizeof(llm_metrics_host_t));

    host->time = llm_metrics_clock();
    host->lost = llm_metrics_get(&m->lost);

    if (zone) {
        host->workers = (uint64_t) llm_zone_workers(zone);
        host->restarts = llm_metrics_get(&zone->deaths);
    }

    llm_metrics_host_audit(m, host);
    llm_metrics_stores(m, &host->stores);
    llm_metrics_gpu_rows(m, host);
}


/* of a trail that is no more, who wrote it last has left how it stood */

static void
llm_metrics_host_audit(llm_metrics_t *m, llm_metrics_host_t *host)
{
    int64_t   since;
    uint64_t  writable;

    host->audit_records = llm_metrics_get(&m->audit.records);
    host->audit_failures = llm_metrics_get(&m->audit.failures);

    writable = llm_metrics_get(&m->audit.writable);

    if (writable == 0 || llm_metrics_get(&m->audit.off)) {
        host->audit_writable = 2;
        return;
    }

    host->audit_writable = writable > 1;
    host->audit_lag = llm_metrics_audit_lag(m, host->time);

    since = llm_metrics_get(&m->audit.since);

    if (since > 0 && since < host->time) {
        host->audit_unsigned = (uint64_t) (host->time - since);
    }
}


static void
llm_metrics_gpu_rows(llm_metrics_t *m, llm_metrics_host_t *host)
{
    int                 i;
    llm_gpu_t           g;
    llm_metrics_gpu_t  *row;

    for (i = 0; i < LLM_GPU_MAX; i++) {

        if (llm_gpu_read(&m->gpu, i, &g) != LLM_OK) {
            continue;
        }

        row = &host->gpu[i];

        row->present = 1;
        row->known = g.known;
        row->utilization = g.utilization;
        row->power = g.power;
        row->temperature = g.temperature;
        row->memory_used = g.memory_used;
        row->memory_total = g.memory_total;
        row->ecc = g.ecc;
        row->xid = g.xid;
    }
}


int
llm_metrics_sample(llm_metrics_t *m, llm_zone_t *zone, int64_t time,
    int64_t wall)
{
    int64_t                 last;
    uint32_t                i, slot, engines;
    uint64_t                number, stamp;
    llm_metrics_row_t       row;
    llm_metrics_host_t      host;
    llm_metrics_history_t  *h = &m->history;

    last = atomic_load(&h->time);

    /* a time to come is no sample's */

    if ((last > 0 && last <= time
         && time - last < LLM_METRICS_PERIOD - LLM_METRICS_SLACK)
        || !atomic_compare_exchange_strong(&h->time, &last, time))
    {
        return 0;
    }

    number = atomic_fetch_add(&h->number, 1) + 1;
    slot = (uint32_t) (number % LLM_METRICS_SAMPLES);
    stamp = atomic_load(&h->stamp[slot]);

    /* or somebody was overtaken by an hour of samples */

    if (stamp / 2 >= number
        || !atomic_compare_exchange_strong(&h->stamp[slot], &stamp,
                                           number * 2))
    {
        return 0;
    }

    llm_metrics_now_host(m, zone, &host);
    host.time = time;
    host.wall = wall;
    llm_metrics_store(h->host[slot], &host, LLM_HOST_WORDS);

    (void) llm_metrics_now(m, zone, NULL, &row);
    llm_metrics_store(h->row[0][slot], &row, LLM_ROW_WORDS);

    engines = llm_metrics_get(&m->engines);

    for (i = 0; i < engines && i < LLM_ZONE_ENGINES; i++) {
        llm_metrics_sample_engine(m, zone, slot, i);
    }

    atomic_store_explicit(&h->engines[slot], i, memory_order_release);

    stamp = number * 2;
    (void) atomic_compare_exchange_strong(&h->stamp[slot], &stamp,
                                          number * 2 + 1);

    return 1;
}


static void
llm_metrics_sample_engine(llm_metrics_t *m, llm_zone_t *zone, uint32_t slot,
    uint32_t i)
{
    uint32_t           model;
    _Atomic uint64_t  *to = m->history.row[i + 1][slot];
    llm_metrics_row_t  row;

    model = llm_metrics_engine(m, i);

    memset(&row, 0, sizeof(llm_metrics_row_t));

    if (model != LLM_METRICS_OTHER) {
        llm_metrics_row_model(m, model, &row);
        llm_metrics_row_engine(m, zone, model, &row);
    }

    llm_metrics_store(to, &row, LLM_ROW_WORDS);
    atomic_store_explicit(&to[LLM_ROW_WORDS], model + 1,
                          memory_order_release);
}


static void
llm_metrics_store(_Atomic uint64_t *to, const void *from, size_t n)
{
    size_t       i;
    uint64_t     word;
    const char  *p = from;

    for (i = 0; i < n; i++) {
        memcpy(&word, p + i * 8, 8);
        atomic_store_explicit(&to[i], word, memory_order_release);
    }
}


static void
llm_metrics_load(void *to, _Atomic uint64_t *from, size_t n)
{
    char      *p = to;
    size_t     i;
    uint64_t   word;

    for (i = 0; i < n; i++) {
        word = atomic_load_explicit(&from[i], memory_order_acquire);
        memcpy(p + i * 8, &word, 8);
    }
}


void
llm_metrics_range(llm_metrics_t *m, uint64_t *first, uint64_t *last)
{
    *last = atomic_load(&m->history.number);
    *first = *last == 0 ? 0 : *last < LLM_METRICS_SAMPLES
                              ? 1 : *last - LLM_METRICS_SAMPLES + 1;
}


int
llm_metrics_at(llm_metrics_t *m, uint64_t number, const char *engine,
    llm_metrics_row_t *row, llm_metrics_host_t *host, int64_t *time)
{
    int                     rc;
    uint32_t                slot;
    uint64_t                stamp;
    llm_metrics_history_t  *h = &m->history;

    slot = (uint32_t) (number % LLM_METRICS_SAMPLES);
    stamp = atomic_load_explicit(&h->stamp[slot], memory_order_acquire);

    if (number == 0 || stamp != number * 2 + 1) {
        return LLM_NOTFOUND;
    }

    rc = LLM_OK;

    if (row) {
        rc = llm_metrics_row_at(m, slot, engine, row);
    }

    if (host) {
        llm_metrics_load(host, h->host[slot], LLM_HOST_WORDS);
    }

    if (time) {
        llm_metrics_load(time, h->host[slot], 1);
    }

    if (atomic_load_explicit(&h->stamp[slot], memory_order_acquire) != stamp) {
        return LLM_NOTFOUND;
    }

    return rc;
}


static int
llm_metrics_row_at(llm_metrics_t *m, uint32_t slot, const char *engine,
    llm_metrics_row_t *row)
{
    char                    name[LLM_METRICS_NAME];
    size_t                  len, n;
    uint32_t                i;
    uint64_t                engines, model;
    llm_metrics_history_t  *h = &m->history;

    if (engine == NULL) {
        llm_metrics_load(row, h->row[0][slot], LLM_ROW_WORDS);
        return LLM_OK;
    }

    len = strlen(engine);
    engines = atomic_load_explicit(&h->engines[slot], memory_order_acquire);

    for (i = 0; i < engines && i < LLM_ZONE_ENGINES; i++) {
        model = atomic_load_explicit(&h->row[i + 1][slot][LLM_ROW_WORDS],
                                     memory_order_acquire);

        if (model - 1 >= LLM_METRICS_MODELS) {
            continue;
        }

        n = llm_metrics_model_name(m, (uint32_t) model - 1, name);

        if (n && n == len && memcmp(name, engine, n) == 0) {
            llm_metrics_load(row, h->row[i + 1][slot], LLM_ROW_WORDS);
            return LLM_OK;
        }
    }

    return LLM_NOTFOUND;
}


int
llm_metrics_before(llm_metrics_t *m, int64_t time, int64_t ms,
    const char *engine, llm_metrics_row_t *row, llm_metrics_host_t *host,
    int64_t *when)
{
    int64_t   t;
    uint64_t  n, first, last, oldest;

    oldest = 0;
    llm_metrics_range(m, &first, &last);

    for (n = last; n && n >= first; n--) {

        if (llm_metrics_at(m, n, NULL, NULL, NULL, &t) != LLM_OK
            || t > time)
        {
            continue;
        }

        if (t > time - ms) {
            oldest = n;
            continue;
        }

        if (llm_metrics_at(m, n, engine, row, host, when) == LLM_OK) {
            return LLM_OK;
        }
    }

    /* all are younger: the oldest that has what is asked for */

    for (n = oldest; n && n <= last; n++) {
        if (llm_metrics_at(m, n, engine, row, host, when) == LLM_OK) {
            return LLM_OK;
        }
    }

    return LLM_NOTFOUND;
}


void
llm_metrics_diff(llm_metrics_row_t *d, const llm_metrics_row_t *a,
    const llm_metrics_row_t *b)
{
    size_t    i;
    uint64_t  x[LLM_ROW_WORDS], y[LLM_ROW_WORDS];

    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));

    for (i = 0; i < LLM_ROW_COUNTERS; i++) {
        y[i] = y[i] > x[i] ? y[i] - x[i] : 0;
    }

    memcpy(d, y, sizeof(y));
}


double
llm_metrics_quantile(const uint64_t bucket[LLM_METRICS_BUCKETS], double q)
{
    int     i;
    double  below, from, rank, total;

    total = 0;

    for (i = 0; i < LLM_METRICS_BUCKETS; i++) {
        total += (double) bucket[i];
    }

    if (total <= 0) {
        return -1;
    }

    rank = q * total;
    below = 0;

    for (i = 0; i < LLM_METRICS_BOUNDS; i++) {

        if (bucket[i] && below + (double) bucket[i] >= rank) {
            from = i ? (double) llm_metrics_bound[i - 1] : 0;

            return (from + ((double) llm_metrics_bound[i] - from)
                           * (rank - below) / (double) bucket[i]) / 1e6;
        }

        below += (double) bucket[i];
    }

    return (double) llm_metrics_bound[LLM_METRICS_BOUNDS - 1] / 1e6;
}
