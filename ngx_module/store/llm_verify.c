
/*
 * Copyright (C) nginx-llm contributors
 *
 * The verification key at work: the tags of keys, and which secret a store
 * belongs to.  The handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include <openssl/crypto.h>

#include "llm_store_int.h"


int
llm_store_mac(llm_store_t *st, const llm_secret_t *secret, const void *data,
    size_t len, uint8_t *tag, char *err, size_t errlen)
{
    return llm_secret_tag(secret, secret->v[0].version, data, len, tag);
}


int
llm_store_match(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    int write, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;
    uint8_t  check[LLM_TAG_LEN];

    static const char  label[] = "nginx-llm store v1";

    if (st->bound == secret->id) {
        return LLM_OK;
    }

    rc = llm_store_mac(st, secret, label, sizeof(label) - 1, check, err,
                       errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    k.mv_data = "check";
    k.mv_size = 5;

    rc = mdb_get(txn, st->meta, &k, &v);

    if (rc == MDB_NOTFOUND) {

        if (!write) {
            return LLM_OK;
        }

        v.mv_data = check;
        v.mv_size = sizeof(check);

        /* not yet bound: the commit may fail */

        rc = mdb_put(txn, st->meta, &k, &v, MDB_NOOVERWRITE);

        return rc == 0 ? LLM_OK
                       : llm_store_error(st, rc, "bind", err, errlen);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    if (v.mv_size != sizeof(check)
        || CRYPTO_memcmp(v.mv_data, check, sizeof(check)) != 0)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: store: it was made with another secret",
                       st->path);
    }

    st->bound = secret->id;

    return LLM_OK;
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

    if (rc != LLM_OK || st->bound == secret->id) {
        return rc;
    }

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_match(st, txn, secret, 1, err, errlen);

    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}
