
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl audit: its commands, and what they share.
 */


#ifndef _LLMCTL_AUDIT_H_INCLUDED_
#define _LLMCTL_AUDIT_H_INCLUDED_


#include "llmctl_admin.h"


/* of verify, which others' scripts judge by it */
#define LLMCTL_AUDIT_FOUND  1
#define LLMCTL_AUDIT_COULD  3       /* could not */


/* llmctl_audit.c */
int llmctl_audit_query(int argc, char **argv);
int llmctl_audit_lookup(int argc, char **argv);

/* llmctl_audit_export.c */
int llmctl_audit_export(int argc, char **argv);
int llmctl_audit_checkpoint(int argc, char **argv);
int llmctl_audit_keys(int argc, char **argv);
int llmctl_audit_prune(int argc, char **argv);
int llmctl_audit_renew(int argc, char **argv);

/* llmctl_audit_verify.c */
int llmctl_audit_verify(int argc, char **argv);

/* llmctl_replay.c */
int llmctl_audit_replay(int argc, char **argv);
extern const char  llmctl_audit_replay_help[];

/* llmctl_audit_help.c */
extern const char  llmctl_audit_query_help[];
extern const char  llmctl_audit_lookup_help[];
extern const char  llmctl_audit_export_help[];
extern const char  llmctl_audit_checkpoint_help[];
extern const char  llmctl_audit_keys_help[];
extern const char  llmctl_audit_prune_help[];
extern const char  llmctl_audit_renew_help[];
extern const char  llmctl_audit_verify_help[];


/* the trail, and of the store what is there.  write: it needs the secret.  An
 * exit code, after a message; then nothing is open */
int llmctl_audit_open(llmctl_admin_t *x, int secret, int write);

/* "2026-11-01", "2h": two hours ago, into unix ms; NULL does nothing.  An exit
 * code, after a message that names the option */
int llmctl_audit_time(llmctl_admin_t *x, const char *option, const char *s,
    int64_t *when);

/* "2026-11-24T23:33:49.123Z"; size 32 is enough */
char *llmctl_audit_stamp(char *buf, size_t size, int64_t ms);

/* one line of JSON to stdout; steals o, NULL: no memory.  A LLM_* code */
int llmctl_audit_line(json_t *o);

/* a hash in hex, size 2 * n + 1; and back: 0 when it is none */
char *llmctl_audit_hex(char *buf, const uint8_t *p, size_t n);
int llmctl_audit_unhex(uint8_t *p, size_t n, const char *hex);


#endif /* _LLMCTL_AUDIT_H_INCLUDED_ */
