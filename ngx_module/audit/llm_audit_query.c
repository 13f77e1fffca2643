
/*
 * Copyright (C) nginx-llm contributors
 *
 * Queries of the audit trail.  By key: the numbers that the index has for it.
 * Else record by record.  A time is an hour's first number, and the exact time
 * is looked at record by record.  State is on the caller's stack.
 *
 * A reader keeps LMDB from using pages again that were freed since it began,
 * so a long query gives it up now and then and goes on from the number where
 * it was: what was written meanwhile changes nothing that it has to tell.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>

#include "llm_audit_read.h"


#define LLM_AUDIT_STRETCH  8192     /* records that one reader looks at */
#define LLM_AUDIT_EACH     64       /* records that a call costs as much as */

/* an id's time is of arrival; its records come when the body was there, at the
 * latest when it is answered */
#define LLM_AUDIT_BEFORE   LLM_AUDIT_HOUR_MS
#define LLM_AUDIT_AFTER    (24 * LLM_AUDIT_HOUR_MS)


typedef struct {
    llm_audit_match_t   match;
    uint64_t            low;        /* numbers that are left: from low ... */
    uint64_t            high;       /* ... to high, which is not in it */
    MDB_cursor         *cursor;     /* of keyed, or of records */
    int                 placed;     /* it stands on the last number */
    int                 end;        /* there is none left */
    uint64_t            number;     /* that was looked at last */
    uint64_t            looked;
    uint32_t            told;
    int               (*each)(void *data, const llm_audit_call_t *call);
    void               *data;
} llm_audit_walk_t;


static int llm_audit_walk(llm_audit_walk_t *w, int64_t since, int64_t until,
    uint64_t *next);
static int llm_audit_walk_bounds(llm_audit_walk_t *w, int64_t since,
    int64_t until);
static int llm_audit_walk_stretch(llm_audit_walk_t *w);
static int llm_audit_walk_more(llm_audit_walk_t *w);
static int llm_audit_walk_next(llm_audit_walk_t *w, MDB_val *v);
static int llm_audit_walk_missing(llm_audit_walk_t *w, uint64_t number);
static int llm_audit_walk_seek(llm_audit_walk_t *w, MDB_val *k, MDB_val *v);
static int llm_audit_walk_odd(const llm_audit_walk_t *w, const MDB_val *k);
static int llm_audit_walk_here(llm_audit_walk_t *w, const MDB_val *k,
    uint64_t *number);
static int llm_audit_request_time(const char *request, int64_t *time);


int
llm_audit_query(llm_audit_t *a, const llm_audit_query_t *q,
    int (*each)(void *data, const llm_audit_call_t *call), void *data,
    uint64_t *next, char *err, size_t errlen)
{
    int                rc;
    int64_t            time;
    llm_audit_walk_t  *w;

    *next = 0;

    w = calloc(1, sizeof(llm_audit_walk_t));
    if (w == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: query: no memory",
                       a->shared->path);
    }

    w->each = each;
    w->data = data;

    rc = llm_audit_match_init(&w->match, a, q, err, errlen);

    /* where an id's time says nothing of its records, all are looked at */

    if (rc == LLM_OK && q->request != NULL && q->since == 0 && q->until == 0
        && q->before == 0 && llm_audit_request_time(q->request, &time))
    {
        rc = llm_audit_walk(w, time - LLM_AUDIT_BEFORE,
                            time + LLM_AUDIT_AFTER, next);

        if (rc != LLM_OK || w->told != 0) {
            goto done;
        }
    }

    if (rc == LLM_OK) {
        rc = llm_audit_walk(w, q->since, q->until, next);
    }

done:

    llm_audit_match_done(&w->match);
    free(w);

    return rc;
}


static int
llm_audit_walk(llm_audit_walk_t *w, int64_t since, int64_t until,
    uint64_t *next)
{
    int           rc;
    MDB_dbi       dbi;
    llm_audit_t  *a = w->match.a;

    w->number = 0;
    w->looked = 0;
    w->end = 0;

    do {
        rc = llm_audit_read(a, &w->match.txn, w->match.err, w->match.errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        if (w->number == 0) {
            rc = llm_audit_walk_bounds(w, since, until);
        }

        if (rc == LLM_OK) {
            dbi = w->match.q->key != NULL ? a->shared->keyed
                                          : a->shared->records;

            rc = mdb_cursor_open(w->match.txn, dbi, &w->cursor);

            if (rc != 0) {
                rc = llm_audit_error(a, rc, "query", w->match.err,
                                     w->match.errlen);
            } else {
                w->placed = 0;
                rc = llm_audit_walk_stretch(w);
                mdb_cursor_close(w->cursor);
            }
        }

        llm_audit_read_end(a, w->match.txn);

    } while (rc == LLM_OK && llm_audit_walk_more(w));

    if (rc == LLM_OK && !w->end) {
        *next = w->number;
    }

    return rc;
}


/* what is left after limit or look may be nothing: then it is the end */

static int
llm_audit_walk_more(llm_audit_walk_t *w)
{
    const llm_audit_query_t  *q = w->match.q;

    return !w->end && (q->limit == 0 || w->told < q->limit)
           && (q->look == 0 || w->looked < q->look);
}


static int
llm_audit_walk_bounds(llm_audit_walk_t *w, int64_t since, int64_t until)
{
    int                       rc;
    uint64_t                  first, last, number;
    llm_audit_match_t        *m = &w->match;
    const llm_audit_query_t  *q = m->q;

    rc = llm_audit_range(m->a, m->txn, &first, &last, NULL, m->err,
                         m->errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    w->low = first;
    w->high = last + 1;

    if (since > 0) {
        rc = llm_audit_hour(m->a, m->txn, since / LLM_AUDIT_HOUR_MS, &number,
                            m->err, m->errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        number = number != 0 ? number : w->high;
        w->low = number > w->low ? number : w->low;
    }

    if (until > 0) {
        rc = llm_audit_hour(m->a, m->txn,
                            (until + LLM_AUDIT_HOUR_MS - 1)
                            / LLM_AUDIT_HOUR_MS,
                            &number, m->err, m->errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        w->high = number != 0 && number < w->high ? number : w->high;
    }

    if (q->before != 0 && q->oldest && q->before >= w->low) {
        w->low = q->before < w->high ? q->before + 1 : w->high;

    } else if (q->before != 0 && !q->oldest && q->before < w->high) {
        w->high = q->before;
    }

    w->end = w->low >= w->high;

    return LLM_OK;
}


/* with one reader */

static int
llm_audit_walk_stretch(llm_audit_walk_t *w)
{
    int                       fits, rc;
    MDB_val                   v;
    unsigned                  spent;
    const llm_audit_query_t  *q = w->match.q;

    for (spent = 0; !w->end && spent < LLM_AUDIT_STRETCH; spent++) {

        rc = llm_audit_walk_next(w, &v);
        if (rc != LLM_OK) {
            return rc;
        }

        if (w->end) {
            break;
        }

        w->looked++;

        if (q->key != NULL || llm_audit_match_call(&v)) {

            rc = llm_audit_match(&w->match, w->number, &v, &fits);
            if (rc != LLM_OK) {
                return rc;
            }

            if (fits) {
                spent += LLM_AUDIT_EACH;
                w->told++;

                rc = w->each(w->data, &w->match.call);
                if (rc != LLM_OK) {
                    return rc;
                }
            }
        }

        w->end = q->oldest ? w->low >= w->high : w->high <= w->low;

        if (!llm_audit_walk_more(w)) {
            break;
        }
    }

    return LLM_OK;
}


/* the next number, and its record; or w->end */

static int
llm_audit_walk_next(llm_audit_walk_t *w, MDB_val *v)
{
    int                again, rc;
    MDB_val            k;
    uint8_t            be[8];
    uint64_t           number;
    llm_audit_match_t *m = &w->match;

    again = w->placed;

    if (w->placed) {
        rc = mdb_cursor_get(w->cursor, &k, v,
                            m->q->oldest ? MDB_NEXT : MDB_PREV);
    } else {
        rc = llm_audit_walk_seek(w, &k, v);
        w->placed = 1;
    }

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_error(m->a, rc, "query", m->err, m->errlen);
    }

    if (rc == MDB_NOTFOUND || !llm_audit_walk_here(w, &k, &number)) {

        /* older ones may have been pruned; else numbers go on to the end, and
         * what stands in between would hide them */

        if (rc == 0 ? llm_audit_walk_odd(w, &k)
                    : m->q->key == NULL && m->q->oldest)
        {
            return llm_audit_walk_missing(w, m->q->oldest ? w->low
                                                          : w->high - 1);
        }

        w->end = 1;
        return LLM_OK;
    }

    /* numbers have no holes; what is older may be pruned meanwhile */

    if (m->q->key == NULL && (again || !m->q->oldest)
        && number != (m->q->oldest ? w->low : w->high - 1))
    {
        return llm_audit_walk_missing(w, m->q->oldest ? w->low : w->high - 1);
    }

    w->number = number;

    if (m->q->oldest) {
        w->low = number + 1;
    } else {
        w->high = number;
    }

    if (m->q->key == NULL) {
        return LLM_OK;
    }

    llm_be_put(be, number, 8);
    k.mv_data = be;
    k.mv_size = 8;

    rc = mdb_get(m->txn, m->a->shared->records, &k, v);

    if (rc == MDB_NOTFOUND) {
        return llm_audit_walk_missing(w, number);
    }

    return rc == 0 ? LLM_OK
                   : llm_audit_error(m->a, rc, "query", m->err, m->errlen);
}


static int
llm_audit_walk_missing(llm_audit_walk_t *w, uint64_t number)
{
    return llm_err(w->match.err, w->match.errlen, LLM_INVALID, "%s: record "
                   "%llu is missing (llmctl audit verify)",
                   w->match.a->shared->path, (unsigned long long) number);
}


/* on the first one from low on, or the last one below high; LMDB's code */

static int
llm_audit_walk_seek(llm_audit_walk_t *w, MDB_val *k, MDB_val *v)
{
    int      rc;
    size_t   n;
    uint8_t  buf[LLM_AUDIT_ID + 8];

    n = 0;

    if (w->match.q->key != NULL) {
        memcpy(buf, w->match.key, LLM_AUDIT_ID);
        n = LLM_AUDIT_ID;
    }

    llm_be_put(buf + n, w->match.q->oldest ? w->low : w->high, 8);
    k->mv_data = buf;
    k->mv_size = n + 8;

    rc = mdb_cursor_get(w->cursor, k, v, MDB_SET_RANGE);

    if (w->match.q->oldest) {
        return rc;
    }

    if (rc == MDB_NOTFOUND) {
        return mdb_cursor_get(w->cursor, k, v, MDB_LAST);
    }

    return rc == 0 ? mdb_cursor_get(w->cursor, k, v, MDB_PREV) : rc;
}


/* 1: it can't be there, where more is to come */

static int
llm_audit_walk_odd(const llm_audit_walk_t *w, const MDB_val *k)
{
    return w->match.q->key == NULL
           || (k->mv_size != LLM_AUDIT_ID + 8 && k->mv_size >= LLM_AUDIT_ID
               && memcmp(k->mv_data, w->match.key, LLM_AUDIT_ID) == 0);
}


/* 0: it is beyond what is asked */

static int
llm_audit_walk_here(llm_audit_walk_t *w, const MDB_val *k, uint64_t *number)
{
    MDB_val  n;

    n = *k;

    if (w->match.q->key != NULL) {
        if (k->mv_size != LLM_AUDIT_ID + 8
            || memcmp(k->mv_data, w->match.key, LLM_AUDIT_ID) != 0)
        {
            return 0;
        }

        n.mv_data = (uint8_t *) k->mv_data + LLM_AUDIT_ID;
        n.mv_size = 8;
    }

    return llm_audit_number(&n, number) == LLM_OK && *number >= w->low
           && *number < w->high;
}


/* 0: it is no whole id that begins with a time of this millennium */

static int
llm_audit_request_time(const char *request, int64_t *time)
{
    char  ms[13];

    if (strlen(request) != 32) {
        return 0;
    }

    memcpy(ms, request, 12);
    ms[12] = '\0';
    *time = strtoll(ms, NULL, 16);

    return *time > 946684800000 && *time < 32503680000000;
}
