
/*
 * Copyright (C) nginx-llm contributors
 *
 * HMAC-SHA256, RFC 2104, from saved states.  No state of its own: any thread.
 *
 * OpenSSL's EVP layer takes several times what the hash of a short text does,
 * and keeps its copy of the key in memory that can't be locked.  The calls
 * used here are deprecated since OpenSSL 3.0 and present in all of its
 * releases; they are the same assembly.
 */


#define OPENSSL_SUPPRESS_DEPRECATED

#include <string.h>

#include <openssl/crypto.h>

#include "llm_hmac.h"


#define LLM_HMAC_BLOCK  64


static void llm_hmac_pad(SHA256_CTX *ctx, const uint8_t *block, uint8_t pad);


void
llm_hmac_init(llm_hmac_t *h, const void *key, size_t len)
{
    uint8_t  block[LLM_HMAC_BLOCK];

    memset(block, 0, sizeof(block));

    if (len <= sizeof(block)) {
        memcpy(block, key, len);

    } else {
        (void) SHA256(key, len, block);
    }

    llm_hmac_pad(&h->inner, block, 0x36);
    llm_hmac_pad(&h->outer, block, 0x5c);

    OPENSSL_cleanse(block, sizeof(block));
}


static void
llm_hmac_pad(SHA256_CTX *ctx, const uint8_t *block, uint8_t pad)
{
    size_t   i;
    uint8_t  text[LLM_HMAC_BLOCK];

    for (i = 0; i < sizeof(text); i++) {
        text[i] = block[i] ^ pad;
    }

    (void) SHA256_Init(ctx);
    (void) SHA256_Update(ctx, text, sizeof(text));

    OPENSSL_cleanse(text, sizeof(text));
}


void
llm_hmac(const llm_hmac_t *h, const void *data, size_t len, uint8_t mac[32])
{
    SHA256_CTX  ctx;

    llm_hmac_begin(h, &ctx);
    llm_hmac_add(&ctx, data, len);
    llm_hmac_end(h, &ctx, mac);
}


void
llm_hmac_begin(const llm_hmac_t *h, SHA256_CTX *ctx)
{
    *ctx = h->inner;
}


void
llm_hmac_add(SHA256_CTX *ctx, const void *data, size_t len)
{
    (void) SHA256_Update(ctx, data, len);
}


void
llm_hmac_end(const llm_hmac_t *h, SHA256_CTX *ctx, uint8_t mac[32])
{
    (void) SHA256_Final(mac, ctx);

    *ctx = h->outer;
    (void) SHA256_Update(ctx, mac, 32);
    (void) SHA256_Final(mac, ctx);

    OPENSSL_cleanse(ctx, sizeof(SHA256_CTX));
}
