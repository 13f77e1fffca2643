
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics: the shared zone, what requests count in it, a sample every ten
 * seconds, and the text of llm_metrics.  Times are taken from the clock, not
 * from nginx's cached time, which an event loop under load lets get old.
 *
 * What needs a look into the stores is found out on the worker's thread and
 * kept in the zone: a scrape takes what is there.
 */


#include "ngx_http_llm.h"
#include <time.h>


#define NGX_HTTP_LLM_METRICS_TYPE                                             \
    "text/plain; version=0.0.4; charset=utf-8"


typedef struct {
    ngx_http_llm_task_t        task;
    ngx_http_llm_main_conf_t  *mcf;
    int64_t                    now;         /* unix seconds */
    int                        rc;
    char                       err[LLM_ERRLEN];
} ngx_http_llm_look_t;


static ngx_int_t ngx_http_llm_metrics_init_zone(ngx_shm_zone_t *shm,
    void *data);
static void ngx_http_llm_metrics_timer(ngx_event_t *ev);
static int ngx_http_llm_metrics_sample(ngx_http_llm_main_conf_t *mcf);
static void ngx_http_llm_metrics_look(ngx_http_llm_main_conf_t *mcf);
static void ngx_http_llm_metrics_look_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_metrics_look_done(ngx_http_llm_task_t *task);
static uint32_t ngx_http_llm_metrics_engine(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static uint32_t ngx_http_llm_metrics_model(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_uint_t status);
static ngx_uint_t ngx_http_llm_metrics_status(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_uint_t ngx_http_llm_metrics_gone(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_uint_t status);
static void ngx_http_llm_metrics_refusal(ngx_http_llm_ctx_t *ctx,
    llm_metrics_request_t *q, u_char *buf, size_t size);
static void ngx_http_llm_metrics_answer(ngx_http_llm_ctx_t *ctx,
    llm_metrics_request_t *q);
static ngx_int_t ngx_http_llm_metrics_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_metrics_send(ngx_http_request_t *r,
    llm_buf_t *text);
static void ngx_http_llm_metrics_free(void *data);


ngx_int_t
ngx_http_llm_metrics_zone(ngx_conf_t *cf, ngx_http_llm_main_conf_t *mcf)
{
    size_t     size;
    ngx_str_t  name;

    if (mcf->store.len == 0 && mcf->engines.nelts == 0) {
        return NGX_OK;
    }

    ngx_str_set(&name, "nginx-llm-metrics");
    size = llm_metrics_size();

    /* the slab pool's page table takes 24 of 4096 bytes */

    mcf->metrics_shm = ngx_shared_memory_add(cf, &name, size + size / 64
                                                        + 64 * ngx_pagesize,
                                             &ngx_http_llm_module);
    if (mcf->metrics_shm == NULL) {
        return NGX_ERROR;
    }

    mcf->metrics_shm->init = ngx_http_llm_metrics_init_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_metrics_init_zone(ngx_shm_zone_t *shm, void *data)
{
    char              err[LLM_ERRLEN];
    size_t            size;
    llm_metrics_t    *m;
    ngx_slab_pool_t  *pool;

    size = llm_metrics_size();

    if (data) {
        /* a reload: what was counted stays counted */

        if (!llm_metrics_valid(data, size)) {
            ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0, "llm_metrics: the "
                          "shared zone is of another build: restart nginx");
            return NGX_ERROR;
        }

        shm->data = data;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) shm->shm.addr;

    /* fresh pages are zero already; touching them would take the memory */

    m = ngx_slab_alloc(pool, size);

    if (m == NULL
        || llm_metrics_init(m, size, ngx_http_llm_now(), err, sizeof(err))
           != LLM_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0, "llm_metrics: %s",
                      m ? err : "the shared zone is too small");
        return NGX_ERROR;
    }

    shm->data = m;

    return NGX_OK;
}


llm_metrics_t *
ngx_http_llm_metrics(ngx_http_llm_main_conf_t *mcf)
{
    return mcf->metrics_shm ? mcf->metrics_shm->data : NULL;
}


void
ngx_http_llm_metrics_engines(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf)
{
    const char         *name[LLM_ZONE_ENGINES];
    ngx_uint_t          i, n;
    llm_metrics_t      *m;
    llm_engine_conf_t  *ec;

    m = ngx_http_llm_metrics(mcf);

    if (m == NULL) {
        return;
    }

    ec = mcf->engines.elts;
    n = ngx_min(mcf->engines.nelts, LLM_ZONE_ENGINES);

    for (i = 0; i < n; i++) {
        name[i] = ec[i].name;
    }

    if (llm_metrics_engines(m, name, (int) n) != LLM_OK) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0, "llm_metrics: an engine "
                      "counts as \"other\": more than %d names were used, or "
                      "that is its name", LLM_METRICS_MODELS);
    }

    llm_metrics_audit_kept(m, mcf->audited);
}


void
ngx_http_llm_metrics_start(ngx_cycle_t *cycle, ngx_http_llm_main_conf_t *mcf)
{
    ngx_event_t  *ev = &mcf->worker->sample;

    llm_metrics_reap(ngx_http_llm_metrics(mcf));

    ev->handler = ngx_http_llm_metrics_timer;
    ev->data = mcf;
    ev->log = cycle->log;
    ev->cancelable = 1;

    /* the one before may have been a worker's that is gone */

    (void) ngx_http_llm_metrics_sample(mcf);
    ngx_add_timer(ev, LLM_METRICS_PERIOD);
}


/* whoever takes a sample takes the next one; the other workers wake for no more
 * than to see that somebody does */

static void
ngx_http_llm_metrics_timer(ngx_event_t *ev)
{
    int                        taken;
    ngx_http_llm_main_conf_t  *mcf = ev->data;

    if (ngx_exiting || ngx_terminate) {
        return;
    }

    taken = ngx_http_llm_metrics_sample(mcf);

    ngx_add_timer(ev, taken ? LLM_METRICS_PERIOD : 3 * LLM_METRICS_PERIOD);
}


static int
ngx_http_llm_metrics_sample(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_metrics_look(mcf);

    return llm_metrics_sample(ngx_http_llm_metrics(mcf),
                              ngx_http_llm_zone(mcf), llm_metrics_clock(),
                              ngx_http_llm_now());
}


/* have the thread look into the stores, when it is time */

static void
ngx_http_llm_metrics_look(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_look_t    *look;
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w == NULL || w->store == NULL
        || !llm_metrics_stores_due(ngx_http_llm_metrics(mcf),
                                   llm_store_txnid(w->store),
                                   llm_metrics_clock(), ngx_time()))
    {
        return;
    }

    look = ngx_calloc(sizeof(ngx_http_llm_look_t), ngx_cycle->log);
    if (look == NULL) {
        return;
    }

    look->task.run = ngx_http_llm_metrics_look_run;
    look->task.done = ngx_http_llm_metrics_look_done;
    look->mcf = mcf;
    look->now = (int64_t) ngx_time();

    if (ngx_http_llm_post(mcf, &look->task, ngx_cycle->log) != NGX_OK) {
        ngx_free(look);
    }
}


static void
ngx_http_llm_metrics_look_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_look_t *look = (ngx_http_llm_look_t *) task;

    look->rc = llm_metrics_stores_look(ngx_http_llm_metrics(look->mcf), store,
                                       calls, look->now, look->mcf->max_age,
                                       look->err, sizeof(look->err));
}


static void
ngx_http_llm_metrics_look_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_look_t *look = (ngx_http_llm_look_t *) task;

    if (look->rc != LLM_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "llm_metrics: %s",
                      look->err);
    }

    ngx_free(look);
}


/* microseconds of CLOCK_MONOTONIC */

uint64_t
ngx_http_llm_us(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


void
ngx_http_llm_metrics_event(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_event_t *ev)
{
    uint64_t        us;
    uint32_t        model;
    llm_metrics_t  *m;

    if (ev->type == LLM_EVENT_FINISH) {

        if (ev->choice == 0) {
            ctx->queue_us = ev->u.finish.queued_us;
        }

        /* of the choice that took longest */

        us = ev->u.finish.total_us - ngx_min(ev->u.finish.total_us,
                                             ev->u.finish.queued_us);
        ctx->inference_us = ngx_max(ctx->inference_us, us);

        return;
    }

    m = ngx_http_llm_metrics(ngx_http_get_module_main_conf(r,
                                                       ngx_http_llm_module));
    model = ngx_http_llm_metrics_engine(r, ctx);

    if (ev->n_token && ctx->ttft_us == 0) {
        ctx->ttft_us = ngx_max(ngx_http_llm_us() - ctx->arrival_us, 1);
        llm_metrics_first(m, model, ctx->ttft_us);
    }

    ctx->counted += ev->n_token;

    llm_metrics_token(m, model, ev->n_token,
                      ev->gap_us ? ev->gap_us : LLM_METRICS_UNKNOWN);
}


static uint32_t
ngx_http_llm_metrics_engine(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_main_conf_t  *mcf;

    if (ctx->metrics_model == 0) {
        mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
        ctx->metrics_model = llm_metrics_model(ngx_http_llm_metrics(mcf),
                                               (char *) ctx->model.data,
                                               ctx->model.len, 0)
                             + 1;
    }

    return ctx->metrics_model - 1;
}


/* the model is known at the end only: the time is counted then */

void
ngx_http_llm_metrics_proxy(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    if (ctx->ttft_us == 0 && ctx->scan->events) {
        ctx->ttft_us = ngx_max(ngx_http_llm_us() - ctx->arrival_us, 1);
    }
}


void
ngx_http_llm_metrics_log(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char                  code[32];
    llm_metrics_t          *m;
    llm_metrics_request_t   q;

    m = ngx_http_llm_metrics(ngx_http_get_module_main_conf(r,
                                                       ngx_http_llm_module));
    if (m == NULL || ctx->health) {
        /* probes would hide errors among them */
        return;
    }

    ngx_memzero(&q, sizeof(llm_metrics_request_t));

    q.status = (uint32_t) ngx_http_llm_metrics_status(r, ctx);
    q.cancelled = ngx_http_llm_metrics_gone(r, ctx, q.status);

    if (q.cancelled) {
        q.status = NGX_HTTP_CLIENT_CLOSED_REQUEST;

    } else if (q.status >= NGX_HTTP_BAD_REQUEST) {
        ngx_http_llm_metrics_refusal(ctx, &q, code, sizeof(code));
    }

    q.model = ngx_http_llm_metrics_model(r, ctx, q.status);

    if (ctx->key) {
        q.client = ctx->key->client;
        q.client_len = ngx_strlen(ctx->key->client);
    }

    q.prompt_tokens = ctx->prompt_tokens;
    q.completion_tokens = ngx_http_llm_completion_tokens(ctx);
    q.counted = ctx->counted;

    ngx_http_llm_metrics_answer(ctx, &q);

    if (ctx->scan && ctx->ttft_us && q.generates) {
        llm_metrics_first(m, q.model, ctx->ttft_us);
    }

    llm_metrics_request(m, &q);
}


/* what the client saw, or would have seen where a stream had begun */

static ngx_uint_t
ngx_http_llm_metrics_status(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_uint_t  status;

    status = r->err_status ? r->err_status : r->headers_out.status;

    if (status == 0) {
        return NGX_HTTP_CLIENT_CLOSED_REQUEST;
    }

    if (status < NGX_HTTP_BAD_REQUEST && ctx->status >= NGX_HTTP_BAD_REQUEST
        && (ctx->submitted || ctx->revoked))
    {
        return ctx->status;
    }

    return status;
}


/* its client went before the end of the answer */

static ngx_uint_t
ngx_http_llm_metrics_gone(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t status)
{
    if (status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {
        return 1;
    }

    if (ctx->submitted) {
        return !ctx->finished && !ctx->revoked
               && status < NGX_HTTP_BAD_REQUEST;
    }

    return r->connection->error && r->upstream != NULL
           && status < NGX_HTTP_BAD_REQUEST && !ctx->revoked;
}


/* by us, not by a server behind us: then there is a code, or our page */

static void
ngx_http_llm_metrics_refusal(ngx_http_llm_ctx_t *ctx,
    llm_metrics_request_t *q, u_char *buf, size_t size)
{
    if (ctx->code.len) {
        q->refused = 1;
        q->code = (char *) ctx->code.data;
        q->code_len = ctx->code.len;
        return;
    }

    if (ctx->replace) {
        q->refused = 1;
        q->code = (char *) buf;
        q->code_len = (size_t) (ngx_snprintf(buf, size, "http_%uD", q->status)
                                - buf);
    }
}


/*
 * An engine's requests have its name, whatever became of them; what asks for
 * nothing (GET, administration) has none.  Another server's model is the one
 * that its answer names, as only that is no invention of the client's.
 */

static uint32_t
ngx_http_llm_metrics_model(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t status)
{
    llm_metrics_t             *m;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    m = ngx_http_llm_metrics(mcf);

    if (ctx->taken || (lcf->engine.len && (r->method & NGX_HTTP_POST))) {
        return llm_metrics_model(m, (char *) (ctx->taken ? ctx->model.data
                                                         : lcf->engine.data),
                                 ctx->taken ? ctx->model.len
                                            : lcf->engine.len, 0);
    }

    if (ctx->scan && ctx->scan->model_len) {
        return llm_metrics_model(m, ctx->scan->model, ctx->scan->model_len,
                                 status == NGX_HTTP_OK);
    }

    if (lcf->engine.len || lcf->admin || lcf->metrics
        || !(r->method & (NGX_HTTP_POST|NGX_HTTP_PUT|NGX_HTTP_PATCH)))
    {
        return LLM_METRICS_NOMODEL;
    }

    return ctx->model.len ? llm_metrics_model(m, (char *) ctx->model.data,
                                              ctx->model.len, 0)
                          : LLM_METRICS_OTHER;
}


/* an answer that was whole: its times count */

static void
ngx_http_llm_metrics_answer(ngx_http_llm_ctx_t *ctx, llm_metrics_request_t *q)
{
    uint32_t    reason;
    ngx_uint_t  i;

    for (i = 0; i < ctx->n_choice; i++) {
        reason = ctx->choice[i].finish;

        if (reason == LLM_FINISH_NONE) {
            reason = q->cancelled ? LLM_FINISH_CANCELLED : LLM_FINISH_ERROR;
        }

        if (reason < LLM_METRICS_FINISHES) {
            q->finish[reason]++;
        }
    }

    q->queue_us = ctx->n_choice && ctx->choice[0].finish
                  ? ctx->queue_us : LLM_METRICS_UNKNOWN;
    q->ttft_us = ctx->ttft_us ? ctx->ttft_us : LLM_METRICS_UNKNOWN;
    q->total_us = ngx_http_llm_us() - ctx->arrival_us;

    q->generates = q->status == NGX_HTTP_OK
                   && (ctx->submitted || ctx->scan);
}


char *
ngx_http_llm_metrics_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_llm_loc_conf_t  *lcf = conf;

    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->metrics) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    lcf->metrics = 1;
    clcf->handler = ngx_http_llm_metrics_handler;

    return NGX_CONF_OK;
}


char *
ngx_http_llm_metrics_merge(ngx_conf_t *cf, ngx_http_llm_loc_conf_t *prev,
    ngx_http_llm_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_llm_main_conf_t  *mcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    if (!conf->metrics && (clcf->noname || clcf->lmt_excpt)) {
        conf->metrics = prev->metrics;

        if (clcf->lmt_excpt && clcf->handler == NULL && conf->metrics) {
            clcf->handler = ngx_http_llm_metrics_handler;
        }
    }

    if (!conf->metrics) {
        return NGX_CONF_OK;
    }

    if (conf->auth == NGX_CONF_UNSET) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"llm_metrics\" would be open to everybody: say "
                           "\"llm_auth on\", or \"llm_auth off\" if that is "
                           "meant");
        return NGX_CONF_ERROR;
    }

    if (mcf->metrics_shm == NULL && ngx_process != NGX_PROCESS_SIGNALLER) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"llm_metrics\" needs the directive "
                           "\"llm_store\" or \"llm_engine\"");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_llm_metrics_handler(ngx_http_request_t *r)
{
    int                        rc;
    llm_buf_t                 *text;
    ngx_str_t                  allow;
    ngx_http_llm_ctx_t        *ctx;
    ngx_pool_cleanup_t        *cln;
    ngx_http_llm_main_conf_t  *mcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        ngx_str_set(&allow, "GET, HEAD");

        if (ngx_http_llm_header(r, "Allow", &allow) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = (int) ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(llm_buf_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    text = cln->data;
    ngx_memzero(text, sizeof(llm_buf_t));
    cln->handler = ngx_http_llm_metrics_free;

    /* what tells that the audit trail can't be written needs no record there;
     * who was refused has one */

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx) {
        ctx->looks = 1;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    ngx_http_llm_metrics_look(mcf);

    rc = llm_metrics_text(ngx_http_llm_metrics(mcf), ngx_http_llm_zone(mcf),
                          LLM_VERSION, llm_metrics_clock(), text);

    if (rc != LLM_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "llm_metrics: out of memory");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_llm_metrics_send(r, text);
}


static void
ngx_http_llm_metrics_free(void *data)
{
    llm_buf_done(data);
}


static ngx_int_t
ngx_http_llm_metrics_send(ngx_http_request_t *r, llm_buf_t *text)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    ngx_chain_t  out;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = (off_t) text->len;
    ngx_str_set(&r->headers_out.content_type, NGX_HTTP_LLM_METRICS_TYPE);
    r->headers_out.content_type_len = sizeof("text/plain") - 1;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = (u_char *) text->data;
    b->last = b->pos + text->len;
    b->memory = 1;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
