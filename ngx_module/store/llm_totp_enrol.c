
/*
 * Copyright (C) nginx-llm contributors
 *
 * Enrolments of the second factor: made, given other recovery codes, removed.
 * The handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "llm_totp_int.h"


static int llm_totp_fresh(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, const char *id, const uint8_t *raw,
    llm_totp_enrol_t *e, char *err, size_t errlen);
static int llm_totp_owner(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, const char *id, uint32_t *version, char *err,
    size_t errlen);
static int llm_totp_renew(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, const char *id, llm_totp_enrol_t *e,
    char *err, size_t errlen);
static int llm_totp_delete(llm_store_t *st, MDB_txn *txn, const char *id,
    char *err, size_t errlen);


/*
 * A pending one is replaced with its failures: they were made against the
 * secret that goes.
 */

int
llm_totp_enrol(llm_store_t *st, const llm_secret_t *secret, const char *id,
    const char *label, llm_totp_enrol_t *e, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;
    uint8_t   raw[LLM_TOTP_BYTES];

    txn = NULL;
    memset(e, 0, sizeof(llm_totp_enrol_t));

    rc = llm_random(raw, sizeof(raw), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_totp_base32(e->secret, raw, sizeof(raw));

    rc = llm_totp_uri(e->uri, sizeof(e->uri), label, e->secret, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_write(st, &txn, 1, err, errlen);
    }

    if (rc != LLM_OK) {
        goto done;
    }

    rc = llm_totp_fresh(st, txn, secret, id, raw, e, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_commit(st, txn, err, errlen);

    } else {
        llm_store_abort(st, txn);
    }

done:

    OPENSSL_cleanse(raw, sizeof(raw));

    if (rc != LLM_OK) {
        OPENSSL_cleanse(e, sizeof(llm_totp_enrol_t));
    }

    return rc;
}


static int
llm_totp_fresh(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    const char *id, const uint8_t *raw, llm_totp_enrol_t *e, char *err,
    size_t errlen)
{
    int                rc;
    int64_t            now;
    uint32_t           version;
    llm_totp_record_t  r;

    /* a bad record may be one that is on: it is not replaced */

    rc = llm_totp_load(st, txn, id, &r, err, errlen);

    if (rc == LLM_OK && r.state == LLM_TOTP_ON) {
        return llm_err(err, errlen, LLM_EXISTS,
                       "%s: second factor: it is on already", id);
    }

    if (rc != LLM_OK && rc != LLM_NOTFOUND) {
        return rc;
    }

    memset(&r, 0, sizeof(r));
    now = (int64_t) time(NULL);

    r.state = LLM_TOTP_PENDING;
    r.since = now > 0 ? now : 0;

    rc = llm_totp_owner(st, txn, secret, id, &version, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_totp_seal(secret, version, id, raw, &r, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_codes(secret, version, id, e, &r, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_save(st, txn, id, &r, err, errlen);
    }

    return rc != LLM_OK ? rc
           : llm_change_put(st, txn, "totp.enrol", id, "", err, errlen);
}


/* a key that is there, and the version of the secret for its enrolment */

static int
llm_totp_owner(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    const char *id, uint32_t *version, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "second factor: malformed id");
    }

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;

    rc = mdb_get(txn, st->ids, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: no such key", id);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "second factor", err, errlen);
    }

    return llm_totp_version(st, txn, secret, version, err, errlen);
}


int
llm_totp_recovery(llm_store_t *st, const llm_secret_t *secret,
    const char *id, llm_totp_enrol_t *e, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    memset(e, 0, sizeof(llm_totp_enrol_t));

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_renew(st, txn, secret, id, e, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_commit(st, txn, err, errlen);

    } else {
        llm_store_abort(st, txn);
    }

    if (rc != LLM_OK) {
        OPENSSL_cleanse(e, sizeof(llm_totp_enrol_t));
    }

    return rc;
}


static int
llm_totp_renew(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    const char *id, llm_totp_enrol_t *e, char *err, size_t errlen)
{
    int                rc;
    uint32_t           version;
    llm_totp_record_t  r;

    version = 0;
    rc = llm_totp_load(st, txn, id, &r, err, errlen);

    if (rc == LLM_OK && r.state != LLM_TOTP_ON) {
        rc = llm_err(err, errlen, LLM_NOTFOUND, "%s: second factor: "
                     "enrolled, but not confirmed", id);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_owner(st, txn, secret, id, &version, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_codes(secret, version, id, e, &r, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_save(st, txn, id, &r, err, errlen);
    }

    return rc != LLM_OK ? rc
           : llm_change_put(st, txn, "totp.recovery", id, "new codes", err,
                           errlen);
}


/* whatever the record holds: this is the way out of a bad one */

int
llm_totp_remove(llm_store_t *st, const char *id, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "second factor: malformed id");
    }

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_delete(st, txn, id, err, errlen);

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


static int
llm_totp_delete(llm_store_t *st, MDB_txn *txn, const char *id, char *err,
    size_t errlen)
{
    int      rc;
    MDB_val  k;

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;

    rc = mdb_del(txn, st->totp, &k, NULL);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "%s: second factor: not enrolled", id);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "second factor", err, errlen);
    }

    return llm_change_put(st, txn, "totp.remove", id, "", err, errlen);
}
