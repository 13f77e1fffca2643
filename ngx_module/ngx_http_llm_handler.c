
/*
 * Copyright (C) nginx-llm contributors
 *
 * Content phase of llm_pass: routes, and the way of a body into the shared
 * zone.  The body is not looked at here: bytes go from the connection into
 * the slot's blocks as they come, never through a file, and the engine's
 * threads parse them.
 */


#include "ngx_http_llm.h"


static ngx_uint_t ngx_http_llm_may_use(ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_completion(ngx_http_request_t *r,
    llm_api_e api);
static void ngx_http_llm_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_take_body(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_take_file(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_llm_take(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, u_char *data, size_t len);
static ngx_int_t ngx_http_llm_copy(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, u_char *data, size_t len);
static uint64_t ngx_http_llm_account(ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_submit(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_models(ngx_http_request_t *r);


ngx_int_t
ngx_http_llm_handler(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t       *ctx;
    ngx_http_llm_loc_conf_t  *lcf;

    ctx = ngx_http_llm_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    ctx->model = lcf->engine;

    ngx_http_llm_audit_note(r, ctx);

    if (r != r->main && lcf->auth == 1) {
        /* the core has no access phase for subrequests */
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "llm_pass: a subrequest has no key of its own");
        return NGX_HTTP_FORBIDDEN;
    }

    if (ngx_http_llm_ends(&r->uri, "/chat/completions")) {
        return ngx_http_llm_completion(r, LLM_API_CHAT);
    }

    if (ngx_http_llm_ends(&r->uri, "/completions")) {
        return ngx_http_llm_completion(r, LLM_API_COMPLETION);
    }

    if (ngx_http_llm_ends(&r->uri, "/healthz")) {
        return ngx_http_llm_healthz(r);
    }

    if (ngx_http_llm_ends(&r->uri, "/readyz")) {
        return ngx_http_llm_readyz(r);
    }

    if (ngx_http_llm_ends(&r->uri, "/models")
        || ngx_strnstr(r->uri.data, "/models/", r->uri.len) != NULL)
    {
        return ngx_http_llm_models(r);
    }

    return ngx_http_llm_error(r, NGX_HTTP_NOT_FOUND, "unknown_url",
                              "there is nothing at this path: POST "
                              "/v1/chat/completions, POST /v1/completions "
                              "and GET /v1/models are served");
}


ngx_uint_t
ngx_http_llm_ends(ngx_str_t *uri, const char *tail)
{
    size_t  len = ngx_strlen(tail);

    return uri->len >= len
           && ngx_memcmp(uri->data + uri->len - len, tail, len) == 0;
}


ngx_int_t
ngx_http_llm_allow(ngx_http_request_t *r, ngx_uint_t methods,
    const char *names)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    if (r->method & methods) {
        return NGX_OK;
    }

    value.data = (u_char *) names;
    value.len = ngx_strlen(names);

    if (ngx_http_llm_header(r, "Allow", &value) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_llm_error(r, NGX_HTTP_NOT_ALLOWED, "method_not_allowed",
                            "this path takes %s", names);
    return rc;
}


/* may the request's key use the location's model?  Without llm_auth there is
 * no key to ask */

static ngx_uint_t
ngx_http_llm_may_use(ngx_http_llm_ctx_t *ctx)
{
    return !ctx->authenticated
           || llm_key_model(ctx->key, (char *) ctx->model.data,
                            ctx->model.len);
}


static ngx_int_t
ngx_http_llm_completion(ngx_http_request_t *r, llm_api_e api)
{
    ngx_int_t                  rc;
    ngx_http_llm_ctx_t        *ctx;
    ngx_http_llm_worker_t     *w;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    rc = ngx_http_llm_allow(r, NGX_HTTP_POST, "POST");
    if (rc != NGX_OK) {
        return rc;
    }

    ctx = ngx_http_llm_get_ctx(r);
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    w = mcf->worker;

    if (r != r->main) {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "forbidden",
                                  "no subrequest may ask the engine");
    }

    if (ctx->taken) {
        /* an error page of its own leads to another engine: the body is gone,
         * and the error stays what it was */
        ctx->refused = r->error_page;
        return ctx->status ? (ngx_int_t) ctx->status
                           : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->api = api;

    if (!ctx->authenticated && w && w->store) {
        /* nobody has looked at the store for this request */
        ngx_http_llm_notice_txnid(mcf, llm_store_txnid(w->store));
    }

    if (!ngx_http_llm_may_use(ctx)) {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "model_not_allowed",
                                  "this API key may not use the model "
                                  "\"%V\"", &ctx->model);
    }

    if (r->headers_in.content_length_n > (off_t) LLM_BODY_MAX) {
        return ngx_http_llm_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                  "request_too_large",
                                  "the body is larger than %d bytes",
                                  LLM_BODY_MAX);
    }

    if (ngx_http_llm_engine_state(mcf, lcf->engine_hash)
        == LLM_ENGINE_FAILED)
    {
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "engine_unavailable",
                                  "the engine could not be started; its "
                                  "error log says why");
    }

    if (w && w->index >= 0) {
        ctx->slot = llm_slot_claim(ngx_http_llm_zone(mcf), (int) w->index);
    }

    if (ctx->slot < 0) {
        ctx->slot = -1;
        ctx->retry_after = 1;
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "queue_full",
                                  "too many requests at a time, try again "
                                  "later");
    }

    w->request[ctx->slot] = r;
    ctx->taken = 1;

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_llm_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_http_llm_body_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    for ( ;; ) {
        rc = ngx_http_llm_take_body(r, ctx);

        if (rc != NGX_OK) {
            break;
        }

        if (!r->reading_body) {
            rc = ngx_http_llm_submit(r, ctx);
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            break;
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            r->read_event_handler = ngx_http_llm_body_handler;
            return;
        }
    }

    if (rc != NGX_OK) {

        if (r->reading_body) {
            /* no error_page may lead to an upstream, which would get the rest
             * of the body as if it were all */
            r->error_page = 1;
            ctx->refused = 1;
        }

        ngx_http_finalize_request(r, rc);
    }
}


/* another module that read the body before may need it still, and may have
 * put it into a file */

static ngx_int_t
ngx_http_llm_take_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            rc = ngx_http_llm_take(r, ctx, b->pos,
                                   (size_t) (b->last - b->pos));

            if (!r->preserve_body) {
                b->pos = b->last;
            }

        } else if (b->in_file) {
            rc = ngx_http_llm_take_file(r, ctx, b);

        } else {
            continue;
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (!r->preserve_body) {
        r->request_body->bufs = NULL;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_take_file(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_buf_t *b)
{
    off_t      at;
    u_char     buf[4096];
    ssize_t    n;
    ngx_int_t  rc;

    for (at = b->file_pos; at < b->file_last; at += n) {
        n = ngx_read_file(b->file, buf, (size_t) ngx_min(b->file_last - at,
                                                 (off_t) sizeof(buf)), at);
        if (n <= 0) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        rc = ngx_http_llm_take(r, ctx, buf, (size_t) n);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_take(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    u_char *data, size_t len)
{
    int          rc;
    llm_zone_t  *z;

    z = ngx_http_llm_zone(ngx_http_get_module_main_conf(r,
                                                        ngx_http_llm_module));

    rc = llm_slot_write(z, (int) ctx->slot, data, len);

    if (rc == LLM_OK) {
        return ngx_http_llm_copy(r, ctx, data, len);
    }

    if (rc == LLM_INVALID) {
        return ngx_http_llm_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                  "request_too_large",
                                  "the body is larger than %d bytes",
                                  LLM_BODY_MAX);
    }

    ctx->retry_after = 1;

    return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE, "queue_full",
                              "too many large requests at a time, try again "
                              "later");
}


/* for the audit: the slot's bytes are the engine's once it is submitted */

static ngx_int_t
ngx_http_llm_copy(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    u_char *data, size_t len)
{
    ngx_http_llm_body_t  *b = &ctx->body;

    if (!ngx_http_llm_audited(r)) {
        return NGX_OK;
    }

    b->fd = -1;

    return ngx_http_llm_append(&b->data, &b->len, &b->size, data, len,
                               r->connection->log)
           == NGX_OK ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* the engine asks before it uses tokens of this, 0: it need not */

static uint64_t
ngx_http_llm_account(ngx_http_llm_ctx_t *ctx)
{
    llm_limits_t  *lim;

    if (ctx->key == NULL) {
        return 0;
    }

    lim = &ctx->key->limits;

    return lim->tpm || lim->day || lim->month ? ctx->ticket : 0;
}


static ngx_int_t
ngx_http_llm_submit(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    /* the commit of its record overlaps with the prompt's prefill */

    ctx->submitted = 1;
    ctx->body.size = ctx->body.len;

    if (ngx_http_llm_audited(r) && ngx_http_llm_audit_open(r, ctx) != NGX_OK) {
        ctx->submitted = 0;
        return ngx_http_llm_audit_error(r);
    }

    /* a client that goes away is noticed, and a worker that is told to quit
     * stays for the timer's sake */

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ctx->silent = 1;
    ctx->timer.handler = ngx_http_llm_timer_handler;
    ctx->timer.data = r;
    ctx->timer.log = r->connection->log;
    ngx_add_timer(&ctx->timer, NGX_HTTP_LLM_KEEPALIVE);

    if (!r->preserve_body) {

        /* error_page or post_action may lead on to another handler, which
         * finds no body: it must not promise one to an upstream */

        r->request_body_no_buffering = 0;
        r->headers_in.content_length_n = 0;
        r->headers_in.chunked = 0;
    }

    ctx->created = ngx_time();

    llm_slot_submit(ngx_http_llm_zone(mcf), (int) ctx->slot, lcf->engine_hash,
                    ctx->api, ngx_http_llm_account(ctx));

    return NGX_OK;
}


/* the request's pool goes away: the client, a timeout, or the end */

void
ngx_http_llm_cleanup(void *data)
{
    ngx_http_llm_ctx_t *ctx = data;

    ngx_uint_t                 i;
    ngx_http_request_t        *r;
    ngx_http_llm_main_conf_t  *mcf;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->task) {
        ctx->task->request = NULL;
    }

    if (ctx->ticket) {
        ngx_http_llm_quota_leave(ctx->request, ctx);
    }

    ngx_http_llm_audit_done(ctx);

    for (i = 0; i < ctx->n_choice; i++) {
        if (ctx->choice[i].text) {
            ngx_free(ctx->choice[i].text);
            ctx->choice[i].text = NULL;
        }
    }

    if (ctx->slot >= 0) {
        r = ctx->request;
        mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

        mcf->worker->request[ctx->slot] = NULL;
        llm_slot_release(ngx_http_llm_zone(mcf), (int) ctx->slot);
        ctx->slot = -1;
    }
}


static ngx_int_t
ngx_http_llm_models(ngx_http_request_t *r)
{
    u_char              *p;
    size_t               len;
    ngx_int_t            rc;
    ngx_str_t            body, name;
    ngx_uint_t           list;
    ngx_http_llm_ctx_t  *ctx;

    rc = ngx_http_llm_allow(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD");
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx = ngx_http_llm_get_ctx(r);
    name = ctx->model;
    list = ngx_http_llm_ends(&r->uri, "/models");

    if (!list) {
        for (p = r->uri.data + r->uri.len; p[-1] != '/'; p--) { /* void */ }

        len = (size_t) (r->uri.data + r->uri.len - p);

        if (len != name.len || ngx_memcmp(p, name.data, len) != 0
            || !ngx_http_llm_may_use(ctx))
        {
            return ngx_http_llm_error(r, NGX_HTTP_NOT_FOUND,
                                      "model_not_found",
                                      "there is no such model here, only "
                                      "\"%V\"", &name);
        }
    }

    body.data = ngx_pnalloc(r->pool, 256 + name.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body.data;

    if (list) {
        p = ngx_sprintf(p, "{\"object\":\"list\",\"data\":[");
    }

    if (ngx_http_llm_may_use(ctx)) {
        p = ngx_sprintf(p, "{\"id\":\"%V\",\"object\":\"model\","
                        "\"created\":%T,\"owned_by\":\"nginx-llm\"}", &name,
                        ngx_time());
    }

    if (list) {
        p = ngx_sprintf(p, "]}");
    }

    *p++ = '\n';
    body.len = (size_t) (p - body.data);

    return ngx_http_llm_send_json(r, NGX_HTTP_OK, &body);
}
