
/*
 * Copyright (C) nginx-llm contributors
 *
 * calls.mdb in several processes: made by many at once, writers killed at any
 * time, a map that another one grows.
 */


#include <sys/resource.h>

#include "calls_test.h"


static void
turn(int fd)
{
    (void) !write(fd, "x", 1);
}


static void
await(int fd)
{
    char  c;

    (void) !read(fd, &c, 1);
}


/* waits for the start, opens, puts ten calls of its own key */

static int
starter(int fd, int i)
{
    char          id[64];
    llm_calls_t  *c;

    await(fd);

    if (llm_calls_open(&c, path, 8 << 20, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        return 1;
    }

    snprintf(id, sizeof(id), "key_0000000000000000000000%02d", i);

    if (put_calls(c, id, now_ms(), 10) != LLM_OK
        || count_calls(c, id) != 10)
    {
        fprintf(stderr, "# %s\n", err);
        return 1;
    }

    llm_calls_close(c);

    return 0;
}


static void
test_start(void)
{
    int           bad, i, p[2], round, status;
    llm_calls_t  *c;

    bad = 0;

    for (round = 0; round < 20; round++) {
        calls_anew();
        bad += pipe(p) != 0;
        fflush(stdout);

        for (i = 0; i < 6; i++) {
            if (fork() == 0) {
                _exit(starter(p[0], i));
            }
        }

        bad += write(p[1], "xxxxxx", 6) != 6;

        for (i = 0; i < 6; i++) {
            bad += wait(&status) == -1 || status != 0;
        }

        close(p[0]);
        close(p[1]);

        bad += llm_calls_open(&c, path, 0, E) != LLM_OK;
        bad += count_entries(c, c->shared->calls) != 60;
        llm_calls_close(c);
    }

    is_int(bad, 0, "six processes start at once, 20 times: none loses a call");
}


/*
 * Puts batches until it is killed, and tells after each commit what is there:
 * calls and usage of one transaction.
 */

static void
writer(int fd, uint64_t n)
{
    int           i, rc;
    llm_call_t    call;
    llm_calls_t  *c;
    llm_spent_t   u;

    if (llm_calls_open(&c, path, 0, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        _exit(1);
    }

    memset(&u, 0, sizeof(u));

    for ( ;; ) {
        rc = llm_calls_begin(c, E);

        for (i = 0; rc == LLM_OK && i < 7; i++) {
            n++;
            a_call(&call, KEY_A, now_ms());
            rc = llm_calls_put(c, &call, E);
        }

        u.calls = n;

        if (rc == LLM_OK) {
            rc = llm_calls_put_usage(c, KEY_A, &u, E);
        }

        if (rc == LLM_OK) {
            rc = llm_calls_commit(c, E);
        }

        if (rc != LLM_OK || write(fd, &n, sizeof(n)) != sizeof(n)) {
            fprintf(stderr, "# %s\n", err);
            _exit(1);
        }
    }
}


static void
test_killed(void)
{
    int           bad, i, p[2], status;
    pid_t         pid;
    uint64_t      n, told;
    llm_calls_t  *c;
    llm_spent_t   u;

    calls_anew();
    bad = 0;
    n = 0;

    for (i = 0; i < 50; i++) {
        bad += pipe(p) != 0;
        fflush(stdout);
        pid = fork();

        if (pid == 0) {
            close(p[0]);
            writer(p[1], n);
        }

        close(p[1]);
        told = n;

        /* it has opened, and is somewhere in a later transaction; every
         * fifth is killed while it opens */

        if (i % 5 != 0) {
            bad += read(p[0], &told, sizeof(told)) != sizeof(told);
            usleep((useconds_t) (i * 73 % 1000));

        } else {
            usleep((useconds_t) (i * 53));
        }

        kill(pid, SIGKILL);
        bad += waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status);

        while (read(p[0], &told, sizeof(told)) == sizeof(told)) {
            /* void */
        }

        close(p[0]);

        /* one more may have been committed than was told */

        if (llm_calls_open(&c, path, 0, E) != LLM_OK) {
            printf("# %s\n", err);
            bad++;
            continue;
        }

        if (llm_calls_usage(c, KEY_A, &u, E) != LLM_OK) {
            u.calls = 0;
        }

        bad += u.calls != told && u.calls != told + 7;
        bad += count_calls(c, KEY_A) != (long long) u.calls;
        n = u.calls;
        llm_calls_close(c);
    }

    is_int(bad, 0, "50 writers are killed: what was committed is there");
    ok(n > 100, "%d calls", (int) n);
}


/* opens with a larger map and fills more than the old one held */

static int
grower(void *data)
{
    int           i, rc;
    llm_calls_t  *c;

    rc = llm_calls_open(&c, path, 16 << 20, E);

    for (i = 0; rc == LLM_OK && i < 20; i++) {
        rc = put_calls(c, KEY_B, now_ms() + i, 1000);
    }

    llm_calls_close(c);

    return rc == LLM_OK ? 0 : 1;
}


static void
test_grown(void)
{
    int           status, p[2];
    pid_t         pid;
    llm_calls_t  *c, *d;

    calls_anew();
    is_int(pipe(p), 0, "a pipe");
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        await(p[0]);
        _exit(grower(NULL));
    }

    is_int(llm_calls_open(&c, path, 2 << 20, E), LLM_OK, "a map of 2m");
    is_int(llm_calls_dup(&d, c, E), LLM_OK, "two handles");
    is_int(count_calls(c, KEY_B), 0, "read");
    turn(p[1]);
    waitpid(pid, &status, 0);
    is_int(status, 0, "another process grows it");
    is_int(count_calls(c, KEY_B), 20000, "and this one sees its calls");
    is_int(put_calls(d, KEY_A, now_ms(), 10), LLM_OK, "and writes");
    is_int(count_calls(c, KEY_A), 10, "to all of it");
    llm_calls_close(c);
    llm_calls_close(d);
    close(p[0]);
    close(p[1]);
}


/* a file that may not grow stands for a full disk */

static int
no_disk(void *data)
{
    int            i, rc, refused;
    llm_call_t     call;
    llm_calls_t   *c;
    llm_spent_t    u;
    struct stat    sb;
    struct rlimit  lim;

    if (llm_calls_open(&c, path, 0, E) != LLM_OK
        || put_calls(c, KEY_A, now_ms(), 100) != LLM_OK
        || stat(at("store/calls.mdb"), &sb) == -1)
    {
        return 100;
    }

    signal(SIGXFSZ, SIG_IGN);
    lim.rlim_cur = lim.rlim_max = (rlim_t) sb.st_size;
    setrlimit(RLIMIT_FSIZE, &lim);

    memset(&u, 0, sizeof(u));
    refused = 0;

    for (i = 0; i < 2000; i++) {
        rc = llm_calls_begin(c, E);

        if (rc == LLM_OK) {
            rc = llm_calls_put(c, a_call(&call, KEY_A, now_ms() + i), E);
        }

        if (rc == LLM_AGAIN) {
            refused++;
            rc = LLM_OK;
        }

        u.calls = (uint64_t) i + 1;

        if (rc == LLM_OK) {
            rc = llm_calls_put_usage(c, KEY_A, &u, E);
        }

        if (rc == LLM_OK) {
            rc = llm_calls_commit(c, E);
        }

        if (rc != LLM_OK) {
            fprintf(stderr, "# %s\n", err);
            return 1;
        }
    }

    /* in one: more than the file holds */

    rc = llm_calls_begin(c, E);

    for (i = 0; rc == LLM_OK && i < 20000; i++) {
        rc = llm_calls_put(c, a_call(&call, KEY_B, now_ms() + i), E);
    }

    if (rc != LLM_AGAIN || llm_calls_put_usage(c, KEY_B, &u, E) != LLM_OK
        || llm_calls_commit(c, E) != LLM_OK
        || count_calls(c, KEY_A) != 100 + 2000 - refused
        || count_calls(c, KEY_B) != i - 1)
    {
        fprintf(stderr, "# %d %s\n", rc, err);
        return 2;
    }

    llm_calls_close(c);

    return 0;
}


static void
test_disk(void)
{
    llm_calls_t  *c;
    llm_spent_t   u;

    calls_anew();
    is_int(child(no_disk, NULL), 0, "no disk: calls are refused, not usage");
    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "opened");
    is_int(llm_calls_usage(c, KEY_A, &u, E), LLM_OK, "its usage");
    is_int(u.calls, 2000, "is the last");
    is_int(put_calls(c, KEY_B, now_ms(), 3000), LLM_OK, "there is room again");
    llm_calls_close(c);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_store_create(path, 64 << 20, E), LLM_OK, "a store");

    test_start();
    test_killed();
    test_grown();
    test_disk();

    remove_tree(dir);

    return done();
}
