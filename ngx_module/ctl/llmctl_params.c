
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl params and changes: an engine's parameters, and who changed what.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmctl_admin.h"


#define LLMCTL_PARAMS_MAX  32       /* arguments NAME=VALUE */


static int llmctl_params_path(llmctl_admin_t *x, const char *engine,
    char *path, size_t size);
static int llmctl_params_put(llmctl_admin_t *x, json_t *body,
    const char *arg);
static int llmctl_params_call(llmctl_admin_t *x, const char *method,
    const char *path, json_t *body);
static void llmctl_change(json_t *o);


int
llmctl_params_show(int argc, char **argv)
{
    int              rc;
    char             path[160];
    const char      *arg[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, arg, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_params_path(&x, arg[0], path, sizeof(path));
    }

    return rc == LLMCTL_OK ? llmctl_params_call(&x, "GET", path, NULL) : rc;
}


int
llmctl_params_set(int argc, char **argv)
{
    int              rc;
    char             path[160];
    size_t           i;
    json_t          *body;
    const char      *arg[LLMCTL_PARAMS_MAX + 1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, arg, LLMCTL_PARAMS_MAX + 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_params_path(&x, arg[0], path, sizeof(path));
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (arg[1] == NULL) {
        return llmctl_error(LLMCTL_USAGE, "%s: NAME=VALUE is needed, see "
                            "llmctl %s --help", x.cmd, x.cmd);
    }

    body = json_object();

    for (i = 1; i <= LLMCTL_PARAMS_MAX && arg[i] != NULL; i++) {
        rc = llmctl_params_put(&x, body, arg[i]);

        if (rc != LLMCTL_OK) {
            json_decref(body);
            return rc;
        }
    }

    return llmctl_params_call(&x, "PATCH", path, body);
}


static int
llmctl_params_path(llmctl_admin_t *x, const char *engine, char *path,
    size_t size)
{
    if (engine == NULL || *engine == '\0' || strchr(engine, '/') != NULL
        || strchr(engine, '=') != NULL || strlen(engine) > 100)
    {
        return llmctl_error(LLMCTL_USAGE, "%s: the engine's name is needed, "
                            "see llmctl %s --help", x->cmd, x->cmd);
    }

    (void) snprintf(path, size, "params/%s", engine);

    return LLMCTL_OK;
}


/* NAME=VALUE; "none" is what the configuration and the model say */

static int
llmctl_params_put(llmctl_admin_t *x, json_t *body, const char *arg)
{
    char         name[64];
    json_t      *value;
    const char  *eq;

    eq = strchr(arg, '=');

    if (eq == NULL || eq == arg || eq - arg >= (int) sizeof(name)) {
        return llmctl_error(LLMCTL_USAGE, "%s: an argument is not "
                            "NAME=VALUE", x->cmd);
    }

    value = strcmp(eq + 1, "none") == 0
            ? json_null() : json_loads(eq + 1, JSON_DECODE_ANY, NULL);

    if (value == NULL || !(json_is_number(value) || json_is_null(value))) {
        json_decref(value);
        return llmctl_error(LLMCTL_USAGE, "%s: a value is a number, or none",
                            x->cmd);
    }

    memcpy(name, arg, (size_t) (eq - arg));
    name[eq - arg] = '\0';

    if (json_object_set_new(body, name, value) != 0) {
        return llmctl_error(LLMCTL_USAGE, "%s: a name is not UTF-8", x->cmd);
    }

    return LLMCTL_OK;
}


/* steals body */

static int
llmctl_params_call(llmctl_admin_t *x, const char *method, const char *path,
    json_t *body)
{
    int                 rc;
    json_t             *v;
    const char         *name;
    llm_admin_reply_t   reply;

    /* the audit trail's keys lie under the secret */

    rc = llmctl_admin_open(x, strcmp(method, "GET") == 0
                              ? LLMCTL_SECRET_NONE : LLMCTL_SECRET_NEED);

    if (rc != LLMCTL_OK) {
        json_decref(body);
        return rc;
    }

    rc = llmctl_admin_call(x, method, path, NULL, body, &reply);

    if (rc == LLMCTL_OK && x->json) {
        rc = llmctl_admin_json(reply.body);

    } else if (rc == LLMCTL_OK) {

        json_object_foreach(json_object_get(reply.body, "params"), name, v) {
            if (json_is_null(v)) {
                printf("%-20s -\n", name);
            } else {
                printf("%-20s %.10g\n", name, json_number_value(v));
            }
        }

        if (reply.params) {
            printf("\nA running nginx takes it over with its next "
                   "requests.\n");
        }

        rc = llmctl_flush();
    }

    llm_admin_done(&reply);
    llmctl_admin_close(x);

    return rc;
}


int
llmctl_changes(int argc, char **argv)
{
    int                 rc;
    size_t              i;
    json_t             *args, *v;
    const char         *none[1], *before, *limit;
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { "before", &before, NULL },
        { "limit", &limit, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    before = limit = NULL;

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    args = json_object();
    rc = llmctl_admin_put(&x, args, "before", before);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_put(&x, args, "limit", limit);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NONE);
    }

    if (rc != LLMCTL_OK) {
        json_decref(args);
        return rc;
    }

    rc = llmctl_admin_call(&x, "GET", "changes", args, NULL, &reply);

    if (rc == LLMCTL_OK && x.json) {
        rc = llmctl_admin_json(json_object_get(reply.body, "data"));

    } else if (rc == LLMCTL_OK) {

        json_array_foreach(json_object_get(reply.body, "data"), i, v) {
            llmctl_change(v);
        }

        rc = llmctl_flush();
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


static void
llmctl_change(json_t *o)
{
    printf("%6lld  %s  %-*s  %-16s  %s%s%s\n",
           (long long) json_integer_value(json_object_get(o, "number")),
           llmctl_text(o, "time"), LLM_KEY_ID_LEN, llmctl_text(o, "actor"),
           llmctl_text(o, "action"), llmctl_text(o, "target"),
           *llmctl_text(o, "detail") != '\0' ? "  " : "",
           llmctl_text(o, "detail"));
}
