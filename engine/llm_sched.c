
/*
 * Copyright (C) nginx-llm contributors
 *
 * The scheduler: see llm_sched.h.  submit(), wake() and stats() take the
 * mutex; all else is the scheduler's thread.
 *
 * running[] and the line of the waiting are in the order of arrival.  A step
 * walks running[] from the oldest on and takes blocks as it needs them; when
 * none are left, the youngest gives its own back.  The walk has not come to
 * it yet, so a sequence that is in the batch never loses a block.  The oldest
 * can take the blocks of all others, and llm_seq_t.n_limit keeps each within
 * the whole cache: somebody always gets on.
 *
 * A sequence whose client is slow (poll() says LLM_AGAIN) keeps its place and
 * its blocks for LLM_SCHED_STALL_US; from then on anybody who could run may
 * send it back to the line.
 *
 * Fair queueing would choose in llm_sched_admit(), which takes the oldest; a
 * prefix cache would put blocks and n_past into a sequence there.
 */


#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llm_seq.h"
#include "llm_kvcache.h"


#define LLM_SCHED_STALL_US  250000


struct llm_sched_s {
    llm_sched_conf_t    conf;
    llm_ctx_t          *ctx;
    llm_kvcache_t      *kv;
    uint64_t            now;            /* when this step began */
    uint64_t            serial;
    int                 limit;          /* of running, max_batch at most */

    llm_seq_t         **running;        /* [n_running] of max_batch; NULL: a
                                           gap until the next compaction */
    int                 n_running;
    llm_seq_t          *waiting;        /* the line */
    int                 n_waiting;
    int                 ended;          /* in this step */

    /* the batch, made at create for the largest step */
    llk_batch_t         batch;
    int32_t            *id;
    int32_t            *pos;
    int32_t            *seq;
    int32_t            *out;
    int32_t            *blocks;         /* [max_batch, stride] a row for each
                                           running sequence, as long as it
                                           runs */
    int32_t            *row;            /* [n_row] free rows */
    int                 n_row;

    llm_sched_stats_t   count;          /* this thread's own */
    uint64_t            deadline;       /* wait() until then; 0: no end */

    pthread_mutex_t     mutex;          /* for what follows */
    pthread_cond_t      cond;
    llm_seq_t          *inbox;
    llm_seq_t         **inbox_last;
    int                 woken;
    llm_sched_stats_t   stats;
};


static int llm_sched_arrays(llm_sched_t *s);
static int llm_sched_longest(const llm_sched_t *s);
static void llm_sched_intake(llm_sched_t *s);
static void llm_sched_poll(llm_sched_t *s);
static int llm_sched_poll_one(llm_sched_t *s, llm_seq_t *seq);
static void llm_sched_fill(llm_sched_t *s);
static int llm_sched_add(llm_sched_t *s, int index, int budget);
static int llm_sched_take(llm_sched_t *s, int index, int n);
static int llm_sched_victim(const llm_sched_t *s, int index);
static int llm_sched_stalled(const llm_sched_t *s, const llm_seq_t *seq);
static void llm_sched_preempt(llm_sched_t *s, int index);
static void llm_sched_admit(llm_sched_t *s, int budget);
static int llm_sched_fits(llm_sched_t *s, const llm_seq_t *seq);
static int llm_sched_run(llm_sched_t *s, llm_seq_t *seq);
static void llm_sched_forward(llm_sched_t *s);
static void llm_sched_advance(llm_sched_t *s, int index, float *logits);
static void llm_sched_end(llm_sched_t *s, llm_seq_t *seq, llm_finish_e finish,
    const char *err);
static void llm_sched_release(llm_sched_t *s, llm_seq_t *seq);
static void llm_sched_compact(llm_sched_t *s);
static void llm_sched_count(llm_sched_t *s);
static void llm_sched_publish(llm_sched_t *s);
static int llm_blocks(int n_token);
static int llm_seq_decodes(const llm_seq_t *seq);


int
llm_sched_create(llm_sched_t **sp, const llm_sched_conf_t *conf,
    llm_ctx_t *ctx, char *err, size_t errlen)
{
    llm_sched_t         *s;
    pthread_condattr_t   attr;

    *sp = NULL;

    if (conf->max_batch < 1 || conf->max_tokens < conf->max_batch
        || conf->chunk < 1 || conf->context < 2 || conf->n_block < 1
        || conf->n_block > INT32_MAX / LLK_KV_BLOCK - 1)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "scheduler: max_batch %d, max_tokens %d, chunk %d, "
                       "context %d, %d blocks: out of range",
                       conf->max_batch, conf->max_tokens, conf->chunk,
                       conf->context, conf->n_block);
    }

    s = calloc(1, sizeof(llm_sched_t));
    if (s == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "scheduler: out of memory");
    }

    s->conf = *conf;
    s->ctx = ctx;
    s->limit = conf->max_batch;
    s->inbox_last = &s->inbox;

    /* what fails here is memory, and with these types nothing does */

    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->cond, &attr);
    pthread_condattr_destroy(&attr);

    if (llm_sched_arrays(s) != LLM_OK) {
        llm_sched_destroy(s);
        return llm_err(err, errlen, LLM_NOMEM,
                       "scheduler: out of memory for %d sequences of %d "
                       "tokens", conf->max_batch, conf->context);
    }

    llm_sched_publish(s);

    *sp = s;

    return LLM_OK;
}


static int
llm_sched_arrays(llm_sched_t *s)
{
    int     i, stride;
    size_t  batch, n;

    n = (size_t) s->conf.max_tokens;
    batch = (size_t) s->conf.max_batch;

    /* no position reaches the context, nor the tokens of all blocks */

    stride = llm_blocks(s->conf.context);

    if (stride > s->conf.n_block) {
        stride = s->conf.n_block;
    }

    if (batch > SIZE_MAX / sizeof(int32_t) / (size_t) stride) {
        return LLM_NOMEM;
    }

    s->running = calloc(batch, sizeof(llm_seq_t *));
    s->id = calloc(n, sizeof(int32_t));
    s->pos = calloc(n, sizeof(int32_t));
    s->seq = calloc(n, sizeof(int32_t));
    s->out = calloc(batch, sizeof(int32_t));
    s->row = calloc(batch, sizeof(int32_t));
    s->blocks = calloc(batch * (size_t) stride, sizeof(int32_t));

    if (s->running == NULL || s->id == NULL || s->pos == NULL
        || s->seq == NULL || s->out == NULL || s->row == NULL
        || s->blocks == NULL)
    {
        return LLM_NOMEM;
    }

    for (i = 0; i < s->conf.max_batch; i++) {
        s->row[i] = s->conf.max_batch - 1 - i;
    }

    s->n_row = s->conf.max_batch;

    s->batch.n_seq = s->conf.max_batch;
    s->batch.stride = stride;
    s->batch.id = s->id;
    s->batch.pos = s->pos;
    s->batch.seq = s->seq;
    s->batch.out = s->out;
    s->batch.blocks = s->blocks;

    return llm_kvcache_create(&s->kv, s->conf.n_block);
}


void
llm_sched_destroy(llm_sched_t *s)
{
    int         i;
    llm_seq_t  *seq;

    if (s == NULL) {
        return;
    }

    for (i = 0; i < s->n_running; i++) {
        llm_sched_end(s, s->running[i], LLM_FINISH_CANCELLED, NULL);
    }

    while ((seq = s->waiting) != NULL) {
        s->waiting = seq->next;
        llm_sched_end(s, seq, LLM_FINISH_CANCELLED, NULL);
    }

    while ((seq = s->inbox) != NULL) {
        s->inbox = seq->next;
        llm_sched_end(s, seq, LLM_FINISH_CANCELLED, NULL);
    }

    llm_kvcache_destroy(s->kv);
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->mutex);
    free(s->running);
    free(s->id);
    free(s->pos);
    free(s->seq);
    free(s->out);
    free(s->row);
    free(s->blocks);
    free(s);
}


void
llm_sched_limit(llm_sched_t *s, int n)
{
    s->limit = n < 1 ? 1 : n > s->conf.max_batch ? s->conf.max_batch : n;
}


int
llm_sched_room(const llm_sched_t *s, size_t n_prompt)
{
    int  n;

    n = llm_sched_longest(s);

    return n_prompt < (size_t) n ? n - (int) n_prompt : 1;
}


/* tokens of the longest sequence.  The last one needs no place in the cache:
 * none comes after it */

static int
llm_sched_longest(const llm_sched_t *s)
{
    int  n;

    n = s->conf.n_block * LLK_KV_BLOCK + 1;

    return n < s->conf.context ? n : s->conf.context;
}


void
llm_sched_submit(llm_sched_t *s, llm_seq_t *seq)
{
    seq->submitted_us = llm_seq_now();
    seq->next = NULL;

    pthread_mutex_lock(&s->mutex);

    *s->inbox_last = seq;
    s->inbox_last = &seq->next;
    s->woken = 1;

    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
}


void
llm_sched_wake(llm_sched_t *s)
{
    pthread_mutex_lock(&s->mutex);

    s->woken = 1;

    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
}


void
llm_sched_wait(llm_sched_t *s)
{
    int              rc;
    struct timespec  ts;

    ts.tv_sec = (time_t) (s->deadline / 1000000);
    ts.tv_nsec = (long) (s->deadline % 1000000) * 1000;

    pthread_mutex_lock(&s->mutex);

    for (rc = 0; !s->woken && rc != ETIMEDOUT; /* void */ ) {
        rc = s->deadline ? pthread_cond_timedwait(&s->cond, &s->mutex, &ts)
                         : pthread_cond_wait(&s->cond, &s->mutex);
    }

    pthread_mutex_unlock(&s->mutex);
}


void
llm_sched_stats(llm_sched_t *s, llm_sched_stats_t *stats)
{
    pthread_mutex_lock(&s->mutex);
    *stats = s->stats;
    pthread_mutex_unlock(&s->mutex);
}


int
llm_sched_step(llm_sched_t *s)
{
    s->now = llm_seq_now();
    s->deadline = 0;
    s->ended = 0;

    llm_sched_intake(s);
    llm_sched_poll(s);
    llm_sched_fill(s);

    if (s->batch.n) {
        llm_sched_count(s);
        llm_sched_forward(s);
        llm_sched_compact(s);
        s->count.step_us += llm_seq_now() - s->now;
    }

    llm_sched_publish(s);

    return s->batch.n || s->ended ? LLM_OK : LLM_AGAIN;
}


/* what was submitted joins the line */

static void
llm_sched_intake(llm_sched_t *s)
{
    int          room;
    char         err[LLM_ERRLEN];
    llm_seq_t   *seq, *next, **last;

    pthread_mutex_lock(&s->mutex);

    seq = s->inbox;
    s->inbox = NULL;
    s->inbox_last = &s->inbox;
    s->woken = 0;

    pthread_mutex_unlock(&s->mutex);

    if (seq == NULL) {
        return;
    }

    for (last = &s->waiting; *last; last = &(*last)->next) { /* void */ }

    room = s->conf.n_block * LLK_KV_BLOCK;

    for ( /* void */ ; seq; seq = next) {
        next = seq->next;
        seq->next = NULL;

        if (seq->n_prompt >= s->conf.context || seq->n_prompt > room) {
            llm_err(err, sizeof(err), LLM_INVALID,
                    "the prompt has %d tokens: the context is %d and the KV "
                    "cache holds %d", seq->n_prompt, s->conf.context, room);
            llm_sched_end(s, seq, LLM_FINISH_ERROR, err);
            continue;
        }

        if (seq->n_limit > llm_sched_longest(s)) {
            seq->n_limit = llm_sched_longest(s);
        }

        seq->serial = s->serial++;
        s->n_waiting++;

        *last = seq;
        last = &seq->next;
    }
}


static void
llm_sched_poll(llm_sched_t *s)
{
    int         i;
    llm_seq_t  *seq, **p;

    for (i = 0; i < s->n_running; i++) {
        seq = s->running[i];

        if (llm_sched_poll_one(s, seq) == LLM_CANCELLED) {
            s->running[i] = NULL;
            llm_sched_end(s, seq, LLM_FINISH_CANCELLED, NULL);
        }
    }

    llm_sched_compact(s);

    for (p = &s->waiting; (seq = *p) != NULL; /* void */ ) {

        if (llm_sched_poll_one(s, seq) == LLM_CANCELLED) {
            *p = seq->next;
            s->n_waiting--;
            llm_sched_end(s, seq, LLM_FINISH_CANCELLED, NULL);
            continue;
        }

        p = &seq->next;
    }
}


static int
llm_sched_poll_one(llm_sched_t *s, llm_seq_t *seq)
{
    int  rc;

    rc = seq->handler->poll(seq->data);

    if (rc == LLM_OK) {
        seq->paused = 0;

    } else if (!seq->paused) {
        seq->paused = 1;
        seq->paused_us = s->now;
    }

    return rc;
}


/* choose the tokens of this step */

static void
llm_sched_fill(llm_sched_t *s)
{
    int  i, decoding, budget;

    s->batch.n = 0;
    s->batch.n_out = 0;

    for (i = 0, decoding = 0; i < s->n_running; i++) {
        decoding += !s->running[i]->paused && llm_seq_decodes(s->running[i]);
    }

    /* prompt tokens: few while others would wait for them */

    budget = s->conf.max_tokens - decoding;

    if (decoding && s->conf.chunk < budget) {
        budget = s->conf.chunk;
    }

    for (i = 0; i < s->n_running; i++) {
        budget -= llm_sched_add(s, i, budget);
    }

    llm_sched_compact(s);
    llm_sched_admit(s, budget);
}


/*
 * Add the tokens of running[index] that are not in the cache yet: one, or as
 * many of a prompt as the budget allows.  Returns what that took of the
 * budget.
 */

static int
llm_sched_add(llm_sched_t *s, int index, int budget)
{
    int         i, n, decodes;
    llm_seq_t  *seq = s->running[index];

    if (seq == NULL) {
        return 0;                       /* has just been preempted */
    }

    seq->n_step = 0;
    seq->out = -1;

    if (seq->paused) {
        return 0;
    }

    decodes = llm_seq_decodes(seq);
    n = seq->n_token - seq->n_past;

    if (!decodes && n > budget) {
        n = budget;
    }

    if (n <= 0) {
        return 0;
    }

    n = llm_sched_take(s, index, n);

    if (n == 0) {
        return 0;
    }

    if (!seq->started) {
        seq->started = 1;
        seq->usage.queued_us = s->now > seq->submitted_us
                               ? s->now - seq->submitted_us : 0;
        s->count.prefix_asked += (uint64_t) seq->n_prompt;
        s->count.prefix_hit += seq->usage.cached_tokens;
    }

    for (i = 0; i < n; i++) {
        s->id[s->batch.n] = seq->token[seq->n_past + i];
        s->pos[s->batch.n] = seq->n_past + i;
        s->seq[s->batch.n++] = seq->row;
    }

    if (seq->n_past + n == seq->n_token) {
        seq->out = s->batch.n_out;
        s->out[s->batch.n_out++] = s->batch.n - 1;
    }

    seq->n_step = n;

    return decodes ? 0 : n;
}


/*
 * Take blocks for n more tokens of running[index].  Returns n, or less if
 * there is room for less only; 0: it had to give way itself.
 */

static int
llm_sched_take(llm_sched_t *s, int index, int n)
{
    int         room, victim;
    int32_t     block;
    llm_seq_t  *seq = s->running[index];

    for ( ;; ) {
        room = seq->n_block * LLK_KV_BLOCK - seq->n_past;

        if (room >= n) {
            return n;
        }

        block = llm_kvcache_get(s->kv);

        if (block != -1) {
            s->blocks[(size_t) seq->row * (size_t) s->batch.stride
                      + (size_t) seq->n_block++] = block;
            continue;
        }

        if (room > 0) {
            return room;
        }

        victim = llm_sched_victim(s, index);
        llm_sched_preempt(s, victim);

        if (victim == index) {
            return 0;
        }
    }
}


/* who has to give way to running[index]: who is stalled, or the youngest, but
 * nobody who is in the batch */

static int
llm_sched_victim(const llm_sched_t *s, int index)
{
    int  i;

    for (i = s->n_running - 1; i >= 0; i--) {
        if (s->running[i] && llm_sched_stalled(s, s->running[i])) {
            return i;
        }
    }

    for (i = s->n_running - 1; i > index; i--) {
        if (s->running[i]) {
            return i;
        }
    }

    return index;
}


static int
llm_sched_stalled(const llm_sched_t *s, const llm_seq_t *seq)
{
    return seq->paused && s->now - seq->paused_us >= LLM_SCHED_STALL_US;
}


/* running[index] gives its blocks back and waits again, by its arrival */

static void
llm_sched_preempt(llm_sched_t *s, int index)
{
    llm_seq_t  *seq, **p;

    seq = s->running[index];
    s->running[index] = NULL;

    llm_sched_release(s, seq);

    for (p = &s->waiting; *p && (*p)->serial < seq->serial; p = &(*p)->next) {
        /* void */
    }

    seq->next = *p;
    *p = seq;

    s->n_waiting++;
    s->count.preemptions++;
}


/* from the line, in the order of arrival, past those whose client is slow */

static void
llm_sched_admit(llm_sched_t *s, int budget)
{
    int         i;
    llm_seq_t  *seq, **p;

    for (p = &s->waiting; (seq = *p) != NULL && budget > 0; /* void */ ) {

        if (seq->paused) {
            p = &seq->next;
            continue;
        }

        if (!llm_sched_fits(s, seq)) {

            /* all others wait behind it, lest it wait for ever */

            for (i = s->n_running - 1; i >= 0; i--) {
                if (llm_sched_stalled(s, s->running[i])) {
                    break;
                }
            }

            if (i < 0) {
                break;
            }

            llm_sched_preempt(s, i);
            llm_sched_compact(s);

            p = &s->waiting;
            continue;
        }

        *p = seq->next;
        s->n_waiting--;

        i = llm_sched_run(s, seq);
        budget -= llm_sched_add(s, i, budget);
    }

    if (seq == NULL) {
        return;
    }

    /* it may run when somebody has been slow for too long */

    for (i = 0; i < s->n_running; i++) {
        if (s->running[i]->paused
            && (s->deadline == 0
                || s->running[i]->paused_us + LLM_SCHED_STALL_US
                   < s->deadline))
        {
            s->deadline = s->running[i]->paused_us + LLM_SCHED_STALL_US;
        }
    }
}


/*
 * A place, and blocks for all that the sequence has so far, beside those that
 * the running ones will need for what they have, and one more for each of
 * them: half of it would only be taken away again.
 */

static int
llm_sched_fits(llm_sched_t *s, const llm_seq_t *seq)
{
    int64_t  i, need;

    if (s->n_running >= s->limit) {
        return 0;
    }

    need = llm_blocks(seq->n_token) + s->n_running;

    for (i = 0; i < s->n_running; i++) {
        need += llm_blocks(s->running[i]->n_token) - s->running[i]->n_block;
    }

    return need <= llm_kvcache_free_blocks(s->kv);
}


/* a place in running[], by arrival; returns its index */

static int
llm_sched_run(llm_sched_t *s, llm_seq_t *seq)
{
    int  i;

    for (i = s->n_running++;
         i > 0 && s->running[i - 1]->serial > seq->serial;
         i--)
    {
        s->running[i] = s->running[i - 1];
    }

    s->running[i] = seq;

    seq->next = NULL;
    seq->n_past = 0;
    seq->row = s->row[--s->n_row];

    return i;
}


static void
llm_sched_forward(llm_sched_t *s)
{
    int         i, rc;
    char        err[LLM_ERRLEN];
    float      *logits;
    llm_seq_t  *seq;

    err[0] = '\0';
    rc = llm_forward(s->ctx, &s->batch, &logits, err, sizeof(err));

    for (i = 0; i < s->n_running; i++) {
        seq = s->running[i];

        if (seq->n_step == 0) {
            continue;
        }

        if (rc == LLM_OK) {
            llm_sched_advance(s, i, logits);
            continue;
        }

        s->running[i] = NULL;
        llm_sched_end(s, seq, LLM_FINISH_ERROR,
                      err[0] ? err : "the forward pass failed");
    }
}


/* the step's tokens of running[index] are in the cache */

static void
llm_sched_advance(llm_sched_t *s, int index, float *logits)
{
    int32_t        id;
    llm_seq_t     *seq = s->running[index];
    llm_finish_e   finish;

    if (llm_seq_decodes(seq)) {
        s->count.decode_tokens++;

    } else {
        s->count.prefill_tokens += (uint64_t) seq->n_step;
    }

    seq->n_past += seq->n_step;
    seq->n_step = 0;

    if (seq->out == -1) {
        return;
    }

    id = llm_sampler_next(seq->sampler, logits + (size_t) seq->out
                                        * (size_t) seq->model->n_vocab);

    finish = llm_seq_push(seq, id);

    if (finish != LLM_FINISH_NONE) {
        s->running[index] = NULL;
        llm_sched_end(s, seq, finish, NULL);
    }
}


static void
llm_sched_end(llm_sched_t *s, llm_seq_t *seq, llm_finish_e finish,
    const char *err)
{
    s->ended++;

    llm_sched_release(s, seq);
    llm_seq_finish(seq, finish, err);
    llm_seq_destroy(seq);
}


/* blocks and row go back */

static void
llm_sched_release(llm_sched_t *s, llm_seq_t *seq)
{
    if (seq->row == -1) {
        return;
    }

    while (seq->n_block) {
        llm_kvcache_put(s->kv, s->blocks[(size_t) seq->row
                                         * (size_t) s->batch.stride
                                         + (size_t) --seq->n_block]);
    }

    s->row[s->n_row++] = seq->row;

    seq->row = -1;
    seq->n_step = 0;
}


/* close the gaps in running[] */

static void
llm_sched_compact(llm_sched_t *s)
{
    int  i, n;

    for (i = 0, n = 0; i < s->n_running; i++) {
        if (s->running[i]) {
            s->running[n++] = s->running[i];
        }
    }

    s->n_running = n;
}


/* the step is filled: how many sequences share it */

static void
llm_sched_count(llm_sched_t *s)
{
    int  i, k, n;

    for (i = 0, n = 0; i < s->n_running; i++) {
        n += s->running[i]->n_step != 0;
    }

    for (k = 0; k < LLM_SCHED_BATCHES - 1 && n > 1 << k; k++) {
        /* void */
    }

    s->count.steps++;
    s->count.batched += (uint64_t) n;
    s->count.batch[k]++;
}


static void
llm_sched_publish(llm_sched_t *s)
{
    s->count.running = s->n_running;
    s->count.waiting = s->n_waiting;
    s->count.blocks = llm_kvcache_blocks(s->kv);
    s->count.blocks_used = s->count.blocks - llm_kvcache_free_blocks(s->kv);

    pthread_mutex_lock(&s->mutex);
    s->stats = s->count;
    pthread_mutex_unlock(&s->mutex);
}


static int
llm_blocks(int n_token)
{
    return n_token / LLK_KV_BLOCK + (n_token % LLK_KV_BLOCK != 0);
}


/* is all but the last generated token in the cache? */

static int
llm_seq_decodes(const llm_seq_t *seq)
{
    return seq->n_past > 0 && seq->n_past == seq->n_token - 1
           && seq->n_token > seq->n_prompt;
}
