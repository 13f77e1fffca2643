
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to the request parser.
 *
 *     llm_request.c        the body, its fields, completion prompts
 *     llm_request_util.c   typed access, messages, the scan before parsing
 *     llm_chat.c           messages to a prompt; a model's chat template
 *     llm_chat_message.c   checks messages and tools
 */


#ifndef _LLM_REQUEST_INT_H_INCLUDED_
#define _LLM_REQUEST_INT_H_INCLUDED_


#include <jansson.h>

#include "llm_request.h"


#define LLM_REQ_DEPTH_MAX   100           /* nested arrays and objects */
#define LLM_REQ_VALUES_MAX  (2 << 20)     /* values and keys of a body */
#define LLM_REQ_TOOLS_MAX   128
#define LLM_REQ_STOP_LEN    1024          /* bytes of a stop string */
#define LLM_REQ_PATH        256           /* of a field, "messages[0].role" */

/* bytes of n characters, escaped, with the "..." and the end */
#define LLM_REQ_ESCAPED(n)  (4 * (n) + 4)
#define LLM_REQ_QUOTE       LLM_REQ_ESCAPED(60)


typedef struct {
    llm_request_t            *rq;
    const llm_request_env_t  *env;
    json_t                   *root;
    llm_reqerr_t             *e;
} llm_reqctx_t;


/* all of these return LLM_OK, or a negative code with c->e filled in */

int llm_req_fail(llm_reqctx_t *c, int status, const char *code,
    const char *param, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int llm_req_type(llm_reqctx_t *c, const char *param, const char *want,
    const json_t *got);
int llm_req_nomem(llm_reqctx_t *c);

/* a field's path into at; returns at */
const char *llm_req_path(char at[LLM_REQ_PATH], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* at most max characters of text, what is not printable escaped; quoted: '"'
 * and '\\' too.  Returns buf, of LLM_REQ_ESCAPED(max) bytes */
const char *llm_req_escape(char *buf, const char *text, size_t len,
    size_t max, int quoted);

/* 60 characters of a client's text, to stand between '"' */
const char *llm_req_quote(char buf[LLM_REQ_QUOTE], const char *text,
    size_t len);

/* the member of obj, NULL if it is absent or null */
json_t *llm_req_get(json_t *obj, const char *key);

/* *out keeps its value where the field is absent or null.  param is the name
 * in the root */
int llm_req_bool(llm_reqctx_t *c, json_t *obj, const char *key,
    const char *param, int *out);
int llm_req_int(llm_reqctx_t *c, const char *key, int64_t *out, int64_t min,
    int64_t max);
int llm_req_float(llm_reqctx_t *c, const char *key, float *out, double min,
    double max, int above);

/* the same for what has a range in llm_param_defs, and perhaps a live default,
 * which *out receives where the field is absent */
int llm_req_param_int(llm_reqctx_t *c, llm_param_e p, int64_t *out);
int llm_req_param_float(llm_reqctx_t *c, llm_param_e p, float *out);

/* the body into c->root, an object */
int llm_req_json(llm_reqctx_t *c, const char *body, size_t len);

/*
 * Counts values and nesting, so that what a small text makes of the parser's
 * memory is bounded.  Not a check of syntax.
 */
int llm_req_scan(llm_reqctx_t *c, const char *text, size_t len);

/* text to ids behind ids; refuses what can't fit the context before it is
 * tokenised.  param: of the text */
int llm_req_tokenize(llm_reqctx_t *c, const char *text, size_t len,
    unsigned flags, llm_ids_t *ids, const char *param);
int llm_req_too_long(llm_reqctx_t *c, const char *param, size_t n,
    int at_least);

/* llm_chat.c: "messages" and all that belongs to them, to rq->prompt[0] */
int llm_chat_prompt(llm_reqctx_t *c);

/* llm_chat_message.c: a checked copy for the template; *prefix: the last is
 * an answer to go on with */
int llm_chat_messages(llm_reqctx_t *c, json_t **messages, int *prefix);
int llm_chat_tools(llm_reqctx_t *c, json_t **tools);

/* a copy in which arguments of tool calls that are a JSON object's text are
 * that object; NULL when there are none */
int llm_chat_objects(llm_reqctx_t *c, json_t *messages, json_t **objects);


#endif /* _LLM_REQUEST_INT_H_INCLUDED_ */
