
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to llm_seq.c and llm_sched.c: one sequence's timeline.
 *
 * Made by any thread; from llm_sched_submit() on, the scheduler's thread
 * alone reads and writes it.
 */


#ifndef _LLM_SEQ_H_INCLUDED_
#define _LLM_SEQ_H_INCLUDED_


#include "llm_sched.h"


/* a stop string and how much of it the text ends with (Knuth, Morris, Pratt:
 * each byte of text is looked at once) */
typedef struct {
    char      *data;
    uint32_t  *fail;            /* [len] the longest proper border */
    uint32_t   len;
    uint32_t   state;           /* bytes matched, less than len */
} llm_stop_t;


struct llm_seq_s {
    llm_seq_t                *next;     /* in the inbox or the line */
    uint64_t                  serial;   /* the order of arrival */

    const llm_seq_handler_t  *handler;
    void                     *data;

    const llm_model_conf_t   *model;
    const llm_tokenizer_t    *tok;
    llm_sampler_t            *sampler;

    int32_t                  *token;    /* [n_limit] prompt, then generated */
    int                       n_token;
    int                       n_prompt;
    int                       n_limit;  /* n_token ends here */
    uint32_t                  grant;    /* more() is asked here; 0: never */

    /* the scheduler's */
    int                       n_past;   /* tokens whose keys and values are
                                           in the cache */
    int                       row;      /* of the block table; -1: none */
    int                       n_block;  /* in that row */
    int                       n_step;   /* tokens in this step's batch */
    int                       out;      /* its row of logits, or -1 */
    int                       paused;   /* poll() said LLM_AGAIN */
    uint64_t                  paused_us;    /* since when */
    int                       started;

    /* text: bytes become characters, characters wait in held */
    unsigned char             part[4];  /* an unfinished character */
    int                       n_part;
    int                       part_len; /* bytes when whole */
    unsigned char             part_lo;  /* the next byte's range */
    unsigned char             part_hi;

    llm_buf_t                 held;     /* may become part of a stop string */
    llm_stop_t                stop[LLM_STOP_MAX];
    int                       n_stop;
    uint32_t                  n_untold; /* tokens since the last text() */

    uint64_t                  submitted_us;
    llm_usage_t               usage;
};


/*
 * Record a generated token and pass its text on, as far as it is final.
 * LLM_FINISH_NONE: go on.  Otherwise llm_seq_finish() is to follow.
 */
llm_finish_e llm_seq_push(llm_seq_t *seq, int32_t id);

/* the text that was held back, and done(); err may be NULL */
void llm_seq_finish(llm_seq_t *seq, llm_finish_e finish, const char *err);

/* microseconds of CLOCK_MONOTONIC */
uint64_t llm_seq_now(void);


#endif /* _LLM_SEQ_H_INCLUDED_ */
