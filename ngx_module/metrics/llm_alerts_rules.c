
/*
 * Copyright (C) nginx-llm contributors
 *
 * The alerts: their table, and what each looks at.
 */


#include "llm_alerts_int.h"


/* rates are judged over a minute, if it had so many requests, else over five;
 * and two of them at least are bad: see alerts.yml */
#define LLM_ALERTS_REQUESTS  10
#define LLM_ALERTS_BAD       2
#define LLM_ALERTS_MINUTE    60
#define LLM_ALERTS_LONG      300


static int llm_alert_engine_down(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_restarts(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_errors(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_latency(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_queue(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v);
static int llm_alert_kv(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v);
static int llm_alert_unwritable(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_lag(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v);
static int llm_alert_unsigned(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_keys(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v);
static int llm_alert_store(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v);
static int llm_alert_gpu_util(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_gpu_memory(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static int llm_alert_gpu_errors(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);
static const llm_metrics_host_t *llm_alert_audit(llm_alerts_ctx_t *c,
    int point);
static const llm_metrics_gpu_t *llm_alert_gpu(llm_alerts_ctx_t *c,
    int subject, int point, uint64_t known);
static uint64_t llm_alert_slow(const llm_metrics_row_t *row,
    double threshold);
static uint64_t llm_alerts_sum(const uint64_t *n, int from, int to);


/* the numbers of monitoring/alerts.yml; t/alerts.t compares them */

const llm_alert_rule_t  llm_alert_rules[LLM_ALERT_RULES] = {

    { "LLMEngineDown", "critical", 0, 0, 20, LLM_ALERT_ENGINE, LLM_ALERT_FLAG,
      llm_alert_engine_down, "Engine not ready" },

    { "LLMEngineRestarted", "warning", 0, 600, 0, LLM_ALERT_HOST,
      LLM_ALERT_COUNT, llm_alert_restarts,
      "Restarts of the engines' process within 10 minutes" },

    { "LLMErrorRateWarning", "warning", 0.005, LLM_ALERTS_MINUTE, 0,
      LLM_ALERT_REQUESTS, LLM_ALERT_RATIO, llm_alert_errors,
      "Requests that fail" },

    { "LLMErrorRateCritical", "critical", 0.02, LLM_ALERTS_MINUTE, 0,
      LLM_ALERT_REQUESTS, LLM_ALERT_RATIO, llm_alert_errors,
      "Requests that fail" },

    { "LLMLatencyWarning", "warning", 0.5, LLM_ALERTS_MINUTE, 0,
      LLM_ALERT_REQUESTS, LLM_ALERT_SECONDS, llm_alert_latency,
      "P99 of the time to the first token" },

    { "LLMLatencyCritical", "critical", 1, LLM_ALERTS_MINUTE, 0,
      LLM_ALERT_REQUESTS, LLM_ALERT_SECONDS, llm_alert_latency,
      "P99 of the time to the first token" },

    { "LLMQueueLong", "warning", 0.5, 0, 30, LLM_ALERT_ENGINE,
      LLM_ALERT_RATIO, llm_alert_queue, "Queue in use" },

    { "LLMKvCacheNearlyFull", "warning", 0.95, 0, 30, LLM_ALERT_ENGINE,
      LLM_ALERT_RATIO, llm_alert_kv, "KV cache in use" },

    { "LLMAuditUnwritable", "critical", 0, 0, 0, LLM_ALERT_HOST,
      LLM_ALERT_FLAG, llm_alert_unwritable, "Audit trail not writable" },

    { "LLMAuditLag", "warning", 1, 0, 10, LLM_ALERT_HOST, LLM_ALERT_SECONDS,
      llm_alert_lag, "Oldest audit record that waits for the disk" },

    { "LLMAuditUnsigned", "critical", 180, 0, 0, LLM_ALERT_HOST,
      LLM_ALERT_SECONDS, llm_alert_unsigned,
      "Oldest audit record without a signature" },

    { "LLMKeysExpiring", "warning", 0, 0, 0, LLM_ALERT_HOST, LLM_ALERT_COUNT,
      llm_alert_keys, "Keys that end within 14 days" },

    { "LLMStoreNearlyFull", "warning", 0.85, 0, 0, LLM_ALERT_STORE,
      LLM_ALERT_RATIO, llm_alert_store, "Store in use" },

    { "LLMStoreNearlyFull", "critical", 0.95, 0, 0, LLM_ALERT_STORE,
      LLM_ALERT_RATIO, llm_alert_store, "Store in use" },

    { "LLMGpuUtilizationHigh", "warning", 0.9, 0, 300, LLM_ALERT_GPU,
      LLM_ALERT_RATIO, llm_alert_gpu_util, "GPU in use" },

    { "LLMGpuMemoryHigh", "warning", 0.85, 0, 15, LLM_ALERT_GPU,
      LLM_ALERT_RATIO, llm_alert_gpu_memory, "GPU memory in use" },

    { "LLMGpuMemoryHigh", "critical", 0.95, 0, 15, LLM_ALERT_GPU,
      LLM_ALERT_RATIO, llm_alert_gpu_memory, "GPU memory in use" },

    { "LLMGpuErrors", "critical", 0, 600, 0, LLM_ALERT_GPU, LLM_ALERT_COUNT,
      llm_alert_gpu_errors, "GPU errors within 10 minutes" }
};


static int
llm_alert_engine_down(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_row_t  *r;

    r = llm_alerts_row(c, point);

    if (r == NULL) {
        return 0;
    }

    *v = (r->state != LLM_ENGINE_READY);

    return 1;
}


static int
llm_alert_restarts(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_host_t  *a, *b;

    a = llm_alerts_host(c, llm_alerts_before(c, point, rule->window));
    b = llm_alerts_host(c, point);

    if (a == NULL || b == NULL) {
        return 0;
    }

    *v = b->restarts > a->restarts ? (double) (b->restarts - a->restarts) : 0;

    return 1;
}


static int
llm_alert_errors(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    uint64_t           n, recent;
    llm_metrics_row_t  d;

    if (!llm_alerts_rate(c, point, rule->window, &d)) {
        return 0;
    }

    n = llm_alerts_sum(d.requests, 0, 6);
    recent = d.requests[5];

    if (n < LLM_ALERTS_REQUESTS) {

        if (!llm_alerts_rate(c, point, LLM_ALERTS_LONG, &d)) {
            return 0;
        }

        n = llm_alerts_sum(d.requests, 0, 6);
    }

    if (n < LLM_ALERTS_REQUESTS
        || (d.requests[5] != 0
            && (d.requests[5] < LLM_ALERTS_BAD || recent == 0)))
    {
        return 0;
    }

    *v = (double) d.requests[5] / (double) n;

    return 1;
}


static int
llm_alert_latency(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    uint64_t           recent;
    llm_metrics_row_t  d, five;

    if (!llm_alerts_rate(c, point, rule->window, &d)
        || !llm_alerts_rate(c, point, LLM_ALERTS_LONG, &five))
    {
        return 0;
    }

    recent = llm_alert_slow(&d, rule->threshold);

    if (llm_alerts_sum(d.ttft, 0, LLM_METRICS_BUCKETS) < LLM_ALERTS_REQUESTS) {
        d = five;
    }

    if (llm_alerts_sum(d.ttft, 0, LLM_METRICS_BUCKETS) < LLM_ALERTS_REQUESTS) {
        return 0;
    }

    *v = llm_metrics_quantile(d.ttft, 0.99);

    return *v <= rule->threshold
           || (recent != 0 && llm_alert_slow(&five, rule->threshold)
                              >= LLM_ALERTS_BAD);
}


/* what lies above the bucket that ends at the threshold */

static uint64_t
llm_alert_slow(const llm_metrics_row_t *row, double threshold)
{
    int  i;

    for (i = 0; i < LLM_METRICS_BOUNDS; i++) {
        if ((double) llm_metrics_bound[i] >= threshold * 1e6) {
            break;
        }
    }

    return llm_alerts_sum(row->ttft, i + 1, LLM_METRICS_BUCKETS);
}


static int
llm_alert_queue(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_row_t  *r;

    r = llm_alerts_row(c, point);

    if (r == NULL || r->queue == 0) {
        return 0;
    }

    *v = (double) r->waiting / (double) r->queue;

    return 1;
}


static int
llm_alert_kv(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule, int subject,
    int point, double *v)
{
    const llm_metrics_row_t  *r;

    r = llm_alerts_row(c, point);

    if (r == NULL || r->kv_total == 0) {
        return 0;
    }

    *v = (double) r->kv_used / (double) r->kv_total;

    return 1;
}


/* NULL: there is no trail */

static const llm_metrics_host_t *
llm_alert_audit(llm_alerts_ctx_t *c, int point)
{
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, point);

    return h == NULL || h->audit_writable > 1 ? NULL : h;
}


static int
llm_alert_unwritable(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_host_t  *h;

    h = llm_alert_audit(c, point);

    if (h == NULL) {
        return 0;
    }

    *v = (h->audit_writable == 0);

    return 1;
}


static int
llm_alert_lag(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule, int subject,
    int point, double *v)
{
    const llm_metrics_host_t  *h;

    h = llm_alert_audit(c, point);

    if (h == NULL) {
        return 0;
    }

    *v = (double) h->audit_lag / 1000;

    return 1;
}


static int
llm_alert_unsigned(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_host_t  *h;

    h = llm_alert_audit(c, point);

    if (h == NULL) {
        return 0;
    }

    *v = (double) h->audit_unsigned / 1000;

    return 1;
}


static int
llm_alert_keys(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule, int subject,
    int point, double *v)
{
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, point);

    if (h == NULL || !h->stores.known) {
        return 0;
    }

    *v = (double) h->stores.expiring;

    return 1;
}


static int
llm_alert_store(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, point);

    if (h == NULL || !h->stores.known || h->stores.map[subject] == 0) {
        return 0;
    }

    *v = (double) h->stores.bytes[subject] / (double) h->stores.map[subject];

    return 1;
}


static int
llm_alert_gpu_util(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_gpu_t  *g;

    g = llm_alert_gpu(c, subject, point, LLM_GPU_UTILIZATION);

    if (g == NULL) {
        return 0;
    }

    *v = (double) g->utilization / 1000;

    return 1;
}


static int
llm_alert_gpu_memory(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    const llm_metrics_gpu_t  *g;

    g = llm_alert_gpu(c, subject, point, LLM_GPU_MEMORY);

    if (g == NULL || g->memory_total == 0) {
        return 0;
    }

    *v = (double) g->memory_used / (double) g->memory_total;

    return 1;
}


/* a GPU's counts are of all its life: those of before are no news */

static int
llm_alert_gpu_errors(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, int point, double *v)
{
    int                       i;
    uint64_t                  n;
    const llm_metrics_gpu_t  *g, *was;

    g = llm_alert_gpu(c, subject, point, 0);

    if (g == NULL) {
        return 0;
    }

    was = NULL;

    for (i = llm_alerts_before(c, point, rule->window); i > point; i--) {
        was = llm_alert_gpu(c, subject, i, 0);

        if (was != NULL) {
            break;
        }
    }

    if (was == NULL) {
        return 0;
    }

    n = 0;

    if ((g->known & was->known & LLM_GPU_XID) && g->xid > was->xid) {
        n += g->xid - was->xid;
    }

    if ((g->known & was->known & LLM_GPU_ECC) && g->ecc > was->ecc) {
        n += g->ecc - was->ecc;
    }

    *v = (double) n;

    return 1;
}


static const llm_metrics_gpu_t *
llm_alert_gpu(llm_alerts_ctx_t *c, int subject, int point, uint64_t known)
{
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, point);

    if (h == NULL || !h->gpu[subject].present
        || (h->gpu[subject].known & known) != known)
    {
        return NULL;
    }

    return &h->gpu[subject];
}


static uint64_t
llm_alerts_sum(const uint64_t *n, int from, int to)
{
    int       i;
    uint64_t  sum;

    for (i = from, sum = 0; i < to; i++) {
        sum += n[i];
    }

    return sum;
}
