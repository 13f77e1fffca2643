
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor in the administration: which calls need a code, whose it
 * is, what a wrong one costs, and a store that can't record it.
 */


#include "admin_test.h"


static llm_key_t  root, second, user_key;
static user_t     u;


static void
enrol(user_t *who, const char *url_id)
{
    char  body[128];

    if (url_id) {
        snprintf(body, sizeof(body), "{\"id\":\"%s\"}", url_id);
    }

    done_as(201, "POST", "totp", url_id ? body : NULL);
    is_str(str("state"), "pending", "pending");
    is_int(json_array_size(at_json("recovery_codes")), LLM_TOTP_CODES,
           "recovery codes");
    ok(strncmp(str("uri"), "otpauth://totp/", 15) == 0, "an address");
    memset(who, 0, sizeof(*who));
    snprintf(who->id, sizeof(who->id), "%s", str("id"));
    snprintf(who->e.recovery[0], sizeof(who->e.recovery[0]), "%s",
             str("recovery_codes.0"));
    raw_of(str("secret"), who->raw);
}


static void
confirm(user_t *who, const char *url_id)
{
    char  body[128];

    snprintf(body, sizeof(body), "{\"code\":\"%s\"%s%s%s}", code(who),
             url_id ? ",\"id\":\"" : "", url_id ? url_id : "",
             url_id ? "\"" : "");
    done_as(200, "POST", "totp/confirm", body);
    is_str(str("state"), "on", "on");
}


static void
test_own(void)
{
    char       body[128];
    llm_key_t  k;

    ask.key = &root;
    made(&k, "k", LLM_ROLE_USER);

    done_as(200, "GET", "totp", NULL);
    is_str(str("state"), "none", "none");
    refused(404, "totp_not_enrolled", NULL, "POST", "totp/confirm",
            "{\"code\":\"123456\"}");
    refused(404, "totp_not_enrolled", NULL, "POST", "totp/recovery", NULL);
    refused(404, "totp_not_enrolled", NULL, "DELETE", "totp", NULL);
    refused(400, "unknown_field", "x", "POST", "totp", "{\"x\":1}");
    refused(400, "invalid_type", "id", "POST", "totp", "{\"id\":1}");

    enrol(&u, NULL);
    refused(400, "missing_field", "code", "POST", "totp/confirm", NULL);
    refused(400, "invalid_type", "code", "POST", "totp/confirm",
            "{\"code\":123456}");
    done_as(200, "PATCH", id_path(k.id, NULL), "{\"concurrent\":1}");
    snprintf(body, sizeof(body), "{\"code\":\"%s\"}",
             wrong_at(&u, clock_ms / 1000));
    is_int(call("POST", "totp/confirm", body), 401, "a wrong first code");
    is_str(reply.code, "totp_invalid", "is told");
    confirm(&u, NULL);
    refused(409, "totp_enrolled", NULL, "POST", "totp", NULL);
    refused(409, "totp_enrolled", NULL, "POST", "totp/confirm",
            "{\"code\":\"123456\"}");
}


static void
test_needed(void)
{
    char        used[16];
    size_t      i;
    llm_key_t   k;

    struct { const char  *method, *url, *body; } need[] = {
        { "POST", "keys", "{\"client\":\"a\",\"role\":\"user\"}" },
        { "PATCH", NULL, "{\"concurrent\":2}" },
        { "POST", "rotate", NULL },
        { "POST", "revoke", NULL },
        { "POST", "leak", NULL },
        { "POST", "totp/recovery", NULL },
        { "DELETE", "totp", NULL }
    };

    ask.key = &root;
    made(&k, "k", LLM_ROLE_USER);
    need[1].url = id_path(k.id, NULL);
    need[2].url = id_path(k.id, "rotate");
    need[3].url = id_path(k.id, "revoke");
    need[4].url = id_path(k.id, "leak");

    for (i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
        ask.totp = NULL;
        refused(401, "totp_required", NULL, need[i].method, need[i].url,
                need[i].body);
        ask.totp = "";
        refused(401, "totp_required", NULL, need[i].method, need[i].url,
                need[i].body);
    }

    ask.totp = wrong_at(&u, clock_ms / 1000);
    is_int(call("POST", id_path(k.id, "revoke"), NULL), 401, "a wrong code");
    is_str(reply.code, "totp_invalid", "is told");
    ok(llm_key_get(st, k.id, &k, E) == LLM_OK && k.revoked == 0,
       "and revokes nothing");

    ask.totp = code(&u);
    refused(400, "invalid_value", "role", "PATCH", id_path(k.id, NULL),
            "{\"role\":\"x\"}");
    done_as(200, "PATCH", id_path(k.id, NULL), "{\"concurrent\":2}");
    ok(1, "a code is used up by what is done, not by a mistake");

    snprintf(used, sizeof(used), "%s", ask.totp);
    ask.totp = used;
    is_int(call("PATCH", id_path(k.id, NULL), "{\"concurrent\":3}"), 401,
           "the same code again");

    done_as(200, "GET", "keys", NULL);
    done_as(200, "GET", "params/x", NULL);
    ask.totp = NULL;
    done_as(200, "PATCH", "params/x", "{\"top_k\":1}");
    ok(1, "reading and parameters need none");

    ask.totp = u.e.recovery[0];
    done_as(200, "POST", id_path(k.id, "revoke"), NULL);
    ask.totp = code(&u);
    done_as(200, "POST", "totp/recovery", NULL);
    is_int(json_array_size(at_json("recovery_codes")), LLM_TOTP_CODES,
           "new recovery codes");
    ask.totp = NULL;
}


static void
test_others(void)
{
    user_t  other;
    char    body[128];

    ask.key = &user_key;
    snprintf(body, sizeof(body), "{\"id\":\"%s\"}", root.id);
    refused(403, "role_required", "id", "POST", "totp", body);
    refused(403, "role_required", "id", "POST", "totp/recovery", body);
    snprintf(body, sizeof(body), "totp/%s", root.id);
    refused(403, "role_required", "id", "GET", body, NULL);
    refused(403, "role_required", "id", "DELETE", body, NULL);
    snprintf(body, sizeof(body), "totp/%s", user_key.id);
    done_as(200, "GET", body, NULL);

    /* a user's own: llmctl asks nobody but admins */

    enrol(&other, NULL);
    confirm(&other, NULL);

    ask.key = &root;
    snprintf(body, sizeof(body), "{\"id\":\"%s\"}", second.id);
    refused(401, "totp_required", NULL, "POST", "totp", body);
    ask.totp = code(&u);
    ask.totp = strdup(ask.totp);
    enrol(&other, second.id);
    free((char *) ask.totp);
    ask.totp = NULL;
    confirm(&other, second.id);

    snprintf(body, sizeof(body), "totp/%s", second.id);
    refused(401, "totp_required", NULL, "DELETE", body, NULL);
    ask.totp = code(&u);
    done_as(200, "DELETE", body, NULL);
    is_str(str("state"), "none", "removed");
    ask.totp = NULL;
}


static void
test_llmctl(void)
{
    user_t     other;
    char       url[128];
    llm_key_t  k;

    ask.key = NULL;
    made(&k, "k", LLM_ROLE_USER);

    refused(401, "totp_required", "", "POST", id_path(k.id, "rotate"), NULL);
    ask.totp = code(&u);
    done_as(200, "POST", id_path(k.id, "rotate"), NULL);
    ask.totp = NULL;
    refused(400, "missing_field", "id", "POST", "totp", NULL);
    refused(404, "key_not_found", NULL, "GET", "self", NULL);

    /* a second admin: whose code is it? */

    snprintf(url, sizeof(url), "{\"id\":\"%s\"}", second.id);
    ask.totp = strdup(code(&u));
    enrol(&other, second.id);
    free((char *) ask.totp);
    ask.totp = NULL;
    confirm(&other, second.id);

    ask.totp = code(&other);
    refused(401, "totp_required", "as", "POST", id_path(k.id, "revoke"),
            NULL);
    ask.as = user_key.id;
    refused(403, "totp_required", "as", "POST", id_path(k.id, "revoke"),
            NULL);
    ask.as = "key_x";
    refused(403, "totp_required", "as", "POST", id_path(k.id, "revoke"),
            NULL);
    ask.as = second.id;
    done_as(200, "POST", id_path(k.id, "rotate"), NULL);

    /* a revoked admin's counts no more, nor asks for one */

    ask.as = root.id;
    ask.totp = code(&u);
    done_as(200, "POST", id_path(second.id, "revoke"), NULL);
    ask.as = second.id;
    ask.totp = code(&other);
    refused(403, "totp_required", "as", "POST", id_path(k.id, "revoke"),
            NULL);
    ask.as = ask.totp = NULL;
    refused(401, "totp_required", "", "POST", id_path(k.id, "revoke"), NULL);

    /* breaking the glass, with the secret only */

    snprintf(url, sizeof(url), "totp/%s", user_key.id);
    ask.break_glass = 1;
    adm.secret = NULL;
    refused(503, "secret_unavailable", NULL, "DELETE", url, NULL);
    adm.secret = secret;
    ask.key = &root;
    refused(401, "totp_required", NULL, "DELETE", url, NULL);
    ask.key = NULL;
    done_as(200, "DELETE", url, NULL);
    refused(404, "totp_not_enrolled", NULL, "DELETE", url, NULL);
    ask.break_glass = 0;
    done_as(200, "GET", "changes?limit=2", NULL);
    is_str(str("data.1.action"), "totp.break_glass", "the log says so");
}


static void
test_locked(void)
{
    int        i, status;
    char       body[64];
    llm_key_t  k;

    /* what is not on yet is nobody's alarm */

    made(&k, "newcomer", LLM_ROLE_USER);
    ask.key = &k;
    ask.totp = NULL;
    done_as(201, "POST", "totp", NULL);
    events("");

    for (i = 0; i < LLM_TOTP_FAILURES; i++) {
        snprintf(body, sizeof(body), "{\"code\":\"x%d\"}", i);
        call("POST", "totp/confirm", body);
    }

    is_int(call("POST", "totp/confirm", body), 429, "a pending one is locked");
    is_int(events("totp_locked"), 0, "without an event");

    ask.key = &root;
    events("");

    for (i = 0; i < LLM_TOTP_FAILURES; i++) {
        ask.totp = wrong_at(&u, clock_ms / 1000);
        status = call("POST", id_path(root.id, "revoke"), NULL);
        ok(status == 401 && strcmp(reply.code, "totp_invalid") == 0,
           "failure %d", i + 1);
    }

    ok(reply.notify, "the last one is told");
    is_int(events("totp_locked"), 1, "by one event");

    ask.totp = code_at(&u, clock_ms / 1000);
    status = call("POST", id_path(root.id, "revoke"), NULL);
    ok(status == 429 && strcmp(reply.code, "totp_locked") == 0
       && reply.retry > 0 && reply.retry <= 60, "locked for %d seconds",
       (int) reply.retry);
    clock_ms += reply.retry * 1000;
    ask.totp = code(&u);
    done_as(200, "POST", "totp/recovery", NULL);
    ask.totp = NULL;
}


static void
test_required(void)
{
    llm_key_t  k;
    user_t     other;
    char       body[128];

    made(&k, "bare", LLM_ROLE_ADMIN);
    adm.totp_required = 1;
    ask.key = &k;
    done_as(200, "GET", "keys", NULL);
    refused(403, "totp_required", NULL, "POST", "keys",
            "{\"client\":\"a\",\"role\":\"user\"}");
    ok(strstr(reply.message, "enrol") != NULL, "how: %s", reply.message);
    snprintf(body, sizeof(body), "{\"id\":\"%s\"}", user_key.id);
    refused(403, "totp_required", NULL, "POST", "totp", body);
    enrol(&other, NULL);
    confirm(&other, NULL);
    ask.totp = code(&other);
    done_as(201, "POST", "keys", "{\"client\":\"a\",\"role\":\"user\"}");
    ask.totp = code(&other);
    done_as(200, "DELETE", "totp", NULL);
    ask.totp = NULL;
    adm.totp_required = 0;
}


/* the smallest store, filled up: nobody gains a key by that */

static void
test_full(void)
{
    int          n, rc, status;
    char         key[LLM_KEY_LEN + 1], name[16];
    llm_key_t    k, victim;
    llm_store_t *big = st;

    if (llm_store_create(at("small"), 1 << 20, E) != LLM_OK
        || llm_store_open(&st, at("small"), 0, E) != LLM_OK
        || llm_store_bind(st, secret, E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    adm.store = st;
    made(&root, "root", LLM_ROLE_ADMIN);
    made(&victim, "victim", LLM_ROLE_ADMIN);
    ask.key = &root;
    enrol(&u, NULL);
    confirm(&u, NULL);

    n = 0;

    do {
        memset(&k, 0, sizeof(k));
        snprintf(k.client, sizeof(k.client), "c%d", n++);
        k.role = LLM_ROLE_USER;
        rc = llm_key_create(st, secret, &k, key, E);
    } while (rc == LLM_OK && n < 100000);

    ok(rc == LLM_FULL, "full after %d keys: %s", n, err);

    /* the enrolment's own changes fill what keys leave, or fail */

    do {
        ask.totp = code(&u);
        status = call("POST", "keys", "{\"client\":\"a\",\"role\":\"user\"}");
    } while (status == 401);

    ok(status == 507 && reply.body == NULL, "no key is made: %s",
       reply.detail);

    snprintf(name, sizeof(name), "%s", wrong_at(&u, clock_ms / 1000));
    ask.totp = name;
    status = call("POST", id_path(victim.id, "leak"), NULL);

    if (status == 200) {
        ok(json_is_null(at_json("successor")) && *str("note"),
           "an unchecked code gives no successor: %s", str("note"));
    } else {
        ok(status == 401 || status == 507, "it was checked, and is wrong");
    }

    ask.totp = code(&u);
    done_as(200, "POST", id_path(victim.id, "revoke"), NULL);
    ok(llm_key_get(st, victim.id, &k, E) == LLM_OK && k.revoked != 0,
       "a revocation always works: %s", str("note"));

    llm_store_close(st);
    st = big;
    adm.store = big;
}


int
main(void)
{
    if (admin_begin(0) != 0) {
        return 1;
    }

    ask.actor = "llmctl:test";
    made(&root, "root", LLM_ROLE_ADMIN);
    made(&second, "second", LLM_ROLE_ADMIN);
    made(&user_key, "user", LLM_ROLE_USER);

    test_own();
    test_needed();
    test_others();
    test_llmctl();
    test_locked();
    test_required();
    test_full();

    return admin_end();
}
