
/*
 * Copyright (C) nginx-llm contributors
 *
 * What an architecture provides, and what llm_model.c gives it: private to
 * llm_model.c and models/.  An architecture is one file, models/llm_<name>.c,
 * with one llm_arch_t, entered in the list in llm_model.c.
 *
 * load() claims every tensor by name and shape and keeps the views in a struct
 * of its own; init() allocates activations; forward() is the sequence of
 * operations.  Whatever nobody claimed is refused afterwards as surplus.
 */


#ifndef _LLM_ARCH_H_INCLUDED_
#define _LLM_ARCH_H_INCLUDED_


#include "llm_model.h"
#include "llm_safetensors.h"


#define LLM_ACT_MAX  16


/* sorted by name; the model's.  For llm_build.c */
const llm_safetensors_t *llm_model_tensors(const llm_model_t *m);


/* a model while it is loaded, and where its faults are told */
typedef struct {
    llm_model_t             *m;
    const llm_model_conf_t  *conf;
    char                    *err;
    size_t                   errlen;
} llm_loader_t;


typedef struct {
    const char  *name;          /* as config.json's architectures[0] */

    /* claim the tensors; *weights: from llm_load_alloc() */
    int (*load)(llm_loader_t *l, void **weights);

    /* 1 for a tensor that checkpoints carry and nobody needs */
    int (*harmless)(const char *name);

    /* *act: malloc-ed, freed with free(); buffers from llm_ctx_alloc() */
    int (*init)(llm_ctx_t *ctx, void **act);

    /* the pass up to ctx->out: [b->n_out, n_vocab], b checked.  Nothing is
     * allocated */
    int (*forward)(llm_ctx_t *ctx, const llk_batch_t *b);
} llm_arch_t;


struct llm_ctx_s {
    const llm_model_t       *m;
    const llm_model_conf_t  *conf;
    const void              *weights;   /* the architecture's, the model's */
    void                    *act;       /* the architecture's, ours */
    llk_t                   *be;        /* borrowed */
    llk_kv_t                 kv;
    int                      has_kv;
    int                      max_tokens;
    int                      max_out;
    float                   *out;       /* [max_out, n_vocab], back end's */
    float                   *logits;    /* the same in host memory */
    float                   *buf[LLM_ACT_MAX];
    int                      n_buf;
};


/* zeroed memory that the model owns */
void *llm_load_alloc(llm_loader_t *l, size_t n, size_t size);

/* 1 if the checkpoint has a tensor of that name */
int llm_load_has(llm_loader_t *l, const char *name);

/*
 * The view of a matrix [rows, cols], and a vector [n] converted to f32 (a copy
 * that the model owns).  The name is a format: layer numbers go in.
 */
int llm_load_mat(llm_loader_t *l, llk_mat_t *mat, int64_t rows, int64_t cols,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
int llm_load_vec(llm_loader_t *l, const float **vec, int64_t n,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));


/* activations: rows * cols f32 on the back end, freed with the context */
int llm_ctx_alloc(llm_ctx_t *ctx, float **p, int64_t rows, int64_t cols);


/* inv_freq: [dim / 2], by the configuration's rope */
void llm_rope_freqs(const llm_model_conf_t *conf, int dim, float *inv_freq);


extern const llm_arch_t  llm_arch_llama;


#endif /* _LLM_ARCH_H_INCLUDED_ */
