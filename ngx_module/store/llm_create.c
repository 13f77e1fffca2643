
/*
 * Copyright (C) nginx-llm contributors
 *
 * Creates a store: the directory and, in it, a whole data.mdb or none; so do
 * backup and restore.  Run by llmctl, once in a store's life.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "llm_store_int.h"


static int llm_dir_return(const llm_dir_t *dir, const char *path, char *err,
    size_t errlen);
static int llm_dir_take(llm_dir_t *dir, const char *path, char *err,
    size_t errlen);
static int llm_store_dir_empty(int fd, const char *path, char *err,
    size_t errlen);
static int llm_store_make(llm_store_t *st, size_t size, char *err,
    size_t errlen);
static int llm_store_rename(const char *path, const llm_dir_t *dir,
    const char *from, const char *to, char *err, size_t errlen);


/*
 * The store is made under another name, synced, and renamed: data.mdb is
 * there whole or not at all.  The lock on the directory keeps two creators
 * apart, and goes when its holder dies.
 */

int
llm_store_create(const char *path, size_t size, char *err, size_t errlen)
{
    int          rc;
    llm_dir_t    dir;
    llm_store_t  st;

    memset(&st, 0, sizeof(llm_store_t));

    if (size == 0) {
        size = LLM_STORE_SIZE;
    }

    if (size < LLM_STORE_MINSIZE || size > SIZE_MAX / 4) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: store: size %zu is not between 1m and %zug",
                       path, size, (SIZE_MAX / 4) >> 30);
    }

    rc = llm_dir_open(&dir, path, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (asprintf(&st.path, "%s/%s", path, LLM_STORE_NEW) == -1) {
        st.path = NULL;
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: store: no memory", path);

    } else {
        rc = llm_store_make(&st, size, err, errlen);
    }

    llm_store_free(&st);

    return llm_dir_close(&dir, path, rc, err, errlen);
}


/* the directory, made or found empty, locked by its descriptor */

int
llm_dir_open(llm_dir_t *dir, const char *path, char *err, size_t errlen)
{
    int  i, rc;

    static const char  *const left[] = { LLM_STORE_NEW, LLM_CALLS_NEW };

    dir->made = 1;

    if (mkdir(path, 0700) == -1) {
        if (errno != EEXIST) {
            return llm_err(err, errlen, LLM_ERROR, "%s: mkdir: %s", path,
                           strerror(errno));
        }

        dir->made = 0;
    }

    dir->fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (dir->fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: open: %s", path,
                       strerror(errno));
    }

    if (flock(dir->fd, LOCK_EX|LOCK_NB) == -1) {
        rc = llm_err(err, errlen, LLM_AGAIN,
                     "%s: store: another process is creating it", path);
        (void) close(dir->fd);

        return rc;
    }

    rc = llm_dir_take(dir, path, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_dir_empty(dir->fd, path, err, errlen);
    }

    if (rc == LLM_OK && fchmod(dir->fd, 0700) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: chmod: %s", path,
                     strerror(errno));
    }

    for (i = 0; rc == LLM_OK && i < 2; i++) {
        if (unlinkat(dir->fd, left[i], 0) == -1 && errno != ENOENT) {
            rc = llm_err(err, errlen, LLM_ERROR, "%s/%s: unlink: %s", path,
                         left[i], strerror(errno));
        }
    }

    if (rc != LLM_OK) {
        (void) llm_dir_return(dir, path, NULL, 0);
        (void) close(dir->fd);
    }

    return rc;
}


/* another's directory is root's while root makes files there: nobody else may
 * then put one in another's place */

static int
llm_dir_take(llm_dir_t *dir, const char *path, char *err, size_t errlen)
{
    struct stat  sb;

    dir->uid = dir->gid = 0;

    if (fstat(dir->fd, &sb) == -1
        || (geteuid() == 0 && sb.st_uid != 0
            && fchown(dir->fd, 0, 0) == -1))
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: chown: %s", path,
                       strerror(errno));
    }

    dir->uid = sb.st_uid;
    dir->gid = sb.st_gid;

    return LLM_OK;
}


static int
llm_dir_return(const llm_dir_t *dir, const char *path, char *err,
    size_t errlen)
{
    if (geteuid() == 0 && dir->uid != 0
        && fchown(dir->fd, dir->uid, dir->gid) == -1)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: chown: %s", path,
                       strerror(errno));
    }

    return LLM_OK;
}


/* data.mdb last: with it the directory is a store */

int
llm_dir_close(llm_dir_t *dir, const char *path, int rc, char *err,
    size_t errlen)
{
    int  calls, parent;

    calls = 0;

    if (rc == LLM_OK && faccessat(dir->fd, LLM_CALLS_NEW, F_OK, 0) == 0) {
        rc = llm_store_rename(path, dir, LLM_CALLS_NEW, "calls.mdb", err,
                              errlen);
        calls = (rc == LLM_OK);
    }

    if (rc == LLM_OK) {
        rc = llm_store_rename(path, dir, LLM_STORE_NEW, "data.mdb", err,
                              errlen);

        if (rc == LLM_OK && fsync(dir->fd) == -1) {
            rc = llm_err(err, errlen, LLM_ERROR, "%s: sync: %s", path,
                         strerror(errno));
            (void) unlinkat(dir->fd, "data.mdb", 0);
        }
    }

    if (rc == LLM_OK) {
        parent = openat(dir->fd, "..", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

        if (parent != -1) {
            (void) fsync(parent);
            (void) close(parent);
        }

    } else {
        if (calls) {
            (void) unlinkat(dir->fd, "calls.mdb", 0);
        }

        (void) unlinkat(dir->fd, LLM_STORE_NEW, 0);
        (void) unlinkat(dir->fd, LLM_CALLS_NEW, 0);

        if (dir->made) {
            (void) rmdir(path);
        }
    }

    if (rc == LLM_OK) {
        rc = llm_dir_return(dir, path, err, errlen);

    } else {
        (void) llm_dir_return(dir, path, NULL, 0);
    }

    (void) close(dir->fd);

    return rc;
}


/* the rest of a creation that was killed may be there */

static int
llm_store_dir_empty(int fd, const char *path, char *err, size_t errlen)
{
    int             dup_fd, rc;
    DIR            *dir;
    struct dirent  *de;

    /* not dup(): it would share the position */

    dup_fd = openat(fd, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    dir = (dup_fd == -1) ? NULL : fdopendir(dup_fd);

    if (dir == NULL) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: opendir: %s", path,
                     strerror(errno));

        if (dup_fd != -1) {
            (void) close(dup_fd);
        }

        return rc;
    }

    rc = LLM_OK;

    while ((de = readdir(dir)) != NULL) {

        if (strcmp(de->d_name, "data.mdb") == 0) {
            rc = llm_err(err, errlen, LLM_EXISTS, "%s: store: exists", path);
            break;
        }

        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0
            && strcmp(de->d_name, "lock.mdb") != 0
            && strcmp(de->d_name, LLM_STORE_NEW) != 0
            && strcmp(de->d_name, LLM_CALLS_NEW) != 0)
        {
            rc = llm_err(err, errlen, LLM_INVALID,
                         "%s: store: the directory is not empty "
                         "and holds no store", path);
            /* go on: data.mdb is the better message */
        }
    }

    (void) closedir(dir);

    return rc;
}


static int
llm_store_make(llm_store_t *st, size_t size, char *err, size_t errlen)
{
    int        i, rc;
    MDB_dbi    dbi;
    MDB_txn   *txn;
    MDB_stat   stat;

    static const char  *const dbs[] = { "keys", "ids", "meta", "totp",
                                        "params", "changes" };

    txn = NULL;

    rc = mdb_env_create(&st->env);

    if (rc == 0) {
        rc = mdb_env_set_mapsize(st->env, size & ~(size_t) 4095);
    }

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(st->env, LLM_STORE_DBS);
    }

    if (rc == 0) {
        rc = mdb_env_open(st->env, st->path,
                          MDB_NOSUBDIR|MDB_NOLOCK|MDB_NOTLS, 0600);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "create", err, errlen);
    }

    (void) mdb_env_stat(st->env, &stat);
    st->psize = stat.ms_psize;

    rc = llm_store_room(st, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_txn_begin(st->env, NULL, 0, &txn);

    for (i = 0; rc == 0 && i < 6; i++) {
        rc = mdb_dbi_open(txn, dbs[i], MDB_CREATE, &dbi);

        if (i == 2) {
            st->meta = dbi;
        }
    }

    if (rc != 0) {
        goto failed;
    }

    rc = llm_meta_put(st, txn, "schema", LLM_STORE_SCHEMA, 4, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_meta_put(st, txn, "created", (uint64_t) time(NULL), 8, err,
                          errlen);
    }

    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    rc = mdb_txn_commit(txn);
    txn = NULL;

    if (rc == 0) {
        rc = mdb_env_sync(st->env, 1);
    }

failed:

    mdb_txn_abort(txn);

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "create", err, errlen);
}


/* the directory is root's or the later owner's */

static int
llm_store_rename(const char *path, const llm_dir_t *dir, const char *from,
    const char *to, char *err, size_t errlen)
{
    int  rc;

    if (geteuid() == 0) {
        rc = llm_file_give(dir->fd, path, from, dir->uid, dir->gid, err,
                           errlen);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    if (renameat(dir->fd, from, dir->fd, to) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: rename: %s", path, to,
                       strerror(errno));
    }

    return LLM_OK;
}
