
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of calls.mdb share: a store's directory, calls.
 */


#ifndef _CALLS_TEST_H_INCLUDED_
#define _CALLS_TEST_H_INCLUDED_


#include "store_test.h"
#include "../../ngx_module/store/llm_calls_int.h"


#define KEY_A  "key_00000000000000000000000a"
#define KEY_B  "key_zzzzzzzzzzzzzzzzzzzzzzzz"
#define DAY    LLM_DAY_MS


static inline int64_t
now_ms(void)
{
    return (int64_t) time(NULL) * 1000;
}


static inline llm_call_t *
a_call(llm_call_t *call, const char *id, int64_t ms)
{
    memset(call, 0, sizeof(*call));

    strcpy(call->id, id);
    strcpy(call->request, "00112233445566778899aabbccddeeff");
    strcpy(call->model, "deepseek");
    strcpy(call->addr, "10.0.0.1");
    strcpy(call->agent, "curl/8.0");
    strcpy(call->path, "/v1/chat/completions");

    call->time = ms;
    call->status = 200;
    call->prompt_tokens = 10;
    call->completion_tokens = 5;
    call->duration = 100;

    return call;
}


/* n calls, a second apart, in one transaction */

static inline int
put_calls(llm_calls_t *c, const char *id, int64_t ms, int n)
{
    int         i, rc;
    llm_call_t  call;

    rc = llm_calls_begin(c, E);

    for (i = 0; rc == LLM_OK && i < n; i++) {
        rc = llm_calls_put(c, a_call(&call, id, ms + i * 1000), E);
    }

    if (rc != LLM_OK) {
        llm_calls_abort(c);
        return rc;
    }

    return llm_calls_commit(c, E);
}


static inline int
put_usage(llm_calls_t *c, const char *id, uint64_t calls)
{
    int          rc;
    llm_spent_t  u;

    memset(&u, 0, sizeof(u));
    u.calls = calls;

    rc = llm_calls_begin(c, E);

    if (rc == LLM_OK) {
        rc = llm_calls_put_usage(c, id, &u, E);
    }

    if (rc != LLM_OK) {
        llm_calls_abort(c);
        return rc;
    }

    return llm_calls_commit(c, E);
}


/* what a report counts; -1: it failed */

static inline long long
count_calls(llm_calls_t *c, const char *id)
{
    long long      n;
    llm_report_t  *r;

    if (llm_calls_report(c, id, 0, &r, E) != LLM_OK) {
        return -1;
    }

    n = (long long) r->calls;
    free(r);

    return n;
}


/* entries of a database */

static inline long long
count_entries(llm_calls_t *c, MDB_dbi dbi)
{
    MDB_txn   *txn;
    MDB_stat   stat;

    if (llm_calls_read(c, &txn, E) != LLM_OK) {
        return -1;
    }

    mdb_stat(txn, dbi, &stat);
    llm_calls_read_end(c, txn);

    return (long long) stat.ms_entries;
}


static inline void
calls_anew(void)
{
    unlink(at("store/calls.mdb"));
    unlink(at("store/calls.mdb-lock"));
}


#endif /* _CALLS_TEST_H_INCLUDED_ */
