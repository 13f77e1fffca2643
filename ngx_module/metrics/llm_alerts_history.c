
/*
 * Copyright (C) nginx-llm contributors
 *
 * The last hour as arrays of numbers, for small charts.  A point is what
 * happened between a sample and the one before it; the oldest sample that
 * there is has none.
 */


#include <stdlib.h>

#include "../store/llm_admin.h"
#include "llm_alerts.h"


typedef enum {
    LLM_CHART_TIME = 0,
    LLM_CHART_REQUESTS,
    LLM_CHART_ERRORS,
    LLM_CHART_TOKENS,
    LLM_CHART_TTFT_P50,
    LLM_CHART_TTFT_P99,
    LLM_CHART_QUEUE,
    LLM_CHART_RUNNING,
    LLM_CHART_BATCH,
    LLM_CHART_KV,
    LLM_CHART_GPU,
    LLM_CHARTS
} llm_chart_e;


/* of a chart's value: below 0 is not known */
#define LLM_CHART_NONE  -1.0


static void llm_chart_point(const llm_metrics_row_t *a,
    const llm_metrics_row_t *b, const llm_metrics_host_t *host, double seconds,
    double v[LLM_CHARTS]);
static double llm_chart_gpu(const llm_metrics_host_t *host);
static int llm_chart_append(json_t *chart[LLM_CHARTS],
    const double v[LLM_CHARTS]);


static const char *const  llm_chart_names[LLM_CHARTS] = {
    "time", "requests_per_second", "errors_per_second", "tokens_per_second",
    "ttft_p50_ms", "ttft_p99_ms", "queue", "running", "batch", "kv", "gpu"
};


json_t *
llm_alerts_history(llm_metrics_t *m, int n)
{
    int                  i, rc;
    double               v[LLM_CHARTS];
    json_t              *o, *chart[LLM_CHARTS];
    int64_t              time, was;
    uint64_t             first, last, k;
    llm_metrics_row_t    row[2];
    llm_metrics_host_t   host;

    o = json_pack("{s:i}", "period", LLM_METRICS_PERIOD / 1000);

    for (i = 0; i < LLM_CHARTS; i++) {
        chart[i] = json_array();

        /* steals the array, none included */
        if (json_object_set_new(o, llm_chart_names[i], chart[i]) != 0) {
            json_decref(o);
            return NULL;
        }
    }

    llm_metrics_range(m, &first, &last);

    if (last == 0 || n <= 0) {
        return o;
    }

    if (n > LLM_ADMIN_HISTORY) {
        n = LLM_ADMIN_HISTORY;
    }

    k = (last - first >= (uint64_t) n) ? last - (uint64_t) n : first;

    for (i = 0, was = -1; k <= last; k++) {

        rc = llm_metrics_at(m, k, NULL, &row[i], &host, &time);
        if (rc != LLM_OK) {
            continue;
        }

        if (was >= 0 && time > was) {
            llm_chart_point(&row[!i], &row[i], &host,
                            (double) (time - was) / 1000, v);

            if (llm_chart_append(chart, v) != LLM_OK) {
                json_decref(o);
                return NULL;
            }
        }

        was = time;
        i = !i;
    }

    return o;
}


static void
llm_chart_point(const llm_metrics_row_t *a, const llm_metrics_row_t *b,
    const llm_metrics_host_t *host, double seconds, double v[LLM_CHARTS])
{
    int                i;
    uint64_t           requests;
    llm_metrics_row_t  d;

    llm_metrics_diff(&d, a, b);

    for (i = 0, requests = 0; i < 6; i++) {
        requests += d.requests[i];
    }

    v[LLM_CHART_TIME] = (double) (host->wall / 1000);
    v[LLM_CHART_REQUESTS] = (double) requests / seconds;
    v[LLM_CHART_ERRORS] = (double) d.requests[5] / seconds;
    v[LLM_CHART_TOKENS] = (double) d.completion_tokens / seconds;
    v[LLM_CHART_TTFT_P50] = llm_metrics_quantile(d.ttft, 0.5) * 1000;
    v[LLM_CHART_TTFT_P99] = llm_metrics_quantile(d.ttft, 0.99) * 1000;
    v[LLM_CHART_QUEUE] = (double) b->waiting;
    v[LLM_CHART_RUNNING] = (double) b->running;
    v[LLM_CHART_BATCH] = d.steps ? (double) d.batched / (double) d.steps : 0;
    v[LLM_CHART_KV] = b->kv_total
                      ? (double) b->kv_used / (double) b->kv_total
                      : LLM_CHART_NONE;
    v[LLM_CHART_GPU] = llm_chart_gpu(host);
}


static double
llm_chart_gpu(const llm_metrics_host_t *host)
{
    int     i;
    double  v, most;

    most = LLM_CHART_NONE;

    for (i = 0; i < LLM_GPU_MAX; i++) {

        if (!host->gpu[i].present
            || !(host->gpu[i].known & LLM_GPU_UTILIZATION))
        {
            continue;
        }

        v = (double) host->gpu[i].utilization / 1000;
        most = v > most ? v : most;
    }

    return most;
}


static int
llm_chart_append(json_t *chart[LLM_CHARTS], const double v[LLM_CHARTS])
{
    int      i;
    json_t  *value;

    for (i = 0; i < LLM_CHARTS; i++) {
        value = v[i] < 0 ? json_null()
                : i == LLM_CHART_TIME ? json_integer((json_int_t) v[i])
                                      : json_real(v[i]);

        if (json_array_append_new(chart[i], value) != 0) {
            return LLM_NOMEM;
        }
    }

    return LLM_OK;
}
