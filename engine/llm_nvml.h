
/*
 * Copyright (C) nginx-llm contributors
 *
 * NVIDIA's management library, opened while the process runs; private to
 * GPU sampling (llm_gpu.h).  One thread; every call may take as long as the
 * driver likes.
 */


#ifndef _LLM_NVML_H_INCLUDED_
#define _LLM_NVML_H_INCLUDED_


#include "llm_gpu.h"


typedef struct llm_nvml_s  llm_nvml_t;


/* *n GPUs, 1 to LLM_GPU_MAX, *all of which the driver has; any failure is
 * LLM_NOTFOUND, or LLM_NOMEM */
int llm_nvml_open(llm_nvml_t **nv, int *n, int *all, char *err,
    size_t errlen);
void llm_nvml_close(llm_nvml_t *nv);              /* NULL is fine */

/* GPU i now, as the driver says it: unchecked, without its XID errors.
 * LLM_NOTFOUND: it can't be had */
int llm_nvml_look(llm_nvml_t *nv, int i, llm_gpu_t *g);

/* 1 and the next XID error since the last call, *i -1 if it is of no GPU that
 * is known, or 0; does not wait */
int llm_nvml_xid(llm_nvml_t *nv, int *i, uint32_t *xid);


#endif /* _LLM_NVML_H_INCLUDED_ */
