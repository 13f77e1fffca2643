
/*
 * Copyright (C) nginx-llm contributors
 *
 * /healthz: the process lives, that is all.  /readyz: a request would be
 * served, that is, the engine has its model, and the key store and the audit
 * trail can be read and written.
 *
 * What an engine says of itself is in the zone.  The look at the files blocks:
 * it is a task of the worker's threads, its result counts for a second, and
 * requests that come meanwhile wait for it together.  A look that takes too
 * long is an answer too.  Why something is not ready is in the error log, once
 * each time that this changes; the answer names no path.
 *
 * All of it is on the event loop of a worker, but for
 * ngx_http_llm_look_store() and ngx_http_llm_look_audit().
 */


#include "ngx_http_llm.h"
#include <signal.h>


#define NGX_HTTP_LLM_LOOK_GOOD  1000        /* ms that a look counts */
#define NGX_HTTP_LLM_LOOK_BAD   100         /* that found something wrong */
#define NGX_HTTP_LLM_LOOK_LATE  5000


/* a look at one part */
typedef struct {
    ngx_http_llm_task_t        task;
    ngx_http_llm_main_conf_t  *mcf;
    ngx_http_llm_part_e        part;
    llm_audit_t               *audit;       /* the trail's thread's */
    int                        rc;
    const char                *state;
    char                       err[LLM_ERRLEN];
} ngx_http_llm_look_t;


typedef struct {
    ngx_queue_t                queue;
    ngx_http_request_t        *request;     /* NULL: it does not wait */
} ngx_http_llm_waiter_t;


static ngx_int_t ngx_http_llm_health_begin(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_ready_answer(ngx_http_request_t *r);
static ngx_uint_t ngx_http_llm_parts_good(ngx_http_llm_health_t *h);
static ngx_int_t ngx_http_llm_health_send(ngx_http_request_t *r,
    ngx_uint_t status, const char *name, ngx_http_llm_health_t *h);
static u_char *ngx_http_llm_health_details(u_char *p, llm_zone_t *z,
    llm_engine_status_t *es);
static void ngx_http_llm_look(ngx_http_llm_main_conf_t *mcf, ngx_log_t *log);
static ngx_int_t ngx_http_llm_look_post(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_part_e part, ngx_log_t *log);
static void ngx_http_llm_look_store(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_look_audit(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static const char *ngx_http_llm_look_state(int rc);
static void ngx_http_llm_look_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_look_tell(ngx_http_llm_health_t *h,
    ngx_http_llm_part_e part, int rc, const char *err);
static void ngx_http_llm_look_late(ngx_event_t *ev);
static void ngx_http_llm_look_known(ngx_http_llm_health_t *h);
static ngx_int_t ngx_http_llm_wait(ngx_http_request_t *r,
    ngx_http_llm_health_t *h);
static void ngx_http_llm_wait_cleanup(void *data);


static const char  *ngx_http_llm_part_names[] = { "store", "audit" };


ngx_int_t
ngx_http_llm_healthz(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_llm_health_begin(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_llm_health_send(r, NGX_HTTP_OK, "ok", NULL);
}


ngx_int_t
ngx_http_llm_readyz(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_msec_t                 good;
    ngx_http_llm_health_t     *h;
    ngx_http_llm_main_conf_t  *mcf;

    rc = ngx_http_llm_health_begin(r);
    if (rc != NGX_OK) {
        return rc;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    h = &mcf->worker->health;

    good = ngx_http_llm_parts_good(h) ? NGX_HTTP_LLM_LOOK_GOOD
                                      : NGX_HTTP_LLM_LOOK_BAD;

    if (mcf->store.len == 0
        || (h->known && ngx_current_msec - h->looked < good))
    {
        return ngx_http_llm_ready_answer(r);
    }

    if (!h->looking) {
        ngx_http_llm_look(mcf, r->connection->log);
    }

    return h->looking ? ngx_http_llm_wait(r, h)
                      : ngx_http_llm_ready_answer(r);
}


/* a probe leaves no record in the audit trail, which may be what is broken */

static ngx_int_t
ngx_http_llm_health_begin(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    rc = ngx_http_llm_allow(r, NGX_HTTP_GET|NGX_HTTP_HEAD, "GET, HEAD");
    if (rc != NGX_OK) {
        return rc;
    }

    ctx = ngx_http_llm_get_ctx(r);
    ctx->health = 1;

    if (ngx_http_llm_worker(r) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_discard_request_body(r);
}


static ngx_int_t
ngx_http_llm_ready_answer(ngx_http_request_t *r)
{
    ngx_uint_t                 ready;
    ngx_http_llm_health_t     *h;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);
    h = &mcf->worker->health;

    ready = (ngx_http_llm_engine_state(mcf, lcf->engine_hash)
             == LLM_ENGINE_READY
             && ngx_http_llm_parts_good(h));

    return ngx_http_llm_health_send(r, ready ? NGX_HTTP_OK
                                             : NGX_HTTP_SERVICE_UNAVAILABLE,
                                    ready ? "ready" : "not ready", h);
}


static ngx_uint_t
ngx_http_llm_parts_good(ngx_http_llm_health_t *h)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_LLM_PARTS; i++) {
        if (h->part[i].state && h->part[i].rc != LLM_OK) {
            return 0;
        }
    }

    return 1;
}


/* everybody learns whether it serves; who has a key, how busy it is */

static ngx_int_t
ngx_http_llm_health_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *name, ngx_http_llm_health_t *h)
{
    u_char                    *p;
    ngx_str_t                  body, value;
    ngx_uint_t                 i;
    ngx_http_llm_ctx_t        *ctx;
    llm_engine_status_t       *es;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    p = ngx_pnalloc(r->pool, 1024);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;

    p = ngx_sprintf(p, "{\"status\":\"%s\",\"engine\":\"%s\"", name,
                    ngx_http_llm_state_name(ngx_http_llm_engine_state(mcf,
                                                        lcf->engine_hash)));

    for (i = 0; h && i < NGX_HTTP_LLM_PARTS; i++) {
        if (h->part[i].state) {
            p = ngx_sprintf(p, ",\"%s\":\"%s\"",
                            ngx_http_llm_part_names[i], h->part[i].state);
        }
    }

    ctx = ngx_http_llm_get_ctx(r);
    es = ngx_http_llm_engine_status(mcf, lcf->engine_hash);

    if (ctx->authenticated && es) {
        p = ngx_http_llm_health_details(p, ngx_http_llm_zone(mcf), es);
    }

    p = ngx_cpymem(p, "}\n", 2);
    body.len = (size_t) (p - body.data);

    ngx_str_set(&value, "no-store");

    if (ngx_http_llm_header(r, "Cache-Control", &value) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_llm_send_json(r, status, &body);
}


static u_char *
ngx_http_llm_health_details(u_char *p, llm_zone_t *z, llm_engine_status_t *es)
{
    p = ngx_sprintf(p, ",\"running\":%uD,\"waiting\":%uD,"
                    "\"kv_blocks_used\":%uD,\"kv_blocks\":%uD,"
                    "\"steps\":%uL,\"prefill_tokens\":%uL,"
                    "\"decode_tokens\":%uL,\"preemptions\":%uL,",
                    atomic_load(&es->running), atomic_load(&es->waiting),
                    atomic_load(&es->blocks_used), atomic_load(&es->blocks),
                    atomic_load(&es->steps),
                    atomic_load(&es->prefill_tokens),
                    atomic_load(&es->decode_tokens),
                    atomic_load(&es->preemptions));

    return ngx_sprintf(p, "\"slots_used\":%d,\"body_blocks_used\":%d,"
                       "\"workers\":%d,\"takeovers\":%uD,\"holder\":%D",
                       llm_zone_slots_used(z), llm_zone_blocks_used(z),
                       llm_zone_workers(z), atomic_load(&z->takeovers),
                       atomic_load(&z->holder));
}


llm_engine_status_t *
ngx_http_llm_engine_status(ngx_http_llm_main_conf_t *mcf, uint64_t hash)
{
    ngx_uint_t   i;
    llm_zone_t  *z;

    z = ngx_http_llm_zone(mcf);

    /* a holder that has left, or died, took its states along */

    if (z == NULL || atomic_load(&z->holder) == 0) {
        return NULL;
    }

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        if (atomic_load(&z->engine[i].hash) == hash) {
            return &z->engine[i];
        }
    }

    return NULL;
}


/*
 * A holder of another configuration finishes what it has and takes nothing
 * new: for who comes now, the next one's models are to be loaded.  One that
 * was killed has left its states, until the next one has the lease.
 */

llm_engine_state_e
ngx_http_llm_engine_state(ngx_http_llm_main_conf_t *mcf, uint64_t hash)
{
    pid_t                 holder;
    llm_zone_t           *z;
    llm_engine_state_e    state;
    llm_engine_status_t  *es;

    z = ngx_http_llm_zone(mcf);
    es = ngx_http_llm_engine_status(mcf, hash);

    if (es == NULL || atomic_load(&z->held) != atomic_load(&z->wanted)) {
        return LLM_ENGINE_LOADING;
    }

    holder = (pid_t) atomic_load(&z->holder);

    if (holder <= 0 || (kill(holder, 0) == -1 && ngx_errno == ESRCH)) {
        return LLM_ENGINE_LOADING;
    }

    state = (llm_engine_state_e) atomic_load(&es->state);

    return state == LLM_ENGINE_READY || state == LLM_ENGINE_FAILED
           ? state : LLM_ENGINE_LOADING;
}


const char *
ngx_http_llm_state_name(llm_engine_state_e state)
{
    switch (state) {

    case LLM_ENGINE_READY:
        return "ready";

    case LLM_ENGINE_FAILED:
        return "failed";

    default:
        return "loading";
    }
}


/* a part whose last look still goes on is not looked at again */

static void
ngx_http_llm_look(ngx_http_llm_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_uint_t              i;
    ngx_http_llm_health_t  *h = &mcf->worker->health;

    if (h->waiting.next == NULL) {
        ngx_queue_init(&h->waiting);
    }

    for (i = 0; i < NGX_HTTP_LLM_PARTS; i++) {
        if (h->part[i].looking) {
            continue;
        }

        switch (ngx_http_llm_look_post(mcf, i, log)) {

        case NGX_OK:
            h->part[i].looking = 1;
            h->looking++;
            break;

        case NGX_DECLINED:
            h->part[i].state = NULL;
            break;

        default:
            /* the log says why */
            h->part[i].state = "not open";
            h->part[i].rc = LLM_ERROR;
        }
    }

    if (h->looking == 0) {
        ngx_http_llm_look_known(h);
        return;
    }

    h->late.handler = ngx_http_llm_look_late;
    h->late.data = h;
    h->late.log = ngx_cycle->log;

    ngx_add_timer(&h->late, NGX_HTTP_LLM_LOOK_LATE);
}


/* NGX_DECLINED: there is no such part */

static ngx_int_t
ngx_http_llm_look_post(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_part_e part, ngx_log_t *log)
{
    ngx_int_t             rc;
    llm_audit_t          *audit;
    ngx_http_llm_look_t  *t;

    audit = NULL;

    if (part == NGX_HTTP_LLM_AUDIT) {

        if (!mcf->audited) {
            return NGX_DECLINED;
        }

        audit = ngx_http_llm_trail_handle(mcf);

        if (audit == NULL) {
            return NGX_ERROR;
        }
    }

    t = ngx_calloc(sizeof(ngx_http_llm_look_t), log);
    if (t == NULL) {
        return NGX_ERROR;
    }

    t->task.done = ngx_http_llm_look_done;
    t->mcf = mcf;
    t->part = part;
    t->audit = audit;

    if (part == NGX_HTTP_LLM_AUDIT) {
        t->task.run = ngx_http_llm_look_audit;
        rc = ngx_http_llm_post_audit(mcf, &t->task, log);

    } else {
        t->task.run = ngx_http_llm_look_store;
        rc = ngx_http_llm_post(mcf, &t->task, log);
    }

    if (rc != NGX_OK) {
        ngx_free(t);
    }

    return rc;
}


/* on the thread */

static void
ngx_http_llm_look_store(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_look_t *t = (ngx_http_llm_look_t *) task;

    t->rc = llm_store_ready(store, t->err, sizeof(t->err));
    t->state = ngx_http_llm_look_state(t->rc);

    if (t->rc == LLM_OK && t->mcf->secret) {
        t->rc = llm_store_verify(store, t->mcf->secret, t->err,
                                 sizeof(t->err));

        t->state = t->rc == LLM_INVALID ? "of another secret"
                                        : ngx_http_llm_look_state(t->rc);
    }
}


/* on the trail's thread, between its batches */

static void
ngx_http_llm_look_audit(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_look_t *t = (ngx_http_llm_look_t *) task;

    t->rc = llm_audit_ready(t->audit, t->err, sizeof(t->err));
    t->state = ngx_http_llm_look_state(t->rc);
}


static const char *
ngx_http_llm_look_state(int rc)
{
    switch (rc) {

    case LLM_OK:
        return "ok";

    case LLM_FULL:
        return "full";

    case LLM_AWAY:
        return "removed";

    case LLM_INVALID:
        return "damaged";

    case LLM_NOMEM:
        return "no memory";

    default:
        return "failed";
    }
}


static void
ngx_http_llm_look_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_look_t *t = (ngx_http_llm_look_t *) task;

    ngx_http_llm_health_t  *h = &t->mcf->worker->health;

    if (t->part == NGX_HTTP_LLM_AUDIT && t->rc == LLM_OK
        && ngx_http_llm_trail_bad(t->mcf))
    {
        t->rc = llm_err(t->err, sizeof(t->err), LLM_ERROR,
                        "audit.mdb could not be written a moment ago");
        t->state = "failed";
    }

    h->part[t->part].state = t->state;
    h->part[t->part].looking = 0;

    ngx_http_llm_look_tell(h, t->part, t->rc, t->err);

    if (h->part[t->part].hangs) {
        h->part[t->part].hangs = 0;
        h->looked = ngx_current_msec;

    } else if (--h->looking == 0) {
        ngx_del_timer(&h->late);
        ngx_http_llm_look_known(h);
    }

    ngx_free(t);
}


static void
ngx_http_llm_look_tell(ngx_http_llm_health_t *h, ngx_http_llm_part_e part,
    int rc, const char *err)
{
    if (rc != LLM_OK && rc != h->part[part].rc) {
        h->part[part].told = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "llm_pass: not ready: %s: %s",
                      ngx_http_llm_part_names[part], err);
    }

    if (rc == LLM_OK && h->part[part].told) {
        h->part[part].told = 0;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "llm_pass: %s: ready again",
                      ngx_http_llm_part_names[part]);
    }

    h->part[part].rc = rc;
}


/* no cancelable timer: it keeps a worker that was told to quit, for those who
 * wait */

static void
ngx_http_llm_look_late(ngx_event_t *ev)
{
    ngx_http_llm_health_t *h = ev->data;

    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_LLM_PARTS; i++) {

        if (h->part[i].looking && !h->part[i].hangs) {
            h->part[i].hangs = 1;
            h->part[i].state = "not answering";
            h->looking--;

            ngx_http_llm_look_tell(h, i, LLM_AGAIN, "a look at it hangs");
        }
    }

    ngx_http_llm_look_known(h);
}


/* those who wait are answered; an answer may end its request, or begin the
 * next one of its connection */

static void
ngx_http_llm_look_known(ngx_http_llm_health_t *h)
{
    ngx_queue_t            *q;
    ngx_connection_t       *c;
    ngx_http_request_t     *r;
    ngx_http_llm_waiter_t  *wt;

    h->looked = ngx_current_msec;
    h->known = 1;

    while (!ngx_queue_empty(&h->waiting)) {
        q = ngx_queue_head(&h->waiting);
        wt = ngx_queue_data(q, ngx_http_llm_waiter_t, queue);

        r = wt->request;
        c = r->connection;
        ngx_http_llm_wait_cleanup(wt);

        ngx_http_set_log_request(c->log, r);

        ngx_http_finalize_request(r, ngx_http_llm_ready_answer(r));
        ngx_http_run_posted_requests(c);
    }
}


static ngx_int_t
ngx_http_llm_wait(ngx_http_request_t *r, ngx_http_llm_health_t *h)
{
    ngx_pool_cleanup_t     *cln;
    ngx_http_llm_waiter_t  *wt;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_llm_waiter_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    wt = cln->data;
    wt->request = r;
    cln->handler = ngx_http_llm_wait_cleanup;

    ngx_queue_insert_tail(&h->waiting, &wt->queue);

    if (r == r->main) {
        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_llm_wait_cleanup(void *data)
{
    ngx_http_llm_waiter_t *wt = data;

    if (wt->request) {
        wt->request = NULL;
        ngx_queue_remove(&wt->queue);
    }
}
