
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: messages, exit codes, options.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/llm.h"
#include "llmctl.h"


int
llmctl_error(int rc, const char *fmt, ...)
{
    va_list  args;

    fputs("llmctl: ", stderr);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);

    return rc;
}


int
llmctl_exit(int rc)
{
    switch (rc) {
    case LLM_OK:
        return LLMCTL_OK;
    case LLM_NOTFOUND:
        return LLMCTL_NOTFOUND;
    case LLM_EXISTS:
        return LLMCTL_EXISTS;
    default:
        return LLMCTL_FAILED;
    }
}


int
llmctl_source(const char *cmd, const char *source)
{
    if (strcasestr(source, "pin-value=") != NULL) {
        return llmctl_error(LLMCTL_USAGE, "%s: --secret: no pin-value here, "
                            "others see the argument list: use "
                            "pin-source=file:PATH", cmd);
    }

    return LLMCTL_OK;
}


int
llmctl_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return llmctl_error(LLMCTL_FAILED, "standard output: %s",
                            strerror(errno));
    }

    return LLMCTL_OK;
}


/*
 * What was typed is not repeated: somebody may have put a key there, and
 * errors are kept in logs.
 */

int
llmctl_options(int argc, char **argv, const llmctl_opt_t *opts,
    const char **args, size_t max)
{
    int                  i, only_args;
    size_t               n, len;
    const char          *arg, *eq;
    const llmctl_opt_t  *o;

    n = 0;
    only_args = 0;
    memset(args, 0, max * sizeof(char *));

    for (i = 1; i < argc; i++) {
        arg = argv[i];

        if (only_args || arg[0] != '-' || arg[1] == '\0') {
            if (n == max) {
                return llmctl_error(LLMCTL_USAGE, "%s: too many arguments, "
                                    "see llmctl %s --help", argv[0],
                                    argv[0]);
            }

            args[n++] = arg;
            continue;
        }

        if (strcmp(arg, "--") == 0) {
            only_args = 1;
            continue;
        }

        eq = strchr(arg, '=');
        len = (eq != NULL) ? (size_t) (eq - arg) : strlen(arg);

        for (o = opts; o->name != NULL; o++) {
            if (len == strlen(o->name) + 2 && arg[1] == '-'
                && strncmp(arg + 2, o->name, len - 2) == 0)
            {
                break;
            }
        }

        if (o->name == NULL) {
            return llmctl_error(LLMCTL_USAGE, "%s: argument %d is an "
                                "unknown option, see llmctl %s --help",
                                argv[0], i, argv[0]);
        }

        if (o->value == NULL) {
            if (eq != NULL) {
                return llmctl_error(LLMCTL_USAGE, "%s: --%s takes no value",
                                    argv[0], o->name);
            }

            *o->flag = 1;
            continue;
        }

        if (eq != NULL) {
            *o->value = eq + 1;

        } else if (o->flag != NULL) {

            /* its value may be left out; no argument begins with a digit */

            *o->flag = 1;

            if (i + 1 < argc && argv[i + 1][0] >= '0'
                && argv[i + 1][0] <= '9')
            {
                *o->value = argv[++i];
            }

        } else if (++i < argc) {
            *o->value = argv[i];

        } else {
            return llmctl_error(LLMCTL_USAGE, "%s: --%s needs a value",
                                argv[0], o->name);
        }
    }

    return LLMCTL_OK;
}


uint64_t
llmctl_size(const char *s)
{
    int       shift;
    char     *end;
    uint64_t  n;

    if (*s < '0' || *s > '9') {
        return 0;
    }

    errno = 0;
    n = strtoull(s, &end, 10);

    if (errno != 0) {
        return 0;
    }

    shift = 0;

    switch (*end) {
    case 'k': case 'K':
        shift = 10;
        break;
    case 'm': case 'M':
        shift = 20;
        break;
    case 'g': case 'G':
        shift = 30;
        break;
    case 't': case 'T':
        shift = 40;
        break;
    case '\0':
        return n;
    default:
        return 0;
    }

    if (end[1] != '\0' || n > UINT64_MAX >> shift) {
        return 0;
    }

    return n << shift;
}
