
/*
 * Copyright (C) nginx-llm contributors
 *
 * The secret: creation, what is derived from it, and which files are refused.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <openssl/hmac.h>

#include "store_test.h"


static void
tag(const llm_secret_t *s, uint8_t *out)
{
    is_int(llm_secret_tag(s, 1, "a key", 5, out), LLM_OK, "a tag");
}


static void
test_secret_file(void)
{
    int           fd, i;
    char          buf[80], name[64];
    uint8_t       mac[32];
    uint8_t       one[32], other[32];
    llm_secret_t *s, *two;
    struct stat   sb;
    unsigned int  n;
    const char   *file, *source;

    static const struct {
        const char  *why;
        const char  *text;
    } weak[] = {
        { "empty", "" },
        { "only a newline", "\n" },
        { "31 bytes", "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6+Gd" },
        { "31 bytes and a newline", "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6+Gd\n" },
        { "one byte", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        { "few bytes", "abcabbacbaacbbacabcabacbbcabacbbacabcbacbabc" },
        { "changeme", "changemechangemechangemechangemechangeme" },
        { "one long text twice", "kJ8x.Qm2-Lw9!Zp4,Vt7kJ8x.Qm2-Lw9!Zp4,Vt7" },
        { "a sequence", "0123456789abcdefghijklmnopqrstuvwxyz" },
        { "it backwards", "zyxwvutsrqponmlkjihgfedcba9876543210" },
        { "a password", "My-PassWord-kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6" },
        { "an example", "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1-example-value" },
        { "a word", "your-SECRET-goes-here-in-32-bytes-at-least" },
        { NULL, NULL }
    };

    source = at("sub/none");
    is_int(llm_secret_create(source, E), LLM_ERROR, "no directory");
    ok(strstr(err, "sub/none") != NULL, "the message: %s", err);

    file = at("secret");
    snprintf(buf, sizeof(buf), "file:%s", file);
    umask(0);
    is_int(llm_secret_create(buf, E), LLM_OK, "a secret is created");
    umask(022);
    ok(stat(file, &sb) == 0 && (sb.st_mode & 07777) == 0600
       && sb.st_size == 65, "64 hex digits, mode 0600");
    is_int(llm_secret_create(file, E), LLM_EXISTS, "never overwritten");
    is_int(llm_secret_create(at("other"), E), LLM_OK, "a second one");

    is_int(llm_secret_open(&s, buf, E), LLM_OK, "opened by file:");
    is_int(llm_secret_open(&two, file, E), LLM_OK, "and by its path");
    tag(s, one);
    tag(two, other);
    ok(memcmp(one, other, 32) == 0, "it is the same");
    llm_secret_close(two);
    is_int(llm_secret_open(&two, at("other"), E), LLM_OK, "the other");
    tag(two, other);
    ok(memcmp(one, other, 32) != 0
       && memcmp(s->v[0].seal, two->v[0].seal, 32) != 0, "is another");
    llm_secret_close(two);

    fd = open(file, O_RDONLY);
    ok(read(fd, buf, 65) == 65, "the file is read");
    close(fd);
    HMAC(EVP_sha256(), buf, 64, (const uint8_t *) "nginx-llm verify v1", 19,
         mac, &n);
    HMAC(EVP_sha256(), mac, 32, (const uint8_t *) "a key", 5, other, &n);
    ok(memcmp(one, other, 32) == 0, "verify is HMAC(secret, label)");
    llm_secret_close(s);

    memset(buf, 0, sizeof(buf));
    memcpy(buf, "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6+GdThe quick brown fox jumps "
                "over a lazy dog, 76 it.", 76);
    put_file(at("long"), buf, 76, 0400);
    is_int(llm_secret_open(&s, at("long"), E), LLM_OK, "76 bytes, mode 0400");
    HMAC(EVP_sha256(), buf, 76, (const uint8_t *) "nginx-llm verify v1", 19,
         mac, &n);
    HMAC(EVP_sha256(), mac, 32, (const uint8_t *) "a key", 5, other, &n);
    tag(s, one);
    ok(memcmp(one, other, 32) == 0, "longer than a block: the same HMAC");

    HMAC(EVP_sha256(), buf, 76, (const uint8_t *) "text", 4, mac, &n);
    is_int(llm_secret_sign(s, 1, "text", 4, one, E), LLM_OK, "it signs");
    ok(memcmp(mac, one, 32) == 0, "with the secret itself");
    is_int(llm_secret_sign(s, 2, "text", 4, one, E), LLM_NOTFOUND,
           "there is no other version");
    llm_secret_close(s);

    for (i = 0; weak[i].why != NULL; i++) {
        put_file(at("weak"), weak[i].text, strlen(weak[i].text), 0600);
        snprintf(name, sizeof(name), "refused: %s", weak[i].why);
        is_int(llm_secret_open(&s, at("weak"), E), LLM_INVALID, name);
        ok(strstr(err, "/weak: ") != NULL
           && (strlen(weak[i].text) < 8
               || strstr(err, weak[i].text) == NULL),
           "the message: %s", err);
        ok(s == NULL, "nothing is given");
    }

    for (i = 0; i < 32; i++) {
        buf[i] = (char) (i * 37 + 200);
    }

    buf[31] = '\n';
    put_file(at("raw"), buf, 32, 0600);
    is_int(llm_secret_open(&s, at("raw"), E), LLM_OK,
           "32 raw bytes, the last a newline: a part of it");
    llm_secret_close(s);
    llm_secret_close(NULL);
}


static void
test_secret_access(void)
{
    int            i;
    char           name[64];
    llm_secret_t  *s;
    static char    big[5000];
    const char    *file;

    static const mode_t  modes[] = { 0644, 0640, 0604, 0620, 0602, 0610, 0 };

    file = at("modes");
    put_file(file, "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6+Gd/x%0", 35, 0600);
    is_int(llm_secret_open(&s, file, E), LLM_OK, "mode 0600");
    llm_secret_close(s);

    for (i = 0; modes[i] != 0; i++) {
        chmod(file, modes[i]);
        snprintf(name, sizeof(name), "mode %04o is refused",
                 (unsigned) modes[i]);
        is_int(llm_secret_open(&s, file, E), LLM_INVALID, name);
    }

    ok(strstr(err, "0610") != NULL, "the message: %s", err);
    chmod(file, 0600);

    if (geteuid() == 0) {
        ok(chown(file, 12345, 0) == 0, "given to another user");
        is_int(llm_secret_open(&s, file, E), LLM_INVALID, "refused");
        ok(strstr(err, "12345") != NULL, "the message: %s", err);

    } else {
        skip(3, "needs root");
    }

    is_int(llm_secret_open(&s, at("none"), E), LLM_NOTFOUND, "no file");
    is_int(llm_secret_open(&s, dir, E), LLM_INVALID, "a directory");

    ok(mkfifo(at("fifo"), 0600) == 0, "a pipe");
    is_int(llm_secret_open(&s, at("fifo"), E), LLM_INVALID,
           "is refused at once");

    for (i = 0; i < (int) sizeof(big); i++) {
        big[i] = (char) (i * i * 31 + i / 7);
    }

    put_file(at("big"), big, sizeof(big), 0600);
    is_int(llm_secret_open(&s, at("big"), E), LLM_INVALID, "5,000 bytes");

    is_int(llm_secret_open(&s, "", E), LLM_INVALID, "no path");
    is_int(llm_secret_open(&s, "file:", E), LLM_INVALID, "file: alone");
    is_int(llm_secret_open(&s, "pkcs11:token=x", E), LLM_INVALID, "pkcs11:");
    is_int(llm_secret_create("pkcs11:token=x", E), LLM_INVALID,
           "no file of that name");

    is_int(llm_secret_open(&s, "pkcs11:x", NULL, 0), LLM_INVALID,
           "without a message too");

    ok(symlink(at("secret"), at("link")) == 0, "a link");
    is_int(llm_secret_open(&s, at("link"), E), LLM_OK, "is followed");
    llm_secret_close(s);
    is_int(llm_secret_create(at("link"), E), LLM_EXISTS,
           "but not written through");
}


static void
test_versions(void)
{
    size_t         n;
    uint32_t       v[LLM_SECRET_VERSIONS];
    uint8_t        one[32], two[32], sealed[64], text[64];
    llm_secret_t  *s;
    const char    *file;

    file = at("many");

    is_int(llm_secret_create(file, E), LLM_OK, "the first version");
    is_int(llm_secret_add(file, 2, E), LLM_OK, "a second");
    is_int(llm_secret_add(file, 2, E), LLM_EXISTS, "once");
    is_int(llm_secret_add(file, 10, E), LLM_OK, "and a tenth");
    is_int(llm_secret_add(file, 0, E), LLM_INVALID, "none has number 0");
    put_file(at("many.v"), "x", 1, 0644);
    put_file(at("many.v02"), "x", 1, 0644);
    put_file(at("many.v3~"), "x", 1, 0644);
    put_file(at("many.old"), "x", 1, 0644);

    is_int(llm_secret_open(&s, file, E), LLM_OK, "all are opened");
    n = llm_secret_versions(s, v);
    ok(n == 3 && v[0] == 1 && v[1] == 2 && v[2] == 10, "in order");

    llm_secret_tag(s, 1, "x", 1, one);
    llm_secret_tag(s, 10, "x", 1, two);
    ok(memcmp(one, two, 32) != 0, "each has its own tags");

    is_int(llm_secret_seal(s, 2, "name", "sealed", 6, sealed, E), LLM_OK,
           "a text is sealed");
    is_int(llm_secret_unseal(s, "name", sealed, 6 + LLM_SEAL_MORE, text, E),
           LLM_OK, "and opened");
    ok(memcmp(text, "sealed", 6) == 0, "as it was");
    is_int(llm_secret_unseal(s, "eman", sealed, 6 + LLM_SEAL_MORE, text, E),
           LLM_INVALID, "under its name only");
    sealed[20] ^= 1;
    is_int(llm_secret_unseal(s, "name", sealed, 6 + LLM_SEAL_MORE, text, E),
           LLM_INVALID, "and whole");
    is_int(llm_secret_unseal(s, "name", sealed, LLM_SEAL_MORE - 1, text, E),
           LLM_INVALID, "and not cut");
    llm_secret_close(s);

    is_int(llm_secret_remove(file, 1, E), LLM_OK, "the first is removed");
    is_int(llm_secret_remove(file, 1, E), LLM_NOTFOUND, "once");
    is_int(llm_secret_open(&s, file, E), LLM_OK, "the others are there");
    n = llm_secret_versions(s, v);
    ok(n == 2 && v[0] == 2 && v[1] == 10, "two of them");
    sealed[20] ^= 1;
    is_int(llm_secret_unseal(s, "name", sealed, 6 + LLM_SEAL_MORE, text, E),
           LLM_OK, "with what they sealed");
    llm_secret_close(s);

    chmod(at("many.v10"), 0644);
    is_int(llm_secret_open(&s, file, E), LLM_INVALID, "one that is readable");
    ok(strstr(err, "many.v10") != NULL, "is named: %s", err);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    test_secret_file();
    test_secret_access();
    test_versions();

    remove_tree(dir);

    return done();
}
