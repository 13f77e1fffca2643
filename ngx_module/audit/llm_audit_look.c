
/*
 * Copyright (C) nginx-llm contributors
 *
 * Single looks at the audit trail: one call, the first record of a time, a
 * call's content, the last checkpoint, the public keys.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>

#include "llm_audit_read.h"


static int llm_audit_call_txn(llm_audit_match_t *m, uint64_t number,
    int *fits);
static int llm_audit_find_txn(llm_audit_t *a, MDB_txn *txn, int64_t time,
    uint64_t *number, char *err, size_t errlen);
static int llm_audit_hour_check(llm_audit_t *a, MDB_txn *txn, int64_t hour,
    uint64_t number, char *err, size_t errlen);
static int llm_audit_hour_after(llm_audit_t *a, MDB_txn *txn, int64_t hour,
    char *err, size_t errlen);
static int llm_audit_hour_damaged(llm_audit_t *a, char *err, size_t errlen);
static int llm_audit_content_of(llm_audit_t *a, MDB_txn *txn,
    uint64_t *number, char *err, size_t errlen);
static int llm_audit_checkpoint_txn(llm_audit_t *a, MDB_txn *txn,
    llm_audit_checkpoint_t *c, char *err, size_t errlen);
static int llm_audit_key_txn(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_key_t *key, char *err, size_t errlen);


int
llm_audit_call_get(llm_audit_t *a, uint64_t number, llm_audit_call_t *call,
    char *err, size_t errlen)
{
    int                 fits, rc;
    llm_audit_query_t   q;
    llm_audit_match_t  *m;

    m = malloc(sizeof(llm_audit_match_t));
    if (m == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                       a->shared->path);
    }

    memset(&q, 0, sizeof(q));
    fits = 0;

    rc = llm_audit_match_init(m, a, &q, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_read(a, &m->txn, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_call_txn(m, number, &fits);
        llm_audit_read_end(a, m->txn);
    }

    if (rc == LLM_OK && !fits) {
        rc = llm_err(err, errlen, LLM_NOTFOUND, "%s: record %llu: no call's",
                     a->shared->path, (unsigned long long) number);
    }

    if (rc == LLM_OK) {
        *call = m->call;
    }

    llm_audit_match_done(m);
    free(m);

    return rc;
}


static int
llm_audit_call_txn(llm_audit_match_t *m, uint64_t number, int *fits)
{
    int       rc;
    MDB_val   v;

    rc = llm_audit_get(m->a, m->txn, number, &v, m->err, m->errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    /* of a closing record the opening one */

    if (llm_audit_unpack(v.mv_data, v.mv_size, &m->close) == LLM_OK
        && m->close.type == LLM_AUDIT_CLOSE && m->close.number != 0)
    {
        number = m->close.number;

        rc = llm_audit_get(m->a, m->txn, number, &v, m->err, m->errlen);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    return llm_audit_match(m, number, &v, fits);
}


int
llm_audit_find(llm_audit_t *a, int64_t time, uint64_t *number, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_find_txn(a, txn, time, number, err, errlen);
    llm_audit_read_end(a, txn);

    return rc;
}


/* times never run backwards: from the hour's first, half by half */

static int
llm_audit_find_txn(llm_audit_t *a, MDB_txn *txn, int64_t time,
    uint64_t *number, char *err, size_t errlen)
{
    int       rc;
    MDB_val   v;
    uint64_t  first, high, last, low, middle;

    rc = llm_audit_range(a, txn, &first, &last, NULL, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    low = first;
    high = last + 1;

    if (time > 0) {
        rc = llm_audit_hour(a, txn, time / LLM_AUDIT_HOUR_MS, &low, err,
                            errlen);

        if (rc == LLM_OK) {
            rc = llm_audit_hour(a, txn, time / LLM_AUDIT_HOUR_MS + 1, &high,
                                err, errlen);
        }

        if (rc != LLM_OK) {
            return rc;
        }

        low = low != 0 ? low : last + 1;
        high = high != 0 ? high : last + 1;
    }

    low = low > first ? low : first;

    while (low < high) {
        middle = low + (high - low) / 2;

        rc = llm_audit_get(a, txn, middle, &v, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        if (v.mv_size >= LLM_AUDIT_FIXED
            && (int64_t) llm_le_get((uint8_t *) v.mv_data + 8, 8) < time)
        {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    *number = low;

    return LLM_OK;
}


int
llm_audit_hour(llm_audit_t *a, MDB_txn *txn, int64_t hour, uint64_t *number,
    char *err, size_t errlen)
{
    int          rc;
    uint8_t      be[8];
    MDB_val      k, v;
    MDB_cursor  *cursor;

    *number = 0;

    llm_be_put(be, hour > 0 ? (uint64_t) hour : 0, 8);
    k.mv_data = be;
    k.mv_size = 8;

    rc = mdb_cursor_open(txn, a->shared->hours, &cursor);

    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        mdb_cursor_close(cursor);
    }

    if (rc == MDB_NOTFOUND) {
        return llm_audit_hour_after(a, txn, hour, err, errlen);
    }

    if (rc != 0) {
        return llm_audit_error(a, rc, "hours", err, errlen);
    }

    if (llm_audit_number(&v, number) != LLM_OK || *number == 0) {
        return llm_audit_hour_damaged(a, err, errlen);
    }

    return llm_audit_hour_check(a, txn, hour, *number, err, errlen);
}


/*
 * The one before is older than the hour, and it itself is not: an entry that
 * was changed or dropped would hide calls.
 */

static int
llm_audit_hour_check(llm_audit_t *a, MDB_txn *txn, int64_t hour,
    uint64_t number, char *err, size_t errlen)
{
    int       i, rc;
    int64_t   time;
    MDB_val   v;
    uint64_t  first, last, n;

    for (i = 0; i < 2; i++) {
        n = number - (uint64_t) i;

        rc = n != 0 ? llm_audit_get(a, txn, n, &v, NULL, 0) : LLM_NOTFOUND;

        /* of the first hour some may have been dropped */

        if (rc == LLM_NOTFOUND
            && llm_audit_range(a, txn, &first, &last, NULL, NULL, 0) == LLM_OK
            && n < first)
        {
            return LLM_OK;
        }

        if (rc != LLM_OK || v.mv_size < LLM_AUDIT_FIXED) {
            return llm_audit_hour_damaged(a, err, errlen);
        }

        time = (int64_t) llm_le_get((const uint8_t *) v.mv_data + 8, 8);

        if ((time / LLM_AUDIT_HOUR_MS >= hour) == (i == 1)) {
            return llm_audit_hour_damaged(a, err, errlen);
        }
    }

    return LLM_OK;
}


/* it is after the last record */

static int
llm_audit_hour_after(llm_audit_t *a, MDB_txn *txn, int64_t hour, char *err,
    size_t errlen)
{
    int       rc;
    MDB_val   v;
    uint64_t  first, last;

    rc = llm_audit_range(a, txn, &first, &last, NULL, err, errlen);

    if (rc == LLM_OK && last >= first) {
        rc = llm_audit_get(a, txn, last, &v, err, errlen);

        if (rc == LLM_OK
            && (v.mv_size < LLM_AUDIT_FIXED
                || (int64_t) llm_le_get((const uint8_t *) v.mv_data + 8, 8)
                   / LLM_AUDIT_HOUR_MS >= hour))
        {
            rc = llm_audit_hour_damaged(a, err, errlen);
        }
    }

    return rc;
}


static int
llm_audit_hour_damaged(llm_audit_t *a, char *err, size_t errlen)
{
    return llm_err(err, errlen, LLM_INVALID, "%s: the index of hours is "
                   "damaged (llmctl audit verify)", a->shared->path);
}


int
llm_audit_range(llm_audit_t *a, MDB_txn *txn, uint64_t *first,
    uint64_t *last, int *nameless, char *err, size_t errlen)
{
    int          bad, rc;
    MDB_val      k, v;
    MDB_cursor  *cursor;

    *first = 1;
    *last = 0;

    rc = mdb_cursor_open(txn, a->shared->records, &cursor);
    if (rc != 0) {
        return llm_audit_error(a, rc, "records", err, errlen);
    }

    bad = 0;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);

    while (rc == 0 && llm_audit_number(&k, first) != LLM_OK) {
        bad = 1;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }

    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
    }

    while (rc == 0 && llm_audit_number(&k, last) != LLM_OK) {
        bad = 1;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_PREV);
    }

    mdb_cursor_close(cursor);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_error(a, rc, "records", err, errlen);
    }

    if (nameless != NULL) {
        *nameless = bad;

    } else if (bad) {
        return llm_err(err, errlen, LLM_INVALID, "%s: a record has no number "
                       "(llmctl audit verify)", a->shared->path);
    }

    return LLM_OK;
}


int
llm_audit_number(const MDB_val *v, uint64_t *number)
{
    uint64_t  n;

    if (v->mv_size != 8) {
        return LLM_INVALID;
    }

    n = llm_be_get(v->mv_data, 8);

    if (n > LLM_AUDIT_NUMBER) {
        return LLM_INVALID;
    }

    *number = n;

    return LLM_OK;
}


int
llm_audit_content(llm_audit_t *a, uint64_t number, char what,
    uint32_t choice, llm_buf_t *text, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = what == 'o' ? llm_audit_content_of(a, txn, &number, err, errlen)
                     : LLM_OK;

    if (rc == LLM_OK) {
        rc = llm_audit_content_read(a, txn, number, what, choice, text, err,
                                    errlen);
    }

    llm_audit_read_end(a, txn);

    return rc;
}


/* an output lies with the closing record */

static int
llm_audit_content_of(llm_audit_t *a, MDB_txn *txn, uint64_t *number,
    char *err, size_t errlen)
{
    int                  rc;
    uint8_t              be[8];
    MDB_val              k, v;
    uint64_t             close;
    llm_audit_record_t   r;

    llm_be_put(be, *number, 8);
    k.mv_data = be;
    k.mv_size = 8;

    rc = mdb_get(txn, a->shared->closes, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return LLM_OK;
    }

    if (rc != 0) {
        return llm_audit_error(a, rc, "closes", err, errlen);
    }

    /* another call's would be given as this one's */

    if (llm_audit_number(&v, &close) != LLM_OK
        || llm_audit_get(a, txn, close, &v, NULL, 0) != LLM_OK
        || llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK
        || r.type != LLM_AUDIT_CLOSE || r.number != *number)
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: the index "
                       "of closing records is damaged (llmctl audit verify)",
                       a->shared->path, (unsigned long long) *number);
    }

    *number = close;

    return LLM_OK;
}


int
llm_audit_content_read(llm_audit_t *a, MDB_txn *txn, uint64_t number,
    char what, uint32_t choice, llm_buf_t *text, char *err, size_t errlen)
{
    int                rc;
    uint8_t            key[LLM_AUDIT_CONTENT_KEY];
    MDB_val            k, v;
    uint32_t           epoch;
    llm_audit_keys_t  *keys;

    llm_audit_content_key(key, number, what, choice);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(txn, a->shared->content, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: record %llu: no such "
                       "content is kept", a->shared->path,
                       (unsigned long long) number);
    }

    if (rc != 0) {
        return llm_audit_error(a, rc, "content", err, errlen);
    }

    epoch = llm_audit_content_epoch(v.mv_data, v.mv_size);

    if (epoch == 0 || v.mv_size < LLM_AUDIT_CONTENT_MORE) {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: its "
                       "content was changed", a->shared->path,
                       (unsigned long long) number);
    }

    rc = llm_audit_keys(a, txn, epoch, &keys, err, errlen);
    if (rc != LLM_OK) {
        return rc == LLM_NOTFOUND ? LLM_INVALID : rc;
    }

    if (llm_buf_reserve(text, v.mv_size) != LLM_OK) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                       a->shared->path);
    }

    rc = llm_audit_content_open(keys, number, what, choice, v.mv_data,
                                v.mv_size, (uint8_t *) text->data + text->len,
                                err, errlen);

    if (rc == LLM_OK) {
        text->len += v.mv_size - LLM_AUDIT_CONTENT_MORE;
    }

    return rc;
}


int
llm_audit_checkpoint(llm_audit_t *a, llm_audit_checkpoint_t *c, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    memset(c, 0, sizeof(llm_audit_checkpoint_t));

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_checkpoint_txn(a, txn, c, err, errlen);
    llm_audit_read_end(a, txn);

    return rc;
}


/* the record after what it covers */

static int
llm_audit_checkpoint_txn(llm_audit_t *a, MDB_txn *txn,
    llm_audit_checkpoint_t *c, char *err, size_t errlen)
{
    int                  rc;
    MDB_val              v;
    llm_audit_mark_t     head;
    llm_audit_epoch_t    ep;
    llm_audit_record_t   r;

    rc = llm_audit_mark_get(a, txn, LLM_AUDIT_MARK_HEAD, &head, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (head.signed_to == 0 || head.signed_to == UINT64_MAX) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: nothing is signed yet",
                       a->shared->path);
    }

    rc = llm_audit_get(a, txn, head.signed_to + 1, &v, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK
        || r.type != LLM_AUDIT_SIGNED)
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: no "
                       "checkpoint", a->shared->path,
                       (unsigned long long) head.signed_to + 1);
    }

    rc = llm_audit_epoch_get(a, txn, r.epoch, &ep, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    c->number = head.signed_to;
    c->time = r.time;
    c->epoch = r.epoch;
    memcpy(c->hash, r.previous, sizeof(c->hash));
    memcpy(c->signature, r.signature, sizeof(c->signature));
    memcpy(c->public_key, ep.public_key, sizeof(c->public_key));

    if (!llm_audit_checkpoint_check(c->public_key, c->epoch, c->number,
                                    c->time, c->hash, c->signature))
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: the "
                       "signature is wrong (llmctl audit verify)",
                       a->shared->path, (unsigned long long) c->number + 1);
    }

    return LLM_OK;
}


int
llm_audit_key_each(llm_audit_t *a,
    int (*each)(void *data, const llm_audit_key_t *key), void *data, char *err,
    size_t errlen)
{
    int               rc;
    MDB_txn          *txn;
    uint32_t          epoch, last;
    llm_audit_key_t   key;

    epoch = 0;

    do {
        rc = llm_audit_read(a, &txn, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        last = llm_audit_epoch_last(a, txn);
        epoch++;

        rc = last == 0
             ? llm_audit_epoch_none(a, err, errlen)
             : llm_audit_key_txn(a, txn, epoch, &key, err, errlen);

        llm_audit_read_end(a, txn);

        if (rc == LLM_OK) {
            rc = each(data, &key);
        }

    } while (rc == LLM_OK && epoch < last);

    return rc;
}


static int
llm_audit_key_txn(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_key_t *key, char *err, size_t errlen)
{
    int                rc;
    llm_audit_epoch_t  ep;

    rc = llm_audit_epoch_get(a, txn, epoch, &ep, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    memset(key, 0, sizeof(llm_audit_key_t));
    key->epoch = epoch;
    key->time = ep.time;
    memcpy(key->public_key, ep.public_key, sizeof(key->public_key));

    return LLM_OK;
}
