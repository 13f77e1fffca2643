
/*
 * Copyright (C) nginx-llm contributors
 *
 * One environment, a handle for each thread: readers and writers, while
 * another process grows the map.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>

#include "store_test.h"


#define READERS  4
#define GROWN    3000


typedef struct {
    llm_store_t  *st;
    const char   *key;
    int          *stop;         /* atomic */
    int           n;
    int           failed;
    char          err[LLM_ERRLEN];
} worker_t;


static void *
reader(void *data)
{
    worker_t   *w = data;
    llm_key_t   k;

    while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
        w->n++;
        w->failed += llm_key_lookup(w->st, secret, w->key, LLM_KEY_LEN, &k,
                                    w->err, sizeof(w->err)) != LLM_OK;
        w->failed += llm_store_txnid(w->st) == 0;
    }

    return NULL;
}


static void *
writer(void *data)
{
    char        key[LLM_KEY_LEN + 1];
    worker_t   *w = data;
    llm_key_t   k, found;

    while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
        memset(&k, 0, sizeof(k));
        strcpy(k.client, "thread");
        k.role = LLM_ROLE_USER;

        if (llm_key_create(w->st, secret, &k, key, w->err, sizeof(w->err))
            != LLM_OK)
        {
            /* the map is full until it is grown */

            w->failed += strstr(w->err, "full") == NULL;
            usleep(1000);
            continue;
        }

        w->n++;

        w->failed += llm_key_lookup(w->st, secret, key, LLM_KEY_LEN, &found,
                                    w->err, sizeof(w->err)) != LLM_OK;
        w->failed += llm_key_revoke(w->st, k.id, &k, w->err, sizeof(w->err))
                     != LLM_OK;
        w->failed += llm_key_again(w->st, found.tag, &found, w->err,
                                   sizeof(w->err)) != LLM_OK
                     || found.revoked == 0;
    }

    return NULL;
}


/* another process with a larger map */

static int
grow(int fd)
{
    int           i;
    char          c, key[LLM_KEY_LEN + 1];
    llm_key_t     k;
    llm_store_t  *st;

    if (read(fd, &c, 1) != 1
        || llm_store_open(&st, path, (size_t) 512 << 20, E) != LLM_OK)
    {
        return 1;
    }

    for (i = 0; i < GROWN; i++) {
        if (create(st, &k, key) != LLM_OK) {
            return 2;
        }
    }

    llm_store_close(st);

    return 0;
}


static void
test_threads(void)
{
    int           failed, fd[2], i, n, status, stop;
    char          key[LLM_KEY_LEN + 1];
    pid_t         pid;
    worker_t      w[READERS + 2];
    pthread_t     tid[READERS + 2];
    llm_key_t     k;
    llm_store_t  *st;

    ok(pipe(fd) == 0, "a pipe");
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        _exit(grow(fd[0]));
    }

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "opened");
    is_int(create(st, &k, key), LLM_OK, "a key");
    memset(w, 0, sizeof(w));
    stop = failed = 0;

    for (i = 0; i < READERS + 2; i++) {
        w[i].key = key;
        w[i].stop = &stop;
        failed += llm_store_dup(&w[i].st, st, E) != LLM_OK;
    }

    is_int(failed, 0, "a handle for each thread");
    is_str(llm_store_path(w[0].st), path, "of the same store");
    llm_store_close(st);

    for (i = 0; i < READERS + 2; i++) {
        if (pthread_create(&tid[i], NULL, i < READERS ? reader : writer,
                           &w[i]) != 0)
        {
            printf("Bail out! no thread\n");
            exit(1);
        }
    }

    usleep(50000);
    ok(write(fd[1], "x", 1) == 1, "the other process begins");
    ok(waitpid(pid, &status, 0) == pid, "and ends");
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "well");
    usleep(100000);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);

    n = 0;

    for (i = 0; i < READERS + 2; i++) {
        pthread_join(tid[i], NULL);
        failed += w[i].failed;

        if (w[i].failed) {
            printf("# thread %d: %d of %d: %s\n", i, w[i].failed, w[i].n,
                   w[i].err);
        }
    }

    is_int(failed, 0, "no call failed");

    for (i = 0; i < READERS + 1; i++) {
        llm_store_close(w[i].st);
    }

    is_int(llm_key_each(w[i].st, NULL, count_all, &n, E), LLM_OK,
           "the last handle works");
    is_int(n, 1 + GROWN + w[i].n + w[i - 1].n, "each key is there");
    llm_store_close(w[i].st);

    is_int(llm_store_open(&st, path, 0, E), LLM_OK, "closed: opened again");
    llm_store_close(st);
}


int
main(void)
{
    if (test_begin() == -1) {
        return 1;
    }

    is_int(llm_secret_create(at("secret"), E), LLM_OK, "a secret");
    is_int(llm_secret_open(&secret, at("secret"), E), LLM_OK, "the secret");
    is_int(llm_store_create(path, 1 << 20, E), LLM_OK, "a store");

    test_threads();

    llm_secret_close(secret);
    remove_tree(dir);

    return done();
}
