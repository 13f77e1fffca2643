
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor's store: several processes at once, no room, bad records,
 * what the file holds, the log, a rotation of the secret.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sched.h>
#include <sys/mman.h>

#include <openssl/evp.h>

#include "totp_test.h"


#define PROCS   4
#define ROUNDS  25
#define CODES   LLM_TOTP_CODES


/* shared by the processes */

typedef struct {
    user_t  u;
    int     here[ROUNDS + CODES + 1];   /* processes that are in a round */
    int     ready[ROUNDS + CODES + 1];
    int     won[ROUNDS + CODES];
    int     lost[ROUNDS + CODES];
    int     wrong, locked, other;
} race_t;


static void
count(int *n)
{
    (void) __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}


static void
meet(int *here)
{
    count(here);

    while (__atomic_load_n(here, __ATOMIC_SEQ_CST) < PROCS) {
        sched_yield();
    }
}


/*
 * All start a round at once.  The first one holds the writer's lock meanwhile,
 * so that the others have read the record and wait.
 */

static void
start(race_t *r, int round, int first, llm_store_t *st)
{
    MDB_txn  *txn;

    meet(&r->here[round]);      /* none is in the round before */

    if (first && llm_store_write(st, &txn, 1, E) != LLM_OK) {
        count(&r->other);
        first = 0;
    }

    meet(&r->ready[round]);

    if (first) {
        usleep(2000);
        llm_store_abort(st, txn);
    }
}


static void
tell(race_t *r, int round, int rc)
{
    count(rc == LLM_OK ? &r->won[round]
          : rc == LLM_INVALID ? &r->lost[round] : &r->other);
}


/* all at once: the app's code of each step, each recovery code, wrong ones */

static int
racer(race_t *r, int first)
{
    int           i, rc;
    int64_t       now;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        count(&r->other);
        return 1;
    }

    for (i = 0; i < ROUNDS; i++) {
        now = T0 + i * LLM_TOTP_STEP;
        start(r, i, first, st);
        tell(r, i, check(st, &r->u, code_at(&r->u, now), now));
    }

    for (i = 0; i < CODES; i++) {
        start(r, ROUNDS + i, first, st);
        tell(r, ROUNDS + i, check(st, &r->u, r->u.e.recovery[i], T0));
    }

    now = T0 + 100000;
    start(r, ROUNDS + CODES, first, st);

    for (i = 0; i < 5; i++) {
        rc = check(st, &r->u, wrong_at(&r->u, now), now);
        count(rc == LLM_INVALID ? &r->wrong
              : rc == LLM_AGAIN ? &r->locked : &r->other);
    }

    llm_store_close(st);

    return 0;
}


static void
test_race(void)
{
    int               i, status, won;
    pid_t             pid[PROCS];
    race_t           *r;
    llm_store_t      *st;
    llm_totp_info_t   info;

    r = mmap(NULL, sizeof(race_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    ok(r != MAP_FAILED, "memory for all");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(user(st, &r->u), LLM_OK, "a user");
    llm_store_close(st);

    fflush(stdout);

    for (i = 0; i < PROCS; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            alarm(60);
            _exit(racer(r, i == 0));
        }
    }

    for (i = 0; i < PROCS; i++) {
        ok(waitpid(pid[i], &status, 0) == pid[i] && status == 0,
           "process %d", i);
    }

    for (i = 0, won = 0; i < ROUNDS; i++) {
        won += r->won[i] == 1 && r->lost[i] == PROCS - 1;
    }

    is_int(won, ROUNDS, "of processes with the same code one wins");

    for (i = ROUNDS, won = 0; i < ROUNDS + CODES; i++) {
        won += r->won[i] == 1 && r->lost[i] == PROCS - 1;
    }

    is_int(won, CODES, "and with the same recovery code");

    is_int(r->other, 0, "nothing else happens");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    llm_totp_info(st, r->u.id, &info, E);
    ok(info.failures == LLM_TOTP_FAILURES && info.recovery == 0
       && info.locked == T0 + 100000 + 60,
       "failures: five, then it is locked, for all");

    /* those who lost the last recovery code were failures already */

    ok(r->wrong == 5 - (PROCS - 1) && r->wrong + r->locked == 5 * PROCS,
       "%d wrong, %d locked out", r->wrong, r->locked);

    llm_store_close(st);
    munmap(r, sizeof(race_t));
}


/* map full: what can't be recorded is no answer */

static void
test_full(void)
{
    int               i, n, rc;
    char              key[LLM_KEY_LEN + 1];
    user_t            u, p;
    uint64_t          txnid;
    llm_key_t         k;
    llm_store_t      *st;
    llm_totp_info_t   info;
    llm_totp_enrol_t  e;

    remove_tree(path);
    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "1m");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(user(st, &u), LLM_OK, "a user");
    is_int(user(st, &p), LLM_OK, "another one");
    llm_totp_remove(st, p.id, E);
    is_int(llm_totp_enrol(st, secret, p.id, "p", &p.e, E), LLM_OK,
           "who is pending");
    raw_of(p.e.secret, p.raw);
    is_int(check(st, &u, wrong_at(&u, T0), T0), LLM_INVALID, "a failure");

    for (n = 1; n < 20000; n++) {
        rc = create(st, &k, key);

        if (rc != LLM_OK) {
            break;
        }
    }

    is_int(rc, LLM_FULL, "full");

    txnid = llm_store_txnid(st);

    for (i = 0, n = 0; i < 20; i++) {
        n += check(st, &u, wrong_at(&u, T0), T0) == LLM_FULL;
    }

    is_int(n, 20, "wrong codes: LLM_FULL, each");
    ok(strstr(err, "full") != NULL, "the message: %s", err);
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_FULL, "a good one too");
    is_int(check(st, &u, u.e.recovery[0], T0), LLM_FULL,
           "and a recovery code");
    is_int(llm_totp_confirm(st, secret, p.id, code_at(&p, T0), T0, E),
           LLM_FULL, "nothing is confirmed");
    is_int(llm_totp_enrol(st, secret, p.id, "p", &e, E), LLM_FULL,
           "or enrolled");
    ok(e.secret[0] == '\0' && e.recovery[9][0] == '\0', "or shown");
    is_int(llm_totp_recovery(st, secret, u.id, &e, E), LLM_FULL,
           "no new codes");
    ok(e.recovery[0][0] == '\0' && e.recovery[9][0] == '\0', "none shown");
    ok(llm_store_txnid(st) == txnid, "nothing is written");
    is_int(llm_totp_info(st, u.id, &info, E), LLM_OK, "info works");
    ok(info.failures == 1 && info.recovery == 10, "as it was");
    is_int(llm_key_revoke(st, u.id, &k, E), LLM_OK, "a revocation works");
    llm_store_close(st);

    is_int(llm_store_open(&st, path, 4 << 20, E), LLM_OK, "with room again");
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_OK,
           "the good code is still good");
    is_int(check(st, &u, u.e.recovery[0], T0), LLM_OK,
           "the recovery code too");
    is_int(llm_totp_confirm(st, secret, p.id, code_at(&p, T0), T0, E),
           LLM_OK, "confirmed");
    llm_store_close(st);
}


static int
write_record(llm_store_t *st, const char *id, const void *p, size_t len)
{
    int       rc;
    MDB_txn  *txn;
    MDB_val   k, v;

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;
    v.mv_data = (void *) p;
    v.mv_size = len;

    rc = llm_store_write(st, &txn, 1, E);

    if (rc == LLM_OK) {
        mdb_put(txn, st->totp, &k, &v, 0);
        rc = llm_store_commit(st, txn, E);
    }

    return rc;
}


static size_t
read_record(llm_store_t *st, const char *id, uint8_t *p)
{
    size_t    len;
    MDB_txn  *txn;
    MDB_val   k, v;

    k.mv_data = (void *) id;
    k.mv_size = LLM_KEY_ID_LEN;
    len = 0;

    if (llm_store_read(st, &txn, E) == LLM_OK) {
        if (mdb_get(txn, st->totp, &k, &v) == 0
            && v.mv_size <= LLM_TOTP_RECORD_MAX)
        {
            len = v.mv_size;
            memcpy(p, v.mv_data, len);
        }

        llm_store_read_end(st);
    }

    return len;
}


static void
test_damage(void)
{
    char              id[LLM_KEY_ID_LEN + 1];
    size_t            bad, i, len, n;
    user_t            u, v;
    uint8_t           good[LLM_TOTP_RECORD_MAX], p[LLM_TOTP_RECORD_MAX + 1];
    uint32_t          crc;
    uint64_t          txnid;
    const char       *why;
    llm_store_t      *st;
    llm_totp_info_t   info;
    llm_totp_enrol_t  e;
    llm_totp_record_t r;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(user(st, &u), LLM_OK, "a user");
    is_int(user(st, &v), LLM_OK, "another one");
    len = read_record(st, u.id, good);
    is_int(len, LLM_TOTP_RECORD_MAX, "the record");

    bad = 0;

    for (i = 0; i < len; i++) {
        memcpy(p, good, len);
        p[i] ^= (uint8_t) (1 << (i % 8));
        write_record(st, u.id, p, len);
        bad += check(st, &u, code_at(&u, T0), T0) != LLM_INVALID;
        bad += llm_totp_info(st, u.id, &info, E) != LLM_INVALID;
        bad += llm_totp_enrol(st, secret, u.id, "x", &e, E) != LLM_INVALID;
    }

    is_int(bad, 0, "each byte flipped: LLM_INVALID");

    bad = 0;

    for (i = 0; i <= len + 1; i++) {
        memset(p, 0, sizeof(p));
        memcpy(p, good, i < len ? i : len);
        bad += i != len && llm_totp_unpack(p, i, &r, &why) != LLM_INVALID;
    }

    is_int(bad, 0, "each other length");

    /* with a checksum that is right: nothing to crash on, nobody gets in */

    bad = 0;

    for (i = 0; i < len - 4; i++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(p, good, len);
            p[i] ^= (uint8_t) (1 << bit);
            crc = llm_crc32(p, len - 4);

            for (int j = 0; j < 4; j++) {
                p[len - 4 + (size_t) j] = (uint8_t) (crc >> (8 * j));
            }

            if (llm_totp_unpack(p, len, &r, &why) != LLM_OK) {
                bad++;

            } else if (bit == (int) i % 8) {
                write_record(st, u.id, p, len);
                (void) check(st, &u, wrong_at(&u, T0), T0);
                (void) check(st, &u, "00000-00000", T0);
            }
        }
    }

    ok(bad > 30, "%zu that can't be, with a right checksum", bad);

    write_record(st, u.id, "", 0);
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_INVALID, "an empty one");
    memset(p, 1, sizeof(p));
    write_record(st, u.id, p, sizeof(p));
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_INVALID, "a long one");
    is_int(llm_totp_count(st, &n, id, E), LLM_INVALID, "a count says so");
    ok(n >= 1 && strstr(err, u.id) != NULL, "the message: %s", err);

    /* another one's record opens with no code, and that is no failure */

    len = read_record(st, v.id, p);
    write_record(st, u.id, p, len);
    txnid = llm_store_txnid(st);
    is_int(check(st, &u, code_at(&v, T0), T0), LLM_INVALID,
           "a record of another one");
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_INVALID, "for both");
    ok(llm_store_txnid(st) == txnid, "nothing is written");
    is_int(check(st, &u, v.e.recovery[0], T0), LLM_INVALID,
           "nor with its recovery codes");

    write_record(st, u.id, p, 7);
    is_int(llm_totp_remove(st, u.id, E), LLM_OK, "a bad one is removed");
    is_int(llm_totp_count(st, &n, id, E), LLM_OK, "and all is well");

    llm_store_close(st);
}


/* needle in the store's file */

static int
holds(const char *p, size_t len, const void *needle, size_t n)
{
    return memmem(p, len, needle, n) != NULL;
}


static void
test_file(void)
{
    int              fd, found;
    char            *p, code[16];
    size_t           i, len;
    user_t           u;
    uint8_t          hash[20], digest[32];
    struct stat      sb;
    llm_store_t     *st;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(user(st, &u), LLM_OK, "a user");
    is_int(check(st, &u, u.e.recovery[7], T0), LLM_OK, "one code is used");
    llm_store_close(st);

    fd = open(at("store/data.mdb"), O_RDONLY);
    len = (fd != -1 && fstat(fd, &sb) == 0) ? (size_t) sb.st_size : 0;
    p = malloc(len + 1);
    ok(len > 0 && p != NULL && read(fd, p, len) == (ssize_t) len,
       "the file: %zu bytes", len);
    close(fd);

    ok(holds(p, len, u.id, LLM_KEY_ID_LEN), "it holds the id");
    ok(!holds(p, len, u.raw, 8) && !holds(p, len, u.raw + 12, 8),
       "not the secret");
    ok(!holds(p, len, u.e.secret, 8) && !holds(p, len, u.e.secret + 24, 8),
       "nor in base32");
    ok(!holds(p, len, "otpauth", 7), "nor a URI");

    found = 0;

    for (i = 0; i < LLM_TOTP_CODES; i++) {
        snprintf(code, sizeof(code), "%.5s%.5s", u.e.recovery[i],
                 u.e.recovery[i] + 6);

        found += holds(p, len, u.e.recovery[i], 11);
        found += holds(p, len, code, 10);

        EVP_Digest(code, 10, hash, NULL, EVP_sha1(), NULL);
        found += holds(p, len, hash, 8);
        EVP_Digest(code, 10, digest, NULL, EVP_sha256(), NULL);
        found += holds(p, len, digest, 8);
        EVP_Digest(u.e.recovery[i], 11, digest, NULL, EVP_sha256(), NULL);
        found += holds(p, len, digest, 8);
    }

    is_int(found, 0, "nor recovery codes, nor their hashes");
    free(p);
}


static int
count_change(void *data, const llm_change_t *c)
{
    size_t  *n = data;

    static const char  *const actions[] = { "totp.enrol", "totp.confirm",
        "totp.lock", "totp.recovery", "totp.remove" };

    for (int i = 0; i < 5; i++) {
        if (strcmp(c->action, actions[i]) == 0
            && strcmp(c->actor, "llmctl:test") == 0
            && llm_key_id_valid(c->target)
            && strstr(c->detail, "-") == NULL)
        {
            n[i]++;
        }
    }

    return 0;
}


static void
test_changes(void)
{
    size_t             n[5] = { 0 };
    user_t             u;
    llm_store_t       *st;
    llm_totp_enrol_t   e;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    llm_store_actor(st, "llmctl:test");
    is_int(user(st, &u), LLM_OK, "a user");

    for (int i = 0; i < 6; i++) {
        check(st, &u, "1", T0);
    }

    check(st, &u, code_at(&u, T0 + 60), T0 + 60);
    check(st, &u, u.e.recovery[0], T0 + 60);
    llm_totp_recovery(st, secret, u.id, &e, E);
    llm_totp_remove(st, u.id, E);

    is_int(llm_change_each(st, 0, count_change, n, E), LLM_OK, "the log");
    is_int(n[0], 1, "an enrolment");
    is_int(n[1], 1, "a confirmation");
    is_int(n[2], 1, "a lock: what it refuses is no further one");
    is_int(n[3], 2, "a recovery code, and new ones");
    is_int(n[4], 1, "a removal");

    llm_store_close(st);
}


/* a rotation of the secret: sealed under 1, then 1 goes */

static void
test_versions(void)
{
    size_t             n, v[3];
    user_t             u, w;
    uint64_t           txnid;
    llm_store_t       *st;
    llm_secret_t      *first, *second, *wrong;
    llm_totp_info_t    info;
    llm_totp_enrol_t   e;

    first = secret;
    remove_tree(path);
    is_int(llm_store_create(path, 4 << 20, E), LLM_OK, "a store");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(user(st, &u), LLM_OK, "a user");

    is_int(llm_secret_add(at("secret"), 2, E), LLM_OK, "version 2");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "both");
    is_int(llm_store_bind(st, secret, E), LLM_OK, "the store has it");
    is_int(user(st, &w), LLM_OK, "a user with it");
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_OK, "the first is let in");

    is_int(llm_totp_versions(st, v, 2, E), LLM_OK, "counted");
    ok(v[0] == 2 && v[1] == 1 && v[2] == 1, "one each");

    /* a process that has but the first, one that has but the second */

    is_int(llm_totp_check(st, first, w.id, code_at(&w, T0), T0, E),
           LLM_ERROR, "version 2 is not open there");
    ok(strstr(err, "version 2") != NULL, "the message: %s", err);

    ok(rename(at("secret"), at("kept")) == 0, "version 1 goes");
    is_int(llm_secret_open(&second, at("secret"), E), LLM_OK, "2 is left");
    txnid = llm_store_txnid(st);
    is_int(llm_totp_check(st, second, u.id, code_at(&u, T0 + 30), T0 + 30, E),
           LLM_ERROR, "not LLM_NOTFOUND, which would let in");
    is_int(llm_totp_check(st, second, u.id, u.e.recovery[0], T0 + 30, E),
           LLM_ERROR, "nor with a recovery code");
    is_int(llm_totp_reseal(st, second, &n, E), LLM_ERROR,
           "too late to seal it anew");
    ok(n == 0 && llm_store_txnid(st) == txnid, "nothing is written");

    /* another secret of the same version */

    is_int(llm_secret_create(at("wrong"), E), LLM_OK, "another secret");
    is_int(llm_secret_open(&wrong, at("wrong"), E), LLM_OK, "opened");
    is_int(llm_totp_check(st, wrong, u.id, code_at(&u, T0 + 30), T0 + 30, E),
           LLM_INVALID, "opens nothing");
    is_int(llm_totp_recovery(st, wrong, u.id, &e, E), LLM_INVALID,
           "makes no codes");
    is_int(llm_totp_enrol(st, wrong, w.id, "w", &e, E), LLM_EXISTS,
           "and no enrolment");

    is_int(llm_totp_reseal(st, secret, &n, E), LLM_OK, "sealed anew");
    is_int(n, 1, "the one of version 1");
    is_int(llm_totp_reseal(st, secret, &n, E), LLM_OK, "and again");
    is_int(n, 0, "none is left");
    is_int(llm_totp_check(st, second, u.id, code_at(&u, T0 + 30), T0 + 30, E),
           LLM_OK, "version 2 lets in");
    is_int(llm_totp_check(st, second, u.id, code_at(&u, T0 + 30), T0 + 30, E),
           LLM_INVALID, "once");
    llm_totp_versions(st, v, 2, E);
    ok(v[0] == 2 && v[1] == 1 && v[2] == 2, "its recovery codes need 1");
    is_int(llm_totp_check(st, second, u.id, u.e.recovery[0], T0 + 30, E),
           LLM_ERROR, "which is gone");
    is_int(llm_totp_recovery(st, second, u.id, &e, E), LLM_OK, "new codes");
    is_int(llm_totp_check(st, second, u.id, e.recovery[0], T0 + 30, E),
           LLM_OK, "are good");
    llm_totp_versions(st, v, 2, E);
    ok(v[0] == 2 && v[1] == 0 && v[2] == 2, "1 may go");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.recovery, 9, "nine are left");

    llm_secret_close(wrong);
    llm_secret_close(second);
    llm_secret_close(first);
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

    test_race();
    test_damage();
    test_file();
    test_changes();
    test_full();
    test_versions();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
