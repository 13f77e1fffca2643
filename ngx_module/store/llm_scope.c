
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a key's record says of a request: when it is good, from where, for
 * which models.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "llm_store_int.h"


#define LLM_NET_TEXT   (INET6_ADDRSTRLEN + 4)
#define LLM_KEY_FOUND  16   /* digits: "risk-20270131" is no key */


static int llm_net_mapped(const uint8_t *addr);
static int llm_net_bits(const char *text, size_t len, unsigned max);


static const uint8_t  llm_net_prefix[12] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff
};


llm_key_state_e
llm_key_state(const llm_key_t *k, int64_t now, int64_t max_age)
{
    if (k->revoked != 0) {
        return LLM_KEY_REVOKED;
    }

    if (k->until != 0 && k->until <= now) {
        return LLM_KEY_ROTATED;
    }

    if (k->expires != 0 && k->expires <= now) {
        return LLM_KEY_EXPIRED;
    }

    if (llm_key_end(k, max_age) <= now) {
        return LLM_KEY_TOO_OLD;
    }

    return LLM_KEY_GOOD;
}


int64_t
llm_key_end(const llm_key_t *k, int64_t max_age)
{
    int64_t  end, old;

    end = INT64_MAX;

    if (max_age > 0 && !__builtin_add_overflow(k->issued, max_age, &old)) {
        end = old;
    }

    if (k->expires != 0 && k->expires < end) {
        end = k->expires;
    }

    if (k->until != 0 && k->until < end) {
        end = k->until;
    }

    return end;
}


const char *
llm_key_state_name(llm_key_state_e state)
{
    switch (state) {

    case LLM_KEY_GOOD:
        return "active";

    case LLM_KEY_REVOKED:
        return "revoked";

    case LLM_KEY_EXPIRED:
        return "expired";

    case LLM_KEY_TOO_OLD:
        return "too old";

    case LLM_KEY_ROTATED:
        return "rotated";
    }

    return "unknown";
}


/* an IPv4 address is in IPv4 ranges only: "::/0" is no way in for it */

int
llm_key_from(const llm_key_t *k, const uint8_t *addr)
{
    int                mapped;
    size_t             i, n;
    const llm_net_t   *net;

    if (k->n_net == 0) {
        return 1;
    }

    mapped = llm_net_mapped(addr);

    for (i = 0; i < k->n_net && i < LLM_KEY_NETS; i++) {
        net = &k->net[i];

        if (net->bits > 128 || (mapped && net->bits < 96)) {
            continue;
        }

        n = net->bits / 8;

        if (memcmp(net->addr, addr, n) == 0
            && (net->bits % 8 == 0
                || (net->addr[n] ^ addr[n]) >> (8 - net->bits % 8) == 0))
        {
            return 1;
        }
    }

    return 0;
}


static int
llm_net_mapped(const uint8_t *addr)
{
    return memcmp(addr, llm_net_prefix, sizeof(llm_net_prefix)) == 0;
}


int
llm_net_parse(llm_net_t *net, const char *text, size_t len, char *err,
    size_t errlen)
{
    int          bits;
    char         buf[LLM_NET_TEXT + 1];
    size_t       n;
    unsigned     max;
    const char  *slash;

    memset(net, 0, sizeof(llm_net_t));

    slash = memchr(text, '/', len);
    n = (slash == NULL) ? len : (size_t) (slash - text);

    if (n == 0 || n > LLM_NET_TEXT || memchr(text, '\0', len) != NULL) {
        goto invalid;
    }

    memcpy(buf, text, n);
    buf[n] = '\0';

    max = 128;

    if (inet_pton(AF_INET6, buf, net->addr) != 1) {
        max = 32;
        memcpy(net->addr, llm_net_prefix, sizeof(llm_net_prefix));

        if (inet_pton(AF_INET, buf, net->addr + 12) != 1) {
            goto invalid;
        }
    }

    bits = (slash == NULL) ? (int) max
                           : llm_net_bits(slash + 1, len - n - 1, max);

    if (bits == -1) {
        goto invalid;
    }

    net->bits = (uint8_t) (bits + 128 - (int) max);

    if (!llm_net_valid(net)) {
        return llm_err(err, errlen, LLM_INVALID, "address range: bits are "
                       "set beyond its first %d", bits);
    }

    return LLM_OK;

invalid:

    return llm_err(err, errlen, LLM_INVALID, "address range: it must be an "
                   "IPv4 or IPv6 address, or a range like 10.0.0.0/8");
}


static int
llm_net_bits(const char *text, size_t len, unsigned max)
{
    size_t    i;
    unsigned  n;

    if (len < 1 || len > 3 || (len > 1 && text[0] == '0')) {
        return -1;
    }

    n = 0;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }

        n = 10 * n + (unsigned) (text[i] - '0');
    }

    return n > max ? -1 : (int) n;
}


int
llm_net_valid(const llm_net_t *net)
{
    size_t  i;

    if (net->bits > 128) {
        return 0;
    }

    i = net->bits / 8;

    if (net->bits % 8 != 0
        && (uint8_t) (net->addr[i++] << net->bits % 8) != 0)
    {
        return 0;
    }

    while (i < 16) {
        if (net->addr[i++] != 0) {
            return 0;
        }
    }

    return 1;
}


char *
llm_net_format(const llm_net_t *net, char *buf, size_t size)
{
    int       v4;
    char      text[INET6_ADDRSTRLEN];
    unsigned  bits;

    v4 = net->bits >= 96 && llm_net_mapped(net->addr);
    bits = v4 ? net->bits - 96u : net->bits;

    if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? net->addr + 12 : net->addr,
                  text, sizeof(text))
        == NULL)
    {
        text[0] = '\0';
    }

    if (bits == (v4 ? 32 : 128)) {
        (void) snprintf(buf, size, "%s", text);

    } else {
        (void) snprintf(buf, size, "%s/%u", text, bits);
    }

    return buf;
}


int
llm_key_model(const llm_key_t *k, const char *name, size_t len)
{
    size_t       n;
    const char  *p, *last;

    if (k->models_len == 0) {
        return 1;
    }

    p = k->models;
    last = p + (k->models_len < LLM_KEY_MODELS ? k->models_len
                                               : LLM_KEY_MODELS);

    while (p < last) {
        n = strnlen(p, (size_t) (last - p));

        if (n == len && memcmp(p, name, n) == 0) {
            return 1;
        }

        p += n + 1;
    }

    return 0;
}


int
llm_key_add_model(llm_key_t *k, const char *name, size_t len, char *err,
    size_t errlen)
{
    size_t  n;

    if (llm_key_find(name, len, &n) != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "model: it holds a key");
    }

    if (len == 0 || len > LLM_NAME_MAX || llm_text_span(name, len) != len) {
        return llm_err(err, errlen, LLM_INVALID, "model: its name must have "
                       "1 to %d printable characters", LLM_NAME_MAX);
    }

    if (k->models_len > 0 && llm_key_model(k, name, len)) {
        return LLM_OK;
    }

    if (k->models_len + len + 1 > LLM_KEY_MODELS) {
        return llm_err(err, errlen, LLM_INVALID, "models: their names have "
                       "more than %d characters", LLM_KEY_MODELS);
    }

    memcpy(k->models + k->models_len, name, len);
    k->models[k->models_len + len] = '\0';
    k->models_len += (uint32_t) len + 1;

    return LLM_OK;
}


int
llm_models_valid(const char *models, size_t len)
{
    size_t  i, n;

    if (len > LLM_KEY_MODELS) {
        return 0;
    }

    for (i = 0; i < len; i += n + 1) {
        n = llm_text_span(models + i, len - i);

        if (n == 0 || n > LLM_NAME_MAX || i + n == len || models[i + n] != 0)
        {
            return 0;
        }
    }

    return 1;
}


/* texts have few dashes */

const char *
llm_key_find(const char *text, size_t len, size_t *n)
{
    size_t       i;
    const char  *dash;

    for (i = 2; i + 1 + LLM_KEY_FOUND <= len; i++) {

        dash = memchr(text + i, '-', len - LLM_KEY_FOUND - i);

        if (dash == NULL) {
            break;
        }

        i = (size_t) (dash - text);

        if (text[i - 2] != 's' || text[i - 1] != 'k') {
            continue;
        }

        *n = 3;

        while (i - 2 + *n < len && isxdigit((unsigned char) text[i - 2 + *n]))
        {
            (*n)++;
        }

        if (*n >= 3 + LLM_KEY_FOUND) {
            return text + i - 2;
        }
    }

    return NULL;
}


size_t
llm_key_size(const llm_key_t *k)
{
    return offsetof(llm_key_t, models) + k->models_len;
}
