
/*
 * Copyright (C) nginx-llm contributors
 *
 * The chain: a record has the hash of the one before, and a hash is of a
 * record and its number.  One wrong link says that one of two records was
 * changed; which one, its other link says.  So a finding waits until the run of
 * broken links that it is part of is over:
 *
 *     one          that record's contents
 *     two          the second record's own hash of the one before
 *     more         several, or records in another order
 *
 * Where all links from a place on are wrong, numbers may be others than they
 * were: then hashes are right with another number, and the difference says how
 * many records were taken out or put in.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "llm_audit_proof.h"


static void llm_audit_chain_hole(llm_audit_proof_t *p, uint64_t number);
static void llm_audit_chain_link(llm_audit_proof_t *p,
    const uint8_t *previous);
static int llm_audit_chain_shift(llm_audit_proof_t *p,
    const uint8_t *previous);
static void llm_audit_chain_run(llm_audit_proof_t *p, int64_t shift);
static void llm_audit_chain_changed(llm_audit_proof_t *p);
static void llm_audit_chain_says(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r);
static void llm_audit_chain_clock(llm_audit_proof_t *p,
    const llm_audit_record_t *r);
static void llm_audit_chain_keep(llm_audit_proof_t *p, uint64_t number,
    const MDB_val *v);
static void llm_audit_chain_told(llm_audit_proof_t *p);


void
llm_audit_chain_begin(llm_audit_proof_t *p, const uint8_t *hash)
{
    p->run = 0;
    p->broken = 0;
    p->malformed = 0;
    p->doubtful = 0;
    p->len = 0;
    p->pending.fault = 0;
    p->linked = (hash != NULL);

    if (hash != NULL) {
        memcpy(p->hash, hash, LLM_AUDIT_HASH);
    }
}


void
llm_audit_chain_record(llm_audit_proof_t *p, uint64_t number,
    const MDB_val *v)
{
    int                   good;
    llm_audit_record_t    r;
    const uint8_t        *data = v->mv_data;

    if (number != p->number) {
        llm_audit_chain_hole(p, number);
    }

    if (p->linked && v->mv_size >= LLM_AUDIT_FIXED) {
        llm_audit_chain_link(p, data + 32);

    } else {
        llm_audit_chain_told(p);
        p->doubtful = 1;
    }

    p->number = number + 1;
    good = v->mv_size <= LLM_AUDIT_MAX
           && llm_audit_unpack(data, v->mv_size, &r) == LLM_OK;

    if (good) {
        llm_audit_chain_says(p, number, &r);
        llm_audit_chain_clock(p, &r);
        llm_audit_judge_record(p, number, &r);
        llm_audit_index_record(p, number, &r);
        llm_audit_kept_record(p, number, &r);
        p->time = r.time;

    } else {
        llm_audit_pending(p, LLM_AUDIT_MALFORMED, number,
                          "record %llu can't be read",
                          (unsigned long long) number);
    }

    p->unread = !good;

    llm_audit_chain_keep(p, number, v);
}


void
llm_audit_chain_end(llm_audit_proof_t *p, const uint8_t *hash)
{
    if (p->linked && p->len != 0 && hash != NULL) {
        llm_audit_chain_link(p, hash);
    }

    if (p->run != 0) {
        llm_audit_chain_run(p, 0);
    }

    llm_audit_chain_told(p);
}


static void
llm_audit_chain_hole(llm_audit_proof_t *p, uint64_t number)
{
    if (p->run != 0) {
        llm_audit_chain_run(p, 0);
    }

    llm_audit_chain_told(p);

    if (number - p->number == 1) {
        llm_audit_tell(p, LLM_AUDIT_MISSING, p->number,
                       "record %llu is missing",
                       (unsigned long long) p->number);
    } else {
        llm_audit_tell(p, LLM_AUDIT_MISSING, p->number,
                       "records %llu to %llu are missing",
                       (unsigned long long) p->number,
                       (unsigned long long) number - 1);
    }

    llm_audit_bad(p, p->number, number - 1);
    p->linked = 0;
}


/* of the record before to the one that has previous, or to the head */

static void
llm_audit_chain_link(llm_audit_proof_t *p, const uint8_t *previous)
{
    if (memcmp(p->hash, previous, LLM_AUDIT_HASH) == 0) {

        if (p->run != 0) {
            llm_audit_chain_run(p, 0);
        }

        llm_audit_chain_told(p);
        p->good = p->time;
        p->doubtful = 0;

        return;
    }

    if (p->unread && p->malformed == 0) {
        p->malformed = p->number - 1;
    }

    p->pending.fault = 0;           /* what it says was changed with it */
    p->doubtful = 1;

    if (p->run == 0) {
        p->run = p->number - 1;
        p->broken = 1;
        p->from = p->signed_to + 1;
        return;
    }

    p->broken++;

    if (p->broken <= 4) {
        (void) llm_audit_chain_shift(p, previous);
    }
}


static int
llm_audit_chain_shift(llm_audit_proof_t *p, const uint8_t *previous)
{
    int      d;
    int64_t  shift;
    uint8_t  hash[LLM_AUDIT_HASH];

    if (p->len == 0) {
        return 0;
    }

    for (d = 1; d <= 2 * LLM_AUDIT_SHIFTS; d++) {
        shift = d % 2 ? (d + 1) / 2 : - (d / 2);

        llm_audit_hash(p->number - 1 + (uint64_t) (p->shift + shift), p->data,
                       p->len, hash);

        if (memcmp(hash, previous, LLM_AUDIT_HASH) == 0) {
            llm_audit_chain_run(p, shift);
            p->shift += shift;
            p->shifted = 1;
            return 1;
        }
    }

    return 0;
}


/* it is over; shift: numbers are others from here on */

static void
llm_audit_chain_run(llm_audit_proof_t *p, int64_t shift)
{
    uint64_t  at;

    if (shift > 0) {
        llm_audit_tell(p, LLM_AUDIT_MISSING, p->run + 1,
                       "%lld record%s taken out before record %llu, and "
                       "those after it have other numbers",
                       (long long) shift, shift == 1 ? " was" : "s were",
                       (unsigned long long) p->run + 1);

    } else if (shift < 0) {

        /* the last link, which showed it, is one of an old record; before
         * come those from the new ones, and one to them if that is wrong */

        at = p->run + (p->broken > 2 ? p->broken - 2 : 0);
        at = at >= (uint64_t) -shift ? at + 1 - (uint64_t) -shift : at;

        llm_audit_tell(p, LLM_AUDIT_BROKEN, at,
                       "%lld record%s put in at %llu, and those after it have "
                       "other numbers", (long long) -shift,
                       shift == -1 ? " was" : "s were",
                       (unsigned long long) at);

    } else {
        llm_audit_chain_changed(p);
    }

    llm_audit_bad(p, p->run, p->run + p->broken - 1);

    p->run = 0;
    p->broken = 0;
    p->malformed = 0;
}


static void
llm_audit_chain_changed(llm_audit_proof_t *p)
{
    unsigned long long  from, to;

    from = p->run;
    to = p->run + p->broken - 1;

    if (p->malformed != 0 && p->broken <= 2) {
        llm_audit_tell(p, LLM_AUDIT_MALFORMED, p->malformed,
                       "record %llu was changed and can't be read",
                       (unsigned long long) p->malformed);

    } else if (p->broken == 1 && p->forged) {

        /* the end of what was made anew, which was told */

    } else if (p->broken == 1) {
        llm_audit_tell(p, LLM_AUDIT_BROKEN, from, "record %llu was changed; "
                       "or some up to it were, from %llu on, with the chain "
                       "made anew", from,
                       (unsigned long long) p->from);

    } else if (p->broken == 2) {
        llm_audit_tell(p, LLM_AUDIT_BROKEN, to, "record %llu was changed, or "
                       "it and the one before", to);

    } else {
        llm_audit_tell(p, LLM_AUDIT_BROKEN, from + 1, "records %llu to %llu "
                       "were changed, or have another order", from + 1, to);
    }
}


/* what no writer writes */

static void
llm_audit_chain_says(llm_audit_proof_t *p, uint64_t number,
    const llm_audit_record_t *r)
{
    uint64_t  true_number;

    true_number = number + (uint64_t) p->shift;

    if (r->time < p->time && !p->doubtful) {
        llm_audit_pending(p, LLM_AUDIT_MALFORMED, number, "the time of record "
                          "%llu is before that of the record before",
                          (unsigned long long) number);
    }

    switch (r->type) {

    case LLM_AUDIT_OPEN:
        p->r->calls++;
        break;

    case LLM_AUDIT_CLOSE:
        if (r->number >= true_number) {
            llm_audit_pending(p, LLM_AUDIT_MALFORMED, number, "record %llu "
                              "ends a call that comes after it",
                              (unsigned long long) number);

        } else if (r->number >= p->first + (uint64_t) p->shift) {
            p->closed++;
        }

        break;

    case LLM_AUDIT_START:
        if (true_number != 1) {
            llm_audit_pending(p, LLM_AUDIT_MALFORMED, number, "record %llu "
                              "begins a trail within one",
                              (unsigned long long) number);
        }

        break;

    default:
        break;
    }
}


/* the clock's lead over the time since boot falls when it is stepped back, by
 * more than what it takes to write a record */

static void
llm_audit_chain_clock(llm_audit_proof_t *p, const llm_audit_record_t *r)
{
    int64_t  offset;

    if (r->wall <= 0 || r->mono <= 0) {
        return;
    }

    offset = r->wall - r->mono;

    if (p->offset != 0 && offset < p->offset - 1000 && !p->doubtful) {
        p->r->steps_back++;
    }

    p->offset = offset;
}


static void
llm_audit_chain_keep(llm_audit_proof_t *p, uint64_t number, const MDB_val *v)
{
    uint64_t  true_number;

    true_number = number + (uint64_t) p->shift;
    p->len = v->mv_size <= LLM_AUDIT_MAX ? v->mv_size : 0;

    if (p->len != 0) {
        memcpy(p->data, v->mv_data, p->len);
    }

    llm_audit_hash(true_number, v->mv_data, v->mv_size, p->hash);
    p->linked = 1;

    if (p->file_state >= 0 && true_number == p->file.number) {
        memcpy(p->file_hash, p->hash, LLM_AUDIT_HASH);
        p->file_seen = 1;
    }

    if (p->v->number != 0 && true_number == p->v->number) {
        memcpy(p->kept_hash, p->hash, LLM_AUDIT_HASH);
        p->kept_seen = 1;
    }
}


/* the first of several: what was changed may be wrong in more than one way */

void
llm_audit_pending(llm_audit_proof_t *p, llm_audit_fault_e fault,
    uint64_t number, const char *fmt, ...)
{
    va_list  args;

    if (p->pending.fault != 0) {
        return;
    }

    p->pending.fault = fault;
    p->pending.number = number;

    va_start(args, fmt);
    (void) vsnprintf(p->pending.text, sizeof(p->pending.text), fmt, args);
    va_end(args);
}


static void
llm_audit_chain_told(llm_audit_proof_t *p)
{
    if (p->pending.fault == 0) {
        return;
    }

    llm_audit_tell(p, p->pending.fault, p->pending.number, "%s",
                   p->pending.text);

    if (p->pending.fault == LLM_AUDIT_FORGED) {
        p->forged = 1;
    } else {
        llm_audit_bad(p, p->pending.number, p->pending.number);
    }

    p->pending.fault = 0;
}
