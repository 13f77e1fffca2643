
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the bodies of proxied requests and their responses cost: the scanner's
 * speed over them, and the parsing of a request.
 *
 *     bench_usage [-m MEGABYTES]
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
#include <unistd.h>

#include "../../ngx_module/store/llm_usage.h"


#define BENCH_PIECE   16384         /* bytes, as nginx reads a response */
#define BENCH_ROUNDS  5             /* the fastest counts */

#define BENCH_TEXT    "It was a bright cold day in April, and the clocks "   \
                      "were striking thirteen; nobody looked up. "

#define BENCH_EVENT   "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\"" \
                      ":\"chat.completion.chunk\",\"created\":1700000000,"   \
                      "\"model\":\"deepseek-chat\",\"choices\":[{\"index\":" \
                      "0,\"delta\":{\"content\":\" the\"},\"logprobs\":null" \
                      ",\"finish_reason\":null}],\"usage\":null}\n\n"

#define BENCH_TURN    "{\"role\":\"user\",\"content\":\"" BENCH_TEXT         \
                      BENCH_TEXT BENCH_TEXT "\"},"


typedef struct {
    const char  *name;
    int          stream;
    const char  *head;
    const char  *repeat;
    const char  *tail;
} bench_t;


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


static size_t
bench_fill(char *buf, size_t size, const bench_t *b)
{
    size_t  n, len, tail;

    n = strlen(b->head);
    len = strlen(b->repeat);
    tail = strlen(b->tail);

    memcpy(buf, b->head, n);

    for ( /* void */ ; n + len + tail <= size; n += len) {
        memcpy(buf + n, b->repeat, len);
    }

    memcpy(buf + n, b->tail, tail);

    return n + tail;
}


static int
bench_scan(char *buf, size_t size, const bench_t *b)
{
    int                i;
    double             t, best;
    size_t             n, done, piece;
    llm_usage_scan_t   s;

    n = bench_fill(buf, size, b);
    best = 0;

    for (i = 0; i < BENCH_ROUNDS; i++) {
        llm_usage_init(&s, b->stream);
        t = bench_now();

        for (done = 0; done < n; done += piece) {
            piece = n - done < BENCH_PIECE ? n - done : BENCH_PIECE;
            llm_usage_feed(&s, buf + done, piece);
        }

        t = bench_now() - t;
        best = i == 0 || t < best ? t : best;

        if (!s.found || s.prompt_tokens != 7) {
            fprintf(stderr, "bench_usage: %s: no usage found\n", b->name);
            return 1;
        }
    }

    printf("usage_%s %.0f MB/s\n", b->name, (double) n / best * 1e3);

    return 0;
}


static int
bench_ask(char *buf, size_t size, const bench_t *b)
{
    int        i, rc;
    char       err[LLM_ERRLEN];
    double     t, best;
    size_t     n;
    llm_ask_t  ask;

    n = bench_fill(buf, size, b);
    best = 0;

    for (i = 0; i < BENCH_ROUNDS; i++) {
        t = bench_now();
        rc = llm_ask_parse(&ask, buf, n, err, sizeof(err));
        t = bench_now() - t;
        best = i == 0 || t < best ? t : best;

        if (rc != LLM_OK || ask.max_tokens != 100) {
            fprintf(stderr, "bench_usage: %s: %s\n", b->name, err);
            return 1;
        }
    }

    printf("ask_%s %.1f us\n", b->name, best / 1e3);

    return 0;
}


int
main(int argc, char **argv)
{
    int      c, rc;
    char    *buf;
    size_t   i, size;

    static const bench_t  responses[] = {
        { "text", 0, "{\"choices\":[{\"message\":{\"content\":\"", BENCH_TEXT,
          "\"}}],\"usage\":{\"prompt_tokens\":7}}" },
        { "escapes", 0, "{\"choices\":[{\"message\":{\"content\":\"",
          "if (a == \\\"b\\\") {\\n    return;\\n}\\n",
          "\"}}],\"usage\":{\"prompt_tokens\":7}}" },
        { "numbers", 0, "{\"data\":[{\"embedding\":[", "-0.0123456,",
          "0]}],\"usage\":{\"prompt_tokens\":7}}" },
        { "events", 1, "", BENCH_EVENT,
          "data: {\"usage\":{\"prompt_tokens\":7}}\n\n" }
    };

    static const struct {
        bench_t  b;
        size_t   size;
    } requests[] = {
        { { "1_turn", 0, "{\"model\":\"m\",\"messages\":[", BENCH_TURN,
            "{}],\"max_tokens\":100}" }, 400 },
        { { "100_turns", 0, "{\"model\":\"m\",\"messages\":[", BENCH_TURN,
            "{}],\"max_tokens\":100}" }, 32000 },
        { { "image_5m", 0, "{\"messages\":[{\"content\":\"", "iVBORw0KGgoA",
            "\"}],\"max_tokens\":100}" }, 5 << 20 },
        { { "tokens_128k", 0, "{\"prompt\":[", "31373,",
            "1],\"max_tokens\":100}" }, 6 << 17 }
    };

    size = 64;

    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            return 2;
        }

        size = strtoul(optarg, NULL, 10);
    }

    buf = size >= 8 && size < 4096 ? malloc(size << 20) : NULL;

    if (buf == NULL) {
        fprintf(stderr, "bench_usage: -m %zu: not possible\n", size);
        return 1;
    }

    rc = 0;

    for (i = 0; rc == 0 && i < sizeof(responses) / sizeof(bench_t); i++) {
        rc = bench_scan(buf, size << 20, &responses[i]);
    }

    for (i = 0; rc == 0 && i < sizeof(requests) / sizeof(requests[0]); i++) {
        rc = bench_ask(buf, requests[i].size, &requests[i].b);
    }

    free(buf);

    return rc;
}
