
/*
 * Copyright (C) nginx-llm contributors
 *
 * What usage and call records look like in calls.mdb.  No state: any thread.
 *
 * A call record, version 1, little-endian:
 *
 *      0   1   version
 *      1   4   lengths of model, address, agent, path
 *      5   1   1: it has a request id
 *      6   2   status
 *      8   4   prompt tokens
 *     12   4   completion tokens
 *     16   4   duration, ms
 *     20  16   request id
 *     36       model, address, agent, path
 *
 * It has no checksum: that would cost a report more than all the rest.
 *
 * A usage record, version 1, is the version, three zeroes, the members of
 * llm_spent_t in their order, and a CRC-32 of what stands before.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


#define LLM_CALL_VERSION   1
#define LLM_USAGE_VERSION  1


static size_t llm_call_plain(const char *p, size_t len);
static int llm_call_control(const char *p, size_t len);
static int llm_call_hex(uint8_t *p, const char *hex);
static uint8_t llm_call_append(uint8_t *p, size_t *n, const char *text,
    size_t size);


_Static_assert(LLM_QUOTA_ID == LLM_KEY_ID_LEN, "an id is an id");
_Static_assert(LLM_CALL_MODEL <= 256 && LLM_CALL_ADDR <= 256
               && LLM_CALL_AGENT <= 256 && LLM_CALL_PATH <= 256,
               "lengths are bytes");


/* the place of a character in llm_base32, or the digit's value, plus one; 0:
 * it is none */

static const uint8_t  llm_calls_digit[256] = {
    ['0'] =  1, ['1'] =  2, ['2'] =  3, ['3'] =  4, ['4'] =  5, ['5'] =  6,
    ['6'] =  7, ['7'] =  8, ['8'] =  9, ['9'] = 10, ['a'] = 11, ['b'] = 12,
    ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['g'] = 17, ['h'] = 18,
    ['j'] = 19, ['k'] = 20, ['m'] = 21, ['n'] = 22, ['p'] = 23, ['q'] = 24,
    ['r'] = 25, ['s'] = 26, ['t'] = 27, ['v'] = 28, ['w'] = 29, ['x'] = 30,
    ['y'] = 31, ['z'] = 32
};

static const uint8_t  llm_calls_hex[256] = {
    ['0'] =  1, ['1'] =  2, ['2'] =  3, ['3'] =  4, ['4'] =  5, ['5'] =  6,
    ['6'] =  7, ['7'] =  8, ['8'] =  9, ['9'] = 10, ['a'] = 11, ['b'] = 12,
    ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
    ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16
};


int
llm_calls_id(uint8_t *p, const char *id, char *err, size_t errlen)
{
    int       i, n;
    uint8_t   digit;
    uint64_t  acc;

    if (strncmp(id, "key_", 4) != 0) {
        goto invalid;
    }

    id += 4;

    /* eight characters are five bytes */

    for (n = 0; n < LLM_CALLS_ID / 5; n++) {
        acc = 0;

        for (i = 0; i < 8; i++) {
            digit = llm_calls_digit[(uint8_t) *id++];

            if (digit == 0) {
                goto invalid;
            }

            acc = acc << 5 | (uint64_t) (digit - 1);
        }

        llm_be_put(p + 5 * n, acc, 5);
    }

    if (*id == '\0') {
        return LLM_OK;
    }

invalid:

    return llm_err(err, errlen, LLM_INVALID, "calls: malformed key id");
}


size_t
llm_call_text(char *dst, size_t size, const char *src, size_t len)
{
    size_t  i, n, out;

    len = llm_utf8_whole(src, len);

    /* most texts are all of it */

    out = llm_call_plain(src, len < size ? len : size - 1);
    memcpy(dst, src, out);

    for (i = out; i < len; i += n) {

        if (src[i] >= ' ' && src[i] <= '~') {
            n = 1;

        } else {
            for (n = 1; n <= 4 && n <= len - i; n++) {
                if (llm_utf8_valid(src + i, n)) {
                    break;
                }
            }

            if (n > 4 || n > len - i) {
                n = 0;
            }
        }

        if (n == 0 || llm_call_control(src + i, n)) {
            n = (n == 0) ? 1 : n;

            if (out + 1 >= size) {
                break;
            }

            dst[out++] = '?';
            continue;
        }

        if (out + n >= size) {
            break;
        }

        memcpy(dst + out, src + i, n);
        out += n;
    }

    dst[out] = '\0';

    return out;
}


/* so many of the first characters are printable ASCII.  A byte below space
 * borrows and one above '~' carries into its top bit, or has it */

static size_t
llm_call_plain(const char *p, size_t len)
{
    size_t    n;
    uint64_t  word;

    for (n = 0; len - n >= 8; n += 8) {
        memcpy(&word, p + n, 8);

        if ((word | (word - 0x2020202020202020)
                  | (word + 0x0101010101010101)) & 0x8080808080808080)
        {
            break;
        }
    }

    while (n < len && p[n] >= ' ' && p[n] <= '~') {
        n++;
    }

    return n;
}


/* C0, DEL, C1; the separators of lines and paragraphs, and what turns the
 * direction of the text around it */

static int
llm_call_control(const char *p, size_t len)
{
    const uint8_t  *u;

    u = (const uint8_t *) p;

    switch (len) {

    case 1:
        return u[0] < 0x20 || u[0] == 0x7f;

    case 2:
        return u[0] == 0xc2 && u[1] < 0xa0;

    case 3:
        return u[0] == 0xe2
               && ((u[1] == 0x80 && u[2] >= 0xa8 && u[2] <= 0xae)
                   || (u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9));

    default:
        return 0;
    }
}


void
llm_usage_pack(uint8_t *p, const llm_spent_t *u)
{
    int       i;
    uint8_t  *start;

    start = p;

    llm_le_put(p, LLM_USAGE_VERSION, 4);
    llm_le_put(p + 4, (uint64_t) u->last_used, 8);
    llm_le_put(p + 12, u->calls, 8);
    llm_le_put(p + 20, u->prompt_tokens, 8);
    llm_le_put(p + 28, u->completion_tokens, 8);
    llm_le_put(p + 36, u->day, 4);
    llm_le_put(p + 40, u->month, 4);
    llm_le_put(p + 44, u->day_tokens, 8);
    llm_le_put(p + 52, u->month_tokens, 8);
    llm_le_put(p + 60, (uint64_t) u->slice, 8);

    p += 68;

    for (i = 0; i < LLM_QUOTA_SLICES; i++) {
        llm_le_put(p + 4 * i, u->requests[i], 4);
        llm_le_put(p + 4 * (LLM_QUOTA_SLICES + i), u->tokens[i], 4);
    }

    p += 2 * 4 * LLM_QUOTA_SLICES;
    llm_le_put(p, llm_crc32(start, (size_t) (p - start)), 4);
}


int
llm_usage_unpack(const void *data, size_t len, llm_spent_t *u)
{
    int             i;
    const uint8_t  *p;

    p = data;

    if (len != LLM_USAGE_SIZE
        || llm_le_get(p, 4) != LLM_USAGE_VERSION
        || llm_le_get(p + len - 4, 4) != llm_crc32(p, len - 4))
    {
        return LLM_INVALID;
    }

    u->last_used = (int64_t) llm_le_get(p + 4, 8);
    u->calls = llm_le_get(p + 12, 8);
    u->prompt_tokens = llm_le_get(p + 20, 8);
    u->completion_tokens = llm_le_get(p + 28, 8);
    u->day = (uint32_t) llm_le_get(p + 36, 4);
    u->month = (uint32_t) llm_le_get(p + 40, 4);
    u->day_tokens = llm_le_get(p + 44, 8);
    u->month_tokens = llm_le_get(p + 52, 8);
    u->slice = (int64_t) llm_le_get(p + 60, 8);

    p += 68;

    for (i = 0; i < LLM_QUOTA_SLICES; i++) {
        u->requests[i] = (uint32_t) llm_le_get(p + 4 * i, 4);
        u->tokens[i] = (uint32_t) llm_le_get(p + 4 * (LLM_QUOTA_SLICES + i),
                                             4);
    }

    return LLM_OK;
}


size_t
llm_call_pack(uint8_t *p, const llm_call_t *call)
{
    size_t  n;

    n = LLM_CALL_HEAD;

    p[0] = LLM_CALL_VERSION;
    p[1] = llm_call_append(p, &n, call->model, sizeof(call->model));
    p[2] = llm_call_append(p, &n, call->addr, sizeof(call->addr));
    p[3] = llm_call_append(p, &n, call->agent, sizeof(call->agent));
    p[4] = llm_call_append(p, &n, call->path, sizeof(call->path));
    p[5] = (uint8_t) llm_call_hex(p + 20, call->request);

    llm_le_put(p + 6, call->status > 65535 ? 65535 : call->status, 2);
    llm_le_put(p + 8, call->prompt_tokens, 4);
    llm_le_put(p + 12, call->completion_tokens, 4);
    llm_le_put(p + 16, call->duration, 4);

    return n;
}


static uint8_t
llm_call_append(uint8_t *p, size_t *n, const char *text, size_t size)
{
    size_t  len;

    /* its final zero has room, and goes with what comes next */

    len = llm_call_text((char *) p + *n, size, text, strnlen(text, size));
    *n += len;

    return (uint8_t) len;
}


/* 16 bytes; 0: not 32 hexadecimal digits, all zeroes */

static int
llm_call_hex(uint8_t *p, const char *hex)
{
    int      i;
    uint8_t  high, low;

    for (i = 0; i < 16; i++) {
        high = llm_calls_hex[(uint8_t) hex[2 * i]];
        low = high ? llm_calls_hex[(uint8_t) hex[2 * i + 1]] : 0;

        if (low == 0) {
            memset(p, 0, 16);
            return 0;
        }

        p[i] = (uint8_t) ((high - 1) << 4 | (low - 1));
    }

    return 1;
}


int
llm_call_unpack(const void *data, size_t len, llm_call_view_t *v)
{
    const uint8_t  *p;

    p = data;

    if (len < LLM_CALL_HEAD || p[0] != LLM_CALL_VERSION
        || p[1] >= LLM_CALL_MODEL || p[2] >= LLM_CALL_ADDR
        || p[3] >= LLM_CALL_AGENT || p[4] >= LLM_CALL_PATH
        || len != (size_t) LLM_CALL_HEAD + p[1] + p[2] + p[3] + p[4])
    {
        return LLM_INVALID;
    }

    v->model_len = p[1];
    v->addr_len = p[2];
    v->agent_len = p[3];
    v->path_len = p[4];

    v->status = (uint32_t) llm_le_get(p + 6, 2);
    v->prompt_tokens = (uint32_t) llm_le_get(p + 8, 4);
    v->completion_tokens = (uint32_t) llm_le_get(p + 12, 4);
    v->duration = (uint32_t) llm_le_get(p + 16, 4);

    v->model = (const char *) p + LLM_CALL_HEAD;
    v->addr = v->model + v->model_len;
    v->agent = v->addr + v->addr_len;
    v->path = v->agent + v->agent_len;

    return LLM_OK;
}
