
/*
 * Copyright (C) nginx-llm contributors
 *
 * A store is created, opened, damaged.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sys/file.h>

#include "store_test.h"


static void
test_create(void)
{
    int           fd;
    char          file[300];
    llm_store_t  *st;
    struct stat   sb;
    llm_secret_t *wrong;

    is_int(llm_store_open(&st, path, 0, E), LLM_NOTFOUND, "no store yet");
    ok(st == NULL && strstr(err, path) != NULL, "the message: %s", err);
    ok(stat(path, &sb) == -1, "and none was made");
    llm_store_close(NULL);

    is_int(llm_store_create(path, 4096, E), LLM_INVALID, "a size too small");
    is_int(llm_store_create(path, (size_t) 1 << 63, E), LLM_INVALID,
           "a size too large");
    ok(stat(path, &sb) == -1, "no directory stays behind");
    is_int(llm_store_create(at("no/where"), 0, E), LLM_ERROR, "no parent");

    mkdir(path, 0755);
    put_file(at("store/notes"), "x", 1, 0600);
    is_int(llm_store_create(path, 0, E), LLM_INVALID,
           "a directory with other things");
    ok(stat(path, &sb) == 0 && (sb.st_mode & 0777) == 0755, "left as it was");
    is_int(llm_store_open(&st, path, 0, E), LLM_NOTFOUND, "is no store");
    ok(access(at("store/lock.mdb"), F_OK) == -1, "and stays none");
    unlink(at("store/notes"));

    /* what a killed creation leaves */

    put_file(at("store/new.mdb"), "half", 4, 0600);
    is_int(llm_store_open(&st, path, 0, E), LLM_NOTFOUND, "a half-made one");

    fd = open(path, O_RDONLY|O_DIRECTORY);
    flock(fd, LOCK_EX);
    is_int(llm_store_create(path, 0, E), LLM_AGAIN, "another is at it");
    close(fd);

    is_int(llm_store_create(path, 4 << 20, E), LLM_OK, "created");
    ok(stat(path, &sb) == 0 && (sb.st_mode & 07777) == 0700, "mode 0700");
    ok(stat(at("store/data.mdb"), &sb) == 0 && (sb.st_mode & 07777) == 0600,
       "data.mdb, mode 0600");
    ok(access(at("store/new.mdb"), F_OK) == -1, "nothing else");
    is_int(llm_store_create(path, 0, E), LLM_EXISTS, "never overwritten");

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    ok(llm_store_txnid(st) > 0, "it has a transaction's number");
    is_int(llm_store_check(st, E), LLM_OK, "readers are checked");
    is_int(llm_store_verify(st, secret, E), LLM_OK, "it goes with a secret");
    is_int(llm_store_bind(st, secret, E), LLM_OK, "it is bound to it");
    llm_secret_create(at("wrong"), E);
    is_int(llm_secret_open(&wrong, at("wrong"), E), LLM_OK, "another one");
    is_int(llm_store_verify(st, wrong, E), LLM_INVALID, "and to no other");
    llm_secret_close(wrong);
    is_int(llm_store_verify(st, secret, E), LLM_OK, "the right one again");
    llm_store_close(st);

    /* the files follow the directory's owner */

    if (geteuid() == 0) {
        snprintf(file, sizeof(file), "%s/lock.mdb", path);
        unlink(file);
        ok(chown(path, 12345, 23456) == 0, "the directory is given away");
        is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened by root");
        llm_store_close(st);
        ok(stat(file, &sb) == 0 && sb.st_uid == 12345 && sb.st_gid == 23456,
           "lock.mdb is the owner's");
        ok(stat(at("store/data.mdb"), &sb) == 0 && sb.st_uid == 12345
           && sb.st_gid == 23456, "and so is data.mdb");
        ok(chown(path, 0, 0) == 0, "taken back");
        is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
        llm_store_close(st);

    } else {
        skip(6, "needs root");
    }
}


static void
copy_store(const char *name)
{
    int       fd;
    char     *p;
    ssize_t   n;

    remove_tree(name);
    mkdir(name, 0700);

    fd = open(at("store/data.mdb"), O_RDONLY);
    p = malloc(8 << 20);
    n = read(fd, p, 8 << 20);
    close(fd);

    put_file(at("bad/data.mdb"), p, n > 0 ? (size_t) n : 0, 0600);
    put_file(at("bad/lock.mdb"), "", 0, 0600);
    free(p);
}


static void
test_damage(void)
{
    int           fd, i, rc;
    char          name[64];
    MDB_env      *env;
    MDB_txn      *txn;
    MDB_dbi       dbi;
    MDB_val       k, v;
    llm_store_t  *st;
    struct stat   sb;
    const char   *bad, *data;

    static const off_t  sizes[] = { 0, 100, 4096, 8191, 8192, 12288, 20480,
                                    -1 };

    bad = strdup(at("bad"));
    data = strdup(at("bad/data.mdb"));

    for (i = 0; sizes[i] != -1; i++) {
        copy_store(bad);
        rc = truncate(data, sizes[i]);
        snprintf(name, sizeof(name), "cut to %d bytes", (int) sizes[i]);
        is_int(rc == 0 ? llm_store_open(&st, bad, 0, E) : 1, LLM_INVALID,
               name);
        ok(st == NULL && strstr(err, "bad") != NULL, "the message: %s", err);
    }

    copy_store(bad);
    fd = open(data, O_WRONLY);
    ok(pwrite(fd, "not a store, but text", 21, 16) == 21
       && pwrite(fd, "not a store, but text", 21, 4096 + 16) == 21, "text");
    close(fd);
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "is no store");

    /* another program's LMDB */

    remove_tree(bad);
    mkdir(bad, 0700);
    mdb_env_create(&env);
    mdb_env_open(env, bad, 0, 0600);
    mdb_txn_begin(env, NULL, 0, &txn);
    mdb_dbi_open(txn, NULL, 0, &dbi);
    k.mv_data = v.mv_data = "keys";
    k.mv_size = v.mv_size = 4;
    mdb_put(txn, dbi, &k, &v, 0);
    mdb_txn_commit(txn);
    mdb_env_close(env);
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "another LMDB");
    ok(strstr(err, "not a key store") != NULL
       || strstr(err, "truncated") != NULL, "the message: %s", err);

    /* a later schema */

    copy_store(bad);
    rc = llm_store_open(&st, bad, 0, E);
    is_int(rc, LLM_OK, "a copy opens");
    llm_store_write(st, &txn, 0, E);
    k.mv_data = "schema";
    k.mv_size = 6;
    v.mv_data = "\x03\0\0\0";
    v.mv_size = 4;
    mdb_put(txn, st->meta, &k, &v, 0);
    llm_store_commit(st, txn, E);
    llm_store_close(st);
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "a later schema");
    ok(strstr(err, "schema 3") != NULL, "the message: %s", err);

    /* links and modes */

    copy_store(bad);
    unlink(data);
    ok(symlink(at("store/data.mdb"), data) == 0, "data.mdb is a link");
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "refused");

    copy_store(bad);
    unlink(at("bad/lock.mdb"));
    put_file(at("victim"), "precious", 8, 0600);
    ok(symlink(at("victim"), at("bad/lock.mdb")) == 0, "lock.mdb is a link");
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "refused");
    ok(stat(at("victim"), &sb) == 0 && sb.st_size == 8, "not followed");

    copy_store(bad);
    chmod(bad, 0770);
    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "group may write");
    ok(strstr(err, "0770") != NULL, "the message: %s", err);
    chmod(bad, 0700);

    unlink(at("bad/lock.mdb"));
    is_int(llm_store_open(&st, bad, 0, E), LLM_OK, "no lock.mdb: made anew");
    llm_store_close(st);

    is_int(llm_store_open(&st, data, 0, E), LLM_INVALID, "a file");

    remove_tree(bad);
    free((void *) bad);
    free((void *) data);
}


/*
 * Two trees with one root, each as it should be: what one writer frees, the
 * other one reads.  Both are in the page that the newer header names.
 */

static void
test_shared(void)
{
    int           fd, i;
    char         *bad, page[4096], *keys, *ids, key[LLM_KEY_LEN + 1];
    uint64_t      root, txn[2];
    llm_key_t     k;
    llm_store_t  *st;

    bad = strdup(at("bad"));
    copy_store(bad);
    is_int(llm_store_open(&st, bad, 0, E), LLM_OK, "a copy");
    create(st, &k, key);
    create(st, &k, key);
    llm_store_close(st);

    fd = open(at("bad/data.mdb"), O_RDWR);

    for (i = 0; i < 2; i++) {
        (void) !pread(fd, &txn[i], 8, i * 4096 + 16 + 128);
    }

    i = txn[1] > txn[0];
    (void) !pread(fd, &root, 8, i * 4096 + 16 + 24 + 48 + 40);
    ok(pread(fd, page, 4096, (off_t) root * 4096) == 4096, "the names");

    /* a node: the key's length, the key, 48 bytes, the root in the last 8 */

    keys = memmem(page, 4096, "\x04\0keys", 6);
    ids = memmem(page, 4096, "\x03\0ids", 5);
    ok(keys && ids, "are there");
    memcpy(ids + 5, keys + 6, 48);
    ok(pwrite(fd, page, 4096, (off_t) root * 4096) == 4096, "changed");
    close(fd);

    is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "refused");
    ok(strstr(err, "damaged") != NULL, "the message: %s", err);

    remove_tree(bad);
    free(bad);
}


/* opens a damaged store and walks it: 0, whatever comes of it but a signal */

static int
walk_bad(void *data)
{
    int           n;
    char          key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    alarm(20);

    if (llm_store_open(&st, data, 0, E) == LLM_OK) {
        n = 0;
        (void) llm_key_each(st, NULL, count_all, &n, E);
        (void) create(st, &k, key);
        (void) llm_key_revoke(st, k.id, &k, E);
        llm_store_close(st);
    }

    return 0;
}


static int
restore_bad(void *data)
{
    alarm(20);
    (void) llm_store_restore(at("restored"), data, E);

    return 0;
}


/* LMDB divides by what the header says a page has */

static void
test_header(void)
{
    int            fd, i;
    char          *bad;
    uint32_t       was;
    llm_store_t   *st;

    static const uint32_t  sizes[] = { 0, 1, 256, 4095, 65537, UINT32_MAX };

    bad = strdup(at("bad"));

    for (i = 0; i < 6; i++) {
        copy_store(bad);
        fd = open(at("bad/data.mdb"), O_RDWR);
        was = 0;
        (void) !pread(fd, &was, 4, 40);
        (void) !pwrite(fd, &sizes[i], 4, 40);
        ok(was == 4096 && pwrite(fd, &sizes[i], 4, 4096 + 40) == 4,
           "pages of %u bytes", sizes[i]);
        close(fd);

        is_int(child(walk_bad, bad), 0, "end no process");
        is_int(child(restore_bad, bad), 0, "that restores, either");
        is_int(llm_store_open(&st, bad, 0, E), LLM_INVALID, "refused");
        remove_tree(at("restored"));
    }

    remove_tree(bad);
    free(bad);
}


static void
test_flipped(void)
{
    int           crashes, fd, i, refused;
    char         *bad, *data, key[LLM_KEY_LEN + 1], c;
    off_t         pos;
    uint32_t      seed;
    llm_key_t     k;
    MDB_envinfo   info;
    llm_store_t  *st;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "a store");

    for (i = 0; i < 300; i++) {
        create(st, &k, key);
    }

    mdb_env_info(st->env, &info);
    llm_store_close(st);

    bad = strdup(at("bad"));
    data = strdup(at("bad/data.mdb"));
    seed = 12345;
    crashes = refused = 0;

    for (i = 0; i < 200; i++) {
        copy_store(bad);
        fd = open(data, O_RDWR);

        for (int n = 0; n < 1 << i % 5; n++) {
            seed = seed * 1664525 + 1013904223;
            pos = (seed >> 4) % ((info.me_last_pgno + 1) * 4096);

            if (seed >> 30 == 0) {
                pos = pos / 4096 * 4096 + pos % 48;     /* a page's head */
            }

            c = (char) (seed >> 12);
            (void) !pwrite(fd, &c, 1, pos);
        }

        close(fd);

        if (llm_store_open(&st, bad, 0, E) == LLM_OK) {
            llm_store_close(st);

        } else {
            refused++;
        }

        crashes += child(walk_bad, bad) != 0;
    }

    is_int(crashes, 0, "200 damaged stores: none ends a process");
    ok(refused > 20, "%d were refused at once", refused);

    remove_tree(bad);
    free(bad);
    free(data);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");

    test_create();
    test_damage();
    test_shared();
    test_header();
    test_flipped();

    remove_tree(dir);

    return done();
}
