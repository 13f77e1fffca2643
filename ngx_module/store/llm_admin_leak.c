
/*
 * Copyright (C) nginx-llm contributors
 *
 * The leak drill: a key that others may have is revoked and replaced in one
 * transaction; its calls tell who used it, and what has to be given the new
 * one.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_admin_int.h"


#define LLM_ADMIN_REASON  200       /* bytes */


typedef struct {
    llm_key_t      k;
    llm_key_t      next;            /* id "": none */
    char           key[LLM_KEY_LEN + 1];
    const char    *reason;
    const char    *note;
    llm_report_t  *report;          /* NULL: not to be had */
} llm_admin_leak_t;


static int llm_admin_leak_reason(llm_admin_ctx_t *c, llm_admin_leak_t *leak);
static int llm_admin_leak_replace(llm_admin_ctx_t *c, llm_admin_leak_t *leak,
    int unsure);
static void llm_admin_leak_usage(llm_admin_ctx_t *c, llm_admin_leak_t *leak);
static int llm_admin_leak_spent(llm_admin_ctx_t *c, const llm_key_t *k,
    llm_spent_t *u);
static int llm_admin_leak_answer(llm_admin_ctx_t *c, llm_admin_leak_t *leak);
static void llm_admin_leak_event(llm_admin_ctx_t *c,
    const llm_admin_leak_t *leak);
static json_t *llm_admin_leak_report(const llm_report_t *r);
static json_t *llm_admin_leak_items(const llm_calls_item_t *item, size_t n,
    int addresses);
static json_t *llm_admin_leak_update(const llm_report_t *r);
static void llm_admin_leak_line(json_t *list, const char *what,
    const llm_calls_item_t *item);


int
llm_admin_keys_leak(llm_admin_ctx_t *c)
{
    int               rc;
    llm_admin_leak_t  leak;

    static const char *const  names[] = { "reason", NULL };

    memset(&leak, 0, sizeof(leak));

    if (llm_admin_known(c, c->body, names) != LLM_OK
        || llm_admin_leak_reason(c, &leak) != LLM_OK
        || llm_admin_get(c, c->name, &leak.k) != LLM_OK
        || llm_admin_secret(c) != LLM_OK)
    {
        return LLM_ERROR;
    }

    rc = llm_admin_factor(c, 1);

    if (rc == LLM_ERROR) {
        return LLM_ERROR;
    }

    rc = llm_admin_leak_replace(c, &leak, rc == LLM_AGAIN);

    if (rc == LLM_OK && leak.next.id[0] != '\0') {
        llm_admin_leak_usage(c, &leak);
    }

    /* first the revocation, then what can wait */

    if (rc == LLM_OK && c->a->calls != NULL
        && llm_calls_report(c->a->calls, leak.k.id, 0, &leak.report, c->err,
                            sizeof(c->err))
           != LLM_OK)
    {
        leak.report = NULL;
        (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s",
                        c->err);
    }

    if (rc == LLM_OK) {
        rc = llm_admin_leak_answer(c, &leak);
        llm_admin_leak_event(c, &leak);
    }

    free(leak.report);
    OPENSSL_cleanse(&leak, sizeof(leak));

    return rc;
}


static int
llm_admin_leak_reason(llm_admin_ctx_t *c, llm_admin_leak_t *leak)
{
    const char  *p;

    if (llm_admin_string(c, c->body, "reason", &leak->reason) != LLM_OK) {
        return LLM_ERROR;
    }

    if (leak->reason == NULL) {
        return LLM_OK;
    }

    for (p = leak->reason; *p != '\0'; p++) {
        if ((unsigned char) *p < ' ' || *p == 0x7f) {
            break;
        }
    }

    if (*p != '\0' || p - leak->reason > LLM_ADMIN_REASON) {
        return llm_admin_fail(c, 400, "invalid_value", "reason",
                              "one line of at most %d bytes",
                              LLM_ADMIN_REASON);
    }

    /* people paste what leaked */

    if (strstr(leak->reason, "sk-") != NULL) {
        return llm_admin_fail(c, 400, "invalid_value", "reason",
                              "it must not hold a key");
    }

    return LLM_OK;
}


/*
 * unsure: the code could not be checked, so that whoever asks may not be who
 * they should be, and get no key.  A key that was revoked before has no
 * successor either: asking twice makes no second one.
 */

static int
llm_admin_leak_replace(llm_admin_ctx_t *c, llm_admin_leak_t *leak,
    int unsure)
{
    int         rc;
    char        id[LLM_KEY_ID_LEN + 1];
    llm_key_t  *k = &leak->k;

    strcpy(id, k->id);

    if (unsure || k->revoked != 0) {
        leak->note = k->revoked != 0
            ? "The key was revoked before: no successor was made."
            : "The store could not record the code: it was not checked, and "
              "no successor was made.";

        rc = llm_key_revoke(c->a->store, id, k, c->err, sizeof(c->err));

    } else {
        rc = llm_key_replace(c->a->store, c->a->secret, id, k, &leak->next,
                             leak->key, c->err, sizeof(c->err));

        if (rc == LLM_AGAIN) {
            (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s",
                            c->err);
            leak->note = "No successor could be made (the store is full, or "
                         "its secret is away); the key is revoked.";
            leak->next.id[0] = '\0';
            rc = llm_key_revoke(c->a->store, id, k, c->err, sizeof(c->err));
        }
    }

    /* another call was first */

    if (rc == LLM_INVALID && llm_key_get(c->a->store, id, k, NULL, 0)
                             == LLM_OK && k->revoked != 0)
    {
        leak->note = "The key was revoked before: no successor was made.";
        leak->next.id[0] = '\0';
        rc = LLM_OK;
    }

    if (rc != LLM_OK) {
        return llm_admin_fail_key(c, rc, id);
    }

    if (leak->reason != NULL) {
        (void) llm_store_note(c->a->store, "key.leak", id, leak->reason,
                              NULL, 0);
    }

    return LLM_OK;
}


/*
 * Nobody has the successor yet, so its record is the first of it.  What the old
 * one has used of its day, month and minute goes with it: else a client whose
 * budget is gone would only have to leak its key.
 */

static void
llm_admin_leak_usage(llm_admin_ctx_t *c, llm_admin_leak_t *leak)
{
    int          rc;
    llm_spent_t  u;

    if (llm_admin_leak_spent(c, &leak->k, &u) != LLM_OK) {
        return;
    }

    u.last_used = 0;
    u.calls = 0;
    u.prompt_tokens = 0;
    u.completion_tokens = 0;

    rc = llm_calls_begin(c->a->calls, c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        rc = llm_calls_put_usage(c->a->calls, leak->next.id, &u, c->err,
                                 sizeof(c->err));

        if (rc == LLM_OK) {
            rc = llm_calls_commit(c->a->calls, c->err, sizeof(c->err));

        } else {
            llm_calls_abort(c->a->calls);
        }
    }

    if (rc != LLM_OK) {
        (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s",
                        c->err);
    }
}


/* the table knows more than the file, by half a second and what is reserved */

static int
llm_admin_leak_spent(llm_admin_ctx_t *c, const llm_key_t *k, llm_spent_t *u)
{
    llm_quota_view_t  v;

    if (c->a->calls == NULL) {
        return LLM_NOTFOUND;
    }

    if (c->a->quota == NULL
        || llm_quota_view(c->a->quota, k->id, &k->limits, c->call->now, &v)
           != LLM_OK)
    {
        return llm_calls_usage(c->a->calls, k->id, u, NULL, 0);
    }

    *u = v.usage;

    if (__builtin_add_overflow(u->day_tokens, v.reserved, &u->day_tokens)) {
        u->day_tokens = UINT64_MAX;
    }

    if (__builtin_add_overflow(u->month_tokens, v.reserved,
                               &u->month_tokens))
    {
        u->month_tokens = UINT64_MAX;
    }

    return LLM_OK;
}


static int
llm_admin_leak_answer(llm_admin_ctx_t *c, llm_admin_leak_t *leak)
{
    json_t           *o, *next;
    llm_totp_info_t   info;

    next = leak->next.id[0] != '\0'
           ? llm_admin_record(c, &leak->next, leak->key) : json_null();

    if (leak->note == NULL
        && llm_totp_info(c->a->store, leak->k.id, &info, NULL, 0) == LLM_OK
        && info.state == LLM_TOTP_ON)
    {
        leak->note = "The successor has no second factor yet: enrol it.";
    }

    o = json_pack("{s:o, s:o, s:o, s:o}",
                  "leaked", llm_admin_record(c, &leak->k, NULL),
                  "successor", next,
                  "report", leak->report != NULL
                            ? llm_admin_leak_report(leak->report)
                            : json_null(),
                  "integrations", leak->report != NULL
                            ? llm_admin_leak_update(leak->report)
                            : json_array());

    if (o != NULL && leak->note != NULL) {
        (void) json_object_set_new(o, "note", json_string(leak->note));
    }

    if (llm_admin_answer(c, 200, o) == LLM_OK) {
        return LLM_OK;
    }

    /* what nobody is told must not stay valid */

    if (leak->next.id[0] != '\0') {
        (void) llm_key_revoke(c->a->store, leak->next.id, &leak->next, NULL,
                              0);
    }

    return LLM_ERROR;
}


static void
llm_admin_leak_event(llm_admin_ctx_t *c, const llm_admin_leak_t *leak)
{
    size_t               i;
    json_t              *unusual;
    const llm_report_t  *r = leak->report;

    unusual = json_array();

    for (i = 0; r != NULL && i < r->n_addr; i++) {
        if (r->addr[i].unusual) {
            (void) json_array_append_new(unusual,
                                         llm_admin_text(r->addr[i].name));
        }
    }

    llm_admin_event(c, "key_leaked",
                    json_pack("{s:s, s:s, s:s?, s:I, s:o}",
                              "key_id", leak->k.id,
                              "client", leak->k.client,
                              "successor_id", leak->next.id[0] != '\0'
                                              ? leak->next.id : NULL,
                              "calls", (json_int_t) (r != NULL ? r->calls : 0),
                              "unusual_addresses", unusual));
}


static json_t *
llm_admin_leak_report(const llm_report_t *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o,"
                     " s:{s:I, s:I, s:I, s:I}}",
                     "calls", (json_int_t) r->calls,
                     "failed", (json_int_t) r->failed,
                     "tokens", (json_int_t) (r->prompt_tokens
                                             + r->completion_tokens),
                     "prompt_tokens", (json_int_t) r->prompt_tokens,
                     "completion_tokens", (json_int_t) r->completion_tokens,
                     "first_seen", llm_admin_stamp(r->first / 1000),
                     "last_seen", llm_admin_stamp(r->last / 1000),
                     "models", llm_admin_leak_items(r->model, r->n_model, 0),
                     "addresses", llm_admin_leak_items(r->addr, r->n_addr, 1),
                     "user_agents", llm_admin_leak_items(r->agent, r->n_agent,
                                                         0),
                     "paths", llm_admin_leak_items(r->path, r->n_path, 0),
                     "more",
                     "models", (json_int_t) r->more_models,
                     "addresses", (json_int_t) r->more_addrs,
                     "user_agents", (json_int_t) r->more_agents,
                     "paths", (json_int_t) r->more_paths);
}


static json_t *
llm_admin_leak_items(const llm_calls_item_t *item, size_t n, int addresses)
{
    size_t   i;
    json_t  *list, *o;

    list = json_array();

    for (i = 0; i < n && i < LLM_REPORT_ITEMS; i++) {

        o = json_pack("{s:o, s:I, s:o, s:o}",
                      "name", llm_admin_text(item[i].name),
                      "calls", (json_int_t) item[i].count,
                      "first_seen", llm_admin_stamp(item[i].first / 1000),
                      "last_seen", llm_admin_stamp(item[i].last / 1000));

        if (addresses && o != NULL) {
            (void) json_object_set_new(o, "unusual",
                                       json_boolean(item[i].unusual));
        }

        (void) json_array_append_new(list, o);
    }

    return list;
}


/*
 * Whoever called with the key and is not suspicious must be given the new
 * one.  The report knows agents and addresses apart: agents by what they say
 * they are, addresses by where they are.
 */

static json_t *
llm_admin_leak_update(const llm_report_t *r)
{
    size_t   i;
    json_t  *list;

    list = json_array();

    for (i = 0; i < r->n_agent && i < LLM_REPORT_ITEMS; i++) {
        llm_admin_leak_line(list, "agent", &r->agent[i]);
    }

    for (i = 0; i < r->n_addr && i < LLM_REPORT_ITEMS; i++) {
        if (!r->addr[i].unusual) {
            llm_admin_leak_line(list, "address", &r->addr[i]);
        }
    }

    return list;
}


static void
llm_admin_leak_line(json_t *list, const char *what,
    const llm_calls_item_t *item)
{
    char     last[32], line[256];
    json_t  *name;

    name = llm_admin_text(item->name);

    if (name == NULL) {
        return;
    }

    (void) snprintf(line, sizeof(line), "%s %s: %llu call%s, the last %s",
                    what, *item->name != '\0' ? json_string_value(name)
                                              : "(none)",
                    (unsigned long long) item->count,
                    item->count == 1 ? "" : "s",
                    llm_admin_time(last, sizeof(last), item->last / 1000));

    (void) json_array_append_new(list, json_string(line));
    json_decref(name);
}
