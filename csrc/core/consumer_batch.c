/* consumer_batch.c - reading messages in batches (see consumer.h) */
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "consumer_int.h"

#define BATCH_FIRST_CAPACITY 64

static dbi_rc batch_new(dbi_batch **batch_out, dbi_consumer *consumer, dbi_err *err) {
    dbi_batch *batch = dbi_calloc(1, sizeof *batch);

    *batch_out = batch;
    if (batch == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a batch of messages");
    batch->consumer = consumer;
    atomic_fetch_add(&consumer->refs, 1);
    batch->ends = rd_kafka_topic_partition_list_new(1);
    return DBI_OK;
}

void dbi_batch_free(dbi_batch *batch) {
    if (batch == NULL)
        return;
    if (!dbi_kafka_forked(&batch->consumer->kafka)) /* librdkafka's locks are not to be touched in a child */
        for (size_t i = 0; i < batch->count; i++)
            rd_kafka_message_destroy(batch->messages[i]);
    rd_kafka_topic_partition_list_destroy(batch->ends);
    if (batch->assigned != NULL)
        rd_kafka_topic_partition_list_destroy(batch->assigned);
    if (batch->revoked != NULL)
        rd_kafka_topic_partition_list_destroy(batch->revoked);
    dbi_free(batch->messages);
    dbi__consumer_release(batch->consumer);
    dbi_free(batch);
}

static bool batch_rebalanced(const dbi_batch *batch) {
    return batch->assigned != NULL || batch->revoked != NULL;
}

static bool batch_has_news(const dbi_batch *batch) {
    return batch->count > 0 || batch->ends->cnt > 0 || batch_rebalanced(batch);
}

/* Makes room for one more message. */
static dbi_rc batch_reserve(dbi_batch *batch, dbi_err *err) {
    size_t capacity = batch->capacity == 0 ? BATCH_FIRST_CAPACITY : batch->capacity * 2;
    rd_kafka_message_t **messages;

    if (batch->count < batch->capacity)
        return DBI_OK;
    if (capacity > SIZE_MAX / sizeof *messages ||
        (messages = dbi_realloc(batch->messages, capacity * sizeof *messages)) == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for %zu messages", capacity);
    batch->messages = messages;
    batch->capacity = capacity;
    return DBI_OK;
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
static dbi_rc batch_fill(dbi_batch *batch, size_t max_bytes, int wait_ms, bool *more, dbi_err *err) {
    rd_kafka_message_t *message;
    dbi_rc rc = batch_reserve(batch, err); /* before there is a message that could be lost */

    *more = false;
    if (rc != DBI_OK)
        return rc;
    message = rd_kafka_consumer_poll(batch->consumer->kafka.rk, wait_ms);
    if (message == NULL) {
        rd_kafka_resp_err_t code = batch->consumer->rebalance_error;

        batch->consumer->rebalance_error = RD_KAFKA_RESP_ERR_NO_ERROR;
        return code != RD_KAFKA_RESP_ERR_NO_ERROR ? dbi_kafka_err(err, code, "taking part in a rebalance") : DBI_OK;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = batch_error(batch, message, err);
        rd_kafka_message_destroy(message);
        return rc;
    }
    batch->messages[batch->count++] = message;
    batch->bytes += message->len + message->key_len;
    *more = (max_bytes == 0 || batch->bytes < max_bytes) && !batch_rebalanced(batch);
    return DBI_OK;
}

dbi_rc dbi_consumer_poll(dbi_consumer *consumer, size_t max_messages, size_t max_bytes, int64_t deadline,
                         dbi_batch **batch_out, dbi_err *err) {
    dbi_batch *batch = NULL;
    bool more;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    *batch_out = NULL;
    if (rc != DBI_OK)
        return rc;
    rc = batch_new(&batch, consumer, err);
    consumer->filling = batch;
    /* Wait for the first in slices, so that a close is seen and trouble is told before the deadline. */
    while (rc == DBI_OK && !batch_has_news(batch)) {
        int64_t slice = dbi_clock_deadline(NULL, DBI__KAFKA_SLICE);
        rc = batch_fill(batch, max_bytes, dbi__kafka_ms(deadline < slice ? deadline : slice), &more, err);
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
        rc = batch_fill(batch, max_bytes, 0, &more, err);
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
    if (rc != DBI_OK)
        dbi_batch_free(batch);
    else
        *batch_out = batch;
    return rc;
}

size_t dbi_batch_count(const dbi_batch *batch) {
    return batch->count;
}

size_t dbi_batch_bytes(const dbi_batch *batch) {
    return batch->bytes;
}

const rd_kafka_message_t *dbi_batch_message(const dbi_batch *batch, size_t index) {
    return index < batch->count ? batch->messages[index] : NULL;
}

const rd_kafka_topic_partition_list_t *dbi_batch_ends(const dbi_batch *batch) {
    return batch->ends;
}

const rd_kafka_topic_partition_list_t *dbi_batch_assigned(const dbi_batch *batch) {
    return batch->assigned;
}

const rd_kafka_topic_partition_list_t *dbi_batch_revoked(const dbi_batch *batch) {
    return batch->revoked;
}

bool dbi_batch_lost(const dbi_batch *batch) {
    return batch->lost;
}

/* Whether the offset stands in the list, which is walked along with the messages. */
static bool selection_lists(const dbi_selection *selection, int64_t offset, size_t *next) {
    while (*next < selection->count && selection->offsets[*next] < offset)
        (*next)++;
    return *next < selection->count && selection->offsets[*next] == offset;
}

const rd_kafka_message_t *dbi_batch_next(const dbi_batch *batch, const dbi_selection *selection, size_t *index,
                                         size_t *next) {
    while (*index < batch->count) {
        const rd_kafka_message_t *message = batch->messages[(*index)++];

        if (message->offset < selection->start || message->offset >= selection->end)
            continue;
        if (selection->topic != NULL && (message->partition != selection->partition ||
                                         strcmp(rd_kafka_topic_name(message->rkt), selection->topic) != 0))
            continue;
        if (selection->offsets == NULL || selection_lists(selection, message->offset, next) != selection->without)
            return message;
    }
    return NULL;
}

void dbi_batch_concat(const dbi_batch *batch, const dbi_selection *selection, const void *separator,
                      size_t separator_len, void *out, size_t *size) {
    const rd_kafka_message_t *message;
    size_t index = 0, next = 0;
    bool first = true;
    char *at = out;

    *size = 0;
    while ((message = dbi_batch_next(batch, selection, &index, &next)) != NULL) {
        if (message->payload == NULL)
            continue;
        if (!first) {
            if (at != NULL && separator_len > 0) {
                memcpy(at, separator, separator_len);
                at += separator_len;
            }
            *size += separator_len;
        }
        if (at != NULL && message->len > 0) {
            memcpy(at, message->payload, message->len);
            at += message->len;
        }
        *size += message->len;
        first = false;
    }
}
