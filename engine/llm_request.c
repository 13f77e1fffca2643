
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request's body: JSON, the fields of both APIs, the prompts of
 * completions.  Runs on an intake thread; holds no state.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "llm_request_int.h"


static int llm_req_model(llm_reqctx_t *c);
static int llm_req_common(llm_reqctx_t *c);
static int llm_req_sampling(llm_reqctx_t *c);
static int llm_req_seed(llm_reqctx_t *c);
static int llm_req_max_tokens(llm_reqctx_t *c);
static int llm_req_limit(llm_reqctx_t *c, llm_param_e p, const char *field,
    int64_t n);
static int llm_req_choices(llm_reqctx_t *c);
static int llm_req_stop(llm_reqctx_t *c);
static int llm_req_stop_one(llm_reqctx_t *c, json_t *v, const char *param);
static int llm_req_bias(llm_reqctx_t *c);
static int llm_req_bias_id(const char *key, int64_t *id);
static int llm_req_unsupported(llm_reqctx_t *c);
static int llm_req_prompts(llm_reqctx_t *c);
static int llm_req_prompt_array(llm_reqctx_t *c, json_t *v);
static int llm_req_prompt_text(llm_reqctx_t *c, json_t *v, const char *param);
static int llm_req_prompt_ids(llm_reqctx_t *c, json_t *v, const char *param);
static int llm_req_echo(llm_reqctx_t *c, int i, const char *text,
    size_t len);
static int llm_req_echo_ids(llm_reqctx_t *c, int i);


int
llm_request_parse(llm_request_t **req, llm_api_e api, const char *body,
    size_t len, const llm_request_env_t *env, llm_reqerr_t *e)
{
    int           rc;
    llm_reqctx_t  c;

    *req = NULL;

    memset(e, 0, sizeof(llm_reqerr_t));
    memset(&c, 0, sizeof(llm_reqctx_t));

    c.env = env;
    c.e = e;

    c.rq = calloc(1, sizeof(llm_request_t));
    if (c.rq == NULL) {
        return llm_req_nomem(&c);
    }

    c.rq->api = api;

    rc = llm_req_json(&c, body, len);

    if (rc == LLM_OK) {
        rc = llm_req_model(&c);
    }

    if (rc == LLM_OK) {
        rc = llm_req_common(&c);
    }

    if (rc == LLM_OK) {
        rc = api == LLM_API_CHAT ? llm_chat_prompt(&c) : llm_req_prompts(&c);
    }

    json_decref(c.root);

    if (rc != LLM_OK) {
        llm_request_destroy(c.rq);
        return rc;
    }

    /* of an attempt that another one made good */
    memset(e, 0, sizeof(llm_reqerr_t));

    *req = c.rq;

    return LLM_OK;
}


void
llm_request_destroy(llm_request_t *req)
{
    int  i;

    if (req == NULL) {
        return;
    }

    for (i = 0; i < LLM_CHOICES_MAX; i++) {
        llm_ids_done(&req->prompt[i]);
        free(req->echo_text[i]);
    }

    for (i = 0; i < LLM_STOP_MAX; i++) {
        free(req->stop[i]);
    }

    free(req->sampling.bias);
    free(req);
}


static int
llm_req_model(llm_reqctx_t *c)
{
    char         quote[LLM_REQ_QUOTE];
    size_t       len;
    json_t      *v;
    const char  *name;

    v = llm_req_get(c->root, "model");

    if (v == NULL) {
        return llm_req_fail(c, 400, "missing_field", "model",
                            "model is missing; there is \"%s\"",
                            c->env->name);
    }

    if (!json_is_string(v)) {
        return llm_req_type(c, "model", "a string", v);
    }

    name = json_string_value(v);
    len = json_string_length(v);

    if (len != strlen(c->env->name)
        || memcmp(name, c->env->name, len) != 0)
    {
        return llm_req_fail(c, 404, "model_not_found", "model",
                            "there is no model \"%s\"; there is \"%s\"",
                            llm_req_quote(quote, name, len), c->env->name);
    }

    return LLM_OK;
}


static int
llm_req_common(llm_reqctx_t *c)
{
    int      rc;
    json_t  *v;

    if ((rc = llm_req_bool(c, c->root, "stream", "stream", &c->rq->stream))
        || (rc = llm_req_bool(c, c->root, "ignore_eos", "ignore_eos",
                              &c->rq->ignore_eos)))
    {
        return rc;
    }

    v = llm_req_get(c->root, "stream_options");

    if (v != NULL) {
        if (!json_is_object(v)) {
            return llm_req_type(c, "stream_options", "an object", v);
        }

        rc = llm_req_bool(c, v, "include_usage",
                          "stream_options.include_usage",
                          &c->rq->include_usage);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    if ((rc = llm_req_max_tokens(c))
        || (rc = llm_req_choices(c))
        || (rc = llm_req_sampling(c))
        || (rc = llm_req_seed(c))
        || (rc = llm_req_stop(c))
        || (rc = llm_req_bias(c)))
    {
        return rc;
    }

    return llm_req_unsupported(c);
}


/* the newer name counts where both are given */

static int
llm_req_max_tokens(llm_reqctx_t *c)
{
    int          rc;
    int64_t      n, newer, most, limit;
    const char  *field;

    n = 0;
    newer = 0;
    field = "max_tokens";
    most = (int64_t) llm_param_defs[LLM_PARAM_MAX_TOKENS].max;

    if ((rc = llm_req_int(c, "max_tokens", &n, 1, most))
        || (rc = llm_req_int(c, "max_completion_tokens", &newer, 1, most)))
    {
        return rc;
    }

    if (newer) {
        n = newer;
        field = "max_completion_tokens";
    }

    rc = llm_req_limit(c, LLM_PARAM_MAX_TOKENS_LIMIT, field, n);
    if (rc != LLM_OK) {
        return rc;
    }

    c->rq->max_tokens_given = n != 0;

    if (n == 0) {
        n = (int64_t) llm_param_value(c->env->params, LLM_PARAM_MAX_TOKENS, 0);
        limit = (int64_t) llm_param_value(c->env->params,
                                          LLM_PARAM_MAX_TOKENS_LIMIT, 0);

        if (limit && (n == 0 || n > limit)) {
            n = limit;
        }
    }

    c->rq->max_tokens = (uint32_t) n;

    return LLM_OK;
}


/* what the operator allows at most */

static int
llm_req_limit(llm_reqctx_t *c, llm_param_e p, const char *field, int64_t n)
{
    int64_t  limit;

    limit = (int64_t) llm_param_value(c->env->params, p, (double) n);

    if (n > limit) {
        return llm_req_fail(c, 400, "invalid_value", field,
                            "%s must be at most %lld, the engine's %s", field,
                            (long long) limit, llm_param_defs[p].name);
    }

    return LLM_OK;
}


static int
llm_req_choices(llm_reqctx_t *c)
{
    int      rc;
    int64_t  n, best;

    n = 1;

    rc = llm_req_int(c, "n", &n, 1, LLM_CHOICES_MAX);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_req_limit(c, LLM_PARAM_N_LIMIT, "n", n);
    if (rc != LLM_OK) {
        return rc;
    }

    best = n;

    rc = llm_req_int(c, "best_of", &best, 1, LLM_CHOICES_MAX);
    if (rc != LLM_OK) {
        return rc;
    }

    if (best != n) {
        return llm_req_fail(c, 400, "unsupported_parameter", "best_of",
                            "best_of other than n is not supported");
    }

    c->rq->n = (int) n;
    c->rq->n_prompt = 1;

    return LLM_OK;
}


static int
llm_req_sampling(llm_reqctx_t *c)
{
    int                      rc;
    int64_t                  top_k;
    llm_sampling_t          *s = &c->rq->sampling;
    const llm_model_conf_t  *m = c->env->model;

    s->temperature = m->temperature >= 0 ? m->temperature : 1;
    s->top_p = m->top_p > 0 ? m->top_p : 1;
    s->repetition_penalty = m->repetition_penalty > 0 ? m->repetition_penalty
                                                      : 1;
    top_k = m->top_k > 0 ? m->top_k : 0;

    if ((rc = llm_req_param_float(c, LLM_PARAM_TEMPERATURE, &s->temperature))
        || (rc = llm_req_param_float(c, LLM_PARAM_TOP_P, &s->top_p))
        || (rc = llm_req_param_float(c, LLM_PARAM_MIN_P, &s->min_p))
        || (rc = llm_req_float(c, "presence_penalty", &s->presence_penalty,
                               -2, 2, 0))
        || (rc = llm_req_float(c, "frequency_penalty", &s->frequency_penalty,
                               -2, 2, 0))
        || (rc = llm_req_param_float(c, LLM_PARAM_REPETITION_PENALTY,
                                     &s->repetition_penalty))
        || (rc = llm_req_param_int(c, LLM_PARAM_TOP_K, &top_k)))
    {
        return rc;
    }

    s->top_k = top_k < 0 ? 0 : (int32_t) top_k;

    return LLM_OK;
}


static int
llm_req_seed(llm_reqctx_t *c)
{
    json_t  *v;

    v = llm_req_get(c->root, "seed");

    if (v != NULL) {
        if (!json_is_integer(v)) {
            return llm_req_type(c, "seed", "an integer", v);
        }

        c->rq->sampling.seed = (uint64_t) json_integer_value(v);

        return LLM_OK;
    }

    if (getrandom(&c->rq->sampling.seed, sizeof(uint64_t), 0)
        != (ssize_t) sizeof(uint64_t))
    {
        return llm_req_fail(c, 500, "internal_error", "",
                            "there are no random numbers: error %d", errno);
    }

    return LLM_OK;
}


static int
llm_req_stop(llm_reqctx_t *c)
{
    int      rc;
    char     param[LLM_REQ_PATH];
    size_t   i;
    json_t  *v, *item;

    v = llm_req_get(c->root, "stop");

    if (v == NULL) {
        return LLM_OK;
    }

    if (json_is_string(v)) {
        return llm_req_stop_one(c, v, "stop");
    }

    if (!json_is_array(v)) {
        return llm_req_type(c, "stop", "a string or an array of strings", v);
    }

    if (json_array_size(v) > LLM_STOP_MAX) {
        return llm_req_fail(c, 400, "invalid_value", "stop",
                            "stop has more than %d strings", LLM_STOP_MAX);
    }

    json_array_foreach(v, i, item) {
        llm_req_path(param, "stop[%zu]", i);

        rc = llm_req_stop_one(c, item, param);
        if (rc != LLM_OK) {
            return rc;
        }
    }

    return LLM_OK;
}


static int
llm_req_stop_one(llm_reqctx_t *c, json_t *v, const char *param)
{
    char           *p;
    size_t          len;
    llm_request_t  *rq = c->rq;

    if (!json_is_string(v)) {
        return llm_req_type(c, param, "a string", v);
    }

    len = json_string_length(v);

    if (len == 0 || len > LLM_REQ_STOP_LEN) {
        return llm_req_fail(c, 400, "invalid_value", param,
                            "%s must have 1 to %d bytes", param,
                            LLM_REQ_STOP_LEN);
    }

    p = malloc(len + 1);
    if (p == NULL) {
        return llm_req_nomem(c);
    }

    memcpy(p, json_string_value(v), len);
    p[len] = '\0';

    rq->stop[rq->n_stop] = p;
    rq->stop_len[rq->n_stop++] = len;

    return LLM_OK;
}


static int
llm_req_bias(llm_reqctx_t *c)
{
    char             quote[LLM_REQ_QUOTE], param[LLM_REQ_PATH];
    size_t           n;
    double           d;
    json_t          *v, *item;
    int64_t          id;
    const char      *key;
    llm_sampling_t  *s = &c->rq->sampling;

    v = llm_req_get(c->root, "logit_bias");
    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_object(v)) {
        return llm_req_type(c, "logit_bias", "an object", v);
    }

    n = json_object_size(v);

    if (n > LLM_BIAS_MAX) {
        return llm_req_fail(c, 400, "invalid_value", "logit_bias",
                            "logit_bias has more than %d tokens",
                            LLM_BIAS_MAX);
    }

    if (n == 0) {
        return LLM_OK;
    }

    s->bias = calloc(n, sizeof(llm_bias_t));
    if (s->bias == NULL) {
        return llm_req_nomem(c);
    }

    json_object_foreach(v, key, item) {
        if (!llm_req_bias_id(key, &id) || id >= c->env->model->n_vocab) {
            return llm_req_fail(c, 400, "invalid_value", "logit_bias",
                                "\"%s\" in logit_bias is not the id of a "
                                "token, they go from 0 to %d",
                                llm_req_quote(quote, key, strlen(key)),
                                c->env->model->n_vocab - 1);
        }

        llm_req_path(param, "logit_bias.%lld", (long long) id);

        if (!json_is_number(item)) {
            return llm_req_type(c, param, "a number", item);
        }

        d = json_number_value(item);

        if (!(d >= -100 && d <= 100)) {
            return llm_req_fail(c, 400, "invalid_value", param,
                                "%s must be at least -100 and at most 100",
                                param);
        }

        s->bias[s->n_bias].id = (int32_t) id;
        s->bias[s->n_bias++].bias = (float) d;
    }

    return LLM_OK;
}


static int
llm_req_bias_id(const char *key, int64_t *id)
{
    size_t  i;

    *id = 0;

    for (i = 0; i < 10 && key[i] >= '0' && key[i] <= '9'; i++) {
        *id = *id * 10 + key[i] - '0';
    }

    return i > 0 && key[i] == '\0';
}


/* known fields whose values would be broken promises */

static int
llm_req_unsupported(llm_reqctx_t *c)
{
    char         quote[LLM_REQ_QUOTE];
    size_t       i;
    json_t      *v, *type;

    static const char  *names[] = { "logprobs", "top_logprobs" };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        v = llm_req_get(c->root, names[i]);

        if (v == NULL || json_is_false(v)
            || (json_is_integer(v) && json_integer_value(v) == 0))
        {
            continue;
        }

        if (!json_is_true(v) && !json_is_integer(v)) {
            return llm_req_type(c, names[i], "a boolean or an integer", v);
        }

        return llm_req_fail(c, 400, "unsupported_parameter", names[i],
                            "%s is not supported yet", names[i]);
    }

    v = llm_req_get(c->root, "response_format");

    if (v != NULL) {
        if (!json_is_object(v)) {
            return llm_req_type(c, "response_format", "an object", v);
        }

        type = json_object_get(v, "type");

        if (!json_is_string(type)) {
            return llm_req_type(c, "response_format.type", "a string", type);
        }

        if (json_string_length(type) != 4
            || memcmp(json_string_value(type), "text", 4) != 0)
        {
            return llm_req_fail(c, 400, "unsupported_parameter",
                                "response_format.type",
                                "the response format \"%s\" is not supported "
                                "yet, only \"text\" is",
                                llm_req_quote(quote, json_string_value(type),
                                              json_string_length(type)));
        }
    }

    return LLM_OK;
}


/* a text, texts, ids, or arrays of ids */

static int
llm_req_prompts(llm_reqctx_t *c)
{
    int      rc;
    json_t  *v;

    rc = llm_req_bool(c, c->root, "echo", "echo", &c->rq->echo);
    if (rc != LLM_OK) {
        return rc;
    }

    v = llm_req_get(c->root, "suffix");

    if (v != NULL && !json_is_string(v)) {
        return llm_req_type(c, "suffix", "a string", v);
    }

    if (v != NULL && json_string_length(v) != 0) {
        return llm_req_fail(c, 400, "unsupported_parameter", "suffix",
                            "suffix is not supported yet");
    }

    v = llm_req_get(c->root, "prompt");

    if (v == NULL) {
        return llm_req_fail(c, 400, "missing_field", "prompt",
                            "prompt is missing");
    }

    c->rq->n_prompt = 0;

    if (json_is_string(v)) {
        return llm_req_prompt_text(c, v, "prompt");
    }

    if (!json_is_array(v)) {
        return llm_req_type(c, "prompt", "a string or an array", v);
    }

    if (json_array_size(v) == 0) {
        return llm_req_fail(c, 400, "invalid_value", "prompt",
                            "prompt is empty");
    }

    if (json_is_integer(json_array_get(v, 0))) {
        return llm_req_prompt_ids(c, v, "prompt");
    }

    return llm_req_prompt_array(c, v);
}


static int
llm_req_prompt_array(llm_reqctx_t *c, json_t *v)
{
    int      rc;
    char     param[LLM_REQ_PATH];
    size_t   i;
    json_t  *item;

    if (json_array_size(v) > (size_t) (LLM_CHOICES_MAX / c->rq->n)) {
        return llm_req_fail(c, 400, "invalid_value", "prompt",
                            "%zu prompts times n = %d are more than %d "
                            "choices", json_array_size(v), c->rq->n,
                            LLM_CHOICES_MAX);
    }

    json_array_foreach(v, i, item) {
        llm_req_path(param, "prompt[%zu]", i);

        if (json_is_string(item)) {
            rc = llm_req_prompt_text(c, item, param);

        } else if (json_is_array(item)) {
            rc = llm_req_prompt_ids(c, item, param);

        } else {
            rc = llm_req_type(c, param, "a string or an array of ids", item);
        }

        if (rc != LLM_OK) {
            return rc;
        }
    }

    return LLM_OK;
}


/* raw text: its special tokens are meant */

static int
llm_req_prompt_text(llm_reqctx_t *c, json_t *v, const char *param)
{
    int             rc;
    size_t          len;
    const char     *text;
    llm_request_t  *rq = c->rq;

    text = json_string_value(v);
    len = json_string_length(v);

    rc = llm_req_tokenize(c, text, len, LLM_TOK_BOS | LLM_TOK_SPECIAL,
                          &rq->prompt[rq->n_prompt], param);

    if (rc == LLM_OK && rq->echo) {
        rc = llm_req_echo(c, rq->n_prompt, text, len);
    }

    rq->n_prompt++;

    return rc;
}


static int
llm_req_prompt_ids(llm_reqctx_t *c, json_t *v, const char *param)
{
    char            at[LLM_REQ_PATH];
    size_t          i;
    json_t         *item;
    int64_t         id;
    llm_ids_t      *ids;
    llm_request_t  *rq = c->rq;

    if (json_array_size(v) == 0) {
        return llm_req_fail(c, 400, "invalid_value", param, "%s is empty",
                            param);
    }

    if (json_array_size(v) >= (size_t) c->env->context) {
        return llm_req_too_long(c, param, json_array_size(v), 0);
    }

    ids = &rq->prompt[rq->n_prompt++];

    json_array_foreach(v, i, item) {
        llm_req_path(at, "%s[%zu]", param, i);

        if (!json_is_integer(item)) {
            return llm_req_type(c, at, "an integer", item);
        }

        id = json_integer_value(item);

        if (id < 0 || id >= c->env->model->n_vocab) {
            return llm_req_fail(c, 400, "invalid_value", at,
                                "%s is not the id of a token, they go from 0 "
                                "to %d", at, c->env->model->n_vocab - 1);
        }

        if (llm_ids_push(ids, (int32_t) id) != LLM_OK) {
            return llm_req_nomem(c);
        }
    }

    return !rq->echo ? LLM_OK : llm_req_echo_ids(c, rq->n_prompt - 1);
}


static int
llm_req_echo(llm_reqctx_t *c, int i, const char *text, size_t len)
{
    char           *p;
    llm_request_t  *rq = c->rq;

    p = malloc(len + 1);
    if (p == NULL) {
        return llm_req_nomem(c);
    }

    memcpy(p, text, len);
    p[len] = '\0';

    rq->echo_text[i] = p;
    rq->echo_len[i] = len;

    return LLM_OK;
}


/* the text of prompt's ids, what is not UTF-8 as U+FFFD */

static int
llm_req_echo_ids(llm_reqctx_t *c, int prompt)
{
    int               rc;
    size_t            i, k, n;
    llm_buf_t         b, text;
    const char       *p;
    const llm_ids_t  *ids = &c->rq->prompt[prompt];

    memset(&b, 0, sizeof(llm_buf_t));
    memset(&text, 0, sizeof(llm_buf_t));
    rc = LLM_OK;

    for (i = 0; i < ids->len && rc == LLM_OK; i++) {
        n = llm_token_bytes(c->env->tok, ids->id[i], &p);
        rc = n ? llm_buf_append(&b, p, n) : LLM_OK;
    }

    for (i = 0; i < b.len && rc == LLM_OK; i += n) {
        k = b.len - i < 4 ? b.len - i : 4;

        for (n = 1; n < k && !llm_utf8_valid(b.data + i, n); n++) {
            /* void */
        }

        if (llm_utf8_valid(b.data + i, n)) {
            rc = llm_buf_append(&text, b.data + i, n);

        } else {
            n = 1;
            rc = llm_buf_append(&text, "\xef\xbf\xbd", 3);
        }
    }

    rc = rc == LLM_OK ? llm_req_echo(c, prompt, text.data ? text.data : "",
                                     text.len)
                      : llm_req_nomem(c);

    llm_buf_done(&b);
    llm_buf_done(&text);

    return rc;
}
