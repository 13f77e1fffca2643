
/*
 * Copyright (C) nginx-llm contributors
 *
 * Marks: the head and the base of the trail, with a MAC; and audit.head, the
 * file beside that knows how far the trail has come.  Marks are read and
 * written within a transaction by its thread; audit.head after the commit,
 * under a lock that ends with the descriptor, as processes may be killed.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_HEAD_MAGIC   "llmaudit"
#define LLM_HEAD_SEALED  (LLM_AUDIT_ROOT + LLM_SEAL_MORE)
#define LLM_HEAD_SIZE    (8 + LLM_AUDIT_MARK_SIZE + LLM_HEAD_SEALED)
#define LLM_MARK_VERSION 1
#define LLM_MARK_MACED   (LLM_AUDIT_MARK_SIZE - LLM_AUDIT_HASH)


static int llm_audit_head_lock(int fd, short type);
static int llm_audit_head_proven(llm_audit_env_t *e,
    const llm_audit_mark_t *m, const uint8_t *sealed);
static const char *llm_audit_mark_name(uint8_t kind);


void
llm_audit_mark_pack(uint8_t p[LLM_AUDIT_MARK_SIZE],
    const llm_audit_mark_t *m)
{
    p[0] = m->kind;
    p[1] = LLM_MARK_VERSION;
    llm_le_put(p + 2, 0, 2);
    llm_le_put(p + 4, m->epoch, 4);
    llm_le_put(p + 8, m->number, 8);
    memcpy(p + 16, m->hash, LLM_AUDIT_HASH);
    llm_le_put(p + 48, (uint64_t) m->time, 8);
    llm_le_put(p + 56, m->signed_to, 8);
    llm_le_put(p + 64, (uint64_t) m->signed_at, 8);
    llm_le_put(p + 72, (uint64_t) m->signed_mono, 8);
    memcpy(p + LLM_MARK_MACED, m->mac, LLM_AUDIT_HASH);
}


int
llm_audit_mark_unpack(const void *data, size_t len, uint8_t kind,
    llm_audit_mark_t *m)
{
    const uint8_t  *p;

    p = data;

    memset(m, 0, sizeof(llm_audit_mark_t));

    if (len != LLM_AUDIT_MARK_SIZE || p[0] != kind
        || p[1] != LLM_MARK_VERSION || llm_le_get(p + 2, 2) != 0)
    {
        return LLM_INVALID;
    }

    m->kind = kind;
    m->epoch = (uint32_t) llm_le_get(p + 4, 4);
    m->number = llm_le_get(p + 8, 8);
    memcpy(m->hash, p + 16, LLM_AUDIT_HASH);
    m->time = (int64_t) llm_le_get(p + 48, 8);
    m->signed_to = llm_le_get(p + 56, 8);
    m->signed_at = (int64_t) llm_le_get(p + 64, 8);
    m->signed_mono = (int64_t) llm_le_get(p + 72, 8);
    memcpy(m->mac, p + LLM_MARK_MACED, LLM_AUDIT_HASH);

    return LLM_OK;
}


void
llm_audit_mark_sign(const llm_audit_keys_t *k, llm_audit_mark_t *m)
{
    uint8_t  p[LLM_AUDIT_MARK_SIZE];

    m->epoch = k->epoch;
    llm_audit_mark_pack(p, m);
    llm_hmac(&k->head, p, LLM_MARK_MACED, m->mac);
}


int
llm_audit_mark_check(const llm_audit_keys_t *k, const llm_audit_mark_t *m)
{
    uint8_t  p[LLM_AUDIT_MARK_SIZE], mac[LLM_AUDIT_HASH];

    llm_audit_mark_pack(p, m);
    llm_hmac(&k->head, p, LLM_MARK_MACED, mac);

    return CRYPTO_memcmp(mac, m->mac, sizeof(mac)) == 0;
}


int
llm_audit_mark_get(llm_audit_t *a, MDB_txn *txn, uint8_t kind,
    llm_audit_mark_t *m, char *err, size_t errlen)
{
    int      rc;
    MDB_val  k, v;

    k.mv_data = (char *) llm_audit_mark_name(kind);
    k.mv_size = 4;

    rc = mdb_get(txn, a->shared->meta, &k, &v);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_audit_error(a, rc, "read", err, errlen);
    }

    if (rc == MDB_NOTFOUND
        || llm_audit_mark_unpack(v.mv_data, v.mv_size, kind, m) != LLM_OK)
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s: %s",
                       a->shared->path, llm_audit_mark_name(kind),
                       rc == 0 ? "malformed" : "missing");
    }

    return LLM_OK;
}


int
llm_audit_mark_put(llm_audit_t *a, uint8_t kind, llm_audit_mark_t *m,
    char *err, size_t errlen)
{
    int      rc;
    uint8_t  p[LLM_AUDIT_MARK_SIZE];
    MDB_val  k, v;

    m->kind = kind;
    llm_audit_mark_sign(a->keys, m);
    llm_audit_mark_pack(p, m);

    k.mv_data = (char *) llm_audit_mark_name(kind);
    k.mv_size = 4;
    v.mv_data = p;
    v.mv_size = sizeof(p);

    rc = mdb_put(a->wtxn, a->shared->meta, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


static const char *
llm_audit_mark_name(uint8_t kind)
{
    return kind == LLM_AUDIT_MARK_HEAD ? "head" : "base";
}


int
llm_audit_head_read(llm_audit_env_t *e, llm_audit_mark_t *m, int *proven,
    char *err, size_t errlen)
{
    int  fd, rc;

    *proven = 0;
    memset(m, 0, sizeof(llm_audit_mark_t));

    fd = open(e->head_path, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND : LLM_ERROR,
                       "%s: open: %s", e->head_path, strerror(errno));
    }

    rc = llm_audit_head_load(e, fd, m, proven, err, errlen);
    (void) close(fd);

    return rc;
}


int
llm_audit_head_load(llm_audit_env_t *e, int fd, llm_audit_mark_t *m,
    int *proven, char *err, size_t errlen)
{
    int      rc;
    uint8_t  p[LLM_HEAD_SIZE + 1];
    ssize_t  n;

    *proven = 0;

    rc = llm_audit_head_lock(fd, F_RDLCK);
    n = (rc == 0) ? pread(fd, p, sizeof(p), 0) : -1;

    if (n == -1) {
        rc = errno;
        (void) llm_audit_head_lock(fd, F_UNLCK);
        return llm_err(err, errlen, LLM_ERROR, "%s: read: %s", e->head_path,
                       strerror(rc));
    }

    (void) llm_audit_head_lock(fd, F_UNLCK);

    if (n != LLM_HEAD_SIZE || memcmp(p, LLM_HEAD_MAGIC, 8) != 0
        || llm_audit_mark_unpack(p + 8, LLM_AUDIT_MARK_SIZE,
                                 LLM_AUDIT_MARK_HEAD, m) != LLM_OK)
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: malformed",
                       e->head_path);
    }

    *proven = llm_audit_head_proven(e, m, p + 8 + LLM_AUDIT_MARK_SIZE);

    return LLM_OK;
}


/*
 * 1: right; 0: it can't be told; -1: wrong.  An epoch that is loaded costs a
 * hash.
 */

static int
llm_audit_head_proven(llm_audit_env_t *e, const llm_audit_mark_t *m,
    const uint8_t *sealed)
{
    int                good, rc;
    llm_audit_keys_t  *k;

    if (e->secret == NULL) {
        return 0;
    }

    k = llm_audit_keys_loaded(e, m->epoch);

    if (k != NULL) {
        return llm_audit_mark_check(k, m) ? 1 : -1;
    }

    rc = llm_audit_keys_unseal(e, m->epoch, sealed, &k, NULL, 0);

    if (rc != LLM_OK) {
        return rc == LLM_INVALID ? -1 : 0;
    }

    good = llm_audit_mark_check(k, m);
    llm_audit_keys_free(k);

    return good ? 1 : -1;
}


/*
 * Several processes write here, in another order than they committed: what is
 * older than the file is not written.  Fresh: whatever is there.
 */

int
llm_audit_head_write(llm_audit_env_t *e, int fd, const llm_audit_mark_t *m,
    const uint8_t *sealed, int fresh)
{
    int       rc;
    uint8_t   p[LLM_HEAD_SIZE];
    ssize_t   n;

    rc = llm_audit_head_lock(fd, F_WRLCK);
    if (rc != 0) {
        return rc;
    }

    if (!fresh) {
        n = pread(fd, p, sizeof(p), 0);

        if (n == sizeof(p) && llm_le_get(p + 8 + 8, 8) >= m->number) {
            goto done;
        }
    }

    memcpy(p, LLM_HEAD_MAGIC, 8);
    llm_audit_mark_pack(p + 8, m);
    memcpy(p + 8 + LLM_AUDIT_MARK_SIZE, sealed, LLM_HEAD_SEALED);

    n = pwrite(fd, p, sizeof(p), 0);

    if (n != sizeof(p)) {
        rc = (n == -1) ? errno : EIO;
    }

done:

    (void) llm_audit_head_lock(fd, F_UNLCK);

    return rc;
}


/* of the open file, so that other descriptors may be closed */

static int
llm_audit_head_lock(int fd, short type)
{
    struct flock  l;

    memset(&l, 0, sizeof(l));
    l.l_type = type;
    l.l_whence = SEEK_SET;

    while (fcntl(fd, F_OFD_SETLKW, &l) == -1) {
        if (errno != EINTR) {
            return errno;
        }
    }

    return 0;
}
