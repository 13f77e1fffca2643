
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of calls.mdb share among themselves.  The layout:
 *
 *     usage   id, 15 bytes                     -> usage record
 *     calls   id, 48-bit unix ms, 16-bit n     -> call record
 *     days    32-bit day since 1970, id        -> nothing: calls of that day
 *     events  64-bit number                    -> event record
 *     meta    "schema"                         -> 32-bit number
 *             "event"                          -> the last event's number
 *
 * Numbers in keys are big-endian, so that they sort; those in records are
 * little-endian.  An id is the 120 bits that "key_..." spells; n makes calls
 * of one millisecond differ.
 */


#ifndef _LLM_CALLS_INT_H_INCLUDED_
#define _LLM_CALLS_INT_H_INCLUDED_


#include <endian.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "llm_calls.h"


#define LLM_CALLS_FILE     "calls.mdb"
#define LLM_CALLS_LOCK     "calls.mdb-lock"
#define LLM_CALLS_FRESH    "calls-new.mdb"

#define LLM_CALLS_SCHEMA   1
#define LLM_CALLS_SIZE     ((size_t) 1 << 30)   /* of the map, by default */
#define LLM_CALLS_MINSIZE  ((size_t) 1 << 20)
#define LLM_CALLS_DBS      5

#define LLM_CALLS_ID       15
#define LLM_CALL_KEY       (LLM_CALLS_ID + 8)
#define LLM_DAY_KEY        (4 + LLM_CALLS_ID)
#define LLM_DAY_MS         ((int64_t) 86400000)

#define LLM_USAGE_SIZE     (4 + 4 * 8 + 2 * 4 + 3 * 8                         \
                            + 2 * LLM_QUOTA_SLICES * 4 + 4)

#define LLM_CALL_HEAD      36
#define LLM_CALL_MAX       (LLM_CALL_HEAD + LLM_CALL_MODEL + LLM_CALL_ADDR    \
                            + LLM_CALL_AGENT + LLM_CALL_PATH)

/* pages that a put may take: its leaf, a split, and those of what it drops;
 * one of the key that the last put was of most often goes to the same leaf.
 * And what a transaction takes beside its puts.  The file grows ahead by it,
 * a thousand puts by 16m; the reserve covers what it is wrong by */
#define LLM_CALLS_COST     4
#define LLM_CALLS_NEXT     1
#define LLM_CALLS_BASE     32


/* shared by the handles of a process, gone with the last of them */

typedef struct {
    MDB_env           *env;
    MDB_dbi            usage;
    MDB_dbi            calls;
    MDB_dbi            days;
    MDB_dbi            events;
    MDB_dbi            meta;
    size_t             psize;
    char              *path;        /* of calls.mdb */
    atomic_uint        refs;

    /* read: by transactions.  write: to map the file anew, which LMDB allows
     * when the process has none */
    pthread_rwlock_t   lock;
} llm_calls_env_t;


struct llm_calls_s {
    llm_calls_env_t   *shared;
    MDB_txn           *rtxn;        /* reset between calls, keeps its slot */
    MDB_txn           *wtxn;        /* between begin and commit */

    /* of the write transaction, in pages */
    uint64_t           used;        /* of the map when it began */
    uint64_t           left;        /* for puts, the reserve is not in it */
    uint64_t           spent;       /* on puts, at most */
    uint64_t           file;        /* length of the file */
    uint32_t           today;       /* days since 1970 */
    unsigned           low:1;       /* little is left: drop calls early */
    unsigned           pruned:1;    /* nothing in it is old */

    /* the last put's entry in days, so it is there */
    unsigned           day_known:1;
    uint8_t            day[LLM_DAY_KEY];

    /* the last put's place in calls: the next is near it most often */
    unsigned           last_known:1;
    uint8_t            last[LLM_CALL_KEY];
    MDB_cursor        *cursor;      /* the transaction's; NULL: not yet */
};


/* a call record as it lies in the map; nothing is terminated */

typedef struct {
    uint32_t           status;
    uint32_t           prompt_tokens;
    uint32_t           completion_tokens;
    uint32_t           duration;
    const char        *model;
    const char        *addr;
    const char        *agent;
    const char        *path;
    uint8_t            model_len;
    uint8_t            addr_len;
    uint8_t            agent_len;
    uint8_t            path_len;
} llm_call_view_t;


/* checks the directory and what may be trusted to LMDB's open; makes
 * calls.mdb when it is not there */
int llm_calls_files(const char *store, size_t size, char *err, size_t errlen);

/* what root made goes to the directory's owner */
int llm_calls_chown(const char *store, char *err, size_t errlen);


/* message and return code for LMDB's or the system's code */
int llm_calls_error(llm_calls_t *c, int rc, const char *place, char *err,
    size_t errlen);

/* the open write transaction, or a fresh read transaction: end it */
int llm_calls_read(llm_calls_t *c, MDB_txn **txn, char *err, size_t errlen);
void llm_calls_read_end(llm_calls_t *c, MDB_txn *txn);

/* when a write transaction has begun: how much room it has */
int llm_calls_measure(llm_calls_t *c, char *err, size_t errlen);

/* room for a put of so many pages; LLM_AGAIN: none, the transaction is as it
 * was */
int llm_calls_room(llm_calls_t *c, uint64_t cost, char *err, size_t errlen);


/* the 15 bytes of "key_..."; LLM_INVALID */
int llm_calls_id(uint8_t *p, const char *id, char *err, size_t errlen);

void llm_usage_pack(uint8_t *p, const llm_spent_t *u);
int llm_usage_unpack(const void *data, size_t len, llm_spent_t *u);

/* the length, at most LLM_CALL_MAX */
size_t llm_call_pack(uint8_t *p, const llm_call_t *call);
int llm_call_unpack(const void *data, size_t len, llm_call_view_t *v);


/* bytes: 8 at most, a constant, so that each is one store or load */

static inline void
llm_le_put(uint8_t *p, uint64_t value, size_t bytes)
{
    value = htole64(value);
    memcpy(p, &value, bytes);
}


static inline uint64_t
llm_le_get(const uint8_t *p, size_t bytes)
{
    uint64_t  value;

    value = 0;
    memcpy(&value, p, bytes);

    return le64toh(value);
}


static inline void
llm_be_put(uint8_t *p, uint64_t value, size_t bytes)
{
    value = htobe64(value << (64 - 8 * bytes));
    memcpy(p, &value, bytes);
}


static inline uint64_t
llm_be_get(const uint8_t *p, size_t bytes)
{
    uint64_t  value;

    value = 0;
    memcpy(&value, p, bytes);

    return be64toh(value) >> (64 - 8 * bytes);
}


#endif /* _LLM_CALLS_INT_H_INCLUDED_ */
