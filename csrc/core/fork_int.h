/* fork_int.h - which process this is, in a forked chain of them; inside the core only.
 *
 * A handle keeps the number it was made under. In a forked child the number differs: the handle's threads, locks and
 * mappings are the parent's. What has descriptors to let go of in the child registers a pthread_atfork of its own.
 */
#ifndef DBI_FORK_INT_H
#define DBI_FORK_INT_H

#include <stdatomic.h>
#include <stdint.h>

extern atomic_uint_fast64_t dbi__fork_generation;

/* Begins the counting: to be called once before the first number is kept; more often does no harm. @thread any */
void dbi__fork_watch(void);

/* From 1 on. @thread any @locks none */
static inline uint64_t dbi__fork_now(void) {
    return atomic_load_explicit(&dbi__fork_generation, memory_order_relaxed);
}

#endif
