
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor: time-based one-time passwords, RFC 6238 with SHA-1, six
 * digits and 30 seconds, as authenticator apps have them.  A key is enrolled
 * under its id; the TOTP secret is sealed in the store (llm_secret_seal), the
 * recovery codes are kept as keyed hashes.
 *
 * A code works once: a step that was used, or one before it, is refused.  One
 * step of skew either way is taken.  The 5th failure in a row locks the
 * enrolment for a minute, each further one for twice as long, a day at most;
 * that is in the store, so no restart resets it.  A good code sets it back.
 * The code that was accepted last, once more, is refused and no failure: it
 * is a request sent twice, and who guesses learns only what is used up.
 */


#ifndef _LLM_TOTP_H_INCLUDED_
#define _LLM_TOTP_H_INCLUDED_


#include "llm_store.h"
#include "llm_secret.h"


#define LLM_TOTP_BYTES     20       /* of a secret, as RFC 4226 advises */
#define LLM_TOTP_STEP      30       /* seconds */
#define LLM_TOTP_DIGITS    6
#define LLM_TOTP_FAILURES  5        /* in a row, before the first lock */
#define LLM_TOTP_CODES     10       /* recovery codes */
#define LLM_TOTP_CODE_LEN  11       /* of one: "xxxxx-xxxxx" */


typedef enum {
    LLM_TOTP_NONE = 0,
    LLM_TOTP_PENDING,               /* enrolled, not yet confirmed */
    LLM_TOTP_ON
} llm_totp_state_e;


/* shown once */
typedef struct {
    char  secret[33];               /* base32 */
    char  uri[320];                 /* otpauth://totp/... */
    char  recovery[LLM_TOTP_CODES][LLM_TOTP_CODE_LEN + 1];
} llm_totp_enrol_t;


typedef struct {
    llm_totp_state_e  state;
    int64_t           since;        /* confirmed, unix seconds; enrolled when
                                       pending */
    int64_t           locked;       /* until, 0: not; may have passed */
    uint32_t          failures;     /* in a row */
    uint32_t          recovery;     /* codes left */
} llm_totp_info_t;


/* RFC 6238 in full, for its vectors: hash is "SHA1", "SHA256" or "SHA512";
 * digits 6 to 8.  Returns the code; UINT32_MAX: no such hash or digits, or
 * OpenSSL has failed */
uint32_t llm_totp(const char *hash, const void *secret, size_t len,
    uint64_t step, int digits);


/*
 * A new secret for id, pending until confirmed, in place of one that is
 * pending; LLM_EXISTS when it is on.  label: whose it is, for the app, 1 to 64
 * characters.  LLM_NOTFOUND: no such key; LLM_INVALID: the label, or the record
 * that is there is a bad one: remove it first.  Wipe e.
 */
int llm_totp_enrol(llm_store_t *st, const llm_secret_t *secret,
    const char *id, const char *label, llm_totp_enrol_t *e, char *err,
    size_t errlen);

/* the first code of the app turns it on; failures count as below.
 * LLM_EXISTS: it is on; LLM_NOTFOUND: not enrolled */
int llm_totp_confirm(llm_store_t *st, const llm_secret_t *secret,
    const char *id, const char *code, int64_t now, char *err, size_t errlen);

/*
 * A code of the app or a recovery code, which is used up; spaces and dashes in
 * it are ignored, NULL and any other text are a wrong one.  LLM_OK is the only
 * answer that lets in.  LLM_INVALID: wrong, used or too old, or a bad record;
 * LLM_AGAIN: locked, info.locked says until when; LLM_NOTFOUND: not enrolled,
 * or pending.  Commits in each case but the last two, with a bad record and
 * with the last code once more (and once with LLM_AGAIN, to shorten a lock that
 * ends in more than a day).
 * LLM_FULL, LLM_ERROR: it could not be recorded, or the secret's version that
 * the record needs is not open; a code that was right is still good then.  now:
 * unix seconds.
 */
int llm_totp_check(llm_store_t *st, const llm_secret_t *secret,
    const char *id, const char *code, int64_t now, char *err, size_t errlen);

/* LLM_NOTFOUND, state NONE: not enrolled */
int llm_totp_info(llm_store_t *st, const char *id, llm_totp_info_t *info,
    char *err, size_t errlen);

/* how many are on, and the id of one of them (LLM_KEY_ID_LEN + 1 bytes; NULL
 * is fine), "" without any.  LLM_INVALID: there are bad records beside */
int llm_totp_count(llm_store_t *st, size_t *n, char *id, char *err,
    size_t errlen);

/* ten new recovery codes for old ones; the rest of e is "".  LLM_NOTFOUND: not
 * enrolled, or pending */
int llm_totp_recovery(llm_store_t *st, const llm_secret_t *secret,
    const char *id, llm_totp_enrol_t *e, char *err, size_t errlen);

/* also of a bad record */
int llm_totp_remove(llm_store_t *st, const char *id, char *err,
    size_t errlen);


/*
 * For the secret's rotation.  versions: enrolments by the versions that they
 * need, for the TOTP secret or recovery codes: n[v] for v up to max (n has
 * max + 1 members), n[0] all.  reseal seals each TOTP secret under the store's
 * current version, n: how many; one that can't be does not stop the others.
 * Recovery codes stay under theirs, and are refused once it is gone, until
 * there are new ones.
 */
int llm_totp_versions(llm_store_t *st, size_t *n, uint32_t max, char *err,
    size_t errlen);
int llm_totp_reseal(llm_store_t *st, const llm_secret_t *secret, size_t *n,
    char *err, size_t errlen);


#endif /* _LLM_TOTP_H_INCLUDED_ */
