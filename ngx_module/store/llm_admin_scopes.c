
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a key may: the members of a body that create and update share, flat or
 * in an object "scopes".  No state.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_admin_int.h"


#define LLM_ADMIN_TOKENS_MAX  (1LL << 53)   /* what every JSON reader knows */


typedef struct {
    const char  *name;
    unsigned     set;
    int64_t      max;
} llm_admin_number_t;


static int llm_admin_client(llm_admin_ctx_t *c, json_t *body, llm_key_t *k,
    unsigned *set);
static int llm_admin_scopes_of(llm_admin_ctx_t *c, json_t *o, llm_key_t *k,
    unsigned *set);
static int llm_admin_number(llm_admin_ctx_t *c, json_t *v,
    const llm_admin_number_t *n, llm_key_t *k);
static int llm_admin_models(llm_admin_ctx_t *c, json_t *v, llm_key_t *k);
static int llm_admin_nets(llm_admin_ctx_t *c, json_t *v, llm_key_t *k);
static int llm_admin_array(llm_admin_ctx_t *c, json_t *v, const char *name);


static const llm_admin_number_t  llm_admin_numbers[] = {
    { "requests_per_minute", LLM_SET_RPM, UINT32_MAX },
    { "tokens_per_minute", LLM_SET_TPM, UINT32_MAX },
    { "concurrent", LLM_SET_CONC, UINT32_MAX },
    { "tokens_per_day", LLM_SET_DAY, LLM_ADMIN_TOKENS_MAX },
    { "tokens_per_month", LLM_SET_MONTH, LLM_ADMIN_TOKENS_MAX },
    { NULL, 0, 0 }
};


int
llm_admin_scopes(llm_admin_ctx_t *c, json_t *body, llm_key_t *k,
    unsigned *set)
{
    json_t      *scopes;
    llm_role_e   role;

    static const char *const  names[] = {
        "client", "role", "expires", "scopes", "models", "addresses",
        "requests_per_minute", "tokens_per_minute", "concurrent",
        "tokens_per_day", "tokens_per_month", NULL
    };

    *set = 0;

    if (llm_admin_known(c, body, names) != LLM_OK
        || llm_admin_client(c, body, k, set) != LLM_OK
        || llm_admin_role(c, body, &role) != LLM_OK
        || llm_admin_scopes_of(c, body, k, set) != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (role > c->role) {
        return llm_admin_fail(c, 403, "role_required", "role",
                              "A key can't give more than its own role.");
    }

    if (role != LLM_ROLE_NONE) {
        k->role = role;
        *set |= LLM_SET_ROLE;
    }

    scopes = json_object_get(body, "scopes");

    if (scopes == NULL) {
        return LLM_OK;
    }

    if (!json_is_object(scopes)) {
        return llm_admin_fail(c, 400, "invalid_type", "scopes",
                              "It must be an object.");
    }

    if (llm_admin_known(c, scopes, names + 4) != LLM_OK) {
        return LLM_ERROR;
    }

    return llm_admin_scopes_of(c, scopes, k, set);
}


static int
llm_admin_client(llm_admin_ctx_t *c, json_t *body, llm_key_t *k,
    unsigned *set)
{
    const char  *p, *s;

    if (llm_admin_string(c, body, "client", &s) != LLM_OK) {
        return LLM_ERROR;
    }

    if (s == NULL) {
        return LLM_OK;
    }

    for (p = s; *p > ' ' && *p < 0x7f && strchr("'\"`\\", *p) == NULL; p++) {
        /* void */
    }

    if (*p != '\0' || p == s || p - s > LLM_CLIENT_MAX) {
        return llm_admin_fail(c, 400, "invalid_value", "client",
                              "1 to %d printable ASCII characters without "
                              "space, quote, backslash", LLM_CLIENT_MAX);
    }

    strcpy(k->client, s);
    *set |= LLM_SET_CLIENT;

    return LLM_OK;
}


/* null is no limit */

static int
llm_admin_scopes_of(llm_admin_ctx_t *c, json_t *o, llm_key_t *k,
    unsigned *set)
{
    int                        rc;
    json_t                    *v;
    unsigned                   bit;
    const char                *name;
    const llm_admin_number_t  *n;

    json_object_foreach(o, name, v) {
        rc = LLM_OK;
        bit = 0;

        for (n = llm_admin_numbers; n->name != NULL; n++) {
            if (strcmp(n->name, name) == 0) {
                rc = llm_admin_number(c, v, n, k);
                bit = n->set;
                break;
            }
        }

        if (strcmp(name, "models") == 0) {
            rc = llm_admin_models(c, v, k);
            bit = LLM_SET_MODELS;

        } else if (strcmp(name, "addresses") == 0) {
            rc = llm_admin_nets(c, v, k);
            bit = LLM_SET_NETS;
        }

        if (rc != LLM_OK) {
            return rc;
        }

        if (*set & bit) {
            return llm_admin_fail(c, 400, "invalid_value", name,
                                  "It is given twice.");
        }

        *set |= bit;
    }

    return LLM_OK;
}


static int
llm_admin_number(llm_admin_ctx_t *c, json_t *v, const llm_admin_number_t *n,
    llm_key_t *k)
{
    json_int_t  value;

    value = 0;

    if (!json_is_null(v)) {

        if (!json_is_integer(v)) {
            return llm_admin_fail(c, 400, "invalid_type", n->name,
                                  "It must be a whole number, or null for "
                                  "no limit.");
        }

        value = json_integer_value(v);

        if (value < 1 || value > n->max) {
            return llm_admin_fail(c, 400, "invalid_value", n->name,
                                  "from 1 to %lld, or null for no limit",
                                  (long long) n->max);
        }
    }

    switch (n->set) {
    case LLM_SET_RPM:
        k->limits.rpm = (uint32_t) value;
        break;
    case LLM_SET_TPM:
        k->limits.tpm = (uint32_t) value;
        break;
    case LLM_SET_CONC:
        k->limits.concurrent = (uint32_t) value;
        break;
    case LLM_SET_DAY:
        k->limits.day = (uint64_t) value;
        break;
    default:
        k->limits.month = (uint64_t) value;
        break;
    }

    return LLM_OK;
}


static int
llm_admin_models(llm_admin_ctx_t *c, json_t *v, llm_key_t *k)
{
    size_t   i;
    json_t  *item;

    k->models_len = 0;

    if (json_is_null(v)) {
        return LLM_OK;
    }

    if (llm_admin_array(c, v, "models") != LLM_OK) {
        return LLM_ERROR;
    }

    json_array_foreach(v, i, item) {

        if (llm_key_add_model(k, json_string_value(item),
                              json_string_length(item), c->err,
                              sizeof(c->err))
            != LLM_OK)
        {
            return llm_admin_fail(c, 400, "invalid_value", "models",
                                  "%.400s", c->err);
        }
    }

    return LLM_OK;
}


static int
llm_admin_nets(llm_admin_ctx_t *c, json_t *v, llm_key_t *k)
{
    size_t   i;
    json_t  *item;

    k->n_net = 0;

    if (json_is_null(v)) {
        return LLM_OK;
    }

    if (llm_admin_array(c, v, "addresses") != LLM_OK) {
        return LLM_ERROR;
    }

    if (json_array_size(v) > LLM_KEY_NETS) {
        return llm_admin_fail(c, 400, "invalid_value", "addresses",
                              "at most %d", LLM_KEY_NETS);
    }

    json_array_foreach(v, i, item) {

        if (llm_net_parse(&k->net[i], json_string_value(item),
                          json_string_length(item), c->err, sizeof(c->err))
            != LLM_OK)
        {
            return llm_admin_fail(c, 400, "invalid_value", "addresses",
                                  "%.400s", c->err);
        }
    }

    k->n_net = (uint32_t) json_array_size(v);

    return LLM_OK;
}


/* an empty array could mean none or all: null says all */

static int
llm_admin_array(llm_admin_ctx_t *c, json_t *v, const char *name)
{
    size_t   i;
    json_t  *item;

    if (!json_is_array(v)) {
        return llm_admin_fail(c, 400, "invalid_type", name,
                              "It must be an array of strings, or null.");
    }

    json_array_foreach(v, i, item) {
        if (!json_is_string(item)) {
            return llm_admin_fail(c, 400, "invalid_type", name,
                                  "It must be an array of strings, or null.");
        }
    }

    if (json_array_size(v) == 0) {
        return llm_admin_fail(c, 400, "invalid_value", name,
                              "It is empty; null is no restriction.");
    }

    return LLM_OK;
}
