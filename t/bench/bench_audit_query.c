
/*
 * Copyright (C) nginx-llm contributors
 *
 * Reading an audit trail that bench_audit -k has left: one key's calls of the
 * last 30 days, calls by what has no index, a text, and the proof.
 *
 *     bench_audit -k -n CALLS -d DIRECTORY; bench_audit_query -d DIRECTORY
 *
 * One line a figure: name, value, unit.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../ngx_module/audit/llm_audit.h"


#define BENCH_MONTH  ((int64_t) 30 * 86400000)


static char  err[LLM_ERRLEN];


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int
bench_each(void *data, const llm_audit_call_t *call)
{
    uint64_t  *n = data;

    (*n)++;

    return LLM_OK;
}


static int
bench_json(void *data, const llm_audit_call_t *call)
{
    uint64_t  *n = data;

    (*n)++;
    json_decref(llm_audit_call_json(call));

    return LLM_OK;
}


static int
bench_query(llm_audit_t *a, const char *name, const llm_audit_query_t *q,
    int (*each)(void *data, const llm_audit_call_t *call))
{
    int       rc;
    double    start;
    uint64_t  n, next;

    n = 0;
    start = bench_now();
    rc = llm_audit_query(a, q, each, &n, &next, err, sizeof(err));

    if (rc == LLM_OK) {
        printf("%s %.3f s\n%s_calls %llu calls\n", name, bench_now() - start,
               name, (unsigned long long) n);
    }

    return rc;
}


static int
bench_verify(llm_audit_t *a)
{
    int                   rc;
    double                took, start;
    llm_audit_verify_t    v;
    llm_audit_verdict_t   r;

    memset(&v, 0, sizeof(v));
    start = bench_now();
    rc = llm_audit_verify(a, &v, &r, err, sizeof(err));
    took = bench_now() - start;

    if (rc == LLM_OK) {
        printf("verify %.2f s\nverify_records %llu records\n"
               "verify_rate %.0f records/s\ncheckpoints %llu checkpoints\n"
               "findings %llu findings\n", took,
               (unsigned long long) (r.last - r.first + 1),
               (double) (r.last - r.first + 1) / took,
               (unsigned long long) r.checkpoints,
               (unsigned long long) r.findings);
    }

    return rc;
}


static int
bench_run(llm_audit_t *a)
{
    int                rc;
    llm_audit_stat_t   st;
    llm_audit_query_t  q;

    rc = llm_audit_stat(a, &st, err, sizeof(err));
    if (rc != LLM_OK) {
        return rc;
    }

    memset(&q, 0, sizeof(q));
    q.key = "key_000000000000000000000007";
    q.since = st.time - BENCH_MONTH;

    rc = bench_query(a, "key_30d_first", &q, bench_each);

    if (rc == LLM_OK) {
        rc = bench_query(a, "key_30d", &q, bench_each);
    }

    if (rc == LLM_OK) {
        rc = bench_query(a, "key_30d_json", &q, bench_json);
    }

    if (rc == LLM_OK) {
        q.limit = 100;
        rc = bench_query(a, "key_newest", &q, bench_json);
    }

    memset(&q, 0, sizeof(q));
    q.client = "client-7";
    q.since = st.time - BENCH_MONTH;

    if (rc == LLM_OK) {
        rc = bench_query(a, "client_30d", &q, bench_each);
    }

    q.client = NULL;
    q.addr = "10.2.12.0/24";

    if (rc == LLM_OK) {
        rc = bench_query(a, "address_30d", &q, bench_each);
    }

    memset(&q, 0, sizeof(q));
    q.client = "nobody";

    if (rc == LLM_OK) {
        rc = bench_query(a, "client_all", &q, bench_each);
    }

    memset(&q, 0, sizeof(q));
    q.text = "Question 777777: what is a chain of hashes good for?";
    q.text_len = strlen(q.text);

    if (rc == LLM_OK) {
        rc = bench_query(a, "text_all", &q, bench_each);
    }

    return rc == LLM_OK ? bench_verify(a) : rc;
}


int
main(int argc, char **argv)
{
    int            rc;
    char           secret_path[300], store[300];
    const char    *dir;
    llm_audit_t   *a;
    llm_secret_t  *secret;

    if (argc != 3 || strcmp(argv[1], "-d") != 0) {
        fprintf(stderr, "usage: bench_audit_query -d DIRECTORY\n");
        return 2;
    }

    dir = argv[2];
    a = NULL;
    secret = NULL;

    (void) snprintf(store, sizeof(store), "%s/store", dir);
    (void) snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);

    rc = llm_secret_open(&secret, secret_path, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_audit_open_read(&a, store, secret, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        rc = bench_run(a);
        llm_audit_close(a);
    }

    if (rc != LLM_OK) {
        fprintf(stderr, "%s\n", err);
    }

    llm_secret_close(secret);

    return rc == LLM_OK ? 0 : 1;
}
