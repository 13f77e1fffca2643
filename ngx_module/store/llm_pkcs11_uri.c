
/*
 * Copyright (C) nginx-llm contributors
 *
 * URIs of PKCS#11, RFC 7512, and the PIN.  No state; any thread.
 *
 * Stricter than the RFC: an attribute that is not known, that is there twice
 * or that holds a character which should be encoded is refused, because a
 * mistyped one that is ignored selects another key.  Values of the query are
 * in no message, nor are names of it that are not known: a PIN with an "&"
 * that is not encoded would show in them.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "llm_pkcs11.h"


typedef struct {
    const char  *name;
    unsigned     bit;
    int          query;
    size_t       offset;
    size_t       size;
} llm_pkcs11_attr_t;


#define LLM_URI_ATTR(name, bit, query, field)                                 \
    { name, bit, query, offsetof(llm_pkcs11_uri_t, field),                    \
      sizeof(((llm_pkcs11_uri_t *) 0)->field) }


static void llm_pkcs11_name(llm_pkcs11_uri_t *u, const char *uri);
static int llm_pkcs11_part(llm_pkcs11_uri_t *u, const char *p, size_t len,
    int query, char *err, size_t errlen);
static int llm_pkcs11_attr(llm_pkcs11_uri_t *u, const char *p, size_t len,
    int query, char *err, size_t errlen);
static const llm_pkcs11_attr_t *llm_pkcs11_attr_find(const char *p,
    size_t len);
static const char *llm_pkcs11_decode(const char *p, size_t len, char *out,
    size_t size, size_t *outlen);
static int llm_pkcs11_hex(char c);
static int llm_pkcs11_check(llm_pkcs11_uri_t *u, char *err, size_t errlen);


static const llm_pkcs11_attr_t  llm_pkcs11_attrs[] = {
    LLM_URI_ATTR("token", LLM_URI_TOKEN, 0, token),
    LLM_URI_ATTR("serial", LLM_URI_SERIAL, 0, serial),
    LLM_URI_ATTR("manufacturer", LLM_URI_MANUFACTURER, 0, manufacturer),
    LLM_URI_ATTR("model", LLM_URI_MODEL, 0, model),
    LLM_URI_ATTR("object", LLM_URI_OBJECT, 0, object),
    LLM_URI_ATTR("id", LLM_URI_ID, 0, id),
    LLM_URI_ATTR("slot-id", LLM_URI_SLOT_ID, 0, slot),
    LLM_URI_ATTR("type", LLM_URI_TYPE, 0, type),
    LLM_URI_ATTR("module-path", LLM_URI_PATH, 1, path),
    LLM_URI_ATTR("module-name", LLM_URI_NAME, 1, module),
    LLM_URI_ATTR("pin-value", LLM_URI_PIN, 1, pin),
    LLM_URI_ATTR("pin-source", LLM_URI_PIN_SOURCE, 1, pin_source),
    { NULL, 0, 0, 0, 0 }
};


int
llm_pkcs11_parse(llm_pkcs11_uri_t *u, const char *uri, char *err,
    size_t errlen)
{
    int          rc;
    size_t       len;
    const char  *p;

    memset(u, 0, sizeof(*u));
    llm_pkcs11_name(u, uri);

    p = uri + strlen("pkcs11:");
    len = strcspn(p, "?");

    rc = llm_pkcs11_part(u, p, len, 0, err, errlen);

    if (rc == LLM_OK && p[len] == '?') {
        p += len + 1;
        rc = llm_pkcs11_part(u, p, strlen(p), 1, err, errlen);
    }

    return rc == LLM_OK ? llm_pkcs11_check(u, err, errlen) : rc;
}


/* what is before the query; a PIN that was put there is not shown either */

static void
llm_pkcs11_name(llm_pkcs11_uri_t *u, const char *uri)
{
    size_t  i, n, max;

    max = sizeof(u->name) - sizeof("...");

    for (n = 0; uri[n] != '\0' && uri[n] != '?' && n < max; n++) {
        if (strncasecmp(uri + n, "pin-value", 9) == 0
            || (strncasecmp(uri + n, "pin", 3) == 0
                && (uri[n - 1] == ':' || uri[n - 1] == ';')))
        {
            break;
        }

        u->name[n] = uri[n];
    }

    for (i = 0; i < n; i++) {
        if (u->name[i] < 0x20 || u->name[i] > 0x7e) {
            u->name[i] = '?';
        }
    }

    if (uri[n] != '\0' && uri[n] != '?') {
        memcpy(u->name + n, "...", sizeof("..."));
    }
}


static int
llm_pkcs11_part(llm_pkcs11_uri_t *u, const char *p, size_t len, int query,
    char *err, size_t errlen)
{
    int          rc;
    size_t       n;
    const char  *end;

    if (len == 0) {
        return LLM_OK;
    }

    for (end = p + len; /* void */ ; p += n + 1) {
        for (n = 0; p + n < end && p[n] != (query ? '&' : ';'); n++) {
            /* void */
        }

        rc = llm_pkcs11_attr(u, p, n, query, err, errlen);

        if (rc != LLM_OK || p + n == end) {
            return rc;
        }
    }
}


static int
llm_pkcs11_attr(llm_pkcs11_uri_t *u, const char *p, size_t len, int query,
    char *err, size_t errlen)
{
    size_t                    n, got;
    const char               *eq, *why;
    const llm_pkcs11_attr_t  *a;

    eq = memchr(p, '=', len);

    if (eq == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s without a \"=\"",
                       u->name, query ? "something in the query"
                                      : "an attribute");
    }

    n = (size_t) (eq - p);
    a = llm_pkcs11_attr_find(p, n);

    if (a == NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: an attribute %sis not supported", u->name,
                       query ? "of the query " : "");
    }

    if (a->query != query) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s must stand %s "
                       "the \"?\"", u->name, a->name,
                       query ? "before" : "after");
    }

    if (u->set & a->bit) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s is there twice",
                       u->name, a->name);
    }

    u->set |= a->bit;

    why = llm_pkcs11_decode(eq + 1, len - n - 1, (char *) u + a->offset,
                            a->size, &got);

    if (why == NULL && a->bit != LLM_URI_ID
        && strlen((char *) u + a->offset) != got)
    {
        why = "has a zero byte";
    }

    if (why != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s %s", u->name,
                       a->name, why);
    }

    if (a->bit == LLM_URI_ID) {
        u->idlen = got;
    }

    return LLM_OK;
}


static const llm_pkcs11_attr_t *
llm_pkcs11_attr_find(const char *p, size_t len)
{
    const llm_pkcs11_attr_t  *a;

    for (a = llm_pkcs11_attrs; a->name != NULL; a++) {
        if (strlen(a->name) == len && memcmp(a->name, p, len) == 0) {
            return a;
        }
    }

    return NULL;
}


/* out gets a final zero too; NULL, or what is wrong */

static const char *
llm_pkcs11_decode(const char *p, size_t len, char *out, size_t size,
    size_t *outlen)
{
    int     hi, lo;
    char    c;
    size_t  i, n;

    static const char  plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "-._~:[]@!$'()*+,=&/?|";

    for (i = 0, n = 0; i < len; i++, n++) {
        c = p[i];

        if (c == '%') {
            hi = (len - i > 2) ? llm_pkcs11_hex(p[i + 1]) : -1;
            lo = (len - i > 2) ? llm_pkcs11_hex(p[i + 2]) : -1;

            if (hi < 0 || lo < 0) {
                return "has a \"%\" without two hex digits";
            }

            c = (char) (hi << 4 | lo);
            i += 2;

        } else if (c == '\0' || strchr(plain, c) == NULL) {
            return "has a character that must be written as %XX";
        }

        if (n + 1 >= size) {
            return "is too long";
        }

        out[n] = c;
    }

    out[n] = '\0';
    *outlen = n;

    return NULL;
}


static int
llm_pkcs11_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


/* what the attributes mean together */

static int
llm_pkcs11_check(llm_pkcs11_uri_t *u, char *err, size_t errlen)
{
    char        *end;
    const char  *why;

    why = NULL;

    if (u->object[0] == '\0' && u->idlen == 0) {
        why = "needs object= or id=, the name of the key";
    }

    if ((u->set & LLM_URI_TYPE) && strcmp(u->type, "secret-key") != 0) {
        why = "type= can only be secret-key";
    }

    if (u->set & LLM_URI_SLOT_ID) {
        errno = 0;
        u->slot_id = strtoul(u->slot, &end, 10);

        if (u->slot[0] < '0' || u->slot[0] > '9' || *end != '\0'
            || errno != 0)
        {
            why = "slot-id= is no number";
        }
    }

    if ((u->set & LLM_URI_PATH) && u->path[0] != '/') {
        why = "module-path= must begin with \"/\"";
    }

    if ((u->set & LLM_URI_PATH) && (u->set & LLM_URI_NAME)) {
        why = "has both module-path and module-name";
    }

    if ((u->set & LLM_URI_NAME) && u->module[0] == '\0') {
        why = "module-name= is empty";
    }

    if ((u->set & LLM_URI_PIN) && (u->set & LLM_URI_PIN_SOURCE)) {
        why = "has both pin-value and pin-source";
    }

    if ((u->set & LLM_URI_PIN) && u->pin[0] == '\0') {
        why = "pin-value= is empty";
    }

    if (u->set & LLM_URI_PIN_SOURCE) {
        if (strncmp(u->pin_source, "file:", 5) == 0) {
            memmove(u->pin_source, u->pin_source + 5,
                    strlen(u->pin_source + 5) + 1);
        }

        /* file:///path */
        if (strncmp(u->pin_source, "///", 3) == 0) {
            memmove(u->pin_source, u->pin_source + 2,
                    strlen(u->pin_source + 2) + 1);
        }

        if (u->pin_source[0] != '/') {
            why = "pin-source= must be a file's path that begins with \"/\"";
        }
    }

    if (why != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: %s", u->name, why);
    }

    return LLM_OK;
}


int
llm_pkcs11_pin(llm_pkcs11_uri_t *u, char *err, size_t errlen)
{
    int      rc;
    size_t   len;
    uint8_t  buf[LLM_SECRET_MAX + 1];

    if (!(u->set & LLM_URI_PIN_SOURCE)) {
        return LLM_OK;
    }

    rc = llm_secret_read(u->pin_source, "PIN", buf, &len, err, errlen);

    if (rc == LLM_OK) {
        while (len != 0 && (buf[len - 1] == '\n' || buf[len - 1] == '\r')) {
            len--;
        }

        if (len == 0 || len > LLM_PKCS11_PIN || memchr(buf, '\0', len)
            || memchr(buf, '\n', len))
        {
            rc = llm_err(err, errlen, LLM_INVALID, "%s: PIN: must be one "
                         "line of 1 to %d bytes", u->pin_source,
                         LLM_PKCS11_PIN);

        } else {
            memcpy(u->pin, buf, len);
            u->pin[len] = '\0';
            u->set |= LLM_URI_PIN;
        }
    }

    OPENSSL_cleanse(buf, sizeof(buf));

    return rc;
}
