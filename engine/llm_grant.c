
/*
 * Copyright (C) nginx-llm contributors
 *
 * Tokens are asked for before they are used: for a request with an account,
 * of whoever keeps the accounts (llm_grant_pt).
 *
 *     intake      the prompts, and for each choice max_tokens if the body
 *                 gave it, else LLM_GRANT_STEP; at most what fits its context
 *     scheduler   LLM_GRANT_STEP more when a choice has used up its own and
 *                 what choices that have ended left
 *
 * Each question is about the request's total, so a holder of the lease that
 * runs a request again asks for the same tokens, not for more.  A sequence
 * stops at its grant (llm_seq_conf_t.grant); computing it again after a
 * preemption generates nothing, and asks for nothing.
 *
 * A job's figures belong to whoever has the job: intake, then the scheduler's
 * thread.
 */


#include <string.h>

#include "llm_host.h"


#define LLM_GRANT_STEP  256


static int llm_job_ask(llm_job_t *job, llm_grant_t *g);
static void llm_job_share(llm_job_t *job, uint64_t most, uint64_t got);
static uint32_t llm_grant_min(uint64_t a, uint64_t b);


int
llm_job_grant(llm_job_t *job, const llm_request_t *rq, llm_grant_t *g)
{
    int                   i, rc;
    uint64_t              prompts, room, most;
    struct llm_choice_s  *c;

    memset(g, 0, sizeof(llm_grant_t));

    if (job->account == 0 || job->instance->host->grant == NULL) {
        return LLM_OK;
    }

    for (i = 0, prompts = 0; i < rq->n_prompt; i++) {
        prompts += rq->prompt[i].len;
    }

    most = rq->max_tokens_given ? UINT32_MAX : LLM_GRANT_STEP;
    g->want = prompts;

    for (i = 0; i < job->n_choice; i++) {
        c = &job->choice[i];

        room = (uint64_t) llm_sched_room(job->instance->sched,
                                         rq->prompt[i / rq->n].len);

        c->room = llm_grant_min(room, rq->max_tokens ? rq->max_tokens : room);
        g->want += llm_grant_min(c->room, most);
    }

    g->least = rq->max_tokens_given ? g->want
                                    : prompts + (uint64_t) job->n_choice;

    rc = llm_job_ask(job, g);

    if (rc == LLM_OK) {
        job->granted = g->got;
        llm_job_share(job, most, g->got - prompts);
    }

    return rc;
}


static int
llm_job_ask(llm_job_t *job, llm_grant_t *g)
{
    int          rc;
    llm_host_t  *host = job->instance->host;

    g->account = job->account;

    rc = host->grant(host->grant_data, g);

    g->code[sizeof(g->code) - 1] = '\0';
    g->message[sizeof(g->message) - 1] = '\0';

    if (rc == LLM_OK && g->got < g->least) {
        rc = LLM_AGAIN;
    }

    /* it may have more, of a holder that died */

    if (g->got > g->want) {
        g->got = g->want;
    }

    return rc;
}


/* got tokens for the choices, one each at least, the same for all as far as
 * they can use it: what one leaves goes to those after it, and to the first
 * ones what is then still there */

static void
llm_job_share(llm_job_t *job, uint64_t most, uint64_t got)
{
    int                   i, n;
    uint32_t              k, part;
    struct llm_choice_s  *c;

    n = job->n_choice;

    for (i = 0; i < n; i++) {
        job->choice[i].granted = 1;
    }

    got -= (uint64_t) n;

    for (i = 0; i < 2 * n; i++) {
        c = &job->choice[i % n];

        part = i < n ? llm_grant_min(got / (uint64_t) (n - i), UINT32_MAX)
                     : llm_grant_min(got, UINT32_MAX);

        k = llm_grant_min(c->room, most) - c->granted;
        k = llm_grant_min(k, part);

        c->granted += k;
        got -= k;
    }
}


uint32_t
llm_choice_more(void *data, uint32_t used)
{
    struct llm_choice_s  *c = data;

    uint32_t      more;
    llm_job_t    *job = c->job;
    llm_grant_t   g;

    if (used >= c->room) {
        return used;
    }

    /* what choices that have ended left, one at a time: others want it too */

    if (job->spare) {
        job->spare--;
        c->granted = used + 1;
        return c->granted;
    }

    more = llm_grant_min(c->room - used, LLM_GRANT_STEP);

    memset(&g, 0, sizeof(llm_grant_t));
    g.want = job->granted + more;
    g.least = job->granted + 1;

    if (llm_job_ask(job, &g) == LLM_OK) {
        c->granted = used + (uint32_t) (g.got - job->granted);
        job->granted = g.got;
    }

    return c->granted;
}


void
llm_choice_spare(llm_job_t *job, int choice, uint32_t used)
{
    if (job->choice[choice].granted > used) {
        job->spare += job->choice[choice].granted - used;
    }
}


static uint32_t
llm_grant_min(uint64_t a, uint64_t b)
{
    uint64_t  least = a < b ? a : b;

    return least < UINT32_MAX ? (uint32_t) least : UINT32_MAX;
}
