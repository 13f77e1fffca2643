
/*
 * Copyright (C) nginx-llm contributors
 *
 * Unit test: the scheduler over the demo model.  A request's text must be the
 * same, byte by byte, alone and in a crowd, whatever the batch, the chunks of
 * prompts, the threads, and however often its blocks were taken away.
 *
 * The demo model is found from the repository's root, where tests run.
 */


#include <stdio.h>
#include <stdlib.h>

#include "tap.h"
#include "../../engine/llm_sched.h"


#define N_CLIENT  10
#define CONTEXT   200
#define WATCHED   5             /* the request that is compared */


typedef struct {
    llm_buf_t     text;
    llm_finish_e  finish;
    llm_usage_t   usage;
    int           n_done;
} client_t;


static int
client_poll(void *data)
{
    return LLM_OK;
}


static void
client_text(void *data, const char *text, size_t len, uint32_t n_token)
{
    client_t  *c = data;

    llm_buf_append(&c->text, text, len);
}


static void
client_done(void *data, llm_finish_e finish, const llm_usage_t *usage,
    const char *err)
{
    client_t  *c = data;

    c->finish = finish;
    c->usage = *usage;
    c->n_done++;
}


static const llm_seq_handler_t  handler = {
    client_poll, client_text, NULL, client_done
};


typedef struct {
    llm_sched_conf_t  sched;
    int               threads;
} crowd_t;


static int
submit(llm_sched_t *s, llm_model_t *m, llm_tokenizer_t *tok, client_t *c,
    int i, int crowd, float temperature)
{
    int             rc;
    char            err[LLM_ERRLEN];
    llm_ids_t       ids;
    llm_seq_t      *seq;
    const char     *text;
    llm_seq_conf_t  conf;

    text = (i == WATCHED)
           ? "User: How do I rotate a key?\n\nAssistant:"
           : "User: Tell me a story about a server, a fox and the sea, and "
             "then another one.\n\nAssistant:";

    memset(&ids, 0, sizeof(ids));
    memset(&conf, 0, sizeof(conf));

    rc = llm_tokenize(tok, text, strlen(text), LLM_TOK_BOS, &ids, err,
                      sizeof(err));

    conf.prompt = ids.id;
    conf.n_prompt = ids.len;
    conf.max_tokens = (i == WATCHED) ? 80 : (uint32_t) (20 + i * 5);
    conf.ignore_eos = 1;
    conf.sampling.temperature = temperature;
    conf.sampling.top_p = 0.95f;
    conf.sampling.repetition_penalty = 1;
    conf.sampling.seed = (i == WATCHED) ? 7 : (uint64_t) (i * 100 + crowd);
    conf.handler = &handler;
    conf.data = c;

    if (rc == LLM_OK) {
        rc = llm_seq_create(&seq, &conf, m, tok, CONTEXT, err, sizeof(err));
    }

    llm_ids_done(&ids);

    if (rc != LLM_OK) {
        printf("# %s\n", err);
        return rc;
    }

    llm_sched_submit(s, seq);

    return LLM_OK;
}


/* the watched request's text among others (crowd 0: alone) */

static int
run(const crowd_t *w, int crowd, llm_model_t *m, llm_tokenizer_t *tok,
    float temperature, llm_buf_t *text, llm_sched_stats_t *st)
{
    int           i, wrong;
    char          err[LLM_ERRLEN];
    llk_t        *be;
    client_t      c[N_CLIENT];
    llm_ctx_t    *ctx;
    llm_sched_t  *s;

    be = NULL;
    ctx = NULL;
    s = NULL;
    wrong = 0;
    memset(c, 0, sizeof(c));

    if (llk_open(&be, LLK_DEVICE_AUTO, w->threads, err, sizeof(err)) != LLK_OK
        || llm_ctx_create(&ctx, m, be, w->sched.max_tokens,
                          w->sched.max_batch, w->sched.n_block, err,
                          sizeof(err)) != LLM_OK
        || llm_sched_create(&s, &w->sched, ctx, err, sizeof(err)) != LLM_OK)
    {
        printf("# %s\n", err);
        wrong++;
        goto done;
    }

    for (i = 0; i < N_CLIENT; i++) {
        if (crowd || i == WATCHED) {
            wrong += submit(s, m, tok, &c[i], i, crowd, temperature)
                     != LLM_OK;
        }
    }

    while (llm_sched_step(s) == LLM_OK) { /* void */ }

    llm_sched_stats(s, st);

    for (i = 0; i < N_CLIENT; i++) {
        if (crowd || i == WATCHED) {
            wrong += c[i].n_done != 1 || c[i].finish != LLM_FINISH_LENGTH;
        }
    }

    wrong += st->blocks_used + st->running + st->waiting;
    llm_buf_append(text, c[WATCHED].text.data, c[WATCHED].text.len);

done:

    for (i = 0; i < N_CLIENT; i++) {
        llm_buf_done(&c[i].text);
    }

    llm_sched_destroy(s);
    llm_ctx_destroy(ctx);
    llk_close(be);

    return wrong;
}


int
main(void)
{
    int                i, k;
    char               err[LLM_ERRLEN];
    llm_buf_t          first, text;
    llm_model_t       *m;
    llm_tokenizer_t   *tok;
    llm_sched_stats_t  st;

    /* max_batch, max_tokens, chunk, context, blocks; threads */

    static const crowd_t  crowd[] = {
        { { 1, 256, 64, CONTEXT, 64 }, 1 },
        { { 8, 64, 16, CONTEXT, 200 }, 2 },
        { { 3, 17, 5, CONTEXT, 16 }, 1 },
        { { 10, 128, 32, CONTEXT, 20 }, 2 }
    };

    static const char  dir[] = "t/models/demo";

    m = NULL;
    tok = NULL;

    if (llm_model_open(&m, dir, err, sizeof(err)) != LLM_OK
        || llm_tokenizer_open(&tok, dir, err, sizeof(err)) != LLM_OK)
    {
        ok(0, "%s", err);
        llm_model_close(m);
        return done();
    }

    for (k = 0; k < 2; k++) {
        memset(&first, 0, sizeof(first));

        for (i = 0; i < 4; i++) {
            memset(&text, 0, sizeof(text));
            memset(&st, 0, sizeof(st));

            is_int(run(&crowd[i], i, m, tok, k ? 0 : 0.9f, &text, &st), 0,
                   i ? "a crowd" : "alone");

            if (i == 0) {
                llm_buf_append(&first, text.data, text.len);
                ok(first.len > 80, "(%zu bytes)", first.len);
            }

            ok(text.len == first.len
               && memcmp(text.data, first.data, first.len) == 0,
               "the same bytes, %s, %d steps, %d times one was put back",
               k ? "greedy" : "drawn", (int) st.steps, (int) st.preemptions);

            if (i == 3) {
                ok(st.preemptions > 0, "(memory was short)");
            }

            llm_buf_done(&text);
        }

        llm_buf_done(&first);
    }

    llm_tokenizer_close(tok);
    llm_model_close(m);

    return done();
}
