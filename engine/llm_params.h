
/*
 * Copyright (C) nginx-llm contributors
 *
 * Parameters that are changed while an engine serves: their names, ranges,
 * and a set of values.  The request parser judges a body's fields by the same
 * ranges.  llm_zone_params_set() and _get() (llm_ring.h) carry values from
 * whoever changes them to the engine.
 *
 * Plain data, any thread; whoever has a llm_param_values_t owns it.
 */


#ifndef _LLM_PARAMS_H_INCLUDED_
#define _LLM_PARAMS_H_INCLUDED_


#include "llm.h"


#define LLM_BATCH_MAX  512      /* sequences in a step, by configuration */


typedef enum {
    /* of the engine; one that is lowered cuts nothing that runs */
    LLM_PARAM_MAX_BATCH = 0,    /* sequences that run at a time; never more
                                   than the configuration's */
    LLM_PARAM_QUEUE,            /* requests that wait beyond these */

    /* where a request's body does not say; else the model's own defaults */
    LLM_PARAM_TEMPERATURE,
    LLM_PARAM_TOP_P,
    LLM_PARAM_TOP_K,
    LLM_PARAM_MIN_P,
    LLM_PARAM_REPETITION_PENALTY,
    LLM_PARAM_MAX_TOKENS,

    /* what a body may say at most */
    LLM_PARAM_MAX_TOKENS_LIMIT, /* also where it does not say */
    LLM_PARAM_N_LIMIT,

    LLM_PARAMS
} llm_param_e;


typedef struct {
    const char  *name;
    int          is_float;      /* 0: integers only */
    int          above;         /* min itself is out of range */
    double       min;
    double       max;
} llm_param_def_t;


/* {0}: none is set */
typedef struct {
    uint32_t  set;              /* 1 << llm_param_e */
    double    value[LLM_PARAMS];
} llm_param_values_t;


/*
 * What a request was answered by, whoever said it: its body, these parameters
 * or the model.  With the body, the seed and the model it makes the answer, so
 * that a later replay needs it.  In events and in the audit trail: fixed width.
 */
typedef struct {
    float     temperature;
    float     top_p;
    float     min_p;
    float     repetition_penalty;
    int32_t   top_k;
    uint32_t  max_tokens;       /* that a choice could have, context and cache
                                   taken into account */
} llm_effective_t;

_Static_assert(sizeof(llm_effective_t) == 24, "no holes");


/* [LLM_PARAMS], by llm_param_e; a NULL name follows */
extern const llm_param_def_t  llm_param_defs[];


/* a name's number, or LLM_NOTFOUND */
int llm_param_find(const char *name);

/* 1 if value is in p's range (NaN is in none) */
int llm_param_valid(llm_param_e p, double value);

/* LLM_NOTFOUND: there is no such name; LLM_INVALID: out of range, or not an
 * integer where one is wanted */
int llm_param_put(llm_param_values_t *v, const char *name, double value);

/* LLM_NOTFOUND: no such name, or it is not set */
int llm_param_get(const llm_param_values_t *v, const char *name,
    double *value);

/* back to what holds without it; LLM_NOTFOUND: no such name */
int llm_param_clear(llm_param_values_t *v, const char *name);

/* p's value, or other if it is not set; v may be NULL */
double llm_param_value(const llm_param_values_t *v, llm_param_e p,
    double other);


#endif /* _LLM_PARAMS_H_INCLUDED_ */
