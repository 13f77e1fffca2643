
/*
 * Copyright (C) nginx-llm contributors
 *
 * Sequences and their scheduler: continuous batching with chunked prefill.
 *
 * A sequence is one mutable timeline: prompt, generated tokens, KV blocks,
 * sampler, the text held back for stop strings and half characters.  Whoever
 * creates it owns it until llm_sched_submit() succeeds; from then on the
 * scheduler owns it, and destroys it after its handler's done() returned.
 *
 * The scheduler's thread alone calls llm_sched_step(), and the step alone
 * calls llm_forward().  Handlers run on that thread, must not block, and may
 * not call back into the scheduler.  submit() and wake() may be called from
 * any thread.
 *
 * A step takes one token of every running sequence and, up to a budget of
 * tokens, chunks of the prompts that wait, in the order of arrival.  When
 * blocks run out, the youngest running sequence gives its blocks back and
 * later computes them again (prompt and generated tokens alike): its client
 * sees a pause only.  So does one whose client has been slow for a quarter of
 * a second, when somebody else needs its place or its blocks.
 */


#ifndef _LLM_SCHED_H_INCLUDED_
#define _LLM_SCHED_H_INCLUDED_


#include "llm.h"
#include "llm_model.h"
#include "llm_sampler.h"
#include "llm_tokenizer.h"


#define LLM_STOP_MAX      16
#define LLM_SCHED_BATCHES 10    /* 1, 2, 4, ... 256 sequences, more */


typedef enum {
    LLM_FINISH_NONE = 0,
    LLM_FINISH_STOP,            /* end token or stop string */
    LLM_FINISH_LENGTH,          /* max_tokens, context or grant */
    LLM_FINISH_CANCELLED,       /* handler's poll() said so, or shutdown */
    LLM_FINISH_ERROR            /* device or memory; err says */
} llm_finish_e;


typedef struct {
    uint32_t      prompt_tokens;
    uint32_t      cached_tokens;      /* of the prompt, from a prefix cache */
    uint32_t      completion_tokens;
    uint64_t      queued_us;          /* submit to first prefill */
    uint64_t      first_us;           /* submit to first token */
    uint64_t      total_us;           /* submit to done */
} llm_usage_t;


typedef struct {
    /*
     * Before each step that the sequence could take part in: LLM_OK to go on,
     * LLM_AGAIN to leave it out of this step (the client is slow; call
     * llm_sched_wake() when it no longer is),
     * LLM_CANCELLED to end it (done() follows with LLM_FINISH_CANCELLED).
     */
    int (*poll)(void *data);

    /*
     * Text that is final: whole UTF-8 characters, stop strings and special
     * tokens removed.  n_token: tokens generated since the last call (text
     * may be empty while some is held back; then it is not called).
     */
    void (*text)(void *data, const char *text, size_t len, uint32_t n_token);

    /*
     * The grant (llm_seq_conf_t) is used up and the text has not ended: how
     * many tokens it may generate in all.  No more than used, those that it
     * has: it ends with LLM_FINISH_LENGTH.
     */
    uint32_t (*more)(void *data, uint32_t used);

    /* the last call; err is "" unless LLM_FINISH_ERROR */
    void (*done)(void *data, llm_finish_e finish, const llm_usage_t *usage,
        const char *err);
} llm_seq_handler_t;


typedef struct {
    const int32_t            *prompt;       /* copied */
    size_t                    n_prompt;     /* 1 or more */
    uint32_t                  max_tokens;   /* 0: up to the context */
    uint32_t                  grant;        /* tokens to generate before
                                               more() is asked; 0: all */
    int                       ignore_eos;
    const char *const        *stop;         /* copied; UTF-8, not empty.
                                               The first to be complete
                                               ends the text */
    const size_t             *stop_len;
    int                       n_stop;       /* up to LLM_STOP_MAX */
    llm_sampling_t            sampling;     /* copied */
    const llm_seq_handler_t  *handler;      /* static */
    void                     *data;         /* for the handler */
} llm_seq_conf_t;


typedef struct {
    int       max_batch;        /* sequences in a step */
    int       max_tokens;       /* tokens in a step; the context's limit */
    int       chunk;            /* prompt tokens in a step while others
                                   decode: bounds their stall */
    int       context;          /* tokens in a sequence, prompt included */
    int       n_block;          /* blocks of the KV cache */
} llm_sched_conf_t;


typedef struct {
    uint64_t  steps;
    uint64_t  step_us;          /* that they took */
    uint64_t  batched;          /* sequences in them */
    uint64_t  batch[LLM_SCHED_BATCHES];     /* steps, by sequences: [i] up to
                                               1 << i, the last: more */
    uint64_t  prefill_tokens;
    uint64_t  decode_tokens;
    uint64_t  prefix_asked;     /* prompt tokens looked for in the cache */
    uint64_t  prefix_hit;       /* found there */
    uint64_t  preemptions;
    int       running;          /* sequences with blocks */
    int       waiting;
    int       blocks_used;
    int       blocks;
} llm_sched_stats_t;


typedef struct llm_seq_s    llm_seq_t;
typedef struct llm_sched_s  llm_sched_t;


/* LLM_INVALID when the prompt alone fills the context or an id is out of the
 * vocabulary.  tok and m must outlive the sequence */
int llm_seq_create(llm_seq_t **seq, const llm_seq_conf_t *conf,
    const llm_model_t *m, const llm_tokenizer_t *tok, int context, char *err,
    size_t errlen);
void llm_seq_destroy(llm_seq_t *seq);             /* NULL is fine */


/* ctx is borrowed: created with at least conf's limits */
int llm_sched_create(llm_sched_t **s, const llm_sched_conf_t *conf,
    llm_ctx_t *ctx, char *err, size_t errlen);

/* ends what is left with LLM_FINISH_CANCELLED */
void llm_sched_destroy(llm_sched_t *s);           /* NULL is fine */

/* the scheduler's thread: sequences that may run at a time from the next step
 * on, 1 to max_batch; those that run already stay */
void llm_sched_limit(llm_sched_t *s, int n);

/* any thread: tokens that a sequence may generate behind n_prompt, by context
 * and cache; 1 at least */
int llm_sched_room(const llm_sched_t *s, size_t n_prompt);

/* any thread; the scheduler owns seq from here on */
void llm_sched_submit(llm_sched_t *s, llm_seq_t *seq);

/* any thread: make llm_sched_wait() return */
void llm_sched_wake(llm_sched_t *s);

/*
 * LLM_OK: something was done, call again.  LLM_AGAIN: nothing can run now
 * (no sequence, or poll() holds all of them back): call llm_sched_wait().
 */
int llm_sched_step(llm_sched_t *s);

/* sleep until submit() or wake(), or until a slow client's place may be given
 * away; returns at once if one of them came since the last step began */
void llm_sched_wait(llm_sched_t *s);

/* any thread; a snapshot taken at the end of the last step */
void llm_sched_stats(llm_sched_t *s, llm_sched_stats_t *stats);


#endif /* _LLM_SCHED_H_INCLUDED_ */
