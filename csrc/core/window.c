/* window.c - see window_int.h */
#include "window_int.h"

#include <string.h>

#include "alloc.h"

static uint64_t at_least_zero(int64_t value) {
    return value > 0 ? (uint64_t)value : 0;
}

/* --- by count ---
 *
 * A slot is generation << 3 | outcome bits; outcome bits 0: nothing there yet.
 *
 * The sums are one word, so that they are always of one moment: generation << 40 | calls << 26 | failed << 13 | slow.
 * A writer first replaces a slot, then adds the difference between the new outcome and the old one. Writers may
 * overtake each other between the two steps, which can take a sum below zero for that moment: each is held with a bias.
 */
#define SLOT_VALID 1u
#define SLOT_FAILED 2u
#define SLOT_SLOW 4u
#define SLOT_BITS 3u

#define SUM_BITS 13u
#define SUM_MASK ((UINT64_C(1) << SUM_BITS) - 1)
#define SUM_BIAS INT64_C(2048)
#define SUMS_GENERATION_SHIFT 40u
#define SUMS_EMPTY ((uint64_t)(SUM_BIAS << 2 * SUM_BITS | SUM_BIAS << SUM_BITS | SUM_BIAS))

_Static_assert(DBI_BREAKER_CALLS_MAX + 1024 <= (1 << SUM_BITS) - SUM_BIAS, "a full window fits its sums");

dbi_rc dbi__count_window_init(dbi__count_window *window, uint32_t size, dbi_err *err) {
    memset(window, 0, sizeof *window);
    window->size = size;
    window->slots = dbi_calloc(size, sizeof *window->slots);
    return window->slots != NULL ? DBI_OK : dbi_err_set(err, DBI_ENOMEM, "no memory for a window of %u calls", size);
}

void dbi__count_window_reset(dbi__count_window *window) {
    dbi_free((void *)window->slots);
    window->slots = NULL;
}

static dbi__window_sums sums_unpack(uint64_t word) {
    dbi__window_sums sums = {
        .calls = at_least_zero((int64_t)(word >> 2 * SUM_BITS & SUM_MASK) - SUM_BIAS),
        .failed = at_least_zero((int64_t)(word >> SUM_BITS & SUM_MASK) - SUM_BIAS),
        .slow = at_least_zero((int64_t)(word & SUM_MASK) - SUM_BIAS),
    };
    return sums;
}

/* What an outcome contributes to the word of sums. */
static uint64_t sums_of_slot(uint32_t slot) {
    return ((uint64_t)((slot & SLOT_VALID) != 0) << 2 * SUM_BITS) +
           ((uint64_t)((slot & SLOT_FAILED) != 0) << SUM_BITS) + (uint64_t)((slot & SLOT_SLOW) != 0);
}

dbi__window_sums dbi__count_window_add(dbi__count_window *window, uint32_t generation, bool failed, bool slow) {
    static const dbi__window_sums none;
    uint64_t ticket = atomic_fetch_add_explicit(&window->next, 1, memory_order_relaxed);
    _Atomic uint32_t *slot = &window->slots[ticket % window->size];
    uint32_t added = generation << SLOT_BITS | SLOT_VALID | (failed ? SLOT_FAILED : 0) | (slow ? SLOT_SLOW : 0);
    uint32_t replaced = atomic_load_explicit(slot, memory_order_relaxed);
    uint64_t sums = atomic_load_explicit(&window->sums, memory_order_relaxed), updated;

    do {
        if (dbi__ahead(replaced >> SLOT_BITS, generation, DBI__GENERATION_BITS))
            return none;
    } while (
        !atomic_compare_exchange_weak_explicit(slot, &replaced, added, memory_order_relaxed, memory_order_relaxed));
    if (replaced >> SLOT_BITS != generation)
        replaced = 0;
    do {
        uint32_t theirs = (uint32_t)(sums >> SUMS_GENERATION_SHIFT);

        if (dbi__ahead(theirs, generation, DBI__GENERATION_BITS))
            return none;
        updated = theirs == generation ? sums : ((uint64_t)generation << SUMS_GENERATION_SHIFT | SUMS_EMPTY);
        updated += sums_of_slot(added) - sums_of_slot(replaced);
    } while (!atomic_compare_exchange_weak_explicit(&window->sums, &sums, updated, memory_order_relaxed,
                                                    memory_order_relaxed));
    return sums_unpack(updated);
}

dbi__window_sums dbi__count_window_read(const dbi__count_window *window, uint32_t generation) {
    static const dbi__window_sums none;
    uint64_t sums = atomic_load_explicit(&window->sums, memory_order_relaxed);

    return sums >> SUMS_GENERATION_SHIFT == generation ? sums_unpack(sums) : none;
}

/* --- by time ---
 *
 * Slice number n begins at n * slice_ns and is kept at n % 10. A count is one word: a tag of generation (16 bits) and
 * lap (n / 10, 24 bits), then the count (24 bits), which stops at its maximum. */
#define COUNT_BITS 24u
#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)
#define LAP_BITS 24u
#define TAG_GENERATION_BITS 16u

static uint64_t tag_make(uint32_t generation, int64_t lap) {
    return (uint64_t)(generation & ((1u << TAG_GENERATION_BITS) - 1)) << LAP_BITS |
           ((uint64_t)lap & ((UINT64_C(1) << LAP_BITS) - 1));
}

static bool tag_ahead(uint64_t tag, uint64_t than) {
    uint32_t generation = (uint32_t)(tag >> LAP_BITS), than_generation = (uint32_t)(than >> LAP_BITS);

    return generation != than_generation ? dbi__ahead(generation, than_generation, TAG_GENERATION_BITS)
                                         : dbi__ahead((uint32_t)tag, (uint32_t)than, LAP_BITS);
}

/* Adds one. False when the word has gone on to a later slice, or is full. */
static bool count_add(_Atomic uint64_t *count, uint64_t tag) {
    uint64_t word = atomic_load_explicit(count, memory_order_relaxed), updated;

    do {
        uint64_t theirs = word >> COUNT_BITS;

        if (tag_ahead(theirs, tag) || (theirs == tag && (word & COUNT_MAX) == COUNT_MAX))
            return false;
        updated = (theirs == tag ? word : tag << COUNT_BITS) + 1;
    } while (!atomic_compare_exchange_weak_explicit(count, &word, updated, memory_order_release, memory_order_relaxed));
    return true;
}

static uint64_t count_read(const _Atomic uint64_t *count, uint64_t tag) {
    uint64_t word = atomic_load_explicit(count, memory_order_acquire);

    return word >> COUNT_BITS == tag ? word & COUNT_MAX : 0;
}

void dbi__time_window_init(dbi__time_window *window, int64_t length_ns) {
    memset(window, 0, sizeof *window);
    window->slice_ns = length_ns / DBI__SLICES;
}

dbi__window_sums dbi__time_window_read(const dbi__time_window *window, uint32_t generation, int64_t now) {
    dbi__window_sums sums = {0};
    int64_t newest = now / window->slice_ns;

    for (int64_t number = newest; number > newest - DBI__SLICES && number >= 0; number--) {
        uint64_t tag = tag_make(generation, number / DBI__SLICES);
        size_t at = (size_t)(number % DBI__SLICES);

        /* read in this order, and added to in the other: there are never more failures than calls */
        sums.failed += count_read(&window->slices[at].failed, tag);
        sums.slow += count_read(&window->slices[at].slow, tag);
        sums.calls += count_read(&window->slices[at].calls, tag);
    }
    return sums;
}

dbi__window_sums dbi__time_window_add(dbi__time_window *window, uint32_t generation, int64_t now, bool failed,
                                      bool slow) {
    int64_t number = now / window->slice_ns;
    uint64_t tag = tag_make(generation, number / DBI__SLICES);
    size_t at = (size_t)(number % DBI__SLICES);

    if (count_add(&window->slices[at].calls, tag)) {
        if (failed)
            (void)count_add(&window->slices[at].failed, tag);
        if (slow)
            (void)count_add(&window->slices[at].slow, tag);
    }
    return dbi__time_window_read(window, generation, now);
}
