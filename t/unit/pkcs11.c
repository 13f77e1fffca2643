
/*
 * Copyright (C) nginx-llm contributors
 *
 * The secret in a token: URIs, PINs, and SoftHSM.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>

#include "token_test.h"


#define SOFTHSM  "/usr/lib/softhsm/libsofthsm2.so"


static const char  imported[] = "kJ8x.Qm2-Lw9!Zp4,Vt7;Rb1#Ny6+Gd/";


static void
test_uris(void)
{
    int               i, wrong;
    char              text[1200];
    llm_pkcs11_uri_t  u;

    static const struct {
        const char  *uri;
        const char  *message;
    } bad[] = {
        { "pkcs11:", "needs object=" },
        { "pkcs11:?", "needs object=" },
        { "pkcs11:token=a", "needs object=" },
        { "pkcs11:object=", "needs object=" },
        { "pkcs11:object", "without a" },
        { "pkcs11:;object=a", "without a" },
        { "pkcs11:object=a;", "without a" },
        { "pkcs11:object=a;;token=b", "without a" },
        { "pkcs11:object=a?1234", "in the query without a" },
        { "pkcs11:object=a?pin-value=12&34", "in the query without a" },
        { "pkcs11:object=a?pin-value=12&1234=5", "query is not supported" },
        { "pkcs11:object=a?pin-value=12&", "in the query without a" },
        { "pkcs11:=a", "not supported" },
        { "pkcs11:Object=a", "not supported" },
        { "pkcs11:object=a;x-vendor=b", "not supported" },
        { "pkcs11:object=a;library-version=1", "not supported" },
        { "pkcs11:object=a;object=b", "twice" },
        { "pkcs11:object=a;id=a;id=a", "twice" },
        { "pkcs11:object=a;pin-value=1234", "after the \"?\"" },
        { "pkcs11:object=a;module-path=/x", "after the \"?\"" },
        { "pkcs11:object=a?token=b", "before the \"?\"" },
        { "pkcs11:object=a;type=private", "secret-key" },
        { "pkcs11:object=a;slot-id=", "no number" },
        { "pkcs11:object=a;slot-id=x", "no number" },
        { "pkcs11:object=a;slot-id=-1", "no number" },
        { "pkcs11:object=a;slot-id=1x", "no number" },
        { "pkcs11:object=a;slot-id=99999999999999999999", "no number" },
        { "pkcs11:object=a;slot-id=999999999999999999999", "too long" },
        { "pkcs11:object=a b", "%XX" },
        { "pkcs11:object=a\x7f", "%XX" },
        { "pkcs11:object=\xc3\xa4", "%XX" },
        { "pkcs11:object=a#b", "%XX" },
        { "pkcs11:object=a\"b", "%XX" },
        { "pkcs11:object=%", "two hex digits" },
        { "pkcs11:object=%4", "two hex digits" },
        { "pkcs11:object=%4g", "two hex digits" },
        { "pkcs11:object=%;token=a", "two hex digits" },
        { "pkcs11:object=a%00b", "zero" },
        { "pkcs11:object=a;token=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "too long" },
        { "pkcs11:object=a;serial=aaaaaaaaaaaaaaaaa", "too long" },
        { "pkcs11:object=a?module-path=x.so", "begin with" },
        { "pkcs11:object=a?module-path=", "begin with" },
        { "pkcs11:object=a?module-name=", "empty" },
        { "pkcs11:object=a?module-name=x&module-path=/x", "both" },
        { "pkcs11:object=a?pin-value=1234&pin-source=/x", "both" },
        { "pkcs11:object=a?pin-value=", "empty" },
        { "pkcs11:object=a?pin-source=", "begins with" },
        { "pkcs11:object=a?pin-source=file:x", "begins with" },
        { "pkcs11:object=a?pin-value=12;34", "%XX" },
        { "pkcs11:object=a?pin-source=|cat%201234", "begins with" },
        { "pkcs11:object=a?pin-source=https://x/", "begins with" },
        { NULL, NULL }
    };

    for (i = 0; bad[i].uri != NULL; i++) {
        is_int(llm_pkcs11_parse(&u, bad[i].uri, E), LLM_INVALID, "refused");
        ok(strstr(err, bad[i].message) != NULL
           && strstr(err, "1234") == NULL, "the message: %s", err);
    }

    is_int(llm_pkcs11_parse(&u, "pkcs11:token=a%20%3b;object=%c3%A4/&(b);"
                            "id=%00%01a;slot-id=07;type=secret-key;serial="
                            "?module-path=/a%3bb?c&pin-value=1%262?=%3B", E),
           LLM_OK, "much in one");
    is_str(u.token, "a ;", "the token");
    is_str(u.object, "\xc3\xa4/&(b)", "the object");
    ok(u.idlen == 3 && memcmp(u.id, "\0\1a", 3) == 0, "the id");
    is_int(u.slot_id, 7, "the slot");
    ok((u.set & LLM_URI_SERIAL) && u.serial[0] == '\0', "an empty one");
    is_str(u.path, "/a;b?c", "the module");
    is_str(u.pin, "1&2?=;", "the PIN");
    ok(strstr(u.name, "pin") == NULL && strchr(u.name, '?') == NULL,
       "what is shown: %s", u.name);

    is_int(llm_pkcs11_parse(&u, "pkcs11:object=pin?pin-source=file:///a/b",
                            E), LLM_OK, "a PIN's file");
    is_str(u.pin_source, "/a/b", "with an empty host");
    is_str(u.name, "pkcs11:object=pin", "what is shown");
    is_int(llm_pkcs11_parse(&u, "pkcs11:object=a?pin-source=file:/a/b", E),
           LLM_OK, "without a host");
    is_str(u.pin_source, "/a/b", "its path");

    wrong = 0;

    for (i = 0; i < 1100; i++) {
        memset(text, 0, sizeof(text));
        strcpy(text, "pkcs11:object=");
        memset(text + 14, 'a', (size_t) i);

        wrong += llm_pkcs11_parse(&u, text, E)
                 != (i == 0 || i > LLM_PKCS11_LABEL ? LLM_INVALID : LLM_OK)
                 || strlen(err) >= sizeof(err)
                 || strlen(u.name) >= sizeof(u.name);
    }

    is_int(wrong, 0, "all lengths");
}


/* each URI with one byte changed, or cut: no crash, and no PIN shown */

static void
test_mutants(void)
{
    int               i, j, shown;
    char              text[256];
    size_t            len;
    llm_pkcs11_uri_t  u;

    static const char  uri[] = "pkcs11:token=t%20;object=k;id=%01;slot-id=1?"
                               "module-path=/m.so&pin-value=31415926";
    static const char  bytes[] = "%;&=?:/ \x01\xff" "0pP.";

    len = strlen(uri);
    shown = 0;

    for (i = 7; i < (int) len; i++) {
        for (j = 0; j < (int) sizeof(bytes); j++) {
            strcpy(text, uri);
            text[i] = bytes[j];
            err[0] = '\0';
            (void) llm_pkcs11_parse(&u, text, E);
            shown += strstr(err, "415926") != NULL
                     || strstr(u.name, "415926") != NULL;
        }
    }

    is_int(shown, 0, "none shows the PIN");
}


/* runs a tool with its output in a file; its exit code */

static int
tool(const char *fmt, ...)
{
    char     line[1024];
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    snprintf(line + n, sizeof(line) - (size_t) n, " >>%s/tools 2>&1", dir);

    return system(line);
}


static char *
source(const char *object, const char *query)
{
    static int   i;
    static char  buf[4][1024];

    i = (i + 1) % 4;
    snprintf(buf[i], sizeof(buf[i]), "pkcs11:token=llm%%20test;object=%s"
             "?module-path=" SOFTHSM "%s", object, query);

    return buf[i];
}


/* in a child, so that the library is never in this process */

static int
import_key(void *data)
{
    void                 *lib;
    CK_BBOOL              yes, no;
    CK_SLOT_ID            slots[8];
    CK_ULONG              n;
    CK_KEY_TYPE           type;
    CK_OBJECT_CLASS       class;
    CK_OBJECT_HANDLE      object;
    CK_FUNCTION_LIST     *f;
    CK_SESSION_HANDLE     session;
    CK_C_GetFunctionList  get;

    CK_ATTRIBUTE  new[] = {
        { CKA_CLASS, &class, sizeof(class) },
        { CKA_KEY_TYPE, &type, sizeof(type) },
        { CKA_TOKEN, &yes, sizeof(yes) },
        { CKA_PRIVATE, &yes, sizeof(yes) },
        { CKA_SENSITIVE, &yes, sizeof(yes) },
        { CKA_EXTRACTABLE, &no, sizeof(no) },
        { CKA_SIGN, &yes, sizeof(yes) },
        { CKA_VALUE, (void *) imported, strlen(imported) },
        { CKA_LABEL, data, strlen(data) }
    };

    yes = CK_TRUE;
    no = CK_FALSE;
    type = CKK_GENERIC_SECRET;
    class = CKO_SECRET_KEY;
    n = 8;

    /* "short" has fewer bytes than a secret must have, "open" can be read */

    if (strcmp(data, "short") == 0) {
        new[7].ulValueLen = 31;
    }

    if (strcmp(data, "open") == 0) {
        new[4].pValue = &no;
    }

    lib = dlopen(SOFTHSM, RTLD_NOW);
    get = lib == NULL ? NULL
                      : (CK_C_GetFunctionList) dlsym(lib, "C_GetFunctionList");

    return get == NULL || get(&f) != CKR_OK
           || f->C_Initialize(NULL) != CKR_OK
           || f->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK
           || f->C_OpenSession(slots[0], CKF_SERIAL_SESSION|CKF_RW_SESSION,
                               NULL, NULL, &session) != CKR_OK
           || f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR) "314159", 6)
              != CKR_OK
           || f->C_CreateObject(session, new, sizeof(new) / sizeof(new[0]),
                                &object) != CKR_OK;
}


static int
softhsm_begin(void)
{
    char  conf[512];

    if (access(SOFTHSM, R_OK) == -1
        || system("softhsm2-util --version >/dev/null 2>&1") != 0)
    {
        return 0;
    }

    mkdir(at("tokens"), 0700);
    snprintf(conf, sizeof(conf), "directories.tokendir = %s/tokens\n"
             "objectstore.backend = file\nlog.level = ERROR\n", dir);
    put_file(at("softhsm.conf"), conf, strlen(conf), 0600);
    setenv("SOFTHSM2_CONF", at("softhsm.conf"), 1);

    if (tool("softhsm2-util --init-token --free --label 'llm test' "
             "--so-pin 271828 --pin 314159") != 0)
    {
        ok(0, "softhsm2-util makes a token");
        return 0;
    }

    return 1;
}


static void
test_softhsm(void)
{
    char          *made;
    size_t         n;
    uint8_t        tag[32], file[32], mac[32], seal[32];
    uint32_t       v[LLM_SECRET_VERSIONS];
    llm_secret_t  *s;

    made = strdup(source("made", "&pin-value=314159"));

    is_int(llm_secret_open(&s, made, E), LLM_NOTFOUND, "no key yet");
    is_int(llm_secret_create(made, E), LLM_OK, "a key is made");
    is_int(llm_secret_create(made, E), LLM_EXISTS, "once");
    is_int(llm_secret_add(made, 2, E), LLM_OK, "a second version");
    is_int(llm_secret_add(made, 2, E), LLM_EXISTS, "once");
    ok(no_child(), "no process is left");

    is_int(llm_secret_open(&s, made, E), LLM_OK, "it is opened");
    n = llm_secret_versions(s, v);
    ok(n == 2 && v[0] == 1 && v[1] == 2, "two versions");
    is_int(llm_secret_sign(s, 1, "text", 4, mac, E), LLM_OK, "one signs");
    is_int(llm_secret_sign(s, 2, "text", 4, tag, E), LLM_OK, "and the other");
    ok(memcmp(mac, tag, 32) != 0, "each its own");
    llm_secret_close(s);

    is_int(child(import_key, "known"), 0, "a key is imported");
    is_int(llm_secret_open(&s, source("known", "&pin-value=314159"), E),
           LLM_OK, "it is opened");
    is_int(llm_secret_sign(s, 1, "text", 4, mac, E), LLM_OK, "it signs");
    ok(is_hmac(mac, imported, strlen(imported), "text"), "as it must");
    is_int(llm_secret_tag(s, 1, "key", 3, tag), LLM_OK, "a tag");
    memcpy(seal, s->v[0].seal, 32);
    llm_secret_close(s);

    put_file(at("file"), imported, strlen(imported), 0600);
    is_int(llm_secret_open(&s, at("file"), E), LLM_OK, "a file with it");
    is_int(llm_secret_tag(s, 1, "key", 3, file), LLM_OK, "its tag");
    ok(memcmp(tag, file, 32) == 0 && memcmp(seal, s->v[0].seal, 32) == 0,
       "both give the same store");
    llm_secret_close(s);

    is_int(child(import_key, "short"), 0, "31 bytes are imported");
    is_int(llm_secret_open(&s, source("short", "&pin-value=314159"), E),
           LLM_INVALID, "and refused");
    ok(strstr(err, "CKA_VALUE_LEN") != NULL, "the message: %s", err);
    is_int(child(import_key, "open"), 0, "one that can be read");
    is_int(llm_secret_open(&s, source("open", "&pin-value=314159"), E),
           LLM_INVALID, "is refused");
    ok(strstr(err, "CKA_SENSITIVE") != NULL, "the message: %s", err);
    ok(no_child(), "no process is left");

    free(made);
}


static void
test_sources(void)
{
    int            i;
    char           pin[512];
    llm_secret_t  *s;

    is_int(llm_secret_open(&s, source("known", "&pin-value=999999"), E),
           LLM_ERROR, "a wrong PIN");
    ok(strstr(err, "CKR_PIN_INCORRECT") != NULL
       && strstr(err, "999999") == NULL, "the message: %s", err);

    snprintf(pin, sizeof(pin), "&pin-source=file:%s", at("pin"));
    is_int(llm_secret_open(&s, source("known", pin), E), LLM_NOTFOUND,
           "no file with the PIN");
    put_file(at("pin"), "314159\n", 7, 0600);
    is_int(llm_secret_open(&s, source("known", pin), E), LLM_OK,
           "a file with the PIN");
    llm_secret_close(s);
    put_file(at("pin"), "314159\n", 7, 0644);
    is_int(llm_secret_open(&s, source("known", pin), E), LLM_INVALID,
           "one that others read");
    ok(strstr(err, "PIN: mode 0644") != NULL, "the message: %s", err);

    for (i = 0; i < 4; i++) {
        put_file(at("pin"), "\n\n314\n159", (size_t []) { 0, 1, 2, 9 }[i],
                 0600);
        is_int(llm_secret_open(&s, source("known", pin), E), LLM_INVALID,
               "no PIN in it");
    }

    is_int(llm_secret_open(&s, source("known", ""), E), LLM_ERROR, "no PIN");
    ok(strstr(err, "pin-source") != NULL, "the message: %s", err);
    is_int(llm_secret_open(&s, source("none", "&pin-value=314159"), E),
           LLM_NOTFOUND, "no such key");
    is_int(llm_secret_open(&s, "pkcs11:token=none;object=known?module-path="
                           SOFTHSM "&pin-value=314159", E), LLM_NOTFOUND,
           "no such token");
    is_int(llm_secret_open(&s, "pkcs11:object=known?module-path=/none/x.so",
                           E), LLM_NOTFOUND, "no such library");
    ok(strstr(err, "/none/x.so") != NULL, "the message: %s", err);
    is_int(llm_secret_open(&s, "pkcs11:object=known?module-path=/dev/null",
                           E), LLM_ERROR, "what is no library");
    is_int(llm_secret_open(&s, "pkcs11:object=known?module-path="
                           "/lib/x86_64-linux-gnu/libm.so.6", E),
           access("/lib/x86_64-linux-gnu/libm.so.6", F_OK) == 0
           ? LLM_ERROR : LLM_NOTFOUND, "a library of another kind");

    if (access("/usr/share/p11-kit/modules/softhsm2.module", R_OK) == 0
        && dlopen("libp11-kit.so.0", RTLD_NOW) != NULL)
    {
        is_int(llm_secret_open(&s, "pkcs11:token=llm%20test;object=known"
                               "?module-name=softhsm2&pin-value=314159", E),
               LLM_OK, "a registered library, by its name");
        llm_secret_close(s);
        is_int(llm_secret_open(&s, "pkcs11:token=llm%20test;object=known"
                               "?pin-value=314159", E),
               LLM_OK, "and by its token");
        llm_secret_close(s);
        is_int(llm_secret_open(&s, "pkcs11:token=none;object=known"
                               "?pin-value=314159", E),
               LLM_NOTFOUND, "none has that token");
        ok(strstr(err, "module-path=") != NULL, "the message: %s", err);
        is_int(llm_secret_open(&s, "pkcs11:object=known?module-name=none",
                               E), LLM_NOTFOUND, "no library of that name");

    } else {
        skip(5, "SoftHSM is not registered with p11-kit");
    }

    ok(no_child(), "no process is left");
}


static void
test_moved(void)
{
    uint8_t        mac[32];
    llm_secret_t  *s;

    is_int(llm_secret_open(&s, source("known", "&pin-value=314159"), E),
           LLM_OK, "a token");
    is_int(rename(at("tokens"), at("away")), 0, "goes away");
    is_int(llm_secret_sign(s, 1, "text", 4, mac, E), LLM_ERROR,
           "no signature");
    ok(strstr(err, "CKR_") != NULL || strstr(err, "token") != NULL,
       "the message: %s", err);
    is_int(llm_secret_tag(s, 1, "text", 4, mac), LLM_OK, "tags go on");
    is_int(rename(at("away"), at("tokens")), 0, "it comes back");
    is_int(llm_secret_sign(s, 1, "text", 4, mac, E), LLM_OK, "and signs");
    ok(is_hmac(mac, imported, strlen(imported), "text"), "as before");
    llm_secret_close(s);
    ok(no_child(), "no process is left");
}


static void
test_many(void)
{
    int            i, bad;
    double         start;
    uint8_t        mac[32];
    llm_secret_t  *s;

    is_int(llm_secret_open(&s, source("known", "&pin-value=314159"), E),
           LLM_OK, "for many");

    start = seconds();
    bad = 0;

    for (i = 0; i < 100; i++) {
        bad += llm_secret_sign(s, 1, "text", 4, mac, E) != LLM_OK;
    }

    is_int(bad, 0, "100 signatures");
    printf("# %.0f us each\n", (seconds() - start) * 1e4);

    test_callers(s, imported);
    llm_secret_close(s);
    ok(no_child(), "no process is left");
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    adopt();

    test_uris();
    test_mutants();

    if (softhsm_begin()) {
        test_softhsm();
        test_sources();
        test_moved();
        test_many();

    } else {
        skip(1, "no softhsm2-util or libsofthsm2.so: apt-get install "
             "softhsm2");
    }

    remove_tree(dir);

    return done();
}
