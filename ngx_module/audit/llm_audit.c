
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail: open, handles, transactions that read, errors.  The
 * environment is shared by the handles of a process and closed with the last; a
 * handle has a read transaction of its own and is used by one thread at a time,
 * which also ends the write transaction that it began.
 *
 * Durability: LMDB's default, a commit returns when the data is synced.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_AUDIT_TRIES    100
#define LLM_AUDIT_LEAST    ((uint64_t) 4 << 20)     /* of disk, to be ready */


static int llm_audit_open_env(llm_audit_t **a, llm_audit_env_t *e, char *err,
    size_t errlen);
static int llm_audit_handle(llm_audit_t **a, llm_audit_env_t *e);


int
llm_audit_open(llm_audit_t **a, const char *store, const llm_secret_t *secret,
    uint32_t version, char *err, size_t errlen)
{
    return secret == NULL
           ? llm_audit_open_read(a, store, NULL, err, errlen)
           : llm_audit_open_at(a, store, secret, version, 0, err, errlen);
}


int
llm_audit_open_at(llm_audit_t **ap, const char *store,
    const llm_secret_t *secret, uint32_t version, int64_t now, char *err,
    size_t errlen)
{
    int               rc;
    size_t            n;
    uint32_t          open[LLM_SECRET_VERSIONS];
    llm_audit_t      *a;
    llm_audit_env_t  *e;

    *ap = NULL;

    n = llm_secret_versions(secret, open);

    while (n != 0 && open[n - 1] != version) {
        n--;
    }

    if (n == 0) {
        return llm_err(err, errlen, LLM_INVALID, "%s/%s: version %u of the "
                       "secret is not open", store, LLM_AUDIT_FILE, version);
    }

    rc = llm_audit_env_new(&e, store, secret, version, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    atomic_store(&e->clock, now);

    rc = llm_audit_open_env(&a, e, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    /* a new epoch if it must be; then with its keys */

    rc = llm_audit_begin(a, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_turn(a, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_begin(a, err, errlen);
        llm_audit_abort(a);
    }

    if (rc != LLM_OK) {
        llm_audit_close(a);
        return rc;
    }

    *ap = a;

    return LLM_OK;
}


int
llm_audit_open_read(llm_audit_t **a, const char *store,
    const llm_secret_t *secret, char *err, size_t errlen)
{
    int               rc;
    llm_audit_env_t  *e;

    *a = NULL;

    rc = llm_audit_env_new(&e, store, secret, 0, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    e->reading = 1;

    return llm_audit_open_env(a, e, err, errlen);
}


/* e is the handle's, or freed */

static int
llm_audit_open_env(llm_audit_t **a, llm_audit_env_t *e, char *err,
    size_t errlen)
{
    int  rc;

    rc = llm_audit_attach(e, !e->reading, err, errlen);

    if (rc == LLM_OK && llm_audit_handle(a, e) != LLM_OK) {
        rc = llm_err(err, errlen, LLM_NOMEM, "%s: no memory", e->path);
    }

    llm_audit_env_put(e);

    return rc;
}


int
llm_audit_env_new(llm_audit_env_t **ep, const char *store,
    const llm_secret_t *secret, uint32_t version, char *err, size_t errlen)
{
    llm_audit_env_t  *e;

    *ep = NULL;

    e = calloc(1, sizeof(llm_audit_env_t));

    if (e == NULL || pthread_rwlock_init(&e->lock, NULL) != 0) {
        free(e);
        return llm_err(err, errlen, LLM_NOMEM, "%s: audit: no memory", store);
    }

    (void) pthread_mutex_init(&e->mutex, NULL);

    e->secret = secret;
    e->version = version;
    e->head = -1;
    atomic_store(&e->refs, 1);

    e->store = strdup(store);

    if (asprintf(&e->path, "%s/%s", store, LLM_AUDIT_FILE) == -1) {
        e->path = NULL;
    }

    if (asprintf(&e->lock_path, "%s/%s", store, LLM_AUDIT_LOCK) == -1) {
        e->lock_path = NULL;
    }

    if (asprintf(&e->head_path, "%s/%s", store, LLM_AUDIT_HEAD) == -1) {
        e->head_path = NULL;
    }

    if (e->store == NULL || e->path == NULL || e->lock_path == NULL
        || e->head_path == NULL)
    {
        llm_audit_env_put(e);
        return llm_err(err, errlen, LLM_NOMEM, "%s: audit: no memory", store);
    }

    *ep = e;

    return LLM_OK;
}


void
llm_audit_env_put(llm_audit_env_t *e)
{
    llm_audit_keys_t  *k;

    /* what others did with the environment is done before it is closed */

    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }

    llm_audit_detach(e);

    while (e->keys != NULL) {
        k = e->keys;
        e->keys = k->next;
        llm_audit_keys_free(k);
    }

    (void) pthread_mutex_destroy(&e->mutex);
    (void) pthread_rwlock_destroy(&e->lock);

    free(e->store);
    free(e->path);
    free(e->lock_path);
    free(e->head_path);
    free(e);
}


int
llm_audit_dup(llm_audit_t **a, llm_audit_t *from, char *err, size_t errlen)
{
    *a = NULL;

    return llm_audit_handle(a, from->shared) == LLM_OK
           ? LLM_OK
           : llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                     from->shared->path);
}


static int
llm_audit_handle(llm_audit_t **ap, llm_audit_env_t *e)
{
    llm_audit_t  *a;

    a = calloc(1, sizeof(llm_audit_t));
    if (a == NULL) {
        return LLM_NOMEM;
    }

    a->shared = e;
    (void) atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);

    (void) pthread_mutex_lock(&e->mutex);
    a->next = e->handles;
    e->handles = a;
    (void) pthread_mutex_unlock(&e->mutex);

    *ap = a;

    return LLM_OK;
}


void
llm_audit_close(llm_audit_t *a)
{
    llm_audit_t      **p;
    llm_audit_env_t   *e;

    if (a == NULL) {
        return;
    }

    llm_audit_abort(a);

    e = a->shared;

    /* another thread that opens the files anew ends our reader */

    (void) pthread_rwlock_rdlock(&e->lock);
    (void) pthread_mutex_lock(&e->mutex);

    for (p = &e->handles; *p != a; p = &(*p)->next) {
        /* void */
    }

    *p = a->next;

    (void) pthread_mutex_unlock(&e->mutex);

    if (a->rtxn != NULL) {
        mdb_txn_abort(a->rtxn);
    }

    (void) pthread_rwlock_unlock(&e->lock);

    free(a);
    llm_audit_env_put(e);
}


int
llm_audit_read(llm_audit_t *a, MDB_txn **txn, char *err, size_t errlen)
{
    int               rc;
    llm_audit_env_t  *e;

    if (a->wtxn != NULL) {
        *txn = a->wtxn;
        return LLM_OK;
    }

    e = a->shared;

    (void) pthread_rwlock_rdlock(&e->lock);

    if (e->env == NULL) {
        (void) pthread_rwlock_unlock(&e->lock);

        rc = llm_audit_enter(a, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    rc = llm_audit_renew_read(a);
    *txn = a->rtxn;

    if (rc != 0) {
        llm_audit_leave(a);
        return llm_audit_error(a, rc, "read", err, errlen);
    }

    return LLM_OK;
}


int
llm_audit_renew_read(llm_audit_t *a)
{
    int       rc;
    MDB_env  *env;

    if (a->rtxn != NULL) {
        return mdb_txn_renew(a->rtxn);
    }

    env = a->shared->env;
    rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &a->rtxn);

    if (rc == MDB_READERS_FULL) {
        (void) mdb_reader_check(env, NULL);
        rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &a->rtxn);
    }

    if (rc != 0) {
        a->rtxn = NULL;
    }

    return rc;
}


void
llm_audit_read_end(llm_audit_t *a, MDB_txn *txn)
{
    if (txn == a->rtxn) {
        mdb_txn_reset(a->rtxn);
        llm_audit_leave(a);
    }
}


int
llm_audit_scan(llm_audit_t *a, MDB_txn *txn, char *err, size_t errlen)
{
    int               i, rc;
    llm_audit_env_t  *e;

    e = a->shared;

    for (i = 0; i < LLM_AUDIT_TRIES; i++) {
        rc = llm_scan_env(e->env, txn, e->store, LLM_AUDIT_FILE, err, errlen);

        if (rc != LLM_AGAIN || txn != a->rtxn) {
            return rc;
        }

        /* a writer is at it: what we began with may be overwritten by now */

        mdb_txn_reset(txn);
        llm_audit_await(e);
        rc = mdb_txn_renew(txn);

        if (rc != 0) {
            return llm_audit_error(a, rc, "read", err, errlen);
        }
    }

    return llm_err(err, errlen, LLM_ERROR, "%s: read: others write all the "
                   "time", e->path);
}


int
llm_audit_get(llm_audit_t *a, MDB_txn *txn, uint64_t number, MDB_val *v,
    char *err, size_t errlen)
{
    int      rc;
    uint8_t  key[8];
    MDB_val  k;

    llm_be_put(key, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(txn, a->shared->records, &k, v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: there is no record "
                       "%llu", a->shared->path, (unsigned long long) number);
    }

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "read", err, errlen);
}


/*
 * A disk that is nearly full may have room in the file: there is no way to
 * know but to begin.
 */

int
llm_audit_ready(llm_audit_t *a, char *err, size_t errlen)
{
    int               low, rc;
    MDB_txn          *txn;
    struct statvfs    fs;
    llm_audit_env_t  *e;
    llm_audit_mark_t  mark;

    e = a->shared;

    if (e->reading) {
        return llm_err(err, errlen, LLM_INVALID, "%s: open for reading only",
                       e->path);
    }

    rc = llm_audit_enter(a, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    low = statvfs(e->path, &fs) == -1
          || (uint64_t) fs.f_bavail * fs.f_frsize < LLM_AUDIT_LEAST;

    llm_audit_leave(a);

    if (low) {
        rc = llm_audit_begin(a, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_audit_room(a, LLM_AUDIT_COST, err, errlen);
            llm_audit_abort(a);
        }

        return rc;
    }

    rc = llm_audit_read(a, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_mark_get(a, txn, LLM_AUDIT_MARK_HEAD, &mark, err,
                                errlen);
        llm_audit_read_end(a, txn);
    }

    return rc;
}


int
llm_audit_stat(llm_audit_t *a, llm_audit_stat_t *st, char *err, size_t errlen)
{
    int               fd, rc;
    MDB_txn          *txn;
    struct stat       sb;
    llm_audit_mark_t  base, head;

    memset(st, 0, sizeof(llm_audit_stat_t));

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_mark_get(a, txn, LLM_AUDIT_MARK_HEAD, &head, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_mark_get(a, txn, LLM_AUDIT_MARK_BASE, &base, err,
                                errlen);
    }

    if (rc == LLM_OK) {
        st->first = base.number + 1;
        st->last = head.number;
        st->signed_to = head.signed_to;
        st->signed_at = head.signed_at;
        st->time = head.time;
        st->epoch = llm_audit_epoch_last(a, txn);

        if (mdb_env_get_fd(a->shared->env, &fd) == 0 && fstat(fd, &sb) == 0) {
            st->bytes = (uint64_t) sb.st_size;
        }
    }

    llm_audit_read_end(a, txn);

    return rc;
}


int64_t
llm_audit_now(llm_audit_env_t *e)
{
    int64_t          clock;
    struct timespec  ts;

    clock = atomic_load_explicit(&e->clock, memory_order_relaxed);

    if (clock != 0) {
        return clock;
    }

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int64_t
llm_audit_mono(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_BOOTTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int
llm_audit_error(llm_audit_t *a, int rc, const char *place, char *err,
    size_t errlen)
{
    return llm_audit_env_error(a->shared, rc, place, err, errlen);
}


int
llm_audit_env_error(llm_audit_env_t *e, int rc, const char *place, char *err,
    size_t errlen)
{
    int          code;
    const char  *why;

    why = mdb_strerror(rc);

    switch (rc) {

    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
        code = LLM_FULL;
        why = "the map is full";
        break;

    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        code = LLM_FULL;
        break;

    case MDB_PANIC:
        atomic_store(&e->broken, 1);
        code = LLM_ERROR;
        why = "an earlier write failed";
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

    return llm_err(err, errlen, code, "%s: %s: %s", e->path, place, why);
}
