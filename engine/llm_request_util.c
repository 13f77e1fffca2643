
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the request parser's files share: see llm_request_int.h.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "llm_request_int.h"


static int llm_req_printable(uint32_t c);
static float llm_req_round(double d, double min, int above);


int
llm_req_fail(llm_reqctx_t *c, int status, const char *code,
    const char *param, const char *fmt, ...)
{
    va_list  args;

    c->e->status = status;

    snprintf(c->e->code, sizeof(c->e->code), "%s", code);
    snprintf(c->e->param, sizeof(c->e->param), "%s", param);

    va_start(args, fmt);
    vsnprintf(c->e->message, sizeof(c->e->message), fmt, args);
    va_end(args);

    c->e->message[llm_utf8_whole(c->e->message, strlen(c->e->message))] = '\0';
    c->e->param[llm_utf8_whole(c->e->param, strlen(c->e->param))] = '\0';

    return status == 503 ? LLM_NOMEM : status == 404 ? LLM_NOTFOUND
                                                     : LLM_INVALID;
}


int
llm_req_nomem(llm_reqctx_t *c)
{
    return llm_req_fail(c, 503, "out_of_memory", "",
                        "there is no memory for this request now");
}


int
llm_req_type(llm_reqctx_t *c, const char *param, const char *want,
    const json_t *got)
{
    static const char  *types[] = {
        "an object", "an array", "a string", "an integer", "a number",
        "true", "false", "null"
    };

    return llm_req_fail(c, 400, "invalid_type", param,
                        "%s must be %s, not %s", param, want,
                        got ? types[json_typeof(got)] : "missing");
}


const char *
llm_req_path(char at[LLM_REQ_PATH], const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(at, LLM_REQ_PATH, fmt, args);
    va_end(args);

    return at;
}


const char *
llm_req_quote(char buf[LLM_REQ_QUOTE], const char *text, size_t len)
{
    return llm_req_escape(buf, text, len, 60, 1);
}


const char *
llm_req_escape(char *buf, const char *text, size_t len, size_t max,
    int quoted)
{
    char      *p, esc[16];
    size_t     i, k, n, chars;
    uint32_t   c;

    p = buf;
    chars = 0;

    /* jansson's strings are UTF-8; others end at the first bad byte */

    for (i = 0; i < len; i += n) {
        c = (unsigned char) text[i];
        n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        if (n > len - i || !llm_utf8_valid(text + i, n)) {
            break;
        }

        if (n > 1) {
            c &= 0x7fu >> n;
        }

        for (k = 1; k < n; k++) {
            c = c << 6 | ((unsigned char) text[i + k] & 0x3f);
        }

        if (llm_req_printable(c)
            && (!quoted || (c != '"' && c != '\\')))
        {
            k = 1;
            memcpy(esc, text + i, n);

        } else {
            k = (size_t) snprintf(esc, sizeof(esc), c < 0x100 ? "\\x%02x"
                                                              : "\\u%04x", c);
        }

        if (chars + k > max) {
            break;
        }

        memcpy(p, esc, k > 1 ? k : n);
        p += k > 1 ? k : n;
        chars += k;
    }

    if (i < len) {
        memcpy(p, "...", 3);
        p += 3;
    }

    *p = '\0';

    return buf;
}


/* not controls, direction marks, separators, private use, noncharacters */

static int
llm_req_printable(uint32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c <= 0xa0)
           && c != 0xad && c != 0x61c && !(c >= 0x2000 && c <= 0x200f)
           && !(c >= 0x2028 && c <= 0x202f) && !(c >= 0x205f && c <= 0x206f)
           && c != 0x3000 && !(c >= 0xd800 && c <= 0xf8ff)
           && !(c >= 0xfdd0 && c <= 0xfdef) && c != 0xfeff
           && !(c >= 0xfff0 && c <= 0xffff) && c < 0xe0000;
}


json_t *
llm_req_get(json_t *obj, const char *key)
{
    json_t  *v;

    v = json_object_get(obj, key);

    return json_is_null(v) ? NULL : v;
}


int
llm_req_bool(llm_reqctx_t *c, json_t *obj, const char *key,
    const char *param, int *out)
{
    json_t  *v;

    v = llm_req_get(obj, key);
    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_boolean(v)) {
        return llm_req_type(c, param, "a boolean", v);
    }

    *out = json_is_true(v);

    return LLM_OK;
}


int
llm_req_int(llm_reqctx_t *c, const char *key, int64_t *out, int64_t min,
    int64_t max)
{
    json_t  *v;

    v = llm_req_get(c->root, key);
    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_integer(v)) {
        return llm_req_type(c, key, "an integer", v);
    }

    if (json_integer_value(v) < min || json_integer_value(v) > max) {
        return llm_req_fail(c, 400, "invalid_value", key,
                            "%s must be between %lld and %lld", key,
                            (long long) min, (long long) max);
    }

    *out = json_integer_value(v);

    return LLM_OK;
}


/* above: min itself is out of range */

int
llm_req_float(llm_reqctx_t *c, const char *key, float *out, double min,
    double max, int above)
{
    double   d;
    json_t  *v;

    v = llm_req_get(c->root, key);
    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_number(v)) {
        return llm_req_type(c, key, "a number", v);
    }

    d = json_number_value(v);

    if (!(d >= min && d <= max) || (above && d == min)) {
        return llm_req_fail(c, 400, "invalid_value", key,
                            "%s must be %s %g and at most %g", key,
                            above ? "above" : "at least", min, max);
    }

    *out = llm_req_round(d, min, above);

    return LLM_OK;
}


/* 1e-60 is above 0, and must stay so */

static float
llm_req_round(double d, double min, int above)
{
    if (above && (float) d <= (float) min) {
        return (float) min + 1e-6f;
    }

    return (float) d;
}


int
llm_req_param_int(llm_reqctx_t *c, llm_param_e p, int64_t *out)
{
    const llm_param_def_t  *def = &llm_param_defs[p];

    *out = (int64_t) llm_param_value(c->env->params, p, (double) *out);

    return llm_req_int(c, def->name, out, (int64_t) def->min,
                       (int64_t) def->max);
}


int
llm_req_param_float(llm_reqctx_t *c, llm_param_e p, float *out)
{
    const llm_param_def_t  *def = &llm_param_defs[p];

    *out = llm_req_round(llm_param_value(c->env->params, p, (double) *out),
                         def->min, def->above);

    return llm_req_float(c, def->name, out, def->min, def->max, def->above);
}


int
llm_req_scan(llm_reqctx_t *c, const char *text, size_t len)
{
    int     string;
    size_t  i, values, depth;

    string = 0;
    values = 0;
    depth = 0;

    for (i = 0; i < len; i++) {
        if (string) {
            if (text[i] == '\\') {
                i++;

            } else if (text[i] == '"') {
                string = 0;
            }

            continue;
        }

        switch (text[i]) {

        case '"':
            string = 1;
            break;

        case '[':
        case '{':
            if (++depth > LLM_REQ_DEPTH_MAX) {
                return llm_req_fail(c, 400, "invalid_json", "",
                                    "the request's body nests deeper than "
                                    "%d levels", LLM_REQ_DEPTH_MAX);
            }

            values++;
            break;

        case ']':
        case '}':
            depth -= depth > 0;
            break;

        case ',':
        case ':':
            values++;
            break;
        }
    }

    if (values > LLM_REQ_VALUES_MAX) {
        return llm_req_fail(c, 413, "request_too_large", "",
                            "the request's body has more than %d values",
                            LLM_REQ_VALUES_MAX);
    }

    return LLM_OK;
}


int
llm_req_tokenize(llm_reqctx_t *c, const char *text, size_t len,
    unsigned flags, llm_ids_t *ids, const char *param)
{
    int     rc;
    char    err[LLM_ERRLEN];
    size_t  least, context;

    context = (size_t) c->env->context;

    /* no token has more bytes than the longest; 4: what a normalizer may take
     * away.  Looked up for long texts only */

    if (len > 4096 && len / 64 > context) {
        least = len / 4 / llm_tokenizer_longest(c->env->tok);

        if (least >= context) {
            return llm_req_too_long(c, param, least, 1);
        }
    }

    rc = llm_tokenize(c->env->tok, text, len, flags, ids, err, sizeof(err));

    if (rc == LLM_NOMEM) {
        return llm_req_nomem(c);
    }

    if (rc != LLM_OK) {
        return llm_req_fail(c, 400, "invalid_value", param,
                            "%s can't be tokenised: %s", param, err);
    }

    if (ids->len >= context) {
        return llm_req_too_long(c, param, ids->len, 0);
    }

    if (ids->len == 0) {
        return llm_req_fail(c, 400, "invalid_value", param,
                            "%s has no tokens", param);
    }

    return LLM_OK;
}


int
llm_req_too_long(llm_reqctx_t *c, const char *param, size_t n, int at_least)
{
    return llm_req_fail(c, 400, "context_length_exceeded", param,
                        "the prompt has %s%zu tokens; the context holds %d, "
                        "prompt and answer together",
                        at_least ? "at least " : "", n, c->env->context);
}


int
llm_req_json(llm_reqctx_t *c, const char *body, size_t len)
{
    const char    *why;
    json_error_t   error;

    if (llm_req_scan(c, body, len) != LLM_OK) {
        return LLM_INVALID;
    }

    c->root = json_loadb(body, len, JSON_ALLOW_NUL, &error);

    if (c->root == NULL) {
        switch (json_error_code(&error)) {

        case json_error_out_of_memory:
            return llm_req_nomem(c);

        case json_error_invalid_utf8:
            why = "not valid UTF-8, or half of a surrogate pair";
            break;

        case json_error_premature_end_of_input:
            why = "it ends too early";
            break;

        case json_error_end_of_input_expected:
            why = "something follows its end";
            break;

        case json_error_numeric_overflow:
            why = "a number is too large";
            break;

        case json_error_null_character:
        case json_error_null_byte_in_key:
            why = "a NUL in a name";
            break;

        default:
            why = "invalid syntax";
        }

        return llm_req_fail(c, 400, "invalid_json", "",
                            "the request's body is not JSON: line %d, "
                            "column %d: %s", error.line, error.column, why);
    }

    if (!json_is_object(c->root)) {
        return llm_req_fail(c, 400, "invalid_type", "",
                            "the request's body must be a JSON object");
    }

    return LLM_OK;
}
