
/*
 * Copyright (C) nginx-llm contributors
 *
 * The signer's process: it alone loads the token's library and has the PIN.
 *
 * One thread does all.  A second one only watches for the end of the others'
 * socket, because the first may be in a library that hangs: then the process
 * ends without it.
 *
 * Signals that a terminal or a service manager sends to whole groups are
 * ignored: nginx still serves then.  Those that ask must not be able to stop
 * it for the others, so nothing here waits for one of them.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_pkcs11.h"
#include "llm_signer.h"


#define LLM_SIGNER_LINGER  100          /* ms, for an end in order */


/* lies in locked memory: keys pass through all three */
typedef struct {
    llm_signer_hello_t   hello;
    llm_signer_ask_t     ask;
    llm_signer_answer_t  answer;
} llm_signer_t;


static int llm_signer_isolate(int fd);
static void llm_signer_signals(void);
static int llm_signer_descriptors(int fd);
static void llm_signer_null(int fd);
static int llm_signer_watch(int fd);
static void *llm_signer_watcher(void *data);
static int llm_signer_hup(int fd, int timeout);
static void llm_signer_keys(llm_pkcs11_t *t, llm_signer_hello_t *hello);
static void llm_signer_serve(llm_signer_t *s, llm_pkcs11_t *t, int fd);
static ssize_t llm_signer_take(llm_signer_ask_t *ask, int fd, int *reply);
static void llm_signer_answer(llm_signer_t *s, llm_pkcs11_t *t, size_t size,
    int reply);


void
llm_signer_main(int fd, const char *uri, uint32_t create)
{
    int                  sent;
    llm_pkcs11_t        *t;
    llm_signer_t        *s;
    llm_signer_hello_t  *hello;

    fd = llm_signer_isolate(fd);

    s = mmap(NULL, sizeof(*s), PROT_READ|PROT_WRITE,
             MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (fd == -1 || s == MAP_FAILED || llm_signer_watch(fd) == -1) {
        _exit(0);
    }

    (void) mlock(s, sizeof(*s));

    hello = &s->hello;
    hello->rc = llm_pkcs11_open(&t, uri, create != 0, hello->err,
                                sizeof(hello->err));

    if (hello->rc == LLM_OK && create != 0) {
        hello->rc = llm_pkcs11_create(t, create, hello->err,
                                      sizeof(hello->err));

    } else if (hello->rc == LLM_OK) {
        llm_signer_keys(t, hello);
    }

    sent = (send(fd, hello, sizeof(*hello), MSG_NOSIGNAL)
            == (ssize_t) sizeof(*hello));

    if (sent && hello->rc == LLM_OK && create == 0) {
        OPENSSL_cleanse(hello, sizeof(*hello));

        /* the terminal that nginx was started from is not ours to hold */
        llm_signer_null(STDERR_FILENO);

        llm_signer_serve(s, t, fd);
    }

    OPENSSL_cleanse(s, sizeof(*s));
    llm_pkcs11_close(t);

    _exit(0);
}


/* nothing of the process that this one was a copy of but memory, and in that
 * what the library needs: its environment.  -1, or the socket */

static int
llm_signer_isolate(int fd)
{
    struct rlimit  none;

    none.rlim_cur = 0;
    none.rlim_max = 0;

    (void) prctl(PR_SET_NAME, "nginx-llm-sign");
    (void) prctl(PR_SET_DUMPABLE, 0);
    (void) setrlimit(RLIMIT_CORE, &none);
    (void) umask(077);

    llm_signer_signals();

    return llm_signer_descriptors(fd);
}


static void
llm_signer_signals(void)
{
    int               i;
    sigset_t          none;
    struct sigaction  sa;

    static const int  ignored[] = {
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2,
        SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGIO
    };

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;

    for (i = 1; i < NSIG; i++) {
        (void) sigaction(i, &sa, NULL);
    }

    sa.sa_handler = SIG_IGN;

    for (i = 0; i < (int) (sizeof(ignored) / sizeof(ignored[0])); i++) {
        (void) sigaction(ignored[i], &sa, NULL);
    }

    (void) sigemptyset(&none);
    (void) pthread_sigmask(SIG_SETMASK, &none, NULL);
}


/*
 * 0 and 1 are taken, so that what a library prints goes to no file that it
 * has opened; 2 stays until the hello: then it is of use.
 */

static int
llm_signer_descriptors(int fd)
{
    int            i;
    struct rlimit  max;

    if (fd < 3) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd == -1) {
            return -1;
        }
    }

    if (fcntl(STDERR_FILENO, F_GETFD) == -1) {
        llm_signer_null(STDERR_FILENO);
    }

    llm_signer_null(STDIN_FILENO);
    llm_signer_null(STDOUT_FILENO);

    if ((fd > 3 && close_range(3, (unsigned) fd - 1, 0) == -1)
        || close_range((unsigned) fd + 1, ~0U, 0) == -1)
    {
        /* an old kernel */

        if (getrlimit(RLIMIT_NOFILE, &max) == -1 || max.rlim_cur > 65536) {
            max.rlim_cur = 65536;
        }

        for (i = 3; i < (int) max.rlim_cur; i++) {
            if (i != fd) {
                (void) close(i);
            }
        }
    }

    return fd;
}


static void
llm_signer_null(int fd)
{
    int  null;

    null = open("/dev/null", O_RDWR);

    if (null == -1) {
        (void) close(fd);

    } else if (null != fd) {
        (void) dup2(null, fd);
        (void) close(null);
    }
}


static int
llm_signer_watch(int fd)
{
    int        rc;
    sigset_t   all, old;
    pthread_t  tid;

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    rc = pthread_create(&tid, NULL, llm_signer_watcher,
                        (void *) (intptr_t) fd);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        return -1;
    }

    (void) pthread_detach(tid);

    return 0;
}


static void *
llm_signer_watcher(void *data)
{
    struct timespec  linger;

    while (!llm_signer_hup((int) (intptr_t) data, -1)) {
        /* void */
    }

    linger.tv_sec = 0;
    linger.tv_nsec = LLM_SIGNER_LINGER * 1000000L;
    (void) nanosleep(&linger, NULL);

    _exit(0);
}


static int
llm_signer_hup(int fd, int timeout)
{
    struct pollfd  p;

    p.fd = fd;
    p.events = 0;
    p.revents = 0;

    return poll(&p, 1, timeout) == 1;
}


/* the same keys that a file of the same bytes gives */

static void
llm_signer_keys(llm_pkcs11_t *t, llm_signer_hello_t *hello)
{
    size_t             i;
    llm_signer_key_t  *k;

    hello->rc = llm_pkcs11_keys(t, hello->err, sizeof(hello->err));

    for (i = 0; hello->rc == LLM_OK && i < t->n; i++) {
        k = &hello->key[i];
        k->version = t->key[i].version;

        hello->rc = llm_pkcs11_sign(t, k->version, LLM_LABEL_VERIFY,
                                    sizeof(LLM_LABEL_VERIFY) - 1, k->verify,
                                    hello->err, sizeof(hello->err));

        if (hello->rc == LLM_OK) {
            hello->rc = llm_pkcs11_sign(t, k->version, LLM_LABEL_SEAL,
                                        sizeof(LLM_LABEL_SEAL) - 1, k->seal,
                                        hello->err, sizeof(hello->err));
        }

        t->version[i] = k->version;
        memcpy(t->verify[i], k->verify, sizeof(k->verify));
        t->known = i + 1;
        hello->n = (uint32_t) i + 1;
    }

    t->running = (hello->rc == LLM_OK);

    if (hello->rc != LLM_OK) {
        OPENSSL_cleanse(hello->key, sizeof(hello->key));
        hello->n = 0;
    }
}


static void
llm_signer_serve(llm_signer_t *s, llm_pkcs11_t *t, int fd)
{
    int              reply;
    ssize_t          n;
    struct timespec  pause;

    for ( ;; ) {
        n = llm_signer_take(&s->ask, fd, &reply);

        if (n > 0 && reply != -1) {
            llm_signer_answer(s, t, (size_t) n, reply);
        }

        if (reply != -1) {
            (void) close(reply);
        }

        if (n <= 0) {

            /* an empty message reads like the end */

            if (llm_signer_hup(fd, 0)) {
                return;
            }

            if (n == -1 && errno != EINTR) {
                pause.tv_sec = 0;
                pause.tv_nsec = 10000000;
                (void) nanosleep(&pause, NULL);
            }
        }
    }
}


/* the message's size, or -1; the socket to answer to, or -1.  Whoever asks may
 * send anything, and descriptors by the dozen */

static ssize_t
llm_signer_take(llm_signer_ask_t *ask, int fd, int *reply)
{
    int              more;
    size_t           i, n;
    ssize_t          size;
    struct iovec     iov;
    struct msghdr    msg;
    struct cmsghdr  *cmsg;

    union {
        struct cmsghdr  align;
        char            buf[CMSG_SPACE(sizeof(int))];
    } control;

    *reply = -1;

    memset(&msg, 0, sizeof(msg));

    iov.iov_base = ask;
    iov.iov_len = sizeof(*ask);

    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.buf;
    msg.msg_controllen = sizeof(control.buf);

    size = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (size == -1) {
        return -1;
    }

    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg != NULL;
         cmsg = CMSG_NXTHDR(&msg, cmsg))
    {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }

        n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (i = 0; i < n; i++) {
            memcpy(&more, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));

            if (*reply == -1) {
                *reply = more;

            } else {
                (void) close(more);
            }
        }
    }

    return size;
}


static void
llm_signer_answer(llm_signer_t *s, llm_pkcs11_t *t, size_t size, int reply)
{
    socklen_t             len;
    int                   domain;
    llm_signer_answer_t  *a;

    a = &s->answer;
    memset(a, 0, sizeof(*a));
    len = sizeof(domain);

    if (getsockopt(reply, SOL_SOCKET, SO_DOMAIN, &domain, &len) == -1
        || domain != AF_UNIX)
    {
        return;
    }

    if (size < offsetof(llm_signer_ask_t, data) || s->ask.len > LLM_SIGN_MAX
        || size != offsetof(llm_signer_ask_t, data) + s->ask.len)
    {
        a->rc = llm_err(a->err, sizeof(a->err), LLM_INVALID,
                        "secret: signer: malformed request");

    } else if (llm_signer_hup(reply, 0)) {
        /* it waits no longer */
        return;

    } else {
        a->rc = llm_pkcs11_sign(t, s->ask.version, s->ask.data, s->ask.len,
                                a->mac, a->err, sizeof(a->err));
    }

    (void) send(reply, a, sizeof(*a), MSG_DONTWAIT|MSG_NOSIGNAL);

    OPENSSL_cleanse(a, sizeof(*a));
    OPENSSL_cleanse(&s->ask, sizeof(s->ask));
}
