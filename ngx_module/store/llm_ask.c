
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the body of a request for another model server asks for.  No state:
 * any thread, nginx's event loop included, so a body may not cost long:
 * jansson reads some 50 MB/s, and a body has megabytes of images or tokens.
 * It gets an excerpt, in which long strings and lists of numbers are replaced
 * by short ones; what ends them is the same to every parser.
 *
 * The body is judged here and obeyed by another parser.  So what two parsers
 * may read in two ways is refused: a name twice, a number as a string, and a
 * name that differs from one of ours only by case.
 */


#include <string.h>

#include <jansson.h>

#include "llm_usage.h"


#define LLM_ASK_STRING      64          /* bytes of one that is kept */
#define LLM_ASK_STRING_1    1024        /* the same at depth 1: a model's name
                                           may be written in \u escapes */
#define LLM_ASK_EXCERPT     (1 << 20)   /* bytes */
#define LLM_ASK_CONTAINERS  (1 << 16)   /* jansson takes some 250 bytes each */
#define LLM_ASK_DEPTH       128
#define LLM_ASK_TOKENS_MAX  4294967296.0
#define LLM_ASK_N_MAX       128


typedef struct {
    const char  *p;
    const char  *last;
    llm_buf_t    out;
    unsigned     depth;
    unsigned     containers;
    char        *err;
    size_t       errlen;
} llm_ask_excerpt_t;


static int llm_ask_excerpt(llm_ask_excerpt_t *x);
static int llm_ask_string(llm_ask_excerpt_t *x);
static int llm_ask_open(llm_ask_excerpt_t *x);
static int llm_ask_digits(llm_ask_excerpt_t *x);
static int llm_ask_blanks(llm_ask_excerpt_t *x);
static int llm_ask_plain(llm_ask_excerpt_t *x);
static const char *llm_ask_skip(const char *p, const char *last);
static int llm_ask_append(llm_ask_excerpt_t *x, const char *p, size_t len);
static int llm_ask_members(llm_ask_t *ask, const json_t *root, char *err,
    size_t errlen);
static int llm_ask_names(const json_t *root, char *err, size_t errlen);
static int llm_ask_alias(const char *key, const char *name);
static int llm_ask_model(llm_ask_t *ask, const json_t *root, char *err,
    size_t errlen);
static int llm_ask_stream(llm_ask_t *ask, const json_t *root, char *err,
    size_t errlen);
static int llm_ask_number(uint64_t *n, const json_t *root, const char *name,
    double min, double max, char *err, size_t errlen);
static int llm_ask_prompts(llm_ask_t *ask, const json_t *root, char *err,
    size_t errlen);


static const char *const  llm_ask_fields[] = {
    "model", "max_completion_tokens", "max_tokens", "max_output_tokens",
    "n", "best_of", "stream", "prompt"
};


int
llm_ask_parse(llm_ask_t *ask, const char *body, size_t len, char *err,
    size_t errlen)
{
    int                 rc;
    json_t             *root;
    json_error_t        je;
    llm_ask_excerpt_t   x;

    memset(ask, 0, sizeof(*ask));
    ask->n = 1;

    memset(&x, 0, sizeof(x));
    x.p = body;
    x.last = len ? body + len : body;
    x.err = err;
    x.errlen = errlen;

    rc = llm_ask_excerpt(&x);
    if (rc != LLM_OK) {
        llm_buf_done(&x.out);
        return rc;
    }

    /* all numbers as reals, which are exact as far as they can matter: one
     * that is no 64-bit integer is an error otherwise, be it only a seed */

    root = json_loadb(x.out.len ? x.out.data : "", x.out.len,
                      JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL
                      |JSON_DECODE_INT_AS_REAL, &je);
    llm_buf_done(&x.out);

    if (root == NULL) {
        switch (json_error_code(&je)) {

        case json_error_out_of_memory:
            return llm_err(err, errlen, LLM_NOMEM, "body: no memory");

        case json_error_duplicate_key:
            return llm_err(err, errlen, LLM_INVALID,
                           "body: a name twice in one object");

        default:
            return llm_err(err, errlen, LLM_INVALID, "body: not JSON");
        }
    }

    rc = llm_ask_members(ask, root, err, errlen);

    json_decref(root);

    return rc;
}


/*
 * What stays the same: the structure, names, short strings, each value's type,
 * and that a long string is long.
 */

static int
llm_ask_excerpt(llm_ask_excerpt_t *x)
{
    int  rc;

    rc = LLM_OK;

    while (rc == LLM_OK && x->p < x->last) {

        switch (*x->p) {

        case '"':
            rc = llm_ask_string(x);
            break;

        case '{':
        case '[':
            rc = llm_ask_open(x);
            break;

        case '}':
        case ']':
            x->depth -= x->depth > 0;
            rc = llm_ask_append(x, x->p++, 1);
            break;

        case ' ':
        case '\t':
        case '\r':
        case '\n':
            rc = llm_ask_blanks(x);
            break;

        default:
            rc = llm_ask_plain(x);
        }
    }

    return rc;
}


static int
llm_ask_string(llm_ask_excerpt_t *x)
{
    size_t       n, max;
    const char  *p, *quote, *from;

    /* at depth 1, longer than a model's name may be */
    static const char  instead[] =
        "\"................................................................"
        "................................................................\"";

    p = x->p + 1;

    for ( ;; ) {
        quote = p < x->last ? memchr(p, '"', (size_t) (x->last - p)) : NULL;

        if (quote == NULL) {
            return llm_err(x->err, x->errlen, LLM_INVALID,
                           "body: not JSON: a string has no end");
        }

        /* an even number of backslashes are pairs */

        for (n = 0; quote - n > p && *(quote - n - 1) == '\\'; n++) {
            /* void */
        }

        p = quote + 1;

        if (n % 2 == 0) {
            break;
        }
    }

    n = (size_t) (p - x->p);
    from = x->p;
    x->p = p;

    max = x->depth == 1 ? LLM_ASK_STRING_1 : LLM_ASK_STRING;

    if (n > max + 2) {
        p = llm_ask_skip(p, x->last);

        if (p == x->last || *p != ':') {
            return x->depth > 1 ? llm_ask_append(x, "\".\"", 3)
                   : llm_ask_append(x, instead, sizeof(instead) - 1);
        }
    }

    return llm_ask_append(x, from, n);
}


static int
llm_ask_open(llm_ask_excerpt_t *x)
{
    int  rc;

    if (++x->depth > LLM_ASK_DEPTH) {
        return llm_err(x->err, x->errlen, LLM_INVALID,
                       "body: nests deeper than %d levels", LLM_ASK_DEPTH);
    }

    if (++x->containers > LLM_ASK_CONTAINERS) {
        return llm_err(x->err, x->errlen, LLM_INVALID,
                       "body: more than %d objects and lists",
                       LLM_ASK_CONTAINERS);
    }

    rc = llm_ask_append(x, x->p++, 1);

    return rc == LLM_OK && x->p[-1] == '[' ? llm_ask_digits(x) : rc;
}


/* a list of numbers without signs or fractions becomes one of the first;
 * another list is left alone */

static int
llm_ask_digits(llm_ask_excerpt_t *x)
{
    size_t       n, len;
    const char  *p, *from, *first;

    p = x->p;
    first = NULL;
    len = 0;

    for (n = 0; /* void */; n++) {
        from = llm_ask_skip(p, x->last);

        for (p = from; p < x->last && *p >= '0' && *p <= '9'; p++) {
            /* void */
        }

        if (p == from) {
            return LLM_OK;
        }

        if (n == 0) {
            first = from;
            len = (size_t) (p - from);
        }

        p = llm_ask_skip(p, x->last);

        if (p == x->last || *p != ',') {
            break;
        }

        p++;
    }

    if (p == x->last || *p != ']') {
        return LLM_OK;
    }

    x->p = p;

    return llm_ask_append(x, first, len);
}


static int
llm_ask_blanks(llm_ask_excerpt_t *x)
{
    x->p = llm_ask_skip(x->p, x->last);

    return llm_ask_append(x, " ", 1);
}


/* numbers, literals, commas, colons, and what is no JSON */

static int
llm_ask_plain(llm_ask_excerpt_t *x)
{
    const char  *p;

    static const char  other[] = "\"{}[] \t\r\n";

    p = x->p;

    while (x->p < x->last && x->p - p <= LLM_ASK_EXCERPT
           && memchr(other, *x->p, sizeof(other) - 1) == NULL)
    {
        x->p++;
    }

    return llm_ask_append(x, p, (size_t) (x->p - p));
}


static const char *
llm_ask_skip(const char *p, const char *last)
{
    while (p < last
           && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
    {
        p++;
    }

    return p;
}


static int
llm_ask_append(llm_ask_excerpt_t *x, const char *p, size_t len)
{
    if (len > LLM_ASK_EXCERPT - x->out.len) {
        return llm_err(x->err, x->errlen, LLM_INVALID,
                       "body: more values than a request can need");
    }

    if (llm_buf_append(&x->out, p, len) != LLM_OK) {
        return llm_err(x->err, x->errlen, LLM_NOMEM, "body: no memory");
    }

    return LLM_OK;
}


static int
llm_ask_members(llm_ask_t *ask, const json_t *root, char *err, size_t errlen)
{
    int       i, rc;
    uint64_t  n;

    static const struct {
        const char  *name;
        double       min, max;
    } numbers[] = {
        { "max_completion_tokens", 0, LLM_ASK_TOKENS_MAX },
        { "max_tokens", 0, LLM_ASK_TOKENS_MAX },
        { "max_output_tokens", 0, LLM_ASK_TOKENS_MAX },
        { "n", 1, LLM_ASK_N_MAX },
        { "best_of", 1, LLM_ASK_N_MAX }
    };

    if (!json_is_object(root)) {
        return llm_err(err, errlen, LLM_INVALID, "body: not a JSON object");
    }

    rc = llm_ask_names(root, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_ask_model(ask, root, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_ask_stream(ask, root, err, errlen);
    }

    /* the largest of each kind: a server that does not know the newer name
     * goes by the older */

    for (i = 0; rc == LLM_OK && i < 5; i++) {
        n = 0;
        rc = llm_ask_number(&n, root, numbers[i].name, numbers[i].min,
                            numbers[i].max, err, errlen);

        if (i < 3) {
            ask->max_tokens = n > ask->max_tokens ? n : ask->max_tokens;

        } else {
            ask->n = n > ask->n ? (uint32_t) n : ask->n;
        }
    }

    return rc == LLM_OK ? llm_ask_prompts(ask, root, err, errlen) : rc;
}


/*
 * Servers in Go take "MAX_TOKENS" as max_tokens, as servers in other languages
 * don't: nobody writes it who means well.
 */

static int
llm_ask_names(const json_t *root, char *err, size_t errlen)
{
    size_t       i;
    json_t      *v;
    const char  *key;

    json_object_foreach((json_t *) root, key, v) {

        for (i = 0; i < sizeof(llm_ask_fields) / sizeof(char *); i++) {

            if (llm_ask_alias(key, llm_ask_fields[i])) {
                return llm_err(err, errlen, LLM_INVALID,
                               "body: %s is not written so",
                               llm_ask_fields[i]);
            }
        }
    }

    return LLM_OK;
}


/* whether key is name, but for case.  By Unicode, the Kelvin sign and the long
 * s are k and s in another case */

static int
llm_ask_alias(const char *key, const char *name)
{
    int  other;

    for (other = 0; *name != '\0'; name++) {

        if (*key == *name) {
            key++;
            continue;
        }

        other = 1;

        if (*key >= 'A' && *key <= 'Z' && (*key | 0x20) == *name) {
            key++;

        } else if (*name == 'k' && strncmp(key, "\xe2\x84\xaa", 3) == 0) {
            key += 3;

        } else if (*name == 's' && strncmp(key, "\xc5\xbf", 2) == 0) {
            key += 2;

        } else {
            return 0;
        }
    }

    return other && *key == '\0';
}


static int
llm_ask_model(llm_ask_t *ask, const json_t *root, char *err, size_t errlen)
{
    size_t       len;
    json_t      *v;
    const char  *model;

    v = json_object_get(root, "model");

    if (!json_is_string(v)) {
        return LLM_OK;
    }

    model = json_string_value(v);
    len = json_string_length(v);

    if (len >= sizeof(ask->model)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "body: model: more than %zu bytes",
                       sizeof(ask->model) - 1);
    }

    if (strlen(model) != len) {
        return llm_err(err, errlen, LLM_INVALID, "body: model: has a NUL");
    }

    memcpy(ask->model, model, len + 1);

    return LLM_OK;
}


static int
llm_ask_stream(llm_ask_t *ask, const json_t *root, char *err, size_t errlen)
{
    json_t  *v;

    v = json_object_get(root, "stream");

    if (v != NULL && !json_is_null(v) && !json_is_boolean(v)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "body: stream: neither true nor false");
    }

    ask->stream = json_is_true(v);

    return LLM_OK;
}


/* n keeps its value when there is none */

static int
llm_ask_number(uint64_t *n, const json_t *root, const char *name,
    double min, double max, char *err, size_t errlen)
{
    double   d;
    json_t  *v;

    v = json_object_get(root, name);

    if (v == NULL || json_is_null(v)) {
        return LLM_OK;
    }

    d = json_real_value(v);

    if (!json_is_real(v) || !(d >= min && d <= max)
        || d != (double) (uint64_t) d)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "body: %s: not an integer from %.0f to %.0f", name,
                       min, max);
    }

    *n = (uint64_t) d;

    return LLM_OK;
}


/*
 * The prompts of a completions request: a string, tokens, or a list of either.
 * Of tokens there is one number left, or those of a list with other things.
 */

static int
llm_ask_prompts(llm_ask_t *ask, const json_t *root, char *err, size_t errlen)
{
    size_t     i;
    json_t    *v, *item;
    json_type  type;

    v = json_object_get(root, "prompt");

    if (!json_is_array(v) || json_array_size(v) == 0) {
        return LLM_OK;
    }

    type = json_typeof(json_array_get(v, 0));

    json_array_foreach(v, i, item) {

        if (json_typeof(item) != type
            || (type != JSON_STRING && type != JSON_ARRAY
                && type != JSON_REAL))
        {
            return llm_err(err, errlen, LLM_INVALID,
                           "body: prompt: neither a string nor tokens nor a "
                           "list of either");
        }
    }

    if (type != JSON_REAL) {
        ask->n *= (uint32_t) json_array_size(v);    /* within the excerpt */
    }

    return LLM_OK;
}
