
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: the commands' table, the help, the options.  One process, one
 * thread (a model's own threads aside).
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/llm.h"
#include "llmctl.h"
#include "llmctl_audit.h"
#include "llmctl_help.h"


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
static const llmctl_cmd_t *llmctl_group(const char *word, size_t n,
    const llmctl_cmd_t *cmd);


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

    { "key create", llmctl_key_create,
      "create a key and print it once",
      "Usage: llmctl key create --client NAME --role ROLE [options]\n"
      "\n"
      "Creates an API key and prints it, once: it is stored nowhere.\n"
      "\n"
      "  --client NAME        whose key it is: 1 to 64 printable ASCII\n"
      "                       characters, no space, quote, backslash\n"
      "  --role ROLE          user, operator or admin\n"
      "  --expires WHEN       90d, 12h, 30m, 60s, 8w, a day or time in UTC\n"
      "                       (2027-01-31, 2027-01-31T12:00:00Z), or never:\n"
      "                       at its maximum age, the longest there is (by\n"
      "                       default its expiry too, 90d)\n"
      LLMCTL_SCOPES_HELP
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key list", llmctl_key_list,
      "list the keys",
      "Usage: llmctl key list [options]\n"
      "\n"
      "Lists the keys by id: client, role, status (active, revoked, expired\n"
      "or too_old), and times in UTC.\n"
      "\n"
      "  --client NAME        only this client's keys\n"
      "  --role ROLE          only of this role\n"
      "  --status STATUS      only in this state\n"
      "  --expiring [14d]     only those that end within that time\n"
      "  --after KEY_ID       only from the next one on\n"
      "  --limit N            at most so many, up to 1000 (all)\n"
      "  --json               print a JSON array\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key show", llmctl_key_show,
      "show one key's record",
      "Usage: llmctl key show ID [options]\n"
      "\n"
      "Shows what the store knows of a key, by its id (key_...).\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key update", llmctl_key_update,
      "change a key's role, limits, expiry",
      "Usage: llmctl key update ID [options]\n"
      "\n"
      "Changes what is given, for all secrets of the key, at once.\n"
      "\n"
      "  --client NAME        whose key it is\n"
      "  --role ROLE          user, operator or admin\n"
      "  --expires WHEN       90d, 2027-01-31, not beyond its maximum age\n"
      LLMCTL_SCOPES_HELP
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key rotate", llmctl_key_rotate,
      "give a key a new secret",
      "Usage: llmctl key rotate ID [options]\n"
      "\n"
      "Makes a new secret for a key and prints it, once.  The old one stays\n"
      "valid for the grace, so that nothing stops.\n"
      "\n"
      "  --grace TIME         24h, 30m, at most 7d; 0: the old one ends now\n"
      "                       (24h)\n"
      "  --expires WHEN       of the new one (the lifetime that it had)\n"
      "  --idempotency-key K  the same again within a day prints the same key\n"
      "                       and changes nothing: for a retry\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key revoke", llmctl_key_revoke,
      "revoke a key at once, for good",
      "Usage: llmctl key revoke ID [options]\n"
      "\n"
      "Revokes a key by its id (key_...).  When the command has returned 0,\n"
      "no worker admits the key.  A key that was revoked before stays so.\n"
      "\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "key leak", llmctl_key_leak,
      "revoke and replace a leaked key, report",
      "Usage: llmctl key leak ID|- [options]\n"
      "\n"
      "The drill for a key that others may have: revokes it and creates its\n"
      "successor in one step, prints that, once, and reports who used the\n"
      "key from where, and what must be given the new one.\n"
      "\n"
      "  -                    reads the id, or the key itself, from standard\n"
      "                       input\n"
      "  --reason TEXT        for the log of changes\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "totp enrol", llmctl_totp_enrol,
      "enrol a key's second factor",
      "Usage: llmctl totp enrol KEY_ID [options]\n"
      "\n"
      "Makes a secret for an authenticator app and ten recovery codes, and\n"
      "prints them, once.  It is on when a first code has confirmed it.  Once\n"
      "an admin's key is enrolled, llmctl needs a code for changes of keys.\n"
      "\n"
      "  --qr                 a QR code also where this is no terminal\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "totp confirm", llmctl_totp_confirm,
      "turn it on by a first code",
      "Usage: llmctl totp confirm KEY_ID CODE|- [options]\n"
      "\n"
      "Confirms an enrolment by a code of the app; - reads it from standard\n"
      "input.\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "totp show", llmctl_totp_show,
      "show a key's second factor",
      "Usage: llmctl totp show KEY_ID [options]\n"
      "\n"
      "Shows whether a key is enrolled, locked, and how many recovery codes\n"
      "are left.\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "totp recovery", llmctl_totp_recovery,
      "make new recovery codes",
      "Usage: llmctl totp recovery KEY_ID [options]\n"
      "\n"
      "Makes ten new recovery codes; the old ones are void.\n"
      "\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "totp remove", llmctl_totp_remove,
      "remove a key's second factor",
      "Usage: llmctl totp remove KEY_ID [options]\n"
      "\n"
      "Removes a key's second factor, by a code of any admin's.\n"
      "\n"
      "  --break-glass        without a code, for who can read the secret;\n"
      "                       the log of changes says so\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "params show", llmctl_params_show,
      "show an engine's live parameters",
      "Usage: llmctl params show ENGINE [options]\n"
      "\n"
      "Shows what was set for an engine while it served; - is what the\n"
      "configuration and the model say.\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "params set", llmctl_params_set,
      "set an engine's live parameters",
      "Usage: llmctl params set ENGINE NAME=VALUE... [options]\n"
      "\n"
      "Sets parameters of an engine while it serves, such as max_batch=16 or\n"
      "temperature=0.6; NAME=none undoes one.  llmctl params show names them.\n"
      "\n"
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "changes", llmctl_changes,
      "who changed what, newest first",
      "Usage: llmctl changes [options]\n"
      "\n"
      "Lists the changes of the store: number, time, who, what.\n"
      "\n"
      "  --before NUMBER      only older ones\n"
      "  --limit N            at most so many, up to 1000 (100)\n"
      "  --json               print a JSON array\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "secret show", llmctl_secret_show,
      "the secret's versions, keys of each",
      "Usage: llmctl secret show [options]\n"
      "\n"
      "Lists the versions of the secret, and how many valid keys need each.\n"
      "\n"
      "  --json               print a JSON array\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "secret rotate", llmctl_secret_rotate,
      "make a new version of the secret",
      "Usage: llmctl secret rotate [options]\n"
      "\n"
      "Makes the secret's next version.  nginx's next start or reload makes\n"
      "it the one that new keys are made with; old keys stay valid.\n"
      "\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "secret retire", llmctl_secret_retire,
      "remove a version without keys",
      "Usage: llmctl secret retire VERSION [options]\n"
      "\n"
      "Removes a former version that no valid key needs.\n"
      "\n"
      LLMCTL_FACTOR_HELP
      "  --json               print a JSON object\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "backup", llmctl_backup,
      "copy the store while it is in use",
      "Usage: llmctl backup DIR [options]\n"
      "\n"
      "Copies the store, as of one moment each its keys and its calls, into a\n"
      "new directory.  The secret is not in it.\n"
      "\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "restore", llmctl_restore,
      "make a store of a backup",
      "Usage: llmctl restore --from DIR [options]\n"
      "\n"
      "Checks a backup in full and makes it the store; overwrites nothing.\n"
      "\n"
      "  --from DIR           the backup\n"
      "  --owner USER[:GROUP] owner of the store: who nginx's workers run as\n"
      "                       (its creator)\n"
      LLMCTL_WHERE_HELP
      LLMCTL_CODES_HELP },

    { "audit query", llmctl_audit_query,
      "who asked what, when, from where", llmctl_audit_query_help },

    { "audit lookup", llmctl_audit_lookup,
      "calls that a text was asked or answered in",
      llmctl_audit_lookup_help },

    { "audit verify", llmctl_audit_verify,
      "prove that the audit trail is whole", llmctl_audit_verify_help },

    { "audit checkpoint", llmctl_audit_checkpoint,
      "a signature over it, to be kept elsewhere",
      llmctl_audit_checkpoint_help },

    { "audit export", llmctl_audit_export,
      "its records as JSON, a line each", llmctl_audit_export_help },

    { "audit keys", llmctl_audit_keys,
      "the public keys of its signatures", llmctl_audit_keys_help },

    { "audit prune", llmctl_audit_prune,
      "drop records of a certain age", llmctl_audit_prune_help },

    { "audit replay", llmctl_audit_replay,
      "answer a call again, and compare", llmctl_audit_replay_help },

    { "audit renew", llmctl_audit_renew,
      "begin anew after a loss", llmctl_audit_renew_help },

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
    size_t               n;
    const llmctl_cmd_t  *cmd;

    n = argc > 0 ? strlen(argv[0]) : 0;
    cmd = n != 0 ? llmctl_group(argv[0], n, llmctl_cmds) : NULL;

    if (cmd == NULL) {
        return llmctl_error(LLMCTL_USAGE, argc > 0
                            ? "unknown command, see llmctl --help"
                            : "a command is missing, see llmctl --help");
    }

    help = argc > 1 && (strcmp(argv[1], "--help") == 0
                        || strcmp(argv[1], "-h") == 0);
    f = help ? stdout : stderr;

    if (!help) {
        fprintf(f, argc > 1 ? "llmctl: unknown %s command\n"
                            : "llmctl: %s: a command is missing\n", argv[0]);
    }

    for ( ; cmd != NULL; cmd = llmctl_group(argv[0], n, cmd + 1)) {
        fprintf(f, "  %-16s %s\n", cmd->name, cmd->summary);
    }

    return help ? llmctl_flush() : LLMCTL_USAGE;
}


/* the next command from cmd on that begins with that word and has two */

static const llmctl_cmd_t *
llmctl_group(const char *word, size_t n, const llmctl_cmd_t *cmd)
{
    for ( ; cmd->name != NULL; cmd++) {
        if (strncmp(cmd->name, word, n) == 0 && cmd->name[n] == ' ') {
            return cmd;
        }
    }

    return NULL;
}


static int
llmctl_usage(FILE *f)
{
    const llmctl_cmd_t  *cmd;

    fprintf(f, "Usage: llmctl COMMAND [options]\n\n"
               "Keys and models of nginx-llm.\n\n");

    for (cmd = llmctl_cmds; cmd->name != NULL; cmd++) {
        fprintf(f, "  %-16s %s\n", cmd->name, cmd->summary);
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
    char                *group[2];
    const llmctl_cmd_t  *cmd;

    if (argc == 0) {
        return llmctl_usage(stdout);
    }

    cmd = llmctl_find(argc, argv, &words);

    if (cmd != NULL) {
        return llmctl_help_command(cmd);
    }

    if (argc == 1 && llmctl_group(argv[0], strlen(argv[0]), llmctl_cmds)) {
        group[0] = argv[0];
        group[1] = (char *) "--help";

        return llmctl_unknown(2, group);
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
