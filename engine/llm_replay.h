
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request that was answered, answered again: its body, the seed and the
 * parameters that it was given then go through the same parser, template,
 * tokenizer, sequences and scheduler as in the engine host, in the caller's
 * thread.  As no bit of a sequence depends on what else is in the batch, the
 * same build (llm_build()) gives the same bytes.
 *
 * One thread, besides the back end's own.
 */


#ifndef _LLM_REPLAY_H_INCLUDED_
#define _LLM_REPLAY_H_INCLUDED_


#include "llm_request.h"
#include "../kernels/llk.h"


typedef struct llm_replay_s  llm_replay_t;


typedef struct {
    llm_api_e         api;
    const char       *model;        /* the engine's name then */
    const char       *body;         /* hostile */
    size_t            len;
    int64_t           when;         /* unix seconds, of the chat template */
    uint64_t          seed;
    llm_effective_t   effective;    /* checked */

    uint32_t          tokens;       /* a choice ends there; 0: where it does */
    uint64_t          enough[LLM_CHOICES_MAX];  /* bytes of text that do for a
                                                   choice; 0: all of it */

    /* now and then: tokens so far; may be NULL */
    void            (*progress)(void *data, uint64_t tokens);
    void             *data;
} llm_replay_conf_t;


typedef struct {
    llm_buf_t         text;
    size_t           *piece;        /* [n_piece] the text's length after each
                                       of the pieces that it comes in */
    size_t            n_piece;
    size_t            piece_size;
    uint32_t          tokens;
    llm_finish_e      finish;
} llm_replay_choice_t;


/* {0} is an empty one */
typedef struct {
    int                  n;
    uint32_t             prompt_tokens;
    llm_replay_choice_t  choice[LLM_CHOICES_MAX];
} llm_replay_answer_t;


/* threads: 0: one a CPU.  progress of reading the weights may be NULL */
int llm_replay_open(llm_replay_t **rp, const char *dir, llk_device_e device,
    int threads, void (*progress)(void *data, uint64_t done, uint64_t all),
    void *data, char *err, size_t errlen);
void llm_replay_close(llm_replay_t *rp);          /* NULL is fine */

uint64_t llm_replay_build(const llm_replay_t *rp);

/* 1 if such numbers can have been in force */
int llm_effective_valid(const llm_effective_t *ef);

/*
 * LLM_INVALID: the engine would refuse such a request.  answer is filled as
 * far as it came in any case; llm_replay_done() frees what it holds.
 */
int llm_replay(llm_replay_t *rp, const llm_replay_conf_t *conf,
    llm_replay_answer_t *answer, char *err, size_t errlen);
void llm_replay_done(llm_replay_answer_t *answer);


#endif /* _LLM_REPLAY_H_INCLUDED_ */
