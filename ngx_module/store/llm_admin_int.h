
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the administration share among themselves:
 *     llm_admin.c          the calls' table, roles, refusals
 *     llm_admin_json.c     members of bodies and queries; records as JSON
 *     llm_admin_keys.c     keys: list, show, create, update, rotate, revoke
 *     llm_admin_leak.c     the leak drill
 *     llm_admin_totp.c     the second factor
 *     llm_admin_params.c   engines' parameters, the change log
 *     llm_admin_secret.c   versions of the secret
 *     llm_admin_audit.c    the audit trail
 */


#ifndef _LLM_ADMIN_INT_H_INCLUDED_
#define _LLM_ADMIN_INT_H_INCLUDED_


#include "llm_admin.h"


#define LLM_ADMIN_NAME  128         /* longest id or engine's name in a path */


/* one call, on its caller's stack */
typedef struct {
    const llm_admin_t       *a;
    const llm_admin_call_t  *call;
    llm_admin_reply_t       *reply;
    json_t                  *body;          /* an object, empty if none;
                                               borrowed */
    json_t                  *args;          /* the same */
    char                     name[LLM_ADMIN_NAME];  /* in the path, or "" */
    char                     actor[LLM_ACTOR_MAX];
    llm_role_e               role;          /* the caller's, now */
    int64_t                  now;           /* unix seconds */
    int64_t                  max_age;       /* seconds; 0: none */
    char                     err[LLM_ERRLEN];
} llm_admin_ctx_t;


/* a refusal; returns LLM_ERROR, so that handlers can return it */
int llm_admin_fail(llm_admin_ctx_t *c, int status, const char *code,
    const char *param, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* of a store's or secret's return code and c->err */
int llm_admin_fail_rc(llm_admin_ctx_t *c, int rc, const char *what);

/* the answer; steals body.  NULL: no memory */
int llm_admin_answer(llm_admin_ctx_t *c, int status, json_t *body);


/* llm_admin_json.c */

/* unknown members are refused; names ends with NULL */
int llm_admin_known(llm_admin_ctx_t *c, json_t *o, const char *const *names);

/* *s is NULL without the member; LLM_ERROR after a refusal */
int llm_admin_string(llm_admin_ctx_t *c, json_t *o, const char *name,
    const char **s);
int llm_admin_role(llm_admin_ctx_t *c, json_t *o, llm_role_e *role);

/* a number of a query: *n stays without it */
int llm_admin_arg_number(llm_admin_ctx_t *c, const char *name, int64_t min,
    int64_t max, int64_t *n);

/* "90d", "12h", "30m", "60s", "8w"; LLM_INVALID */
int llm_admin_duration(const char *s, int64_t *seconds);

/* a duration from now, a day or a time in UTC; LLM_INVALID */
int llm_admin_when(const char *s, int64_t now, int64_t *when);

/* text from outside: what is no UTF-8 becomes "?" */
json_t *llm_admin_text(const char *s);

json_t *llm_admin_stamp(int64_t t);         /* ISO 8601, null for 0 */
json_t *llm_admin_stamp_ms(int64_t t);

/* {"object":"list","data":data,"has_more":..,"next":..}; steals both, next:
 * NULL is null */
json_t *llm_admin_list(json_t *data, int more, json_t *next);

json_t *llm_admin_scopes_json(const llm_key_t *k);
json_t *llm_admin_usage_json(const llm_admin_t *a, const llm_key_t *k,
    int64_t now);
const char *llm_admin_status_name(const llm_key_t *k, int64_t now,
    int64_t max_age);

/* queues {"event": name, "time", "actor", ...}; steals more.  What fails is
 * said in the reply's detail: an event stops no change */
void llm_admin_event(llm_admin_ctx_t *c, const char *name, json_t *more);


/* llm_admin_totp.c */

/* the caller's second factor, where it is needed.  soft: when it can't be
 * checked because the store can't write, it is LLM_AGAIN, nothing said */
int llm_admin_factor(llm_admin_ctx_t *c, int soft);

int llm_admin_totp_show(llm_admin_ctx_t *c);
int llm_admin_totp_enrol(llm_admin_ctx_t *c);
int llm_admin_totp_confirm(llm_admin_ctx_t *c);
int llm_admin_totp_recovery(llm_admin_ctx_t *c);
int llm_admin_totp_remove(llm_admin_ctx_t *c);


/* llm_admin_keys.c */

/* the key that the path names; LLM_ERROR after a refusal */
int llm_admin_get(llm_admin_ctx_t *c, const char *id, llm_key_t *k);

/* of a key's change that the store refused */
int llm_admin_fail_key(llm_admin_ctx_t *c, int rc, const char *id);

/* 503 without the secret */
int llm_admin_secret(llm_admin_ctx_t *c);

/* "expires" of a body that is not null: 0 without it */
int llm_admin_expires(llm_admin_ctx_t *c, int64_t issued, int64_t *expires);

/* a key's record; key: NULL, or its text, "key" in the answer */
json_t *llm_admin_record(llm_admin_ctx_t *c, const llm_key_t *k,
    const char *key);

int llm_admin_self(llm_admin_ctx_t *c);
int llm_admin_keys_list(llm_admin_ctx_t *c);
int llm_admin_keys_show(llm_admin_ctx_t *c);
int llm_admin_keys_create(llm_admin_ctx_t *c);
int llm_admin_keys_update(llm_admin_ctx_t *c);
int llm_admin_keys_rotate(llm_admin_ctx_t *c);
int llm_admin_keys_revoke(llm_admin_ctx_t *c);

/* llm_admin_leak.c */
int llm_admin_keys_leak(llm_admin_ctx_t *c);

/* llm_admin_params.c */
int llm_admin_status(llm_admin_ctx_t *c);
int llm_admin_params_list(llm_admin_ctx_t *c);
int llm_admin_params_show(llm_admin_ctx_t *c);
int llm_admin_params_set(llm_admin_ctx_t *c);
int llm_admin_changes(llm_admin_ctx_t *c);

/* llm_admin_secret.c */
int llm_admin_secret_show(llm_admin_ctx_t *c);
int llm_admin_secret_rotate(llm_admin_ctx_t *c);
int llm_admin_secret_retire(llm_admin_ctx_t *c);

/* llm_admin_audit.c */

/* a time that was, unix ms: "2h" is two hours ago; a day, or a time in UTC
 * with or without milliseconds.  LLM_INVALID */
int llm_admin_past(const char *s, int64_t now, int64_t *when);

/* "404", "4xx" or "4" for 4xx, as llm_audit_query_t has it; 0: none of these */
uint32_t llm_admin_audit_status(const char *s);

/* "audit" of GET status into o, for operators and above.  LLM_ERROR after a
 * refusal */
int llm_admin_audit_stat(llm_admin_ctx_t *c, json_t *o);

int llm_admin_audit_list(llm_admin_ctx_t *c);
int llm_admin_audit_show(llm_admin_ctx_t *c);
int llm_admin_audit_lookup(llm_admin_ctx_t *c);

/* llm_admin_scopes.c: members of a body into k, with their LLM_SET_* bits in
 * set.  LLM_ERROR after a refusal */
int llm_admin_scopes(llm_admin_ctx_t *c, json_t *body, llm_key_t *k,
    unsigned *set);


#endif /* _LLM_ADMIN_INT_H_INCLUDED_ */
