
/*
 * Copyright (C) nginx-llm contributors
 *
 * The secret in files of random bytes that only their owner reads: PATH is
 * its first version, PATH.vN the others.  Called at start and by llmctl; no
 * state; any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_secret_int.h"


#define LLM_SECRET_DISTINCT  8      /* 32 random hex digits: < 8 once in 1e9 */


static int llm_secret_scan(const char *path, uint32_t *version, size_t *n,
    char *err, size_t errlen);
static int llm_secret_open_file(llm_secret_t *secret, const char *path,
    uint32_t version, char *err, size_t errlen);
static int llm_secret_stat(int fd, const char *path, const char *what,
    char *err, size_t errlen);
static size_t llm_secret_trim(const uint8_t *p, size_t len);
static const char *llm_secret_weak(const uint8_t *p, size_t len);
static int llm_secret_period(const uint8_t *p, size_t len);
static int llm_secret_word(const uint8_t *p, size_t len);
static int llm_secret_write(const char *path, const char *tmp, char *err,
    size_t errlen);
static char *llm_secret_dir(const char *path);
static int llm_secret_sync(const char *path);


/*
 * A version that was retired is gone, the first one too: what is there counts.
 * Without any, the message is that of the first.
 */

int
llm_secret_open_files(llm_secret_t *secret, const char *path, char *err,
    size_t errlen)
{
    int       rc;
    char      name[4096];
    size_t    i, n;
    uint32_t  version[LLM_SECRET_VERSIONS];

    rc = llm_secret_scan(path, version, &n, err, errlen);

    for (i = 0; rc == LLM_OK && i < n; i++) {
        rc = llm_secret_name(path, version[i], name, sizeof(name), err,
                             errlen);

        if (rc == LLM_OK) {
            rc = llm_secret_open_file(secret, name, version[i], err, errlen);
        }
    }

    return rc;
}


/* which versions have a file, ascending; {1} when none has */

static int
llm_secret_scan(const char *path, uint32_t *version, size_t *n, char *err,
    size_t errlen)
{
    DIR            *dir;
    char           *name;
    size_t          i;
    uint32_t        v;
    const char     *base;
    struct dirent  *de;

    *n = 0;

    base = strrchr(path, '/');
    base = (base == NULL) ? path : base + 1;

    name = llm_secret_dir(path);
    dir = (name == NULL) ? NULL : opendir(name);
    free(name);

    while (dir != NULL && (de = readdir(dir)) != NULL) {
        v = llm_secret_number(de->d_name, base);

        if (v == 0) {
            continue;
        }

        if (*n == LLM_SECRET_VERSIONS) {
            (void) closedir(dir);
            return llm_err(err, errlen, LLM_INVALID, "%s: secret: more than "
                           "%d versions: retire the oldest", path,
                           LLM_SECRET_VERSIONS);
        }

        for (i = (*n)++; i > 0 && version[i - 1] > v; i--) {
            version[i] = version[i - 1];
        }

        version[i] = v;
    }

    if (dir != NULL) {
        (void) closedir(dir);
    }

    /* an unreadable directory, or no file: the open says what is wrong */

    if (*n == 0) {
        version[(*n)++] = 1;
    }

    return LLM_OK;
}


uint32_t
llm_secret_number(const char *name, const char *base)
{
    char           *end;
    size_t          len;
    unsigned long   v;

    len = strlen(base);

    if (len == 0 || strncmp(name, base, len) != 0) {
        return 0;
    }

    name += len;

    if (*name == '\0') {
        return 1;
    }

    if (strncmp(name, ".v", 2) != 0 || name[2] < '1' || name[2] > '9') {
        return 0;
    }

    v = strtoul(name + 2, &end, 10);

    return (*end == '\0' && v >= 2 && v <= LLM_VERSION_MAX) ? (uint32_t) v
                                                            : 0;
}


static int
llm_secret_open_file(llm_secret_t *secret, const char *path,
    uint32_t version, char *err, size_t errlen)
{
    int                    rc;
    size_t                 len;
    uint8_t                buf[LLM_SECRET_MAX + 1], key[32];
    const char            *why;
    llm_secret_version_t  *v;

    len = 0;

    rc = llm_secret_read(path, "secret", buf, &len, err, errlen);

    if (rc == LLM_OK) {
        len = llm_secret_trim(buf, len);

        why = llm_secret_weak(buf, len);
        if (why != NULL) {
            rc = llm_err(err, errlen, LLM_INVALID, "%s: weak secret: %s",
                         path, why);
        }
    }

    v = (rc == LLM_OK) ? llm_secret_push(secret, version) : NULL;

    /*
     * The labels have spaces and are shorter than what a key signs, so no
     * key's signature can be one of the derived keys.
     */

    if (v != NULL) {
        llm_hmac_init(&v->sign, buf, len);

        llm_hmac(&v->sign, LLM_LABEL_VERIFY, sizeof(LLM_LABEL_VERIFY) - 1,
                 key);
        llm_hmac_init(&v->verify, key, sizeof(key));

        llm_hmac(&v->sign, LLM_LABEL_SEAL, sizeof(LLM_LABEL_SEAL) - 1,
                 v->seal);
        OPENSSL_cleanse(key, sizeof(key));
    }

    OPENSSL_cleanse(buf, sizeof(buf));

    return rc;
}


int
llm_secret_read(const char *path, const char *what, uint8_t *buf,
    size_t *len, char *err, size_t errlen)
{
    int      fd, rc;
    size_t   n;
    ssize_t  got;

    /* O_NONBLOCK: a FIFO must not hang the start */

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NOCTTY|O_NONBLOCK);

    if (fd == -1) {
        rc = (errno == ENOENT || errno == ENOTDIR) ? LLM_NOTFOUND
                                                   : LLM_ERROR;
        return llm_err(err, errlen, rc, "%s: open: %s", path,
                       strerror(errno));
    }

    rc = llm_secret_stat(fd, path, what, err, errlen);
    n = 0;

    while (rc == LLM_OK) {
        got = read(fd, buf + n, LLM_SECRET_MAX + 1 - n);

        if (got == -1) {
            if (errno != EINTR) {
                rc = llm_err(err, errlen, LLM_ERROR, "%s: read: %s", path,
                             strerror(errno));
            }

            continue;
        }

        if (got == 0) {
            break;
        }

        n += (size_t) got;

        if (n > LLM_SECRET_MAX) {
            rc = llm_err(err, errlen, LLM_INVALID,
                         "%s: %s: longer than %d bytes", path, what,
                         LLM_SECRET_MAX);
        }
    }

    (void) close(fd);

    *len = n;

    return rc;
}


static int
llm_secret_stat(int fd, const char *path, const char *what, char *err,
    size_t errlen)
{
    struct stat  sb;

    if (fstat(fd, &sb) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "%s: stat: %s", path,
                       strerror(errno));
    }

    if (!S_ISREG(sb.st_mode)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: %s: not a regular file", path, what);
    }

    if (sb.st_mode & 077) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: %s: mode %04o lets others at it, "
                       "it must be 0600 or 0400", path, what,
                       (unsigned) (sb.st_mode & 07777));
    }

    if (sb.st_uid != 0 && sb.st_uid != geteuid()) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: %s: owner is user %u, "
                       "it must be root or the user that reads it", path, what,
                       (unsigned) sb.st_uid);
    }

    return LLM_OK;
}


/*
 * A file written by hand or by a tool ends with a newline, which is no part
 * of the secret.  Raw bytes that happen to end with one are left alone.
 */

static size_t
llm_secret_trim(const uint8_t *p, size_t len)
{
    size_t  i, n;

    n = len;

    while (n != 0 && (p[n - 1] == '\n' || p[n - 1] == '\r'
                      || p[n - 1] == ' ' || p[n - 1] == '\t'))
    {
        n--;
    }

    for (i = 0; i < n; i++) {
        if (p[i] < 0x20 || p[i] > 0x7e) {
            return len;
        }
    }

    return n;
}


static const char *
llm_secret_weak(const uint8_t *p, size_t len)
{
    size_t   i, distinct, steps;
    uint8_t  seen[256];

    if (len == 0) {
        return "empty";
    }

    if (len < LLM_SECRET_MIN) {
        return "shorter than 32 bytes";
    }

    memset(seen, 0, sizeof(seen));
    distinct = 0;
    steps = 0;

    for (i = 0; i < len; i++) {
        distinct += (seen[p[i]] == 0);
        seen[p[i]] = 1;

        /* "abcdefgh", "87654321" */
        if (i != 0 && (p[i] - p[i - 1] == 1 || p[i - 1] - p[i] == 1)) {
            steps++;
        }
    }

    OPENSSL_cleanse(seen, sizeof(seen));

    if (distinct == 1) {
        return "all bytes are the same";
    }

    if (distinct < LLM_SECRET_DISTINCT) {
        return "too few distinct bytes";
    }

    if (llm_secret_period(p, len)) {
        return "one text repeated";
    }

    if (steps >= len / 2) {
        return "a sequence";
    }

    if (llm_secret_word(p, len)) {
        return "a known default or a word that examples use";
    }

    return NULL;
}


/* is it one text, at most half as long, again and again? */

static int
llm_secret_period(const uint8_t *p, size_t len)
{
    size_t  n;

    for (n = 1; n <= len / 2; n++) {
        if (memcmp(p, p + n, len - n) == 0) {
            return 1;
        }
    }

    return 0;
}


/* six letters or more: none turns up by chance in a random text */

static int
llm_secret_word(const uint8_t *p, size_t len)
{
    size_t       i, j, n;

    static const char  *words[] = {
        "changeme", "change-me", "change_me", "change me", "replaceme",
        "replace-me", "replace_me", "password", "passw0rd", "secret",
        "s3cr3t", "example", "default", "nginx-llm", "llmctl", "qwerty",
        "letmein", "placeholder", "deadbeef", "your-key", "testtest",
        NULL
    };

    for (i = 0; words[i] != NULL; i++) {
        n = strlen(words[i]);

        for (j = 0; j + n <= len; j++) {
            if (strncasecmp((const char *) p + j, words[i], n) == 0) {
                return 1;
            }
        }
    }

    return 0;
}


/*
 * The file appears whole, under its name, or not at all: it is written and
 * synced under another name and then linked, which fails when the name is
 * taken.
 */

int
llm_secret_make_file(const char *path, char *err, size_t errlen)
{
    int          rc;
    char        *tmp;
    uint8_t      rnd[8];
    struct stat  sb;

    if (lstat(path, &sb) == 0) {
        return llm_err(err, errlen, LLM_EXISTS, "%s: secret: exists", path);
    }

    rc = llm_random(rnd, sizeof(rnd), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (asprintf(&tmp, "%s.%02x%02x%02x%02x%02x%02x%02x%02x", path, rnd[0],
                 rnd[1], rnd[2], rnd[3], rnd[4], rnd[5], rnd[6], rnd[7])
        == -1)
    {
        return llm_err(err, errlen, LLM_NOMEM, "%s: secret: no memory", path);
    }

    rc = llm_secret_write(path, tmp, err, errlen);

    if (rc == LLM_OK) {
        if (link(tmp, path) == -1) {
            rc = llm_err(err, errlen,
                         errno == EEXIST ? LLM_EXISTS : LLM_ERROR,
                         "%s: link: %s", path, strerror(errno));
        }

        (void) unlink(tmp);
    }

    if (rc == LLM_OK && llm_secret_sync(path) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: sync of its directory: %s",
                     path, strerror(errno));
        (void) unlink(path);
    }

    free(tmp);

    return rc;
}


/* 32 random bytes as 64 hex digits and a newline; no file stays on failure */

static int
llm_secret_write(const char *path, const char *tmp, char *err, size_t errlen)
{
    int      fd, rc;
    char     text[65];
    size_t   i, n;
    ssize_t  put;
    uint8_t  rnd[32];

    static const char  hex[] = "0123456789abcdef";

    rc = llm_random(rnd, sizeof(rnd), err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    for (i = 0; i < sizeof(rnd); i++) {
        text[2 * i] = hex[rnd[i] >> 4];
        text[2 * i + 1] = hex[rnd[i] & 15];
    }

    text[64] = '\n';

    fd = open(tmp, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        OPENSSL_cleanse(rnd, sizeof(rnd));
        OPENSSL_cleanse(text, sizeof(text));

        return llm_err(err, errlen, LLM_ERROR, "%s: create: %s", path,
                       strerror(errno));
    }

    for (n = 0; n < sizeof(text); n += (size_t) put) {
        put = write(fd, text + n, sizeof(text) - n);

        if (put == -1) {
            if (errno != EINTR) {
                break;
            }

            put = 0;
        }
    }

    OPENSSL_cleanse(rnd, sizeof(rnd));
    OPENSSL_cleanse(text, sizeof(text));

    if (n < sizeof(text) || fchmod(fd, 0600) == -1 || fsync(fd) == -1) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: write: %s", path,
                     strerror(errno));
    }

    (void) close(fd);

    if (rc != LLM_OK) {
        (void) unlink(tmp);
    }

    return rc;
}


/* the directory that holds path, from malloc */

static char *
llm_secret_dir(const char *path)
{
    char        *dir;
    const char  *slash;

    slash = strrchr(path, '/');

    if (slash == NULL) {
        return strdup(".");
    }

    dir = strndup(path, slash == path ? 1 : (size_t) (slash - path));

    return dir;
}


static int
llm_secret_sync(const char *path)
{
    int    fd, rc;
    char  *dir;

    dir = llm_secret_dir(path);
    if (dir == NULL) {
        return -1;
    }

    fd = open(dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    free(dir);

    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    (void) close(fd);

    return rc;
}


int
llm_random(void *p, size_t len, char *err, size_t errlen)
{
    size_t   n;
    ssize_t  got;

    for (n = 0; n < len; n += (size_t) got) {
        got = getrandom((char *) p + n, len - n, 0);

        if (got == -1) {
            if (errno != EINTR) {
                return llm_err(err, errlen, LLM_ERROR, "getrandom: %s",
                               strerror(errno));
            }

            got = 0;
        }
    }

    return LLM_OK;
}
