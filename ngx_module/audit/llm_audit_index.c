
/*
 * Copyright (C) nginx-llm contributors
 *
 * Do the indexes of the audit trail say what its records say?  While the chain
 * is followed, what each index should have is summed up, entry by entry, by a
 * function with random numbers in it; then each index is read once.  Where
 * the sums differ, or where the chain has faults or was pruned meanwhile, each
 * entry is looked up in the records and each record in the indexes, which
 * takes longer and says where.
 *
 * Queries go by the indexes, so a wrong one hides calls.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <sys/random.h>

#include "llm_audit_proof.h"


#define LLM_AUDIT_INDEX_KEY  511        /* LMDB's own limit */


#define LLM_AUDIT_STRETCH     16384
#define LLM_AUDIT_TOLD_MAX    100       /* of wrong entries */


static void llm_audit_sum(llm_audit_proof_t *p, llm_audit_sum_t *s,
    uint64_t a, uint64_t b, uint64_t c);
static uint64_t llm_audit_mix(uint64_t x);
static int llm_audit_sum_key(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_sum_close(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_sum_hour(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_look_key(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_look_close(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_look_hour(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_look_record(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);
static int llm_audit_has_key(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static int llm_audit_has_close(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static int llm_audit_has_hour(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static int llm_audit_index_get(llm_audit_proof_t *p, MDB_dbi dbi,
    const void *key, size_t len, MDB_val *v, int *there);


int
llm_audit_index_begin(llm_audit_proof_t *p)
{
    if (getrandom(p->seed, sizeof(p->seed), 0) != (ssize_t) sizeof(p->seed)) {
        return llm_err(p->err, p->errlen, LLM_ERROR, "%s: verify: no random "
                       "numbers", p->a->shared->path);
    }

    p->first_hour = -1;
    p->hour = -1;

    return LLM_OK;
}


void
llm_audit_index_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    int64_t  hour;

    hour = r->time / LLM_AUDIT_HOUR_MS;

    if (p->first_hour == -1) {
        p->first_hour = hour;

    } else if (hour > p->hour) {
        llm_audit_sum(p, &p->want[LLM_AUDIT_SUM_HOURS], (uint64_t) hour,
                      number, 0);
    }

    p->hour = hour > p->hour ? hour : p->hour;

    if (r->type == LLM_AUDIT_OPEN && (r->flags & LLM_AUDIT_HAS_KEY)) {
        llm_audit_sum(p, &p->want[LLM_AUDIT_SUM_KEYS],
                      llm_be_get(r->key, 8), llm_be_get(r->key + 8, 7),
                      number);

    } else if (r->type == LLM_AUDIT_CLOSE && r->number >= p->first) {
        llm_audit_sum(p, &p->want[LLM_AUDIT_SUM_CLOSES], r->number, number,
                      0);
    }
}


int
llm_audit_index_end(llm_audit_proof_t *p)
{
    int     i, rc, slow;
    size_t  n;

    struct {
        MDB_dbi             dbi;
        llm_audit_entry_pt  sum;
        llm_audit_entry_pt  look;
    } index[LLM_AUDIT_SUMS] = {
        { p->a->shared->keyed, llm_audit_sum_key, llm_audit_look_key },
        { p->a->shared->closes, llm_audit_sum_close, llm_audit_look_close },
        { p->a->shared->hours, llm_audit_sum_hour, llm_audit_look_hour }
    };

    /* numbers that are others than they were: nothing fits, which was told */

    if (p->shifted || p->lost_track || p->stop != LLM_OK) {
        return LLM_OK;
    }

    slow = p->n_bad != 0;
    n = p->n_bad;

    for (i = 0; i < LLM_AUDIT_SUMS && !slow; i++) {

        rc = llm_audit_each_entry(p, index[i].dbi, index[i].sum);
        if (rc != LLM_OK) {
            return rc;
        }

        slow = p->pruned || p->got[i].entries != p->want[i].entries
               || p->got[i].sum != p->want[i].sum;
    }

    for (i = 0; i < LLM_AUDIT_SUMS && slow; i++) {

        rc = llm_audit_each_entry(p, index[i].dbi, index[i].look);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    if (slow && p->n_bad - n < LLM_AUDIT_TOLD_MAX && p->stop == LLM_OK) {
        rc = llm_audit_each_entry(p, p->a->shared->records,
                                  llm_audit_look_record);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    return llm_audit_kept_end(p);
}


static void
llm_audit_sum(llm_audit_proof_t *p, llm_audit_sum_t *s, uint64_t a,
    uint64_t b, uint64_t c)
{
    uint64_t  x;

    x = llm_audit_mix(a ^ p->seed[0]);
    x = llm_audit_mix((x + b) ^ p->seed[1]);
    x = llm_audit_mix((x + c) ^ p->seed[2]);

    s->entries++;
    s->sum += llm_audit_mix(x ^ p->seed[3]);
}


/* MurmurHash3's end */

static uint64_t
llm_audit_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    x ^= x >> 33;

    return x;
}


int
llm_audit_each_entry(llm_audit_proof_t *p, MDB_dbi dbi, llm_audit_entry_pt f)
{
    int          i, n, rc;
    size_t       len;
    uint8_t      last[LLM_AUDIT_INDEX_KEY];
    MDB_val      k, v;
    MDB_cursor  *cursor;

    len = 0;

    do {
        rc = mdb_cursor_open(p->txn, dbi, &cursor);
        if (rc != 0) {
            return llm_audit_error(p->a, rc, "index", p->err, p->errlen);
        }

        if (len == 0) {
            rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);

        } else {
            k.mv_data = last;
            k.mv_size = len;
            rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

            if (rc == 0 && k.mv_size == len
                && memcmp(k.mv_data, last, len) == 0)
            {
                rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
            }
        }

        n = LLM_OK;

        for (i = 0; rc == 0 && n == LLM_OK && i < LLM_AUDIT_STRETCH; i++) {
            n = p->stop != LLM_OK ? LLM_CANCELLED : f(p, &k, &v);
            len = k.mv_size < sizeof(last) ? k.mv_size : sizeof(last);
            memcpy(last, k.mv_data, len);

            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        }

        mdb_cursor_close(cursor);

        if (rc != 0 && rc != MDB_NOTFOUND) {
            return llm_audit_error(p->a, rc, "index", p->err, p->errlen);
        }

        if (n != LLM_OK) {
            return n == LLM_CANCELLED ? LLM_OK : n;
        }

        if (rc == 0) {
            n = llm_audit_proof_again(p);

            if (n != LLM_OK) {
                return n;
            }
        }

    } while (rc == 0);

    return LLM_OK;
}


/* what is malformed is counted, so that the counts differ */

static int
llm_audit_sum_key(llm_audit_proof_t *p, const MDB_val *k, const MDB_val *v)
{
    uint64_t        number;
    const uint8_t  *id = k->mv_data;

    if (k->mv_size != LLM_AUDIT_ID + 8 || v->mv_size != 0) {
        p->got[LLM_AUDIT_SUM_KEYS].entries++;
        return LLM_OK;
    }

    number = llm_be_get(id + LLM_AUDIT_ID, 8);

    if (number <= p->last) {
        llm_audit_sum(p, &p->got[LLM_AUDIT_SUM_KEYS], llm_be_get(id, 8),
                      llm_be_get(id + 8, 7), number);
    }

    return LLM_OK;
}


static int
llm_audit_sum_close(llm_audit_proof_t *p, const MDB_val *k, const MDB_val *v)
{
    uint64_t  close, number;

    if (llm_audit_number(k, &number) != LLM_OK
        || llm_audit_number(v, &close) != LLM_OK)
    {
        p->got[LLM_AUDIT_SUM_CLOSES].entries++;
        return LLM_OK;
    }

    if (close <= p->last) {
        llm_audit_sum(p, &p->got[LLM_AUDIT_SUM_CLOSES], number, close, 0);
    }

    return LLM_OK;
}


static int
llm_audit_sum_hour(llm_audit_proof_t *p, const MDB_val *k, const MDB_val *v)
{
    uint64_t  hour, number;

    if (llm_audit_number(k, &hour) != LLM_OK
        || llm_audit_number(v, &number) != LLM_OK)
    {
        p->got[LLM_AUDIT_SUM_HOURS].entries++;
        return LLM_OK;
    }

    /* records of the first hour may have been dropped: what it says of its
     * first one is too low then, which hides nothing */

    if ((int64_t) hour <= p->first_hour) {
        p->got[LLM_AUDIT_SUM_HOURS].entries += number > p->first;
        return LLM_OK;
    }

    if (number <= p->last) {
        llm_audit_sum(p, &p->got[LLM_AUDIT_SUM_HOURS], hour, number, 0);
    }

    return LLM_OK;
}


static int
llm_audit_look_key(llm_audit_proof_t *p, const MDB_val *k, const MDB_val *v)
{
    int                   rc, there;
    uint64_t              number;
    llm_audit_record_t    r;
    const uint8_t        *id = k->mv_data;

    if (k->mv_size != LLM_AUDIT_ID + 8 || v->mv_size != 0) {
        return llm_audit_index_wrong(p, 0, "the index of keys has a malformed "
                                     "entry");
    }

    number = llm_be_get(id + LLM_AUDIT_ID, 8);

    if (number > p->last || llm_audit_is_bad(p, number)) {
        return LLM_OK;
    }

    rc = llm_audit_index_load(p, number, &r, &there);

    if (rc != LLM_OK
        || (there && r.type == LLM_AUDIT_OPEN
            && (r.flags & LLM_AUDIT_HAS_KEY)
            && memcmp(r.key, id, LLM_AUDIT_ID) == 0))
    {
        return rc;
    }

    return llm_audit_index_wrong(p, number, "the index of keys has it under a "
                                 "key that is not its own");
}


static int
llm_audit_look_close(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v)
{
    int                 rc, there;
    uint64_t            close, number;
    llm_audit_record_t  r;

    if (llm_audit_number(k, &number) != LLM_OK
        || llm_audit_number(v, &close) != LLM_OK)
    {
        return llm_audit_index_wrong(p, 0, "the index of closing records has "
                                     "a malformed entry");
    }

    if (llm_audit_is_bad(p, number) || llm_audit_is_bad(p, close)) {
        return LLM_OK;
    }

    rc = llm_audit_index_load(p, close, &r, &there);

    if (rc != LLM_OK
        || (there && r.type == LLM_AUDIT_CLOSE && r.number == number))
    {
        return rc;
    }

    /* of a trail that was cut, which was told */

    if (!there && close > p->last && p->truncated) {
        return LLM_OK;
    }

    return llm_audit_index_wrong(p, number, "its closing record in the index "
                                 "is not its own");
}


static int
llm_audit_look_hour(llm_audit_proof_t *p, const MDB_val *k, const MDB_val *v)
{
    int                 rc, there;
    uint64_t            hour, number;
    llm_audit_record_t  r;

    if (llm_audit_number(k, &hour) != LLM_OK
        || llm_audit_number(v, &number) != LLM_OK)
    {
        return llm_audit_index_wrong(p, 0, "the index of hours has a "
                                     "malformed entry");
    }

    if ((int64_t) hour <= p->first_hour) {
        return number > p->first && !p->pruned
               ? llm_audit_index_wrong(p, p->first, "the index of hours passes "
                                       "over it") : LLM_OK;
    }

    if (number <= p->base.number || number > p->last
        || llm_audit_is_bad(p, number) || llm_audit_is_bad(p, number - 1))
    {
        return LLM_OK;
    }

    rc = llm_audit_index_load(p, number, &r, &there);
    if (rc != LLM_OK) {
        return rc;
    }

    if (there && r.time / LLM_AUDIT_HOUR_MS == (int64_t) hour) {

        rc = llm_audit_index_load(p, number - 1, &r, &there);

        if (rc != LLM_OK || !there
            || r.time / LLM_AUDIT_HOUR_MS < (int64_t) hour)
        {
            return rc;
        }
    }

    return llm_audit_index_wrong(p, number, "the index of hours has it as the "
                                 "first of an hour, which it is not");
}


/* is it in the indexes? */

static int
llm_audit_look_record(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v)
{
    int                 rc;
    uint64_t            number;
    llm_audit_record_t  r;

    if (llm_audit_number(k, &number) != LLM_OK || number > p->last
        || llm_audit_is_bad(p, number)
        || llm_audit_unpack(v->mv_data, v->mv_size, &r) != LLM_OK)
    {
        return LLM_OK;
    }

    rc = llm_audit_has_hour(p, number, &r);

    if (rc == LLM_OK && r.type == LLM_AUDIT_OPEN
        && (r.flags & LLM_AUDIT_HAS_KEY))
    {
        rc = llm_audit_has_key(p, number, &r);
    }

    if (rc == LLM_OK && r.type == LLM_AUDIT_CLOSE
        && r.number > p->base.number && r.number >= p->first
        && !llm_audit_is_bad(p, r.number))
    {
        rc = llm_audit_has_close(p, number, &r);
    }

    return rc;
}


static int
llm_audit_has_key(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    int      rc, there;
    uint8_t  key[LLM_AUDIT_ID + 8];
    MDB_val  v;

    memcpy(key, r->key, LLM_AUDIT_ID);
    llm_be_put(key + LLM_AUDIT_ID, number, 8);

    rc = llm_audit_index_get(p, p->a->shared->keyed, key, sizeof(key), &v,
                             &there);

    return rc != LLM_OK || there
           ? rc : llm_audit_index_wrong(p, number, "the index of keys does "
                                        "not have it");
}


static int
llm_audit_has_close(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    int       rc, there;
    uint8_t   key[8];
    MDB_val   v;
    uint64_t  close;

    llm_be_put(key, r->number, 8);

    rc = llm_audit_index_get(p, p->a->shared->closes, key, sizeof(key), &v,
                             &there);

    if (rc != LLM_OK
        || (there && llm_audit_number(&v, &close) == LLM_OK
            && close == number))
    {
        return rc;
    }

    return llm_audit_index_wrong(p, r->number, "its closing record is not in "
                                 "the index");
}


static int
llm_audit_has_hour(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    int                  rc, there;
    uint8_t              key[8];
    MDB_val              v;
    int64_t              hour;
    uint64_t             first;
    llm_audit_record_t   before;

    hour = r->time / LLM_AUDIT_HOUR_MS;

    if (number <= p->base.number + 1 || hour <= p->first_hour
        || llm_audit_is_bad(p, number - 1))
    {
        return LLM_OK;
    }

    rc = llm_audit_index_load(p, number - 1, &before, &there);

    if (rc != LLM_OK || !there || before.time / LLM_AUDIT_HOUR_MS == hour) {
        return rc;
    }

    llm_be_put(key, (uint64_t) hour, 8);

    rc = llm_audit_index_get(p, p->a->shared->hours, key, sizeof(key), &v,
                             &there);

    if (rc != LLM_OK
        || (there && llm_audit_number(&v, &first) == LLM_OK
            && first == number))
    {
        return rc;
    }

    return llm_audit_index_wrong(p, number, "the index of hours does not have "
                                 "it, the first of its hour");
}


static int
llm_audit_index_get(llm_audit_proof_t *p, MDB_dbi dbi, const void *key,
    size_t len, MDB_val *v, int *there)
{
    int      rc;
    MDB_val  k;

    k.mv_data = (void *) key;
    k.mv_size = len;

    rc = mdb_get(p->txn, dbi, &k, v);
    *there = (rc == 0);

    return rc == 0 || rc == MDB_NOTFOUND
           ? LLM_OK : llm_audit_error(p->a, rc, "index", p->err, p->errlen);
}


int
llm_audit_index_load(llm_audit_proof_t *p, uint64_t number,
    llm_audit_record_t *r, int *there)
{
    int      rc;
    uint8_t  key[8];
    MDB_val  v;

    llm_be_put(key, number, 8);

    rc = llm_audit_index_get(p, p->a->shared->records, key, sizeof(key), &v,
                             there);

    if (rc == LLM_OK && *there
        && llm_audit_unpack(v.mv_data, v.mv_size, r) != LLM_OK)
    {
        *there = 0;
    }

    return rc;
}


/* of one record once */

int
llm_audit_index_wrong(llm_audit_proof_t *p, uint64_t number,
    const char *what)
{
    int64_t  good;

    good = p->good;
    p->good = 0;                    /* an index says nothing of times */

    llm_audit_tell(p, LLM_AUDIT_INDEX, number, "record %llu: %s",
                   (unsigned long long) number, what);

    p->good = good;
    llm_audit_bad(p, number, number);

    return p->n_bad >= LLM_AUDIT_TOLD_MAX || p->lost_track ? LLM_CANCELLED
                                                           : LLM_OK;
}
