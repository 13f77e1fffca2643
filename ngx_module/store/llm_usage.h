
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
    char      model[128];       /* "": none, or not a string; UTF-8, any
                                   character but NUL */
    uint64_t  max_tokens;       /* a choice; 0: not said */
    uint32_t  n;                /* choices, of all prompts together; 1 if not
                                   said */
    int       stream;
} llm_ask_t;

/*
 * LLM_INVALID: not one JSON object, a key twice, a member of another type or
 * size than it can have, more nested or of more pieces than a request is.
 * LLM_NOMEM.  err says which member, and nothing of its value.
 *
 * The insides of long strings are skipped, not checked: a megabyte of image
 * costs some microseconds.  The worst body costs tens of milliseconds.
 */
int llm_ask_parse(llm_ask_t *ask, const char *body, size_t len, char *err,
    size_t errlen);


/*
 * The response, fed in pieces as it comes, uncompressed.  Finds the object
 * "usage" of the document, or of any event's document ("data: {...}"), in
 * constant memory, whatever the size of the rest.  A stream's last usage
 * counts; members that it lacks keep their earlier values, as Anthropic's are
 * told in two events.  The counts are right after each piece.
 *
 * Counts that are not integers from 0 to 2^40 - 1 are ignored.  The caller
 * owns the struct; it has no pointers and needs no end.
 */
typedef struct {
    uint64_t  prompt_tokens;    /* with what a cache read or wrote */
    uint64_t  completion_tokens;
    uint64_t  events;           /* that had a choice or a content block;
                                   0 when not streamed */
    uint64_t  known;            /* of events, when completion_tokens was last
                                   said: it has not counted the later ones */
    uint32_t  model_len;        /* 0: it named none yet */
    char      model[64];        /* the first that it named; no escape in
                                   it, any other byte */
    unsigned  found:1;          /* a usage was there, with a count */

    /* private */
    unsigned  stream:1;
    unsigned  cr:1;             /* the last line ended in one */
    unsigned  ended:1;          /* the document has */
    unsigned  counted:1;        /* it is in events */
    unsigned  string:1;         /* in a string */
    unsigned  escape:1;         /* after a backslash */
    unsigned  keep:1;           /* the string goes to name */
    unsigned  want_name:1;      /* the next string is a member's name */
    unsigned  total:1;          /* prompt_tokens was said as such */
    unsigned  capture:2;        /* depth of the usage's member; 0: not in it */
    unsigned  line:3;           /* bytes of "data:" seen; or llm_line_e */
    unsigned  member:3;         /* llm_member_e: whose value, at depth 1 */
    unsigned  inner:3;          /* the same at depth 2 */
    uint32_t  depth;
    uint64_t  prompt[3];        /* Anthropic's parts of it */
    uint32_t  name_len;
    char      name[64];
    uint32_t  text_len;         /* beyond its size: it did not fit */
    char      text[2048];       /* of the usage object */
} llm_usage_scan_t;

/* stream: the response is text/event-stream */
void llm_usage_init(llm_usage_scan_t *s, int stream);
void llm_usage_feed(llm_usage_scan_t *s, const void *data, size_t len);


#endif /* _LLM_USAGE_H_INCLUDED_ */
