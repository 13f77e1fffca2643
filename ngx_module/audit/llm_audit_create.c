
/*
 * Copyright (C) nginx-llm contributors
 *
 * A new audit trail: at the first start, and after a loss.  What may be killed
 * at any time must leave what the next one can go on with, so files are made
 * under other names, synced, and renamed:
 *
 *     first        audit.head of no record, audit.mdb, audit.head
 *     after a loss the old ones aside (of audit.head a copy), audit.mdb,
 *                  audit.head
 *
 * Between the last two steps audit.head knows less, or of another trail.  Run
 * under the directory's lock.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_AUDIT_NEW       "audit-new.mdb"
#define LLM_AUDIT_NEW_HEAD  "audit-new.head"


static int llm_audit_make(llm_audit_t *a, const llm_audit_epoch_t *ep,
    const llm_audit_mark_t *lost, int proven, char *err, size_t errlen);
static int llm_audit_make_first(llm_audit_t *a, const llm_audit_epoch_t *ep,
    const llm_audit_mark_t *lost, int proven, char *err, size_t errlen);
static int llm_audit_publish(llm_audit_env_t *e, int dir, const char *from,
    const char *to, char *err, size_t errlen);
static int llm_audit_publish_head(llm_audit_env_t *e, int dir,
    llm_audit_keys_t *k, llm_audit_mark_t *m, const llm_audit_epoch_t *ep,
    char *err, size_t errlen);
static int llm_audit_aside(llm_audit_env_t *e, int dir, char *err,
    size_t errlen);
static int llm_audit_copy_head(llm_audit_env_t *e, int dir, const char *to,
    char *err, size_t errlen);


int
llm_audit_create(llm_audit_env_t *e, int dir, const llm_audit_mark_t *lost,
    int proven, char *err, size_t errlen)
{
    int                rc;
    llm_audit_t        a;
    llm_audit_mark_t   none;
    llm_audit_epoch_t  ep;

    /* the rest of a creation that was killed */

    (void) unlinkat(dir, LLM_AUDIT_NEW, 0);
    (void) unlinkat(dir, LLM_AUDIT_NEW_HEAD, 0);

    memset(&a, 0, sizeof(a));
    a.shared = e;

    rc = llm_audit_epoch_new(e, 1, llm_audit_now(e), &ep, &a.keys, err,
                             errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_make(&a, &ep, lost, proven, err, errlen);

    if (rc == LLM_OK && lost != NULL) {
        rc = llm_audit_aside(e, dir, err, errlen);

    } else if (rc == LLM_OK) {
        memset(&none, 0, sizeof(none));
        none.kind = LLM_AUDIT_MARK_HEAD;
        rc = llm_audit_publish_head(e, dir, a.keys, &none, &ep, err, errlen);
    }

    /* the lock of a file that was removed: who still has it open keeps both */

    (void) unlinkat(dir, LLM_AUDIT_LOCK, 0);

    if (rc == LLM_OK) {
        rc = llm_audit_publish(e, dir, LLM_AUDIT_NEW, LLM_AUDIT_FILE, err,
                               errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_publish_head(e, dir, a.keys, &a.mark, &ep, err,
                                    errlen);
    }

    if (rc != LLM_OK) {
        (void) unlinkat(dir, LLM_AUDIT_NEW, 0);
        (void) unlinkat(dir, LLM_AUDIT_NEW_HEAD, 0);
    }

    llm_audit_keys_free(a.keys);

    return rc;
}


/* audit-new.mdb; nobody else has it open */

static int
llm_audit_make(llm_audit_t *a, const llm_audit_epoch_t *ep,
    const llm_audit_mark_t *lost, int proven, char *err, size_t errlen)
{
    int               rc;
    char             *path;
    llm_audit_env_t  *e;

    e = a->shared;

    if (asprintf(&path, "%s/%s", e->store, LLM_AUDIT_NEW) == -1) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory", e->path);
    }

    rc = llm_audit_env_map(e, path, MDB_NOLOCK);
    free(path);

    if (rc == 0) {
        rc = mdb_txn_begin(e->env, NULL, 0, &a->wtxn);
    }

    if (rc == 0) {
        rc = llm_audit_env_dbs(e, a->wtxn, MDB_CREATE);
    }

    if (rc != 0) {
        rc = llm_audit_error(a, rc, "create", err, errlen);

    } else {
        rc = llm_audit_make_first(a, ep, lost, proven, err, errlen);
    }

    if (a->wtxn != NULL && rc != LLM_OK) {
        mdb_txn_abort(a->wtxn);

    } else if (rc == LLM_OK) {
        rc = mdb_txn_commit(a->wtxn);

        if (rc == 0) {
            rc = mdb_env_sync(e->env, 1);
        }

        if (rc != 0) {
            rc = llm_audit_error(a, rc, "create", err, errlen);
        }
    }

    a->wtxn = NULL;

    if (e->env != NULL) {
        mdb_env_close(e->env);
        e->env = NULL;
    }

    return rc;
}


static int
llm_audit_make_first(llm_audit_t *a, const llm_audit_epoch_t *ep,
    const llm_audit_mark_t *lost, int proven, char *err, size_t errlen)
{
    int                 rc;
    MDB_val             k, v;
    uint8_t             schema[4];
    MDB_stat            stat;
    llm_audit_env_t    *e;
    llm_audit_mark_t    base;
    llm_audit_record_t  r;

    e = a->shared;

    (void) mdb_env_stat(e->env, &stat);
    e->psize = stat.ms_psize;

    llm_le_put(schema, LLM_AUDIT_SCHEMA, 4);
    k.mv_data = "schema";
    k.mv_size = 6;
    v.mv_data = schema;
    v.mv_size = sizeof(schema);

    rc = mdb_put(a->wtxn, e->meta, &k, &v, 0);
    if (rc != 0) {
        return llm_audit_error(a, rc, "create", err, errlen);
    }

    rc = llm_audit_measure(a, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_put(a, ep, err, errlen);
    }

    memset(&base, 0, sizeof(base));
    memset(&a->mark, 0, sizeof(a->mark));

    if (rc == LLM_OK) {
        rc = llm_audit_mark_put(a, LLM_AUDIT_MARK_BASE, &base, err, errlen);
    }

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_START;
    r.time = r.wall = ep->time;
    r.mono = llm_audit_mono();
    r.version = ep->version;
    memcpy(r.public_key, ep->public_key, LLM_AUDIT_PUBLIC);

    if (lost != NULL) {
        r.flags = LLM_AUDIT_HAS_LOSS | (proven ? LLM_AUDIT_HAS_PROOF : 0);
        r.first = lost->number;
        memcpy(r.hash, lost->hash, LLM_AUDIT_HASH);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_append(a, &r, err, errlen);
    }

    a->mark.signed_mono = r.mono;
    a->mark.signed_at = a->mark.time;

    if (rc == LLM_OK) {
        rc = llm_audit_mark_put(a, LLM_AUDIT_MARK_HEAD, &a->mark, err,
                                errlen);
    }

    return rc;
}


static int
llm_audit_publish(llm_audit_env_t *e, int dir, const char *from,
    const char *to, char *err, size_t errlen)
{
    int          rc;
    struct stat  owner;

    if (geteuid() == 0) {

        if (fstat(dir, &owner) == -1) {
            return llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", e->store,
                           strerror(errno));
        }

        rc = llm_file_give(dir, e->store, from, owner.st_uid, owner.st_gid,
                           err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    if (renameat(dir, from, dir, to) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: rename: %s", e->store,
                       to, strerror(errno));
    }

    if (fsync(dir) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: sync: %s", e->store,
                       strerror(errno));
    }

    return LLM_OK;
}


static int
llm_audit_publish_head(llm_audit_env_t *e, int dir, llm_audit_keys_t *k,
    llm_audit_mark_t *m, const llm_audit_epoch_t *ep, char *err,
    size_t errlen)
{
    int  fd, rc;

    fd = openat(dir, LLM_AUDIT_NEW_HEAD,
                O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: open: %s", e->store,
                       LLM_AUDIT_NEW_HEAD, strerror(errno));
    }

    llm_audit_mark_sign(k, m);
    rc = llm_audit_head_write(e, fd, m, ep->sealed, 1);

    if (rc == 0 && fsync(fd) == -1) {
        rc = errno;
    }

    (void) close(fd);

    if (rc != 0) {
        return llm_err(err, errlen, rc == ENOSPC ? LLM_FULL : LLM_ERROR,
                       "%s/%s: write: %s", e->store, LLM_AUDIT_NEW_HEAD,
                       strerror(rc));
    }

    return llm_audit_publish(e, dir, LLM_AUDIT_NEW_HEAD, LLM_AUDIT_HEAD, err,
                             errlen);
}


int
llm_audit_renew(const char *store, const llm_secret_t *secret,
    uint32_t version, char *err, size_t errlen)
{
    int               dir, proven, rc;
    llm_audit_env_t  *e;
    llm_audit_mark_t  lost;

    if (secret == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s/%s: there is no secret",
                       store, LLM_AUDIT_FILE);
    }

    rc = llm_audit_env_new(&e, store, secret, version, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_audit_dir(e, LOCK_EX, &dir, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_head_read(e, &lost, &proven, err, errlen);

        /* a head that is missing or malformed tells nothing */

        if (rc == LLM_NOTFOUND || rc == LLM_INVALID) {
            memset(&lost, 0, sizeof(lost));
            proven = 0;
            rc = LLM_OK;
        }

        if (rc == LLM_OK) {
            rc = llm_audit_create(e, dir, &lost, proven == 1, err, errlen);
        }

        (void) close(dir);
    }

    llm_audit_env_put(e);

    return rc;
}


/*
 * audit.head stays until the new one takes its place: who comes before that
 * finds a trail that is older than it.
 */

static int
llm_audit_aside(llm_audit_env_t *e, int dir, char *err, size_t errlen)
{
    int        i, rc;
    char       name[64], head[64];
    long long  now;

    now = (long long) time(NULL);

    /* one a second, or the first second that is free */

    for (i = 0; i < 100; i++, now++) {
        (void) snprintf(name, sizeof(name), "audit-lost-%lld.mdb", now);
        (void) snprintf(head, sizeof(head), "audit-lost-%lld.head", now);

        if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == -1
            && faccessat(dir, head, F_OK, AT_SYMLINK_NOFOLLOW) == -1)
        {
            break;
        }
    }

    rc = llm_audit_copy_head(e, dir, head, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (renameat2(dir, LLM_AUDIT_FILE, dir, name, RENAME_NOREPLACE) == -1
        && errno != ENOENT)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: rename to %s: %s",
                       e->path, name, strerror(errno));
    }

    return LLM_OK;
}


/* as much of it as a head may be */

static int
llm_audit_copy_head(llm_audit_env_t *e, int dir, const char *to, char *err,
    size_t errlen)
{
    int      from, fd, rc;
    char     buf[4096];
    ssize_t  n;

    from = openat(dir, LLM_AUDIT_HEAD,
                  O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (from == -1) {
        return errno == ENOENT || errno == ELOOP
               ? LLM_OK
               : llm_err(err, errlen, LLM_ERROR, "%s: open: %s",
                         e->head_path, strerror(errno));
    }

    n = read(from, buf, sizeof(buf));
    (void) close(from);

    fd = openat(dir, to, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600);

    if (fd == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: open: %s", e->store,
                       to, strerror(errno));
    }

    rc = (n > 0 && write(fd, buf, (size_t) n) != n) || fsync(fd) == -1
         ? llm_err(err, errlen, LLM_ERROR, "%s/%s: write: %s", e->store, to,
                   strerror(errno))
         : LLM_OK;

    (void) close(fd);

    return rc;
}
