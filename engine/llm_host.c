
/*
 * Copyright (C) nginx-llm contributors
 *
 * The engine host's own thread, and what its caller sees of it.
 *
 * The lease is a robust mutex in the zone, taken by the host thread and held
 * by it for as long as the weights are in its process: the kernel passes it
 * on when the process dies, however it dies, and a standby sleeps in it.
 */


#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "llm_host.h"


#define LLM_INTAKE_THREADS  2

/* while there is something to watch: dead workers, a dead master without
 * pidfd, the last worker's end */
#define LLM_TICK            500      /* ms */
#define LLM_GRACE           1000     /* ms without a worker before leaving */
#define LLM_FAREWELL        500      /* ms for clients to take their errors */


typedef struct llm_message_s  llm_message_t;

struct llm_message_s {
    llm_message_t  *next;
    llm_log_e       level;
    char            text[LLM_ERRLEN];
};


static void *llm_host_main(void *data);
static int llm_host_lease(llm_host_t *host);
static void llm_host_serve(llm_host_t *host);
static llm_gpu_sampler_t *llm_host_gpus(llm_host_t *host);
static void llm_host_gpu_log(void *data, llm_log_e level, const char *text);
static void llm_host_farewell(llm_host_t *host);
static void llm_host_wait(llm_host_t *host, int master_fd);
static void llm_host_take(llm_host_t *host);
static int llm_host_order(const void *one, const void *two);
static void llm_host_leftover(llm_host_t *host);
static int llm_host_busy(llm_host_t *host);
static int llm_host_master_lives(llm_host_t *host);
static int llm_host_intake_start(llm_host_t *host, pthread_t *thread);
static void llm_host_intake_stop(llm_host_t *host, pthread_t *thread, int n);
static void *llm_intake_main(void *data);
static void llm_host_notify(llm_host_t *host);
static void llm_host_free(llm_host_t *host);
static int llm_thread_create(pthread_t *thread, void *(*f)(void *),
    void *data);
static uint64_t llm_host_now(void);


int
llm_host_start(llm_host_t **hp, llm_zone_t *zone,
    const llm_engine_conf_t *conf, int n, uint64_t hash, pid_t master,
    llm_grant_pt grant, void *data, llm_gpu_status_t *gpu, char *err,
    size_t errlen)
{
    int              i, rc;
    llm_host_t      *host;
    llm_instance_t  *in;

    *hp = NULL;

    if (n < 1 || n > LLM_ZONE_ENGINES) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%d engines: 1 to %d are possible", n,
                       LLM_ZONE_ENGINES);
    }

    host = calloc(1, sizeof(llm_host_t));
    if (host == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "no memory for the engine");
    }

    host->zone = zone;
    host->master = master;
    host->n_instance = n;
    host->messages_last = &host->messages;
    host->hash = hash;
    host->grant = grant;
    host->grant_data = data;
    host->gpu = gpu;

    llm_job_queue_init(&host->intake);
    llm_job_queue_init(&host->leftover);
    pthread_mutex_init(&host->mutex, NULL);
    pthread_cond_init(&host->cond, NULL);

    host->fd = eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK);
    host->instance = calloc((size_t) n, sizeof(llm_instance_t));

    if (host->fd == -1 || host->instance == NULL) {
        rc = llm_err(err, errlen, LLM_ERROR, "the engine can't start: %s",
                     strerror(errno));
        llm_host_free(host);
        return rc;
    }

    for (i = 0; i < n; i++) {
        in = &host->instance[i];
        in->host = host;
        in->conf = conf[i];
        in->hash = llm_engine_hash(conf[i].name, strlen(conf[i].name));
        in->status = &zone->engine[i];
    }

    rc = llm_thread_create(&host->thread, llm_host_main, host);
    if (rc != 0) {
        llm_host_free(host);
        return llm_err(err, errlen, LLM_ERROR,
                       "pthread_create() failed (%d: %s)", rc, strerror(rc));
    }

    *hp = host;

    return LLM_OK;
}


static void *
llm_host_main(void *data)
{
    llm_host_t  *host = data;

    if (llm_host_lease(host) == LLM_OK) {
        llm_host_serve(host);

        atomic_store(&host->zone->holder, 0);
        atomic_store(&host->holds, 0);
        pthread_mutex_unlock(&host->zone->lease);
    }

    atomic_store(&host->left, 1);
    llm_host_notify(host);

    return NULL;
}


static int
llm_host_lease(llm_host_t *host)
{
    int  rc, died;

    rc = pthread_mutex_trylock(&host->zone->lease);

    if (rc == EBUSY) {
        llm_host_log(host, LLM_LOG_INFO,
                     "process %d holds the models, standing by",
                     (int) atomic_load(&host->zone->holder));

        rc = pthread_mutex_lock(&host->zone->lease);
    }

    died = (rc == EOWNERDEAD);

    if (died) {
        rc = pthread_mutex_consistent(&host->zone->lease);
    }

    if (rc != 0) {
        llm_host_log(host, LLM_LOG_ERR,
                     "the lease on the models can't be had (%d: %s)", rc,
                     strerror(rc));
        return LLM_ERROR;
    }

    if (atomic_load(&host->stop) || !llm_host_master_lives(host)) {
        pthread_mutex_unlock(&host->zone->lease);
        return LLM_CANCELLED;
    }

    atomic_store(&host->holds, 1);

    if (died) {
        atomic_fetch_add(&host->zone->deaths, 1);
        llm_host_log(host, LLM_LOG_WARN,
                     "process %d died with the models, taking over",
                     (int) atomic_load(&host->zone->holder));
    }

    atomic_store(&host->zone->held, host->hash);
    atomic_store(&host->zone->holder, (int32_t) getpid());

    return LLM_OK;
}


static void
llm_host_serve(llm_host_t *host)
{
    int                 i, n, master_fd;
    uint64_t            empty, now;
    pthread_t           thread[LLM_INTAKE_THREADS];
    llm_gpu_sampler_t  *gpus;

    llm_zone_takeover(host->zone);

    gpus = llm_host_gpus(host);

    for (i = 0; i < host->n_instance && !atomic_load(&host->stop); i++) {
        llm_instance_open(&host->instance[i]);
    }

    n = llm_host_intake_start(host, thread);

    master_fd = -1;
    empty = 0;

#ifdef SYS_pidfd_open
    if (host->master) {
        master_fd = (int) syscall(SYS_pidfd_open, host->master, 0);
    }
#endif

    while (!atomic_load(&host->stop)) {

        /* before the look, so that a ring during it is not lost */
        llm_zone_answer(host->zone);

        if (atomic_load(&host->zone->wanted) == host->hash) {
            llm_host_take(host);

        } else if (!llm_host_busy(host)) {
            llm_host_log(host, LLM_LOG_NOTICE,
                         "the configuration has changed, leaving the models "
                         "to the next process");
            break;
        }

        llm_host_leftover(host);

        for (i = 0; i < host->n_instance; i++) {
            if (host->instance[i].started) {
                llm_sched_wake(host->instance[i].sched);
            }
        }

        if (master_fd != -1 && !llm_host_master_lives(host)) {
            /* readable from now on: the tick does its work */
            close(master_fd);
            master_fd = -1;
        }

        if (atomic_load(&host->retired) || !llm_host_master_lives(host)) {
            now = llm_host_now();

            if (llm_zone_workers(host->zone)) {
                empty = 0;

            } else if (empty == 0) {
                empty = now;

            } else if (now - empty >= LLM_GRACE) {
                break;
            }
        }

        llm_host_wait(host, master_fd);
    }

    if (master_fd != -1) {
        close(master_fd);
    }

    llm_host_intake_stop(host, thread, n);

    for (i = 0; i < host->n_instance; i++) {
        llm_instance_close(&host->instance[i]);
    }

    llm_host_farewell(host);
    llm_gpu_stop(gpus);
}


/* they are the holder's: a standby does not look */

static llm_gpu_sampler_t *
llm_host_gpus(llm_host_t *host)
{
    char                err[LLM_ERRLEN];
    llm_gpu_sampler_t  *gpus;

    gpus = NULL;

    if (host->gpu
        && llm_gpu_start(&gpus, host->gpu, LLM_GPU_PERIOD, llm_host_gpu_log,
                         host, err, sizeof(err))
           != LLM_OK)
    {
        llm_host_log(host, LLM_LOG_WARN, "no GPU is watched: %s", err);
    }

    return gpus;
}


static void
llm_host_gpu_log(void *data, llm_log_e level, const char *text)
{
    llm_host_log(data, level, "%s", text);
}


/*
 * Each request has its error event now, but where a ring was full it waits in
 * the job.  What nobody reads in time the next holder ends.
 */

static void
llm_host_farewell(llm_host_t *host)
{
    uint64_t  end;

    end = llm_host_now() + LLM_FAREWELL;

    for ( ;; ) {
        llm_host_leftover(host);

        if (host->leftover.first == NULL || llm_host_now() >= end) {
            return;
        }

        usleep(5000);
    }
}


static void
llm_host_wait(llm_host_t *host, int master_fd)
{
    int            rc, timeout;
    ssize_t        n;
    uint64_t       count;
    struct pollfd  fd[2];

    timeout = (llm_host_busy(host) || atomic_load(&host->retired)
               || !llm_host_master_lives(host)) ? LLM_TICK : -1;

    if (host->master && master_fd == -1) {
        timeout = LLM_TICK;
    }

    fd[0].fd = host->zone->door;
    fd[0].events = POLLIN;
    fd[0].revents = 0;
    fd[1].fd = master_fd;
    fd[1].events = POLLIN;
    fd[1].revents = 0;

    rc = poll(fd, 2, timeout);

    if (rc > 0 && fd[0].revents) {
        n = read(host->zone->door, &count, sizeof(count));
        (void) n;
    }

    if (rc == 0) {
        llm_worker_reap(host->zone);
    }
}


typedef struct {
    uint64_t  ticket;
    int       slot;
} llm_arrival_t;


static void
llm_host_take(llm_host_t *host)
{
    int            i, n;
    uint32_t       gen;
    llm_zone_t    *z = host->zone;
    llm_arrival_t  arrival[LLM_ZONE_SLOTS];

    for (i = 0, n = 0; i < LLM_ZONE_SLOTS; i++) {
        if (llm_slot_state(z, i) == LLM_SLOT_SUBMITTED) {
            arrival[n].ticket = z->slot[i].ticket;
            arrival[n++].slot = i;
        }
    }

    if (n > 1) {
        qsort(arrival, (size_t) n, sizeof(llm_arrival_t), llm_host_order);
    }

    for (i = 0; i < n; i++) {
        if (llm_slot_take(z, arrival[i].slot, &gen) == LLM_OK) {
            llm_job_start(host, arrival[i].slot, gen);
        }
    }
}


static int
llm_host_order(const void *one, const void *two)
{
    const llm_arrival_t  *a = one, *b = two;

    return (a->ticket > b->ticket) - (a->ticket < b->ticket);
}


static void
llm_host_leftover(llm_host_t *host)
{
    llm_job_t        *job, *next;
    llm_job_queue_t   q;

    pthread_mutex_lock(&host->mutex);
    job = host->leftover.first;
    llm_job_queue_init(&host->leftover);
    pthread_mutex_unlock(&host->mutex);

    llm_job_queue_init(&q);

    for ( /* void */ ; job; job = next) {
        next = job->next;

        if (!llm_job_finish_leftover(job)) {
            llm_job_queue_push(&q, job);
        }
    }

    pthread_mutex_lock(&host->mutex);

    while ((job = llm_job_queue_pop(&q)) != NULL) {
        llm_job_queue_push(&host->leftover, job);
    }

    pthread_mutex_unlock(&host->mutex);
}


static int
llm_host_busy(llm_host_t *host)
{
    int  i;

    for (i = 0; i < host->n_instance; i++) {
        if (atomic_load(&host->instance[i].jobs)) {
            return 1;
        }
    }

    return 0;
}


static int
llm_host_master_lives(llm_host_t *host)
{
    return host->master == 0 || getppid() == host->master;
}


static int
llm_host_intake_start(llm_host_t *host, pthread_t *thread)
{
    int  n, rc;

    for (n = 0; n < LLM_INTAKE_THREADS; n++) {
        rc = llm_thread_create(&thread[n], llm_intake_main, host);

        if (rc != 0) {
            llm_host_log(host, LLM_LOG_ERR,
                         "pthread_create() failed (%d: %s)", rc,
                         strerror(rc));
            break;
        }
    }

    return n;
}


static void
llm_host_intake_stop(llm_host_t *host, pthread_t *thread, int n)
{
    int         i;
    llm_job_t  *job;

    pthread_mutex_lock(&host->mutex);
    host->intake_stop = 1;
    pthread_cond_broadcast(&host->cond);
    pthread_mutex_unlock(&host->mutex);

    for (i = 0; i < n; i++) {
        pthread_join(thread[i], NULL);
    }

    while ((job = llm_job_queue_pop(&host->intake)) != NULL) {
        llm_job_fail(job, 503, 1, "engine_stopped", "",
                     "the engine was stopped");
    }
}


static void *
llm_intake_main(void *data)
{
    llm_job_t   *job;
    llm_host_t  *host = data;

    for ( ;; ) {
        pthread_mutex_lock(&host->mutex);

        while (!host->intake_stop && host->intake.first == NULL) {
            pthread_cond_wait(&host->cond, &host->mutex);
        }

        job = host->intake_stop ? NULL : llm_job_queue_pop(&host->intake);

        pthread_mutex_unlock(&host->mutex);

        if (job == NULL) {
            return NULL;
        }

        llm_job_intake(job);
    }
}


void
llm_job_queue_init(llm_job_queue_t *q)
{
    q->first = NULL;
    q->last = &q->first;
}


void
llm_job_queue_push(llm_job_queue_t *q, llm_job_t *job)
{
    /* an empty queue may have been copied: last points into its origin */
    if (q->first == NULL) {
        q->last = &q->first;
    }

    job->next = NULL;
    *q->last = job;
    q->last = &job->next;
}


llm_job_t *
llm_job_queue_pop(llm_job_queue_t *q)
{
    llm_job_t  *job = q->first;

    if (job) {
        q->first = job->next;
    }

    return job;
}


int
llm_host_fd(llm_host_t *host)
{
    return host->fd;
}


int
llm_host_left(llm_host_t *host)
{
    return atomic_load(&host->left);
}


int
llm_host_holds(llm_host_t *host)
{
    return atomic_load(&host->holds);
}


int
llm_host_retire(llm_host_t *host)
{
    if (!atomic_load(&host->holds) || atomic_load(&host->left)) {
        return 0;
    }

    atomic_store(&host->retired, 1);
    llm_zone_ring(host->zone);

    return 1;
}


void
llm_host_stop(llm_host_t *host)
{
    if (host == NULL) {
        return;
    }

    atomic_store(&host->stop, 1);

    /*
     * A standby's thread sleeps in the lease and can't be woken.  The process
     * is about to exit, which ends it; if the lease comes to it meanwhile it
     * sees the stop and passes the lease on.
     */

    if (!atomic_load(&host->holds) && !atomic_load(&host->left)) {
        pthread_detach(host->thread);
        return;
    }

    llm_zone_ring(host->zone);
    pthread_join(host->thread, NULL);
    llm_host_free(host);
}


static void
llm_host_free(llm_host_t *host)
{
    llm_message_t  *m;

    while (host->messages) {
        m = host->messages;
        host->messages = m->next;
        free(m);
    }

    if (host->fd != -1) {
        close(host->fd);
    }

    pthread_cond_destroy(&host->cond);
    pthread_mutex_destroy(&host->mutex);
    free(host->instance);
    free(host);
}


void
llm_host_log(llm_host_t *host, llm_log_e level, const char *fmt, ...)
{
    va_list         args;
    llm_message_t  *m;

    m = malloc(sizeof(llm_message_t));
    if (m == NULL) {
        return;
    }

    m->next = NULL;
    m->level = level;

    va_start(args, fmt);
    vsnprintf(m->text, sizeof(m->text), fmt, args);
    va_end(args);

    pthread_mutex_lock(&host->mutex);
    *host->messages_last = m;
    host->messages_last = &m->next;
    pthread_mutex_unlock(&host->mutex);

    llm_host_notify(host);
}


int
llm_host_message(llm_host_t *host, llm_log_e *level, char *buf, size_t len)
{
    llm_message_t  *m;

    pthread_mutex_lock(&host->mutex);

    m = host->messages;

    if (m) {
        host->messages = m->next;

        if (host->messages == NULL) {
            host->messages_last = &host->messages;
        }
    }

    pthread_mutex_unlock(&host->mutex);

    if (m == NULL) {
        return 0;
    }

    *level = m->level;
    snprintf(buf, len, "%s", m->text);
    free(m);

    return 1;
}


static void
llm_host_notify(llm_host_t *host)
{
    ssize_t   n;
    uint64_t  one = 1;

    n = write(host->fd, &one, sizeof(one));
    (void) n;
}


/* nginx's signal handlers belong to its main thread */

static int
llm_thread_create(pthread_t *thread, void *(*f)(void *), void *data)
{
    int       rc;
    sigset_t  all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(thread, NULL, f, data);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    return rc;
}


static uint64_t
llm_host_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}
