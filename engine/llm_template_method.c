
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a template reaches by ".": the methods of lists and mappings; and its
 * global functions.  The methods of strings are in llm_template_strmeth.c,
 * "loop" is in llm_template_loop.c.
 */


#include <string.h>
#include <time.h>

#include "llm_template_int.h"


static int llm_tpl_pairs(llm_tpl_run_t *r, llm_tpl_dict_t *d,
    llm_tpl_kind_e kind, llm_tpl_val_t *out);
static int llm_tpl_extend(llm_tpl_run_t *r, llm_tpl_dict_t *d,
    const llm_tpl_val_t *from);


/* mappings */

static int
llm_tpl_dict_items(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    return llm_tpl_pairs(r, v->u.dict, LLM_TPL_KIND_ITEMS, out);
}


static int
llm_tpl_dict_keys(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    return llm_tpl_pairs(r, v->u.dict, LLM_TPL_KIND_KEYS, out);
}


static int
llm_tpl_dict_values(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    return llm_tpl_pairs(r, v->u.dict, LLM_TPL_KIND_VALUES, out);
}


static int
llm_tpl_pairs(llm_tpl_run_t *r, llm_tpl_dict_t *d, llm_tpl_kind_e kind,
    llm_tpl_val_t *out)
{
    size_t          i;
    llm_tpl_val_t  *item;

    if (llm_tpl_charge(r, d->n) != LLM_OK
        || llm_tpl_list(r, out, kind, d->n) != LLM_OK)
    {
        return LLM_INVALID;
    }

    for (i = 0; i < d->n; i++) {
        item = &out->u.list->item[i];

        if (kind == LLM_TPL_KIND_KEYS) {
            *item = d->pair[i].key;

        } else if (kind == LLM_TPL_KIND_VALUES) {
            *item = d->pair[i].val;

        } else if (llm_tpl_list(r, item, LLM_TPL_KIND_TUPLE, 2) != LLM_OK) {
            return LLM_INVALID;

        } else {
            item->u.list->item[0] = d->pair[i].key;
            item->u.list->item[1] = d->pair[i].val;
            item->u.list->n = 2;
        }

        out->u.list->n++;
    }

    return LLM_OK;
}


static int
llm_tpl_dict_get_method(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out)
{
    int             rc;
    llm_tpl_val_t  *val;

    val = llm_tpl_dict_get(r, v->u.dict, &v[1], &rc);

    if (val) {
        *out = *val;

    } else if (v[2].type != LLM_TPL_ABSENT) {
        *out = v[2];

    } else {
        llm_tpl_none(out);
    }

    return rc;
}


static int
llm_tpl_dict_copy(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    if (llm_tpl_dict(r, out, v->u.dict->n) != LLM_OK) {
        return LLM_INVALID;
    }

    return llm_tpl_extend(r, out->u.dict, v);
}


/* from: a mapping, or a sequence of pairs */

static int
llm_tpl_extend(llm_tpl_run_t *r, llm_tpl_dict_t *d, const llm_tpl_val_t *from)
{
    size_t           i;
    llm_tpl_list_t  *list, *pair;

    if (from->type == LLM_TPL_DICT) {
        for (i = 0; i < from->u.dict->n; i++) {
            if (llm_tpl_dict_set(r, d, &from->u.dict->pair[i].key,
                                 &from->u.dict->pair[i].val) != LLM_OK)
            {
                return LLM_INVALID;
            }
        }

        return LLM_OK;
    }

    if (llm_tpl_iterate(r, from, &list) != LLM_OK) {
        return LLM_INVALID;
    }

    for (i = 0; i < list->n; i++) {
        if (llm_tpl_iterate(r, &list->item[i], &pair) != LLM_OK) {
            return LLM_INVALID;
        }

        if (pair->n != 2) {
            return llm_tpl_fail(r, "a mapping is made of pairs");
        }

        if (llm_tpl_dict_set(r, d, &pair->item[0], &pair->item[1]) != LLM_OK)
        {
            return LLM_INVALID;
        }
    }

    return LLM_OK;
}


static int
llm_tpl_dict_update(llm_tpl_run_t *r, llm_tpl_args_t *a, llm_tpl_val_t *out)
{
    size_t         i;
    llm_tpl_val_t  key;

    if (a->npos > 2) {
        return llm_tpl_fail(r, "method update() got too many arguments");
    }

    if (a->npos == 2
        && llm_tpl_extend(r, a->pos[0].u.dict, &a->pos[1]) != LLM_OK)
    {
        return LLM_INVALID;
    }

    for (i = 0; i < a->nkw; i++) {
        llm_tpl_str(&key, a->kw[i].name.p, a->kw[i].name.len);

        if (llm_tpl_dict_set(r, a->pos[0].u.dict, &key, &a->kw[i].val)
            != LLM_OK)
        {
            return LLM_INVALID;
        }
    }

    llm_tpl_none(out);

    return LLM_OK;
}


static int
llm_tpl_dict_setdefault(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out)
{
    int             rc;
    llm_tpl_val_t  *val;

    val = llm_tpl_dict_get(r, v->u.dict, &v[1], &rc);

    if (val || rc != LLM_OK) {
        *out = val ? *val : v[1];
        return rc;
    }

    if (v[2].type == LLM_TPL_ABSENT) {
        llm_tpl_none(&v[2]);
    }

    *out = v[2];

    return llm_tpl_dict_set(r, v->u.dict, &v[1], &v[2]);
}


static int
llm_tpl_dict_pop(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    int              rc;
    size_t           i;
    llm_tpl_val_t   *val;
    llm_tpl_dict_t  *d;

    d = v->u.dict;

    val = llm_tpl_dict_get(r, d, &v[1], &rc);
    if (rc != LLM_OK) {
        return rc;
    }

    if (val == NULL) {
        if (v[2].type == LLM_TPL_ABSENT) {
            return llm_tpl_fail(r, "pop(): no such key");
        }

        *out = v[2];
        return LLM_OK;
    }

    *out = *val;

    for (i = 0; &d->pair[i].val != val; i++) { /* void */ }

    memmove(&d->pair[i], &d->pair[i + 1],
            (d->n - i - 1) * sizeof(llm_tpl_pair_t));
    d->n--;

    return llm_tpl_charge(r, d->n / 16);
}


static const llm_tpl_def_t  llm_tpl_dict_methods[] = {
    LLM_TPL_DEF("items", "self", 1, llm_tpl_dict_items),
    LLM_TPL_DEF("keys", "self", 1, llm_tpl_dict_keys),
    LLM_TPL_DEF("values", "self", 1, llm_tpl_dict_values),
    LLM_TPL_DEF("get", "self,key,default", 2, llm_tpl_dict_get_method),
    LLM_TPL_DEF("copy", "self", 1, llm_tpl_dict_copy),
    LLM_TPL_DEF("setdefault", "self,key,default", 2, llm_tpl_dict_setdefault),
    LLM_TPL_DEF("pop", "self,key,default", 2, llm_tpl_dict_pop),
    LLM_TPL_RAW("update", llm_tpl_dict_update),
    LLM_TPL_DEF_END
};


/* lists and tuples */

static int
llm_tpl_list_index(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    int     eq;
    size_t  i;

    for (i = 0; i < v->u.list->n; i++) {
        if (llm_tpl_equal(r, &v->u.list->item[i], &v[1], &eq) != LLM_OK) {
            return LLM_INVALID;
        }

        if (eq) {
            llm_tpl_int(out, (int64_t) i);
            return LLM_OK;
        }
    }

    return llm_tpl_fail(r, "index(): no such element");
}


static int
llm_tpl_list_count(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    int      eq;
    size_t   i;
    int64_t  n;

    for (i = 0, n = 0; i < v->u.list->n; i++) {
        if (llm_tpl_equal(r, &v->u.list->item[i], &v[1], &eq) != LLM_OK) {
            return LLM_INVALID;
        }

        n += eq;
    }

    llm_tpl_int(out, n);

    return LLM_OK;
}


static int
llm_tpl_list_append(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    llm_tpl_none(out);

    return llm_tpl_push(r, v->u.list, &v[1]);
}


static int
llm_tpl_list_extend(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    size_t           i, n;
    llm_tpl_list_t  *list;

    llm_tpl_none(out);

    if (llm_tpl_iterate(r, &v[1], &list) != LLM_OK
        || llm_tpl_charge(r, list->n) != LLM_OK)
    {
        return LLM_INVALID;
    }

    for (i = 0, n = list->n; i < n; i++) {
        if (llm_tpl_push(r, v->u.list, &list->item[i]) != LLM_OK) {
            return LLM_INVALID;
        }
    }

    return LLM_OK;
}


/* a place counted from the front, or from the end if negative; past: the
 * place behind the last element is one too */

static int
llm_tpl_list_place(const llm_tpl_list_t *l, int64_t i, int past, size_t *at)
{
    i += i < 0 ? (int64_t) l->n : 0;

    if (past) {
        *at = i < 0 ? 0 : (uint64_t) i > l->n ? l->n : (size_t) i;
        return 1;
    }

    *at = (size_t) i;

    return i >= 0 && (uint64_t) i < l->n;
}


static int
llm_tpl_list_insert(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    size_t           at;
    int64_t          i;
    llm_tpl_list_t  *l = v->u.list;

    if (!llm_tpl_as_int(&v[1], &i)) {
        return llm_tpl_fail(r, "insert(): the index must be an integer");
    }

    (void) llm_tpl_list_place(l, i, 1, &at);

    if (llm_tpl_charge(r, l->n / 16) != LLM_OK
        || llm_tpl_push(r, l, &v[2]) != LLM_OK)
    {
        return LLM_INVALID;
    }

    memmove(&l->item[at + 1], &l->item[at],
            (l->n - 1 - at) * sizeof(llm_tpl_val_t));
    l->item[at] = v[2];

    llm_tpl_none(out);

    return LLM_OK;
}


static int
llm_tpl_list_pop(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    size_t           at;
    int64_t          i;
    llm_tpl_list_t  *l = v->u.list;

    i = -1;

    if (v[1].type != LLM_TPL_ABSENT && !llm_tpl_as_int(&v[1], &i)) {
        return llm_tpl_fail(r, "pop(): the index must be an integer");
    }

    if (!llm_tpl_list_place(l, i, 0, &at)) {
        return llm_tpl_fail(r, "pop(): index out of range");
    }

    *out = l->item[at];

    memmove(&l->item[at], &l->item[at + 1],
            (l->n - 1 - at) * sizeof(llm_tpl_val_t));
    l->n--;

    return llm_tpl_charge(r, l->n / 16);
}


static int
llm_tpl_list_copy(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    llm_tpl_val_t  part[3];

    llm_tpl_none(&part[0]);
    llm_tpl_none(&part[1]);
    llm_tpl_none(&part[2]);

    return llm_tpl_slice(r, v, part, out);
}


/* the first two are those of a tuple too */

static const llm_tpl_def_t  llm_tpl_tuple_methods[] = {
    LLM_TPL_DEF("index", "self,value", 2, llm_tpl_list_index),
    LLM_TPL_DEF("count", "self,value", 2, llm_tpl_list_count),
    LLM_TPL_DEF_END
};

static const llm_tpl_def_t  llm_tpl_list_methods[] = {
    LLM_TPL_DEF("index", "self,value", 2, llm_tpl_list_index),
    LLM_TPL_DEF("count", "self,value", 2, llm_tpl_list_count),
    LLM_TPL_DEF("append", "self,object", 2, llm_tpl_list_append),
    LLM_TPL_DEF("extend", "self,iterable", 2, llm_tpl_list_extend),
    LLM_TPL_DEF("insert", "self,index,object", 3, llm_tpl_list_insert),
    LLM_TPL_DEF("pop", "self,index", 1, llm_tpl_list_pop),
    LLM_TPL_DEF("copy", "self", 1, llm_tpl_list_copy),
    LLM_TPL_DEF_END
};


int
llm_tpl_method(llm_tpl_run_t *r, const llm_tpl_val_t *self,
    llm_tpl_str_t name, llm_tpl_val_t *out)
{
    llm_tpl_bound_t      *bound;
    const llm_tpl_def_t  *def;

    switch (self->type) {

    case LLM_TPL_STR:
        def = llm_tpl_find_def(llm_tpl_string_methods, name);
        break;

    case LLM_TPL_DICT:
        def = llm_tpl_find_def(llm_tpl_dict_methods, name);
        break;

    case LLM_TPL_LIST:
        def = self->u.list->kind == LLM_TPL_KIND_LIST
              ? llm_tpl_find_def(llm_tpl_list_methods, name)
              : self->u.list->kind == LLM_TPL_KIND_TUPLE
              ? llm_tpl_find_def(llm_tpl_tuple_methods, name) : NULL;
        break;

    default:
        def = NULL;
    }

    if (def == NULL) {
        return LLM_OK;
    }

    bound = llm_tpl_get(r, sizeof(llm_tpl_bound_t));
    if (bound == NULL) {
        return LLM_INVALID;
    }

    bound->self = *self;
    bound->method = def;

    out->type = LLM_TPL_METHOD;
    out->u.bound = bound;

    return 1;
}


/* globals */

static int
llm_tpl_fn_raise(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    llm_tpl_str_t  s;

    if (llm_tpl_to_str(r, v, &s) != LLM_OK) {
        return LLM_INVALID;
    }

    return llm_tpl_fail(r, "%.*s", (int) (s.len > 400 ? 400 : s.len), s.p);
}


static int
llm_tpl_fn_strftime(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    char           fmt[128], text[512];
    size_t         n;
    time_t         now;
    struct tm      tm;
    llm_tpl_str_t  s;

    if (v->type != LLM_TPL_STR || v->u.s.len >= sizeof(fmt)) {
        return llm_tpl_fail(r, "strftime_now() takes a short format");
    }

    memcpy(fmt, v->u.s.p, v->u.s.len);
    fmt[v->u.s.len] = '\0';

    now = r->when ? (time_t) r->when : time(NULL);

    if (localtime_r(&now, &tm) == NULL) {
        return llm_tpl_fail(r, "strftime_now(): there is no local time");
    }

    n = strftime(text, sizeof(text), fmt, &tm);

    s.p = "";
    s.len = 0;

    if (llm_tpl_append(r, &s, text, n) != LLM_OK) {
        return LLM_INVALID;
    }

    llm_tpl_str(out, s.p, s.len);

    return LLM_OK;
}


static int
llm_tpl_fn_range(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_val_t *out)
{
    size_t         n;
    int64_t        start, stop, step;
    __int128       count;
    llm_tpl_val_t  item;

    start = 0;
    step = 1;

    if (!llm_tpl_as_int(&v[0], &stop)) {
        return llm_tpl_fail(r, "range() takes integers");
    }

    if (v[1].type != LLM_TPL_ABSENT) {
        start = stop;

        if (!llm_tpl_as_int(&v[1], &stop)) {
            return llm_tpl_fail(r, "range() takes integers");
        }
    }

    if (v[2].type != LLM_TPL_ABSENT
        && (!llm_tpl_as_int(&v[2], &step) || step == 0))
    {
        return llm_tpl_fail(r, "range(): the step must be an integer, not "
                            "zero");
    }

    count = step > 0 ? (__int128) stop - start : (__int128) start - stop;
    count = count <= 0 ? 0
            : (count - 1) / (step > 0 ? step : -(__int128) step) + 1;

    if (count > LLM_TPL_RANGE_MAX) {
        return llm_tpl_fail(r, "range(): more than %d elements",
                            LLM_TPL_RANGE_MAX);
    }

    n = (size_t) count;

    if (llm_tpl_charge(r, n) != LLM_OK
        || llm_tpl_list(r, out, LLM_TPL_KIND_RANGE, n) != LLM_OK)
    {
        return LLM_INVALID;
    }

    out->u.list->start = start;
    out->u.list->stop = stop;
    out->u.list->step = step;

    for ( /* void */ ; n; n--) {
        llm_tpl_int(&item, start);
        out->u.list->item[out->u.list->n++] = item;

        if (n > 1) {
            start += step;
        }
    }

    return LLM_OK;
}


static int
llm_tpl_fn_dict(llm_tpl_run_t *r, llm_tpl_args_t *a, llm_tpl_val_t *out)
{
    size_t         i;
    llm_tpl_val_t  key;

    if (llm_tpl_dict(r, out, 0) != LLM_OK) {
        return LLM_INVALID;
    }

    if (a->npos > 1) {
        return llm_tpl_fail(r, "dict() takes at most one argument");
    }

    if (a->npos && llm_tpl_extend(r, out->u.dict, &a->pos[0]) != LLM_OK) {
        return LLM_INVALID;
    }

    for (i = 0; i < a->nkw; i++) {
        llm_tpl_str(&key, a->kw[i].name.p, a->kw[i].name.len);

        if (llm_tpl_dict_set(r, out->u.dict, &key, &a->kw[i].val) != LLM_OK) {
            return LLM_INVALID;
        }
    }

    return LLM_OK;
}


static int
llm_tpl_fn_namespace(llm_tpl_run_t *r, llm_tpl_args_t *a, llm_tpl_val_t *out)
{
    if (llm_tpl_fn_dict(r, a, out) != LLM_OK) {
        return LLM_INVALID;
    }

    out->type = LLM_TPL_NS;

    return LLM_OK;
}


static const llm_tpl_def_t  llm_tpl_functions[] = {
    LLM_TPL_DEF("raise_exception", "message", 1, llm_tpl_fn_raise),
    LLM_TPL_DEF("strftime_now", "format", 1, llm_tpl_fn_strftime),
    LLM_TPL_DEF("range", "start,stop,step", 1, llm_tpl_fn_range),
    LLM_TPL_RAW("dict", llm_tpl_fn_dict),
    LLM_TPL_RAW("namespace", llm_tpl_fn_namespace),
    LLM_TPL_DEF_END
};


int
llm_tpl_globals(llm_tpl_run_t *r)
{
    llm_tpl_str_t         name;
    llm_tpl_val_t         val;
    const llm_tpl_def_t  *def;

    for (def = llm_tpl_functions; def->name; def++) {
        name.p = def->name;
        name.len = strlen(def->name);

        val.type = LLM_TPL_FUNC;
        val.u.func = def;

        if (llm_tpl_assign(r, r->scope, name, &val) != LLM_OK) {
            return LLM_INVALID;
        }
    }

    return LLM_OK;
}
