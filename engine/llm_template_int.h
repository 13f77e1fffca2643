
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to the chat-template interpreter.
 *
 *     llm_template.c           the public calls, memory, messages
 *     llm_template_lex.c       source to tokens, white space control
 *     llm_template_parse.c     tokens to statements
 *     llm_template_expr.c      tokens to expressions: operators
 *     llm_template_primary.c   ... and what they are made of
 *     llm_template_eval.c      statements, scopes, macros
 *     llm_template_loop.c      loops
 *     llm_template_ops.c       expressions, arguments, calls
 *     llm_template_arith.c     operators
 *     llm_template_item.c      attributes, elements, slices
 *     llm_template_value.c     values: made, converted, truth
 *     llm_template_compare.c   ... compared, searched, run through
 *     llm_template_text.c      str(), repr() and tojson
 *     llm_template_string.c    strings as sequences of characters
 *     llm_template_strmeth.c   methods of strings
 *     llm_template_strsplit.c  ... that take them apart
 *     llm_template_method.c    methods of lists and mappings; globals
 *     llm_template_filter.c    filters
 *     llm_template_seq.c       filters over sequences
 *     llm_template_test.c      tests
 *
 * All memory of a parsed template is one arena, all memory of a rendering is
 * another: nothing is freed before its end.  Values are small, are copied
 * freely, and point into one of the two arenas or into the caller's JSON.
 *
 * A rendering is bounded in steps (nodes evaluated, and bytes or elements
 * touched, scaled), depth, memory and output.
 */


#ifndef _LLM_TEMPLATE_INT_H_INCLUDED_
#define _LLM_TEMPLATE_INT_H_INCLUDED_


#include <locale.h>

#include "llm_template.h"


#define LLM_TPL_SOURCE_MAX  (1 << 20)    /* bytes of a template */
#define LLM_TPL_NEST_MAX    100          /* nested statements, brackets */
#define LLM_TPL_DEPTH_MAX   400          /* nested evaluations */
#define LLM_TPL_STEPS_MAX   20000000
#define LLM_TPL_MEMORY      ((size_t) 64 << 20)   /* plus 4 times the output */
#define LLM_TPL_ARGS_MAX    16
#define LLM_TPL_RANGE_MAX   100000       /* as the sandbox's MAX_RANGE */


typedef struct llm_tpl_node_s   llm_tpl_node_t;
typedef struct llm_tpl_val_s    llm_tpl_val_t;
typedef struct llm_tpl_run_s    llm_tpl_run_t;
typedef struct llm_tpl_scope_s  llm_tpl_scope_t;
typedef struct llm_tpl_chunk_s  llm_tpl_chunk_t;


/* chunks of memory, freed together */
typedef struct {
    llm_tpl_chunk_t  *chunk;          /* the one in use */
    char             *pos;
    char             *end;
    size_t            total;
    size_t            max;
} llm_tpl_arena_t;

/* aligned; NULL when memory, or the arena's share of it, is used up */
void *llm_tpl_alloc(llm_tpl_arena_t *a, size_t size);
void llm_tpl_arena_done(llm_tpl_arena_t *a);


typedef struct {
    const char  *p;                   /* not terminated */
    size_t       len;
} llm_tpl_str_t;


/* values */

typedef enum {
    LLM_TPL_ABSENT = 0,               /* an argument that was not given */
    LLM_TPL_UNDEF,
    LLM_TPL_NONE,
    LLM_TPL_BOOL,
    LLM_TPL_INT,
    LLM_TPL_FLOAT,
    LLM_TPL_STR,
    LLM_TPL_LIST,                     /* and what is like one, see below */
    LLM_TPL_DICT,
    LLM_TPL_NS,                       /* a namespace; u.dict */
    LLM_TPL_MACRO,
    LLM_TPL_METHOD,                   /* bound to its object */
    LLM_TPL_FUNC,                     /* a global function */
    LLM_TPL_LOOP
} llm_tpl_type_e;

typedef enum {
    LLM_TPL_KIND_LIST = 0,
    LLM_TPL_KIND_TUPLE,
    LLM_TPL_KIND_GEN,                 /* can be run through once, always true */
    LLM_TPL_KIND_KEYS,
    LLM_TPL_KIND_VALUES,
    LLM_TPL_KIND_ITEMS,
    LLM_TPL_KIND_RANGE
} llm_tpl_kind_e;

typedef struct {
    llm_tpl_kind_e   kind;
    llm_tpl_val_t   *item;
    size_t           n;
    size_t           size;
    int64_t          start;           /* of a range, for printing */
    int64_t          stop;
    int64_t          step;
} llm_tpl_list_t;

typedef struct llm_tpl_pair_s  llm_tpl_pair_t;

typedef struct {
    llm_tpl_pair_t  *pair;            /* in the order of insertion */
    size_t           n;
    size_t           size;
} llm_tpl_dict_t;

typedef struct llm_tpl_def_s     llm_tpl_def_t;
typedef struct llm_tpl_bound_s   llm_tpl_bound_t;
typedef struct llm_tpl_macro_s   llm_tpl_macro_t;
typedef struct llm_tpl_loop_s    llm_tpl_loop_t;
typedef struct llm_tpl_why_s     llm_tpl_why_t;

struct llm_tpl_val_s {
    llm_tpl_type_e            type;
    int                       safe;   /* of a string: markup, by "safe" */
    union {
        int                   b;
        int64_t               i;
        double                f;
        llm_tpl_str_t         s;
        llm_tpl_list_t       *list;
        llm_tpl_dict_t       *dict;
        llm_tpl_macro_t      *macro;
        llm_tpl_bound_t      *bound;
        const llm_tpl_def_t  *func;
        llm_tpl_loop_t       *loop;
        const llm_tpl_why_t  *why;    /* of an undefined; may be NULL */
    } u;
};

struct llm_tpl_pair_s {
    llm_tpl_val_t  key;
    llm_tpl_val_t  val;
};

struct llm_tpl_bound_s {
    llm_tpl_val_t         self;
    const llm_tpl_def_t  *method;
};

/* an undefined value: name alone, or an attribute of a type of object */
struct llm_tpl_why_s {
    llm_tpl_str_t  name;
    const char    *of;                /* NULL: a plain name */
};

struct llm_tpl_macro_s {
    const llm_tpl_node_t  *node;
    llm_tpl_scope_t       *scope;     /* where it was defined */
    llm_tpl_val_t          caller;    /* of a {% call %} block, or absent */
};

struct llm_tpl_loop_s {
    const llm_tpl_node_t  *node;      /* for recursion */
    llm_tpl_list_t        *list;
    size_t                 index0;
    unsigned               depth0;
    llm_tpl_scope_t       *scope;     /* around the loop */
    llm_tpl_val_t          changed;   /* last value of loop.changed() */
};


/* arguments of a call */

typedef struct {
    llm_tpl_str_t  name;
    llm_tpl_val_t  val;
} llm_tpl_kw_t;

typedef struct {
    llm_tpl_val_t  pos[LLM_TPL_ARGS_MAX];
    size_t         npos;
    llm_tpl_kw_t   kw[LLM_TPL_ARGS_MAX];
    size_t         nkw;
} llm_tpl_args_t;

/* v: the arguments in the order of the definition's params, ABSENT where not
 * given */
typedef int (*llm_tpl_fn_pt)(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);
typedef int (*llm_tpl_raw_pt)(llm_tpl_run_t *r, llm_tpl_args_t *a,
    llm_tpl_val_t *out);

/* a filter, test, method or function; the value or self is argument 0 */
struct llm_tpl_def_s {
    const char      *name;
    const char      *params;          /* "value,indent"; NULL: raw */
    unsigned         need;            /* arguments */
    llm_tpl_fn_pt    fn;
    llm_tpl_raw_pt   raw;
};

#define LLM_TPL_DEF(name, params, need, fn)  { name, params, need, fn, NULL }
#define LLM_TPL_RAW(name, raw)               { name, NULL, 0, NULL, raw }
#define LLM_TPL_DEF_END                      { NULL, NULL, 0, NULL, NULL }


/* tokens */

typedef enum {
    LLM_TPL_TOK_EOF = 0,
    LLM_TPL_TOK_DATA,
    LLM_TPL_TOK_VAR_BEGIN,
    LLM_TPL_TOK_VAR_END,
    LLM_TPL_TOK_BLOCK_BEGIN,
    LLM_TPL_TOK_BLOCK_END,
    LLM_TPL_TOK_NAME,
    LLM_TPL_TOK_STR,
    LLM_TPL_TOK_INT,
    LLM_TPL_TOK_FLOAT,
    LLM_TPL_TOK_OP                    /* op: a character or one of these */
} llm_tpl_tok_e;

#define LLM_TPL_OP_EQ        0x100
#define LLM_TPL_OP_NE        0x101
#define LLM_TPL_OP_LE        0x102
#define LLM_TPL_OP_GE        0x103
#define LLM_TPL_OP_FLOORDIV  0x104
#define LLM_TPL_OP_POW       0x105
#define LLM_TPL_OP_IN        0x106    /* not from the lexer */
#define LLM_TPL_OP_NOTIN     0x107

typedef struct {
    llm_tpl_tok_e  type;
    int            op;
    int            line;
    llm_tpl_str_t  s;                 /* data, name, decoded string */
    int64_t        i;
    double         f;
} llm_tpl_tok_t;


/* the tree */

typedef enum {
    /* statements */
    LLM_TPL_TEXT,           /* s */
    LLM_TPL_PRINT,          /* a */
    LLM_TPL_IF,             /* a: condition, body, other: elif, else */
    LLM_TPL_FOR,            /* a: target, b: iterable, c: filter, body,
                               other: else; flag: recursive */
    LLM_TPL_SET,            /* a: target, b: value */
    LLM_TPL_SETBLOCK,       /* a: target, b: filters or NULL, body */
    LLM_TPL_MACRODEF,       /* s, list: parameters (a: default), body */
    LLM_TPL_CALLBLOCK,      /* a: call, b: the caller as MACRODEF */
    LLM_TPL_FILTERBLOCK,    /* b: filters, body */
    LLM_TPL_WITH,           /* list: SET, body */
    LLM_TPL_BREAK,
    LLM_TPL_CONTINUE,

    /* expressions */
    LLM_TPL_CONST,          /* val */
    LLM_TPL_NAME,           /* s */
    LLM_TPL_CAPTURED,       /* the text that a block's filters work on */
    LLM_TPL_LISTEXPR,       /* list */
    LLM_TPL_TUPLE,          /* list */
    LLM_TPL_DICTEXPR,       /* list: each a: key, b: value */
    LLM_TPL_PAIR,
    LLM_TPL_ATTR,           /* a, s */
    LLM_TPL_ITEM,           /* a, b */
    LLM_TPL_SLICE,          /* a; b, c, d: start, stop, step or NULL */
    LLM_TPL_CALL,           /* a, list: ARG */
    LLM_TPL_ARG,            /* a; s: keyword or empty; op: 0, 1 *, 2 ** */
    LLM_TPL_FILTER,         /* a, s, def or NULL, list: ARG */
    LLM_TPL_TEST,           /* the same; flag: is not */
    LLM_TPL_NOT,            /* a */
    LLM_TPL_NEG,
    LLM_TPL_POS,
    LLM_TPL_BINARY,         /* a, b, op */
    LLM_TPL_AND,
    LLM_TPL_OR,
    LLM_TPL_COMPARE,        /* a, list: each op and a */
    LLM_TPL_OPERAND,
    LLM_TPL_CONCAT,         /* list */
    LLM_TPL_COND            /* a if b else c */
} llm_tpl_node_e;

struct llm_tpl_node_s {
    llm_tpl_node_e        type;
    int                   op;
    int                   line;
    unsigned              flag:1;
    unsigned              varargs:1;  /* MACRODEF: its body names them */
    unsigned              kwargs:1;
    llm_tpl_str_t         s;
    llm_tpl_val_t         val;
    const llm_tpl_def_t  *def;
    llm_tpl_node_t       *a, *b, *c, *d;
    llm_tpl_node_t       *list;
    llm_tpl_node_t       *body;
    llm_tpl_node_t       *other;
    llm_tpl_node_t       *next;       /* in the list that holds it */
};

struct llm_template_s {
    char             *name;
    llm_tpl_arena_t   arena;
    llm_tpl_node_t   *body;
    locale_t          locale;         /* for the case of letters, or 0 */
};


/* while parsing */
typedef struct {
    llm_template_t   *t;
    llm_tpl_tok_t    *tok;
    size_t            ntok;
    size_t            size;
    size_t            pos;
    unsigned          depth;
    unsigned          loops;          /* around this point, in this macro */
    llm_tpl_node_t   *macro;          /* around this point */
    char             *err;
    size_t            errlen;
    int               rc;             /* of the first failure */
} llm_tpl_parse_t;

/* "<name>: line N: cause", once; returns NULL */
void *llm_tpl_bad(llm_tpl_parse_t *p, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

int llm_tpl_lex(llm_tpl_parse_t *p, const char *src, size_t len);

llm_tpl_node_t *llm_tpl_node(llm_tpl_parse_t *p, llm_tpl_node_e type);
int llm_tpl_peek_op(llm_tpl_parse_t *p, int op);
int llm_tpl_skip_op(llm_tpl_parse_t *p, int op);
int llm_tpl_peek_name(llm_tpl_parse_t *p, const char *name);
int llm_tpl_skip_name(llm_tpl_parse_t *p, const char *name);
/* an error naming what was found */
void *llm_tpl_expected(llm_tpl_parse_t *p, const char *what);

/* a tuple without brackets, or one expression; cond: "a if b" is allowed */
llm_tpl_node_t *llm_tpl_parse_tuple(llm_tpl_parse_t *p, int cond);
llm_tpl_node_t *llm_tpl_parse_expr(llm_tpl_parse_t *p);
/* a literal, a name or what is in brackets; then what follows it */
llm_tpl_node_t *llm_tpl_parse_primary(llm_tpl_parse_t *p);
llm_tpl_node_t *llm_tpl_parse_postfix(llm_tpl_parse_t *p,
    llm_tpl_node_t *node);
/* name, name.attr, or a tuple of names; attr: the second is allowed */
llm_tpl_node_t *llm_tpl_parse_target(llm_tpl_parse_t *p, int attr);
/* filters behind node; first: its name follows at once, without "|" */
llm_tpl_node_t *llm_tpl_parse_filters(llm_tpl_parse_t *p,
    llm_tpl_node_t *node, int first);
llm_tpl_node_t *llm_tpl_parse_body(llm_tpl_parse_t *p);


/* while rendering; one thread */
struct llm_tpl_run_s {
    const llm_template_t  *t;
    llm_tpl_arena_t        arena;
    llm_buf_t             *out;       /* or a block's capture */
    size_t                 max;       /* bytes of out */
    uint64_t               steps;
    unsigned               depth;
    int                    line;      /* of the node at work */
    int64_t                when;      /* unix seconds, 0: now */
    llm_tpl_scope_t       *scope;
    llm_tpl_val_t          captured;
    char                  *err;
    size_t                 errlen;
};

/* "<name>: line N: cause"; returns LLM_INVALID */
int llm_tpl_fail(llm_tpl_run_t *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* an undefined value was used; returns LLM_INVALID */
int llm_tpl_undef_fail(llm_tpl_run_t *r, const llm_tpl_val_t *v);

/* account for n elements or bytes / 16; fails when steps are used up */
int llm_tpl_charge(llm_tpl_run_t *r, size_t n);

void *llm_tpl_get(llm_tpl_run_t *r, size_t size);   /* fails with a message */
int llm_tpl_nomem(llm_tpl_run_t *r);


/* values: llm_template_value.c */

void llm_tpl_undef(llm_tpl_val_t *v);
int llm_tpl_undef_name(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_str_t name,
    const llm_tpl_val_t *of);
void llm_tpl_none(llm_tpl_val_t *v);
void llm_tpl_bool(llm_tpl_val_t *v, int b);
void llm_tpl_int(llm_tpl_val_t *v, int64_t i);
void llm_tpl_float(llm_tpl_val_t *v, double f);
void llm_tpl_str(llm_tpl_val_t *v, const char *p, size_t len);
int llm_tpl_list(llm_tpl_run_t *r, llm_tpl_val_t *v, llm_tpl_kind_e kind,
    size_t size);
int llm_tpl_dict(llm_tpl_run_t *r, llm_tpl_val_t *v, size_t size);

int llm_tpl_push(llm_tpl_run_t *r, llm_tpl_list_t *l,
    const llm_tpl_val_t *item);
int llm_tpl_dict_set(llm_tpl_run_t *r, llm_tpl_dict_t *d,
    const llm_tpl_val_t *key, const llm_tpl_val_t *val);
/* NULL: not there, or *rc is not LLM_OK */
llm_tpl_val_t *llm_tpl_dict_get(llm_tpl_run_t *r, llm_tpl_dict_t *d,
    const llm_tpl_val_t *key, int *rc);

/* s := s + p[0..len); cheap when s is the newest string in the arena */
int llm_tpl_append(llm_tpl_run_t *r, llm_tpl_str_t *s, const char *p,
    size_t len);

int llm_tpl_from_json(llm_tpl_run_t *r, llm_tpl_val_t *v, json_t *json);
int llm_tpl_true(const llm_tpl_val_t *v);
const char *llm_tpl_type(const llm_tpl_val_t *v);      /* Python's name */
int llm_tpl_is(const llm_tpl_str_t *s, const char *name);
/* number as int or float; 0 if it is none.  A bool is a number */
int llm_tpl_number(const llm_tpl_val_t *v, int64_t *i, double *f,
    int *is_float);
int llm_tpl_as_int(const llm_tpl_val_t *v, int64_t *i);
int llm_tpl_equal(llm_tpl_run_t *r, const llm_tpl_val_t *a,
    const llm_tpl_val_t *b, int *eq);
/* *cmp: -1, 0, 1; 2 when neither holds (NaN) */
int llm_tpl_order(llm_tpl_run_t *r, const llm_tpl_val_t *a,
    const llm_tpl_val_t *b, int *cmp);
int llm_tpl_in(llm_tpl_run_t *r, const llm_tpl_val_t *item,
    const llm_tpl_val_t *of, int *in);
/* the elements of anything that can be run through; a generator is used up */
int llm_tpl_iterate(llm_tpl_run_t *r, const llm_tpl_val_t *v,
    llm_tpl_list_t **list);


/* text: llm_template_text.c */

int llm_tpl_to_str(llm_tpl_run_t *r, const llm_tpl_val_t *v,
    llm_tpl_str_t *s);
/* str(v) behind s */
int llm_tpl_append_str(llm_tpl_run_t *r, llm_tpl_str_t *s,
    const llm_tpl_val_t *v);
int llm_tpl_append_repr(llm_tpl_run_t *r, llm_tpl_str_t *s,
    const llm_tpl_val_t *v);
int llm_tpl_filter_tojson(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);


/* characters: llm_template_string.c.  Bytes that are not UTF-8 count as one
 * character each */

uint32_t llm_tpl_char(const char *p, size_t len, size_t *n);
size_t llm_tpl_char_put(char *p, uint32_t c);
/* the character of the escape at p behind out[*n]; returns the escape's
 * length, 0 if it is a bad one */
size_t llm_tpl_unescape(const char *p, size_t len, char *out, size_t *n);
int llm_tpl_is_space(uint32_t c);
size_t llm_tpl_count(llm_tpl_str_t s);                 /* characters */
/* byte offset of character i; len if there are fewer */
size_t llm_tpl_offset(llm_tpl_str_t s, size_t i);
/* chars.p NULL: white space.  sides: 1 left, 2 right */
llm_tpl_str_t llm_tpl_strip(llm_tpl_str_t s, llm_tpl_str_t chars, int sides);
extern const llm_tpl_str_t  llm_tpl_no_chars;          /* { NULL, 0 } */
/* the next line; *n: its length, returns where the next begins */
size_t llm_tpl_line(llm_tpl_str_t s, size_t from, size_t *n);
const char *llm_tpl_find(llm_tpl_str_t s, llm_tpl_str_t what, size_t from);
const char *llm_tpl_rfind(llm_tpl_str_t s, llm_tpl_str_t what);
int llm_tpl_replace(llm_tpl_run_t *r, llm_tpl_str_t s, llm_tpl_str_t from,
    llm_tpl_str_t to, int64_t count, llm_tpl_val_t *out);

typedef enum {
    LLM_TPL_CASE_UPPER,
    LLM_TPL_CASE_LOWER,
    LLM_TPL_CASE_SWAP,
    LLM_TPL_CASE_CAPITAL,     /* the first up, the rest down */
    LLM_TPL_CASE_TITLE,       /* the first of each run of letters */
    LLM_TPL_CASE_WORDS        /* the filter "title": after space - ( { [ < */
} llm_tpl_case_e;

int llm_tpl_recase(llm_tpl_run_t *r, llm_tpl_str_t s, llm_tpl_case_e how,
    llm_tpl_val_t *out);
int llm_tpl_is_upper(const llm_template_t *t, uint32_t c);
int llm_tpl_is_lower(const llm_template_t *t, uint32_t c);
int llm_tpl_is_alpha(const llm_template_t *t, uint32_t c);
/* s with "&<>'\"" escaped, behind out */
int llm_tpl_append_escaped(llm_tpl_run_t *r, llm_tpl_str_t *out,
    llm_tpl_str_t s);
/* "%s and %d" % args; args: a tuple, a mapping or one value */
int llm_tpl_format(llm_tpl_run_t *r, llm_tpl_str_t fmt,
    const llm_tpl_val_t *args, llm_tpl_val_t *out);


/* evaluation */

/* what a statement returns beside LLM_OK and errors */
#define LLM_TPL_DO_BREAK     1
#define LLM_TPL_DO_CONTINUE  2

int llm_tpl_exec(llm_tpl_run_t *r, const llm_tpl_node_t *body);
/* a body in a scope of its own */
int llm_tpl_block(llm_tpl_run_t *r, const llm_tpl_node_t *body);
int llm_tpl_for(llm_tpl_run_t *r, const llm_tpl_node_t *n);
int llm_tpl_set_target(llm_tpl_run_t *r, const llm_tpl_node_t *target,
    llm_tpl_scope_t *scope, const llm_tpl_val_t *val);
int llm_tpl_eval(llm_tpl_run_t *r, const llm_tpl_node_t *n,
    llm_tpl_val_t *out);
int llm_tpl_lookup(llm_tpl_run_t *r, llm_tpl_str_t name, llm_tpl_val_t *out);
int llm_tpl_assign(llm_tpl_run_t *r, llm_tpl_scope_t *scope,
    llm_tpl_str_t name, const llm_tpl_val_t *val);
llm_tpl_scope_t *llm_tpl_scope(llm_tpl_run_t *r, llm_tpl_scope_t *parent);
int llm_tpl_args(llm_tpl_run_t *r, const llm_tpl_node_t *list,
    llm_tpl_args_t *a);
int llm_tpl_call(llm_tpl_run_t *r, const llm_tpl_val_t *f, llm_tpl_args_t *a,
    const llm_tpl_val_t *caller, llm_tpl_val_t *out);
int llm_tpl_call_macro(llm_tpl_run_t *r, llm_tpl_macro_t *m,
    llm_tpl_args_t *a, const llm_tpl_val_t *caller, llm_tpl_val_t *out);
int llm_tpl_call_loop(llm_tpl_run_t *r, llm_tpl_loop_t *loop,
    llm_tpl_args_t *a, llm_tpl_val_t *out);
/* bind and call a filter, test, method or function; kind is for messages */
int llm_tpl_apply(llm_tpl_run_t *r, const llm_tpl_def_t *def,
    const char *kind, llm_tpl_args_t *a, llm_tpl_val_t *out);
int llm_tpl_unary(llm_tpl_run_t *r, int op, const llm_tpl_val_t *a,
    llm_tpl_val_t *out);
int llm_tpl_binary(llm_tpl_run_t *r, int op, const llm_tpl_val_t *a,
    const llm_tpl_val_t *b, llm_tpl_val_t *out);
/* obj.name and obj[key] */
int llm_tpl_attr(llm_tpl_run_t *r, const llm_tpl_val_t *obj,
    llm_tpl_str_t name, llm_tpl_val_t *out);
int llm_tpl_item(llm_tpl_run_t *r, const llm_tpl_val_t *obj,
    const llm_tpl_val_t *key, llm_tpl_val_t *out);
/* start, stop, step: NONE where not given */
int llm_tpl_slice(llm_tpl_run_t *r, const llm_tpl_val_t *obj,
    const llm_tpl_val_t *part, llm_tpl_val_t *out);


/* methods and globals */

/* 1: *out is the bound method */
int llm_tpl_method(llm_tpl_run_t *r, const llm_tpl_val_t *self,
    llm_tpl_str_t name, llm_tpl_val_t *out);
int llm_tpl_loop_attr(llm_tpl_run_t *r, const llm_tpl_val_t *self,
    llm_tpl_str_t name, llm_tpl_val_t *out);
int llm_tpl_globals(llm_tpl_run_t *r);


/* filters and tests */

const llm_tpl_def_t *llm_tpl_find_def(const llm_tpl_def_t *table,
    llm_tpl_str_t name);
const llm_tpl_def_t *llm_tpl_find_filter(llm_tpl_str_t name);
const llm_tpl_def_t *llm_tpl_find_test(llm_tpl_str_t name);

/* an argument of method who that must be a string */
int llm_tpl_want_str(llm_tpl_run_t *r, const llm_tpl_val_t *v,
    const char *who);

int llm_tpl_str_split(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);
int llm_tpl_str_rsplit(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);
int llm_tpl_str_splitlines(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);
int llm_tpl_str_partition(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);
int llm_tpl_str_rpartition(llm_tpl_run_t *r, llm_tpl_val_t *v,
    llm_tpl_val_t *out);

extern const llm_tpl_def_t  llm_tpl_string_methods[];
extern const llm_tpl_def_t  llm_tpl_seq_filters[];


#endif /* _LLM_TEMPLATE_INT_H_INCLUDED_ */
