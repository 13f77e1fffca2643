
/*
 * Copyright (C) nginx-llm contributors
 *
 * Records of the second factor in the store: reading and writing one, and
 * what is done with all of them.  The handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_totp_int.h"


#define LLM_TOTP_NAME  (sizeof("totp:") + LLM_KEY_ID_LEN)


/* another code than LLM_OK stops it, and is what each() returns */
typedef int (*llm_totp_each_pt)(void *data, const char *id,
    const llm_totp_record_t *r);

typedef struct {
    size_t    n;
    char     *id;
} llm_totp_count_t;

typedef struct {
    size_t    *n;
    uint32_t   max;
} llm_totp_versions_t;


static void llm_totp_name(char *name, const char *id);
static int llm_totp_each(llm_store_t *st, llm_totp_each_pt f, void *data,
    char *err, size_t errlen);
static int llm_totp_entry(llm_store_t *st, const MDB_val *k,
    const MDB_val *v, char *id, llm_totp_record_t *r, char *err,
    size_t errlen);
static int llm_totp_count_one(void *data, const char *id,
    const llm_totp_record_t *r);
static int llm_totp_versions_one(void *data, const char *id,
    const llm_totp_record_t *r);
static int llm_totp_ids_one(void *data, const char *id,
    const llm_totp_record_t *r);
static int llm_totp_reseal_one(llm_store_t *st, const llm_secret_t *secret,
    const char *id, size_t *n, char *err, size_t errlen);


int
llm_totp_load(llm_store_t *st, MDB_txn *txn, const char *id,
    llm_totp_record_t *r, char *err, size_t errlen)
{
    int          rc;
    MDB_val      k, v;
    const char  *why;

    /* from a user: it may be a key, so no message repeats it */

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "second factor: malformed id");
    }

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;

    rc = mdb_get(txn, st->totp, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "%s: second factor: not enrolled", id);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "second factor", err, errlen);
    }

    if (llm_totp_unpack(v.mv_data, v.mv_size, r, &why) != LLM_OK) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s: %s",
                       llm_store_path(st), id, why);
    }

    return LLM_OK;
}


int
llm_totp_save(llm_store_t *st, MDB_txn *txn, const char *id,
    const llm_totp_record_t *r, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;
    uint8_t  record[LLM_TOTP_RECORD_MAX];

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;
    v.mv_data = record;
    v.mv_size = llm_totp_pack(record, r);

    rc = mdb_put(txn, st->totp, &k, &v, 0);

    return rc == 0 ? LLM_OK
                   : llm_store_error(st, rc, "second factor", err, errlen);
}


static void
llm_totp_name(char *name, const char *id)
{
    (void) snprintf(name, LLM_TOTP_NAME, "totp:%s", id);
}


int
llm_totp_seal(const llm_secret_t *secret, uint32_t version, const char *id,
    const uint8_t *raw, llm_totp_record_t *r, char *err, size_t errlen)
{
    int   rc;
    char  name[LLM_TOTP_NAME];

    llm_totp_name(name, id);

    rc = llm_secret_seal(secret, version, name, raw, LLM_TOTP_BYTES,
                         r->sealed, err, errlen);

    return rc == LLM_NOTFOUND ? LLM_ERROR : rc;
}


/* LLM_NOTFOUND would tell the caller that no code is asked for */

int
llm_totp_unseal(const llm_secret_t *secret, const char *id,
    const llm_totp_record_t *r, uint8_t *raw, char *err, size_t errlen)
{
    int   rc;
    char  name[LLM_TOTP_NAME];

    llm_totp_name(name, id);

    rc = llm_secret_unseal(secret, name, r->sealed, LLM_TOTP_SEALED, raw,
                           err, errlen);

    return rc == LLM_NOTFOUND ? LLM_ERROR : rc;
}


int
llm_totp_version(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    uint32_t *version, char *err, size_t errlen)
{
    int  rc;

    *version = 0;

    rc = llm_store_match(st, txn, secret, 0, err, errlen);

    return rc != LLM_OK ? rc
           : llm_store_current(st, version, err, errlen);
}


int
llm_totp_info(llm_store_t *st, const char *id, llm_totp_info_t *info,
    char *err, size_t errlen)
{
    int                rc;
    MDB_txn           *txn;
    llm_totp_record_t  r;

    memset(info, 0, sizeof(llm_totp_info_t));

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_load(st, txn, id, &r, err, errlen);

    llm_store_read_end(st);

    if (rc == LLM_OK) {
        info->state = r.state;
        info->since = r.since;
        info->locked = r.locked;
        info->failures = r.failures;
        info->recovery = r.n;
    }

    return rc;
}


int
llm_totp_count(llm_store_t *st, size_t *n, char *id, char *err,
    size_t errlen)
{
    int               rc;
    llm_totp_count_t  count;

    count.n = 0;
    count.id = id;

    if (id != NULL) {
        memset(id, 0, LLM_KEY_ID_LEN + 1);
    }

    rc = llm_totp_each(st, llm_totp_count_one, &count, err, errlen);

    *n = count.n;

    return rc;
}


static int
llm_totp_count_one(void *data, const char *id, const llm_totp_record_t *r)
{
    llm_totp_count_t *count = data;

    if (r->state == LLM_TOTP_ON && count->n++ == 0 && count->id != NULL) {
        memcpy(count->id, id, LLM_KEY_ID_LEN + 1);
    }

    return LLM_OK;
}


int
llm_totp_versions(llm_store_t *st, size_t *n, uint32_t max, char *err,
    size_t errlen)
{
    llm_totp_versions_t  v;

    v.n = n;
    v.max = max;

    memset(n, 0, (max + (size_t) 1) * sizeof(size_t));

    return llm_totp_each(st, llm_totp_versions_one, &v, err, errlen);
}


static int
llm_totp_versions_one(void *data, const char *id, const llm_totp_record_t *r)
{
    uint32_t              sealed;
    llm_totp_versions_t  *v = data;

    sealed = llm_totp_sealed_version(r);

    v->n[0]++;

    if (sealed != 0 && sealed <= v->max) {
        v->n[sealed]++;
    }

    if (r->n != 0 && r->version != sealed && r->version != 0
        && r->version <= v->max)
    {
        v->n[r->version]++;
    }

    return LLM_OK;
}


/* a bad record does not hide the others: the first one is told at the end */

static int
llm_totp_each(llm_store_t *st, llm_totp_each_pt f, void *data, char *err,
    size_t errlen)
{
    int                bad, rc;
    char               id[LLM_KEY_ID_LEN + 1];
    MDB_txn           *txn;
    MDB_val            k, v;
    MDB_cursor        *cursor;
    llm_totp_record_t  r;

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_cursor_open(txn, st->totp, &cursor);

    if (rc != 0) {
        llm_store_read_end(st);
        return llm_store_error(st, rc, "second factor", err, errlen);
    }

    bad = LLM_OK;

    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {

        rc = llm_totp_entry(st, &k, &v, id, &r, bad == LLM_OK ? err : NULL,
                            errlen);

        if (rc != LLM_OK) {
            bad = rc;
            continue;
        }

        rc = f(data, id, &r);

        if (rc != LLM_OK) {
            bad = llm_err(err, errlen, rc, "%s: second factor: failed",
                          llm_store_path(st));
            rc = MDB_NOTFOUND;
            break;
        }
    }

    mdb_cursor_close(cursor);
    llm_store_read_end(st);

    if (rc != MDB_NOTFOUND) {
        return llm_store_error(st, rc, "second factor", err, errlen);
    }

    return bad;
}


static int
llm_totp_entry(llm_store_t *st, const MDB_val *k, const MDB_val *v, char *id,
    llm_totp_record_t *r, char *err, size_t errlen)
{
    const char  *why;

    memset(id, 0, LLM_KEY_ID_LEN + 1);

    if (k->mv_size == LLM_KEY_ID_LEN) {
        memcpy(id, k->mv_data, LLM_KEY_ID_LEN);
    }

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: second factor: malformed id",
                       llm_store_path(st));
    }

    if (llm_totp_unpack(v->mv_data, v->mv_size, r, &why) != LLM_OK) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s: %s",
                       llm_store_path(st), id, why);
    }

    return LLM_OK;
}


/*
 * A transaction for each: there is one enrolment a person, and no request
 * waits long for the writer's lock.
 */

int
llm_totp_reseal(llm_store_t *st, const llm_secret_t *secret, size_t *n,
    char *err, size_t errlen)
{
    int         bad, rc;
    char        id[LLM_KEY_ID_LEN + 1];
    size_t      i;
    llm_buf_t   ids;

    *n = 0;
    memset(&ids, 0, sizeof(ids));
    memset(id, 0, sizeof(id));

    bad = llm_totp_each(st, llm_totp_ids_one, &ids, err, errlen);

    for (i = 0; i < ids.len; i += LLM_KEY_ID_LEN) {
        memcpy(id, ids.data + i, LLM_KEY_ID_LEN);

        rc = llm_totp_reseal_one(st, secret, id, n,
                                 bad == LLM_OK ? err : NULL, errlen);

        if (rc != LLM_OK && bad == LLM_OK) {
            bad = rc;
        }
    }

    llm_buf_done(&ids);

    return bad;
}


static int
llm_totp_ids_one(void *data, const char *id, const llm_totp_record_t *r)
{
    return llm_buf_append(data, id, LLM_KEY_ID_LEN);
}


static int
llm_totp_reseal_one(llm_store_t *st, const llm_secret_t *secret,
    const char *id, size_t *n, char *err, size_t errlen)
{
    int                rc;
    MDB_txn           *txn;
    uint8_t            raw[LLM_TOTP_BYTES];
    uint32_t           version;
    llm_totp_record_t  r;

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_version(st, txn, secret, &version, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_totp_load(st, txn, id, &r, err, errlen);

        if (rc == LLM_NOTFOUND
            || (rc == LLM_OK && llm_totp_sealed_version(&r) == version))
        {
            llm_store_abort(st, txn);
            return LLM_OK;      /* removed, or done, since it was listed */
        }
    }

    if (rc == LLM_OK) {
        rc = llm_totp_unseal(secret, id, &r, raw, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_seal(secret, version, id, raw, &r, err, errlen);
        OPENSSL_cleanse(raw, sizeof(raw));
    }

    if (rc == LLM_OK) {
        rc = llm_totp_save(st, txn, id, &r, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    rc = llm_store_commit(st, txn, err, errlen);

    if (rc == LLM_OK) {
        ++*n;
    }

    return rc;
}
