
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


#define LLMCTL_VERSION    "0.1.0"

#define LLMCTL_OK         0
#define LLMCTL_FAILED     1
#define LLMCTL_USAGE      2
#define LLMCTL_NOTFOUND   3
#define LLMCTL_EXISTS     4

#define LLMCTL_STORE      "/var/lib/nginx-llm/store"
#define LLMCTL_SECRET     "file:/etc/nginx-llm/secret"


/* one option of a command; a table of them ends with name NULL */
typedef struct {
    const char   *name;         /* without the dashes */
    const char  **value;        /* NULL: a flag */
    int          *flag;
} llmctl_opt_t;


/* llmctl_init.c */
int llmctl_init(int argc, char **argv);

/* llmctl_key.c */
int llmctl_key_create(int argc, char **argv);
int llmctl_key_list(int argc, char **argv);
int llmctl_key_show(int argc, char **argv);
int llmctl_key_revoke(int argc, char **argv);

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
