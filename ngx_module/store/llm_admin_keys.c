
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration of keys.  A new key's text is in one buffer of the
 * handler's stack and in the answer, both wiped.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "llm_admin_int.h"


#define LLM_ADMIN_IDEM_MAX  255


/* a page of the list */
typedef struct {
    llm_admin_ctx_t  *c;
    json_t           *data;
    const char       *client;
    const char       *status;
    llm_role_e        role;
    int64_t           expiring;         /* unix seconds, 0: not asked */
    int64_t           limit;
    int               more;
    int                failed;          /* no memory */
    char              last[LLM_KEY_ID_LEN + 1];
} llm_admin_page_t;


static int llm_admin_page_args(llm_admin_page_t *page, const char **after);
static int llm_admin_page_add(void *data, const llm_key_t *k);
static int llm_admin_create_expires(llm_admin_ctx_t *c, llm_key_t *k);
static int llm_admin_created(llm_admin_ctx_t *c, const llm_key_t *k,
    const char *key);
static int llm_admin_grace(llm_admin_ctx_t *c, int64_t *grace);
static int llm_admin_idem(llm_admin_ctx_t *c);
static int llm_admin_rotated(llm_admin_ctx_t *c, const llm_key_t *k,
    const char *key, int again);


int
llm_admin_self(llm_admin_ctx_t *c)
{
    llm_key_t  k;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK) {
        return LLM_ERROR;
    }

    if (c->call->key == NULL) {
        return llm_admin_fail(c, 404, "key_not_found", NULL,
                              "llmctl has no key.");
    }

    if (llm_admin_get(c, c->call->key->id, &k) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, llm_admin_record(c, &k, NULL));
}


int
llm_admin_keys_show(llm_admin_ctx_t *c)
{
    llm_key_t  k;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK
        || llm_admin_get(c, c->name, &k) != LLM_OK)
    {
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, llm_admin_record(c, &k, NULL));
}


int
llm_admin_get(llm_admin_ctx_t *c, const char *id, llm_key_t *k)
{
    int  rc;

    rc = llm_key_get(c->a->store, id, k, c->err, sizeof(c->err));

    return rc == LLM_OK ? LLM_OK : llm_admin_fail_key(c, rc, id);
}


int
llm_admin_fail_key(llm_admin_ctx_t *c, int rc, const char *id)
{
    if (rc == LLM_NOTFOUND) {

        /* an id that is none may be a key: it is not repeated */

        return llm_admin_fail(c, 404, "key_not_found", "id", "%s",
                              strncmp(c->err, "key", 3) == 0
                              ? c->err : "no such key");
    }

    if (rc == LLM_INVALID
        && (strncmp(c->err, "key", 3) == 0
            || strncmp(c->err, id, strlen(id)) == 0))
    {
        return llm_admin_fail(c, 400, "invalid_value", NULL, "%s", c->err);
    }

    if (rc == LLM_AGAIN) {
        return llm_admin_fail(c, 409, "changed_meanwhile", NULL,
                              "Another change of the key was faster: look, "
                              "and try again.");
    }

    return llm_admin_fail_rc(c, rc, "key");
}


int
llm_admin_secret(llm_admin_ctx_t *c)
{
    if (c->a->secret != NULL) {
        return LLM_OK;
    }

    return llm_admin_fail(c, 503, "secret_unavailable", NULL,
                          "The secret is not open.");
}


json_t *
llm_admin_record(llm_admin_ctx_t *c, const llm_key_t *k, const char *key)
{
    json_t  *o;

    o = llm_admin_key_json(c->a, k, c->call->now, c->max_age);

    if (o != NULL && key != NULL
        && json_object_set_new(o, "key", json_string(key)) != 0)
    {
        json_decref(o);
        return NULL;
    }

    return o;
}


int
llm_admin_keys_list(llm_admin_ctx_t *c)
{
    int                rc;
    const char        *after;
    llm_admin_page_t   page;

    memset(&page, 0, sizeof(page));
    page.c = c;

    if (llm_admin_page_args(&page, &after) != LLM_OK) {
        return LLM_ERROR;
    }

    page.data = json_array();

    if (page.data == NULL) {
        return llm_admin_answer(c, 200, NULL);
    }

    rc = llm_key_each(c->a->store, after, llm_admin_page_add, &page, c->err,
                      sizeof(c->err));

    if (page.failed) {
        json_decref(page.data);
        return llm_admin_answer(c, 200, NULL);
    }

    if (rc != LLM_OK) {

        /* a damaged record: the good ones are worth more than none, as long
         * as the list says that it is not whole */

        if (rc != LLM_INVALID || json_array_size(page.data) == 0) {
            json_decref(page.data);
            return llm_admin_fail_rc(c, rc, "keys");
        }

        (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s",
                        c->err);
    }

    return llm_admin_answer(c, 200,
                            llm_admin_list(page.data, page.more, page.more
                                           ? json_string(page.last) : NULL));
}


static int
llm_admin_page_args(llm_admin_page_t *page, const char **after)
{
    int64_t           seconds;
    const char       *s;
    llm_admin_ctx_t  *c = page->c;

    static const char *const  names[] = {
        "client", "role", "status", "expiring", "after", "limit", NULL
    };

    page->limit = 100;

    if (llm_admin_known(c, c->args, names) != LLM_OK
        || llm_admin_string(c, c->args, "client", &page->client) != LLM_OK
        || llm_admin_role(c, c->args, &page->role) != LLM_OK
        || llm_admin_string(c, c->args, "status", &page->status) != LLM_OK
        || llm_admin_string(c, c->args, "after", after) != LLM_OK
        || llm_admin_string(c, c->args, "expiring", &s) != LLM_OK
        || llm_admin_arg_number(c, "limit", 1, LLM_ADMIN_LIMIT, &page->limit)
           != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (page->status != NULL
        && strcmp(page->status, "active") != 0
        && strcmp(page->status, "revoked") != 0
        && strcmp(page->status, "expired") != 0
        && strcmp(page->status, "too_old") != 0)
    {
        return llm_admin_fail(c, 400, "invalid_value", "status",
                              "active, revoked, expired or too_old");
    }

    if (*after != NULL
        && (strncmp(*after, "key_", 4) != 0
            || strlen(*after) != LLM_KEY_ID_LEN))
    {
        return llm_admin_fail(c, 400, "invalid_value", "after",
                              "a key's id (key_...)");
    }

    if (s != NULL) {
        if (llm_admin_duration(s, &seconds) != LLM_OK) {
            return llm_admin_fail(c, 400, "invalid_value", "expiring",
                                  "14d, 12h");
        }

        page->expiring = c->now + seconds;
    }

    return LLM_OK;
}


static int
llm_admin_page_add(void *data, const llm_key_t *k)
{
    llm_admin_page_t  *page = data;
    llm_admin_ctx_t   *c = page->c;

    if ((page->client != NULL && strcmp(page->client, k->client) != 0)
        || (page->role != LLM_ROLE_NONE && page->role != k->role)
        || (page->status != NULL
            && strcmp(page->status,
                      llm_admin_status_name(k, c->now, c->max_age)) != 0))
    {
        return 0;
    }

    if (page->expiring != 0
        && (llm_key_state(k, c->now, c->max_age) != LLM_KEY_GOOD
            || llm_key_end(k, c->max_age) > page->expiring))
    {
        return 0;
    }

    if (json_array_size(page->data) == (size_t) page->limit) {
        page->more = 1;
        return 1;
    }

    strcpy(page->last, k->id);

    page->failed = json_array_append_new(page->data,
                                         llm_admin_record(c, k, NULL)) != 0;

    return page->failed;
}


int
llm_admin_keys_create(llm_admin_ctx_t *c)
{
    int        rc;
    char       key[LLM_KEY_LEN + 1];
    unsigned   set;
    llm_key_t  k;

    memset(&k, 0, sizeof(k));

    if (llm_admin_scopes(c, c->body, &k, &set) != LLM_OK) {
        return LLM_ERROR;
    }

    if (!(set & LLM_SET_CLIENT) || !(set & LLM_SET_ROLE)) {
        return llm_admin_fail(c, 400, "missing_field",
                              set & LLM_SET_CLIENT ? "role" : "client",
                              "client and role are needed");
    }

    if (llm_admin_create_expires(c, &k) != LLM_OK
        || llm_admin_secret(c) != LLM_OK
        || llm_admin_factor(c, 0) != LLM_OK)
    {
        return LLM_ERROR;
    }

    rc = llm_key_create(c->a->store, c->a->secret, &k, key, c->err,
                        sizeof(c->err));

    rc = rc == LLM_OK ? llm_admin_created(c, &k, key)
                      : llm_admin_fail_key(c, rc, "key");

    OPENSSL_cleanse(key, sizeof(key));

    return rc;
}


/* what nobody is told must not stay valid */

static int
llm_admin_created(llm_admin_ctx_t *c, const llm_key_t *k, const char *key)
{
    int        rc;
    llm_key_t  gone;

    rc = llm_admin_answer(c, 201, llm_admin_record(c, k, key));

    if (rc != LLM_OK) {
        (void) llm_key_revoke(c->a->store, k->id, &gone, NULL, 0);
        return rc;
    }

    llm_admin_event(c, "key_created",
                    json_pack("{s:s, s:s, s:s, s:o}", "key_id", k->id,
                              "client", k->client, "role",
                              llm_role_name(k->role), "expires",
                              llm_admin_stamp(k->expires)));

    return LLM_OK;
}


/* by default the longest that there is; null: until it is too old */

static int
llm_admin_create_expires(llm_admin_ctx_t *c, llm_key_t *k)
{
    int64_t  age, now;

    k->expires = 0;

    if (json_is_null(json_object_get(c->body, "expires"))) {
        return LLM_OK;
    }

    /* the store's clock may be a little behind the caller's */

    now = (int64_t) time(NULL);

    if (now > c->now) {
        now = c->now;
    }

    if (llm_admin_expires(c, now, &k->expires) != LLM_OK) {
        return LLM_ERROR;
    }

    if (k->expires == 0) {
        age = c->max_age != 0 ? c->max_age : LLM_KEY_MAX_AGE;
        k->expires = now + age;
    }

    return LLM_OK;
}


int
llm_admin_expires(llm_admin_ctx_t *c, int64_t issued, int64_t *expires)
{
    const char  *s;

    *expires = 0;

    if (llm_admin_string(c, c->body, "expires", &s) != LLM_OK) {
        return LLM_ERROR;
    }

    if (s == NULL) {
        return LLM_OK;
    }

    if (llm_admin_when(s, c->now < issued ? c->now : issued, expires)
        != LLM_OK)
    {
        return llm_admin_fail(c, 400, "invalid_value", "expires",
                              "90d, 12h, 2027-01-31 or "
                              "2027-01-31T12:00:00Z");
    }

    if (*expires <= c->now) {
        return llm_admin_fail(c, 400, "invalid_value", "expires",
                              "it is in the past");
    }

    if (c->max_age != 0 && *expires > issued + c->max_age) {
        return llm_admin_fail(c, 400, "invalid_value", "expires",
                              "it is beyond the maximum age of a key, "
                              "%lld days", (long long) (c->max_age / 86400));
    }

    return LLM_OK;
}


int
llm_admin_keys_update(llm_admin_ctx_t *c)
{
    int        rc;
    unsigned   set;
    llm_key_t  from, k;

    memset(&from, 0, sizeof(from));

    if (llm_admin_scopes(c, c->body, &from, &set) != LLM_OK
        || llm_admin_get(c, c->name, &k) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (k.revoked != 0) {
        return llm_admin_fail(c, 409, "key_revoked", NULL,
                              "The key is revoked.");
    }

    if (json_is_null(json_object_get(c->body, "expires"))) {
        return llm_admin_fail(c, 400, "invalid_value", "expires",
                              "an expiry can be moved, not removed");
    }

    if (json_object_get(c->body, "expires") != NULL) {
        if (llm_admin_expires(c, k.issued, &from.expires) != LLM_OK) {
            return LLM_ERROR;
        }

        set |= LLM_SET_EXPIRES;
    }

    if (set == 0) {
        return llm_admin_fail(c, 400, "missing_field", NULL,
                              "There is nothing to change.");
    }

    if (llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    rc = llm_key_update(c->a->store, k.id, set, &from, &k, c->err,
                        sizeof(c->err));

    if (rc != LLM_OK) {
        return llm_admin_fail_key(c, rc, c->name);
    }

    return llm_admin_answer(c, 200, llm_admin_record(c, &k, NULL));
}


int
llm_admin_keys_rotate(llm_admin_ctx_t *c)
{
    int        again, rc;
    char       key[LLM_KEY_LEN + 1];
    int64_t    expires, grace;
    llm_key_t  k;

    static const char *const  names[] = { "grace", "expires", NULL };

    if (llm_admin_known(c, c->body, names) != LLM_OK
        || llm_admin_get(c, c->name, &k) != LLM_OK
        || llm_admin_grace(c, &grace) != LLM_OK
        || llm_admin_expires(c, (int64_t) time(NULL), &expires) != LLM_OK
        || llm_admin_idem(c) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (k.revoked != 0) {
        return llm_admin_fail(c, 409, "key_revoked", NULL,
                              "The key is revoked.");
    }

    if (llm_admin_secret(c) != LLM_OK || llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    again = 0;
    rc = llm_key_rotate(c->a->store, c->a->secret, c->name, grace, expires,
                        c->call->idem, &k, key, &again, c->err,
                        sizeof(c->err));

    if (rc == LLM_OK) {
        rc = llm_admin_rotated(c, &k, key, again);

    } else if (rc == LLM_EXISTS) {
        rc = llm_admin_fail(c, 409, "rotation_refused", NULL, "%s", c->err);
    } else {
        rc = llm_admin_fail_key(c, rc, c->name);
    }

    OPENSSL_cleanse(key, sizeof(key));

    return rc;
}


/* the grace is the store's: a replay may ask for another one than there was */

static int
llm_admin_rotated(llm_admin_ctx_t *c, const llm_key_t *k, const char *key,
    int again)
{
    json_t   *o;
    int64_t   until;

    (void) llm_key_grace(c->a->store, k->id, &until, NULL, 0);

    if (until <= k->issued || until <= c->now) {
        until = 0;
    }

    if (again) {
        (void) llm_store_note(c->a->store, "key.replay", k->id,
                              "its secret was shown again", NULL, 0);
    }

    o = llm_admin_record(c, k, key);

    if (o != NULL) {
        (void) json_object_set_new(o, "grace_until", llm_admin_stamp(until));
        (void) json_object_set_new(o, "replayed", json_boolean(again));
    }

    if (llm_admin_answer(c, 200, o) != LLM_OK) {

        /* both secrets are good; the same idempotency key gives it again */

        return LLM_ERROR;
    }

    if (!again) {
        llm_admin_event(c, "key_rotated",
                        json_pack("{s:s, s:s, s:o, s:o}", "key_id", k->id,
                                  "client", k->client, "expires",
                                  llm_admin_stamp(k->expires), "grace_until",
                                  llm_admin_stamp(until)));
    }

    return LLM_OK;
}


static int
llm_admin_grace(llm_admin_ctx_t *c, int64_t *grace)
{
    const char  *s;

    *grace = 86400;

    if (llm_admin_string(c, c->body, "grace", &s) != LLM_OK) {
        return LLM_ERROR;
    }

    if (s == NULL) {
        return LLM_OK;
    }

    if (strcmp(s, "0") == 0) {
        *grace = 0;
        return LLM_OK;
    }

    if (llm_admin_duration(s, grace) != LLM_OK || *grace > LLM_GRACE_MAX) {
        return llm_admin_fail(c, 400, "invalid_value", "grace",
                              "24h, 30m; at most 7d, or 0");
    }

    return LLM_OK;
}


static int
llm_admin_idem(llm_admin_ctx_t *c)
{
    size_t       n;
    const char  *p;

    if (c->call->idem == NULL) {
        return LLM_OK;
    }

    n = 0;

    for (p = c->call->idem; *p >= ' ' && *p < 0x7f; p++) {
        n++;
    }

    if (*p != '\0' || n == 0 || n > LLM_ADMIN_IDEM_MAX) {
        return llm_admin_fail(c, 400, "invalid_value", "Idempotency-Key",
                              "1 to %d printable ASCII characters",
                              LLM_ADMIN_IDEM_MAX);
    }

    return LLM_OK;
}


int
llm_admin_keys_revoke(llm_admin_ctx_t *c)
{
    int        rc, was, unsure;
    json_t    *o;
    llm_key_t  k;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->body, none) != LLM_OK
        || llm_admin_get(c, c->name, &k) != LLM_OK)
    {
        return LLM_ERROR;
    }

    rc = llm_admin_factor(c, 1);

    if (rc == LLM_ERROR) {
        return LLM_ERROR;
    }

    unsure = (rc == LLM_AGAIN);
    was = (k.revoked != 0);

    rc = llm_key_revoke(c->a->store, k.id, &k, c->err, sizeof(c->err));

    if (rc != LLM_OK) {
        return llm_admin_fail_key(c, rc, c->name);
    }

    if (!was) {
        llm_admin_event(c, "key_revoked",
                        json_pack("{s:s, s:s}", "key_id", k.id, "client",
                                  k.client));
    }

    o = llm_admin_record(c, &k, NULL);

    if (o != NULL && unsure) {
        (void) json_object_set_new(o, "note",
            json_string("The store could not record the code: "
                        "it was not checked."));
    }

    return llm_admin_answer(c, 200, o);
}
