
/*
 * Copyright (C) nginx-llm contributors
 *
 * Writing the audit trail: records, indexes, checkpoints, fingerprints,
 * contents, the clock, retention.  Files and epochs: audit_files.c.
 */


#include "audit_test.h"


static llm_audit_t  *a;


static int
opened(int64_t now)
{
    return llm_audit_open_at(&a, path, secret, 1, now, E);
}


/* a record, good until the next one */

static llm_audit_record_t *
record(uint64_t number)
{
    MDB_txn                    *txn;
    MDB_val                     v;
    static uint8_t              bytes[LLM_AUDIT_MAX];
    static llm_audit_record_t   r;

    memset(&r, 0, sizeof(r));

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        printf("# %s\n", err);
        return &r;
    }

    if (llm_audit_get(a, txn, number, &v, E) == LLM_OK) {
        memcpy(bytes, v.mv_data, v.mv_size);

        if (llm_audit_unpack(bytes, v.mv_size, &r) != LLM_OK) {
            printf("# record %d is malformed\n", (int) number);
            memset(&r, 0, sizeof(r));
        }
    }

    llm_audit_read_end(a, txn);

    return &r;
}


static int
same(const llm_audit_text_t *t, const char *s)
{
    return t->len == strlen(s) && memcmp(t->data, s, t->len) == 0;
}


/* a value in an index, 0: none */

static uint64_t
indexed(MDB_dbi dbi, uint64_t key)
{
    uint8_t   p[8];
    MDB_txn  *txn;
    MDB_val   k, v;
    uint64_t  value;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        return 0;
    }

    llm_be_put(p, key, 8);
    k.mv_data = p;
    k.mv_size = 8;
    value = mdb_get(txn, dbi, &k, &v) == 0 && v.mv_size == 8
            ? llm_be_get(v.mv_data, 8) : 0;
    llm_audit_read_end(a, txn);

    return value;
}


/* packs, unpacks, packs: the bytes; every shorter one, and a longer one, is
 * malformed */

static void
round_trip(const llm_audit_record_t *r, const char *name)
{
    int                  bad;
    size_t               i, len;
    uint8_t              p[LLM_AUDIT_MAX + 1], q[LLM_AUDIT_MAX];
    llm_audit_record_t   s;

    len = llm_audit_pack(p, r);
    bad = len == 0 || llm_audit_unpack(p, len, &s) != LLM_OK;
    bad += llm_audit_pack(q, &s) != len || memcmp(p, q, len) != 0;

    for (i = 0; i < len; i++) {
        bad += llm_audit_unpack(p, i, &s) != LLM_INVALID;
    }

    p[len] = 0;
    bad += llm_audit_unpack(p, len + 1, &s) != LLM_INVALID;

    is_int(bad, 0, name);
}


static void
test_codec(void)
{
    char                 text[300];
    uint8_t              p[LLM_AUDIT_MAX], print[LLM_AUDIT_PRINTS * 32];
    llm_audit_record_t   r, s;

    memset(text, 'a', sizeof(text));
    memset(print, 7, sizeof(print));
    memset(&r, 0, sizeof(r));

    r.type = LLM_AUDIT_OPEN;
    r.epoch = 3;
    r.time = T0;
    r.wall = T0 - 5;
    r.mono = 17;
    memset(r.previous, 9, sizeof(r.previous));
    round_trip(&r, "an opening record of nothing");

    r.flags = LLM_AUDIT_HAS_REQUEST|LLM_AUDIT_HAS_KEY|LLM_AUDIT_HAS_ACT
              |LLM_AUDIT_HAS_CONTENT|LLM_AUDIT_HAS_MORE;
    r.client = r.addr = r.method = r.model = r.agent = r.path
             = (llm_audit_text_t) { text, sizeof(text) };
    r.n_print = LLM_AUDIT_PRINTS;
    r.print = print;
    round_trip(&r, "of all there can be");
    is_int(llm_audit_pack(p, &r), LLM_AUDIT_MAX, "which is the longest");
    is_int(llm_audit_unpack(p, LLM_AUDIT_MAX, &s), LLM_OK, "read");
    ok(s.client.len == 64 && s.addr.len == 46 && s.method.len == 16
       && s.path.len == 256 && s.model.len == 64 && s.agent.len == 128,
       "texts are cut");

    r.path = TEXT("/a\nb\x1b[31m\xff");
    llm_audit_unpack(p, llm_audit_pack(p, &r), &s);
    ok(same(&s.path, "/a?b?[31m?"), "and cleaned");
    r.flags = LLM_AUDIT_HAS_SEED;
    is_int(llm_audit_pack(p, &r), 0, "a flag of another type");

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_CLOSE;
    round_trip(&r, "a closing record of nothing");
    r.flags = LLM_AUDIT_HAS_REQUEST|LLM_AUDIT_HAS_CONTENT|LLM_AUDIT_HAS_SEED
              |LLM_AUDIT_HAS_BUILD;
    r.number = r.queue_us = r.ttft_us = r.inference_us = r.total_us = r.sent
             = r.seed = r.build = UINT64_MAX;
    r.status = r.prompt_tokens = r.cached_tokens = r.completion_tokens
             = UINT32_MAX;
    r.model = r.finish = r.code = (llm_audit_text_t) { text, sizeof(text) };
    r.n_print = LLM_AUDIT_OUTPUTS;
    r.print = print;
    round_trip(&r, "of all there can be");

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_SIGNED;
    memset(r.signature, 3, sizeof(r.signature));
    round_trip(&r, "a checkpoint");
    r.type = LLM_AUDIT_START;
    r.flags = LLM_AUDIT_HAS_LOSS;
    r.version = 4;
    r.first = 5;
    round_trip(&r, "a start");
    r.type = LLM_AUDIT_EPOCH;
    r.flags = 0;
    round_trip(&r, "an epoch");
    r.type = LLM_AUDIT_PRUNED;
    r.count = 7;
    r.until = T0;
    round_trip(&r, "what was dropped");
    r.type = 7;
    is_int(llm_audit_pack(p, &r), 0, "an unknown type");
}


static void
test_calls(void)
{
    int                  bad, i;
    char                 id[40];
    uint64_t             n, number;
    llm_audit_open_t     o;
    llm_audit_close_t    c;
    llm_audit_record_t  *r;
    llm_audit_stat_t     st;

    audit_anew();
    is_int(opened(T0), LLM_OK, "a trail");
    is_int(llm_audit_stat(a, &st, E), LLM_OK, "its state");
    ok(st.first == 1 && st.last == 1 && st.signed_to == 0 && st.epoch == 1,
       "one record: its start");
    is_int(record(1)->type, LLM_AUDIT_START, "");
    is_int(llm_audit_unsigned(a), 1, "which is not signed");
    is_int(llm_audit_ready(a, E), LLM_OK, "it is ready");

    is_int(llm_audit_put_open(a, an_open(&o, KEY_A, T0, 1), &n, E),
           LLM_INVALID, "nothing has begun");
    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    is_int(llm_audit_begin(a, E), LLM_INVALID, "only once");
    is_int(llm_audit_put_open(a, an_open(&o, "key_x", T0, 1), &n, E),
           LLM_INVALID, "not a key's id");
    is_int(llm_audit_put_open(a, an_open(&o, KEY_A, T0 + 1, 1), &n, E),
           LLM_OK, "a call");
    is_int(n, 2, "its number");
    o.key = NULL;
    o.act = 1;
    is_int(llm_audit_put_open(a, &o, &n, E), LLM_OK, "one without a key");
    is_int(llm_audit_commit(a, E), LLM_OK, "commit");

    r = record(2);
    llm_audit_key_text(r->key, id);
    is_str(id, KEY_A, "its key");
    llm_audit_request_text(r->request, id);
    is_str(id, "00000000000000000000000000000001", "its request");
    ok(r->time == T0 + 1 && r->wall == T0 + 1 && r->mono > 0
       && r->role == LLM_ROLE_USER && same(&r->client, "client")
       && same(&r->addr, "192.0.2.1") && same(&r->method, "POST")
       && same(&r->path, "/v1/chat/completions") && same(&r->model, "demo")
       && same(&r->agent, "curl/8.0"), "the rest of it");
    is_int(r->n_print, 2, "fingerprints: of its body and of its text");
    is_int(entries(a, a->shared->keyed), 1, "one is in the index of keys");
    ok((record(3)->flags & (LLM_AUDIT_HAS_ACT|LLM_AUDIT_HAS_KEY))
       == LLM_AUDIT_HAS_ACT, "the other is an act without a key");
    is_int(indexed(a->shared->hours, T0 / HOUR), 1, "the hour's first");

    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    is_int(llm_audit_put_close(a, a_close(&c, 2, T0 + 900, 1), E), LLM_OK,
           "it ends");
    is_int(llm_audit_put_close(a, &c, E), LLM_EXISTS, "once");
    is_int(llm_audit_put_close(a, a_close(&c, 3, T0 + 901, 2), E), LLM_OK,
           "of another request than its opening record's");
    is_int(llm_audit_put_close(a, a_close(&c, 777, T0 + 901, 1), E), LLM_OK,
           "of one that is not there");
    is_int(llm_audit_commit(a, E), LLM_OK, "commit");

    is_int(indexed(a->shared->closes, 2), 4, "a call and its end");
    is_int(entries(a, a->shared->closes), 1, "the only one");
    r = record(4);
    ok(r->number == 2 && r->status == 200 && r->prompt_tokens == 12
       && r->completion_tokens == 34 && r->total_us == 1234567
       && r->sent == 4096 && r->build == 0x1234 && same(&r->finish, "stop")
       && r->n_print == 1, "what it says");
    is_int(record(5)->number, 0, "without an opening record");
    is_int(record(6)->number, 0, "either");

    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    llm_audit_put_open(a, an_open(&o, KEY_A, T0, 1), &number, E);
    llm_audit_abort(a);
    is_int(record(7)->type, 0, "what is aborted is not there");
    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    is_int(llm_audit_commit(a, E), LLM_OK, "an empty transaction");
    is_int(record(7)->type, 0, "is nothing");

    for (bad = 0, i = 0; i < 50; i++) {
        bad += put_audit(a, i % 2 ? KEY_A : KEY_B, T0 + i * 60000, 100, i)
               != LLM_OK;
    }

    is_int(bad, 0, "many more");
    is_int(audit_faults(a), 0, "no fault in it");
    llm_audit_close(a);
    is_int(opened(T0), LLM_OK, "opened again");
    is_int(audit_faults(a), 0, "as it was");
    llm_audit_close(a);
}


static void
test_signed(void)
{
    llm_audit_t         *b;
    llm_audit_stat_t     st;
    llm_audit_record_t  *r;

    audit_anew();
    opened(T0);
    is_int(llm_audit_sign(a, E), LLM_OK, "a checkpoint");
    is_int(llm_audit_unsigned(a), 0, "nothing waits");
    is_int(llm_audit_sign(a, E), LLM_OK, "nothing to sign");
    llm_audit_stat(a, &st, E);
    ok(st.last == 2 && st.signed_to == 1 && st.signed_at == T0, "adds none");

    put_audit(a, KEY_A, T0 + 1000, 10, 3);
    is_int(llm_audit_unsigned(a), 1, "records wait");
    put_audit(a, KEY_A, T0 + 59000, 0, 1);
    llm_audit_stat(a, &st, E);
    is_int(st.signed_to, 1, "less than a minute later");
    put_audit(a, KEY_A, T0 + 60000, 0, 1);
    llm_audit_stat(a, &st, E);
    is_int(st.signed_to, st.last - 1, "a minute later a commit signs");
    r = record(st.last);
    ok(r->type == LLM_AUDIT_SIGNED && r->time == T0 + 60000, "at its time");
    is_int(llm_audit_unsigned(a), 0, "all of it");

    is_int(llm_audit_dup(&b, a, E), LLM_OK, "another handle");
    is_int(put_audit(b, KEY_B, T0 + 60001, 0, 1), LLM_OK, "writes");
    is_int(llm_audit_unsigned(a), 1, "which the first one sees");
    atomic_store(&a->shared->clock, T0 + 99000);
    is_int(llm_audit_sign(a, E), LLM_OK, "and signs");
    llm_audit_stat(b, &st, E);
    is_int(st.signed_at, T0 + 99000, "when it is");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
    is_int(put_audit(b, KEY_B, T0 + 99001, 0, 1), LLM_OK, "it may go first");
    llm_audit_close(b);
}


static void
test_clock(void)
{
    uint64_t             n;
    llm_audit_open_t     o;
    llm_audit_record_t  *r;

    audit_anew();
    opened(T0);
    put_audit(a, KEY_A, T0 + 3 * HOUR, 0, 1);
    put_audit(a, KEY_A, T0 + HOUR, 0, 1);

    r = record(5);
    ok(r->type == LLM_AUDIT_OPEN && r->time == T0 + 3 * HOUR
       && r->wall == T0 + HOUR, "the clock was stepped back: time stays");
    is_int(indexed(a->shared->hours, T0 / HOUR + 1), 0, "no hour of it");
    put_audit(a, KEY_A, T0 + 4 * HOUR, 0, 1);
    r = record(7);
    ok(r->type == LLM_AUDIT_OPEN && r->time == T0 + 4 * HOUR,
       "and goes on when it has come up");
    is_int(indexed(a->shared->hours, T0 / HOUR + 4), 7, "with its hour");

    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    an_open(&o, KEY_A, INT64_MAX, 1);
    o.mono = INT64_MIN;
    is_int(llm_audit_put_open(a, &o, &n, E), LLM_OK, "times that are none");
    is_int(llm_audit_commit(a, E), LLM_OK, "");
    ok(record(n)->time == T0 + 4 * HOUR && record(n)->mono > 0,
       "are the clock's");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


/* how many texts of body have fingerprints, wanted's among them */

static int
prints(const char *body, size_t len, const char *wanted)
{
    int                more;
    uint32_t           i, n;
    uint8_t            got[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH];
    uint8_t            want[LLM_AUDIT_HASH];
    llm_audit_text_t   t;
    llm_audit_keys_t  *k;

    k = atomic_load(&a->shared->current);
    t.data = body;
    t.len = len;
    n = llm_audit_input_prints(k, &t, got, &more);

    if (wanted != NULL) {
        llm_audit_fingerprint(k, wanted, strlen(wanted), want);

        for (i = 1; i < n && memcmp(got[i], want, sizeof(want)) != 0; i++) {
            /* void */
        }

        if (i == n) {
            return -1;
        }
    }

    return (int) n - 1;
}


#define PRINTS(body, wanted)  prints(body, sizeof(body) - 1, wanted)


static void
test_input(void)
{
    int                 i, more;
    char               *body, *p, want[16];
    uint8_t             got[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH];
    uint8_t             one[LLM_AUDIT_HASH], two[LLM_AUDIT_HASH];
    llm_audit_text_t    t;
    llm_audit_keys_t   *k;
    llm_audit_print_t  *print;

    audit_anew();
    opened(T0);
    k = atomic_load(&a->shared->current);

    is_int(PRINTS(BODY, "What is a chain?"), 1, "a message");
    is_int(PRINTS("{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},"
                  "{\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
                  "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}},"
                  "{\"type\":\"tool_result\",\"content\":[{\"text\":\"c\"}]}"
                  "]}]}", "c"), 3, "parts and a tool's result");
    is_int(PRINTS("{\"prompt\":\"a\"}", "a"), 1, "a prompt");
    is_int(PRINTS("{\"prompt\":[\"a\",\"b\",\"\"]}", "b"), 2, "prompts");
    is_int(PRINTS("{\"prompt\":[1,2,[3,4]]}", NULL), 0, "tokens");
    is_int(PRINTS("{\"input\":[\"a\",\"b\"],\"system\":\"c\"}", "c"), 3,
           "inputs and what is said before");
    is_int(PRINTS("{\"prompt\":\"\\u00e9\"}", "\xc3\xa9"), 1, "escapes");
    is_int(PRINTS("{\"messages\":{\"a\":1}}", NULL), 0, "not a list");
    is_int(PRINTS("[\"prompt\"]", NULL), 0, "not an object");
    is_int(PRINTS("{\"prompt\":\"a\"", NULL), 0, "not JSON");
    is_int(PRINTS("", NULL), 0, "nothing");
    is_int(prints(NULL, 0, NULL), -1, "no body");
    is_int(PRINTS("{\"input\":[[[[[[[[[[\"a\"]]]]]]]]]]}", NULL), 0,
           "too deep");

    body = malloc(100000);
    p = body + sprintf(body, "{\"input\":[\"0\"");

    for (i = 1; i < 1000; i++) {
        p += sprintf(p, ",\"%d\"", i);
    }

    p += sprintf(p, "]}");
    t.data = body;
    t.len = (size_t) (p - body);
    is_int(llm_audit_input_prints(k, &t, got, &more), 65, "a thousand");
    is_int(more, 1, "have too many");

    for (i = 1; i < 65; i++) {
        sprintf(want, "%d", i <= 32 ? i - 1 : 1000 - 65 + i);
        llm_audit_fingerprint(k, want, strlen(want), one);

        if (memcmp(got[i], one, sizeof(one)) != 0) {
            break;
        }
    }

    is_int(i, 65, "the first and the last half");
    free(body);

    print = llm_audit_print_new(a);
    llm_audit_print(print, "What is ", 8);
    llm_audit_print(print, "", 0);
    llm_audit_print(print, "a chain?", 8);
    llm_audit_print_done(print, one);
    llm_audit_fingerprint(k, "What is a chain?", 16, two);
    ok(memcmp(one, two, sizeof(one)) == 0, "in pieces");
    llm_audit_print_free(NULL);
    print = llm_audit_print_new(a);
    llm_audit_close(a);
    llm_audit_print_done(print, one);
    ok(1, "one may outlive the last handle");
}


static int
content(uint64_t number, char what, uint32_t choice, const char *want,
    int flip)
{
    int                rc;
    char               out[256];
    uint8_t            key[LLM_AUDIT_CONTENT_KEY], sealed[300];
    MDB_txn           *txn;
    MDB_val            k, v;
    llm_audit_keys_t  *keys;

    if (llm_audit_read(a, &txn, E) != LLM_OK) {
        return LLM_ERROR;
    }

    llm_audit_content_key(key, number, what, choice);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    rc = LLM_NOTFOUND;

    if (mdb_get(txn, a->shared->content, &k, &v) == 0
        && v.mv_size <= sizeof(sealed))
    {
        memcpy(sealed, v.mv_data, v.mv_size);
        sealed[flip >= 0 ? flip : 0] ^= (flip >= 0);
        rc = llm_audit_keys(a, txn, 1, &keys, E);

        if (rc == LLM_OK) {
            rc = llm_audit_content_open(keys, number, what, choice, sealed,
                                        v.mv_size, (uint8_t *) out, E);
        }

        if (rc == LLM_OK
            && (v.mv_size - LLM_AUDIT_CONTENT_MORE != strlen(want)
                || memcmp(out, want, strlen(want)) != 0))
        {
            rc = LLM_ERROR;
        }
    }

    llm_audit_read_end(a, txn);

    return rc;
}


static void
test_content(void)
{
    int                i, bad;
    char              *big;
    uint64_t           n, m;
    llm_audit_open_t   o;
    llm_audit_close_t  c;

    audit_anew();
    opened(T0);

    is_int(llm_audit_begin(a, E), LLM_OK, "begin");
    an_open(&o, KEY_A, T0, 1);
    o.content = 1;
    is_int(llm_audit_put_open(a, &o, &n, E), LLM_OK, "its input is kept");
    a_close(&c, n, T0, 1);
    c.content = 1;
    c.output[1] = TEXT("Another one.");
    c.n_output = 2;
    is_int(llm_audit_put_close(a, &c, E), LLM_OK, "and its outputs");
    is_int(llm_audit_put_open(a, an_open(&o, KEY_A, T0, 2), &m, E), LLM_OK,
           "another one's is not");
    is_int(llm_audit_commit(a, E), LLM_OK, "commit");

    is_int(content(n, 'i', 0, BODY, -1), LLM_OK, "the input");
    is_int(content(n + 1, 'o', 0, "A chain is a list.", -1), LLM_OK,
           "an output");
    is_int(content(n + 1, 'o', 1, "Another one.", -1), LLM_OK, "the next");
    is_int(content(n + 1, 'o', 2, "", -1), LLM_NOTFOUND, "no third one");
    is_int(content(m, 'i', 0, "", -1), LLM_NOTFOUND, "what is not kept");

    for (bad = 0, i = 0; i < (int) sizeof(BODY) - 1 + 32; i++) {
        bad += content(n, 'i', 0, BODY, i) != LLM_INVALID;
    }

    is_int(bad, 0, "no bit may change");
    ok((record(n)->flags & LLM_AUDIT_HAS_CONTENT)
       && !(record(m)->flags & LLM_AUDIT_HAS_CONTENT), "records say so");

    big = malloc(LLM_AUDIT_CONTENT + 1);
    memset(big, 'x', LLM_AUDIT_CONTENT + 1);
    llm_audit_begin(a, E);
    an_open(&o, KEY_A, T0, 3);
    o.content = 1;
    o.input.data = big;
    o.input.len = LLM_AUDIT_CONTENT;
    is_int(llm_audit_put_open(a, &o, &n, E), LLM_OK, "as long as it may be");
    o.input.len++;
    is_int(llm_audit_put_open(a, &o, &m, E), LLM_OK, "longer");
    is_int(llm_audit_commit(a, E), LLM_OK, "commit");
    ok((record(n)->flags & LLM_AUDIT_HAS_CONTENT)
       && !(record(m)->flags & LLM_AUDIT_HAS_CONTENT), "is not kept");
    is_int(entries(a, a->shared->content), 4, "all that is");
    free(big);

    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


static void
test_prune(void)
{
    int                 bad, i;
    uint64_t            dropped, first, number;
    int64_t             now;
    llm_audit_open_t    o;
    llm_audit_stat_t    st;

    audit_anew();
    opened(T0);

    for (bad = 0, i = 0; i < 60; i++) {
        bad += put_audit(a, i % 2 ? KEY_A : KEY_B, T0 + i * HOUR / 2, 1000,
                         100) != LLM_OK;

        llm_audit_begin(a, E);
        an_open(&o, KEY_A, T0 + i * HOUR / 2 + 200000, 9);
        o.content = 1;
        bad += llm_audit_put_open(a, &o, &number, E) != LLM_OK;
        bad += llm_audit_commit(a, E) != LLM_OK;
    }

    is_int(bad, 0, "a trail of 30 hours");
    is_int(entries(a, a->shared->hours), 30, "");
    llm_audit_stat(a, &st, E);
    now = (T0 + 30 * HOUR) / 1000;
    atomic_store(&a->shared->clock, T0 + 30 * HOUR);

    is_int(llm_audit_prune(a, now, 31 * 3600, &dropped, E), LLM_OK,
           "nothing is so old");
    is_int(dropped, 0, "");
    is_int(entries(a, a->shared->records), (long long) st.last, "");

    is_int(llm_audit_prune(a, now, 10 * 3600 + 900, &dropped, E), LLM_OK,
           "what is older than ten hours and a quarter");
    ok(dropped > 40 * 200 && dropped < 41 * 210, "%d go", (int) dropped);
    first = dropped + 1;
    llm_audit_stat(a, &st, E);
    is_int(st.first, (long long) first, "the first that stays");
    ok(record(first)->time >= T0 + 30 * HOUR - 10 * HOUR - HOUR / 4,
       "is not so old");
    is_int(entries(a, a->shared->records), (long long) (st.last - dropped),
           "records");
    is_int(entries(a, a->shared->hours), 10 + 1, "hours");
    is_int(indexed(a->shared->hours, T0 / HOUR + 19), 0, "one that is gone");
    is_int(indexed(a->shared->hours, (uint64_t) record(first)->time / HOUR),
           (long long) first, "the first one");
    is_int(entries(a, a->shared->closes), 20 * 100, "closing records");
    is_int(entries(a, a->shared->keyed), 20 * 101, "of keys");
    is_int(entries(a, a->shared->content), 20, "contents");
    ok(record(st.last)->type == LLM_AUDIT_PRUNED
       && record(st.last)->first == first, "a record tells it");
    is_int(audit_faults(a), 0, "no fault");

    is_int(put_audit(a, KEY_A, T0 + 30 * HOUR, 0, 1), LLM_OK, "it goes on");
    is_int(audit_faults(a), 0, "no fault");
    is_int(llm_audit_prune(a, now + 86400, 3600, &dropped, E), LLM_OK,
           "all that is signed");
    llm_audit_stat(a, &st, E);
    ok(st.first == st.signed_to && st.first < st.last,
       "the rest is not dropped");
    is_int(audit_faults(a), 0, "no fault");
    is_int(llm_audit_sign(a, E), LLM_OK, "signed");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
    is_int(opened(T0 + 31 * HOUR), LLM_OK, "opened");
    is_int(put_audit(a, KEY_A, T0 + 31 * HOUR, 0, 10), LLM_OK, "it goes on");
    is_int(audit_faults(a), 0, "no fault");
    llm_audit_close(a);
}


int
main(void)
{
    if (audit_begin() == -1) {
        return 1;
    }

    test_codec();
    test_calls();
    test_signed();
    test_clock();
    test_input();
    test_content();
    test_prune();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
