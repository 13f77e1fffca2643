
/*
 * Copyright (C) nginx-llm contributors
 *
 * From the engine's events to the client: server-sent events as they come, or
 * one JSON document at the end.  What they look like is in
 * ngx_http_llm_answer.c.
 *
 * A stream has one output buffer.  A wake-up fills it with all events that
 * are there and passes it on with flush = 1, which makes gzip, HTTP/2 and
 * chunked encoding send at once.  The buffer is used again only when all of
 * it has left; until then events wait in the slot's ring, and the engine
 * skips a sequence whose ring is full.
 */


#include "ngx_http_llm.h"


static ngx_int_t ngx_http_llm_drain(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_event(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_event_t *ev);
static ngx_int_t ngx_http_llm_accept(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_event_t *ev);
static ngx_int_t ngx_http_llm_text(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_event_t *ev);
static ngx_int_t ngx_http_llm_finish(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_event_t *ev);
static ngx_int_t ngx_http_llm_piece(ngx_http_request_t *r, ngx_str_t *s,
    llm_event_t *ev);
static ngx_int_t ngx_http_llm_fail(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_end(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_send_stream_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_send(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_buf_t *b, ngx_uint_t last);
static ngx_uint_t ngx_http_llm_blocked(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static ngx_int_t ngx_http_llm_wait_client(ngx_http_request_t *r);
static void ngx_http_llm_write_handler(ngx_http_request_t *r);


/* the engine has pushed events for r, or r's client has taken what it had */

void
ngx_http_llm_wake(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_http_llm_ctx_t  *ctx;

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx == NULL || !ctx->submitted || ctx->finished) {
        return;
    }

    if (r->post_action) {
        /* the client has gone, and the core does something else with r */
        ngx_http_llm_close_slot(r, ctx);
        return;
    }

    if (ngx_http_llm_check_key(r, ctx) != NGX_OK) {
        ctx->revoked = 1;
        rc = ngx_http_llm_fail(r, ctx);

    } else {
        rc = ngx_http_llm_drain(r, ctx);
    }

    /* NGX_AGAIN: the stream goes on; else it is over, well or not */

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


static ngx_int_t
ngx_http_llm_drain(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_int_t    rc;
    llm_zone_t  *z;
    llm_event_t  ev;

    z = ngx_http_llm_zone(ngx_http_get_module_main_conf(r,
                                                        ngx_http_llm_module));

    for ( ;; ) {

        if (ctx->out) {
            if (ngx_http_llm_blocked(r, ctx)) {
                return ngx_http_llm_wait_client(r);
            }

            ctx->out->pos = ctx->out->start;
            ctx->out->last = ctx->out->start;
        }

        while (ctx->out == NULL
               || ctx->out->end - ctx->out->last >= NGX_HTTP_LLM_EVENT_SIZE)
        {
            if (!llm_slot_pop(z, (int) ctx->slot, &ev)) {
                break;
            }

            rc = ngx_http_llm_event(r, ctx, &ev);

            if (rc != NGX_AGAIN) {
                return rc;
            }
        }

        if (ctx->out == NULL || ctx->out->last == ctx->out->pos) {
            return NGX_AGAIN;
        }

        if (ngx_http_llm_send(r, ctx, ctx->out, 0) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }
}


/* NGX_AGAIN: go on; else the request is over */

static ngx_int_t
ngx_http_llm_event(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_event_t *ev)
{
    if (ev->len > LLM_EVENT_TEXT) {
        return NGX_ERROR;
    }

    switch (ev->type) {

    case LLM_EVENT_ACCEPT:
        return ngx_http_llm_accept(r, ctx, ev);

    case LLM_EVENT_TEXT_PIECE:
        return ngx_http_llm_text(r, ctx, ev);

    case LLM_EVENT_FINISH:
        return ngx_http_llm_finish(r, ctx, ev);

    case LLM_EVENT_CODE:
        return ngx_http_llm_piece(r, &ctx->code, ev);

    case LLM_EVENT_PARAM:
        return ngx_http_llm_piece(r, &ctx->param, ev);

    case LLM_EVENT_MESSAGE:
        return ngx_http_llm_piece(r, &ctx->message, ev);

    case LLM_EVENT_ERROR:
        ctx->status = ev->u.error.status;
        ctx->retry_after = ev->u.error.retry_after;

        if (ctx->status < NGX_HTTP_BAD_REQUEST || ctx->status > 599) {
            ctx->status = NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_llm_fail(r, ctx);

    case LLM_EVENT_END:
        return ngx_http_llm_end(r, ctx);

    default:
        return NGX_ERROR;
    }
}


static ngx_int_t
ngx_http_llm_accept(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_event_t *ev)
{
    ngx_uint_t  n;

    ctx->seed = ev->u.accept.seed;
    ctx->build = ev->u.accept.build;
    ctx->effective = ev->u.accept.effective;

    if (ctx->accepted) {
        /* again, by an engine that took over before an answer began */
        return NGX_AGAIN;
    }

    n = ev->u.accept.n_choice;

    if (n == 0) {
        return NGX_ERROR;
    }

    ctx->choice = ngx_pcalloc(r->pool, n * sizeof(ngx_http_llm_choice_t));
    if (ctx->choice == NULL) {
        return NGX_ERROR;
    }

    ctx->n_choice = n;
    ctx->accepted = 1;
    ctx->stream = ev->u.accept.stream;
    ctx->include_usage = ev->u.accept.include_usage;
    ctx->prompt_tokens = ev->u.accept.prompt_tokens;

    if (!ctx->stream) {
        return NGX_AGAIN;
    }

    ctx->out = ngx_create_temp_buf(r->pool, NGX_HTTP_LLM_OUT_SIZE);
    if (ctx->out == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_llm_send_stream_header(r);
}


static ngx_int_t
ngx_http_llm_send_stream_header(ngx_http_request_t *r)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    ngx_str_set(&value, "no-cache");

    if (ngx_http_llm_header(r, "Cache-Control", &value) == NULL) {
        return NGX_ERROR;
    }

    /* for another nginx in front of this one */

    ngx_str_set(&value, "no");

    if (ngx_http_llm_header(r, "X-Accel-Buffering", &value) == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    /* the client sees that it was heard, long before the first token */

    if (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_llm_text(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_event_t *ev)
{
    ngx_http_llm_choice_t  *ch;

    if (ev->choice >= ctx->n_choice) {
        return NGX_ERROR;
    }

    ch = &ctx->choice[ev->choice];
    ch->tokens += ev->n_token;

    ngx_http_llm_metrics_event(r, ctx, ev);

    if (ctx->stream) {
        ctx->out->last = ngx_http_llm_chunk_text(ctx->out->last, ctx,
                                                 ev->choice,
                                                 (u_char *) ev->u.text,
                                                 ev->len);

        if (ctx->record == NULL || ev->choice >= LLM_AUDIT_OUTPUTS) {
            return NGX_AGAIN;
        }
    }

    /* a stream's for the audit */

    return ngx_http_llm_append(&ch->text, &ch->len, &ch->size,
                               (u_char *) ev->u.text, ev->len,
                               r->connection->log)
           == NGX_OK ? NGX_AGAIN : NGX_ERROR;
}


static ngx_int_t
ngx_http_llm_finish(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    llm_event_t *ev)
{
    ngx_http_llm_choice_t  *ch;

    if (ev->choice >= ctx->n_choice) {
        return NGX_ERROR;
    }

    ch = &ctx->choice[ev->choice];
    ch->finish = (llm_finish_e) ev->finish;
    ngx_http_llm_metrics_event(r, ctx, ev);

    ctx->cached_tokens += ev->u.finish.cached_tokens;
    ctx->completion_tokens += ev->u.finish.completion_tokens;

    if (!ctx->stream) {
        return NGX_AGAIN;
    }

    ctx->out->last = ngx_http_llm_chunk_finish(ctx->out->last, ctx,
                                               ev->choice);
    return NGX_AGAIN;
}


/* codes, parameters and messages of errors come in pieces */

static ngx_int_t
ngx_http_llm_piece(ngx_http_request_t *r, ngx_str_t *s, llm_event_t *ev)
{
    u_char  *p;

    if (s->len + ev->len > 4 * LLM_ERRLEN) {
        return NGX_AGAIN;
    }

    p = ngx_pnalloc(r->pool, s->len + ev->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (s->len) {
        ngx_memcpy(p, s->data, s->len);
    }

    ngx_memcpy(p + s->len, ev->u.text, ev->len);

    s->data = p;
    s->len += ev->len;

    return NGX_AGAIN;
}


/*
 * The noted error ends the request: as its status if nothing was sent, as an
 * event within the stream otherwise, and no [DONE] after it.
 */

static ngx_int_t
ngx_http_llm_fail(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   body;
    ngx_buf_t  *b;

    ngx_http_llm_close_slot(r, ctx);

    if (!r->header_sent) {
        ctx->submitted = 0;
        return (ngx_int_t) ctx->status;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "llm_pass: the stream was ended by an error: %V",
                  &ctx->code);

    if (ngx_http_llm_error_body(r, ctx, ctx->status, &body) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a buffer of its own: the other one may not have left yet */

    b = ngx_create_temp_buf(r->pool, (size_t) (ctx->out->last - ctx->out->pos)
                                     + body.len + sizeof("data: \n\n"));
    if (b == NULL) {
        return NGX_ERROR;
    }

    p = b->last;

    if (!ngx_http_llm_blocked(r, ctx)) {
        p = ngx_cpymem(p, ctx->out->pos, ctx->out->last - ctx->out->pos);
        ctx->out->pos = ctx->out->last;
    }

    p = ngx_cpymem(p, "data: ", 6);
    p = ngx_cpymem(p, body.data, body.len);
    *p++ = '\n';
    *p++ = '\n';
    b->last = p;

    rc = ngx_http_llm_send(r, ctx, b, 1);

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_llm_end(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   body;
    ngx_buf_t  *b;

    ngx_http_llm_close_slot(r, ctx);

    ctx->last_us = ngx_http_llm_us() - ctx->arrival_us;

    if (!ctx->stream) {
        ctx->finished = 1;

        if (ngx_http_llm_document(r, ctx, &body) != NGX_OK) {
            return NGX_ERROR;
        }

        rc = ngx_http_llm_send_json(r, NGX_HTTP_OK, &body);

        /* what has not left yet is the core's to send */

        return rc == NGX_AGAIN ? NGX_OK : rc;
    }

    b = ctx->out;
    p = b->last;

    if (ctx->include_usage) {
        p = ngx_http_llm_chunk_usage(p, ctx);
    }

    b->last = ngx_cpymem(p, "data: [DONE]\n\n", 14);

    rc = ngx_http_llm_send(r, ctx, b, 1);

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_llm_send(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_buf_t *b, ngx_uint_t last)
{
    ngx_chain_t  out;

    b->flush = !last;
    b->last_buf = last;
    b->last_in_chain = last;

    out.buf = b;
    out.next = NULL;

    ctx->silent = 0;
    ctx->finished = last;

    return ngx_http_output_filter(r, &out);
}


/* has everything that was passed on left for the client? */

static ngx_uint_t
ngx_http_llm_blocked(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    return r->buffered || r->connection->buffered
           || (ctx->out->pos != ctx->out->last && ctx->out->flush);
}


static ngx_int_t
ngx_http_llm_wait_client(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_http_core_loc_conf_t  *clcf;

    wev = r->connection->write;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->write_event_handler = ngx_http_llm_write_handler;

    if (!wev->delayed && !wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


static void
ngx_http_llm_write_handler(ngx_http_request_t *r)
{
    ngx_event_t         *wev;
    ngx_connection_t    *c;
    ngx_http_llm_ctx_t  *ctx;

    c = r->connection;
    wev = c->write;
    ctx = ngx_http_get_module_ctx(r, ngx_http_llm_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (!wev->delayed && ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (wev->delayed || ngx_http_llm_blocked(r, ctx)) {

        if (wev->timer_set && !wev->delayed) {
            /* some of it went: the timeout is between two writes */
            ngx_del_timer(wev);
        }

        if (ngx_http_llm_wait_client(r) == NGX_ERROR) {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_llm_wake(r);
}


/* nothing was sent, and nothing will be but the noted error: not of an
 * error_page's choosing */

void
ngx_http_llm_abort(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    r->error_page = 1;
    ctx->refused = 1;

    ngx_http_finalize_request(r, ngx_http_llm_fail(r, ctx));
}


/* every NGX_HTTP_LLM_KEEPALIVE ms: a sign of life, and a look at the key */

void
ngx_http_llm_timer_handler(ngx_event_t *ev)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    ngx_http_llm_ctx_t  *ctx;

    r = ev->data;
    c = r->connection;
    ctx = ngx_http_llm_get_ctx(r);

    if (r->post_action) {
        ngx_http_llm_close_slot(r, ctx);
        return;
    }

    ngx_http_set_log_request(c->log, r);

    ngx_add_timer(ev, NGX_HTTP_LLM_KEEPALIVE);

    if (ctx->stream && ctx->silent && r->header_sent
        && !ngx_http_llm_blocked(r, ctx))
    {
        ctx->out->pos = ctx->out->start;
        ctx->out->last = ngx_cpymem(ctx->out->start, ": keep-alive\n\n", 14);

        rc = ngx_http_llm_send(r, ctx, ctx->out, 0);

        if (rc == NGX_ERROR) {
            ngx_http_finalize_request(r, NGX_ERROR);
            ngx_http_run_posted_requests(c);
            return;
        }
    }

    ctx->silent = 1;

    ngx_http_llm_wake(r);
    ngx_http_run_posted_requests(c);
}


/* the engine's part is over: the slot is for others, the worker may quit */

void
ngx_http_llm_close_slot(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_main_conf_t  *mcf;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->slot >= 0) {
        mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

        mcf->worker->request[ctx->slot] = NULL;
        llm_slot_release(ngx_http_llm_zone(mcf), (int) ctx->slot);
        ctx->slot = -1;
    }
}
