/* pool_metrics.c - what a pool counts, as a view and as a source of metrics */
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

const char *dbi_conn_close_label(dbi_conn_close why) {
    static const char *const labels[] = {
#define CLOSE_LABEL(name, label, text) label,
        DBI_CONN_CLOSE_MAP(CLOSE_LABEL)
#undef CLOSE_LABEL
    };
    return (unsigned)why < DBI_CONN_CLOSE_COUNT ? labels[why] : "unknown";
}

const char *dbi_conn_close_text(dbi_conn_close why) {
    static const char *const texts[] = {
#define CLOSE_TEXT(name, label, text) text,
        DBI_CONN_CLOSE_MAP(CLOSE_TEXT)
#undef CLOSE_TEXT
    };
    return (unsigned)why < DBI_CONN_CLOSE_COUNT ? texts[why] : "unknown";
}

/* All but the texts. Numbers that change together may be read apart: the registry's lock is held here, under which no
 * other is taken. */
static void pool_count(const dbi_pool *pool, dbi_pool_view *view) {
    view->min_size = pool->config.min_size;
    view->max_size = pool->config.max_size;
    view->idle = pool->counts[DBI__CONN_IDLE];
    view->used = pool->counts[DBI__CONN_USED];
    view->size = view->idle + view->used;
    view->opening = pool->opening;
    view->waiting = pool->waiting;
    view->utilization = 100.0 * (view->used + view->opening) / view->max_size;
    view->nearly_exhausted = pool->nearly_exhausted;
    view->closed = pool->closed;
#define COUNTER_READ(counter) view->counter = pool->counter;
    DBI__POOL_COUNTER_MAP(COUNTER_READ)
#undef COUNTER_READ
    for (int i = 0; i < DBI_CONN_CLOSE_COUNT; i++)
        view->closes[i] = pool->closes[i];
    view->generation = pool->generation;
}

void dbi_pool_read(dbi_pool *pool, dbi_pool_view *view) {
    (void)pthread_mutex_lock(&pool->lock);
    pool_count(pool, view);
    memcpy(view->last_close, pool->last_close, sizeof view->last_close);
    view->last_error = pool->last_error;
    (void)pthread_mutex_unlock(&pool->lock);
}

dbi_rc dbi__pool_collect(void *arg, dbi_snapshot *snapshot) {
    const dbi_pool *pool = arg;
    dbi_label labels[] = {{"pool", pool->name}, {NULL, NULL}};
    dbi_pool_view view;
    dbi_rc rc;

    pool_count(pool, &view);
    const struct {
        const char *name;
        double value;
    } gauges[] = {
        {"dbint_pool_max_connections", view.max_size},
        {"dbint_pool_waiting", view.waiting},
        {"dbint_pool_utilization_ratio", view.utilization / 100},
    };
    const struct {
        const char *state;
        uint32_t value;
    } states[] = {{"idle", view.idle}, {"used", view.used}, {"opening", view.opening}};
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"dbint_pool_acquired_total", view.acquired},     {"dbint_pool_waits_total", view.waits},
        {"dbint_pool_timeouts_total", view.timeouts},     {"dbint_pool_refused_total", view.refused},
        {"dbint_pool_exhausted_total", view.exhausted},   {"dbint_pool_opened_total", view.opened},
        {"dbint_pool_open_errors_total", view.failed},    {"dbint_pool_checks_total", view.checks},
        {"dbint_pool_statements_total", view.statements},
    };

    rc = dbi_snapshot_add_histogram(snapshot, "dbint_pool_acquire_duration_seconds", labels, 1, pool->durations);
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges && rc == DBI_OK; i++)
        rc = dbi_snapshot_add_gauge(snapshot, gauges[i].name, labels, 1, gauges[i].value);
    for (size_t i = 0; i < sizeof counters / sizeof *counters && rc == DBI_OK; i++)
        rc = dbi_snapshot_add_counter(snapshot, counters[i].name, labels, 1, counters[i].value);
    labels[1].name = "state";
    for (size_t i = 0; i < sizeof states / sizeof *states && rc == DBI_OK; i++) {
        labels[1].value = states[i].state;
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_pool_connections", labels, 2, states[i].value);
    }
    labels[1].name = "reason";
    for (unsigned i = 0; i < DBI_CONN_CLOSE_COUNT && rc == DBI_OK; i++) {
        labels[1].value = dbi_conn_close_label((dbi_conn_close)i);
        rc = dbi_snapshot_add_counter(snapshot, "dbint_pool_closed_total", labels, 2, view.closes[i]);
    }
    return rc;
}
