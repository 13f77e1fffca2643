
/*
 * Copyright (C) nginx-llm contributors
 *
 * The state of a verification, on its caller's stack but for what grows:
 *     llm_audit_verify.c   from the base to the head, audit.head; findings
 *     llm_audit_chain.c    record by record: hashes and what they say together
 *     llm_audit_signs.c    signatures, epochs, MACs
 *     llm_audit_index.c    do the indexes say what the records say
 *     llm_audit_kept.c     contents
 */


#ifndef _LLM_AUDIT_PROOF_H_INCLUDED_
#define _LLM_AUDIT_PROOF_H_INCLUDED_


#include "llm_audit_read.h"


#define LLM_AUDIT_SHIFTS   16       /* records put in or taken out, at most */
#define LLM_AUDIT_SIGNERS  4096
#define LLM_AUDIT_BAD_MAX  4096     /* ranges; beyond, indexes are not judged */


/* numbers that a finding was told of */
typedef struct {
    uint64_t  from;
    uint64_t  to;
} llm_audit_bad_t;


/* of the entries of an index, in any order: sums of a function that nobody
 * knows beforehand */
typedef struct {
    uint64_t  entries;
    uint64_t  sum;
} llm_audit_sum_t;

typedef enum {
    LLM_AUDIT_SUM_KEYS = 0,
    LLM_AUDIT_SUM_CLOSES,
    LLM_AUDIT_SUM_HOURS,
    LLM_AUDIT_SUMS
} llm_audit_sum_e;


/* a public key, and why it is believed */
typedef struct {
    uint32_t  epoch;
    uint8_t   key[LLM_AUDIT_PUBLIC];
    unsigned  known:1;              /* there is one */
    unsigned  trusted:1;            /* from the secret, or given */
    unsigned  told:1;               /* a finding */
} llm_audit_signer_t;


typedef struct {
    llm_audit_t               *a;
    const llm_audit_verify_t  *v;
    llm_audit_verdict_t       *r;
    MDB_txn                   *txn;
    char                      *err;
    size_t                     errlen;
    int                        stop;        /* what found() returned */

    /* as of the beginning.  state: 1 right, 0 can't be told, -1 wrong,
     * -2 missing or malformed, which was told */
    llm_audit_mark_t           base, head, file;
    int                        base_state, head_state, file_state;
    uint64_t                   first, last; /* numbers that are there */

    /* the chain.  A record's number in its hash is the one it lies under and
     * shift, where records were taken out or put in before it */
    uint64_t                   number;      /* expected next */
    int64_t                    shift;
    int                        shifted;     /* ever */
    int                        linked;      /* hash is of the one before */
    uint8_t                    hash[LLM_AUDIT_HASH];
    uint8_t                    data[LLM_AUDIT_MAX];     /* and it itself */
    size_t                     len;
    int64_t                    time;        /* of the one before */
    int64_t                    good;        /* of the last good one */
    int64_t                    offset;      /* of the clock and mono */
    uint64_t                   run;         /* links are broken since; 0: not */
    uint64_t                   broken;      /* how many of them */
    uint64_t                   from;        /* the first not signed then */
    int                        doubtful;    /* the one before was changed */
    int                        unread;      /* it can't be read */
    int                        nameless;    /* one without a number was told */
    uint64_t                   malformed;   /* the first such in a run */

    /* of the one before, told when its hash is right */
    llm_audit_finding_t        pending;

    /* signatures */
    llm_audit_signer_t        *signer;
    size_t                     n_signer;
    int                        many;        /* more than there can be */
    uint64_t                   signed_to;   /* by a right one, trusted or not */
    int                        forged;      /* a wrong one was told since */
    int                        proven;      /* a trusted one was seen */
    int                        truncated;   /* was told */
    int                        file_seen, kept_seen;
    uint8_t                    file_hash[LLM_AUDIT_HASH];
    uint8_t                    kept_hash[LLM_AUDIT_HASH];

    /* indexes */
    uint64_t                   seed[4];
    llm_audit_sum_t            want[LLM_AUDIT_SUMS];
    llm_audit_sum_t            got[LLM_AUDIT_SUMS];
    int64_t                    first_hour;  /* may begin before first */
    int64_t                    hour;
    uint64_t                   closed;      /* of first and later */
    int                        pruned;      /* meanwhile */
    int                        damaged;     /* nothing more can be told */
    uint64_t                   kept;        /* contents that must be there */
    llm_buf_t                  text;
    llm_audit_bad_t           *bad;
    size_t                     n_bad;
    int                        lost_track;
} llm_audit_proof_t;


/* llm_audit_verify.c.  tell: a finding, counted; sets p->stop */
void llm_audit_tell(llm_audit_proof_t *p, llm_audit_fault_e fault,
    uint64_t number, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void llm_audit_bad(llm_audit_proof_t *p, uint64_t from, uint64_t to);
int llm_audit_is_bad(const llm_audit_proof_t *p, uint64_t number);

/* gives the reader up and takes another.  A LLM_* code */
int llm_audit_proof_again(llm_audit_proof_t *p);


/* llm_audit_chain.c.  begin: at p->number, after a record of that hash (NULL:
 * which is not known).  end: what the head says is the last one's hash, or
 * NULL */
void llm_audit_chain_begin(llm_audit_proof_t *p, const uint8_t *hash);
void llm_audit_chain_record(llm_audit_proof_t *p, uint64_t number,
    const MDB_val *v);
void llm_audit_chain_end(llm_audit_proof_t *p, const uint8_t *hash);

/* for the record at p->number - 1: it was looked at last */
void llm_audit_pending(llm_audit_proof_t *p, llm_audit_fault_e fault,
    uint64_t number, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));


/* llm_audit_signs.c */
void llm_audit_judge_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
int llm_audit_judge_mark(llm_audit_proof_t *p, const llm_audit_mark_t *m);
int llm_audit_judge_epochs(llm_audit_proof_t *p);

/* 1: there are the epoch's keys */
int llm_audit_judge_can(llm_audit_proof_t *p, uint32_t epoch);


/* llm_audit_index.c */
int llm_audit_index_begin(llm_audit_proof_t *p);
void llm_audit_index_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
int llm_audit_index_end(llm_audit_proof_t *p);

/* f: a LLM_* code, or LLM_CANCELLED: it is enough */
typedef int (*llm_audit_entry_pt)(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);

int llm_audit_each_entry(llm_audit_proof_t *p, MDB_dbi dbi,
    llm_audit_entry_pt f);
int llm_audit_index_load(llm_audit_proof_t *p, uint64_t number,
    llm_audit_record_t *r, int *there);
int llm_audit_index_wrong(llm_audit_proof_t *p, uint64_t number,
    const char *what);


/* llm_audit_kept.c */
void llm_audit_kept_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
int llm_audit_kept_end(llm_audit_proof_t *p);


#endif /* _LLM_AUDIT_PROOF_H_INCLUDED_ */
