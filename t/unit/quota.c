
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas in one process: each limit and each field of the view, windows, days
 * and months, clocks that step back, tickets, eviction, what is to be
 * written, and threads (for ThreadSanitizer too).
 */


#include "quota_test.h"


#define THREADS   8
#define REQUESTS  125           /* a thread */


static void
test_init(void)
{
    size_t         i, n, pages, size;
    llm_quota_t   *q, copy;
    unsigned char *in;

    is_int((long) llm_quota_size(0), 0, "no table for no key");
    is_int((long) llm_quota_size(1000), 0, "nor for 1000");
    is_int((long) llm_quota_size(LLM_QUOTA_KEYS * 2), 0, "nor for too many");
    ok(llm_quota_size(1) > 0 && llm_quota_size(LLM_QUOTA_KEYS) > 0,
       "but for 1, and for the most");

    size = llm_quota_size(1 << 20);
    q = table(1 << 20);

    pages = (size + 4095) / 4096;
    in = calloc(pages, 1);
    mincore(q, size, in);

    for (i = 0, n = 0; i < pages; i++) {
        n += in[i] & 1;
    }

    free(in);
    ok(n < 8, "a million keys: %zu of %zu pages touched", n, pages);

    ok(llm_quota_valid(q, size), "it is valid");
    ok(!llm_quota_valid(q, size - 1), "not if it is cut");
    ok(!llm_quota_valid(q, 7), "nor if there is nothing");

    copy = *q;
    q->magic++;
    ok(!llm_quota_valid(q, size), "another magic");
    *q = copy;
    q->version++;
    ok(!llm_quota_valid(q, size), "another version");
    *q = copy;
    q->keys = 3;
    ok(!llm_quota_valid(q, size), "another number of keys");
    *q = copy;
    q->flight_off += 64;
    ok(!llm_quota_valid(q, size), "another layout");
    *q = copy;

    is_int(llm_quota_init(q, size - 1, 1 << 20, err, sizeof(err)), LLM_INVALID,
           "too little memory");
    ok(strstr(err, "quotas: ") == err, "the message: %s", err);
    is_int(llm_quota_init((llm_quota_t *) ((char *) q + 8), size, 16, err,
                          sizeof(err)),
           LLM_INVALID, "memory not aligned");
    munmap(q, size);
}


static void
test_unlimited(void)
{
    uint64_t            got;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { 0 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, old;

    is_int(llm_quota_view(q, key(1), &lim, T0, &v), LLM_NOTFOUND,
           "a key that never called");
    is_int(llm_quota_enter(q, key(1), &lim, NULL, 7, T0, &t, &v), LLM_NOTFOUND,
           "is to be loaded");
    old = t;
    ok(t != 0, "a mark");
    is_int(llm_quota_reserve(q, t, 5, 5, T0, &got, NULL), LLM_NOTFOUND,
           "which is no ticket");
    is_int(llm_quota_enter(q, key(1), &lim, &nothing, 7, T0, &t, &v), LLM_OK,
           "and is then counted");
    is_int(v.reason, LLM_QUOTA_OK, "the view says so");
    is_int(v.retry, 0, "no retry");
    is_int(v.running, 1, "one is running");
    is_int((long) v.usage.calls, 1, "one call");
    is_int(v.usage.last_used, T0 / 1000, "last used");
    ok(v.rpm_left == 0 && v.rpm_reset == 0 && v.tpm_left == 0
       && v.tpm_reset == 0 && v.day_left == 0 && v.month_left == 0,
       "no limit, no number");

    is_int(llm_quota_reserve(q, t, 1000000, 10, T0, &got, &v), LLM_OK,
           "tokens");
    is_int((long) got, 1000000, "all of them");
    is_int((long) v.reserved, 1000000, "the view tells");
    is_int(llm_quota_reserve(q, t, UINT64_MAX, 0, T0, &got, &v), LLM_OK,
           "all there are");
    ok(got == UINT64_MAX, "all");
    llm_quota_leave(q, t, 100, 23, T0 + SEC);

    is_int(llm_quota_view(q, key(1), &lim, T0 + SEC, &v), LLM_OK, "a view");
    is_int((long) v.reserved, 0, "nothing reserved");
    is_int(v.running, 0, "nothing running");
    is_int((long) v.usage.prompt_tokens, 100, "prompt tokens");
    is_int((long) v.usage.completion_tokens, 23, "completion tokens");
    is_int((long) v.usage.day_tokens, 123, "of the day");
    is_int((long) v.usage.month_tokens, 123, "of the month");
    is_int(v.usage.month, 12 * 2026 + 2, "which is March 2026");
    is_int(v.usage.day, (long) (T0 / DAY), "the day");

    is_int(llm_quota_enter(q, "", &lim, NULL, 7, T0, &t, NULL), LLM_INVALID,
           "no id");
    is_int(llm_quota_enter(q, "key_0123456789012345678901234", &lim, NULL, 7,
                           T0, &t, NULL),
           LLM_INVALID, "an id that is too long");
    is_int(llm_quota_enter(q, key(1), &lim, NULL, 0, T0, &t, NULL),
           LLM_INVALID, "no process");
    t = old + 1;
    is_int(llm_quota_enter(q, key(2), &lim, &nothing, 7, T0, &t, NULL),
           LLM_NOTFOUND, "a record without having been asked for one");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


static void
test_rpm(void)
{
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .rpm = 3 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    is_int(enter(q, key(1), &lim, 7, T0 + 200, &t, &v), LLM_OK, "rpm: 1");
    is_int(v.rpm_left, 2, "2 left");
    is_int(v.rpm_reset, 65, "reset: the slice and a minute, rounded up");
    is_int(enter(q, key(1), &lim, 7, T0 + 6 * SEC, &t, &v), LLM_OK, "2");
    is_int(v.rpm_reset, 64, "reset: of the newest");
    is_int(enter(q, key(1), &lim, 7, T0 + 12 * SEC, &t, &v), LLM_OK, "3");
    is_int(v.rpm_left, 0, "0 left");
    is_int(enter(q, key(1), &lim, 7, T0 + 12 * SEC, &t, &v), LLM_AGAIN, "4");
    is_int((long) t, 0, "no ticket");
    is_int(v.reason, LLM_QUOTA_RPM, "rpm");
    is_int(v.retry, 53, "until the first slice is out");
    is_int(v.rpm_reset, 63, "until the last is");
    is_int((long) v.usage.calls, 3, "a refused one is not counted");
    is_int(v.running, 3, "nor running");
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC - 1, &t, &v), LLM_AGAIN,
           "a millisecond early");
    is_int(v.retry, 1, "1");
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC, &t, &v), LLM_OK, "then");
    is_int(v.rpm_left, 0, "and that was all");
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC, &t, &v), LLM_AGAIN, "5");
    is_int(v.retry, 5, "the second slice");

    /* a lower limit counts at once, and the retry with it */

    lim.rpm = 1;
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC, &t, &v), LLM_AGAIN,
           "lower");
    is_int(v.retry, 65, "until all is out");
    is_int(llm_quota_view(q, key(1), &lim, T0 + 129 * SEC, &v), LLM_OK,
           "later");
    is_int(v.rpm_left, 0, "not yet");
    is_int(llm_quota_view(q, key(1), &lim, T0 + 130 * SEC, &v), LLM_OK,
           "at the time");
    is_int(v.rpm_left, 1, "it is free");
    is_int(v.rpm_reset, 0, "nothing to wait for");
    is_int(enter(q, key(1), &lim, 7, T0 + 100 * DAY, &t, &v), LLM_OK,
           "a long time later");
    is_int(v.rpm_left, 0, "1");
    untable(q);
}


static void
test_tpm(void)
{
    int                 i;
    uint64_t            got;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .tpm = 1000 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, t2;

    is_int(enter(q, key(1), &lim, 7, T0, &t, &v), LLM_OK, "tpm: a request");
    is_int(v.tpm_left, 1000, "1000");
    is_int(v.tpm_reset, 0, "all are there");
    is_int(enter(q, key(1), &lim, 7, T0, &t2, NULL), LLM_OK, "another");
    is_int(llm_quota_reserve(q, t, 700, 700, T0, &got, &v), LLM_OK, "700");
    is_int((long) got, 700, "got");
    is_int(v.tpm_left, 300, "300 left");
    is_int(v.tpm_reset, 65, "for a minute at least");
    is_int(llm_quota_reserve(q, t2, 500, 301, T0, &got, &v), LLM_AGAIN,
           "301 at least");
    is_int((long) got, 0, "are not there");
    is_int(v.reason, LLM_QUOTA_TPM, "tpm");
    is_int(v.retry, 1, "any time: the other one may end");
    is_int((long) v.reserved, 700, "nothing changed");
    is_int(llm_quota_reserve(q, t2, 500, 300, T0, &got, &v), LLM_OK, "300");
    is_int((long) got, 300, "are");
    is_int(v.tpm_left, 0, "0 left");
    is_int(enter(q, key(1), &lim, 7, T0, &t, &v), LLM_AGAIN,
           "all reserved: no further request");
    is_int(v.reason, LLM_QUOTA_TPM, "tpm");
    is_int(v.retry, 1, "any time");

    is_int(llm_quota_reserve(q, t2, 100, 0, T0, &got, &v), LLM_OK,
           "some given back");
    is_int((long) got, 100, "100 kept");
    is_int(v.tpm_left, 200, "200 left");
    is_int(llm_quota_reserve(q, t2, 100, 100, T0, &got, &v), LLM_OK, "again");
    is_int((long) got, 100, "the same: in all, not more");
    untable(q);

    /* used over slices: retry is when enough has gone */

    q = table(16);

    for (i = 0; i < 4; i++) {
        enter(q, key(1), &lim, 7, T0 + i * 10 * SEC, &t, NULL);
        llm_quota_reserve(q, t, 250, 250, T0 + i * 10 * SEC, &got, NULL);
        llm_quota_leave(q, t, 200, 50, T0 + i * 10 * SEC + 4999);
    }

    is_int(enter(q, key(1), &lim, 7, T0 + 35 * SEC, &t, &v), LLM_AGAIN,
           "4 times 250");
    is_int(v.reason, LLM_QUOTA_TPM, "tpm");
    is_int(v.retry, 30, "until the first has gone");
    is_int(v.tpm_reset, 60, "until all have");
    is_int(v.usage.tokens[T0 / 5000 % 13], 250, "in its slice");
    is_int(v.usage.tokens[(T0 / 5000 + 2) % 13], 250, "the next one's");
    is_int(v.usage.tokens[(T0 / 5000 + 1) % 13], 0, "none between");
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC, &t, &v), LLM_OK, "then");
    is_int(v.tpm_left, 250, "250");
    is_int(llm_quota_reserve(q, t, 250, 250, T0 + 65 * SEC, &got, &v), LLM_OK,
           "taken");
    enter(q, key(1), &lim, 7, T0 + 75 * SEC, &t2, NULL);
    is_int(llm_quota_reserve(q, t2, 600, 600, T0 + 75 * SEC, &got, &v),
           LLM_AGAIN, "600");
    is_int(v.tpm_left, 250, "of 250");
    is_int(v.retry, 20, "with the other's 250: two slices more");
    is_int(llm_quota_reserve(q, t2, 900, 900, T0 + 75 * SEC, &got, &v),
           LLM_AGAIN, "900");
    is_int(v.retry, 20, "never beside the other's: as if it had ended");
    is_int(llm_quota_reserve(q, t2, 9000, 1001, T0 + 75 * SEC, &got, &v),
           LLM_AGAIN, "1001");
    is_int(v.retry, 20, "never at all: an empty window");
    is_int(v.reason, LLM_QUOTA_TPM, "tpm");

    /* more used than reserved counts */

    llm_quota_leave(q, t, 3000, 1000, T0 + 75 * SEC);
    is_int(llm_quota_view(q, key(1), &lim, T0 + 75 * SEC, &v), LLM_OK,
           "4000 used of 250");
    is_int(v.tpm_left, 0, "nothing left");
    is_int(llm_quota_reserve(q, t2, 1, 0, T0 + 75 * SEC, &got, &v), LLM_OK,
           "at least nothing");
    is_int((long) got, 0, "nothing");
    is_int(llm_quota_reserve(q, t2, 1, 1, T0 + 140 * SEC - 1, &got, &v),
           LLM_AGAIN, "a token early");
    is_int(llm_quota_reserve(q, t2, 9000, 1, T0 + 140 * SEC, &got, &v), LLM_OK,
           "in time");
    is_int((long) got, 1000, "all");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


static void
test_concurrent(void)
{
    int                 i, n;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .concurrent = 2 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t[3], *many;

    is_int(enter(q, key(1), &lim, 7, T0, &t[0], &v), LLM_OK, "one");
    is_int(enter(q, key(1), &lim, 7, T0, &t[1], &v), LLM_OK, "two");
    is_int(enter(q, key(1), &lim, 7, T0, &t[2], &v), LLM_AGAIN, "not three");
    is_int(v.reason, LLM_QUOTA_CONCURRENT, "concurrent");
    is_int(v.retry, 1, "1");
    is_int(v.running, 2, "2");
    is_int(enter(q, key(2), &lim, 7, T0, &t[2], &v), LLM_OK, "another key");
    llm_quota_leave(q, t[0], 0, 0, T0);
    llm_quota_leave(q, t[0], 0, 0, T0);
    is_int(enter(q, key(1), &lim, 7, T0, &t[0], &v), LLM_OK, "three");
    is_int(enter(q, key(1), &lim, 7, T0, &t[0], &v), LLM_AGAIN,
           "left twice counts once");

    lim.concurrent = 0;
    many = malloc(sizeof(llm_quota_ticket_t) * LLM_QUOTA_FLIGHTS);

    for (n = 0; n < LLM_QUOTA_FLIGHTS; n++) {
        if (enter(q, key(3), &lim, 7, T0, &many[n], &v) != LLM_OK) {
            break;
        }
    }

    ok(n >= 8192, "one key, %d requests at a time", n);

    if (n < LLM_QUOTA_FLIGHTS) {
        is_int(v.reason, LLM_QUOTA_FULL, "then it is full");
    } else {
        is_int(enter(q, key(3), &lim, 7, T0, &t[0], &v), LLM_AGAIN,
               "then not");
        is_int(v.reason, LLM_QUOTA_FULL, "full");
    }

    is_int(v.retry, 1, "1");
    is_int((long) v.usage.calls, n, "refused ones are not counted");

    for (i = n - 1; i >= 0; i--) {
        llm_quota_leave(q, many[i], 1, 0, T0);
    }

    llm_quota_view(q, key(3), &lim, T0, &v);
    is_int(v.running, 0, "all left");
    is_int((long) v.usage.day_tokens, n, "all counted");
    ok(wrong(q) == NULL, "the table is right");
    free(many);
    untable(q);
}


static void
test_day_month(void)
{
    int64_t             end, now;
    uint64_t            got;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .day = 500, .month = 800 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    now = T0 + 3600 * SEC + 1;
    end = T0 + 18 * DAY;                            /* April 1 */

    is_int(enter(q, key(1), &lim, 7, now, &t, &v), LLM_OK, "a day of 500");
    is_int((long) v.day_left, 500, "left");
    is_int((long) v.month_left, 800, "of the month");
    is_int(llm_quota_reserve(q, t, 501, 501, now, &got, &v), LLM_AGAIN,
           "501");
    is_int(v.reason, LLM_QUOTA_DAY, "day");
    is_int(v.retry, 23 * 3600, "midnight, rounded up");
    is_int(llm_quota_reserve(q, t, 900, 801, now, &got, &v), LLM_AGAIN,
           "801");
    is_int(v.reason, LLM_QUOTA_MONTH, "month");
    is_int(v.retry, (end - now + 999) / 1000, "April");
    is_int(llm_quota_reserve(q, t, 501, 0, now, &got, &v), LLM_OK, "as many");
    is_int((long) got, 500, "500");
    is_int((long) v.day_left, 0, "0 left");
    is_int((long) v.month_left, 300, "300 left");
    is_int(enter(q, key(1), &lim, 7, now, &t, &v), LLM_AGAIN,
           "all reserved: no further request");
    is_int(v.reason, LLM_QUOTA_DAY, "day");
    untable(q);

    q = table(16);
    enter(q, key(1), &lim, 7, now, &t, NULL);
    llm_quota_leave(q, t, 500, 0, now);
    is_int(enter(q, key(1), &lim, 7, T0 + DAY - 1, &t, &v), LLM_AGAIN,
           "used up");
    is_int(v.retry, 1, "a millisecond");
    is_int(enter(q, key(1), &lim, 7, T0 + DAY, &t, &v), LLM_OK, "next day");
    is_int((long) v.day_left, 500, "500");
    is_int((long) v.month_left, 300, "300 of the month");
    is_int((long) v.usage.prompt_tokens, 500, "ever: 500");
    is_int(llm_quota_reserve(q, t, 500, 0, T0 + DAY, &got, &v), LLM_OK,
           "as many");
    is_int((long) got, 300, "are left of the month");
    llm_quota_leave(q, t, 0, 300, T0 + 2 * DAY);
    is_int(enter(q, key(1), &lim, 7, T0 + 2 * DAY, &t, &v), LLM_AGAIN,
           "the month is used up");
    is_int(v.reason, LLM_QUOTA_MONTH, "month");
    is_int((long) v.day_left, 200, "though the day is not");
    is_int(enter(q, key(1), &lim, 7, end - 1, &t, &v), LLM_AGAIN, "till April");
    is_int(v.retry, 1, "1");
    is_int(enter(q, key(1), &lim, 7, end, &t, &v), LLM_OK, "April");
    is_int(v.usage.month, 12 * 2026 + 3, "its number");
    is_int((long) v.month_left, 800, "800");

    /* month ends, a leap year's too, and the year's */

    llm_quota_leave(q, t, 900, 0, 1835308800000ll);     /* 2028-02-28 */
    is_int(enter(q, key(1), &lim, 7, 1835308800000ll, &t, &v), LLM_AGAIN,
           "February 28, 2028");
    is_int(v.usage.month, 12 * 2028 + 1, "its month");
    is_int(v.retry, 2 * 86400, "has the 29th to come");
    is_int(enter(q, key(1), &lim, 7, 1835481600000ll, &t, &v), LLM_OK,
           "March 1");
    llm_quota_leave(q, t, 900, 0, 1861833600000ll);     /* 2028-12-31 */
    is_int(enter(q, key(1), &lim, 7, 1861833600000ll, &t, &v), LLM_AGAIN,
           "December 31");
    is_int(v.retry, 86400, "the year ends");
    is_int(enter(q, key(1), &lim, 7, 1861920000000ll, &t, &v), LLM_OK,
           "January");
    is_int(v.usage.month, 12 * 2029, "its number");
    untable(q);
}


static void
test_order(void)
{
    uint64_t            got;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { 1, 10, 1, 0, 10, 10 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    enter(q, key(1), &lim, 7, T0, &t, NULL);
    llm_quota_reserve(q, t, 10, 10, T0, &got, NULL);

    enter(q, key(1), &lim, 7, T0, &t, &v);
    is_int(v.reason, LLM_QUOTA_MONTH, "first the month");
    lim.month = 11;
    enter(q, key(1), &lim, 7, T0, &t, &v);
    is_int(v.reason, LLM_QUOTA_DAY, "then the day");
    lim.day = 0;
    enter(q, key(1), &lim, 7, T0, &t, &v);
    is_int(v.reason, LLM_QUOTA_RPM, "then requests");
    lim.rpm = 2;
    enter(q, key(1), &lim, 7, T0, &t, &v);
    is_int(v.reason, LLM_QUOTA_TPM, "then tokens");
    lim.tpm = 11;
    enter(q, key(1), &lim, 7, T0, &t, &v);
    is_int(v.reason, LLM_QUOTA_CONCURRENT, "then how many at a time");
    lim.concurrent = 2;
    is_int(enter(q, key(1), &lim, 7, T0, &t, &v), LLM_OK, "then none");

    /* limits that fall below what a request has take nothing from it */

    untable(q);
    q = table(16);
    lim = (llm_limits_t) { .tpm = 100 };
    enter(q, key(1), &lim, 7, T0, &t, NULL);
    llm_quota_reserve(q, t, 80, 80, T0, &got, NULL);
    lim.tpm = 50;
    llm_quota_ticket_t t2;
    enter(q, key(1), &lim, 7, T0, &t2, NULL);
    is_int(llm_quota_reserve(q, t, 90, 60, T0, &got, NULL), LLM_OK,
           "a limit falls");
    is_int((long) got, 80, "it keeps what it has");
    is_int(llm_quota_reserve(q, t, 90, 81, T0, &got, NULL), LLM_AGAIN,
           "and gets no more");
    is_int((long) got, 80, "but has what it had");
    untable(q);
}


static void
test_clock_back(void)
{
    int                 i;
    uint64_t            got;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .rpm = 2, .tpm = 100, .day = 150 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;
    static const int64_t  back[] = { T0 - 1, T0 - 65 * SEC, T0 - DAY,
                                     T0 - 400 * DAY, 0, -1, INT64_MIN };

    enter(q, key(1), &lim, 7, T0, &t, NULL);
    llm_quota_leave(q, t, 60, 0, T0 - 3600 * SEC);
    is_int(llm_quota_view(q, key(1), &lim, T0, &v), LLM_OK,
           "an hour back: it counts");
    is_int(v.tpm_left, 40, "now");
    is_int((long) v.day_left, 90, "today");

    for (i = 0; i < 7; i++) {
        llm_quota_view(q, key(1), &lim, back[i], &v);
        ok(v.tpm_left == 40 && v.day_left == 90 && v.rpm_left == 1
           && v.usage.day == T0 / DAY, "nothing comes back at %lld",
           (long long) back[i]);
    }

    is_int(enter(q, key(1), &lim, 7, T0 - DAY, &t, &v), LLM_OK,
           "a request a day back");
    is_int(v.usage.last_used, T0 / 1000, "last used stays");
    is_int(llm_quota_reserve(q, t, 90, 90, T0 - DAY, &got, &v), LLM_AGAIN,
           "90 of 40");
    is_int(v.retry, 86400 + 65, "when the slice is out");
    is_int(llm_quota_reserve(q, t, 40, 40, T0 - DAY, &got, &v), LLM_OK, "40");
    llm_quota_leave(q, t, 40, 0, T0 - DAY);
    is_int(enter(q, key(1), &lim, 7, T0 + 65 * SEC, &t, &v), LLM_OK,
           "forward: the window is empty");
    is_int(v.rpm_left, 1, "but for this one");
    is_int((long) v.day_left, 50, "the day knows all");
    is_int(enter(q, key(1), &lim, 7, INT64_MAX, &t, &v), LLM_OK,
           "the end of time");
    is_int(enter(q, key(1), &lim, 7, T0, &t, &v), LLM_OK, "and back");
    is_int(enter(q, key(1), &lim, 7, T0, &t, &v), LLM_AGAIN, "is counted");
    ok(v.retry == UINT32_MAX, "a long wait");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


static void
test_tickets(void)
{
    int                 i, hit;
    uint64_t            got, seed;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .tpm = 1000 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, t2;

    enter(q, key(1), &lim, 7, T0, &t, NULL);
    llm_quota_reserve(q, t, 100, 100, T0, &got, NULL);
    llm_quota_leave(q, t, 10, 0, T0);
    llm_quota_leave(q, t, 10, 0, T0);
    llm_quota_view(q, key(1), &lim, T0, &v);
    is_int(v.tpm_left, 990, "a second leave does nothing");
    is_int(llm_quota_reserve(q, t, 1, 0, T0, &got, &v), LLM_NOTFOUND,
           "an old ticket");

    enter(q, key(1), &lim, 7, T0, &t2, NULL);
    ok(t != t2 && (t & 0xfffff) == (t2 & 0xfffff), "its flight has another");
    llm_quota_leave(q, t, 10, 0, T0);
    is_int(llm_quota_reserve(q, t2, 100, 100, T0, &got, &v), LLM_OK,
           "which the old one did not end");

    llm_quota_leave(q, 0, 1, 1, T0);
    is_int(llm_quota_reserve(q, 0, 1, 0, T0, &got, NULL), LLM_NOTFOUND,
           "no ticket");

    seed = 88172645463325252ull;

    for (i = 0, hit = 0; i < 20000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        t = i % 2 ? seed : t2 ^ (1ull << (seed % 64));
        hit += llm_quota_reserve(q, t, 7, 0, T0, &got, NULL) == LLM_OK;
        llm_quota_leave(q, t, 7, 7, T0);
    }

    is_int(hit, 0, "invented ones do nothing");
    llm_quota_view(q, key(1), &lim, T0, &v);
    is_int(v.tpm_left, 890, "nothing was counted");
    is_int(v.running, 1, "nothing was ended");

    /* what a wild write may leave: checked, not followed */

    llm_quota_part_t  p;
    llm_quota_lock(q, (uint32_t) (t2 >> 16 & 0xf), &p);
    p.flight[t2 & 0xffff].entry = 0x7fffffff;
    for (i = 0; i < (int) q->buckets; i++) {
        p.bucket[i].first = p.bucket[i].first ? 0x7fffffff : 0;
    }
    p.s->free = 0x7fffffff;
    llm_quota_unlock(&p);

    is_int(llm_quota_reserve(q, t2, 7, 0, T0, &got, NULL), LLM_NOTFOUND,
           "an entry out of bounds");
    is_int(llm_quota_view(q, key(1), &lim, T0, &v), LLM_NOTFOUND,
           "a chain that leads out");
    is_int(llm_quota_reap(q, T0), 0, "reap");
    is_int(enter(q, key(1), &lim, 7, T0, &t2, NULL), LLM_OK,
           "a list that leads out");
    untable(q);
}


/* a store of records, as calls.mdb is one */

#define STORED  8192

static struct {
    char         id[LLM_QUOTA_ID + 1];
    llm_spent_t  usage;
} stored[STORED];

static int  n_stored, n_put, fail_at;


static llm_spent_t *
stored_usage(const char *id)
{
    int                 i;
    static llm_spent_t  none;

    for (i = 0; i < n_stored; i++) {
        if (strcmp(stored[i].id, id) == 0) {
            return &stored[i].usage;
        }
    }

    memset(&none, 0, sizeof(none));

    return &none;
}


static int
put(void *data, const char *id, const llm_spent_t *usage)
{
    int  i;

    n_put++;

    if (fail_at && n_put == fail_at) {
        return LLM_ERROR;
    }

    for (i = 0; i < n_stored; i++) {
        if (strcmp(stored[i].id, id) == 0) {
            break;
        }
    }

    if (i == STORED) {
        return LLM_ERROR;
    }

    if (i == n_stored) {
        strcpy(stored[n_stored++].id, id);
    }

    stored[i].usage = *usage;

    return LLM_OK;
}


static int
write_all(llm_quota_t *q, int64_t now)
{
    int       rc;
    uint64_t  number;

    n_put = 0;
    rc = llm_quota_dirty(q, put, NULL, now, &number);
    llm_quota_written(q, number);

    return rc == LLM_OK ? n_put : rc;
}


static void
test_dirty(void)
{
    int                 i;
    uint64_t            got, number, other;
    llm_spent_t        *u;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { .concurrent = 1 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, t2;

    n_stored = 0;
    is_int(llm_quota_is_dirty(q), 0, "clean at first");
    is_int(write_all(q, T0), 0, "nothing to write");
    enter(q, key(1), &lim, 7, T0, &t, NULL);
    is_int(llm_quota_is_dirty(q), 1, "a request: dirty");
    is_int(write_all(q, T0), 1, "one is written");
    is_int(llm_quota_is_dirty(q), 0, "clean");
    is_int(enter(q, key(1), &lim, 7, T0, &t2, NULL), LLM_AGAIN, "refused");
    llm_quota_view(q, key(1), &lim, T0, &v);
    is_int(llm_quota_is_dirty(q), 0, "that changes nothing");
    is_int((long) stored_usage(key(1))->calls, 1, "as it was");

    llm_quota_reserve(q, t, 50, 50, T0 + 6 * SEC, &got, NULL);
    is_int(llm_quota_is_dirty(q), 1, "reserved: dirty");
    is_int(write_all(q, T0 + 11 * SEC), 1, "written");
    u = stored_usage(key(1));
    is_int((long) u->day_tokens, 50, "reserved is spent: of the day");
    is_int((long) u->month_tokens, 50, "of the month");
    is_int(u->tokens[(T0 / 5000 + 2) % 13], 50, "of the slice now");
    is_int(u->slice, T0 / 5000 + 2, "which is the newest");
    is_int((long) u->completion_tokens, 0, "ever: not yet");
    llm_quota_reserve(q, t, 50, 50, T0 + 6 * SEC, &got, NULL);
    is_int(llm_quota_is_dirty(q), 0, "the same again: clean");
    llm_quota_view(q, key(1), &lim, T0 + 11 * SEC, &v);
    is_int((long) v.usage.day_tokens, 0, "the table counts it as reserved");
    llm_quota_leave(q, t, 5, 15, T0 + 11 * SEC);
    is_int(write_all(q, T0 + 11 * SEC), 1, "left: written");
    u = stored_usage(key(1));
    is_int((long) u->day_tokens, 20, "what was used");
    is_int(u->tokens[(T0 / 5000 + 2) % 13], 20, "in the slice");
    is_int((long) u->completion_tokens, 15, "ever");

    /* what changes while it is written is written again */

    lim.concurrent = 0;
    enter(q, key(1), &lim, 7, T0, &t, NULL);
    is_int(llm_quota_dirty(q, put, NULL, T0, &number), LLM_OK, "a turn");
    is_int(llm_quota_dirty(q, put, NULL, T0, &other), LLM_AGAIN,
           "not a second one");
    is_int((long) other, 0, "no number");
    llm_quota_written(q, number + 1000000);
    is_int(llm_quota_is_dirty(q), 1, "an invented number writes nothing");
    is_int(llm_quota_dirty(q, put, NULL, T0, &number), LLM_OK, "a turn");
    llm_quota_leave(q, t, 1, 1, T0);
    llm_quota_written(q, number);
    is_int(llm_quota_is_dirty(q), 1, "changed meanwhile: dirty");
    is_int(write_all(q, T0), 1, "written again");
    is_int((long) stored_usage(key(1))->day_tokens, 22, "the newest");
    is_int(llm_quota_is_dirty(q), 0, "clean");
    llm_quota_written(q, number);

    /* a failed one is not written */

    for (i = 0; i < 100; i++) {
        enter(q, key(i), &lim, 7, T0, &t, NULL);
    }

    fail_at = 50;
    is_int(write_all(q, T0), LLM_ERROR, "the 50th fails");
    fail_at = 0;
    n_put = 0;
    is_int(llm_quota_dirty(q, put, NULL, T0, &number), LLM_OK,
           "the turn is free");
    llm_quota_written(q, 0);
    is_int(n_put, 100, "all of them, and the commit fails");
    is_int(write_all(q, T0), 100, "all again");
    is_int(llm_quota_is_dirty(q), 0, "clean");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


/* other keys of its shard until the key is gone */

static int
push_out(llm_quota_t *q, const char *id, int from)
{
    int                 i;
    char                padded[LLM_QUOTA_ID];
    uint64_t            hash, other;
    llm_limits_t        lim = { 0 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;

    llm_quota_id(id, padded, &hash);

    for (i = from; i < from + 10000; i++) {
        llm_quota_id(key(i), padded, &other);

        if (llm_quota_shard_of(hash) != llm_quota_shard_of(other)) {
            continue;
        }

        if (llm_quota_view(q, id, &lim, T0, &v) != LLM_OK) {
            return LLM_NOTFOUND;
        }

        if (enter(q, key(i), &lim, 7, T0, &t, &v) == LLM_OK) {
            llm_quota_leave(q, t, 0, 0, T0);
        }

        write_all(q, T0);
    }

    return LLM_OK;
}


static void
test_evict(void)
{
    int                 bad, full, i, rc, room, round;
    char                first[LLM_QUOTA_ID + 1];
    uint64_t            calls;
    llm_spent_t         old;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { 0 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t, slow;
    llm_quota_ticket_t  many[4096];

    n_stored = 0;
    full = 0;

    /* running: none can go */

    for (i = 0; i < 4096; i++) {
        rc = enter(q, key(i), &lim, 7, T0, &many[i], &v);

        if (rc != LLM_OK) {
            break;
        }
    }

    room = i;
    ok(room >= 16, "room for 16 keys: %d", room);
    is_int(rc, LLM_AGAIN, "then the table is full");
    is_int(v.reason, LLM_QUOTA_FULL, "full");
    is_int(v.retry, 1, "retry");
    is_int(enter(q, key(0), &lim, 7, T0, &t, &v), LLM_OK,
           "a key that is there still comes in");
    llm_quota_leave(q, t, 0, 0, T0);

    is_int(write_all(q, T0), room, "all written");
    is_int(enter(q, key(room), &lim, 7, T0, &t, &v), LLM_AGAIN,
           "written but running: full");

    for (i = 0; i < room; i++) {
        llm_quota_leave(q, many[i], 1, 0, T0);
    }

    is_int(enter(q, key(room), &lim, 7, T0, &t, &v), LLM_AGAIN,
           "idle but not written: full");
    is_int(write_all(q, T0), room, "all written");
    is_int(enter(q, key(room), &lim, 7, T0, &t, &v), LLM_OK,
           "idle and written: one goes");
    ok(wrong(q) == NULL, "the table is right");

    /* many more keys than room, with their records: nothing is lost */

    bad = 0;

    for (round = 0; round < 4; round++) {
        for (i = 0; i < 3 * room; i++) {
            rc = llm_quota_enter(q, key(10000 + i), &lim, NULL, 7, T0, &t, &v);

            while (rc == LLM_NOTFOUND) {
                rc = llm_quota_enter(q, key(10000 + i), &lim,
                                     stored_usage(key(10000 + i)), 7, T0, &t,
                                     &v);
            }

            if (rc == LLM_AGAIN) {
                write_all(q, T0);
                full++;
                i--;
                continue;
            }

            bad += v.usage.calls != (uint64_t) round + 1;
            bad += v.usage.day_tokens != (uint64_t) (round * 3);
            llm_quota_leave(q, t, 2, 1, T0);
        }
    }

    is_int(bad, 0, "evicted and loaded again: nothing is lost");
    ok(full > 3, "each time it was full a write made room: %d", full);
    ok(wrong(q) == NULL, "the table is right");

    /* a record that was read before the key came, wrote, and went */

    strcpy(first, key(10000));
    write_all(q, T0);

    is_int(push_out(q, first, 50000), LLM_NOTFOUND, "it is pushed out");

    old = *stored_usage(first);
    calls = old.calls;
    is_int(llm_quota_enter(q, first, &lim, NULL, 7, T0, &slow, &v),
           LLM_NOTFOUND, "a slow reader");
    enter(q, first, &lim, 7, T0, &t, &v);
    llm_quota_leave(q, t, 5, 5, T0);
    write_all(q, T0);

    is_int(push_out(q, first, 90000), LLM_NOTFOUND, "it is pushed out");

    is_int(llm_quota_enter(q, first, &lim, &old, 7, T0, &slow, &v),
           LLM_NOTFOUND, "its old record is not taken");
    ok(calls != 1 && stored_usage(first)->calls == 1, "there is a newer one");
    is_int(llm_quota_enter(q, first, &lim, stored_usage(first), 7, T0, &slow,
                           &v), LLM_OK, "which is");
    is_int((long) v.usage.calls, 2, "and counts");
    untable(q);
}


/* a record that is nonsense is no harm */

static void
test_record(void)
{
    int                 i;
    llm_spent_t         u;
    llm_quota_t        *q = table(16);
    llm_limits_t        lim = { 5, 5, 5, 0, 5, 5 };
    llm_quota_view_t    v;
    llm_quota_ticket_t  t;
    uint64_t            got;

    for (i = 0; i < 4; i++) {
        memset(&u, i == 0 ? 0xff : i == 1 ? 0x7f : i == 2 ? 0x80 : 0, 168);
        llm_quota_enter(q, key(i), &lim, NULL, 7, T0, &t, &v);
        llm_quota_enter(q, key(i), &lim, &u, 7, T0, &t, &v);
        llm_quota_reserve(q, t, 1, 1, T0, &got, &v);
        llm_quota_leave(q, t, UINT64_MAX, UINT64_MAX, T0);
        llm_quota_view(q, key(i), &lim, T0, &v);
        ok(v.day_left == 0 && v.month_left == 0,
           "record %d: sums stay at the top", i);
    }

    /* restart: the record is as it was written */

    untable(q);
    q = table(16);
    n_stored = 0;
    lim = (llm_limits_t) { .tpm = 100, .day = 100 };
    enter(q, key(1), &lim, 7, T0, &t, NULL);
    llm_quota_reserve(q, t, 70, 70, T0, &got, NULL);
    write_all(q, T0);
    untable(q);

    q = table(16);
    llm_quota_enter(q, key(1), &lim, NULL, 7, T0 + SEC, &t, &v);
    is_int(llm_quota_enter(q, key(1), &lim, stored_usage(key(1)), 7, T0 + SEC,
                           &t, &v), LLM_OK, "after a crash");
    is_int(v.tpm_left, 30, "what was reserved is spent");
    is_int((long) v.day_left, 30, "of the day too");
    untable(q);
}


typedef struct {
    llm_quota_t  *q;
    int           number;
    uint64_t      used;
    uint64_t      entered;
} storm_t;


/* all threads on one key; what is reserved is used, or half of it */

static void *
storm(void *data)
{
    int                 i;
    storm_t            *s = data;
    uint64_t            got, use;
    llm_limits_t        lim = { .tpm = 30000, .day = 20000 };
    llm_quota_ticket_t  t;

    for (i = 0; i < REQUESTS; i++) {
        if (enter(s->q, key(1), &lim, getpid(), T0 + i, &t, NULL) != LLM_OK) {
            continue;
        }

        s->entered++;

        if (llm_quota_reserve(s->q, t, 60, 1, T0 + i, &got, NULL) != LLM_OK) {
            got = 0;
        }

        use = (i + s->number) % 2 ? got : (got + 1) / 2;
        llm_quota_leave(s->q, t, use / 3, use - use / 3, T0 + i);
        s->used += use;

        if (enter(s->q, key(100 + i), &lim, getpid(), T0, &t, NULL) == LLM_OK)
        {
            llm_quota_leave(s->q, t, 1, 1, T0);
        }
    }

    return NULL;
}


static int
drop_put(void *data, const char *id, const llm_spent_t *usage)
{
    return LLM_OK;
}


static void *
writer(void *data)
{
    int          i;
    storm_t     *s = data;
    uint64_t     number;

    for (i = 0; i < 200; i++) {
        if (llm_quota_is_dirty(s->q)
            && llm_quota_dirty(s->q, drop_put, NULL, T0, &number) == LLM_OK)
        {
            llm_quota_written(s->q, number);
        }

        s->used += (uint64_t) llm_quota_reap(s->q, T0);
    }

    return NULL;
}


static void
test_threads(void)
{
    int               i;
    storm_t           s[THREADS], w[2];
    uint64_t          entered, used;
    pthread_t         tid[THREADS], wid[2];
    llm_quota_t      *q = table(64);
    llm_limits_t      lim = { .tpm = 30000, .day = 20000 };
    llm_quota_view_t  v;

    memset(s, 0, sizeof(s));
    memset(w, 0, sizeof(w));

    for (i = 0; i < THREADS; i++) {
        s[i].q = q;
        s[i].number = i;
        pthread_create(&tid[i], NULL, storm, &s[i]);
    }

    for (i = 0; i < 2; i++) {
        w[i].q = q;
        pthread_create(&wid[i], NULL, writer, &w[i]);
    }

    for (i = 0, used = 0, entered = 0; i < THREADS; i++) {
        pthread_join(tid[i], NULL);
        used += s[i].used;
        entered += s[i].entered;
    }

    for (i = 0; i < 2; i++) {
        pthread_join(wid[i], NULL);
        is_int((long) w[i].used, 0, "no living process's request is reaped");
    }

    llm_quota_view(q, key(1), &lim, T0, &v);
    is_int((long) v.usage.day_tokens, (long) used, "threads: all is counted");
    ok(used <= 20000, "no more than the limit: %d", (int) used);
    is_int((long) used, 20000, "and no less");
    is_int((long) v.usage.calls, (long) entered, "calls");
    is_int(v.running, 0, "none is running");
    is_int((long) v.reserved, 0, "nothing is reserved");
    ok(wrong(q) == NULL, "the table is right");
    untable(q);
}


int
main(void)
{
    test_init();
    test_unlimited();
    test_rpm();
    test_tpm();
    test_concurrent();
    test_day_month();
    test_order();
    test_clock_back();
    test_tickets();
    test_dirty();
    test_evict();
    test_record();
    test_threads();

    return done();
}
