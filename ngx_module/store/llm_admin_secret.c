
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration of the secret's versions.  A new one makes no key before
 * the store is bound to it, which nginx does at its start or reload, when all
 * its workers can have it; an old one goes when no valid key needs it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include "llm_admin_int.h"


#define LLM_ADMIN_VERSIONS  10000       /* llm_secret.h has less */
#define LLM_ADMIN_COUNTED   63          /* keys of versions up to this one */


/* what is open and what the store knows */
typedef struct {
    size_t    n;
    uint32_t  open[LLM_SECRET_VERSIONS];
    uint32_t  current;                  /* 0: the store is not bound */
} llm_admin_versions_t;


static int llm_admin_versions(llm_admin_ctx_t *c, llm_admin_versions_t *v);
static int llm_admin_versions_local(llm_admin_ctx_t *c);
static int llm_admin_versions_list(llm_admin_ctx_t *c,
    const llm_admin_versions_t *v, const size_t *keys);
static int llm_admin_trail(llm_admin_ctx_t *c, uint32_t current,
    uint32_t version);
static int llm_admin_forget(llm_admin_ctx_t *c, uint32_t version,
    size_t *codes);
static int llm_admin_version_arg(llm_admin_ctx_t *c, uint32_t *version);


int
llm_admin_secret_show(llm_admin_ctx_t *c)
{
    int                    rc;
    size_t                 keys[LLM_ADMIN_COUNTED + 1];
    llm_admin_versions_t   v;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK
        || llm_admin_versions(c, &v) != LLM_OK)
    {
        return LLM_ERROR;
    }

    memset(keys, 0, sizeof(keys));
    rc = llm_store_versions(c->a->store, c->now, keys, LLM_ADMIN_COUNTED,
                            c->err, sizeof(c->err));

    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "secret");
    }

    return llm_admin_versions_list(c, &v, keys);
}


/* versions that are open, or needed */

static int
llm_admin_versions_list(llm_admin_ctx_t *c, const llm_admin_versions_t *v,
    const size_t *keys)
{
    int        open;
    size_t     i;
    json_t    *data;
    uint32_t   n;

    data = json_array();

    for (n = 1; n < LLM_ADMIN_VERSIONS; n++) {
        open = 0;

        for (i = 0; i < v->n; i++) {
            open |= (v->open[i] == n);
        }

        if (!open && n != v->current
            && (n > LLM_ADMIN_COUNTED || keys[n] == 0))
        {
            continue;
        }

        (void) json_array_append_new(data,
            json_pack("{s:I, s:b, s:b, s:b, s:o}", "version", (json_int_t) n,
                      "current", n == v->current, "pending", n > v->current,
                      "open", open, "keys",
                      n <= LLM_ADMIN_COUNTED
                      ? json_integer((json_int_t) keys[n])
                             : json_null()));
    }

    return llm_admin_answer(c, 200, llm_admin_list(data, 0, NULL));
}


static int
llm_admin_versions(llm_admin_ctx_t *c, llm_admin_versions_t *v)
{
    int  rc;

    memset(v, 0, sizeof(llm_admin_versions_t));

    if (llm_admin_secret(c) != LLM_OK) {
        return LLM_ERROR;
    }

    rc = llm_store_verify(c->a->store, c->a->secret, c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        rc = llm_store_version(c->a->store, &v->current, c->err,
                               sizeof(c->err));
    }

    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "secret");
    }

    v->n = llm_secret_versions(c->a->secret, v->open);

    return LLM_OK;
}


static int
llm_admin_versions_local(llm_admin_ctx_t *c)
{
    if (c->call->key == NULL && c->a->secret_add != NULL
        && c->a->secret_remove != NULL)
    {
        return LLM_OK;
    }

    return llm_admin_fail(c, 403, "llmctl_required", NULL,
                          "The secret's versions are changed on the host, by "
                          "llmctl.");
}


int
llm_admin_secret_rotate(llm_admin_ctx_t *c)
{
    int                    rc;
    char                   text[32];
    uint32_t               last;
    llm_admin_versions_t   v;

    static const char *const  none[] = { NULL };

    if (llm_admin_versions_local(c) != LLM_OK
        || llm_admin_known(c, c->body, none) != LLM_OK
        || llm_admin_versions(c, &v) != LLM_OK)
    {
        return LLM_ERROR;
    }

    last = v.n != 0 ? v.open[v.n - 1] : 0;

    if (v.current == 0) {
        return llm_admin_fail(c, 409, "version_pending", NULL,
                              "The store is not bound to its first version "
                              "yet: start nginx, or create a key.");
    }

    if (last > v.current) {
        return llm_admin_fail(c, 409, "version_pending", NULL,
                              "Version %u is there and not active yet: "
                              "reload nginx.", last);
    }

    if (v.n == LLM_SECRET_VERSIONS) {
        return llm_admin_fail(c, 409, "too_many_versions", NULL,
                              "There are %d versions: retire one first.",
                              LLM_SECRET_VERSIONS);
    }

    if (llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    rc = c->a->secret_add(c->a->data, v.current + 1, c->err, sizeof(c->err));

    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "secret");
    }

    (void) snprintf(text, sizeof(text), "version %u", v.current + 1);
    (void) llm_store_note(c->a->store, "secret.rotate", "secret", text, NULL,
                          0);

    return llm_admin_answer(c, 201,
                            json_pack("{s:I, s:b}", "version",
                                      (json_int_t) v.current + 1, "current",
                                      0));
}


/*
 * What is sealed under it is sealed anew; then the store forgets it, so that no
 * look-up needs it, and it goes.  A retirement that was cut in between is
 * finished by the same call.
 */

int
llm_admin_secret_retire(llm_admin_ctx_t *c)
{
    int                    rc;
    size_t                 i;
    size_t                 codes;
    json_t                *o;
    uint32_t               version;
    llm_admin_versions_t   v;

    version = 0;
    codes = 0;

    if (llm_admin_versions_local(c) != LLM_OK
        || llm_admin_version_arg(c, &version) != LLM_OK
        || llm_admin_versions(c, &v) != LLM_OK)
    {
        return LLM_ERROR;
    }

    for (i = 0; i < v.n && v.open[i] != version; i++) {
        /* void */
    }

    if (i == v.n) {
        return llm_admin_fail(c, 404, "version_not_found", "version",
                              "There is no such version.");
    }

    if (version >= v.current) {
        return llm_admin_fail(c, 409, "version_in_use", "version",
                              version == v.current
                              ? "It is the current version: rotate first."
                              : "It is not active yet: reload nginx.");
    }

    if (llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    if (llm_admin_trail(c, v.current, version) != LLM_OK
        || llm_admin_forget(c, version, &codes) != LLM_OK)
    {
        return LLM_ERROR;
    }

    rc = c->a->secret_remove(c->a->data, version, c->err, sizeof(c->err));

    o = json_pack("{s:I, s:b, s:I}", "version", (json_int_t) version,
                  "removed", rc == LLM_OK, "recovery_codes_lost",
                  (json_int_t) codes);

    if (o != NULL && rc != LLM_OK) {
        (void) json_object_set_new(o, "note", llm_admin_text(c->err));
    }

    return llm_admin_answer(c, 200, o);
}


/* without its keys the audit trail could be neither searched nor proven */

static int
llm_admin_trail(llm_admin_ctx_t *c, uint32_t current, uint32_t version)
{
    int  rc;

    if (c->a->audit != NULL) {
        rc = llm_audit_sealed(c->a->audit, version, c->err, sizeof(c->err));

    } else {
        rc = llm_audit_retire(llm_store_path(c->a->store), c->a->secret,
                              current, version, c->err, sizeof(c->err));
    }

    if (rc == LLM_EXISTS) {
        return llm_admin_fail(c, 409, "version_in_use", "version",
                              "Keys of the audit trail are sealed under it.");
    }

    return rc == LLM_OK ? LLM_OK : llm_admin_fail_rc(c, rc, "audit trail");
}


/* codes: second factors whose recovery codes go with it */

static int
llm_admin_forget(llm_admin_ctx_t *c, uint32_t version, size_t *codes)
{
    int     rc;
    size_t  n, needed[LLM_ADMIN_COUNTED + 1];

    memset(needed, 0, sizeof(needed));

    rc = llm_totp_reseal(c->a->store, c->a->secret, &n, c->err,
                         sizeof(c->err));

    if (rc == LLM_OK) {
        rc = llm_totp_versions(c->a->store, needed, LLM_ADMIN_COUNTED, c->err,
                               sizeof(c->err));
    }

    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "second factors");
    }

    *codes = version <= LLM_ADMIN_COUNTED ? needed[version] : 0;

    rc = llm_store_retire(c->a->store, version, c->now, c->err,
                          sizeof(c->err));

    if (rc == LLM_EXISTS) {
        return llm_admin_fail(c, 409, "version_in_use", "version",
                              "Keys that are valid were made with it: rotate "
                              "or revoke them first.");
    }

    return rc == LLM_OK || rc == LLM_NOTFOUND
           ? LLM_OK : llm_admin_fail_rc(c, rc, "secret");
}


static int
llm_admin_version_arg(llm_admin_ctx_t *c, uint32_t *version)
{
    json_t      *v;
    json_int_t   n;

    static const char *const  names[] = { "version", NULL };

    if (llm_admin_known(c, c->body, names) != LLM_OK) {
        return LLM_ERROR;
    }

    v = json_object_get(c->body, "version");

    if (v == NULL || !json_is_integer(v)) {
        return llm_admin_fail(c, 400, v == NULL ? "missing_field"
                                                : "invalid_type",
                              "version", "a version's number is needed");
    }

    n = json_integer_value(v);

    if (n < 1 || n >= LLM_ADMIN_VERSIONS) {
        return llm_admin_fail(c, 400, "invalid_value", "version",
                              "from 1 to %d", LLM_ADMIN_VERSIONS - 1);
    }

    *version = (uint32_t) n;

    return LLM_OK;
}
