
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit replay: a call of the audit trail, answered again by the model
 * in this process, beside what the trail has of the answer.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "../../engine/llm_replay.h"
#include "../../engine/llm_ring.h"
#include "../audit/llm_audit_compare.h"
#include "llmctl_audit.h"
#include "llmctl_help.h"
#include "llmctl_model.h"


typedef struct {
    llmctl_admin_t        x;
    const char           *id;
    const char           *dir;
    const char           *input;        /* a file */
    llk_device_e          device;

    llm_audit_call_t      call;
    int                   found;
    llm_buf_t             body;
    llm_replay_t         *rp;
    llm_replay_conf_t     conf;
    llm_replay_answer_t   answer;
    double                start;        /* seconds */
    double                shown;        /* since then; 0: not */
    char                  err[LLM_ERRLEN];
} llmctl_replay_t;


static int llmctl_replay_run(llmctl_replay_t *w);
static int llmctl_replay_find(llmctl_replay_t *w);
static int llmctl_replay_each(void *data, const llm_audit_call_t *call);
static int llmctl_replay_able(llmctl_replay_t *w);
static int llmctl_replay_body(llmctl_replay_t *w);
static int llmctl_replay_file(llmctl_replay_t *w);
static int llmctl_replay_conf(llmctl_replay_t *w);
static void llmctl_replay_enough(llmctl_replay_t *w);
static int llmctl_replay_cut(const llmctl_replay_t *w);
static void llmctl_replay_tokens(void *data, uint64_t tokens);
static int llmctl_replay_compare(llmctl_replay_t *w);
static json_t *llmctl_replay_result(llmctl_replay_t *w, uint32_t i,
    const llm_audit_compared_t *r);
static void llmctl_replay_text(llmctl_replay_t *w, uint32_t i,
    const llm_audit_compared_t *r);
static json_t *llmctl_replay_json(const llmctl_replay_t *w);
static void llmctl_replay_builds(llmctl_replay_t *w);
static int llmctl_replay_fail(llmctl_replay_t *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void llmctl_replay_wipe(llm_buf_t *b);


const char  llmctl_audit_replay_help[] =
    "Usage: llmctl audit replay ID --model DIR [options]\n"
    "\n"
    "Answers a call of the audit trail again, with its kept body, seed and\n"
    "parameters, and compares the bytes with what was answered then.  ID is\n"
    "the number of a record or a whole request id.\n"
    "\n"
    "  --model DIR          the directory of the model that answered\n"
    "  --input FILE         the request's body, where it was not kept: it\n"
    "                       must have its fingerprint\n"
    "  --device NAME        auto, cpu or ref (auto)\n"
    "  --json               print a JSON object\n"
    LLMCTL_WHERE_HELP
    "\n"
    "Exit codes: 0 the same bytes, 1 others, 2 wrong usage, 3 it could not "
    "be\ntold.\n";


int
llmctl_audit_replay(int argc, char **argv)
{
    int               i, rc;
    const char       *id[1], *device;
    llmctl_replay_t   w;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&w.x),
        { "model", &w.dir, NULL },
        { "input", &w.input, NULL },
        { "device", &device, NULL },
        { NULL, NULL, NULL }
    };

    memset(&w, 0, sizeof(w));
    llmctl_admin_init(&w.x, argv[0]);
    device = "auto";

    rc = llmctl_options(argc, argv, opts, id, 1);
    w.id = id[0];

    if (rc == LLMCTL_OK && (w.id == NULL || w.dir == NULL)) {
        rc = llmctl_error(LLMCTL_USAGE, "%s: %s is missing, see llmctl %s "
                          "--help", w.x.cmd, w.id ? "--model" : "ID",
                          w.x.cmd);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_device(w.x.cmd, device, &w.device);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_audit_open(&w.x, LLMCTL_SECRET_NEED, 0);

    if (rc != LLMCTL_OK) {
        return rc == LLMCTL_USAGE ? rc : LLMCTL_AUDIT_COULD;
    }

    rc = llmctl_replay_run(&w);

    llmctl_admin_close(&w.x);
    llm_replay_close(w.rp);
    llmctl_replay_wipe(&w.body);

    for (i = 0; i < LLM_CHOICES_MAX; i++) {
        llmctl_replay_wipe(&w.answer.choice[i].text);
    }

    llm_replay_done(&w.answer);

    return rc;
}


static void
llmctl_replay_wipe(llm_buf_t *b)
{
    if (b->data != NULL) {
        OPENSSL_cleanse(b->data, b->size);
    }

    llm_buf_done(b);
    memset(b, 0, sizeof(llm_buf_t));
}


static int
llmctl_replay_run(llmctl_replay_t *w)
{
    int  rc;

    if ((rc = llmctl_replay_find(w)) != LLMCTL_OK
        || (rc = llmctl_replay_able(w)) != LLMCTL_OK
        || (rc = llmctl_replay_body(w)) != LLMCTL_OK
        || (rc = llmctl_replay_conf(w)) != LLMCTL_OK)
    {
        return rc;
    }

    w->start = llmctl_seconds();

    if (llm_replay_open(&w->rp, w->dir, w->device, 0,
                        isatty(STDERR_FILENO) ? llmctl_progress : NULL,
                        &w->start, w->err, LLM_ERRLEN)
        != LLM_OK)
    {
        return llmctl_replay_fail(w, "%s", w->err);
    }

    w->start = llmctl_seconds();

    if (isatty(STDERR_FILENO)) {
        w->conf.progress = llmctl_replay_tokens;
        w->conf.data = w;
    }

    rc = llm_replay(w->rp, &w->conf, &w->answer, w->err, LLM_ERRLEN);

    if (w->shown > 0) {
        fprintf(stderr, "\r\033[K");
    }

    if (rc != LLM_OK) {
        llmctl_replay_builds(w);
        return llmctl_replay_fail(w, "%s", w->err);
    }

    return llmctl_replay_compare(w);
}


static int
llmctl_replay_fail(llmctl_replay_t *w, const char *fmt, ...)
{
    char     text[LLM_ERRLEN * 2];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return llmctl_error(LLMCTL_AUDIT_COULD, "%s: %s", w->x.cmd, text);
}


static int
llmctl_replay_find(llmctl_replay_t *w)
{
    int                 rc;
    char               *end;
    uint64_t            number, next;
    llm_audit_query_t   q;

    errno = 0;
    number = strtoull(w->id, &end, 10);

    if (strlen(w->id) == 32) {
        memset(&q, 0, sizeof(q));
        q.request = w->id;
        q.limit = 1;

        rc = llm_audit_query(w->x.audit, &q, llmctl_replay_each, w, &next,
                             w->err, LLM_ERRLEN);

    } else if (w->id[0] >= '1' && w->id[0] <= '9' && *end == '\0'
               && errno == 0)
    {
        rc = llm_audit_call_get(w->x.audit, number, &w->call, w->err,
                                LLM_ERRLEN);
        w->found = (rc == LLM_OK);

    } else {
        return llmctl_error(LLMCTL_USAGE, "%s: \"%.64s\" is neither a "
                            "record's number nor a whole request id",
                            w->x.cmd, w->id);
    }

    if (rc != LLM_OK && rc != LLM_NOTFOUND) {
        return llmctl_replay_fail(w, "%s", w->err);
    }

    return w->found ? LLMCTL_OK
                    : llmctl_replay_fail(w, "no such call is in the audit "
                                         "trail");
}


static int
llmctl_replay_each(void *data, const llm_audit_call_t *call)
{
    llmctl_replay_t  *w = data;

    w->call = *call;
    w->found = 1;

    return LLM_OK;
}


/* is there anything to compare with, and anything to compute it by? */

static int
llmctl_replay_able(llmctl_replay_t *w)
{
    const char              *path = w->call.path;
    size_t                   len = strlen(path);
    const llm_audit_call_t  *c = &w->call;

    static const char  chat[] = "/chat/completions", text[] = "/completions";

    if (c->close == 0) {
        return llmctl_replay_fail(w, "the call has no closing record: it "
                                  "runs, or its process was killed");
    }

    if (!c->with_seed || c->build == 0) {
        return llmctl_replay_fail(w, "no model of this server has answered "
                                  "the call (%s, status %u)",
                                  c->code[0] ? c->code : "no error",
                                  c->status);
    }

    if (c->n_output == 0 && !c->with_output) {
        return llmctl_replay_fail(w, "the call has no output");
    }

    if (len >= sizeof(chat) - 1
        && strcmp(path + len - (sizeof(chat) - 1), chat) == 0)
    {
        w->conf.api = LLM_API_CHAT;

    } else if (len >= sizeof(text) - 1
               && strcmp(path + len - (sizeof(text) - 1), text) == 0)
    {
        w->conf.api = LLM_API_COMPLETION;

    } else {
        return llmctl_replay_fail(w, "%s: nothing that is replayed", path);
    }

    return LLMCTL_OK;
}


static int
llmctl_replay_body(llmctl_replay_t *w)
{
    int      rc;
    uint8_t  print[LLM_AUDIT_HASH];

    if (w->input != NULL) {
        rc = llmctl_replay_file(w);
        if (rc != LLMCTL_OK) {
            return rc;
        }

    } else if (!w->call.with_input) {
        return llmctl_replay_fail(w, "the call's body was not kept "
                                  "(llm_audit_content is off there); whoever "
                                  "has it gives it by --input");

    } else if (llm_audit_content(w->x.audit, w->call.number, 'i', 0, &w->body,
                                 w->err, LLM_ERRLEN)
               != LLM_OK)
    {
        return llmctl_replay_fail(w, "%s", w->err);
    }

    /* also of what was kept: its seal says that nobody changed it, the
     * fingerprint in the chain that it is this call's */

    rc = llm_audit_print_at(w->x.audit, w->call.epoch,
                            w->body.data ? w->body.data : "", w->body.len,
                            print, w->err, LLM_ERRLEN);
    if (rc != LLM_OK) {
        return llmctl_replay_fail(w, "%s", w->err);
    }

    if (w->call.n_input == 0
        || memcmp(print, w->call.input[0], LLM_AUDIT_HASH) != 0)
    {
        return llmctl_replay_fail(w, w->input ? "%s is not this call's body: "
                                  "it has another fingerprint"
                                  : "the body that was kept has another "
                                    "fingerprint%s",
                                  w->input ? w->input : "");
    }

    return LLMCTL_OK;
}


static int
llmctl_replay_file(llmctl_replay_t *w)
{
    int      rc;
    FILE    *f;
    size_t   n;

    f = strcmp(w->input, "-") == 0 ? stdin : fopen(w->input, "re");

    if (f == NULL) {
        return llmctl_replay_fail(w, "%s: %s", w->input, strerror(errno));
    }

    rc = LLMCTL_OK;

    do {
        if (llm_buf_reserve(&w->body, 65536) != LLM_OK) {
            rc = llmctl_replay_fail(w, "out of memory");
            break;
        }

        n = fread(w->body.data + w->body.len, 1, 65536, f);
        w->body.len += n;

    } while (n != 0 && w->body.len <= LLM_BODY_MAX);

    if (rc == LLMCTL_OK && (ferror(f) || w->body.len > LLM_BODY_MAX)) {
        rc = llmctl_replay_fail(w, "%s: can't be read, or is larger than %d "
                                "bytes", w->input, LLM_BODY_MAX);
    }

    if (f != stdin) {
        (void) fclose(f);
    }

    return rc;
}


static int
llmctl_replay_conf(llmctl_replay_t *w)
{
    llm_replay_conf_t  *c = &w->conf;

    c->model = w->call.model;
    c->body = w->body.data ? w->body.data : "";
    c->len = w->body.len;
    c->when = w->call.wall / 1000;
    c->seed = w->call.seed;
    c->effective = w->call.effective;

    if (!llm_effective_valid(&c->effective)) {
        return llmctl_replay_fail(w, "the record's parameters are out of "
                                  "range");
    }

    /* a choice alone ended there, by whatever limit */

    if (w->call.n_output == 1 && strcmp(w->call.finish, "length") == 0) {
        c->tokens = w->call.completion_tokens;
    }

    if (llmctl_replay_cut(w)) {
        llmctl_replay_enough(w);
    }

    return LLMCTL_OK;
}


/* the end is not the text's own.  Of several choices some may have ended by a
 * quota: a record tells of one */

static int
llmctl_replay_cut(const llmctl_replay_t *w)
{
    if (strcmp(w->call.finish, "stop") == 0) {
        return w->call.n_output > 1;
    }

    if (strcmp(w->call.finish, "length") == 0) {
        return w->call.n_output > 1;
    }

    return 1;
}


/* of what was cut no more is computed than was kept */

static void
llmctl_replay_enough(llmctl_replay_t *w)
{
    uint32_t   i;
    llm_buf_t  kept = { 0 };

    if (w->call.finish[0] != '\0' || !w->call.with_output) {
        return;
    }

    for (i = 0; i < w->call.n_output; i++) {
        if (llm_audit_content(w->x.audit, w->call.number, 'o', i, &kept,
                              w->err, LLM_ERRLEN)
            == LLM_OK)
        {
            /* 0 would be all of it */
            w->conf.enough[i] = kept.len ? kept.len : 1;
        }

        llmctl_replay_wipe(&kept);
    }
}


static void
llmctl_replay_tokens(void *data, uint64_t tokens)
{
    double            now;
    llmctl_replay_t  *w = data;

    now = llmctl_seconds() - w->start;

    if (now < 1 || now - w->shown < 0.2) {
        return;
    }

    w->shown = now;

    fprintf(stderr, "\r\033[Kreplaying: %llu tokens, %.1f/s",
            (unsigned long long) tokens, (double) tokens / now);
    fflush(stderr);
}


static int
llmctl_replay_compare(llmctl_replay_t *w)
{
    int                   equal, known;
    json_t               *list, *o;
    uint32_t              i;
    llm_audit_again_t     again;
    llm_audit_compared_t  r;
    llm_replay_choice_t  *c;

    list = w->x.json ? json_array() : NULL;
    equal = 1;
    known = 0;

    llmctl_replay_builds(w);

    for (i = 0; i < (uint32_t) w->answer.n; i++) {
        c = &w->answer.choice[i];

        memset(&again, 0, sizeof(again));
        again.data = c->text.data ? c->text.data : "";
        again.len = c->text.len;
        again.piece = c->piece;
        again.n_piece = c->n_piece;
        again.cut = llmctl_replay_cut(w);

        if (llm_audit_compare(w->x.audit, &w->call, i, &again, &r, w->err,
                              LLM_ERRLEN)
            != LLM_OK)
        {
            json_decref(list);
            return llmctl_replay_fail(w, "%s", w->err);
        }

        if (r.same == LLM_AUDIT_EQUAL && w->call.finish[0] == '\0') {
            /* no more than that was computed */
            r.same = LLM_AUDIT_PART;
        }

        known += (r.same != LLM_AUDIT_UNKEPT);
        equal &= (r.same != LLM_AUDIT_DIFFERS);

        if (w->x.json) {
            json_array_append_new(list, llmctl_replay_result(w, i, &r));

        } else {
            llmctl_replay_text(w, i, &r);
        }
    }

    if (w->x.json) {
        o = llmctl_replay_json(w);

        if (o == NULL
            || json_object_set_new(o, "equal", json_boolean(equal && known))
               != 0
            || json_object_set_new(o, "choices", list) != 0
            || llmctl_audit_line(o) != LLM_OK)
        {
            return llmctl_replay_fail(w, "the result could not be printed");
        }
    }

    if (llmctl_flush() != LLMCTL_OK) {
        return LLMCTL_AUDIT_COULD;
    }

    return !equal ? LLMCTL_FAILED : known ? LLMCTL_OK : LLMCTL_AUDIT_COULD;
}


static void
llmctl_replay_text(llmctl_replay_t *w, uint32_t i,
    const llm_audit_compared_t *r)
{
    char  hex[2 * LLM_AUDIT_HASH + 1];

    (void) llmctl_audit_hex(hex, r->print, LLM_AUDIT_HASH);

    if (w->answer.n > 1) {
        printf("choice %u: ", i);
    }

    switch (r->same) {

    case LLM_AUDIT_EQUAL:
        printf("equal: %llu bytes, fingerprint %s\n",
               (unsigned long long) r->bytes, hex);
        break;

    case LLM_AUDIT_PART:
        printf("equal as far as it went: %llu bytes, fingerprint %s\n",
               (unsigned long long) r->bytes, hex);
        break;

    case LLM_AUDIT_DIFFERS:
        if (r->content) {
            printf("differs after %llu bytes: %llu were kept, now there are "
                   "%zu\n", (unsigned long long) r->bytes,
                   (unsigned long long) r->kept,
                   w->answer.choice[i].text.len);

        } else {
            (void) llmctl_audit_hex(hex, w->call.output[i], LLM_AUDIT_HASH);
            printf("differs: %zu bytes with another fingerprint than %s\n",
                   w->answer.choice[i].text.len, hex);
        }

        break;

    default:
        printf("nothing of it was kept\n");
    }
}


static json_t *
llmctl_replay_result(llmctl_replay_t *w, uint32_t i,
    const llm_audit_compared_t *r)
{
    char     hex[2 * LLM_AUDIT_HASH + 1];
    json_t  *o;

    static const char *const  names[] = {
        "", "equal", "equal_as_far_as_it_went", "differs", "not_kept"
    };

    o = json_pack("{s:i, s:s, s:s, s:I, s:I}", "index", (int) i,
                  "result", names[r->same],
                  "by", r->content ? "content" : "fingerprint",
                  "bytes", (json_int_t) w->answer.choice[i].text.len,
                  "tokens", (json_int_t) w->answer.choice[i].tokens);

    if (o == NULL) {
        return NULL;
    }

    if (r->content) {
        (void) json_object_set_new(o, "same_bytes",
                                   json_integer((json_int_t) r->bytes));
        (void) json_object_set_new(o, "kept_bytes",
                                   json_integer((json_int_t) r->kept));
    }

    if (r->same == LLM_AUDIT_EQUAL || r->same == LLM_AUDIT_PART) {
        (void) json_object_set_new(o, "fingerprint",
                                   json_string(llmctl_audit_hex(hex, r->print,
                                                          LLM_AUDIT_HASH)));
    }

    return o;
}


static json_t *
llmctl_replay_json(const llmctl_replay_t *w)
{
    char      then[17], now[17];
    uint64_t  build = llm_replay_build(w->rp);

    (void) snprintf(then, sizeof(then), "%016llx",
                    (unsigned long long) w->call.build);
    (void) snprintf(now, sizeof(now), "%016llx", (unsigned long long) build);

    return json_pack("{s:s, s:I, s:s, s:{s:s, s:s, s:b, s:b}}",
                     "request", w->call.request,
                     "number", (json_int_t) w->call.number,
                     "model", w->call.model,
                     "build", "then", then, "now", now,
                     "same_model", (w->call.build ^ build) >> 32 == 0,
                     "same_arithmetic",
                     (uint32_t) (w->call.build ^ build) == 0);
}


/* what answers now is not what answered then: said, and tried all the same */

static void
llmctl_replay_builds(llmctl_replay_t *w)
{
    uint64_t  now, then;

    now = llm_replay_build(w->rp);
    then = w->call.build;

    if (w->x.json) {
        return;
    }

    if ((now ^ then) >> 32) {
        (void) llmctl_error(0, "%s: %s is not the model that answered: it was "
                            "%08llx, this is %08llx", w->x.cmd, w->dir,
                            (unsigned long long) then >> 32,
                            (unsigned long long) now >> 32);
    }

    if ((uint32_t) (now ^ then)) {
        (void) llmctl_error(0, "%s: this computes otherwise than what "
                            "answered (another version, or another vector "
                            "unit: --device): it was %08x, this is %08x",
                            w->x.cmd, (uint32_t) then, (uint32_t) now);
    }
}
