
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of the quotas share: a table in shared memory, keys, and a
 * check of everything that must hold in it.
 */


#ifndef _QUOTA_TEST_H_INCLUDED_
#define _QUOTA_TEST_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../ngx_module/store/llm_quota_int.h"
#include "tap.h"


/* a slice's, a minute's, and a day's beginning: 2026-03-14 00:00:00 UTC */
#define T0   1773446400000ll
#define SEC  1000ll
#define DAY  (86400 * SEC)


static char               err[LLM_ERRLEN];
static const llm_spent_t  nothing;


static inline llm_quota_t *
table(uint32_t keys)
{
    size_t        size;
    llm_quota_t  *q;

    size = llm_quota_size(keys);
    q = mmap(NULL, size, PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0);

    if (q == MAP_FAILED
        || llm_quota_init(q, size, keys, err, sizeof(err)) != LLM_OK)
    {
        printf("Bail out! no table: %s\n", err);
        exit(1);
    }

    return q;
}


static inline void
untable(llm_quota_t *q)
{
    munmap(q, q->size);
}


static inline const char *
key(int n)
{
    static _Thread_local char  id[LLM_QUOTA_ID + 1];

    snprintf(id, sizeof(id), "key_%024d", n);

    return id;
}


/* enter as a worker does, with an empty record for a new key */

static inline int
enter(llm_quota_t *q, const char *id, const llm_limits_t *lim, pid_t pid,
    int64_t now, llm_quota_ticket_t *t, llm_quota_view_t *v)
{
    int  rc;

    rc = llm_quota_enter(q, id, lim, NULL, pid, now, t, v);

    while (rc == LLM_NOTFOUND) {
        rc = llm_quota_enter(q, id, lim, &nothing, pid, now, t, v);
    }

    return rc;
}


/* what is wrong in the table; NULL: nothing */

static inline const char *
wrong(llm_quota_t *q)
{
    uint32_t             i, n, shard, linked, used, *running, idle, flying;
    uint64_t            *reserved;
    const char          *bad;
    llm_quota_part_t     p;
    llm_quota_entry_t   *e;
    llm_quota_flight_t  *f;

    bad = NULL;
    running = calloc(q->entries, sizeof(uint32_t));
    reserved = calloc(q->entries, sizeof(uint64_t));

    for (shard = 0; shard < LLM_QUOTA_SHARDS && bad == NULL; shard++) {

        if (llm_quota_lock(q, shard, &p) != LLM_OK) {
            bad = "a shard can't be locked";
            break;
        }

        memset(running, 0, q->entries * sizeof(uint32_t));
        memset(reserved, 0, q->entries * sizeof(uint64_t));
        linked = used = idle = flying = 0;

        for (i = 0; i < p.s->n_flight; i++) {
            f = &p.flight[i];

            if (f->entry) {
                running[f->entry - 1]++;
                reserved[f->entry - 1] += f->reserved;
                flying++;
            }
        }

        for (i = p.s->free; i && idle <= p.s->n_flight; idle++) {
            bad = p.flight[i - 1].entry ? "a flight both used and free" : bad;
            i = p.flight[i - 1].next;
        }

        bad = idle + flying != p.s->n_flight ? "a flight is lost" : bad;
        bad = flying != p.s->running ? "flights miscounted" : bad;
        bad = p.s->undo ? "an operation is open" : bad;

        for (i = 0; i < p.s->n_entry; i++) {
            e = &p.entry[i];
            used += e->id[0] != 0;
            bad = e->running != running[i] ? "running miscounted" : bad;
            bad = e->reserved != reserved[i] ? "reserved miscounted" : bad;
            bad = (p.word[i / 64].busy >> (i % 64) & 1) != (e->running != 0)
                  ? "busy is wrong" : bad;
            bad = (p.word[i / 64].dirty >> (i % 64) & 1)
                  && (atomic_load(&q->dirty) >> shard & 1) == 0
                  ? "dirty and not told" : bad;
        }

        for (n = 0; n < q->buckets; n++) {
            for (i = p.bucket[n].first; i && linked <= q->entries; linked++) {
                i = p.entry[i - 1].next;
            }
        }

        bad = linked != used ? "an entry is in no chain, or in two" : bad;

        llm_quota_unlock(&p);
    }

    free(running);
    free(reserved);

    return bad;
}


#endif /* _QUOTA_TEST_H_INCLUDED_ */
