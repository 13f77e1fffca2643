
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail as JSON: a call as queries give it, a record as it lies in
 * the chain, with names that stay.  No state.
 *
 * A record's hash can be made again from its JSON: it is SHA-256 of its number,
 * 8 bytes big-endian, and "record", which is in hex.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store/llm_store_int.h"
#include "llm_audit_read.h"


static int llm_audit_json_who(json_t *o, const llm_audit_call_t *call);
static int llm_audit_json_prints(json_t *o, const llm_audit_call_t *call);
static int llm_audit_json_end(json_t *o, const llm_audit_call_t *call);
static json_t *llm_audit_json_effective(const llm_audit_call_t *call);
static json_t *llm_audit_json_float(float f);
static json_t *llm_audit_json_text(const char *s);
static json_t *llm_audit_json_list(const uint8_t *print, uint32_t n);
static json_t *llm_audit_json_ms(uint64_t us);
static json_t *llm_audit_json_record(uint64_t number, const MDB_val *v,
    const llm_audit_record_t *r);
static int llm_audit_json_open(json_t *o, const llm_audit_record_t *r);
static int llm_audit_json_close(json_t *o, const llm_audit_record_t *r);
static int llm_audit_json_own(json_t *o, const llm_audit_record_t *r);
static json_t *llm_audit_json_bytes(const llm_audit_text_t *t);
static json_t *llm_audit_json_request(const llm_audit_record_t *r);
static json_t *llm_audit_json_key(const llm_audit_record_t *r);
static json_t *llm_audit_json_raw(const MDB_val *v);


/* members that are not known are null; those of the end are null without it */

json_t *
llm_audit_call_json(const llm_audit_call_t *call)
{
    json_t  *o;

    o = json_pack("{s:I, s:o, s:o, s:o, s:s, s:b}",
                  "number", (json_int_t) call->number,
                  "close", call->close != 0
                           ? json_integer((json_int_t) call->close)
                           : json_null(),
                  "time", llm_audit_json_stamp(call->time),
                  "end", llm_audit_json_stamp(call->end),
                  "request", call->request,
                  "unfinished", call->close == 0);

    if (o == NULL
        || llm_audit_json_who(o, call) != 0
        || llm_audit_json_prints(o, call) != 0
        || llm_audit_json_end(o, call) != 0)
    {
        json_decref(o);
        return NULL;
    }

    return o;
}


static int
llm_audit_json_who(json_t *o, const llm_audit_call_t *call)
{
    return json_object_set_new(o, "key", llm_audit_json_text(call->key))
           || json_object_set_new(o, "client",
                                  llm_audit_json_text(call->client))
           || json_object_set_new(o, "role",
                                  llm_audit_json_text(call->role))
           || json_object_set_new(o, "address",
                                  llm_audit_json_text(call->addr))
           || json_object_set_new(o, "method",
                                  llm_audit_json_text(call->method))
           || json_object_set_new(o, "path", llm_audit_json_text(call->path))
           || json_object_set_new(o, "model",
                                  llm_audit_json_text(call->model))
           || json_object_set_new(o, "user_agent",
                                  llm_audit_json_text(call->agent))
           || json_object_set_new(o, "action", json_boolean(call->act));
}


static int
llm_audit_json_prints(json_t *o, const llm_audit_call_t *call)
{
    return json_object_set_new(o, "epoch", json_integer(call->epoch))
           || json_object_set_new(o, "input",
                                  llm_audit_json_list(call->input[0],
                                                      call->n_input))
           || json_object_set_new(o, "output_epoch",
                                  json_integer(call->output_epoch))
           || json_object_set_new(o, "output",
                                  llm_audit_json_list(call->output[0],
                                                      call->n_output))
           || json_object_set_new(o, "input_kept",
                                  json_boolean(call->with_input))
           || json_object_set_new(o, "output_kept",
                                  json_boolean(call->with_output));
}


static int
llm_audit_json_end(json_t *o, const llm_audit_call_t *call)
{
    int     rc;
    size_t  i;
    char    seed[24], build[24];

    static const char *const  names[] = {
        "status", "prompt_tokens", "cached_tokens", "completion_tokens",
        "queue_ms", "ttft_ms", "inference_ms", "total_ms", "bytes_sent",
        "seed", "parameters", "build", "finish_reason", "error_code"
    };

    if (call->close == 0) {
        rc = 0;

        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            rc |= json_object_set_new(o, names[i], json_null());
        }

        return rc;
    }

    /* numbers of 64 bits are texts: not all that read JSON have them */

    (void) snprintf(seed, sizeof(seed), "%llu",
                    (unsigned long long) call->seed);
    (void) snprintf(build, sizeof(build), "%016llx",
                    (unsigned long long) call->build);

    return json_object_set_new(o, "status", json_integer(call->status))
           || json_object_set_new(o, "prompt_tokens",
                                  json_integer(call->prompt_tokens))
           || json_object_set_new(o, "cached_tokens",
                                  json_integer(call->cached_tokens))
           || json_object_set_new(o, "completion_tokens",
                                  json_integer(call->completion_tokens))
           || json_object_set_new(o, "queue_ms",
                                  llm_audit_json_ms(call->queue_us))
           || json_object_set_new(o, "ttft_ms",
                                  llm_audit_json_ms(call->ttft_us))
           || json_object_set_new(o, "inference_ms",
                                  llm_audit_json_ms(call->inference_us))
           || json_object_set_new(o, "total_ms",
                                  llm_audit_json_ms(call->total_us))
           || json_object_set_new(o, "bytes_sent",
                                  json_integer((json_int_t) call->sent))
           || json_object_set_new(o, "seed", call->with_seed
                                             ? json_string(seed)
                                             : json_null())
           || json_object_set_new(o, "parameters",
                                  llm_audit_json_effective(call))
           || json_object_set_new(o, "build", call->build != 0
                                              ? json_string(build)
                                              : json_null())
           || json_object_set_new(o, "finish_reason",
                                  llm_audit_json_text(call->finish))
           || json_object_set_new(o, "error_code",
                                  llm_audit_json_text(call->code));
}


/* what was in force: a reader's, a replay has the bits themselves */

static json_t *
llm_audit_json_effective(const llm_audit_call_t *call)
{
    const llm_effective_t  *e = &call->effective;

    if (!call->with_seed) {
        return json_null();
    }

    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}",
                     "temperature", llm_audit_json_float(e->temperature),
                     "top_p", llm_audit_json_float(e->top_p),
                     "min_p", llm_audit_json_float(e->min_p),
                     "repetition_penalty",
                     llm_audit_json_float(e->repetition_penalty),
                     "top_k", (json_int_t) e->top_k,
                     "max_tokens", (json_int_t) e->max_tokens);
}


/* 0.9 and not 0.89999997 */

static json_t *
llm_audit_json_float(float f)
{
    char  text[32];

    if (!isfinite(f)) {
        return json_null();
    }

    (void) snprintf(text, sizeof(text), "%.7g", (double) f);

    return json_real(strtod(text, NULL));
}


json_t *
llm_audit_json_stamp(int64_t ms)
{
    char    buf[48];
    size_t  n;

    if (ms <= 0) {
        return json_null();
    }

    (void) llm_time_format(ms / 1000, buf, 32);
    n = strlen(buf);

    if (n > 0 && buf[n - 1] == 'Z') {
        (void) snprintf(buf + n - 1, sizeof(buf) - n + 1, ".%03uZ",
                        (unsigned) (ms % 1000));
    }

    return json_string(buf);
}


/* NULL or "" is not known */

static json_t *
llm_audit_json_text(const char *s)
{
    if (s == NULL || *s == '\0') {
        return json_null();
    }

    return json_string(s);
}


static json_t *
llm_audit_json_list(const uint8_t *print, uint32_t n)
{
    uint32_t  i;
    json_t   *list;

    list = json_array();

    for (i = 0; list != NULL && i < n; i++, print += LLM_AUDIT_HASH) {
        if (json_array_append_new(list,
                                  llm_audit_json_hex(print, LLM_AUDIT_HASH))
            != 0)
        {
            json_decref(list);
            return NULL;
        }
    }

    return list;
}


json_t *
llm_audit_json_hex(const uint8_t *p, size_t n)
{
    char    hex[129];
    size_t  i;

    static const char  digits[] = "0123456789abcdef";

    for (i = 0; i < n && i < 64; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }

    return json_stringn(hex, 2 * i);
}


/* three digits behind the point; 0 is not known */

static json_t *
llm_audit_json_ms(uint64_t us)
{
    return us != 0 ? json_real((double) us / 1000) : json_null();
}


int
llm_audit_record_json(llm_audit_t *a, uint64_t number, json_t **record,
    char *err, size_t errlen)
{
    int                  rc;
    MDB_val              v;
    MDB_txn             *txn;
    llm_audit_record_t   r;

    *record = NULL;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_get(a, txn, number, &v, err, errlen);

    if (rc == LLM_OK
        && (v.mv_size > LLM_AUDIT_MAX
            || llm_audit_unpack(v.mv_data, v.mv_size, &r) != LLM_OK))
    {
        rc = llm_err(err, errlen, LLM_INVALID, "%s: record %llu is damaged "
                     "(llmctl audit verify)", a->shared->path,
                     (unsigned long long) number);
    }

    if (rc == LLM_OK) {
        *record = llm_audit_json_record(number, &v, &r);

        if (*record == NULL) {
            rc = llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                         a->shared->path);
        }
    }

    llm_audit_read_end(a, txn);

    return rc;
}


static json_t *
llm_audit_json_record(uint64_t number, const MDB_val *v,
    const llm_audit_record_t *r)
{
    int       rc;
    json_t   *o;
    uint8_t   hash[LLM_AUDIT_HASH];

    static const char *const  types[] = {
        "", "open", "close", "signed", "start", "epoch", "pruned"
    };

    llm_audit_hash(number, v->mv_data, v->mv_size, hash);

    o = json_pack("{s:I, s:s, s:I, s:o, s:o, s:I, s:o, s:o}",
                  "number", (json_int_t) number,
                  "type", types[r->type],
                  "epoch", (json_int_t) r->epoch,
                  "time", llm_audit_json_stamp(r->time),
                  "wall", llm_audit_json_stamp(r->wall),
                  "mono", (json_int_t) r->mono,
                  "previous", llm_audit_json_hex(r->previous, LLM_AUDIT_HASH),
                  "hash", llm_audit_json_hex(hash, LLM_AUDIT_HASH));

    if (o == NULL) {
        return NULL;
    }

    switch (r->type) {

    case LLM_AUDIT_OPEN:
        rc = llm_audit_json_open(o, r);
        break;

    case LLM_AUDIT_CLOSE:
        rc = llm_audit_json_close(o, r);
        break;

    default:
        rc = llm_audit_json_own(o, r);
        break;
    }

    if (rc != 0
        || json_object_set_new(o, "record", llm_audit_json_raw(v)) != 0)
    {
        json_decref(o);
        return NULL;
    }

    return o;
}


static int
llm_audit_json_open(json_t *o, const llm_audit_record_t *r)
{
    const char  *role;

    role = r->flags & LLM_AUDIT_HAS_KEY ? llm_role_name(r->role) : NULL;

    return json_object_set_new(o, "request", llm_audit_json_request(r))
           || json_object_set_new(o, "key", llm_audit_json_key(r))
           || json_object_set_new(o, "role", llm_audit_json_text(role))
           || json_object_set_new(o, "client",
                                  llm_audit_json_bytes(&r->client))
           || json_object_set_new(o, "address",
                                  llm_audit_json_bytes(&r->addr))
           || json_object_set_new(o, "method",
                                  llm_audit_json_bytes(&r->method))
           || json_object_set_new(o, "path", llm_audit_json_bytes(&r->path))
           || json_object_set_new(o, "model",
                                  llm_audit_json_bytes(&r->model))
           || json_object_set_new(o, "user_agent",
                                  llm_audit_json_bytes(&r->agent))
           || json_object_set_new(o, "action",
                                  json_boolean(r->flags
                                               & LLM_AUDIT_HAS_ACT))
           || json_object_set_new(o, "input", llm_audit_json_list(r->print,
                                                      r->n_print))
           || json_object_set_new(o, "input_kept",
                                  json_boolean(r->flags
                                               & LLM_AUDIT_HAS_CONTENT));
}


static int
llm_audit_json_close(json_t *o, const llm_audit_record_t *r)
{
    int                rc;
    llm_audit_call_t  *call;

    call = calloc(1, sizeof(llm_audit_call_t));
    if (call == NULL) {
        return -1;
    }

    llm_audit_match_end_of(call, r, 1);

    rc = json_object_set_new(o, "opening",
                             r->number != 0
                             ? json_integer((json_int_t) r->number)
                             : json_null())
         || json_object_set_new(o, "request", llm_audit_json_request(r))
         || json_object_set_new(o, "model", llm_audit_json_bytes(&r->model))
         || llm_audit_json_end(o, call)
         || json_object_set_new(o, "output", llm_audit_json_list(r->print,
                                                      r->n_print))
         || json_object_set_new(o, "output_kept",
                                json_boolean(r->flags
                                             & LLM_AUDIT_HAS_CONTENT));

    free(call);

    return rc;
}


static int
llm_audit_json_own(json_t *o, const llm_audit_record_t *r)
{
    int  rc;

    rc = 0;

    if (r->type == LLM_AUDIT_SIGNED || r->type == LLM_AUDIT_EPOCH) {
        rc |= json_object_set_new(o, "signature",
                                  llm_audit_json_hex(r->signature,
                                                     LLM_AUDIT_SIGNATURE));
    }

    if (r->type == LLM_AUDIT_START || r->type == LLM_AUDIT_EPOCH) {
        rc |= json_object_set_new(o, "public_key",
                                  llm_audit_json_hex(r->public_key,
                                                     LLM_AUDIT_PUBLIC));
        rc |= json_object_set_new(o, "secret_version",
                                  json_integer(r->version));
    }

    if (r->type == LLM_AUDIT_START && (r->flags & LLM_AUDIT_HAS_LOSS)) {
        rc |= json_object_set_new(o, "lost_number",
                                  json_integer((json_int_t) r->first));
        rc |= json_object_set_new(o, "lost_hash",
                                  llm_audit_json_hex(r->hash,
                                                     LLM_AUDIT_HASH));
        rc |= json_object_set_new(o, "lost_proven",
                                  json_boolean(r->flags
                                               & LLM_AUDIT_HAS_PROOF));
    }

    if (r->type == LLM_AUDIT_PRUNED) {
        rc |= json_object_set_new(o, "first",
                                  json_integer((json_int_t) r->first));
        rc |= json_object_set_new(o, "dropped",
                                  json_integer((json_int_t) r->count));
        rc |= json_object_set_new(o, "dropped_until",
                                  llm_audit_json_stamp(r->until));
        rc |= json_object_set_new(o, "base",
                                  llm_audit_json_hex(r->hash,
                                                     LLM_AUDIT_HASH));
    }

    return rc;
}


static json_t *
llm_audit_json_bytes(const llm_audit_text_t *t)
{
    return t->len != 0 ? json_stringn(t->data, t->len) : json_null();
}


static json_t *
llm_audit_json_request(const llm_audit_record_t *r)
{
    char  text[33];

    if (!(r->flags & LLM_AUDIT_HAS_REQUEST)) {
        return json_null();
    }

    llm_audit_request_text(r->request, text);

    return json_string(text);
}


static json_t *
llm_audit_json_key(const llm_audit_record_t *r)
{
    char  text[29];

    if (!(r->flags & LLM_AUDIT_HAS_KEY)) {
        return json_null();
    }

    llm_audit_key_text(r->key, text);

    return json_string(text);
}


static json_t *
llm_audit_json_raw(const MDB_val *v)
{
    char           *hex;
    json_t         *o;
    size_t          i;
    const uint8_t  *p = v->mv_data;

    static const char  digits[] = "0123456789abcdef";

    hex = malloc(2 * v->mv_size + 1);
    if (hex == NULL) {
        return NULL;
    }

    for (i = 0; i < v->mv_size; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }

    o = json_stringn(hex, 2 * v->mv_size);
    free(hex);

    return o;
}
