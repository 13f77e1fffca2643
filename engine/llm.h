
/*
 * Copyright (C) nginx-llm contributors
 *
 * What every file of the engine shares: return codes, messages, and two
 * growable arrays.  No mutable globals; every call is reentrant.
 */


#ifndef _LLM_H_INCLUDED_
#define _LLM_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define LLM_VERSION     "0.1.0"


/*
 * Return codes.  A call that fails says why in the caller's err buffer:
 * "<file or object>: <place>: <cause>", one line, no final dot, never key
 * material.
 */

#define LLM_OK          0
#define LLM_ERROR      -1      /* input/output or internal failure */
#define LLM_AGAIN      -2      /* nothing to do now, or no room now */
#define LLM_INVALID    -3      /* malformed or unsupported input */
#define LLM_NOMEM      -4
#define LLM_NOTFOUND   -5
#define LLM_EXISTS     -6
#define LLM_CANCELLED  -7
#define LLM_FULL       -8      /* no room: a map, or a disk */
#define LLM_AWAY       -9      /* what it takes is not there now: a token */

#define LLM_ERRLEN     512     /* a good size for err buffers */


/* of a message for the log */
typedef enum {
    LLM_LOG_ERR = 0,
    LLM_LOG_WARN,
    LLM_LOG_NOTICE,
    LLM_LOG_INFO
} llm_log_e;


/* format a message into err (may be NULL), always terminated; returns rc */
int llm_err(char *err, size_t errlen, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));


/* growable bytes; data is not terminated.  {0} is an empty one */
typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
} llm_buf_t;

int llm_buf_append(llm_buf_t *b, const void *p, size_t len);  /* or NOMEM */
int llm_buf_reserve(llm_buf_t *b, size_t more);               /* or NOMEM */
void llm_buf_done(llm_buf_t *b);


/* growable token ids.  {0} is an empty one */
typedef struct {
    int32_t  *id;
    size_t    len;
    size_t    size;
} llm_ids_t;

int llm_ids_push(llm_ids_t *ids, int32_t id);                 /* or NOMEM */
void llm_ids_done(llm_ids_t *ids);


/* the number of leading bytes of p that end on a whole UTF-8 character;
 * bytes that can't become valid count as whole */
size_t llm_utf8_whole(const char *p, size_t len);

/* 1 if all of p is valid UTF-8 (no surrogates, no overlong forms) */
int llm_utf8_valid(const char *p, size_t len);


#endif /* _LLM_H_INCLUDED_ */
