
/*
 * Copyright (C) nginx-llm contributors
 *
 * calls.mdb: open, handles, transactions, errors.  The environment is
 * shared by the handles of a process and closed with the last; a handle has a
 * read transaction of its own and is used by one thread at a time, which also
 * ends the write transaction that it began.
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
#include <time.h>
#include <unistd.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


#define LLM_CALLS_READERS  1024
#define LLM_CALLS_TRIES    100


static llm_calls_t *llm_calls_handle(llm_calls_env_t *e);
static int llm_calls_env(llm_calls_t *c, const char *store, size_t size,
    char *err, size_t errlen);
static int llm_calls_dbs(llm_calls_t *c, const char *store, char *err,
    size_t errlen);
static int llm_calls_check(llm_calls_t *c, const char *store, MDB_txn *txn,
    char *err, size_t errlen);
static int llm_calls_schema(llm_calls_t *c, MDB_txn *txn, char *err,
    size_t errlen);
static int llm_calls_reader(llm_calls_t *c, char *err, size_t errlen);
static int llm_calls_renew(llm_calls_t *c);
static void llm_calls_resize(llm_calls_env_t *e);


int
llm_calls_open(llm_calls_t **cp, const char *store, size_t size, char *err,
    size_t errlen)
{
    int               rc;
    llm_calls_t      *c;
    llm_calls_env_t  *e;

    *cp = NULL;

    rc = llm_calls_files(store, size, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    e = calloc(1, sizeof(llm_calls_env_t));
    if (e == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: calls: no memory", store);
    }

    if (pthread_rwlock_init(&e->lock, NULL) != 0) {
        free(e);
        return llm_err(err, errlen, LLM_NOMEM, "%s: calls: no memory", store);
    }

    c = llm_calls_handle(e);

    if (c == NULL || asprintf(&e->path, "%s/%s", store, LLM_CALLS_FILE) == -1)
    {
        e->path = NULL;
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: calls: no memory", store);
        goto failed;
    }

    rc = llm_calls_env(c, store, size, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_calls_dbs(c, store, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_calls_reader(c, err, errlen);
    }

    if (rc != LLM_OK) {
        goto failed;
    }

    *cp = c;

    return LLM_OK;

failed:

    if (c == NULL) {
        (void) pthread_rwlock_destroy(&e->lock);
        free(e);
    }

    llm_calls_close(c);

    return rc;
}


int
llm_calls_dup(llm_calls_t **cp, llm_calls_t *from, char *err, size_t errlen)
{
    int           rc;
    llm_calls_t  *c;

    *cp = NULL;

    c = llm_calls_handle(from->shared);
    if (c == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                       from->shared->path);
    }

    rc = llm_calls_reader(c, err, errlen);
    if (rc != LLM_OK) {
        llm_calls_close(c);
        return rc;
    }

    *cp = c;

    return LLM_OK;
}


/* it counts as one of the environment's */

static llm_calls_t *
llm_calls_handle(llm_calls_env_t *e)
{
    llm_calls_t  *c;

    c = calloc(1, sizeof(llm_calls_t));

    if (c != NULL) {
        c->shared = e;
        (void) atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    }

    return c;
}


void
llm_calls_close(llm_calls_t *c)
{
    llm_calls_env_t  *e;

    if (c == NULL) {
        return;
    }

    llm_calls_abort(c);

    if (c->rtxn != NULL) {
        mdb_txn_abort(c->rtxn);
    }

    e = c->shared;
    free(c);

    /* what others did with the environment is done before it is closed */

    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }

    if (e->env != NULL) {
        mdb_env_close(e->env);
    }

    (void) pthread_rwlock_destroy(&e->lock);
    free(e->path);
    free(e);
}


static int
llm_calls_env(llm_calls_t *c, const char *store, size_t size, char *err,
    size_t errlen)
{
    int               rc;
    MDB_stat          stat;
    MDB_envinfo       info;
    llm_calls_env_t  *e;

    e = c->shared;

    rc = mdb_env_create(&e->env);

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(e->env, LLM_CALLS_DBS);
    }

    if (rc == 0) {
        rc = mdb_env_set_maxreaders(e->env, LLM_CALLS_READERS);
    }

    if (rc == 0) {
        rc = mdb_env_open(e->env, e->path, MDB_NOSUBDIR|MDB_NOTLS, 0600);
    }

    if (rc != 0) {
        return llm_calls_error(c, rc, "open", err, errlen);
    }

    rc = llm_calls_chown(store, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    (void) mdb_env_stat(e->env, &stat);
    (void) mdb_env_info(e->env, &info);

    e->psize = stat.ms_psize;

    if (size > info.me_mapsize) {
        rc = mdb_env_set_mapsize(e->env, size & ~(size_t) 65535);

        if (rc != 0) {
            return llm_calls_error(c, rc, "size", err, errlen);
        }
    }

    /* a dead process's reader keeps pages from being used again */

    (void) mdb_reader_check(e->env, NULL);

    return LLM_OK;
}


static int
llm_calls_dbs(llm_calls_t *c, const char *store, char *err, size_t errlen)
{
    int               rc;
    MDB_txn          *txn;
    llm_calls_env_t  *e;

    e = c->shared;

    rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return llm_calls_error(c, rc, "read", err, errlen);
    }

    rc = llm_calls_check(c, store, txn, err, errlen);
    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    rc = mdb_dbi_open(txn, "usage", 0, &e->usage);

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "calls", 0, &e->calls);
    }

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "days", 0, &e->days);
    }

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "events", 0, &e->events);
    }

    if (rc == 0) {
        rc = mdb_dbi_open(txn, "meta", 0, &e->meta);
    }

    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) {
        rc = llm_err(err, errlen, LLM_INVALID, "%s: not a call store",
                     e->path);

    } else if (rc != 0) {
        rc = llm_calls_error(c, rc, "read", err, errlen);

    } else {
        rc = llm_calls_schema(c, txn, err, errlen);
    }

    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    /* a commit, so that the databases stay open */

    rc = mdb_txn_commit(txn);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "read", err, errlen);
}


/*
 * Every page in use is read once, about a microsecond each: LMDB follows what
 * it finds there, and a wrong page number or offset would end the process.
 * The file may be shorter than its last page's number says, where LMDB freed
 * the last pages before it wrote them; those in use are there, that is seen.
 */

static int
llm_calls_check(llm_calls_t *c, const char *store, MDB_txn *txn, char *err,
    size_t errlen)
{
    int  i, rc;

    for (i = 0; i < LLM_CALLS_TRIES; i++) {
        rc = llm_scan_env(c->shared->env, txn, store, LLM_CALLS_FILE, err,
                          errlen);

        if (rc != LLM_AGAIN) {
            return rc;
        }

        /* a writer is at it: what we began with may be overwritten by now */

        mdb_txn_reset(txn);
        rc = mdb_txn_renew(txn);

        if (rc != 0) {
            return llm_calls_error(c, rc, "read", err, errlen);
        }
    }

    return llm_err(err, errlen, LLM_INVALID, "%s: malformed header",
                   c->shared->path);
}


static int
llm_calls_schema(llm_calls_t *c, MDB_txn *txn, char *err, size_t errlen)
{
    int       rc;
    MDB_val   k, v;
    uint32_t  schema;

    k.mv_data = "schema";
    k.mv_size = 6;

    rc = mdb_get(txn, c->shared->meta, &k, &v);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_calls_error(c, rc, "read", err, errlen);
    }

    schema = (rc == 0 && v.mv_size == 4)
             ? (uint32_t) llm_le_get(v.mv_data, 4) : 0;

    if (schema != LLM_CALLS_SCHEMA) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: schema %u, this program knows %d",
                       c->shared->path, schema, LLM_CALLS_SCHEMA);
    }

    return LLM_OK;
}


/* the handle's own read transaction, reset */

static int
llm_calls_reader(llm_calls_t *c, char *err, size_t errlen)
{
    int               rc;
    llm_calls_env_t  *e;

    e = c->shared;

    (void) pthread_rwlock_rdlock(&e->lock);
    rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &c->rtxn);

    if (rc == MDB_READERS_FULL) {
        (void) mdb_reader_check(e->env, NULL);
        rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &c->rtxn);
    }

    if (rc == MDB_MAP_RESIZED) {
        (void) pthread_rwlock_unlock(&e->lock);
        llm_calls_resize(e);
        (void) pthread_rwlock_rdlock(&e->lock);
        rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &c->rtxn);
    }

    if (rc == 0) {
        mdb_txn_reset(c->rtxn);

    } else {
        c->rtxn = NULL;
    }

    (void) pthread_rwlock_unlock(&e->lock);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "read", err, errlen);
}


int
llm_calls_read(llm_calls_t *c, MDB_txn **txn, char *err, size_t errlen)
{
    int  rc;

    if (c->wtxn != NULL) {
        *txn = c->wtxn;
        return LLM_OK;
    }

    rc = llm_calls_renew(c);
    *txn = c->rtxn;

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "read", err, errlen);
}


void
llm_calls_read_end(llm_calls_t *c, MDB_txn *txn)
{
    if (txn == c->rtxn) {
        mdb_txn_reset(c->rtxn);
        (void) pthread_rwlock_unlock(&c->shared->lock);
    }
}


/* with success the lock is held */

static int
llm_calls_renew(llm_calls_t *c)
{
    int               rc;
    llm_calls_env_t  *e;

    e = c->shared;

    (void) pthread_rwlock_rdlock(&e->lock);
    rc = mdb_txn_renew(c->rtxn);

    if (rc == MDB_MAP_RESIZED) {
        (void) pthread_rwlock_unlock(&e->lock);
        llm_calls_resize(e);
        (void) pthread_rwlock_rdlock(&e->lock);
        rc = mdb_txn_renew(c->rtxn);
    }

    if (rc != 0) {
        (void) pthread_rwlock_unlock(&e->lock);
    }

    return rc;
}


/* another process has grown the map: take its size */

static void
llm_calls_resize(llm_calls_env_t *e)
{
    (void) pthread_rwlock_wrlock(&e->lock);
    (void) mdb_env_set_mapsize(e->env, 0);
    (void) pthread_rwlock_unlock(&e->lock);
}


/* not mdb_env_info(): see llm_store_txnid() */

uint64_t
llm_calls_txnid(llm_calls_t *c)
{
    uint64_t  id;

    if (llm_calls_renew(c) != 0) {
        return 0;
    }

    id = mdb_txn_id(c->rtxn);
    llm_calls_read_end(c, c->rtxn);

    return id;
}


int
llm_calls_begin(llm_calls_t *c, char *err, size_t errlen)
{
    int               rc;
    llm_calls_env_t  *e;

    e = c->shared;

    if (c->wtxn != NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: write: it has begun already", e->path);
    }

    (void) pthread_rwlock_rdlock(&e->lock);
    rc = mdb_txn_begin(e->env, NULL, 0, &c->wtxn);

    if (rc == MDB_MAP_RESIZED) {
        (void) pthread_rwlock_unlock(&e->lock);
        llm_calls_resize(e);
        (void) pthread_rwlock_rdlock(&e->lock);
        rc = mdb_txn_begin(e->env, NULL, 0, &c->wtxn);
    }

    if (rc != 0) {
        c->wtxn = NULL;
        (void) pthread_rwlock_unlock(&e->lock);
        return llm_calls_error(c, rc, "write", err, errlen);
    }

    c->today = (uint32_t) (time(NULL) / 86400);
    c->day_known = 0;
    c->last_known = 0;
    c->pruned = 0;
    c->cursor = NULL;

    rc = llm_calls_measure(c, err, errlen);

    if (rc != LLM_OK) {
        llm_calls_abort(c);
    }

    return rc;
}


int
llm_calls_commit(llm_calls_t *c, char *err, size_t errlen)
{
    int  rc;

    if (c->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: commit: nothing has begun", c->shared->path);
    }

    rc = mdb_txn_commit(c->wtxn);
    c->wtxn = NULL;
    (void) pthread_rwlock_unlock(&c->shared->lock);

    return rc == 0 ? LLM_OK : llm_calls_error(c, rc, "commit", err, errlen);
}


void
llm_calls_abort(llm_calls_t *c)
{
    if (c->wtxn != NULL) {
        mdb_txn_abort(c->wtxn);
        c->wtxn = NULL;
        (void) pthread_rwlock_unlock(&c->shared->lock);
    }
}


/*
 * Not mdb_env_copy2(): its file can be read by others.  Pages are copied as
 * they are, free ones too; writers wait only while the first two are.
 */

int
llm_calls_copy(llm_calls_t *c, const char *to, char *err, size_t errlen)
{
    int               fd, rc;
    llm_calls_env_t  *e;

    e = c->shared;

    if (c->wtxn != NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: copy: within a transaction", e->path);
    }

    fd = open(to, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600);

    if (fd == -1) {
        return llm_err(err, errlen,
                       errno == EEXIST ? LLM_EXISTS : LLM_ERROR,
                       "%s: open: %s", to, strerror(errno));
    }

    /* a renewal first: it takes a grown map's size */

    rc = llm_calls_renew(c);

    if (rc == 0) {
        mdb_txn_reset(c->rtxn);
        rc = mdb_env_copyfd2(e->env, fd, 0);
        (void) pthread_rwlock_unlock(&e->lock);
    }

    if (rc == 0 && fsync(fd) == -1) {
        rc = errno;
    }

    if (close(fd) == -1 && rc == 0) {
        rc = errno;
    }

    if (rc != 0) {
        (void) unlink(to);
        return llm_err(err, errlen, LLM_ERROR, "%s: copy to %s: %s", e->path,
                       to, mdb_strerror(rc));
    }

    return LLM_OK;
}


int
llm_calls_error(llm_calls_t *c, int rc, const char *place, char *err,
    size_t errlen)
{
    int          code;
    const char  *why;

    why = mdb_strerror(rc);

    switch (rc) {

    case MDB_MAP_FULL:
        code = LLM_ERROR;
        why = "it is full, its size must grow";
        break;

    case MDB_PANIC:
        code = LLM_ERROR;
        why = "an earlier write failed, it must be opened again";
        break;

    case MDB_NOTFOUND:
        code = LLM_NOTFOUND;
        break;

    case ENOMEM:
        code = LLM_NOMEM;
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

    return llm_err(err, errlen, code, "%s: %s: %s", c->shared->path, place,
                   why);
}
