/* metrics.c - see metrics.h */
#include "metrics.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "metrics_int.h"

/* --- counters --- */

#define CACHE_LINE 64u

_Thread_local size_t dbi__thread_cell DBI__TLS_MODEL;

/* One bit per cell: those that a living thread holds, and the shared one. A cell changes hands through this word
 * (release, acquire), so the next holder sees the last one's additions. Cells held by threads that a fork did not carry
 * over stay taken in the child: that costs speed from the 64th on, never a count. */
static _Atomic uint64_t cells_taken = 1;
static pthread_once_t cells_once = PTHREAD_ONCE_INIT;
static pthread_key_t cells_key; /* its destructor gives the cell back when the thread ends */
static bool cells_key_made;

static void cells_give_back(uintptr_t cell) {
    atomic_fetch_and_explicit(&cells_taken, ~(UINT64_C(1) << cell), memory_order_release);
}

static void cells_release(void *cell) {
    dbi__thread_cell = 0;
    cells_give_back((uintptr_t)cell);
}

static void cells_key_make(void) {
    cells_key_made = pthread_key_create(&cells_key, cells_release) == 0;
}

/* Gives the calling thread a cell, where one is free. */
static void cells_claim(void) {
    uint64_t taken = atomic_load_explicit(&cells_taken, memory_order_relaxed);
    uintptr_t cell;

    (void)pthread_once(&cells_once, cells_key_make);
    if (!cells_key_made)
        return;
    do {
        if (taken == UINT64_MAX)
            return;
        cell = (uintptr_t)__builtin_ctzll(~taken);
    } while (!atomic_compare_exchange_weak_explicit(&cells_taken, &taken, taken | UINT64_C(1) << cell,
                                                    memory_order_acquire, memory_order_relaxed));
    if (pthread_setspecific(cells_key, (void *)cell) == 0)
        dbi__thread_cell = cell * sizeof(dbi__cell);
    else
        cells_give_back(cell);
}

void dbi__count_slowly(dbi__cell *cells, unsigned which, uint64_t n) {
    cells_claim();
    if (dbi__thread_cell != 0)
        dbi__count(cells, which, n);
    else
        atomic_fetch_add_explicit(&cells[0].counts[which], n, memory_order_relaxed);
}

dbi_rc dbi_counters_new(dbi_counters **counters, dbi_err *err) {
    dbi_counters *made = dbi_calloc(1, sizeof *made);

    *counters = NULL;
    if (made == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for counters");
    made->block = dbi_calloc(DBI__CELLS + 1, CACHE_LINE);
    if (made->block == NULL) {
        dbi_free(made);
        return dbi_err_set(err, DBI_ENOMEM, "no memory for counters");
    }
    made->cells = (dbi__cell *)(((uintptr_t)made->block + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    *counters = made;
    return DBI_OK;
}

_Static_assert(sizeof(dbi__cell) == CACHE_LINE, "a cell fills a cache line");

void dbi_counters_free(dbi_counters *counters) {
    if (counters == NULL)
        return;
    dbi_free(counters->block);
    dbi_free(counters);
}

void dbi_counters_add(dbi_counters *counters, unsigned which, uint64_t n) {
    dbi__count(counters->cells, which, n);
}

uint64_t dbi_counters_read(const dbi_counters *counters, unsigned which) {
    uint64_t sum = 0;

    for (unsigned i = 0; i < DBI__CELLS; i++)
        sum += atomic_load_explicit(&counters->cells[i].counts[which], memory_order_relaxed);
    return sum;
}

/* --- histograms --- */

#define SUB_BITS 5u
#define SUB_BUCKETS (1u << SUB_BITS)

struct dbi_histogram {
    _Atomic int64_t sum;
    _Atomic int64_t max;
    _Atomic uint64_t buckets[DBI_HISTOGRAM_BUCKETS];
};

/* Values below 32 have a bucket each; above, the highest bit names a group of 32 and the next five bits one in it. */
static unsigned bucket_of(int64_t value) {
    unsigned shift;

    if (value < (int64_t)SUB_BUCKETS)
        return value < 0 ? 0 : (unsigned)value;
    if (value >= DBI_HISTOGRAM_LIMIT)
        return DBI_HISTOGRAM_BUCKETS - 1;
    shift = 63u - (unsigned)__builtin_clzll((unsigned long long)value) - SUB_BITS;
    return (shift + 1) * SUB_BUCKETS + ((unsigned)(value >> shift) & (SUB_BUCKETS - 1));
}

int64_t dbi_histogram_upper(unsigned index) {
    if (index < SUB_BUCKETS)
        return index;
    return ((int64_t)(SUB_BUCKETS + index % SUB_BUCKETS + 1) << (index / SUB_BUCKETS - 1)) - 1;
}

dbi_rc dbi_histogram_new(dbi_histogram **histogram, dbi_err *err) {
    *histogram = dbi_calloc(1, sizeof **histogram);
    return *histogram != NULL ? DBI_OK : dbi_err_set(err, DBI_ENOMEM, "no memory for a histogram");
}

void dbi_histogram_free(dbi_histogram *histogram) {
    dbi_free(histogram);
}

static void raise_max(_Atomic int64_t *max, int64_t value) {
    int64_t seen = atomic_load_explicit(max, memory_order_relaxed);

    while (value > seen &&
           !atomic_compare_exchange_weak_explicit(max, &seen, value, memory_order_relaxed, memory_order_relaxed))
        continue;
}

void dbi_histogram_record(dbi_histogram *histogram, int64_t value) {
    if (value < 0)
        value = 0;
    atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
    raise_max(&histogram->max, value);
    atomic_fetch_add_explicit(&histogram->buckets[bucket_of(value)], 1, memory_order_relaxed);
}

void dbi_histogram_merge(dbi_histogram *into, const dbi_histogram *from) {
    atomic_fetch_add_explicit(&into->sum, atomic_load_explicit(&from->sum, memory_order_relaxed), memory_order_relaxed);
    raise_max(&into->max, atomic_load_explicit(&from->max, memory_order_relaxed));
    for (unsigned i = 0; i < DBI_HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&from->buckets[i], memory_order_relaxed);
        if (count != 0)
            atomic_fetch_add_explicit(&into->buckets[i], count, memory_order_relaxed);
    }
}

void dbi_histogram_read(const dbi_histogram *histogram, dbi_histogram_view *view) {
    view->count = 0;
    for (unsigned i = 0; i < DBI_HISTOGRAM_BUCKETS; i++) {
        view->buckets[i] = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        view->count += view->buckets[i];
    }
    view->sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    view->max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
}

int64_t dbi_histogram_percentile(const dbi_histogram_view *view, double percent) {
    double wanted = (double)view->count * percent / 100.0;
    uint64_t seen = 0;

    for (unsigned i = 0; i < DBI_HISTOGRAM_BUCKETS; i++) {
        seen += view->buckets[i];
        if (view->buckets[i] != 0 && (double)seen >= wanted) {
            int64_t upper = dbi_histogram_upper(i);
            /* no value exceeds the greatest; and those of the last bucket are known by nothing else */
            return upper < view->max && i != DBI_HISTOGRAM_BUCKETS - 1 ? upper : view->max;
        }
    }
    return 0;
}

/* --- the snapshot of all metrics --- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static dbi_source registry; /* the ring's head */
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;

static void registry_hold(void) {
    (void)pthread_mutex_lock(&registry_lock);
}

static void registry_drop(void) {
    (void)pthread_mutex_unlock(&registry_lock);
}

/* A fork while another thread holds the lock would leave it held in the child for ever: so fork takes it, too. */
static void registry_init(void) {
    registry.next = registry.prev = &registry;
    (void)pthread_atfork(registry_hold, registry_drop, registry_drop);
}

void dbi_source_add(dbi_source *source, dbi_collect_fn collect, void *arg) {
    (void)pthread_once(&registry_once, registry_init);
    source->collect = collect;
    source->arg = arg;
    registry_hold();
    source->prev = registry.prev;
    source->next = &registry;
    source->prev->next = source->next->prev = source;
    registry_drop();
}

void dbi_source_remove(dbi_source *source) {
    registry_hold(); /* before the first look: a neighbour that comes or goes writes to this link */
    if (source->next != NULL) {
        source->prev->next = source->next;
        source->next->prev = source->prev;
        source->next = source->prev = NULL;
    }
    registry_drop();
}

dbi_rc dbi_snapshot_take(dbi_snapshot *snapshot, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    memset(snapshot, 0, sizeof *snapshot);
    (void)pthread_once(&registry_once, registry_init);
    registry_hold();
    for (const dbi_source *source = registry.next; source != &registry && rc == DBI_OK; source = source->next)
        rc = source->collect(source->arg, snapshot);
    registry_drop();
    if (rc != DBI_OK) {
        dbi_snapshot_reset(snapshot);
        return dbi_err_set(err, rc, "the metrics could not be copied: %s", dbi_rc_text(rc));
    }
    return DBI_OK;
}

static void metric_reset(dbi_metric *metric) {
    for (unsigned i = 0; i < metric->label_count; i++)
        dbi_free((char *)metric->labels[i].value); /* copied by snapshot_add */
    dbi_free(metric->histogram);
}

void dbi_snapshot_reset(dbi_snapshot *snapshot) {
    for (size_t i = 0; i < snapshot->count; i++)
        metric_reset(&snapshot->metrics[i]);
    dbi_free(snapshot->metrics);
    memset(snapshot, 0, sizeof *snapshot);
}

/* Appends a metric with its labels; NULL and *rc when that is not possible. */
static dbi_metric *snapshot_add(dbi_snapshot *snapshot, const char *name, dbi_metric_kind kind, const dbi_label *labels,
                                unsigned label_count, dbi_rc *rc) {
    dbi_metric *metric;

    *rc = label_count > DBI_LABELS_MAX ? DBI_EINVAL : DBI_ENOMEM;
    if (label_count > DBI_LABELS_MAX)
        return NULL;
    if (snapshot->count == snapshot->capacity) {
        size_t capacity = snapshot->capacity != 0 ? 2 * snapshot->capacity : 32;
        dbi_metric *grown = dbi_realloc(snapshot->metrics, capacity * sizeof *grown);

        if (grown == NULL)
            return NULL;
        snapshot->metrics = grown;
        snapshot->capacity = capacity;
    }
    metric = &snapshot->metrics[snapshot->count];
    memset(metric, 0, sizeof *metric);
    metric->name = name;
    metric->kind = kind;
    for (unsigned i = 0; i < label_count; i++) {
        metric->labels[i].name = labels[i].name;
        metric->labels[i].value = dbi_strdup(labels[i].value);
        metric->label_count++;
        if (metric->labels[i].value == NULL) {
            metric_reset(metric);
            return NULL;
        }
    }
    snapshot->count++;
    *rc = DBI_OK;
    return metric;
}

dbi_rc dbi_snapshot_add_counter(dbi_snapshot *snapshot, const char *name, const dbi_label *labels, unsigned label_count,
                                uint64_t value) {
    dbi_rc rc;
    dbi_metric *metric = snapshot_add(snapshot, name, DBI_COUNTER, labels, label_count, &rc);

    if (metric != NULL)
        metric->counter = value;
    return rc;
}

dbi_rc dbi_snapshot_add_gauge(dbi_snapshot *snapshot, const char *name, const dbi_label *labels, unsigned label_count,
                              double value) {
    dbi_rc rc;
    dbi_metric *metric = snapshot_add(snapshot, name, DBI_GAUGE, labels, label_count, &rc);

    if (metric != NULL)
        metric->gauge = value;
    return rc;
}

dbi_rc dbi_snapshot_add_histogram(dbi_snapshot *snapshot, const char *name, const dbi_label *labels,
                                  unsigned label_count, const dbi_histogram *histogram) {
    dbi_histogram_view *view = dbi_malloc(sizeof *view);
    dbi_metric *metric;
    dbi_rc rc;

    if (view == NULL)
        return DBI_ENOMEM;
    metric = snapshot_add(snapshot, name, DBI_HISTOGRAM, labels, label_count, &rc);
    if (metric == NULL) {
        dbi_free(view);
        return rc;
    }
    dbi_histogram_read(histogram, view);
    metric->histogram = view;
    return DBI_OK;
}
