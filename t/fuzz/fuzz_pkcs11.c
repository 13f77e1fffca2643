
/*
 * Copyright (C) nginx-llm contributors
 *
 * libFuzzer target: the URI of a token.  The PIN shows in no message, and all
 * fields end in their room.
 */


#include <stdlib.h>
#include <string.h>

#include "../../ngx_module/store/llm_pkcs11.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                rc;
    char              *uri, err[LLM_ERRLEN];
    llm_pkcs11_uri_t   u;

    uri = malloc(size + 8);
    if (uri == NULL) {
        return 0;
    }

    memcpy(uri, "pkcs11:", 7);
    memcpy(uri + 7, data, size);
    uri[size + 7] = '\0';
    err[0] = '\0';

    rc = llm_pkcs11_parse(&u, uri, err, sizeof(err));

    free(uri);

    if (memchr(u.name, '\0', sizeof(u.name)) == NULL
        || memchr(u.token, '\0', sizeof(u.token)) == NULL
        || memchr(u.object, '\0', sizeof(u.object)) == NULL
        || memchr(u.path, '\0', sizeof(u.path)) == NULL
        || memchr(u.pin, '\0', sizeof(u.pin)) == NULL
        || memchr(u.pin_source, '\0', sizeof(u.pin_source)) == NULL
        || u.idlen >= sizeof(u.id)
        || (rc == LLM_OK) != (err[0] == '\0')
        || (rc == LLM_OK && u.object[0] == '\0' && u.idlen == 0)
        || (u.pin[0] != '\0' && strlen(u.pin) > 7
            && strstr(err, u.pin) != NULL && strstr(u.name, u.pin) == NULL))
    {
        abort();
    }

    return 0;
}
