
/*
 * Copyright (C) nginx-llm contributors
 *
 * NVIDIA's management library for tests: its GPUs are what the file says that
 * the environment's FAKE_NVML names, which is read again at each call.  The
 * file has words, NAME=NUMBER, N a GPU's number:
 *
 *     gpus=2              how many there are
 *     init=9 count=3      what nvmlInit_v2() and others return; also
 *     handle0=15 power0=3 for a GPU: handle, name, util, memory, power, temp,
 *                         ecc, watch
 *     busyN=55            per cent
 *     usedN= totalN=      MiB
 *     wattsN=             W
 *     hotN=               degrees
 *     errorsN=            uncorrected ECC errors
 *     xidsN=3             XID errors so far: each is an event of number 79
 *     hang=1              nvmlDeviceGetMemoryInfo() does not return while
 *                         this is there
 *     nonsense=1          values that no GPU has
 *
 * To be used under the name libnvidia-ml.so.1.  With FAKE_NVML_OLD it is one
 * that has neither events nor power.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define FAKE_API   __attribute__((visibility("default")))
#define FAKE_GPUS  20


typedef struct { int i; }  *device_t;

static struct { int i; }    device[FAKE_GPUS];


static long
told(const char *word, int i, long other)
{
    int          fd;
    char         buf[2048], name[64], *p, *save;
    size_t       len;
    ssize_t      n;
    const char  *file;

    file = getenv("FAKE_NVML");
    fd = (file == NULL) ? -1 : open(file, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return other;
    }

    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);

    buf[n > 0 ? n : 0] = '\0';

    if (i >= 0) {
        snprintf(name, sizeof(name), "%s%d=", word, i);

    } else {
        snprintf(name, sizeof(name), "%s=", word);
    }

    len = strlen(name);

    for (p = strtok_r(buf, " \n", &save); p != NULL;
         p = strtok_r(NULL, " \n", &save))
    {
        if (strncmp(p, name, len) == 0) {
            return atol(p + len);
        }
    }

    return other;
}


FAKE_API int
nvmlInit_v2(void)
{
    return (int) told("init", -1, 0);
}


FAKE_API int
nvmlShutdown(void)
{
    return 0;
}


FAKE_API const char *
nvmlErrorString(int rc)
{
    return rc == 9 ? "Driver Not Loaded" : rc == 15 ? "GPU is lost" : NULL;
}


FAKE_API int
nvmlDeviceGetCount_v2(unsigned int *n)
{
    *n = (unsigned int) told("gpus", -1, 0);

    return (int) told("count", -1, 0);
}


FAKE_API int
nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **d)
{
    if (i >= FAKE_GPUS) {
        return 2;
    }

    device[i].i = (int) i;
    *d = &device[i];

    return (int) told("handle", (int) i, 0);
}


FAKE_API int
nvmlDeviceGetName(device_t d, char *name, unsigned int size)
{
    if (told("nonsense", -1, 0)) {
        memset(name, '\\', size);

    } else {
        snprintf(name, size, "Fake GPU %c", 'A' + d->i);
    }

    return (int) told("name", d->i, 0);
}


FAKE_API int
nvmlDeviceGetUtilizationRates(device_t d, unsigned int u[2])
{
    u[0] = (unsigned int) told("busy", d->i, 0);
    u[1] = 1;

    if (told("nonsense", -1, 0)) {
        u[0] = 4294967;
    }

    return (int) told("util", d->i, 0);
}


FAKE_API int
nvmlDeviceGetMemoryInfo(device_t d, unsigned long long m[3])
{
    while (told("hang", -1, 0)) {
        usleep(20000);
    }

    m[0] = (unsigned long long) told("total", d->i, 1024) << 20;
    m[2] = (unsigned long long) told("used", d->i, 0) << 20;

    if (told("nonsense", -1, 0)) {
        m[2] = m[0] + 1;
    }

    m[1] = m[0] - m[2];

    return (int) told("memory", d->i, 0);
}


FAKE_API int
nvmlDeviceGetTemperature(device_t d, int sensor, unsigned int *c)
{
    *c = (unsigned int) told("hot", d->i, 30);

    if (told("nonsense", -1, 0)) {
        *c = (unsigned int) -5;
    }

    return sensor == 0 ? (int) told("temp", d->i, 0) : 2;
}


FAKE_API int
nvmlDeviceGetTotalEccErrors(device_t d, int type, int counter,
    unsigned long long *n)
{
    *n = (unsigned long long) told("errors", d->i, 0);

    if (told("nonsense", -1, 0)) {
        *n = -1ull;
    }

    return type == 1 && counter == 1 ? (int) told("ecc", d->i, 0) : 2;
}


#ifndef FAKE_NVML_OLD

typedef struct {
    device_t            device;
    unsigned long long  type;
    unsigned long long  data;
    unsigned int        instance[2];
} event_t;


static int   watched;
static long  seen[FAKE_GPUS];


FAKE_API int
nvmlDeviceGetPowerUsage(device_t d, unsigned int *mw)
{
    *mw = (unsigned int) told("watts", d->i, 0) * 1000;

    if (told("nonsense", -1, 0)) {
        *mw = (unsigned int) -1;
    }

    return (int) told("power", d->i, 0);
}


FAKE_API int
nvmlEventSetCreate(void **set)
{
    *set = &watched;
    watched = 0;

    return 0;
}


FAKE_API int
nvmlEventSetFree(void *set)
{
    return 0;
}


FAKE_API int
nvmlDeviceRegisterEvents(device_t d, unsigned long long types, void *set)
{
    int  rc;

    rc = (int) told("watch", d->i, 0);

    if (rc == 0 && types == 8) {
        watched |= 1 << d->i;
        seen[d->i] = told("xids", d->i, 0);
    }

    return rc;
}


FAKE_API int
nvmlEventSetWait_v2(void *set, event_t *e, unsigned int ms)
{
    int  i;

    for (i = 0; i < FAKE_GPUS; i++) {
        if ((watched & 1 << i) && told("xids", i, 0) > seen[i]) {
            seen[i]++;
            e->device = (device_t) &device[i];
            e->type = 8;
            e->data = 79;

            if (told("nonsense", -1, 0)) {
                e->device = NULL;
            }

            return 0;
        }
    }

    return 10;
}

#endif
