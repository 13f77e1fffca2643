
/*
 * Copyright (C) nginx-llm contributors
 *
 * Contents that the trail keeps: each is there that a record says is, opens
 * under its epoch's key, and is the text whose fingerprint the record has.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_audit_proof.h"


static void llm_audit_kept_text(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r, char what, uint32_t choice);
static int llm_audit_kept_same(llm_audit_proof_t *p,
    const llm_audit_record_t *r, uint32_t choice);
static int llm_audit_kept_there(llm_audit_proof_t *p, uint64_t number,
    char what, uint32_t choice);
static int llm_audit_kept_entry(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v);


void
llm_audit_kept_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    uint32_t  i;

    if (!(r->flags & LLM_AUDIT_HAS_CONTENT) || p->shift != 0) {
        return;
    }

    if (r->type == LLM_AUDIT_OPEN) {
        llm_audit_kept_text(p, number, r, 'i', 0);
        return;
    }

    for (i = 0; i < r->n_print; i++) {
        llm_audit_kept_text(p, number, r, 'o', i);
    }
}


/* said when the record's own hash is right */

static void
llm_audit_kept_text(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r, char what, uint32_t choice)
{
    int          can, rc;
    const char  *name;

    p->kept++;
    p->text.len = 0;
    name = what == 'i' ? "input" : "output";
    can = llm_audit_judge_can(p, r->epoch);

    rc = can ? llm_audit_content_read(p->a, p->txn, number, what, choice,
                                      &p->text, NULL, 0)
             : llm_audit_kept_there(p, number, what, choice);

    if (rc == LLM_NOTFOUND) {
        p->kept--;
        llm_audit_pending(p, LLM_AUDIT_INDEX, number, "record %llu: the %s "
                          "that was kept is gone",
                          (unsigned long long) number, name);

    } else if (rc == LLM_INVALID
               || (rc == LLM_OK && can && !llm_audit_kept_same(p, r, choice)))
    {
        llm_audit_pending(p, LLM_AUDIT_INDEX, number, "record %llu: the %s "
                          "that was kept was changed",
                          (unsigned long long) number, name);

    } else if (rc != LLM_OK) {
        p->stop = llm_err(p->err, p->errlen, rc, "%s: record %llu: content",
                          p->a->shared->path, (unsigned long long) number);
    }
}


/* the text is its own record's: the seal names it, the record has its
 * fingerprint */

static int
llm_audit_kept_same(llm_audit_proof_t *p, const llm_audit_record_t *r,
    uint32_t choice)
{
    uint8_t            print[LLM_AUDIT_HASH];
    llm_audit_keys_t  *keys;

    if (choice >= r->n_print
        || llm_audit_keys(p->a, p->txn, r->epoch, &keys, NULL, 0) != LLM_OK)
    {
        return 1;
    }

    llm_audit_fingerprint(keys, p->text.data, p->text.len, print);

    return memcmp(print, r->print + (size_t) choice * LLM_AUDIT_HASH,
                  LLM_AUDIT_HASH) == 0;
}


static int
llm_audit_kept_there(llm_audit_proof_t *p, uint64_t number, char what,
    uint32_t choice)
{
    int      rc;
    uint8_t  key[LLM_AUDIT_CONTENT_KEY];
    MDB_val  k, v;

    llm_audit_content_key(key, number, what, choice);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(p->txn, p->a->shared->content, &k, &v);

    return rc == 0 ? LLM_OK
                   : rc == MDB_NOTFOUND ? LLM_NOTFOUND : LLM_ERROR;
}


/* what no record says is there */

int
llm_audit_kept_end(llm_audit_proof_t *p)
{
    int       rc;
    MDB_stat  st;

    rc = mdb_stat(p->txn, p->a->shared->content, &st);

    if (rc != 0) {
        return llm_audit_error(p->a, rc, "content", p->err, p->errlen);
    }

    if (st.ms_entries <= p->kept) {
        return LLM_OK;
    }

    return llm_audit_each_entry(p, p->a->shared->content,
                                llm_audit_kept_entry);
}


static int
llm_audit_kept_entry(llm_audit_proof_t *p, const MDB_val *k,
    const MDB_val *v)
{
    int                   rc, there;
    uint64_t              number;
    llm_audit_record_t    r;
    const uint8_t        *key = k->mv_data;

    if (k->mv_size != LLM_AUDIT_CONTENT_KEY) {
        return llm_audit_index_wrong(p, 0, "a content has a malformed key");
    }

    number = llm_be_get(key, 8);

    if (number > p->last || llm_audit_is_bad(p, number)) {
        return LLM_OK;
    }

    rc = llm_audit_index_load(p, number, &r, &there);

    if (rc != LLM_OK
        || (there && (r.flags & LLM_AUDIT_HAS_CONTENT)
            && key[8] == (r.type == LLM_AUDIT_OPEN ? 'i' : 'o')
            && llm_be_get(key + 9, 4) < (r.type == LLM_AUDIT_OPEN
                                         ? 1 : r.n_print)))
    {
        return rc;
    }

    return llm_audit_index_wrong(p, number, "there is a content that it does "
                                 "not have");
}
