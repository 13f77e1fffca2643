
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl eval and info, and what llmctl_model.h declares.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "llmctl_model.h"


#define LLMCTL_CHUNK     512
#define LLMCTL_TOKENS    (1 << 24)
#define LLMCTL_BAR       30             /* characters of the progress bar */


static int llmctl_arg(llmctl_args_t *a, const char *cmd, int c,
    const char *name);
static int llmctl_number(const char *cmd, const char *name, long min,
    long max, int *out);
static int llmctl_ids(const char *cmd, llm_ids_t *ids);
static int llmctl_eval_run(llmctl_model_t *mm, const llmctl_args_t *a,
    FILE *f, char *err);
static void llmctl_info_text(const llm_model_t *m, const char *dir);
static int llmctl_info_json(const llm_model_t *m);
static const char *llmctl_rope_name(llm_rope_e rope);


static const struct option  llmctl_long[] = {
    { "model",       required_argument, NULL, 'm' },
    { "prompt",      required_argument, NULL, 'P' },
    { "ids",         required_argument, NULL, 'i' },
    { "logits",      required_argument, NULL, 'l' },
    { "device",      required_argument, NULL, 'd' },
    { "threads",     required_argument, NULL, 't' },
    { "chunk",       required_argument, NULL, 'c' },
    { "tokens",      required_argument, NULL, 'n' },
    { "prefill",     required_argument, NULL, 'p' },
    { "batch",       required_argument, NULL, 'b' },
    { "seed",        required_argument, NULL, 's' },
    { "temperature", required_argument, NULL, 'T' },
    { "bos",         no_argument,       NULL, 'B' },
    { "special",     no_argument,       NULL, 'S' },
    { "greedy",      no_argument,       NULL, 'g' },
    { "chat",        no_argument,       NULL, 'C' },
    { "ignore-eos",  no_argument,       NULL, 'e' },
    { "json",        no_argument,       NULL, 'j' },
    { "help",        no_argument,       NULL, 'h' },
    { NULL, 0, NULL, 0 }
};


static const char  llmctl_eval_help[] =
    "Usage: llmctl eval --model DIR --ids 1,2,3 --logits FILE [options]\n"
    "\n"
    "Runs the tokens through the model and writes the logits that follow\n"
    "each: raw little-endian float32, one row of the vocabulary a position.\n"
    "\n"
    "  --model DIR      a Hugging Face directory\n"
    "  --ids LIST       token ids, separated by commas\n"
    "  --logits FILE    where the logits go\n"
    "  --device NAME    auto, cpu or ref (auto)\n"
    "  --threads N      (one a CPU)\n"
    "  --chunk N        tokens in a step (512)\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";

static const char  llmctl_info_help[] =
    "Usage: llmctl info --model DIR [--json]\n"
    "\n"
    "Checks a model and says what it is: shape, types, sizes.\n"
    "\n"
    "Exit codes: 0 the model can be served, 1 it can't, 2 wrong usage.\n";


int
llmctl_eval(int argc, char **argv)
{
    int             rc, done;
    char            err[LLM_ERRLEN];
    FILE           *f;
    llmctl_args_t   a;
    llmctl_model_t  mm = { 0 };

    rc = llmctl_args(&a, argc, argv, "model ids logits device threads chunk ",
                     llmctl_eval_help, &done);
    if (done) {
        goto done;
    }

    if (a.ids.len == 0 || a.logits == NULL) {
        rc = llmctl_error(LLMCTL_USAGE, "eval: --%s is missing, see llmctl "
                          "eval --help", a.ids.len ? "logits" : "ids");
        goto done;
    }

    if (llmctl_model_open(&mm, &a, err) != LLM_OK
        || llmctl_model_sequence(&mm, (int) a.ids.len, a.chunk, a.chunk, err)
           != LLM_OK)
    {
        rc = llmctl_error(LLMCTL_FAILED, "%s", err);
        goto done;
    }

    f = fopen(a.logits, "wb");
    if (f == NULL) {
        rc = llmctl_error(LLMCTL_FAILED, "%s: %s", a.logits,
                          strerror(errno));
        goto done;
    }

    rc = LLMCTL_OK;

    if (llmctl_eval_run(&mm, &a, f, err) != LLM_OK) {
        rc = llmctl_error(LLMCTL_FAILED, "%s", err);
    }

    if (fclose(f) != 0 && rc == LLMCTL_OK) {
        rc = llmctl_error(LLMCTL_FAILED, "%s: %s", a.logits,
                          strerror(errno));
    }

done:

    llmctl_model_close(&mm);
    llmctl_args_done(&a);

    return rc;
}


static int
llmctl_eval_run(llmctl_model_t *mm, const llmctl_args_t *a, FILE *f,
    char *err)
{
    int     i, n, rc, all;
    float  *logits;
    size_t  rows;

    all = (int) a->ids.len;

    for (i = 0; i < all; i += n) {
        n = all - i < mm->chunk ? all - i : mm->chunk;

        rc = llmctl_model_step(mm, a->ids.id + i, n, i, 1, &logits, err);
        if (rc != LLM_OK) {
            return rc;
        }

        /* x86 and arm64, the machines that we build for, are little-endian */

        rows = (size_t) n * (size_t) mm->conf->n_vocab;

        if (fwrite(logits, sizeof(float), rows, f) != rows) {
            return llm_err(err, LLM_ERRLEN, LLM_ERROR, "%s: %s", a->logits,
                           strerror(errno));
        }
    }

    return LLM_OK;
}


int
llmctl_info(int argc, char **argv)
{
    int             rc, done;
    char            err[LLM_ERRLEN];
    llm_model_t    *m;
    llmctl_args_t   a;

    rc = llmctl_args(&a, argc, argv, "model json ", llmctl_info_help, &done);

    if (done) {
        llmctl_args_done(&a);
        return rc;
    }

    if (llm_model_open(&m, a.model, err, sizeof(err)) != LLM_OK) {
        return llmctl_error(LLMCTL_FAILED, "%s", err);
    }

    if (a.json) {
        rc = llmctl_info_json(m);

    } else {
        llmctl_info_text(m, a.model);
        rc = llmctl_flush();
    }

    llm_model_close(m);

    return rc;
}


static void
llmctl_info_text(const llm_model_t *m, const char *dir)
{
    int                      i;
    const llm_model_conf_t  *c;

    c = llm_model_conf(m);

    printf("model         %s\n"
           "architecture  %s\n"
           "parameters    %.1f million, %s, %.1f MiB\n"
           "layers        %d of %d, feed-forward %d\n"
           "heads         %d of %d, %d for keys and values\n"
           "vocabulary    %d%s\n"
           "context       %d tokens, %.1f KiB of KV cache each\n"
           "rope          %s, theta %g",
           dir, c->arch, (double) llm_model_params(m) / 1e6,
           llk_type_name(llm_model_type(m)),
           (double) llm_model_bytes(m) / 1048576, c->n_layer, c->n_embd,
           c->n_ff, c->n_head, c->head_dim, c->n_kv_head, c->n_vocab,
           c->tied ? ", tied embeddings" : "", c->context,
           (double) llm_model_block_bytes(m) / LLK_KV_BLOCK / 1024,
           llmctl_rope_name(c->rope), (double) c->rope_theta);

    if (c->rope != LLM_ROPE_NONE) {
        printf(", factor %g", (double) c->rope_factor);
    }

    printf("\nend tokens   ");

    for (i = 0; i < c->n_eos; i++) {
        printf(" %d", c->eos[i]);
    }

    printf("%s\n", c->n_eos ? "" : " none");
}


static int
llmctl_info_json(const llm_model_t *m)
{
    int                      i;
    json_t                  *root, *eos;
    const llm_model_conf_t  *c;

    c = llm_model_conf(m);
    eos = json_array();

    for (i = 0; i < c->n_eos; i++) {
        json_array_append_new(eos, json_integer(c->eos[i]));
    }

    root = json_pack("{s:s, s:I, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i,"
                     " s:i, s:b, s:{s:s, s:f, s:f}, s:i, s:o, s:i}",
                     "architecture", c->arch,
                     "parameters", (json_int_t) llm_model_params(m),
                     "type", llk_type_name(llm_model_type(m)),
                     "bytes", (json_int_t) llm_model_bytes(m),
                     "layers", c->n_layer, "hidden", c->n_embd,
                     "feed_forward", c->n_ff, "heads", c->n_head,
                     "kv_heads", c->n_kv_head, "head_dim", c->head_dim,
                     "vocabulary", c->n_vocab, "context", c->context,
                     "tied", c->tied,
                     "rope", "type", llmctl_rope_name(c->rope),
                     "theta", (double) c->rope_theta,
                     "factor", (double) c->rope_factor,
                     "bos", c->bos, "eos", eos,
                     "kv_bytes_per_token",
                     (int) (llm_model_block_bytes(m) / LLK_KV_BLOCK));

    if (root == NULL) {
        return llmctl_error(LLMCTL_FAILED, "out of memory");
    }

    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);

    return llmctl_flush();
}


static const char *
llmctl_rope_name(llm_rope_e rope)
{
    switch (rope) {
    case LLM_ROPE_LINEAR:
        return "linear";
    case LLM_ROPE_LLAMA3:
        return "llama3";
    default:
        return "default";
    }
}


int
llmctl_args(llmctl_args_t *a, int argc, char **argv, const char *take,
    const char *help, int *done)
{
    int            c, i, n, rc;
    char           word[32], letters[64];
    struct option  opts[sizeof(llmctl_long) / sizeof(llmctl_long[0])];

    memset(a, 0, sizeof(llmctl_args_t));

    a->chunk = LLMCTL_CHUNK;
    a->temperature = -1;
    *done = 1;

    n = 0;
    letters[0] = '\0';

    for (i = 0; llmctl_long[i].name != NULL; i++) {
        snprintf(word, sizeof(word), "%s ", llmctl_long[i].name);

        if (llmctl_long[i].val != 'h' && strstr(take, word) == NULL) {
            continue;
        }

        opts[n++] = llmctl_long[i];
    }

    memset(&opts[n], 0, sizeof(struct option));

    /* the short ones */

    strcpy(letters, ":h");

    for (i = 0; i < n; i++) {
        if (strchr("npb", opts[i].val) != NULL) {
            snprintf(word, sizeof(word), "%c:", opts[i].val);
            strcat(letters, word);
        }
    }

    optind = 0;         /* glibc: start anew */
    opterr = 0;

    while ((c = getopt_long(argc, argv, letters, opts, &i)) != -1) {

        if (c == 'h') {
            fputs(help, stdout);
            return llmctl_flush();
        }

        if (c == '?' || c == ':') {
            return llmctl_error(LLMCTL_USAGE, "%s: \"%s\" %s, see llmctl %s "
                                "--help", argv[0], argv[optind - 1],
                                c == ':' ? "needs a value" : "is no option",
                                argv[0]);
        }

        for (i = 0; i < n && opts[i].val != c; i++) { /* void */ }

        rc = llmctl_arg(a, argv[0], c, opts[i].name);
        if (rc != LLMCTL_OK) {
            return rc;
        }
    }

    if (optind < argc) {
        return llmctl_error(LLMCTL_USAGE, "%s: \"%s\" is no option, see "
                            "llmctl %s --help", argv[0], argv[optind],
                            argv[0]);
    }

    if (a->model == NULL) {
        return llmctl_error(LLMCTL_USAGE, "%s: --model is missing, see llmctl "
                            "%s --help", argv[0], argv[0]);
    }

    *done = 0;

    return LLMCTL_OK;
}


void
llmctl_args_done(llmctl_args_t *a)
{
    llm_ids_done(&a->ids);
}


static int
llmctl_arg(llmctl_args_t *a, const char *cmd, int c, const char *name)
{
    char  *end;

    switch (c) {

    case 'm':
        a->model = optarg;
        return LLMCTL_OK;

    case 'P':
        a->prompt = optarg;
        return LLMCTL_OK;

    case 'l':
        a->logits = optarg;
        return LLMCTL_OK;

    case 'i':
        return llmctl_ids(cmd, &a->ids);

    case 'd':
        return llmctl_device(cmd, optarg, &a->device);

    case 't':
        return llmctl_number(cmd, name, 1, 1024, &a->threads);

    case 'c':
        return llmctl_number(cmd, name, 1, 65536, &a->chunk);

    case 'n':
        return llmctl_number(cmd, name, 1, LLMCTL_TOKENS, &a->n);

    case 'p':
        return llmctl_number(cmd, name, 1, LLMCTL_TOKENS, &a->p);

    case 'b':
        return llmctl_number(cmd, name, 1, 1024, &a->b);

    case 's':
        errno = 0;
        a->seed = strtoull(optarg, &end, 10);
        a->has_seed = 1;

        if (errno || end == optarg || *end != '\0' || *optarg == '-'
            || a->seed > INT64_MAX)
        {
            return llmctl_error(LLMCTL_USAGE, "%s: --seed \"%s\": must be a "
                                "number", cmd, optarg);
        }

        return LLMCTL_OK;

    case 'T':
        a->temperature = strtof(optarg, &end);

        if (end == optarg || *end != '\0'
            || !(a->temperature >= 0 && a->temperature <= 2))
        {
            return llmctl_error(LLMCTL_USAGE, "%s: --temperature \"%s\": "
                                "must be from 0 to 2", cmd, optarg);
        }

        return LLMCTL_OK;

    case 'B':
        a->bos = 1;
        return LLMCTL_OK;

    case 'S':
        a->special = 1;
        return LLMCTL_OK;

    case 'g':
        a->greedy = 1;
        return LLMCTL_OK;

    case 'C':
        a->chat = 1;
        return LLMCTL_OK;

    case 'e':
        a->ignore_eos = 1;
        return LLMCTL_OK;

    default: /* 'j' */
        a->json = 1;
        return LLMCTL_OK;
    }
}


int
llmctl_device(const char *cmd, const char *name, llk_device_e *device)
{
    if (strcmp(name, "auto") == 0) {
        *device = LLK_DEVICE_AUTO;

    } else if (strcmp(name, "ref") == 0) {
        *device = LLK_DEVICE_REF;

    } else if (strcmp(name, "cpu") == 0) {
        *device = LLK_DEVICE_CPU;

    } else {
        return llmctl_error(LLMCTL_USAGE, "%s: --device \"%s\": must be "
                            "auto, cpu or ref", cmd, name);
    }

    return LLMCTL_OK;
}


static int
llmctl_number(const char *cmd, const char *name, long min, long max, int *out)
{
    long   n;
    char  *end;

    errno = 0;
    n = strtol(optarg, &end, 10);

    if (errno || end == optarg || *end != '\0' || n < min || n > max) {
        return llmctl_error(LLMCTL_USAGE, "%s: --%s \"%s\": must be a number "
                            "from %ld to %ld", cmd, name, optarg, min, max);
    }

    *out = (int) n;

    return LLMCTL_OK;
}


/* --ids 1,2,3 */

static int
llmctl_ids(const char *cmd, llm_ids_t *ids)
{
    long         n;
    char        *end;
    const char  *p;

    for (p = optarg; ; p = end + 1) {
        errno = 0;
        n = strtol(p, &end, 10);

        if (errno || end == p || n < 0 || n > INT32_MAX
            || (*end != ',' && *end != '\0'))
        {
            return llmctl_error(LLMCTL_USAGE, "%s: --ids: must be numbers "
                                "separated by commas", cmd);
        }

        if (ids->len == LLMCTL_TOKENS
            || llm_ids_push(ids, (int32_t) n) != LLM_OK)
        {
            return llmctl_error(LLMCTL_FAILED, "out of memory");
        }

        if (*end == '\0') {
            return LLMCTL_OK;
        }
    }
}


double
llmctl_seconds(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}


int
llmctl_model_open(llmctl_model_t *mm, const llmctl_args_t *a, char *err)
{
    int     rc;
    double  start;

    start = llmctl_seconds();

    rc = llm_model_open(&mm->m, a->model, err, LLM_ERRLEN);
    if (rc != LLM_OK) {
        return rc;
    }

    mm->conf = llm_model_conf(mm->m);

    llm_model_warm(mm->m, isatty(STDERR_FILENO) ? llmctl_progress : NULL,
                   &start);

    if (llk_open(&mm->be, a->device, a->threads, err, LLM_ERRLEN) != LLK_OK) {
        return LLM_ERROR;
    }

    return LLM_OK;
}


void
llmctl_progress(void *data, uint64_t done, uint64_t all)
{
    int      i, n;
    double   t, *start = data;

    t = llmctl_seconds() - *start;

    if (t < 1) {
        return;
    }

    n = (int) (done * LLMCTL_BAR / all);

    fprintf(stderr, "\rloading [");

    for (i = 0; i < LLMCTL_BAR; i++) {
        fputc(i < n ? '#' : ' ', stderr);
    }

    fprintf(stderr, "] %3d%%  %.2f GB/s", (int) (done * 100 / all),
            (double) done / t / 1e9);

    if (done == all) {
        fprintf(stderr, "\r\033[K");
    }

    fflush(stderr);
}


int
llmctl_model_sequence(llmctl_model_t *mm, int n_tokens, int chunk,
    int max_out, char *err)
{
    int  i;

    if (n_tokens > mm->conf->context) {
        return llm_err(err, LLM_ERRLEN, LLM_INVALID,
                       "%d tokens are more than the model's context of %d",
                       n_tokens, mm->conf->context);
    }

    chunk = chunk < n_tokens ? chunk : n_tokens;
    max_out = max_out < chunk ? max_out : chunk;

    mm->chunk = chunk;
    mm->n_block = (n_tokens + LLK_KV_BLOCK - 1) / LLK_KV_BLOCK;

    mm->blocks = malloc((size_t) mm->n_block * sizeof(int32_t));
    mm->pos = malloc((size_t) chunk * sizeof(int32_t));
    mm->out = malloc((size_t) chunk * sizeof(int32_t));
    mm->seq = calloc((size_t) chunk, sizeof(int32_t));

    if (mm->blocks == NULL || mm->pos == NULL || mm->out == NULL
        || mm->seq == NULL)
    {
        return llm_err(err, LLM_ERRLEN, LLM_NOMEM, "out of memory");
    }

    for (i = 0; i < mm->n_block; i++) {
        mm->blocks[i] = i;
    }

    return llm_ctx_create(&mm->ctx, mm->m, mm->be, chunk, max_out,
                          mm->n_block, err, LLM_ERRLEN);
}


int
llmctl_model_step(llmctl_model_t *mm, const int32_t *id, int n, int pos,
    int all, float **logits, char *err)
{
    int          i;
    llk_batch_t  b;

    for (i = 0; i < n; i++) {
        mm->pos[i] = pos + i;
        mm->out[i] = i;
    }

    b.n = n;
    b.n_seq = 1;
    b.stride = mm->n_block;
    b.id = id;
    b.pos = mm->pos;
    b.seq = mm->seq;
    b.out = mm->out;
    b.blocks = mm->blocks;

    b.n_out = n;

    if (all <= 0) {
        b.n_out = all < 0 ? 0 : 1;
        mm->out[0] = n - 1;
    }

    return llm_forward(mm->ctx, &b, logits, err, LLM_ERRLEN);
}


void
llmctl_model_close(llmctl_model_t *mm)
{
    llm_ctx_destroy(mm->ctx);
    llk_close(mm->be);
    llm_model_close(mm->m);

    free(mm->blocks);
    free(mm->pos);
    free(mm->seq);
    free(mm->out);
}
