
/*
 * Copyright (C) nginx-llm contributors
 *
 * What only the writing half of the audit trail uses; see llm_audit_int.h.
 */


#ifndef _LLM_AUDIT_OWN_H_INCLUDED_
#define _LLM_AUDIT_OWN_H_INCLUDED_


#include "llm_audit_int.h"


#define LLM_AUDIT_MAP      ((size_t) 1 << 40)   /* of address space */
#define LLM_AUDIT_MAPMIN   ((size_t) 1 << 28)

/* pages that a put may take, without content; a transaction's own */
#define LLM_AUDIT_COST     4
#define LLM_AUDIT_BASE     64

/* pages of the disk that only a prune may use, which makes room when there is
 * none, and half of them a checkpoint */
#define LLM_AUDIT_RESERVE  512


/* ---- llm_audit.c ---- */

int llm_audit_env_new(llm_audit_env_t **e, const char *store,
    const llm_secret_t *secret, uint32_t version, char *err, size_t errlen);
void llm_audit_env_put(llm_audit_env_t *e);     /* a reference */

int llm_audit_env_error(llm_audit_env_t *e, int rc, const char *place,
    char *err, size_t errlen);

/* the handle's read transaction, the lock being held.  LMDB's code */
int llm_audit_renew_read(llm_audit_t *a);


/* ---- llm_audit_env.c ---- */

/* the files are opened, or made; and closed, when no transaction is open */
int llm_audit_attach(llm_audit_env_t *e, int create, char *err,
    size_t errlen);
void llm_audit_detach(llm_audit_env_t *e);

/* LMDB's environment at path; the map is as large as the address space lets
 * it.  LMDB's or the system's code */
int llm_audit_env_map(llm_audit_env_t *e, const char *path, unsigned flags);

/* between two tries to read what a writer is at; no transaction is open */
void llm_audit_await(llm_audit_env_t *e);

/* the databases, in a transaction.  LMDB's code */
int llm_audit_env_dbs(llm_audit_env_t *e, MDB_txn *txn, unsigned flags);

/* before a transaction: the files are those at their paths, or are opened
 * anew.  The lock is held for reading then */
int llm_audit_enter(llm_audit_t *a, char *err, size_t errlen);
void llm_audit_leave(llm_audit_t *a);


/* ---- llm_audit_files.c ---- */

/* the directory, locked until the descriptor is closed: op of flock() */
int llm_audit_dir(const llm_audit_env_t *e, int op, int *fd, char *err,
    size_t errlen);

/* what is there may be opened.  *none: neither file, or a creation that was
 * cut; LLM_AWAY: one of the two is missing */
int llm_audit_files(llm_audit_env_t *e, int dir, int *none, char *err,
    size_t errlen);

/* 1: neither audit.mdb nor audit.head is there */
int llm_audit_none(const llm_audit_env_t *e);

/* what root made goes to the directory's owner */
int llm_audit_chown(llm_audit_env_t *e, int dir, char *err, size_t errlen);

/* which files are at the paths.  same: 1: still those; there: audit.mdb is */
int llm_audit_inodes(llm_audit_env_t *e, char *err, size_t errlen);
int llm_audit_same(const llm_audit_env_t *e);
int llm_audit_there(const llm_audit_env_t *e);


/* ---- llm_audit_create.c ---- */

/* a new trail, dir being locked alone; lost: what audit.head knew before, or
 * NULL */
int llm_audit_create(llm_audit_env_t *e, int dir, const llm_audit_mark_t *lost,
    int proven, char *err, size_t errlen);


/* ---- llm_audit_head.c ---- */

int llm_audit_head_load(llm_audit_env_t *e, int fd, llm_audit_mark_t *m,
    int *proven, char *err, size_t errlen);

/* the system's code.  fresh: whatever is there; else only what is newer */
int llm_audit_head_write(llm_audit_env_t *e, int fd,
    const llm_audit_mark_t *m, const uint8_t *sealed, int fresh);


/* ---- llm_audit_epoch.c ---- */

int llm_audit_epoch_put(llm_audit_t *a, const llm_audit_epoch_t *ep,
    char *err, size_t errlen);

/* keys of a root that is sealed; the caller's */
int llm_audit_keys_unseal(llm_audit_env_t *e, uint32_t epoch,
    const uint8_t *sealed, llm_audit_keys_t **keys, char *err,
    size_t errlen);
llm_audit_keys_t *llm_audit_keys_loaded(llm_audit_env_t *e, uint32_t epoch);
void llm_audit_keys_free(llm_audit_keys_t *k);

/* a fresh epoch and its keys, the caller's.  No transaction */
int llm_audit_epoch_new(llm_audit_env_t *e, uint32_t epoch, int64_t time,
    llm_audit_epoch_t *ep, llm_audit_keys_t **keys, char *err,
    size_t errlen);

/* in a write transaction: a->keys and a->newest */
int llm_audit_epoch_load(llm_audit_t *a, char *err, size_t errlen);

/* in a fresh write transaction, which it ends: a new epoch where the active
 * version of the secret is a newer one, and all older roots sealed anew */
int llm_audit_epoch_turn(llm_audit_t *a, char *err, size_t errlen);

int llm_audit_sign_epoch(const llm_audit_keys_t *k, uint32_t epoch,
    const uint8_t *public_key, uint8_t signature[LLM_AUDIT_SIGNATURE]);


/* ---- llm_audit_write.c ---- */

/* a record at the end of the chain: sets epoch, time, previous */
int llm_audit_append(llm_audit_t *a, llm_audit_record_t *r, char *err,
    size_t errlen);

/* a checkpoint, when there is something to sign and the keys are the newest
 * epoch's */
int llm_audit_put_signed(llm_audit_t *a, int64_t time, char *err,
    size_t errlen);


/* when a write transaction has begun; and room for so many pages.  LLM_FULL */
int llm_audit_measure(llm_audit_t *a, char *err, size_t errlen);
int llm_audit_room(llm_audit_t *a, uint64_t pages, char *err, size_t errlen);


#endif /* _LLM_AUDIT_OWN_H_INCLUDED_ */
