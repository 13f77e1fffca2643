
/*
 * Copyright (C) nginx-llm contributors
 *
 * The engine host with the demo model: requests through the zone by several
 * threads that play workers, cancellations, a hand-over by configuration, a
 * stop in the middle.  Runs under ThreadSanitizer too.
 */


#include "engine_test.h"


#define WORKERS  3
#define ROUNDS   12


static const char  story[] =
    "{\"model\": \"demo\", \"prompt\": \"Once upon a time\", "
    "\"temperature\": 0, \"max_tokens\": 40, \"ignore_eos\": true}";

static const char  longer[] =
    "{\"model\": \"demo\", \"prompt\": \"Once upon a time\", "
    "\"n\": 8, \"max_tokens\": 900, \"ignore_eos\": true}";

static char  want[8192];


static void
test_answers(int w)
{
    int       i;
    answer_t  a;

    static const struct {
        const char  *body;
        llm_api_e    api;
        int          status;
        const char  *code;
    } bad[] = {
        { "", LLM_API_CHAT, 400, "invalid_json" },
        { "[1]", LLM_API_CHAT, 400, "invalid_type" },
        { "{\"model\": \"other\", \"prompt\": \"x\"}", LLM_API_COMPLETION,
          404, "model_not_found" },
        { "{\"model\": \"demo\", \"prompt\": \"x\", \"temperature\": 3}",
          LLM_API_COMPLETION, 400, "invalid_value" },
    };

    ask(w, story, LLM_API_COMPLETION, 0, &a);
    ok(a.accepted && a.ended && a.status == 0, "a completion");
    is_int(a.completion_tokens, 40, "its tokens");
    ok(a.text[0], "its text");
    strcpy(want, a.text);

    ask(w, "{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", "
        "\"content\": \"Hello!\"}], \"n\": 3, \"max_tokens\": 20}",
        LLM_API_CHAT, 0, &a);
    ok(a.accepted && a.ended && a.status == 0, "a chat completion");
    is_int(a.choices, 3, "of three choices");
    ok(a.text[0], "with text");

    for (i = 0; i < (int) (sizeof(bad) / sizeof(bad[0])); i++) {
        ask(w, bad[i].body, bad[i].api, 0, &a);
        is_int(a.status, bad[i].status, "a bad one: status");
        is_str(a.code, bad[i].code, "its code");
    }
}


static _Atomic int  wrong, whole;


static void *
worker(void *data)
{
    int       i, w;
    answer_t  a;

    w = llm_worker_attach(z, getpid());

    for (i = 0; i < ROUNDS; i++) {
        if (i % 3 == 2) {
            ask(w, story, LLM_API_COMPLETION, 3 + i, &a);
            continue;
        }

        ask(w, story, LLM_API_COMPLETION, 0, &a);
        atomic_fetch_add(strcmp(a.text, want) == 0 ? &whole : &wrong, 1);
    }

    llm_worker_detach(z, w);

    return NULL;
}


static void
test_many(void)
{
    int        i;
    pthread_t  thread[WORKERS];

    for (i = 0; i < WORKERS; i++) {
        pthread_create(&thread[i], NULL, worker, NULL);
    }

    for (i = 0; i < WORKERS; i++) {
        pthread_join(thread[i], NULL);
    }

    is_int(atomic_load(&wrong), 0, "the same text whatever else runs");
    is_int(atomic_load(&whole), WORKERS * ROUNDS * 2 / 3, "every time");
    ok(wait_clean(), "no slot and no block is left");
}


static int  stopped_slot;


static void *
stopper(void *host)
{
    /* a request that no host has taken waits for the next one */

    while (llm_slot_state(z, stopped_slot) != LLM_SLOT_ACTIVE) {
        usleep(1000);
    }

    llm_host_stop(host);

    return NULL;
}


int
main(void)
{
    int          i, w;
    char         err[LLM_ERRLEN];
    answer_t     a;
    pthread_t    thread;
    llm_host_t  *host, *next;

    alarm(300);

    engine_setup();

    is_int(llm_engine_check(&conf, err, sizeof(err)), LLM_OK,
           "the model is fine");
    ok(llm_engine_conf_hash(&conf, 1) == llm_engine_conf_hash(&conf, 1),
       "a configuration's hash is steady");

    atomic_store(&z->wanted, 1);
    is_int(llm_host_start(&host, z, &conf, 1, 1, 0, NULL, NULL, NULL, err,
                          sizeof(err)), LLM_OK, "a host starts");
    ok(wait_ready(), "it is ready");
    ok(llm_host_holds(host), "it holds the lease");

    w = llm_worker_attach(z, getpid());
    test_answers(w);
    test_many();

    /* another configuration: the first leaves, the next takes over */

    is_int(llm_host_start(&next, z, &conf, 1, 2, 0, NULL, NULL, NULL, err,
                          sizeof(err)), LLM_OK, "a standby");
    ok(!llm_host_holds(next), "waits");
    atomic_store(&z->wanted, 2);
    llm_zone_ring(z);

    for (i = 0; i < 2000 && !(llm_host_left(host) && llm_host_holds(next));
         i++)
    {
        usleep(10000);
    }

    ok(llm_host_left(host), "the first leaves by itself");
    ok(llm_host_holds(next), "the standby has the lease");
    messages(host);
    llm_host_stop(host);

    ask(w, story, LLM_API_COMPLETION, 0, &a);
    is_str(a.text, want, "and serves");
    messages(next);

    /* a stop in the middle of a long answer */

    stopped_slot = submit(w, longer, LLM_API_COMPLETION, 0);
    pthread_create(&thread, NULL, stopper, next);
    collect(w, stopped_slot, 0, &a);

    is_int(a.status, 503, "a stopped engine says so");
    is_str(a.code, "engine_stopped", "with a code");
    pthread_join(thread, NULL);

    llm_worker_detach(z, w);
    is_int(llm_zone_slots_used(z), 0, "no slot is left");
    is_int(llm_zone_blocks_used(z), 0, "no block of a body is left");

    llm_zone_done(z);

    return done();
}
