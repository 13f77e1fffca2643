
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas: what each key has used and reserved, in memory that nginx's workers
 * and the engine's helper share.  Every call is a few hundred nanoseconds
 * under a lock that survives a killed holder; none allocates or waits for
 * input or output.
 *
 *     llm_quota_enter()     worker: a request begins; counts it
 *     llm_quota_reserve()   worker or engine: tokens, before they are used
 *     llm_quota_leave()     worker: it has ended; what was used stays counted
 *
 * What may be spent is checked before it is spent, used plus reserved against
 * the limit, so no number of parallel requests spends more than the limit.
 *
 * The table is a cache of usage records of the store: an entry is loaded when
 * its key first calls, and what has changed is written every half second
 * (llm_quota_dirty()), reservations counted as spent.  So a crash of the host
 * loses at most that half second, and a crash in mid-request never gives
 * tokens back that may have been used.
 *
 * A minute is the last 60 to 65 seconds (13 slices of 5): no 60 seconds see
 * more than the limit.  Days and months are UTC's.
 */


#ifndef _LLM_QUOTA_H_INCLUDED_
#define _LLM_QUOTA_H_INCLUDED_


#include <sys/types.h>

#include "../../engine/llm.h"


#define LLM_QUOTA_ID      28        /* a key's id, "key_..." */
#define LLM_QUOTA_KEYS    (1u << 24)
#define LLM_QUOTA_SLICES  13
#define LLM_QUOTA_SLICE   5         /* seconds */


/* what a key may; 0: no limit */
typedef struct {
    uint32_t  rpm;              /* requests a minute */
    uint32_t  tpm;              /* tokens a minute, prompt and completion */
    uint32_t  concurrent;       /* requests at a time */
    uint32_t  pad;
    uint64_t  day;              /* tokens a day */
    uint64_t  month;            /* tokens a month */
} llm_limits_t;


/* what a key has used: the store's record of it, host byte order there */
typedef struct {
    int64_t   last_used;        /* unix seconds, 0: never */
    uint64_t  calls;            /* ever */
    uint64_t  prompt_tokens;    /* ever */
    uint64_t  completion_tokens;
    uint32_t  day;              /* number of the day since 1970 */
    uint32_t  month;            /* 12 * year + month - 1 */
    uint64_t  day_tokens;       /* used, and reserved where it was written */
    uint64_t  month_tokens;
    int64_t   slice;            /* the newest slice: unix seconds / 5 */
    uint32_t  requests[LLM_QUOTA_SLICES];     /* [slice % 13] */
    uint32_t  tokens[LLM_QUOTA_SLICES];
} llm_spent_t;


typedef enum {
    LLM_QUOTA_OK = 0,
    LLM_QUOTA_RPM,              /* 429 */
    LLM_QUOTA_TPM,              /* 429 */
    LLM_QUOTA_CONCURRENT,       /* 429 */
    LLM_QUOTA_DAY,              /* 402 */
    LLM_QUOTA_MONTH,            /* 402 */
    LLM_QUOTA_FULL              /* 503: the table has no room now */
} llm_quota_e;


/* how a key stands, for headers and reports; remaining counts reservations as
 * spent.  Where a limit is 0 its fields are 0 */
typedef struct {
    llm_quota_e   reason;
    uint32_t      retry;        /* seconds, when refused: 1 at least */
    uint32_t      rpm_left;
    uint32_t      rpm_reset;    /* seconds until all of it is there again */
    uint32_t      tpm_left;
    uint32_t      tpm_reset;
    uint32_t      running;      /* requests */
    uint64_t      day_left;
    uint64_t      month_left;
    uint64_t      reserved;     /* tokens */
    llm_spent_t   usage;
} llm_quota_view_t;


/* a request's place in the table; 0: none.  What is read from it is checked:
 * an old or invented one does nothing */
typedef uint64_t  llm_quota_ticket_t;


typedef struct llm_quota_s  llm_quota_t;


/* bytes for so many keys (a power of two up to LLM_QUOTA_KEYS) at a time; 0:
 * no such table */
size_t llm_quota_size(uint32_t keys);

/* format zeroed shared memory, aligned to 64 bytes; the master, once.
 * Untouched pages stay so */
int llm_quota_init(llm_quota_t *q, size_t size, uint32_t keys, char *err,
    size_t errlen);

/* 1 when the memory is this build's table; size: bytes there are */
int llm_quota_valid(const llm_quota_t *q, size_t size);


/*
 * A request of the key id begins, now (unix milliseconds).  LLM_OK: counted,
 * *t is its ticket.  LLM_AGAIN: refused, v->reason says why; nothing counted.
 * LLM_NOTFOUND: the key is not in the table: load its usage record (zeroes if
 * there is none), in a transaction begun after this call, and call again with
 * it and *t untouched; usage is NULL in the first call.  *t tells whether the
 * key came and went in between: LLM_NOTFOUND once more, load it again.
 * LLM_INVALID: an id of another length than 1 to LLM_QUOTA_ID, or no pid.
 * pid: the worker's, whose death ends the request.  v may be NULL.
 *
 * now may step back: that gives nothing back.  The newest slice, day and month
 * that a key has seen stay its current ones until the clock is there again.
 */
int llm_quota_enter(llm_quota_t *q, const char *id, const llm_limits_t *lim,
    const llm_spent_t *usage, pid_t pid, int64_t now, llm_quota_ticket_t *t,
    llm_quota_view_t *v);

/*
 * Reserve tokens for a request that has entered: want in all, with what it has
 * reserved before, least in all at least; *got is what it then has.  LLM_AGAIN:
 * least is not to be had, nothing changed; v says why.  A key without limits
 * gets all.  The limits are those of the key's last enter(); where they leave
 * less than what the request has already, it keeps that.  A smaller want gives
 * the rest back.  LLM_NOTFOUND: no such ticket.  v may be NULL.
 */
int llm_quota_reserve(llm_quota_t *q, llm_quota_ticket_t t, uint64_t want,
    uint64_t least, int64_t now, uint64_t *got, llm_quota_view_t *v);

/* the request has ended and used so much, which counts in full even when it
 * is more than was reserved; what it reserved is free again.  Once a ticket:
 * a second call does nothing */
void llm_quota_leave(llm_quota_t *q, llm_quota_ticket_t t,
    uint64_t prompt_tokens, uint64_t completion_tokens, int64_t now);

/* how a key stands; LLM_NOTFOUND: it is not in the table */
int llm_quota_view(llm_quota_t *q, const char *id, const llm_limits_t *lim,
    int64_t now, llm_quota_view_t *v);

/*
 * End the requests of processes that are gone: what they reserved counts as
 * used, as completion tokens.  Returns how many.  drop() ends those of one
 * process: a worker calls it for its own number when it starts, which a dead
 * one may have had before.
 */
int llm_quota_reap(llm_quota_t *q, int64_t now);
int llm_quota_drop(llm_quota_t *q, pid_t pid, int64_t now);


/*
 * The entries that changed since they were last written: calls f for each,
 * outside the lock, with reservations counted as spent.  f returns LLM_OK;
 * another code stops, gives the turn up, and is returned.  When all are
 * written durably (the caller has committed), llm_quota_written() says so with
 * the number that dirty() gave; entries may be evicted only then.  Where the
 * commit failed it is called with 0: all stay as they are.
 *
 * One caller at a time, any process: LLM_AGAIN when another is at it (and it
 * lives).  The turn is the thread's from dirty() to written(), as LMDB's write
 * transaction is; it ends with the thread too.
 */
int llm_quota_dirty(llm_quota_t *q, int (*f)(void *data, const char *id,
    const llm_spent_t *usage), void *data, int64_t now, uint64_t *number);
void llm_quota_written(llm_quota_t *q, uint64_t number);

/* 1 when something is to be written: an idle host has no timer */
int llm_quota_is_dirty(llm_quota_t *q);


#endif /* _LLM_QUOTA_H_INCLUDED_ */
