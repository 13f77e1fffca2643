
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


static ngx_int_t ngx_http_llm_find_key(ngx_http_request_t *r,
    ngx_str_t *key);
static ngx_uint_t ngx_http_llm_is_key_header(ngx_table_elt_t *h,
    ngx_str_t *key);
static ngx_int_t ngx_http_llm_lookup(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_str_t *key);
static ngx_int_t ngx_http_llm_judge_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_address(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_role(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_judge_scopes(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_strip(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_identity(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_push_header(ngx_http_request_t *r,
    ngx_uint_t i, const char *value);


ngx_int_t
ngx_http_llm_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                 key;
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

        return rc == NGX_DECLINED ? NGX_OK : rc;
    }

    rc = ngx_http_llm_find_key(r, &key);

    /* whatever becomes of the request, nothing after this sees the key */

    if (ngx_http_llm_strip(r, ctx) != NGX_OK) {
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

    rc = ngx_http_llm_ask(r, ctx);

    return rc == NGX_DECLINED ? NGX_OK : rc;
}


/* two different keys are as good as none: which one would be meant? */

static ngx_int_t
ngx_http_llm_find_key(ngx_http_request_t *r, ngx_str_t *key)
{
    ngx_str_t         one;
    ngx_uint_t        i, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    n = 0;
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

        if (!ngx_http_llm_is_key_header(&h[i], &one)) {
            continue;
        }

        if (n++ == 0) {
            *key = one;

        } else if (key->len != one.len
                   || ngx_memcmp(key->data, one.data, one.len) != 0)
        {
            return NGX_DECLINED;
        }
    }

    return n ? NGX_OK : NGX_DECLINED;
}


static ngx_uint_t
ngx_http_llm_is_key_header(ngx_table_elt_t *h, ngx_str_t *key)
{
    *key = h->value;

    if (h->key.len == sizeof("x-api-key") - 1
        && ngx_strncasecmp(h->key.data, (u_char *) "x-api-key", h->key.len)
           == 0)
    {
        return 1;
    }

    if (h->key.len != sizeof("authorization") - 1
        || ngx_strncasecmp(h->key.data, (u_char *) "authorization",
                           h->key.len)
           != 0)
    {
        return 0;
    }

    /* another scheme counts too, as a key that can't be good */

    if (key->len > sizeof("Bearer ") - 1
        && ngx_strncasecmp(key->data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           == 0)
    {
        key->data += sizeof("Bearer ") - 1;
        key->len -= sizeof("Bearer ") - 1;

        while (key->len && key->data[0] == ' ') {
            key->data++;
            key->len--;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_llm_lookup(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_str_t *key)
{
    int                        rc;
    char                       err[LLM_ERRLEN];
    llm_store_t               *store;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    rc = LLM_NOTFOUND;

    if (llm_key_wellformed((char *) key->data, key->len)) {

        store = ngx_http_llm_store(mcf, r->connection->log);

        if (store == NULL) {
            return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                      "store_unavailable",
                                      "API keys can't be checked now");
        }

        /* before the look-up: a change during it is seen later */
        ctx->txnid = llm_store_txnid(store);

        rc = llm_key_lookup(store, mcf->secret, (char *) key->data, key->len,
                            &ctx->key, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        ngx_http_llm_notice_txnid(mcf, ctx->txnid);
        return NGX_OK;
    }

    if (rc != LLM_NOTFOUND) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "llm_auth: %s",
                      err);
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "store_unavailable",
                                  "API keys can't be checked now");
    }

    return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "invalid_api_key",
                              "this API key is not valid");
}


static ngx_int_t
ngx_http_llm_judge_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    time_t                     day = 24 * 60 * 60;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    switch (llm_key_state(&ctx->key, (int64_t) ngx_time(), mcf->max_age)) {

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

    if (ctx->key.n_net == 0) {
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

    if (sa->sa_family == AF_UNIX || !llm_key_from(&ctx->key, addr)) {
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

    if ((ngx_uint_t) ctx->key.role < lcf->role) {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "role_required",
                                  "this needs the role \"%s\", the key has "
                                  "\"%s\"",
                                  llm_role_name((llm_role_e) lcf->role),
                                  llm_role_name(ctx->key.role));
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_llm_check_key(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    int                        rc;
    char                       err[LLM_ERRLEN];
    uint64_t                   txnid;
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

    rc = llm_key_again(store, ctx->key.tag, &ctx->key, err, sizeof(err));

    if (rc == LLM_NOTFOUND) {
        ctx->key.revoked = ngx_time();

    } else if (rc != LLM_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "llm_auth: %s",
                      err);
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "store_unavailable",
                                  "API keys can't be checked now");
    }

    ctx->txnid = txnid;

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
        && !llm_key_model(&ctx->key, (char *) ctx->model.data,
                          ctx->model.len))
    {
        return ngx_http_llm_error(r, NGX_HTTP_FORBIDDEN, "model_not_allowed",
                                  "this API key may not use this model any "
                                  "more");
    }

    return NGX_OK;
}


/*
 * Lay the request's headers anew without the key and without what only this
 * module may say.  The elements are copied: the core's pointers to well-known
 * headers stay good.
 */

static ngx_int_t
ngx_http_llm_strip(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_str_t         ignored;
    ngx_list_t        list;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *copy;

    if (ngx_list_init(&list, r->pool, 20, sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

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

        if (ngx_http_llm_is_key_header(&h[i], &ignored)) {
            continue;
        }

        if (h[i].key.len > 6
            && (ngx_strncasecmp(h[i].key.data, (u_char *) "x-llm-", 6) == 0
                || ngx_strncasecmp(h[i].key.data, (u_char *) "x_llm_", 6)
                   == 0))
        {
            if (h[i].key.len == sizeof("x-llm-totp") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "x-llm-totp",
                                   h[i].key.len)
                   == 0)
            {
                ctx->totp = h[i].value;
            }

            continue;
        }

        /* an answer that is read for its token counts must be plain; nginx's
         * own gzip still sees what the client takes */

        if (r->method == NGX_HTTP_POST
            && h[i].key.len == sizeof("accept-encoding") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "accept-encoding",
                               h[i].key.len)
               == 0)
        {
            continue;
        }

        copy = ngx_list_push(&list);
        if (copy == NULL) {
            return NGX_ERROR;
        }

        *copy = h[i];
    }

    r->headers_in.headers = list;

    /* a list that has one part points at its own first part */

    if (list.last == &list.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    r->headers_in.authorization = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_identity(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    if (ngx_http_llm_push_header(r, 0, ctx->key.id) != NGX_OK
        || ngx_http_llm_push_header(r, 1, ctx->key.client) != NGX_OK
        || ngx_http_llm_push_header(r, 2, llm_role_name(ctx->key.role))
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
