
/*
 * Copyright (C) nginx-llm contributors
 *
 * HMAC-SHA256 with a key set once: the two compressions that depend on the
 * key only are kept, so that a MAC of a short text costs three more, and no
 * allocation.  The compression is OpenSSL's.
 */


#ifndef _LLM_HMAC_H_INCLUDED_
#define _LLM_HMAC_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <openssl/sha.h>


/* as secret as the key: keep it in locked memory, wipe it */
typedef struct {
    SHA256_CTX  inner;
    SHA256_CTX  outer;
} llm_hmac_t;


void llm_hmac_init(llm_hmac_t *h, const void *key, size_t len);
void llm_hmac(const llm_hmac_t *h, const void *data, size_t len,
    uint8_t mac[32]);

/* the same of data that comes in pieces; end wipes ctx */
void llm_hmac_begin(const llm_hmac_t *h, SHA256_CTX *ctx);
void llm_hmac_add(SHA256_CTX *ctx, const void *data, size_t len);
void llm_hmac_end(const llm_hmac_t *h, SHA256_CTX *ctx, uint8_t mac[32]);


#endif /* _LLM_HMAC_H_INCLUDED_ */
