
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl key list: page by page, so that a million keys take no memory.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmctl_key.h"


typedef struct {
    const char  *client;            /* NULL: all */
    const char  *role;
    const char  *status;
    const char  *expiring;
    const char  *after;
    const char  *limit;
} llmctl_filter_t;


static int llmctl_list_pages(llmctl_admin_t *x, const llmctl_filter_t *f,
    int width);
static int llmctl_list_args(llmctl_admin_t *x, const llmctl_filter_t *f,
    const char *after, json_t **args);
static int llmctl_list_page(llmctl_admin_t *x, json_t *data, int width,
    size_t *n);
static int llmctl_list_width(void *data, const llm_key_t *k);


typedef struct {
    const char  *client;
    int          width;
} llmctl_width_t;


int
llmctl_key_list(int argc, char **argv)
{
    int               expiring, rc;
    const char       *none[1];
    llmctl_admin_t    x;
    llmctl_width_t    w;
    llmctl_filter_t   f;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { "client", &f.client, NULL },
        { "role", &f.role, NULL },
        { "status", &f.status, NULL },
        { "expiring", &f.expiring, &expiring },
        { "after", &f.after, NULL },
        { "limit", &f.limit, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&f, 0, sizeof(f));
    expiring = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (expiring && f.expiring == NULL) {
        f.expiring = "14d";
    }

    rc = llmctl_admin_open(&x, LLMCTL_SECRET_NONE);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    w.client = f.client;
    w.width = (int) strlen("CLIENT");

    if (!x.json) {
        (void) llm_key_each(x.st, NULL, llmctl_list_width, &w, NULL, 0);
    }

    rc = llmctl_list_pages(&x, &f, w.width);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_list_pages(llmctl_admin_t *x, const llmctl_filter_t *f, int width)
{
    int                 bad, more, rc;
    char                after[LLM_KEY_ID_LEN + 1];
    size_t              n;
    json_t             *args;
    llm_admin_reply_t   reply;

    n = 0;
    bad = 0;
    after[0] = '\0';

    do {
        rc = llmctl_list_args(x, f, after[0] != '\0' ? after : f->after,
                              &args);

        if (rc != LLMCTL_OK) {
            break;
        }

        rc = llmctl_admin_call(x, "GET", "keys", args, NULL, &reply);

        if (rc != LLMCTL_OK) {
            llm_admin_done(&reply);
            break;
        }

        if (n == 0 && after[0] == '\0' && !x->json) {
            printf("%-*s  %-*s  %-8s  %-7s  %-20s  %-20s  %s\n",
                   LLM_KEY_ID_LEN, "ID", width, "CLIENT", "ROLE", "STATUS",
                   "CREATED", "EXPIRES", "REVOKED");
        }

        bad |= (reply.detail[0] != '\0');
        more = json_is_true(json_object_get(reply.body, "has_more"));
        (void) snprintf(after, sizeof(after), "%s",
                        llmctl_text(reply.body, "next"));

        rc = llmctl_list_page(x, json_object_get(reply.body, "data"), width,
                              &n);
        llm_admin_done(&reply);

    } while (rc == LLMCTL_OK && more && f->limit == NULL);

    if (x->json && (rc == LLMCTL_OK || n != 0)) {
        printf(n == 0 ? "[]\n" : "\n]\n");
    }

    if (llmctl_flush() != LLMCTL_OK) {
        return LLMCTL_FAILED;
    }

    return bad ? LLMCTL_FAILED : rc;
}


static int
llmctl_list_args(llmctl_admin_t *x, const llmctl_filter_t *f,
    const char *after, json_t **args)
{
    int      rc;
    json_t  *o;

    o = json_object();

    if ((rc = llmctl_admin_put(x, o, "client", f->client)) == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "role", f->role)) == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "status", f->status)) == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "expiring", f->expiring))
           == LLMCTL_OK
        && (rc = llmctl_admin_put(x, o, "after", after)) == LLMCTL_OK)
    {
        rc = llmctl_admin_put(x, o, "limit", f->limit != NULL ? f->limit
                                                              : "1000");
    }

    if (rc != LLMCTL_OK) {
        json_decref(o);
        return rc;
    }

    *args = o;

    return LLMCTL_OK;
}


static int
llmctl_list_page(llmctl_admin_t *x, json_t *data, int width, size_t *n)
{
    char        *text;
    size_t       i;
    json_t      *o;
    const char  *expires;

    json_array_foreach(data, i, o) {

        if (x->json) {
            text = json_dumps(o, 0);

            if (text == NULL) {
                return llmctl_error(LLMCTL_FAILED, "JSON: no memory");
            }

            printf("%s\n %s", *n == 0 ? "[" : ",", text);
            free(text);

        } else {
            expires = json_string_value(json_object_get(o, "expires"));

            printf("%-*s  %-*s  %-8s  %-7s  %-20s  %-20s  %s\n",
                   LLM_KEY_ID_LEN, llmctl_text(o, "id"), width,
                   llmctl_text(o, "client"), llmctl_text(o, "role"),
                   llmctl_text(o, "status"), llmctl_text(o, "created"),
                   expires != NULL ? expires : "never",
                   llmctl_text(o, "revoked"));
        }

        (*n)++;
    }

    return ferror(stdout) ? llmctl_flush() : LLMCTL_OK;
}


static int
llmctl_list_width(void *data, const llm_key_t *k)
{
    int              n;
    llmctl_width_t  *w = data;

    n = (int) strlen(k->client);

    if (n > w->width
        && (w->client == NULL || strcmp(w->client, k->client) == 0))
    {
        w->width = n;
    }

    return 0;
}
