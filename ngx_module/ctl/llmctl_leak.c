
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl key leak: the drill for a key that others may have, with a report
 * that can be worked through.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llmctl_key.h"


static int llmctl_leak_id(llmctl_admin_t *x, char *id);
static int llmctl_leak_print(const llmctl_admin_t *x, json_t *body);
static void llmctl_leak_report(json_t *report);
static void llmctl_leak_items(const char *title, json_t *list, json_t *more);
static long long llmctl_leak_number(json_t *o, const char *name);


int
llmctl_key_leak(int argc, char **argv)
{
    int                 rc;
    char                id[LLM_KEY_ID_LEN + 1], path[128];
    json_t             *body, *next;
    const char         *arg[1], *reason;
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { "reason", &reason, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    reason = NULL;

    rc = llmctl_options(argc, argv, opts, arg, 1);

    if (rc == LLMCTL_OK && (arg[0] == NULL || strcmp(arg[0], "-") != 0)) {
        rc = llmctl_admin_path(&x, "keys", arg[0], "leak", path,
                               sizeof(path));
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (strcmp(arg[0], "-") == 0) {
        rc = llmctl_leak_id(&x, id);

        if (rc == LLMCTL_OK) {
            rc = llmctl_admin_path(&x, "keys", id, "leak", path,
                                   sizeof(path));
        }
    }

    body = json_object();

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_put(&x, body, "reason", reason);
    }

    if (rc != LLMCTL_OK) {
        json_decref(body);
        llmctl_admin_close(&x);
        return rc;
    }

    rc = llmctl_admin_call(&x, "POST", path, NULL, body, &reply);

    if (rc == LLMCTL_OK) {
        rc = llmctl_leak_print(&x, reply.body);
        next = json_object_get(reply.body, "successor");

        if (rc != LLMCTL_OK && json_is_object(next)) {
            rc = llmctl_key_unseen(&x, llmctl_text(next, "id"), rc);
        }
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


/* an id, or the key itself, which is then in no process list */

static int
llmctl_leak_id(llmctl_admin_t *x, char *id)
{
    int        rc;
    char       err[LLM_ERRLEN], line[256];
    llm_key_t  k;

    rc = llmctl_admin_line(x->cmd, "a key or its id", line, sizeof(line));

    if (rc == LLMCTL_OK && strncmp(line, "sk-", 3) == 0) {

        rc = llm_key_lookup(x->st, x->secret, line, strlen(line), &k, err,
                            sizeof(err));

        if (rc == LLM_OK) {
            memcpy(id, k.id, LLM_KEY_ID_LEN + 1);

        } else {
            rc = llmctl_error(llmctl_exit(rc), "%s: %s", x->cmd, err);
        }

    } else if (rc == LLMCTL_OK) {
        (void) snprintf(id, LLM_KEY_ID_LEN + 1, "%.*s", LLM_KEY_ID_LEN,
                        strlen(line) == LLM_KEY_ID_LEN ? line : "?");
    }

    OPENSSL_cleanse(line, sizeof(line));

    return rc;
}


static int
llmctl_leak_print(const llmctl_admin_t *x, json_t *body)
{
    size_t       i;
    json_t      *line, *next, *v;
    const char  *note;

    if (x->json) {
        return llmctl_admin_json(body);
    }

    v = json_object_get(body, "leaked");
    next = json_object_get(body, "successor");
    note = json_string_value(json_object_get(body, "note"));

    printf("%s of %s is revoked since %s.\n", llmctl_text(v, "id"),
           llmctl_text(v, "client"), llmctl_text(v, "revoked"));

    if (note != NULL) {
        printf("%s\n", note);
    }

    if (json_is_object(json_object_get(body, "report"))) {
        llmctl_leak_report(json_object_get(body, "report"));
    } else {
        printf("\nWhat it was used for is not known.\n");
    }

    v = json_object_get(body, "integrations");

    if (json_array_size(v) != 0) {
        printf("\nTo be given the new key:\n");

        json_array_foreach(v, i, line) {
            printf("  [ ] %s\n", json_string_value(line));
        }
    }

    if (json_is_object(next)) {
        printf("\nThe successor:\n");
        return llmctl_key_print(x, next);
    }

    return llmctl_flush();
}


static void
llmctl_leak_report(json_t *report)
{
    json_t  *more;

    more = json_object_get(report, "more");

    printf("\ncalls:   %lld, %lld of them failed\ntokens:  %lld\n"
           "first:   %s\nlast:    %s\n",
           llmctl_leak_number(report, "calls"),
           llmctl_leak_number(report, "failed"),
           llmctl_leak_number(report, "tokens"),
           llmctl_text(report, "first_seen"),
           llmctl_text(report, "last_seen"));

    llmctl_leak_items("Addresses", json_object_get(report, "addresses"),
                      json_object_get(more, "addresses"));
    llmctl_leak_items("Agents", json_object_get(report, "user_agents"),
                      json_object_get(more, "user_agents"));
    llmctl_leak_items("Models", json_object_get(report, "models"),
                      json_object_get(more, "models"));
    llmctl_leak_items("Paths", json_object_get(report, "paths"),
                      json_object_get(more, "paths"));
}


static void
llmctl_leak_items(const char *title, json_t *list, json_t *more)
{
    size_t   i;
    json_t  *v;

    if (json_array_size(list) == 0) {
        return;
    }

    printf("\n%s:\n", title);

    json_array_foreach(list, i, v) {
        printf("  %8lld  %s  %s%s\n", llmctl_leak_number(v, "calls"),
               llmctl_text(v, "last_seen"), llmctl_text(v, "name"),
               json_is_true(json_object_get(v, "unusual"))
               ? "  (unusual)" : "");
    }

    if (json_integer_value(more) > 0) {
        printf("  and %lld more\n", (long long) json_integer_value(more));
    }
}


static long long
llmctl_leak_number(json_t *o, const char *name)
{
    return (long long) json_integer_value(json_object_get(o, name));
}
