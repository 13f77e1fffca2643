
/*
 * Copyright (C) nginx-llm contributors
 *
 * Metrics: counting, tables of names, the history, and the text; by many
 * threads, and by processes that are killed.
 */


#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../ngx_module/metrics/llm_metrics_int.h"
#include "tap.h"


#define THREADS   4
#define ROUNDS    20000
#define SECOND    1000000       /* microseconds */


static llm_metrics_t  *m;
static llm_buf_t       text;


static void
fresh(void)
{
    char                      err[LLM_ERRLEN];
    static const char *const  engines[] = { "one", "two" };

    if (m) {
        (void) munmap(m, llm_metrics_size());
    }

    m = mmap(NULL, llm_metrics_size(), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (m == MAP_FAILED
        || llm_metrics_init(m, llm_metrics_size(), 1700000000000, err,
                            sizeof(err))
           != LLM_OK
        || llm_metrics_engines(m, engines, 2) != LLM_OK)
    {
        printf("Bail out! no memory\n");
        exit(1);
    }
}


static const char *
scrape(llm_zone_t *z)
{
    text.len = 0;

    if (llm_metrics_text(m, z, "1.2", llm_metrics_clock(), &text) != LLM_OK
        || llm_buf_append(&text, "", 1) != LLM_OK)
    {
        return "";
    }

    return text.data;
}


static int
has(const char *line)
{
    size_t       len = strlen(line);
    const char  *p;

    for (p = text.data; (p = strstr(p, line)) != NULL; p += len) {
        if ((p == text.data || p[-1] == '\n') && p[len] == '\n') {
            return 1;
        }
    }

    return 0;
}


/* every line is well-formed, no series is there twice, buckets grow: returns
 * the number of series, or minus the line that is wrong */

static int
check_text(const char *t)
{
    int          n, line;
    char        *name, *p, *end, *copy, *save, **seen;

    copy = strdup(t);
    seen = calloc(1, sizeof(char *));
    n = 0;
    line = 0;

    for (p = strtok_r(copy, "\n", &save); p;
         p = strtok_r(NULL, "\n", &save))
    {
        line++;

        if (*p == '#') {
            if (strncmp(p, "# HELP ", 7) && strncmp(p, "# TYPE ", 7)) {
                return -line;
            }

            continue;
        }

        name = p;
        p += strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_");

        if (p == name) {
            return -line;
        }

        if (*p == '{') {
            do {
                p++;
                p += strspn(p, "abcdefghijklmnopqrstuvwxyz_");

                if (*p++ != '=' || *p++ != '"') {
                    return -line;
                }

                for ( /* void */ ; *p && *p != '"'; p++) {
                    if (*p == '\\'
                        && (p[1] == '\0' || !strchr("\\\"n", *++p)))
                    {
                        return -line;
                    }
                }

                if (*p++ != '"') {
                    return -line;
                }
            } while (*p == ',');

            if (*p++ != '}') {
                return -line;
            }
        }

        if (*p != ' ') {
            return -line;
        }

        *p++ = '\0';
        (void) strtod(p, &end);

        if (end == p || *end) {
            return -line;
        }

        seen = realloc(seen, ((size_t) n + 1) * sizeof(char *));
        seen[n++] = name;
    }

    for (line = 0; line < n; line++) {
        for (int i = 0; i < line; i++) {
            if (strcmp(seen[i], seen[line]) == 0) {
                printf("# twice: %s\n", seen[i]);
                return -1000000;
            }
        }
    }

    free(seen);
    free(copy);

    return n;
}


static uint64_t
sum(llm_metrics_hist_t *h)
{
    int       i;
    uint64_t  n;

    for (i = 0, n = 0; i < LLM_METRICS_BUCKETS; i++) {
        n += llm_metrics_get(&h->bucket[i]);
    }

    return n;
}


static void
test_memory(void)
{
    char  err[LLM_ERRLEN];

    is_int(llm_metrics_init(m, llm_metrics_size() - 1, 1, err, sizeof(err)),
           LLM_INVALID, "too little memory");
    is_int(llm_metrics_init((llm_metrics_t *) ((char *) m + 8),
                            llm_metrics_size(), 1, err, sizeof(err)),
           LLM_INVALID, "memory that is not aligned");
    ok(llm_metrics_valid(m, llm_metrics_size()), "it is valid");
    ok(!llm_metrics_valid(m, llm_metrics_size() - 1), "not when it is cut");
    m->version++;
    ok(!llm_metrics_valid(m, llm_metrics_size()), "nor of another build");
    m->version--;
}


static void
test_histograms(void)
{
    int       i, bad;
    uint64_t  bucket[LLM_METRICS_BUCKETS];

    fresh();

    for (i = 0, bad = 0; i < LLM_METRICS_BOUNDS; i++) {
        bad += i && llm_metrics_bound[i] <= llm_metrics_bound[i - 1];
        llm_metrics_first(m, 0, llm_metrics_bound[i]);
        llm_metrics_first(m, 0, llm_metrics_bound[i] + 1);
    }

    is_int(bad, 0, "bounds ascend");

    llm_metrics_first(m, 0, 0);
    bad = 0;

    for (i = 0; i < LLM_METRICS_BUCKETS; i++) {
        bad += llm_metrics_get(&m->model[0].ttft.bucket[i])
               != (i < LLM_METRICS_BOUNDS ? 2 : 1);
    }

    is_int(bad, 0, "a bound belongs to its bucket, one more to the next");

    llm_metrics_first(m, LLM_METRICS_ALL, 1);
    llm_metrics_first(m, UINT32_MAX, 1);
    llm_metrics_token(m, UINT32_MAX, 1, 1);
    ok(1, "a model that is none is not counted");

    memset(bucket, 0, sizeof(bucket));
    ok(llm_metrics_quantile(bucket, 0.5) < 0, "no quantile of nothing");

    bucket[15] = 100;                   /* 0.3 to 0.5 */
    ok(llm_metrics_quantile(bucket, 0.5) > 0.399
       && llm_metrics_quantile(bucket, 0.5) < 0.401, "the middle of a bucket");
    ok(llm_metrics_quantile(bucket, 1) == 0.5, "its end");
    bucket[LLM_METRICS_BOUNDS] = 100;
    ok(llm_metrics_quantile(bucket, 0.99) == 2560, "above all bounds");
    memset(bucket, 0, sizeof(bucket));
    bucket[0] = 2;
    ok(llm_metrics_quantile(bucket, 0.5) == 0.00005, "the first begins at 0");

    llm_metrics_token(m, 1, 4, 4000);
    is_int(llm_metrics_get(&m->model[1].gap.bucket[3]), 4,
           "tokens that came together share the time");
    is_int(llm_metrics_get(&m->model[1].gap.sum), 4000, "which is the sum");
    llm_metrics_token(m, 1, 3, LLM_METRICS_UNKNOWN);
    is_int(sum(&m->model[1].gap), 4, "a time that is not known");
    is_int(llm_metrics_get(&m->model[1].completion_tokens), 7,
           "does not hide the tokens");
}


static void
test_requests(void)
{
    llm_metrics_request_t  q;

    fresh();

    memset(&q, 0, sizeof(q));
    q.model = llm_metrics_model(m, "one", 3, 0);
    q.status = 200;
    q.client = "acme";
    q.client_len = 4;
    q.prompt_tokens = 10;
    q.completion_tokens = 5;
    q.counted = 3;
    q.queue_us = 100;
    q.ttft_us = SECOND;
    q.total_us = 3 * SECOND;
    q.finish[2] = 1;
    q.generates = 1;
    llm_metrics_token(m, q.model, 3, 600);
    llm_metrics_request(m, &q);

    memset(&q, 0, sizeof(q));
    q.model = LLM_METRICS_NOMODEL;
    q.status = 401;
    q.refused = 1;
    q.code = "invalid_api_key";
    q.code_len = 15;
    llm_metrics_request(m, &q);
    q.code = "Bearer sk-\"{}";
    q.code_len = 13;
    llm_metrics_request(m, &q);
    q.status = 0;
    q.code = NULL;
    q.code_len = 0;
    q.cancelled = 1;
    llm_metrics_request(m, &q);

    ok(check_text(scrape(NULL)) > 0, "the text is well-formed");

    ok(has("llm_requests_total{model=\"one\",status=\"200\"} 1"), "200");
    ok(has("llm_requests_total{model=\"two\",status=\"503\"} 0"),
       "usual statuses are there before they come");
    ok(has("llm_requests_total{model=\"none\",status=\"401\"} 2"), "401");
    ok(has("llm_requests_total{model=\"none\",status=\"500\"} 1"),
       "what is no status is an error");
    ok(has("llm_requests_refused_total{reason=\"invalid_api_key\"} 1"),
       "a refusal's code");
    ok(has("llm_requests_refused_total{reason=\"other\"} 2"),
       "what is no code is another one");
    ok(has("llm_requests_cancelled_total{model=\"none\"} 1"), "cancelled");
    ok(has("llm_prompt_tokens_total{model=\"one\"} 10"), "prompt tokens");
    ok(has("llm_generation_tokens_total{model=\"one\"} 5"),
       "tokens count once");
    ok(has("llm_client_tokens_total{client=\"acme\",kind=\"completion\"} 5"),
       "of a client");
    ok(has("llm_finish_total{model=\"one\",reason=\"length\"} 1"), "finish");
    ok(has("llm_e2e_request_latency_seconds_sum{model=\"one\"} 3.000000"),
       "a sum in seconds");
    ok(has("llm_e2e_request_latency_seconds_bucket{model=\"one\",le=\"2.5\"} "
           "0"), "buckets below");
    ok(has("llm_e2e_request_latency_seconds_bucket{model=\"one\",le=\"5\"} "
           "1"), "and above");
    ok(has("gen_ai_server_time_per_output_token_seconds_sum{"
           "gen_ai_request_model=\"one\"} 0.500000"), "time of a token");
    ok(has("llm_engine_up{model=\"one\"} 0"), "no engine runs");
    ok(strstr(text.data, "llm_gpu") == NULL, "no GPU, no series of one");
    ok(strstr(text.data, "llm_audit") == NULL, "no audit");
    ok(has("llm_start_time_seconds 1700000000.000"), "the start");
}


/* the same label twice would make the whole text invalid */

static void
test_client_names(void)
{
    size_t                    i;
    llm_metrics_request_t     q;
    static const char *const  names[] = {
        "a\001z", "a\002z", "a?z", "\377\376", "\376\377"
    };

    fresh();

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        memset(&q, 0, sizeof(q));
        q.model = LLM_METRICS_NOMODEL;
        q.status = 200;
        q.client = names[i];
        q.client_len = strlen(names[i]);
        llm_metrics_request(m, &q);
    }

    ok(check_text(scrape(NULL)) > 0, "clients with hostile names");
    ok(has("llm_client_requests_total{client=\"a?z\"} 3"), "are one");
    ok(has("llm_client_requests_total{client=\"??\"} 2"), "and another");
}


static void
test_names(void)
{
    int                    i, bad;
    char                   name[200], label[512];
    uint32_t               a, b;
    llm_metrics_request_t  q;

    fresh();

    is_int(llm_metrics_model(m, "x", 1, 0), LLM_METRICS_OTHER,
           "a model that nobody knows");
    a = llm_metrics_model(m, "x", 1, 1);
    is_int(a, 2, "is added");
    is_int(llm_metrics_model(m, "x", 1, 0), a, "and found");
    is_int(llm_metrics_model(m, "", 0, 1), LLM_METRICS_NOMODEL, "no model");
    is_int(llm_metrics_model(m, "other", 5, 1), LLM_METRICS_OTHER,
           "a model with that name");
    is_int(llm_metrics_model(m, "none", 4, 1), LLM_METRICS_OTHER,
           "or that one");

    memset(name, 'a', sizeof(name));
    a = llm_metrics_model(m, name, 100, 1);
    b = llm_metrics_model(m, name, 150, 1);
    is_int(a, b, "long names are the same when what is kept is");

    a = llm_metrics_model(m, "\x01\xff", 2, 1);
    b = llm_metrics_model(m, "\x02\xfe", 2, 1);
    is_int(a, b, "so are those that a label can't tell apart");

    (void) llm_metrics_model(m, "q\"\\}\n", 5, 1);

    for (i = 0, bad = 0; i < 100; i++) {
        (void) snprintf(name, sizeof(name), "m%d", i);
        a = llm_metrics_model(m, name, strlen(name), 1);
        bad += a != LLM_METRICS_OTHER && a >= LLM_METRICS_PROXIED;

        memset(&q, 0, sizeof(q));
        q.model = a;
        q.status = 200;
        llm_metrics_request(m, &q);
    }

    is_int(bad, 0, "other servers' models leave room");
    is_int(a, LLM_METRICS_OTHER, "the last ones have none");

    {
        static const char *const  more[] = { "two", "three" };

        is_int(llm_metrics_engines(m, more, 2), LLM_OK, "for new engines");
        ok(llm_metrics_engine(m, 1) >= LLM_METRICS_PROXIED, "there");
    }

    for (i = 0; i < 300; i++) {
        (void) snprintf(name, sizeof(name), "client\"%d", i);
        memset(&q, 0, sizeof(q));
        q.model = LLM_METRICS_NOMODEL;
        q.status = 200;
        q.client = name;
        q.client_len = strlen(name);
        llm_metrics_request(m, &q);
        llm_metrics_request(m, &q);

        (void) snprintf(name, sizeof(name), "code_%d", i);
        q.client = NULL;
        q.refused = 1;
        q.code = name;
        q.code_len = strlen(name);
        llm_metrics_request(m, &q);
    }

    ok(check_text(scrape(NULL)) > 0, "the text is well-formed");
    ok(has("llm_client_requests_total{client=\"client\\\"255\"} 2"),
       "256 clients have their own");
    ok(has("llm_client_requests_total{client=\"other\"} 88"),
       "the others share one");
    ok(has("llm_requests_refused_total{reason=\"other\"} 204"),
       "codes are bounded");

    (void) llm_metrics_label(label, "a\"b\\c\nd", 7);
    is_str(label, "a\\\"b\\\\c\\nd", "a label is escaped");
}


static void
test_dead_namer(void)
{
    uint32_t  a;
    uint64_t  hash;

    fresh();

    /* one that died with its claim */

    a = llm_metrics_model(m, "ghost", 5, 1);
    hash = atomic_load(&m->model_name[a].state) & ~(uint64_t) LLM_NAME_BITS;
    memset(&m->model_name[a], 0, sizeof(llm_metrics_name_t));
    atomic_store(&m->model_name[a].state, hash | LLM_NAME_CLAIMED);

    ok(check_text(scrape(NULL)) > 0, "a claim is no name");
    ok(strstr(text.data, "ghost") == NULL, "and has no series");
    is_int(llm_metrics_model(m, "spirit", 6, 1), a + 1,
           "others go past it");
    is_int(llm_metrics_model(m, "ghost", 5, 0), a, "its own find it");
    is_int(atomic_load(&m->model_name[a].state) & LLM_NAME_BITS,
           LLM_NAME_THERE, "and finish it");
}


/* a reload takes the trail away: nothing that its last writers said stays */

static void
test_audit_off(void)
{
    llm_metrics_host_t  host;

    llm_metrics_audit_kept(m, 0);
    llm_metrics_audit_writable(m, 0);

    llm_metrics_now_host(m, NULL, &host);
    is_int((long long) host.audit_writable, 2, "no trail: not known");
    is_int((long long) host.audit_lag, 0, "none waits");
    is_int((long long) host.audit_unsigned, 0, "none is unsigned");
    is_int((long long) host.audit_records, 3, "what was written was");

    ok(check_text(scrape(NULL)) > 0, "the text is well-formed");
    ok(strstr(text.data, "llm_audit") == NULL, "without a trail");

    llm_metrics_audit_kept(m, 1);
    llm_metrics_now_host(m, NULL, &host);
    is_int((long long) host.audit_writable, 0, "there again, not writable");
}


static void
test_audit(void)
{
    int      status;
    pid_t    pid;
    int64_t  now;

    fresh();
    now = llm_metrics_clock();

    llm_metrics_audit_writable(m, 1);
    llm_metrics_audit_committed(m, 3, 2000);
    llm_metrics_audit_waiting(m, getpid(), now - 1500);
    llm_metrics_audit_unsigned(m, now - 5000);

    ok(check_text(scrape(NULL)) > 0, "the text is well-formed");
    ok(has("llm_audit_records_total 3"), "records");
    ok(has("llm_audit_writable 1"), "writable");
    ok(has("llm_audit_commit_seconds_bucket{le=\"0.0025\"} 1"), "a commit");
    ok(strstr(text.data, "\nllm_audit_lag_seconds 1.5") != NULL, "waiting");
    ok(strstr(text.data, "\nllm_audit_unsigned_seconds 5.") != NULL,
       "unsigned");

    test_audit_off();

    llm_metrics_audit_waiting(m, getpid(), 0);
    llm_metrics_audit_waiting(m, 0, 1);
    llm_metrics_audit_waiting(m, -1, 1);
    is_int(llm_metrics_audit_lag(m, now), 0, "nothing waits");

    pid = fork();

    if (pid == 0) {
        llm_metrics_audit_waiting(m, getpid(), now - 9000);
        (void) kill(getpid(), SIGKILL);
    }

    (void) waitpid(pid, &status, 0);

    is_int(llm_metrics_audit_lag(m, now), 0, "what a dead process said");
    llm_metrics_reap(m);
    is_int(atomic_load(&m->audit.wait[1].pid), 0, "is forgotten");
}


static void
test_history(void)
{
    int                 i;
    int64_t             t, time;
    uint64_t            first, last;
    llm_metrics_row_t   row, old, d;
    llm_metrics_host_t  host;

    fresh();

    llm_metrics_range(m, &first, &last);
    is_int((long long) last, 0, "no sample");
    is_int(llm_metrics_before(m, 1000, 0, NULL, &row, NULL, NULL),
           LLM_NOTFOUND, "nor one before");
    is_int(llm_metrics_at(m, 0, NULL, &row, NULL, NULL), LLM_NOTFOUND,
           "none has the number 0");

    t = 5000000;
    is_int(llm_metrics_sample(m, NULL, t, 1700000000000), 1, "the first");
    is_int(llm_metrics_sample(m, NULL, t, 1700000000000), 0, "once");
    is_int(llm_metrics_sample(m, NULL, t + 9000, 1), 0, "not too soon");

    llm_metrics_first(m, 0, SECOND);
    llm_metrics_first(m, 1, SECOND);

    is_int(llm_metrics_sample(m, NULL, t + 10000, 1700000010000), 1,
           "the second");

    is_int(llm_metrics_at(m, 2, "one", &row, &host, &time), LLM_OK,
           "an engine's");
    is_int(time, t + 10000, "its time");
    is_int(host.wall, 1700000010000, "and the clock's");
    is_int((long long) host.time, t + 10000, "the host's too");
    is_int((long long) row.ttft[17], 1, "what was counted");
    is_int(llm_metrics_at(m, 2, NULL, &row, NULL, NULL), LLM_OK, "all");
    is_int((long long) row.ttft[17], 2, "together");
    is_int(llm_metrics_at(m, 2, "three", &row, NULL, NULL), LLM_NOTFOUND,
           "no such engine");
    is_int(llm_metrics_at(m, 3, NULL, &row, NULL, NULL), LLM_NOTFOUND,
           "no such sample");
    is_int(llm_metrics_now(m, NULL, "three", &row), LLM_NOTFOUND,
           "nor such an engine now");

    (void) llm_metrics_at(m, 1, NULL, &old, NULL, NULL);
    (void) llm_metrics_at(m, 2, NULL, &row, NULL, NULL);
    llm_metrics_diff(&d, &old, &row);
    is_int((long long) d.ttft[17], 2, "between them");
    llm_metrics_diff(&d, &row, &old);
    is_int((long long) d.ttft[17], 0, "never less than nothing");

    for (i = 2; i < 1000; i++) {
        (void) llm_metrics_sample(m, NULL, t + i * 10000, i);
    }

    llm_metrics_range(m, &first, &last);
    is_int((long long) last, 1000, "as many as were taken");
    is_int((long long) (last - first), LLM_METRICS_SAMPLES - 1, "are kept");
    is_int(llm_metrics_at(m, first, "two", NULL, NULL, &time), LLM_OK,
           "the oldest");
    is_int(llm_metrics_at(m, first - 1, NULL, NULL, NULL, &time),
           LLM_NOTFOUND, "one that is gone");

    t += 999 * 10000;
    is_int(llm_metrics_before(m, t, 60000, "one", &row, &host, &time),
           LLM_OK, "a minute ago");
    is_int(time, t - 60000, "exactly");
    is_int(llm_metrics_before(m, t + 1, 60000, NULL, &row, NULL, &time),
           LLM_OK, "a little later");
    is_int(time, t - 60000, "it is still that one");
    is_int(llm_metrics_before(m, t, 99999999, NULL, &row, NULL, &time),
           LLM_OK, "before all of them");
    is_int(time, t - (LLM_METRICS_SAMPLES - 1) * 10000, "the oldest");

    /* a writer that died at the newest one */

    atomic_store(&m->history.stamp[1000 % LLM_METRICS_SAMPLES], 2000);
    is_int(llm_metrics_at(m, 1000, NULL, &row, NULL, NULL), LLM_NOTFOUND,
           "a half-written sample");
    is_int(llm_metrics_before(m, t, 0, NULL, &row, NULL, &time), LLM_OK,
           "is passed over");
    is_int(time, t - 10000, "for the one before");

    /* garbage of a dead process */

    atomic_store(&m->history.time, INT64_MAX);
    is_int(llm_metrics_sample(m, NULL, t + 10000, 1), 1,
           "a time to come stops nothing");
    atomic_store(&m->history.row[1][1001 % LLM_METRICS_SAMPLES]
                     [LLM_METRICS_WORDS(llm_metrics_row_t)], UINT64_MAX);
    atomic_store(&m->history.engines[1001 % LLM_METRICS_SAMPLES], UINT64_MAX);
    is_int(llm_metrics_at(m, 1001, "one", &row, NULL, NULL), LLM_NOTFOUND,
           "a row of no engine");
    atomic_store(&m->engines, UINT32_MAX);
    atomic_store(&m->engine[0], UINT32_MAX);
    is_int(llm_metrics_now(m, NULL, "one", &row), LLM_NOTFOUND,
           "an engine of no model");
    is_int(llm_metrics_now(m, NULL, NULL, &row), LLM_OK, "all the same");
    ok(check_text(scrape(NULL)) > 0, "the text stays well-formed");
}


static void
test_engine(void)
{
    llm_zone_t            *z;
    llm_metrics_row_t      row;
    llm_engine_status_t   *st;

    fresh();

    z = mmap(NULL, sizeof(llm_zone_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    ok(z != MAP_FAILED, "a zone");

    st = &z->engine[3];
    atomic_store(&st->hash, llm_engine_hash("two", 3));
    atomic_store(&st->counted, llm_engine_hash("two", 3));
    atomic_store(&st->state, LLM_ENGINE_READY);
    atomic_store(&st->running, 3);
    atomic_store(&st->waiting, 4);
    atomic_store(&st->max_batch, 8);
    atomic_store(&st->queue, 16);
    atomic_store(&st->blocks, 10);
    atomic_store(&st->blocks_used, 5);
    atomic_store(&st->steps, 100);
    atomic_store(&st->batched, 250);
    atomic_store(&st->batch[0], 50);
    atomic_store(&st->batch[2], 50);
    atomic_store(&st->step_us, 1500000);
    atomic_store(&z->holder, (int32_t) getpid());
    atomic_store(&z->deaths, 2);

    ok(check_text(scrape(z)) > 0, "the text is well-formed");
    ok(has("llm_engine_up{model=\"two\"} 1"), "up");
    ok(has("llm_engine_up{model=\"one\"} 0"), "the other one is not");
    ok(has("llm_num_requests_running{model=\"two\"} 3"), "running");
    ok(has("llm_num_requests_waiting{model=\"two\"} 4"), "waiting");
    ok(has("llm_kv_cache_usage_perc{model=\"two\"} 0.500000"), "KV cache");
    ok(has("llm_batch_size_bucket{model=\"two\",le=\"2\"} 50"), "batches");
    ok(has("llm_batch_size_bucket{model=\"two\",le=\"4\"} 100"), "of 3 or 4");
    ok(has("llm_batch_size_sum{model=\"two\"} 250"), "their sum");
    ok(has("llm_engine_step_seconds_total{model=\"two\"} 1.500000"),
       "time of steps");
    ok(has("llm_engine_restarts_total 2"), "restarts");

    is_int(llm_metrics_now(m, z, "two", &row), LLM_OK, "a row");
    is_int((long long) row.state, LLM_ENGINE_READY, "its state");
    is_int((long long) row.queue, 16, "its queue");
    is_int(llm_metrics_now(m, z, NULL, &row), LLM_OK, "of all");
    is_int((long long) row.state, LLM_ENGINE_NONE, "the worst");
    is_int((long long) row.running, 3, "the sum");

    atomic_store(&z->wanted, 7);
    ok(check_text(scrape(z)) > 0, "a holder of another configuration");
    ok(has("llm_engine_up{model=\"two\"} 0"), "takes nothing, so is not up");
    ok(has("llm_num_requests_running{model=\"two\"} 3"), "but runs");
    ok(has("llm_kv_cache_usage_perc{model=\"two\"} 0.500000"), "in blocks");
    (void) llm_metrics_now(m, z, "two", &row);
    is_int((long long) row.state, LLM_ENGINE_LOADING, "the next one loads");
    is_int((long long) row.running, 3, "what still runs is told");
    atomic_store(&z->held, 7);
    ok(check_text(scrape(z)) > 0, "the next one");
    ok(has("llm_engine_up{model=\"two\"} 1"), "is up");

    atomic_store(&z->holder, 0x3ffffffe);
    (void) llm_metrics_now(m, z, "two", &row);
    is_int((long long) row.state, LLM_ENGINE_NONE, "its process is dead");
    is_int((long long) row.running, 0, "nothing runs");
    is_int((long long) row.steps, 100, "what it did counts");

    (void) munmap(z, sizeof(llm_zone_t));
}


static void *
adder(void *data)
{
    int                     i;
    char                    name[32];
    uintptr_t               self = (uintptr_t) data;
    llm_metrics_request_t   q;

    for (i = 0; i < ROUNDS / 10; i++) {
        memset(&q, 0, sizeof(q));
        (void) snprintf(name, sizeof(name), "c%d", i % 200);

        q.model = llm_metrics_model(m, name, strlen(name), 1);
        q.status = 200;
        q.client = name;
        q.client_len = strlen(name);
        q.refused = i % 2;
        q.code = name;
        q.code_len = strlen(name);
        q.generates = 1;
        q.total_us = (uint64_t) i;
        q.queue_us = LLM_METRICS_UNKNOWN;
        q.ttft_us = LLM_METRICS_UNKNOWN;

        llm_metrics_request(m, &q);
        (void) llm_metrics_sample(m, NULL, (i + 1) * 10000 + (int64_t) self,
                                  i);
    }

    return NULL;
}


static void *
reader(void *data)
{
    int                *stop = data;
    uint64_t            n, first, last;
    llm_metrics_row_t   row;
    llm_metrics_host_t  host;

    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        llm_metrics_range(m, &first, &last);

        for (n = first; n && n <= last; n += 50) {
            (void) llm_metrics_at(m, n, "one", &row, &host, NULL);
        }
    }

    return NULL;
}


static void
test_threads(void)
{
    int                 i, stop;
    uint64_t            clients;
    pthread_t           tid[THREADS], r;
    llm_metrics_row_t   row;

    fresh();
    stop = 0;
    (void) pthread_create(&r, NULL, reader, &stop);

    for (i = 0; i < THREADS; i++) {
        (void) pthread_create(&tid[i], NULL, adder, (void *) (uintptr_t) i);
    }

    for (i = 0; i < 5; i++) {
        (void) scrape(NULL);
    }

    for (i = 0; i < THREADS; i++) {
        (void) pthread_join(tid[i], NULL);
    }

    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    (void) pthread_join(r, NULL);

    (void) llm_metrics_now(m, NULL, NULL, &row);
    is_int((long long) row.requests[2], THREADS * ROUNDS / 10,
           "no request is lost");

    for (i = 0, clients = 0; i <= LLM_METRICS_CLIENTS; i++) {
        clients += llm_metrics_get(&m->client[i].requests);
    }

    is_int((long long) clients, THREADS * ROUNDS / 10, "nor a client's");
    ok(check_text(scrape(NULL)) > 0, "no name is there twice");
}


static void
test_killed(void)
{
    int                 i, status;
    pid_t               pid[THREADS];
    uint64_t            clients, total;
    llm_metrics_row_t   row;

    fresh();

    for (i = 0; i < THREADS; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            for ( ;; ) {
                (void) adder((void *) (uintptr_t) i);
            }
        }
    }

    (void) usleep(100000);

    for (i = 0; i < THREADS; i++) {
        (void) kill(pid[i], SIGKILL);
        (void) waitpid(pid[i], &status, 0);
    }

    (void) llm_metrics_now(m, NULL, NULL, &row);
    ok(row.requests[2] > 0, "they counted");

    for (i = 0, clients = 0; i <= LLM_METRICS_CLIENTS; i++) {
        clients += llm_metrics_get(&m->client[i].requests);
    }

    for (i = 0, total = 0; i < LLM_METRICS_BUCKETS; i++) {
        total += row.total[i];
    }

    ok(clients - row.requests[2] <= THREADS, "one at most is missing of each");
    ok(total - row.requests[2] <= THREADS, "in a histogram, too");
    ok(check_text(scrape(NULL)) > 0, "the text is well-formed");

    is_int(llm_metrics_sample(m, NULL, (int64_t) 1 << 50, 1), 1,
           "sampling goes on");
}


int
main(void)
{
    fresh();
    test_memory();
    test_histograms();
    test_requests();
    test_names();
    test_client_names();
    test_dead_namer();
    test_audit();
    test_history();
    test_engine();
    test_threads();
    test_killed();

    llm_buf_done(&text);

    return done();
}
