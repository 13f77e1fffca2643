
/*
 * Copyright (C) nginx-llm contributors
 *
 * A store's files before LMDB uses them: what they are, whose, and how long.
 * The thread that opens a store runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llm_store_int.h"


#define LLM_ENV_CHUNK  ((size_t) 1 << 20)       /* a file grows by it */


static int llm_store_header(int dir, const char *path, char *err,
    size_t errlen);
static int llm_env_reserve(int fd, uint64_t from, uint64_t to);
static int llm_env_oldest(const char *line, void *data);


/*
 * LMDB would create what is missing, follow links, and make an empty file a
 * store.
 */

int
llm_store_files(const char *path, char *err, size_t errlen)
{
    int          fd, rc;
    struct stat  sb;

    fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd == -1) {
        rc = (errno == ENOENT) ? LLM_NOTFOUND
             : (errno == ENOTDIR) ? LLM_INVALID : LLM_ERROR;

        return llm_err(err, errlen, rc, "%s: open: %s", path,
                       strerror(errno));
    }

    rc = LLM_OK;

    if (fstat(fd, &sb) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", path,
                     strerror(errno));

    } else if (sb.st_mode & 022) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s: store: mode %04o lets others write to it, "
                     "it must be 0700", path,
                     (unsigned) (sb.st_mode & 07777));

    } else if (fstatat(fd, "data.mdb", &sb, AT_SYMLINK_NOFOLLOW) == -1) {
        rc = llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                     "%s/data.mdb: stat: %s", path, strerror(errno));

    } else if (!S_ISREG(sb.st_mode) || sb.st_nlink != 1) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s/data.mdb: not a regular file of its own", path);

    } else if (sb.st_size < 8192) {
        rc = llm_err(err, errlen, LLM_INVALID, "%s/data.mdb: truncated: "
                     "%lld bytes", path, (long long) sb.st_size);

    } else if (fstatat(fd, "lock.mdb", &sb, AT_SYMLINK_NOFOLLOW) == 0
               && (!S_ISREG(sb.st_mode) || sb.st_nlink != 1))
    {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s/lock.mdb: not a regular file of its own", path);

    } else {
        rc = llm_store_header(fd, path, err, errlen);
    }

    (void) close(fd);

    return rc;
}


/* no lock of LMDB's is on this file: a descriptor more may be closed */

static int
llm_store_header(int dir, const char *path, char *err, size_t errlen)
{
    int  fd, rc;

    fd = openat(dir, "data.mdb", O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/data.mdb: open: %s", path,
                       strerror(errno));
    }

    rc = llm_scan_header(fd);
    (void) close(fd);

    return rc == LLM_OK ? LLM_OK
                        : llm_err(err, errlen, rc, "%s/data.mdb: malformed "
                                  "header", path);
}


/*
 * A page beyond the end of the file is a SIGBUS when it is read.  Files that
 * llm_store_room() has grown always hold every page.
 */

int
llm_store_sound(llm_store_t *st, char *err, size_t errlen)
{
    int          fd, rc;
    MDB_stat     stat;
    MDB_envinfo  info;
    struct stat  sb;

    (void) mdb_env_stat(st->env, &stat);
    (void) mdb_env_info(st->env, &info);

    st->psize = stat.ms_psize;

    if (st->psize < 512 || st->psize > 65536
        || (st->psize & (st->psize - 1)) != 0
        || info.me_last_pgno >= info.me_mapsize / st->psize)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: malformed header", st->path);
    }

    rc = mdb_env_get_fd(st->env, &fd);

    if (rc != 0 || fstat(fd, &sb) == -1) {
        return llm_store_error(st, rc ? rc : errno, "stat", err, errlen);
    }

    if ((uint64_t) sb.st_size < (info.me_last_pgno + 1) * st->psize) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: truncated: %lld bytes, it had %zu",
                       st->path, (long long) sb.st_size,
                       (info.me_last_pgno + 1) * st->psize);
    }

    return LLM_OK;
}


int
llm_env_grow(MDB_env *env, size_t psize, uint64_t *file, uint64_t want)
{
    int          fd, rc;
    uint64_t     more, pages;
    MDB_envinfo  info;

    if (*file >= want) {
        return 0;
    }

    (void) mdb_env_info(env, &info);

    pages = info.me_mapsize / psize;
    want = want < pages ? want : pages;
    more = want + LLM_ENV_CHUNK / psize;
    more = more < pages ? more : pages;

    if (*file >= want || mdb_env_get_fd(env, &fd) != 0) {
        return 0;
    }

    rc = llm_env_reserve(fd, *file * psize, more * psize);

    if (rc != 0) {

        /* the last of it */

        more = want;
        rc = llm_env_reserve(fd, *file * psize, more * psize);
    }

    if (rc == 0) {
        *file = more;
    }

    return rc;
}


static int
llm_env_reserve(int fd, uint64_t from, uint64_t to)
{
    if (fallocate(fd, 0, (off_t) from, (off_t) (to - from)) == 0
        || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
    {
        return 0;
    }

    return errno;
}


/*
 * Free pages are listed in LMDB's database 0 under the transaction that freed
 * them: a count, then the numbers.  Those can be used that all readers are
 * past.
 */

uint64_t
llm_env_reusable(MDB_env *env, MDB_txn *wtxn, MDB_txn *rtxn)
{
    int              rc;
    MDB_val          k, v;
    uint64_t         count, n, id, oldest;
    MDB_cursor      *cursor;
    MDB_cursor_op    op;

    (void) mdb_reader_check(env, NULL);

    oldest = mdb_txn_id(wtxn) - 1;
    (void) mdb_reader_list(env, llm_env_oldest, &oldest);

    if (mdb_txn_renew(rtxn) != 0) {
        return 0;
    }

    n = 0;

    if (mdb_cursor_open(rtxn, 0, &cursor) == 0) {

        for (op = MDB_FIRST; /* void */ ; op = MDB_NEXT) {
            rc = mdb_cursor_get(cursor, &k, &v, op);

            if (rc != 0 || k.mv_size != 8 || v.mv_size < 8) {
                break;
            }

            memcpy(&id, k.mv_data, 8);
            memcpy(&count, v.mv_data, 8);

            if (id >= oldest || count > v.mv_size / 8) {
                break;
            }

            n += count;
        }

        mdb_cursor_close(cursor);
    }

    mdb_txn_reset(rtxn);

    return n;
}


/* a line of mdb_reader_list(): process, thread, transaction or "-" */

static int
llm_env_oldest(const char *line, void *data)
{
    uint64_t            *oldest;
    unsigned long long   id;

    oldest = data;

    if (sscanf(line, "%*d %*x %llu", &id) == 1 && id < *oldest) {
        *oldest = id;
    }

    return 0;
}
