
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail: who asked what, when, from where, and a proof that the list
 * is complete.  audit.mdb, an LMDB environment beside data.mdb, with
 *
 *     records   number -> record; numbers begin at 1 and have no holes
 *     closes    number of an opening record -> number of its closing record
 *     keys      key id -> numbers of its opening records
 *     hours     unix hour -> the first number of that hour
 *     content   number of a record -> sealed input or output
 *     epochs    number -> keys of the trail, sealed under the secret
 *     meta      head, base, schema
 *
 * A call has two records: one that is durable before the first byte of its
 * answer leaves, one when it has ended.  Each record holds the SHA-256 of the
 * one before.  The head (number and hash of the last record) has a MAC, and
 * at least once a minute in which something was written a checkpoint, itself a
 * record, signs the hash before it with Ed25519.  So
 *
 *     edited, dropped, reordered, inserted   breaks the chain of hashes
 *     resealed (the chain made anew)         breaks the next checkpoint's
 *                                            signature, or the head's MAC
 *     truncated, or an older file put back   the head in audit.head, a file
 *                                            beside, is further on
 *
 * and who keeps a checkpoint elsewhere ("llmctl audit checkpoint") needs to
 * trust nothing on this machine.
 *
 * The trail's keys are random, of an epoch; they lie sealed under the secret
 * (llm_secret.h).  When another version of the secret is active, a new epoch
 * begins: a checkpoint signed by the old key, a record with the new public
 * key, and all older epochs' keys are sealed anew, so that a version can be
 * retired.  Of an epoch's root, by HMAC-SHA256: "sign" (the Ed25519 seed),
 * "head", "fingerprint", "content".
 *
 * A text's fingerprint is HMAC-SHA256 under the epoch's fingerprint key: it
 * can be looked up by who has the text, and tells nothing to who has the file.
 *
 * Times are unix milliseconds.  A record's time never runs backwards: where
 * the clock was stepped back it stays, and wall says what the clock said.
 * mono is CLOCK_BOOTTIME.
 *
 * Open after the fork, once a process; other threads llm_audit_dup().  A
 * handle is used by one thread at a time.  Commits block (milliseconds, and
 * while another process writes): on a thread.  There is one writer at a time
 * on the host, which gives the records their order.
 *
 * LLM_FULL: no room in the map or on the disk.  LLM_AWAY: the file is no
 * longer the one at its path (it was removed or replaced).  After either,
 * nothing of the transaction is written, and the next begin tries again.
 */


#ifndef _LLM_AUDIT_H_INCLUDED_
#define _LLM_AUDIT_H_INCLUDED_


#include <jansson.h>

#include "../../engine/llm.h"
#include "../../engine/llm_params.h"
#include "../store/llm_secret.h"


#define LLM_AUDIT_FILE       "audit.mdb"
#define LLM_AUDIT_HEAD       "audit.head"
#define LLM_AUDIT_KEEP       ((int64_t) 180 * 86400)    /* seconds */
#define LLM_AUDIT_CHECKPOINT 60000      /* ms between signatures */
#define LLM_AUDIT_HASH       32
#define LLM_AUDIT_INPUTS     64         /* fingerprints of a call's input */
#define LLM_AUDIT_OUTPUTS    16
#define LLM_AUDIT_CONTENT    (16 * 1024 * 1024)     /* of a text, at most */


typedef struct llm_audit_s  llm_audit_t;


typedef enum {
    LLM_AUDIT_OPEN = 1,         /* a call begins */
    LLM_AUDIT_CLOSE,            /* it has ended */
    LLM_AUDIT_SIGNED,           /* a checkpoint */
    LLM_AUDIT_START,            /* the trail begins, or goes on after a loss */
    LLM_AUDIT_EPOCH,            /* new keys */
    LLM_AUDIT_PRUNED            /* records before a number are gone */
} llm_audit_type_e;


/* texts: any bytes, NULL: none.  They are kept as llm_call_text() has it, cut
 * to what stands here; the caller keeps keys out of them */
typedef struct {
    const char  *data;
    size_t       len;
} llm_audit_text_t;


/* the opening record.  Zero it, set what is known */
typedef struct {
    char               request[33];     /* id: 32 hex */
    int64_t            wall;            /* of arrival, unix ms */
    int64_t            mono;            /* ms */
    const char        *key;             /* "key_...", NULL: none is known */
    uint8_t            role;            /* llm_role_e, with a key */
    llm_audit_text_t   client;          /* 64 bytes kept */
    llm_audit_text_t   addr;            /* 46 */
    llm_audit_text_t   method;          /* 16 */
    llm_audit_text_t   path;            /* 256 */
    llm_audit_text_t   model;           /* 64 */
    llm_audit_text_t   agent;           /* 128 */

    /* the body, whole.  Its fingerprint is kept, and that of each text in it
     * (messages' contents and their parts, prompts, input), when it is JSON,
     * first and last LLM_AUDIT_INPUTS / 2 of them */
    llm_audit_text_t   input;
    unsigned           content:1;       /* input is kept, sealed */
    unsigned           act:1;           /* an administrative action */
} llm_audit_open_t;


/* the closing record.  Zero it, set what is known */
typedef struct {
    char               request[33];
    uint64_t           number;          /* of the opening record; 0: there is
                                           none, as it could not be written */
    int64_t            wall;            /* of the end */
    int64_t            mono;
    uint32_t           status;          /* HTTP; 0: the client had gone */
    uint32_t           prompt_tokens;
    uint32_t           cached_tokens;
    uint32_t           completion_tokens;
    uint64_t           queue_us;        /* 0: not known */
    uint64_t           ttft_us;         /* from arrival to the first token */
    uint64_t           inference_us;    /* from the first step to the last */
    uint64_t           total_us;        /* from arrival to the end */
    uint64_t           sent;            /* bytes of the answer's body */
    uint64_t           seed;            /* that was used, with_seed */
    llm_effective_t    effective;       /* with_seed: the same of these */
    uint64_t           build;           /* of what answered: llm_build() */
    const char        *model;           /* NULL: as in the opening record */
    const char        *finish;          /* "stop", "length", ..., NULL */
    const char        *code;            /* of the error, NULL: none */

    /* what was generated, a choice each: text as the model said it; of an
     * answer that was passed on, its body */
    llm_audit_text_t   output[LLM_AUDIT_OUTPUTS];
    uint32_t           n_output;

    /* in output's place, for what is too long to keep: the context that
     * llm_audit_print_done() ended */
    const uint8_t     *print;           /* LLM_AUDIT_HASH bytes, NULL: none */
    unsigned           content:1;       /* outputs are kept, sealed */
    unsigned           with_seed:1;
} llm_audit_close_t;


/*
 * audit.mdb in the store's directory; made when neither it nor audit.head is
 * there, owned by the directory's owner.  secret is borrowed until the last
 * handle is closed; version: the active one.  NULL: as
 * llm_audit_open_read(), what needs no key.
 *
 * LLM_NOTFOUND: no store there.  LLM_AWAY: audit.mdb or audit.head was removed
 * while the other says that there were records, or audit.mdb is older than
 * audit.head knows: llm_audit_renew().  LLM_INVALID: it is damaged, of another
 * secret, not the directory's owner's, or others may read it.
 */
int llm_audit_open(llm_audit_t **a, const char *store,
    const llm_secret_t *secret, uint32_t version, char *err, size_t errlen);

/* to look at what is there, in whatever state it is: nothing is made, begun or
 * checked, and a write is LLM_INVALID.  LLM_NOTFOUND: there is no audit.mdb.
 * LLM_INVALID: LMDB can't read it */
int llm_audit_open_read(llm_audit_t **a, const char *store,
    const llm_secret_t *secret, char *err, size_t errlen);

int llm_audit_dup(llm_audit_t **a, llm_audit_t *from, char *err,
    size_t errlen);
void llm_audit_close(llm_audit_t *a);             /* NULL is fine */

/* after a loss: what is there of audit.mdb and audit.head is moved aside
 * (audit-lost-UNIXTIME.*), and a new trail begins whose first record tells the
 * number and hash that audit.head knew */
int llm_audit_renew(const char *store, const llm_secret_t *secret,
    uint32_t version, char *err, size_t errlen);

/* before a version of the secret goes: LLM_EXISTS when keys of the trail are
 * sealed under it.  retire opens the trail, which seals them anew under
 * current, the active version; LLM_OK also where there is none.  Not where the
 * process has it open: sealed, then */
int llm_audit_sealed(llm_audit_t *a, uint32_t version, char *err,
    size_t errlen);
int llm_audit_retire(const char *store, const llm_secret_t *secret,
    uint32_t current, uint32_t version, char *err, size_t errlen);

/*
 * One write transaction around several puts, on one thread; durable when
 * commit returns LLM_OK.  After any error of a put: abort.  A commit signs a
 * checkpoint when the last one is LLM_AUDIT_CHECKPOINT old, by time.  begin
 * waits for another process's commit.  A put that returns LLM_INVALID or
 * LLM_EXISTS (there is a closing record already) has left the transaction as it
 * was.  A closing record whose opening record is of another trail, or is not
 * there, is kept without it.
 */
int llm_audit_begin(llm_audit_t *a, char *err, size_t errlen);
int llm_audit_put_open(llm_audit_t *a, const llm_audit_open_t *o,
    uint64_t *number, char *err, size_t errlen);
int llm_audit_put_close(llm_audit_t *a, const llm_audit_close_t *c, char *err,
    size_t errlen);
int llm_audit_commit(llm_audit_t *a, char *err, size_t errlen);
void llm_audit_abort(llm_audit_t *a);

/* sign what is not signed yet: a transaction of its own.  LLM_OK also when
 * there is nothing to sign */
int llm_audit_sign(llm_audit_t *a, char *err, size_t errlen);

/* 1 when records wait for a checkpoint; reads */
int llm_audit_unsigned(llm_audit_t *a);

/* drop records that are older than keep seconds, in transactions of some
 * thousand; the chain goes on from a base that has a MAC, and a record of what
 * was dropped.  *dropped may be NULL.  Never drops what is not signed */
int llm_audit_prune(llm_audit_t *a, int64_t now, int64_t keep,
    uint64_t *dropped, char *err, size_t errlen);

/* can a record be written now?  Looks at the file, the disk and the map, and
 * writes nothing; for readiness checks */
int llm_audit_ready(llm_audit_t *a, char *err, size_t errlen);

typedef struct {
    uint64_t  first;            /* number; first > last: none */
    uint64_t  last;
    uint64_t  signed_to;        /* the last number that a checkpoint covers */
    int64_t   signed_at;        /* unix ms */
    int64_t   time;             /* of the last record */
    uint64_t  bytes;            /* of audit.mdb */
    uint32_t  epoch;
} llm_audit_stat_t;

int llm_audit_stat(llm_audit_t *a, llm_audit_stat_t *st, char *err,
    size_t errlen);


/* fingerprint of a text that comes in pieces, under the epoch in force when
 * it began; llm_audit_t is not locked: any thread */
typedef struct llm_audit_print_s  llm_audit_print_t;

llm_audit_print_t *llm_audit_print_new(llm_audit_t *a);
void llm_audit_print(llm_audit_print_t *p, const void *data, size_t len);
void llm_audit_print_done(llm_audit_print_t *p,
    uint8_t print[LLM_AUDIT_HASH]);               /* frees p */
void llm_audit_print_free(llm_audit_print_t *p);  /* NULL is fine */


/* ---- reading ---- */

/* a call as a query gives it: both records together.  Texts are terminated
 * and good until the callback returns */
typedef struct {
    uint64_t     number;        /* of the opening record */
    uint64_t     close;         /* of the closing record; 0: none (yet, or the
                                   process died) */
    int64_t      time;          /* of the opening record */
    int64_t      wall, mono;
    int64_t      end;           /* time of the closing record */
    char         request[33];
    char         key[32];       /* "": none */
    const char  *role;          /* "" : none */
    char         client[65];
    char         addr[47];
    char         method[17];
    char         path[257];
    char         model[65];
    char         agent[129];
    int          act;
    int          with_input, with_output;     /* content is kept */

    uint32_t     epoch;         /* of the fingerprints */
    uint32_t     n_input;       /* [0]: of the whole body */
    uint8_t      input[LLM_AUDIT_INPUTS + 1][LLM_AUDIT_HASH];
    uint32_t     output_epoch;
    uint32_t     n_output;
    uint8_t      output[LLM_AUDIT_OUTPUTS][LLM_AUDIT_HASH];

    /* of the closing record */
    uint32_t     status;
    uint32_t     prompt_tokens, cached_tokens, completion_tokens;
    uint64_t     queue_us, ttft_us, inference_us, total_us, sent, seed, build;
    int          with_seed;
    llm_effective_t  effective;     /* with_seed */
    char         finish[24];
    char         code[48];
} llm_audit_call_t;


/* all that are set must hold; zero it first */
typedef struct {
    const char  *key;           /* id */
    const char  *client;
    const char  *addr;          /* address or CIDR range */
    const char  *model;
    const char  *path;          /* its beginning */
    const char  *request;       /* id, or the beginning of one */
    uint32_t     status;        /* 404, or 4 for 4xx; 0: any */
    int          unfinished;    /* only those without a closing record */
    int          acts;          /* only administrative actions */
    const char  *text;          /* whose fingerprint is in input or output */
    size_t       text_len;
    int64_t      since;         /* unix ms; 0: the beginning */
    int64_t      until;         /* not included; 0: the end */
    uint64_t     before;        /* numbers below; 0: the newest first */
    uint32_t     limit;         /* of calls; 0: all */
    uint64_t     look;          /* records to look at, at most; 0: all */
    int          oldest;        /* oldest first; before is after, then */
} llm_audit_query_t;

/*
 * each() is called for every call, newest first; not LLM_OK ends the query and
 * is returned.  *next: for before, to go on after limit or look was reached;
 * 0: that was all.  By key and time through indexes, and a whole request id by
 * the time in it; the rest is looked at record by record (two million a
 * second).  Long queries give up their reader now and then, so that writers
 * can reuse space.  A damaged record is LLM_INVALID with its number.  A closing
 * record without an opening one (that could not be written) is a call whose
 * number is close.
 */
int llm_audit_query(llm_audit_t *a, const llm_audit_query_t *q,
    int (*each)(void *data, const llm_audit_call_t *call), void *data,
    uint64_t *next, char *err, size_t errlen);

/* one call, by the number of its opening or its closing record.
 * LLM_NOTFOUND: there is none, or it is no call's */
int llm_audit_call_get(llm_audit_t *a, uint64_t number,
    llm_audit_call_t *call, char *err, size_t errlen);

/* the first record of that time (unix ms) or later; last + 1: none is */
int llm_audit_find(llm_audit_t *a, int64_t time, uint64_t *number, char *err,
    size_t errlen);

/* a new reference, NULL: no memory */
json_t *llm_audit_call_json(const llm_audit_call_t *call);

/* a call's content, appended; what: 'i' input, 'o' output of choice i.
 * LLM_NOTFOUND: it was not kept, or was pruned.  LLM_INVALID: changed */
int llm_audit_content(llm_audit_t *a, uint64_t number, char what,
    uint32_t choice, llm_buf_t *text, char *err, size_t errlen);

/* one record as JSON, as it lies in the chain: for export; with "number",
 * "previous" and "hash", so that the chain can be checked outside.
 * LLM_NOTFOUND */
int llm_audit_record_json(llm_audit_t *a, uint64_t number, json_t **record,
    char *err, size_t errlen);


typedef enum {
    LLM_AUDIT_BROKEN = 1,       /* a record's hash is not what the next has */
    LLM_AUDIT_MISSING,          /* numbers are missing */
    LLM_AUDIT_FORGED,           /* a signature or MAC is wrong */
    LLM_AUDIT_TRUNCATED,        /* audit.head or a checkpoint knows more */
    LLM_AUDIT_MALFORMED,        /* a record can't be read */
    LLM_AUDIT_INDEX,            /* an index does not say what records say */
    LLM_AUDIT_LOST              /* a file is not there */
} llm_audit_fault_e;

typedef struct {
    llm_audit_fault_e  fault;
    uint64_t           number;          /* the first record concerned */
    int64_t            time;            /* of the last good one before, or 0 */
    char               text[LLM_ERRLEN];
} llm_audit_finding_t;

typedef struct {
    uint64_t  first, last;      /* records that were looked at */
    uint64_t  calls;            /* opening records */
    uint64_t  unfinished;       /* of these, without a closing record */
    uint64_t  checkpoints;
    uint64_t  signed_to;        /* the last record under a good signature */
    uint64_t  steps_back;       /* of the clock */
    uint64_t  findings;
    uint8_t   head[LLM_AUDIT_HASH];
} llm_audit_verdict_t;

typedef struct {
    /* keys of checkpoints, when there is no secret: 32 bytes each */
    const uint8_t  *public_key;
    size_t          n_public_key;

    /* a checkpoint that was kept elsewhere, or number 0 */
    uint64_t        number;
    uint8_t         hash[LLM_AUDIT_HASH];

    int           (*found)(void *data, const llm_audit_finding_t *f);
    void          (*progress)(void *data, uint64_t done, uint64_t all);
    void           *data;
} llm_audit_verify_t;

/* looks at all: records, chain, signatures, MACs, head, base and indexes, and
 * tells each fault once.  LLM_OK: the verdict stands, findings may be there.
 * With a secret, everything is checked; else what hashes and public keys can
 * tell.  Writers may go on meanwhile */
int llm_audit_verify(llm_audit_t *a, const llm_audit_verify_t *v,
    llm_audit_verdict_t *verdict, char *err, size_t errlen);

/* the last checkpoint, to be kept elsewhere; LLM_NOTFOUND: none */
typedef struct {
    uint64_t  number;           /* of the last record that it covers */
    int64_t   time;
    uint32_t  epoch;
    uint8_t   hash[LLM_AUDIT_HASH];
    uint8_t   signature[64];
    uint8_t   public_key[32];
} llm_audit_checkpoint_t;

int llm_audit_checkpoint(llm_audit_t *a, llm_audit_checkpoint_t *c, char *err,
    size_t errlen);

/* the epochs' public keys, the oldest first; not LLM_OK ends it and is
 * returned */
typedef struct {
    uint32_t  epoch;
    int64_t   time;             /* of its beginning */
    uint8_t   public_key[32];
} llm_audit_key_t;

int llm_audit_key_each(llm_audit_t *a,
    int (*each)(void *data, const llm_audit_key_t *key), void *data, char *err,
    size_t errlen);


#endif /* _LLM_AUDIT_H_INCLUDED_ */
