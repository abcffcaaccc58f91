/* test_metrics.c - counters that are exact among threads, histograms within their error, the snapshot of all */
#include "metrics.h"

#include <pthread.h>

#include "test.h"

/* --- counters --- */

typedef struct adder {
    dbi_counters *counters;
    unsigned rounds;
} adder;

static void *add_many(void *arg) {
    const adder *work = arg;

    for (unsigned i = 0; i < work->rounds; i++) {
        dbi_counters_add(work->counters, 0, 1);
        dbi_counters_add(work->counters, 7, 3);
    }
    return NULL;
}

TEST(counts_add_up) {
    dbi_counters *counters = NULL;

    TRY(dbi_counters_new(&counters, NULL));
    for (unsigned i = 0; i < DBI_COUNTERS_SIZE; i++)
        CHECK_INT(dbi_counters_read(counters, i), 0);
    dbi_counters_add(counters, 2, 5);
    dbi_counters_add(counters, 2, 1);
    CHECK_INT(dbi_counters_read(counters, 2), 6);
    CHECK_INT(dbi_counters_read(counters, 1), 0);
    CHECK_INT(dbi_counters_read(counters, 3), 0);
done:
    dbi_counters_free(counters);
}

/* more threads at one time than there are cells, so that the shared one is used, too */
TEST(counts_are_exact_among_more_threads_than_cells) {
    enum { THREADS = 90 };
    adder work = {NULL, 2000};
    pthread_t threads[THREADS];

    TRY(dbi_counters_new(&work.counters, NULL));
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, add_many, &work), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_INT(dbi_counters_read(work.counters, 0), THREADS * 2000);
    CHECK_INT(dbi_counters_read(work.counters, 7), THREADS * 2000 * 3);
done:
    dbi_counters_free(work.counters);
}

/* cells go from threads that ended to new ones: nothing may be lost at the hand-over */
TEST(counts_survive_the_end_of_threads) {
    adder work = {NULL, 10};

    TRY(dbi_counters_new(&work.counters, NULL));
    for (size_t i = 0; i < 300; i++) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, add_many, &work), 0);
        CHECK_INT(pthread_join(thread, NULL), 0);
    }
    CHECK_INT(dbi_counters_read(work.counters, 0), 3000);
done:
    dbi_counters_free(work.counters);
}

/* --- histograms --- */

TEST(buckets_cover_all_values_within_one_in_32) {
    int64_t lower = 0;

    for (unsigned i = 0; i < DBI_HISTOGRAM_BUCKETS; i++) {
        int64_t upper = dbi_histogram_upper(i);

        CHECK(upper >= lower);
        CHECK((upper - lower) * 32 <= upper);
        lower = upper + 1;
    }
    CHECK_INT(lower, DBI_HISTOGRAM_LIMIT);
}

TEST(values_fall_into_their_bucket) {
    static const int64_t values[] = {0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 1000, 999999937, DBI_HISTOGRAM_LIMIT - 1};
    dbi_histogram *histogram = NULL;
    dbi_histogram_view view;

    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        TRY(dbi_histogram_new(&histogram, NULL));
        dbi_histogram_record(histogram, values[v]);
        dbi_histogram_read(histogram, &view);
        for (unsigned i = 0; i < DBI_HISTOGRAM_BUCKETS; i++) {
            bool mine = values[v] <= dbi_histogram_upper(i) && (i == 0 || values[v] > dbi_histogram_upper(i - 1));
            CHECK_INT(view.buckets[i], mine);
        }
        dbi_histogram_free(histogram);
        histogram = NULL;
    }
done:
    dbi_histogram_free(histogram);
}

TEST(odd_values_are_clamped) {
    dbi_histogram *histogram = NULL;
    dbi_histogram_view view;

    TRY(dbi_histogram_new(&histogram, NULL));
    dbi_histogram_record(histogram, -5);
    dbi_histogram_record(histogram, INT64_C(1) << 60);
    dbi_histogram_read(histogram, &view);
    CHECK_INT(view.count, 2);
    CHECK_INT(view.buckets[0], 1);
    CHECK_INT(view.buckets[DBI_HISTOGRAM_BUCKETS - 1], 1);
    CHECK_INT(view.max, INT64_C(1) << 60);
    CHECK_INT(dbi_histogram_percentile(&view, 100), INT64_C(1) << 60);
done:
    dbi_histogram_free(histogram);
}

TEST(percentiles_are_within_the_stated_error) {
    enum { COUNT = 100000 };
    dbi_histogram *histogram = NULL;
    dbi_histogram_view view;
    static const double percents[] = {1, 25, 50, 90, 99, 99.9, 100};

    TRY(dbi_histogram_new(&histogram, NULL));
    dbi_histogram_read(histogram, &view);
    CHECK_INT(dbi_histogram_percentile(&view, 50), 0);
    for (int64_t i = 1; i <= COUNT; i++)
        dbi_histogram_record(histogram, i * 1000);
    dbi_histogram_read(histogram, &view);
    CHECK_INT(view.count, COUNT);
    CHECK_INT(view.max, COUNT * 1000);
    CHECK_INT(view.sum, INT64_C(1000) * COUNT * (COUNT + 1) / 2);
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        double exact = percents[i] / 100 * COUNT * 1000;
        CHECK_WITHIN(dbi_histogram_percentile(&view, percents[i]), exact, exact * (1 + 1.0 / 32));
    }
    CHECK_INT(dbi_histogram_percentile(&view, 0), dbi_histogram_percentile(&view, 0.0001));
done:
    dbi_histogram_free(histogram);
}

TEST(merge_adds) {
    dbi_histogram *one = NULL, *two = NULL;
    dbi_histogram_view view;

    TRY(dbi_histogram_new(&one, NULL));
    TRY(dbi_histogram_new(&two, NULL));
    dbi_histogram_record(one, 10);
    dbi_histogram_record(two, 10);
    dbi_histogram_record(two, 20);
    dbi_histogram_merge(one, two);
    dbi_histogram_read(one, &view);
    CHECK_INT(view.count, 3);
    CHECK_INT(view.sum, 40);
    CHECK_INT(view.max, 20);
    CHECK_INT(view.buckets[10], 2);
    CHECK_INT(view.buckets[20], 1);
    dbi_histogram_read(two, &view);
    CHECK_INT(view.count, 2);
done:
    dbi_histogram_free(one);
    dbi_histogram_free(two);
}

static void *record_many(void *histogram) {
    for (int64_t i = 0; i < 10000; i++)
        dbi_histogram_record(histogram, i);
    return NULL;
}

TEST(recording_is_exact_among_threads) {
    dbi_histogram *histogram = NULL;
    dbi_histogram_view view;
    pthread_t threads[4];

    TRY(dbi_histogram_new(&histogram, NULL));
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, record_many, histogram), 0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    dbi_histogram_read(histogram, &view);
    CHECK_INT(view.count, 40000);
    CHECK_INT(view.max, 9999);
    CHECK_INT(view.sum, 4 * INT64_C(9999) * 10000 / 2);
done:
    dbi_histogram_free(histogram);
}

/* --- the snapshot --- */

static dbi_rc collect_one(void *arg, dbi_snapshot *snapshot) {
    char volatile_name[8];
    dbi_label labels[] = {{"source", volatile_name}, {"outcome", "ok"}};

    /* the snapshot must not keep a pointer to the label's value */
    (void)snprintf(volatile_name, sizeof volatile_name, "%d", *(int *)arg);
    return dbi_snapshot_add_counter(snapshot, "dbint_test_calls_total", labels, 2, (uint64_t) * (int *)arg);
}

typedef struct holder {
    dbi_histogram *histogram;
} holder;

static dbi_rc collect_other(void *arg, dbi_snapshot *snapshot) {
    const holder *held = arg;
    dbi_rc rc = dbi_snapshot_add_gauge(snapshot, "dbint_test_state", NULL, 0, 0.5);

    return rc != DBI_OK ? rc : dbi_snapshot_add_histogram(snapshot, "dbint_test_seconds", NULL, 0, held->histogram);
}

TEST(the_snapshot_has_every_source) {
    int ones[] = {11, 22};
    dbi_source sources[3] = {0};
    holder held = {NULL};
    dbi_snapshot snapshot = {0};
    dbi_err err;

    TRY(dbi_histogram_new(&held.histogram, &err));
    dbi_histogram_record(held.histogram, 77);
    dbi_source_add(&sources[0], collect_one, &ones[0]);
    dbi_source_add(&sources[1], collect_other, &held);
    dbi_source_add(&sources[2], collect_one, &ones[1]);
    TRY(dbi_snapshot_take(&snapshot, &err));
    CHECK_INT(snapshot.count, 4);
    CHECK_STR(snapshot.metrics[0].name, "dbint_test_calls_total");
    CHECK_INT(snapshot.metrics[0].counter, 11);
    CHECK_STR(snapshot.metrics[0].labels[0].value, "11");
    CHECK_STR(snapshot.metrics[0].labels[1].name, "outcome");
    CHECK_INT(snapshot.metrics[1].kind, DBI_GAUGE);
    CHECK_WITHIN(snapshot.metrics[1].gauge, 0.5, 0.5);
    CHECK_INT(snapshot.metrics[2].kind, DBI_HISTOGRAM);
    CHECK_INT(snapshot.metrics[2].histogram->count, 1);
    CHECK_STR(snapshot.metrics[3].labels[0].value, "22");
    dbi_snapshot_reset(&snapshot);

    dbi_source_remove(&sources[1]);
    dbi_source_remove(&sources[1]);
    TRY(dbi_snapshot_take(&snapshot, &err));
    CHECK_INT(snapshot.count, 2);
done:
    dbi_snapshot_reset(&snapshot);
    for (size_t i = 0; i < 3; i++)
        dbi_source_remove(&sources[i]);
    dbi_histogram_free(held.histogram);
}

static dbi_rc collect_too_many_labels(void *arg, dbi_snapshot *snapshot) {
    static const dbi_label labels[DBI_LABELS_MAX + 1];

    (void)arg;
    return dbi_snapshot_add_counter(snapshot, "dbint_test_total", labels, DBI_LABELS_MAX + 1, 1);
}

TEST(too_many_labels_are_refused) {
    dbi_source source = {0};
    dbi_snapshot snapshot;
    dbi_err err;

    dbi_source_add(&source, collect_too_many_labels, NULL);
    CHECK_RC(dbi_snapshot_take(&snapshot, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "invalid argument");
    CHECK_INT(snapshot.count, 0);
    dbi_source_remove(&source);
}

static void *come_and_go(void *arg) {
    int number = 1;

    (void)arg;
    for (int i = 0; i < 500; i++) {
        dbi_source source = {0};
        dbi_source_add(&source, collect_one, &number);
        dbi_source_remove(&source);
    }
    return NULL;
}

TEST_WITH(sources_come_and_go_while_snapshots_are_taken, .unswept = "which allocation fails would be left to chance") {
    pthread_t threads[3];

    for (size_t i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
    for (int i = 0; i < 200; i++) {
        dbi_snapshot snapshot;
        CHECK_RC(dbi_snapshot_take(&snapshot, NULL), DBI_OK);
        CHECK(snapshot.count <= 3);
        dbi_snapshot_reset(&snapshot);
    }
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
}

TEST_MAIN()
