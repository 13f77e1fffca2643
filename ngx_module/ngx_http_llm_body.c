
/*
 * Copyright (C) nginx-llm contributors
 *
 * A request's body as one piece of memory, for a task: what nginx has in its
 * buffers is copied on the event loop, what it put into a file is read by the
 * worker's thread.  The copy is a task's, from malloc, and outlives the request.
 */


#include "ngx_http_llm.h"


size_t
ngx_http_llm_body_size(ngx_http_request_t *r)
{
    size_t        size;
    ngx_chain_t  *cl;

    size = 0;

    for (cl = r->request_body ? r->request_body->bufs : NULL; cl;
         cl = cl->next)
    {
        size += (size_t) ngx_buf_size(cl->buf);
    }

    return size;
}


ngx_int_t
ngx_http_llm_body_copy(ngx_http_request_t *r, ngx_http_llm_body_t *body)
{
    u_char       *p;
    ngx_chain_t  *cl;

    body->fd = -1;
    body->size = ngx_http_llm_body_size(r);

    if (body->size == 0) {
        return NGX_OK;
    }

    p = ngx_alloc(body->size, r->connection->log);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body->data = p;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        if (cl->buf->in_file) {
            /* the last one, and the rest of the body */

            body->fd = dup(cl->buf->file->fd);
            body->from = cl->buf->file_pos;

            if (body->fd == -1) {
                ngx_log_error(NGX_LOG_ERR, r->connection->log, ngx_errno,
                              "dup() failed");
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            break;
        }

        /* what ends a body in chunks has no memory */

        if (cl->buf->last != cl->buf->pos) {
            p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
        }
    }

    body->len = (size_t) (p - body->data);

    return NGX_OK;
}


int
ngx_http_llm_body_read(ngx_http_llm_body_t *body)
{
    ssize_t  n;

    while (body->len < body->size) {
        n = pread(body->fd, body->data + body->len, body->size - body->len,
                  body->from);

        if (n <= 0) {
            return LLM_ERROR;
        }

        body->len += (size_t) n;
        body->from += n;
    }

    return LLM_OK;
}


void
ngx_http_llm_body_free(ngx_http_llm_body_t *body)
{
    if (body->data == NULL) {
        return;
    }

    if (body->fd != -1) {
        (void) close(body->fd);
    }

    ngx_free(body->data);
    body->data = NULL;
}
