/* consumer.c - see consumer.h */
#include "consumer.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "consumer_int.h"

_Static_assert(offsetof(dbi_consumer, kafka) == 0, "librdkafka's opaque is the client and the consumer");

/* -- life --------------------------------------------------------------------------------------------------------- */

static dbi_rc consumer_collect(void *arg, dbi_snapshot *snapshot) {
    const dbi_consumer *consumer = arg;
    dbi_label labels[DBI__KAFKA_LABELS];
    char number[24];
    dbi_rc rc;

    if (dbi_kafka_forked(&consumer->kafka)) /* the parent shows them */
        return DBI_OK;
    dbi__kafka_labels(&consumer->kafka, labels, number);
    rc = dbi_snapshot_add_counter(snapshot, "dbint_kafka_consumer_read_messages_total", labels, DBI__KAFKA_LABELS,
                                  atomic_load_explicit(&consumer->messages, memory_order_relaxed));
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_kafka_consumer_read_bytes_total", labels, DBI__KAFKA_LABELS,
                                      atomic_load_explicit(&consumer->bytes, memory_order_relaxed));
    return rc;
}

static void rebalance_note(rd_kafka_topic_partition_list_t **list, const rd_kafka_topic_partition_list_t *partitions) {
    if (*list == NULL)
        *list = rd_kafka_topic_partition_list_new(partitions->cnt);
    for (int i = 0; i < partitions->cnt; i++)
        (void)rd_kafka_topic_partition_list_add(*list, partitions->elems[i].topic, partitions->elems[i].partition);
}

void dbi__consumer_rebalance(dbi_consumer *consumer, rd_kafka_resp_err_t code,
                             rd_kafka_topic_partition_list_t *partitions) {
    rd_kafka_t *rk = consumer->kafka.rk;
    dbi_batch *batch = consumer->filling;
    const char *protocol = rd_kafka_rebalance_protocol(rk);
    bool by_parts = protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;
    bool is_assign = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    bool is_known = is_assign || code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;
    bool lost = rd_kafka_assignment_lost(rk);

    if (is_known && by_parts) {
        rd_kafka_error_t *error =
            is_assign ? rd_kafka_incremental_assign(rk, partitions) : rd_kafka_incremental_unassign(rk, partitions);

        code = error != NULL ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
        if (error != NULL)
            rd_kafka_error_destroy(error);
    } else { /* what is neither is a rebalance that failed: nothing is assigned then */
        code = rd_kafka_assign(rk, is_assign ? partitions : NULL);
    }
    consumer->rebalance_error = code;
    rd_kafka_yield(rk); /* one rebalance a batch, or what was given could not be told from what was taken after it */
    if (batch == NULL || !is_known)
        return;
    if (!is_assign)
        batch->lost |= lost;
    rebalance_note(is_assign ? &batch->assigned : &batch->revoked, partitions);
}

static void consumer_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                                  rd_kafka_topic_partition_list_t *partitions, void *opaque) {
    (void)rk;
    dbi__consumer_rebalance(opaque, code, partitions); /* `kafka`, which the opaque is, begins the consumer */
}

dbi_rc dbi_consumer_new(dbi_consumer **consumer_out, const dbi_kafka_property *properties, size_t count,
                        dbi_err *err) {
    static const dbi_kafka_property defaults[] = {
        {"enable.auto.commit", "false"}, {"enable.auto.offset.store", "false"}, {"enable.partition.eof", "true"}};
    dbi_consumer *consumer = dbi_calloc(1, sizeof *consumer);
    dbi_rc rc;

    *consumer_out = NULL;
    if (consumer == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a Kafka consumer");
    rc = dbi__kafka_init(&consumer->kafka, RD_KAFKA_CONSUMER, defaults, sizeof defaults / sizeof *defaults,
                         properties, count, 0, err);
    if (rc != DBI_OK) {
        dbi_consumer_free(consumer);
        return rc;
    }
    rd_kafka_conf_set_rebalance_cb(consumer->kafka.conf, consumer_on_rebalance);
    dbi_source_add(&consumer->kafka.source, consumer_collect, consumer);
    *consumer_out = consumer;
    return DBI_OK;
}

static void *consumer_destroy(void *arg) {
    dbi_consumer *consumer = arg;

    if (consumer->kafka.rk != NULL && !dbi_kafka_forked(&consumer->kafka)) {
        rd_kafka_queue_destroy(consumer->kafka.events);
        /* Closed properly by dbi_consumer_close, or its owner did not care: no waiting for the group here. */
        rd_kafka_destroy_flags(consumer->kafka.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    dbi__kafka_reset(&consumer->kafka);
    dbi_free(consumer);
    return NULL;
}

void dbi_consumer_free(dbi_consumer *consumer) {
    sigset_t all, before;
    pthread_t thread;
    int sys;

    if (consumer == NULL)
        return;
    atomic_store(&consumer->kafka.state, DBI__KAFKA_CLOSED);
    if (!atomic_load(&consumer->lingers) || consumer->kafka.rk == NULL || dbi_kafka_forked(&consumer->kafka)) {
        (void)consumer_destroy(consumer);
        return;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    sys = pthread_create(&thread, NULL, consumer_destroy, consumer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys == 0)
        (void)pthread_detach(thread);
    else
        (void)consumer_destroy(consumer);
}

void dbi_consumer_set_lingering(dbi_consumer *consumer) {
    atomic_store(&consumer->lingers, true);
}

dbi_kafka *dbi_consumer_kafka(dbi_consumer *consumer) {
    return &consumer->kafka;
}

bool dbi_consumer_closed(const dbi_consumer *consumer) {
    return atomic_load(&consumer->kafka.state) == DBI__KAFKA_CLOSED;
}

dbi_rc dbi_consumer_close(dbi_consumer *consumer, dbi_err *err) {
    dbi__slices slices = {
        .kafka = &consumer->kafka, .deadline = DBI_FOREVER, .length = DBI__KAFKA_SLICE, .closing = true};
    rd_kafka_queue_t *queue;
    bool was_open;
    dbi_rc rc = dbi__kafka_begin_close(&consumer->kafka, &was_open, err);

    if (rc != DBI_OK || !was_open)
        return rc;
    queue = rd_kafka_queue_new(consumer->kafka.rk);
    rc = dbi__kafka_error_take(err, rd_kafka_consumer_close_queue(consumer->kafka.rk, queue),
                               "leaving the consumer group");
    while (rc == DBI_OK && !rd_kafka_consumer_closed(consumer->kafka.rk)) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, dbi__slice_ms(&slices));

        if (event != NULL) {
            if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
                dbi__consumer_rebalance(consumer, rd_kafka_event_error(event),
                                        rd_kafka_event_topic_partition_list(event));
            rd_kafka_event_destroy(event);
        } else if (!rd_kafka_consumer_closed(consumer->kafka.rk)) {
            rc = dbi__slice_next(&slices, err);
        }
    }
    rd_kafka_queue_destroy(queue);
    return rc;
}

/* -- what is read ------------------------------------------------------------------------------------------------- */

dbi_rc dbi_consumer_subscribe(dbi_consumer *consumer, const char *const *topics, size_t count, dbi_err *err) {
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(consumer->kafka.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code == RD_KAFKA_RESP_ERR__UNKNOWN_GROUP)
        rc = dbi_err_set(err, DBI_ECONFIG, "subscribing needs a consumer group: set group.id");
    else if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi_kafka_err(err, code, "subscribing");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

/* The first partition that failed speaks for all. */
static rd_kafka_resp_err_t partitions_error(const rd_kafka_topic_partition_list_t *partitions) {
    for (int i = 0; partitions != NULL && i < partitions->cnt; i++)
        if (partitions->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return partitions->elems[i].err;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One call of librdkafka on a list of partitions. */
typedef rd_kafka_resp_err_t (*partitions_call)(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions);

static dbi_rc consumer_call(dbi_consumer *consumer, partitions_call call,
                            rd_kafka_topic_partition_list_t *partitions, const char *what, dbi_err *err) {
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    code = call(consumer->kafka.rk, partitions);
    dbi__kafka_serve(&consumer->kafka);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) /* some calls answer per partition */
        code = partitions_error(partitions);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi__kafka_fail(&consumer->kafka, err, code, what);
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

static rd_kafka_resp_err_t call_assign(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions) {
    return rd_kafka_assign(rk, partitions);
}

dbi_rc dbi_consumer_assign(dbi_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions, dbi_err *err) {
    rd_kafka_topic_partition_list_t *copy = rd_kafka_topic_partition_list_copy(partitions);
    dbi_rc rc = consumer_call(consumer, call_assign, copy, "assigning partitions", err);

    rd_kafka_topic_partition_list_destroy(copy);
    return rc;
}

static rd_kafka_resp_err_t call_unassign(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions) {
    rd_kafka_resp_err_t code = rd_kafka_unsubscribe(rk);

    (void)partitions;
    return code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : rd_kafka_assign(rk, NULL);
}

dbi_rc dbi_consumer_unassign(dbi_consumer *consumer, dbi_err *err) {
    return consumer_call(consumer, call_unassign, NULL, "giving the partitions back", err);
}

dbi_rc dbi_consumer_assignment(dbi_consumer *consumer, rd_kafka_topic_partition_list_t **partitions, dbi_err *err) {
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    *partitions = NULL;
    if (rc != DBI_OK)
        return rc;
    code = rd_kafka_assignment(consumer->kafka.rk, partitions);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi_kafka_err(err, code, "asking for the assignment");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

dbi_rc dbi_consumer_pause(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, dbi_err *err) {
    return consumer_call(consumer, rd_kafka_pause_partitions, partitions, "pausing partitions", err);
}

dbi_rc dbi_consumer_resume(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, dbi_err *err) {
    return consumer_call(consumer, rd_kafka_resume_partitions, partitions, "resuming partitions", err);
}

dbi_rc dbi_consumer_position(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, dbi_err *err) {
    return consumer_call(consumer, rd_kafka_position, partitions, "asking for the position", err);
}

dbi_rc dbi_consumer_commit(dbi_consumer *consumer, const rd_kafka_topic_partition_list_t *offsets, int64_t deadline,
                           dbi_err *err) {
    dbi__slices slices = {.kafka = &consumer->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE};
    rd_kafka_event_t *event = NULL;
    rd_kafka_queue_t *queue;
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    queue = rd_kafka_queue_new(consumer->kafka.rk);
    code = rd_kafka_commit_queue(consumer->kafka.rk, offsets, queue, NULL, NULL);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && (event = dbi__slice_poll(&slices, queue, &rc, err)) != NULL) {
        code = rd_kafka_event_error(event);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = partitions_error(rd_kafka_event_topic_partition_list(event));
        rd_kafka_event_destroy(event);
    } else if (code == RD_KAFKA_RESP_ERR_NO_ERROR && rc == DBI_OK) {
        rc = dbi_err_set(err, DBI_ETIMEOUT, "committing offsets: no answer before the deadline; they may be committed");
    }
    if (rc != DBI_OK)
        atomic_store(&consumer->lingers, true);
    rd_kafka_queue_destroy(queue);
    dbi__kafka_serve(&consumer->kafka);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi__kafka_fail(&consumer->kafka, err, code, "committing offsets");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

dbi_rc dbi_consumer_seek(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                         dbi_err *err) {
    rd_kafka_error_t *error;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    error = rd_kafka_seek_partitions(consumer->kafka.rk, partitions, dbi__kafka_ms(deadline));
    rc = dbi__kafka_error_take(err, error, "seeking");
    for (int i = 0; rc == DBI_OK && i < partitions->cnt; i++)
        if (partitions->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            rc = dbi_kafka_err(err, partitions->elems[i].err, "seeking in partition %d of topic \"%.200s\"",
                               (int)partitions->elems[i].partition, partitions->elems[i].topic);
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

dbi_rc dbi_consumer_committed(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                              dbi_err *err) {
    dbi__slices slices = {
        .kafka = &consumer->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE, .restarts = true};
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    do {
        code = rd_kafka_committed(consumer->kafka.rk, partitions, dbi__slice_ms(&slices));
        dbi__kafka_serve(&consumer->kafka);
    } while (dbi__slice_again(&slices, code, &rc, err));
    if (rc == DBI_OK && code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi__kafka_fail(&consumer->kafka, err, code, "asking for committed offsets");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

dbi_rc dbi_consumer_watermarks(dbi_consumer *consumer, const char *topic, int32_t partition, int64_t deadline,
                               int64_t *low, int64_t *high, dbi_err *err) {
    dbi__slices slices = {
        .kafka = &consumer->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE, .restarts = true};
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    *low = *high = RD_KAFKA_OFFSET_INVALID;
    if (rc != DBI_OK)
        return rc;
    do {
        code = rd_kafka_query_watermark_offsets(consumer->kafka.rk, topic, partition, low, high,
                                                dbi__slice_ms(&slices));
        dbi__kafka_serve(&consumer->kafka);
    } while (dbi__slice_again(&slices, code, &rc, err));
    if (rc == DBI_OK && code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi__kafka_fail(&consumer->kafka, err, code, "asking for the first and last offset");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}

dbi_rc dbi_consumer_group(dbi_consumer *consumer, rd_kafka_consumer_group_metadata_t **group, dbi_err *err) {
    dbi_rc rc = dbi__kafka_enter(&consumer->kafka, err);

    *group = NULL;
    if (rc != DBI_OK)
        return rc;
    *group = rd_kafka_consumer_group_metadata(consumer->kafka.rk);
    if (*group == NULL)
        rc = dbi_err_set(err, DBI_ESTATE, "the consumer has no group: set group.id");
    dbi__kafka_leave(&consumer->kafka);
    return rc;
}
