
/*
 * Copyright (C) nginx-llm contributors
 *
 * The quotas' shared memory, for the files of the quotas only.
 *
 *     llm_quota_s     what never changes after init, and the writer's turn
 *     shard[16]       a lock, marks, and the copies that undo half an operation
 *     bucket[]        of each shard: hash chains of entries
 *     word[]          of each shard: three bits an entry
 *     entry[]         of each shard: keys
 *     flight[]        of each shard: running requests
 *
 * Everything of a shard is read and written under its lock.  A process may be
 * killed at any instruction, also there.  An operation that changes an entry
 * and a flight copies both aside first (llm_quota_begin()), and the next
 * holder of the lock puts them back: it happened whole or not at all.  All
 * else - chains, the list of free flights, what is reserved and running - is
 * made anew from entries and flights then.
 *
 * Indexes are kept plus one where 0 says none: zeroed memory is an empty
 * table, and what lies above the marks n_entry and n_flight was never touched.
 */


#ifndef _LLM_QUOTA_INT_H_INCLUDED_
#define _LLM_QUOTA_INT_H_INCLUDED_


#include <pthread.h>
#include <stdatomic.h>

#include "llm_quota.h"


#define LLM_QUOTA_MAGIC    0x31544f55514d4c4cull    /* "LLMQUOT1" */
#define LLM_QUOTA_VERSION  1

#define LLM_QUOTA_SHARDS   16
#define LLM_QUOTA_FLIGHTS  16384    /* requests at a time in a shard */

#define LLM_QUOTA_LINE     64
#define LLM_QUOTA_PAGE     4096


/* a running request */
typedef struct {
    uint64_t  gen;              /* 44 bits, grows with every request */
    uint64_t  reserved;         /* tokens */
    uint32_t  entry;            /* + 1; 0: free */
    int32_t   pid;
    uint32_t  next;             /* free flight + 1 */
    uint32_t  pad;
} llm_quota_flight_t;

_Static_assert(sizeof(llm_quota_flight_t) == 32, "a flight in shared memory");


/* a key */
typedef struct {
    char          id[LLM_QUOTA_ID];     /* zero padded; id[0] 0: unused */
    uint32_t      next;                 /* in its chain: entry + 1 */
    uint32_t      running;              /* its flights */
    uint32_t      pad;
    uint64_t      reserved;             /* their tokens */
    uint64_t      changed;              /* the epoch of its last change */
    llm_limits_t  lim;                  /* of its last enter() */
    llm_spent_t   usage;
} llm_quota_entry_t;

_Static_assert(sizeof(llm_limits_t) == 32, "limits in shared memory");
_Static_assert(sizeof(llm_spent_t) == 168, "usage in memory and on disk");
_Static_assert(sizeof(llm_quota_entry_t) == 256, "an entry in shared memory");


/* the state of 64 entries: one may be evicted when it has none of the bits */
typedef struct {
    uint64_t  dirty;            /* not written as it is */
    uint64_t  busy;             /* has flights */
    uint64_t  used;             /* by a request since the hand came by */
    uint64_t  pad;
} llm_quota_word_t;

_Static_assert(sizeof(llm_quota_word_t) == 32, "a word in shared memory");


typedef struct {
    uint32_t  first;            /* entry + 1 */
    uint32_t  evicted;          /* entries that left this chain */
} llm_quota_bucket_t;

_Static_assert(sizeof(llm_quota_bucket_t) == 8, "a bucket in shared memory");


typedef struct {
    union {
        pthread_mutex_t  mutex;         /* robust, shared by processes */
        char             line[LLM_QUOTA_LINE];
    } lock;

    uint32_t            n_entry;        /* below: were used once */
    uint32_t            n_flight;
    uint32_t            free;           /* flight + 1 */
    uint32_t            running;        /* flights in use */
    uint32_t            hand;           /* the clock's, a word */
    uint32_t            repairs;

    /* 1: an operation is at work, the copies are as it was before */
    uint32_t            undo;
    uint32_t            undo_entry;
    uint32_t            undo_flight;
    uint32_t            pad[7];
    llm_quota_flight_t  flight;
    llm_quota_entry_t   entry;
    uint64_t            pad2[4];
} llm_quota_shard_t;

_Static_assert(sizeof(pthread_mutex_t) <= LLM_QUOTA_LINE, "a lock in a line");
_Static_assert(sizeof(llm_quota_shard_t) == 448, "a shard in shared memory");


struct llm_quota_s {
    uint64_t           magic;
    uint32_t           version;
    uint32_t           keys;
    uint64_t           size;

    /* of each shard; multiples of 64, buckets a power of two */
    uint32_t           entries;
    uint32_t           buckets;

    /* from the header's beginning, bytes */
    uint64_t           bucket_off;
    uint64_t           word_off;
    uint64_t           entry_off;
    uint64_t           flight_off;

    /* changes bear its number; dirty() begins the next one.  A shard's bit of
     * dirty is set before any of its entries' */
    _Alignas(LLM_QUOTA_LINE) _Atomic uint64_t  epoch;
    _Atomic uint32_t   dirty;

    /* the turn's thread, which alone writes them; 0: none */
    _Atomic int32_t    writer;
    uint64_t           writing;         /* the turn's number */

    _Alignas(LLM_QUOTA_LINE) union {
        pthread_mutex_t  mutex;         /* robust; the writer's turn */
        char             line[LLM_QUOTA_LINE];
    } turn;

    _Alignas(LLM_QUOTA_LINE) llm_quota_shard_t  shard[LLM_QUOTA_SHARDS];
};

_Static_assert(sizeof(struct llm_quota_s) == 192 + 16 * 448,
               "the header in shared memory");


/* a shard's parts as they are mapped here; on the stack */
typedef struct {
    llm_quota_t         *q;
    llm_quota_shard_t   *s;
    llm_quota_bucket_t  *bucket;
    llm_quota_word_t    *word;
    llm_quota_entry_t   *entry;
    llm_quota_flight_t  *flight;
    uint32_t             number;
} llm_quota_part_t;


/* llm_quota_table.c */

/* LLM_INVALID: no id.  padded: LLM_QUOTA_ID bytes */
int llm_quota_id(const char *id, char *padded, uint64_t *hash);

#define llm_quota_shard_of(hash)   ((uint32_t) ((hash) >> 60))

/* lock a shard, repairing it after a death; LLM_ERROR: it can't be */
int llm_quota_lock(llm_quota_t *q, uint32_t shard, llm_quota_part_t *p);
void llm_quota_unlock(llm_quota_part_t *p);

/* an entry's index, or LLM_NOTFOUND */
int64_t llm_quota_find(llm_quota_part_t *p, const char *id, uint64_t hash);

/* how often an entry left the key's chain */
uint32_t llm_quota_evicted(llm_quota_part_t *p, uint64_t hash);

/* a new entry's index, or LLM_AGAIN when none can be evicted */
int64_t llm_quota_load(llm_quota_part_t *p, const char *id, uint64_t hash,
    const llm_spent_t *usage);

/* a flight's index, or LLM_AGAIN; it is free until its entry is set */
int64_t llm_quota_flight_get(llm_quota_part_t *p);
void llm_quota_flight_put(llm_quota_part_t *p, uint32_t flight);

/* between begin and end, entry and flight may change */
void llm_quota_begin(llm_quota_part_t *p, uint32_t entry, uint32_t flight);
void llm_quota_end(llm_quota_part_t *p);

/* within them: the entry's record is another than the written one */
void llm_quota_change(llm_quota_part_t *p, uint32_t entry);

/* stores before it are made before those after it, for whoever finds the
 * memory after this process was killed in between.  The kernel's hand-over of
 * a dead holder's lock orders them for other processors */
#define llm_quota_fence()   atomic_signal_fence(memory_order_seq_cst)


/* llm_quota_limits.c: no shared state, all of the caller's */

/* now, within what the arithmetic can do */
int64_t llm_quota_time(int64_t now);

/* a record that comes from elsewhere: the same */
void llm_quota_sanitize(llm_spent_t *u);

/* forget what is older than the window, the day, the month */
void llm_quota_roll(llm_spent_t *u, int64_t now);

/* add, staying at the top */
uint64_t llm_quota_sum(uint64_t a, uint64_t b);
void llm_quota_count(llm_spent_t *u, uint64_t tokens);
void llm_quota_count_request(llm_spent_t *u, int64_t now);

/* is there room for want tokens beside others' reservations, and with start
 * for one more request?  usage is rolled */
llm_quota_e llm_quota_check(const llm_quota_entry_t *e, uint64_t others,
    uint64_t want, int start, int64_t now, uint32_t *retry);

/* tokens there are beside others' reservations */
uint64_t llm_quota_room(const llm_quota_entry_t *e, uint64_t others);

void llm_quota_show(llm_quota_view_t *v, const llm_quota_entry_t *e,
    int64_t now, llm_quota_e reason, uint32_t retry);


#endif /* _LLM_QUOTA_INT_H_INCLUDED_ */
