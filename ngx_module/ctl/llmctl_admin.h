
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: what the commands on a store share: its handles, one call of the
 * administration (llm_admin.h), and its answers.  The caller of a command has
 * one llmctl_admin_t on its stack.
 */


#ifndef _LLMCTL_ADMIN_H_INCLUDED_
#define _LLMCTL_ADMIN_H_INCLUDED_


#include <sys/types.h>

#include "../store/llm_admin.h"
#include "llmctl.h"


/* how the secret is opened */
#define LLMCTL_SECRET_NONE   0      /* not */
#define LLMCTL_SECRET_TRY    1      /* for a second factor, if there is one */
#define LLMCTL_SECRET_NEED   2


typedef struct {
    const char     *cmd;            /* "key create", for messages */

    /* options */
    const char     *store;
    const char     *source;         /* of the secret */
    const char     *totp;
    const char     *as;
    const char     *idem;
    int             json;
    int             break_glass;

    int             bare;           /* the trail alone is needed: without
                                       calls, and the keys' store may be
                                       missing */
    int             root;           /* root is the owner for now only: what the
                                       owner may not do is done as root */
    uid_t           owner;

    llm_store_t    *st;
    llm_calls_t    *calls;
    llm_secret_t   *secret;
    llm_audit_t    *audit;          /* llmctl_trail_open() */
    llm_admin_t     admin;
    char            actor[LLM_ACTOR_MAX];
    char            code[64];
    char            secret_err[LLM_ERRLEN];
} llmctl_admin_t;


#define LLMCTL_STORE_OPTS(x)                                                  \
    { "store", &(x)->store, NULL },                                           \
    { "secret", &(x)->source, NULL },                                         \
    { "json", NULL, &(x)->json }

#define LLMCTL_CODE_OPTS(x)                                                   \
    { "totp", &(x)->totp, NULL },                                             \
    { "as", &(x)->as, NULL }


void llmctl_admin_init(llmctl_admin_t *x, const char *cmd);

/* the secret as root, then the store as its owner.  An exit code, after a
 * message; then nothing is open */
int llmctl_admin_open(llmctl_admin_t *x, int secret);
void llmctl_admin_close(llmctl_admin_t *x);

/*
 * One call; steals args and body (NULL: none).  On a terminal it asks for the
 * code that is missing.  The exit code, after a message where it is not 0;
 * llm_admin_done(reply) in any case.
 */
int llmctl_admin_call(llmctl_admin_t *x, const char *method,
    const char *path, json_t *args, json_t *body, llm_admin_reply_t *reply);

/*
 * llmctl_trail.c: the audit trail, opened when it is first needed; after
 * llmctl_admin_open().  open: a LLM_* code, err says why; without write it is
 * read as it is, and none is made.
 */
int llmctl_trail_open(llmctl_admin_t *x, int write, char *err,
    size_t errlen);

/* the version of the secret that it goes by; 0: there is no secret */
uint32_t llmctl_trail_version(llmctl_admin_t *x);

typedef struct {
    int       on;                   /* an opening record is there */
    uint64_t  number;
    int64_t   began;                /* unix ms */
    char      request[33];
} llmctl_trail_t;

/* the record before a change and the one after it.  before: a LLM_* code, err
 * says why; after warns */
int llmctl_trail_before(llmctl_admin_t *x, const char *method,
    const char *path, llmctl_trail_t *t, char *err, size_t errlen);
void llmctl_trail_after(llmctl_admin_t *x, llmctl_trail_t *t, int status,
    const char *code);

/* 1: such a change is made also where the trail can't be written */
int llmctl_trail_urgent(const char *path);

/* as root again, where llmctl was; then as the owner again */
int llmctl_admin_raise(llmctl_admin_t *x, char *err, size_t errlen);
void llmctl_admin_lower(llmctl_admin_t *x);

/* "keys/ID/verb" into path; verb may be NULL.  An exit code, after a message:
 * no id, or a key in its place */
int llmctl_admin_path(llmctl_admin_t *x, const char *what, const char *id,
    const char *verb, char *path, size_t size);

/* a member of a body or query from an option; NULL does nothing.  An exit
 * code, after a message */
int llmctl_admin_put(llmctl_admin_t *x, json_t *o, const char *name,
    const char *value);

/* the answer as JSON */
int llmctl_admin_json(json_t *json);

/* one line of standard input, without its end; LLMCTL_USAGE after a message */
int llmctl_admin_line(const char *cmd, const char *what, char *buf,
    size_t size);

/* asks on the terminal, without echo */
int llmctl_admin_ask(const char *prompt, char *buf, size_t size);

/* a text member, or "-"; null too */
const char *llmctl_text(json_t *o, const char *name);


#endif /* _LLMCTL_ADMIN_H_INCLUDED_ */
