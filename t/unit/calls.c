
/*
 * Copyright (C) nginx-llm contributors
 *
 * calls.mdb: usage and call records, reports, dropping, bounds, a full map,
 * texts and records of any bytes.
 */


#include "calls_test.h"


static void
test_open(void)
{
    char         other[300];
    struct stat  sb;
    llm_calls_t *c, *d;

    is_int(llm_calls_open(&c, path, 0, E), LLM_NOTFOUND, "no store");
    ok(c == NULL && strstr(err, path) != NULL, "the message: %s", err);

    mkdir(path, 0700);
    is_int(llm_calls_open(&c, path, 0, E), LLM_NOTFOUND, "an empty directory");
    ok(access(at("store/calls.mdb"), F_OK) == -1, "stays empty");

    is_int(llm_store_create(path, 64 << 20, E), LLM_OK, "a store");
    is_int(llm_calls_open(&c, path, 4096, E), LLM_INVALID, "a size too small");

    put_file(at("store/calls-new.mdb"), "half", 4, 0600);
    put_file(at("store/calls.mdb-lock"), "stale", 5, 0600);
    is_int(llm_calls_open(&c, path, 4 << 20, E), LLM_OK, "opened and made");
    ok(stat(at("store/calls.mdb"), &sb) == 0 && (sb.st_mode & 07777) == 0600,
       "mode 0600");
    ok(access(at("store/calls-new.mdb"), F_OK) == -1, "nothing else");
    ok(llm_calls_txnid(c) > 0, "a transaction's number");
    is_int(llm_store_create(path, 0, E), LLM_EXISTS, "the store is one still");

    is_int(llm_calls_dup(&d, c, E), LLM_OK, "a second handle");
    llm_calls_close(c);
    is_int(put_calls(d, KEY_A, now_ms(), 3), LLM_OK, "outlives the first");
    is_int(count_calls(d, KEY_A), 3, "and reads");
    llm_calls_close(d);
    llm_calls_close(NULL);

    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "opened again");
    is_int(count_calls(c, KEY_A), 3, "they are there");
    llm_calls_close(c);

    if (geteuid() == 0) {
        ok(chown(path, 12345, 23456) == 0, "the directory is given away");
        unlink(at("store/calls.mdb-lock"));
        is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "opened by root");
        llm_calls_close(c);
        ok(stat(at("store/calls.mdb"), &sb) == 0 && sb.st_uid == 12345
           && stat(at("store/calls.mdb-lock"), &sb) == 0
           && sb.st_gid == 23456, "the files are the owner's");
        ok(chown(path, 0, 0) == 0, "taken back");

    } else {
        skip(4, "needs root");
    }

    snprintf(other, sizeof(other), "%s", at("victim"));
    put_file(other, "precious", 8, 0600);
    unlink(at("store/calls.mdb-lock"));
    ok(symlink(other, at("store/calls.mdb-lock")) == 0, "the lock is a link");
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "refused");
    calls_anew();
    ok(symlink(other, at("store/calls.mdb")) == 0, "the file is a link");
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "refused");
    calls_anew();
    chmod(path, 0770);
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "group may write");
    chmod(path, 0700);
}


static void
test_usage(llm_calls_t *c)
{
    int          i;
    MDB_val      k, v;
    uint8_t      key[LLM_CALLS_ID];
    llm_spent_t  u, got;

    memset(&u, 0, sizeof(u));
    memset(&got, 0xff, sizeof(got));

    is_int(llm_calls_usage(c, KEY_A, &got, E), LLM_NOTFOUND, "never used");
    ok(memcmp(&u, &got, sizeof(u)) == 0, "zeroed");

    u.last_used = 1700000000;
    u.calls = UINT64_MAX;
    u.prompt_tokens = 1;
    u.completion_tokens = 2;
    u.day = 19000;
    u.month = 24300;
    u.day_tokens = 3;
    u.month_tokens = 4;
    u.slice = -5;

    for (i = 0; i < LLM_QUOTA_SLICES; i++) {
        u.requests[i] = (uint32_t) i;
        u.tokens[i] = UINT32_MAX - (uint32_t) i;
    }

    is_int(llm_calls_put_usage(c, KEY_A, &u, E), LLM_INVALID, "not begun");
    is_int(llm_calls_commit(c, E), LLM_INVALID, "no commit either");
    is_int(llm_calls_begin(c, E), LLM_OK, "begun");
    is_int(llm_calls_begin(c, E), LLM_INVALID, "not twice");
    is_int(llm_calls_put_usage(c, "key_short", &u, E), LLM_INVALID, "no id");
    is_int(llm_calls_put_usage(c, KEY_A, &u, E), LLM_OK, "put");
    is_int(llm_calls_usage(c, KEY_A, &got, E), LLM_OK, "seen within");
    llm_calls_abort(c);
    is_int(llm_calls_usage(c, KEY_A, &got, E), LLM_NOTFOUND, "aborted");

    llm_calls_begin(c, E);
    llm_calls_put_usage(c, KEY_A, &u, E);
    is_int(llm_calls_commit(c, E), LLM_OK, "committed");
    is_int(llm_calls_usage(c, KEY_A, &got, E), LLM_OK, "read");
    ok(memcmp(&u, &got, sizeof(u)) == 0, "as it was put");

    /* damaged */

    llm_calls_begin(c, E);
    llm_calls_id(key, KEY_A, E);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = &u;

    for (i = 0; i < 400; i += 7) {
        v.mv_size = i < (int) sizeof(u) ? (size_t) i : sizeof(u);
        mdb_put(c->wtxn, c->shared->usage, &k, &v, 0);

        if (llm_calls_usage(c, KEY_A, &got, E) != LLM_INVALID
            || got.calls != 0)
        {
            break;
        }
    }

    ok(i >= 400, "damaged records say so");
    is_int(llm_calls_put_usage(c, KEY_A, &u, E), LLM_OK, "put again");
    is_int(llm_calls_usage(c, KEY_A, &got, E), LLM_OK, "healed");
    llm_calls_commit(c, E);
}


static void
test_text(void)
{
    int            bad;
    char           dst[8], src[64];
    size_t         i, n;
    uint32_t       seed;

    static const struct {
        const char  *src;
        const char  *dst;
    } t[] = {
        { "plain", "plain" },
        { "1234567890", "1234567" },
        { "a\x01" "b\x7f", "a?b?" },
        { "\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9" },
        { "123456\xc3\xa9", "123456" },
        { "12345\xe2\x82\xac", "12345" },
        { "a\xff\xfe" "b", "a??b" },
        { "\xc0\xaf" "b", "??b" },
        { "\xed\xa0\x80z", "???z" },
        { "\xc2\x85z", "?z" },
        { "\xe2\x80\xaez", "?z" },
        { "a\xe2\x82", "a" },
        { "", "" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        llm_call_text(dst, sizeof(dst), t[i].src, strlen(t[i].src));
        is_str(dst, t[i].dst, "a text");
    }

    bad = 0;
    seed = 1;

    for (i = 0; i < 20000; i++) {
        n = i % sizeof(src);

        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            src[k] = (char) (seed >> 24 | (seed & 0x300 ? 0 : 0x80));
        }

        llm_call_text(dst, sizeof(dst), src, n);
        bad += !llm_utf8_valid(dst, strlen(dst));

        for (char *p = dst; *p; p++) {
            bad += (uint8_t) *p < 0x20 || *p == 0x7f;
        }
    }

    is_int(bad, 0, "random bytes come out as printable UTF-8");
}


static void
test_report(llm_calls_t *c)
{
    int            i;
    int64_t        t;
    llm_call_t     call;
    llm_report_t  *r;

    t = now_ms() - 10 * DAY;

    is_int(llm_calls_report(c, KEY_A, 0, &r, E), LLM_OK, "no calls");
    ok(r->calls == 0 && r->first == 0 && r->n_addr == 0, "an empty report");
    free(r);
    is_int(llm_calls_report(c, "key_1", 0, &r, E), LLM_INVALID, "no id");
    ok(r == NULL, "no report");

    llm_calls_begin(c, E);

    for (i = 0; i < 1000; i++) {
        a_call(&call, KEY_A, t + (i < 995 ? 0 : 8 * DAY) + i / 4);
        call.status = i % 10 == 0 ? 500 : 200;

        if (i % 4 == 0) {
            strcpy(call.addr, "10.0.0.2");
        }

        if (i == 7) {
            strcpy(call.addr, "2001:db8::1");
            strcpy(call.agent, "ev\x01l\xff");
            memset(call.model, 'x', sizeof(call.model));
        }

        if (i >= 980) {
            strcpy(call.addr, "192.0.2.9");
        }

        if (i == 999) {
            strcpy(call.addr, "192.0.2.10");
        }

        if (llm_calls_put(c, &call, E) != LLM_OK) {
            break;
        }
    }

    is_int(i, 1000, "1000 calls, four a millisecond");
    a_call(&call, KEY_B, t);
    is_int(llm_calls_put(c, &call, E), LLM_OK, "one of another key");
    call.time = -1;
    is_int(llm_calls_put(c, &call, E), LLM_INVALID, "no negative time");
    call.time = (int64_t) 1 << 48;
    is_int(llm_calls_put(c, &call, E), LLM_INVALID, "nor one so far ahead");
    is_int(llm_calls_commit(c, E), LLM_OK, "committed");

    is_int(count_calls(c, KEY_B), 1, "the other's report");
    is_int(llm_calls_report(c, KEY_A, 0, &r, E), LLM_OK, "a report");
    is_int(r->calls, 1000, "calls");
    is_int(r->failed, 100, "failed");
    is_int(r->prompt_tokens, 10000, "prompt tokens");
    is_int(r->completion_tokens, 5000, "completion tokens");
    is_int(r->first, t, "first");
    is_int(r->last, t + 8 * DAY + 249, "last");
    is_int(r->bad, 0, "none is damaged");
    ok(r->n_model == 2 && r->n_agent == 2 && r->n_path == 1 && r->n_addr == 5,
       "distinct values");
    is_str(r->addr[0].name, "10.0.0.1", "the most frequent address");
    is_int(r->addr[0].count, 734, "734 times");
    is_str(r->addr[1].name, "10.0.0.2", "the next");
    is_int(r->addr[1].count, 245, "245 times");
    ok(!r->addr[0].unusual && !r->addr[1].unusual, "both usual");
    is_str(r->addr[2].name, "192.0.2.9", "a third");
    ok(r->addr[2].count == 19 && !r->addr[2].unusual, "1.9%%, early: usual");
    ok(r->addr[3].unusual && r->addr[4].unusual, "the rare ones are not");
    is_str(r->agent[1].name, "ev?l?", "an agent's bytes");
    is_int(strlen(r->model[1].name), LLM_CALL_MODEL - 1, "a long model");
    free(r);

    is_int(llm_calls_report(c, KEY_A, t + DAY, &r, E), LLM_OK, "since a day");
    is_int(r->calls, 5, "only the late ones");
    is_int(r->n_addr, 2, "of two addresses");
    ok(strcmp(r->addr[0].name, "192.0.2.9") == 0 && !r->addr[0].unusual,
       "one was known before");
    ok(r->addr[1].unusual, "the other is new");
    ok(r->addr[0].first >= t + DAY, "its first call in that time");
    free(r);

    /* new in the last 24 hours, though frequent */

    llm_calls_begin(c, E);
    for (i = 0; i < 200; i++) {
        a_call(&call, KEY_A, t + 9 * DAY + i);
        strcpy(call.addr, "198.51.100.1");
        llm_calls_put(c, &call, E);
    }
    llm_calls_commit(c, E);

    llm_calls_report(c, KEY_A, 0, &r, E);
    ok(strcmp(r->addr[2].name, "198.51.100.1") == 0 && r->addr[2].unusual,
       "frequent but new: unusual");
    free(r);
}


static void
test_distinct(llm_calls_t *c)
{
    int            i;
    llm_call_t     call;
    llm_report_t  *r;
    const char    *id = "key_000000000000000000000d15";

    llm_calls_begin(c, E);

    for (i = 0; i < 9000; i++) {
        a_call(&call, id, now_ms() - 9000 + i);
        snprintf(call.addr, sizeof(call.addr), "10.1.%d.%d", i / 250,
                 i % 250);
        snprintf(call.agent, sizeof(call.agent), "agent %d", i % 100);

        if (llm_calls_put(c, &call, E) != LLM_OK) {
            break;
        }
    }

    is_int(i, 9000, "9000 addresses");
    llm_calls_commit(c, E);

    is_int(llm_calls_report(c, id, 0, &r, E), LLM_OK, "a report");
    ok(r->n_addr == LLM_REPORT_ITEMS && r->n_agent == LLM_REPORT_ITEMS,
       "full lists");
    is_int(r->more_agents, 36, "the other agents are counted");
    ok(r->more_addrs <= 9000 - 64 && r->more_addrs > 8000,
       "about all other addresses: %d", (int) r->more_addrs);
    is_int(r->more_models, 0, "no other model");
    free(r);
}


/* records that nobody of ours wrote */

static void
test_hostile(llm_calls_t *c)
{
    int               bad, i;
    MDB_val           k, v;
    uint8_t           key[LLM_CALL_KEY + 8], data[600];
    uint32_t          seed;
    llm_report_t     *r;
    llm_call_view_t   view;
    const char       *id = "key_0000000000000000000000bd";

    seed = 7;
    bad = 0;

    llm_calls_begin(c, E);
    llm_calls_id(key, id, E);
    k.mv_data = key;
    v.mv_data = data;

    for (i = 0; i < 3000; i++) {

        for (size_t n = 0; n < sizeof(data); n++) {
            seed = seed * 1664525 + 1013904223;
            data[n] = (uint8_t) (seed >> 24);
        }

        /* in every other one all but the lengths is right, or those too */

        if (i % 2) {
            data[0] = 1;
            data[1] &= 31;
            data[2] &= 31;
            data[3] &= 31;
            data[4] &= 31;
        }

        v.mv_size = (i % 4 == 3) ? (size_t) LLM_CALL_HEAD + data[1] + data[2]
                                   + data[3] + data[4]
                                 : seed >> 8 & 511;
        k.mv_size = (i % 8 == 0) ? LLM_CALLS_ID + (seed & 15) : LLM_CALL_KEY;
        llm_be_put(key + LLM_CALLS_ID, (uint64_t) i, 8);
        bad += mdb_put(c->wtxn, c->shared->calls, &k, &v, 0) != 0;
        (void) llm_call_unpack(data, v.mv_size, &view);
    }

    is_int(bad, 0, "3000 malformed records");
    is_int(llm_calls_commit(c, E), LLM_OK, "committed");
    is_int(llm_calls_report(c, id, 0, &r, E), LLM_OK, "a report");
    ok(r->bad > 1500 && r->calls >= 750 && r->calls + r->bad <= 3000,
       "skipped and counted: %d, %d", (int) r->bad, (int) r->calls);

    bad = 0;
    for (i = 0; i < (int) r->n_agent; i++) {
        bad += !llm_utf8_valid(r->agent[i].name, strlen(r->agent[i].name));
    }
    is_int(bad, 0, "texts come out as UTF-8");
    free(r);

    /* of days, too */

    llm_calls_begin(c, E);
    memset(key, 0, sizeof(key));
    k.mv_data = key;
    v.mv_size = 5;

    for (i = 1; i < 30; i++) {
        k.mv_size = (size_t) i;
        mdb_put(c->wtxn, c->shared->days, &k, &v, 0);
    }

    llm_calls_commit(c, E);
    is_int(put_calls(c, KEY_A, now_ms(), 20), LLM_OK, "a put drops them");
}


static void
test_prune(llm_calls_t *c)
{
    int      i, rc;
    char     id[64];
    int64_t  t;

    t = now_ms();

    for (i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "key_0000000000000000000000%02d", i);
        put_calls(c, id, t - 20 * DAY, 10);
    }

    is_int(count_entries(c, c->shared->calls), 200, "20 keys' calls");
    is_int(count_entries(c, c->shared->days), 20, "a day each");
    is_int(put_calls(c, KEY_A, t, 100), LLM_OK, "calls that are younger");
    is_int(count_entries(c, c->shared->calls), 300, "nothing is dropped");

    for (i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "key_0000000000000000000000%02d", i);

        /* in one transaction: the first is old enough for the next one */
        rc = put_calls(c, id, t - 40 * DAY, 10);
    }

    is_int(rc, LLM_OK, "and some that are older");
    is_int(put_calls(c, KEY_B, t, 100), LLM_OK, "another key calls");
    is_int(count_entries(c, c->shared->calls), 400, "all the old are gone");
    is_int(count_entries(c, c->shared->days), 22, "and their days");
    is_int(count_calls(c, KEY_B), 100, "the others are there");

    /* the bound holds while days pass */

    for (i = 100; i >= 0; i--) {
        put_calls(c, KEY_A, t - i * DAY, 20);
    }

    put_calls(c, KEY_B, t, 200);
    ok(count_calls(c, KEY_A) <= 32 * 20 + 100, "a month's calls stay: %d",
       (int) count_calls(c, KEY_A));
}


static void
test_full(void)
{
    int           batches, i, n, rc, refused;
    char          id[64];
    llm_call_t    call;
    MDB_envinfo   info;
    llm_calls_t  *c;
    llm_spent_t   u;

    calls_anew();
    is_int(llm_calls_open(&c, path, 2 << 20, E), LLM_OK, "a map of 2m");
    memset(&u, 0, sizeof(u));

    /* one transaction: what it drops is not free before its commit */

    rc = llm_calls_begin(c, E);

    for (n = 0; rc == LLM_OK; n++) {
        a_call(&call, KEY_A, now_ms() + n);
        snprintf(call.id + 20, 9, "%08d", n % 1000);
        rc = llm_calls_put(c, &call, E);
    }

    is_int(rc, LLM_AGAIN, "at last there is no room");
    ok(strstr(err, "no room") != NULL, "the message: %s", err);
    u.calls = 77;
    is_int(llm_calls_put_usage(c, KEY_A, &u, E), LLM_OK, "but for usage");
    is_int(llm_calls_commit(c, E), LLM_OK, "and all before is committed");
    is_int(count_entries(c, c->shared->calls), n - 1, "every call");

    llm_calls_close(c);

    /* with more room than a batch takes at most it is a ring */

    is_int(llm_calls_open(&c, path, 8 << 20, E), LLM_OK, "a map of 8m");

    refused = 0;

    for (batches = 0; batches < 1500; batches++) {
        rc = llm_calls_begin(c, E);

        for (i = 0; rc == LLM_OK && i < 20; i++) {
            n++;
            a_call(&call, KEY_A, now_ms() + n);
            snprintf(call.id + 20, 9, "%08d", n % 1000);
            memset(call.agent, 'a', 100);
            rc = llm_calls_put(c, &call, E);
        }

        if (rc == LLM_AGAIN) {
            refused++;
            rc = LLM_OK;
        }

        u.calls = (uint64_t) batches;
        snprintf(id, sizeof(id), "key_000000000000000000000%03d",
                 batches % 100);

        if (rc == LLM_OK) {
            rc = llm_calls_put_usage(c, id, &u, E);
        }

        if (rc == LLM_OK) {
            rc = llm_calls_commit(c, E);
        }

        if (rc != LLM_OK) {
            break;
        }
    }

    is_int(rc, LLM_OK, "batches until the map is full, and on");
    ok(refused <= 5, "the oldest make room: %d were cut short", refused);
    llm_calls_abort(c);
    ok(count_entries(c, c->shared->calls) > 1000, "%d calls are kept",
       (int) count_entries(c, c->shared->calls));
    is_int(count_entries(c, c->shared->usage), 101, "all usage is written");
    (void) mdb_env_info(c->shared->env, &info);
    ok((info.me_last_pgno + 1) * c->shared->psize <= 8 << 20
       && (info.me_last_pgno + 1) * c->shared->psize > 7 << 20,
       "the map is as it was, and full");
    llm_calls_close(c);

    is_int(llm_calls_open(&c, path, 16 << 20, E), LLM_OK, "a larger map");
    is_int(put_calls(c, KEY_B, now_ms(), 300), LLM_OK, "has room");
    llm_calls_close(c);
}


static void
test_copy(void)
{
    int           rc;
    char          to[300];
    struct stat   sb;
    llm_calls_t  *c;

    snprintf(to, sizeof(to), "%s", at("copy"));
    calls_anew();

    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "opened");
    put_calls(c, KEY_A, now_ms(), 500);
    put_usage(c, KEY_A, 5);
    is_int(llm_calls_copy(c, at("no/where"), E), LLM_ERROR, "no such place");
    is_int(llm_calls_copy(c, to, E), LLM_OK, "copied");
    ok(stat(to, &sb) == 0 && (sb.st_mode & 07777) == 0600, "mode 0600");
    is_int(llm_calls_copy(c, to, E), LLM_EXISTS, "never over a file");
    put_calls(c, KEY_A, now_ms(), 500);
    llm_calls_begin(c, E);
    is_int(llm_calls_copy(c, at("copy2"), E), LLM_INVALID, "not in a write");
    llm_calls_close(c);

    calls_anew();
    rc = rename(to, at("store/calls.mdb"));
    is_int(rc, 0, "put in its place");
    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "it opens");
    is_int(count_calls(c, KEY_A), 500, "as it was");
    llm_calls_close(c);
}


int
main(void)
{
    llm_calls_t  *c;

    if (test_begin() == -1) {
        return 1;
    }

    test_open();
    test_text();

    is_int(llm_calls_open(&c, path, 64 << 20, E), LLM_OK, "opened");
    test_usage(c);
    test_report(c);
    test_distinct(c);
    test_hostile(c);
    llm_calls_close(c);

    calls_anew();
    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "opened");
    test_prune(c);
    llm_calls_close(c);

    test_full();
    test_copy();

    remove_tree(dir);

    return done();
}
