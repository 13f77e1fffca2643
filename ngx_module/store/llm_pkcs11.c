
/*
 * Copyright (C) nginx-llm contributors
 *
 * A token: its library, the slot that it is in, the session.  In the signer's
 * process only, one thread.
 *
 * module-path names the library.  Without it, libp11-kit says which ones are
 * registered; it is loaded here, not linked, so that only machines that use
 * it have it, and only this process.  Its own wrappers are not used.
 *
 * A token counts the PINs that it refuses and locks itself after a few: one is
 * tried once, and the last try is left to a person.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "llm_pkcs11.h"


#define LLM_PKCS11_SLOTS      4096
#define LLM_P11_KIT           "libp11-kit.so.0"
#define LLM_P11_KIT_PLAIN     1         /* P11_KIT_MODULE_UNMANAGED */


static int llm_pkcs11_load(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_load_path(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_load_registered(llm_pkcs11_t *t, char *err,
    size_t errlen);
static int llm_pkcs11_choose(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_initialize(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_slot(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_slots(llm_pkcs11_t *t, CK_SLOT_ID **slots, CK_ULONG *n,
    char *err, size_t errlen);
static int llm_pkcs11_match(const llm_pkcs11_t *t, CK_SLOT_ID slot,
    const CK_TOKEN_INFO *info);
static int llm_pkcs11_field(const unsigned char *field, size_t len,
    const char *want);
static int llm_pkcs11_session(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_login(llm_pkcs11_t *t, char *err, size_t errlen);


int
llm_pkcs11_open(llm_pkcs11_t **tp, const char *uri, int rw, char *err,
    size_t errlen)
{
    int            rc;
    llm_pkcs11_t  *t;

    *tp = NULL;

    t = mmap(NULL, sizeof(*t), PROT_READ|PROT_WRITE,
             MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (t == MAP_FAILED) {
        return llm_err(err, errlen, LLM_NOMEM, "pkcs11: no memory");
    }

    (void) madvise(t, sizeof(*t), MADV_DONTDUMP);
    (void) mlock(t, sizeof(*t));

    t->rw = (rw != 0);

    rc = llm_pkcs11_parse(&t->uri, uri, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_pin(&t->uri, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_pkcs11_load(t, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = (t->f != NULL) ? llm_pkcs11_connect(t, err, errlen)
                            : llm_pkcs11_choose(t, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_pkcs11_close(t);
        return rc;
    }

    *tp = t;

    return LLM_OK;
}


/* the library stays: some crash when they are unloaded, and this process ends
 * soon */

void
llm_pkcs11_close(llm_pkcs11_t *t)
{
    if (t == NULL) {
        return;
    }

    llm_pkcs11_disconnect(t);

    OPENSSL_cleanse(t, sizeof(*t));
    (void) munmap(t, sizeof(*t));
}


static int
llm_pkcs11_load(llm_pkcs11_t *t, char *err, size_t errlen)
{
    return (t->uri.set & LLM_URI_PATH)
           ? llm_pkcs11_load_path(t, err, errlen)
           : llm_pkcs11_load_registered(t, err, errlen);
}


static int
llm_pkcs11_load_path(llm_pkcs11_t *t, char *err, size_t errlen)
{
    void                  *lib;
    CK_RV                  rv;
    CK_C_GetFunctionList   get;

    if (access(t->uri.path, F_OK) == -1) {
        return llm_err(err, errlen, errno == ENOENT ? LLM_NOTFOUND
                                                    : LLM_ERROR,
                       "%s: module-path: %s: %s", t->uri.name, t->uri.path,
                       strerror(errno));
    }

    lib = dlopen(t->uri.path, RTLD_NOW|RTLD_LOCAL);

    if (lib == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: %s", t->uri.name,
                       dlerror());
    }

    get = (CK_C_GetFunctionList) dlsym(lib, "C_GetFunctionList");

    if (get == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: %s is no library for "
                       "PKCS#11: it has no C_GetFunctionList", t->uri.name,
                       t->uri.path);
    }

    rv = get(&t->f);

    if (rv != CKR_OK || t->f == NULL) {
        t->f = NULL;
        return llm_pkcs11_failed(t, "C_GetFunctionList", rv, err, errlen);
    }

    return LLM_OK;
}


/* with module-name t->f is set, without any it is for the caller to choose */

static int
llm_pkcs11_load_registered(llm_pkcs11_t *t, char *err, size_t errlen)
{
    void  *lib;

    CK_FUNCTION_LIST  **(*load)(const char *reserved, int flags);
    CK_FUNCTION_LIST   *(*by_name)(CK_FUNCTION_LIST **list,
                                   const char *name);

    lib = dlopen(LLM_P11_KIT, RTLD_NOW|RTLD_LOCAL);

    if (lib == NULL) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: add module-path=, the "
                       "path of the token's library, to the query; or install "
                       "libp11-kit0, which knows those that are registered",
                       t->uri.name);
    }

    load = (CK_FUNCTION_LIST **(*)(const char *, int))
               dlsym(lib, "p11_kit_modules_load");
    by_name = (CK_FUNCTION_LIST *(*)(CK_FUNCTION_LIST **, const char *))
               dlsym(lib, "p11_kit_module_for_name");

    if (load == NULL || by_name == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: %s is too old: add "
                       "module-path= to the query", t->uri.name, LLM_P11_KIT);
    }

    t->registered = load(NULL, LLM_P11_KIT_PLAIN);

    if (t->registered == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: %s can't load the "
                       "registered libraries: add module-path= to the query",
                       t->uri.name, LLM_P11_KIT);
    }

    if (t->uri.set & LLM_URI_NAME) {
        t->f = by_name(t->registered, t->uri.module);

        if (t->f == NULL) {
            return llm_err(err, errlen, LLM_NOTFOUND, "%s: module-name=%s: "
                           "no library of that name is registered with "
                           "p11-kit", t->uri.name, t->uri.module);
        }
    }

    return LLM_OK;
}


/* the first registered library that has the token.  One that fails may serve
 * another device: its message is kept for when none has it */

static int
llm_pkcs11_choose(llm_pkcs11_t *t, char *err, size_t errlen)
{
    int   rc;
    char  other[LLM_ERRLEN], message[LLM_ERRLEN];

    CK_FUNCTION_LIST  **f;

    other[0] = '\0';

    for (f = t->registered; *f != NULL; f++) {
        t->f = *f;

        rc = llm_pkcs11_initialize(t, message, sizeof(message));

        if (rc == LLM_OK) {
            rc = llm_pkcs11_slot(t, message, sizeof(message));
        }

        if (rc == LLM_OK) {
            return llm_pkcs11_session(t, err, errlen);
        }

        if (rc == LLM_INVALID) {
            return llm_err(err, errlen, rc, "%s", message);
        }

        if (rc != LLM_NOTFOUND) {
            strcpy(other, message);
        }

        llm_pkcs11_disconnect(t);
    }

    if (other[0] != '\0') {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: no library that is "
                       "registered with p11-kit has this token, one failed: "
                       "add module-path= to the query (%s)", t->uri.name,
                       other);
    }

    return llm_err(err, errlen, LLM_NOTFOUND, "%s: no library that is "
                   "registered with p11-kit has this token: add module-path= "
                   "to the query", t->uri.name);
}


int
llm_pkcs11_connect(llm_pkcs11_t *t, char *err, size_t errlen)
{
    int  rc;

    if (t->refused) {
        return llm_err(err, errlen, LLM_ERROR, "%s: the token refused the "
                       "PIN, and it is not tried again: reload", t->uri.name);
    }

    rc = llm_pkcs11_initialize(t, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_slot(t, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_pkcs11_session(t, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_pkcs11_disconnect(t);
    }

    return rc;
}


/* what fails here is gone already */

void
llm_pkcs11_disconnect(llm_pkcs11_t *t)
{
    if (t->opened) {
        (void) t->f->C_CloseSession(t->session);
    }

    if (t->initialized) {
        (void) t->f->C_Finalize(NULL);
    }

    t->opened = 0;
    t->initialized = 0;
    t->n = 0;
}


static int
llm_pkcs11_initialize(llm_pkcs11_t *t, char *err, size_t errlen)
{
    CK_RV                 rv;
    CK_C_INITIALIZE_ARGS  args;

    memset(&args, 0, sizeof(args));
    args.flags = CKF_OS_LOCKING_OK;

    rv = t->f->C_Initialize(&args);

    if (rv == CKR_CANT_LOCK) {
        rv = t->f->C_Initialize(NULL);
    }

    /* by the process that this one was forked from: of no use here */

    if (rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        (void) t->f->C_Finalize(NULL);
        rv = t->f->C_Initialize(&args);
    }

    if (rv != CKR_OK) {
        return llm_pkcs11_failed(t, "C_Initialize", rv, err, errlen);
    }

    t->initialized = 1;

    return LLM_OK;
}


/* the one slot whose token is the URI's */

static int
llm_pkcs11_slot(llm_pkcs11_t *t, char *err, size_t errlen)
{
    int             rc;
    CK_RV           rv;
    CK_ULONG        i, n, found;
    CK_SLOT_ID     *slots;
    CK_TOKEN_INFO   info;

    rc = llm_pkcs11_slots(t, &slots, &n, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    found = 0;

    for (i = 0; i < n; i++) {
        memset(&info, 0, sizeof(info));
        rv = t->f->C_GetTokenInfo(slots[i], &info);

        if (rv == CKR_OK && (info.flags & CKF_TOKEN_INITIALIZED)
            && llm_pkcs11_match(t, slots[i], &info))
        {
            t->slot = slots[i];
            t->flags = info.flags;
            found++;
        }
    }

    free(slots);

    if (found == 0) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: no such token is "
                       "present", t->uri.name);
    }

    if (found > 1) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %lu tokens are meant: "
                       "add token= or serial=", t->uri.name, found);
    }

    return LLM_OK;
}


static int
llm_pkcs11_slots(llm_pkcs11_t *t, CK_SLOT_ID **slots, CK_ULONG *n, char *err,
    size_t errlen)
{
    int    tries;
    CK_RV  rv;

    *slots = NULL;
    rv = CKR_BUFFER_TOO_SMALL;

    /* one may be plugged in between the two calls */

    for (tries = 0; tries < 3 && rv == CKR_BUFFER_TOO_SMALL; tries++) {
        rv = t->f->C_GetSlotList(CK_TRUE, NULL, n);

        if (rv != CKR_OK || *n > LLM_PKCS11_SLOTS) {
            break;
        }

        *slots = calloc(*n + 1, sizeof(CK_SLOT_ID));

        if (*slots == NULL) {
            return llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                           t->uri.name);
        }

        /* some take no list of none */
        rv = (*n == 0) ? CKR_OK : t->f->C_GetSlotList(CK_TRUE, *slots, n);

        if (rv != CKR_OK) {
            free(*slots);
        }
    }

    if (rv == CKR_OK && *n > LLM_PKCS11_SLOTS) {
        rv = CKR_GENERAL_ERROR;
    }

    return rv == CKR_OK ? LLM_OK : llm_pkcs11_failed(t, "C_GetSlotList", rv,
                                                     err, errlen);
}


static int
llm_pkcs11_match(const llm_pkcs11_t *t, CK_SLOT_ID slot,
    const CK_TOKEN_INFO *info)
{
    const llm_pkcs11_uri_t  *u;

    u = &t->uri;

    return (!(u->set & LLM_URI_SLOT_ID) || u->slot_id == slot)
           && (!(u->set & LLM_URI_TOKEN)
               || llm_pkcs11_field(info->label, sizeof(info->label),
                                   u->token))
           && (!(u->set & LLM_URI_SERIAL)
               || llm_pkcs11_field(info->serialNumber,
                                   sizeof(info->serialNumber), u->serial))
           && (!(u->set & LLM_URI_MANUFACTURER)
               || llm_pkcs11_field(info->manufacturerID,
                                   sizeof(info->manufacturerID),
                                   u->manufacturer))
           && (!(u->set & LLM_URI_MODEL)
               || llm_pkcs11_field(info->model, sizeof(info->model),
                                   u->model));
}


/* a field of fixed size, padded with spaces, by some with zeros */

static int
llm_pkcs11_field(const unsigned char *field, size_t len, const char *want)
{
    while (len != 0 && (field[len - 1] == ' ' || field[len - 1] == '\0')) {
        len--;
    }

    return len == strlen(want) && memcmp(field, want, len) == 0;
}


static int
llm_pkcs11_session(llm_pkcs11_t *t, char *err, size_t errlen)
{
    CK_RV     rv;
    CK_FLAGS  flags;

    flags = CKF_SERIAL_SESSION;

    if (t->rw) {
        flags |= CKF_RW_SESSION;
    }

    rv = t->f->C_OpenSession(t->slot, flags, NULL, NULL, &t->session);

    if (rv != CKR_OK) {
        return llm_pkcs11_failed(t, "C_OpenSession", rv, err, errlen);
    }

    t->opened = 1;

    return llm_pkcs11_login(t, err, errlen);
}


static int
llm_pkcs11_login(llm_pkcs11_t *t, char *err, size_t errlen)
{
    CK_RV        rv;
    const char  *why;

    why = NULL;

    if (!(t->uri.set & LLM_URI_PIN)) {
        if (!(t->flags & CKF_LOGIN_REQUIRED)) {
            return LLM_OK;
        }

        why = "the token wants a PIN: add pin-source=file:PATH to the query";
    }

    if (t->flags & CKF_USER_PIN_LOCKED) {
        why = "the token is locked, after too many wrong PINs";

    } else if (t->flags & CKF_USER_PIN_FINAL_TRY) {
        why = "one more wrong PIN locks the token: log in once with its own "
              "tools";
    }

    if (why != NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: %s", t->uri.name, why);
    }

    rv = t->f->C_Login(t->session, CKU_USER, (CK_UTF8CHAR_PTR) t->uri.pin,
                       strlen(t->uri.pin));

    switch (rv) {

    case CKR_OK:
    case CKR_USER_ALREADY_LOGGED_IN:
        return LLM_OK;

    case CKR_PIN_INCORRECT:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_INVALID:
        t->refused = 1;
        return llm_pkcs11_failed(t, "the PIN is wrong", rv, err, errlen);

    case CKR_PIN_LOCKED:
    case CKR_PIN_EXPIRED:
    case CKR_USER_PIN_NOT_INITIALIZED:
        t->refused = 1;
        break;
    }

    return llm_pkcs11_failed(t, "C_Login", rv, err, errlen);
}
