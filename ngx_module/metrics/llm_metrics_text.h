
/*
 * Copyright (C) nginx-llm contributors
 *
 * The metrics' text in the making, for the files that make it only.  A text
 * that ran out of memory takes nothing more; rc says so at the end.
 */


#ifndef _LLM_METRICS_TEXT_H_INCLUDED_
#define _LLM_METRICS_TEXT_H_INCLUDED_


#include <stdio.h>

#include "llm_metrics_int.h"


#define LLM_TEXT_LABEL  (2 * LLM_METRICS_NAME + 1)
#define LLM_TEXT_LE     16


/* a model that has something to tell */
typedef struct {
    uint32_t              model;
    int                   engine;       /* of the configuration */
    llm_metrics_model_t  *count;
    llm_engine_status_t  *status;       /* NULL: none, or no engine */
    uint32_t              state;        /* llm_engine_state_e */
    char                  label[LLM_TEXT_LABEL];
} llm_text_model_t;


typedef struct {
    llm_metrics_t     *m;
    llm_zone_t        *zone;            /* or NULL */
    int64_t            time;            /* CLOCK_MONOTONIC, ms */
    llm_buf_t         *b;
    int                rc;
    char               le[LLM_METRICS_BUCKETS][LLM_TEXT_LE];   /* bounds */
    uint32_t           n_model;
    llm_text_model_t   model[LLM_METRICS_ALL];
} llm_text_t;


/* llm_metrics_host.c */

/* what is not of requests, models and engines */
void llm_text_host(llm_text_t *t, const char *version);

/* HELP and TYPE of a family, before its first line */
void llm_text_head(llm_text_t *t, const char *name, const char *type,
    const char *help);

void llm_text(llm_text_t *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* name{model="..."} n */
void llm_text_model(llm_text_t *t, const char *name,
    const llm_text_model_t *x, uint64_t n);

/* name, without labels */
void llm_text_number(llm_text_t *t, const char *name, const char *type,
    const char *help, uint64_t n);

/* le, before the first histogram */
void llm_text_bounds(llm_text_t *t);

/* a histogram's lines; labels: without braces, may be "" */
void llm_text_hist(llm_text_t *t, const char *name, const char *labels,
    llm_metrics_hist_t *h);


#endif /* _LLM_METRICS_TEXT_H_INCLUDED_ */
