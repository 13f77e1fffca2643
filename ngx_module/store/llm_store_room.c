
/*
 * Copyright (C) nginx-llm contributors
 *
 * How much room data.mdb has, in its map and on the disk: for the one writer,
 * which takes what it needs, and for a look from outside, which takes nothing.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "llm_store_int.h"


#define LLM_STORE_CHUNK  ((size_t) 1 << 20)     /* the file grows by it */


/* bytes that the file should have for the next change; its pages are few
 * enough for a new key or they are not */
typedef struct {
    int     fd;
    int     full;
    size_t  want;
    size_t  chunk;              /* more, where the map allows it, or 0 */
} llm_store_want_t;


static int llm_store_want(llm_store_t *st, llm_store_want_t *w,
    struct stat *sb, char *err, size_t errlen);
static int llm_store_there(llm_store_t *st, const struct stat *sb, char *err,
    size_t errlen);
static int llm_store_disk(llm_store_t *st, const llm_store_want_t *w,
    const struct stat *sb, char *err, size_t errlen);


/*
 * Called by the one writer.  Keeps the map's and the disk's last pages for
 * revocations, which go on when no more can be had, and the file as long as
 * its pages: LMDB leaves a page that it freed at once unwritten.
 */

int
llm_store_room(llm_store_t *st, int create, char *err, size_t errlen)
{
    int               rc;
    size_t            want;
    struct stat       sb;
    llm_store_want_t  w;

    rc = llm_store_want(st, &w, &sb, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (create && w.full) {
        return llm_store_error(st, MDB_MAP_FULL, "write", err, errlen);
    }

    if ((uint64_t) sb.st_size >= w.want) {
        return LLM_OK;
    }

    want = w.want + w.chunk;

    if (fallocate(w.fd, 0, sb.st_size, (off_t) want - sb.st_size) == 0) {
        return LLM_OK;
    }

    rc = errno;

    if (create && rc != EOPNOTSUPP && rc != ENOSYS && rc != EINTR) {
        return llm_store_error(st, rc, "write", err, errlen);
    }

    if (ftruncate(w.fd, (off_t) want) == -1 && create) {
        return llm_store_error(st, errno, "write", err, errlen);
    }

    return LLM_OK;
}


static int
llm_store_want(llm_store_t *st, llm_store_want_t *w, struct stat *sb,
    char *err, size_t errlen)
{
    int          rc;
    size_t       used, max;
    MDB_envinfo  info;

    (void) mdb_env_info(st->env, &info);

    used = info.me_last_pgno + 1;
    max = info.me_mapsize / st->psize;

    w->full = (used + LLM_STORE_RESERVE > max);
    w->want = (w->full ? max : used + LLM_STORE_RESERVE) * st->psize;
    w->chunk = (w->want + LLM_STORE_CHUNK <= info.me_mapsize)
               ? LLM_STORE_CHUNK : 0;

    rc = mdb_env_get_fd(st->env, &w->fd);

    if (rc != 0 || fstat(w->fd, sb) == -1) {
        return llm_store_error(st, rc ? rc : errno, "stat", err, errlen);
    }

    return LLM_OK;
}


int
llm_store_ready(llm_store_t *st, char *err, size_t errlen)
{
    int               rc;
    MDB_txn          *txn;
    uint64_t          schema;
    struct stat       sb;
    llm_store_want_t  w;

    /* an environment whose last commit failed says so here */

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_meta_get(st, txn, "schema", &schema, 4, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_want(st, &w, &sb, err, errlen);
    }

    llm_store_read_end(st);

    if (rc == LLM_NOTFOUND) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: not a key store", st->path);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_there(st, &sb, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (w.full) {
        return llm_store_error(st, MDB_MAP_FULL, "write", err, errlen);
    }

    return llm_store_disk(st, &w, &sb, err, errlen);
}


/* the file that is open is still the one that others find */

static int
llm_store_there(llm_store_t *st, const struct stat *sb, char *err,
    size_t errlen)
{
    int          dir, rc;
    struct stat  now;

    dir = open(st->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    rc = (dir == -1) ? -1 : fstatat(dir, "data.mdb", &now,
                                    AT_SYMLINK_NOFOLLOW);

    if (rc == -1 && errno != ENOENT && errno != ENOTDIR) {
        rc = llm_store_error(st, errno, "stat", err, errlen);

    } else if (rc == -1 || now.st_ino != sb->st_ino
               || now.st_dev != sb->st_dev)
    {
        rc = llm_err(err, errlen, LLM_AWAY,
                     "%s/data.mdb: it was removed or replaced", st->path);
    }

    if (dir != -1) {
        (void) close(dir);
    }

    return rc;
}


/*
 * What llm_store_room() would take, and holes in what there is: pages that
 * were to be had when the disk was full already.  A file system that
 * compresses has holes too; it must have some room then.
 */

static int
llm_store_disk(llm_store_t *st, const llm_store_want_t *w,
    const struct stat *sb, char *err, size_t errlen)
{
    size_t          size, have, more;
    uint64_t        room;
    struct statvfs  fs;

    if (fstatvfs(w->fd, &fs) == -1) {
        return llm_store_error(st, errno, "stat", err, errlen);
    }

    if (fs.f_flag & ST_RDONLY) {
        return llm_store_error(st, EROFS, "write", err, errlen);
    }

    size = (size_t) sb->st_size;
    have = (size_t) sb->st_blocks * 512;

    more = (size < w->want) ? w->want + w->chunk - size : 0;

    if (have < w->want && w->want - have > more) {
        more = w->want - have;
    }

    room = (uint64_t) (geteuid() == 0 ? fs.f_bfree : fs.f_bavail)
           * fs.f_frsize;

    if (room < more) {
        return llm_store_error(st, ENOSPC, "write", err, errlen);
    }

    return LLM_OK;
}
