
/*
 * Copyright (C) nginx-llm contributors
 *
 * What the files of the second factor share among themselves:
 *     llm_totp.c           attempts
 *     llm_totp_enrol.c     enrolments: made, changed, removed
 *     llm_totp_store.c     records in the store, one or all
 *     llm_totp_code.c      codes: RFC 6238, their text, recovery codes
 *     llm_totp_record.c    an enrolment's record
 */


#ifndef _LLM_TOTP_INT_H_INCLUDED_
#define _LLM_TOTP_INT_H_INCLUDED_


#include "llm_store_int.h"
#include "llm_totp.h"


#define LLM_TOTP_NONE_CODE  UINT32_MAX  /* is no code */
#define LLM_TOTP_LABEL_MAX  64
#define LLM_TOTP_CHARS      10          /* of a recovery code, no dash */
#define LLM_TOTP_HASH       16
#define LLM_TOTP_SEALED     (LLM_TOTP_BYTES + LLM_SEAL_MORE)

#define LLM_TOTP_HEAD       36
#define LLM_TOTP_RECORD_MAX                                                   \
    (LLM_TOTP_HEAD + LLM_TOTP_SEALED + LLM_TOTP_CODES * LLM_TOTP_HASH + 4)


typedef struct {
    llm_totp_state_e  state;
    int64_t           since;        /* confirmed, or enrolled when pending */
    int64_t           last;         /* the step that was used, 0: none */
    int64_t           locked;       /* until, unix seconds, 0: not */
    uint32_t          failures;     /* in a row */
    uint32_t          version;      /* of the secret, for the hashes */
    uint32_t          n;            /* hashes: codes that are left */
    uint8_t           sealed[LLM_TOTP_SEALED];
    uint8_t           hash[LLM_TOTP_CODES][LLM_TOTP_HASH];
} llm_totp_record_t;


/* what a user has typed; wipe it */
typedef enum {
    LLM_TOTP_MALFORMED = 0,
    LLM_TOTP_APP,                   /* number */
    LLM_TOTP_RECOVERY               /* text, lower-case, no dash */
} llm_totp_kind_e;

typedef struct {
    llm_totp_kind_e  kind;
    uint32_t         number;
    char             text[LLM_TOTP_CHARS + 1];
} llm_totp_code_t;


/* text: NULL is malformed */
void llm_totp_parse(llm_totp_code_t *code, const char *text);

/*
 * The greatest step of now - 1, now, now + 1 that has this number, 0: none.
 * secret: LLM_TOTP_BYTES.  Takes as long whatever the number is
 */
int llm_totp_match(const uint8_t *secret, int64_t now, uint32_t number,
    int64_t *step);

/* RFC 4648, upper-case, no padding: len is a multiple of 5; out has room for
 * len / 5 * 8 + 1 */
void llm_totp_base32(char *out, const uint8_t *p, size_t len);

/* for the app's QR code; LLM_INVALID: no label, or too long a one */
int llm_totp_uri(char *uri, size_t size, const char *label,
    const char *base32, char *err, size_t errlen);

/* LLM_TOTP_CODES fresh codes into e->recovery, and their hashes into r */
int llm_totp_codes(const llm_secret_t *secret, uint32_t version,
    const char *id, llm_totp_enrol_t *e, llm_totp_record_t *r, char *err,
    size_t errlen);

/* hash of a recovery code, text without its dash.  LLM_NOTFOUND: the version
 * is not open */
int llm_totp_hash(const llm_secret_t *secret, uint32_t version,
    const char *id, const char *text, uint8_t *hash);

/* which of r's codes has this hash, r->n: none.  Takes as long whichever */
uint32_t llm_totp_find(const llm_totp_record_t *r, const uint8_t *hash);

/* id: any text.  LLM_NOTFOUND: not enrolled; LLM_INVALID: a bad record */
int llm_totp_load(llm_store_t *st, MDB_txn *txn, const char *id,
    llm_totp_record_t *r, char *err, size_t errlen);
int llm_totp_save(llm_store_t *st, MDB_txn *txn, const char *id,
    const llm_totp_record_t *r, char *err, size_t errlen);

/* the TOTP secret, LLM_TOTP_BYTES.  LLM_ERROR: the secret's version is not
 * open; never LLM_NOTFOUND */
int llm_totp_seal(const llm_secret_t *secret, uint32_t version,
    const char *id, const uint8_t *raw, llm_totp_record_t *r, char *err,
    size_t errlen);
int llm_totp_unseal(const llm_secret_t *secret, const char *id,
    const llm_totp_record_t *r, uint8_t *raw, char *err, size_t errlen);

/* the version of the secret that seals what is new */
int llm_totp_version(llm_store_t *st, MDB_txn *txn,
    const llm_secret_t *secret, uint32_t *version, char *err, size_t errlen);

/* p: LLM_TOTP_RECORD_MAX bytes; returns the length */
size_t llm_totp_pack(uint8_t *p, const llm_totp_record_t *r);

/* LLM_INVALID: why says so; r may be written all the same */
int llm_totp_unpack(const void *data, size_t len, llm_totp_record_t *r,
    const char **why);

/* of the secret that sealed it */
uint32_t llm_totp_sealed_version(const llm_totp_record_t *r);

/* until when it is locked after so many failures in a row, 0: not */
int64_t llm_totp_lock(uint32_t failures, int64_t now);


#endif /* _LLM_TOTP_INT_H_INCLUDED_ */
