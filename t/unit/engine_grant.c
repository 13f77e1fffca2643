
/*
 * Copyright (C) nginx-llm contributors
 *
 * The engine host asks before it uses tokens: what it asks for, what a
 * refusal does, and that an answer is the same whoever counts.  Then live
 * parameters, from the zone to an answer.  Runs under ThreadSanitizer too.
 */


#include "engine_test.h"


#define ACCOUNT  0x123456789abcull
#define ASKED    64
#define CONTEXT  600


/* keeps the account: any engine thread */
typedef struct {
    pthread_mutex_t  mutex;
    uint64_t         limit;             /* tokens that it grants */
    int              more;              /* claims to have so many more */
    int              n;
    uint64_t         want[ASKED];
    uint64_t         least[ASKED];
    uint64_t         got[ASKED];
    uint64_t         account;           /* the last */
} bank_t;


static bank_t  bank = { .mutex = PTHREAD_MUTEX_INITIALIZER };


static int
bank_grant(void *data, llm_grant_t *g)
{
    int      rc;
    bank_t  *b = data;

    pthread_mutex_lock(&b->mutex);

    rc = g->least <= b->limit ? LLM_OK : LLM_AGAIN;

    if (rc == LLM_OK) {
        g->got = (g->want < b->limit ? g->want : b->limit)
                 + (uint64_t) b->more;

    } else {
        g->status = 402;
        g->retry = 77;
        snprintf(g->code, sizeof(g->code), "quota_day");
        snprintf(g->message, sizeof(g->message), "no more tokens today");
    }

    if (b->n < ASKED) {
        b->want[b->n] = g->want;
        b->least[b->n] = g->least;
        b->got[b->n++] = rc == LLM_OK ? g->got : 0;
    }

    b->account = g->account;

    pthread_mutex_unlock(&b->mutex);

    return rc;
}


#define STORY  "{\"model\": \"demo\", \"prompt\": \"Once upon a time\", "     \
               "\"seed\": 5, \"ignore_eos\": true"


/* an answer with account, the bank granting up to limit */

static void
spend(int w, const char *body, uint64_t account, uint64_t limit, answer_t *a)
{
    bank.limit = limit;
    bank.n = 0;
    collect(w, submit(w, body, LLM_API_COMPLETION, account), 0, a);
}


static void
asked(int i, uint64_t want, uint64_t least, const char *name)
{
    ok(i < bank.n && bank.want[i] == want && bank.least[i] == least,
       "%s: %llu, %llu at least", name, (unsigned long long) want,
       (unsigned long long) least);

    if (i < bank.n && (bank.want[i] != want || bank.least[i] != least)) {
        printf("# asked for %llu, %llu at least\n",
               (unsigned long long) bank.want[i],
               (unsigned long long) bank.least[i]);
    }
}


static void
test_explicit(int w)
{
    int       p;
    char      text[8192];
    answer_t  a;

    spend(w, STORY ", \"max_tokens\": 30}", 0, 0, &a);
    is_int(bank.n, 0, "no account: nobody is asked");
    ok(a.status == 0 && a.tokens[0] == 30, "and all is there");
    strcpy(text, a.text);
    p = a.prompt_tokens;
    ok(p > 2, "(the prompt has %d tokens)", p);

    spend(w, STORY ", \"max_tokens\": 30}", ACCOUNT, 1 << 20, &a);
    is_int(bank.n, 1, "max_tokens: one question");
    asked(0, (uint64_t) p + 30, (uint64_t) p + 30, "for all of it");
    ok(bank.account == ACCOUNT, "with the account");
    is_int(a.tokens[0], 30, "all tokens");
    is_str(a.text, text, "the same text");

    spend(w, STORY ", \"max_tokens\": 30}", ACCOUNT, (uint64_t) p + 30, &a);
    is_int(a.tokens[0], 30, "exactly enough");

    spend(w, STORY ", \"max_tokens\": 30}", ACCOUNT, (uint64_t) p + 29, &a);
    ok(!a.accepted && a.status == 402, "one too few: refused");
    is_int(bank.n, 1, "after one question");
    is_str(a.code, "quota_day", "its code");
    is_str(a.message, "no more tokens today", "its message");
    is_int(a.retry, 77, "its Retry-After");
    is_str(a.param, "", "no field's fault");

    spend(w, STORY ", \"max_tokens\": 5000}", ACCOUNT, 1 << 20, &a);
    asked(0, CONTEXT, CONTEXT, "no more than the context leaves");
    is_int(a.tokens[0] + p, CONTEXT, "which is filled");

    spend(w, "{\"model\": \"demo\", \"prompt\": [[5, 6, 7], [8]], \"n\": 2, "
          "\"max_tokens\": 10, \"ignore_eos\": true}", ACCOUNT, 1 << 20, &a);
    asked(0, 44, 44, "each prompt counts once, each choice its tokens");
    is_int(a.prompt_tokens, 4, "as usage says it");
    ok(a.tokens[0] == 10 && a.tokens[3] == 10, "all choices have theirs");
}


static void
test_open(int w)
{
    int       i, p, n;
    char      text[8192];
    answer_t  a;

    spend(w, STORY "}", 0, 0, &a);
    strcpy(text, a.text);
    p = a.prompt_tokens;
    n = a.tokens[0];
    is_int(n + p, CONTEXT, "without max_tokens up to the context");

    spend(w, STORY "}", ACCOUNT, 1 << 20, &a);
    is_str(a.text, text, "piece by piece: the same text");
    is_int(a.tokens[0], n, "as long");
    asked(0, (uint64_t) p + 256, (uint64_t) p + 1, "first");
    asked(1, (uint64_t) p + 512, (uint64_t) p + 257, "then");
    asked(2, CONTEXT, (uint64_t) p + 513, "the rest of the context");
    is_int(bank.n, 3, "and no more");

    /* refused in the middle */

    spend(w, STORY "}", ACCOUNT, (uint64_t) p + 256, &a);
    ok(a.accepted && a.status == 0, "refused in the middle: no error");
    is_int(a.tokens[0], 256, "exactly what was granted");
    is_int(a.finish[0], LLM_FINISH_LENGTH, "a length");
    is_int(bank.n, 2, "after two questions");
    ok(a.text[0] && strncmp(a.text, text, strlen(a.text)) == 0,
       "the beginning of the text");

    /* less than was wanted */

    spend(w, STORY "}", ACCOUNT, (uint64_t) p + 300, &a);
    is_int(a.tokens[0], 300, "what is left of a limit is used");
    asked(1, (uint64_t) p + 512, (uint64_t) p + 257, "asked for more");
    asked(2, (uint64_t) p + 556, (uint64_t) p + 301, "and again");

    spend(w, STORY "}", ACCOUNT, (uint64_t) p + 1, &a);
    is_int(a.tokens[0], 1, "a single token");
    spend(w, STORY "}", ACCOUNT, (uint64_t) p, &a);
    is_int(a.status, 402, "none: refused");

    /* a holder that died had more */

    bank.more = 5000;
    spend(w, STORY "}", ACCOUNT, (uint64_t) p + 256, &a);
    bank.more = 0;
    is_int(a.tokens[0], 256, "more than was asked for is not used");

    /* choices */

    spend(w, STORY ", \"n\": 2}", ACCOUNT, (uint64_t) p + 21, &a);
    asked(0, (uint64_t) p + 512, (uint64_t) p + 2, "two choices");
    is_int(a.completion_tokens, 21, "share what there is");
    ok(a.tokens[0] == 10 && a.tokens[1] == 11, "equally");
    is_str(a.finish[0] == LLM_FINISH_LENGTH && a.finish[1] == a.finish[0]
           ? "length" : "", "length", "and end so");

    spend(w, STORY ", \"n\": 2}", ACCOUNT, (uint64_t) p + 600, &a);
    is_int(a.completion_tokens, 600, "two choices never pass a limit");

    for (i = 1; i < bank.n; i++) {
        if (bank.least[i] != bank.got[i - 1] + 1 && bank.got[i - 1]) {
            ok(0, "question %d is not about a total", i);
        }
    }
}


static void
test_prompt(int w)
{
    int       i;
    char      body[8192];
    size_t    k;
    answer_t  a;

    k = (size_t) sprintf(body, "{\"model\": \"demo\", \"prompt\": [5");

    for (i = 1; i < CONTEXT - 24; i++) {
        k += (size_t) sprintf(body + k, ", 5");
    }

    (void) sprintf(body + k, "], \"ignore_eos\": true, \"n\": 2}");

    spend(w, body, ACCOUNT, 1 << 20, &a);
    asked(0, CONTEXT + 24, CONTEXT - 22, "a prompt that leaves 24 tokens");
    is_int(bank.n, 1, "one question");
    is_int(a.completion_tokens, 48, "all that there is room for");
}


/* a choice that ends early leaves its tokens to the others: exactly what all
 * use is enough */

static void
test_spare(int w)
{
    int         i;
    answer_t    a, b;
    const char  *body = "{\"model\": \"demo\", \"prompt\": \"Once upon a "
                        "time\", \"seed\": 5, \"n\": 4, \"temperature\": 1}";

    spend(w, body, 0, 0, &a);

    printf("# ended after %d, %d, %d, %d tokens\n", a.tokens[0], a.tokens[1],
           a.tokens[2], a.tokens[3]);

    spend(w, body, ACCOUNT,
          (uint64_t) (a.prompt_tokens + a.completion_tokens), &b);
    ok(b.status == 0 && b.completion_tokens == a.completion_tokens,
       "four choices, and just enough for them");

    for (i = 0; i < 4; i++) {
        ok(b.finish[i] == a.finish[i] && b.tokens[i] == a.tokens[i],
           "each comes to its own end");
    }

    spend(w, body, ACCOUNT,
          (uint64_t) (a.prompt_tokens + a.completion_tokens - 1), &b);
    is_int(b.completion_tokens, a.completion_tokens - 1, "one too few");
}


static void
put(const char *name, double value)
{
    llm_param_values_t  v;

    llm_zone_params_get(z, llm_engine_hash("demo", 4), &v);
    llm_param_put(&v, name, value);
    llm_zone_params_set(z, llm_engine_hash("demo", 4), &v);
}


static void
unset(void)
{
    llm_param_values_t  v;

    memset(&v, 0, sizeof(v));
    llm_zone_params_set(z, llm_engine_hash("demo", 4), &v);
}


static void
test_params(int w)
{
    int       i, slot[6];
    char      text[8192];
    answer_t  a;

    spend(w, STORY ", \"max_tokens\": 20, \"temperature\": 0}", 0, 0, &a);
    strcpy(text, a.text);

    put("temperature", 0);
    put("max_tokens", 20);
    spend(w, STORY "}", ACCOUNT, 1 << 20, &a);
    is_str(a.text, text, "a default counts from the next request on");
    is_int(a.tokens[0], 20, "max_tokens too");
    asked(0, (uint64_t) a.prompt_tokens + 20, (uint64_t) a.prompt_tokens + 1,
          "and for the grant, but a limit it is not");

    put("max_tokens_limit", 30);
    spend(w, STORY ", \"max_tokens\": 31}", ACCOUNT, 1 << 20, &a);
    ok(a.status == 400 && strcmp(a.code, "invalid_value") == 0
       && strcmp(a.param, "max_tokens") == 0, "a limit");
    is_int(bank.n, 0, "nothing is asked for then");

    /* one runs, one waits, no more */

    unset();
    put("max_batch", 1);
    put("queue", 1);

    ok(wait_clean(), "all is idle");

    for (i = 0; i < 2; i++) {
        slot[i] = submit(w, STORY ", \"max_tokens\": 250}",
                         LLM_API_COMPLETION, 0);

        while (llm_slot_state(z, slot[i]) != LLM_SLOT_ACTIVE) {
            usleep(1000);
        }
    }

    spend(w, STORY "}", 0, 0, &a);
    ok(a.status == 503 && strcmp(a.code, "queue_full") == 0,
       "the queue's length counts at once");

    put("queue", 8);

    for (i = 2; i < 6; i++) {
        slot[i] = submit(w, STORY ", \"max_tokens\": 5}", LLM_API_COMPLETION,
                         0);
    }

    ok(atomic_load(&z->engine[0].running) <= 1, "one at a time");
    put("max_batch", 100);

    for (i = 5; i >= 0; i--) {
        collect(w, slot[i], 0, &a);
        ok(a.status == 0 && a.ended, "none is lost");
    }

    unset();
}


int
main(void)
{
    int          w;
    char         err[LLM_ERRLEN];
    llm_host_t  *host;

    alarm(300);

    engine_setup();
    conf.context = CONTEXT;
    atomic_store(&z->wanted, 1);
    is_int(llm_host_start(&host, z, &conf, 1, 1, 0, bank_grant, &bank, NULL,
                          err, sizeof(err)), LLM_OK, "a host starts");
    ok(wait_ready(), "it is ready");

    w = llm_worker_attach(z, getpid());

    test_explicit(w);
    test_open(w);
    test_prompt(w);
    test_spare(w);
    test_params(w);

    ok(wait_clean(), "no slot and no block is left");
    messages(host);

    llm_worker_detach(z, w);
    llm_host_stop(host);
    llm_zone_done(z);

    return done();
}
