
/*
 * Copyright (C) nginx-llm contributors
 *
 * Records of the audit trail in binary.  After the fixed part
 * (llm_audit_int.h), by type; "n:" is a length byte and so many bytes,
 * "number" is 7 bits a byte, the low ones first, the top bit says that more
 * follow:
 *
 *     open     16 request, 15 key, 1 role (where the flags say so),
 *              n:client n:addr n:method n:model n:agent,
 *              2 length of path, path, n prints of 32
 *     close    16 request (where the flags say so); numbers: opening record,
 *              status, prompt, cached and completion tokens, queue, ttft,
 *              inference, total, sent; 8 seed and 6 times 4 of what was
 *              effective, 8 build (where the flags say so); n:model n:finish
 *              n:code, n prints of 32
 *     signed   64 signature
 *     start    32 public key, 4 version, 8 lost number, 32 lost hash
 *     epoch    32 public key, 4 version, 64 signature
 *     pruned   8 first, 8 count, 32 hash, 8 until
 *
 * There is one way to write a record: one that unpacks, packed again, has the
 * same bytes.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include <openssl/sha.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"


/* what is left of a record that is unpacked; bad: it was too short, or what
 * came was wrong */
typedef struct {
    const uint8_t  *p;
    size_t          left;
    int             bad;
} llm_audit_in_t;


static unsigned llm_audit_flags(llm_audit_type_e type);
static uint8_t *llm_audit_pack_open(uint8_t *p, const llm_audit_record_t *r);
static uint8_t *llm_audit_pack_close(uint8_t *p, const llm_audit_record_t *r);
static uint8_t *llm_audit_pack_effective(uint8_t *p,
    const llm_effective_t *e);
static uint8_t *llm_audit_pack_own(uint8_t *p, const llm_audit_record_t *r);
static uint8_t *llm_audit_pack_text(uint8_t *p, const llm_audit_text_t *t,
    size_t max, size_t bytes);
static uint8_t *llm_audit_pack_bytes(uint8_t *p, const void *data,
    size_t len);
static uint8_t *llm_audit_pack_fixed(uint8_t *p, uint64_t n, size_t bytes);
static uint8_t *llm_audit_pack_number(uint8_t *p, uint64_t n);
static void llm_audit_unpack_open(llm_audit_in_t *in, llm_audit_record_t *r);
static void llm_audit_unpack_close(llm_audit_in_t *in,
    llm_audit_record_t *r);
static void llm_audit_unpack_effective(llm_audit_in_t *in,
    llm_effective_t *e);
static void llm_audit_unpack_own(llm_audit_in_t *in, llm_audit_record_t *r);
static void llm_audit_unpack_text(llm_audit_in_t *in, llm_audit_text_t *t,
    size_t max, size_t bytes);
static void llm_audit_unpack_prints(llm_audit_in_t *in,
    llm_audit_record_t *r, size_t max);
static const uint8_t *llm_audit_take(llm_audit_in_t *in, size_t len);
static void llm_audit_unpack_bytes(llm_audit_in_t *in, void *p, size_t len);
static uint64_t llm_audit_unpack_fixed(llm_audit_in_t *in, size_t bytes);
static uint64_t llm_audit_unpack_number(llm_audit_in_t *in, uint64_t max);


static const char  llm_audit_hex[] = "0123456789abcdef";


/* flags that a type may have */

static unsigned
llm_audit_flags(llm_audit_type_e type)
{
    switch (type) {

    case LLM_AUDIT_OPEN:
        return LLM_AUDIT_HAS_REQUEST|LLM_AUDIT_HAS_KEY|LLM_AUDIT_HAS_ACT
               |LLM_AUDIT_HAS_CONTENT|LLM_AUDIT_HAS_MORE;

    case LLM_AUDIT_CLOSE:
        return LLM_AUDIT_HAS_REQUEST|LLM_AUDIT_HAS_CONTENT
               |LLM_AUDIT_HAS_SEED|LLM_AUDIT_HAS_BUILD;

    case LLM_AUDIT_START:
        return LLM_AUDIT_HAS_LOSS|LLM_AUDIT_HAS_PROOF;

    default:
        return 0;
    }
}


size_t
llm_audit_pack(uint8_t *record, const llm_audit_record_t *r)
{
    uint8_t  *p;

    if (r->type < LLM_AUDIT_OPEN || r->type > LLM_AUDIT_PRUNED
        || (r->flags & ~llm_audit_flags(r->type)) != 0
        || r->n_print > (r->type == LLM_AUDIT_OPEN ? LLM_AUDIT_PRINTS
                                                   : LLM_AUDIT_OUTPUTS))
    {
        return 0;
    }

    record[0] = LLM_AUDIT_RECORD;
    record[1] = (uint8_t) r->type;
    llm_le_put(record + 2, r->flags, 2);
    llm_le_put(record + 4, r->epoch, 4);
    llm_le_put(record + 8, (uint64_t) r->time, 8);
    llm_le_put(record + 16, (uint64_t) r->wall, 8);
    llm_le_put(record + 24, (uint64_t) r->mono, 8);
    memcpy(record + 32, r->previous, LLM_AUDIT_HASH);

    p = record + LLM_AUDIT_FIXED;

    switch (r->type) {

    case LLM_AUDIT_OPEN:
        p = llm_audit_pack_open(p, r);
        break;

    case LLM_AUDIT_CLOSE:
        p = llm_audit_pack_close(p, r);
        break;

    default:
        p = llm_audit_pack_own(p, r);
        break;
    }

    return (size_t) (p - record);
}


static uint8_t *
llm_audit_pack_open(uint8_t *p, const llm_audit_record_t *r)
{
    if (r->flags & LLM_AUDIT_HAS_REQUEST) {
        p = llm_audit_pack_bytes(p, r->request, sizeof(r->request));
    }

    if (r->flags & LLM_AUDIT_HAS_KEY) {
        p = llm_audit_pack_bytes(p, r->key, LLM_AUDIT_ID);
        *p++ = r->role;
    }

    p = llm_audit_pack_text(p, &r->client, LLM_AUDIT_CLIENT, 1);
    p = llm_audit_pack_text(p, &r->addr, LLM_AUDIT_ADDR, 1);
    p = llm_audit_pack_text(p, &r->method, LLM_AUDIT_METHOD, 1);
    p = llm_audit_pack_text(p, &r->model, LLM_AUDIT_MODEL, 1);
    p = llm_audit_pack_text(p, &r->agent, LLM_AUDIT_AGENT, 1);
    p = llm_audit_pack_text(p, &r->path, LLM_AUDIT_PATH, 2);

    *p++ = (uint8_t) r->n_print;

    return llm_audit_pack_bytes(p, r->print,
                                (size_t) r->n_print * LLM_AUDIT_HASH);
}


static uint8_t *
llm_audit_pack_close(uint8_t *p, const llm_audit_record_t *r)
{
    if (r->flags & LLM_AUDIT_HAS_REQUEST) {
        p = llm_audit_pack_bytes(p, r->request, sizeof(r->request));
    }

    p = llm_audit_pack_number(p, r->number);
    p = llm_audit_pack_number(p, r->status);
    p = llm_audit_pack_number(p, r->prompt_tokens);
    p = llm_audit_pack_number(p, r->cached_tokens);
    p = llm_audit_pack_number(p, r->completion_tokens);
    p = llm_audit_pack_number(p, r->queue_us);
    p = llm_audit_pack_number(p, r->ttft_us);
    p = llm_audit_pack_number(p, r->inference_us);
    p = llm_audit_pack_number(p, r->total_us);
    p = llm_audit_pack_number(p, r->sent);

    if (r->flags & LLM_AUDIT_HAS_SEED) {
        p = llm_audit_pack_fixed(p, r->seed, 8);
        p = llm_audit_pack_effective(p, &r->effective);
    }

    if (r->flags & LLM_AUDIT_HAS_BUILD) {
        p = llm_audit_pack_fixed(p, r->build, 8);
    }

    p = llm_audit_pack_text(p, &r->model, LLM_AUDIT_MODEL, 1);
    p = llm_audit_pack_text(p, &r->finish, LLM_AUDIT_FINISH, 1);
    p = llm_audit_pack_text(p, &r->code, LLM_AUDIT_CODE, 1);

    *p++ = (uint8_t) r->n_print;

    return llm_audit_pack_bytes(p, r->print,
                                (size_t) r->n_print * LLM_AUDIT_HASH);
}


/* numbers of any bits: whoever uses them looks at them */

static uint8_t *
llm_audit_pack_effective(uint8_t *p, const llm_effective_t *e)
{
    size_t    i;
    uint32_t  bits[sizeof(llm_effective_t) / 4];

    memcpy(bits, e, sizeof(bits));

    for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        p = llm_audit_pack_fixed(p, bits[i], 4);
    }

    return p;
}


/* what the trail says of itself */

static uint8_t *
llm_audit_pack_own(uint8_t *p, const llm_audit_record_t *r)
{
    switch (r->type) {

    case LLM_AUDIT_SIGNED:
        return llm_audit_pack_bytes(p, r->signature, LLM_AUDIT_SIGNATURE);

    case LLM_AUDIT_START:
        p = llm_audit_pack_bytes(p, r->public_key, LLM_AUDIT_PUBLIC);
        p = llm_audit_pack_fixed(p, r->version, 4);
        p = llm_audit_pack_fixed(p, r->first, 8);
        return llm_audit_pack_bytes(p, r->hash, LLM_AUDIT_HASH);

    case LLM_AUDIT_EPOCH:
        p = llm_audit_pack_bytes(p, r->public_key, LLM_AUDIT_PUBLIC);
        p = llm_audit_pack_fixed(p, r->version, 4);
        return llm_audit_pack_bytes(p, r->signature, LLM_AUDIT_SIGNATURE);

    default: /* LLM_AUDIT_PRUNED */
        p = llm_audit_pack_fixed(p, r->first, 8);
        p = llm_audit_pack_fixed(p, r->count, 8);
        p = llm_audit_pack_bytes(p, r->hash, LLM_AUDIT_HASH);
        return llm_audit_pack_fixed(p, (uint64_t) r->until, 8);
    }
}


/* bytes: of the length */

static uint8_t *
llm_audit_pack_text(uint8_t *p, const llm_audit_text_t *t, size_t max,
    size_t bytes)
{
    size_t  len;
    char    text[LLM_AUDIT_PATH + 1];

    len = t->data ? llm_call_text(text, max + 1, t->data, t->len) : 0;

    llm_le_put(p, len, bytes);

    return llm_audit_pack_bytes(p + bytes, text, len);
}


static uint8_t *
llm_audit_pack_bytes(uint8_t *p, const void *data, size_t len)
{
    if (len != 0) {
        memcpy(p, data, len);
    }

    return p + len;
}


static uint8_t *
llm_audit_pack_fixed(uint8_t *p, uint64_t n, size_t bytes)
{
    llm_le_put(p, n, bytes);

    return p + bytes;
}


static uint8_t *
llm_audit_pack_number(uint8_t *p, uint64_t n)
{
    while (n > 0x7f) {
        *p++ = (uint8_t) (n | 0x80);
        n >>= 7;
    }

    *p++ = (uint8_t) n;

    return p;
}


int
llm_audit_unpack(const void *data, size_t len, llm_audit_record_t *r)
{
    const uint8_t   *p;
    llm_audit_in_t   in;

    p = data;

    memset(r, 0, sizeof(llm_audit_record_t));

    if (len < LLM_AUDIT_FIXED || p[0] != LLM_AUDIT_RECORD
        || p[1] < LLM_AUDIT_OPEN || p[1] > LLM_AUDIT_PRUNED)
    {
        return LLM_INVALID;
    }

    r->type = p[1];
    r->flags = (unsigned) llm_le_get(p + 2, 2);
    r->epoch = (uint32_t) llm_le_get(p + 4, 4);
    r->time = (int64_t) llm_le_get(p + 8, 8);
    r->wall = (int64_t) llm_le_get(p + 16, 8);
    r->mono = (int64_t) llm_le_get(p + 24, 8);
    memcpy(r->previous, p + 32, LLM_AUDIT_HASH);

    if (r->flags & ~llm_audit_flags(r->type)) {
        return LLM_INVALID;
    }

    in.p = p + LLM_AUDIT_FIXED;
    in.left = len - LLM_AUDIT_FIXED;
    in.bad = 0;

    switch (r->type) {

    case LLM_AUDIT_OPEN:
        llm_audit_unpack_open(&in, r);
        break;

    case LLM_AUDIT_CLOSE:
        llm_audit_unpack_close(&in, r);
        break;

    default:
        llm_audit_unpack_own(&in, r);
        break;
    }

    return in.bad || in.left != 0 ? LLM_INVALID : LLM_OK;
}


static void
llm_audit_unpack_open(llm_audit_in_t *in, llm_audit_record_t *r)
{
    if (r->flags & LLM_AUDIT_HAS_REQUEST) {
        llm_audit_unpack_bytes(in, r->request, sizeof(r->request));
    }

    if (r->flags & LLM_AUDIT_HAS_KEY) {
        llm_audit_unpack_bytes(in, r->key, LLM_AUDIT_ID);
        r->role = (uint8_t) llm_audit_unpack_fixed(in, 1);
    }

    llm_audit_unpack_text(in, &r->client, LLM_AUDIT_CLIENT, 1);
    llm_audit_unpack_text(in, &r->addr, LLM_AUDIT_ADDR, 1);
    llm_audit_unpack_text(in, &r->method, LLM_AUDIT_METHOD, 1);
    llm_audit_unpack_text(in, &r->model, LLM_AUDIT_MODEL, 1);
    llm_audit_unpack_text(in, &r->agent, LLM_AUDIT_AGENT, 1);
    llm_audit_unpack_text(in, &r->path, LLM_AUDIT_PATH, 2);

    llm_audit_unpack_prints(in, r, LLM_AUDIT_PRINTS);
}


static void
llm_audit_unpack_close(llm_audit_in_t *in, llm_audit_record_t *r)
{
    if (r->flags & LLM_AUDIT_HAS_REQUEST) {
        llm_audit_unpack_bytes(in, r->request, sizeof(r->request));
    }

    r->number = llm_audit_unpack_number(in, UINT64_MAX);
    r->status = (uint32_t) llm_audit_unpack_number(in, UINT32_MAX);
    r->prompt_tokens = (uint32_t) llm_audit_unpack_number(in, UINT32_MAX);
    r->cached_tokens = (uint32_t) llm_audit_unpack_number(in, UINT32_MAX);
    r->completion_tokens = (uint32_t) llm_audit_unpack_number(in, UINT32_MAX);
    r->queue_us = llm_audit_unpack_number(in, UINT64_MAX);
    r->ttft_us = llm_audit_unpack_number(in, UINT64_MAX);
    r->inference_us = llm_audit_unpack_number(in, UINT64_MAX);
    r->total_us = llm_audit_unpack_number(in, UINT64_MAX);
    r->sent = llm_audit_unpack_number(in, UINT64_MAX);

    if (r->flags & LLM_AUDIT_HAS_SEED) {
        r->seed = llm_audit_unpack_fixed(in, 8);
        llm_audit_unpack_effective(in, &r->effective);
    }

    if (r->flags & LLM_AUDIT_HAS_BUILD) {
        r->build = llm_audit_unpack_fixed(in, 8);
    }

    llm_audit_unpack_text(in, &r->model, LLM_AUDIT_MODEL, 1);
    llm_audit_unpack_text(in, &r->finish, LLM_AUDIT_FINISH, 1);
    llm_audit_unpack_text(in, &r->code, LLM_AUDIT_CODE, 1);

    llm_audit_unpack_prints(in, r, LLM_AUDIT_OUTPUTS);
}


static void
llm_audit_unpack_effective(llm_audit_in_t *in, llm_effective_t *e)
{
    size_t    i;
    uint32_t  bits[sizeof(llm_effective_t) / 4];

    for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        bits[i] = (uint32_t) llm_audit_unpack_fixed(in, 4);
    }

    memcpy(e, bits, sizeof(bits));
}


static void
llm_audit_unpack_own(llm_audit_in_t *in, llm_audit_record_t *r)
{
    switch (r->type) {

    case LLM_AUDIT_SIGNED:
        llm_audit_unpack_bytes(in, r->signature, LLM_AUDIT_SIGNATURE);
        break;

    case LLM_AUDIT_START:
        llm_audit_unpack_bytes(in, r->public_key, LLM_AUDIT_PUBLIC);
        r->version = (uint32_t) llm_audit_unpack_fixed(in, 4);
        r->first = llm_audit_unpack_fixed(in, 8);
        llm_audit_unpack_bytes(in, r->hash, LLM_AUDIT_HASH);
        break;

    case LLM_AUDIT_EPOCH:
        llm_audit_unpack_bytes(in, r->public_key, LLM_AUDIT_PUBLIC);
        r->version = (uint32_t) llm_audit_unpack_fixed(in, 4);
        llm_audit_unpack_bytes(in, r->signature, LLM_AUDIT_SIGNATURE);
        break;

    default: /* LLM_AUDIT_PRUNED */
        r->first = llm_audit_unpack_fixed(in, 8);
        r->count = llm_audit_unpack_fixed(in, 8);
        llm_audit_unpack_bytes(in, r->hash, LLM_AUDIT_HASH);
        r->until = (int64_t) llm_audit_unpack_fixed(in, 8);
        break;
    }
}


/* only what llm_call_text() leaves as it is: a record is not a terminal's */

static void
llm_audit_unpack_text(llm_audit_in_t *in, llm_audit_text_t *t, size_t max,
    size_t bytes)
{
    char     text[LLM_AUDIT_PATH + 1];
    size_t   len;

    len = (size_t) llm_audit_unpack_fixed(in, bytes);

    if (len > max) {
        in->bad = 1;
        return;
    }

    t->data = (const char *) llm_audit_take(in, len);
    t->len = t->data ? len : 0;

    if (t->len != 0
        && (llm_call_text(text, max + 1, t->data, len) != len
            || memcmp(text, t->data, len) != 0))
    {
        in->bad = 1;
    }
}


static void
llm_audit_unpack_prints(llm_audit_in_t *in, llm_audit_record_t *r,
    size_t max)
{
    size_t  n;

    n = (size_t) llm_audit_unpack_fixed(in, 1);

    if (n > max) {
        in->bad = 1;
        return;
    }

    r->print = llm_audit_take(in, n * LLM_AUDIT_HASH);
    r->n_print = r->print ? (uint32_t) n : 0;
}


/* NULL: there are not so many */

static const uint8_t *
llm_audit_take(llm_audit_in_t *in, size_t len)
{
    const uint8_t  *p;

    if (in->bad || len > in->left) {
        in->bad = 1;
        return NULL;
    }

    p = in->p;
    in->p += len;
    in->left -= len;

    return p;
}


static void
llm_audit_unpack_bytes(llm_audit_in_t *in, void *p, size_t len)
{
    const uint8_t  *from;

    from = llm_audit_take(in, len);

    if (from != NULL) {
        memcpy(p, from, len);
    }
}


static uint64_t
llm_audit_unpack_fixed(llm_audit_in_t *in, size_t bytes)
{
    const uint8_t  *p;

    p = llm_audit_take(in, bytes);

    return p ? llm_le_get(p, bytes) : 0;
}


static uint64_t
llm_audit_unpack_number(llm_audit_in_t *in, uint64_t max)
{
    unsigned        shift;
    uint64_t        n;
    const uint8_t  *p;

    n = 0;

    for (shift = 0; shift < 64; shift += 7) {
        p = llm_audit_take(in, 1);

        if (p == NULL) {
            return 0;
        }

        /* the tenth byte has one bit; the last one is zero only when it is
         * the first */

        if ((shift == 63 && *p > 1) || (*p == 0 && shift != 0)) {
            break;
        }

        n |= (uint64_t) (*p & 0x7f) << shift;

        if (*p < 0x80) {
            in->bad |= (n > max);
            return n;
        }
    }

    in->bad = 1;

    return 0;
}


void
llm_audit_hash(uint64_t number, const void *data, size_t len,
    uint8_t hash[LLM_AUDIT_HASH])
{
    uint8_t   text[8 + LLM_AUDIT_MAX];

    /* one that is longer is no record, and its hash is wrong in any case */

    if (len > LLM_AUDIT_MAX) {
        memset(hash, 0, LLM_AUDIT_HASH);
        return;
    }

    llm_be_put(text, number, 8);
    memcpy(text + 8, data, len);
    (void) SHA256(text, 8 + len, hash);
}


/* as llm_calls_id() reads it: eight characters are five bytes */

void
llm_audit_key_text(const uint8_t id[LLM_AUDIT_ID], char text[29])
{
    int       i, n;
    uint64_t  acc;

    memcpy(text, "key_", 4);
    text += 4;

    for (n = 0; n < LLM_AUDIT_ID / 5; n++) {
        acc = llm_be_get(id + 5 * n, 5);

        for (i = 7; i >= 0; i--) {
            *text++ = llm_base32[acc >> (5 * i) & 31];
        }
    }

    *text = '\0';
}


void
llm_audit_request_text(const uint8_t id[16], char text[33])
{
    int  i;

    for (i = 0; i < 16; i++) {
        text[2 * i] = llm_audit_hex[id[i] >> 4];
        text[2 * i + 1] = llm_audit_hex[id[i] & 15];
    }

    text[32] = '\0';
}


int
llm_audit_request_id(const char *text, uint8_t id[16])
{
    int          i;
    const char  *digit;

    memset(id, 0, 16);

    for (i = 0; i < 32; i++) {
        digit = text[i] ? strchr(llm_audit_hex, text[i]) : NULL;

        if (digit == NULL) {
            memset(id, 0, 16);
            return 0;
        }

        id[i / 2] = (uint8_t) (id[i / 2] << 4 | (digit - llm_audit_hex));
    }

    return text[32] == '\0';
}
