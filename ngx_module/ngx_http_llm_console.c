
/*
 * Copyright (C) nginx-llm contributors
 *
 * Content phase of llm_console: the files of the console, which are part of
 * the module (scripts/console_embed.sh).  They are the same for everybody and
 * hold nothing of anybody's, so they need no key: whoever uses the page signs
 * in with one there, and each of its calls is judged by llm_auth.
 *
 * The table of files is the configuration's, read-only after it was made.
 */


#include "ngx_http_llm.h"
#include <openssl/evp.h>


/* of a file's SHA-256, in its ETag */
#define NGX_HTTP_LLM_CONSOLE_HASH  16


typedef struct {
    ngx_str_t   name;
    ngx_str_t   type;
    ngx_str_t   data;
} ngx_http_llm_console_data_t;

#include "ngx_http_llm_console_data.h"

#define NGX_HTTP_LLM_CONSOLE_FILES                                            \
    (sizeof(ngx_http_llm_console_data) / sizeof(ngx_http_llm_console_data[0]))


struct ngx_http_llm_console_s {
    ngx_str_t   etag[NGX_HTTP_LLM_CONSOLE_FILES];
};


typedef struct {
    const char  *key;
    ngx_str_t    value;
} ngx_http_llm_console_header_t;


static ngx_int_t ngx_http_llm_console_find(ngx_http_request_t *r,
    ngx_uint_t *file);
static ngx_int_t ngx_http_llm_console_slash(ngx_http_request_t *r);
static ngx_int_t ngx_http_llm_console_headers(ngx_http_request_t *r,
    ngx_str_t *etag);
static ngx_int_t ngx_http_llm_console_send(ngx_http_request_t *r,
    const ngx_http_llm_console_data_t *file);
static ngx_int_t ngx_http_llm_console_etag(ngx_conf_t *cf,
    const ngx_str_t *data, ngx_str_t *etag);


/*
 * Nothing but these files and calls to this very origin.  no-cache: a browser
 * asks each time whether its copy is the newest, and mostly hears 304.
 */

static const ngx_http_llm_console_header_t  ngx_http_llm_console_header[] = {

    { "Cache-Control", ngx_string("no-cache") },

    { "Content-Security-Policy",
      ngx_string("default-src 'none'; script-src 'self'; style-src 'self'; "
                 "connect-src 'self'; img-src 'self'; "
                 "base-uri 'none'; form-action 'none'; "
                 "frame-ancestors 'none'; "
                 "require-trusted-types-for 'script'") },

    { "X-Content-Type-Options", ngx_string("nosniff") },

    { "Referrer-Policy", ngx_string("no-referrer") },

    { NULL, ngx_null_string }
};


ngx_int_t
ngx_http_llm_console_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                 allow;
    ngx_uint_t                file;
    ngx_http_llm_loc_conf_t  *lcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        ngx_str_set(&allow, "GET, HEAD");

        if (ngx_http_llm_header(r, "Allow", &allow) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_llm_console_find(r, &file);

    if (rc != NGX_OK) {
        return rc;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_llm_module);

    if (ngx_http_llm_console_headers(r, &lcf->console->etag[file]) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_llm_console_send(r, &ngx_http_llm_console_data[file]);
}


/* what stands after the location's prefix is a file's name, or nothing */

static ngx_int_t
ngx_http_llm_console_find(ngx_http_request_t *r, ngx_uint_t *file)
{
    ngx_str_t                  name;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->uri.len < clcf->name.len) {
        return NGX_HTTP_NOT_FOUND;
    }

    name.data = r->uri.data + clcf->name.len;
    name.len = r->uri.len - clcf->name.len;

    if (clcf->name.data[clcf->name.len - 1] != '/') {

        if (name.len == 0) {
            return ngx_http_llm_console_slash(r);
        }

        if (name.data[0] != '/') {
            return NGX_HTTP_NOT_FOUND;
        }

        name.data++;
        name.len--;
    }

    if (name.len == 0) {
        ngx_str_set(&name, "index.html");
    }

    for (i = 0; i < NGX_HTTP_LLM_CONSOLE_FILES; i++) {

        if (ngx_http_llm_console_data[i].name.len == name.len
            && ngx_memcmp(ngx_http_llm_console_data[i].name.data, name.data,
                          name.len)
               == 0)
        {
            *file = i;
            return NGX_OK;
        }
    }

    return NGX_HTTP_NOT_FOUND;
}


/* the page's own links begin where it lies.  A location whose name has the
 * slash is redirected to by the core */

static ngx_int_t
ngx_http_llm_console_slash(ngx_http_request_t *r)
{
    u_char           *p;
    ngx_str_t         to;
    ngx_table_elt_t  *h;

    to.len = r->uri.len + 1;
    p = ngx_pnalloc(r->pool, to.len);

    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    to.data = p;
    p = ngx_cpymem(p, r->uri.data, r->uri.len);
    *p = '/';

    ngx_http_clear_location(r);

    h = ngx_http_llm_header(r, "Location", &to);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.location = h;

    return NGX_HTTP_MOVED_PERMANENTLY;
}


static ngx_int_t
ngx_http_llm_console_headers(ngx_http_request_t *r, ngx_str_t *etag)
{
    ngx_str_t                             value;
    ngx_table_elt_t                      *h;
    const ngx_http_llm_console_header_t  *header;

    for (header = ngx_http_llm_console_header; header->key; header++) {
        value = header->value;

        if (ngx_http_llm_header(r, header->key, &value) == NULL) {
            return NGX_ERROR;
        }
    }

    h = ngx_http_llm_header(r, "ETag", etag);
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.etag = h;

    return NGX_OK;
}


static ngx_int_t
ngx_http_llm_console_send(ngx_http_request_t *r,
    const ngx_http_llm_console_data_t *file)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = (off_t) file->data.len;
    r->headers_out.content_type = file->type;
    r->headers_out.content_type_len = file->type.len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_str_set(&r->headers_out.charset, "utf-8");

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = file->data.data;
    b->last = file->data.data + file->data.len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


char *
ngx_http_llm_console_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t  *lcf = conf;

    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->console) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->named
#if (NGX_PCRE)
        || clcf->regex
#endif
        || clcf->name.len == 0)
    {
        return "needs a location by prefix: what follows it is a file";
    }

    lcf->console = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_console_t));
    if (lcf->console == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < NGX_HTTP_LLM_CONSOLE_FILES; i++) {

        if (ngx_http_llm_console_etag(cf, &ngx_http_llm_console_data[i].data,
                                      &lcf->console->etag[i])
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    clcf->handler = ngx_http_llm_console_handler;

    if (clcf->name.data[clcf->name.len - 1] == '/') {
        clcf->auto_redirect = 1;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_llm_console_etag(ngx_conf_t *cf, const ngx_str_t *data,
    ngx_str_t *etag)
{
    u_char        *p, hash[EVP_MAX_MD_SIZE];
    unsigned int   len;

    etag->len = 2 * NGX_HTTP_LLM_CONSOLE_HASH + 2;
    etag->data = ngx_pnalloc(cf->pool, etag->len);

    if (etag->data == NULL) {
        return NGX_ERROR;
    }

    if (EVP_Digest(data->data, data->len, hash, &len, EVP_sha256(), NULL)
        != 1)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "llm_console: EVP_Digest() failed");
        return NGX_ERROR;
    }

    p = etag->data;
    *p++ = '"';
    p = ngx_hex_dump(p, hash, NGX_HTTP_LLM_CONSOLE_HASH);
    *p = '"';

    return NGX_OK;
}
