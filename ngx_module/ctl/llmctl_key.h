
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl key: what its files share.
 */


#ifndef _LLMCTL_KEY_H_INCLUDED_
#define _LLMCTL_KEY_H_INCLUDED_


#include "llmctl_admin.h"


/* a key's record, as lines of text, or as JSON; key: "key" is in it, said
 * to be kept.  An exit code */
int llmctl_key_print(const llmctl_admin_t *x, json_t *o);

/* the new key could not be printed: it must not stay valid.  Returns rc */
int llmctl_key_unseen(llmctl_admin_t *x, const char *id, int rc);


#endif /* _LLMCTL_KEY_H_INCLUDED_ */
