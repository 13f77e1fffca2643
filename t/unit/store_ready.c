
/*
 * Copyright (C) nginx-llm contributors
 *
 * Whether a store can be used, looked at without writing: as it is, full,
 * larger by another process, removed, replaced, without its schema.
 */


#include "store_test.h"


static void
test_ready(void)
{
    char          key[LLM_KEY_LEN + 1];
    uint64_t      txnid;
    llm_key_t     k;
    llm_store_t  *st, *dup;
    struct stat   before, after;

    is_int(llm_store_create(path, LLM_STORE_MINSIZE, E), LLM_OK, "a store");
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(llm_store_bind(st, secret, E), LLM_OK, "bound");

    stat(at("store/data.mdb"), &before);
    txnid = llm_store_txnid(st);
    is_int(llm_store_ready(st, E), LLM_OK, "ready");
    stat(at("store/data.mdb"), &after);
    ok(before.st_size == after.st_size && before.st_blocks == after.st_blocks
       && llm_store_txnid(st) == txnid, "it was a look");

    is_int(llm_store_dup(&dup, st, E), LLM_OK, "another handle");
    is_int(llm_store_ready(dup, E), LLM_OK, "ready for that too");
    llm_store_close(dup);

    while (create(st, &k, key) == LLM_OK) {
        /* until there is no room */
    }

    is_int(create(st, &k, key), LLM_FULL, "full");
    is_int(llm_store_ready(st, E), LLM_FULL, "not ready");
    ok(strstr(err, "must grow") != NULL, "it says what to do");

    llm_store_close(st);
}


static int
grow(void *data)
{
    llm_store_t  *st;

    if (llm_store_open(&st, path, 4 << 20, E) != LLM_OK) {
        return 1;
    }

    llm_store_close(st);

    return 0;
}


static void
test_grown(void)
{
    char          key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the full store");
    is_int(llm_store_ready(st, E), LLM_FULL, "is full");
    llm_store_close(st);

    is_int(child(grow, NULL), 0, "made larger by another process");

    is_int(llm_store_open(&st, path, 4 << 20, E), LLM_OK, "opened");
    is_int(llm_store_ready(st, E), LLM_OK, "ready");
    is_int(create(st, &k, key), LLM_OK, "and a key is made");
    llm_store_close(st);
}


static void
test_away(void)
{
    char          data[300], old[300];
    llm_store_t  *st;

    snprintf(data, sizeof(data), "%s", at("store/data.mdb"));
    snprintf(old, sizeof(old), "%s", at("store/old"));

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");

    rename(data, old);
    is_int(llm_store_ready(st, E), LLM_AWAY, "removed");

    put_file(data, "x", 1, 0600);
    is_int(llm_store_ready(st, E), LLM_AWAY, "replaced");

    unlink(data);
    ok(symlink(old, data) == 0, "a link to the same file");
    is_int(llm_store_ready(st, E), LLM_AWAY, "is another");

    unlink(data);
    rename(old, data);
    is_int(llm_store_ready(st, E), LLM_OK, "back");

    rename(path, at("moved"));
    is_int(llm_store_ready(st, E), LLM_AWAY, "the directory moved");
    put_file(path, "x", 1, 0600);
    is_int(llm_store_ready(st, E), LLM_AWAY, "it is a file");
    unlink(path);
    rename(at("moved"), path);
    is_int(llm_store_ready(st, E), LLM_OK, "back again");

    llm_store_close(st);
}


static void
test_damaged(void)
{
    MDB_txn      *txn;
    MDB_val       name;
    llm_store_t  *st;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");

    name.mv_data = "schema";
    name.mv_size = 6;

    if (llm_store_write(st, &txn, 0, E) != LLM_OK
        || mdb_del(txn, st->meta, &name, NULL) != 0
        || llm_store_commit(st, txn, E) != LLM_OK)
    {
        ok(0, "no write: %s", err);
    }

    is_int(llm_store_ready(st, E), LLM_INVALID, "no schema");

    llm_store_close(st);
}


int
main(void)
{
    if (test_begin() != 0) {
        return 1;
    }

    if (llm_secret_create(at("secret"), E) != LLM_OK
        || llm_secret_open(&secret, at("secret"), E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        return 1;
    }

    test_ready();
    test_grown();
    test_away();
    test_damaged();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
