
/*
 * Copyright (C) nginx-llm contributors
 *
 * The state of a request: made when a request is found to be ours, found again
 * after redirects, gone with the request's pool.  With it goes the request's
 * id, into answers and into each line of the error log.
 */


#include "ngx_http_llm.h"
#include <openssl/rand.h>


static ngx_http_llm_ctx_t *ngx_http_llm_find_ctx(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_request_id(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static u_char *ngx_http_llm_log_line(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);
static ngx_http_llm_ctx_t *ngx_http_llm_log_ctx(ngx_http_request_t *r,
    ngx_http_llm_main_conf_t *mcf);


/* the request's state, also after an internal redirect cleared r->ctx */

ngx_http_llm_ctx_t *
ngx_http_llm_get_ctx(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (ctx || (!r->internal && !r->filter_finalize)) {
        return ctx;
    }

    ctx = ngx_http_llm_find_ctx(r);

    if (ctx) {
        ngx_http_set_ctx(r, ctx, ngx_http_llm_module);
    }

    return ctx;
}


/* a subrequest shares its main request's pool and none of its state */

static ngx_http_llm_ctx_t *
ngx_http_llm_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;
    ngx_http_llm_ctx_t  *ctx;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_http_llm_cleanup) {
            continue;
        }

        ctx = cln->data;

        if (ctx->request == r) {
            return ctx;
        }
    }

    return NULL;
}


ngx_http_llm_ctx_t *
ngx_http_llm_make_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);
    if (ctx) {
        return ctx;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_llm_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_llm_ctx_t));

    cln->handler = ngx_http_llm_cleanup;

    ctx->request = r;
    ctx->slot = -1;
    ctx->start = ngx_current_msec;
    ctx->arrival_us = ngx_http_llm_us();

    if (ngx_http_llm_request_id(r, ctx) != NGX_OK) {
        return NULL;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_llm_module);

    return ctx;
}


/*
 * Milliseconds in 12 hex digits, then 20 random ones: an id leads to its time,
 * and so to its records.  Random bytes are drawn for some hundred requests at
 * once: a draw costs more than all else that a request id takes.
 */

static ngx_int_t
ngx_http_llm_request_id(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char                 *p;
    ngx_http_llm_worker_t  *w = ngx_http_llm_worker(r);

    if (w == NULL) {
        return NGX_ERROR;
    }

    if (w->random_used == 0
        || sizeof(w->random) - w->random_used < NGX_HTTP_LLM_ID_RANDOM)
    {
        if (RAND_bytes(w->random, sizeof(w->random)) != 1) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "RAND_bytes() failed");
            return NGX_ERROR;
        }

        w->random_used = 0;
    }

    p = ngx_sprintf(ctx->id_data, "%012xL", ngx_http_llm_now());
    ngx_hex_dump(p, w->random + w->random_used, NGX_HTTP_LLM_ID_RANDOM);
    w->random_used += NGX_HTTP_LLM_ID_RANDOM;

    ctx->id.data = ctx->id_data;
    ctx->id.len = sizeof(ctx->id_data);

    return NGX_OK;
}


ngx_http_llm_worker_t *
ngx_http_llm_worker(ngx_http_request_t *r)
{
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    return mcf->worker;
}


/* post read phase, of every request: whose it is shows when it is logged */

ngx_int_t
ngx_http_llm_begin_handler(ngx_http_request_t *r)
{
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    if (r->log_handler != ngx_http_llm_log_line) {
        mcf->log_handler = r->log_handler;
        r->log_handler = ngx_http_llm_log_line;
    }

    return NGX_DECLINED;
}


/*
 * The end of a line of the error log: what the core says of the request, then
 * its id, which has its room however long the request's line is.  The core
 * asks the main request, until it takes that out of its log, before the pool
 * goes away.
 */

static u_char *
ngx_http_llm_log_line(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    size_t                     n;
    u_char                    *p;
    ngx_http_llm_ctx_t        *ctx;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    ctx = ngx_http_llm_log_ctx(r, mcf);

    n = sizeof(", request id: \"\"") - 1 + NGX_LINEFEED_SIZE;

    if (ctx == NULL || len < n + ctx->id.len) {
        return mcf->log_handler(r, sr, buf, len);
    }

    p = mcf->log_handler(r, sr, buf, len - n - ctx->id.len);

    return ngx_sprintf(p, ", request id: \"%V\"", &ctx->id);
}


/* r->ctx may have been cleared, in the midst of a redirect.  The first line
 * may come before any of our phases: a body that is too large, a limit */

static ngx_http_llm_ctx_t *
ngx_http_llm_log_ctx(ngx_http_request_t *r, ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_ctx_t       *ctx;
    ngx_http_llm_loc_conf_t  *lcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (ctx == NULL) {
        ctx = ngx_http_llm_find_ctx(r);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (ctx || (lcf->auth != 1 && lcf->engine.len == 0)) {
        return ctx;
    }

    /* what goes wrong here is logged too */

    r->log_handler = mcf->log_handler;
    ctx = ngx_http_llm_make_ctx(r);
    r->log_handler = ngx_http_llm_log_line;

    return ctx;
}
