
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: its changes in the audit trail.  A record before a change, durable
 * before the change is made, and one after it with what came of it; what the
 * change was given (bodies, codes) is in neither.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "llmctl_admin.h"


static int llmctl_trail_put(llmctl_admin_t *x, const llm_audit_open_t *o,
    const llm_audit_close_t *c, uint64_t *number, char *err, size_t errlen);
static int llmctl_trail_request(char *request, int64_t now, char *err,
    size_t errlen);
static int64_t llmctl_trail_ms(clockid_t id);
static llm_audit_text_t llmctl_trail_text(const char *s);


int
llmctl_trail_open(llmctl_admin_t *x, int write, char *err, size_t errlen)
{
    int  rc;

    if (x->audit != NULL) {
        return LLM_OK;
    }

    rc = write ? llm_audit_open(&x->audit, x->store, x->secret,
                                llmctl_trail_version(x), err, errlen)
               : llm_audit_open_read(&x->audit, x->store, x->secret, err,
                                     errlen);

    if (rc != LLM_OK) {
        x->audit = NULL;
        return rc;
    }

    x->admin.audit = x->audit;

    return LLM_OK;
}


uint32_t
llmctl_trail_version(llmctl_admin_t *x)
{
    size_t    n;
    uint32_t  version, all[LLM_SECRET_VERSIONS];

    version = 0;

    if (x->st != NULL
        && llm_store_version(x->st, &version, NULL, 0) == LLM_OK
        && version != 0)
    {
        return version;
    }

    /* a store without a key is bound to no version yet: the first key will be
     * made with the newest */

    n = x->secret != NULL ? llm_secret_versions(x->secret, all) : 0;

    return n != 0 ? all[n - 1] : 0;
}


int
llmctl_trail_before(llmctl_admin_t *x, const char *method, const char *path,
    llmctl_trail_t *t, char *err, size_t errlen)
{
    int               rc;
    char              agent[128], where[256];
    llm_audit_open_t  o;

    memset(t, 0, sizeof(llmctl_trail_t));

    if (x->secret == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s", x->secret_err[0] != '\0'
                       ? x->secret_err : "it needs the secret");
    }

    rc = llm_store_verify(x->st, x->secret, err, errlen);

    if (rc == LLM_OK) {
        rc = llmctl_trail_open(x, 1, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    t->began = llmctl_trail_ms(CLOCK_REALTIME);

    rc = llmctl_trail_request(t->request, t->began, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    (void) snprintf(where, sizeof(where), "/admin/%s", path);
    (void) snprintf(agent, sizeof(agent), "llmctl/%s %s (%s)", LLMCTL_VERSION,
                    method, x->cmd);

    memset(&o, 0, sizeof(o));
    memcpy(o.request, t->request, sizeof(o.request));
    o.wall = t->began;
    o.mono = llmctl_trail_ms(CLOCK_BOOTTIME);
    o.client = llmctl_trail_text(x->actor);
    o.method = llmctl_trail_text("LLMCTL");
    o.path = llmctl_trail_text(where);
    o.agent = llmctl_trail_text(agent);
    o.act = 1;

    rc = llmctl_trail_put(x, &o, NULL, &t->number, err, errlen);
    t->on = (rc == LLM_OK);

    return rc;
}


void
llmctl_trail_after(llmctl_admin_t *x, llmctl_trail_t *t, int status,
    const char *code)
{
    char               err[LLM_ERRLEN];
    int64_t            now;
    llm_audit_close_t  c;

    if (x->audit == NULL || t->request[0] == '\0') {
        return;
    }

    now = llmctl_trail_ms(CLOCK_REALTIME);

    memset(&c, 0, sizeof(c));
    memcpy(c.request, t->request, sizeof(c.request));
    c.number = t->number;
    c.wall = now;
    c.mono = llmctl_trail_ms(CLOCK_BOOTTIME);
    c.status = (uint32_t) status;
    c.total_us = now > t->began ? (uint64_t) (now - t->began) * 1000 : 0;
    c.code = code != NULL && *code != '\0' ? code : NULL;

    if (llmctl_trail_put(x, NULL, &c, NULL, err, sizeof(err)) != LLM_OK
        && t->on)
    {
        (void) llmctl_error(0, "%s: the audit trail has its beginning, not "
                            "its end: %s", x->cmd, err);
    }

    t->on = 0;
}


int
llmctl_trail_urgent(const char *path)
{
    const char  *verb;

    verb = strrchr(path, '/');

    return strncmp(path, "keys/", 5) == 0
           && (strcmp(verb, "/revoke") == 0 || strcmp(verb, "/leak") == 0);
}


static int
llmctl_trail_put(llmctl_admin_t *x, const llm_audit_open_t *o,
    const llm_audit_close_t *c, uint64_t *number, char *err, size_t errlen)
{
    int  rc;

    rc = llm_audit_begin(x->audit, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = o != NULL ? llm_audit_put_open(x->audit, o, number, err, errlen)
                   : llm_audit_put_close(x->audit, c, err, errlen);

    if (rc != LLM_OK) {
        llm_audit_abort(x->audit);
        return rc;
    }

    return llm_audit_commit(x->audit, err, errlen);
}


/* the time, then what nobody guesses */

static int
llmctl_trail_request(char *request, int64_t now, char *err, size_t errlen)
{
    size_t   i;
    uint8_t  random[10];

    if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random)) {
        return llm_err(err, errlen, LLM_ERROR, "no random numbers");
    }

    (void) snprintf(request, 13, "%012llx",
                    (unsigned long long) now & 0xffffffffffffULL);

    for (i = 0; i < sizeof(random); i++) {
        (void) snprintf(request + 12 + 2 * i, 3, "%02x", random[i]);
    }

    return LLM_OK;
}


static int64_t
llmctl_trail_ms(clockid_t id)
{
    struct timespec  ts;

    if (clock_gettime(id, &ts) == -1) {
        return 0;
    }

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static llm_audit_text_t
llmctl_trail_text(const char *s)
{
    llm_audit_text_t  t;

    t.data = s;
    t.len = strlen(s);

    return t;
}
