
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics: what counting costs a request, alone and with another thread on the
 * same counters; what the text costs, of one engine and of as much as there
 * can be; a sample; and a look into a store.
 *
 *     bench_metrics [-n REQUESTS] [-d STORE]
 *
 * One line a figure: name, value, unit.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../ngx_module/metrics/llm_metrics_int.h"


#define BENCH_TOKENS  16        /* of a request, each counted as it comes */
#define BENCH_TEXTS   100


typedef struct {
    llm_metrics_t  *m;
    long            n;
    int             tokens;
    double          ns;         /* a request */
} bench_t;


static char  err[LLM_ERRLEN];


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


static void *
bench_memory(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
             0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }

    return p;
}


static llm_metrics_t *
bench_metrics(int engines)
{
    int             i;
    char            name[LLM_ZONE_ENGINES][16];
    const char     *names[LLM_ZONE_ENGINES];
    llm_metrics_t  *m;

    m = bench_memory(llm_metrics_size());

    for (i = 0; i < engines; i++) {
        (void) snprintf(name[i], sizeof(name[i]), "engine-%d", i);
        names[i] = name[i];
    }

    if (llm_metrics_init(m, llm_metrics_size(), 1, err, sizeof(err))
        != LLM_OK
        || llm_metrics_engines(m, names, engines) != LLM_OK)
    {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }

    return m;
}


static void
bench_request(llm_metrics_t *m, uint32_t model, const char *client,
    int tokens)
{
    int                    i;
    llm_metrics_request_t  q;

    memset(&q, 0, sizeof(q));

    if (tokens) {
        llm_metrics_first(m, model, 12000);

        for (i = 1; i < tokens; i++) {
            llm_metrics_token(m, model, 1, 9000);
        }
    }

    q.model = model;
    q.status = 200;
    q.client = client;
    q.client_len = strlen(client);
    q.prompt_tokens = 100;
    q.completion_tokens = (uint64_t) tokens;
    q.counted = (uint64_t) tokens;
    q.queue_us = 50;
    q.ttft_us = 12000;
    q.total_us = 200000;
    q.finish[1] = 1;
    q.generates = 1;

    llm_metrics_request(m, &q);
}


static void *
bench_thread(void *data)
{
    long      i;
    double    start;
    bench_t  *b = data;

    start = bench_now();

    for (i = 0; i < b->n; i++) {
        bench_request(b->m, llm_metrics_model(b->m, "engine-0", 8, 0),
                      "a-client-of-ours", b->tokens);
    }

    b->ns = (bench_now() - start) / (double) b->n;

    return NULL;
}


static void
bench_count(const char *name, long n, int threads, int tokens)
{
    int        i;
    bench_t    b[2];
    pthread_t  tid;

    for (i = 0; i < threads; i++) {
        b[i].m = i ? b[0].m : bench_metrics(1);
        b[i].n = n;
        b[i].tokens = tokens;
    }

    if (threads == 2) {
        (void) pthread_create(&tid, NULL, bench_thread, &b[1]);
    }

    (void) bench_thread(&b[0]);

    if (threads == 2) {
        (void) pthread_join(tid, NULL);
    }

    printf("%s %.3f us\n", name, b[0].ns / 1e3);
}


static void
bench_text(const char *name, llm_metrics_t *m, llm_zone_t *z)
{
    int        i;
    double     start;
    llm_buf_t  text;

    memset(&text, 0, sizeof(text));
    start = bench_now();

    for (i = 0; i < BENCH_TEXTS; i++) {

        /* as a scrape: with no memory yet */

        llm_buf_done(&text);

        if (llm_metrics_text(m, z, "0", llm_metrics_clock(), &text)
            != LLM_OK)
        {
            exit(1);
        }
    }

    printf("%s %.3f ms\n", name, (bench_now() - start) / 1e6 / BENCH_TEXTS);
    printf("%s_size %zu bytes\n", name, text.len);

    llm_buf_done(&text);
}


static void
bench_full(llm_metrics_t *m)
{
    int                     i;
    char                    name[64];
    llm_metrics_request_t   q;

    for (i = 0; i < 400; i++) {
        (void) snprintf(name, sizeof(name), "a-name-of-usual-length-%d", i);
        bench_request(m, llm_metrics_model(m, name, strlen(name), 1), name,
                      2);

        memset(&q, 0, sizeof(q));
        q.model = LLM_METRICS_NOMODEL;
        q.status = 400;
        q.refused = 1;
        (void) snprintf(name, sizeof(name), "an_error_code_%d", i);
        q.code = name;
        q.code_len = strlen(name);
        llm_metrics_request(m, &q);
    }
}


static void
bench_store(const char *path)
{
    int           rc;
    double        start;
    llm_calls_t  *calls;
    llm_store_t  *store;
    llm_metrics_t         *m;
    llm_metrics_stores_t   st;

    rc = llm_store_open(&store, path, 0, err, sizeof(err));

    if (rc == LLM_OK) {
        rc = llm_calls_open(&calls, path, 0, err, sizeof(err));
    }

    if (rc != LLM_OK) {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }

    m = bench_metrics(1);
    start = bench_now();

    if (llm_metrics_stores_look(m, store, calls, time(NULL), 0, err,
                                sizeof(err))
        != LLM_OK)
    {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }

    llm_metrics_stores(m, &st);
    printf("look_keys %llu keys\n",
           (unsigned long long) (st.active + st.expired + st.revoked));
    printf("look %.3f ms\n", (bench_now() - start) / 1e6);

    start = bench_now();
    (void) llm_metrics_stores_look(m, store, calls, time(NULL), 0, err,
                                   sizeof(err));
    printf("look_unchanged %.3f ms\n", (bench_now() - start) / 1e6);

    bench_text("text_with_keys", m, NULL);

    llm_calls_close(calls);
    llm_store_close(store);
}


int
main(int argc, char **argv)
{
    int             i, opt;
    long            n;
    double          start;
    llm_zone_t     *z;
    const char     *dir;
    llm_metrics_t  *m;

    n = 1000000;
    dir = NULL;

    while ((opt = getopt(argc, argv, "n:d:")) != -1) {
        if (opt == 'n' && atol(optarg) > 0) {
            n = atol(optarg);

        } else if (opt == 'd') {
            dir = optarg;

        } else {
            fprintf(stderr, "usage: bench_metrics [-n REQUESTS] "
                    "[-d STORE]\n");
            return 2;
        }
    }

    bench_count("count_request", n, 1, 0);
    bench_count("count_request_16_tokens", n / 4 + 1, 1, BENCH_TOKENS);
    bench_count("count_request_2_threads", n, 2, 0);

    z = bench_memory(sizeof(llm_zone_t));

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        char  name[16];

        (void) snprintf(name, sizeof(name), "engine-%d", i);
        atomic_store(&z->engine[i].hash, llm_engine_hash(name, strlen(name)));
        atomic_store(&z->engine[i].counted,
                     llm_engine_hash(name, strlen(name)));
        atomic_store(&z->engine[i].state, LLM_ENGINE_READY);
    }

    atomic_store(&z->holder, (int32_t) getpid());

    m = bench_metrics(1);
    bench_request(m, 0, "a-client", 2);
    bench_text("text", m, z);

    m = bench_metrics(LLM_ZONE_ENGINES);
    bench_full(m);
    bench_text("text_full", m, z);

    start = bench_now();
    (void) llm_metrics_sample(m, z, llm_metrics_clock(), 1);
    printf("sample_full %.3f us\n", (bench_now() - start) / 1e3);

    if (dir) {
        bench_store(dir);
    }

    return 0;
}
