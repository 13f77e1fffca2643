
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the audit trail share among themselves.  The layout:
 *
 *     records  number                       -> record, see below
 *     closes   number of an opening record  -> number of its closing record
 *     keys     15-byte key id, number       -> nothing
 *     hours    unix hour                    -> the first number of that hour
 *     content  number, 'i' or 'o', choice   -> llm_audit_content.c; number:
 *                                             of the opening record for 'i',
 *                                             of the closing one for 'o'
 *     epochs   number                       -> LLM_AUDIT_EPOCH_SIZE bytes
 *     meta     "schema"                     -> 32-bit number
 *              "head", "base"               -> mark
 *
 * Numbers are 64-bit, of choices and epochs 32-bit; in keys, and as values of
 * closes and hours, they are big-endian, in records and marks little-endian.
 * No database has LMDB's flags for integers or duplicates: llm_scan_env()
 * checks all of them.
 *
 * A record:
 *
 *      0   1   LLM_AUDIT_RECORD
 *      1   1   type, llm_audit_type_e
 *      2   2   flags, LLM_AUDIT_HAS_...
 *      4   4   epoch: of the keys that made its fingerprints, or signed
 *      8   8   time
 *     16   8   wall
 *     24   8   mono
 *     32  32   hash of the record before; zeroes in number 1
 *     64       body, see llm_audit_record.c
 *
 * Its hash is SHA-256 of the number, big-endian, and the record.
 *
 * audit.head: a magic, the head's mark, and the root of the mark's epoch as
 * it lies sealed in epochs, so that the mark can be checked when audit.mdb is
 * gone.  It is written after the commit, so it may be behind, never ahead.
 *
 *     llm_audit.c          handles, reads, errors
 *     llm_audit_env.c      the environment
 *     llm_audit_files.c    its files
 *     llm_audit_create.c   a new trail
 *     llm_audit_head.c     marks, audit.head
 *     llm_audit_epoch.c    epochs and their keys
 *     llm_audit_record.c   records in binary
 *     llm_audit_write.c    puts, checkpoints
 *     llm_audit_input.c    fingerprints
 *     llm_audit_content.c  sealed texts
 *     llm_audit_prune.c    retention
 */


#ifndef _LLM_AUDIT_INT_H_INCLUDED_
#define _LLM_AUDIT_INT_H_INCLUDED_


#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <lmdb.h>

#include "../store/llm_calls_int.h"
#include "../store/llm_hmac.h"
#include "llm_audit.h"


#define LLM_AUDIT_LOCK       "audit.mdb-lock"
#define LLM_AUDIT_SCHEMA     1
#define LLM_AUDIT_DBS        7

#define LLM_AUDIT_RECORD     1          /* the format's version */
#define LLM_AUDIT_FIXED      64         /* bytes before a record's body */
#define LLM_AUDIT_ID         LLM_CALLS_ID
#define LLM_AUDIT_PRINTS     (LLM_AUDIT_INPUTS + 1)
#define LLM_AUDIT_SIGNATURE  64
#define LLM_AUDIT_PUBLIC     32
#define LLM_AUDIT_ROOT       32

/* what is kept of texts, in bytes */
#define LLM_AUDIT_CLIENT     64
#define LLM_AUDIT_ADDR       46
#define LLM_AUDIT_METHOD     16
#define LLM_AUDIT_PATH       256
#define LLM_AUDIT_MODEL      64
#define LLM_AUDIT_AGENT      128
#define LLM_AUDIT_FINISH     23
#define LLM_AUDIT_CODE       47

#define LLM_AUDIT_MAX        (LLM_AUDIT_FIXED + 16 + LLM_AUDIT_ID + 1         \
                              + 6 + 1 + LLM_AUDIT_CLIENT + LLM_AUDIT_ADDR     \
                              + LLM_AUDIT_METHOD + LLM_AUDIT_PATH             \
                              + LLM_AUDIT_MODEL + LLM_AUDIT_AGENT             \
                              + 1 + LLM_AUDIT_PRINTS * LLM_AUDIT_HASH)

/* flags of a record */
#define LLM_AUDIT_HAS_REQUEST  0x0001   /* open, close: an id */
#define LLM_AUDIT_HAS_KEY      0x0002   /* open: a key's id and role */
#define LLM_AUDIT_HAS_ACT      0x0004   /* open: an administrative action */
#define LLM_AUDIT_HAS_CONTENT  0x0008   /* open, close: it is kept */
#define LLM_AUDIT_HAS_MORE     0x0010   /* open: texts between the first and
                                           the last ones have no print */
#define LLM_AUDIT_HAS_SEED     0x0020   /* close */
#define LLM_AUDIT_HAS_BUILD    0x0040   /* close */
#define LLM_AUDIT_HAS_LOSS     0x0080   /* start: goes on after a loss */
#define LLM_AUDIT_HAS_PROOF    0x0100   /* start: lost_* had a right MAC */


/* a record, packed or to be.  Of what is unpacked, texts and prints lie in the
 * record and are not terminated; of what is to be packed, texts are any bytes
 * and are cut */
typedef struct {
    llm_audit_type_e      type;
    unsigned              flags;        /* LLM_AUDIT_HAS_... */
    uint32_t              epoch;
    int64_t               time;
    int64_t               wall;
    int64_t               mono;
    uint8_t               previous[LLM_AUDIT_HASH];

    /* open, close */
    uint8_t               request[16];
    llm_audit_text_t      model;        /* close: empty: as in the opening */
    uint32_t              n_print;
    const uint8_t        *print;        /* [n_print][LLM_AUDIT_HASH] */

    /* open */
    uint8_t               key[LLM_AUDIT_ID];
    uint8_t               role;
    llm_audit_text_t      client, addr, method, path, agent;

    /* close */
    uint64_t              number;       /* of the opening record, 0: none */
    uint32_t              status;
    uint32_t              prompt_tokens, cached_tokens, completion_tokens;
    uint64_t              queue_us, ttft_us, inference_us, total_us;
    uint64_t              sent, seed, build;
    llm_effective_t       effective;    /* with a seed */
    llm_audit_text_t      finish, code;

    /* signed: of the record before.  epoch: of the new key, by the one of the
     * epoch before */
    uint8_t               signature[LLM_AUDIT_SIGNATURE];

    /* start, epoch */
    uint8_t               public_key[LLM_AUDIT_PUBLIC];
    uint32_t              version;      /* of the secret */

    /* start: what audit.head knew.  pruned: the first number that is kept,
     * the hash of the one before, how many were dropped by this record's
     * transaction, the time of the last of them */
    uint64_t              first;        /* start: the lost number */
    uint8_t               hash[LLM_AUDIT_HASH];
    uint64_t              count;
    int64_t               until;
} llm_audit_record_t;


/* the head: of the last record.  The base: of the last one that was dropped,
 * or zeroes; its number + 1 is the first record */
#define LLM_AUDIT_MARK_HEAD  'H'
#define LLM_AUDIT_MARK_BASE  'B'
#define LLM_AUDIT_MARK_SIZE  (80 + LLM_AUDIT_HASH)

typedef struct {
    uint8_t               kind;
    uint32_t              epoch;        /* of the MAC's key */
    uint64_t              number;
    uint8_t               hash[LLM_AUDIT_HASH];
    int64_t               time;         /* of that record */
    uint64_t              signed_to;    /* head: covered by a checkpoint */
    int64_t               signed_at;    /* its time */
    int64_t               signed_mono;
    uint8_t               mac[LLM_AUDIT_HASH];
} llm_audit_mark_t;


#define LLM_AUDIT_EPOCH_SIZE  (16 + LLM_AUDIT_PUBLIC                          \
                               + LLM_AUDIT_ROOT + LLM_SEAL_MORE               \
                               + LLM_AUDIT_HASH)

typedef struct {
    uint32_t              epoch;        /* from 1 */
    uint32_t              version;      /* of the secret, when it began */
    int64_t               time;
    uint8_t               public_key[LLM_AUDIT_PUBLIC];

    /* the root; its first four bytes are the version that it is sealed under,
     * little-endian */
    uint8_t               sealed[LLM_AUDIT_ROOT + LLM_SEAL_MORE];

    /* of what stands before the root, under its own key of marks, which begin
     * otherwise */
    uint8_t               mac[LLM_AUDIT_HASH];
} llm_audit_epoch_t;


/* an epoch's keys, in a mapping of their own: locked, in no core dump.  Good
 * until the last handle is closed */
typedef struct llm_audit_keys_s  llm_audit_keys_t;

struct llm_audit_keys_s {
    llm_audit_keys_t     *next;
    size_t                mapped;
    unsigned              trail;        /* the environment's when loaded */
    uint32_t              epoch;
    llm_hmac_t            head;         /* of marks */
    llm_hmac_t            fingerprint;
    uint8_t               content[32];
    uint8_t               seed[32];     /* Ed25519 */
    uint8_t               public_key[LLM_AUDIT_PUBLIC];
};


/* which file it is */
typedef struct {
    dev_t                 dev;
    ino_t                 ino;
} llm_audit_inode_t;


/* shared by the handles of a process, gone with the last of them */
typedef struct {
    char                 *store;
    char                 *path;         /* of audit.mdb */
    char                 *lock_path;
    char                 *head_path;
    const llm_secret_t   *secret;       /* NULL: none */
    uint32_t              version;      /* of the secret, active */
    int                   reading;      /* nothing is written */
    atomic_uint           refs;
    _Atomic int64_t       clock;        /* for tests: 0, or the time */

    /* read: by transactions.  write: to open the files anew */
    pthread_rwlock_t      lock;
    llm_audit_t          *handles;      /* under mutex */
    pthread_mutex_t       mutex;
    llm_audit_keys_t     *keys;         /* under mutex, grows only */
    llm_audit_keys_t *_Atomic  current; /* of fingerprints to come */

    /* under lock */
    atomic_uint           trail;        /* opened anew so often */
    atomic_int            broken;       /* must be opened anew */
    MDB_env              *env;          /* NULL: the files are away */
    MDB_dbi               records, closes, keyed, hours, content, epochs,
                          meta;
    size_t                psize;
    int                   head;         /* audit.head, -1: it is not there */
    llm_audit_inode_t     data_inode, lock_inode, head_inode;
} llm_audit_env_t;


struct llm_audit_s {
    llm_audit_env_t      *shared;
    llm_audit_t          *next;
    MDB_txn              *rtxn;         /* reset between calls; NULL: none */
    MDB_txn              *wtxn;         /* between begin and commit */

    /* of the write transaction */
    llm_audit_mark_t      mark;         /* the head as it will be */
    llm_audit_keys_t     *keys;         /* of the newest epoch that opens */
    uint32_t              newest;       /* the newest epoch */
    uint64_t              used;         /* pages of the map when it began */
    uint64_t              spent;        /* since, at most */
    uint64_t              file;         /* pages in the file */
    uint64_t              reserve;      /* pages that must be left */
    uint64_t              reusable;     /* that were freed */
    unsigned              counted:1;    /* the latter is known */
    unsigned              changed:1;
};


/* ---- llm_audit.c ---- */

/* as llm_audit_open(), the time being now until shared->clock says another;
 * 0: the clock's */
int llm_audit_open_at(llm_audit_t **a, const char *store,
    const llm_secret_t *secret, uint32_t version, int64_t now, char *err,
    size_t errlen);

/* message and return code for LMDB's or the system's code */
int llm_audit_error(llm_audit_t *a, int rc, const char *place, char *err,
    size_t errlen);

/* the open write transaction, or a fresh read transaction: end it */
int llm_audit_read(llm_audit_t *a, MDB_txn **txn, char *err, size_t errlen);
void llm_audit_read_end(llm_audit_t *a, MDB_txn *txn);

/* every page that is in use, before LMDB follows it: a microsecond each.  open
 * does it only where the file is small.  LLM_INVALID: one is damaged.  txn: of
 * read(); it may be renewed */
int llm_audit_scan(llm_audit_t *a, MDB_txn *txn, char *err, size_t errlen);

/* the record's bytes, good until the transaction's end or next write;
 * LLM_NOTFOUND */
int llm_audit_get(llm_audit_t *a, MDB_txn *txn, uint64_t number, MDB_val *v,
    char *err, size_t errlen);

int64_t llm_audit_now(llm_audit_env_t *e);      /* unix ms */
int64_t llm_audit_mono(void);                   /* CLOCK_BOOTTIME, ms */


/* ---- llm_audit_record.c ---- */

/* the length, LLM_AUDIT_MAX at most; 0: what can't be a record */
size_t llm_audit_pack(uint8_t *p, const llm_audit_record_t *r);

/* LLM_INVALID: malformed */
int llm_audit_unpack(const void *data, size_t len, llm_audit_record_t *r);

void llm_audit_hash(uint64_t number, const void *data, size_t len,
    uint8_t hash[LLM_AUDIT_HASH]);

/* ids of keys and requests, terminated; and back, 0: not one */
void llm_audit_key_text(const uint8_t id[LLM_AUDIT_ID], char text[29]);
void llm_audit_request_text(const uint8_t id[16], char text[33]);
int llm_audit_request_id(const char *text, uint8_t id[16]);


/* ---- llm_audit_head.c ---- */

void llm_audit_mark_pack(uint8_t p[LLM_AUDIT_MARK_SIZE],
    const llm_audit_mark_t *m);
int llm_audit_mark_unpack(const void *data, size_t len, uint8_t kind,
    llm_audit_mark_t *m);

/* sets m->mac and m->epoch; 1: the MAC is right */
void llm_audit_mark_sign(const llm_audit_keys_t *k, llm_audit_mark_t *m);
int llm_audit_mark_check(const llm_audit_keys_t *k,
    const llm_audit_mark_t *m);

/* of meta; the MAC is not looked at.  LLM_INVALID: missing or malformed */
int llm_audit_mark_get(llm_audit_t *a, MDB_txn *txn, uint8_t kind,
    llm_audit_mark_t *m, char *err, size_t errlen);
int llm_audit_mark_put(llm_audit_t *a, uint8_t kind, llm_audit_mark_t *m,
    char *err, size_t errlen);

/* audit.head as it is at its path.  *proven: 1: its MAC is right, by the root
 * that lies in it; -1: it is wrong; 0: it can't be told, there is no secret or
 * not its version.  LLM_NOTFOUND; LLM_INVALID: malformed */
int llm_audit_head_read(llm_audit_env_t *e, llm_audit_mark_t *m, int *proven,
    char *err, size_t errlen);


/* ---- llm_audit_epoch.c ---- */

/* LLM_NOTFOUND; LLM_INVALID */
int llm_audit_epoch_get(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_epoch_t *ep, char *err, size_t errlen);

/* 0: there is none, or numbers are missing; and what to say then */
uint32_t llm_audit_epoch_last(llm_audit_t *a, MDB_txn *txn);
int llm_audit_epoch_none(llm_audit_t *a, char *err, size_t errlen);

/* 1: the MAC is right */
int llm_audit_epoch_mac_check(const llm_audit_keys_t *k,
    const llm_audit_epoch_t *ep);

/* LLM_NOTFOUND: no such epoch, or its version of the secret is not open, or
 * there is no secret.  LLM_INVALID: the seal is broken */
int llm_audit_keys(llm_audit_t *a, MDB_txn *txn, uint32_t epoch,
    llm_audit_keys_t **keys, char *err, size_t errlen);

/* what is signed: a checkpoint for the record number, whose hash is hash, at
 * time (of the checkpoint); an epoch's new key */
int llm_audit_checkpoint_sign(const llm_audit_keys_t *k, uint64_t number,
    int64_t time, const uint8_t hash[LLM_AUDIT_HASH],
    uint8_t signature[LLM_AUDIT_SIGNATURE]);
int llm_audit_checkpoint_check(const uint8_t public_key[LLM_AUDIT_PUBLIC],
    uint32_t epoch, uint64_t number, int64_t time,
    const uint8_t hash[LLM_AUDIT_HASH],
    const uint8_t signature[LLM_AUDIT_SIGNATURE]);      /* 1: it is right */
int llm_audit_epoch_check(const uint8_t public_key[LLM_AUDIT_PUBLIC],
    const llm_audit_record_t *r);                       /* 1: it is right */


/* ---- llm_audit_input.c ---- */

/* of a whole text; of an input: of its body, and of each text in it.  more:
 * there are others.  Returns how many */
void llm_audit_fingerprint(const llm_audit_keys_t *k, const void *data,
    size_t len, uint8_t print[LLM_AUDIT_HASH]);
uint32_t llm_audit_input_prints(const llm_audit_keys_t *k,
    const llm_audit_text_t *input,
    uint8_t print[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH], int *more);


/* ---- llm_audit_content.c ---- */

#define LLM_AUDIT_CONTENT_KEY   13      /* number, what, choice */
#define LLM_AUDIT_CONTENT_HEAD  16      /* epoch, nonce */
#define LLM_AUDIT_CONTENT_MORE  32      /* head, tag */

void llm_audit_content_key(uint8_t key[LLM_AUDIT_CONTENT_KEY],
    uint64_t number, char what, uint32_t choice);

/* out has LLM_AUDIT_CONTENT_MORE bytes more than data; open: less, and takes
 * the epoch's keys of sealed.  LLM_INVALID: it was changed */
int llm_audit_content_seal(const llm_audit_keys_t *k, uint64_t number,
    char what, uint32_t choice, const void *data, size_t len, uint8_t *out,
    char *err, size_t errlen);
int llm_audit_content_open(const llm_audit_keys_t *k, uint64_t number,
    char what, uint32_t choice, const void *sealed, size_t len, uint8_t *out,
    char *err, size_t errlen);

/* the epoch that it is sealed in, 0: malformed */
uint32_t llm_audit_content_epoch(const void *sealed, size_t len);


#endif /* _LLM_AUDIT_INT_H_INCLUDED_ */
