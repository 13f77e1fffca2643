
/*
 * Copyright (C) nginx-llm contributors
 *
 * Writing the audit trail.  A write transaction holds the lock of all writers
 * on the host from begin to commit; the chain's state is the head's mark, read
 * when it begins and written when it ends.  Nothing of it is kept between, so
 * that a process may be killed anywhere.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../store/llm_store_int.h"
#include "llm_audit_int.h"
#include "llm_audit_own.h"


#define LLM_AUDIT_HOUR  ((int64_t) 3600000)
#define LLM_AUDIT_END   ((int64_t) 1 << 48)     /* ms: no time is so late */


static int llm_audit_check(llm_audit_t *a, char *err, size_t errlen);
static int llm_audit_check_head(llm_audit_t *a, char *err, size_t errlen);
static int llm_audit_put_hour(llm_audit_t *a, uint64_t number, int64_t time,
    char *err, size_t errlen);
static int llm_audit_put_key(llm_audit_t *a, const uint8_t *id,
    uint64_t number, char *err, size_t errlen);
static int llm_audit_put_content(llm_audit_t *a, uint64_t number, char what,
    uint32_t choice, const llm_audit_text_t *t, char *err, size_t errlen);
static int llm_audit_close_of(llm_audit_t *a, llm_audit_record_t *r,
    char *err, size_t errlen);
static llm_audit_text_t llm_audit_string(const char *s);
static void llm_audit_times(llm_audit_t *a, llm_audit_record_t *r,
    int64_t wall, int64_t mono);
static int llm_audit_due(const llm_audit_t *a);
static int llm_audit_waiting(const llm_audit_mark_t *m);


int
llm_audit_begin(llm_audit_t *a, char *err, size_t errlen)
{
    int               rc;
    llm_audit_env_t  *e;

    e = a->shared;

    if (e->reading || a->wtxn != NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: write: %s", e->path,
                       e->reading ? "open for reading only"
                                  : "it has begun already");
    }

    rc = llm_audit_enter(a, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    rc = mdb_txn_begin(e->env, NULL, 0, &a->wtxn);

    if (rc != 0) {
        a->wtxn = NULL;
        llm_audit_leave(a);
        return llm_audit_error(a, rc, "write", err, errlen);
    }

    a->changed = 0;

    rc = llm_audit_measure(a, err, errlen);

    if (rc == LLM_OK) {
        rc = llm_audit_mark_get(a, a->wtxn, LLM_AUDIT_MARK_HEAD, &a->mark,
                                err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_load(a, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_check(a, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_audit_abort(a);
    }

    return rc;
}


/* the head's MAC; keys of a newer epoch than this process has can't be had */

static int
llm_audit_check(llm_audit_t *a, char *err, size_t errlen)
{
    int                rc;
    llm_audit_keys_t  *k;

    rc = llm_audit_keys(a, a->wtxn, a->mark.epoch, &k, err, errlen);

    if (rc == LLM_OK && !llm_audit_mark_check(k, &a->mark)) {
        rc = llm_err(err, errlen, LLM_INVALID, "%s: head: its MAC is wrong",
                     a->shared->path);
    }

    if (rc == LLM_NOTFOUND && a->mark.epoch > a->keys->epoch) {
        rc = LLM_OK;
    }

    return rc == LLM_OK ? llm_audit_check_head(a, err, errlen) : rc;
}


/* it is written after the commit, and nobody else commits now: it can't be
 * ahead */

static int
llm_audit_check_head(llm_audit_t *a, char *err, size_t errlen)
{
    int               proven, rc;
    llm_audit_env_t  *e;
    llm_audit_mark_t  m;

    e = a->shared;

    rc = llm_audit_head_load(e, e->head, &m, &proven, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    if (proven == -1) {
        return llm_err(err, errlen, LLM_INVALID, "%s: its MAC is wrong",
                       e->head_path);
    }

    if (m.number > a->mark.number) {
        return llm_err(err, errlen, LLM_AWAY, "%s: it ends at record %llu, %s "
                       "knows of %llu: \"llmctl audit renew\" begins a new "
                       "trail", e->path, (unsigned long long) a->mark.number,
                       LLM_AUDIT_HEAD, (unsigned long long) m.number);
    }

    if (m.number == a->mark.number
        && memcmp(m.hash, a->mark.hash, LLM_AUDIT_HASH) != 0)
    {
        return llm_err(err, errlen, LLM_INVALID, "%s: record %llu is another "
                       "than %s knows", e->path, (unsigned long long) m.number,
                       LLM_AUDIT_HEAD);
    }

    return LLM_OK;
}


/* the file is long enough, so that no page beyond its end is read */

int
llm_audit_measure(llm_audit_t *a, char *err, size_t errlen)
{
    int               fd, rc;
    struct stat       sb;
    MDB_envinfo       info;
    llm_audit_env_t  *e;

    e = a->shared;

    (void) mdb_env_info(e->env, &info);

    rc = mdb_env_get_fd(e->env, &fd);

    if (rc != 0 || fstat(fd, &sb) == -1) {
        return llm_audit_error(a, rc ? rc : errno, "stat", err, errlen);
    }

    a->used = info.me_last_pgno + 1;
    a->file = (uint64_t) sb.st_size / e->psize;
    a->spent = LLM_AUDIT_BASE;
    a->reserve = LLM_AUDIT_RESERVE;
    a->reusable = 0;
    a->counted = 0;

    return LLM_OK;
}


/*
 * LMDB tells that there is no room in the middle of a write, or when it
 * commits: it is seen before.  Pages that were freed count where the file
 * can't grow, after a prune.
 */

int
llm_audit_room(llm_audit_t *a, uint64_t pages, char *err, size_t errlen)
{
    int               rc;
    uint64_t          want;
    llm_audit_env_t  *e;

    e = a->shared;
    a->spent += pages;
    want = a->used + a->spent + a->reserve;

    rc = llm_env_grow(e->env, e->psize, &a->file, want);

    if (rc == 0 && a->file < want) {
        rc = MDB_MAP_FULL;
    }

    if (rc != 0) {

        if (!a->counted && llm_audit_renew_read(a) == 0) {
            mdb_txn_reset(a->rtxn);
            a->reusable = llm_env_reusable(e->env, a->wtxn, a->rtxn);
            a->counted = 1;
        }

        if (a->file + a->reusable >= want) {
            rc = 0;
        }
    }

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


int
llm_audit_put_open(llm_audit_t *a, const llm_audit_open_t *o,
    uint64_t *number, char *err, size_t errlen)
{
    int                 more, rc;
    uint8_t             print[LLM_AUDIT_PRINTS][LLM_AUDIT_HASH];
    llm_audit_record_t  r;

    *number = 0;

    if (a->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: write: nothing has "
                       "begun", a->shared->path);
    }

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_OPEN;

    if (o->key != NULL) {
        rc = llm_calls_id(r.key, o->key, err, errlen);
        if (rc != LLM_OK) {
            return rc;
        }

        r.flags |= LLM_AUDIT_HAS_KEY;
        r.role = o->role;
    }

    if (llm_audit_request_id(o->request, r.request)) {
        r.flags |= LLM_AUDIT_HAS_REQUEST;
    }

    if (o->act) {
        r.flags |= LLM_AUDIT_HAS_ACT;
    }

    if (o->content && o->input.data != NULL
        && o->input.len <= LLM_AUDIT_CONTENT)
    {
        r.flags |= LLM_AUDIT_HAS_CONTENT;
    }

    r.client = o->client;
    r.addr = o->addr;
    r.method = o->method;
    r.path = o->path;
    r.model = o->model;
    r.agent = o->agent;
    r.n_print = llm_audit_input_prints(a->keys, &o->input, print, &more);
    r.print = print[0];

    if (more) {
        r.flags |= LLM_AUDIT_HAS_MORE;
    }

    llm_audit_times(a, &r, o->wall, o->mono);

    rc = llm_audit_append(a, &r, err, errlen);

    if (rc == LLM_OK && (r.flags & LLM_AUDIT_HAS_KEY)) {
        rc = llm_audit_put_key(a, r.key, a->mark.number, err, errlen);
    }

    if (rc == LLM_OK && (r.flags & LLM_AUDIT_HAS_CONTENT)) {
        rc = llm_audit_put_content(a, a->mark.number, 'i', 0, &o->input, err,
                                   errlen);
    }

    if (rc == LLM_OK) {
        *number = a->mark.number;
    }

    return rc;
}


int
llm_audit_put_close(llm_audit_t *a, const llm_audit_close_t *c, char *err,
    size_t errlen)
{
    int                 rc;
    uint8_t             print[LLM_AUDIT_OUTPUTS][LLM_AUDIT_HASH];
    uint32_t            i, n;
    llm_audit_record_t  r;

    if (a->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID, "%s: write: nothing has "
                       "begun", a->shared->path);
    }

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_CLOSE;

    if (llm_audit_request_id(c->request, r.request)) {
        r.flags |= LLM_AUDIT_HAS_REQUEST;
    }

    r.number = c->number;

    rc = llm_audit_close_of(a, &r, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    r.status = c->status;
    r.prompt_tokens = c->prompt_tokens;
    r.cached_tokens = c->cached_tokens;
    r.completion_tokens = c->completion_tokens;
    r.queue_us = c->queue_us;
    r.ttft_us = c->ttft_us;
    r.inference_us = c->inference_us;
    r.total_us = c->total_us;
    r.sent = c->sent;

    if (c->with_seed) {
        r.flags |= LLM_AUDIT_HAS_SEED;
        r.seed = c->seed;
        r.effective = c->effective;
    }

    if (c->build != 0) {
        r.flags |= LLM_AUDIT_HAS_BUILD;
        r.build = c->build;
    }

    r.model = llm_audit_string(c->model);
    r.finish = llm_audit_string(c->finish);
    r.code = llm_audit_string(c->code);

    n = c->n_output < LLM_AUDIT_OUTPUTS ? c->n_output : LLM_AUDIT_OUTPUTS;

    for (i = 0; i < n; i++) {
        llm_audit_fingerprint(a->keys, c->output[i].data, c->output[i].len,
                              print[i]);

        if (c->content && c->output[i].len <= LLM_AUDIT_CONTENT) {
            r.flags |= LLM_AUDIT_HAS_CONTENT;
        }
    }

    r.n_print = n;
    r.print = print[0];

    if (c->print != NULL) {
        r.n_print = 1;
        r.print = c->print;
        r.flags &= ~(unsigned) LLM_AUDIT_HAS_CONTENT;
    }

    llm_audit_times(a, &r, c->wall, c->mono);

    rc = llm_audit_append(a, &r, err, errlen);

    for (i = 0; i < n && rc == LLM_OK && (r.flags & LLM_AUDIT_HAS_CONTENT);
         i++)
    {
        rc = llm_audit_put_content(a, a->mark.number, 'o', i, &c->output[i],
                                   err, errlen);
    }

    return rc;
}


/*
 * Its opening record must be that request's: a trail may have been renewed
 * since.  The entry in closes is made here, as nothing else changes when it is
 * there already.
 */

static int
llm_audit_close_of(llm_audit_t *a, llm_audit_record_t *r, char *err,
    size_t errlen)
{
    int                 rc;
    uint8_t             key[8], value[8];
    MDB_val             k, v;
    llm_audit_record_t  open;

    if (r->number == 0) {
        return LLM_OK;
    }

    rc = llm_audit_get(a, a->wtxn, r->number, &v, err, errlen);

    if (rc != LLM_OK && rc != LLM_NOTFOUND) {
        return rc;
    }

    if (rc == LLM_NOTFOUND
        || llm_audit_unpack(v.mv_data, v.mv_size, &open) != LLM_OK
        || open.type != LLM_AUDIT_OPEN
        || memcmp(open.request, r->request, sizeof(r->request)) != 0)
    {
        r->number = 0;
        return LLM_OK;
    }

    rc = llm_audit_room(a, LLM_AUDIT_COST, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_be_put(key, r->number, 8);
    llm_be_put(value, a->mark.number + 1, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = value;
    v.mv_size = sizeof(value);

    rc = mdb_put(a->wtxn, a->shared->closes, &k, &v, MDB_NOOVERWRITE);

    if (rc == MDB_KEYEXIST) {
        return llm_err(err, errlen, LLM_EXISTS, "%s: record %llu has a "
                       "closing record already", a->shared->path,
                       (unsigned long long) r->number);
    }

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


static llm_audit_text_t
llm_audit_string(const char *s)
{
    llm_audit_text_t  t;

    t.data = s;
    t.len = s ? strlen(s) : 0;

    return t;
}


static void
llm_audit_times(llm_audit_t *a, llm_audit_record_t *r, int64_t wall,
    int64_t mono)
{
    r->wall = wall > 0 && wall < LLM_AUDIT_END ? wall
                                               : llm_audit_now(a->shared);
    r->mono = mono > 0 && mono < LLM_AUDIT_END ? mono : llm_audit_mono();
    r->time = r->wall;
}


int
llm_audit_append(llm_audit_t *a, llm_audit_record_t *r, char *err,
    size_t errlen)
{
    int       rc;
    size_t    len;
    uint8_t   key[8], record[LLM_AUDIT_MAX];
    MDB_val   k, v;
    uint64_t  number;

    rc = llm_audit_room(a, LLM_AUDIT_COST, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    number = a->mark.number + 1;

    r->epoch = a->keys->epoch;
    r->time = r->time > a->mark.time ? r->time : a->mark.time;
    memcpy(r->previous, a->mark.hash, LLM_AUDIT_HASH);

    len = llm_audit_pack(record, r);

    if (len == 0) {
        return llm_err(err, errlen, LLM_INVALID, "%s: write: no record",
                       a->shared->path);
    }

    llm_be_put(key, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = record;
    v.mv_size = len;

    rc = mdb_put(a->wtxn, a->shared->records, &k, &v, MDB_APPEND);

    if (rc != 0) {
        return llm_audit_error(a, rc, "write", err, errlen);
    }

    rc = llm_audit_put_hour(a, number, r->time, err, errlen);

    a->mark.number = number;
    a->mark.time = r->time;
    llm_audit_hash(number, record, len, a->mark.hash);
    a->changed = 1;

    return rc;
}


static int
llm_audit_put_hour(llm_audit_t *a, uint64_t number, int64_t time, char *err,
    size_t errlen)
{
    int       rc;
    uint8_t   key[8], value[8];
    int64_t   hour;
    MDB_val   k, v;

    hour = time / LLM_AUDIT_HOUR;

    if (number != 1 && hour == a->mark.time / LLM_AUDIT_HOUR) {
        return LLM_OK;
    }

    llm_be_put(key, (uint64_t) hour, 8);
    llm_be_put(value, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = value;
    v.mv_size = sizeof(value);

    rc = mdb_put(a->wtxn, a->shared->hours, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


static int
llm_audit_put_key(llm_audit_t *a, const uint8_t *id, uint64_t number,
    char *err, size_t errlen)
{
    int      rc;
    uint8_t  key[LLM_AUDIT_ID + 8];
    MDB_val  k, v;

    memcpy(key, id, LLM_AUDIT_ID);
    llm_be_put(key + LLM_AUDIT_ID, number, 8);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_data = "";
    v.mv_size = 0;

    rc = mdb_put(a->wtxn, a->shared->keyed, &k, &v, 0);

    return rc == 0 ? LLM_OK : llm_audit_error(a, rc, "write", err, errlen);
}


static int
llm_audit_put_content(llm_audit_t *a, uint64_t number, char what,
    uint32_t choice, const llm_audit_text_t *t, char *err, size_t errlen)
{
    int       rc;
    size_t    len;
    uint8_t   key[LLM_AUDIT_CONTENT_KEY];
    MDB_val   k, v;

    if (t->len > LLM_AUDIT_CONTENT) {
        return LLM_OK;
    }

    len = t->len + LLM_AUDIT_CONTENT_MORE;

    rc = llm_audit_room(a, LLM_AUDIT_COST + len / a->shared->psize + 2, err,
                        errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    llm_audit_content_key(key, number, what, choice);
    k.mv_data = key;
    k.mv_size = sizeof(key);
    v.mv_size = len;

    rc = mdb_put(a->wtxn, a->shared->content, &k, &v, MDB_RESERVE);

    if (rc != 0) {
        return llm_audit_error(a, rc, "write", err, errlen);
    }

    return llm_audit_content_seal(a->keys, number, what, choice, t->data,
                                  t->len, v.mv_data, err, errlen);
}


int
llm_audit_commit(llm_audit_t *a, char *err, size_t errlen)
{
    int                rc;
    llm_audit_env_t   *e;
    llm_audit_epoch_t  ep;

    e = a->shared;

    if (a->wtxn == NULL) {
        return llm_err(err, errlen, LLM_INVALID,
                       "%s: commit: nothing has begun", e->path);
    }

    if (!a->changed) {
        llm_audit_abort(a);
        return LLM_OK;
    }

    rc = LLM_OK;

    if (llm_audit_due(a)) {
        rc = llm_audit_put_signed(a, a->mark.time, err, errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_mark_put(a, LLM_AUDIT_MARK_HEAD, &a->mark, err,
                                errlen);
    }

    if (rc == LLM_OK) {
        rc = llm_audit_epoch_get(a, a->wtxn, a->mark.epoch, &ep, err, errlen);
    }

    if (rc != LLM_OK) {
        llm_audit_abort(a);
        return rc;
    }

    rc = mdb_txn_commit(a->wtxn);
    a->wtxn = NULL;
    a->keys = NULL;

    if (rc != 0) {
        rc = llm_audit_error(a, rc, "commit", err, errlen);

    } else if (!llm_audit_there(e)) {
        rc = llm_err(err, errlen, LLM_AWAY, "%s: it was removed or replaced "
                     "meanwhile", e->path);

    } else {

        /* where it can't be, it lags behind until the next one */

        (void) llm_audit_head_write(e, e->head, &a->mark, ep.sealed, 0);
    }

    llm_audit_leave(a);

    return rc;
}


void
llm_audit_abort(llm_audit_t *a)
{
    if (a->wtxn != NULL) {
        mdb_txn_abort(a->wtxn);
        a->wtxn = NULL;
        a->keys = NULL;
        llm_audit_leave(a);
    }
}


/*
 * By the records' time, and by a clock that nobody steps, which began anew if
 * it shows less.
 */

static int
llm_audit_due(const llm_audit_t *a)
{
    int64_t                  mono;
    const llm_audit_mark_t  *m;

    m = &a->mark;
    mono = llm_audit_mono();

    return m->time - m->signed_at >= LLM_AUDIT_CHECKPOINT
           || mono - m->signed_mono >= LLM_AUDIT_CHECKPOINT
           || mono < m->signed_mono;
}


/* the last record is a checkpoint where it is the one after signed_to */

static int
llm_audit_waiting(const llm_audit_mark_t *m)
{
    return m->signed_to == 0 || m->number > m->signed_to + 1;
}


int
llm_audit_put_signed(llm_audit_t *a, int64_t time, char *err, size_t errlen)
{
    int                 rc;
    uint64_t            number;
    llm_audit_record_t  r;

    if (a->keys->epoch != a->newest || !llm_audit_waiting(&a->mark)) {
        return LLM_OK;
    }

    number = a->mark.number;

    memset(&r, 0, sizeof(r));
    r.type = LLM_AUDIT_SIGNED;
    r.wall = llm_audit_now(a->shared);
    r.mono = llm_audit_mono();
    r.time = time > a->mark.time ? time : a->mark.time;

    if (llm_audit_checkpoint_sign(a->keys, number, r.time, a->mark.hash,
                                  r.signature) != LLM_OK)
    {
        return llm_err(err, errlen, LLM_ERROR, "%s: checkpoint: signing "
                       "failed", a->shared->path);
    }

    rc = llm_audit_append(a, &r, err, errlen);

    a->mark.signed_to = number;
    a->mark.signed_at = r.time;
    a->mark.signed_mono = r.mono;

    return rc;
}


int
llm_audit_sign(llm_audit_t *a, char *err, size_t errlen)
{
    int  rc;

    rc = llm_audit_begin(a, err, errlen);
    if (rc != LLM_OK) {
        return rc;
    }

    /* the last ones before a disk was full, too */

    a->reserve = LLM_AUDIT_RESERVE / 2;

    rc = llm_audit_put_signed(a, llm_audit_now(a->shared), err, errlen);

    if (rc != LLM_OK) {
        llm_audit_abort(a);
        return rc;
    }

    return llm_audit_commit(a, err, errlen);
}


/* a process from before a rotation signs nothing: others do */

int
llm_audit_unsigned(llm_audit_t *a)
{
    int                rc;
    MDB_txn           *txn;
    llm_audit_keys_t  *k;
    llm_audit_mark_t   mark;

    if (llm_audit_read(a, &txn, NULL, 0) != LLM_OK) {
        return 0;
    }

    k = atomic_load(&a->shared->current);

    rc = k != NULL
         && llm_audit_mark_get(a, txn, LLM_AUDIT_MARK_HEAD, &mark, NULL, 0)
            == LLM_OK
         && llm_audit_waiting(&mark)
         && llm_audit_epoch_last(a, txn) == k->epoch;

    llm_audit_read_end(a, txn);

    return rc;
}
