
/*
 * Copyright (C) nginx-llm contributors
 *
 * One sequence: its tokens, and the way of their bytes to the client.
 *
 * Bytes become characters first: what can't become valid UTF-8 is U+FFFD (one
 * for each maximal beginning of a character, as the Unicode standard advises
 * and the reference tokenizers do), and an unfinished character waits.  Stop
 * strings are then looked for in what the client would see.  The text ends
 * where the first stop string is complete, whatever the tokens' borders; of
 * two that end together the longer one counts.  All text leaves at once but
 * for the longest end that a stop string begins with.
 */


#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llm_seq.h"


static int llm_seq_tokens(llm_seq_t *seq, const llm_seq_conf_t *conf,
    int context, char *err, size_t errlen);
static int llm_seq_stops(llm_seq_t *seq, const llm_seq_conf_t *conf,
    char *err, size_t errlen);
static int llm_stop_init(llm_stop_t *stop, const char *text, size_t len);
static int llm_seq_sampler(llm_seq_t *seq, const llm_seq_conf_t *conf,
    char *err, size_t errlen);
static int llm_seq_is_eos(const llm_seq_t *seq, int32_t id);
static llm_finish_e llm_seq_text(llm_seq_t *seq, int32_t id);
static int llm_seq_byte(llm_seq_t *seq, unsigned char c);
static int llm_seq_broken(llm_seq_t *seq);
static int llm_seq_put(llm_seq_t *seq, const unsigned char *p, int n);
static void llm_seq_emit(llm_seq_t *seq, size_t len);


int
llm_seq_create(llm_seq_t **sp, const llm_seq_conf_t *conf,
    const llm_model_t *m, const llm_tokenizer_t *tok, int context, char *err,
    size_t errlen)
{
    int         rc;
    llm_seq_t  *seq;

    *sp = NULL;

    if (conf->n_prompt == 0 || context < 2
        || conf->n_prompt >= (size_t) context)
    {
        return llm_err(err, errlen, LLM_INVALID,
                       "the prompt has %zu tokens; with a context of %d "
                       "tokens it may have 1 to %d", conf->n_prompt, context,
                       context - 1);
    }

    seq = calloc(1, sizeof(llm_seq_t));
    if (seq == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "no memory for a sequence");
    }

    seq->handler = conf->handler;
    seq->data = conf->data;
    seq->grant = conf->grant;
    seq->model = llm_model_conf(m);
    seq->tok = tok;
    seq->row = -1;
    seq->out = -1;

    rc = llm_seq_tokens(seq, conf, context, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_seq_stops(seq, conf, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_seq_sampler(seq, conf, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_seq_destroy(seq);
        return rc;
    }

    *sp = seq;

    return LLM_OK;
}


static int
llm_seq_tokens(llm_seq_t *seq, const llm_seq_conf_t *conf, int context,
    char *err, size_t errlen)
{
    size_t  i, limit;

    limit = (size_t) context;

    if (conf->max_tokens && conf->max_tokens < limit - conf->n_prompt) {
        limit = conf->n_prompt + conf->max_tokens;
    }

    /* room for all there can be: what is not touched takes no memory */

    seq->token = malloc(limit * sizeof(int32_t));
    if (seq->token == NULL) {
        return llm_err(err, errlen, LLM_NOMEM,
                       "no memory for a sequence of %zu tokens", limit);
    }

    for (i = 0; i < conf->n_prompt; i++) {
        if (conf->prompt[i] < 0 || conf->prompt[i] >= seq->model->n_vocab) {
            return llm_err(err, errlen, LLM_INVALID,
                           "token %zu of the prompt: id %d is not in the "
                           "model's vocabulary of %d", i, conf->prompt[i],
                           seq->model->n_vocab);
        }

        seq->token[i] = conf->prompt[i];
    }

    seq->n_prompt = (int) conf->n_prompt;
    seq->n_token = seq->n_prompt;
    seq->n_limit = (int) limit;
    seq->usage.prompt_tokens = (uint32_t) conf->n_prompt;

    return LLM_OK;
}


static int
llm_seq_stops(llm_seq_t *seq, const llm_seq_conf_t *conf, char *err,
    size_t errlen)
{
    int     i;
    size_t  longest;

    if (conf->n_stop < 0 || conf->n_stop > LLM_STOP_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%d stop strings, at most %d are possible",
                       conf->n_stop, LLM_STOP_MAX);
    }

    longest = 0;

    for (i = 0; i < conf->n_stop; i++) {
        if (conf->stop_len[i] == 0 || conf->stop_len[i] > INT32_MAX
            || !llm_utf8_valid(conf->stop[i], conf->stop_len[i]))
        {
            return llm_err(err, errlen, LLM_INVALID,
                           "stop string %d is empty, too long or not UTF-8",
                           i);
        }

        /* counted first: destroy() frees what init() left half done */

        seq->n_stop = i + 1;

        if (llm_stop_init(&seq->stop[i], conf->stop[i], conf->stop_len[i])
            != LLM_OK)
        {
            return llm_err(err, errlen, LLM_NOMEM,
                           "no memory for stop strings");
        }

        if (conf->stop_len[i] > longest) {
            longest = conf->stop_len[i];
        }
    }

    /* so that the decode step seldom allocates */

    if (llm_buf_reserve(&seq->held, longest + 256) != LLM_OK) {
        return llm_err(err, errlen, LLM_NOMEM, "no memory for a sequence");
    }

    return LLM_OK;
}


static int
llm_stop_init(llm_stop_t *stop, const char *text, size_t len)
{
    uint32_t  i, k;

    stop->data = malloc(len);
    stop->fail = malloc(len * sizeof(uint32_t));

    if (stop->data == NULL || stop->fail == NULL) {
        return LLM_NOMEM;
    }

    memcpy(stop->data, text, len);
    stop->len = (uint32_t) len;
    stop->state = 0;
    stop->fail[0] = 0;

    for (i = 1, k = 0; i < stop->len; i++) {
        while (k > 0 && text[k] != text[i]) {
            k = stop->fail[k - 1];
        }

        if (text[k] == text[i]) {
            k++;
        }

        stop->fail[i] = k;
    }

    return LLM_OK;
}


static int
llm_seq_sampler(llm_seq_t *seq, const llm_seq_conf_t *conf, char *err,
    size_t errlen)
{
    int  i, rc;

    rc = llm_sampler_create(&seq->sampler, &conf->sampling,
                            seq->model->n_vocab);

    for (i = 0; rc == LLM_OK && i < seq->n_prompt; i++) {
        llm_sampler_prompt(seq->sampler, seq->token[i]);
    }

    for (i = 0; rc == LLM_OK && conf->ignore_eos && i < seq->model->n_eos;
         i++)
    {
        rc = llm_sampler_ban(seq->sampler, seq->model->eos[i]);
    }

    if (rc != LLM_OK) {
        return llm_err(err, errlen, rc, "no memory for a sampler");
    }

    return LLM_OK;
}


void
llm_seq_destroy(llm_seq_t *seq)
{
    int  i;

    if (seq == NULL) {
        return;
    }

    for (i = 0; i < seq->n_stop; i++) {
        free(seq->stop[i].data);
        free(seq->stop[i].fail);
    }

    llm_sampler_destroy(seq->sampler);
    llm_buf_done(&seq->held);
    free(seq->token);
    free(seq);
}


llm_finish_e
llm_seq_push(llm_seq_t *seq, int32_t id)
{
    llm_finish_e  finish;

    if (seq->usage.completion_tokens++ == 0) {
        seq->usage.first_us = llm_seq_now() - seq->submitted_us;
    }

    seq->n_untold++;

    /* under ignore_eos the sampler was told never to choose one */

    if (llm_seq_is_eos(seq, id)) {
        return LLM_FINISH_STOP;
    }

    seq->token[seq->n_token++] = id;

    finish = llm_seq_text(seq, id);

    if (finish == LLM_FINISH_NONE && seq->n_token >= seq->n_limit) {
        finish = LLM_FINISH_LENGTH;
    }

    if (finish == LLM_FINISH_NONE && seq->grant
        && seq->usage.completion_tokens >= seq->grant)
    {
        seq->grant = seq->handler->more(seq->data,
                                        seq->usage.completion_tokens);

        if (seq->grant <= seq->usage.completion_tokens) {
            finish = LLM_FINISH_LENGTH;
        }
    }

    return finish;
}


static int
llm_seq_is_eos(const llm_seq_t *seq, int32_t id)
{
    int  i;

    for (i = 0; i < seq->model->n_eos; i++) {
        if (seq->model->eos[i] == id) {
            return 1;
        }
    }

    return 0;
}


static llm_finish_e
llm_seq_text(llm_seq_t *seq, int32_t id)
{
    int          i;
    size_t       k, n;
    uint32_t     keep;
    const char  *p;

    if (llm_token_is_special(seq->tok, id)) {
        return LLM_FINISH_NONE;
    }

    n = llm_token_bytes(seq->tok, id, &p);

    /* each byte may become a U+FFFD, and so may the one that waits */

    if (n > SIZE_MAX / 4 || llm_buf_reserve(&seq->held, 3 * n + 8) != LLM_OK) {
        return LLM_FINISH_ERROR;
    }

    for (k = 0; k < n; k++) {
        if (llm_seq_byte(seq, (unsigned char) p[k])) {
            seq->n_part = 0;
            return LLM_FINISH_STOP;
        }
    }

    for (i = 0, keep = 0; i < seq->n_stop; i++) {
        if (seq->stop[i].state > keep) {
            keep = seq->stop[i].state;
        }
    }

    llm_seq_emit(seq, seq->held.len - keep);

    return LLM_FINISH_NONE;
}


/* one byte of the text; 1 if a stop string is complete */

static int
llm_seq_byte(llm_seq_t *seq, unsigned char c)
{
    int  n;

    if (seq->n_part) {

        if (c < seq->part_lo || c > seq->part_hi) {
            return llm_seq_broken(seq) || llm_seq_byte(seq, c);
        }

        seq->part[seq->n_part++] = c;
        seq->part_lo = 0x80;
        seq->part_hi = 0xbf;

        if (seq->n_part < seq->part_len) {
            return 0;
        }

        n = seq->n_part;
        seq->n_part = 0;

        return llm_seq_put(seq, seq->part, n);
    }

    if (c < 0x80) {
        return llm_seq_put(seq, &c, 1);
    }

    seq->part[0] = c;
    seq->n_part = 1;

    if (c < 0xc2 || c > 0xf4) {
        return llm_seq_broken(seq);
    }

    seq->part_len = (c < 0xe0) ? 2 : (c < 0xf0) ? 3 : 4;

    /* no overlong forms, no surrogates, nothing above U+10FFFF */

    seq->part_lo = (c == 0xe0) ? 0xa0 : (c == 0xf0) ? 0x90 : 0x80;
    seq->part_hi = (c == 0xed) ? 0x9f : (c == 0xf4) ? 0x8f : 0xbf;

    return 0;
}


/* the character that was begun can't be completed */

static int
llm_seq_broken(llm_seq_t *seq)
{
    static const unsigned char  replacement[] = { 0xef, 0xbf, 0xbd };

    seq->n_part = 0;

    return llm_seq_put(seq, replacement, 3);
}


/* hold a whole character (the caller has reserved the room); 1 if it completes
 * a stop string, which is taken off then */

static int
llm_seq_put(llm_seq_t *seq, const unsigned char *p, int n)
{
    int          i, k;
    uint32_t     st, found;
    llm_stop_t  *stop;

    memcpy(seq->held.data + seq->held.len, p, (size_t) n);
    seq->held.len += (size_t) n;

    found = 0;

    for (i = 0; i < seq->n_stop; i++) {
        stop = &seq->stop[i];
        st = stop->state;

        for (k = 0; k < n; k++) {
            while (st > 0 && (unsigned char) stop->data[st] != p[k]) {
                st = stop->fail[st - 1];
            }

            if ((unsigned char) stop->data[st] == p[k]) {
                st++;
            }

            if (st == stop->len) {

                /* a stop string ends with a character: k is n - 1 */

                found = st > found ? st : found;
                st = stop->fail[st - 1];
            }
        }

        stop->state = st;
    }

    if (found) {
        seq->held.len -= found;
        return 1;
    }

    return 0;
}


/* pass on the first len bytes that are held */

static void
llm_seq_emit(llm_seq_t *seq, size_t len)
{
    if (len == 0) {
        return;
    }

    seq->handler->text(seq->data, seq->held.data, len, seq->n_untold);

    seq->n_untold = 0;
    seq->held.len -= len;
    memmove(seq->held.data, seq->held.data + len, seq->held.len);
}


void
llm_seq_finish(llm_seq_t *seq, llm_finish_e finish, const char *err)
{
    if (finish == LLM_FINISH_STOP || finish == LLM_FINISH_LENGTH) {

        if (seq->n_part && llm_seq_broken(seq)) {
            finish = LLM_FINISH_STOP;
        }

        llm_seq_emit(seq, seq->held.len);
    }

    if (finish != LLM_FINISH_ERROR) {
        err = "";

    } else if (err == NULL || err[0] == '\0') {
        err = "out of memory";
    }

    seq->usage.total_us = llm_seq_now() - seq->submitted_us;

    seq->handler->done(seq->data, finish, &seq->usage, err);
}


uint64_t
llm_seq_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}
