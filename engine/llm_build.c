
/*
 * Copyright (C) nginx-llm contributors
 *
 * A hash of what answers: FNV-1a over its small files and over samples of its
 * tensors.
 */


#include <stdio.h>
#include <string.h>

#include "llm_arch.h"
#include "llm_build.h"
#include "llm_config.h"


#define LLM_BUILD_FILE     (256 << 20)      /* bytes of a file, at most */
#define LLM_BUILD_SAMPLE   256              /* bytes */
#define LLM_BUILD_SAMPLES  16               /* of a tensor */

#define LLM_BUILD_BASIS    0xcbf29ce484222325ull


static int llm_build_file(uint64_t *h, const char *dir, const char *name,
    char *err, size_t errlen);
static uint64_t llm_build_tensor(const llm_st_tensor_t *t);
static uint64_t llm_build_hash(uint64_t h, const void *p, size_t len);


int
llm_build(uint64_t *build, const char *dir, const llm_model_t *m,
    const llk_t *be, char *err, size_t errlen)
{
    int                       rc;
    char                     *comma, name[64];
    size_t                    i;
    uint32_t                  code, version;
    uint64_t                  h;
    const llm_safetensors_t  *st;

    static const char *const  file[] = {
        "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja"
    };

    h = LLM_BUILD_BASIS;

    for (i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
        rc = llm_build_file(&h, dir, file[i], err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    /* sorted by name, in whatever file they lie */

    st = llm_model_tensors(m);

    for (i = 0; i < st->n; i++) {
        h ^= llm_build_tensor(&st->tensor[i]);
        h = llm_build_hash(h, "", 1);
    }

    /* the name without the number of threads: it changes no bit */

    llk_describe(be, name, sizeof(name));

    comma = strchr(name, ',');
    if (comma != NULL) {
        *comma = '\0';
    }

    version = LLM_BUILD_VERSION;
    h ^= h << 32;

    code = (uint32_t) (llm_build_hash(llm_build_hash(LLM_BUILD_BASIS, name,
                                                     strlen(name)),
                                      &version, sizeof(version)) >> 32);

    *build = (h & 0xffffffff00000000ull) | (code ? code : 1);

    return LLM_OK;
}


/* a name and what it holds; one that is not there too */

static int
llm_build_file(uint64_t *h, const char *dir, const char *name, char *err,
    size_t errlen)
{
    int        rc;
    char       path[1200];
    llm_buf_t  b = { 0 };

    if (snprintf(path, sizeof(path), "%s/%s", dir, name)
        >= (int) sizeof(path))
    {
        return llm_err(err, errlen, LLM_INVALID, "%.200s...: the path is too "
                       "long", dir);
    }

    rc = llm_file_read(&b, path, LLM_BUILD_FILE, err, errlen);

    if (rc == LLM_OK || rc == LLM_NOTFOUND) {
        *h = llm_build_hash(*h, name, strlen(name) + 1);
        *h = llm_build_hash(*h, rc == LLM_OK ? "+" : "-", 1);
        *h = llm_build_hash(*h, &b.len, sizeof(b.len));
        *h = llm_build_hash(*h, b.data, b.len);
        rc = LLM_OK;
    }

    llm_buf_done(&b);

    return rc;
}


static uint64_t
llm_build_tensor(const llm_st_tensor_t *t)
{
    int             i;
    uint64_t        h, at, step;
    const uint8_t  *p;

    h = LLM_BUILD_BASIS;
    h = llm_build_hash(h, t->name, strlen(t->name) + 1);
    h = llm_build_hash(h, t->dtype, strlen(t->dtype) + 1);
    h = llm_build_hash(h, t->dim, sizeof(int64_t) * (size_t) t->n_dim);
    h = llm_build_hash(h, &t->size, sizeof(t->size));

    p = t->data;

    if (t->size <= LLM_BUILD_SAMPLE * LLM_BUILD_SAMPLES) {
        return llm_build_hash(h, p, (size_t) t->size);
    }

    /* the first bytes, the last ones, and those between, evenly */

    step = (t->size - LLM_BUILD_SAMPLE) / (LLM_BUILD_SAMPLES - 1);

    for (i = 0; i < LLM_BUILD_SAMPLES; i++) {
        at = (i == LLM_BUILD_SAMPLES - 1) ? t->size - LLM_BUILD_SAMPLE
                                          : step * (uint64_t) i;
        h = llm_build_hash(h, p + at, LLM_BUILD_SAMPLE);
    }

    return h;
}


static uint64_t
llm_build_hash(uint64_t h, const void *p, size_t len)
{
    size_t          i;
    const uint8_t  *b = p;

    for (i = 0; i < len; i++) {
        h = (h ^ b[i]) * 0x100000001b3ull;
    }

    return h;
}
