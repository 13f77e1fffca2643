
/*
 * Copyright (C) nginx-llm contributors
 *
 * What an answer looks like: the chunks of a stream, or one JSON document.
 * All chunks that an event becomes are at most NGX_HTTP_LLM_EVENT_SIZE bytes,
 * and the caller has the room.
 */


#include "ngx_http_llm.h"


static u_char *ngx_http_llm_chunk(u_char *p, ngx_http_llm_ctx_t *ctx);
static u_char *ngx_http_llm_chunk_end(u_char *p, ngx_http_llm_ctx_t *ctx,
    const char *finish);
static u_char *ngx_http_llm_usage(u_char *p, ngx_http_llm_ctx_t *ctx);


ngx_int_t
ngx_http_llm_document(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_str_t *body)
{
    u_char                 *p;
    size_t                  len, k;
    ngx_uint_t              i, chat;
    ngx_http_llm_choice_t  *ch;

    chat = (ctx->api == LLM_API_CHAT);
    len = 512 + ctx->id.len + ctx->model.len;

    for (i = 0; i < ctx->n_choice; i++) {
        ch = &ctx->choice[i];
        len += 160 + ch->len;

        for (k = 0; k < ch->len; k++) {
            if (ch->text[k] < 0x20 || ch->text[k] == '"'
                || ch->text[k] == '\\')
            {
                len += 5;
            }
        }
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    p = ngx_sprintf(p, "{\"id\":\"%s%V\",\"object\":\"%s\",\"created\":%T,"
                    "\"model\":\"%V\",\"choices\":[",
                    chat ? "chatcmpl-" : "cmpl-", &ctx->id,
                    chat ? "chat.completion" : "text_completion",
                    ctx->created, &ctx->model);

    for (i = 0; i < ctx->n_choice; i++) {
        ch = &ctx->choice[i];

        if (i) {
            *p++ = ',';
        }

        p = ngx_sprintf(p, chat ? "{\"index\":%ui,\"message\":{\"role\":"
                                  "\"assistant\",\"content\":\""
                                : "{\"index\":%ui,\"text\":\"", i);
        p = ngx_http_llm_escape(p, ch->text, ch->len);
        p = ngx_sprintf(p, "\"%s,\"logprobs\":null,\"finish_reason\":\"%s\"}",
                        chat ? "}" : "",
                        ngx_http_llm_finish_name(ch->finish));
    }

    p = ngx_cpymem(p, "],", 2);
    p = ngx_http_llm_usage(p, ctx);
    *p++ = '}';
    *p++ = '\n';

    body->len = (size_t) (p - body->data);

    return NGX_OK;
}


u_char *
ngx_http_llm_chunk_text(u_char *p, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t choice, const u_char *text, size_t len)
{
    ngx_uint_t              chat = (ctx->api == LLM_API_CHAT);
    ngx_http_llm_choice_t  *ch = &ctx->choice[choice];

    if (!ch->begun && chat) {
        p = ngx_http_llm_chunk(p, ctx);
        p = ngx_sprintf(p, "{\"index\":%ui,\"delta\":{\"role\":"
                        "\"assistant\",\"content\":\"\"}", choice);
        p = ngx_http_llm_chunk_end(p, ctx, NULL);
    }

    ch->begun = 1;

    if (len == 0) {
        return p;
    }

    p = ngx_http_llm_chunk(p, ctx);
    p = ngx_sprintf(p, chat ? "{\"index\":%ui,\"delta\":{\"content\":\""
                            : "{\"index\":%ui,\"text\":\"", choice);
    p = ngx_http_llm_escape(p, text, len);
    *p++ = '"';

    if (chat) {
        *p++ = '}';
    }

    return ngx_http_llm_chunk_end(p, ctx, NULL);
}


u_char *
ngx_http_llm_chunk_finish(u_char *p, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t choice)
{
    ngx_http_llm_choice_t  *ch = &ctx->choice[choice];

    if (!ch->begun) {
        p = ngx_http_llm_chunk_text(p, ctx, choice, NULL, 0);
    }

    p = ngx_http_llm_chunk(p, ctx);

    if (ctx->api == LLM_API_CHAT) {
        p = ngx_sprintf(p, "{\"index\":%ui,\"delta\":{}", choice);

    } else {
        p = ngx_sprintf(p, "{\"index\":%ui,\"text\":\"\"", choice);
    }

    return ngx_http_llm_chunk_end(p, ctx,
                                  ngx_http_llm_finish_name(ch->finish));
}


u_char *
ngx_http_llm_chunk_usage(u_char *p, ngx_http_llm_ctx_t *ctx)
{
    ngx_uint_t  chat = (ctx->api == LLM_API_CHAT);

    p = ngx_sprintf(p, "data: {\"id\":\"%s%V\",\"object\":\"%s\","
                    "\"created\":%T,\"model\":\"%V\",\"choices\":[],",
                    chat ? "chatcmpl-" : "cmpl-", &ctx->id,
                    chat ? "chat.completion.chunk" : "text_completion",
                    ctx->created, &ctx->model);
    p = ngx_http_llm_usage(p, ctx);

    return ngx_cpymem(p, "}\n\n", 3);
}


static u_char *
ngx_http_llm_chunk(u_char *p, ngx_http_llm_ctx_t *ctx)
{
    ngx_uint_t  chat = (ctx->api == LLM_API_CHAT);

    return ngx_sprintf(p, "data: {\"id\":\"%s%V\",\"object\":\"%s\","
                       "\"created\":%T,\"model\":\"%V\",\"choices\":[",
                       chat ? "chatcmpl-" : "cmpl-", &ctx->id,
                       chat ? "chat.completion.chunk" : "text_completion",
                       ctx->created, &ctx->model);
}


static u_char *
ngx_http_llm_chunk_end(u_char *p, ngx_http_llm_ctx_t *ctx,
    const char *finish)
{
    if (finish) {
        p = ngx_sprintf(p, ",\"logprobs\":null,\"finish_reason\":\"%s\"}]",
                        finish);
    } else {
        p = ngx_sprintf(p, ",\"logprobs\":null,\"finish_reason\":null}]");
    }

    return ngx_sprintf(p, "%s}\n\n",
                       ctx->include_usage ? ",\"usage\":null" : "");
}


static u_char *
ngx_http_llm_usage(u_char *p, ngx_http_llm_ctx_t *ctx)
{
    return ngx_sprintf(p, "\"usage\":{\"prompt_tokens\":%uD,"
                       "\"completion_tokens\":%uD,\"total_tokens\":%uD,"
                       "\"prompt_tokens_details\":{\"cached_tokens\":%uD}}",
                       ctx->prompt_tokens, ctx->completion_tokens,
                       ctx->prompt_tokens + ctx->completion_tokens,
                       ctx->cached_tokens);
}


const char *
ngx_http_llm_finish_name(llm_finish_e finish)
{
    return finish == LLM_FINISH_LENGTH ? "length" : "stop";
}
