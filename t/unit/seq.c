
/*
 * Copyright (C) nginx-llm contributors
 *
 * Unit test: the text of a sequence.  Stop strings, half characters, invalid
 * bytes, special tokens, limits, and random streams against an oracle that
 * looks at the whole text each time.
 */


#include <stdio.h>

#include "tap.h"
#include "fake_model.h"


typedef struct {
    llm_buf_t     text;
    int           calls;
    int           invalid;      /* pieces that are not UTF-8 or empty */
    uint32_t      n_token;
    uint32_t      grant[4];     /* answers of more() */
    uint32_t      used[4];      /* its questions */
    int           n_more;
    int           n_done;
    llm_finish_e  finish;
    llm_usage_t   usage;
    char          err[LLM_ERRLEN];
} client_t;


static int
client_poll(void *data)
{
    return LLM_OK;
}


static void
client_text(void *data, const char *text, size_t len, uint32_t n_token)
{
    client_t  *c = data;

    c->calls++;
    c->invalid += len == 0 || !llm_utf8_valid(text, len);
    c->n_token += n_token;
    llm_buf_append(&c->text, text, len);
}


static uint32_t
client_more(void *data, uint32_t used)
{
    client_t  *c = data;

    c->used[c->n_more] = used;

    return c->grant[c->n_more++];
}


static void
client_done(void *data, llm_finish_e finish, const llm_usage_t *usage,
    const char *err)
{
    client_t  *c = data;

    c->n_done++;
    c->finish = finish;
    c->usage = *usage;
    snprintf(c->err, sizeof(c->err), "%s", err);
}


static const llm_seq_handler_t  handler = {
    client_poll, client_text, client_more, client_done
};


static int
token_id(const char *text)
{
    int  i;

    for (i = 0; i < FAKE_VOCAB; i++) {
        if (strcmp(fake_token[i].text, text) == 0) {
            return i;
        }
    }

    fprintf(stderr, "no token \"%s\"\n", text);
    exit(2);
}


static void
conf_init(llm_seq_conf_t *conf, client_t *c, const char *const *stop,
    size_t *len, int n_stop)
{
    int  i;

    static const int32_t  prompt[] = { 2, 3 };

    memset(conf, 0, sizeof(*conf));
    memset(c, 0, sizeof(*c));

    for (i = 0; i < n_stop; i++) {
        len[i] = strlen(stop[i]);
    }

    conf->prompt = prompt;
    conf->n_prompt = 2;
    conf->stop = stop;
    conf->stop_len = len;
    conf->n_stop = n_stop;
    conf->sampling.temperature = 1;
    conf->sampling.top_p = 1;
    conf->sampling.repetition_penalty = 1;
    conf->handler = &handler;
    conf->data = c;
}


/* push tokens; "|" joins "text so far" after each token, then the end */

static void
stream(const char *name, const char *const *stop, const char *const *token,
    const char *want, llm_finish_e want_finish)
{
    int             i, n_stop;
    char            got[1024];
    char            err[LLM_ERRLEN];
    size_t          len[LLM_STOP_MAX], seen, n;
    client_t        c;
    llm_seq_t      *seq;
    llm_finish_e    finish;
    llm_seq_conf_t  conf;

    for (n_stop = 0; stop && stop[n_stop]; n_stop++) { /* void */ }

    conf_init(&conf, &c, stop, len, n_stop);
    conf.max_tokens = 30;

    if (llm_seq_create(&seq, &conf, &fake_model, NULL, 100, err,
                       sizeof(err))
        != LLM_OK)
    {
        ok(0, "%s: %s", name, err);
        return;
    }

    finish = LLM_FINISH_NONE;
    seen = 0;
    n = 0;
    got[0] = '\0';

    for (i = 0; token[i] && finish == LLM_FINISH_NONE; i++) {
        finish = llm_seq_push(seq, token_id(token[i]));

        n += (size_t) snprintf(got + n, sizeof(got) - n, "%.*s|",
                               (int) (c.text.len - seen),
                               c.text.data ? c.text.data + seen : "");
        seen = c.text.len;
    }

    llm_seq_finish(seq, finish ? finish : LLM_FINISH_LENGTH, NULL);

    snprintf(got + n, sizeof(got) - n, "%.*s", (int) (c.text.len - seen),
             c.text.data ? c.text.data + seen : "");

    is_str(got, want, name);
    is_int(c.finish, want_finish, "  its reason");
    ok(c.n_done == 1 && c.invalid == 0 && c.err[0] == '\0'
       && c.usage.completion_tokens == (uint32_t) i && c.n_token
          <= (uint32_t) i,
       "  and counts");

    llm_seq_destroy(seq);
    llm_buf_done(&c.text);
    llm_buf_done(&c.text);
}


#define LIST(...)  ((const char *const []) { __VA_ARGS__, NULL })


static void
test_streams(void)
{
    stream("text passes at once", NULL, LIST("a", " the", "b"),
           "a| the|b|", LLM_FINISH_LENGTH);
    stream("special tokens have no text", NULL, LIST("a", "<special>", "b"),
           "a||b|", LLM_FINISH_LENGTH);
    stream("an end token ends", NULL, LIST("a", "<eos>", "b"),
           "a||", LLM_FINISH_STOP);

    stream("a half character waits", NULL, LIST("a", "\xe4\xbd", "\xa0", "b"),
           "a||\xe4\xbd\xa0|b|", LLM_FINISH_LENGTH);
    stream("a character in four pieces", NULL,
           LIST("x\xf0\x9f\x98", "\x80", "\xf0", "\x9f\x98", "\x80"),
           "x|\xf0\x9f\x98\x80|||\xf0\x9f\x98\x80|", LLM_FINISH_LENGTH);
    stream("what can't be completed is U+FFFD at once", NULL,
           LIST("\xe4\xbd", "a", "\xff", "\xed\xa0", "\xc3", "\xc3", "\xa9"),
           "|\xef\xbf\xbd" "a|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd||"
           "\xef\xbf\xbd|\xc3\xa9|", LLM_FINISH_LENGTH);
    stream("an unfinished character at the end is U+FFFD", NULL,
           LIST("a", "\xf0\x9f"), "a||\xef\xbf\xbd", LLM_FINISH_LENGTH);
    stream("before an end token too", NULL, LIST("\xe4\xbd", "<eos>"),
           "||\xef\xbf\xbd", LLM_FINISH_STOP);
    stream("above U+10FFFF", NULL, LIST("\xf4\x90", "\xe0\x80"),
           "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|",
           LLM_FINISH_LENGTH);

    stream("a stop string in one token", LIST("STOP"), LIST("a", "STOP"),
           "a||", LLM_FINISH_STOP);
    stream("over three tokens", LIST("STOP"), LIST("a", "S", "TO", "P", "b"),
           "a||||", LLM_FINISH_STOP);
    stream("only begun", LIST("STOP"), LIST("S", "TO", "a", "b"),
           "||STOa|b|", LLM_FINISH_LENGTH);
    stream("begun twice", LIST("SSTOP"), LIST("S", "S", "S", "TO", "P"),
           "||S|||", LLM_FINISH_STOP);
    stream("begun again inside", LIST("STSTOP"), LIST("ST", "STOP", "b"),
           "||", LLM_FINISH_STOP);
    stream("its own border", LIST("ababc"), LIST("ab", "ab", "abc", "b"),
           "|||ab", LLM_FINISH_STOP);
    stream("begun at the end: flushed", LIST("STOP"), LIST("a", "ST", "<eos>"),
           "a|||ST", LLM_FINISH_STOP);
    stream("text before it in the same token", LIST("bc"), LIST("a", "abc"),
           "a||a", LLM_FINISH_STOP);
    stream("what follows it in the token is gone", LIST("b"), LIST("abc"),
           "|a", LLM_FINISH_STOP);
    stream("the first of several wins", LIST("c", "b"), LIST("abc"),
           "|a", LLM_FINISH_STOP);
    stream("the one that is complete first", LIST("abcab", "bc"),
           LIST("abc", "ab"), "|a", LLM_FINISH_STOP);
    stream("the longer of two that end together", LIST("c", "abc"),
           LIST("ca", "ab", "c"), "|", LLM_FINISH_STOP);
    stream("the longer one, not yet begun with c", LIST("OPc", "STOPc"),
           LIST("STOP", "c"), "||", LLM_FINISH_STOP);
    stream("a character in pieces is a stop string", LIST("\xe4\xbd\xa0"),
           LIST("a", "\xe4", "\xbd\xa0"), "a|||", LLM_FINISH_STOP);
    stream("so is U+FFFD, if that is what the client would see",
           LIST("\xef\xbf\xbd"), LIST("a", "\xe4", "b"), "a|||",
           LLM_FINISH_STOP);
    stream("and at the end", LIST("\xef\xbf\xbd"), LIST("a", "\xe4"),
           "a||", LLM_FINISH_STOP);
    stream("special tokens don't part a stop string", LIST("STOP"),
           LIST("ST", "<special>", "OP"), "|||", LLM_FINISH_STOP);
    stream("a newline pair", LIST("\n\n"), LIST("a", "\n", "b", "\n", "\n"),
           "a||\nb|||", LLM_FINISH_STOP);
}


static void
test_create(void)
{
    char             err[LLM_ERRLEN];
    size_t           len[LLM_STOP_MAX + 1];
    int32_t          prompt[8] = { 2, 3, 4, 5, 6, 7, 8, 9 };
    client_t         c;
    llm_seq_t       *seq;
    llm_seq_conf_t   conf;
    const char      *stop[LLM_STOP_MAX + 1];

    llm_seq_destroy(NULL);

    conf_init(&conf, &c, NULL, len, 0);
    conf.prompt = prompt;
    conf.n_prompt = 8;
    err[0] = '\0';

    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 8, err,
                          sizeof(err)),
           LLM_INVALID, "a prompt that fills the context");
    is_str(err, "the prompt has 8 tokens; with a context of 8 tokens it may "
           "have 1 to 7", "says so");
    ok(seq == NULL, "and gives no sequence");

    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_OK, "one token of room");
    is_int(llm_seq_push(seq, 2), LLM_FINISH_LENGTH, "is one token");
    llm_seq_destroy(seq);
    llm_buf_done(&c.text);

    conf.max_tokens = UINT32_MAX;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 1000, err,
                          sizeof(err)),
           LLM_OK, "a huge max_tokens");
    is_int(seq->n_limit, 1000, "is the context");
    llm_seq_destroy(seq);

    conf.n_prompt = 0;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "an empty prompt");

    conf.n_prompt = 3;
    prompt[2] = FAKE_VOCAB;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "an id out of the vocabulary");
    ok(strstr(err, "token 2 of the prompt: id 48"), "says which: %s", err);
    prompt[2] = -1;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "a negative id");
    prompt[2] = 2;

    stop[0] = "ok";
    stop[1] = "";
    conf.stop = stop;
    conf.stop_len = len;
    conf.n_stop = 2;
    len[0] = 2;
    len[1] = 0;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "an empty stop string");

    stop[1] = "\xe4\xbd";
    len[1] = 2;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "a stop string that is not UTF-8");

    conf.n_stop = LLM_STOP_MAX + 1;
    is_int(llm_seq_create(&seq, &conf, &fake_model, NULL, 9, err,
                          sizeof(err)),
           LLM_INVALID, "too many stop strings");
}


/* all that a sequence passes on and holds back, after every token */

static void
test_random(void)
{
    int             round, i, k, n_stop, wrong, eager, lazy, stops, pieces;
    char            err[LLM_ERRLEN];
    size_t          len[LLM_STOP_MAX], end, n, keep, m;
    int32_t         id;
    client_t        c;
    llm_buf_t       raw, seen;
    llm_seq_t      *seq;
    llm_finish_e    finish;
    llm_seq_conf_t  conf;
    const char     *stop[LLM_STOP_MAX];

    static const char *const  all[] = {
        "STOP", "END", "ab", "abca", "aaa", "\n\n", " the END", "OPS",
        "\xe4\xbd\xa0", "a\xf0\x9f\x98\x80", "\xef\xbf\xbd\xef\xbf\xbd",
        "caab", "0123", "55", "bcabcabcab", "Sab"
    };

    srand(20);
    wrong = eager = lazy = stops = pieces = 0;

    for (round = 0; round < 4000; round++) {
        n_stop = rand() % 5;

        for (i = 0; i < n_stop; i++) {
            stop[i] = all[(unsigned) rand() % (sizeof(all)
                                               / sizeof(all[0]))];
        }

        conf_init(&conf, &c, stop, len, n_stop);

        if (llm_seq_create(&seq, &conf, &fake_model, NULL, 80, err,
                           sizeof(err))
            != LLM_OK)
        {
            wrong++;
            continue;
        }

        memset(&raw, 0, sizeof(raw));
        memset(&seen, 0, sizeof(seen));
        finish = LLM_FINISH_NONE;
        end = n = 0;

        for (i = 0; i < 78 && finish == LLM_FINISH_NONE; i++) {
            id = 1 + rand() % (round % 2 ? FAKE_VOCAB - 1 : 8);

            if (id != FAKE_SPECIAL) {
                llm_buf_append(&raw, fake_token[id].text,
                               fake_token[id].len);
            }

            finish = llm_seq_push(seq, id);

            seen.len = 0;
            fake_clean(&seen, raw.data, raw.len, 0);

            end = seen.len ? fake_stop(&conf, seen.data, seen.len, &n) : 0;

            if (end || finish == LLM_FINISH_STOP) {
                wrong += !end || finish != LLM_FINISH_STOP;
                break;
            }

            /* the longest end of the text that a stop string begins with */

            for (k = 0, keep = 0; k < n_stop; k++) {
                for (m = len[k] - 1; m > keep; m--) {
                    if (m <= seen.len
                        && memcmp(seen.data + seen.len - m, stop[k], m) == 0)
                    {
                        keep = m;
                    }
                }
            }

            eager += c.text.len > seen.len - keep;
            lazy += c.text.len < seen.len - keep;
        }

        stops += finish == LLM_FINISH_STOP;
        wrong += finish == LLM_FINISH_NONE;

        llm_seq_finish(seq, finish, NULL);

        if (!end) {
            seen.len = 0;
            fake_clean(&seen, raw.data, raw.len, 1);
            end = fake_stop(&conf, seen.data, seen.len, &n);
        }

        m = end ? end - n : seen.len;
        wrong += c.text.len != m || (m && memcmp(c.text.data, seen.data, m));
        wrong += c.invalid || c.n_done != 1;
        wrong += c.finish != (end ? LLM_FINISH_STOP : LLM_FINISH_LENGTH);
        pieces += c.calls;

        llm_seq_destroy(seq);
        llm_buf_done(&c.text);
        llm_buf_done(&raw);
        llm_buf_done(&seen);
    }

    is_int(wrong, 0, "4000 random streams are as the oracle says");
    is_int(eager, 0, "nothing left too early");
    is_int(lazy, 0, "nothing was held back longer than it must be");
    ok(stops > 500 && stops < 3900 && pieces > 20000,
       "(%d of them stopped, %d pieces)", stops, pieces);
}


/* the cost of a token does not grow with the text behind it */

static void
test_long(void)
{
    int             i, n;
    char            err[LLM_ERRLEN];
    char           *longest;
    size_t          len[1];
    client_t        c;
    llm_seq_t      *seq;
    llm_seq_conf_t  conf;
    const char     *stop[1];

    n = 200000;

    longest = malloc(100001);
    memset(longest, 'a', 100000);
    longest[99999] = 'b';
    longest[100000] = '\0';
    stop[0] = longest;

    conf_init(&conf, &c, stop, len, 1);

    if (llm_seq_create(&seq, &conf, &fake_model, NULL, n + 2, err,
                       sizeof(err))
        != LLM_OK)
    {
        ok(0, "%s", err);
        return;
    }

    for (i = 0; i < n; i++) {
        if (llm_seq_push(seq, token_id("a")) != LLM_FINISH_NONE) {
            break;
        }
    }

    llm_seq_finish(seq, LLM_FINISH_LENGTH, NULL);

    is_int(c.text.len, n, "200000 letters against a stop string of 100000");
    is_int(c.calls, 200000 - 99999 + 1, "pass one by one when they must");

    llm_seq_destroy(seq);
    llm_buf_done(&c.text);
    free(longest);
}


/* tokens pushed until the end, or n */

static int
push(client_t *c, const llm_seq_conf_t *conf, const char *token, int n,
    llm_finish_e *finish)
{
    int         i;
    char        err[LLM_ERRLEN];
    llm_seq_t  *seq;

    if (llm_seq_create(&seq, conf, &fake_model, NULL, 100, err, sizeof(err))
        != LLM_OK)
    {
        ok(0, "%s", err);
        return -1;
    }

    *finish = LLM_FINISH_NONE;

    for (i = 0; i < n && *finish == LLM_FINISH_NONE; i++) {
        *finish = llm_seq_push(seq, token_id(token));
    }

    llm_seq_finish(seq, *finish, NULL);
    llm_seq_destroy(seq);

    return i;
}


static void
test_grant(void)
{
    client_t         c;
    const char      *stop[1] = { "aaaaa" };
    size_t           len[1];
    llm_finish_e     finish;
    llm_seq_conf_t   conf;

    conf_init(&conf, &c, NULL, NULL, 0);
    conf.grant = 5;
    c.grant[0] = 7;
    c.grant[1] = 7;

    is_int(push(&c, &conf, "a", 90, &finish), 7, "no token beyond a grant");
    is_int(finish, LLM_FINISH_LENGTH, "its end is a length");
    is_int(c.n_more, 2, "more was asked for twice");
    ok(c.used[0] == 5 && c.used[1] == 7, "when all was used");
    ok(c.text.len == 7 && c.n_token == 7, "what was generated stays");
    llm_buf_done(&c.text);

    conf_init(&conf, &c, NULL, NULL, 0);
    conf.grant = 1;
    is_int(push(&c, &conf, "\xe4", 90, &finish), 1, "a grant of one");
    ok(c.text.len == 3 && c.n_token == 1, "half a character comes out");
    llm_buf_done(&c.text);

    conf_init(&conf, &c, NULL, NULL, 0);
    conf.max_tokens = 5;
    conf.grant = 5;
    is_int(push(&c, &conf, "a", 90, &finish), 5, "the limit itself");
    ok(finish == LLM_FINISH_LENGTH && c.n_more == 0, "asks for no more");
    llm_buf_done(&c.text);

    conf_init(&conf, &c, stop, len, 1);
    conf.grant = 5;
    is_int(push(&c, &conf, "a", 90, &finish), 5, "a stop string there");
    ok(finish == LLM_FINISH_STOP && c.n_more == 0, "asks for no more");
    llm_buf_done(&c.text);

    conf_init(&conf, &c, NULL, NULL, 0);
    conf.grant = 5;
    is_int(push(&c, &conf, "<eos>", 90, &finish), 1, "an end token");
    ok(finish == LLM_FINISH_STOP && c.n_more == 0, "asks for no more");
    llm_buf_done(&c.text);

    conf_init(&conf, &c, NULL, NULL, 0);
    is_int(push(&c, &conf, "a", 90, &finish), 90, "no grant: no limit");
    is_int(c.n_more, 0, "and no question");
    llm_buf_done(&c.text);
}


int
main(void)
{
    test_create();
    test_streams();
    test_random();
    test_long();
    test_grant();

    return done();
}
