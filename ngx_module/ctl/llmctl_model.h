
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the model commands of llmctl share: their options, a loaded model with
 * a back end, and a sequence of tokens run through it.  One thread, besides
 * the back end's own.
 */


#ifndef _LLMCTL_MODEL_H_INCLUDED_
#define _LLMCTL_MODEL_H_INCLUDED_


#include "../../engine/llm_model.h"
#include "llmctl.h"


/* the options of all model commands; each command takes some of them */
typedef struct {
    const char    *model;
    const char    *prompt;
    const char    *logits;
    llm_ids_t      ids;         /* --ids */
    llk_device_e   device;
    int            threads;     /* 0: one a CPU */
    int            chunk;       /* prompt tokens in a step */
    int            n;           /* -n, 0: not given */
    int            p;           /* -p */
    int            b;           /* -b */
    uint64_t       seed;
    int            has_seed;
    float          temperature; /* negative: not given */
    int            bos;
    int            special;
    int            greedy;
    int            chat;
    int            ignore_eos;
    int            json;
} llmctl_args_t;


typedef struct {
    llm_model_t              *m;
    const llm_model_conf_t   *conf;
    llk_t                    *be;
    llm_ctx_t                *ctx;
    int                       chunk;
    int32_t                  *blocks;   /* one sequence's table */
    int                       n_block;
    int32_t                  *pos;      /* [chunk] */
    int32_t                  *seq;      /* [chunk], zeroes */
    int32_t                  *out;      /* [chunk], 0, 1, 2... */
} llmctl_model_t;


/*
 * Options of a command; take: the long names that it has, each followed by a
 * space.  --help prints help and sets *done.  Returns an exit code.
 */
int llmctl_args(llmctl_args_t *a, int argc, char **argv, const char *take,
    const char *help, int *done);
void llmctl_args_done(llmctl_args_t *a);

/* opens and reads the model in, with a progress bar on a terminal when it
 * takes longer than a second.  err of LLM_ERRLEN bytes */
int llmctl_model_open(llmctl_model_t *mm, const llmctl_args_t *a, char *err);

/* a context for one sequence of at most n_tokens */
int llmctl_model_sequence(llmctl_model_t *mm, int n_tokens, int chunk,
    int max_out, char *err);

/*
 * Run n tokens, chunk at most, from position pos on.  all: logits of each
 * token, otherwise of the last one only; negative: none.
 */
int llmctl_model_step(llmctl_model_t *mm, const int32_t *id, int n, int pos,
    int all, float **logits, char *err);

void llmctl_model_close(llmctl_model_t *mm);      /* {0} is fine */

/* a --device; an exit code, after a message that begins with cmd */
int llmctl_device(const char *cmd, const char *name, llk_device_e *device);

/* a bar for bytes that are read; data: when it began.  Silent in the first
 * second */
void llmctl_progress(void *data, uint64_t done, uint64_t all);

/* seconds, monotonic */
double llmctl_seconds(void);


#endif /* _LLMCTL_MODEL_H_INCLUDED_ */
