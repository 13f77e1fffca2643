
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas in several processes: a limit that a thousand parallel requests
 * share, and kill -9: at random moments, and at each instruction of a call in
 * turn (ptrace), after which nothing may be lost, counted twice, or stuck.
 */


#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "quota_test.h"


#define PROCS     5
#define THREADS   8             /* a process */
#define REQUESTS  25            /* a thread: 1,000 in all */
#define KILLS     200


#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SLOW  1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW  1
#endif
#endif

#ifndef SLOW
#define SLOW  0
#endif


/* what processes tell of themselves, beside the table */
typedef struct {
    _Atomic uint64_t  used;
    _Atomic uint64_t  calls;
    _Atomic uint64_t  refused;
    _Atomic int       go;
} told_t;

static told_t       *told;
static llm_quota_t  *q;


static void *
many(void *data)
{
    int                 i;
    uint64_t            got;
    llm_limits_t        lim = { .rpm = 900, .day = 25000, .month = 100000 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    while (atomic_load(&told->go) == 0) {
        sched_yield();
    }

    for (i = 0; i < REQUESTS; i++) {
        if (enter(q, key(1), &lim, getpid(), T0, &t, &v) != LLM_OK) {
            atomic_fetch_add(&told->refused, 1);
            continue;
        }

        atomic_fetch_add(&told->calls, 1);

        /* in two steps, as the engine does it */

        if (llm_quota_reserve(q, t, 10, 1, T0, &got, NULL) == LLM_OK) {
            llm_quota_reserve(q, t, 40, 0, T0, &got, NULL);
        }

        atomic_fetch_add(&told->used, got);
        llm_quota_leave(q, t, 0, got, T0);
    }

    return NULL;
}


static void
test_parallel(void)
{
    int               i, j, status;
    pid_t             pid[PROCS];
    pthread_t         tid[THREADS];
    llm_limits_t      lim = { .rpm = 900, .day = 25000, .month = 100000 };
    llm_quota_view_t  v;

    q = table(64);
    memset(told, 0, sizeof(told_t));
    fflush(stdout);

    for (i = 0; i < PROCS; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            for (j = 0; j < THREADS; j++) {
                pthread_create(&tid[j], NULL, many, NULL);
            }

            for (j = 0; j < THREADS; j++) {
                pthread_join(tid[j], NULL);
            }

            _exit(0);
        }
    }

    atomic_store(&told->go, 1);

    for (i = 0; i < PROCS; i++) {
        waitpid(pid[i], &status, 0);
        is_int(status, 0, "a process of eight threads");
    }

    llm_quota_view(q, key(1), &lim, T0, &v);
    is_int((long) atomic_load(&told->used), 25000,
           "1,000 requests of 40: exactly the limit is granted");
    is_int((long) v.usage.day_tokens, 25000, "and counted");
    is_int((long) v.day_left, 0, "0 left");
    is_int((long) v.usage.calls, (long) atomic_load(&told->calls),
           "requests too");
    ok(v.usage.calls <= 900, "no more than their limit");
    is_int((long) (v.usage.calls + atomic_load(&told->refused)), 1000,
           "the others were refused");
    is_int(v.running, 0, "none is running");
    is_int((long) v.reserved, 0, "nothing is reserved");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


static int
drop_put(void *data, const char *id, const llm_spent_t *usage)
{
    return LLM_OK;
}


/* all a worker does, without end, on few keys: until it is killed */

static void
busy(int number)
{
    int                 i, n;
    uint64_t            got, turn, seed;
    llm_limits_t        lim = { .concurrent = 0, .day = 1ull << 40 };
    llm_quota_ticket_t  t[8];

    memset(t, 0, sizeof(t));
    seed = 88172645463325252ull + (uint64_t) number;

    for (i = 0; ; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        n = (int) (seed % 8);

        if (t[n] == 0) {
            /* most on one key, some on many: they are evicted */
            enter(q, key(i % 4 ? 1 : (int) (seed >> 32 & 4095)), &lim,
                  getpid(), T0 + i, &t[n], NULL);

        } else if (i % 3) {
            llm_quota_reserve(q, t[n], seed >> 8 & 63, 0, T0 + i, &got, NULL);

        } else {
            llm_quota_leave(q, t[n], 1, 2, T0 + i);
            t[n] = 0;
        }

        if (i % 64 == 0
            && llm_quota_dirty(q, drop_put, NULL, T0 + i, &turn) == LLM_OK)
        {
            llm_quota_written(q, turn);
        }

        if (i % 256 == 0) {
            llm_quota_reap(q, T0 + i);
        }
    }
}


static void
test_kills(void)
{
    int                 bad, i, n, repairs;
    pid_t               pid[3];
    uint64_t            calls, got, number;
    const char         *why;
    llm_limits_t        lim = { 0 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    q = table(16);
    bad = 0;
    why = NULL;
    calls = 0;
    fflush(stdout);

    for (i = 0; i < 3; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            busy(i);
        }
    }

    for (i = 0; i < KILLS; i++) {
        n = i % 3;
        usleep(1000 + (useconds_t) (i * 7919 % 3000));

        kill(pid[n], SIGKILL);
        waitpid(pid[n], NULL, 0);

        pid[n] = fork();

        if (pid[n] == 0) {
            busy(i);
        }

        /* others are at it meanwhile */

        if (wrong(q)) {
            why = wrong(q);
            bad++;
        }

        if (llm_quota_view(q, key(1), &lim, T0, &v) == LLM_OK) {
            bad += v.usage.calls < calls;
            calls = v.usage.calls;
        }
    }

    is_int(bad, 0, "200 kills: the table is right after each");

    if (why) {
        printf("# %s\n", why);
    }

    for (i = 0; i < 3; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }

    llm_quota_reap(q, T0 + DAY);

    for (i = 0, n = 0; i < 4096; i++) {
        if (llm_quota_view(q, key(i), &lim, T0 + DAY, &v) == LLM_OK) {
            n += v.running != 0 || v.reserved != 0;
        }
    }

    is_int(n, 0, "reap brings all back");

    for (i = 0, repairs = 0; i < LLM_QUOTA_SHARDS; i++) {
        n += (int) q->shard[i].running;
        repairs += (int) q->shard[i].repairs;
    }

    is_int(n, 0, "no flight is left");
    ok(repairs > 0, "killed %d times under the lock", repairs);
    ok(wrong(q) == NULL, "the table is right");
    is_int(llm_quota_dirty(q, drop_put, NULL, T0, &number), LLM_OK,
           "a dead writer's turn is free");
    llm_quota_written(q, number);
    is_int(llm_quota_is_dirty(q), 0, "all is written");
    is_int(enter(q, key(1), &lim, getpid(), T0 + DAY, &t, &v), LLM_OK,
           "and it works");
    is_int(llm_quota_reserve(q, t, 5, 5, T0 + DAY, &got, NULL), LLM_OK,
           "as before");
    llm_quota_leave(q, t, 5, 0, T0 + DAY);
    untable(q);
}


static void
test_reap(void)
{
    int                 i, p[2];
    pid_t               pid;
    uint64_t            got;
    llm_limits_t        lim = { .tpm = 10000 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, mine;

    q = table(16);
    fflush(stdout);
    enter(q, key(1), &lim, getpid(), T0, &mine, NULL);
    llm_quota_reserve(q, mine, 11, 11, T0, &got, NULL);

    if (pipe(p) == -1) {
        ok(0, "pipe");
        return;
    }

    pid = fork();

    if (pid == 0) {
        for (i = 0; i < 600; i++) {
            enter(q, key(1 + i % 2), &lim, getpid(), T0, &t, NULL);
            llm_quota_reserve(q, t, 3, 3, T0, &got, NULL);
        }

        (void) !write(p[1], "x", 1);
        pause();
        _exit(0);
    }

    (void) !read(p[0], &i, 1);
    is_int(llm_quota_reap(q, T0), 0, "it lives: nothing to reap");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    is_int(llm_quota_reap(q, T0 + 6 * SEC), 600, "it is gone: 600");
    is_int(llm_quota_reap(q, T0 + 6 * SEC), 0, "once");

    llm_quota_view(q, key(1), &lim, T0 + 6 * SEC, &v);
    is_int(v.running, 1, "the other process's request is there");
    is_int((long) v.reserved, 11, "with what it reserved");
    is_int((long) v.usage.completion_tokens, 900, "what was reserved is used");
    is_int(v.usage.tokens[(T0 / 5000 + 1) % 13], 900, "now");
    is_int(v.tpm_left, 10000 - 911, "of the limit");
    is_int(llm_quota_is_dirty(q), 1, "which is to be written");
    is_int(llm_quota_reserve(q, mine, 12, 12, T0, &got, NULL), LLM_OK,
           "the other one goes on");

    is_int(llm_quota_drop(q, getpid() + 1, T0), 0, "drop another process");
    is_int(llm_quota_drop(q, 0, T0), 0, "and none");
    is_int(llm_quota_drop(q, getpid(), T0 + 6 * SEC), 1, "and this one");
    is_int(llm_quota_reserve(q, mine, 12, 12, T0, &got, NULL), LLM_NOTFOUND,
           "its ticket is old");
    llm_quota_view(q, key(1), &lim, T0 + 6 * SEC, &v);
    is_int((long) v.usage.completion_tokens, 912, "used");
    ok(wrong(q) == NULL, "the table is right");

    close(p[0]);
    close(p[1]);
    untable(q);
}


/* the turn: of one process, until it dies */

static void
test_turn(void)
{
    int       p[2];
    char      c;
    pid_t     pid;
    uint64_t  number;

    q = table(16);
    fflush(stdout);

    if (pipe(p) == -1) {
        ok(0, "pipe");
        return;
    }

    pid = fork();

    if (pid == 0) {
        c = llm_quota_dirty(q, drop_put, NULL, T0, &number) == LLM_OK;
        (void) !write(p[1], &c, 1);
        pause();
        _exit(0);
    }

    c = 0;
    (void) !read(p[0], &c, 1);
    is_int(c, 1, "another process has the turn");
    is_int(llm_quota_dirty(q, drop_put, NULL, T0, &number), LLM_AGAIN,
           "this one must wait");
    llm_quota_written(q, number);
    llm_quota_written(q, 1);
    is_int(llm_quota_dirty(q, drop_put, NULL, T0, &number), LLM_AGAIN,
           "and can't end it");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    is_int(llm_quota_dirty(q, drop_put, NULL, T0, &number), LLM_OK,
           "dead: it is free");
    llm_quota_written(q, number);
    close(p[0]);
    close(p[1]);
    untable(q);
}


/*
 * The calls of which each instruction is a moment to die.  Before: key 1 has
 * used 100, two requests run and have reserved 30 each, one of them the
 * child's own.
 */

enum { STEP_ENTER, STEP_LOAD, STEP_RESERVE, STEP_LEAVE, STEP_WRITTEN, STEPS };

static const char  *step_name[] = { "enter", "load", "reserve", "leave",
                                    "written" };

static llm_limits_t        step_lim = { .tpm = 10000, .day = 1000 };
static llm_quota_ticket_t  step_other, step_own;

#define STEP_KEYS  80

static int  step_key[STEP_KEYS];


static void
step_keys(void)
{
    int       i, n;
    char      padded[LLM_QUOTA_ID];
    uint64_t  hash, want;

    llm_quota_id(key(5000), padded, &want);

    for (i = 2, n = 0; n < STEP_KEYS && i < 5000; i++) {
        llm_quota_id(key(i), padded, &hash);

        if (llm_quota_shard_of(hash) == llm_quota_shard_of(want)) {
            step_key[n++] = i;
        }
    }
}


/* before the child is forked: all but its own request */

static void
step_before(void)
{
    int                 i;
    uint64_t            got;
    llm_quota_ticket_t  t;

    q = table(1);

    enter(q, key(1), &step_lim, getpid(), T0, &t, NULL);
    llm_quota_leave(q, t, 40, 60, T0);
    enter(q, key(1), &step_lim, getpid(), T0, &step_other, NULL);
    llm_quota_reserve(q, step_other, 30, 30, T0, &got, NULL);

    /* the shard of key 5000 has no unused entry: a load evicts */

    for (i = 0; i < STEP_KEYS && step_key[i]; i++) {
        if (enter(q, key(step_key[i]), &step_lim, getpid(), T0, &t, NULL)
            == LLM_OK)
        {
            llm_quota_leave(q, t, 1, 0, T0);
        }
    }

    llm_quota_dirty(q, drop_put, NULL, T0, &got);
    llm_quota_written(q, got);
}


static void
step_child(int op)
{
    char                id[LLM_QUOTA_ID + 1];
    pid_t               pid;
    uint64_t            got, number;
    llm_quota_ticket_t  t;

    pid = getpid();
    strcpy(id, key(op == STEP_LOAD ? 5000 : 1));

    enter(q, key(1), &step_lim, pid, T0, &step_own, NULL);
    llm_quota_reserve(q, step_own, 30, 30, T0, &got, NULL);
    llm_quota_enter(q, key(5000), &step_lim, NULL, pid, T0, &t, NULL);
    number = 0;

    if (op == STEP_WRITTEN) {
        llm_quota_dirty(q, drop_put, NULL, T0, &number);
    }

    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);

    switch (op) {

    case STEP_ENTER:
        llm_quota_enter(q, id, &step_lim, NULL, pid, T0 + 6 * SEC, &t, NULL);
        break;

    case STEP_LOAD:
        llm_quota_enter(q, id, &step_lim, &nothing, pid, T0, &t, NULL);
        break;

    case STEP_RESERVE:
        llm_quota_reserve(q, step_own, 80, 80, T0 + 6 * SEC, &got, NULL);
        break;

    case STEP_LEAVE:
        llm_quota_leave(q, step_own, 3, 4, T0 + 6 * SEC);
        break;

    case STEP_WRITTEN:
        llm_quota_written(q, number);
        break;
    }

    /* not _exit(): the dynamic linker would look it up, step by step */
    syscall(SYS_exit_group, 0);
    _exit(0);
}


/* after its death at any moment: as it was before, or as it is after */

static const char *
step_after(int op)
{
    uint64_t           number, used;
    const char        *bad;
    llm_quota_view_t   v;

    bad = wrong(q);
    if (bad) {
        return bad;
    }

    if (llm_quota_view(q, key(1), &step_lim, T0 + 6 * SEC, &v) != LLM_OK) {
        return "the key is gone";
    }

    if (v.usage.calls != 3 && !(v.usage.calls == 4 && op == STEP_ENTER)) {
        return "calls";
    }

    if (v.running != v.usage.calls - 1
        && !(v.running == 1 && op == STEP_LEAVE))
    {
        return "running";
    }

    /* the child's own: reserved as before or more, or used */

    used = v.usage.day_tokens;

    if (!(v.reserved == 60 && used == 100)
        && !(v.reserved == 110 && used == 100 && op == STEP_RESERVE)
        && !(v.reserved == 30 && used == 107 && op == STEP_LEAVE))
    {
        return "tokens";
    }

    if (!llm_quota_is_dirty(q)) {
        if (op != STEP_WRITTEN) {
            return "not dirty";
        }
    }

    llm_quota_reap(q, T0 + 6 * SEC);
    llm_quota_view(q, key(1), &step_lim, T0 + 6 * SEC, &v);

    if (v.running != 1 || v.reserved != 30) {
        return "not reaped";
    }

    used = v.usage.day_tokens;

    if (used != 130 && !(used == 180 && op == STEP_RESERVE)
        && !(used == 107 && op == STEP_LEAVE))
    {
        return "reaped tokens";
    }

    if (llm_quota_dirty(q, drop_put, NULL, T0, &number) != LLM_OK) {
        return "no turn";
    }

    llm_quota_written(q, number);

    if (llm_quota_is_dirty(q)) {
        return "still dirty";
    }

    return wrong(q);
}


/* the child dies after n instructions: 1 when it had ended before, -1: no
 * ptrace here */

static int
step_kill(int op, int n)
{
    int    status;
    pid_t  pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        step_child(op);
    }

    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        return -1;
    }

    while (n-- > 0) {
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == -1
            || waitpid(pid, &status, 0) != pid)
        {
            kill(pid, SIGKILL);
            return -1;
        }

        if (WIFEXITED(status)) {
            return 1;
        }
    }

    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);

    return 0;
}


static void
test_steps(int stride)
{
    int          died, n, op, rc, repairs;
    const char  *bad;

    step_keys();

    for (op = 0; op < STEPS; op++) {
        rc = died = repairs = 0;
        bad = NULL;

        /* the last one walks all shards */

        for (n = 0; rc == 0 && bad == NULL;
             n += op == STEP_WRITTEN ? 5 * stride : stride)
        {
            step_before();
            rc = step_kill(op, n);

            if (rc == -1 && n == 0) {
                skip((STEPS - op) * 2, "no ptrace");
                untable(q);
                return;
            }

            bad = step_after(op);

            if (bad) {
                printf("# after %d instructions: %s\n", n, bad);
            }

            for (int i = 0; i < LLM_QUOTA_SHARDS; i++) {
                repairs += (int) q->shard[i].repairs;
            }

            died++;
            untable(q);
        }

        ok(bad == NULL && rc == 1, "%s: killed at %d moments", step_name[op],
           died);
        ok(repairs > 0, "%d of them under the lock", repairs);
    }
}


int
main(int argc, char **argv)
{
    told = mmap(NULL, sizeof(told_t), PROT_READ|PROT_WRITE,
                MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (told == MAP_FAILED) {
        printf("Bail out! no memory\n");
        return 1;
    }

    test_parallel();
    test_reap();
    test_turn();
    test_kills();

    if (SLOW) {
        skip(STEPS * 2, "sanitizers take too many steps");

    } else {
        /* quota_procs 1: each instruction, minutes */
        test_steps(argc > 1 ? atoi(argv[1]) : 41);
    }

    return done();
}
