
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas: what a request costs, enter, reserve and leave, alone and with
 * another thread on the same key or on a key of its own.
 *
 *     bench_quota [-n REQUESTS]
 *
 * One line a figure: name, value, unit.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../ngx_module/store/llm_quota.h"


#define BENCH_KEYS   65536
#define BENCH_NOW    1773446400000ll


typedef struct {
    llm_quota_t     *q;
    const char      *id;
    long             n;
    int              reserve;
    _Atomic int     *ready;
    double           ns;        /* a request */
} bench_t;


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


static int
bench_enter(llm_quota_t *q, const char *id, int64_t now,
    llm_quota_ticket_t *t)
{
    int           rc;
    llm_spent_t   usage;
    llm_limits_t  lim = { 4000000000u, 4000000000u, 4096, 0, 1ull << 60,
                          1ull << 60 };

    rc = llm_quota_enter(q, id, &lim, NULL, 1, now, t, NULL);

    while (rc == LLM_NOTFOUND) {
        memset(&usage, 0, sizeof(usage));
        rc = llm_quota_enter(q, id, &lim, &usage, 1, now, t, NULL);
    }

    return rc;
}


static void *
bench_thread(void *data)
{
    long                i;
    double              start;
    bench_t            *b = data;
    uint64_t            got;
    llm_quota_ticket_t  t;

    atomic_fetch_sub(b->ready, 1);

    while (atomic_load(b->ready) > 0) { /* void */ }

    start = bench_now();

    for (i = 0; i < b->n; i++) {
        if (bench_enter(b->q, b->id, BENCH_NOW + i / 1000, &t) != LLM_OK) {
            continue;
        }

        if (b->reserve) {
            llm_quota_reserve(b->q, t, 100, 1, BENCH_NOW + i / 1000, &got,
                              NULL);
        }

        llm_quota_leave(b->q, t, 1, 1, BENCH_NOW + i / 1000);
    }

    b->ns = (bench_now() - start) / (double) b->n;

    return NULL;
}


static void
bench_run(llm_quota_t *q, const char *name, int threads, int same,
    int reserve, long n)
{
    int           i;
    bench_t       b[2];
    pthread_t     tid[2];
    _Atomic int   ready;

    static const char  *id[] = { "key_000000000000000000000001",
                                 "key_000000000000000000000002" };

    ready = threads;

    for (i = 0; i < threads; i++) {
        b[i] = (bench_t) { q, id[same ? 0 : i], n, reserve, &ready, 0 };
        pthread_create(&tid[i], NULL, bench_thread, &b[i]);
    }

    for (i = 0; i < threads; i++) {
        pthread_join(tid[i], NULL);
    }

    printf("%s %.0f ns\n", name,
           threads == 1 ? b[0].ns : (b[0].ns + b[1].ns) / 2);
}


static int
bench_put(void *data, const char *id, const llm_spent_t *usage)
{
    ++*(long *) data;

    return LLM_OK;
}


/* many keys: each entered for the first time, then written */

static void
bench_many(llm_quota_t *q, int n)
{
    int                 i;
    char                id[LLM_QUOTA_ID + 1];
    long                put;
    double              start;
    uint64_t            number;
    llm_quota_ticket_t  t;

    start = bench_now();

    for (i = 0; i < n; i++) {
        snprintf(id, sizeof(id), "key_%024d", i);

        if (bench_enter(q, id, BENCH_NOW, &t) == LLM_OK) {
            llm_quota_leave(q, t, 1, 1, BENCH_NOW);
        }
    }

    printf("quota_load %.0f ns\n", (bench_now() - start) / n);

    put = 0;
    start = bench_now();

    if (llm_quota_dirty(q, bench_put, &put, BENCH_NOW, &number) == LLM_OK) {
        llm_quota_written(q, number);
    }

    printf("quota_write %.0f ns\n",
           (bench_now() - start) / (put ? (double) put : 1));
    printf("quota_written %ld keys\n", put);
}


int
main(int argc, char **argv)
{
    int           c;
    char          err[LLM_ERRLEN];
    long          n;
    size_t        size;
    llm_quota_t  *q;

    n = 1000000;

    while ((c = getopt(argc, argv, "n:")) != -1) {
        switch (c) {
        case 'n':
            n = strtol(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }

    size = llm_quota_size(BENCH_KEYS);
    q = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
             0);

    if (n < 1 || q == MAP_FAILED
        || llm_quota_init(q, size, BENCH_KEYS, err, sizeof(err)) != LLM_OK)
    {
        fprintf(stderr, "bench_quota: not possible\n");
        return 1;
    }

    bench_run(q, "quota_enter_leave", 1, 1, 0, n);
    bench_run(q, "quota_enter_reserve_leave", 1, 1, 1, n);
    bench_run(q, "quota_enter_leave_2_threads_2_keys", 2, 0, 0, n);
    bench_run(q, "quota_enter_leave_2_threads_1_key", 2, 1, 0, n);
    bench_many(q, 50000);

    return 0;
}
