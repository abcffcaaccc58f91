/* consumer_batch.c - reading messages in batches (see consumer.h) */
#include "clock.h"
#include "consumer_int.h"

static bool batch_rebalanced(const dbi_batch *batch) {
    return batch->assigned != NULL || batch->revoked != NULL;
}

static bool batch_has_news(const dbi_batch *batch) {
    return batch->count > 0 || batch->ends->cnt > 0 || batch_rebalanced(batch);
}

/* An error in the place of a message: most are librdkafka's to cure and only noted by it. */
static dbi_rc batch_error(dbi_batch *batch, const rd_kafka_message_t *message, dbi_err *err) {
    const char *topic = message->rkt != NULL ? rd_kafka_topic_name(message->rkt) : NULL;
    dbi_rc rc;

    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        rd_kafka_topic_partition_list_add(batch->ends, topic, message->partition)->offset = message->offset;
        return DBI_OK;
    }
    switch (dbi_kafka_rc(message->err)) {
    case DBI_EKAFKA_RETRIABLE:
    case DBI_EUNREACHABLE:
        return DBI_OK;
    default:
        break;
    }
    rc = dbi_err_set(err, dbi_kafka_rc(message->err), "reading%s%.200s%s: %s", topic != NULL ? " topic \"" : "",
                     topic != NULL ? topic : "", topic != NULL ? "\"" : "", rd_kafka_message_errstr(message));
    if (err != NULL)
        err->kafka = message->err;
    return rc;
}

/* Takes one message that is there within wait_ms. *more = the batch may go on. */
static dbi_rc batch_fill(dbi_consumer *consumer, dbi_batch *batch, size_t max_bytes, int wait_ms, bool *more,
                         dbi_err *err) {
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->kafka.rk, wait_ms);
    dbi_rc rc;

    *more = false;
    if (message == NULL) {
        rd_kafka_resp_err_t code = consumer->rebalance_error;

        consumer->rebalance_error = RD_KAFKA_RESP_ERR_NO_ERROR;
        return code != RD_KAFKA_RESP_ERR_NO_ERROR ? dbi_kafka_err(err, code, "taking part in a rebalance") : DBI_OK;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = batch_error(batch, message, err);
    } else {
        rc = dbi__batch_add(batch, message, err);
        if (rc != DBI_OK) /* it is read again: what is behind it in librdkafka's queue is given up by this, too */
            (void)rd_kafka_seek(message->rkt, message->partition, message->offset, 0);
        else
            *more = (max_bytes == 0 || batch->bytes < max_bytes) && !batch_rebalanced(batch);
    }
    rd_kafka_message_destroy(message);
    return rc;
}

dbi_rc dbi_consumer_poll(dbi_consumer *consumer, size_t max_messages, size_t max_bytes, int64_t deadline,
                         dbi_batch **batch_out, dbi_err *err) {
    dbi_batch *batch = NULL;
    bool more;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    *batch_out = NULL;
    if (rc != DBI_OK)
        return rc;
    rc = dbi__batch_new(&batch, err);
    consumer->filling = batch;
    /* Wait for the first in slices, so that a close is seen and trouble is told before the deadline. */
    while (rc == DBI_OK && !batch_has_news(batch)) {
        int64_t slice = dbi_clock_deadline(NULL, DBI__KAFKA_SLICE);
        rc = batch_fill(consumer, batch, max_bytes, dbi__kafka_ms(deadline < slice ? deadline : slice), &more, err);
        dbi__kafka_serve(&consumer->kafka);
        if (rc != DBI_OK || batch_has_news(batch))
            break;
        if (dbi_consumer_closed(consumer))
            rc = dbi_err_set(err, DBI_ECLOSED, "the Kafka client is closed");
        else if ((rc = dbi_kafka_last_error(&consumer->kafka, err)) != DBI_OK)
            dbi__kafka_well(&consumer->kafka); /* told once: librdkafka goes on trying, and tells again */
        if (dbi_clock_left(NULL, deadline) == 0)
            break;
    }
    if (rc == DBI_OK && batch_has_news(batch))
        dbi__kafka_well(&consumer->kafka);
    more = batch != NULL && batch->count > 0 && (max_bytes == 0 || batch->bytes < max_bytes) &&
           !batch_rebalanced(batch);
    while (rc == DBI_OK && more && batch->count < max_messages)
        rc = batch_fill(consumer, batch, max_bytes, 0, &more, err);
    consumer->filling = NULL;
    /* What has been taken is not lost for an error that came after it: that one comes again. */
    if (rc != DBI_OK && batch != NULL && batch_has_news(batch)) {
        dbi_err_reset(err);
        rc = DBI_OK;
    }
    if (rc == DBI_OK) {
        atomic_fetch_add_explicit(&consumer->messages, batch->count, memory_order_relaxed);
        atomic_fetch_add_explicit(&consumer->bytes, batch->bytes, memory_order_relaxed);
    }
    dbi__kafka_leave(&consumer->kafka);
    if (rc != DBI_OK) {
        dbi_batch_free(batch);
        return rc;
    }
    dbi__batch_trim(batch);
    *batch_out = batch;
    return DBI_OK;
}
