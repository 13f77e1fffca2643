
/*
 * Copyright (C) nginx-llm contributors
 *
 * Requests and responses of other model servers, as far as quotas need them:
 * what a body asks for, and the token counts of an OpenAI-style response
 * (or Anthropic's), streamed or not.  No nginx type; no state but the scanner.
 */


#ifndef _LLM_USAGE_H_INCLUDED_
#define _LLM_USAGE_H_INCLUDED_


#include "../../engine/llm.h"


/* what a request's body asks for */
typedef struct {
    char      model[128];       /* "": none, or not a string */
    uint64_t  max_tokens;       /* 0: not said */
    uint32_t  n;                /* choices; 1 if not said */
    int       stream;
} llm_ask_t;

/* LLM_INVALID: not one JSON object, a key twice, or a member of another type
 * or size than it can have.  LLM_NOMEM */
int llm_ask_parse(llm_ask_t *ask, const char *body, size_t len, char *err,
    size_t errlen);


/*
 * The response, fed in pieces as it comes.  Finds the object "usage" of the
 * document, or of any event's document ("data: {...}"), in constant memory,
 * whatever the size of the rest.  A stream's last usage counts; members that
 * it lacks keep their earlier values, as Anthropic's are told in two events.
 */
typedef struct {
    uint64_t  prompt_tokens;
    uint64_t  completion_tokens;
    uint64_t  events;           /* that had a choice or a content block */
    unsigned  found:1;          /* a usage was there */

    /* private */
    unsigned  stream:1;
    unsigned  state:8;
    unsigned  escape:1;
    unsigned  string:1;
    uint32_t  depth;
    uint32_t  line;             /* bytes of the line's prefix seen */
    uint32_t  name_len;
    char      name[24];
    uint32_t  text_len;
    char      text[2048];       /* of the usage object */
} llm_usage_scan_t;

/* stream: the response is text/event-stream */
void llm_usage_init(llm_usage_scan_t *s, int stream);
void llm_usage_feed(llm_usage_scan_t *s, const void *data, size_t len);


#endif /* _LLM_USAGE_H_INCLUDED_ */
