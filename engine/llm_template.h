
/*
 * Copyright (C) nginx-llm contributors
 *
 * The interpreter of the models' own chat templates: the subset of Jinja2
 * that published templates use, over jansson values, rendered as the
 * transformers library does (trim_blocks, lstrip_blocks, a final newline of
 * the source dropped).  A parsed template is immutable: any thread may render
 * it.  Steps and output are bounded.
 */


#ifndef _LLM_TEMPLATE_H_INCLUDED_
#define _LLM_TEMPLATE_H_INCLUDED_


#include <jansson.h>

#include "llm.h"


typedef struct llm_template_s  llm_template_t;


/* err: "<name>: line N: cause" */
int llm_template_parse(llm_template_t **t, const char *src, size_t len,
    const char *name, char *err, size_t errlen);

void llm_template_destroy(llm_template_t *t);     /* NULL is fine */

/*
 * Render with the members of vars (an object; not changed) as the global
 * names.  Appends to out.  LLM_INVALID with "<name>: line N: cause" when the
 * template calls raise_exception() or fails.  max: bytes of output.
 */
int llm_template_render(const llm_template_t *t, json_t *vars, size_t max,
    llm_buf_t *out, char *err, size_t errlen);

/* the same as it was at a time, for strftime_now(); unix seconds, 0: now */
int llm_template_render_at(const llm_template_t *t, json_t *vars,
    int64_t when, size_t max, llm_buf_t *out, char *err, size_t errlen);


#endif /* _LLM_TEMPLATE_H_INCLUDED_ */
