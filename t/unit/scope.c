
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a key's record says of a request: address ranges, models, states; and
 * the record itself, packed and unpacked.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>

#include "store_test.h"


static int
parse(llm_net_t *net, const char *text)
{
    return llm_net_parse(net, text, strlen(text), E);
}


static void
address(uint8_t *addr, const char *text)
{
    if (inet_pton(AF_INET6, text, addr) == 1) {
        return;
    }

    memset(addr, 0, 16);
    addr[10] = addr[11] = 0xff;
    inet_pton(AF_INET, text, addr + 12);
}


static void
test_parse(void)
{
    int         i;
    char        buf[64];
    llm_net_t   net;

    static const char  *good[][2] = {
        { "10.0.0.0/8", "10.0.0.0/8" },
        { "192.0.2.7", "192.0.2.7" },
        { "192.0.2.7/32", "192.0.2.7" },
        { "0.0.0.0/0", "0.0.0.0/0" },
        { "255.255.255.254/31", "255.255.255.254/31" },
        { "::1", "::1" },
        { "::/0", "::/0" },
        { "2001:DB8::/32", "2001:db8::/32" },
        { "2001:db8:0:0::/33", "2001:db8::/33" },
        { "fe80::/10", "fe80::/10" },
        { "::ffff:10.0.0.0/104", "10.0.0.0/8" },
        { "::ffff:10.1.2.3", "10.1.2.3" },
        { "1111:2222:3333:4444:5555:6666:7777:8888/128",
          "1111:2222:3333:4444:5555:6666:7777:8888" },
        { NULL, NULL }
    };

    static const char  *bad[] = {
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
        "10.0.0.0/08", "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0.0/8/8",
        "10.0.0.0/0x8", "10.0.0/8", "10.0.0.256", "010.0.0.1", "::/129",
        "::g", "fe80::1%eth0", "localhost", "10.0.0.0/1000", "*",
        "10.0.0.1/8", "10.0.0.0/4", "2001:db8::1/32", "::1/127",
        "::ffff:0:0/88", "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "1111:2222:3333:4444:5555:6666:7777:8888:1111:2222:3333:4444:5555",
        NULL
    };

    for (i = 0; good[i][0] != NULL; i++) {
        if (parse(&net, good[i][0]) != LLM_OK) {
            ok(0, "%s: %s", good[i][0], err);
            continue;
        }

        is_str(llm_net_format(&net, buf, sizeof(buf)), good[i][1],
               good[i][0]);
    }

    for (i = 0; bad[i] != NULL; i++) {
        ok(parse(&net, bad[i]) == LLM_INVALID, "\"%s\" is refused", bad[i]);
    }

    is_int(llm_net_parse(&net, "10.0.0.0/8junk", 10, E), LLM_OK, "by length");
    is_int(llm_net_parse(&net, "10.0.0.1\0", 9, E), LLM_INVALID,
           "a zero byte");
    is_str(llm_net_format(&net, buf, 4), buf, "a small buffer");
    ok(strlen(buf) < 4, "is not left");
}


static int
from(const llm_key_t *k, const char *text)
{
    uint8_t  addr[16];

    address(addr, text);

    return llm_key_from(k, addr);
}


static void
test_from(void)
{
    int        i;
    llm_key_t  k;

    memset(&k, 0, sizeof(k));
    ok(from(&k, "10.0.0.1") && from(&k, "::1"), "no range: from anywhere");

    k.n_net = 1;
    parse(&k.net[0], "10.0.0.0/8");
    ok(from(&k, "10.0.0.0") && from(&k, "10.255.255.255"), "10.0.0.0/8");
    ok(!from(&k, "9.255.255.255") && !from(&k, "11.0.0.0"), "not beside it");
    ok(!from(&k, "::1") && !from(&k, "a00::"), "not from IPv6");

    parse(&k.net[0], "172.16.0.0/12");
    ok(from(&k, "172.16.0.0") && from(&k, "172.31.255.255")
       && !from(&k, "172.32.0.0") && !from(&k, "172.15.255.255"),
       "172.16.0.0/12");
    parse(&k.net[0], "192.0.2.7");
    ok(from(&k, "192.0.2.7") && from(&k, "::ffff:192.0.2.7")
       && !from(&k, "192.0.2.6"), "one address");
    parse(&k.net[0], "0.0.0.0/0");
    ok(from(&k, "1.2.3.4") && !from(&k, "::1"), "all of IPv4");
    parse(&k.net[0], "::/0");
    ok(from(&k, "::1") && from(&k, "2001:db8::1"), "all of IPv6");
    ok(!from(&k, "1.2.3.4") && !from(&k, "::ffff:1.2.3.4"),
       "is not IPv4");
    parse(&k.net[0], "2001:db8::/33");
    ok(from(&k, "2001:db8:7fff:ffff::") && !from(&k, "2001:db8:8000::"),
       "2001:db8::/33");
    parse(&k.net[0], "::1");
    ok(from(&k, "::1") && !from(&k, "::2") && !from(&k, "0.0.0.1"), "::1");

    for (i = 0; i < LLM_KEY_NETS; i++) {
        parse(&k.net[i], "192.0.2.7");
    }

    parse(&k.net[LLM_KEY_NETS - 1], "198.51.100.0/24");
    k.n_net = LLM_KEY_NETS;
    ok(from(&k, "198.51.100.77"), "the last of 16");
    k.net[LLM_KEY_NETS - 1].bits = 255;
    ok(!from(&k, "198.51.100.77"), "a malformed one matches nothing");
    k.n_net = UINT32_MAX;
    ok(!from(&k, "203.0.113.1"), "nor does a wrong number");
}


static void
test_models(void)
{
    int         i;
    char        name[200];
    llm_key_t   k;

    memset(&k, 0, sizeof(k));
    ok(llm_key_model(&k, "any", 3), "no model: all");

    is_int(llm_key_add_model(&k, "deepseek", 8, E), LLM_OK, "one");
    is_int(llm_key_add_model(&k, "demo:support", 12, E), LLM_OK, "two");
    is_int(llm_key_add_model(&k, "demo:support", 12, E), LLM_OK, "again");
    is_int(k.models_len, 22, "once");
    ok(llm_key_model(&k, "deepseek", 8)
       && llm_key_model(&k, "demo:support", 12), "these");
    ok(!llm_key_model(&k, "demo", 4) && !llm_key_model(&k, "deepseek2", 9)
       && !llm_key_model(&k, "DeepSeek", 8) && !llm_key_model(&k, "", 0)
       && !llm_key_model(&k, "deepseek\0demo:support", 21), "no others");

    is_int(llm_key_add_model(&k, "", 0, E), LLM_INVALID, "no name");
    is_int(llm_key_add_model(&k, "a b", 3, E), LLM_INVALID, "a space");
    is_int(llm_key_add_model(&k, "a\0b", 3, E), LLM_INVALID, "a zero");
    is_int(llm_key_add_model(&k, "caf\xc3\xa9", 5, E), LLM_INVALID, "UTF-8");
    memset(name, 'x', sizeof(name));
    is_int(llm_key_add_model(&k, name, 128, E), LLM_INVALID, "128 bytes");

    for (i = 0; i < 10; i++) {
        name[0] = (char) ('a' + i);

        if (llm_key_add_model(&k, name, 127, E) != LLM_OK) {
            break;
        }
    }

    is_int(i, 3, "127 bytes, as long as there is room");
    ok(k.models_len <= LLM_KEY_MODELS && llm_key_valid(&k, E) != LLM_OK,
       "512 bytes in all");

    memset(&k, 0, sizeof(k));
    strcpy(k.client, "x");
    k.role = LLM_ROLE_USER;
    is_int(llm_key_valid(&k, E), LLM_OK, "valid");
    memcpy(k.models, "a\0\0b\0", 5);
    k.models_len = 5;
    is_int(llm_key_valid(&k, E), LLM_INVALID, "an empty name");
    k.models_len = 1;
    is_int(llm_key_valid(&k, E), LLM_INVALID, "no end");
    k.models_len = 2;
    is_int(llm_key_valid(&k, E), LLM_OK, "one name");
}


static void
test_state(void)
{
    llm_key_t  k;

    memset(&k, 0, sizeof(k));
    k.issued = 1000;

    ok(llm_key_end(&k, 0) == INT64_MAX, "without a maximum age: never");
    ok(llm_key_end(&k, 50) == 1050, "too old");
    is_int(llm_key_state(&k, 1049, 50), LLM_KEY_GOOD, "good");
    is_int(llm_key_state(&k, 1050, 50), LLM_KEY_TOO_OLD, "too old");
    k.expires = 1040;
    ok(llm_key_end(&k, 50) == 1040, "expires before");
    is_int(llm_key_state(&k, 1040, 50), LLM_KEY_EXPIRED, "expired");
    k.until = 1020;
    ok(llm_key_end(&k, 50) == 1020, "rotated before");
    is_int(llm_key_state(&k, 1019, 50), LLM_KEY_GOOD, "in its grace");
    is_int(llm_key_state(&k, 1020, 50), LLM_KEY_ROTATED, "rotated");
    k.revoked = 1;
    is_int(llm_key_state(&k, 1000, 50), LLM_KEY_REVOKED, "revoked");

    memset(&k, 0, sizeof(k));
    k.issued = INT64_MAX - 1;
    ok(llm_key_end(&k, 50) == INT64_MAX, "no overflow");
    is_str(llm_key_state_name(LLM_KEY_GOOD), "active", "a name");
    is_str(llm_key_state_name(LLM_KEY_TOO_OLD), "too old", "another one");
    is_str(llm_key_state_name((llm_key_state_e) 99), "unknown", "none");
}


static uint32_t
slow_crc(const uint8_t *p, size_t len)
{
    int       i;
    uint32_t  crc;

    crc = 0xffffffff;

    while (len-- > 0) {
        crc ^= *p++;

        for (i = 0; i < 8; i++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }

    return ~crc;
}


static void
test_record(void)
{
    int          bad, good;
    size_t       i, n;
    uint8_t      p[LLM_RECORD_MAX], q[LLM_RECORD_MAX], *exact;
    uint32_t     seed;
    llm_key_t    k, got;
    const char  *why;

    seed = 1;
    bad = 0;

    for (i = 0; i < sizeof(p); i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (uint8_t) (seed >> 24);
        bad += llm_crc32(p, i) != slow_crc(p, i)
               || (i > 0 && llm_crc32(p + 1, i - 1) != slow_crc(p + 1, i - 1));
    }

    is_int(bad, 0, "CRC-32 at each length");

    memset(&k, 0, sizeof(k));
    strcpy(k.id, "key_0123456789abcdefghjkmnpq");
    memset(k.client, 'c', LLM_CLIENT_MAX);
    k.role = LLM_ROLE_ADMIN;
    k.version = 0x01020304;
    k.created = INT64_MIN;
    k.issued = INT64_MAX;
    k.expires = 3;
    k.revoked = 4;
    k.until = 5;
    k.limits.rpm = UINT32_MAX;
    k.limits.tpm = 7;
    k.limits.concurrent = 8;
    k.limits.day = UINT64_MAX;
    k.limits.month = 10;
    k.noticed = 14;
    memset(k.idem, 0xab, sizeof(k.idem));

    for (i = 0; i < LLM_KEY_NETS; i++) {
        parse(&k.net[k.n_net++], i % 2 ? "2001:db8::/32" : "10.0.0.0/8");
    }

    for (i = 0; i < 4; i++) {
        char  name[128];

        memset(name, 'a' + (int) i, 127);
        llm_key_add_model(&k, name, 127, E);
    }

    is_int(k.models_len, LLM_KEY_MODELS, "the largest");
    n = llm_record_pack(p, &k);
    is_int((int) n, LLM_RECORD_MAX, "record");

    memset(&got, 0xee, sizeof(got));
    is_int(llm_record_unpack(p, n, &got, &why), LLM_OK, "unpacked");
    memcpy(got.tag, k.tag, sizeof(k.tag));
    n = llm_record_pack(q, &got);
    ok(n == LLM_RECORD_MAX && memcmp(p, q, n) == 0, "it is the same");
    ok(strcmp(got.client, k.client) == 0 && strcmp(got.id, k.id) == 0
       && got.created == INT64_MIN && got.issued == INT64_MAX
       && got.expires == 3 && got.revoked == 4 && got.until == 5
       && got.limits.day == UINT64_MAX && got.version == 0x01020304
       && got.noticed == 14 && got.n_net == LLM_KEY_NETS
       && memcmp(got.net, k.net, sizeof(k.net)) == 0
       && memcmp(got.models, k.models, sizeof(k.models)) == 0, "each member");

    /* resealed nonsense: it may be valid, it must not read beyond */

    bad = good = 0;

    for (i = 0; i < 200000; i++) {
        size_t     len;
        llm_key_t  part;

        seed = seed * 1664525 + 1013904223;
        part = k;
        part.client[(seed >> 8) % LLM_CLIENT_MAX + 1] = '\0';
        part.n_net = (seed >> 16) % (LLM_KEY_NETS + 1);
        part.models_len = (seed >> 20) % 5 * 128;
        len = llm_record_pack(p, &part);
        len -= (i % 16 == 0);
        exact = malloc(len);            /* to its end, for the sanitizer */
        memcpy(exact, p, len);

        seed = seed * 1664525 + 1013904223;
        exact[(seed >> 8) % (i % 2 ? 8 : len)] = (uint8_t) seed;
        llm_put_le(exact + len - 4, llm_crc32(exact, len - 4), 4);

        if (llm_record_unpack(exact, len, &got, &why) == LLM_OK) {
            good++;
            bad += llm_key_valid(&got, NULL, 0) != LLM_OK;
        }

        free(exact);
    }

    is_int(bad, 0, "200000 malformed records");
    ok(good > 1000 && good < 190000, "%d were none", good);

    ok(llm_key_id_valid("key_0123456789abcdefghjkmnpq")
       && llm_key_id_valid("key_rstvwxyzrstvwxyzrstvwxyz"), "ids");
    ok(!llm_key_id_valid("key_0123456789abcdefghijkmnp")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnpo")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnpl")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnpu")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnpA")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnp:")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnp/")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnp`")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnp\x81")
       && !llm_key_id_valid("kez_0123456789abcdefghjkmnpq")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnp")
       && !llm_key_id_valid("key_0123456789abcdefghjkmnpqr")
       && !llm_key_id_valid(""), "no ids");
}


int
main(void)
{
    test_parse();
    test_from();
    test_models();
    test_state();
    test_record();

    return done();
}
