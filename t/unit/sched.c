
/*
 * Copyright (C) nginx-llm contributors
 *
 * Unit test: the scheduler, over a toy model that sees every mistake in a
 * batch (fake_model.h).  What each client reads is compared with what its
 * request gives alone.  The last test is a storm of threads, for
 * ThreadSanitizer too.
 */


#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "tap.h"
#include "fake_model.h"


#define N_TOKEN_MAX  400
#define STORM        2400
#define SUBMITTERS   4


typedef struct {
    llm_seq_conf_t   conf;
    int32_t          prompt[N_TOKEN_MAX];
    const char      *stop[2];
    size_t           stop_len[2];

    /* what the client does: set by any thread */
    _Atomic int      poll;              /* what to answer */
    unsigned         slow;              /* LLM_AGAIN now and then */
    int              cancel_at;         /* polls; 0: never */
    uint32_t         grant_step;        /* more() gives so many; 0: none */

    /* the scheduler's thread's, until n_done is set */
    int              polls;
    llm_buf_t        text;
    uint32_t         n_token;
    int              n_more;
    uint32_t         asked;             /* last question of more() */
    int              order;             /* of the first text */
    int              ended;             /* of done() */
    llm_finish_e     finish;
    llm_usage_t      usage;
    char             err[LLM_ERRLEN];
    _Atomic int      n_done;
} client_t;


static int  order, ended;


static int
client_poll(void *data)
{
    client_t  *c = data;

    c->polls++;

    if (c->cancel_at && c->polls >= c->cancel_at) {
        return LLM_CANCELLED;
    }

    if (c->slow) {
        c->slow = c->slow * 1103515245u + 12345;

        if ((c->slow >> 16) % 4 == 0) {
            return LLM_AGAIN;
        }
    }

    return atomic_load(&c->poll);
}


static void
client_text(void *data, const char *text, size_t len, uint32_t n_token)
{
    client_t  *c = data;

    if (c->order == 0) {
        c->order = ++order;
    }

    c->n_token += n_token;
    llm_buf_append(&c->text, text, len);
}


static uint32_t
client_more(void *data, uint32_t used)
{
    client_t  *c = data;

    c->n_more++;
    c->asked = used;

    return used + c->grant_step;
}


static void
client_done(void *data, llm_finish_e finish, const llm_usage_t *usage,
    const char *err)
{
    client_t  *c = data;

    c->ended = ++ended;
    c->finish = finish;
    c->usage = *usage;
    snprintf(c->err, sizeof(c->err), "%s", err);
    atomic_fetch_add(&c->n_done, 1);
}


static const llm_seq_handler_t  handler = {
    client_poll, client_text, client_more, client_done
};


static client_t *
client_create(unsigned seed, int n_prompt, uint32_t max_tokens)
{
    int        i;
    client_t  *c;

    c = calloc(1, sizeof(client_t));

    for (i = 0; i < n_prompt; i++) {
        c->prompt[i] = (int32_t) ((seed * 31 + (unsigned) i * 7
                                   + (unsigned) (i * i)) % 40 + 2);
    }

    c->conf.prompt = c->prompt;
    c->conf.n_prompt = (size_t) n_prompt;
    c->conf.max_tokens = max_tokens;
    c->conf.ignore_eos = 1;
    c->conf.stop = c->stop;
    c->conf.stop_len = c->stop_len;
    c->conf.sampling.temperature = 0.8f;
    c->conf.sampling.top_p = 0.95f;
    c->conf.sampling.repetition_penalty = 1;
    c->conf.sampling.seed = seed;
    c->conf.handler = &handler;
    c->conf.data = c;

    return c;
}


static void
client_destroy(client_t *c)
{
    llm_buf_done(&c->text);
    free(c);
}


static void
client_submit(client_t *c, llm_sched_t *s, int context)
{
    char        err[LLM_ERRLEN];
    llm_seq_t  *seq;

    if (llm_seq_create(&seq, &c->conf, &fake_model, NULL, context, err,
                       sizeof(err))
        != LLM_OK)
    {
        fprintf(stderr, "llm_seq_create: %s\n", err);
        exit(2);
    }

    llm_sched_submit(s, seq);
}


static int
min(int a, int b)
{
    return a < b ? a : b;
}


/* 0 if the client read what its request gives alone (a cancelled one: the
 * beginning of it) */

static int
client_wrong(const client_t *c, const llm_sched_conf_t *conf)
{
    int            wrong;
    fake_result_t  r;

    fake_expect(&r, &c->conf, (size_t) min(conf->context,
                                           conf->n_block * LLK_KV_BLOCK + 1));

    wrong = c->text.len > r.text.len
            || (c->text.len
                && memcmp(c->text.data, r.text.data, c->text.len) != 0)
            || atomic_load(&c->n_done) != 1
            || c->usage.completion_tokens > r.completion
            || c->n_token > c->usage.completion_tokens
            || c->usage.prompt_tokens != c->conf.n_prompt
            || c->usage.queued_us > c->usage.total_us
            || c->usage.first_us > c->usage.total_us;

    if (c->finish != LLM_FINISH_CANCELLED) {
        wrong |= c->finish != r.finish || c->text.len != r.text.len
                 || c->usage.completion_tokens != r.completion
                 || c->err[0] != '\0';
    }

    if (wrong) {
        printf("# \"%.*s\" (%d, %u tokens, %s), expected \"%.*s\" (%d, %u)\n",
               (int) c->text.len, c->text.data ? c->text.data : "", c->finish,
               c->usage.completion_tokens, c->err, (int) r.text.len,
               r.text.data ? r.text.data : "", r.finish, r.completion);
    }

    llm_buf_done(&r.text);

    return wrong;
}


typedef struct {
    llm_sched_conf_t   conf;
    llm_ctx_t         *ctx;
    llm_sched_t       *s;
    llm_sched_stats_t  st;
} world_t;


static void
world_open(world_t *w, int max_batch, int max_tokens, int chunk, int context,
    int n_block)
{
    char  err[LLM_ERRLEN];

    memset(w, 0, sizeof(world_t));

    w->conf.max_batch = max_batch;
    w->conf.max_tokens = max_tokens;
    w->conf.chunk = chunk;
    w->conf.context = context;
    w->conf.n_block = n_block;
    w->ctx = fake_ctx_create(&w->conf);

    if (llm_sched_create(&w->s, &w->conf, w->ctx, err, sizeof(err))
        != LLM_OK)
    {
        fprintf(stderr, "llm_sched_create: %s\n", err);
        exit(2);
    }
}


static int
world_step(world_t *w)
{
    int  rc;

    rc = llm_sched_step(w->s);
    llm_sched_stats(w->s, &w->st);

    return rc;
}


static int
world_run(world_t *w, int limit)
{
    int  i;

    for (i = 0; i < limit && world_step(w) == LLM_OK; i++) { /* void */ }

    return i;
}


/* destroys the scheduler and tells whether it kept its promises */

static void
world_close(world_t *w, const char *name)
{
    llm_sched_stats(w->s, &w->st);

    ok(w->st.blocks_used == 0 && w->st.running == 0 && w->st.waiting == 0,
       "%s: no sequence and no block is left", name);

    llm_sched_destroy(w->s);

    ok(w->ctx->bad[0] == '\0', "%s: every batch was in order%s%s", name,
       w->ctx->bad[0] ? ": " : "", w->ctx->bad);

    fake_ctx_destroy(w->ctx);
}


static void
test_create(void)
{
    int               i;
    char              err[LLM_ERRLEN];
    llm_sched_t      *s;
    llm_sched_conf_t  conf;

    static const llm_sched_conf_t  bad[] = {
        { 0, 8, 4, 64, 8 }, { 4, 3, 4, 64, 8 }, { 4, 8, 0, 64, 8 },
        { 4, 8, 4, 1, 8 }, { 4, 8, 4, 64, 0 }, { 4, 8, 4, 64, INT32_MAX }
    };

    llm_sched_destroy(NULL);

    for (i = 0; i < (int) (sizeof(bad) / sizeof(bad[0])); i++) {
        conf = bad[i];
        err[0] = '\0';
        is_int(llm_sched_create(&s, &conf, NULL, err, sizeof(err)),
               LLM_INVALID, "impossible limits");
        ok(strstr(err, "out of range") && s == NULL, "  %s", err);
    }
}


static void
test_one(void)
{
    int        i;
    world_t    w;
    client_t  *c;

    world_open(&w, 4, 32, 8, 200, 16);

    is_int(world_step(&w), LLM_AGAIN, "nothing to do");
    is_int(w.st.blocks, 16, "its blocks are in the figures");

    c = client_create(1, 70, 40);
    client_submit(c, w.s, 200);

    /* 70 tokens: 32, 32, 6 and the first token */

    for (i = 0; i < 3; i++) {
        is_int(world_step(&w), LLM_OK, "a step");
        is_int((int) w.st.prefill_tokens, i == 0 ? 32 : i == 1 ? 64 : 70,
               "  takes prompt tokens up to the limit");
    }

    is_int(w.st.blocks_used, 5, "70 tokens take five blocks");
    is_int(world_run(&w, 1000), 39, "39 more tokens are 39 steps");
    is_int((int) w.st.decode_tokens, 39, "and counted so");
    is_int((int) w.st.prefill_tokens, 70, "beside the prompt's");
    is_int((int) w.st.steps, 42, "and all steps");
    is_int(client_wrong(c, &w.conf), 0, "one sequence, as it must be");
    is_int(c->finish, LLM_FINISH_LENGTH, "as long as it may be");
    is_int(c->usage.completion_tokens, 40, "40 tokens");
    is_int(c->polls, 42, "asked before each step");

    client_destroy(c);
    world_close(&w, "one");
}


/* sequences of all kinds together: each as if alone */

static void
test_many(void)
{
    int        i, k, n, wrong, stop, late;
    world_t    w;
    client_t  *c[60];

    world_open(&w, 8, 64, 16, 300, 200);

    for (i = 0; i < 60; i++) {
        c[i] = client_create((unsigned) i, 1 + i * 37 % 250,
                             (uint32_t) (i % 5 ? i % 50 : 0));
        c[i]->conf.ignore_eos = i % 3 != 0;
        c[i]->conf.sampling.temperature = i % 4 ? 1 : 0;
        c[i]->conf.sampling.repetition_penalty = i % 7 ? 1 : 1.3f;
        c[i]->conf.sampling.presence_penalty = i % 6 ? 0 : 0.5f;

        if (i % 2) {
            c[i]->stop[0] = "ab";
            c[i]->stop[1] = "\n\n";
            c[i]->stop_len[0] = 2;
            c[i]->stop_len[1] = 2;
            c[i]->conf.n_stop = 2;
        }
    }

    /* some at once, the others in the midst */

    for (i = 0; i < 20; i++) {
        client_submit(c[i], w.s, 300);
    }

    for (n = 0; world_step(&w) == LLM_OK || i < 60; n++) {
        for (k = 0; k < 2 && i < 60 && n % 5 == 0; k++) {
            client_submit(c[i++], w.s, 300);
        }
    }

    wrong = stop = late = 0;

    for (i = 0; i < 60; i++) {
        wrong += client_wrong(c[i], &w.conf);
        stop += c[i]->finish == LLM_FINISH_STOP;
    }

    is_int(wrong, 0, "60 sequences together are as each alone");
    ok(stop > 5 && stop < 55, "(%d ended by themselves)", stop);
    is_int((int) w.st.preemptions, 0, "none was put back");
    ok(w.ctx->most_n > 40 && w.ctx->most_n <= 64 && w.ctx->most_seq > 4,
       "(up to %d tokens of %d sequences in a step)", w.ctx->most_n,
       w.ctx->most_seq);

    for (i = 0; i < 60; i++) {
        client_destroy(c[i]);
    }

    world_close(&w, "many");
}


static void
test_chunks(void)
{
    int        i;
    world_t    w;
    client_t  *a, *b, *c;

    world_open(&w, 4, 100, 10, 300, 100);

    a = client_create(1, 5, 100);
    client_submit(a, w.s, 300);
    world_step(&w);

    b = client_create(2, 24, 3);
    c = client_create(3, 8, 3);
    client_submit(b, w.s, 300);
    client_submit(c, w.s, 300);

    for (i = 1; i <= 3; i++) {
        world_step(&w);
        is_int((int) w.st.prefill_tokens, 5 + 10 * i,
               "ten prompt tokens a step");
        is_int(a->usage.completion_tokens + (int) w.st.decode_tokens, i,
               "beside one token of who decodes");
        ok(c->order == 0 && (i < 3) == (b->order == 0),
           "the prompts in the order of arrival");
    }

    world_step(&w);
    is_int((int) w.st.prefill_tokens, 37, "the rest of the last prompt");
    world_run(&w, 1000);
    is_int(client_wrong(a, &w.conf) + client_wrong(b, &w.conf)
           + client_wrong(c, &w.conf), 0, "all three as they must be");

    client_destroy(a);
    client_destroy(b);
    client_destroy(c);

    /* several prompts share a step */

    a = client_create(1, 30, 1);
    b = client_create(2, 30, 1);
    client_submit(a, w.s, 300);
    client_submit(b, w.s, 300);
    world_step(&w);
    ok(a->finish == LLM_FINISH_LENGTH && b->finish == LLM_FINISH_LENGTH,
       "two prompts in one step");
    client_destroy(a);
    client_destroy(b);

    world_close(&w, "chunks");
}


static void
test_preemption(void)
{
    int        i, wrong, sorted;
    world_t    w;
    client_t  *c[6];

    /* 10 blocks are 160 tokens; each of six wants 40 + 60 */

    world_open(&w, 6, 64, 16, 300, 10);

    for (i = 0; i < 6; i++) {
        c[i] = client_create((unsigned) i + 50, 20, 80);
        client_submit(c[i], w.s, 300);
    }

    world_run(&w, 10000);

    for (i = 0, wrong = 0, sorted = 1; i < 6; i++) {
        wrong += client_wrong(c[i], &w.conf);
        sorted &= i == 0 || c[i]->ended > c[i - 1]->ended;
    }

    is_int(wrong, 0, "too little memory: each reads the same");
    ok(w.st.preemptions > 0, "(%d times one was put back)",
       (int) w.st.preemptions);
    ok(w.st.preemptions < 20, "seldom");
    ok(sorted, "the older ones are done first");

    for (i = 0; i < 6; i++) {
        client_destroy(c[i]);
    }

    world_close(&w, "preemption");
}


static void
test_too_large(void)
{
    world_t    w;
    client_t  *a, *b;

    world_open(&w, 4, 64, 16, 300, 4);          /* 64 tokens in all */

    a = client_create(1, 65, 10);
    client_submit(a, w.s, 300);
    is_int(world_step(&w), LLM_OK, "a prompt that can never fit");
    is_int(a->finish, LLM_FINISH_ERROR, "ends with an error");
    is_str(a->err, "the prompt has 65 tokens: the context is 300 and the KV "
           "cache holds 64", "which says why");
    is_int(atomic_load(&a->n_done), 1, "once");
    is_int(world_step(&w), LLM_AGAIN, "and is gone");
    client_destroy(a);

    a = client_create(1, 64, 10);
    client_submit(a, w.s, 300);
    world_run(&w, 1000);
    is_int(a->finish, LLM_FINISH_LENGTH, "one that fits exactly: its length");
    is_int(a->usage.completion_tokens, 1, "is one token");
    client_destroy(a);

    a = client_create(1, 30, 0);
    b = client_create(2, 30, 0);
    client_submit(a, w.s, 300);
    client_submit(b, w.s, 300);
    world_run(&w, 1000);
    is_int(a->finish, LLM_FINISH_LENGTH, "one that outgrows the cache");
    is_int(a->usage.completion_tokens, 35, "has all there is");
    is_int(client_wrong(a, &w.conf) + client_wrong(b, &w.conf), 0,
           "also the one that had to wait");
    client_destroy(a);
    client_destroy(b);

    /* a longer context than the scheduler's */

    a = client_create(1, 40, 0);
    client_submit(a, w.s, 5000);
    world_run(&w, 1000);
    is_int(client_wrong(a, &w.conf), 0, "the scheduler's context counts");
    client_destroy(a);

    world_close(&w, "too large");
}


static void
test_clients(void)
{
    int        i;
    world_t    w;
    client_t  *a, *b, *c, *d;

    world_open(&w, 2, 64, 16, 300, 40);

    a = client_create(1, 20, 50);
    b = client_create(2, 20, 50);
    c = client_create(3, 20, 50);
    d = client_create(4, 20, 50);

    client_submit(a, w.s, 300);
    client_submit(b, w.s, 300);
    client_submit(c, w.s, 300);
    client_submit(d, w.s, 300);

    world_step(&w);
    is_int(w.st.running, 2, "two run");
    is_int(w.st.waiting, 2, "two wait");

    /* cancellation */

    atomic_store(&c->poll, LLM_CANCELLED);
    world_step(&w);
    is_int(c->finish, LLM_FINISH_CANCELLED, "one that waits leaves at once");
    is_int(c->usage.completion_tokens, 0, "with nothing");

    is_int(w.st.blocks_used, 4, "(two sequences have two blocks each)");
    atomic_store(&a->poll, LLM_CANCELLED);
    world_step(&w);
    is_int(a->finish, LLM_FINISH_CANCELLED, "one that runs, too");
    ok(a->usage.completion_tokens == 2, "in the next step");
    is_int(w.st.running, 2, "its place is taken in that step");
    is_int(w.st.blocks_used, 3, "its blocks are free: the next has one");

    /* slow clients */

    i = (int) d->usage.completion_tokens;
    atomic_store(&d->poll, LLM_AGAIN);
    world_step(&w);
    i = (int) w.st.decode_tokens;
    world_step(&w);
    is_int((int) w.st.decode_tokens, i + 1, "a slow one is left out");
    is_int(w.st.running, 2, "but keeps its blocks");

    atomic_store(&b->poll, LLM_AGAIN);
    is_int(world_step(&w), LLM_AGAIN, "all slow: nothing to do");
    llm_sched_wake(w.s);
    llm_sched_wait(w.s);
    ok(1, "a wake that came before ends the wait");

    atomic_store(&b->poll, LLM_OK);
    atomic_store(&d->poll, LLM_OK);
    world_run(&w, 1000);
    is_int(client_wrong(a, &w.conf) + client_wrong(b, &w.conf)
           + client_wrong(c, &w.conf) + client_wrong(d, &w.conf), 0,
           "each read what it must");

    client_destroy(a);
    client_destroy(b);
    client_destroy(c);
    client_destroy(d);
    world_close(&w, "clients");
}


/* slow clients hold up nobody for long, neither by places nor by blocks */

static void
test_stalled(void)
{
    int        i, n;
    world_t    w;
    client_t  *c[5];

    for (n = 0; n < 2; n++) {
        if (n == 0) {
            world_open(&w, 2, 64, 16, 300, 40);     /* two places */
        } else {
            world_open(&w, 8, 64, 16, 300, 6);      /* 96 tokens */
        }

        for (i = 0; i < 5; i++) {
            c[i] = client_create((unsigned) i, 33, 40);
        }

        client_submit(c[0], w.s, 300);
        client_submit(c[1], w.s, 300);
        world_step(&w);
        world_step(&w);

        atomic_store(&c[0]->poll, LLM_AGAIN);
        atomic_store(&c[1]->poll, LLM_AGAIN);

        client_submit(c[2], w.s, 300);
        client_submit(c[3], w.s, 300);
        client_submit(c[4], w.s, 300);

        for (i = 0; i < 1000 && !atomic_load(&c[4]->n_done); i++) {
            if (world_step(&w) == LLM_AGAIN) {
                llm_sched_wait(w.s);
            }
        }

        ok(atomic_load(&c[2]->n_done) && atomic_load(&c[3]->n_done)
           && atomic_load(&c[4]->n_done),
           "others take the %s of slow ones", n ? "blocks" : "places");
        ok(!atomic_load(&c[0]->n_done) && w.st.preemptions > 0,
           "which wait (%d steps, %d put back)", i, (int) w.st.preemptions);

        atomic_store(&c[0]->poll, LLM_OK);
        atomic_store(&c[1]->poll, LLM_OK);
        world_run(&w, 1000);

        for (i = 0; i < 5; i++) {
            is_int(client_wrong(c[i], &w.conf), 0, "and all read all");
            client_destroy(c[i]);
        }

        world_close(&w, "stalled");
    }
}


/* tokens by grants, with too little memory: computing them again asks for
 * none */

static void
test_grants(void)
{
    int        i, wrong, n_more;
    world_t    w;
    client_t  *c[6];

    world_open(&w, 6, 64, 16, 300, 10);

    for (i = 0; i < 6; i++) {
        c[i] = client_create((unsigned) i + 50, 20, 80);
        c[i]->conf.grant = 10;
        c[i]->grant_step = 10;
        client_submit(c[i], w.s, 300);
    }

    world_run(&w, 10000);

    for (i = 0, wrong = 0, n_more = 0; i < 6; i++) {
        wrong += client_wrong(c[i], &w.conf);
        n_more += c[i]->n_more;
        client_destroy(c[i]);
    }

    ok(w.st.preemptions > 0, "(%d times one was put back)",
       (int) w.st.preemptions);
    is_int(wrong, 0, "granted piece by piece: each reads the same");
    is_int(n_more, 6 * 7, "each piece is asked for once");
    world_close(&w, "grants");

    /* refused: the text is the beginning of what it would have been */

    world_open(&w, 6, 64, 16, 300, 10);

    for (i = 0; i < 6; i++) {
        c[i] = client_create((unsigned) i + 50, 20, 80);
        c[i]->conf.grant = 37;
        client_submit(c[i], w.s, 300);
    }

    world_run(&w, 10000);

    for (i = 0, wrong = 0; i < 6; i++) {
        is_int(c[i]->usage.completion_tokens, 37, "no token beyond a grant");
        is_int(c[i]->finish, LLM_FINISH_LENGTH, "that is a length");
        ok(c[i]->n_more == 1 && c[i]->asked == 37, "after one question");
        c[i]->conf.max_tokens = 37;
        wrong += client_wrong(c[i], &w.conf);
        client_destroy(c[i]);
    }

    is_int(wrong, 0, "the text as if max_tokens had said so");
    world_close(&w, "grants refused");
}


/* fewer at a time from the next step on, and more again */

static void
test_limit(void)
{
    int        i, wrong;
    world_t    w;
    client_t  *c[8];

    world_open(&w, 4, 64, 16, 300, 40);

    is_int(llm_sched_room(w.s, 20), 280, "room by the context");

    for (i = 0; i < 8; i++) {
        c[i] = client_create((unsigned) i, 20, i < 4 ? 10 : 100);
        client_submit(c[i], w.s, 300);
    }

    for (i = 0; i < 3; i++) {
        world_step(&w);
    }

    is_int(w.st.running, 4, "four run");

    llm_sched_limit(w.s, 1);
    world_step(&w);
    is_int(w.st.running, 4, "they go on under a lower limit");

    while (w.st.running > 1) {
        world_step(&w);
        ok(w.st.running < 4 || w.st.waiting == 4, "nobody is let in");
    }

    is_int((int) w.st.preemptions, 0, "nobody was put back");

    world_step(&w);

    for (i = 0; i < 5; i++) {
        world_step(&w);
        is_int(w.st.running, 1, "one at a time");
    }

    /* the prompts take their time beside who decodes */

    llm_sched_limit(w.s, 3);
    world_step(&w);
    is_int(w.st.running, 2, "more from the next step on");
    world_run(&w, 5);
    is_int(w.st.running, 3, "but not more than may");

    llm_sched_limit(w.s, 1000);
    world_run(&w, 5);
    is_int(w.st.running, 4, "never more than the buffers hold");

    world_run(&w, 1000);

    for (i = 0, wrong = 0; i < 8; i++) {
        wrong += client_wrong(c[i], &w.conf);
        client_destroy(c[i]);
    }

    is_int(wrong, 0, "each reads the same");
    world_close(&w, "limit");

    world_open(&w, 4, 64, 16, 300, 4);
    is_int(llm_sched_room(w.s, 20), 45, "room by the cache");
    is_int(llm_sched_room(w.s, 400), 1, "and none");
    world_close(&w, "room");
}


/* who came first keeps its blocks, also when it was put back and runs again
 * beside a younger one */

static void
test_arrival(void)
{
    world_t          w;
    client_t        *a, *b, *c;
    struct timespec  ts = { 0, 300000000 };

    world_open(&w, 2, 64, 16, 300, 8);              /* 128 tokens */

    a = client_create(1, 33, 60);
    b = client_create(2, 33, 60);
    c = client_create(3, 20, 4);
    client_submit(c, w.s, 300);
    client_submit(a, w.s, 300);
    world_step(&w);

    /* a stalls, and b takes its place */

    atomic_store(&a->poll, LLM_AGAIN);
    world_step(&w);
    nanosleep(&ts, NULL);
    client_submit(b, w.s, 300);
    world_step(&w);
    is_int((int) w.st.preemptions, 1, "a slow one was put back");
    atomic_store(&a->poll, LLM_OK);

    world_run(&w, 1000);

    ok(w.st.preemptions >= 2, "later memory runs out");
    ok(a->ended < b->ended, "and the younger one gives way");
    is_int(client_wrong(a, &w.conf) + client_wrong(b, &w.conf)
           + client_wrong(c, &w.conf), 0, "all as they must be");
    client_destroy(a);
    client_destroy(b);
    client_destroy(c);
    world_close(&w, "arrival");
}


static void
test_errors(void)
{
    world_t    w;
    client_t  *a, *b, *c;

    world_open(&w, 2, 64, 16, 300, 40);

    a = client_create(1, 20, 50);
    b = client_create(2, 20, 50);
    c = client_create(3, 20, 50);
    client_submit(a, w.s, 300);
    client_submit(b, w.s, 300);
    client_submit(c, w.s, 300);

    w.ctx->fail_at = 7;
    world_run(&w, 1000);

    ok(a->finish == LLM_FINISH_ERROR && b->finish == LLM_FINISH_ERROR,
       "a forward pass that fails ends its sequences");
    is_str(a->err, "toy: out of order", "and says why");
    is_int(a->usage.completion_tokens, 6, "after what they had");
    is_int(client_wrong(c, &w.conf), 0, "the next ones go on");

    client_destroy(a);
    client_destroy(b);
    client_destroy(c);

    /* destroy ends all: running, waiting, and those just submitted */

    a = client_create(1, 20, 50);
    b = client_create(2, 20, 50);
    c = client_create(3, 20, 50);
    client_submit(a, w.s, 300);
    client_submit(b, w.s, 300);
    client_submit(c, w.s, 300);
    world_step(&w);
    llm_sched_destroy(w.s);
    ok(a->finish == LLM_FINISH_CANCELLED && b->finish == LLM_FINISH_CANCELLED
       && c->finish == LLM_FINISH_CANCELLED, "destroy ends what is left");
    is_int(atomic_load(&a->n_done) + atomic_load(&b->n_done)
           + atomic_load(&c->n_done), 3, "once each");
    client_destroy(a);
    client_destroy(b);
    client_destroy(c);
    fake_ctx_destroy(w.ctx);

    world_open(&w, 2, 64, 16, 300, 40);
    a = client_create(1, 20, 50);
    client_submit(a, w.s, 300);
    llm_sched_destroy(w.s);
    is_int(a->finish, LLM_FINISH_CANCELLED, "also before any step");
    client_destroy(a);
    fake_ctx_destroy(w.ctx);
}


/* the same request, alone and among others, in chunks of all sizes */

static void
test_determinism(void)
{
    int        i, k, same;
    world_t    w;
    client_t  *c[9];
    llm_buf_t  first;

    memset(&first, 0, sizeof(first));

    for (i = 0, same = 0; i < 12; i++) {
        world_open(&w, 1 + i % 9, 9 + i * 11, 1 + i * 3, 300, 12 + i * 3);

        for (k = 0; k < 9; k++) {
            c[k] = client_create((unsigned) (k * i), 20 + k * 5, 40);
        }

        client_destroy(c[4]);
        c[4] = client_create(4711, 45, 60);

        for (k = (i ? 0 : 4); k < (i ? 9 : 5); k++) {
            client_submit(c[k], w.s, 300);
        }

        world_run(&w, 10000);

        if (i == 0) {
            llm_buf_append(&first, c[4]->text.data, c[4]->text.len);
        }

        same += c[4]->text.len == first.len
                && memcmp(c[4]->text.data, first.data, first.len) == 0;

        for (k = 0; k < 9; k++) {
            client_destroy(c[k]);
        }

        world_close(&w, "determinism");
    }

    is_int(same, 12, "the same bytes whatever else runs");
    ok(first.len > 50, "(%zu of them)", first.len);

    llm_buf_done(&first);
}


/* the storm: threads submit, cancel, stall; memory is short */

typedef struct {
    world_t       *w;
    client_t     **c;
    int            n;
    unsigned       seed;
    _Atomic int   *left;
} storm_t;


static unsigned
storm_rand(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345;

    return *seed >> 8;
}


static void *
storm_submit(void *data)
{
    int              i, k;
    storm_t         *st = data;
    unsigned         r;
    client_t        *c;
    struct timespec  ts = { 0, 300000 };

    for (i = 0; i < st->n; i++) {
        r = storm_rand(&st->seed);

        c = client_create(r, 1 + (int) (r % 70),
                          1 + storm_rand(&st->seed) % 40);
        c->conf.ignore_eos = r & 1;
        c->slow = r % 5 == 0 ? r | 1 : 0;
        c->cancel_at = r % 7 == 0 ? 1 + (int) (storm_rand(&st->seed) % 60)
                                  : 0;

        if (r % 3 == 0) {
            c->stop[0] = "ST";
            c->stop_len[0] = 2;
            c->conf.n_stop = 1;
        }

        st->c[i] = c;
        client_submit(c, st->w->s, 120);

        /* an older one goes away, or stalls, or comes back */

        k = (int) (storm_rand(&st->seed) % (unsigned) (i + 1));

        switch (storm_rand(&st->seed) % 12) {
        case 0:
            atomic_store(&st->c[k]->poll, LLM_CANCELLED);
            llm_sched_wake(st->w->s);
            break;

        case 1:
            atomic_store(&st->c[i]->poll, LLM_AGAIN);
            break;
        }

        if (i >= 8 && atomic_load(&st->c[i - 8]->poll) == LLM_AGAIN) {
            atomic_store(&st->c[i - 8]->poll, LLM_OK);
            llm_sched_wake(st->w->s);
        }

        if (r % 4 == 0) {
            nanosleep(&ts, NULL);
        }
    }

    for (i = 0; i < st->n; i++) {
        if (atomic_load(&st->c[i]->poll) == LLM_AGAIN) {
            atomic_store(&st->c[i]->poll, LLM_OK);
        }
    }

    atomic_fetch_sub(st->left, 1);
    llm_sched_wake(st->w->s);

    return NULL;
}


static void *
storm_run(void *data)
{
    int       rc;
    storm_t  *st = data;

    for ( ;; ) {
        rc = llm_sched_step(st->w->s);

        if (rc == LLM_OK) {
            continue;
        }

        llm_sched_stats(st->w->s, &st->w->st);

        if (atomic_load(st->left) == 0 && st->w->st.running == 0
            && st->w->st.waiting == 0)
        {
            return NULL;
        }

        /* clients that are slow by chance come back by themselves */

        if (st->w->st.running + st->w->st.waiting != 0) {
            continue;
        }

        llm_sched_wait(st->w->s);
    }
}


static void
test_storm(void)
{
    int                i, k, n, once, wrong, cancelled;
    storm_t            st[SUBMITTERS], run;
    world_t            w;
    pthread_t          thread[SUBMITTERS], runner;
    _Atomic int        left = SUBMITTERS;
    llm_sched_stats_t  stats;

    world_open(&w, 12, 48, 16, 120, 14);

    n = STORM / SUBMITTERS;

    for (i = 0; i < SUBMITTERS; i++) {
        st[i].w = &w;
        st[i].n = n;
        st[i].c = calloc((size_t) n, sizeof(client_t *));
        st[i].seed = (unsigned) i * 77 + 5;
        st[i].left = &left;
    }

    run = st[0];
    pthread_create(&runner, NULL, storm_run, &run);

    for (i = 0; i < SUBMITTERS; i++) {
        pthread_create(&thread[i], NULL, storm_submit, &st[i]);
    }

    do {
        llm_sched_stats(w.s, &stats);           /* from any thread */
        nanosleep(&(struct timespec) { 0, 1000000 }, NULL);
    } while (atomic_load(&left));

    for (i = 0; i < SUBMITTERS; i++) {
        pthread_join(thread[i], NULL);
    }

    pthread_join(runner, NULL);

    once = wrong = cancelled = 0;

    for (i = 0; i < SUBMITTERS; i++) {
        for (k = 0; k < n; k++) {
            once += atomic_load(&st[i].c[k]->n_done) == 1;
            wrong += client_wrong(st[i].c[k], &w.conf);
            cancelled += st[i].c[k]->finish == LLM_FINISH_CANCELLED;
            client_destroy(st[i].c[k]);
        }

        free(st[i].c);
    }

    is_int(once, STORM, "every one of the storm's sequences ended once");
    is_int(wrong, 0, "each read what it must, or the beginning of it");

    llm_sched_stats(w.s, &w.st);

    ok(cancelled > STORM / 20 && cancelled < STORM / 2
       && w.st.preemptions > 10,
       "(%d went away, %d times one was put back, %d steps)", cancelled,
       (int) w.st.preemptions, (int) w.st.steps);

    world_close(&w, "storm");
}


int
main(void)
{
    test_create();
    test_one();
    test_many();
    test_chunks();
    test_preemption();
    test_too_large();
    test_clients();
    test_stalled();
    test_limit();
    test_grants();
    test_arrival();
    test_errors();
    test_determinism();
    test_storm();

    return done();
}
