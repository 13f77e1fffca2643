
/*
 * Copyright (C) nginx-llm contributors
 *
 * Attempts at the second factor: which are looked at, what they change.
 *
 * An attempt is one transaction that reads the record again, so of two
 * processes with the same code one wins.  It counts before it is answered: what
 * can't be recorded is LLM_ERROR, whether the code was good or not, else a full
 * store would be a place to guess in.
 *
 * The handle's one thread runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_totp_int.h"


#define LLM_TOTP_DAY  86400


/* one attempt */
typedef struct {
    llm_store_t         *st;
    const llm_secret_t  *secret;
    const char          *id;
    llm_totp_state_e     want;
    int64_t              now;
    llm_totp_code_t      code;
    llm_totp_record_t    r;
    int                  verdict;   /* once it is recorded */
    const char          *action;    /* for the log, NULL: none */
    char                 detail[64];
} llm_totp_try_t;


static int llm_totp_try(llm_store_t *st, const llm_secret_t *secret,
    const char *id, llm_totp_state_e want, const char *code, int64_t now,
    char *err, size_t errlen);
static int llm_totp_try_again(llm_totp_try_t *t, char *err, size_t errlen);
static int llm_totp_gate(const llm_totp_try_t *t, char *err, size_t errlen);
static int llm_totp_far(const llm_totp_try_t *t);
static int llm_totp_decide(llm_totp_try_t *t, char *err, size_t errlen);
static int llm_totp_judge_app(llm_totp_try_t *t, char *err, size_t errlen);
static int llm_totp_judge_recovery(llm_totp_try_t *t, char *err,
    size_t errlen);
static void llm_totp_passed(llm_totp_try_t *t);
static void llm_totp_failed(llm_totp_try_t *t);


int
llm_totp_check(llm_store_t *st, const llm_secret_t *secret, const char *id,
    const char *code, int64_t now, char *err, size_t errlen)
{
    return llm_totp_try(st, secret, id, LLM_TOTP_ON, code, now, err, errlen);
}


int
llm_totp_confirm(llm_store_t *st, const llm_secret_t *secret,
    const char *id, const char *code, int64_t now, char *err, size_t errlen)
{
    return llm_totp_try(st, secret, id, LLM_TOTP_PENDING, code, now, err,
                        errlen);
}


static int
llm_totp_try(llm_store_t *st, const llm_secret_t *secret, const char *id,
    llm_totp_state_e want, const char *code, int64_t now, char *err,
    size_t errlen)
{
    int             rc;
    MDB_txn        *txn;
    llm_totp_try_t  t;

    memset(&t, 0, sizeof(t));
    t.st = st;
    t.secret = secret;
    t.id = id;
    t.want = want;
    t.now = now < 0 ? 0 : now;

    /* who is locked out costs no writer's lock and no sync */

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_load(st, txn, id, &t.r, err, errlen);

    llm_store_read_end(st);

    if (rc == LLM_OK) {
        rc = llm_totp_gate(&t, err, errlen);
    }

    if (rc == LLM_OK || (rc == LLM_AGAIN && llm_totp_far(&t))) {
        llm_totp_parse(&t.code, code);
        rc = llm_totp_try_again(&t, err, errlen);
    }

    OPENSSL_cleanse(&t, sizeof(t));

    return rc;
}


/* what was read may have changed; this counts */

static int
llm_totp_try_again(llm_totp_try_t *t, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_write(t->st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_load(t->st, txn, t->id, &t->r, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_totp_decide(t, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_totp_save(t->st, txn, t->id, &t->r, err, errlen);
    }

    if (rc == LLM_OK && t->action != NULL) {
        rc = llm_change_put(t->st, txn, t->action, t->id, t->detail, err,
                            errlen);
    }

    if (rc != LLM_OK) {
        llm_store_abort(t->st, txn);
        return rc;
    }

    rc = llm_store_commit(t->st, txn, err, errlen);

    if (rc != LLM_OK) {
        return rc;
    }

    return t->verdict != LLM_INVALID ? t->verdict
           : llm_err(err, errlen, LLM_INVALID, "%s: second factor: a wrong, "
                     "old or used code", t->id);
}


/* whether a code is looked at at all */

static int
llm_totp_gate(const llm_totp_try_t *t, char *err, size_t errlen)
{
    int64_t  left;

    if (t->r.state != t->want) {

        if (t->want == LLM_TOTP_ON) {
            return llm_err(err, errlen, LLM_NOTFOUND, "%s: second factor: "
                           "enrolled, but not confirmed", t->id);
        }

        return llm_err(err, errlen, LLM_EXISTS,
                       "%s: second factor: it is on already", t->id);
    }

    if (t->r.locked <= t->now) {
        return LLM_OK;
    }

    left = llm_totp_far(t) ? LLM_TOTP_DAY : t->r.locked - t->now;

    return llm_err(err, errlen, LLM_AGAIN, "%s: second factor: locked for "
                   "%lld s after %u failures", t->id, (long long) left,
                   t->r.failures);
}


/*
 * No lock is longer than a day, so one that ends later was set by a clock
 * that has gone back since: by a wrong date, say, which would lock for years.
 * It is made a day from now, once, in the store, as a limit that moves with
 * the clock would never be reached.  A clock that goes back makes a lock
 * longer, never shorter.
 */

static int
llm_totp_far(const llm_totp_try_t *t)
{
    return t->r.locked - t->now > LLM_TOTP_DAY;
}


/* LLM_OK: t->verdict is to be saved and answered */

static int
llm_totp_decide(llm_totp_try_t *t, char *err, size_t errlen)
{
    int  rc;

    rc = llm_totp_gate(t, err, errlen);

    if (rc == LLM_AGAIN && llm_totp_far(t)) {
        t->r.locked = t->now + LLM_TOTP_DAY;
        t->verdict = LLM_AGAIN;
        return LLM_OK;
    }

    if (rc != LLM_OK) {
        return rc;
    }

    t->verdict = LLM_INVALID;

    if (t->code.kind == LLM_TOTP_APP) {
        rc = llm_totp_judge_app(t, err, errlen);

    } else if (t->code.kind == LLM_TOTP_RECOVERY && t->want == LLM_TOTP_ON) {

        /* what confirms shows that the app works: no recovery code does */

        rc = llm_totp_judge_recovery(t, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    if (t->verdict == LLM_OK) {
        llm_totp_passed(t);

    } else {
        llm_totp_failed(t);
    }

    return LLM_OK;
}


/*
 * Steps up to the last used one are gone for good: with a clock that has gone
 * back no code is good before it has caught up, and recovery codes are left.
 */

static int
llm_totp_judge_app(llm_totp_try_t *t, char *err, size_t errlen)
{
    int      rc;
    int64_t  step;
    uint8_t  raw[LLM_TOTP_BYTES];

    rc = llm_totp_unseal(t->secret, t->id, &t->r, raw, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_match(raw, t->now, t->code.number, &step);

    if (rc != LLM_OK) {
        rc = llm_err(err, errlen, LLM_ERROR,
                     "%s: second factor: HMAC-SHA1 failed", t->id);

    } else if (step > t->r.last) {
        t->r.last = step;
        t->verdict = LLM_OK;

    } else if (step != 0 && step == t->r.last) {

        /* sent twice: it lets nobody in, nor is it a guess */

        rc = llm_err(err, errlen, LLM_INVALID, "%s: second factor: this code "
                     "was used, wait for the next one", t->id);
    }

    OPENSSL_cleanse(raw, sizeof(raw));

    return rc;
}


static int
llm_totp_judge_recovery(llm_totp_try_t *t, char *err, size_t errlen)
{
    int       rc;
    uint8_t   hash[LLM_TOTP_HASH];
    uint32_t  i;

    rc = llm_totp_hash(t->secret, t->r.version, t->id, t->code.text, hash);

    if (rc != LLM_OK) {
        return llm_err(err, errlen, LLM_ERROR, "%s: second factor: its "
                       "recovery codes need the secret's version %u, which "
                       "is not open", t->id, t->r.version);
    }

    i = llm_totp_find(&t->r, hash);

    if (i < t->r.n) {
        t->r.n--;
        memcpy(t->r.hash[i], t->r.hash[t->r.n], LLM_TOTP_HASH);
        t->verdict = LLM_OK;
    }

    return LLM_OK;
}


static void
llm_totp_passed(llm_totp_try_t *t)
{
    t->r.failures = 0;
    t->r.locked = 0;

    if (t->want == LLM_TOTP_PENDING) {
        t->r.state = LLM_TOTP_ON;
        t->r.since = t->now;
        t->action = "totp.confirm";

    } else if (t->code.kind == LLM_TOTP_RECOVERY) {
        t->action = "totp.recovery";
        (void) snprintf(t->detail, sizeof(t->detail), "used, %u left",
                        t->r.n);
    }
}


static void
llm_totp_failed(llm_totp_try_t *t)
{
    if (t->r.failures < UINT32_MAX) {
        t->r.failures++;
    }

    t->r.locked = llm_totp_lock(t->r.failures, t->now);

    if (t->r.locked != 0) {
        t->action = "totp.lock";
        (void) snprintf(t->detail, sizeof(t->detail),
                        "%lld s after %u failures",
                        (long long) (t->r.locked - t->now), t->r.failures);
    }
}
