
/*
 * Copyright (C) nginx-llm contributors
 *
 * The shared zone: a slot's life, late events, full rings, deaths on either
 * side, and a storm of workers against an engine (for ThreadSanitizer too).
 */


#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "../../engine/llm_ring.h"


#define WORKERS   3
#define REQUESTS  400


static llm_zone_t  *z;


static void
push_text(int slot, uint32_t gen, const char *text, int want)
{
    llm_event_t  ev;

    memset(&ev, 0, sizeof(ev));
    ev.type = LLM_EVENT_TEXT_PIECE;
    ev.len = (uint8_t) strlen(text);
    memcpy(ev.u.text, text, ev.len);

    if (llm_slot_push(z, slot, gen, &ev) != want) {
        ok(0, "push \"%s\"", text);
    }
}


static int
submit(int w, size_t len)
{
    int    slot;
    char  *body;

    slot = llm_slot_claim(z, w);
    body = malloc(len + 1);
    memset(body, 'a' + slot % 26, len);

    if (slot < 0 || llm_slot_write(z, slot, body, len) != LLM_OK) {
        ok(0, "claim and write");
    }

    free(body);
    llm_slot_submit(z, slot, 7, 1, 0);

    return slot;
}


static void
test_life(void)
{
    int          w, slot;
    uint32_t     gen;
    llm_buf_t    b;
    llm_event_t  ev;

    w = llm_worker_attach(z, getpid());
    ok(w >= 0, "attach");

    slot = submit(w, 40000);
    is_int(llm_zone_slots_used(z), 1, "one slot used");
    is_int(llm_zone_blocks_used(z), 3, "three blocks used");
    is_int(llm_slot_state(z, slot), LLM_SLOT_SUBMITTED, "submitted");

    is_int(llm_slot_take(z, slot, &gen), LLM_OK, "taken");
    is_int(llm_slot_take(z, slot, &gen), LLM_CANCELLED, "not taken twice");

    memset(&b, 0, sizeof(b));
    is_int(llm_slot_body(z, slot, &b), LLM_OK, "body");
    is_int((long) b.len, 40000, "its length");
    ok(b.data[0] == b.data[39999] && b.data[39999] == 'a' + slot % 26,
       "its bytes");
    llm_buf_done(&b);

    push_text(slot, gen, "hello", LLM_OK);
    llm_slot_notify(z, slot, gen);
    llm_worker_ready_begin(z, w);
    is_int(llm_worker_ready_next(z, w), slot, "the slot is ready");
    is_int(llm_worker_ready_next(z, w), -1, "and no other");
    ok(llm_slot_pop(z, slot, &ev) && memcmp(ev.u.text, "hello", 5) == 0,
       "the event");
    ok(!llm_slot_pop(z, slot, &ev), "and no other");

    push_text(slot, gen - 1, "late", LLM_OK);
    push_text(slot, gen, "mine", LLM_OK);
    ok(llm_slot_pop(z, slot, &ev) && memcmp(ev.u.text, "mine", 4) == 0,
       "an event of another generation is dropped");

    llm_slot_end(z, slot, gen);
    is_int(llm_slot_state(z, slot), LLM_SLOT_ENDED, "ended");
    llm_slot_release(z, slot);
    is_int(llm_slot_state(z, slot), LLM_SLOT_FREE, "free");
    is_int(llm_slot_gen(z, slot), gen + 1, "the generation has grown");
    is_int(llm_zone_blocks_used(z), 0, "no block used");

    /* cancelled in each state */

    slot = llm_slot_claim(z, w);
    llm_slot_release(z, slot);
    is_int(llm_zone_slots_used(z), 0, "released when claimed");

    slot = submit(w, 10);
    llm_slot_release(z, slot);
    is_int(llm_zone_slots_used(z), 0, "released when submitted");
    is_int(llm_slot_take(z, slot, &gen), LLM_CANCELLED,
           "and not taken any more");

    slot = submit(w, 10);
    llm_slot_take(z, slot, &gen);
    llm_slot_release(z, slot);
    is_int(llm_slot_state(z, slot), LLM_SLOT_CANCEL,
           "released when active: cancelled");
    ok(!llm_slot_wanted(z, slot, gen), "not wanted");
    llm_slot_end(z, slot, gen);
    is_int(llm_zone_slots_used(z), 0, "freed by the engine");
    is_int(llm_zone_blocks_used(z), 0, "with its blocks");

    llm_worker_detach(z, w);
    is_int(llm_zone_workers(z), 0, "detached");
}


static int
door_rings(void)
{
    uint64_t       n;
    struct pollfd  p = { z->door, POLLIN, 0 };

    if (poll(&p, 1, 0) != 1) {
        return 0;
    }

    if (read(z->door, &n, sizeof(n)) != sizeof(n)) {
        return 0;
    }

    llm_zone_answer(z);

    return 1;
}


static void
test_limits(void)
{
    int          i, n, w, slot;
    char        *big;
    uint32_t     gen;
    llm_event_t  ev;

    w = llm_worker_attach(z, getpid());
    slot = submit(w, 0);
    llm_slot_take(z, slot, &gen);
    door_rings();

    for (i = 0; i < LLM_ZONE_EVENTS; i++) {
        push_text(slot, gen, "x", LLM_OK);
    }

    push_text(slot, gen, "y", LLM_AGAIN);
    ok(!door_rings(), "a full ring does not ring the door");

    for (i = 0; i < LLM_ZONE_EVENTS / 2; i++) {
        llm_slot_pop(z, slot, &ev);
    }

    ok(door_rings(), "half of it taken rings the door");
    push_text(slot, gen, "y", LLM_OK);

    for (n = 0; llm_slot_pop(z, slot, &ev); n++) { /* void */ }

    is_int(n, LLM_ZONE_EVENTS / 2 + 1, "all events came");
    llm_slot_end(z, slot, gen);
    llm_slot_release(z, slot);

    big = calloc(1, LLM_BODY_MAX);
    slot = llm_slot_claim(z, w);
    is_int(llm_slot_write(z, slot, big, LLM_BODY_MAX), LLM_OK,
           "the largest body");
    is_int(llm_slot_write(z, slot, big, 1), LLM_INVALID, "and a byte more");

    n = llm_slot_claim(z, w);
    is_int(llm_slot_write(z, n, big, LLM_BODY_MAX), LLM_OK, "another one");
    i = llm_slot_claim(z, w);
    is_int(llm_slot_write(z, i, big, 1), LLM_AGAIN, "then there is no room");
    llm_slot_release(z, slot);
    is_int(llm_slot_write(z, i, big, 1), LLM_OK, "until one goes");
    llm_slot_release(z, n);
    llm_slot_release(z, i);
    free(big);
    is_int(llm_zone_blocks_used(z), 0, "no block is left behind");

    for (n = 0; llm_slot_claim(z, w) >= 0; n++) { /* void */ }

    is_int(n, LLM_ZONE_SLOTS, "all slots can be claimed");
    llm_worker_detach(z, w);
    is_int(llm_zone_slots_used(z), 0, "a detached worker leaves none");
}


static void
test_broken(void)
{
    int        w, slot;
    uint32_t   gen;
    llm_buf_t  b;

    w = llm_worker_attach(z, getpid());
    slot = submit(w, 50000);
    llm_slot_take(z, slot, &gen);
    memset(&b, 0, sizeof(b));

    z->block_next[z->slot[slot].body_first] = LLM_ZONE_BLOCKS;
    is_int(llm_slot_body(z, slot, &b), LLM_INVALID, "a broken chain");
    z->block_next[z->slot[slot].body_first] = z->slot[slot].body_first;
    b.len = 0;
    is_int(llm_slot_body(z, slot, &b), LLM_OK, "a loop ends");
    z->slot[slot].body_len = 0xffffffff;
    b.len = 0;
    is_int(llm_slot_body(z, slot, &b), LLM_INVALID, "an absurd length");
    llm_buf_done(&b);

    llm_slot_release(z, slot);
    llm_slot_end(z, slot, gen);
    llm_worker_detach(z, w);
    is_int(llm_zone_blocks_used(z), 0, "no block is left behind");
}


static void
test_dead_worker(void)
{
    int       w, status;
    pid_t     pid;
    uint32_t  gen;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        w = llm_worker_attach(z, getpid());
        llm_slot_claim(z, w);
        llm_slot_write(z, llm_slot_claim(z, w), "half a body", 11);
        submit(w, 100000);
        llm_slot_take(z, submit(w, 100), &gen);
        llm_slot_end(z, submit(w, 100), 0);
        /* a block taken and not yet linked */
        atomic_store(&z->block_owner[LLM_ZONE_BLOCKS - 1], 2);
        raise(SIGKILL);
    }

    waitpid(pid, &status, 0);

    is_int(llm_zone_slots_used(z), 5, "a dead worker's slots");
    is_int(llm_zone_workers(z), 0, "it does not count");
    while (door_rings()) { /* void */ }
    is_int(llm_worker_reap(z), 1, "one worker reaped");
    ok(door_rings(), "the engine is told");
    is_int(llm_zone_slots_used(z), 1, "what the engine works on stays");
    is_int(llm_worker_reap(z), 0, "only once");

    llm_zone_takeover(z);
    is_int(llm_zone_slots_used(z), 0, "until the next holder clears it");
    is_int(llm_zone_blocks_used(z), 0, "no block is left behind");
}


static void
test_dead_engine(void)
{
    int          w, fresh, begun, waiting;
    char         code[64];
    uint32_t     g1, g2, g3;
    llm_event_t  ev;

    w = llm_worker_attach(z, getpid());

    fresh = submit(w, 100);
    begun = submit(w, 100);
    waiting = submit(w, 100);

    llm_slot_take(z, fresh, &g1);
    llm_slot_take(z, begun, &g2);
    push_text(begun, g2, "once", LLM_OK);

    /* died between the flag and the write */
    atomic_store(&z->worker[w].pending, 1);

    llm_zone_takeover(z);

    is_int(llm_slot_state(z, fresh), LLM_SLOT_SUBMITTED,
           "a request without an answer is run again");
    is_int(llm_slot_state(z, waiting), LLM_SLOT_SUBMITTED,
           "a waiting one waits");
    is_int(llm_slot_state(z, begun), LLM_SLOT_ENDED, "a begun one ends");

    ok(llm_slot_pop(z, begun, &ev) && ev.type == LLM_EVENT_TEXT_PIECE,
       "after its text");
    ok(llm_slot_pop(z, begun, &ev) && ev.type == LLM_EVENT_CODE, "a code");
    snprintf(code, sizeof(code), "%.*s", ev.len, ev.u.text);
    is_str(code, "engine_restarted", "which one");
    ok(llm_slot_pop(z, begun, &ev) && ev.type == LLM_EVENT_MESSAGE,
       "a message");
    ok(llm_slot_pop(z, begun, &ev) && ev.type == LLM_EVENT_ERROR
       && ev.u.error.status == 503, "an error");

    is_int(llm_slot_take(z, fresh, &g3), LLM_OK, "taken by the next holder");
    is_int(g1, g3, "in the same generation");

    llm_worker_detach(z, w);
    llm_slot_end(z, fresh, g3);
    is_int(llm_zone_slots_used(z), 0, "nothing is left behind");
}


/* the storm: echo requests, some cancelled, some read slowly */

static _Atomic int  storm_stop, storm_lost, storm_done, storm_cancelled;


static void *
storm_engine(void *data)
{
    int            i, n;
    char           text[32];
    uint32_t       gen[LLM_ZONE_SLOTS], sent[LLM_ZONE_SLOTS];
    uint64_t       count;
    llm_buf_t      b;
    llm_event_t    ev;
    struct pollfd  p = { z->door, POLLIN, 0 };

    memset(sent, 0, sizeof(sent));
    memset(gen, 0, sizeof(gen));

    while (!atomic_load(&storm_stop)) {
        if (poll(&p, 1, 100) == 1) {
            if (read(z->door, &count, sizeof(count)) < 0) {
                break;
            }
        }

        llm_zone_answer(z);

        for (n = 1; n; ) {
            n = 0;

            for (i = 0; i < LLM_ZONE_SLOTS; i++) {
                switch (llm_slot_state(z, i)) {

                case LLM_SLOT_SUBMITTED:
                    if (llm_slot_take(z, i, &gen[i]) == LLM_OK) {
                        memset(&b, 0, sizeof(b));
                        if (llm_slot_body(z, i, &b) != LLM_OK
                            || b.len != 20000 || b.data[19999] != b.data[0])
                        {
                            /* its worker may have cancelled meanwhile */
                            if (llm_slot_wanted(z, i, gen[i])) {
                                atomic_fetch_add(&storm_lost, 1);
                            }
                        }
                        llm_buf_done(&b);
                        sent[i] = 0;
                        n++;
                    }
                    break;

                case LLM_SLOT_CANCEL:
                    llm_slot_end(z, i, gen[i]);
                    n++;
                    break;

                case LLM_SLOT_ACTIVE:
                    memset(&ev, 0, sizeof(ev));
                    snprintf(text, sizeof(text), "%u", sent[i]);
                    ev.type = sent[i] == 300 ? LLM_EVENT_END
                                             : LLM_EVENT_TEXT_PIECE;
                    ev.len = (uint8_t) strlen(text);
                    memcpy(ev.u.text, text, ev.len);

                    if (llm_slot_push(z, i, gen[i], &ev) == LLM_OK) {
                        llm_slot_notify(z, i, gen[i]);
                        n++;
                        if (sent[i]++ == 300) {
                            llm_slot_end(z, i, gen[i]);
                        }
                    }
                    break;

                default:
                    break;
                }
            }
        }
    }

    return NULL;
}


static void *
storm_worker(void *data)
{
    int            i, w, n, slot, open, started;
    char           text[32];
    uint8_t        mine[LLM_ZONE_SLOTS];
    uint32_t       got[LLM_ZONE_SLOTS], stop[LLM_ZONE_SLOTS];
    llm_event_t    ev;
    unsigned       seed = (unsigned) (uintptr_t) data + 1;
    struct pollfd  p;

    w = llm_worker_attach(z, getpid());
    p.fd = z->worker[w].fd;
    p.events = POLLIN;

    started = 0;
    open = 0;
    memset(mine, 0, sizeof(mine));

    while (started < REQUESTS || open) {

        for (i = 0; i < 8 && open < 40 && started < REQUESTS; i++) {
            slot = submit(w, 20000);
            mine[slot] = 1;
            got[slot] = 0;
            stop[slot] = rand_r(&seed) % 4 ? 1000
                                           : (uint32_t) rand_r(&seed) % 300;
            open++;
            started++;
        }

        if (poll(&p, 1, 5000) != 1) {
            atomic_fetch_add(&storm_lost, 1);
            break;
        }

        llm_worker_ready_begin(z, w);

        while ((slot = llm_worker_ready_next(z, w)) != -1) {

            /* the last notice of a slot may come when it is another's */

            if (!mine[slot]) {
                continue;
            }

            for (n = 0; llm_slot_pop(z, slot, &ev); n++) {

                snprintf(text, sizeof(text), "%u", got[slot]++);

                if (ev.len != strlen(text)
                    || memcmp(ev.u.text, text, ev.len) != 0)
                {
                    atomic_fetch_add(&storm_lost, 1);
                }

                if (ev.type == LLM_EVENT_END || got[slot] >= stop[slot]) {
                    atomic_fetch_add(ev.type == LLM_EVENT_END
                                     ? &storm_done : &storm_cancelled, 1);
                    llm_slot_release(z, slot);
                    mine[slot] = 0;
                    open--;
                    break;
                }
            }
        }
    }

    llm_worker_detach(z, w);

    return NULL;
}


static void
test_storm(void)
{
    int        i;
    pthread_t  engine, worker[WORKERS];

    pthread_create(&engine, NULL, storm_engine, NULL);

    for (i = 0; i < WORKERS; i++) {
        pthread_create(&worker[i], NULL, storm_worker, (void *) (uintptr_t) i);
    }

    for (i = 0; i < WORKERS; i++) {
        pthread_join(worker[i], NULL);
    }

    /* the engine frees what was cancelled last */

    for (i = 0; i < 500 && llm_zone_slots_used(z); i++) {
        usleep(10000);
    }

    atomic_store(&storm_stop, 1);
    llm_zone_ring(z);
    pthread_join(engine, NULL);

    is_int(atomic_load(&storm_lost), 0, "no event is lost or out of order");
    is_int(atomic_load(&storm_done) + atomic_load(&storm_cancelled),
           WORKERS * REQUESTS, "every request ends");
    ok(atomic_load(&storm_cancelled) > 0, "some were cancelled");
    is_int(llm_zone_slots_used(z), 0, "no slot is left behind");
    is_int(llm_zone_blocks_used(z), 0, "no block is left behind");
}


int
main(void)
{
    char  err[LLM_ERRLEN];

    alarm(120);

    z = mmap(NULL, sizeof(llm_zone_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    is_int(llm_zone_init(z, err, sizeof(err)), LLM_OK, "init");
    ok(llm_zone_valid(z), "valid");

    test_life();
    test_limits();
    test_broken();
    test_dead_worker();
    test_dead_engine();
    test_storm();

    llm_zone_done(z);

    return done();
}
