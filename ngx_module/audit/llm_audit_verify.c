
/*
 * Copyright (C) nginx-llm contributors
 *
 * The proof that the audit trail is whole: from the base, which has a MAC, by
 * the chain to the head, which has one too, and what audit.head and a
 * checkpoint that was kept elsewhere know.  Then the indexes.
 *
 * It is of the trail as it was when it began: what writers add meanwhile is
 * left out, and what is pruned meanwhile is passed over.  Readers are given up
 * every LLM_AUDIT_STRETCH records.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_audit_proof.h"


#define LLM_AUDIT_STRETCH  16384


static int llm_audit_proof(llm_audit_proof_t *p);
static int llm_audit_proof_begin(llm_audit_proof_t *p);
static void llm_audit_proof_file(llm_audit_proof_t *p);
static int llm_audit_proof_mark(llm_audit_proof_t *p, uint8_t kind,
    llm_audit_mark_t *m);
static int llm_audit_proof_first(llm_audit_proof_t *p);
static void llm_audit_proof_nameless(llm_audit_proof_t *p, uint64_t number);
static int llm_audit_proof_records(llm_audit_proof_t *p);
static int llm_audit_proof_stretch(llm_audit_proof_t *p);
static void llm_audit_proof_head(llm_audit_proof_t *p);
static void llm_audit_proof_truncated(llm_audit_proof_t *p,
    const char *what, uint64_t number);
static void llm_audit_proof_known(llm_audit_proof_t *p);
static void llm_audit_proof_kept(llm_audit_proof_t *p);


int
llm_audit_verify(llm_audit_t *a, const llm_audit_verify_t *v,
    llm_audit_verdict_t *verdict, char *err, size_t errlen)
{
    int                 rc;
    llm_audit_proof_t  *p;

    memset(verdict, 0, sizeof(llm_audit_verdict_t));

    p = calloc(1, sizeof(llm_audit_proof_t));
    if (p == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: verify: no memory",
                       a->shared->path);
    }

    p->a = a;
    p->v = v;
    p->r = verdict;
    p->err = err;
    p->errlen = errlen;

    /* before the trail: it may be behind that, not ahead */

    llm_audit_proof_file(p);

    rc = llm_audit_read(a, &p->txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_proof(p);

        if (p->txn != NULL) {
            llm_audit_read_end(a, p->txn);
        }
    }

    if (p->text.data != NULL) {
        OPENSSL_cleanse(p->text.data, p->text.size);
    }

    llm_buf_done(&p->text);
    free(p->bad);
    free(p->signer);
    free(p);

    return rc;
}


static int
llm_audit_proof(llm_audit_proof_t *p)
{
    int                  rc;
    llm_audit_verdict_t  *r = p->r;

    rc = llm_audit_proof_begin(p);

    if (rc == LLM_OK && p->stop == LLM_OK && !p->damaged) {
        rc = llm_audit_proof_records(p);
    }

    if (rc != LLM_OK || p->stop != LLM_OK || p->damaged) {
        return rc != LLM_OK ? rc : p->stop;
    }

    llm_audit_proof_head(p);
    llm_audit_proof_known(p);
    llm_audit_proof_kept(p);

    r->first = p->first;
    r->last = p->last;
    r->unfinished = r->calls > p->closed ? r->calls - p->closed : 0;

    if (p->last >= p->first) {
        memcpy(r->head, p->hash, LLM_AUDIT_HASH);
    }

    rc = llm_audit_index_end(p);

    return rc != LLM_OK ? rc : p->stop;
}


static int
llm_audit_proof_begin(llm_audit_proof_t *p)
{
    int   rc;
    char  err[LLM_ERRLEN];

    rc = llm_audit_scan(p->a, p->txn, err, sizeof(err));

    if (rc == LLM_INVALID) {
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "the file is damaged, "
                       "nothing more can be told: %s", err);
        p->damaged = 1;
        return LLM_OK;
    }

    if (rc != LLM_OK) {
        return llm_err(p->err, p->errlen, rc, "%s", err);
    }

    rc = llm_audit_judge_epochs(p);
    if (rc != LLM_OK) {
        return rc;
    }

    p->base_state = llm_audit_proof_mark(p, LLM_AUDIT_MARK_BASE, &p->base);
    p->head_state = llm_audit_proof_mark(p, LLM_AUDIT_MARK_HEAD, &p->head);

    rc = llm_audit_proof_first(p);

    return rc == LLM_OK ? llm_audit_index_begin(p) : rc;
}


/* as llm_audit_proof_t has it */

static void
llm_audit_proof_file(llm_audit_proof_t *p)
{
    int   proven, rc;
    char  err[LLM_ERRLEN];

    rc = llm_audit_head_read(p->a->shared, &p->file, &proven, err,
                             sizeof(err));

    if (rc == LLM_OK) {
        p->file_state = proven;

        if (proven == -1) {
            llm_audit_tell(p, LLM_AUDIT_FORGED, 0, "audit.head has no right "
                           "MAC: it was changed, or is another secret's");

        } else if (proven == 0 && p->a->shared->secret != NULL) {
            llm_audit_tell(p, LLM_AUDIT_LOST, 0, "audit.head needs a version "
                           "of the secret that is not there, or was changed");
        }

        return;
    }

    p->file_state = -2;

    if (rc == LLM_NOTFOUND) {
        llm_audit_tell(p, LLM_AUDIT_LOST, 0, "audit.head is missing: it can't "
                       "be told whether an older audit.mdb was put back");
    } else {
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "%s", err);
    }
}


static int
llm_audit_proof_mark(llm_audit_proof_t *p, uint8_t kind,
    llm_audit_mark_t *m)
{
    char         err[LLM_ERRLEN];
    const char  *name;

    name = kind == LLM_AUDIT_MARK_HEAD ? "head" : "base";

    if (llm_audit_mark_get(p->a, p->txn, kind, m, err, sizeof(err))
        != LLM_OK)
    {
        llm_audit_tell(p, LLM_AUDIT_LOST, 0, "the trail's %s is missing or "
                       "malformed", name);
        return -2;
    }

    return llm_audit_judge_mark(p, m);
}


/* where the chain begins, and how far it can go */

static int
llm_audit_proof_first(llm_audit_proof_t *p)
{
    int       nameless, rc;
    uint64_t  first;

    rc = llm_audit_range(p->a, p->txn, &first, &p->last, &nameless, p->err,
                         p->errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (nameless) {
        llm_audit_proof_nameless(p, first);
    }

    if (p->base_state == -1) {
        llm_audit_tell(p, LLM_AUDIT_FORGED, first, "the trail's base has no "
                       "right MAC: records before %llu may have been dropped",
                       (unsigned long long) first);
    }

    /* a base that is not believed says nothing of where it begins */

    if (p->base_state < 0) {
        p->first = first;
        llm_audit_chain_begin(p, NULL);

    } else {
        p->first = p->base.number + 1;
        p->time = p->base.time;
        p->good = p->base.time;
        p->signed_to = p->base.number;
        llm_audit_chain_begin(p, p->base.hash);

        if (first < p->first && p->last != 0) {
            llm_audit_tell(p, LLM_AUDIT_FORGED, first, "records before %llu "
                           "are there, which the trail's base says were "
                           "dropped", (unsigned long long) p->first);
        }
    }

    p->number = p->first;

    return LLM_OK;
}


/* once: there may be many */

static void
llm_audit_proof_nameless(llm_audit_proof_t *p, uint64_t number)
{
    if (!p->nameless) {
        p->nameless = 1;
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, number, "a record near %llu "
                       "has no number", (unsigned long long) number);
    }
}


static int
llm_audit_proof_records(llm_audit_proof_t *p)
{
    int       rc;
    uint64_t  all;

    all = p->last >= p->first ? p->last - p->first + 1 : 0;

    while (p->number <= p->last && p->stop == LLM_OK) {

        rc = llm_audit_proof_stretch(p);

        if (rc == LLM_OK && p->number <= p->last) {
            rc = llm_audit_proof_again(p);
        }

        if (rc != LLM_OK) {
            return rc;
        }

        if (p->v->progress != NULL && all != 0) {
            p->v->progress(p->v->data, p->number - p->first, all);
        }
    }

    return LLM_OK;
}


static int
llm_audit_proof_stretch(llm_audit_proof_t *p)
{
    int          i, rc;
    uint8_t      be[8];
    MDB_val      k, v;
    uint64_t     number;
    MDB_cursor  *cursor;

    rc = mdb_cursor_open(p->txn, p->a->shared->records, &cursor);
    if (rc != 0) {
        return llm_audit_error(p->a, rc, "records", p->err, p->errlen);
    }

    llm_be_put(be, p->number, 8);
    k.mv_data = be;
    k.mv_size = 8;

    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

    for (i = 0; rc == 0 && i < LLM_AUDIT_STRETCH && p->stop == LLM_OK; i++) {

        if (llm_audit_number(&k, &number) != LLM_OK) {

            /* the next stretch begins where this one gets to */

            llm_audit_proof_nameless(p, p->number);
            i--;

        } else if (number > p->last) {
            break;

        } else {
            llm_audit_chain_record(p, number, &v);
        }

        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }

    mdb_cursor_close(cursor);

    if (rc == MDB_NOTFOUND) {
        p->last = p->number - 1;
        return LLM_OK;
    }

    return rc == 0 ? LLM_OK
                   : llm_audit_error(p->a, rc, "records", p->err, p->errlen);
}


/* what was pruned meanwhile was there when it began: the chain goes on from the
 * new base */

int
llm_audit_proof_again(llm_audit_proof_t *p)
{
    int               rc;
    llm_audit_mark_t  base;

    llm_audit_read_end(p->a, p->txn);
    p->txn = NULL;

    rc = llm_audit_read(p->a, &p->txn, p->err, p->errlen);

    if (rc != LLM_OK) {
        p->txn = NULL;
        return rc;
    }

    if (p->base_state < 0
        || llm_audit_mark_get(p->a, p->txn, LLM_AUDIT_MARK_BASE, &base, NULL,
                              0) != LLM_OK
        || base.number == p->base.number
        || llm_audit_judge_mark(p, &base) < 0)
    {
        return LLM_OK;
    }

    p->pruned = 1;
    p->base = base;

    if (base.number >= p->number) {
        llm_audit_chain_end(p, NULL);
        llm_audit_chain_begin(p, base.hash);
        p->number = base.number + 1;
        p->time = base.time;
        p->signed_to = base.number;
    }

    return LLM_OK;
}


static void
llm_audit_proof_head(llm_audit_proof_t *p)
{
    uint64_t  last;

    last = p->last + (uint64_t) p->shift;

    llm_audit_chain_end(p, p->head_state >= 0 && p->head.number == last
                           ? p->head.hash : NULL);

    if (p->head_state == -1 && !p->forged) {
        llm_audit_tell(p, LLM_AUDIT_FORGED, p->signed_to + 1, "the trail's "
                       "head has no right MAC: records from %llu on may have "
                       "been changed and the chain made anew, or dropped",
                       (unsigned long long) p->signed_to + 1);
        p->forged = 1;
    }

    if (p->head_state < 0) {
        return;
    }

    if (p->head.number > last) {
        llm_audit_proof_truncated(p, "the trail's head knows",
                                  p->head.number);

    } else if (p->head.number < last) {
        llm_audit_tell(p, LLM_AUDIT_FORGED, p->head.number + 1, "the trail's "
                       "head does not know records from %llu on",
                       (unsigned long long) p->head.number + 1);
        llm_audit_bad(p, p->head.number + 1, p->last);
    }

    /* marks of one time say the same */

    if (p->head.signed_to > p->signed_to + (uint64_t) p->shift && !p->forged
        && p->run == 0 && !p->truncated && p->r->findings == 0)
    {
        llm_audit_tell(p, LLM_AUDIT_FORGED, p->signed_to + 1, "the checkpoint "
                       "of record %llu is gone",
                       (unsigned long long) p->head.signed_to);
    }
}


static void
llm_audit_proof_truncated(llm_audit_proof_t *p, const char *what,
    uint64_t number)
{
    if (p->truncated) {
        return;
    }

    p->truncated = 1;

    llm_audit_tell(p, LLM_AUDIT_TRUNCATED, p->last + 1, "records from %llu on "
                   "are gone, or an older file was put back: %s record %llu",
                   (unsigned long long) p->last + 1, what,
                   (unsigned long long) number);
}


/* by audit.head */

static void
llm_audit_proof_known(llm_audit_proof_t *p)
{
    if (p->file_state < 0) {
        return;
    }

    if (p->file.number > p->last + (uint64_t) p->shift) {
        llm_audit_proof_truncated(p, "audit.head knows", p->file.number);
        return;
    }

    if (p->file_seen && !p->forged
        && !llm_audit_is_bad(p, p->file.number)
        && memcmp(p->file_hash, p->file.hash, LLM_AUDIT_HASH) != 0)
    {
        llm_audit_tell(p, LLM_AUDIT_FORGED, p->signed_to < p->file.number
                                            ? p->signed_to + 1
                                            : p->file.number,
                       "audit.head knows another record %llu: an older file "
                       "was put back, or the chain made anew",
                       (unsigned long long) p->file.number);
    }
}


/* by who asks */

static void
llm_audit_proof_kept(llm_audit_proof_t *p)
{
    uint64_t  number = p->v->number;

    if (number != 0 && number > p->last + (uint64_t) p->shift) {
        llm_audit_proof_truncated(p, "the checkpoint that was kept knows",
                                  number);

    } else if (number != 0 && number == p->base.number
               && p->base_state >= 0)
    {
        memcpy(p->kept_hash, p->base.hash, LLM_AUDIT_HASH);
        p->kept_seen = 1;
    }

    if (p->kept_seen && !llm_audit_is_bad(p, number)
        && memcmp(p->kept_hash, p->v->hash, LLM_AUDIT_HASH) != 0)
    {
        llm_audit_tell(p, LLM_AUDIT_FORGED, number, "the checkpoint that was "
                       "kept knows another record %llu: the trail was made "
                       "anew", (unsigned long long) number);
    }

    if (p->v->n_public_key != 0 && p->a->shared->secret == NULL
        && !p->proven)
    {
        llm_audit_tell(p, LLM_AUDIT_FORGED, p->first, "no checkpoint is "
                       "signed by a public key that was given");
    }
}


void
llm_audit_tell(llm_audit_proof_t *p, llm_audit_fault_e fault,
    uint64_t number, const char *fmt, ...)
{
    int                   rc;
    va_list               args;
    llm_audit_finding_t   f;

    p->r->findings++;

    if (p->v->found == NULL || p->stop != LLM_OK) {
        return;
    }

    memset(&f, 0, sizeof(f));
    f.fault = fault;
    f.number = number;
    f.time = p->good;

    va_start(args, fmt);
    (void) vsnprintf(f.text, sizeof(f.text), fmt, args);
    va_end(args);

    rc = p->v->found(p->v->data, &f);

    if (rc != LLM_OK) {
        p->stop = rc;
    }
}


void
llm_audit_bad(llm_audit_proof_t *p, uint64_t from, uint64_t to)
{
    llm_audit_bad_t  *bad;

    if (p->n_bad == LLM_AUDIT_BAD_MAX) {
        p->lost_track = 1;
        return;
    }

    bad = realloc(p->bad, (p->n_bad + 1) * sizeof(llm_audit_bad_t));

    if (bad == NULL) {
        p->lost_track = 1;
        return;
    }

    p->bad = bad;
    bad[p->n_bad].from = from;
    bad[p->n_bad].to = to;
    p->n_bad++;
}


int
llm_audit_is_bad(const llm_audit_proof_t *p, uint64_t number)
{
    size_t  i;

    for (i = 0; i < p->n_bad; i++) {
        if (number >= p->bad[i].from && number <= p->bad[i].to) {
            return 1;
        }
    }

    return 0;
}
