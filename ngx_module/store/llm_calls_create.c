
/*
 * Copyright (C) nginx-llm contributors
 *
 * The files of calls.mdb: made where they are missing, checked before LMDB
 * opens them, given to the directory's owner.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


/* a meta page: a page's header, then the meta's own; see llm_scan.c */

#define LLM_META_AT        16
#define LLM_META_LEN       (LLM_META_AT + 136)
#define LLM_META_MAGIC     0xbeefc0de
#define LLM_MAP_MAX        ((uint64_t) 1 << 46)


static int llm_calls_dir(const char *store, int *fd, char *err,
    size_t errlen);
static int llm_calls_regular(int fd, const char *store, const char *name,
    char *err, size_t errlen);
static int llm_calls_header(int dir, const char *store, char *err,
    size_t errlen);
static size_t llm_calls_size(int dir);
static int llm_calls_create(int dir, const char *store, size_t size,
    char *err, size_t errlen);
static int llm_calls_make(const char *file, size_t size, char *err,
    size_t errlen);
static int llm_calls_publish(int dir, const char *store, char *err,
    size_t errlen);
static int llm_calls_give(int dir, const char *store, const char *name,
    char *err, size_t errlen);


int
llm_calls_files(const char *store, size_t size, char *err, size_t errlen)
{
    int  dir, rc;

    if (size != 0 && (size < LLM_CALLS_MINSIZE || size > LLM_MAP_MAX)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/%s: size %zu is not between 1m and 64t", store,
                       LLM_CALLS_FILE, size);
    }

    rc = llm_calls_dir(store, &dir, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_calls_regular(dir, store, LLM_CALLS_FILE, err, errlen);

    if (rc == LLM_NOTFOUND) {
        rc = llm_calls_create(dir, store,
                              size != 0 ? size : llm_calls_size(dir), err,
                              errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_calls_header(dir, store, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_calls_regular(dir, store, LLM_CALLS_LOCK, err, errlen);

        if (rc == LLM_NOTFOUND) {
            rc = LLM_OK;
        }
    }

    (void) close(dir);

    return rc;
}


/* a directory that holds a store: calls.mdb is put into no other */

static int
llm_calls_dir(const char *store, int *fd, char *err, size_t errlen)
{
    int          rc;
    struct stat  sb;

    *fd = open(store, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (*fd == -1) {
        rc = (errno == ENOENT) ? LLM_NOTFOUND
             : (errno == ENOTDIR) ? LLM_INVALID : LLM_ERROR;

        return llm_err(err, errlen, rc, "%s: open: %s", store,
                       strerror(errno));
    }

    if (fstat(*fd, &sb) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", store,
                     strerror(errno));

    } else if (sb.st_mode & 022) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s: store: mode %04o lets others write to it, "
                     "it must be 0700", store,
                     (unsigned) (sb.st_mode & 07777));

    } else {
        rc = llm_calls_regular(*fd, store, "data.mdb", err, errlen);
    }

    if (rc != LLM_OK) {
        (void) close(*fd);
    }

    return rc;
}


static int
llm_calls_regular(int fd, const char *store, const char *name, char *err,
    size_t errlen)
{
    struct stat  sb;

    if (fstatat(fd, name, &sb, AT_SYMLINK_NOFOLLOW) == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                       "%s/%s: stat: %s", store, name, strerror(errno));
    }

    if (!S_ISREG(sb.st_mode) || sb.st_nlink != 1) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/%s: not a regular file of its own", store, name);
    }

    return LLM_OK;
}


/*
 * LMDB's open divides by the page size that it reads, maps the file at the
 * address that it reads, and makes an empty file an environment.
 */

static int
llm_calls_header(int dir, const char *store, char *err, size_t errlen)
{
    int  fd, rc;

    fd = openat(dir, LLM_CALLS_FILE, O_RDONLY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: open: %s", store,
                       LLM_CALLS_FILE, strerror(errno));
    }

    rc = llm_scan_header(fd);
    (void) close(fd);

    if (rc != LLM_OK) {
        (void) llm_err(err, errlen, rc, "%s/%s: malformed header", store,
                       LLM_CALLS_FILE);
    }

    return rc;
}


/*
 * As large as the store beside it: whoever made that small has a small disk.
 * Of its two headers the newer one may be either; a size only grows.
 */

static size_t
llm_calls_size(int dir)
{
    int       fd;
    size_t    psize;
    uint8_t   m[LLM_META_LEN];
    uint64_t  next, size;

    fd = openat(dir, "data.mdb", O_RDONLY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1) {
        return LLM_CALLS_SIZE;
    }

    size = 0;

    if (pread(fd, m, sizeof(m), 0) == sizeof(m)
        && llm_le_get(m + LLM_META_AT, 4) == LLM_META_MAGIC)
    {
        size = llm_le_get(m + LLM_META_AT + 16, 8);
        psize = (size_t) llm_le_get(m + LLM_META_AT + 24, 4);

        if (pread(fd, m, sizeof(m), (off_t) psize) == sizeof(m)
            && llm_le_get(m + LLM_META_AT, 4) == LLM_META_MAGIC)
        {
            next = llm_le_get(m + LLM_META_AT + 16, 8);
            size = next > size ? next : size;
        }
    }

    (void) close(fd);

    return size < LLM_CALLS_MINSIZE || size > LLM_MAP_MAX ? LLM_CALLS_SIZE
                                                          : (size_t) size;
}


/*
 * Made under another name, synced, and renamed, so calls.mdb is there whole
 * or not at all.  Workers that start at the same time wait for the first.
 */

static int
llm_calls_create(int dir, const char *store, size_t size, char *err,
    size_t errlen)
{
    int    rc;
    char  *file;

    /* closing dir unlocks, and so does the process's end */

    while (flock(dir, LOCK_EX) == -1) {
        if (errno != EINTR) {
            return llm_err(err, errlen, LLM_ERROR, "%s: lock: %s", store,
                           strerror(errno));
        }
    }

    rc = llm_calls_regular(dir, store, LLM_CALLS_FILE, err, errlen);

    if (rc != LLM_NOTFOUND) {
        return rc;
    }

    /* the rest of a creation that was killed; and the lock of a file that
     * was removed: who still has it open keeps both */

    (void) unlinkat(dir, LLM_CALLS_FRESH, 0);
    (void) unlinkat(dir, LLM_CALLS_LOCK, 0);

    if (asprintf(&file, "%s/%s", store, LLM_CALLS_FRESH) == -1) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: calls: no memory", store);
    }

    rc = llm_calls_make(file, size, err, errlen);
    free(file);

    if (rc == LLM_OK) {
        rc = llm_calls_publish(dir, store, err, errlen);
    }

    if (rc != LLM_OK) {
        (void) unlinkat(dir, LLM_CALLS_FRESH, 0);
    }

    return rc;
}


static int
llm_calls_make(const char *file, size_t size, char *err, size_t errlen)
{
    int       i, rc;
    MDB_env  *env;
    MDB_txn  *txn;
    MDB_dbi   dbi;
    MDB_val   k, v;
    uint8_t   schema[4];

    static const char  *names[LLM_CALLS_DBS] = {
        "usage", "calls", "days", "events", "meta"
    };

    env = NULL;
    txn = NULL;
    dbi = 0;

    rc = mdb_env_create(&env);

    if (rc == 0) {
        rc = mdb_env_set_mapsize(env, size & ~(size_t) 65535);
    }

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(env, LLM_CALLS_DBS);
    }

    if (rc == 0) {
        rc = mdb_env_open(env, file, MDB_NOSUBDIR|MDB_NOLOCK|MDB_NOTLS, 0600);
    }

    if (rc == 0) {
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    }

    for (i = 0; rc == 0 && i < LLM_CALLS_DBS; i++) {
        rc = mdb_dbi_open(txn, names[i], MDB_CREATE, &dbi);
    }

    if (rc == 0) {
        llm_le_put(schema, LLM_CALLS_SCHEMA, 4);
        k.mv_data = "schema";
        k.mv_size = 6;
        v.mv_data = schema;
        v.mv_size = sizeof(schema);
        rc = mdb_put(txn, dbi, &k, &v, 0);
    }

    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }

    if (rc == 0) {
        rc = mdb_env_sync(env, 1);
    }

    if (txn != NULL) {
        mdb_txn_abort(txn);
    }

    if (env != NULL) {
        mdb_env_close(env);
    }

    if (rc != 0) {
        return llm_err(err, errlen, rc == ENOMEM ? LLM_NOMEM : LLM_ERROR,
                       "%s: create: %s", file, mdb_strerror(rc));
    }

    return LLM_OK;
}


static int
llm_calls_publish(int dir, const char *store, char *err, size_t errlen)
{
    int  rc;

    rc = llm_calls_give(dir, store, LLM_CALLS_FRESH, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (renameat(dir, LLM_CALLS_FRESH, dir, LLM_CALLS_FILE) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: rename: %s", store,
                       LLM_CALLS_FILE, strerror(errno));
    }

    if (fsync(dir) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: sync: %s", store,
                       strerror(errno));
    }

    return LLM_OK;
}


int
llm_calls_chown(const char *store, char *err, size_t errlen)
{
    int  dir, rc;

    if (geteuid() != 0) {
        return LLM_OK;
    }

    dir = open(store, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (dir == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: open: %s", store,
                       strerror(errno));
    }

    rc = llm_calls_give(dir, store, LLM_CALLS_FILE, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_calls_give(dir, store, LLM_CALLS_LOCK, err, errlen);
    }

    (void) close(dir);

    return rc;
}


static int
llm_calls_give(int dir, const char *store, const char *name, char *err,
    size_t errlen)
{
    struct stat  owner;

    if (geteuid() != 0) {
        return LLM_OK;
    }

    if (fstat(dir, &owner) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", store,
                       strerror(errno));
    }

    return llm_file_give(dir, store, name, owner.st_uid, owner.st_gid, err,
                         errlen);
}
