/* metrics_int.h - the counters' inside, for files of the core that count on a path of nanoseconds. */
#ifndef DBI_METRICS_INT_H
#define DBI_METRICS_INT_H

#include <stdatomic.h>

#include "metrics.h"

#define DBI__CELLS 64u /* the last one is shared */

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

/* The calling thread's cell, counted from 1; 0 before its first use. */
extern _Thread_local unsigned dbi__thread_cell DBI__TLS_MODEL;
unsigned dbi__thread_claim(void);

static inline void dbi__count(dbi__cell *cells, unsigned which, uint64_t n) {
    unsigned cell = dbi__thread_cell;
    _Atomic uint64_t *count;

    if (cell == 0)
        cell = dbi__thread_claim();
    count = &cells[cell - 1].counts[which];
    if (cell < DBI__CELLS) /* no other thread writes here: no atomic addition is needed */
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

#endif
