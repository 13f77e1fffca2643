
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics of the stores: sizes and keys.  To count keys is to read them all,
 * so it is done on a thread, and again only when they can have changed; the
 * shared memory keeps what was found, for all workers.
 */


#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../audit/llm_audit.h"
#include "llm_metrics_int.h"


#define LLM_LOOK_SIZES   60000              /* ms between two looks */
#define LLM_LOOK_KEYS    1000               /* at least, when they changed */
#define LLM_LOOK_PART    20                 /* and times what it takes */
#define LLM_LOOK_NOTICE  (14 * 24 * 60 * 60)


typedef struct {
    llm_metrics_stores_t  st;
    int64_t               now;
    int64_t               max_age;
    int64_t               recount;
} llm_look_t;


static int llm_look_changed(llm_metrics_look_t *l, uint64_t txnid,
    int64_t now);
static int llm_look_key(void *data, const llm_key_t *k);
static int llm_look_keys(llm_look_t *look, llm_store_t *store, char *err,
    size_t errlen);
static int llm_look_sizes(llm_metrics_stores_t *st, llm_store_t *store,
    llm_calls_t *calls, char *err, size_t errlen);


int
llm_metrics_stores_due(llm_metrics_t *m, uint64_t txnid, int64_t time,
    int64_t now)
{
    int64_t              begun, wait;
    uint64_t             took;
    llm_metrics_look_t  *l = &m->stores;

    begun = atomic_load(&l->begun);
    wait = LLM_LOOK_SIZES;

    if (llm_look_changed(l, txnid, now)) {
        wait = LLM_LOOK_KEYS;
    }

    /* an hour at most: a dead process may have left anything here */

    took = llm_metrics_get(&l->took);

    if (took > 3600 * 1000 / LLM_LOOK_PART) {
        took = 3600 * 1000 / LLM_LOOK_PART;
    }

    if (wait < (int64_t) took * LLM_LOOK_PART) {
        wait = (int64_t) took * LLM_LOOK_PART;
    }

    if (begun > 0 && begun <= time && time - begun < wait) {
        return 0;
    }

    return atomic_compare_exchange_strong(&l->begun, &begun, time);
}


/* are the keys other ones than those that were counted?  The clock may have
 * been stepped back */

static int
llm_look_changed(llm_metrics_look_t *l, uint64_t txnid, int64_t now)
{
    return llm_metrics_get(&l->txnid) != txnid
           || llm_metrics_get(&l->recount) <= now
           || llm_metrics_get(&l->counted) > now;
}


int
llm_metrics_stores_look(llm_metrics_t *m, llm_store_t *store,
    llm_calls_t *calls, int64_t now, int64_t max_age, char *err,
    size_t errlen)
{
    int                  rc, bad;
    int64_t              begin;
    uint64_t             txnid;
    llm_look_t           look;
    llm_metrics_look_t  *l = &m->stores;

    memset(&look, 0, sizeof(llm_look_t));
    llm_metrics_stores(m, &look.st);

    look.now = now;
    look.max_age = max_age;

    begin = llm_metrics_clock();
    txnid = llm_store_txnid(store);
    rc = LLM_OK;

    if (!look.st.known || llm_look_changed(l, txnid, now)) {
        rc = llm_look_keys(&look, store, err, errlen);

        if (rc == LLM_OK || rc == LLM_INVALID) {
            /* damaged records hide no others, and stay what they are */
            llm_metrics_put(&l->counted, now);
            llm_metrics_put(&l->recount, look.recount);
            llm_metrics_put(&l->txnid, txnid);
        }
    }

    bad = llm_look_sizes(&look.st, store, calls, rc == LLM_OK ? err : NULL,
                         errlen);

    look.st.known = 1;
    llm_metrics_stores_set(m, &look.st);

    llm_metrics_put(&l->took, (uint64_t) (llm_metrics_clock() - begin));

    return rc != LLM_OK ? rc : bad;
}


static int
llm_look_keys(llm_look_t *look, llm_store_t *store, char *err,
    size_t errlen)
{
    int                   rc;
    llm_metrics_stores_t  was;

    was = look->st;

    look->st.active = 0;
    look->st.expiring = 0;
    look->st.expired = 0;
    look->st.revoked = 0;
    look->st.next_expiry = 0;
    look->recount = INT64_MAX;

    rc = llm_key_each(store, NULL, llm_look_key, look, err, errlen);

    if (rc != LLM_OK && rc != LLM_INVALID) {
        look->st = was;
    }

    return rc;
}


static int
llm_look_key(void *data, const llm_key_t *k)
{
    llm_look_t  *look = data;

    int64_t  end, change;

    switch (llm_key_state(k, look->now, look->max_age)) {

    case LLM_KEY_GOOD:
        break;

    case LLM_KEY_REVOKED:
        look->st.revoked++;
        return 0;

    default:
        look->st.expired++;
        return 0;
    }

    look->st.active++;
    end = llm_key_end(k, look->max_age);

    if (end == INT64_MAX) {
        return 0;
    }

    if (look->st.next_expiry == 0 || (uint64_t) end < look->st.next_expiry) {
        look->st.next_expiry = (uint64_t) end;
    }

    if (end - look->now <= LLM_LOOK_NOTICE) {
        look->st.expiring++;
        change = end;

    } else {
        change = end - LLM_LOOK_NOTICE;
    }

    if (change < look->recount) {
        look->recount = change;
    }

    return 0;
}


static int
llm_look_sizes(llm_metrics_stores_t *st, llm_store_t *store,
    llm_calls_t *calls, char *err, size_t errlen)
{
    int          rc, bad;
    char         path[4096];
    struct stat  sb;

    rc = llm_store_space(store, &st->bytes[LLM_METRICS_KEYS],
                         &st->map[LLM_METRICS_KEYS], err, errlen);

    if (calls) {
        bad = llm_calls_space(calls, &st->bytes[LLM_METRICS_CALLS],
                              &st->map[LLM_METRICS_CALLS],
                              rc == LLM_OK ? err : NULL, errlen);
        rc = rc == LLM_OK ? bad : rc;
    }

    /* a trail grows with the disk, its map says nothing */

    if (snprintf(path, sizeof(path), "%s/%s", llm_store_path(store),
                 LLM_AUDIT_FILE) < (int) sizeof(path)
        && stat(path, &sb) == 0)
    {
        st->bytes[LLM_METRICS_AUDIT] = (uint64_t) sb.st_size;

    } else {
        st->bytes[LLM_METRICS_AUDIT] = 0;
    }

    return rc;
}


void
llm_metrics_stores_set(llm_metrics_t *m, const llm_metrics_stores_t *st)
{
    size_t    i;
    uint64_t  word[LLM_METRICS_WORDS(llm_metrics_stores_t)];

    memcpy(word, st, sizeof(word));

    for (i = 0; i < LLM_METRICS_WORDS(llm_metrics_stores_t); i++) {
        llm_metrics_put(&m->stores.word[i], word[i]);
    }
}


void
llm_metrics_stores(llm_metrics_t *m, llm_metrics_stores_t *st)
{
    size_t    i;
    uint64_t  word[LLM_METRICS_WORDS(llm_metrics_stores_t)];

    for (i = 0; i < LLM_METRICS_WORDS(llm_metrics_stores_t); i++) {
        word[i] = llm_metrics_get(&m->stores.word[i]);
    }

    memcpy(st, word, sizeof(word));
}
