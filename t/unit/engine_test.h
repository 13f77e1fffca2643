
/*
 * Copyright (C) nginx-llm contributors
 *
 * For the tests of an engine host with the demo model: a zone, and a thread
 * that plays a worker.
 */


#ifndef _ENGINE_TEST_H_INCLUDED_
#define _ENGINE_TEST_H_INCLUDED_


#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"
#include "../../engine/llm_engine.h"
#include "../../engine/llm_request.h"


#define MODEL  "t/models/demo"


static llm_zone_t         *z;
static llm_engine_conf_t   conf;


typedef struct {
    int   accepted;
    int   ended;
    int   status;           /* of an error */
    int   retry;
    int   choices;
    int   prompt_tokens;
    int   completion_tokens;
    int   tokens[LLM_CHOICES_MAX];
    int   finish[LLM_CHOICES_MAX];
    char  text[8192];       /* of choice 0 */
    char  code[64];
    char  param[64];
    char  message[LLM_ERRLEN];
} answer_t;


static inline void
engine_setup(void)
{
    char  err[LLM_ERRLEN];

    z = mmap(NULL, sizeof(llm_zone_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    llm_zone_init(z, err, sizeof(err));

    strcpy(conf.name, "demo");
    strcpy(conf.model, MODEL);
    conf.threads = 2;
    conf.max_batch = 8;
    conf.queue = 32;
    conf.kv_cache = 1 << 26;
}


static inline void
take(answer_t *a, const llm_event_t *ev)
{
    switch (ev->type) {

    case LLM_EVENT_ACCEPT:
        a->accepted = 1;
        a->choices = ev->u.accept.n_choice;
        a->prompt_tokens = (int) ev->u.accept.prompt_tokens;
        break;

    case LLM_EVENT_TEXT_PIECE:
        if (ev->choice == 0 && strlen(a->text) + ev->len < sizeof(a->text)) {
            strncat(a->text, ev->u.text, ev->len);
        }
        break;

    case LLM_EVENT_CODE:
        strncat(a->code, ev->u.text, ev->len);
        break;

    case LLM_EVENT_PARAM:
        strncat(a->param, ev->u.text, ev->len);
        break;

    case LLM_EVENT_MESSAGE:
        strncat(a->message, ev->u.text, ev->len);
        break;

    case LLM_EVENT_FINISH:
        a->completion_tokens += (int) ev->u.finish.completion_tokens;
        a->tokens[ev->choice] = (int) ev->u.finish.completion_tokens;
        a->finish[ev->choice] = ev->finish;
        break;

    case LLM_EVENT_ERROR:
        a->status = (int) ev->u.error.status;
        a->retry = (int) ev->u.error.retry_after;
        a->ended = 1;
        break;

    case LLM_EVENT_END:
        a->ended = 1;
        break;

    default:
        break;
    }
}


static inline int
submit(int w, const char *body, llm_api_e api, uint64_t account)
{
    int  slot;

    slot = llm_slot_claim(z, w);
    llm_slot_write(z, slot, body, strlen(body));
    llm_slot_submit(z, slot, llm_engine_hash("demo", 4), api, account);

    return slot;
}


/* stop: cancel after so many events, 0: never.  Other slots of the worker may
 * become ready meanwhile: they are looked at when their time comes */

static inline void
collect(int w, int slot, int stop, answer_t *a)
{
    int            n;
    llm_event_t    ev;
    struct pollfd  p = { z->worker[w].fd, POLLIN, 0 };

    memset(a, 0, sizeof(answer_t));

    n = 0;

    do {
        llm_worker_ready_begin(z, w);

        while (llm_worker_ready_next(z, w) != -1) { /* void */ }

        while (!a->ended && llm_slot_pop(z, slot, &ev)) {
            take(a, &ev);

            if (++n == stop) {
                llm_slot_release(z, slot);
                return;
            }
        }

    } while (!a->ended && poll(&p, 1, 60000) == 1);

    llm_slot_release(z, slot);
}


static inline void
ask(int w, const char *body, llm_api_e api, int stop, answer_t *a)
{
    collect(w, submit(w, body, api, 0), stop, a);
}


static inline int
wait_clean(void)
{
    int  i;

    for (i = 0; i < 2000; i++) {
        if (llm_zone_slots_used(z) == 0
            && atomic_load(&z->engine[0].blocks_used) == 0)
        {
            return 1;
        }

        usleep(10000);
    }

    return 0;
}


static inline void
messages(llm_host_t *host)
{
    char       text[LLM_ERRLEN];
    llm_log_e  level;

    while (llm_host_message(host, &level, text, sizeof(text))) {
        printf("# %s\n", text);
    }
}


static inline int
wait_ready(void)
{
    int  i;

    for (i = 0; i < 3000; i++) {
        if (atomic_load(&z->engine[0].state) == LLM_ENGINE_READY) {
            return 1;
        }

        usleep(10000);
    }

    return 0;
}


#endif /* _ENGINE_TEST_H_INCLUDED_ */
