
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration of engines' parameters, and the log of changes.  The
 * store keeps of an engine's parameters only what was set; names and ranges
 * are the engine's (llm_params.h).
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/llm_params.h"
#include "llm_admin_int.h"


/* a page of the log */
typedef struct {
    json_t   *data;
    int64_t   limit;
    int       more;
    int       failed;               /* no memory */
    uint64_t  last;
} llm_admin_log_t;


static int llm_admin_engine(llm_admin_ctx_t *c, const char **name);
static int llm_admin_engine_known(llm_admin_ctx_t *c, const char *name);
static int llm_admin_params_get(llm_admin_ctx_t *c, const char *engine,
    llm_param_values_t *v);
static json_t *llm_admin_params_json(const char *engine,
    const llm_param_values_t *v);
static int llm_admin_params_merge(llm_admin_ctx_t *c, llm_param_values_t *v);
static int llm_admin_params_put(llm_admin_ctx_t *c, const char *engine,
    const llm_param_values_t *v);
static json_t *llm_admin_params_number(size_t i, double value);
static int llm_admin_change(void *data, const llm_change_t *change);


int
llm_admin_status(llm_admin_ctx_t *c)
{
    json_t   *o;
    int64_t   history;

    static const char *const  known[] = { "history", NULL };

    history = 0;

    if (llm_admin_known(c, c->args, known) != LLM_OK
        || llm_admin_arg_number(c, "history", 1, LLM_ADMIN_HISTORY, &history)
           != LLM_OK)
    {
        return LLM_ERROR;
    }

    if (c->a->status == NULL) {
        return llm_admin_answer(c, 200, llm_admin_list(json_array(), 0,
                                                       NULL));
    }

    o = c->a->status(c->a->data, (int) history);

    if (llm_admin_audit_stat(c, o) != LLM_OK) {
        json_decref(o);
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, o);
}


int
llm_admin_params_list(llm_admin_ctx_t *c)
{
    size_t              i;
    json_t             *data;
    const char         *name;
    llm_param_values_t  v;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK) {
        return LLM_ERROR;
    }

    if (c->a->engine == NULL && llm_admin_engine(c, &name) != LLM_OK) {
        return LLM_ERROR;
    }

    data = json_array();

    for (i = 0; i < c->a->n_engine; i++) {

        if (llm_admin_params_get(c, c->a->engine[i], &v) != LLM_OK) {
            json_decref(data);
            return LLM_ERROR;
        }

        (void) json_array_append_new(data,
                                     llm_admin_params_json(c->a->engine[i],
                                                           &v));
    }

    return llm_admin_answer(c, 200, llm_admin_list(data, 0, NULL));
}


int
llm_admin_params_show(llm_admin_ctx_t *c)
{
    const char         *name;
    llm_param_values_t  v;

    static const char *const  none[] = { NULL };

    if (llm_admin_known(c, c->args, none) != LLM_OK
        || llm_admin_engine(c, &name) != LLM_OK
        || llm_admin_params_get(c, name, &v) != LLM_OK)
    {
        return LLM_ERROR;
    }

    return llm_admin_answer(c, 200, llm_admin_params_json(name, &v));
}


int
llm_admin_params_set(llm_admin_ctx_t *c)
{
    const char         *name;
    llm_param_values_t  v, was;

    if (llm_admin_engine(c, &name) != LLM_OK
        || llm_admin_params_get(c, name, &was) != LLM_OK)
    {
        return LLM_ERROR;
    }

    v = was;

    if (llm_admin_params_merge(c, &v) != LLM_OK) {
        return LLM_ERROR;
    }

    /* values that are not set are 0: what is the same changes nothing */

    if (memcmp(&v, &was, sizeof(v)) != 0) {
        if (llm_admin_params_put(c, name, &v) != LLM_OK) {
            return LLM_ERROR;
        }

        c->reply->params = 1;
    }

    return llm_admin_answer(c, 200, llm_admin_params_json(name, &v));
}


/* of the path, of the body, or the only one there is */

static int
llm_admin_engine(llm_admin_ctx_t *c, const char **name)
{
    const char  *s;

    if (llm_admin_string(c, c->body, "engine", &s) != LLM_OK) {
        return LLM_ERROR;
    }

    *name = c->name[0] != '\0' ? c->name : s;

    if (s != NULL && strcmp(s, *name) != 0) {
        return llm_admin_fail(c, 400, "invalid_value", "engine",
                              "The path names another engine.");
    }

    if (*name == NULL && c->a->engine != NULL && c->a->n_engine == 1) {
        *name = c->a->engine[0];
    }

    if (*name == NULL) {
        return llm_admin_fail(c, 400, "missing_field", "engine",
                              "the engine's name is needed");
    }

    return llm_admin_engine_known(c, *name);
}


static int
llm_admin_engine_known(llm_admin_ctx_t *c, const char *name)
{
    size_t       i;
    const char  *p;

    for (i = 0; i < c->a->n_engine; i++) {
        if (strcmp(c->a->engine[i], name) == 0) {
            return LLM_OK;
        }
    }

    if (c->a->engine != NULL) {
        return llm_admin_fail(c, 404, "engine_not_found", "engine",
                              "There is no such engine.");
    }

    for (p = name; *p > ' ' && *p < 0x7f && *p != '/'; p++) {
        /* void */
    }

    if (*p != '\0' || p == name || p - name >= LLM_ADMIN_NAME) {
        return llm_admin_fail(c, 400, "invalid_value", "engine",
                              "that is no engine's name");
    }

    return LLM_OK;
}


/*
 * What another version of this program has set and this one does not know is
 * left out.
 */

static int
llm_admin_params_get(llm_admin_ctx_t *c, const char *engine,
    llm_param_values_t *v)
{
    int          rc;
    json_t      *o, *value;
    llm_buf_t    text;
    const char  *name;

    memset(v, 0, sizeof(llm_param_values_t));
    memset(&text, 0, sizeof(llm_buf_t));

    rc = llm_params_get(c->a->store, engine, &text, c->err, sizeof(c->err));

    if (rc == LLM_OK) {
        o = json_loadb(text.data, text.len, 0, NULL);

        json_object_foreach(o, name, value) {
            if (json_is_number(value)) {
                (void) llm_param_put(v, name, json_number_value(value));
            }
        }

        json_decref(o);
    }

    llm_buf_done(&text);

    return rc == LLM_OK || rc == LLM_NOTFOUND
           ? LLM_OK : llm_admin_fail_rc(c, rc, "parameters");
}


/* all of them, null where nothing is set */

static json_t *
llm_admin_params_json(const char *engine, const llm_param_values_t *v)
{
    size_t   i;
    json_t  *o;

    o = json_object();

    for (i = 0; i < LLM_PARAMS; i++) {
        (void) json_object_set_new(o, llm_param_defs[i].name,
                                   v->set & 1u << i
                                   ? llm_admin_params_number(i, v->value[i])
                                   : json_null());
    }

    return json_pack("{s:s, s:o}", "engine", engine, "params", o);
}


static json_t *
llm_admin_params_number(size_t i, double value)
{
    return llm_param_defs[i].is_float ? json_real(value)
                                      : json_integer((json_int_t) value);
}


static int
llm_admin_params_merge(llm_admin_ctx_t *c, llm_param_values_t *v)
{
    int                     rc;
    json_t                 *value;
    size_t                  n;
    const char             *name;
    const llm_param_def_t  *def;

    n = 0;

    json_object_foreach(c->body, name, value) {

        if (strcmp(name, "engine") == 0) {
            continue;
        }

        n++;
        rc = llm_param_find(name);

        if (rc < 0) {
            return llm_admin_fail(c, 400, "unknown_field", name,
                                  "There is no such parameter.");
        }

        def = &llm_param_defs[rc];

        if (json_is_null(value)) {
            (void) llm_param_clear(v, name);
            continue;
        }

        if (!(def->is_float ? json_is_number(value)
                            : json_is_integer(value)))
        {
            return llm_admin_fail(c, 400, "invalid_type", name,
                                  "It must be a %s, or null.",
                                  def->is_float ? "number" : "whole number");
        }

        if (llm_param_put(v, name, json_number_value(value)) != LLM_OK) {
            return llm_admin_fail(c, 400, "invalid_value", name,
                                  "%s %.10g, at most %.10g",
                                  def->above ? "above" : "at least",
                                  def->min, def->max);
        }
    }

    return n != 0 ? LLM_OK
                  : llm_admin_fail(c, 400, "missing_field", NULL,
                                   "There is nothing to change.");
}


/* the store logs the former and the new text */

static int
llm_admin_params_put(llm_admin_ctx_t *c, const char *engine,
    const llm_param_values_t *v)
{
    int      rc;
    char    *text;
    size_t   i;
    json_t  *o;

    o = json_object();

    for (i = 0; i < LLM_PARAMS; i++) {
        if (v->set & 1u << i) {
            (void) json_object_set_new(o, llm_param_defs[i].name,
                                       llm_admin_params_number(i,
                                                               v->value[i]));
        }
    }

    text = json_dumps(o, JSON_COMPACT|JSON_REAL_PRECISION(10));
    json_decref(o);

    if (text == NULL) {
        c->err[0] = '\0';
        return llm_admin_fail_rc(c, LLM_NOMEM, "parameters");
    }

    rc = llm_params_put(c->a->store, engine, text, c->err, sizeof(c->err));
    free(text);

    return rc == LLM_OK ? LLM_OK : llm_admin_fail_rc(c, rc, "parameters");
}


int
llm_admin_changes(llm_admin_ctx_t *c)
{
    int              rc;
    int64_t          before;
    llm_admin_log_t  log;

    static const char *const  names[] = { "before", "limit", NULL };

    memset(&log, 0, sizeof(log));
    log.limit = 100;
    before = 0;

    if (llm_admin_known(c, c->args, names) != LLM_OK
        || llm_admin_arg_number(c, "before", 1, INT64_MAX, &before) != LLM_OK
        || llm_admin_arg_number(c, "limit", 1, LLM_ADMIN_LIMIT, &log.limit)
           != LLM_OK)
    {
        return LLM_ERROR;
    }

    log.data = json_array();

    if (log.data == NULL) {
        return llm_admin_answer(c, 200, NULL);
    }

    rc = llm_change_each(c->a->store, (uint64_t) before, llm_admin_change,
                         &log, c->err, sizeof(c->err));

    if (rc != LLM_OK || log.failed) {
        json_decref(log.data);
        return rc != LLM_OK ? llm_admin_fail_rc(c, rc, "changes")
                            : llm_admin_answer(c, 200, NULL);
    }

    return llm_admin_answer(c, 200,
                            llm_admin_list(log.data, log.more, log.more
                                ? json_integer((json_int_t) log.last)
                                : NULL));
}


static int
llm_admin_change(void *data, const llm_change_t *change)
{
    json_t           *o;
    llm_admin_log_t  *log = data;

    if (json_array_size(log->data) == (size_t) log->limit) {
        log->more = 1;
        return 1;
    }

    o = json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}",
                  "number", (json_int_t) change->number,
                  "time", llm_admin_stamp_ms(change->time),
                  "actor", llm_admin_text(change->actor),
                  "action", llm_admin_text(change->action),
                  "target", llm_admin_text(change->target),
                  "detail", llm_admin_text(change->detail));

    log->last = change->number;
    log->failed = json_array_append_new(log->data, o) != 0;

    return log->failed;
}
