
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the store share among themselves.  The layout, schema 2:
 *
 *     keys     tag, 32 bytes            -> record, see llm_record.c
 *     ids      id, 28 characters        -> 1 to 4 tags, the current one first
 *     meta     "schema"                 -> 32-bit number
 *              "created"                -> 64-bit unix seconds
 *              "version"                -> 32-bit, of the secret that makes
 *                                          keys; absent: 1
 *              "check", "check.N"       -> HMAC of a label under version 1, N
 *              "max_age"                -> 64-bit seconds
 *     params   engine's name            -> JSON
 *     changes  number, 8 bytes, big-endian -> entry, see llm_changes.c
 *     totp     id                       -> see llm_totp.c
 *
 * Numbers are little-endian but for keys.  A tag is HMAC-SHA256(verify, API
 * key) under the version that made the key.  Schema 1 had the first three.
 *
 *     llm_create.c       makes a store
 *     llm_store.c        the environment, transactions, errors
 *     llm_store_room.c   room in the map and on the disk
 *     llm_store_files.c  its files
 *     llm_owner.c        root and a store that is another's
 *     llm_scan.c         checks its pages before LMDB follows them
 *     llm_verify.c       versions of the secret
 *     llm_record.c       a key's record
 *     llm_keys.c         text, create, look-up
 *     llm_key_find.c     by tag and id, all of them
 *     llm_key_change.c   update, revoke, replace
 *     llm_key_rotate.c   rotate
 *     llm_key_detail.c   a key as text, for the log
 *     llm_scope.c        address ranges, models, states
 *     llm_meta.c         maximum age, parameters
 *     llm_changes.c      the log
 *     llm_backup.c       backup, restore
 */


#ifndef _LLM_STORE_INT_H_INCLUDED_
#define _LLM_STORE_INT_H_INCLUDED_


#include <pthread.h>

#include <lmdb.h>

#include "llm_secret_int.h"
#include "llm_store.h"


#define LLM_STORE_SCHEMA   2
#define LLM_STORE_SIZE     ((size_t) 1 << 30)   /* of the map, by default */
#define LLM_STORE_MINSIZE  ((size_t) 1 << 20)

/*
 * Pages that only a revocation may use: it works when the map or the disk is
 * too full for a new key.  One takes about ten, or twenty when the key has
 * four secrets among a million keys, and they come back two transactions
 * later.
 */
#define LLM_STORE_RESERVE  128

#define LLM_STORE_DBS      16
#define LLM_STORE_TRIES    100      /* against one who writes all the time */

#define LLM_RECORD_HEAD    128
#define LLM_RECORD_MAX     (LLM_RECORD_HEAD + LLM_CLIENT_MAX                  \
                            + 17 * LLM_KEY_NETS + LLM_KEY_MODELS + 4)

#define LLM_NAME_MAX       127      /* of a model, an engine */
#define LLM_ACTION_MAX     32
#define LLM_TARGET_MAX     128
#define LLM_DETAIL_MAX     1024


/* the environment, shared by the handles of several threads */
typedef struct {
    MDB_env          *env;
    pthread_rwlock_t  lock;     /* held for reading in each transaction, for
                                   writing while the map is made anew */
    int               refs;     /* handles, atomic */
} llm_store_env_t;


/* which versions of a secret the store knows; good for one snapshot */
typedef struct {
    uint64_t          id;       /* of the secret, 0: none */
    uint64_t          txnid;    /* that it was read in */
    uint32_t          current;  /* makes keys; 0: the store is not bound */
    uint32_t          n;
    uint32_t          version[LLM_SECRET_VERSIONS];     /* open and known,
                                                           descending */
} llm_bound_t;


/*
 * Records that this handle has looked up: a key that calls again and again is
 * found by its tag alone, while the store has not changed since.
 */
#define LLM_FOUND  256          /* at a byte of the tag */

typedef struct {
    uint64_t          txnid;    /* of the store, 0: the tag alone */
    llm_key_t         key;
} llm_found_t;


struct llm_store_s {
    MDB_env          *env;
    llm_store_env_t  *shared;   /* NULL: the environment is this handle's */
    MDB_txn          *rtxn;     /* reset between calls, keeps its slot */
    uint64_t          seen;     /* the number of what it last read */
    MDB_dbi           keys;
    MDB_dbi           ids;
    MDB_dbi           meta;
    MDB_dbi           totp;
    MDB_dbi           params;
    MDB_dbi           changes;
    size_t            psize;
    char             *path;

    llm_bound_t       bound;
    llm_found_t      *found;    /* [LLM_FOUND], NULL before a look-up */
    char              actor[LLM_ACTOR_MAX + 1];
    uint64_t          minor;    /* changes: no minor one is below it */
};


/* a directory that becomes a store, whole or not at all */
typedef struct {
    int    fd;                  /* locked */
    int    made;                /* it was not there */
    uid_t  uid;                 /* its owner; root has it meanwhile */
    gid_t  gid;
} llm_dir_t;

#define LLM_STORE_NEW  "new.mdb"
#define LLM_CALLS_NEW  "new-calls.mdb"

/* makes it, or takes one that is empty but for what a killed one left.  close:
 * the new files, synced by the caller, get their names; unless rc is an error,
 * which undoes all */
int llm_dir_open(llm_dir_t *dir, const char *path, char *err, size_t errlen);
int llm_dir_close(llm_dir_t *dir, const char *path, int rc, char *err,
    size_t errlen);

/* a read transaction, fresh; end it before the next one begins */
int llm_store_read(llm_store_t *st, MDB_txn **txn, char *err, size_t errlen);
void llm_store_read_end(llm_store_t *st);

/* a write transaction with room for a small change, until commit or abort
 * (not mdb_txn_abort(): a lock is with it).  create: the change is a new key
 * or another that can wait, which leaves the reserve alone */
int llm_store_write(llm_store_t *st, MDB_txn **txn, int create, char *err,
    size_t errlen);
int llm_store_room(llm_store_t *st, int create, char *err, size_t errlen);
int llm_store_commit(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen);
void llm_store_abort(llm_store_t *st, MDB_txn *txn);

/* message and return code for LMDB's or the system's code */
int llm_store_error(llm_store_t *st, int rc, const char *place, char *err,
    size_t errlen);

/* what is at path is a store's, and is of the directory's owner */
int llm_store_files(const char *path, char *err, size_t errlen);
int llm_store_chown(const char *path, char *err, size_t errlen);

/* a file of a directory that may be its owner's to play with; LLM_NOTFOUND:
 * there is none */
int llm_file_give(int dir, const char *path, const char *name, uid_t uid,
    gid_t gid, char *err, size_t errlen);

/* the file is as long as its header says; sets st->psize */
int llm_store_sound(llm_store_t *st, char *err, size_t errlen);

/*
 * The file holds so many pages, or as many as the map; called by the one
 * writer, for calls.mdb and audit.mdb.  *file: pages that it has.  Returns the
 * system's code.  Where a file system cannot reserve, a full disk shows in the
 * commit.
 */
int llm_env_grow(MDB_env *env, size_t psize, uint64_t *file, uint64_t want);

/* pages that were freed and that wtxn may use.  rtxn: that was reset; what it
 * sees is what wtxn has begun with */
uint64_t llm_env_reusable(MDB_env *env, MDB_txn *wtxn, MDB_txn *rtxn);

/* LLM_INVALID: a page is damaged.  LLM_AGAIN: begin txn again */
int llm_store_scan(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen);

/* the same of any environment without duplicates; dir/file: its name */
int llm_scan_env(MDB_env *env, MDB_txn *txn, const char *dir,
    const char *file, char *err, size_t errlen);

/* before LMDB sees it: it divides by what it finds in the two header pages.
 * LLM_INVALID */
int llm_scan_header(int fd);

/* what the handle holds, not the handle; half-opened is fine */
void llm_store_free(llm_store_t *st);

/* the databases' handles, in a transaction.  schema: of the store; one that is
 * older has some of them only.  MDB_CREATE makes what is missing */
int llm_store_dbi(llm_store_t *st, MDB_txn *txn, unsigned flags,
    uint32_t *schema, char *err, size_t errlen);

/* numbers in meta.  LLM_NOTFOUND; LLM_INVALID: of another size */
int llm_meta_get(llm_store_t *st, MDB_txn *txn, const char *name,
    uint64_t *value, size_t size, char *err, size_t errlen);
int llm_meta_put(llm_store_t *st, MDB_txn *txn, const char *name,
    uint64_t value, size_t size, char *err, size_t errlen);

int llm_meta_max_age(llm_store_t *st, MDB_txn *txn, int64_t *age, char *err,
    size_t errlen);

/* in a transaction: st->bound is this secret's then.  bind: versions above
 * the newest known one are registered, txn is a write transaction */
int llm_store_match(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    int bind, char *err, size_t errlen);

/* LLM_INVALID: st->bound has no version that makes keys, or it is not open */
int llm_store_current(llm_store_t *st, uint32_t *version, char *err,
    size_t errlen);

/*
 * A new key, step by step.  new: checks k, sets all but version and tag.
 * prepare: the version to make it with; in a write transaction a store that
 * is not bound is then.  expiry: is k->expires right.  text: the key, and
 * k->tag; derived: from k->idem, not from random numbers.  insert: in a write
 * transaction; LLM_AGAIN: another version makes keys by now.  action: for the
 * log, or NULL.
 */
int llm_key_new(llm_key_t *k, char *err, size_t errlen);
int llm_key_prepare(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    uint32_t *version, char *err, size_t errlen);
int llm_key_expiry(llm_store_t *st, MDB_txn *txn, const llm_key_t *k,
    char *err, size_t errlen);
int llm_key_text(const llm_secret_t *secret, llm_key_t *k, int derived,
    char *key, char *err, size_t errlen);
int llm_key_insert(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, const char *action, char *err, size_t errlen);

/* all of it within a write transaction, unlogged: for tests and measurements
 * that make many */
int llm_key_put(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen);

/* an entry of "ids": whole tags.  A record under such a tag */
int llm_key_tags(llm_store_t *st, MDB_txn *txn, const char *id, MDB_val *tags,
    char *err, size_t errlen);
int llm_key_record(llm_store_t *st, MDB_txn *txn, const char *id,
    const uint8_t *tag, llm_key_t *k, char *err, size_t errlen);

/* id: that it must have, or NULL */
int llm_key_unpack(llm_store_t *st, const MDB_val *v, const char *id,
    llm_key_t *k, char *err, size_t errlen);
int llm_key_error(llm_store_t *st, const char *id, const char *why, char *err,
    size_t errlen);

/* a key's records, the current one first */
typedef struct {
    size_t     n;
    llm_key_t  k[LLM_KEY_SECRETS];
} llm_key_set_t;

/*
 * All records of id.  damaged: one that can't be read, and so admits nobody,
 * is left out as long as there is another one.  read: in a transaction of its
 * own, and LLM_INVALID when it is revoked.  store: records that are there.
 */
int llm_set_load(llm_store_t *st, MDB_txn *txn, const char *id, int damaged,
    llm_key_set_t *s, char *err, size_t errlen);
int llm_set_read(llm_store_t *st, const char *id, int damaged,
    llm_key_set_t *s, char *err, size_t errlen);
int llm_set_store(llm_store_t *st, MDB_txn *txn, const llm_key_set_t *s,
    char *err, size_t errlen);

/* the same record and tag */
int llm_key_same(const llm_key_t *a, const llm_key_t *b);

/* next->expires: as long after its issue as old's, at most the maximum age */
int llm_key_lifetime(llm_store_t *st, MDB_txn *txn, const llm_key_t *old,
    llm_key_t *next, char *err, size_t errlen);

/* commits when rc is LLM_OK, else aborts and returns it */
int llm_key_end_write(llm_store_t *st, MDB_txn *txn, int rc, char *err,
    size_t errlen);

/* times that a change is tried when another one came between */
#define LLM_KEY_TRIES  3

/* k's members in set, for the log: "role=user expires=..." */
#define LLM_SET_ALL  0x7ff

/* ISO 8601, UTC; size 32 is enough */
char *llm_time_format(int64_t t, char *buf, size_t size);

void llm_key_detail(char *buf, size_t size, const llm_key_t *k,
    unsigned set);

/* an entry of the log in a write transaction, by st's actor.  Longer texts
 * are cut, unprintable characters become '?' */
int llm_change_put(llm_store_t *st, MDB_txn *txn, const char *action,
    const char *target, const char *detail, char *err, size_t errlen);

/* the length; at most LLM_RECORD_MAX */
size_t llm_record_pack(uint8_t *p, const llm_key_t *k);

/*
 * Sets all of k but tag; of client, net and models what is used.  LLM_INVALID:
 * why says so, k->id is "" or what could be read, it may be wrong; the rest is
 * undefined.
 */
int llm_record_unpack(const void *data, size_t len, llm_key_t *k,
    const char **why);

int llm_key_id_valid(const char *id);

/* client, role, nets, models; what both a new key and a record must be */
int llm_key_valid(const llm_key_t *k, char *err, size_t errlen);

/* bits in range, none set beyond them */
int llm_net_valid(const llm_net_t *net);
int llm_models_valid(const char *models, size_t len);

/* printable ASCII without space, quote, backslash: the first character that
 * is not, or len */
size_t llm_text_span(const char *p, size_t len);

extern const char  llm_base32[33];

/* CRC-32 as in IEEE 802.3 and zlib */
uint32_t llm_crc32(const void *p, size_t len);

void llm_put_le(uint8_t *p, uint64_t value, size_t size);
uint64_t llm_get_le(const uint8_t *p, size_t size);


#endif /* _LLM_STORE_INT_H_INCLUDED_ */
