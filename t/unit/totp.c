
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor: RFC 6238's vectors, what a user types, enrolments, which
 * codes are good when, locks.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ctype.h>

#include "totp_test.h"


static void
test_vectors(void)
{
    char      name[64];
    size_t    i;
    uint32_t  got;

    static const char  key20[] = "12345678901234567890";
    static const char  key32[] = "12345678901234567890123456789012";
    static const char  key64[] = "12345678901234567890123456789012"
                                 "34567890123456789012345678901234";

    static const struct {
        uint64_t  time;
        uint32_t  sha1, sha256, sha512;
    } rfc6238[] = {
        { 59,          94287082, 46119246, 90693936 },
        { 1111111109,   7081804, 68084774, 25091201 },
        { 1111111111,  14050471, 67062674, 99943326 },
        { 1234567890,  89005924, 91819424, 93441116 },
        { 2000000000,  69279037, 90698825, 38618901 },
        { 20000000000, 65353130, 77737706, 47863826 }
    };

    static const uint32_t  rfc4226[] = { 755224, 287082, 359152, 969429,
        338314, 254676, 287922, 162583, 399871, 520489 };

    for (i = 0; i < sizeof(rfc6238) / sizeof(rfc6238[0]); i++) {
        snprintf(name, sizeof(name), "RFC 6238, SHA1, %llu",
                 (unsigned long long) rfc6238[i].time);
        got = llm_totp("SHA1", key20, 20, rfc6238[i].time / 30, 8);
        is_int(got, rfc6238[i].sha1, name);

        snprintf(name, sizeof(name), "RFC 6238, SHA256, %llu",
                 (unsigned long long) rfc6238[i].time);
        got = llm_totp("SHA256", key32, 32, rfc6238[i].time / 30, 8);
        is_int(got, rfc6238[i].sha256, name);

        snprintf(name, sizeof(name), "RFC 6238, SHA512, %llu",
                 (unsigned long long) rfc6238[i].time);
        got = llm_totp("SHA512", key64, 64, rfc6238[i].time / 30, 8);
        is_int(got, rfc6238[i].sha512, name);
    }

    for (i = 0; i < sizeof(rfc4226) / sizeof(rfc4226[0]); i++) {
        snprintf(name, sizeof(name), "RFC 4226, counter %zu", i);
        is_int(llm_totp("SHA1", key20, 20, i, 6), rfc4226[i], name);
    }

    is_int(llm_totp("SHA1", key20, 20, 1, 7), 4287082, "seven digits");
    is_int(llm_totp("MD5", key20, 20, 1, 6), UINT32_MAX, "no such hash");
    is_int(llm_totp("SHA1", key20, 20, 1, 5), UINT32_MAX, "too few digits");
    is_int(llm_totp("SHA1", key20, 20, 1, 9), UINT32_MAX, "too many");
    is_int(llm_totp("SHA1", key20, 0, 1, 6), UINT32_MAX, "no secret");
}


static int
kind(const char *typed)
{
    llm_totp_code_t  code;

    llm_totp_parse(&code, typed);

    return (int) code.kind;
}


static void
test_text(void)
{
    char             name[128], out[65], uri[320], label[80];
    size_t           i;
    llm_totp_code_t  code;

    static const struct {
        const char  *typed;
        int          kind;
    } typed[] = {
        { "123456",              LLM_TOTP_APP },
        { "123 456",             LLM_TOTP_APP },
        { " 12-34 56-",          LLM_TOTP_APP },
        { "000000",              LLM_TOTP_APP },
        { "abcde-fgh01",         LLM_TOTP_RECOVERY },
        { "ABCDE FGH01",         LLM_TOTP_RECOVERY },
        { "0123456789",          LLM_TOTP_RECOVERY },
        { "",                    LLM_TOTP_MALFORMED },
        { "-- --",               LLM_TOTP_MALFORMED },
        { "12345",               LLM_TOTP_MALFORMED },
        { "1234567",             LLM_TOTP_MALFORMED },
        { "12345a",              LLM_TOTP_MALFORMED },
        { "+12345",              LLM_TOTP_MALFORMED },
        { "abcde-fgh0",          LLM_TOTP_MALFORMED },
        { "abcde-fgh012",        LLM_TOTP_MALFORMED },
        { "abcde-fgh0i",         LLM_TOTP_MALFORMED },
        { "abcde-fgh0u",         LLM_TOTP_MALFORMED },
        { "123456\n",            LLM_TOTP_MALFORMED },
        { "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4\xd9\xa5\xd9\xa6",
                                 LLM_TOTP_MALFORMED }
    };

    for (i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
        snprintf(name, sizeof(name), "typed, %zu", i);
        is_int(kind(typed[i].typed), typed[i].kind, name);
    }

    is_int(kind(NULL), LLM_TOTP_MALFORMED, "none typed");

    memset(name, '-', 100);
    memcpy(name + 90, "123456", 7);
    is_int(kind(name), LLM_TOTP_MALFORMED, "too much typed");

    llm_totp_parse(&code, " 12-34 56");
    is_int(code.number, 123456, "the number");
    llm_totp_parse(&code, "AbCdE-fGh01");
    is_str(code.text, "abcdefgh01", "the text");

    llm_totp_base32(out, (const uint8_t *) "foobarbaz!", 10);
    is_str(out, "MZXW6YTBOJRGC6RB", "base32");
    llm_totp_base32(out, (const uint8_t *) "", 0);
    is_str(out, "", "base32 of nothing");

    is_int(llm_totp_uri(uri, sizeof(uri), "a:b@c/\xc3\xa9&x=1%", "ABC", E),
           LLM_OK, "a URI");
    is_str(uri, "otpauth://totp/nginx-llm:a%3Ab%40c%2F%C3%A9%26x%3D1%25"
           "?secret=ABC&issuer=nginx-llm&algorithm=SHA1&digits=6&period=30",
           "it is");

    memset(label, '/', sizeof(label));
    label[64] = '\0';
    memset(out, 'A', 32);
    out[32] = '\0';
    is_int(llm_totp_uri(uri, sizeof(uri), label, out, E), LLM_OK,
           "the longest label has room");
    ok(strlen(uri) < sizeof(((llm_totp_enrol_t *) 0)->uri)
       && strstr(uri, "&period=30") != NULL, "whole: %zu", strlen(uri));
    label[64] = '/';
    label[65] = '\0';
    is_int(llm_totp_uri(uri, sizeof(uri), label, out, E), LLM_INVALID,
           "a longer one");
    is_int(llm_totp_uri(uri, sizeof(uri), "", out, E), LLM_INVALID, "none");
}


static void
test_match(void)
{
    int64_t   step, now;
    uint8_t   raw[LLM_TOTP_BYTES];
    uint32_t  code;

    memcpy(raw, "12345678901234567890", 20);

    for (int i = -2; i <= 2; i++) {
        now = T0 + i * 30;
        code = llm_totp("SHA1", raw, 20, (uint64_t) (now / 30), 6);

        is_int(llm_totp_match(raw, T0 + 29, code, &step), LLM_OK, "a match");
        ok(step == (i < -1 || i > 1 ? 0 : now / 30), "%d steps off", i);
    }

    is_int(llm_totp_match(raw, 0, 755224, &step), LLM_OK, "time 0");
    is_int(step, 0, "no step is before 1");
    llm_totp_match(raw, 0, 287082, &step);
    is_int(step, 1, "and 1 is one");
    is_int(llm_totp_match(raw, INT64_MAX, 1, &step), LLM_OK, "time's end");

    is_int(llm_totp_lock(0, T0), 0, "no failure, no lock");
    is_int(llm_totp_lock(4, T0), 0, "nor with four");
    is_int(llm_totp_lock(5, T0), T0 + 60, "five: a minute");
    is_int(llm_totp_lock(6, T0), T0 + 120, "six: two");
    is_int(llm_totp_lock(15, T0), T0 + 61440, "fifteen");
    is_int(llm_totp_lock(16, T0), T0 + 86400, "sixteen: a day");
    is_int(llm_totp_lock(UINT32_MAX, T0), T0 + 86400, "a day at most");
    is_int(llm_totp_lock(9, INT64_MAX - 1), INT64_MAX, "no overflow");
}


static void
test_enrol(void)
{
    char              key[LLM_KEY_LEN + 1], old[16];
    size_t            n;
    user_t            u;
    llm_key_t         k;
    llm_store_t      *st;
    llm_totp_info_t   info;
    llm_totp_enrol_t  e;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(create(st, &k, key), LLM_OK, "a key");

    memset(&u, 0, sizeof(u));
    strcpy(u.id, k.id);

    is_int(llm_totp_info(st, u.id, &info, E), LLM_NOTFOUND, "not enrolled");
    is_int(info.state, LLM_TOTP_NONE, "says so");
    is_int(check(st, &u, "123456", T0), LLM_NOTFOUND, "no check");
    is_int(llm_totp_confirm(st, secret, u.id, "123456", T0, E),
           LLM_NOTFOUND, "no confirm");
    is_int(llm_totp_remove(st, u.id, E), LLM_NOTFOUND, "no removal");
    is_int(llm_totp_recovery(st, secret, u.id, &e, E), LLM_NOTFOUND,
           "no recovery codes");
    is_int(llm_totp_count(st, &n, key, E), LLM_OK, "counted");
    ok(n == 0 && key[0] == '\0', "none");

    is_int(llm_totp_enrol(st, secret, key, "x", &e, E), LLM_NOTFOUND,
           "a key for an id");
    ok(strstr(err, "sk-") == NULL, "the message: %s", err);
    is_int(llm_totp_check(st, secret, "../../etc", "123456", T0, E),
           LLM_NOTFOUND, "an id that can't be");
    is_int(llm_totp_enrol(st, secret, "key_000000000000000000000000", "x",
                          &e, E),
           LLM_NOTFOUND, "an id that no key has");
    is_int(llm_totp_enrol(st, secret, u.id, "", &e, E), LLM_INVALID,
           "no label");
    ok(e.secret[0] == '\0' && e.recovery[0][0] == '\0', "nothing is shown");

    is_int(llm_totp_enrol(st, secret, u.id, "alice@x", &u.e, E), LLM_OK,
           "enrolled");
    ok(strlen(u.e.secret) == 32
       && strspn(u.e.secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == 32,
       "a secret in base32");
    ok(strncmp(u.e.uri, "otpauth://totp/nginx-llm:alice%40x?secret=", 42)
       == 0 && strstr(u.e.uri, u.e.secret) != NULL, "a URI");

    for (n = 0; n < LLM_TOTP_CODES; n++) {
        if (strlen(u.e.recovery[n]) != LLM_TOTP_CODE_LEN
            || u.e.recovery[n][5] != '-'
            || kind(u.e.recovery[n]) != LLM_TOTP_RECOVERY
            || (n > 0 && strcmp(u.e.recovery[n], u.e.recovery[n - 1]) == 0))
        {
            break;
        }
    }

    is_int(n, LLM_TOTP_CODES, "recovery codes");

    raw_of(u.e.secret, u.raw);
    is_int(llm_totp_info(st, u.id, &info, E), LLM_OK, "info");
    ok(info.state == LLM_TOTP_PENDING && info.recovery == 10, "pending");
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_NOTFOUND,
           "no check before it is confirmed");
    is_int(llm_totp_recovery(st, secret, u.id, &e, E), LLM_NOTFOUND,
           "no other recovery codes either");
    llm_totp_count(st, &n, NULL, E);
    is_int(n, 0, "pending is not on");

    is_int(llm_totp_enrol(st, secret, u.id, "alice", &e, E), LLM_OK,
           "enrolled again");
    is_int(llm_totp_confirm(st, secret, u.id, code_at(&u, T0), T0, E),
           LLM_INVALID, "the former secret is gone");
    is_int(llm_totp_confirm(st, secret, u.id, e.recovery[0], T0, E),
           LLM_INVALID, "a recovery code confirms nothing");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.failures, 2, "two failures");

    u.e = e;
    raw_of(u.e.secret, u.raw);
    is_int(llm_totp_confirm(st, secret, u.id, code_at(&u, T0), T0, E),
           LLM_OK, "confirmed");
    llm_totp_info(st, u.id, &info, E);
    ok(info.state == LLM_TOTP_ON && info.since == T0 && info.failures == 0
       && info.recovery == 10 && info.locked == 0, "on");
    is_int(check(st, &u, code_at(&u, T0), T0 + 1), LLM_INVALID,
           "the code that confirmed is used");
    is_int(check(st, &u, code_at(&u, T0 + 30), T0 + 30), LLM_OK,
           "the next one is good");
    is_int(llm_totp_enrol(st, secret, u.id, "alice", &e, E), LLM_EXISTS,
           "it is on");
    ok(e.secret[0] == '\0' && e.uri[0] == '\0', "nothing is shown");
    is_int(llm_totp_confirm(st, secret, u.id, code_at(&u, T0 + 60), T0 + 60,
                            E),
           LLM_EXISTS, "not confirmed twice");
    is_int(llm_totp_count(st, &n, key, E), LLM_OK, "counted");
    ok(n == 1 && strcmp(key, u.id) == 0, "one");

    strcpy(old, u.e.recovery[0]);
    is_int(llm_totp_recovery(st, secret, u.id, &e, E), LLM_OK,
           "other recovery codes");
    ok(e.secret[0] == '\0' && e.uri[0] == '\0'
       && strcmp(e.recovery[0], old) != 0, "only they");
    is_int(check(st, &u, old, T0 + 90), LLM_INVALID, "the old are gone");
    is_int(check(st, &u, e.recovery[9], T0 + 90), LLM_OK, "the new are good");

    is_int(llm_totp_remove(st, u.id, E), LLM_OK, "removed");
    is_int(check(st, &u, code_at(&u, T0 + 120), T0 + 120), LLM_NOTFOUND,
           "gone");

    llm_store_close(st);
}


static void
test_codes(void)
{
    char              upper[16];
    size_t            i, good;
    user_t            u, v;
    llm_store_t      *st;
    llm_totp_info_t   info;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(user(st, &u), LLM_OK, "a user");
    is_int(user(st, &v), LLM_OK, "another one");

    is_int(check(st, &u, code_at(&u, T0 - 60), T0), LLM_INVALID,
           "two steps late");
    is_int(check(st, &u, code_at(&u, T0 + 60), T0), LLM_INVALID,
           "two steps early");
    is_int(check(st, &u, code_at(&v, T0), T0), LLM_INVALID,
           "another user's code");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.failures, 3, "three failures");

    is_int(check(st, &u, code_at(&u, T0 - 30), T0), LLM_OK, "a step late");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.failures, 0, "a good code sets it back");
    is_int(check(st, &u, code_at(&u, T0 - 30), T0), LLM_INVALID,
           "once only");

    for (i = 0; i < 20; i++) {
        check(st, &u, code_at(&u, T0 - 30), T0);
    }

    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 0 && info.locked == 0,
       "sent twice, or twenty times: it locks nobody out");
    is_int(check(st, &u, code_at(&u, T0 + 30), T0), LLM_OK, "a step early");
    is_int(check(st, &u, code_at(&u, T0), T0), LLM_INVALID,
           "the one before it is gone then");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.failures, 1, "and a failure");
    is_int(check(st, &u, code_at(&u, T0 + 30), T0 + 30), LLM_INVALID,
           "it is used in its own step");
    is_int(check(st, &u, code_at(&u, T0 + 30), T0 + 59), LLM_INVALID,
           "to its end");

    snprintf(upper, sizeof(upper), "%.3s %.3s", code_at(&u, T0 + 60),
             text + 3);
    is_int(check(st, &u, upper, T0 + 60), LLM_OK, "with a space");

    /* the clock goes back: nothing used is good again, recovery codes are */

    is_int(check(st, &u, code_at(&u, T0 - 3600), T0 - 3600), LLM_INVALID,
           "an hour back: below the last step");
    is_int(check(st, &u, u.e.recovery[3], T0 - 3600), LLM_OK,
           "a recovery code");
    is_int(check(st, &u, u.e.recovery[3], T0 - 3600), LLM_INVALID,
           "once only");
    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 1 && info.recovery == 9, "both count");
    is_int(check(st, &u, v.e.recovery[0], T0), LLM_INVALID,
           "another user's recovery code");

    good = 0;

    for (i = 0; i < LLM_TOTP_CODES; i++) {
        strcpy(upper, u.e.recovery[i]);

        if (i % 2) {
            memmove(upper + 5, upper + 6, 6);
        }

        for (char *p = upper; *p != '\0'; p++) {
            *p = (char) toupper(*p);
        }

        good += check(st, &u, upper, T0 + 90) == LLM_OK;
    }

    is_int(good, 9, "each other one, in capitals, with or without a dash");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.recovery, 0, "none is left");
    is_int(check(st, &u, "00000-00000", T0 + 90), LLM_INVALID, "none");
    is_int(check(st, &u, NULL, T0 + 90), LLM_INVALID, "no code");
    is_int(check(st, &u, "", T0 + 90), LLM_INVALID, "an empty one");
    llm_totp_info(st, u.id, &info, E);
    is_int(info.failures, 3, "each is a failure");
    is_int(check(st, &u, code_at(&u, T0 + 90), T0 + 90), LLM_OK,
           "the app's are good");
    is_int(check(st, &u, code_at(&u, 0), -1), LLM_INVALID,
           "a time before all");

    llm_store_close(st);
}


static void
test_lock(void)
{
    int              i;
    char             name[64];
    user_t           u;
    int64_t          now, lock;
    uint64_t         txnid;
    llm_store_t     *st;
    llm_totp_info_t  info;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "the store");
    is_int(user(st, &u), LLM_OK, "a user");

    now = T0;

    for (i = 1; i <= 4; i++) {
        is_int(check(st, &u, wrong_at(&u, now), now), LLM_INVALID, "wrong");
    }

    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 4 && info.locked == 0, "four: not yet locked");
    is_int(check(st, &u, "abcde-fgh01", now), LLM_INVALID,
           "the fifth, a wrong recovery code");
    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 5 && info.locked == now + 60, "locked");

    /* a restart */

    llm_store_close(st);
    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened again");

    txnid = llm_store_txnid(st);
    is_int(check(st, &u, code_at(&u, now), now), LLM_AGAIN,
           "a good code is refused");
    ok(strstr(err, "60 s") != NULL, "the message: %s", err);
    is_int(check(st, &u, u.e.recovery[0], now + 59), LLM_AGAIN,
           "to the last second");
    is_int(check(st, &u, code_at(&u, now - 600), now - 600), LLM_AGAIN,
           "a clock that goes back does not open it");
    ok(llm_store_txnid(st) == txnid, "nothing is written");

    /* each further one doubles it */

    lock = 60;

    for (i = 6; i <= 18; i++) {
        now += lock;
        lock = lock * 2 < 86400 ? lock * 2 : 86400;

        check(st, &u, wrong_at(&u, now), now);
        llm_totp_info(st, u.id, &info, E);
        snprintf(name, sizeof(name), "failure %d: %d s", i, (int) lock);
        is_int(info.locked - now, lock, name);
    }

    is_int(lock, 86400, "a day at most");

    /* a clock that was years ahead */

    txnid = llm_store_txnid(st);
    now -= 400 * 86400;
    is_int(check(st, &u, u.e.recovery[1], now), LLM_AGAIN, "locked");
    ok(llm_store_txnid(st) != txnid, "and shortened");
    llm_totp_info(st, u.id, &info, E);
    ok(info.locked == now + 86400 && info.failures == 18, "to a day");
    txnid = llm_store_txnid(st);
    is_int(check(st, &u, u.e.recovery[1], now + 86399), LLM_AGAIN,
           "to its end");
    ok(llm_store_txnid(st) == txnid, "once only");
    is_int(check(st, &u, u.e.recovery[1], now + 86400), LLM_OK,
           "a good code then");
    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 0 && info.locked == 0, "sets it back");
    check(st, &u, "1", now + 86400);
    llm_totp_info(st, u.id, &info, E);
    ok(info.failures == 1 && info.locked == 0, "to the beginning");

    llm_store_close(st);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");
    is_int(llm_store_create(path, 4 << 20, E), LLM_OK, "a store");

    test_vectors();
    test_text();
    test_match();
    test_enrol();
    test_codes();
    test_lock();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
