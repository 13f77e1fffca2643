
/*
 * Copyright (C) nginx-llm contributors
 *
 * Private to the module's files:
 *     ngx_http_llm_module.c         directives, configuration, module table
 *     ngx_http_llm_ctx.c            a request's state and its id
 *     ngx_http_llm_engine.c         the block of llm_engine
 *     ngx_http_llm_process.c        shared zones, workers, the engine's helper
 *     ngx_http_llm_store.c          a process's stores, what the master sets
 *     ngx_http_llm_thread.c         a worker's threads for what blocks
 *     ngx_http_llm_body.c           a body in one piece, for the thread
 *     ngx_http_llm_auth.c           access phase: API keys and their scopes
 *     ngx_http_llm_quota.c          quotas, and the headers that tell them
 *     ngx_http_llm_calls.c          records of calls and usage, to the store
 *     ngx_http_llm_trail.c          a worker's way to the audit trail
 *     ngx_http_llm_audit.c          a request's two records in it
 *     ngx_http_llm_proxy.c          models and tokens of other model servers
 *     ngx_http_llm_handler.c        content phase: routes, body, submission
 *     ngx_http_llm_health.c         /healthz and /readyz
 *     ngx_http_llm_stream.c         engine events to the client
 *     ngx_http_llm_answer.c         what an answer looks like
 *     ngx_http_llm_admin.c          content phase: administration
 *     ngx_http_llm_console.c        content phase: the console's files
 *     ngx_http_llm_metrics.c        counting, and its text for Prometheus
 *     ngx_http_llm_notify.c         events to a location of the user's
 *     ngx_http_llm_json.c           JSON text, errors
 *     ngx_http_llm_variables.c      $llm_*
 *     ngx_http_llm_filter_module.c  errors in the API's shape, revocation of
 *                                   what other handlers stream
 *     ngx_http_llm_hold_module.c    no answer leaves before its record
 *
 * All of it runs on the event loop of one process, but for the master's part
 * of the configuration and what a task runs on the worker's thread.
 */


#ifndef _NGX_HTTP_LLM_H_INCLUDED_
#define _NGX_HTTP_LLM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../engine/llm_engine.h"
#include "../engine/llm_request.h"
#include "audit/llm_audit.h"
#include "metrics/llm_metrics.h"
#include "store/llm_admin.h"
#include "store/llm_calls.h"
#include "store/llm_quota.h"
#include "store/llm_store.h"
#include "store/llm_usage.h"


#define NGX_HTTP_LLM_OUT_SIZE   16384   /* a stream's output buffer */
#define NGX_HTTP_LLM_EVENT_SIZE 1024    /* the most one event becomes */
#define NGX_HTTP_LLM_KEEPALIVE  5000    /* ms of silence in a stream */
#define NGX_HTTP_LLM_FLUSH      500     /* ms until usage is in the store */
#define NGX_HTTP_LLM_CALLS      32768   /* records that wait for it, at most */
#define NGX_HTTP_LLM_CALLS_SOON 1024    /* so many do not wait */
#define NGX_HTTP_LLM_NOTICE     14      /* days before a key's end */
#define NGX_HTTP_LLM_QUOTA_KEYS 65536   /* keys that call at a time */
#define NGX_HTTP_LLM_ADMIN_BODY 65536
#define NGX_HTTP_LLM_ASK_BODY   (32 * 1024 * 1024)

#define NGX_HTTP_LLM_TRAIL_RECORDS  16384       /* that wait, at most */
#define NGX_HTTP_LLM_TRAIL_SIZE     (256 * 1024 * 1024)     /* of texts */
#define NGX_HTTP_LLM_TRAIL_SOON     100         /* ms that an end waits */
#define NGX_HTTP_LLM_TRAIL_MANY     1024        /* ends that do not wait */
#define NGX_HTTP_LLM_TRAIL_TRY      1000        /* ms from try to try */
#define NGX_HTTP_LLM_TRAIL_LATE     10000       /* ms that an answer waits */
#define NGX_HTTP_LLM_AUDIT_BODY     (1024 * 1024)   /* of other servers' calls,
                                                       read before they begin */

#define NGX_HTTP_LLM_ID_RANDOM  10      /* bytes of a request's id */

#define NGX_HTTP_LLM_PAYMENT_REQUIRED  402


typedef struct ngx_http_llm_thread_s  ngx_http_llm_thread_t;
typedef struct ngx_http_llm_notify_s  ngx_http_llm_notify_t;
typedef struct ngx_http_llm_task_s    ngx_http_llm_task_t;
typedef struct ngx_http_llm_console_s ngx_http_llm_console_t;
typedef struct ngx_http_llm_trail_s   ngx_http_llm_trail_t;
typedef struct ngx_http_llm_record_s  ngx_http_llm_record_t;
typedef struct ngx_http_llm_ctx_s     ngx_http_llm_ctx_t;


/* work for a worker's thread: the first member of its owner's struct */
struct ngx_http_llm_task_s {
    void                 (*run)(ngx_http_llm_task_t *task,
                                llm_store_t *store, llm_calls_t *calls);
    void                 (*done)(ngx_http_llm_task_t *task);
    ngx_http_llm_task_t   *next;
    ngx_http_request_t    *request;     /* NULL: none, or it is gone */
    unsigned               keeps:1;     /* the worker: requests wait for it */
    llm_audit_t           *audit;       /* for run(), NULL: it is not open */
    void                  *data;
};


/* a request's body, on its way to a task; zeroed at first */
typedef struct {
    u_char              *data;          /* from malloc, NULL: empty */
    size_t               len;           /* of what is there */
    size_t               size;
    int                  fd;            /* the rest is in a file, -1: not */
    off_t                from;
} ngx_http_llm_body_t;


/* what of a worker's must work for requests to be served, and blocks when it
 * is looked at */
typedef enum {
    NGX_HTTP_LLM_STORE = 0,
    NGX_HTTP_LLM_AUDIT,
    NGX_HTTP_LLM_PARTS
} ngx_http_llm_part_e;


typedef struct {
    ngx_queue_t          waiting;       /* requests, for a look's end */
    ngx_event_t          late;
    ngx_msec_t           looked;        /* ngx_current_msec */
    ngx_uint_t           looking;       /* parts that are not known yet */
    ngx_uint_t           known;

    struct {
        const char      *state;         /* "ok", or why not; NULL: there is no
                                           such part */
        int              rc;            /* of the last look, for the log */
        unsigned         looking:1;
        unsigned         hangs:1;       /* its look does */
        unsigned         told:1;        /* that it is not ready */
    } part[NGX_HTTP_LLM_PARTS];
} ngx_http_llm_health_t;


/* how a call's opening record stands */
typedef enum {
    NGX_HTTP_LLM_AUDIT_WAITS = 0,
    NGX_HTTP_LLM_AUDIT_DURABLE,
    NGX_HTTP_LLM_AUDIT_FAILED
} ngx_http_llm_audit_e;


/*
 * The two records of a call: from calloc, the request's until the call has
 * ended, then the trail's; the thread's while they are written.
 */
struct ngx_http_llm_record_s {
    ngx_http_llm_record_t  *next;
    ngx_http_request_t     *request;    /* NULL: it is gone */
    ngx_http_llm_ctx_t     *ctx;        /* with the request */
    ngx_http_llm_audit_e    state;
    uint64_t                posted;     /* us */

    llm_audit_open_t        open;
    llm_audit_close_t       close;
    size_t                  size;       /* of the texts from malloc */

    char                    key[LLM_KEY_ID_LEN + 1];
    char                    client[65];
    char                    addr[47];
    char                    method[17];
    char                    path[257];
    char                    model[65];
    char                    agent[129];
    ngx_http_llm_body_t     body;

    char                    answered[65];       /* model */
    char                    code[48];
    u_char                 *output[LLM_AUDIT_OUTPUTS];
    uint8_t                 print[LLM_AUDIT_HASH];

    /* of the batch that writes it */
    ngx_uint_t              opening;
    ngx_uint_t              closing;
    ngx_uint_t              failed;     /* by itself: malformed */

    /* the event loop's */
    size_t                  counted;    /* of size, while it is queued */
    unsigned                queued:1;   /* waits, or is being written */
    unsigned                closed:1;   /* close is filled in */
};


/* one process's share: worker or single process */
typedef struct {
    ngx_int_t            index;         /* in the zone, -1: none */
    ngx_connection_t    *connection;    /* of the wake-up eventfd */
    llm_store_t         *store;
    llm_calls_t         *calls;
    time_t               store_tried;   /* the last failure to open it */
    time_t               calls_tried;
    uint64_t             txnid;         /* of the store, parameters known */
    ngx_http_llm_thread_t *thread;
    ngx_http_llm_health_t health;
    ngx_http_llm_thread_t *audit_thread;
    ngx_http_llm_trail_t  *trail;

    llm_call_t          *call;          /* records that wait, from malloc */
    size_t               n_call;
    size_t               max_call;
    llm_call_t          *spare_call;    /* where the next ones will, or NULL */
    size_t               max_spare;
    size_t               lost;
    ngx_event_t          flush;
    ngx_event_t          scan;          /* keys about to end, old records:
                                           hourly */
    ngx_event_t          sample;        /* of the metrics, every 10 s */
    unsigned             flushing:1;
    unsigned             closing:1;

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
    ngx_shm_zone_t         *quota_shm;
    ngx_shm_zone_t         *metrics_shm;
    time_t                  max_age;    /* seconds; 0: keys do not age */
    ngx_uint_t              totp;       /* 1: required of all */
    time_t                  audit_keep; /* seconds; 0: for ever */
    ngx_uint_t              audited;    /* some location is */
    ngx_http_llm_notify_t  *notify;
    ngx_uint_t              identity_hash[3];   /* of X-LLM-* */
    ngx_http_log_handler_pt log_handler;        /* the core's */

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
    ngx_flag_t          admin;          /* llm_admin */
    ngx_flag_t          metrics;        /* llm_metrics */
    ngx_flag_t          audit_said;     /* llm_audit */
    ngx_flag_t          audit;          /* once merged: it is audited */
    ngx_flag_t          audit_content;
    ngx_http_llm_console_t  *console;   /* llm_console */
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


/* how a key stands, for headers: llm_quota_view_t without its record */
typedef struct {
    uint32_t             rpm;
    uint32_t             rpm_reset;
    uint32_t             tpm;
    uint32_t             tpm_reset;
} ngx_http_llm_left_t;


/*
 * The state of a request.  It hangs on the pool, not only on the module's
 * slot of r->ctx, which an internal redirect clears.
 */
struct ngx_http_llm_ctx_s {
    ngx_http_request_t     *request;
    ngx_str_t               id;         /* request id: 32 hex, time first */
    u_char                  id_data[32];

    /* llm_auth */
    llm_key_t              *key;        /* in the pool, NULL: not known */
    size_t                  key_size;   /* of it: llm_key_size() or more */
    uint64_t                txnid;      /* of the store, when last looked */
    ngx_str_t               totp;       /* X-LLM-TOTP */

    /* quotas */
    llm_quota_ticket_t      ticket;     /* 0: none */
    ngx_http_llm_left_t     left;
    uint64_t                granted;    /* tokens; 0: not asked for */

    /* other model servers */
    ngx_int_t               ask_status;
    uint64_t                ask_prompt; /* tokens, estimated */
    uint32_t                ask_choices;
    llm_usage_scan_t       *scan;

    /* microseconds; 0: not known */
    uint64_t                arrival_us; /* CLOCK_MONOTONIC */
    uint64_t                queue_us;   /* of the first choice */
    uint64_t                ttft_us;    /* from arrival to the first token */
    uint64_t                last_us;    /* and to the last */
    uint64_t                inference_us;   /* the engine's, without queue */
    uint64_t                counted;    /* tokens that metrics have */
    uint32_t                metrics_model;  /* + 1; 0: not known */

    ngx_http_llm_task_t    *task;       /* that works for it now */

    /* the audit trail */
    ngx_http_llm_record_t  *record;     /* NULL: not begun */
    ngx_str_t               method;     /* what was asked first, noted */
    ngx_str_t               path;
    void                  (*wait)(ngx_http_request_t *r,
                                  ngx_http_llm_ctx_t *ctx);
    ngx_http_llm_body_t     body;       /* llm_pass: what the engine got */
    ngx_chain_t            *held;       /* what may not leave yet */
    ngx_chain_t           **held_last;
    llm_audit_print_t      *print;      /* of another server's answer */
    u_char                 *kept;       /* its text, from malloc */
    size_t                  kept_len;
    size_t                  kept_size;

    /* the error to answer, if any: in the pool */
    ngx_uint_t              status;
    ngx_uint_t              retry_after;
    ngx_str_t               code;       /* of a core's error too, once told */
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
    uint64_t                seed;       /* once accepted, as what follows */
    uint64_t                build;
    llm_effective_t         effective;
    ngx_buf_t              *out;        /* streamed: the one output buffer */
    ngx_event_t             timer;      /* keep-alive; keeps the worker */

    unsigned                authenticated:1;
    unsigned                judged:1;   /* its key's headers are gone */
    unsigned                refused:1;  /* again, by its error page */
    unsigned                asked:1;
    unsigned                revoked:1;
    unsigned                told:1;     /* what was done is told in any case */
    unsigned                taken:1;    /* the engine got of the body */
    unsigned                submitted:1;
    unsigned                accepted:1;
    unsigned                stream:1;
    unsigned                include_usage:1;
    unsigned                silent:1;   /* nothing was sent since the timer */
    unsigned                finished:1; /* the last bytes were passed on */
    unsigned                health:1;   /* /healthz, /readyz */
    unsigned                looks:1;    /* llm_metrics, GET status, let in:
                                           they tell of the trail, and are not
                                           held by it */
    unsigned                noted:1;    /* audited, wherever it is led to */
    unsigned                replace:1;  /* filter: our error for the core's */
    unsigned                replaced:1;
    unsigned                keeps:1;    /* kept is all of it so far */
    unsigned                passed:1;   /* hold: the header was passed on */
    unsigned                holds:1;    /* hold: the header was not yet */
    unsigned                held_all:1; /* the end is in held */
    unsigned                unaudited:1;    /* hold: our 503 in its place */
    unsigned                acted:1;    /* administration: it was done */
};


extern ngx_module_t  ngx_http_llm_module;


/* ngx_http_llm_ctx.c */
ngx_http_llm_ctx_t *ngx_http_llm_get_ctx(ngx_http_request_t *r);
ngx_http_llm_ctx_t *ngx_http_llm_make_ctx(ngx_http_request_t *r);
ngx_http_llm_worker_t *ngx_http_llm_worker(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_begin_handler(ngx_http_request_t *r);

/* ngx_http_llm_engine.c */
char *ngx_http_llm_engine_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* ngx_http_llm_process.c */
ngx_int_t ngx_http_llm_init_zone(ngx_shm_zone_t *shm, void *data);
ngx_int_t ngx_http_llm_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_llm_init_process(ngx_cycle_t *cycle);
void ngx_http_llm_exit_process(ngx_cycle_t *cycle);
llm_zone_t *ngx_http_llm_zone(ngx_http_llm_main_conf_t *mcf);

/* a descriptor in the event loop that is no client and keeps no worker */
ngx_connection_t *ngx_http_llm_watch(int fd, void *data,
    ngx_event_handler_pt handler, ngx_log_t *log);
void ngx_http_llm_unwatch(ngx_connection_t *c);

/* ngx_http_llm_store.c */

/* the master, before it forks: what the configuration says goes into the
 * store, what the store says into the zones */
void ngx_http_llm_prepare_store(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);

/* the process's handles, opened when first needed: after the fork.  NULL:
 * they can't be opened, the log says why */
llm_store_t *ngx_http_llm_store(ngx_http_llm_main_conf_t *mcf,
    ngx_log_t *log);
llm_calls_t *ngx_http_llm_calls(ngx_http_llm_main_conf_t *mcf,
    ngx_log_t *log);
void ngx_http_llm_start_store(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);
void ngx_http_llm_close_store(ngx_http_llm_main_conf_t *mcf);

/* the engines' parameters, from the store to the zone; any thread */
void ngx_http_llm_load_params(ngx_http_llm_main_conf_t *mcf,
    llm_store_t *store);

/* the store is at txnid now: look whether parameters changed */
void ngx_http_llm_notice_txnid(ngx_http_llm_main_conf_t *mcf, uint64_t txnid);

/* ngx_http_llm_thread.c */

/* NGX_OK: run() will be called, then done(); the task must stay */
ngx_int_t ngx_http_llm_post(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_task_t *task, ngx_log_t *log);

/* the same on the trail's thread: run() gets no store */
ngx_int_t ngx_http_llm_post_audit(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_task_t *task, ngx_log_t *log);

/* NGX_ERROR: it hangs, and what it works on is not done */
ngx_int_t ngx_http_llm_thread_stop(ngx_http_llm_thread_t **thread);

/* ngx_http_llm_auth.c */
ngx_int_t ngx_http_llm_access_handler(ngx_http_request_t *r);

/* NGX_OK while the request's key is good; else the error is set */
ngx_int_t ngx_http_llm_check_key(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_body.c */

/* bytes of the body that nginx has read */
size_t ngx_http_llm_body_size(ngx_http_request_t *r);

/* event loop: NGX_OK, or a status; free() in any case.  read: on the thread,
 * LLM_OK when all of it is there */
ngx_int_t ngx_http_llm_body_copy(ngx_http_request_t *r,
    ngx_http_llm_body_t *body);
int ngx_http_llm_body_read(ngx_http_llm_body_t *body);
void ngx_http_llm_body_free(ngx_http_llm_body_t *body);

/* ngx_http_llm_quota.c */
ngx_int_t ngx_http_llm_quota_init_zone(ngx_shm_zone_t *shm, void *data);
llm_quota_t *ngx_http_llm_quota(ngx_http_llm_main_conf_t *mcf);
int64_t ngx_http_llm_now(void);                  /* unix ms */
ngx_int_t ngx_http_llm_quota_enter(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
void ngx_http_llm_quota_leave(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* tokens in all for a request: NGX_OK, or the error is set */
ngx_int_t ngx_http_llm_quota_reserve(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, uint64_t want, uint64_t least);
ngx_int_t ngx_http_llm_quota_headers(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* llm_grant_pt; data: the quota table */
int ngx_http_llm_grant(void *data, llm_grant_t *g);

/* ngx_http_llm_calls.c */
void ngx_http_llm_calls_touch(ngx_http_llm_main_conf_t *mcf);
void ngx_http_llm_calls_finish(ngx_http_llm_main_conf_t *mcf);
ngx_int_t ngx_http_llm_log_handler(ngx_http_request_t *r);

/* cut to size - 1 bytes, with keys made unreadable */
void ngx_http_llm_call_text(char *dst, size_t size, ngx_str_t *src);

/* ngx_http_llm_trail.c */
void ngx_http_llm_trail_start(ngx_http_llm_main_conf_t *mcf);

/* the worker exits: what there is, and the end of it */
void ngx_http_llm_trail_flush(ngx_http_llm_main_conf_t *mcf);
void ngx_http_llm_trail_close(ngx_http_llm_main_conf_t *mcf);

/* NGX_OK: ngx_http_llm_audit_known() will be called, if it opens.  NGX_ERROR:
 * the trail can't be written now, or too much waits; it is the caller's */
ngx_int_t ngx_http_llm_trail_add(ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_record_t *rec);
void ngx_http_llm_record_free(ngx_http_llm_record_t *rec);

/* it could not be written a moment ago, and is tried again by itself */
ngx_uint_t ngx_http_llm_trail_bad(ngx_http_llm_main_conf_t *mcf);

/* for fingerprints; NULL: it is not open */
llm_audit_t *ngx_http_llm_trail_handle(ngx_http_llm_main_conf_t *mcf);

/* ngx_http_llm_audit.c */

/* the request's location is audited, or an earlier one was */
ngx_uint_t ngx_http_llm_audited(ngx_http_request_t *r);

/* it is from here on, and what it asks for now is what it asked for */
void ngx_http_llm_audit_note(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);

/* its opening record is on its way; NGX_ERROR: it can't be written */
ngx_int_t ngx_http_llm_audit_open(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* NGX_OK: it is durable.  NGX_ERROR: it can't be written.  NGX_AGAIN: handler
 * is called when one of the two is known */
ngx_int_t ngx_http_llm_audit_wait(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx,
    void (*handler)(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx));
void ngx_http_llm_audit_known(ngx_http_llm_record_t *rec);
ngx_int_t ngx_http_llm_audit_error(ngx_http_request_t *r);

/* log phase, cleanup */
void ngx_http_llm_audit_close(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);
void ngx_http_llm_audit_done(ngx_http_llm_ctx_t *ctx);

/* filters: what another server answers */
void ngx_http_llm_audit_header(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
void ngx_http_llm_audit_body(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx,
    ngx_chain_t *in);

/* bytes for the end of a text from malloc */
ngx_int_t ngx_http_llm_append(u_char **text, size_t *len, size_t *size,
    const u_char *data, size_t n, ngx_log_t *log);

/* ngx_http_llm_hold_module.c */

/* how the record stands is known: pass on what was held, or refuse */
void ngx_http_llm_hold_end(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_proxy.c */
ngx_int_t ngx_http_llm_ask(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);
ngx_int_t ngx_http_llm_proxy_header(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);
ngx_int_t ngx_http_llm_proxy_body(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_chain_t *in);
void ngx_http_llm_proxy_settle(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_admin.c */
ngx_int_t ngx_http_llm_admin_handler(ngx_http_request_t *r);

/* ngx_http_llm_console.c */
char *ngx_http_llm_console_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_llm_console_handler(ngx_http_request_t *r);

/* ngx_http_llm_notify.c */
char *ngx_http_llm_notify_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_llm_notify_phase(ngx_http_request_t *r);
void ngx_http_llm_notify_start(ngx_http_llm_main_conf_t *mcf);
void ngx_http_llm_notify_kick(ngx_http_llm_main_conf_t *mcf);

/* ngx_http_llm_metrics.c */
char *ngx_http_llm_metrics_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_llm_metrics_merge(ngx_conf_t *cf,
    ngx_http_llm_loc_conf_t *prev, ngx_http_llm_loc_conf_t *conf);
ngx_int_t ngx_http_llm_metrics_zone(ngx_conf_t *cf,
    ngx_http_llm_main_conf_t *mcf);

/* NULL: neither a store nor an engine is configured */
llm_metrics_t *ngx_http_llm_metrics(ngx_http_llm_main_conf_t *mcf);

/* the master, when the zones are there; a worker, at its start */
void ngx_http_llm_metrics_engines(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);
void ngx_http_llm_metrics_start(ngx_cycle_t *cycle,
    ngx_http_llm_main_conf_t *mcf);

uint64_t ngx_http_llm_us(void);         /* CLOCK_MONOTONIC */

/* of an engine's answer: more text, a choice's end */
void ngx_http_llm_metrics_event(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, llm_event_t *ev);

/* of another server's stream: it has passed on more */
void ngx_http_llm_metrics_proxy(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx);

/* log phase */
void ngx_http_llm_metrics_log(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_handler.c */
ngx_int_t ngx_http_llm_handler(ngx_http_request_t *r);
ngx_uint_t ngx_http_llm_ends(ngx_str_t *uri, const char *tail);
void ngx_http_llm_cleanup(void *data);

/* NGX_OK: the request's method is one of these */
ngx_int_t ngx_http_llm_allow(ngx_http_request_t *r, ngx_uint_t methods,
    const char *names);

/* ngx_http_llm_health.c */
ngx_int_t ngx_http_llm_healthz(ngx_http_request_t *r);
ngx_int_t ngx_http_llm_readyz(ngx_http_request_t *r);

/* an engine's own report, NULL while nobody has loaded it; any thread */
llm_engine_status_t *ngx_http_llm_engine_status(ngx_http_llm_main_conf_t *mcf,
    uint64_t hash);

/* LOADING, READY or FAILED; any thread */
llm_engine_state_e ngx_http_llm_engine_state(ngx_http_llm_main_conf_t *mcf,
    uint64_t hash);
const char *ngx_http_llm_state_name(llm_engine_state_e state);

/* ngx_http_llm_stream.c */
void ngx_http_llm_wake(ngx_http_request_t *r);
void ngx_http_llm_timer_handler(ngx_event_t *ev);
void ngx_http_llm_close_slot(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);

/* the engine's part is over, with the noted error */
void ngx_http_llm_abort(ngx_http_request_t *r, ngx_http_llm_ctx_t *ctx);

/* ngx_http_llm_answer.c */
u_char *ngx_http_llm_chunk_text(u_char *p, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t choice, const u_char *text, size_t len);
u_char *ngx_http_llm_chunk_finish(u_char *p, ngx_http_llm_ctx_t *ctx,
    ngx_uint_t choice);
u_char *ngx_http_llm_chunk_usage(u_char *p, ngx_http_llm_ctx_t *ctx);
ngx_int_t ngx_http_llm_document(ngx_http_request_t *r,
    ngx_http_llm_ctx_t *ctx, ngx_str_t *body);
const char *ngx_http_llm_finish_name(llm_finish_e finish);

/* ngx_http_llm_json.c */

/* text as the inside of a JSON string; dst must have 6 bytes for each */
u_char *ngx_http_llm_escape(u_char *dst, const u_char *text, size_t len);

/* note what to answer; returns status for the core.  code: a literal */
ngx_int_t ngx_http_llm_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *fmt, ...);

/* the same from texts that are copied; an empty param: none */
ngx_int_t ngx_http_llm_reply_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *param, const char *message);

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
uint32_t ngx_http_llm_completion_tokens(ngx_http_llm_ctx_t *ctx);
ngx_int_t ngx_http_llm_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_LLM_H_INCLUDED_ */
