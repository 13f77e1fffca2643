
/*
 * Copyright (C) nginx-llm contributors
 *
 * calls.mdb with many call records: puts in batches, a report of one key, the
 * check of its pages at open.
 *
 *     bench_calls [-n CALLS] [-d DIRECTORY]
 *
 * The directory (default: build/bench_calls) is made and removed again.  One
 * line a figure: name, value, unit.  Batches go to keys in turn; most of the
 * calls are of the first key, which the report is about.
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

#include "../../ngx_module/store/llm_calls.h"
#include "../../ngx_module/store/llm_store.h"


#define BENCH_KEYS     100
#define BENCH_COMMITS  50
#define BENCH_REPORTS  5


static char  err[LLM_ERRLEN];


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
bench_call(llm_call_t *call, size_t key, size_t i, int64_t ms)
{
    memset(call, 0, sizeof(llm_call_t));

    (void) snprintf(call->id, sizeof(call->id), "key_%024zu", key);
    (void) snprintf(call->request, sizeof(call->request), "%032zx", i);
    (void) snprintf(call->model, sizeof(call->model), "deepseek%s",
                    i % 7 == 0 ? ":support" : "");
    (void) snprintf(call->addr, sizeof(call->addr), "10.%zu.%zu.%zu",
                    i % 3, i * 7 % 13, i * 31 % 61);
    (void) snprintf(call->agent, sizeof(call->agent),
                    "OpenAI/Python 1.%zu.0", i * 11 % 40);
    (void) snprintf(call->path, sizeof(call->path), "/v1/%s",
                    i % 5 == 0 ? "completions" : "chat/completions");

    call->time = ms;
    call->status = i % 50 == 0 ? 429 : 200;
    call->prompt_tokens = (uint32_t) (i % 4000);
    call->completion_tokens = (uint32_t) (i % 900);
    call->duration = (uint32_t) (i % 30000);
}


/* of each thousand 900 go to one key, if there are others */

static int
bench_fill(llm_calls_t *c, size_t n, size_t batch, size_t keys)
{
    int         rc;
    size_t      i;
    int64_t     ms;
    llm_call_t  call;

    rc = LLM_OK;
    ms = ((int64_t) time(NULL) - 20 * 86400) * 1000;

    for (i = 0; rc == LLM_OK && i < n; i++) {

        if (i % batch == 0) {
            rc = llm_calls_begin(c, err, sizeof(err));
        }

        bench_call(&call, i % 10 == 0 ? i / 10 % keys : 0, i,
                   ms + (int64_t) i * 1500);

        if (rc == LLM_OK) {
            rc = llm_calls_put(c, &call, err, sizeof(err));
        }

        if (rc == LLM_OK && (i % batch == batch - 1 || i == n - 1)) {
            rc = llm_calls_commit(c, err, sizeof(err));
        }
    }

    llm_calls_abort(c);

    return rc;
}


static int
bench_run(llm_calls_t *c)
{
    int            i, rc;
    double         best, start, t;
    llm_call_t     call;
    llm_spent_t    u;
    llm_report_t  *r;

    bench_call(&call, 0, 0, 0);
    best = 1e9;

    for (i = 0; i < BENCH_REPORTS; i++) {
        start = bench_now();
        rc = llm_calls_report(c, call.id, 0, &r, err, sizeof(err));
        t = bench_now() - start;

        if (rc != LLM_OK) {
            return rc;
        }

        if (i == 0) {
            printf("report_calls %llu calls\n", (unsigned long long) r->calls);
            printf("report_first %.1f ms\n", t * 1e3);
        }

        best = t < best ? t : best;
        free(r);
    }

    printf("report_best %.1f ms\n", best * 1e3);

    memset(&u, 0, sizeof(u));
    start = bench_now();

    for (i = 0; i < BENCH_COMMITS; i++) {
        rc = llm_calls_begin(c, err, sizeof(err));

        if (rc == LLM_OK) {
            rc = llm_calls_put_usage(c, call.id, &u, err, sizeof(err));
        }

        if (rc == LLM_OK) {
            rc = llm_calls_commit(c, err, sizeof(err));
        }

        if (rc != LLM_OK) {
            return rc;
        }
    }

    printf("usage_commit %.3f ms\n",
           (bench_now() - start) * 1e3 / BENCH_COMMITS);

    return LLM_OK;
}


int
main(int argc, char **argv)
{
    int            i, rc;
    char           path[512];
    size_t         n;
    double         start;
    const char    *dir;
    struct stat    sb;
    llm_calls_t   *c;

    static const char  *files[] = {
        "calls.mdb", "calls.mdb-lock", "data.mdb"
    };

    n = 1000000;
    dir = "build/bench_calls";

    while ((i = getopt(argc, argv, "n:d:")) != -1) {
        switch (i) {
        case 'n':
            n = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            dir = optarg;
            break;
        default:
            return 2;
        }
    }

    c = NULL;

    rc = llm_store_create(dir, 0, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_calls_open(&c, dir, ((size_t) 1 << 26) + n * 1024, err,
                            sizeof(err));
    }

    if (rc == LLM_OK) {
        start = bench_now();
        rc = bench_fill(c, n, 1000, BENCH_KEYS);
        printf("put_1000 %.0f calls/s\n", (double) n / (bench_now() - start));
    }

    if (rc == LLM_OK) {
        start = bench_now();
        rc = bench_fill(c, 5000, 100, BENCH_KEYS);
        printf("put_100 %.0f calls/s\n", 5000 / (bench_now() - start));
    }

    if (rc == LLM_OK) {
        (void) snprintf(path, sizeof(path), "%s/calls.mdb", dir);

        if (stat(path, &sb) == 0) {
            printf("file %.1f MiB\n", (double) sb.st_size / 1048576);
        }

        llm_calls_close(c);
        start = bench_now();
        rc = llm_calls_open(&c, dir, 0, err, sizeof(err));
        printf("open %.1f ms\n", (bench_now() - start) * 1e3);
    }

    if (rc == LLM_OK) {
        rc = bench_run(c);
    }

    if (rc != LLM_OK) {
        fprintf(stderr, "bench_calls: %s\n", err);
    }

    llm_calls_close(c);

    for (i = 0; rc != LLM_EXISTS && i < 3; i++) {
        (void) snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        (void) unlink(path);
    }

    (void) rmdir(dir);

    return rc == LLM_OK ? 0 : 1;
}
