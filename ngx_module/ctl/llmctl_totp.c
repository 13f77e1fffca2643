
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl totp: a key's second factor.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llmctl_admin.h"


static int llmctl_totp_call(llmctl_admin_t *x, const char *method,
    const char *path, const char *id, const char *code,
    llm_admin_reply_t *reply);
static int llmctl_totp_simple(llmctl_admin_t *x, const char *method,
    const char *id);
static int llmctl_totp_shown(const llmctl_admin_t *x, json_t *o, int qr);
static int llmctl_totp_first(llmctl_admin_t *x, const char *id);
static int llmctl_totp_print(const llmctl_admin_t *x, json_t *o);
static void llmctl_totp_codes(json_t *list);


int
llmctl_totp_enrol(int argc, char **argv)
{
    int                 qr, rc;
    char                path[128];
    const char         *id[1];
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { "qr", NULL, &qr },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    qr = 0;

    rc = llmctl_options(argc, argv, opts, id, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_path(&x, "totp", id[0], NULL, path, sizeof(path));
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_totp_call(&x, "POST", "totp", id[0], NULL, &reply);

    if (rc == LLMCTL_OK) {
        rc = llmctl_totp_shown(&x, reply.body,
                               qr || isatty(STDOUT_FILENO));
    }

    llm_admin_done(&reply);

    if (rc == LLMCTL_OK && !x.json) {
        rc = llmctl_totp_first(&x, id[0]);
    }

    llmctl_admin_close(&x);

    return rc;
}


int
llmctl_totp_confirm(int argc, char **argv)
{
    int                 rc;
    char                code[64], path[128];
    const char         *arg[2];
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, arg, 2);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_path(&x, "totp", arg[0], NULL, path, sizeof(path));
    }

    if (rc == LLMCTL_OK && arg[1] == NULL) {
        rc = llmctl_error(LLMCTL_USAGE, "%s: the app's first code is needed, "
                          "or - to read it from standard input", x.cmd);
    }

    if (rc == LLMCTL_OK && strcmp(arg[1], "-") == 0) {
        rc = llmctl_admin_line(x.cmd, "a code", code, sizeof(code));
        arg[1] = code;
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_totp_call(&x, "POST", "totp/confirm", arg[0], arg[1], &reply);
    OPENSSL_cleanse(code, sizeof(code));

    if (rc == LLMCTL_OK) {
        rc = llmctl_totp_print(&x, reply.body);
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


int
llmctl_totp_show(int argc, char **argv)
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

    return rc == LLMCTL_OK ? llmctl_totp_simple(&x, "GET", id[0]) : rc;
}


int
llmctl_totp_remove(int argc, char **argv)
{
    int              rc;
    const char      *id[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { "break-glass", NULL, &x.break_glass },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, id, 1);

    return rc == LLMCTL_OK ? llmctl_totp_simple(&x, "DELETE", id[0]) : rc;
}


static int
llmctl_totp_simple(llmctl_admin_t *x, const char *method, const char *id)
{
    int                 rc;
    char                path[128];
    llm_admin_reply_t   reply;

    rc = llmctl_admin_path(x, "totp", id, NULL, path, sizeof(path));

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(x, strcmp(method, "GET") == 0
                                  ? LLMCTL_SECRET_NONE : LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_admin_call(x, method, path, NULL, NULL, &reply);

    if (rc == LLMCTL_OK) {
        rc = llmctl_totp_print(x, reply.body);
    }

    llm_admin_done(&reply);
    llmctl_admin_close(x);

    return rc;
}


int
llmctl_totp_recovery(int argc, char **argv)
{
    int                 rc;
    char                path[128];
    const char         *id[1];
    llmctl_admin_t      x;
    llm_admin_reply_t   reply;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_CODE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, id, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_path(&x, "totp", id[0], NULL, path, sizeof(path));
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_totp_call(&x, "POST", "totp/recovery", id[0], NULL, &reply);

    if (rc == LLMCTL_OK && x.json) {
        rc = llmctl_admin_json(reply.body);

    } else if (rc == LLMCTL_OK) {
        llmctl_totp_codes(json_object_get(reply.body, "recovery_codes"));
        rc = llmctl_flush();
    }

    llm_admin_done(&reply);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_totp_call(llmctl_admin_t *x, const char *method, const char *path,
    const char *id, const char *code, llm_admin_reply_t *reply)
{
    int      rc;
    json_t  *body;

    body = json_object();
    rc = llmctl_admin_put(x, body, "id", id);

    if (rc == LLMCTL_OK) {
        rc = llmctl_admin_put(x, body, "code", code);
    }

    if (rc != LLMCTL_OK) {
        memset(reply, 0, sizeof(llm_admin_reply_t));
        json_decref(body);
        return rc;
    }

    return llmctl_admin_call(x, method, path, NULL, body, reply);
}


static int
llmctl_totp_shown(const llmctl_admin_t *x, json_t *o, int qr)
{
    if (x->json) {
        return llmctl_admin_json(o);
    }

    printf("secret:  %s\nuri:     %s\n\n", llmctl_text(o, "secret"),
           llmctl_text(o, "uri"));

    if (qr && llmctl_qr(stdout, llmctl_text(o, "uri"), 0) != LLMCTL_OK) {
        (void) llmctl_error(0, "the address above can be typed in instead");
    }

    llmctl_totp_codes(json_object_get(o, "recovery_codes"));

    return llmctl_flush();
}


static void
llmctl_totp_codes(json_t *list)
{
    size_t   i;
    json_t  *v;

    printf("Recovery codes, each for one time without the app:\n");

    json_array_foreach(list, i, v) {
        printf("  %s\n", json_string_value(v));
    }

    printf("\nKeep them now: they are not shown again.\n");
}


/* nothing is asked for before the first code was right */

static int
llmctl_totp_first(llmctl_admin_t *x, const char *id)
{
    int                 rc;
    char                code[64];
    llm_admin_reply_t   reply;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        printf("\nIt is on once it is confirmed:\n"
               "  llmctl totp confirm %s CODE\n", id);
        return llmctl_flush();
    }

    printf("\n");
    (void) llmctl_flush();

    if (llmctl_admin_ask("The app's code now: ", code, sizeof(code))
        != LLMCTL_OK)
    {
        printf("Not confirmed: llmctl totp confirm %s CODE\n", id);
        return LLMCTL_FACTOR;
    }

    rc = llmctl_totp_call(x, "POST", "totp/confirm", id, code, &reply);
    OPENSSL_cleanse(code, sizeof(code));

    if (rc == LLMCTL_OK) {
        rc = llmctl_totp_print(x, reply.body);
    }

    llm_admin_done(&reply);

    return rc;
}


static int
llmctl_totp_print(const llmctl_admin_t *x, json_t *o)
{
    if (x->json) {
        return llmctl_admin_json(o);
    }

    printf("id:       %s\nstate:    %s\nsince:    %s\n",
           llmctl_text(o, "id"), llmctl_text(o, "state"),
           llmctl_text(o, "since"));

    if (json_is_string(json_object_get(o, "locked_until"))) {
        printf("locked:   until %s\n", llmctl_text(o, "locked_until"));
    }

    printf("failures: %lld in a row\nrecovery: %lld codes left\n",
           (long long) json_integer_value(json_object_get(o, "failures")),
           (long long) json_integer_value(json_object_get(o,
                                                    "recovery_codes_left")));

    return llmctl_flush();
}
