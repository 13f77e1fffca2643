
/*
 * Copyright (C) nginx-llm contributors
 *
 * Small values of the store: numbers in meta, the maximum age, the engines'
 * parameters.  The handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include "llm_store_int.h"


#define LLM_AGE_MAX  (100LL * 366 * 86400)      /* seconds */


static int llm_params_log(llm_store_t *st, MDB_txn *txn, const char *engine,
    const MDB_val *old, const char *json, char *err, size_t errlen);
static int llm_params_name(const char *engine, MDB_val *k, char *err,
    size_t errlen);


int
llm_meta_get(llm_store_t *st, MDB_txn *txn, const char *name,
    uint64_t *value, size_t size, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;

    k.mv_data = (void *) name;
    k.mv_size = strlen(name);

    rc = mdb_get(txn, st->meta, &k, &v);

    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    if (v.mv_size != size) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: \"%s\" is malformed", st->path, name);
    }

    *value = llm_get_le(v.mv_data, size);

    return LLM_OK;
}


int
llm_meta_put(llm_store_t *st, MDB_txn *txn, const char *name,
    uint64_t value, size_t size, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;
    uint8_t  buf[8];

    llm_put_le(buf, value, size);

    k.mv_data = (void *) name;
    k.mv_size = strlen(name);
    v.mv_data = buf;
    v.mv_size = size;

    rc = mdb_put(txn, st->meta, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "write", err, errlen);
}


int
llm_meta_max_age(llm_store_t *st, MDB_txn *txn, int64_t *age, char *err,
    size_t errlen)
{
    int       rc;
    uint64_t  value;

    *age = LLM_KEY_MAX_AGE;

    rc = llm_meta_get(st, txn, "max_age", &value, 8, err, errlen);

    if (rc == LLM_NOTFOUND) {
        return LLM_OK;
    }

    if (rc != LLM_OK) {
        return rc;
    }

    if (value > LLM_AGE_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: \"max_age\" is malformed", st->path);
    }

    *age = (int64_t) value;

    return LLM_OK;
}


int
llm_store_max_age(llm_store_t *st, int64_t *age, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    *age = LLM_KEY_MAX_AGE;

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_meta_max_age(st, txn, age, err, errlen);
        llm_store_read_end(st);
    }

    return rc;
}


int
llm_store_set_max_age(llm_store_t *st, int64_t age, char *err,
    size_t errlen)
{
    int       rc;
    char      detail[48];
    int64_t   old;
    MDB_txn  *txn;

    if (age < 0 || age > LLM_AGE_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "maximum age: it must be "
                       "between 0 and %lld days", LLM_AGE_MAX / 86400);
    }

    rc = llm_store_max_age(st, &old, err, errlen);

    if (rc != LLM_OK || old == age) {
        return rc;
    }

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_meta_put(st, txn, "max_age", (uint64_t) age, 8, err, errlen);

    if (rc == LLM_OK) {
        (void) snprintf(detail, sizeof(detail), "seconds=%lld",
                        (long long) age);
        rc = llm_change_put(st, txn, "store.max_age", "", detail, err,
                            errlen);
    }

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


int
llm_params_get(llm_store_t *st, const char *engine, llm_buf_t *json,
    char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;
    MDB_val   k, v;

    txn = NULL;
    rc = llm_params_name(engine, &k, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_read(st, &txn, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_get(txn, st->params, &k, &v);

    if (rc == MDB_NOTFOUND) {
        rc = llm_err(err, errlen, LLM_NOTFOUND,
                     "%s: no parameters were set", engine);

    } else if (rc != 0) {
        rc = llm_store_error(st, rc, "read", err, errlen);

    } else if (llm_buf_append(json, v.mv_data, v.mv_size) != LLM_OK) {
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: parameters: no memory",
                     engine);
    }

    llm_store_read_end(st);

    return rc;
}


int
llm_params_put(llm_store_t *st, const char *engine, const char *json,
    char *err, size_t errlen)
{
    int       rc;
    size_t    len;
    MDB_txn  *txn;
    MDB_val   k, v, old;

    rc = llm_params_name(engine, &k, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    len = strnlen(json, LLM_PARAMS_MAX + 1);

    if (len == 0 || len > LLM_PARAMS_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "%s: parameters: they must "
                       "have 1 to %d bytes", engine, LLM_PARAMS_MAX);
    }

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_get(txn, st->params, &k, &old);

    if (rc == MDB_NOTFOUND) {
        old.mv_data = "";
        old.mv_size = 0;
        rc = 0;
    }

    if (rc == 0 && old.mv_size == len && memcmp(old.mv_data, json, len) == 0)
    {
        llm_store_abort(st, txn);
        return LLM_OK;
    }

    if (rc != 0) {
        rc = llm_store_error(st, rc, "read", err, errlen);

    } else {
        rc = llm_params_log(st, txn, engine, &old, json, err, errlen);
    }

    /* after the log: old lies in a page that this changes */

    if (rc == LLM_OK) {
        v.mv_data = (void *) json;
        v.mv_size = len;
        rc = mdb_put(txn, st->params, &k, &v, 0);

        if (rc != 0) {
            rc = llm_store_error(st, rc, "write", err, errlen);
        }
    }

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


static int
llm_params_log(llm_store_t *st, MDB_txn *txn, const char *engine,
    const MDB_val *old, const char *json, char *err, size_t errlen)
{
    int   n;
    char  detail[LLM_DETAIL_MAX + 1];

    n = (int) (old->mv_size < LLM_DETAIL_MAX / 2 ? old->mv_size
                                                 : LLM_DETAIL_MAX / 2);

    (void) snprintf(detail, sizeof(detail), "old=%.*s new=%s", n,
                    (const char *) old->mv_data, json);

    return llm_change_put(st, txn, "params.set", engine, detail, err,
                          errlen);
}


static int
llm_params_name(const char *engine, MDB_val *k, char *err, size_t errlen)
{
    size_t  len;

    len = strnlen(engine, LLM_NAME_MAX + 1);

    if (len == 0 || len > LLM_NAME_MAX || llm_text_span(engine, len) != len) {
        return llm_err(err, errlen, LLM_INVALID, "parameters: an engine's "
                       "name has 1 to %d printable characters",
                       LLM_NAME_MAX);
    }

    k->mv_data = (void *) engine;
    k->mv_size = len;

    return LLM_OK;
}
