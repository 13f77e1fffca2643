
/*
 * Copyright (C) nginx-llm contributors
 *
 * Opening a model, its tensors and its execution context: what llm_model.h
 * and llm_arch.h declare.
 *
 * The model owns the maps, the architecture's struct of views and the f32
 * copies of small vectors; a context owns its activations and its KV cache.
 */


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "llm_arch.h"
#include "llm_config.h"


#define LLM_WARM_STEP  (16 << 20)      /* bytes between progress calls */


/* memory that lives as long as the model */
typedef struct llm_chunk_s  llm_chunk_t;

struct llm_chunk_s {
    llm_chunk_t   *next;
    max_align_t    data[];
};


struct llm_model_s {
    llm_model_conf_t    conf;
    const llm_arch_t   *arch;
    llm_safetensors_t  *st;
    void               *weights;
    llm_chunk_t        *chunks;
    uint64_t            params;
    uint64_t            bytes;
    llk_type_e          type;
};


static int llm_model_arch(llm_model_t *m, const char *dir, char *err,
    size_t errlen);
static int llm_model_load(llm_model_t *m, char *err, size_t errlen);
static int llm_load_find(llm_loader_t *l, llm_st_tensor_t **out, int n_dim,
    int64_t rows, int64_t cols, const char *fmt, va_list args);
static void llm_shape_text(char *buf, size_t len, int n_dim,
    const int64_t *dim);
static void llm_vec_convert(float *dst, const void *src, int type, int64_t n);
static float llm_half_float(uint16_t h);
static int llm_ctx_buffers(llm_ctx_t *ctx, char *err, size_t errlen);
static int llm_batch_check(const llm_ctx_t *ctx, const llk_batch_t *b,
    char *err, size_t errlen);
static int llm_batch_runs(const llk_batch_t *b, char *err, size_t errlen);


static const llm_arch_t  *llm_archs[] = {
    &llm_arch_llama,
    NULL
};


int
llm_model_open(llm_model_t **out, const char *dir, char *err, size_t errlen)
{
    int           rc;
    llm_model_t  *m;

    *out = NULL;

    m = calloc(1, sizeof(llm_model_t));
    if (m == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s: out of memory", dir);
    }

    rc = llm_config_read(&m->conf, dir, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_model_arch(m, dir, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_safetensors_open(&m->st, dir, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_model_load(m, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_model_close(m);
        return rc;
    }

    *out = m;

    return LLM_OK;
}


void
llm_model_close(llm_model_t *m)
{
    llm_chunk_t  *c, *next;

    if (m == NULL) {
        return;
    }

    for (c = m->chunks; c != NULL; c = next) {
        next = c->next;
        free(c);
    }

    llm_safetensors_close(m->st);
    free(m);
}


static int
llm_model_arch(llm_model_t *m, const char *dir, char *err, size_t errlen)
{
    int     i;
    char    names[256];
    size_t  len;

    names[0] = '\0';
    len = 0;

    for (i = 0; llm_archs[i] != NULL; i++) {
        if (strcmp(llm_archs[i]->name, m->conf.arch) == 0) {
            m->arch = llm_archs[i];
            return LLM_OK;
        }

        if (len < sizeof(names)) {
            len += (size_t) snprintf(names + len, sizeof(names) - len, "%s%s",
                                     i ? ", " : "", llm_archs[i]->name);
        }
    }

    return llm_err(err, errlen, LLM_INVALID,
                   "%s/config.json: architectures: \"%s\" is not supported; "
                   "there are: %s", dir, m->conf.arch, names);
}


static int
llm_model_load(llm_model_t *m, char *err, size_t errlen)
{
    int               rc;
    size_t            i;
    uint64_t          bytes[LLK_TYPE_N] = { 0 };
    llm_loader_t      l;
    llm_st_tensor_t  *t;

    l.m = m;
    l.conf = &m->conf;
    l.err = err;
    l.errlen = errlen;

    rc = m->arch->load(&l, &m->weights);
    if (rc != LLM_OK) {
        return rc;
    }

    for (i = 0; i < m->st->n; i++) {
        t = &m->st->tensor[i];

        if (t->used) {
            bytes[t->type] += t->size;
            m->bytes += t->size;
            m->params += t->size / llk_type_size((llk_type_e) t->type);
            continue;
        }

        if (!m->arch->harmless(t->name)) {
            return llm_err(err, errlen, LLM_INVALID,
                           "%s: tensor \"%s\": %s has none of that name",
                           m->st->file[t->file].path, t->name,
                           m->arch->name);
        }
    }

    m->type = LLK_F32;

    for (i = 0; i < LLK_TYPE_N; i++) {
        if (bytes[i] > bytes[m->type]) {
            m->type = (llk_type_e) i;
        }
    }

    return LLM_OK;
}


const llm_model_conf_t *
llm_model_conf(const llm_model_t *m)
{
    return &m->conf;
}


uint64_t
llm_model_params(const llm_model_t *m)
{
    return m->params;
}


uint64_t
llm_model_bytes(const llm_model_t *m)
{
    return m->bytes;
}


llk_type_e
llm_model_type(const llm_model_t *m)
{
    return m->type;
}


const llm_safetensors_t *
llm_model_tensors(const llm_model_t *m)
{
    return m->st;
}


void
llm_model_warm(const llm_model_t *m,
    void (*progress)(void *data, uint64_t done, uint64_t all), void *data)
{
    size_t                i, at, end, page;
    uint64_t              all, sum;
    llm_st_file_t        *f;
    volatile const char  *p;

    page = (size_t) sysconf(_SC_PAGESIZE);
    all = 0;
    sum = 0;

    for (i = 0; i < m->st->n_file; i++) {
        all += m->st->file[i].size;
    }

    for (i = 0; i < m->st->n_file; i++) {
        f = &m->st->file[i];

        madvise((void *) f->map, f->size, MADV_WILLNEED);

        for (at = 0; at < f->size; at = end) {
            end = f->size - at > LLM_WARM_STEP ? at + LLM_WARM_STEP : f->size;

            for (p = f->map; at < end; at += page) {
                (void) p[at];
            }

            if (progress != NULL) {
                progress(data, sum + end, all);
            }
        }

        sum += f->size;
    }
}


void *
llm_load_alloc(llm_loader_t *l, size_t n, size_t size)
{
    llm_chunk_t  *c;

    if (size != 0 && n > (SIZE_MAX - sizeof(llm_chunk_t)) / size) {
        return NULL;
    }

    c = calloc(1, sizeof(llm_chunk_t) + n * size);
    if (c == NULL) {
        return NULL;
    }

    c->next = l->m->chunks;
    l->m->chunks = c;

    return c->data;
}


int
llm_load_has(llm_loader_t *l, const char *name)
{
    return llm_safetensors_find(l->m->st, name) != NULL;
}


int
llm_load_mat(llm_loader_t *l, llk_mat_t *mat, int64_t rows, int64_t cols,
    const char *fmt, ...)
{
    int               rc;
    va_list           args;
    llm_st_tensor_t  *t;

    va_start(args, fmt);
    rc = llm_load_find(l, &t, 2, rows, cols, fmt, args);
    va_end(args);

    if (rc == LLM_OK) {
        mat->data = t->data;
        mat->type = (llk_type_e) t->type;
        mat->rows = rows;
        mat->cols = cols;
    }

    return rc;
}


int
llm_load_vec(llm_loader_t *l, const float **vec, int64_t n, const char *fmt,
    ...)
{
    int               rc;
    float            *v;
    va_list           args;
    llm_st_tensor_t  *t;

    va_start(args, fmt);
    rc = llm_load_find(l, &t, 1, n, 0, fmt, args);
    va_end(args);

    if (rc != LLM_OK) {
        return rc;
    }

    v = llm_load_alloc(l, (size_t) n, sizeof(float));
    if (v == NULL) {
        return llm_err(l->err, l->errlen, LLM_NOMEM, "%s: out of memory",
                       l->m->st->source);
    }

    llm_vec_convert(v, t->data, t->type, n);
    *vec = v;

    return LLM_OK;
}


static int
llm_load_find(llm_loader_t *l, llm_st_tensor_t **out, int n_dim, int64_t rows,
    int64_t cols, const char *fmt, va_list args)
{
    char              name[LLM_ST_NAME_MAX], has[128], want[64];
    int64_t           dim[2];
    const char       *path;
    llm_st_tensor_t  *t;

    vsnprintf(name, sizeof(name), fmt, args);

    t = llm_safetensors_find(l->m->st, name);
    if (t == NULL) {
        return llm_err(l->err, l->errlen, LLM_INVALID,
                       "%s: tensor \"%s\" is missing", l->m->st->source,
                       name);
    }

    path = l->m->st->file[t->file].path;

    dim[0] = rows;
    dim[1] = cols;

    if (t->n_dim != n_dim || t->dim[0] != rows
        || (n_dim == 2 && t->dim[1] != cols))
    {
        llm_shape_text(has, sizeof(has), t->n_dim, t->dim);
        llm_shape_text(want, sizeof(want), n_dim, dim);

        return llm_err(l->err, l->errlen, LLM_INVALID,
                       "%s: tensor \"%s\": shape %s but config.json says %s",
                       path, name, has, want);
    }

    if (t->type < 0) {
        return llm_err(l->err, l->errlen, LLM_INVALID,
                       "%s: tensor \"%s\": dtype %s is not supported, only "
                       "F32, F16 and BF16 are", path, name, t->dtype);
    }

    t->used = 1;
    *out = t;

    return LLM_OK;
}


static void
llm_shape_text(char *buf, size_t len, int n_dim, const int64_t *dim)
{
    int     i;
    size_t  n;

    n = (size_t) snprintf(buf, len, "[");

    for (i = 0; i < n_dim && n < len; i++) {
        n += (size_t) snprintf(buf + n, len - n, "%s%lld", i ? ", " : "",
                               (long long) dim[i]);
    }

    if (n < len) {
        snprintf(buf + n, len - n, "]");
    }
}


static void
llm_vec_convert(float *dst, const void *src, int type, int64_t n)
{
    int64_t          i;
    uint32_t         u;
    const uint16_t  *h;

    if (type == LLK_F32) {
        memcpy(dst, src, (size_t) n * sizeof(float));
        return;
    }

    h = src;

    for (i = 0; i < n; i++) {
        if (type == LLK_F16) {
            dst[i] = llm_half_float(h[i]);

        } else {
            u = (uint32_t) h[i] << 16;
            memcpy(&dst[i], &u, sizeof(float));
        }
    }
}


static float
llm_half_float(uint16_t h)
{
    float     f;
    uint32_t  sign, exp, man, u;

    sign = (uint32_t) (h & 0x8000) << 16;
    exp = h >> 10 & 0x1f;
    man = h & 0x3ff;

    if (exp == 0) {
        f = (float) man * 0x1p-24f;         /* zero and subnormal */
        return sign ? -f : f;
    }

    exp = (exp == 31) ? 255 : exp + 112;
    u = sign | exp << 23 | man << 13;
    memcpy(&f, &u, sizeof(float));

    return f;
}


size_t
llm_model_block_bytes(const llm_model_t *m)
{
    const llm_model_conf_t  *c = &m->conf;

    return (size_t) 2 * LLK_KV_BLOCK * (size_t) c->n_layer
           * (size_t) c->n_kv_head * (size_t) c->head_dim
           * (m->type == LLK_F32 ? 4 : 2);
}


int
llm_ctx_create(llm_ctx_t **out, const llm_model_t *m, llk_t *be,
    int max_tokens, int max_out, int n_block, char *err, size_t errlen)
{
    int         rc;
    llm_ctx_t  *ctx;

    *out = NULL;

    if (max_tokens < 1 || max_out < 0 || n_block < 1) {
        return llm_err(err, errlen, LLM_INVALID,
                       "context: %d tokens, %d rows, %d blocks: out of range",
                       max_tokens, max_out, n_block);
    }

    ctx = calloc(1, sizeof(llm_ctx_t));
    if (ctx == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "context: out of memory");
    }

    ctx->m = m;
    ctx->conf = &m->conf;
    ctx->weights = m->weights;
    ctx->be = be;
    ctx->max_tokens = max_tokens;
    ctx->max_out = max_out;

    ctx->kv.type = (m->type == LLK_F32) ? LLK_F32 : LLK_F16;
    ctx->kv.n_layer = m->conf.n_layer;
    ctx->kv.n_kv_head = m->conf.n_kv_head;
    ctx->kv.head_dim = m->conf.head_dim;
    ctx->kv.n_block = n_block;

    rc = llm_ctx_buffers(ctx, err, errlen);

    if (rc != LLM_OK) {
        llm_ctx_destroy(ctx);
        return rc;
    }

    *out = ctx;

    return LLM_OK;
}


static int
llm_ctx_buffers(llm_ctx_t *ctx, char *err, size_t errlen)
{
    uint64_t  bytes;

    bytes = llm_model_block_bytes(ctx->m);

    if ((uint64_t) ctx->kv.n_block > SIZE_MAX / 2 / bytes) {
        return llm_err(err, errlen, LLM_NOMEM,
                       "KV cache of %d blocks of %llu bytes: too large",
                       ctx->kv.n_block, (unsigned long long) bytes);
    }

    if (ctx->be->ops->kv_create(ctx->be, &ctx->kv) != LLK_OK) {
        return llm_err(err, errlen, LLM_NOMEM,
                       "KV cache of %d blocks of %llu bytes: out of memory",
                       ctx->kv.n_block, (unsigned long long) bytes);
    }

    ctx->has_kv = 1;

    if (llm_ctx_alloc(ctx, &ctx->out, ctx->max_out, ctx->conf->n_vocab)
        != LLM_OK
        || ctx->m->arch->init(ctx, &ctx->act) != LLM_OK)
    {
        goto nomem;
    }

    /* the product was checked by llm_ctx_alloc() */

    ctx->logits = malloc((size_t) ctx->max_out * (size_t) ctx->conf->n_vocab
                         * sizeof(float) + 1);
    if (ctx->logits == NULL) {
        goto nomem;
    }

    return LLM_OK;

nomem:

    return llm_err(err, errlen, LLM_NOMEM,
                   "activations of %d tokens and %d rows of logits: out of "
                   "memory", ctx->max_tokens, ctx->max_out);
}


int
llm_ctx_alloc(llm_ctx_t *ctx, float **p, int64_t rows, int64_t cols)
{
    *p = NULL;

    if (ctx->n_buf == LLM_ACT_MAX
        || (rows != 0 && cols > (int64_t) (SIZE_MAX / 2 / sizeof(float))
                                / rows))
    {
        return LLM_NOMEM;
    }

    if (rows * cols == 0) {
        return LLM_OK;
    }

    *p = ctx->be->ops->alloc(ctx->be, (size_t) (rows * cols) * sizeof(float));
    if (*p == NULL) {
        return LLM_NOMEM;
    }

    ctx->buf[ctx->n_buf++] = *p;

    return LLM_OK;
}


void
llm_ctx_destroy(llm_ctx_t *ctx)
{
    int  i;

    if (ctx == NULL) {
        return;
    }

    for (i = 0; i < ctx->n_buf; i++) {
        ctx->be->ops->free(ctx->be, ctx->buf[i]);
    }

    if (ctx->has_kv) {
        ctx->be->ops->kv_destroy(ctx->be, &ctx->kv);
    }

    free(ctx->act);
    free(ctx->logits);
    free(ctx);
}


int
llm_forward(llm_ctx_t *ctx, const llk_batch_t *b, float **logits, char *err,
    size_t errlen)
{
    int     rc;
    size_t  size;

    *logits = ctx->logits;

    rc = llm_batch_check(ctx, b, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (ctx->m->arch->forward(ctx, b) != LLM_OK) {
        return llm_err(err, errlen, LLM_ERROR, "%s: forward pass failed",
                       ctx->be->ops->name);
    }

    size = (size_t) b->n_out * (size_t) ctx->conf->n_vocab * sizeof(float);

    if (size != 0
        && ctx->be->ops->download(ctx->be, ctx->logits, ctx->out, size)
           != LLK_OK)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: reading logits failed",
                       ctx->be->ops->name);
    }

    return LLM_OK;
}


static int
llm_batch_check(const llm_ctx_t *ctx, const llk_batch_t *b, char *err,
    size_t errlen)
{
    int             i, j, n;
    const int32_t  *row;

    if (b->n < 1 || b->n > ctx->max_tokens || b->n_out < 0
        || b->n_out > ctx->max_out || b->n_out > b->n || b->n_seq < 1
        || b->stride < 1)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "batch: %d tokens, %d rows, %d sequences, stride %d: "
                       "out of range", b->n, b->n_out, b->n_seq, b->stride);
    }

    for (i = 0; i < b->n; i++) {
        if (b->id[i] < 0 || b->id[i] >= ctx->conf->n_vocab) {
            return llm_err(err, errlen, LLM_INVALID,
                           "batch: token %d: id %d is not below %d", i,
                           b->id[i], ctx->conf->n_vocab);
        }

        if (b->pos[i] < 0 || b->pos[i] >= ctx->conf->context
            || b->pos[i] / LLK_KV_BLOCK >= b->stride)
        {
            return llm_err(err, errlen, LLM_INVALID,
                           "batch: token %d: position %d is outside of the "
                           "context or the block table", i, b->pos[i]);
        }

        if (b->seq[i] < 0 || b->seq[i] >= b->n_seq) {
            return llm_err(err, errlen, LLM_INVALID,
                           "batch: token %d: sequence %d is not below %d", i,
                           b->seq[i], b->n_seq);
        }

        /* the last token of a run reads all the blocks before it */

        if (i + 1 < b->n && b->seq[i + 1] == b->seq[i]) {
            continue;
        }

        row = b->blocks + (size_t) b->seq[i] * (size_t) b->stride;
        n = b->pos[i] / LLK_KV_BLOCK;

        for (j = 0; j <= n; j++) {
            if (row[j] < 0 || row[j] >= ctx->kv.n_block) {
                return llm_err(err, errlen, LLM_INVALID,
                               "batch: sequence %d: block %d is not below %d",
                               b->seq[i], row[j], ctx->kv.n_block);
            }
        }
    }

    for (i = 0; i < b->n_out; i++) {
        if (b->out[i] < 0 || b->out[i] >= b->n
            || (i > 0 && b->out[i] <= b->out[i - 1]))
        {
            return llm_err(err, errlen, LLM_INVALID,
                           "batch: row %d: index %d is out of range or order",
                           i, b->out[i]);
        }
    }

    return llm_batch_runs(b, err, errlen);
}


/* each sequence is one run of ascending positions */

static int
llm_batch_runs(const llk_batch_t *b, char *err, size_t errlen)
{
    int  i, j;

    for (i = 1; i < b->n; i++) {

        if (b->seq[i] == b->seq[i - 1]) {
            if (b->pos[i] <= b->pos[i - 1]) {
                return llm_err(err, errlen, LLM_INVALID,
                               "batch: token %d: position %d does not ascend",
                               i, b->pos[i]);
            }

            continue;
        }

        if (b->seq[i] > b->seq[i - 1]) {
            continue;           /* the usual order needs no search below */
        }

        for (j = 0; j < i; j++) {
            if (b->seq[j] == b->seq[i]) {
                return llm_err(err, errlen, LLM_INVALID,
                               "batch: token %d: sequence %d does not stand "
                               "together", i, b->seq[i]);
            }
        }
    }

    return LLM_OK;
}
