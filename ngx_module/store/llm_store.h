
/*
 * Copyright (C) nginx-llm contributors
 *
 * The store: one LMDB environment, data.mdb, with the API keys, their second
 * factors, the engines' parameters, and a log of who changed what.  (Usage and
 * calls are beside it, see llm_calls.h.)  Holds no nginx type: nginx's workers
 * and llmctl share it.
 *
 * Open after the fork, once a process; other threads llm_store_dup().  A
 * handle is used by one thread at a time.  Reads are lock-free and take
 * microseconds; a commit takes milliseconds (fsync), so never on an event
 * loop.
 *
 * The store is indexed by HMAC-SHA256(verification key, API key): it holds no
 * byte of a key and no unkeyed hash of one.
 */


#ifndef _LLM_STORE_H_INCLUDED_
#define _LLM_STORE_H_INCLUDED_


#include <sys/types.h>
#include <time.h>

#include "../../engine/llm.h"
#include "llm_quota.h"
#include "llm_secret.h"


#define LLM_KEY_LEN        75   /* characters of an API key */
#define LLM_KEY_ID_LEN     28   /* "key_" + 24 base32 characters */
#define LLM_CLIENT_MAX     64
#define LLM_TAG_LEN        32
#define LLM_KEY_MODELS     512  /* bytes of a key's model names, zeros too */
#define LLM_KEY_NETS       16   /* address ranges of a key */
#define LLM_KEY_SECRETS    4    /* valid at a time: the current, and former
                                   ones in their grace */
#define LLM_GRACE_MAX      (7 * 86400)          /* seconds */
#define LLM_KEY_MAX_AGE    (90 * 86400)
#define LLM_ACTOR_MAX      64


typedef enum {
    LLM_ROLE_NONE = 0,
    LLM_ROLE_USER,
    LLM_ROLE_OPERATOR,
    LLM_ROLE_ADMIN
} llm_role_e;


/* an address range; IPv4 as ::ffff:a.b.c.d, so 10.0.0.0/8 has 104 bits */
typedef struct {
    uint8_t  addr[16];
    uint8_t  bits;
} llm_net_t;


typedef struct {
    char          id[LLM_KEY_ID_LEN + 1];
    char          client[LLM_CLIENT_MAX + 1];
    llm_role_e    role;
    uint32_t      version;      /* of the secret it was made with */
    int64_t       created;      /* the id, unix seconds */
    int64_t       issued;       /* this secret of it: its age */
    int64_t       expires;      /* 0: when it is too old */
    int64_t       revoked;      /* 0: not */
    int64_t       until;        /* 0: the current secret; else one that was
                                   rotated out, good until then */
    llm_limits_t  limits;
    uint32_t      noticed;      /* days of the last notice: 14, 7, 1; 0 */
    uint8_t       idem[16];     /* of the last rotation, zeroes: none */
    uint8_t       tag[LLM_TAG_LEN];
    uint32_t      n_net;        /* 0: from anywhere */
    llm_net_t     net[LLM_KEY_NETS];
    uint32_t      models_len;   /* 0: all models */
    char          models[LLM_KEY_MODELS];  /* names, a zero after each; the
                                              last, see llm_key_size() */
} llm_key_t;


typedef struct llm_store_s  llm_store_t;


/* creates the directory, mode 0700, and an empty store, whole or not at all;
 * size: 0 is 1g.  LLM_EXISTS when there is one */
int llm_store_create(const char *path, size_t size, char *err,
    size_t errlen);

/* size: of the map in bytes, it can only grow; 0: as it is.  LLM_NOTFOUND: no
 * store there.  A store of an older schema is brought to this one */
int llm_store_open(llm_store_t **st, const char *path, size_t size,
    char *err, size_t errlen);

/*
 * For root, whom a store must not be open in: its owner could change what LMDB
 * and its lock rely on.  Where root calls and the directory is another's, f
 * runs as that one in a child, whose result this is; what f changes elsewhere
 * is lost, but in shared memory.  Else it is a call of f.
 */
int llm_store_as_owner(const char *path,
    int (*f)(void *data, char *err, size_t errlen), void *data, char *err,
    size_t errlen);

/* a store's files and its directory to that user; LLM_NOTFOUND: it is none */
int llm_store_give(const char *path, uid_t uid, gid_t gid, char *err,
    size_t errlen);

/* another handle on the same environment, for another thread.  The
 * environment is closed with its last handle */
int llm_store_dup(llm_store_t **st, llm_store_t *from, char *err,
    size_t errlen);
void llm_store_close(llm_store_t *st);            /* NULL is fine */

/* the directory */
const char *llm_store_path(const llm_store_t *st);

/* who makes the changes that follow, for their log: a key's id, or
 * "llmctl:user".  Copied */
void llm_store_actor(llm_store_t *st, const char *actor);

/*
 * LLM_INVALID: no version of the secret that the store knows is open; a
 * look-up and a create say so too.  A store that has no key yet and was never
 * bound goes with any secret: the first bind or create binds it.  verify
 * reads.  bind commits what is new: the first version, or a version above the
 * store's newest, with which keys are made from then on.
 */
int llm_store_verify(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen);
int llm_store_bind(llm_store_t *st, const llm_secret_t *secret, char *err,
    size_t errlen);

/* the version that makes keys, 0: not bound */
int llm_store_version(llm_store_t *st, uint32_t *version, char *err,
    size_t errlen);

/* keys that would be admitted now, by version of their secret: n[v] for v up
 * to max, n[0] all.  Reads every record */
int llm_store_versions(llm_store_t *st, int64_t now, size_t *n, uint32_t max,
    char *err, size_t errlen);

/* forget a version; LLM_EXISTS: keys that would be admitted need it, or it is
 * the current one */
int llm_store_retire(llm_store_t *st, uint32_t version, int64_t now,
    char *err, size_t errlen);

/* the most seconds from a secret's issue to its end; in the store, so that
 * nginx and llmctl agree.  set commits when it differs */
int llm_store_max_age(llm_store_t *st, int64_t *age, char *err,
    size_t errlen);
int llm_store_set_max_age(llm_store_t *st, int64_t age, char *err,
    size_t errlen);

/* number of the last committed transaction: changes with every change of the
 * store by any process, before that change is acknowledged; a look-up made
 * after it sees at least that state.  Costs nanoseconds.  0: unknown */
uint64_t llm_store_txnid(llm_store_t *st);

/* that number as the handle's last look-up or other reading call saw it: what
 * that call said holds as long as llm_store_txnid() is the same */
uint64_t llm_store_seen(const llm_store_t *st);

/* for a process that will look up keys: walks over them once, so that none of
 * its look-ups waits for a page fault.  0.1 s a million keys */
void llm_store_warm(llm_store_t *st);

/*
 * Could a key be looked up, and another one be made, now?  Looks at the file,
 * the map and the disk, and writes nothing; it may block as a disk does.
 * LLM_FULL: no room for a key, though revoking works.  LLM_AWAY: data.mdb was
 * removed or replaced, so that other processes change another one.
 */
int llm_store_ready(llm_store_t *st, char *err, size_t errlen);

/* bytes of the map in use, and all that new keys may have: as many in use when
 * they are refused; may wait for the disk */
int llm_store_space(llm_store_t *st, uint64_t *used, uint64_t *map, char *err,
    size_t errlen);

/* drop readers of dead processes */
int llm_store_check(llm_store_t *st, char *err, size_t errlen);


/* 1 when len, prefix, alphabet and CRC-32 are right: no look-up is needed to
 * refuse another */
int llm_key_wellformed(const char *key, size_t len);

/* where a key, or much of one, begins in a text, of *n bytes: people paste
 * them where names belong.  NULL: nowhere */
const char *llm_key_find(const char *text, size_t len, size_t *n);

/*
 * Create a key.  key receives LLM_KEY_LEN characters and a final zero; it is
 * stored nowhere.  k: client, role, expires, limits, nets and models are read,
 * the rest is set.  The client's name: 1 to 64 printable ASCII characters
 * without space, quote, backslash.  LLM_AWAY: the token that holds the secret
 * does not sign.
 */
int llm_key_create(llm_store_t *st, const llm_secret_t *secret,
    llm_key_t *k, char *key, char *err, size_t errlen);

/*
 * LLM_OK: k is the key's record (it may be revoked, expired, rotated out:
 * look, llm_key_state()), its llm_key_size() bytes are set.  LLM_NOTFOUND: no
 * such key.  Constant time in the key's bytes.
 */
int llm_key_lookup(llm_store_t *st, const llm_secret_t *secret,
    const char *key, size_t len, llm_key_t *k, char *err, size_t errlen);

/* by the shown id: the record of the current secret */
int llm_key_get(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen);

/* by tag, as a look-up filled it in: whether this very secret is still good.
 * tag may be k->tag.  LLM_NOTFOUND: it is gone */
int llm_key_again(llm_store_t *st, const uint8_t *tag, llm_key_t *k,
    char *err, size_t errlen);


typedef enum {
    LLM_KEY_GOOD = 0,
    LLM_KEY_REVOKED,
    LLM_KEY_EXPIRED,            /* k->expires */
    LLM_KEY_TOO_OLD,            /* issued longer than max_age ago */
    LLM_KEY_ROTATED             /* its grace is over */
} llm_key_state_e;

llm_key_state_e llm_key_state(const llm_key_t *k, int64_t now,
    int64_t max_age);

/* when it stops being good by itself; INT64_MAX: never (max_age 0) */
int64_t llm_key_end(const llm_key_t *k, int64_t max_age);

/* "active", "revoked", "expired", "too old", "rotated" */
const char *llm_key_state_name(llm_key_state_e state);

/* the bytes of a record that say something: who keeps many keeps no more */
size_t llm_key_size(const llm_key_t *k);

/* 1 when the key may be used from there: 16 bytes, IPv4 mapped */
int llm_key_from(const llm_key_t *k, const uint8_t *addr);

/* 1 when the key may use that model */
int llm_key_model(const llm_key_t *k, const char *name, size_t len);

/* "10.0.0.0/8", "::1", "192.0.2.7"; LLM_INVALID, bits beyond the prefix set
 * too.  format: size 64 is enough */
int llm_net_parse(llm_net_t *net, const char *text, size_t len, char *err,
    size_t errlen);
char *llm_net_format(const llm_net_t *net, char *buf, size_t size);

/* 0, or LLM_INVALID; a model's name has 1 to 127 printable characters */
int llm_key_add_model(llm_key_t *k, const char *name, size_t len, char *err,
    size_t errlen);


/* what an update changes: the members whose bit is set */
#define LLM_SET_ROLE     0x01
#define LLM_SET_CLIENT   0x02
#define LLM_SET_EXPIRES  0x04
#define LLM_SET_RPM      0x08
#define LLM_SET_TPM      0x10
#define LLM_SET_CONC     0x20
#define LLM_SET_DAY      0x40
#define LLM_SET_MONTH    0x80
#define LLM_SET_NETS     0x100
#define LLM_SET_MODELS   0x200
#define LLM_SET_NOTICED  0x400

/*
 * from's set members replace those of id, under all its secrets; k is the
 * result.  An expiry prolongs none of the former ones.  LLM_INVALID: an
 * invalid value, an expiry in the past, gone (0) or after issued + max_age, a
 * revoked key.  A new expiry forgets the last notice, unless it is set too.
 */
int llm_key_update(llm_store_t *st, const char *id, unsigned set,
    const llm_key_t *from, llm_key_t *k, char *err, size_t errlen);

/*
 * A new secret for id.  The former ones stay good for grace seconds (at most
 * LLM_GRACE_MAX; those with less left keep that), 0: not at all.  The lifetime
 * that it had from issue to expiry begins anew; expires: 0, or another one.
 * idem: NULL, or 1 to 255 bytes of text that name this rotation: the same text
 * of the same actor again within a day, as the last rotation, gives the same
 * key again and changes nothing (*again is 1), whatever grace says;
 * LLM_EXISTS: the client was renamed since, so that it can't be given again.
 * LLM_EXISTS: LLM_KEY_SECRETS are good already.
 * One transaction: before it only the old secret is good, after it both.
 */
int llm_key_rotate(llm_store_t *st, const llm_secret_t *secret,
    const char *id, int64_t grace, int64_t expires, const char *idem,
    llm_key_t *k, char *key, int *again, char *err, size_t errlen);

/* when the last of its former secrets ends or has ended, unix seconds; 0: there
 * is none.  LLM_INVALID: it is revoked */
int llm_key_grace(llm_store_t *st, const char *id, int64_t *until, char *err,
    size_t errlen);

/* LLM_OK also when it was revoked before (the first time stays) */
int llm_key_revoke(llm_store_t *st, const char *id, llm_key_t *k,
    char *err, size_t errlen);

/*
 * The leak drill's change: revokes id and, in the same transaction, creates
 * its successor with the same client, role, scopes and lifetime.  When there
 * is no room for a new key, or it can't be made (no current version of the
 * secret, a token that is away), the old one is revoked all the same:
 * LLM_AGAIN, err says why, and next->id is "".  LLM_INVALID: it was revoked
 * before.
 */
int llm_key_replace(llm_store_t *st, const llm_secret_t *secret,
    const char *id, llm_key_t *k, llm_key_t *next, char *key, char *err,
    size_t errlen);

/* calls f for each key (its current secret) by ascending id, from the first
 * one after `after` (NULL: all); stops when it returns non-zero.  f may use
 * the handle.  A damaged record hides no other one: it is told at the end */
int llm_key_each(llm_store_t *st, const char *after,
    int (*f)(void *data, const llm_key_t *k), void *data, char *err,
    size_t errlen);

/* commits an entry of the log for what is no change of the store: "backup" */
int llm_store_note(llm_store_t *st, const char *action, const char *target,
    const char *detail, char *err, size_t errlen);


/*
 * An engine's parameters, one JSON object as text; what is in it is the
 * caller's.  LLM_NOTFOUND: none were set.  put logs the old and the new ones;
 * it commits when they differ.
 */
#define LLM_PARAMS_MAX  2048

int llm_params_get(llm_store_t *st, const char *engine, llm_buf_t *json,
    char *err, size_t errlen);
int llm_params_put(llm_store_t *st, const char *engine, const char *json,
    char *err, size_t errlen);


/*
 * Who changed what: one for each committed change, in its transaction, but for
 * notices (LLM_SET_NOTICED alone), and revocations in a store without room.
 * LLM_CHANGES_MAX are kept, the newest.  What keys do to themselves, and
 * parameters, make way first: no user and no operator can make the log forget
 * what was done to keys.
 */
#define LLM_CHANGES_MAX  100000

typedef struct {
    uint64_t     number;        /* ascending */
    int64_t      time;          /* unix ms */
    const char  *actor;
    const char  *action;        /* "key.create", "key.update", ... */
    const char  *target;        /* a key's id, an engine's name */
    const char  *detail;        /* text, may be "" */
} llm_change_t;

/* newest first, from the first one below before (0: all), until f returns
 * non-zero; f may use the handle */
int llm_change_each(llm_store_t *st, uint64_t before,
    int (*f)(void *data, const llm_change_t *c), void *data, char *err,
    size_t errlen);


/*
 * A consistent copy of data.mdb, made while it is in use, in the new (or
 * empty) directory to, synced.  LLM_EXISTS when there is one.  calls, unless
 * NULL, is then told to write a copy of calls.mdb to file (llm_calls_copy());
 * the directory has both or, when that fails, none.
 */
int llm_store_backup(llm_store_t *st, const char *to,
    int (*calls)(void *data, const char *file, char *err, size_t errlen),
    void *data, char *err, size_t errlen);

/*
 * Checks every page and key record of such a copy and makes it the store at
 * path, whole or not at all, with the copy's calls.mdb if it has one; from
 * stays as it is.  LLM_EXISTS when there is a store, LLM_INVALID: the copy is
 * damaged.  Keys that were revoked after the copy are good again in it.
 */
int llm_store_restore(const char *path, const char *from, char *err,
    size_t errlen);


/* "user", "operator", "admin"; NULL, LLM_ROLE_NONE for others */
const char *llm_role_name(llm_role_e role);
llm_role_e llm_role_parse(const char *name, size_t len);


#endif /* _LLM_STORE_H_INCLUDED_ */
