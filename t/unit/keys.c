
/*
 * Copyright (C) nginx-llm contributors
 *
 * API keys: their text, look-up, records, revocation, and what a stolen store
 * tells.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "store_test.h"


static llm_store_t  *st;

static uint8_t       raw[40] = "0f-Zq9.m3vT!x7Lk2Pw8#Hy5Rb1@Ns6Gd4Jc_Ae";


static int
create_for(llm_key_t *k, char *key, const char *client)
{
    memset(k, 0, sizeof(*k));
    strcpy(k->client, client);
    k->role = LLM_ROLE_OPERATOR;

    return llm_key_create(st, secret, k, key, err, sizeof(err));
}


static void
reseal(char *key)
{
    char  sum[9];

    snprintf(sum, sizeof(sum), "%08x", (unsigned) llm_crc32(key, 67));
    memcpy(key + 67, sum, 8);
}


static int
hex_value(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}


static void
unhex(uint8_t *out, const char *p, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        out[i] = (uint8_t) (hex_value(p[2 * i]) << 4
                            | hex_value(p[2 * i + 1]));
    }
}


static void
test_text(void)
{
    int           i, j, bad;
    char          key[LLM_KEY_LEN + 1], other[LLM_KEY_LEN + 2], c;
    uint8_t       text[64], mac[32], got[16];
    uint64_t      created;
    llm_key_t     k;
    unsigned int  n;

    ok(llm_crc32("123456789", 9) == 0xcbf43926, "CRC-32's check value");
    ok(llm_crc32("", 0) == 0, "CRC-32 of nothing");

    is_int(create_for(&k, key, "acme"), LLM_OK, "a key is created");
    is_int((long long) strlen(key), LLM_KEY_LEN, "it has 75 characters");
    ok(memcmp(key, "sk-", 3) == 0, "it begins with sk-");
    is_int((long long) strspn(key + 3, "0123456789abcdef"), 72,
           "and goes on in lower-case hex");
    ok(llm_key_wellformed(key, LLM_KEY_LEN), "it is well-formed");

    /* the signature, with the secret as it stands in the file */

    memcpy(text, "acme", 4);
    created = (uint64_t) k.created;

    for (i = 0; i < 8; i++) {
        text[4 + i] = (uint8_t) (created >> (56 - 8 * i));
    }

    unhex(text + 12, key + 35, 16);
    HMAC(EVP_sha256(), raw, 39, text, 28, mac, &n);
    unhex(got, key + 3, 16);
    ok(memcmp(mac, got, 16) == 0, "HMAC(secret, client || time || salt)");

    bad = 0;

    for (i = 0; i < LLM_KEY_LEN; i++) {
        memcpy(other, key, sizeof(key));

        for (j = 0; j < 256; j++) {
            if ((char) j != key[i]) {
                other[i] = (char) j;
                bad += llm_key_wellformed(other, LLM_KEY_LEN);
            }
        }
    }

    is_int(bad, 0, "each change of one character is refused");

    bad = 0;

    for (i = 3; i < LLM_KEY_LEN - 1; i++) {
        memcpy(other, key, sizeof(key));
        c = other[i];
        other[i] = other[i + 1];
        other[i + 1] = c;

        if (other[i] != c) {
            bad += llm_key_wellformed(other, LLM_KEY_LEN);
        }
    }

    is_int(bad, 0, "each swap of neighbours is refused");

    strcpy(other, key);
    other[LLM_KEY_LEN] = '0';

    is_int(llm_key_wellformed(key, 0), 0, "length 0 is refused");
    is_int(llm_key_wellformed(key, 74), 0, "length 74 is refused");
    is_int(llm_key_wellformed(other, 76), 0, "length 76 is refused");

    strcpy(other, key);

    for (i = 3; i < LLM_KEY_LEN; i++) {
        if (other[i] >= 'a') {
            other[i] = (char) (other[i] - 'a' + 'A');
        }
    }

    is_int(llm_key_wellformed(other, LLM_KEY_LEN), 0, "upper case is refused");

    memset(other, '0', LLM_KEY_LEN);
    memcpy(other, "sk_", 3);
    reseal(other);
    is_int(llm_key_wellformed(other, LLM_KEY_LEN), 0,
           "another prefix with its checksum is refused");

    memcpy(other, "sk-", 3);
    other[20] = '\0';
    reseal(other);
    is_int(llm_key_wellformed(other, LLM_KEY_LEN), 0,
           "a zero byte with its checksum is refused");
}


static void
test_lookup(void)
{
    int           i, rc;
    char          key[LLM_KEY_LEN + 1], two[LLM_KEY_LEN + 1];
    char          forged[LLM_KEY_LEN + 1];
    MDB_txn      *txn;
    MDB_val       name, v;
    uint8_t       tag[LLM_TAG_LEN], record[LLM_RECORD_MAX];
    llm_key_t     k, k2, found;
    llm_secret_t *wrong;

    is_int(create_for(&k, key, "globex"), LLM_OK, "a key is created");

    is_int((long long) strlen(k.id), LLM_KEY_ID_LEN, "its id has 28");
    ok(memcmp(k.id, "key_", 4) == 0 && strspn(k.id + 4, llm_base32) == 24,
       "key_ and base32");

    memset(&found, 0xff, sizeof(found));
    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_OK, "it is found");
    is_str(found.id, k.id, "with its id");
    is_str(found.client, "globex", "with its client");
    is_int(found.role, LLM_ROLE_OPERATOR, "with its role");
    ok(found.created == k.created && found.expires == 0
       && found.revoked == 0, "with its times");

    /* a second key with the same first 20 bytes, in the store */

    memcpy(two, key, sizeof(key));
    two[40] = two[40] == '0' ? '1' : '0';
    reseal(two);

    rc = llm_key_lookup(st, secret, two, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_NOTFOUND, "one that shares 40 bytes is unknown");
    ok(found.id[0] == '\0', "and nothing is told of the other");

    k2 = k;
    memcpy(k2.id, "key_000000000000000000000000", LLM_KEY_ID_LEN);
    strcpy(k2.client, "initech");

    llm_secret_tag(secret, 1, two, LLM_KEY_LEN, tag);
    is_int(llm_store_write(st, &txn, 1, err, sizeof(err)), LLM_OK, "write");
    name.mv_data = tag;
    name.mv_size = sizeof(tag);
    v.mv_data = record;
    v.mv_size = llm_record_pack(record, &k2);
    mdb_put(txn, st->keys, &name, &v, 0);
    v.mv_data = k2.id;
    v.mv_size = LLM_KEY_ID_LEN;
    mdb_put(txn, st->ids, &v, &name, 0);
    is_int(llm_store_commit(st, txn, err, sizeof(err)), LLM_OK, "commit");

    llm_key_lookup(st, secret, two, LLM_KEY_LEN, &found, err, sizeof(err));
    is_str(found.client, "initech", "in the store, it is found");
    llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err, sizeof(err));
    is_str(found.client, "globex", "and the first one is itself");

    /* the stored tag as a key */

    llm_secret_tag(secret, 1, key, LLM_KEY_LEN, tag);
    memcpy(forged, "sk-", 3);

    for (i = 0; i < LLM_TAG_LEN; i++) {
        snprintf(forged + 3 + 2 * i, 3, "%02x", tag[i]);
    }

    reseal(forged);
    forged[LLM_KEY_LEN] = '\0';
    ok(llm_key_wellformed(forged, LLM_KEY_LEN), "the tag, dressed as a key");
    rc = llm_key_lookup(st, secret, forged, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_NOTFOUND, "is refused");
    rc = llm_key_lookup(st, secret, (char *) tag, LLM_TAG_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_NOTFOUND, "and so is the bare tag");
    ok(strstr(err, key + 3) == NULL, "no key in the message");

    is_int(llm_key_lookup(st, secret, "", 0, &found, err, sizeof(err)),
           LLM_NOTFOUND, "an empty key is refused");
    is_int(llm_key_lookup(st, secret, k.id, strlen(k.id), &found, err,
                          sizeof(err)),
           LLM_NOTFOUND, "an id as a key is refused");

    /* another secret */

    llm_secret_create(at("wrong"), err, sizeof(err));
    is_int(llm_secret_open(&wrong, at("wrong"), err, sizeof(err)), LLM_OK,
           "another secret");
    rc = llm_key_lookup(st, wrong, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_INVALID, "another secret is no refused key");
    ok(strstr(err, "another secret") != NULL, "the message says so: %s", err);
    is_int(llm_store_verify(st, wrong, err, sizeof(err)), LLM_INVALID,
           "verify says so");
    is_int(llm_store_bind(st, wrong, err, sizeof(err)), LLM_INVALID,
           "bind says so");
    memset(&k2, 0, sizeof(k2));
    strcpy(k2.client, "x");
    k2.role = LLM_ROLE_USER;
    is_int(llm_key_create(st, wrong, &k2, two, err, sizeof(err)),
           LLM_INVALID, "create says so");
    is_int(two[0], 0, "and gives no key");

    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_OK, "the right secret finds it again");
    llm_secret_close(wrong);
}


static void
test_invalid(void)
{
    int         i, rc;
    char        key[LLM_KEY_LEN + 1], name[64];
    uint64_t    txnid;
    llm_key_t   k;

    static const char  *clients[] = {
        "", "a b", "a\"b", "a'b", "a`b", "a\\b", "a\tb", "a\nb", "a\r\nb",
        "\x7f", "caf\xc3\xa9", "\x80", "\x01", NULL
    };

    txnid = llm_store_txnid(st);

    for (i = 0; clients[i] != NULL; i++) {
        rc = create_for(&k, key, clients[i]);
        snprintf(name, sizeof(name), "client %d is refused", i);
        is_int(rc, LLM_INVALID, name);
        ok(key[0] == '\0' && k.id[0] == '\0', "without a key: %s", err);
    }

    memset(&k, 0, sizeof(k));
    memset(k.client, 'a', sizeof(k.client));
    k.role = LLM_ROLE_USER;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)),
           LLM_INVALID, "a client without an end is refused");

    k.client[LLM_CLIENT_MAX] = '\0';
    k.role = LLM_ROLE_NONE;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)),
           LLM_INVALID, "no role is refused");
    k.role = (llm_role_e) 4;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)),
           LLM_INVALID, "an unknown role is refused");

    k.role = LLM_ROLE_USER;
    k.expires = (int64_t) time(NULL) - 1;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)),
           LLM_INVALID, "an expiry in the past is refused");
    k.expires = -1;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)),
           LLM_INVALID, "a negative expiry is refused");

    ok(llm_store_txnid(st) == txnid, "nothing was committed");

    k.expires = (int64_t) time(NULL) + 86400;
    is_int(llm_key_create(st, secret, &k, key, err, sizeof(err)), LLM_OK,
           "64 characters and an expiry are fine");
    ok(llm_store_txnid(st) == txnid + 1, "one commit");

    is_str(llm_role_name(LLM_ROLE_ADMIN), "admin", "role's name");
    ok(llm_role_name(LLM_ROLE_NONE) == NULL
       && llm_role_name((llm_role_e) 4) == NULL
       && llm_role_name((llm_role_e) -1) == NULL, "no name for others");
    is_int(llm_role_parse("operator", 8), LLM_ROLE_OPERATOR, "role parsed");
    is_int(llm_role_parse("operators", 8), LLM_ROLE_OPERATOR, "by length");
    is_int(llm_role_parse("oper", 4), LLM_ROLE_NONE, "no prefix");
    is_int(llm_role_parse("Admin", 5), LLM_ROLE_NONE, "no other case");
    is_int(llm_role_parse("", 0), LLM_ROLE_NONE, "not the empty one");
}


static void
test_revoke(void)
{
    int        rc;
    char       key[LLM_KEY_LEN + 1];
    int64_t    first;
    uint64_t   txnid;
    llm_key_t  k, found;

    create_for(&k, key, "umbrella");
    txnid = llm_store_txnid(st);

    is_int(llm_key_revoke(st, k.id, &found, err, sizeof(err)), LLM_OK,
           "a key is revoked");
    ok(found.revoked >= k.created, "with its time");
    is_str(found.client, "umbrella", "and its record");
    ok(llm_store_txnid(st) != txnid, "the transaction's number has changed");

    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &k, err, sizeof(err));
    ok(rc == LLM_OK && k.revoked == found.revoked, "a look-up tells");

    /* set the time back, as if it were long ago: the second one keeps it */

    first = found.revoked;
    txnid = llm_store_txnid(st);
    is_int(llm_key_revoke(st, k.id, &k, err, sizeof(err)), LLM_OK,
           "revoked again, record and id in one place");
    ok(k.revoked == first && llm_store_txnid(st) == txnid,
       "the first time stays, nothing is written");

    is_int(llm_key_get(st, k.id, &k, err, sizeof(err)), LLM_OK, "got by id");
    is_str(k.client, "umbrella", "with the record");

    is_int(llm_key_get(st, "key_zzzzzzzzzzzzzzzzzzzzzzzz", &k, err,
                       sizeof(err)), LLM_NOTFOUND, "an unknown id");
    ok(k.id[0] == '\0', "no record");
    is_int(llm_key_revoke(st, "key_zzzzzzzzzzzzzzzzzzzzzzzz", &k, err,
                          sizeof(err)), LLM_NOTFOUND, "can't be revoked");
    ok(strstr(err, "key_zzz") != NULL, "the message names it: %s", err);

    is_int(llm_key_get(st, key, &k, err, sizeof(err)), LLM_NOTFOUND,
           "a key is no id");
    ok(strstr(err, "sk-") == NULL && strstr(err, key + 3) == NULL,
       "and not repeated: %s", err);
    is_int(llm_key_revoke(st, "", &k, err, sizeof(err)), LLM_NOTFOUND,
           "nor is nothing");
}


typedef struct {
    int   n;
    int   stop;
    int   disorder;
    int   inner;
    char  last[LLM_KEY_ID_LEN + 1];
} walk_t;


static int
walk(void *data, const llm_key_t *k)
{
    walk_t     *w = data;
    llm_key_t   found;

    w->n++;
    w->disorder += strcmp(w->last, k->id) >= 0;
    strcpy(w->last, k->id);

    w->inner += llm_key_get(st, k->id, &found, err, sizeof(err)) == LLM_OK;

    return w->n == w->stop;
}


static void
test_each(void)
{
    int        i, total;
    char       key[LLM_KEY_LEN + 1];
    walk_t     w;
    llm_key_t  k;

    memset(&w, 0, sizeof(w));
    is_int(llm_key_each(st, NULL, walk, &w, err, sizeof(err)), LLM_OK, "each");
    total = w.n;

    for (i = 0; i < 30; i++) {
        create_for(&k, key, "each");
    }

    memset(&w, 0, sizeof(w));
    is_int(llm_key_each(st, NULL, walk, &w, err, sizeof(err)), LLM_OK, "again");
    is_int(w.n, total + 30, "all of them");
    is_int(w.disorder, 0, "by ascending id");
    is_int(w.inner, w.n, "the handle works inside");

    memset(&w, 0, sizeof(w));
    w.stop = 3;
    is_int(llm_key_each(st, NULL, walk, &w, err, sizeof(err)), LLM_OK,
           "stopped");
    is_int(w.n, 3, "where it was told to");
}


static void
put(MDB_dbi dbi, void *k, size_t klen, void *p, size_t len)
{
    MDB_txn  *txn;
    MDB_val   name, v;

    name.mv_data = k;
    name.mv_size = klen;
    v.mv_data = p;
    v.mv_size = len;

    llm_store_write(st, &txn, 0, err, sizeof(err));
    mdb_put(txn, dbi, &name, &v, 0);
    llm_store_commit(st, txn, err, sizeof(err));
}


static void
test_corrupt(void)
{
    int          bad, named, rc, total;
    char         key[LLM_KEY_LEN + 1];
    size_t       i, n;
    walk_t       w;
    uint8_t      tag[LLM_TAG_LEN], good[LLM_RECORD_MAX], rec[LLM_RECORD_MAX];
    uint32_t     crc;
    llm_key_t    k, k2, found;
    const char  *why;

    create_for(&k, key, "torn");
    llm_secret_tag(secret, 1, key, LLM_KEY_LEN, tag);
    n = llm_record_pack(good, &k);

    memset(&w, 0, sizeof(w));
    llm_key_each(st, NULL, walk, &w, err, sizeof(err));
    total = w.n;

    /* each bit, each length: without the store, it is faster */

    bad = 0;

    for (i = 0; i < n * 8; i++) {
        memcpy(rec, good, n);
        rec[i / 8] ^= (uint8_t) (1 << i % 8);
        memset(&found, 0, sizeof(found));
        bad += llm_record_unpack(rec, n, &found, &why) == LLM_OK;
    }

    is_int(bad, 0, "each changed bit of a record is seen");

    for (i = 0; i < n; i++) {
        uint8_t  *cut;

        cut = malloc(i + 1);    /* to its end, for the address sanitizer */
        memcpy(cut + 1, good, i);
        memset(&found, 0, sizeof(found));
        bad += llm_record_unpack(cut + 1, i, &found, &why) == LLM_OK;
        free(cut);
    }

    is_int(bad, 0, "and each cut");

    memcpy(rec, good, n);
    rec[30] ^= 1;
    put(st->keys, tag, sizeof(tag), rec, n);

    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_INVALID, "a torn record is an error");
    ok(found.id[0] == '\0' && found.role == 0, "that admits nobody: %s", err);

    memcpy(rec, good, n);
    rec[5] ^= 1;
    put(st->keys, tag, sizeof(tag), rec, n);

    named = 0;
    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    named += rc == LLM_INVALID && strstr(err, k.id) && strstr(err, "torn");
    rc = llm_key_get(st, k.id, &found, err, sizeof(err));
    named += rc == LLM_INVALID && strstr(err, k.id) && strstr(err, "torn");
    rc = llm_key_revoke(st, k.id, &found, err, sizeof(err));
    named += rc == LLM_INVALID && strstr(err, k.id) && strstr(err, "torn");
    memset(&w, 0, sizeof(w));
    rc = llm_key_each(st, NULL, walk, &w, err, sizeof(err));
    named += rc == LLM_INVALID && strstr(err, k.id) && strstr(err, "torn");
    is_int(named, 4, "look-up, get, revoke and each name the key");
    is_int(w.n, total - 1, "each gives all others");

    memcpy(rec, good, n);
    rec[0] = 9;
    put(st->keys, tag, sizeof(tag), rec, n);
    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    ok(rc == LLM_INVALID && strstr(err, k.id) && strstr(err, "version"),
       "an unknown version: %s", err);

    put(st->keys, tag, sizeof(tag), rec, 0);
    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_INVALID, "an empty record");

    /* a role beyond the known ones, sealed */

    memcpy(rec, good, n);
    rec[1] = 200;
    crc = llm_crc32(rec, n - 4);
    memcpy(rec + n - 4, &crc, 4);
    put(st->keys, tag, sizeof(tag), rec, n);
    rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &found, err,
                        sizeof(err));
    is_int(rc, LLM_INVALID, "an impossible role with its checksum");

    /* the record of another key */

    k2 = k;
    memcpy(k2.id, "key_111111111111111111111111", LLM_KEY_ID_LEN);
    put(st->keys, tag, sizeof(tag), rec, llm_record_pack(rec, &k2));
    rc = llm_key_get(st, k.id, &found, err, sizeof(err));
    ok(rc == LLM_INVALID && strstr(err, k.id), "another key's: %s", err);

    put(st->ids, k.id, LLM_KEY_ID_LEN, tag, 31);
    rc = llm_key_get(st, k.id, &found, err, sizeof(err));
    ok(rc == LLM_INVALID && strstr(err, k.id), "a short tag: %s", err);

    rec[0] ^= 1;
    put(st->ids, k.id, LLM_KEY_ID_LEN, rec, LLM_TAG_LEN);
    rc = llm_key_get(st, k.id, &found, err, sizeof(err));
    ok(rc == LLM_INVALID && strstr(err, k.id), "a lost record: %s", err);

    put(st->ids, "\xff\xfe", 2, tag, LLM_TAG_LEN);
    memset(&w, 0, sizeof(w));
    rc = llm_key_each(st, NULL, walk, &w, err, sizeof(err));
    is_int(rc, LLM_INVALID, "a malformed id does not stop the walk");
    is_int(w.n, total - 1, "all others are there");
}


static int
holds(const uint8_t *p, size_t len, const void *needle, size_t n)
{
    return memmem(p, len, needle, n) != NULL;
}


/* of a key, in the store */

static void
traces(const uint8_t *p, size_t len, const char *key)
{
    int           hits;
    char          hex[17];
    size_t        i;
    uint8_t       bin[32], hash[EVP_MAX_MD_SIZE];
    unsigned int  n;

    const EVP_MD  *md[] = { EVP_sha256(), EVP_sha1(), EVP_md5(),
                            EVP_sha512() };

    hits = 0;

    for (i = 3; i + 8 <= LLM_KEY_LEN; i++) {
        hits += holds(p, len, key + i, 8);
    }

    is_int(hits, 0, "no 8 characters of the key");

    unhex(bin, key + 3, 32);

    for (i = 0; i + 6 <= 32; i++) {
        hits += holds(p, len, bin + i, 6);
    }

    is_int(hits, 0, "no 6 bytes that it stands for");

    for (i = 0; i < 4; i++) {
        EVP_Digest(key, LLM_KEY_LEN, hash, &n, md[i], NULL);
        hits += holds(p, len, hash, n) + holds(p, len, hash, 8);
        snprintf(hex, sizeof(hex), "%02x%02x%02x%02x%02x%02x%02x%02x",
                 hash[0], hash[1], hash[2], hash[3], hash[4], hash[5],
                 hash[6], hash[7]);
        hits += holds(p, len, hex, 16);

        EVP_Digest(key + 3, LLM_KEY_LEN - 3, hash, &n, md[i], NULL);
        hits += holds(p, len, hash, 8);
        EVP_Digest(bin, 32, hash, &n, md[i], NULL);
        hits += holds(p, len, hash, 8);
    }

    is_int(hits, 0, "no unkeyed hash");
}


static void
test_stolen(void)
{
    int           again, fd, i;
    char          key[4][LLM_KEY_LEN + 1], file[300];
    size_t        len;
    uint8_t      *p, hash[EVP_MAX_MD_SIZE];
    llm_key_t     k[4], next;
    struct stat   sb;
    unsigned int  n;

    static const char  *const idem[] = { NULL, "name-of-a-rotation", NULL };

    is_int(create_for(&k[0], key[0], "stolen-store-client"), LLM_OK, "a key");

    for (i = 1; i < 3; i++) {
        is_int(llm_key_rotate(st, secret, k[0].id, 60, 0, idem[i], &k[i],
                              key[i], &again, err, sizeof(err)),
               LLM_OK, "rotated");
    }

    is_int(llm_key_replace(st, secret, k[0].id, &next, &k[3], key[3], err,
                           sizeof(err)), LLM_OK, "replaced");

    snprintf(file, sizeof(file), "%s/data.mdb", path);
    fd = open(file, O_RDONLY);
    fstat(fd, &sb);
    len = (size_t) sb.st_size;
    p = malloc(len);
    ok(read(fd, p, len) == (ssize_t) len, "the store is read");
    close(fd);

    ok(holds(p, len, "stolen-store-client", 19), "it holds the client");
    ok(!holds(p, len, "name-of-a-rotation", 18), "no name of a rotation");

    for (i = 0; i < 4; i++) {
        ok(holds(p, len, k[i].tag, LLM_TAG_LEN), "it holds the tag");
        traces(p, len, key[i]);
    }

    HMAC(EVP_sha256(), raw, 39, (const uint8_t *) LLM_LABEL_VERIFY,
         sizeof(LLM_LABEL_VERIFY) - 1, hash, &n);
    ok(!holds(p, len, raw, 16) && !holds(p, len, hash, 16)
       && !holds(p, len, secret->v[0].seal, 16),
       "and nothing of the secret");

    free(p);
}


int
main(void)
{
    int        rc;
    char       file[300];
    llm_key_t  k;

    if (test_begin() == -1) {
        return 1;
    }

    snprintf(file, sizeof(file), "file:%s", at("secret"));
    put_file(file + 5, raw, 39, 0600);

    rc = llm_secret_open(&secret, file, err, sizeof(err));
    is_int(rc, LLM_OK, "the secret is read");

    rc = llm_store_create(path, 16 << 20, err, sizeof(err));
    is_int(rc, LLM_OK, "a store is created");
    rc = llm_store_open(&st, path, 0, err, sizeof(err));
    is_int(rc, LLM_OK, "and opened");

    if (rc != LLM_OK) {
        printf("Bail out! %s\n", err);
        return 1;
    }

    is_int(llm_key_get(st, "key_zzzzzzzzzzzzzzzzzzzzzzzz", &k, err,
                       sizeof(err)), LLM_NOTFOUND, "an empty store");

    test_text();
    test_lookup();
    test_invalid();
    test_revoke();
    test_each();
    test_stolen();
    test_corrupt();

    llm_store_close(st);
    llm_secret_close(secret);

    remove_tree(dir);

    return done();
}
