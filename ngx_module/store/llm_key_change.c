
/*
 * Copyright (C) nginx-llm contributors
 *
 * Changes of keys: update, revoke, replace.  A key has a record for each of
 * its secrets, the current one and former ones; a change writes them all, in
 * one transaction.
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


static int llm_update_check(llm_store_t *st, MDB_txn *txn, unsigned set,
    const llm_key_t *from, const llm_key_set_t *s, char *err, size_t errlen);
static void llm_update_apply(llm_key_t *k, unsigned set,
    const llm_key_t *from);
static int llm_set_revoke(llm_store_t *st, MDB_txn *txn, llm_key_set_t *s,
    char *err, size_t errlen);
static int llm_replace_prepare(llm_store_t *st, const llm_secret_t *secret,
    const llm_key_t *old, llm_key_t *next, char *key, char *err,
    size_t errlen);
static int llm_replace_write(llm_store_t *st, const llm_secret_t *secret,
    llm_key_set_t *s, llm_key_t *next, char *err, size_t errlen);


int
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

int
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


int
llm_set_read(llm_store_t *st, const char *id, int damaged, llm_key_set_t *s,
    char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_set_load(st, txn, id, damaged, s, err, errlen);
        llm_store_read_end(st);
    }

    if (rc == LLM_OK && s->k[0].revoked != 0) {
        rc = llm_err(err, errlen, LLM_INVALID, "%s: it is revoked",
                     s->k[0].id);
    }

    return rc;
}


int
llm_key_same(const llm_key_t *a, const llm_key_t *b)
{
    size_t   n;
    uint8_t  one[LLM_RECORD_MAX], two[LLM_RECORD_MAX];

    n = llm_record_pack(one, a);

    return n == llm_record_pack(two, b) && memcmp(one, two, n) == 0
           && memcmp(a->tag, b->tag, LLM_TAG_LEN) == 0;
}


int
llm_key_lifetime(llm_store_t *st, MDB_txn *txn, const llm_key_t *old,
    llm_key_t *next, char *err, size_t errlen)
{
    int      rc;
    int64_t  age, end, life;

    next->expires = 0;

    if (old->expires == 0) {
        return LLM_OK;
    }

    rc = llm_meta_max_age(st, txn, &age, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (__builtin_sub_overflow(old->expires, old->issued, &life) || life <= 0
        || __builtin_add_overflow(next->issued, life, &end))
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: it had no lifetime: an expiry must be given",
                       old->id);
    }

    next->expires = (age != 0 && life > age) ? next->issued + age : end;

    return LLM_OK;
}


int
llm_key_update(llm_store_t *st, const char *id, unsigned set,
    const llm_key_t *from, llm_key_t *k, char *err, size_t errlen)
{
    int            changed, rc;
    char           detail[LLM_DETAIL_MAX + 1];
    size_t         i;
    MDB_txn       *txn;
    llm_key_t      was;
    llm_key_set_t  s;

    rc = llm_store_write(st, &txn, 1, err, errlen);

    if (rc != LLM_OK) {
        goto failed;
    }

    rc = llm_set_load(st, txn, id, 0, &s, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_update_check(st, txn, set, from, &s, err, errlen);
    }

    changed = 0;

    for (i = 0; rc == LLM_OK && i < s.n; i++) {
        was = s.k[i];
        llm_update_apply(&s.k[i], set, from);
        changed |= !llm_key_same(&was, &s.k[i]);
    }

    if (rc == LLM_OK && !changed) {
        llm_store_abort(st, txn);
        *k = s.k[0];
        return LLM_OK;
    }

    if (rc == LLM_OK) {
        rc = llm_set_store(st, txn, &s, err, errlen);
    }

    if (rc == LLM_OK && (set & ~LLM_SET_NOTICED) != 0) {
        llm_key_detail(detail, sizeof(detail), &s.k[0], set);
        rc = llm_change_put(st, txn, "key.update", s.k[0].id, detail, err,
                            errlen);
    }

    rc = llm_key_end_write(st, txn, rc, err, errlen);

    if (rc == LLM_OK) {
        *k = s.k[0];
        return LLM_OK;
    }

failed:

    memset(k, 0, sizeof(llm_key_t));

    return rc;
}


static int
llm_update_check(llm_store_t *st, MDB_txn *txn, unsigned set,
    const llm_key_t *from, const llm_key_set_t *s, char *err, size_t errlen)
{
    int        rc;
    llm_key_t  k;

    k = s->k[0];

    if (set & ~LLM_SET_ALL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: unknown change", k.id);
    }

    if (k.revoked != 0) {
        return llm_err(err, errlen, LLM_INVALID, "%s: it is revoked", k.id);
    }

    if ((set & LLM_SET_EXPIRES) && from->expires == 0) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: expires: it can't be taken away");
    }

    llm_update_apply(&k, set, from);

    rc = llm_key_valid(&k, err, errlen);

    return (rc == LLM_OK && (set & LLM_SET_EXPIRES))
           ? llm_key_expiry(st, txn, &k, err, errlen) : rc;
}


static void
llm_update_apply(llm_key_t *k, unsigned set, const llm_key_t *from)
{
    if (set & LLM_SET_ROLE) {
        k->role = from->role;
    }

    if (set & LLM_SET_CLIENT) {
        memcpy(k->client, from->client, sizeof(k->client));
    }

    if (set & LLM_SET_EXPIRES) {

        /* a former secret ends no later than it would */

        if (k->until == 0 || k->expires == 0 || from->expires < k->expires) {
            k->expires = from->expires;
        }

        k->noticed = 0;
    }

    if (set & LLM_SET_RPM) {
        k->limits.rpm = from->limits.rpm;
    }

    if (set & LLM_SET_TPM) {
        k->limits.tpm = from->limits.tpm;
    }

    if (set & LLM_SET_CONC) {
        k->limits.concurrent = from->limits.concurrent;
    }

    if (set & LLM_SET_DAY) {
        k->limits.day = from->limits.day;
    }

    if (set & LLM_SET_MONTH) {
        k->limits.month = from->limits.month;
    }

    if (set & LLM_SET_NETS) {
        k->n_net = from->n_net;
        memcpy(k->net, from->net, sizeof(k->net));
    }

    if (set & LLM_SET_MODELS) {
        k->models_len = from->models_len;
        memcpy(k->models, from->models, sizeof(k->models));
    }

    if (set & LLM_SET_NOTICED) {
        k->noticed = from->noticed;
    }
}


int
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

        /* a damaged log stops it no more than a full store does; where the
         * transaction is no good any more, its commit says so */

        (void) llm_change_put(st, txn, "key.revoke", s.k[0].id, "", NULL, 0);
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


int
llm_key_replace(llm_store_t *st, const llm_secret_t *secret, const char *id,
    llm_key_t *k, llm_key_t *next, char *key, char *err, size_t errlen)
{
    int            i, rc;
    char           why[LLM_ERRLEN], name[LLM_KEY_ID_LEN + 1];
    llm_key_t      draft;
    llm_key_set_t  s;

    memset(key, 0, LLM_KEY_LEN + 1);
    memset(&draft, 0, sizeof(llm_key_t));
    rc = LLM_AGAIN;

    for (i = 0; rc == LLM_AGAIN && i < LLM_KEY_TRIES; i++) {

        rc = llm_set_read(st, id, 1, &s, err, errlen);

        if (rc != LLM_OK) {
            memset(k, 0, sizeof(llm_key_t));
            memset(next, 0, sizeof(llm_key_t));
            return rc;
        }

        rc = llm_replace_prepare(st, secret, &s.k[0], &draft, key, why,
                                 sizeof(why));

        if (rc == LLM_OK) {
            rc = llm_replace_write(st, secret, &s, &draft, why, sizeof(why));
        }
    }

    if (rc == LLM_OK) {
        *k = s.k[0];            /* not before: id may be k->id */
        *next = draft;
        return LLM_OK;
    }

    /* the drill is for the old key first */

    OPENSSL_cleanse(key, LLM_KEY_LEN + 1);
    memcpy(name, s.k[0].id, sizeof(name));
    memset(next, 0, sizeof(llm_key_t));

    rc = llm_key_revoke(st, name, k, err, errlen);

    return rc == LLM_OK ? llm_err(err, errlen, LLM_AGAIN, "%s: revoked, "
                                  "without a successor: %s", name, why)
                        : rc;
}


static int
llm_replace_prepare(llm_store_t *st, const llm_secret_t *secret,
    const llm_key_t *old, llm_key_t *next, char *key, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    txn = NULL;
    *next = *old;

    rc = llm_key_new(next, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_read(st, &txn, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_key_prepare(st, txn, secret, &next->version, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_lifetime(st, txn, old, next, err, errlen);
    }

    llm_store_read_end(st);

    return rc == LLM_OK ? llm_key_text(secret, next, 0, key, err, errlen)
                        : rc;
}


/* LLM_AGAIN: the key was changed since it was read into s */

static int
llm_replace_write(llm_store_t *st, const llm_secret_t *secret,
    llm_key_set_t *s, llm_key_t *next, char *err, size_t errlen)
{
    int        rc;
    char       detail[16 + LLM_KEY_ID_LEN];
    MDB_txn   *txn;
    llm_key_t  was;

    was = s->k[0];

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_set_load(st, txn, was.id, 1, s, err, errlen);

    if (rc == LLM_OK && !llm_key_same(&was, &s->k[0])) {
        rc = llm_err(err, errlen, LLM_AGAIN, "%s: it was changed meanwhile",
                     was.id);
    }

    if (rc == LLM_OK) {
        rc = llm_set_revoke(st, txn, s, err, errlen);
    }

    if (rc == LLM_OK) {
        (void) snprintf(detail, sizeof(detail), "successor=%s", next->id);
        rc = llm_change_put(st, txn, "key.replace", was.id, detail, err,
                            errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_key_insert(st, txn, secret, next, "key.create", err,
                            errlen);
    }

    return llm_key_end_write(st, txn, rc, err, errlen);
}
