
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of the audit trail share: a store, a secret, calls.
 */


#ifndef _AUDIT_TEST_H_INCLUDED_
#define _AUDIT_TEST_H_INCLUDED_


#include "store_test.h"
#include "../../ngx_module/audit/llm_audit_int.h"


#define KEY_A   "key_00000000000000000000000a"
#define KEY_B   "key_zzzzzzzzzzzzzzzzzzzzzzzz"
#define TEXT(s)  (llm_audit_text_t) { s, sizeof(s) - 1 }
#define HOUR    ((int64_t) 3600000)

/* 2026-11-05, on the hour */
#define T0      ((int64_t) 1793836800000)

#define BODY  "{\"model\":\"demo\",\"messages\":[{\"role\":\"user\","          \
              "\"content\":\"What is a chain?\"}]}"


static inline llm_audit_open_t *
an_open(llm_audit_open_t *o, const char *key, int64_t wall, unsigned i)
{
    memset(o, 0, sizeof(*o));

    snprintf(o->request, sizeof(o->request), "%032x", i);
    o->wall = wall;
    o->key = key;
    o->role = LLM_ROLE_USER;
    o->client = TEXT("client");
    o->addr = TEXT("192.0.2.1");
    o->method = TEXT("POST");
    o->path = TEXT("/v1/chat/completions");
    o->model = TEXT("demo");
    o->agent = TEXT("curl/8.0");
    o->input = TEXT(BODY);

    return o;
}


static inline llm_audit_close_t *
a_close(llm_audit_close_t *c, uint64_t number, int64_t wall, unsigned i)
{
    memset(c, 0, sizeof(*c));

    snprintf(c->request, sizeof(c->request), "%032x", i);
    c->number = number;
    c->wall = wall;
    c->status = 200;
    c->prompt_tokens = 12;
    c->completion_tokens = 34;
    c->total_us = 1234567;
    c->sent = 4096;
    c->build = 0x1234;
    c->finish = "stop";
    c->output[0] = TEXT("A chain is a list.");
    c->n_output = 1;

    return c;
}


/* n calls in one transaction, ms apart, each with both records */

static inline int
put_audit(llm_audit_t *a, const char *key, int64_t wall, int ms, int n)
{
    int                i, rc;
    uint64_t           number;
    llm_audit_open_t   o;
    llm_audit_close_t  c;

    rc = llm_audit_begin(a, E);

    for (i = 0; rc == LLM_OK && i < n; i++) {
        rc = llm_audit_put_open(a, an_open(&o, key, wall + i * ms,
                                           (unsigned) i), &number, E);

        if (rc == LLM_OK) {
            rc = llm_audit_put_close(a, a_close(&c, number, wall + i * ms,
                                                (unsigned) i), E);
        }
    }

    if (rc != LLM_OK) {
        llm_audit_abort(a);
        return rc;
    }

    return llm_audit_commit(a, E);
}


static inline long long
entries(llm_audit_t *a, MDB_dbi dbi)
{
    MDB_txn   *txn;
    MDB_stat   stat;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        return -1;
    }

    mdb_stat(txn, dbi, &stat);
    llm_audit_read_end(a, txn);

    return (long long) stat.ms_entries;
}


/*
 * The trail from its base to its head: the number of faults, each told.  What
 * llm_audit_verify() does, in short and made apart from it.
 */

static inline int
audit_faults(llm_audit_t *a)
{
    int                 bad, proven;
    MDB_txn            *txn;
    MDB_val             v;
    uint8_t             hash[LLM_AUDIT_HASH];
    int64_t             time;
    uint64_t            n, to;
    llm_audit_keys_t   *k;
    llm_audit_mark_t    base, head, file;
    llm_audit_epoch_t   ep;
    llm_audit_record_t  r;

    bad = 0;
    to = 0;

    /* first: it may be behind, not ahead */

    if (llm_audit_head_read(a->shared, &file, &proven, E) != LLM_OK
        || proven != 1)
    {
        fprintf(stderr, "# audit.head: %d %s\n", proven, err);
        bad++;
    }

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        return 1;
    }

    if (llm_audit_mark_get(a, txn, 'H', &head, E) != LLM_OK
        || llm_audit_mark_get(a, txn, 'B', &base, E) != LLM_OK
        || llm_audit_keys(a, txn, head.epoch, &k, E) != LLM_OK
        || !llm_audit_mark_check(k, &head)
        || llm_audit_keys(a, txn, base.epoch, &k, E) != LLM_OK
        || !llm_audit_mark_check(k, &base))
    {
        fprintf(stderr, "# marks\n");
        bad++;
    }

    memcpy(hash, base.hash, LLM_AUDIT_HASH);
    time = base.time;

    for (n = base.number + 1; n <= head.number; n++) {

        if (llm_audit_get(a, txn, n, &v, E) != LLM_OK
            || llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK)
        {
            fprintf(stderr, "# record %d\n", (int) n);
            bad++;
            break;
        }

        if (memcmp(r.previous, hash, LLM_AUDIT_HASH) != 0 || r.time < time) {
            fprintf(stderr, "# record %d: chain\n", (int) n);
            bad++;
        }

        if (r.type == LLM_AUDIT_SIGNED) {
            to = n - 1;

            if (llm_audit_epoch_get(a, txn, r.epoch, &ep, E) != LLM_OK
                || !llm_audit_checkpoint_check(ep.public_key, r.epoch, n - 1,
                                               r.time, hash, r.signature))
            {
                fprintf(stderr, "# record %d: signature\n", (int) n);
                bad++;
            }
        }

        time = r.time;
        llm_audit_hash(n, v.mv_data, v.mv_size, hash);
    }

    if (memcmp(hash, head.hash, LLM_AUDIT_HASH) != 0
        || llm_audit_get(a, txn, n, &v, E) != LLM_NOTFOUND
        || (to != 0 && to != head.signed_to) || time != head.time)
    {
        fprintf(stderr, "# head\n");
        bad++;
    }

    if (file.number > head.number) {
        fprintf(stderr, "# audit.head is ahead\n");
        bad++;
    }

    llm_audit_read_end(a, txn);

    return bad;
}


static inline void
audit_anew(void)
{
    unlink(at("store/audit.mdb"));
    unlink(at("store/audit.mdb-lock"));
    unlink(at("store/audit.head"));
}


static inline int
audit_begin(void)
{
    if (test_begin() == -1) {
        return -1;
    }

    if (llm_store_create(path, 4 << 20, E) != LLM_OK
        || llm_secret_create(at("secret"), E) != LLM_OK
        || llm_secret_open(&secret, at("secret"), E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        return -1;
    }

    return 0;
}


#endif /* _AUDIT_TEST_H_INCLUDED_ */
