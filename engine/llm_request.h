
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request body, hostile until proven otherwise, made into prompts and
 * parameters: JSON, validation, chat template, tokens.  Runs on the engine's
 * intake threads.
 */


#ifndef _LLM_REQUEST_H_INCLUDED_
#define _LLM_REQUEST_H_INCLUDED_


#include "llm.h"
#include "llm_model.h"
#include "llm_params.h"
#include "llm_sched.h"
#include "llm_template.h"
#include "llm_tokenizer.h"


#define LLM_CHOICES_MAX  32     /* prompts times n */


typedef enum {
    LLM_API_CHAT = 1,           /* /v1/chat/completions */
    LLM_API_COMPLETION          /* /v1/completions */
} llm_api_e;


/*
 * An error that the client may read.  The codes:
 *
 *     invalid_json             not JSON, or nested too deep
 *     request_too_large        more values than a request can need (413)
 *     missing_field            a required field is not there
 *     invalid_type             a field of another JSON type
 *     invalid_value            a value out of range, or that fits nothing
 *     unsupported_parameter    known, and not available here
 *     model_not_found          another name than the engine's (404)
 *     context_length_exceeded  the prompt fills the context
 *     no_chat_template         chat with a model that has none
 *     template_error           the model's template refuses the messages
 *     out_of_memory            (503)
 *
 * All others are 400.
 */
typedef struct {
    int    status;              /* HTTP */
    char   code[48];
    char   param[64];           /* the offending field's path, or "" */
    char   message[LLM_ERRLEN]; /* of the client's text at most 60 characters,
                                   printable */
} llm_reqerr_t;


/* what a request is judged and completed by */
typedef struct {
    const char              *name;      /* the engine's: "model" must be it */
    const llm_model_conf_t  *model;
    const llm_tokenizer_t   *tok;
    const llm_template_t    *chat;      /* NULL: the model has no template */
    const char              *bos;       /* text for the template, "" if none */
    const char              *eos;
    int                      context;   /* tokens in a sequence */

    int64_t                  when;      /* unix seconds, for the template;
                                           0: now */

    const llm_param_values_t  *params;  /* NULL: none are set */
} llm_request_env_t;


typedef struct {
    llm_api_e        api;
    int              stream;
    int              include_usage;     /* stream_options */
    int              n;                 /* choices a prompt */
    int              n_prompt;          /* chat: 1 */
    llm_ids_t        prompt[LLM_CHOICES_MAX];
    int              echo;              /* completions: repeat the prompt */
    char            *echo_text[LLM_CHOICES_MAX];   /* its text, or NULL;
                                                      terminated, valid UTF-8 */
    size_t           echo_len[LLM_CHOICES_MAX];
    uint32_t         max_tokens;        /* 0: up to the context */
    int              max_tokens_given;  /* by the body, not by a default */
    int              ignore_eos;
    int              n_stop;
    char            *stop[LLM_STOP_MAX];
    size_t           stop_len[LLM_STOP_MAX];
    llm_sampling_t   sampling;          /* seed drawn at random if not given */
} llm_request_t;


/* body: len bytes of JSON, not kept.  On failure *e says what to answer */
int llm_request_parse(llm_request_t **req, llm_api_e api, const char *body,
    size_t len, const llm_request_env_t *env, llm_reqerr_t *e);

void llm_request_destroy(llm_request_t *req);     /* NULL is fine */


/*
 * The chat template of a model directory: tokenizer_config.json's
 * chat_template (a string, or the one named "default" of a list), or
 * chat_template.jinja.  *t stays NULL when there is none.  bos and eos receive
 * malloc'ed texts ("" if none).
 */
int llm_chat_open(llm_template_t **t, char **bos, char **eos,
    const char *dir, char *err, size_t errlen);


#endif /* _LLM_REQUEST_H_INCLUDED_ */
