
/*
 * Copyright (C) nginx-llm contributors
 *
 * Checks a store's pages before LMDB follows them: LMDB trusts its file, and
 * a damaged one would end the process.  Run once at each open, inside a read
 * transaction, which keeps its pages from being reused; reads the file, not
 * the map, so that a hole is an error and not a signal.  It costs about a
 * microsecond a page in use.
 *
 * The format is that of LMDB's data version 1 on a 64-bit little-endian
 * machine.  A page begins with a header:
 *
 *      0   8   its number
 *      8   2   unused
 *     10   2   flags
 *     12   2   lower: end of the array of node offsets that follows
 *     14   2   upper: begin of the nodes;  12, 4 in an overflow page: pages
 *
 * A node: 2 low, 2 high, 2 flags, 2 length of the key, the key, the data.
 * In a leaf low and high are the data's length; in a branch they and the
 * flags are the child's page.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llm_store_int.h"


#define LLM_PAGE_HEAD      16
#define LLM_NODE_HEAD      8
#define LLM_META_DBS       24       /* in the meta page, after its header */
#define LLM_META_LAST      120
#define LLM_META_TXNID     128
#define LLM_META_SIZE      136
#define LLM_META_MAGIC     0xbeefc0de
#define LLM_META_FLAG      0x08     /* of its page */
#define LLM_MAP_MAX        ((uint64_t) 1 << 46)
#define LLM_DB_SIZE        48

#define LLM_PAGE_BRANCH    0x01
#define LLM_PAGE_LEAF      0x02
#define LLM_PAGE_OVERFLOW  0x04

#define LLM_NODE_BIG       0x01     /* the data is a page number */
#define LLM_NODE_DB        0x02     /* the data is a named database */

#define LLM_SCAN_DEPTH     32       /* LMDB's own limit */
#define LLM_SCAN_NONE      UINT64_MAX
#define LLM_SCAN_KEY       511      /* LMDB's own limit, too */


typedef enum {
    LLM_SCAN_FREE,                  /* the list of free pages */
    LLM_SCAN_MAIN,                  /* names of databases */
    LLM_SCAN_NAMED
} llm_scan_kind_e;


/* the key that came last, in a tree that is walked in its order */
typedef struct {
    int       n;                    /* 0: none; 1: of a leaf; 2: of a branch */
    uint8_t   node[LLM_NODE_HEAD + LLM_SCAN_KEY];
} llm_scan_last_t;


typedef struct {
    int       fd;
    size_t    psize;
    uint64_t  pages;                /* in the file, as of this transaction */
    uint64_t  entries;
    uint64_t  bad;                  /* the page that is wrong */
    uint8_t  *buf;                  /* one page a level, and one more */
    uint8_t  *met;                  /* a bit a page: in use, or free */

    llm_scan_last_t  last;
} llm_scan_t;


static size_t llm_scan_head(const uint8_t *m);
static int llm_scan_meta(llm_scan_t *s, uint64_t txnid, uint8_t *meta);
static int llm_scan_db(llm_scan_t *s, const uint8_t *db,
    llm_scan_kind_e kind, unsigned level);
static int llm_scan_page(llm_scan_t *s, uint64_t pgno, unsigned level,
    unsigned height, llm_scan_kind_e kind);
static int llm_scan_leaf(llm_scan_t *s, const uint8_t *node, size_t room,
    llm_scan_kind_e kind, unsigned level);
static int llm_scan_overflow(llm_scan_t *s, const uint8_t *data, size_t len,
    llm_scan_kind_e kind);
static int llm_scan_free(llm_scan_t *s, const uint8_t *p, size_t len);
static int llm_scan_meet(llm_scan_t *s, uint64_t pgno, uint64_t n);
static int llm_scan_next(llm_scan_t *s, const uint8_t *node, int leaf,
    llm_scan_kind_e kind);
static int llm_scan_order(const uint8_t *a, const uint8_t *b,
    llm_scan_kind_e kind);
static int llm_scan_read(llm_scan_t *s, void *p, size_t len, uint64_t pgno);


_Static_assert(sizeof(size_t) == 8, "the page format is for 64 bits");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian");


static uint16_t
llm_get16(const uint8_t *p)
{
    return (uint16_t) (p[0] | p[1] << 8);
}


static uint32_t
llm_get32(const uint8_t *p)
{
    uint32_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


static uint64_t
llm_get64u(const uint8_t *p)
{
    uint64_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


int
llm_scan_header(int fd)
{
    size_t   psize;
    uint8_t  m[LLM_PAGE_HEAD + LLM_META_SIZE];

    return pread(fd, m, sizeof(m), 0) == sizeof(m)
           && (psize = llm_scan_head(m)) != 0
           && pread(fd, m, sizeof(m), (off_t) psize) == sizeof(m)
           && llm_scan_head(m) == psize ? LLM_OK : LLM_INVALID;
}


/* the page size; 0: malformed */

static size_t
llm_scan_head(const uint8_t *m)
{
    size_t    psize;
    uint64_t  last, size;

    if ((llm_get16(m + 10) & LLM_META_FLAG) == 0) {
        return 0;
    }

    m += LLM_PAGE_HEAD;

    size = llm_get64u(m + 16);
    psize = llm_get32(m + LLM_META_DBS);
    last = llm_get64u(m + LLM_META_LAST);

    if (llm_get32(m) != LLM_META_MAGIC
        || llm_get32(m + 4) != 1
        || llm_get64u(m + 8) != 0
        || psize < 512 || psize > 65536 || (psize & (psize - 1)) != 0
        || (llm_get16(m + LLM_META_DBS + 4) & ~MDB_NOSUBDIR)
           != MDB_INTEGERKEY
        || size > LLM_MAP_MAX || last < 1 || last >= size / psize)
    {
        return 0;
    }

    return psize;
}


/* LLM_AGAIN: the transaction is too old to be checked, take a new one */

int
llm_store_scan(llm_store_t *st, MDB_txn *txn, char *err, size_t errlen)
{
    return llm_scan_env(st->env, txn, st->path, "data.mdb", err, errlen);
}


int
llm_scan_env(MDB_env *env, MDB_txn *txn, const char *dir, const char *file,
    char *err, size_t errlen)
{
    int         i, rc;
    uint8_t     meta[LLM_PAGE_HEAD + LLM_META_SIZE];
    MDB_stat    stat;
    llm_scan_t  s;

    memset(&s, 0, sizeof(s));

    rc = mdb_env_stat(env, &stat);

    if (rc == 0) {
        rc = mdb_env_get_fd(env, &s.fd);
    }

    if (rc != 0) {
        return llm_err(err, errlen, LLM_ERROR, "%s/%s: check: %s", dir, file,
                       mdb_strerror(rc));
    }

    s.psize = stat.ms_psize;

    s.buf = malloc(s.psize * (2 * LLM_SCAN_DEPTH + 1));
    if (s.buf == NULL) {
        return llm_err(err, errlen, LLM_NOMEM, "%s/%s: check: no memory",
                       dir, file);
    }

    rc = llm_scan_meta(&s, mdb_txn_id(txn), meta);

    for (i = 0; rc == LLM_OK && i < 2; i++) {
        rc = llm_scan_db(&s, meta + LLM_PAGE_HEAD + LLM_META_DBS
                             + i * LLM_DB_SIZE,
                         i == 0 ? LLM_SCAN_FREE : LLM_SCAN_MAIN, 0);
    }

    free(s.buf);
    free(s.met);

    if (rc == LLM_OK || rc == LLM_AGAIN) {
        return rc;
    }

    if (rc == LLM_ERROR) {
        return llm_err(err, errlen, rc, "%s/%s: page %llu: read: %s", dir,
                       file, (unsigned long long) s.bad, strerror(errno));
    }

    return llm_err(err, errlen, rc, "%s/%s: page %llu: damaged", dir, file,
                   (unsigned long long) s.bad);
}


/* two meta pages take turns */

static int
llm_scan_meta(llm_scan_t *s, uint64_t txnid, uint8_t *meta)
{
    int       rc;
    uint8_t  *m;

    rc = llm_scan_read(s, meta, LLM_PAGE_HEAD + LLM_META_SIZE, txnid & 1);
    if (rc != LLM_OK) {
        return rc;
    }

    m = meta + LLM_PAGE_HEAD;

    if (llm_get32(m) != LLM_META_MAGIC || llm_get32(m + 4) != 1) {
        return LLM_INVALID;
    }

    if (llm_get64u(m + LLM_META_TXNID) != txnid) {
        return LLM_AGAIN;
    }

    s->pages = llm_get64u(m + LLM_META_LAST) + 1;

    if (s->pages < 2 || s->pages > UINT64_MAX / 2 / s->psize) {
        return LLM_INVALID;
    }

    /* its pages are there when they are written to: a number that is too
     * large costs no memory */

    s->met = calloc(s->pages / 8 + 1, 1);

    if (s->met == NULL) {
        errno = ENOMEM;
        return LLM_ERROR;
    }

    return LLM_OK;
}


/*
 * db: 4 page size, 2 flags, 2 depth, 8 branch pages, 8 leaf pages,
 * 8 overflow pages, 8 entries, 8 root
 */

static int
llm_scan_db(llm_scan_t *s, const uint8_t *db, llm_scan_kind_e kind,
    unsigned level)
{
    int              rc;
    unsigned         depth, flags;
    uint64_t         entries, root, saved;
    llm_scan_last_t  last;

    flags = llm_get16(db + 4);
    depth = llm_get16(db + 6);
    entries = llm_get64u(db + 32);
    root = llm_get64u(db + 40);

    /* the free list has integer keys; a sync flag may stand there too */

    if (kind == LLM_SCAN_FREE ? (flags & 0x0f) != MDB_INTEGERKEY
                              : flags != 0)
    {
        return LLM_INVALID;
    }

    if (root == LLM_SCAN_NONE) {
        return depth == 0 && entries == 0 ? LLM_OK : LLM_INVALID;
    }

    if (depth == 0 || depth > LLM_SCAN_DEPTH) {
        return LLM_INVALID;
    }

    saved = s->entries;
    s->entries = 0;

    last = s->last;
    s->last.n = 0;

    rc = llm_scan_page(s, root, level, depth, kind);

    if (rc == LLM_OK && s->entries != entries) {
        s->bad = root;
        rc = LLM_INVALID;
    }

    s->entries = saved;
    s->last = last;

    return rc;
}


/* height: 1 for a leaf.  level: of buffers in use */

static int
llm_scan_page(llm_scan_t *s, uint64_t pgno, unsigned level, unsigned height,
    llm_scan_kind_e kind)
{
    int        rc;
    size_t     i, n, lower, upper, pos;
    uint8_t   *p, *node;
    uint64_t   child;

    if (level >= 2 * LLM_SCAN_DEPTH || llm_scan_meet(s, pgno, 1) != LLM_OK) {
        return LLM_INVALID;
    }

    p = s->buf + level * s->psize;

    rc = llm_scan_read(s, p, s->psize, pgno);
    if (rc != LLM_OK) {
        return rc;
    }

    lower = llm_get16(p + 12);
    upper = llm_get16(p + 14);

    if (llm_get64u(p) != pgno
        || llm_get16(p + 10) != (height == 1 ? LLM_PAGE_LEAF
                                             : LLM_PAGE_BRANCH)
        || lower < LLM_PAGE_HEAD || lower > upper || upper > s->psize
        || (lower & 1) != 0)
    {
        return LLM_INVALID;
    }

    n = (lower - LLM_PAGE_HEAD) / 2;

    if (n < (height == 1 ? 1 : 2)) {
        return LLM_INVALID;
    }

    for (i = 0; i < n; i++) {
        pos = llm_get16(p + LLM_PAGE_HEAD + 2 * i);

        if (pos < upper || (pos & 1) != 0
            || pos + LLM_NODE_HEAD > s->psize
            || pos + LLM_NODE_HEAD + llm_get16(p + pos + 6) > s->psize)
        {
            return LLM_INVALID;
        }

        node = p + pos;

        /* the first key of a branch stands for all smaller ones */

        if (!(height > 1 && i == 0)
            && llm_scan_next(s, node, height == 1, kind) != LLM_OK)
        {
            return LLM_INVALID;
        }

        if (height == 1) {
            s->entries++;
            rc = llm_scan_leaf(s, node, s->psize - pos, kind, level);

        } else {
            child = llm_get16(node) | (uint64_t) llm_get16(node + 2) << 16
                    | (uint64_t) llm_get16(node + 4) << 32;

            rc = llm_scan_page(s, child, level + 1, height - 1, kind);
        }

        if (rc != LLM_OK) {
            return rc;
        }

        s->bad = pgno;
    }

    return LLM_OK;
}


/* room: bytes from the node to the end of its page */

static int
llm_scan_leaf(llm_scan_t *s, const uint8_t *node, size_t room,
    llm_scan_kind_e kind, unsigned level)
{
    size_t          len;
    unsigned        flags;
    const uint8_t  *data;

    len = llm_get16(node) | (size_t) llm_get16(node + 2) << 16;
    flags = llm_get16(node + 4);
    data = node + LLM_NODE_HEAD + llm_get16(node + 6);
    room -= (size_t) (data - node);

    if (flags == LLM_NODE_BIG) {
        return room < 8 ? LLM_INVALID : llm_scan_overflow(s, data, len, kind);
    }

    if (len > room) {
        return LLM_INVALID;
    }

    switch (kind) {

    case LLM_SCAN_FREE:
        return flags == 0 ? llm_scan_free(s, data, len) : LLM_INVALID;

    case LLM_SCAN_MAIN:

        /* another program's: let it be refused by its name */

        if (flags == 0) {
            return LLM_OK;
        }

        if (flags != LLM_NODE_DB || len != LLM_DB_SIZE) {
            return LLM_INVALID;
        }

        return llm_scan_db(s, data, LLM_SCAN_NAMED, level + 1);

    default:
        return flags == 0 ? LLM_OK : LLM_INVALID;
    }
}


/* data: the first of the pages that hold len bytes after one header */

static int
llm_scan_overflow(llm_scan_t *s, const uint8_t *data, size_t len,
    llm_scan_kind_e kind)
{
    int       rc;
    uint8_t  *list, head[LLM_PAGE_HEAD];
    uint64_t  n, pgno;

    pgno = llm_get64u(data);
    n = (LLM_PAGE_HEAD - 1 + len) / s->psize + 1;

    if (kind == LLM_SCAN_MAIN || llm_scan_meet(s, pgno, n) != LLM_OK) {
        return LLM_INVALID;
    }

    rc = llm_scan_read(s, head, sizeof(head), pgno);
    if (rc != LLM_OK) {
        return rc;
    }

    if (llm_get64u(head) != pgno || llm_get16(head + 10) != LLM_PAGE_OVERFLOW
        || llm_get32(head + 12) != n)
    {
        return LLM_INVALID;
    }

    if (kind != LLM_SCAN_FREE) {

        /* all of the last one is there, so the others are */

        return llm_scan_read(s, s->buf + 2 * LLM_SCAN_DEPTH * s->psize,
                             s->psize, pgno + n - 1);
    }

    list = malloc(LLM_PAGE_HEAD + len);
    if (list == NULL) {
        errno = ENOMEM;
        return LLM_ERROR;
    }

    rc = llm_scan_read(s, list, LLM_PAGE_HEAD + len, pgno);

    if (rc == LLM_OK) {
        rc = llm_scan_free(s, list + LLM_PAGE_HEAD, len);
    }

    free(list);

    return rc;
}


/* a count and so many page numbers, descending; LMDB writes to them next */

static int
llm_scan_free(llm_scan_t *s, const uint8_t *p, size_t len)
{
    uint64_t  i, last, n, pgno;

    if (len < 8 || (n = llm_get64u(p)) > len / 8 - 1) {
        return LLM_INVALID;
    }

    last = s->pages;

    for (i = 1; i <= n; i++) {
        pgno = llm_get64u(p + 8 * i);

        if (pgno >= last || llm_scan_meet(s, pgno, 1) != LLM_OK) {
            return LLM_INVALID;
        }

        last = pgno;
    }

    return LLM_OK;
}


/*
 * In the whole tree each key is above the one before it, and a branch's, which
 * may also be the first of its child's, above those of the child before: what
 * is searched is found, and a walk ends.
 */

static int
llm_scan_next(llm_scan_t *s, const uint8_t *node, int leaf,
    llm_scan_kind_e kind)
{
    int     good;
    size_t  len;

    len = llm_get16(node + 6);

    if (len == 0 || len > LLM_SCAN_KEY || (kind == LLM_SCAN_FREE && len != 8))
    {
        return LLM_INVALID;
    }

    good = s->last.n == 0
           || llm_scan_order(s->last.node, node, kind)
           || (s->last.n == 2 && leaf
               && !llm_scan_order(node, s->last.node, kind));

    if (!good) {
        return LLM_INVALID;
    }

    s->last.n = leaf ? 1 : 2;
    memcpy(s->last.node, node, LLM_NODE_HEAD + len);

    return LLM_OK;
}


/*
 * Each page has one place: in one tree, or in the list of free ones.  One that
 * has two would be given to a writer while it is read elsewhere.
 */

static int
llm_scan_meet(llm_scan_t *s, uint64_t pgno, uint64_t n)
{
    uint8_t  bit;

    if (pgno < 2 || pgno >= s->pages || n > s->pages - pgno) {
        return LLM_INVALID;
    }

    for ( /* void */ ; n != 0; n--, pgno++) {
        bit = (uint8_t) (1 << (pgno & 7));

        if (s->met[pgno / 8] & bit) {
            s->bad = pgno;
            return LLM_INVALID;
        }

        s->met[pgno / 8] |= bit;
    }

    return LLM_OK;
}


/* is the key of node a before that of b? */

static int
llm_scan_order(const uint8_t *a, const uint8_t *b, llm_scan_kind_e kind)
{
    int     diff;
    size_t  alen, blen;

    alen = llm_get16(a + 6);
    blen = llm_get16(b + 6);
    a += LLM_NODE_HEAD;
    b += LLM_NODE_HEAD;

    if (kind == LLM_SCAN_FREE) {
        return llm_get64u(a) < llm_get64u(b);
    }

    diff = memcmp(a, b, alen < blen ? alen : blen);

    return diff < 0 || (diff == 0 && alen < blen);
}


static int
llm_scan_read(llm_scan_t *s, void *p, size_t len, uint64_t pgno)
{
    size_t   n;
    ssize_t  got;

    s->bad = pgno;

    for (n = 0; n < len; n += (size_t) got) {
        got = pread(s->fd, (char *) p + n, len - n,
                    (off_t) (pgno * s->psize + n));

        if (got == 0) {
            return LLM_INVALID;
        }

        if (got == -1) {
            if (errno != EINTR) {
                return LLM_ERROR;
            }

            got = 0;
        }
    }

    return LLM_OK;
}
