
/*
 * Copyright (C) nginx-llm contributors
 *
 * A store in several processes: commits seen at once, kill -9, a map that
 * grows; and no room, in the map and on disk.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

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


/*
 * What a writer does, in memory that the test sees: begun before a write, done
 * after it was acknowledged.
 */

typedef enum {
    NOTHING = 0,
    CREATED,
    ROTATED,
    UPDATED,
    REVOKED
} step_e;


typedef struct {
    step_e        begun;
    step_e        done;
    int           die;          /* between commit and answer */
    unsigned      writes;
    llm_key_t     k;
    char          key[LLM_KEY_LEN + 1];
    char          next[LLM_KEY_LEN + 1];
} journal_t;


static void
begin(journal_t *j, step_e step)
{
    __atomic_store_n(&j->begun, step, __ATOMIC_SEQ_CST);
}


static void
acknowledge(journal_t *j, step_e step)
{
    __atomic_store_n(&j->done, step, __ATOMIC_SEQ_CST);
    (void) __atomic_add_fetch(&j->writes, 1, __ATOMIC_SEQ_CST);
}


static int
busy_writer(void *data)
{
    int           again;
    char          next[LLM_KEY_LEN + 1];
    journal_t    *j = data;
    llm_key_t     k;
    llm_store_t  *st;

    alarm(20);

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        return 1;
    }

    for ( ;; ) {
        begin(j, NOTHING);
        acknowledge(j, NOTHING);

        if (create(st, &j->k, j->key) != LLM_OK) {
            return 1;
        }

        begin(j, CREATED);
        acknowledge(j, CREATED);

        begin(j, ROTATED);

        if (llm_key_rotate(st, secret, j->k.id, 3600, 0, "job", &k, next,
                           &again, E) != LLM_OK)
        {
            return 2;
        }

        if (j->die) {
            raise(SIGKILL);                 /* committed, not answered */
        }

        memcpy(j->next, next, sizeof(next));
        acknowledge(j, ROTATED);

        begin(j, UPDATED);
        k.limits.rpm = 77;

        if (llm_key_update(st, j->k.id, LLM_SET_RPM, &k, &k, E) != LLM_OK) {
            return 3;
        }

        acknowledge(j, UPDATED);

        begin(j, REVOKED);

        if (llm_key_revoke(st, j->k.id, &k, E) != LLM_OK) {
            return 4;
        }

        acknowledge(j, REVOKED);
    }
}


static int
good(llm_store_t *st, const char *key, uint32_t rpm)
{
    llm_key_t  k;

    return llm_key_lookup(st, secret, key, LLM_KEY_LEN, &k, E) == LLM_OK
           && llm_key_state(&k, time(NULL), LLM_KEY_MAX_AGE) == LLM_KEY_GOOD
           && k.limits.rpm == rpm;
}


/* what is wrong with the store, given what was acknowledged */

static int
check_journal(llm_store_t *st, const journal_t *j, int *replayed)
{
    int        again, wrong;
    char       next[LLM_KEY_LEN + 1];
    llm_key_t  k;

    if (j->done == NOTHING) {
        return 0;
    }

    if (j->done == REVOKED) {
        return good(st, j->key, 77) || good(st, j->next, 77)
               || llm_key_get(st, j->k.id, &k, E) != LLM_OK
               || k.revoked == 0;
    }

    if (j->begun == REVOKED) {

        /* both secrets, or none */

        return good(st, j->key, 77) != good(st, j->next, 77);
    }

    if (j->done == UPDATED) {
        return !good(st, j->key, 77) || !good(st, j->next, 77);
    }

    if (j->begun == UPDATED) {
        return good(st, j->key, 0) ? !good(st, j->next, 0)
                                   : !good(st, j->key, 77)
                                     || !good(st, j->next, 77);
    }

    if (j->done == ROTATED) {
        return !good(st, j->key, 0) || !good(st, j->next, 0);
    }

    /* no answer: the old one is good, and who asks again gets the new one */

    wrong = !good(st, j->key, 0);

    wrong += llm_key_rotate(st, secret, j->k.id, 3600, 0, "job", &k, next,
                            &again, E) != LLM_OK;
    *replayed += again;
    wrong += !good(st, j->key, 0) || !good(st, next, 0);

    return wrong;
}


/* not waited for: its number is not another's yet */

static int
running(pid_t pid)
{
    siginfo_t  info;

    memset(&info, 0, sizeof(info));

    return waitid(P_PID, (id_t) pid, &info, WEXITED|WNOHANG|WNOWAIT) == 0
           && info.si_pid == 0;
}


static void
test_kill_loop(void)
{
    int           n, opened, replayed, round, stale, wrong;
    pid_t         pid;
    unsigned      total, want;
    journal_t    *j;
    llm_store_t  *st;

    n = opened = replayed = stale = wrong = 0;
    total = 0;

    j = mmap(NULL, sizeof(journal_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (j == MAP_FAILED) {
        printf("Bail out! no memory\n");
        exit(1);
    }

    for (round = 0; round < 60; round++) {

        memset(j, 0, sizeof(journal_t));
        j->die = round % 4 == 3;

        fflush(stdout);
        pid = fork();

        if (pid == 0) {
            _exit(busy_writer(j));
        }

        /* wherever it is after so many answers */

        want = 2 + (unsigned) round % 13;

        while (!j->die
               && __atomic_load_n(&j->writes, __ATOMIC_SEQ_CST) < want
               && running(pid))
        {
            /* a few microseconds count */
        }

        if (!j->die) {
            usleep((useconds_t) (round * 7 % 120));
            kill(pid, SIGKILL);
        }

        waitpid(pid, NULL, 0);
        total += j->writes;

        if (llm_store_open(&st, path, 0, E) != LLM_OK) {
            continue;
        }

        opened++;
        wrong += check_journal(st, j, &replayed) != 0;
        wrong += llm_key_each(st, NULL, count_all, &n, E) != LLM_OK;
        wrong += llm_store_check(st, E) != LLM_OK;
        mdb_reader_list(st->env, reader_line, &stale);
        llm_store_close(st);
    }

    is_int(opened, 60, "a writer is killed 60 times: the store opens");
    is_int(wrong, 0, "each acknowledged write is there");
    is_int(stale, 0, "no reader of the dead is");
    ok(total > 300, "%u writes", total);
    ok(replayed >= 15, "%d rotations gave their key once more", replayed);

    (void) munmap(j, sizeof(journal_t));
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


typedef struct {
    llm_store_t  *st;
    const char   *keep;         /* the id of one that stays */
    int           n;
    int           failed;
} revoke_all_t;


static int
revoke_one(void *data, const llm_key_t *k)
{
    llm_key_t      found;
    revoke_all_t  *r = data;

    if (k->revoked == 0 && strcmp(k->id, r->keep) != 0) {
        r->n++;
        r->failed += llm_key_revoke(r->st, k->id, &found, E) != LLM_OK;
    }

    return r->n == 300;
}


/* what a store without room refuses, and what not */

static void
full_map(llm_store_t *st, const llm_key_t *keep, const llm_key_t *other,
    const char *key)
{
    int           again;
    char          next[LLM_KEY_LEN + 1];
    llm_key_t     f, k;
    revoke_all_t  r;

    f = *other;
    f.limits.rpm = 5;
    is_int(llm_key_update(st, other->id, LLM_SET_RPM, &f, &k, E), LLM_FULL,
           "no update");
    ok(strstr(err, "full") != NULL, "the message: %s", err);
    is_int(llm_key_rotate(st, secret, keep->id, 60, 0, NULL, &k, next,
                          &again, E), LLM_FULL, "no rotation");
    ok(strstr(err, "full") != NULL && next[0] == '\0', "the message: %s",
       err);
    is_int(llm_params_put(st, "demo", "{}", E), LLM_FULL, "no parameters");
    is_int(llm_store_note(st, "x", "y", "z", E), LLM_FULL, "no note");

    is_int(llm_key_replace(st, secret, other->id, &k, &f, next, E),
           LLM_AGAIN, "a leaked key");
    ok(k.revoked != 0 && f.id[0] == '\0' && next[0] == '\0'
       && strstr(err, "full") != NULL, "is revoked: %s", err);
    is_int(llm_key_lookup(st, secret, key, LLM_KEY_LEN, &k, E), LLM_OK,
           "a look-up");
    ok(k.revoked != 0, "tells");

    memset(&r, 0, sizeof(r));
    r.st = st;
    r.keep = keep->id;
    is_int(llm_key_each(st, NULL, revoke_one, &r, E), LLM_OK, "300 more");
    ok(r.n == 300 && r.failed == 0, "revoked: %d, not: %d", r.n, r.failed);
}


static void
test_map_full(void)
{
    int           i, n, rc, status;
    char          key[LLM_KEY_LEN + 1], okey[LLM_KEY_LEN + 1];
    pid_t         pid;
    pair_t        p;
    llm_key_t     k, other;
    llm_store_t  *st;
    struct stat   sb;

    memset(&p, 0, sizeof(p));
    ok(pipe(p.to) == 0 && pipe(p.from) == 0, "pipes");

    remove_tree(path);
    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "1m");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(create(st, &p.k, p.key), LLM_OK, "a first key");
    is_int(create(st, &other, okey), LLM_OK, "a second");

    /* with as many secrets as can be */

    for (i = 1; i < LLM_KEY_SECRETS; i++) {
        llm_key_rotate(st, secret, other.id, 3600, 0, NULL, &k, key, &rc, E);
    }

    for (n = 1; n < 20000; n++) {
        rc = create(st, &k, key);

        if (rc != LLM_OK) {
            break;
        }
    }

    ok(n > 500 && n < 20000, "full after %d keys", n);
    is_int(rc, LLM_FULL, "an error");
    ok(strstr(err, "full") != NULL && strstr(err, path) != NULL,
       "the message: %s", err);
    is_int(key[0], 0, "no key");
    ok(stat(at("store/data.mdb"), &sb) == 0 && sb.st_size <= 1 << 20,
       "the file is in its size");
    is_int(llm_key_lookup(st, secret, p.key, LLM_KEY_LEN, &k, E), LLM_OK,
           "look-ups work");

    full_map(st, &p.k, &other, okey);

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
