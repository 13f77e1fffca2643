
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl init: the secret and the store, both or neither.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../store/llm_store.h"
#include "llmctl.h"


typedef struct {
    const char  *store;
    const char  *source;        /* of the secret: "file:...", "pkcs11:..." */
    const char  *secret;        /* its path, NULL: it is in a token */
    uint64_t     size;
    int          chown;
    uid_t        uid;
    gid_t        gid;
} llmctl_init_t;


/* what makes the store this secret's */
typedef struct {
    const llmctl_init_t  *in;
    llm_secret_t         *secret;
} llmctl_bind_t;


static int llmctl_init_free(const llmctl_init_t *in);
static int llmctl_init_make(const llmctl_init_t *in);
static int llmctl_init_store(const llmctl_init_t *in, char *err,
    size_t errlen);
static int llmctl_init_bind(void *data, char *err, size_t errlen);
static void llmctl_init_undo(const llmctl_init_t *in, int dir_was);
static int llmctl_init_parents(const char *path);


int
llmctl_init(int argc, char **argv)
{
    int            rc;
    sigset_t       set, old;
    const char    *size, *owner, *none[1];
    llmctl_init_t  in;

    const llmctl_opt_t  opts[] = {
        { "store", &in.store, NULL },
        { "secret", &in.source, NULL },
        { "size", &size, NULL },
        { "owner", &owner, NULL },
        { NULL, NULL, NULL }
    };

    memset(&in, 0, sizeof(in));
    in.store = LLMCTL_STORE;
    in.source = LLMCTL_SECRET;
    size = "1g";
    owner = NULL;

    rc = llmctl_options(argc, argv, opts, none, 0);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    in.size = llmctl_size(size);

    if (in.size < 1 << 20 || in.size > (uint64_t) 1 << 44) {
        return llmctl_error(LLMCTL_USAGE,
                            "init: --size must be between 1m and 16t");
    }

    rc = llmctl_source("init", in.source);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (strncmp(in.source, "pkcs11:", 7) != 0) {
        in.secret = strncmp(in.source, "file:", 5) == 0 ? in.source + 5
                                                        : in.source;
    }

    if ((in.secret != NULL && *in.secret == '\0') || *in.store == '\0') {
        return llmctl_error(LLMCTL_USAGE, "init: --store and --secret "
                            "must not be empty");
    }

    if (owner != NULL) {
        rc = llmctl_owner("init", owner, &in.uid, &in.gid);
        if (rc != LLMCTL_OK) {
            return rc;
        }

        in.chown = 1;
    }

    rc = llmctl_init_free(&in);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    /* workers pass through the directories above the store */

    (void) umask(022);

    if (in.secret != NULL) {
        rc = llmctl_init_parents(in.secret);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_init_parents(in.store);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    /* an interrupt waits for the end: both or neither */

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGINT);
    (void) sigaddset(&set, SIGTERM);
    (void) sigaddset(&set, SIGHUP);
    (void) sigprocmask(SIG_BLOCK, &set, &old);

    rc = llmctl_init_make(&in);

    (void) sigprocmask(SIG_SETMASK, &old, NULL);

    if (rc != LLMCTL_OK) {
        return rc;
    }

    if (in.secret == NULL) {
        printf("store:  %s\nsecret: %.*s\n\n"
               "Without the token no new key can be made, and nginx does not "
               "start.\n", in.store, (int) strcspn(in.source, "?"), in.source);

        return llmctl_flush();
    }

    printf("store:  %s\nsecret: %s\n\n"
           "Keep a copy of the secret in a safe place: without it no key is "
           "valid.\n", in.store, in.secret);

    return llmctl_flush();
}


static int
llmctl_init_free(const llmctl_init_t *in)
{
    int          secret, store;
    char         path[4096];
    struct stat  sb;

    if (snprintf(path, sizeof(path), "%s/data.mdb", in->store)
        >= (int) sizeof(path))
    {
        return llmctl_error(LLMCTL_FAILED, "init: --store: path too long");
    }

    store = (lstat(path, &sb) == 0);
    secret = (in->secret != NULL && lstat(in->secret, &sb) == 0);

    if (store) {
        return llmctl_error(LLMCTL_EXISTS, "%s: store: exists", in->store);
    }

    if (secret) {
        return llmctl_error(LLMCTL_EXISTS, "%s: secret: exists, but there is "
                            "no store at %s: remove or move it, if no other "
                            "store needs it", in->secret, in->store);
    }

    return LLMCTL_OK;
}


static int
llmctl_init_make(const llmctl_init_t *in)
{
    int          dir_was, rc;
    char         err[LLM_ERRLEN];
    struct stat  sb;

    dir_was = (lstat(in->store, &sb) == 0);

    rc = llm_secret_create(in->source, err, sizeof(err));

    /* a key that is in the token already is taken: it may have come there
     * by the token's own tools, or by an init whose store failed */

    if (rc == LLM_EXISTS && in->secret == NULL) {
        rc = LLM_OK;
    }

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    rc = llm_store_create(in->store, in->size, err, sizeof(err));

    if (rc != LLM_OK) {
        if (in->secret != NULL) {
            (void) unlink(in->secret);
        }

        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    rc = llmctl_init_store(in, err, sizeof(err));

    if (rc != LLM_OK) {
        llmctl_init_undo(in, dir_was);
        return llmctl_error(llmctl_exit(rc), "%s", err);
    }

    return LLMCTL_OK;
}


/* bound to the secret, so that another one is told from a wrong key */

static int
llmctl_init_store(const llmctl_init_t *in, char *err, size_t errlen)
{
    int             rc;
    llmctl_bind_t   bind;

    bind.in = in;

    rc = llm_secret_open(&bind.secret, in->source, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_as_owner(in->store, llmctl_init_bind, &bind, err, errlen);

    llm_secret_close(bind.secret);

    if (rc == LLM_OK && in->chown) {
        rc = llm_store_give(in->store, in->uid, in->gid, err, errlen);
    }

    return rc;
}


static int
llmctl_init_bind(void *data, char *err, size_t errlen)
{
    int             rc;
    llm_store_t    *st;
    llmctl_bind_t  *bind = data;

    rc = llm_store_open(&st, bind->in->store, 0, err, errlen);

    if (rc == LLM_OK) {
        llm_store_actor(st, "llmctl:init");
        rc = llm_store_bind(st, bind->secret, err, errlen);
        llm_store_close(st);
    }

    return rc;
}


static void
llmctl_init_undo(const llmctl_init_t *in, int dir_was)
{
    int  fd;

    if (in->secret != NULL) {
        (void) unlink(in->secret);
    }

    fd = open(in->store, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd != -1) {
        (void) unlinkat(fd, "data.mdb", 0);
        (void) unlinkat(fd, "lock.mdb", 0);
        (void) close(fd);
    }

    if (!dir_was) {
        (void) rmdir(in->store);
    }
}


/* the directories above path */

static int
llmctl_init_parents(const char *path)
{
    char  *copy, *p;

    copy = strdup(path);
    if (copy == NULL) {
        return llmctl_error(LLMCTL_FAILED, "no memory");
    }

    /* "dir/" names dir: its parents end before it */

    for (p = copy + strlen(copy); p > copy + 1 && p[-1] == '/'; p--) {
        p[-1] = '\0';
    }

    for (p = strchr(copy + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';

        if (mkdir(copy, 0755) == -1 && errno != EEXIST) {
            (void) llmctl_error(0, "%s: mkdir: %s", copy, strerror(errno));
            free(copy);

            return LLMCTL_FAILED;
        }

        *p = '/';
    }

    free(copy);

    return LLMCTL_OK;
}
