
/*
 * Copyright (C) nginx-llm contributors
 *
 * Quotas: the arithmetic of limits, windows, days and months.  Works on the
 * caller's records only; no lock, no state.
 *
 * A record's window is the slices slice - 12 to slice, each at its number
 * modulo 13.  Slice k is out of it from (k + 13) * 5 seconds on.
 */


#include <string.h>

#include "llm_quota_int.h"


#define LLM_MS         1000ll
#define LLM_SLICE_MS   (LLM_QUOTA_SLICE * LLM_MS)
#define LLM_DAY_MS     (86400 * LLM_MS)
#define LLM_TIME_MAX   253402300799999ll    /* the end of the year 9999 */


static uint32_t llm_quota_month(int64_t day);
static int64_t llm_quota_month_day(uint32_t month);
static uint32_t llm_quota_until(int64_t when, int64_t now);
static uint64_t llm_quota_left(uint64_t limit, uint64_t used,
    uint64_t reserved);
static uint64_t llm_quota_window(const uint32_t *slice);
static uint32_t llm_quota_wait(const llm_spent_t *u, const uint32_t *slice,
    uint64_t most, int64_t now);
static uint32_t llm_quota_drained(const llm_spent_t *u,
    const uint32_t *slice, int64_t now);
static uint32_t llm_quota_wait_tokens(const llm_quota_entry_t *e,
    uint64_t others, uint64_t want, int64_t now);


static inline uint32_t
llm_quota_slot(int64_t slice)
{
    int64_t  i = slice % LLM_QUOTA_SLICES;

    return (uint32_t) (i < 0 ? i + LLM_QUOTA_SLICES : i);
}


int64_t
llm_quota_time(int64_t now)
{
    return now < 0 ? 0 : now > LLM_TIME_MAX ? LLM_TIME_MAX : now;
}


void
llm_quota_sanitize(llm_spent_t *u)
{
    if (u->slice < 0) {
        u->slice = 0;

    } else if (u->slice > LLM_TIME_MAX / LLM_SLICE_MS) {
        u->slice = LLM_TIME_MAX / LLM_SLICE_MS;
    }

    if (u->day > LLM_TIME_MAX / LLM_DAY_MS) {
        u->day = (uint32_t) (LLM_TIME_MAX / LLM_DAY_MS);
    }

    if (u->month > 12 * 9999 + 11) {
        u->month = 12 * 9999 + 11;
    }

    if (u->month < llm_quota_month(u->day)) {
        u->month = llm_quota_month(u->day);
    }
}


void
llm_quota_roll(llm_spent_t *u, int64_t now)
{
    int64_t   i, slice;
    uint32_t  day, month;

    slice = now / LLM_SLICE_MS;

    if (slice > u->slice) {
        i = slice - u->slice < LLM_QUOTA_SLICES
            ? u->slice + 1 : slice - LLM_QUOTA_SLICES + 1;

        for ( /* void */ ; i <= slice; i++) {
            u->requests[llm_quota_slot(i)] = 0;
            u->tokens[llm_quota_slot(i)] = 0;
        }

        u->slice = slice;
    }

    day = (uint32_t) (now / LLM_DAY_MS);

    if (day > u->day) {
        u->day = day;
        u->day_tokens = 0;

        month = llm_quota_month(day);

        if (month > u->month) {
            u->month = month;
            u->month_tokens = 0;
        }
    }
}


/* days since 1970 to 12 * year + month - 1: years begin in March meanwhile,
 * so that the leap day is their last */

static uint32_t
llm_quota_month(int64_t day)
{
    int64_t  era, month, of_era, of_year, year;

    day += 719468;                          /* since 0000-03-01 */
    era = day / 146097;                     /* 400 years */
    of_era = day % 146097;
    year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * year + year / 4 - year / 100);
    month = (5 * of_year + 2) / 153;        /* 0: March */

    return (uint32_t) (12 * (400 * era + year) + month + 2);
}


/* the other way: the month's first day */

static int64_t
llm_quota_month_day(uint32_t month)
{
    int64_t  m, year;

    m = (int64_t) month - 2;                /* since March of the year 0 */
    year = m / 12;
    m %= 12;

    return year * 365 + year / 4 - year / 100 + year / 400
           + (153 * m + 2) / 5 - 719468;
}


/* seconds, rounded up */

static uint32_t
llm_quota_until(int64_t when, int64_t now)
{
    int64_t  sec;

    sec = when > now ? (when - now + LLM_MS - 1) / LLM_MS : 0;

    return sec > UINT32_MAX ? UINT32_MAX : (uint32_t) sec;
}


uint64_t
llm_quota_sum(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}


void
llm_quota_count(llm_spent_t *u, uint64_t tokens)
{
    uint32_t  *slice = &u->tokens[llm_quota_slot(u->slice)];

    *slice = tokens > UINT32_MAX - *slice ? UINT32_MAX
                                          : *slice + (uint32_t) tokens;

    u->day_tokens = llm_quota_sum(u->day_tokens, tokens);
    u->month_tokens = llm_quota_sum(u->month_tokens, tokens);
}


void
llm_quota_count_request(llm_spent_t *u, int64_t now)
{
    uint32_t  *slice = &u->requests[llm_quota_slot(u->slice)];

    *slice += *slice < UINT32_MAX;
    u->calls = llm_quota_sum(u->calls, 1);

    if (now / LLM_MS > u->last_used) {
        u->last_used = now / LLM_MS;
    }
}


static uint64_t
llm_quota_left(uint64_t limit, uint64_t used, uint64_t reserved)
{
    limit -= used < limit ? used : limit;

    return limit - (reserved < limit ? reserved : limit);
}


static uint64_t
llm_quota_window(const uint32_t *slice)
{
    int       i;
    uint64_t  sum;

    for (i = 0, sum = 0; i < LLM_QUOTA_SLICES; i++) {
        sum += slice[i];
    }

    return sum;
}


/* seconds until so many slices are out of the window that at most so much is
 * left in it; 0 when it is so now */

static uint32_t
llm_quota_wait(const llm_spent_t *u, const uint32_t *slice, uint64_t most,
    int64_t now)
{
    int64_t   k;
    uint64_t  sum;

    sum = llm_quota_window(slice);

    if (sum <= most) {
        return 0;
    }

    for (k = u->slice - LLM_QUOTA_SLICES + 1; k <= u->slice; k++) {
        sum -= slice[llm_quota_slot(k)];

        if (sum <= most) {
            break;
        }
    }

    return llm_quota_until((k + LLM_QUOTA_SLICES) * LLM_SLICE_MS, now);
}


/* the same until nothing is left in it: the newest one is out */

static uint32_t
llm_quota_drained(const llm_spent_t *u, const uint32_t *slice, int64_t now)
{
    int       i;
    uint32_t  slot;

    slot = llm_quota_slot(u->slice);

    for (i = LLM_QUOTA_SLICES; i > 0; i--) {
        if (slice[slot]) {
            return llm_quota_until((u->slice + i) * LLM_SLICE_MS, now);
        }

        slot = slot ? slot - 1 : LLM_QUOTA_SLICES - 1;
    }

    return 0;
}


/*
 * Where the window alone can't make the room, others' reservations would have
 * to be given back, which may be any time; where even that does not help, the
 * limit is less than what is wanted, and an empty window is all there is to
 * wait for.
 */

static uint32_t
llm_quota_wait_tokens(const llm_quota_entry_t *e, uint64_t others,
    uint64_t want, int64_t now)
{
    uint64_t  most, tpm = e->lim.tpm;

    most = llm_quota_left(tpm, 0, others) >= want
           ? tpm - others - want
           : tpm >= want ? tpm - want : 0;

    return llm_quota_wait(&e->usage, e->usage.tokens, most, now);
}


llm_quota_e
llm_quota_check(const llm_quota_entry_t *e, uint64_t others, uint64_t want,
    int start, int64_t now, uint32_t *retry)
{
    llm_quota_e          reason;
    const llm_spent_t   *u = &e->usage;
    const llm_limits_t  *lim = &e->lim;

    if (lim->month
        && llm_quota_left(lim->month, u->month_tokens, others) < want)
    {
        reason = LLM_QUOTA_MONTH;
        *retry = llm_quota_until(llm_quota_month_day(u->month + 1)
                                 * LLM_DAY_MS, now);

    } else if (lim->day
               && llm_quota_left(lim->day, u->day_tokens, others) < want)
    {
        reason = LLM_QUOTA_DAY;
        *retry = llm_quota_until(((int64_t) u->day + 1) * LLM_DAY_MS, now);

    } else if (start && lim->rpm
               && llm_quota_window(u->requests) >= lim->rpm)
    {
        reason = LLM_QUOTA_RPM;
        *retry = llm_quota_wait(u, u->requests, lim->rpm - 1, now);

    } else if (lim->tpm
               && llm_quota_left(lim->tpm, llm_quota_window(u->tokens),
                                 others)
                  < want)
    {
        reason = LLM_QUOTA_TPM;
        *retry = llm_quota_wait_tokens(e, others, want, now);

    } else if (start && lim->concurrent && e->running >= lim->concurrent) {
        reason = LLM_QUOTA_CONCURRENT;
        *retry = 1;

    } else {
        *retry = 0;
        return LLM_QUOTA_OK;
    }

    if (*retry == 0) {
        *retry = 1;
    }

    return reason;
}


uint64_t
llm_quota_room(const llm_quota_entry_t *e, uint64_t others)
{
    uint64_t             left, room;
    const llm_spent_t   *u = &e->usage;
    const llm_limits_t  *lim = &e->lim;

    /* without limits too, what is reserved can be summed */
    room = UINT64_MAX - others;

    if (lim->month) {
        left = llm_quota_left(lim->month, u->month_tokens, others);
        room = left < room ? left : room;
    }

    if (lim->day) {
        left = llm_quota_left(lim->day, u->day_tokens, others);
        room = left < room ? left : room;
    }

    if (lim->tpm) {
        left = llm_quota_left(lim->tpm, llm_quota_window(u->tokens), others);
        room = left < room ? left : room;
    }

    return room;
}


void
llm_quota_show(llm_quota_view_t *v, const llm_quota_entry_t *e, int64_t now,
    llm_quota_e reason, uint32_t retry)
{
    const llm_spent_t   *u = &e->usage;
    const llm_limits_t  *lim = &e->lim;

    if (v == NULL) {
        return;
    }

    memset(v, 0, sizeof(llm_quota_view_t));

    v->reason = reason;
    v->retry = retry;
    v->running = e->running;
    v->reserved = e->reserved;
    v->usage = *u;

    if (lim->rpm) {
        v->rpm_left = (uint32_t) llm_quota_left(lim->rpm,
                                            llm_quota_window(u->requests), 0);
        v->rpm_reset = llm_quota_drained(u, u->requests, now);
    }

    if (lim->tpm) {
        v->tpm_left = (uint32_t) llm_quota_left(lim->tpm,
                                 llm_quota_window(u->tokens), e->reserved);

        /* what is reserved stays a window long if it is used at once */

        v->tpm_reset = e->reserved
            ? llm_quota_until((u->slice + LLM_QUOTA_SLICES) * LLM_SLICE_MS,
                              now)
            : llm_quota_drained(u, u->tokens, now);
    }

    if (lim->day) {
        v->day_left = llm_quota_left(lim->day, u->day_tokens, e->reserved);
    }

    if (lim->month) {
        v->month_left = llm_quota_left(lim->month, u->month_tokens,
                                       e->reserved);
    }
}
