
/*
 * Copyright (C) nginx-llm contributors
 *
 * libFuzzer target: a record of the audit trail, and the same bytes as a
 * request's body.  A record that unpacks is the only way to write what it
 * says: packed again it has the same bytes, and all that it points to lies in
 * it.  A body never has more fingerprints than there is room for.
 */


#include <stdlib.h>
#include <string.h>

#include "../../ngx_module/audit/llm_audit_int.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_within(const void *p, size_t len, const uint8_t *data, size_t size)
{
    const uint8_t  *b;

    b = p;

    if (len != 0 && (b < data || len > size
                     || (size_t) (b - data) > size - len))
    {
        abort();
    }
}


static void
fuzz_record(const uint8_t *data, size_t size)
{
    char                 text[40];
    uint8_t              id[16], packed[LLM_AUDIT_MAX];
    llm_audit_record_t   r;

    if (llm_audit_unpack(data, size, &r) != LLM_OK) {
        return;
    }

    fuzz_within(r.print, (size_t) r.n_print * LLM_AUDIT_HASH, data, size);
    fuzz_within(r.client.data, r.client.len, data, size);
    fuzz_within(r.addr.data, r.addr.len, data, size);
    fuzz_within(r.method.data, r.method.len, data, size);
    fuzz_within(r.path.data, r.path.len, data, size);
    fuzz_within(r.model.data, r.model.len, data, size);
    fuzz_within(r.agent.data, r.agent.len, data, size);
    fuzz_within(r.finish.data, r.finish.len, data, size);
    fuzz_within(r.code.data, r.code.len, data, size);

    if (llm_audit_pack(packed, &r) != size
        || memcmp(packed, data, size) != 0)
    {
        abort();
    }

    llm_audit_request_text(r.request, text);

    if (!llm_audit_request_id(text, id) || memcmp(id, r.request, 16) != 0) {
        abort();
    }

    llm_audit_key_text(r.key, text);

    if (llm_calls_id(id, text, NULL, 0) != LLM_OK
        || memcmp(id, r.key, LLM_AUDIT_ID) != 0)
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                more;
    uint8_t           *copy, print[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH];
    llm_audit_keys_t   keys;
    llm_audit_mark_t   mark;
    llm_audit_text_t   body;

    copy = malloc(size ? size : 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, size);
    fuzz_record(copy, size);
    (void) llm_audit_mark_unpack(copy, size, LLM_AUDIT_MARK_HEAD, &mark);

    memset(&keys, 0, sizeof(keys));
    llm_hmac_init(&keys.fingerprint, "key", 3);
    body.data = (const char *) copy;
    body.len = size;

    if (llm_audit_input_prints(&keys, &body, print, &more)
        > LLM_AUDIT_PRINTS)
    {
        abort();
    }

    free(copy);

    return 0;
}
