
/*
 * Copyright (C) nginx-llm contributors
 *
 * The LMDB environment: open, transactions, errors.  A handle belongs to one
 * process and is used by one thread at a time.  It owns one read transaction,
 * which is reset between calls (a renewal takes nanoseconds), and a reference
 * to the environment.
 *
 * The environment's lock is for one thing: LMDB's map moves when another
 * process has grown it, and no transaction of this process may be there then.
 *
 * Durability: LMDB's default, a commit returns when the data is synced.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_store_int.h"


#define LLM_STORE_READERS  1024


static int llm_store_env(llm_store_t *st, const char *path, size_t size,
    char *err, size_t errlen);
static int llm_store_dbs(llm_store_t *st, char *err, size_t errlen);
static int llm_store_schema(llm_store_t *st, uint32_t *schema, char *err,
    size_t errlen);
static int llm_store_upgrade(llm_store_t *st, char *err, size_t errlen);
static int llm_store_reader(llm_store_t *st, MDB_txn **txn, char *err,
    size_t errlen);
static int llm_store_renew(llm_store_t *st);
static int llm_store_remap(llm_store_t *st);


int
llm_store_open(llm_store_t **stp, const char *path, size_t size, char *err,
    size_t errlen)
{
    int           rc;
    llm_store_t  *st;

    *stp = NULL;

    rc = llm_store_files(path, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    st = calloc(1, sizeof(llm_store_t));
    if (st == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: store: no memory", path);
    }

    rc = llm_store_env(st, path, size, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_store_sound(st, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_store_dbs(st, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_store_close(st);
        return rc;
    }

    *stp = st;

    return LLM_OK;
}


static int
llm_store_env(llm_store_t *st, const char *path, size_t size, char *err,
    size_t errlen)
{
    int               rc;
    MDB_envinfo       info;
    llm_store_env_t  *shared;

    st->path = strdup(path);
    shared = calloc(1, sizeof(llm_store_env_t));

    if (st->path == NULL || shared == NULL
        || pthread_rwlock_init(&shared->lock, NULL) != 0)
    {
        free(shared);
        return llm_err(err, errlen, LLM_NOMEM, "%s: store: no memory", path);
    }

    shared->refs = 1;
    st->shared = shared;

    rc = mdb_env_create(&shared->env);
    st->env = shared->env;

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(st->env, LLM_STORE_DBS);
    }

    if (rc == 0) {
        rc = mdb_env_set_maxreaders(st->env, LLM_STORE_READERS);
    }

    if (rc == 0) {
        rc = mdb_env_open(st->env, path, MDB_NOTLS, 0600);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "open", err, errlen);
    }

    rc = llm_store_chown(path, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    (void) mdb_env_info(st->env, &info);

    if (size > info.me_mapsize) {
        rc = mdb_env_set_mapsize(st->env, size & ~(size_t) 4095);

        if (rc != 0) {
            return llm_store_error(st, rc, "size", err, errlen);
        }
    }

    return LLM_OK;
}


int
llm_store_dup(llm_store_t **stp, llm_store_t *from, char *err, size_t errlen)
{
    int           rc;
    llm_store_t  *st;

    *stp = NULL;

    st = calloc(1, sizeof(llm_store_t));
    if (st == NULL) {
        goto nomem;
    }

    st->path = strdup(from->path);
    if (st->path == NULL) {
        free(st);
        goto nomem;
    }

    st->env = from->env;
    st->shared = from->shared;
    st->keys = from->keys;
    st->ids = from->ids;
    st->meta = from->meta;
    st->totp = from->totp;
    st->params = from->params;
    st->changes = from->changes;
    st->psize = from->psize;

    (void) __atomic_add_fetch(&st->shared->refs, 1, __ATOMIC_RELAXED);

    (void) pthread_rwlock_rdlock(&st->shared->lock);

    rc = llm_store_reader(st, &st->rtxn, err, errlen);

    if (rc == LLM_OK) {
        mdb_txn_reset(st->rtxn);
    }

    (void) pthread_rwlock_unlock(&st->shared->lock);

    if (rc != LLM_OK) {
        llm_store_close(st);
        return rc;
    }

    *stp = st;

    return LLM_OK;

nomem:

    return llm_err(err, errlen, LLM_NOMEM, "%s: store: no memory",
                   from->path);
}


void
llm_store_close(llm_store_t *st)
{
    if (st == NULL) {
        return;
    }

    llm_store_free(st);
    free(st);
}


void
llm_store_free(llm_store_t *st)
{
    llm_store_env_t  *shared;

    if (st->rtxn != NULL) {
        mdb_txn_abort(st->rtxn);
    }

    shared = st->shared;

    /* acquire and release: what the others did to it is done */

    if (shared == NULL
        || __atomic_sub_fetch(&shared->refs, 1, __ATOMIC_ACQ_REL) == 0)
    {
        if (st->env != NULL) {
            mdb_env_close(st->env);
        }

        if (shared != NULL) {
            (void) pthread_rwlock_destroy(&shared->lock);
            free(shared);
        }
    }

    free(st->found);
    free(st->path);
    OPENSSL_cleanse(st, sizeof(llm_store_t));
}


const char *
llm_store_path(const llm_store_t *st)
{
    return st->path;
}


void
llm_store_actor(llm_store_t *st, const char *actor)
{
    size_t  n;

    n = strnlen(actor, LLM_ACTOR_MAX);
    memcpy(st->actor, actor, n);
    st->actor[n] = '\0';
}


/* checks the pages; the databases stay open, as the transaction commits */

static int
llm_store_dbs(llm_store_t *st, char *err, size_t errlen)
{
    int       i, rc;
    MDB_txn  *txn;
    uint32_t  schema;

    schema = 0;
    rc = llm_store_reader(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    /* a writer is at it: what we began with may be overwritten by now */

    for (i = 0; (rc = llm_store_scan(st, txn, err, errlen)) == LLM_AGAIN; i++)
    {
        if (i == LLM_STORE_TRIES) {
            rc = llm_err(err, errlen, LLM_INVALID,
                         "%s/data.mdb: malformed header", st->path);
            break;
        }

        mdb_txn_reset(txn);
        rc = mdb_txn_renew(txn);

        if (rc != 0) {
            rc = llm_store_error(st, rc, "read", err, errlen);
            break;
        }
    }

    mdb_txn_abort(txn);

    if (rc == LLM_OK) {
        rc = llm_store_schema(st, &schema, err, errlen);
    }

    if (rc == LLM_OK && schema < LLM_STORE_SCHEMA) {
        rc = llm_store_upgrade(st, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_store_reader(st, &st->rtxn, err, errlen);
    }

    if (rc == LLM_OK) {
        mdb_txn_reset(st->rtxn);
    }

    return rc;
}


static int
llm_store_schema(llm_store_t *st, uint32_t *schema, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_reader(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_store_dbi(st, txn, 0, schema, err, errlen);

    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    rc = mdb_txn_commit(txn);

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "read", err, errlen);
}


/* a record of the older schema is read as it is, and written anew when its
 * key changes: an upgrade is one small transaction */

static int
llm_store_upgrade(llm_store_t *st, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;
    uint32_t  schema;

    rc = llm_store_write(st, &txn, 0, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    /* another process may have been faster; it costs one commit */

    rc = llm_store_dbi(st, txn, MDB_CREATE, &schema, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_meta_put(st, txn, "schema", LLM_STORE_SCHEMA, 4, err,
                          errlen);
    }

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


int
llm_store_dbi(llm_store_t *st, MDB_txn *txn, unsigned flags,
    uint32_t *schema, char *err, size_t errlen)
{
    int       rc;
    uint64_t  value;

    value = LLM_STORE_SCHEMA;

    rc = mdb_dbi_open(txn, "keys", 0, &st->keys);

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "ids", 0, &st->ids);
    }

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "meta", 0, &st->meta);
    }

    if (rc == 0) {
        rc = llm_meta_get(st, txn, "schema", &value, 4, err, errlen);

        if (rc != LLM_OK && rc != LLM_NOTFOUND) {
            return rc;
        }

        rc = (rc == LLM_OK) ? 0 : MDB_NOTFOUND;
    }

    if (rc == 0 && (value < 1 || value > LLM_STORE_SCHEMA)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: schema %llu, this program knows %d",
                       st->path, (unsigned long long) value,
                       LLM_STORE_SCHEMA);
    }

    *schema = (uint32_t) value;

    if (rc == 0 && (value > 1 || flags != 0)) {
        rc = mdb_dbi_open(txn, "totp", flags, &st->totp);

        if (rc == 0) {
            rc = mdb_dbi_open(txn, "params", flags, &st->params);
        }

        if (rc == 0) {
            rc = mdb_dbi_open(txn, "changes", flags, &st->changes);
        }
    }

    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: not a key store", st->path);
    }

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "read", err, errlen);
}


static int
llm_store_reader(llm_store_t *st, MDB_txn **txn, char *err, size_t errlen)
{
    int  rc;

    rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, txn);

    if (rc == MDB_READERS_FULL) {
        (void) mdb_reader_check(st->env, NULL);
        rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, txn);
    }

    if (rc != 0) {
        *txn = NULL;
        return llm_store_error(st, rc, "read", err, errlen);
    }

    return LLM_OK;
}


/*
 * Not mdb_env_info(): it reads the number from the meta page, where a commit
 * shows while it is still being synced, milliseconds before a transaction
 * sees it.  Who takes that number, looks up, and remembers both would miss
 * the commit for good.
 */

uint64_t
llm_store_txnid(llm_store_t *st)
{
    uint64_t  id;

    if (llm_store_renew(st) != 0) {
        return 0;
    }

    id = mdb_txn_id(st->rtxn);
    llm_store_read_end(st);

    return id;
}


uint64_t
llm_store_seen(const llm_store_t *st)
{
    return st->seen;
}


void
llm_store_warm(llm_store_t *st)
{
    MDB_txn     *txn;
    MDB_val      name, v;
    MDB_cursor  *cursor;

    if (llm_store_read(st, &txn, NULL, 0) != LLM_OK) {
        return;
    }

    if (mdb_cursor_open(txn, st->keys, &cursor) == 0) {

        while (mdb_cursor_get(cursor, &name, &v, MDB_NEXT) == 0) {
            /* LMDB has read the page that it is in */
        }

        mdb_cursor_close(cursor);
    }

    llm_store_read_end(st);
}


int
llm_store_check(llm_store_t *st, char *err, size_t errlen)
{
    int  rc;

    rc = mdb_reader_check(st->env, NULL);

    return rc == 0 ? LLM_OK
                   : llm_store_error(st, rc, "readers", err, errlen);
}


int
llm_store_read(llm_store_t *st, MDB_txn **txn, char *err, size_t errlen)
{
    int  rc;

    rc = llm_store_renew(st);
    *txn = st->rtxn;

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "read", err, errlen);
}


void
llm_store_read_end(llm_store_t *st)
{
    mdb_txn_reset(st->rtxn);
    (void) pthread_rwlock_unlock(&st->shared->lock);
}


/* 0: the lock is held too */

static int
llm_store_renew(llm_store_t *st)
{
    int  i, rc;

    for (i = 0; i < LLM_STORE_TRIES; i++) {

        (void) pthread_rwlock_rdlock(&st->shared->lock);

        rc = mdb_txn_renew(st->rtxn);

        if (rc == 0) {
            st->seen = mdb_txn_id(st->rtxn);
            return 0;
        }

        (void) pthread_rwlock_unlock(&st->shared->lock);

        if (rc != MDB_MAP_RESIZED) {
            return rc;
        }

        rc = llm_store_remap(st);

        if (rc != 0) {
            return rc;
        }
    }

    return MDB_MAP_RESIZED;
}


/* another process has grown the map: take its size */

static int
llm_store_remap(llm_store_t *st)
{
    int  rc;

    (void) pthread_rwlock_wrlock(&st->shared->lock);

    rc = mdb_env_set_mapsize(st->env, 0);

    (void) pthread_rwlock_unlock(&st->shared->lock);

    return rc;
}


int
llm_store_write(llm_store_t *st, MDB_txn **txn, int create, char *err,
    size_t errlen)
{
    int  i, rc;

    *txn = NULL;
    rc = MDB_MAP_RESIZED;

    for (i = 0; rc == MDB_MAP_RESIZED && i < LLM_STORE_TRIES; i++) {

        (void) pthread_rwlock_rdlock(&st->shared->lock);

        rc = mdb_txn_begin(st->env, NULL, 0, txn);

        if (rc == 0) {
            break;
        }

        (void) pthread_rwlock_unlock(&st->shared->lock);

        if (rc == MDB_MAP_RESIZED && llm_store_remap(st) != 0) {
            break;
        }
    }

    if (rc != 0) {
        *txn = NULL;
        return llm_store_error(st, rc, "write", err, errlen);
    }

    rc = llm_store_room(st, create, err, errlen);

    if (rc != LLM_OK) {
        llm_store_abort(st, *txn);
        *txn = NULL;
    }

    return rc;
}


int
llm_store_commit(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen)
{
    int  rc;

    rc = mdb_txn_commit(txn);

    (void) pthread_rwlock_unlock(&st->shared->lock);

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "commit", err, errlen);
}


void
llm_store_abort(llm_store_t *st, MDB_txn *txn)
{
    mdb_txn_abort(txn);

    (void) pthread_rwlock_unlock(&st->shared->lock);
}


int
llm_store_error(llm_store_t *st, int rc, const char *place, char *err,
    size_t errlen)
{
    int          code;
    MDB_envinfo  info;

    switch (rc) {

    case MDB_MAP_FULL:
        (void) mdb_env_info(st->env, &info);
        return llm_err(err, errlen, LLM_FULL,
                       "%s: %s: the store is full, its size of %zum "
                       "must grow", st->path, place, info.me_mapsize >> 20);

    case MDB_PANIC:
        return llm_err(err, errlen, LLM_ERROR,
                       "%s: %s: an earlier write failed, "
                       "the store must be opened again", st->path, place);

    case MDB_NOTFOUND:
        code = LLM_NOTFOUND;
        break;

    case MDB_KEYEXIST:
        code = LLM_EXISTS;
        break;

    case ENOMEM:
        code = LLM_NOMEM;
        break;

    case ENOSPC:
    case EDQUOT:
        code = LLM_FULL;
        break;

    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        code = LLM_INVALID;
        break;

    default:
        code = LLM_ERROR;
        break;
    }

    return llm_err(err, errlen, code, "%s: %s: %s",
                   st->path != NULL ? st->path : "store", place,
                   mdb_strerror(rc));
}
