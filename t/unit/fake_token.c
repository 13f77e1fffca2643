
/*
 * Copyright (C) nginx-llm contributors
 *
 * A PKCS#11 library for tests, with one token that misbehaves as it is told:
 * by the words in the file that the environment's FAKE_TOKEN names, which is
 * read again at each call.  Logins are counted in the file's ".log".
 *
 * The token "fake" has the keys "key" and, when told, others.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/hmac.h>
#include <p11-kit-1/p11-kit/pkcs11.h>


#define FAKE_OBJECTS  16
#define FAKE_SLOT     7


static char          made[FAKE_OBJECTS][64];
static int           nmade, initialized, logged_in, found;
static CK_ULONG      key;


static int
told(const char *word)
{
    int          fd;
    char         buf[512], *p;
    size_t       len;
    ssize_t      n;
    const char  *file;

    file = getenv("FAKE_TOKEN");
    fd = (file == NULL) ? -1 : open(file, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return 0;
    }

    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);

    buf[n > 0 ? n : 0] = '\0';
    len = strlen(word);

    for (p = strtok(buf, " "); p != NULL; p = strtok(NULL, " ")) {
        if (strlen(p) == len && strcmp(p, word) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
note(const char *what)
{
    int   fd;
    char  name[512];

    snprintf(name, sizeof(name), "%s.log", getenv("FAKE_TOKEN"));
    fd = open(name, O_WRONLY|O_CREAT|O_APPEND, 0600);
    (void) !write(fd, what, strlen(what));
    close(fd);
}


static void
misbehave(const char *where)
{
    char  word[64];

    snprintf(word, sizeof(word), "hang-%s", where);

    if (told(word)) {
        for ( ;; ) {
            pause();
        }
    }

    snprintf(word, sizeof(word), "crash-%s", where);

    if (told(word)) {
        raise(SIGSEGV);
    }

    snprintf(word, sizeof(word), "exit-%s", where);

    if (told(word)) {
        _exit(0);
    }
}


static CK_RV
fake_initialize(void *args)
{
    misbehave("initialize");

    if (told("no-locks") && args != NULL) {
        return CKR_CANT_LOCK;
    }

    if (initialized) {
        return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    }

    initialized = 1;
    note("i");

    return told("broken") ? CKR_DEVICE_ERROR : CKR_OK;
}


static CK_RV
fake_finalize(void *reserved)
{
    misbehave("finalize");
    initialized = 0;
    logged_in = 0;

    return CKR_OK;
}


static CK_RV
fake_slots(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n)
{
    *n = told("gone") ? 0 : told("pair") ? 2 : 1;

    if (slots != NULL) {
        slots[0] = FAKE_SLOT;

        if (*n == 2) {
            slots[1] = FAKE_SLOT + 1;
        }
    }

    return CKR_OK;
}


static CK_RV
fake_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    memset(info, 0, sizeof(*info));
    memset(info->label, ' ', sizeof(info->label));
    memcpy(info->label, "fake", 4);
    memcpy(info->manufacturerID, "nobody", 6);
    memset(info->serialNumber, ' ', sizeof(info->serialNumber));
    memcpy(info->serialNumber, slot == FAKE_SLOT ? "1" : "2", 1);
    memcpy(info->model, "0123456789abcdef", 16);

    info->flags = CKF_TOKEN_INITIALIZED;
    info->flags |= told("open") ? 0 : CKF_LOGIN_REQUIRED;
    info->flags |= told("locked") ? CKF_USER_PIN_LOCKED : 0;
    info->flags |= told("last-try") ? CKF_USER_PIN_FINAL_TRY : 0;

    return CKR_OK;
}


static CK_RV
fake_open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY f,
    CK_SESSION_HANDLE *session)
{
    *session = 3;
    return told("full") ? CKR_SESSION_COUNT : CKR_OK;
}


static CK_RV
fake_close_session(CK_SESSION_HANDLE session)
{
    return CKR_OK;
}


static CK_RV
fake_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin,
    CK_ULONG len)
{
    misbehave("login");
    note("l");

    if (told("logged-in")) {
        return CKR_USER_ALREADY_LOGGED_IN;
    }

    if (len != 4 || memcmp(pin, told("new-pin") ? "9999" : "1234", 4) != 0) {
        return CKR_PIN_INCORRECT;
    }

    logged_in = 1;

    return CKR_OK;
}


/* objects: 1 "key", 2.. as told, 10.. made */

static const char *
label(CK_OBJECT_HANDLE object)
{
    static char  buf[32];

    if (object >= 10) {
        return made[object - 10];
    }

    if (object == 1) {
        return told("renamed") ? "yek" : "key";
    }

    if (object == 9 && told("twice")) {
        return "key";
    }

    snprintf(buf, sizeof(buf), "key.v%lu", object);

    return (object == 2 && told("two")) || told("nine") ? buf : "other";
}


static CK_RV
fake_find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attr, CK_ULONG n)
{
    found = 0;
    return told("no-find") ? CKR_DEVICE_REMOVED : CKR_OK;
}


static CK_RV
fake_find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *object, CK_ULONG max,
    CK_ULONG *n)
{
    if (told("many")) {
        *n = max + 1;
        return CKR_OK;
    }

    for (*n = 0; *n < max && found < 9 + nmade; ++*n) {
        object[*n] = (CK_OBJECT_HANDLE) ++found;
    }

    return CKR_OK;
}


static CK_RV
fake_find_final(CK_SESSION_HANDLE session)
{
    return CKR_OK;
}


static CK_RV
fake_get(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
    CK_ATTRIBUTE *attr, CK_ULONG n)
{
    char         id;
    CK_BBOOL     flag;
    CK_ULONG     len;
    const void  *p;

    p = &flag;
    len = 1;

    switch (attr->type) {

    case CKA_LABEL:
        p = label(object);
        len = strlen(p);
        break;

    case CKA_ID:
        id = (char) object;
        p = &id;
        break;

    case CKA_SIGN:
        flag = !told("no-sign");
        break;

    case CKA_SENSITIVE:
        flag = !told("readable");
        break;

    case CKA_EXTRACTABLE:
        flag = told("extractable");
        break;

    default:
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }

    if (attr->pValue == NULL || told("long") || attr->ulValueLen < len) {
        attr->ulValueLen = told("long") ? 70000 : len;
        return told("long") ? CKR_OK : CKR_BUFFER_TOO_SMALL;
    }

    memcpy(attr->pValue, p, len);
    attr->ulValueLen = len;

    return CKR_OK;
}


static CK_RV
fake_sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
    CK_OBJECT_HANDLE object)
{
    key = object;

    return told("no-hmac") ? CKR_MECHANISM_INVALID
           : told("key-type") ? CKR_KEY_TYPE_INCONSISTENT : CKR_OK;
}


static CK_RV
fake_sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len,
    unsigned char *mac, CK_ULONG *maclen)
{
    char          value[32];
    unsigned int  n;

    misbehave("sign");

    if (told("no-answer") || (!logged_in && !told("open"))) {
        return CKR_DEVICE_REMOVED;
    }

    if (told("slow")) {
        usleep(100000);
    }

    memset(value, told("other") ? 'x' : 'a' + (int) key, sizeof(value));
    HMAC(EVP_sha256(), value, sizeof(value), data, len, mac, &n);
    *maclen = told("short") ? 20 : 32;

    return CKR_OK;
}


static CK_RV
fake_generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
    CK_ATTRIBUTE *attr, CK_ULONG n, CK_OBJECT_HANDLE *object)
{
    CK_ULONG  i;

    if (told("no-generate")) {
        return CKR_MECHANISM_INVALID;
    }

    for (i = 0; i < n; i++) {
        if (attr[i].type == CKA_LABEL) {
            memcpy(made[nmade], attr[i].pValue, attr[i].ulValueLen);
        }
    }

    *object = 10 + (CK_OBJECT_HANDLE) nmade++;
    note("g");

    return CKR_OK;
}


static CK_RV
fake_destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    note("d");
    return CKR_OK;
}


__attribute__((visibility("default"))) CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    static CK_FUNCTION_LIST  functions;

    misbehave("load");

    functions.C_Initialize = fake_initialize;
    functions.C_Finalize = fake_finalize;
    functions.C_GetSlotList = fake_slots;
    functions.C_GetTokenInfo = fake_token_info;
    functions.C_OpenSession = fake_open_session;
    functions.C_CloseSession = fake_close_session;
    functions.C_Login = fake_login;
    functions.C_FindObjectsInit = fake_find_init;
    functions.C_FindObjects = fake_find;
    functions.C_FindObjectsFinal = fake_find_final;
    functions.C_GetAttributeValue = fake_get;
    functions.C_SignInit = fake_sign_init;
    functions.C_Sign = fake_sign;
    functions.C_GenerateKey = fake_generate;
    functions.C_DestroyObject = fake_destroy;

    *list = &functions;

    return told("no-list") ? CKR_GENERAL_ERROR : CKR_OK;
}
