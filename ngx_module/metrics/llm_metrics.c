
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics: the shared memory, its tables of names, and counting.
 */


#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../engine/llm_sched.h"
#include "llm_metrics_int.h"


_Static_assert(LLM_METRICS_FINISHES == LLM_FINISH_ERROR + 1, "finishes");


static uint32_t llm_metrics_find(llm_metrics_name_t *table, uint32_t n,
    int spread, const char *name, size_t len, int add);
static int llm_metrics_is(llm_metrics_name_t *n, uint64_t hash,
    const uint64_t *word, size_t len);
static void llm_metrics_publish(llm_metrics_name_t *n, uint64_t hash,
    const uint64_t *word, size_t len);
static uint64_t llm_metrics_hash(const char *name, size_t len);
static void llm_metrics_observe(llm_metrics_hist_t *h, uint64_t us,
    uint64_t n);
static void llm_metrics_request_times(llm_metrics_model_t *model,
    const llm_metrics_request_t *q);
static void llm_metrics_request_client(llm_metrics_t *m,
    const llm_metrics_request_t *q);
static uint32_t llm_metrics_code(llm_metrics_t *m, const char *code,
    size_t len);
static int llm_metrics_gone(pid_t pid);


const uint64_t  llm_metrics_bound[LLM_METRICS_BOUNDS] = {
    100, 250, 500,
    1000, 2500, 5000,
    10000, 20000, 40000, 60000, 80000,
    100000, 150000, 200000, 300000, 500000, 750000,
    1000000, 1500000, 2500000, 5000000,
    10000000, 20000000, 40000000, 80000000,
    160000000, 320000000, 640000000, 1280000000, 2560000000
};


size_t
llm_metrics_size(void)
{
    return sizeof(llm_metrics_t);
}


int
llm_metrics_init(llm_metrics_t *m, size_t size, int64_t now, char *err,
    size_t errlen)
{
    if (size < sizeof(llm_metrics_t) || (uintptr_t) m % 64 != 0) {
        return llm_err(err, errlen, LLM_INVALID,
                       "metrics: %zu bytes of shared memory at %p, %zu at a "
                       "multiple of 64 are needed", size, (void *) m,
                       sizeof(llm_metrics_t));
    }

    m->version = LLM_METRICS_VERSION;
    m->size = sizeof(llm_metrics_t);
    m->start = now;
    m->magic = LLM_METRICS_MAGIC;

    return LLM_OK;
}


int
llm_metrics_valid(const llm_metrics_t *m, size_t size)
{
    return size >= sizeof(llm_metrics_t)
           && (uintptr_t) m % 64 == 0
           && m->magic == LLM_METRICS_MAGIC
           && m->version == LLM_METRICS_VERSION
           && m->size == sizeof(llm_metrics_t);
}


int
llm_metrics_engines(llm_metrics_t *m, const char *const *name, int n)
{
    int       i, rc;
    uint32_t  model;

    rc = LLM_OK;

    if (n > LLM_ZONE_ENGINES) {
        n = LLM_ZONE_ENGINES;
        rc = LLM_FULL;
    }

    for (i = 0; i < n; i++) {
        model = llm_metrics_find(m->model_name, LLM_METRICS_MODELS, 0,
                                 name[i], strlen(name[i]), 1);

        if (model == LLM_METRICS_OTHER) {
            rc = LLM_FULL;
        }

        llm_metrics_put(&m->engine[i], model + 1);
    }

    llm_metrics_put(&m->engines, (uint32_t) n);

    return rc;
}


uint32_t
llm_metrics_engine(llm_metrics_t *m, uint32_t i)
{
    uint32_t  model;

    if (i >= LLM_ZONE_ENGINES || i >= llm_metrics_get(&m->engines)) {
        return LLM_METRICS_OTHER;
    }

    model = llm_metrics_get(&m->engine[i]);

    return model - 1 < LLM_METRICS_MODELS ? model - 1 : LLM_METRICS_OTHER;
}


/* models of other servers leave the last places to engines */

uint32_t
llm_metrics_model(llm_metrics_t *m, const char *name, size_t len, int add)
{
    uint32_t  model;

    if (len == 0) {
        return LLM_METRICS_NOMODEL;
    }

    model = llm_metrics_find(m->model_name, LLM_METRICS_MODELS, 0, name, len,
                             0);

    if (model == LLM_METRICS_MODELS && add) {
        model = llm_metrics_find(m->model_name, LLM_METRICS_PROXIED, 0, name,
                                 len, 1);

        if (model == LLM_METRICS_PROXIED) {
            return LLM_METRICS_OTHER;
        }
    }

    return model;
}


/*
 * The place of a name among n, looked for from the first one on, or with
 * spread from the one that its hash says, and around.  n: it is not there, or
 * with add: there is no room, or it is "other" or "none", which have their own
 * places.  Names that a label could not tell apart are one.
 */

static uint32_t
llm_metrics_find(llm_metrics_name_t *table, uint32_t n, int spread,
    const char *name, size_t len, int add)
{
    char                 text[LLM_METRICS_NAME + 1];
    uint32_t             i, k, first;
    uint64_t             hash, state, word[LLM_METRICS_NAME / 8];
    llm_metrics_name_t  *e;

    len = llm_call_text(text, sizeof(text), name, len);

    if (len == 0 || strcmp(text, "other") == 0 || strcmp(text, "none") == 0) {
        return n;
    }

    memset(word, 0, sizeof(word));
    memcpy(word, text, len);

    hash = llm_metrics_hash(text, len);
    first = spread ? (uint32_t) ((hash >> 8) % n) : 0;

    for (i = 0; i < n; i++) {
        k = (uint32_t) ((first + i) % n);
        e = &table[k];

        state = atomic_load_explicit(&e->state, memory_order_acquire);

        if (state == 0) {

            if (!add) {
                return n;
            }

            if (atomic_compare_exchange_strong(&e->state, &state,
                                               hash | LLM_NAME_CLAIMED))
            {
                llm_metrics_publish(e, hash, word, len);
                return k;
            }

            /* state is what came first */
        }

        if (state == (hash | LLM_NAME_CLAIMED)) {
            llm_metrics_publish(e, hash, word, len);
            return k;
        }

        if (state == (hash | LLM_NAME_THERE)
            && llm_metrics_is(e, hash, word, len))
        {
            return k;
        }
    }

    return n;
}


static int
llm_metrics_is(llm_metrics_name_t *n, uint64_t hash, const uint64_t *word,
    size_t len)
{
    int  i;

    if (llm_metrics_get(&n->len) != len) {
        return 0;
    }

    for (i = 0; i < LLM_METRICS_NAME / 8; i++) {
        if (llm_metrics_get(&n->word[i]) != word[i]) {
            return 0;
        }
    }

    return 1;
}


static void
llm_metrics_publish(llm_metrics_name_t *n, uint64_t hash,
    const uint64_t *word, size_t len)
{
    int  i;

    for (i = 0; i < LLM_METRICS_NAME / 8; i++) {
        llm_metrics_put(&n->word[i], word[i]);
    }

    llm_metrics_put(&n->len, len);

    atomic_store_explicit(&n->state, hash | LLM_NAME_THERE,
                          memory_order_release);
}


/* without the bits of a state, never 0 */

static uint64_t
llm_metrics_hash(const char *name, size_t len)
{
    uint64_t  hash;

    hash = llm_engine_hash(name, len);
    hash ^= hash >> 29;
    hash &= ~(uint64_t) LLM_NAME_BITS;

    return hash ? hash : LLM_NAME_BITS + 1;
}


size_t
llm_metrics_name(llm_metrics_name_t *n, char *name)
{
    int       i;
    uint64_t  state, len, word;

    state = atomic_load_explicit(&n->state, memory_order_acquire);

    if ((state & LLM_NAME_BITS) != LLM_NAME_THERE) {
        return 0;
    }

    for (i = 0; i < LLM_METRICS_NAME / 8; i++) {
        word = llm_metrics_get(&n->word[i]);
        memcpy(name + i * 8, &word, 8);
    }

    len = llm_metrics_get(&n->len);

    return len <= LLM_METRICS_NAME ? (size_t) len : 0;
}


size_t
llm_metrics_model_name(llm_metrics_t *m, uint32_t model, char *name)
{
    if (model < LLM_METRICS_MODELS) {
        return llm_metrics_name(&m->model_name[model], name);
    }

    if (model >= LLM_METRICS_ALL) {
        return 0;
    }

    memcpy(name, model == LLM_METRICS_OTHER ? "other" : "none\0", 5);

    return model == LLM_METRICS_OTHER ? 5 : 4;
}


static void
llm_metrics_observe(llm_metrics_hist_t *h, uint64_t us, uint64_t n)
{
    int  i, low, high;

    /* the first bound that us is not above */

    low = 0;
    high = LLM_METRICS_BOUNDS;

    while (low < high) {
        i = (low + high) / 2;

        if (us <= llm_metrics_bound[i]) {
            high = i;

        } else {
            low = i + 1;
        }
    }

    llm_metrics_add(&h->bucket[low], n);
    llm_metrics_add(&h->sum, us * n);
}


void
llm_metrics_first(llm_metrics_t *m, uint32_t model, uint64_t us)
{
    if (model < LLM_METRICS_ALL) {
        llm_metrics_observe(&m->model[model].ttft, us, 1);
    }
}


void
llm_metrics_token(llm_metrics_t *m, uint32_t model, uint32_t n, uint64_t us)
{
    if (model >= LLM_METRICS_ALL || n == 0) {
        return;
    }

    llm_metrics_add(&m->model[model].completion_tokens, n);

    if (us != LLM_METRICS_UNKNOWN) {
        llm_metrics_observe(&m->model[model].gap, us / n, n);
    }
}


void
llm_metrics_request(llm_metrics_t *m, const llm_metrics_request_t *q)
{
    uint32_t              i, status;
    llm_metrics_model_t  *model;

    if (q->model >= LLM_METRICS_ALL) {
        return;
    }

    model = &m->model[q->model];
    status = q->status >= 100 && q->status < 600 ? q->status : 500;

    if (q->cancelled) {
        llm_metrics_add(&model->cancelled, 1);
    }

    if (q->refused) {
        llm_metrics_add(&model->refused, 1);
        llm_metrics_add(&m->code[llm_metrics_code(m, q->code, q->code_len)],
                        1);
    }

    for (i = 0; i < LLM_METRICS_FINISHES; i++) {
        if (q->finish[i]) {
            llm_metrics_add(&model->finish[i], q->finish[i]);
        }
    }

    if (q->prompt_tokens) {
        llm_metrics_add(&model->prompt_tokens, q->prompt_tokens);
    }

    if (q->completion_tokens > q->counted) {
        llm_metrics_add(&model->completion_tokens,
                        q->completion_tokens - q->counted);
    }

    if (q->generates) {
        llm_metrics_request_times(model, q);
    }

    if (q->client) {
        llm_metrics_request_client(m, q);
    }

    /* the last: a request that is seen is seen whole, more or less */

    llm_metrics_add(&model->status[status - 100], 1);
}


static void
llm_metrics_request_times(llm_metrics_model_t *model,
    const llm_metrics_request_t *q)
{
    if (q->queue_us != LLM_METRICS_UNKNOWN) {
        llm_metrics_observe(&model->queue, q->queue_us, 1);
    }

    if (q->total_us == LLM_METRICS_UNKNOWN) {
        return;
    }

    llm_metrics_observe(&model->total, q->total_us, 1);

    if (q->ttft_us < q->total_us && q->completion_tokens > 1) {
        llm_metrics_observe(&model->each, (q->total_us - q->ttft_us)
                                          / (q->completion_tokens - 1), 1);
    }
}


static void
llm_metrics_request_client(llm_metrics_t *m, const llm_metrics_request_t *q)
{
    uint32_t               i;
    llm_metrics_client_t  *client;

    i = llm_metrics_find(m->client_name, LLM_METRICS_CLIENTS, 1, q->client,
                         q->client_len, 1);

    client = &m->client[i];

    llm_metrics_add(&client->requests, 1);

    if (q->prompt_tokens) {
        llm_metrics_add(&client->prompt_tokens, q->prompt_tokens);
    }

    if (q->completion_tokens) {
        llm_metrics_add(&client->completion_tokens, q->completion_tokens);
    }
}


/* what is no code of an error's is "other" */

static uint32_t
llm_metrics_code(llm_metrics_t *m, const char *code, size_t len)
{
    size_t  i;

    if (len == 0 || len > LLM_METRICS_NAME) {
        return LLM_METRICS_CODES;
    }

    for (i = 0; i < len; i++) {
        if ((code[i] < 'a' || code[i] > 'z') && (code[i] < '0' || code[i] > '9')
            && code[i] != '_')
        {
            return LLM_METRICS_CODES;
        }
    }

    return llm_metrics_find(m->code_name, LLM_METRICS_CODES, 0, code, len, 1);
}


void
llm_metrics_lost(llm_metrics_t *m, uint64_t n)
{
    llm_metrics_add(&m->lost, n);
}


void
llm_metrics_audit_committed(llm_metrics_t *m, uint64_t n, uint64_t us)
{
    llm_metrics_add(&m->audit.records, n);
    llm_metrics_observe(&m->audit.commit, us, 1);
}


void
llm_metrics_audit_failed(llm_metrics_t *m, uint64_t n)
{
    llm_metrics_add(&m->audit.failures, n);
}


/* a process's place is its own until it is found dead.  Where all are taken,
 * it says nothing */

void
llm_metrics_audit_waiting(llm_metrics_t *m, pid_t pid, int64_t since)
{
    int      i, n;
    int32_t  was;

    if (pid <= 0) {
        return;
    }

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        if (llm_metrics_get(&m->audit.wait[i].pid) == pid) {
            llm_metrics_put(&m->audit.wait[i].since, since);
            return;
        }
    }

    for (n = 0; since && n < LLM_ZONE_WORKERS; n++) {
        was = llm_metrics_get(&m->audit.wait[n].pid);

        if (was && !llm_metrics_gone(was)) {
            continue;
        }

        if (atomic_compare_exchange_strong(&m->audit.wait[n].pid, &was,
                                           (int32_t) pid))
        {
            llm_metrics_put(&m->audit.wait[n].since, since);
            return;
        }
    }
}


void
llm_metrics_reap(llm_metrics_t *m)
{
    int      i;
    int32_t  pid;

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        pid = llm_metrics_get(&m->audit.wait[i].pid);

        if (pid && llm_metrics_gone(pid)) {
            llm_metrics_put(&m->audit.wait[i].since, 0);
            (void) atomic_compare_exchange_strong(&m->audit.wait[i].pid, &pid,
                                                  0);
        }
    }
}


uint64_t
llm_metrics_audit_lag(llm_metrics_t *m, int64_t time)
{
    int      i;
    int32_t  pid;
    int64_t  since, lag;

    lag = 0;

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        pid = llm_metrics_get(&m->audit.wait[i].pid);
        since = llm_metrics_get(&m->audit.wait[i].since);

        if (pid > 0 && since > 0 && since < time && time - since > lag
            && !llm_metrics_gone(pid))
        {
            lag = time - since;
        }
    }

    return (uint64_t) lag;
}


static int
llm_metrics_gone(pid_t pid)
{
    return pid <= 0 || (kill(pid, 0) == -1 && errno == ESRCH);
}


void
llm_metrics_audit_writable(llm_metrics_t *m, int writable)
{
    llm_metrics_put(&m->audit.writable, writable ? 2u : 1u);
}


void
llm_metrics_audit_unsigned(llm_metrics_t *m, int64_t since)
{
    llm_metrics_put(&m->audit.since, since);
}


void
llm_metrics_audit_kept(llm_metrics_t *m, int kept)
{
    llm_metrics_put(&m->audit.off, kept ? 0u : 1u);
}


int64_t
llm_metrics_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


llm_gpu_status_t *
llm_metrics_gpus(llm_metrics_t *m)
{
    return &m->gpu;
}
