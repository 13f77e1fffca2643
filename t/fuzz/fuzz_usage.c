
/*
 * Copyright (C) nginx-llm contributors
 *
 * libFuzzer target: after two bytes that choose a stream or not and where it
 * is cut, a response, whose counts must not depend on the cuts; and the same
 * bytes as a request's body.  For what is strict JSON, jansson's reading of
 * all of it is the oracle of both.
 */


#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../ngx_module/store/llm_usage.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_feed(llm_usage_scan_t *s, int stream, const uint8_t *p, size_t len,
    unsigned cut)
{
    char    *copy;
    size_t   n;

    llm_usage_init(s, stream);

    for ( /* void */ ; len != 0; len -= n) {
        cut = cut * 1103515245 + 12345;
        n = 1 + (cut >> 16) % 24;

        if (n > len) {
            n = len;
        }

        copy = malloc(n);
        if (copy == NULL) {
            abort();
        }

        memcpy(copy, p, n);
        llm_usage_feed(s, copy, n);
        free(copy);

        p += n;
    }
}


/* an integer that counts; otherwise 0 and *said stays */

static uint64_t
fuzz_count(const json_t *o, const char *name, int *said)
{
    double   d;
    json_t  *v;

    v = json_object_get(o, name);
    d = json_real_value(v);

    if (!json_is_real(v) || !(d >= 0 && d < 1099511627776.0)
        || d != (double) (uint64_t) d)
    {
        return 0;
    }

    *said = 1;

    return (uint64_t) d;
}


static void
fuzz_usage(const llm_usage_scan_t *s, const json_t *root)
{
    int            found, total;
    json_t        *usage;
    uint64_t       prompt, completion;

    usage = json_object_get(root, "usage");

    found = 0;
    completion = fuzz_count(usage, "completion_tokens", &found);

    if (!found) {
        completion = fuzz_count(usage, "output_tokens", &found);
    }

    total = 0;
    prompt = fuzz_count(usage, "input_tokens", &found)
             + fuzz_count(usage, "cache_creation_input_tokens", &found)
             + fuzz_count(usage, "cache_read_input_tokens", &found);

    if (fuzz_count(usage, "prompt_tokens", &total) || total) {
        prompt = fuzz_count(usage, "prompt_tokens", &found);
    }

    if (s->found != (unsigned) found || s->prompt_tokens != prompt
        || s->completion_tokens != completion || s->events != 0)
    {
        abort();
    }
}


static uint64_t
fuzz_larger(const json_t *root, const char *name, uint64_t n)
{
    double  d;

    d = json_real_value(json_object_get(root, name));

    return d > (double) n ? (uint64_t) d : n;
}


static void
fuzz_ask(const llm_ask_t *a, const json_t *root)
{
    json_t      *v, *first;
    uint64_t     n, max;
    const char  *model;

    n = fuzz_larger(root, "best_of", fuzz_larger(root, "n", 1));
    v = json_object_get(root, "prompt");
    first = json_array_get(v, 0);

    if (json_is_string(first) || json_is_array(first)) {
        n *= json_array_size(v);
    }

    max = fuzz_larger(root, "max_tokens", 0);
    max = fuzz_larger(root, "max_completion_tokens", max);
    max = fuzz_larger(root, "max_output_tokens", max);

    model = json_string_value(json_object_get(root, "model"));

    if (a->n != n || a->max_tokens != max
        || a->stream != json_is_true(json_object_get(root, "stream"))
        || strcmp(a->model, model ? model : "") != 0)
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                rc;
    char               err[LLM_ERRLEN];
    json_t            *root;
    llm_ask_t          ask;
    const char        *text;
    llm_usage_scan_t   s, pieces;

    if (size < 2) {
        return 0;
    }

    text = (const char *) data + 2;
    size -= 2;

    llm_usage_init(&s, data[0] & 1);
    llm_usage_feed(&s, text, size);
    fuzz_feed(&pieces, data[0] & 1, data + 2, size, data[1] * 256u + data[0]);

    if (s.found != pieces.found || s.events != pieces.events
        || s.prompt_tokens != pieces.prompt_tokens
        || s.completion_tokens != pieces.completion_tokens)
    {
        abort();
    }

    err[0] = '\0';
    rc = llm_ask_parse(&ask, text, size, err, sizeof(err));

    if (rc != LLM_OK && (rc != LLM_INVALID || err[0] == '\0')) {
        abort();
    }

    root = json_loadb(text, size, JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL
                      |JSON_DECODE_INT_AS_REAL, NULL);

    if (json_is_object(root)) {

        /* what the scanner may miss: names with escapes, and a long usage */

        if (!(data[0] & 1) && size <= sizeof(s.text)
            && memmem(text, size, "\\u", 2) == NULL)
        {
            fuzz_usage(&s, root);
        }

        if (rc == LLM_OK) {
            fuzz_ask(&ask, root);
        }
    }

    json_decref(root);

    return 0;
}
