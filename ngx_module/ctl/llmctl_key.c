
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl key: create, list, show, revoke.  A key is printed once, by create;
 * it is in no other output, no error, no argument.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "../store/llm_store.h"
#include "llmctl.h"


#define LLMCTL_EXPIRES_MAX  (100LL * 366 * 86400)   /* seconds from now */


typedef struct {
    const char  *client;        /* NULL: all */
    int          json;
    int          width;         /* of the client's column */
    int64_t      now;
    size_t       n;
} llmctl_list_t;


static int llmctl_store(const char *path, llm_store_t **st);
static int llmctl_store_become(const char *path);
static int llmctl_expires(const char *s, int64_t *when);
static int llmctl_date(const char *s, int64_t *when);
static int llmctl_key_id(const char *cmd, const char *id);
static int llmctl_width(void *data, const llm_key_t *k);
static int llmctl_row(void *data, const llm_key_t *k);
static int llmctl_print(const llm_key_t *k, const char *key, int json);
static json_t *llmctl_json(const llm_key_t *k, int64_t now);
static const char *llmctl_status(const llm_key_t *k, int64_t now);
static char *llmctl_time(char *buf, size_t size, int64_t t);


int
llmctl_key_create(int argc, char **argv)
{
    int            json, rc;
    char           err[LLM_ERRLEN], key[LLM_KEY_LEN + 1];
    llm_key_t      k;
    const char    *store, *source, *client, *role, *expires, *none[1];
    llm_store_t   *st;
    llm_secret_t  *secret;

    const llmctl_opt_t  opts[] = {
        { "store", &store, NULL },
        { "secret", &source, NULL },
        { "client", &client, NULL },
        { "role", &role, NULL },
        { "expires", &expires, NULL },
        { "json", NULL, &json },
        { NULL, NULL, NULL }
    };

    store = LLMCTL_STORE;
    source = LLMCTL_SECRET;
    client = role = NULL;
    expires = "90d";
    json = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (client == NULL || role == NULL) {
        return llmctl_error(LLMCTL_USAGE, "key create: --client and --role "
                            "are needed, see llmctl key create --help");
    }

    memset(&k, 0, sizeof(k));

    if (strlen(client) > LLM_CLIENT_MAX) {
        return llmctl_error(LLMCTL_USAGE, "key create: --client: "
                            "at most %d characters", LLM_CLIENT_MAX);
    }

    strcpy(k.client, client);
    k.role = llm_role_parse(role, strlen(role));

    if (k.role == LLM_ROLE_NONE) {
        return llmctl_error(LLMCTL_USAGE, "key create: --role: "
                            "user, operator or admin");
    }

    rc = llmctl_expires(expires, &k.expires);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_source("key create", source);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llm_secret_open(&secret, source, err, sizeof(err));
    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    rc = llmctl_store(store, &st);

    if (rc != LLMCTL_OK) {
        llm_secret_close(secret);
        return rc;
    }

    rc = llm_key_create(st, secret, &k, key, err, sizeof(err));
    llm_secret_close(secret);

    if (rc != LLM_OK) {
        llm_store_close(st);

        /* of what is still unchecked here: the client's name */
        return llmctl_error(strncmp(err, "key: client:", 12) == 0
                            ? LLMCTL_USAGE : llmctl_exit(rc), "%s", err);
    }

    rc = llmctl_print(&k, key, json);
    OPENSSL_cleanse(key, sizeof(key));

    if (rc != LLMCTL_OK) {

        /* nobody has it: it must not stay valid */

        if (llm_key_revoke(st, k.id, &k, err, sizeof(err)) == LLM_OK) {
            (void) llmctl_error(0, "%s: the key could not be printed and "
                                "is revoked", k.id);
        } else {
            (void) llmctl_error(0, "the key could not be printed, and it "
                                "could not be revoked: %s", err);
        }
    }

    llm_store_close(st);

    return rc;
}


int
llmctl_key_list(int argc, char **argv)
{
    int             rc;
    char            err[LLM_ERRLEN];
    const char     *store, *source, *none[1];
    llm_store_t    *st;
    llmctl_list_t   list;

    const llmctl_opt_t  opts[] = {
        { "store", &store, NULL },
        { "secret", &source, NULL },
        { "client", &list.client, NULL },
        { "json", NULL, &list.json },
        { NULL, NULL, NULL }
    };

    store = LLMCTL_STORE;
    memset(&list, 0, sizeof(list));

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        rc = llmctl_store(store, &st);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    list.now = (int64_t) time(NULL);
    list.width = (int) strlen("CLIENT");

    if (list.json) {
        printf("[");

    } else {
        (void) llm_key_each(st, NULL, llmctl_width, &list, NULL, 0);

        printf("%-*s  %-*s  %-8s  %-7s  %-20s  %-20s  %s\n",
               LLM_KEY_ID_LEN, "ID", list.width, "CLIENT", "ROLE", "STATUS",
               "CREATED", "EXPIRES", "REVOKED");
    }

    /* bad records come at the end as one error, after the good ones */

    rc = llm_key_each(st, NULL, llmctl_row, &list, err, sizeof(err));
    llm_store_close(st);

    if (list.json) {
        printf("%s]\n", list.n == 0 ? "" : "\n");
    }

    if (llmctl_flush() != LLMCTL_OK) {
        return LLMCTL_FAILED;
    }

    return rc == LLM_OK ? LLMCTL_OK
                        : llmctl_error(LLMCTL_FAILED, "%s", err);
}


int
llmctl_key_show(int argc, char **argv)
{
    int           json, rc;
    char          err[LLM_ERRLEN];
    llm_key_t     k;
    const char   *store, *source, *id[1];
    llm_store_t  *st;

    const llmctl_opt_t  opts[] = {
        { "store", &store, NULL },
        { "secret", &source, NULL },
        { "json", NULL, &json },
        { NULL, NULL, NULL }
    };

    store = LLMCTL_STORE;
    json = 0;

    rc = llmctl_options(argc, argv, opts, id, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_key_id("key show", id[0]);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_store(store, &st);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llm_key_get(st, id[0], &k, err, sizeof(err));
    llm_store_close(st);

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    return llmctl_print(&k, NULL, json);
}


int
llmctl_key_revoke(int argc, char **argv)
{
    int           json, rc;
    char          err[LLM_ERRLEN];
    llm_key_t     k;
    const char   *store, *source, *id[1];
    llm_store_t  *st;

    const llmctl_opt_t  opts[] = {
        { "store", &store, NULL },
        { "secret", &source, NULL },
        { "json", NULL, &json },
        { NULL, NULL, NULL }
    };

    store = LLMCTL_STORE;
    json = 0;

    rc = llmctl_options(argc, argv, opts, id, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_key_id("key revoke", id[0]);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_store(store, &st);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llm_key_revoke(st, id[0], &k, err, sizeof(err));
    llm_store_close(st);

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    return llmctl_print(&k, NULL, json);
}


static int
llmctl_key_id(const char *cmd, const char *id)
{
    if (id == NULL) {
        return llmctl_error(LLMCTL_USAGE, "%s: the key's id is needed, "
                            "see llmctl %s --help", cmd, cmd);
    }

    if (strncmp(id, "sk-", 3) == 0) {
        return llmctl_error(LLMCTL_USAGE, "%s: that is a key, not its id "
                            "(key_...): others on this machine could have "
                            "seen it in the process list", cmd);
    }

    return LLMCTL_OK;
}


static int
llmctl_store(const char *path, llm_store_t **st)
{
    int   rc;
    char  err[LLM_ERRLEN];

    rc = llmctl_store_become(path);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llm_store_open(st, path, 0, err, sizeof(err));

    if (rc == LLM_NOTFOUND) {
        return llmctl_error(LLMCTL_NOTFOUND,
                            "%s (llmctl init makes a store)", err);
    }

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    return LLMCTL_OK;
}


/*
 * Root becomes the store's owner, for good: the files it makes are then the
 * workers' own, and links in a directory that root does not own lead root
 * nowhere.
 */

static int
llmctl_store_become(const char *path)
{
    struct stat  sb;

    if (geteuid() != 0 || stat(path, &sb) == -1 || sb.st_uid == 0) {
        return LLMCTL_OK;
    }

    if (setgroups(0, NULL) == -1 || setgid(sb.st_gid) == -1
        || setuid(sb.st_uid) == -1)
    {
        return llmctl_error(LLMCTL_FAILED, "%s: to become its owner: %s",
                            path, strerror(errno));
    }

    return LLMCTL_OK;
}


/* "never", a time from now, or a day or time in UTC */

static int
llmctl_expires(const char *s, int64_t *when)
{
    char       *end;
    int64_t     now, unit;
    long long   n;

    now = (int64_t) time(NULL);

    if (strcmp(s, "never") == 0) {
        *when = 0;
        return LLMCTL_OK;
    }

    if (*s < '0' || *s > '9') {
        goto invalid;
    }

    if (llmctl_date(s, when)) {
        if (*when <= now) {
            return llmctl_error(LLMCTL_USAGE,
                                "key create: --expires: it is in the past");
        }

        return LLMCTL_OK;
    }

    errno = 0;
    n = strtoll(s, &end, 10);

    switch (*end) {
    case 's':
        unit = 1;
        break;
    case 'm':
        unit = 60;
        break;
    case 'h':
        unit = 3600;
        break;
    case 'd':
        unit = 86400;
        break;
    case 'w':
        unit = 7 * 86400;
        break;
    default:
        goto invalid;
    }

    if (errno != 0 || end[1] != '\0' || n < 1
        || n > LLMCTL_EXPIRES_MAX / unit)
    {
        goto invalid;
    }

    *when = now + n * unit;

    return LLMCTL_OK;

invalid:

    return llmctl_error(LLMCTL_USAGE, "key create: --expires: "
                        "90d, 12h, 2027-01-31 or never");
}


static int
llmctl_date(const char *s, int64_t *when)
{
    char       *end;
    time_t      t;
    struct tm   tm, back;

    memset(&tm, 0, sizeof(tm));

    end = strptime(s, "%Y-%m-%d", &tm);

    if (end == NULL || end != s + 10) {
        return 0;
    }

    if (*end != '\0') {
        end = strptime(end, "T%H:%M:%SZ", &tm);

        if (end == NULL || *end != '\0') {
            return 0;
        }
    }

    /* February 30 would become March 1 */

    back = tm;
    t = timegm(&back);

    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon
        || back.tm_sec != tm.tm_sec)
    {
        return 0;
    }

    *when = (int64_t) t;

    return 1;
}


static int
llmctl_width(void *data, const llm_key_t *k)
{
    int             n;
    llmctl_list_t  *list = data;

    n = (int) strlen(k->client);

    if (n > list->width
        && (list->client == NULL || strcmp(list->client, k->client) == 0))
    {
        list->width = n;
    }

    return 0;
}


static int
llmctl_row(void *data, const llm_key_t *k)
{
    char            created[32], expires[32], revoked[32];
    json_t         *json;
    llmctl_list_t  *list = data;

    if (list->client != NULL && strcmp(list->client, k->client) != 0) {
        return 0;
    }

    if (list->json) {
        json = llmctl_json(k, list->now);
        printf("%s\n ", list->n++ == 0 ? "" : ",");
        (void) json_dumpf(json, stdout, 0);
        json_decref(json);

    } else {
        printf("%-*s  %-*s  %-8s  %-7s  %-20s  %-20s  %s\n",
               LLM_KEY_ID_LEN, k->id, list->width, k->client,
               llm_role_name(k->role), llmctl_status(k, list->now),
               llmctl_time(created, sizeof(created), k->created),
               k->expires == 0 ? "never"
                   : llmctl_time(expires, sizeof(expires), k->expires),
               k->revoked == 0 ? "-"
                   : llmctl_time(revoked, sizeof(revoked), k->revoked));
    }

    return ferror(stdout);
}


/* key: NULL but for a new one */

static int
llmctl_print(const llm_key_t *k, const char *key, int json)
{
    int      rc;
    char     buf[32];
    json_t  *o;
    int64_t  now;

    now = (int64_t) time(NULL);

    if (json) {
        o = llmctl_json(k, now);

        if (o != NULL && key != NULL) {
            (void) json_object_set_new(o, "key", json_string(key));
        }

        rc = json_dumpf(o, stdout, 0);
        json_decref(o);
        printf("\n");

        return rc == 0 ? llmctl_flush()
                       : llmctl_error(LLMCTL_FAILED, "JSON: not written");
    }

    printf("id:      %s\nclient:  %s\nrole:    %s\nstatus:  %s\n"
           "created: %s\n", k->id, k->client, llm_role_name(k->role),
           llmctl_status(k, now), llmctl_time(buf, sizeof(buf), k->created));
    printf("expires: %s\n", k->expires == 0 ? "never"
           : llmctl_time(buf, sizeof(buf), k->expires));

    if (k->revoked != 0) {
        printf("revoked: %s\n", llmctl_time(buf, sizeof(buf), k->revoked));
    }

    if (key != NULL) {
        printf("key:     %s\n\n"
               "Keep the key now: it is stored nowhere and not shown "
               "again.\n", key);
    }

    return llmctl_flush();
}


static json_t *
llmctl_json(const llm_key_t *k, int64_t now)
{
    char  created[32], expires[32], revoked[32];

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?}",
                     "id", k->id,
                     "client", k->client,
                     "role", llm_role_name(k->role),
                     "status", llmctl_status(k, now),
                     "created",
                     llmctl_time(created, sizeof(created), k->created),
                     "expires", k->expires == 0 ? NULL
                     : llmctl_time(expires, sizeof(expires), k->expires),
                     "revoked", k->revoked == 0 ? NULL
                     : llmctl_time(revoked, sizeof(revoked), k->revoked));
}


static const char *
llmctl_status(const llm_key_t *k, int64_t now)
{
    if (k->revoked != 0) {
        return "revoked";
    }

    return (k->expires != 0 && k->expires <= now) ? "expired" : "active";
}


/* ISO 8601, UTC */

static char *
llmctl_time(char *buf, size_t size, int64_t t)
{
    time_t     tt;
    struct tm  tm;

    tt = (time_t) t;

    if (gmtime_r(&tt, &tm) == NULL
        || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        (void) snprintf(buf, size, "%lld", (long long) t);
    }

    return buf;
}
