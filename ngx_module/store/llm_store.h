
/*
 * Copyright (C) nginx-llm contributors
 *
 * The store: one LMDB environment with the API keys (later: quotas, audit).
 * Holds no nginx type: nginx's workers and llmctl share it.
 *
 * Open after the fork, once a process.  A handle is used by one thread at a
 * time.  Reads are lock-free and take microseconds; a commit takes
 * milliseconds (fsync), so never on an event loop.
 *
 * The store is indexed by HMAC-SHA256(verification key, API key): it holds no
 * byte of a key and no unkeyed hash of one.
 */


#ifndef _LLM_STORE_H_INCLUDED_
#define _LLM_STORE_H_INCLUDED_


#include <time.h>

#include "../../engine/llm.h"
#include "llm_secret.h"


#define LLM_KEY_LEN        75   /* characters of an API key */
#define LLM_KEY_ID_LEN     28   /* "key_" + 24 base32 characters */
#define LLM_CLIENT_MAX     64
#define LLM_TAG_LEN        32


typedef enum {
    LLM_ROLE_NONE = 0,
    LLM_ROLE_USER,
    LLM_ROLE_OPERATOR,
    LLM_ROLE_ADMIN
} llm_role_e;


typedef struct {
    char        id[LLM_KEY_ID_LEN + 1];
    char        client[LLM_CLIENT_MAX + 1];
    llm_role_e  role;
    int64_t     created;        /* unix seconds */
    int64_t     expires;        /* 0: never */
    int64_t     revoked;        /* 0: not */
} llm_key_t;


typedef struct llm_store_s  llm_store_t;


/* creates the directory, mode 0700, and an empty store, whole or not at all;
 * size: 0 is 1g.  LLM_EXISTS when there is one */
int llm_store_create(const char *path, size_t size, char *err,
    size_t errlen);

/* size: of the map in bytes, it can only grow; 0: as it is.  LLM_NOTFOUND: no
 * store there */
int llm_store_open(llm_store_t **st, const char *path, size_t size,
    char *err, size_t errlen);
void llm_store_close(llm_store_t *st);            /* NULL is fine */

/*
 * LLM_INVALID: the store's keys were made with another secret; a look-up and
 * a create say so too.  A store that has no key yet and was never bound goes
 * with any secret: the first bind or create binds it.  verify reads, bind
 * commits.
 */
int llm_store_verify(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen);
int llm_store_bind(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen);

/* number of the last committed transaction: changes with every change of the
 * store by any process, before that change is acknowledged; a look-up made
 * after it sees at least that state.  Costs nanoseconds.  0: unknown */
uint64_t llm_store_txnid(llm_store_t *st);

/* drop readers of dead processes */
int llm_store_check(llm_store_t *st, char *err, size_t errlen);


/* 1 when len, prefix, alphabet and CRC-32 are right: no look-up is needed to
 * refuse another */
int llm_key_wellformed(const char *key, size_t len);

/*
 * Create a key.  key receives LLM_KEY_LEN characters and a final zero; it is
 * stored nowhere.  k: client, role, expires are read, the rest is set.
 * The client's name: 1 to 64 printable ASCII characters without space,
 * quote, backslash.
 */
int llm_key_create(llm_store_t *st, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen);

/*
 * LLM_OK: k is the key's record (it may be revoked or expired: look).
 * LLM_NOTFOUND: no such key.  Constant time in the key's bytes.
 */
int llm_key_lookup(llm_store_t *st, const llm_secret_t *secret,
    const char *key, size_t len, llm_key_t *k, char *err, size_t errlen);

/* by the shown id */
int llm_key_get(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen);

/* LLM_OK also when it was revoked before (the first time stays) */
int llm_key_revoke(llm_store_t *st, const char *id, llm_key_t *k,
    char *err, size_t errlen);

/* calls f for each key by ascending id; stops when it returns non-zero */
int llm_key_each(llm_store_t *st, int (*f)(void *data, const llm_key_t *k),
    void *data, char *err, size_t errlen);


/* "user", "operator", "admin"; NULL, LLM_ROLE_NONE for others */
const char *llm_role_name(llm_role_e role);
llm_role_e llm_role_parse(const char *name, size_t len);


#endif /* _LLM_STORE_H_INCLUDED_ */
