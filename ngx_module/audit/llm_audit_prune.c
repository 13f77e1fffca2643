
/*
 * Copyright (C) nginx-llm contributors
 *
 * Retention: the oldest records go, with what the indexes say of them and
 * their contents.  Each transaction drops some thousand, says so in a record,
 * and moves the base, so that the rest of the chain can be checked after any
 * of them.  Other writers come between.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_PRUNE_RECORDS  2000     /* in a transaction */
#define LLM_PRUNE_FEW      100      /* when there is little room */
#define LLM_PRUNE_HOUR     ((int64_t) 3600000)
#define LLM_PRUNE_PAUSE    2000000  /* ns between transactions */


static int llm_audit_prune_some(llm_audit_t *a, int64_t before, uint64_t max,
    uint64_t *n, char *err, size_t errlen);
static int llm_audit_prune_records(llm_audit_t *a, int64_t before,
    uint64_t max, llm_audit_mark_t *base, uint64_t *n, char *err,
    size_t errlen);
static int llm_audit_prune_one(llm_audit_t *a, uint64_t number,
    const llm_audit_record_t *r, char *err, size_t errlen);
static int llm_audit_prune_content(llm_audit_t *a, uint64_t number, char *err,
    size_t errlen);
static int llm_audit_prune_hours(llm_audit_t *a,
    const llm_audit_mark_t *base, char *err, size_t errlen);
static int llm_audit_del(llm_audit_t *a, MDB_dbi dbi, const void *key,
    size_t len, char *err, size_t errlen);


int
llm_audit_prune(llm_audit_t *a, int64_t now, int64_t keep, uint64_t *dropped,
    char *err, size_t errlen)
{
    int              rc;
    uint64_t         all, max, n;
    struct timespec  pause;

    all = 0;
    max = LLM_PRUNE_RECORDS;

    pause.tv_sec = 0;
    pause.tv_nsec = LLM_PRUNE_PAUSE;

    for ( ;; ) {
        n = 0;
        rc = llm_audit_prune_some(a, (now - keep) * 1000, max, &n, err,
                                  errlen);

        if (rc == LLM_FULL && max != LLM_PRUNE_FEW) {
            max = LLM_PRUNE_FEW;
            continue;
        }

        all += (rc == LLM_OK) ? n : 0;

        if (rc != LLM_OK || n < max) {
            break;
        }

        /* the lock of writers is not a queue */

        (void) nanosleep(&pause, NULL);
    }

    if (dropped != NULL) {
        *dropped = all;
    }

    return rc;
}


static int
llm_audit_prune_some(llm_audit_t *a, int64_t before, uint64_t max,
    uint64_t *n, char *err, size_t errlen)
{
    int                 rc;
    llm_audit_mark_t    base;
    llm_audit_record_t  r;

    rc = llm_audit_begin(a, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    a->reserve = 0;

    rc = llm_audit_mark_get(a, a->wtxn, LLM_AUDIT_MARK_BASE, &base, err,
                            errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_prune_records(a, before, max, &base, n, err,
                                     errlen);
    }

    if (rc != LLM_OK || *n == 0) {
        llm_audit_abort(a);
        return rc;
    }

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_PRUNED;
    r.time = r.wall = llm_audit_now(a->shared);
    r.mono = llm_audit_mono();
    r.first = base.number + 1;
    r.count = *n;
    r.until = base.time;
    memcpy(r.hash, base.hash, LLM_AUDIT_HASH);

    rc = llm_audit_prune_hours(a, &base, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_mark_put(a, LLM_AUDIT_MARK_BASE, &base, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_append(a, &r, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_audit_abort(a);
        return rc;
    }

    return llm_audit_commit(a, err, errlen);
}


/* up to the last signed one, which stays: base is the last that went */

static int
llm_audit_prune_records(llm_audit_t *a, int64_t before, uint64_t max,
    llm_audit_mark_t *base, uint64_t *n, char *err, size_t errlen)
{
    int                 rc;
    MDB_val             v;
    uint64_t            number;
    llm_audit_record_t  r;

    for (number = base->number + 1;
         number < a->mark.signed_to && *n < max;
         number++)
    {
        rc = llm_audit_get(a, a->wtxn, number, &v, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        if (llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK
            || memcmp(r.previous, base->hash, LLM_AUDIT_HASH) != 0)
        {
            return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: "
                           "damaged, it is kept", a->shared->path,
                           (unsigned long long) number);
        }

        if (r.time >= before) {
            break;
        }

        llm_audit_hash(number, v.mv_data, v.mv_size, base->hash);
        base->number = number;
        base->time = r.time;

        rc = llm_audit_room(a, LLM_AUDIT_COST, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_audit_prune_one(a, number, &r, err, errlen);
        }

        if (rc != LLM_OK) {
            return rc;
        }

        ++*n;
    }

    return LLM_OK;
}


/* r lies in the record: it goes last */

static int
llm_audit_prune_one(llm_audit_t *a, uint64_t number,
    const llm_audit_record_t *r, char *err, size_t errlen)
{
    int               rc;
    uint8_t           key[LLM_AUDIT_ID + 8];
    llm_audit_env_t  *e;

    e = a->shared;
    rc = LLM_OK;

    llm_be_put(key + LLM_AUDIT_ID, number, 8);

    if (r->type == LLM_AUDIT_OPEN) {
        rc = llm_audit_del(a, e->closes, key + LLM_AUDIT_ID, 8, err, errlen);

        if (rc == LLM_OK && (r->flags & LLM_AUDIT_HAS_KEY)) {
            memcpy(key, r->key, LLM_AUDIT_ID);
            rc = llm_audit_del(a, e->keyed, key, sizeof(key), err, errlen);
        }
    }

    if (rc == LLM_OK && (r->flags & LLM_AUDIT_HAS_CONTENT)) {
        rc = llm_audit_prune_content(a, number, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_del(a, e->records, key + LLM_AUDIT_ID, 8, err, errlen);
    }

    return rc;
}


static int
llm_audit_prune_content(llm_audit_t *a, uint64_t number, char *err,
    size_t errlen)
{
    int          rc;
    uint8_t      key[8];
    MDB_val      k, v;
    MDB_cursor  *cursor;

    llm_be_put(key, number, 8);

    rc = mdb_cursor_open(a->wtxn, a->shared->content, &cursor);
    if (rc != 0) {
        return llm_audit_error(a, rc, "prune", err, errlen);
    }

    for ( ;; ) {
        k.mv_data = key;
        k.mv_size = sizeof(key);

        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

        if (rc != 0 || k.mv_size < 8 || memcmp(k.mv_data, key, 8) != 0) {
            break;
        }

        rc = mdb_cursor_del(cursor, 0);

        if (rc != 0) {
            break;
        }
    }

    mdb_cursor_close(cursor);

    return rc == 0 || rc == MDB_NOTFOUND
           ? LLM_OK : llm_audit_error(a, rc, "prune", err, errlen);
}


/* hours that have no record any more go; the first that stays begins at the
 * first record that stays */

static int
llm_audit_prune_hours(llm_audit_t *a, const llm_audit_mark_t *base, char *err,
    size_t errlen)
{
    int                 rc;
    uint8_t             key[8], value[8];
    int64_t             hour;
    MDB_val             k, v;
    MDB_cursor         *cursor;
    llm_audit_record_t  r;

    rc = llm_audit_get(a, a->wtxn, base->number + 1, &v, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK) {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu: damaged",
                       a->shared->path,
                       (unsigned long long) base->number + 1);
    }

    hour = r.time / LLM_PRUNE_HOUR;

    rc = mdb_cursor_open(a->wtxn, a->shared->hours, &cursor);
    if (rc != 0) {
        return llm_audit_error(a, rc, "prune", err, errlen);
    }

    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST)) == 0) {

        if (k.mv_size != 8 || (int64_t) llm_be_get(k.mv_data, 8) >= hour) {
            break;
        }

        rc = mdb_cursor_del(cursor, 0);

        if (rc != 0) {
            break;
        }
    }

    mdb_cursor_close(cursor);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_error(a, rc, "prune", err, errlen);
    }

    llm_be_put(key, (uint64_t) hour, 8);
    llm_be_put(value, base->number + 1, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = value;
    v.mv_size = sizeof(value);

    rc = mdb_put(a->wtxn, a->shared->hours, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "prune", err, errlen);
}


/* what is not there is fine */

static int
llm_audit_del(llm_audit_t *a, MDB_dbi dbi, const void *key, size_t len,
    char *err, size_t errlen)
{
    int      rc;
    MDB_val  k;

    k.mv_data = (void *) key;
    k.mv_size = len;

    rc = mdb_del(a->wtxn, dbi, &k, NULL);

    return rc == 0 || rc == MDB_NOTFOUND
           ? LLM_OK : llm_audit_error(a, rc, "prune", err, errlen);
}
