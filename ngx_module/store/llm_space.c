
/*
 * Copyright (C) nginx-llm contributors
 *
 * How much of a map is in use, for reports.  What LMDB has freed and will use
 * again is not: it is listed in its database 0, a count and the numbers of the
 * pages for each transaction that freed some.  Reads that list, so it may
 * wait for the disk.
 */


#include <string.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


static int llm_space(MDB_env *env, MDB_txn *txn, size_t psize, uint64_t *used,
    uint64_t *map);


int
llm_store_space(llm_store_t *st, uint64_t *used, uint64_t *map, char *err,
    size_t errlen)
{
    int          rc;
    MDB_txn     *txn;
    uint64_t     reserve;
    MDB_envinfo  info;

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_space(st->env, txn, st->psize, used, map);
    llm_store_read_end(st);

    if (rc != 0) {
        return llm_store_error(st, rc, "read", err, errlen);
    }

    /* what new keys may have, and all of it when they are refused: that asks
     * for pages never used, whatever was freed */

    reserve = LLM_STORE_RESERVE * st->psize;
    *map = *map > reserve ? *map - reserve : 0;

    (void) mdb_env_info(st->env, &info);

    if (*used > *map || (info.me_last_pgno + 1) * st->psize > *map) {
        *used = *map;
    }

    return LLM_OK;
}


int
llm_calls_space(llm_calls_t *c, uint64_t *used, uint64_t *map, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_calls_read(c, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_space(c->shared->env, txn, c->shared->psize, used, map);
    llm_calls_read_end(c, txn);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "read", err, errlen);
}


static int
llm_space(MDB_env *env, MDB_txn *txn, size_t psize, uint64_t *used,
    uint64_t *map)
{
    int           rc;
    uint64_t      pages, free, n;
    MDB_val       key, list;
    MDB_cursor   *cursor;
    MDB_envinfo   info;

    (void) mdb_env_info(env, &info);

    rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc != 0) {
        return rc;
    }

    free = 0;

    while ((rc = mdb_cursor_get(cursor, &key, &list, MDB_NEXT)) == 0) {
        if (list.mv_size >= sizeof(n)) {
            memcpy(&n, list.mv_data, sizeof(n));
            free += n < list.mv_size / sizeof(n) ? n : 0;
        }
    }

    mdb_cursor_close(cursor);

    if (rc != MDB_NOTFOUND) {
        return rc;
    }

    pages = info.me_last_pgno + 1;

    *used = (pages > free ? pages - free : 0) * psize;
    *map = info.me_mapsize;

    return 0;
}
