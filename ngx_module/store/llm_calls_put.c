
/*
 * Copyright (C) nginx-llm contributors
 *
 * Usage and call records: written, read, and dropped when they are old.
 * Used by the thread whose handle it is.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_calls_int.h"


#define LLM_CALLS_DROP      4       /* records for each that is added */
#define LLM_CALLS_DROP_LOW  16      /* when the map is nearly full */


static int llm_calls_insert(llm_calls_t *c, uint8_t *key, MDB_val *v,
    char *err, size_t errlen);
static int llm_calls_last(llm_calls_t *c, const uint8_t *key, uint32_t *n);
static int llm_calls_old(llm_calls_t *c, uint64_t day);
static int llm_calls_day(llm_calls_t *c, const uint8_t *id, int64_t ms);
static int llm_calls_prune(llm_calls_t *c);
static int llm_calls_prune_day(llm_calls_t *c, MDB_cursor *cursor,
    const uint8_t *day, int *budget);


int
llm_calls_usage(llm_calls_t *c, const char *id, llm_spent_t *u, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;
    MDB_val   k, v;
    uint8_t   key[LLM_CALLS_ID];

    memset(u, 0, sizeof(llm_spent_t));

    rc = llm_calls_id(key, id, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_calls_read(c, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(txn, c->shared->usage, &k, &v);

    if (rc != 0) {
        rc = llm_calls_error(c, rc, "usage", err, errlen);

    } else if (llm_usage_unpack(v.mv_data, v.mv_size, u) != LLM_OK) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s: usage of %s: malformed record", c->shared->path,
                     id);
    }

    llm_calls_read_end(c, txn);

    return rc;
}


int
llm_calls_put_usage(llm_calls_t *c, const char *id, const llm_spent_t *u,
    char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;
    uint8_t  key[LLM_CALLS_ID], data[LLM_USAGE_SIZE];

    if (c->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: usage: nothing has begun", c->shared->path);
    }

    rc = llm_calls_id(key, id, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_usage_pack(data, u);

    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = data;
    v.mv_size = sizeof(data);

    rc = mdb_put(c->wtxn, c->shared->usage, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "usage", err, errlen);
}


int
llm_calls_put(llm_calls_t *c, const llm_call_t *call, char *err,
    size_t errlen)
{
    int       rc;
    MDB_val   v;
    uint8_t   key[LLM_CALL_KEY], data[LLM_CALL_MAX];
    uint64_t  cost;

    if (c->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: call: nothing has begun", c->shared->path);
    }

    if (call->time < 0 || call->time >= (int64_t) 1 << 48) {
        return llm_err(err, errlen, LLM_INVALID, "%s: call: malformed time",
                       c->shared->path);
    }

    rc = llm_calls_id(key, call->id, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    cost = LLM_CALLS_COST;

    if (c->day_known && memcmp(c->day + 4, key, LLM_CALLS_ID) == 0) {
        cost = LLM_CALLS_NEXT;
    }

    rc = llm_calls_room(c, cost, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_calls_prune(c);
    if (rc != 0) {
        return llm_calls_error(c, rc, "drop", err, errlen);
    }

    llm_be_put(key + LLM_CALLS_ID, (uint64_t) call->time, 6);

    v.mv_data = data;
    v.mv_size = llm_call_pack(data, call);

    rc = llm_calls_insert(c, key, &v, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_calls_day(c, key, call->time);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "call", err, errlen);
}


/* under the first number that is free in this millisecond */

static int
llm_calls_insert(llm_calls_t *c, uint8_t *key, MDB_val *v, char *err,
    size_t errlen)
{
    int       rc;
    MDB_val   k, data;
    uint32_t  n;

    rc = 0;
    n = 0;

    /* LMDB frees it with the transaction */

    if (c->cursor == NULL) {
        rc = mdb_cursor_open(c->wtxn, c->shared->calls, &c->cursor);
    }

    if (c->last_known && memcmp(key, c->last, LLM_CALL_KEY - 2) == 0) {
        n = (uint32_t) llm_be_get(c->last + LLM_CALL_KEY - 2, 2);
        n += (n < 65535);
    }

    llm_be_put(key + LLM_CALL_KEY - 2, n, 2);

    k.mv_data = key;
    k.mv_size = LLM_CALL_KEY;
    data = *v;

    if (rc == 0) {
        rc = mdb_cursor_put(c->cursor, &k, &data, MDB_NOOVERWRITE);
    }

    if (rc == MDB_KEYEXIST) {
        rc = llm_calls_last(c, key, &n);

        if (rc == 0 && n == 65535) {
            return llm_err(err, errlen, LLM_AGAIN,
                           "%s: call: 65536 calls of a key in a millisecond",
                           c->shared->path);
        }

        if (rc == 0) {
            llm_be_put(key + LLM_CALL_KEY - 2, n + 1, 2);
            data = *v;
            rc = mdb_cursor_put(c->cursor, &k, &data, MDB_NOOVERWRITE);
        }
    }

    if (rc != 0) {
        return llm_calls_error(c, rc, "call", err, errlen);
    }

    memcpy(c->last, key, LLM_CALL_KEY);
    c->last_known = 1;

    return LLM_OK;
}


/* the last number in use in this millisecond; one is */

static int
llm_calls_last(llm_calls_t *c, const uint8_t *key, uint32_t *n)
{
    int          rc;
    MDB_val      k, v;
    uint8_t      end[LLM_CALL_KEY];
    MDB_cursor  *cursor;

    rc = mdb_cursor_open(c->wtxn, c->shared->calls, &cursor);
    if (rc != 0) {
        return rc;
    }

    memcpy(end, key, LLM_CALL_KEY - 2);
    memset(end + LLM_CALL_KEY - 2, 0xff, 2);

    k.mv_data = end;
    k.mv_size = LLM_CALL_KEY;

    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

    if (rc == 0 && k.mv_size == LLM_CALL_KEY
        && memcmp(k.mv_data, end, LLM_CALL_KEY) == 0)
    {
        *n = 65535;

    } else if (rc == 0 || rc == MDB_NOTFOUND) {
        rc = mdb_cursor_get(cursor, &k, &v,
                            rc == 0 ? MDB_PREV : MDB_LAST);
        *n = 0;

        /* a record with another length of key is not ours */

        if (rc == 0 && k.mv_size == LLM_CALL_KEY
            && memcmp(k.mv_data, end, LLM_CALL_KEY - 2) == 0)
        {
            *n = (uint32_t) llm_be_get((uint8_t *) k.mv_data
                                       + LLM_CALL_KEY - 2, 2);
        }
    }

    mdb_cursor_close(cursor);

    return rc;
}


/* says that the key has calls of that day */

static int
llm_calls_day(llm_calls_t *c, const uint8_t *id, int64_t ms)
{
    int       rc;
    MDB_val   k, v;
    uint8_t   day[LLM_DAY_KEY];
    uint64_t  number;

    number = (uint64_t) (ms / LLM_DAY_MS);

    llm_be_put(day, number, 4);
    memcpy(day + 4, id, LLM_CALLS_ID);

    if (c->day_known && memcmp(day, c->day, LLM_DAY_KEY) == 0) {
        return 0;
    }

    k.mv_data = day;
    k.mv_size = LLM_DAY_KEY;
    v.mv_data = "";
    v.mv_size = 0;

    rc = mdb_put(c->wtxn, c->shared->days, &k, &v, MDB_NOOVERWRITE);

    if (rc == 0 || rc == MDB_KEYEXIST) {
        memcpy(c->day, day, LLM_DAY_KEY);
        c->day_known = 1;
        rc = 0;

        if (llm_calls_old(c, number)) {
            c->pruned = 0;
        }
    }

    return rc;
}


static int
llm_calls_old(llm_calls_t *c, uint64_t day)
{
    return day + LLM_CALLS_DAYS < c->today;
}


/*
 * Records lie by key, the old ones of all keys everywhere.  The days say
 * which keys have calls of which day, one small entry for both, so the oldest
 * records are those of the first entry: they are one range, and the entry
 * goes with the last of them.  It does not matter which key calls.
 *
 * Each put drops more than it adds as long as there is something old, so the
 * table holds no more than what was put in LLM_CALLS_DAYS days and the one
 * that is not over yet.  When the map is nearly full, the oldest day goes
 * though its time has not come: new calls say more than old ones.
 */

static int
llm_calls_prune(llm_calls_t *c)
{
    int          budget, rc;
    MDB_val      k, v;
    uint8_t      day[LLM_DAY_KEY];
    MDB_cursor  *cursor;

    if (c->pruned && !c->low) {
        return 0;
    }

    rc = mdb_cursor_open(c->wtxn, c->shared->days, &cursor);
    if (rc != 0) {
        return rc;
    }

    budget = c->low ? LLM_CALLS_DROP_LOW : LLM_CALLS_DROP;

    while (budget > 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
        if (rc != 0) {
            break;
        }

        budget--;

        if (k.mv_size != LLM_DAY_KEY) {
            rc = mdb_cursor_del(cursor, 0);

            if (rc != 0) {
                break;
            }

            continue;
        }

        memcpy(day, k.mv_data, LLM_DAY_KEY);

        if (!c->low && !llm_calls_old(c, llm_be_get(day, 4))) {
            c->pruned = 1;
            break;
        }

        rc = llm_calls_prune_day(c, cursor, day, &budget);
        if (rc != 0) {
            break;
        }
    }

    mdb_cursor_close(cursor);

    return rc == MDB_NOTFOUND ? 0 : rc;
}


/* days: at the entry that is day */

static int
llm_calls_prune_day(llm_calls_t *c, MDB_cursor *days, const uint8_t *day,
    int *budget)
{
    int          rc;
    MDB_val      k, v;
    uint8_t      first[LLM_CALL_KEY], end[LLM_CALL_KEY];
    uint64_t     ms;
    MDB_cursor  *cursor;

    ms = llm_be_get(day, 4) * (uint64_t) LLM_DAY_MS;

    memcpy(first, day + 4, LLM_CALLS_ID);
    llm_be_put(first + LLM_CALLS_ID, ms, 6);
    llm_be_put(first + LLM_CALL_KEY - 2, 0, 2);

    memcpy(end, first, LLM_CALL_KEY);
    llm_be_put(end + LLM_CALLS_ID, ms + (uint64_t) LLM_DAY_MS, 6);

    /* its place may go */

    if (c->cursor != NULL) {
        mdb_cursor_close(c->cursor);
        c->cursor = NULL;
    }

    rc = mdb_cursor_open(c->wtxn, c->shared->calls, &cursor);
    if (rc != 0) {
        return rc;
    }

    k.mv_data = first;
    k.mv_size = LLM_CALL_KEY;

    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

    while (rc == 0 && memcmp(k.mv_data, end,
                             k.mv_size < LLM_CALL_KEY ? k.mv_size
                                                      : LLM_CALL_KEY) < 0)
    {
        if (*budget == 0) {
            mdb_cursor_close(cursor);
            return 0;
        }

        --*budget;
        rc = mdb_cursor_del(cursor, 0);

        if (rc == 0) {
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        }
    }

    mdb_cursor_close(cursor);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return rc;
    }

    c->day_known = 0;

    return mdb_cursor_del(days, 0);
}
