
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas: what a request does to its key's entry, and what of the table is to
 * be written to the store.  See llm_quota.h for the contract and
 * llm_quota_int.h for what keeps it when a process is killed in here.
 */


#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "llm_quota_int.h"


#define LLM_QUOTA_CHUNK   256       /* flights looked at under one lock */
#define LLM_QUOTA_PIDS    64        /* processes remembered in one reap */

/* a ticket: generation, shard, flight */
#define llm_ticket(gen, shard, flight)                                        \
    ((gen) << 20 | (uint64_t) (shard) << 16 | (uint64_t) (flight))
#define llm_ticket_gen(t)      ((t) >> 20)
#define llm_ticket_shard(t)    ((uint32_t) ((t) >> 16 & 0xf))
#define llm_ticket_flight(t)   ((uint32_t) ((t) & 0xffff))

#define LLM_TICKET_GEN_MAX     ((1ull << 44) - 1)

_Static_assert(LLM_QUOTA_SHARDS == 16 && LLM_QUOTA_FLIGHTS <= 65536,
               "a ticket's fields");

/* what *t is while a key's record is being loaded; no ticket has its shape:
 * a generation of all ones is left out */
#define llm_ticket_absent(evicted)                                            \
    (LLM_TICKET_GEN_MAX << 20 | (uint64_t) ((evicted) & 0xfffff))


/* which processes live, as far as one reap has asked */
typedef struct {
    pid_t     only;             /* 0: those that are gone */
    uint32_t  n;
    pid_t     pid[LLM_QUOTA_PIDS];
    int       gone[LLM_QUOTA_PIDS];
} llm_quota_pids_t;


/* what dirty() takes under one lock */
typedef struct {
    uint32_t     n;
    char         id[64][LLM_QUOTA_ID + 1];
    llm_spent_t  usage[64];
} llm_quota_batch_t;


static int64_t llm_quota_entry(llm_quota_part_t *p, const char *id,
    uint64_t hash, const llm_spent_t *usage, llm_quota_ticket_t *t,
    llm_quota_view_t *v);
static int llm_quota_start(llm_quota_part_t *p, uint32_t entry,
    const llm_limits_t *lim, pid_t pid, int64_t now, llm_quota_ticket_t *t,
    llm_quota_view_t *v);
static void llm_quota_full(llm_quota_view_t *v);
static int llm_quota_flight(llm_quota_t *q, llm_quota_ticket_t t,
    llm_quota_part_t *p, uint32_t *flight, uint32_t *entry);
static void llm_quota_finish(llm_quota_part_t *p, uint32_t flight,
    uint64_t prompt_tokens, uint64_t completion_tokens, int64_t now);
static int llm_quota_end_gone(llm_quota_t *q, llm_quota_pids_t *pids,
    int64_t now);
static int llm_quota_gone(llm_quota_pids_t *pids, pid_t pid);
static int32_t llm_quota_tid(void);
static int llm_quota_turn(llm_quota_t *q);
static int llm_quota_collect(llm_quota_t *q, uint32_t shard, uint32_t *word,
    int64_t now, llm_quota_batch_t *b);
static void llm_quota_clean(llm_quota_t *q, uint32_t shard, uint64_t number);
static void llm_quota_clean_word(llm_quota_part_t *p, uint32_t word,
    uint64_t number);


int
llm_quota_enter(llm_quota_t *q, const char *id, const llm_limits_t *lim,
    const llm_spent_t *usage, pid_t pid, int64_t now, llm_quota_ticket_t *t,
    llm_quota_view_t *v)
{
    int                 rc;
    char                padded[LLM_QUOTA_ID];
    int64_t             entry;
    uint64_t            hash;
    llm_quota_part_t    p;
    llm_quota_ticket_t  ticket;

    ticket = usage ? *t : 0;
    *t = 0;

    if (llm_quota_id(id, padded, &hash) != LLM_OK || pid <= 0) {
        return LLM_INVALID;
    }

    if (llm_quota_lock(q, llm_quota_shard_of(hash), &p) != LLM_OK) {
        llm_quota_full(v);
        return LLM_AGAIN;
    }

    entry = llm_quota_entry(&p, padded, hash, usage, &ticket, v);

    if (entry < 0) {
        rc = (int) entry;

    } else {
        rc = llm_quota_start(&p, (uint32_t) entry, lim, pid,
                             llm_quota_time(now), &ticket, v);
    }

    llm_quota_unlock(&p);

    *t = rc == LLM_AGAIN ? 0 : ticket;

    return rc;
}


/* the key's entry: there, or made of the record, if that is still the last */

static int64_t
llm_quota_entry(llm_quota_part_t *p, const char *id, uint64_t hash,
    const llm_spent_t *usage, llm_quota_ticket_t *t, llm_quota_view_t *v)
{
    int64_t             entry;
    llm_quota_ticket_t  absent;

    entry = llm_quota_find(p, id, hash);

    if (entry != LLM_NOTFOUND) {
        return entry;
    }

    absent = llm_ticket_absent(llm_quota_evicted(p, hash));

    if (usage == NULL || *t != absent) {
        *t = absent;
        return LLM_NOTFOUND;
    }

    entry = llm_quota_load(p, id, hash, usage);

    if (entry == LLM_AGAIN) {
        llm_quota_full(v);
    }

    return entry;
}


static int
llm_quota_start(llm_quota_part_t *p, uint32_t entry, const llm_limits_t *lim,
    pid_t pid, int64_t now, llm_quota_ticket_t *t, llm_quota_view_t *v)
{
    int64_t              i;
    uint32_t             retry;
    llm_quota_e          reason;
    llm_quota_entry_t   *e = &p->entry[entry];
    llm_quota_flight_t  *f;

    /* a refused request keeps the entry, too: refusing stays cheap */
    p->word[entry / 64].used |= 1ull << (entry % 64);

    i = llm_quota_flight_get(p);

    llm_quota_begin(p, entry, i < 0 ? 0 : (uint32_t) i);

    e->lim = *lim;
    llm_quota_roll(&e->usage, now);
    reason = llm_quota_check(e, e->reserved, 1, 1, now, &retry);

    if (reason == LLM_QUOTA_OK && i < 0) {
        reason = LLM_QUOTA_FULL;
        retry = 1;
    }

    if (reason != LLM_QUOTA_OK) {
        llm_quota_end(p);

        if (i >= 0) {
            llm_quota_flight_put(p, (uint32_t) i);
        }

        llm_quota_show(v, e, now, reason, retry);

        return LLM_AGAIN;
    }

    f = &p->flight[i];

    f->gen = f->gen >= LLM_TICKET_GEN_MAX - 1 ? 1 : f->gen + 1;
    f->reserved = 0;
    f->entry = entry + 1;
    f->pid = pid;

    e->running++;
    llm_quota_count_request(&e->usage, now);
    llm_quota_change(p, entry);

    p->word[entry / 64].busy |= 1ull << (entry % 64);
    p->s->running++;

    llm_quota_end(p);

    *t = llm_ticket(f->gen, p->number, i);
    llm_quota_show(v, e, now, LLM_QUOTA_OK, 0);

    return LLM_OK;
}


static void
llm_quota_full(llm_quota_view_t *v)
{
    if (v) {
        memset(v, 0, sizeof(llm_quota_view_t));
        v->reason = LLM_QUOTA_FULL;
        v->retry = 1;
    }
}


int
llm_quota_reserve(llm_quota_t *q, llm_quota_ticket_t t, uint64_t want,
    uint64_t least, int64_t now, uint64_t *got, llm_quota_view_t *v)
{
    int                  rc;
    uint32_t             entry, flight, retry;
    uint64_t             has, others, room;
    llm_quota_e          reason;
    llm_quota_part_t     p;
    llm_quota_entry_t   *e;
    llm_quota_flight_t  *f;

    *got = 0;
    now = llm_quota_time(now);

    if (llm_quota_flight(q, t, &p, &flight, &entry) != LLM_OK) {
        return LLM_NOTFOUND;
    }

    e = &p.entry[entry];
    f = &p.flight[flight];

    llm_quota_begin(&p, entry, flight);
    llm_quota_roll(&e->usage, now);

    rc = LLM_OK;
    reason = LLM_QUOTA_OK;
    retry = 0;

    has = f->reserved;
    others = e->reserved - (has < e->reserved ? has : e->reserved);

    if (want < least) {
        want = least;
    }

    room = llm_quota_room(e, others);

    if (room < has) {
        room = has;
    }

    if (room < least) {
        rc = LLM_AGAIN;
        reason = llm_quota_check(e, others, least, 0, now, &retry);

        if (reason == LLM_QUOTA_OK) {
            /* no limit, but the sum would not be a number any more */
            reason = LLM_QUOTA_FULL;
            retry = 1;
        }

    } else if (has != (want < room ? want : room)) {
        f->reserved = want < room ? want : room;
        e->reserved = others + f->reserved;
        llm_quota_change(&p, entry);
    }

    llm_quota_end(&p);

    *got = f->reserved;
    llm_quota_show(v, e, now, reason, retry);

    llm_quota_unlock(&p);

    return rc;
}


/* lock the shard of a ticket that is good, or LLM_NOTFOUND */

static int
llm_quota_flight(llm_quota_t *q, llm_quota_ticket_t t, llm_quota_part_t *p,
    uint32_t *flight, uint32_t *entry)
{
    llm_quota_flight_t  *f;

    *flight = llm_ticket_flight(t);

    if (t == 0 || *flight >= LLM_QUOTA_FLIGHTS
        || llm_quota_lock(q, llm_ticket_shard(t), p) != LLM_OK)
    {
        return LLM_NOTFOUND;
    }

    if (*flight < p->s->n_flight) {
        f = &p->flight[*flight];

        if (f->gen == llm_ticket_gen(t) && f->entry != 0
            && f->entry <= p->s->n_entry)
        {
            *entry = f->entry - 1;
            return LLM_OK;
        }
    }

    llm_quota_unlock(p);

    return LLM_NOTFOUND;
}


void
llm_quota_leave(llm_quota_t *q, llm_quota_ticket_t t, uint64_t prompt_tokens,
    uint64_t completion_tokens, int64_t now)
{
    uint32_t          entry, flight;
    llm_quota_part_t  p;

    if (llm_quota_flight(q, t, &p, &flight, &entry) == LLM_OK) {
        llm_quota_finish(&p, flight, prompt_tokens, completion_tokens,
                         llm_quota_time(now));
        llm_quota_unlock(&p);
    }
}


/* the flight's entry is in its bounds */

static void
llm_quota_finish(llm_quota_part_t *p, uint32_t flight, uint64_t prompt_tokens,
    uint64_t completion_tokens, int64_t now)
{
    uint32_t             entry;
    llm_spent_t         *u;
    llm_quota_entry_t   *e;
    llm_quota_flight_t  *f;

    f = &p->flight[flight];
    entry = f->entry - 1;
    e = &p->entry[entry];
    u = &e->usage;

    llm_quota_begin(p, entry, flight);

    llm_quota_roll(u, now);
    llm_quota_count(u, llm_quota_sum(prompt_tokens, completion_tokens));

    u->prompt_tokens = llm_quota_sum(u->prompt_tokens, prompt_tokens);
    u->completion_tokens = llm_quota_sum(u->completion_tokens,
                                         completion_tokens);

    e->reserved -= f->reserved < e->reserved ? f->reserved : e->reserved;
    f->reserved = 0;
    f->entry = 0;

    if (e->running > 0) {
        e->running--;
    }

    if (e->running == 0) {
        p->word[entry / 64].busy &= ~(1ull << (entry % 64));
    }

    if (p->s->running > 0) {
        p->s->running--;
    }

    llm_quota_change(p, entry);

    llm_quota_end(p);

    llm_quota_flight_put(p, flight);
}


int
llm_quota_view(llm_quota_t *q, const char *id, const llm_limits_t *lim,
    int64_t now, llm_quota_view_t *v)
{
    char               padded[LLM_QUOTA_ID];
    int64_t            i;
    uint64_t           hash;
    llm_quota_part_t   p;
    llm_quota_entry_t  e;

    if (llm_quota_id(id, padded, &hash) != LLM_OK
        || llm_quota_lock(q, llm_quota_shard_of(hash), &p) != LLM_OK)
    {
        return LLM_NOTFOUND;
    }

    i = llm_quota_find(&p, padded, hash);

    if (i >= 0) {
        e = p.entry[i];
    }

    llm_quota_unlock(&p);

    if (i < 0) {
        return LLM_NOTFOUND;
    }

    now = llm_quota_time(now);

    e.lim = *lim;
    llm_quota_roll(&e.usage, now);
    llm_quota_show(v, &e, now, LLM_QUOTA_OK, 0);

    return LLM_OK;
}


int
llm_quota_reap(llm_quota_t *q, int64_t now)
{
    llm_quota_pids_t  pids;

    pids.only = 0;
    pids.n = 0;

    return llm_quota_end_gone(q, &pids, llm_quota_time(now));
}


int
llm_quota_drop(llm_quota_t *q, pid_t pid, int64_t now)
{
    llm_quota_pids_t  pids;

    if (pid <= 0) {
        return 0;
    }

    pids.only = pid;
    pids.n = 0;

    return llm_quota_end_gone(q, &pids, llm_quota_time(now));
}


static int
llm_quota_end_gone(llm_quota_t *q, llm_quota_pids_t *pids, int64_t now)
{
    int                  n;
    uint32_t             i, shard;
    llm_quota_part_t     p;
    llm_quota_flight_t  *f;

    n = 0;

    for (shard = 0; shard < LLM_QUOTA_SHARDS; shard++) {

        if (llm_quota_lock(q, shard, &p) != LLM_OK) {
            continue;
        }

        for (i = 0; p.s->running && i < p.s->n_flight; i++) {

            /* let others in now and then */

            if (i % LLM_QUOTA_CHUNK == LLM_QUOTA_CHUNK - 1) {
                llm_quota_unlock(&p);

                if (llm_quota_lock(q, shard, &p) != LLM_OK) {
                    break;
                }
            }

            f = &p.flight[i];

            if (f->entry != 0 && f->entry <= p.s->n_entry
                && llm_quota_gone(pids, f->pid))
            {
                llm_quota_finish(&p, i, 0, f->reserved, now);
                n++;
            }
        }

        llm_quota_unlock(&p);
    }

    return n;
}


static int
llm_quota_gone(llm_quota_pids_t *pids, pid_t pid)
{
    uint32_t  i;

    if (pids->only) {
        return pid == pids->only;
    }

    if (pid <= 0) {
        return 1;
    }

    for (i = 0; i < pids->n; i++) {
        if (pids->pid[i] == pid) {
            return pids->gone[i];
        }
    }

    i = pids->n < LLM_QUOTA_PIDS ? pids->n++ : (uint32_t) pid % LLM_QUOTA_PIDS;

    pids->pid[i] = pid;
    pids->gone[i] = kill(pid, 0) == -1 && errno == ESRCH;

    return pids->gone[i];
}


int
llm_quota_dirty(llm_quota_t *q, int (*f)(void *data, const char *id,
    const llm_spent_t *usage), void *data, int64_t now, uint64_t *number)
{
    int                rc;
    uint32_t           i, shard, word;
    llm_quota_batch_t  b;

    *number = 0;
    now = llm_quota_time(now);

    rc = llm_quota_turn(q);
    if (rc != LLM_OK) {
        return rc;
    }

    /* changes from here on are not in this turn, though they may be seen */

    q->writing = atomic_fetch_add(&q->epoch, 1);

    for (shard = 0; shard < LLM_QUOTA_SHARDS && rc == LLM_OK; shard++) {
        word = 0;

        while (rc == LLM_OK && llm_quota_collect(q, shard, &word, now, &b)) {

            for (i = 0; i < b.n && rc == LLM_OK; i++) {
                rc = f(data, b.id[i], &b.usage[i]);
            }
        }
    }

    if (rc != LLM_OK) {
        llm_quota_written(q, 0);
        return rc;
    }

    *number = q->writing;

    return LLM_OK;
}


static int32_t
llm_quota_tid(void)
{
    return (int32_t) syscall(SYS_gettid);
}


static int
llm_quota_turn(llm_quota_t *q)
{
    int  rc;

    rc = pthread_mutex_trylock(&q->turn.mutex);

    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&q->turn.mutex);
    }

    if (rc != 0) {
        return rc == EBUSY ? LLM_AGAIN : LLM_ERROR;
    }

    atomic_store(&q->writer, llm_quota_tid());

    return LLM_OK;
}


/* the changed entries of the next word that has some, copied; 0: no more.  A
 * shard that can't be locked has none */

static int
llm_quota_collect(llm_quota_t *q, uint32_t shard, uint32_t *word, int64_t now,
    llm_quota_batch_t *b)
{
    int                 bit;
    uint64_t            bits;
    llm_spent_t        *u;
    llm_quota_part_t    p;
    llm_quota_entry_t  *e;

    b->n = 0;

    if (llm_quota_lock(q, shard, &p) != LLM_OK) {
        return 0;
    }

    for ( /* void */ ; b->n == 0 && *word * 64 < p.s->n_entry; (*word)++) {

        for (bits = p.word[*word].dirty; bits; bits &= bits - 1) {
            bit = __builtin_ctzll(bits);
            e = &p.entry[*word * 64 + (uint32_t) bit];

            if (e->id[0] == 0) {
                continue;
            }

            u = &b->usage[b->n];

            memcpy(b->id[b->n], e->id, LLM_QUOTA_ID);
            b->id[b->n][LLM_QUOTA_ID] = '\0';

            *u = e->usage;
            llm_quota_roll(u, now);
            llm_quota_count(u, e->reserved);

            b->n++;
        }
    }

    llm_quota_unlock(&p);

    return b->n > 0;
}


void
llm_quota_written(llm_quota_t *q, uint64_t number)
{
    uint32_t  shard;

    /* whoever has no turn has nothing to end */

    if (atomic_load(&q->writer) != llm_quota_tid()) {
        return;
    }

    if (number != 0 && number == q->writing) {
        for (shard = 0; shard < LLM_QUOTA_SHARDS; shard++) {
            llm_quota_clean(q, shard, number);
        }
    }

    q->writing = 0;
    atomic_store(&q->writer, 0);

    pthread_mutex_unlock(&q->turn.mutex);
}


static void
llm_quota_clean(llm_quota_t *q, uint32_t shard, uint64_t number)
{
    uint32_t          word;
    llm_quota_part_t  p;

    if (llm_quota_lock(q, shard, &p) != LLM_OK) {
        return;
    }

    for (word = 0; word * 64 < p.s->n_entry; word++) {

        if (p.word[word].dirty) {
            llm_quota_clean_word(&p, word, number);

            /* let others in */
            llm_quota_unlock(&p);

            if (llm_quota_lock(q, shard, &p) != LLM_OK) {
                return;
            }
        }
    }

    for (word = 0; word * 64 < p.s->n_entry; word++) {
        if (p.word[word].dirty) {
            break;
        }
    }

    if (word * 64 >= p.s->n_entry) {
        atomic_fetch_and(&q->dirty, ~(1u << shard));
    }

    llm_quota_unlock(&p);
}


static void
llm_quota_clean_word(llm_quota_part_t *p, uint32_t word, uint64_t number)
{
    int                 bit;
    uint64_t            bits, clean;
    llm_quota_entry_t  *e;

    clean = 0;

    for (bits = p->word[word].dirty; bits; bits &= bits - 1) {
        bit = __builtin_ctzll(bits);
        e = &p->entry[word * 64 + (uint32_t) bit];

        if (e->id[0] == 0 || e->changed <= number) {
            clean |= 1ull << bit;
        }
    }

    p->word[word].dirty &= ~clean;
}


int
llm_quota_is_dirty(llm_quota_t *q)
{
    return atomic_load_explicit(&q->dirty, memory_order_relaxed) != 0;
}
