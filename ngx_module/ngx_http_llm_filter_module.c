
/*
 * Copyright (C) nginx-llm contributors
 *
 * Output filters of locations that this module guards or answers: the core's
 * error pages become JSON in the shape of the API, each answer carries the
 * request id, and a stream of another handler (proxy_pass) ends when its key
 * is revoked.
 */


#include "ngx_http_llm.h"


static ngx_int_t ngx_http_llm_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_error_header(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_llm_replace_body(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_llm_filter_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_llm_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_llm_filter_init,              /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_llm_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_llm_filter_module_ctx,       /* module context */
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
ngx_http_llm_header_filter(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t       *ctx;
    ngx_http_llm_loc_conf_t  *lcf;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    ctx = ngx_http_llm_get_ctx(r);

    if (ctx == NULL) {

        if (lcf->auth != 1 && lcf->engine.len == 0) {
            return ngx_http_next_header_filter(r);
        }

        /* refused by the core before the access phase */

        ctx = ngx_http_llm_make_ctx(r);
        if (ctx == NULL) {
            return NGX_ERROR;
        }
    }

    if (ctx->id.len
        && ngx_http_llm_header(r, "X-Request-Id", &ctx->id) == NULL)
    {
        return NGX_ERROR;
    }

    if (ctx->key && ngx_http_llm_quota_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->authenticated && ngx_http_llm_proxy_header(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    /* err_status is set where the core makes an error page, and not where a
     * handler (or an error_page of the user) answers with an error itself */

    if (r->err_status >= NGX_HTTP_BAD_REQUEST
        && r->err_status == r->headers_out.status
        && (!r->error_page || ctx->refused))
    {
        if (ngx_http_llm_error_header(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        ngx_http_llm_audit_header(r, ctx);
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_llm_error_header(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char           *p;
    ngx_str_t         body, value;
    ngx_table_elt_t  *h;

    if (ngx_http_llm_error_body(r, ctx, r->err_status, &body) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->message = body;
    ctx->replace = 1;

    r->headers_out.content_length_n = (off_t) body.len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (r->err_status == NGX_HTTP_UNAUTHORIZED
        && r->headers_out.www_authenticate == NULL)
    {
        ngx_str_set(&value, "Bearer realm=\"nginx-llm\"");

        h = ngx_http_llm_header(r, "WWW-Authenticate", &value);
        if (h == NULL) {
            return NGX_ERROR;
        }

        r->headers_out.www_authenticate = h;
    }

    if (ctx->retry_after) {
        p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = (size_t) (ngx_sprintf(p, "%ui", ctx->retry_after) - p);

        if (ngx_http_llm_header(r, "Retry-After", &value) == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_llm_ctx_t  *ctx;

    if (in == NULL || r != r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (ctx == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    if (ctx->replace) {
        return ngx_http_llm_replace_body(r, ctx, in);
    }

    if (ctx->authenticated && !ctx->submitted && !ctx->told
        && ngx_http_llm_check_key(r, ctx) != NGX_OK)
    {
        if (!ctx->revoked) {
            ctx->revoked = 1;
            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "llm_auth: the key %s may do this no longer (%V), "
                          "its response is cut", ctx->key->id, &ctx->code);
        }

        return NGX_ERROR;
    }

    if (ctx->scan && !ctx->revoked
        && ngx_http_llm_proxy_body(r, ctx, in) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->print || ctx->keeps) {
        ngx_http_llm_audit_body(r, ctx, in);
    }

    return ngx_http_next_body_filter(r, in);
}


/* the core's page is dropped, our body goes out once */

static ngx_int_t
ngx_http_llm_replace_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl, out;

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    if (ctx->replaced) {
        return ngx_http_next_body_filter(r, NULL);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = ctx->message.data;
    b->last = ctx->message.data + ctx->message.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    ctx->replaced = 1;

    return ngx_http_next_body_filter(r, &out);
}


static ngx_int_t
ngx_http_llm_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_llm_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_llm_body_filter;

    return NGX_OK;
}
