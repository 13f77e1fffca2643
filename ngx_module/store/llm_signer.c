
/*
 * Copyright (C) nginx-llm contributors
 *
 * The side of the signer's callers.  open, close and create belong to one
 * thread, sign to any; all that it needs is the socket's number.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_signer.h"


/* of close(), in milliseconds: for a signer that ends now.  One that others
 * still use stays, and is whoever's that reaps unknown children */
#define LLM_SIGNER_GRACE   200

#define LLM_SIGNER_KILLED  1000     /* what was killed is waited for */


static int llm_signer_start(const char *uri, uint32_t create, int timeout,
    int *fd, pid_t *pid, llm_signer_hello_t *hello, char *err,
    size_t errlen);
static pid_t llm_signer_fork(int pair[2], const char *uri, uint32_t create);
static int llm_signer_hello(int fd, pid_t pid, int64_t deadline,
    llm_signer_hello_t *hello, char *err, size_t errlen);
static int llm_signer_died(pid_t pid, char *err, size_t errlen);
static int llm_signer_reap(pid_t pid, int ms, int *status);
static int llm_signer_send(int fd, const llm_signer_ask_t *ask, int reply,
    int64_t deadline);
static ssize_t llm_signer_recv(int fd, void *buf, size_t size,
    int64_t deadline);
static int llm_signer_poll(int fd, short events, int64_t deadline);
static int64_t llm_signer_now(void);


int
llm_signer_open(llm_secret_t *secret, const char *uri, char *err,
    size_t errlen)
{
    int                    fd, rc;
    pid_t                  pid;
    uint32_t               i;
    llm_signer_key_t      *k;
    llm_signer_hello_t     hello;
    llm_secret_version_t  *v;

    rc = llm_signer_start(uri, 0, secret->timeout, &fd, &pid, &hello, err,
                          errlen);

    if (rc == LLM_OK) {
        for (i = 0; i < hello.n; i++) {
            k = &hello.key[i];
            v = llm_secret_push(secret, k->version);

            llm_hmac_init(&v->verify, k->verify, sizeof(k->verify));
            memcpy(v->seal, k->seal, sizeof(v->seal));
        }

        secret->signer = fd;
        secret->pid = pid;
        secret->owner = getpid();
    }

    OPENSSL_cleanse(&hello, sizeof(hello));

    return rc;
}


int
llm_signer_create(const char *uri, uint32_t version, int timeout, char *err,
    size_t errlen)
{
    int                 fd, rc, status;
    pid_t               pid;
    llm_signer_hello_t  hello;

    rc = llm_signer_start(uri, version, timeout, &fd, &pid, &hello, err,
                          errlen);

    if (rc == LLM_OK) {
        (void) close(fd);
        (void) llm_signer_reap(pid, LLM_SIGNER_KILLED, &status);
    }

    return rc;
}


void
llm_signer_close(llm_secret_t *secret)
{
    int  status;

    if (secret->signer == -1) {
        return;
    }

    (void) close(secret->signer);
    secret->signer = -1;

    if (secret->owner == getpid()) {
        (void) llm_signer_reap(secret->pid, LLM_SIGNER_GRACE, &status);
    }
}


/* on LLM_OK fd and pid are the caller's */

static int
llm_signer_start(const char *uri, uint32_t create, int timeout, int *fd,
    pid_t *pid, llm_signer_hello_t *hello, char *err, size_t errlen)
{
    int      pair[2], rc, status;
    int64_t  deadline;

    memset(hello, 0, sizeof(*hello));
    deadline = llm_signer_now() + timeout;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, pair) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "pkcs11: socketpair: %s",
                       strerror(errno));
    }

    *fd = pair[0];
    *pid = llm_signer_fork(pair, uri, create);

    if (*pid == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "pkcs11: fork: %s",
                     strerror(errno));
        (void) close(pair[0]);
        (void) close(pair[1]);

        return rc;
    }

    (void) close(pair[1]);

    rc = llm_signer_hello(*fd, *pid, deadline, hello, err, errlen);

    if (rc != LLM_OK) {
        (void) close(*fd);
        (void) kill(*pid, SIGKILL);
        (void) llm_signer_reap(*pid, LLM_SIGNER_KILLED, &status);
    }

    return rc;
}


/* the caller's signal handlers are not for the child: no signal gets through
 * before it has its own */

static pid_t
llm_signer_fork(int pair[2], const char *uri, uint32_t create)
{
    pid_t     pid;
    sigset_t  all, old;

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    pid = fork();

    if (pid == 0) {
        llm_signer_main(pair[1], uri, create);
    }

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    return pid;
}


/* a library may have written over the message: its numbers are checked */

static int
llm_signer_hello(int fd, pid_t pid, int64_t deadline,
    llm_signer_hello_t *hello, char *err, size_t errlen)
{
    uint32_t  i;
    ssize_t   n;

    n = llm_signer_recv(fd, hello, sizeof(*hello), deadline);

    if (n == -1 && errno == ETIMEDOUT) {
        return llm_err(err, errlen, LLM_ERROR, "pkcs11: the token's library "
                       "does not answer");
    }

    if (n != (ssize_t) sizeof(*hello)) {
        return llm_signer_died(pid, err, errlen);
    }

    hello->err[sizeof(hello->err) - 1] = '\0';

    if (hello->rc != LLM_OK) {
        return llm_err(err, errlen, hello->rc, "%s", hello->err);
    }

    for (i = 0; i < hello->n && i < LLM_SECRET_VERSIONS; i++) {
        if (hello->key[i].version == 0
            || (i != 0 && hello->key[i].version <= hello->key[i - 1].version))
        {
            break;
        }
    }

    if (i != hello->n) {
        return llm_err(err, errlen, LLM_ERROR, "pkcs11: the signer's answer "
                       "is damaged");
    }

    return LLM_OK;
}


static int
llm_signer_died(pid_t pid, char *err, size_t errlen)
{
    int  status;

    if (llm_signer_reap(pid, LLM_SIGNER_KILLED, &status)
        && WIFSIGNALED(status))
    {
        return llm_err(err, errlen, LLM_ERROR, "pkcs11: the token's library "
                       "crashed (signal %d)", WTERMSIG(status));
    }

    return llm_err(err, errlen, LLM_ERROR, "pkcs11: the token's library ended "
                   "its process");
}


/* 1: it has ended, with that status.  0: it has not, or another one of this
 * process's handlers has its status */

static int
llm_signer_reap(pid_t pid, int ms, int *status)
{
    pid_t            got;
    int64_t          deadline;
    struct timespec  pause;

    deadline = llm_signer_now() + ms;
    pause.tv_sec = 0;
    pause.tv_nsec = 1000000;

    for ( ;; ) {
        got = waitpid(pid, status, WNOHANG);

        if (got == pid) {
            return 1;
        }

        if ((got == -1 && errno != EINTR) || llm_signer_now() >= deadline) {
            return 0;
        }

        (void) nanosleep(&pause, NULL);
    }
}


int
llm_signer_sign(const llm_secret_t *secret, uint32_t version,
    const void *data, size_t len, uint8_t mac[32], char *err, size_t errlen)
{
    int                  pair[2], rc;
    int64_t              deadline;
    ssize_t              n;
    llm_signer_ask_t     ask;
    llm_signer_answer_t  answer;

    if (len > LLM_SIGN_MAX) {
        return llm_err(err, errlen, LLM_INVALID, "secret: more than %d bytes "
                       "to sign", LLM_SIGN_MAX);
    }

    ask.version = version;
    ask.len = (uint32_t) len;
    memcpy(ask.data, data, len);

    deadline = llm_signer_now() + secret->timeout;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, pair) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "secret: socketpair: %s",
                       strerror(errno));
    }

    /* with its other end gone, the signer's death is the end of this one */

    n = llm_signer_send(secret->signer, &ask, pair[1], deadline);
    (void) close(pair[1]);

    if (n == 0) {
        n = llm_signer_recv(pair[0], &answer, sizeof(answer), deadline);
    }

    if (n == (ssize_t) sizeof(answer)) {
        answer.err[sizeof(answer.err) - 1] = '\0';
        rc = answer.rc;

        if (rc == LLM_OK) {
            memcpy(mac, answer.mac, sizeof(answer.mac));

        } else {
            (void) llm_err(err, errlen, rc, "%s", answer.err);
        }

        OPENSSL_cleanse(&answer, sizeof(answer));

    } else if (n == -1 && errno == ETIMEDOUT) {
        rc = llm_err(err, errlen, LLM_ERROR,
                     "secret: the token does not answer");

    } else if (n == -1 && errno != EPIPE && errno != ECONNRESET
               && errno != ENOTCONN)
    {
        rc = llm_err(err, errlen, LLM_ERROR, "secret: signer: %s",
                     strerror(errno));

    } else {
        rc = llm_err(err, errlen, LLM_ERROR, "secret: the token's process "
                     "has ended: reload");
    }

    (void) close(pair[0]);

    return rc;
}


/* 0, or -1 and errno: ETIMEDOUT when there is no room till the deadline */

static int
llm_signer_send(int fd, const llm_signer_ask_t *ask, int reply,
    int64_t deadline)
{
    struct iovec     iov;
    struct msghdr    msg;
    struct cmsghdr  *cmsg;

    union {
        struct cmsghdr  align;
        char            buf[CMSG_SPACE(sizeof(int))];
    } control;

    memset(&control, 0, sizeof(control));
    memset(&msg, 0, sizeof(msg));

    iov.iov_base = (void *) ask;
    iov.iov_len = offsetof(llm_signer_ask_t, data) + ask->len;

    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.buf;
    msg.msg_controllen = sizeof(control.buf);

    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &reply, sizeof(int));

    for ( ;; ) {
        if (sendmsg(fd, &msg, MSG_DONTWAIT|MSG_NOSIGNAL) >= 0) {
            return 0;
        }

        if (errno == EINTR) {
            continue;
        }

        if (errno != EAGAIN || llm_signer_poll(fd, POLLOUT, deadline) == -1) {
            return -1;
        }
    }
}


static ssize_t
llm_signer_recv(int fd, void *buf, size_t size, int64_t deadline)
{
    ssize_t  n;

    for ( ;; ) {
        n = recv(fd, buf, size, MSG_DONTWAIT);

        if (n >= 0) {
            return n;
        }

        if (errno == EINTR) {
            continue;
        }

        if (errno != EAGAIN || llm_signer_poll(fd, POLLIN, deadline) == -1) {
            return -1;
        }
    }
}


static int
llm_signer_poll(int fd, short events, int64_t deadline)
{
    int            n;
    int64_t        left;
    struct pollfd  p;

    for ( ;; ) {
        left = deadline - llm_signer_now();

        if (left <= 0) {
            errno = ETIMEDOUT;
            return -1;
        }

        p.fd = fd;
        p.events = events;

        n = poll(&p, 1, (int) left);

        if (n > 0) {
            return 0;
        }

        if (n == -1 && errno != EINTR) {
            return -1;
        }
    }
}


/* milliseconds */

static int64_t
llm_signer_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
