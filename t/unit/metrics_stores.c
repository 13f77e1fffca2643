
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics of the stores: keys by state, sizes, and when to look again.
 */


#include <sys/mman.h>
#include <time.h>

#include "../../ngx_module/metrics/llm_metrics_int.h"
#include "store_test.h"


#define DAY  ((int64_t) 24 * 60 * 60)


static llm_metrics_t  *m;
static llm_store_t    *st;
static llm_calls_t    *calls;


static void
look(int64_t now, llm_metrics_stores_t *found)
{
    err[0] = '\0';
    ok(llm_metrics_stores_look(m, st, calls, now, 90 * DAY, E) == LLM_OK,
       "a look%s%s", err[0] ? ": " : "", err);
    llm_metrics_stores(m, found);
}


static void
test_keys(int64_t now)
{
    char                  key[LLM_KEY_LEN + 1], id[LLM_KEY_ID_LEN + 1];
    llm_key_t             k;
    llm_metrics_stores_t  found;

    look(now, &found);
    is_int((long long) found.active, 0, "no key");
    is_int((long long) found.next_expiry, 0, "none that ends");
    is_int((long long) found.known, 1, "but somebody looked");

    is_int(create(st, &k, key), LLM_OK, "a key of 90 days");

    memset(&k, 0, sizeof(k));
    strcpy(k.client, "client");
    k.role = LLM_ROLE_USER;
    k.expires = now + 20 * DAY;
    is_int(llm_key_create(st, secret, &k, key, E), LLM_OK, "one of 20");

    is_int(create(st, &k, key), LLM_OK, "another one");
    memcpy(id, k.id, sizeof(id));
    is_int(llm_key_revoke(st, id, &k, E), LLM_OK, "which is revoked");

    look(now, &found);
    is_int((long long) found.active, 2, "two are active");
    is_int((long long) found.expiring, 0, "none ends soon");
    is_int((long long) found.revoked, 1, "one is revoked");
    is_int((long long) found.next_expiry, now + 20 * DAY, "the next end");

    is_int(llm_metrics_get(&m->stores.recount), now + 6 * DAY,
           "a key's state changes two weeks before its end");

    look(now + 6 * DAY - 1, &found);
    is_int((long long) found.expiring, 0, "not earlier");
    look(now + 6 * DAY, &found);
    is_int((long long) found.expiring, 1, "then");
    is_int((long long) found.active, 2, "it is active still");
    look(now + 20 * DAY, &found);
    is_int((long long) found.expired, 1, "at its end it is not");
    is_int((long long) found.active, 1, "one is left");
    look(now + 100 * DAY, &found);
    is_int((long long) found.expired, 2, "until it is too old");
    is_int((long long) found.next_expiry, 0, "none ends any more");

    ok(found.bytes[LLM_METRICS_KEYS] >= 4096
       && found.bytes[LLM_METRICS_KEYS] < found.map[LLM_METRICS_KEYS],
       "bytes of the keys");
    ok(found.bytes[LLM_METRICS_CALLS] >= 4096
       && found.bytes[LLM_METRICS_CALLS] < found.map[LLM_METRICS_CALLS],
       "bytes of the calls");
    is_int((long long) found.bytes[LLM_METRICS_AUDIT], 0, "no audit");

    put_file(at("store/audit.mdb"), "12345", 5, 0600);
    look(now, &found);
    is_int((long long) found.bytes[LLM_METRICS_AUDIT], 5, "its size");
}


static void
test_due(int64_t now)
{
    char                  key[LLM_KEY_LEN + 1];
    int64_t               t;
    uint64_t              txnid;
    llm_key_t             k;
    llm_metrics_stores_t  found;

    look(now, &found);
    txnid = llm_store_txnid(st);
    atomic_store(&m->stores.took, 0);
    t = 1000000;

    atomic_store(&m->stores.begun, 0);
    is_int(llm_metrics_stores_due(m, txnid, t, now), 1, "nobody looked");
    is_int(llm_metrics_stores_due(m, txnid, t, now), 0, "now somebody does");
    is_int(llm_metrics_stores_due(m, txnid, t + 59999, now), 0,
           "nothing changed");
    is_int(llm_metrics_stores_due(m, txnid, t + 60000, now), 1,
           "sizes once a minute");

    t += 60000;
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 999, now), 0,
           "a change is not looked at at once");
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 1000, now), 1,
           "but soon");
    is_int(llm_metrics_stores_due(m, txnid, t + 2000, now + 30 * DAY), 1,
           "so is a key's end");

    t += 2000;
    atomic_store(&m->stores.took, 500);
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 9999, now), 0,
           "what takes long is not done often");
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 10000, now), 1,
           "but done");

    /* what a dead process may leave */

    atomic_store(&m->stores.took, UINT64_MAX);
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 4000000, now), 1,
           "an absurd time is no end");
    atomic_store(&m->stores.begun, INT64_MAX);
    is_int(llm_metrics_stores_due(m, txnid + 1, t + 4000000, now), 1,
           "nor is one to come");

    atomic_store(&m->stores.took, 0);
    is_int(create(st, &k, key), LLM_OK, "a new key");
    ok(llm_store_txnid(st) != txnid, "changes the number");
    look(now, &found);
    is_int((long long) found.active, 3, "and is found");
}


int
main(void)
{
    int64_t  now;

    if (test_begin() == -1) {
        return 1;
    }

    now = (int64_t) time(NULL);
    m = mmap(NULL, llm_metrics_size(), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (m == MAP_FAILED
        || llm_metrics_init(m, llm_metrics_size(), 1, E) != LLM_OK)
    {
        printf("Bail out! no memory\n");
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "is open");
    is_int(llm_store_create(path, 0, E), LLM_OK, "a store");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "is open");
    is_int(llm_calls_open(&calls, path, 0, E), LLM_OK, "its calls too");

    test_keys(now);
    test_due(now);

    llm_calls_close(calls);
    llm_store_close(st);
    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
