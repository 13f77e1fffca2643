
/*
 * Copyright (C) nginx-llm contributors
 *
 * Tampering with the audit trail, as somebody does who may write all files but
 * does not have the secret: through LMDB, with this module's own functions
 * that need no key.  Each kind many times at random places (the seed is
 * printed; "audit_tamper SEED" repeats it); each must be found, and its place
 * told; and an untouched trail must give no finding.
 */


#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>

#include "../../ngx_module/audit/llm_audit_own.h"
#include "audit_test.h"


#define TIMES    100
#define COMMITS  10
#define CALLS    8              /* of a commit */
#define RECORDS  1024


/* the trail as it was made; values of records and contents */
typedef struct {
    MDB_val  k;
    MDB_val  v;
} pair_t;

typedef struct {
    pair_t  *p;
    size_t   n;
} table_t;

/* what a kind of tampering says of itself */
typedef struct {
    const char  *name;
    void       (*f)(MDB_txn *txn);
    int          most;          /* findings */
} kind_t;

#define TABLES  7

static llm_audit_t          *trail;
static table_t               saved[TABLES];
static uint8_t               head_file[512];
static size_t                head_len;
static uint64_t              last;          /* record */
static uint64_t              signed_to;
static llm_audit_mark_t      old_head[COMMITS];
static size_t                n_old;
static uint64_t              low, high;     /* where the finding may be */
static uint64_t              rnd;

static llm_audit_finding_t   first, found[4];
static int                   found_n;


static uint64_t
any(uint64_t n)
{
    rnd ^= rnd << 13;
    rnd ^= rnd >> 7;
    rnd ^= rnd << 17;

    return rnd % n;
}


static uint64_t
between(uint64_t from, uint64_t to)
{
    return from + any(to - from + 1);
}


static MDB_dbi
dbi(int i)
{
    llm_audit_env_t  *e = trail->shared;

    MDB_dbi  all[TABLES] = { e->records, e->closes, e->keyed, e->hours,
                             e->content, e->epochs, e->meta };

    return all[i];
}


static void
bail(const char *what, int rc)
{
    printf("Bail out! %s: %s %s\n", what, mdb_strerror(rc), err);
    exit(1);
}


static MDB_txn *
begin(void)
{
    int       rc;
    MDB_txn  *txn;

    rc = mdb_txn_begin(trail->shared->env, NULL, 0, &txn);

    if (rc) {
        bail("begin", rc);
    }

    return txn;
}


static MDB_val
copy(MDB_val v)
{
    MDB_val  c;

    c.mv_size = v.mv_size;
    c.mv_data = malloc(v.mv_size + 1);
    memcpy(c.mv_data, v.mv_data, v.mv_size);

    return c;
}


static void
save(void)
{
    int          i;
    FILE        *f;
    MDB_txn     *txn;
    MDB_val      k, v;
    table_t     *t;
    MDB_cursor  *c;

    txn = begin();

    for (i = 0; i < TABLES; i++) {
        t = &saved[i];
        mdb_cursor_open(txn, dbi(i), &c);

        while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
            t->p = realloc(t->p, (t->n + 1) * sizeof(pair_t));
            t->p[t->n].k = copy(k);
            t->p[t->n].v = copy(v);
            t->n++;
        }

        mdb_cursor_close(c);
    }

    mdb_txn_abort(txn);

    f = fopen(at("store/audit.head"), "r");
    head_len = f ? fread(head_file, 1, sizeof(head_file), f) : 0;

    if (head_len == 0) {
        bail("audit.head", 0);
    }

    fclose(f);
}


static void
write_head(const uint8_t *p, size_t n)
{
    FILE  *f;

    f = fopen(at("store/audit.head"), "r+");
    f = f ? f : fopen(at("store/audit.head"), "w");

    if (f == NULL || fwrite(p, 1, n, f) != n) {
        bail("audit.head", 0);
    }

    fclose(f);
}


static void
restore(void)
{
    int       i, rc;
    size_t    j;
    MDB_txn  *txn;

    txn = begin();

    for (i = 0; i < TABLES; i++) {
        rc = mdb_drop(txn, dbi(i), 0);

        for (j = 0; rc == 0 && j < saved[i].n; j++) {
            rc = mdb_put(txn, dbi(i), &saved[i].p[j].k, &saved[i].p[j].v, 0);
        }

        if (rc) {
            bail("restore", rc);
        }
    }

    rc = mdb_txn_commit(txn);

    if (rc) {
        bail("restore", rc);
    }

    write_head(head_file, head_len);
}


static void
make(void)
{
    int                 i, j, n;
    char                key[2][32] = { KEY_A, KEY_B };
    int64_t             wall;
    uint64_t            number;
    llm_audit_open_t    o;
    llm_audit_close_t   c;

    wall = T0;
    n = 0;

    for (i = 0; i < COMMITS; i++) {

        if (llm_audit_begin(trail, E) != LLM_OK) {
            bail("begin", 0);
        }

        /* the last one is after the last checkpoint */

        for (j = 0; j < CALLS; j++, n++) {
            wall += i < COMMITS - 1 ? 120000 : 1000;

            an_open(&o, n % 3 < 2 ? key[n % 3] : NULL, wall, (unsigned) n);
            o.content = n % 4 == 0;
            o.act = n % 7 == 0;

            if (llm_audit_put_open(trail, &o, &number, E) != LLM_OK) {
                bail("open", 0);
            }

            a_close(&c, number, wall, (unsigned) n);
            c.content = n % 4 == 0;

            if (n % 11 && llm_audit_put_close(trail, &c, E) != LLM_OK) {
                bail("close", 0);
            }
        }

        if (llm_audit_commit(trail, E) != LLM_OK
            || llm_audit_begin(trail, E) != LLM_OK)
        {
            bail("commit", 0);
        }

        old_head[n_old++] = trail->mark;
        llm_audit_abort(trail);
    }

    last = old_head[n_old - 1].number;
    signed_to = old_head[n_old - 1].signed_to;
}


static int
note(void *data, const llm_audit_finding_t *f)
{
    if (found_n < 4) {
        found[found_n] = *f;
    }

    if (found_n++ == 0) {
        first = *f;
    }

    return LLM_OK;
}


/* a process of its own has no keys of before */

static int
verify(int keys)
{
    int                   rc;
    llm_audit_t          *a;
    llm_audit_verify_t    v;
    llm_audit_verdict_t   r;
    llm_audit_keys_t     *kept;
    const llm_secret_t   *was;

    a = trail;
    was = a->shared->secret;
    kept = a->shared->keys;
    a->shared->keys = NULL;

    memset(&v, 0, sizeof(v));
    memset(&first, 0, sizeof(first));
    v.found = note;
    found_n = 0;

    if (!keys) {
        a->shared->secret = NULL;
    }

    rc = llm_audit_verify(a, &v, &r, E);
    a->shared->secret = was;

    while (a->shared->keys) {
        llm_audit_keys_t  *k = a->shared->keys;

        a->shared->keys = k->next;
        llm_audit_keys_free(k);
    }

    a->shared->keys = kept;

    if (rc != LLM_OK) {
        printf("# verify: %d %s\n", rc, err);
        return -1;
    }

    if ((int) r.findings != found_n) {
        printf("# %d findings were told, %d counted\n", found_n,
               (int) r.findings);
        return -1;
    }

    return found_n;
}


/* ---- what an attacker has ---- */

static MDB_val
key_of(uint64_t number)
{
    static uint8_t  buf[4][8];
    static int      i;
    MDB_val         k;

    i = (i + 1) % 4;
    llm_be_put(buf[i], number, 8);
    k.mv_data = buf[i];
    k.mv_size = 8;

    return k;
}


static size_t
get(MDB_txn *txn, uint64_t number, uint8_t *p)
{
    int      rc;
    MDB_val  k, v;

    k = key_of(number);
    rc = mdb_get(txn, dbi(0), &k, &v);

    if (rc) {
        bail("get", rc);
    }

    memcpy(p, v.mv_data, v.mv_size);

    return v.mv_size;
}


static void
put(MDB_txn *txn, uint64_t number, const uint8_t *p, size_t len)
{
    int      rc;
    MDB_val  k, v;

    k = key_of(number);
    v.mv_data = (void *) p;
    v.mv_size = len;
    rc = mdb_put(txn, dbi(0), &k, &v, 0);

    if (rc) {
        bail("put", rc);
    }
}


static void
del(MDB_txn *txn, uint64_t number)
{
    int      rc;
    MDB_val  k;

    k = key_of(number);
    rc = mdb_del(txn, dbi(0), &k, NULL);

    if (rc) {
        bail("del", rc);
    }
}


/* the chain made anew after from: previous of each is the one before */

static void
reseal(MDB_txn *txn, uint64_t from, uint64_t to)
{
    size_t    len;
    uint8_t   p[LLM_AUDIT_MAX], hash[32];
    uint64_t  n;

    len = get(txn, from, p);
    llm_audit_hash(from, p, len, hash);

    for (n = from + 1; n <= to; n++) {
        len = get(txn, n, p);
        memcpy(p + 32, hash, 32);
        put(txn, n, p, len);
        llm_audit_hash(n, p, len, hash);
    }
}


/* the head names the last record, with whatever MAC it had */

static void
put_head(MDB_txn *txn, const llm_audit_mark_t *m)
{
    uint8_t  p[LLM_AUDIT_MARK_SIZE];
    MDB_val  k, v;

    llm_audit_mark_pack(p, m);
    k.mv_data = "head";
    k.mv_size = 4;
    v.mv_data = p;
    v.mv_size = sizeof(p);
    mdb_put(txn, dbi(6), &k, &v, 0);
}


static void
fit_head(MDB_txn *txn, uint64_t number)
{
    size_t            len;
    uint8_t           p[LLM_AUDIT_MAX];
    llm_audit_mark_t  m;

    m = old_head[n_old - 1];
    len = get(txn, number, p);
    m.number = number;
    llm_audit_hash(number, p, len, m.hash);
    put_head(txn, &m);
}


/* something a record says: a byte behind its fixed part */

static void
change(MDB_txn *txn, uint64_t number)
{
    size_t   len;
    uint8_t  p[LLM_AUDIT_MAX];

    len = get(txn, number, p);
    p[between(LLM_AUDIT_FIXED, len - 1)] ^= (uint8_t) between(1, 255);
    put(txn, number, p, len);
}


/* ---- kinds ---- */

static void
edited(MDB_txn *txn)
{
    size_t   len;
    uint8_t  p[LLM_AUDIT_MAX];

    low = high = between(1, last);
    len = get(txn, low, p);
    p[any(len)] ^= (uint8_t) between(1, 255);
    put(txn, low, p, len);
}


static void
longer(MDB_txn *txn)
{
    size_t   len;
    uint8_t  p[LLM_AUDIT_MAX + 8];

    low = high = between(1, last);
    len = get(txn, low, p);

    if (any(2)) {
        p[len] = (uint8_t) any(256);
        put(txn, low, p, len + 1);
    } else {
        put(txn, low, p, any(len));
    }
}


static void
dropped(MDB_txn *txn)
{
    low = high = between(1, last - 1);
    del(txn, low);
}


static void
dropped_some(MDB_txn *txn)
{
    uint64_t  n, to;

    low = high = between(1, last - 20);
    to = low + between(1, 15);

    for (n = low; n <= to; n++) {
        del(txn, n);
    }
}


/* and those after it take the numbers that were left */

static void
dropped_shifted(MDB_txn *txn)
{
    size_t    len;
    uint8_t   p[LLM_AUDIT_MAX];
    uint64_t  n;

    low = high = between(2, last - 3);

    for (n = low; n < last; n++) {
        len = get(txn, n + 1, p);
        put(txn, n, p, len);
    }

    del(txn, last);
}


static void
reordered(MDB_txn *txn)
{
    size_t    n1, n2;
    uint8_t   p1[LLM_AUDIT_MAX], p2[LLM_AUDIT_MAX];

    low = high = between(2, last - 2);
    n1 = get(txn, low, p1);
    n2 = get(txn, low + 1, p2);
    put(txn, low, p2, n2);
    put(txn, low + 1, p1, n1);
}


static void
swapped(MDB_txn *txn)
{
    size_t    n1, n2;
    uint8_t   p1[LLM_AUDIT_MAX], p2[LLM_AUDIT_MAX];
    uint64_t  other;

    low = high = between(2, last - 20);
    other = low + between(3, 15);
    n1 = get(txn, low, p1);
    n2 = get(txn, other, p2);
    put(txn, low, p2, n2);
    put(txn, other, p1, n1);
}


/* all after it get other numbers, and it fits to the one before */

static void
inserted(MDB_txn *txn)
{
    size_t    len;
    uint8_t   p[LLM_AUDIT_MAX], q[LLM_AUDIT_MAX], hash[32];
    uint64_t  n;

    low = high = between(2, last - 2);

    for (n = last; n >= low; n--) {
        len = get(txn, n, p);
        put(txn, n + 1, p, len);
    }

    len = get(txn, low - 1, q);
    llm_audit_hash(low - 1, q, len, hash);

    len = get(txn, low + 1, p);
    p[8] ^= 1;

    if (any(2)) {
        memcpy(p + 32, hash, 32);
    }

    put(txn, low, p, len);
}


static void
appended(MDB_txn *txn)
{
    size_t    len;
    uint8_t   p[LLM_AUDIT_MAX], hash[32];

    low = high = last + 1;
    len = get(txn, last, p);
    llm_audit_hash(last, p, len, hash);
    memcpy(p + 32, hash, 32);
    put(txn, last + 1, p, len);
}


static void
truncated(MDB_txn *txn)
{
    uint64_t  n;

    low = high = between(2, last);

    for (n = low; n <= last; n++) {
        del(txn, n);
    }
}


/* with a head that had that number, and nothing left in the indexes */

static void
truncated_head(MDB_txn *txn)
{
    int                i;
    uint64_t           n;
    MDB_val            k, v;
    MDB_cursor        *c;
    llm_audit_mark_t  *m;

    m = &old_head[any(n_old - 1)];
    low = high = m->number + 1;

    for (n = low; n <= last; n++) {
        del(txn, n);
    }

    for (i = 1; i <= 3; i++) {
        mdb_cursor_open(txn, dbi(i), &c);

        while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
            n = i == 2 ? llm_be_get((uint8_t *) k.mv_data + 15, 8)
                       : llm_be_get(v.mv_data, 8);

            if (n > m->number) {
                mdb_cursor_del(c, 0);
            }
        }

        mdb_cursor_close(c);
    }

    put_head(txn, m);
}


/* signatures can't be made: that of the next checkpoint is of what was */

static void
resealed(MDB_txn *txn)
{
    uint64_t  n;

    n = between(2, signed_to);

    for (low = n; low > 1; low--) {
        uint8_t  p[LLM_AUDIT_MAX];

        (void) get(txn, low - 1, p);

        if (p[1] == LLM_AUDIT_SIGNED) {
            break;
        }
    }

    /* what its checkpoint covers; a changed checkpoint is under the next */

    low = low > 1 ? low - 1 : 1;
    high = n;
    change(txn, n);
    reseal(txn, n, last);
    fit_head(txn, last);
}


static void
resealed_tail(MDB_txn *txn)
{
    uint64_t  n;

    n = between(signed_to + 2, last);
    low = signed_to + 1;
    high = last;
    change(txn, n);
    reseal(txn, n, last);
    fit_head(txn, last);
}


static void
resealed_part(MDB_txn *txn)
{
    uint64_t  n, to;

    n = between(2, last - 10);
    to = n + between(1, 8);
    low = n > 20 ? n - 20 : 1;
    high = to;
    change(txn, n);
    reseal(txn, n, to);
}


/* with a key pair of the attacker's in each place where the trail's is */

static void
resealed_own(MDB_txn *txn)
{
    size_t              len, n;
    uint8_t             p[LLM_AUDIT_MAX], hash[32], ep[LLM_AUDIT_EPOCH_SIZE];
    MDB_val             k, v;
    uint64_t            i, at_n;
    llm_audit_keys_t    own;
    llm_audit_record_t  r;
    EVP_PKEY           *pkey;

    memset(&own, 0, sizeof(own));
    own.epoch = 1;

    for (n = 0; n < 32; n++) {
        own.seed[n] = (uint8_t) any(256);
    }

    pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, own.seed, 32);
    n = 32;
    EVP_PKEY_get_raw_public_key(pkey, own.public_key, &n);
    EVP_PKEY_free(pkey);

    at_n = between(2, signed_to);
    low = 0;
    high = last;

    k.mv_data = "\0\0\0\1";
    k.mv_size = 4;
    mdb_get(txn, dbi(5), &k, &v);
    memcpy(ep, v.mv_data, sizeof(ep));
    memcpy(ep + 16, own.public_key, 32);
    v.mv_data = ep;
    mdb_put(txn, dbi(5), &k, &v, 0);

    change(txn, at_n);
    memset(hash, 0, sizeof(hash));

    for (i = 1; i <= last; i++) {
        len = get(txn, i, p);
        memcpy(p + 32, hash, 32);

        if (p[1] == LLM_AUDIT_SIGNED) {
            (void) llm_audit_unpack(p, len, &r);
            llm_audit_checkpoint_sign(&own, i - 1, r.time, hash,
                                      p + LLM_AUDIT_FIXED);
        } else if (p[1] == LLM_AUDIT_START) {
            memcpy(p + LLM_AUDIT_FIXED, own.public_key, 32);
        }

        put(txn, i, p, len);
        llm_audit_hash(i, p, len, hash);
    }

    fit_head(txn, last);
}


/* ---- indexes, marks, epochs, contents ---- */

static pair_t *
entry(int i)
{
    return &saved[i].p[any(saved[i].n)];
}


static uint64_t
entry_number(int i, const pair_t *p)
{
    return i == 2 ? llm_be_get((uint8_t *) p->k.mv_data + 15, 8)
           : i == 3 ? llm_be_get(p->v.mv_data, 8)
                    : llm_be_get(p->k.mv_data, 8);
}


static void
index_dropped(MDB_txn *txn)
{
    int      i;
    pair_t  *p;

    i = (int) between(1, 3);
    p = entry(i);

    /* the first hour's says nothing that the trail's beginning does not */

    while (i == 3 && p == saved[3].p) {
        p = entry(i);
    }

    low = high = entry_number(i, p);
    mdb_del(txn, dbi(i), &p->k, NULL);
}


static void
index_edited(MDB_txn *txn)
{
    int      i;
    uint8_t  buf[64];
    pair_t  *p;
    MDB_val  k, v;

    i = (int) between(1, 3);
    p = entry(i);
    low = 0;
    high = last;

    k = p->k;
    v = p->v;
    memcpy(buf, i == 2 ? k.mv_data : v.mv_data, i == 2 ? 23 : 8);
    buf[i == 2 ? any(15) : 7] ^= (uint8_t) between(1, 255);

    if (i == 2) {
        mdb_del(txn, dbi(i), &p->k, NULL);
        k.mv_data = buf;
    } else {
        v.mv_data = buf;
    }

    mdb_put(txn, dbi(i), &k, &v, 0);
}


static void
index_added(MDB_txn *txn)
{
    uint8_t  buf[23];
    MDB_val  k, v;

    low = high = between(1, last);
    memset(buf, (int) any(255), 15);     /* KEY_B is all ones */
    llm_be_put(buf + 15, low, 8);
    k.mv_data = buf;
    k.mv_size = 23;
    v.mv_data = "";
    v.mv_size = 0;
    mdb_put(txn, dbi(2), &k, &v, 0);
}


/* in an hour that is there, so that calls in between are passed over */

static void
hour_edited(MDB_txn *txn)
{
    uint8_t  buf[8];
    pair_t  *p;
    MDB_val  v;

    p = entry(3);
    low = 0;
    high = last;
    llm_be_put(buf, llm_be_get(p->v.mv_data, 8) + between(1, 9), 8);
    v.mv_data = buf;
    v.mv_size = 8;
    mdb_put(txn, dbi(3), &p->k, &v, 0);
}


static void
mark_edited(MDB_txn *txn)
{
    pair_t  *p;
    uint8_t  buf[LLM_AUDIT_MARK_SIZE];
    MDB_val  v;

    do {
        p = entry(6);
    } while (p->v.mv_size != LLM_AUDIT_MARK_SIZE);

    low = 0;
    high = last + 1;
    memcpy(buf, p->v.mv_data, sizeof(buf));
    buf[any(sizeof(buf))] ^= (uint8_t) between(1, 255);
    v.mv_data = buf;
    v.mv_size = sizeof(buf);
    mdb_put(txn, dbi(6), &p->k, &v, 0);
}


static void
mark_dropped(MDB_txn *txn)
{
    pair_t  *p;

    do {
        p = entry(6);
    } while (p->v.mv_size != LLM_AUDIT_MARK_SIZE);

    low = 0;
    high = last + 1;
    mdb_del(txn, dbi(6), &p->k, NULL);
}


static void
epoch_edited(MDB_txn *txn)
{
    pair_t  *p;
    uint8_t  buf[LLM_AUDIT_EPOCH_SIZE];
    MDB_val  v;

    p = entry(5);
    low = high = 0;
    memcpy(buf, p->v.mv_data, sizeof(buf));
    buf[any(sizeof(buf))] ^= (uint8_t) between(1, 255);
    v.mv_data = buf;
    v.mv_size = sizeof(buf);
    mdb_put(txn, dbi(5), &p->k, &v, 0);
}


static void
epoch_dropped(MDB_txn *txn)
{
    pair_t  *p;

    p = entry(5);
    low = 0;
    high = last;
    mdb_del(txn, dbi(5), &p->k, NULL);
}


static void
epoch_added(MDB_txn *txn)
{
    pair_t  *p;
    uint8_t  buf[LLM_AUDIT_EPOCH_SIZE], key[4];
    MDB_val  k, v;

    p = entry(5);
    low = high = 0;
    memcpy(buf, p->v.mv_data, sizeof(buf));
    llm_be_put(key, UINT32_MAX - any(3), 4);
    llm_le_put(buf, llm_be_get(key, 4), 4);
    k.mv_data = key;
    k.mv_size = 4;
    v.mv_data = buf;
    v.mv_size = sizeof(buf);
    mdb_put(txn, dbi(5), &k, &v, 0);
}


/* the last number that there is, and some of other lengths */

static void
nameless(MDB_txn *txn)
{
    uint8_t   buf[9];
    pair_t   *p;
    MDB_val   k;
    uint64_t  i;

    p = entry(0);
    memset(buf, 0xff, sizeof(buf));
    k.mv_data = buf;
    k.mv_size = 8;
    low = 0;
    high = last + 1;

    if (any(2)) {
        mdb_put(txn, dbi(0), &k, &p->v, 0);
    }

    llm_be_put(buf, between(1, last), 8);
    k.mv_size = 9;

    for (i = any(5); i < 5; i++) {
        buf[8] = (uint8_t) i;
        mdb_put(txn, dbi(0), &k, &p->v, 0);
    }
}


static void
content_edited(MDB_txn *txn)
{
    pair_t  *p;
    uint8_t  buf[4096];
    MDB_val  v;

    p = entry(4);
    low = high = llm_be_get(p->k.mv_data, 8);
    memcpy(buf, p->v.mv_data, p->v.mv_size);
    buf[any(p->v.mv_size)] ^= (uint8_t) between(1, 255);
    v.mv_data = buf;
    v.mv_size = p->v.mv_size;
    mdb_put(txn, dbi(4), &p->k, &v, 0);
}


static void
content_dropped(MDB_txn *txn)
{
    pair_t  *p;

    p = entry(4);
    low = high = llm_be_get(p->k.mv_data, 8);
    mdb_del(txn, dbi(4), &p->k, NULL);
}


static void
content_swapped(MDB_txn *txn)
{
    pair_t  *p, *q;

    do {
        p = entry(4);
        q = entry(4);
    } while (p == q);

    low = llm_be_get(p->k.mv_data, 8);
    high = llm_be_get(q->k.mv_data, 8);

    if (low > high) {
        uint64_t  n = low;

        low = high;
        high = n;
    }

    mdb_put(txn, dbi(4), &p->k, &q->v, 0);
    mdb_put(txn, dbi(4), &q->k, &p->v, 0);
}


static void
file_edited(MDB_txn *txn)
{
    uint8_t  buf[512];

    low = 0;
    high = last + 1;
    memcpy(buf, head_file, head_len);
    buf[any(head_len)] ^= (uint8_t) between(1, 255);
    write_head(buf, head_len);
}


static void
file_removed(MDB_txn *txn)
{
    low = high = 0;
    unlink(at("store/audit.head"));
}


static void
kind(const kind_t *k)
{
    int        i, j, n, bad, most, rc;
    MDB_txn   *txn;
    uint64_t   seed;

    bad = most = 0;

    for (i = 0; i < TIMES; i++) {
        seed = rnd;

        txn = begin();
        k->f(txn);
        rc = mdb_txn_commit(txn);

        if (rc) {
            bail("commit", rc);
        }

        n = verify(1);
        restore();

        if (n < 1 || n > k->most || first.number < low || first.number > high)
        {
            bad++;

            if (bad <= 3) {
                printf("# %s: %d findings, expected from %llu to %llu, rnd "
                       "%llu\n", k->name, n, (unsigned long long) low,
                       (unsigned long long) high, (unsigned long long) seed);

                for (j = 0; j < n && j < 4; j++) {
                    printf("#   at %llu: %s\n",
                           (unsigned long long) found[j].number,
                           found[j].text);
                }
            }
        }

        most = n > most ? n : most;
    }

    ok(bad == 0, "%s: each of %d is found and told where, in %d finding%s "
       "at most", k->name, TIMES, most, most == 1 ? "" : "s");
    is_int(verify(1), 0, "and put back: none");
}


static const kind_t  kinds[] = {
    { "edited", edited, 1 },
    { "longer or shorter", longer, 1 },
    { "dropped", dropped, 1 },
    { "dropped, several", dropped_some, 1 },
    { "dropped, numbers shifted", dropped_shifted, 1 },
    { "reordered", reordered, 1 },
    { "swapped", swapped, 2 },
    { "inserted", inserted, 1 },
    { "appended", appended, 1 },
    { "truncated", truncated, 1 },
    { "truncated, the head too", truncated_head, 1 },
    { "resealed", resealed, 3 },
    { "resealed, not signed yet", resealed_tail, 3 },
    { "resealed, a part", resealed_part, 3 },
    { "resealed by another key", resealed_own, 4 },
    { "an index's entry dropped", index_dropped, 1 },
    { "an index's entry edited", index_edited, 2 },
    { "an index's entry added", index_added, 1 },
    { "an hour's record edited", hour_edited, 2 },
    { "a mark edited", mark_edited, 1 },
    { "a mark dropped", mark_dropped, 1 },
    { "an epoch edited", epoch_edited, 2 },
    { "an epoch dropped", epoch_dropped, 3 },
    { "an epoch added", epoch_added, 1 },
    { "records without a number", nameless, 1 },
    { "a content edited", content_edited, 1 },
    { "a content dropped", content_dropped, 1 },
    { "contents swapped", content_swapped, 2 },
    { "audit.head edited", file_edited, 1 },
    { "audit.head removed", file_removed, 1 }
};


int
main(int argc, char **argv)
{
    size_t  i;

    rnd = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t) time(NULL);
    rnd = rnd * 0x9e3779b97f4a7c15ULL | 1;

    if (audit_begin() != 0) {
        return 1;
    }

    printf("# seed %llu\n", argc > 1 ? strtoull(argv[1], NULL, 10)
                                     : (unsigned long long) time(NULL));

    if (llm_audit_open_at(&trail, path, secret, 1, T0, E) != LLM_OK) {
        bail("open", 0);
    }

    mdb_env_set_flags(trail->shared->env, MDB_NOSYNC, 1);
    make();
    save();

    is_int(verify(1), 0, "untouched: nothing is found");
    is_int(verify(0), 0, "nor without the secret");

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        kind(&kinds[i]);
    }

    llm_audit_close(trail);
    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
