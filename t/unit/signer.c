
/*
 * Copyright (C) nginx-llm contributors
 *
 * The signer's process, with a token that hangs, crashes, goes and comes back:
 * fake_token.c.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "token_test.h"


#define LIMIT  3000             /* ms; hangs have their own, shorter one */


static char        library[512], uri[1024];
static const char  value1[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
static const char  value2[] = "cccccccccccccccccccccccccccccccc";


static void
words(const char *text)
{
    put_file(at("words.new"), text, strlen(text), 0600);
    rename(at("words.new"), at("words"));
}


static int
logged(char what)
{
    int      fd, n;
    char     c;

    n = 0;
    fd = open(at("words.log"), O_RDONLY);

    while (fd != -1 && read(fd, &c, 1) == 1) {
        n += (c == what);
    }

    close(fd);

    return n;
}


static const char *
with(const char *path_part, const char *query)
{
    static char  buf[1024];

    snprintf(buf, sizeof(buf), "pkcs11:%s?module-path=%s%s", path_part,
             library, query);

    return buf;
}


/* waits for children until one ends with code, and gives it; else -1 */

static int
ended(int code)
{
    int  status;

    while (waitpid(-1, &status, 0) != -1) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == code) {
            return code;
        }
    }

    return -1;
}


static int
sign(llm_secret_t *s, uint8_t *mac)
{
    return llm_secret_sign(s, 1, "text", 4, mac, E);
}


static void
test_failures(void)
{
    int            i;
    llm_secret_t  *s;

    static const struct {
        const char  *words;
        int          rc;
        const char  *message;
        int          logins;
    } cases[] = {
        { "no-list", LLM_ERROR, "C_GetFunctionList: CKR_GENERAL_ERROR", 0 },
        { "crash-load", LLM_ERROR, "crashed (signal 11)", 0 },
        { "broken", LLM_ERROR, "C_Initialize: CKR_DEVICE_ERROR", 0 },
        { "crash-initialize", LLM_ERROR, "crashed (signal 11)", 0 },
        { "exit-initialize", LLM_ERROR, "ended", 0 },
        { "gone", LLM_NOTFOUND, "no such token", 0 },
        { "pair", LLM_INVALID, "2 tokens", 0 },
        { "full", LLM_ERROR, "CKR_SESSION_COUNT", 0 },
        { "locked", LLM_ERROR, "locked", 0 },
        { "last-try", LLM_ERROR, "one more wrong PIN", 0 },
        { "new-pin", LLM_ERROR, "the PIN is wrong: CKR_PIN_INCORRECT", 1 },
        { "crash-login", LLM_ERROR, "crashed", 0 },
        { "no-find", LLM_ERROR, "CKR_DEVICE_REMOVED", 1 },
        { "many", LLM_ERROR, "C_FindObjects: CKR_GENERAL_ERROR", 1 },
        { "renamed", LLM_NOTFOUND, "no such secret key", 1 },
        { "long", LLM_NOTFOUND, "no such secret key", 1 },
        { "twice", LLM_INVALID, "two keys of version 1", 1 },
        { "nine twice", LLM_INVALID, "two keys of version 1", 1 },
        { "readable", LLM_INVALID, "CKA_SENSITIVE", 1 },
        { "extractable", LLM_INVALID, "CKA_EXTRACTABLE", 1 },
        { "no-sign", LLM_INVALID, "CKA_SIGN", 1 },
        { "no-hmac", LLM_ERROR, "no HMAC-SHA256 (CKM_SHA256_HMAC): "
          "CKR_MECHANISM_INVALID", 1 },
        { "key-type", LLM_ERROR, "CKR_KEY_TYPE_INCONSISTENT", 1 },
        { "short", LLM_ERROR, "CKR_SIGNATURE_LEN_RANGE", 1 },
        { "crash-sign", LLM_ERROR, "crashed", 1 },
        { NULL, 0, NULL, 0 }
    };

    for (i = 0; cases[i].words != NULL; i++) {
        unlink(at("words.log"));
        words(cases[i].words);
        is_int(llm_secret_open_within(&s, uri, LIMIT, E), cases[i].rc,
               cases[i].words);
        ok(s == NULL && strstr(err, cases[i].message) != NULL
           && strstr(err, "1234") == NULL, "the message: %s", err);
        ok(logged('l') == cases[i].logins && no_child(),
           "%d logins, no process", cases[i].logins);
    }

    words("hang-initialize");
    is_int(llm_secret_open_within(&s, uri, 200, E), LLM_ERROR,
           "one that hangs");
    ok(strstr(err, "does not answer") != NULL && no_child(),
       "is killed: %s", err);

    words("");
    is_int(llm_secret_open_within(&s, with("token=fake;object=key", ""),
                                  LIMIT, E), LLM_ERROR, "no PIN");
    ok(strstr(err, "pin-source") != NULL, "the message: %s", err);

    is_int(llm_secret_open_within(&s, uri, LIMIT, NULL, 0), LLM_OK,
           "without a buffer for a message");
    llm_secret_close(s);
    ok(no_child(), "no process is left");
}


static void
test_variants(void)
{
    int            i;
    char           name[80];
    uint32_t       v[LLM_SECRET_VERSIONS];
    llm_secret_t  *s;

    static const struct {
        const char  *words;
        const char  *path;
        const char  *query;
        int          rc;
        size_t       n;
    } cases[] = {
        { "no-locks", "object=key", "&pin-value=1234", LLM_OK, 1 },
        { "logged-in open", "object=key", "&pin-value=1", LLM_OK, 1 },
        { "open", "object=key", "", LLM_OK, 1 },
        { "pair", "object=key;serial=1", "&pin-value=1234", LLM_OK, 1 },
        { "pair", "object=key;slot-id=8", "&pin-value=1234", LLM_OK, 1 },
        { "", "object=key;slot-id=8", "&pin-value=1234", LLM_NOTFOUND, 0 },
        { "", "object=key;manufacturer=nobody;model=0123456789abcdef",
          "&pin-value=1234", LLM_OK, 1 },
        { "", "object=key;manufacturer=nobod", "&pin-value=1234",
          LLM_NOTFOUND, 0 },
        { "", "object=key;model=", "&pin-value=1234", LLM_NOTFOUND, 0 },
        { "two", "object=key;token=fake", "&pin-value=1234", LLM_OK, 2 },
        { "two twice", "object=key;id=%01", "&pin-value=1234", LLM_OK, 2 },
        { "two", "id=%01", "&pin-value=1234", LLM_OK, 2 },
        { "two", "id=%44", "&pin-value=1234", LLM_NOTFOUND, 0 },
        { "", "id=%01", "&pin-value=%31%32%33%34", LLM_OK, 1 },
        { "nine", "object=key", "&pin-value=1234", LLM_INVALID, 0 },
        { NULL, NULL, NULL, 0, 0 }
    };

    for (i = 0; cases[i].words != NULL; i++) {
        words(cases[i].words);
        snprintf(name, sizeof(name), "%s %s", cases[i].words, cases[i].path);
        is_int(llm_secret_open_within(&s, with(cases[i].path, cases[i].query),
                                      LIMIT, E), cases[i].rc, name);

        if (s != NULL) {
            is_int(llm_secret_versions(s, v), cases[i].n, "its versions");
            llm_secret_close(s);
        }
    }

    /* "nine" has key.v2 to key.v9 and key: one too many */
    ok(strstr(err, "more than 8") != NULL, "the message: %s", err);
}


static void
test_running(void)
{
    int            i, n;
    char           name[64], comm[32];
    uint8_t        mac[32], big[LLM_SIGN_MAX + 1];
    uint32_t       v[LLM_SECRET_VERSIONS];
    llm_secret_t  *s;

    static const int  signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM,
                                    SIGPIPE, SIGALRM, SIGTSTP };

    unlink(at("words.log"));
    words("two");
    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");
    n = (int) llm_secret_versions(s, v);
    ok(n == 2 && v[0] == 1 && v[1] == 2, "two versions");
    is_int(logged('l'), 1, "one login");

    is_int(sign(s, mac), LLM_OK, "it signs");
    ok(is_hmac(mac, value1, 32, "text"), "the HMAC");
    is_int(llm_secret_sign(s, 2, "more", 4, mac, E), LLM_OK, "version 2");
    ok(is_hmac(mac, value2, 32, "more"), "has its own");
    is_int(llm_secret_sign(s, 3, "more", 4, mac, E), LLM_NOTFOUND,
           "there is no third");
    is_int(llm_secret_tag(s, 1, "key", 3, mac), LLM_OK, "a tag");
    ok(is_tag(mac, value1, 32, "key"), "is that of a file");

    memset(big, 'x', sizeof(big));
    is_int(llm_secret_sign(s, 1, big, LLM_SIGN_MAX, mac, E), LLM_OK,
           "the most that it signs");
    is_int(llm_secret_sign(s, 1, big, LLM_SIGN_MAX + 1, mac, E), LLM_INVALID,
           "and one more");
    is_int(llm_secret_sign(s, 1, "", 0, mac, E), LLM_OK, "and nothing");

    for (i = 0; i < (int) (sizeof(signals) / sizeof(int)); i++) {
        kill(s->pid, signals[i]);
    }

    is_int(sign(s, mac), LLM_OK, "signals do not stop it");

    snprintf(name, sizeof(name), "/proc/%d/comm", (int) s->pid);
    n = open(name, O_RDONLY);
    memset(comm, 0, sizeof(comm));
    ok(read(n, comm, sizeof(comm)) > 0 && strcmp(comm, "nginx-llm-sign\n")
       == 0, "its name: %s", strtok(comm, "\n"));
    close(n);

    test_callers(s, value1);

    n = (int) s->pid;
    llm_secret_close(s);
    ok(no_child() && kill(n, 0) == -1, "it ends in order, and leaves nothing");
}


static void
test_comes_back(void)
{
    int            n;
    uint8_t        mac[32];
    llm_secret_t  *s;

    unlink(at("words.log"));
    words("");
    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");

    words("no-answer gone");
    is_int(sign(s, mac), LLM_ERROR, "is pulled out");
    ok(strstr(err, "no such token is present") != NULL
       && strstr(err, "1234") == NULL, "the message: %s", err);
    is_int(sign(s, mac), LLM_ERROR, "it stays out");
    is_int(llm_secret_tag(s, 1, "key", 3, mac), LLM_OK, "tags go on");

    words("");
    is_int(sign(s, mac), LLM_OK, "it is back");
    ok(is_hmac(mac, value1, 32, "text"), "as it was");
    is_int(logged('l'), 2, "after one login");

    words("no-answer gone");
    is_int(sign(s, mac), LLM_ERROR, "it is out again");
    words("other");
    is_int(sign(s, mac), LLM_ERROR, "another token of the same name");
    ok(strstr(err, "another one than at start") != NULL, "the message: %s",
       err);
    words("renamed");
    is_int(sign(s, mac), LLM_ERROR, "one without the key");
    words("readable");
    is_int(sign(s, mac), LLM_ERROR, "one that would give it away");
    words("");
    is_int(sign(s, mac), LLM_OK, "the right one");

    words("no-answer gone");
    is_int(sign(s, mac), LLM_ERROR, "out a last time");
    words("new-pin");
    n = logged('l');
    is_int(sign(s, mac), LLM_ERROR, "it comes back with another PIN");
    is_int(sign(s, mac), LLM_ERROR, "it is asked again");
    ok(strstr(err, "not tried again") != NULL, "the message: %s", err);
    is_int(logged('l'), n + 1, "but the PIN is tried once");
    words("");
    llm_secret_close(s);
    ok(no_child(), "no process is left");
}


static void
test_death(void)
{
    int            p[2], i;
    char           c;
    pid_t          pid;
    double         start;
    uint8_t        mac[32];
    llm_secret_t  *s;

    words("");
    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");
    kill(s->pid, SIGKILL);
    is_int(sign(s, mac), LLM_ERROR, "kill -9 of the signer");
    ok(strstr(err, "has ended") != NULL, "the message: %s", err);
    is_int(llm_secret_tag(s, 1, "key", 3, mac), LLM_OK, "tags go on");
    llm_secret_close(s);
    ok(no_child(), "no process is left");

    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");
    words("crash-sign");
    is_int(sign(s, mac), LLM_ERROR, "crashes while it signs");
    ok(strstr(err, "has ended") != NULL, "the message: %s", err);
    llm_secret_close(s);

    words("");
    is_int(llm_secret_open_within(&s, uri, 200, E), LLM_OK, "a token");
    pid = s->pid;
    words("hang-sign");
    is_int(sign(s, mac), LLM_ERROR, "hangs while it signs");
    ok(strstr(err, "does not answer") != NULL, "the message: %s", err);
    is_int(sign(s, mac), LLM_ERROR, "and still does");
    start = seconds();
    llm_secret_close(s);
    ok(gone(pid) && seconds() - start < 1, "it ends all the same");

    words("");
    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");
    pid = s->pid;
    words("hang-finalize");
    llm_secret_close(s);
    ok(gone(pid), "one that hangs at its end");

    /* a process that is killed while others still hold the secret */

    words("");
    ok(pipe(p) == 0, "a pipe");
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        close(p[0]);
        i = llm_secret_open_within(&s, uri, LIMIT, E);
        (void) !write(p[1], &s->pid, sizeof(pid_t));

        if (i == LLM_OK && fork() == 0) {
            (void) prctl(PR_SET_PDEATHSIG, 0);
            usleep(200000);
            _exit(sign(s, mac) == LLM_OK ? 42 : 1);
        }

        raise(SIGKILL);
    }

    close(p[1]);
    waitpid(pid, &i, 0);
    ok(read(p[0], &pid, sizeof(pid)) == sizeof(pid)
       && read(p[0], &c, 1) == 0 && kill(pid, 0) == 0,
       "its owner is killed: the signer holds none of its descriptors");
    close(p[0]);

    i = ended(42);

    is_int(i, 42, "the other holder signs, and ends");
    ok(gone(pid), "the signer with it");

    /* while open() waits */

    words("hang-initialize");
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(llm_secret_open_within(&s, uri, 60000, E));
    }

    usleep(100000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    start = seconds();
    waitpid(-1, NULL, 0);
    ok(seconds() - start < 2 && no_child(), "killed in open()");
}


/* what a caller could send that means no good */

static void
test_hostile(void)
{
    int                 i, fd, pair[2];
    char                junk[2000];
    double              start;
    uint8_t             mac[32];
    llm_secret_t       *s;
    struct iovec        iov;
    struct msghdr       msg;
    struct cmsghdr     *cmsg;

    union {
        struct cmsghdr  align;
        char            buf[CMSG_SPACE(20 * sizeof(int))];
    } control;

    words("");
    is_int(llm_secret_open_within(&s, uri, LIMIT, E), LLM_OK, "a token");

    memset(junk, 0xff, sizeof(junk));
    fd = open("/dev/null", O_RDWR);

    for (i = 0; i < 8; i++) {
        memset(&msg, 0, sizeof(msg));
        memset(&control, 0, sizeof(control));
        iov.iov_base = junk;
        iov.iov_len = (size_t []) { 0, 1, 7, 8, 9, 264, 265, 2000 }[i];
        msg.msg_iov = &iov;
        msg.msg_iovlen = 1;
        is_int(sendmsg(s->signer, &msg, MSG_NOSIGNAL), (int) iov.iov_len,
               "junk");

        msg.msg_control = control.buf;
        msg.msg_controllen = (i == 0) ? CMSG_SPACE(20 * sizeof(int))
                                      : CMSG_SPACE(sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = (i == 0) ? CMSG_LEN(20 * sizeof(int))
                                  : CMSG_LEN(sizeof(int));

        for (int j = 0; j < (i == 0 ? 20 : 1); j++) {
            memcpy(CMSG_DATA(cmsg) + j * sizeof(int), &fd, sizeof(int));
        }

        (void) sendmsg(s->signer, &msg, MSG_NOSIGNAL);

        ok(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "a socket");
        memcpy(CMSG_DATA(cmsg), &pair[1], sizeof(int));
        (void) sendmsg(s->signer, &msg, MSG_NOSIGNAL);
        close(pair[0]);
        close(pair[1]);
    }

    close(fd);
    is_int(sign(s, mac), LLM_OK, "it still signs");

    /* those that have left cost no signature */

    words("slow");
    memset(junk, 0, sizeof(junk));
    junk[0] = 1;
    iov.iov_len = 8;

    for (i = 0; i < 50; i++) {
        (void) !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
        memcpy(CMSG_DATA(cmsg), &pair[1], sizeof(int));
        (void) sendmsg(s->signer, &msg, MSG_NOSIGNAL);
        close(pair[0]);
        close(pair[1]);
    }

    start = seconds();
    is_int(sign(s, mac), LLM_OK, "50 leave, and one stays");
    ok(seconds() - start < 1, "and is served at once");

    /* one that never reads */

    (void) !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
    i = 1;
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &i, sizeof(i));

    while (send(pair[1], junk, 500, MSG_DONTWAIT) > 0) {
        /* void */
    }

    memcpy(CMSG_DATA(cmsg), &pair[1], sizeof(int));
    (void) sendmsg(s->signer, &msg, MSG_NOSIGNAL);
    is_int(sign(s, mac), LLM_OK, "one that never reads stops nobody");
    close(pair[0]);
    close(pair[1]);

    llm_secret_close(s);
    ok(no_child(), "no process is left");
}


static void
test_create(void)
{
    unlink(at("words.log"));
    words("");
    is_int(llm_secret_create(uri, E), LLM_EXISTS, "the key is there");
    ok(strstr(err, "1234") == NULL, "the message: %s", err);
    is_int(llm_secret_add(uri, 2, E), LLM_OK, "a second one");
    ok(logged('g') == 1 && logged('d') == 0, "is made");
    words("two");
    is_int(llm_secret_add(uri, 2, E), LLM_EXISTS, "is there");
    words("extractable");
    is_int(llm_secret_add(uri, 3, E), LLM_INVALID, "made extractable");
    ok(logged('g') == 2 && logged('d') == 1, "is destroyed");
    words("no-generate");
    is_int(llm_secret_add(uri, 3, E), LLM_ERROR, "no way to make one");
    ok(strstr(err, "CKM_GENERIC_SECRET_KEY_GEN") != NULL, "the message: %s",
       err);
    words("");
    is_int(llm_secret_create(with("id=%01", "&pin-value=1234"), E),
           LLM_INVALID, "no name for it");
    is_int(llm_secret_remove(uri, 1, E), LLM_INVALID, "none is removed");
    ok(no_child(), "no process is left");
}


int
main(void)
{
    char    *slash;
    ssize_t  n;

    if (test_begin() == -1) {
        return 1;
    }

    n = readlink("/proc/self/exe", library, sizeof(library) - 40);
    library[n > 0 ? n : 0] = '\0';
    slash = strrchr(library, '/');
    strcpy(slash != NULL ? slash : library, "/../unit-tools/fake_token.so");

    setenv("FAKE_TOKEN", at("words"), 1);
    strcpy(uri, with("token=fake;object=key", "&pin-value=1234"));
    adopt();

    test_failures();
    test_variants();
    test_running();
    test_comes_back();
    test_death();
    test_hostile();
    test_create();

    remove_tree(dir);

    return done();
}
