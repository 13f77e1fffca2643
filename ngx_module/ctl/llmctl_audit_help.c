
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit: the help of its commands.
 */


#include "llmctl_audit.h"
#include "llmctl_help.h"


#define LLMCTL_AUDIT_TIMES_HELP                                               \
    "  --since TIME         2h, 30d: ago; 2026-11-01, or to the second,\n"    \
    "                       2026-11-01T12:00:00Z\n"                           \
    "  --until TIME         not included\n"

#define LLMCTL_AUDIT_PAGE_HELP                                                \
    "  --limit N            at most so many (1000); 0: all\n"                 \
    "  --before NUMBER      only older ones, to go on; with --oldest newer\n" \
    "                       ones\n"                                           \
    "  --oldest             the oldest first\n"                               \
    "  --json               print a JSON object a line\n"


const char  llmctl_audit_query_help[] =
    "Usage: llmctl audit query [options]\n"
    "\n"
    "Lists calls, the newest first: who asked what, when, from where, and\n"
    "what came of it.  All that is given must hold.\n"
    "\n"
    "  --key KEY_ID         of this key\n"
    "  --client NAME        of this client; llmctl:USER for llmctl's changes\n"
    "  --address A          from this address, or range (10.0.0.0/8)\n"
    "  --status CODE        404, or 4xx\n"
    "  --model NAME\n"
    "  --path PATH          paths that begin so\n"
    "  --request ID         this request id, or ids that begin so\n"
    LLMCTL_AUDIT_TIMES_HELP
    "  --unfinished         without an end: running, or cut off\n"
    "  --actions            administration only\n"
    LLMCTL_AUDIT_PAGE_HELP
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_lookup_help[] =
    "Usage: llmctl audit lookup [FILE|-] [options]\n"
    "\n"
    "Lists the calls in which the text in FILE (or standard input) was a\n"
    "message, a prompt, the whole body, or an answer, to the letter.  The\n"
    "trail has fingerprints of texts, made with the secret.  A line's end\n"
    "at the very end may be there or not.\n"
    "\n"
    LLMCTL_AUDIT_TIMES_HELP
    LLMCTL_AUDIT_PAGE_HELP
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_verify_help[] =
    "Usage: llmctl audit verify [options]\n"
    "\n"
    "Looks at every record of the audit trail, its chain, signatures and\n"
    "indexes, and tells what was edited, dropped, reordered, inserted or cut\n"
    "off, and where.  Without the secret it checks what public keys can tell:\n"
    "give them, as those in the file may be anybody's.\n"
    "\n"
    "  --public-key HEX     trust only signatures of this key, or these:\n"
    "                       A,B (llmctl audit keys).  For where there is no\n"
    "                       secret\n"
    "  --checkpoint FILE    what llmctl audit checkpoint printed once: the\n"
    "                       trail must still have it.  - is standard input\n"
    "  --json               print a JSON object\n"
    LLMCTL_WHERE_HELP
    "\nExit codes: 0 all is well, 1 there are findings, 2 wrong usage, 3 it\n"
    "could not be verified.\n";


const char  llmctl_audit_checkpoint_help[] =
    "Usage: llmctl audit checkpoint [options]\n"
    "\n"
    "Signs what is not signed yet and prints the newest signature, as JSON.\n"
    "Kept on another machine, it proves later that nothing up to it was\n"
    "changed, also against who had root and the secret here:\n"
    "llmctl audit verify --checkpoint.\n"
    "\n"
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_export_help[] =
    "Usage: llmctl audit export [options]\n"
    "\n"
    "Prints the trail's records, the oldest first, as a JSON object a line,\n"
    "as they lie in the chain: with previous and hash.\n"
    "\n"
    "  --calls              calls in place of records: beginning and end\n"
    "                       together, without chain\n"
    LLMCTL_AUDIT_TIMES_HELP
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_keys_help[] =
    "Usage: llmctl audit keys [options]\n"
    "\n"
    "Lists the public keys that the trail was signed with, by epoch.\n"
    "\n"
    "  --json               print a JSON array\n"
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_prune_help[] =
    "Usage: llmctl audit prune --keep TIME [options]\n"
    "\n"
    "Drops records that are older than that, as nginx does by itself\n"
    "(llm_audit_keep).  A record says so, and the rest can be verified still.\n"
    "\n"
    "  --keep TIME          180d, 26w\n"
    "  --json               print a JSON object\n"
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;


const char  llmctl_audit_renew_help[] =
    "Usage: llmctl audit renew [options]\n"
    "\n"
    "After the trail was lost, damaged or replaced: moves aside what is there\n"
    "(audit-lost-TIME.*) and begins a new one, whose first record says where\n"
    "the old one ended.  Until then nginx answers nothing.\n"
    "\n"
    LLMCTL_WHERE_HELP
    LLMCTL_CODES_HELP;
