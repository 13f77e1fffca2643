
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl secret, backup and restore.  Root does here what the store's owner
 * may not: it writes beside the secret, and where copies are kept.  It opens
 * the store as its owner all the same, and is root for single steps.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llmctl_admin.h"


static int llmctl_secret_call(llmctl_admin_t *x, const char *method,
    const char *path, json_t *body, llm_admin_reply_t *reply);
static int llmctl_secret_add(void *data, uint32_t version, char *err,
    size_t errlen);
static int llmctl_secret_remove(void *data, uint32_t version, char *err,
    size_t errlen);
static int llmctl_secret_table(json_t *data);
static int llmctl_backup_calls(void *data, const char *file, char *err,
    size_t errlen);


int
llmctl_secret_show(int argc, char **argv)
{
    int                 rc;
    const char         *none[1];
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_secret_call(&x, "GET", "secret", NULL, &reply);

    if (rc == LLMCTL_OK) {
        rc = x.json ? llmctl_admin_json(json_object_get(reply.body, "data"))
                    : llmctl_secret_table(json_object_get(reply.body,
                                                          "data"));
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_secret_table(json_t *data)
{
    size_t   i;
    json_t  *o, *keys;

    printf("VERSION  STATE    VALID KEYS\n");

    json_array_foreach(data, i, o) {
        keys = json_object_get(o, "keys");

        printf("%7lld  %-7s  ",
               (long long) json_integer_value(json_object_get(o, "version")),
               !json_is_true(json_object_get(o, "open")) ? "missing"
               : json_is_true(json_object_get(o, "current")) ? "current"
               : json_is_true(json_object_get(o, "pending")) ? "pending"
                                                             : "former");

        if (json_is_integer(keys)) {
            printf("%lld\n", (long long) json_integer_value(keys));
        } else {
            printf("-\n");
        }
    }

    return llmctl_flush();
}


int
llmctl_secret_rotate(int argc, char **argv)
{
    int                 rc;
    const char         *none[1];
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_secret_call(&x, "POST", "secret/rotate", NULL, &reply);

    if (rc == LLMCTL_OK && x.json) {
        rc = llmctl_admin_json(reply.body);

    } else if (rc == LLMCTL_OK) {
        printf("Version %lld of the secret is made.  Keep a copy of it.\n\n"
               "Reload nginx: from then on new keys are made with it.  Keys "
               "of former versions\nstay valid until they are rotated "
               "(llmctl key rotate); then llmctl secret retire.\n",
               (long long) json_integer_value(json_object_get(reply.body,
                                                              "version")));
        rc = llmctl_flush();
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


int
llmctl_secret_retire(int argc, char **argv)
{
    int                 rc;
    char               *end;
    json_t             *lost;
    const char         *arg[1];
    unsigned long       version;
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, arg, 1);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    errno = 0;
    end = NULL;
    version = arg[0] != NULL && arg[0][0] >= '1' && arg[0][0] <= '9'
              ? strtoul(arg[0], &end, 10) : 0;

    if (version == 0 || version > 9999 || end == NULL || *end != '\0'
        || errno != 0)
    {
        return llmctl_error(LLMCTL_USAGE, "%s: a version's number is needed, "
                            "see llmctl secret show", x.cmd);
    }

    rc = llmctl_secret_call(&x, "POST", "secret/retire",
                            json_pack("{s:I}", "version",
                                      (json_int_t) version), &reply);

    if (rc == LLMCTL_OK && x.json) {
        rc = llmctl_admin_json(reply.body);

    } else if (rc == LLMCTL_OK) {
        lost = json_object_get(reply.body, "recovery_codes_lost");

        printf("Version %lu is retired.\n", version);

        if (json_integer_value(lost) > 0) {
            printf("The recovery codes of %lld keys were made with it and are "
                   "void: llmctl totp recovery.\n",
                   (long long) json_integer_value(lost));
        }

        if (!json_is_true(json_object_get(reply.body, "removed"))) {
            printf("It could not be removed: %s\n",
                   llmctl_text(reply.body, "note"));
        }

        rc = llmctl_flush();
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


/* opens, calls; reply is set in any case.  Steals body */

static int
llmctl_secret_call(llmctl_admin_t *x, const char *method, const char *path,
    json_t *body, llm_admin_reply_t *reply)
{
    int  rc;

    memset(reply, 0, sizeof(llm_admin_reply_t));
    x->root = 1;

    rc = llmctl_admin_open(x, LLMCTL_SECRET_NEED);

    if (rc != LLMCTL_OK) {
        json_decref(body);
        return rc;
    }

    x->admin.secret_add = llmctl_secret_add;
    x->admin.secret_remove = llmctl_secret_remove;

    return llmctl_admin_call(x, method, path, NULL, body, reply);
}


static int
llmctl_secret_add(void *data, uint32_t version, char *err, size_t errlen)
{
    int              rc;
    llmctl_admin_t  *x = data;

    rc = llmctl_admin_raise(x, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_secret_add(x->source, version, err, errlen);
        llmctl_admin_lower(x);
    }

    return rc;
}


static int
llmctl_secret_remove(void *data, uint32_t version, char *err, size_t errlen)
{
    int              rc;
    llmctl_admin_t  *x = data;

    rc = llmctl_admin_raise(x, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_secret_remove(x->source, version, err, errlen);
        llmctl_admin_lower(x);
    }

    return rc;
}


int
llmctl_backup(int argc, char **argv)
{
    int              rc;
    char             err[LLM_ERRLEN];
    const char      *to[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        { "store", &x.store, NULL },
        { "secret", &x.source, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, to, 1);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (to[0] == NULL || *to[0] == '\0') {
        return llmctl_error(LLMCTL_USAGE, "%s: a new directory is needed, "
                            "see llmctl %s --help", x.cmd, x.cmd);
    }

    x.root = 1;
    rc = llmctl_admin_open(&x, LLMCTL_SECRET_NONE);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    llm_store_actor(x.st, x.actor);
    rc = llmctl_admin_raise(&x, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_store_backup(x.st, to[0], x.calls != NULL
                              ? llmctl_backup_calls : NULL, x.calls, err,
                              sizeof(err));
        llmctl_admin_lower(&x);
    }

    if (rc != LLM_OK) {
        rc = llmctl_error(llmctl_exit(rc), "%s", err);

    } else {
        (void) llm_store_note(x.st, "backup", to[0], "", NULL, 0);

        printf("backup: %s\n\n"
               "The secret is not in it: keep a copy of that elsewhere.\n",
               to[0]);
        rc = llmctl_flush();
    }

    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_backup_calls(void *data, const char *file, char *err, size_t errlen)
{
    return llm_calls_copy(data, file, err, errlen);
}


int
llmctl_restore(int argc, char **argv)
{
    int          rc;
    char         err[LLM_ERRLEN];
    uid_t        uid;
    gid_t        gid;
    const char  *none[1], *from, *owner, *source, *store;

    const llmctl_opt_t  opts[] = {
        { "store", &store, NULL },
        { "secret", &source, NULL },
        { "from", &from, NULL },
        { "owner", &owner, NULL },
        { NULL, NULL, NULL }
    };

    store = LLMCTL_STORE;
    source = from = owner = NULL;
    uid = gid = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (from == NULL || *from == '\0' || *store == '\0') {
        return llmctl_error(LLMCTL_USAGE, "restore: --from DIR is needed, "
                            "see llmctl restore --help");
    }

    if (owner != NULL) {
        rc = llmctl_owner("restore", owner, &uid, &gid);
        if (rc != LLMCTL_OK) {
            return rc;
        }
    }

    rc = llm_store_restore(store, from, err, sizeof(err));

    if (rc == LLM_OK && owner != NULL) {
        rc = llm_store_give(store, uid, gid, err, sizeof(err));
    }

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    printf("store: %s\n\n"
           "Keys that were revoked after the backup are valid again in it: "
           "see llmctl key list\nand the log of what was done since.\n",
           store);

    return llmctl_flush();
}
