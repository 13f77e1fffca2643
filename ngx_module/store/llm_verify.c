
/*
 * Copyright (C) nginx-llm contributors
 *
 * Which versions of which secret a store's keys were made with.  meta holds a
 * check value for each, and the number of the one that makes keys.  The
 * handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_store_int.h"


#define LLM_CHECK_NAME   24
#define LLM_BOUND_NEVER  UINT64_MAX     /* a transaction's number */


static int llm_bound_fresh(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, char *err, size_t errlen);
static int llm_bound_read(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, llm_bound_t *b, char *err, size_t errlen);
static int llm_bound_check(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, uint32_t version, llm_bound_t *b, char *err,
    size_t errlen);
static int llm_bound_register(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, llm_bound_t *b, char *err, size_t errlen);
static int llm_bound_current(llm_store_t *st, MDB_txn *txn,
    uint32_t *version, char *err, size_t errlen);
static void llm_check_name(char *name, uint32_t version);
static int llm_check_value(const llm_secret_t *secret, uint32_t version,
    uint8_t *check, char *err, size_t errlen);
static int llm_versions_count(llm_store_t *st, MDB_txn *txn, int64_t now,
    size_t *n, uint32_t max, char *err, size_t errlen);


/*
 * What was found is kept for the handle.  Another process may register a
 * version: in another snapshot the number of the newest one is looked at.
 */

int
llm_store_match(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    int bind, char *err, size_t errlen)
{
    int          rc;
    llm_bound_t  b;

    if (!bind) {
        rc = llm_bound_fresh(st, txn, secret, err, errlen);

        if (rc != LLM_AGAIN) {
            return rc;
        }
    }

    rc = llm_bound_read(st, txn, secret, &b, err, errlen);

    if (rc == LLM_OK && bind) {
        rc = llm_bound_register(st, txn, secret, &b, err, errlen);
    }

    if (rc != LLM_OK) {
        memset(&b, 0, sizeof(llm_bound_t));
    }

    /* a write transaction may be aborted, and another get its number */

    b.id = secret->id;
    b.txnid = (txn == st->rtxn) ? mdb_txn_id(txn) : LLM_BOUND_NEVER;

    st->bound = b;

    return rc;
}


/* LLM_AGAIN: what is kept is not known to hold */

static int
llm_bound_fresh(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    char *err, size_t errlen)
{
    int       rc;
    uint32_t  current;

    /* a store that is not bound will be: looked at each time */

    if (st->bound.id != secret->id || st->bound.current == 0
        || st->bound.txnid == LLM_BOUND_NEVER)
    {
        return LLM_AGAIN;
    }

    if (txn == st->rtxn && st->bound.txnid == mdb_txn_id(txn)) {
        return LLM_OK;
    }

    rc = llm_bound_current(st, txn, &current, err, errlen);

    if (rc != LLM_OK) {
        return rc;
    }

    if (current != st->bound.current) {
        return LLM_AGAIN;
    }

    if (txn == st->rtxn) {
        st->bound.txnid = mdb_txn_id(txn);
    }

    return LLM_OK;
}


static int
llm_bound_read(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_bound_t *b, char *err, size_t errlen)
{
    int     rc;
    size_t  i;

    memset(b, 0, sizeof(llm_bound_t));

    rc = llm_bound_current(st, txn, &b->current, err, errlen);

    for (i = secret->n; rc == LLM_OK && i-- > 0; ) {
        rc = llm_bound_check(st, txn, secret, secret->v[i].version, b, err,
                             errlen);
    }

    if (rc == LLM_OK && b->n == 0 && b->current != 0) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s: store: it was made with another secret: "
                     "it knows none of the versions that are open",
                     st->path);
    }

    return rc;
}


/* a version that the store knows must be the same one; others are new, or
 * retired and not yet removed */

static int
llm_bound_check(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    uint32_t version, llm_bound_t *b, char *err, size_t errlen)
{
    int      rc;
    char     name[LLM_CHECK_NAME];
    MDB_val  k, v;
    uint8_t  check[LLM_TAG_LEN];

    llm_check_name(name, version);
    k.mv_data = name;
    k.mv_size = strlen(name);

    rc = mdb_get(txn, st->meta, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return LLM_OK;
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    rc = llm_check_value(secret, version, check, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (v.mv_size != sizeof(check)
        || CRYPTO_memcmp(v.mv_data, check, sizeof(check)) != 0)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: store: it was made with another secret: "
                       "its version %u is another one", st->path, version);
    }

    b->version[b->n++] = version;

    return LLM_OK;
}


static int
llm_bound_register(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_bound_t *b, char *err, size_t errlen)
{
    int       rc;
    char      name[LLM_CHECK_NAME], detail[32];
    size_t    i;
    MDB_val   k, v;
    uint8_t   check[LLM_TAG_LEN];
    uint32_t  newest, version;

    newest = b->current;

    for (i = 0; i < secret->n; i++) {
        version = secret->v[i].version;

        if (version <= newest) {
            continue;
        }

        rc = llm_check_value(secret, version, check, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        llm_check_name(name, version);
        k.mv_data = name;
        k.mv_size = strlen(name);
        v.mv_data = check;
        v.mv_size = sizeof(check);

        rc = mdb_put(txn, st->meta, &k, &v, 0);

        if (rc != 0) {
            return llm_store_error(st, rc, "bind", err, errlen);
        }

        b->current = version;
    }

    if (b->current == newest) {
        return LLM_OK;
    }

    rc = llm_meta_put(st, txn, "version", b->current, 4, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_bound_read(st, txn, secret, b, err, errlen);
    }

    if (rc == LLM_OK) {
        (void) snprintf(detail, sizeof(detail), "version=%u", b->current);
        rc = llm_change_put(st, txn, "secret.activate", "", detail, err,
                            errlen);
    }

    return rc;
}


/* 0: not bound.  A store of schema 1 that is bound has version 1 */

static int
llm_bound_current(llm_store_t *st, MDB_txn *txn, uint32_t *version,
    char *err, size_t errlen)
{
    int       rc;
    MDB_val   k, v;
    uint64_t  value;

    *version = 0;

    rc = llm_meta_get(st, txn, "version", &value, 4, NULL, 0);

    if (rc == LLM_OK && value >= 1 && value <= LLM_VERSION_MAX) {
        *version = (uint32_t) value;
        return LLM_OK;
    }

    if (rc != LLM_NOTFOUND) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: \"version\" is malformed", st->path);
    }

    k.mv_data = "check";
    k.mv_size = 5;

    rc = mdb_get(txn, st->meta, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return LLM_OK;
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    *version = 1;

    return LLM_OK;
}


static void
llm_check_name(char *name, uint32_t version)
{
    if (version == 1) {
        strcpy(name, "check");

    } else {
        (void) snprintf(name, LLM_CHECK_NAME, "check.%u", version);
    }
}


static int
llm_check_value(const llm_secret_t *secret, uint32_t version, uint8_t *check,
    char *err, size_t errlen)
{
    static const char  label[] = "nginx-llm store v1";

    if (llm_secret_tag(secret, version, label, sizeof(label) - 1, check)
        != LLM_OK)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "secret: version %u is not open", version);
    }

    return LLM_OK;
}


int
llm_store_current(llm_store_t *st, uint32_t *version, char *err,
    size_t errlen)
{
    size_t  i;

    *version = st->bound.current;

    for (i = 0; i < st->bound.n; i++) {
        if (st->bound.version[i] == *version) {
            return LLM_OK;
        }
    }

    return llm_err(err, errlen, LLM_INVALID, "secret: version %u makes keys "
                   "and is not open: nginx must be reloaded to read it, or "
                   "its file is missing", *version);
}


int
llm_store_verify(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_match(st, txn, secret, 0, err, errlen);
        llm_store_read_end(st);
    }

    return rc;
}


int
llm_store_bind(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_verify(st, secret, err, errlen);

    if (rc != LLM_OK
        || secret->v[secret->n - 1].version <= st->bound.current)
    {
        return rc;
    }

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_match(st, txn, secret, 1, err, errlen);

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


int
llm_store_version(llm_store_t *st, uint32_t *version, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    *version = 0;

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_bound_current(st, txn, version, err, errlen);
        llm_store_read_end(st);
    }

    return rc;
}


int
llm_store_versions(llm_store_t *st, int64_t now, size_t *n, uint32_t max,
    char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    memset(n, 0, ((size_t) max + 1) * sizeof(size_t));

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_versions_count(st, txn, now, n, max, err, errlen);
        llm_store_read_end(st);
    }

    return rc;
}


/* a damaged record admits nobody */

static int
llm_versions_count(llm_store_t *st, MDB_txn *txn, int64_t now, size_t *n,
    uint32_t max, char *err, size_t errlen)
{
    int          rc;
    int64_t      age;
    MDB_val      k, v;
    llm_key_t    key;
    MDB_cursor  *cursor;
    const char  *why;

    rc = llm_meta_max_age(st, txn, &age, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_cursor_open(txn, st->keys, &cursor);
    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {

        if (llm_record_unpack(v.mv_data, v.mv_size, &key, &why) != LLM_OK
            || llm_key_state(&key, now, age) != LLM_KEY_GOOD)
        {
            continue;
        }

        n[0]++;

        if (key.version >= 1 && key.version <= max) {
            n[key.version]++;
        }
    }

    mdb_cursor_close(cursor);

    return rc == MDB_NOTFOUND ? LLM_OK
                              : llm_store_error(st, rc, "read", err, errlen);
}


int
llm_store_retire(llm_store_t *st, uint32_t version, int64_t now, char *err,
    size_t errlen)
{
    int        rc;
    char       name[LLM_CHECK_NAME], detail[32];
    size_t    *n;
    MDB_val    k;
    MDB_txn   *txn;
    uint32_t   current;

    if (version < 1 || version > LLM_VERSION_MAX) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "secret: version %u: no such version", version);
    }

    n = calloc((size_t) version + 1, sizeof(size_t));
    if (n == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "secret: no memory");
    }

    rc = llm_store_write(st, &txn, 0, err, errlen);

    if (rc != LLM_OK) {
        free(n);
        return rc;
    }

    rc = llm_bound_current(st, txn, &current, err, errlen);

    if (rc == LLM_OK && version == current) {
        rc = llm_err(err, errlen, LLM_EXISTS,
                     "secret: version %u makes keys now", version);
    }

    if (rc == LLM_OK) {
        rc = llm_versions_count(st, txn, now, n, version, err, errlen);
    }

    if (rc == LLM_OK && n[version] > 0) {
        rc = llm_err(err, errlen, LLM_EXISTS, "secret: version %u: %zu keys "
                     "need it, they must be rotated first", version,
                     n[version]);
    }

    free(n);

    if (rc == LLM_OK) {
        llm_check_name(name, version);
        k.mv_data = name;
        k.mv_size = strlen(name);

        rc = mdb_del(txn, st->meta, &k, NULL);

        if (rc == MDB_NOTFOUND) {
            rc = llm_err(err, errlen, LLM_NOTFOUND,
                         "secret: version %u: the store does not know it",
                         version);

        } else if (rc != 0) {
            rc = llm_store_error(st, rc, "retire", err, errlen);
        }
    }

    if (rc == LLM_OK) {
        (void) snprintf(detail, sizeof(detail), "version=%u", version);
        rc = llm_change_put(st, txn, "secret.retire", "", detail, err,
                            errlen);
    }

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    memset(&st->bound, 0, sizeof(llm_bound_t));

    return llm_store_commit(st, txn, err, errlen);
}
