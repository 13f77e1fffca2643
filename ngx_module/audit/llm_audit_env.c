
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail's environment: LMDB's, with its files.
 *
 * The files may be removed or replaced under a process that has them open,
 * with reason ("llmctl audit renew") or without.  So each write looks whether
 * they are still those at their paths, and if not opens what is there; the lock
 * keeps the other handles' transactions out meanwhile.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_AUDIT_READERS  1024
#define LLM_AUDIT_TRIES    100
#define LLM_AUDIT_SMALL    4096     /* pages that open() checks */


static int llm_audit_attach_env(llm_audit_env_t *e, int dir, char *err,
    size_t errlen);
static int llm_audit_attach_dbs(llm_audit_env_t *e, char *err,
    size_t errlen);
static int llm_audit_schema(llm_audit_env_t *e, MDB_txn *txn, char *err,
    size_t errlen);
static int llm_audit_again(llm_audit_env_t *e, char *err, size_t errlen);


/*
 * Under the directory's lock, so that no file is replaced between LMDB's opens
 * of the two.
 */

int
llm_audit_attach(llm_audit_env_t *e, int create, char *err, size_t errlen)
{
    int  dir, none, rc, tries;

    rc = LLM_OK;

    for (tries = 0; tries < 2; tries++) {
        rc = llm_audit_dir(e, tries == 0 ? LOCK_SH : LOCK_EX, &dir, err,
                           errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        none = 0;
        rc = llm_audit_files(e, dir, &none, err, errlen);

        if (rc == LLM_OK && none) {

            if (!create) {
                rc = llm_err(err, errlen, LLM_AWAY, "%s: it was removed",
                             e->path);

            } else if (tries == 1) {
                rc = llm_audit_create(e, dir, NULL, 0, err, errlen);
                none = 0;
            }
        }

        if (rc == LLM_OK && !none) {
            rc = llm_audit_attach_env(e, dir, err, errlen);
        }

        (void) close(dir);

        if (rc != LLM_OK || !none) {
            break;
        }
    }

    return rc;
}


static int
llm_audit_attach_env(llm_audit_env_t *e, int dir, char *err, size_t errlen)
{
    int       rc;
    MDB_stat  stat;

    rc = llm_audit_env_map(e, e->path, 0);

    if (rc != 0) {
        return llm_audit_env_error(e, rc, "open", err, errlen);
    }

    (void) mdb_env_stat(e->env, &stat);
    e->psize = stat.ms_psize;

    e->head = open(e->head_path,
                   (e->reading ? O_RDONLY : O_RDWR)
                   |O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    rc = LLM_OK;

    if (e->head == -1 && !e->reading) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: open: %s", e->head_path,
                     strerror(errno));
    }

    if (rc == LLM_OK && e->reading) {
        (void) llm_audit_chown(e, dir, NULL, 0);

    } else if (rc == LLM_OK) {
        rc = llm_audit_chown(e, dir, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_audit_inodes(e, err, errlen);
        }
    }

    if (rc == LLM_OK) {
        rc = llm_audit_attach_dbs(e, err, errlen);
    }

    /* a dead process's reader keeps pages from being used again */

    if (rc == LLM_OK) {
        (void) mdb_reader_check(e->env, NULL);
        return LLM_OK;
    }

    llm_audit_detach(e);

    return rc;
}


/*
 * The map is as large as it can be: address space costs nothing, and a map
 * that is full would stop everything.  A process that may have less of it
 * takes less.
 */

int
llm_audit_env_map(llm_audit_env_t *e, const char *path, unsigned flags)
{
    int     rc;
    size_t  size;

    for (size = LLM_AUDIT_MAP; /* void */ ; size /= 2) {

        rc = mdb_env_create(&e->env);
        if (rc != 0) {
            e->env = NULL;
            return rc;
        }

        rc = mdb_env_set_mapsize(e->env, size);

        if (rc == 0) {
            rc = mdb_env_set_maxdbs(e->env, LLM_AUDIT_DBS);
        }

        if (rc == 0) {
            rc = mdb_env_set_maxreaders(e->env, LLM_AUDIT_READERS);
        }

        if (rc == 0) {
            rc = mdb_env_open(e->env, path,
                              MDB_NOSUBDIR|MDB_NOTLS|MDB_NORDAHEAD|flags,
                              0600);
        }

        if (rc == 0) {
            return 0;
        }

        mdb_env_close(e->env);
        e->env = NULL;

        if (rc != ENOMEM || size <= LLM_AUDIT_MAPMIN) {
            return rc;
        }
    }
}


static int
llm_audit_attach_dbs(llm_audit_env_t *e, char *err, size_t errlen)
{
    int          i, rc;
    MDB_txn     *txn;
    MDB_envinfo  info;

    rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return llm_audit_env_error(e, rc, "read", err, errlen);
    }

    (void) mdb_env_info(e->env, &info);

    rc = LLM_OK;

    for (i = 0; i < LLM_AUDIT_TRIES && info.me_last_pgno < LLM_AUDIT_SMALL;
         i++)
    {
        rc = llm_scan_env(e->env, txn, e->store, LLM_AUDIT_FILE, err, errlen);

        if (rc != LLM_AGAIN) {
            break;
        }

        mdb_txn_reset(txn);
        llm_audit_await(e);

        if (mdb_txn_renew(txn) != 0) {
            break;
        }
    }

    if (rc == LLM_AGAIN) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: read: others write all the "
                     "time", e->path);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_env_dbs(e, txn, 0);

        if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) {
            rc = llm_err(err, errlen, LLM_INVALID, "%s: not an audit trail",
                         e->path);

        } else if (rc != 0) {
            rc = llm_audit_env_error(e, rc, "read", err, errlen);

        } else {
            rc = llm_audit_schema(e, txn, err, errlen);
        }
    }

    if (rc != LLM_OK) {
        mdb_txn_abort(txn);
        return rc;
    }

    /* a commit, so that the databases stay open */

    rc = mdb_txn_commit(txn);

    return rc == 0 ? LLM_OK
                   : llm_audit_env_error(e, rc, "read", err, errlen);
}


/*
 * A writer is at it; or was, and was killed as it committed: then its lock
 * tells, to who takes it, and LMDB puts right what readers begin with.
 */

void
llm_audit_await(llm_audit_env_t *e)
{
    MDB_txn          *txn;
    struct timespec   ms;

    if (!e->reading && mdb_txn_begin(e->env, NULL, 0, &txn) == 0) {
        mdb_txn_abort(txn);
    }

    ms.tv_sec = 0;
    ms.tv_nsec = 1000000;
    (void) nanosleep(&ms, NULL);
}


int
llm_audit_env_dbs(llm_audit_env_t *e, MDB_txn *txn, unsigned flags)
{
    int       rc;
    size_t    i;

    const struct {
        const char  *name;
        MDB_dbi     *dbi;
    } dbs[LLM_AUDIT_DBS] = {
        { "records", &e->records },
        { "closes", &e->closes },
        { "keys", &e->keyed },
        { "hours", &e->hours },
        { "content", &e->content },
        { "epochs", &e->epochs },
        { "meta", &e->meta }
    };

    rc = 0;

    for (i = 0; rc == 0 && i < LLM_AUDIT_DBS; i++) {
        rc = mdb_dbi_open(txn, dbs[i].name, flags, dbs[i].dbi);
    }

    return rc;
}


static int
llm_audit_schema(llm_audit_env_t *e, MDB_txn *txn, char *err, size_t errlen)
{
    int       rc;
    MDB_val   k, v;
    uint32_t  schema;

    k.mv_data = "schema";
    k.mv_size = 6;

    rc = mdb_get(txn, e->meta, &k, &v);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_env_error(e, rc, "read", err, errlen);
    }

    schema = (rc == 0 && v.mv_size == 4)
             ? (uint32_t) llm_le_get(v.mv_data, 4) : 0;

    if (schema != LLM_AUDIT_SCHEMA) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: schema %u, this program knows %d", e->path,
                       schema, LLM_AUDIT_SCHEMA);
    }

    return LLM_OK;
}


/* no transaction is open: the lock is held for writing, or nobody else is */

void
llm_audit_detach(llm_audit_env_t *e)
{
    llm_audit_t  *a;

    (void) pthread_mutex_lock(&e->mutex);

    for (a = e->handles; a != NULL; a = a->next) {
        if (a->rtxn != NULL) {
            mdb_txn_abort(a->rtxn);
            a->rtxn = NULL;
        }
    }

    (void) pthread_mutex_unlock(&e->mutex);

    if (e->env != NULL) {
        mdb_env_close(e->env);
        e->env = NULL;
    }

    if (e->head != -1) {
        (void) close(e->head);
        e->head = -1;
    }
}


/*
 * Another trail has other keys, though their epochs have the same numbers.
 */

static int
llm_audit_again(llm_audit_env_t *e, char *err, size_t errlen)
{
    int  rc;

    (void) pthread_rwlock_wrlock(&e->lock);

    rc = LLM_OK;

    /* another thread may have done it */

    if (e->env == NULL || atomic_load(&e->broken) || !llm_audit_same(e)) {
        llm_audit_detach(e);
        atomic_store(&e->broken, 0);

        rc = llm_audit_attach(e, 0, err, errlen);

        if (rc == LLM_OK) {
            (void) atomic_fetch_add(&e->trail, 1);
        }
    }

    (void) pthread_rwlock_unlock(&e->lock);

    return rc;
}


int
llm_audit_enter(llm_audit_t *a, char *err, size_t errlen)
{
    int               rc, tries;
    llm_audit_env_t  *e;

    e = a->shared;

    for (tries = 0; tries < 3; tries++) {
        (void) pthread_rwlock_rdlock(&e->lock);

        if (e->env != NULL && !atomic_load(&e->broken)
            && (e->reading || llm_audit_same(e)))
        {
            return LLM_OK;
        }

        (void) pthread_rwlock_unlock(&e->lock);

        rc = llm_audit_again(e, err, errlen);

        if (rc != LLM_OK) {
            return rc;
        }
    }

    return llm_err(err, errlen, LLM_AWAY, "%s: it was replaced", e->path);
}


void
llm_audit_leave(llm_audit_t *a)
{
    (void) pthread_rwlock_unlock(&a->shared->lock);
}
