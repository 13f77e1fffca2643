
/*
 * Copyright (C) nginx-llm contributors
 *
 * Changes of keys: update, rotation and its replay, replacement; versions of
 * the secret; the log.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <time.h>

#include "store_test.h"


#define DAY  86400


static llm_store_t  *st;


static int
lookup(const llm_secret_t *s, const char *key, llm_key_t *k)
{
    return llm_key_lookup(st, s, key, LLM_KEY_LEN, k, E);
}


static int
state(const char *key)
{
    llm_key_t  k;

    return lookup(secret, key, &k) == LLM_OK
           ? (int) llm_key_state(&k, time(NULL), LLM_KEY_MAX_AGE) : -1;
}


static int
rotate(const char *id, int64_t grace, const char *idem, llm_key_t *k,
    char *key)
{
    int  again, rc;

    rc = llm_key_rotate(st, secret, id, grace, 0, idem, k, key, &again, E);

    return rc == LLM_OK ? again : rc;
}


/* moves all times of a key into the past, but its revocation */

static void
age(const char *id, int64_t seconds)
{
    size_t         i;
    MDB_txn       *txn;
    llm_key_set_t  s;

    llm_store_write(st, &txn, 0, E);
    llm_set_load(st, txn, id, 0, &s, E);

    for (i = 0; i < s.n; i++) {
        s.k[i].created -= seconds;
        s.k[i].issued -= seconds;
        s.k[i].expires -= s.k[i].expires ? seconds : 0;
        s.k[i].until -= s.k[i].until ? seconds : 0;
    }

    llm_set_store(st, txn, &s, E);
    llm_store_commit(st, txn, E);
}


static size_t
records(void)
{
    size_t  n[4];

    llm_store_versions(st, time(NULL), n, 3, E);

    return n[0];
}


static void
test_expiry(void)
{
    int        rc;
    char       key[LLM_KEY_LEN + 1];
    int64_t    got, now;
    uint64_t   txnid;
    llm_key_t  k, u;

    now = time(NULL);
    is_int(llm_store_max_age(st, &got, E), LLM_OK, "a maximum age");
    is_int(got, 90 * DAY, "90 days unless it is set");

    memset(&k, 0, sizeof(k));
    strcpy(k.client, "client");
    k.role = LLM_ROLE_USER;
    k.expires = now + 90 * DAY + 100;
    rc = llm_key_create(st, secret, &k, key, E);
    ok(rc == LLM_INVALID && strstr(err, "90 days"), "beyond it: %s", err);
    ok(key[0] == 0 && k.id[0] == 0, "no key");
    k.expires = now + 90 * DAY;
    is_int(llm_key_create(st, secret, &k, key, E), LLM_OK, "up to it");

    txnid = llm_store_txnid(st);
    is_int(llm_store_set_max_age(st, 30 * DAY, E), LLM_OK, "30 days");
    ok(llm_store_txnid(st) == txnid + 1, "one commit");
    is_int(llm_store_set_max_age(st, 30 * DAY, E), LLM_OK, "again");
    ok(llm_store_txnid(st) == txnid + 1, "no other");
    llm_store_max_age(st, &got, E);
    is_int(got, 30 * DAY, "kept");
    is_int(llm_store_set_max_age(st, -1, E), LLM_INVALID, "not below 0");
    is_int(llm_store_set_max_age(st, INT64_MAX, E), LLM_INVALID, "nor ever");

    u = k;
    u.expires = now + 30 * DAY + 100;
    rc = llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E);
    ok(rc == LLM_INVALID && strstr(err, "30 days"), "an update too: %s", err);
    ok(u.id[0] == '\0', "no record");
    u.expires = now + 40;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_OK,
           "shortened");
    is_int(u.expires, now + 40, "the result");
    u.expires = 0;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_INVALID,
           "never taken away");
    u.expires = now - 1;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_INVALID,
           "not in the past");
    u.expires = now + 29 * DAY;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_OK,
           "prolonged");
    age(k.id, 2 * DAY);
    u.expires = now + 29 * DAY;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_INVALID,
           "its age counts from the issue");

    is_int(llm_store_set_max_age(st, 0, E), LLM_OK, "no maximum");
    u.expires = now + 1000 * DAY;
    is_int(llm_key_update(st, k.id, LLM_SET_EXPIRES, &u, &u, E), LLM_OK,
           "any expiry");
    is_int(llm_store_set_max_age(st, 90 * DAY, E), LLM_OK, "90 days again");
}


static void
test_update(void)
{
    char        key[LLM_KEY_LEN + 1];
    uint64_t    txnid;
    llm_key_t   f, got, k;

    create(st, &k, key);

    memset(&f, 0, sizeof(f));
    f.role = LLM_ROLE_ADMIN;
    strcpy(f.client, "renamed");
    f.limits.rpm = 1;
    f.limits.tpm = 2;
    f.limits.concurrent = 3;
    f.limits.day = UINT64_MAX;
    f.limits.month = 5;
    f.noticed = 7;
    f.n_net = 2;
    llm_net_parse(&f.net[0], "10.0.0.0/8", 10, E);
    llm_net_parse(&f.net[1], "2001:db8::/32", 13, E);
    llm_key_add_model(&f, "demo", 4, E);
    llm_key_add_model(&f, "deepseek:support", 16, E);

    is_int(llm_key_update(st, k.id, LLM_SET_RPM, &f, &got, E), LLM_OK,
           "one member");
    ok(got.limits.rpm == 1 && got.limits.tpm == 0
       && got.role == LLM_ROLE_USER && got.n_net == 0
       && strcmp(got.client, "client") == 0, "only that one");

    is_int(llm_key_update(st, k.id, LLM_SET_ALL & ~LLM_SET_EXPIRES, &f, &got,
                          E), LLM_OK, "all of them");
    is_int(lookup(secret, key, &k), LLM_OK, "the key is good under its new "
           "client");
    ok(k.role == LLM_ROLE_ADMIN && strcmp(k.client, "renamed") == 0
       && k.limits.rpm == 1 && k.limits.tpm == 2 && k.limits.concurrent == 3
       && k.limits.day == UINT64_MAX && k.limits.month == 5 && k.noticed == 7
       && k.n_net == 2 && memcmp(k.net, f.net, 2 * sizeof(llm_net_t)) == 0
       && k.models_len == f.models_len
       && memcmp(k.models, f.models, f.models_len) == 0, "all are there");
    ok(memcmp(k.tag, got.tag, LLM_TAG_LEN) == 0, "and the tag");

    memset(&got, 0xee, sizeof(got));
    is_int(llm_key_again(st, k.tag, &got, E), LLM_OK, "by its tag");
    is_str(got.client, "renamed", "the same");
    is_int(llm_key_again(st, got.tag, &got, E), LLM_OK, "in its own place");

    txnid = llm_store_txnid(st);
    is_int(llm_key_update(st, k.id, LLM_SET_ROLE, &f, &got, E), LLM_OK,
           "the same value");
    ok(llm_store_txnid(st) == txnid, "is no commit");

    f.role = LLM_ROLE_NONE;
    is_int(llm_key_update(st, k.id, LLM_SET_ROLE, &f, &got, E), LLM_INVALID,
           "no role");
    strcpy(f.client, "a b");
    is_int(llm_key_update(st, k.id, LLM_SET_CLIENT, &f, &got, E),
           LLM_INVALID, "a bad client");
    memset(f.client, 'x', sizeof(f.client));
    is_int(llm_key_update(st, k.id, LLM_SET_CLIENT, &f, &got, E),
           LLM_INVALID, "one without an end");
    f.n_net = LLM_KEY_NETS + 1;
    is_int(llm_key_update(st, k.id, LLM_SET_NETS, &f, &got, E), LLM_INVALID,
           "too many ranges");
    f.n_net = 1;
    f.net[0].bits = 200;
    is_int(llm_key_update(st, k.id, LLM_SET_NETS, &f, &got, E), LLM_INVALID,
           "a bad range");
    f.models_len = LLM_KEY_MODELS + 1;
    is_int(llm_key_update(st, k.id, LLM_SET_MODELS, &f, &got, E),
           LLM_INVALID, "too many models");
    f.models_len = 4;
    is_int(llm_key_update(st, k.id, LLM_SET_MODELS, &f, &got, E),
           LLM_INVALID, "a name without an end");
    is_int(llm_key_update(st, k.id, 0x1000, &f, &got, E), LLM_INVALID,
           "an unknown member");
    is_int(llm_key_update(st, "key_zzzzzzzzzzzzzzzzzzzzzzzz", LLM_SET_RPM,
                          &f, &got, E), LLM_NOTFOUND, "an unknown key");
    ok(llm_store_txnid(st) == txnid, "nothing was committed");

    llm_key_revoke(st, k.id, &k, E);
    is_int(llm_key_update(st, k.id, LLM_SET_RPM, &f, &got, E), LLM_INVALID,
           "a revoked key");
    ok(strstr(err, "revoked") != NULL, "the message: %s", err);
}


static void
test_rotate(void)
{
    int        again, i, rc;
    char       one[LLM_KEY_LEN + 1], two[LLM_KEY_LEN + 1];
    char       key[6][LLM_KEY_LEN + 1];
    size_t     before;
    int64_t    now;
    llm_key_t  f, k, r;

    now = time(NULL);
    before = records();

    memset(&k, 0, sizeof(k));
    strcpy(k.client, "acme");
    k.role = LLM_ROLE_OPERATOR;
    k.expires = now + 10 * DAY;
    k.limits.rpm = 60;
    llm_key_create(st, secret, &k, one, E);
    age(k.id, 5 * DAY);

    rc = llm_key_rotate(st, secret, k.id, 3600, 0, NULL, &r, two, &again, E);
    is_int(rc, LLM_OK, "rotated");
    ok(llm_key_wellformed(two, LLM_KEY_LEN) && strcmp(one, two) != 0,
       "another key");
    ok(again == 0 && strcmp(r.id, k.id) == 0 && r.limits.rpm == 60
       && r.role == LLM_ROLE_OPERATOR && r.until == 0, "the same id");
    ok(r.issued >= now && r.created == k.created - 5 * DAY
       && r.expires - r.issued == 10 * DAY, "its lifetime begins anew");
    is_int(state(two), LLM_KEY_GOOD, "the new one is good");
    is_int(state(one), LLM_KEY_GOOD, "the old one in its grace");
    is_int((int) (records() - before), 2, "two records");
    is_int(lookup(secret, one, &f), LLM_OK, "the old one's record");
    ok(f.until >= now + 3600 && f.until <= now + 3610
       && f.expires == k.expires - 5 * DAY && strcmp(f.id, k.id) == 0,
       "with its end");
    is_int(llm_key_get(st, k.id, &f, E), LLM_OK, "by id");
    ok(f.until == 0 && f.issued == r.issued, "the current one");

    /* an update reaches both */

    f.role = LLM_ROLE_USER;
    f.expires = now + 60 * DAY;
    is_int(llm_key_update(st, k.id, LLM_SET_ROLE | LLM_SET_EXPIRES, &f, &r,
                          E), LLM_OK, "updated");
    lookup(secret, one, &f);
    ok(f.role == LLM_ROLE_USER && f.expires == k.expires - 5 * DAY,
       "the old one too, and it lives no longer for it");
    lookup(secret, two, &f);
    ok(f.role == LLM_ROLE_USER && f.expires == now + 60 * DAY, "the new one");

    /* its grace is over */

    age(k.id, 3700);
    is_int(state(one), LLM_KEY_ROTATED, "the old one's grace is over");
    is_int(state(two), LLM_KEY_GOOD, "the new one stays");

    is_int(rotate(k.id, 600, NULL, &r, key[0]), 0, "rotated again");
    is_int(lookup(secret, one, &f), LLM_NOTFOUND, "the first one is gone");
    is_int(rotate(k.id, 7 * DAY, NULL, &r, key[1]), 0, "and again");
    lookup(secret, two, &f);
    ok(f.until <= now + 700, "one with less left keeps that");
    is_int(rotate(k.id, 7 * DAY, NULL, &r, key[1]), 0, "and again");
    is_int(rotate(k.id, 600, NULL, &r, key[2]), LLM_EXISTS,
           "four at a time");
    ok(key[2][0] == '\0' && strstr(err, "grace"), "the message: %s", err);
    is_int((int) (records() - before), 4, "four are good");
    is_int(rotate(k.id, 300, NULL, &r, key[2]), LLM_EXISTS, "still four");
    is_int(rotate(k.id, 0, NULL, &r, key[2]), 0, "without grace");
    is_int(state(key[1]), LLM_KEY_ROTATED, "the last one is over");
    is_int(lookup(secret, key[0], &f), LLM_NOTFOUND, "the former are gone");
    is_int(lookup(secret, two, &f), LLM_NOTFOUND, "all of them");
    is_int((int) (records() - before), 1, "one is good");

    for (i = 0; i < 3; i++) {
        rotate(k.id, 7 * DAY, NULL, &r, key[i]);
    }

    is_int(llm_key_revoke(st, k.id, &f, E), LLM_OK, "revoked");
    rc = 0;

    for (i = 0; i < 3; i++) {
        rc += state(key[i]) == LLM_KEY_REVOKED;
    }

    is_int(rc, 3, "all its secrets are");
    is_int((int) (records() - before), 0, "none is good");
    is_int(rotate(k.id, 0, NULL, &r, key[0]), LLM_INVALID,
           "it can't be rotated");

    create(st, &k, one);
    is_int(rotate(k.id, 7 * DAY + 1, NULL, &r, two), LLM_INVALID,
           "too long a grace");
    is_int(rotate(k.id, -1, NULL, &r, two), LLM_INVALID, "none below 0");
    rc = llm_key_rotate(st, secret, k.id, 0, now + 91 * DAY, NULL, &r, two,
                        &again, E);
    is_int(rc, LLM_INVALID, "too late an expiry");
    rc = llm_key_rotate(st, secret, k.id, 0, now + 80 * DAY, NULL, &r, two,
                        &again, E);
    ok(rc == LLM_OK && r.expires == now + 80 * DAY, "an expiry of its own");
    is_int(rotate("key_zzzzzzzzzzzzzzzzzzzzzzzz", 0, NULL, &r, two),
           LLM_NOTFOUND, "an unknown key");
    is_int(rotate(one, 0, NULL, &r, two), LLM_NOTFOUND, "a key is no id");
    ok(strstr(err, "sk-") == NULL, "and is not repeated: %s", err);

    llm_store_set_max_age(st, 20 * DAY, E);
    is_int(rotate(k.id, 0, NULL, &r, two), 0, "less of a maximum age");
    is_int(r.expires - r.issued, 20 * DAY, "it is not exceeded");
    llm_store_set_max_age(st, 90 * DAY, E);

    /* a name for its id may be in the record */

    is_int(rotate(r.id, 0, NULL, &r, two), 0, "record and id in one place");
    age(r.id, 100 * DAY);
    is_int(state(two), LLM_KEY_EXPIRED, "expired");
    is_int(rotate(r.id, 0, NULL, &r, two), 0, "an expired one");
    is_int(state(two), LLM_KEY_GOOD, "comes back");
}


static void
test_replay(void)
{
    char        one[LLM_KEY_LEN + 1], two[LLM_KEY_LEN + 1];
    char        three[LLM_KEY_LEN + 1], long_name[300];
    uint64_t    txnid;
    llm_key_t   f, k, r;

    create(st, &k, one);

    is_int(rotate(k.id, 3600, "job-1", &r, two), 0, "a rotation by name");
    txnid = llm_store_txnid(st);
    is_int(rotate(k.id, 3600, "job-1", &f, three), 1, "again");
    is_str(three, two, "the same key");
    ok(llm_store_txnid(st) == txnid && f.issued == r.issued,
       "nothing was written");

    f = r;
    f.role = LLM_ROLE_ADMIN;
    llm_key_update(st, k.id, LLM_SET_ROLE, &f, &f, E);
    is_int(rotate(k.id, 0, "job-1", &f, three), 1, "after an update");
    is_str(three, two, "the same key");

    strcpy(f.client, "other");
    llm_key_update(st, k.id, LLM_SET_CLIENT, &f, &f, E);
    is_int(rotate(k.id, 0, "job-1", &f, three), LLM_EXISTS,
           "another client: not again");
    ok(three[0] == '\0' && f.id[0] == '\0' && strstr(err, k.id),
       "the message: %s", err);
    is_int(state(two), LLM_KEY_GOOD, "it is good still");

    is_int(rotate(k.id, 3600, "job-2", &f, three), 0, "another name");
    ok(strcmp(three, two) != 0, "another key");
    is_int(rotate(k.id, 3600, "job-2", &f, two), 1, "it can be replayed");
    is_str(two, three, "the same key");
    is_int(rotate(k.id, 0, NULL, &f, two), 0, "no name");
    is_int(rotate(k.id, 0, "job-2", &f, one), 0, "the last one only");
    ok(strcmp(one, three) != 0, "another key");

    age(k.id, DAY + 60);
    is_int(rotate(k.id, 0, "job-2", &f, two), 0, "for a day");
    ok(strcmp(one, two) != 0, "another key");

    create(st, &r, one);
    rotate(r.id, 0, "job-2", &f, one);
    ok(strcmp(one, two) != 0, "the name is a key's own");

    memset(long_name, 'x', sizeof(long_name));
    long_name[255] = '\0';
    is_int(rotate(k.id, 0, long_name, &f, two), 0, "255 bytes");
    is_int(rotate(k.id, 0, long_name, &f, two), 1, "again");
    long_name[255] = 'x';
    long_name[256] = '\0';
    is_int(rotate(k.id, 0, long_name, &f, two), LLM_INVALID, "256");
    is_int(rotate(k.id, 0, "", &f, two), LLM_INVALID, "none");

    llm_key_revoke(st, k.id, &f, E);
    long_name[255] = '\0';
    is_int(rotate(k.id, 0, long_name, &f, two), LLM_INVALID,
           "a revoked key is not given again");
    is_int(two[0], 0, "no key");
}


static void
test_replace(void)
{
    int        rc;
    char       one[LLM_KEY_LEN + 1], old[LLM_KEY_LEN + 1];
    char       two[LLM_KEY_LEN + 1];
    int64_t    now;
    llm_key_t  f, k, next;

    now = time(NULL);
    memset(&k, 0, sizeof(k));
    strcpy(k.client, "leaky");
    k.role = LLM_ROLE_OPERATOR;
    k.expires = now + 10 * DAY;
    k.limits.day = 1000;
    k.n_net = 1;
    llm_net_parse(&k.net[0], "::1", 3, E);
    llm_key_add_model(&k, "demo", 4, E);
    llm_key_create(st, secret, &k, old, E);
    age(k.id, DAY);
    rotate(k.id, 3600, NULL, &k, one);

    rc = llm_key_replace(st, secret, k.id, &f, &next, two, E);
    is_int(rc, LLM_OK, "replaced");
    ok(strcmp(f.id, k.id) == 0 && f.revoked >= now, "the old one is revoked");
    is_int(state(one), LLM_KEY_REVOKED, "its key");
    is_int(state(old), LLM_KEY_REVOKED, "and the former one");
    ok(strcmp(next.id, k.id) != 0 && next.role == LLM_ROLE_OPERATOR
       && strcmp(next.client, "leaky") == 0 && next.limits.day == 1000
       && next.n_net == 1 && next.models_len == 5 && next.revoked == 0
       && next.until == 0 && next.created >= now
       && next.expires - next.issued == 10 * DAY, "the successor");
    is_int(state(two), LLM_KEY_GOOD, "its key");

    is_int(llm_key_replace(st, secret, k.id, &f, &next, two, E), LLM_INVALID,
           "not twice");
    ok(two[0] == '\0' && next.id[0] == '\0', "no second successor: %s", err);
    is_int(llm_key_replace(st, secret, "key_zzzzzzzzzzzzzzzzzzzzzzzz", &f,
                           &next, two, E), LLM_NOTFOUND, "an unknown key");
}


static int
all_changes(void *data, const llm_change_t *c)
{
    char    *p = data;
    size_t   n;

    n = strlen(p);
    snprintf(p + n, 4096 - n, "%s %s %s|%s\n", c->actor, c->action,
             c->target, c->detail);

    return strlen(p) > 3000;
}


static int
order(void *data, const llm_change_t *c)
{
    uint64_t  *last = data;

    if (last[0] != 0 && c->number >= last[0]) {
        last[1]++;
    }

    if (c->time / 1000 < time(NULL) - 60 || c->time / 1000 > time(NULL) + 1) {
        last[1]++;
    }

    last[0] = c->number;

    return ++last[2] == last[3];
}


static void
test_changes(void)
{
    char        key[LLM_KEY_LEN + 1], text[4096], want[600], *p;
    uint64_t    last[4];
    llm_buf_t   b;
    llm_key_t   f, k, next;

    memset(&b, 0, sizeof(b));
    text[0] = '\0';

    llm_store_note(st, "backup", "/srv/b\x01", "two\nlines", E);
    llm_store_actor(st, "llmctl:root");
    create(st, &k, key);
    f = k;
    f.role = LLM_ROLE_ADMIN;
    f.limits.rpm = 7;
    llm_key_update(st, k.id, LLM_SET_ROLE | LLM_SET_RPM, &f, &f, E);
    f.noticed = 14;
    llm_key_update(st, k.id, LLM_SET_NOTICED, &f, &f, E);
    rotate(k.id, 60, NULL, &f, key);
    llm_key_replace(st, secret, k.id, &f, &next, key, E);
    llm_key_revoke(st, next.id, &f, E);
    llm_key_revoke(st, next.id, &f, E);

    is_int(llm_params_get(st, "demo", &b, E), LLM_NOTFOUND, "no parameters");
    is_int(llm_params_put(st, "demo", "{\"t\":1}", E), LLM_OK, "set");
    is_int(llm_params_put(st, "demo", "{\"t\":2}", E), LLM_OK, "changed");
    is_int(llm_params_put(st, "demo", "{\"t\":2}", E), LLM_OK, "the same");
    is_int(llm_params_get(st, "demo", &b, E), LLM_OK, "got");
    ok(b.len == 7 && memcmp(b.data, "{\"t\":2}", 7) == 0, "the last ones");
    llm_buf_done(&b);
    is_int(llm_params_put(st, "", "{}", E), LLM_INVALID, "no name");
    is_int(llm_params_put(st, "a b", "{}", E), LLM_INVALID, "a bad name");
    p = calloc(1, LLM_PARAMS_MAX + 2);
    memset(p, ' ', LLM_PARAMS_MAX + 1);
    is_int(llm_params_put(st, "demo", p, E), LLM_INVALID, "too long");
    p[LLM_PARAMS_MAX] = '\0';
    is_int(llm_params_put(st, "long", p, E), LLM_OK, "2048 bytes");
    free(p);
    is_int(llm_params_put(st, "demo", "", E), LLM_INVALID, "nothing");

    is_int(llm_change_each(st, 0, all_changes, text, E), LLM_OK, "the log");
    p = strchr(text, '\n');
    ok(strstr(text, "params.set long|old= new= ") == text + 12,
       "the newest first");

    snprintf(want, sizeof(want),
             "llmctl:root params.set demo|old={\"t\":1} new={\"t\":2}\n"
             "llmctl:root params.set demo|old= new={\"t\":1}\n"
             "llmctl:root key.revoke %s|\n"
             "llmctl:root key.create %s|client=client role=admin rpm=7\n",
             next.id, next.id);
    ok(strstr(text, want) != NULL, "each change");
    snprintf(want, sizeof(want),
             "llmctl:root key.replace %s|successor=%s\n"
             "llmctl:root key.rotate %s|grace=60 version=1\n"
             "llmctl:root key.update %s|role=admin rpm=7\n"
             "llmctl:root key.create %s|client=client role=user\n",
             k.id, next.id, k.id, k.id, k.id);
    ok(strstr(text, want) != NULL, "but not a notice");
    ok(strstr(text, "unknown backup /srv/b?|two?lines\n") != NULL,
       "no actor; one line");

    memset(last, 0, sizeof(last));
    is_int(llm_change_each(st, 0, order, last, E), LLM_OK, "all of them");
    ok(last[2] > 20 && last[1] == 0 && last[0] == 1, "in order, to the first");
    is_int(llm_change_each(st, 1, order, last, E), LLM_OK, "none below 1");
    ok(last[2] > 20 && last[0] == 1, "none");
    memset(last, 0, sizeof(last));
    last[3] = 3;
    is_int(llm_change_each(st, 10, order, last, E), LLM_OK, "below 10");
    ok(last[2] == 3 && last[0] == 7, "9, 8, 7, and stopped");
    memset(last, 0, sizeof(last));
    is_int(llm_change_each(st, UINT64_MAX, order, last, E), LLM_OK,
           "below the end");
    ok(last[0] == 1 && last[1] == 0, "all");
}


static void
test_versions(void)
{
    int            again, rc;
    char           one[LLM_KEY_LEN + 1], two[LLM_KEY_LEN + 1];
    size_t         n[4];
    uint32_t       version;
    llm_key_t      f, k, k2;
    llm_secret_t  *both, *only, *bad;

    is_int(llm_store_version(st, &version, E), LLM_OK, "a version");
    is_int(version, 1, "is the first");
    create(st, &k, one);

    is_int(llm_secret_add(at("secret"), 2, E), LLM_OK, "a second one");
    is_int(llm_secret_open(&both, at("secret"), E), LLM_OK, "with the first");
    is_int(llm_store_verify(st, both, E), LLM_OK, "verified");
    is_int(llm_key_lookup(st, both, one, LLM_KEY_LEN, &f, E), LLM_OK,
           "keys are found");
    llm_store_version(st, &version, E);
    is_int(version, 1, "it makes no keys yet");

    memset(&k2, 0, sizeof(k2));
    strcpy(k2.client, "v");
    k2.role = LLM_ROLE_USER;
    is_int(llm_key_create(st, both, &k2, two, E), LLM_OK, "a key");
    is_int(k2.version, 1, "of the first");

    is_int(llm_store_bind(st, both, E), LLM_OK, "activated");
    llm_store_version(st, &version, E);
    is_int(version, 2, "the second");
    is_int(llm_key_create(st, both, &k2, two, E), LLM_OK, "a key");
    is_int(k2.version, 2, "of the second");
    rc = llm_key_lookup(st, both, two, LLM_KEY_LEN, &f, E);
    ok(rc == LLM_OK && f.version == 2, "found");
    rc = llm_key_lookup(st, both, one, LLM_KEY_LEN, &f, E);
    ok(rc == LLM_OK && f.version == 1, "and so is the first one's");

    /* one who has not read it yet */

    f = k2;
    rc = llm_key_create(st, secret, &f, two, E);
    ok(rc == LLM_INVALID && strstr(err, "version 2"), "no key without it: %s",
       err);
    rc = llm_key_rotate(st, secret, k.id, 60, 0, NULL, &f, two, &again, E);
    is_int(rc, LLM_INVALID, "no rotation");
    is_int(lookup(secret, one, &f), LLM_OK, "a look-up goes on");
    is_int(llm_store_bind(st, secret, E), LLM_OK, "nothing to bind");
    create(st, &f, two);
    rc = llm_key_replace(st, secret, k2.id, &k2, &f, two, E);
    ok(rc == LLM_AGAIN && k2.revoked != 0 && f.id[0] == '\0' && two[0] == 0,
       "a leaked key is revoked all the same: %s", err);

    llm_store_versions(st, time(NULL), n, 3, E);
    ok(n[0] > 1 && n[0] == n[1] + n[2] && n[2] == 0 && n[3] == 0,
       "good keys by version: %zu, %zu", n[1], n[2]);

    rc = llm_key_rotate(st, both, k.id, 60, 0, "v", &f, two, &again, E);
    ok(rc == LLM_OK && f.version == 2, "rotated to the second");
    rc = llm_key_rotate(st, both, k.id, 60, 0, "v", &f, two, &again, E);
    ok(rc == LLM_OK && again == 1, "again");
    llm_store_versions(st, time(NULL), n, 3, E);
    is_int((int) n[2], 1, "one of the second");
    llm_store_versions(st, time(NULL), n, 0, E);
    ok(n[0] > 1, "all, without versions");

    is_int(llm_store_retire(st, 2, time(NULL), E), LLM_EXISTS,
           "the current one stays");
    is_int(llm_store_retire(st, 7, time(NULL), E), LLM_NOTFOUND, "unknown");
    is_int(llm_store_retire(st, 1, time(NULL), E), LLM_EXISTS,
           "one that is needed stays");
    ok(strstr(err, "rotated") != NULL, "the message: %s", err);
    is_int(llm_store_retire(st, 1, time(NULL) + 91 * DAY, E), LLM_OK,
           "one that no key needs goes");
    is_int(llm_key_lookup(st, both, one, LLM_KEY_LEN, &f, E), LLM_NOTFOUND,
           "its keys are unknown");
    is_int(llm_key_lookup(st, both, two, LLM_KEY_LEN, &f, E), LLM_OK,
           "others are found");
    is_int(llm_store_verify(st, secret, E), LLM_INVALID,
           "it does not do alone");
    is_int(lookup(secret, one, &f), LLM_INVALID, "for a look-up either");
    is_int(llm_store_bind(st, both, E), LLM_OK, "and is not bound again");
    llm_store_versions(st, time(NULL), n, 3, E);
    is_int(llm_key_lookup(st, both, one, LLM_KEY_LEN, &f, E), LLM_NOTFOUND,
           "it stays retired");

    is_int(llm_secret_remove(at("secret"), 1, E), LLM_OK, "its file goes");
    is_int(llm_secret_open(&only, at("secret"), E), LLM_OK, "without it");
    is_int(llm_key_lookup(st, only, two, LLM_KEY_LEN, &f, E), LLM_OK,
           "the second one's key");

    llm_secret_remove(at("secret"), 2, E);
    llm_secret_add(at("secret"), 2, E);
    is_int(llm_secret_open(&bad, at("secret"), E), LLM_OK, "another second");
    rc = llm_key_lookup(st, bad, two, LLM_KEY_LEN, &f, E);
    ok(rc == LLM_INVALID && strstr(err, "another secret"), "refused: %s",
       err);
    is_int(llm_store_bind(st, bad, E), LLM_INVALID, "not bound");

    llm_secret_close(both);
    llm_secret_close(only);
    llm_secret_close(bad);
}


/* the log in its bounds */

static void
test_bounded(void)
{
    int        bad, i;
    MDB_txn   *txn;
    MDB_stat   stat;
    uint64_t   last[4];

    bad = 0;

    for (i = 0; i < 10; i++) {
        bad += llm_store_write(st, &txn, 1, E) != LLM_OK;

        for (int n = 0; n < (LLM_CHANGES_MAX + 5000) / 10; n++) {
            bad += llm_change_put(st, txn, "test", "x", "y", E) != LLM_OK;
        }

        bad += llm_store_commit(st, txn, E) != LLM_OK;
    }

    is_int(bad, 0, "many changes");
    llm_store_read(st, &txn, E);
    mdb_stat(txn, st->changes, &stat);
    llm_store_read_end(st);
    is_int((long long) stat.ms_entries, LLM_CHANGES_MAX, "the newest stay");
    memset(last, 0, sizeof(last));
    llm_change_each(st, 0, order, last, E);
    is_int((long long) last[2], LLM_CHANGES_MAX, "each of them");
    ok(last[1] == 0 && last[0] > 5000, "the oldest is %llu",
       (unsigned long long) last[0]);
}


/* how many entries an admin made */

static int
admins_changes(void *data, const llm_change_t *c)
{
    *(int *) data += strcmp(c->action, "test") == 0;

    return 0;
}


/* a user who enrols again and again, an operator who sets a parameter */

static void
test_flood(void)
{
    int         bad, had, i, n, user;
    MDB_txn    *txn;
    const char *id = "key_000000000000000000000000";

    had = 0;
    llm_change_each(st, 0, admins_changes, &had, E);
    bad = 0;

    for (user = 0; user < 2; user++) {
        llm_store_actor(st, id);
        bad += llm_store_write(st, &txn, 1, E) != LLM_OK;

        for (i = 0; i < 30000; i++) {
            bad += llm_change_put(st, txn, user ? "totp.enrol" : "params.set",
                                  user ? id : "demo", "", E) != LLM_OK;
        }

        bad += llm_store_commit(st, txn, E) != LLM_OK;
    }

    is_int(bad, 0, "60000 changes of little weight");
    n = 0;
    llm_change_each(st, 0, admins_changes, &n, E);
    ok(had == LLM_CHANGES_MAX && n >= had - 1, "push out none of the admins': "
       "%d of %d", n, had);

    llm_store_actor(st, "llmctl:root");
    is_int(llm_store_note(st, "test", "x", "y", E), LLM_OK, "an admin's");
    i = 0;
    llm_change_each(st, 0, admins_changes, &i, E);
    is_int(i, n + 1, "pushes one of the others out");
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");
    is_int(llm_store_create(path, 64 << 20, E), LLM_OK, "a store");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");

    if (st == NULL) {
        printf("Bail out! %s\n", err);
        return 1;
    }

    test_expiry();
    test_update();
    test_rotate();
    test_replay();
    test_replace();
    test_changes();
    test_versions();
    test_bounded();
    test_flood();

    llm_store_close(st);
    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
