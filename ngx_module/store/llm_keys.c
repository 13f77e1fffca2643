
/*
 * Copyright (C) nginx-llm contributors
 *
 * API keys: their text, creation and look-up.
 *
 * A key: "sk-", 32 hex digits of HMAC-SHA256(secret, client || unix time,
 * 8 bytes big-endian || salt), 32 hex digits of the salt, and 8 hex digits of
 * CRC-32 over what stands before.  Digits are lower-case.  The time is that of
 * the issue, the secret the version that the record names.
 *
 * A record stands under the tag, not under the id, so that one descent finds
 * a request's key: with a million keys that is what a look-up costs.
 *
 * A signature may take a token ten seconds: it is made before the write
 * transaction, which would keep revocations waiting.
 *
 * The thread that uses the handle runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "llm_store_int.h"


#define LLM_KEY_TEXT        67      /* characters before the checksum */
#define LLM_KEY_SALT        16

_Static_assert((LLM_KEY_LEN - 3) % 8 == 0, "its digits are read by eights");


static int llm_key_prepare_new(llm_store_t *st, const llm_secret_t *secret,
    llm_key_t *k, char *err, size_t errlen);
static int llm_key_new_id(llm_key_t *k, char *err, size_t errlen);
static uint64_t llm_key_not_hex(const char *p);
static int llm_key_salt(const llm_secret_t *secret, const llm_key_t *k,
    uint8_t *salt);
static void llm_key_hex(char *out, const uint8_t *p, size_t len);
static void llm_found_put(llm_store_t *st, uint64_t txnid,
    const llm_key_t *k);
static int llm_found_get(llm_store_t *st, uint64_t txnid,
    uint8_t tag[][LLM_TAG_LEN], size_t n, llm_key_t *k);


/* all of it is looked at, whatever it is: no early way out */

int
llm_key_wellformed(const char *key, size_t len)
{
    size_t    i;
    uint8_t   c;
    uint32_t  crc;
    uint64_t  bad;

    if (len != LLM_KEY_LEN) {
        return 0;
    }

    bad = (key[0] != 's') | (key[1] != 'k') | (key[2] != '-');

    for (i = 3; i < LLM_KEY_LEN; i += 8) {
        bad |= llm_key_not_hex(key + i);
    }

    crc = 0;

    for (i = LLM_KEY_TEXT; i < LLM_KEY_LEN; i++) {
        c = (uint8_t) key[i];
        crc = crc << 4 | ((c & 15u) + 9u * (c >> 6));
    }

    return (bad | (crc ^ llm_crc32(key, LLM_KEY_TEXT))) == 0;
}


/*
 * Eight characters: the top bit of each that is no digit of ours.  To a byte
 * below 128, 128 - n is added: its top bit is then set from n on.
 */

static uint64_t
llm_key_not_hex(const char *p)
{
    uint64_t               w, digit, letter;
    static const uint64_t  each = 0x0101010101010101;

    memcpy(&w, p, 8);

    digit = (w + (128 - '0') * each) & ~(w + (128 - '9' - 1) * each);
    letter = (w + (128 - 'a') * each) & ~(w + (128 - 'f' - 1) * each);

    return (w | ~(digit | letter)) & 128 * each;
}


int
llm_key_create(llm_store_t *st, const llm_secret_t *secret, llm_key_t *k,
    char *key, char *err, size_t errlen)
{
    int       i, rc;
    MDB_txn  *txn;

    memset(key, 0, LLM_KEY_LEN + 1);
    rc = LLM_AGAIN;
    txn = NULL;

    /* again when another version of the secret was activated meanwhile */

    for (i = 0; rc == LLM_AGAIN && i < LLM_KEY_TRIES; i++) {

        rc = llm_key_prepare_new(st, secret, k, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_key_text(secret, k, 0, key, err, errlen);
        }

        if (rc == LLM_OK) {
            rc = llm_store_write(st, &txn, 1, err, errlen);
        }

        if (rc != LLM_OK) {
            break;
        }

        rc = llm_key_insert(st, txn, secret, k, "key.create", err, errlen);

        if (rc == LLM_OK) {
            rc = llm_store_commit(st, txn, err, errlen);

        } else {
            llm_store_abort(st, txn);
        }
    }

    if (rc != LLM_OK) {
        OPENSSL_cleanse(key, LLM_KEY_LEN + 1);
        memset(k->id, 0, sizeof(k->id));
    }

    return rc;
}


static int
llm_key_prepare_new(llm_store_t *st, const llm_secret_t *secret,
    llm_key_t *k, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_key_new(k, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_prepare(st, txn, secret, &k->version, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_key_expiry(st, txn, k, err, errlen);
        }

        llm_store_read_end(st);
    }

    return rc;
}


int
llm_key_new(llm_key_t *k, char *err, size_t errlen)
{
    int  rc;

    rc = llm_key_valid(k, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    k->created = (int64_t) time(NULL);
    k->issued = k->created;
    k->revoked = 0;
    k->until = 0;
    k->noticed = 0;
    memset(k->idem, 0, sizeof(k->idem));

    return llm_key_new_id(k, err, errlen);
}


int
llm_key_prepare(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    uint32_t *version, char *err, size_t errlen)
{
    int  rc;

    rc = llm_store_match(st, txn, secret, 0, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (st->bound.current != 0) {
        return llm_store_current(st, version, err, errlen);
    }

    /* the first key binds a store */

    if (txn != st->rtxn) {
        rc = llm_store_match(st, txn, secret, 1, err, errlen);
    }

    *version = secret->v[secret->n - 1].version;

    return rc;
}


int
llm_key_expiry(llm_store_t *st, MDB_txn *txn, const llm_key_t *k, char *err,
    size_t errlen)
{
    int      rc;
    int64_t  age, end;

    if (k->expires == 0) {
        return LLM_OK;
    }

    if (k->expires <= (int64_t) time(NULL)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: expires: it is in the past");
    }

    rc = llm_meta_max_age(st, txn, &age, err, errlen);

    if (rc != LLM_OK || age == 0
        || __builtin_add_overflow(k->issued, age, &end) || k->expires <= end)
    {
        return rc;
    }

    if (age % 86400 != 0) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: expires: it is later than the maximum age of "
                       "%lld seconds", (long long) age);
    }

    return llm_err(err, errlen, LLM_INVALID,
                   "key: expires: it is later than the maximum age of "
                   "%lld days", (long long) age / 86400);
}


int
llm_key_insert(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, const char *action, char *err, size_t errlen)
{
    int        rc;
    char       detail[LLM_DETAIL_MAX + 1];
    MDB_val    id, name, v;
    uint8_t    record[LLM_RECORD_MAX];
    uint32_t   version;

    rc = llm_key_prepare(st, txn, secret, &version, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (version != k->version) {
        return llm_err(err, errlen, LLM_AGAIN,
                       "secret: version %u was just activated", version);
    }

    id.mv_data = k->id;
    id.mv_size = LLM_KEY_ID_LEN;
    name.mv_data = k->tag;
    name.mv_size = LLM_TAG_LEN;
    v.mv_data = record;
    v.mv_size = llm_record_pack(record, k);

    /* 120 random bits each: one that is there already is a broken machine */

    rc = mdb_put(txn, st->keys, &name, &v, MDB_NOOVERWRITE);

    if (rc == 0) {
        name.mv_data = k->tag;
        name.mv_size = LLM_TAG_LEN;
        rc = mdb_put(txn, st->ids, &id, &name, MDB_NOOVERWRITE);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "create", err, errlen);
    }

    if (action == NULL) {
        return LLM_OK;
    }

    llm_key_detail(detail, sizeof(detail), k, LLM_SET_ALL);

    return llm_change_put(st, txn, action, k->id, detail, err, errlen);
}


int
llm_key_put(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen)
{
    int  rc;

    rc = llm_key_new(k, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_prepare(st, txn, secret, &k->version, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_key_text(secret, k, 0, key, err, errlen);
    }

    return rc == LLM_OK ? llm_key_insert(st, txn, secret, k, NULL, err,
                                         errlen)
                        : rc;
}


int
llm_key_text(const llm_secret_t *secret, llm_key_t *k, int derived,
    char *key, char *err, size_t errlen)
{
    int       i, rc;
    char      sum[9];
    size_t    n;
    uint8_t   text[LLM_CLIENT_MAX + 8 + LLM_KEY_SALT];
    uint8_t   mac[32], *salt;

    n = strlen(k->client);
    memcpy(text, k->client, n);

    for (i = 0; i < 8; i++) {
        text[n++] = (uint8_t) ((uint64_t) k->issued >> (56 - 8 * i));
    }

    salt = text + n;
    n += LLM_KEY_SALT;

    rc = derived ? llm_key_salt(secret, k, salt)
                 : llm_random(salt, LLM_KEY_SALT, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_secret_sign(secret, k->version, text, n, mac, err, errlen);

        if (rc == LLM_ERROR) {
            rc = LLM_AWAY;
        }

    } else if (derived) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "secret: version %u is not open", k->version);
    }

    if (rc != LLM_OK) {
        goto done;
    }

    memcpy(key, "sk-", 3);
    llm_key_hex(key + 3, mac, 16);
    llm_key_hex(key + 35, salt, LLM_KEY_SALT);

    (void) snprintf(sum, sizeof(sum), "%08x",
                    (unsigned) llm_crc32(key, LLM_KEY_TEXT));
    memcpy(key + LLM_KEY_TEXT, sum, 9);

    rc = llm_secret_tag(secret, k->version, key, LLM_KEY_LEN, k->tag);

    if (rc != LLM_OK) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "secret: version %u is not open", k->version);
    }

done:

    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(mac, sizeof(mac));

    return rc;
}


/*
 * The salt of a rotation that has a name, so that the same call can give the
 * same key again: as good as a random one for who holds no verification key,
 * and the signature needs more than that one.
 */

static int
llm_key_salt(const llm_secret_t *secret, const llm_key_t *k, uint8_t *salt)
{
    int      rc;
    size_t   n;
    uint8_t  text[7 + LLM_KEY_ID_LEN + 16 + 8], tag[LLM_TAG_LEN];

    memcpy(text, "rotate", 7);
    n = 7;
    memcpy(text + n, k->id, LLM_KEY_ID_LEN);
    n += LLM_KEY_ID_LEN;
    memcpy(text + n, k->idem, sizeof(k->idem));
    n += sizeof(k->idem);
    llm_put_le(text + n, (uint64_t) k->issued, 8);
    n += 8;

    rc = llm_secret_tag(secret, k->version, text, n, tag);

    if (rc == LLM_OK) {
        memcpy(salt, tag, LLM_KEY_SALT);
    }

    OPENSSL_cleanse(tag, sizeof(tag));

    return rc;
}


static void
llm_key_hex(char *out, const uint8_t *p, size_t len)
{
    size_t             i;
    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < len; i++) {
        *out++ = hex[p[i] >> 4];
        *out++ = hex[p[i] & 15];
    }
}


static int
llm_key_new_id(llm_key_t *k, char *err, size_t errlen)
{
    int      i, rc;
    uint8_t  rnd[24];

    rc = llm_random(rnd, sizeof(rnd), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    memcpy(k->id, "key_", 4);

    for (i = 0; i < 24; i++) {
        k->id[4 + i] = llm_base32[rnd[i] & 31];
    }

    k->id[LLM_KEY_ID_LEN] = '\0';

    return LLM_OK;
}


int
llm_key_lookup(llm_store_t *st, const llm_secret_t *secret, const char *key,
    size_t len, llm_key_t *k, char *err, size_t errlen)
{
    int           rc;
    size_t        i, n;
    MDB_txn      *txn;
    MDB_val       name, v;
    uint8_t       tag[LLM_SECRET_VERSIONS][LLM_TAG_LEN];

    txn = NULL;
    n = 0;

    if (st->found == NULL) {
        st->found = calloc(LLM_FOUND, sizeof(llm_found_t));

        if (st->found == NULL) {
            memset(k, 0, sizeof(llm_key_t));
            return llm_err(err, errlen, LLM_NOMEM, "%s: store: no memory",
                           st->path);
        }
    }

    rc = (len == LLM_KEY_LEN) ? llm_store_read(st, &txn, err, errlen)
         : llm_err(err, errlen, LLM_NOTFOUND, "key: malformed");

    if (rc != LLM_OK) {
        memset(k, 0, sizeof(llm_key_t));
        return rc;
    }

    rc = llm_store_match(st, txn, secret, 0, err, errlen);
    if (rc != LLM_OK) {
        goto done;
    }

    for (i = 0; i < st->bound.n; i++) {
        if (llm_secret_tag(secret, st->bound.version[i], key, len, tag[n])
            == LLM_OK)
        {
            n++;
        }
    }

    if (llm_found_get(st, mdb_txn_id(txn), tag, n, k)) {
        llm_store_read_end(st);
        return LLM_OK;
    }

    if (!llm_key_wellformed(key, len)) {
        rc = llm_err(err, errlen, LLM_NOTFOUND, "key: malformed");
        goto done;
    }

    /*
     * The bytes are compared by LMDB as they come.  That tells nothing of
     * them: who does not hold the verification key can't choose a tag.
     */

    rc = MDB_NOTFOUND;

    for (i = 0; rc == MDB_NOTFOUND && i < n; i++) {
        name.mv_data = tag[i];
        name.mv_size = LLM_TAG_LEN;

        rc = mdb_get(txn, st->keys, &name, &v);
    }

    if (rc == 0) {
        rc = llm_key_unpack(st, &v, NULL, k, err, errlen);

    } else if (rc == MDB_NOTFOUND) {
        rc = llm_err(err, errlen, LLM_NOTFOUND, "key: unknown");

    } else {
        rc = llm_store_error(st, rc, "look-up", err, errlen);
    }

    if (rc == LLM_OK) {
        memcpy(k->tag, tag[i - 1], LLM_TAG_LEN);
        llm_found_put(st, mdb_txn_id(txn), k);
    }

done:

    llm_store_read_end(st);

    if (rc != LLM_OK) {
        memset(k, 0, sizeof(llm_key_t));
    }

    return rc;
}


/* at a key's second look-up: of many keys that come once each, a copy of the
 * record would only cost */

static void
llm_found_put(llm_store_t *st, uint64_t txnid, const llm_key_t *k)
{
    llm_found_t  *f;

    f = &st->found[k->tag[0]];

    if (memcmp(f->key.tag, k->tag, LLM_TAG_LEN) != 0) {
        memcpy(f->key.tag, k->tag, LLM_TAG_LEN);
        f->txnid = 0;
        return;
    }

    memcpy(&f->key, k, llm_key_size(k));
    f->txnid = txnid;
}


/* 1: one of the tags was looked up before, and the store is as it was then */

static int
llm_found_get(llm_store_t *st, uint64_t txnid,
    uint8_t tag[][LLM_TAG_LEN], size_t n, llm_key_t *k)
{
    size_t        i;
    llm_found_t  *f;

    for (i = 0; i < n; i++) {
        f = &st->found[tag[i][0]];

        if (f->txnid == txnid && memcmp(f->key.tag, tag[i], LLM_TAG_LEN) == 0)
        {
            memcpy(k, &f->key, llm_key_size(&f->key));
            return 1;
        }
    }

    return 0;
}
