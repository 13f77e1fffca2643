
/*
 * Copyright (C) nginx-llm contributors
 *
 * A secret in a PKCS#11 token: the URI, the token's library, its keys.
 *
 * Only the signer's process (llm_signer.h) calls this, from one thread: the
 * libraries survive no fork.  The parser of URIs has no state.
 *
 *     llm_pkcs11_uri.c     the URI and the PIN
 *     llm_pkcs11.c         the library, the slot, the session
 *     llm_pkcs11_key.c     the keys: which are there, signatures, new ones
 */


#ifndef _LLM_PKCS11_H_INCLUDED_
#define _LLM_PKCS11_H_INCLUDED_


#include <p11-kit-1/p11-kit/pkcs11.h>

#include "llm_secret_int.h"


#define LLM_PKCS11_PIN     255
#define LLM_PKCS11_LABEL   255
#define LLM_PKCS11_ID      64

/* which attributes a URI has, and with them whether they count: an empty
 * value is one */
#define LLM_URI_TOKEN         0x0001
#define LLM_URI_SERIAL        0x0002
#define LLM_URI_MANUFACTURER  0x0004
#define LLM_URI_MODEL         0x0008
#define LLM_URI_OBJECT        0x0010
#define LLM_URI_ID            0x0020
#define LLM_URI_SLOT_ID       0x0040
#define LLM_URI_TYPE          0x0080
#define LLM_URI_PATH          0x0100    /* module-path */
#define LLM_URI_NAME          0x0200    /* module-name */
#define LLM_URI_PIN           0x0400
#define LLM_URI_PIN_SOURCE    0x0800


/* decoded; keep it in locked memory, wipe it */
typedef struct {
    unsigned       set;
    char           name[200];           /* for messages: without the PIN */
    char           token[33];
    char           serial[17];
    char           manufacturer[33];
    char           model[17];
    char           object[LLM_PKCS11_LABEL + 1];
    char           id[LLM_PKCS11_ID + 1];
    size_t         idlen;               /* an id may have zeros */
    char           slot[21];
    unsigned long  slot_id;
    char           type[16];
    char           path[1024];
    char           module[128];
    char           pin[LLM_PKCS11_PIN + 1];
    char           pin_source[1024];    /* a path, without "file:" */
} llm_pkcs11_uri_t;


typedef struct {
    uint32_t          version;
    CK_OBJECT_HANDLE  handle;
} llm_pkcs11_key_t;


/* lies in a mapping of its own: locked, in no core dump */
typedef struct {
    llm_pkcs11_uri_t    uri;

    CK_FUNCTION_LIST   *f;              /* the library's */
    CK_FUNCTION_LIST  **registered;     /* p11-kit's, NULL: not asked */
    CK_SLOT_ID          slot;
    CK_SESSION_HANDLE   session;
    CK_FLAGS            flags;          /* of the token */
    unsigned            initialized:1;
    unsigned            opened:1;
    unsigned            rw:1;           /* sessions that can create */
    unsigned            refused:1;      /* the PIN was: never tried again */
    unsigned            running:1;      /* keys worked once: worth a retry */

    size_t              n;
    llm_pkcs11_key_t    key[LLM_SECRET_VERSIONS];       /* ascending */

    /* verify of each version at start: a token that comes back with
     * another key is refused */
    size_t              known;
    uint32_t            version[LLM_SECRET_VERSIONS];
    uint8_t             verify[LLM_SECRET_VERSIONS][32];
} llm_pkcs11_t;


/* LLM_INVALID: malformed.  No message has a value of the query */
int llm_pkcs11_parse(llm_pkcs11_uri_t *u, const char *uri, char *err,
    size_t errlen);

/* the PIN that pin-source names */
int llm_pkcs11_pin(llm_pkcs11_uri_t *u, char *err, size_t errlen);


/*
 * Loads the library and logs in.  LLM_NOTFOUND: no such library or token.
 * close() accepts half-built ones and NULL.
 */
int llm_pkcs11_open(llm_pkcs11_t **t, const char *uri, int rw, char *err,
    size_t errlen);
void llm_pkcs11_close(llm_pkcs11_t *t);

/* a session, with what it takes; the end of it */
int llm_pkcs11_connect(llm_pkcs11_t *t, char *err, size_t errlen);
void llm_pkcs11_disconnect(llm_pkcs11_t *t);


/* all versions of the key: into t->key.  LLM_INVALID: one that the token
 * would give away */
int llm_pkcs11_keys(llm_pkcs11_t *t, char *err, size_t errlen);

/* HMAC-SHA256 under a version; once t->running, it connects again when that
 * fails */
int llm_pkcs11_sign(llm_pkcs11_t *t, uint32_t version, const void *data,
    size_t len, uint8_t mac[32], char *err, size_t errlen);

/* LLM_EXISTS */
int llm_pkcs11_create(llm_pkcs11_t *t, uint32_t version, char *err,
    size_t errlen);


/* "the URI: what: CKR_..."; returns LLM_ERROR */
int llm_pkcs11_failed(const llm_pkcs11_t *t, const char *what, CK_RV rv,
    char *err, size_t errlen);
const char *llm_pkcs11_ckr(CK_RV rv, char *buf, size_t size);


#endif /* _LLM_PKCS11_H_INCLUDED_ */
