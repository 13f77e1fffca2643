
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor in the administration: who needs a code, and the calls
 * that enrol, confirm and remove.  What is shown once is in one buffer of the
 * handler's stack and in the answer, both wiped.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <qrencode.h>

#include "llm_admin_int.h"


/* the admins who are enrolled */
typedef struct {
    llm_store_t  *store;
    size_t        n;
    int           rc;
    char          id[LLM_KEY_ID_LEN + 1];       /* one of them */
} llm_admin_factors_t;


static int llm_admin_factor_caller(llm_admin_ctx_t *c, char *id);
static int llm_admin_factor_llmctl(llm_admin_ctx_t *c, char *id);
static int llm_admin_factor_each(void *data, const llm_key_t *k);
static int llm_admin_factor_check(llm_admin_ctx_t *c, const char *id,
    int soft);
static int llm_admin_factor_failed(llm_admin_ctx_t *c, const char *id,
    int rc);
static int llm_admin_totp_whose(llm_admin_ctx_t *c, const char *id,
    llm_key_t *k, int *other);
static int llm_admin_totp_id(llm_admin_ctx_t *c, const char **id);
static int llm_admin_totp_state(llm_admin_ctx_t *c, const char *id,
    llm_totp_info_t *info);
static json_t *llm_admin_totp_json(const char *id,
    const llm_totp_info_t *info);
static json_t *llm_admin_totp_codes(const llm_totp_enrol_t *e);
static json_t *llm_admin_totp_qr(const char *uri);
static int llm_admin_totp_glass(llm_admin_ctx_t *c);


/*
 * Whose code it must be; then the code.  No code of anyone is needed when id
 * is "".
 */

int
llm_admin_factor(llm_admin_ctx_t *c, int soft)
{
    int   rc;
    char  id[LLM_KEY_ID_LEN + 1];

    id[0] = '\0';

    rc = c->call->key != NULL ? llm_admin_factor_caller(c, id)
                              : llm_admin_factor_llmctl(c, id);

    if (rc != LLM_OK || id[0] == '\0') {
        return rc;
    }

    if (llm_admin_secret(c) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_admin_factor_check(c, id, soft);
}


static int
llm_admin_factor_caller(llm_admin_ctx_t *c, char *id)
{
    llm_totp_info_t  info;

    if (llm_admin_totp_state(c, c->actor, &info) != LLM_OK) {
        return LLM_ERROR;
    }

    if (info.state == LLM_TOTP_ON) {
        memcpy(id, c->actor, LLM_KEY_ID_LEN + 1);

    } else if (c->a->totp_required) {
        return llm_admin_fail(c, 403, "totp_required", NULL,
                              "This needs a second factor, and this key has "
                              "none: enrol it with POST totp and confirm it "
                              "with POST totp/confirm.");
    }

    return LLM_OK;
}


/*
 * The number of enrolments is looked at first: it costs nothing, and mostly it
 * is 0 or 1, or --as says whose.  Only else are all keys read for admins'.
 */

static int
llm_admin_factor_llmctl(llm_admin_ctx_t *c, char *id)
{
    int                  rc;
    char                 one[LLM_KEY_ID_LEN + 1];
    size_t               n;
    llm_key_t            k;
    llm_admin_factors_t  f;

    memset(&f, 0, sizeof(f));

    n = 0;
    rc = llm_totp_count(c->a->store, &n, one, c->err, sizeof(c->err));

    if (rc != LLM_OK && rc != LLM_INVALID) {
        return llm_admin_fail_rc(c, rc, "second factor");
    }

    if (rc == LLM_OK && n == 0) {
        return LLM_OK;
    }

    f.store = c->a->store;

    if (c->call->as != NULL
        && llm_key_get(f.store, c->call->as, &k, NULL, 0) == LLM_OK)
    {
        (void) llm_admin_factor_each(&f, &k);

        if (f.n == 1) {
            memcpy(id, f.id, LLM_KEY_ID_LEN + 1);
            return LLM_OK;
        }
    }

    if (rc == LLM_OK && n == 1
        && llm_key_get(f.store, one, &k, NULL, 0) == LLM_OK)
    {
        (void) llm_admin_factor_each(&f, &k);

    } else {
        rc = llm_key_each(f.store, NULL, llm_admin_factor_each, &f, c->err,
                          sizeof(c->err));
    }

    /* a damaged record may be an admin's; the others still count */

    if (f.rc != LLM_OK || (rc != LLM_OK && rc != LLM_INVALID)) {
        return llm_admin_fail_rc(c, f.rc != LLM_OK ? f.rc : rc,
                                 "second factor");
    }

    if (f.n == 0) {
        return LLM_OK;
    }

    if (c->call->as != NULL) {
        return llm_admin_fail(c, 403, "totp_required", "as",
                              "That is no admin's key with a second factor.");
    }

    if (f.n > 1) {
        return llm_admin_fail(c, 401, "totp_required", "as",
                              "A code is needed, and %zu admins have a "
                              "second factor: whose it is?", f.n);
    }

    memcpy(id, f.id, LLM_KEY_ID_LEN + 1);

    return LLM_OK;
}


static int
llm_admin_factor_each(void *data, const llm_key_t *k)
{
    int                   rc;
    llm_totp_info_t       info;
    llm_admin_factors_t  *f = data;

    if (k->role != LLM_ROLE_ADMIN || k->revoked != 0) {
        return 0;
    }

    rc = llm_totp_info(f->store, k->id, &info, NULL, 0);

    /* a damaged enrolment is one */

    if (rc == LLM_INVALID || (rc == LLM_OK && info.state == LLM_TOTP_ON)) {
        memcpy(f->id, k->id, LLM_KEY_ID_LEN + 1);
        f->n++;

    } else if (rc != LLM_OK && rc != LLM_NOTFOUND) {
        f->rc = rc;
        return 1;
    }

    return 0;
}


static int
llm_admin_factor_check(llm_admin_ctx_t *c, const char *id, int soft)
{
    int  rc;

    if (c->call->totp == NULL || c->call->totp[0] == '\0') {
        return llm_admin_fail(c, 401, "totp_required", NULL,
                              "This needs a code of the second factor of %s.",
                              id);
    }

    rc = llm_totp_check(c->a->store, c->a->secret, id, c->call->totp, c->now,
                        c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        return LLM_OK;
    }

    if ((rc == LLM_ERROR || rc == LLM_FULL) && soft) {
        (void) snprintf(c->reply->detail, sizeof(c->reply->detail), "%s",
                        c->err);
        return LLM_AGAIN;
    }

    return llm_admin_factor_failed(c, id, rc);
}


static int
llm_admin_factor_failed(llm_admin_ctx_t *c, const char *id, int rc)
{
    llm_totp_info_t  info;

    if (rc != LLM_INVALID && rc != LLM_AGAIN) {
        return llm_admin_fail_rc(c, rc, "second factor");
    }

    if (llm_admin_totp_state(c, id, &info) != LLM_OK) {
        return LLM_ERROR;
    }

    if (rc == LLM_AGAIN) {
        c->reply->retry = info.locked > c->now ? info.locked - c->now : 1;

        return llm_admin_fail(c, 429, "totp_locked", NULL,
                              "Too many wrong codes: the second factor is "
                              "locked for %lld seconds.",
                              (long long) c->reply->retry);
    }

    /*
     * That failure has locked it.  A pending one is its owner's to play with:
     * anyone could fill the queue, which drops the oldest.
     */

    if (info.state == LLM_TOTP_ON && info.locked > c->now) {
        llm_admin_event(c, "totp_locked",
                        json_pack("{s:s, s:I, s:o}", "key_id", id,
                                  "failures", (json_int_t) info.failures,
                                  "locked_until",
                                  llm_admin_stamp(info.locked)));
    }

    return llm_admin_fail(c, 401, "totp_invalid", NULL,
                          "The code is wrong, too old, or was used before.");
}


/* whose second factor the call is about: the caller's own, or, for admins,
 * id's */

static int
llm_admin_totp_whose(llm_admin_ctx_t *c, const char *id, llm_key_t *k,
    int *other)
{
    const llm_key_t  *own = c->call->key;

    if (id == NULL || id[0] == '\0') {
        if (own == NULL) {
            return llm_admin_fail(c, 400, "missing_field", "id",
                                  "the key's id is needed");
        }

        id = own->id;
    }

    *other = own == NULL || strcmp(own->id, id) != 0;

    if (*other && c->role < LLM_ROLE_ADMIN) {
        return llm_admin_fail(c, 403, "role_required", "id",
                              "Another key's second factor needs a key of "
                              "role admin.");
    }

    return llm_admin_get(c, id, k);
}


static int
llm_admin_totp_id(llm_admin_ctx_t *c, const char **id)
{
    static const char *const  names[] = { "id", NULL };

    if (llm_admin_known(c, c->body, names) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_admin_string(c, c->body, "id", id);
}


/* LLM_OK also when there is none, then info.state says so */

static int
llm_admin_totp_state(llm_admin_ctx_t *c, const char *id,
    llm_totp_info_t *info)
{
    int  rc;

    rc = llm_totp_info(c->a->store, id, info, c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        return LLM_OK;
    }

    memset(info, 0, sizeof(llm_totp_info_t));

    return rc == LLM_NOTFOUND ? LLM_OK
                              : llm_admin_fail_rc(c, rc, "second factor");
}


int
llm_admin_totp_show(llm_admin_ctx_t *c)
{
    int              other;
    llm_key_t        k;
    llm_totp_info_t  info;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK
        || llm_admin_totp_whose(c, c->name, &k, &other) != LLM_OK
        || llm_admin_totp_state(c, k.id, &info) != LLM_OK)
    {
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, llm_admin_totp_json(k.id, &info));
}


static json_t *
llm_admin_totp_json(const char *id, const llm_totp_info_t *info)
{
    static const char *const  states[] = { "none", "pending", "on" };

    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I}", "id", id,
                     "state", states[info->state],
                     "since", llm_admin_stamp(info->since),
                     "locked_until", llm_admin_stamp(info->locked),
                     "failures", (json_int_t) info->failures,
                     "recovery_codes_left", (json_int_t) info->recovery);
}


int
llm_admin_totp_enrol(llm_admin_ctx_t *c)
{
    int                rc, other;
    json_t            *o;
    llm_key_t          k;
    const char        *id;
    llm_totp_enrol_t   e;
    llm_totp_info_t    info;

    if (llm_admin_totp_id(c, &id) != LLM_OK
        || llm_admin_totp_whose(c, id, &k, &other) != LLM_OK
        || llm_admin_totp_state(c, k.id, &info) != LLM_OK
        || llm_admin_secret(c) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (k.revoked != 0) {
        return llm_admin_fail(c, 409, "key_revoked", NULL,
                              "The key is revoked.");
    }

    if (info.state == LLM_TOTP_ON) {
        return llm_admin_fail(c, 409, "totp_enrolled", NULL,
                              "The key has a second factor: remove it first, "
                              "with a code.");
    }

    if (other && llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    memset(&e, 0, sizeof(e));
    rc = llm_totp_enrol(c->a->store, c->a->secret, k.id, k.client, &e, c->err,
                        sizeof(c->err));

    if (rc == LLM_OK) {
        o = json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "id", k.id,
                      "secret", e.secret, "uri", e.uri,
                      "qr", llm_admin_totp_qr(e.uri),
                      "recovery_codes", llm_admin_totp_codes(&e),
                      "state", "pending");

        rc = llm_admin_answer(c, 201, o);

    } else {
        rc = llm_admin_fail_rc(c, rc, "second factor");
    }

    OPENSSL_cleanse(&e, sizeof(e));

    return rc;
}


static json_t *
llm_admin_totp_codes(const llm_totp_enrol_t *e)
{
    size_t   i;
    json_t  *list;

    list = json_array();

    for (i = 0; i < LLM_TOTP_CODES; i++) {
        if (json_array_append_new(list, json_string(e->recovery[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }

    return list;
}


/* a row of the code each, "1" is dark, without the light border around it.
 * The text is a secret, and the modules are the text */

static json_t *
llm_admin_totp_qr(const char *uri)
{
    int      i, n;
    char    *row;
    QRcode  *qr;
    json_t  *list;

    qr = QRcode_encodeString(uri, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
    if (qr == NULL) {
        return json_null();
    }

    list = json_array();
    n = qr->width;

    /* they become text in place: the low bit says whether it is dark */

    for (i = 0; i < n * n; i++) {
        qr->data[i] = (qr->data[i] & 1) ? '1' : '0';
    }

    for (row = (char *) qr->data, i = 0; i < n; row += n, i++) {
        (void) json_array_append_new(list, json_stringn(row, (size_t) n));
    }

    OPENSSL_cleanse(qr->data, (size_t) n * (size_t) n);
    QRcode_free(qr);

    return list;
}


int
llm_admin_totp_confirm(llm_admin_ctx_t *c)
{
    int              rc, other;
    llm_key_t        k;
    const char      *code, *id;
    llm_totp_info_t  info;

    static const char *const  names[] = { "code", "id", NULL };

    if (llm_admin_known(c, c->body, names) != LLM_OK
        || llm_admin_string(c, c->body, "id", &id) != LLM_OK
        || llm_admin_string(c, c->body, "code", &code) != LLM_OK
        || llm_admin_totp_whose(c, id, &k, &other) != LLM_OK
        || llm_admin_totp_state(c, k.id, &info) != LLM_OK
        || llm_admin_secret(c) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (code == NULL) {
        return llm_admin_fail(c, 400, "missing_field", "code",
                              "the first code of the app is needed");
    }

    if (info.state == LLM_TOTP_ON) {
        return llm_admin_fail(c, 409, "totp_enrolled", NULL,
                              "The second factor is confirmed already.");
    }

    if (info.state == LLM_TOTP_NONE) {
        return llm_admin_fail(c, 404, "totp_not_enrolled", NULL,
                              "The key has no second factor.");
    }

    rc = llm_totp_confirm(c->a->store, c->a->secret, k.id, code, c->now,
                          c->err, sizeof(c->err));

    if (rc != LLM_OK) {
        return llm_admin_factor_failed(c, k.id, rc);
    }

    if (llm_admin_totp_state(c, k.id, &info) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, llm_admin_totp_json(k.id, &info));
}


int
llm_admin_totp_recovery(llm_admin_ctx_t *c)
{
    int                rc, other;
    llm_key_t          k;
    const char        *id;
    llm_totp_enrol_t   e;
    llm_totp_info_t    info;

    if (llm_admin_totp_id(c, &id) != LLM_OK
        || llm_admin_totp_whose(c, id, &k, &other) != LLM_OK
        || llm_admin_totp_state(c, k.id, &info) != LLM_OK
        || llm_admin_secret(c) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (info.state != LLM_TOTP_ON) {
        return llm_admin_fail(c, 404, "totp_not_enrolled", NULL,
                              "The key has no second factor.");
    }

    if (llm_admin_factor(c, 0) != LLM_OK) {
        return LLM_ERROR;
    }

    memset(&e, 0, sizeof(e));
    rc = llm_totp_recovery(c->a->store, c->a->secret, k.id, &e, c->err,
                           sizeof(c->err));

    rc = rc == LLM_OK
         ? llm_admin_answer(c, 200,
                            json_pack("{s:s, s:o}", "id", k.id,
                                      "recovery_codes",
                                      llm_admin_totp_codes(&e)))
         : llm_admin_fail_rc(c, rc, "second factor");

    OPENSSL_cleanse(&e, sizeof(e));

    return rc;
}


/* the path names another's, or the caller's own.  A damaged record is removed
 * too */

int
llm_admin_totp_remove(llm_admin_ctx_t *c)
{
    int              rc, other;
    llm_key_t        k;
    llm_totp_info_t  info;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->body, none) != LLM_OK
        || llm_admin_totp_whose(c, c->name, &k, &other) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (llm_totp_info(c->a->store, k.id, &info, NULL, 0) == LLM_NOTFOUND) {
        return llm_admin_fail(c, 404, "totp_not_enrolled", NULL,
                              "The key has no second factor.");
    }

    rc = c->call->break_glass && c->call->key == NULL
         ? llm_admin_totp_glass(c) : llm_admin_factor(c, 0);

    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_totp_remove(c->a->store, k.id, c->err, sizeof(c->err));

    if (rc == LLM_NOTFOUND) {
        return llm_admin_fail(c, 404, "totp_not_enrolled", NULL,
                              "The key has no second factor.");
    }

    if (rc != LLM_OK) {
        return llm_admin_fail_rc(c, rc, "second factor");
    }

    memset(&info, 0, sizeof(info));

    return llm_admin_answer(c, 200, llm_admin_totp_json(k.id, &info));
}


/*
 * Without a code, for who holds this store's secret: it could make any key.
 * The note is committed first, so none is removed like this in silence.
 */

static int
llm_admin_totp_glass(llm_admin_ctx_t *c)
{
    int  rc;

    if (llm_admin_secret(c) != LLM_OK) {
        return LLM_ERROR;
    }

    rc = llm_store_verify(c->a->store, c->a->secret, c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        rc = llm_store_note(c->a->store, "totp.break_glass", c->name,
                            "removed without a code", c->err,
                            sizeof(c->err));
    }

    return rc == LLM_OK ? LLM_OK : llm_admin_fail_rc(c, rc, "break glass");
}
