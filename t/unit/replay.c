
/*
 * Copyright (C) nginx-llm contributors
 *
 * Answers of an engine host, while others run in the same batch, replayed from
 * body, seed and parameters: byte by byte the same.  And what tells builds
 * apart.
 */


#include <fcntl.h>

#include "engine_test.h"
#include "../../engine/llm_replay.h"


typedef struct {
    const char  *name;
    llm_api_e    api;
    const char  *body;
    int          cut;           /* cancelled after so many pieces; 0: not */
} case_t;


typedef struct {
    llm_event_t  accept;
    int          n_piece;
    int          ended;
    int          status;
    llm_buf_t    text[LLM_CHOICES_MAX];
} got_t;


static const case_t  cases[] = {

    { "greedy", LLM_API_COMPLETION,
      "{\"model\": \"demo\", \"prompt\": \"Once upon a time\", "
      "\"temperature\": 0, \"max_tokens\": 40}", 0 },

    { "sampled, without a seed", LLM_API_COMPLETION,
      "{\"model\": \"demo\", \"prompt\": \"The cat\", \"max_tokens\": 60, "
      "\"temperature\": 1.2}", 0 },

    { "sampled, with a seed, two choices", LLM_API_CHAT,
      "{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", "
      "\"content\": \"Tell me of the sea\"}], \"n\": 2, \"seed\": 42, "
      "\"temperature\": 0.9, \"top_p\": 0.95, \"max_tokens\": 50}", 0 },

    { "by the engine's parameters", LLM_API_CHAT,
      "{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", "
      "\"content\": \"Hello!\"}], \"stream\": true}", 0 },

    { "a negative seed, two prompts, repeated", LLM_API_COMPLETION,
      "{\"model\": \"demo\", \"prompt\": [\"One day, a little girl whose name "
      "was \\u00c4nne-Marie-Charlotte went out\", \"Two\"], \"n\": 2, "
      "\"seed\": -7, \"echo\": true, \"max_tokens\": 20}", 0 },

    { "stop strings, penalties, a bias", LLM_API_COMPLETION,
      "{\"model\": \"demo\", \"prompt\": \"There was\", \"stop\": [\" the\", "
      "\". \"], \"presence_penalty\": 0.5, \"frequency_penalty\": 0.5, "
      "\"repetition_penalty\": 1.1, \"min_p\": 0.02, \"top_k\": 30, "
      "\"logit_bias\": {\"100\": 3}, \"max_tokens\": 200}", 0 },

    { "up to the context", LLM_API_COMPLETION,
      "{\"model\": \"demo\", \"prompt\": \"Go\", \"ignore_eos\": true, "
      "\"max_tokens\": 100000, \"temperature\": 0.7}", 0 },

    { "cut by its client", LLM_API_CHAT,
      "{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", "
      "\"content\": \"On and on\"}], \"max_tokens\": 700, "
      "\"ignore_eos\": true, \"stream\": true}", 17 },
};

#define CASES  ((int) (sizeof(cases) / sizeof(cases[0])))


static void
got_event(got_t *g, const llm_event_t *ev)
{
    switch (ev->type) {

    case LLM_EVENT_ACCEPT:
        g->accept = *ev;
        break;

    case LLM_EVENT_TEXT_PIECE:
        llm_buf_append(&g->text[ev->choice], ev->u.text, ev->len);
        g->n_piece++;
        break;

    case LLM_EVENT_ERROR:
        g->status = (int) ev->u.error.status;
        g->ended = 1;
        break;

    case LLM_EVENT_END:
        g->ended = 1;
        break;

    default:
        break;
    }
}


/* all cases at once */

static void
run_cases(int w, got_t *got)
{
    int            i, left, slot[CASES];
    llm_event_t    ev;
    struct pollfd  p = { z->worker[w].fd, POLLIN, 0 };

    for (i = 0; i < CASES; i++) {
        slot[i] = submit(w, cases[i].body, cases[i].api, 0);
    }

    for (left = CASES; left && poll(&p, 1, 60000) == 1; /* void */ ) {
        llm_worker_ready_begin(z, w);

        while (llm_worker_ready_next(z, w) != -1) { /* void */ }

        for (i = 0; i < CASES; i++) {
            while (!got[i].ended && llm_slot_pop(z, slot[i], &ev)) {
                got_event(&got[i], &ev);

                if (cases[i].cut && got[i].n_piece == cases[i].cut) {
                    got[i].ended = 1;
                }

                if (got[i].ended) {
                    llm_slot_release(z, slot[i]);
                    left--;
                }
            }
        }
    }
}


static void
replay_conf(llm_replay_conf_t *rc, const case_t *c, const got_t *g)
{
    memset(rc, 0, sizeof(llm_replay_conf_t));

    rc->api = c->api;
    rc->model = "demo";
    rc->body = c->body;
    rc->len = strlen(c->body);
    rc->seed = g->accept.u.accept.seed;
    rc->effective = g->accept.u.accept.effective;
}


static int
same(const llm_buf_t *a, const llm_buf_t *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}


static void
test_case(llm_replay_t *rp, const case_t *c, const got_t *g)
{
    int                  i, rc, equal;
    char                 err[LLM_ERRLEN] = "";
    size_t               k;
    llm_replay_conf_t    conf;
    llm_replay_answer_t  a;

    is_int(g->status, 0, c->name);
    ok(g->accept.u.accept.build == llm_replay_build(rp), "the same build");

    replay_conf(&conf, c, g);
    rc = llm_replay(rp, &conf, &a, err, sizeof(err));
    is_int(rc, LLM_OK, "is replayed");
    is_str(err, "", "without an error");
    is_int(a.n, g->accept.u.accept.n_choice, "as many choices");
    is_int(a.prompt_tokens, g->accept.u.accept.prompt_tokens,
           "the same prompt");

    if (c->cut == 0) {
        for (i = 0, equal = 0; i < a.n; i++) {
            equal += same(&a.choice[i].text, &g->text[i]);
        }

        is_int(equal, a.n, "the same bytes");
        ok(a.choice[0].text.len > 0, "that are some");

    } else {
        for (k = 0; k < a.choice[0].n_piece; k++) {
            if (a.choice[0].piece[k] == g->text[0].len) {
                break;
            }
        }

        ok(k < a.choice[0].n_piece, "the same pieces");
        ok(a.choice[0].text.len > g->text[0].len
           && memcmp(a.choice[0].text.data, g->text[0].data, g->text[0].len)
              == 0, "the same bytes as far as it went");

        llm_replay_done(&a);
        conf.enough[0] = g->text[0].len;
        is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_OK,
               "no further");
        ok(a.choice[0].text.len >= g->text[0].len
           && a.choice[0].text.len < g->text[0].len + 200, "than that");
    }

    llm_replay_done(&a);
}


static void
test_errors(llm_replay_t *rp, const got_t *g)
{
    char                 err[LLM_ERRLEN];
    llm_replay_conf_t    conf;
    llm_replay_answer_t  a;

    replay_conf(&conf, &cases[1], &g[1]);
    conf.seed++;
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_OK,
           "another seed");
    ok(!same(&a.choice[0].text, &g[1].text[0]), "another text");
    llm_replay_done(&a);

    replay_conf(&conf, &cases[1], &g[1]);
    conf.effective.temperature = (float) (0.0 / 0.0);
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_INVALID,
           "parameters that can't be");
    llm_replay_done(&a);

    replay_conf(&conf, &cases[1], &g[1]);
    conf.effective.max_tokens = UINT32_MAX;
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_INVALID,
           "more tokens than there can be");
    llm_replay_done(&a);

    replay_conf(&conf, &cases[1], &g[1]);
    conf.len -= 3;
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_INVALID,
           "a body that is none");
    ok(strstr(err, "invalid_json") != NULL, "says so");
    llm_replay_done(&a);

    replay_conf(&conf, &cases[1], &g[1]);
    conf.model = "other";
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_INVALID,
           "a body of another engine");
    llm_replay_done(&a);

    replay_conf(&conf, &cases[1], &g[1]);
    conf.tokens = 5;
    is_int(llm_replay(rp, &conf, &a, err, sizeof(err)), LLM_OK,
           "some tokens only");
    is_int(a.choice[0].tokens, 5, "no more");
    is_int(a.choice[0].finish, LLM_FINISH_LENGTH, "and their end");
    llm_replay_done(&a);

    is_int(llm_replay_open(&rp, "/nonexistent", LLK_DEVICE_AUTO, 1, NULL, NULL, err,
                           sizeof(err)), LLM_NOTFOUND, "no model");
}


static uint64_t
build_of(const char *dir, llk_device_e device, int threads)
{
    char           err[LLM_ERRLEN];
    uint64_t       build;
    llm_replay_t  *rp;

    if (llm_replay_open(&rp, dir, device, threads, NULL, NULL, err,
                        sizeof(err)) != LLM_OK)
    {
        printf("# %s\n", err);
        return 0;
    }

    build = llm_replay_build(rp);
    llm_replay_close(rp);

    return build;
}


static void
test_build(uint64_t build)
{
    int       fd;
    char      dir[] = "/tmp/llm-replay-XXXXXX", text[256];
    uint64_t  other;

    is_int(build_of(MODEL, LLK_DEVICE_AUTO, 1) == build, 1, "one thread or two");

    other = build_of(MODEL, LLK_DEVICE_REF, 1);
    is_int(other >> 32 == build >> 32, 1, "another back end: the model is "
           "the same");
    ok((uint32_t) other != (uint32_t) build, "the arithmetic is not");

    if (mkdtemp(dir) == NULL) {
        return;
    }

    snprintf(text, sizeof(text), "cp %s/* %s/ && chmod u+w %s/*", MODEL, dir,
             dir);
    ok(system(text) == 0 && build_of(dir, LLK_DEVICE_AUTO, 2) == build, "a copy");

    /* the last weight */

    snprintf(text, sizeof(text), "%s/model.safetensors", dir);
    fd = open(text, O_RDWR);
    lseek(fd, -1, SEEK_END);
    ok(write(fd, "\x01", 1) == 1, "another weight");
    close(fd);

    other = build_of(dir, LLK_DEVICE_AUTO, 2);
    ok(other >> 32 != build >> 32, "another model");
    ok((uint32_t) other == (uint32_t) build, "by the same arithmetic");

    snprintf(text, sizeof(text), "cp %s/model.safetensors %s/ && "
             "echo >>%s/tokenizer_config.json", MODEL, dir, dir);
    ok(system(text) == 0, "another configuration");
    other = build_of(dir, LLK_DEVICE_AUTO, 2);
    ok(other != 0 && other >> 32 != build >> 32, "another model");

    snprintf(text, sizeof(text), "rm -r %s", dir);
    (void) !system(text);
}


int
main(void)
{
    int                  i, k, w;
    char                 err[LLM_ERRLEN];
    got_t                got[CASES];
    llm_host_t          *host;
    llm_replay_t        *rp;
    llm_param_values_t   v;

    alarm(300);
    engine_setup();
    memset(got, 0, sizeof(got));
    memset(&v, 0, sizeof(v));

    is_int(llm_host_start(&host, z, &conf, 1, 1, 0, NULL, NULL, NULL, err,
                          sizeof(err)), LLM_OK, "a host starts");
    atomic_store(&z->wanted, 1);
    ok(wait_ready(), "it is ready");

    w = llm_worker_attach(z, getpid());

    llm_param_put(&v, "temperature", 1.7);
    llm_param_put(&v, "top_p", 0.9);
    llm_param_put(&v, "max_tokens", 33);
    is_int(llm_zone_params_set(z, llm_engine_hash("demo", 4), &v), LLM_OK,
           "parameters of the engine");

    run_cases(w, got);

    llm_worker_detach(z, w);
    messages(host);
    llm_host_stop(host);

    is_int(llm_replay_open(&rp, MODEL, LLK_DEVICE_AUTO, 1, NULL, NULL, err,
                           sizeof(err)), LLM_OK, "the model is opened");

    for (i = 0; i < CASES; i++) {
        test_case(rp, &cases[i], &got[i]);
    }

    is_int(got[3].accept.u.accept.effective.max_tokens, 33,
           "the engine's parameters were in force");

    test_errors(rp, got);
    llm_replay_close(rp);

    test_build(got[0].accept.u.accept.build);

    for (i = 0; i < CASES; i++) {
        for (k = 0; k < LLM_CHOICES_MAX; k++) {
            llm_buf_done(&got[i].text[k]);
        }
    }

    llm_zone_done(z);

    return done();
}
