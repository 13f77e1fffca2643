
/*
 * Copyright (C) nginx-llm contributors
 *
 * One configured engine of a host: the model, its tokenizer and template, a
 * back end, and the scheduler with its thread.
 */


#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "llm_build.h"
#include "llm_host.h"


#define LLM_CONTEXT_DEFAULT  8192
#define LLM_STEP_TOKENS      512     /* in a step when nobody decodes */
#define LLM_STEP_CHUNK       64      /* of prompts beside decoding streams */


static int llm_instance_load(llm_instance_t *in, char *err, size_t errlen);
static int llm_instance_sched(llm_instance_t *in, char *err, size_t errlen);
static void *llm_instance_main(void *data);
static int llm_instance_batch(const llm_instance_t *in,
    const llm_param_values_t *v);
static int llm_instance_queue(const llm_instance_t *in,
    const llm_param_values_t *v);
static void llm_instance_limits(llm_instance_t *in,
    const llm_param_values_t *v);
static void llm_instance_count(llm_instance_t *in);
static void llm_instance_idle(llm_instance_t *in);
static void llm_instance_report(llm_instance_t *in);
static void llm_instance_add(_Atomic uint64_t *to, uint64_t *seen,
    uint64_t now);
static uint64_t llm_hash(uint64_t h, const void *p, size_t len);
static uint64_t llm_now_ms(void);


int
llm_engine_check(const llm_engine_conf_t *conf, char *err, size_t errlen)
{
    int               rc;
    char             *bos, *eos;
    llm_model_t      *model;
    llm_template_t   *chat;
    llm_tokenizer_t  *tok;

    rc = llm_model_files(&model, &tok, &chat, &bos, &eos, conf->model, err,
                         errlen);

    llm_template_destroy(chat);
    llm_tokenizer_close(tok);
    llm_model_close(model);
    free(bos);
    free(eos);

    return rc;
}


int
llm_model_files(llm_model_t **model, llm_tokenizer_t **tok,
    llm_template_t **chat, char **bos, char **eos, const char *dir, char *err,
    size_t errlen)
{
    int  rc;

    *model = NULL;
    *tok = NULL;
    *chat = NULL;
    *bos = NULL;
    *eos = NULL;

    rc = llm_model_open(model, dir, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_tokenizer_open(tok, dir, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    return llm_chat_open(chat, bos, eos, dir, err, errlen);
}


uint64_t
llm_engine_conf_hash(const llm_engine_conf_t *conf, int n)
{
    int          i;
    char         path[sizeof(conf->model) + 64];
    size_t       k;
    uint64_t     h;
    struct stat  st;

    static const char *const  file[] = {
        "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "model.safetensors",
        "model.safetensors.index.json"
    };

    h = 0xcbf29ce484222325ull;

    for (i = 0; i < n; i++) {
        h = llm_hash(h, conf[i].name, strlen(conf[i].name) + 1);
        h = llm_hash(h, conf[i].model, strlen(conf[i].model) + 1);
        h = llm_hash(h, &conf[i].device, sizeof(conf[i].device));
        h = llm_hash(h, &conf[i].threads, sizeof(int));
        h = llm_hash(h, &conf[i].context, sizeof(int));
        h = llm_hash(h, &conf[i].max_batch, sizeof(int));
        h = llm_hash(h, &conf[i].queue, sizeof(int));
        h = llm_hash(h, &conf[i].kv_cache, sizeof(uint64_t));

        for (k = 0; k < sizeof(file) / sizeof(file[0]); k++) {
            snprintf(path, sizeof(path), "%s/%s", conf[i].model, file[k]);

            if (stat(path, &st) == 0) {
                h = llm_hash(h, &st.st_dev, sizeof(st.st_dev));
                h = llm_hash(h, &st.st_ino, sizeof(st.st_ino));
                h = llm_hash(h, &st.st_size, sizeof(st.st_size));
                h = llm_hash(h, &st.st_mtim, sizeof(st.st_mtim));
            }
        }
    }

    return h;
}


static uint64_t
llm_hash(uint64_t h, const void *p, size_t len)
{
    size_t                i;
    const unsigned char  *b = p;

    for (i = 0; i < len; i++) {
        h = (h ^ b[i]) * 0x100000001b3ull;
    }

    return h;
}


void
llm_instance_open(llm_instance_t *in)
{
    int       rc;
    char      err[LLM_ERRLEN], device[64];
    sigset_t  all, old;
    uint64_t  start;

    start = llm_now_ms();

    llm_instance_count(in);

    atomic_store(&in->status->hash, in->hash);
    atomic_store(&in->status->state, LLM_ENGINE_LOADING);

    rc = llm_instance_load(in, err, sizeof(err));

    if (rc == LLM_OK) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        rc = pthread_create(&in->thread, NULL, llm_instance_main, in);
        pthread_sigmask(SIG_SETMASK, &old, NULL);

        if (rc != 0) {
            llm_err(err, sizeof(err), LLM_ERROR,
                    "pthread_create() failed (%d: %s)", rc, strerror(rc));
        }
    }

    if (rc != LLM_OK) {
        snprintf(in->failure, sizeof(in->failure), "%s", err);
        atomic_store(&in->status->state, LLM_ENGINE_FAILED);
        llm_host_log(in->host, LLM_LOG_ERR,
                     "engine \"%s\" can't serve: %s", in->conf.name, err);
        return;
    }

    in->started = 1;
    atomic_store(&in->status->state, LLM_ENGINE_READY);

    llk_describe(in->be, device, sizeof(device));

    llm_host_log(in->host, LLM_LOG_NOTICE,
                 "engine \"%s\" serves \"%s\": %llu parameters in %s, %s, "
                 "context %d, loaded in %llu ms", in->conf.name,
                 in->conf.model,
                 (unsigned long long) llm_model_params(in->model),
                 llk_type_name(llm_model_type(in->model)), device,
                 in->env.context,
                 (unsigned long long) (llm_now_ms() - start));

    if (in->chat == NULL) {
        llm_host_log(in->host, LLM_LOG_WARN,
                     "engine \"%s\": the model has no chat template, only "
                     "/v1/completions will work", in->conf.name);
    }
}


static int
llm_instance_load(llm_instance_t *in, char *err, size_t errlen)
{
    int                      rc;
    const llm_model_conf_t  *mc;

    rc = llm_model_files(&in->model, &in->tok, &in->chat, &in->bos, &in->eos,
                         in->conf.model, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    mc = llm_model_conf(in->model);

    in->env.name = in->conf.name;
    in->env.model = mc;
    in->env.tok = in->tok;
    in->env.chat = in->chat;
    in->env.bos = in->bos ? in->bos : "";
    in->env.eos = in->eos ? in->eos : "";
    in->env.context = in->conf.context ? in->conf.context
                                       : LLM_CONTEXT_DEFAULT;

    if (in->env.context > mc->context) {
        if (in->conf.context) {
            llm_host_log(in->host, LLM_LOG_WARN,
                         "engine \"%s\": context %d is more than the "
                         "model's %d, which is used", in->conf.name,
                         in->conf.context, mc->context);
        }

        in->env.context = mc->context;
    }

    rc = llk_open(&in->be, in->conf.device, in->conf.threads, err, errlen);
    if (rc != LLK_OK) {
        return rc;
    }

    rc = llm_instance_sched(in, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_model_warm(in->model, NULL, NULL);

    return llm_build(&in->build, in->conf.model, in->model, in->be, err,
                     errlen);
}


static int
llm_instance_sched(llm_instance_t *in, char *err, size_t errlen)
{
    int               rc, per_seq;
    uint64_t          blocks, most;
    llm_sched_conf_t  sc;

    per_seq = (in->env.context + LLK_KV_BLOCK - 1) / LLK_KV_BLOCK;

    blocks = in->conf.kv_cache / llm_model_block_bytes(in->model);
    most = (uint64_t) per_seq * (uint64_t) in->conf.max_batch;

    if (blocks > most) {
        blocks = most;
    }

    if (blocks < (uint64_t) per_seq) {
        llm_host_log(in->host, LLM_LOG_WARN,
                     "engine \"%s\": kv_cache holds %llu tokens, less than "
                     "the context of %d", in->conf.name,
                     (unsigned long long) blocks * LLK_KV_BLOCK,
                     in->env.context);
    }

    if (blocks == 0 || blocks > INT32_MAX / LLK_KV_BLOCK) {
        return llm_err(err, errlen, LLM_INVALID,
                       "kv_cache %llu bytes: one block of %d tokens takes "
                       "%zu bytes",
                       (unsigned long long) in->conf.kv_cache, LLK_KV_BLOCK,
                       llm_model_block_bytes(in->model));
    }

    sc.max_batch = in->conf.max_batch;
    sc.max_tokens = LLM_STEP_TOKENS > in->conf.max_batch
                    ? LLM_STEP_TOKENS : in->conf.max_batch;
    sc.chunk = LLM_STEP_CHUNK;
    sc.context = in->env.context;
    sc.n_block = (int) blocks;

    rc = llm_ctx_create(&in->ctx, in->model, in->be, sc.max_tokens,
                        sc.max_batch, sc.n_block, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    return llm_sched_create(&in->sched, &sc, in->ctx, err, errlen);
}


static void *
llm_instance_main(void *data)
{
    int                  rc;
    llm_instance_t      *in = data;
    llm_param_values_t   v;

    while (!atomic_load(&in->stop)) {
        llm_zone_params_get(in->host->zone, in->hash, &v);
        llm_sched_limit(in->sched, llm_instance_batch(in, &v));
        llm_instance_limits(in, &v);

        rc = llm_sched_step(in->sched);

        llm_instance_report(in);

        if (rc == LLM_AGAIN) {
            llm_sched_wait(in->sched);
        }
    }

    return NULL;
}


static int
llm_instance_batch(const llm_instance_t *in, const llm_param_values_t *v)
{
    int  n;

    n = (int) llm_param_value(v, LLM_PARAM_MAX_BATCH, in->conf.max_batch);

    /* the buffers have room for no more */

    return n < in->conf.max_batch ? n : in->conf.max_batch;
}


static int
llm_instance_queue(const llm_instance_t *in, const llm_param_values_t *v)
{
    return (int) llm_param_value(v, LLM_PARAM_QUEUE, in->conf.queue);
}


int
llm_instance_room(const llm_instance_t *in)
{
    llm_param_values_t  v;

    llm_zone_params_get(in->host->zone, in->hash, &v);

    return llm_instance_batch(in, &v) + llm_instance_queue(in, &v);
}


static void
llm_instance_limits(llm_instance_t *in, const llm_param_values_t *v)
{
    atomic_store_explicit(&in->status->max_batch,
                          (uint32_t) llm_instance_batch(in, v),
                          memory_order_relaxed);
    atomic_store_explicit(&in->status->queue,
                          (uint32_t) llm_instance_queue(in, v),
                          memory_order_relaxed);
}


/* counters go on where a holder before this one left them; of another engine
 * they begin anew */

static void
llm_instance_count(llm_instance_t *in)
{
    int                   i;
    llm_engine_status_t  *zs = in->status;

    memset(&in->base, 0, sizeof(in->base));
    llm_instance_idle(in);

    if (atomic_load(&zs->counted) == in->hash) {
        return;
    }

    atomic_store(&zs->counted, 0);
    atomic_store(&zs->steps, 0);
    atomic_store(&zs->step_us, 0);
    atomic_store(&zs->batched, 0);
    atomic_store(&zs->prefill_tokens, 0);
    atomic_store(&zs->decode_tokens, 0);
    atomic_store(&zs->prefix_asked, 0);
    atomic_store(&zs->prefix_hit, 0);
    atomic_store(&zs->preemptions, 0);

    for (i = 0; i < LLM_ZONE_BATCHES; i++) {
        atomic_store(&zs->batch[i], 0);
    }

    atomic_store(&zs->counted, in->hash);
}


/* nothing of it runs: a holder that was killed left what it had */

static void
llm_instance_idle(llm_instance_t *in)
{
    atomic_store(&in->status->running, 0);
    atomic_store(&in->status->waiting, 0);
    atomic_store(&in->status->blocks_used, 0);
}


_Static_assert(LLM_ZONE_BATCHES == LLM_SCHED_BATCHES, "one histogram");


static void
llm_instance_report(llm_instance_t *in)
{
    int                   i;
    llm_sched_stats_t     st;
    llm_engine_status_t  *zs = in->status;

    llm_sched_stats(in->sched, &st);

    atomic_store_explicit(&zs->running, (uint32_t) st.running,
                          memory_order_relaxed);
    atomic_store_explicit(&zs->waiting, (uint32_t) st.waiting,
                          memory_order_relaxed);
    atomic_store_explicit(&zs->blocks_used, (uint32_t) st.blocks_used,
                          memory_order_relaxed);
    atomic_store_explicit(&zs->blocks, (uint32_t) st.blocks,
                          memory_order_relaxed);

    llm_instance_add(&zs->steps, &in->base.steps, st.steps);
    llm_instance_add(&zs->step_us, &in->base.step_us, st.step_us);
    llm_instance_add(&zs->batched, &in->base.batched, st.batched);
    llm_instance_add(&zs->prefill_tokens, &in->base.prefill_tokens,
                     st.prefill_tokens);
    llm_instance_add(&zs->decode_tokens, &in->base.decode_tokens,
                     st.decode_tokens);
    llm_instance_add(&zs->prefix_asked, &in->base.prefix_asked,
                     st.prefix_asked);
    llm_instance_add(&zs->prefix_hit, &in->base.prefix_hit, st.prefix_hit);
    llm_instance_add(&zs->preemptions, &in->base.preemptions,
                     st.preemptions);

    for (i = 0; i < LLM_ZONE_BATCHES; i++) {
        llm_instance_add(&zs->batch[i], &in->base.batch[i], st.batch[i]);
    }
}


/* one writer, so no locked instruction; seen: what was added of now */

static void
llm_instance_add(_Atomic uint64_t *to, uint64_t *seen, uint64_t now)
{
    if (now == *seen) {
        return;
    }

    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed)
                              + (now - *seen), memory_order_relaxed);
    *seen = now;
}


void
llm_instance_close(llm_instance_t *in)
{
    if (in->started) {
        atomic_store(&in->stop, 1);
        llm_sched_wake(in->sched);
        pthread_join(in->thread, NULL);
        in->started = 0;
    }

    /* ends the sequences that are left: their clients get an error event */

    llm_sched_destroy(in->sched);
    llm_ctx_destroy(in->ctx);
    llk_close(in->be);
    llm_template_destroy(in->chat);
    llm_tokenizer_close(in->tok);
    llm_model_close(in->model);
    free(in->bos);
    free(in->eos);

    in->sched = NULL;
    in->ctx = NULL;
    in->be = NULL;
    in->chat = NULL;
    in->tok = NULL;
    in->model = NULL;
    in->bos = NULL;
    in->eos = NULL;

    llm_instance_idle(in);

    atomic_store(&in->status->state, LLM_ENGINE_NONE);
    atomic_store(&in->status->hash, 0);
}


static uint64_t
llm_now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}
