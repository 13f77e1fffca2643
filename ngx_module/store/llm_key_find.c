
/*
 * Copyright (C) nginx-llm contributors
 *
 * Keys by tag and by id, and all of them: the records that the store has.
 *
 * The thread that uses the handle runs this.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "llm_store_int.h"


/* where a walk is: an entry of "ids", as it stands there */
typedef struct {
    int     end;
    size_t  len;
    char    name[512];          /* LMDB's limit is 511 */
} llm_key_pos_t;


static int llm_key_first(llm_store_t *st, MDB_txn *txn, const char *id,
    llm_key_t *k, char *err, size_t errlen);
static int llm_key_next(llm_store_t *st, llm_key_pos_t *pos, llm_key_t *k,
    char *err, size_t errlen);


int
llm_key_again(llm_store_t *st, const uint8_t *tag, llm_key_t *k, char *err,
    size_t errlen)
{
    int       rc;
    MDB_txn  *txn;
    MDB_val   name, v;

    memmove(k->tag, tag, LLM_TAG_LEN);

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        name.mv_data = k->tag;
        name.mv_size = LLM_TAG_LEN;

        rc = mdb_get(txn, st->keys, &name, &v);

        if (rc == 0) {
            rc = llm_key_unpack(st, &v, NULL, k, err, errlen);

        } else if (rc == MDB_NOTFOUND) {
            rc = llm_err(err, errlen, LLM_NOTFOUND, "key: unknown");

        } else {
            rc = llm_store_error(st, rc, "look-up", err, errlen);
        }

        llm_store_read_end(st);
    }

    if (rc != LLM_OK) {
        memset(k, 0, sizeof(llm_key_t));
    }

    return rc;
}


int
llm_key_get(llm_store_t *st, const char *id, llm_key_t *k, char *err,
    size_t errlen)
{
    int        rc;
    MDB_txn   *txn;
    llm_key_t  found;

    memset(&found, 0, sizeof(llm_key_t));

    rc = llm_store_read(st, &txn, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_key_first(st, txn, id, &found, err, errlen);
        llm_store_read_end(st);
    }

    if (rc == LLM_OK) {
        *k = found;             /* not before: id may be k->id */

    } else {
        memset(k, 0, sizeof(llm_key_t));
    }

    return rc;
}


static int
llm_key_first(llm_store_t *st, MDB_txn *txn, const char *id, llm_key_t *k,
    char *err, size_t errlen)
{
    int      rc;
    MDB_val  tags;

    rc = llm_key_tags(st, txn, id, &tags, err, errlen);

    return rc == LLM_OK ? llm_key_record(st, txn, id, tags.mv_data, k, err,
                                         errlen)
                        : rc;
}


/*
 * id is from the store, or from a user: then it may be a key, and a message
 * repeats it only when it can't be.
 */

int
llm_key_tags(llm_store_t *st, MDB_txn *txn, const char *id, MDB_val *tags,
    char *err, size_t errlen)
{
    int      rc;
    MDB_val  name;

    if (!llm_key_id_valid(id)) {
        return llm_err(err, errlen, LLM_NOTFOUND, "key: malformed id");
    }

    name.mv_data = (void *) id;
    name.mv_size = LLM_KEY_ID_LEN;

    rc = mdb_get(txn, st->ids, &name, tags);

    if (rc == MDB_NOTFOUND) {
        return llm_err(err, errlen, LLM_NOTFOUND, "%s: no such key", id);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "look-up", err, errlen);
    }

    if (tags->mv_size == 0 || tags->mv_size % LLM_TAG_LEN != 0
        || tags->mv_size > LLM_KEY_SECRETS * LLM_TAG_LEN)
    {
        return llm_key_error(st, id, "malformed entry", err, errlen);
    }

    return LLM_OK;
}


/* the record that an entry of "ids" points to */

int
llm_key_record(llm_store_t *st, MDB_txn *txn, const char *id,
    const uint8_t *tag, llm_key_t *k, char *err, size_t errlen)
{
    int      rc;
    MDB_val  name, v;

    memcpy(k->tag, tag, LLM_TAG_LEN);

    name.mv_data = k->tag;
    name.mv_size = LLM_TAG_LEN;

    rc = mdb_get(txn, st->keys, &name, &v);

    if (rc == MDB_NOTFOUND) {
        return llm_key_error(st, id, "no record", err, errlen);
    }

    if (rc != 0) {
        return llm_store_error(st, rc, "look-up", err, errlen);
    }

    return llm_key_unpack(st, &v, id, k, err, errlen);
}


int
llm_key_unpack(llm_store_t *st, const MDB_val *v, const char *id,
    llm_key_t *k, char *err, size_t errlen)
{
    int          rc;
    const char  *why;

    rc = llm_record_unpack(v->mv_data, v->mv_size, k, &why);

    if (rc == LLM_OK && id != NULL && strcmp(id, k->id) != 0) {
        rc = LLM_INVALID;
        why = "the record is of another key";
    }

    return rc == LLM_OK ? LLM_OK
                        : llm_key_error(st, id != NULL ? id : k->id, why,
                                        err, errlen);
}


int
llm_key_error(llm_store_t *st, const char *id, const char *why, char *err,
    size_t errlen)
{
    return llm_err(err, errlen, LLM_INVALID, "%s: %s: %s", st->path,
                   llm_key_id_valid(id) ? id : "(malformed id)", why);
}


/*
 * A transaction for each key: f may use the handle, and a slow one keeps no
 * freed pages from being used again.
 */

int
llm_key_each(llm_store_t *st, const char *after,
    int (*f)(void *data, const llm_key_t *k), void *data, char *err,
    size_t errlen)
{
    int            bad, rc;
    llm_key_t      k;
    llm_key_pos_t  pos;

    pos.len = 0;

    if (after != NULL) {
        pos.len = strnlen(after, sizeof(pos.name) - 1);
        memcpy(pos.name, after, pos.len);
    }

    bad = LLM_OK;

    for ( ;; ) {
        rc = llm_key_next(st, &pos, &k, bad == LLM_OK ? err : NULL, errlen);

        if (rc == LLM_NOTFOUND) {
            return bad;
        }

        if (rc == LLM_INVALID && !pos.end) {
            bad = rc;
            continue;
        }

        if (rc != LLM_OK) {
            return rc;
        }

        if (f(data, &k) != 0) {
            return bad;
        }
    }
}


/* pos->end: it could not be moved */

static int
llm_key_next(llm_store_t *st, llm_key_pos_t *pos, llm_key_t *k, char *err,
    size_t errlen)
{
    int          rc;
    char         id[LLM_KEY_ID_LEN + 1];
    MDB_txn     *txn;
    MDB_val      name, tags;
    MDB_cursor  *cursor;

    pos->end = 1;

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_cursor_open(txn, st->ids, &cursor);

    if (rc != 0) {
        llm_store_read_end(st);
        return llm_store_error(st, rc, "read", err, errlen);
    }

    name.mv_data = pos->name;
    name.mv_size = pos->len;

    rc = mdb_cursor_get(cursor, &name, &tags,
                        pos->len == 0 ? MDB_FIRST : MDB_SET_RANGE);

    if (rc == 0 && name.mv_size == pos->len
        && memcmp(name.mv_data, pos->name, pos->len) == 0)
    {
        rc = mdb_cursor_get(cursor, &name, &tags, MDB_NEXT);
    }

    mdb_cursor_close(cursor);

    if (rc == 0 && name.mv_size <= sizeof(pos->name)) {

        pos->end = 0;
        pos->len = name.mv_size;
        memcpy(pos->name, name.mv_data, name.mv_size);

        id[0] = '\0';

        if (name.mv_size == LLM_KEY_ID_LEN) {
            memcpy(id, name.mv_data, LLM_KEY_ID_LEN);
            id[LLM_KEY_ID_LEN] = '\0';
        }

        rc = llm_key_id_valid(id)
             ? llm_key_first(st, txn, id, k, err, errlen)
             : llm_key_error(st, id, "malformed entry", err, errlen);

    } else if (rc == 0) {
        rc = llm_key_error(st, "", "malformed entry", err, errlen);

    } else if (rc == MDB_NOTFOUND) {
        rc = LLM_NOTFOUND;

    } else {
        rc = llm_store_error(st, rc, "read", err, errlen);
    }

    llm_store_read_end(st);

    return rc;
}
