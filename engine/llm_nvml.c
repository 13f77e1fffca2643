
/*
 * Copyright (C) nginx-llm contributors
 *
 * NVIDIA's management library (NVML).  What is used of its interface is
 * declared here, as its documentation has it: the library is no part of a
 * build, and is looked for when it is wanted.
 */


#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "llm_nvml.h"


#define LLM_NVML_LIBRARY      "libnvidia-ml.so.1"

/* nvmlReturn_t, nvmlTemperatureSensors_t, nvmlMemoryErrorType_t,
 * nvmlEccCounterType_t, nvmlEventType* */
#define LLM_NVML_SUCCESS      0
#define LLM_NVML_GPU          0
#define LLM_NVML_UNCORRECTED  1
#define LLM_NVML_AGGREGATE    1
#define LLM_NVML_XID          8ull


typedef struct llm_nvml_device_s  *llm_nvml_device_t;
typedef struct llm_nvml_set_s     *llm_nvml_set_t;


typedef struct {
    unsigned int  gpu;          /* per cent */
    unsigned int  memory;
} llm_nvml_utilization_t;


typedef struct {
    unsigned long long  total;  /* bytes */
    unsigned long long  free;
    unsigned long long  used;
} llm_nvml_memory_t;


typedef struct {
    llm_nvml_device_t   device;
    unsigned long long  type;
    unsigned long long  data;   /* the XID */
    unsigned int        gpu_instance;
    unsigned int        compute_instance;
} llm_nvml_event_t;


struct llm_nvml_s {
    void               *library;
    int                 n;
    llm_nvml_device_t   device[LLM_GPU_MAX];    /* NULL: can't be had */
    llm_nvml_set_t      set;                    /* NULL: no events */
    unsigned            watched;                /* 1 << device */

    int               (*init)(void);
    int               (*count)(unsigned int *n);
    int               (*handle)(unsigned int i, llm_nvml_device_t *d);

    /* these may be NULL */
    int               (*shutdown)(void);
    const char       *(*error)(int rc);
    int               (*name)(llm_nvml_device_t d, char *name,
                              unsigned int size);
    int               (*utilization)(llm_nvml_device_t d,
                                     llm_nvml_utilization_t *u);
    int               (*memory)(llm_nvml_device_t d, llm_nvml_memory_t *m);
    int               (*power)(llm_nvml_device_t d, unsigned int *mw);
    int               (*temperature)(llm_nvml_device_t d, int sensor,
                                     unsigned int *c);
    int               (*ecc)(llm_nvml_device_t d, int type, int counter,
                             unsigned long long *n);
    int               (*set_create)(llm_nvml_set_t *set);
    int               (*set_free)(llm_nvml_set_t set);
    int               (*set_wait)(llm_nvml_set_t set, llm_nvml_event_t *e,
                                  unsigned int ms);
    int               (*watch)(llm_nvml_device_t d, unsigned long long types,
                               llm_nvml_set_t set);
};


typedef struct {
    const char  *name;
    size_t       offset;        /* of a pointer in llm_nvml_t */
    int          must;
} llm_nvml_symbol_t;


static int llm_nvml_symbols(llm_nvml_t *nv, char *err, size_t errlen);
static int llm_nvml_devices(llm_nvml_t *nv, int *all, char *err,
    size_t errlen);
static void llm_nvml_events(llm_nvml_t *nv);
static const char *llm_nvml_error(const llm_nvml_t *nv, int rc);


#define llm_nvml_symbol(name, field, must)                                    \
    { name, offsetof(llm_nvml_t, field), must }

static const llm_nvml_symbol_t  llm_nvml_table[] = {
    llm_nvml_symbol("nvmlInit_v2", init, 1),
    llm_nvml_symbol("nvmlDeviceGetCount_v2", count, 1),
    llm_nvml_symbol("nvmlDeviceGetHandleByIndex_v2", handle, 1),
    llm_nvml_symbol("nvmlShutdown", shutdown, 0),
    llm_nvml_symbol("nvmlErrorString", error, 0),
    llm_nvml_symbol("nvmlDeviceGetName", name, 0),
    llm_nvml_symbol("nvmlDeviceGetUtilizationRates", utilization, 0),
    llm_nvml_symbol("nvmlDeviceGetMemoryInfo", memory, 0),
    llm_nvml_symbol("nvmlDeviceGetPowerUsage", power, 0),
    llm_nvml_symbol("nvmlDeviceGetTemperature", temperature, 0),
    llm_nvml_symbol("nvmlDeviceGetTotalEccErrors", ecc, 0),
    llm_nvml_symbol("nvmlEventSetCreate", set_create, 0),
    llm_nvml_symbol("nvmlEventSetFree", set_free, 0),
    llm_nvml_symbol("nvmlEventSetWait_v2", set_wait, 0),
    llm_nvml_symbol("nvmlDeviceRegisterEvents", watch, 0)
};

#define LLM_NVML_SYMBOLS  (sizeof(llm_nvml_table) / sizeof(llm_nvml_table[0]))


int
llm_nvml_open(llm_nvml_t **nvp, int *n, int *all, char *err, size_t errlen)
{
    int          rc;
    llm_nvml_t  *nv;

    *nvp = NULL;

    nv = calloc(1, sizeof(llm_nvml_t));
    if (nv == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "out of memory");
    }

    nv->library = dlopen(LLM_NVML_LIBRARY, RTLD_NOW|RTLD_LOCAL);

    if (nv->library == NULL) {
        /* dlerror() is long, and says no more than this */
        rc = llm_err(err, errlen, LLM_NOTFOUND, "there is no "
                     LLM_NVML_LIBRARY);
        free(nv);
        return rc;
    }

    rc = llm_nvml_symbols(nv, err, errlen);

    if (rc == LLM_OK) {
        rc = nv->init();

        if (rc != LLM_NVML_SUCCESS) {
            rc = llm_err(err, errlen, LLM_NOTFOUND, "nvmlInit(): %s",
                         llm_nvml_error(nv, rc));
        }
    }

    if (rc != LLM_OK) {
        dlclose(nv->library);
        free(nv);
        return rc;
    }

    rc = llm_nvml_devices(nv, all, err, errlen);

    if (rc != LLM_OK) {
        llm_nvml_close(nv);
        return rc;
    }

    llm_nvml_events(nv);

    *nvp = nv;
    *n = nv->n;

    return LLM_OK;
}


void
llm_nvml_close(llm_nvml_t *nv)
{
    if (nv == NULL) {
        return;
    }

    if (nv->set != NULL && nv->set_free != NULL) {
        nv->set_free(nv->set);
    }

    if (nv->shutdown != NULL) {
        nv->shutdown();
    }

    dlclose(nv->library);
    free(nv);
}


static int
llm_nvml_symbols(llm_nvml_t *nv, char *err, size_t errlen)
{
    void                     *p;
    size_t                    i;
    const llm_nvml_symbol_t  *s;

    for (i = 0; i < LLM_NVML_SYMBOLS; i++) {
        s = &llm_nvml_table[i];
        p = dlsym(nv->library, s->name);

        if (p == NULL && s->must) {
            return llm_err(err, errlen, LLM_NOTFOUND,
                           LLM_NVML_LIBRARY " has no %s()", s->name);
        }

        /* an object's pointer as a function's: what POSIX promises */
        memcpy((char *) nv + s->offset, &p, sizeof(void *));
    }

    return LLM_OK;
}


static int
llm_nvml_devices(llm_nvml_t *nv, int *all, char *err, size_t errlen)
{
    int           i, rc, found;
    unsigned int  n;

    n = 0;
    rc = nv->count(&n);

    if (rc != LLM_NVML_SUCCESS || n == 0) {
        return llm_err(err, errlen, LLM_NOTFOUND, "the driver has no GPU%s%s",
                       rc ? ": " : "", rc ? llm_nvml_error(nv, rc) : "");
    }

    *all = n > INT32_MAX ? INT32_MAX : (int) n;
    nv->n = *all > LLM_GPU_MAX ? LLM_GPU_MAX : *all;

    for (i = 0, found = 0; i < nv->n; i++) {
        rc = nv->handle((unsigned int) i, &nv->device[i]);

        if (rc != LLM_NVML_SUCCESS) {
            nv->device[i] = NULL;
            llm_err(err, errlen, LLM_NOTFOUND, "GPU %d: %s", i,
                    llm_nvml_error(nv, rc));
            continue;
        }

        found += nv->device[i] != NULL;
    }

    return found ? LLM_OK : LLM_NOTFOUND;
}


/* XID errors come as events of a set that the driver fills meanwhile */

static void
llm_nvml_events(llm_nvml_t *nv)
{
    int  i;

    if (nv->set_create == NULL || nv->set_wait == NULL || nv->watch == NULL
        || nv->set_create(&nv->set) != LLM_NVML_SUCCESS)
    {
        nv->set = NULL;
        return;
    }

    for (i = 0; i < nv->n; i++) {
        if (nv->device[i] != NULL
            && nv->watch(nv->device[i], LLM_NVML_XID, nv->set)
               == LLM_NVML_SUCCESS)
        {
            nv->watched |= 1u << i;
        }
    }
}


int
llm_nvml_look(llm_nvml_t *nv, int i, llm_gpu_t *g)
{
    unsigned int             n;
    llm_nvml_device_t        d;
    llm_nvml_memory_t        m;
    unsigned long long       errors;
    llm_nvml_utilization_t   u;

    memset(g, 0, sizeof(llm_gpu_t));

    d = nv->device[i];

    if (d == NULL) {
        return LLM_NOTFOUND;
    }

    if (nv->name == NULL
        || nv->name(d, g->name, sizeof(g->name)) != LLM_NVML_SUCCESS)
    {
        g->name[0] = '\0';
    }

    if (nv->utilization != NULL
        && nv->utilization(d, &u) == LLM_NVML_SUCCESS)
    {
        /* what is too much stays so */
        g->utilization = u.gpu <= 100 ? u.gpu * 10 : UINT32_MAX;
        g->known |= LLM_GPU_UTILIZATION;
    }

    if (nv->memory != NULL && nv->memory(d, &m) == LLM_NVML_SUCCESS) {
        g->memory_used = m.used;
        g->memory_total = m.total;
        g->known |= LLM_GPU_MEMORY;
    }

    if (nv->power != NULL && nv->power(d, &n) == LLM_NVML_SUCCESS) {
        g->power = n;
        g->known |= LLM_GPU_POWER;
    }

    if (nv->temperature != NULL
        && nv->temperature(d, LLM_NVML_GPU, &n) == LLM_NVML_SUCCESS)
    {
        g->temperature = n;
        g->known |= LLM_GPU_TEMPERATURE;
    }

    if (nv->ecc != NULL
        && nv->ecc(d, LLM_NVML_UNCORRECTED, LLM_NVML_AGGREGATE, &errors)
           == LLM_NVML_SUCCESS)
    {
        g->ecc = errors;
        g->known |= LLM_GPU_ECC;
    }

    if (nv->watched & 1u << i) {
        g->known |= LLM_GPU_XID;
    }

    return LLM_OK;
}


int
llm_nvml_xid(llm_nvml_t *nv, int *i, uint32_t *xid)
{
    llm_nvml_event_t  e;

    if (nv->watched == 0) {
        return 0;
    }

    memset(&e, 0, sizeof(e));

    if (nv->set_wait(nv->set, &e, 0) != LLM_NVML_SUCCESS) {
        return 0;
    }

    *xid = (uint32_t) e.data;

    for (*i = 0; *i < nv->n; (*i)++) {
        if (nv->device[*i] == e.device && e.type == LLM_NVML_XID) {
            return 1;
        }
    }

    *i = -1;

    return 1;
}


static const char *
llm_nvml_error(const llm_nvml_t *nv, int rc)
{
    const char  *text;

    text = nv->error ? nv->error(rc) : NULL;

    return text ? text : "an error of the driver";
}
