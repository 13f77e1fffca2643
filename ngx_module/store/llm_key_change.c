
/*
 * Copyright (C) nginx-llm contributors
 *
 * Changes of keys: update, rotate, revoke, replace.  A key has a record for
 * each of its secrets, the current one and former ones; a change writes them
 * all, in one transaction.
 *
 * The thread that uses the handle runs this, never an event loop: it waits
 * for the disk, and for a token.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "llm_store_int.h"


/* a key's records, the current one first */
typedef struct {
    size_t     n;
    llm_key_t  k[LLM_KEY_SECRETS];
} llm_key_set_t;


static int llm_set_load(llm_store_t *st, MDB_txn *txn, const char *id,
    int damaged, llm_key_set_t *s, char *err, size_t errlen);
static int llm_set_store(llm_store_t *st, MDB_txn *txn,
    const llm_key_set_t *s, char *err, size_t errlen);
static int llm_set_revoke(llm_store_t *st, MDB_txn *txn, llm_key_set_t *s,
    char *err, size_t errlen);
static int llm_key_end_write(llm_store_t *st, MDB_txn *txn, int rc,
    char *err, size_t errlen);


/* damaged: a record that can't be read, and so admits nobody, is left out as
 * long as there is another one */

static int
llm_set_load(llm_store_t *st, MDB_txn *txn, const char *id, int damaged,
    llm_key_set_t *s, char *err, size_t errlen)
{
    int             bad, rc;
    size_t          i, n;
    MDB_val         v;
    const uint8_t  *tag;

    s->n = 0;

    rc = llm_key_tags(st, txn, id, &v, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    tag = v.mv_data;
    n = v.mv_size / LLM_TAG_LEN;
    bad = LLM_OK;

    for (i = 0; i < n; i++) {
        rc = llm_key_record(st, txn, id, tag + i * LLM_TAG_LEN, &s->k[s->n],
                            err, errlen);

        if (rc == LLM_OK) {
            s->n++;

        } else if (rc == LLM_INVALID && damaged) {
            bad = rc;

        } else {
            return rc;
        }
    }

    return s->n > 0 ? LLM_OK : bad;
}


/* records that are there already; "ids" stays as it is */

static int
llm_set_store(llm_store_t *st, MDB_txn *txn, const llm_key_set_t *s,
    char *err, size_t errlen)
{
    int      rc;
    size_t   i;
    MDB_val  name, v;
    uint8_t  record[LLM_RECORD_MAX];

    for (i = 0; i < s->n; i++) {
        name.mv_data = (void *) s->k[i].tag;
        name.mv_size = LLM_TAG_LEN;
        v.mv_data = record;
        v.mv_size = llm_record_pack(record, &s->k[i]);

        rc = mdb_put(txn, st->keys, &name, &v, 0);

        if (rc != 0) {
            return llm_store_error(st, rc, "write", err, errlen);
        }
    }

    return LLM_OK;
}


/* commits when rc is LLM_OK, aborts else */

static int
llm_key_end_write(llm_store_t *st, MDB_txn *txn, int rc, char *err,
    size_t errlen)
{
    if (rc == LLM_OK) {
        return llm_store_commit(st, txn, err, errlen);
    }

    llm_store_abort(st, txn);

    return rc;
}


int
llm_key_revoke(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen)
{
    int            log, rc;
    MDB_txn       *txn;
    llm_key_set_t  s;

    rc = llm_store_write(st, &txn, 0, err, errlen);

    if (rc != LLM_OK) {
        memset(k, 0, sizeof(llm_key_t));
        return rc;
    }

    rc = llm_set_load(st, txn, id, 1, &s, err, errlen);

    if (rc == LLM_OK && s.k[0].revoked != 0) {
        llm_store_abort(st, txn);
        *k = s.k[0];
        return LLM_OK;
    }

    if (rc == LLM_OK) {
        rc = llm_set_revoke(st, txn, &s, err, errlen);
    }

    /* what is revoked counts for more than what is said of it */

    log = rc == LLM_OK && llm_store_room(st, 1, NULL, 0) == LLM_OK;

    if (log) {
        rc = llm_change_put(st, txn, "key.revoke", s.k[0].id, "", err,
                            errlen);
    }

    rc = llm_key_end_write(st, txn, rc, err, errlen);

    if (rc == LLM_OK) {
        *k = s.k[0];            /* not before: id may be k->id */

    } else {
        memset(k, 0, sizeof(llm_key_t));
    }

    return rc;
}


static int
llm_set_revoke(llm_store_t *st, MDB_txn *txn, llm_key_set_t *s, char *err,
    size_t errlen)
{
    size_t   i;
    int64_t  now;

    now = (int64_t) time(NULL);

    for (i = 0; i < s->n; i++) {
        if (s->k[i].revoked == 0) {
            s->k[i].revoked = now > 0 ? now : 1;
        }
    }

    return llm_set_store(st, txn, s, err, errlen);
}
