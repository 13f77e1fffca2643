
/*
 * Copyright (C) nginx-llm contributors
 *
 * Events in calls.mdb; and a calls.mdb that is damaged.
 */


#include "calls_test.h"


static llm_buf_t   json;
static uint64_t    number;
static uint32_t    tries;
static int64_t     due;


static int
next(llm_calls_t *c, int64_t now, int64_t until)
{
    int  rc;

    rc = llm_event_next(c, now, until, &number, &tries, &json, &due, E);

    if (llm_buf_append(&json, "", 1) != LLM_OK) {
        return LLM_NOMEM;
    }

    return rc;
}


static void
test_events(llm_calls_t *c)
{
    char      big[LLM_EVENT_MAX + 2];
    uint64_t  one, two, three;

    is_int(next(c, 1000, 1060), LLM_NOTFOUND, "no event");
    is_int(due, 0, "and none later");

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    is_int(llm_event_put(c, big, E), LLM_INVALID, "an event too long");
    is_int(llm_event_put(c, "", E), LLM_INVALID, "an empty one");

    is_int(llm_event_put(c, "{\"n\":1}", E), LLM_OK, "one");
    big[LLM_EVENT_MAX] = '\0';
    is_int(llm_event_put(c, big, E), LLM_OK, "one of the greatest length");
    is_int(llm_event_put(c, "{\"n\":3}", E), LLM_OK, "three");

    is_int(next(c, 1000, 1060), LLM_OK, "the first");
    one = number;
    is_str(json.data, "{\"n\":1}", "its text");
    is_int(tries, 1, "its first try");
    is_int(next(c, 1000, 1070), LLM_OK, "the second");
    two = number;
    ok(two == one + 1 && strcmp(json.data, big) == 0, "its text and number");
    is_int(next(c, 1000, 1080), LLM_OK, "the third");
    three = number;
    is_int(next(c, 1000, 1080), LLM_NOTFOUND, "all are being delivered");
    is_int(due, 1060, "the first is due again then");
    is_int(json.len, 1, "no text");

    is_int(llm_event_done(c, one, E), LLM_OK, "the first is done");
    is_int(llm_event_done(c, one, E), LLM_NOTFOUND, "once");
    is_int(llm_event_later(c, one, 5, E), LLM_NOTFOUND, "and gone");
    is_int(llm_event_later(c, two, 2000, E), LLM_OK, "the second later");
    is_int(next(c, 1079, 1100), LLM_NOTFOUND, "not yet");
    is_int(due, 1080, "the third was taken till then");
    is_int(next(c, 1080, 1100), LLM_OK, "who took it is dead");
    ok(number == three && tries == 2, "a second try");
    is_int(llm_event_done(c, three, E), LLM_OK, "done");
    is_int(next(c, 2000, 2100), LLM_OK, "later");
    ok(number == two && tries == 2 && strcmp(json.data, big) == 0,
       "the second, whole");
    is_int(llm_event_done(c, two, E), LLM_OK, "done");
    is_int(next(c, 9000, 9100), LLM_NOTFOUND, "none");
    is_int(due, 0, "at all");

    llm_event_put(c, "{}", E);
    next(c, 1, 2);
    ok(number > three, "a number is not used again");

    llm_calls_begin(c, E);
    is_int(next(c, 5, 6), LLM_INVALID, "not within a transaction");
    is_int(llm_event_put(c, "{}", E), LLM_INVALID, "nor this");
    llm_calls_abort(c);

    llm_event_done(c, number = three + 1, E);
}


static int
events(llm_calls_t *c)
{
    MDB_stat  stat;

    llm_calls_begin(c, E);
    mdb_stat(c->wtxn, c->shared->events, &stat);
    llm_calls_abort(c);

    return (int) stat.ms_entries;
}


static void
test_many(llm_calls_t *c)
{
    int      i;
    MDB_val  k, v;
    uint8_t  key[16], data[64];

    /* in one transaction, or it takes too long */

    llm_calls_begin(c, E);
    k.mv_data = key;
    k.mv_size = 8;
    v.mv_data = data;
    v.mv_size = 20;
    memset(data, 0, sizeof(data));
    data[0] = 1;

    for (i = 0; i < LLM_EVENTS - 1; i++) {
        llm_be_put(key, 1000 + (uint64_t) i, 8);
        llm_le_put(data + 8, i == 9000 ? 50 : 100, 8);
        mdb_put(c->wtxn, c->shared->events, &k, &v, 0);
    }

    llm_calls_commit(c, E);

    is_int(llm_event_put(c, "{}", E), LLM_OK, "the 10,000th");
    is_int(llm_event_put(c, "{}", E), LLM_OK, "one more");
    is_int(events(c), LLM_EVENTS, "takes the oldest one's place");
    is_int(next(c, 60, 70), LLM_OK, "one that is due");
    is_int(number, 10000, "the first of those");
    is_int(next(c, 60, 70), LLM_OK, "another");
    is_int(next(c, 60, 70), LLM_OK, "and a third");
    is_int(next(c, 60, 70), LLM_NOTFOUND, "no more of them");
    is_int(due, 70, "the next time");

    /* malformed ones */

    llm_calls_begin(c, E);
    mdb_drop(c->wtxn, c->shared->events, 0);

    for (i = 0; i < 40; i++) {
        llm_be_put(key, (uint64_t) i, 8);
        k.mv_size = i % 3 ? 8 : 1 + (size_t) i % 11;
        v.mv_size = i % 3 ? (size_t) i % 16 : 20;
        data[0] = (uint8_t) i;
        mdb_put(c->wtxn, c->shared->events, &k, &v, 0);
    }

    llm_calls_commit(c, E);
    is_int(next(c, 60, 70), LLM_NOTFOUND, "malformed ones are not due");
    is_int(llm_event_put(c, "{}", E), LLM_OK, "one that is well");
    is_int(next(c, 60, 70), LLM_OK, "comes");
    is_int(count_entries(c, c->shared->events), 1, "they are dropped");
}


static void
copy_calls(const char *p, size_t len)
{
    calls_anew();
    put_file(at("store/calls.mdb"), p, len, 0600);
}


static size_t
read_calls(char **p)
{
    int      fd;
    ssize_t  n;

    fd = open(at("store/calls.mdb"), O_RDONLY);
    *p = malloc(4 << 20);
    n = read(fd, *p, 4 << 20);
    close(fd);

    return n > 0 ? (size_t) n : 0;
}


static void
test_malformed(void)
{
    char          *p, *q, name[64];
    size_t         i, len;
    MDB_env       *env;
    MDB_txn       *txn;
    MDB_dbi        dbi;
    MDB_val        k, v;
    llm_calls_t   *c;

    static const size_t  sizes[] = {
        0, 1, 100, 4096, 4200, 8191, 8192, 12288, 20480
    };

    static const struct {
        size_t       at;
        const char  *name;
        uint8_t      byte;
    } heads[] = {
        { 10, "page flags", 0 },
        { 16, "magic", 1 },
        { 20, "version", 9 },
        { 24, "address", 1 },
        { 38, "map size", 0xff },
        { 40, "page size", 7 },
        { 41, "page size 0", 0 },
        { 43, "page size too great", 0xff },
        { 44, "flags", 9 },
        { 141, "last page", 0xff },
    };

    len = read_calls(&p);

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        copy_calls(p, sizes[i]);
        snprintf(name, sizeof(name), "cut to %d bytes", (int) sizes[i]);
        is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, name);
        ok(c == NULL && strstr(err, "calls.mdb") != NULL, "the message: %s",
           err);
    }

    q = malloc(len);

    for (i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        memcpy(q, p, len);
        q[heads[i].at] = (char) heads[i].byte;
        q[4096 + heads[i].at] = (char) heads[i].byte;
        copy_calls(q, len);
        is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, heads[i].name);
        llm_calls_close(c);
    }

    memset(q, 'x', len);
    copy_calls(q, len);
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "text");

    /* another program's */

    calls_anew();
    mdb_env_create(&env);
    mdb_env_open(env, at("store/calls.mdb"), MDB_NOSUBDIR, 0600);
    mdb_txn_begin(env, NULL, 0, &txn);
    mdb_dbi_open(txn, NULL, 0, &dbi);
    k.mv_data = v.mv_data = "usage";
    k.mv_size = v.mv_size = 5;
    mdb_put(txn, dbi, &k, &v, 0);
    mdb_txn_commit(txn);
    mdb_env_close(env);
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "another LMDB");
    ok(strstr(err, "not a call store") != NULL, "the message: %s", err);

    /* a later schema */

    copy_calls(p, len);
    is_int(llm_calls_open(&c, path, 0, E), LLM_OK, "a whole one");
    llm_calls_begin(c, E);
    k.mv_data = "schema";
    k.mv_size = 6;
    v.mv_data = "\2\0\0\0";
    v.mv_size = 4;
    mdb_put(c->wtxn, c->shared->meta, &k, &v, 0);
    llm_calls_commit(c, E);
    llm_calls_close(c);
    is_int(llm_calls_open(&c, path, 0, E), LLM_INVALID, "a later schema");
    ok(strstr(err, "schema 2") != NULL, "the message: %s", err);

    copy_calls(p, len);
    free(p);
    free(q);
}


/* uses a damaged one: 0, whatever comes of it but a signal */

static int
use_bad(void *data)
{
    int           i;
    llm_calls_t  *c;
    llm_spent_t   u;

    alarm(20);

    if (llm_calls_open(&c, path, 0, E) != LLM_OK) {
        return *(int *) data ? 0 : 99;
    }

    (void) count_calls(c, KEY_A);
    (void) count_calls(c, KEY_B);
    (void) llm_calls_usage(c, KEY_A, &u, E);
    (void) next(c, 5000, 5001);
    (void) put_usage(c, KEY_A, 9);

    for (i = 0; i < 20; i++) {
        (void) put_calls(c, KEY_B, now_ms() + i, 10);
        (void) llm_event_put(c, "{}", E);
    }

    (void) count_calls(c, KEY_B);
    llm_calls_close(c);

    return 0;
}


static void
test_flipped(void)
{
    int       bad, crashes, i, n;
    char     *p, *q;
    size_t    len, pages, pos;
    uint32_t  seed;

    len = read_calls(&p);
    q = malloc(len);
    pages = 40;
    seed = 4711;
    crashes = 0;
    bad = 1;

    for (i = 0; i < 200; i++) {
        memcpy(q, p, len);

        for (n = 0; n < 1 << i % 5; n++) {
            seed = seed * 1664525 + 1013904223;
            pos = (seed >> 4) % (pages * 4096);

            if (seed >> 30 == 0) {
                pos = pos / 4096 * 4096 + pos % 48;     /* a page's head */
            }

            if (pos < len) {
                q[pos] = (char) (seed >> 12);
            }
        }

        copy_calls(q, len);
        crashes += child(use_bad, &bad) != 0;
    }

    is_int(crashes, 0, "200 damaged files: none ends a process");

    copy_calls(p, len);
    bad = 0;
    is_int(child(use_bad, &bad), 0, "the whole one works");
    free(p);
    free(q);
}


int
main(void)
{
    int           i;
    llm_calls_t  *c;

    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "a store");
    is_int(llm_calls_open(&c, path, 8 << 20, E), LLM_OK, "opened");
    test_events(c);
    test_many(c);
    llm_calls_close(c);

    calls_anew();
    is_int(llm_calls_open(&c, path, 2 << 20, E), LLM_OK, "opened");

    for (i = 0; i < 5; i++) {
        put_calls(c, KEY_A, now_ms() - 40 * DAY + i, 60);
        put_calls(c, KEY_B, now_ms() - i * DAY, 60);
        put_usage(c, KEY_A, (uint64_t) i);
        llm_event_put(c, "{\"an\":\"event\"}", E);
    }

    llm_calls_close(c);
    test_malformed();
    test_flipped();

    llm_buf_done(&json);
    remove_tree(dir);

    return done();
}
