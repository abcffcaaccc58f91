/* producer_txn.c - the producer's transactions (see producer.h)
 *
 * init, commit and abort go on in librdkafka's background when their time is up, and a repeated call takes them up
 * again: they are asked for in slices, so that a close or a signal is not kept waiting. At the end of a slice the answer
 * is a timeout, or the passing error that the last attempt met; both mean: go on.
 */
#include <time.h>

#include "clock.h"
#include "producer_int.h"

typedef rd_kafka_error_t *(*txn_call)(rd_kafka_t *rk, int timeout_ms);

/* After a slice that ended with *rc: whether another one follows. When not, *rc is the result of the whole call. */
static bool txn_goes_on(dbi__slices *slices, dbi_rc *rc, dbi_err *err) {
    dbi_rc next;

    if ((*rc != DBI_ETIMEOUT && *rc != DBI_EKAFKA_RETRIABLE) || dbi_clock_left(NULL, slices->deadline) == 0)
        return false;
    if (*rc == DBI_EKAFKA_RETRIABLE) /* it answered at once */
        (void)nanosleep(&(struct timespec){.tv_nsec = 20 * DBI_NS_PER_MS}, NULL);
    next = dbi__slice_next(slices, err);
    if (next != DBI_OK)
        *rc = next;
    return next == DBI_OK;
}

/* The end of each call. A fatal error is known at once, and not only when its event has been read. */
static dbi_rc txn_leave(dbi_producer *producer, dbi_rc rc) {
    if (rc == DBI_EKAFKA_FATAL)
        dbi__kafka_note_fatal(&producer->kafka);
    dbi__kafka_leave(&producer->kafka);
    return rc;
}

static dbi_rc txn_slices(dbi_producer *producer, txn_call call, const char *what, int64_t deadline, dbi_err *err) {
    dbi__slices slices = {.kafka = &producer->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE};
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    do
        rc = dbi__kafka_error_take(err, call(producer->kafka.rk, dbi__slice_ms(&slices)), what);
    while (txn_goes_on(&slices, &rc, err));
    return txn_leave(producer, rc);
}

dbi_rc dbi_producer_init_transactions(dbi_producer *producer, int64_t deadline, dbi_err *err) {
    return txn_slices(producer, rd_kafka_init_transactions, "starting transactions", deadline, err);
}

dbi_rc dbi_producer_commit_transaction(dbi_producer *producer, int64_t deadline, dbi_err *err) {
    return txn_slices(producer, rd_kafka_commit_transaction, "committing the transaction", deadline, err);
}

dbi_rc dbi_producer_abort_transaction(dbi_producer *producer, int64_t deadline, dbi_err *err) {
    return txn_slices(producer, rd_kafka_abort_transaction, "aborting the transaction", deadline, err);
}

dbi_rc dbi_producer_begin_transaction(dbi_producer *producer, dbi_err *err) {
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    rc = dbi__kafka_error_take(err, rd_kafka_begin_transaction(producer->kafka.rk), "beginning a transaction");
    return txn_leave(producer, rc);
}

dbi_rc dbi_producer_send_offsets(dbi_producer *producer, const rd_kafka_topic_partition_list_t *offsets,
                                 const rd_kafka_consumer_group_metadata_t *group, int64_t deadline, dbi_err *err) {
    /* Not resumable, but the same offsets may be added again. */
    dbi__slices slices = {
        .kafka = &producer->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE, .restarts = true};
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    do
        rc = dbi__kafka_error_take(
            err, rd_kafka_send_offsets_to_transaction(producer->kafka.rk, offsets, group, dbi__slice_ms(&slices)),
            "adding consumed offsets to the transaction");
    while (txn_goes_on(&slices, &rc, err));
    return txn_leave(producer, rc);
}
