
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail in several processes and threads: made by many at once,
 * written by many, writers killed at any time, pruned and renewed meanwhile.
 */


#include "audit_test.h"


#define WRITERS  4


static void
await(int fd)
{
    char  c;

    (void) !read(fd, &c, 1);
}


/* waits for the start, opens, puts twenty calls in ten commits */

static int
starter(int fd, int i)
{
    int           n;
    char          id[64];
    llm_audit_t  *a;

    await(fd);

    if (llm_audit_open(&a, path, secret, 1, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        return 1;
    }

    snprintf(id, sizeof(id), "key_0000000000000000000000%02d", i);

    for (n = 0; n < 10; n++) {
        if (put_audit(a, id, 0, 0, 2) != LLM_OK) {
            fprintf(stderr, "# %s\n", err);
            return 1;
        }
    }

    n = audit_faults(a);
    llm_audit_close(a);

    return n;
}


static void
test_start(void)
{
    int           bad, i, p[2], round, status;
    llm_audit_t  *a;

    bad = 0;

    for (round = 0; round < 10; round++) {
        audit_anew();
        bad += pipe(p) != 0;
        fflush(stdout);

        for (i = 0; i < WRITERS; i++) {
            if (fork() == 0) {
                _exit(starter(p[0], i));
            }
        }

        bad += write(p[1], "xxxxxx", WRITERS) != WRITERS;

        for (i = 0; i < WRITERS; i++) {
            bad += wait(&status) == -1 || status != 0;
        }

        close(p[0]);
        close(p[1]);

        if (llm_audit_open(&a, path, secret, 1, E) != LLM_OK) {
            fprintf(stderr, "# %s\n", err);
            bad++;
            continue;
        }

        bad += entries(a, a->shared->records) != 1 + WRITERS * 40;
        bad += entries(a, a->shared->keyed) != WRITERS * 20;
        bad += audit_faults(a);
        llm_audit_close(a);
    }

    is_int(bad, 0, "several start at once, ten times: one trail, all of it");
}


/* until it is killed; tells the number of each call that is durable */

static void
writer(int fd, int close_too)
{
    int                rc;
    unsigned           i;
    uint64_t           n;
    llm_audit_t       *a;
    llm_audit_open_t   o;
    llm_audit_close_t  c;

    if (llm_audit_open(&a, path, secret, 1, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        _exit(1);
    }

    for (i = 0; /* void */ ; i++) {
        rc = llm_audit_begin(a, E);

        if (rc == LLM_OK) {
            rc = llm_audit_put_open(a, an_open(&o, KEY_A, 0, i), &n, E);
        }

        if (rc == LLM_OK && close_too) {
            rc = llm_audit_put_close(a, a_close(&c, n, 0, i), E);
        }

        if (rc == LLM_OK && i % 7 == 0) {
            rc = llm_audit_commit(a, E);

            if (rc == LLM_OK) {
                rc = llm_audit_sign(a, E);
            }

        } else if (rc == LLM_OK) {
            rc = llm_audit_commit(a, E);
        }

        if (rc != LLM_OK || write(fd, &n, sizeof(n)) != sizeof(n)) {
            fprintf(stderr, "# %d %s\n", rc, err);
            _exit(1);
        }
    }
}


static int
durable(llm_audit_t *a, uint64_t number)
{
    int                  good;
    MDB_txn             *txn;
    MDB_val              v;
    llm_audit_record_t   r;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        return 0;
    }

    good = llm_audit_get(a, txn, number, &v, E) == LLM_OK
           && llm_audit_unpack(v.mv_data, v.mv_size, &r) == LLM_OK
           && r.type == LLM_AUDIT_OPEN;

    llm_audit_read_end(a, txn);

    return good;
}


/* two writers, one of them is killed and another begun, over and over */

static void
test_killed(void)
{
    int           bad, i, p[2], status;
    pid_t         pid, other;
    uint64_t      n, told;
    llm_audit_t  *a;

    audit_anew();
    bad = pipe(p) != 0;
    told = 0;
    fflush(stdout);
    other = fork();

    if (other == 0) {
        writer(open("/dev/null", O_WRONLY), 1);
    }

    for (i = 0; i < 60; i++) {
        pid = fork();

        if (pid == 0) {
            writer(p[1], i % 2);
        }

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

        if (i == 30) {
            kill(other, SIGKILL);
            bad += waitpid(other, &status, 0) != other
                   || !WIFSIGNALED(status);
            other = fork();

            if (other == 0) {
                writer(open("/dev/null", O_WRONLY), 1);
            }
        }

        if (i % 10 != 9) {
            continue;
        }

        if (llm_audit_open(&a, path, secret, 1, E) != LLM_OK) {
            fprintf(stderr, "# %s\n", err);
            bad++;
            continue;
        }

        bad += !durable(a, told);
        bad += put_audit(a, KEY_B, 0, 0, 1) != LLM_OK;
        llm_audit_close(a);
    }

    kill(other, SIGKILL);
    bad += waitpid(other, &status, 0) != other || !WIFSIGNALED(status);
    close(p[1]);

    is_int(llm_audit_open(&a, path, secret, 1, E), LLM_OK, "opened");

    while (read(p[0], &n, sizeof(n)) == sizeof(n)) {
        bad += !durable(a, n);
        told = n;
    }

    close(p[0]);
    is_int(bad, 0, "sixty writers are killed: what was told is there");
    ok(told > 100, "%d records", (int) told);
    is_int(audit_faults(a), 0, "no fault");
    is_int(put_audit(a, KEY_B, 0, 0, 10), LLM_OK, "it goes on");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


/* killed while it makes a trail, and while it renews one */

static void
test_cut(void)
{
    int           away, bad, i, rc, status;
    pid_t         pid;
    llm_audit_t  *a;

    away = 0;
    bad = 0;

    for (i = 0; i < 60; i++) {

        if (i % 2 == 0) {
            audit_anew();
        }

        fflush(stdout);
        pid = fork();

        if (pid == 0) {
            _exit(i % 2 == 0 ? llm_audit_open(&a, path, secret, 1, E)
                             : llm_audit_renew(path, secret, 1, E));
        }

        usleep((useconds_t) (i * 37 % 1500));
        kill(pid, SIGKILL);
        bad += waitpid(pid, &status, 0) != pid;

        rc = llm_audit_open(&a, path, secret, 1, E);

        /* what a renewal leaves may need another one */

        if (rc != LLM_OK && i % 2 != 0) {
            away++;
            rc = llm_audit_renew(path, secret, 1, E);

            if (rc == LLM_OK) {
                rc = llm_audit_open(&a, path, secret, 1, E);
            }
        }

        if (rc != LLM_OK || put_audit(a, KEY_A, 0, 0, 2) != LLM_OK
            || audit_faults(a) != 0)
        {
            fprintf(stderr, "# round %d: %s\n", i, err);
            bad++;
        }

        llm_audit_close(a);
    }

    is_int(bad, 0, "creations and renewals are killed, sixty times");
    ok(away < 30, "%d renewals were finished by another", away);
}


/* writes while it can; how often it was told that the files are away */

static int
patient(int fd)
{
    int           away, i, rc;
    llm_audit_t  *a;

    if (llm_audit_open(&a, path, secret, 1, E) != LLM_OK) {
        fprintf(stderr, "# %s\n", err);
        return 1;
    }

    await(fd);
    away = 0;

    for (i = 0; i < 300 && away < 100000; /* void */ ) {
        rc = put_audit(a, KEY_A, 0, 0, 1);

        if (rc == LLM_OK) {
            i++;
            continue;
        }

        llm_audit_abort(a);

        if (rc != LLM_AWAY) {
            fprintf(stderr, "# %d %s\n", rc, err);
            return 1;
        }

        away++;
        usleep(10);
    }

    llm_audit_close(a);

    return i != 300;
}


static void
test_renewed(void)
{
    int           bad, i, p[2], status;
    llm_audit_t  *a;

    audit_anew();
    is_int(llm_audit_renew(path, secret, 1, E), LLM_OK, "a trail");
    bad = pipe(p) != 0;
    fflush(stdout);

    for (i = 0; i < 3; i++) {
        if (fork() == 0) {
            _exit(patient(p[0]));
        }
    }

    bad += write(p[1], "xxx", 3) != 3;

    for (i = 0; i < 10; i++) {
        usleep(3000);
        bad += llm_audit_renew(path, secret, 1, E) != LLM_OK;
    }

    for (i = 0; i < 3; i++) {
        bad += wait(&status) == -1 || status != 0;
    }

    close(p[0]);
    close(p[1]);

    is_int(bad, 0, "renewed ten times under three writers: they go on");
    is_int(llm_audit_open(&a, path, secret, 1, E), LLM_OK, "opened");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


typedef struct {
    llm_audit_t  *a;
    int           bad;
} worker_t;


static void *
worker(void *data)
{
    int                 i;
    char                one[8];
    worker_t           *w = data;
    uint8_t             hash[LLM_AUDIT_HASH];
    llm_audit_print_t  *print;

    for (i = 0; i < 150; i++) {
        w->bad += put_audit(w->a, KEY_A, T0 + i * HOUR, 0, 2) != LLM_OK;
        w->bad += llm_audit_unsigned(w->a) == 2;

        print = llm_audit_print_new(w->a);
        llm_audit_print(print, one, 0);
        llm_audit_print_done(print, hash);
    }

    return NULL;
}


/* handles of one process, while its trail is pruned and opened anew */

static void
test_threads(void)
{
    int           bad, i;
    uint64_t      dropped, n;
    pthread_t     t[3];
    llm_audit_t  *a;
    worker_t      w[3];

    audit_anew();
    is_int(llm_audit_open_at(&a, path, secret, 1, T0, E), LLM_OK, "opened");
    bad = 0;

    for (i = 0; i < 3; i++) {
        w[i].bad = 0;
        bad += llm_audit_dup(&w[i].a, a, E) != LLM_OK;
        bad += pthread_create(&t[i], NULL, worker, &w[i]) != 0;
    }

    n = 0;

    for (i = 0; i < 20; i++) {
        bad += llm_audit_prune(a, T0 / 1000 + i * 3 * 3600, 3600, &dropped, E)
               != LLM_OK;
        n += dropped;
        bad += entries(a, a->shared->records) < 1;
        usleep(1000);

        if (i % 5 == 4) {
            unlink(at("store/audit.mdb-lock"));
        }
    }

    for (i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        bad += w[i].bad;
        llm_audit_close(w[i].a);
    }

    is_int(bad, 0, "three threads write while a fourth prunes");
    ok(n > 0 || i == 3, "%d dropped", (int) n);
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


int
main(void)
{
    if (audit_begin() == -1) {
        return 1;
    }

    test_start();
    test_killed();
    test_cut();
    test_renewed();
    test_threads();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
