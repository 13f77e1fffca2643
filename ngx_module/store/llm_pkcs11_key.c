
/*
 * Copyright (C) nginx-llm contributors
 *
 * The keys of a token: which versions there are, signatures, new ones.  In
 * the signer's process only, one thread.
 *
 * Only keys that never leave the token are taken: with another one, whoever
 * knows the PIN could make a copy, and a file would do as well.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "llm_pkcs11.h"


#define LLM_PKCS11_OBJECTS  10000
#define LLM_PKCS11_BATCH    64


static int llm_pkcs11_base(llm_pkcs11_t *t, CK_OBJECT_HANDLE *object,
    size_t n, char *base, char *err, size_t errlen);
static int llm_pkcs11_find(llm_pkcs11_t *t, CK_OBJECT_HANDLE **object,
    size_t *n, char *err, size_t errlen);
static int llm_pkcs11_add_key(llm_pkcs11_t *t, uint32_t version,
    CK_OBJECT_HANDLE object, char *err, size_t errlen);
static int llm_pkcs11_label(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    char label[LLM_PKCS11_LABEL + 1]);
static int llm_pkcs11_is(llm_pkcs11_t *t, CK_OBJECT_HANDLE object);
static CK_RV llm_pkcs11_get(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    CK_ATTRIBUTE_TYPE type, void *buf, size_t *len);
static int llm_pkcs11_flag(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    CK_ATTRIBUTE_TYPE type);
static int llm_pkcs11_usable(llm_pkcs11_t *t, const llm_pkcs11_key_t *k,
    char *err, size_t errlen);
static int llm_pkcs11_hmac(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    const void *data, size_t len, uint8_t mac[32], char *err, size_t errlen);
static int llm_pkcs11_again(llm_pkcs11_t *t, char *err, size_t errlen);
static int llm_pkcs11_known(llm_pkcs11_t *t, const llm_pkcs11_key_t *k,
    char *err, size_t errlen);
static llm_pkcs11_key_t *llm_pkcs11_version(llm_pkcs11_t *t,
    uint32_t version);
static int llm_pkcs11_exists(llm_pkcs11_t *t, const char *label, char *err,
    size_t errlen);
static int llm_pkcs11_generate(llm_pkcs11_t *t, uint32_t version,
    char *label, CK_OBJECT_HANDLE *object, char *err, size_t errlen);


int
llm_pkcs11_keys(llm_pkcs11_t *t, char *err, size_t errlen)
{
    int                rc;
    char               base[LLM_PKCS11_LABEL + 1];
    char               label[LLM_PKCS11_LABEL + 1];
    size_t             i, n;
    uint32_t           version;
    CK_OBJECT_HANDLE  *object;

    t->n = 0;
    object = NULL;

    rc = llm_pkcs11_find(t, &object, &n, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_base(t, object, n, base, err, errlen);
    }

    for (i = 0; rc == LLM_OK && i < n; i++) {
        if (!llm_pkcs11_label(t, object[i], label)) {
            continue;
        }

        version = llm_secret_number(label, base);

        /* an id is the first version's */

        if (version != 0 && (version > 1 || llm_pkcs11_is(t, object[i]))) {
            rc = llm_pkcs11_add_key(t, version, object[i], err, errlen);
        }
    }

    free(object);

    if (rc == LLM_OK && t->n == 0) {
        rc = llm_err(err, errlen, LLM_NOTFOUND,
                     "%s: the token has no such secret key", t->uri.name);
    }

    for (i = 0; rc == LLM_OK && i < t->n; i++) {
        rc = llm_pkcs11_usable(t, &t->key[i], err, errlen);
    }

    return rc;
}


/* the label of the first version: the URI's, or that of the URI's id */

static int
llm_pkcs11_base(llm_pkcs11_t *t, CK_OBJECT_HANDLE *object, size_t n,
    char *base, char *err, size_t errlen)
{
    size_t  i;

    if (t->uri.object[0] != '\0') {
        strcpy(base, t->uri.object);
        return LLM_OK;
    }

    for (i = 0; i < n; i++) {
        if (llm_pkcs11_is(t, object[i])) {
            if (llm_pkcs11_label(t, object[i], base)) {
                return LLM_OK;
            }

            return llm_err(err, errlen, LLM_INVALID, "%s: the key of this id "
                           "has no label", t->uri.name);
        }
    }

    return llm_err(err, errlen, LLM_NOTFOUND,
                   "%s: the token has no such secret key", t->uri.name);
}


/* all secret keys of the token, from malloc: labels can't be searched by how
 * they begin */

static int
llm_pkcs11_find(llm_pkcs11_t *t, CK_OBJECT_HANDLE **object, size_t *n,
    char *err, size_t errlen)
{
    CK_RV              rv;
    CK_ULONG           got;
    CK_BBOOL           yes;
    CK_OBJECT_CLASS    class;
    CK_OBJECT_HANDLE  *more;

    CK_ATTRIBUTE  want[] = {
        { CKA_CLASS, &class, sizeof(class) },
        { CKA_TOKEN, &yes, sizeof(yes) }
    };

    class = CKO_SECRET_KEY;
    yes = CK_TRUE;
    *object = NULL;
    *n = 0;

    rv = t->f->C_FindObjectsInit(t->session, want, 2);
    if (rv != CKR_OK) {
        return llm_pkcs11_failed(t, "C_FindObjectsInit", rv, err, errlen);
    }

    do {
        got = 0;
        more = realloc(*object, (*n + LLM_PKCS11_BATCH) * sizeof(*more));

        if (more == NULL || *n > LLM_PKCS11_OBJECTS) {
            rv = CKR_HOST_MEMORY;
            break;
        }

        *object = more;
        rv = t->f->C_FindObjects(t->session, more + *n, LLM_PKCS11_BATCH,
                                 &got);

        if (got > LLM_PKCS11_BATCH) {
            rv = CKR_GENERAL_ERROR;
        }

        *n += (rv == CKR_OK) ? got : 0;

    } while (rv == CKR_OK && got != 0);

    (void) t->f->C_FindObjectsFinal(t->session);

    if (rv != CKR_OK) {
        free(more == NULL ? *object : more);
        *object = NULL;
        return llm_pkcs11_failed(t, "C_FindObjects", rv, err, errlen);
    }

    return LLM_OK;
}


static int
llm_pkcs11_add_key(llm_pkcs11_t *t, uint32_t version, CK_OBJECT_HANDLE object,
    char *err, size_t errlen)
{
    size_t  i;

    if (llm_pkcs11_version(t, version) != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: there are two keys of "
                       "version %u", t->uri.name, version);
    }

    if (t->n == LLM_SECRET_VERSIONS) {
        return llm_err(err, errlen, LLM_INVALID, "%s: more than %d versions: "
                       "retire the oldest", t->uri.name, LLM_SECRET_VERSIONS);
    }

    for (i = t->n++; i > 0 && t->key[i - 1].version > version; i--) {
        t->key[i] = t->key[i - 1];
    }

    t->key[i].version = version;
    t->key[i].handle = object;

    return LLM_OK;
}


/* 0: there is none, or it is longer than ours are */

static int
llm_pkcs11_label(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    char label[LLM_PKCS11_LABEL + 1])
{
    size_t  len;

    len = LLM_PKCS11_LABEL;

    if (llm_pkcs11_get(t, object, CKA_LABEL, label, &len) != CKR_OK
        || len == 0 || memchr(label, '\0', len) != NULL)
    {
        return 0;
    }

    label[len] = '\0';

    return 1;
}


/* has the object the URI's id, if there is one? */

static int
llm_pkcs11_is(llm_pkcs11_t *t, CK_OBJECT_HANDLE object)
{
    char    id[LLM_PKCS11_ID];
    size_t  len;

    if (!(t->uri.set & LLM_URI_ID)) {
        return 1;
    }

    len = sizeof(id);

    return llm_pkcs11_get(t, object, CKA_ID, id, &len) == CKR_OK
           && len == t->uri.idlen && memcmp(id, t->uri.id, len) == 0;
}


/* len: the room, then what is in it */

static CK_RV
llm_pkcs11_get(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    CK_ATTRIBUTE_TYPE type, void *buf, size_t *len)
{
    CK_RV         rv;
    CK_ATTRIBUTE  attr;

    attr.type = type;
    attr.pValue = buf;
    attr.ulValueLen = *len;

    rv = t->f->C_GetAttributeValue(t->session, object, &attr, 1);

    if (rv == CKR_OK && attr.ulValueLen > *len) {
        rv = CKR_ATTRIBUTE_TYPE_INVALID;
    }

    *len = (rv == CKR_OK) ? attr.ulValueLen : 0;

    return rv;
}


/* 1, 0; -1: the token does not say */

static int
llm_pkcs11_flag(llm_pkcs11_t *t, CK_OBJECT_HANDLE object,
    CK_ATTRIBUTE_TYPE type)
{
    size_t    len;
    CK_BBOOL  flag;

    len = sizeof(flag);

    if (llm_pkcs11_get(t, object, type, &flag, &len) != CKR_OK
        || len != sizeof(flag))
    {
        return -1;
    }

    return flag != CK_FALSE;
}


static int
llm_pkcs11_usable(llm_pkcs11_t *t, const llm_pkcs11_key_t *k, char *err,
    size_t errlen)
{
    size_t       len;
    CK_ULONG     value;
    const char  *why;

    why = NULL;
    len = sizeof(value);

    /* few bytes can be guessed from one signature; not all tokens tell */

    if (llm_pkcs11_get(t, k->handle, CKA_VALUE_LEN, &value, &len) == CKR_OK
        && len == sizeof(value) && value < LLM_SECRET_MIN)
    {
        why = "is shorter than 32 bytes: CKA_VALUE_LEN";
    }

    if (llm_pkcs11_flag(t, k->handle, CKA_SIGN) != 1) {
        why = "may not sign: CKA_SIGN is not true";
    }

    if (llm_pkcs11_flag(t, k->handle, CKA_EXTRACTABLE) != 0) {
        why = "can be taken out of the token: CKA_EXTRACTABLE is not false";
    }

    if (llm_pkcs11_flag(t, k->handle, CKA_SENSITIVE) != 1) {
        why = "can be read from the token: CKA_SENSITIVE is not true";
    }

    if (why != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: the key of version %u "
                       "%s", t->uri.name, k->version, why);
    }

    return LLM_OK;
}


/*
 * What was good may have gone with the token, or with the connection to it:
 * then once more from the start.
 */

int
llm_pkcs11_sign(llm_pkcs11_t *t, uint32_t version, const void *data,
    size_t len, uint8_t mac[32], char *err, size_t errlen)
{
    int                rc;
    llm_pkcs11_key_t  *k;

    k = llm_pkcs11_version(t, version);

    if (k != NULL) {
        rc = llm_pkcs11_hmac(t, k->handle, data, len, mac, err, errlen);

        if (rc == LLM_OK || !t->running) {
            return rc;
        }
    }

    rc = llm_pkcs11_again(t, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    k = llm_pkcs11_version(t, version);

    if (k == NULL) {
        return llm_err(err, errlen, LLM_ERROR, "%s: the token has no key of "
                       "version %u now", t->uri.name, version);
    }

    return llm_pkcs11_hmac(t, k->handle, data, len, mac, err, errlen);
}


static int
llm_pkcs11_again(llm_pkcs11_t *t, char *err, size_t errlen)
{
    int     rc;
    size_t  i;

    llm_pkcs11_disconnect(t);

    rc = llm_pkcs11_connect(t, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_keys(t, err, errlen);
    }

    for (i = 0; rc == LLM_OK && i < t->n; i++) {
        rc = llm_pkcs11_known(t, &t->key[i], err, errlen);
    }

    if (rc != LLM_OK) {
        llm_pkcs11_disconnect(t);
        return LLM_ERROR;
    }

    return LLM_OK;
}


/* new keys, made with another secret than the processes verify with, would be
 * nobody's when that is rotated away */

static int
llm_pkcs11_known(llm_pkcs11_t *t, const llm_pkcs11_key_t *k, char *err,
    size_t errlen)
{
    int      rc;
    size_t   i;
    uint8_t  mac[32];

    for (i = 0; i < t->known && t->version[i] != k->version; i++) {
        /* void */
    }

    if (i == t->known) {
        return LLM_OK;
    }

    rc = llm_pkcs11_hmac(t, k->handle, LLM_LABEL_VERIFY,
                         sizeof(LLM_LABEL_VERIFY) - 1, mac, err, errlen);

    if (rc == LLM_OK && CRYPTO_memcmp(mac, t->verify[i], 32) != 0) {
        rc = llm_err(err, errlen, LLM_ERROR, "%s: the key of version %u is "
                     "another one than at start: reload", t->uri.name,
                     k->version);
    }

    OPENSSL_cleanse(mac, sizeof(mac));

    return rc;
}


static int
llm_pkcs11_hmac(llm_pkcs11_t *t, CK_OBJECT_HANDLE object, const void *data,
    size_t len, uint8_t mac[32], char *err, size_t errlen)
{
    CK_RV         rv;
    CK_ULONG      got;
    CK_MECHANISM  mechanism;

    memset(&mechanism, 0, sizeof(mechanism));
    mechanism.mechanism = CKM_SHA256_HMAC;

    rv = t->f->C_SignInit(t->session, &mechanism, object);

    switch (rv) {

    case CKR_OK:
        break;

    case CKR_MECHANISM_INVALID:
        return llm_pkcs11_failed(t, "the token has no HMAC-SHA256 "
                                 "(CKM_SHA256_HMAC)", rv, err, errlen);

    case CKR_KEY_TYPE_INCONSISTENT:
    case CKR_KEY_FUNCTION_NOT_PERMITTED:
        return llm_pkcs11_failed(t, "the token makes no HMAC-SHA256 "
                                 "(CKM_SHA256_HMAC) with a key of this type: "
                                 "it may want CKK_SHA256_HMAC or "
                                 "CKK_GENERIC_SECRET", rv, err, errlen);

    default:
        return llm_pkcs11_failed(t, "C_SignInit", rv, err, errlen);
    }

    got = 32;
    rv = t->f->C_Sign(t->session, (CK_BYTE_PTR) data, len, mac, &got);

    if (rv == CKR_OK && got != 32) {
        rv = CKR_SIGNATURE_LEN_RANGE;
    }

    return rv == CKR_OK ? LLM_OK
                        : llm_pkcs11_failed(t, "C_Sign", rv, err, errlen);
}


static llm_pkcs11_key_t *
llm_pkcs11_version(llm_pkcs11_t *t, uint32_t version)
{
    size_t  i;

    for (i = 0; i < t->n; i++) {
        if (t->key[i].version == version) {
            return &t->key[i];
        }
    }

    return NULL;
}


/* a key that turns out to be of no use is not left in the token */

int
llm_pkcs11_create(llm_pkcs11_t *t, uint32_t version, char *err,
    size_t errlen)
{
    int               rc;
    char              label[LLM_PKCS11_LABEL + 1];
    uint8_t           mac[32];
    llm_pkcs11_key_t  k;

    if (t->uri.object[0] == '\0') {
        return llm_err(err, errlen, LLM_INVALID, "%s: a new key needs "
                       "object=, its name", t->uri.name);
    }

    rc = llm_secret_name(t->uri.object, version, label, sizeof(label), err,
                         errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_exists(t, label, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_pkcs11_generate(t, version, label, &k.handle, err, errlen);
    }

    if (rc != LLM_OK) {
        return rc;
    }

    k.version = version;

    rc = llm_pkcs11_usable(t, &k, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_pkcs11_hmac(t, k.handle, LLM_LABEL_VERIFY,
                             sizeof(LLM_LABEL_VERIFY) - 1, mac, err, errlen);
        OPENSSL_cleanse(mac, sizeof(mac));
    }

    if (rc != LLM_OK) {
        (void) t->f->C_DestroyObject(t->session, k.handle);
    }

    return rc;
}


static int
llm_pkcs11_exists(llm_pkcs11_t *t, const char *label, char *err,
    size_t errlen)
{
    int                rc;
    char               name[LLM_PKCS11_LABEL + 1];
    size_t             i, n;
    CK_OBJECT_HANDLE  *object;

    rc = llm_pkcs11_find(t, &object, &n, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    for (i = 0; i < n; i++) {
        if (llm_pkcs11_label(t, object[i], name)
            && strcmp(name, label) == 0)
        {
            rc = llm_err(err, errlen, LLM_EXISTS, "%s: the token has a key "
                         "\"%s\"", t->uri.name, label);
            break;
        }
    }

    free(object);

    return rc;
}


static int
llm_pkcs11_generate(llm_pkcs11_t *t, uint32_t version, char *label,
    CK_OBJECT_HANDLE *object, char *err, size_t errlen)
{
    CK_RV            rv;
    CK_BBOOL         yes, no;
    CK_ULONG         n, len;
    CK_KEY_TYPE      type;
    CK_MECHANISM     mechanism;
    CK_OBJECT_CLASS  class;

    CK_ATTRIBUTE  new[] = {
        { CKA_CLASS, &class, sizeof(class) },
        { CKA_KEY_TYPE, &type, sizeof(type) },
        { CKA_TOKEN, &yes, sizeof(yes) },
        { CKA_PRIVATE, &yes, sizeof(yes) },
        { CKA_SENSITIVE, &yes, sizeof(yes) },
        { CKA_EXTRACTABLE, &no, sizeof(no) },
        { CKA_SIGN, &yes, sizeof(yes) },
        { CKA_VALUE_LEN, &len, sizeof(len) },
        { CKA_LABEL, label, strlen(label) },
        { CKA_ID, t->uri.id, t->uri.idlen }
    };

    yes = CK_TRUE;
    no = CK_FALSE;
    len = 32;
    type = CKK_GENERIC_SECRET;
    class = CKO_SECRET_KEY;

    n = sizeof(new) / sizeof(new[0]);

    if (version != 1 || !(t->uri.set & LLM_URI_ID)) {
        n--;
    }

    memset(&mechanism, 0, sizeof(mechanism));
    mechanism.mechanism = CKM_GENERIC_SECRET_KEY_GEN;

    rv = t->f->C_GenerateKey(t->session, &mechanism, new, n, object);

    if (rv == CKR_MECHANISM_INVALID) {
        return llm_pkcs11_failed(t, "the token makes no such keys "
                                 "(CKM_GENERIC_SECRET_KEY_GEN): make one with "
                                 "its own tools", rv, err, errlen);
    }

    return rv == CKR_OK ? LLM_OK : llm_pkcs11_failed(t, "C_GenerateKey", rv,
                                                     err, errlen);
}


int
llm_pkcs11_failed(const llm_pkcs11_t *t, const char *what, CK_RV rv,
    char *err, size_t errlen)
{
    char  buf[32];

    return llm_err(err, errlen, LLM_ERROR, "%s: %s: %s", t->uri.name, what,
                   llm_pkcs11_ckr(rv, buf, sizeof(buf)));
}


const char *
llm_pkcs11_ckr(CK_RV rv, char *buf, size_t size)
{
    size_t  i;

#define LLM_CKR(name)  { name, #name }

    static const struct {
        CK_RV        rv;
        const char  *name;
    } names[] = {
        LLM_CKR(CKR_OK), LLM_CKR(CKR_CANCEL), LLM_CKR(CKR_HOST_MEMORY),
        LLM_CKR(CKR_SLOT_ID_INVALID), LLM_CKR(CKR_GENERAL_ERROR),
        LLM_CKR(CKR_FUNCTION_FAILED), LLM_CKR(CKR_ARGUMENTS_BAD),
        LLM_CKR(CKR_NEED_TO_CREATE_THREADS), LLM_CKR(CKR_CANT_LOCK),
        LLM_CKR(CKR_ATTRIBUTE_READ_ONLY), LLM_CKR(CKR_ATTRIBUTE_SENSITIVE),
        LLM_CKR(CKR_ATTRIBUTE_TYPE_INVALID),
        LLM_CKR(CKR_ATTRIBUTE_VALUE_INVALID), LLM_CKR(CKR_ACTION_PROHIBITED),
        LLM_CKR(CKR_DATA_INVALID), LLM_CKR(CKR_DATA_LEN_RANGE),
        LLM_CKR(CKR_DEVICE_ERROR), LLM_CKR(CKR_DEVICE_MEMORY),
        LLM_CKR(CKR_DEVICE_REMOVED), LLM_CKR(CKR_FUNCTION_CANCELED),
        LLM_CKR(CKR_FUNCTION_NOT_SUPPORTED), LLM_CKR(CKR_KEY_HANDLE_INVALID),
        LLM_CKR(CKR_KEY_SIZE_RANGE), LLM_CKR(CKR_KEY_TYPE_INCONSISTENT),
        LLM_CKR(CKR_KEY_FUNCTION_NOT_PERMITTED),
        LLM_CKR(CKR_MECHANISM_INVALID), LLM_CKR(CKR_MECHANISM_PARAM_INVALID),
        LLM_CKR(CKR_OBJECT_HANDLE_INVALID), LLM_CKR(CKR_OPERATION_ACTIVE),
        LLM_CKR(CKR_OPERATION_NOT_INITIALIZED), LLM_CKR(CKR_PIN_INCORRECT),
        LLM_CKR(CKR_PIN_INVALID), LLM_CKR(CKR_PIN_LEN_RANGE),
        LLM_CKR(CKR_PIN_EXPIRED), LLM_CKR(CKR_PIN_LOCKED),
        LLM_CKR(CKR_SESSION_CLOSED), LLM_CKR(CKR_SESSION_COUNT),
        LLM_CKR(CKR_SESSION_HANDLE_INVALID), LLM_CKR(CKR_SESSION_READ_ONLY),
        LLM_CKR(CKR_SIGNATURE_LEN_RANGE), LLM_CKR(CKR_TEMPLATE_INCOMPLETE),
        LLM_CKR(CKR_TEMPLATE_INCONSISTENT), LLM_CKR(CKR_TOKEN_NOT_PRESENT),
        LLM_CKR(CKR_TOKEN_NOT_RECOGNIZED),
        LLM_CKR(CKR_TOKEN_WRITE_PROTECTED),
        LLM_CKR(CKR_USER_ALREADY_LOGGED_IN), LLM_CKR(CKR_USER_NOT_LOGGED_IN),
        LLM_CKR(CKR_USER_PIN_NOT_INITIALIZED), LLM_CKR(CKR_USER_TYPE_INVALID),
        LLM_CKR(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
        LLM_CKR(CKR_BUFFER_TOO_SMALL), LLM_CKR(CKR_CRYPTOKI_NOT_INITIALIZED),
        LLM_CKR(CKR_CRYPTOKI_ALREADY_INITIALIZED),
        LLM_CKR(CKR_FUNCTION_REJECTED)
    };

#undef LLM_CKR

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].rv == rv) {
            return names[i].name;
        }
    }

    (void) snprintf(buf, size, "CKR 0x%lx", (unsigned long) rv);

    return buf;
}
