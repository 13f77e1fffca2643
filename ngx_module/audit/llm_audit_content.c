
/*
 * Copyright (C) nginx-llm contributors
 *
 * Inputs and outputs that are kept: AES-256-GCM under the content key of an
 * epoch.  The text's number, 'i' or 'o', and choice are authenticated with it,
 * so that it can't be given to another call.  As it lies in content:
 *
 *      0   4   epoch, little-endian
 *      4  12   nonce
 *     16       the text, encrypted
 *         16   tag
 *
 * No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "../store/llm_secret_int.h"
#include "llm_audit_int.h"


#define LLM_CONTENT_TAG  16


static int llm_audit_gcm(const llm_audit_keys_t *k, int encrypt,
    const uint8_t *nonce, const uint8_t *name, const uint8_t *data,
    size_t len, uint8_t *out, uint8_t *tag);


void
llm_audit_content_key(uint8_t key[LLM_AUDIT_CONTENT_KEY], uint64_t number,
    char what, uint32_t choice)
{
    llm_be_put(key, number, 8);
    key[8] = (uint8_t) what;
    llm_be_put(key + 9, choice, 4);
}


int
llm_audit_content_seal(const llm_audit_keys_t *k, uint64_t number, char what,
    uint32_t choice, const void *data, size_t len, uint8_t *out, char *err,
    size_t errlen)
{
    int      rc;
    uint8_t  name[LLM_AUDIT_CONTENT_KEY];

    llm_audit_content_key(name, number, what, choice);
    llm_le_put(out, k->epoch, 4);

    rc = llm_random(out + 4, LLM_AUDIT_CONTENT_HEAD - 4, err, errlen);

    if (rc == LLM_OK
        && llm_audit_gcm(k, 1, out + 4, name, data, len,
                         out + LLM_AUDIT_CONTENT_HEAD,
                         out + LLM_AUDIT_CONTENT_HEAD + len)
           != LLM_OK)
    {
        rc = llm_err(err, errlen, LLM_ERROR,
                     "audit: seal: AES-256-GCM failed");
    }

    return rc;
}


int
llm_audit_content_open(const llm_audit_keys_t *k, uint64_t number, char what,
    uint32_t choice, const void *sealed, size_t len, uint8_t *out, char *err,
    size_t errlen)
{
    uint8_t         name[LLM_AUDIT_CONTENT_KEY];
    const uint8_t  *p;

    p = sealed;

    if (llm_audit_content_epoch(sealed, len) != k->epoch) {
        return llm_err(err, errlen, LLM_INVALID, "audit: record %llu: torn "
                       "content", (unsigned long long) number);
    }

    len -= LLM_AUDIT_CONTENT_MORE;
    llm_audit_content_key(name, number, what, choice);

    if (llm_audit_gcm(k, 0, p + 4, name, p + LLM_AUDIT_CONTENT_HEAD, len, out,
                      (uint8_t *) p + LLM_AUDIT_CONTENT_HEAD + len)
        != LLM_OK)
    {
        OPENSSL_cleanse(out, len);
        return llm_err(err, errlen, LLM_INVALID, "audit: record %llu: its "
                       "content was changed", (unsigned long long) number);
    }

    return LLM_OK;
}


uint32_t
llm_audit_content_epoch(const void *sealed, size_t len)
{
    return len < LLM_AUDIT_CONTENT_MORE ? 0
                                        : (uint32_t) llm_le_get(sealed, 4);
}


/* tag: written when encrypting, else read */

static int
llm_audit_gcm(const llm_audit_keys_t *k, int encrypt, const uint8_t *nonce,
    const uint8_t *name, const uint8_t *data, size_t len, uint8_t *out,
    uint8_t *tag)
{
    int              n, ok;
    EVP_CIPHER_CTX  *ctx;

    ctx = EVP_CIPHER_CTX_new();

    ok = ctx != NULL && len <= INT32_MAX
         && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, k->content, nonce,
                              encrypt) == 1
         && EVP_CipherUpdate(ctx, NULL, &n, name, LLM_AUDIT_CONTENT_KEY) == 1
         && EVP_CipherUpdate(ctx, out, &n, data, (int) len) == 1
         && (encrypt
             || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG,
                                    LLM_CONTENT_TAG, tag) == 1)
         && EVP_CipherFinal_ex(ctx, out + n, &n) == 1
         && (!encrypt
             || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG,
                                    LLM_CONTENT_TAG, tag) == 1);

    EVP_CIPHER_CTX_free(ctx);

    return ok ? LLM_OK : LLM_ERROR;
}
