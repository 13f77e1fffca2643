
/*
 * Copyright (C) nginx-llm contributors
 *
 * Writing the audit trail: records, chain, checkpoints, epochs, files,
 * retention.
 */


#include "audit_test.h"


int
main(void)
{
    llm_audit_t  *a;
    if (audit_begin() == -1) {
        return 1;
    }
    is_int(llm_audit_open(&a, path, secret, 1, E), LLM_OK, "opened");
    printf("# %s\n", err);
    is_int(put_audit(a, KEY_A, 0, 0, 10), LLM_OK, "ten calls");
    printf("# %s\n", err);
    is_int(audit_faults(a), 0, "no faults");
    is_int(llm_audit_sign(a, E), LLM_OK, "signed");
    is_int(audit_faults(a), 0, "no faults");
    llm_audit_close(a);
    is_int(llm_audit_open(&a, path, secret, 1, E), LLM_OK, "opened");
    llm_audit_close(a);
    remove_tree(dir);
    return done();
}
