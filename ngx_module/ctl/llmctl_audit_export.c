
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit: export, checkpoint, keys, prune, renew.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../store/llm_admin_int.h"
#include "llmctl_audit.h"


/* records that are told to be missing, then it is enough */
#define LLMCTL_AUDIT_MISSING  10000


static int llmctl_audit_records(llmctl_admin_t *x, int64_t since,
    int64_t until);
static int llmctl_audit_calls(llmctl_admin_t *x, int64_t since,
    int64_t until);
static int llmctl_audit_call(void *data, const llm_audit_call_t *call);
static int llmctl_audit_key(void *data, const llm_audit_key_t *key);
static int llmctl_audit_pruned(llmctl_admin_t *x, int64_t keep);


int
llmctl_audit_export(int argc, char **argv)
{
    int              calls, rc;
    int64_t          since, until;
    const char      *none[1], *from, *to;
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        { "store", &x.store, NULL },
        { "secret", &x.source, NULL },
        { "since", &from, NULL },
        { "until", &to, NULL },
        { "calls", NULL, &calls },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    from = to = NULL;
    since = until = 0;
    calls = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_time(&x, "since", from, &since);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_time(&x, "until", to, &until);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_TRY, 0);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = calls ? llmctl_audit_calls(&x, since, until)
               : llmctl_audit_records(&x, since, until);

    llmctl_admin_close(&x);

    return rc;
}


/* to the record that is the last one now */

static int
llmctl_audit_records(llmctl_admin_t *x, int64_t since, int64_t until)
{
    int        rc;
    char       err[LLM_ERRLEN];
    json_t    *o;
    uint64_t   end, missing, n;

    missing = 0;

    /* by what is there: who may write the file may have the head say other */

    rc = llm_audit_find(x->audit, since, &n, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_audit_find(x->audit, until != 0 ? until : INT64_MAX, &end,
                            err, sizeof(err));
    }

    for ( /* void */ ; rc == LLM_OK && n < end; n++) {

        rc = llm_audit_record_json(x->audit, n, &o, err, sizeof(err));

        if (rc == LLM_NOTFOUND && missing++ < LLMCTL_AUDIT_MISSING) {
            (void) llmctl_error(0, "%s: record %llu is missing", x->cmd,
                                (unsigned long long) n);
            rc = LLM_OK;
            continue;
        }

        if (rc == LLM_OK) {
            rc = llmctl_audit_line(o);
        }
    }

    if (llmctl_flush() != LLMCTL_OK || rc == LLM_CANCELLED) {
        return LLMCTL_FAILED;
    }

    if (rc != LLM_OK) {
        return llmctl_error(LLMCTL_FAILED, "%s: %s", x->cmd,
                            rc == LLM_NOMEM ? "no memory" : err);
    }

    return missing == 0 ? LLMCTL_OK : LLMCTL_FAILED;
}


static int
llmctl_audit_calls(llmctl_admin_t *x, int64_t since, int64_t until)
{
    int                 rc;
    char                err[LLM_ERRLEN];
    uint64_t            next;
    llm_audit_query_t   q;

    memset(&q, 0, sizeof(q));

    q.since = since;
    q.until = until;
    q.oldest = 1;
    err[0] = '\0';

    rc = llm_audit_query(x->audit, &q, llmctl_audit_call, NULL, &next, err,
                         sizeof(err));

    if (llmctl_flush() != LLMCTL_OK || rc == LLM_CANCELLED) {
        return LLMCTL_FAILED;
    }

    if (rc != LLM_OK) {
        return llmctl_error(LLMCTL_FAILED, "%s: %s", x->cmd,
                            rc == LLM_NOMEM ? "no memory" : err);
    }

    return LLMCTL_OK;
}


static int
llmctl_audit_call(void *data, const llm_audit_call_t *call)
{
    return llmctl_audit_line(llm_audit_call_json(call));
}


int
llmctl_audit_checkpoint(int argc, char **argv)
{
    int                      rc;
    char                     err[LLM_ERRLEN], hash[65], key[65], sig[129];
    char                     stamp[32];
    const char              *none[1];
    llmctl_admin_t           x;
    llm_audit_checkpoint_t   c;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_NEED, 1);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llm_audit_sign(x.audit, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_audit_checkpoint(x.audit, &c, err, sizeof(err));
    }

    if (rc != LLM_OK) {
        llmctl_admin_close(&x);
        return llmctl_error(llmctl_exit(rc), "%s: %s", x.cmd, err);
    }

    printf("{\"number\": %llu, \"time\": \"%s\", \"epoch\": %u,\n"
           " \"hash\": \"%s\",\n \"signature\": \"%s\",\n"
           " \"public_key\": \"%s\"}\n", (unsigned long long) c.number,
           llmctl_audit_stamp(stamp, sizeof(stamp), c.time), c.epoch,
           llmctl_audit_hex(hash, c.hash, sizeof(c.hash)),
           llmctl_audit_hex(sig, c.signature, sizeof(c.signature)),
           llmctl_audit_hex(key, c.public_key, sizeof(c.public_key)));

    llmctl_admin_close(&x);

    return llmctl_flush();
}


int
llmctl_audit_keys(int argc, char **argv)
{
    int              rc;
    char             err[LLM_ERRLEN];
    json_t          *list;
    const char      *none[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_TRY, 0);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    list = x.json ? json_array() : NULL;

    if (!x.json) {
        printf("EPOCH  %-24s  PUBLIC KEY\n", "SINCE");
    }

    rc = llm_audit_key_each(x.audit, llmctl_audit_key, list, err,
                            sizeof(err));

    if (rc != LLM_OK) {
        rc = llmctl_error(LLMCTL_FAILED, "%s: %s", x.cmd,
                          rc == LLM_NOMEM ? "no memory" : err);

    } else {
        rc = x.json ? llmctl_admin_json(list) : llmctl_flush();
    }

    json_decref(list);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_audit_key(void *data, const llm_audit_key_t *key)
{
    char     hex[65], stamp[32];
    json_t  *list = data;

    (void) llmctl_audit_hex(hex, key->public_key, sizeof(key->public_key));
    (void) llmctl_audit_stamp(stamp, sizeof(stamp), key->time);

    if (list != NULL) {
        return json_array_append_new(list,
                   json_pack("{s:I, s:s, s:s}",
                             "epoch", (json_int_t) key->epoch,
                             "time", stamp, "public_key", hex))
               == 0 ? LLM_OK : LLM_NOMEM;
    }

    printf("%5u  %-24s  %s\n", key->epoch, stamp, hex);

    return LLM_OK;
}


int
llmctl_audit_prune(int argc, char **argv)
{
    int              rc;
    int64_t          seconds;
    const char      *none[1], *keep;
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { "keep", &keep, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    keep = NULL;
    seconds = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK
        && (keep == NULL || llm_admin_duration(keep, &seconds) != LLM_OK))
    {
        rc = llmctl_error(LLMCTL_USAGE, "%s: --keep: a time such as 180d is "
                          "needed", x.cmd);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_NEED, 1);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_audit_pruned(&x, seconds);
    llmctl_admin_close(&x);

    return rc;
}


static int
llmctl_audit_pruned(llmctl_admin_t *x, int64_t keep)
{
    int                rc;
    char               err[LLM_ERRLEN];
    uint64_t           dropped;
    llm_audit_stat_t   st;

    dropped = 0;

    rc = llm_audit_prune(x->audit, (int64_t) time(NULL), keep, &dropped,
                         err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_audit_stat(x->audit, &st, err, sizeof(err));
    }

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s: %s", x->cmd, err);
    }

    if (x->json) {
        printf("{\"dropped\": %llu, \"first\": %llu, \"last\": %llu}\n",
               (unsigned long long) dropped, (unsigned long long) st.first,
               (unsigned long long) st.last);
    } else {
        printf("%llu records are dropped, %llu to %llu are there.\n",
               (unsigned long long) dropped, (unsigned long long) st.first,
               (unsigned long long) st.last);
    }

    return llmctl_flush();
}


int
llmctl_audit_renew(int argc, char **argv)
{
    int              rc;
    char             err[LLM_ERRLEN];
    uint32_t         version;
    const char      *none[1];
    llmctl_admin_t   x;

    const llmctl_opt_t  opts[] = {
        { "store", &x.store, NULL },
        { "secret", &x.source, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        x.bare = 1;
        rc = llmctl_admin_open(&x, LLMCTL_SECRET_NEED);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    version = llmctl_trail_version(&x);
    rc = llm_audit_renew(x.store, x.secret, version, err, sizeof(err));
    llmctl_admin_close(&x);

    if (rc != LLM_OK) {
        return llmctl_error(llmctl_exit(rc), "%s: %s", x.cmd, err);
    }

    printf("A new audit trail is begun; what was left of the old one is in "
           "audit-lost-*.\nKeep that, and look into how it was lost.\n");

    return llmctl_flush();
}
