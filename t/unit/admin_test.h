
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the tests of the administration share: callers, calls, answers.  The
 * clock is the test's: it goes on by a step for each code.
 */


#ifndef _ADMIN_TEST_H_INCLUDED_
#define _ADMIN_TEST_H_INCLUDED_


#include <time.h>

#include "../../ngx_module/store/llm_admin.h"
#include "totp_test.h"


static llm_store_t        *st;
static llm_calls_t        *calls;
static llm_admin_t         adm;
static llm_admin_call_t    ask;         /* of the next call: key, totp, ... */
static llm_admin_reply_t   reply;
static int64_t             clock_ms;


/* "GET", "keys?limit=2&role=user", the body or NULL; reply is the answer */

static inline int
call(const char *method, const char *url, const char *body)
{
    char  *p, *eq, *next, path_buf[512];

    llm_admin_done(&reply);

    snprintf(path_buf, sizeof(path_buf), "%s", url);
    ask.method = method;
    ask.path = path_buf;
    ask.body = body ? json_loads(body, JSON_DECODE_ANY|JSON_ALLOW_NUL, NULL)
                    : NULL;
    ask.args = NULL;
    ask.now = clock_ms;

    p = strchr(path_buf, '?');

    if (p) {
        ask.args = json_object();
        *p++ = '\0';
    }

    for ( ; p; p = next) {
        next = strchr(p, '&');

        if (next) {
            *next++ = '\0';
        }

        eq = strchr(p, '=');
        *eq++ = '\0';
        json_object_set_new(ask.args, p, json_string(eq));
    }

    llm_admin(&adm, &ask, &reply);

    json_decref(ask.body);
    json_decref(ask.args);

    return reply.status;
}


static inline void
done_as(int status, const char *method, const char *url, const char *body)
{
    int  got;

    got = call(method, url, body);

    ok(got == status && reply.body && reply.code[0] == '\0',
       "%s %.60s: %d", method, url, status);

    if (got != status) {
        printf("# %d %s: %s (%s)\n", got, reply.code, reply.message,
               reply.detail);
    }
}


/* a refusal changes nothing */

static inline void
refused(int status, const char *code, const char *param, const char *method,
    const char *url, const char *body)
{
    int       got;
    uint64_t  txn;

    txn = llm_store_txnid(st);
    got = call(method, url, body);

    ok(got == status && strcmp(reply.code, code) == 0
       && (param == NULL || strcmp(reply.param, param) == 0)
       && reply.body == NULL && reply.message[0] != '\0'
       && llm_store_txnid(st) == txn,
       "%s %.50s %.60s: %d %s", method, url, body ? body : "", status, code);

    if (got != status || strcmp(reply.code, code) != 0) {
        printf("# %d %s (%s): %s (%s)\n", got, reply.code, reply.param,
               reply.message, reply.detail);
    }
}


/* "scopes.models.0" of the answer */

static inline json_t *
at_json(const char *where)
{
    char     name[64];
    size_t   n;
    json_t  *o;

    for (o = reply.body; o && *where; where += n + (where[n] == '.')) {
        n = strcspn(where, ".");
        snprintf(name, sizeof(name), "%.*s", (int) n, where);
        o = json_is_array(o) ? json_array_get(o, strtoul(name, NULL, 10))
                             : json_object_get(o, name);
    }

    return o;
}


static inline const char *
str(const char *where)
{
    const char  *s;

    s = json_string_value(at_json(where));

    return s ? s : "";
}


static inline long long
num(const char *where)
{
    json_t  *o = at_json(where);

    return json_is_integer(o) ? json_integer_value(o) : -1;
}


static inline const char *
id_path(const char *id, const char *verb)
{
    static int   i;
    static char  buf[4][128];

    i = (i + 1) % 4;
    snprintf(buf[i], sizeof(buf[i]), "keys/%s%s%s", id, verb ? "/" : "",
             verb ? verb : "");

    return buf[i];
}


/* a key made by the store itself */

static inline void
made(llm_key_t *k, const char *client, llm_role_e role)
{
    char  key[LLM_KEY_LEN + 1];

    memset(k, 0, sizeof(*k));
    snprintf(k->client, sizeof(k->client), "%s", client);
    k->role = role;

    if (llm_key_create(st, secret, k, key, E) != LLM_OK) {
        printf("Bail out! %s\n", err);
        exit(1);
    }
}


/* the app's next code; it and the clock go on by a step */

static inline const char *
code(const user_t *u)
{
    clock_ms += 1000 * LLM_TOTP_STEP;

    return code_at(u, clock_ms / 1000);
}


/* how many events of that name wait, and the last one's text in ev */

static char  ev[LLM_EVENT_MAX + 1];


static inline int
events(const char *name)
{
    int        n;
    char       want[80];
    int64_t    due;
    uint32_t   tries;
    uint64_t   number;
    llm_buf_t  b = { 0 };

    n = 0;
    snprintf(want, sizeof(want), "\"event\":\"%s\"", name);

    while (llm_event_next(calls, INT64_C(1) << 40, INT64_C(1) << 41, &number,
                          &tries, &b, &due, E)
           == LLM_OK)
    {
        if (memmem(b.data, b.len, want, strlen(want))) {
            snprintf(ev, sizeof(ev), "%.*s", (int) b.len, b.data);
            n++;
        }

        llm_event_done(calls, number, E);
    }

    llm_buf_done(&b);

    return n;
}


static inline int
admin_begin(size_t size)
{
    if (test_begin() != 0
        || llm_secret_create(at("secret"), E) != LLM_OK
        || llm_secret_open(&secret, at("secret"), E) != LLM_OK
        || llm_store_create(path, size, E) != LLM_OK
        || llm_store_open(&st, path, 0, E) != LLM_OK
        || llm_store_bind(st, secret, E) != LLM_OK
        || llm_calls_open(&calls, path, 0, E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        return 1;
    }

    adm.store = st;
    adm.calls = calls;
    adm.secret = secret;
    clock_ms = (int64_t) time(NULL) * 1000;

    return 0;
}


static inline int
admin_end(void)
{
    llm_admin_done(&reply);
    llm_calls_close(calls);
    llm_store_close(st);
    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}


#endif /* _ADMIN_TEST_H_INCLUDED_ */
