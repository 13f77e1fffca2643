
/*
 * Copyright (C) nginx-llm contributors
 *
 * Chat: a model directory's template, and a request's messages through it to
 * tokens.  Runs on an intake thread (a prompt) or while a model is opened.
 *
 * What a client wrote can't become a control token: every string and name of
 * the request is guarded before the template sees it (llm_tokenizer_guard()),
 * so that only what the template itself writes is one.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_config.h"
#include "llm_request_int.h"


/* where a prompt is cut whose last answer goes on: U+FDD2, a noncharacter */
#define LLM_CHAT_CUT      "\xef\xb7\x92"
#define LLM_CHAT_CUT_LEN  3

/* what a template may write besides four times what it was given */
#define LLM_CHAT_EXTRA    (1 << 20)


static int llm_chat_config(llm_template_t **t, char **bos, char **eos,
    const char *path, const char *text, size_t len, int own, char *err,
    size_t errlen);
static int llm_chat_source(json_t *conf, json_t **source, const char *path,
    char *err, size_t errlen);
static int llm_chat_token(json_t *conf, const char *key, char **out,
    const char *path, char *err, size_t errlen);
static int llm_chat_vars(llm_reqctx_t *c, json_t *messages, json_t *tools,
    int prefix, json_t **vars);
static int llm_chat_render(llm_reqctx_t *c, json_t *messages, json_t *tools,
    int prefix, llm_buf_t *out);
static int llm_chat_cut(llm_reqctx_t *c, llm_buf_t *out);
static int llm_chat_long(llm_reqctx_t *c, json_t *messages);
static int llm_chat_failed(llm_reqctx_t *c, const char *err);
static json_t *llm_chat_guard(llm_reqctx_t *c, json_t *v, llm_buf_t *buf);
static json_t *llm_chat_guard_str(llm_reqctx_t *c, const char *p, size_t len,
    llm_buf_t *buf);
static json_t *llm_chat_guard_object(llm_reqctx_t *c, json_t *v,
    llm_buf_t *buf);
static int llm_chat_mark_last(json_t *messages);
static size_t llm_chat_size(json_t *v);


int
llm_chat_open(llm_template_t **t, char **bos, char **eos, const char *dir,
    char *err, size_t errlen)
{
    int         rc;
    char        path[4096];
    llm_buf_t   b;

    *t = NULL;
    *bos = NULL;
    *eos = NULL;

    memset(&b, 0, sizeof(llm_buf_t));

    if (snprintf(path, sizeof(path), "%s/chat_template.jinja", dir)
        >= (int) sizeof(path) - 32)
    {
        return llm_err(err, errlen, LLM_INVALID, "%.64s...: path too long",
                       dir);
    }

    rc = llm_file_read(&b, path, LLM_CONFIG_MAX, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_template_parse(t, b.data ? b.data : "", b.len, path, err,
                                errlen);

    } else if (rc == LLM_NOTFOUND) {
        rc = LLM_OK;
    }

    if (rc == LLM_OK) {
        b.len = 0;
        snprintf(path, sizeof(path), "%s/tokenizer_config.json", dir);

        rc = llm_file_read(&b, path, LLM_CONFIG_MAX, err, errlen);

        if (rc == LLM_OK) {
            rc = llm_chat_config(t, bos, eos, path, b.data ? b.data : "",
                                 b.len, *t == NULL, err, errlen);

        } else if (rc == LLM_NOTFOUND) {
            rc = LLM_OK;
        }
    }

    llm_buf_done(&b);

    if (rc == LLM_OK) {
        if (*bos == NULL) {
            *bos = strdup("");
        }

        if (*eos == NULL) {
            *eos = strdup("");
        }

        if (*bos != NULL && *eos != NULL) {
            (void) llm_err(err, errlen, LLM_OK, "%s", "");
            return LLM_OK;
        }

        rc = llm_err(err, errlen, LLM_NOMEM, "%s: no memory", dir);
    }

    llm_template_destroy(*t);
    free(*bos);
    free(*eos);

    *t = NULL;
    *bos = NULL;
    *eos = NULL;

    return rc;
}


/* own: the template is to be this file's */

static int
llm_chat_config(llm_template_t **t, char **bos, char **eos, const char *path,
    const char *text, size_t len, int own, char *err, size_t errlen)
{
    int            rc;
    char           name[4096 + 32];
    json_t        *conf, *source;
    json_error_t   error;

    /* "model_max_length" is often 10^30: no integer of ours */

    conf = json_loadb(text, len, JSON_DECODE_INT_AS_REAL, &error);

    if (conf == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: line %d, column %d: %s",
                       path, error.line, error.column, error.text);
    }

    if (!json_is_object(conf)) {
        json_decref(conf);
        return llm_err(err, errlen, LLM_INVALID, "%s: must be an object",
                       path);
    }

    source = NULL;

    if ((rc = llm_chat_token(conf, "bos_token", bos, path, err, errlen))
        || (rc = llm_chat_token(conf, "eos_token", eos, path, err, errlen)))
    {
        json_decref(conf);
        return rc;
    }

    if (own) {
        rc = llm_chat_source(conf, &source, path, err, errlen);
    }

    if (rc == LLM_OK && source != NULL) {
        snprintf(name, sizeof(name), "%s: chat_template", path);

        rc = llm_template_parse(t, json_string_value(source),
                                json_string_length(source), name, err,
                                errlen);
    }

    json_decref(conf);

    return rc;
}


static int
llm_chat_source(json_t *conf, json_t **source, const char *path, char *err,
    size_t errlen)
{
    size_t   i;
    json_t  *v, *item, *name;

    v = llm_req_get(conf, "chat_template");

    if (json_is_array(v)) {
        json_array_foreach(v, i, item) {
            name = json_object_get(item, "name");

            if (json_is_string(name)
                && (*source == NULL
                    || strcmp(json_string_value(name), "default") == 0))
            {
                *source = json_object_get(item, "template");

                if (!json_is_string(*source)) {
                    return llm_err(err, errlen, LLM_INVALID,
                                   "%s: chat_template[%zu].template: must be "
                                   "a string", path, i);
                }
            }
        }

        v = *source;
    }

    if (v != NULL && !json_is_string(v)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: chat_template: must be a string or a list of "
                       "objects", path);
    }

    *source = v;

    return LLM_OK;
}


/* "text" or {"content": "text"} */

static int
llm_chat_token(json_t *conf, const char *key, char **out, const char *path,
    char *err, size_t errlen)
{
    json_t  *v;

    v = llm_req_get(conf, key);

    if (json_is_object(v)) {
        v = json_object_get(v, "content");
    }

    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_string(v)) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: %s: must be a string or an object with content",
                       path, key);
    }

    *out = strdup(json_string_value(v));

    return *out ? LLM_OK : llm_err(err, errlen, LLM_NOMEM, "%s: no memory",
                                   path);
}


int
llm_chat_prompt(llm_reqctx_t *c)
{
    int         rc, prefix;
    json_t     *messages, *tools, *objects;
    llm_buf_t   out;

    if (c->env->chat == NULL) {
        return llm_req_fail(c, 400, "no_chat_template", "",
                            "this model has no chat template; it can be used "
                            "for completions");
    }

    memset(&out, 0, sizeof(llm_buf_t));

    messages = NULL;
    tools = NULL;
    objects = NULL;
    prefix = 0;

    rc = llm_chat_messages(c, &messages, &prefix);

    if (rc == LLM_OK) {
        rc = llm_chat_tools(c, &tools);
    }

    if (rc == LLM_OK) {
        rc = llm_chat_long(c, messages);
    }

    /*
     * Some templates want the arguments of a tool call as an object, some as
     * the text that the API has: those fail with an object.
     */

    if (rc == LLM_OK) {
        rc = llm_chat_objects(c, messages, &objects);
    }

    if (rc == LLM_OK) {
        rc = llm_chat_render(c, objects ? objects : messages, tools, prefix,
                             &out);

        if (rc == LLM_INVALID && objects
            && strcmp(c->e->code, "template_error") == 0)
        {
            out.len = 0;
            rc = llm_chat_render(c, messages, tools, prefix, &out);
        }
    }

    json_decref(messages);
    json_decref(objects);
    json_decref(tools);

    if (rc == LLM_OK && prefix) {
        rc = llm_chat_cut(c, &out);
    }

    if (rc == LLM_OK) {
        rc = llm_req_tokenize(c, out.data ? out.data : "", out.len,
                              LLM_TOK_SPECIAL | LLM_TOK_GUARD,
                              &c->rq->prompt[0], "messages");
    }

    llm_buf_done(&out);

    return rc;
}


/* the names that the template knows */

static int
llm_chat_vars(llm_reqctx_t *c, json_t *messages, json_t *tools, int prefix,
    json_t **vars)
{
    json_t      *v, *kwargs;
    llm_buf_t    buf;

    v = llm_req_get(c->root, "chat_template_kwargs");

    if (v != NULL && !json_is_object(v)) {
        return llm_req_type(c, "chat_template_kwargs", "an object", v);
    }

    memset(&buf, 0, sizeof(llm_buf_t));

    kwargs = v ? llm_chat_guard(c, v, &buf) : json_object();
    messages = llm_chat_guard(c, messages, &buf);
    tools = tools ? llm_chat_guard(c, tools, &buf) : json_null();

    llm_buf_done(&buf);

    if (kwargs == NULL || messages == NULL || tools == NULL
        || (prefix && llm_chat_mark_last(messages) != LLM_OK))
    {
        json_decref(kwargs);
        json_decref(messages);
        json_decref(tools);
        return llm_req_nomem(c);
    }

    /* what the client may not set comes last */

    *vars = kwargs;

    if (json_object_set_new(kwargs, "messages", messages) != 0) {
        json_decref(tools);
        return llm_req_nomem(c);
    }

    if (json_object_set_new(kwargs, "tools", tools) != 0
        || json_object_set_new(kwargs, "documents", json_null()) != 0
        || json_object_set_new(kwargs, "add_generation_prompt",
                               json_boolean(!prefix)) != 0
        || json_object_set_new(kwargs, "bos_token", json_string(c->env->bos))
           != 0
        || json_object_set_new(kwargs, "eos_token", json_string(c->env->eos))
           != 0)
    {
        return llm_req_nomem(c);
    }

    return LLM_OK;
}


/* a copy, its strings and names guarded; NULL: no memory */

static json_t *
llm_chat_guard(llm_reqctx_t *c, json_t *v, llm_buf_t *buf)
{
    size_t   i;
    json_t  *copy, *item;

    switch (json_typeof(v)) {

    case JSON_STRING:
        return llm_chat_guard_str(c, json_string_value(v),
                                  json_string_length(v), buf);

    case JSON_ARRAY:
        copy = json_array();

        json_array_foreach(v, i, item) {
            if (copy == NULL
                || json_array_append_new(copy, llm_chat_guard(c, item, buf))
                   != 0)
            {
                json_decref(copy);
                return NULL;
            }
        }

        return copy;

    case JSON_OBJECT:
        return llm_chat_guard_object(c, v, buf);

    default:
        return json_incref(v);
    }
}


static json_t *
llm_chat_guard_object(llm_reqctx_t *c, json_t *v, llm_buf_t *buf)
{
    json_t      *copy, *item, *name, *guarded;
    const char  *key;

    copy = json_object();
    if (copy == NULL) {
        return NULL;
    }

    json_object_foreach(v, key, item) {
        name = llm_chat_guard_str(c, key, strlen(key), buf);
        guarded = llm_chat_guard(c, item, buf);

        if (name == NULL || guarded == NULL) {
            json_decref(name);
            json_decref(guarded);
            json_decref(copy);
            return NULL;
        }

        if (json_object_set_new(copy, json_string_value(name), guarded) != 0)
        {
            json_decref(name);
            json_decref(copy);
            return NULL;
        }

        json_decref(name);
    }

    return copy;
}


static json_t *
llm_chat_guard_str(llm_reqctx_t *c, const char *p, size_t len,
    llm_buf_t *buf)
{
    size_t       i;
    llm_buf_t    clean;
    json_t      *v;

    memset(&clean, 0, sizeof(llm_buf_t));

    /* the mark for cutting is not the client's either */

    while (len >= LLM_CHAT_CUT_LEN) {
        const char  *cut;

        cut = memmem(p, len, LLM_CHAT_CUT, LLM_CHAT_CUT_LEN);
        if (cut == NULL) {
            break;
        }

        i = (size_t) (cut - p);

        if (llm_buf_append(&clean, p, i) != LLM_OK) {
            llm_buf_done(&clean);
            return NULL;
        }

        p += i + LLM_CHAT_CUT_LEN;
        len -= i + LLM_CHAT_CUT_LEN;
    }

    if (clean.len) {
        if (llm_buf_append(&clean, p, len) != LLM_OK) {
            llm_buf_done(&clean);
            return NULL;
        }

        p = clean.data;
        len = clean.len;
    }

    buf->len = 0;

    v = llm_tokenizer_guard(c->env->tok, p, len, buf) == LLM_OK
        ? json_stringn_nocheck(buf->data ? buf->data : "", buf->len) : NULL;

    llm_buf_done(&clean);

    return v;
}


/* the cutting mark behind the last message's text */

static int
llm_chat_mark_last(json_t *messages)
{
    int         rc;
    json_t     *last, *v;
    llm_buf_t   b;

    memset(&b, 0, sizeof(llm_buf_t));

    last = json_array_get(messages, json_array_size(messages) - 1);
    v = json_object_get(last, "content");

    rc = LLM_NOMEM;

    if (llm_buf_append(&b, json_string_value(v), json_string_length(v))
        == LLM_OK
        && llm_buf_append(&b, LLM_CHAT_CUT, LLM_CHAT_CUT_LEN) == LLM_OK
        && json_object_set_new(last, "content",
                               json_stringn_nocheck(b.data, b.len)) == 0)
    {
        rc = LLM_OK;
    }

    llm_buf_done(&b);

    return rc;
}


static int
llm_chat_render(llm_reqctx_t *c, json_t *messages, json_t *tools, int prefix,
    llm_buf_t *out)
{
    int      rc;
    char     err[LLM_ERRLEN];
    json_t  *vars;

    vars = NULL;

    rc = llm_chat_vars(c, messages, tools, prefix, &vars);

    if (rc == LLM_OK) {
        rc = llm_template_render_at(c->env->chat, vars, c->env->when,
                                    4 * llm_chat_size(vars) + LLM_CHAT_EXTRA,
                                    out, err, sizeof(err));

        if (rc == LLM_NOMEM) {
            rc = llm_req_nomem(c);

        } else if (rc != LLM_OK) {
            rc = llm_chat_failed(c, err);
        }
    }

    json_decref(vars);

    return rc;
}


/* the prompt ends where the last answer's text does */

static int
llm_chat_cut(llm_reqctx_t *c, llm_buf_t *out)
{
    size_t  i;

    for (i = out->len; i >= LLM_CHAT_CUT_LEN; i--) {
        if (memcmp(out->data + i - LLM_CHAT_CUT_LEN, LLM_CHAT_CUT,
                   LLM_CHAT_CUT_LEN) == 0)
        {
            out->len = i - LLM_CHAT_CUT_LEN;
            return LLM_OK;
        }
    }

    return llm_req_fail(c, 400, "template_error", "messages",
                        "the model's chat template does not show the answer "
                        "to go on with");
}


/* messages that can't fit by far are not even rendered */

static int
llm_chat_long(llm_reqctx_t *c, json_t *messages)
{
    size_t   i, n;
    json_t  *m;

    n = 0;

    json_array_foreach(messages, i, m) {
        n += json_string_length(json_object_get(m, "content"));
    }

    if (n < (4 << 20)) {
        return LLM_OK;
    }

    n /= 16 * llm_tokenizer_longest(c->env->tok);

    return n < (size_t) c->env->context ? LLM_OK
                                        : llm_req_too_long(c, "messages", n,
                                                           1);
}


/* "<name>: line N: cause", without the name, which is a path */

static int
llm_chat_failed(llm_reqctx_t *c, const char *err)
{
    char         text[LLM_ERRLEN], cause[LLM_REQ_ESCAPED(100)];
    size_t       i, n;
    const char  *p;

    p = strstr(err, ": line ");
    p = p ? p + 2 : err;

    for (i = 0, n = 0; p[i]; i++) {
        if (strncmp(p + i, LLM_TOK_MARK, LLM_TOK_MARK_LEN) == 0
            || strncmp(p + i, LLM_CHAT_CUT, LLM_CHAT_CUT_LEN) == 0)
        {
            i += 2;
            continue;
        }

        text[n++] = p[i];
    }

    return llm_req_fail(c, 400, "template_error", "messages",
                        "the model's chat template refuses the messages: %s",
                        llm_req_escape(cause, text, n, 100, 0));
}


/* the texts in v, with a little for each value */

static size_t
llm_chat_size(json_t *v)
{
    size_t       i, n;
    json_t      *item;
    const char  *key;

    switch (json_typeof(v)) {

    case JSON_STRING:
        return json_string_length(v) + 64;

    case JSON_ARRAY:
        n = 64;

        json_array_foreach(v, i, item) {
            n += llm_chat_size(item);
        }

        return n;

    case JSON_OBJECT:
        n = 64;

        json_object_foreach(v, key, item) {
            n += strlen(key) + llm_chat_size(item);
        }

        return n;

    default:
        return 64;
    }
}
