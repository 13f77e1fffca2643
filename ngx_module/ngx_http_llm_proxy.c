
/*
 * Copyright (C) nginx-llm contributors
 *
 * Other model servers behind llm_auth (proxy_pass and its kin): what a request
 * asks for, so that a key's models and token limits hold there too, and what
 * the response says that it took.
 *
 * For a key with such limits the body is read before the request is passed on,
 * and parsed on the worker's thread; for one without only when it is short,
 * for the audit trail.  A limited one's tokens are estimated at
 * half its bytes, which is more than any prompt has, and what the answer may
 * take is reserved: the max_tokens that it asks for, or 1024 and then more as
 * a stream goes on.
 */


#include "ngx_http_llm.h"


#define NGX_HTTP_LLM_ASK_TOKENS  1024   /* of a choice, when none are said */
#define NGX_HTTP_LLM_ASK_MORE    256
#define NGX_HTTP_LLM_ASK_FRAME   3      /* events of a choice with no token:
                                           its role, its end */


typedef struct {
    ngx_http_llm_task_t   task;
    ngx_http_llm_body_t   body;
    llm_ask_t             ask;
    int                   rc;
    char                  err[LLM_ERRLEN];
} ngx_http_llm_asking_t;


static ngx_uint_t ngx_http_llm_limited(ngx_http_llm_ctx_t *ctx);
static ngx_uint_t ngx_http_llm_short(ngx_http_request_t *r);
static void ngx_http_llm_ask_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_ask_post(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_ask_copy(ngx_http_request_t *r,
    ngx_http_llm_asking_t *a);
static void ngx_http_llm_ask_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_ask_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_ask_free(ngx_http_llm_asking_t *a);
static ngx_int_t ngx_http_llm_ask_judge(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_asking_t *a);
static uint64_t ngx_http_llm_proxy_completion(llm_usage_scan_t *scan);


/*
 * Access phase, after the key.  NGX_DECLINED: nothing to ask.  NGX_DONE: the
 * phase goes on when the body is there and parsed, and calls this again:
 * NGX_OK, or the error's status.
 */

ngx_int_t
ngx_http_llm_ask(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (ctx->asked) {

        if (ctx->ask_status != NGX_DONE) {
            return ctx->ask_status;
        }

        /* the body could not be read, this is where its error page leads */

        return r->err_status >= NGX_HTTP_BAD_REQUEST
               ? (ngx_int_t) r->err_status : NGX_HTTP_BAD_REQUEST;
    }

    if (lcf->engine.len || lcf->admin
        || !(r->method & (NGX_HTTP_POST|NGX_HTTP_PUT|NGX_HTTP_PATCH))
        || (!ngx_http_llm_limited(ctx) && !ngx_http_llm_short(r)))
    {
        return NGX_DECLINED;
    }

    if (ctx->taken && !r->preserve_body) {
        /* the engine has the body, and its error led here */
        return ctx->status ? (ngx_int_t) ctx->status : NGX_HTTP_BAD_REQUEST;
    }

    ctx->asked = 1;
    ctx->ask_status = NGX_DONE;

    rc = ngx_http_read_client_request_body(r, ngx_http_llm_ask_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_llm_limited(ngx_http_llm_ctx_t *ctx)
{
    llm_limits_t  *lim = &ctx->key->limits;

    return ctx->key->models_len || lim->tpm || lim->day || lim->month;
}


/* a body that the audit need not wait for until the answer comes */

static ngx_uint_t
ngx_http_llm_short(ngx_http_request_t *r)
{
    return r->headers_in.content_length_n > 0
           && r->headers_in.content_length_n <= NGX_HTTP_LLM_AUDIT_BODY
           && ngx_http_llm_audited(r);
}


static void
ngx_http_llm_ask_body_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);

    r->preserve_body = 1;

    if (ngx_http_llm_audited(r) && ngx_http_llm_audit_open(r, ctx) != NGX_OK) {
        rc = ngx_http_llm_audit_error(r);

    } else if (ngx_http_llm_limited(ctx)) {
        rc = ngx_http_llm_ask_post(r, ctx);

    } else {
        rc = NGX_DECLINED;
    }

    if (rc == NGX_OK) {
        /* nothing happens to the request until the thread is done */
        r->write_event_handler = ngx_http_request_empty_handler;
        return;
    }

    ctx->ask_status = rc;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


static ngx_int_t
ngx_http_llm_ask_post(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_http_llm_asking_t  *a;

    a = ngx_calloc(sizeof(ngx_http_llm_asking_t), r->connection->log);
    if (a == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    a->task.run = ngx_http_llm_ask_run;
    a->task.done = ngx_http_llm_ask_done;
    a->task.request = r;

    rc = ngx_http_llm_ask_copy(r, a);

    if (rc == NGX_OK
        && ngx_http_llm_post(ngx_http_get_module_main_conf(r,
                                                       ngx_http_llm_module),
                             &a->task, r->connection->log)
           != NGX_OK)
    {
        rc = ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                "store_unavailable",
                                "the request can't be checked now");
    }

    if (rc != NGX_OK) {
        ngx_http_llm_ask_free(a);
        return rc;
    }

    ctx->task = &a->task;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_ask_copy(ngx_http_request_t *r, ngx_http_llm_asking_t *a)
{
    size_t  size;

    size = ngx_http_llm_body_size(r);

    if (size == 0 || size > NGX_HTTP_LLM_ASK_BODY) {
        return ngx_http_llm_error(r, size ? NGX_HTTP_REQUEST_ENTITY_TOO_LARGE
                                          : NGX_HTTP_BAD_REQUEST,
                                  size ? "request_too_large"
                                       : "invalid_json",
                                  "the key has limits, and the request's "
                                  "body is no JSON object of at most %d "
                                  "bytes", NGX_HTTP_LLM_ASK_BODY);
    }

    return ngx_http_llm_body_copy(r, &a->body);
}


static void
ngx_http_llm_ask_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_asking_t *a = (ngx_http_llm_asking_t *) task;

    a->rc = ngx_http_llm_body_read(&a->body);

    if (a->rc == LLM_OK) {
        a->rc = llm_ask_parse(&a->ask, (char *) a->body.data, a->body.len,
                              a->err, sizeof(a->err));
    }
}


static void
ngx_http_llm_ask_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_asking_t *a = (ngx_http_llm_asking_t *) task;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    ngx_http_llm_ctx_t  *ctx;

    r = task->request;

    if (r == NULL) {
        ngx_http_llm_ask_free(a);
        return;
    }

    c = r->connection;
    ctx = ngx_http_llm_get_ctx(r);

    ngx_http_set_log_request(c->log, r);

    ctx->task = NULL;
    ctx->ask_status = ngx_http_llm_ask_judge(r, ctx, a);

    ngx_http_llm_ask_free(a);

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_llm_ask_free(ngx_http_llm_asking_t *a)
{
    ngx_http_llm_body_free(&a->body);
    ngx_free(a);
}


/* model and tokens of a request that may have both limited */

static ngx_int_t
ngx_http_llm_ask_judge(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_asking_t *a)
{
    u_char    *p;
    size_t     len;
    uint64_t   most;

    if (a->rc != LLM_OK) {
        return ngx_http_llm_error(r, NGX_HTTP_BAD_REQUEST, "invalid_json",
                                  "the key has limits, and the request's "
                                  "body is none that they can be held "
                                  "against: %s", a->err);
    }

    len = ngx_strlen(a->ask.model);

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(p, a->ask.model, len + 1);
    ctx->model.data = p;
    ctx->model.len = len;

    if (ctx->key->models_len
        && !llm_key_model(ctx->key, a->ask.model, len))
    {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "model_not_allowed",
                                  "this API key may not use this model");
    }

    ctx->ask_prompt = a->body.size / 2 + 1;
    ctx->ask_choices = a->ask.n;
    most = a->ask.max_tokens;

    if (most) {
        most = ctx->ask_prompt + most * a->ask.n;
        return ngx_http_llm_quota_reserve(r, ctx, most, most);
    }

    return ngx_http_llm_quota_reserve(r, ctx, ctx->ask_prompt
                                      + NGX_HTTP_LLM_ASK_TOKENS * a->ask.n,
                                      ctx->ask_prompt + a->ask.n);
}


/* header filter: is this a response that may tell what it took? */

ngx_int_t
ngx_http_llm_proxy_header(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_str_t   *type = &r->headers_out.content_type;
    ngx_uint_t   stream;

    if (r->upstream == NULL || r->headers_out.status != NGX_HTTP_OK
#if (NGX_HTTP_CACHE)
        || r->cached                    /* it takes no tokens again */
#endif
        || ctx->scan)
    {
        return NGX_OK;
    }

    stream = type->len >= sizeof("text/event-stream") - 1
             && ngx_strncasecmp(type->data, (u_char *) "text/event-stream",
                                sizeof("text/event-stream") - 1)
                == 0;

    if (!stream
        && (type->len < sizeof("application/json") - 1
            || ngx_strncasecmp(type->data, (u_char *) "application/json",
                               sizeof("application/json") - 1)
               != 0))
    {
        return NGX_OK;
    }

    ctx->scan = ngx_palloc(r->pool, sizeof(llm_usage_scan_t));
    if (ctx->scan == NULL) {
        return NGX_ERROR;
    }

    llm_usage_init(ctx->scan, (int) stream);

    /* what waits in a file for a slow client, or for a cache, is read too */

    r->filter_need_in_memory = 1;

    return NGX_OK;
}


/*
 * Body filter.  NGX_ERROR: a stream has used what was reserved for it, and no
 * more is to be had.  What is not streamed has been made by now.
 */

ngx_int_t
ngx_http_llm_proxy_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_chain_t *in)
{
    uint64_t            used;
    ngx_chain_t        *cl;
    llm_usage_scan_t   *scan = ctx->scan;

    for (cl = in; cl; cl = cl->next) {
        if (ngx_buf_in_memory(cl->buf)) {
            llm_usage_feed(scan, cl->buf->pos,
                           (size_t) (cl->buf->last - cl->buf->pos));
        }
    }

    ngx_http_llm_metrics_proxy(r, ctx);

    if (ctx->granted == 0 || !scan->stream) {
        return NGX_OK;
    }

    /* a usage may be said long before the end, so it ends no counting */

    used = (scan->found ? scan->prompt_tokens : ctx->ask_prompt)
           + ngx_http_llm_proxy_completion(scan);

    /* one that keeps to its max_tokens must not be cut for its frame */

    if (used <= ctx->granted
                + NGX_HTTP_LLM_ASK_FRAME * (uint64_t) ctx->ask_choices)
    {
        return NGX_OK;
    }

    if (ngx_http_llm_quota_reserve(r, ctx, used + NGX_HTTP_LLM_ASK_MORE
                                           * (uint64_t) ctx->ask_choices,
                                   used)
        == NGX_OK)
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "llm_auth: the key %s has no tokens left, its response is "
                  "cut", ctx->key->id);

    return NGX_ERROR;
}


/* what was said last, and a token for each event since */

static uint64_t
ngx_http_llm_proxy_completion(llm_usage_scan_t *scan)
{
    return scan->completion_tokens + (scan->events - scan->known);
}


/*
 * What it took: what the response says; else a stream's events, a token each;
 * else, when tokens were reserved for an answer that came, all of these.  May
 * be called at any time, and again.
 */

void
ngx_http_llm_proxy_settle(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    llm_usage_scan_t  *scan = ctx->scan;

    if (ctx->submitted || scan == NULL) {
        return;
    }

    ctx->accepted = 1;

    if (scan->found) {
        ctx->prompt_tokens = (uint32_t) ngx_min(scan->prompt_tokens,
                                                UINT32_MAX);
        ctx->completion_tokens = (uint32_t) ngx_min(
                       ngx_http_llm_proxy_completion(scan), UINT32_MAX);

    } else if (scan->events) {
        ctx->prompt_tokens = (uint32_t) (ctx->ask_prompt / 2);
        ctx->completion_tokens = (uint32_t) scan->events;

    } else if (ctx->granted) {
        ctx->prompt_tokens = (uint32_t) ctx->ask_prompt;
        ctx->completion_tokens = (uint32_t) (ctx->granted
                                             - ctx->ask_prompt);

    } else {
        ctx->accepted = 0;
    }
}
