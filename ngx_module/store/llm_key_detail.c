
/*
 * Copyright (C) nginx-llm contributors
 *
 * A key's members as text, for the log of changes.  No state: any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "llm_store_int.h"


/* cut where the buffer ends */
typedef struct {
    char   *p;
    size_t  size;
    size_t  n;
} llm_detail_t;


static void llm_detail_add(llm_detail_t *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void llm_detail_number(llm_detail_t *d, const char *name,
    uint64_t value);
static void llm_detail_scopes(llm_detail_t *d, const llm_key_t *k,
    unsigned set);


void
llm_key_detail(char *buf, size_t size, const llm_key_t *k, unsigned set)
{
    char          text[32];
    llm_detail_t  d;

    buf[0] = '\0';
    d.p = buf;
    d.size = size;
    d.n = 0;

    if (set & LLM_SET_CLIENT) {
        llm_detail_add(&d, "client=%s", k->client);
    }

    if (set & LLM_SET_ROLE) {
        llm_detail_add(&d, "role=%s", llm_role_name(k->role));
    }

    if ((set & LLM_SET_EXPIRES) && k->expires != 0) {
        llm_detail_add(&d, "expires=%s",
                       llm_time_format(k->expires, text, sizeof(text)));
    }

    /* a new key's limits are told where it has them, a change always */

    if (set == LLM_SET_ALL) {
        set &= ~(LLM_SET_NOTICED
                 | (k->limits.rpm == 0 ? LLM_SET_RPM : 0u)
                 | (k->limits.tpm == 0 ? LLM_SET_TPM : 0u)
                 | (k->limits.concurrent == 0 ? LLM_SET_CONC : 0u)
                 | (k->limits.day == 0 ? LLM_SET_DAY : 0u)
                 | (k->limits.month == 0 ? LLM_SET_MONTH : 0u)
                 | (k->n_net == 0 ? LLM_SET_NETS : 0u)
                 | (k->models_len == 0 ? LLM_SET_MODELS : 0u));
    }

    llm_detail_scopes(&d, k, set);
}


static void
llm_detail_scopes(llm_detail_t *d, const llm_key_t *k, unsigned set)
{
    char    text[64];
    size_t  i;

    if (set & LLM_SET_RPM) {
        llm_detail_number(d, "rpm", k->limits.rpm);
    }

    if (set & LLM_SET_TPM) {
        llm_detail_number(d, "tpm", k->limits.tpm);
    }

    if (set & LLM_SET_CONC) {
        llm_detail_number(d, "concurrent", k->limits.concurrent);
    }

    if (set & LLM_SET_DAY) {
        llm_detail_number(d, "day", k->limits.day);
    }

    if (set & LLM_SET_MONTH) {
        llm_detail_number(d, "month", k->limits.month);
    }

    if (set & LLM_SET_NETS) {
        if (k->n_net == 0) {
            llm_detail_add(d, "net=any");
        }

        for (i = 0; i < k->n_net; i++) {
            llm_detail_add(d, "net=%s",
                           llm_net_format(&k->net[i], text, sizeof(text)));
        }
    }

    if (set & LLM_SET_MODELS) {
        if (k->models_len == 0) {
            llm_detail_add(d, "model=any");
        }

        for (i = 0; i < k->models_len; i += strlen(k->models + i) + 1) {
            llm_detail_add(d, "model=%s", k->models + i);
        }
    }
}


static void
llm_detail_number(llm_detail_t *d, const char *name, uint64_t value)
{
    if (value == 0) {
        llm_detail_add(d, "%s=unlimited", name);

    } else {
        llm_detail_add(d, "%s=%llu", name, (unsigned long long) value);
    }
}


static void
llm_detail_add(llm_detail_t *d, const char *fmt, ...)
{
    int      n;
    va_list  args;

    if (d->n > 0 && d->n + 1 < d->size) {
        d->p[d->n++] = ' ';
        d->p[d->n] = '\0';
    }

    va_start(args, fmt);
    n = vsnprintf(d->p + d->n, d->size - d->n, fmt, args);
    va_end(args);

    if (n > 0) {
        d->n = (d->n + (size_t) n < d->size) ? d->n + (size_t) n
                                             : d->size - 1;
    }
}


/* ISO 8601, UTC */

char *
llm_time_format(int64_t t, char *buf, size_t size)
{
    time_t     tt;
    struct tm  tm;

    tt = (time_t) t;

    if (gmtime_r(&tt, &tm) == NULL
        || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        (void) snprintf(buf, size, "%lld", (long long) t);
    }

    return buf;
}
