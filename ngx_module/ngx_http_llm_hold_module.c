
/*
 * Copyright (C) nginx-llm contributors
 *
 * No answer leaves before its record.  While a call's opening record is not
 * durable, header and body of its answer stay here: the header is not passed
 * on, the body's buffers are kept as they are, so that whoever made them finds
 * them busy, and a bit of c->buffered keeps the core from ending the request.
 * When the record is durable all goes on as if it had come just now; when it
 * can't be written the client gets 503 in its place.
 *
 * The filter stands behind all that change an answer (gzip, ranges, SSI), and
 * in front of those that write it (HTTP/2, chunks, HTTP/1): these have run for
 * it before it is held, and see one whole answer after.  Below the postpone
 * filter all output is the main request's.
 *
 * To whoever asks, a header that is held was sent: r->header_sent is 1, and an
 * error that comes after it is treated as after any header.
 */


#include "ngx_http_llm.h"


/* of c->buffered: free in nginx and its modules */
#define NGX_HTTP_LLM_HELD  0x40


static ngx_int_t ngx_http_llm_hold_header(ngx_http_request_t *r);
static void ngx_http_llm_hold_begin(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_hold_body(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_llm_hold_keep(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_llm_hold_drop(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_llm_hold_pass(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_hold_refuse(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_hold_clean(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_str_t *body);
static ngx_int_t ngx_http_llm_hold_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_llm_hold_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_llm_hold_init,                /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_llm_hold_module = {
    NGX_MODULE_V1,
    &ngx_http_llm_hold_module_ctx,         /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


static ngx_int_t
ngx_http_llm_hold_header(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t  *ctx;

    if (r != r->main || !ngx_http_llm_audited(r)) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_llm_make_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->passed || ctx->unaudited) {
        /* again, by a filter that found an error in what was passed on */
        return ngx_http_next_header_filter(r);
    }

    if (ngx_http_llm_audit_open(r, ctx) != NGX_OK) {
        return ngx_http_llm_hold_refuse(r, ctx);
    }

    if (ctx->record->state == NGX_HTTP_LLM_AUDIT_DURABLE) {
        ctx->passed = 1;
        return ngx_http_next_header_filter(r);
    }

    if (r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS) {

        /* what follows passes no filter.  The access phase has waited, so
         * this is one that it did not see */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "llm_audit: a connection was to be upgraded before its "
                      "record was durable");
        return NGX_ERROR;
    }

    ngx_http_llm_hold_begin(r, ctx);

    /* as when the client takes nothing now */

    return NGX_AGAIN;
}


/* what whoever sends the header looks at after it */

static void
ngx_http_llm_hold_begin(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ctx->holds = 1;
    ctx->held = NULL;
    ctx->held_last = &ctx->held;

    r->header_sent = 1;
    r->connection->buffered |= NGX_HTTP_LLM_HELD;

    if (r->method == NGX_HTTP_HEAD
        || r->headers_out.status == NGX_HTTP_NO_CONTENT
        || r->headers_out.status == NGX_HTTP_NOT_MODIFIED)
    {
        r->header_only = 1;
    }
}


static ngx_int_t
ngx_http_llm_hold_body(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_llm_ctx_t  *ctx;

    if (r != r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    if (ctx->unaudited) {
        return ngx_http_llm_hold_drop(r, in);
    }

    if (ctx->holds) {
        return ngx_http_llm_hold_keep(r, ctx, in);
    }

    return ngx_http_next_body_filter(r, in);
}


static ngx_int_t
ngx_http_llm_hold_keep(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_chain_t  *cl;

    if (r->connection->error) {
        return NGX_ERROR;
    }

    /* after its end nothing belongs to it: a filter has put an error in place
     * of an answer that is still being made */

    for ( /* void */ ; in && !ctx->held_all; in = in->next) {

        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        cl->buf = in->buf;
        cl->next = NULL;

        *ctx->held_last = cl;
        ctx->held_last = &cl->next;

        ctx->held_all = in->buf->last_buf;
    }

    for ( /* void */ ; in; in = in->next) {
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }

    return NGX_AGAIN;
}


/* the client has our 503, and takes no more */

static ngx_int_t
ngx_http_llm_hold_drop(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_uint_t    last;
    ngx_chain_t  *cl;

    last = (in == NULL);

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
        last |= cl->buf->last_buf;
    }

    if (r->upstream && !last && !r->connection->buffered) {
        /* it need not be read to its end */
        return NGX_ERROR;
    }

    return r->connection->buffered ? ngx_http_next_body_filter(r, NULL)
                                   : NGX_OK;
}


void
ngx_http_llm_hold_end(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t          rc;
    ngx_connection_t  *c = r->connection;

    if (!ctx->holds) {
        return;
    }

    ctx->holds = 0;
    c->buffered &= ~NGX_HTTP_LLM_HELD;

    if (c->error || r->post_action) {
        /* the client has gone */
        rc = NGX_ERROR;

    } else if (ctx->record->state == NGX_HTTP_LLM_AUDIT_DURABLE) {
        rc = ngx_http_llm_hold_pass(r, ctx);

    } else {
        rc = ngx_http_llm_hold_refuse(r, ctx);

        if (rc != NGX_ERROR && ctx->submitted && !ctx->finished) {

            /* nobody else would end it */

            ngx_http_llm_close_slot(r, ctx);
            ctx->finished = 1;
            ngx_http_finalize_request(r, NGX_OK);
            return;
        }
    }

    if (rc == NGX_ERROR && !r->post_action) {
        c->error = 1;
    }

    /* whoever makes the answer goes on, or the core ends the request */

    ngx_post_event(c->write, &ngx_posted_events);
}


static ngx_int_t
ngx_http_llm_hold_pass(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_chain_t  *held;

    held = ctx->held;
    ctx->held = NULL;
    ctx->passed = 1;

    r->header_sent = 0;

    rc = ngx_http_next_header_filter(r);

    if (rc == NGX_ERROR || rc > NGX_OK || held == NULL) {
        return rc > NGX_OK ? NGX_ERROR : rc;
    }

    return ngx_http_next_body_filter(r, held);
}


static ngx_int_t
ngx_http_llm_hold_refuse(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_str_t     body;
    ngx_buf_t    *b;
    ngx_chain_t   out, *cl;

    ctx->unaudited = 1;

    for (cl = ctx->held; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    ctx->held = NULL;

    if (ngx_http_llm_hold_clean(r, ctx, &body) != NGX_OK) {
        return NGX_ERROR;
    }

    r->header_sent = 0;
    r->header_only = 0;

    rc = ngx_http_next_header_filter(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc > NGX_OK ? NGX_ERROR : rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body.data;
    b->last = body.data + body.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_next_body_filter(r, &out);
}


static ngx_int_t
ngx_http_llm_hold_clean(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_str_t *body)
{
    ngx_str_t  value;

    ngx_http_clean_header(r);

    (void) ngx_http_llm_audit_error(r);

    if (ngx_http_llm_error_body(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE, body)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->err_status = NGX_HTTP_SERVICE_UNAVAILABLE;
    r->headers_out.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    r->headers_out.content_length_n = (off_t) body->len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    /* what is left of the body, or of the answer, is not waited for */

    r->keepalive = 0;

    ngx_str_set(&value, "1");

    if (ngx_http_llm_header(r, "Retry-After", &value) == NULL
        || ngx_http_llm_header(r, "X-Request-Id", &ctx->id) == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_hold_init(ngx_conf_t *cf)
{
    ngx_uint_t    i;
    const char   *name;

    for (i = 0; cf->cycle->modules[i] != &ngx_http_llm_hold_module; i++) {
        name = cf->cycle->modules[i]->name;

        if (ngx_strcmp(name, "ngx_http_range_header_filter_module") == 0) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "ngx_http_llm_hold_module must stand before "
                          "ngx_http_range_header_filter_module: nginx-llm is "
                          "a dynamic module");
            return NGX_ERROR;
        }
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_llm_hold_header;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_llm_hold_body;

    return NGX_OK;
}
