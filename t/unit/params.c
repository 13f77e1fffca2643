
/*
 * Copyright (C) nginx-llm contributors
 *
 * Live parameters: names and ranges, entries of the zone, values that nobody
 * should have written, writers that die, and readers beside writers (for
 * ThreadSanitizer too).
 */


#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "../../engine/llm_request.h"
#include "../../engine/llm_ring.h"


#define READERS  3
#define WRITES   20000


static llm_zone_t  *z;


static void
test_table(void)
{
    int                     i;
    double                  d;
    llm_param_values_t      v;
    const llm_param_def_t  *def;

    static const char  *names[] = {
        "max_batch", "queue", "temperature", "top_p", "top_k", "min_p",
        "repetition_penalty", "max_tokens", "max_tokens_limit", "n_limit"
    };

    memset(&v, 0, sizeof(v));

    is_int(LLM_PARAMS, 10, "ten parameters");
    ok(llm_param_defs[LLM_PARAMS].name == NULL, "the table has an end");

    for (i = 0; i < LLM_PARAMS; i++) {
        def = &llm_param_defs[i];

        is_str(def->name, names[i], "a name");
        is_int(llm_param_find(names[i]), i, "  is found");
        is_int(llm_param_get(&v, names[i], &d), LLM_NOTFOUND, "  not set");
        is_int(llm_param_put(&v, names[i], def->min - 1), LLM_INVALID,
               "  too low");
        is_int(llm_param_put(&v, names[i], def->max * 1.01 + 1), LLM_INVALID,
               "  too high");
        is_int(llm_param_put(&v, names[i], NAN), LLM_INVALID, "  NaN");
        is_int(llm_param_put(&v, names[i], INFINITY), LLM_INVALID,
               "  infinite");
        is_int(llm_param_put(&v, names[i], def->min),
               def->above ? LLM_INVALID : LLM_OK, "  the lowest");
        is_int(llm_param_put(&v, names[i], def->max), LLM_OK, "  the highest");
        is_int(llm_param_put(&v, names[i], def->max - 0.5),
               def->is_float ? LLM_OK : LLM_INVALID, "  a fraction");
        ok(llm_param_get(&v, names[i], &d) == LLM_OK
           && d == def->max - (def->is_float ? 0.5 : 0), "  is set");
        ok(llm_param_value(&v, (llm_param_e) i, -7) == d, "  by number too");
        is_int(llm_param_clear(&v, names[i]), LLM_OK, "  cleared");
        ok(llm_param_value(&v, (llm_param_e) i, -7) == -7, "  is gone");
    }

    is_int((int) v.set, 0, "nothing is left");
    is_int(llm_param_put(&v, "top", 1), LLM_NOTFOUND, "no such name");
    is_int(llm_param_clear(&v, ""), LLM_NOTFOUND, "no such name");
    ok(llm_param_value(NULL, LLM_PARAM_QUEUE, 3) == 3, "no values at all");
    is_int((int) llm_param_defs[LLM_PARAM_N_LIMIT].max, LLM_CHOICES_MAX,
           "a limit is what the parser's is");
}


static void
test_zone(void)
{
    int                 i;
    double              d;
    llm_param_values_t  v, none;

    memset(&none, 0, sizeof(none));

    is_int(llm_zone_params_get(z, 1, &v), LLM_NOTFOUND, "an empty zone");
    is_int((int) v.set, 0, "gives none");
    is_int(llm_zone_params_set(z, 1, &none), LLM_OK, "none may be set");

    for (i = 1; i <= LLM_ZONE_ENGINES; i++) {
        v = none;
        llm_param_put(&v, "queue", i);
        is_int(llm_zone_params_set(z, (uint64_t) i, &v), LLM_OK, "an engine");
    }

    is_int(llm_zone_params_set(z, 99, &v), LLM_AGAIN, "no entry is free");
    is_int(llm_zone_params_set(z, 99, &none), LLM_OK, "but for none");
    is_int(llm_zone_params_get(z, 99, &v), LLM_NOTFOUND, "no such engine");

    for (i = 1; i <= LLM_ZONE_ENGINES; i++) {
        ok(llm_zone_params_get(z, (uint64_t) i, &v) == LLM_OK
           && llm_param_get(&v, "queue", &d) == LLM_OK && d == i
           && v.set == 1u << LLM_PARAM_QUEUE, "its own values");
    }

    llm_param_put(&v, "temperature", 0.7);
    is_int(llm_zone_params_set(z, 16, &v), LLM_OK, "set again");
    ok(llm_zone_params_get(z, 16, &v) == LLM_OK
       && llm_param_value(&v, LLM_PARAM_TEMPERATURE, 9) == 0.7
       && llm_param_value(&v, LLM_PARAM_QUEUE, 9) == 16, "the new ones");

    is_int(llm_zone_params_set(z, 3, &none), LLM_OK, "one is freed");
    is_int(llm_zone_params_get(z, 3, &v), LLM_NOTFOUND, "and gone");
    v = none;
    llm_param_put(&v, "queue", 99);
    is_int(llm_zone_params_set(z, 99, &v), LLM_OK, "another takes it");

    /* what no caller should give */

    is_int(llm_zone_params_set(z, 0, &v), LLM_INVALID, "no engine");
    v.value[LLM_PARAM_QUEUE] = NAN;
    is_int(llm_zone_params_set(z, 99, &v), LLM_INVALID, "a bad value");
    v.value[LLM_PARAM_QUEUE] = 1;
    v.set |= 1u << LLM_PARAMS;
    is_int(llm_zone_params_set(z, 99, &v), LLM_INVALID, "a bad set");
    ok(llm_zone_params_get(z, 99, &v) == LLM_OK
       && llm_param_value(&v, LLM_PARAM_QUEUE, 0) == 99, "nothing changed");
    ok(llm_zone_params_get(z, 0, &v) == LLM_NOTFOUND, "engine 0 has none");
}


/* what a reader finds may be anything */

static void
test_broken(void)
{
    int                 i, k = 0;
    llm_params_t       *e = NULL;
    llm_param_values_t  v;

    for (i = 0; i < LLM_ZONE_ENGINES && e == NULL; i++) {
        e = &z->params[i];
        k = (int) atomic_load(&e->turn) & 1;
        e = atomic_load(&e->copy[k].hash) == 99 ? e : NULL;
    }

    atomic_store(&e->copy[k].set, UINT32_MAX);

    for (i = 0; i < LLM_PARAMS; i++) {
        atomic_store(&e->copy[k].value[i], 0x7ff8000000000000ull);  /* NaN */
    }

    /* 5 */
    atomic_store(&e->copy[k].value[LLM_PARAM_QUEUE], 0x4014000000000000ull);

    ok(llm_zone_params_get(z, 99, &v) == LLM_OK
       && v.set == 1u << LLM_PARAM_QUEUE
       && llm_param_value(&v, LLM_PARAM_QUEUE, 0) == 5,
       "values out of range are not set");

    /* a write that was never finished */

    atomic_store(&e->copy[!k].set, 1u << LLM_PARAM_TOP_K);
    atomic_store(&e->copy[!k].hash, 12345);
    ok(llm_zone_params_get(z, 99, &v) == LLM_OK
       && v.set == 1u << LLM_PARAM_QUEUE, "half a write has no effect");
    is_int(llm_zone_params_get(z, 12345, &v), LLM_NOTFOUND, "anywhere");

    llm_param_put(&v, "queue", 6);
    is_int(llm_zone_params_set(z, 99, &v), LLM_OK, "the next one");
    ok(llm_zone_params_get(z, 99, &v) == LLM_OK
       && v.set == 1u << LLM_PARAM_QUEUE
       && llm_param_value(&v, LLM_PARAM_QUEUE, 0) == 6, "has");
}


static void
test_killed(void)
{
    int                 status;
    pid_t               pid;
    llm_param_values_t  v;

    pid = fork();

    if (pid == 0) {
        pthread_mutex_lock(&z->params_lock);
        kill(getpid(), SIGKILL);
        _exit(0);
    }

    waitpid(pid, &status, 0);

    memset(&v, 0, sizeof(v));
    llm_param_put(&v, "queue", 7);
    is_int(llm_zone_params_set(z, 99, &v), LLM_OK,
           "a writer killed with the lock");
    is_int(llm_zone_params_set(z, 99, &v), LLM_OK, "is forgotten");
}


static _Atomic int  stop, torn, reads;


/* all values of a set say the same number */

static void *
reader(void *data)
{
    llm_param_values_t  v;

    while (!atomic_load(&stop)) {
        if (llm_zone_params_get(z, 1, &v) != LLM_OK
            || v.value[LLM_PARAM_QUEUE] != v.value[LLM_PARAM_TOP_K]
            || v.value[LLM_PARAM_QUEUE] != v.value[LLM_PARAM_MAX_TOKENS])
        {
            atomic_fetch_add(&torn, 1);
        }

        atomic_fetch_add(&reads, 1);
    }

    return NULL;
}


static void *
writer(void *data)
{
    int                 i;
    llm_param_values_t  v;

    memset(&v, 0, sizeof(v));

    for (i = 0; i < WRITES; i++) {
        llm_param_put(&v, "queue", 1 + i % 1000);
        llm_param_put(&v, "top_k", 1 + i % 1000);
        llm_param_put(&v, "max_tokens", 1 + i % 1000);
        llm_zone_params_set(z, 1, &v);

        if (i % 16 == 0) {
            usleep(1);
        }
    }

    return NULL;
}


static void
test_threads(void)
{
    int                 i;
    pthread_t           r[READERS], w[2];
    llm_param_values_t  v;

    memset(&v, 0, sizeof(v));
    llm_param_put(&v, "queue", 1);
    llm_param_put(&v, "top_k", 1);
    llm_param_put(&v, "max_tokens", 1);
    llm_zone_params_set(z, 1, &v);

    for (i = 0; i < READERS; i++) {
        pthread_create(&r[i], NULL, reader, NULL);
    }

    for (i = 0; i < 2; i++) {
        pthread_create(&w[i], NULL, writer, NULL);
    }

    for (i = 0; i < 2; i++) {
        pthread_join(w[i], NULL);
    }

    atomic_store(&stop, 1);

    for (i = 0; i < READERS; i++) {
        pthread_join(r[i], NULL);
    }

    printf("# %d reads\n", atomic_load(&reads));
    is_int(atomic_load(&torn), 0, "readers see whole sets beside two writers");

    llm_zone_params_get(z, 1, &v);
    is_int((int) llm_param_value(&v, LLM_PARAM_QUEUE, 0), WRITES % 1000
           ? WRITES % 1000 : 1000, "the last one stays");
}


int
main(void)
{
    char  err[LLM_ERRLEN];

    alarm(120);

    z = mmap(NULL, sizeof(llm_zone_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    is_int(llm_zone_init(z, err, sizeof(err)), LLM_OK, "init");

    test_table();
    test_zone();
    test_broken();
    test_killed();
    test_threads();

    llm_zone_done(z);

    return done();
}
