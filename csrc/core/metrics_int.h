/* metrics_int.h - the counters' inside, for files of the core that count on a path of nanoseconds. */
#ifndef DBI_METRICS_INT_H
#define DBI_METRICS_INT_H

#include <stdatomic.h>

#include "metrics.h"

#define DBI__CELLS 64u /* the first is shared by the threads that have none of their own */

typedef struct dbi__cell {
    _Atomic uint64_t counts[DBI_COUNTERS_SIZE];
} dbi__cell;

struct dbi_counters {
    dbi__cell *cells; /* DBI__CELLS of them, each on a cache line of its own */
    void *block;      /* what to free */
};

/* glibc keeps room for small variables of this model in libraries that are loaded later; the general model costs a
 * function call per access. */
#ifdef __GLIBC__
#define DBI__TLS_MODEL __attribute__((tls_model("initial-exec")))
#else
#define DBI__TLS_MODEL
#endif

/* Where the calling thread's own cell is among the cells, in bytes; 0 when it has none. */
extern _Thread_local size_t dbi__thread_cell DBI__TLS_MODEL;

/* Counts for a thread that has no cell yet, or for which there is none. */
void dbi__count_slowly(dbi__cell *cells, unsigned which, uint64_t n);

static inline void dbi__count(dbi__cell *cells, unsigned which, uint64_t n) {
    size_t cell = dbi__thread_cell;
    _Atomic uint64_t *count = &((dbi__cell *)(void *)((char *)cells + cell))->counts[which];

    if (__builtin_expect(cell == 0, 0))
        dbi__count_slowly(cells, which, n);
    else /* no other thread writes here: no atomic addition is needed */
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
