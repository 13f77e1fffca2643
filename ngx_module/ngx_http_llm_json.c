
/*
 * Copyright (C) nginx-llm contributors
 *
 * JSON that the module writes itself: strings, errors, small documents.
 */


#include "ngx_http_llm.h"


static ngx_http_llm_shape_e ngx_http_llm_shape(ngx_http_request_t *r);
static const char *ngx_http_llm_type(ngx_http_llm_shape_e shape,
    ngx_uint_t status);
static void ngx_http_llm_default_error(ngx_uint_t status, ngx_str_t *code,
    ngx_str_t *message);


u_char *
ngx_http_llm_escape(u_char *dst, const u_char *text, size_t len)
{
    static const u_char  hex[] = "0123456789abcdef";

    u_char         ch;
    const u_char  *last = text + len;

    while (text < last) {
        ch = *text++;

        if (ch >= 0x20 && ch != '"' && ch != '\\') {
            *dst++ = ch;
            continue;
        }

        *dst++ = '\\';

        switch (ch) {
        case '\n': *dst++ = 'n'; break;
        case '\r': *dst++ = 'r'; break;
        case '\t': *dst++ = 't'; break;
        case '"':  *dst++ = '"'; break;
        case '\\': *dst++ = '\\'; break;

        default:
            *dst++ = 'u';
            *dst++ = '0';
            *dst++ = '0';
            *dst++ = hex[ch >> 4];
            *dst++ = hex[ch & 15];
        }
    }

    return dst;
}


ngx_int_t
ngx_http_llm_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *fmt, ...)
{
    u_char               buf[LLM_ERRLEN], *p;
    va_list              args;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    va_start(args, fmt);
    p = ngx_vslprintf(buf, buf + sizeof(buf), fmt, args);
    va_end(args);

    ctx->message.len = (size_t) (p - buf);
    ctx->message.data = ngx_pnalloc(r->pool, ctx->message.len);

    if (ctx->message.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(ctx->message.data, buf, ctx->message.len);

    ctx->status = status;
    ctx->code.data = (u_char *) code;
    ctx->code.len = ngx_strlen(code);
    ctx->param.len = 0;

    return (ngx_int_t) status;
}


ngx_int_t
ngx_http_llm_reply_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *param, const char *message)
{
    size_t               len, n;
    u_char              *p;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_make_ctx(r);

    len = ngx_strlen(code);
    n = ngx_strlen(param);
    p = ngx_pnalloc(r->pool, len + n + 1);

    if (ctx == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(p, code, len + 1);
    ngx_memcpy(p + len + 1, param, n);

    (void) ngx_http_llm_error(r, status, (char *) p, "%s", message);

    ctx->param.data = p + len + 1;
    ctx->param.len = n;

    return (ngx_int_t) status;
}


static ngx_http_llm_shape_e
ngx_http_llm_shape(ngx_http_request_t *r)
{
    static const char  tail[] = "/messages";

    size_t  len = sizeof(tail) - 1;

    if (r->uri.len >= len
        && ngx_memcmp(r->uri.data + r->uri.len - len, tail, len) == 0)
    {
        return NGX_HTTP_LLM_ANTHROPIC;
    }

    return NGX_HTTP_LLM_OPENAI;
}


static const char *
ngx_http_llm_type(ngx_http_llm_shape_e shape, ngx_uint_t status)
{
    ngx_uint_t  anthropic = (shape == NGX_HTTP_LLM_ANTHROPIC);

    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
        return "authentication_error";

    case NGX_HTTP_LLM_PAYMENT_REQUIRED:
        return anthropic ? "billing_error" : "insufficient_quota";

    case NGX_HTTP_FORBIDDEN:
        return "permission_error";

    case NGX_HTTP_NOT_FOUND:
        return anthropic ? "not_found_error" : "invalid_request_error";

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return anthropic ? "request_too_large" : "invalid_request_error";

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return "rate_limit_error";

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return anthropic ? "overloaded_error" : "server_error";

    default:
        if (status < 500) {
            return "invalid_request_error";
        }

        return anthropic ? "api_error" : "server_error";
    }
}


/* errors that the core or another module raised */

static void
ngx_http_llm_default_error(ngx_uint_t status, ngx_str_t *code,
    ngx_str_t *message)
{
    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        ngx_str_set(code, "bad_request");
        ngx_str_set(message, "the request is malformed");
        break;

    case NGX_HTTP_FORBIDDEN:
        ngx_str_set(code, "forbidden");
        ngx_str_set(message, "access is forbidden");
        break;

    case NGX_HTTP_NOT_FOUND:
        ngx_str_set(code, "not_found");
        ngx_str_set(message, "there is nothing at this path");
        break;

    case NGX_HTTP_NOT_ALLOWED:
        ngx_str_set(code, "method_not_allowed");
        ngx_str_set(message, "this path does not take this method");
        break;

    case NGX_HTTP_REQUEST_TIME_OUT:
        ngx_str_set(code, "timeout");
        ngx_str_set(message, "the request took too long to arrive");
        break;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        ngx_str_set(code, "request_too_large");
        ngx_str_set(message, "the body is larger than the server takes");
        break;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        ngx_str_set(code, "rate_limited");
        ngx_str_set(message, "too many requests");
        break;

    case NGX_HTTP_BAD_GATEWAY:
        ngx_str_set(code, "bad_gateway");
        ngx_str_set(message, "the upstream server gave no valid answer");
        break;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        ngx_str_set(code, "unavailable");
        ngx_str_set(message, "the service is unavailable");
        break;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        ngx_str_set(code, "gateway_timeout");
        ngx_str_set(message, "the upstream server did not answer in time");
        break;

    default:
        if (status < 500) {
            ngx_str_set(code, "request_failed");
            ngx_str_set(message, "the request was refused");

        } else {
            ngx_str_set(code, "internal_error");
            ngx_str_set(message, "internal error");
        }
    }
}


ngx_int_t
ngx_http_llm_error_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t status, ngx_str_t *body)
{
    u_char                *p;
    ngx_str_t              code, message, param;
    const char            *type;
    ngx_http_llm_shape_e   shape;

    ngx_str_null(&param);

    if (ctx->status == status && ctx->message.len) {
        code = ctx->code;
        message = ctx->message;
        param = ctx->param;

    } else {
        ngx_http_llm_default_error(status, &code, &message);
        ctx->code = code;
    }

    shape = ngx_http_llm_shape(r);
    type = ngx_http_llm_type(shape, status);

    p = ngx_pnalloc(r->pool, 256 + 6 * (message.len + code.len + param.len)
                             + ctx->id.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    if (shape == NGX_HTTP_LLM_ANTHROPIC) {
        p = ngx_sprintf(p, "{\"type\":\"error\",\"error\":{\"type\":\"%s\","
                        "\"message\":\"", type);
        p = ngx_http_llm_escape(p, message.data, message.len);
        p = ngx_sprintf(p, "\",\"code\":\"");
        p = ngx_http_llm_escape(p, code.data, code.len);
        p = ngx_sprintf(p, "\"},\"request_id\":\"%V\"}", &ctx->id);

    } else {
        p = ngx_sprintf(p, "{\"error\":{\"message\":\"");
        p = ngx_http_llm_escape(p, message.data, message.len);
        p = ngx_sprintf(p, "\",\"type\":\"%s\",\"param\":", type);

        if (param.len) {
            *p++ = '"';
            p = ngx_http_llm_escape(p, param.data, param.len);
            *p++ = '"';

        } else {
            p = ngx_cpymem(p, "null", 4);
        }

        p = ngx_sprintf(p, ",\"code\":\"");
        p = ngx_http_llm_escape(p, code.data, code.len);
        p = ngx_sprintf(p, "\",\"request_id\":\"%V\"}}", &ctx->id);
    }

    body->len = (size_t) (p - body->data);

    return NGX_OK;
}


ngx_int_t
ngx_http_llm_send_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    ngx_chain_t  out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = (off_t) body->len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_table_elt_t *
ngx_http_llm_header(ngx_http_request_t *r, const char *key, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value = *value;

    return h;
}
