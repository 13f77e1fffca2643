
/*
 * Copyright (C) nginx-llm contributors
 *
 * The chat-template interpreter: what llm_template.h declares, its memory and
 * its messages.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_template_int.h"


#define LLM_TPL_CHUNK  (32 * 1024)


struct llm_tpl_chunk_s {
    llm_tpl_chunk_t  *next;
    size_t            size;
};


static int llm_tpl_vars(llm_tpl_run_t *r, json_t *vars);


int
llm_template_parse(llm_template_t **tp, const char *src, size_t len,
    const char *name, char *err, size_t errlen)
{
    llm_template_t   *t;
    llm_tpl_parse_t   p;

    *tp = NULL;

    if (len > LLM_TPL_SOURCE_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: line 1: longer than %d bytes", name,
                       LLM_TPL_SOURCE_MAX);
    }

    if (!llm_utf8_valid(src, len)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: line 1: not valid UTF-8", name);
    }

    t = calloc(1, sizeof(llm_template_t));
    if (t == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory", name);
    }

    t->arena.max = (size_t) 64 << 20;
    t->name = strdup(name);

    if (t->name == NULL) {
        llm_template_destroy(t);
        return llm_err(err, errlen, LLM_NOMEM, "%s: no memory", name);
    }

    /* without it only ASCII letters have a case */
    t->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t) 0);

    memset(&p, 0, sizeof(llm_tpl_parse_t));
    p.t = t;
    p.err = err;
    p.errlen = errlen;

    if (llm_tpl_lex(&p, src, len) == LLM_OK) {
        t->body = llm_tpl_parse_body(&p);

        if (p.rc == LLM_OK && p.tok[p.pos].type != LLM_TPL_TOK_EOF) {
            p.pos++;
            llm_tpl_expected(&p, "a tag that begins something");
        }
    }

    free(p.tok);

    if (p.rc != LLM_OK) {
        llm_template_destroy(t);
        return p.rc;
    }

    *tp = t;

    return LLM_OK;
}


void
llm_template_destroy(llm_template_t *t)
{
    if (t == NULL) {
        return;
    }

    if (t->locale) {
        freelocale(t->locale);
    }

    llm_tpl_arena_done(&t->arena);
    free(t->name);
    free(t);
}


int
llm_template_render(const llm_template_t *t, json_t *vars, size_t max,
    llm_buf_t *out, char *err, size_t errlen)
{
    return llm_template_render_at(t, vars, 0, max, out, err, errlen);
}


int
llm_template_render_at(const llm_template_t *t, json_t *vars, int64_t when,
    size_t max, llm_buf_t *out, char *err, size_t errlen)
{
    int            rc;
    llm_buf_t      text;
    llm_tpl_run_t  r;

    memset(&text, 0, sizeof(llm_buf_t));
    memset(&r, 0, sizeof(llm_tpl_run_t));

    r.t = t;
    r.out = &text;
    r.max = max;
    r.when = when;
    r.err = err;
    r.errlen = errlen;
    r.arena.max = max < SIZE_MAX / 8 ? LLM_TPL_MEMORY + 4 * max : SIZE_MAX;

    r.scope = llm_tpl_scope(&r, NULL);
    rc = r.scope ? LLM_OK : LLM_NOMEM;

    if (rc == LLM_OK) {
        rc = llm_tpl_globals(&r);
    }

    if (rc == LLM_OK) {
        rc = llm_tpl_vars(&r, vars);
    }

    if (rc == LLM_OK) {
        rc = llm_tpl_exec(&r, t->body);
    }

    if (rc == LLM_OK && llm_buf_append(out, text.data, text.len) != LLM_OK) {
        rc = llm_tpl_nomem(&r);
    }

    llm_buf_done(&text);
    llm_tpl_arena_done(&r.arena);

    return rc;
}


static int
llm_tpl_vars(llm_tpl_run_t *r, json_t *vars)
{
    json_t         *json;
    const char     *key;
    llm_tpl_str_t   name;
    llm_tpl_val_t   val;

    json_object_foreach(vars, key, json) {
        name.p = key;
        name.len = strlen(key);

        if (llm_tpl_from_json(r, &val, json) != LLM_OK
            || llm_tpl_assign(r, r->scope, name, &val) != LLM_OK)
        {
            return LLM_INVALID;
        }
    }

    return LLM_OK;
}


int
llm_tpl_fail(llm_tpl_run_t *r, const char *fmt, ...)
{
    char     cause[LLM_ERRLEN];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(cause, sizeof(cause), fmt, args);
    va_end(args);

    return llm_err(r->err, r->errlen, LLM_INVALID, "%s: line %d: %s",
                   r->t->name, r->line, cause);
}


int
llm_tpl_nomem(llm_tpl_run_t *r)
{
    return llm_tpl_fail(r, "uses too much memory");
}


int
llm_tpl_charge(llm_tpl_run_t *r, size_t n)
{
    r->steps += n;

    if (r->steps > LLM_TPL_STEPS_MAX) {
        return llm_tpl_fail(r, "takes too many steps");
    }

    return LLM_OK;
}


void *
llm_tpl_get(llm_tpl_run_t *r, size_t size)
{
    void  *p;

    p = llm_tpl_alloc(&r->arena, size);

    if (p == NULL) {
        (void) llm_tpl_nomem(r);
    }

    return p;
}


void *
llm_tpl_alloc(llm_tpl_arena_t *a, size_t size)
{
    char             *p;
    size_t            pad, need;
    llm_tpl_chunk_t  *c;

    pad = a->pos ? (size_t) (-(uintptr_t) a->pos & 15) : 0;

    if (a->pos && size <= (size_t) (a->end - a->pos)
        && pad <= (size_t) (a->end - a->pos) - size)
    {
        p = a->pos + pad;
        a->pos = p + size;
        return p;
    }

    if (size > SIZE_MAX / 4) {
        return NULL;
    }

    /* chunks grow with what is used, so that there are few */

    need = size + sizeof(llm_tpl_chunk_t) + 16;

    if (need < LLM_TPL_CHUNK) {
        need = LLM_TPL_CHUNK;
    }

    if (need < a->total / 4) {
        need = a->total / 4;
    }

    if (a->total > a->max || need > a->max - a->total) {
        return NULL;
    }

    c = malloc(need);
    if (c == NULL) {
        return NULL;
    }

    c->next = a->chunk;
    c->size = need;
    a->chunk = c;
    a->total += need;

    p = (char *) (c + 1);
    p += -(uintptr_t) p & 15;
    a->pos = p + size;
    a->end = (char *) c + need;

    return p;
}


void
llm_tpl_arena_done(llm_tpl_arena_t *a)
{
    llm_tpl_chunk_t  *c, *next;

    for (c = a->chunk; c; c = next) {
        next = c->next;
        free(c);
    }

    memset(a, 0, sizeof(llm_tpl_arena_t));
}
