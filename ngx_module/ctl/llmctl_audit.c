
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit query and lookup: calls of the audit trail, as a table or as
 * JSON, printed as they are found.  A text that is looked up comes from a file
 * or standard input, never from the argument list, which others see.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "../store/llm_admin_int.h"
#include "../store/llm_store_int.h"
#include "llmctl_audit.h"


#define LLMCTL_AUDIT_LIMIT  1000


/* of the command line, as it stands there */
typedef struct {
    const char  *key;
    const char  *client;
    const char  *addr;
    const char  *status;
    const char  *model;
    const char  *path;
    const char  *request;
    const char  *since;
    const char  *until;
    const char  *limit;
    const char  *before;
    int          oldest;
    int          unfinished;
    int          acts;
} llmctl_audit_args_t;


#define LLMCTL_AUDIT_PAGE_OPTS(s)                                             \
    { "since", &(s)->since, NULL },                                           \
    { "until", &(s)->until, NULL },                                           \
    { "limit", &(s)->limit, NULL },                                           \
    { "before", &(s)->before, NULL },                                         \
    { "oldest", NULL, &(s)->oldest }


typedef struct {
    int       json;
    uint64_t  n;
} llmctl_audit_out_t;


static int llmctl_audit_options(llmctl_admin_t *x,
    const llmctl_audit_args_t *s, llm_audit_query_t *q);
static int llmctl_audit_number(llmctl_admin_t *x, const char *option,
    const char *s, uint64_t max, uint64_t *n);
static int llmctl_audit_check(llmctl_admin_t *x, const llm_audit_query_t *q);
static int llmctl_audit_print(llmctl_admin_t *x, const llm_audit_query_t *q,
    uint64_t *n);
static int llmctl_audit_each(void *data, const llm_audit_call_t *call);
static void llmctl_audit_row(const llm_audit_call_t *call);
static int llmctl_audit_read(llmctl_admin_t *x, const char *name,
    llm_buf_t *text);


int
llmctl_audit_query(int argc, char **argv)
{
    int                   rc;
    const char           *none[1];
    llmctl_admin_t        x;
    llm_audit_query_t     q;
    llmctl_audit_args_t   s;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        { "key", &s.key, NULL },
        { "client", &s.client, NULL },
        { "address", &s.addr, NULL },
        { "status", &s.status, NULL },
        { "model", &s.model, NULL },
        { "path", &s.path, NULL },
        { "request", &s.request, NULL },
        { "unfinished", NULL, &s.unfinished },
        { "actions", NULL, &s.acts },
        LLMCTL_AUDIT_PAGE_OPTS(&s),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&s, 0, sizeof(s));

    rc = llmctl_options(argc, argv, opts, none, 0);

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_options(&x, &s, &q);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_TRY, 0);
    }

    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_audit_print(&x, &q, NULL);
    llmctl_admin_close(&x);

    return rc;
}


int
llmctl_audit_lookup(int argc, char **argv)
{
    int                   rc;
    uint64_t              n;
    llm_buf_t             text;
    const char           *file[1];
    llmctl_admin_t        x;
    llm_audit_query_t     q;
    llmctl_audit_args_t   s;

    const llmctl_opt_t  opts[] = {
        LLMCTL_STORE_OPTS(&x),
        LLMCTL_AUDIT_PAGE_OPTS(&s),
        { NULL, NULL, NULL }
    };

    llmctl_admin_init(&x, argv[0]);
    memset(&s, 0, sizeof(s));
    memset(&text, 0, sizeof(text));

    rc = llmctl_options(argc, argv, opts, file, 1);

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_options(&x, &s, &q);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_read(&x, file[0], &text);
    }

    if (rc == LLMCTL_OK) {
        rc = llmctl_audit_open(&x, LLMCTL_SECRET_NEED, 0);
    }

    if (rc != LLMCTL_OK) {
        goto done;
    }

    q.text = text.data;
    q.text_len = text.len;

    rc = llmctl_audit_print(&x, &q, &n);

    /* an editor puts a line's end where the text had none */

    if (rc == LLMCTL_OK && n == 0 && text.len > 1
        && text.data[text.len - 1] == '\n')
    {
        q.text_len--;
        rc = llmctl_audit_print(&x, &q, &n);
    }

    if (rc == LLMCTL_OK && n == 0) {
        rc = llmctl_error(LLMCTL_NOTFOUND, "%s: no call with this text",
                          x.cmd);
    }

    llmctl_admin_close(&x);

done:

    if (text.data != NULL) {
        OPENSSL_cleanse(text.data, text.size);
    }

    llm_buf_done(&text);

    return rc;
}


int
llmctl_audit_open(llmctl_admin_t *x, int secret, int write)
{
    int   rc;
    char  err[LLM_ERRLEN];

    x->bare = 1;

    rc = llmctl_admin_open(x, secret);
    if (rc != LLMCTL_OK) {
        return rc;
    }

    rc = llmctl_trail_open(x, write, err, sizeof(err));

    if (rc != LLM_OK) {
        llmctl_admin_close(x);
        return llmctl_error(llmctl_exit(rc), "%s: %s", x->cmd, err);
    }

    return LLMCTL_OK;
}


static int
llmctl_audit_options(llmctl_admin_t *x, const llmctl_audit_args_t *s,
    llm_audit_query_t *q)
{
    int       rc;
    uint64_t  limit;

    memset(q, 0, sizeof(llm_audit_query_t));

    q->key = s->key;
    q->client = s->client;
    q->addr = s->addr;
    q->model = s->model;
    q->path = s->path;
    q->request = s->request;
    q->oldest = s->oldest;
    q->unfinished = s->unfinished;
    q->acts = s->acts;

    limit = LLMCTL_AUDIT_LIMIT;

    if ((rc = llmctl_audit_time(x, "since", s->since, &q->since)) != LLMCTL_OK
        || (rc = llmctl_audit_time(x, "until", s->until, &q->until))
           != LLMCTL_OK
        || (rc = llmctl_audit_number(x, "limit", s->limit, UINT32_MAX, &limit))
           != LLMCTL_OK
        || (rc = llmctl_audit_number(x, "before", s->before, INT64_MAX,
                                     &q->before)) != LLMCTL_OK)
    {
        return rc;
    }

    q->limit = (uint32_t) limit;

    if (s->status != NULL) {
        q->status = llm_admin_audit_status(s->status);

        if (q->status == 0) {
            return llmctl_error(LLMCTL_USAGE, "%s: --status: a status such "
                                "as 404, or 4xx", x->cmd);
        }
    }

    return llmctl_audit_check(x, q);
}


static int
llmctl_audit_check(llmctl_admin_t *x, const llm_audit_query_t *q)
{
    char        path[128];
    size_t      n;
    llm_net_t   net;

    if (q->key != NULL
        && llmctl_admin_path(x, "keys", q->key, NULL, path, sizeof(path))
           != LLMCTL_OK)
    {
        return LLMCTL_USAGE;
    }

    if (q->addr != NULL
        && llm_net_parse(&net, q->addr, strlen(q->addr), NULL, 0) != LLM_OK)
    {
        return llmctl_error(LLMCTL_USAGE, "%s: --address: an address, or a "
                            "range such as 10.0.0.0/8", x->cmd);
    }

    if (q->request != NULL) {
        n = strlen(q->request);

        if (n == 0 || n > 32 || strspn(q->request, "0123456789abcdef") != n) {
            return llmctl_error(LLMCTL_USAGE, "%s: --request: the beginning "
                                "of a request id, in hex", x->cmd);
        }
    }

    return LLMCTL_OK;
}


static int
llmctl_audit_number(llmctl_admin_t *x, const char *option, const char *s,
    uint64_t max, uint64_t *n)
{
    char                *end;
    unsigned long long   v;

    if (s == NULL) {
        return LLMCTL_OK;
    }

    errno = 0;
    v = strtoull(s, &end, 10);

    if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v > max) {
        return llmctl_error(LLMCTL_USAGE, "%s: --%s: a number is expected",
                            x->cmd, option);
    }

    *n = v;

    return LLMCTL_OK;
}


int
llmctl_audit_time(llmctl_admin_t *x, const char *option, const char *s,
    int64_t *when)
{
    if (s != NULL
        && llm_admin_past(s, (int64_t) time(NULL) * 1000, when) != LLM_OK)
    {
        return llmctl_error(LLMCTL_USAGE, "%s: --%s: a time such as "
                            "2026-11-01, 2026-11-01T12:00:00Z, or 2h: two "
                            "hours ago", x->cmd, option);
    }

    return LLMCTL_OK;
}


/* n: how many, or NULL where none is told */

static int
llmctl_audit_print(llmctl_admin_t *x, const llm_audit_query_t *q,
    uint64_t *n)
{
    int                  rc;
    char                 err[LLM_ERRLEN];
    uint64_t             next;
    llmctl_audit_out_t   out;

    out.json = x->json;
    out.n = 0;
    next = 0;

    rc = llm_audit_query(x->audit, q, llmctl_audit_each, &out, &next, err,
                         sizeof(err));

    if (llmctl_flush() != LLMCTL_OK) {
        return LLMCTL_FAILED;
    }

    if (rc == LLM_CANCELLED) {
        return LLMCTL_FAILED;
    }

    if (rc != LLM_OK) {
        return llmctl_error(LLMCTL_FAILED, "%s: %s", x->cmd, err);
    }

    if (next != 0) {
        fprintf(stderr, "llmctl: there may be more: --before %llu\n",
                (unsigned long long) next);
    }

    if (n != NULL) {
        *n = out.n;

    } else if (out.n == 0 && !x->json) {
        fprintf(stderr, "llmctl: %s: no such call\n", x->cmd);
    }

    return LLMCTL_OK;
}


static int
llmctl_audit_each(void *data, const llm_audit_call_t *call)
{
    llmctl_audit_out_t  *out = data;

    if (out->json) {
        out->n++;
        return llmctl_audit_line(llm_audit_call_json(call));
    }

    if (out->n++ == 0) {
        printf("%10s  %-24s  %3s  %-28s  %-16s  %-15s  %-6s  %-24s  %-16s  "
               "%13s  %7s\n", "NUMBER", "TIME", "ST", "KEY", "CLIENT",
               "ADDRESS", "METHOD", "PATH", "MODEL", "TOKENS", "MS");
    }

    llmctl_audit_row(call);

    return ferror(stdout) ? LLM_CANCELLED : LLM_OK;
}


/* texts hold no control characters: llm_audit_query() sees to that */

static void
llmctl_audit_row(const llm_audit_call_t *call)
{
    char  status[16], tokens[32], ms[32], stamp[32];

    (void) snprintf(status, sizeof(status), call->close == 0 ? "..." : "%u",
                    call->status);

    (void) snprintf(tokens, sizeof(tokens), "%u+%u", call->prompt_tokens,
                    call->completion_tokens);
    (void) snprintf(ms, sizeof(ms), "%llu",
                    (unsigned long long) call->total_us / 1000);

    if (call->close == 0
        || (call->prompt_tokens == 0 && call->completion_tokens == 0))
    {
        (void) strcpy(tokens, "-");
    }

    printf("%10llu  %-24s  %3s  %-28s  %-16s  %-15s  %-6s  %-24s  %-16s  "
           "%13s  %7s%s%s\n", (unsigned long long) call->number,
           llmctl_audit_stamp(stamp, sizeof(stamp), call->time), status,
           call->key[0] != '\0' ? call->key : "-",
           call->client[0] != '\0' ? call->client : "-",
           call->addr[0] != '\0' ? call->addr : "-",
           call->method[0] != '\0' ? call->method : "-",
           call->path[0] != '\0' ? call->path : "-",
           call->model[0] != '\0' ? call->model : "-", tokens,
           call->close != 0 ? ms : "-", call->code[0] != '\0' ? "  " : "",
           call->code);
}


char *
llmctl_audit_stamp(char *buf, size_t size, int64_t ms)
{
    size_t  n;

    if (ms <= 0) {
        (void) snprintf(buf, size, "-");
        return buf;
    }

    (void) llm_admin_time(buf, size, ms / 1000);
    n = strlen(buf);

    if (n > 0 && buf[n - 1] == 'Z') {
        (void) snprintf(buf + n - 1, size - n + 1, ".%03uZ",
                        (unsigned) (ms % 1000));
    }

    return buf;
}


int
llmctl_audit_line(json_t *o)
{
    char  *text;

    text = o != NULL ? json_dumps(o, JSON_COMPACT|LLM_ADMIN_DUMP)
                     : NULL;
    json_decref(o);

    if (text == NULL) {
        return LLM_NOMEM;
    }

    (void) fputs(text, stdout);
    (void) fputc('\n', stdout);
    free(text);

    return ferror(stdout) ? LLM_CANCELLED : LLM_OK;
}


char *
llmctl_audit_hex(char *buf, const uint8_t *p, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        (void) snprintf(buf + 2 * i, 3, "%02x", p[i]);
    }

    return buf;
}


int
llmctl_audit_unhex(uint8_t *p, size_t n, const char *hex)
{
    char    c[3];
    size_t  i;

    if (strlen(hex) != 2 * n
        || strspn(hex, "0123456789abcdefABCDEF") != 2 * n)
    {
        return 0;
    }

    c[2] = '\0';

    for (i = 0; i < n; i++) {
        memcpy(c, hex + 2 * i, 2);
        p[i] = (uint8_t) strtoul(c, NULL, 16);
    }

    return 1;
}


static int
llmctl_audit_read(llmctl_admin_t *x, const char *name, llm_buf_t *text)
{
    int      rc;
    FILE    *f;
    size_t   n;

    f = name == NULL || strcmp(name, "-") == 0 ? stdin : fopen(name, "re");

    if (f == NULL) {
        return llmctl_error(LLMCTL_FAILED, "%s: the text's file: %s", x->cmd,
                            strerror(errno));
    }

    rc = LLMCTL_OK;

    do {
        if (llm_buf_reserve(text, 65536) != LLM_OK) {
            rc = llmctl_error(LLMCTL_FAILED, "%s: no memory", x->cmd);
            break;
        }

        n = fread(text->data + text->len, 1, 65536, f);
        text->len += n;

    } while (n != 0 && text->len <= LLM_AUDIT_CONTENT);

    if (rc == LLMCTL_OK && ferror(f)) {
        rc = llmctl_error(LLMCTL_FAILED, "%s: the text could not be read",
                          x->cmd);

    } else if (rc == LLMCTL_OK
               && (text->len == 0 || text->len > LLM_AUDIT_CONTENT))
    {
        rc = llmctl_error(LLMCTL_USAGE, "%s: a text of 1 to %d bytes is "
                          "expected", x->cmd, LLM_AUDIT_CONTENT);
    }

    if (f != stdin) {
        (void) fclose(f);
    }

    return rc;
}
