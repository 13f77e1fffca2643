
/*
 * Copyright (C) nginx-llm contributors
 *
 * Epochs: the trail's keys of a time.  An epoch's root is random; all keys are
 * HMAC-SHA256 of a label under it, and it lies sealed under the secret.
 *
 * Keys that a process has used stay in its list, which any thread may read and
 * which only grows until the last handle is closed.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "../store/llm_secret_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_LABEL_HEAD         "nginx-llm audit head v1"
#define LLM_LABEL_FINGERPRINT  "nginx-llm audit fingerprint v1"
#define LLM_LABEL_CONTENT      "nginx-llm audit content v1"
#define LLM_LABEL_SIGN         "nginx-llm audit sign v1"
#define LLM_LABEL_EPOCH        "nginx-llm audit epoch mac v1"

/* what is signed begins with one of these */
#define LLM_SIGNED_CHECKPOINT  "nginx-llm audit checkpoint v1\n"
#define LLM_SIGNED_EPOCH       "nginx-llm audit epoch v1\n"
#define LLM_SIGNED_MAX         128


static llm_audit_keys_t *llm_audit_keys_make(uint32_t epoch,
    const uint8_t *root);
static llm_audit_keys_t *llm_audit_keys_add(llm_audit_env_t *e,
    llm_audit_keys_t *k);
static void llm_audit_derive(const uint8_t *root, const char *label,
    uint8_t key[32]);
static int llm_audit_public(const uint8_t *seed, uint8_t *public_key);
static void llm_audit_seal_name(char name[32], uint32_t epoch);
static int llm_audit_epoch_begin(llm_audit_t *a, const llm_audit_epoch_t *ep,
    llm_audit_keys_t *keys, char *err, size_t errlen);
static int llm_audit_epoch_reseal(llm_audit_t *a, uint32_t newest, char *err,
    size_t errlen);
static void llm_audit_epoch_pack(uint8_t p[LLM_AUDIT_EPOCH_SIZE],
    const llm_audit_epoch_t *ep);
static void llm_audit_epoch_mac(const llm_audit_keys_t *k,
    const llm_audit_epoch_t *ep, uint8_t mac[LLM_AUDIT_HASH]);
static size_t llm_audit_checkpoint_text(uint8_t *p, uint32_t epoch,
    uint64_t number, int64_t time, const uint8_t *hash);
static size_t llm_audit_epoch_text(uint8_t *p, uint32_t epoch,
    const uint8_t *public_key);
static int llm_audit_ed25519(const uint8_t *seed, const uint8_t *text,
    size_t len, uint8_t *signature);
static int llm_audit_ed25519_check(const uint8_t *public_key,
    const uint8_t *text, size_t len, const uint8_t *signature);


static void
llm_audit_epoch_pack(uint8_t p[LLM_AUDIT_EPOCH_SIZE],
    const llm_audit_epoch_t *ep)
{
    llm_le_put(p, ep->epoch, 4);
    llm_le_put(p + 4, ep->version, 4);
    llm_le_put(p + 8, (uint64_t) ep->time, 8);
    memcpy(p + 16, ep->public_key, LLM_AUDIT_PUBLIC);
    memcpy(p + 16 + LLM_AUDIT_PUBLIC, ep->sealed, sizeof(ep->sealed));
    memcpy(p + 16 + LLM_AUDIT_PUBLIC + sizeof(ep->sealed), ep->mac,
           LLM_AUDIT_HASH);
}


int
llm_audit_epoch_mac_check(const llm_audit_keys_t *k,
    const llm_audit_epoch_t *ep)
{
    uint8_t  mac[LLM_AUDIT_HASH];

    llm_audit_epoch_mac(k, ep, mac);

    return CRYPTO_memcmp(mac, ep->mac, sizeof(mac)) == 0;
}


/* what the public key, the version and the time were when it began: the root
 * is sealed for itself, and anew */

static void
llm_audit_epoch_mac(const llm_audit_keys_t *k, const llm_audit_epoch_t *ep,
    uint8_t mac[LLM_AUDIT_HASH])
{
    size_t   n;
    uint8_t  p[sizeof(LLM_LABEL_EPOCH) - 1 + LLM_AUDIT_EPOCH_SIZE];

    n = sizeof(LLM_LABEL_EPOCH) - 1;

    memcpy(p, LLM_LABEL_EPOCH, n);
    llm_audit_epoch_pack(p + n, ep);
    llm_hmac(&k->head, p, n + 16 + LLM_AUDIT_PUBLIC, mac);
}


int
llm_audit_epoch_get(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_epoch_t *ep, char *err, size_t errlen)
{
    int             rc;
    uint8_t         key[4];
    MDB_val         k, v;
    const uint8_t  *p;

    llm_be_put(key, epoch, 4);
    k.mv_data = key;
    k.mv_size = sizeof(key);

    rc = mdb_get(txn, a->shared->epochs, &k, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: there is no epoch %u",
                       a->shared->path, epoch);
    }

    if (rc != 0) {
        return llm_audit_error(a, rc, "read", err, errlen);
    }

    p = v.mv_data;

    if (v.mv_size != LLM_AUDIT_EPOCH_SIZE || llm_le_get(p, 4) != epoch) {
        return llm_err(err, errlen, LLM_INVALID, "%s: epoch %u: malformed",
                       a->shared->path, epoch);
    }

    ep->epoch = epoch;
    ep->version = (uint32_t) llm_le_get(p + 4, 4);
    ep->time = (int64_t) llm_le_get(p + 8, 8);
    memcpy(ep->public_key, p + 16, LLM_AUDIT_PUBLIC);
    memcpy(ep->sealed, p + 16 + LLM_AUDIT_PUBLIC, sizeof(ep->sealed));
    memcpy(ep->mac, p + 16 + LLM_AUDIT_PUBLIC + sizeof(ep->sealed),
           LLM_AUDIT_HASH);

    return LLM_OK;
}


int
llm_audit_epoch_put(llm_audit_t *a, const llm_audit_epoch_t *ep, char *err,
    size_t errlen)
{
    int      rc;
    uint8_t  key[4], value[LLM_AUDIT_EPOCH_SIZE];
    MDB_val  k, v;

    llm_be_put(key, ep->epoch, 4);
    llm_audit_epoch_pack(value, ep);

    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = value;
    v.mv_size = sizeof(value);

    rc = mdb_put(a->wtxn, a->shared->epochs, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


/* they have no holes: a number that is not theirs is not counted to */

uint32_t
llm_audit_epoch_last(llm_audit_t *a, MDB_txn *txn)
{
    uint32_t     epoch;
    MDB_val      k, v;
    MDB_stat     st;
    MDB_cursor  *cursor;

    epoch = 0;

    if (mdb_stat(txn, a->shared->epochs, &st) != 0) {
        return 0;
    }

    if (mdb_cursor_open(txn, a->shared->epochs, &cursor) != 0) {
        return 0;
    }

    if (mdb_cursor_get(cursor, &k, &v, MDB_LAST) == 0 && k.mv_size == 4) {
        epoch = (uint32_t) llm_be_get(k.mv_data, 4);
    }

    mdb_cursor_close(cursor);

    return epoch == st.ms_entries ? epoch : 0;
}


int
llm_audit_keys(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_keys_t **keys, char *err, size_t errlen)
{
    int                rc;
    llm_audit_keys_t  *k;
    llm_audit_epoch_t  ep;

    *keys = llm_audit_keys_loaded(a->shared, epoch);

    if (*keys != NULL) {
        return LLM_OK;
    }

    k = NULL;
    rc = llm_audit_epoch_get(a, txn, epoch, &ep, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_keys_unseal(a->shared, epoch, ep.sealed, &k, err,
                                   errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    if (memcmp(k->public_key, ep.public_key, LLM_AUDIT_PUBLIC) != 0
        || !llm_audit_epoch_mac_check(k, &ep))
    {
        llm_audit_keys_free(k);
        return llm_err(err, errlen, LLM_INVALID, "%s: epoch %u: it was "
                       "changed", a->shared->path, epoch);
    }

    *keys = llm_audit_keys_add(a->shared, k);

    return LLM_OK;
}


int
llm_audit_keys_unseal(llm_audit_env_t *e, uint32_t epoch,
    const uint8_t *sealed, llm_audit_keys_t **keys, char *err, size_t errlen)
{
    int      rc;
    char     name[32];
    uint8_t  root[LLM_AUDIT_ROOT];

    *keys = NULL;

    if (e->secret == NULL) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: epoch %u: there is no "
                       "secret", e->path, epoch);
    }

    llm_audit_seal_name(name, epoch);

    rc = llm_secret_unseal(e->secret, name, sealed,
                           sizeof(root) + LLM_SEAL_MORE, root, err, errlen);

    if (rc != LLM_OK) {
        return rc;
    }

    *keys = llm_audit_keys_make(epoch, root);
    OPENSSL_cleanse(root, sizeof(root));

    return *keys ? LLM_OK
                 : llm_err(err, errlen, LLM_NOMEM, "%s: epoch %u: no memory",
                           e->path, epoch);
}


static void
llm_audit_seal_name(char name[32], uint32_t epoch)
{
    (void) snprintf(name, 32, "audit epoch %u", epoch);
}


/* as the secret's memory: see llm_secret_open() */

static llm_audit_keys_t *
llm_audit_keys_make(uint32_t epoch, const uint8_t *root)
{
    size_t             size;
    uint8_t            key[32];
    llm_audit_keys_t  *k;

    size = (size_t) sysconf(_SC_PAGESIZE);
    size = (sizeof(llm_audit_keys_t) + size - 1) / size * size;

    k = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1,
             0);

    if (k == MAP_FAILED) {
        return NULL;
    }

    (void) madvise(k, size, MADV_DONTDUMP);
    (void) mlock(k, size);

    k->mapped = size;
    k->epoch = epoch;

    llm_audit_derive(root, LLM_LABEL_HEAD, key);
    llm_hmac_init(&k->head, key, sizeof(key));
    llm_audit_derive(root, LLM_LABEL_FINGERPRINT, key);
    llm_hmac_init(&k->fingerprint, key, sizeof(key));
    llm_audit_derive(root, LLM_LABEL_CONTENT, k->content);
    llm_audit_derive(root, LLM_LABEL_SIGN, k->seed);

    OPENSSL_cleanse(key, sizeof(key));

    if (llm_audit_public(k->seed, k->public_key) != LLM_OK) {
        llm_audit_keys_free(k);
        return NULL;
    }

    return k;
}


static void
llm_audit_derive(const uint8_t *root, const char *label, uint8_t key[32])
{
    llm_hmac_t  h;

    llm_hmac_init(&h, root, LLM_AUDIT_ROOT);
    llm_hmac(&h, label, strlen(label), key);
    OPENSSL_cleanse(&h, sizeof(h));
}


void
llm_audit_keys_free(llm_audit_keys_t *k)
{
    size_t  size;

    size = k->mapped;
    OPENSSL_cleanse(k, sizeof(llm_audit_keys_t));
    (void) munmap(k, size);
}


llm_audit_keys_t *
llm_audit_keys_loaded(llm_audit_env_t *e, uint32_t epoch)
{
    llm_audit_keys_t  *k;

    (void) pthread_mutex_lock(&e->mutex);

    for (k = e->keys; k != NULL; k = k->next) {
        if (k->epoch == epoch && k->trail == atomic_load(&e->trail)) {
            break;
        }
    }

    (void) pthread_mutex_unlock(&e->mutex);

    return k;
}


/* two threads may have made the same: the first one's stays */

static llm_audit_keys_t *
llm_audit_keys_add(llm_audit_env_t *e, llm_audit_keys_t *keys)
{
    llm_audit_keys_t  *k;

    keys->trail = atomic_load(&e->trail);

    (void) pthread_mutex_lock(&e->mutex);

    for (k = e->keys; k != NULL; k = k->next) {
        if (k->epoch == keys->epoch && k->trail == keys->trail) {
            break;
        }
    }

    if (k == NULL) {
        keys->next = e->keys;
        e->keys = keys;
    }

    (void) pthread_mutex_unlock(&e->mutex);

    if (k == NULL) {
        return keys;
    }

    llm_audit_keys_free(keys);

    return k;
}


int
llm_audit_epoch_new(llm_audit_env_t *e, uint32_t epoch, int64_t time,
    llm_audit_epoch_t *ep, llm_audit_keys_t **keys, char *err, size_t errlen)
{
    int      rc;
    char     name[32];
    uint8_t  root[LLM_AUDIT_ROOT];

    *keys = NULL;
    memset(ep, 0, sizeof(llm_audit_epoch_t));

    ep->epoch = epoch;
    ep->version = e->version;
    ep->time = time;

    llm_audit_seal_name(name, epoch);
    rc = llm_random(root, sizeof(root), err, errlen);

    if (rc == LLM_OK) {
        rc = llm_secret_seal(e->secret, e->version, name, root, sizeof(root),
                             ep->sealed, err, errlen);
    }

    if (rc == LLM_OK) {
        *keys = llm_audit_keys_make(epoch, root);

        if (*keys == NULL) {
            rc = llm_err(err, errlen, LLM_NOMEM, "%s: epoch %u: no memory",
                         e->path, epoch);

        } else {
            memcpy(ep->public_key, (*keys)->public_key, LLM_AUDIT_PUBLIC);
            llm_audit_epoch_mac(*keys, ep, ep->mac);
        }
    }

    OPENSSL_cleanse(root, sizeof(root));

    return rc;
}


int
llm_audit_epoch_none(llm_audit_t *a, char *err, size_t errlen)
{
    return llm_err(err, errlen, LLM_INVALID, "%s: epochs are missing, or "
                   "there are others (llmctl audit verify)", a->shared->path);
}


/*
 * The newest epoch whose root opens: a process from before a rotation has no
 * newer one's, and goes on with the fingerprints of its own; it signs nothing.
 */

int
llm_audit_epoch_load(llm_audit_t *a, char *err, size_t errlen)
{
    int       rc;
    uint32_t  epoch;

    a->newest = llm_audit_epoch_last(a, a->wtxn);

    if (a->newest == 0) {
        return llm_audit_epoch_none(a, err, errlen);
    }

    for (epoch = a->newest; epoch != 0; epoch--) {
        rc = llm_audit_keys(a, a->wtxn, epoch, &a->keys, err, errlen);

        if (rc == LLM_OK) {
            atomic_store(&a->shared->current, a->keys);
            return LLM_OK;
        }

        if (rc != LLM_NOTFOUND) {
            return rc;
        }
    }

    return LLM_INVALID;
}


/*
 * Who has the old public key can check the new one: it is signed, and so is
 * all that was written before it.
 */

int
llm_audit_epoch_turn(llm_audit_t *a, char *err, size_t errlen)
{
    int                 rc;
    int64_t             now;
    llm_audit_keys_t   *keys;
    llm_audit_epoch_t   ep;

    keys = NULL;
    rc = llm_audit_epoch_get(a, a->wtxn, a->newest, &ep, err, errlen);

    if (rc != LLM_OK || a->keys->epoch != a->newest
        || ep.version >= a->shared->version)
    {
        llm_audit_abort(a);
        return rc;
    }

    now = llm_audit_now(a->shared);
    rc = llm_audit_put_signed(a, now, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_new(a->shared, a->newest + 1, now, &ep, &keys,
                                 err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_begin(a, &ep, keys, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_reseal(a, ep.epoch, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_commit(a, err, errlen);

    } else {
        llm_audit_abort(a);
    }

    /* who uses it next reads it from the file */

    if (keys != NULL) {
        llm_audit_keys_free(keys);
    }

    return rc;
}


static int
llm_audit_epoch_begin(llm_audit_t *a, const llm_audit_epoch_t *ep,
    llm_audit_keys_t *keys, char *err, size_t errlen)
{
    int                 rc;
    llm_audit_record_t  r;

    memset(&r, 0, sizeof(r));

    r.type = LLM_AUDIT_EPOCH;
    r.time = r.wall = ep->time;
    r.mono = llm_audit_mono();
    r.version = ep->version;
    memcpy(r.public_key, ep->public_key, LLM_AUDIT_PUBLIC);

    if (llm_audit_sign_epoch(a->keys, ep->epoch, ep->public_key, r.signature)
        != LLM_OK)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: epoch %u: signing failed",
                       a->shared->path, ep->epoch);
    }

    a->keys = keys;
    a->newest = ep->epoch;

    rc = llm_audit_epoch_put(a, ep, err, errlen);

    return rc == LLM_OK ? llm_audit_append(a, &r, err, errlen) : rc;
}


/* roots that do not open any more stay as they are: their version is gone */

static int
llm_audit_epoch_reseal(llm_audit_t *a, uint32_t newest, char *err,
    size_t errlen)
{
    int                rc;
    char               name[32];
    uint8_t            root[LLM_AUDIT_ROOT];
    uint32_t           epoch;
    llm_audit_env_t   *e;
    llm_audit_epoch_t  ep;

    e = a->shared;
    rc = LLM_OK;

    for (epoch = 1; epoch < newest && rc == LLM_OK; epoch++) {
        rc = llm_audit_epoch_get(a, a->wtxn, epoch, &ep, err, errlen);

        if (rc != LLM_OK) {
            break;
        }

        llm_audit_seal_name(name, epoch);

        if (llm_secret_unseal(e->secret, name, ep.sealed, sizeof(ep.sealed),
                              root, NULL, 0) != LLM_OK)
        {
            continue;
        }

        rc = llm_secret_seal(e->secret, e->version, name, root, sizeof(root),
                             ep.sealed, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_audit_epoch_put(a, &ep, err, errlen);
        }
    }

    OPENSSL_cleanse(root, sizeof(root));

    return rc;
}


int
llm_audit_retire(const char *store, const llm_secret_t *secret,
    uint32_t current, uint32_t version, char *err, size_t errlen)
{
    int               none, rc;
    llm_audit_t      *a;
    llm_audit_env_t  *e;

    rc = llm_audit_env_new(&e, store, secret, current, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    none = llm_audit_none(e);
    llm_audit_env_put(e);

    if (none) {
        return LLM_OK;
    }

    rc = llm_audit_open(&a, store, secret, current, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_sealed(a, version, err, errlen);
    }

    llm_audit_close(a);

    return rc;
}


int
llm_audit_sealed(llm_audit_t *a, uint32_t version, char *err, size_t errlen)
{
    int                rc;
    MDB_txn           *txn;
    uint32_t           epoch, last;
    llm_audit_epoch_t  ep;

    rc = llm_audit_read(a, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    last = llm_audit_epoch_last(a, txn);

    if (last == 0) {
        rc = llm_audit_epoch_none(a, err, errlen);
    }

    for (epoch = 1; epoch <= last && rc == LLM_OK; epoch++) {
        rc = llm_audit_epoch_get(a, txn, epoch, &ep, err, errlen);

        if (rc == LLM_OK && llm_le_get(ep.sealed, 4) == version) {
            rc = llm_err(err, errlen, LLM_EXISTS, "%s: epoch %u is sealed "
                         "under version %u of the secret", a->shared->path,
                         epoch, version);
        }
    }

    llm_audit_read_end(a, txn);

    return rc;
}


int
llm_audit_checkpoint_sign(const llm_audit_keys_t *k, uint64_t number,
    int64_t time, const uint8_t hash[LLM_AUDIT_HASH],
    uint8_t signature[LLM_AUDIT_SIGNATURE])
{
    uint8_t  text[LLM_SIGNED_MAX];

    return llm_audit_ed25519(k->seed, text,
                             llm_audit_checkpoint_text(text, k->epoch, number,
                                                       time, hash),
                             signature);
}


int
llm_audit_checkpoint_check(const uint8_t public_key[LLM_AUDIT_PUBLIC],
    uint32_t epoch, uint64_t number, int64_t time,
    const uint8_t hash[LLM_AUDIT_HASH],
    const uint8_t signature[LLM_AUDIT_SIGNATURE])
{
    uint8_t  text[LLM_SIGNED_MAX];

    return llm_audit_ed25519_check(public_key, text,
                                   llm_audit_checkpoint_text(text, epoch,
                                                             number, time,
                                                             hash),
                                   signature);
}


static size_t
llm_audit_checkpoint_text(uint8_t *p, uint32_t epoch, uint64_t number,
    int64_t time, const uint8_t *hash)
{
    size_t  n;

    n = sizeof(LLM_SIGNED_CHECKPOINT) - 1;

    memcpy(p, LLM_SIGNED_CHECKPOINT, n);
    llm_be_put(p + n, number, 8);
    llm_be_put(p + n + 8, (uint64_t) time, 8);
    llm_be_put(p + n + 16, epoch, 4);
    memcpy(p + n + 20, hash, LLM_AUDIT_HASH);

    return n + 20 + LLM_AUDIT_HASH;
}


int
llm_audit_sign_epoch(const llm_audit_keys_t *k, uint32_t epoch,
    const uint8_t *public_key, uint8_t signature[LLM_AUDIT_SIGNATURE])
{
    uint8_t  text[LLM_SIGNED_MAX];

    return llm_audit_ed25519(k->seed, text,
                             llm_audit_epoch_text(text, epoch, public_key),
                             signature);
}


int
llm_audit_epoch_check(const uint8_t public_key[LLM_AUDIT_PUBLIC],
    const llm_audit_record_t *r)
{
    uint8_t  text[LLM_SIGNED_MAX];

    return llm_audit_ed25519_check(public_key, text,
                                   llm_audit_epoch_text(text, r->epoch,
                                                        r->public_key),
                                   r->signature);
}


static size_t
llm_audit_epoch_text(uint8_t *p, uint32_t epoch, const uint8_t *public_key)
{
    size_t  n;

    n = sizeof(LLM_SIGNED_EPOCH) - 1;

    memcpy(p, LLM_SIGNED_EPOCH, n);
    llm_be_put(p + n, epoch, 4);
    memcpy(p + n + 4, public_key, LLM_AUDIT_PUBLIC);

    return n + 4 + LLM_AUDIT_PUBLIC;
}


static int
llm_audit_public(const uint8_t *seed, uint8_t *public_key)
{
    int        ok;
    size_t     len;
    EVP_PKEY  *key;

    len = LLM_AUDIT_PUBLIC;
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);

    ok = key != NULL
         && EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1
         && len == LLM_AUDIT_PUBLIC;

    EVP_PKEY_free(key);

    return ok ? LLM_OK : LLM_ERROR;
}


static int
llm_audit_ed25519(const uint8_t *seed, const uint8_t *text, size_t len,
    uint8_t *signature)
{
    int          ok;
    size_t       n;
    EVP_PKEY    *key;
    EVP_MD_CTX  *ctx;

    n = LLM_AUDIT_SIGNATURE;
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    ctx = EVP_MD_CTX_new();

    ok = key != NULL && ctx != NULL
         && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1
         && EVP_DigestSign(ctx, signature, &n, text, len) == 1
         && n == LLM_AUDIT_SIGNATURE;

    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);

    return ok ? LLM_OK : LLM_ERROR;
}


static int
llm_audit_ed25519_check(const uint8_t *public_key, const uint8_t *text,
    size_t len, const uint8_t *signature)
{
    int          ok;
    EVP_PKEY    *key;
    EVP_MD_CTX  *ctx;

    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key,
                                      LLM_AUDIT_PUBLIC);
    ctx = EVP_MD_CTX_new();

    ok = key != NULL && ctx != NULL
         && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1
         && EVP_DigestVerify(ctx, signature, LLM_AUDIT_SIGNATURE, text, len)
            == 1;

    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);

    return ok;
}
