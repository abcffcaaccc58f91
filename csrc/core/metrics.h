/* metrics.h - counters, latency histograms, and the one snapshot that shows them all.
 *
 * Recording takes no lock. Reading adds up what was recorded: exact for everything that happened before the read, and
 * never less than an earlier read.
 */
#ifndef DBI_METRICS_H
#define DBI_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* --- counters ---
 *
 * A set of up to DBI_COUNTERS_SIZE counters (one cache line) for each thread: a thread adds to a line that is its own,
 * by a plain load and store, so that counting costs a nanosecond and no cache line travels between processors. From the
 * 64th thread alive at one time on, threads share a line and add atomically: slower, as exact. 4 KiB a set. */
#define DBI_COUNTERS_SIZE 8u

typedef struct dbi_counters dbi_counters;

DBI_NODISCARD dbi_rc dbi_counters_new(dbi_counters **counters, dbi_err *err);
void dbi_counters_free(dbi_counters *counters);

/* @thread any @locks none. Not from a signal handler: it could lose the addition that it interrupts. */
void dbi_counters_add(dbi_counters *counters, unsigned which, uint64_t n);

/* The sum over all threads, those that have ended included. @thread any @locks none */
uint64_t dbi_counters_read(const dbi_counters *counters, unsigned which);

/* --- histograms ---
 *
 * Log-linear buckets as in HdrHistogram: 32 of equal width for each power of two, so that a bucket's upper bound is at
 * most 1/32 (3.2 %) above any value in it; values below 64 are exact. Values from DBI_HISTOGRAM_LIMIT (in ns: 4.9
 * hours) on share the last bucket; negative ones count as 0. 10 KiB a histogram. */
#define DBI_HISTOGRAM_LIMIT (INT64_C(1) << 44)

typedef struct dbi_histogram dbi_histogram;

DBI_NODISCARD dbi_rc dbi_histogram_new(dbi_histogram **histogram, dbi_err *err);
void dbi_histogram_free(dbi_histogram *histogram);

/* @thread any @locks none */
void dbi_histogram_record(dbi_histogram *histogram, int64_t value);

/* Adds what `from` holds to `into`. @thread any @locks none */
void dbi_histogram_merge(dbi_histogram *into, const dbi_histogram *from);

/* A copy at one time. It is a value: it need not be freed. `max` is 0 where count is. */
#define DBI_HISTOGRAM_BUCKETS 1280u

typedef struct dbi_histogram_view {
    uint64_t count;
    int64_t sum;
    int64_t max;
    uint64_t buckets[DBI_HISTOGRAM_BUCKETS];
} dbi_histogram_view;

void dbi_histogram_read(const dbi_histogram *histogram, dbi_histogram_view *view);

/* The largest value that bucket `index` takes (the last one's is DBI_HISTOGRAM_LIMIT - 1, though it takes all above).
 */
int64_t dbi_histogram_upper(unsigned index);

/* The value that `percent` (0 to 100) of the values do not exceed: never below the true one, at most 1/32 above it; 0
 * when there are none. */
int64_t dbi_histogram_percentile(const dbi_histogram_view *view, double percent);

/* --- the snapshot of all metrics ---
 *
 * What has metrics registers a source. Names follow Prometheus: dbint_<noun>_<what>_<unit>, counters end in _total. */
typedef enum dbi_metric_kind { DBI_COUNTER, DBI_GAUGE, DBI_HISTOGRAM } dbi_metric_kind;

typedef struct dbi_label {
    const char *name, *value;
} dbi_label;

#define DBI_LABELS_MAX 4u

typedef struct dbi_metric {
    const char *name;
    dbi_metric_kind kind;
    unsigned label_count;
    dbi_label labels[DBI_LABELS_MAX];
    uint64_t counter;              /* DBI_COUNTER */
    double gauge;                  /* DBI_GAUGE */
    dbi_histogram_view *histogram; /* DBI_HISTOGRAM: values in nanoseconds */
} dbi_metric;

typedef struct dbi_snapshot {
    dbi_metric *metrics;
    size_t count, capacity;
} dbi_snapshot;

/* Puts the source's metrics into the snapshot with the dbi_snapshot_add_ functions. Runs under the registry's lock: it
 * must not wait, and must not make or free a source. */
typedef dbi_rc (*dbi_collect_fn)(void *arg, dbi_snapshot *snapshot);

/* Embedded in what has the metrics; the registry links it. Zeroed = not registered. */
typedef struct dbi_source {
    dbi_collect_fn collect;
    void *arg;
    struct dbi_source *next, *prev;
} dbi_source;

/* @thread any @locks registry */
void dbi_source_add(dbi_source *source, dbi_collect_fn collect, void *arg);

/* After it, collect is not running and will not run. Does nothing to a source that is not registered.
 * @thread any @locks registry */
void dbi_source_remove(dbi_source *source);

/* The metrics of all sources. `snapshot` is overwritten and, on DBI_OK, to be reset. @thread any @locks registry */
DBI_NODISCARD dbi_rc dbi_snapshot_take(dbi_snapshot *snapshot, dbi_err *err);
void dbi_snapshot_reset(dbi_snapshot *snapshot);

/* For sources: name and the names of labels are string constants, values of labels are copied. DBI_ENOMEM, or
 * DBI_EINVAL for more than DBI_LABELS_MAX labels. */
DBI_NODISCARD dbi_rc dbi_snapshot_add_counter(dbi_snapshot *snapshot, const char *name, const dbi_label *labels,
                                              unsigned label_count, uint64_t value);
DBI_NODISCARD dbi_rc dbi_snapshot_add_gauge(dbi_snapshot *snapshot, const char *name, const dbi_label *labels,
                                            unsigned label_count, double value);
DBI_NODISCARD dbi_rc dbi_snapshot_add_histogram(dbi_snapshot *snapshot, const char *name, const dbi_label *labels,
                                                unsigned label_count, const dbi_histogram *histogram);

#endif
