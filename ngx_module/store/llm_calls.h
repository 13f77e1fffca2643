
/*
 * Copyright (C) nginx-llm contributors
 *
 * The store's other half: calls.mdb, an LMDB environment beside data.mdb with
 * what changes all the time: usage records, call records, and events on their
 * way to llm_notify.  Apart from the keys, so that it neither delays a
 * revocation nor fills the keys' map; a full or damaged calls.mdb takes no
 * key's validity away.
 *
 *     usage    key id -> llm_spent_t
 *     calls    key id, unix ms -> record of a call, LLM_CALLS_DAYS days
 *     events   number -> JSON, until it was delivered
 *
 * Open after the fork, once a process; other threads llm_calls_dup().  A
 * handle is used by one thread at a time.  Reads take microseconds, commits
 * milliseconds: writes belong on a thread.  There is one writer at a time on
 * the host: a second begin waits for the first one's commit, so a thread that
 * has begun with one handle does not begin with another.
 *
 * A key's id is "key_" and 24 base32 characters; another is LLM_INVALID.
 */


#ifndef _LLM_CALLS_H_INCLUDED_
#define _LLM_CALLS_H_INCLUDED_


#include "../../engine/llm.h"
#include "llm_quota.h"


#define LLM_CALLS_DAYS     31       /* that call records are kept */
#define LLM_CALL_MODEL     64       /* bytes kept, final zero included */
#define LLM_CALL_ADDR      46
#define LLM_CALL_AGENT     128
#define LLM_CALL_PATH      64
#define LLM_EVENT_MAX      4096     /* bytes of an event's JSON */
#define LLM_EVENTS         10000    /* that wait for their delivery, at most */


typedef struct {
    char      id[LLM_QUOTA_ID + 1];         /* of the key */
    char      request[33];                  /* hex; another is not kept */
    int64_t   time;                         /* of arrival, unix ms */
    uint32_t  status;                       /* HTTP */
    uint32_t  prompt_tokens;
    uint32_t  completion_tokens;
    uint32_t  duration;                     /* ms */
    char      model[LLM_CALL_MODEL];
    char      addr[LLM_CALL_ADDR];
    char      agent[LLM_CALL_AGENT];
    char      path[LLM_CALL_PATH];
} llm_call_t;


typedef struct llm_calls_s  llm_calls_t;


/* of the store in directory store; calls.mdb is made if it is not there,
 * owned by the directory's owner.  size: of the map, which can only grow; 0:
 * as it is, the store's of a new one.  LLM_NOTFOUND: no store there.
 * LLM_INVALID: the file is damaged; every page in use is checked, a microsecond
 * each */
int llm_calls_open(llm_calls_t **c, const char *store, size_t size, char *err,
    size_t errlen);
int llm_calls_dup(llm_calls_t **c, llm_calls_t *from, char *err,
    size_t errlen);
void llm_calls_close(llm_calls_t *c);             /* NULL is fine */

/* one write transaction around several puts, on one thread.  After a put that
 * returned LLM_AGAIN or LLM_INVALID the transaction is as it was: go on
 * without that call.  After another error abort, what was put is lost */
int llm_calls_begin(llm_calls_t *c, char *err, size_t errlen);
int llm_calls_commit(llm_calls_t *c, char *err, size_t errlen);
void llm_calls_abort(llm_calls_t *c);


/* LLM_NOTFOUND, *u zeroed: never used.  LLM_INVALID, *u zeroed: the record is
 * damaged; the next put heals it */
int llm_calls_usage(llm_calls_t *c, const char *id, llm_spent_t *u, char *err,
    size_t errlen);

/* between begin and commit.  Has a reserve of the map and of the disk which
 * calls and events leave alone */
int llm_calls_put_usage(llm_calls_t *c, const char *id, const llm_spent_t *u,
    char *err, size_t errlen);

/* between begin and commit.  Drops a few records that are older than
 * LLM_CALLS_DAYS for each that it adds, so the table stays in its bounds; when
 * the map is nearly full, of the oldest day.  LLM_AGAIN: no room, drop the
 * call.  Texts may hold any bytes: they are kept as llm_call_text() has it */
int llm_calls_put(llm_calls_t *c, const llm_call_t *call, char *err,
    size_t errlen);

/* src, cut to size - 1 bytes at a whole UTF-8 character; '?' for control
 * characters and what is not UTF-8.  dst is terminated; size: 1 at least.
 * Returns its length */
size_t llm_call_text(char *dst, size_t size, const char *src, size_t len);


/* one value of a report, and how often; lists are by falling count */
typedef struct {
    char      name[LLM_CALL_AGENT];
    uint64_t  count;
    int64_t   first;                        /* unix ms */
    int64_t   last;
    int       unusual;                      /* of addresses, see below */
} llm_calls_item_t;

#define LLM_REPORT_ITEMS  64        /* in a list; the rest is counted */

typedef struct {
    uint64_t          calls;
    uint64_t          failed;               /* status 400 and above */
    uint64_t          bad;                  /* damaged records, not counted */
    uint64_t          prompt_tokens;
    uint64_t          completion_tokens;
    int64_t           first;                /* unix ms, 0: none */
    int64_t           last;
    size_t            n_model, n_addr, n_agent, n_path;

    /* how many other values there are; where more than 4096 differ, the least
     * that it may be, and those that came after are in no list */
    uint64_t          more_models, more_addrs, more_agents, more_paths;
    llm_calls_item_t  model[LLM_REPORT_ITEMS];
    llm_calls_item_t  addr[LLM_REPORT_ITEMS];
    llm_calls_item_t  agent[LLM_REPORT_ITEMS];
    llm_calls_item_t  path[LLM_REPORT_ITEMS];
} llm_report_t;

/*
 * What a key did since then (unix ms).  An address is unusual when it made
 * less than 1% of the calls, or was first seen in the last 24 hours before
 * the last call while the key is known for longer than 3 days; what was before
 * since counts as seen and known.  A million calls take less than half a
 * second.  LLM_OK also when there is none.  free() the report.
 */
int llm_calls_report(llm_calls_t *c, const char *id, int64_t since,
    llm_report_t **report, char *err, size_t errlen);


/*
 * Events, each call a transaction of its own, so none between begin and
 * commit.  put: LLM_AGAIN when there is no room; where LLM_EVENTS wait, the
 * oldest of them makes way.  next:
 * the first event that is due at now (unix seconds), marked as being delivered
 * until `until`, so that no other process takes it before; tries counts this
 * one; json is replaced.  LLM_NOTFOUND: none, *due says when the next will be
 * (0: there is none).  done: delivered, drop it.  later: try again at when.
 * Both: LLM_NOTFOUND if it is gone.  A number is never used again.
 */
int llm_event_put(llm_calls_t *c, const char *json, char *err, size_t errlen);
int llm_event_next(llm_calls_t *c, int64_t now, int64_t until,
    uint64_t *number, uint32_t *tries, llm_buf_t *json, int64_t *due,
    char *err, size_t errlen);
int llm_event_due(llm_calls_t *c, int64_t now);   /* 1: next has one; reads */
int llm_event_done(llm_calls_t *c, uint64_t number, char *err, size_t errlen);
int llm_event_later(llm_calls_t *c, uint64_t number, int64_t when, char *err,
    size_t errlen);

/* bytes of the map in use, and all of it; may wait for the disk.  Not between
 * begin and commit */
int llm_calls_space(llm_calls_t *c, uint64_t *used, uint64_t *map, char *err,
    size_t errlen);

/* number of the last committed transaction, as llm_store_txnid() */
uint64_t llm_calls_txnid(llm_calls_t *c);

/* a copy of calls.mdb as of now, synced, mode 0600, while others write; it
 * may be put in calls.mdb's place when no process has that open.  LLM_EXISTS:
 * there is a file */
int llm_calls_copy(llm_calls_t *c, const char *to, char *err, size_t errlen);


#endif /* _LLM_CALLS_H_INCLUDED_ */
