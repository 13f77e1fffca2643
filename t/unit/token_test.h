
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of tokens share: processes that must be gone, HMACs to
 * compare with, many callers at once.
 */


#ifndef _TOKEN_TEST_H_INCLUDED_
#define _TOKEN_TEST_H_INCLUDED_


#include "store_test.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include <openssl/hmac.h>

#include "../../ngx_module/store/llm_pkcs11.h"


#define CALLERS  4
#define CALLS    10


typedef struct {
    llm_secret_t  *secret;
    const char    *value;       /* the key's 32 bytes */
    int            process;
    int            thread;
    int            bad;
} caller_t;


static inline double
seconds(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


/* orphans become this process's children, so that their end is seen */

static inline void
adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}


/* has pid ended, or does within 3 seconds? */

static inline int
gone(pid_t pid)
{
    double  end;

    for (end = seconds() + 3; seconds() < end; usleep(2000)) {
        if (waitpid(pid, NULL, WNOHANG) == pid || kill(pid, 0) == -1) {
            return 1;
        }
    }

    return 0;
}


static inline int
no_child(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}


/* is the mac HMAC-SHA256(value, text)? */

static inline int
is_hmac(const uint8_t *mac, const void *value, size_t size, const char *text)
{
    uint8_t       want[32];
    unsigned int  n;

    HMAC(EVP_sha256(), value, (int) size, (const uint8_t *) text,
         strlen(text), want, &n);

    return memcmp(mac, want, 32) == 0;
}


/* the same, for the tag made with what is derived from value */

static inline int
is_tag(const uint8_t *tag, const void *value, size_t size, const char *text)
{
    uint8_t       verify[32];
    unsigned int  n;

    HMAC(EVP_sha256(), value, (int) size,
         (const uint8_t *) "nginx-llm verify v1", 19, verify, &n);

    return is_hmac(tag, verify, 32, text);
}


static inline void *
call(void *data)
{
    int        i;
    char       text[64], message[LLM_ERRLEN];
    uint8_t    mac[32];
    caller_t  *c = data;

    for (i = 0; i < CALLS; i++) {
        snprintf(text, sizeof(text), "process %d thread %d call %d",
                 c->process, c->thread, i);

        c->bad += llm_secret_sign(c->secret, 1, text, strlen(text), mac,
                                  message, sizeof(message)) != LLM_OK
                  || !is_hmac(mac, c->value, 32, text);
    }

    return NULL;
}


/* the threads of one process */

static inline int
callers(void *data)
{
    int        i, bad;
    caller_t   c[CALLERS];
    pthread_t  tid[CALLERS];

    bad = 0;

    for (i = 0; i < CALLERS; i++) {
        c[i] = *(caller_t *) data;
        c[i].thread = i;
        bad += pthread_create(&tid[i], NULL, call, &c[i]) != 0;
    }

    for (i = 0; i < CALLERS; i++) {
        pthread_join(tid[i], NULL);
        bad += c[i].bad;
    }

    return bad;
}


static inline void
test_callers(llm_secret_t *s, const char *value)
{
    int       i, status, bad;
    pid_t     pid[CALLERS];
    caller_t  c;

    memset(&c, 0, sizeof(c));
    c.secret = s;
    c.value = value;
    fflush(stdout);

    for (i = 0; i < CALLERS; i++) {
        c.process = i;
        pid[i] = fork();

        if (pid[i] == 0) {
            _exit(callers(&c));
        }
    }

    bad = 0;

    for (i = 0; i < CALLERS; i++) {
        bad += waitpid(pid[i], &status, 0) != pid[i] || status != 0;
    }

    is_int(bad, 0, "4 threads in each of 4 processes: each gets its own");
}


#endif /* _TOKEN_TEST_H_INCLUDED_ */
