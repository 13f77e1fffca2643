
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of llm_alerts.h share.
 */


#ifndef _LLM_ALERTS_INT_H_INCLUDED_
#define _LLM_ALERTS_INT_H_INCLUDED_


#include "llm_alerts.h"


#define LLM_ALERT_RULES  18


typedef struct {
    int8_t              got;        /* 0: not asked for, -1: not there */
    llm_metrics_row_t   row;
} llm_alerts_row_t;


typedef struct {
    int8_t              got;
    llm_metrics_host_t  host;
} llm_alerts_host_t;


typedef struct {
    llm_metrics_t      *metrics;
    llm_zone_t         *zone;
    int64_t             time;       /* of now */
    int64_t             wall;
    uint64_t            first;      /* samples that there are */
    uint64_t            last;
    int                 points;     /* now and they */
    const char *const  *engines;    /* names, n of them */
    int                 n;
    const char         *engine;     /* whose rows these are, NULL: of no
                                       engine, but other servers' */
    llm_alerts_row_t   *row;
    llm_alerts_host_t  *host;
} llm_alerts_ctx_t;


typedef enum {
    LLM_ALERT_ENGINE = 0,           /* of each engine */
    LLM_ALERT_REQUESTS,             /* of each engine, and of what other
                                       servers answered, together */
    LLM_ALERT_HOST,
    LLM_ALERT_STORE,
    LLM_ALERT_GPU
} llm_alert_scope_e;


typedef enum {
    LLM_ALERT_RATIO = 0,
    LLM_ALERT_SECONDS,
    LLM_ALERT_COUNT,
    LLM_ALERT_FLAG
} llm_alert_unit_e;


typedef struct llm_alert_rule_s  llm_alert_rule_t;

/* 1 and *v: what it is at a point; 0: not known there.  subject: number of a
 * store or GPU */
typedef int (*llm_alert_value_pt)(llm_alerts_ctx_t *c,
    const llm_alert_rule_t *rule, int subject, int point, double *v);


struct llm_alert_rule_s {
    const char          *name;
    const char          *severity;
    double               threshold;     /* above it is bad */
    int                  window;        /* seconds */
    int                  hold;          /* seconds: "for" */
    llm_alert_scope_e    scope;
    llm_alert_unit_e     unit;
    llm_alert_value_pt   value;
    const char          *text;
};


extern const llm_alert_rule_t  llm_alert_rules[LLM_ALERT_RULES];


/* NULL: there is no such point, or the engine was not there then */
const llm_metrics_row_t *llm_alerts_row(llm_alerts_ctx_t *c, int point);
const llm_metrics_host_t *llm_alerts_host(llm_alerts_ctx_t *c, int point);

/* the newest point that is seconds older, or the oldest there is */
int llm_alerts_before(llm_alerts_ctx_t *c, int point, int seconds);

/* what was counted within seconds before a point: 1; 0: not known.  Where the
 * history began later, since then */
int llm_alerts_rate(llm_alerts_ctx_t *c, int point, int seconds,
    llm_metrics_row_t *diff);


#endif /* _LLM_ALERTS_INT_H_INCLUDED_ */
