
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the store share among themselves.  The layout:
 *
 *     keys  tag, 32 bytes               -> record, see llm_keys.c
 *     ids   id, 28 characters           -> tag
 *     meta  "schema"                    -> 32-bit number
 *           "created"                   -> 64-bit unix seconds
 *           "check"                     -> HMAC of a label, 32 bytes
 *
 * Numbers are little-endian.  A tag is HMAC-SHA256(verify, API key).
 */


#ifndef _LLM_STORE_INT_H_INCLUDED_
#define _LLM_STORE_INT_H_INCLUDED_


#include <lmdb.h>

#include "llm_secret_int.h"
#include "llm_store.h"


#define LLM_STORE_SCHEMA   1
#define LLM_STORE_SIZE     ((size_t) 1 << 30)   /* of the map, by default */
#define LLM_STORE_MINSIZE  ((size_t) 1 << 20)

/*
 * Pages that only a revocation may use: it works when the map or the disk is
 * too full for a new key.  One takes about ten, and they come back two
 * transactions later.
 */
#define LLM_STORE_RESERVE  64

#define LLM_STORE_DBS      16

#define LLM_RECORD_VERSION 1
#define LLM_RECORD_HEAD    56
#define LLM_RECORD_MAX     (LLM_RECORD_HEAD + LLM_CLIENT_MAX + 4)


struct llm_store_s {
    MDB_env       *env;
    MDB_txn       *rtxn;        /* reset between calls, keeps its slot */
    MDB_dbi        keys;
    MDB_dbi        ids;
    MDB_dbi        meta;
    size_t         psize;
    char          *path;

    uint64_t       bound;       /* id of a secret that it is bound to, 0 */
};


/* a read transaction, fresh; end it before the next one begins */
int llm_store_read(llm_store_t *st, MDB_txn **txn, char *err, size_t errlen);
void llm_store_read_end(llm_store_t *st);

/* a write transaction with room for a small change.  create: the change is
 * a new key, which leaves the reserve alone */
int llm_store_write(llm_store_t *st, MDB_txn **txn, int create, char *err,
    size_t errlen);
int llm_store_room(llm_store_t *st, int create, char *err, size_t errlen);
int llm_store_commit(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen);

/* message and return code for LMDB's or the system's code */
int llm_store_error(llm_store_t *st, int rc, const char *place, char *err,
    size_t errlen);

/* LLM_INVALID: a page is damaged.  LLM_AGAIN: begin txn again */
int llm_store_scan(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen);

/* the same of any environment without duplicates; dir/file: its name */
int llm_scan_env(MDB_env *env, MDB_txn *txn, const char *dir,
    const char *file, char *err, size_t errlen);

/* what the handle holds, not the handle; half-opened is fine */
void llm_store_free(llm_store_t *st);

/* in a transaction; write: bind a store that is not bound */
int llm_store_match(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    int write, char *err, size_t errlen);

/* HMAC-SHA256(verify, data), fast */
int llm_store_mac(llm_store_t *st, const llm_secret_t *secret,
    const void *data, size_t len, uint8_t *tag, char *err, size_t errlen);

/* llm_key_create() within a write transaction: commit is the caller's */
int llm_key_put(llm_store_t *st, MDB_txn *txn, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen);

/* the length; at most LLM_RECORD_MAX */
size_t llm_record_pack(uint8_t *p, const llm_key_t *k);

/* k: zeroed by the caller.  LLM_INVALID: why says so, and k->id is set if it
 * could be read, it may be wrong */
int llm_record_unpack(const void *data, size_t len, llm_key_t *k,
    const char **why);

extern const char  llm_base32[33];

int llm_key_id_valid(const char *id);

/* client, role, and expires: after now */
int llm_key_valid(const llm_key_t *k, int64_t now, char *err, size_t errlen);

/* CRC-32 as in IEEE 802.3 and zlib */
uint32_t llm_crc32(const void *p, size_t len);


#endif /* _LLM_STORE_INT_H_INCLUDED_ */
