
/*
 * Copyright (C) nginx-llm contributors
 *
 * A worker's threads for what blocks.  One for the store: commits, which take
 * milliseconds, and a token's signatures.  One for the audit trail, so that no
 * answer waits for what administration does to the store.  Each is started
 * with its first task; a thread's tasks run one after the other, in order.
 *
 * A task is its owner's memory from malloc, not a request's: the request may
 * be gone when the task is done; its pool's cleanup sets task->request to NULL
 * then.  run() is on the thread and calls nothing of nginx's; done() is on the
 * event loop again.
 *
 * A worker that was told to quit stays while requests wait for a thread.  A
 * thread that hangs (a disk that stalls, a process that was stopped with the
 * store's lock) is said in the log, and at the worker's end it is given up.
 */


#include "ngx_http_llm.h"
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>


#define NGX_HTTP_LLM_THREAD_LOOK   5000     /* ms */
#define NGX_HTTP_LLM_THREAD_LOOKS  3        /* without any work done */


struct ngx_http_llm_thread_s {
    const char            *name;        /* for the log */
    pthread_t              tid;
    pthread_mutex_t        mutex;
    pthread_cond_t         cond;

    /* under the mutex */
    ngx_http_llm_task_t   *first;
    ngx_http_llm_task_t  **last;
    ngx_http_llm_task_t   *finished;
    ngx_http_llm_task_t  **finished_last;
    llm_calls_t           *calls;
    llm_audit_t           *audit;
    uint64_t               ran;         /* tasks */
    unsigned               stop:1;

    /* the thread's own while it runs, NULL: it needs none */
    llm_store_t           *store;

    int                    fd;          /* eventfd: something is finished */
    ngx_connection_t      *connection;

    /* the event loop's */
    ngx_event_t            look;        /* while requests wait for a task */
    ngx_uint_t             keeping;     /* such tasks */
    ngx_uint_t             looks;       /* since it last did something */
    uint64_t               seen;        /* of ran */
};


static ngx_int_t ngx_http_llm_thread_post(ngx_http_llm_thread_t *th,
    ngx_http_llm_task_t *task);
static ngx_http_llm_thread_t *ngx_http_llm_thread_start(const char *name,
    llm_store_t *store, ngx_log_t *log);
static ngx_int_t ngx_http_llm_thread_spawn(ngx_http_llm_thread_t *th,
    ngx_log_t *log);
static void ngx_http_llm_thread_free(ngx_http_llm_thread_t *th);
static ngx_uint_t ngx_http_llm_thread_hangs(ngx_http_llm_thread_t *th);
static void ngx_http_llm_thread_look(ngx_event_t *ev);
static void *ngx_http_llm_thread_cycle(void *data);
static void ngx_http_llm_thread_handler(ngx_event_t *ev);


ngx_int_t
ngx_http_llm_post(ngx_http_llm_main_conf_t *mcf, ngx_http_llm_task_t *task,
    ngx_log_t *log)
{
    char                    err[LLM_ERRLEN];
    llm_calls_t            *calls, *dup;
    llm_audit_t            *audit, *own;
    ngx_http_llm_worker_t  *w = mcf->worker;
    ngx_http_llm_thread_t  *th;

    if (ngx_http_llm_store(mcf, log) == NULL) {
        return NGX_ERROR;
    }

    calls = ngx_http_llm_calls(mcf, log);

    if (w->thread == NULL) {
        w->thread = ngx_http_llm_thread_start("llm_store: the store's thread",
                                              w->store, log);
        if (w->thread == NULL) {
            return NGX_ERROR;
        }
    }

    th = w->thread;

    audit = ngx_http_llm_trail_handle(mcf);

    (void) pthread_mutex_lock(&th->mutex);

    if (th->calls == NULL && calls != NULL
        && llm_calls_dup(&dup, calls, err, sizeof(err)) == LLM_OK)
    {
        th->calls = dup;
    }

    if (th->audit == NULL && audit != NULL
        && llm_audit_dup(&own, audit, err, sizeof(err)) == LLM_OK)
    {
        th->audit = own;
    }

    (void) pthread_mutex_unlock(&th->mutex);

    return ngx_http_llm_thread_post(th, task);
}


ngx_int_t
ngx_http_llm_post_audit(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_task_t *task, ngx_log_t *log)
{
    ngx_http_llm_worker_t  *w = mcf->worker;

    if (w->audit_thread == NULL) {
        w->audit_thread = ngx_http_llm_thread_start(
                                   "llm_audit: the trail's thread", NULL, log);

        if (w->audit_thread == NULL) {
            return NGX_ERROR;
        }
    }

    return ngx_http_llm_thread_post(w->audit_thread, task);
}


static ngx_int_t
ngx_http_llm_thread_post(ngx_http_llm_thread_t *th, ngx_http_llm_task_t *task)
{
    (void) pthread_mutex_lock(&th->mutex);

    if (th->stop) {
        (void) pthread_mutex_unlock(&th->mutex);
        return NGX_ERROR;
    }

    task->next = NULL;
    *th->last = task;
    th->last = &task->next;

    (void) pthread_cond_signal(&th->cond);
    (void) pthread_mutex_unlock(&th->mutex);

    if (task->request) {
        task->keeps = 1;
    }

    if (task->keeps) {
        th->keeping++;

        if (!th->look.timer_set) {
            ngx_add_timer(&th->look, NGX_HTTP_LLM_THREAD_LOOK);
        }
    }

    return NGX_OK;
}


static ngx_http_llm_thread_t *
ngx_http_llm_thread_start(const char *name, llm_store_t *store,
    ngx_log_t *log)
{
    char                    err[LLM_ERRLEN];
    ngx_http_llm_thread_t  *th;

    th = ngx_calloc(sizeof(ngx_http_llm_thread_t), log);
    if (th == NULL) {
        return NULL;
    }

    th->name = name;
    th->last = &th->first;
    th->finished_last = &th->finished;
    (void) pthread_mutex_init(&th->mutex, NULL);
    (void) pthread_cond_init(&th->cond, NULL);

    th->look.handler = ngx_http_llm_thread_look;
    th->look.data = th;
    th->look.log = ngx_cycle->log;

    th->fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (th->fd == -1) {
        ngx_log_error(NGX_LOG_ERR, log, ngx_errno, "eventfd() failed");
        goto failed;
    }

    if (store
        && llm_store_dup(&th->store, store, err, sizeof(err)) != LLM_OK)
    {
        ngx_log_error(NGX_LOG_ERR, log, 0, "llm_store: %s", err);
        goto failed;
    }

    th->connection = ngx_http_llm_watch(th->fd, th,
                                        ngx_http_llm_thread_handler,
                                        ngx_cycle->log);
    if (th->connection == NULL) {
        goto failed;
    }

    if (ngx_http_llm_thread_spawn(th, log) != NGX_OK) {
        goto failed;
    }

    return th;

failed:

    ngx_http_llm_thread_free(th);

    return NULL;
}


/* signals are the event loop's */

static ngx_int_t
ngx_http_llm_thread_spawn(ngx_http_llm_thread_t *th, ngx_log_t *log)
{
    int       rc;
    sigset_t  all, old;

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_BLOCK, &all, &old);

    rc = pthread_create(&th->tid, NULL, ngx_http_llm_thread_cycle, th);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        ngx_log_error(NGX_LOG_ERR, log, rc, "pthread_create() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the worker exits: what was posted is done first */

ngx_int_t
ngx_http_llm_thread_stop(ngx_http_llm_thread_t **thread)
{
    struct timespec         ts;
    ngx_http_llm_thread_t  *th = *thread;

    if (th == NULL) {
        return NGX_OK;
    }

    (void) pthread_mutex_lock(&th->mutex);
    th->stop = 1;
    (void) pthread_cond_signal(&th->cond);
    (void) pthread_mutex_unlock(&th->mutex);

    for ( ;; ) {
        (void) clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += NGX_HTTP_LLM_THREAD_LOOK / 1000;

        if (pthread_timedjoin_np(th->tid, NULL, &ts) != ETIMEDOUT) {
            break;
        }

        ngx_time_update();

        if (ngx_http_llm_thread_hangs(th)) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "%s is given up "
                          "with what it had to write", th->name);

            /* it has its memory still: that is the process's to free */

            *thread = NULL;
            return NGX_ERROR;
        }
    }

    ngx_http_llm_thread_handler(th->connection->read);

    *thread = NULL;
    ngx_http_llm_thread_free(th);

    return NGX_OK;
}


/* called every few seconds while it should work: 1 when it did nothing for
 * too long */

static ngx_uint_t
ngx_http_llm_thread_hangs(ngx_http_llm_thread_t *th)
{
    uint64_t  ran;

    (void) pthread_mutex_lock(&th->mutex);
    ran = th->ran;
    (void) pthread_mutex_unlock(&th->mutex);

    if (ran != th->seen) {
        th->seen = ran;
        th->looks = 0;
        return 0;
    }

    th->looks++;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "%s hangs: it finished "
                  "nothing in %ui seconds", th->name,
                  th->looks * NGX_HTTP_LLM_THREAD_LOOK / 1000);

    return th->looks >= NGX_HTTP_LLM_THREAD_LOOKS;
}


/* no cancelable timer: it keeps a worker that was told to quit */

static void
ngx_http_llm_thread_look(ngx_event_t *ev)
{
    ngx_http_llm_thread_t  *th = ev->data;

    if (ngx_http_llm_thread_hangs(th) && ngx_exiting) {
        return;
    }

    ngx_add_timer(ev, NGX_HTTP_LLM_THREAD_LOOK);
}


static void
ngx_http_llm_thread_free(ngx_http_llm_thread_t *th)
{
    if (th->connection) {
        ngx_http_llm_unwatch(th->connection);
    }

    if (th->fd != -1) {
        (void) close(th->fd);
    }

    if (th->look.timer_set) {
        ngx_del_timer(&th->look);
    }

    llm_audit_close(th->audit);
    llm_calls_close(th->calls);
    llm_store_close(th->store);

    (void) pthread_cond_destroy(&th->cond);
    (void) pthread_mutex_destroy(&th->mutex);

    ngx_free(th);
}


static void *
ngx_http_llm_thread_cycle(void *data)
{
    ngx_http_llm_thread_t  *th = data;

    ssize_t               n;
    uint64_t              one = 1;
    llm_calls_t          *calls;
    ngx_http_llm_task_t  *task;

    for ( ;; ) {
        (void) pthread_mutex_lock(&th->mutex);

        while (th->first == NULL && !th->stop) {
            (void) pthread_cond_wait(&th->cond, &th->mutex);
        }

        task = th->first;
        calls = th->calls;

        if (task) {
            task->audit = th->audit;
            th->first = task->next;

            if (th->first == NULL) {
                th->last = &th->first;
            }
        }

        (void) pthread_mutex_unlock(&th->mutex);

        if (task == NULL) {
            return NULL;
        }

        task->run(task, th->store, calls);

        (void) pthread_mutex_lock(&th->mutex);

        th->ran++;
        task->next = NULL;
        *th->finished_last = task;
        th->finished_last = &task->next;

        (void) pthread_mutex_unlock(&th->mutex);

        n = write(th->fd, &one, sizeof(one));
        (void) n;
    }
}


static void
ngx_http_llm_thread_handler(ngx_event_t *ev)
{
    ngx_connection_t       *c = ev->data;
    ngx_http_llm_thread_t  *th = c->data;

    ssize_t               n;
    uint64_t              count;
    ngx_http_llm_task_t  *task, *next;

    n = read(th->fd, &count, sizeof(count));
    (void) n;

    (void) pthread_mutex_lock(&th->mutex);

    task = th->finished;
    th->finished = NULL;
    th->finished_last = &th->finished;

    (void) pthread_mutex_unlock(&th->mutex);

    for ( /* void */ ; task; task = next) {
        next = task->next;

        if (task->keeps && --th->keeping == 0 && th->look.timer_set) {
            ngx_del_timer(&th->look);
            th->looks = 0;
        }

        task->done(task);           /* may free it */
    }
}
