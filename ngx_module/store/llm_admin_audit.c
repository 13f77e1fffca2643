
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration's view of the audit trail: calls by what is known of
 * them, one call, calls that a text is of.  It reads; what it reads is changed
 * by nobody here.
 *
 * A query looks at LLM_ADMIN_LOOK records at a time, as the thread has other
 * work: where it stopped before the limit, "next" says where to go on, also
 * with no call in the answer.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_admin_int.h"
#include "llm_store_int.h"


#define LLM_ADMIN_LOOK        500000    /* records: a quarter of a second */
#define LLM_ADMIN_AUDIT_PAGE  100


static int llm_admin_audit_open(llm_admin_ctx_t *c);
static int llm_admin_audit_query(llm_admin_ctx_t *c, json_t *o,
    llm_audit_query_t *q);
static int llm_admin_audit_texts(llm_admin_ctx_t *c, json_t *o,
    llm_audit_query_t *q);
static int llm_admin_audit_times(llm_admin_ctx_t *c, json_t *o,
    llm_audit_query_t *q);
static int llm_admin_audit_number(llm_admin_ctx_t *c, json_t *o,
    const char *name, int64_t max, int64_t *n);
static int llm_admin_audit_flag(llm_admin_ctx_t *c, json_t *o,
    const char *name, int *flag);
static int llm_admin_audit_answer(llm_admin_ctx_t *c,
    const llm_audit_query_t *q);
static int llm_admin_audit_each(void *data, const llm_audit_call_t *call);
static int llm_admin_audit_one(void *data, const llm_audit_call_t *call);
static int llm_admin_audit_fail(llm_admin_ctx_t *c, int rc);
static int llm_admin_hex(const char *s);


int
llm_admin_audit_list(llm_admin_ctx_t *c)
{
    llm_audit_query_t  q;

    static const char *const  names[] = {
        "key", "client", "address", "status", "model", "path", "request",
        "since", "until", "before", "limit", "oldest", "unfinished",
        "actions", NULL
    };

    memset(&q, 0, sizeof(q));

    if (llm_admin_audit_open(c) != LLM_OK
        || llm_admin_known(c, c->args, names) != LLM_OK
        || llm_admin_audit_query(c, c->args, &q) != LLM_OK)
    {
        return LLM_ERROR;
    }

    return llm_admin_audit_answer(c, &q);
}


/* the text is in the body: a query's would be in logs */

int
llm_admin_audit_lookup(llm_admin_ctx_t *c)
{
    json_t             *text;
    llm_audit_query_t   q;

    static const char *const  names[] = {
        "text", "since", "until", "before", "limit", "oldest", NULL
    };

    memset(&q, 0, sizeof(q));

    if (llm_admin_audit_open(c) != LLM_OK
        || llm_admin_known(c, c->body, names) != LLM_OK
        || llm_admin_audit_query(c, c->body, &q) != LLM_OK)
    {
        return LLM_ERROR;
    }

    text = json_object_get(c->body, "text");

    if (text == NULL) {
        return llm_admin_fail(c, 400, "missing_field", "text",
                              "the text is needed");
    }

    if (!json_is_string(text)) {
        return llm_admin_fail(c, 400, "invalid_type", "text",
                              "It must be a string.");
    }

    q.text = json_string_value(text);
    q.text_len = json_string_length(text);

    if (q.text_len == 0) {
        return llm_admin_fail(c, 400, "invalid_value", "text",
                              "It must not be empty.");
    }

    return llm_admin_audit_answer(c, &q);
}


/* a whole request id has 32 digits, a number at most 20 */

int
llm_admin_audit_show(llm_admin_ctx_t *c)
{
    int                 rc;
    char               *end;
    json_t             *o;
    uint64_t            number, next;
    llm_audit_call_t    call;
    llm_audit_query_t   q;

    static const char *const  none[] = { NULL };

    if (llm_admin_audit_open(c) != LLM_OK
        || llm_admin_known(c, c->args, none) != LLM_OK)
    {
        return LLM_ERROR;
    }

    o = NULL;
    errno = 0;
    number = strtoull(c->name, &end, 10);

    if (strlen(c->name) == 32 && llm_admin_hex(c->name)) {
        memset(&q, 0, sizeof(q));
        q.request = c->name;
        q.limit = 1;

        rc = llm_audit_query(c->a->audit, &q, llm_admin_audit_one, &o, &next,
                             c->err, sizeof(c->err));

        if (rc == LLM_OK && o == NULL) {
            rc = LLM_NOTFOUND;
        }

    } else if (c->name[0] >= '1' && c->name[0] <= '9' && *end == '\0'
               && errno == 0)
    {
        rc = llm_audit_call_get(c->a->audit, number, &call, c->err,
                                sizeof(c->err));

        if (rc == LLM_OK) {
            o = llm_audit_call_json(&call);
        }

    } else {
        rc = LLM_NOTFOUND;
    }

    if (rc != LLM_OK) {
        json_decref(o);
        return rc == LLM_NOTFOUND
               ? llm_admin_fail(c, 404, "call_not_found", NULL,
                                "No such call is in the audit trail.")
               : llm_admin_audit_fail(c, rc);
    }

    return llm_admin_answer(c, 200, o);
}


int
llm_admin_audit_stat(llm_admin_ctx_t *c, json_t *o)
{
    int               rc;
    json_t           *audit;
    llm_audit_stat_t  st;

    if (o == NULL || c->a->audit == NULL || c->role < LLM_ROLE_OPERATOR) {
        return LLM_OK;
    }

    rc = llm_audit_stat(c->a->audit, &st, c->err, sizeof(c->err));

    if (rc == LLM_NOMEM) {
        return llm_admin_fail_rc(c, rc, "audit");
    }

    /* the engines' state is worth more than a refusal */

    if (rc != LLM_OK) {
        (void) snprintf(c->reply->detail, sizeof(c->reply->detail),
                        "audit: %.400s", c->err);
        audit = json_null();

    } else {
        audit = json_pack("{s:I, s:I, s:I, s:o, s:o, s:I}",
                          "first", (json_int_t) st.first,
                          "last", (json_int_t) st.last,
                          "signed_to", (json_int_t) st.signed_to,
                          "signed_at", llm_admin_stamp_ms(st.signed_at),
                          "time", llm_admin_stamp_ms(st.time),
                          "bytes", (json_int_t) st.bytes);
    }

    if (json_object_set_new(o, "audit", audit) != 0) {
        c->err[0] = '\0';
        return llm_admin_fail_rc(c, LLM_NOMEM, "audit");
    }

    return LLM_OK;
}


int
llm_admin_past(const char *s, int64_t now, int64_t *when)
{
    char      buf[32], *dot;
    size_t    len, n;
    int64_t   ms, t;

    if (llm_admin_duration(s, &t) == LLM_OK) {
        *when = now - t * 1000;
        return LLM_OK;
    }

    len = strlen(s);

    if (len >= sizeof(buf)) {
        return LLM_INVALID;
    }

    memcpy(buf, s, len + 1);
    ms = 0;
    dot = strchr(buf, '.');

    if (dot != NULL) {
        n = strspn(dot + 1, "0123456789");

        if (n != 3 || strcmp(dot + 4, "Z") != 0) {
            return LLM_INVALID;
        }

        ms = strtol(dot + 1, NULL, 10);
        memcpy(dot, "Z", 2);
    }

    if (llm_admin_when(buf, now / 1000, &t) != LLM_OK) {
        return LLM_INVALID;
    }

    *when = t * 1000 + ms;

    return LLM_OK;
}


uint32_t
llm_admin_audit_status(const char *s)
{
    size_t    n;
    uint32_t  status;

    n = strspn(s, "0123456789");

    if (s[0] < '1' || s[0] > '5') {
        return 0;
    }

    if (n == 1) {
        return s[1] == '\0' || strcmp(s + 1, "xx") == 0
               ? (uint32_t) (s[0] - '0') : 0;
    }

    if (n != 3 || s[3] != '\0') {
        return 0;
    }

    status = (uint32_t) strtoul(s, NULL, 10);

    return status;
}


static int
llm_admin_audit_open(llm_admin_ctx_t *c)
{
    if (c->a->audit == NULL) {
        return llm_admin_fail(c, 503, "audit_unavailable", NULL,
                              "The audit trail is off, or could not be "
                              "opened.");
    }

    return LLM_OK;
}


/* of a query's strings, or of a body */

static int
llm_admin_audit_query(llm_admin_ctx_t *c, json_t *o, llm_audit_query_t *q)
{
    int64_t  before, limit;

    before = 0;
    limit = LLM_ADMIN_AUDIT_PAGE;

    if (llm_admin_audit_texts(c, o, q) != LLM_OK
        || llm_admin_audit_times(c, o, q) != LLM_OK
        || llm_admin_audit_number(c, o, "before", INT64_MAX, &before)
           != LLM_OK
        || llm_admin_audit_number(c, o, "limit", LLM_ADMIN_LIMIT, &limit)
           != LLM_OK
        || llm_admin_audit_flag(c, o, "oldest", &q->oldest) != LLM_OK
        || llm_admin_audit_flag(c, o, "unfinished", &q->unfinished) != LLM_OK
        || llm_admin_audit_flag(c, o, "actions", &q->acts) != LLM_OK)
    {
        return LLM_ERROR;
    }

    q->before = (uint64_t) before;
    q->limit = (uint32_t) limit;
    q->look = LLM_ADMIN_LOOK;

    return LLM_OK;
}


static int
llm_admin_audit_texts(llm_admin_ctx_t *c, json_t *o, llm_audit_query_t *q)
{
    llm_net_t    net;
    const char  *status;

    if (llm_admin_string(c, o, "key", &q->key) != LLM_OK
        || llm_admin_string(c, o, "client", &q->client) != LLM_OK
        || llm_admin_string(c, o, "address", &q->addr) != LLM_OK
        || llm_admin_string(c, o, "model", &q->model) != LLM_OK
        || llm_admin_string(c, o, "path", &q->path) != LLM_OK
        || llm_admin_string(c, o, "request", &q->request) != LLM_OK
        || llm_admin_string(c, o, "status", &status) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (q->key != NULL && (strlen(q->key) != LLM_KEY_ID_LEN
                           || !llm_key_id_valid(q->key)))
    {
        return llm_admin_fail(c, 400, "invalid_value", "key",
                              "a key's id, key_...");
    }

    if (q->addr != NULL
        && llm_net_parse(&net, q->addr, strlen(q->addr), NULL, 0) != LLM_OK)
    {
        return llm_admin_fail(c, 400, "invalid_value", "address",
                              "an address, or a range such as 10.0.0.0/8");
    }

    if (q->request != NULL
        && (strlen(q->request) > 32 || !llm_admin_hex(q->request)))
    {
        return llm_admin_fail(c, 400, "invalid_value", "request",
                              "the beginning of a request id: digits from 0 "
                              "to 9 and a to f");
    }

    if (status != NULL) {
        q->status = llm_admin_audit_status(status);

        if (q->status == 0) {
            return llm_admin_fail(c, 400, "invalid_value", "status",
                                  "a status such as 404, or 4xx");
        }
    }

    return LLM_OK;
}


static int
llm_admin_audit_times(llm_admin_ctx_t *c, json_t *o, llm_audit_query_t *q)
{
    const char  *since, *until;

    if (llm_admin_string(c, o, "since", &since) != LLM_OK
        || llm_admin_string(c, o, "until", &until) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (since != NULL
        && llm_admin_past(since, c->call->now, &q->since) != LLM_OK)
    {
        return llm_admin_fail(c, 400, "invalid_value", "since",
                              "a time such as 2026-11-01, "
                              "2026-11-01T12:00:00Z, or 2h: two hours ago");
    }

    if (until != NULL
        && llm_admin_past(until, c->call->now, &q->until) != LLM_OK)
    {
        return llm_admin_fail(c, 400, "invalid_value", "until",
                              "a time such as 2026-11-01, "
                              "2026-11-01T12:00:00Z, or 2h: two hours ago");
    }

    return LLM_OK;
}


/* a number, or a string of digits; *n stays without it */

static int
llm_admin_audit_number(llm_admin_ctx_t *c, json_t *o, const char *name,
    int64_t max, int64_t *n)
{
    json_t  *v;

    if (o == c->args) {
        return llm_admin_arg_number(c, name, 1, max, n);
    }

    v = json_object_get(o, name);

    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_integer(v)) {
        return llm_admin_fail(c, 400, "invalid_type", name,
                              "It must be a whole number.");
    }

    if (json_integer_value(v) < 1 || json_integer_value(v) > max) {
        return llm_admin_fail(c, 400, "invalid_value", name,
                              "a number from 1 to %lld", (long long) max);
    }

    *n = json_integer_value(v);

    return LLM_OK;
}


static int
llm_admin_audit_flag(llm_admin_ctx_t *c, json_t *o, const char *name,
    int *flag)
{
    json_t      *v;
    const char  *s;

    v = json_object_get(o, name);

    if (v == NULL || json_is_false(v)) {
        return LLM_OK;
    }

    s = json_string_value(v);

    if (json_is_true(v)
        || (s != NULL && (*s == '\0' || strcmp(s, "1") == 0
                          || strcmp(s, "true") == 0)))
    {
        *flag = 1;
        return LLM_OK;
    }

    if (s != NULL && (strcmp(s, "0") == 0 || strcmp(s, "false") == 0)) {
        return LLM_OK;
    }

    return llm_admin_fail(c, 400, "invalid_value", name, "true or false");
}


static int
llm_admin_audit_answer(llm_admin_ctx_t *c, const llm_audit_query_t *q)
{
    int        rc;
    json_t    *calls;
    uint64_t   next;

    calls = json_array();
    next = 0;

    rc = calls != NULL
         ? llm_audit_query(c->a->audit, q, llm_admin_audit_each, calls, &next,
                           c->err, sizeof(c->err))
         : LLM_NOMEM;

    if (rc != LLM_OK) {
        json_decref(calls);
        return llm_admin_audit_fail(c, rc);
    }

    return llm_admin_answer(c, 200,
                            json_pack("{s:o, s:o}", "calls", calls, "next",
                                      next != 0
                                      ? json_integer((json_int_t) next)
                                      : json_null()));
}


static int
llm_admin_audit_each(void *data, const llm_audit_call_t *call)
{
    json_t  *o, *calls = data;

    o = llm_audit_call_json(call);

    return o != NULL && json_array_append_new(calls, o) == 0 ? LLM_OK
                                                             : LLM_NOMEM;
}


static int
llm_admin_audit_one(void *data, const llm_audit_call_t *call)
{
    json_t  **o = data;

    *o = llm_audit_call_json(call);

    return *o != NULL ? LLM_OK : LLM_NOMEM;
}


/* a message names files and records: it is for the log, and for llmctl */

static int
llm_admin_audit_fail(llm_admin_ctx_t *c, int rc)
{
    if (rc == LLM_NOMEM) {
        c->err[0] = '\0';
        return llm_admin_fail_rc(c, rc, "audit");
    }

    (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "audit: %.400s",
                    c->err);

    return llm_admin_fail(c, 503, "audit_unavailable", NULL,
                          "The audit trail can't be read: %s",
                          c->call->key != NULL ? "see the error log"
                                               : c->err);
}


static int
llm_admin_hex(const char *s)
{
    return *s != '\0' && strspn(s, "0123456789abcdef") == strlen(s);
}
