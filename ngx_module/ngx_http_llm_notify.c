
/*
 * Copyright (C) nginx-llm contributors
 *
 * llm_notify: events of the store, posted as JSON to a location of the user's
 * nginx, which passes them on to where people read them.
 *
 *     store --thread--> worker --socketpair--> the same worker's HTTP server
 *
 * The request comes in through a listening socket that nobody else can
 * connect to: it exists in memory only, and one end of a socketpair is handed
 * to nginx as if it had been accepted there.  So the location is served with
 * all that nginx has for it, and "internal" keeps everybody else out of it.
 *
 * An event is delivered when the location answers 2xx; else it is tried
 * again, later each time.  Several workers, of old configurations too, look
 * every two seconds; the store gives an event to one of them at a time.
 */


#include "ngx_http_llm.h"
#include <sys/socket.h>


#define NGX_HTTP_LLM_NOTIFY_POLL   2000     /* ms */
#define NGX_HTTP_LLM_NOTIFY_TIME   30       /* s for a delivery */
#define NGX_HTTP_LLM_NOTIFY_FIRST  5        /* s to the second try */
#define NGX_HTTP_LLM_NOTIFY_LAST   3600     /* s between later ones */
#define NGX_HTTP_LLM_NOTIFY_TRIES  120      /* some five days */


typedef enum {
    NGX_HTTP_LLM_NOTIFY_NEXT = 0,
    NGX_HTTP_LLM_NOTIFY_DONE,
    NGX_HTTP_LLM_NOTIFY_LATER
} ngx_http_llm_notify_e;


struct ngx_http_llm_notify_s {
    ngx_str_t                   uri;
    ngx_http_core_srv_conf_t   *server;
    ngx_listening_t             listening;
    ngx_http_port_t             port;
    ngx_http_in_addr_t          addr;
    struct sockaddr_un          sockaddr;

    /* a worker's */
    ngx_event_t                 poll;
    unsigned                    busy:1;
};


typedef struct {
    ngx_http_llm_task_t         task;
    ngx_http_llm_main_conf_t   *mcf;
    ngx_http_llm_notify_e       what;
    int                         rc;
    char                        err[LLM_ERRLEN];
    int64_t                     now;

    uint64_t                    number;     /* the event */
    uint32_t                    tries;
    llm_buf_t                   json;

    ngx_connection_t           *connection; /* our end of the pair */
    ngx_pool_t                 *pool;
    ngx_buf_t                  *out;
    u_char                      in[64];     /* of the answer */
    size_t                      in_len;
    ngx_uint_t                  status;
} ngx_http_llm_delivery_t;


static void ngx_http_llm_notify_poll(ngx_event_t *ev);
static void ngx_http_llm_notify_post(ngx_http_llm_delivery_t *d,
    ngx_http_llm_notify_e what);
static void ngx_http_llm_notify_run(ngx_http_llm_task_t *task,
    llm_store_t *store, llm_calls_t *calls);
static void ngx_http_llm_notify_done(ngx_http_llm_task_t *task);
static void ngx_http_llm_notify_free(ngx_http_llm_delivery_t *d);
static ngx_int_t ngx_http_llm_notify_send(ngx_http_llm_delivery_t *d);
static ngx_str_t *ngx_http_llm_notify_host(ngx_http_llm_notify_t *n);
static ngx_int_t ngx_http_llm_notify_accept(ngx_http_llm_notify_t *n, int fd);
static void ngx_http_llm_notify_write(ngx_event_t *ev);
static void ngx_http_llm_notify_read(ngx_event_t *ev);
static void ngx_http_llm_notify_end(ngx_http_llm_delivery_t *d);


char *
ngx_http_llm_notify_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                 *value;
    ngx_http_llm_notify_t     *n;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);
    value = cf->args->elts;

    if (mcf->notify) {
        return "is duplicate: one location of one server gets all events";
    }

    if (value[1].len == 0 || value[1].data[0] != '/') {
        return "needs the URI of a location, like \"/_notify\"";
    }

    n = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_notify_t));
    if (n == NULL) {
        return NGX_CONF_ERROR;
    }

    n->uri = value[1];
    n->server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    n->sockaddr.sun_family = AF_UNIX;

    n->addr.conf.default_server = n->server;
    n->port.addrs = &n->addr;
    n->port.naddrs = 1;

    n->listening.fd = (ngx_socket_t) -1;
    n->listening.sockaddr = (struct sockaddr *) &n->sockaddr;
    n->listening.socklen = sizeof(n->sockaddr.sun_family);
    n->listening.type = SOCK_STREAM;
    n->listening.servers = &n->port;
    n->listening.handler = ngx_http_init_connection;
    n->listening.pool_size = 512;
    n->listening.log = cf->cycle->new_log;

    mcf->notify = n;

    return NGX_CONF_OK;
}


/* post-read phase: what comes through our own door is nobody else's request */

ngx_int_t
ngx_http_llm_notify_phase(ngx_http_request_t *r)
{
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    if (mcf->notify && r->connection->listening == &mcf->notify->listening) {
        r->internal = 1;
    }

    return NGX_DECLINED;
}


void
ngx_http_llm_notify_start(ngx_http_llm_main_conf_t *mcf)
{
    ngx_http_llm_notify_t  *n = mcf->notify;

    if (n == NULL) {
        return;
    }

    n->poll.handler = ngx_http_llm_notify_poll;
    n->poll.data = mcf;
    n->poll.log = ngx_cycle->log;
    n->poll.cancelable = 1;

    ngx_add_timer(&n->poll, NGX_HTTP_LLM_NOTIFY_POLL);
}


/* an event was queued just now */

void
ngx_http_llm_notify_kick(ngx_http_llm_main_conf_t *mcf)
{
    if (mcf->notify && !mcf->notify->busy && !ngx_exiting) {
        ngx_add_timer(&mcf->notify->poll, 1);
    }
}


/* a look costs a microsecond; only when there is something, the thread works */

static void
ngx_http_llm_notify_poll(ngx_event_t *ev)
{
    ngx_http_llm_main_conf_t  *mcf = ev->data;

    ngx_log_t                *log = ngx_cycle->log;
    llm_calls_t              *calls;
    ngx_http_llm_delivery_t  *d;

    if (ngx_exiting || ngx_terminate) {
        return;
    }

    calls = ngx_http_llm_calls(mcf, log);

    if (calls == NULL || !llm_event_due(calls, (int64_t) ngx_time())) {
        ngx_add_timer(ev, NGX_HTTP_LLM_NOTIFY_POLL);
        return;
    }

    d = ngx_calloc(sizeof(ngx_http_llm_delivery_t), log);

    if (d == NULL) {
        ngx_add_timer(ev, NGX_HTTP_LLM_NOTIFY_POLL);
        return;
    }

    d->mcf = mcf;
    mcf->notify->busy = 1;

    ngx_http_llm_notify_post(d, NGX_HTTP_LLM_NOTIFY_NEXT);
}


static void
ngx_http_llm_notify_post(ngx_http_llm_delivery_t *d,
    ngx_http_llm_notify_e what)
{
    d->what = what;
    d->now = (int64_t) ngx_time();
    d->task.run = ngx_http_llm_notify_run;
    d->task.done = ngx_http_llm_notify_done;

    if (ngx_http_llm_post(d->mcf, &d->task, ngx_cycle->log) != NGX_OK) {
        ngx_http_llm_notify_free(d);
    }
}


/* on the thread */

static void
ngx_http_llm_notify_run(ngx_http_llm_task_t *task, llm_store_t *store,
    llm_calls_t *calls)
{
    ngx_http_llm_delivery_t *d = (ngx_http_llm_delivery_t *) task;

    int64_t  due, wait;

    if (calls == NULL) {
        d->rc = LLM_AGAIN;
        return;
    }

    switch (d->what) {

    case NGX_HTTP_LLM_NOTIFY_NEXT:
        d->rc = llm_event_next(calls, d->now,
                               d->now + 2 * NGX_HTTP_LLM_NOTIFY_TIME,
                               &d->number, &d->tries, &d->json, &due, d->err,
                               sizeof(d->err));
        return;

    case NGX_HTTP_LLM_NOTIFY_DONE:
        d->rc = llm_event_done(calls, d->number, d->err, sizeof(d->err));
        return;

    case NGX_HTTP_LLM_NOTIFY_LATER:
        /* this one is among the tries */

        wait = d->tries < 10 ? NGX_HTTP_LLM_NOTIFY_FIRST << (d->tries - 1)
                             : NGX_HTTP_LLM_NOTIFY_LAST;

        d->rc = llm_event_later(calls, d->number,
                                d->now + ngx_min(wait,
                                                 NGX_HTTP_LLM_NOTIFY_LAST),
                                d->err, sizeof(d->err));
    }
}


static void
ngx_http_llm_notify_done(ngx_http_llm_task_t *task)
{
    ngx_http_llm_delivery_t *d = (ngx_http_llm_delivery_t *) task;

    if (d->rc != LLM_OK && d->rc != LLM_NOTFOUND && d->rc != LLM_AGAIN) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "llm_notify: %s",
                      d->err);
    }

    if (d->what != NGX_HTTP_LLM_NOTIFY_NEXT || d->rc != LLM_OK
        || ngx_exiting || ngx_terminate)
    {
        ngx_http_llm_notify_free(d);
        return;
    }

    if (ngx_http_llm_notify_send(d) != NGX_OK) {
        ngx_http_llm_notify_end(d);
    }
}


/* after a delivery the next event may be due at once */

static void
ngx_http_llm_notify_free(ngx_http_llm_delivery_t *d)
{
    ngx_http_llm_notify_t  *n = d->mcf->notify;

    n->busy = 0;

    if (!ngx_exiting && !ngx_terminate) {
        ngx_add_timer(&n->poll, d->what == NGX_HTTP_LLM_NOTIFY_DONE
                                ? 1 : NGX_HTTP_LLM_NOTIFY_POLL);
    }

    llm_buf_done(&d->json);
    ngx_free(d);
}


static ngx_int_t
ngx_http_llm_notify_send(ngx_http_llm_delivery_t *d)
{
    int                     fd[2];
    ngx_log_t              *log = ngx_cycle->log;
    ngx_connection_t       *c;
    ngx_http_llm_notify_t  *n = d->mcf->notify;

    d->pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, log);
    if (d->pool == NULL) {
        return NGX_ERROR;
    }

    d->out = ngx_create_temp_buf(d->pool, 256 + n->uri.len + d->json.len);
    if (d->out == NULL) {
        return NGX_ERROR;
    }

    d->out->last = ngx_sprintf(d->out->last,
                               "POST %V HTTP/1.0" CRLF
                               "Host: %V" CRLF
                               "User-Agent: nginx-llm" CRLF
                               "Content-Type: application/json" CRLF
                               "Content-Length: %uz" CRLF CRLF,
                               &n->uri, ngx_http_llm_notify_host(n),
                               d->json.len);
    d->out->last = ngx_cpymem(d->out->last, d->json.data, d->json.len);

    if (socketpair(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0, fd)
        == -1)
    {
        ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                      "llm_notify: socketpair() failed");
        return NGX_ERROR;
    }

    if (ngx_http_llm_notify_accept(n, fd[0]) != NGX_OK) {
        (void) close(fd[0]);
        (void) close(fd[1]);
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd[1], log);

    if (c == NULL) {
        (void) close(fd[1]);
        return NGX_ERROR;
    }

    d->connection = c;

    c->data = d;
    c->pool = d->pool;
    c->log = log;
    c->read->log = log;
    c->write->log = log;
    c->recv = ngx_recv;
    c->send = ngx_send;
    c->read->handler = ngx_http_llm_notify_read;
    c->write->handler = ngx_http_llm_notify_write;
    c->write->ready = 1;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_add_timer(c->read, NGX_HTTP_LLM_NOTIFY_TIME * 1000);

    ngx_http_llm_notify_write(c->write);

    return NGX_OK;
}


/* this door leads to one server, whatever the name; but nginx refuses a name
 * that can't be one, such as "" and those of wildcards and expressions */

static ngx_str_t *
ngx_http_llm_notify_host(ngx_http_llm_notify_t *n)
{
    size_t      i;
    ngx_str_t  *name = &n->server->server_name;

    static ngx_str_t  localhost = ngx_string("localhost");

    for (i = 0; i < name->len; i++) {
        if ((name->data[i] < 'a' || name->data[i] > 'z')
            && (name->data[i] < '0' || name->data[i] > '9')
            && name->data[i] != '-' && name->data[i] != '.')
        {
            return &localhost;
        }
    }

    return name->len && name->data[0] != '.' ? name : &localhost;
}


/* what ngx_event_accept() does, for a descriptor that nobody connected to */

static ngx_int_t
ngx_http_llm_notify_accept(ngx_http_llm_notify_t *n, int fd)
{
    ngx_log_t         *log;
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, ngx_cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->pool = ngx_create_pool(n->listening.pool_size, ngx_cycle->log);

    if (c->pool == NULL) {
        ngx_free_connection(c);
        return NGX_ERROR;
    }

    log = ngx_palloc(c->pool, sizeof(ngx_log_t));

    if (log == NULL) {
        ngx_destroy_pool(c->pool);
        ngx_free_connection(c);
        return NGX_ERROR;
    }

    *log = *ngx_cycle->log;
    log->data = NULL;
    log->handler = NULL;

    c->log = log;
    c->pool->log = log;
    c->read->log = log;
    c->write->log = log;

    c->type = SOCK_STREAM;
    c->sockaddr = (struct sockaddr *) &n->sockaddr;
    c->socklen = n->listening.socklen;
    c->local_sockaddr = c->sockaddr;
    c->local_socklen = c->socklen;
    c->listening = &n->listening;
    ngx_str_set(&c->addr_text, "unix:");

    c->recv = ngx_recv;
    c->send = ngx_send;
    c->recv_chain = ngx_recv_chain;
    c->send_chain = ngx_send_chain;
    c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
    c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;

    c->write->ready = 1;
    c->start_time = ngx_current_msec;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_accepted, 1);
    (void) ngx_atomic_fetch_add(ngx_stat_active, 1);
    (void) ngx_atomic_fetch_add(ngx_stat_handled, 1);
#endif

    ngx_http_init_connection(c);

#if (NGX_HTTP_SSL)

    /* "ssl on" of a server, where that is still a directive: our end speaks
     * no TLS, and the handshake's handler takes plain requests where they are
     * none of its faults */

    if (c->fd != (ngx_socket_t) -1) {
        ((ngx_http_connection_t *) c->data)->ssl = 0;
    }

#endif

    return NGX_OK;
}


static void
ngx_http_llm_notify_write(ngx_event_t *ev)
{
    ngx_connection_t         *c = ev->data;
    ngx_http_llm_delivery_t  *d = c->data;

    ssize_t  n;

    while (d->out->pos < d->out->last) {
        n = c->send(c, d->out->pos, (size_t) (d->out->last - d->out->pos));

        if (n == NGX_AGAIN) {
            if (ngx_handle_write_event(ev, 0) != NGX_OK) {
                ngx_http_llm_notify_end(d);
            }

            return;
        }

        if (n <= 0) {
            ngx_http_llm_notify_end(d);
            return;
        }

        d->out->pos += n;
    }
}


/* "HTTP/1.1 204 ...": the status is all that counts, the rest is read off */

static void
ngx_http_llm_notify_read(ngx_event_t *ev)
{
    ngx_connection_t         *c = ev->data;
    ngx_http_llm_delivery_t  *d = c->data;

    size_t   len;
    u_char   buf[1024];
    ssize_t  n;

    if (ev->timedout) {
        ngx_http_llm_notify_end(d);
        return;
    }

    for ( ;; ) {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(ev, 0) != NGX_OK) {
                ngx_http_llm_notify_end(d);
            }

            return;
        }

        if (n <= 0) {
            break;
        }

        len = ngx_min((size_t) n, sizeof(d->in) - d->in_len);
        ngx_memcpy(d->in + d->in_len, buf, len);
        d->in_len += len;
    }

    if (n == 0 && d->in_len >= 12 && ngx_strncmp(d->in, "HTTP/1.", 7) == 0) {
        n = ngx_atoi(d->in + 9, 3);
        d->status = n > 0 ? (ngx_uint_t) n : 0;
    }

    ngx_http_llm_notify_end(d);
}


static void
ngx_http_llm_notify_end(ngx_http_llm_delivery_t *d)
{
    ngx_uint_t  ok;

    if (d->connection) {
        ngx_close_connection(d->connection);
        d->connection = NULL;
    }

    if (d->pool) {
        ngx_destroy_pool(d->pool);
        d->pool = NULL;
    }

    ok = (d->status >= 200 && d->status < 300);

    if (!ok) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "llm_notify: \"%V\" answered %ui to event %uL, it will "
                      "be tried again", &d->mcf->notify->uri, d->status,
                      d->number);
    }

    if (!ok && d->tries >= NGX_HTTP_LLM_NOTIFY_TRIES) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "llm_notify: event %uL is given up: %*s", d->number,
                      d->json.len, d->json.data);
        ok = 1;
    }

    ngx_http_llm_notify_post(d, ok ? NGX_HTTP_LLM_NOTIFY_DONE
                                   : NGX_HTTP_LLM_NOTIFY_LATER);
}
