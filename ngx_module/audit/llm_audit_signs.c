
/*
 * Copyright (C) nginx-llm contributors
 *
 * What says that the chain is the trail's own: signatures of checkpoints and
 * epochs, MACs of marks.
 *
 * A public key is believed when it is of an epoch that the secret opens, or
 * was given, or was signed by one that is believed.  Without secret and given
 * keys the trail's own are all there is: who makes everything anew is not seen
 * then.  One believed signature covers all that is before it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>

#include "llm_audit_own.h"
#include "llm_audit_proof.h"


static void llm_audit_judge_checkpoint(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static void llm_audit_judge_epoch(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static void llm_audit_judge_start(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static void llm_audit_judge_unknown(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r, llm_audit_signer_t *s);
static llm_audit_signer_t *llm_audit_signer(llm_audit_proof_t *p,
    uint32_t epoch);
static void llm_audit_signer_load(llm_audit_proof_t *p,
    llm_audit_signer_t *s);
static int llm_audit_signer_given(const llm_audit_proof_t *p,
    const uint8_t *key);


void
llm_audit_judge_record(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    switch (r->type) {

    case LLM_AUDIT_SIGNED:
        llm_audit_judge_checkpoint(p, number, r);
        break;

    case LLM_AUDIT_EPOCH:
        llm_audit_judge_epoch(p, number, r);
        break;

    case LLM_AUDIT_START:
        llm_audit_judge_start(p, number, r);
        break;

    default:
        break;
    }
}


/* it has the hash of the record before as previous: the chain judges that */

static void
llm_audit_judge_checkpoint(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    uint64_t             before;
    llm_audit_signer_t  *s;

    p->r->checkpoints++;

    before = number + (uint64_t) p->shift - 1;
    s = llm_audit_signer(p, r->epoch);

    if (s == NULL || !s->known) {
        llm_audit_judge_unknown(p, number, r, s);
        return;
    }

    if (!llm_audit_checkpoint_check(s->key, r->epoch, before, r->time,
                                    r->previous, r->signature))
    {
        if (!p->forged) {
            llm_audit_pending(p, LLM_AUDIT_FORGED, p->signed_to + 1,
                              "the checkpoint %llu is not signed by the "
                              "trail's key: records from %llu on were changed "
                              "and the chain made anew",
                              (unsigned long long) number,
                              (unsigned long long) p->signed_to + 1);
        }

        return;
    }

    p->signed_to = number - 1;
    p->forged = 0;

    if (s->trusted) {
        p->proven = 1;
        p->r->signed_to = number - 1;
    }
}


static void
llm_audit_judge_epoch(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    int                   believed;
    uint8_t               key[LLM_AUDIT_PUBLIC];
    llm_audit_signer_t   *s, *old;

    old = llm_audit_signer(p, r->epoch - 1);

    if (old == NULL || !old->known) {
        llm_audit_judge_unknown(p, number, r, old);
        return;
    }

    memcpy(key, old->key, sizeof(key));
    believed = old->trusted;

    if (!llm_audit_epoch_check(key, r)) {
        llm_audit_pending(p, LLM_AUDIT_FORGED, number, "the new key in record "
                          "%llu is not signed by the old one",
                          (unsigned long long) number);
        return;
    }

    s = llm_audit_signer(p, r->epoch);

    if (s == NULL || !s->known) {
        llm_audit_judge_unknown(p, number, r, s);
        return;
    }

    if (memcmp(s->key, r->public_key, sizeof(s->key)) != 0) {
        llm_audit_pending(p, LLM_AUDIT_FORGED, number, "the new key in record "
                          "%llu is another than epoch %u has",
                          (unsigned long long) number, r->epoch);
        return;
    }

    s->trusted |= believed;
}


static void
llm_audit_judge_start(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    llm_audit_signer_t  *s;

    s = llm_audit_signer(p, r->epoch);

    if (s != NULL && s->known
        && memcmp(s->key, r->public_key, sizeof(s->key)) != 0)
    {
        llm_audit_pending(p, LLM_AUDIT_FORGED, number, "the key in record "
                          "%llu is another than epoch %u has",
                          (unsigned long long) number, r->epoch);
    }
}


/* once an epoch: a record says it where it is not itself at fault */

static void
llm_audit_judge_unknown(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r, llm_audit_signer_t *s)
{
    if (s == NULL || s->told) {
        return;
    }

    s->told = 1;
    llm_audit_pending(p, LLM_AUDIT_LOST, number, "the keys of epoch %u, which "
                      "record %llu needs, are missing", s->epoch,
                      (unsigned long long) number);
}


/* 1: right, 0: it can't be told, -1: wrong */

int
llm_audit_judge_mark(llm_audit_proof_t *p, const llm_audit_mark_t *m)
{
    llm_audit_keys_t    *keys;
    llm_audit_signer_t  *s;

    if (p->a->shared->secret == NULL) {
        return 0;
    }

    s = llm_audit_signer(p, m->epoch);

    if (s == NULL || !s->known) {

        if (s != NULL && !s->told) {
            s->told = 1;
            llm_audit_tell(p, LLM_AUDIT_LOST, 0, "the keys of epoch %u, which "
                           "a mark needs, are missing", s->epoch);
        }

        return 0;
    }

    if (llm_audit_keys(p->a, p->txn, m->epoch, &keys, NULL, 0) != LLM_OK) {
        return -1;
    }

    return llm_audit_mark_check(keys, m) ? 1 : -1;
}


/* each epoch that is there opens, also one that signed nothing that is left */

int
llm_audit_judge_epochs(llm_audit_proof_t *p)
{
    int          rc;
    MDB_val      k, v;
    MDB_cursor  *cursor;

    rc = mdb_cursor_open(p->txn, p->a->shared->epochs, &cursor);

    if (rc == 0) {
        for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
             rc == 0 && p->stop == LLM_OK;
             rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
        {
            if (k.mv_size != 4) {
                llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "an epoch has a "
                               "malformed number");
                continue;
            }

            (void) llm_audit_signer(p, (uint32_t) llm_be_get(k.mv_data, 4));
        }

        mdb_cursor_close(cursor);
    }

    /* with the secret those that are not the trail's were told */

    if (p->a->shared->secret == NULL
        && llm_audit_epoch_last(p->a, p->txn) == 0)
    {
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "epochs are missing, or "
                       "there are others");
    }

    return rc == 0 || rc == MDB_NOTFOUND
           ? LLM_OK : llm_audit_error(p->a, rc, "epochs", p->err, p->errlen);
}


int
llm_audit_judge_can(llm_audit_proof_t *p, uint32_t epoch)
{
    llm_audit_signer_t  *s;

    s = p->a->shared->secret != NULL ? llm_audit_signer(p, epoch) : NULL;

    return s != NULL && s->known;
}


/* NULL: no memory, which is as if it were not known */

static llm_audit_signer_t *
llm_audit_signer(llm_audit_proof_t *p, uint32_t epoch)
{
    size_t               i;
    llm_audit_signer_t  *s;

    for (i = p->n_signer; i > 0; i--) {
        if (p->signer[i - 1].epoch == epoch) {
            return &p->signer[i - 1];
        }
    }

    /* an epoch is a rotation: so many there are not, and each costs */

    if (p->n_signer == LLM_AUDIT_SIGNERS) {

        if (!p->many) {
            p->many = 1;
            llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "there are more than "
                           "%d epochs, the others are not looked at",
                           LLM_AUDIT_SIGNERS);
        }

        return NULL;
    }

    s = realloc(p->signer, (p->n_signer + 1) * sizeof(llm_audit_signer_t));

    if (s == NULL) {
        p->stop = llm_err(p->err, p->errlen, LLM_NOMEM, "%s: verify: no "
                          "memory", p->a->shared->path);
        return NULL;
    }

    p->signer = s;
    s += p->n_signer++;

    memset(s, 0, sizeof(llm_audit_signer_t));
    s->epoch = epoch;
    llm_audit_signer_load(p, s);

    return s;
}


static void
llm_audit_signer_load(llm_audit_proof_t *p, llm_audit_signer_t *s)
{
    int                 rc;
    char                err[LLM_ERRLEN];
    llm_audit_keys_t   *keys;
    llm_audit_epoch_t   ep;

    rc = llm_audit_epoch_get(p->a, p->txn, s->epoch, &ep, err, sizeof(err));

    if (rc == LLM_NOTFOUND) {
        return;
    }

    if (rc != LLM_OK) {
        s->told = 1;
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, 0, "the keys of epoch %u are "
                       "malformed", s->epoch);
        return;
    }

    s->known = 1;
    memcpy(s->key, ep.public_key, sizeof(s->key));

    if (p->a->shared->secret == NULL) {
        s->trusted = p->v->n_public_key == 0
                     || llm_audit_signer_given(p, s->key);
        return;
    }

    /* as they lie there: this process may have them from before */

    rc = llm_audit_keys_unseal(p->a->shared, s->epoch, ep.sealed, &keys, err,
                               sizeof(err));

    if (rc == LLM_OK) {
        s->trusted = memcmp(s->key, keys->public_key, sizeof(s->key)) == 0
                     && llm_audit_epoch_mac_check(keys, &ep);
        llm_audit_keys_free(keys);

        if (s->trusted) {
            return;
        }

        rc = LLM_INVALID;
    }

    s->known = 0;
    s->told = 1;

    if (rc == LLM_NOTFOUND) {
        llm_audit_tell(p, LLM_AUDIT_LOST, 0, "the keys of epoch %u need a "
                       "version of the secret that is not there", s->epoch);
    } else {
        llm_audit_tell(p, LLM_AUDIT_FORGED, 0, "the keys of epoch %u were "
                       "changed, or are another secret's", s->epoch);
    }
}


static int
llm_audit_signer_given(const llm_audit_proof_t *p, const uint8_t *key)
{
    size_t  i;

    for (i = 0; i < p->v->n_public_key; i++) {
        if (memcmp(p->v->public_key + 32 * i, key, LLM_AUDIT_PUBLIC) == 0) {
            return 1;
        }
    }

    return 0;
}
