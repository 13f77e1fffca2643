
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of the second factor share: an app, and users who have one.
 * Clocks are the test's.
 */


#ifndef _TOTP_TEST_H_INCLUDED_
#define _TOTP_TEST_H_INCLUDED_


#include "../../ngx_module/store/llm_totp_int.h"
#include "store_test.h"


#define T0  INT64_C(1767225600)     /* the first second of a step */


typedef struct {
    char              id[LLM_KEY_ID_LEN + 1];
    uint8_t           raw[LLM_TOTP_BYTES];
    llm_totp_enrol_t  e;
} user_t;


static char  text[64];


/* RFC 4648's base32 back to bytes */

static inline void
raw_of(const char *base32, uint8_t *raw)
{
    size_t       i, n;
    uint64_t     bits;
    const char  *p;

    static const char  digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    bits = n = 0;

    for (i = 0; base32[i] != '\0'; i++) {
        p = strchr(digits, base32[i]);
        bits = bits << 5 | (uint64_t) (p - digits);

        if (i % 8 == 7) {
            for (int j = 32; j >= 0; j -= 8) {
                raw[n++] = (uint8_t) (bits >> j);
            }
        }
    }
}


/* the app's code at that time */

static inline const char *
code_at(const user_t *u, int64_t now)
{
    snprintf(text, sizeof(text), "%06u",
             llm_totp("SHA1", u->raw, LLM_TOTP_BYTES,
                      (uint64_t) (now / LLM_TOTP_STEP), 6));

    return text;
}


/* a code that is none of those around now */

static inline const char *
wrong_at(const user_t *u, int64_t now)
{
    int       i;
    uint32_t  code;

    for (code = 123456; ; code++) {
        for (i = -2; i <= 2; i++) {
            if (llm_totp("SHA1", u->raw, LLM_TOTP_BYTES,
                         (uint64_t) (now / LLM_TOTP_STEP + i), 6)
                == code)
            {
                break;
            }
        }

        if (i == 3) {
            snprintf(text, sizeof(text), "%06u", code);
            return text;
        }
    }
}


/* a key, enrolled and on; its last step is that of T0 - 300 */

static inline int
user(llm_store_t *st, user_t *u)
{
    int        rc;
    char       key[LLM_KEY_LEN + 1];
    llm_key_t  k;

    memset(u, 0, sizeof(*u));

    rc = create(st, &k, key);

    if (rc == LLM_OK) {
        memcpy(u->id, k.id, sizeof(u->id));
        rc = llm_totp_enrol(st, secret, u->id, k.client, &u->e, E);
    }

    if (rc == LLM_OK) {
        raw_of(u->e.secret, u->raw);
        rc = llm_totp_confirm(st, secret, u->id, code_at(u, T0 - 300),
                              T0 - 300, E);
    }

    return rc;
}


static inline int
check(llm_store_t *st, const user_t *u, const char *code, int64_t now)
{
    return llm_totp_check(st, secret, u->id, code, now, E);
}


#endif /* _TOTP_TEST_H_INCLUDED_ */
