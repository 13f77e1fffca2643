
/*
 * Copyright (C) nginx-llm contributors
 *
 * The log of who changed what, each entry in the transaction of its change.
 * It holds the newest LLM_CHANGES_MAX entries, less the minor ones: what a key
 * did to itself, and parameters, which need neither an admin nor a code, so
 * that thousands could be made to push out what matters.  The handle's one
 * thread runs this.
 *
 * An entry, little-endian:
 *
 *      0   8   unix ms
 *      8   1   length of the actor, a
 *      9   1   length of the action, b
 *     10   1   length of the target, c
 *     11   1   0
 *     12   2   length of the detail, d
 *     14       the four of them
 *          4   CRC-32 of what stands before
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <time.h>

#include "llm_store_int.h"


#define LLM_CHANGE_HEAD   14
#define LLM_CHANGE_MAX    (LLM_CHANGE_HEAD + LLM_ACTOR_MAX + LLM_ACTION_MAX   \
                           + LLM_TARGET_MAX + LLM_DETAIL_MAX + 4)
#define LLM_CHANGE_DROP   4     /* of the oldest, with each new one, at most */


/* an entry's texts with their zeroes */
typedef struct {
    char  actor[LLM_ACTOR_MAX + 1];
    char  action[LLM_ACTION_MAX + 1];
    char  target[LLM_TARGET_MAX + 1];
    char  detail[LLM_DETAIL_MAX + 1];
} llm_change_text_t;


static size_t llm_change_pack(uint8_t *p, const char *const *text);
static int llm_change_drop(llm_store_t *st, MDB_txn *txn, uint64_t last);
static int llm_change_oldest(llm_store_t *st, MDB_cursor *cursor,
    uint64_t last);
static int llm_change_minor(const MDB_val *v);
static void llm_change_key(uint8_t *name, uint64_t number);
static int llm_change_next(llm_store_t *st, uint64_t *before,
    llm_change_t *c, llm_change_text_t *text, char *err, size_t errlen);
static int llm_change_unpack(const MDB_val *k, const MDB_val *v,
    llm_change_t *c, llm_change_text_t *text);
static uint64_t llm_change_number(const MDB_val *k);


static const size_t  llm_change_max[4] = {
    LLM_ACTOR_MAX, LLM_ACTION_MAX, LLM_TARGET_MAX, LLM_DETAIL_MAX
};


int
llm_change_put(llm_store_t *st, MDB_txn *txn, const char *action,
    const char *target, const char *detail, char *err, size_t errlen)
{
    int          rc;
    MDB_val      k, v;
    uint8_t      name[8], entry[LLM_CHANGE_MAX];
    uint64_t     number;
    MDB_cursor  *cursor;
    const char  *text[4];

    rc = mdb_cursor_open(txn, st->changes, &cursor);
    if (rc != 0) {
        return llm_store_error(st, rc, "log", err, errlen);
    }

    number = 0;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);

    if (rc == 0) {
        number = llm_change_number(&k);
    }

    mdb_cursor_close(cursor);

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return llm_store_error(st, rc, "log", err, errlen);
    }

    if (number == UINT64_MAX) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s/data.mdb: changes: malformed number", st->path);
    }

    number++;
    llm_change_key(name, number);

    text[0] = st->actor[0] != '\0' ? st->actor : "unknown";
    text[1] = action;
    text[2] = target;
    text[3] = detail;

    k.mv_data = name;
    k.mv_size = sizeof(name);
    v.mv_data = entry;
    v.mv_size = llm_change_pack(entry, text);

    /* appended: pages become full ones */

    rc = mdb_put(txn, st->changes, &k, &v, MDB_APPEND);

    if (rc == 0) {
        rc = llm_change_drop(st, txn, number);
    }

    return rc == 0 ? LLM_OK : llm_store_error(st, rc, "log", err, errlen);
}


static size_t
llm_change_pack(uint8_t *p, const char *const *text)
{
    int              i;
    size_t           j, len[4], n;
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    n = LLM_CHANGE_HEAD;

    for (i = 0; i < 4; i++) {
        len[i] = strnlen(text[i], llm_change_max[i]);

        for (j = 0; j < len[i]; j++) {
            p[n++] = (text[i][j] >= ' ' && text[i][j] <= '~')
                     ? (uint8_t) text[i][j] : '?';
        }
    }

    llm_put_le(p, (uint64_t) ts.tv_sec * 1000
                  + (uint64_t) ts.tv_nsec / 1000000, 8);
    p[8] = (uint8_t) len[0];
    p[9] = (uint8_t) len[1];
    p[10] = (uint8_t) len[2];
    p[11] = 0;
    llm_put_le(p + 12, len[3], 2);
    llm_put_le(p + n, llm_crc32(p, n), 4);

    return n + 4;
}


/* last: the number of the new one, which stays */

static int
llm_change_drop(llm_store_t *st, MDB_txn *txn, uint64_t last)
{
    int          i, rc;
    MDB_stat     stat;
    MDB_cursor  *cursor;

    rc = mdb_stat(txn, st->changes, &stat);

    if (rc != 0 || stat.ms_entries <= LLM_CHANGES_MAX) {
        return rc;
    }

    rc = mdb_cursor_open(txn, st->changes, &cursor);

    for (i = 0; rc == 0 && i < LLM_CHANGE_DROP
                && stat.ms_entries - (size_t) i > LLM_CHANGES_MAX; i++)
    {
        rc = llm_change_oldest(st, cursor, last);

        if (rc == 0) {
            rc = mdb_cursor_del(cursor, 0);
        }
    }

    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }

    return rc;
}


/*
 * Sets the cursor to the oldest minor entry, or to the oldest at all.  Below
 * st->minor there is no minor one, and none comes there any more, so each entry
 * is looked at once.
 */

static int
llm_change_oldest(llm_store_t *st, MDB_cursor *cursor, uint64_t last)
{
    int      rc;
    MDB_val  k, v;
    uint8_t  name[8];

    llm_change_key(name, st->minor);
    k.mv_data = name;
    k.mv_size = sizeof(name);

    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
         rc == 0 && llm_change_number(&k) < last;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
    {
        st->minor = llm_change_number(&k);

        if (llm_change_minor(&v)) {
            return 0;
        }
    }

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return rc;
    }

    return mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
}


/* what is damaged is not worth more than what is whole */

static int
llm_change_minor(const MDB_val *v)
{
    size_t          actor, action, target;
    const uint8_t  *p;

    p = v->mv_data;

    if (v->mv_size < LLM_CHANGE_HEAD) {
        return 1;
    }

    actor = p[8];
    action = p[9];
    target = p[10];

    if (v->mv_size < LLM_CHANGE_HEAD + actor + action + target) {
        return 1;
    }

    p += LLM_CHANGE_HEAD;

    return (actor == target && memcmp(p, p + actor + action, actor) == 0)
           || (action >= 7 && memcmp(p + actor, "params.", 7) == 0);
}


static void
llm_change_key(uint8_t *name, uint64_t number)
{
    int  i;

    for (i = 0; i < 8; i++) {
        name[i] = (uint8_t) (number >> (56 - 8 * i));
    }
}


int
llm_store_note(llm_store_t *st, const char *action, const char *target,
    const char *detail, char *err, size_t errlen)
{
    int       rc;
    MDB_txn  *txn;

    rc = llm_store_write(st, &txn, 1, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = llm_change_put(st, txn, action, target, detail, err, errlen);

    if (rc != LLM_OK) {
        llm_store_abort(st, txn);
        return rc;
    }

    return llm_store_commit(st, txn, err, errlen);
}


/* a damaged entry hides no other one: it is told at the end */

int
llm_change_each(llm_store_t *st, uint64_t before,
    int (*f)(void *data, const llm_change_t *c), void *data, char *err,
    size_t errlen)
{
    int                rc, bad;
    uint64_t           last;
    llm_change_t       c;
    llm_change_text_t  text;

    bad = LLM_OK;

    for ( ;; ) {
        last = before;

        rc = llm_change_next(st, &before, &c, &text,
                             bad == LLM_OK ? err : NULL, errlen);

        /* in a tree that is out of order the way back may lead forward */

        if (rc != LLM_NOTFOUND && last != 0 && before >= last) {
            return llm_err(err, errlen, LLM_INVALID,
                           "%s/data.mdb: changes: out of order", st->path);
        }

        if (rc == LLM_NOTFOUND) {
            return bad;
        }

        if (rc == LLM_INVALID && before > 0) {
            bad = rc;
            continue;
        }

        if (rc != LLM_OK) {
            return rc;
        }

        if (f(data, &c) != 0) {
            return bad;
        }
    }
}


/* *before: becomes the entry's number, 0 when there is none */

static int
llm_change_next(llm_store_t *st, uint64_t *before, llm_change_t *c,
    llm_change_text_t *text, char *err, size_t errlen)
{
    int          rc;
    MDB_txn     *txn;
    MDB_val      k, v;
    uint8_t      name[8];
    MDB_cursor  *cursor;

    rc = llm_store_read(st, &txn, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_cursor_open(txn, st->changes, &cursor);

    if (rc != 0) {
        llm_store_read_end(st);
        return llm_store_error(st, rc, "read", err, errlen);
    }

    if (*before == 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);

    } else {
        llm_change_key(name, *before);

        k.mv_data = name;
        k.mv_size = sizeof(name);

        /* the first one that is not below it, and back */

        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        rc = (rc == MDB_NOTFOUND)
             ? mdb_cursor_get(cursor, &k, &v, MDB_LAST)
             : rc != 0 ? rc : mdb_cursor_get(cursor, &k, &v, MDB_PREV);
    }

    if (rc == 0) {
        *before = llm_change_number(&k);
        rc = llm_change_unpack(&k, &v, c, text);

        if (rc != LLM_OK) {
            rc = llm_err(err, errlen, rc, "%s/data.mdb: change %llu: "
                         "damaged", st->path, (unsigned long long) *before);
        }

    } else if (rc == MDB_NOTFOUND) {
        rc = LLM_NOTFOUND;

    } else {
        *before = 0;
        rc = llm_store_error(st, rc, "read", err, errlen);
    }

    mdb_cursor_close(cursor);
    llm_store_read_end(st);

    return rc;
}


static int
llm_change_unpack(const MDB_val *k, const MDB_val *v, llm_change_t *c,
    llm_change_text_t *text)
{
    int             i;
    char           *to[4];
    size_t          len[4], n;
    const uint8_t  *p;

    p = v->mv_data;

    if (k->mv_size != 8 || v->mv_size < LLM_CHANGE_HEAD + 4) {
        return LLM_INVALID;
    }

    len[0] = p[8];
    len[1] = p[9];
    len[2] = p[10];
    len[3] = (size_t) llm_get_le(p + 12, 2);

    n = LLM_CHANGE_HEAD + len[0] + len[1] + len[2] + len[3];

    if (v->mv_size != n + 4 || llm_get_le(p + n, 4) != llm_crc32(p, n)) {
        return LLM_INVALID;
    }

    to[0] = text->actor;
    to[1] = text->action;
    to[2] = text->target;
    to[3] = text->detail;
    n = LLM_CHANGE_HEAD;

    for (i = 0; i < 4; i++) {
        if (len[i] > llm_change_max[i]) {
            return LLM_INVALID;
        }

        memcpy(to[i], p + n, len[i]);
        to[i][len[i]] = '\0';
        n += len[i];
    }

    c->number = llm_change_number(k);

    /* 0 would begin anew */

    if (c->number == 0) {
        return LLM_INVALID;
    }

    c->time = (int64_t) llm_get_le(p, 8);
    c->actor = text->actor;
    c->action = text->action;
    c->target = text->target;
    c->detail = text->detail;

    return LLM_OK;
}


static uint64_t
llm_change_number(const MDB_val *k)
{
    size_t          i;
    uint64_t        n;
    const uint8_t  *p;

    p = k->mv_data;
    n = 0;

    for (i = 0; i < k->mv_size && i < 8; i++) {
        n = n << 8 | p[i];
    }

    return n;
}
