
/*
 * Copyright (C) nginx-llm contributors
 *
 * Root and a store whose owner is another: what is given away, who opens it.
 * Links that the owner may have put there lead nowhere.
 */


#include <sys/mman.h>

#include "store_test.h"


#define NOBODY  65534


/* what a function has seen; shared with its child */

typedef struct {
    int    runs;
    pid_t  pid;
    uid_t  uid, euid;
    int    regained;
    int    groups;
    int    opened;
    int    end;                 /* by a signal */
} seen_t;


static seen_t  *seen;


static int
look(void *data, char *e, size_t elen)
{
    llm_store_t  *st;

    seen->runs++;
    seen->pid = getpid();
    seen->uid = getuid();
    seen->euid = geteuid();
    seen->groups = getgroups(0, NULL);

    if (seen->end) {
        raise(SIGKILL);
    }

    seen->opened = llm_store_open(&st, path, 0, e, elen);

    if (seen->opened == LLM_OK) {
        llm_store_close(st);
    }

    if (data == NULL) {
        return seen->opened;
    }

    seen->regained = setuid(0) == 0;

    return llm_err(e, elen, LLM_EXISTS, "%s", (char *) data);
}


static uid_t
owner(const char *name)
{
    struct stat  sb;

    return lstat(name, &sb) == 0 ? sb.st_uid : (uid_t) -1;
}


static void
test_give(void)
{
    put_file(at("victim"), "root's", 6, 0600);
    is_int(llm_store_create(path, 0, E), LLM_OK, "a store");
    is_int(llm_store_give(path, NOBODY, NOBODY, E), LLM_OK, "is given away");
    ok(owner(path) == NOBODY && owner(at("store/data.mdb")) == NOBODY,
       "with its file");

    ok(link(at("victim"), at("store/calls.mdb")) == 0, "a second name");
    is_int(llm_store_give(path, NOBODY - 1, NOBODY - 1, E), LLM_INVALID,
           "of a file of root's: refused");
    is_int(owner(at("victim")), 0, "it stays root's");
    unlink(at("store/calls.mdb"));

    ok(symlink(at("victim"), at("store/lock.mdb")) == 0, "a link to it");
    ok(llm_store_give(path, NOBODY, NOBODY, E) != LLM_OK, "refused: %s", err);
    is_int(owner(at("victim")), 0, "it stays root's");
    unlink(at("store/lock.mdb"));

    ok(symlink(dir, at("link")) == 0
       && lchown(at("link"), NOBODY, NOBODY) == 0, "its own link elsewhere");
    ok(llm_store_give(at("link"), NOBODY, NOBODY, E) != LLM_OK, "refused: %s",
       err);
    is_int(owner(dir), 0, "that stays root's");
    is_int(llm_store_give(dir, NOBODY, NOBODY, E), LLM_NOTFOUND,
           "no directory but a store's");
    is_int(owner(dir), 0, "is given away");

    unlink(at("link"));
    ok(symlink(path, at("link")) == 0, "root's link to it");
    is_int(llm_store_give(at("link"), NOBODY, NOBODY, E), LLM_OK,
           "is followed");
}


static void
test_as_owner(void)
{
    is_int(llm_store_as_owner(path, look, NULL, E), LLM_OK, "as its owner");
    ok(seen->runs == 1 && seen->pid != getpid() && seen->uid == NOBODY
       && seen->euid == NOBODY && seen->groups == 0, "in a child");
    is_int(geteuid(), 0, "root is root");
    ok(owner(at("store/lock.mdb")) == NOBODY, "what it makes is the owner's");

    is_int(llm_store_as_owner(path, look, (void *) "why", E), LLM_EXISTS,
           "what it returns");
    is_str(err, "why", "and says");
    is_int(seen->regained, 0, "and there is no way back");

    seen->end = 1;
    is_int(llm_store_as_owner(path, look, NULL, E), LLM_ERROR, "one that is "
           "killed");
    ok(strstr(err, "died") != NULL, "the message: %s", err);
    seen->end = 0;

    ok(chown(path, 0, 0) == 0, "root's own");
    seen->runs = 0;
    is_int(llm_store_as_owner(path, look, NULL, E), LLM_OK, "is opened");
    ok(seen->runs == 1 && seen->pid == getpid(), "without a child");
}


/* what is given away may be in use: its reader must not look dead */

static int
check_readers(void *data)
{
    int           dead;
    llm_store_t  *st;

    dead = -1;

    if (llm_store_open(&st, path, 0, E) == LLM_OK) {
        mdb_reader_check(st->env, &dead);
        llm_store_close(st);
    }

    return dead;
}


static void
test_in_use(void)
{
    MDB_txn      *txn;
    llm_store_t  *st;

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "in use");
    is_int(llm_store_give(path, NOBODY, NOBODY, E), LLM_OK, "given away");
    is_int(child(check_readers, NULL), 0, "its reader is alive to others");
    is_int(llm_store_read(st, &txn, E), LLM_OK, "and reads");
    llm_store_read_end(st);
    llm_store_close(st);
}


/* an empty directory of another's is root's while a store is made in it */

static void
test_made_in(void)
{
    const char  *other;

    other = at("other");
    ok(mkdir(other, 0700) == 0 && chown(other, NOBODY, NOBODY) == 0,
       "an empty directory of another's");
    is_int(llm_store_create(other, 0, E), LLM_OK, "a store in it");
    ok(owner(other) == NOBODY && owner(at("other/data.mdb")) == NOBODY,
       "is that one's");
    is_int(llm_store_create(other, 0, E), LLM_EXISTS, "a second one: no");
    is_int(owner(other), NOBODY, "and it stays so");
}


int
main(void)
{
    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root\n");
        return 0;
    }

    if (test_begin() == -1) {
        return 1;
    }

    (void) chmod(dir, 0711);

    seen = mmap(NULL, sizeof(seen_t), PROT_READ|PROT_WRITE,
                MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (seen == MAP_FAILED) {
        printf("Bail out! no memory\n");
        return 1;
    }

    test_give();
    test_as_owner();
    test_in_use();
    test_made_in();

    munmap(seen, sizeof(seen_t));
    remove_tree(dir);

    return done();
}
