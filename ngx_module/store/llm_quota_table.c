
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas: the table in shared memory, see llm_quota_int.h.  Its layout, the
 * shards' locks and their repair, keys found, loaded and evicted, flights.
 */


#include <errno.h>
#include <string.h>

#include "llm_quota_int.h"


/* sizes and places of a table's parts; see llm_quota_t, which begins a page:
 * it is never on the stack */
typedef struct {
    uint64_t  size;
    uint32_t  entries;
    uint32_t  buckets;
    uint64_t  bucket_off;
    uint64_t  word_off;
    uint64_t  entry_off;
    uint64_t  flight_off;
} llm_quota_layout_t;


static int llm_quota_layout(llm_quota_layout_t *l, uint32_t keys);
static int llm_quota_mutex_init(pthread_mutex_t *mutex);
static void llm_quota_parts(llm_quota_t *q, uint32_t shard,
    llm_quota_part_t *p);
static void llm_quota_repair(llm_quota_part_t *p);
static void llm_quota_repair_entries(llm_quota_part_t *p);
static void llm_quota_repair_flights(llm_quota_part_t *p);
static uint64_t llm_quota_hash(const char *padded);
static uint32_t llm_quota_bucket(llm_quota_part_t *p, uint64_t hash);
static void llm_quota_link(llm_quota_part_t *p, uint32_t entry,
    uint64_t hash);
static void llm_quota_evict(llm_quota_part_t *p, uint32_t entry);
static int64_t llm_quota_clock(llm_quota_part_t *p);


size_t
llm_quota_size(uint32_t keys)
{
    llm_quota_layout_t  l;

    return llm_quota_layout(&l, keys) == LLM_OK ? (size_t) l.size : 0;
}


/*
 * Keys fall on shards by chance: a quarter and a few more than each one's
 * share, so that as many keys as were asked for have room.
 */

static int
llm_quota_layout(llm_quota_layout_t *l, uint32_t keys)
{
    uint32_t  share;
    uint64_t  size;

    if (keys == 0 || keys > LLM_QUOTA_KEYS || (keys & (keys - 1))) {
        return LLM_INVALID;
    }

    share = (keys + LLM_QUOTA_SHARDS - 1) / LLM_QUOTA_SHARDS;
    l->entries = (share + share / 4 + 63) / 64 * 64;

    l->buckets = 64;
    while (l->buckets < l->entries) {
        l->buckets *= 2;
    }

    size = sizeof(llm_quota_t);

#define llm_quota_place(off, n, type)                                         \
    (off) = (size + LLM_QUOTA_PAGE - 1) / LLM_QUOTA_PAGE * LLM_QUOTA_PAGE;    \
    size = (off) + (uint64_t) (n) * LLM_QUOTA_SHARDS * sizeof(type)

    llm_quota_place(l->bucket_off, l->buckets, llm_quota_bucket_t);
    llm_quota_place(l->word_off, l->entries / 64, llm_quota_word_t);
    llm_quota_place(l->entry_off, l->entries, llm_quota_entry_t);
    llm_quota_place(l->flight_off, LLM_QUOTA_FLIGHTS, llm_quota_flight_t);

    if (size > SIZE_MAX) {
        return LLM_INVALID;
    }

    l->size = size;

    return LLM_OK;
}


int
llm_quota_init(llm_quota_t *q, size_t size, uint32_t keys, char *err,
    size_t errlen)
{
    int                 i, rc;
    llm_quota_layout_t  l;

    if ((uintptr_t) q % LLM_QUOTA_LINE) {
        return llm_err(err, errlen, LLM_INVALID,
                       "quotas: the shared memory is not aligned");
    }

    if (llm_quota_layout(&l, keys) != LLM_OK || size < l.size) {
        return llm_err(err, errlen, LLM_INVALID,
                       "quotas: %zu bytes of shared memory are no table for "
                       "%u keys, which takes %zu", size, keys,
                       llm_quota_size(keys));
    }

    q->keys = keys;
    q->size = l.size;
    q->entries = l.entries;
    q->buckets = l.buckets;
    q->bucket_off = l.bucket_off;
    q->word_off = l.word_off;
    q->entry_off = l.entry_off;
    q->flight_off = l.flight_off;

    rc = llm_quota_mutex_init(&q->turn.mutex);

    for (i = 0; i < LLM_QUOTA_SHARDS && rc == 0; i++) {
        rc = llm_quota_mutex_init(&q->shard[i].lock.mutex);
    }

    if (rc != 0) {
        return llm_err(err, errlen, LLM_ERROR,
                       "quotas: pthread_mutex_init() failed (%d: %s)", rc,
                       strerror(rc));
    }

    atomic_store(&q->epoch, 1);

    q->version = LLM_QUOTA_VERSION;
    q->magic = LLM_QUOTA_MAGIC;

    return LLM_OK;
}


static int
llm_quota_mutex_init(pthread_mutex_t *mutex)
{
    int                  rc;
    pthread_mutexattr_t  attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);

    rc = pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);

    return rc;
}


int
llm_quota_valid(const llm_quota_t *q, size_t size)
{
    llm_quota_layout_t  want;

    return size >= sizeof(llm_quota_t)
           && q->magic == LLM_QUOTA_MAGIC
           && q->version == LLM_QUOTA_VERSION
           && llm_quota_layout(&want, q->keys) == LLM_OK
           && size >= want.size
           && q->size == want.size
           && q->entries == want.entries
           && q->buckets == want.buckets
           && q->bucket_off == want.bucket_off
           && q->word_off == want.word_off
           && q->entry_off == want.entry_off
           && q->flight_off == want.flight_off;
}


static void
llm_quota_parts(llm_quota_t *q, uint32_t shard, llm_quota_part_t *p)
{
    char    *base = (char *) q;
    size_t   n = shard;

    p->q = q;
    p->number = shard;
    p->s = &q->shard[shard];
    p->bucket = (llm_quota_bucket_t *) (base + q->bucket_off) + n * q->buckets;
    p->word = (llm_quota_word_t *) (base + q->word_off) + n * (q->entries / 64);
    p->entry = (llm_quota_entry_t *) (base + q->entry_off) + n * q->entries;
    p->flight = (llm_quota_flight_t *) (base + q->flight_off)
                + n * LLM_QUOTA_FLIGHTS;
}


int
llm_quota_lock(llm_quota_t *q, uint32_t shard, llm_quota_part_t *p)
{
    int  rc;

    llm_quota_parts(q, shard, p);

    rc = pthread_mutex_lock(&p->s->lock.mutex);

    if (rc == EOWNERDEAD) {

        /* killed in here, too, the next one repairs it */

        llm_quota_repair(p);
        rc = pthread_mutex_consistent(&p->s->lock.mutex);
    }

    return rc == 0 ? LLM_OK : LLM_ERROR;
}


void
llm_quota_unlock(llm_quota_part_t *p)
{
    pthread_mutex_unlock(&p->s->lock.mutex);
}


/*
 * The last holder died: put back what it had half done, and make anew all
 * that follows from entries and flights.
 */

static void
llm_quota_repair(llm_quota_part_t *p)
{
    llm_quota_shard_t  *s = p->s;

    if (s->undo == 1 && s->undo_entry < p->q->entries
        && s->undo_flight < LLM_QUOTA_FLIGHTS)
    {
        p->entry[s->undo_entry] = s->entry;
        p->flight[s->undo_flight] = s->flight;
    }

    llm_quota_fence();
    s->undo = 0;

    if (s->n_entry > p->q->entries) {
        s->n_entry = p->q->entries;
    }

    if (s->n_flight > LLM_QUOTA_FLIGHTS) {
        s->n_flight = LLM_QUOTA_FLIGHTS;
    }

    llm_quota_repair_entries(p);
    llm_quota_repair_flights(p);

    s->repairs++;
}


static void
llm_quota_repair_entries(llm_quota_part_t *p)
{
    uint32_t            i, dirty;
    llm_quota_entry_t  *e;

    for (i = 0; i < p->q->buckets; i++) {
        if (p->bucket[i].first) {
            p->bucket[i].first = 0;
        }
    }

    dirty = 0;

    for (i = 0; i < p->s->n_entry; i++) {
        e = &p->entry[i];

        if (i % 64 == 0) {
            p->word[i / 64].busy = 0;
            dirty |= p->word[i / 64].dirty != 0;
        }

        e->next = 0;
        e->running = 0;
        e->reserved = 0;

        if (e->id[0]) {
            llm_quota_link(p, i, llm_quota_hash(e->id));
        }
    }

    if (dirty) {
        atomic_fetch_or(&p->q->dirty, 1u << p->number);
    }
}


static void
llm_quota_repair_flights(llm_quota_part_t *p)
{
    uint32_t             i, n;
    llm_quota_entry_t   *e;
    llm_quota_flight_t  *f;

    p->s->free = 0;
    p->s->running = 0;

    for (i = p->s->n_flight; i > 0; i--) {
        f = &p->flight[i - 1];
        n = f->entry;

        if (n == 0 || n > p->s->n_entry || p->entry[n - 1].id[0] == 0) {
            f->entry = 0;
            f->next = p->s->free;
            p->s->free = i;
            continue;
        }

        e = &p->entry[n - 1];

        e->running++;
        e->reserved = llm_quota_sum(e->reserved, f->reserved);
        p->word[(n - 1) / 64].busy |= 1ull << ((n - 1) % 64);
        p->s->running++;
    }
}


int
llm_quota_id(const char *id, char *padded, uint64_t *hash)
{
    size_t  len;

    len = strnlen(id, LLM_QUOTA_ID + 1);

    if (len == 0 || len > LLM_QUOTA_ID) {
        return LLM_INVALID;
    }

    memset(padded, 0, LLM_QUOTA_ID);
    memcpy(padded, id, len);

    *hash = llm_quota_hash(padded);

    return LLM_OK;
}


/* ids are random and the server's own: no one chooses them to collide */

static uint64_t
llm_quota_hash(const char *padded)
{
    int       i;
    uint32_t  part;
    uint64_t  h = 0x9e3779b97f4a7c15ull;

    for (i = 0; i < LLM_QUOTA_ID; i += 4) {
        memcpy(&part, padded + i, 4);
        h = (h ^ part) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }

    return h * 0xc4ceb9fe1a85ec53ull;
}

_Static_assert(LLM_QUOTA_ID % 4 == 0, "an id is hashed by four bytes");


/* the middle of the hash: its top is the shard's number */

static uint32_t
llm_quota_bucket(llm_quota_part_t *p, uint64_t hash)
{
    return (uint32_t) (hash >> 28) & (p->q->buckets - 1);
}


int64_t
llm_quota_find(llm_quota_part_t *p, const char *id, uint64_t hash)
{
    uint32_t  i, n;

    i = p->bucket[llm_quota_bucket(p, hash)].first;

    for (n = 0; i != 0 && i <= p->s->n_entry && n < p->s->n_entry; n++) {

        if (memcmp(p->entry[i - 1].id, id, LLM_QUOTA_ID) == 0) {
            return i - 1;
        }

        i = p->entry[i - 1].next;
    }

    return LLM_NOTFOUND;
}


uint32_t
llm_quota_evicted(llm_quota_part_t *p, uint64_t hash)
{
    return p->bucket[llm_quota_bucket(p, hash)].evicted;
}


static void
llm_quota_link(llm_quota_part_t *p, uint32_t entry, uint64_t hash)
{
    llm_quota_bucket_t  *b = &p->bucket[llm_quota_bucket(p, hash)];

    p->entry[entry].next = b->first;
    b->first = entry + 1;
}


int64_t
llm_quota_load(llm_quota_part_t *p, const char *id, uint64_t hash,
    const llm_spent_t *usage)
{
    int64_t             i;
    llm_quota_entry_t  *e;

    if (p->s->n_entry < p->q->entries) {
        i = p->s->n_entry++;

    } else {
        i = llm_quota_clock(p);
        if (i < 0) {
            return i;
        }
    }

    llm_quota_begin(p, (uint32_t) i, 0);

    e = &p->entry[i];

    if (e->id[0]) {
        llm_quota_evict(p, (uint32_t) i);
    }

    memset(e, 0, sizeof(llm_quota_entry_t));
    memcpy(e->id, id, LLM_QUOTA_ID);
    e->usage = *usage;
    llm_quota_sanitize(&e->usage);

    llm_quota_link(p, (uint32_t) i, hash);
    p->word[i / 64].dirty &= ~(1ull << (i % 64));

    llm_quota_end(p);

    return i;
}


/* whoever read the key's record before has read an older one now */

static void
llm_quota_evict(llm_quota_part_t *p, uint32_t entry)
{
    uint32_t             i, n, *link;
    llm_quota_bucket_t  *b;

    b = &p->bucket[llm_quota_bucket(p, llm_quota_hash(p->entry[entry].id))];

    b->evicted++;
    link = &b->first;

    for (n = 0; n < p->s->n_entry; n++) {
        i = *link;

        if (i == 0 || i > p->s->n_entry) {
            return;
        }

        if (i == entry + 1) {
            *link = p->entry[entry].next;
            return;
        }

        link = &p->entry[i - 1].next;
    }
}


/*
 * The hand goes over the words: an entry that is idle, written, and was not
 * used since the hand's last turn.  Twice around, all that can be is found.
 */

static int64_t
llm_quota_clock(llm_quota_part_t *p)
{
    int                bit;
    uint32_t           i, n, words;
    uint64_t           can;
    llm_quota_word_t  *w;

    words = p->q->entries / 64;

    for (n = 0; n < 2 * words + 1; n++) {
        i = p->s->hand % words;
        w = &p->word[i];

        can = ~(w->dirty | w->busy | w->used);

        if (can) {
            bit = __builtin_ctzll(can);

            return (int64_t) i * 64 + bit;
        }

        /* what is not used until the hand is here again may go then */
        w->used = 0;
        p->s->hand = (i + 1) % words;
    }

    return LLM_AGAIN;
}


int64_t
llm_quota_flight_get(llm_quota_part_t *p)
{
    uint32_t            i;
    llm_quota_shard_t  *s = p->s;

    i = s->free;

    if (i != 0 && i <= s->n_flight && p->flight[i - 1].entry == 0) {
        s->free = p->flight[i - 1].next;
        return i - 1;
    }

    if (s->n_flight < LLM_QUOTA_FLIGHTS) {
        return s->n_flight++;
    }

    return LLM_AGAIN;
}


void
llm_quota_flight_put(llm_quota_part_t *p, uint32_t flight)
{
    p->flight[flight].next = p->s->free;
    p->s->free = flight + 1;
}


void
llm_quota_begin(llm_quota_part_t *p, uint32_t entry, uint32_t flight)
{
    llm_quota_shard_t  *s = p->s;

    s->undo_entry = entry;
    s->undo_flight = flight;
    s->entry = p->entry[entry];
    s->flight = p->flight[flight];

    llm_quota_fence();
    s->undo = 1;
    llm_quota_fence();
}


void
llm_quota_end(llm_quota_part_t *p)
{
    llm_quota_fence();
    p->s->undo = 0;
    llm_quota_fence();
}


/* the marks may stay when the operation is undone: written once too often */

void
llm_quota_change(llm_quota_part_t *p, uint32_t entry)
{
    uint32_t           shard = 1u << p->number;
    llm_quota_t       *q = p->q;
    llm_quota_word_t  *w = &p->word[entry / 64];

    /* after the lock: dirty() has begun an epoch before it comes for this
     * shard, so it sees all that bears an older one */

    p->entry[entry].changed = atomic_load_explicit(&q->epoch,
                                                   memory_order_relaxed);

    if ((atomic_load_explicit(&q->dirty, memory_order_relaxed) & shard) == 0) {
        atomic_fetch_or(&q->dirty, shard);
    }

    llm_quota_fence();
    w->dirty |= 1ull << (entry % 64);
}
