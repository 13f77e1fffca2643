
/*
 * Copyright (C) nginx-llm contributors
 *
 * The chat-template interpreter: against what Jinja2 wrote for the templates
 * and snippets of t/data/template (t/reference/template.py makes them), its
 * messages, its bounds.
 *
 * "template --render" reads JSON, one {"src":, "vars":} a line, and answers
 * with {"out":} or {"err":}: template.py compares other templates by it.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "tap.h"
#include "../../engine/llm_template.h"


#define DATA  "t/data/template"


static int
render(const char *name, const char *src, size_t len, json_t *vars,
    size_t max, llm_buf_t *out, char *err, size_t errlen)
{
    int              rc;
    llm_template_t  *t;

    err[0] = '\0';

    rc = llm_template_parse(&t, src, len, name, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_template_render(t, vars, max, out, err, errlen);
    llm_template_destroy(t);

    return rc;
}


static int
serve(void)
{
    int         rc;
    char       *line, err[LLM_ERRLEN];
    size_t      size;
    ssize_t     n;
    json_t     *req, *src, *res;
    llm_buf_t   out;

    line = NULL;
    size = 0;

    while ((n = getline(&line, &size, stdin)) > 0) {
        req = json_loadb(line, (size_t) n, JSON_ALLOW_NUL, NULL);
        src = json_object_get(req, "src");
        memset(&out, 0, sizeof(llm_buf_t));

        rc = render("t", json_string_value(src), json_string_length(src),
                    json_object_get(req, "vars"), 1 << 24, &out, err,
                    sizeof(err));

        res = rc == LLM_OK
              ? json_pack("{s:o}", "out",
                          json_stringn(out.data ? out.data : "", out.len))
              : json_pack("{s:s}", "err", err);

        json_dumpf(res, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);

        json_decref(res);
        json_decref(req);
        llm_buf_done(&out);
    }

    free(line);

    return 0;
}


/* want: a string, or null where Jinja2 fails */

static void
check(const char *name, const char *src, size_t len, json_t *vars,
    json_t *want)
{
    int        rc, good;
    char       err[LLM_ERRLEN];
    llm_buf_t  out;

    memset(&out, 0, sizeof(llm_buf_t));
    rc = render("t", src, len, vars, 1 << 24, &out, err, sizeof(err));

    if (json_is_null(want)) {
        ok(rc == LLM_INVALID && strncmp(err, "t: line ", 8) == 0,
           "%s: fails", name);

        if (rc == LLM_OK) {
            printf("# wrote \"%.*s\"\n", (int) out.len, out.data);
        }

    } else {
        good = rc == LLM_OK && out.len == json_string_length(want)
               && (out.len == 0
                   || memcmp(out.data, json_string_value(want), out.len)
                      == 0);
        ok(good, "%s", name);

        if (!good) {
            printf("# %s\n", err);
        }
    }

    llm_buf_done(&out);
}


static void
snippets(void)
{
    char     name[256];
    size_t   i, k;
    json_t  *all, *item, *src;

    all = json_load_file(DATA "/snippets.json", JSON_ALLOW_NUL, NULL);
    ok(json_array_size(json_object_get(all, "snippets")) > 200, "snippets");

    json_array_foreach(json_object_get(all, "snippets"), i, item) {
        src = json_object_get(item, "src");
        snprintf(name, sizeof(name), "%.100s", json_string_value(src));

        for (k = 0; name[k]; k++) {
            if (name[k] == '\n' || name[k] == '#' || name[k] == '\r') {
                name[k] = ' ';
            }
        }

        check(name, json_string_value(src), json_string_length(src),
              json_object_get(all, "vars"), json_object_get(item, "want"));
    }

    json_decref(all);
}


static void
conversations(void)
{
    char         path[256], name[256], *src;
    FILE        *f;
    size_t       len;
    json_t      *all, *cases, *wants, *want;
    const char  *template, *key;

    src = malloc(1 << 20);
    cases = json_load_file(DATA "/cases.json", 0, NULL);
    all = json_load_file(DATA "/goldens.json", 0, NULL);

    ok(json_object_size(cases) >= 20, "conversations");
    ok(json_object_size(all) >= 4, "templates");

    json_object_foreach(all, template, wants) {
        snprintf(path, sizeof(path), DATA "/%s", template);

        f = fopen(path, "rb");
        len = f ? fread(src, 1, 1 << 20, f) : 0;
        ok(len > 0, "%s", template);

        if (f) {
            fclose(f);
        }

        json_object_foreach(wants, key, want) {
            snprintf(name, sizeof(name), "%s: %s", template, key);
            check(name, src, len, json_object_get(cases, key), want);
        }
    }

    json_decref(cases);
    json_decref(all);
    free(src);
}


/* the message of a template that fails */

static void
fails(const char *src, const char *want)
{
    int        rc;
    char       err[LLM_ERRLEN];
    json_t    *vars;
    llm_buf_t  out;

    memset(&out, 0, sizeof(llm_buf_t));
    vars = json_pack("{s:[{s:s}]}", "messages", "role", "x");

    rc = render("chat", src, strlen(src), vars, 100000, &out, err,
                sizeof(err));

    is_str(err, want, src);
    ok(rc == LLM_INVALID && out.len == 0, "nothing is written");

    llm_buf_done(&out);
    json_decref(vars);
}


static void
messages(void)
{
    fails("a\n{{ x.y }}", "chat: line 2: 'x' is undefined");
    fails("{{ messages[0].content + 'a' }}",
          "chat: line 1: 'dict object' has no attribute 'content'");
    fails("\n\n{{ raise_exception('No ' ~ messages[0].role) }}",
          "chat: line 3: No x");
    fails("{% for %}", "chat: line 1: expected a name to assign to, found "
          "the end of the tag");
    fails("{% if x %}\n{% else %}\n", "chat: line 2: expected \"endif\", "
          "found the end of the template");
    fails("{{ 'a }}", "chat: line 1: the string has no end");
    fails("{{ a", "chat: line 1: the tag has no end");
    fails("x{#", "chat: line 1: the comment has no end");
    fails("{% raw %}{{", "chat: line 1: raw has no endraw");
    fails("{{ (a] }}", "chat: line 1: unexpected ']'");
    fails("{{ a $ b }}", "chat: line 1: unexpected character '$'");
    fails("{% include 'x' %}", "chat: line 1: the tag \"include\" is not "
          "supported");
    fails("{% endfor %}", "chat: line 1: expected a tag that begins "
          "something, found \"endfor\"");
    fails("{{ a|nope }}", "chat: line 1: no filter named \"nope\"");
    fails("{{ a is nope }}", "chat: line 1: no test named \"nope\"");
    fails("{{ 'a' + 1 }}", "chat: line 1: can only concatenate str (not "
          "\"int\") to str");
    fails("{{ 1 // 0 }}", "chat: line 1: integer division or modulo by zero");
    fails("{% break %}", "chat: line 1: outside of a loop");
    fails("{{ 99999999999999999999 }}",
          "chat: line 1: the number is too large");
}


/* what would not end, or grow without end */

static void
bounds(void)
{
    int        rc;
    char       err[LLM_ERRLEN], *deep;
    size_t     i;
    json_t    *vars;
    llm_buf_t  out;

    static const struct {
        const char  *src;
        const char  *want;
    } cases[] = {
        { "{% for a in range(100000) %}{% for b in range(100000) %}"
          "{% endfor %}{% endfor %}", "too m" },
        { "{% set l = [1] %}{% for x in l %}{% set _ = l.append(1) %}"
          "{% endfor %}", "too m" },
        { "{% for a in range(100000) %}aaaaaaaaaaaaaaaaaaaa{% endfor %}",
          "writes more than 100000 bytes" },
        { "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}"
          "{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
          "too much memory" },
        { "{{ 'a' * 999999999999 }}", "too m" },
        { "{{ [1, 2] * 999999999999 }}", "" },
        { "{{ 'a'|center(99999999999) }}", "too m" },
        { "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
          "nests too deep" },
        { "{% set l = [] %}{% set _ = l.append(l) %}{{ l }}",
          "nests too deep" },
        { "{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}",
          "nests too deep" },
        { "{% set l = [] %}{% set m = [] %}{% set _ = l.append(m) %}"
          "{% set _ = m.append(l) %}{{ l == m }}", "nests too deep" },
        { "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
          "nests too deep" },
        { "{{ range(100001) }}", "more than 100000 elements" },
        { "{{ 2 ** 63 }}", "integer out of range" },
        { "{{ 9223372036854775807 + 1 }}", "integer out of range" },
        { "{{ '%99999d' % 1 }}", "unsupported format character" },
        { "{{ '%9999d' % 1 }}", "is too wide" },
        { NULL, NULL }
    };

    vars = json_object();

    for (i = 0; cases[i].src; i++) {
        memset(&out, 0, sizeof(llm_buf_t));

        rc = render("t", cases[i].src, strlen(cases[i].src), vars, 100000,
                    &out, err, sizeof(err));

        ok(rc == LLM_INVALID && strstr(err, cases[i].want), "%s",
           cases[i].src);

        if (rc == LLM_OK || !strstr(err, cases[i].want)) {
            printf("# %s\n", err);
        }

        llm_buf_done(&out);
    }

    /* nesting in the source */

    static const char  *open[] = { "{{ (", "{{ [", "{{ not ", "{{ - ",
                                   "{% if a %}", "{{ a if b else ",
                                   "{{ {1:" };

    deep = malloc(500000);

    for (i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        size_t  k, n, skip;

        n = 0;
        skip = open[i][1] == '{' ? 3 : 0;

        for (k = 0; k < 20000; k++) {
            n += (size_t) sprintf(deep + n, "%s", open[i] + (k ? skip : 0));
        }

        rc = render("t", deep, n, vars, 1000, &out, err, sizeof(err));
        ok(rc == LLM_INVALID && err[0], "20000 times \"%s\"", open[i]);
    }

    free(deep);
    json_decref(vars);
}


static void
others(void)
{
    char             err[LLM_ERRLEN], want[64];
    time_t           now;
    json_t          *vars;
    llm_buf_t        out;
    struct tm        tm;
    llm_template_t  *t;

    /* appends, and leaves the names as they were */

    memset(&out, 0, sizeof(llm_buf_t));
    llm_buf_append(&out, "x", 1);
    vars = json_pack("{s:[i]}", "l", 1);

    is_int(llm_template_parse(&t, "{% set l = 2 %}{{ l }}", 22, "t", err,
                              sizeof(err)), LLM_OK, "parsed");
    is_int(llm_template_render(t, vars, 10, &out, err, sizeof(err)), LLM_OK,
           "rendered");
    is_int(llm_template_render(t, vars, 10, &out, err, sizeof(err)), LLM_OK,
           "rendered again");
    ok(out.len == 3 && memcmp(out.data, "x22", 3) == 0, "both appended");
    ok(json_is_array(json_object_get(vars, "l")), "the names stay");

    out.len = 0;
    llm_template_destroy(t);

    do {
        now = time(NULL);
        localtime_r(&now, &tm);
        strftime(want, sizeof(want), "%d %b %Y", &tm);

        out.len = 0;
        render("t", "{{ strftime_now('%d %b %Y') }}", 30, vars, 100, &out,
               err, sizeof(err));
        llm_buf_append(&out, "", 1);
    } while (time(NULL) != now);

    is_str(out.data, want, "strftime_now");

    out.len = 0;
    is_int(llm_template_parse(&t, "{{ strftime_now('%Y') }}", 24, "t", err,
                              sizeof(err)), LLM_OK, "parsed");
    is_int(llm_template_render_at(t, vars, 1000000000, 10, &out, err,
                                  sizeof(err)), LLM_OK, "rendered for a day");
    ok(out.len == 4 && memcmp(out.data, "2001", 4) == 0, "of another year");
    llm_template_destroy(t);

    is_int(llm_template_parse(&t, "\xff", 1, "t", err, sizeof(err)),
           LLM_INVALID, "not UTF-8");
    is_str(err, "t: line 1: not valid UTF-8", "says so");
    ok(t == NULL, "and there is no template");

    llm_template_destroy(NULL);
    llm_buf_done(&out);
    json_decref(vars);
}


int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--render") == 0) {
        return serve();
    }

    snippets();
    conversations();
    messages();
    bounds();
    others();

    return done();
}
