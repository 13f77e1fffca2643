
/*
 * Copyright (C) nginx-llm contributors
 *
 * What answers, in 64 bits, for the audit trail.  Any thread.
 */


#ifndef _LLM_BUILD_H_INCLUDED_
#define _LLM_BUILD_H_INCLUDED_


#include "llm_model.h"


/* to be raised when the same weights answer otherwise than before: another
 * order of additions, another sampler, another rule for stop strings */
#define LLM_BUILD_VERSION  1


/*
 * The upper 32 bits are of the model: the files of its configuration,
 * tokenizer and chat template, and of each tensor its name, type, shape and
 * samples of its bytes.  The lower 32 are of the arithmetic: LLM_BUILD_VERSION
 * and the back end's name ("avx2").  The same for a copy of a directory, for
 * other shards of the same tensors, and after a restart; not 0.
 *
 * It tells models apart that were not made to be taken for one another: a seal
 * it is not.  That the same request gives the same bytes is the proof
 * (llm_replay.h).
 *
 * Reads some kilobytes a tensor: once it is warm (llm_model_warm()) that takes
 * milliseconds.
 */
int llm_build(uint64_t *build, const char *dir, const llm_model_t *m,
    const llk_t *be, char *err, size_t errlen);


#endif /* _LLM_BUILD_H_INCLUDED_ */
