
/*
 * Copyright (C) nginx-llm contributors
 *
 * How much room calls.mdb has, in its map and on the disk.  Called within a
 * write transaction, by the thread that began it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "llm_calls_int.h"
#include "llm_store_int.h"


/* pages that only usage records may use */
#define LLM_CALLS_MINRES   64
#define LLM_CALLS_MAXRES   4096


/*
 * How much room there is, once a transaction: LMDB tells that a map is full
 * in the middle of a put, which costs the whole transaction.  A call or an
 * event is refused before, so usage records always have the reserve.
 *
 * Pages that were never used count, and those that were and that no reader
 * may see; the latter are counted only where the former are few, that is when
 * the map once was full.
 */

int
llm_calls_measure(llm_calls_t *c, char *err, size_t errlen)
{
    int               fd, rc;
    uint64_t          pages, reserve, room;
    MDB_envinfo       info;
    struct stat       sb;
    llm_calls_env_t  *e;

    e = c->shared;

    (void) mdb_env_info(e->env, &info);

    pages = info.me_mapsize / e->psize;
    c->used = info.me_last_pgno + 1;
    c->spent = LLM_CALLS_BASE;

    reserve = pages / 64;

    if (reserve < LLM_CALLS_MINRES) {
        reserve = LLM_CALLS_MINRES;
    }

    if (reserve > LLM_CALLS_MAXRES) {
        reserve = LLM_CALLS_MAXRES;
    }

    room = (pages > c->used) ? pages - c->used : 0;

    if (room < reserve + pages / 16) {
        room += llm_env_reusable(e->env, c->wtxn, c->rtxn);
    }

    c->low = (room < reserve + pages / 16);
    c->left = (room > reserve) ? room - reserve : 0;

    rc = mdb_env_get_fd(e->env, &fd);

    if (rc != 0 || fstat(fd, &sb) == -1) {
        return llm_calls_error(c, rc ? rc : errno, "stat", err, errlen);
    }

    c->file = (uint64_t) sb.st_size / e->psize;

    /* the disk's reserve, for usage records; it may be there no more */

    rc = llm_env_grow(e->env, e->psize, &c->file, c->used + LLM_CALLS_MINRES);

    if (rc != 0) {
        c->left = 0;
    }

    return LLM_OK;
}


int
llm_calls_room(llm_calls_t *c, uint64_t cost, char *err, size_t errlen)
{
    int       rc;
    uint64_t  spent;

    spent = c->spent + cost;

    if (spent > c->left) {
        return llm_err(err, errlen, LLM_AGAIN,
                       "%s: write: no room, its size or the disk is full",
                       c->shared->path);
    }

    rc = llm_env_grow(c->shared->env, c->shared->psize, &c->file,
                      c->used + spent + LLM_CALLS_MINRES);

    if (rc != 0) {
        return llm_err(err, errlen, LLM_AGAIN, "%s: write: %s",
                       c->shared->path, strerror(rc));
    }

    c->spent = spent;

    return LLM_OK;
}
