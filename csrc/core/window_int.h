/* window_int.h - the breaker's sliding windows: outcomes of the last N calls, or of the last N seconds.
 *
 * A window belongs to one generation of the breaker at a time. Nothing is cleared when a generation begins: every word
 * carries the generation it was written in, a word of an older one counts as empty, and a writer that comes late finds
 * a newer one and leaves it alone. So starting anew needs no lock and cannot race.
 */
#ifndef DBI_WINDOW_INT_H
#define DBI_WINDOW_INT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "breaker.h"

#define DBI__GENERATION_BITS 24u
#define DBI__GENERATION_MASK ((1u << DBI__GENERATION_BITS) - 1)

/* Serial number arithmetic: is `a` ahead of `b`, both of `bits` bits? Only by a little: what lies further ahead is
 * taken for a remnant from before the numbers wrapped, so that it cannot shut out the present for long. */
static inline bool dbi__ahead(uint32_t a, uint32_t b, unsigned bits) {
    uint32_t by = (a - b) & ((UINT32_C(1) << bits) - 1);

    return by != 0 && by <= 1024;
}

typedef struct dbi__window_sums {
    uint64_t calls, failed, slow;
} dbi__window_sums;

/* A ring of outcomes and their sums. `next` runs on for ever; the slot is its remainder. */
typedef struct dbi__count_window {
    _Atomic uint64_t next;
    _Atomic uint64_t sums; /* generation, and three sums: see window.c */
    uint32_t size;
    _Atomic uint32_t *slots; /* generation and outcome */
} dbi__count_window;

#define DBI__SLICES 10

/* Ten slices of time, each with sums of its own, each sum tagged with the slice's number. */
typedef struct dbi__time_window {
    int64_t slice_ns;
    struct {
        _Atomic uint64_t calls, failed, slow;
    } slices[DBI__SLICES];
} dbi__time_window;

DBI_NODISCARD dbi_rc dbi__count_window_init(dbi__count_window *window, uint32_t size, dbi_err *err);
void dbi__count_window_reset(dbi__count_window *window);
void dbi__time_window_init(dbi__time_window *window, int64_t length_ns);

/* Adds an outcome of that generation and gives the sums that include it; a late outcome gives zeros.
 * @thread any @locks none */
dbi__window_sums dbi__count_window_add(dbi__count_window *window, uint32_t generation, bool failed, bool slow);
dbi__window_sums dbi__time_window_add(dbi__time_window *window, uint32_t generation, int64_t now, bool failed,
                                      bool slow);

/* The sums of that generation. @thread any @locks none */
dbi__window_sums dbi__count_window_read(const dbi__count_window *window, uint32_t generation);
dbi__window_sums dbi__time_window_read(const dbi__time_window *window, uint32_t generation, int64_t now);

#endif
