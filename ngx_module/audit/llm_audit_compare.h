
/*
 * Copyright (C) nginx-llm contributors
 *
 * Is a text what the audit trail has of a call?  By the content, where that is
 * kept, else by its fingerprint.  A handle's thread.
 */


#ifndef _LLM_AUDIT_COMPARE_H_INCLUDED_
#define _LLM_AUDIT_COMPARE_H_INCLUDED_


#include "llm_audit.h"


typedef enum {
    LLM_AUDIT_EQUAL = 1,
    LLM_AUDIT_PART,         /* equal as far as the kept one goes */
    LLM_AUDIT_DIFFERS,
    LLM_AUDIT_UNKEPT        /* nothing is kept of it */
} llm_audit_same_e;


typedef struct {
    llm_audit_same_e  same;
    int               content;      /* bytes were compared */
    uint64_t          bytes;        /* that are the same; of a fingerprint that
                                       is another one: 0 */
    uint64_t          kept;         /* bytes; 0 with a fingerprint only */
    uint8_t           print[LLM_AUDIT_HASH];    /* of the bytes that are the
                                                   same, unless it differs */
} llm_audit_compared_t;


/* a text that was computed again */
typedef struct {
    const char       *data;
    size_t            len;
    const size_t     *piece;        /* [n_piece] its length after each piece */
    size_t            n_piece;
    int               cut;          /* what is kept may end at a piece */
} llm_audit_again_t;


/* the fingerprint of a text in an epoch; needs the secret */
int llm_audit_print_at(llm_audit_t *a, uint32_t epoch, const void *data,
    size_t len, uint8_t print[LLM_AUDIT_HASH], char *err, size_t errlen);

/* an output of a call.  LLM_INVALID: the kept content was changed */
int llm_audit_compare(llm_audit_t *a, const llm_audit_call_t *call,
    uint32_t choice, const llm_audit_again_t *again,
    llm_audit_compared_t *result, char *err, size_t errlen);


#endif /* _LLM_AUDIT_COMPARE_H_INCLUDED_ */
