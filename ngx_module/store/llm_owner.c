
/*
 * Copyright (C) nginx-llm contributors
 *
 * Root and a store that is another's.  Its owner, whom the workers run as, may
 * change all that is in the directory at any time: names, files, and the lock
 * in lock.mdb, which glibc puts into lists of the process that holds it.  So
 * root gives files away only by their descriptor, and opens a store only as
 * its owner, in a child.
 *
 * No state.  Run by llmctl and by nginx's master, before it has threads.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "llm_store_int.h"


/* what the child says through its pipe */
typedef struct {
    int   rc;
    char  err[LLM_ERRLEN];
} llm_owner_said_t;


static int llm_owner_open(const char *path);
static int llm_owner_become(const char *path, const struct stat *dir,
    char *err, size_t errlen);
static int llm_owner_hear(int fd, const char *path, pid_t pid, char *err,
    size_t errlen);


/*
 * A link to a file elsewhere has another name there, or leads to no regular
 * file: it is not given away.
 *
 * O_PATH: a descriptor that reads would end all the locks that this process
 * has on the file when it is closed, LMDB's too, by which others see that its
 * readers live.
 */

int
llm_file_give(int dir, const char *path, const char *name, uid_t uid,
    gid_t gid, char *err, size_t errlen)
{
    int          fd, rc;
    struct stat  sb;

    fd = openat(dir, name, O_PATH|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND
                                                    : LLM_ERROR,
                       "%s/%s: open: %s", path, name, strerror(errno));
    }

    rc = LLM_OK;

    if (fstat(fd, &sb) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s/%s: stat: %s", path, name,
                     strerror(errno));

    } else if (!S_ISREG(sb.st_mode) || sb.st_nlink != 1) {
        rc = llm_err(err, errlen, LLM_INVALID,
                     "%s/%s: not a regular file of its own", path, name);

    } else if ((sb.st_uid != uid || sb.st_gid != gid)
               && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == -1)
    {
        rc = llm_err(err, errlen, LLM_ERROR, "%s/%s: chown: %s", path, name,
                     strerror(errno));
    }

    (void) close(fd);

    return rc;
}


/* the files first: until the directory is given away, it may be ours alone */

int
llm_store_give(const char *path, uid_t uid, gid_t gid, char *err,
    size_t errlen)
{
    int          fd, rc;
    size_t       i;
    struct stat  sb;

    static const char *const  files[] = {
        "data.mdb", "lock.mdb", "calls.mdb", "calls.mdb-lock", "audit.mdb",
        "audit.mdb-lock", "audit.head"
    };

    fd = llm_owner_open(path);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: open: %s", path,
                       strerror(errno));
    }

    rc = LLM_OK;

    for (i = 0; rc == LLM_OK && i < sizeof(files) / sizeof(files[0]); i++) {
        rc = llm_file_give(fd, path, files[i], uid, gid, err, errlen);

        /* without the first it is no store */

        if (rc == LLM_NOTFOUND && i != 0) {
            rc = LLM_OK;
        }
    }

    if (rc == LLM_OK
        && (fstat(fd, &sb) == -1
            || ((sb.st_uid != uid || sb.st_gid != gid)
                && fchown(fd, uid, gid) == -1)))
    {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: chown: %s", path,
                     strerror(errno));
    }

    (void) close(fd);

    return rc;
}


/* a link only where root made it */

static int
llm_owner_open(const char *path)
{
    int          fd;
    struct stat  sb;

    fd = open(path, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1 && lstat(path, &sb) == 0 && S_ISLNK(sb.st_mode)
        && sb.st_uid == 0)
    {
        fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    }

    return fd;
}


/* what root made goes to the directory's owner, whose process must open it */

int
llm_store_chown(const char *path, char *err, size_t errlen)
{
    int          fd, i, rc;
    struct stat  dir;

    static const char *const  files[] = { "data.mdb", "lock.mdb" };

    if (geteuid() != 0) {
        return LLM_OK;
    }

    fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &dir) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: open: %s", path,
                     strerror(errno));
        goto done;
    }

    rc = LLM_OK;

    for (i = 0; rc == LLM_OK && i < 2; i++) {
        rc = llm_file_give(fd, path, files[i], dir.st_uid, dir.st_gid, err,
                           errlen);

        if (rc == LLM_NOTFOUND) {
            rc = LLM_OK;
        }
    }

done:

    if (fd != -1) {
        (void) close(fd);
    }

    return rc;
}


int
llm_store_as_owner(const char *path,
    int (*f)(void *data, char *err, size_t errlen), void *data, char *err,
    size_t errlen)
{
    int               fd[2], rc;
    pid_t             pid;
    struct stat       sb;
    llm_owner_said_t  said;

    if (geteuid() != 0 || stat(path, &sb) == -1 || sb.st_uid == 0) {
        return f(data, err, errlen);
    }

    if (pipe2(fd, O_CLOEXEC) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: pipe: %s", path,
                       strerror(errno));
    }

    pid = fork();

    if (pid == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: fork: %s", path,
                     strerror(errno));
        (void) close(fd[0]);
        (void) close(fd[1]);

        return rc;
    }

    if (pid == 0) {
        memset(&said, 0, sizeof(said));

        said.rc = llm_owner_become(path, &sb, said.err, sizeof(said.err));

        if (said.rc == LLM_OK) {
            said.rc = f(data, said.err, sizeof(said.err));
        }

        /* in one piece: a pipe takes so much at once */

        _exit(write(fd[1], &said, sizeof(said)) != sizeof(said));
    }

    (void) close(fd[1]);
    rc = llm_owner_hear(fd[0], path, pid, err, errlen);
    (void) close(fd[0]);

    return rc;
}


/* for good: nothing leads back */

static int
llm_owner_become(const char *path, const struct stat *dir, char *err,
    size_t errlen)
{
    if (setgroups(0, NULL) == -1
        || setgid(dir->st_gid) == -1
        || setuid(dir->st_uid) == -1)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: to become its owner: %s",
                       path, strerror(errno));
    }

    return LLM_OK;
}


static int
llm_owner_hear(int fd, const char *path, pid_t pid, char *err, size_t errlen)
{
    size_t            n;
    ssize_t           got;
    llm_owner_said_t  said;

    for (n = 0; n < sizeof(said); n += (size_t) got) {
        got = read(fd, (char *) &said + n, sizeof(said) - n);

        if (got == -1 && errno == EINTR) {
            got = 0;
            continue;
        }

        if (got <= 0) {
            break;
        }
    }

    /* somebody else's handler may have had its end */

    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR) {
        /* void */
    }

    if (n < sizeof(said)) {
        return llm_err(err, errlen, LLM_ERROR, "%s: the process that opened "
                       "it as its owner has died", path);
    }

    said.err[sizeof(said.err) - 1] = '\0';

    return said.rc == LLM_OK ? LLM_OK
                             : llm_err(err, errlen, said.rc, "%s", said.err);
}
