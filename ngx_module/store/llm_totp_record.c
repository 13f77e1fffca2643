
/*
 * Copyright (C) nginx-llm contributors
 *
 * What an enrolment's record looks like in the store, and how long failures
 * lock it.  No state: any thread.
 *
 * A record, version 1, little-endian:
 *
 *      0   1   version
 *      1   1   state: 1 pending, 2 on
 *      2   1   number of recovery codes that are left, n
 *      3   1   length of the sealed secret, 52
 *      4   4   version of the secret that has hashed the recovery codes
 *      8   4   failures in a row
 *     12   8   since, unix seconds
 *     20   8   last step that was used, 0: none
 *     28   8   locked until, unix seconds, 0: not
 *     36  52   the TOTP secret, sealed under the name "totp:<id>"
 *     88 16n   HMAC-SHA256(verify, "recovery:<id>:<code>"), cut to 128 bits
 *  88+16n  4   CRC-32 of what stands before
 *
 * The seal's name has the id, so a record that was moved to another id opens
 * with no code.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_totp_int.h"


#define LLM_TOTP_RECORD    1        /* version */
#define LLM_TOTP_LOCK      60       /* seconds of the first lock */
#define LLM_TOTP_LOCK_MAX  86400


size_t
llm_totp_pack(uint8_t *p, const llm_totp_record_t *r)
{
    size_t  len;

    p[0] = LLM_TOTP_RECORD;
    p[1] = (uint8_t) r->state;
    p[2] = (uint8_t) r->n;
    p[3] = LLM_TOTP_SEALED;

    llm_put_le(p + 4, r->version, 4);
    llm_put_le(p + 8, r->failures, 4);
    llm_put_le(p + 12, (uint64_t) r->since, 8);
    llm_put_le(p + 20, (uint64_t) r->last, 8);
    llm_put_le(p + 28, (uint64_t) r->locked, 8);

    len = LLM_TOTP_HEAD;
    memcpy(p + len, r->sealed, LLM_TOTP_SEALED);

    len += LLM_TOTP_SEALED;
    memcpy(p + len, r->hash, r->n * LLM_TOTP_HASH);

    len += r->n * LLM_TOTP_HASH;
    llm_put_le(p + len, llm_crc32(p, len), 4);

    return len + 4;
}


int
llm_totp_unpack(const void *data, size_t len, llm_totp_record_t *r,
    const char **why)
{
    const uint8_t  *p;

    p = data;
    memset(r, 0, sizeof(llm_totp_record_t));

    *why = "torn record of the second factor";

    if (len == 0) {
        return LLM_INVALID;
    }

    if (p[0] != LLM_TOTP_RECORD) {
        *why = "record of the second factor of an unknown version";
        return LLM_INVALID;
    }

    if (len < LLM_TOTP_HEAD
        || p[2] > LLM_TOTP_CODES
        || p[3] != LLM_TOTP_SEALED
        || len != (size_t) LLM_TOTP_HEAD + LLM_TOTP_SEALED
                  + p[2] * LLM_TOTP_HASH + 4
        || llm_get_le(p + len - 4, 4) != llm_crc32(p, len - 4))
    {
        return LLM_INVALID;
    }

    r->state = (llm_totp_state_e) p[1];
    r->n = p[2];
    r->version = (uint32_t) llm_get_le(p + 4, 4);
    r->failures = (uint32_t) llm_get_le(p + 8, 4);
    r->since = (int64_t) llm_get_le(p + 12, 8);
    r->last = (int64_t) llm_get_le(p + 20, 8);
    r->locked = (int64_t) llm_get_le(p + 28, 8);

    memcpy(r->sealed, p + LLM_TOTP_HEAD, LLM_TOTP_SEALED);
    memcpy(r->hash, p + LLM_TOTP_HEAD + LLM_TOTP_SEALED,
           r->n * LLM_TOTP_HASH);

    /* written so, then */

    if ((r->state != LLM_TOTP_PENDING && r->state != LLM_TOTP_ON)
        || r->since < 0 || r->last < 0 || r->locked < 0)
    {
        *why = "malformed record of the second factor";
        return LLM_INVALID;
    }

    return LLM_OK;
}


uint32_t
llm_totp_sealed_version(const llm_totp_record_t *r)
{
    return (uint32_t) llm_get_le(r->sealed, 4);
}


int64_t
llm_totp_lock(uint32_t failures, int64_t now)
{
    int64_t   lock;
    uint32_t  more;

    if (failures < LLM_TOTP_FAILURES) {
        return 0;
    }

    more = failures - LLM_TOTP_FAILURES;
    lock = (more < 16) ? (int64_t) LLM_TOTP_LOCK << more : LLM_TOTP_LOCK_MAX;

    if (lock > LLM_TOTP_LOCK_MAX) {
        lock = LLM_TOTP_LOCK_MAX;
    }

    return now > INT64_MAX - lock ? INT64_MAX : now + lock;
}
