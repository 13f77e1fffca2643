
/*
 * Copyright (C) nginx-llm contributors
 *
 * calls.mdb in several threads, each with a handle of its own: writers,
 * readers, and handles that come and go.
 */


#include <pthread.h>

#include "calls_test.h"


#define ROUNDS  40


typedef struct {
    llm_calls_t  *c;
    int           i;
    int           bad;
    char          err[LLM_ERRLEN];
} thread_t;


static void *
thread_writer(void *data)
{
    int           i, k, rc;
    char          id[64];
    thread_t     *t = data;
    llm_call_t    call;
    llm_spent_t   u;

    snprintf(id, sizeof(id), "key_0000000000000000000000%02d", t->i);
    memset(&u, 0, sizeof(u));

    for (i = 0; i < ROUNDS; i++) {
        rc = llm_calls_begin(t->c, t->err, LLM_ERRLEN);

        for (k = 0; rc == LLM_OK && k < 20; k++) {
            a_call(&call, id, now_ms());
            rc = llm_calls_put(t->c, &call, t->err, LLM_ERRLEN);
        }

        u.calls++;

        if (rc == LLM_OK) {
            rc = llm_calls_put_usage(t->c, id, &u, t->err, LLM_ERRLEN);
        }

        if (rc == LLM_OK) {
            rc = llm_calls_commit(t->c, t->err, LLM_ERRLEN);
        }

        t->bad += rc != LLM_OK;
    }

    return NULL;
}


static void *
thread_reader(void *data)
{
    int            i, rc;
    thread_t      *t = data;
    llm_spent_t    u;
    llm_calls_t   *d;
    llm_report_t  *r;

    for (i = 0; i < ROUNDS; i++) {
        rc = llm_calls_dup(&d, t->c, t->err, LLM_ERRLEN);
        t->bad += rc != LLM_OK;

        if (rc == LLM_OK) {
            rc = llm_calls_report(d, "key_000000000000000000000000", 0, &r,
                                  t->err, LLM_ERRLEN);
            t->bad += rc != LLM_OK || r->calls % 20 != 0;
            free(r);
        }

        rc = llm_calls_usage(t->c, "key_000000000000000000000001", &u, t->err,
                             LLM_ERRLEN);
        t->bad += rc != LLM_OK && rc != LLM_NOTFOUND;
        t->bad += llm_calls_txnid(t->c) == 0;
        llm_calls_close(d);
    }

    return NULL;
}


int
main(void)
{
    int           bad, i;
    thread_t      t[4];
    pthread_t     id[4];
    llm_calls_t  *c;

    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "a store");
    is_int(llm_calls_open(&c, path, 16 << 20, E), LLM_OK, "opened");

    memset(t, 0, sizeof(t));
    bad = 0;

    for (i = 0; i < 4; i++) {
        t[i].i = i;
        bad += llm_calls_dup(&t[i].c, c, E) != LLM_OK;
        bad += pthread_create(&id[i], NULL,
                              i < 2 ? thread_writer : thread_reader, &t[i])
               != 0;
    }

    for (i = 0; i < 4; i++) {
        pthread_join(id[i], NULL);
        bad += t[i].bad;

        if (t[i].bad) {
            printf("# %s\n", t[i].err);
        }

        llm_calls_close(t[i].c);
    }

    is_int(bad, 0, "two writers and two readers");
    is_int(count_entries(c, c->shared->calls), 2 * ROUNDS * 20, "all calls");
    llm_calls_close(c);

    remove_tree(dir);

    return done();
}
