
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail: filling it, the latency of a commit, opening it, dropping
 * the oldest records.
 *
 *     bench_audit [-n CALLS] [-k] [-d DIRECTORY]
 *
 * The directory (default: build/bench_audit) is made and, without -k, removed
 * again.  A call has two records; n calls (default: 100,000) are written over
 * the last 180 days without syncs, which only this program can do.  One line a
 * figure: name, value, unit.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../ngx_module/audit/llm_audit_int.h"
#include "../../ngx_module/store/llm_store.h"


#define BENCH_KEYS     1000
#define BENCH_DAYS     180
#define BENCH_BATCH    1000
#define BENCH_COMMITS  500


static char  err[LLM_ERRLEN];


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int
bench_put(llm_audit_t *a, size_t i, int64_t wall, int close)
{
    int                rc;
    char               body[512], key[32], client[32], addr[32];
    uint64_t           number;
    llm_audit_open_t   o;
    llm_audit_close_t  c;

    memset(&o, 0, sizeof(o));

    (void) snprintf(o.request, sizeof(o.request), "%032zx", i);
    (void) snprintf(key, sizeof(key), "key_%024zu", i * 7919 % BENCH_KEYS);

    o.wall = wall;
    o.key = key;
    o.client.data = client;
    o.client.len = (size_t) snprintf(client, sizeof(client), "client-%zu",
                                     i * 7919 % BENCH_KEYS);
    o.addr.data = addr;
    o.addr.len = (size_t) snprintf(addr, sizeof(addr), "10.%zu.%zu.%zu",
                                   i % 3, i * 7 % 13, i * 31 % 61);
    o.method.data = "POST";
    o.method.len = 4;
    o.path.data = "/v1/chat/completions";
    o.path.len = 20;
    o.model.data = "deepseek";
    o.model.len = 8;
    o.agent.data = "OpenAI/Python 1.40.0";
    o.agent.len = 20;
    o.input.data = body;
    o.input.len = (size_t) snprintf(body, sizeof(body), "{\"model\":"
                                    "\"deepseek\",\"messages\":[{\"role\":"
                                    "\"user\",\"content\":\"Question %zu: "
                                    "what is a chain of hashes good for?\""
                                    "}]}", i);

    rc = llm_audit_put_open(a, &o, &number, err, sizeof(err));

    if (rc != LLM_OK || !close) {
        return rc;
    }

    memset(&c, 0, sizeof(c));

    memcpy(c.request, o.request, sizeof(c.request));
    c.number = number;
    c.wall = wall + 900;
    c.status = i % 50 == 0 ? 429 : 200;
    c.prompt_tokens = (uint32_t) (i % 4000);
    c.completion_tokens = (uint32_t) (i % 900);
    c.queue_us = i % 5000;
    c.ttft_us = 50000 + i % 100000;
    c.inference_us = 700000 + i % 100000;
    c.total_us = 800000 + i % 100000;
    c.sent = 4000 + i % 3000;
    c.build = 0x123456789abcdef;
    c.finish = "stop";
    c.output[0] = o.input;
    c.n_output = 1;

    return llm_audit_put_close(a, &c, err, sizeof(err));
}


static int
bench_fill(llm_audit_t *a, size_t n, int64_t from)
{
    int      rc;
    double   start;
    size_t   i;

    rc = LLM_OK;
    start = bench_now();
    (void) mdb_env_set_flags(a->shared->env, MDB_NOSYNC, 1);

    for (i = 0; rc == LLM_OK && i < n; i++) {

        if (i % BENCH_BATCH == 0) {
            rc = llm_audit_begin(a, err, sizeof(err));
        }

        if (rc == LLM_OK) {
            rc = bench_put(a, i, from + (int64_t) ((double) i / (double) n
                                                   * BENCH_DAYS * 86400e3),
                           1);
        }

        if (rc == LLM_OK
            && (i % BENCH_BATCH == BENCH_BATCH - 1 || i == n - 1))
        {
            rc = llm_audit_commit(a, err, sizeof(err));
        }
    }

    if (rc == LLM_OK) {
        (void) mdb_env_sync(a->shared->env, 1);
        printf("fill %.0f records/s\n", 2 * (double) n
                                        / (bench_now() - start));
    }

    (void) mdb_env_set_flags(a->shared->env, MDB_NOSYNC, 0);

    return rc;
}


static int
bench_order(const void *a, const void *b)
{
    double  x, y;

    x = *(const double *) a;
    y = *(const double *) b;

    return x < y ? -1 : x > y;
}


/* of a group of opening records: from begin to durable */

static int
bench_commit(llm_audit_t *a, size_t group)
{
    int     rc;
    size_t  i, j;
    double  all, start, took[BENCH_COMMITS];

    rc = LLM_OK;
    all = bench_now();

    for (i = 0; i < BENCH_COMMITS; i++) {
        start = bench_now();
        rc = llm_audit_begin(a, err, sizeof(err));

        for (j = 0; rc == LLM_OK && j < group; j++) {
            rc = bench_put(a, i * group + j, 0, 0);
        }

        if (rc == LLM_OK) {
            rc = llm_audit_commit(a, err, sizeof(err));
        }

        if (rc != LLM_OK) {
            llm_audit_abort(a);
            return rc;
        }

        took[i] = bench_now() - start;
    }

    all = bench_now() - all;
    qsort(took, BENCH_COMMITS, sizeof(double), bench_order);

    printf("commit_%zu_p50 %.3f ms\n", group, took[BENCH_COMMITS / 2] * 1e3);
    printf("commit_%zu_p99 %.3f ms\n", group,
           took[BENCH_COMMITS * 99 / 100] * 1e3);
    printf("commit_%zu_rate %.0f records/s\n", group,
           (double) (group * BENCH_COMMITS) / all);

    return LLM_OK;
}


static int
bench_run(const char *store, const llm_secret_t *secret, size_t n)
{
    int                rc;
    double             start;
    int64_t            from, now;
    uint64_t           dropped;
    llm_audit_t       *a;
    llm_audit_stat_t   st;

    now = (int64_t) time(NULL);
    from = (now - (int64_t) BENCH_DAYS * 86400) * 1000;

    rc = llm_audit_open_at(&a, store, secret, 1, from, err, sizeof(err));
    if (rc != LLM_OK) {
        return rc;
    }

    rc = bench_fill(a, n, from);
    llm_audit_close(a);

    if (rc != LLM_OK) {
        return rc;
    }

    start = bench_now();
    rc = llm_audit_open(&a, store, secret, 1, err, sizeof(err));
    if (rc != LLM_OK) {
        return rc;
    }

    printf("open %.3f ms\n", (bench_now() - start) * 1e3);

    rc = llm_audit_stat(a, &st, err, sizeof(err));

    if (rc == LLM_OK) {
        printf("size %.0f bytes/record\n", (double) st.bytes
                                           / (double) st.last);
        rc = bench_commit(a, 1);
    }

    if (rc == LLM_OK) {
        rc = bench_commit(a, 10);
    }

    if (rc == LLM_OK) {
        rc = bench_commit(a, 100);
    }

    if (rc == LLM_OK) {
        start = bench_now();
        rc = llm_audit_prune(a, now, (int64_t) BENCH_DAYS * 86400 * 9 / 10,
                             &dropped, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        printf("prune %.0f records/s\n", (double) dropped
                                         / (bench_now() - start));
    }

    llm_audit_close(a);

    return rc;
}


int
main(int argc, char **argv)
{
    int            i, keep, rc;
    char           command[300], secret_path[300], store[300];
    size_t         n;
    const char    *dir;
    llm_secret_t  *secret;

    dir = "build/bench_audit";
    keep = 0;
    n = 100000;

    for (i = 1; i < argc; i++) {

        if (strcmp(argv[i], "-k") == 0) {
            keep = 1;

        } else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            n = (size_t) strtoul(argv[++i], NULL, 10);

        } else if (strcmp(argv[i], "-d") == 0 && i + 1 < argc) {
            dir = argv[++i];

        } else {
            fprintf(stderr, "usage: bench_audit [-n CALLS] [-k] "
                    "[-d DIRECTORY]\n");
            return 2;
        }
    }

    (void) snprintf(store, sizeof(store), "%s/store", dir);
    (void) snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);

    if (mkdir(dir, 0700) == -1) {
        fprintf(stderr, "%s: it is there\n", dir);
        return 1;
    }

    secret = NULL;

    rc = llm_store_create(store, 4 << 20, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_secret_create(secret_path, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        rc = llm_secret_open(&secret, secret_path, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        rc = bench_run(store, secret, n);
    }

    if (rc != LLM_OK) {
        fprintf(stderr, "%s\n", err);
    }

    llm_secret_close(secret);

    if (!keep) {
        (void) snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        (void) !system(command);
    }

    return rc == LLM_OK ? 0 : 1;
}
