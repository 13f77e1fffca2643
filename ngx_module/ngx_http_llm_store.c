
/*
 * Copyright (C) nginx-llm contributors
 *
 * The stores of a process: opened after the fork, once, by whoever needs them
 * first.  Before the fork the master opens the key store for a moment, to
 * settle what the configuration says of it, and closes it again.
 */


#include "ngx_http_llm.h"


#define NGX_HTTP_LLM_SCAN_FIRST  5000               /* ms after the start */
#define NGX_HTTP_LLM_SCAN        (60 * 60 * 1000)


typedef struct {
    ngx_http_llm_task_t        task;
    ngx_http_llm_main_conf_t  *mcf;
    llm_store_t               *store;
    llm_calls_t               *calls;
    int64_t                    now;
    int                        notify;
    uint64_t                   dropped;     /* of the audit's records */
    int                        rc;
    char                       err[LLM_ERRLEN];
} ngx_http_llm_store_task_t;


static int ngx_http_llm_settle_store(void *data, char *err, size_t errlen);
static void ngx_http_llm_own_store(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);
static ngx_int_t ngx_http_llm_store_post(ngx_http_llm_main_conf_t *mcf,
    void (*run)(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls));
static void ngx_http_llm_params_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_scan_handler(ngx_event_t *ev);
static void ngx_http_llm_scan_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static int ngx_http_llm_scan_key(void *data, const llm_key_t *k);
static void ngx_http_llm_prune_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_store_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_drop_params(ngx_http_llm_main_conf_t *mcf);
static void ngx_http_llm_load_engine(llm_zone_t *z, const char *name,
    const char *text, size_t len);


void
ngx_http_llm_prepare_store(ngx_cycle_t *cycle, ngx_http_llm_main_conf_t *mcf)
{
    char  err[LLM_ERRLEN];

    ngx_http_llm_own_store(cycle, mcf);

    /* the workers' user can write there: not in the master, which is root */

    if (llm_store_as_owner((char *) mcf->store.data,
                           ngx_http_llm_settle_store, mcf, err, sizeof(err))
        != LLM_OK)
    {
        /* what works without it, works: a full store still has its keys */
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "llm_store: %s", err);
    }
}


/* perhaps in a child: the parameters' zone is shared */

static int
ngx_http_llm_settle_store(void *data, char *err, size_t errlen)
{
    ngx_http_llm_main_conf_t *mcf = data;

    int           rc;
    llm_store_t  *store;

    rc = llm_store_open(&store, (char *) mcf->store.data,
                        (size_t) mcf->store_size, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_store_actor(store, "nginx");

    if (mcf->secret) {
        rc = llm_store_bind(store, mcf->secret, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_store_set_max_age(store, mcf->max_age, err, errlen);
    }

    ngx_http_llm_drop_params(mcf);
    ngx_http_llm_load_params(mcf, store);
    llm_store_close(store);

    return rc;
}


/* as nginx does with its temporary paths: they are the workers' */

static void
ngx_http_llm_own_store(ngx_cycle_t *cycle, ngx_http_llm_main_conf_t *mcf)
{
    char              err[LLM_ERRLEN];
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        return;
    }

    if (llm_store_give((char *) mcf->store.data, ccf->user, ccf->group, err,
                       sizeof(err))
        != LLM_OK)
    {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "llm_store: %s", err);
    }
}


void
ngx_http_llm_start_store(ngx_cycle_t *cycle, ngx_http_llm_main_conf_t *mcf)
{
    char                    err[LLM_ERRLEN];
    llm_store_t            *store;
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (mcf->store.len == 0) {
        return;
    }

    if (mcf->secret
        && llm_secret_lock(mcf->secret, err, sizeof(err)) != LLM_OK)
    {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0, "llm_secret: %s", err);
    }

    /* requests of a worker that was killed have ended; it may have had this
     * one's number */

    (void) llm_quota_drop(ngx_http_llm_quota(mcf), ngx_pid,
                          ngx_http_llm_now());
    (void) llm_quota_reap(ngx_http_llm_quota(mcf), ngx_http_llm_now());

    store = ngx_http_llm_store(mcf, cycle->log);
    (void) ngx_http_llm_calls(mcf, cycle->log);

    if (store) {
        w->txnid = llm_store_txnid(store);
    }

    ngx_http_llm_notify_start(mcf);
    ngx_http_llm_trail_start(mcf);

    if (ngx_worker == 0) {
        w->scan.handler = ngx_http_llm_scan_handler;
        w->scan.data = mcf;
        w->scan.log = cycle->log;
        w->scan.cancelable = 1;

        ngx_add_timer(&w->scan, NGX_HTTP_LLM_SCAN_FIRST);
    }
}


void
ngx_http_llm_close_store(ngx_http_llm_main_conf_t *mcf)
{
    ngx_uint_t              i;
    ngx_http_llm_worker_t  *w = mcf->worker;

    /* records that are durable let administration act, and the thread's last
     * tasks end requests, which leave records too */

    for (i = 0; mcf->store.len && i < 2; i++) {
        ngx_http_llm_trail_flush(mcf);
        ngx_http_llm_calls_finish(mcf);

        if (ngx_http_llm_thread_stop(&w->thread) != NGX_OK) {
            break;
        }
    }

    ngx_http_llm_trail_flush(mcf);
    ngx_http_llm_trail_close(mcf);

    free(w->call);
    free(w->spare_call);
    w->call = NULL;
    w->spare_call = NULL;
    w->n_call = 0;

    llm_calls_close(w->calls);
    w->calls = NULL;

    llm_store_close(w->store);
    w->store = NULL;
}


llm_store_t *
ngx_http_llm_store(ngx_http_llm_main_conf_t *mcf, ngx_log_t *log)
{
    char                    err[LLM_ERRLEN];
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w == NULL || mcf->store.len == 0) {
        return NULL;
    }

    if (w->store || w->store_tried == ngx_time()) {
        return w->store;
    }

    if (llm_store_open(&w->store, (char *) mcf->store.data,
                       (size_t) mcf->store_size, err, sizeof(err))
        != LLM_OK)
    {
        w->store = NULL;
        w->store_tried = ngx_time();
        ngx_log_error(NGX_LOG_ERR, log, 0, "llm_store: %s", err);
        return NULL;
    }

    llm_store_warm(w->store);

    if (llm_store_check(w->store, err, sizeof(err)) != LLM_OK) {
        ngx_log_error(NGX_LOG_WARN, log, 0, "llm_store: %s", err);
    }

    return w->store;
}


llm_calls_t *
ngx_http_llm_calls(ngx_http_llm_main_conf_t *mcf, ngx_log_t *log)
{
    char                    err[LLM_ERRLEN];
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w == NULL || mcf->store.len == 0) {
        return NULL;
    }

    if (w->calls || w->calls_tried == ngx_time()) {
        return w->calls;
    }

    if (llm_calls_open(&w->calls, (char *) mcf->store.data,
                       (size_t) mcf->store_size, err, sizeof(err))
        != LLM_OK)
    {
        w->calls = NULL;
        w->calls_tried = ngx_time();
        ngx_log_error(NGX_LOG_ERR, log, 0, "llm_store: %s", err);
    }

    return w->calls;
}


void
ngx_http_llm_notice_txnid(ngx_http_llm_main_conf_t *mcf, uint64_t txnid)
{
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (txnid == w->txnid || mcf->engines.nelts == 0) {
        return;
    }

    w->txnid = txnid;

    (void) ngx_http_llm_store_post(mcf, ngx_http_llm_params_run);
}


static ngx_int_t
ngx_http_llm_store_post(ngx_http_llm_main_conf_t *mcf,
    void (*run)(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls))
{
    ngx_http_llm_store_task_t  *t;

    t = ngx_calloc(sizeof(ngx_http_llm_store_task_t), ngx_cycle->log);
    if (t == NULL) {
        return NGX_ERROR;
    }

    t->task.run = run;
    t->task.done = ngx_http_llm_store_done;
    t->mcf = mcf;
    t->now = (int64_t) ngx_time();

    if (ngx_http_llm_post(mcf, &t->task, ngx_cycle->log) != NGX_OK) {
        ngx_free(t);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_llm_store_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_store_task_t *t = (ngx_http_llm_store_task_t *) task;

    if (t->rc != LLM_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "llm_store: %s",
                      t->err);
    }

    if (t->dropped) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "llm_audit: %uL records were older than "
                      "\"llm_audit_keep\"", t->dropped);
    }

    if (t->notify) {
        ngx_http_llm_notify_kick(t->mcf);
    }

    ngx_free(t);
}


/* on the thread, as is all that follows */

static void
ngx_http_llm_params_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_store_task_t *t = (ngx_http_llm_store_task_t *) task;

    ngx_http_llm_load_params(t->mcf, store);
}


void
ngx_http_llm_load_params(ngx_http_llm_main_conf_t *mcf, llm_store_t *store)
{
    llm_buf_t           json;
    ngx_uint_t          i;
    llm_zone_t         *z;
    llm_engine_conf_t  *ec;

    z = ngx_http_llm_zone(mcf);
    ec = mcf->engines.elts;

    for (i = 0; z && i < mcf->engines.nelts; i++) {
        ngx_memzero(&json, sizeof(llm_buf_t));

        if (llm_params_get(store, ec[i].name, &json, NULL, 0) == LLM_OK) {
            ngx_http_llm_load_engine(z, ec[i].name, json.data, json.len);
        }

        llm_buf_done(&json);
    }
}


/* the zone has few places: those of engines that are gone are free again */

static void
ngx_http_llm_drop_params(ngx_http_llm_main_conf_t *mcf)
{
    uint64_t             hash;
    ngx_uint_t           i, k;
    llm_zone_t          *z;
    llm_params_t        *p;
    llm_engine_conf_t   *ec;
    llm_param_values_t   none;

    z = ngx_http_llm_zone(mcf);
    ec = mcf->engines.elts;

    ngx_memzero(&none, sizeof(llm_param_values_t));

    for (i = 0; z && i < LLM_ZONE_ENGINES; i++) {
        p = &z->params[i];
        hash = atomic_load(&p->copy[atomic_load(&p->turn) % 2].hash);

        for (k = 0; k < mcf->engines.nelts; k++) {
            if (llm_engine_hash(ec[k].name, ngx_strlen(ec[k].name)) == hash) {
                break;
            }
        }

        if (hash && k == mcf->engines.nelts) {
            (void) llm_zone_params_set(z, hash, &none);
        }
    }
}


/* what is not known, or out of its range, was checked when it was set */

static void
ngx_http_llm_load_engine(llm_zone_t *z, const char *name, const char *text,
    size_t len)
{
    json_t              *o, *value;
    const char          *key;
    llm_param_values_t   v;

    ngx_memzero(&v, sizeof(llm_param_values_t));

    o = json_loadb(text, len, 0, NULL);

    if (!json_is_object(o)) {
        json_decref(o);
        return;
    }

    json_object_foreach(o, key, value) {
        if (json_is_number(value)) {
            (void) llm_param_put(&v, key, json_number_value(value));
        }
    }

    json_decref(o);

    (void) llm_zone_params_set(z, llm_engine_hash(name, ngx_strlen(name)),
                               &v);
}


/* keys that are about to end: one event at 14, 7 and 1 days */

static void
ngx_http_llm_scan_handler(ngx_event_t *ev)
{
    ngx_http_llm_main_conf_t  *mcf = ev->data;

    if (ngx_exiting || ngx_terminate) {
        return;
    }

    (void) ngx_http_llm_store_post(mcf, ngx_http_llm_scan_run);

    if (mcf->audited && mcf->audit_keep) {
        (void) ngx_http_llm_store_post(mcf, ngx_http_llm_prune_run);
    }

    ngx_add_timer(ev, NGX_HTTP_LLM_SCAN);
}


/* not on the trail's thread: it takes its time, and no record waits for it */

static void
ngx_http_llm_prune_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_store_task_t *t = (ngx_http_llm_store_task_t *) task;

    if (task->audit) {
        t->rc = llm_audit_prune(task->audit, t->now,
                                (int64_t) t->mcf->audit_keep, &t->dropped,
                                t->err, sizeof(t->err));
    }
}


static void
ngx_http_llm_scan_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_store_task_t *t = (ngx_http_llm_store_task_t *) task;

    if (calls == NULL) {
        return;
    }

    t->store = store;
    t->calls = calls;

    t->rc = llm_key_each(store, NULL, ngx_http_llm_scan_key, t, t->err,
                         sizeof(t->err));
}


static int
ngx_http_llm_scan_key(void *data, const llm_key_t *k)
{
    ngx_http_llm_store_task_t  *t = data;

    int        rc;
    char       id[LLM_KEY_ID_LEN + 1], text[512], now[32], ends[32];
    int64_t    end, days;
    uint32_t   step;
    llm_key_t  next;

    end = llm_key_end(k, t->mcf->max_age);

    if (llm_key_state(k, t->now, t->mcf->max_age) != LLM_KEY_GOOD
        || end == INT64_MAX)
    {
        return 0;
    }

    days = (end - t->now) / (24 * 60 * 60);
    step = days < 1 ? 1 : days < 7 ? 7 : days < 14 ? 14 : 0;

    if (step == 0 || (k->noticed && k->noticed <= step)) {
        return 0;
    }

    (void) snprintf(text, sizeof(text), "{\"event\":\"key_expiring\","
                    "\"time\":\"%s\",\"actor\":\"nginx\",\"key_id\":\"%s\","
                    "\"client\":\"%s\",\"ends\":\"%s\",\"days\":%lld}",
                    llm_admin_time(now, sizeof(now), t->now), k->id,
                    k->client, llm_admin_time(ends, sizeof(ends), end),
                    (long long) days);

    ngx_memcpy(id, k->id, sizeof(id));
    next = *k;
    next.noticed = step;

    /* first the event: told twice is better than never */

    rc = llm_event_put(t->calls, text, t->err, sizeof(t->err));

    if (rc == LLM_OK) {
        t->notify = 1;
        rc = llm_key_update(t->store, id, LLM_SET_NOTICED, &next, &next,
                            t->err, sizeof(t->err));
    }

    t->rc = rc;

    return rc != LLM_OK;
}
