
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration's view of the audit trail: who may, what is asked, pages,
 * one call, look-ups, what is refused.
 */


#include "../../ngx_module/audit/llm_audit_int.h"
#include "admin_test.h"


static llm_key_t     root, oper, user_key;
static llm_audit_t  *trail;
static uint64_t      number[40];


#define TEXT(s)  (llm_audit_text_t) { s, sizeof(s) - 1 }


static void
make(void)
{
    int                 i;
    llm_audit_open_t    o;
    llm_audit_close_t   c;

    if (llm_audit_begin(trail, E) != LLM_OK) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    for (i = 0; i < 40; i++) {
        memset(&o, 0, sizeof(o));
        snprintf(o.request, sizeof(o.request), "%012llx%020x",
                 (unsigned long long) clock_ms - 3600000, (unsigned) i);
        o.wall = clock_ms - 3600000 + i * 60000;
        o.key = i % 2 ? user_key.id : oper.id;
        o.role = LLM_ROLE_USER;
        o.client = i % 2 ? TEXT("acme") : TEXT("ops");
        o.addr = TEXT("192.0.2.7");
        o.method = TEXT("POST");
        o.path = TEXT("/v1/chat/completions");
        o.model = TEXT("demo");
        o.input = TEXT("{\"prompt\":\"a secret plan\"}");
        o.act = i % 4 == 0;

        memset(&c, 0, sizeof(c));
        memcpy(c.request, o.request, sizeof(c.request));
        c.status = i % 10 ? 200 : 429;
        c.output[0] = TEXT("an answer");
        c.n_output = 1;

        if (llm_audit_put_open(trail, &o, &number[i], E) != LLM_OK) {
            printf("Bail out! %s\n", err);
            exit(1);
        }

        c.number = number[i];

        if (i % 8 && llm_audit_put_close(trail, &c, E) != LLM_OK) {
            printf("Bail out! %s\n", err);
            exit(1);
        }
    }

    is_int(llm_audit_commit(trail, E), LLM_OK, "calls");
}


static int
calls_n(void)
{
    return (int) json_array_size(at_json("calls"));
}


static void
test_roles(void)
{
    ask.key = &oper;
    refused(403, "role_required", "", "GET", "audit", NULL);
    refused(403, "role_required", "", "GET", "audit/1", NULL);
    refused(403, "role_required", "", "POST", "audit/lookup",
            "{\"text\":\"a\"}");
    ask.key = &user_key;
    refused(403, "role_required", "", "GET", "audit", NULL);

    ask.key = &root;
    adm.audit = NULL;
    refused(503, "audit_unavailable", "", "GET", "audit", NULL);
    refused(503, "audit_unavailable", "", "GET", "audit/1", NULL);
    refused(503, "audit_unavailable", "", "POST", "audit/lookup",
            "{\"text\":\"a\"}");
    adm.audit = trail;

    refused(405, "method_not_allowed", "", "DELETE", "audit", NULL);
    refused(405, "method_not_allowed", "", "POST", "audit", "{}");
    refused(400, "body_not_allowed", "", "GET", "audit", "{}");
}


static void
test_list(void)
{
    char  url[300];

    done_as(200, "GET", "audit", NULL);
    is_int(calls_n(), 40, "all calls");
    ok(json_is_null(at_json("next")), "that was all");
    is_int(num("calls.0.number"), (long long) number[39], "the newest first");
    ok(json_is_string(at_json("calls.0.request"))
       && json_is_array(at_json("calls.0.input"))
       && strcmp(str("calls.0.client"), "acme") == 0, "their members");

    snprintf(url, sizeof(url), "audit?key=%s", user_key.id);
    done_as(200, "GET", url, NULL);
    is_int(calls_n(), 20, "of a key");
    done_as(200, "GET", "audit?client=ops&status=4xx", NULL);
    is_int(calls_n(), 3, "of a client, by status");
    done_as(200, "GET", "audit?status=429", NULL);
    is_int(calls_n(), 3, "by one");
    done_as(200, "GET", "audit?address=192.0.2.0/24&model=demo&path=/v1/",
            NULL);
    is_int(calls_n(), 40, "all that is given holds");
    done_as(200, "GET", "audit?address=10.0.0.0/8", NULL);
    is_int(calls_n(), 0, "from elsewhere: none");
    done_as(200, "GET", "audit?unfinished=1", NULL);
    is_int(calls_n(), 5, "without an end");
    done_as(200, "GET", "audit?actions=true", NULL);
    is_int(calls_n(), 10, "actions");
    done_as(200, "GET", "audit?since=31m", NULL);
    is_int(calls_n(), 11, "of the last minutes");
    done_as(200, "GET", "audit?until=31m", NULL);
    is_int(calls_n(), 29, "and before");
    done_as(200, "GET", "audit?oldest=1&limit=3", NULL);
    is_int(num("calls.0.number"), (long long) number[0], "the oldest first");
    is_int(num("next"), (long long) number[2], "where to go on");
    snprintf(url, sizeof(url), "audit?oldest=1&limit=3&before=%lld",
             num("next"));
    done_as(200, "GET", url, NULL);
    is_int(num("calls.0.number"), (long long) number[3], "the next one");
}


static void
test_refused(void)
{
    size_t  i;

    static const struct {
        const char  *url, *param;
    } bad[] = {
        { "audit?key=key_1", "key" },
        { "audit?key=", "key" },
        { "audit?address=x", "address" },
        { "audit?address=10.0.0.1/8", "address" },
        { "audit?status=600", "status" },
        { "audit?status=x", "status" },
        { "audit?status=4x", "status" },
        { "audit?request=XY", "request" },
        { "audit?request=", "request" },
        { "audit?since=soon", "since" },
        { "audit?since=2026-02-30", "since" },
        { "audit?until=2026-01-01T00:00:00.12Z", "until" },
        { "audit?limit=0", "limit" },
        { "audit?limit=1001", "limit" },
        { "audit?before=-1", "before" },
        { "audit?unfinished=maybe", "unfinished" }
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(400, "invalid_value", bad[i].param, "GET", bad[i].url, NULL);
    }

    refused(400, "unknown_field", "x", "GET", "audit?x=1", NULL);
    refused(400, "unknown_field", "text", "GET", "audit?text=a", NULL);
    refused(400, "unknown_field", "limit", "GET", "audit/1?limit=1", NULL);
}


static void
test_one(void)
{
    char  url[100];

    snprintf(url, sizeof(url), "audit/%llu",
             (unsigned long long) number[5]);
    done_as(200, "GET", url, NULL);
    is_int(num("number"), (long long) number[5], "a call by its number");
    snprintf(url, sizeof(url), "audit/%lld", num("close"));
    done_as(200, "GET", url, NULL);
    is_int(num("number"), (long long) number[5], "by its end's");
    snprintf(url, sizeof(url), "audit/%s", str("request"));
    done_as(200, "GET", url, NULL);
    is_int(num("number"), (long long) number[5], "by its request id");

    refused(404, "call_not_found", "", "GET", "audit/1", NULL);
    refused(404, "call_not_found", "", "GET", "audit/999999", NULL);
    refused(404, "call_not_found", "", "GET", "audit/x", NULL);
    refused(404, "call_not_found", "", "GET",
            "audit/99999999999999999999999", NULL);
    refused(404, "call_not_found", "", "GET",
            "audit/ffffffffffffffffffffffffffffffff", NULL);
    refused(404, "unknown_url", "", "GET", "audit/1/x", NULL);
}


static void
test_lookup(void)
{
    done_as(200, "POST", "audit/lookup", "{\"text\":\"a secret plan\"}");
    is_int(calls_n(), 40, "a prompt");
    ok(strstr(reply.message, "plan") == NULL, "it is not said again");
    done_as(200, "POST", "audit/lookup",
            "{\"text\":\"an answer\",\"limit\":7}");
    is_int(calls_n(), 7, "an answer");
    ok(num("next") > 0, "there are more");
    done_as(200, "POST", "audit/lookup", "{\"text\":\"another plan\"}");
    is_int(calls_n(), 0, "a text that nobody used");
    done_as(200, "POST", "audit/lookup", "{\"text\":\"a\\u0000b\"}");
    is_int(calls_n(), 0, "with a zero character");

    refused(400, "missing_field", "text", "POST", "audit/lookup", "{}");
    refused(400, "missing_field", "text", "POST", "audit/lookup", NULL);
    refused(400, "invalid_type", "text", "POST", "audit/lookup",
            "{\"text\":1}");
    refused(400, "invalid_value", "text", "POST", "audit/lookup",
            "{\"text\":\"\"}");
    refused(400, "invalid_type", "limit", "POST", "audit/lookup",
            "{\"text\":\"a\",\"limit\":\"1\"}");
    refused(400, "invalid_value", "limit", "POST", "audit/lookup",
            "{\"text\":\"a\",\"limit\":1001}");
    refused(400, "unknown_field", "key", "POST", "audit/lookup",
            "{\"text\":\"a\",\"key\":\"b\"}");
}


static json_t *
status(void *data, int history)
{
    return json_pack("{s:[]}", "engines");
}


static void
test_status(void)
{
    adm.status = status;
    ask.key = &oper;
    done_as(200, "GET", "status", NULL);
    is_int(num("audit.first"), 1, "the trail in status");
    ok(num("audit.last") > 70 && num("audit.bytes") > 0
       && json_is_string(at_json("audit.signed_at")), "its members");

    ask.key = &user_key;
    done_as(200, "GET", "status", NULL);
    ok(at_json("audit") == NULL && at_json("engines") != NULL,
       "not for users");
    adm.audit = NULL;
    ask.key = &root;
    done_as(200, "GET", "status", NULL);
    ok(at_json("audit") == NULL, "nor where there is none");
}


int
main(void)
{
    if (admin_begin(1 << 20) != 0) {
        return 1;
    }

    made(&root, "boss", LLM_ROLE_ADMIN);
    made(&oper, "ops", LLM_ROLE_OPERATOR);
    made(&user_key, "acme", LLM_ROLE_USER);

    /* begun before the calls: times never run backwards */

    if (llm_audit_open_at(&trail, path, secret, 1, clock_ms - 3700000, E)
        != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        return 1;
    }

    adm.audit = trail;
    make();

    test_roles();
    test_list();
    test_refused();
    test_one();
    test_lookup();
    test_status();

    llm_audit_close(trail);

    return admin_end();
}
