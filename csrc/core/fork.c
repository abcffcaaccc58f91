/* fork.c - see fork_int.h */
#include "fork_int.h"

#include <pthread.h>

atomic_uint_fast64_t dbi__fork_generation = 1;

static void fork_in_child(void) {
    atomic_fetch_add_explicit(&dbi__fork_generation, 1, memory_order_relaxed);
}

static void fork_watch_once(void) {
    (void)pthread_atfork(NULL, NULL, fork_in_child);
}

void dbi__fork_watch(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, fork_watch_once);
}
