
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: the store's, calls' and secret's handles of a command, and calls of
 * the administration with what they refuse.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "llmctl_admin.h"


static int llmctl_become(llmctl_admin_t *x);
static void llmctl_actor(llmctl_admin_t *x);
static int llmctl_code(llmctl_admin_t *x);
static int llmctl_code_ask(llmctl_admin_t *x, const llm_admin_reply_t *r);
static void llmctl_call(llmctl_admin_t *x, llm_admin_call_t *call,
    llm_admin_reply_t *reply);
static int llmctl_refused(llmctl_admin_t *x, const llm_admin_reply_t *r);
static int llmctl_refused_code(const llm_admin_reply_t *r);
static const char *llmctl_option(const char *param);
static void llmctl_working(int start);
static void llmctl_working_note(int sig);


void
llmctl_admin_init(llmctl_admin_t *x, const char *cmd)
{
    memset(x, 0, sizeof(llmctl_admin_t));

    x->cmd = cmd;
    x->store = LLMCTL_STORE;
    x->source = LLMCTL_SECRET;
}


int
llmctl_admin_open(llmctl_admin_t *x, int secret)
{
    int   rc;
    char  err[LLM_ERRLEN];

    llmctl_actor(x);

    if (llmctl_source(x->cmd, x->source) != LLMCTL_OK
        || llmctl_code(x) != LLMCTL_OK)
    {
        return LLMCTL_USAGE;
    }

    llmctl_working(1);

    if (secret != LLMCTL_SECRET_NONE) {
        rc = llm_secret_open(&x->secret, x->source, x->secret_err,
                             sizeof(x->secret_err));

        if (rc != LLM_OK) {
            x->secret = NULL;

            if (secret == LLMCTL_SECRET_NEED) {
                llmctl_working(0);
                return llmctl_error(llmctl_exit(rc), "%s", x->secret_err);
            }
        }
    }

    rc = llmctl_become(x);
    if (rc != LLMCTL_OK) {
        llmctl_admin_close(x);
        return rc;
    }

    rc = llm_store_open(&x->st, x->store, 0, err, sizeof(err));

    if (rc != LLM_OK) {
        x->st = NULL;

        if (x->bare) {
            return LLMCTL_OK;
        }

        llmctl_admin_close(x);
        return llmctl_error(llmctl_exit(rc), rc == LLM_NOTFOUND
                            ? "%s (llmctl init makes a store)" : "%s", err);
    }

    if (x->bare) {
        return LLMCTL_OK;
    }

    /* without it keys are still good and go */

    if (llm_calls_open(&x->calls, x->store, 0, err, sizeof(err)) != LLM_OK) {
        x->calls = NULL;
        (void) llmctl_error(0, "%s: usage and events are left out", err);
    }

    x->admin.store = x->st;
    x->admin.calls = x->calls;
    x->admin.secret = x->secret;
    x->admin.data = x;

    return LLMCTL_OK;
}


void
llmctl_admin_close(llmctl_admin_t *x)
{
    llmctl_working(0);

    llm_audit_close(x->audit);
    llm_calls_close(x->calls);
    llm_store_close(x->st);
    llm_secret_close(x->secret);

    x->audit = NULL;
    x->calls = NULL;
    x->st = NULL;
    x->secret = NULL;

    /* nothing of the owner's is open any more: it ends as it began */

    (void) llmctl_admin_raise(x, NULL, 0);

    OPENSSL_cleanse(x->code, sizeof(x->code));
}


/*
 * Root becomes the store's owner: the files it makes are then the workers'
 * own, and links in a directory that root does not own lead root nowhere.  For
 * good, unless the command also works where the owner may not (x->root).
 */

static int
llmctl_become(llmctl_admin_t *x)
{
    int          failed;
    struct stat  sb;

    if (geteuid() != 0 || stat(x->store, &sb) == -1 || sb.st_uid == 0) {
        x->root = 0;
        return LLMCTL_OK;
    }

    x->owner = sb.st_uid;

    if (x->root) {
        failed = setgroups(0, NULL) == -1 || setegid(sb.st_gid) == -1
                 || seteuid(sb.st_uid) == -1;
    } else {
        failed = setgroups(0, NULL) == -1 || setgid(sb.st_gid) == -1
                 || setuid(sb.st_uid) == -1;
    }

    if (failed) {
        return llmctl_error(LLMCTL_FAILED, "%s: to become its owner: %s",
                            x->store, strerror(errno));
    }

    return LLMCTL_OK;
}


int
llmctl_admin_raise(llmctl_admin_t *x, char *err, size_t errlen)
{
    if (x->root && seteuid(0) == -1) {
        return llm_err(err, errlen, LLM_ERROR, "to become root: %s",
                       strerror(errno));
    }

    return LLM_OK;
}


void
llmctl_admin_lower(llmctl_admin_t *x)
{
    if (x->root && seteuid(x->owner) == -1) {

        /* never go on as root by mistake; nothing is half done here */

        (void) llmctl_error(0, "to become %u: %s", (unsigned) x->owner,
                            strerror(errno));
        _exit(LLMCTL_FAILED);
    }
}


/* who is at the terminal, also behind sudo; else whose process this is */

static void
llmctl_actor(llmctl_admin_t *x)
{
    char           *p, name[48];
    struct passwd  *pw;

    if (getlogin_r(name, sizeof(name)) != 0 || name[0] == '\0') {
        pw = getpwuid(getuid());

        if (pw != NULL) {
            (void) snprintf(name, sizeof(name), "%s", pw->pw_name);
        } else {
            (void) snprintf(name, sizeof(name), "%u", (unsigned) getuid());
        }
    }

    for (p = name; *p != '\0'; p++) {
        if (*p <= ' ' || *p > '~') {
            *p = '?';
        }
    }

    (void) snprintf(x->actor, sizeof(x->actor), "llmctl:%s", name);
}


/* "-": a line of standard input */

static int
llmctl_code(llmctl_admin_t *x)
{
    if (x->totp == NULL || strcmp(x->totp, "-") != 0) {
        return LLMCTL_OK;
    }

    x->totp = x->code;

    return llmctl_admin_line(x->cmd, "a code", x->code, sizeof(x->code));
}


int
llmctl_admin_call(llmctl_admin_t *x, const char *method, const char *path,
    json_t *args, json_t *body, llm_admin_reply_t *reply)
{
    int               rc;
    llm_admin_call_t  call;

    memset(&call, 0, sizeof(call));

    call.method = method;
    call.path = path;
    call.args = args;
    call.body = body;
    call.actor = x->actor;
    call.as = x->as;
    call.break_glass = x->break_glass;
    call.idem = x->idem;

    llmctl_call(x, &call, reply);

    if (llmctl_code_ask(x, reply)) {
        llmctl_call(x, &call, reply);
    }

    json_decref(args);
    json_decref(body);

    rc = reply->status < 400 ? LLMCTL_OK : llmctl_refused(x, reply);

    /* what went on, but not as it should */

    if (rc == LLMCTL_OK && reply->detail[0] != '\0') {
        (void) llmctl_error(0, "%s: %s", x->cmd, reply->detail);
    }

    return rc;
}


/* every change of llmctl's passes here, and is in the audit trail before it is
 * made */

static void
llmctl_call(llmctl_admin_t *x, llm_admin_call_t *call,
    llm_admin_reply_t *reply)
{
    int              rc;
    char             err[LLM_ERRLEN];
    llmctl_trail_t   trail;
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    call->totp = x->totp;
    call->now = (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

    if (strcmp(call->method, "GET") == 0) {
        llm_admin(&x->admin, call, reply);
        return;
    }

    rc = llmctl_trail_before(x, call->method, call->path, &trail, err,
                             sizeof(err));

    if (rc != LLM_OK && !llmctl_trail_urgent(call->path)) {
        memset(reply, 0, sizeof(llm_admin_reply_t));
        reply->status = 503;
        (void) snprintf(reply->code, sizeof(reply->code),
                        "audit_unavailable");
        (void) snprintf(reply->message, sizeof(reply->message),
                        "nothing is changed, as it can't be written to the "
                        "audit trail: %.400s", err);
        return;
    }

    if (rc != LLM_OK) {
        (void) llmctl_error(0, "%s: it is done, but is not in the audit "
                            "trail: %s", x->cmd, err);
    }

    llm_admin(&x->admin, call, reply);
    llmctl_trail_after(x, &trail, reply->status, reply->code);
}


/* 1: there is one now */

static int
llmctl_code_ask(llmctl_admin_t *x, const llm_admin_reply_t *r)
{
    int  rc;

    if (r->status != 401 || strcmp(r->code, "totp_required") != 0
        || r->param[0] != '\0' || x->totp != NULL || !isatty(STDIN_FILENO))
    {
        return 0;
    }

    llmctl_working(0);
    fprintf(stderr, "%s\n", r->message);
    rc = llmctl_admin_ask("Code: ", x->code, sizeof(x->code));
    llmctl_working(1);

    x->totp = x->code;

    return rc == LLMCTL_OK;
}


int
llmctl_admin_ask(const char *prompt, char *buf, size_t size)
{
    /* OpenSSL's: from the terminal itself, which it puts back as it was also
     * when it is interrupted */

    if (EVP_read_pw_string_min(buf, 1, (int) size - 1, prompt, 0) == 0) {
        return LLMCTL_OK;
    }

    OPENSSL_cleanse(buf, size);

    return LLMCTL_FAILED;
}


static int
llmctl_refused(llmctl_admin_t *x, const llm_admin_reply_t *r)
{
    int          code;
    const char  *option;

    code = llmctl_refused_code(r);

    if (strcmp(r->code, "secret_unavailable") == 0
        && x->secret_err[0] != '\0')
    {
        return llmctl_error(code, "%s: %s", x->cmd, x->secret_err);
    }

    if (strncmp(r->code, "totp_required", 13) == 0) {
        return llmctl_error(code, "%s: %s  Give it with --totp CODE%s", x->cmd,
                            r->message, strcmp(r->param, "as") == 0
                            ? " and --as KEY_ID" : "");
    }

    /* whoever guesses must not keep the key from being revoked */

    if (strcmp(r->code, "totp_locked") == 0) {
        return llmctl_error(code, "%s: %s  Else another admin's code, with "
                            "--as KEY_ID, or llmctl totp remove KEY_ID "
                            "--break-glass", x->cmd, r->message);
    }

    option = llmctl_option(r->param);

    if (r->status == 400 && r->param[0] != '\0') {
        return llmctl_error(code, "%s: %s%s: %s", x->cmd,
                            option != NULL ? "--" : "",
                            option != NULL ? option : r->param, r->message);
    }

    return llmctl_error(code, "%s: %s", x->cmd, r->message);
}


static int
llmctl_refused_code(const llm_admin_reply_t *r)
{
    if (strcmp(r->code, "totp_required") == 0
        || strcmp(r->code, "totp_invalid") == 0
        || strcmp(r->code, "totp_locked") == 0)
    {
        return LLMCTL_FACTOR;
    }

    switch (r->status) {
    case 400:
        return LLMCTL_USAGE;
    case 404:
        return LLMCTL_NOTFOUND;
    case 409:
        return strcmp(r->code, "conflict") == 0
               || strcmp(r->code, "totp_enrolled") == 0
               ? LLMCTL_EXISTS : LLMCTL_FAILED;
    default:
        return LLMCTL_FAILED;
    }
}


/* the option that gives a member; NULL: none does */

static const char *
llmctl_option(const char *param)
{
    size_t  i;

    static const char *const  names[][2] = {
        { "client", "client" },
        { "role", "role" },
        { "expires", "expires" },
        { "models", "models" },
        { "addresses", "addresses" },
        { "requests_per_minute", "rpm" },
        { "tokens_per_minute", "tpm" },
        { "concurrent", "concurrent" },
        { "tokens_per_day", "tokens-per-day" },
        { "tokens_per_month", "tokens-per-month" },
        { "grace", "grace" },
        { "reason", "reason" },
        { "status", "status" },
        { "expiring", "expiring" },
        { "after", "after" },
        { "before", "before" },
        { "limit", "limit" },
        { "as", "as" },
        { "Idempotency-Key", "idempotency-key" }
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(param, names[i][0]) == 0) {
            return names[i][1];
        }
    }

    return NULL;
}


int
llmctl_admin_path(llmctl_admin_t *x, const char *what, const char *id,
    const char *verb, char *path, size_t size)
{
    if (id == NULL || *id == '\0') {
        return llmctl_error(LLMCTL_USAGE, "%s: the key's id is needed, "
                            "see llmctl %s --help", x->cmd, x->cmd);
    }

    if (strncmp(id, "sk-", 3) == 0) {
        return llmctl_error(LLMCTL_USAGE, "%s: that is a key, not its id "
                            "(key_...): others on this machine could have "
                            "seen it in the process list", x->cmd);
    }

    /* what is no id is not repeated: it may be a key */

    if (strlen(id) != LLM_KEY_ID_LEN || strncmp(id, "key_", 4) != 0
        || strspn(id + 4, "0123456789abcdefghijklmnopqrstuvwxyz")
           != LLM_KEY_ID_LEN - 4)
    {
        return llmctl_error(LLMCTL_NOTFOUND, "%s: malformed id, key_... is "
                            "expected", x->cmd);
    }

    (void) snprintf(path, size, "%s/%s%s%s", what, id,
                    verb != NULL ? "/" : "", verb != NULL ? verb : "");

    return LLMCTL_OK;
}


int
llmctl_admin_put(llmctl_admin_t *x, json_t *o, const char *name,
    const char *value)
{
    json_t      *v;
    const char  *option;

    if (value == NULL) {
        return LLMCTL_OK;
    }

    v = json_string(value);

    if (v == NULL) {
        option = llmctl_option(name);

        return llmctl_error(LLMCTL_USAGE, "%s: --%s: it is not UTF-8", x->cmd,
                            option != NULL ? option : name);
    }

    return json_object_set_new(o, name, v) == 0
           ? LLMCTL_OK : llmctl_error(LLMCTL_FAILED, "no memory");
}


int
llmctl_admin_json(json_t *json)
{
    char   *text;
    size_t  len;

    text = json_dumps(json, LLM_ADMIN_DUMP);

    if (text == NULL) {
        return llmctl_error(LLMCTL_FAILED, "JSON: no memory");
    }

    len = strlen(text);
    (void) fwrite(text, 1, len, stdout);
    (void) fputc('\n', stdout);

    OPENSSL_cleanse(text, len);
    free(text);

    return llmctl_flush();
}


int
llmctl_admin_line(const char *cmd, const char *what, char *buf, size_t size)
{
    size_t  n;

    if (fgets(buf, (int) size, stdin) == NULL) {
        return llmctl_error(LLMCTL_USAGE, "%s: standard input: %s is "
                            "expected", cmd, what);
    }

    n = strlen(buf);

    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r'
                     || buf[n - 1] == ' '))
    {
        buf[--n] = '\0';
    }

    return LLMCTL_OK;
}


const char *
llmctl_text(json_t *o, const char *name)
{
    const char  *s;

    s = json_string_value(json_object_get(o, name));

    return s != NULL ? s : "-";
}


/* a token may take seconds, a large store too */

static void
llmctl_working(int start)
{
    struct sigaction  sa;

    if (!isatty(STDERR_FILENO)) {
        return;
    }

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = start ? llmctl_working_note : SIG_DFL;
    sa.sa_flags = SA_RESTART;

    if (!start) {
        (void) alarm(0);
    }

    (void) sigaction(SIGALRM, &sa, NULL);

    if (start) {
        (void) alarm(1);
    }
}


static void
llmctl_working_note(int sig)
{
    static const char  note[] = "llmctl: working...\n";

    if (write(STDERR_FILENO, note, sizeof(note) - 1) == -1) {
        /* nobody reads it */
    }
}
