
/*
 * Copyright (C) nginx-llm contributors
 *
 * A store in several processes: commits seen at once, kill -9, a map that
 * grows; and no room, in the map and on disk.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sys/resource.h>

#include "store_test.h"


/* what two processes tell each other: a byte is a turn */

typedef struct {
    int        to[2];
    int        from[2];
    llm_key_t  k;
    char       key[LLM_KEY_LEN + 1];
    size_t     size;
} pair_t;


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


/* reads, waits for the revocation, reads again */

static int
reader(void *data)
{
    int           bad;
    pair_t       *p = data;
    uint64_t      txnid;
    llm_key_t     k;
    llm_store_t  *st;

    bad = 0;

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        return 100;
    }

    bad += llm_key_lookup(st, secret, p->key, LLM_KEY_LEN, &k, E) != LLM_OK;
    bad += k.revoked != 0;
    txnid = llm_store_txnid(st);
    bad += llm_store_txnid(st) != txnid;

    turn(p->from[1]);
    await(p->to[0]);

    bad += llm_store_txnid(st) == txnid;
    bad += llm_key_lookup(st, secret, p->key, LLM_KEY_LEN, &k, E) != LLM_OK;
    bad += k.revoked == 0;

    llm_store_close(st);

    return bad;
}


static void
test_two_processes(void)
{
    int           status;
    pid_t         pid;
    pair_t        p;
    llm_store_t  *st;

    memset(&p, 0, sizeof(p));
    ok(pipe(p.to) == 0 && pipe(p.from) == 0, "pipes");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "a key for two");
    is_int(create(st, &p.k, p.key), LLM_OK, "is made");
    llm_store_close(st);

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(reader(&p));
    }

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "one process writes");
    await(p.from[0]);
    is_int(llm_key_revoke(st, p.k.id, &p.k, E), LLM_OK, "and revokes");
    turn(p.to[1]);
    ok(waitpid(pid, &status, 0) == pid, "the other one");
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0,
           "sees it at its next look-up, and by the number");
    llm_store_close(st);

    close(p.to[0]);
    close(p.to[1]);
    close(p.from[0]);
    close(p.from[1]);
}


/* dies with an open write transaction */

static int
half_writer(void *data)
{
    char          key[LLM_KEY_LEN + 1];
    MDB_txn      *txn;
    llm_key_t     k;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) != LLM_OK
        || llm_store_write(st, &txn, 1, E) != LLM_OK)
    {
        return 1;
    }

    memset(&k, 0, sizeof(k));
    strcpy(k.client, "half");
    k.role = LLM_ROLE_USER;

    if (llm_key_put(st, txn, secret, &k, key, E) != LLM_OK) {
        return 1;
    }

    raise(SIGKILL);

    return 1;
}


/* dies with an open read transaction */

static int
stale_reader(void *data)
{
    MDB_txn      *txn;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) == LLM_OK
        && llm_store_read(st, &txn, E) == LLM_OK)
    {
        raise(SIGKILL);
    }

    return 1;
}


static int
reader_line(const char *msg, void *data)
{
    int  pid;

    if (sscanf(msg, " %d", &pid) == 1 && kill(pid, 0) == -1) {
        ++*(int *) data;
    }

    return 0;
}


static void
test_killed(void)
{
    int           before, after, stale;
    char          key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    before = after = stale = 0;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    llm_key_each(st, NULL, count_all, &before, E);
    llm_store_close(st);

    is_int(child(half_writer, NULL), -1, "a writer is killed before commit");
    is_int(child(stale_reader, NULL), -1, "and a reader while it reads");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store opens");
    llm_key_each(st, NULL, count_all, &after, E);
    is_int(after, before, "nothing of the uncommitted is there");
    is_int(create(st, &k, key), LLM_OK, "a write works");
    is_int(child(stale_reader, NULL), -1, "one more reader is killed");
    mdb_reader_list(st->env, reader_line, &stale);
    ok(stale > 0, "dead readers are there: %d", stale);
    is_int(llm_store_check(st, E), LLM_OK, "checked");
    stale = 0;
    mdb_reader_list(st->env, reader_line, &stale);
    is_int(stale, 0, "gone");
    llm_store_close(st);
}


/* creates and revokes; tells each id once it is acknowledged */

static int
busy_writer(void *data)
{
    int           fd = *(int *) data;
    char          key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        return 1;
    }

    for ( ;; ) {
        if (create(st, &k, key) != LLM_OK
            || write(fd, k.id, LLM_KEY_ID_LEN) != LLM_KEY_ID_LEN
            || llm_key_revoke(st, k.id, &k, E) != LLM_OK
            || write(fd, "revoked                     ", LLM_KEY_ID_LEN)
               != LLM_KEY_ID_LEN)
        {
            return 1;
        }
    }
}


static void
test_kill_loop(void)
{
    int           acked, fd[2], lost, opened, round;
    char          id[LLM_KEY_ID_LEN + 1], line[LLM_KEY_ID_LEN + 1];
    pid_t         pid;
    llm_key_t     k;
    llm_store_t  *st;

    acked = lost = opened = 0;
    memset(id, 0, sizeof(id));
    memset(line, 0, sizeof(line));

    for (round = 0; round < 20; round++) {

        if (pipe(fd) == -1) {
            break;
        }

        fflush(stdout);
        pid = fork();

        if (pid == 0) {
            _exit(busy_writer(&fd[1]));
        }

        close(fd[1]);

        /* wherever it is after so many answers */

        for (int n = 0; n < round % 7 + 1; n++) {
            (void) !read(fd[0], line, LLM_KEY_ID_LEN);

            if (line[0] == 'k') {
                memcpy(id, line, sizeof(id));
            }
        }

        usleep((useconds_t) (round * 37));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);

        /* what it said before it died counts too */

        while (read(fd[0], line, LLM_KEY_ID_LEN) == LLM_KEY_ID_LEN) {
            if (line[0] == 'k') {
                memcpy(id, line, sizeof(id));
            }
        }

        close(fd[0]);

        if (llm_store_open(&st, path, 0, E) != LLM_OK) {
            continue;
        }

        opened++;
        acked++;

        if (llm_key_get(st, id, &k, E) != LLM_OK
            || (line[0] == 'r' && k.revoked == 0))
        {
            lost++;
        }

        lost += llm_key_each(st, NULL, count_all, &acked, E) != LLM_OK;
        llm_store_close(st);
    }

    is_int(opened, 20, "a writer is killed 20 times: the store opens");
    is_int(lost, 0, "each acknowledged write is there");
}


/* holds the small map open while the other process grows it */

static int
small_map(void *data)
{
    int           bad;
    char          key[LLM_KEY_LEN + 1];
    pair_t       *p = data;
    llm_key_t     k;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        return 100;
    }

    bad = create(st, &k, key) == LLM_OK;        /* full */
    bad += llm_key_lookup(st, secret, p->key, LLM_KEY_LEN, &k, E) != LLM_OK;

    turn(p->from[1]);
    await(p->to[0]);

    bad += llm_key_lookup(st, secret, p->key, LLM_KEY_LEN, &k, E) != LLM_OK;
    bad += k.revoked == 0;
    bad += create(st, &k, key) != LLM_OK;

    llm_store_close(st);

    return bad;
}


static void
test_map_full(void)
{
    int           i, n, rc, status;
    char          key[LLM_KEY_LEN + 1];
    pid_t         pid;
    pair_t        p;
    llm_key_t     k;
    llm_store_t  *st;
    struct stat   sb;

    memset(&p, 0, sizeof(p));
    ok(pipe(p.to) == 0 && pipe(p.from) == 0, "pipes");

    remove_tree(path);
    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "1m");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(create(st, &p.k, p.key), LLM_OK, "a first key");

    for (n = 1; n < 20000; n++) {
        rc = create(st, &k, key);

        if (rc != LLM_OK) {
            break;
        }
    }

    ok(n > 500 && n < 20000, "full after %d keys", n);
    is_int(rc, LLM_ERROR, "an error");
    ok(strstr(err, "full") != NULL && strstr(err, path) != NULL,
       "the message: %s", err);
    is_int(key[0], 0, "no key");
    ok(stat(at("store/data.mdb"), &sb) == 0 && sb.st_size <= 1 << 20,
       "the file is in its size");
    is_int(llm_key_lookup(st, secret, p.key, LLM_KEY_LEN, &k, E), LLM_OK,
           "look-ups work");

    /* a reader that stays keeps the freed pages: the reserve is for that */

    is_int(llm_key_revoke(st, p.k.id, &k, E), LLM_OK, "a revocation works");
    create(st, &k, key);
    llm_store_close(st);

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(small_map(&p));
    }

    is_int(llm_store_open(&st, path, 8 << 20, E), LLM_OK, "opened with 8m");
    await(p.from[0]);

    for (i = 0; i < 3000; i++) {
        rc = create(st, &k, key);

        if (rc != LLM_OK) {
            break;
        }
    }

    is_int(i, 3000, "more keys");
    turn(p.to[1]);
    ok(waitpid(pid, &status, 0) == pid, "the other process");
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0,
           "follows the larger map");
    llm_store_close(st);

    is_int(llm_store_open(&st, path, 1 << 20, E), LLM_OK,
           "a smaller size is no harm");
    is_int(create(st, &k, key), LLM_OK, "a key");
    llm_store_close(st);

    close(p.to[0]);
    close(p.to[1]);
    close(p.from[0]);
    close(p.from[1]);
}


/* a file that may not grow is a disk that is full */

static int
no_room(void *data)
{
    int            bad, i, rc;
    char           key[LLM_KEY_LEN + 1], first[LLM_KEY_LEN + 1];
    llm_key_t      k, one;
    llm_store_t   *st;
    struct stat    sb;
    struct rlimit  lim;

    if (llm_store_open(&st, path, 0, E) != LLM_OK
        || create(st, &one, first) != LLM_OK
        || stat(at("store/data.mdb"), &sb) == -1)
    {
        return 100;
    }

    signal(SIGXFSZ, SIG_IGN);
    lim.rlim_cur = lim.rlim_max = (rlim_t) sb.st_size;
    setrlimit(RLIMIT_FSIZE, &lim);

    rc = LLM_OK;

    for (i = 0; i < 20000 && rc == LLM_OK; i++) {
        rc = create(st, &k, key);
    }

    bad = rc != LLM_ERROR;
    bad += strstr(err, "File too large") == NULL;
    bad += llm_key_lookup(st, secret, first, LLM_KEY_LEN, &k, E) != LLM_OK;
    bad += llm_key_revoke(st, one.id, &k, E) != LLM_OK;
    bad += llm_key_lookup(st, secret, first, LLM_KEY_LEN, &k, E) != LLM_OK;
    bad += k.revoked == 0;
    bad += create(st, &k, key) != LLM_ERROR;

    llm_store_close(st);

    return bad;
}


static void
test_disk_full(void)
{
    char          key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    remove_tree(path);
    is_int(llm_store_create(path, 64 << 20, E), LLM_OK, "64m");

    is_int(child(no_room, NULL), 0,
           "no room on disk: create says so, look-up and revoke work");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store opens");
    is_int(create(st, &k, key), LLM_OK, "with room again it takes keys");
    llm_store_close(st);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");
    is_int(llm_store_create(path, 4 << 20, E), LLM_OK, "a store");

    test_two_processes();
    test_killed();
    test_kill_loop();
    test_map_full();
    test_disk_full();

    remove_tree(dir);

    return done();
}
