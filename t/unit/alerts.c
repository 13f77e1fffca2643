
/*
 * Copyright (C) nginx-llm contributors
 *
 * Alerts over made-up histories: each at its threshold, above it, for as long
 * as it must last, and when it is over; few requests; gaps; and the charts.
 */


#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../ngx_module/metrics/llm_alerts.h"
#include "../../ngx_module/store/llm_admin.h"
#include "tap.h"


#define FAST   50000ull             /* microseconds */
#define WALL   1795000000000ll      /* unix ms at the clock's zero */


typedef struct {
    llm_metrics_t  *m;
    llm_zone_t     *z;
    int64_t         time;           /* CLOCK_MONOTONIC, ms */
    int64_t         start;
} world_t;


static const char *const  engines[] = { "demo", "wide" };

static char  err[LLM_ERRLEN];


static void *
shared(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}


static void
engine(world_t *w, int i, uint32_t state, uint32_t waiting, uint32_t blocks)
{
    uint64_t              hash;
    llm_engine_status_t  *es;

    es = &w->z->engine[i];
    hash = llm_engine_hash(engines[i], strlen(engines[i]));

    atomic_store(&es->hash, hash);
    atomic_store(&es->counted, hash);
    atomic_store(&es->state, state);
    atomic_store(&es->waiting, waiting);
    atomic_store(&es->queue, 256);
    atomic_store(&es->blocks, 1000);
    atomic_store(&es->blocks_used, blocks);
}


static void
begin(world_t *w)
{
    memset(w, 0, sizeof(world_t));

    w->m = shared(llm_metrics_size());
    w->z = shared(sizeof(llm_zone_t));

    if (w->m == NULL || w->z == NULL
        || llm_zone_init(w->z, err, sizeof(err)) != LLM_OK
        || llm_metrics_init(w->m, llm_metrics_size(), WALL, err, sizeof(err))
           != LLM_OK
        || llm_metrics_engines(w->m, engines, 2) != LLM_OK)
    {
        printf("Bail out! no shared memory: %s\n", err);
        exit(1);
    }

    atomic_store(&w->z->holder, getpid());
    atomic_store(&w->z->deaths, 0);
    engine(w, 0, LLM_ENGINE_READY, 0, 0);
    engine(w, 1, LLM_ENGINE_READY, 0, 0);
    llm_metrics_audit_writable(w->m, 1);

    /* the past, so that nothing is younger than the real clock */
    w->start = w->time = llm_metrics_clock() - 8000 * 1000;
    llm_metrics_sample(w->m, w->z, w->time, WALL + w->time);
}


static void
end(world_t *w)
{
    llm_zone_done(w->z);
    munmap(w->z, sizeof(llm_zone_t));
    munmap(w->m, llm_metrics_size());
}


/* n requests of a model, first tokens after us */

static void
requests(world_t *w, const char *model, int n, uint32_t status, uint64_t us)
{
    int                    i;
    llm_metrics_request_t  q;

    memset(&q, 0, sizeof(llm_metrics_request_t));

    q.model = llm_metrics_model(w->m, model, strlen(model), 1);
    q.status = status;
    q.queue_us = LLM_METRICS_UNKNOWN;
    q.ttft_us = us;
    q.total_us = us;
    q.generates = 1;
    q.completion_tokens = 3;

    for (i = 0; i < n; i++) {

        if (status == 200) {
            llm_metrics_first(w->m, q.model, us);
        }

        llm_metrics_request(w->m, &q);
    }
}


static void
later(world_t *w, int seconds)
{
    for (seconds /= 10; seconds > 0; seconds--) {
        w->time += 10000;
        llm_metrics_sample(w->m, w->z, w->time, WALL + w->time);
    }
}


/* ten seconds at a time, some requests in each */

static void
traffic(world_t *w, int seconds, const char *model, int good, int bad,
    int slow, uint64_t us)
{
    for (seconds /= 10; seconds > 0; seconds--) {
        requests(w, model, good, 200, FAST);
        requests(w, model, bad, 502, FAST);
        requests(w, model, slow, 200, us);
        later(w, 10);
    }
}


/* "state value subject" of an alert */

static const char *
alert(world_t *w, const char *name, const char *severity)
{
    size_t       i;
    json_t      *list, *o, *v;
    const char  *subject;
    static char  text[256];

    list = llm_alerts_json(w->m, w->z, engines, 2, w->time, WALL + w->time);
    text[0] = '\0';

    json_array_foreach(list, i, o) {

        if (strcmp(json_string_value(json_object_get(o, "name")), name) != 0
            || (severity != NULL
                && strcmp(json_string_value(json_object_get(o, "severity")),
                          severity) != 0))
        {
            continue;
        }

        v = json_object_get(o, "value");
        subject = json_string_value(json_object_get(o, "subject"));

        (void) snprintf(text, sizeof(text), "%s ",
                        json_string_value(json_object_get(o, "state")));

        if (json_is_real(v)) {
            (void) snprintf(text + strlen(text), 32, "%.4g",
                            json_real_value(v));
        } else {
            (void) snprintf(text + strlen(text), 32, "?");
        }

        if (subject != NULL) {
            (void) snprintf(text + strlen(text), 80, " %s", subject);
        }
    }

    json_decref(list);

    return text;
}


/* every alert that is not ok, but for one */

static int
others(world_t *w, const char *but)
{
    int          n;
    size_t       i;
    json_t      *list, *o;
    const char  *name;

    list = llm_alerts_json(w->m, w->z, engines, 2, w->time, WALL + w->time);
    n = 0;

    json_array_foreach(list, i, o) {
        name = json_string_value(json_object_get(o, "name"));

        if (strcmp(json_string_value(json_object_get(o, "state")), "ok") != 0
            && strcmp(name, but) != 0)
        {
            printf("# %s: %s\n", name,
                   json_string_value(json_object_get(o, "summary")));
            n++;
        }
    }

    json_decref(list);

    return n;
}


static void
test_quiet(void)
{
    world_t      w;
    size_t       i;
    json_t      *list, *o;
    const char  *s;

    begin(&w);

    is_int(others(&w, ""), 0, "nothing fires after the first sample");
    later(&w, 3600);
    is_int(others(&w, ""), 0, "nor after an idle hour");

    list = llm_alerts_json(w.m, w.z, engines, 2, w.time, WALL + w.time);
    ok(json_array_size(list) == 18, "all alerts are there");

    json_array_foreach(list, i, o) {
        s = json_string_value(json_object_get(o, "summary"));

        if (!json_is_string(json_object_get(o, "severity"))
            || !json_is_real(json_object_get(o, "threshold"))
            || !json_is_integer(json_object_get(o, "for"))
            || !json_is_integer(json_object_get(o, "window"))
            || !json_is_null(json_object_get(o, "since"))
            || s == NULL || strlen(s) < 10)
        {
            ok(0, "alert %zu is whole", i);
        }
    }

    json_decref(list);

    is_str(alert(&w, "LLMEngineDown", NULL), "ok 0 demo", "engines are up");
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok ?",
           "no request: no error rate");
    is_str(alert(&w, "LLMGpuMemoryHigh", "critical"), "ok ?", "no GPU");
    is_str(alert(&w, "LLMKeysExpiring", NULL), "ok ?",
           "nobody has counted keys");

    end(&w);
}


static void
test_engine(void)
{
    world_t      w;
    json_t      *list, *o;
    const char  *since;

    begin(&w);
    later(&w, 120);

    engine(&w, 1, LLM_ENGINE_FAILED, 0, 0);
    is_str(alert(&w, "LLMEngineDown", NULL), "pending 1 wide",
           "an engine is down, just now");
    later(&w, 10);
    is_str(alert(&w, "LLMEngineDown", NULL), "pending 1 wide", "10 s");
    later(&w, 20);
    is_str(alert(&w, "LLMEngineDown", NULL), "firing 1 wide", "20 s");
    is_int(others(&w, "LLMEngineDown"), 0, "and nothing else");

    later(&w, 4000);
    list = llm_alerts_json(w.m, w.z, engines, 2, w.time, WALL + w.time);
    o = json_array_get(list, 0);
    since = json_string_value(json_object_get(o, "since"));
    ok(since != NULL && strlen(since) == 20 && since[19] == 'Z',
       "since: %s", since ? since : "null");
    is_str(json_string_value(json_object_get(o, "summary")),
           "Engine not ready (wide): yes", "the summary");
    json_decref(list);

    engine(&w, 1, LLM_ENGINE_READY, 0, 0);
    is_str(alert(&w, "LLMEngineDown", NULL), "ok 0 demo", "up again");

    atomic_store(&w.z->deaths, 1);
    is_str(alert(&w, "LLMEngineRestarted", NULL), "firing 1", "a restart");
    later(&w, 590);
    is_str(alert(&w, "LLMEngineRestarted", NULL), "firing 1",
           "for ten minutes");
    later(&w, 30);
    is_str(alert(&w, "LLMEngineRestarted", NULL), "ok 0", "not longer");

    engine(&w, 0, LLM_ENGINE_READY, 128, 0);
    later(&w, 120);
    is_str(alert(&w, "LLMQueueLong", NULL), "ok 0.5 demo", "half of a queue");
    engine(&w, 0, LLM_ENGINE_READY, 129, 0);
    later(&w, 30);
    is_str(alert(&w, "LLMQueueLong", NULL), "pending 0.5039 demo",
           "more than half");
    later(&w, 10);
    is_str(alert(&w, "LLMQueueLong", NULL), "firing 0.5039 demo",
           "for 30 s");
    engine(&w, 0, LLM_ENGINE_READY, 0, 0);
    is_str(alert(&w, "LLMQueueLong", NULL), "ok 0 demo", "empty again");

    engine(&w, 1, LLM_ENGINE_READY, 0, 950);
    later(&w, 60);
    is_str(alert(&w, "LLMKvCacheNearlyFull", NULL), "ok 0.95 wide",
           "95% of the cache");
    engine(&w, 1, LLM_ENGINE_READY, 0, 951);
    later(&w, 40);
    is_str(alert(&w, "LLMKvCacheNearlyFull", NULL), "firing 0.951 wide",
           "more");
    engine(&w, 1, LLM_ENGINE_READY, 0, 10);
    later(&w, 10);
    engine(&w, 1, LLM_ENGINE_READY, 0, 951);
    is_str(alert(&w, "LLMKvCacheNearlyFull", NULL), "pending 0.951 wide",
           "a pause begins it anew");

    end(&w);
}


static void
test_errors(void)
{
    world_t  w;

    begin(&w);

    traffic(&w, 120, "demo", 199, 1, 0, 0);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok 0.005 demo",
           "0.5% of the requests fail");
    traffic(&w, 60, "demo", 198, 2, 0, 0);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "firing 0.01 demo", "1%");
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "ok 0.01 demo",
           "is not critical");
    traffic(&w, 60, "demo", 195, 5, 0, 0);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "firing 0.025 demo",
           "2.5% is");
    traffic(&w, 70, "demo", 200, 0, 0, 0);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok 0 demo", "over");

    /* all of few */

    traffic(&w, 300, "demo", 10, 0, 0, 0);
    traffic(&w, 10, "demo", 0, 10, 0, 0);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "firing 0.1667 demo",
           "ten seconds of failures");
    is_int(others(&w, "LLMErrorRateWarning") - 1, 0, "and nothing else");
    end(&w);

    /* other statuses */

    begin(&w);
    traffic(&w, 60, "demo", 20, 0, 0, 0);
    requests(&w, "demo", 50, 429, FAST);
    requests(&w, "demo", 50, 499, FAST);
    requests(&w, "demo", 50, 401, FAST);
    later(&w, 10);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok 0 demo",
           "refusals and clients that left are no failures");

    /* other servers, of which a failure has no model; probes count nowhere */

    traffic(&w, 60, "deepseek-r1", 995, 0, 0, 0);
    requests(&w, "other", 20, 502, FAST);
    requests(&w, "", 500, 503, FAST);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok 0.003339 proxied",
           "0.3% of other servers' requests fail");
    requests(&w, "other", 20, 502, FAST);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "firing 0.006656 proxied",
           "0.7%");
    end(&w);
}


static void
test_few(void)
{
    world_t  w;

    begin(&w);
    later(&w, 600);

    requests(&w, "demo", 2, 200, FAST);
    requests(&w, "demo", 1, 502, FAST);
    later(&w, 10);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok ?",
           "one failed of three at night: nothing");

    requests(&w, "demo", 6, 200, FAST);
    later(&w, 60);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok ?", "nor of nine");

    requests(&w, "demo", 50, 200, FAST);
    later(&w, 10);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok 0 demo",
           "a minute with enough stands for itself");
    requests(&w, "demo", 1, 502, FAST);
    later(&w, 10);
    is_str(alert(&w, "LLMErrorRateWarning", NULL), "ok ?",
           "one failure in it says nothing");
    requests(&w, "demo", 1, 502, FAST);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "firing 0.03846 demo",
           "a second one does, at once");
    end(&w);

    /* over five minutes */

    begin(&w);
    later(&w, 600);
    traffic(&w, 60, "demo", 0, 1, 0, 0);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "ok ?",
           "six in a minute, all fail: not yet");
    traffic(&w, 40, "demo", 0, 1, 0, 0);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "firing 1 demo",
           "ten in five minutes");
    later(&w, 60);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "ok ?", "over");
    end(&w);

    begin(&w);
    traffic(&w, 60, "demo", 0, 20, 0, 0);
    traffic(&w, 60, "demo", 20, 0, 0, 0);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "ok 0 demo", "over");
    later(&w, 60);
    is_str(alert(&w, "LLMErrorRateCritical", NULL), "ok ?",
           "and stays so when nothing comes any more");

    /* slow ones */

    later(&w, 300);
    requests(&w, "demo", 3, 200, 900000);
    later(&w, 10);
    is_str(alert(&w, "LLMLatencyWarning", NULL), "ok ?",
           "three slow requests at night");
    end(&w);

    begin(&w);
    traffic(&w, 60, "demo", 8, 0, 0, 0);
    requests(&w, "demo", 1, 200, 4000000);
    later(&w, 10);
    is_str(alert(&w, "LLMLatencyCritical", NULL), "ok ?",
           "one slow request of fifty");
    end(&w);
}


static void
test_latency(void)
{
    world_t  w;

    begin(&w);

    traffic(&w, 60, "demo", 900, 0, 100, 499000);
    ok(strncmp(alert(&w, "LLMLatencyWarning", NULL), "ok 0.4", 6) == 0,
       "P99 below 0.5 s: %s", alert(&w, "LLMLatencyWarning", NULL));

    traffic(&w, 60, "demo", 980, 0, 20, 600000);
    ok(strncmp(alert(&w, "LLMLatencyWarning", NULL), "firing 0.6", 10) == 0,
       "above: %s", alert(&w, "LLMLatencyWarning", NULL));
    ok(strncmp(alert(&w, "LLMLatencyCritical", NULL), "ok 0.6", 6) == 0,
       "not above 1 s: %s", alert(&w, "LLMLatencyCritical", NULL));

    traffic(&w, 20, "demo", 900, 0, 100, 1200000);
    ok(strncmp(alert(&w, "LLMLatencyCritical", NULL), "firing 1.", 9) == 0,
       "above 1 s: %s", alert(&w, "LLMLatencyCritical", NULL));
    is_int(others(&w, "LLMLatencyCritical") - 1, 0, "and nothing else");

    traffic(&w, 60, "demo", 1000, 0, 0, 0);
    ok(strncmp(alert(&w, "LLMLatencyWarning", NULL), "ok 0.0", 6) == 0,
       "over: %s", alert(&w, "LLMLatencyWarning", NULL));

    /* the worst engine has the name */

    traffic(&w, 60, "wide", 50, 0, 50, 700000);
    ok(strstr(alert(&w, "LLMLatencyWarning", NULL), " wide") != NULL,
       "of another engine: %s", alert(&w, "LLMLatencyWarning", NULL));

    end(&w);
}


static void
test_audit(void)
{
    world_t  w;

    begin(&w);
    later(&w, 60);

    is_str(alert(&w, "LLMAuditUnwritable", NULL), "ok 0", "it is writable");
    llm_metrics_audit_writable(w.m, 0);
    is_str(alert(&w, "LLMAuditUnwritable", NULL), "firing 1",
           "it is not: at once");
    later(&w, 30);
    llm_metrics_audit_writable(w.m, 1);
    is_str(alert(&w, "LLMAuditUnwritable", NULL), "ok 0", "it is again");

    llm_metrics_audit_waiting(w.m, getpid(), w.time);
    later(&w, 10);
    ok(strncmp(alert(&w, "LLMAuditLag", NULL), "pending", 7) == 0,
       "a record waits: %s", alert(&w, "LLMAuditLag", NULL));
    later(&w, 10);
    ok(strncmp(alert(&w, "LLMAuditLag", NULL), "firing", 6) == 0,
       "for longer: %s", alert(&w, "LLMAuditLag", NULL));
    llm_metrics_audit_waiting(w.m, getpid(), 0);
    is_str(alert(&w, "LLMAuditLag", NULL), "ok 0", "it has gone");

    llm_metrics_audit_unsigned(w.m, llm_metrics_clock() - 170000);
    ok(strncmp(alert(&w, "LLMAuditUnsigned", NULL), "ok 17", 5) == 0,
       "170 s without a signature: %s", alert(&w, "LLMAuditUnsigned", NULL));
    llm_metrics_audit_unsigned(w.m, llm_metrics_clock() - 181000);
    ok(strncmp(alert(&w, "LLMAuditUnsigned", NULL), "firing 18", 9) == 0,
       "181 s: %s", alert(&w, "LLMAuditUnsigned", NULL));
    llm_metrics_audit_unsigned(w.m, 0);
    is_str(alert(&w, "LLMAuditUnsigned", NULL), "ok 0", "signed");

    end(&w);
}


static void
test_store(void)
{
    world_t               w;
    llm_metrics_stores_t  st;

    begin(&w);
    later(&w, 60);

    memset(&st, 0, sizeof(llm_metrics_stores_t));
    st.known = 1;
    st.active = 10;
    st.bytes[LLM_METRICS_KEYS] = 85;
    st.map[LLM_METRICS_KEYS] = 100;
    st.bytes[LLM_METRICS_CALLS] = 99;
    st.map[LLM_METRICS_CALLS] = 100;
    llm_metrics_stores_set(w.m, &st);

    is_int(others(&w, ""), 0, "85% of the keys', 99% of the calls' store");
    is_str(alert(&w, "LLMKeysExpiring", NULL), "ok 0", "no key expires");

    st.bytes[LLM_METRICS_KEYS] = 86;
    st.expiring = 2;
    llm_metrics_stores_set(w.m, &st);
    is_str(alert(&w, "LLMStoreNearlyFull", "warning"), "firing 0.86 keys",
           "86%");
    is_str(alert(&w, "LLMStoreNearlyFull", "critical"), "ok 0.86 keys",
           "is not critical");
    is_str(alert(&w, "LLMKeysExpiring", NULL), "firing 2", "two keys expire");

    st.bytes[LLM_METRICS_AUDIT] = 96;
    st.map[LLM_METRICS_AUDIT] = 100;
    llm_metrics_stores_set(w.m, &st);
    is_str(alert(&w, "LLMStoreNearlyFull", "critical"), "firing 0.96 audit",
           "96% of the audit's");

    memset(&st, 0, sizeof(llm_metrics_stores_t));
    st.known = 1;
    llm_metrics_stores_set(w.m, &st);
    is_int(others(&w, ""), 0, "over");

    end(&w);
}


static void
gpu(world_t *w, int i, uint32_t per_mille, uint64_t used, uint64_t xid,
    uint64_t ecc)
{
    llm_gpu_row_t  *g;

    g = &llm_metrics_gpus(w->m)->gpu[i];

    atomic_store(&g->utilization, per_mille);
    atomic_store(&g->memory_used, used << 30);
    atomic_store(&g->memory_total, 80ull << 30);
    atomic_store(&g->xid, xid);
    atomic_store(&g->ecc, ecc);
    atomic_store(&g->known, LLM_GPU_UTILIZATION|LLM_GPU_MEMORY|LLM_GPU_ECC
                            |LLM_GPU_XID);
    atomic_store(&g->sampled, (uint64_t) llm_metrics_clock());
    atomic_store(&g->present, 1);
}


static void
test_gpu(void)
{
    world_t  w;

    begin(&w);
    later(&w, 600);

    gpu(&w, 0, 100, 10, 0, 17);
    gpu(&w, 3, 900, 68, 2, 0);
    later(&w, 10);
    is_int(others(&w, ""), 0, "two GPUs, one at 90% and 85%");
    is_str(alert(&w, "LLMGpuUtilizationHigh", NULL), "ok 0.9 3",
           "it is the busiest");
    is_str(alert(&w, "LLMGpuErrors", NULL), "ok 0 0",
           "old errors are no news");

    gpu(&w, 3, 901, 69, 2, 0);
    later(&w, 30);
    is_str(alert(&w, "LLMGpuMemoryHigh", "warning"), "firing 0.8625 3",
           "memory above 85%");
    is_str(alert(&w, "LLMGpuUtilizationHigh", NULL), "pending 0.901 3",
           "use above 90% is pending");
    later(&w, 270);
    is_str(alert(&w, "LLMGpuUtilizationHigh", NULL), "pending 0.901 3",
           "for 5 minutes");
    later(&w, 10);
    is_str(alert(&w, "LLMGpuUtilizationHigh", NULL), "firing 0.901 3",
           "then it fires");

    gpu(&w, 3, 200, 77, 2, 0);
    later(&w, 30);
    is_str(alert(&w, "LLMGpuUtilizationHigh", NULL), "ok 0.2 3", "idle");
    is_str(alert(&w, "LLMGpuMemoryHigh", "critical"), "firing 0.9625 3",
           "memory above 95%");

    gpu(&w, 3, 200, 10, 3, 0);
    gpu(&w, 0, 200, 10, 0, 19);
    is_str(alert(&w, "LLMGpuErrors", NULL), "firing 2 0", "errors");
    later(&w, 600);
    gpu(&w, 3, 200, 10, 3, 0);
    gpu(&w, 0, 200, 10, 0, 19);
    later(&w, 10);
    is_int(others(&w, ""), 0, "ten minutes later");

    end(&w);
}


static double
point(json_t *charts, const char *name, size_t i)
{
    json_t  *v;

    v = json_array_get(json_object_get(charts, name), i);

    return json_is_number(v) ? json_number_value(v) : -1;
}


static void
test_history(void)
{
    world_t  w;
    json_t  *h;

    begin(&w);

    h = llm_alerts_history(w.m, 60);
    is_int((long) json_array_size(json_object_get(h, "time")), 0,
           "one sample: no point");
    json_decref(h);

    engine(&w, 0, LLM_ENGINE_READY, 7, 500);
    traffic(&w, 20, "demo", 95, 5, 0, 0);
    later(&w, 10);

    h = llm_alerts_history(w.m, 60);
    is_int((long) json_array_size(json_object_get(h, "time")), 3,
           "three points");
    is_int(json_integer_value(json_object_get(h, "period")), 10,
           "of ten seconds");
    is_int((long) point(h, "time", 2), (WALL + w.time) / 1000,
           "the last is the newest");
    ok(point(h, "requests_per_second", 1) == 10
       && point(h, "errors_per_second", 1) == 0.5
       && point(h, "tokens_per_second", 1) == 30, "rates");
    ok(point(h, "ttft_p50_ms", 1) > 40 && point(h, "ttft_p50_ms", 1) <= 60
       && point(h, "ttft_p99_ms", 2) == -1, "latency, null without requests");
    ok(point(h, "queue", 2) == 7 && point(h, "kv", 2) == 0.25
       && point(h, "gpu", 2) == -1, "queue, cache, no GPU");
    json_decref(h);

    h = llm_alerts_history(w.m, 2);
    ok(json_array_size(json_object_get(h, "batch")) == 2
       && point(h, "requests_per_second", 0) == 10
       && point(h, "requests_per_second", 1) == 0, "the newest two");
    json_decref(h);

    h = llm_alerts_history(w.m, 0);
    is_int((long) json_array_size(json_object_get(h, "time")), 0, "none");
    json_decref(h);

    later(&w, 7200);
    h = llm_alerts_history(w.m, 100000);
    is_int((long) json_array_size(json_object_get(h, "gpu")),
           LLM_ADMIN_HISTORY, "an hour at most");
    json_decref(h);

    end(&w);
}


int
main(void)
{
    test_quiet();
    test_engine();
    test_errors();
    test_few();
    test_latency();
    test_audit();
    test_store();
    test_gpu();
    test_history();

    return done();
}
