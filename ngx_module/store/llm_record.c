
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a key's record looks like in the store, and which values are valid.
 * No state: any thread.
 *
 * A record, version 2, little-endian:
 *
 *      0   1   version of the record
 *      1   1   role
 *      2   1   length of the client's name, n
 *      3   1   address ranges, m
 *      4   2   length of the models, l
 *      6   2   0
 *      8   4   version of the secret
 *     12   4   days of the last notice
 *     16   8   created, unix seconds
 *     24   8   issued
 *     32   8   expires, 0: when it is too old
 *     40   8   revoked, 0: not
 *     48   8   until, 0: the current secret
 *     56   4   requests a minute
 *     60   4   tokens a minute
 *     64   4   concurrent requests
 *     68   8   tokens a day
 *     76   8   tokens a month
 *     84  16   name of the last rotation
 *    100  28   id
 *    128   n   client
 *         17m  address ranges: address, bits
 *          l   models, a zero after each
 *          4   CRC-32 of what stands before
 *
 * Version 1, which is read only:
 *
 *      0   1   version
 *      1   1   role
 *      2   1   length of the client's name, n
 *      3   1   0
 *      4   8   created
 *     12   8   expires
 *     20   8   revoked
 *     28  28   id
 *     56   n   client
 *   56+n   4   CRC-32
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_store_int.h"


#define LLM_RECORD_HEAD1  56
#define LLM_RECORD_ID1    28
#define LLM_RECORD_ID     100
#define LLM_RECORD_NET    17


static int llm_record_unpack1(const uint8_t *p, size_t len, llm_key_t *k);
static int llm_record_unpack2(const uint8_t *p, size_t len, llm_key_t *k);
static int llm_record_sum(const uint8_t *p, size_t len);


/*
 * CRC-32 is linear: the entry of a byte is the exclusive or of those of its
 * bits.  The tables are written as those eight, for each of four distances
 * from the end of the word that is taken at a time.
 */

#define LLM_CRC(n, a, b, c, d, e, f, g, h)                                    \
    (((n) & 1 ? a : 0) ^ ((n) & 2 ? b : 0) ^ ((n) & 4 ? c : 0)                \
     ^ ((n) & 8 ? d : 0) ^ ((n) & 16 ? e : 0) ^ ((n) & 32 ? f : 0)            \
     ^ ((n) & 64 ? g : 0) ^ ((n) & 128 ? h : 0))

#define LLM_CRC4(n, ...)                                                      \
    LLM_CRC(n, __VA_ARGS__), LLM_CRC((n) + 1, __VA_ARGS__),                   \
    LLM_CRC((n) + 2, __VA_ARGS__), LLM_CRC((n) + 3, __VA_ARGS__)

#define LLM_CRC16(n, ...)                                                     \
    LLM_CRC4(n, __VA_ARGS__), LLM_CRC4((n) + 4, __VA_ARGS__),                 \
    LLM_CRC4((n) + 8, __VA_ARGS__), LLM_CRC4((n) + 12, __VA_ARGS__)

#define LLM_CRC64(n, ...)                                                     \
    LLM_CRC16(n, __VA_ARGS__), LLM_CRC16((n) + 16, __VA_ARGS__),              \
    LLM_CRC16((n) + 32, __VA_ARGS__), LLM_CRC16((n) + 48, __VA_ARGS__)

#define LLM_CRC256(...)                                                       \
    LLM_CRC64(0, __VA_ARGS__), LLM_CRC64(64, __VA_ARGS__),                    \
    LLM_CRC64(128, __VA_ARGS__), LLM_CRC64(192, __VA_ARGS__)

static const uint32_t  llm_crc32_table[4][256] = {
    { LLM_CRC256(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832,
                 0x1db71064, 0x3b6e20c8, 0x76dc4190, 0xedb88320) },
    { LLM_CRC256(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08,
                 0x4ac21251, 0x958424a2, 0xf0794f05, 0x3b83984b) },
    { LLM_CRC256(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8,
                 0x1c26a370, 0x384d46e0, 0x709a8dc0, 0xe1351b80) },
    { LLM_CRC256(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef,
                 0x5019579f, 0xa032af3e, 0x9b14583d, 0xed59b63b) }
};

/* ascending like the numbers they stand for; no i, l, o, u */
const char  llm_base32[33] = "0123456789abcdefghjkmnpqrstvwxyz";

static const char *const  llm_roles[] = { NULL, "user", "operator", "admin" };


uint32_t
llm_crc32(const void *data, size_t len)
{
    uint32_t        crc, word;
    const uint8_t  *p, *last;

    crc = 0xffffffff;
    p = data;
    last = p + len;

    while (last - p >= 4) {
        memcpy(&word, p, 4);                    /* little-endian */
        crc ^= word;
        crc = llm_crc32_table[3][crc & 255]
              ^ llm_crc32_table[2][crc >> 8 & 255]
              ^ llm_crc32_table[1][crc >> 16 & 255]
              ^ llm_crc32_table[0][crc >> 24];
        p += 4;
    }

    while (p < last) {
        crc = crc >> 8 ^ llm_crc32_table[0][(crc ^ *p++) & 255];
    }

    return crc ^ 0xffffffff;
}


void
llm_put_le(uint8_t *p, uint64_t value, size_t size)
{
    size_t  i;

    for (i = 0; i < size; i++) {
        p[i] = (uint8_t) (value >> (8 * i));
    }
}


uint64_t
llm_get_le(const uint8_t *p, size_t size)
{
    uint64_t  value;

    value = 0;

    while (size-- > 0) {
        value = value << 8 | p[size];
    }

    return value;
}


const char *
llm_role_name(llm_role_e role)
{
    if (role < LLM_ROLE_NONE || role > LLM_ROLE_ADMIN) {
        return NULL;
    }

    return llm_roles[role];
}


llm_role_e
llm_role_parse(const char *name, size_t len)
{
    int  i;

    for (i = LLM_ROLE_USER; i <= LLM_ROLE_ADMIN; i++) {
        if (strlen(llm_roles[i]) == len
            && memcmp(llm_roles[i], name, len) == 0)
        {
            return (llm_role_e) i;
        }
    }

    return LLM_ROLE_NONE;
}


int
llm_key_valid(const llm_key_t *k, char *err, size_t errlen)
{
    size_t  i, len;

    len = strnlen(k->client, sizeof(k->client));

    if (len == 0 || len > LLM_CLIENT_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: client: must have 1 to %d characters",
                       LLM_CLIENT_MAX);
    }

    i = llm_text_span(k->client, len);

    if (i != len) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: client: character %zu is not printable "
                       "ASCII, or a space, a quote or a backslash", i + 1);
    }

    if (k->role < LLM_ROLE_USER || k->role > LLM_ROLE_ADMIN) {
        return llm_err(err, errlen, LLM_INVALID, "key: role: unknown");
    }

    if (k->n_net > LLM_KEY_NETS) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: more than %d address ranges", LLM_KEY_NETS);
    }

    for (i = 0; i < k->n_net; i++) {
        if (!llm_net_valid(&k->net[i])) {
            return llm_err(err, errlen, LLM_INVALID,
                           "key: address range %zu is malformed", i + 1);
        }
    }

    if (!llm_models_valid(k->models, k->models_len)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "key: malformed names of models");
    }

    return LLM_OK;
}


size_t
llm_text_span(const char *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (p[i] <= ' ' || p[i] > '~' || p[i] == '"' || p[i] == '\''
            || p[i] == '`' || p[i] == '\\')
        {
            break;
        }
    }

    return i;
}


int
llm_key_id_valid(const char *id)
{
    int      i, ok;
    uint8_t  c;

    /* llm_base32: the characters from 32 on, and those from 96 on */

    static const uint32_t  digits = 0x03ff0000, letters = 0x07df6dfe;

    ok = 1;

    for (i = 0; i < LLM_KEY_ID_LEN; i++) {
        c = (uint8_t) id[i];

        if (c == '\0') {
            return 0;
        }

        if (i < 4) {
            ok &= c == (uint8_t) "key_"[i];

        } else {
            ok &= (c >> 5 == 1 && (digits >> (c & 31) & 1))
                  || (c >> 5 == 3 && (letters >> (c & 31) & 1));
        }
    }

    return ok && id[i] == '\0';
}


size_t
llm_record_pack(uint8_t *p, const llm_key_t *k)
{
    size_t  i, n;

    n = strlen(k->client);

    memset(p, 0, LLM_RECORD_HEAD);

    p[0] = 2;
    p[1] = (uint8_t) k->role;
    p[2] = (uint8_t) n;
    p[3] = (uint8_t) k->n_net;

    llm_put_le(p + 4, k->models_len, 2);
    llm_put_le(p + 8, k->version, 4);
    llm_put_le(p + 12, k->noticed, 4);
    llm_put_le(p + 16, (uint64_t) k->created, 8);
    llm_put_le(p + 24, (uint64_t) k->issued, 8);
    llm_put_le(p + 32, (uint64_t) k->expires, 8);
    llm_put_le(p + 40, (uint64_t) k->revoked, 8);
    llm_put_le(p + 48, (uint64_t) k->until, 8);
    llm_put_le(p + 56, k->limits.rpm, 4);
    llm_put_le(p + 60, k->limits.tpm, 4);
    llm_put_le(p + 64, k->limits.concurrent, 4);
    llm_put_le(p + 68, k->limits.day, 8);
    llm_put_le(p + 76, k->limits.month, 8);
    memcpy(p + 84, k->idem, sizeof(k->idem));
    memcpy(p + LLM_RECORD_ID, k->id, LLM_KEY_ID_LEN);

    memcpy(p + LLM_RECORD_HEAD, k->client, n);
    n += LLM_RECORD_HEAD;

    for (i = 0; i < k->n_net; i++) {
        memcpy(p + n, k->net[i].addr, 16);
        p[n + 16] = k->net[i].bits;
        n += LLM_RECORD_NET;
    }

    memcpy(p + n, k->models, k->models_len);
    n += k->models_len;

    llm_put_le(p + n, llm_crc32(p, n), 4);

    return n + 4;
}


int
llm_record_unpack(const void *data, size_t len, llm_key_t *k,
    const char **why)
{
    int             rc;
    const uint8_t  *p;

    p = data;
    k->id[0] = '\0';
    *why = "torn record";

    if (len == 0) {
        return LLM_INVALID;
    }

    if (p[0] == 2) {
        rc = llm_record_unpack2(p, len, k);

    } else if (p[0] == 1) {
        rc = llm_record_unpack1(p, len, k);

    } else {
        *why = "record of an unknown version";

        if (len >= LLM_RECORD_HEAD) {
            memcpy(k->id, p + LLM_RECORD_ID, LLM_KEY_ID_LEN);
            k->id[LLM_KEY_ID_LEN] = '\0';
        }

        return LLM_INVALID;
    }

    if (rc != LLM_OK) {
        return rc;
    }

    /* written so, then; still nothing to crash on */

    if (!llm_key_id_valid(k->id)
        || strlen(k->client) != p[2]
        || llm_key_valid(k, NULL, 0) != LLM_OK)
    {
        *why = "malformed record";
        return LLM_INVALID;
    }

    return LLM_OK;
}


static int
llm_record_unpack2(const uint8_t *p, size_t len, llm_key_t *k)
{
    size_t  i, l, m, n;

    if (len < LLM_RECORD_HEAD + 4) {
        return LLM_INVALID;
    }

    memcpy(k->id, p + LLM_RECORD_ID, LLM_KEY_ID_LEN);
    k->id[LLM_KEY_ID_LEN] = '\0';

    n = p[2];
    m = p[3];
    l = (size_t) llm_get_le(p + 4, 2);

    if (n > LLM_CLIENT_MAX || m > LLM_KEY_NETS || l > LLM_KEY_MODELS
        || len != LLM_RECORD_HEAD + n + LLM_RECORD_NET * m + l + 4
        || !llm_record_sum(p, len))
    {
        return LLM_INVALID;
    }

    k->role = (llm_role_e) p[1];
    k->version = (uint32_t) llm_get_le(p + 8, 4);
    k->noticed = (uint32_t) llm_get_le(p + 12, 4);
    k->created = (int64_t) llm_get_le(p + 16, 8);
    k->issued = (int64_t) llm_get_le(p + 24, 8);
    k->expires = (int64_t) llm_get_le(p + 32, 8);
    k->revoked = (int64_t) llm_get_le(p + 40, 8);
    k->until = (int64_t) llm_get_le(p + 48, 8);
    k->limits.rpm = (uint32_t) llm_get_le(p + 56, 4);
    k->limits.tpm = (uint32_t) llm_get_le(p + 60, 4);
    k->limits.concurrent = (uint32_t) llm_get_le(p + 64, 4);
    k->limits.pad = 0;
    k->limits.day = llm_get_le(p + 68, 8);
    k->limits.month = llm_get_le(p + 76, 8);
    memcpy(k->idem, p + 84, sizeof(k->idem));

    p += LLM_RECORD_HEAD;

    memcpy(k->client, p, n);
    k->client[n] = '\0';
    p += n;

    k->n_net = (uint32_t) m;

    for (i = 0; i < m; i++) {
        memcpy(k->net[i].addr, p, 16);
        k->net[i].bits = p[16];
        p += LLM_RECORD_NET;
    }

    k->models_len = (uint32_t) l;
    memcpy(k->models, p, l);

    return LLM_OK;
}


static int
llm_record_unpack1(const uint8_t *p, size_t len, llm_key_t *k)
{
    size_t  n;

    if (len < LLM_RECORD_HEAD1 + 4) {
        return LLM_INVALID;
    }

    memcpy(k->id, p + LLM_RECORD_ID1, LLM_KEY_ID_LEN);
    k->id[LLM_KEY_ID_LEN] = '\0';

    n = p[2];

    if (n > LLM_CLIENT_MAX || p[3] != 0 || len != LLM_RECORD_HEAD1 + n + 4
        || !llm_record_sum(p, len))
    {
        return LLM_INVALID;
    }

    k->role = (llm_role_e) p[1];
    k->version = 1;
    k->created = (int64_t) llm_get_le(p + 4, 8);
    k->issued = k->created;
    k->expires = (int64_t) llm_get_le(p + 12, 8);
    k->revoked = (int64_t) llm_get_le(p + 20, 8);
    k->until = 0;
    k->noticed = 0;
    k->n_net = 0;
    k->models_len = 0;
    memset(&k->limits, 0, sizeof(k->limits));
    memset(k->idem, 0, sizeof(k->idem));
    memcpy(k->client, p + LLM_RECORD_HEAD1, n);
    k->client[n] = '\0';

    return LLM_OK;
}


static int
llm_record_sum(const uint8_t *p, size_t len)
{
    return llm_get_le(p + len - 4, 4) == llm_crc32(p, len - 4);
}
