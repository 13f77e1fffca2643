
/*
 * Copyright (C) nginx-llm contributors
 *
 * The shared zone: see llm_ring.h for the contract.
 *
 * Memory order: a slot's word is changed by compare-and-swap with release
 * order and read with acquire order, so the fields that its writer set before
 * are visible to whoever sees the new state.  A ring's tail is stored with
 * release after the event, its head with release after the copy.
 */


#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "llm_ring.h"


#define llm_word(gen, w, state)                                               \
    ((uint64_t) (gen) << 32 | (uint64_t) (uint8_t) (w) << 8                   \
     | (uint64_t) (state))
#define llm_word_gen(word)      ((uint32_t) ((word) >> 32))
#define llm_word_worker(word)   ((int) ((word) >> 8 & 0xff))
#define llm_word_state(word)    ((llm_slot_e) ((word) & 0xff))

_Static_assert(LLM_ZONE_WORKERS <= 256, "a worker's number is a byte");
_Static_assert((LLM_ZONE_EVENTS & (LLM_ZONE_EVENTS - 1)) == 0, "power of two");


static int llm_word_move(llm_zone_t *z, int slot, uint64_t word,
    llm_slot_e state);
static void llm_slot_free(llm_zone_t *z, int slot, uint64_t word, int sweep);
static void llm_slot_abandon(llm_zone_t *z, int slot, int sweep);
static void llm_worker_abandon(llm_zone_t *z, int w);
static int32_t llm_block_get(llm_zone_t *z, int slot);
static void llm_blocks_put(llm_zone_t *z, int slot, int sweep);
static void llm_fd_write(int fd);


uint64_t
llm_engine_hash(const char *name, size_t len)
{
    size_t    i;
    uint64_t  h = 0xcbf29ce484222325ull;

    for (i = 0; i < len; i++) {
        h = (h ^ (unsigned char) name[i]) * 0x100000001b3ull;
    }

    return h ? h : 1;
}


int
llm_zone_init(llm_zone_t *z, char *err, size_t errlen)
{
    int                  i, rc;
    pthread_mutexattr_t  attr;

    z->version = LLM_ZONE_VERSION;
    z->size = (uint32_t) sizeof(llm_zone_t);
    z->door = -1;

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        z->worker[i].fd = -1;
    }

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);

    rc = pthread_mutex_init(&z->lease, &attr);

    if (rc == 0) {
        rc = pthread_mutex_init(&z->params_lock, &attr);
    }

    pthread_mutexattr_destroy(&attr);

    if (rc != 0) {
        return llm_err(err, errlen, LLM_ERROR,
                       "shared zone: pthread_mutex_init() failed (%d: %s)",
                       rc, strerror(rc));
    }

    /* the door is read by a thread of its own, the workers' by event loops */

    z->door = eventfd(0, EFD_CLOEXEC);
    if (z->door == -1) {
        goto failed;
    }

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        z->worker[i].fd = eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK);
        if (z->worker[i].fd == -1) {
            goto failed;
        }
    }

    z->magic = LLM_ZONE_MAGIC;

    return LLM_OK;

failed:

    rc = errno;
    llm_zone_done(z);

    return llm_err(err, errlen, LLM_ERROR,
                   "shared zone: eventfd() failed (%d: %s); the %d wake-up "
                   "descriptors need a higher limit of open files", rc,
                   strerror(rc), LLM_ZONE_WORKERS + 1);
}


void
llm_zone_done(llm_zone_t *z)
{
    int  i;

    if (z->door != -1) {
        close(z->door);
        z->door = -1;
    }

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        if (z->worker[i].fd != -1) {
            close(z->worker[i].fd);
            z->worker[i].fd = -1;
        }
    }
}


int
llm_zone_valid(const llm_zone_t *z)
{
    return z->magic == LLM_ZONE_MAGIC && z->version == LLM_ZONE_VERSION
           && z->size == sizeof(llm_zone_t);
}


int
llm_zone_slots_used(llm_zone_t *z)
{
    int  i, n;

    for (i = 0, n = 0; i < LLM_ZONE_SLOTS; i++) {
        if (llm_slot_state(z, i) != LLM_SLOT_FREE) {
            n++;
        }
    }

    return n;
}


int
llm_zone_blocks_used(llm_zone_t *z)
{
    int  i, n;

    for (i = 0, n = 0; i < LLM_ZONE_BLOCKS; i++) {
        if (atomic_load_explicit(&z->block_owner[i], memory_order_relaxed)) {
            n++;
        }
    }

    return n;
}


int
llm_zone_workers(llm_zone_t *z)
{
    int    i, n;
    pid_t  pid;

    for (i = 0, n = 0; i < LLM_ZONE_WORKERS; i++) {
        pid = atomic_load(&z->worker[i].pid);

        if (pid != 0 && (kill(pid, 0) == 0 || errno != ESRCH)) {
            n++;
        }
    }

    return n;
}


int
llm_worker_attach(llm_zone_t *z, pid_t pid)
{
    int      i, j;
    int32_t  old;

    llm_worker_reap(z);

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        old = 0;

        if (atomic_compare_exchange_strong(&z->worker[i].pid, &old,
                                           (int32_t) pid))
        {
            for (j = 0; j < LLM_ZONE_SLOTS / 64; j++) {
                atomic_store(&z->worker[i].ready[j], 0);
            }

            /* leave no wake-up of a predecessor behind */
            atomic_store(&z->worker[i].pending, 1);
            llm_worker_ready_begin(z, i);

            return i;
        }
    }

    return LLM_AGAIN;
}


void
llm_worker_detach(llm_zone_t *z, int w)
{
    llm_worker_abandon(z, w);
    atomic_store(&z->worker[w].pid, 0);
    llm_zone_ring(z);
}


int
llm_worker_reap(llm_zone_t *z)
{
    int      i, n;
    int32_t  pid;

    for (i = 0, n = 0; i < LLM_ZONE_WORKERS; i++) {
        pid = atomic_load(&z->worker[i].pid);

        if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH) {
            continue;
        }

        /* one process does it: -1 keeps the place taken meanwhile */

        if (atomic_compare_exchange_strong(&z->worker[i].pid, &pid, -1)) {
            llm_worker_abandon(z, i);
            atomic_store(&z->worker[i].pid, 0);
            n++;
        }
    }

    if (n) {
        /* one of them may have died between the flag and the write */
        atomic_store(&z->door_pending, 1);
        llm_fd_write(z->door);
    }

    return n;
}


static void
llm_worker_abandon(llm_zone_t *z, int w)
{
    int       i;
    uint64_t  word;

    for (i = 0; i < LLM_ZONE_SLOTS; i++) {
        word = atomic_load_explicit(&z->word[i], memory_order_acquire);

        if (llm_word_state(word) != LLM_SLOT_FREE
            && llm_word_worker(word) == w)
        {
            llm_slot_abandon(z, i, 1);
        }
    }
}


void
llm_worker_ready_begin(llm_zone_t *z, int w)
{
    ssize_t   n;
    uint64_t  count;

    n = read(z->worker[w].fd, &count, sizeof(count));
    (void) n;

    /* after the read, before the bits: a bit set from here on writes again */
    atomic_store(&z->worker[w].pending, 0);
}


int
llm_worker_ready_next(llm_zone_t *z, int w)
{
    int               i, bit;
    uint64_t          bits;
    _Atomic uint64_t  *ready = z->worker[w].ready;

    for (i = 0; i < LLM_ZONE_SLOTS / 64; i++) {
        bits = atomic_load(&ready[i]);

        if (bits) {
            bit = __builtin_ctzll(bits);
            atomic_fetch_and(&ready[i], ~(1ull << bit));
            return i * 64 + bit;
        }
    }

    return -1;
}


int
llm_slot_claim(llm_zone_t *z, int w)
{
    int          i, slot;
    uint64_t     word;
    llm_slot_t  *s;

    for (i = 0; i < LLM_ZONE_SLOTS; i++) {

        /* workers start at places of their own, to meet seldom */
        slot = (i + w * (LLM_ZONE_SLOTS / 8)) % LLM_ZONE_SLOTS;

        word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

        if (llm_word_state(word) != LLM_SLOT_FREE
            || !atomic_compare_exchange_strong(&z->word[slot], &word,
                      llm_word(llm_word_gen(word), w, LLM_SLOT_CLAIMED)))
        {
            continue;
        }

        s = &z->slot[slot];

        s->body_len = 0;
        s->body_first = -1;
        s->body_last = -1;
        atomic_store(&s->streamed, 0);
        atomic_store(&s->want_door, 0);
        atomic_store(&s->head, 0);
        atomic_store(&s->tail, 0);

        return slot;
    }

    return LLM_AGAIN;
}


int
llm_slot_write(llm_zone_t *z, int slot, const void *p, size_t len)
{
    size_t       n, used;
    int32_t      b;
    const char  *src = p;
    llm_slot_t  *s = &z->slot[slot];

    if (len > (size_t) LLM_BODY_MAX - s->body_len) {
        return LLM_INVALID;
    }

    while (len) {
        used = s->body_len % LLM_ZONE_BLOCK;

        if (used == 0) {
            b = llm_block_get(z, slot);
            if (b == -1) {
                return LLM_AGAIN;
            }

            z->block_next[b] = -1;

            if (s->body_first == -1) {
                s->body_first = b;
            } else {
                z->block_next[s->body_last] = b;
            }

            s->body_last = b;
        }

        n = LLM_ZONE_BLOCK - used;
        if (n > len) {
            n = len;
        }

        memcpy(z->block[s->body_last] + used, src, n);

        s->body_len += (uint32_t) n;
        src += n;
        len -= n;
    }

    return LLM_OK;
}


static int32_t
llm_block_get(llm_zone_t *z, int slot)
{
    uint32_t  i, b, hint, none;

    hint = atomic_load_explicit(&z->block_hint, memory_order_relaxed);

    for (i = 0; i < LLM_ZONE_BLOCKS; i++) {
        b = (hint + i) % LLM_ZONE_BLOCKS;
        none = 0;

        if (atomic_load_explicit(&z->block_owner[b], memory_order_relaxed) == 0
            && atomic_compare_exchange_strong(&z->block_owner[b], &none,
                                              (uint32_t) slot + 1))
        {
            atomic_store_explicit(&z->block_hint, b + 1,
                                  memory_order_relaxed);
            return (int32_t) b;
        }
    }

    return -1;
}


/*
 * Give the blocks of a slot back: along the chain, or, when the process that
 * made it died perhaps with a block taken and not yet linked, all that bear
 * its number.  Called before the word says FREE.
 */

static void
llm_blocks_put(llm_zone_t *z, int slot, int sweep)
{
    int       i;
    int32_t   b, next;
    uint32_t  owner = (uint32_t) slot + 1;

    if (sweep) {
        for (i = 0; i < LLM_ZONE_BLOCKS; i++) {
            if (atomic_load_explicit(&z->block_owner[i], memory_order_relaxed)
                == owner)
            {
                atomic_store(&z->block_owner[i], 0);
            }
        }

        return;
    }

    b = z->slot[slot].body_first;

    for (i = 0; b >= 0 && b < LLM_ZONE_BLOCKS && i < LLM_ZONE_BLOCKS; i++) {
        if (atomic_load(&z->block_owner[b]) != owner) {
            break;
        }

        next = z->block_next[b];
        atomic_store(&z->block_owner[b], 0);
        b = next;
    }
}


void
llm_slot_submit(llm_zone_t *z, int slot, uint64_t engine, uint32_t api,
    uint64_t account)
{
    uint64_t     word;
    llm_slot_t  *s = &z->slot[slot];

    s->engine = engine;
    s->api = api;
    s->account = account;
    s->ticket = atomic_fetch_add(&z->ticket, 1);

    word = atomic_load(&z->word[slot]);
    llm_word_move(z, slot, word, LLM_SLOT_SUBMITTED);

    llm_zone_ring(z);
}


int
llm_slot_pop(llm_zone_t *z, int slot, llm_event_t *ev)
{
    uint32_t     head, tail, gen;
    llm_slot_t  *s = &z->slot[slot];

    gen = llm_slot_gen(z, slot);
    head = atomic_load_explicit(&s->head, memory_order_relaxed);

    for ( ;; ) {
        tail = atomic_load_explicit(&s->tail, memory_order_acquire);

        if (head == tail) {
            return 0;
        }

        *ev = s->event[head & (LLM_ZONE_EVENTS - 1)];
        head++;

        /* sequentially consistent against the engine's want_door */
        atomic_store(&s->head, head);

        if (atomic_load(&s->want_door)
            && tail - head <= LLM_ZONE_EVENTS / 2
            && atomic_exchange(&s->want_door, 0))
        {
            llm_zone_ring(z);
        }

        if (ev->gen == gen) {
            return 1;
        }
    }
}


void
llm_slot_release(llm_zone_t *z, int slot)
{
    llm_slot_abandon(z, slot, 0);
}


/*
 * The owner does not want the slot any more.  Whoever may free it does so:
 * this process, unless the engine is at work on it.
 */

static void
llm_slot_abandon(llm_zone_t *z, int slot, int sweep)
{
    uint64_t  word;

    for ( ;; ) {
        word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

        switch (llm_word_state(word)) {

        case LLM_SLOT_SUBMITTED:

            /* not to be taken from here on, then as CLAIMED */

            llm_word_move(z, slot, word, LLM_SLOT_CLAIMED);
            continue;

        case LLM_SLOT_CLAIMED:
        case LLM_SLOT_ENDED:
            llm_slot_free(z, slot, word, sweep);
            return;

        case LLM_SLOT_ACTIVE:
            if (llm_word_move(z, slot, word, LLM_SLOT_CANCEL)) {
                llm_zone_ring(z);
                return;
            }

            continue;

        default:   /* FREE, CANCEL */
            return;
        }
    }
}


static int
llm_word_move(llm_zone_t *z, int slot, uint64_t word, llm_slot_e state)
{
    return atomic_compare_exchange_strong(&z->word[slot], &word,
               llm_word(llm_word_gen(word), llm_word_worker(word), state));
}


static void
llm_slot_free(llm_zone_t *z, int slot, uint64_t word, int sweep)
{
    llm_blocks_put(z, slot, sweep);

    atomic_store_explicit(&z->word[slot],
                          llm_word(llm_word_gen(word) + 1, 0, LLM_SLOT_FREE),
                          memory_order_release);
}


llm_slot_e
llm_slot_state(llm_zone_t *z, int slot)
{
    return llm_word_state(atomic_load_explicit(&z->word[slot],
                                               memory_order_acquire));
}


uint32_t
llm_slot_gen(llm_zone_t *z, int slot)
{
    return llm_word_gen(atomic_load_explicit(&z->word[slot],
                                             memory_order_acquire));
}


void
llm_zone_takeover(llm_zone_t *z)
{
    int           i;
    uint32_t      gen;
    uint64_t      word;
    llm_event_t   ev;
    llm_slot_t   *s;

    static const char  message[] = "the engine was restarted";

    atomic_fetch_add(&z->takeovers, 1);

    /* the dead holder may have set a flag and not written yet */

    for (i = 0; i < LLM_ZONE_WORKERS; i++) {
        if (atomic_load(&z->worker[i].pid) > 0) {
            atomic_store(&z->worker[i].pending, 1);
            llm_fd_write(z->worker[i].fd);
        }
    }

    for (i = 0; i < LLM_ZONE_SLOTS; i++) {
        word = atomic_load_explicit(&z->word[i], memory_order_acquire);
        gen = llm_word_gen(word);
        s = &z->slot[i];

        switch (llm_word_state(word)) {

        case LLM_SLOT_ACTIVE:
            if (!atomic_load(&s->streamed)
                && llm_word_move(z, i, word, LLM_SLOT_SUBMITTED))
            {
                break;
            }

            /* there is room: a step leaves some, and the ring's only other
             * end is the worker that empties it */

            memset(&ev, 0, sizeof(llm_event_t));
            ev.type = LLM_EVENT_CODE;
            ev.len = sizeof("engine_restarted") - 1;
            memcpy(ev.u.text, "engine_restarted", ev.len);
            llm_slot_push(z, i, gen, &ev);

            ev.type = LLM_EVENT_MESSAGE;
            ev.len = sizeof(message) - 1;
            memcpy(ev.u.text, message, ev.len);
            llm_slot_push(z, i, gen, &ev);

            memset(&ev, 0, sizeof(llm_event_t));
            ev.type = LLM_EVENT_ERROR;
            ev.u.error.status = 503;
            ev.u.error.retry_after = 1;
            llm_slot_push(z, i, gen, &ev);

            llm_slot_notify(z, i, gen);
            llm_slot_end(z, i, gen);
            break;

        case LLM_SLOT_CANCEL:
            llm_slot_free(z, i, word, 1);
            break;

        default:
            break;
        }
    }
}


int
llm_slot_take(llm_zone_t *z, int slot, uint32_t *gen)
{
    uint64_t  word;

    word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

    if (llm_word_state(word) != LLM_SLOT_SUBMITTED
        || !llm_word_move(z, slot, word, LLM_SLOT_ACTIVE))
    {
        return LLM_CANCELLED;
    }

    *gen = llm_word_gen(word);

    return LLM_OK;
}


int
llm_slot_wanted(llm_zone_t *z, int slot, uint32_t gen)
{
    uint64_t  word;

    word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

    return llm_word_gen(word) == gen
           && llm_word_state(word) == LLM_SLOT_ACTIVE;
}


int
llm_slot_body(llm_zone_t *z, int slot, llm_buf_t *b)
{
    size_t       n, left;
    int32_t      i;
    llm_slot_t  *s = &z->slot[slot];

    left = s->body_len;
    i = s->body_first;

    if (left > LLM_BODY_MAX) {
        return LLM_INVALID;
    }

    if (llm_buf_reserve(b, left) != LLM_OK) {
        return LLM_NOMEM;
    }

    while (left) {
        if (i < 0 || i >= LLM_ZONE_BLOCKS
            || atomic_load(&z->block_owner[i]) != (uint32_t) slot + 1)
        {
            return LLM_INVALID;
        }

        n = left < LLM_ZONE_BLOCK ? left : LLM_ZONE_BLOCK;

        if (llm_buf_append(b, z->block[i], n) != LLM_OK) {
            return LLM_NOMEM;
        }

        left -= n;
        i = z->block_next[i];
    }

    return LLM_OK;
}


int
llm_slot_push(llm_zone_t *z, int slot, uint32_t gen, llm_event_t *ev)
{
    uint32_t     tail;
    llm_slot_t  *s = &z->slot[slot];

    tail = atomic_load_explicit(&s->tail, memory_order_relaxed);

    if (tail - atomic_load_explicit(&s->head, memory_order_acquire)
        >= LLM_ZONE_EVENTS)
    {
        /* ask for a ring of the door, then look again: the worker may have
         * emptied it in between */

        atomic_store(&s->want_door, 1);

        if (tail - atomic_load(&s->head) >= LLM_ZONE_EVENTS) {
            return LLM_AGAIN;
        }
    }

    ev->gen = gen;

    s->event[tail & (LLM_ZONE_EVENTS - 1)] = *ev;

    if (ev->type != LLM_EVENT_ACCEPT) {
        atomic_store_explicit(&s->streamed, 1, memory_order_relaxed);
    }

    atomic_store_explicit(&s->tail, tail + 1, memory_order_release);

    return LLM_OK;
}


void
llm_slot_notify(llm_zone_t *z, int slot, uint32_t gen)
{
    uint64_t       word, bit;
    llm_worker_t  *w;

    word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

    if (llm_word_gen(word) != gen
        || llm_word_worker(word) >= LLM_ZONE_WORKERS)
    {
        return;
    }

    w = &z->worker[llm_word_worker(word)];
    bit = 1ull << (slot % 64);

    if (atomic_fetch_or(&w->ready[slot / 64], bit) & bit) {
        return;
    }

    if (atomic_exchange(&w->pending, 1) == 0) {
        llm_fd_write(w->fd);
    }
}


void
llm_slot_end(llm_zone_t *z, int slot, uint32_t gen)
{
    uint64_t  word;

    for ( ;; ) {
        word = atomic_load_explicit(&z->word[slot], memory_order_acquire);

        if (llm_word_gen(word) != gen) {
            return;
        }

        switch (llm_word_state(word)) {

        case LLM_SLOT_ACTIVE:
            if (llm_word_move(z, slot, word, LLM_SLOT_ENDED)) {
                return;
            }

            continue;

        case LLM_SLOT_CANCEL:
            llm_slot_free(z, slot, word, 1);
            return;

        default:
            return;
        }
    }
}


void
llm_zone_ring(llm_zone_t *z)
{
    if (atomic_exchange(&z->door_pending, 1) == 0) {
        llm_fd_write(z->door);
    }
}


void
llm_zone_answer(llm_zone_t *z)
{
    /* the door's fd was read; a ring from here on writes it again */
    atomic_store(&z->door_pending, 0);
}


static void
llm_fd_write(int fd)
{
    ssize_t   n;
    uint64_t  one = 1;

    do {
        n = write(fd, &one, sizeof(one));
    } while (n == -1 && errno == EINTR);
}
