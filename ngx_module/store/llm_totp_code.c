
/*
 * Copyright (C) nginx-llm contributors
 *
 * Codes of the second factor: RFC 4226 and RFC 6238, what a user types, the
 * URI that an app reads, and recovery codes.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "llm_totp_int.h"


#define LLM_TOTP_TYPED  64          /* characters that are looked at */


static const EVP_MD *llm_totp_md(const char *hash);


/* RFC 6238 is RFC 4226 with the step for its counter, and more hashes */

uint32_t
llm_totp(const char *hash, const void *secret, size_t len, uint64_t step,
    int digits)
{
    int            i, at;
    uint8_t        counter[8], mac[EVP_MAX_MD_SIZE];
    unsigned       n;
    uint32_t       code;
    const EVP_MD  *md;

    static const uint32_t  modulo[] = { 1000000, 10000000, 100000000 };

    md = llm_totp_md(hash);

    if (md == NULL || len == 0 || len > INT_MAX || digits < 6 || digits > 8) {
        return LLM_TOTP_NONE_CODE;
    }

    for (i = 0; i < 8; i++) {
        counter[i] = (uint8_t) (step >> (56 - 8 * i));
    }

    if (HMAC(md, secret, (int) len, counter, sizeof(counter), mac, &n)
        == NULL)
    {
        return LLM_TOTP_NONE_CODE;
    }

    /* dynamic truncation, RFC 4226, 5.3: n is 20 at least */

    at = mac[n - 1] & 15;
    code = (uint32_t) (mac[at] & 127) << 24 | mac[at + 1] << 16
           | mac[at + 2] << 8 | mac[at + 3];

    OPENSSL_cleanse(mac, sizeof(mac));

    return code % modulo[digits - 6];
}


static const EVP_MD *
llm_totp_md(const char *hash)
{
    if (strcmp(hash, "SHA1") == 0) {
        return EVP_sha1();
    }

    if (strcmp(hash, "SHA256") == 0) {
        return EVP_sha256();
    }

    if (strcmp(hash, "SHA512") == 0) {
        return EVP_sha512();
    }

    return NULL;
}


/*
 * Of two steps with the same number the greater one, so that the code is not
 * good again at the other.
 */

int
llm_totp_match(const uint8_t *secret, int64_t now, uint32_t number,
    int64_t *step)
{
    int64_t   first, s;
    uint32_t  code, diff, same;
    uint64_t  found;

    found = 0;
    first = now / LLM_TOTP_STEP - 1;

    for (s = first < 0 ? 0 : first; s <= first + 2; s++) {
        code = llm_totp("SHA1", secret, LLM_TOTP_BYTES, (uint64_t) s,
                        LLM_TOTP_DIGITS);

        if (code == LLM_TOTP_NONE_CODE) {
            return LLM_ERROR;
        }

        /* no branch on it: all ones when they are the same */

        diff = code ^ number;
        same = ((diff | (0 - diff)) >> 31) - 1;
        found = (found & ~(0 - (uint64_t) (same & 1)))
                | ((uint64_t) s & (0 - (uint64_t) (same & 1)));
    }

    *step = (int64_t) found;

    return LLM_OK;
}


void
llm_totp_parse(llm_totp_code_t *code, const char *text)
{
    int          c;
    size_t       i, n, len, digits;
    const char  *at;

    memset(code, 0, sizeof(llm_totp_code_t));

    len = (text == NULL) ? 0 : strnlen(text, LLM_TOTP_TYPED + 1);

    if (len > LLM_TOTP_TYPED) {
        return;
    }

    n = digits = 0;

    for (i = 0; i < len; i++) {
        c = (unsigned char) text[i];

        if (c == ' ' || c == '-') {
            continue;
        }

        if (c >= 'A' && c <= 'Z') {
            c |= 0x20;
        }

        at = strchr(llm_base32, c);

        if (at == NULL || n == LLM_TOTP_CHARS) {
            goto malformed;
        }

        if (c >= '0' && c <= '9') {
            code->number = code->number * 10 + (uint32_t) (c - '0');
            digits++;
        }

        code->text[n++] = (char) c;
    }

    if (n == LLM_TOTP_DIGITS && digits == n) {
        code->kind = LLM_TOTP_APP;
        return;
    }

    if (n == LLM_TOTP_CHARS) {
        code->kind = LLM_TOTP_RECOVERY;
        return;
    }

malformed:

    OPENSSL_cleanse(code, sizeof(llm_totp_code_t));
}


void
llm_totp_base32(char *out, const uint8_t *p, size_t len)
{
    int                i;
    uint64_t           bits;
    static const char  digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    for ( /* void */ ; len >= 5; len -= 5) {
        bits = 0;

        for (i = 0; i < 5; i++) {
            bits = bits << 8 | *p++;
        }

        for (i = 35; i >= 0; i -= 5) {
            *out++ = digits[(bits >> i) & 31];
        }
    }

    *out = '\0';
}


int
llm_totp_uri(char *uri, size_t size, const char *label, const char *base32,
    char *err, size_t errlen)
{
    int     n;
    char    escaped[3 * LLM_TOTP_LABEL_MAX + 1], *p;
    size_t  i, len;

    len = strnlen(label, LLM_TOTP_LABEL_MAX + 1);

    if (len == 0 || len > LLM_TOTP_LABEL_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "second factor: label: must "
                       "have 1 to %d characters", LLM_TOTP_LABEL_MAX);
    }

    p = escaped;

    for (i = 0; i < len; i++) {
        if ((label[i] >= '0' && label[i] <= '9')
            || (label[i] >= 'A' && label[i] <= 'Z')
            || (label[i] >= 'a' && label[i] <= 'z')
            || memchr("-._~", label[i], 4) != NULL)
        {
            *p++ = label[i];

        } else {
            p += sprintf(p, "%%%02X", (unsigned char) label[i]);
        }
    }

    *p = '\0';

    n = snprintf(uri, size, "otpauth://totp/nginx-llm:%s?secret=%s"
                 "&issuer=nginx-llm&algorithm=SHA1&digits=%d&period=%d",
                 escaped, base32, LLM_TOTP_DIGITS, LLM_TOTP_STEP);

    if (n < 0 || (size_t) n >= size) {
        OPENSSL_cleanse(uri, size);
        return llm_err(err, errlen, LLM_INVALID,
                       "second factor: label: too long");
    }

    return LLM_OK;
}


int
llm_totp_codes(const llm_secret_t *secret, uint32_t version, const char *id,
    llm_totp_enrol_t *e, llm_totp_record_t *r, char *err, size_t errlen)
{
    int      i, j, rc;
    char     text[LLM_TOTP_CHARS + 1];
    uint8_t  rnd[LLM_TOTP_CODES][LLM_TOTP_CHARS];

    rc = llm_random(rnd, sizeof(rnd), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    for (i = 0; rc == LLM_OK && i < LLM_TOTP_CODES; i++) {

        for (j = 0; j < LLM_TOTP_CHARS; j++) {
            text[j] = llm_base32[rnd[i][j] & 31];
        }

        text[j] = '\0';

        (void) snprintf(e->recovery[i], sizeof(e->recovery[i]), "%.5s-%.5s",
                        text, text + 5);

        rc = llm_totp_hash(secret, version, id, text, r->hash[i]);
    }

    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(rnd, sizeof(rnd));

    if (rc != LLM_OK) {
        return llm_err(err, errlen, LLM_ERROR,
                       "secret: version %u is not open", version);
    }

    r->version = version;
    r->n = LLM_TOTP_CODES;

    return LLM_OK;
}


int
llm_totp_hash(const llm_secret_t *secret, uint32_t version, const char *id,
    const char *text, uint8_t *hash)
{
    int      n, rc;
    char     name[sizeof("recovery::") + LLM_KEY_ID_LEN + LLM_TOTP_CHARS];
    uint8_t  tag[LLM_TAG_LEN];

    n = snprintf(name, sizeof(name), "recovery:%s:%s", id, text);

    rc = (n > 0 && (size_t) n < sizeof(name))
         ? llm_secret_tag(secret, version, name, (size_t) n, tag)
         : LLM_ERROR;

    if (rc == LLM_OK) {
        memcpy(hash, tag, LLM_TOTP_HASH);
    }

    OPENSSL_cleanse(name, sizeof(name));
    OPENSSL_cleanse(tag, sizeof(tag));

    return rc;
}


uint32_t
llm_totp_find(const llm_totp_record_t *r, const uint8_t *hash)
{
    uint32_t  i, found;

    found = r->n;

    for (i = 0; i < r->n; i++) {
        if (CRYPTO_memcmp(r->hash[i], hash, LLM_TOTP_HASH) == 0) {
            found = i;
        }
    }

    return found;
}
