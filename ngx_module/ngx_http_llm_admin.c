
/*
 * Copyright (C) nginx-llm contributors
 *
 * Content phase of llm_admin: the administration API over HTTP.  A request's
 * body and query become JSON, llm_admin() works on the worker's thread, and
 * its reply is the answer.  A reply may hold a new key: its text is wiped with
 * the request, and no cache may keep it.
 */


#include "ngx_http_llm.h"
#include "metrics/llm_alerts.h"
#include <openssl/crypto.h>


/* longer than what is taken: what is cut short is too long still */
#define NGX_HTTP_LLM_ADMIN_IDEM  258

#define NGX_HTTP_LLM_ADMIN_ARGS  32


typedef struct ngx_http_llm_admin_task_s  ngx_http_llm_admin_task_t;


/* a call that waits for its record */
typedef struct {
    ngx_http_llm_ctx_t        *ctx;
    ngx_http_llm_admin_task_t *task;        /* NULL: it goes on */
} ngx_http_llm_admin_wait_t;


struct ngx_http_llm_admin_task_s {
    ngx_http_llm_task_t        task;
    ngx_http_llm_main_conf_t  *mcf;
    llm_key_t                  key;
    llm_admin_call_t           call;
    llm_admin_reply_t          reply;
    char                       method[8];
    char                       path[128];
    char                       totp[64];
    char                       idem[NGX_HTTP_LLM_ADMIN_IDEM];
    json_t                    *args;
    ngx_http_llm_body_t        body;
    char                      *text;        /* of the reply */
    size_t                     text_len;
    ngx_http_llm_admin_wait_t *wait;        /* in the request's pool */
};


static void ngx_http_llm_admin_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_admin_post(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_admin_submit(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_admin_task_t *t);
static ngx_int_t ngx_http_llm_admin_record(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_admin_task_t *t);
static ngx_uint_t ngx_http_llm_admin_urgent(ngx_http_llm_admin_task_t *t);
static void ngx_http_llm_admin_recorded(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static void ngx_http_llm_admin_gone(void *data);
static ngx_int_t ngx_http_llm_admin_call(ngx_http_request_t *r,
    ngx_http_llm_admin_task_t *t);
static ngx_int_t ngx_http_llm_admin_path(ngx_http_request_t *r,
    ngx_http_llm_admin_task_t *t);
static ngx_int_t ngx_http_llm_admin_args(ngx_http_request_t *r,
    ngx_http_llm_admin_task_t *t);
static ngx_int_t ngx_http_llm_admin_header(ngx_http_request_t *r,
    const char *name, char *dst, size_t size);
static ngx_int_t ngx_http_llm_admin_copy(ngx_http_request_t *r,
    ngx_http_llm_admin_task_t *t);
static void ngx_http_llm_admin_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_admin_fail(ngx_http_llm_admin_task_t *t, int status,
    const char *code, const char *message);
static json_t *ngx_http_llm_admin_status(void *data, int history);
static json_t *ngx_http_llm_admin_engines(ngx_http_llm_main_conf_t *mcf);
static void ngx_http_llm_admin_alerts(ngx_http_llm_main_conf_t *mcf,
    json_t *status, int history);
static void ngx_http_llm_admin_done(ngx_http_llm_task_t *task);
static ngx_int_t ngx_http_llm_admin_answer(ngx_http_request_t *r,
    ngx_http_llm_admin_task_t *t);
static void ngx_http_llm_admin_free(ngx_http_llm_admin_task_t *t);
static void ngx_http_llm_admin_wipe(void *data);


ngx_int_t
ngx_http_llm_admin_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx == NULL || !ctx->authenticated) {
        /* let in by "satisfy any" */
        return ngx_http_llm_error(r, NGX_HTTP_UNAUTHORIZED, "invalid_api_key",
                                  "administration needs an API key");
    }

    /* the console asks for it every few seconds */

    ctx->looks = (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)
                  && ngx_http_llm_ends(&r->uri, "/status"));

    rc = ngx_http_read_client_request_body(r, ngx_http_llm_admin_body_handler);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


static void
ngx_http_llm_admin_body_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_llm_admin_post(r);

    if (rc != NGX_OK) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    r->write_event_handler = ngx_http_request_empty_handler;
}


static ngx_int_t
ngx_http_llm_admin_post(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_llm_ctx_t         *ctx;
    ngx_http_llm_admin_task_t  *t;

    ctx = ngx_http_llm_get_ctx(r);

    t = ngx_calloc(sizeof(ngx_http_llm_admin_task_t), r->connection->log);
    if (t == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t->task.run = ngx_http_llm_admin_run;
    t->task.done = ngx_http_llm_admin_done;
    t->task.request = r;
    t->mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    rc = ngx_http_llm_admin_call(r, t);

    if (rc == NGX_OK) {
        rc = ngx_http_llm_admin_record(r, ctx, t);
    }

    if (rc == NGX_AGAIN) {
        ctx->task = &t->task;
        return NGX_OK;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_llm_admin_submit(r, ctx, t);
    }

    if (rc != NGX_OK) {
        ngx_http_llm_admin_free(t);
    }

    return rc;
}


static ngx_int_t
ngx_http_llm_admin_submit(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_admin_task_t *t)
{
    if (ngx_http_llm_post(t->mcf, &t->task, r->connection->log) != NGX_OK) {
        return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "store_unavailable",
                                  "the store can't be opened now");
    }

    ctx->task = &t->task;

    return NGX_OK;
}


/*
 * The audit knows of a change before it is made, but for one that makes a key
 * useless: that may not wait for a disk.  So does who asks a worker that has
 * not opened the trail yet: it may ask of the trail.  NGX_AGAIN: it goes on when
 * the record is durable.
 */

static ngx_int_t
ngx_http_llm_admin_record(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_admin_task_t *t)
{
    ngx_int_t                    rc;
    ngx_pool_cleanup_t          *cln;
    ngx_http_llm_admin_wait_t   *w;

    if (!ngx_http_llm_audited(r)) {
        return NGX_OK;
    }

    if (ngx_http_llm_admin_urgent(t)
        || (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)
            && ngx_http_llm_trail_handle(t->mcf)))
    {
        (void) ngx_http_llm_audit_open(r, ctx);
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_llm_admin_wait_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_llm_audit_wait(r, ctx, ngx_http_llm_admin_recorded);

    if (rc == NGX_AGAIN) {
        w = cln->data;
        w->ctx = ctx;
        w->task = t;
        cln->handler = ngx_http_llm_admin_gone;
        t->wait = w;
    }

    return rc == NGX_ERROR ? ngx_http_llm_audit_error(r) : rc;
}


static ngx_uint_t
ngx_http_llm_admin_urgent(ngx_http_llm_admin_task_t *t)
{
    const char  *last;

    last = strrchr(t->path, '/');

    return last != NULL && ngx_strncmp(t->path, "keys/", 5) == 0
           && (ngx_strcmp(last, "/revoke") == 0
               || ngx_strcmp(last, "/leak") == 0);
}


static void
ngx_http_llm_admin_recorded(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_http_llm_admin_task_t  *t;

    t = (ngx_http_llm_admin_task_t *) ctx->task;

    ctx->task = NULL;
    t->wait->task = NULL;

    /* the key may have been revoked meanwhile: that is looked at there */

    rc = ctx->record->state == NGX_HTTP_LLM_AUDIT_DURABLE
         ? ngx_http_llm_admin_submit(r, ctx, t) : ngx_http_llm_audit_error(r);

    if (rc != NGX_OK) {
        ngx_http_llm_admin_free(t);
        ngx_http_finalize_request(r, rc);
    }
}


/* the client has gone before anything was done */

static void
ngx_http_llm_admin_gone(void *data)
{
    ngx_http_llm_admin_wait_t  *w = data;

    if (w->task) {
        w->ctx->task = NULL;
        ngx_http_llm_admin_free(w->task);
        w->task = NULL;
    }
}


static ngx_int_t
ngx_http_llm_admin_call(ngx_http_request_t *r, ngx_http_llm_admin_task_t *t)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);

    ngx_memcpy(&t->key, ctx->key, llm_key_size(ctx->key));
    t->call.key = &t->key;

    (void) ngx_snprintf((u_char *) t->method, sizeof(t->method) - 1, "%V%Z",
                        &r->method_name);
    t->call.method = t->method;

    if (r->method == NGX_HTTP_HEAD) {
        t->call.method = "GET";
    }

    t->call.now = ngx_http_llm_now();

    rc = ngx_http_llm_admin_path(r, t);

    if (rc == NGX_OK) {
        rc = ngx_http_llm_admin_args(r, t);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_llm_admin_copy(r, t);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    /* the identity headers begin alike and are gone by now */

    t->call.totp = ctx->totp.len ? t->totp : NULL;
    (void) ngx_snprintf((u_char *) t->totp, sizeof(t->totp) - 1, "%V%Z",
                        &ctx->totp);

    if (ngx_http_llm_admin_header(r, "idempotency-key", t->idem,
                                  sizeof(t->idem))
        == NGX_OK)
    {
        t->call.idem = t->idem;
    }

    return NGX_OK;
}


/* what stands after the location's prefix */

static ngx_int_t
ngx_http_llm_admin_path(ngx_http_request_t *r, ngx_http_llm_admin_task_t *t)
{
    size_t                     len, skip;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    skip = ngx_min(clcf->name.len, r->uri.len);

    while (skip < r->uri.len && r->uri.data[skip] == '/') {
        skip++;
    }

    len = r->uri.len - skip;

    if (len >= sizeof(t->path)
        || ngx_strlchr(r->uri.data, r->uri.data + r->uri.len, '\0') != NULL)
    {
        return ngx_http_llm_error(r, NGX_HTTP_NOT_FOUND, "unknown_url",
                                  "there is nothing at this path");
    }

    ngx_memcpy(t->path, r->uri.data + skip, len);

    if (len && t->path[len - 1] == '/') {
        t->path[len - 1] = '\0';
    }

    t->call.path = t->path;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_admin_args(ngx_http_request_t *r, ngx_http_llm_admin_task_t *t)
{
    u_char     *p, *last, *eq, *end, *src, *dst, *name, *value;
    ngx_uint_t  n;

    if (r->args.len == 0) {
        return NGX_OK;
    }

    t->args = json_object();
    p = ngx_pnalloc(r->pool, 2 * r->args.len + 2);

    if (t->args == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t->call.args = t->args;
    dst = p;
    src = r->args.data;
    last = src + r->args.len;

    for (n = 0; src < last; src = end + 1) {

        end = ngx_strlchr(src, last, '&');
        end = end ? end : last;
        eq = ngx_strlchr(src, end, '=');

        if (src == end) {
            continue;
        }

        name = dst;
        ngx_unescape_uri(&dst, &src, (eq ? eq : end) - src, 0);
        *dst++ = '\0';

        value = dst;

        if (eq) {
            src = eq + 1;
            ngx_unescape_uri(&dst, &src, end - src, 0);
        }

        *dst++ = '\0';

        /* what is no UTF-8, or cut short by a zero, is refused here, an
         * unknown name there */

        if (n++ == NGX_HTTP_LLM_ADMIN_ARGS
            || ngx_strlen(name) != (size_t) (value - name) - 1
            || ngx_strlen(value) != (size_t) (dst - value) - 1
            || json_object_set_new(t->args, (char *) name,
                                   json_string((char *) value))
               != 0)
        {
            return ngx_http_llm_error(r, NGX_HTTP_BAD_REQUEST,
                                      "invalid_value",
                                      "the query string is malformed");
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_admin_header(ngx_http_request_t *r, const char *name, char *dst,
    size_t size)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NGX_DECLINED;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
        {
            len = ngx_min(h[i].value.len, size - 1);
            ngx_memcpy(dst, h[i].value.data, len);
            dst[len] = '\0';
            return NGX_OK;
        }
    }
}


static ngx_int_t
ngx_http_llm_admin_copy(ngx_http_request_t *r, ngx_http_llm_admin_task_t *t)
{
    if (ngx_http_llm_body_size(r) > NGX_HTTP_LLM_ADMIN_BODY) {
        return ngx_http_llm_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                  "request_too_large",
                                  "the body is larger than %d bytes",
                                  NGX_HTTP_LLM_ADMIN_BODY);
    }

    return ngx_http_llm_body_copy(r, &t->body);
}


/* on the thread */

static void
ngx_http_llm_admin_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_admin_task_t *t = (ngx_http_llm_admin_task_t *) task;

    ngx_uint_t          i;
    const char         *engine[LLM_ZONE_ENGINES];
    llm_admin_t         a;
    json_error_t        je;
    llm_engine_conf_t  *ec;

    if (ngx_http_llm_body_read(&t->body) != LLM_OK) {
        ngx_http_llm_admin_fail(t, 500, "internal_error",
                                "the body could not be read");
        return;
    }

    if (t->body.len) {
        t->call.body = json_loadb((char *) t->body.data, t->body.len,
                                  JSON_REJECT_DUPLICATES, &je);

        if (!json_is_object(t->call.body)) {
            ngx_http_llm_admin_fail(t, 400, "invalid_json",
                                    "the body is not a JSON object");
            return;
        }
    }

    ngx_memzero(&a, sizeof(llm_admin_t));

    ec = t->mcf->engines.elts;

    for (i = 0; i < t->mcf->engines.nelts && i < LLM_ZONE_ENGINES; i++) {
        engine[i] = ec[i].name;
    }

    a.store = store;
    a.calls = calls;
    a.audit = task->audit;
    a.secret = t->mcf->secret;
    a.quota = ngx_http_llm_quota(t->mcf);
    a.totp_required = (t->mcf->totp == 1);
    a.engine = engine;
    a.n_engine = i;
    a.status = ngx_http_llm_admin_status;
    a.data = t->mcf;

    llm_admin(&a, &t->call, &t->reply);

    if (t->reply.params) {
        ngx_http_llm_load_params(t->mcf, store);
    }

    if (t->reply.body) {
        t->text = json_dumps(t->reply.body, JSON_COMPACT|LLM_ADMIN_DUMP);
        t->text_len = t->text ? ngx_strlen(t->text) : 0;
    }
}


static void
ngx_http_llm_admin_fail(ngx_http_llm_admin_task_t *t, int status,
    const char *code, const char *message)
{
    t->reply.status = status;
    (void) snprintf(t->reply.code, sizeof(t->reply.code), "%s", code);
    (void) snprintf(t->reply.message, sizeof(t->reply.message), "%s",
                    message);
}


/* any thread: the zones' atomics only */

static json_t *
ngx_http_llm_admin_status(void *data, int history)
{
    ngx_http_llm_main_conf_t  *mcf = data;

    json_t  *status;

    status = json_pack("{s:o}", "engines", ngx_http_llm_admin_engines(mcf));

    if (status) {
        ngx_http_llm_admin_alerts(mcf, status, history);
    }

    return status;
}


static json_t *
ngx_http_llm_admin_engines(ngx_http_llm_main_conf_t *mcf)
{
    json_t               *list, *o;
    uint64_t              hash;
    ngx_uint_t            i;
    llm_engine_conf_t    *ec;
    llm_engine_state_e    state;
    llm_engine_status_t  *es;

    list = json_array();
    ec = mcf->engines.elts;

    for (i = 0; i < mcf->engines.nelts; i++) {
        hash = llm_engine_hash(ec[i].name, ngx_strlen(ec[i].name));
        state = ngx_http_llm_engine_state(mcf, hash);
        es = ngx_http_llm_engine_status(mcf, hash);

        o = json_pack("{s:s,s:s}", "engine", ec[i].name, "state",
                      ngx_http_llm_state_name(state));

        if (es) {
            (void) json_object_set_new(o, "running",
                                       json_integer(atomic_load(
                                                           &es->running)));
            (void) json_object_set_new(o, "waiting",
                                       json_integer(atomic_load(
                                                           &es->waiting)));
            (void) json_object_set_new(o, "kv_blocks_used",
                                       json_integer(atomic_load(
                                                       &es->blocks_used)));
            (void) json_object_set_new(o, "kv_blocks",
                                       json_integer(atomic_load(
                                                            &es->blocks)));
            (void) json_object_set_new(o, "prefill_tokens",
                                       json_integer((json_int_t) atomic_load(
                                                    &es->prefill_tokens)));
            (void) json_object_set_new(o, "decode_tokens",
                                       json_integer((json_int_t) atomic_load(
                                                     &es->decode_tokens)));
        }

        (void) json_array_append_new(list, o);
    }

    return list;
}


/* without memory for them, the status has none */

static void
ngx_http_llm_admin_alerts(ngx_http_llm_main_conf_t *mcf, json_t *status,
    int history)
{
    ngx_uint_t          i;
    const char         *engine[LLM_ZONE_ENGINES];
    llm_metrics_t      *m;
    llm_engine_conf_t  *ec;

    m = ngx_http_llm_metrics(mcf);

    if (m == NULL) {
        return;
    }

    ec = mcf->engines.elts;

    for (i = 0; i < mcf->engines.nelts && i < LLM_ZONE_ENGINES; i++) {
        engine[i] = ec[i].name;
    }

    (void) json_object_set_new(status, "alerts",
                               llm_alerts_json(m, ngx_http_llm_zone(mcf),
                                               engine, (int) i,
                                               llm_metrics_clock(),
                                               (int64_t) time(NULL) * 1000));

    if (history) {
        (void) json_object_set_new(status, "history",
                                   llm_alerts_history(m, history));
    }
}


static void
ngx_http_llm_admin_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_admin_task_t *t = (ngx_http_llm_admin_task_t *) task;

    ngx_int_t            rc;
    ngx_uint_t           level;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    ngx_http_llm_ctx_t  *ctx;

    if (t->reply.notify) {
        ngx_http_llm_notify_kick(t->mcf);
    }

    r = task->request;

    /* what the answer does not tell: files, sizes, the disk */

    if (t->reply.detail[0]) {
        level = t->reply.status >= NGX_HTTP_INTERNAL_SERVER_ERROR
                ? NGX_LOG_ERR : NGX_LOG_WARN;
        ngx_log_error(level, r ? r->connection->log : ngx_cycle->log, 0,
                      "llm_admin: %s", t->reply.detail);
    }

    if (r == NULL) {
        ngx_http_llm_admin_free(t);
        return;
    }

    c = r->connection;
    ctx = ngx_http_llm_get_ctx(r);
    ctx->task = NULL;

    ngx_http_set_log_request(c->log, r);

    rc = ngx_http_llm_admin_answer(r, t);

    ngx_http_llm_admin_free(t);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_llm_admin_answer(ngx_http_request_t *r, ngx_http_llm_admin_task_t *t)
{
    ngx_str_t            body, value;
    ngx_pool_cleanup_t  *cln;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);

    /* also to a key that has just rotated, leaked or revoked itself: the
     * answer may be the only place of its successor */

    ctx->told = 1;
    ctx->acted = (t->reply.status < NGX_HTTP_BAD_REQUEST
                  && ngx_http_llm_admin_urgent(t));

    ngx_str_set(&value, "no-store");

    if (ngx_http_llm_header(r, "Cache-Control", &value) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (t->reply.status >= NGX_HTTP_BAD_REQUEST || t->text == NULL) {
        ctx->retry_after = (ngx_uint_t) t->reply.retry;
        return ngx_http_llm_reply_error(r, t->reply.status
                                           ? (ngx_uint_t) t->reply.status
                                           : NGX_HTTP_INTERNAL_SERVER_ERROR,
                                        t->reply.code, t->reply.param,
                                        t->reply.message);
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_str_t));
    body.data = ngx_pnalloc(r->pool, t->text_len + 1);

    if (cln == NULL || body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(body.data, t->text, t->text_len);
    body.data[t->text_len] = '\n';
    body.len = t->text_len + 1;

    cln->handler = ngx_http_llm_admin_wipe;
    *(ngx_str_t *) cln->data = body;

    return ngx_http_llm_send_json(r, (ngx_uint_t) t->reply.status, &body);
}


static void
ngx_http_llm_admin_wipe(void *data)
{
    ngx_str_t  *text = data;

    OPENSSL_cleanse(text->data, text->len);
}


static void
ngx_http_llm_admin_free(ngx_http_llm_admin_task_t *t)
{
    if (t->text) {
        OPENSSL_cleanse(t->text, t->text_len);
        free(t->text);
    }

    llm_admin_done(&t->reply);
    json_decref(t->call.body);
    json_decref(t->args);

    if (t->body.data) {
        /* it may hold a code */
        OPENSSL_cleanse(t->body.data, t->body.size);
    }

    ngx_http_llm_body_free(&t->body);

    OPENSSL_cleanse(t, sizeof(ngx_http_llm_admin_task_t));
    ngx_free(t);
}
