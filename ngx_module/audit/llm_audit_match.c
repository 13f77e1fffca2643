
/*
 * Copyright (C) nginx-llm contributors
 *
 * Does a record fit a query, and what it and its closing record are together.
 * State is the query's, on its caller's stack.
 *
 * Most of what a long query looks at does not fit, so what is cheap comes
 * first: the type, the time, then the opening record, then the closing one.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "../store/llm_store_int.h"
#include "llm_audit_read.h"


static int llm_audit_match_open(llm_audit_match_t *m);
static int llm_audit_match_request(const llm_audit_record_t *r,
    const char *request);
static int llm_audit_match_addr(const llm_net_t *net,
    const llm_audit_text_t *addr);
static int llm_audit_match_text(const llm_audit_text_t *t, const char *want);
static int llm_audit_match_close(llm_audit_match_t *m, uint64_t number,
    uint64_t *close);
static int llm_audit_match_end(llm_audit_match_t *m, uint64_t close,
    int *fits);
static int llm_audit_match_prints(llm_audit_match_t *m,
    const llm_audit_record_t *r, int *fits);
static int llm_audit_match_hunt(llm_audit_match_t *m, uint32_t epoch,
    const uint8_t **print);
static void llm_audit_match_set(llm_audit_match_t *m, uint64_t number,
    uint64_t close);
static void llm_audit_match_copy(char *dst, size_t size,
    const llm_audit_text_t *t);
static int llm_audit_match_damaged(llm_audit_match_t *m, uint64_t number);


int
llm_audit_match_init(llm_audit_match_t *m, llm_audit_t *a,
    const llm_audit_query_t *q, char *err, size_t errlen)
{
    memset(m, 0, sizeof(llm_audit_match_t));

    m->a = a;
    m->q = q;
    m->err = err;
    m->errlen = errlen;

    if (q->key != NULL && llm_calls_id(m->key, q->key, err, errlen) != LLM_OK)
    {
        return LLM_INVALID;
    }

    if (q->addr != NULL
        && llm_net_parse(&m->net, q->addr, strlen(q->addr), err, errlen)
           != LLM_OK)
    {
        return LLM_INVALID;
    }

    if (q->request != NULL
        && (strlen(q->request) > 32
            || strspn(q->request, "0123456789abcdef") != strlen(q->request)))
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: query: no request id",
                       a->shared->path);
    }

    if (q->text != NULL && a->shared->secret == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: query: a text is looked "
                       "up with the secret", a->shared->path);
    }

    return LLM_OK;
}


void
llm_audit_match_done(llm_audit_match_t *m)
{
    free(m->hunt);
    m->hunt = NULL;
}


int
llm_audit_match_call(const MDB_val *v)
{
    unsigned        flags;
    const uint8_t  *p = v->mv_data;

    if (v->mv_size < LLM_AUDIT_FIXED + 1) {
        return 1;                   /* it is told as damaged */
    }

    if (p[1] != LLM_AUDIT_CLOSE) {
        return p[1] == LLM_AUDIT_OPEN || p[1] == 0
               || p[1] > LLM_AUDIT_PRUNED;
    }

    flags = (unsigned) llm_le_get(p + 2, 2);
    p += LLM_AUDIT_FIXED;

    if (flags & LLM_AUDIT_HAS_REQUEST) {
        if (v->mv_size < LLM_AUDIT_FIXED + 17) {
            return 1;
        }

        p += 16;
    }

    return *p == 0;                 /* number 0: no opening record */
}


int
llm_audit_match(llm_audit_match_t *m, uint64_t number, const MDB_val *v,
    int *fits)
{
    int                       rc;
    int64_t                   time;
    uint64_t                  close;
    const llm_audit_query_t  *q = m->q;

    *fits = 0;

    if (v->mv_size >= LLM_AUDIT_FIXED) {
        time = (int64_t) llm_le_get((const uint8_t *) v->mv_data + 8, 8);

        if ((q->since != 0 && time < q->since)
            || (q->until != 0 && time >= q->until))
        {
            return LLM_OK;
        }
    }

    if (llm_audit_unpack(v->mv_data, v->mv_size, &m->open) != LLM_OK) {
        return llm_audit_match_damaged(m, number);
    }

    close = 0;

    if (m->open.type == LLM_AUDIT_CLOSE) {

        /* who it was is not known */

        if (m->open.number != 0 || q->key != NULL || q->client != NULL
            || q->addr != NULL || q->path != NULL || q->acts)
        {
            return LLM_OK;
        }

        m->close = m->open;
        close = number;

    } else if (m->open.type != LLM_AUDIT_OPEN || !llm_audit_match_open(m)) {
        return LLM_OK;
    }

    if (q->request != NULL
        && !llm_audit_match_request(&m->open, q->request))
    {
        return LLM_OK;
    }

    if (close == 0) {
        rc = llm_audit_match_close(m, number, &close);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    rc = llm_audit_match_end(m, close, fits);

    if (rc == LLM_OK && *fits) {
        llm_audit_match_set(m, number, close);
    }

    return rc;
}


static int
llm_audit_match_open(llm_audit_match_t *m)
{
    const llm_audit_query_t   *q = m->q;
    const llm_audit_record_t  *r = &m->open;

    if (q->key != NULL
        && (!(r->flags & LLM_AUDIT_HAS_KEY)
            || memcmp(r->key, m->key, LLM_AUDIT_ID) != 0))
    {
        return 0;
    }

    if (q->client != NULL && !llm_audit_match_text(&r->client, q->client)) {
        return 0;
    }

    if (q->path != NULL
        && (r->path.len < strlen(q->path)
            || memcmp(r->path.data, q->path, strlen(q->path)) != 0))
    {
        return 0;
    }

    if (q->acts && !(r->flags & LLM_AUDIT_HAS_ACT)) {
        return 0;
    }

    return q->addr == NULL || llm_audit_match_addr(&m->net, &r->addr);
}


static int
llm_audit_match_request(const llm_audit_record_t *r, const char *request)
{
    char  text[33];

    if (!(r->flags & LLM_AUDIT_HAS_REQUEST)) {
        return 0;
    }

    llm_audit_request_text(r->request, text);

    return strncmp(text, request, strlen(request)) == 0;
}


static int
llm_audit_match_addr(const llm_net_t *net, const llm_audit_text_t *addr)
{
    unsigned   bits, whole;
    llm_net_t  from;

    if (addr->len == 0
        || llm_net_parse(&from, addr->data, addr->len, NULL, 0) != LLM_OK)
    {
        return 0;
    }

    whole = net->bits / 8;
    bits = net->bits % 8;

    if (memcmp(net->addr, from.addr, whole) != 0) {
        return 0;
    }

    return bits == 0
           || ((net->addr[whole] ^ from.addr[whole]) >> (8 - bits)) == 0;
}


static int
llm_audit_match_text(const llm_audit_text_t *t, const char *want)
{
    return t->len == strlen(want)
           && (t->len == 0 || memcmp(t->data, want, t->len) == 0);
}


/* *close is 0 without one */

static int
llm_audit_match_close(llm_audit_match_t *m, uint64_t number,
    uint64_t *close)
{
    int               rc;
    uint8_t           be[8];
    MDB_val           k, v;
    llm_audit_env_t  *e = m->a->shared;

    *close = 0;

    llm_be_put(be, number, 8);
    k.mv_data = be;
    k.mv_size = 8;

    rc = mdb_get(m->txn, e->closes, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return LLM_OK;
    }

    if (rc != 0) {
        return llm_audit_error(m->a, rc, "closes", m->err, m->errlen);
    }

    if (llm_audit_number(&v, close) != LLM_OK) {
        return llm_audit_match_damaged(m, number);
    }

    llm_be_put(be, *close, 8);
    rc = mdb_get(m->txn, e->records, &k, &v);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_error(m->a, rc, "records", m->err, m->errlen);
    }

    if (rc != 0
        || llm_audit_unpack(v.mv_data, v.mv_size, &m->close) != LLM_OK
        || m->close.type != LLM_AUDIT_CLOSE || m->close.number != number)
    {
        return llm_audit_match_damaged(m, *close);
    }

    return LLM_OK;
}


static int
llm_audit_match_end(llm_audit_match_t *m, uint64_t close, int *fits)
{
    int                        rc;
    const llm_audit_text_t    *model;
    const llm_audit_query_t   *q = m->q;
    const llm_audit_record_t  *r = &m->close;

    if (close != 0 ? q->unfinished : q->status != 0) {
        return LLM_OK;
    }

    if (q->status != 0
        && (q->status < 10 ? r->status / 100 : r->status) != q->status)
    {
        return LLM_OK;
    }

    model = close != 0 && r->model.len != 0 ? &r->model : &m->open.model;

    if (q->model != NULL && !llm_audit_match_text(model, q->model)) {
        return LLM_OK;
    }

    if (q->text == NULL) {
        *fits = 1;
        return LLM_OK;
    }

    rc = llm_audit_match_prints(m, &m->open, fits);

    if (rc == LLM_OK && !*fits && close != 0) {
        rc = llm_audit_match_prints(m, r, fits);
    }

    return rc;
}


static int
llm_audit_match_prints(llm_audit_match_t *m, const llm_audit_record_t *r,
    int *fits)
{
    int             rc;
    uint32_t        i;
    const uint8_t  *print;

    if (r->n_print == 0) {
        return LLM_OK;
    }

    print = NULL;
    rc = llm_audit_match_hunt(m, r->epoch, &print);

    for (i = 0; rc == LLM_OK && i < r->n_print; i++) {
        if (memcmp(r->print + (size_t) i * LLM_AUDIT_HASH, print,
                   LLM_AUDIT_HASH)
            == 0)
        {
            *fits = 1;
            break;
        }
    }

    return rc;
}


/* the text's fingerprint in that epoch; epochs are few */

static int
llm_audit_match_hunt(llm_audit_match_t *m, uint32_t epoch,
    const uint8_t **print)
{
    int                rc;
    size_t             i;
    llm_audit_hunt_t  *hunt;
    llm_audit_keys_t  *keys;

    for (i = m->n_hunt; i > 0; i--) {
        if (m->hunt[i - 1].epoch == epoch) {
            *print = m->hunt[i - 1].print;
            return LLM_OK;
        }
    }

    rc = llm_audit_keys(m->a, m->txn, epoch, &keys, m->err, m->errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    hunt = realloc(m->hunt, (m->n_hunt + 1) * sizeof(llm_audit_hunt_t));
    if (hunt == NULL) {
        return llm_err(m->err, m->errlen, LLM_NOMEM, "%s: query: no memory",
                       m->a->shared->path);
    }

    m->hunt = hunt;
    hunt += m->n_hunt++;

    hunt->epoch = epoch;
    llm_audit_fingerprint(keys, m->q->text, m->q->text_len, hunt->print);
    *print = hunt->print;

    return LLM_OK;
}


static void
llm_audit_match_set(llm_audit_match_t *m, uint64_t number, uint64_t close)
{
    const char                *role;
    llm_audit_call_t          *call = &m->call;
    const llm_audit_record_t  *r = &m->open;

    memset(call, 0, sizeof(llm_audit_call_t));

    call->number = number;
    call->time = r->time;
    call->wall = r->wall;
    call->mono = r->mono;
    call->role = "";

    if (r->flags & LLM_AUDIT_HAS_REQUEST) {
        llm_audit_request_text(r->request, call->request);
    }

    llm_audit_match_copy(call->model, sizeof(call->model), &r->model);

    if (r->type == LLM_AUDIT_OPEN) {
        if (r->flags & LLM_AUDIT_HAS_KEY) {
            llm_audit_key_text(r->key, call->key);
            role = llm_role_name(r->role);
            call->role = role != NULL ? role : "";
        }

        llm_audit_match_copy(call->client, sizeof(call->client), &r->client);
        llm_audit_match_copy(call->addr, sizeof(call->addr), &r->addr);
        llm_audit_match_copy(call->method, sizeof(call->method), &r->method);
        llm_audit_match_copy(call->path, sizeof(call->path), &r->path);
        llm_audit_match_copy(call->agent, sizeof(call->agent), &r->agent);

        call->act = (r->flags & LLM_AUDIT_HAS_ACT) != 0;
        call->with_input = (r->flags & LLM_AUDIT_HAS_CONTENT) != 0;
        call->epoch = r->epoch;
        call->n_input = r->n_print;
        memcpy(call->input, r->print, (size_t) r->n_print * LLM_AUDIT_HASH);
    }

    if (close != 0) {
        llm_audit_match_end_of(call, &m->close, close);
    }
}


void
llm_audit_match_end_of(llm_audit_call_t *call,
    const llm_audit_record_t *r, uint64_t close)
{
    call->close = close;
    call->end = r->time;
    call->with_output = (r->flags & LLM_AUDIT_HAS_CONTENT) != 0;
    call->status = r->status;
    call->prompt_tokens = r->prompt_tokens;
    call->cached_tokens = r->cached_tokens;
    call->completion_tokens = r->completion_tokens;
    call->queue_us = r->queue_us;
    call->ttft_us = r->ttft_us;
    call->inference_us = r->inference_us;
    call->total_us = r->total_us;
    call->sent = r->sent;
    call->seed = r->seed;
    call->build = r->build;
    call->effective = r->effective;
    call->with_seed = (r->flags & LLM_AUDIT_HAS_SEED) != 0;
    call->output_epoch = r->epoch;
    call->n_output = r->n_print;

    memcpy(call->output, r->print, (size_t) r->n_print * LLM_AUDIT_HASH);

    if (r->model.len != 0) {
        llm_audit_match_copy(call->model, sizeof(call->model), &r->model);
    }

    llm_audit_match_copy(call->finish, sizeof(call->finish), &r->finish);
    llm_audit_match_copy(call->code, sizeof(call->code), &r->code);
}


/* unpacked texts are short enough, valid UTF-8, and without control
 * characters; size is a member's */

static void
llm_audit_match_copy(char *dst, size_t size, const llm_audit_text_t *t)
{
    size_t  len;

    len = t->len < size ? t->len : size - 1;

    if (len != 0) {
        memcpy(dst, t->data, len);
    }

    dst[len] = '\0';
}


static int
llm_audit_match_damaged(llm_audit_match_t *m, uint64_t number)
{
    return llm_err(m->err, m->errlen, LLM_INVALID,
                   "%s: record %llu is damaged or missing (llmctl audit "
                   "verify)", m->a->shared->path,
                   (unsigned long long) number);
}
