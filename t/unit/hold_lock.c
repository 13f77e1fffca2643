
/*
 * Copyright (C) nginx-llm contributors
 *
 * usage: hold_lock FILE
 *
 * Holds the write lock of an LMDB file until its standard input ends, as a
 * process would that hangs in a commit: others' commits wait.  Prints "held".
 */


#include <stdio.h>
#include <unistd.h>

#include <lmdb.h>


int
main(int argc, char **argv)
{
    int       rc;
    char      c;
    MDB_env  *env;
    MDB_txn  *txn;

    if (argc != 2) {
        fprintf(stderr, "usage: hold_lock FILE\n");
        return 2;
    }

    rc = mdb_env_create(&env);

    if (rc == 0) {
        rc = mdb_env_open(env, argv[1], MDB_NOSUBDIR|MDB_NOTLS, 0600);
    }

    if (rc == 0) {
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    }

    if (rc != 0) {
        fprintf(stderr, "hold_lock: %s: %s\n", argv[1], mdb_strerror(rc));
        return 1;
    }

    printf("held\n");
    fflush(stdout);

    while (read(0, &c, 1) > 0) {
        /* void */
    }

    mdb_txn_abort(txn);
    mdb_env_close(env);

    return 0;
}
