
/*
 * Copyright (C) nginx-llm contributors
 *
 * $llm_*: who asked and what it took, for log formats and headers.  Empty
 * where a request has no such value.
 */


#include "ngx_http_llm.h"


typedef enum {
    NGX_HTTP_LLM_VAR_KEY_ID = 0,
    NGX_HTTP_LLM_VAR_CLIENT,
    NGX_HTTP_LLM_VAR_ROLE,
    NGX_HTTP_LLM_VAR_MODEL,
    NGX_HTTP_LLM_VAR_REQUEST_ID,
    NGX_HTTP_LLM_VAR_PROMPT_TOKENS,
    NGX_HTTP_LLM_VAR_CACHED_TOKENS,
    NGX_HTTP_LLM_VAR_COMPLETION_TOKENS,
    NGX_HTTP_LLM_VAR_QUEUE_TIME,
    NGX_HTTP_LLM_VAR_TTFT,
    NGX_HTTP_LLM_VAR_INFERENCE_TIME,
    NGX_HTTP_LLM_VAR_FINISH_REASON,
    NGX_HTTP_LLM_VAR_ERROR_CODE
} ngx_http_llm_variable_e;


static ngx_int_t ngx_http_llm_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static u_char *ngx_http_llm_seconds(u_char *p, uint64_t us);


static ngx_http_variable_t  ngx_http_llm_vars[] = {

    { ngx_string("llm_key_id"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_KEY_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_client"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_CLIENT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_role"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_ROLE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_model"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_MODEL, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_request_id"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_REQUEST_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_prompt_tokens"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_PROMPT_TOKENS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_cached_tokens"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_CACHED_TOKENS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_completion_tokens"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_COMPLETION_TOKENS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_queue_time"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_QUEUE_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_ttft"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_TTFT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_inference_time"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_INFERENCE_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_finish_reason"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_FINISH_REASON, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_error_code"), NULL, ngx_http_llm_variable,
      NGX_HTTP_LLM_VAR_ERROR_CODE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_llm_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_llm_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char              *p, *last;
    const char          *s;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r->main);

    v->not_found = 1;

    if (ctx == NULL) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, 128);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = p;
    s = NULL;

    switch ((ngx_http_llm_variable_e) data) {

    case NGX_HTTP_LLM_VAR_KEY_ID:
        s = ctx->authenticated ? ctx->key->id : NULL;
        break;

    case NGX_HTTP_LLM_VAR_CLIENT:
        s = ctx->authenticated ? ctx->key->client : NULL;
        break;

    case NGX_HTTP_LLM_VAR_ROLE:
        s = ctx->authenticated ? llm_role_name(ctx->key->role) : NULL;
        break;

    case NGX_HTTP_LLM_VAR_MODEL:
        last = ngx_snprintf(p, 128, "%V", &ctx->model);
        break;

    case NGX_HTTP_LLM_VAR_REQUEST_ID:
        last = ngx_snprintf(p, 128, "%V", &ctx->id);
        break;

    /* the log module runs before ours in the log phase */

    case NGX_HTTP_LLM_VAR_PROMPT_TOKENS:
        ngx_http_llm_proxy_settle(r->main, ctx);

        if (ctx->accepted) {
            last = ngx_sprintf(p, "%uD", ctx->prompt_tokens);
        }

        break;

    case NGX_HTTP_LLM_VAR_COMPLETION_TOKENS:
        ngx_http_llm_proxy_settle(r->main, ctx);

        if (ctx->accepted) {
            last = ngx_sprintf(p, "%uD", ngx_http_llm_completion_tokens(ctx));
        }

        break;

    /* both are told with a choice's end */

    case NGX_HTTP_LLM_VAR_CACHED_TOKENS:
        if (ctx->n_choice && ctx->choice[0].finish) {
            last = ngx_sprintf(p, "%uD", ctx->cached_tokens);
        }

        break;

    case NGX_HTTP_LLM_VAR_QUEUE_TIME:
        if (ctx->n_choice && ctx->choice[0].finish) {
            last = ngx_http_llm_seconds(p, ctx->queue_us);
        }

        break;

    case NGX_HTTP_LLM_VAR_TTFT:
        if (ctx->ttft_us) {
            last = ngx_http_llm_seconds(p, ctx->ttft_us);
        }

        break;

    case NGX_HTTP_LLM_VAR_INFERENCE_TIME:
        if (ctx->last_us) {
            last = ngx_http_llm_seconds(p, ctx->last_us);
        }

        break;

    case NGX_HTTP_LLM_VAR_FINISH_REASON:
        if (ctx->finished && ctx->n_choice && ctx->choice[0].finish) {
            s = ctx->choice[0].finish == LLM_FINISH_LENGTH ? "length"
                                                           : "stop";
        }

        break;

    case NGX_HTTP_LLM_VAR_ERROR_CODE:
        last = ngx_snprintf(p, 128, "%V", &ctx->code);
        break;
    }

    if (s) {
        last = ngx_snprintf(p, 128, "%s", s);
    }

    if (last == p) {
        return NGX_OK;
    }

    v->data = p;
    v->len = (unsigned) (last - p);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static u_char *
ngx_http_llm_seconds(u_char *p, uint64_t us)
{
    return ngx_sprintf(p, "%uL.%03uL", us / 1000000, us / 1000 % 1000);
}


/* of an unfinished stream too: what has been passed on */

uint32_t
ngx_http_llm_completion_tokens(ngx_http_llm_ctx_t *ctx)
{
    uint32_t    n;
    ngx_uint_t  i;

    for (i = 0, n = 0; i < ctx->n_choice; i++) {
        n += ctx->choice[i].tokens;
    }

    return ctx->completion_tokens > n ? ctx->completion_tokens : n;
}
