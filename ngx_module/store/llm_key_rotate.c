
/*
 * Copyright (C) nginx-llm contributors
 *
 * Rotation: a new secret for a key, beside the former ones in their grace.
 *
 * A rotation that has a name can be asked for again when its answer was lost:
 * the salt is derived from the name, and all else that the key was made of is
 * in the record, so that the same key comes out.  The record holds 16 bytes
 * of a keyed hash of the name.
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


#define LLM_IDEM_MAX    255
#define LLM_IDEM_AGE    86400   /* seconds that a name is known */
#define LLM_ISSUE_AHEAD 3600    /* seconds: more is a clock that was wrong */


/* what was asked for */
typedef struct {
    int64_t      now;
    int64_t      grace;
    int64_t      expires;
    const char  *idem;          /* NULL: none */
} llm_rotate_t;


/* the records after a rotation, and the tags whose records go */
typedef struct {
    llm_key_set_t  s;
    size_t         n_drop;
    uint8_t        drop[LLM_KEY_SECRETS][LLM_TAG_LEN];
} llm_rotate_plan_t;


static int llm_rotate_check(const llm_rotate_t *r, char *err, size_t errlen);
static int llm_rotate_replay(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, llm_key_t *k, char *key, char *err, size_t errlen);
static int llm_rotate_prepare(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, const llm_key_t *old, llm_key_t *next, char *err,
    size_t errlen);
static int llm_rotate_name(llm_store_t *st, const llm_secret_t *secret,
    const llm_key_t *k, const char *idem, uint8_t *name, char *err,
    size_t errlen);
static int llm_rotate_plan(llm_rotate_plan_t *p, const llm_rotate_t *r,
    const llm_key_set_t *s, const llm_key_t *next, char *err, size_t errlen);
static int llm_rotate_write(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, const llm_key_t *old, const llm_key_t *next,
    char *err, size_t errlen);
static int llm_rotate_store(llm_store_t *st, MDB_txn *txn,
    llm_rotate_plan_t *p, char *err, size_t errlen);
static int llm_rotate_log(llm_store_t *st, MDB_txn *txn,
    const llm_rotate_t *r, const llm_key_t *next, char *err, size_t errlen);


int
llm_key_rotate(llm_store_t *st, const llm_secret_t *secret, const char *id,
    int64_t grace, int64_t expires, const char *idem, llm_key_t *k, char *key,
    int *again, char *err, size_t errlen)
{
    int                i, rc;
    llm_key_t          next;
    llm_rotate_t       r;
    llm_key_set_t      s;
    llm_rotate_plan_t  plan;

    memset(key, 0, LLM_KEY_LEN + 1);
    memset(&next, 0, sizeof(llm_key_t));
    *again = 0;

    r.grace = grace;
    r.expires = expires;
    r.idem = idem;

    rc = llm_rotate_check(&r, err, errlen);

    if (rc == LLM_OK) {
        rc = LLM_AGAIN;
    }

    /* again when the key was changed while the new one was made */

    for (i = 0; rc == LLM_AGAIN && i < LLM_KEY_TRIES; i++) {

        r.now = (int64_t) time(NULL);

        rc = llm_set_read(st, id, 0, &s, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_rotate_replay(st, secret, &r, &s.k[0], key, err,
                                   errlen);

            if (rc == LLM_OK) {
                *again = 1;
                *k = s.k[0];
                return LLM_OK;
            }

            if (rc == LLM_NOTFOUND) {
                rc = llm_rotate_prepare(st, secret, &r, &s.k[0], &next, err,
                                        errlen);
            }
        }

        if (rc == LLM_OK) {
            rc = llm_rotate_plan(&plan, &r, &s, &next, err, errlen);
        }

        if (rc == LLM_OK) {
            rc = llm_key_text(secret, &next, idem != NULL, key, err, errlen);
        }

        if (rc == LLM_OK) {
            rc = llm_rotate_write(st, secret, &r, &s.k[0], &next, err,
                                  errlen);
        }
    }

    if (rc == LLM_OK) {
        *k = next;              /* not before: id may be k->id */

    } else {
        OPENSSL_cleanse(key, LLM_KEY_LEN + 1);
        memset(k, 0, sizeof(llm_key_t));
    }

    return rc;
}


static int
llm_rotate_check(const llm_rotate_t *r, char *err, size_t errlen)
{
    size_t  len;

    if (r->grace < 0 || r->grace > LLM_GRACE_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "key: grace: it must be "
                       "between 0 and %d days", LLM_GRACE_MAX / 86400);
    }

    if (r->idem != NULL) {
        len = strnlen(r->idem, LLM_IDEM_MAX + 1);

        if (len == 0 || len > LLM_IDEM_MAX) {
            return llm_err(err, errlen, LLM_INVALID, "key: the name of a "
                           "rotation must have 1 to %d bytes", LLM_IDEM_MAX);
        }
    }

    return LLM_OK;
}


/* LLM_NOTFOUND: the last rotation had another name, or is long ago */

static int
llm_rotate_replay(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, llm_key_t *k, char *key, char *err, size_t errlen)
{
    int        rc;
    uint8_t    name[16];
    llm_key_t  made;

    memset(name, 0, sizeof(name));

    if (r->idem == NULL || memcmp(k->idem, name, sizeof(name)) == 0
        || r->now - LLM_IDEM_AGE >= k->issued)
    {
        return LLM_NOTFOUND;
    }

    rc = llm_rotate_name(st, secret, k, r->idem, name, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (memcmp(k->idem, name, sizeof(name)) != 0) {
        return LLM_NOTFOUND;
    }

    made = *k;

    rc = llm_key_text(secret, &made, 1, key, err, errlen);

    if (rc == LLM_OK && memcmp(made.tag, k->tag, LLM_TAG_LEN) != 0) {
        OPENSSL_cleanse(key, LLM_KEY_LEN + 1);

        rc = llm_err(err, errlen, LLM_EXISTS, "%s: this rotation was made, "
                     "and its client was renamed since: the key can't be "
                     "given again", k->id);
    }

    return rc;
}


static int
llm_rotate_prepare(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, const llm_key_t *old, llm_key_t *next, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    *next = *old;
    next->issued = r->now;
    next->noticed = 0;

    /* never the same time twice: a name that comes again would make a key
     * that was rotated out anew */

    if (old->issued >= r->now && old->issued - r->now < LLM_ISSUE_AHEAD) {
        next->issued = old->issued + 1;
    }

    memset(next->idem, 0, sizeof(next->idem));

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_key_prepare(st, txn, secret, &next->version, err, errlen);

    if (rc == LLM_OK) {
        if (r->expires != 0) {
            next->expires = r->expires;
            rc = llm_key_expiry(st, txn, next, err, errlen);

        } else {
            rc = llm_key_lifetime(st, txn, old, next, err, errlen);
        }
    }

    llm_store_read_end(st);

    return (rc == LLM_OK && r->idem != NULL)
           ? llm_rotate_name(st, secret, next, r->idem, next->idem, err,
                             errlen)
           : rc;
}


/* with who asks: one who learns or guesses another's name for a rotation gets
 * a new secret, which shows, and not the one that is in use */

static int
llm_rotate_name(llm_store_t *st, const llm_secret_t *secret,
    const llm_key_t *k, const char *idem, uint8_t *name, char *err,
    size_t errlen)
{
    size_t   len, n;
    uint8_t  text[5 + LLM_KEY_ID_LEN + LLM_ACTOR_MAX + 1 + LLM_IDEM_MAX];
    uint8_t  tag[LLM_TAG_LEN];

    memcpy(text, "idem", 5);
    n = 5;
    memcpy(text + n, k->id, LLM_KEY_ID_LEN);
    n += LLM_KEY_ID_LEN;

    len = strlen(st->actor) + 1;
    memcpy(text + n, st->actor, len);
    n += len;

    len = strlen(idem);
    memcpy(text + n, idem, len);
    n += len;

    if (llm_secret_tag(secret, k->version, text, n, tag) != LLM_OK) {
        return llm_err(err, errlen, LLM_INVALID,
                       "secret: version %u is not open", k->version);
    }

    memcpy(name, tag, sizeof(k->idem));

    return LLM_OK;
}


/*
 * The secret that was current stays at least as a record that tells why it is
 * refused.  Former ones whose grace is over go.
 */

static int
llm_rotate_plan(llm_rotate_plan_t *p, const llm_rotate_t *r,
    const llm_key_set_t *s, const llm_key_t *next, char *err, size_t errlen)
{
    size_t            i;
    int64_t           until;
    llm_key_set_t    *to;
    const llm_key_t  *k;

    to = &p->s;
    to->n = 0;
    to->k[to->n++] = *next;
    p->n_drop = 0;
    until = r->now + r->grace;

    for (i = 0; i < s->n; i++) {
        k = &s->k[i];

        if (i > 0 && (k->until <= r->now || r->grace == 0)) {
            memcpy(p->drop[p->n_drop++], k->tag, LLM_TAG_LEN);
            continue;
        }

        if (to->n == LLM_KEY_SECRETS) {
            return llm_err(err, errlen, LLM_EXISTS, "%s: it has %d secrets "
                           "in their grace: wait for the end of one, or "
                           "rotate without grace", k->id,
                           LLM_KEY_SECRETS - 1);
        }

        to->k[to->n] = *k;

        if (k->until == 0 || k->until > until) {
            to->k[to->n].until = until;
        }

        to->n++;
    }

    return LLM_OK;
}


/* LLM_AGAIN: the key is not old any more */

static int
llm_rotate_write(llm_store_t *st, const llm_secret_t *secret,
    const llm_rotate_t *r, const llm_key_t *old, const llm_key_t *next,
    char *err, size_t errlen)
{
    int                rc;
    MDB_txn           *txn;
    uint32_t           version;
    llm_key_set_t      s;
    llm_rotate_plan_t  plan;

    version = 0;

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_set_load(st, txn, old->id, 0, &s, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_prepare(st, txn, secret, &version, err, errlen);
    }

    if (rc == LLM_OK
        && (version != next->version || !llm_key_same(old, &s.k[0])))
    {
        rc = llm_err(err, errlen, LLM_AGAIN, "%s: it was changed meanwhile",
                     old->id);
    }

    if (rc == LLM_OK) {
        rc = llm_rotate_plan(&plan, r, &s, next, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_rotate_store(st, txn, &plan, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_rotate_log(st, txn, r, next, err, errlen);
    }

    return llm_key_end_write(st, txn, rc, err, errlen);
}


static int
llm_rotate_store(llm_store_t *st, MDB_txn *txn, llm_rotate_plan_t *p,
    char *err, size_t errlen)
{
    int      rc;
    size_t   i;
    MDB_val  id, name, v;
    uint8_t  tags[LLM_KEY_SECRETS * LLM_TAG_LEN];

    name.mv_data = p->s.k[0].tag;
    name.mv_size = LLM_TAG_LEN;

    rc = mdb_get(txn, st->keys, &name, &v);

    if (rc != MDB_NOTFOUND) {
        return llm_store_error(st, rc == 0 ? MDB_KEYEXIST : rc, "rotate",
                               err, errlen);
    }

    for (i = 0; i < p->n_drop; i++) {
        name.mv_data = p->drop[i];
        name.mv_size = LLM_TAG_LEN;

        rc = mdb_del(txn, st->keys, &name, NULL);

        if (rc != 0) {
            return llm_store_error(st, rc, "rotate", err, errlen);
        }
    }

    for (i = 0; i < p->s.n; i++) {
        memcpy(tags + i * LLM_TAG_LEN, p->s.k[i].tag, LLM_TAG_LEN);
    }

    id.mv_data = p->s.k[0].id;
    id.mv_size = LLM_KEY_ID_LEN;
    v.mv_data = tags;
    v.mv_size = p->s.n * LLM_TAG_LEN;

    rc = mdb_put(txn, st->ids, &id, &v, 0);

    return rc == 0 ? llm_set_store(st, txn, &p->s, err, errlen)
                   : llm_store_error(st, rc, "rotate", err, errlen);
}


static int
llm_rotate_log(llm_store_t *st, MDB_txn *txn, const llm_rotate_t *r,
    const llm_key_t *next, char *err, size_t errlen)
{
    char  detail[128], when[32];

    if (next->expires != 0) {
        (void) snprintf(detail, sizeof(detail),
                        "grace=%lld version=%u expires=%s",
                        (long long) r->grace, next->version,
                        llm_time_format(next->expires, when, sizeof(when)));

    } else {
        (void) snprintf(detail, sizeof(detail), "grace=%lld version=%u",
                        (long long) r->grace, next->version);
    }

    return llm_change_put(st, txn, "key.rotate", next->id, detail, err,
                          errlen);
}


/* the latest of them: a former one may have more than the one before it */

int
llm_key_grace(llm_store_t *st, const char *id, int64_t *until, char *err,
    size_t errlen)
{
    int            rc;
    size_t         i;
    llm_key_set_t  s;

    *until = 0;

    rc = llm_set_read(st, id, 1, &s, err, errlen);

    for (i = 1; rc == LLM_OK && i < s.n; i++) {
        if (s.k[i].until > *until) {
            *until = s.k[i].until;
        }
    }

    return rc;
}
