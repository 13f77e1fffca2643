
/*
 * Copyright (C) nginx-llm contributors
 *
 * A worker's way to the audit trail.  Records wait on the event loop; a batch
 * of all that wait is written by the trail's thread in one commit, and when it
 * is done the next goes at once: under load many share a commit, and a lone
 * one waits for nobody.
 *
 * A call's record stands here twice: to be opened, when its answer may wait
 * for it, and to be closed, when the call has ended.  That waits a moment: it
 * goes with the next batch which answers wait for, and takes no commit of its
 * own under load.  What could not be opened is told so at once, what could not
 * be closed is tried again, every second at most.  While the trail can't be
 * written nothing is queued to be opened, and when a commit does not end (a
 * disk that stalls, a process that was stopped with the trail's lock) no answer
 * waits for it longer than ten seconds.
 *
 * One batch is out at a time, and the thread has the handle; the event loop
 * knows it for what any thread may do.
 */


#include "ngx_http_llm.h"


typedef struct ngx_http_llm_batch_s  ngx_http_llm_batch_t;


struct ngx_http_llm_trail_s {
    ngx_http_llm_main_conf_t  *mcf;
    llm_audit_t               *audit;       /* the thread's */
    llm_audit_t               *handle;      /* the same, once it is open */

    ngx_http_llm_record_t     *first;       /* they wait */
    ngx_http_llm_record_t    **last;
    ngx_uint_t                 opening;     /* of these */
    ngx_uint_t                 ending;
    ngx_uint_t                 n;           /* these, and a batch's */
    size_t                     size;
    ngx_uint_t                 lost;        /* closing records */

    ngx_http_llm_batch_t      *batch;       /* that is out, or NULL */
    int64_t                    unsigned_since;      /* ms */
    ngx_msec_t                 tried;       /* when it failed last */
    ngx_event_t                late;        /* while answers wait for it */
    ngx_event_t                unsent;
    ngx_event_t                retry;
    ngx_event_t                sign;

    unsigned                   bad:1;       /* the last one failed */
    unsigned                   closing:1;   /* the worker exits */
    unsigned                   signed_all:1;    /* by the last batch */
};


struct ngx_http_llm_batch_s {
    ngx_http_llm_task_t        task;
    ngx_http_llm_trail_t      *trail;
    ngx_http_llm_record_t     *first;
    ngx_uint_t                 n;
    uint64_t                   posted;      /* the oldest of them, us */
    llm_audit_t               *handle;      /* of the trail, once open */
    int                        rc;
    int                        unsigned_left;
    unsigned                   sign:1;
    char                       err[LLM_ERRLEN];
};


static ngx_int_t ngx_http_llm_trail_full(ngx_http_llm_trail_t *t,
    ngx_http_llm_record_t *rec);
static void ngx_http_llm_trail_push(ngx_http_llm_trail_t *t,
    ngx_http_llm_record_t *rec);
static ngx_int_t ngx_http_llm_trail_send(ngx_http_llm_trail_t *t,
    ngx_uint_t sign);
static void ngx_http_llm_trail_unsent(ngx_event_t *ev);
static void ngx_http_llm_trail_next(ngx_http_llm_trail_t *t);
static void ngx_http_llm_trail_later(ngx_http_llm_trail_t *t,
    ngx_msec_t when);
static void ngx_http_llm_trail_late(ngx_event_t *ev);
static void ngx_http_llm_trail_fail(ngx_http_llm_record_t *rec);
static void ngx_http_llm_trail_retry(ngx_event_t *ev);
static void ngx_http_llm_trail_sign(ngx_event_t *ev);
static void ngx_http_llm_batch_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static int ngx_http_llm_batch_open(ngx_http_llm_batch_t *b);
static void ngx_http_llm_batch_read(ngx_http_llm_batch_t *b);
static int ngx_http_llm_batch_write(ngx_http_llm_batch_t *b);
static int ngx_http_llm_batch_put(ngx_http_llm_batch_t *b,
    ngx_http_llm_record_t *rec);
static void ngx_http_llm_batch_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_batch_tell(ngx_http_llm_batch_t *b);
static void ngx_http_llm_batch_count(ngx_http_llm_batch_t *b);
static void ngx_http_llm_batch_settle(ngx_http_llm_batch_t *b,
    ngx_http_llm_record_t *rec);


void
ngx_http_llm_trail_start(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_trail_t   *t;
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (!mcf->audited) {
        return;
    }

    t = ngx_pcalloc(ngx_cycle->pool, sizeof(ngx_http_llm_trail_t));
    if (t == NULL) {
        return;
    }

    t->mcf = mcf;
    t->last = &t->first;

    t->late.handler = ngx_http_llm_trail_late;
    t->unsent.handler = ngx_http_llm_trail_unsent;
    t->retry.handler = ngx_http_llm_trail_retry;
    t->sign.handler = ngx_http_llm_trail_sign;

    t->late.data = t->unsent.data = t;
    t->retry.data = t->sign.data = t;
    t->late.log = t->unsent.log = ngx_cycle->log;
    t->retry.log = t->sign.log = ngx_cycle->log;
    t->retry.cancelable = t->sign.cancelable = 1;

    w->trail = t;

    /* an empty one opens the trail, or the log says early that it can't be */

    (void) ngx_http_llm_trail_send(t, 0);
}


ngx_uint_t
ngx_http_llm_trail_bad(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_trail_t  *t = mcf->worker ? mcf->worker->trail : NULL;

    return t == NULL || t->bad;
}


llm_audit_t *
ngx_http_llm_trail_handle(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_trail_t  *t = mcf->worker ? mcf->worker->trail : NULL;

    return t ? t->handle : NULL;
}


ngx_int_t
ngx_http_llm_trail_add(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_record_t *rec)
{
    ngx_http_llm_trail_t  *t = mcf->worker ? mcf->worker->trail : NULL;

    if (t == NULL || ngx_http_llm_trail_full(t, rec)) {

        if (t && rec->closed) {
            t->lost++;
        }

        llm_metrics_audit_failed(ngx_http_llm_metrics(mcf), 1);

        return NGX_ERROR;
    }

    ngx_http_llm_trail_push(t, rec);

    if (t->batch && rec->request && !t->late.timer_set) {
        /* nobody waited for the batch before: it may hang */
        ngx_add_timer(&t->late, NGX_HTTP_LLM_TRAIL_LATE);
    }

    if (t->batch && t->batch->posted == 0 && t->first == rec) {
        /* nor was a record in it */
        llm_metrics_audit_waiting(ngx_http_llm_metrics(mcf), ngx_pid,
                                  (int64_t) (rec->posted / 1000));
    }

    if (t->batch == NULL && !t->closing) {
        ngx_http_llm_trail_next(t);
    }

    return NGX_OK;
}


/* nothing is out: what waits goes now, or when there is reason */

static void
ngx_http_llm_trail_next(ngx_http_llm_trail_t *t)
{
    if (t->bad && ngx_current_msec - t->tried < NGX_HTTP_LLM_TRAIL_TRY) {
        ngx_http_llm_trail_later(t, NGX_HTTP_LLM_TRAIL_TRY);
        return;
    }

    if (t->opening == 0 && t->ending < NGX_HTTP_LLM_TRAIL_MANY) {
        ngx_http_llm_trail_later(t, NGX_HTTP_LLM_TRAIL_SOON);
        return;
    }

    if (ngx_http_llm_trail_send(t, 0) != NGX_OK) {
        ngx_http_llm_trail_later(t, NGX_HTTP_LLM_TRAIL_TRY);
    }
}


/* nobody's answer waits while it is known to be in vain; the end of a call that
 * is in the trail has room of its own */

static ngx_int_t
ngx_http_llm_trail_full(ngx_http_llm_trail_t *t, ngx_http_llm_record_t *rec)
{
    size_t  k = rec->close.number ? 2 : 1;

    if (t->n >= k * NGX_HTTP_LLM_TRAIL_RECORDS
        || t->size + rec->size > k * NGX_HTTP_LLM_TRAIL_SIZE)
    {
        return 1;
    }

    return rec->request && t->bad
           && (t->batch
               || ngx_current_msec - t->tried < NGX_HTTP_LLM_TRAIL_TRY);
}


static void
ngx_http_llm_trail_push(ngx_http_llm_trail_t *t, ngx_http_llm_record_t *rec)
{
    rec->queued = 1;
    rec->posted = ngx_http_llm_us();
    rec->next = NULL;

    *t->last = rec;
    t->last = &rec->next;

    if (rec->state == NGX_HTTP_LLM_AUDIT_WAITS) {
        t->opening++;

    } else {
        t->ending++;
    }

    rec->counted = rec->size;
    t->n++;
    t->size += rec->counted;
}


static void
ngx_http_llm_trail_later(ngx_http_llm_trail_t *t, ngx_msec_t when)
{
    if (!t->retry.timer_set) {
        ngx_add_timer(&t->retry, when);
    }
}


/* the batch may still end well: then there is a record of a call that was
 * refused */

static void
ngx_http_llm_trail_late(ngx_event_t *ev)
{
    ngx_http_llm_trail_t  *t = ev->data;

    if (!t->bad) {
        t->bad = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "llm_audit: the trail is not written in %d seconds, "
                      "audited requests are refused",
                      NGX_HTTP_LLM_TRAIL_LATE / 1000);
    }

    t->tried = ngx_current_msec;
    llm_metrics_audit_writable(ngx_http_llm_metrics(t->mcf), 0);

    ngx_http_llm_trail_fail(t->batch->first);
    ngx_http_llm_trail_fail(t->first);
}


static void
ngx_http_llm_trail_fail(ngx_http_llm_record_t *rec)
{
    for ( /* void */ ; rec; rec = rec->next) {

        if (rec->state == NGX_HTTP_LLM_AUDIT_WAITS) {
            rec->state = NGX_HTTP_LLM_AUDIT_FAILED;

            if (rec->request) {
                ngx_http_llm_audit_known(rec);
            }
        }
    }
}


static void
ngx_http_llm_trail_retry(ngx_event_t *ev)
{
    ngx_http_llm_trail_t  *t = ev->data;

    if (!t->batch && (t->first || t->bad)) {
        (void) ngx_http_llm_trail_send(t, 0);
    }
}


/* what was written last has no signature yet */

static void
ngx_http_llm_trail_sign(ngx_event_t *ev)
{
    ngx_http_llm_trail_t  *t = ev->data;

    if (t->batch) {
        /* it looks again when that is done */
        return;
    }

    (void) ngx_http_llm_trail_send(t, 1);
}


/* all that wait */

static ngx_int_t
ngx_http_llm_trail_send(ngx_http_llm_trail_t *t, ngx_uint_t sign)
{
    ngx_http_llm_batch_t   *b;
    ngx_http_llm_record_t  *rec;

    if (t->lost) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "llm_audit: %ui calls "
                      "have no record of their end: it could not be written",
                      t->lost);
        t->lost = 0;
    }

    b = ngx_calloc(sizeof(ngx_http_llm_batch_t), ngx_cycle->log);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->task.run = ngx_http_llm_batch_run;
    b->task.done = ngx_http_llm_batch_done;
    b->trail = t;
    b->first = t->first;
    b->sign = sign;
    b->posted = t->first ? t->first->posted : 0;

    for (rec = b->first; rec; rec = rec->next) {
        rec->opening = (rec->state == NGX_HTTP_LLM_AUDIT_WAITS);
        rec->closing = rec->closed;
        b->task.keeps |= (rec->request != NULL);
        b->n++;
    }

    if (b->task.keeps) {
        ngx_add_timer(&t->late, NGX_HTTP_LLM_TRAIL_LATE);
    }

    llm_metrics_audit_waiting(ngx_http_llm_metrics(t->mcf), ngx_pid,
                              (int64_t) (b->posted / 1000));

    if (t->retry.timer_set) {
        ngx_del_timer(&t->retry);
    }

    t->batch = b;
    t->opening = 0;
    t->ending = 0;
    t->first = NULL;
    t->last = &t->first;

    if (ngx_http_llm_post_audit(t->mcf, &b->task, ngx_cycle->log) != NGX_OK) {

        /* as if it had failed, and not within whoever posted a record */

        b->rc = LLM_ERROR;
        b->handle = t->handle;
        (void) ngx_snprintf((u_char *) b->err, sizeof(b->err),
                            "there is no thread%Z");
        ngx_post_event(&t->unsent, &ngx_posted_events);
    }

    return NGX_OK;
}


static void
ngx_http_llm_trail_unsent(ngx_event_t *ev)
{
    ngx_http_llm_trail_t  *t = ev->data;

    ngx_http_llm_batch_done(&t->batch->task);
}


/* on the thread, as is all down to batch_put() */

static void
ngx_http_llm_batch_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_batch_t *b = (ngx_http_llm_batch_t *) task;

    llm_audit_t  *a;

    ngx_http_llm_batch_read(b);

    b->rc = ngx_http_llm_batch_open(b);

    a = b->trail->audit;

    if (b->rc == LLM_OK) {
        b->rc = b->n || b->sign ? ngx_http_llm_batch_write(b)
                                : llm_audit_ready(a, b->err, sizeof(b->err));
    }

    if (b->rc == LLM_OK && b->sign) {
        b->rc = llm_audit_sign(a, b->err, sizeof(b->err));
    }

    if (b->rc == LLM_OK) {
        b->unsigned_left = llm_audit_unsigned(a);
    }
}


static int
ngx_http_llm_batch_open(ngx_http_llm_batch_t *b)
{
    int                        rc;
    size_t                     n;
    uint32_t                   version[LLM_SECRET_VERSIONS];
    ngx_http_llm_trail_t      *t = b->trail;
    ngx_http_llm_main_conf_t  *mcf = t->mcf;

    b->handle = t->audit;

    if (t->audit) {
        /* a file that was put in its place is opened by its writer */
        return LLM_OK;
    }

    n = llm_secret_versions(mcf->secret, version);

    rc = llm_audit_open(&t->audit, (char *) mcf->store.data, mcf->secret,
                        n ? version[n - 1] : 0, b->err, sizeof(b->err));

    if (rc != LLM_OK) {
        t->audit = NULL;
    }

    b->handle = t->audit;

    return rc;
}


/* what lies in files, before the trail is locked for all processes */

static void
ngx_http_llm_batch_read(ngx_http_llm_batch_t *b)
{
    ngx_str_t               model;
    llm_ask_t               ask;
    llm_audit_open_t       *o;
    ngx_http_llm_record_t  *rec;

    for (rec = b->first; rec; rec = rec->next) {

        if (!rec->opening || rec->body.size == 0
            || ngx_http_llm_body_read(&rec->body) != LLM_OK)
        {
            continue;
        }

        o = &rec->open;
        o->input.data = (char *) rec->body.data;
        o->input.len = rec->body.len;

        if (rec->model[0] == '\0'
            && llm_ask_parse(&ask, o->input.data, o->input.len, NULL, 0)
               == LLM_OK)
        {
            model.data = (u_char *) ask.model;
            model.len = ngx_strlen(ask.model);
            ngx_http_llm_call_text(rec->model, sizeof(rec->model), &model);
        }

        o->model.data = rec->model;
        o->model.len = ngx_strlen(rec->model);
    }
}


/* a record that is refused fails by itself, and the others go without it */

static int
ngx_http_llm_batch_write(ngx_http_llm_batch_t *b)
{
    int                     rc;
    ngx_uint_t              failed;
    llm_audit_t            *a = b->trail->audit;
    ngx_http_llm_record_t  *rec;

    for (failed = 0; failed < b->n; /* void */ ) {

        rc = llm_audit_begin(a, b->err, sizeof(b->err));
        if (rc != LLM_OK) {
            return rc;
        }

        for (rec = b->first; rec; rec = rec->next) {

            if (rec->failed) {
                continue;
            }

            rc = ngx_http_llm_batch_put(b, rec);

            if (rc != LLM_OK) {
                llm_audit_abort(a);
                break;
            }
        }

        if (rc == LLM_OK) {
            return llm_audit_commit(a, b->err, sizeof(b->err));
        }

        if (rc != LLM_INVALID && rc != LLM_EXISTS) {
            return rc;
        }

        rec->failed = 1;
        failed++;
    }

    return b->n ? LLM_INVALID : LLM_OK;
}


static int
ngx_http_llm_batch_put(ngx_http_llm_batch_t *b, ngx_http_llm_record_t *rec)
{
    int           rc;
    llm_audit_t  *a = b->trail->audit;

    if (rec->opening) {

        rc = llm_audit_put_open(a, &rec->open, &rec->close.number, b->err,
                                sizeof(b->err));
        if (rc != LLM_OK) {
            return rc;
        }
    }

    return rec->closing ? llm_audit_put_close(a, &rec->close, b->err,
                                              sizeof(b->err))
                        : LLM_OK;
}


/* on the event loop again */

static void
ngx_http_llm_batch_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_batch_t *b = (ngx_http_llm_batch_t *) task;

    ngx_http_llm_trail_t   *t = b->trail;
    ngx_http_llm_record_t  *rec, *next;

    if (t->late.timer_set) {
        ngx_del_timer(&t->late);
    }

    t->handle = b->handle;
    t->signed_all = (b->sign && b->rc == LLM_OK);

    ngx_http_llm_batch_tell(b);
    ngx_http_llm_batch_count(b);

    for (rec = b->first; rec; rec = next) {
        next = rec->next;
        ngx_http_llm_batch_settle(b, rec);
    }

    t->batch = NULL;

    if ((b->unsigned_left || (b->sign && b->rc != LLM_OK))
        && !t->sign.timer_set && !t->closing)
    {
        ngx_add_timer(&t->sign, LLM_AUDIT_CHECKPOINT);
    }

    ngx_free(b);

    llm_metrics_audit_waiting(ngx_http_llm_metrics(t->mcf), ngx_pid,
                              t->first ? (int64_t) (t->first->posted / 1000)
                                       : 0);

    if (t->closing) {
        return;
    }

    if (t->bad) {
        /* what came meanwhile is not told later than what comes now */
        ngx_http_llm_trail_fail(t->first);
    }

    if (t->bad || t->first) {
        ngx_http_llm_trail_next(t);
    }
}


static void
ngx_http_llm_batch_count(ngx_http_llm_batch_t *b)
{
    uint64_t                done, failed;
    llm_metrics_t          *m = ngx_http_llm_metrics(b->trail->mcf);
    ngx_http_llm_trail_t   *t = b->trail;
    ngx_http_llm_record_t  *rec;

    done = 0;
    failed = 0;

    for (rec = b->first; rec; rec = rec->next) {
        if (b->rc == LLM_OK && !rec->failed) {
            done += rec->opening + rec->closing;

        } else {
            /* what is to be closed is tried again */
            failed += rec->opening;
        }
    }

    if (done) {
        llm_metrics_audit_committed(m, done, ngx_http_llm_us() - b->posted);
    }

    if (failed) {
        llm_metrics_audit_failed(m, failed);
    }

    llm_metrics_audit_writable(m, b->rc == LLM_OK);

    if (b->rc != LLM_OK) {
        return;
    }

    if (!b->unsigned_left) {
        t->unsigned_since = 0;

    } else if (t->unsigned_since == 0) {
        t->unsigned_since = llm_metrics_clock();
    }

    llm_metrics_audit_unsigned(m, t->unsigned_since);
}


/* once when it fails, and once when it works again */

static void
ngx_http_llm_batch_tell(ngx_http_llm_batch_t *b)
{
    ngx_http_llm_trail_t  *t = b->trail;

    if (b->rc != LLM_OK) {
        t->tried = ngx_current_msec;

        if (!t->bad) {
            t->bad = 1;
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "llm_audit: the trail can't be written, audited "
                          "requests are refused: %s", b->err);
        }

        return;
    }

    if (t->bad) {
        t->bad = 0;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "llm_audit: the trail can be written again");
    }
}


static void
ngx_http_llm_batch_settle(ngx_http_llm_batch_t *b, ngx_http_llm_record_t *rec)
{
    ngx_uint_t             ok, closing, failed;
    ngx_http_llm_trail_t  *t = b->trail;

    closing = rec->closing;
    failed = rec->failed;
    ok = (b->rc == LLM_OK && !failed);

    rec->queued = 0;
    rec->closing = 0;
    rec->failed = 0;
    t->n--;
    t->size -= rec->counted;

    if (failed) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "llm_audit: a record of the request %s is refused by "
                      "the trail: %s", rec->open.request, b->err);
    }

    if (rec->opening) {
        rec->size -= rec->body.size;
        ngx_http_llm_body_free(&rec->body);
        rec->body.size = 0;

        if (!ok) {
            rec->close.number = 0;
        }
    }

    if (rec->state == NGX_HTTP_LLM_AUDIT_WAITS) {
        rec->state = ok ? NGX_HTTP_LLM_AUDIT_DURABLE
                        : NGX_HTTP_LLM_AUDIT_FAILED;

        if (rec->request) {
            /* which may end by this, and close its record */
            ngx_http_llm_audit_known(rec);
            return;
        }
    }

    if (!rec->closed) {
        /* a request that is gone without having ended closes none */

        if (rec->request == NULL) {
            ngx_http_llm_record_free(rec);
        }

        return;
    }

    if (closing && (ok || failed)) {
        t->lost += !ok;
        ngx_http_llm_record_free(rec);
        return;
    }

    ngx_http_llm_trail_push(t, rec);
}


void
ngx_http_llm_record_free(ngx_http_llm_record_t *rec)
{
    ngx_uint_t  i;

    for (i = 0; i < LLM_AUDIT_OUTPUTS; i++) {
        free(rec->output[i]);
    }

    ngx_http_llm_body_free(&rec->body);
    ngx_free(rec);
}


/* the worker exits: all that is there is written, and signed */

void
ngx_http_llm_trail_flush(ngx_http_llm_main_conf_t *mcf)
{
    ngx_uint_t              i;
    ngx_http_llm_worker_t  *w = mcf->worker;
    ngx_http_llm_trail_t   *t = w->trail;

    if (t == NULL) {
        return;
    }

    t->closing = 1;

    for (i = 0; i < 2; i++) {

        if (t->batch == NULL && (t->first || !t->signed_all)) {
            (void) ngx_http_llm_trail_send(t, 1);
        }

        if (ngx_http_llm_thread_stop(&w->audit_thread) != NGX_OK || t->bad) {
            break;
        }
    }
}


void
ngx_http_llm_trail_close(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_worker_t  *w = mcf->worker;
    ngx_http_llm_trail_t   *t = w->trail;
    ngx_http_llm_record_t  *rec, *next;

    if (t == NULL) {
        return;
    }

    if (t->late.timer_set) {
        ngx_del_timer(&t->late);
    }

    if (t->retry.timer_set) {
        ngx_del_timer(&t->retry);
    }

    if (t->sign.timer_set) {
        ngx_del_timer(&t->sign);
    }

    for (rec = t->first; rec; rec = next) {
        next = rec->next;
        t->lost += rec->closed;
        ngx_http_llm_record_free(rec);
    }

    if (t->lost) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "llm_audit: %ui calls "
                      "have no record of their end", t->lost);
    }

    if (!t->batch) {
        llm_audit_close(t->audit);
    }

    w->trail = NULL;
}
