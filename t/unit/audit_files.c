
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail's files and keys: what is missing, foreign, older or of
 * another secret; renewal; a full disk; rotations of the secret.
 */


#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "audit_test.h"


static llm_audit_t  *a;


static int
opened(void)
{
    int  rc;

    err[0] = '\0';
    rc = llm_audit_open(&a, path, secret, 1, E);

    if (rc != LLM_OK && a != NULL) {
        printf("# a handle all the same\n");
    }

    return rc;
}


/* what open returns; closed again */

static int
try_open(void)
{
    int  rc;

    rc = opened();
    llm_audit_close(a);

    return rc;
}


/* a trail of so many calls, closed */

static void
a_trail(int n)
{
    audit_anew();

    if (opened() != LLM_OK || put_audit(a, KEY_A, 0, 0, n) != LLM_OK
        || llm_audit_sign(a, E) != LLM_OK)
    {
        printf("# %s\n", err);
    }

    llm_audit_close(a);
}


static void
copy(const char *from, const char *to)
{
    char  command[700];

    snprintf(command, sizeof(command), "cp '%s' '%s' && chmod 600 '%s'", from,
             to, to);
    (void) !system(command);
}


static void
test_files(void)
{
    struct stat   sb;
    llm_audit_t  *r;

    is_int(llm_audit_open(&a, at("nowhere"), secret, 1, E), LLM_NOTFOUND,
           "no directory");
    mkdir(at("empty"), 0700);
    is_int(llm_audit_open(&a, at("empty"), secret, 1, E), LLM_NOTFOUND,
           "no store");
    is_int(llm_audit_open(&a, path, NULL, 0, E), LLM_NOTFOUND,
           "without a secret none is made");

    is_int(llm_audit_open(&a, path, secret, 2, E), LLM_INVALID,
           "no such version of the secret");

    is_int(opened(), LLM_OK, "made");
    is_int(stat(at("store/audit.mdb"), &sb), 0, "audit.mdb");
    is_int(sb.st_mode & 07777, 0600, "is its owner's");
    is_int(stat(at("store/audit.head"), &sb), 0, "audit.head");
    is_int(sb.st_mode & 07777, 0600, "is its owner's");
    put_audit(a, KEY_A, 0, 0, 5);
    llm_audit_close(a);

    is_int(llm_audit_open(&r, path, NULL, 0, E), LLM_OK, "read without it");
    is_int(entries(r, r->shared->records), 11, "its records");
    is_int(llm_audit_begin(r, E), LLM_INVALID, "not written");
    is_int(llm_audit_ready(r, E), LLM_INVALID, "nor ready");
    is_int(llm_audit_unsigned(r), 0, "nothing to sign");
    ok(llm_audit_print_new(r) == NULL, "no fingerprint");
    llm_audit_close(r);
    llm_audit_close(NULL);

    chmod(at("store/audit.mdb"), 0640);
    is_int(try_open(), LLM_INVALID, "others may read audit.mdb");
    chmod(at("store/audit.mdb"), 0600);
    chmod(at("store/audit.head"), 0604);
    is_int(try_open(), LLM_INVALID, "others may read audit.head");
    chmod(at("store/audit.head"), 0600);
    chmod(path, 0770);
    is_int(try_open(), LLM_INVALID, "others may write to the directory");
    chmod(path, 0700);
    link(at("store/audit.mdb"), at("store/more"));
    is_int(try_open(), LLM_INVALID, "a file with two names");
    unlink(at("store/more"));
    is_int(try_open(), LLM_OK, "as it was");

    rename(at("store/audit.head"), at("head"));
    symlink(at("head"), at("store/audit.head"));
    is_int(try_open(), LLM_INVALID, "a link");
    unlink(at("store/audit.head"));
    mkdir(at("store/audit.head"), 0700);
    is_int(try_open(), LLM_INVALID, "a directory");
    rmdir(at("store/audit.head"));
    rename(at("head"), at("store/audit.head"));

    if (geteuid() == 0) {
        (void) !chown(at("store/audit.mdb"), 12345, 0);
        is_int(try_open(), LLM_INVALID, "another user's");
        (void) !chown(at("store/audit.mdb"), 0, 0);

    } else {
        skip(1, "not root");
    }

    copy(at("store/audit.mdb"), at("good"));
    truncate(at("store/audit.mdb"), 4096);
    is_int(try_open(), LLM_INVALID, "a piece of it");
    truncate(at("store/audit.mdb"), 0);
    is_int(try_open(), LLM_INVALID, "an empty file");
    put_file(at("store/audit.mdb"), "hello", 5, 0600);
    is_int(try_open(), LLM_INVALID, "something else");
    copy(at("store/data.mdb"), at("store/audit.mdb"));
    is_int(try_open(), LLM_INVALID, "another LMDB's");
    copy(at("good"), at("store/audit.mdb"));
    is_int(try_open(), LLM_OK, "as it was");

    copy(at("store/audit.head"), at("head"));
    truncate(at("store/audit.head"), 100);
    is_int(try_open(), LLM_INVALID, "a piece of audit.head");
    copy(at("head"), at("store/audit.head"));
    is_int(try_open(), LLM_OK, "as it was");
}


static void
flip(const char *name, long offset)
{
    int      fd;
    uint8_t  c;

    fd = open(name, O_RDWR);
    (void) !pread(fd, &c, 1, offset);
    c ^= 1;
    (void) !pwrite(fd, &c, 1, offset);
    close(fd);
}


static void
test_lost(void)
{
    int              bad;
    long             i;
    llm_secret_t    *mine, *other;
    llm_audit_mark_t m;

    a_trail(10);
    copy(at("store/audit.mdb"), at("old"));
    copy(at("store/audit.head"), at("old.head"));

    for (bad = 0, i = 0; i < 8 + 112 + 64; i++) {
        flip(at("store/audit.head"), i);
        bad += i < 120 ? try_open() == LLM_OK : 0;
        flip(at("store/audit.head"), i);
    }

    is_int(bad, 0, "no bit of audit.head may change");
    is_int(try_open(), LLM_OK, "as it was");

    unlink(at("store/audit.mdb"));
    is_int(try_open(), LLM_AWAY, "audit.mdb is gone");
    ok(strstr(err, "renew") != NULL, "the message says what to do");
    ok(access(at("store/audit.mdb"), F_OK) == -1, "none is made");
    copy(at("old"), at("store/audit.mdb"));
    is_int(try_open(), LLM_OK, "there again");
    unlink(at("store/audit.head"));
    is_int(try_open(), LLM_AWAY, "audit.head is gone");
    copy(at("old.head"), at("store/audit.head"));

    is_int(opened(), LLM_OK, "opened");
    put_audit(a, KEY_A, 0, 0, 10);
    llm_audit_close(a);
    copy(at("store/audit.mdb"), at("new"));
    copy(at("old"), at("store/audit.mdb"));
    is_int(try_open(), LLM_AWAY, "an older file is put back");
    copy(at("new"), at("store/audit.mdb"));
    copy(at("old.head"), at("store/audit.head"));
    is_int(opened(), LLM_OK, "audit.head may be behind");
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_OK, "a commit");
    is_int(audit_faults(a), 0, "brings it up");
    llm_audit_close(a);
    copy(at("new"), at("store/audit.mdb"));
    is_int(try_open(), LLM_AWAY, "as this shows");

    /* another secret */

    llm_secret_create(at("other"), E);
    is_int(llm_secret_open(&other, at("other"), E), LLM_OK, "a secret");
    mine = secret;
    a_trail(3);
    secret = other;
    is_int(try_open(), LLM_INVALID, "a trail of another secret");
    secret = mine;
    a_trail(3);
    copy(at("store/audit.head"), at("mine.head"));
    secret = other;
    a_trail(3);
    copy(at("mine.head"), at("store/audit.head"));
    is_int(try_open(), LLM_INVALID, "audit.head of another secret");

    /* a creation that was cut: audit.head knows of nothing */

    secret = mine;
    a_trail(1);
    unlink(at("store/audit.mdb"));
    memset(&m, 0, sizeof(m));
    is_int(try_open(), LLM_AWAY, "audit.mdb is gone");
    audit_anew();
    llm_secret_close(other);
}


static int
count(const char *begin, const char *end)
{
    int   n;
    char  command[500];
    FILE  *p;

    snprintf(command, sizeof(command), "ls '%s' | grep -c '^%s.*%s$'", path,
             begin, end);
    p = popen(command, "r");
    n = -1;
    (void) !fscanf(p, "%d", &n);
    pclose(p);

    return n;
}


static void
test_renew(void)
{
    MDB_txn             *txn;
    MDB_val              v;
    uint64_t             n;
    llm_audit_t         *b;
    llm_audit_open_t     o;
    llm_audit_stat_t     st;
    llm_audit_close_t    c;
    llm_audit_print_t   *print;
    llm_audit_record_t   r;

    a_trail(10);
    is_int(opened(), LLM_OK, "opened");
    is_int(llm_audit_dup(&b, a, E), LLM_OK, "two handles");
    is_int(entries(b, b->shared->records), 22, "which read");
    llm_audit_begin(a, E);
    llm_audit_put_open(a, an_open(&o, KEY_A, 0, 7), &n, E);
    is_int(llm_audit_commit(a, E), LLM_OK, "a call begins");
    print = llm_audit_print_new(a);

    rename(at("store/audit.mdb"), at("away"));
    is_int(llm_audit_begin(a, E), LLM_AWAY, "audit.mdb is moved away");
    is_int(llm_audit_ready(b, E), LLM_AWAY, "it is not ready");
    is_int(entries(b, b->shared->records), -1, "nor read");
    rename(at("away"), at("store/audit.mdb"));
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_OK, "and back: it goes on");
    is_int(audit_faults(b), 0, "no fault");

    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    llm_audit_put_open(a, an_open(&o, KEY_A, 0, 8), &n, E);
    unlink(at("store/audit.mdb"));
    is_int(llm_audit_commit(a, E), LLM_AWAY, "removed within a transaction");
    is_int(llm_audit_begin(a, E), LLM_AWAY, "and still");

    is_int(llm_audit_renew(path, secret, 1, E), LLM_OK, "renewed");
    is_int(count("audit-lost", "head"), 1, "audit.head is kept");
    is_int(count("audit-lost", "mdb"), 0, "there was nothing else");
    is_int(llm_audit_stat(a, &st, E), LLM_OK, "the handle goes on");
    is_int(st.last, 1, "with the new trail");

    llm_audit_read(a, &txn, E);
    llm_audit_get(a, txn, 1, &v, E);
    llm_audit_unpack(v.mv_data, v.mv_size, &r);
    ok(r.type == LLM_AUDIT_START
       && r.flags == (LLM_AUDIT_HAS_LOSS|LLM_AUDIT_HAS_PROOF)
       && r.first == n - 1, "whose first record tells what was lost");
    llm_audit_read_end(a, txn);

    is_int(llm_audit_begin(b, E), LLM_OK, "so does the other");
    is_int(llm_audit_put_open(b, an_open(&o, KEY_A, 0, 9), &n, E), LLM_OK,
           "a call");
    is_int(llm_audit_put_close(b, a_close(&c, n, 0, 7), E), LLM_OK,
           "the end of one of the old trail");
    llm_audit_put_close(b, a_close(&c, n, 0, 9), E);
    is_int(llm_audit_commit(b, E), LLM_OK, "commit");
    is_int(entries(b, b->shared->closes), 1, "is nobody else's");
    llm_audit_print_free(print);
    is_int(audit_faults(a), 0, "no fault");

    is_int(llm_audit_renew(path, secret, 1, E), LLM_OK, "renewed in use");
    is_int(count("audit-lost", "mdb"), 1, "the old one is kept");
    is_int(count("audit-lost", "head"), 2, "and its head");
    is_int(put_audit(a, KEY_A, 0, 0, 3), LLM_OK, "it goes on");
    is_int(put_audit(b, KEY_B, 0, 0, 3), LLM_OK, "both");
    is_int(audit_faults(a), 0, "no fault");
    is_int(llm_audit_stat(b, &st, E), LLM_OK, "one trail");
    is_int(st.last, 1 + 12, "of both");

    unlink(at("store/audit.mdb-lock"));
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_OK, "the lock is removed");
    is_int(put_audit(b, KEY_A, 0, 0, 1), LLM_OK, "a new one is made");
    unlink(at("store/audit.head"));
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_AWAY, "audit.head is removed");

    audit_anew();
    is_int(llm_audit_begin(a, E), LLM_AWAY, "all is removed");
    is_int(llm_audit_renew(path, secret, 1, E), LLM_OK, "renewed");
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_OK, "it goes on");
    is_int(llm_audit_renew(path, NULL, 1, E), LLM_INVALID, "no secret");
    llm_audit_close(a);
    is_int(audit_faults(b), 0, "no fault");
    llm_audit_close(b);
}


/* as calls_procs.c has it: a file that may not grow stands for a disk */

static int
no_disk(void *data)
{
    int               i, rc;
    struct stat       sb;
    struct rlimit     lim;
    llm_audit_stat_t  st;

    if (opened() != LLM_OK || put_audit(a, KEY_A, 0, 0, 100) != LLM_OK
        || stat(at("store/audit.mdb"), &sb) == -1)
    {
        return 100;
    }

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &lim);
    lim.rlim_cur = (rlim_t) sb.st_size;
    setrlimit(RLIMIT_FSIZE, &lim);

    for (i = 0; i < 2000; i++) {
        rc = put_audit(a, KEY_A, 0, 0, 10);

        if (rc != LLM_OK) {
            break;
        }
    }

    if (rc != LLM_FULL) {
        fprintf(stderr, "# %d %s\n", rc, err);
        return 1;
    }

    rc = audit_faults(a) + (llm_audit_stat(a, &st, E) != LLM_OK);

    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_FSIZE, &lim);
    rc += put_audit(a, KEY_A, 0, 0, 1000) != LLM_OK;
    rc += audit_faults(a);
    llm_audit_close(a);

    return rc;
}


/* an opening record alone */

static int
put_one(void)
{
    int               rc;
    uint64_t          n;
    llm_audit_open_t  o;

    rc = llm_audit_begin(a, E);

    if (rc == LLM_OK) {
        rc = llm_audit_put_open(a, an_open(&o, KEY_A, 0, 1), &n, E);
    }

    if (rc == LLM_OK) {
        return llm_audit_commit(a, E);
    }

    llm_audit_abort(a);

    return rc;
}


/* a file system of 8m: the trail fills it, keys are revoked all the same */

static int
full_disk(void *data)
{
    int           bad, fd, i, rc;
    char          key[LLM_KEY_LEN + 1], small[200];
    uint64_t      dropped;
    llm_key_t     k;
    llm_store_t  *st;

    snprintf(small, sizeof(small), "%.100s/small", dir);
    mkdir(small, 0700);

    if (unshare(CLONE_NEWNS) == -1
        || mount("none", "/", NULL, MS_REC|MS_PRIVATE, NULL) == -1
        || mount("none", small, "tmpfs", 0, "size=8m,mode=0700") == -1)
    {
        return 99;
    }

    snprintf(path, sizeof(path), "%s/store", small);
    bad = llm_store_create(path, 1 << 20, E) != LLM_OK;
    bad += llm_store_open(&st, path, 0, E) != LLM_OK;
    bad += create(st, &k, key) != LLM_OK;
    bad += opened() != LLM_OK;

    for (i = 0, rc = LLM_OK; i < 10000 && rc == LLM_OK; i++) {
        rc = put_audit(a, KEY_A, 0, 0, 5);
    }

    if (rc != LLM_FULL || i < 100) {
        fprintf(stderr, "# %d after %d: %s\n", rc, i, err);
        bad++;
    }

    bad += audit_faults(a);

    /* the last byte */

    fd = open(at("small/fill"), O_WRONLY|O_CREAT, 0600);

    while (write(fd, small, 1) == 1) {
        /* void */
    }

    bad += put_audit(a, KEY_A, 0, 0, 100) != LLM_FULL;

    for (rc = LLM_OK; rc == LLM_OK; /* void */ ) {
        rc = put_one();
    }

    bad += rc != LLM_FULL;
    bad += llm_audit_ready(a, E) != LLM_FULL;
    bad += llm_key_revoke(st, k.id, &k, E) != LLM_OK;
    bad += audit_faults(a);
    close(fd);

    /* what is old makes room, on the full disk */

    bad += llm_audit_sign(a, E) != LLM_OK;
    bad += llm_audit_prune(a, time(NULL) + 86400, 80000, &dropped, E)
           != LLM_OK;
    bad += dropped < 1000;
    bad += audit_faults(a);
    bad += llm_audit_ready(a, E) != LLM_OK;
    bad += put_audit(a, KEY_A, 0, 0, 100) != LLM_OK;
    bad += put_audit(a, KEY_A, 0, 0, 5) != LLM_OK;
    bad += audit_faults(a);

    llm_audit_close(a);
    llm_store_close(st);

    return bad;
}


static void
test_disk(void)
{
    int  rc;

    a_trail(1);
    is_int(child(no_disk, NULL), 0, "a file that can't grow");

    rc = child(full_disk, NULL);

    if (rc == 99) {
        skip(1, "no file system can be mounted");

    } else {
        is_int(rc, 0, "a full disk: refused, revoked, and goes on");
    }
}


/* with the secret's versions as they are there */

static int
open_version(uint32_t version)
{
    llm_secret_close(secret);
    secret = NULL;

    if (llm_secret_open(&secret, at("secret"), E) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_audit_open(&a, path, secret, version, E);
}


static uint32_t
sealed_under(uint32_t epoch)
{
    MDB_txn            *txn;
    llm_audit_epoch_t   ep;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        return 0;
    }

    memset(&ep, 0, sizeof(ep));
    llm_audit_epoch_get(a, txn, epoch, &ep, E);
    llm_audit_read_end(a, txn);

    return (uint32_t) llm_le_get(ep.sealed, 4);
}


/* the new epoch's record, and its signature by the one before */

static int
epoch_record(uint64_t number, uint32_t epoch)
{
    int                 good;
    MDB_txn            *txn;
    MDB_val             v;
    llm_audit_epoch_t   before;
    llm_audit_record_t  r;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        return 0;
    }

    good = llm_audit_get(a, txn, number, &v, E) == LLM_OK
           && llm_audit_unpack(v.mv_data, v.mv_size, &r) == LLM_OK
           && r.type == LLM_AUDIT_EPOCH && r.epoch == epoch
           && llm_audit_epoch_get(a, txn, epoch - 1, &before, E) == LLM_OK
           && llm_audit_epoch_check(before.public_key, &r);

    if (good) {
        r.epoch++;
        good = !llm_audit_epoch_check(before.public_key, &r);
    }

    llm_audit_read_end(a, txn);

    return good;
}


/* in a process of its own: one that has the newer version of the secret */

static int
newer(void *data)
{
    int  bad;

    bad = open_version(2) != LLM_OK;
    bad += put_audit(a, KEY_B, 0, 0, 3) != LLM_OK;
    bad += llm_audit_sign(a, E) != LLM_OK;
    bad += audit_faults(a);
    llm_audit_close(a);

    return bad;
}


static void
test_epochs(void)
{
    int                 n;
    llm_secret_t       *old;
    llm_audit_stat_t    st;
    llm_audit_mark_t    m;

    a_trail(5);
    is_int(opened(), LLM_OK, "version 1");
    is_int(llm_secret_add(at("secret"), 2, E), LLM_OK, "a version 2");
    is_int(put_audit(a, KEY_A, 0, 0, 5), LLM_OK, "a process goes on");

    is_int(child(newer, NULL), 0, "another one has version 2");
    llm_audit_stat(a, &st, E);
    is_int(st.epoch, 2, "and has begun an epoch");
    ok(epoch_record(24, 2), "whose key the old one has signed");
    is_int(sealed_under(1), 2, "the old root is sealed anew");

    n = (int) st.last;
    is_int(put_audit(a, KEY_A, 0, 0, 1), LLM_OK, "the old process goes on");
    is_int(llm_audit_unsigned(a), 0, "and leaves it to others to sign");
    is_int(llm_audit_sign(a, E), LLM_OK, "");
    llm_audit_stat(a, &st, E);
    is_int(st.last, n + 2, "");
    llm_audit_close(a);

    old = secret;
    secret = NULL;
    is_int(open_version(2), LLM_OK, "opened with version 2");
    is_int(audit_faults(a), 0, "no fault");
    is_int(llm_audit_unsigned(a), 1, "what the old one wrote is not signed");
    is_int(llm_audit_sign(a, E), LLM_OK, "it is now");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);

    is_int(llm_secret_remove(at("secret"), 1, E), LLM_OK, "version 1 goes");
    is_int(open_version(2), LLM_OK, "opened without it");
    is_int(put_audit(a, KEY_A, 0, 0, 5), LLM_OK, "written");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_stat(a, &st, E);
    is_int(st.epoch, 2, "the same epoch");
    llm_audit_close(a);

    is_int(llm_audit_retire(path, secret, 2, 1, E), LLM_OK,
           "nothing needs version 1");
    is_int(llm_audit_retire(path, secret, 2, 2, E), LLM_EXISTS,
           "all needs version 2");
    is_int(llm_secret_add(at("secret"), 3, E), LLM_OK, "a version 3");
    llm_secret_close(secret);
    llm_secret_open(&secret, at("secret"), E);
    is_int(llm_audit_retire(path, secret, 3, 2, E), LLM_OK,
           "a retirement turns to it");
    is_int(open_version(3), LLM_OK, "opened");
    ok(sealed_under(1) == 3 && sealed_under(2) == 3 && sealed_under(3) == 3,
       "all is sealed under version 3");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);

    audit_anew();
    is_int(llm_audit_retire(path, secret, 3, 2, E), LLM_OK, "no trail");
    ok(access(at("store/audit.mdb"), F_OK) == -1, "none is made");
    memset(&m, 0, sizeof(m));
    llm_secret_close(old);
}


int
main(void)
{
    if (audit_begin() == -1) {
        return 1;
    }

    test_files();
    test_lost();
    test_renew();
    test_disk();
    test_epochs();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
