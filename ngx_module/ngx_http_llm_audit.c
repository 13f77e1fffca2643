
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request's two records in the audit trail: the opening one, posted as soon
 * as what it says is known, so that its commit overlaps with the work for the
 * answer, and the closing one in the log phase.
 *
 *     llm_pass           when the engine has the body
 *     other servers      when the access phase has let it in, with the body
 *                        if that is short, or at the answer's header
 *     administration     before it acts
 *     all else, refused  at the answer's header
 */


#include "ngx_http_llm.h"


static ngx_int_t ngx_http_llm_audit_begin(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
static void ngx_http_llm_audit_texts(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_record_t *rec);
static void ngx_http_llm_audit_text(llm_audit_text_t *t, char *dst,
    size_t size, ngx_str_t *src);
static void ngx_http_llm_audit_input(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_record_t *rec);
static void ngx_http_llm_audit_end(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_http_llm_record_t *rec);
static void ngx_http_llm_audit_times(ngx_http_llm_ctx_t *ctx,
    llm_audit_close_t *c);
static void ngx_http_llm_audit_output(ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_record_t *rec);
static void ngx_http_llm_audit_keep(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, const u_char *data, size_t len);
static int64_t ngx_http_llm_boottime(void);


ngx_uint_t
ngx_http_llm_audited(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t        *ctx;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    ctx = ngx_http_llm_get_ctx(r);

    if (ctx && ctx->record) {
        return 1;
    }

    if (ctx && (ctx->health || ctx->looks)) {
        return 0;
    }

    if (ctx && ctx->noted) {
        return 1;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    return lcf->audit == 1 && mcf->worker != NULL;
}


/*
 * An error page, or X-Accel-Redirect, may lead to a location that is not
 * audited, by another path and with another method, before there is a record.
 */

void
ngx_http_llm_audit_note(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    if (ctx->noted || !ngx_http_llm_audited(r)) {
        return;
    }

    ctx->noted = 1;
    ctx->method = r->method_name;
    ctx->path = r->uri;
}


ngx_int_t
ngx_http_llm_audit_open(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    if (ctx->record == NULL && ngx_http_llm_audit_begin(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    return ctx->record->state == NGX_HTTP_LLM_AUDIT_FAILED ? NGX_ERROR
                                                           : NGX_OK;
}


static ngx_int_t
ngx_http_llm_audit_begin(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_msec_t                 elapsed;
    llm_audit_open_t          *o;
    ngx_http_llm_record_t     *rec;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    rec = ngx_calloc(sizeof(ngx_http_llm_record_t), r->connection->log);
    if (rec == NULL) {
        return NGX_ERROR;
    }

    rec->request = r;
    rec->ctx = ctx;

    elapsed = ngx_current_msec - ctx->start;

    o = &rec->open;
    ngx_memcpy(o->request, ctx->id_data, sizeof(ctx->id_data));
    o->wall = ngx_http_llm_now() - (int64_t) elapsed;
    o->mono = ngx_http_llm_boottime() - (int64_t) elapsed;
    o->content = (lcf->audit_content == 1 && !lcf->admin);
    o->act = (lcf->admin && ctx->authenticated
              && !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)));

    ngx_http_llm_audit_texts(r, ctx, rec);
    ngx_http_llm_audit_input(r, ctx, rec);

    ctx->record = rec;

    if (ngx_http_llm_trail_add(mcf, rec) != NGX_OK) {

        /* it is closed all the same: a call that was refused */

        rec->state = NGX_HTTP_LLM_AUDIT_FAILED;
        rec->size = 0;
        ngx_http_llm_body_free(&rec->body);
    }

    return NGX_OK;
}


static void
ngx_http_llm_audit_texts(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_record_t *rec)
{
    ngx_str_t          client, *path;
    llm_audit_open_t  *o = &rec->open;

    if (ctx->key) {
        ngx_memcpy(rec->key, ctx->key->id, sizeof(rec->key));
        o->key = rec->key;
        o->role = (uint8_t) ctx->key->role;

        client.data = (u_char *) ctx->key->client;
        client.len = ngx_strlen(ctx->key->client);
        ngx_http_llm_audit_text(&o->client, rec->client, sizeof(rec->client),
                                &client);
    }

    ngx_http_llm_audit_text(&o->addr, rec->addr, sizeof(rec->addr),
                            &r->connection->addr_text);
    ngx_http_llm_audit_text(&o->method, rec->method, sizeof(rec->method),
                            ctx->noted ? &ctx->method : &r->method_name);

    path = r->uri.len ? &r->uri : &r->unparsed_uri;

    ngx_http_llm_audit_text(&o->path, rec->path, sizeof(rec->path),
                            ctx->noted ? &ctx->path : path);
    ngx_http_llm_audit_text(&o->model, rec->model, sizeof(rec->model),
                            &ctx->model);

    if (r->headers_in.user_agent) {
        ngx_http_llm_audit_text(&o->agent, rec->agent, sizeof(rec->agent),
                                &r->headers_in.user_agent->value);
    }
}


static void
ngx_http_llm_audit_text(llm_audit_text_t *t, char *dst, size_t size,
    ngx_str_t *src)
{
    ngx_http_llm_call_text(dst, size, src);

    t->len = ngx_min(src->len, size - 1);
    t->data = t->len ? dst : NULL;
}


/*
 * The body, whole, in memory of the record's own.  None of administration's:
 * it may hold a code.
 */

static void
ngx_http_llm_audit_input(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_record_t *rec)
{
    size_t                    size;
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (lcf->engine.len) {

        if (ctx->submitted) {
            rec->body = ctx->body;
            ctx->body.data = NULL;
        }

        rec->size += rec->body.size;
        return;
    }

    if (lcf->admin || r->request_body == NULL || r->request_body->rest
        || r->request_body_no_buffering
        || (r->request_body->temp_file
            && r->request_body->temp_file->file.fd == NGX_INVALID_FILE))
    {
        return;
    }

    size = ngx_http_llm_body_size(r);

    if (size == 0 || size > LLM_AUDIT_CONTENT) {
        return;
    }

    if (ngx_http_llm_body_copy(r, &rec->body) != NGX_OK) {
        ngx_http_llm_body_free(&rec->body);
        rec->body.size = 0;
        return;
    }

    rec->size += rec->body.size;
}


ngx_int_t
ngx_http_llm_audit_wait(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    void (*handler)(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx))
{
    if (ngx_http_llm_audit_open(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->record->state == NGX_HTTP_LLM_AUDIT_DURABLE) {
        return NGX_OK;
    }

    ctx->wait = handler;

    return NGX_AGAIN;
}


/* the trail knows whether the opening record is durable */

void
ngx_http_llm_audit_known(ngx_http_llm_record_t *rec)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r = rec->request;
    ngx_http_llm_ctx_t  *ctx = rec->ctx;

    void  (*wait)(ngx_http_request_t *, ngx_http_llm_ctx_t *);

    c = r->connection;
    wait = ctx->wait;

    ngx_http_set_log_request(c->log, r);

    if (wait) {
        ctx->wait = NULL;
        wait(r, ctx);

    } else if (ctx->holds) {
        ngx_http_llm_hold_end(r, ctx);

    } else if (rec->state == NGX_HTTP_LLM_AUDIT_FAILED
               && ctx->submitted && !ctx->finished && !r->post_action)
    {
        (void) ngx_http_llm_audit_error(r);
        ngx_http_llm_abort(r, ctx);
    }

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_llm_audit_error(ngx_http_request_t *r)
{
    ngx_http_llm_ctx_t  *ctx = ngx_http_llm_get_ctx(r);

    ctx->retry_after = 1;

    return ngx_http_llm_error(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                              "audit_unavailable",
                              ctx->acted ? "this was done, but the audit trail "
                                           "can't be written now, so there is "
                                           "no answer without a record"
                                         : "the audit trail can't be written "
                                           "now, so no request is answered");
}


/* log phase */

void
ngx_http_llm_audit_close(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_record_t     *rec;
    ngx_http_llm_main_conf_t  *mcf;

    if (!ngx_http_llm_audited(r)) {
        return;
    }

    /* one that ended before anything was answered has no record yet */

    (void) ngx_http_llm_audit_open(r, ctx);

    rec = ctx->record;

    if (rec == NULL || rec->closed) {
        return;
    }

    ngx_http_llm_audit_end(r, ctx, rec);

    rec->request = NULL;
    rec->ctx = NULL;
    rec->closed = 1;

    if (rec->queued) {
        /* it goes with the opening record, or after it */
        return;
    }

    ctx->record = NULL;
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    if (ngx_http_llm_trail_add(mcf, rec) != NGX_OK) {
        ngx_http_llm_record_free(rec);
    }
}


static void
ngx_http_llm_audit_end(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_http_llm_record_t *rec)
{
    off_t                     sent;
    llm_audit_close_t        *c = &rec->close;
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    ngx_memcpy(c->request, rec->open.request, sizeof(c->request));
    c->wall = ngx_http_llm_now();
    c->mono = ngx_http_llm_boottime();

    c->status = (uint32_t) (r->err_status ? r->err_status
                                          : r->headers_out.status);

    if (c->status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {
        c->status = 0;
    }

    c->prompt_tokens = ctx->prompt_tokens;
    c->cached_tokens = ctx->cached_tokens;
    c->completion_tokens = ngx_http_llm_completion_tokens(ctx);

    sent = r->connection->sent - (off_t) r->header_size;
    c->sent = sent > 0 ? (uint64_t) sent : 0;

    if (ctx->model.len) {
        ngx_http_llm_call_text(rec->answered, sizeof(rec->answered),
                               &ctx->model);
        c->model = rec->answered;
    }

    if (ctx->accepted && ctx->n_choice) {
        c->seed = ctx->seed;
        c->effective = ctx->effective;
        c->build = ctx->build;
        c->with_seed = 1;
    }

    if (ctx->finished && ctx->n_choice && ctx->choice[0].finish) {
        c->finish = ngx_http_llm_finish_name(ctx->choice[0].finish);
    }

    if (ctx->status >= NGX_HTTP_BAD_REQUEST && ctx->code.len) {
        ngx_http_llm_call_text(rec->code, sizeof(rec->code), &ctx->code);
        c->code = rec->code;
    }

    ngx_http_llm_audit_times(ctx, c);

    if (ctx->unaudited || lcf->admin) {
        return;
    }

    c->content = (lcf->audit_content == 1);
    ngx_http_llm_audit_output(ctx, rec);
}


static void
ngx_http_llm_audit_times(ngx_http_llm_ctx_t *ctx, llm_audit_close_t *c)
{
    c->total_us = ngx_http_llm_us() - ctx->arrival_us;
    c->queue_us = ctx->queue_us;
    c->ttft_us = ctx->ttft_us;
    c->inference_us = ctx->inference_us;
}


/* the texts become the record's: nobody else needs them any more */

static void
ngx_http_llm_audit_output(ngx_http_llm_ctx_t *ctx, ngx_http_llm_record_t *rec)
{
    ngx_uint_t              i;
    llm_audit_close_t      *c = &rec->close;
    ngx_http_llm_choice_t  *ch;

    for (i = 0; i < ctx->n_choice && i < LLM_AUDIT_OUTPUTS; i++) {
        ch = &ctx->choice[i];

        rec->output[i] = ch->text;
        rec->size += ch->size;
        ch->text = NULL;

        c->output[i].data = (char *) rec->output[i];
        c->output[i].len = ch->len;
        c->n_output++;
    }

    if (ctx->n_choice) {
        return;
    }

    if (ctx->keeps && ctx->kept) {
        rec->output[0] = ctx->kept;
        rec->size += ctx->kept_size;
        ctx->kept = NULL;

        c->output[0].data = (char *) rec->output[0];
        c->output[0].len = ctx->kept_len;
        c->n_output = 1;

    } else if (ctx->print) {
        llm_audit_print_done(ctx->print, rec->print);
        ctx->print = NULL;
        c->print = rec->print;
    }
}


/* the request's pool goes away */

void
ngx_http_llm_audit_done(ngx_http_llm_ctx_t *ctx)
{
    ngx_http_llm_record_t  *rec = ctx->record;

    ctx->record = NULL;

    if (rec && !rec->closed) {
        rec->request = NULL;
        rec->ctx = NULL;

        if (!rec->queued) {
            ngx_http_llm_record_free(rec);
        }
    }

    ngx_http_llm_body_free(&ctx->body);
    llm_audit_print_free(ctx->print);
    ctx->print = NULL;

    free(ctx->kept);
    ctx->kept = NULL;
}


/*
 * Header filter, a response that another server gave: its body has a
 * fingerprint.  It is made as the body passes; the text is kept where content
 * is, and where the trail is not open yet.
 */

void
ngx_http_llm_audit_header(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx)
{
    llm_audit_t               *a;
    ngx_http_llm_loc_conf_t   *lcf;
    ngx_http_llm_main_conf_t  *mcf;

    if (r->upstream == NULL || ctx->print || ctx->keeps
        || !ngx_http_llm_audited(r))
    {
        return;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_llm_module);

    a = ngx_http_llm_trail_handle(mcf);

    ctx->keeps = (a == NULL || lcf->audit_content == 1);
    ctx->print = a ? llm_audit_print_new(a) : NULL;

    /* what waits in a file for a slow client, or for a cache, is read too */

    r->filter_need_in_memory = 1;
}


void
ngx_http_llm_audit_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_chain_t *in)
{
    size_t        len;
    ngx_chain_t  *cl;

    for (cl = in; cl; cl = cl->next) {

        if (!ngx_buf_in_memory(cl->buf)) {
            continue;
        }

        len = (size_t) (cl->buf->last - cl->buf->pos);

        if (len && ctx->print) {
            llm_audit_print(ctx->print, cl->buf->pos, len);
        }

        if (len && ctx->keeps) {
            ngx_http_llm_audit_keep(r, ctx, cl->buf->pos, len);
        }
    }
}


static void
ngx_http_llm_audit_keep(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    const u_char *data, size_t len)
{
    if (ctx->kept_len + len <= LLM_AUDIT_CONTENT
        && ngx_http_llm_append(&ctx->kept, &ctx->kept_len, &ctx->kept_size,
                               data, len, r->connection->log)
           == NGX_OK)
    {
        return;
    }

    /* too long to keep: its fingerprint is */

    ctx->keeps = 0;
    free(ctx->kept);
    ctx->kept = NULL;
}


ngx_int_t
ngx_http_llm_append(u_char **text, size_t *len, size_t *size,
    const u_char *data, size_t n, ngx_log_t *log)
{
    u_char  *p;
    size_t   want;

    if (*size - *len < n) {
        want = *size ? *size * 2 : 1024;
        want = ngx_max(want, *len + n);

        p = realloc(*text, want);
        if (p == NULL) {
            ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                          "realloc(%uz) failed", want);
            return NGX_ERROR;
        }

        *text = p;
        *size = want;
    }

    ngx_memcpy(*text + *len, data, n);
    *len += n;

    return NGX_OK;
}


static int64_t
ngx_http_llm_boottime(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_BOOTTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
