
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: the commands' table, the help, the options.  One process, one
 * thread (a model's own threads aside).
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/llm.h"
#include "llmctl.h"


typedef struct {
    const char   *name;
    int         (*run)(int argc, char **argv);
    const char   *summary;
    const char   *help;         /* NULL: the command prints its own */
} llmctl_cmd_t;


static int llmctl_usage(FILE *f);
static int llmctl_help(int argc, char **argv);
static int llmctl_help_command(const llmctl_cmd_t *cmd);
static const llmctl_cmd_t *llmctl_find(int argc, char **argv, int *words);
static int llmctl_run(const llmctl_cmd_t *cmd, int argc, char **argv);
static int llmctl_leading(int argc, char **argv);
static int llmctl_unknown(int argc, char **argv);


#define LLMCTL_WHERE_HELP                                                     \
    "  --store DIR          the key store (" LLMCTL_STORE ")\n"               \
    "  --secret file:PATH   the secret (" LLMCTL_SECRET "), or the\n"       \
    "                       PKCS#11 URI of a token's key (pkcs11:...)\n"

#define LLMCTL_CODES_HELP                                                     \
    "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, "            \
    "4 exists already.\n"


static const llmctl_cmd_t  llmctl_cmds[] = {

    { "init", llmctl_init, "create the secret and an empty key store",
      "Usage: llmctl init [options]\n"
      "\n"
      "Creates the secret, which makes and verifies all keys, and an empty\n"
      "key store, with the directories that they need.  Overwrites nothing.\n"
      "\n"
      LLMCTL_WHERE_HELP
      "  --size SIZE          most bytes that the store may take: 512m, 1g\n"
      "                       (1g)\n"
      "  --owner USER[:GROUP] owner of the store, by name or number: who\n"
      "                       nginx's workers run as (its creator)\n"
      LLMCTL_CODES_HELP },

    { "key create", llmctl_key_create, "create a key and print it once",
      "Usage: llmctl key create --client NAME --role ROLE [options]\n"
      "\n"
      "Creates an API key and prints it, once: it is stored nowhere.\n"
      "\n"
      "  --client NAME        whose key it is: 1 to 64 printable ASCII\n"
      "                       characters, no space, quote, backslash\n"
      "  --role ROLE          user, operator or admin\n"
      "  --expires WHEN       90d, 12h, 30m, 60s, 8w, a day or time in UTC\n"
      "                       (2027-01-31, 2027-01-31T12:00:00Z), or never\n"
      "                       (90d)\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key list", llmctl_key_list, "list the keys",
      "Usage: llmctl key list [options]\n"
      "\n"
      "Lists the keys by id: client, role, status (active, expired or\n"
      "revoked), and times in UTC.\n"
      "\n"
      "  --client NAME        only this client's keys\n"
      "  --json               print a JSON array\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key show", llmctl_key_show, "show one key's record",
      "Usage: llmctl key show ID [options]\n"
      "\n"
      "Shows what the store knows of a key, by its id (key_...).\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key revoke", llmctl_key_revoke, "revoke a key at once, for good",
      "Usage: llmctl key revoke ID [options]\n"
      "\n"
      "Revokes a key by its id (key_...).  When the command has returned 0,\n"
      "no worker admits the key.  A key that was revoked before stays so.\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "tokenize", llmctl_tokenize,
      "standard input to a JSON array of token ids", NULL },

    { "detokenize", llmctl_detokenize, "token ids to text", NULL },

    { "eval", llmctl_eval, "the logits of a sequence of tokens", NULL },

    { "generate", llmctl_generate, "continue a prompt", NULL },

    { "info", llmctl_info, "what a model is and needs", NULL },

    { "bench", llmctl_bench, "measure a model on this machine", NULL },

    { NULL, NULL, NULL, NULL }
};


int
main(int argc, char **argv)
{
    int                  lead, words;
    const llmctl_cmd_t  *cmd;

    /* a reader that went away is a failed write, not a silent death: a key
     * that nobody saw must not stay */

    (void) signal(SIGPIPE, SIG_IGN);

    if (argc < 2) {
        (void) llmctl_usage(stderr);
        return LLMCTL_USAGE;
    }

    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("llmctl (nginx-llm) %s\n", LLMCTL_VERSION);
        return llmctl_flush();
    }

    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return llmctl_usage(stdout);
    }

    if (strcmp(argv[1], "help") == 0) {
        return llmctl_help(argc - 2, argv + 2);
    }

    /* "llmctl --store DIR key list" is "llmctl key list --store DIR" */

    lead = llmctl_leading(argc, argv);
    if (lead == -1) {
        return LLMCTL_USAGE;
    }

    cmd = llmctl_find(argc - lead, argv + lead, &words);

    if (cmd == NULL) {
        return llmctl_unknown(argc - lead, argv + lead);
    }

    /* the name goes where the last word was, the options to its end */

    if (lead > 1) {
        char  **copy, **p;
        int     i, rc;

        copy = calloc((size_t) argc + 1, sizeof(char *));
        if (copy == NULL) {
            return llmctl_error(LLMCTL_FAILED, "no memory");
        }

        p = copy;
        *p++ = (char *) cmd->name;

        for (i = 1; i < lead; i++) {
            *p++ = argv[i];
        }

        for (i = lead + words; i < argc; i++) {
            *p++ = argv[i];
        }

        rc = llmctl_run(cmd, (int) (p - copy), copy);
        free(copy);

        return rc;
    }

    argv[words] = (char *) cmd->name;

    return llmctl_run(cmd, argc - words, argv + words);
}


/* the index of the first word of the command; -1 after a message */

static int
llmctl_leading(int argc, char **argv)
{
    int  i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {

        if (strncmp(argv[i], "--store=", 8) == 0
            || strncmp(argv[i], "--secret=", 9) == 0)
        {
            continue;
        }

        if (strcmp(argv[i], "--store") == 0
            || strcmp(argv[i], "--secret") == 0)
        {
            if (++i == argc) {
                (void) llmctl_error(0, "%s needs a value", argv[i - 1]);
                return -1;
            }

            continue;
        }

        (void) llmctl_error(0, "option %zu before the command is unknown, "
                            "see llmctl --help", (size_t) i);
        return -1;
    }

    return i;
}


/* argv: from the first word; words: how many the name has */

static const llmctl_cmd_t *
llmctl_find(int argc, char **argv, int *words)
{
    size_t               n;
    const char          *space;
    const llmctl_cmd_t  *cmd;

    if (argc < 1) {
        return NULL;
    }

    for (cmd = llmctl_cmds; cmd->name != NULL; cmd++) {

        space = strchr(cmd->name, ' ');

        if (space == NULL) {
            if (strcmp(argv[0], cmd->name) == 0) {
                *words = 1;
                return cmd;
            }

            continue;
        }

        n = (size_t) (space - cmd->name);

        if (argc > 1 && strncmp(argv[0], cmd->name, n) == 0
            && argv[0][n] == '\0' && strcmp(argv[1], space + 1) == 0)
        {
            *words = 2;
            return cmd;
        }
    }

    return NULL;
}


static int
llmctl_run(const llmctl_cmd_t *cmd, int argc, char **argv)
{
    int  i;

    if (cmd->help != NULL) {
        for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
            if (strcmp(argv[i], "--help") == 0
                || strcmp(argv[i], "-h") == 0)
            {
                return llmctl_help_command(cmd);
            }
        }
    }

    return cmd->run(argc, argv);
}


/* "llmctl key": its commands, on stdout when it asks for help */

static int
llmctl_unknown(int argc, char **argv)
{
    FILE                *f;
    int                  help;
    const llmctl_cmd_t  *cmd;

    if (argc > 0 && strcmp(argv[0], "key") == 0) {
        help = argc > 1 && (strcmp(argv[1], "--help") == 0
                            || strcmp(argv[1], "-h") == 0);
        f = help ? stdout : stderr;

        if (!help) {
            fprintf(f, argc > 1 ? "llmctl: unknown key command\n"
                                : "llmctl: key: a command is missing\n");
        }

        for (cmd = llmctl_cmds; cmd->name != NULL; cmd++) {
            if (strncmp(cmd->name, "key ", 4) == 0) {
                fprintf(f, "  %-14s %s\n", cmd->name, cmd->summary);
            }
        }

        return help ? llmctl_flush() : LLMCTL_USAGE;
    }

    return llmctl_error(LLMCTL_USAGE, argc > 0
                        ? "unknown command, see llmctl --help"
                        : "a command is missing, see llmctl --help");
}


static int
llmctl_usage(FILE *f)
{
    const llmctl_cmd_t  *cmd;

    fprintf(f, "Usage: llmctl COMMAND [options]\n\n"
               "Keys and models of nginx-llm.\n\n");

    for (cmd = llmctl_cmds; cmd->name != NULL; cmd++) {
        fprintf(f, "  %-14s %s\n", cmd->name, cmd->summary);
    }

    fprintf(f, "\n"
               "  --help         this text; after a command its own, as does\n"
               "                 llmctl help COMMAND\n"
               "  --version      the version\n"
               LLMCTL_CODES_HELP);

    return f == stdout ? llmctl_flush() : LLMCTL_USAGE;
}


static int
llmctl_help(int argc, char **argv)
{
    int                  words;
    char                *key_help[] = { (char *) "key", (char *) "--help" };
    const llmctl_cmd_t  *cmd;

    if (argc == 0) {
        return llmctl_usage(stdout);
    }

    cmd = llmctl_find(argc, argv, &words);

    if (cmd != NULL) {
        return llmctl_help_command(cmd);
    }

    if (argc == 1 && strcmp(argv[0], "key") == 0) {
        return llmctl_unknown(2, key_help);
    }

    return llmctl_unknown(argc, argv);
}


static int
llmctl_help_command(const llmctl_cmd_t *cmd)
{
    char  *argv[3];

    if (cmd->help == NULL) {
        argv[0] = (char *) cmd->name;
        argv[1] = (char *) "--help";
        argv[2] = NULL;

        return cmd->run(2, argv);
    }

    fputs(cmd->help, stdout);

    return llmctl_flush();
}


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
