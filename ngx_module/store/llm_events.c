
/*
 * Copyright (C) nginx-llm contributors
 *
 * Events that wait for their delivery, in calls.mdb.  Each call is one
 * transaction.  Used by the thread whose handle it is.
 *
 * A record, version 1, little-endian:
 *
 *      0   4   version
 *      4   4   tries
 *      8   8   due, unix seconds
 *     16       JSON
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <string.h>

#include "llm_calls_int.h"


#define LLM_EVENT_VERSION  1
#define LLM_EVENT_HEAD     16


typedef struct {
    uint64_t        number;
    uint32_t        tries;
    int64_t         due;
    const char     *json;           /* in the map */
    size_t          len;
} llm_calls_event_t;


static int llm_event_drop(llm_calls_t *c);
static int llm_event_number(llm_calls_t *c, uint64_t *number);
static int llm_event_write(llm_calls_t *c, uint64_t number, uint32_t tries,
    int64_t due, const char *json, size_t len);
static int llm_event_find(llm_calls_t *c, MDB_txn *txn, int64_t now,
    llm_calls_event_t *e, int64_t *due);
static int llm_event_take(llm_calls_t *c, int64_t now, int64_t until,
    llm_calls_event_t *e, llm_buf_t *json, int64_t *due, char *err,
    size_t errlen);
static int llm_event_unpack(const MDB_val *k, const MDB_val *v,
    llm_calls_event_t *e);


int
llm_event_put(llm_calls_t *c, const char *json, char *err, size_t errlen)
{
    int       rc;
    size_t    len;
    uint64_t  number;
    MDB_stat  stat;

    len = strnlen(json, LLM_EVENT_MAX + 1);

    if (len == 0 || len > LLM_EVENT_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: event: must have 1 to %d bytes",
                       c->shared->path, LLM_EVENT_MAX);
    }

    rc = llm_calls_begin(c, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_stat(c->wtxn, c->shared->events, &stat);

    /* nobody takes them, or nobody can: the oldest has waited in vain */

    if (rc == 0 && stat.ms_entries >= LLM_EVENTS) {
        rc = llm_event_drop(c);
    }

    if (rc == 0) {
        rc = llm_calls_room(c, LLM_CALLS_COST, err, errlen);

        if (rc != LLM_OK) {
            llm_calls_abort(c);
            return rc;
        }

        rc = llm_event_number(c, &number);

        if (rc == 0) {
            rc = llm_event_write(c, number, 0, 0, json, len);
        }
    }

    if (rc != 0) {
        llm_calls_abort(c);
        return llm_calls_error(c, rc, "event", err, errlen);
    }

    return llm_calls_commit(c, err, errlen);
}


static int
llm_event_drop(llm_calls_t *c)
{
    int          rc;
    MDB_val      k, v;
    MDB_cursor  *cursor;

    rc = mdb_cursor_open(c->wtxn, c->shared->events, &cursor);
    if (rc != 0) {
        return rc;
    }

    rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);

    if (rc == 0) {
        rc = mdb_cursor_del(cursor, 0);
    }

    mdb_cursor_close(cursor);

    return rc;
}


/*
 * The next one.  The last is written down, for a number that came again could
 * name another event than the one that a slow process is done with.
 */

static int
llm_event_number(llm_calls_t *c, uint64_t *number)
{
    int          rc;
    MDB_val      k, v;
    uint8_t      data[8];
    MDB_cursor  *cursor;

    *number = 0;

    rc = mdb_cursor_open(c->wtxn, c->shared->events, &cursor);
    if (rc != 0) {
        return rc;
    }

    rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);

    if (rc == 0 && k.mv_size == 8) {
        *number = llm_be_get(k.mv_data, 8);
    }

    mdb_cursor_close(cursor);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return rc;
    }

    k.mv_data = "event";
    k.mv_size = 5;

    rc = mdb_get(c->wtxn, c->shared->meta, &k, &v);

    if (rc == 0 && v.mv_size == 8 && llm_le_get(v.mv_data, 8) > *number) {
        *number = llm_le_get(v.mv_data, 8);
    }

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return rc;
    }

    ++*number;
    llm_le_put(data, *number, 8);

    v.mv_data = data;
    v.mv_size = 8;

    return mdb_put(c->wtxn, c->shared->meta, &k, &v, 0);
}


static int
llm_event_write(llm_calls_t *c, uint64_t number, uint32_t tries, int64_t due,
    const char *json, size_t len)
{
    MDB_val  k, v;
    uint8_t  key[8], data[LLM_EVENT_HEAD + LLM_EVENT_MAX];

    llm_be_put(key, number, 8);
    llm_le_put(data, LLM_EVENT_VERSION, 4);
    llm_le_put(data + 4, tries, 4);
    llm_le_put(data + 8, (uint64_t) due, 8);
    memcpy(data + LLM_EVENT_HEAD, json, len);

    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = data;
    v.mv_size = LLM_EVENT_HEAD + len;

    return mdb_put(c->wtxn, c->shared->events, &k, &v, 0);
}


int
llm_event_next(llm_calls_t *c, int64_t now, int64_t until, uint64_t *number,
    uint32_t *tries, llm_buf_t *json, int64_t *due, char *err, size_t errlen)
{
    int                 rc;
    MDB_txn            *txn;
    llm_calls_event_t   e;

    *number = 0;
    *tries = 0;
    *due = 0;
    json->len = 0;

    if (c->wtxn != NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: event: within a transaction", c->shared->path);
    }

    /* most often there is none, and that needs no commit */

    rc = llm_calls_read(c, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_event_find(c, txn, now, &e, due);
    llm_calls_read_end(c, txn);

    if (rc != 0) {
        return llm_calls_error(c, rc, "event", err, errlen);
    }

    rc = llm_event_take(c, now, until, &e, json, due, err, errlen);

    if (rc == LLM_OK) {
        *number = e.number;
        *tries = e.tries;
    }

    return rc;
}


int
llm_event_due(llm_calls_t *c, int64_t now)
{
    int                 rc;
    int64_t             due;
    MDB_txn            *txn;
    llm_calls_event_t   e;

    if (c->wtxn != NULL || llm_calls_read(c, &txn, NULL, 0) != LLM_OK) {
        return 0;
    }

    rc = llm_event_find(c, txn, now, &e, &due);
    llm_calls_read_end(c, txn);

    return rc == 0;
}


/* another process may have taken it meanwhile */

static int
llm_event_take(llm_calls_t *c, int64_t now, int64_t until,
    llm_calls_event_t *e, llm_buf_t *json, int64_t *due, char *err,
    size_t errlen)
{
    int  rc;

    rc = llm_calls_begin(c, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_event_find(c, c->wtxn, now, e, due);

    if (rc == 0 && llm_buf_append(json, e->json, e->len) != LLM_OK) {
        rc = ENOMEM;
    }

    if (rc == 0) {
        e->tries += (e->tries != UINT32_MAX);
        rc = llm_event_write(c, e->number, e->tries, until, json->data,
                             json->len);
    }

    if (rc != 0) {
        llm_calls_abort(c);
        return llm_calls_error(c, rc, "event", err, errlen);
    }

    return llm_calls_commit(c, err, errlen);
}


/*
 * The first that is due.  MDB_NOTFOUND: none; *due: the earliest time of the
 * others, 0: there are none.  A damaged one is due never, but dropped where
 * the transaction can.
 */

static int
llm_event_find(llm_calls_t *c, MDB_txn *txn, int64_t now, llm_calls_event_t *e,
    int64_t *due)
{
    int             rc;
    MDB_val         k, v;
    MDB_cursor     *cursor;
    MDB_cursor_op   op;

    *due = 0;

    rc = mdb_cursor_open(txn, c->shared->events, &cursor);
    if (rc != 0) {
        return rc;
    }

    for (op = MDB_FIRST; /* void */ ; op = MDB_NEXT) {
        rc = mdb_cursor_get(cursor, &k, &v, op);

        if (rc != 0) {
            break;
        }

        if (llm_event_unpack(&k, &v, e) != LLM_OK) {

            if (txn == c->wtxn) {
                rc = mdb_cursor_del(cursor, 0);

                if (rc != 0) {
                    break;
                }
            }

            continue;
        }

        if (e->due <= now) {
            break;
        }

        if (*due == 0 || e->due < *due) {
            *due = e->due;
        }
    }

    mdb_cursor_close(cursor);

    return rc;
}


static int
llm_event_unpack(const MDB_val *k, const MDB_val *v, llm_calls_event_t *e)
{
    const uint8_t  *p;

    p = v->mv_data;

    if (k->mv_size != 8 || v->mv_size <= LLM_EVENT_HEAD
        || v->mv_size > LLM_EVENT_HEAD + LLM_EVENT_MAX
        || llm_le_get(p, 4) != LLM_EVENT_VERSION)
    {
        return LLM_INVALID;
    }

    e->number = llm_be_get(k->mv_data, 8);
    e->tries = (uint32_t) llm_le_get(p + 4, 4);
    e->due = (int64_t) llm_le_get(p + 8, 8);
    e->json = (const char *) p + LLM_EVENT_HEAD;
    e->len = v->mv_size - LLM_EVENT_HEAD;

    return LLM_OK;
}


int
llm_event_done(llm_calls_t *c, uint64_t number, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k;
    uint8_t  key[8];

    rc = llm_calls_begin(c, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_be_put(key, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_del(c->wtxn, c->shared->events, &k, NULL);

    if (rc != 0) {
        llm_calls_abort(c);
        return llm_calls_error(c, rc, "event", err, errlen);
    }

    return llm_calls_commit(c, err, errlen);
}


int
llm_event_later(llm_calls_t *c, uint64_t number, int64_t when, char *err,
    size_t errlen)
{
    int                rc;
    char               json[LLM_EVENT_MAX];
    MDB_val            k, v;
    uint8_t            key[8];
    llm_calls_event_t  e;

    rc = llm_calls_begin(c, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_be_put(key, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(c->wtxn, c->shared->events, &k, &v);

    if (rc == 0 && llm_event_unpack(&k, &v, &e) != LLM_OK) {
        rc = MDB_NOTFOUND;
    }

    if (rc == 0) {

        /* a put moves what lies in the map */

        memcpy(json, e.json, e.len);
        rc = llm_event_write(c, number, e.tries, when, json, e.len);
    }

    if (rc != 0) {
        llm_calls_abort(c);
        return llm_calls_error(c, rc, "event", err, errlen);
    }

    return llm_calls_commit(c, err, errlen);
}
