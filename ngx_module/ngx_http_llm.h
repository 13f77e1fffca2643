
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to the module's files:
 *     ngx_http_llm_module.c         directives, configuration, module table
 *     ngx_http_llm_process.c        shared zone, workers, the engine's helper
 *     ngx_http_llm_auth.c           access phase: API keys
 *     ngx_http_llm_handler.c        content phase: routes, body, submission
 *     ngx_http_llm_stream.c         engine events to SSE or JSON
 *     ngx_http_llm_json.c           JSON text, errors
 *     ngx_http_llm_variables.c      $llm_*
 *     ngx_http_llm_filter_module.c  errors in the API's shape, revocation of
 *                                   what other handlers stream
 *
 * All of it runs on the event loop of one process, but for the master's part
 * of the configuration.
 */


#ifndef _NGX_HTTP_LLM_H_INCLUDED_
#define _NGX_HTTP_LLM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../engine/llm_engine.h"
#include "../engine/llm_request.h"
#include "store/llm_store.h"


#define NGX_HTTP_LLM_OUT_SIZE   16384   /* a stream's output buffer */
#define NGX_HTTP_LLM_EVENT_SIZE 1024    /* the most one event becomes */
#define NGX_HTTP_LLM_KEEPALIVE  5000    /* ms of silence in a stream */


/* one process's share: worker or single process */
typedef struct {
    ngx_int_t            index;         /* in the zone, -1: none */
    ngx_connection_t    *connection;    /* of the wake-up eventfd */
    llm_store_t         *store;
    time_t               store_tried;   /* the last failure to open it */
    u_char               random[4096];  /* for request ids, drawn at once */
    size_t               random_used;
    ngx_http_request_t  *request[LLM_ZONE_SLOTS];   /* by slot */
} ngx_http_llm_worker_t;


typedef struct {
    ngx_str_t               store;
    ssize_t                 store_size;
    ngx_str_t               secret_source;

    ngx_array_t             engines;    /* of llm_engine_conf_t */
    uint64_t                hash;       /* of the engines, by the master */
    ngx_shm_zone_t         *shm;

    llm_secret_t           *secret;
    ngx_flag_t              auth_used;
    ngx_uint_t              pass_used;

    ngx_path_t              path;       /* makes the core spawn a helper */
    llm_host_t             *host;       /* in the helper */
    ngx_connection_t       *host_connection;
    ngx_event_handler_pt    channel_handler;
    unsigned                retired:1;

    ngx_http_llm_worker_t  *worker;
} ngx_http_llm_main_conf_t;


typedef struct {
    ngx_flag_t          auth;
    ngx_uint_t          role;           /* the least that is let in */
    ngx_str_t           engine;         /* llm_pass */
    uint64_t            engine_hash;
} ngx_http_llm_loc_conf_t;


/* the shape of errors */
typedef enum {
    NGX_HTTP_LLM_OPENAI = 0,
    NGX_HTTP_LLM_ANTHROPIC
} ngx_http_llm_shape_e;


/* one of the choices of a request that is being answered */
typedef struct {
    u_char              *text;          /* not streamed: from malloc */
    size_t               len;
    size_t               size;
    uint32_t             tokens;
    llm_finish_e         finish;
    unsigned             begun:1;       /* streamed: the role was sent */
} ngx_http_llm_choice_t;


/*
 * The state of a request.  It hangs on the pool, not only on the module's
 * slot of r->ctx, which an internal redirect clears.
 */
typedef struct {
    ngx_http_request_t     *request;
    ngx_str_t               id;         /* request id: 32 hex */
    u_char                  id_data[32];

    /* llm_auth */
    llm_key_t               key;
    uint64_t                txnid;      /* of the store, when last looked */

    /* the error to answer, if any: in the pool */
    ngx_uint_t              status;
    ngx_uint_t              retry_after;
    ngx_str_t               code;
    ngx_str_t               param;
    ngx_str_t               message;

    /* llm_pass */
    llm_api_e               api;
    ngx_str_t               model;
    ngx_int_t               slot;       /* -1: none */
    time_t                  created;
    ngx_msec_t              start;
    ngx_http_llm_choice_t  *choice;     /* [n_choice] */
    ngx_uint_t              n_choice;
    uint32_t                prompt_tokens;
    uint32_t                cached_tokens;
    uint32_t                completion_tokens;
    ngx_msec_t              ttft;
    ngx_msec_t              inference_time;
    ngx_buf_t              *out;        /* streamed: the one output buffer */
    ngx_event_t             timer;      /* keep-alive; keeps the worker */

    unsigned                authenticated:1;
    unsigned                revoked:1;
    unsigned                submitted:1;
    unsigned                accepted:1;
    unsigned                stream:1;
    unsigned                include_usage:1;
    unsigned                first_token:1;
    unsigned                silent:1;   /* nothing was sent since the timer */
    unsigned                finished:1; /* the last bytes were passed on */
    unsigned                replace:1;  /* filter: our error for the core's */
    unsigned                replaced:1;
} ngx_http_llm_ctx_t;


extern ngx_module_t  ngx_http_llm_module;


/* ngx_http_llm_module.c */
ngx_http_llm_ctx_t *ngx_http_llm_get_ctx(ngx_http_request_t *r);
ngx_http_llm_ctx_t *ngx_http_llm_make_ctx(ngx_http_request_t *r);
ngx_http_llm_worker_t *ngx_http_llm_worker(ngx_http_request_t *r);

/* ngx_http_llm_process.c */
ngx_int_t ngx_http_llm_init_zone(ngx_shm_zone_t *shm, void *data);
ngx_int_t ngx_http_llm_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_llm_init_process(ngx_cycle_t *cycle);
void ngx_http_llm_exit_process(ngx_cycle_t *cycle);
llm_zone_t *ngx_http_llm_zone(ngx_http_llm_main_conf_t *mcf);
llm_store_t *ngx_http_llm_store(ngx_http_llm_main_conf_t *mcf,
    ngx_log_t *log);

/* ngx_http_llm_auth.c */
ngx_int_t ngx_http_llm_access_handler(ngx_http_request_t *r);

/* NGX_OK while the request's key is good; else the error is set */
ngx_int_t ngx_http_llm_check_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_handler.c */
ngx_int_t ngx_http_llm_handler(ngx_http_request_t *r);
void ngx_http_llm_cleanup(void *data);

/* ngx_http_llm_stream.c */
void ngx_http_llm_wake(ngx_http_request_t *r);
void ngx_http_llm_timer_handler(ngx_event_t *ev);

/* ngx_http_llm_json.c */

/* text as the inside of a JSON string; dst must have 6 bytes for each */
u_char *ngx_http_llm_escape(u_char *dst, const u_char *text, size_t len);

/* note what to answer; returns status for the core.  code: a literal */
ngx_int_t ngx_http_llm_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *fmt, ...);

/* the noted error, or the core's own status, as a JSON body in the shape of
 * the API called; within a stream without the shape's outer members */
ngx_int_t ngx_http_llm_error_body(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_uint_t status, ngx_str_t *body);

ngx_int_t ngx_http_llm_send_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);

/* add a response header; key and value must outlive the request */
ngx_table_elt_t *ngx_http_llm_header(ngx_http_request_t *r, const char *key,
    ngx_str_t *value);

/* ngx_http_llm_variables.c */
ngx_int_t ngx_http_llm_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_LLM_H_INCLUDED_ */
