
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration: roles, keys, the leak drill, parameters, versions of the
 * secret.
 */


#include "admin_test.h"


static llm_key_t  root, oper, user_key;


static void
test_routes(void)
{
    size_t  i;

    static const char *const  nowhere[] = {
        "", "/", "key", "keys/", "keys//revoke", "keys/x/y", "keys/x/revoke/",
        "params/", "params/a/b", "totp/a/b", "selfie", "secret/x"
    };

    static const char *const  admins[] = {
        "changes", "keys", "keys/key_1", "secret", "totp/key_1"
    };

    ask.key = &root;

    for (i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        refused(404, "unknown_url", "", "GET", nowhere[i], NULL);
    }

    refused(405, "method_not_allowed", "", "PUT", "keys", "{}");
    refused(405, "method_not_allowed", "", "DELETE", "keys", NULL);
    refused(405, "method_not_allowed", "", "GET", "keys/key_1/revoke", NULL);
    refused(400, "body_not_allowed", "", "GET", "self", "{}");
    refused(400, "invalid_type", "", "POST", "keys", "[]");
    refused(400, "unknown_field", "x", "POST", "keys?x=1", "{}");
    refused(400, "unknown_field", "x", "GET", "self?x=1", NULL);

    ask.key = &user_key;
    done_as(200, "GET", "self", NULL);
    is_str(str("id"), user_key.id, "it is its own");
    ok(at_json("key") == NULL && json_is_null(at_json("usage")), "no key");
    done_as(200, "GET", "status", NULL);
    refused(403, "role_required", "", "GET", "params", NULL);

    for (i = 0; i < sizeof(admins) / sizeof(admins[0]); i++) {
        ask.key = &user_key;
        refused(403, "role_required", NULL, "GET", admins[i], NULL);
        ask.key = &oper;
        refused(403, "role_required", NULL, "GET", admins[i], NULL);
    }

    refused(403, "role_required", "", "POST", "keys",
            "{\"client\":\"a\",\"role\":\"user\"}");
    refused(403, "role_required", "", "PATCH", id_path(oper.id, NULL),
            "{\"role\":\"admin\"}");
    refused(403, "role_required", "", "POST", id_path(root.id, "revoke"),
            NULL);
    ok(strstr(reply.message, "admin") != NULL, "it names the role");
}


static void
test_create_refused(void)
{
    size_t  i;

    static const struct {
        const char  *code, *param, *body;
    } bad[] = {
        { "missing_field", "client", "{\"role\":\"user\"}" },
        { "missing_field", "role", "{\"client\":\"a\"}" },
        { "unknown_field", "x", "{\"client\":\"a\",\"role\":\"user\","
          "\"x\":1}" },
        { "unknown_field", "role",
          "{\"client\":\"a\",\"role\":\"user\",\"scopes\":{\"role\":1}}" },
        { "invalid_type", "client", "{\"client\":1,\"role\":\"user\"}" },
        { "invalid_value", "client", "{\"client\":\"a b\",\"role\":\"user\"}" },
        { "invalid_value", "client", "{\"client\":\"\",\"role\":\"user\"}" },
        { "invalid_value", "client",
          "{\"client\":\"\xc3\xa9\",\"role\":\"user\"}" },
        { "invalid_value", "role", "{\"client\":\"a\",\"role\":\"root\"}" },
        { "invalid_type", "role", "{\"client\":\"a\",\"role\":null}" },
        { "invalid_type", "scopes",
          "{\"client\":\"a\",\"role\":\"user\",\"scopes\":[]}" }
    };

    static const struct {
        const char  *code, *param, *more;
    } more[] = {
        { "invalid_value", "expires", "\"expires\":\"91d\"" },
        { "invalid_value", "expires", "\"expires\":\"2020-01-01\"" },
        { "invalid_value", "expires", "\"expires\":\"2099-02-29\"" },
        { "invalid_value", "expires", "\"expires\":\"soon\"" },
        { "invalid_value", "expires", "\"expires\":\"\"" },
        { "invalid_type", "expires", "\"expires\":90" },
        { "invalid_type", "requests_per_minute",
          "\"requests_per_minute\":\"5\"" },
        { "invalid_type", "requests_per_minute",
          "\"requests_per_minute\":5.5" },
        { "invalid_value", "requests_per_minute",
          "\"requests_per_minute\":0" },
        { "invalid_value", "requests_per_minute",
          "\"requests_per_minute\":4294967296" },
        { "invalid_value", "concurrent", "\"concurrent\":-1" },
        { "invalid_value", "tokens_per_day",
          "\"tokens_per_day\":9223372036854775807" },
        { "invalid_value", "concurrent",
          "\"concurrent\":1,\"scopes\":{\"concurrent\":2}" },
        { "invalid_type", "models", "\"models\":\"m\"" },
        { "invalid_type", "models", "\"models\":[1]" },
        { "invalid_value", "models", "\"models\":[]" },
        { "invalid_value", "models", "\"models\":[\"\"]" },
        { "invalid_value", "models", "\"models\":[\"a\\u0000b\"]" },
        { "invalid_value", "addresses", "\"addresses\":[\"10.0.0.1/8\"]" },
        { "invalid_value", "addresses", "\"addresses\":[\"x\"]" },
        { "invalid_value", "addresses",
          "\"addresses\":[\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\","
          "\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\","
          "\"::1\",\"::1\",\"::1\"]" }
    };

    ask.key = &root;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(400, bad[i].code, bad[i].param, "POST", "keys", bad[i].body);
    }

    for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        char  body[512];

        snprintf(body, sizeof(body), "{\"client\":\"a\",\"role\":\"user\",%s}",
                 more[i].more);
        refused(400, more[i].code, more[i].param, "POST", "keys", body);
    }

    adm.secret = NULL;
    refused(503, "secret_unavailable", "", "POST", "keys",
            "{\"client\":\"a\",\"role\":\"user\"}");
    adm.secret = secret;

    is_int(events("key_created"), 0, "no event of these");
}


static void
test_create(void)
{
    char       key[LLM_KEY_LEN + 1];
    llm_key_t  k;

    ask.key = &root;
    done_as(201, "POST", "keys", "{\"client\":\"acme\",\"role\":\"user\"}");

    snprintf(key, sizeof(key), "%s", str("key"));
    ok(llm_key_wellformed(key, strlen(key)), "a key");
    ok(llm_key_lookup(st, secret, key, strlen(key), &k, E) == LLM_OK
       && strcmp(k.id, str("id")) == 0, "that is valid");
    ok(k.expires > k.issued + LLM_KEY_MAX_AGE - 60
       && k.expires <= k.issued + LLM_KEY_MAX_AGE, "for the maximum age");
    is_str(str("status"), "active", "active");
    is_str(str("ends"), str("expires"), "its end");
    ok(json_is_null(at_json("scopes.models"))
       && json_is_null(at_json("scopes.tokens_per_month")), "no limits");
    ok(reply.notify, "there is something to tell");
    is_int(events("key_created"), 1, "an event");
    ok(strstr(ev, "sk-") == NULL && strstr(ev, k.id) && strstr(ev, root.id),
       "without the key, with its id and the actor");

    done_as(201, "POST", "keys",
            "{\"client\":\"acme\",\"role\":\"operator\",\"expires\":\"12h\","
            "\"models\":[\"demo\",\"demo:x\"],\"requests_per_minute\":7,"
            "\"scopes\":{\"addresses\":[\"10.0.0.0/8\",\"::1\"],"
            "\"tokens_per_minute\":null,\"concurrent\":2,"
            "\"tokens_per_day\":1000,\"tokens_per_month\":20000}}");
    is_str(str("scopes.models.1"), "demo:x", "models");
    is_str(str("scopes.addresses.0"), "10.0.0.0/8", "IPv4");
    ok(strncmp(str("scopes.addresses.1"), "::1", 3) == 0, "IPv6");
    is_int(num("scopes.requests_per_minute"), 7, "requests a minute");
    ok(json_is_null(at_json("scopes.tokens_per_minute")), "no limit");
    is_int(num("scopes.concurrent"), 2, "at a time");
    is_int(num("scopes.tokens_per_day"), 1000, "a day");
    is_int(num("scopes.tokens_per_month"), 20000, "a month");
    is_str(str("role"), "operator", "role");

    done_as(201, "POST", "keys",
            "{\"client\":\"b\",\"role\":\"user\",\"expires\":null}");
    ok(json_is_null(at_json("expires")) && *str("ends"),
       "no expiry: until it is too old");

    ask.key = NULL;
    ask.actor = "llmctl:tester";
    done_as(201, "POST", "keys",
            "{\"client\":\"b\",\"role\":\"admin\",\"expires\":\"90d\"}");
    events("key_created");
    ok(strstr(ev, "llmctl:tester"), "llmctl's user");
}


static void
test_list(void)
{
    int   n, pages;
    char  url[128], last[LLM_KEY_ID_LEN + 1];

    ask.key = &root;
    done_as(200, "GET", "keys", NULL);
    is_str(str("object"), "list", "a list");
    n = (int) json_array_size(at_json("data"));
    ok(n >= 7 && json_is_false(at_json("has_more"))
       && json_is_null(at_json("next")), "of all %d keys", n);

    last[0] = '\0';
    pages = 0;

    do {
        snprintf(url, sizeof(url), "keys?limit=3%s%s", *last ? "&after=" : "",
                 last);
        call("GET", url, NULL);
        pages++;
        n -= (int) json_array_size(at_json("data"));
        ok(strcmp(str("data.0.id"), last) > 0, "page %d is in order", pages);
        snprintf(last, sizeof(last), "%s", str("next"));
    } while (json_is_true(at_json("has_more")) && pages < 9);

    is_int(n, 0, "pages have all");

    done_as(200, "GET", "keys?client=acme", NULL);
    is_int(json_array_size(at_json("data")), 2, "of a client");
    done_as(200, "GET", "keys?role=operator&client=acme", NULL);
    is_int(json_array_size(at_json("data")), 1, "of a role");
    done_as(200, "GET", "keys?expiring=1d", NULL);
    is_int(json_array_size(at_json("data")), 1, "that end soon");
    done_as(200, "GET", "keys?status=revoked", NULL);
    is_int(json_array_size(at_json("data")), 0, "in a state");
    ok(at_json("data.0.key") == NULL, "no keys in it");

    refused(400, "invalid_value", "limit", "GET", "keys?limit=0", NULL);
    refused(400, "invalid_value", "limit", "GET", "keys?limit=1001", NULL);
    refused(400, "invalid_value", "limit", "GET", "keys?limit=1x", NULL);
    refused(400, "invalid_value", "role", "GET", "keys?role=x", NULL);
    refused(400, "invalid_value", "status", "GET", "keys?status=x", NULL);
    refused(400, "invalid_value", "expiring", "GET", "keys?expiring=x", NULL);
    refused(400, "invalid_value", "after", "GET", "keys?after=x", NULL);
    refused(400, "unknown_field", "page", "GET", "keys?page=2", NULL);

    done_as(200, "GET", id_path(root.id, NULL), NULL);
    refused(404, "key_not_found", "id", "GET",
            "keys/key_000000000000000000000000", NULL);
    refused(404, "key_not_found", "id", "GET", "keys/sk-123", NULL);
    ok(strstr(reply.message, "123") == NULL, "what is no id is not repeated");
}


static void
test_update(void)
{
    llm_key_t   k;
    const char  *p;

    ask.key = &root;
    made(&k, "up", LLM_ROLE_USER);
    p = id_path(k.id, NULL);

    refused(400, "missing_field", "", "PATCH", p, NULL);
    refused(400, "missing_field", "", "PATCH", p, "{}");
    refused(400, "invalid_value", "expires", "PATCH", p,
            "{\"expires\":null}");
    refused(400, "invalid_value", "expires", "PATCH", p,
            "{\"expires\":\"91d\"}");
    refused(400, "unknown_field", "id", "PATCH", p, "{\"id\":\"x\"}");
    refused(404, "key_not_found", "id", "PATCH",
            "keys/key_000000000000000000000000", "{\"role\":\"user\"}");

    done_as(200, "PATCH", p,
            "{\"role\":\"operator\",\"client\":\"down\",\"expires\":\"2d\","
            "\"concurrent\":3,\"models\":[\"m\"]}");
    is_str(str("role"), "operator", "role");
    is_str(str("client"), "down", "client");
    is_int(num("scopes.concurrent"), 3, "a limit");
    done_as(200, "PATCH", p, "{\"scopes\":{\"concurrent\":null,"
                             "\"models\":null}}");
    ok(json_is_null(at_json("scopes.concurrent"))
       && json_is_null(at_json("scopes.models")), "null removes");
    is_str(str("role"), "operator", "the rest stays");
}


static void
test_rotate(void)
{
    char        first[LLM_KEY_LEN + 1], issued[32];
    llm_key_t   k, got, other;
    const char  *p;

    ask.key = &root;
    made(&k, "turn", LLM_ROLE_USER);
    p = id_path(k.id, "rotate");

    refused(400, "invalid_value", "grace", "POST", p, "{\"grace\":\"8d\"}");
    refused(400, "invalid_value", "grace", "POST", p, "{\"grace\":\"x\"}");
    refused(400, "invalid_type", "grace", "POST", p, "{\"grace\":60}");
    refused(400, "invalid_value", "expires", "POST", p,
            "{\"expires\":\"91d\"}");
    ask.idem = "a\nb";
    refused(400, "invalid_value", "Idempotency-Key", "POST", p, NULL);
    ask.idem = "";
    refused(400, "invalid_value", "Idempotency-Key", "POST", p, NULL);

    ask.idem = "turn-1";
    done_as(200, "POST", p, NULL);
    snprintf(first, sizeof(first), "%s", str("key"));
    snprintf(issued, sizeof(issued), "%s", str("issued"));
    ok(llm_key_lookup(st, secret, first, strlen(first), &got, E) == LLM_OK
       && strcmp(got.id, k.id) == 0, "the new key is good");
    ok(llm_key_again(st, k.tag, &got, E) == LLM_OK
       && got.until > time(NULL) + 86000, "the old one too, for a day");
    ok(json_is_false(at_json("replayed")) && *str("grace_until"), "it says so");
    is_int(events("key_rotated"), 1, "an event");
    ok(strstr(ev, "sk-") == NULL, "without the key");

    done_as(200, "POST", p, NULL);
    is_str(str("key"), first, "again: the same key");
    ok(json_is_true(at_json("replayed")), "replayed");
    is_int(events("key_rotated"), 0, "and no event");

    done_as(200, "POST", p, "{\"grace\":\"0\"}");
    ok(json_is_true(at_json("replayed")) && *str("grace_until")
       && llm_key_again(st, k.tag, &got, E) == LLM_OK
       && got.until > time(NULL) + 86000,
       "with another grace: what is true is told");
    done_as(200, "GET", "changes?limit=1", NULL);
    is_str(str("data.0.action"), "key.replay", "that it was shown is logged");

    made(&other, "other", LLM_ROLE_ADMIN);
    ask.key = &other;
    done_as(200, "POST", p, NULL);
    ok(json_is_false(at_json("replayed")) && strcmp(str("key"), first) != 0,
       "another admin who knows the name does not get it");
    ask.key = &root;

    ask.idem = NULL;
    done_as(200, "POST", p, "{\"grace\":\"0\",\"expires\":\"1d\"}");
    ok(json_is_null(at_json("grace_until")), "no grace");
    ok(llm_key_again(st, k.tag, &got, E) != LLM_OK
       || llm_key_state(&got, time(NULL), LLM_KEY_MAX_AGE) != LLM_KEY_GOOD,
       "the old one is not good any more");

    done_as(200, "POST", p, "{\"grace\":\"1h\"}");
    done_as(200, "POST", p, "{\"grace\":\"1h\"}");
    done_as(200, "POST", p, "{\"grace\":\"1h\"}");
    refused(409, "rotation_refused", "", "POST", p, "{\"grace\":\"1h\"}");
}


static void
test_revoke(void)
{
    char       first[32];
    llm_key_t  k;

    ask.key = &root;
    made(&k, "off", LLM_ROLE_USER);

    refused(400, "unknown_field", "x", "POST", id_path(k.id, "revoke"),
            "{\"x\":1}");
    events("");
    done_as(200, "POST", id_path(k.id, "revoke"), NULL);
    is_str(str("status"), "revoked", "revoked");
    snprintf(first, sizeof(first), "%s", str("revoked"));
    is_int(events("key_revoked"), 1, "an event");
    done_as(200, "POST", id_path(k.id, "revoke"), "{}");
    is_str(str("revoked"), first, "again: the first time stays");
    is_int(events("key_revoked"), 0, "and no event");

    refused(409, "key_revoked", "", "PATCH", id_path(k.id, NULL),
            "{\"role\":\"user\"}");
    refused(409, "key_revoked", "", "POST", id_path(k.id, "rotate"), NULL);
    refused(409, "key_revoked", "", "POST", "totp",
            (sprintf(text, "{\"id\":\"%s\"}", k.id), text));
}


/* a caller who has lost it meanwhile */

static void
test_stale(void)
{
    llm_key_t  gone, low, now;

    made(&gone, "gone", LLM_ROLE_ADMIN);
    made(&low, "low", LLM_ROLE_ADMIN);

    ask.key = &root;
    done_as(200, "POST", id_path(gone.id, "revoke"), NULL);
    done_as(200, "PATCH", id_path(low.id, NULL), "{\"role\":\"user\"}");

    ask.key = &gone;
    refused(401, "key_revoked", "", "GET", "self", NULL);
    refused(401, "key_revoked", "", "GET", "keys", NULL);
    ask.key = &low;
    done_as(200, "GET", "self", NULL);
    refused(403, "role_required", "", "GET", "keys", NULL);

    ask.key = &root;
    ok(llm_key_get(st, low.id, &now, E) == LLM_OK
       && now.role == LLM_ROLE_USER, "lowered");
}


static void
called(const char *id, const char *addr, const char *agent, int64_t ago)
{
    llm_call_t  c;

    memset(&c, 0, sizeof(c));
    strcpy(c.id, id);
    strcpy(c.request, "00112233445566778899aabbccddeeff");
    c.time = clock_ms - ago * 1000;
    c.status = 200;
    c.prompt_tokens = 10;
    c.completion_tokens = 5;
    strcpy(c.model, "demo");
    strcpy(c.addr, addr);
    strcpy(c.agent, agent);
    strcpy(c.path, "/v1/chat/completions");

    llm_calls_put(calls, &c, E);
}


static void
test_leak(void)
{
    int         i;
    char        key[LLM_KEY_LEN + 1], next[LLM_KEY_ID_LEN + 1];
    llm_key_t   k, got;
    const char  *p;
    llm_spent_t  u;

    ask.key = &root;
    made(&k, "victim", LLM_ROLE_USER);
    p = id_path(k.id, "leak");

    llm_calls_begin(calls, E);

    for (i = 0; i < 300; i++) {
        called(k.id, "10.0.0.1", "batch/1.0", 86400 * 5 + i);
    }

    called(k.id, "203.0.113.9", "curl/8\xff", 60);

    memset(&u, 0, sizeof(u));
    u.last_used = clock_ms / 1000;
    u.calls = 301;
    u.month = 1;
    u.day_tokens = 777;
    u.month_tokens = 888;
    u.day = (uint32_t) (clock_ms / 1000 / 86400);
    llm_calls_put_usage(calls, k.id, &u, E);
    is_int(llm_calls_commit(calls, E), LLM_OK, "calls");

    done_as(200, "GET", id_path(k.id, NULL), NULL);
    is_int(num("usage.calls"), 301, "its usage");

    refused(400, "invalid_value", "reason", "POST", p,
            "{\"reason\":\"it was sk-0123\"}");
    refused(400, "invalid_value", "reason", "POST", p,
            "{\"reason\":\"two\\nlines\"}");
    refused(400, "invalid_type", "reason", "POST", p, "{\"reason\":1}");
    ok(llm_key_get(st, k.id, &got, E) == LLM_OK && got.revoked == 0,
       "not revoked by these");

    events("");
    done_as(200, "POST", p, "{\"reason\":\"in a public repository\"}");
    is_str(str("leaked.id"), k.id, "the leaked one");
    is_str(str("leaked.status"), "revoked", "is revoked");
    snprintf(key, sizeof(key), "%s", str("successor.key"));
    snprintf(next, sizeof(next), "%s", str("successor.id"));
    ok(llm_key_lookup(st, secret, key, strlen(key), &got, E) == LLM_OK
       && strcmp(got.id, next) == 0 && strcmp(got.client, "victim") == 0,
       "its successor is good");
    is_int(llm_calls_usage(calls, next, &u, E), LLM_OK, "has its budgets");
    ok(u.day_tokens == 777 && u.month_tokens == 888 && u.calls == 0
       && u.last_used == 0 && u.prompt_tokens == 0,
       "as far as they were used: a leak gives none anew");
    is_int(num("report.calls"), 301, "calls");
    is_int(num("report.tokens"), 301 * 15, "tokens");
    is_str(str("report.addresses.0.name"), "10.0.0.1", "addresses");
    ok(json_is_false(at_json("report.addresses.0.unusual"))
       && json_is_true(at_json("report.addresses.1.unusual")), "the unusual");
    is_str(str("report.models.0.name"), "demo", "models");
    ok(json_array_size(at_json("integrations")) == 3
       && strstr(str("integrations.0"), "batch/1.0"),
       "what to update, without the unusual address: %s",
       str("integrations.0"));

    is_int(events("key_leaked"), 1, "an event");
    ok(strstr(ev, "sk-") == NULL && strstr(ev, next)
       && strstr(ev, "203.0.113.9") && strstr(ev, root.id), "%s", ev);

    done_as(200, "POST", p, NULL);
    ok(json_is_null(at_json("successor")) && *str("note"),
       "again: no second successor");
    refused(404, "key_not_found", "id", "POST",
            "keys/key_000000000000000000000000/leak", NULL);

    adm.calls = NULL;
    made(&k, "unknown", LLM_ROLE_USER);
    done_as(200, "POST", id_path(k.id, "leak"), NULL);
    ok(json_is_null(at_json("report")) && *str("successor.key")
       && reply.detail[0] != '\0', "without calls.mdb: %s", reply.detail);
    adm.calls = calls;
}


static void
test_params(void)
{
    static const char *const  engines[] = { "demo", "other" };

    adm.engine = engines;
    adm.n_engine = 2;
    ask.key = &oper;

    done_as(200, "GET", "params", NULL);
    is_int(json_array_size(at_json("data")), 2, "of both engines");
    ok(json_is_null(at_json("data.0.params.max_batch")), "nothing is set");

    refused(404, "engine_not_found", "engine", "GET", "params/none", NULL);
    refused(400, "missing_field", "engine", "PATCH", "params",
            "{\"max_batch\":1}");
    refused(400, "invalid_value", "engine", "PATCH", "params/demo",
            "{\"engine\":\"other\",\"max_batch\":1}");
    refused(400, "unknown_field", "x", "PATCH", "params/demo", "{\"x\":1}");
    refused(400, "invalid_type", "max_batch", "PATCH", "params/demo",
            "{\"max_batch\":\"1\"}");
    refused(400, "invalid_type", "max_batch", "PATCH", "params/demo",
            "{\"max_batch\":1.5}");
    refused(400, "invalid_value", "max_batch", "PATCH", "params/demo",
            "{\"max_batch\":0}");
    refused(400, "invalid_value", "top_p", "PATCH", "params/demo",
            "{\"top_p\":0}");
    refused(400, "missing_field", "", "PATCH", "params/demo", "{}");
    ok(reply.params == 0, "nothing has changed");

    done_as(200, "PATCH", "params/demo",
            "{\"max_batch\":4,\"temperature\":0.6}");
    is_int(num("params.max_batch"), 4, "set");
    ok(reply.params == 1, "told");
    done_as(200, "PATCH", "params", "{\"engine\":\"demo\",\"max_batch\":4}");
    ok(reply.params == 0, "the same changes nothing");
    done_as(200, "PATCH", "params/demo", "{\"max_batch\":null,\"top_k\":5}");
    done_as(200, "GET", "params/demo", NULL);
    ok(json_is_null(at_json("params.max_batch"))
       && json_number_value(at_json("params.temperature")) == 0.6
       && num("params.top_k") == 5, "unset, kept, set");

    adm.n_engine = 1;
    done_as(200, "PATCH", "params", "{\"top_k\":6}");
    is_str(str("engine"), "demo", "the only engine");

    ask.key = &user_key;
    refused(403, "role_required", "", "PATCH", "params/demo",
            "{\"top_k\":7}");
    ok(strstr(reply.message, "operator"), "%s", reply.message);

    adm.engine = NULL;
    adm.n_engine = 0;
    ask.key = NULL;
    refused(400, "missing_field", "engine", "GET", "params", NULL);
    done_as(200, "PATCH", "params/any", "{\"queue\":3}");
}


static void
test_changes(void)
{
    long long  n;
    char       url[64];

    ask.key = &root;
    done_as(200, "GET", "changes?limit=2", NULL);
    is_int(json_array_size(at_json("data")), 2, "a page");
    n = num("data.0.number");
    ok(n > num("data.1.number") && json_is_true(at_json("has_more")),
       "newest first");
    is_str(str("data.0.target"), "any", "the last one");
    ok(strncmp(str("data.0.actor"), "llmctl:", 7) == 0, "who: %s",
       str("data.0.actor"));
    ok(strstr(str("data.0.detail"), "queue") != NULL, "what: %s",
       str("data.0.detail"));
    snprintf(url, sizeof(url), "changes?before=%lld", num("next"));
    done_as(200, "GET", url, NULL);
    ok(num("data.0.number") == n - 2, "the next page goes on");
    refused(400, "invalid_value", "before", "GET", "changes?before=x", NULL);
}


/* the Nth allocation of an answer fails, for each N */

static long  fail_at;


static void *
failing(size_t n)
{
    return fail_at != 0 && --fail_at == 0 ? NULL : malloc(n);
}


static int
count_active(void *data, const llm_key_t *k)
{
    *(int *) data += k->revoked == 0;
    return 0;
}


static int
active(void)
{
    int  n = 0;

    llm_key_each(st, NULL, count_active, &n, E);

    return n;
}


static void
test_memory(void)
{
    int        bad, before, more;
    long       n;
    size_t     i;
    json_t    *body;
    llm_key_t  k;

    struct { const char  *method, *url, *body; int  made; } list[] = {
        { "GET", "keys", NULL, 0 },
        { "GET", "changes", NULL, 0 },
        { "GET", "self", NULL, 0 },
        { "GET", "params/x", NULL, 0 },
        { "PATCH", "params/x", "{\"top_k\":1,\"top_p\":0.5}", 0 },
        { "POST", "keys", "{\"client\":\"a\",\"role\":\"user\","
                          "\"models\":[\"m\"]}", 1 },
        { "POST", NULL, NULL, 0 },
        { "POST", "totp", NULL, 0 },
        { "POST", NULL, NULL, 0 }
    };

    ask.key = &root;
    made(&k, "memory", LLM_ROLE_USER);
    list[6].url = id_path(k.id, "rotate");
    list[8].url = id_path(k.id, "leak");

    for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        body = list[i].body ? json_loads(list[i].body, 0, NULL) : NULL;
        before = active();
        bad = 0;

        for (n = 1; n < 10000; n++) {
            llm_admin_done(&reply);
            ask.method = list[i].method;
            ask.path = list[i].url;
            ask.body = body;
            ask.args = NULL;
            ask.idem = strstr(list[i].url, "rotate") ? "memory" : NULL;
            ask.now = clock_ms;

            json_set_alloc_funcs(failing, free);
            fail_at = n;
            llm_admin(&adm, &ask, &reply);
            more = fail_at == 0;
            fail_at = 0;
            json_set_alloc_funcs(malloc, free);

            if (!more) {
                break;
            }

            /* some of what fails is left out; then the rest is right */

            if (reply.status < 400) {
                bad += reply.body == NULL;
                before += list[i].made;

            } else {
                bad += reply.status != 503 || reply.body != NULL;
            }

            if (strstr(list[i].url, "leak") == NULL) {
                bad += active() != before;
            }
        }

        ok(bad == 0 && reply.status < 400 && n > 3,
           "%s %s: %ld failures of memory", list[i].method, list[i].url, n);
        ask.idem = NULL;
        json_decref(body);
    }

    call("DELETE", "totp", NULL);
}


static int
add_version(void *data, uint32_t version, char *e, size_t errlen)
{
    return llm_secret_add(data, version, e, errlen);
}


static int
remove_version(void *data, uint32_t version, char *e, size_t errlen)
{
    return llm_secret_remove(data, version, e, errlen);
}


static void
test_secret(void)
{
    char          source[300];
    llm_key_t     k;
    llm_audit_t  *trail;

    ask.key = &root;
    done_as(200, "GET", "secret", NULL);
    is_int(num("data.0.version"), 1, "the first version");
    ok(json_is_true(at_json("data.0.current")) && num("data.0.keys") > 3,
       "is current, and has keys");
    refused(403, "llmctl_required", "", "POST", "secret/rotate", NULL);
    refused(403, "llmctl_required", "", "POST", "secret/retire",
            "{\"version\":1}");

    snprintf(source, sizeof(source), "%s", at("secret"));
    adm.secret_add = add_version;
    adm.secret_remove = remove_version;
    adm.data = source;
    refused(403, "llmctl_required", "", "POST", "secret/rotate", NULL);

    ask.key = NULL;
    refused(409, "version_in_use", "version", "POST", "secret/retire",
            "{\"version\":1}");
    refused(404, "version_not_found", "version", "POST", "secret/retire",
            "{\"version\":2}");
    refused(400, "invalid_type", "version", "POST", "secret/retire",
            "{\"version\":\"1\"}");
    refused(400, "missing_field", "version", "POST", "secret/retire", NULL);
    done_as(201, "POST", "secret/rotate", NULL);
    is_int(num("version"), 2, "version 2");

    /* what nginx's reload does */

    llm_secret_close(secret);
    is_int(llm_secret_open(&secret, source, E), LLM_OK, "opened again");
    adm.secret = secret;
    refused(409, "version_pending", "", "POST", "secret/rotate", NULL);
    refused(409, "version_in_use", "version", "POST", "secret/retire",
            "{\"version\":2}");
    is_int(llm_store_bind(st, secret, E), LLM_OK, "bound");

    refused(409, "version_in_use", "version", "POST", "secret/retire",
            "{\"version\":1}");
    done_as(200, "GET", "secret", NULL);
    ok(json_is_true(at_json("data.1.current")) && num("data.1.keys") == 0,
       "version 2 is current, and has no keys yet");

    /* all that were made with the first one go */

    for ( ;; ) {
        call("GET", "keys?status=active&limit=1", NULL);

        if (json_array_size(at_json("data")) == 0) {
            break;
        }

        call("POST", id_path(str("data.0.id"), "revoke"), NULL);
    }

    made(&k, "new", LLM_ROLE_USER);
    is_int(k.version, 2, "a new key has version 2");
    is_int(llm_audit_open(&trail, path, secret, 1, E), LLM_OK,
           "a trail from before");
    adm.audit = trail;
    refused(409, "version_in_use", "version", "POST", "secret/retire",
            "{\"version\":1}");
    adm.audit = NULL;
    llm_audit_close(trail);
    done_as(200, "POST", "secret/retire", "{\"version\":1}");
    ok(json_is_true(at_json("removed")), "retired");
    ok(access(source, F_OK) == -1, "and gone");
    llm_secret_close(secret);
    is_int(llm_secret_open(&secret, source, E), LLM_OK, "opened again");
    adm.secret = secret;
    is_int(llm_audit_open(&trail, path, secret, 2, E), LLM_OK,
           "the trail does not need it");
    llm_audit_close(trail);
}


int
main(void)
{
    if (admin_begin(0) != 0) {
        return 1;
    }

    ask.actor = "llmctl:test";
    made(&root, "root", LLM_ROLE_ADMIN);
    made(&oper, "oper", LLM_ROLE_OPERATOR);
    made(&user_key, "user", LLM_ROLE_USER);

    test_routes();
    test_create_refused();
    test_create();
    test_list();
    test_update();
    test_rotate();
    test_revoke();
    test_stale();
    test_leak();
    test_params();
    test_changes();
    test_memory();
    test_secret();

    return admin_end();
}
