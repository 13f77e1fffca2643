
/*
 * Copyright (C) nginx-llm contributors
 *
 * A replay: an engine without a host, for one request at a time.
 */


#include <stdlib.h>
#include <string.h>

#include "llm_build.h"
#include "llm_host.h"
#include "llm_replay.h"


#define LLM_REPLAY_STEP    512      /* tokens in a step */
#define LLM_REPLAY_CACHE   (2ull << 30)     /* bytes: more sequences than
                                               have room take turns */


struct llm_replay_s {
    llm_model_t      *model;
    llm_tokenizer_t  *tok;
    llm_template_t   *chat;
    char             *bos;
    char             *eos;
    llk_t            *be;
    uint64_t          build;
};


typedef struct {
    struct llm_replay_run_s  *run;
    llm_replay_choice_t      *out;
    uint64_t                  enough;
} llm_replay_seq_t;


typedef struct llm_replay_run_s {
    llm_replay_t             *rp;
    const llm_replay_conf_t  *conf;
    llm_replay_answer_t      *answer;
    llm_request_t            *rq;
    llm_ctx_t                *ctx;
    llm_sched_t              *sched;
    llm_seq_t                *seq[LLM_CHOICES_MAX];     /* not yet submitted */
    llm_replay_seq_t          data[LLM_CHOICES_MAX];
    int                       open;
    int                       context;      /* tokens of the longest */
    int                       rc;
    char                     *err;
    size_t                    errlen;
} llm_replay_run_t;


static int llm_replay_parse(llm_replay_run_t *r);
static int llm_replay_sched(llm_replay_run_t *r);
static int llm_replay_submit(llm_replay_run_t *r);
static int llm_replay_steps(llm_replay_run_t *r);
static int llm_replay_poll(void *data);
static void llm_replay_text(void *data, const char *text, size_t len,
    uint32_t n_token);
static uint32_t llm_replay_more(void *data, uint32_t used);
static void llm_replay_end(void *data, llm_finish_e finish,
    const llm_usage_t *usage, const char *err);
static int llm_replay_piece(llm_replay_choice_t *c, const char *text,
    size_t len);


static const llm_seq_handler_t  llm_replay_handler = {
    llm_replay_poll,
    llm_replay_text,
    llm_replay_more,
    llm_replay_end
};


int
llm_replay_open(llm_replay_t **rpp, const char *dir, llk_device_e device,
    int threads, void (*progress)(void *data, uint64_t done, uint64_t all),
    void *data, char *err, size_t errlen)
{
    int            rc;
    llm_replay_t  *rp;

    *rpp = NULL;

    rp = calloc(1, sizeof(llm_replay_t));
    if (rp == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "out of memory");
    }

    rc = llm_model_files(&rp->model, &rp->tok, &rp->chat, &rp->bos, &rp->eos,
                         dir, err, errlen);

    if (rc == LLM_OK) {
        llm_model_warm(rp->model, progress, data);

        rc = llk_open(&rp->be, device, threads, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_build(&rp->build, dir, rp->model, rp->be, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_replay_close(rp);
        return rc;
    }

    *rpp = rp;

    return LLM_OK;
}


void
llm_replay_close(llm_replay_t *rp)
{
    if (rp == NULL) {
        return;
    }

    llk_close(rp->be);
    llm_template_destroy(rp->chat);
    llm_tokenizer_close(rp->tok);
    llm_model_close(rp->model);
    free(rp->bos);
    free(rp->eos);
    free(rp);
}


uint64_t
llm_replay_build(const llm_replay_t *rp)
{
    return rp->build;
}


int
llm_effective_valid(const llm_effective_t *ef)
{
    return llm_param_valid(LLM_PARAM_TEMPERATURE, ef->temperature)
           && llm_param_valid(LLM_PARAM_TOP_P, ef->top_p)
           && llm_param_valid(LLM_PARAM_MIN_P, ef->min_p)
           && llm_param_valid(LLM_PARAM_REPETITION_PENALTY,
                              ef->repetition_penalty)
           && ef->top_k >= 0
           && llm_param_valid(LLM_PARAM_MAX_TOKENS, ef->max_tokens);
}


int
llm_replay(llm_replay_t *rp, const llm_replay_conf_t *conf,
    llm_replay_answer_t *answer, char *err, size_t errlen)
{
    int               i, rc;
    llm_replay_run_t  r;

    memset(answer, 0, sizeof(llm_replay_answer_t));
    memset(&r, 0, sizeof(llm_replay_run_t));

    r.rp = rp;
    r.conf = conf;
    r.answer = answer;
    r.err = err;
    r.errlen = errlen;

    if (!llm_effective_valid(&conf->effective)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "the record's parameters are out of range");
    }

    rc = llm_replay_parse(&r);

    if (rc == LLM_OK) {
        rc = llm_replay_sched(&r);
    }

    if (rc == LLM_OK) {
        rc = llm_replay_submit(&r);
    }

    if (rc == LLM_OK) {
        rc = llm_replay_steps(&r);
    }

    for (i = 0; i < LLM_CHOICES_MAX; i++) {
        llm_seq_destroy(r.seq[i]);
    }

    llm_sched_destroy(r.sched);
    llm_ctx_destroy(r.ctx);
    llm_request_destroy(r.rq);

    return rc;
}


void
llm_replay_done(llm_replay_answer_t *answer)
{
    int  i;

    for (i = 0; i < LLM_CHOICES_MAX; i++) {
        llm_buf_done(&answer->choice[i].text);
        free(answer->choice[i].piece);
    }

    memset(answer, 0, sizeof(llm_replay_answer_t));
}


/* what the body does not say, and what it said, is as it was then: the
 * operator's limits of today are not asked */

static int
llm_replay_parse(llm_replay_run_t *r)
{
    int                     i, n;
    llm_replay_t           *rp = r->rp;
    llm_reqerr_t            e;
    llm_sampling_t         *s;
    llm_request_env_t       env;
    const llm_effective_t  *ef = &r->conf->effective;

    memset(&env, 0, sizeof(llm_request_env_t));

    env.name = r->conf->model;
    env.model = llm_model_conf(rp->model);
    env.tok = rp->tok;
    env.chat = rp->chat;
    env.bos = rp->bos ? rp->bos : "";
    env.eos = rp->eos ? rp->eos : "";
    env.context = env.model->context;
    env.when = r->conf->when;

    if (llm_request_parse(&r->rq, r->conf->api, r->conf->body, r->conf->len,
                          &env, &e)
        != LLM_OK)
    {
        return llm_err(r->err, r->errlen, LLM_INVALID,
                       "it would be refused now: %s: %s", e.code, e.message);
    }

    s = &r->rq->sampling;

    s->temperature = ef->temperature;
    s->top_p = ef->top_p;
    s->min_p = ef->min_p;
    s->repetition_penalty = ef->repetition_penalty;
    s->top_k = ef->top_k;
    s->seed = r->conf->seed;

    r->rq->max_tokens = ef->max_tokens;

    if (r->conf->tokens && r->conf->tokens < ef->max_tokens) {
        r->rq->max_tokens = r->conf->tokens;
    }

    n = r->rq->n * r->rq->n_prompt;

    if (n < 1 || n > LLM_CHOICES_MAX) {
        return llm_err(r->err, r->errlen, LLM_INVALID, "too many choices");
    }

    r->answer->n = n;

    for (i = 0; i < r->rq->n_prompt; i++) {
        r->answer->prompt_tokens += (uint32_t) r->rq->prompt[i].len;
    }

    return LLM_OK;
}


static int
llm_replay_sched(llm_replay_run_t *r)
{
    int               i, rc;
    uint64_t          n, all, most, longest;
    llm_sched_conf_t  sc;

    all = 0;
    longest = 2;

    for (i = 0; i < r->answer->n; i++) {
        n = (uint64_t) r->rq->prompt[i / r->rq->n].len + r->rq->max_tokens;
        n = n < (uint64_t) llm_model_conf(r->rp->model)->context
            ? n : (uint64_t) llm_model_conf(r->rp->model)->context;

        longest = n > longest ? n : longest;
        all += n / LLK_KV_BLOCK + 1;
    }

    most = LLM_REPLAY_CACHE / llm_model_block_bytes(r->rp->model);
    all = all < most ? all : most;

    if (all < longest / LLK_KV_BLOCK + 1) {
        all = longest / LLK_KV_BLOCK + 1;
    }

    r->context = (int) longest;

    memset(&sc, 0, sizeof(llm_sched_conf_t));
    sc.max_batch = r->answer->n;
    sc.max_tokens = LLM_REPLAY_STEP;
    sc.chunk = LLM_REPLAY_STEP;
    sc.context = r->context;
    sc.n_block = (int) all;

    rc = llm_ctx_create(&r->ctx, r->rp->model, r->rp->be, sc.max_tokens,
                        sc.max_batch, sc.n_block, r->err, r->errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    return llm_sched_create(&r->sched, &sc, r->ctx, r->err, r->errlen);
}


/* as llm_job_submit() and llm_job_accept() */

static int
llm_replay_submit(llm_replay_run_t *r)
{
    int                i, k, rc;
    llm_request_t     *rq = r->rq;
    llm_seq_conf_t     conf;
    llm_replay_seq_t  *d;

    memset(&conf, 0, sizeof(llm_seq_conf_t));

    conf.max_tokens = rq->max_tokens;
    conf.ignore_eos = rq->ignore_eos;
    conf.stop = (const char *const *) rq->stop;
    conf.stop_len = rq->stop_len;
    conf.n_stop = rq->n_stop;
    conf.sampling = rq->sampling;
    conf.handler = &llm_replay_handler;

    for (i = 0; i < r->answer->n; i++) {
        k = i / rq->n;

        d = &r->data[i];
        d->run = r;
        d->out = &r->answer->choice[i];
        d->enough = r->conf->enough[i];

        conf.prompt = rq->prompt[k].id;
        conf.n_prompt = rq->prompt[k].len;
        conf.sampling.seed = rq->sampling.seed + (uint64_t) (i % rq->n);
        conf.data = d;

        rc = llm_seq_create(&r->seq[i], &conf, r->rp->model, r->rp->tok,
                            r->context, r->err, r->errlen);

        if (rc == LLM_OK && rq->echo && rq->echo_text[k]) {
            rc = llm_replay_piece(d->out, rq->echo_text[k], rq->echo_len[k]);
        }

        if (rc != LLM_OK) {
            return rc;
        }
    }

    for (i = 0; i < r->answer->n; i++) {
        llm_sched_submit(r->sched, r->seq[i]);
        r->seq[i] = NULL;
    }

    r->open = r->answer->n;

    return LLM_OK;
}


static int
llm_replay_steps(llm_replay_run_t *r)
{
    int       i;
    uint64_t  n;

    while (r->open > 0) {
        (void) llm_sched_step(r->sched);

        for (i = 0, n = 0; i < r->answer->n; i++) {
            n += r->answer->choice[i].tokens;
        }

        if (r->conf->progress) {
            r->conf->progress(r->conf->data, n);
        }
    }

    return r->rc;
}


static int
llm_replay_poll(void *data)
{
    llm_replay_seq_t  *d = data;

    if (d->run->rc != LLM_OK
        || (d->enough && d->out->text.len >= d->enough))
    {
        return LLM_CANCELLED;
    }

    return LLM_OK;
}


static void
llm_replay_text(void *data, const char *text, size_t len, uint32_t n_token)
{
    llm_replay_seq_t  *d = data;

    d->out->tokens += n_token;

    if (d->run->rc == LLM_OK
        && llm_replay_piece(d->out, text, len) != LLM_OK)
    {
        d->run->rc = llm_err(d->run->err, d->run->errlen, LLM_NOMEM,
                             "out of memory");
    }
}


static uint32_t
llm_replay_more(void *data, uint32_t used)
{
    return UINT32_MAX;
}


static void
llm_replay_end(void *data, llm_finish_e finish, const llm_usage_t *usage,
    const char *err)
{
    llm_replay_seq_t  *d = data;

    d->out->finish = finish;
    d->out->tokens = usage->completion_tokens;

    if (finish == LLM_FINISH_ERROR && d->run->rc == LLM_OK) {
        d->run->rc = llm_err(d->run->err, d->run->errlen, LLM_ERROR, "%s",
                             err);
    }

    d->run->open--;
}


/* events carry so much at a time (llm_job_push_text()), and what was passed on
 * of an answer that was cut ends at one of them */

static int
llm_replay_piece(llm_replay_choice_t *c, const char *text, size_t len)
{
    size_t   n, size, *p;

    while (len) {
        n = len;

        if (n > LLM_EVENT_TEXT) {
            n = llm_utf8_whole(text, LLM_EVENT_TEXT);
            n = n ? n : LLM_EVENT_TEXT;
        }

        if (c->n_piece == c->piece_size) {
            size = c->piece_size ? c->piece_size * 2 : 64;

            p = realloc(c->piece, size * sizeof(size_t));
            if (p == NULL) {
                return LLM_NOMEM;
            }

            c->piece = p;
            c->piece_size = size;
        }

        if (llm_buf_append(&c->text, text, n) != LLM_OK) {
            return LLM_NOMEM;
        }

        c->piece[c->n_piece++] = c->text.len;

        text += n;
        len -= n;
    }

    return LLM_OK;
}
