
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the secret share among themselves:
 *     llm_secret.c         the secret in memory: tags, signatures, seals
 *     llm_secret_file.c    versions in files, and which are refused
 *     llm_signer*.c        the process that talks to a token
 *     llm_pkcs11*.c        the token
 */


#ifndef _LLM_SECRET_INT_H_INCLUDED_
#define _LLM_SECRET_INT_H_INCLUDED_


#include <sys/types.h>

#include "llm_hmac.h"
#include "llm_secret.h"


#define LLM_SECRET_MAX       4096   /* bytes of a secret file */
#define LLM_VERSION_MAX      9999
#define LLM_SIGNER_TIMEOUT   10000  /* ms that a token may take */

#define LLM_LABEL_VERIFY     "nginx-llm verify v1"
#define LLM_LABEL_SEAL       "nginx-llm seal v1"


typedef struct {
    uint32_t    version;
    llm_hmac_t  verify;
    llm_hmac_t  sign;           /* of a file; a token keeps its own */
    uint8_t     seal[32];
} llm_secret_version_t;


/* lies in a mapping of its own: locked, in no core dump */
struct llm_secret_s {
    size_t                mapped;
    uint64_t              id;           /* random: another one's address may
                                           be this one's */
    int                   signer;       /* its socket, -1: none */
    int                   timeout;      /* ms for its answers */
    pid_t                 pid;          /* the signer's */
    pid_t                 owner;        /* who forked it, and may wait */
    size_t                n;
    llm_secret_version_t  v[LLM_SECRET_VERSIONS];       /* ascending */
};


/* the same with another limit than LLM_SIGNER_TIMEOUT */
int llm_secret_open_within(llm_secret_t **secret, const char *source,
    int timeout, char *err, size_t errlen);

/* 1: a pkcs11: URI.  0: *path is the file's */
int llm_secret_is_token(const char *source, const char **path);

/* the name of a version's file or object; LLM_INVALID: too long */
int llm_secret_name(const char *base, uint32_t version, char *name,
    size_t size, char *err, size_t errlen);

/* which version a name is, 0: it is of something else */
uint32_t llm_secret_number(const char *name, const char *base);

/* room for one more version, not yet filled; NULL: there are too many */
llm_secret_version_t *llm_secret_push(llm_secret_t *secret,
    uint32_t version);

/* all versions of a file */
int llm_secret_open_files(llm_secret_t *secret, const char *path, char *err,
    size_t errlen);

/* a file that only its owner reads, of LLM_SECRET_MAX bytes at most; buf has
 * room for one more.  what: the word for it in messages */
int llm_secret_read(const char *path, const char *what, uint8_t *buf,
    size_t *len, char *err, size_t errlen);

/* a file with fresh random bytes, whole or not at all; LLM_EXISTS */
int llm_secret_make_file(const char *path, char *err, size_t errlen);

int llm_random(void *p, size_t len, char *err, size_t errlen);


#endif /* _LLM_SECRET_INT_H_INCLUDED_ */
