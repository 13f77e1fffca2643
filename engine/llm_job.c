
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request inside the engine: body to sequences (intake thread), sequences
 * to events (scheduler thread).  A full ring never blocks the scheduler: what
 * does not fit goes to the job's backlog, and the job's sequences sit out
 * until the client has caught up.
 */


#include <stdlib.h>
#include <string.h>

#include "llm_host.h"
#include "llm_seq.h"


static void llm_job_accept(llm_job_t *job, const llm_request_t *rq);
static void llm_job_effective(const llm_job_t *job, const llm_request_t *rq,
    llm_effective_t *ef);
static void llm_job_submit(llm_job_t *job, const llm_request_t *rq);
static void llm_job_push(llm_job_t *job, llm_event_t *ev);
static void llm_job_push_text(llm_job_t *job, llm_event_e type, int choice,
    uint32_t n_token, uint32_t gap_us, const char *text, size_t len);
static int llm_job_flush(llm_job_t *job);
static void llm_job_close(llm_job_t *job);
static void llm_job_free(llm_job_t *job);
static int llm_choice_poll(void *data);
static void llm_choice_text(void *data, const char *text, size_t len,
    uint32_t n_token);
static void llm_choice_done(void *data, llm_finish_e finish,
    const llm_usage_t *usage, const char *err);
static void llm_slot_refuse(llm_zone_t *z, int slot, uint32_t gen);


static const llm_seq_handler_t  llm_choice_handler = {
    llm_choice_poll,
    llm_choice_text,
    llm_choice_more,
    llm_choice_done
};


void
llm_job_start(llm_host_t *host, int slot, uint32_t gen)
{
    int              i;
    uint64_t         hash;
    llm_job_t       *job;
    llm_instance_t  *in;

    job = calloc(1, sizeof(llm_job_t));
    if (job == NULL) {
        llm_slot_refuse(host->zone, slot, gen);
        return;
    }

    hash = host->zone->slot[slot].engine;
    in = NULL;

    for (i = 0; i < host->n_instance; i++) {
        if (host->instance[i].hash == hash) {
            in = &host->instance[i];
        }
    }

    job->instance = in ? in : &host->instance[0];
    job->slot = slot;
    job->gen = gen;
    job->account = host->zone->slot[slot].account;

    atomic_fetch_add(&job->instance->jobs, 1);

    if (in == NULL) {
        llm_job_fail(job, 503, 1, "engine_unavailable", "",
                     "this engine is not part of the configuration any more");
        return;
    }

    if (in->failure[0]) {
        llm_job_fail(job, 503, 10, "engine_unavailable", "",
                     "the engine could not be started; its error log says "
                     "why");
        return;
    }

    if (atomic_load(&in->jobs) > llm_instance_room(in)) {
        llm_job_fail(job, 503, 1, "queue_full", "",
                     "the engine's queue is full, try again later");
        return;
    }

    pthread_mutex_lock(&host->mutex);
    llm_job_queue_push(&host->intake, job);
    pthread_cond_signal(&host->cond);
    pthread_mutex_unlock(&host->mutex);
}


void
llm_job_intake(llm_job_t *job)
{
    int                  rc;
    llm_buf_t            body;
    llm_zone_t          *z = job->instance->host->zone;
    llm_grant_t          g;
    llm_reqerr_t         e;
    llm_request_t       *rq;
    llm_request_env_t    env;
    llm_param_values_t   params;

    memset(&body, 0, sizeof(llm_buf_t));
    memset(&e, 0, sizeof(llm_reqerr_t));

    if (!llm_slot_wanted(z, job->slot, job->gen)) {
        llm_job_close(job);
        return;
    }

    rc = llm_slot_body(z, job->slot, &body);

    if (rc != LLM_OK) {
        llm_buf_done(&body);
        llm_job_fail(job, rc == LLM_NOMEM ? 503 : 500, 0, "internal_error",
                     "", "the request's body could not be read");
        return;
    }

    /* one look at the parameters, for all of this request */

    llm_zone_params_get(z, job->instance->hash, &params);
    env = job->instance->env;
    env.params = &params;

    rq = NULL;
    rc = llm_request_parse(&rq, (llm_api_e) z->slot[job->slot].api,
                           body.data ? body.data : "", body.len,
                           &env, &e);
    llm_buf_done(&body);

    if (rc != LLM_OK) {
        llm_job_fail(job, e.status ? e.status : 500, 0, e.code, e.param,
                     e.message);
        return;
    }

    job->n_choice = rq->n * rq->n_prompt;

    if (job->n_choice < 1 || job->n_choice > LLM_CHOICES_MAX) {
        llm_request_destroy(rq);
        llm_job_fail(job, 400, 0, "invalid_value", "n", "too many choices");
        return;
    }

    rc = llm_job_grant(job, rq, &g);

    if (rc != LLM_OK) {
        llm_request_destroy(rq);
        llm_job_fail(job, g.status ? g.status : 429, g.retry,
                     g.code[0] ? g.code : "quota_exceeded", "", g.message);
        return;
    }

    llm_job_submit(job, rq);
    llm_request_destroy(rq);
}


/*
 * All sequences are made before the first is submitted: from then on the
 * scheduler's thread has the job.
 */

static void
llm_job_submit(llm_job_t *job, const llm_request_t *rq)
{
    int              i, n, rc;
    char             err[LLM_ERRLEN];
    llm_seq_t       *seq[LLM_CHOICES_MAX];
    llm_sched_t     *sched = job->instance->sched;
    llm_instance_t  *in = job->instance;
    llm_seq_conf_t   conf;

    memset(&conf, 0, sizeof(llm_seq_conf_t));

    conf.max_tokens = rq->max_tokens;
    conf.ignore_eos = rq->ignore_eos;
    conf.stop = (const char *const *) rq->stop;
    conf.stop_len = rq->stop_len;
    conf.n_stop = rq->n_stop;
    conf.sampling = rq->sampling;
    conf.handler = &llm_choice_handler;

    n = job->n_choice;

    for (i = 0; i < n; i++) {
        job->choice[i].job = job;
        job->choice[i].index = i;

        conf.prompt = rq->prompt[i / rq->n].id;
        conf.n_prompt = rq->prompt[i / rq->n].len;
        conf.sampling.seed = rq->sampling.seed + (uint64_t) (i % rq->n);
        conf.grant = job->choice[i].granted;
        conf.data = &job->choice[i];

        rc = llm_seq_create(&seq[i], &conf, in->model, in->tok,
                            in->env.context, err, sizeof(err));
        if (rc != LLM_OK) {
            while (i--) {
                llm_seq_destroy(seq[i]);
            }

            llm_job_fail(job, rc == LLM_INVALID ? 400 : 503, 0,
                         rc == LLM_INVALID ? "invalid_value"
                                           : "out_of_memory", "", err);
            return;
        }
    }

    job->n_open = n;
    llm_job_accept(job, rq);

    for (i = 0; i < n; i++) {
        llm_sched_submit(sched, seq[i]);
    }
}


static void
llm_job_accept(llm_job_t *job, const llm_request_t *rq)
{
    int          i, k;
    llm_event_t  ev;

    memset(&ev, 0, sizeof(llm_event_t));

    ev.type = LLM_EVENT_ACCEPT;
    ev.u.accept.stream = (uint8_t) rq->stream;
    ev.u.accept.include_usage = (uint8_t) rq->include_usage;
    ev.u.accept.n_choice = (uint8_t) job->n_choice;
    ev.u.accept.seed = rq->sampling.seed;
    ev.u.accept.build = job->instance->build;
    llm_job_effective(job, rq, &ev.u.accept.effective);

    for (i = 0; i < rq->n_prompt; i++) {
        ev.u.accept.prompt_tokens += (uint32_t) rq->prompt[i].len;
    }

    llm_job_push(job, &ev);

    for (i = 0; rq->echo && i < rq->n_prompt; i++) {
        for (k = 0; rq->echo_text[i] && k < rq->n; k++) {
            llm_job_push_text(job, LLM_EVENT_TEXT_PIECE, i * rq->n + k, 0,
                              0, rq->echo_text[i], rq->echo_len[i]);
        }
    }

    llm_slot_notify(job->instance->host->zone, job->slot, job->gen);
}


static void
llm_job_effective(const llm_job_t *job, const llm_request_t *rq,
    llm_effective_t *ef)
{
    int       i;
    uint32_t  n;

    ef->temperature = rq->sampling.temperature;
    ef->top_p = rq->sampling.top_p;
    ef->min_p = rq->sampling.min_p;
    ef->repetition_penalty = rq->sampling.repetition_penalty;
    ef->top_k = rq->sampling.top_k;

    /* of the shortest prompt */

    for (i = 0; i < rq->n_prompt; i++) {
        n = (uint32_t) llm_sched_room(job->instance->sched,
                                      rq->prompt[i].len);

        if (rq->max_tokens && rq->max_tokens < n) {
            n = rq->max_tokens;
        }

        if (n > ef->max_tokens) {
            ef->max_tokens = n;
        }
    }
}


void
llm_job_fail(llm_job_t *job, int status, uint32_t retry_after,
    const char *code, const char *param, const char *message)
{
    llm_event_t  ev;

    job->failed = 1;

    llm_job_push_text(job, LLM_EVENT_CODE, 0, 0, 0, code, strlen(code));
    llm_job_push_text(job, LLM_EVENT_PARAM, 0, 0, 0, param, strlen(param));
    llm_job_push_text(job, LLM_EVENT_MESSAGE, 0, 0, 0, message,
                      strlen(message));

    memset(&ev, 0, sizeof(llm_event_t));
    ev.type = LLM_EVENT_ERROR;
    ev.u.error.status = (uint32_t) status;
    ev.u.error.retry_after = retry_after;
    llm_job_push(job, &ev);

    llm_slot_notify(job->instance->host->zone, job->slot, job->gen);

    if (job->n_open == 0) {
        llm_job_close(job);
    }
}


static void
llm_job_push(llm_job_t *job, llm_event_t *ev)
{
    size_t        size;
    llm_event_t  *p;

    if (job->backlog_len == job->backlog_first
        && llm_slot_push(job->instance->host->zone, job->slot, job->gen, ev)
           == LLM_OK)
    {
        return;
    }

    if (job->backlog_len == job->backlog_size) {
        size = job->backlog_size ? job->backlog_size * 2 : 32;

        p = realloc(job->backlog, size * sizeof(llm_event_t));
        if (p == NULL) {

            /* a hole in the text would be a silent loss: give the request
             * up, and say so when the ring has room again */

            job->backlog_len = job->backlog_first;
            job->failed = 2;
            return;
        }

        job->backlog = p;
        job->backlog_size = size;
    }

    job->backlog[job->backlog_len++] = *ev;
}


static void
llm_job_push_text(llm_job_t *job, llm_event_e type, int choice,
    uint32_t n_token, uint32_t gap_us, const char *text, size_t len)
{
    size_t       n;
    llm_event_t  ev;

    while (len) {
        n = len;

        if (n > LLM_EVENT_TEXT) {
            n = llm_utf8_whole(text, LLM_EVENT_TEXT);
            n = n ? n : LLM_EVENT_TEXT;
        }

        memset(&ev, 0, sizeof(llm_event_t));
        ev.type = (uint8_t) type;
        ev.choice = (uint8_t) choice;
        ev.n_token = n_token;
        ev.gap_us = gap_us;
        ev.len = (uint8_t) n;
        memcpy(ev.u.text, text, n);

        llm_job_push(job, &ev);

        n_token = 0;
        text += n;
        len -= n;
    }
}


/* LLM_OK when nothing is left over */

static int
llm_job_flush(llm_job_t *job)
{
    llm_zone_t  *z = job->instance->host->zone;

    if (job->backlog_first == job->backlog_len) {
        return LLM_OK;
    }

    while (job->backlog_first < job->backlog_len) {
        if (llm_slot_push(z, job->slot, job->gen,
                          &job->backlog[job->backlog_first])
            != LLM_OK)
        {
            llm_slot_notify(z, job->slot, job->gen);
            return LLM_AGAIN;
        }

        job->backlog_first++;
    }

    job->backlog_first = 0;
    job->backlog_len = 0;

    llm_slot_notify(z, job->slot, job->gen);

    return LLM_OK;
}


/* no sequence is left: end the slot now, or when the backlog has gone out */

static void
llm_job_close(llm_job_t *job)
{
    llm_host_t  *host = job->instance->host;

    if (llm_job_finish_leftover(job)) {
        return;
    }

    pthread_mutex_lock(&host->mutex);
    llm_job_queue_push(&host->leftover, job);
    pthread_mutex_unlock(&host->mutex);

    /* the room may have come before the host knew of this job */
    llm_zone_ring(host->zone);
}


int
llm_job_finish_leftover(llm_job_t *job)
{
    llm_zone_t   *z = job->instance->host->zone;
    llm_event_t   ev;

    if (llm_slot_wanted(z, job->slot, job->gen)) {
        if (llm_job_flush(job) != LLM_OK) {
            return 0;
        }

        if (job->failed == 2) {
            memset(&ev, 0, sizeof(llm_event_t));
            ev.type = LLM_EVENT_ERROR;
            ev.u.error.status = 503;

            if (llm_slot_push(z, job->slot, job->gen, &ev) != LLM_OK) {
                return 0;
            }
        }
    }

    llm_slot_notify(z, job->slot, job->gen);
    llm_slot_end(z, job->slot, job->gen);
    llm_job_free(job);

    return 1;
}


static void
llm_job_free(llm_job_t *job)
{
    llm_host_t  *host = job->instance->host;

    if (atomic_fetch_sub(&job->instance->jobs, 1) == 1) {
        /* a host that drains waits for this */
        llm_zone_ring(host->zone);
    }

    free(job->backlog);
    free(job);
}


static int
llm_choice_poll(void *data)
{
    struct llm_choice_s  *c = data;

    int         rc;
    llm_job_t  *job = c->job;

    if (job->failed
        || !llm_slot_wanted(job->instance->host->zone, job->slot, job->gen))
    {
        return LLM_CANCELLED;
    }

    rc = llm_job_flush(job);

    if (rc != LLM_OK) {
        /* what passes until its next text is its client's time, not ours */
        c->told_us = 0;
    }

    return rc;
}


static void
llm_choice_text(void *data, const char *text, size_t len, uint32_t n_token)
{
    struct llm_choice_s  *c = data;

    uint64_t    now, gap;
    llm_job_t  *job = c->job;

    if (job->failed) {
        return;
    }

    now = llm_seq_now();
    gap = c->told_us && now > c->told_us ? now - c->told_us : 0;
    c->told_us = now;

    llm_job_push_text(job, LLM_EVENT_TEXT_PIECE, c->index, n_token,
                      gap < UINT32_MAX ? (uint32_t) gap : UINT32_MAX, text,
                      len);

    llm_slot_notify(job->instance->host->zone, job->slot, job->gen);
}


static void
llm_choice_done(void *data, llm_finish_e finish, const llm_usage_t *usage,
    const char *err)
{
    struct llm_choice_s  *c = data;

    llm_job_t    *job = c->job;
    llm_event_t   ev;

    llm_choice_spare(job, c->index, usage->completion_tokens);

    if (finish == LLM_FINISH_ERROR && !job->failed) {
        llm_job_fail(job, 500, 0, "engine_error", "", err);

    } else if (finish == LLM_FINISH_CANCELLED && !job->failed
               && llm_slot_wanted(job->instance->host->zone, job->slot,
                                  job->gen))
    {
        llm_job_fail(job, 503, 1, "engine_stopped", "",
                     "the engine was stopped");

    } else if (!job->failed) {
        memset(&ev, 0, sizeof(llm_event_t));
        ev.type = LLM_EVENT_FINISH;
        ev.choice = (uint8_t) c->index;
        ev.finish = (uint8_t) finish;
        ev.u.finish.prompt_tokens = usage->prompt_tokens;
        ev.u.finish.cached_tokens = usage->cached_tokens;
        ev.u.finish.completion_tokens = usage->completion_tokens;
        ev.u.finish.queued_us = usage->queued_us;
        ev.u.finish.first_us = usage->first_us;
        ev.u.finish.total_us = usage->total_us;
        llm_job_push(job, &ev);
    }

    if (--job->n_open) {
        return;
    }

    if (!job->failed) {
        memset(&ev, 0, sizeof(llm_event_t));
        ev.type = LLM_EVENT_END;
        llm_job_push(job, &ev);
    }

    llm_job_close(job);
}


/* no memory even for a job */

static void
llm_slot_refuse(llm_zone_t *z, int slot, uint32_t gen)
{
    llm_event_t  ev;

    memset(&ev, 0, sizeof(llm_event_t));
    ev.type = LLM_EVENT_ERROR;
    ev.u.error.status = 503;
    ev.u.error.retry_after = 1;

    llm_slot_push(z, slot, gen, &ev);
    llm_slot_notify(z, slot, gen);
    llm_slot_end(z, slot, gen);
}
