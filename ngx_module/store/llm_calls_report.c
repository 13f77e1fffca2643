
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a key did: one pass over its call records, which are one range.  Four
 * tables of distinct values, bounded: clients choose most of them.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


#define LLM_TALLY_MAX   4096        /* distinct values known */
#define LLM_TALLY_SLOTS 8192
#define LLM_TALLY_BITS  65536

#define LLM_HOURS_24    ((int64_t) 86400 * 1000)


/* name lies in the map, for as long as the transaction does */

typedef struct {
    const char     *name;
    uint32_t        hash;
    uint8_t         len;
    uint64_t        count;
    int64_t         known;          /* first seen ever */
    int64_t         first;          /* in the report's time */
    int64_t         last;
} llm_tally_entry_t;


typedef struct {
    uint32_t            n;
    uint32_t            last;       /* the entry that was met last */
    uint64_t            more;       /* bits set */
    uint16_t            slot[LLM_TALLY_SLOTS];  /* entry + 1; 0: free */
    uint8_t             bits[LLM_TALLY_BITS / 8];
    llm_tally_entry_t   entry[LLM_TALLY_MAX];
} llm_tally_t;


typedef struct {
    uint64_t        seed;           /* nobody can aim at one slot */
    int64_t         since;
    int64_t         known;          /* the key's first call, 0: none */
    llm_tally_t     model;
    llm_tally_t     addr;
    llm_tally_t     agent;
    llm_tally_t     path;
} llm_tallies_t;


static int llm_report_pass(llm_calls_t *c, const uint8_t *id,
    llm_tallies_t *t, llm_report_t *r, char *err, size_t errlen);
static void llm_report_call(llm_tallies_t *t, llm_report_t *r,
    const llm_call_view_t *v, int64_t ms);
static llm_tally_entry_t *llm_tally_find(llm_tally_t *t, uint64_t seed,
    const char *name, uint8_t len, int64_t ms);
static void llm_tally_count(llm_tally_t *t, uint64_t seed, const char *name,
    uint8_t len, int64_t ms);
static uint32_t llm_tally_hash(uint64_t seed, const char *p, size_t len);
static void llm_tally_list(llm_tally_t *t, llm_calls_item_t *item, size_t *n,
    uint64_t *more);
static int llm_tally_order(const void *a, const void *b);
static void llm_report_unusual(llm_report_t *r, const llm_tallies_t *t);


int
llm_calls_report(llm_calls_t *c, const char *id, int64_t since,
    llm_report_t **report, char *err, size_t errlen)
{
    int             rc;
    uint8_t         key[LLM_CALLS_ID];
    llm_report_t   *r;
    llm_tallies_t  *t;

    *report = NULL;

    rc = llm_calls_id(key, id, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    r = calloc(1, sizeof(llm_report_t));
    t = calloc(1, sizeof(llm_tallies_t));

    if (r == NULL || t == NULL) {
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: report: no memory",
                     c->shared->path);
        goto done;
    }

    t->since = since;

    rc = llm_random(&t->seed, sizeof(t->seed), err, errlen);

    if (rc == LLM_OK) {
        rc = llm_report_pass(c, key, t, r, err, errlen);
    }

    if (rc == LLM_OK) {
        *report = r;
        r = NULL;
    }

done:

    free(t);
    free(r);

    return rc;
}


static int
llm_report_pass(llm_calls_t *c, const uint8_t *id, llm_tallies_t *t,
    llm_report_t *r, char *err, size_t errlen)
{
    int              rc;
    MDB_txn         *txn;
    MDB_val          k, val;
    MDB_cursor      *cursor;
    MDB_cursor_op    op;
    llm_call_view_t  v;

    rc = llm_calls_read(c, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_cursor_open(txn, c->shared->calls, &cursor);

    if (rc != 0) {
        llm_calls_read_end(c, txn);
        return llm_calls_error(c, rc, "report", err, errlen);
    }

    k.mv_data = (void *) id;
    k.mv_size = LLM_CALLS_ID;

    for (op = MDB_SET_RANGE; /* void */ ; op = MDB_NEXT) {
        rc = mdb_cursor_get(cursor, &k, &val, op);

        if (rc != 0 || k.mv_size < LLM_CALLS_ID
            || memcmp(k.mv_data, id, LLM_CALLS_ID) != 0)
        {
            break;
        }

        if (k.mv_size != LLM_CALL_KEY
            || llm_call_unpack(val.mv_data, val.mv_size, &v) != LLM_OK)
        {
            r->bad++;
            continue;
        }

        llm_report_call(t, r, &v,
                        (int64_t) llm_be_get((uint8_t *) k.mv_data
                                             + LLM_CALLS_ID, 6));
    }

    if (rc == 0 || rc == MDB_NOTFOUND) {
        rc = 0;

        llm_tally_list(&t->model, r->model, &r->n_model, &r->more_models);
        llm_tally_list(&t->agent, r->agent, &r->n_agent, &r->more_agents);
        llm_tally_list(&t->path, r->path, &r->n_path, &r->more_paths);
        llm_tally_list(&t->addr, r->addr, &r->n_addr, &r->more_addrs);

        llm_report_unusual(r, t);
    }

    mdb_cursor_close(cursor);
    llm_calls_read_end(c, txn);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "report", err, errlen);
}


static void
llm_report_call(llm_tallies_t *t, llm_report_t *r, const llm_call_view_t *v,
    int64_t ms)
{
    if (t->known == 0) {
        t->known = ms;
    }

    if (ms < t->since) {
        (void) llm_tally_find(&t->addr, t->seed, v->addr, v->addr_len, ms);
        return;
    }

    if (r->calls == 0) {
        r->first = ms;
    }

    r->calls++;
    r->last = ms;
    r->failed += (v->status >= 400);
    r->prompt_tokens += v->prompt_tokens;
    r->completion_tokens += v->completion_tokens;

    llm_tally_count(&t->model, t->seed, v->model, v->model_len, ms);
    llm_tally_count(&t->addr, t->seed, v->addr, v->addr_len, ms);
    llm_tally_count(&t->agent, t->seed, v->agent, v->agent_len, ms);
    llm_tally_count(&t->path, t->seed, v->path, v->path_len, ms);
}


static void
llm_tally_count(llm_tally_t *t, uint64_t seed, const char *name, uint8_t len,
    int64_t ms)
{
    llm_tally_entry_t  *e;

    e = llm_tally_find(t, seed, name, len, ms);

    if (e == NULL) {
        return;
    }

    if (e->count++ == 0) {
        e->first = ms;
    }

    e->last = ms;
}


/*
 * The entry, a new one if need be.  NULL: the table is full; a bit by the
 * name's hash then counts it once, but for names that share it.
 */

static llm_tally_entry_t *
llm_tally_find(llm_tally_t *t, uint64_t seed, const char *name, uint8_t len,
    int64_t ms)
{
    uint8_t             mask;
    uint32_t            hash, i;
    llm_tally_entry_t  *e;

    e = &t->entry[t->last];

    if (t->n != 0 && e->len == len && memcmp(e->name, name, len) == 0) {
        return e;
    }

    hash = llm_tally_hash(seed, name, len);

    /* at most half of the slots are taken, so it ends */

    for (i = hash % LLM_TALLY_SLOTS; t->slot[i] != 0;
         i = (i + 1) % LLM_TALLY_SLOTS)
    {
        e = &t->entry[t->slot[i] - 1];

        if (e->hash == hash && e->len == len
            && memcmp(e->name, name, len) == 0)
        {
            t->last = t->slot[i] - 1u;
            return e;
        }
    }

    if (t->n == LLM_TALLY_MAX) {
        hash >>= 16;
        mask = (uint8_t) (1 << (hash & 7));
        t->more += (t->bits[hash >> 3] & mask) == 0;
        t->bits[hash >> 3] |= mask;

        return NULL;
    }

    e = &t->entry[t->n];
    e->name = name;
    e->len = len;
    e->hash = hash;
    e->known = ms;

    t->last = t->n++;
    t->slot[i] = (uint16_t) t->n;

    return e;
}


static uint32_t
llm_tally_hash(uint64_t seed, const char *p, size_t len)
{
    uint64_t  h, w;

    h = seed ^ len;

    for ( /* void */ ; len != 0; p += 8, len -= 8) {
        w = 0;

        if (len < 8) {
            memcpy(&w, p, len);
            len = 8;

        } else {
            memcpy(&w, p, 8);
        }

        h = (h ^ w) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 32;
    }

    h *= 0xd6e8feb86659fd93ull;

    return (uint32_t) (h >> 32);
}


/* the list of a report; sorts the entries */

static void
llm_tally_list(llm_tally_t *t, llm_calls_item_t *item, size_t *n,
    uint64_t *more)
{
    size_t              i;
    llm_tally_entry_t  *e;

    qsort(t->entry, t->n, sizeof(llm_tally_entry_t), llm_tally_order);

    *n = 0;
    *more = t->more;

    /* an entry without a count was met before the report's time */

    for (i = 0; i < t->n && t->entry[i].count != 0; i++) {

        if (i >= LLM_REPORT_ITEMS) {
            ++*more;
            continue;
        }

        e = &t->entry[i];

        /* what lies in a file may have been changed there */

        llm_call_text(item[i].name, sizeof(item[i].name), e->name, e->len);
        item[i].count = e->count;
        item[i].first = e->first;
        item[i].last = e->last;
        ++*n;
    }
}


/* by falling count, then by name */

static int
llm_tally_order(const void *a, const void *b)
{
    int                       rc;
    const llm_tally_entry_t  *x, *y;

    x = a;
    y = b;

    if (x->count != y->count) {
        return x->count < y->count ? 1 : -1;
    }

    rc = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);

    return rc != 0 ? rc : (int) x->len - (int) y->len;
}


/* the list is the first of the sorted entries */

static void
llm_report_unusual(llm_report_t *r, const llm_tallies_t *t)
{
    int     old;
    size_t  i;

    old = (r->last - t->known > 3 * LLM_HOURS_24);

    for (i = 0; i < r->n_addr; i++) {
        r->addr[i].unusual = r->addr[i].count * 100 < r->calls
                             || (old && t->addr.entry[i].known
                                        > r->last - LLM_HOURS_24);
    }
}
