
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit verify: what is wrong with the audit trail, told as it is
 * found, and the verdict.  Others' scripts judge by the exit code.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../store/llm_admin_int.h"
#include "llmctl_audit.h"


#define LLMCTL_AUDIT_BAR    30      /* characters of the progress bar */
#define LLMCTL_AUDIT_KEYS   16      /* public keys of the command line */
#define LLMCTL_AUDIT_JSON   65536   /* bytes of a checkpoint's file */


typedef struct {
    json_t  *findings;              /* NULL: to be printed at once */
    int      bar;                   /* there is one to wipe */
    int      vouched;               /* a public key was given */
    double   start;
} llmctl_verify_t;


static int llmctl_verify_keys(llmctl_admin_t *x, const char *list,
    uint8_t *keys, size_t *n);
static int llmctl_verify_checkpoint(llmctl_admin_t *x, const char *name,
    llm_audit_verify_t *v, uint8_t *keys, size_t *n);
static int llmctl_verify_kept(json_t *o, llm_audit_verify_t *v,
    uint8_t *keys, size_t *n);
static int llmctl_verify_open(llmctl_admin_t *x, llmctl_verify_t *w);
static int llmctl_verify_run(llmctl_admin_t *x, llm_audit_verify_t *v,
    llmctl_verify_t *w);
static int llmctl_verify_print(llmctl_admin_t *x, llmctl_verify_t *w,
    const llm_audit_verdict_t *r);
static void llmctl_verify_text(const llmctl_admin_t *x,
    const llmctl_verify_t *w, const llm_audit_verdict_t *r);
static int llmctl_verify_json(const llmctl_admin_t *x, llmctl_verify_t *w,
    const llm_audit_verdict_t *r);
static int llmctl_verify_found(void *data, const llm_audit_finding_t *f);
static void llmctl_verify_progress(void *data, uint64_t done, uint64_t all);
static void llmctl_verify_wipe(llmctl_verify_t *w);
static const char *llmctl_verify_fault(llm_audit_fault_e fault);
static double llmctl_verify_now(void);


int
llmctl_audit_verify(int argc, char **argv)
{
    int                  rc;
    size_t               n;
    uint8_t              keys[LLMCTL_AUDIT_KEYS * 32];
    const char          *none[1], *file, *public;
    llmctl_admin_t       x;
    llmctl_verify_t      w;
    llm_audit_verify_t   v;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { "public-key", &public, NULL },
        { "checkpoint", &file, NULL },
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&v, 0, sizeof(v));
    memset(&w, 0, sizeof(w));
    public = file = NULL;
    n = 0;

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK && public != NULL) {
        rc = llmctl_verify_keys(&x, public, keys, &n);
    }

    /* as whoever calls: the owner of the store may not read it */

    if (rc == LLMCTL_OK && file != NULL) {
        rc = llmctl_verify_checkpoint(&x, file, &v, keys, &n);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    v.public_key = keys;
    v.n_public_key = n;
    w.vouched = (n != 0);
    w.findings = x.json ? json_array() : NULL;
    w.start = llmctl_verify_now();

    rc = llmctl_verify_open(&x, &w);

    if (rc == LLMCTL_OK) {
        rc = llmctl_verify_run(&x, &v, &w);
        llmctl_admin_close(&x);
    }

    json_decref(w.findings);

    return rc;
}


static int
llmctl_verify_keys(llmctl_admin_t *x, const char *list, uint8_t *keys,
    size_t *n)
{
    char    hex[65];
    size_t  len;

    for ( ;; ) {
        len = strcspn(list, ",");

        if (len == 64 && *n < LLMCTL_AUDIT_KEYS) {
            memcpy(hex, list, 64);
            hex[64] = '\0';

            if (llmctl_audit_unhex(keys + 32 * *n, 32, hex)) {
                (*n)++;
                list += len;

                if (*list == '\0') {
                    return LLMCTL_OK;
                }

                list++;
                continue;
            }
        }

        return llmctl_error(LLMCTL_USAGE, "%s: --public-key: 64 hex digits, "
                            "as llmctl audit keys prints them", x->cmd);
    }
}


static int
llmctl_verify_checkpoint(llmctl_admin_t *x, const char *name,
    llm_audit_verify_t *v, uint8_t *keys, size_t *n)
{
    int      rc;
    FILE    *f;
    char    *text;
    size_t   len;
    json_t  *o;

    f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");

    if (f == NULL) {
        return llmctl_error(LLMCTL_AUDIT_COULD, "%s: --checkpoint: %s",
                            x->cmd, strerror(errno));
    }

    text = malloc(LLMCTL_AUDIT_JSON);
    len = text != NULL ? fread(text, 1, LLMCTL_AUDIT_JSON, f) : 0;
    o = len != 0 ? json_loadb(text, len, 0, NULL) : NULL;

    rc = llmctl_verify_kept(o, v, keys, n);

    if (rc != LLMCTL_OK) {
        rc = llmctl_error(LLMCTL_USAGE, "%s: --checkpoint: what llmctl audit "
                          "checkpoint printed is expected", x->cmd);
    }

    json_decref(o);
    free(text);

    if (f != stdin) {
        (void) fclose(f);
    }

    return rc;
}


/* its public key is as good as it: it was kept where nobody changes it */

static int
llmctl_verify_kept(json_t *o, llm_audit_verify_t *v, uint8_t *keys,
    size_t *n)
{
    const char  *hash, *key;
    json_int_t   number;

    number = json_integer_value(json_object_get(o, "number"));
    hash = json_string_value(json_object_get(o, "hash"));
    key = json_string_value(json_object_get(o, "public_key"));

    if (number < 1 || hash == NULL || key == NULL
        || *n == LLMCTL_AUDIT_KEYS
        || !llmctl_audit_unhex(v->hash, sizeof(v->hash), hash)
        || !llmctl_audit_unhex(keys + 32 * *n, 32, key))
    {
        return LLMCTL_USAGE;
    }

    v->number = (uint64_t) number;
    (*n)++;

    return LLMCTL_OK;
}


/* a trail that is not there any more is a finding: it is what was asked */

static int
llmctl_verify_open(llmctl_admin_t *x, llmctl_verify_t *w)
{
    int                   rc;
    char                  err[LLM_ERRLEN], head[4096];
    llm_audit_finding_t   f;
    llm_audit_verdict_t   r;

    x->bare = 1;

    rc = llmctl_admin_open(x, LLMCTL_SECRET_TRY);
    if (rc != LLMCTL_OK) {
        return rc == LLMCTL_USAGE ? rc : LLMCTL_AUDIT_COULD;
    }

    rc = llmctl_trail_open(x, 0, err, sizeof(err));

    if (rc == LLM_OK) {
        return LLMCTL_OK;
    }

    (void) snprintf(head, sizeof(head), "%s/%s", x->store, LLM_AUDIT_HEAD);

    if (rc == LLM_NOTFOUND && access(head, F_OK) == 0) {
        rc = LLM_AWAY;
        (void) snprintf(err, sizeof(err), "audit.mdb is missing, and "
                        "audit.head knows of it");
    }

    if (rc != LLM_AWAY && rc != LLM_INVALID) {
        llmctl_admin_close(x);
        return llmctl_error(LLMCTL_AUDIT_COULD, "%s: %s", x->cmd, err);
    }

    memset(&f, 0, sizeof(f));
    memset(&r, 0, sizeof(r));

    f.fault = rc == LLM_AWAY ? LLM_AUDIT_LOST : LLM_AUDIT_MALFORMED;
    (void) snprintf(f.text, sizeof(f.text), "%s", err);
    r.findings = 1;

    (void) llmctl_verify_found(w, &f);
    rc = llmctl_verify_print(x, w, &r);
    llmctl_admin_close(x);

    return rc == LLMCTL_OK ? LLMCTL_AUDIT_FOUND : rc;
}


static int
llmctl_verify_run(llmctl_admin_t *x, llm_audit_verify_t *v,
    llmctl_verify_t *w)
{
    int                   rc;
    char                  err[LLM_ERRLEN];
    llm_audit_verdict_t   r;

    if (x->secret == NULL) {
        (void) llmctl_error(0, "%s: without the secret (%s): what public keys "
                            "can tell", x->cmd, x->secret_err);
    }

    v->found = llmctl_verify_found;
    v->progress = isatty(STDERR_FILENO) ? llmctl_verify_progress : NULL;
    v->data = w;

    rc = llm_audit_verify(x->audit, v, &r, err, sizeof(err));
    llmctl_verify_wipe(w);

    if (rc != LLM_OK) {
        return llmctl_error(LLMCTL_AUDIT_COULD, "%s: %s", x->cmd,
                            rc == LLM_NOMEM ? "no memory" : err);
    }

    rc = llmctl_verify_print(x, w, &r);

    if (rc != LLMCTL_OK) {
        return LLMCTL_AUDIT_COULD;
    }

    return r.findings != 0 ? LLMCTL_AUDIT_FOUND : LLMCTL_OK;
}


static int
llmctl_verify_print(llmctl_admin_t *x, llmctl_verify_t *w,
    const llm_audit_verdict_t *r)
{
    if (x->json) {
        return llmctl_verify_json(x, w, r);
    }

    llmctl_verify_text(x, w, r);

    return llmctl_flush();
}


static void
llmctl_verify_text(const llmctl_admin_t *x, const llmctl_verify_t *w,
    const llm_audit_verdict_t *r)
{
    char    hex[65];
    double  seconds;

    seconds = llmctl_verify_now() - w->start;

    if (r->last >= r->first && r->last != 0) {
        printf("records:     %llu, %llu to %llu\n"
               "calls:       %llu, %llu of them without an end\n"
               "checkpoints: %llu, the last covers up to %llu\n",
               (unsigned long long) (r->last - r->first + 1),
               (unsigned long long) r->first, (unsigned long long) r->last,
               (unsigned long long) r->calls,
               (unsigned long long) r->unfinished,
               (unsigned long long) r->checkpoints,
               (unsigned long long) r->signed_to);

        if (r->steps_back != 0) {
            printf("clock:       was stepped back %llu times\n",
                   (unsigned long long) r->steps_back);
        }

        printf("head:        %s\ntime taken:  %.1f s\n",
               llmctl_audit_hex(hex, r->head, sizeof(r->head)), seconds);
    }

    if (r->findings != 0) {
        printf("\n%llu finding%s: the trail is NOT whole.\n",
               (unsigned long long) r->findings,
               r->findings == 1 ? "" : "s");

    } else if (x->secret == NULL && !w->vouched) {
        printf("\nIts records fit together. Nothing proves it: without the "
               "secret, give --public-key\nor --checkpoint, as the keys in "
               "the file may be anybody's.\n");

    } else if (x->secret == NULL) {
        printf("\nWhole, as far as %llu; what is after it can't be proven "
               "without the secret.\n", (unsigned long long) r->signed_to);
    } else {
        printf("\nThe trail is whole.\n");
    }
}


static int
llmctl_verify_json(const llmctl_admin_t *x, llmctl_verify_t *w,
    const llm_audit_verdict_t *r)
{
    int      rc;
    char     hex[65];
    json_t  *o;

    o = json_pack("{s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:O}",
                  "whole", r->findings == 0,
                  "proven_by", x->secret != NULL ? "secret"
                               : w->vouched ? "public_key" : "nothing",
                  "first", (json_int_t) r->first,
                  "last", (json_int_t) r->last,
                  "calls", (json_int_t) r->calls,
                  "unfinished", (json_int_t) r->unfinished,
                  "checkpoints", (json_int_t) r->checkpoints,
                  "signed_to", (json_int_t) r->signed_to,
                  "steps_back", (json_int_t) r->steps_back,
                  "head", llmctl_audit_hex(hex, r->head, sizeof(r->head)),
                  "findings", w->findings);

    if (o == NULL) {
        return llmctl_error(LLMCTL_FAILED, "JSON: no memory");
    }

    rc = llmctl_admin_json(o);
    json_decref(o);

    return rc;
}


static int
llmctl_verify_found(void *data, const llm_audit_finding_t *f)
{
    char              stamp[32];
    llmctl_verify_t  *w = data;

    (void) llmctl_audit_stamp(stamp, sizeof(stamp), f->time);

    if (w->findings != NULL) {
        (void) json_array_append_new(w->findings,
                   json_pack("{s:s, s:I, s:s?, s:o}",
                             "fault", llmctl_verify_fault(f->fault),
                             "number", (json_int_t) f->number,
                             "last_good", f->time > 0 ? stamp : NULL,
                             "text", llm_admin_text(f->text)));
        return LLM_OK;
    }

    llmctl_verify_wipe(w);

    printf("%s", llmctl_verify_fault(f->fault));

    if (f->number != 0) {
        printf(" at %llu", (unsigned long long) f->number);
    }

    printf(": %s", f->text);

    if (f->time > 0) {
        printf("; good until %s", stamp);
    }

    printf("\n");
    (void) fflush(stdout);

    return LLM_OK;
}


/* silent in the first second */

static void
llmctl_verify_progress(void *data, uint64_t done, uint64_t all)
{
    int               i, n;
    double            t;
    llmctl_verify_t  *w = data;

    t = llmctl_verify_now() - w->start;

    if (t < 1 || all == 0) {
        return;
    }

    n = (int) (done * LLMCTL_AUDIT_BAR / all);

    fprintf(stderr, "\rverifying [");

    for (i = 0; i < LLMCTL_AUDIT_BAR; i++) {
        fputc(i < n ? '#' : ' ', stderr);
    }

    fprintf(stderr, "] %3d%%  %.1f M/s", (int) (done * 100 / all),
            (double) done / t / 1e6);
    fflush(stderr);

    w->bar = 1;
}


static void
llmctl_verify_wipe(llmctl_verify_t *w)
{
    if (w->bar) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        w->bar = 0;
    }
}


static const char *
llmctl_verify_fault(llm_audit_fault_e fault)
{
    switch (fault) {
    case LLM_AUDIT_BROKEN:
        return "broken";
    case LLM_AUDIT_MISSING:
        return "missing";
    case LLM_AUDIT_FORGED:
        return "forged";
    case LLM_AUDIT_TRUNCATED:
        return "truncated";
    case LLM_AUDIT_MALFORMED:
        return "malformed";
    case LLM_AUDIT_INDEX:
        return "index";
    default:
        return "lost";
    }
}


static double
llmctl_verify_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}
