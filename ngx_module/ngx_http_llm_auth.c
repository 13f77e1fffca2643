
/*
 * Copyright (C) nginx-llm contributors
 *
 * Access phase: one API key a request, from "Authorization: Bearer" or
 * "x-api-key", looked up in the store, with what it may: its role, where it
 * may come from, its quotas, its models.  Works before any content handler.
 * What follows sees who it is in X-LLM-* headers that the client can't set,
 * and never sees the key.
 */


#include "ngx_http_llm.h"


#define NGX_HTTP_LLM_IDENTITY  3        /* headers that say who it is */


/* what becomes of a request's header */
typedef enum {
    NGX_HTTP_LLM_PASS = 0,
    NGX_HTTP_LLM_DROP,
    NGX_HTTP_LLM_KEY,                   /* it may hold a key: dropped too */
    NGX_HTTP_LLM_TOTP
} ngx_http_llm_kind_e;


static ngx_int_t ngx_http_llm_judge(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_let_in(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_int_t rc);
static void ngx_http_llm_go_on(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_take_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_str_t *key);
static ngx_http_llm_kind_e ngx_http_llm_header_kind(ngx_http_request_t *r,
    ngx_table_elt_t *h);
static ngx_str_t ngx_http_llm_key_value(ngx_table_elt_t *h);
static ngx_int_t ngx_http_llm_lookup(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_str_t *key);
static ngx_int_t ngx_http_llm_keep_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, const llm_key_t *k);
static ngx_int_t ngx_http_llm_judge_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_address(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_role(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_scopes(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_identity(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_push_header(ngx_http_request_t *r,
    ngx_uint_t i, const char *value);


ngx_int_t
ngx_http_llm_access_handler(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t       *ctx;
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (lcf->auth != 1) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_llm_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_llm_audit_note(r, ctx);

    return ngx_http_llm_let_in(r, ctx, ngx_http_llm_judge(r, ctx));
}


static ngx_int_t
ngx_http_llm_judge(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t  rc;
    ngx_str_t  key;

    if (ctx->authenticated) {

        /* again, after the body was read, or an internal redirect: the key's
         * header is gone */

        rc = ngx_http_llm_check_key(r, ctx);

        /* of this location */

        if (rc == NGX_OK) {
            rc = ngx_http_llm_judge_role(r, ctx);
        }

        if (rc == NGX_OK) {
            rc = ngx_http_llm_ask(r, ctx);
        }

        ctx->refused = (rc >= NGX_HTTP_BAD_REQUEST && r->error_page);

        return rc;
    }

    if (ctx->judged && ctx->status) {
        /* refused before, this is where its error page leads */
        ctx->refused = r->error_page;
        return (ngx_int_t) ctx->status;
    }

    ctx->judged = 1;

    /* whatever becomes of the request, nothing after this sees the key */

    rc = ngx_http_llm_take_key(r, ctx, &key);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "invalid_api_key",
                                  "send exactly one API key, as "
                                  "\"Authorization: Bearer sk-...\" or as "
                                  "\"x-api-key: sk-...\"");
    }

    rc = ngx_http_llm_lookup(r, ctx, &key);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_judge_key(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_judge_address(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_judge_role(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_quota_enter(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->authenticated = 1;

    rc = ngx_http_llm_identity(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_llm_ask(r, ctx);
}


/*
 * The end of it: what another handler answers is audited from here on, so that
 * the commit overlaps with its work.  A connection that is to be upgraded waits
 * for it: what follows its header passes no filter.
 */

static ngx_int_t
ngx_http_llm_let_in(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_int_t rc)
{
    ngx_int_t                 wait;
    ngx_uint_t                unread;
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (rc == NGX_DECLINED) {
        rc = NGX_OK;
    }

    if (rc == NGX_DONE || lcf->engine.len || lcf->admin || lcf->metrics
        || !ngx_http_llm_audited(r))
    {
        return rc;
    }

    /* a body that was not read yet is in the record when it has been */

    unread = !ctx->asked && (r->headers_in.content_length_n > 0
                             || r->headers_in.chunked);

    if (r->headers_in.upgrade && !unread) {

        /* a refused one too: "satisfy any" may let it in */

        wait = ngx_http_llm_audit_wait(r, ctx, ngx_http_llm_go_on);

        if (wait == NGX_AGAIN) {
            r->read_event_handler = ngx_http_test_reading;
            r->write_event_handler = ngx_http_request_empty_handler;
            return NGX_AGAIN;
        }

        return wait == NGX_OK ? rc : ngx_http_llm_audit_error(r);
    }

    if (rc == NGX_OK && !unread && ngx_http_llm_audit_open(r, ctx) != NGX_OK) {
        return ngx_http_llm_audit_error(r);
    }

    return rc;
}


static void
ngx_http_llm_go_on(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
}


/*
 * The request's key, and its headers laid anew without the key and without
 * what only this module may say.  The elements are copied: the core's pointers
 * to well-known headers stay good.  NGX_DECLINED: there is no key, or there
 * are two different ones, which are as good as none: which would be meant?
 */

static ngx_int_t
ngx_http_llm_take_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_str_t *key)
{
    ngx_str_t         one;
    ngx_list_t        list;
    ngx_uint_t        i, n, differ;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *copy;

    n = NGX_HTTP_LLM_IDENTITY;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        n += part->nelts;
    }

    if (ngx_list_init(&list, r->pool, n, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    n = 0;
    differ = 0;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        switch (ngx_http_llm_header_kind(r, &h[i])) {

        case NGX_HTTP_LLM_PASS:
            copy = ngx_list_push(&list);
            if (copy == NULL) {
                return NGX_ERROR;
            }

            *copy = h[i];
            break;

        case NGX_HTTP_LLM_KEY:
            one = ngx_http_llm_key_value(&h[i]);

            if (n++ == 0) {
                *key = one;

            } else if (key->len != one.len
                       || ngx_memcmp(key->data, one.data, one.len) != 0)
            {
                differ = 1;
            }

            break;

        case NGX_HTTP_LLM_TOTP:
            ctx->totp = h[i].value;
            break;

        case NGX_HTTP_LLM_DROP:
            break;
        }
    }

    r->headers_in.headers = list;

    /* a list that has one part points at its own first part */

    if (list.last == &list.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    r->headers_in.authorization = NULL;

    return n && !differ ? NGX_OK : NGX_DECLINED;
}


/* names are compared where their length fits */

static ngx_http_llm_kind_e
ngx_http_llm_header_kind(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    u_char  *name = h->key.data;
    size_t   len = h->key.len;

    if (len > 6 && (name[0] | 0x20) == 'x'
        && (ngx_strncasecmp(name, (u_char *) "x-llm-", 6) == 0
            || ngx_strncasecmp(name, (u_char *) "x_llm_", 6) == 0))
    {
        return len == sizeof("x-llm-totp") - 1
               && ngx_strncasecmp(name, (u_char *) "x-llm-totp", len) == 0
               ? NGX_HTTP_LLM_TOTP : NGX_HTTP_LLM_DROP;
    }

    switch (len) {

    case sizeof("x-api-key") - 1:
        return ngx_strncasecmp(name, (u_char *) "x-api-key", len) == 0
               ? NGX_HTTP_LLM_KEY : NGX_HTTP_LLM_PASS;

    case sizeof("authorization") - 1:
        return h == r->headers_in.authorization
               || ngx_strncasecmp(name, (u_char *) "authorization", len) == 0
               ? NGX_HTTP_LLM_KEY : NGX_HTTP_LLM_PASS;

    case sizeof("accept-encoding") - 1:

        /* an answer that is read for its token counts must be plain; nginx's
         * own gzip still sees what the client takes */

        return r->method == NGX_HTTP_POST
               && ngx_strncasecmp(name, (u_char *) "accept-encoding", len)
                  == 0
               ? NGX_HTTP_LLM_DROP : NGX_HTTP_LLM_PASS;

    default:
        return NGX_HTTP_LLM_PASS;
    }
}


/* of "Authorization" without its scheme; another scheme counts too, as a key
 * that can't be good */

static ngx_str_t
ngx_http_llm_key_value(ngx_table_elt_t *h)
{
    ngx_str_t  key = h->value;

    if (h->key.len == sizeof("authorization") - 1
        && key.len > sizeof("Bearer ") - 1
        && (ngx_memcmp(key.data, "Bearer ", sizeof("Bearer ") - 1) == 0
            || ngx_strncasecmp(key.data, (u_char *) "Bearer ",
                               sizeof("Bearer ") - 1)
               == 0))
    {
        key.data += sizeof("Bearer ") - 1;
        key.len -= sizeof("Bearer ") - 1;

        while (key.len && key.data[0] == ' ') {
            key.data++;
            key.len--;
        }
    }

    return key;
}


static ngx_int_t
ngx_http_llm_lookup(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_str_t *key)
{
    int                        rc;
    char                       err[LLM_ERRLEN];
    llm_key_t                  k;
    llm_store_t               *store;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    /* that it can't be opened is in the log */

    rc = LLM_ERROR;
    store = ngx_http_llm_store(mcf, r->connection->log);

    if (store) {
        rc = llm_key_lookup(store, mcf->secret, (char *) key->data, key->len,
                            &k, err, sizeof(err));

        if (rc == LLM_OK) {
            ctx->txnid = llm_store_seen(store);
            ngx_http_llm_notice_txnid(mcf, ctx->txnid);

            return ngx_http_llm_keep_key(r, ctx, &k);
        }
    }

    /* what can't be a key needs no store to be refused */

    if (rc != LLM_NOTFOUND
        && llm_key_wellformed((char *) key->data, key->len))
    {
        if (store) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "llm_auth: %s", err);
        }

        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "store_unavailable",
                                  "API keys can't be checked now");
    }

    return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "invalid_api_key",
                              "this API key is not valid");
}


/* in the place of the one before, if it fits: a stream may see many */

static ngx_int_t
ngx_http_llm_keep_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    const llm_key_t *k)
{
    size_t      size = llm_key_size(k);
    llm_key_t  *key = ctx->key;

    if (size > ctx->key_size) {
        key = ngx_palloc(r->pool, size);
        if (key == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->key = key;
        ctx->key_size = size;
    }

    ngx_memcpy(key, k, size);

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_judge_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    time_t                     day = 24 * 60 * 60;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    switch (llm_key_state(ctx->key, (int64_t) ngx_time(), mcf->max_age)) {

    case LLM_KEY_GOOD:
        return NGX_OK;

    case LLM_KEY_EXPIRED:
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "key_expired",
                                  "this API key has expired");

    case LLM_KEY_TOO_OLD:
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "key_too_old",
                                  "this API key is older than a key may be "
                                  "(%T %s): it must be rotated",
                                  mcf->max_age % day ? mcf->max_age
                                                     : mcf->max_age / day,
                                  mcf->max_age % day ? "seconds" : "days");

    case LLM_KEY_ROTATED:
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "key_rotated",
                                  "this API key was rotated, use the new one");

    default:
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "key_revoked",
                                  "this API key was revoked");
    }
}


/* behind a proxy that is trusted, nginx's realip module gives the client's */

static ngx_int_t
ngx_http_llm_judge_address(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char               addr[16];
    struct sockaddr     *sa = r->connection->sockaddr;
    struct sockaddr_in  *sin;

    if (ctx->key->n_net == 0) {
        return NGX_OK;
    }

    ngx_memzero(addr, sizeof(addr));

    switch (sa->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        addr[10] = 0xff;
        addr[11] = 0xff;
        ngx_memcpy(addr + 12, &sin->sin_addr, 4);
        break;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        ngx_memcpy(addr, &((struct sockaddr_in6 *) sa)->sin6_addr, 16);
        break;
#endif

    default:
        /* a UNIX socket: no address is in any range */
        break;
    }

    if (sa->sa_family == AF_UNIX || !llm_key_from(ctx->key, addr)) {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN,
                                  "address_not_allowed",
                                  "this API key may not be used from this "
                                  "address");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_judge_role(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if ((ngx_uint_t) ctx->key->role < lcf->role) {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "role_required",
                                  "this needs the role \"%s\", the key has "
                                  "\"%s\"",
                                  llm_role_name((llm_role_e) lcf->role),
                                  llm_role_name(ctx->key->role));
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_llm_check_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    int                        rc;
    char                       err[LLM_ERRLEN];
    uint64_t                   txnid;
    llm_key_t                  k;
    ngx_int_t                  verdict;
    llm_store_t               *store;
    ngx_http_llm_main_conf_t  *mcf;

    if (!ctx->authenticated) {
        return NGX_OK;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    store = ngx_http_llm_store(mcf, r->connection->log);

    if (store == NULL) {
        return NGX_OK;
    }

    txnid = llm_store_txnid(store);

    if (txnid == ctx->txnid && txnid != 0) {
        return ngx_http_llm_judge_key(r, ctx);
    }

    /* the same secret of the key, which may have been rotated out */

    rc = llm_key_again(store, ctx->key->tag, &k, err, sizeof(err));

    if (rc == LLM_NOTFOUND) {
        ctx->key->revoked = ngx_time();

    } else if (rc == LLM_OK) {
        verdict = ngx_http_llm_keep_key(r, ctx, &k);

        if (verdict != NGX_OK) {
            return verdict;
        }

    } else {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "llm_auth: %s",
                      err);
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "store_unavailable",
                                  "API keys can't be checked now");
    }

    ctx->txnid = llm_store_seen(store);

    verdict = ngx_http_llm_judge_key(r, ctx);

    return verdict == NGX_OK ? ngx_http_llm_judge_scopes(r, ctx) : verdict;
}


/* what a request was let in with may have been taken from its key since */

static ngx_int_t
ngx_http_llm_judge_scopes(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_llm_judge_address(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_judge_role(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    if ((ctx->submitted || ctx->asked) && ctx->model.len
        && !llm_key_model(ctx->key, (char *) ctx->model.data,
                          ctx->model.len))
    {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "model_not_allowed",
                                  "this API key may not use this model any "
                                  "more");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_identity(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    if (ngx_http_llm_push_header(r, 0, ctx->key->id) != NGX_OK
        || ngx_http_llm_push_header(r, 1, ctx->key->client) != NGX_OK
        || ngx_http_llm_push_header(r, 2, llm_role_name(ctx->key->role))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_push_header(ngx_http_request_t *r, ngx_uint_t i,
    const char *value)
{
    ngx_table_elt_t           *h;
    ngx_http_llm_main_conf_t  *mcf;

    static const struct {
        ngx_str_t  name;
        ngx_str_t  lowcase;
    } names[] = {
        { ngx_string("X-LLM-Key-Id"), ngx_string("x-llm-key-id") },
        { ngx_string("X-LLM-Client"), ngx_string("x-llm-client") },
        { ngx_string("X-LLM-Role"), ngx_string("x-llm-role") }
    };

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    h = ngx_list_push(&r->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    if (mcf->identity_hash[i] == 0) {
        mcf->identity_hash[i] = ngx_hash_key(names[i].lowcase.data,
                                             names[i].lowcase.len);
    }

    h->hash = mcf->identity_hash[i];
    h->key = names[i].name;
    h->lowcase_key = names[i].lowcase.data;
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}
