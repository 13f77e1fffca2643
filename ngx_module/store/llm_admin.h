
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration of keys, parameters and the store: one call, from JSON to
 * JSON, behind both the HTTP API under llm_admin and llmctl.  Roles, second
 * factor, validation and the wording of errors are here, once.
 *
 *     GET    self                     any role: the caller's own key
 *     GET    status                   any role: engines, alerts: ?history=
 *     GET    params, params/ENGINE    operator
 *     PATCH  params, params/ENGINE    operator
 *     GET    changes                  admin: ?before= limit=
 *     GET    audit                    admin: ?key= client= address= status=
 *                                            model= path= request= since=
 *                                            until= before= limit= oldest=
 *                                            unfinished= actions=
 *     GET    audit/NUMBER             admin: a call; by its request id too
 *     POST   audit/lookup             admin: calls that a text is of
 *     GET    keys                     admin: ?client= role= status= expiring=
 *                                            after= limit=
 *     POST   keys                     admin, code: create
 *     GET    keys/ID                  admin
 *     PATCH  keys/ID                  admin, code: role, client, scopes, expiry
 *     POST   keys/ID/rotate           admin, code
 *     POST   keys/ID/revoke           admin, code
 *     POST   keys/ID/leak             admin, code
 *     GET    totp                     any role: the caller's second factor
 *     GET    totp/ID                  admin
 *     POST   totp                     any role: enrol; another's "id": admin,
 *                                     code
 *     POST   totp/confirm             any role; another's: admin
 *     POST   totp/recovery            any role, code; another's: admin
 *     DELETE totp, totp/ID            any role, code; another's: admin
 *     GET    secret                   admin: versions
 *     POST   secret/rotate, retire    llmctl only, code
 *
 * Where "code" stands, a caller whose key is enrolled gives one.  What llmctl
 * does is done by whoever can read the store, so it needs a code as soon as
 * one admin's key that is not revoked is enrolled, and takes any of these.  (A
 * user's enrolment asks nothing of llmctl: else any user could lock it.)  A
 * request is checked in full before its code is used up.
 *
 * When the store can't record that a code was used (it is full), revocations
 * go on all the same, and a leak revokes without making a successor: nobody
 * gains a key by filling the store.
 *
 * Blocks (commits, and a token's work): on a thread of its own.
 */


#ifndef _LLM_ADMIN_H_INCLUDED_
#define _LLM_ADMIN_H_INCLUDED_


#include <jansson.h>

#include "../audit/llm_audit.h"
#include "llm_calls.h"
#include "llm_quota.h"
#include "llm_secret.h"
#include "llm_store.h"
#include "llm_totp.h"


#define LLM_ADMIN_LIMIT    1000     /* of a list's items at a time */
#define LLM_ADMIN_HISTORY  360      /* points of GET status, at most */

/* how an answer becomes text: 0.6 stays "0.6" */
#define LLM_ADMIN_DUMP   (JSON_REAL_PRECISION(15))


/* what the calls of one caller share */
typedef struct {
    llm_store_t         *store;
    llm_calls_t         *calls;         /* NULL: could not be opened */
    const llm_secret_t  *secret;        /* NULL in llmctl: not needed, or
                                           could not be opened */
    llm_quota_t         *quota;         /* NULL in llmctl */
    llm_audit_t         *audit;         /* NULL: there is none, or it could
                                           not be opened; to read */
    int                  totp_required; /* also of keys that have none */

    const char *const   *engine;        /* names, n_engine of them; NULL: any */
    size_t               n_engine;

    /* GET status: what is known of engines, an object of its own (its texts
     * are overwritten in the end), with so many points of history; NULL in
     * llmctl */
    json_t            *(*status)(void *data, int history);

    /* a version of the secret made or removed, as llm_secret_add(); NULL but
     * in llmctl, which alone may write there */
    int                (*secret_add)(void *data, uint32_t version, char *err,
                             size_t errlen);
    int                (*secret_remove)(void *data, uint32_t version,
                             char *err, size_t errlen);
    void                *data;
} llm_admin_t;


typedef struct {
    const char       *method;           /* "GET", "POST", "PATCH", "DELETE" */
    const char       *path;             /* after the location: "keys/ID" */
    json_t           *args;             /* of the query: an object of strings,
                                           or NULL */
    json_t           *body;             /* NULL: none.  Not changed */
    const llm_key_t  *key;              /* who calls, as looked up; judged
                                           again.  NULL: llmctl */
    const char       *actor;            /* "llmctl:USER"; NULL: the key's id */
    const char       *as;               /* llmctl: whose code totp is, or NULL:
                                           of the one admin who has one */
    int               break_glass;      /* llmctl: DELETE totp/ID without a
                                           code; the secret must be open */
    const char       *totp;             /* a code, or NULL */
    const char       *idem;             /* Idempotency-Key, or NULL */
    int64_t           now;              /* unix ms */
} llm_admin_call_t;


typedef struct {
    int      status;                    /* HTTP */
    json_t  *body;                      /* status below 400: the answer */
    char     code[48];                  /* else: stable, for programs */
    char     param[64];                 /* the member it is about, or "" */
    char     message[LLM_ERRLEN];       /* for people */
    char     detail[LLM_ERRLEN];        /* for the log alone (paths), or "";
                                           also of what went on without it */
    int64_t  retry;                     /* seconds, 0: not said */
    int      notify;                    /* an event was queued */
    int      params;                    /* parameters changed */
} llm_admin_reply_t;


/* always sets reply, which llm_admin_done() frees */
void llm_admin(const llm_admin_t *a, const llm_admin_call_t *call,
    llm_admin_reply_t *reply);

/* wipes the body's texts (it may hold a new key) and frees it; what was made
 * of it is the caller's to wipe */
void llm_admin_done(llm_admin_reply_t *reply);

/* a key's record as JSON; usage and quotas when it has called.  now: unix ms.
 * A new reference, NULL: no memory */
json_t *llm_admin_key_json(const llm_admin_t *a, const llm_key_t *k,
    int64_t now, int64_t max_age);

/* "2027-01-31T12:00:00Z"; size 32 is enough */
char *llm_admin_time(char *buf, size_t size, int64_t t);


#endif /* _LLM_ADMIN_H_INCLUDED_ */
