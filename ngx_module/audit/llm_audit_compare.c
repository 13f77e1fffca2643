
/*
 * Copyright (C) nginx-llm contributors
 *
 * Texts that were computed again, beside what is kept.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include <openssl/crypto.h>

#include "llm_audit_compare.h"
#include "llm_audit_int.h"


static void llm_audit_compare_text(const llm_buf_t *kept,
    const llm_audit_again_t *again, llm_audit_compared_t *r);
static int llm_audit_compare_print(llm_audit_t *a,
    const llm_audit_call_t *call, uint32_t choice,
    const llm_audit_again_t *again, llm_audit_compared_t *r, char *err,
    size_t errlen);


/* a character that was not whole when a text was cut */
static const char  llm_audit_broken[] = "\xef\xbf\xbd";


int
llm_audit_print_at(llm_audit_t *a, uint32_t epoch, const void *data,
    size_t len, uint8_t print[LLM_AUDIT_HASH], char *err, size_t errlen)
{
    int                rc;
    MDB_txn           *txn;
    llm_audit_keys_t  *keys;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_keys(a, txn, epoch, &keys, err, errlen);

    if (rc == LLM_OK) {
        llm_audit_fingerprint(keys, data, len, print);
    }

    llm_audit_read_end(a, txn);

    return rc;
}


int
llm_audit_compare(llm_audit_t *a, const llm_audit_call_t *call,
    uint32_t choice, const llm_audit_again_t *again,
    llm_audit_compared_t *r, char *err, size_t errlen)
{
    int        rc;
    llm_buf_t  kept = { 0 };

    memset(r, 0, sizeof(llm_audit_compared_t));
    r->same = LLM_AUDIT_UNKEPT;

    rc = LLM_NOTFOUND;

    if (call->with_output) {
        rc = llm_audit_content(a, call->number, 'o', choice, &kept, err,
                               errlen);
    }

    if (rc == LLM_OK) {
        llm_audit_compare_text(&kept, again, r);

        rc = llm_audit_print_at(a, call->output_epoch, again->data,
                                (size_t) r->bytes, r->print, err, errlen);

    } else if (rc == LLM_NOTFOUND) {
        rc = choice < call->n_output
             ? llm_audit_compare_print(a, call, choice, again, r, err, errlen)
             : LLM_OK;
    }

    if (kept.data != NULL) {
        OPENSSL_cleanse(kept.data, kept.size);
    }

    llm_buf_done(&kept);

    return rc;
}


static void
llm_audit_compare_text(const llm_buf_t *kept, const llm_audit_again_t *again,
    llm_audit_compared_t *r)
{
    size_t  i, len, n;

    len = kept->len;
    n = len < again->len ? len : again->len;

    for (i = 0; i < n && kept->data[i] == again->data[i]; i++) { /* void */ }

    r->content = 1;
    r->kept = len;
    r->bytes = i;

    if (i == len && i == again->len) {
        r->same = LLM_AUDIT_EQUAL;
        return;
    }

    r->same = LLM_AUDIT_DIFFERS;

    if (!again->cut) {
        return;
    }

    if (i == len
        || (len - i <= 3 && len >= 3
            && memcmp(kept->data + len - 3, llm_audit_broken, 3) == 0))
    {
        r->same = LLM_AUDIT_PART;
    }
}


static int
llm_audit_compare_print(llm_audit_t *a, const llm_audit_call_t *call,
    uint32_t choice, const llm_audit_again_t *again, llm_audit_compared_t *r,
    char *err, size_t errlen)
{
    int                rc;
    size_t             i, len;
    MDB_txn           *txn;
    const uint8_t     *want = call->output[choice];
    llm_audit_keys_t  *keys;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_keys(a, txn, call->output_epoch, &keys, err, errlen);

    if (rc != LLM_OK) {
        llm_audit_read_end(a, txn);
        return rc;
    }

    llm_audit_fingerprint(keys, again->data, again->len, r->print);

    r->same = LLM_AUDIT_DIFFERS;

    if (memcmp(r->print, want, LLM_AUDIT_HASH) == 0) {
        r->same = LLM_AUDIT_EQUAL;
        r->bytes = again->len;
    }

    /* nothing, or so many of its pieces */

    for (i = 0; again->cut && r->same == LLM_AUDIT_DIFFERS
         && i <= again->n_piece; i++)
    {
        len = i ? again->piece[i - 1] : 0;

        llm_audit_fingerprint(keys, again->data, len, r->print);

        if (memcmp(r->print, want, LLM_AUDIT_HASH) == 0) {
            r->same = LLM_AUDIT_PART;
            r->bytes = len;
        }
    }

    llm_audit_read_end(a, txn);

    return LLM_OK;
}
