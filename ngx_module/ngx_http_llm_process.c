
/*
 * Copyright (C) nginx-llm contributors
 *
 * Processes.  The engine's threads live in the helper that nginx's master
 * spawns, watches and respawns for paths with a manager callback (ps shows it
 * as "cache manager process"); workers talk to it through the shared zone.
 *
 *     master   formats the zone, checks models, notes the configuration in
 *              force in zone->wanted; never starts a thread
 *     helper   manager(): starts the engine host, which waits for the lease
 *     worker   takes a place in the zone, watches its wake-up eventfd
 *     single   master_process off: both of the latter
 *
 * A reload with the same engines keeps the helper that holds the models: it
 * swallows the quit that the master sends and leaves when no worker lives.
 */


#include "ngx_http_llm.h"
#include <sys/prctl.h>


static ngx_int_t ngx_http_llm_spawn_helper(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);
static ngx_msec_t ngx_http_llm_manager(void *data);
static ngx_int_t ngx_http_llm_start_host(ngx_http_llm_main_conf_t *mcf,
    ngx_pid_t master);
static void ngx_http_llm_stop_host(void);
static void ngx_http_llm_host_handler(ngx_event_t *ev);
static void ngx_http_llm_channel_handler(ngx_event_t *ev);
static void ngx_http_llm_wake_handler(ngx_event_t *ev);


/* for callbacks without an argument: atexit(), the wrapped channel */
static ngx_http_llm_main_conf_t  *ngx_http_llm_hosting;


ngx_int_t
ngx_http_llm_init_zone(ngx_shm_zone_t *shm, void *data)
{
    char              err[LLM_ERRLEN];
    llm_zone_t       *z;
    ngx_slab_pool_t  *pool;

    if (data) {
        /* a reload: workers and requests go on */
        shm->data = data;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) shm->shm.addr;

    /* fresh pages are zero already; touching them would take the memory */

    z = ngx_slab_alloc(pool, sizeof(llm_zone_t));

    if (z == NULL || llm_zone_init(z, err, sizeof(err)) != LLM_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0, "llm_engine: %s",
                      z ? err : "the shared zone is too small");
        return NGX_ERROR;
    }

    shm->data = z;

    return NGX_OK;
}


llm_zone_t *
ngx_http_llm_zone(ngx_http_llm_main_conf_t *mcf)
{
    return mcf->shm ? mcf->shm->data : NULL;
}


/* master, once all of a configuration is known to be good */

ngx_int_t
ngx_http_llm_init_module(ngx_cycle_t *cycle)
{
    llm_zone_t                *z;
    ngx_http_llm_main_conf_t  *mcf, *old;

    if (ngx_test_config || ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_llm_module);

    if (mcf && mcf->store.len) {
        ngx_http_llm_prepare_store(cycle, mcf);
    }

    if (mcf) {
        ngx_http_llm_metrics_engines(cycle, mcf);
    }

    if (mcf == NULL || mcf->shm == NULL) {

        /* no engines any more: tell a holder of the cycle before */

        old = NULL;

        if (cycle->old_cycle && cycle->old_cycle->conf_ctx) {
            old = ngx_http_cycle_get_module_main_conf(cycle->old_cycle,
                                                      ngx_http_llm_module);
        }

        z = old ? ngx_http_llm_zone(old) : NULL;

        if (z) {
            atomic_store(&z->wanted, 0);
            llm_zone_ring(z);
        }

        return NGX_OK;
    }

    z = ngx_http_llm_zone(mcf);

    mcf->hash = llm_engine_conf_hash(mcf->engines.elts,
                                     (int) mcf->engines.nelts);
    atomic_store(&z->wanted, mcf->hash);
    llm_zone_ring(z);

    return ngx_http_llm_spawn_helper(cycle, mcf);
}


/*
 * The core spawns its helper when some path has a manager.  Ours joins the
 * list after the core has made the directories of the others: it has none.
 */

static ngx_int_t
ngx_http_llm_spawn_helper(ngx_cycle_t *cycle, ngx_http_llm_main_conf_t *mcf)
{
    ngx_path_t  **p;

    ngx_str_set(&mcf->path.name, "nginx-llm");
    mcf->path.manager = ngx_http_llm_manager;
    mcf->path.data = mcf;

    p = ngx_array_push(&cycle->paths);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *p = &mcf->path;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_llm_manager(void *data)
{
    ngx_http_llm_main_conf_t  *mcf = data;

    ngx_uint_t         i;
    ngx_connection_t  *c;

    if (mcf->host == NULL
        && ngx_http_llm_start_host(mcf, ngx_parent) == NGX_OK)
    {
        /* stand between the master's messages and the loop's exit() */

        c = ngx_cycle->connections;

        for (i = 0; i < ngx_cycle->connection_n; i++) {
            if (c[i].fd == ngx_channel && c[i].read
                && c[i].read->channel && c[i].read->handler)
            {
                mcf->channel_handler = c[i].read->handler;
                c[i].read->handler = ngx_http_llm_channel_handler;
                break;
            }
        }
    }

    return 60 * 60 * 1000;
}


static ngx_int_t
ngx_http_llm_start_host(ngx_http_llm_main_conf_t *mcf, ngx_pid_t master)
{
    char  err[LLM_ERRLEN];

    if (llm_host_start(&mcf->host, ngx_http_llm_zone(mcf), mcf->engines.elts,
                       (int) mcf->engines.nelts, mcf->hash, master,
                       ngx_http_llm_quota(mcf) ? ngx_http_llm_grant : NULL,
                       ngx_http_llm_quota(mcf),
                       llm_metrics_gpus(ngx_http_llm_metrics(mcf)), err,
                       sizeof(err))
        != LLM_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0, "llm_engine: %s",
                      err);
        return NGX_ERROR;
    }

    ngx_http_llm_hosting = mcf;
    (void) atexit(ngx_http_llm_stop_host);

    mcf->host_connection = ngx_http_llm_watch(llm_host_fd(mcf->host), mcf,
                                              ngx_http_llm_host_handler,
                                              ngx_cycle->log);

    return mcf->host_connection ? NGX_OK : NGX_ERROR;
}


/* the helper's loop ends in exit(): join the threads before the libraries'
 * destructors run */

static void
ngx_http_llm_stop_host(void)
{
    ngx_http_llm_main_conf_t  *mcf = ngx_http_llm_hosting;

    if (mcf && mcf->host) {
        llm_host_stop(mcf->host);
        mcf->host = NULL;
    }
}


static void
ngx_http_llm_host_handler(ngx_event_t *ev)
{
    ngx_connection_t          *c = ev->data;
    ngx_http_llm_main_conf_t  *mcf = c->data;

    char        text[LLM_ERRLEN];
    ssize_t     n;
    uint64_t    count;
    llm_log_e   level;

    static ngx_uint_t  levels[] = {
        NGX_LOG_ERR, NGX_LOG_WARN, NGX_LOG_NOTICE, NGX_LOG_INFO
    };

    n = read(c->fd, &count, sizeof(count));
    (void) n;

    if (mcf->host == NULL) {
        return;
    }

    while (llm_host_message(mcf->host, &level, text, sizeof(text))) {
        ngx_log_error(levels[level], ngx_cycle->log, 0, "%s", text);
    }

    if (llm_host_left(mcf->host)
        && ngx_process == NGX_PROCESS_HELPER
        && (mcf->retired || ngx_getppid() != ngx_parent))
    {
        ngx_quit = 1;
    }
}


static void
ngx_http_llm_channel_handler(ngx_event_t *ev)
{
    ngx_http_llm_main_conf_t  *mcf = ngx_http_llm_hosting;

    mcf->channel_handler(ev);

    if (ngx_quit && mcf->host && llm_host_retire(mcf->host)) {
        mcf->retired = 1;
        ngx_quit = 0;

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "the models stay loaded until the last worker exits");
    }
}


ngx_int_t
ngx_http_llm_init_process(ngx_cycle_t *cycle)
{
    llm_zone_t                *z;
    ngx_http_llm_worker_t     *w;
    ngx_http_llm_main_conf_t  *mcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_llm_module);

    if (mcf == NULL || (mcf->shm == NULL && mcf->store.len == 0)) {
        return NGX_OK;
    }

    w = ngx_pcalloc(cycle->pool, sizeof(ngx_http_llm_worker_t));
    if (w == NULL) {
        return NGX_ERROR;
    }

    w->index = -1;
    mcf->worker = w;

    ngx_http_llm_start_store(cycle, mcf);
    ngx_http_llm_metrics_start(cycle, mcf);

    z = ngx_http_llm_zone(mcf);

    if (z == NULL) {
        return NGX_OK;
    }

    w->index = llm_worker_attach(z, ngx_pid);

    if (w->index < 0) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "more than %d worker processes share the engine, this "
                      "one can't use it", LLM_ZONE_WORKERS);
        w->index = -1;
        return NGX_OK;
    }

    w->connection = ngx_http_llm_watch(z->worker[w->index].fd, w,
                                       ngx_http_llm_wake_handler,
                                       cycle->log);
    if (w->connection == NULL) {
        return NGX_ERROR;
    }

    if (ngx_process == NGX_PROCESS_SINGLE) {
        return ngx_http_llm_start_host(mcf, 0);
    }

    /*
     * When the master is killed nobody respawns the engine: finish the
     * streams, free the port, leave nothing behind.
     */

    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) == -1) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                      "prctl(PR_SET_PDEATHSIG) failed");
    }

    if (ngx_getppid() != ngx_parent) {
        ngx_quit = 1;
    }

    return NGX_OK;
}


void
ngx_http_llm_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_llm_worker_t     *w;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_llm_module);

    if (mcf == NULL) {
        return;
    }

    ngx_http_llm_stop_host();

    w = mcf->worker;

    if (w == NULL) {
        return;
    }

    if (w->index >= 0) {
        llm_worker_detach(ngx_http_llm_zone(mcf), (int) w->index);
        w->index = -1;
    }

    if (w->connection) {
        ngx_http_llm_unwatch(w->connection);
        w->connection = NULL;
    }

    ngx_http_llm_close_store(mcf);
}


static void
ngx_http_llm_wake_handler(ngx_event_t *ev)
{
    ngx_connection_t       *wc = ev->data;
    ngx_http_llm_worker_t  *w = wc->data;

    int                        slot;
    llm_zone_t                *z;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_llm_module);
    z = ngx_http_llm_zone(mcf);

    llm_worker_ready_begin(z, (int) w->index);

    while ((slot = llm_worker_ready_next(z, (int) w->index)) != -1) {
        r = w->request[slot];

        if (r == NULL) {
            continue;
        }

        /* the request may be freed below, its connection is not */

        c = r->connection;

        ngx_http_set_log_request(c->log, r);
        ngx_http_llm_wake(r);
        ngx_http_run_posted_requests(c);
    }
}


/* a descriptor in the event loop that is no client and keeps no worker */

ngx_connection_t *
ngx_http_llm_watch(int fd, void *data, ngx_event_handler_pt handler,
    ngx_log_t *log)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, log);
    if (c == NULL) {
        return NULL;
    }

    c->data = data;
    c->pool = ngx_cycle->pool;

    c->read->log = log;
    c->write->log = log;
    c->read->channel = 1;
    c->write->channel = 1;
    c->read->handler = handler;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        return NULL;
    }

    return c;
}


/* the descriptor itself is the zone's or the host's */

void
ngx_http_llm_unwatch(ngx_connection_t *c)
{
    if (c->read->active) {
        ngx_del_event(c->read, NGX_READ_EVENT, 0);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}
