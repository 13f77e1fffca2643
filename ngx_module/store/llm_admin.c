
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration: the table of calls, who may make them, and refusals.
 * State is the caller's; any number of threads, each with its own handles.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_admin_int.h"


typedef struct {
    const char  *method;
    const char  *path;              /* "*": a name, into c->name */
    llm_role_e   role;              /* at least */
    unsigned     body:1;            /* it may have a body; else refused */
    int        (*handler)(llm_admin_ctx_t *c);
} llm_admin_route_t;


static const llm_admin_route_t *llm_admin_route(llm_admin_ctx_t *c);
static int llm_admin_match(const char *pattern, const char *path, char *name);
static int llm_admin_caller(llm_admin_ctx_t *c);
static int llm_admin_allowed(llm_admin_ctx_t *c, const llm_admin_route_t *r);
static int llm_admin_objects(llm_admin_ctx_t *c, const llm_admin_route_t *r,
    json_t *empty);
static void llm_admin_wipe(json_t *json);
static const char *llm_admin_full(const char *err);


static const llm_admin_route_t  llm_admin_routes[] = {
    { "GET", "self", LLM_ROLE_USER, 0, llm_admin_self },
    { "GET", "status", LLM_ROLE_USER, 0, llm_admin_status },
    { "GET", "params", LLM_ROLE_OPERATOR, 0, llm_admin_params_list },
    { "PATCH", "params", LLM_ROLE_OPERATOR, 1, llm_admin_params_set },
    { "GET", "params/*", LLM_ROLE_OPERATOR, 0, llm_admin_params_show },
    { "PATCH", "params/*", LLM_ROLE_OPERATOR, 1, llm_admin_params_set },
    { "GET", "changes", LLM_ROLE_ADMIN, 0, llm_admin_changes },
    { "GET", "audit", LLM_ROLE_ADMIN, 0, llm_admin_audit_list },
    { "POST", "audit/lookup", LLM_ROLE_ADMIN, 1, llm_admin_audit_lookup },
    { "GET", "audit/*", LLM_ROLE_ADMIN, 0, llm_admin_audit_show },
    { "GET", "keys", LLM_ROLE_ADMIN, 0, llm_admin_keys_list },
    { "POST", "keys", LLM_ROLE_ADMIN, 1, llm_admin_keys_create },
    { "GET", "keys/*", LLM_ROLE_ADMIN, 0, llm_admin_keys_show },
    { "PATCH", "keys/*", LLM_ROLE_ADMIN, 1, llm_admin_keys_update },
    { "POST", "keys/*/rotate", LLM_ROLE_ADMIN, 1, llm_admin_keys_rotate },
    { "POST", "keys/*/revoke", LLM_ROLE_ADMIN, 1, llm_admin_keys_revoke },
    { "POST", "keys/*/leak", LLM_ROLE_ADMIN, 1, llm_admin_keys_leak },
    { "GET", "totp", LLM_ROLE_USER, 0, llm_admin_totp_show },
    { "POST", "totp", LLM_ROLE_USER, 1, llm_admin_totp_enrol },
    { "DELETE", "totp", LLM_ROLE_USER, 1, llm_admin_totp_remove },
    { "POST", "totp/confirm", LLM_ROLE_USER, 1, llm_admin_totp_confirm },
    { "POST", "totp/recovery", LLM_ROLE_USER, 1, llm_admin_totp_recovery },
    { "GET", "totp/*", LLM_ROLE_USER, 0, llm_admin_totp_show },
    { "DELETE", "totp/*", LLM_ROLE_USER, 1, llm_admin_totp_remove },
    { "GET", "secret", LLM_ROLE_ADMIN, 0, llm_admin_secret_show },
    { "POST", "secret/rotate", LLM_ROLE_ADMIN, 1, llm_admin_secret_rotate },
    { "POST", "secret/retire", LLM_ROLE_ADMIN, 1, llm_admin_secret_retire },
    { NULL, NULL, LLM_ROLE_NONE, 0, NULL }
};


void
llm_admin(const llm_admin_t *a, const llm_admin_call_t *call,
    llm_admin_reply_t *reply)
{
    json_t                   *empty;
    llm_admin_ctx_t           c;
    const llm_admin_route_t  *r;

    memset(reply, 0, sizeof(llm_admin_reply_t));
    memset(&c, 0, sizeof(llm_admin_ctx_t));

    c.a = a;
    c.call = call;
    c.reply = reply;
    c.now = call->now / 1000;

    empty = json_object();

    if (empty == NULL) {
        (void) llm_admin_fail_rc(&c, LLM_NOMEM, "administration");
        return;
    }

    r = llm_admin_route(&c);

    if (r != NULL
        && llm_admin_caller(&c) == LLM_OK
        && llm_admin_allowed(&c, r) == LLM_OK
        && llm_admin_objects(&c, r, empty) == LLM_OK)
    {
        llm_store_actor(a->store, c.actor);

        if (r->handler(&c) != LLM_OK) {
            llm_admin_wipe(reply->body);
            json_decref(reply->body);
            reply->body = NULL;
        }
    }

    json_decref(empty);
    OPENSSL_cleanse(&c, sizeof(llm_admin_ctx_t));
}


void
llm_admin_done(llm_admin_reply_t *reply)
{
    llm_admin_wipe(reply->body);
    json_decref(reply->body);
    reply->body = NULL;
}


/* names of fixed paths come before those of "*" in the table: "totp/confirm"
 * is no id */

static const llm_admin_route_t *
llm_admin_route(llm_admin_ctx_t *c)
{
    int                       known;
    const llm_admin_route_t  *r;

    known = 0;

    for (r = llm_admin_routes; r->method != NULL; r++) {

        if (!llm_admin_match(r->path, c->call->path, c->name)) {
            continue;
        }

        if (strcmp(r->method, c->call->method) == 0) {
            return r;
        }

        known = 1;
    }

    if (known) {
        (void) llm_admin_fail(c, 405, "method_not_allowed", NULL,
                              "Not a method of this resource.");
    } else {
        (void) llm_admin_fail(c, 404, "unknown_url", NULL,
                              "No such resource under this location.");
    }

    return NULL;
}


static int
llm_admin_match(const char *pattern, const char *path, char *name)
{
    size_t       n;
    const char  *star;

    name[0] = '\0';
    star = strchr(pattern, '*');

    if (star == NULL) {
        return strcmp(pattern, path) == 0;
    }

    n = (size_t) (star - pattern);

    if (strncmp(pattern, path, n) != 0) {
        return 0;
    }

    path += n;
    n = strcspn(path, "/");

    if (n == 0 || n >= LLM_ADMIN_NAME || strcmp(star + 1, path + n) != 0) {
        return 0;
    }

    memcpy(name, path, n);
    name[n] = '\0';

    return 1;
}


/*
 * Who it is, now: the call may have waited for its thread, and the key may
 * have been revoked, rotated out, or lowered meanwhile.
 */

static int
llm_admin_caller(llm_admin_ctx_t *c)
{
    int        rc;
    llm_key_t  k;

    rc = llm_store_max_age(c->a->store, &c->max_age, c->err, sizeof(c->err));
    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "store");
    }

    if (c->call->key == NULL) {
        c->role = LLM_ROLE_ADMIN;
        (void) snprintf(c->actor, sizeof(c->actor), "%s",
                        c->call->actor != NULL ? c->call->actor : "llmctl");
        return LLM_OK;
    }

    rc = llm_key_again(c->a->store, c->call->key->tag, &k, c->err,
                       sizeof(c->err));

    if (rc != LLM_OK && rc != LLM_NOTFOUND) {
        return llm_admin_fail_rc(c, rc, "store");
    }

    if (rc != LLM_OK
        || strcmp(k.id, c->call->key->id) != 0
        || llm_key_state(&k, c->now, c->max_age) != LLM_KEY_GOOD)
    {
        return llm_admin_fail(c, 401, "key_revoked", NULL,
                              "The API key is not valid any more.");
    }

    c->role = k.role;
    (void) snprintf(c->actor, sizeof(c->actor), "%s", k.id);

    return LLM_OK;
}


static int
llm_admin_allowed(llm_admin_ctx_t *c, const llm_admin_route_t *r)
{
    if (c->role >= r->role) {
        return LLM_OK;
    }

    return llm_admin_fail(c, 403, "role_required", NULL,
                          "This needs a key of role %s%s.",
                          llm_role_name(r->role),
                          r->role == LLM_ROLE_ADMIN ? "" : " or above");
}


static int
llm_admin_objects(llm_admin_ctx_t *c, const llm_admin_route_t *r,
    json_t *empty)
{
    json_t  *body;

    c->args = c->call->args != NULL ? c->call->args : empty;
    body = c->call->body;

    if (body != NULL && !r->body) {
        return llm_admin_fail(c, 400, "body_not_allowed", NULL,
                              "This call takes no body.");
    }

    if (body != NULL && !json_is_object(body)) {
        return llm_admin_fail(c, 400, "invalid_type", NULL,
                              "The body must be a JSON object.");
    }

    c->body = body != NULL ? body : empty;

    if (!json_is_object(c->args)) {
        return llm_admin_fail(c, 400, "invalid_type", NULL,
                              "The query must be names and values.");
    }

    if (json_object_size(c->args) != 0 && strcmp(r->method, "GET") != 0) {
        return llm_admin_fail(c, 400, "unknown_field",
                              json_object_iter_key(json_object_iter(c->args)),
                              "This call takes no query.");
    }

    return LLM_OK;
}


int
llm_admin_fail(llm_admin_ctx_t *c, int status, const char *code,
    const char *param, const char *fmt, ...)
{
    va_list             args;
    llm_admin_reply_t  *reply = c->reply;

    reply->status = status;
    (void) snprintf(reply->code, sizeof(reply->code), "%s", code);
    (void) snprintf(reply->param, sizeof(reply->param), "%s",
                    param != NULL ? param : "");

    va_start(args, fmt);
    (void) vsnprintf(reply->message, sizeof(reply->message), fmt, args);
    va_end(args);

    return LLM_ERROR;
}


/* "FILE: write: the store is full, ..." without the file */

static const char *
llm_admin_full(const char *err)
{
    const char  *p;

    p = strstr(err, "the store is full");

    return p != NULL ? p : "no space is left on the store's disk";
}


/*
 * A store's message names files: it is for the log and for llmctl, not for a
 * client.  LLM_INVALID is a damaged store or another secret's: what clients
 * send was judged before.
 */

int
llm_admin_fail_rc(llm_admin_ctx_t *c, int rc, const char *what)
{
    const char  *detail;

    detail = c->err[0] != '\0' ? c->err : "no memory";
    (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s", detail);

    if (c->call->key != NULL) {
        detail = rc == LLM_NOMEM ? "no memory" : "see the error log";
    }

    switch (rc) {

    case LLM_NOTFOUND:
        return llm_admin_fail(c, 404, "not_found", NULL, "%s: %s", what,
                              detail);
    case LLM_EXISTS:
        return llm_admin_fail(c, 409, "conflict", NULL, "%s: %s", what,
                              detail);
    case LLM_NOMEM:
        return llm_admin_fail(c, 503, "no_memory", NULL, "%s: %s", what,
                              detail);
    case LLM_AWAY:
        return llm_admin_fail(c, 503, "secret_unavailable", NULL, "%s: %s",
                              what, c->call->key != NULL
                              ? "the token that holds the secret does not "
                                "answer, see the error log" : detail);
    case LLM_FULL:
        return llm_admin_fail(c, 507, "store_full", NULL, "%s: %s", what,
                              c->call->key != NULL ? llm_admin_full(c->err)
                                                   : detail);
    default:
        return llm_admin_fail(c, 503, "store_unavailable", NULL, "%s: %s",
                              what, detail);
    }
}


int
llm_admin_answer(llm_admin_ctx_t *c, int status, json_t *body)
{
    if (body == NULL) {
        c->err[0] = '\0';
        return llm_admin_fail_rc(c, LLM_NOMEM, "answer");
    }

    c->reply->status = status;
    c->reply->body = body;

    return LLM_OK;
}


/* jansson frees texts as they are: a key's is overwritten before */

static void
llm_admin_wipe(json_t *json)
{
    size_t       i;
    json_t      *v;
    const char  *name;

    if (json == NULL) {
        return;
    }

    switch (json_typeof(json)) {

    case JSON_STRING:
        OPENSSL_cleanse((char *) json_string_value(json),
                        json_string_length(json));
        break;

    case JSON_ARRAY:
        json_array_foreach(json, i, v) {
            llm_admin_wipe(v);
        }

        break;

    case JSON_OBJECT:
        json_object_foreach(json, name, v) {
            llm_admin_wipe(v);
        }

        break;

    default:
        break;
    }
}
