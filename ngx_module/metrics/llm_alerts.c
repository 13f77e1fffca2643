
/*
 * Copyright (C) nginx-llm contributors
 *
 * Alerts over the history: the table, and its judgement.
 *
 * Points are numbered from now (0) backwards (1 is the newest sample, 2 the
 * one before), and are fetched when they are asked for first.  A sample that
 * its writer did not finish is passed over.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store/llm_admin.h"
#include "llm_alerts_int.h"


#define LLM_ALERTS_POINTS    (LLM_METRICS_SAMPLES + 1)
#define LLM_ALERTS_SUBJECT   32             /* a GPU, a store */


/* of a rule: of its worst subject */
typedef struct {
    int      state;                 /* 0: ok, 1: pending, 2: firing */
    int      known;
    double   value;
    int64_t  since;                 /* CLOCK_MONOTONIC, ms */
    char     subject[LLM_METRICS_NAME];
} llm_alert_t;


static void llm_alerts_rows(llm_alerts_ctx_t *c, const char *engine,
    llm_alert_t *alert);
static void llm_alerts_hosts(llm_alerts_ctx_t *c, llm_alert_t *alert);
static void llm_alerts_judge(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, const char *name,
    llm_alert_t *worst);
static int llm_alerts_get(llm_alerts_ctx_t *c, int point, const char *engine,
    llm_metrics_row_t *row);
static int64_t llm_alerts_time(llm_alerts_ctx_t *c, int point);

static json_t *llm_alert_json(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, const llm_alert_t *alert);
static void llm_alert_summary(const llm_alert_rule_t *rule,
    const llm_alert_t *alert, char *buf, size_t size);
static void llm_alert_number(char *buf, size_t size, llm_alert_unit_e unit,
    double v);


static const struct {
    llm_metrics_store_e  store;
    const char          *name;
} llm_alert_stores[] = {
    { LLM_METRICS_KEYS, "keys" },
    { LLM_METRICS_AUDIT, "audit" }

    /* not calls: when its room runs out, the oldest go */
};

#define LLM_ALERT_STORES                                                      \
    ((int) (sizeof(llm_alert_stores) / sizeof(llm_alert_stores[0])))


json_t *
llm_alerts_json(llm_metrics_t *m, llm_zone_t *zone, const char *const *engine,
    int n, int64_t time, int64_t wall)
{
    int               i;
    size_t            k;
    json_t           *list;
    llm_alert_t       alert[LLM_ALERT_RULES];
    llm_alerts_ctx_t  c;

    memset(alert, 0, sizeof(alert));
    memset(&c, 0, sizeof(llm_alerts_ctx_t));

    c.metrics = m;
    c.zone = zone;
    c.time = time;
    c.wall = wall;
    c.engines = engine;
    c.n = n;
    c.points = 1;

    llm_metrics_range(m, &c.first, &c.last);

    if (c.last != 0 && c.last >= c.first) {
        c.points += (c.last - c.first < LLM_METRICS_SAMPLES)
                    ? (int) (c.last - c.first) + 1 : LLM_METRICS_SAMPLES;
    }

    list = json_array();
    c.row = malloc(LLM_ALERTS_POINTS * sizeof(llm_alerts_row_t));
    c.host = calloc(LLM_ALERTS_POINTS, sizeof(llm_alerts_host_t));

    if (list == NULL || c.row == NULL || c.host == NULL) {
        json_decref(list);
        list = NULL;
        goto done;
    }

    llm_alerts_hosts(&c, alert);

    for (i = 0; i < n; i++) {
        llm_alerts_rows(&c, engine[i], alert);
    }

    llm_alerts_rows(&c, NULL, alert);

    for (k = 0; k < LLM_ALERT_RULES; k++) {

        if (json_array_append_new(list, llm_alert_json(&c,
                                            &llm_alert_rules[k], &alert[k]))
            != 0)
        {
            json_decref(list);
            list = NULL;
            break;
        }
    }

done:

    free(c.row);
    free(c.host);

    return list;
}


static void
llm_alerts_rows(llm_alerts_ctx_t *c, const char *engine, llm_alert_t *alert)
{
    int                      i;
    size_t                   k;
    const llm_alert_rule_t  *rule;

    c->engine = engine;

    for (i = 0; i < c->points; i++) {
        c->row[i].got = 0;
    }

    for (k = 0; k < LLM_ALERT_RULES; k++) {
        rule = &llm_alert_rules[k];

        if (rule->scope == LLM_ALERT_REQUESTS
            || (rule->scope == LLM_ALERT_ENGINE && engine != NULL))
        {
            llm_alerts_judge(c, rule, 0, engine != NULL ? engine : "proxied",
                             &alert[k]);
        }
    }
}


static void
llm_alerts_hosts(llm_alerts_ctx_t *c, llm_alert_t *alert)
{
    int                        i;
    char                       name[LLM_ALERTS_SUBJECT];
    size_t                     k;
    const llm_alert_rule_t    *rule;
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, 0);

    for (k = 0; k < LLM_ALERT_RULES; k++) {
        rule = &llm_alert_rules[k];

        switch (rule->scope) {

        case LLM_ALERT_HOST:
            llm_alerts_judge(c, rule, 0, NULL, &alert[k]);
            break;

        case LLM_ALERT_STORE:

            for (i = 0; i < LLM_ALERT_STORES; i++) {
                llm_alerts_judge(c, rule, llm_alert_stores[i].store,
                                 llm_alert_stores[i].name, &alert[k]);
            }

            break;

        case LLM_ALERT_GPU:

            for (i = 0; h != NULL && i < LLM_GPU_MAX; i++) {

                if (h->gpu[i].present) {
                    (void) snprintf(name, sizeof(name), "%d", i);
                    llm_alerts_judge(c, rule, i, name, &alert[k]);
                }
            }

            break;

        default:
            break;
        }
    }
}


static void
llm_alerts_judge(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    int subject, const char *name, llm_alert_t *worst)
{
    int          i;
    double       v;
    llm_alert_t  a;

    memset(&a, 0, sizeof(llm_alert_t));

    a.known = rule->value(c, rule, subject, 0, &a.value);
    a.since = c->time;

    if (a.known && a.value > rule->threshold) {

        for (i = 1; i < c->points; i++) {

            if (llm_alerts_time(c, i) < 0) {
                continue;
            }

            if (!rule->value(c, rule, subject, i, &v)
                || v <= rule->threshold)
            {
                break;
            }

            a.since = llm_alerts_time(c, i);
        }

        a.state = (c->time - a.since >= rule->hold * 1000) ? 2 : 1;
    }

    if (a.state < worst->state
        || (a.state == worst->state
            && (!a.known || (worst->known && a.value <= worst->value))))
    {
        return;
    }

    if (name != NULL) {
        (void) snprintf(a.subject, sizeof(a.subject), "%s", name);
    }

    *worst = a;
}


const llm_metrics_row_t *
llm_alerts_row(llm_alerts_ctx_t *c, int point)
{
    int                i, rc;
    llm_alerts_row_t  *r;
    llm_metrics_row_t  one;

    r = &c->row[point];

    if (r->got == 0) {
        rc = llm_alerts_get(c, point, c->engine, &r->row);
        r->got = (rc == LLM_OK) ? 1 : -1;

        for (i = 0; c->engine == NULL && r->got == 1 && i < c->n; i++) {
            if (llm_alerts_get(c, point, c->engines[i], &one) == LLM_OK) {
                llm_metrics_diff(&r->row, &one, &r->row);
            }
        }
    }

    return r->got == 1 ? &r->row : NULL;
}


static int
llm_alerts_get(llm_alerts_ctx_t *c, int point, const char *engine,
    llm_metrics_row_t *row)
{
    if (point == 0) {
        return llm_metrics_now(c->metrics, c->zone, engine, row);
    }

    return llm_metrics_at(c->metrics, c->last + 1 - (uint64_t) point, engine,
                          row, NULL, NULL);
}


const llm_metrics_host_t *
llm_alerts_host(llm_alerts_ctx_t *c, int point)
{
    int                 rc;
    llm_alerts_host_t  *h;

    h = &c->host[point];

    if (h->got == 0) {
        rc = LLM_OK;

        if (point == 0) {
            llm_metrics_now_host(c->metrics, c->zone, &h->host);
            h->host.time = c->time;

        } else {
            rc = llm_metrics_at(c->metrics, c->last + 1 - (uint64_t) point,
                                NULL, NULL, &h->host, NULL);
        }

        h->got = (rc == LLM_OK && h->host.time <= c->time) ? 1 : -1;
    }

    return h->got == 1 ? &h->host : NULL;
}


/* -1: there is no such point */

static int64_t
llm_alerts_time(llm_alerts_ctx_t *c, int point)
{
    const llm_metrics_host_t  *h;

    h = llm_alerts_host(c, point);

    return h != NULL ? h->time : -1;
}


int
llm_alerts_before(llm_alerts_ctx_t *c, int point, int seconds)
{
    int      i, found;
    int64_t  t, from;

    from = llm_alerts_time(c, point) - (int64_t) seconds * 1000;
    found = point;

    for (i = point + 1; i < c->points; i++) {
        t = llm_alerts_time(c, i);

        if (t < 0) {
            continue;
        }

        found = i;

        if (t <= from) {
            break;
        }
    }

    return found;
}


int
llm_alerts_rate(llm_alerts_ctx_t *c, int point, int seconds,
    llm_metrics_row_t *diff)
{
    int                       i;
    const llm_metrics_row_t  *a, *b;

    b = llm_alerts_row(c, point);

    if (b == NULL) {
        return 0;
    }

    a = NULL;

    for (i = llm_alerts_before(c, point, seconds); i > point; i--) {
        a = llm_alerts_row(c, i);

        if (a != NULL) {
            break;
        }
    }

    if (a == NULL) {
        return 0;
    }

    llm_metrics_diff(diff, a, b);

    return 1;
}


static json_t *
llm_alert_json(llm_alerts_ctx_t *c, const llm_alert_rule_t *rule,
    const llm_alert_t *alert)
{
    char  since[32], summary[256];

    static const char *const  state[] = { "ok", "pending", "firing" };

    llm_alert_summary(rule, alert, summary, sizeof(summary));

    if (alert->state != 0) {
        (void) llm_admin_time(since, sizeof(since),
                              (c->wall - (c->time - alert->since)) / 1000);
    }

    return json_pack("{s:s, s:s, s:s, s:s?, s:o, s:f, s:i, s:i, s:s?, s:s}",
                     "name", rule->name,
                     "severity", rule->severity,
                     "state", state[alert->state],
                     "subject", alert->subject[0] ? alert->subject : NULL,
                     "value", alert->known ? json_real(alert->value)
                                           : json_null(),
                     "threshold", rule->threshold,
                     "window", rule->window,
                     "for", rule->hold,
                     "since", alert->state != 0 ? since : NULL,
                     "summary", summary);
}


static void
llm_alert_summary(const llm_alert_rule_t *rule, const llm_alert_t *alert,
    char *buf, size_t size)
{
    char  subject[LLM_METRICS_NAME + 4], value[32], limit[48];

    subject[0] = '\0';
    limit[0] = '\0';

    if (alert->subject[0] != '\0') {
        (void) snprintf(subject, sizeof(subject), " (%s)", alert->subject);
    }

    if (!alert->known) {
        (void) snprintf(value, sizeof(value), "not known");

    } else {
        llm_alert_number(value, sizeof(value), rule->unit, alert->value);
    }

    if (rule->threshold > 0) {
        (void) snprintf(limit, sizeof(limit), ", limit ");
        llm_alert_number(limit + 8, sizeof(limit) - 8, rule->unit,
                         rule->threshold);
    }

    (void) snprintf(buf, size, "%s%s: %s%s", rule->text, subject, value,
                    limit);
}


static void
llm_alert_number(char *buf, size_t size, llm_alert_unit_e unit, double v)
{
    switch (unit) {

    case LLM_ALERT_RATIO:
        (void) snprintf(buf, size, "%.3g%%", v * 100);
        break;

    case LLM_ALERT_SECONDS:
        (void) snprintf(buf, size, "%.3g s", v);
        break;

    case LLM_ALERT_COUNT:
        (void) snprintf(buf, size, "%.0f", v);
        break;

    default:
        (void) snprintf(buf, size, "%s", v > 0 ? "yes" : "no");
        break;
    }
}
