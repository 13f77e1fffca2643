
/*
 * Copyright (C) nginx-llm contributors
 *
 * The token counts of a response that passes by.  A scanner, not a parser: it
 * follows strings and brackets, knows the names of members at depth 1 (and,
 * in streams, of those of "message" and "response" at depth 2), and gives to
 * jansson only the text of the usage object.  What is no JSON yields nothing
 * or nonsense, at no other cost.  The caller's struct is all its state.
 *
 * The layers, each fed with what the one above has cut out:
 *
 *     llm_usage_lines()     a stream's lines, by LF, CRLF or CR
 *     llm_usage_line()      those of "data:"
 *     llm_usage_json()      a piece of a document
 *     llm_usage_string()    to a string's end, by memchr()
 */


#include <string.h>

#include <jansson.h>

#include "llm_usage.h"


#define LLM_USAGE_LIMIT  ((uint64_t) 1 << 40)


/* llm_usage_scan_t.line: below LLM_LINE_DATA, bytes of "data:" */
typedef enum {
    LLM_LINE_DATA = 5,
    LLM_LINE_OTHER
} llm_line_e;


typedef enum {
    LLM_MEMBER_OTHER = 0,
    LLM_MEMBER_USAGE,
    LLM_MEMBER_CHOICES,
    LLM_MEMBER_TYPE,
    LLM_MEMBER_MODEL,
    LLM_MEMBER_INNER        /* may have a usage and a model of its own */
} llm_member_e;


static void llm_usage_lines(llm_usage_scan_t *s, const char *p,
    const char *end);
static void llm_usage_line(llm_usage_scan_t *s, const char *p,
    const char *end);
static void llm_usage_line_end(llm_usage_scan_t *s);
static void llm_usage_document(llm_usage_scan_t *s);
static void llm_usage_json(llm_usage_scan_t *s, const char *p,
    const char *end);
static const char *llm_usage_string(llm_usage_scan_t *s, const char *p,
    const char *end);
static int llm_usage_keeps(const llm_usage_scan_t *s);
static void llm_usage_keep(llm_usage_scan_t *s, const char *p, size_t len);
static void llm_usage_kept(llm_usage_scan_t *s);
static void llm_usage_model(llm_usage_scan_t *s);
static llm_member_e llm_usage_member(const llm_usage_scan_t *s);
static int llm_usage_is(const llm_usage_scan_t *s, const char *name);
static void llm_usage_open(llm_usage_scan_t *s, char bracket);
static void llm_usage_close(llm_usage_scan_t *s);
static void llm_usage_next(llm_usage_scan_t *s);
static void llm_usage_event(llm_usage_scan_t *s);
static void llm_usage_text(llm_usage_scan_t *s, const char *p, size_t len);
static void llm_usage_take(llm_usage_scan_t *s);
static int llm_usage_count(const json_t *usage, const char *name,
    uint64_t *n);


void
llm_usage_init(llm_usage_scan_t *s, int stream)
{
    memset(s, 0, sizeof(*s));
    s->stream = stream != 0;
}


void
llm_usage_feed(llm_usage_scan_t *s, const void *data, size_t len)
{
    const char  *p;

    if (len == 0) {
        return;
    }

    p = data;

    if (s->stream) {
        llm_usage_lines(s, p, p + len);

    } else {
        llm_usage_json(s, p, p + len);
    }
}


static void
llm_usage_lines(llm_usage_scan_t *s, const char *p, const char *end)
{
    const char  *lf, *eol;

    lf = NULL;

    while (p < end) {

        if (s->cr) {
            s->cr = 0;

            if (*p == '\n') {
                p++;
                continue;
            }
        }

        /* looked for once, however many lines end in CR before it */

        if (lf == NULL || lf < p) {
            lf = memchr(p, '\n', (size_t) (end - p));
            if (lf == NULL) {
                lf = end;
            }
        }

        eol = memchr(p, '\r', (size_t) (lf - p));
        if (eol == NULL) {
            eol = lf;
        }

        llm_usage_line(s, p, eol);

        if (eol == end) {
            return;
        }

        llm_usage_line_end(s);

        s->cr = *eol == '\r';
        p = eol + 1;
    }
}


/* a part of a line, none of its end */

static void
llm_usage_line(llm_usage_scan_t *s, const char *p, const char *end)
{
    static const char  field[] = "data:", lf[] = "\n";

    while (p < end && s->line < LLM_LINE_DATA) {

        if (*p != field[s->line]) {
            s->line = LLM_LINE_OTHER;
            return;
        }

        p++;
        s->line++;

        if (s->line < LLM_LINE_DATA) {
            continue;
        }

        /* an event's lines of data are one text; servers that put no empty
         * line between two events send a document in each */

        if (s->ended) {
            llm_usage_document(s);

        } else {
            llm_usage_json(s, lf, lf + 1);
        }
    }

    if (s->line == LLM_LINE_DATA) {
        llm_usage_json(s, p, end);
    }
}


static void
llm_usage_line_end(llm_usage_scan_t *s)
{
    if (s->line == 0) {
        llm_usage_document(s);
    }

    s->line = 0;
}


/* the next document begins, whatever became of the last */

static void
llm_usage_document(llm_usage_scan_t *s)
{
    s->ended = 0;
    s->counted = 0;
    s->string = 0;
    s->escape = 0;
    s->capture = 0;
    s->depth = 0;
}


static void
llm_usage_json(llm_usage_scan_t *s, const char *p, const char *end)
{
    char         c;
    const char  *from;      /* the captured part of this piece, if any */

    from = p;

    while (p < end && !s->ended) {

        if (s->string) {
            p = llm_usage_string(s, p, end);
            continue;
        }

        c = *p++;

        switch (c) {

        case '"':
            s->string = 1;
            s->keep = llm_usage_keeps(s);
            s->name_len = 0;
            break;

        case '{':
        case '[':
            if (!s->capture) {
                from = p - 1;
            }

            llm_usage_open(s, c);
            break;

        case '}':
        case ']':
            if (s->capture && s->depth == s->capture + 1u) {
                llm_usage_text(s, from, (size_t) (p - from));
                llm_usage_take(s);
            }

            llm_usage_close(s);
            break;

        case ',':
            llm_usage_next(s);
            break;

        case ':':
            s->want_name = 0;
            break;
        }
    }

    if (s->capture) {
        llm_usage_text(s, from, (size_t) (p - from));
    }
}


/* after the opening quote: returns the place after the closing one, or end */

static const char *
llm_usage_string(llm_usage_scan_t *s, const char *p, const char *end)
{
    size_t       n;
    const char  *begin, *quote, *last;

    begin = p;

    if (s->escape) {
        s->escape = 0;
        p++;
    }

    while (p < end) {
        quote = memchr(p, '"', (size_t) (end - p));
        last = quote ? quote : end;

        /* p is not escaped, so backslashes pair up from any place behind */

        for (n = 0; last - n > p && *(last - n - 1) == '\\'; n++) {
            /* void */
        }

        if (quote == NULL) {
            s->escape = n & 1;
            p = end;
            break;
        }

        p = quote + 1;

        if (n % 2 == 0) {
            s->string = 0;
            break;
        }
    }

    if (s->keep) {
        llm_usage_keep(s, begin, (size_t) (p - begin) - !s->string);

        if (!s->string) {
            llm_usage_kept(s);
        }
    }

    return p;
}


/* whether the string that begins here is of interest */

static int
llm_usage_keeps(const llm_usage_scan_t *s)
{
    if (s->depth == 1) {
        return s->want_name || s->member == LLM_MEMBER_TYPE
               || s->member == LLM_MEMBER_MODEL;
    }

    return s->depth == 2 && s->member == LLM_MEMBER_INNER
           && (s->want_name || s->inner == LLM_MEMBER_MODEL);
}


static void
llm_usage_keep(llm_usage_scan_t *s, const char *p, size_t len)
{
    if (s->name_len > sizeof(s->name) || len > sizeof(s->name) - s->name_len)
    {
        s->name_len = sizeof(s->name) + 1;
        return;
    }

    memcpy(s->name + s->name_len, p, len);
    s->name_len += (uint32_t) len;
}


/* a name, or the value of type or model, has ended */

static void
llm_usage_kept(llm_usage_scan_t *s)
{
    if (s->want_name) {

        if (s->depth == 2) {
            s->inner = llm_usage_member(s);

        } else {
            s->member = llm_usage_member(s);
        }

    } else if (s->depth == 2 || s->member == LLM_MEMBER_MODEL) {
        llm_usage_model(s);

    } else if (llm_usage_is(s, "content_block_delta")
               || llm_usage_is(s, "response.output_text.delta"))
    {
        llm_usage_event(s);
    }
}


/* one that is too long, or has an escape, is as good as none */

static void
llm_usage_model(llm_usage_scan_t *s)
{
    if (s->model_len || s->name_len > sizeof(s->model)
        || memchr(s->name, '\\', s->name_len) != NULL)
    {
        return;
    }

    memcpy(s->model, s->name, s->name_len);
    s->model_len = s->name_len;
}


/* no server writes these names with escapes: one that has some is another */

static llm_member_e
llm_usage_member(const llm_usage_scan_t *s)
{
    if (llm_usage_is(s, "usage")) {
        return LLM_MEMBER_USAGE;
    }

    if (llm_usage_is(s, "model")) {
        return LLM_MEMBER_MODEL;
    }

    if (!s->stream) {
        return LLM_MEMBER_OTHER;
    }

    if (llm_usage_is(s, "choices")) {
        return LLM_MEMBER_CHOICES;
    }

    if (llm_usage_is(s, "type")) {
        return LLM_MEMBER_TYPE;
    }

    /* of Anthropic's message_start, and of OpenAI's response.completed */

    if (llm_usage_is(s, "message") || llm_usage_is(s, "response")) {
        return LLM_MEMBER_INNER;
    }

    return LLM_MEMBER_OTHER;
}


static int
llm_usage_is(const llm_usage_scan_t *s, const char *name)
{
    return s->name_len == strlen(name)
           && memcmp(s->name, name, s->name_len) == 0;
}


static void
llm_usage_open(llm_usage_scan_t *s, char bracket)
{
    llm_member_e  of;

    if (s->depth == UINT32_MAX) {
        s->ended = 1;
        s->capture = 0;
        return;
    }

    /* within a usage no name is kept, so there is no other in it */

    of = s->depth == 1 ? s->member : s->depth == 2 ? s->inner
                                                   : LLM_MEMBER_OTHER;

    if (bracket == '{') {

        if (of == LLM_MEMBER_USAGE) {
            s->capture = s->depth & 3;
            s->text_len = 0;

        } else if (s->depth == 1 && of == LLM_MEMBER_CHOICES) {
            /* they are a list */
            s->member = LLM_MEMBER_OTHER;

        } else if (s->depth == 2 && s->member == LLM_MEMBER_CHOICES) {
            llm_usage_event(s);
        }
    }

    s->depth++;
    s->want_name = bracket == '{';

    if (s->depth == 1) {
        s->member = LLM_MEMBER_OTHER;
    }

    if (s->depth == 2) {
        s->inner = LLM_MEMBER_OTHER;
    }
}


static void
llm_usage_close(llm_usage_scan_t *s)
{
    if (s->depth != 0 && --s->depth == 0) {
        s->ended = 1;
    }
}


/* after a comma.  In a list no name is wanted; what is taken for one there
 * has no value before the next comma */

static void
llm_usage_next(llm_usage_scan_t *s)
{
    s->want_name = 1;

    if (s->depth == 1) {
        s->member = LLM_MEMBER_OTHER;
    }

    if (s->depth == 2) {
        s->inner = LLM_MEMBER_OTHER;
    }
}


static void
llm_usage_event(llm_usage_scan_t *s)
{
    if (!s->counted) {
        s->counted = 1;
        s->events++;
    }
}


static void
llm_usage_text(llm_usage_scan_t *s, const char *p, size_t len)
{
    if (s->text_len > sizeof(s->text) || len > sizeof(s->text) - s->text_len)
    {
        s->text_len = sizeof(s->text) + 1;
        return;
    }

    memcpy(s->text + s->text_len, p, len);
    s->text_len += (uint32_t) len;
}


/* a usage object is whole: its counts replace those of the last one */

static void
llm_usage_take(llm_usage_scan_t *s)
{
    int       i, found;
    json_t   *usage;

    static const char *const  parts[] = {
        "input_tokens", "cache_creation_input_tokens",
        "cache_read_input_tokens"
    };

    s->capture = 0;

    if (s->text_len > sizeof(s->text)) {
        return;
    }

    /* as reals, which are exact here, or one absurd number spoils the rest */

    usage = json_loadb(s->text, s->text_len,
                       JSON_DECODE_INT_AS_REAL|JSON_ALLOW_NUL, NULL);
    if (usage == NULL) {
        return;
    }

    found = llm_usage_count(usage, "completion_tokens", &s->completion_tokens)
            || llm_usage_count(usage, "output_tokens", &s->completion_tokens);

    if (found) {
        s->known = s->events;
    }

    /* prompt_tokens has what a cache read in it; where a server says both,
     * its parts are not to be added */

    if (llm_usage_count(usage, "prompt_tokens", &s->prompt_tokens)) {
        s->total = 1;
        found = 1;
    }

    for (i = 0; i < 3; i++) {
        found |= llm_usage_count(usage, parts[i], &s->prompt[i]);
    }

    if (!s->total) {
        s->prompt_tokens = s->prompt[0] + s->prompt[1] + s->prompt[2];
    }

    if (found) {
        s->found = 1;
    }

    json_decref(usage);
}


static int
llm_usage_count(const json_t *usage, const char *name, uint64_t *n)
{
    double   d;
    json_t  *v;

    v = json_object_get(usage, name);

    if (!json_is_real(v)) {
        return 0;
    }

    d = json_real_value(v);

    if (!(d >= 0 && d < (double) LLM_USAGE_LIMIT)
        || d != (double) (uint64_t) d)
    {
        return 0;
    }

    *n = (uint64_t) d;

    return 1;
}
