
/*
 * Copyright (C) nginx-llm contributors
 *
 * llmctl: the commands and what they share.  A command gets its own name in
 * argv[0], for example "key create", and returns the exit code.  Reports go
 * to stdout, errors to stderr as "llmctl: ...".  The environment is not read.
 */


#ifndef _LLMCTL_H_INCLUDED_
#define _LLMCTL_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>


#define LLMCTL_VERSION    LLM_VERSION

#define LLMCTL_OK         0
#define LLMCTL_FAILED     1
#define LLMCTL_USAGE      2
#define LLMCTL_NOTFOUND   3
#define LLMCTL_EXISTS     4
#define LLMCTL_FACTOR     5     /* a second factor's code is missing, wrong, or
                                   locked */

#define LLMCTL_STORE      "/var/lib/nginx-llm/store"
#define LLMCTL_SECRET     "file:/etc/nginx-llm/secret"


/* one option of a command; a table of them ends with name NULL */
typedef struct {
    const char   *name;         /* without the dashes */
    const char  **value;        /* NULL: a flag */
    int          *flag;         /* with a value: set where it was left out;
                                   only such as begin with a digit can be */
} llmctl_opt_t;


/* llmctl_init.c */
int llmctl_init(int argc, char **argv);

/* llmctl_key.c, llmctl_list.c, llmctl_leak.c */
int llmctl_key_create(int argc, char **argv);
int llmctl_key_list(int argc, char **argv);
int llmctl_key_show(int argc, char **argv);
int llmctl_key_update(int argc, char **argv);
int llmctl_key_rotate(int argc, char **argv);
int llmctl_key_revoke(int argc, char **argv);
int llmctl_key_leak(int argc, char **argv);

/* llmctl_totp.c */
int llmctl_totp_enrol(int argc, char **argv);
int llmctl_totp_confirm(int argc, char **argv);
int llmctl_totp_show(int argc, char **argv);
int llmctl_totp_recovery(int argc, char **argv);
int llmctl_totp_remove(int argc, char **argv);

/* llmctl_params.c */
int llmctl_params_show(int argc, char **argv);
int llmctl_params_set(int argc, char **argv);
int llmctl_changes(int argc, char **argv);

/* llmctl_store.c */
int llmctl_secret_show(int argc, char **argv);
int llmctl_secret_rotate(int argc, char **argv);
int llmctl_secret_retire(int argc, char **argv);
int llmctl_backup(int argc, char **argv);
int llmctl_restore(int argc, char **argv);

/* llmctl_model.c, llmctl_bench.c.  --help prints the help and returns 0 */
int llmctl_tokenize(int argc, char **argv);
int llmctl_detokenize(int argc, char **argv);
int llmctl_eval(int argc, char **argv);
int llmctl_generate(int argc, char **argv);
int llmctl_info(int argc, char **argv);
int llmctl_bench(int argc, char **argv);


/* "llmctl: " and the message and a newline to stderr; returns rc */
int llmctl_error(int rc, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* the exit code for a LLM_* code */
int llmctl_exit(int rc);

/*
 * Takes "--name value", "--name=value" and flags, in any order with up to
 * max other arguments, which go to args (the rest of it is set to NULL).
 * LLMCTL_OK, or LLMCTL_USAGE after an error message that points to --help.
 */
int llmctl_options(int argc, char **argv, const llmctl_opt_t *opts,
    const char **args, size_t max);

/* LLMCTL_USAGE after a message when a secret's source is not for the argument
 * list, which others see: it has a PIN */
int llmctl_source(const char *cmd, const char *source);

/* llmctl_owner.c: "USER", "USER:GROUP", "33:33"; an exit code, after a message
 * that begins with cmd */
int llmctl_owner(const char *cmd, const char *owner, uid_t *uid, gid_t *gid);

/* flushes stdout; LLMCTL_FAILED after a message when it did not get all */
int llmctl_flush(void);

/*
 * llmctl_qr.c: prints text (up to 2953 bytes, no NUL) as a QR code, with half
 * blocks in UTF-8 and black on white by escape sequences, or with ascii as
 * "##" and spaces, twice as large.  LLMCTL_FAILED after an error message.
 */
int llmctl_qr(FILE *f, const char *text, int ascii);

/* "1g", "512m", "64k" or bytes; 0 when it is none */
uint64_t llmctl_size(const char *s);


#endif /* _LLMCTL_H_INCLUDED_ */
