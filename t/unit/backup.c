
/*
 * Copyright (C) nginx-llm contributors
 *
 * Backup and restore; a store of the older schema.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sys/mman.h>
#include <time.h>

#include "store_test.h"


/* a page that two processes share */
typedef struct {
    volatile int  n;            /* of keys that were acknowledged */
    char          key[20000][LLM_KEY_LEN + 1];
} shared_t;


static int
calls_copy(void *data, const char *file, char *e, size_t elen)
{
    put_file(file, data, strlen(data), 0600);
    return LLM_OK;
}


static int
calls_fail(void *data, const char *file, char *e, size_t elen)
{
    put_file(file, "half", 4, 0600);
    return llm_err(e, elen, LLM_ERROR, "calls: no");
}


static int
writer(void *data)
{
    int           i;
    shared_t     *s = data;
    llm_key_t     k;
    llm_store_t  *st;

    if (llm_store_open(&st, path, 0, E) != LLM_OK) {
        return 1;
    }

    for (i = s->n; i < 20000; i++) {
        if (create(st, &k, s->key[i]) != LLM_OK) {
            return 1;
        }

        __atomic_store_n(&s->n, i + 1, __ATOMIC_RELEASE);

        if (i % 3 == 0) {
            llm_key_revoke(st, k.id, &k, E);
        }
    }

    return 0;
}


static int
missing(const char *where, shared_t *s, int n)
{
    int           bad, i;
    llm_key_t     k;
    llm_store_t  *st;

    if (llm_store_open(&st, where, 0, E) != LLM_OK) {
        return -1;
    }

    bad = 0;

    for (i = 0; i < n; i++) {
        bad += llm_key_lookup(st, secret, s->key[i], LLM_KEY_LEN, &k, E)
               != LLM_OK;
    }

    llm_store_close(st);

    return bad;
}


static void
test_backup(shared_t *s)
{
    int           i, n;
    char          name[32], to[300];
    pid_t         pid;
    llm_store_t  *st;
    struct stat   sb;

    is_int(llm_store_create(path, 64 << 20, E), LLM_OK, "a store");

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(writer(s));
    }

    while (s->n < 20) {
        usleep(1000);
    }

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "another writes to it");

    for (i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "backup %d", i);
        snprintf(to, sizeof(to), "%s/b%d", dir, i);
        n = __atomic_load_n(&s->n, __ATOMIC_ACQUIRE);

        is_int(llm_store_backup(st, to, i == 4 ? calls_copy : NULL,
                                "calls, all of them", E), LLM_OK, name);

        /* a copy may be opened while its origin is */

        is_int(missing(to, s, n), 0, "has each key that was there");
    }

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    ok(stat(at("b4"), &sb) == 0 && (sb.st_mode & 07777) == 0700,
       "its directory, mode 0700");
    ok(stat(at("b4/data.mdb"), &sb) == 0 && (sb.st_mode & 07777) == 0600,
       "data.mdb, mode 0600");
    ok(stat(at("b4/calls.mdb"), &sb) == 0 && sb.st_size == 18, "calls.mdb");
    ok(access(at("b3/calls.mdb"), F_OK) == -1
       && access(at("b4/new.mdb"), F_OK) == -1
       && access(at("b4/new-calls.mdb"), F_OK) == -1, "no more");

    is_int(llm_store_backup(st, at("b4"), NULL, NULL, E), LLM_EXISTS,
           "never overwritten");
    is_int(llm_store_backup(st, at("no/where"), NULL, NULL, E), LLM_ERROR,
           "no parent");
    is_int(llm_store_backup(st, at("b5"), calls_fail, NULL, E), LLM_ERROR,
           "calls can't be copied");
    ok(access(at("b5"), F_OK) == -1 && strstr(err, "calls: no"),
       "nothing is left: %s", err);
    mkdir(at("b5"), 0755);
    put_file(at("b5/new.mdb"), "half", 4, 0600);
    put_file(at("b5/new-calls.mdb"), "half", 4, 0600);
    is_int(llm_store_backup(st, at("b5"), NULL, NULL, E), LLM_OK,
           "where one was killed");
    ok(access(at("b5/calls.mdb"), F_OK) == -1, "its rest is gone");
    is_int(missing(at("b5"), s, s->n), 0, "a good one");

    llm_store_close(st);
}


static void
copy_file(const char *from, const char *to)
{
    int       fd;
    char     *p;
    ssize_t   n;

    fd = open(from, O_RDONLY);
    p = malloc(64 << 20);
    n = read(fd, p, 64 << 20);
    close(fd);
    put_file(to, p, n > 0 ? (size_t) n : 0, 0600);
    free(p);
}


/* change a record of the store at where, behind its back */

static void
spoil(const char *where, int how)
{
    MDB_txn      *txn;
    MDB_val       k, v;
    uint8_t       rec[LLM_RECORD_MAX];
    llm_store_t  *st;
    MDB_cursor   *cursor;

    if (llm_store_open(&st, where, 0, E) != LLM_OK
        || llm_store_write(st, &txn, 0, E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    mdb_cursor_open(txn, how == 2 ? st->ids : st->keys, &cursor);
    mdb_cursor_get(cursor, &k, &v, MDB_FIRST);

    if (how == 0) {
        memcpy(rec, v.mv_data, v.mv_size);
        rec[50] ^= 1;
        v.mv_data = rec;
        mdb_cursor_put(cursor, &k, &v, MDB_CURRENT);

    } else {
        mdb_cursor_del(cursor, 0);
    }

    mdb_cursor_close(cursor);
    llm_store_commit(st, txn, E);
    llm_store_close(st);
}


static void
test_restore(shared_t *s)
{
    int           fd, i, n, refused;
    char          c, name[64];
    const char   *to, *bad, *data;
    uint32_t      seed;
    struct stat   sb;

    to = strdup(at("restored"));
    bad = strdup(at("bad"));
    data = strdup(at("bad/data.mdb"));
    n = s->n;

    is_int(llm_store_restore(to, at("b4"), E), LLM_OK, "restored");
    is_int(missing(to, s, 20), 0, "each key");
    ok(stat(to, &sb) == 0 && (sb.st_mode & 07777) == 0700
       && stat(at("restored/data.mdb"), &sb) == 0
       && (sb.st_mode & 07777) == 0600, "its modes");
    ok(stat(at("restored/calls.mdb"), &sb) == 0 && sb.st_size == 18,
       "and calls.mdb");
    is_int(llm_store_restore(to, at("b4"), E), LLM_EXISTS,
           "never overwritten");
    remove_tree(to);
    is_int(llm_store_restore(to, at("b5"), E), LLM_OK, "another one");
    is_int(missing(to, s, n), 0, "all keys");
    ok(access(at("restored/calls.mdb"), F_OK) == -1, "without calls");
    remove_tree(to);

    is_int(llm_store_restore(to, at("nowhere"), E), LLM_NOTFOUND, "no copy");
    mkdir(bad, 0700);
    is_int(llm_store_restore(to, bad, E), LLM_NOTFOUND, "an empty one");
    ok(access(to, F_OK) == -1, "nothing is left");
    put_file(data, "x", 1, 0600);
    is_int(llm_store_restore(to, bad, E), LLM_INVALID, "a byte");
    put_file(data, "", 0, 0600);
    is_int(llm_store_restore(to, bad, E), LLM_INVALID, "none");
    unlink(data);
    ok(mkfifo(data, 0600) == 0, "a pipe");
    is_int(llm_store_restore(to, bad, E), LLM_INVALID, "is refused");
    unlink(data);

    for (i = 0; i < 3; i++) {
        remove_tree(bad);
        mkdir(bad, 0700);
        copy_file(at("b5/data.mdb"), data);
        spoil(bad, i);
        snprintf(name, sizeof(name), "%s", i == 0 ? "a torn record"
                 : i == 1 ? "a lost record" : "a lost entry");
        is_int(llm_store_restore(to, bad, E), LLM_INVALID, name);
        ok(strstr(err, bad) != NULL && access(to, F_OK) == -1,
           "nothing is left: %s", err);
    }

    copy_file(at("b5/data.mdb"), data);
    stat(data, &sb);
    is_int(truncate(data, sb.st_size / 2), 0, "half a file");
    is_int(llm_store_restore(to, bad, E), LLM_INVALID, "is refused");

    seed = 4711;
    refused = 0;
    copy_file(at("b5/data.mdb"), data);
    fd = open(data, O_RDWR);

    for (i = 0; i < 60; i++) {
        off_t  pos;
        char   was;

        seed = seed * 1664525 + 1013904223;
        pos = (seed >> 4) % sb.st_size;
        pos = (i % 2) ? pos : pos / 4096 * 4096 + pos % 40;
        (void) !pread(fd, &was, 1, pos);
        c = (char) (was ^ (1 << i % 8));
        (void) !pwrite(fd, &c, 1, pos);

        if (llm_store_restore(to, bad, E) == LLM_OK) {

            /* a page that is free, or the log */

            if (missing(to, s, n) != 0) {
                printf("# at %lld\n", (long long) pos);
                break;
            }

        } else {
            refused++;
        }

        remove_tree(to);
        (void) !pwrite(fd, &was, 1, pos);
    }

    close(fd);
    is_int(i, 60, "damaged anywhere: refused, or as good as it was");
    ok(refused > 0, "%d were refused", refused);

    free((void *) to);
    free((void *) bad);
    free((void *) data);
}


/* what version 1 wrote */

static void
old_put(MDB_txn *txn, const char *db, const void *name, size_t nlen,
    const void *p, size_t len)
{
    MDB_dbi  dbi;
    MDB_val  k, v;

    mdb_dbi_open(txn, db, MDB_CREATE, &dbi);

    if (name == NULL) {
        return;
    }

    k.mv_data = (void *) name;
    k.mv_size = nlen;
    v.mv_data = (void *) p;
    v.mv_size = len;
    mdb_put(txn, dbi, &k, &v, 0);
}


static size_t
old_record(uint8_t *p, const llm_key_t *k)
{
    size_t  n;

    n = strlen(k->client);
    memset(p, 0, 56);
    p[0] = 1;
    p[1] = (uint8_t) k->role;
    p[2] = (uint8_t) n;
    llm_put_le(p + 4, (uint64_t) k->created, 8);
    llm_put_le(p + 12, (uint64_t) k->expires, 8);
    llm_put_le(p + 20, (uint64_t) k->revoked, 8);
    memcpy(p + 28, k->id, 28);
    memcpy(p + 56, k->client, n);
    llm_put_le(p + 56 + n, llm_crc32(p, 56 + n), 4);

    return 60 + n;
}


static void
old_store(const char *where, char keys[3][LLM_KEY_LEN + 1], llm_key_t *k)
{
    int       i;
    size_t    n;
    MDB_env  *env;
    MDB_txn  *txn;
    uint8_t   check[32], rec[256];

    remove_tree(where);
    mkdir(where, 0700);
    mdb_env_create(&env);
    mdb_env_set_mapsize(env, 8 << 20);
    mdb_env_set_maxdbs(env, 16);
    mdb_env_open(env, where, 0, 0600);
    mdb_txn_begin(env, NULL, 0, &txn);

    old_put(txn, "meta", "schema", 6, "\1\0\0\0", 4);
    old_put(txn, "meta", "created", 7, "\0\0\0\1\0\0\0\0", 8);
    llm_secret_tag(secret, 1, "nginx-llm store v1", 18, check);
    old_put(txn, "meta", "check", 5, check, 32);

    for (i = 0; i < 3; i++) {
        memset(&k[i], 0, sizeof(llm_key_t));
        strcpy(k[i].id, "key_00000000000000000000000");
        k[i].id[27] = (char) ('1' + i);
        k[i].id[28] = '\0';
        strcpy(k[i].client, "old");
        k[i].role = LLM_ROLE_OPERATOR;
        k[i].version = 1;
        k[i].created = k[i].issued = time(NULL) - 1000;
        k[i].expires = i == 1 ? time(NULL) + 1000 : 0;
        k[i].revoked = i == 2 ? time(NULL) : 0;
        llm_key_text(secret, &k[i], 0, keys[i], E);
        n = old_record(rec, &k[i]);
        old_put(txn, "keys", k[i].tag, 32, rec, n);
        old_put(txn, "ids", k[i].id, 28, k[i].tag, 32);
    }

    mdb_txn_commit(txn);

    /* as its own room-keeping had it */

    (void) !truncate(at("old/data.mdb"), 1 << 20);
    mdb_env_close(env);
}


static int
version_of(llm_store_t *st, const llm_key_t *k)
{
    int       version;
    MDB_txn  *txn;
    MDB_val   name, v;

    name.mv_data = (void *) k->tag;
    name.mv_size = LLM_TAG_LEN;
    llm_store_read(st, &txn, E);
    version = (mdb_get(txn, st->keys, &name, &v) == 0)
              ? *(uint8_t *) v.mv_data : -1;
    llm_store_read_end(st);

    return version;
}


static void
test_upgrade(void)
{
    int           again, i, n;
    char          keys[3][LLM_KEY_LEN + 1], key[LLM_KEY_LEN + 1];
    uint32_t      version;
    uint64_t      txnid;
    llm_key_t     f, k[3];
    const char   *old;
    llm_store_t  *st;

    old = strdup(at("old"));
    old_store(old, keys, k);

    is_int(llm_store_restore(at("up"), old, E), LLM_OK,
           "a copy of schema 1 is restored");

    is_int(llm_store_open(&st, old, 0, E), LLM_OK, "a store of schema 1");
    txnid = llm_store_txnid(st);
    llm_store_close(st);
    is_int(llm_store_open(&st, old, 0, E), LLM_OK, "and again");
    ok(llm_store_txnid(st) == txnid, "is upgraded once");
    is_int(llm_store_version(st, &version, E), LLM_OK, "its secret");
    is_int(version, 1, "has the first version");
    is_int(llm_store_verify(st, secret, E), LLM_OK, "it is bound");

    for (i = 0; i < 3; i++) {
        is_int(llm_key_lookup(st, secret, keys[i], LLM_KEY_LEN, &f, E),
               LLM_OK, "its key");
        ok(f.created == k[i].created && f.issued == k[i].created
           && f.expires == k[i].expires && f.revoked == k[i].revoked
           && f.version == 1 && f.until == 0 && f.limits.rpm == 0
           && f.n_net == 0 && f.models_len == 0
           && strcmp(f.id, k[i].id) == 0, "as it was");
        is_int(version_of(st, &f), 1, "in a record of version 1");
    }

    n = 0;
    is_int(llm_key_each(st, NULL, count_all, &n, E), LLM_OK, "each");
    is_int(n, 3, "three keys");
    n = 0;
    is_int(llm_key_each(st, k[0].id, count_all, &n, E), LLM_OK, "after one");
    is_int(n, 2, "two keys");
    n = 0;
    llm_key_each(st, "key_000000000000000000000002z", count_all, &n, E);
    is_int(n, 1, "after what is no key");
    n = 0;
    llm_key_each(st, "kez", count_all, &n, E);
    is_int(n, 0, "after the last");

    f.limits.rpm = 5;
    is_int(llm_key_update(st, k[0].id, LLM_SET_RPM, &f, &f, E), LLM_OK,
           "a change");
    is_int(version_of(st, &f), 2, "writes version 2");
    is_int(llm_key_revoke(st, k[0].id, &f, E), LLM_OK, "a revocation");
    is_int(llm_key_rotate(st, secret, k[1].id, 60, 0, NULL, &f, key, &again,
                          E), LLM_OK, "a rotation");
    is_int(version_of(st, &k[1]), 2, "too");
    is_int(llm_key_lookup(st, secret, keys[1], LLM_KEY_LEN, &f, E), LLM_OK,
           "the old key");
    ok(f.until != 0, "in its grace");
    is_int(create(st, &f, key), LLM_OK, "a new key");
    llm_store_close(st);

    is_int(llm_store_open(&st, at("up"), 0, E), LLM_OK, "the restored one");
    is_int(llm_key_lookup(st, secret, keys[0], LLM_KEY_LEN, &f, E), LLM_OK,
           "has its keys");
    llm_store_close(st);

    free((void *) old);
}


int
main(void)
{
    shared_t  *s;

    if (test_begin() == -1) {
        return 1;
    }

    s = mmap(NULL, sizeof(shared_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (s == MAP_FAILED) {
        printf("Bail out! no memory\n");
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");

    test_backup(s);
    test_restore(s);
    test_upgrade();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
