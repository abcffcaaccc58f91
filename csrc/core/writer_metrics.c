/* writer_metrics.c - the writer's figures for the snapshot of all metrics
 *
 * The account of a stream may go back: what a server lost has not landed, what turns out to have been damaged before
 * was not recovered. A counter must not, or whoever scrapes it takes it for a process that began anew.
 */
#include <string.h>

#include "alloc.h"
#include "writer_int.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dbi_rc rc_ = (call);                                                                                           \
        if (rc_ != DBI_OK)                                                                                             \
            return rc_;                                                                                                \
    } while (0)

static dbi_rc stream_collect(const dbi_writer *writer, dbi__tally *tally, const dbi_stream_view *view,
                             dbi_snapshot *snapshot) {
    const dbi_label labels[3] = {{"writer", writer->name}, {"stream", view->name}, {"reason", "oldest"}};

    if (view->recovered > tally->recovered_shown)
        tally->recovered_shown = view->recovered;
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_accepted_total", labels, 2, view->accepted));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_recovered_total", labels, 2, tally->recovered_shown));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_landed_total", labels, 2,
                                 view->landed + view->landed_rewound));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_dead_total", labels, 2, view->dead + view->dead_rewound));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_rewound_total", labels, 2,
                                 view->landed_rewound + view->dead_rewound));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_dropped_total", labels, 3, view->dropped_oldest));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_damaged_total", labels, 2, view->damaged));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_lost_by_server_total", labels, 2, view->lost_by_server));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_rejected_total", labels, 2, view->rejected));
    TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_ambiguous_resolved_total", labels, 2,
                                 view->ambiguous_resolved));
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_journaled_rows", labels, 2, (double)view->journaled));
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_journaled_bytes", labels, 2, (double)view->journaled_bytes));
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_waiting", labels, 2, (double)view->waiting));
    return dbi_snapshot_add_gauge(snapshot, "dbint_writer_lag_seconds", labels, 2,
                                  view->oldest_ns > 0 ? (double)view->oldest_ns / (double)DBI_NS_PER_S : 0);
}

/* How many chains of the stream are in each state, and what errors their shippers met. */
static dbi_rc chains_collect(dbi__engine *engine, const dbi__tally *tally, dbi_snapshot *snapshot) {
    uint64_t states[DBI_SHIP_STATE_COUNT] = {0}, reactions[DBI_REACTION_COUNT];
    dbi_label labels[3] = {{"writer", engine->writer->name}, {"stream", tally->name}};
    dbi_ship_view ship;

    memcpy(reactions, tally->reactions, sizeof reactions);
    for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next) {
        if (duty->tally != tally)
            continue;
        dbi_shipper_view(duty->shipper, &ship);
        states[ship.state]++;
        for (int i = 0; i < DBI_REACTION_COUNT; i++)
            reactions[i] += ship.reactions[i];
    }
    labels[2].name = "state";
    for (int i = 0; i < DBI_SHIP_STATE_COUNT; i++) {
        labels[2].value = dbi_ship_state_text((dbi_ship_state)i);
        TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_chains", labels, 3, (double)states[i]));
    }
    labels[2].name = "reaction";
    for (int i = 0; i < DBI_REACTION_COUNT; i++) {
        labels[2].value = dbi_reaction_text((dbi_reaction)i);
        TRY(dbi_snapshot_add_counter(snapshot, "dbint_writer_failures_total", labels, 3, reactions[i]));
    }
    return DBI_OK;
}

static dbi_rc durations_collect(dbi__engine *engine, dbi_snapshot *snapshot) {
    const dbi_label label = {"writer", engine->writer->name};
    dbi_histogram *sum;
    dbi_rc rc;

    TRY(dbi_histogram_new(&sum, NULL));
    dbi_histogram_merge(sum, engine->gone_durations);
    for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
        dbi_histogram_merge(sum, dbi_shipper_durations(duty->shipper));
    rc = dbi_snapshot_add_histogram(snapshot, "dbint_writer_shipment_seconds", &label, 1, sum);
    dbi_histogram_free(sum);
    return rc;
}

static dbi_rc journal_collect(dbi__engine *engine, dbi_snapshot *snapshot) {
    const dbi_label label = {"writer", engine->writer->name};
    dbi_journal_view view;

    if (engine->journal == NULL)
        return DBI_OK;
    dbi_journal_view_get(engine->journal, &view);
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_journal_bytes", &label, 1, (double)view.bytes));
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_journal_max_bytes", &label, 1, (double)view.max_bytes));
    TRY(dbi_snapshot_add_gauge(snapshot, "dbint_writer_adopted_slots", &label, 1, (double)view.adopted));
    return dbi_snapshot_add_counter(snapshot, "dbint_writer_quarantined_total", &label, 1, view.quarantined);
}

dbi_rc dbi__writer_collect(void *arg, dbi_snapshot *snapshot) {
    dbi_writer *writer = arg;
    dbi__engine *engine = dbi__engine_lock(writer);
    dbi_rc rc;

    if (engine == NULL) /* a child that has taken nothing yet */
        return DBI_OK;
    rc = journal_collect(engine, snapshot);
    if (rc == DBI_OK)
        rc = durations_collect(engine, snapshot);
    for (dbi__tally *tally = engine->tallies; tally != NULL && rc == DBI_OK; tally = tally->next) {
        dbi_stream_view view;

        dbi__tally_view(engine, tally, &view);
        rc = stream_collect(writer, tally, &view, snapshot);
        if (rc == DBI_OK)
            rc = chains_collect(engine, tally, snapshot);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return rc;
}
