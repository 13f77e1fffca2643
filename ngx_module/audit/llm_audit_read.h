
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files that read the audit trail share among themselves:
 *     llm_audit_query.c    calls by what is known of them
 *     llm_audit_match.c    does a record fit a query; records as a call
 *     llm_audit_look.c     one call, one record, times, keys, checkpoints
 *     llm_audit_json.c     calls and records as JSON
 *     llm_audit_verify.c   the proof
 */


#ifndef _LLM_AUDIT_READ_H_INCLUDED_
#define _LLM_AUDIT_READ_H_INCLUDED_


#include "../store/llm_store.h"
#include "llm_audit_int.h"


#define LLM_AUDIT_HOUR_MS  ((int64_t) 3600000)


/* a text's fingerprint in one epoch */
typedef struct {
    uint32_t  epoch;
    uint8_t   print[LLM_AUDIT_HASH];
} llm_audit_hunt_t;


/* a query at work, on its caller's stack */
typedef struct {
    llm_audit_t              *a;
    const llm_audit_query_t  *q;
    MDB_txn                  *txn;

    uint8_t                   key[LLM_AUDIT_ID];    /* with q->key */
    llm_net_t                 net;                  /* with q->addr */
    llm_audit_hunt_t         *hunt;                 /* with q->text */
    size_t                    n_hunt;

    llm_audit_record_t        open;
    llm_audit_record_t        close;
    llm_audit_call_t          call;
    char                     *err;
    size_t                    errlen;
} llm_audit_match_t;


/* q is checked, what it takes to compare is set.  LLM_INVALID */
int llm_audit_match_init(llm_audit_match_t *m, llm_audit_t *a,
    const llm_audit_query_t *q, char *err, size_t errlen);
void llm_audit_match_done(llm_audit_match_t *m);

/* 1: v is a call's opening record, or a closing one without; not all of it is
 * looked at */
int llm_audit_match_call(const MDB_val *v);

/* *fits: m->call is a call that fits.  m->txn is a transaction.  LLM_INVALID:
 * that record, or its closing one, is damaged */
int llm_audit_match(llm_audit_match_t *m, uint64_t number, const MDB_val *v,
    int *fits);


/* what a closing record says, into call */
void llm_audit_match_end_of(llm_audit_call_t *call,
    const llm_audit_record_t *r, uint64_t close);


/* llm_audit_look.c: in a transaction.  The first number of the first hour from
 * that one on that has any; 0: none has.  LLM_INVALID: the records on both
 * sides say that it is not */
int llm_audit_hour(llm_audit_t *a, MDB_txn *txn, int64_t hour,
    uint64_t *number, char *err, size_t errlen);

/* the numbers that are there, by the records; *first > *last: none.  nameless:
 * there is one without a number; NULL: that is LLM_INVALID */
int llm_audit_range(llm_audit_t *a, MDB_txn *txn, uint64_t *first,
    uint64_t *last, int *nameless, char *err, size_t errlen);

/* of the record that it lies with; as llm_audit_content() */
int llm_audit_content_read(llm_audit_t *a, MDB_txn *txn, uint64_t number,
    char what, uint32_t choice, llm_buf_t *text, char *err, size_t errlen);

/* v: of 8 bytes, big-endian, LLM_AUDIT_NUMBER at most: one more, and some, can
 * be counted still.  LLM_INVALID: *number is as it was */
#define LLM_AUDIT_NUMBER  ((uint64_t) INT64_MAX / 2)

int llm_audit_number(const MDB_val *v, uint64_t *number);


/* llm_audit_json.c: new references */
json_t *llm_audit_json_stamp(int64_t ms);
json_t *llm_audit_json_hex(const uint8_t *p, size_t n);


#endif /* _LLM_AUDIT_READ_H_INCLUDED_ */
