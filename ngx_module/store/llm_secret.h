
/*
 * Copyright (C) nginx-llm contributors
 *
 * The secret: what makes and indexes all API keys.  It lives in a file, or in
 * a PKCS#11 token that it never leaves.  A secret has versions: rotation adds
 * one, and keys made with an older version stay good while that version is
 * there, until their own rotation.
 *
 *     file:PATH      version 1; version N is PATH.vN
 *     pkcs11:URI     RFC 7512; version 1 is the object named in the URI,
 *                    version N the object of that name with ".vN" after it
 *
 * From each version two keys are derived, by HMAC-SHA256 under the secret:
 *
 *     verify   HMAC-SHA256(verify, API key) is the tag that indexes a key
 *     seal     AES-256-GCM of what the store must keep and give back
 *
 * What a process keeps of it is in one mapping of locked memory that no core
 * dump has.  A child inherits it and calls llm_secret_lock().
 *
 * With a token, open() starts a process, the signer, which alone loads the
 * token's library and knows the PIN: libraries of tokens survive no fork, and
 * may hang or crash.  It derives verify and seal once, and makes the signatures
 * of new keys.  It ends when the last process that holds the secret has ended.
 * open(), create() and add() of a token fork: they are for a process that has
 * one thread yet.
 */


#ifndef _LLM_SECRET_H_INCLUDED_
#define _LLM_SECRET_H_INCLUDED_


#include "../../engine/llm.h"


#define LLM_SECRET_MIN       32     /* bytes of a secret file, at least */
#define LLM_SECRET_VERSIONS  8      /* open at a time */
#define LLM_SIGN_MAX         256    /* bytes that sign() takes */


typedef struct llm_secret_s  llm_secret_t;


/*
 * All versions that are there.  LLM_INVALID: a file is too short, weak, a
 * known default, readable by others, or owned by neither root nor this user;
 * or a malformed URI.  LLM_NOTFOUND: no such file, token or object.  LLM_ERROR:
 * a wrong PIN, a library that fails or does not answer within 10 seconds.  Of a
 * token: LLM_INVALID for a key that could be taken out of it.
 * Messages name the source without the PIN.
 */
int llm_secret_open(llm_secret_t **secret, const char *source, char *err,
    size_t errlen);
void llm_secret_close(llm_secret_t *secret);      /* NULL is fine */

/* after a fork: locks are not inherited.  A failure costs nothing but them */
int llm_secret_lock(llm_secret_t *secret, char *err, size_t errlen);

/* versions, ascending; n: at most LLM_SECRET_VERSIONS */
size_t llm_secret_versions(const llm_secret_t *secret,
    uint32_t version[LLM_SECRET_VERSIONS]);

/*
 * The first version: a file with fresh random bytes, mode 0600, or a key that
 * the token makes (sensitive, not extractable).  LLM_EXISTS
 */
int llm_secret_create(const char *source, char *err, size_t errlen);

/* one more version, the last one plus 1; keys are not made with it before it
 * was activated in the store.  LLM_EXISTS: there is such a file or object */
int llm_secret_add(const char *source, uint32_t version, char *err,
    size_t errlen);

/* removes a version's file; LLM_INVALID for a token: its tools do that */
int llm_secret_remove(const char *source, uint32_t version, char *err,
    size_t errlen);


/* HMAC-SHA256(secret, data), for new keys.  Blocks while a token works, 10
 * seconds at most: not on an event loop.  LLM_ERROR: the token is away */
int llm_secret_sign(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t mac[32], char *err, size_t errlen);

/* HMAC-SHA256(verify, data): about 200 ns.  LLM_NOTFOUND: no such version */
int llm_secret_tag(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t tag[32]);

/*
 * AES-256-GCM under a version's seal key, name being authenticated with it.
 * out has LLM_SEAL_MORE bytes more than data; open fails with LLM_INVALID
 * when a bit is wrong, and takes the version from the sealed text.
 */
#define LLM_SEAL_MORE  32           /* version 4, nonce 12, tag 16 */

int llm_secret_seal(const llm_secret_t *secret, uint32_t version,
    const char *name, const void *data, size_t len, uint8_t *out, char *err,
    size_t errlen);
int llm_secret_unseal(const llm_secret_t *secret, const char *name,
    const void *sealed, size_t len, uint8_t *out, char *err, size_t errlen);


#endif /* _LLM_SECRET_H_INCLUDED_ */
