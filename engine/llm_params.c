
/*
 * Copyright (C) nginx-llm contributors
 *
 * Live parameters: the table of their ranges, sets of values, and their way
 * through the shared zone.
 *
 * An entry of the zone belongs to an engine's name.  Writers exclude each
 * other by a robust mutex, write the copy that does not hold, and say that it
 * does: one that died in the middle has changed nothing.  A reader takes no
 * lock.  It reads again if the copies took turns meanwhile, which can't go on
 * for long; at last it takes what is there, each value whole and checked on
 * its own.
 */


#include <errno.h>
#include <math.h>
#include <string.h>

#include "llm_request.h"
#include "llm_ring.h"


#define LLM_PARAMS_TRIES  64


static int llm_params_lock(llm_zone_t *z);
static llm_params_t *llm_params_entry(llm_zone_t *z, uint64_t hash);
static void llm_params_write(llm_params_t *e, uint64_t hash,
    const llm_param_values_t *v);
static int llm_params_read(llm_params_t *e, uint64_t hash,
    llm_param_values_t *v);


const llm_param_def_t  llm_param_defs[LLM_PARAMS + 1] = {
    [LLM_PARAM_MAX_BATCH] = { "max_batch", 0, 0, 1, LLM_BATCH_MAX },
    [LLM_PARAM_QUEUE] = { "queue", 0, 0, 0, LLM_ZONE_SLOTS },
    [LLM_PARAM_TEMPERATURE] = { "temperature", 1, 0, 0, 2 },
    [LLM_PARAM_TOP_P] = { "top_p", 1, 1, 0, 1 },
    [LLM_PARAM_TOP_K] = { "top_k", 0, 0, -1, INT32_MAX },
    [LLM_PARAM_MIN_P] = { "min_p", 1, 0, 0, 1 },
    [LLM_PARAM_REPETITION_PENALTY] = { "repetition_penalty", 1, 1, 0, 2 },
    [LLM_PARAM_MAX_TOKENS] = { "max_tokens", 0, 0, 1, 0x1p31 },
    [LLM_PARAM_MAX_TOKENS_LIMIT] = { "max_tokens_limit", 0, 0, 1, 0x1p31 },
    [LLM_PARAM_N_LIMIT] = { "n_limit", 0, 0, 1, LLM_CHOICES_MAX }
};


int
llm_param_find(const char *name)
{
    int  i;

    for (i = 0; i < LLM_PARAMS; i++) {
        if (strcmp(llm_param_defs[i].name, name) == 0) {
            return i;
        }
    }

    return LLM_NOTFOUND;
}


int
llm_param_valid(llm_param_e p, double value)
{
    const llm_param_def_t  *def = &llm_param_defs[p];

    return value >= def->min && value <= def->max
           && !(def->above && value == def->min)
           && (def->is_float || value == floor(value));
}


int
llm_param_put(llm_param_values_t *v, const char *name, double value)
{
    int  i;

    i = llm_param_find(name);

    if (i < 0) {
        return i;
    }

    if (!llm_param_valid((llm_param_e) i, value)) {
        return LLM_INVALID;
    }

    v->value[i] = value;
    v->set |= 1u << i;

    return LLM_OK;
}


int
llm_param_get(const llm_param_values_t *v, const char *name, double *value)
{
    int  i;

    i = llm_param_find(name);

    if (i < 0 || !(v->set & 1u << i)) {
        return LLM_NOTFOUND;
    }

    *value = v->value[i];

    return LLM_OK;
}


int
llm_param_clear(llm_param_values_t *v, const char *name)
{
    int  i;

    i = llm_param_find(name);

    if (i < 0) {
        return i;
    }

    v->value[i] = 0;
    v->set &= ~(1u << i);

    return LLM_OK;
}


double
llm_param_value(const llm_param_values_t *v, llm_param_e p, double other)
{
    return v && v->set & 1u << p ? v->value[p] : other;
}


int
llm_zone_params_set(llm_zone_t *z, uint64_t hash, const llm_param_values_t *v)
{
    int            i;
    llm_params_t  *e;

    if (hash == 0 || v->set >> LLM_PARAMS) {
        return LLM_INVALID;
    }

    for (i = 0; i < LLM_PARAMS; i++) {
        if (v->set & 1u << i && !llm_param_valid((llm_param_e) i, v->value[i]))
        {
            return LLM_INVALID;
        }
    }

    if (llm_params_lock(z) != LLM_OK) {
        return LLM_ERROR;
    }

    e = llm_params_entry(z, hash);

    if (e) {
        llm_params_write(e, v->set ? hash : 0, v);
    }

    pthread_mutex_unlock(&z->params_lock);

    if (e == NULL) {
        return v->set ? LLM_AGAIN : LLM_OK;
    }

    /* a scheduler whose limit has risen may be asleep */
    llm_zone_ring(z);

    return LLM_OK;
}


static int
llm_params_lock(llm_zone_t *z)
{
    int  rc;

    rc = pthread_mutex_lock(&z->params_lock);

    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&z->params_lock);
    }

    return rc == 0 ? LLM_OK : LLM_ERROR;
}


/* hash's entry, or a free one; NULL if there is neither */

static llm_params_t *
llm_params_entry(llm_zone_t *z, uint64_t hash)
{
    int            i;
    uint64_t       h;
    llm_params_t  *e, *free = NULL;

    for (i = 0; i < LLM_ZONE_ENGINES; i++) {
        e = &z->params[i];
        h = atomic_load(&e->copy[atomic_load(&e->turn) & 1].hash);

        if (h == hash) {
            return e;
        }

        if (h == 0 && free == NULL) {
            free = e;
        }
    }

    return free;
}


/* sequentially consistent throughout: a reader of the copy that saw a value of
 * this write sees the turn before it, which came after its own */

static void
llm_params_write(llm_params_t *e, uint64_t hash, const llm_param_values_t *v)
{
    int       i;
    uint32_t  turn, k;
    uint64_t  bits;

    turn = atomic_load(&e->turn) + 1;
    k = turn & 1;

    for (i = 0; i < LLM_PARAMS; i++) {
        memcpy(&bits, &v->value[i], sizeof(bits));
        atomic_store(&e->copy[k].value[i], v->set & 1u << i ? bits : 0);
    }

    atomic_store(&e->copy[k].set, v->set);
    atomic_store(&e->copy[k].hash, hash);
    atomic_store(&e->turn, turn);
}


int
llm_zone_params_get(llm_zone_t *z, uint64_t hash, llm_param_values_t *v)
{
    int  i;

    for (i = 0; hash && i < LLM_ZONE_ENGINES; i++) {
        if (llm_params_read(&z->params[i], hash, v) == LLM_OK) {
            return LLM_OK;
        }
    }

    memset(v, 0, sizeof(llm_param_values_t));

    return LLM_NOTFOUND;
}


static int
llm_params_read(llm_params_t *e, uint64_t hash, llm_param_values_t *v)
{
    int       i, n;
    uint32_t  turn, k, set;
    uint64_t  bits, owner;

    n = 0;

    do {
        turn = atomic_load(&e->turn);
        k = turn & 1;

        owner = atomic_load(&e->copy[k].hash);
        set = atomic_load(&e->copy[k].set);

        for (i = 0; owner == hash && i < LLM_PARAMS; i++) {
            bits = atomic_load(&e->copy[k].value[i]);
            memcpy(&v->value[i], &bits, sizeof(bits));
        }

    } while (atomic_load(&e->turn) != turn && ++n < LLM_PARAMS_TRIES);

    if (owner != hash) {
        return LLM_NOTFOUND;
    }

    v->set = 0;

    for (i = 0; i < LLM_PARAMS; i++) {
        if (set & 1u << i && llm_param_valid((llm_param_e) i, v->value[i])) {
            v->set |= 1u << i;
        }
    }

    return LLM_OK;
}
