
/*
 * Copyright (C) nginx-llm contributors
 *
 * What request bodies of other servers ask for, and the token counts of their
 * responses: each response whole, byte by byte and in random pieces.
 */


#include <stdlib.h>

#include "../../ngx_module/store/llm_usage.h"
#include "tap.h"


#define CHUNK  "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":" \
               "\"a\"}}],\"usage\":null}\n\n"
#define USAGE  "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}"
#define COUNT  "{\"prompt_tokens\":7,\"completion_tokens\":11}"
#define START  "event: message_start\n" \
               "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"," \
               "\"content\":[],\"usage\":{\"input_tokens\":25," \
               "\"cache_creation_input_tokens\":3," \
               "\"cache_read_input_tokens\":40,\"output_tokens\":1}}}\n\n"
#define BLOCK  "event: content_block_delta\n" \
               "data: {\"type\":\"content_block_delta\",\"index\":0," \
               "\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
#define DELTA  "event: message_delta\n" \
               "data: {\"type\":\"message_delta\",\"delta\":{}," \
               "\"usage\":{\"output_tokens\":15}}\n\n"


typedef struct {
    const char  *name;
    const char  *text;
    uint64_t     prompt, completion, events;
    int          found, stream;
} case_t;


static char      err[LLM_ERRLEN];
static uint64_t  seed = 88172645463325252ull;


static const case_t  documents[] = {

    { "OpenAI", "{\"id\":\"x\",\"choices\":[{\"message\":{\"content\":\"hi\"}}"
      "]," USAGE "}", 7, 11, 0, 1, 0 },
    { "before choices", "{" USAGE ",\"choices\":[]}", 7, 11, 0, 1, 0 },
    { "blanks", " {\r\n \"usage\" :\t{ \"prompt_tokens\" : 7 ,\n"
      "\"completion_tokens\":11 } } ", 7, 11, 0, 1, 0 },
    { "details and times", "{\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":7,"
      "\"prompt_tokens_details\":{\"cached_tokens\":3,\"prompt_tokens\":9},"
      "\"completion_tokens\":11,\"list\":[{}],\"total_tokens\":18}}",
      7, 11, 0, 1, 0 },
    { "Anthropic", "{\"type\":\"message\",\"content\":[],\"usage\":"
      "{\"input_tokens\":5,\"cache_creation_input_tokens\":2,"
      "\"cache_read_input_tokens\":100,\"output_tokens\":8}}",
      107, 8, 0, 1, 0 },
    { "Anthropic, null caches", "{\"usage\":{\"input_tokens\":5,"
      "\"cache_creation_input_tokens\":null,\"output_tokens\":8}}",
      5, 8, 0, 1, 0 },
    { "both names", "{\"usage\":{\"input_tokens\":5,\"prompt_tokens\":9,"
      "\"cache_read_input_tokens\":4,\"output_tokens\":8,"
      "\"completion_tokens\":6}}", 9, 6, 0, 1, 0 },
    { "an embedding", "{\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}",
      8, 0, 0, 1, 0 },
    { "in a string", "{\"choices\":[\"\\\"usage\\\":" "{}\"],\"a\":\"{"
      "\\\"usage\\\":{\\\"prompt_tokens\\\":1}}\"}", 0, 0, 0, 0, 0 },
    { "a string ends in backslashes", "{\"a\":\"\\\\\\\\\",\"b\\\\\":\"\\\\"
      "\\\"\"," USAGE "}", 7, 11, 0, 1, 0 },
    { "a string's brackets", "{\"a\":\"{[{[\"," USAGE "}", 7, 11, 0, 1, 0 },
    { "a quote in the usage", "{\"usage\":{\"a\":\"\\\"}}{\","
      "\"prompt_tokens\":7,\"completion_tokens\":11}}", 7, 11, 0, 1, 0 },
    { "deeper", "{\"a\":{" USAGE "},\"b\":[{" USAGE "}],\"message\":{" USAGE
      "}}", 0, 0, 0, 0, 0 },
    { "deeper after", "{" USAGE ",\"a\":{\"usage\":{\"prompt_tokens\":1}}}",
      7, 11, 0, 1, 0 },
    { "a value", "{\"a\":\"usage\",\"b\":" COUNT "}", 0, 0, 0, 0, 0 },
    { "a list's item", "[\"usage\"," COUNT "]", 0, 0, 0, 0, 0 },
    { "items", "[1,\"usage\"," COUNT "]", 0, 0, 0, 0, 0 },
    { "in a list", "[{" USAGE "}]", 0, 0, 0, 0, 0 },
    { "another name", "{\"usages\":" COUNT ",\"usag\":" COUNT ",\"my_usage\":"
      COUNT ",\"a name that is longer than what is kept of it\":" COUNT "}",
      0, 0, 0, 0, 0 },
    { "null", "{\"usage\":null,\"a\":" COUNT "}", 0, 0, 0, 0, 0 },
    { "no object", "{\"usage\":[" COUNT "],\"usage\":7,\"usage\":\"" "x\"}",
      0, 0, 0, 0, 0 },
    { "empty", "{\"usage\":{}}", 0, 0, 0, 0, 0 },
    { "twice: the last", "{\"usage\":{\"prompt_tokens\":1}," USAGE "}",
      7, 11, 0, 1, 0 },
    { "a second document", "{" USAGE "}{\"usage\":{\"prompt_tokens\":1}}",
      7, 11, 0, 1, 0 },
    { "not whole", "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1",
      0, 0, 0, 0, 0 },
    { "only the rest is not", "{" USAGE ",\"a\":\"", 7, 11, 0, 1, 0 },
    { "bad values", "{\"usage\":{\"prompt_tokens\":-7,\"completion_tokens\":"
      "1.5,\"input_tokens\":\"7\",\"output_tokens\":1099511627776}}",
      0, 0, 0, 0, 0 },
    { "absurd values", "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":"
      "99999999999999999999999999}}", 7, 0, 0, 1, 0 },
    { "the largest", "{\"usage\":{\"prompt_tokens\":1099511627775,"
      "\"completion_tokens\":11}}", 1099511627775, 11, 0, 1, 0 },
    { "bad usage", "{\"usage\":{\"prompt_tokens\":7,}}", 0, 0, 0, 0, 0 },
    { "too many closing brackets", "}}]{" USAGE "}", 7, 11, 0, 1, 0 },
    { "an error", "{\"error\":{\"message\":\"no\"}}", 0, 0, 0, 0, 0 },
    { "an event's", "data: {" USAGE "}\n\n", 7, 11, 0, 1, 0 },
    { "HTML", "<a href=\"usage\">{\"</a>", 0, 0, 0, 0, 0 },
    { "nothing", "", 0, 0, 0, 0, 0 },

    { "OpenAI", CHUNK CHUNK "data: {\"choices\":[]," USAGE "}\n\n"
      "data: [DONE]\n\n", 7, 11, 2, 1, 1 },
    { "no usage", CHUNK CHUNK CHUNK "data: [DONE]\n\n", 0, 0, 3, 0, 1 },
    { "usage in each", "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":7"
      ",\"completion_tokens\":1}}\n\ndata: {\"choices\":[{\"delta\":{}},{}],"
      USAGE "}\n\n", 7, 11, 2, 1, 1 },
    { "DeepSeek: in the last choice", CHUNK "data: {\"choices\":[{\"delta\":{},"
      "\"finish_reason\":\"stop\"}]," USAGE "}\n\n", 7, 11, 2, 1, 1 },
    { "Anthropic", START BLOCK "event: ping\ndata: {\"type\":\"ping\"}\n\n"
      BLOCK BLOCK DELTA "event: message_stop\ndata: {\"type\":"
      "\"message_stop\"}\n\n", 68, 15, 3, 1, 1 },
    { "Anthropic, cut off", START BLOCK, 68, 1, 1, 1, 1 },
    { "Anthropic, all told at the end", START "data: {\"usage\":"
      "{\"input_tokens\":26,\"output_tokens\":15}}\n\n", 69, 15, 0, 1, 1 },
    { "Anthropic's block start", "data: {\"type\":\"content_block_start\","
      "\"content_block\":{\"type\":\"content_block_delta\"}}\n\n"
      "data: {\"content_block_delta\":\"type\"}\n\n", 0, 0, 0, 0, 1 },
    { "OpenAI's responses", "event: x\ndata: {\"type\":"
      "\"response.output_text.delta\",\"delta\":\"a\"}\n\nevent: y\ndata: "
      "{\"type\":\"response.completed\",\"response\":{\"output\":[{\"usage\":"
      "{\"input_tokens\":1}}],\"usage\":{\"input_tokens\":7,"
      "\"output_tokens\":11}}}\n\n", 7, 11, 1, 1, 1 },
    { "deeper in a message", "data: {\"message\":{\"a\":{" USAGE "},\"b\":[\""
      "usage\"," COUNT "]},\"messages\":{" USAGE "},\"a\":{" USAGE "}}\n\n",
      0, 0, 0, 0, 1 },
    { "a message in a list", "data: {\"message\":[{" USAGE "},\"usage\","
      COUNT "]}\n\n", 0, 0, 0, 0, 1 },
    { "choices in a message", "data: {\"message\":{\"choices\":{}," USAGE
      "}}\n\n", 7, 11, 0, 1, 1 },
    { "a list in a message", "data: {\"message\":[1,\"usage\"," COUNT "]}\n\n"
      "data: {\"response\":{\"usage\":1},\"message\":[" COUNT "]}\n\n",
      0, 0, 0, 0, 1 },
    { "choices that are none", "data: {\"choices\":[]}\n\ndata: {\"choices\":"
      "null,\"a\":[{}]}\n\ndata: {\"choices\":{\"a\":{}}}\n\ndata: {\"a\":"
      "{\"choices\":[{}]}}\n\ndata: {\"b\":[{\"choices\":[{}]}]}\n\n",
      0, 0, 0, 0, 1 },
    { "content says choices", "data: {\"a\":\"\\\"choices\\\":[{}]\\n\\ndata: "
      "{\\\"usage\\\":{\\\"prompt_tokens\\\":1}}\"}\n\n", 0, 0, 0, 0, 1 },
    { "CRLF", "event: a\r\ndata: {\"choices\":[{}]}\r\n\r\ndata: {" USAGE
      "}\r\n\r\ndata: [DONE]\r\n\r\n", 7, 11, 1, 1, 1 },
    { "CR", "event: a\rdata: {\"choices\":[{}]}\r\rdata: {" USAGE
      "}\r\rdata: [DONE]\r\r", 7, 11, 1, 1, 1 },
    { "no blank", "data:{\"choices\":[{}]}\n\ndata:{" USAGE "}\n\n",
      7, 11, 1, 1, 1 },
    { "no empty lines", "data: {\"choices\":[{}]}\ndata: {\"choices\":[{}]}\n"
      "data: {" USAGE "}\ndata: [DONE]\n", 7, 11, 2, 1, 1 },
    { "no end of line", "data: {" USAGE "}", 7, 11, 0, 1, 1 },
    { "comments and fields", ": {\"choices\":[{}]}\n:\n\nid: 1\nretry: 3\n"
      "data\ndate: {" USAGE "}\n data: {" USAGE "}\ndatadata: {" USAGE
      "}\nDATA: {" USAGE "}\n\n", 0, 0, 0, 0, 1 },
    { "comments between", ": ping\n\ndata: {" USAGE "}\n: ping\n\n",
      7, 11, 0, 1, 1 },
    { "an event of many lines", "data: {\"usage\":\ndata:   {\r\ndata:  "
      "\"prompt_tokens\": 7,\ndata\n: no\ndata:\"completion_tokens\":\rdata:"
      "11\ndata:}\ndata:}\n\n", 7, 11, 0, 1, 1 },
    { "a number on two lines", "data: {\"usage\":{\"prompt_tokens\":1\n"
      "data:2}}\n\n", 0, 0, 0, 0, 1 },
    { "an event that breaks off", "data: {\"a\":[{\"b\\\n\ndata: {" USAGE
      "}\n\n", 7, 11, 0, 1, 1 },
    { "a usage that breaks off", "data: {\"usage\":{\"prompt_tokens\":1,\n\n"
      "data: {" USAGE "}\n\n", 7, 11, 0, 1, 1 },
    { "a list after one that breaks off", "data: {\"usage\":1\n\ndata: ["
      COUNT "]\n\n", 0, 0, 0, 0, 1 },
    { "an escape that breaks off", "data: {\"a\\\n\ndata: {\"\":1," USAGE
      "}\n\n", 7, 11, 0, 1, 1 },
    { "text", "data: he said \"{[\n\ndata: {" USAGE "}\n\n",
      7, 11, 0, 1, 1 },
    { "no stream", "{" USAGE "}\n", 0, 0, 0, 0, 1 },
    { "nothing", "", 0, 0, 0, 0, 1 },

    { NULL, NULL, 0, 0, 0, 0, 0 }
};


static size_t
draw(size_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed % n;
}


/* how: 0 whole, 1 byte by byte, others in random pieces.  Each piece is a
 * copy of its own, for the sanitizer to see a read past it */

static void
feed(llm_usage_scan_t *s, int stream, const char *text, size_t len, int how)
{
    char    *p;
    size_t   n;

    llm_usage_init(s, stream);

    for ( /* void */ ; len != 0; len -= n) {
        n = how == 0 ? len : how == 1 ? 1 : draw(len < 40 ? len + 1 : 40);

        p = malloc(n + 1);
        if (p == NULL) {
            abort();
        }

        memcpy(p + 1, text, n);
        llm_usage_feed(s, p + 1, n);
        free(p);

        text += n;
    }
}


static int
is(const llm_usage_scan_t *s, const case_t *c)
{
    return s->prompt_tokens == c->prompt
           && s->completion_tokens == c->completion
           && s->events == c->events && s->found == c->found;
}


static void
test_documents(void)
{
    int                how, good;
    const case_t      *c;
    llm_usage_scan_t   s;

    for (c = documents; c->name != NULL; c++) {
        good = 1;

        for (how = 0; good && how < 60; how++) {
            feed(&s, c->stream, c->text, strlen(c->text), how);
            good = is(&s, c);
        }

        ok(good, "%s: %s", c->stream ? "stream" : "document", c->name);

        if (!good) {
            printf("# %s: prompt %llu, completion %llu, events %llu, "
                   "found %d\n", how == 1 ? "whole" : how == 2 ? "bytes"
                   : "pieces", (unsigned long long) s.prompt_tokens,
                   (unsigned long long) s.completion_tokens,
                   (unsigned long long) s.events, s.found);
        }
    }
}


static void
test_models(void)
{
    int               how, good;
    size_t            i;
    llm_usage_scan_t  s;

    static const struct {
        const char  *name;
        const char  *text;
        const char  *model;
        int          stream;
    } t[] = {
        { "a document's", "{\"id\":\"x\",\"model\":\"m-1\"," USAGE "}", "m-1",
          0 },
        { "none", "{\"choices\":[{\"model\":\"no\"}]," USAGE "}", "", 0 },
        { "not a string", "{\"model\":{\"model\":\"no\"},\"x\":\"no\"}", "",
          0 },
        { "with an escape", "{\"model\":\"a\\/b\"}", "", 0 },
        { "the longest", "{\"model\":\"0123456789012345678901234567890123456789"
          "012345678901234567890123\"}", "01234567890123456789012345678901234567"
          "89012345678901234567890123", 0 },
        { "one too long", "{\"model\":\"0123456789012345678901234567890123456789"
          "0123456789012345678901234\"}", "", 0 },
        { "a stream's", "data: {\"model\":\"s\",\"choices\":[{}]}\n\n"
          "data: {\"model\":\"later\"}\n\n", "s", 1 },
        { "Anthropic's", "data: {\"type\":\"message_start\",\"message\":{"
          "\"id\":\"m\",\"model\":\"c-2\",\"usage\":{\"input_tokens\":2}}}"
          "\n\n", "c-2", 1 },
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        good = 1;

        for (how = 0; good && how < 60; how++) {
            feed(&s, t[i].stream, t[i].text, strlen(t[i].text), how);
            good = s.model_len == strlen(t[i].model)
                   && memcmp(s.model, t[i].model, s.model_len) == 0;
        }

        ok(good, "model: %s", t[i].name);
    }
}


/* a usage of len bytes between two others */

static void
test_long(void)
{
    int                how;
    size_t             len, n;
    char               text[6000];
    llm_usage_scan_t   s;

    static const char  before[] = "{\"usage\":{\"prompt_tokens\":1},\"usage\":",
                       usage[] = "{\"prompt_tokens\":7,\"pad\":\"",
                       after[] = "\"},\"usage\":{\"completion_tokens\":3}}";

    for (len = sizeof(s.text) - 1; len < sizeof(s.text) + 2; len++) {
        n = len - (sizeof(usage) - 1) - 2;

        snprintf(text, sizeof(text), "%s%s%*s%s", before, usage, (int) n, "",
                 after);

        for (how = 0; how < 3; how++) {
            feed(&s, 0, text, strlen(text), how);

            ok(s.found && s.completion_tokens == 3
               && s.prompt_tokens == (len <= sizeof(s.text) ? 7 : 1),
               "a usage of %zu bytes %s", len,
               len <= sizeof(s.text) ? "counts" : "is left out");
        }
    }
}


/* no memory for depth, and an end however long the rest */

static void
test_huge(void)
{
    char              *text;
    size_t             i, n;
    llm_usage_scan_t   s;

    n = 8 << 20;

    text = malloc(n + 200);
    if (text == NULL) {
        abort();
    }

    strcpy(text, "{\"a\":\"");
    memset(text + 6, 'x', n);
    strcpy(text + 6 + n, "\"," USAGE "}");
    feed(&s, 0, text, strlen(text), 0);
    ok(s.prompt_tokens == 7 && s.completion_tokens == 11, "after a long text");

    memset(text + 6, '\\', n);
    feed(&s, 0, text, strlen(text), 0);
    ok(s.prompt_tokens == 7, "after many backslashes");

    text[5] = ' ';
    memset(text + 6, '[', n / 2);
    memset(text + 6 + n / 2, ']', n / 2);
    strcpy(text + 6 + n, "," USAGE "}");
    feed(&s, 0, text, strlen(text), 0);
    ok(s.prompt_tokens == 7, "after many brackets");

    for (i = 0; i < n; i += 2) {
        memcpy(text + i, "a\r", 2);
    }

    strcpy(text + n, "data: {" USAGE "}\r");
    feed(&s, 1, text, strlen(text), 0);
    ok(s.prompt_tokens == 7, "after many lines");

    free(text);
}


/* a body as the name of a test: its beginning, on one line */

static const char *
brief(char name[64], const char *body, size_t len)
{
    size_t  i;

    for (i = 0; i < len && i < 63; i++) {
        name[i] = body[i] < ' ' || body[i] == '#' ? ' ' : body[i];
    }

    name[i] = '\0';

    return name;
}


static void
ask_is(const char *body, const char *model, uint64_t max, uint32_t n,
    int stream)
{
    int        rc, good;
    char      *copy, name[64];
    size_t     len;
    llm_ask_t  a;

    len = strlen(body);

    copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy + 1, body, len);

    err[0] = '\0';
    rc = llm_ask_parse(&a, copy + 1, len, err, sizeof(err));
    free(copy);

    good = rc == LLM_OK && strcmp(a.model, model) == 0 && a.max_tokens == max
           && a.n == n && a.stream == stream;

    ok(good, "%s", brief(name, body, len));

    if (rc != LLM_OK) {
        printf("# %s\n", err);

    } else if (!good) {
        printf("# model %s, max %llu, n %u, stream %d\n", a.model,
               (unsigned long long) a.max_tokens, a.n, a.stream);
    }
}


static void
ask_bad(const char *body, size_t len, const char *why)
{
    int        rc;
    char       name[64];
    llm_ask_t  a;

    err[0] = '\0';
    rc = llm_ask_parse(&a, body, len, err, sizeof(err));

    ok(rc == LLM_INVALID && strstr(err, why) != NULL, "refused, %s: %s", why,
       brief(name, body, len));

    if (strstr(err, why) == NULL) {
        printf("# %d: %s\n", rc, err);
    }
}


static void
test_ask(void)
{
    ask_is("{}", "", 0, 1, 0);
    ask_is(" \t\r\n{ } \n", "", 0, 1, 0);
    ask_is("{\"model\":\"m\",\"max_tokens\":100,\"n\":2,\"stream\":true,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
           "m", 100, 2, 1);
    ask_is("{\"model\":null,\"max_tokens\":null,\"max_completion_tokens\":null"
           ",\"n\":null,\"stream\":null,\"prompt\":null}", "", 0, 1, 0);
    ask_is("{\"model\":7,\"stream\":false}", "", 0, 1, 0);
    ask_is("{\"max_completion_tokens\":5}", "", 5, 1, 0);
    ask_is("{\"max_completion_tokens\":5,\"max_tokens\":900}", "", 900, 1, 0);
    ask_is("{\"max_tokens\":5,\"max_output_tokens\":7}", "", 7, 1, 0);
    ask_is("{\"max_tokens\":1e3,\"n\":3.0}", "", 1000, 3, 0);
    ask_is("{\"max_tokens\":0}", "", 0, 1, 0);
    ask_is("{\"max_tokens\":4294967296}", "", 4294967296, 1, 0);
    ask_is("{\"n\":128}", "", 0, 128, 0);
    ask_is("{\"n\":2,\"best_of\":5}", "", 0, 5, 0);
    ask_is("{\"seed\":18446744073709551615,\"max_tokens\":5}", "", 5, 1, 0);
    ask_is("{\"tools\":[{\"max_tokens\":5,\"n\":3}]}", "", 0, 1, 0);
    ask_is("{\"a\":\"\\\"max_tokens\\\":5\",\"b\":\"\\\\\",\"n\":2}",
           "", 0, 2, 0);
    ask_is("{\"\\u006d\\u0061x_tokens\":5}", "", 5, 1, 0);
    ask_is("{\"a\":\"\\u0000\",\"model\":\"\\u00e9\"}", "\xc3\xa9", 0, 1, 0);

    ask_is("{\"prompt\":\"a\",\"n\":2}", "", 0, 2, 0);
    ask_is("{\"prompt\":[\"a\",\"b\",\"c\"],\"n\":2}", "", 0, 6, 0);
    ask_is("{\"prompt\":[1,2,3],\"n\":2}", "", 0, 2, 0);
    ask_is("{\"prompt\":[ 1 , 2\n,3 ]}", "", 0, 1, 0);
    ask_is("{\"prompt\":[1]}", "", 0, 1, 0);
    ask_is("{\"prompt\":[[1,2],[3,4],[5,6],[7]]}", "", 0, 4, 0);
    ask_is("{\"prompt\":[[1,2],[]]}", "", 0, 2, 0);
    ask_is("{\"prompt\":[]}", "", 0, 1, 0);
    ask_is("{\"prompt\":{\"id\":\"p\"}}", "", 0, 1, 0);
}


#define BAD(body, why)  ask_bad(body, sizeof(body) - 1, why)


static void
test_ask_bad(void)
{
    BAD("", "not JSON");
    BAD("[]", "not a JSON object");
    BAD("\"a\"", "not");
    BAD("{", "not JSON");
    BAD("{}}", "not JSON");
    BAD("{}{}", "not JSON");
    BAD("{} 1", "not JSON");
    BAD("{\"a\":\"", "no end");
    BAD("{\"a\":\"\\\"", "no end");
    BAD("{\"a\":\"b\\", "no end");
    BAD("{'a':1}", "not JSON");
    BAD("{\"a\":NaN}", "not JSON");
    BAD("{\"a\":1e999}", "not JSON");
    BAD("{\"a\":1 2}", "not JSON");
    BAD("{\"a\":[1,2,]}", "not JSON");
    BAD("{\"a\":[,1,2]}", "not JSON");
    BAD("{\"a\":[1,,2]}", "not JSON");
    BAD("{\"a\":[1,2}", "not JSON");
    BAD("{\"a\":[1,2", "not JSON");
    BAD("{\"a\":\"\xff\"}", "not JSON");
    BAD("{\"a\":1}\0", "not JSON");
    BAD("/* */ {}", "not JSON");

    BAD("{\"n\":1,\"n\":2}", "twice");
    BAD("{\"n\":1,\"\\u006e\":2}", "twice");
    BAD("{\"a\":[{\"b\":1,\"b\":2}]}", "twice");
    BAD("{\"Max_Tokens\":1}", "max_tokens");
    BAD("{\"max_to\xe2\x84\xaa" "ens\":1}", "max_tokens");
    BAD("{\"\xc5\xbftream\":true}", "stream");
    BAD("{\"N\":1}", ": n ");

    BAD("{\"max_tokens\":-1}", "max_tokens");
    BAD("{\"max_tokens\":1.5}", "max_tokens");
    BAD("{\"max_tokens\":\"1\"}", "max_tokens");
    BAD("{\"max_tokens\":true}", "max_tokens");
    BAD("{\"max_tokens\":4294967297}", "max_tokens");
    BAD("{\"max_tokens\":1,\"max_completion_tokens\":[]}",
        "max_completion_tokens");
    BAD("{\"n\":0}", ": n:");
    BAD("{\"n\":129}", ": n:");
    BAD("{\"n\":{}}", ": n:");
    BAD("{\"best_of\":129}", "best_of");
    BAD("{\"stream\":1}", "stream");
    BAD("{\"stream\":\"true\"}", "stream");
    BAD("{\"model\":\"a\\u0000b\"}", "NUL");
    BAD("{\"prompt\":[\"a\",1]}", "prompt");
    BAD("{\"prompt\":[1,\"a\"]}", "prompt");
    BAD("{\"prompt\":[1,2,[3]]}", "prompt");
    BAD("{\"prompt\":[null]}", "prompt");
    BAD("{\"prompt\":[{}]}", "prompt");
}


/* text, rep n times, text */

static char *
repeat(const char *head, const char *rep, size_t n, const char *tail)
{
    char    *p;
    size_t   i, len;

    len = strlen(rep);

    p = malloc(strlen(head) + n * len + strlen(tail) + 1);
    if (p == NULL) {
        abort();
    }

    strcpy(p, head);

    for (i = 0; i < n; i++) {
        memcpy(p + strlen(head) + i * len, rep, len);
    }

    strcpy(p + strlen(head) + n * len, tail);

    return p;
}


static void
test_ask_sizes(void)
{
    char    *p, *r, name[128];
    size_t   n;

    for (n = 1; n < 2000; n += n / 16 + 1) {
        p = repeat("{\"model\":\"", "m", n, "\",\"n\":2}");

        if (n < 128) {
            memset(name, 'm', n);
            name[n] = '\0';
            ask_is(p, name, 0, 2, 0);

        } else {
            ask_bad(p, strlen(p), "model: more than 127");
        }

        free(p);
    }

    memset(name, 'm', 127);
    name[127] = '\0';
    p = repeat("{\"model\":\"", "\\u006d", 127, "\"}");
    ask_is(p, name, 0, 1, 0);
    free(p);

    p = repeat("{\"messages\":[{\"content\":\"", "\\\"\xc3\xa9x\\\\", 1000000,
               "\"}],\"max_tokens\":5}");
    ask_is(p, "", 5, 1, 0);
    free(p);

    p = repeat("{\"prompt\":[\"", "long ", 100, "\",\"short\"],\"n\":2}");
    ask_is(p, "", 0, 4, 0);
    free(p);

    p = repeat("{\"n\":2,\"a\":{\"", "a long name, ", 20, "\" :1,\"");
    r = repeat(p, "a long name, ", 20, "etc.\":2}}");
    ask_is(r, "", 0, 2, 0);
    free(p);
    free(r);

    p = repeat("{\"prompt\":[[", "123456,", 1000000, "1],[2,3]],\"n\":2}");
    ask_is(p, "", 0, 4, 0);
    free(p);

    p = repeat("{\"a\":", "[", 127, "");
    n = strlen(p);
    p = realloc(p, n + 200);
    if (p == NULL) {
        abort();
    }
    memset(p + n, ']', 127);
    strcpy(p + n + 127, "}");
    ask_is(p, "", 0, 1, 0);
    free(p);

    p = repeat("{\"a\":", "[", 128, "");
    ask_bad(p, strlen(p), "nests");
    free(p);

    p = repeat("{\"a\":[", "{},", 200000, "1]}");
    ask_bad(p, strlen(p), "objects");
    free(p);

    p = repeat("{\"a\":[1.5", ",1", 2000000, "]}");
    ask_bad(p, strlen(p), "more values");
    free(p);

    p = repeat("{\"a\":", "x", 4000000, "}");
    ask_bad(p, strlen(p), "more values");
    free(p);
}


int
main(void)
{
    test_documents();
    test_models();
    test_long();
    test_huge();
    test_ask();
    test_ask_bad();
    test_ask_sizes();

    return done();
}
