
/*
 * Copyright (C) nginx-llm contributors
 *
 * What keys did: a record of each call, and the usage that quotas count, on
 * their way to the store.  Records wait in the worker's memory and are
 * written with the changed usage in one commit of the worker's thread, half a
 * second after the first of them; an idle worker has no timer.
 */


#include "ngx_http_llm.h"


typedef struct {
    ngx_http_llm_task_t        task;
    ngx_http_llm_main_conf_t  *mcf;
    llm_call_t                *call;        /* [max], from malloc */
    size_t                     max;
    size_t                     n;
    size_t                     written;
    int64_t                    now;         /* unix ms */
    int                        rc;
    char                       err[LLM_ERRLEN];
} ngx_http_llm_flush_t;


static void ngx_http_llm_flush_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_llm_flush(ngx_http_llm_main_conf_t *mcf,
    ngx_log_t *log);
static void ngx_http_llm_flush_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static int ngx_http_llm_flush_write(ngx_http_llm_flush_t *f,
    llm_calls_t *calls, size_t n);
static int ngx_http_llm_flush_usage(void *data, const char *id,
    const llm_spent_t *spent);
static void ngx_http_llm_flush_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_call_spare(ngx_http_llm_worker_t *w,
    ngx_http_llm_flush_t *f);
static llm_call_t *ngx_http_llm_call_push(ngx_http_llm_worker_t *w);


/* something is to be written: half a second from now */

void
ngx_http_llm_calls_touch(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w->flush.timer_set || w->flushing || w->closing) {
        return;
    }

    w->flush.handler = ngx_http_llm_flush_handler;
    w->flush.data = mcf;
    w->flush.log = ngx_cycle->log;
    w->flush.cancelable = 1;

    ngx_add_timer(&w->flush, NGX_HTTP_LLM_FLUSH);
}


/* log phase: a request has ended.  What its key did, if that is known, is to be
 * written */

ngx_int_t
ngx_http_llm_log_handler(ngx_http_request_t *r)
{
    llm_call_t                *call;
    ngx_http_llm_ctx_t        *ctx;
    ngx_http_llm_worker_t     *w;
    ngx_http_llm_main_conf_t  *mcf;

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx == NULL || r != r->main) {
        return NGX_OK;
    }

    ngx_http_llm_proxy_settle(r, ctx);
    ngx_http_llm_metrics_log(r, ctx);
    ngx_http_llm_audit_close(r, ctx);

    if (ctx->key == NULL) {
        return NGX_OK;
    }

    ngx_http_llm_quota_leave(r, ctx);

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    w = mcf->worker;

    call = ngx_http_llm_call_push(w);

    if (call == NULL) {
        w->lost++;
        ngx_http_llm_calls_touch(mcf);
        return NGX_OK;
    }

    /* all of it is set: it is as another call left it */

    ngx_memcpy(call->id, ctx->key->id, sizeof(call->id));
    ngx_memcpy(call->request, ctx->id_data, sizeof(ctx->id_data));
    call->request[sizeof(ctx->id_data)] = '\0';

    call->duration = (uint32_t) (ngx_current_msec - ctx->start);
    call->time = ngx_http_llm_now() - (int64_t) call->duration;
    call->status = (uint32_t) (r->err_status ? r->err_status
                                             : r->headers_out.status);
    call->prompt_tokens = ctx->prompt_tokens;
    call->completion_tokens = ngx_http_llm_completion_tokens(ctx);

    ngx_http_llm_call_text(call->model, sizeof(call->model), &ctx->model);
    ngx_http_llm_call_text(call->addr, sizeof(call->addr),
                           &r->connection->addr_text);
    ngx_http_llm_call_text(call->path, sizeof(call->path), &r->uri);

    call->agent[0] = '\0';

    if (r->headers_in.user_agent) {
        ngx_http_llm_call_text(call->agent, sizeof(call->agent),
                               &r->headers_in.user_agent->value);
    }

    if (w->n_call >= NGX_HTTP_LLM_CALLS_SOON && !w->flushing && !w->closing) {
        (void) ngx_http_llm_flush(mcf, r->connection->log);
        return NGX_OK;
    }

    ngx_http_llm_calls_touch(mcf);

    return NGX_OK;
}


/* NULL: so many wait that no more may, or there is no memory */

static llm_call_t *
ngx_http_llm_call_push(ngx_http_llm_worker_t *w)
{
    size_t       max;
    llm_call_t  *call;

    if (w->n_call == w->max_call) {
        max = w->max_call ? w->max_call * 2 : 64;

        call = max > NGX_HTTP_LLM_CALLS ? NULL
               : realloc(w->call, max * sizeof(llm_call_t));

        if (call == NULL) {
            return NULL;
        }

        w->call = call;
        w->max_call = max;
    }

    return &w->call[w->n_call++];
}


/* what is in it is the store's to check */

void
ngx_http_llm_call_text(char *dst, size_t size, ngx_str_t *src)
{
    size_t       at, n, len;
    const char  *key, *p, *last;

    len = ngx_min(src->len, size - 1);
    dst[len] = '\0';

    if (len == 0) {
        return;             /* no data may be NULL */
    }

    ngx_memcpy(dst, src->data, len);

    /* no key lies on the disk, by whatever mistake of a client's */

    p = (char *) src->data;
    last = p + src->len;

    while ((key = llm_key_find(p, (size_t) (last - p), &n)) != NULL) {
        at = (size_t) (key - (char *) src->data);

        if (at < len) {
            ngx_memset(dst + at, '*', ngx_min(n, len - at));
        }

        p = key + n;
    }
}


static void
ngx_http_llm_flush_handler(ngx_event_t *ev)
{
    (void) ngx_http_llm_flush(ev->data, ngx_cycle->log);
}


static ngx_int_t
ngx_http_llm_flush(ngx_http_llm_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_http_llm_flush_t   *f;
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w->lost) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "llm_store: %uz call records were "
                      "dropped: the store could not take them", w->lost);
        llm_metrics_lost(ngx_http_llm_metrics(mcf), w->lost);
        w->lost = 0;
    }

    f = ngx_calloc(sizeof(ngx_http_llm_flush_t), log);
    if (f == NULL) {
        return NGX_ERROR;
    }

    f->task.run = ngx_http_llm_flush_run;
    f->task.done = ngx_http_llm_flush_done;
    f->mcf = mcf;
    f->call = w->call;
    f->max = w->max_call;
    f->n = w->n_call;
    f->now = ngx_http_llm_now();

    w->flushing = 1;

    if (ngx_http_llm_post(mcf, &f->task, log) != NGX_OK) {
        w->flushing = 0;
        ngx_free(f);
        return NGX_ERROR;
    }

    w->call = w->spare_call;
    w->n_call = 0;
    w->max_call = w->max_spare;

    w->spare_call = NULL;
    w->max_spare = 0;

    return NGX_OK;
}


/* usage goes first: when there is no room for records, it is still written */

static void
ngx_http_llm_flush_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_flush_t *f = (ngx_http_llm_flush_t *) task;

    if (calls == NULL) {
        f->rc = LLM_ERROR;
        (void) llm_err(f->err, sizeof(f->err), 0, "calls.mdb is not open");
        return;
    }

    f->rc = ngx_http_llm_flush_write(f, calls, f->n);

    if (f->rc != LLM_OK && f->n) {
        (void) ngx_http_llm_flush_write(f, calls, 0);
    }
}


static int
ngx_http_llm_flush_write(ngx_http_llm_flush_t *f, llm_calls_t *calls,
    size_t n)
{
    int           rc;
    size_t        i;
    uint64_t      number;
    llm_quota_t  *q = ngx_http_llm_quota(f->mcf);

    rc = llm_calls_begin(calls, f->err, sizeof(f->err));
    if (rc != LLM_OK) {
        return rc;
    }

    number = 0;
    f->task.data = calls;

    rc = llm_quota_dirty(q, ngx_http_llm_flush_usage, f, f->now, &number);

    if (rc == LLM_AGAIN) {
        /* another worker is at it */
        rc = LLM_OK;
        number = 0;
    }

    f->written = 0;

    for (i = 0; rc == LLM_OK && i < n; i++) {
        rc = llm_calls_put(calls, &f->call[i], f->err, sizeof(f->err));

        if (rc == LLM_AGAIN || rc == LLM_INVALID) {
            /* no room: the usage is written all the same */
            rc = LLM_OK;
            continue;
        }

        f->written++;
    }

    if (rc != LLM_OK) {
        llm_calls_abort(calls);

    } else {
        rc = llm_calls_commit(calls, f->err, sizeof(f->err));
    }

    if (number) {
        llm_quota_written(q, rc == LLM_OK ? number : 0);
    }

    return rc;
}


static int
ngx_http_llm_flush_usage(void *data, const char *id, const llm_spent_t *spent)
{
    ngx_http_llm_flush_t  *f = data;

    return llm_calls_put_usage(f->task.data, id, spent, f->err,
                               sizeof(f->err));
}


static void
ngx_http_llm_flush_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_flush_t *f = (ngx_http_llm_flush_t *) task;

    ngx_http_llm_main_conf_t  *mcf = f->mcf;

    mcf->worker->flushing = 0;

    if (f->rc != LLM_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "llm_store: usage and calls: %s", f->err);
        f->written = 0;
    }

    mcf->worker->lost += f->n - f->written;

    /* what came meanwhile, or could not be written */

    if (mcf->worker->n_call || llm_quota_is_dirty(ngx_http_llm_quota(mcf))) {
        ngx_http_llm_calls_touch(mcf);
    }

    ngx_http_llm_call_spare(mcf->worker, f);
    ngx_free(f);
}


/* under load the same two vectors go to and fro, with no page to be mapped
 * anew; a worker that is idle keeps a small one */

static void
ngx_http_llm_call_spare(ngx_http_llm_worker_t *w, ngx_http_llm_flush_t *f)
{
    if (w->spare_call || f->max > 4 * NGX_HTTP_LLM_CALLS_SOON
        || (f->max > 64 && f->n < f->max / 4))
    {
        free(f->call);
        return;
    }

    w->spare_call = f->call;
    w->max_spare = f->max;
}


/* the worker exits: the thread is stopped after this, with all written */

void
ngx_http_llm_calls_finish(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_worker_t  *w = mcf->worker;

    w->closing = 1;

    if (w->flush.timer_set) {
        ngx_del_timer(&w->flush);
    }

    if (w->n_call || (ngx_http_llm_quota(mcf)
                      && llm_quota_is_dirty(ngx_http_llm_quota(mcf))))
    {
        (void) ngx_http_llm_flush(mcf, ngx_cycle->log);
    }
}
