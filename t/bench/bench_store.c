
/*
 * Copyright (C) nginx-llm contributors
 *
 * The store with many keys: look-up and verification of one key, and what
 * they are made of.
 *
 *     bench_store [-n KEYS] [-d DIRECTORY] [-k]
 *
 * The directory (default: build/bench_store) is made and removed again.  One
 * line a figure: name, value, unit.  -k: nothing is measured but the fill, and
 * the store stays, for others to measure with, its secret in DIRECTORY.secret.
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

#include "../../ngx_module/store/llm_store_int.h"


#define BENCH_LOOKUPS  200000
#define BENCH_BATCH    20000    /* keys a transaction */
#define BENCH_COMMITS  50


static char  err[LLM_ERRLEN];


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


static int
bench_cmp(const void *a, const void *b)
{
    double  x, y;

    x = *(const double *) a;
    y = *(const double *) b;

    return (x > y) - (x < y);
}


static void
bench_print(const char *name, double *t, size_t n)
{
    qsort(t, n, sizeof(double), bench_cmp);

    printf("%s_p50 %.3f us\n", name, t[n / 2] / 1e3);
    printf("%s_p99 %.3f us\n", name, t[n * 99 / 100] / 1e3);
    printf("%s_p999 %.3f us\n", name, t[n * 999 / 1000] / 1e3);
}


static int
bench_fill(llm_store_t *st, llm_secret_t *secret, char *keys, size_t n)
{
    int        rc;
    size_t     i;
    char       key[LLM_KEY_LEN + 1];
    MDB_txn   *txn;
    llm_key_t  k;

    txn = NULL;

    for (i = 0; i < n; i++) {
        if (txn == NULL) {
            rc = llm_store_write(st, &txn, 1, err, sizeof(err));
            if (rc != LLM_OK) {
                return rc;
            }
        }

        memset(&k, 0, sizeof(k));
        (void) snprintf(k.client, sizeof(k.client), "client-%zu", i % 5000);
        k.role = LLM_ROLE_USER;

        rc = llm_key_put(st, txn, secret, &k, key, err, sizeof(err));
        if (rc != LLM_OK) {
            mdb_txn_abort(txn);
            return rc;
        }

        memcpy(keys + i * LLM_KEY_LEN, key, LLM_KEY_LEN);

        if (i % BENCH_BATCH == BENCH_BATCH - 1 || i == n - 1) {
            rc = llm_store_commit(st, txn, err, sizeof(err));
            txn = NULL;
            if (rc != LLM_OK) {
                return rc;
            }
        }
    }

    return LLM_OK;
}


static int
bench_run(llm_store_t *st, llm_secret_t *secret, const char *keys, size_t n)
{
    int            rc;
    char           key[LLM_KEY_LEN];
    double        *t, start;
    size_t         i, j;
    uint8_t        tag[LLM_TAG_LEN];
    uint64_t       seed, sum;
    llm_key_t      k;

    t = malloc(BENCH_LOOKUPS * sizeof(double));
    if (t == NULL) {
        return llm_err(err, sizeof(err), LLM_NOMEM, "no memory");
    }

    seed = 88172645463325252ull;
    rc = LLM_OK;

    for (i = 0; i < BENCH_LOOKUPS; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        j = seed % n;

        /* a request's key is in the cache: it was just read */
        memcpy(key, keys + j * LLM_KEY_LEN, LLM_KEY_LEN);

        start = bench_now();
        rc = llm_key_lookup(st, secret, key, LLM_KEY_LEN, &k, err,
                            sizeof(err));
        t[i] = bench_now() - start;

        if (rc != LLM_OK) {
            goto done;
        }
    }

    bench_print("lookup", t, BENCH_LOOKUPS);

    start = bench_now();
    for (i = 0; i < BENCH_LOOKUPS; i++) {
        rc = llm_secret_tag(secret, 1, key, LLM_KEY_LEN, tag);
    }
    printf("hmac %.3f us\n", (bench_now() - start) / 1e3 / BENCH_LOOKUPS);

    sum = 0;

    start = bench_now();
    for (i = 0; i < BENCH_LOOKUPS; i++) {
        key[i % 60] ^= 1;
        sum += (uint64_t) llm_key_wellformed(key, LLM_KEY_LEN);
    }
    printf("wellformed %.3f us\n",
           (bench_now() - start) / 1e3 / BENCH_LOOKUPS);

    start = bench_now();
    for (i = 0; i < BENCH_LOOKUPS; i++) {
        sum += llm_store_txnid(st);
    }
    printf("txnid %.3f us\n", (bench_now() - start) / 1e3 / BENCH_LOOKUPS);

    for (i = 0; i < BENCH_COMMITS; i++) {
        rc = llm_key_lookup(st, secret, keys + i * LLM_KEY_LEN, LLM_KEY_LEN,
                            &k, err, sizeof(err));
        start = bench_now();

        if (rc == LLM_OK) {
            rc = llm_key_revoke(st, k.id, &k, err, sizeof(err));
        }

        t[i] = bench_now() - start;

        if (rc != LLM_OK) {
            goto done;
        }
    }

    bench_print("revoke", t, BENCH_COMMITS);

    if (sum == 0) {
        rc = LLM_ERROR;
    }

done:

    free(t);

    return rc;
}


int
main(int argc, char **argv)
{
    int            c, keep, rc;
    char           path[512], file[512], *keys;
    size_t         n;
    double         start;
    const char    *dir;
    struct stat    sb;
    llm_store_t   *st;
    llm_secret_t  *secret;

    n = 1000000;
    keep = 0;
    dir = "build/bench_store";

    while ((c = getopt(argc, argv, "n:d:k")) != -1) {
        switch (c) {
        case 'n':
            n = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            dir = optarg;
            break;
        case 'k':
            keep = 1;
            break;
        default:
            return 2;
        }
    }

    keys = (n >= BENCH_COMMITS && n < SIZE_MAX / 1024)
           ? malloc(n * LLM_KEY_LEN) : NULL;

    if (keys == NULL) {
        fprintf(stderr, "bench_store: -n %zu: not possible\n", n);
        return 1;
    }

    st = NULL;
    secret = NULL;
    (void) snprintf(file, sizeof(file), "%s.secret", dir);
    (void) unlink(file);

    rc = llm_secret_create(file, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_secret_open(&secret, file, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        rc = llm_store_create(dir, ((size_t) 1 << 24) + n * 1024, err,
                              sizeof(err));
    }

    if (rc == LLM_OK) {
        rc = llm_store_open(&st, dir, 0, err, sizeof(err));
    }

    if (rc == LLM_OK) {
        start = bench_now();
        rc = bench_fill(st, secret, keys, n);
        printf("keys %zu keys\n", n);
        printf("fill %.1f s\n", (bench_now() - start) / 1e9);
    }

    if (rc == LLM_OK) {
        (void) snprintf(path, sizeof(path), "%s/data.mdb", dir);

        if (stat(path, &sb) == 0) {
            printf("store %.1f MiB\n", (double) sb.st_size / 1048576);
        }

        if (rc == LLM_OK && !keep) {
            llm_store_close(st);
            start = bench_now();
            rc = llm_store_open(&st, dir, 0, err, sizeof(err));
            printf("open %.1f ms\n", (bench_now() - start) / 1e6);

            start = bench_now();
            llm_store_warm(st);
            printf("warm %.1f ms\n", (bench_now() - start) / 1e6);
        }

        if (rc == LLM_OK && !keep) {
            rc = bench_run(st, secret, keys, n);
        }
    }

    if (rc != LLM_OK) {
        fprintf(stderr, "bench_store: %s\n", err);
    }

    keep = keep && rc == LLM_OK;
    llm_store_close(st);

    if (st != NULL && !keep) {
        (void) snprintf(path, sizeof(path), "%s/data.mdb", dir);
        (void) unlink(path);
        (void) snprintf(path, sizeof(path), "%s/lock.mdb", dir);
        (void) unlink(path);
        (void) rmdir(dir);
    }

    llm_secret_close(secret);
    free(keys);

    if (!keep) {
        (void) unlink(file);
    }

    return rc == LLM_OK ? 0 : 1;
}
