
/*
 * Copyright (C) nginx-llm contributors
 *
 * Fingerprints.  Of a request's body, and of each text in it that a person
 * may look for: one that was pasted into a message is found though the body
 * around it is not known.  A body that is not JSON has one fingerprint.
 *
 * No state but the keys: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_TEXTS_HALF   (LLM_AUDIT_INPUTS / 2)
#define LLM_TEXTS_DEPTH  8          /* of what lies in messages */


struct llm_audit_print_s {
    llm_audit_env_t    *shared;     /* holds a reference: keys stay */
    llm_audit_keys_t   *keys;
    SHA256_CTX          ctx;
};


/* the first and the last ones; the latter in a ring */
typedef struct {
    size_t         n;
    const json_t  *first[LLM_TEXTS_HALF];
    const json_t  *last[LLM_TEXTS_HALF];
} llm_audit_texts_t;


static void llm_audit_texts(llm_audit_texts_t *t, const json_t *v,
    unsigned depth);


void
llm_audit_fingerprint(const llm_audit_keys_t *k, const void *data, size_t len,
    uint8_t print[LLM_AUDIT_HASH])
{
    llm_hmac(&k->fingerprint, data, len, print);
}


uint32_t
llm_audit_input_prints(const llm_audit_keys_t *k,
    const llm_audit_text_t *input,
    uint8_t print[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH], int *more)
{
    size_t              i;
    json_t             *root;
    uint32_t            n;
    const json_t       *v;
    llm_audit_texts_t   t;

    static const char *const  names[] = {
        "system", "messages", "prompt", "input"
    };

    *more = 0;

    if (input->data == NULL) {
        return 0;
    }

    n = 0;
    llm_audit_fingerprint(k, input->data, input->len, print[n++]);

    if (input->len > LLM_AUDIT_CONTENT) {
        return n;
    }

    root = json_loadb(input->data, input->len, JSON_ALLOW_NUL, NULL);
    if (root == NULL) {
        return n;
    }

    memset(&t, 0, sizeof(t));

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        llm_audit_texts(&t, json_object_get(root, names[i]), 0);
    }

    *more = (t.n > LLM_AUDIT_INPUTS);

    for (i = 0; i < t.n && i < LLM_AUDIT_INPUTS; i++) {
        v = (i < LLM_TEXTS_HALF)
            ? t.first[i]
            : t.last[(i + (*more ? t.n : 0)) % LLM_TEXTS_HALF];

        llm_audit_fingerprint(k, json_string_value(v), json_string_length(v),
                              print[n++]);
    }

    json_decref(root);

    return n;
}


/*
 * A text, a list of such, or an object that holds one: a message, a part, a
 * tool's result.  With t->n texts the oldest one in the ring is that of
 * number t->n % half.
 */

static void
llm_audit_texts(llm_audit_texts_t *t, const json_t *v, unsigned depth)
{
    size_t   i;

    if (depth > LLM_TEXTS_DEPTH) {
        return;
    }

    if (json_is_string(v)) {

        if (json_string_length(v) != 0) {
            if (t->n < LLM_TEXTS_HALF) {
                t->first[t->n] = v;

            } else {
                t->last[t->n % LLM_TEXTS_HALF] = v;
            }

            t->n++;
        }

    } else if (json_is_array(v)) {

        for (i = 0; i < json_array_size(v); i++) {
            llm_audit_texts(t, json_array_get(v, i), depth + 1);
        }

    } else if (json_is_object(v)) {
        llm_audit_texts(t, json_object_get(v, "content"), depth + 1);
        llm_audit_texts(t, json_object_get(v, "text"), depth + 1);
    }
}


llm_audit_print_t *
llm_audit_print_new(llm_audit_t *a)
{
    llm_audit_keys_t   *k;
    llm_audit_print_t  *p;

    k = atomic_load(&a->shared->current);
    p = (k != NULL) ? malloc(sizeof(llm_audit_print_t)) : NULL;

    if (p == NULL) {
        return NULL;
    }

    p->shared = a->shared;
    p->keys = k;
    (void) atomic_fetch_add_explicit(&a->shared->refs, 1,
                                     memory_order_relaxed);
    llm_hmac_begin(&k->fingerprint, &p->ctx);

    return p;
}


void
llm_audit_print(llm_audit_print_t *p, const void *data, size_t len)
{
    llm_hmac_add(&p->ctx, data, len);
}


void
llm_audit_print_done(llm_audit_print_t *p, uint8_t print[LLM_AUDIT_HASH])
{
    llm_hmac_end(&p->keys->fingerprint, &p->ctx, print);
    llm_audit_print_free(p);
}


void
llm_audit_print_free(llm_audit_print_t *p)
{
    if (p != NULL) {
        OPENSSL_cleanse(&p->ctx, sizeof(p->ctx));
        llm_audit_env_put(p->shared);
        free(p);
    }
}
