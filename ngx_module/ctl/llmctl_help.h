
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: pieces that helps of several commands have.
 */


#ifndef _LLMCTL_HELP_H_INCLUDED_
#define _LLMCTL_HELP_H_INCLUDED_


#include "llmctl.h"


#define LLMCTL_WHERE_HELP                                                     \
    "  --store DIR          the key store (" LLMCTL_STORE ")\n"               \
    "  --secret file:PATH   the secret (" LLMCTL_SECRET "), or the\n"       \
    "                       PKCS#11 URI of a token's key (pkcs11:...)\n"

#define LLMCTL_FACTOR_HELP                                                    \
    "  --totp CODE          of a second factor: needed when an admin's key\n" \
    "                       is enrolled; - reads it from standard input.  A\n" \
    "                       terminal is asked for it\n"                       \
    "  --as KEY_ID          whose code it is, when several are enrolled\n"

#define LLMCTL_SCOPES_HELP                                                    \
    "  --models A,B         it may use these models only\n"                   \
    "  --addresses A,B      and from there only: 10.0.0.0/8, ::1\n"           \
    "  --rpm N              requests a minute\n"                              \
    "  --tpm N              tokens a minute, of prompts and answers\n"        \
    "  --concurrent N       requests at a time\n"                             \
    "  --tokens-per-day N   of UTC\n"                                         \
    "  --tokens-per-month N\n"                                                \
    "                       each of these: none, for no limit\n"

#define LLMCTL_CODES_HELP                                                     \
    "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, "            \
    "4 exists already,\n5 a code is missing, wrong, or locked.\n"


#endif /* _LLMCTL_HELP_H_INCLUDED_ */
