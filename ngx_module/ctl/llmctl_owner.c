
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: a store's owner, for the commands that make one.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/llm.h"
#include "llmctl.h"


/* a user's group is its own by default */

int
llmctl_owner(const char *cmd, const char *owner, uid_t *uid, gid_t *gid)
{
    char           *colon, *end, *name;
    struct group   *gr;
    struct passwd  *pw;

    name = strdup(owner);
    if (name == NULL) {
        return llmctl_error(LLMCTL_FAILED, "no memory");
    }

    colon = strchr(name, ':');
    if (colon != NULL) {
        *colon++ = '\0';
    }

    pw = getpwnam(name);

    if (pw != NULL) {
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;

    } else {
        *uid = (uid_t) strtoul(name, &end, 10);

        if (*name < '0' || *name > '9' || *end != '\0') {
            goto unknown;
        }

        pw = getpwuid(*uid);
        *gid = (pw != NULL) ? pw->pw_gid : (gid_t) *uid;
    }

    if (colon != NULL) {
        gr = getgrnam(colon);

        if (gr != NULL) {
            *gid = gr->gr_gid;

        } else {
            *gid = (gid_t) strtoul(colon, &end, 10);

            if (*colon < '0' || *colon > '9' || *end != '\0') {
                goto unknown;
            }
        }
    }

    free(name);

    if (geteuid() != 0 && *uid != geteuid()) {
        return llmctl_error(LLMCTL_FAILED,
                            "%s: --owner: only root can give files away",
                            cmd);
    }

    return LLMCTL_OK;

unknown:

    free(name);

    return llmctl_error(LLMCTL_FAILED, "%s: --owner: no such user or group",
                        cmd);
}
