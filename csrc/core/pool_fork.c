/* pool_fork.c - the process's pools, for the day it forks
 *
 * The child of a fork has copies of its parent's sockets. It must not end these connections (libpq would send a
 * Terminate message on them), nor keep them open (the server would not see the parent's end). So it closes the
 * descriptors, first thing, and forgets the rest; the memory of libpq that they leave behind is bounded by the pool's
 * size. The forking thread holds every pool's lock meanwhile: what the child finds is whole.
 */
#include <pthread.h>

#include "fork_int.h"
#include "pool_int.h"

/* A look-up that takes longer than this has left glibc's lock, and waits for name servers. */
#define FORK_WAIT_NS DBI_NS_PER_S

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static dbi_pool *pools;

static pthread_mutex_t steps_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static pthread_cond_t steps_over = PTHREAD_COND_INITIALIZER;
static unsigned steps; /* under way */

void dbi__step_begin(void) {
    (void)pthread_mutex_lock(&steps_lock);
    steps++;
    (void)pthread_mutex_unlock(&steps_lock);
}

void dbi__step_end(void) {
    (void)pthread_mutex_lock(&steps_lock);
    if (--steps == 0)
        (void)pthread_cond_broadcast(&steps_over);
    (void)pthread_mutex_unlock(&steps_lock);
}

static void fork_before(void) {
    struct timespec until = dbi_clock_timespec(dbi_clock_deadline(NULL, FORK_WAIT_NS));

    (void)pthread_mutex_lock(&pools_lock);
    for (dbi_pool *pool = pools; pool != NULL; pool = pool->next)
        (void)pthread_mutex_lock(&pool->lock);
    (void)pthread_mutex_lock(&steps_lock); /* no step begins any more */
    while (steps > 0)
        if (pthread_cond_clockwait(&steps_over, &steps_lock, CLOCK_MONOTONIC, &until) != 0)
            break;
}

static void fork_after(void) {
    (void)pthread_mutex_unlock(&steps_lock);
    for (dbi_pool *pool = pools; pool != NULL; pool = pool->next)
        (void)pthread_mutex_unlock(&pool->lock);
    (void)pthread_mutex_unlock(&pools_lock);
}

static void fork_child(void) {
    steps = 0; /* their threads are the parent's */
    steps_over = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    for (dbi_pool *pool = pools; pool != NULL; pool = pool->next)
        dbi__pool_forget(pool);
    fork_after();
}

static void fork_watch(void) {
    (void)pthread_atfork(fork_before, fork_after, fork_child);
}

void dbi__pools_add(dbi_pool *pool) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    dbi__fork_watch();
    (void)pthread_once(&once, fork_watch);
    (void)pthread_mutex_lock(&pools_lock);
    pool->next = pools;
    if (pools != NULL)
        pools->prev = pool;
    pools = pool;
    (void)pthread_mutex_unlock(&pools_lock);
}

void dbi__pools_remove(dbi_pool *pool) {
    (void)pthread_mutex_lock(&pools_lock);
    if (pool->prev != NULL)
        pool->prev->next = pool->next;
    else if (pools == pool)
        pools = pool->next;
    if (pool->next != NULL)
        pool->next->prev = pool->prev;
    (void)pthread_mutex_unlock(&pools_lock);
}
