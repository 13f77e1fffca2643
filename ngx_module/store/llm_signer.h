
/*
 * Copyright (C) nginx-llm contributors
 *
 * The signer: the process that talks to a token, and what is said to it.
 *
 * A pair of sockets joins it with the process that opened the secret and with
 * all that inherit the secret from that one.  Its first message is the hello.
 * From then on it gets asks, each with a socket for the answer to that ask: so
 * callers in any number of threads and processes never get each other's.
 * When the last copy of their end is closed, by whatever death, it ends.
 *
 *     llm_signer.c           the side of the callers
 *     llm_signer_process.c   the process
 */


#ifndef _LLM_SIGNER_H_INCLUDED_
#define _LLM_SIGNER_H_INCLUDED_


#include "llm_secret_int.h"


typedef struct {
    uint32_t  version;
    uint8_t   verify[32];
    uint8_t   seal[32];
} llm_signer_key_t;


typedef struct {
    int32_t           rc;
    uint32_t          n;
    llm_signer_key_t  key[LLM_SECRET_VERSIONS];
    char              err[LLM_ERRLEN];
} llm_signer_hello_t;


/* sent without the unused rest of data */
typedef struct {
    uint32_t  version;
    uint32_t  len;
    uint8_t   data[LLM_SIGN_MAX];
} llm_signer_ask_t;


typedef struct {
    int32_t  rc;
    uint8_t  mac[32];
    char     err[LLM_ERRLEN];
} llm_signer_answer_t;


/*
 * Starts a signer and takes its keys.  It forks: for processes of one thread.
 * When it fails, no process is left.
 */
int llm_signer_open(llm_secret_t *secret, const char *uri, char *err,
    size_t errlen);
void llm_signer_close(llm_secret_t *secret);

/* makes a version's key in the token; the process has ended on return */
int llm_signer_create(const char *uri, uint32_t version, int timeout,
    char *err, size_t errlen);

/* any thread, any process that has the secret */
int llm_signer_sign(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t mac[32], char *err, size_t errlen);

/* the process, just forked, all signals blocked.  create: a version to make,
 * 0: serve */
void llm_signer_main(int fd, const char *uri, uint32_t create)
    __attribute__((noreturn));


#endif /* _LLM_SIGNER_H_INCLUDED_ */
