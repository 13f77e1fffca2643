
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of the store share: a directory, files in it, a store and a
 * secret, children.
 *
 * A process opens a store once and after its fork, so what needs a second
 * handle runs in children; a child tells by its exit code how many of its
 * checks failed.
 */


#ifndef _STORE_TEST_H_INCLUDED_
#define _STORE_TEST_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../ngx_module/store/llm_store_int.h"
#include "tap.h"


#define E  err, sizeof(err)


static char          dir[64], path[256], err[LLM_ERRLEN];
static llm_secret_t *secret __attribute__((unused));


/* in memory where that can be: thousands of commits, each with its sync */

static inline int
test_begin(void)
{
    strcpy(dir, "/dev/shm/llm_store_XXXXXX");

    if (mkdtemp(dir) == NULL) {
        strcpy(dir, "/tmp/llm_store_XXXXXX");

        if (mkdtemp(dir) == NULL) {
            printf("Bail out! no temporary directory\n");
            return -1;
        }
    }

    snprintf(path, sizeof(path), "%s/store", dir);
    umask(022);

    return 0;
}


/* a path in the test's directory; eight can be in use at a time */

static inline const char *
at(const char *name)
{
    static int   i;
    static char  buf[8][300];

    i = (i + 1) % 8;
    snprintf(buf[i], sizeof(buf[i]), "%s/%s", dir, name);

    return buf[i];
}


static inline void
put_file(const char *name, const void *p, size_t len, mode_t mode)
{
    int  fd;

    unlink(name);
    fd = open(name, O_WRONLY|O_CREAT|O_TRUNC, 0600);

    if (fd == -1 || write(fd, p, len) != (ssize_t) len
        || fchmod(fd, mode) == -1)
    {
        printf("Bail out! %s: %s\n", name, strerror(errno));
        exit(1);
    }

    close(fd);
}


static inline int
remove_one(const char *name, const struct stat *sb, int type, struct FTW *f)
{
    return remove(name);
}


static inline void
remove_tree(const char *name)
{
    nftw(name, remove_one, 16, FTW_DEPTH|FTW_PHYS);
}


static inline int
create(llm_store_t *st, llm_key_t *k, char *key)
{
    memset(k, 0, sizeof(*k));
    strcpy(k->client, "client");
    k->role = LLM_ROLE_USER;

    return llm_key_create(st, secret, k, key, E);
}


static inline int
count_all(void *data, const llm_key_t *k)
{
    ++*(int *) data;
    return 0;
}


/* runs f in a child: the number of checks that failed, or -1 */

static inline int
child(int (*f)(void *data), void *data)
{
    int    status;
    pid_t  pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(f(data));
    }

    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return -1;
    }

    return WEXITSTATUS(status);
}


#endif /* _STORE_TEST_H_INCLUDED_ */
