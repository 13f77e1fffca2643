
/*
 * Copyright (C) nginx-llm contributors
 *
 * libFuzzer target: a store's files that somebody has changed, who may write
 * to them as the workers do.  The bytes are changes, eleven each: the file, a
 * page, an offset, how many bytes, the bytes.  What opens all the same is read
 * and written as llmctl and nginx do; it must never end the process.
 *
 * LMDB itself is the distribution's and not instrumented: what it does wrong
 * shows as a signal or an assertion.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../ngx_module/store/llm_calls.h"
#include "../../ngx_module/store/llm_store.h"
#include "../../ngx_module/store/llm_totp.h"


#define FUZZ_KEYS    40
#define FUZZ_CALLS   200
#define FUZZ_CHANGE  11
#define FUZZ_PAGES   40         /* the rest is room */


typedef struct {
    uint8_t  *data;
    size_t    len;
} fuzz_file_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static char           dir[64], store[96], err[LLM_ERRLEN];
static char           key[LLM_KEY_LEN + 1];
static llm_key_t      first;
static fuzz_file_t    file[2];
static llm_secret_t  *secret;


static const char *const  names[2] = { "data.mdb", "calls.mdb" };


static void
fuzz_must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s: %s\n", what, err);
        exit(1);
    }
}


static const char *
fuzz_path(const char *name)
{
    static char  path[160];

    snprintf(path, sizeof(path), "%s/%s", store, name);

    return path;
}


static void
fuzz_load(fuzz_file_t *f, const char *name)
{
    int          fd;
    struct stat  sb;

    fd = open(fuzz_path(name), O_RDONLY|O_CLOEXEC);
    fuzz_must(fd != -1 && fstat(fd, &sb) == 0, name);

    f->len = (size_t) sb.st_size;
    f->data = malloc(f->len);
    fuzz_must(f->data != NULL && read(fd, f->data, f->len) == sb.st_size,
              name);
    close(fd);
}


static void
fuzz_calls(llm_calls_t *c)
{
    int          i;
    llm_call_t   call;
    llm_spent_t  u;

    memset(&u, 0, sizeof(u));
    fuzz_must(llm_calls_begin(c, err, sizeof(err)) == LLM_OK, "calls");

    for (i = 0; i < FUZZ_CALLS; i++) {
        memset(&call, 0, sizeof(call));
        strcpy(call.id, first.id);
        snprintf(call.request, sizeof(call.request), "%032x", i);
        snprintf(call.agent, sizeof(call.agent), "agent/%d", i % 7);
        strcpy(call.model, "demo");
        strcpy(call.addr, "192.0.2.1");
        strcpy(call.path, "/v1/chat/completions");
        call.time = ((int64_t) time(NULL) - i * 3600) * 1000;
        call.status = 200;
        fuzz_must(llm_calls_put(c, &call, err, sizeof(err)) == LLM_OK,
                  "call");
    }

    fuzz_must(llm_calls_put_usage(c, first.id, &u, err, sizeof(err))
              == LLM_OK, "usage");
    fuzz_must(llm_calls_commit(c, err, sizeof(err)) == LLM_OK, "calls");
    fuzz_must(llm_event_put(c, "{\"event\":\"x\"}", err, sizeof(err))
              == LLM_OK, "event");
}


static void
fuzz_seed(void)
{
    int                i;
    char               text[LLM_KEY_LEN + 1], json[2048 + 1];
    llm_key_t          k;
    llm_calls_t       *c;
    llm_store_t       *st;
    llm_totp_enrol_t   e;

    snprintf(dir, sizeof(dir), "/dev/shm/fuzz_store_XXXXXX");
    fuzz_must(mkdtemp(dir) != NULL, "mkdtemp");
    snprintf(store, sizeof(store), "%s/secret", dir);
    fuzz_must(llm_secret_create(store, err, sizeof(err)) == LLM_OK
              && llm_secret_open(&secret, store, err, sizeof(err)) == LLM_OK,
              "secret");

    snprintf(store, sizeof(store), "%s/store", dir);
    fuzz_must(llm_store_create(store, 16 << 20, err, sizeof(err)) == LLM_OK
              && llm_store_open(&st, store, 0, err, sizeof(err)) == LLM_OK,
              "store");

    for (i = 0; i < FUZZ_KEYS; i++) {
        memset(&k, 0, sizeof(k));
        k.role = LLM_ROLE_USER;
        snprintf(k.client, sizeof(k.client), "client-%d", i);
        fuzz_must(llm_key_create(st, secret, &k, i == 0 ? key : text, err,
                                 sizeof(err)) == LLM_OK, "key");

        if (i == 0) {
            first = k;
        }

        if (i % 3 == 0) {
            fuzz_must(llm_totp_enrol(st, secret, k.id, "x", &e, err,
                                     sizeof(err)) == LLM_OK, "totp");
        }
    }

    /* pages of its own, and free ones */

    memset(json, 'x', sizeof(json) - 1);
    json[sizeof(json) - 1] = '\0';
    fuzz_must(llm_params_put(st, "demo", json, err, sizeof(err)) == LLM_OK
              && llm_params_put(st, "demo", "{}", err, sizeof(err))
                 == LLM_OK && llm_params_put(st, "big", json, err,
                                             sizeof(err)) == LLM_OK,
              "params");

    fuzz_must(llm_calls_open(&c, store, 0, err, sizeof(err)) == LLM_OK,
              "calls");
    fuzz_calls(c);

    llm_calls_close(c);
    llm_store_close(st);

    fuzz_load(&file[0], names[0]);
    fuzz_load(&file[1], names[1]);
}


static void
fuzz_write(int i, const uint8_t *data, size_t size)
{
    int      fd;
    off_t    off;
    size_t   n, pages;

    fd = open(fuzz_path(names[i]), O_WRONLY|O_CREAT|O_TRUNC, 0600);
    fuzz_must(fd != -1 && pwrite(fd, file[i].data, file[i].len, 0)
                          == (ssize_t) file[i].len, names[i]);
    pages = file[i].len / 4096;
    pages = pages > FUZZ_PAGES ? FUZZ_PAGES : pages;

    for ( /* void */ ; size >= FUZZ_CHANGE; size -= FUZZ_CHANGE) {

        if ((data[0] & 1) == i) {
            n = 1u << (data[0] >> 1 & 3);
            n = n > 7 ? 7 : n;
            off = (off_t) ((data[1] % pages) * 4096
                           + (data[2] | data[3] << 8) % 4096);
            fuzz_must(pwrite(fd, data + 4, n, off) == (ssize_t) n, "write");
        }

        data += FUZZ_CHANGE;
    }

    close(fd);
}


static int
fuzz_key(void *data, const llm_key_t *k)
{
    *(uint32_t *) data += (uint32_t) strlen(k->client) + k->n_net;

    return 0;
}


static int
fuzz_change(void *data, const llm_change_t *c)
{
    *(uint32_t *) data += (uint32_t) (strlen(c->actor) + strlen(c->detail));

    return 0;
}


static void
fuzz_use(llm_store_t *st)
{
    char               text[LLM_KEY_LEN + 1], id[LLM_KEY_ID_LEN + 1];
    size_t             n, versions[8];
    uint32_t           sum;
    llm_buf_t          json;
    llm_key_t          k, next;
    llm_totp_info_t    info;
    llm_totp_enrol_t   e;

    sum = 0;
    memset(&json, 0, sizeof(json));

    (void) llm_store_verify(st, secret, err, sizeof(err));
    (void) llm_key_each(st, NULL, fuzz_key, &sum, err, sizeof(err));
    (void) llm_change_each(st, 0, fuzz_change, &sum, err, sizeof(err));
    (void) llm_totp_count(st, &n, id, err, sizeof(err));
    (void) llm_totp_info(st, first.id, &info, err, sizeof(err));
    (void) llm_store_versions(st, (int64_t) time(NULL), versions, 7, err,
                              sizeof(err));
    (void) llm_params_get(st, "big", &json, err, sizeof(err));
    (void) llm_key_lookup(st, secret, key, LLM_KEY_LEN, &k, err,
                          sizeof(err));

    k = first;
    k.limits.rpm = 7;
    (void) llm_key_update(st, first.id, LLM_SET_RPM, &k, &next, err,
                          sizeof(err));
    (void) llm_key_create(st, secret, &k, text, err, sizeof(err));
    (void) llm_key_replace(st, secret, first.id, &k, &next, text, err,
                           sizeof(err));
    (void) llm_totp_enrol(st, secret, next.id, "x", &e, err, sizeof(err));
    (void) llm_totp_remove(st, first.id, err, sizeof(err));
    (void) llm_params_put(st, "big", "{\"a\":1}", err, sizeof(err));
    (void) llm_key_revoke(st, next.id, &k, err, sizeof(err));

    llm_buf_done(&json);
}


static void
fuzz_use_calls(llm_calls_t *c)
{
    int64_t        due;
    uint32_t       tries;
    uint64_t       number;
    llm_buf_t      json;
    llm_call_t     call;
    llm_spent_t    u;
    llm_report_t  *r;

    memset(&json, 0, sizeof(json));
    memset(&call, 0, sizeof(call));

    if (llm_calls_report(c, first.id, 0, &r, err, sizeof(err)) == LLM_OK) {
        free(r);
    }

    (void) llm_calls_usage(c, first.id, &u, err, sizeof(err));
    (void) llm_event_next(c, (int64_t) time(NULL), (int64_t) time(NULL) + 9,
                          &number, &tries, &json, &due, err, sizeof(err));
    (void) llm_event_put(c, "{}", err, sizeof(err));

    if (llm_calls_begin(c, err, sizeof(err)) == LLM_OK) {
        strcpy(call.id, first.id);
        call.time = (int64_t) time(NULL) * 1000;
        (void) llm_calls_put(c, &call, err, sizeof(err));
        (void) llm_calls_put_usage(c, first.id, &u, err, sizeof(err));
        (void) llm_calls_commit(c, err, sizeof(err));
        llm_calls_abort(c);
    }

    llm_buf_done(&json);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int           i;
    llm_calls_t  *c;
    llm_store_t  *st;

    if (secret == NULL) {
        fuzz_seed();
    }

    for (i = 0; i < 2; i++) {
        fuzz_write(i, data, size);
    }

    unlink(fuzz_path("lock.mdb"));
    unlink(fuzz_path("calls.mdb-lock"));

    if (llm_store_open(&st, store, 0, err, sizeof(err)) == LLM_OK) {
        fuzz_use(st);
        llm_store_close(st);
    }

    if (llm_calls_open(&c, store, 0, err, sizeof(err)) == LLM_OK) {
        fuzz_use_calls(c);
        llm_calls_close(c);
    }

    return 0;
}
