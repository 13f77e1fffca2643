
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl key: create, show, update, rotate, revoke.  A key is printed once, by
 * create, rotate or leak; it is in no other output, no error, no argument.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmctl_key.h"


/* what create and update share, from the command line */
typedef struct {
    const char  *client;
    const char  *role;
    const char  *expires;
    const char  *models;
    const char  *addresses;
    const char  *rpm;
    const char  *tpm;
    const char  *concurrent;
    const char  *day;
    const char  *month;
} llmctl_scopes_t;


#define LLMCTL_SCOPES_OPTS(s)                                                 \
    { "client", &(s)->client, NULL },                                         \
    { "role", &(s)->role, NULL },                                             \
    { "expires", &(s)->expires, NULL },                                       \
    { "models", &(s)->models, NULL },                                         \
    { "addresses", &(s)->addresses, NULL },                                   \
    { "rpm", &(s)->rpm, NULL },                                               \
    { "tpm", &(s)->tpm, NULL },                                               \
    { "concurrent", &(s)->concurrent, NULL },                                 \
    { "tokens-per-day", &(s)->day, NULL },                                    \
    { "tokens-per-month", &(s)->month, NULL }


static int llmctl_scopes(llmctl_admin_t *x, const llmctl_scopes_t *s,
    json_t **body);
static int llmctl_number(llmctl_admin_t *x, json_t *o, const char *name,
    const char *option, const char *value);
static int llmctl_words(llmctl_admin_t *x, json_t *o, const char *name,
    const char *value);
static int llmctl_key_verb(llmctl_admin_t *x, int secret, const char *method,
    const char *id, const char *verb, json_t *body);
static void llmctl_key_scopes(json_t *scopes);
static void llmctl_key_words(const char *title, json_t *list);
static void llmctl_key_usage(json_t *usage);


int
llmctl_key_create(int argc, char **argv)
{
    int                 rc;
    json_t             *body;
    const char         *none[1];
    llmctl_admin_t      x;
    llmctl_scopes_t     s;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        LLMCTL_SCOPES_OPTS(&s),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&s, 0, sizeof(s));

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (s.client == NULL || s.role == NULL) {
        return llmctl_error(LLMCTL_USAGE, "key create: --client and --role "
                            "are needed, see llmctl key create --help");
    }

    rc = llmctl_scopes(&x, &s, &body);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);

    if (rc != LLMCTL_OK) {
        json_decref(body);
        return rc;
    }

    rc = llmctl_admin_call(&x, "POST", "keys", NULL, body, &reply);

    if (rc == LLMCTL_OK) {
        rc = llmctl_key_print(&x, reply.body);

        if (rc != LLMCTL_OK) {
            rc = llmctl_key_unseen(&x, llmctl_text(reply.body, "id"), rc);
        }
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


int
llmctl_key_unseen(llmctl_admin_t *x, const char *id, int rc)
{
    int             revoked;
    char            err[LLM_ERRLEN], path[64];
    llm_key_t       k;
    llmctl_trail_t  trail;

    /* by itself: another code would be needed for the call */

    llm_store_actor(x->st, x->actor);
    (void) snprintf(path, sizeof(path), "keys/%.32s/revoke", id);

    if (llmctl_trail_before(x, "POST", path, &trail, err, sizeof(err))
        != LLM_OK)
    {
        (void) llmctl_error(0, "%s: audit trail: %s", x->cmd, err);
    }

    revoked = llm_key_revoke(x->st, id, &k, err, sizeof(err)) == LLM_OK;
    llmctl_trail_after(x, &trail, revoked ? 200 : 503, NULL);

    if (revoked) {
        return llmctl_error(rc, "%s: the key could not be printed and is "
                            "revoked", id);
    }

    return llmctl_error(rc, "the key could not be printed, and it could not "
                        "be revoked: %s", err);
}


int
llmctl_key_show(int argc, char **argv)
{
    int              rc;
    const char      *id[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, id, 1);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    return llmctl_key_verb(&x, LLMCTL_SECRET_NONE, "GET", id[0], NULL, NULL);
}


int
llmctl_key_revoke(int argc, char **argv)
{
    int              rc;
    const char      *id[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, id, 1);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    return llmctl_key_verb(&x, LLMCTL_SECRET_TRY, "POST", id[0], "revoke",
                           NULL);
}


int
llmctl_key_update(int argc, char **argv)
{
    int               rc;
    json_t           *body;
    const char       *id[1];
    llmctl_admin_t    x;
    llmctl_scopes_t   s;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        LLMCTL_SCOPES_OPTS(&s),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&s, 0, sizeof(s));

    rc = llmctl_options(argc, argv, opts, id, 1);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_scopes(&x, &s, &body);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    return llmctl_key_verb(&x, LLMCTL_SECRET_TRY, "PATCH", id[0], NULL, body);
}


/* steals body */

static int
llmctl_key_verb(llmctl_admin_t *x, int secret, const char *method,
    const char *id, const char *verb, json_t *body)
{
    int                 rc;
    char                path[128];
    llm_admin_reply_t   reply;

    rc = llmctl_admin_path(x, "keys", id, verb, path, sizeof(path));

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(x, secret);
    }

    if (rc != LLMCTL_OK) {
        json_decref(body);
        return rc;
    }

    rc = llmctl_admin_call(x, method, path, NULL, body, &reply);

    if (rc == LLMCTL_OK) {
        rc = llmctl_key_print(x, reply.body);
    }

    llm_admin_done(&reply);
    llmctl_admin_close(x);

    return rc;
}


int
llmctl_key_rotate(int argc, char **argv)
{
    int                 rc;
    char                path[128];
    json_t             *body;
    const char         *id[1], *grace, *expires;
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { "grace", &grace, NULL },
        { "expires", &expires, NULL },
        { "idempotency-key", &x.idem, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    grace = expires = NULL;

    rc = llmctl_options(argc, argv, opts, id, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_path(&x, "keys", id[0], "rotate", path,
                               sizeof(path));
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    body = json_object();
    rc = llmctl_admin_put(&x, body, "grace", grace);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_put(&x, body, "expires", expires);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        json_decref(body);
        return rc;
    }

    rc = llmctl_admin_call(&x, "POST", path, NULL, body, &reply);

    if (rc == LLMCTL_OK && llmctl_key_print(&x, reply.body) != LLMCTL_OK) {

        /* both are good: what is rotated must go on */

        rc = llmctl_error(LLMCTL_FAILED, x.idem != NULL
                          ? "%s: the new key could not be printed: run this "
                            "again with the same --idempotency-key"
                          : "%s: the new key could not be printed: rotate it "
                            "again, with --grace 0 once the old one is no "
                            "longer in use", id[0]);
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_scopes(llmctl_admin_t *x, const llmctl_scopes_t *s, json_t **body)
{
    int      rc;
    json_t  *o;

    o = json_object();

    if (o == NULL) {
        return llmctl_error(LLMCTL_FAILED, "no memory");
    }

    rc = LLMCTL_OK;

    if (s->expires != NULL && strcmp(s->expires, "never") == 0) {
        (void) json_object_set_new(o, "expires", json_null());

    } else {
        rc = llmctl_admin_put(x, o, "expires", s->expires);
    }

    if (rc == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "client", s->client)) == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "role", s->role)) == LLMCTL_OK
        && (rc = llmctl_words(x, o, "models", s->models)) == LLMCTL_OK
        && (rc = llmctl_words(x, o, "addresses", s->addresses)) == LLMCTL_OK
        && (rc = llmctl_number(x, o, "requests_per_minute", "rpm", s->rpm))
           == LLMCTL_OK
        && (rc = llmctl_number(x, o, "tokens_per_minute", "tpm", s->tpm))
           == LLMCTL_OK
        && (rc = llmctl_number(x, o, "concurrent", "concurrent",
                               s->concurrent)) == LLMCTL_OK
        && (rc = llmctl_number(x, o, "tokens_per_day", "tokens-per-day",
                               s->day)) == LLMCTL_OK)
    {
        rc = llmctl_number(x, o, "tokens_per_month", "tokens-per-month",
                           s->month);
    }

    if (rc != LLMCTL_OK) {
        json_decref(o);
        return rc;
    }

    *body = o;

    return LLMCTL_OK;
}


/* "none" is no limit */

static int
llmctl_number(llmctl_admin_t *x, json_t *o, const char *name,
    const char *option, const char *value)
{
    char       *end;
    long long   n;

    if (value == NULL) {
        return LLMCTL_OK;
    }

    if (strcmp(value, "none") == 0) {
        (void) json_object_set_new(o, name, json_null());
        return LLMCTL_OK;
    }

    errno = 0;
    n = strtoll(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || errno != 0) {
        return llmctl_error(LLMCTL_USAGE, "%s: --%s: a number, or none",
                            x->cmd, option);
    }

    (void) json_object_set_new(o, name, json_integer(n));

    return LLMCTL_OK;
}


/* "a,b"; "none" is no restriction */

static int
llmctl_words(llmctl_admin_t *x, json_t *o, const char *name,
    const char *value)
{
    size_t   n;
    json_t  *list;

    if (value == NULL) {
        return LLMCTL_OK;
    }

    if (strcmp(value, "none") == 0) {
        (void) json_object_set_new(o, name, json_null());
        return LLMCTL_OK;
    }

    list = json_array();

    for ( ;; ) {
        n = strcspn(value, ",");

        if (json_array_append_new(list, json_stringn(value, n)) != 0) {
            json_decref(list);
            return llmctl_error(LLMCTL_USAGE, "%s: --%s: it is not UTF-8",
                                x->cmd, name);
        }

        if (value[n] == '\0') {
            break;
        }

        value += n + 1;
    }

    (void) json_object_set_new(o, name, list);

    return LLMCTL_OK;
}


int
llmctl_key_print(const llmctl_admin_t *x, json_t *o)
{
    const char  *s;

    if (x->json) {
        return llmctl_admin_json(o);
    }

    printf("id:      %s\nclient:  %s\nrole:    %s\nstatus:  %s\n"
           "created: %s\n", llmctl_text(o, "id"), llmctl_text(o, "client"),
           llmctl_text(o, "role"), llmctl_text(o, "status"),
           llmctl_text(o, "created"));

    if (strcmp(llmctl_text(o, "issued"), llmctl_text(o, "created")) != 0) {
        printf("issued:  %s\n", llmctl_text(o, "issued"));
    }

    s = json_string_value(json_object_get(o, "expires"));
    printf("expires: %s\n", s != NULL ? s : "never");

    if (strcmp(llmctl_text(o, "ends"), s != NULL ? s : "-") != 0) {
        printf("ends:    %s (its maximum age)\n", llmctl_text(o, "ends"));
    }

    s = json_string_value(json_object_get(o, "revoked"));

    if (s != NULL) {
        printf("revoked: %s\n", s);
    }

    llmctl_key_scopes(json_object_get(o, "scopes"));
    llmctl_key_usage(json_object_get(o, "usage"));

    s = json_string_value(json_object_get(o, "note"));

    if (s != NULL) {
        printf("note:    %s\n", s);
    }

    s = json_string_value(json_object_get(o, "key"));

    if (s != NULL) {
        printf("key:     %s\n", s);

        if (json_object_get(o, "grace_until") != NULL) {
            printf("\nThe old key %s%s.\n",
                   json_is_string(json_object_get(o, "grace_until"))
                   ? "stays valid until " : "is not valid any more",
                   json_is_string(json_object_get(o, "grace_until"))
                   ? llmctl_text(o, "grace_until") : "");
        }

        printf("\nKeep the key now: it is stored nowhere and not shown "
               "again.\n");
    }

    return llmctl_flush();
}


static void
llmctl_key_scopes(json_t *scopes)
{
    size_t   i;
    json_t  *v;

    static const char *const  names[][2] = {
        { "requests_per_minute", "requests a minute" },
        { "tokens_per_minute", "tokens a minute" },
        { "concurrent", "requests at a time" },
        { "tokens_per_day", "tokens a day" },
        { "tokens_per_month", "tokens a month" }
    };

    llmctl_key_words("models", json_object_get(scopes, "models"));
    llmctl_key_words("from", json_object_get(scopes, "addresses"));

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        v = json_object_get(scopes, names[i][0]);

        if (json_is_integer(v)) {
            printf("limit:   %lld %s\n", (long long) json_integer_value(v),
                   names[i][1]);
        }
    }
}


static void
llmctl_key_words(const char *title, json_t *list)
{
    size_t   i;
    json_t  *v;

    if (json_array_size(list) == 0) {
        return;
    }

    printf("%s:%*s", title, (int) (8 - strlen(title)), "");

    json_array_foreach(list, i, v) {
        printf("%s%s", i == 0 ? "" : ", ", json_string_value(v));
    }

    printf("\n");
}


static void
llmctl_key_usage(json_t *usage)
{
    if (!json_is_object(usage)) {
        return;
    }

    printf("used:    %lld calls, %lld + %lld tokens, last %s\n",
           (long long) json_integer_value(json_object_get(usage, "calls")),
           (long long) json_integer_value(json_object_get(usage,
                                                          "prompt_tokens")),
           (long long) json_integer_value(json_object_get(usage,
                                                      "completion_tokens")),
           llmctl_text(usage, "last_used"));
}
