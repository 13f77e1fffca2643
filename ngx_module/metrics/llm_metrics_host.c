
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics as text: the audit, the stores, GPUs and the processes, and what
 * every family's lines are made with.
 */


#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "llm_metrics_text.h"


/* a number of each GPU */
typedef struct {
    const char  *name;
    const char  *type;
    const char  *help;
    uint64_t     known;             /* llm_gpu_known_e */
    size_t       offset;            /* in llm_metrics_gpu_t */
    unsigned     unit;              /* of these make one */
} llm_text_gpu_t;


static void llm_text_audit(llm_text_t *t, const llm_metrics_host_t *host);
static void llm_text_stores(llm_text_t *t, const llm_metrics_stores_t *st);
static void llm_text_keys(llm_text_t *t, const llm_metrics_stores_t *st);
static void llm_text_gpus(llm_text_t *t, const llm_metrics_host_t *host);
static void llm_text_bucket(llm_text_t *t, const char *name,
    const char *labels, const char *le, uint64_t n);
static void llm_text_unit(llm_text_t *t, uint64_t n, unsigned unit);


static const char *const  llm_text_store[LLM_METRICS_STORES] = {
    "keys", "calls", "audit"
};


static const llm_text_gpu_t  llm_text_gpu[] = {

    { "llm_gpu_utilization_ratio", "gauge",
      "Part of the time in which the GPU did something, 0 to 1.",
      LLM_GPU_UTILIZATION, offsetof(llm_metrics_gpu_t, utilization), 1000 },

    { "llm_gpu_memory_used_bytes", "gauge", "Memory in use.",
      LLM_GPU_MEMORY, offsetof(llm_metrics_gpu_t, memory_used), 1 },

    { "llm_gpu_memory_total_bytes", "gauge", "Memory.",
      LLM_GPU_MEMORY, offsetof(llm_metrics_gpu_t, memory_total), 1 },

    { "llm_gpu_power_watts", "gauge", "Power drawn.",
      LLM_GPU_POWER, offsetof(llm_metrics_gpu_t, power), 1000 },

    { "llm_gpu_temperature_celsius", "gauge", "Temperature.",
      LLM_GPU_TEMPERATURE, offsetof(llm_metrics_gpu_t, temperature), 1 },

    { "llm_gpu_ecc_errors_total", "counter",
      "Uncorrected memory errors in the GPU's life.",
      LLM_GPU_ECC, offsetof(llm_metrics_gpu_t, ecc), 1 },

    { "llm_gpu_xid_errors_total", "counter",
      "XID errors of the driver since the models were loaded.",
      LLM_GPU_XID, offsetof(llm_metrics_gpu_t, xid), 1 },
};


void
llm_text_host(llm_text_t *t, const char *version)
{
    llm_metrics_host_t  host;

    llm_metrics_now_host(t->m, t->zone, &host);

    if (t->zone) {
        llm_text_number(t, "llm_engine_restarts_total", "counter",
                        "Deaths of the process that holds the models.",
                        host.restarts);
        llm_text_number(t, "llm_workers", "gauge",
                        "Worker processes that use the engines.",
                        host.workers);
    }

    llm_text_audit(t, &host);

    if (host.stores.known) {
        llm_text_stores(t, &host.stores);
        llm_text_keys(t, &host.stores);
    }

    llm_text_number(t, "llm_call_records_lost_total", "counter",
                    "Call records that the store could not take.",
                    host.lost);
    llm_text_gpus(t, &host);

    llm_text_head(t, "llm_start_time_seconds", "gauge",
                  "When counting began, unix time.");
    llm_text(t, "llm_start_time_seconds ");
    llm_text_unit(t, (uint64_t) t->m->start, 1000);

    llm_text_head(t, "llm_build_info", "gauge", "The module's version.");
    llm_text(t, "llm_build_info{version=\"%s\"} 1\n", version);
}


/* of a trail that is kept: somebody said how it stands */

static void
llm_text_audit(llm_text_t *t, const llm_metrics_host_t *host)
{
    if (host->audit_writable > 1) {
        return;
    }

    llm_text_number(t, "llm_audit_records_total", "counter",
                    "Records of the audit that are durable.",
                    host->audit_records);
    llm_text_number(t, "llm_audit_failures_total", "counter",
                    "Records of the audit that could not be written.",
                    host->audit_failures);

    llm_text_head(t, "llm_audit_commit_seconds", "histogram",
                  "Time from a record's posting until it is durable.");
    llm_text_hist(t, "llm_audit_commit_seconds", "", &t->m->audit.commit);

    llm_text_head(t, "llm_audit_lag_seconds", "gauge",
                  "Age of the oldest record that waits.");
    llm_text(t, "llm_audit_lag_seconds ");
    llm_text_unit(t, host->audit_lag, 1000);

    llm_text_number(t, "llm_audit_writable", "gauge",
                    "1 while the audit can be written.",
                    host->audit_writable);

    llm_text_head(t, "llm_audit_unsigned_seconds", "gauge",
                  "Age of the oldest record that no checkpoint covers.");
    llm_text(t, "llm_audit_unsigned_seconds ");
    llm_text_unit(t, host->audit_unsigned, 1000);

    if (host->stores.bytes[LLM_METRICS_AUDIT]) {
        llm_text_number(t, "llm_audit_bytes", "gauge",
                        "Size of the audit's file.",
                        host->stores.bytes[LLM_METRICS_AUDIT]);
    }
}


static void
llm_text_stores(llm_text_t *t, const llm_metrics_stores_t *st)
{
    int  i;

    llm_text_head(t, "llm_store_bytes", "gauge", "Bytes in use of a store.");

    for (i = 0; i < LLM_METRICS_STORES; i++) {
        if (st->bytes[i]) {
            llm_text(t, "llm_store_bytes{store=\"%s\"} %llu\n",
                     llm_text_store[i], (unsigned long long) st->bytes[i]);
        }
    }

    llm_text_head(t, "llm_store_usage_ratio", "gauge",
                  "Part of what a store may have that is in use, 0 to 1.");

    for (i = 0; i < LLM_METRICS_STORES; i++) {
        if (st->map[i]) {
            llm_text(t, "llm_store_usage_ratio{store=\"%s\"} %.6f\n",
                     llm_text_store[i],
                     (double) st->bytes[i] / (double) st->map[i]);
        }
    }
}


static void
llm_text_keys(llm_text_t *t, const llm_metrics_stores_t *st)
{
    llm_text_head(t, "llm_keys", "gauge",
                  "API keys; expiring: active ones with 14 days or less.");
    llm_text(t, "llm_keys{status=\"active\"} %llu\n"
             "llm_keys{status=\"expiring\"} %llu\n"
             "llm_keys{status=\"expired\"} %llu\n"
             "llm_keys{status=\"revoked\"} %llu\n",
             (unsigned long long) st->active,
             (unsigned long long) st->expiring,
             (unsigned long long) st->expired,
             (unsigned long long) st->revoked);

    if (st->next_expiry) {
        llm_text_number(t, "llm_key_next_expiry_timestamp_seconds", "gauge",
                        "When the next active key ends, unix time.",
                        st->next_expiry);
    }
}


static void
llm_text_gpus(llm_text_t *t, const llm_metrics_host_t *host)
{
    int                        i, headed;
    char                       label[2 * LLM_GPU_NAME + 1];
    size_t                     k;
    uint64_t                   n;
    llm_gpu_t                  g;
    const llm_text_gpu_t      *f;
    const llm_metrics_gpu_t   *row;

    for (k = 0; k < sizeof(llm_text_gpu) / sizeof(llm_text_gpu[0]); k++) {
        f = &llm_text_gpu[k];

        for (i = 0, headed = 0; i < LLM_GPU_MAX; i++) {
            row = &host->gpu[i];

            if (!(row->known & f->known)) {
                continue;
            }

            if (!headed) {
                headed = 1;
                llm_text_head(t, f->name, f->type, f->help);
            }

            label[0] = '\0';

            if (llm_gpu_read(&t->m->gpu, i, &g) == LLM_OK) {
                (void) llm_metrics_label(label, g.name,
                                         strnlen(g.name, LLM_GPU_NAME));
            }

            llm_text(t, "%s{gpu=\"%d\",name=\"%s\"} ", f->name, i, label);
            memcpy(&n, (const char *) row + f->offset, sizeof(n));
            llm_text_unit(t, n, f->unit);
        }
    }
}


void
llm_text_head(llm_text_t *t, const char *name, const char *type,
    const char *help)
{
    llm_text(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}


void
llm_text(llm_text_t *t, const char *fmt, ...)
{
    int      n;
    size_t   room;
    va_list  args;

    if (t->rc != LLM_OK) {
        return;
    }

    room = t->b->size - t->b->len;

    va_start(args, fmt);
    n = vsnprintf(t->b->data + t->b->len, room, fmt, args);
    va_end(args);

    if (n < 0) {
        t->rc = LLM_ERROR;
        return;
    }

    if ((size_t) n >= room) {
        t->rc = llm_buf_reserve(t->b, (size_t) n + 1);

        if (t->rc != LLM_OK) {
            return;
        }

        va_start(args, fmt);
        n = vsnprintf(t->b->data + t->b->len, t->b->size - t->b->len, fmt,
                      args);
        va_end(args);
    }

    t->b->len += (size_t) n;
}


void
llm_text_model(llm_text_t *t, const char *name, const llm_text_model_t *x,
    uint64_t n)
{
    llm_text(t, "%s{model=\"%s\"} %llu\n", name, x->label,
             (unsigned long long) n);
}


void
llm_text_number(llm_text_t *t, const char *name, const char *type,
    const char *help, uint64_t n)
{
    llm_text_head(t, name, type, help);
    llm_text(t, "%s %llu\n", name, (unsigned long long) n);
}


/* most of the text is this: put together by hand, a third of printf()'s time */

void
llm_text_hist(llm_text_t *t, const char *name, const char *labels,
    llm_metrics_hist_t *h)
{
    int       i;
    uint64_t  n, us;

    for (i = 0, n = 0; i < LLM_METRICS_BUCKETS; i++) {
        n += llm_metrics_get(&h->bucket[i]);
        llm_text_bucket(t, name, labels, t->le[i], n);
    }

    us = llm_metrics_get(&h->sum);

    llm_text(t, "%s_sum%s%s%s %llu.%06u\n%s_count%s%s%s %llu\n",
             name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "",
             (unsigned long long) (us / 1000000), (unsigned) (us % 1000000),
             name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "",
             (unsigned long long) n);
}


static void
llm_text_bucket(llm_text_t *t, const char *name, const char *labels,
    const char *le, uint64_t n)
{
    char  *p, digits[24];
    int    i;

    if (t->rc == LLM_OK) {
        t->rc = llm_buf_reserve(t->b, strlen(name) + strlen(labels)
                                      + LLM_TEXT_LE + 64);
    }

    if (t->rc != LLM_OK) {
        return;
    }

    p = t->b->data + t->b->len;
    p = stpcpy(p, name);
    p = stpcpy(p, "_bucket{");

    if (labels[0]) {
        p = stpcpy(p, labels);
        *p++ = ',';
    }

    p = stpcpy(p, "le=\"");
    p = stpcpy(p, le);
    p = stpcpy(p, "\"} ");

    i = (int) sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    memcpy(p, digits + i, sizeof(digits) - (size_t) i);
    p += sizeof(digits) - (size_t) i;
    *p++ = '\n';

    t->b->len = (size_t) (p - t->b->data);
}


void
llm_text_bounds(llm_text_t *t)
{
    int  i;

    for (i = 0; i < LLM_METRICS_BOUNDS; i++) {
        (void) snprintf(t->le[i], LLM_TEXT_LE, "%g",
                        (double) llm_metrics_bound[i] / 1e6);
    }

    (void) snprintf(t->le[i], LLM_TEXT_LE, "+Inf");
}


/* n of a unit's parts, 1 or 1000, and the line's end */

static void
llm_text_unit(llm_text_t *t, uint64_t n, unsigned unit)
{
    if (unit == 1) {
        llm_text(t, "%llu\n", (unsigned long long) n);
        return;
    }

    llm_text(t, "%llu.%03u\n", (unsigned long long) (n / unit),
             (unsigned) (n % unit));
}


char *
llm_metrics_label(char *dst, const char *value, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (value[i] == '\n') {
            *dst++ = '\\';
            *dst++ = 'n';
            continue;
        }

        if (value[i] == '"' || value[i] == '\\') {
            *dst++ = '\\';
        }

        *dst++ = value[i];
    }

    *dst = '\0';

    return dst;
}
