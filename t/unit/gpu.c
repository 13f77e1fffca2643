
/*
 * Copyright (C) nginx-llm contributors
 *
 * GPU sampling, with a management library of its own (fake_nvml.c): none, one
 * and two GPUs, a library that lacks functions, errors, values that no GPU
 * has, and a driver that does not come back.
 *
 * The loader reads LD_LIBRARY_PATH when a process starts, so the test starts
 * itself again with it.
 */


#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../engine/llm_gpu.h"
#include "tap.h"


#define GPU_LIMIT  20000    /* ms: a failure, not a measure */


typedef struct {
    pthread_mutex_t    mutex;
    char               text[1024];      /* all lines */
    llm_gpu_status_t  *st;
    llm_gpu_sampler_t *s;
    char               dir[PATH_MAX];   /* has the library, or not */
    char               unit[PATH_MAX];  /* has the fakes */
} gpu_test_t;


static void
gpu_log(void *data, llm_log_e level, const char *text)
{
    size_t       n;
    gpu_test_t  *t = data;

    pthread_mutex_lock(&t->mutex);
    n = strlen(t->text);
    snprintf(t->text + n, sizeof(t->text) - n, "%d %s\n", level, text);
    pthread_mutex_unlock(&t->mutex);
}


static uint64_t
gpu_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


/* what the fake says from now on */

static void
gpu_say(const char *fmt, ...)
{
    char     part[PATH_MAX + 8];
    FILE    *f;
    va_list  args;

    snprintf(part, sizeof(part), "%s.part", getenv("FAKE_NVML"));
    f = fopen(part, "w");

    if (f == NULL) {
        return;
    }

    va_start(args, fmt);
    vfprintf(f, fmt, args);
    va_end(args);
    fclose(f);

    (void) !rename(part, getenv("FAKE_NVML"));
}


static void
gpu_library(gpu_test_t *t, const char *name)
{
    char  to[PATH_MAX * 2], link[PATH_MAX * 2];

    snprintf(link, sizeof(link), "%s/libnvidia-ml.so.1", t->dir);
    unlink(link);

    if (name != NULL) {
        snprintf(to, sizeof(to), "%s/%s.so", t->unit, name);
        (void) !symlink(to, link);
    }
}


static void
gpu_start(gpu_test_t *t)
{
    char  err[LLM_ERRLEN] = "";

    t->text[0] = '\0';

    if (llm_gpu_start(&t->s, t->st, 100, gpu_log, t, err, sizeof(err))
        != LLM_OK)
    {
        printf("# %s\n", err);
    }
}


static int
gpu_said(gpu_test_t *t, const char *word)
{
    int  is;

    pthread_mutex_lock(&t->mutex);
    is = strstr(t->text, word) != NULL;
    pthread_mutex_unlock(&t->mutex);

    return is;
}


static int
gpu_wait_said(gpu_test_t *t, const char *word)
{
    uint64_t  end;

    end = gpu_ms() + GPU_LIMIT;

    while (!gpu_said(t, word)) {
        if (gpu_ms() > end) {
            printf("# said: %s\n", t->text);
            return 0;
        }

        usleep(5000);
    }

    return 1;
}


/* until GPU i has been looked at after now */

static int
gpu_wait(gpu_test_t *t, int i, llm_gpu_t *g)
{
    int       rc;
    uint64_t  start;

    start = gpu_ms();

    do {
        usleep(10000);
        rc = llm_gpu_read(t->st, i, g);

        if (rc == LLM_OK && gpu_ms() - g->age > start + 1) {
            return LLM_OK;
        }

    } while (gpu_ms() < start + GPU_LIMIT);

    return rc == LLM_OK ? LLM_AGAIN : rc;
}


static int
gpu_stop(gpu_test_t *t)
{
    uint64_t  start;

    start = gpu_ms();
    llm_gpu_stop(t->s);
    t->s = NULL;

    return (int) (gpu_ms() - start);
}


static void
test_none(gpu_test_t *t)
{
    llm_gpu_t  g;

    gpu_library(t, NULL);
    gpu_start(t);

    ok(gpu_wait_said(t, "no GPU is watched: there is no libnvidia-ml.so.1"),
       "without the library one line");
    is_int(t->text[0] - '0', LLM_LOG_INFO, "for information");
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "no GPU");
    gpu_stop(t);

    gpu_library(t, "fake_nvml");
    gpu_say("gpus=1 init=9");
    gpu_start(t);
    ok(gpu_wait_said(t, "nvmlInit(): Driver Not Loaded"),
       "without the driver one line");
    gpu_stop(t);

    gpu_say("gpus=0");
    gpu_start(t);
    ok(gpu_wait_said(t, "the driver has no GPU\n"), "without a GPU one line");
    gpu_stop(t);

    gpu_say("gpus=1 count=999");
    gpu_start(t);
    ok(gpu_wait_said(t, "no GPU: an error of the driver"),
       "an error without a text");
    gpu_stop(t);

    gpu_say("gpus=1 handle0=15");
    gpu_start(t);
    ok(gpu_wait_said(t, "GPU 0: GPU is lost"), "a GPU that can't be had");
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "is none");
    gpu_stop(t);
}


static void
test_one(gpu_test_t *t)
{
    llm_gpu_t  g;

    gpu_say("gpus=1 busy0=55 used0=600 total0=1000 watts0=310 hot0=61 "
            "errors0=3 xids0=7");
    gpu_start(t);

    is_int(gpu_wait(t, 0, &g), LLM_OK, "one GPU is seen");
    is_str(g.name, "Fake GPU A", "its name");
    is_int(g.known, 63, "all is known");
    is_int(g.utilization, 550, "utilisation, per mille");
    is_int(g.memory_used, 600 << 20, "memory used");
    is_int(g.memory_total, 1000 << 20, "memory in all");
    is_int(g.power, 310000, "power, mW");
    is_int(g.temperature, 61, "temperature");
    is_int(g.ecc, 3, "ECC errors");
    is_int(g.xid, 0, "what happened before is not counted");
    is_int(llm_gpu_read(t->st, 1, &g), LLM_NOTFOUND, "and no other");
    ok(gpu_said(t, "watching 1 GPU\n"), "said once");

    gpu_say("gpus=1 busy0=100 used0=1000 total0=1000 watts0=700 xids0=9");
    ok(gpu_wait_said(t, "GPU 0: XID error 79"), "an XID error is said");
    is_int(gpu_wait(t, 0, &g), LLM_OK, "the next sample");
    is_int(g.utilization, 1000, "busy");
    is_int(g.memory_used, g.memory_total, "full");
    is_int(g.xid, 2, "XID errors are counted");
    is_int(g.xid_last, 79, "the last one's number");

    ok(gpu_stop(t) < 1500, "stops without waiting for the next sample");
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "then there is none");

    gpu_say("gpus=1");
    gpu_start(t);
    is_int(gpu_wait(t, 0, &g), LLM_OK, "a next process");
    is_int(g.xid, 2, "goes on with the count");
    gpu_stop(t);
}


static void
test_two(gpu_test_t *t)
{
    llm_gpu_t  g;

    gpu_say("gpus=2 busy0=10 busy1=20 power1=3 memory1=15 util1=15 watch0=3");
    gpu_start(t);

    is_int(gpu_wait(t, 1, &g), LLM_OK, "two GPUs are seen");
    is_str(g.name, "Fake GPU B", "the second one's name");
    is_int(g.known, LLM_GPU_TEMPERATURE|LLM_GPU_ECC|LLM_GPU_XID,
           "what it can't tell is not known");
    is_int(g.memory_total, 0, "and 0");
    is_int(gpu_wait(t, 0, &g), LLM_OK, "the first one");
    is_int(g.utilization, 100, "has its own");
    is_int(g.known & LLM_GPU_XID, 0, "and can't be watched for XID errors");
    gpu_stop(t);

    gpu_say("gpus=2 handle0=4");
    gpu_start(t);
    is_int(gpu_wait(t, 1, &g), LLM_OK, "one of two, by its number");
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "is not the other");
    gpu_stop(t);

    gpu_say("gpus=20");
    gpu_start(t);
    ok(gpu_wait_said(t, "watching 16 of 20 GPUs"), "more than there is room");
    is_int(gpu_wait(t, 15, &g), LLM_OK, "the last of them");
    is_int(llm_gpu_read(t->st, 16, &g), LLM_NOTFOUND, "out of range");
    is_int(llm_gpu_read(t->st, -1, &g), LLM_NOTFOUND, "below range");
    gpu_stop(t);
}


static void
test_old(gpu_test_t *t)
{
    llm_gpu_t  g;

    gpu_library(t, "fake_nvml_old");
    gpu_say("gpus=1 busy0=5 watts0=10");
    gpu_start(t);

    is_int(gpu_wait(t, 0, &g), LLM_OK, "a library that lacks functions");
    is_int(g.known, 63 & ~(LLM_GPU_POWER|LLM_GPU_XID), "tells the rest");
    is_int(g.utilization, 50, "as ever");
    gpu_stop(t);

    gpu_library(t, "fake_token");
    gpu_start(t);
    ok(gpu_wait_said(t, "libnvidia-ml.so.1 has no nvmlInit_v2()"),
       "a library that is another one");
    gpu_stop(t);

    gpu_library(t, "fake_nvml");
}


static void
test_nonsense(gpu_test_t *t)
{
    char       want[LLM_GPU_NAME];
    llm_gpu_t  g;

    memset(want, '?', sizeof(want));
    want[sizeof(want) - 1] = '\0';

    gpu_say("gpus=1 nonsense=1 xids0=1000000");
    gpu_start(t);
    is_int(gpu_wait(t, 0, &g), LLM_OK, "a driver out of its mind");
    is_int(g.known & ~LLM_GPU_XID, 0, "nothing it says counts");
    is_str(g.name, want, "a name without an end or a good character");
    gpu_stop(t);

    /* the shared memory is no better */

    memset((void *) t->st, 0xff, sizeof(llm_gpu_status_t));
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "memory out of order");

    atomic_store(&t->st->gpu[0].present, 1);
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "a sample of tomorrow");

    atomic_store(&t->st->gpu[0].sampled, gpu_ms() > LLM_GPU_STALE
                 ? gpu_ms() - LLM_GPU_STALE : 0);
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "an old sample");

    atomic_store(&t->st->gpu[0].sampled, gpu_ms());
    is_int(llm_gpu_read(t->st, 0, &g), LLM_OK, "a good time");
    is_int(g.known, 0, "and values out of range");
    is_str(g.name, want, "and no name");

    memset((void *) t->st, 0, sizeof(llm_gpu_status_t));
}


static void
test_hang(gpu_test_t *t)
{
    int        ms;
    llm_gpu_t  g;

    gpu_say("gpus=1 hang=1");
    gpu_start(t);
    ok(gpu_wait_said(t, "watching 1 GPU\n"), "a driver that hangs");
    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "has said nothing");

    ms = gpu_stop(t);
    ok(ms >= 1900 && ms < GPU_LIMIT, "is given up: %d ms", ms);

    t->text[0] = '\0';
    gpu_say("gpus=1 xids0=3");
    usleep(200000);

    is_int(llm_gpu_read(t->st, 0, &g), LLM_NOTFOUND, "and says nothing later");
    is_str(t->text, "", "nor to the log");
}


static void
test_many(gpu_test_t *t)
{
    int  i;

    gpu_say("gpus=2");

    for (i = 0; i < 30; i++) {
        gpu_start(t);

        if (i & 1) {
            usleep(2000);
        }

        gpu_stop(t);
    }

    ok(1, "started and stopped 30 times");
}


int
main(int argc, char **argv)
{
    char             exe[PATH_MAX], dir[] = "/tmp/llm-gpu-XXXXXX";
    char             state[PATH_MAX + 8];
    ssize_t          n;
    gpu_test_t       t;
    llm_gpu_status_t st;

    n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';

    if (argc == 1) {
        if (mkdtemp(dir) == NULL) {
            return 1;
        }

        snprintf(state, sizeof(state), "%s/state", dir);
        setenv("FAKE_NVML", state, 1);
        setenv("LD_LIBRARY_PATH", dir, 1);
        execl(exe, argv[0], dir, NULL);

        return 1;
    }

    memset(&t, 0, sizeof(t));
    memset((void *) &st, 0, sizeof(st));
    pthread_mutex_init(&t.mutex, NULL);
    t.st = &st;
    snprintf(t.dir, sizeof(t.dir), "%s", argv[1]);
    snprintf(t.unit, sizeof(t.unit), "%s/unit-tools", dirname(dirname(exe)));

    test_none(&t);
    test_one(&t);
    test_two(&t);
    test_old(&t);
    test_nonsense(&t);
    test_many(&t);
    test_hang(&t);

    gpu_library(&t, NULL);
    unlink(getenv("FAKE_NVML"));
    rmdir(t.dir);

    return done();
}
