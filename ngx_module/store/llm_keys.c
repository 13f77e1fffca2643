
/*
 * Copyright (C) nginx-llm contributors
 *
 * API keys: their text, their records, and the calls on them.
 *
 * A key: "sk-", 32 hex digits of HMAC-SHA256(secret, client || unix time,
 * 8 bytes big-endian || salt), 32 hex digits of the salt, and 8 hex digits of
 * CRC-32 over what stands before.  Digits are lower-case.
 *
 * A record stands under the tag, not under the id, so that one descent finds
 * a request's key: with a million keys that is what a look-up costs.
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


static int llm_key_make(const llm_secret_t *secret, const llm_key_t *k,
    char *key, char *err, size_t errlen);
static void llm_key_hex(char *out, const uint8_t *p, size_t len);
static int llm_key_id(char *id, char *err, size_t errlen);
static int llm_key_load(llm_store_t *st, MDB_txn *txn, const char *id,
    llm_key_t *k, uint8_t *tag, char *err, size_t errlen);
static int llm_key_follow(llm_store_t *st, MDB_txn *txn, const char *id,
    MDB_val *tag, llm_key_t *k, char *err, size_t errlen);
static int llm_record_error(llm_store_t *st, const char *id,
    const char *why, char *err, size_t errlen);


/* all of it is looked at, whatever it is: no early way out */

int
llm_key_wellformed(const char *key, size_t len)
{
    size_t    i;
    uint8_t   c;
    uint32_t  bad, crc, digit;

    if (len != LLM_KEY_LEN) {
        return 0;
    }

    bad = (key[0] != 's') | (key[1] != 'k') | (key[2] != '-');
    crc = 0;

    for (i = 3; i < LLM_KEY_LEN; i++) {
        c = (uint8_t) key[i];
        digit = (c >= 'a') ? (uint32_t) c - 'a' + 10 : (uint32_t) c - '0';

        bad |= !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));

        if (i >= LLM_KEY_TEXT) {
            crc = crc << 4 | (digit & 15);
        }
    }

    return (bad | (crc ^ llm_crc32(key, LLM_KEY_TEXT))) == 0;
}


int
llm_key_create(llm_store_t *st, const llm_secret_t *secret, llm_key_t *k,
    char *key, char *err, size_t errlen)
{
    int        rc;
    MDB_txn   *txn;

    memset(key, 0, LLM_KEY_LEN + 1);

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_key_put(st, txn, secret, k, key, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_commit(st, txn, err, errlen);

    } else {
        mdb_txn_abort(txn);
    }

    if (rc != LLM_OK) {
        OPENSSL_cleanse(key, LLM_KEY_LEN + 1);
        memset(k->id, 0, sizeof(k->id));
    }

    return rc;
}


int
llm_key_put(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen)
{
    int      rc;
    MDB_val  id, name, v;
    int64_t  now;
    uint8_t  tag[LLM_TAG_LEN], record[LLM_RECORD_MAX];

    now = (int64_t) time(NULL);

    rc = llm_key_valid(k, now, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_match(st, txn, secret, 1, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    k->created = now;
    k->revoked = 0;

    rc = llm_key_id(k->id, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_make(secret, k, key, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_store_mac(st, secret, key, LLM_KEY_LEN, tag, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    id.mv_data = k->id;
    id.mv_size = LLM_KEY_ID_LEN;
    name.mv_data = tag;
    name.mv_size = sizeof(tag);

    /* 120 random bits each: one that is there already is a broken machine */

    rc = mdb_put(txn, st->ids, &id, &name, MDB_NOOVERWRITE);

    if (rc == 0) {
        name.mv_data = tag;
        name.mv_size = sizeof(tag);
        v.mv_data = record;
        v.mv_size = llm_record_pack(record, k);
        rc = mdb_put(txn, st->keys, &name, &v, MDB_NOOVERWRITE);
    }

    return rc == 0 ? LLM_OK
                   : llm_store_error(st, rc, "create", err, errlen);
}


static int
llm_key_make(const llm_secret_t *secret, const llm_key_t *k, char *key,
    char *err, size_t errlen)
{
    int            i, rc;
    char           sum[9];
    size_t         n;
    uint8_t        text[LLM_CLIENT_MAX + 8 + LLM_KEY_SALT];
    uint8_t        mac[32], *salt;

    n = strlen(k->client);
    memcpy(text, k->client, n);

    for (i = 0; i < 8; i++) {
        text[n++] = (uint8_t) ((uint64_t) k->created >> (56 - 8 * i));
    }

    salt = text + n;
    n += LLM_KEY_SALT;

    rc = llm_random(salt, LLM_KEY_SALT, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_secret_sign(secret, secret->v[0].version, text, n, mac, err,
                         errlen);
    if (rc != LLM_OK) {
        goto done;
    }

    memcpy(key, "sk-", 3);
    llm_key_hex(key + 3, mac, 16);
    llm_key_hex(key + 35, salt, LLM_KEY_SALT);

    (void) snprintf(sum, sizeof(sum), "%08x",
                    (unsigned) llm_crc32(key, LLM_KEY_TEXT));
    memcpy(key + LLM_KEY_TEXT, sum, 9);

done:

    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(mac, sizeof(mac));

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
llm_key_id(char *id, char *err, size_t errlen)
{
    int      i, rc;
    uint8_t  rnd[24];

    rc = llm_random(rnd, sizeof(rnd), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    memcpy(id, "key_", 4);

    for (i = 0; i < 24; i++) {
        id[4 + i] = llm_base32[rnd[i] & 31];
    }

    id[LLM_KEY_ID_LEN] = '\0';

    return LLM_OK;
}


int
llm_key_lookup(llm_store_t *st, const llm_secret_t *secret, const char *key,
    size_t len, llm_key_t *k, char *err, size_t errlen)
{
    int          rc;
    MDB_txn     *txn;
    MDB_val      name, v;
    uint8_t      tag[LLM_TAG_LEN];
    const char  *why;

    memset(k, 0, sizeof(llm_key_t));

    if (!llm_key_wellformed(key, len)) {
        return llm_err(err, errlen, LLM_NOTFOUND, "key: malformed");
    }

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_match(st, txn, secret, 0, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_mac(st, secret, key, len, tag, err, errlen);
    }

    if (rc != LLM_OK) {
        goto done;
    }

    /*
     * The bytes are compared by LMDB as they come.  That tells nothing of
     * them: who does not hold the verification key can't choose a tag.
     */

    name.mv_data = tag;
    name.mv_size = sizeof(tag);

    rc = mdb_get(txn, st->keys, &name, &v);

    if (rc == 0) {
        rc = llm_record_unpack(v.mv_data, v.mv_size, k, &why);

        if (rc != LLM_OK) {
            rc = llm_record_error(st, k->id, why, err, errlen);
            memset(k, 0, sizeof(llm_key_t));
        }

    } else if (rc == MDB_NOTFOUND) {
        rc = llm_err(err, errlen, LLM_NOTFOUND, "key: unknown");

    } else {
        rc = llm_store_error(st, rc, "look-up", err, errlen);
    }

done:

    llm_store_read_end(st);

    return rc;
}


int
llm_key_get(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen)
{
    int        rc;
    MDB_txn   *txn;
    uint8_t    tag[LLM_TAG_LEN];
    llm_key_t  found;

    memset(&found, 0, sizeof(llm_key_t));

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_load(st, txn, id, &found, tag, err, errlen);
        llm_store_read_end(st);
    }

    *k = found;                 /* not before: id may be k->id */

    return rc;
}


int
llm_key_revoke(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen)
{
    int        rc;
    MDB_txn   *txn;
    MDB_val    name, v;
    int64_t    now;
    uint8_t    tag[LLM_TAG_LEN], record[LLM_RECORD_MAX];
    llm_key_t  found;

    memset(&found, 0, sizeof(llm_key_t));
    txn = NULL;

    rc = llm_store_write(st, &txn, 0, err, errlen);

    if (rc != LLM_OK) {
        txn = NULL;
        goto done;
    }

    rc = llm_key_load(st, txn, id, &found, tag, err, errlen);

    if (rc != LLM_OK || found.revoked != 0) {
        goto done;
    }

    now = (int64_t) time(NULL);
    found.revoked = now > 0 ? now : 1;

    name.mv_data = tag;
    name.mv_size = sizeof(tag);
    v.mv_data = record;
    v.mv_size = llm_record_pack(record, &found);

    rc = mdb_put(txn, st->keys, &name, &v, 0);

    if (rc != 0) {
        rc = llm_store_error(st, rc, "revoke", err, errlen);

    } else {
        rc = llm_store_commit(st, txn, err, errlen);
        txn = NULL;
    }

    if (rc != LLM_OK) {
        memset(&found, 0, sizeof(llm_key_t));
    }

done:

    if (txn != NULL) {
        mdb_txn_abort(txn);
    }

    *k = found;

    return rc;
}


/*
 * A transaction of its own: f may use the handle.  A bad record does not hide
 * the others: it is told at the end, the first one by name.
 */

int
llm_key_each(llm_store_t *st, int (*f)(void *data, const llm_key_t *k),
    void *data, char *err, size_t errlen)
{
    int          bad, rc;
    char         id[LLM_KEY_ID_LEN + 1];
    MDB_txn     *txn;
    MDB_val      name, tag;
    llm_key_t    k;
    MDB_cursor  *cursor;

    /* takes a map that another process has grown */

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_store_read_end(st);

    rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    rc = mdb_cursor_open(txn, st->ids, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return llm_store_error(st, rc, "read", err, errlen);
    }

    bad = LLM_OK;

    while ((rc = mdb_cursor_get(cursor, &name, &tag, MDB_NEXT)) == 0) {

        id[0] = '\0';

        if (name.mv_size == LLM_KEY_ID_LEN) {
            memcpy(id, name.mv_data, LLM_KEY_ID_LEN);
            id[LLM_KEY_ID_LEN] = '\0';
        }

        rc = llm_key_follow(st, txn, id, &tag, &k,
                            bad == LLM_OK ? err : NULL, errlen);

        if (rc != LLM_OK) {
            bad = rc;

        } else if (f(data, &k) != 0) {
            rc = MDB_NOTFOUND;
            break;
        }
    }

    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);

    if (rc != MDB_NOTFOUND) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    return bad;
}


/*
 * id is from the store, or from a user: then it may be a key, and a message
 * repeats it only when it can't be.
 */

static int
llm_key_load(llm_store_t *st, MDB_txn *txn, const char *id, llm_key_t *k,
    uint8_t *tag, char *err, size_t errlen)
{
    int      rc;
    MDB_val  name, v;

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_NOTFOUND, "key: malformed id");
    }

    name.mv_data = (void *) id;
    name.mv_size = LLM_KEY_ID_LEN;

    rc = mdb_get(txn, st->ids, &name, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: no such key", id);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "look-up", err, errlen);
    }

    rc = llm_key_follow(st, txn, id, &v, k, err, errlen);

    if (rc == LLM_OK) {
        memcpy(tag, v.mv_data, LLM_TAG_LEN);
    }

    return rc;
}


/* the record that an entry of "ids" points to */

static int
llm_key_follow(llm_store_t *st, MDB_txn *txn, const char *id, MDB_val *tag,
    llm_key_t *k, char *err, size_t errlen)
{
    int          rc;
    MDB_val      v;
    const char  *why;

    memset(k, 0, sizeof(llm_key_t));

    if (tag->mv_size != LLM_TAG_LEN) {
        return llm_record_error(st, id, "malformed entry", err, errlen);
    }

    rc = mdb_get(txn, st->keys, tag, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_record_error(st, id, "no record", err, errlen);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "look-up", err, errlen);
    }

    rc = llm_record_unpack(v.mv_data, v.mv_size, k, &why);

    if (rc == LLM_OK && strcmp(id, k->id) != 0) {
        rc = LLM_INVALID;
        why = "the record is of another key";
    }

    if (rc != LLM_OK) {
        memset(k, 0, sizeof(llm_key_t));
        return llm_record_error(st, id, why, err, errlen);
    }

    return LLM_OK;
}


static int
llm_record_error(llm_store_t *st, const char *id, const char *why, char *err,
    size_t errlen)
{
    return llm_err(err, errlen, LLM_INVALID, "%s: %s: %s", st->path,
                   llm_key_id_valid(id) ? id : "(malformed id)", why);
}
