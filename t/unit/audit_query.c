
/*
 * Copyright (C) nginx-llm contributors
 *
 * Reading the audit trail: queries by each of what they can be by, pages, one
 * call, times, texts, contents, JSON; with and without the secret.
 */


#include "audit_test.h"


#define CALLS  300

static llm_audit_t        *trail;
static llm_audit_call_t    got[CALLS + 10];
static int                 n_got, stop_after;
static uint64_t            next;
static llm_audit_query_t   q;
static uint64_t            number[CALLS];       /* of opening records */


static int
keep(void *data, const llm_audit_call_t *call)
{
    if (n_got < CALLS + 10) {
        got[n_got] = *call;
    }

    n_got++;

    return n_got == stop_after ? LLM_CANCELLED : LLM_OK;
}


static int
query(void)
{
    int  rc;

    n_got = 0;
    rc = llm_audit_query(trail, &q, keep, NULL, &next, E);

    if (rc != LLM_OK && rc != LLM_CANCELLED) {
        printf("# %d %s\n", rc, err);
    }

    return rc == LLM_OK ? n_got : rc;
}


static void
anew(void)
{
    memset(&q, 0, sizeof(q));
}


static const char *
request(int i)
{
    static char  buf[33];

    snprintf(buf, sizeof(buf), "%012llx%020x",
             (unsigned long long) (T0 + i * 60000), (unsigned) i);

    return buf;
}


/* a call a minute: every third of KEY_A, every third of KEY_B, else of none;
 * every tenth without an end, every fifth an action, every fourth kept */

static void
make(void)
{
    int                 i;
    char                text[64], answer[64], client[32];
    llm_audit_open_t    o;
    llm_audit_close_t   c;

    for (i = 0; i < CALLS; i++) {

        if (i % 20 == 0) {
            is_int(llm_audit_begin(trail, E), LLM_OK, "begin");
        }

        an_open(&o, i % 3 == 0 ? KEY_A : i % 3 == 1 ? KEY_B : NULL,
                T0 + i * 60000, 0);
        memcpy(o.request, request(i), 33);
        o.client.data = client;
        o.client.len = (size_t) snprintf(client, sizeof(client), "client-%d",
                                         i % 7);
        o.addr = i % 2 ? TEXT("10.1.2.3") : TEXT("2001:db8::1");
        o.path = i % 5 == 0 ? TEXT("/admin/keys") : TEXT("/v1/completions");
        o.act = i % 5 == 0;
        o.content = i % 4 == 0;
        o.input.data = text;
        o.input.len = (size_t) snprintf(text, sizeof(text),
                                        "{\"prompt\":\"question %d\"}", i);

        if (llm_audit_put_open(trail, &o, &number[i], E) != LLM_OK) {
            printf("Bail out! %s\n", err);
            exit(1);
        }

        a_close(&c, number[i], T0 + i * 60000 + 100, 0);
        memcpy(c.request, o.request, 33);
        c.status = i % 6 == 0 ? 404 : i % 6 == 1 ? 503 : 200;
        c.model = i % 8 == 0 ? "other" : NULL;
        c.code = i % 6 == 0 ? "engine_not_found" : NULL;
        c.with_seed = 1;
        c.seed = UINT64_MAX - (uint64_t) i;
        c.content = i % 4 == 0;
        c.output[0].data = answer;
        c.output[0].len = (size_t) snprintf(answer, sizeof(answer),
                                            "answer %d", i);

        if (i % 10 && llm_audit_put_close(trail, &c, E) != LLM_OK) {
            printf("Bail out! %s\n", err);
            exit(1);
        }

        if (i % 20 == 19) {
            is_int(llm_audit_commit(trail, E), LLM_OK, "commit");
        }
    }

    /* an end without a beginning */

    a_close(&c, 0, T0 + CALLS * 60000, 999);
    c.status = 502;

    if (llm_audit_begin(trail, E) != LLM_OK
        || llm_audit_put_close(trail, &c, E) != LLM_OK
        || llm_audit_commit(trail, E) != LLM_OK)
    {
        printf("Bail out! %s\n", err);
        exit(1);
    }
}


static void
test_filters(void)
{
    int  i, ok_;

    anew();
    is_int(query(), CALLS + 1, "all calls");
    ok(got[0].status == 502 && got[0].number == got[0].close
       && got[0].key[0] == '\0', "an end without a beginning is one");
    ok(got[1].number == number[CALLS - 1] && got[CALLS].number == number[0],
       "the newest first");
    is_int((long long) next, 0, "that was all");

    q.oldest = 1;
    is_int(query(), CALLS + 1, "the oldest first");
    ok(got[0].number == number[0] && got[1].number == number[1], "in order");

    anew();
    q.key = KEY_A;
    is_int(query(), CALLS / 3, "of a key");

    for (i = 0, ok_ = 1; i < n_got; i++) {
        ok_ &= strcmp(got[i].key, KEY_A) == 0
               && got[i].number == number[CALLS - 3 - 3 * i];
    }

    ok(ok_, "of no other, and in order");
    q.oldest = 1;
    is_int(query(), CALLS / 3, "the oldest first");
    ok(got[0].number == number[0], "in order");
    q.key = "key_000000000000000000000001";
    is_int(query(), 0, "of a key that never called");
    q.key = "key_x";
    is_int(query(), LLM_INVALID, "of what is no key");

    anew();
    q.client = "client-3";
    is_int(query(), 43, "of a client");
    q.client = "client-";
    is_int(query(), 0, "its whole name");

    anew();
    q.addr = "10.1.2.3";
    is_int(query(), CALLS / 2, "from an address");
    q.addr = "10.0.0.0/8";
    is_int(query(), CALLS / 2, "from a range");
    q.addr = "10.1.2.0/30";
    is_int(query(), CALLS / 2, "that ends within a byte");
    q.addr = "10.1.2.4/30";
    is_int(query(), 0, "or begins after it");
    q.addr = "2001:db8::/32";
    is_int(query(), CALLS / 2, "of IPv6");
    q.addr = "::/0";
    is_int(query(), CALLS, "from anywhere");
    q.addr = "10.1.2.3/8";
    is_int(query(), LLM_INVALID, "from no range");

    anew();
    q.status = 404;
    is_int(query(), 40, "by status");
    q.status = 5;
    is_int(query(), 51, "by a class");
    q.status = 2;
    is_int(query(), 180, "by another");
    q.status = 418;
    is_int(query(), 0, "by one that never was");

    anew();
    q.model = "other";
    is_int(query(), 30, "by the model that answered");
    q.model = "demo";
    is_int(query(), CALLS - 30, "by the one that was asked");

    anew();
    q.path = "/admin/";
    is_int(query(), CALLS / 5, "by path");
    anew();
    q.acts = 1;
    is_int(query(), CALLS / 5, "actions");
    q.unfinished = 1;
    is_int(query(), CALLS / 10, "without an end");
    ok(got[0].close == 0 && got[0].status == 0 && got[0].end == 0,
       "nothing of it is known");

    q.key = KEY_A;
    q.since = T0 + 90 * 60000;
    q.until = T0 + 150 * 60000;
    is_int(query(), 2, "all that is asked holds");
}


static void
test_times(void)
{
    uint64_t  n;

    anew();
    q.since = T0 + 10 * 60000;
    is_int(query(), CALLS - 10 + 1, "since: included");
    q.until = T0 + 20 * 60000;
    is_int(query(), 10, "until: not included");
    q.since = T0 + 59 * 60000;
    q.until = T0 + 61 * 60000;
    is_int(query(), 2, "over an hour's end");
    q.since = T0 + 10 * HOUR;
    q.until = 0;
    is_int(query(), 0, "after the end");
    q.since = 0;
    q.until = T0 - 10 * HOUR;
    is_int(query(), 0, "before the beginning");
    q.since = T0 + HOUR;
    q.until = T0;
    is_int(query(), 0, "a time that ends before it begins");
    q.key = KEY_B;
    q.since = T0 + 10 * 60000;
    q.until = T0 + 20 * 60000;
    is_int(query(), 4, "of a key");

    is_int(llm_audit_find(trail, T0 + 70 * 60000, &n, E), LLM_OK, "a time");
    ok(n == number[70], "its first record");
    is_int(llm_audit_find(trail, T0 + 70 * 60000 - 1, &n, E), LLM_OK, "");
    ok(n == number[70], "or the next one");
    is_int(llm_audit_find(trail, 0, &n, E), LLM_OK, "");
    is_int((long long) n, 1, "the beginning");
    is_int(llm_audit_find(trail, T0 + 10 * HOUR, &n, E), LLM_OK, "");
    ok(n > number[CALLS - 1], "beyond the end");
}


static void
test_pages(void)
{
    int       i, n, ok_;
    uint64_t  last;

    for (i = 0; i < 4; i++) {
        anew();
        q.oldest = i & 1;
        q.key = i & 2 ? KEY_A : NULL;
        q.limit = 7;
        n = 0;
        ok_ = 1;
        last = 0;

        do {
            ok_ &= query() >= 0 && n_got <= 7;
            ok_ &= n == 0 || n_got == 0
                   || (q.oldest ? got[0].number > last
                                : got[0].number < last);
            n += n_got;
            last = n_got ? got[n_got - 1].number : last;
            q.before = next;
        } while (next != 0 && n < 2 * CALLS);

        ok(ok_ && n == (i & 2 ? CALLS / 3 : CALLS + 1), "pages of %s%s",
           i & 2 ? "a key" : "all", i & 1 ? ", the oldest first" : "");
    }

    anew();
    q.client = "client-3";
    q.look = 50;

    for (n = 0, i = 0; i < 100; i++) {
        query();
        n += n_got;
        q.before = next;

        if (next == 0) {
            break;
        }
    }

    ok(n == 43 && i > 9, "a few records at a time: %d", i);

    anew();
    stop_after = 3;
    is_int(query(), LLM_CANCELLED, "each() may end it");
    is_int(n_got, 3, "at once");
    stop_after = 0;
}


static void
test_request(void)
{
    anew();
    q.request = request(123);
    is_int(query(), 1, "by request id");
    ok(got[0].number == number[123]
       && strcmp(got[0].request, request(123)) == 0, "that one");

    q.request = "00000000000000000000000000000";
    is_int(query(), 1, "by a beginning that says no time");
    ok(got[0].status == 502, "that one");
    q.request = "000000000000000000000000000003e7";
    is_int(query(), 1, "and by the whole");
    q.request = "ff";
    is_int(query(), 0, "by an unknown one");
    q.request = "x";
    is_int(query(), LLM_INVALID, "by none");
}


static void
test_text(void)
{
    anew();
    q.text = "question 77";
    q.text_len = strlen(q.text);
    is_int(query(), 1, "a prompt is found");
    ok(got[0].number == number[77], "in its call");
    q.text = "{\"prompt\":\"question 78\"}";
    q.text_len = strlen(q.text);
    is_int(query(), 1, "a body is");
    q.text = "answer 79";
    q.text_len = strlen(q.text);
    is_int(query(), 1, "an answer is");
    ok(got[0].number == number[79], "in its call");
    q.text_len--;
    is_int(query(), 1, "another answer");
    ok(got[0].number == number[7], "is another's");
    q.text = "answer";
    q.text_len = 6;
    is_int(query(), 0, "a piece of one is not");
}


static void
test_content(void)
{
    llm_buf_t  b = { 0 };

    is_int(llm_audit_content(trail, number[8], 'i', 0, &b, E), LLM_OK,
           "a content that is kept");
    ok(b.len == 23 && memcmp(b.data, "{\"prompt\":\"question 8\"}", 23) == 0,
       "to the letter");
    b.len = 0;
    is_int(llm_audit_content(trail, number[8], 'o', 0, &b, E), LLM_OK,
           "an answer, by its call's number");
    ok(b.len == 8 && memcmp(b.data, "answer 8", 8) == 0, "to the letter");
    is_int(llm_audit_content(trail, number[9], 'i', 0, &b, E), LLM_NOTFOUND,
           "one that is not");
    is_int(llm_audit_content(trail, number[8], 'o', 1, &b, E), LLM_NOTFOUND,
           "of no choice");
    llm_buf_done(&b);
}


static void
test_one(void)
{
    json_t             *o;
    llm_audit_call_t    call;

    is_int(llm_audit_call_get(trail, number[31], &call, E), LLM_OK, "a call");
    ok(call.number == number[31] && call.status == 503
       && strcmp(call.client, "client-3") == 0
       && strcmp(call.role, "user") == 0 && call.seed == UINT64_MAX - 31,
       "by its number");
    is_int(llm_audit_call_get(trail, call.close, &call, E), LLM_OK,
           "by its end's");
    ok(call.number == number[31], "the same");
    is_int(llm_audit_call_get(trail, 1, &call, E), LLM_NOTFOUND,
           "a record that is no call's");
    is_int(llm_audit_call_get(trail, 1 << 30, &call, E), LLM_NOTFOUND,
           "no record");

    is_int(llm_audit_call_get(trail, number[42], &call, E), LLM_OK, "");
    o = llm_audit_call_json(&call);
    is_str(json_string_value(json_object_get(o, "seed")),
           "18446744073709551573", "a seed is a text");
    is_str(json_string_value(json_object_get(o, "time")),
           "2026-11-05T00:42:00.000Z", "a time has milliseconds");
    is_int(json_integer_value(json_object_get(o, "status")), 404, "a status");
    is_str(json_string_value(json_object_get(o, "error_code")),
           "engine_not_found", "a code");
    is_int((long long) json_array_size(json_object_get(o, "input")), 2,
           "prints of the body and the prompt");
    ok(json_is_false(json_object_get(o, "unfinished")), "it has an end");
    json_decref(o);

    is_int(llm_audit_call_get(trail, number[10], &call, E), LLM_OK, "");
    o = llm_audit_call_json(&call);
    ok(json_is_true(json_object_get(o, "unfinished"))
       && json_is_null(json_object_get(o, "status"))
       && json_is_null(json_object_get(o, "end")), "one that has none");
    json_decref(o);
}


/* the chain, by what is exported */

static void
test_export(void)
{
    int          ok_, rc;
    char         hash[65], hex[3];
    size_t       i, len;
    json_t      *o;
    uint8_t      bytes[4096], made[32];
    uint64_t     n;
    const char  *s;

    ok_ = 1;
    memset(hash, '0', 64);
    hash[64] = '\0';
    hex[2] = '\0';

    for (n = 1; ; n++) {
        rc = llm_audit_record_json(trail, n, &o, E);

        if (rc != LLM_OK) {
            break;
        }

        ok_ &= strcmp(json_string_value(json_object_get(o, "previous")), hash)
               == 0;
        snprintf(hash, sizeof(hash), "%s",
                 json_string_value(json_object_get(o, "hash")));

        s = json_string_value(json_object_get(o, "record"));
        len = strlen(s) / 2;

        for (i = 0; i < len && i < sizeof(bytes); i++) {
            memcpy(hex, s + 2 * i, 2);
            bytes[i] = (uint8_t) strtoul(hex, NULL, 16);
        }

        llm_audit_hash(n, bytes, len, made);

        for (i = 0; i < 32; i++) {
            snprintf(hex, sizeof(hex), "%02x", made[i]);
            ok_ &= memcmp(hex, hash + 2 * i, 2) == 0;
        }

        json_decref(o);
    }

    ok(rc == LLM_NOTFOUND && n > 2 * CALLS - 40, "all records as JSON");
    ok(ok_, "their chain can be followed and made again");
}


/* as who may write the file: a key and a value of a database, and what was
 * there before comes back.  A query must not be wrong without saying so */

typedef struct {
    MDB_dbi   dbi;
    uint8_t   key[32];
    size_t    klen;
    uint8_t   old[LLM_AUDIT_MAX];
    size_t    len;              /* 0: it was not there */
} changed_t;


static void
put(changed_t *c, MDB_dbi dbi, const void *key, size_t klen, const void *value,
    size_t len, int drop)
{
    MDB_txn  *txn;
    MDB_val   k, v;

    c->dbi = dbi;
    c->klen = klen;
    memcpy(c->key, key, klen);
    k.mv_data = c->key;
    k.mv_size = klen;
    c->len = 0;

    mdb_txn_begin(trail->shared->env, NULL, 0, &txn);

    if (mdb_get(txn, dbi, &k, &v) == 0) {
        c->len = v.mv_size;
        memcpy(c->old, v.mv_data, v.mv_size);
    }

    v.mv_data = (void *) value;
    v.mv_size = len;

    if ((drop ? mdb_del(txn, dbi, &k, NULL) : mdb_put(txn, dbi, &k, &v, 0))
        != 0 || mdb_txn_commit(txn) != 0)
    {
        printf("Bail out! put\n");
        exit(1);
    }
}


static void
put_back(changed_t *c)
{
    changed_t  none;

    put(&none, c->dbi, c->key, c->klen, c->old, c->len, c->len == 0);
}


static void
test_misled_close(changed_t *c)
{
    int               i, n;
    uint8_t           key[8], value[8];
    llm_buf_t         text;
    llm_audit_call_t  call[2];

    memset(&text, 0, sizeof(text));
    n = 0;

    for (i = 0; i < CALLS && n < 2; i++) {
        if (llm_audit_call_get(trail, number[i], &call[n], E) == LLM_OK
            && call[n].with_output)
        {
            n++;
        }
    }

    ok(n == 2, "two answers are kept");
    llm_be_put(key, call[0].number, 8);
    llm_be_put(value, call[1].close, 8);
    put(c, trail->shared->closes, key, 8, value, 8, 0);

    is_int(llm_audit_content(trail, call[0].number, 'o', 0, &text, E),
           LLM_INVALID, "another call's answer is not given");
    is_int(llm_audit_call_get(trail, call[0].number, &call[1], E),
           LLM_INVALID, "nor its status");
    put_back(c);
    llm_buf_done(&text);
}


static void
test_misled(void)
{
    int        all;
    uint8_t    key[32], value[8];
    uint64_t   n;
    changed_t  c;

    anew();
    all = query();

    /* records */

    llm_be_put(key, number[10], 8);
    put(&c, trail->shared->records, key, 8, NULL, 0, 1);
    anew();
    is_int(query(), LLM_INVALID, "a record was taken out: newest first");
    q.oldest = 1;
    is_int(query(), LLM_INVALID, "oldest first");
    put_back(&c);

    memset(key, 0xff, 9);
    put(&c, trail->shared->records, key, 8, "x", 1, 0);
    anew();
    is_int(query(), LLM_INVALID, "a number that is none, at the end");
    put_back(&c);

    llm_be_put(key, number[10], 8);
    key[8] = 1;
    put(&c, trail->shared->records, key, 9, "x", 1, 0);
    anew();
    is_int(query(), LLM_INVALID, "one in between: newest first");
    q.oldest = 1;
    is_int(query(), LLM_INVALID, "oldest first");
    put_back(&c);

    /* hours: the second one, later than it is, or not there */

    llm_be_put(key, T0 / 3600000 + 1, 8);
    is_int(llm_audit_find(trail, (T0 / 3600000 + 1) * 3600000, &n, E), LLM_OK,
           "a time");
    llm_be_put(value, n + 20, 8);
    put(&c, trail->shared->hours, key, 8, value, 8, 0);
    anew();
    q.since = (T0 / 3600000 + 1) * 3600000;
    is_int(query(), LLM_INVALID, "an hour that begins too late");
    is_int(llm_audit_find(trail, q.since, &n, E), LLM_INVALID, "its time");
    q.since = 0;
    q.until = (T0 / 3600000 + 1) * 3600000;
    is_int(query(), LLM_INVALID, "until then");
    put_back(&c);

    put(&c, trail->shared->hours, key, 8, NULL, 0, 1);
    anew();
    q.since = (T0 / 3600000 + 1) * 3600000;
    is_int(query(), LLM_INVALID, "an hour that is not there");
    put_back(&c);

    /* a key's list */

    llm_calls_id(key, KEY_B, E);
    llm_be_put(key + LLM_AUDIT_ID, number[10], 8);
    key[LLM_AUDIT_ID + 8] = 1;
    put(&c, trail->shared->keyed, key, LLM_AUDIT_ID + 9, "", 0, 0);
    anew();
    q.key = KEY_B;
    q.oldest = 1;
    is_int(query(), LLM_INVALID, "what can't be in a key's list");
    put_back(&c);

    /* another call's answer */

    test_misled_close(&c);

    anew();
    is_int(query(), all, "all is as it was");
}


static void
test_checkpoint(void)
{
    uint64_t                 last;
    llm_audit_verify_t       v;
    llm_audit_verdict_t      r;
    llm_audit_checkpoint_t   c;

    is_int(llm_audit_sign(trail, E), LLM_OK, "sign");
    is_int(llm_audit_checkpoint(trail, &c, E), LLM_OK, "a checkpoint");
    last = c.number;

    memset(&v, 0, sizeof(v));
    v.number = c.number;
    memcpy(v.hash, c.hash, sizeof(v.hash));
    v.public_key = c.public_key;
    v.n_public_key = 1;

    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "verify with it");
    is_int((long long) r.findings, 0, "nothing is found");
    ok(r.signed_to == last && r.last == last + 1, "it covers all");
    is_int((long long) r.calls, CALLS, "calls");
    is_int((long long) r.unfinished, CALLS / 10, "without an end");

    v.hash[0] ^= 1;
    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "with another");
    is_int((long long) r.findings, 1, "it is another trail");
    v.number = last + 100;
    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "with a later one");
    is_int((long long) r.findings, 1, "the end is missing");
}


static void
test_prune(void)
{
    uint64_t              dropped, n;
    llm_audit_verify_t    v;
    llm_audit_verdict_t   r;

    is_int(llm_audit_prune(trail, T0 / 1000 + 2 * 3600, 3600, &dropped, E),
           LLM_OK, "an hour is dropped");
    ok(dropped > 50, "%d records", (int) dropped);

    memset(&v, 0, sizeof(v));
    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "verify");
    is_int((long long) r.findings, 0, "nothing is found");

    anew();
    q.oldest = 1;
    is_int(query(), CALLS - 60 + 1, "calls of the rest");
    ok(got[0].number == number[60], "in order");
    q.key = KEY_A;
    is_int(query(), (CALLS - 60) / 3, "of a key");
    is_int(llm_audit_find(trail, T0, &n, E), LLM_OK, "a time that is gone");
    ok(n > number[59] && n <= number[60], "is the beginning");
}


static void
test_reading(void)
{
    llm_audit_t          *whole;
    llm_audit_verify_t    v;
    llm_audit_verdict_t   r;

    whole = trail;
    llm_audit_close(whole);

    is_int(llm_audit_open_read(&trail, path, NULL, E), LLM_OK,
           "without the secret");
    anew();
    q.key = KEY_B;
    is_int(query(), 80, "a query");
    q.text = "x";
    q.text_len = 1;
    is_int(query(), LLM_INVALID, "but not of a text");
    memset(&v, 0, sizeof(v));
    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "verify");
    is_int((long long) r.findings, 0, "nothing is found");
    v.public_key = (const uint8_t *) "00000000000000000000000000000000";
    v.n_public_key = 1;
    is_int(llm_audit_verify(trail, &v, &r, E), LLM_OK, "by another key");
    is_int((long long) r.findings, 1, "it is not the trail's");
}


int
main(void)
{
    if (audit_begin() == -1) {
        return 1;
    }

    if (llm_audit_open_at(&trail, path, secret, 1, T0, E) != LLM_OK) {
        printf("Bail out! %s\n", err);
        return 1;
    }

    make();
    test_filters();
    test_times();
    test_pages();
    test_request();
    test_text();
    test_content();
    test_one();
    test_export();
    test_misled();
    test_checkpoint();
    test_prune();
    test_reading();

    llm_audit_close(trail);
    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
