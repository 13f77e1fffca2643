
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail's files before LMDB uses them: which are there, what they
 * are, whose.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


static int llm_audit_file(const llm_audit_env_t *e, int dir,
    const char *name, char *err, size_t errlen);
static int llm_audit_one_missing(llm_audit_env_t *e, int data, int head,
    int *none, char *err, size_t errlen);
static int llm_audit_header(const llm_audit_env_t *e, int dir, char *err,
    size_t errlen);
static int llm_audit_inode(const char *path, llm_audit_inode_t *inode);


int
llm_audit_dir(const llm_audit_env_t *e, int op, int *fd, char *err,
    size_t errlen)
{
    int          rc;
    struct stat  sb;

    *fd = open(e->store, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (*fd == -1) {
        rc = (errno == ENOENT) ? LLM_NOTFOUND
             : (errno == ENOTDIR) ? LLM_INVALID : LLM_ERROR;

        return llm_err(err, errlen, rc, "%s: open: %s", e->store,
                       strerror(errno));
    }

    rc = LLM_OK;

    if (fstat(*fd, &sb) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", e->store,
                     strerror(errno));

    } else if (!e->reading && (sb.st_mode & 022)) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s: store: mode %04o lets others write to it, "
                     "it must be 0700", e->store,
                     (unsigned) (sb.st_mode & 07777));

    } else if (!e->reading
               && fstatat(*fd, "data.mdb", &sb, AT_SYMLINK_NOFOLLOW) == -1)
    {
        rc = llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                     "%s/data.mdb: stat: %s", e->store, strerror(errno));
    }

    /* closing unlocks, and so does the process's end */

    while (rc == LLM_OK && flock(*fd, op) == -1) {
        if (errno != EINTR) {
            rc = llm_err(err, errlen, LLM_ERROR, "%s: lock: %s", e->store,
                         strerror(errno));
        }
    }

    if (rc != LLM_OK) {
        (void) close(*fd);
    }

    return rc;
}


int
llm_audit_files(llm_audit_env_t *e, int dir, int *none, char *err,
    size_t errlen)
{
    int  data, head, rc;

    *none = 0;

    data = llm_audit_file(e, dir, LLM_AUDIT_FILE, err, errlen);

    if (data != LLM_OK && (data != LLM_NOTFOUND || e->reading)) {
        return data;
    }

    if (e->reading) {
        return llm_audit_header(e, dir, err, errlen);
    }

    head = llm_audit_file(e, dir, LLM_AUDIT_HEAD, err, errlen);

    if (head != LLM_OK && head != LLM_NOTFOUND) {
        return head;
    }

    if (data != LLM_OK || head != LLM_OK) {
        return llm_audit_one_missing(e, data, head, none, err, errlen);
    }

    rc = llm_audit_file(e, dir, LLM_AUDIT_LOCK, err, errlen);

    if (rc == LLM_OK || rc == LLM_NOTFOUND) {
        rc = llm_audit_header(e, dir, err, errlen);
    }

    return rc;
}


/* a creation writes a head of no record, then audit.mdb, then the head */

static int
llm_audit_one_missing(llm_audit_env_t *e, int data, int head, int *none,
    char *err, size_t errlen)
{
    int               proven, rc;
    llm_audit_mark_t  mark;

    if (data == LLM_OK) {
        return llm_err(err, errlen, LLM_AWAY, "%s: it was removed, \"llmctl "
                       "audit renew\" begins a new trail", e->head_path);
    }

    if (head != LLM_OK) {
        *none = 1;
        return LLM_OK;
    }

    rc = llm_audit_head_read(e, &mark, &proven, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (mark.number == 0 && proven == 1) {
        *none = 1;
        return LLM_OK;
    }

    return llm_err(err, errlen, LLM_AWAY, "%s: it was removed, %s knows of "
                   "%llu records: \"llmctl audit renew\" begins a new trail",
                   e->path, LLM_AUDIT_HEAD, (unsigned long long) mark.number);
}


/* fingerprints, addresses and names are not for everyone */

static int
llm_audit_file(const llm_audit_env_t *e, int dir, const char *name,
    char *err, size_t errlen)
{
    struct stat  owner, sb;

    if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                       "%s/%s: stat: %s", e->store, name, strerror(errno));
    }

    if (!S_ISREG(sb.st_mode) || sb.st_nlink != 1) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/%s: not a regular file of its own", e->store,
                       name);
    }

    if (e->reading) {
        return LLM_OK;
    }

    if (sb.st_mode & 077) {
        return llm_err(err, errlen, LLM_INVALID, "%s/%s: mode %04o lets "
                       "others at it, it must be 0600", e->store, name,
                       (unsigned) (sb.st_mode & 07777));
    }

    if (fstat(dir, &owner) == -1
        || (sb.st_uid != owner.st_uid && sb.st_uid != 0))
    {
        return llm_err(err, errlen, LLM_INVALID, "%s/%s: it is of user %u, "
                       "the store of user %u", e->store, name,
                       (unsigned) sb.st_uid, (unsigned) owner.st_uid);
    }

    return LLM_OK;
}


/* LMDB's open trusts what it reads there: see llm_calls_header() */

static int
llm_audit_header(const llm_audit_env_t *e, int dir, char *err, size_t errlen)
{
    int  fd, rc;

    fd = openat(dir, LLM_AUDIT_FILE,
                O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: open: %s", e->path,
                       strerror(errno));
    }

    rc = llm_scan_header(fd);
    (void) close(fd);

    return rc == LLM_OK ? LLM_OK
                        : llm_err(err, errlen, rc, "%s: malformed header",
                                  e->path);
}


int
llm_audit_chown(llm_audit_env_t *e, int dir, char *err, size_t errlen)
{
    int          rc;
    size_t       i;
    struct stat  owner;

    static const char *const  names[] = {
        LLM_AUDIT_FILE, LLM_AUDIT_LOCK, LLM_AUDIT_HEAD
    };

    if (geteuid() != 0) {
        return LLM_OK;
    }

    if (fstat(dir, &owner) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", e->store,
                       strerror(errno));
    }

    rc = LLM_OK;

    for (i = 0; i < sizeof(names) / sizeof(names[0]) && rc == LLM_OK; i++) {
        rc = llm_file_give(dir, e->store, names[i], owner.st_uid,
                           owner.st_gid, err, errlen);

        if (rc == LLM_NOTFOUND) {
            rc = LLM_OK;
        }
    }

    return rc;
}


int
llm_audit_none(const llm_audit_env_t *e)
{
    llm_audit_inode_t  inode;

    return llm_audit_inode(e->path, &inode) == -1 && errno == ENOENT
           && llm_audit_inode(e->head_path, &inode) == -1 && errno == ENOENT;
}


/* LMDB has them open by now; the directory's lock is held */

int
llm_audit_inodes(llm_audit_env_t *e, char *err, size_t errlen)
{
    if (llm_audit_inode(e->path, &e->data_inode) == -1
        || llm_audit_inode(e->lock_path, &e->lock_inode) == -1
        || llm_audit_inode(e->head_path, &e->head_inode) == -1)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", e->path,
                       strerror(errno));
    }

    return LLM_OK;
}


int
llm_audit_there(const llm_audit_env_t *e)
{
    llm_audit_inode_t  now;

    return llm_audit_inode(e->path, &now) == 0
           && now.dev == e->data_inode.dev && now.ino == e->data_inode.ino;
}


/* the lock's file, too: with another one two processes would write at once */

int
llm_audit_same(const llm_audit_env_t *e)
{
    size_t             i;
    llm_audit_inode_t  now;

    const struct {
        const char               *path;
        const llm_audit_inode_t  *inode;
    } files[] = {
        { e->path, &e->data_inode },
        { e->lock_path, &e->lock_inode },
        { e->head_path, &e->head_inode }
    };

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (llm_audit_inode(files[i].path, &now) == -1
            || now.dev != files[i].inode->dev
            || now.ino != files[i].inode->ino)
        {
            return 0;
        }
    }

    return 1;
}


static int
llm_audit_inode(const char *path, llm_audit_inode_t *inode)
{
    struct stat  sb;

    if (lstat(path, &sb) == -1) {
        return -1;
    }

    inode->dev = sb.st_dev;
    inode->ino = sb.st_ino;

    return 0;
}
