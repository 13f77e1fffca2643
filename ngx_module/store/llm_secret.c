
/*
 * Copyright (C) nginx-llm contributors
 *
 * The secret in memory: tags, signatures, seals.  Written by open() only, so
 * any number of threads may use it at a time.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "llm_signer.h"


#define LLM_SEAL_HEAD  16           /* version and nonce */
#define LLM_SEAL_TAG   16


static const llm_secret_version_t *llm_secret_find(
    const llm_secret_t *secret, uint32_t version);
static int llm_secret_gcm(const llm_secret_version_t *v, int encrypt,
    const uint8_t *nonce, const char *name, const uint8_t *data, size_t len,
    uint8_t *out, uint8_t *tag);


int
llm_secret_open(llm_secret_t **secretp, const char *source, char *err,
    size_t errlen)
{
    return llm_secret_open_within(secretp, source, LLM_SIGNER_TIMEOUT, err,
                                  errlen);
}


int
llm_secret_open_within(llm_secret_t **secretp, const char *source,
    int timeout, char *err, size_t errlen)
{
    int            rc;
    size_t         size;
    const char    *path;
    llm_secret_t  *secret;

    *secretp = NULL;

    size = (size_t) sysconf(_SC_PAGESIZE);
    size = (sizeof(llm_secret_t) + size - 1) / size * size;

    secret = mmap(NULL, size, PROT_READ|PROT_WRITE,
                  MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (secret == MAP_FAILED) {
        return llm_err(err, errlen, LLM_NOMEM, "secret: no memory");
    }

    (void) madvise(secret, size, MADV_DONTDUMP);

    secret->mapped = size;
    secret->signer = -1;
    secret->timeout = timeout;

    /* a limit of zero is the caller's to report */
    (void) llm_secret_lock(secret, NULL, 0);

    rc = llm_random(&secret->id, sizeof(secret->id), err, errlen);

    if (rc != LLM_OK) {
        /* said */

    } else if (llm_secret_is_token(source, &path)) {
        rc = llm_signer_open(secret, source, err, errlen);

    } else if (*path == '\0') {
        rc = llm_err(err, errlen, LLM_INVALID, "secret: empty path");

    } else {
        rc = llm_secret_open_files(secret, path, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_secret_close(secret);
        return rc;
    }

    *secretp = secret;

    return LLM_OK;
}


void
llm_secret_close(llm_secret_t *secret)
{
    size_t  size;

    if (secret == NULL) {
        return;
    }

    llm_signer_close(secret);

    size = secret->mapped;
    OPENSSL_cleanse(secret, sizeof(llm_secret_t));
    (void) munmap(secret, size);
}


int
llm_secret_lock(llm_secret_t *secret, char *err, size_t errlen)
{
    if (mlock(secret, secret->mapped) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "secret: mlock: %s",
                       strerror(errno));
    }

    return LLM_OK;
}


int
llm_secret_is_token(const char *source, const char **path)
{
    if (strncmp(source, "pkcs11:", 7) == 0) {
        return 1;
    }

    *path = strncmp(source, "file:", 5) == 0 ? source + 5 : source;

    return 0;
}


int
llm_secret_name(const char *base, uint32_t version, char *name, size_t size,
    char *err, size_t errlen)
{
    int  n;

    n = (version == 1) ? snprintf(name, size, "%s", base)
                       : snprintf(name, size, "%s.v%u", base, version);

    if (n < 0 || (size_t) n >= size) {
        return llm_err(err, errlen, LLM_INVALID, "secret: its name is too "
                       "long");
    }

    return LLM_OK;
}


llm_secret_version_t *
llm_secret_push(llm_secret_t *secret, uint32_t version)
{
    llm_secret_version_t  *v;

    if (secret->n == LLM_SECRET_VERSIONS) {
        return NULL;
    }

    v = &secret->v[secret->n++];
    v->version = version;

    return v;
}


size_t
llm_secret_versions(const llm_secret_t *secret,
    uint32_t version[LLM_SECRET_VERSIONS])
{
    size_t  i;

    for (i = 0; i < secret->n; i++) {
        version[i] = secret->v[i].version;
    }

    return secret->n;
}


static const llm_secret_version_t *
llm_secret_find(const llm_secret_t *secret, uint32_t version)
{
    size_t  i;

    /* the newest is asked for most */

    for (i = secret->n; i-- > 0; ) {
        if (secret->v[i].version == version) {
            return &secret->v[i];
        }
    }

    return NULL;
}


int
llm_secret_create(const char *source, char *err, size_t errlen)
{
    return llm_secret_add(source, 1, err, errlen);
}


int
llm_secret_add(const char *source, uint32_t version, char *err,
    size_t errlen)
{
    int          rc;
    char         name[4096];
    const char  *path;

    if (version < 1 || version > LLM_VERSION_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "secret: version %u",
                       version);
    }

    if (llm_secret_is_token(source, &path)) {
        return llm_signer_create(source, version, LLM_SIGNER_TIMEOUT, err,
                                 errlen);
    }

    if (*path == '\0') {
        return llm_err(err, errlen, LLM_INVALID, "secret: empty path");
    }

    rc = llm_secret_name(path, version, name, sizeof(name), err, errlen);

    return rc == LLM_OK ? llm_secret_make_file(name, err, errlen) : rc;
}


int
llm_secret_remove(const char *source, uint32_t version, char *err,
    size_t errlen)
{
    int          rc;
    char         name[4096];
    const char  *path;

    if (llm_secret_is_token(source, &path)) {
        return llm_err(err, errlen, LLM_INVALID, "secret: its object is "
                       "deleted by the token's own tools");
    }

    rc = llm_secret_name(path, version, name, sizeof(name), err, errlen);

    if (rc == LLM_OK && unlink(name) == -1) {
        rc = llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                     "%s: unlink: %s", name, strerror(errno));
    }

    return rc;
}


int
llm_secret_sign(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t mac[32], char *err, size_t errlen)
{
    const llm_secret_version_t  *v;

    v = llm_secret_find(secret, version);

    if (v == NULL) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "secret: version %u is not open", version);
    }

    if (secret->signer != -1) {
        return llm_signer_sign(secret, version, data, len, mac, err, errlen);
    }

    llm_hmac(&v->sign, data, len, mac);

    return LLM_OK;
}


int
llm_secret_tag(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t tag[32])
{
    const llm_secret_version_t  *v;

    v = llm_secret_find(secret, version);

    if (v == NULL) {
        return LLM_NOTFOUND;
    }

    llm_hmac(&v->verify, data, len, tag);

    return LLM_OK;
}


int
llm_secret_seal(const llm_secret_t *secret, uint32_t version,
    const char *name, const void *data, size_t len, uint8_t *out, char *err,
    size_t errlen)
{
    int                          i, rc;
    const llm_secret_version_t  *v;

    v = llm_secret_find(secret, version);

    if (v == NULL) {
        return llm_err(err, errlen, LLM_NOTFOUND,
                       "secret: version %u is not open", version);
    }

    for (i = 0; i < 4; i++) {
        out[i] = (uint8_t) (version >> (8 * i));
    }

    rc = llm_random(out + 4, LLM_SEAL_HEAD - 4, err, errlen);

    if (rc == LLM_OK
        && llm_secret_gcm(v, 1, out + 4, name, data, len,
                          out + LLM_SEAL_HEAD, out + LLM_SEAL_HEAD + len)
           != LLM_OK)
    {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: seal: AES-256-GCM failed",
                     name);
    }

    return rc;
}


int
llm_secret_unseal(const llm_secret_t *secret, const char *name,
    const void *sealed, size_t len, uint8_t *out, char *err, size_t errlen)
{
    uint32_t                     version;
    const uint8_t               *p;
    const llm_secret_version_t  *v;

    p = sealed;

    if (len < LLM_SEAL_MORE) {
        return llm_err(err, errlen, LLM_INVALID, "%s: torn seal", name);
    }

    version = p[0] | p[1] << 8 | p[2] << 16 | (uint32_t) p[3] << 24;
    v = llm_secret_find(secret, version);

    if (v == NULL) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: sealed under the "
                       "secret's version %u, which is not open", name,
                       version);
    }

    len -= LLM_SEAL_MORE;

    if (llm_secret_gcm(v, 0, p + 4, name, p + LLM_SEAL_HEAD, len, out,
                       (uint8_t *) p + LLM_SEAL_HEAD + len)
        != LLM_OK)
    {
        OPENSSL_cleanse(out, len);
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: the seal is broken", name);
    }

    return LLM_OK;
}


/* tag: written when encrypting, else read */

static int
llm_secret_gcm(const llm_secret_version_t *v, int encrypt,
    const uint8_t *nonce, const char *name, const uint8_t *data, size_t len,
    uint8_t *out, uint8_t *tag)
{
    int              n, ok;
    EVP_CIPHER_CTX  *ctx;

    ctx = EVP_CIPHER_CTX_new();

    ok = ctx != NULL && len <= INT32_MAX
         && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, v->seal, nonce,
                              encrypt) == 1
         && EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *) name,
                             (int) strlen(name)) == 1
         && EVP_CipherUpdate(ctx, out, &n, data, (int) len) == 1
         && (encrypt
             || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, LLM_SEAL_TAG,
                                    tag) == 1)
         && EVP_CipherFinal_ex(ctx, out + n, &n) == 1
         && (!encrypt
             || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, LLM_SEAL_TAG,
                                    tag) == 1);

    EVP_CIPHER_CTX_free(ctx);

    return ok ? LLM_OK : LLM_ERROR;
}
