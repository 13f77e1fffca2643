
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas of requests: the shared table's zone, a request's way in and out,
 * the engine's questions, and the headers that clients know.
 */


#include "ngx_http_llm.h"


#define NGX_HTTP_LLM_QUOTA_TRIES  4


typedef struct {
    const char  *limit;
    const char  *remaining;
    const char  *reset;
} ngx_http_llm_limit_names_t;


static ngx_int_t ngx_http_llm_quota_load(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_spent_t *spent);
static ngx_int_t ngx_http_llm_quota_answer(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, int rc, const llm_quota_view_t *v);
static const char *ngx_http_llm_quota_refusal(const llm_quota_view_t *v,
    ngx_uint_t *status, const char **code);
static ngx_int_t ngx_http_llm_limit_headers(ngx_http_request_t *r,
    const ngx_http_llm_limit_names_t *names, uint64_t limit, uint64_t left,
    uint32_t reset);
static u_char *ngx_http_llm_number(u_char *p, uint64_t n);
static ngx_int_t ngx_http_llm_notice_header(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);


static const ngx_http_llm_limit_names_t  ngx_http_llm_request_names = {
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests"
};

static const ngx_http_llm_limit_names_t  ngx_http_llm_token_names = {
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens"
};


ngx_int_t
ngx_http_llm_quota_init_zone(ngx_shm_zone_t *shm, void *data)
{
    char              err[LLM_ERRLEN];
    size_t            size;
    llm_quota_t      *q;
    ngx_slab_pool_t  *pool;

    if (data) {
        /* a reload: what was used stays used */
        shm->data = data;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) shm->shm.addr;
    size = llm_quota_size(NGX_HTTP_LLM_QUOTA_KEYS);

    /* fresh pages are zero already; touching them would take the memory */

    q = ngx_slab_alloc(pool, size);

    if (q == NULL
        || llm_quota_init(q, size, NGX_HTTP_LLM_QUOTA_KEYS, err, sizeof(err))
           != LLM_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0, "llm_store: quotas: %s",
                      q ? err : "the shared zone is too small");
        return NGX_ERROR;
    }

    shm->data = q;

    return NGX_OK;
}


llm_quota_t *
ngx_http_llm_quota(ngx_http_llm_main_conf_t *mcf)
{
    return mcf->quota_shm ? mcf->quota_shm->data : NULL;
}


/* unix milliseconds */

int64_t
ngx_http_llm_now(void)
{
    ngx_time_t  *tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + (int64_t) tp->msec;
}


/* a request with a good key begins: NGX_OK, or the error is set */

ngx_int_t
ngx_http_llm_quota_enter(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    int                        rc;
    ngx_uint_t                 i;
    llm_spent_t                spent;
    llm_quota_t               *q;
    llm_quota_view_t           v;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    q = ngx_http_llm_quota(mcf);

    ngx_memzero(&v, sizeof(llm_quota_view_t));

    rc = llm_quota_enter(q, ctx->key->id, &ctx->key->limits, NULL, ngx_pid,
                         ngx_http_llm_now(), &ctx->ticket, &v);

    for (i = 0; rc == LLM_NOTFOUND && i < NGX_HTTP_LLM_QUOTA_TRIES; i++) {

        /* its record; another one when it came and went meanwhile */

        if (ngx_http_llm_quota_load(r, ctx, &spent) != NGX_OK) {
            return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                      "store_unavailable",
                                      "the key's quota can't be checked now");
        }

        rc = llm_quota_enter(q, ctx->key->id, &ctx->key->limits, &spent,
                             ngx_pid, ngx_http_llm_now(), &ctx->ticket, &v);
    }

    if (rc == LLM_OK) {
        ngx_http_llm_calls_touch(mcf);
    }

    return ngx_http_llm_quota_answer(r, ctx, rc, &v);
}


/* of a call that said how the key stands: NGX_OK, or the error is set */

static ngx_int_t
ngx_http_llm_quota_answer(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    int rc, const llm_quota_view_t *v)
{
    const char  *code, *message;
    ngx_uint_t   status;

    ctx->left.rpm = v->rpm_left;
    ctx->left.rpm_reset = v->rpm_reset;
    ctx->left.tpm = v->tpm_left;
    ctx->left.tpm_reset = v->tpm_reset;

    if (rc == LLM_OK) {
        return NGX_OK;
    }

    message = ngx_http_llm_quota_refusal(v, &status, &code);
    ctx->retry_after = v->retry;

    return ngx_http_llm_error(r, status, code, "%s", message);
}


/* a key's first call since it was last in the table.  What can't be read
 * would be given twice: then a budget admits nobody */

static ngx_int_t
ngx_http_llm_quota_load(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_spent_t *spent)
{
    int           rc;
    char          err[LLM_ERRLEN];
    llm_calls_t  *calls;

    ngx_memzero(spent, sizeof(llm_spent_t));

    calls = ngx_http_llm_calls(ngx_http_get_module_main_conf(r,
                                                       ngx_http_llm_module),
                               r->connection->log);

    if (calls) {
        rc = llm_calls_usage(calls, ctx->key->id, spent, err, sizeof(err));

        if (rc == LLM_OK || rc == LLM_NOTFOUND) {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "llm_store: %s",
                      err);
        ngx_memzero(spent, sizeof(llm_spent_t));
    }

    return ctx->key->limits.day || ctx->key->limits.month ? NGX_ERROR : NGX_OK;
}


/* the request ends, however: once */

void
ngx_http_llm_quota_leave(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_main_conf_t  *mcf;

    if (ctx->ticket == 0) {
        return;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    llm_quota_leave(ngx_http_llm_quota(mcf), ctx->ticket, ctx->prompt_tokens,
                    ngx_http_llm_completion_tokens(ctx), ngx_http_llm_now());
    ctx->ticket = 0;

    ngx_http_llm_calls_touch(mcf);
}


ngx_int_t
ngx_http_llm_quota_reserve(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    uint64_t want, uint64_t least)
{
    int                        rc;
    llm_quota_view_t           v;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    ngx_memzero(&v, sizeof(llm_quota_view_t));

    rc = llm_quota_reserve(ngx_http_llm_quota(mcf), ctx->ticket, want, least,
                           ngx_http_llm_now(), &ctx->granted, &v);

    return ngx_http_llm_quota_answer(r, ctx, rc, &v);
}


/* the engine asks, on a thread of the helper: nothing of nginx's here */

int
ngx_http_llm_grant(void *data, llm_grant_t *g)
{
    llm_quota_t  *q = data;

    int                rc;
    const char        *code, *message;
    ngx_uint_t         status;
    struct timespec    ts;
    llm_quota_view_t   v;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    rc = llm_quota_reserve(q, g->account, g->want, g->least,
                           (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000,
                           &g->got, &v);

    if (rc == LLM_OK) {
        return LLM_OK;
    }

    if (rc == LLM_NOTFOUND) {
        status = NGX_HTTP_SERVICE_UNAVAILABLE;
        code = "cancelled";
        message = "the request is not running any more";
        g->retry = 1;

    } else {
        message = ngx_http_llm_quota_refusal(&v, &status, &code);
        g->retry = v.retry;
    }

    g->status = (int) status;
    (void) snprintf(g->code, sizeof(g->code), "%s", code);
    (void) snprintf(g->message, sizeof(g->message), "%s", message);

    return LLM_AGAIN;
}


static const char *
ngx_http_llm_quota_refusal(const llm_quota_view_t *v, ngx_uint_t *status,
    const char **code)
{
    *status = NGX_HTTP_TOO_MANY_REQUESTS;
    *code = "rate_limit_exceeded";

    switch (v->reason) {

    case LLM_QUOTA_RPM:
        return "the key's requests of this minute are used up";

    case LLM_QUOTA_TPM:
        return "the key has too few tokens left in this minute for this "
               "request";

    case LLM_QUOTA_CONCURRENT:
        *code = "too_many_concurrent_requests";
        return "the key has as many requests running as it may";

    case LLM_QUOTA_DAY:
        *status = NGX_HTTP_LLM_PAYMENT_REQUIRED;
        *code = "budget_exceeded";
        return "the key has too few tokens left of its daily budget";

    case LLM_QUOTA_MONTH:
        *status = NGX_HTTP_LLM_PAYMENT_REQUIRED;
        *code = "budget_exceeded";
        return "the key has too few tokens left of its monthly budget";

    default:
        *status = NGX_HTTP_SERVICE_UNAVAILABLE;
        *code = "queue_full";
        return "too many requests at a time, try again later";
    }
}


/* what a client may want to know of its key, with every answer */

ngx_int_t
ngx_http_llm_quota_headers(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    llm_quota_t         *q;
    llm_quota_view_t     v;
    const llm_limits_t  *lim = &ctx->key->limits;

    /* after an engine that reserved tokens, or another server's time, it is
     * not as it was in the beginning any more */

    if (lim->tpm && ctx->ticket && (ctx->submitted || r->upstream)) {
        q = ngx_http_llm_quota(ngx_http_get_module_main_conf(r,
                                                       ngx_http_llm_module));

        if (llm_quota_view(q, ctx->key->id, lim, ngx_http_llm_now(), &v)
            == LLM_OK)
        {
            (void) ngx_http_llm_quota_answer(r, ctx, LLM_OK, &v);
        }
    }

    if (lim->rpm
        && ngx_http_llm_limit_headers(r, &ngx_http_llm_request_names, lim->rpm,
                                      ctx->left.rpm, ctx->left.rpm_reset)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (lim->tpm
        && ngx_http_llm_limit_headers(r, &ngx_http_llm_token_names, lim->tpm,
                                      ctx->left.tpm, ctx->left.tpm_reset)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_llm_notice_header(r, ctx);
}


static ngx_int_t
ngx_http_llm_limit_headers(ngx_http_request_t *r,
    const ngx_http_llm_limit_names_t *names, uint64_t limit, uint64_t left,
    uint32_t reset)
{
    u_char     *p;
    ngx_str_t   value;

    /* three of each, on every answer: no format is parsed for them */

    p = ngx_pnalloc(r->pool, 3 * NGX_INT64_LEN + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    p = ngx_http_llm_number(p, limit);
    value.len = (size_t) (p - value.data);

    if (ngx_http_llm_header(r, names->limit, &value) == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    p = ngx_http_llm_number(p, left);
    value.len = (size_t) (p - value.data);

    if (ngx_http_llm_header(r, names->remaining, &value) == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    p = ngx_http_llm_number(p, reset);
    *p++ = 's';
    value.len = (size_t) (p - value.data);

    return ngx_http_llm_header(r, names->reset, &value) ? NGX_OK : NGX_ERROR;
}


static u_char *
ngx_http_llm_number(u_char *p, uint64_t n)
{
    u_char  digits[NGX_INT64_LEN], *d;

    d = digits + sizeof(digits);

    do {
        *--d = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return ngx_cpymem(p, d, digits + sizeof(digits) - d);
}


/* in the last 14 days of a key: when it ends, and how to see to it */

static ngx_int_t
ngx_http_llm_notice_header(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char                    *p;
    int64_t                    end, left;
    ngx_tm_t                   tm;
    ngx_str_t                  value;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    end = llm_key_end(ctx->key, mcf->max_age);
    left = end - (int64_t) ngx_time();

    if (end == INT64_MAX || left < 0
        || left > NGX_HTTP_LLM_NOTICE * 24 * 60 * 60)
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, 64);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_gmtime((time_t) end, &tm);

    value.data = p;
    p = ngx_sprintf(p, "%4d-%02d-%02dT%02d:%02d:%02dZ; days=%L",
                    tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                    tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                    (int64_t) (left / (24 * 60 * 60)));
    value.len = (size_t) (p - value.data);

    return ngx_http_llm_header(r, "X-LLM-Key-Expires", &value) ? NGX_OK
                                                               : NGX_ERROR;
}
