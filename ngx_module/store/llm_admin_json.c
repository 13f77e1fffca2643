
/*
 * Copyright (C) nginx-llm contributors
 *
 * The administration's JSON: members of bodies and queries, times, a key's
 * record, events.  No state.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llm_admin_int.h"


#define LLM_ADMIN_FAR  (100LL * 366 * 86400)    /* seconds from now */


static json_t *llm_admin_limit(uint64_t n);
static json_t *llm_admin_left(uint64_t limit, uint64_t used);
static void llm_admin_spent(const llm_spent_t *u, int64_t now,
    uint64_t *requests, uint64_t *tokens);
static void llm_admin_day(int64_t now, uint32_t *day, uint32_t *month);


int
llm_admin_known(llm_admin_ctx_t *c, json_t *o, const char *const *names)
{
    json_t             *v;
    const char         *name;
    const char *const  *p;

    json_object_foreach(o, name, v) {

        for (p = names; *p != NULL && strcmp(*p, name) != 0; p++) {
            /* void */
        }

        if (*p == NULL) {
            return llm_admin_fail(c, 400, "unknown_field", name,
                                  "A field is unknown here.");
        }
    }

    return LLM_OK;
}


int
llm_admin_string(llm_admin_ctx_t *c, json_t *o, const char *name,
    const char **s)
{
    json_t  *v;

    *s = NULL;
    v = json_object_get(o, name);

    if (v == NULL) {
        return LLM_OK;
    }

    if (!json_is_string(v)) {
        return llm_admin_fail(c, 400, "invalid_type", name,
                              "It must be a string.");
    }

    *s = json_string_value(v);

    if (strlen(*s) != json_string_length(v)) {
        return llm_admin_fail(c, 400, "invalid_value", name,
                              "It must not hold a zero character.");
    }

    return LLM_OK;
}


int
llm_admin_role(llm_admin_ctx_t *c, json_t *o, llm_role_e *role)
{
    const char  *s;

    *role = LLM_ROLE_NONE;

    if (llm_admin_string(c, o, "role", &s) != LLM_OK) {
        return LLM_ERROR;
    }

    if (s == NULL) {
        return LLM_OK;
    }

    *role = llm_role_parse(s, strlen(s));

    if (*role == LLM_ROLE_NONE) {
        return llm_admin_fail(c, 400, "invalid_value", "role",
                              "user, operator or admin");
    }

    return LLM_OK;
}


int
llm_admin_arg_number(llm_admin_ctx_t *c, const char *name, int64_t min,
    int64_t max, int64_t *n)
{
    char        *end;
    long long    v;
    const char  *s;

    if (llm_admin_string(c, c->args, name, &s) != LLM_OK) {
        return LLM_ERROR;
    }

    if (s == NULL) {
        return LLM_OK;
    }

    errno = 0;
    v = strtoll(s, &end, 10);

    if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v < min
        || v > max)
    {
        return llm_admin_fail(c, 400, "invalid_value", name,
                              "a number from %lld to %lld", (long long) min,
                              (long long) max);
    }

    *n = v;

    return LLM_OK;
}


int
llm_admin_duration(const char *s, int64_t *seconds)
{
    char       *end;
    int64_t     unit;
    long long   n;

    if (*s < '0' || *s > '9') {
        return LLM_INVALID;
    }

    errno = 0;
    n = strtoll(s, &end, 10);

    switch (*end) {
    case 's':
        unit = 1;
        break;
    case 'm':
        unit = 60;
        break;
    case 'h':
        unit = 3600;
        break;
    case 'd':
        unit = 86400;
        break;
    case 'w':
        unit = 7 * 86400;
        break;
    default:
        return LLM_INVALID;
    }

    if (errno != 0 || end[1] != '\0' || n < 1 || n > LLM_ADMIN_FAR / unit) {
        return LLM_INVALID;
    }

    *seconds = n * unit;

    return LLM_OK;
}


int
llm_admin_when(const char *s, int64_t now, int64_t *when)
{
    char       *end;
    time_t      t;
    int64_t     n;
    struct tm   tm, back;

    if (llm_admin_duration(s, &n) == LLM_OK) {
        *when = now + n;
        return LLM_OK;
    }

    /* strptime() takes white space and single digits */

    if (strspn(s, "0123456789-:TZ") != strlen(s) || strlen(s) < 10
        || s[4] != '-' || s[7] != '-')
    {
        return LLM_INVALID;
    }

    memset(&tm, 0, sizeof(tm));
    end = strptime(s, "%Y-%m-%d", &tm);

    if (end != s + 10) {
        return LLM_INVALID;
    }

    if (*end != '\0') {
        end = strptime(end, "T%H:%M:%SZ", &tm);

        if (end == NULL || *end != '\0') {
            return LLM_INVALID;
        }
    }

    /* February 30 would become March 1 */

    back = tm;
    t = timegm(&back);

    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon
        || back.tm_sec != tm.tm_sec)
    {
        return LLM_INVALID;
    }

    *when = (int64_t) t;

    return LLM_OK;
}


char *
llm_admin_time(char *buf, size_t size, int64_t t)
{
    time_t     tt;
    struct tm  tm;

    tt = (time_t) t;

    if (gmtime_r(&tt, &tm) == NULL
        || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        (void) snprintf(buf, size, "%lld", (long long) t);
    }

    return buf;
}


json_t *
llm_admin_text(const char *s)
{
    char    *copy, *p;
    json_t  *json;

    json = json_string(s);

    if (json != NULL) {
        return json;
    }

    copy = strdup(s);
    if (copy == NULL) {
        return NULL;
    }

    for (p = copy; *p != '\0'; p++) {
        if (*p & 0x80) {
            *p = '?';
        }
    }

    json = json_string(copy);
    free(copy);

    return json;
}


json_t *
llm_admin_stamp(int64_t t)
{
    char  buf[32];

    return t == 0 ? json_null()
                  : json_string(llm_admin_time(buf, sizeof(buf), t));
}


json_t *
llm_admin_stamp_ms(int64_t t)
{
    char    buf[40];
    size_t  n;

    if (t <= 0) {
        return json_null();
    }

    (void) llm_admin_time(buf, 32, t / 1000);
    n = strlen(buf);

    if (buf[n - 1] == 'Z') {
        (void) snprintf(buf + n - 1, sizeof(buf) - n + 1, ".%03uZ",
                        (unsigned) (t % 1000));
    }

    return json_string(buf);
}


json_t *
llm_admin_list(json_t *data, int more, json_t *next)
{
    return json_pack("{s:s, s:o, s:b, s:o}", "object", "list", "data", data,
                     "has_more", more, "next",
                     next != NULL ? next : json_null());
}


const char *
llm_admin_status_name(const llm_key_t *k, int64_t now, int64_t max_age)
{
    switch (llm_key_state(k, now, max_age)) {
    case LLM_KEY_GOOD:
        return "active";
    case LLM_KEY_REVOKED:
        return "revoked";
    case LLM_KEY_EXPIRED:
        return "expired";
    case LLM_KEY_TOO_OLD:
        return "too_old";
    default:
        return "rotated";
    }
}


json_t *
llm_admin_key_json(const llm_admin_t *a, const llm_key_t *k, int64_t now,
    int64_t max_age)
{
    int64_t  end, seconds;

    seconds = now / 1000;
    end = llm_key_end(k, max_age);

    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o, "
                     "s:I, s:o, s:o}",
                     "id", k->id,
                     "client", k->client,
                     "role", llm_role_name(k->role),
                     "status", llm_admin_status_name(k, seconds, max_age),
                     "created", llm_admin_stamp(k->created),
                     "issued", llm_admin_stamp(k->issued),
                     "expires", llm_admin_stamp(k->expires),
                     "ends", llm_admin_stamp(end == INT64_MAX ? 0 : end),
                     "age_days",
                     (json_int_t) (seconds > k->issued
                                   ? (seconds - k->issued) / 86400 : 0),
                     "revoked", llm_admin_stamp(k->revoked),
                     "secret_version", (json_int_t) k->version,
                     "scopes", llm_admin_scopes_json(k),
                     "usage", llm_admin_usage_json(a, k, now));
}


json_t *
llm_admin_scopes_json(const llm_key_t *k)
{
    char         buf[64];
    size_t       i, n;
    json_t      *models, *nets;

    models = k->models_len != 0 ? json_array() : json_null();

    for (i = 0; i < k->models_len && i < LLM_KEY_MODELS; i += n + 1) {
        n = strnlen(k->models + i, LLM_KEY_MODELS - i);
        (void) json_array_append_new(models,
                                     json_stringn(k->models + i, n));
    }

    nets = k->n_net != 0 ? json_array() : json_null();

    for (i = 0; i < k->n_net && i < LLM_KEY_NETS; i++) {
        (void) json_array_append_new(nets,
            json_string(llm_net_format(&k->net[i], buf, sizeof(buf))));
    }

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "models", models,
                     "addresses", nets,
                     "requests_per_minute", llm_admin_limit(k->limits.rpm),
                     "tokens_per_minute", llm_admin_limit(k->limits.tpm),
                     "concurrent", llm_admin_limit(k->limits.concurrent),
                     "tokens_per_day", llm_admin_limit(k->limits.day),
                     "tokens_per_month", llm_admin_limit(k->limits.month));
}


static json_t *
llm_admin_limit(uint64_t n)
{
    return n != 0 ? json_integer((json_int_t) n) : json_null();
}


/*
 * From the table that the workers share, where the key calls; else from its
 * record, which is half a second behind, and without what runs now.
 */

json_t *
llm_admin_usage_json(const llm_admin_t *a, const llm_key_t *k, int64_t now)
{
    int               live;
    json_t           *left[4];
    uint32_t          day, month;
    uint64_t          requests, tokens;
    llm_spent_t      *u;
    llm_quota_view_t  v;

    memset(&v, 0, sizeof(v));
    u = &v.usage;

    live = a->quota != NULL
           && llm_quota_view(a->quota, k->id, &k->limits, now, &v) == LLM_OK;

    if (!live && (a->calls == NULL
                  || llm_calls_usage(a->calls, k->id, u, NULL, 0) != LLM_OK))
    {
        return json_null();
    }

    if (live) {
        left[0] = llm_admin_left(k->limits.rpm, k->limits.rpm - v.rpm_left);
        left[1] = llm_admin_left(k->limits.tpm, k->limits.tpm - v.tpm_left);
        left[2] = llm_admin_left(k->limits.day, k->limits.day - v.day_left);
        left[3] = llm_admin_left(k->limits.month,
                                 k->limits.month - v.month_left);

    } else {
        llm_admin_day(now / 1000, &day, &month);
        llm_admin_spent(u, now / 1000, &requests, &tokens);

        left[0] = llm_admin_left(k->limits.rpm, requests);
        left[1] = llm_admin_left(k->limits.tpm, tokens);
        left[2] = llm_admin_left(k->limits.day,
                                 u->day == day ? u->day_tokens : 0);
        left[3] = llm_admin_left(k->limits.month,
                                 u->month == month ? u->month_tokens : 0);
    }

    return json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "last_used", llm_admin_stamp(u->last_used),
                     "calls", (json_int_t) u->calls,
                     "prompt_tokens", (json_int_t) u->prompt_tokens,
                     "completion_tokens", (json_int_t) u->completion_tokens,
                     "running", live ? json_integer((json_int_t) v.running)
                                     : json_null(),
                     "requests_left", left[0],
                     "tokens_left", left[1],
                     "day_left", left[2],
                     "month_left", left[3]);
}


static json_t *
llm_admin_left(uint64_t limit, uint64_t used)
{
    if (limit == 0) {
        return json_null();
    }

    return json_integer((json_int_t) (used < limit ? limit - used : 0));
}


/* of the last minute, as llm_quota.h counts it */

static void
llm_admin_spent(const llm_spent_t *u, int64_t now, uint64_t *requests,
    uint64_t *tokens)
{
    int64_t  s, slice;

    *requests = *tokens = 0;
    slice = now / LLM_QUOTA_SLICE;

    if (u->slice < LLM_QUOTA_SLICES || slice < LLM_QUOTA_SLICES) {
        return;
    }

    for (s = u->slice; s > u->slice - LLM_QUOTA_SLICES
                       && s > slice - LLM_QUOTA_SLICES; s--)
    {
        *requests += u->requests[s % LLM_QUOTA_SLICES];
        *tokens += u->tokens[s % LLM_QUOTA_SLICES];
    }
}


static void
llm_admin_day(int64_t now, uint32_t *day, uint32_t *month)
{
    time_t     t;
    struct tm  tm;

    t = (time_t) now;
    *day = (uint32_t) (now / 86400);
    *month = 0;

    if (gmtime_r(&t, &tm) != NULL) {
        *month = (uint32_t) (12 * (tm.tm_year + 1900) + tm.tm_mon);
    }
}


void
llm_admin_event(llm_admin_ctx_t *c, const char *name, json_t *more)
{
    int                 rc;
    char               *text;
    json_t             *o;
    llm_admin_reply_t  *reply = c->reply;

    if (c->a->calls == NULL) {
        (void) snprintf(reply->detail, sizeof(reply->detail),
                        "event %s: calls.mdb is not open", name);
        json_decref(more);
        return;
    }

    text = NULL;
    o = json_pack("{s:s, s:o, s:s}", "event", name, "time",
                  llm_admin_stamp(c->now), "actor", c->actor);

    if (o != NULL && more != NULL && json_object_update(o, more) == 0) {
        text = json_dumps(o, JSON_COMPACT);
    }

    if (text == NULL) {
        (void) snprintf(reply->detail, sizeof(reply->detail),
                        "event %s: no memory", name);

    } else {
        rc = llm_event_put(c->a->calls, text, c->err, sizeof(c->err));

        if (rc == LLM_OK) {
            reply->notify = 1;

        } else {
            (void) snprintf(reply->detail, sizeof(reply->detail),
                            "event %s: %.400s", name, c->err);
        }
    }

    free(text);
    json_decref(o);
    json_decref(more);
}
