
/*
 * Copyright (C) nginx-llm contributors
 *
 * Backup and restore.  Run by llmctl; a backup is a reader to the store's
 * other users.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llm_store_int.h"


#define LLM_COPY_CHUNK  ((size_t) 1 << 20)


static int llm_backup_data(llm_store_t *st, const llm_dir_t *dir,
    const char *to, char *err, size_t errlen);
static int llm_backup_calls(const llm_dir_t *dir, const char *to,
    int (*calls)(void *data, const char *file, char *err, size_t errlen),
    void *data, char *err, size_t errlen);
static int llm_restore_copy(int from, const char *name, const char *path,
    const llm_dir_t *dir, const char *to, char *err, size_t errlen);
static int llm_restore_bytes(int in, int out);
static int llm_restore_check(const char *path, const char *from, char *err,
    size_t errlen);
static int llm_restore_pages(llm_store_t *st, const char *file, char *err,
    size_t errlen);
static int llm_restore_keys(llm_store_t *st, MDB_txn *txn, char *err,
    size_t errlen);
static int llm_restore_ids(llm_store_t *st, MDB_txn *txn, size_t *n,
    char *err, size_t errlen);


int
llm_store_backup(llm_store_t *st, const char *to,
    int (*calls)(void *data, const char *file, char *err, size_t errlen),
    void *data, char *err, size_t errlen)
{
    int        rc;
    llm_dir_t  dir;

    rc = llm_dir_open(&dir, to, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_backup_data(st, &dir, to, err, errlen);

    if (rc == LLM_OK && calls != NULL) {
        rc = llm_backup_calls(&dir, to, calls, data, err, errlen);
    }

    return llm_dir_close(&dir, to, rc, err, errlen);
}


static int
llm_backup_data(llm_store_t *st, const llm_dir_t *dir, const char *to,
    char *err, size_t errlen)
{
    int       fd, i, rc;
    MDB_txn  *txn;

    fd = openat(dir->fd, LLM_STORE_NEW, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC,
                0600);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: create: %s", to,
                       LLM_STORE_NEW, strerror(errno));
    }

    rc = MDB_MAP_RESIZED;

    for (i = 0; rc == MDB_MAP_RESIZED && i < LLM_STORE_TRIES; i++) {

        /* takes a map that another process has grown */

        if (llm_store_read(st, &txn, err, errlen) == LLM_OK) {
            llm_store_read_end(st);
        }

        (void) pthread_rwlock_rdlock(&st->shared->lock);

        rc = mdb_env_copyfd2(st->env, fd, 0);

        (void) pthread_rwlock_unlock(&st->shared->lock);
    }

    if (rc == 0 && fsync(fd) == -1) {
        rc = errno;
    }

    if (close(fd) == -1 && rc == 0) {
        rc = errno;
    }

    return rc == 0 ? LLM_OK
                   : llm_err(err, errlen, LLM_ERROR, "%s: backup: %s", to,
                             mdb_strerror(rc));
}


static int
llm_backup_calls(const llm_dir_t *dir, const char *to,
    int (*calls)(void *data, const char *file, char *err, size_t errlen),
    void *data, char *err, size_t errlen)
{
    int    fd, rc;
    char  *file;

    if (asprintf(&file, "%s/%s", to, LLM_CALLS_NEW) == -1) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: backup: no memory", to);
    }

    rc = calls(data, file, err, errlen);
    free(file);

    if (rc != LLM_OK) {
        return rc;
    }

    fd = openat(dir->fd, LLM_CALLS_NEW, O_RDONLY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1 || fsync(fd) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: backup: calls: %s", to,
                     strerror(errno));
    }

    if (fd != -1) {
        (void) close(fd);
    }

    return rc;
}


/* what is checked is the new file: the copy may change */

int
llm_store_restore(const char *path, const char *from, char *err,
    size_t errlen)
{
    int        fd, rc;
    llm_dir_t  dir;

    fd = open(from, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND
                                                    : LLM_ERROR,
                       "%s: open: %s", from, strerror(errno));
    }

    rc = llm_dir_open(&dir, path, err, errlen);

    if (rc != LLM_OK) {
        (void) close(fd);
        return rc;
    }

    rc = llm_restore_copy(fd, "data.mdb", from, &dir, LLM_STORE_NEW, err,
                          errlen);

    if (rc == LLM_OK) {
        rc = llm_restore_check(path, from, err, errlen);
    }

    if (rc == LLM_OK && faccessat(fd, "calls.mdb", F_OK, 0) == 0) {
        rc = llm_restore_copy(fd, "calls.mdb", from, &dir, LLM_CALLS_NEW,
                              err, errlen);
    }

    (void) close(fd);

    return llm_dir_close(&dir, path, rc, err, errlen);
}


static int
llm_restore_copy(int from, const char *name, const char *path,
    const llm_dir_t *dir, const char *to, char *err, size_t errlen)
{
    int          in, out, rc;
    struct stat  sb;

    out = -1;

    /* not waiting for the other end of a pipe */

    in = openat(from, name, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (in == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND
                                                    : LLM_ERROR,
                       "%s/%s: open: %s", path, name, strerror(errno));
    }

    if (fstat(in, &sb) == -1 || !S_ISREG(sb.st_mode)) {
        (void) close(in);
        return llm_err(err, errlen, LLM_INVALID, "%s/%s: not a regular file",
                       path, name);
    }

    out = openat(dir->fd, to, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    rc = (out == -1) ? errno : llm_restore_bytes(in, out);

    if (rc == 0 && fsync(out) == -1) {
        rc = errno;
    }

    if (out != -1 && close(out) == -1 && rc == 0) {
        rc = errno;
    }

    (void) close(in);

    return rc == 0 ? LLM_OK
                   : llm_err(err, errlen, LLM_ERROR, "%s/%s: copy: %s", path,
                             name, strerror(rc));
}


/* 0, or errno */

static int
llm_restore_bytes(int in, int out)
{
    int       rc;
    char     *buf;
    size_t    n;
    ssize_t   got, put;

    buf = malloc(LLM_COPY_CHUNK);
    if (buf == NULL) {
        return ENOMEM;
    }

    rc = 0;

    for ( ;; ) {
        got = read(in, buf, LLM_COPY_CHUNK);

        if (got == -1 && errno == EINTR) {
            continue;
        }

        if (got <= 0) {
            rc = (got == 0) ? 0 : errno;
            break;
        }

        for (n = 0; n < (size_t) got; n += (size_t) put) {
            put = write(out, buf + n, (size_t) got - n);

            if (put == -1 && errno != EINTR) {
                rc = errno;
                goto done;
            }

            put = (put == -1) ? 0 : put;
        }
    }

done:

    free(buf);

    return rc;
}


static int
llm_restore_check(const char *path, const char *from, char *err,
    size_t errlen)
{
    int           rc;
    char         *file;
    llm_store_t   st;

    memset(&st, 0, sizeof(llm_store_t));

    /* messages are about the copy, as the user knows it */

    st.path = strdup(from);

    if (st.path == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: restore: no memory",
                       path);
    }

    if (asprintf(&file, "%s/%s", path, LLM_STORE_NEW) == -1) {
        file = NULL;
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: restore: no memory", path);

    } else {
        rc = llm_restore_pages(&st, file, err, errlen);
    }

    free(file);
    llm_store_free(&st);

    return rc;
}


static int
llm_restore_pages(llm_store_t *st, const char *file, char *err,
    size_t errlen)
{
    int          fd, rc;
    MDB_txn     *txn;
    uint32_t     schema;
    struct stat  sb;

    if (stat(file, &sb) == -1 || sb.st_size < 8192) {
        return llm_err(err, errlen, LLM_INVALID, "%s/data.mdb: truncated",
                       st->path);
    }

    fd = open(file, O_RDONLY|O_NOFOLLOW|O_CLOEXEC);
    rc = (fd == -1) ? LLM_INVALID : llm_scan_header(fd);

    if (fd != -1) {
        (void) close(fd);
    }

    if (rc != LLM_OK) {
        return llm_err(err, errlen, rc, "%s/data.mdb: malformed header",
                       st->path);
    }

    rc = mdb_env_create(&st->env);

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(st->env, LLM_STORE_DBS);
    }

    if (rc == 0) {
        rc = mdb_env_open(st->env, file,
                          MDB_NOSUBDIR|MDB_NOLOCK|MDB_NOTLS|MDB_RDONLY,
                          0600);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "restore", err, errlen);
    }

    rc = llm_store_sound(st, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return llm_store_error(st, rc, "restore", err, errlen);
    }

    rc = llm_store_scan(st, txn, err, errlen);

    if (rc == LLM_AGAIN) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s/data.mdb: malformed header", st->path);
    }

    if (rc == LLM_OK) {
        rc = llm_store_dbi(st, txn, 0, &schema, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_restore_keys(st, txn, err, errlen);
    }

    mdb_txn_abort(txn);

    return rc;
}


/* each id leads to records of its own, and no record is left over */

static int
llm_restore_keys(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen)
{
    int       rc;
    size_t    n;
    MDB_stat  stat;

    rc = mdb_stat(txn, st->keys, &stat);
    if (rc != 0) {
        return llm_store_error(st, rc, "restore", err, errlen);
    }

    rc = llm_restore_ids(st, txn, &n, err, errlen);

    if (rc == LLM_OK && n != stat.ms_entries) {
        rc = llm_err(err, errlen, LLM_INVALID, "%s/data.mdb: %zu records of "
                     "keys for %zu entries", st->path,
                     (size_t) stat.ms_entries, n);
    }

    return rc;
}


static int
llm_restore_ids(llm_store_t *st, MDB_txn *txn, size_t *n, char *err,
    size_t errlen)
{
    int          rc;
    char         id[LLM_KEY_ID_LEN + 1];
    size_t       i;
    MDB_val      name, v, tags;
    llm_key_t    k;
    MDB_cursor  *cursor;

    *n = 0;

    rc = mdb_cursor_open(txn, st->ids, &cursor);
    if (rc != 0) {
        return llm_store_error(st, rc, "restore", err, errlen);
    }

    while ((rc = mdb_cursor_get(cursor, &name, &v, MDB_NEXT)) == 0) {

        id[0] = '\0';

        if (name.mv_size == LLM_KEY_ID_LEN) {
            memcpy(id, name.mv_data, LLM_KEY_ID_LEN);
            id[LLM_KEY_ID_LEN] = '\0';
        }

        rc = llm_key_id_valid(id)
             ? llm_key_tags(st, txn, id, &tags, err, errlen)
             : llm_key_error(st, id, "malformed entry", err, errlen);

        for (i = 0; rc == LLM_OK && i < tags.mv_size / LLM_TAG_LEN; i++) {
            rc = llm_key_record(st, txn, id,
                                (uint8_t *) tags.mv_data + i * LLM_TAG_LEN,
                                &k, err, errlen);
            (*n)++;
        }

        if (rc != LLM_OK) {
            mdb_cursor_close(cursor);
            return rc;
        }
    }

    mdb_cursor_close(cursor);

    return rc == MDB_NOTFOUND ? LLM_OK
                              : llm_store_error(st, rc, "restore", err,
                                                errlen);
}
