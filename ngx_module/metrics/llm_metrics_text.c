
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics as text, format 0.0.4 of Prometheus: of requests, models, clients
 * and engines here, of all else in llm_metrics_host.c.  What counts is read
 * once for each line, while others add to it; a histogram's count is the sum
 * of its buckets, whatever happened between two of them.
 */


#include <stddef.h>
#include <string.h>

#include "llm_metrics_text.h"


#define LLM_TEXT_FIRST  16384


/* a family of histograms of times, of each model */
typedef struct {
    const char  *name;
    const char  *help;
    size_t       offset;            /* in llm_metrics_model_t */
    unsigned     engine:1;          /* not of other servers' models */
    unsigned     gen_ai:1;          /* OpenTelemetry's label */
} llm_text_hist_t;


/* a number of each engine */
typedef struct {
    const char  *name;
    const char  *type;
    const char  *help;
    size_t       offset;            /* in llm_engine_status_t */
    unsigned     wide:1;            /* 64 bits, a counter: always there */
} llm_text_engine_t;


static void llm_text_models(llm_text_t *t);
static int llm_text_used(llm_metrics_model_t *c);
static void llm_text_requests(llm_text_t *t);
static void llm_text_status(llm_text_t *t, llm_text_model_t *x);
static void llm_text_model_counters(llm_text_t *t);
static void llm_text_finishes(llm_text_t *t);
static void llm_text_refusals(llm_text_t *t);
static void llm_text_clients(llm_text_t *t);
static void llm_text_histograms(llm_text_t *t);
static void llm_text_engines(llm_text_t *t);
static void llm_text_kv(llm_text_t *t);
static int llm_text_has_kv(const llm_text_model_t *x);
static void llm_text_batches(llm_text_t *t);


static const llm_text_hist_t  llm_text_hists[] = {

    { "llm_time_to_first_token_seconds",
      "Time from a request's arrival to its first token.",
      offsetof(llm_metrics_model_t, ttft), 0, 0 },

    { "llm_inter_token_latency_seconds",
      "Time between two tokens, where they are made.",
      offsetof(llm_metrics_model_t, gap), 1, 0 },

    { "llm_e2e_request_latency_seconds",
      "Time from a request's arrival to its end.",
      offsetof(llm_metrics_model_t, total), 0, 0 },

    { "llm_request_queue_time_seconds",
      "Time that a request waited for its first step.",
      offsetof(llm_metrics_model_t, queue), 1, 0 },

    { "gen_ai_server_request_duration_seconds",
      "Time from a request's arrival to its end.",
      offsetof(llm_metrics_model_t, total), 0, 1 },

    { "gen_ai_server_time_to_first_token_seconds",
      "Time from a request's arrival to its first token.",
      offsetof(llm_metrics_model_t, ttft), 0, 1 },

    { "gen_ai_server_time_per_output_token_seconds",
      "Time of each token after the first, an average of each request.",
      offsetof(llm_metrics_model_t, each), 0, 1 },
};


static const llm_text_engine_t  llm_text_engine[] = {

    { "llm_num_requests_running", "gauge", "Sequences that run now.",
      offsetof(llm_engine_status_t, running), 0 },

    { "llm_num_requests_waiting", "gauge", "Sequences that wait for a place.",
      offsetof(llm_engine_status_t, waiting), 0 },

    { "llm_max_batch", "gauge", "Sequences that may run at a time.",
      offsetof(llm_engine_status_t, max_batch), 0 },

    { "llm_queue_limit", "gauge", "Requests that may wait beyond these.",
      offsetof(llm_engine_status_t, queue), 0 },

    { "llm_preemptions_total", "counter",
      "Sequences that gave their KV blocks to others and began anew.",
      offsetof(llm_engine_status_t, preemptions), 1 },

    { "llm_engine_steps_total", "counter", "Forward passes.",
      offsetof(llm_engine_status_t, steps), 1 },

    { "llm_prefix_cache_queries_total", "counter",
      "Prompt tokens looked for in the prefix cache.",
      offsetof(llm_engine_status_t, prefix_asked), 1 },

    { "llm_prefix_cache_hits_total", "counter",
      "Prompt tokens found in the prefix cache.",
      offsetof(llm_engine_status_t, prefix_hit), 1 },
};


/* always told, so that the first of them is an increase */
static const uint16_t  llm_text_statuses[] = {
    200, 400, 401, 403, 404, 429, 499, 500, 502, 503, 504
};


static const char *const  llm_text_finish[LLM_METRICS_FINISHES] = {
    NULL, "stop", "length", "cancelled", "error"
};


int
llm_metrics_text(llm_metrics_t *m, llm_zone_t *zone, const char *version,
    int64_t time, llm_buf_t *text)
{
    llm_text_t  t;

    memset(&t, 0, sizeof(llm_text_t));

    t.m = m;
    t.zone = zone;
    t.time = time;
    t.b = text;
    t.rc = llm_buf_reserve(text, LLM_TEXT_FIRST);

    llm_text_bounds(&t);
    llm_text_models(&t);
    llm_text_requests(&t);
    llm_text_model_counters(&t);
    llm_text_finishes(&t);
    llm_text_refusals(&t);
    llm_text_clients(&t);
    llm_text_histograms(&t);
    llm_text_engines(&t);
    llm_text_kv(&t);
    llm_text_batches(&t);
    llm_text_host(&t, version);

    return t.rc;
}


/* the models that there are, and their labels: engines first */

static void
llm_text_models(llm_text_t *t)
{
    char               name[LLM_METRICS_NAME], engine[LLM_METRICS_ALL];
    size_t             len;
    uint32_t           i, k, n, model;
    llm_text_model_t  *x;

    memset(engine, 0, sizeof(engine));

    n = llm_metrics_get(&t->m->engines);

    for (i = 0; i < n && i < LLM_ZONE_ENGINES; i++) {
        engine[llm_metrics_engine(t->m, i)] = 1;
    }

    engine[LLM_METRICS_OTHER] = 0;

    for (k = 0; k < 2 * LLM_METRICS_ALL; k++) {
        model = k % LLM_METRICS_ALL;

        if (engine[model] != (k < LLM_METRICS_ALL)) {
            continue;
        }

        len = llm_metrics_model_name(t->m, model, name);

        if (len == 0
            || (!engine[model] && !llm_text_used(&t->m->model[model])))
        {
            continue;
        }

        x = &t->model[t->n_model++];

        x->model = model;
        x->engine = engine[model];
        x->count = &t->m->model[model];
        (void) llm_metrics_label(x->label, name, len);

        if (x->engine) {
            x->status = llm_metrics_status(t->zone, name, len);
            x->state = x->status ? llm_metrics_state(t->zone, x->status)
                                 : LLM_ENGINE_NONE;
        }
    }
}


static int
llm_text_used(llm_metrics_model_t *c)
{
    int  i;

    for (i = 0; i < LLM_METRICS_STATUSES; i++) {
        if (llm_metrics_get(&c->status[i])) {
            return 1;
        }
    }

    return 0;
}


static void
llm_text_requests(llm_text_t *t)
{
    uint32_t  i;

    llm_text_head(t, "llm_requests_total", "counter",
                  "Requests that have ended, by status.");

    for (i = 0; i < t->n_model; i++) {
        llm_text_status(t, &t->model[i]);
    }
}


static void
llm_text_status(llm_text_t *t, llm_text_model_t *x)
{
    size_t    k;
    uint32_t  status;
    uint64_t  n;

    for (k = 0, status = 100; status < 100 + LLM_METRICS_STATUSES; status++) {
        n = llm_metrics_get(&x->count->status[status - 100]);

        while (k < sizeof(llm_text_statuses) / sizeof(uint16_t)
               && llm_text_statuses[k] < status)
        {
            k++;
        }

        if (n || (k < sizeof(llm_text_statuses) / sizeof(uint16_t)
                  && llm_text_statuses[k] == status))
        {
            llm_text(t, "llm_requests_total{model=\"%s\",status=\"%u\"} %llu\n",
                     x->label, status, (unsigned long long) n);
        }
    }
}


static void
llm_text_model_counters(llm_text_t *t)
{
    uint32_t  i;

    llm_text_head(t, "llm_requests_cancelled_total", "counter",
                  "Requests whose client went before their end.");

    for (i = 0; i < t->n_model; i++) {
        llm_text_model(t, "llm_requests_cancelled_total", &t->model[i],
                       llm_metrics_get(&t->model[i].count->cancelled));
    }

    llm_text_head(t, "llm_prompt_tokens_total", "counter",
                  "Prompt tokens of requests that have ended.");

    for (i = 0; i < t->n_model; i++) {
        llm_text_model(t, "llm_prompt_tokens_total", &t->model[i],
                       llm_metrics_get(&t->model[i].count->prompt_tokens));
    }

    llm_text_head(t, "llm_generation_tokens_total", "counter",
                  "Tokens that were generated.");

    for (i = 0; i < t->n_model; i++) {
        llm_text_model(t, "llm_generation_tokens_total", &t->model[i],
                       llm_metrics_get(
                                   &t->model[i].count->completion_tokens));
    }
}


static void
llm_text_finishes(llm_text_t *t)
{
    uint32_t  i, k;

    llm_text_head(t, "llm_finish_total", "counter",
                  "Choices that have ended, by reason.");

    for (i = 0; i < t->n_model; i++) {

        if (!t->model[i].engine) {
            continue;
        }

        for (k = 1; k < LLM_METRICS_FINISHES; k++) {
            llm_text(t, "llm_finish_total{model=\"%s\",reason=\"%s\"} %llu\n",
                     t->model[i].label, llm_text_finish[k],
                     (unsigned long long) llm_metrics_get(
                                             &t->model[i].count->finish[k]));
        }
    }
}


static void
llm_text_refusals(llm_text_t *t)
{
    char      name[LLM_METRICS_NAME], label[LLM_TEXT_LABEL];
    size_t    len;
    uint32_t  i;

    llm_text_head(t, "llm_requests_refused_total", "counter",
                  "Requests that were refused, by the error's code.");

    for (i = 0; i < LLM_METRICS_CODES; i++) {
        len = llm_metrics_name(&t->m->code_name[i], name);

        if (len) {
            (void) llm_metrics_label(label, name, len);
            llm_text(t, "llm_requests_refused_total{reason=\"%s\"} %llu\n",
                     label,
                     (unsigned long long) llm_metrics_get(&t->m->code[i]));
        }
    }

    llm_text(t, "llm_requests_refused_total{reason=\"other\"} %llu\n",
             (unsigned long long) llm_metrics_get(
                                           &t->m->code[LLM_METRICS_CODES]));
}


static void
llm_text_clients(llm_text_t *t)
{
    int                    pass;
    char                   name[LLM_METRICS_NAME], label[LLM_TEXT_LABEL];
    size_t                 len;
    uint32_t               i;
    llm_metrics_client_t  *c;

    for (pass = 0; pass < 2; pass++) {

        if (pass == 0) {
            llm_text_head(t, "llm_client_requests_total", "counter",
                          "Requests of a client that have ended.");

        } else {
            llm_text_head(t, "llm_client_tokens_total", "counter",
                          "Tokens of a client's requests that have ended.");
        }

        for (i = 0; i <= LLM_METRICS_CLIENTS; i++) {
            c = &t->m->client[i];

            if (i < LLM_METRICS_CLIENTS) {
                len = llm_metrics_name(&t->m->client_name[i], name);

            } else {
                len = llm_metrics_get(&c->requests) ? 5 : 0;
                memcpy(name, "other", 5);
            }

            if (len == 0) {
                continue;
            }

            (void) llm_metrics_label(label, name, len);

            if (pass == 0) {
                llm_text(t, "llm_client_requests_total{client=\"%s\"} %llu\n",
                         label,
                         (unsigned long long) llm_metrics_get(&c->requests));
                continue;
            }

            llm_text(t, "llm_client_tokens_total{client=\"%s\","
                     "kind=\"prompt\"} %llu\n"
                     "llm_client_tokens_total{client=\"%s\","
                     "kind=\"completion\"} %llu\n",
                     label,
                     (unsigned long long) llm_metrics_get(&c->prompt_tokens),
                     label,
                     (unsigned long long) llm_metrics_get(
                                                   &c->completion_tokens));
        }
    }
}


static void
llm_text_histograms(llm_text_t *t)
{
    char                    label[LLM_TEXT_LABEL + 32];
    size_t                  k;
    uint32_t                i;
    llm_text_model_t       *x;
    const llm_text_hist_t  *h;

    for (k = 0; k < sizeof(llm_text_hists) / sizeof(llm_text_hists[0]); k++) {
        h = &llm_text_hists[k];

        llm_text_head(t, h->name, "histogram", h->help);

        for (i = 0; i < t->n_model; i++) {
            x = &t->model[i];

            if (x->model == LLM_METRICS_NOMODEL
                || (h->engine && !x->engine))
            {
                continue;
            }

            (void) snprintf(label, sizeof(label), "%smodel=\"%s\"",
                            h->gen_ai ? "gen_ai_request_" : "", x->label);

            llm_text_hist(t, h->name, label,
                          (llm_metrics_hist_t *) ((char *) x->count
                                                  + h->offset));
        }
    }
}


static void
llm_text_engines(llm_text_t *t)
{
    char                     *st;
    size_t                    k;
    uint32_t                  i;
    uint64_t                  n;
    llm_text_model_t         *x;
    const llm_text_engine_t  *e;

    for (k = 0; k < sizeof(llm_text_engine) / sizeof(llm_text_engine[0]); k++)
    {
        e = &llm_text_engine[k];

        llm_text_head(t, e->name, e->type, e->help);

        for (i = 0; i < t->n_model; i++) {
            x = &t->model[i];

            if (!x->engine || x->status == NULL) {
                continue;
            }

            st = (char *) x->status + e->offset;

            if (e->wide) {
                n = llm_metrics_get((_Atomic uint64_t *) st);

            } else {
                n = x->state == LLM_ENGINE_NONE
                    ? 0 : llm_metrics_get((_Atomic uint32_t *) st);
            }

            llm_text_model(t, e->name, x, n);
        }
    }

    llm_text_head(t, "llm_engine_step_seconds_total", "counter",
                  "Time that forward passes took.");

    for (i = 0; i < t->n_model; i++) {
        x = &t->model[i];

        if (x->status) {
            n = llm_metrics_get(&x->status->step_us);
            llm_text(t, "llm_engine_step_seconds_total{model=\"%s\"} "
                     "%llu.%06u\n", x->label,
                     (unsigned long long) (n / 1000000),
                     (unsigned) (n % 1000000));
        }
    }

    llm_text_head(t, "llm_engine_up", "gauge",
                  "1 while the engine takes requests.");

    for (i = 0; i < t->n_model; i++) {
        if (t->model[i].engine) {
            llm_text_model(t, "llm_engine_up", &t->model[i],
                           t->model[i].state == LLM_ENGINE_READY);
        }
    }
}


static void
llm_text_kv(llm_text_t *t)
{
    uint32_t           i;
    uint64_t           used, total;
    llm_text_model_t  *x;

    llm_text_head(t, "llm_kv_cache_usage_perc", "gauge",
                  "Part of the KV cache that is in use, 0 to 1.");

    for (i = 0; i < t->n_model; i++) {
        x = &t->model[i];

        if (!llm_text_has_kv(x)) {
            continue;
        }

        used = llm_metrics_get(&x->status->blocks_used);
        total = llm_metrics_get(&x->status->blocks);

        llm_text(t, "llm_kv_cache_usage_perc{model=\"%s\"} %.6f\n", x->label,
                 total && used <= total ? (double) used / (double) total
                                        : 0.0);
    }

    llm_text_head(t, "llm_kv_cache_blocks", "gauge",
                  "Blocks of the KV cache.");

    for (i = 0; i < t->n_model; i++) {
        x = &t->model[i];

        if (!llm_text_has_kv(x)) {
            continue;
        }

        llm_text(t, "llm_kv_cache_blocks{model=\"%s\",state=\"used\"} %u\n"
                 "llm_kv_cache_blocks{model=\"%s\",state=\"total\"} %u\n",
                 x->label, llm_metrics_get(&x->status->blocks_used),
                 x->label, llm_metrics_get(&x->status->blocks));
    }
}


/* of one that leaves, too: it still has requests */

static int
llm_text_has_kv(const llm_text_model_t *x)
{
    return x->status != NULL
           && (x->state == LLM_ENGINE_READY
               || (x->state == LLM_ENGINE_LOADING
                   && llm_metrics_get(&x->status->blocks_used)));
}


static void
llm_text_batches(llm_text_t *t)
{
    uint32_t           i, k;
    uint64_t           n;
    llm_text_model_t  *x;

    llm_text_head(t, "llm_batch_size", "histogram",
                  "Sequences in a forward pass.");

    for (i = 0; i < t->n_model; i++) {
        x = &t->model[i];

        if (x->status == NULL) {
            continue;
        }

        for (k = 0, n = 0; k < LLM_ZONE_BATCHES; k++) {
            n += llm_metrics_get(&x->status->batch[k]);

            if (k < LLM_ZONE_BATCHES - 1) {
                llm_text(t, "llm_batch_size_bucket{model=\"%s\",le=\"%u\"} "
                         "%llu\n", x->label, 1u << k,
                         (unsigned long long) n);
            }
        }

        llm_text(t, "llm_batch_size_bucket{model=\"%s\",le=\"+Inf\"} %llu\n"
                 "llm_batch_size_sum{model=\"%s\"} %llu\n"
                 "llm_batch_size_count{model=\"%s\"} %llu\n",
                 x->label, (unsigned long long) n, x->label,
                 (unsigned long long) llm_metrics_get(&x->status->batched),
                 x->label, (unsigned long long) n);
    }
}
