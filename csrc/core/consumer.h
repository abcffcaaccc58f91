/* consumer.h - a Kafka consumer that hands out messages in batches (batch.h).
 *
 * Offsets are committed by the caller only: there is no automatic commit or store.
 */
#ifndef DBI_CONSUMER_H
#define DBI_CONSUMER_H

#include "batch.h"
#include "kafka.h"

typedef struct dbi_consumer dbi_consumer;

/* Makes a consumer; checks every property, starts nothing. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_new(dbi_consumer **consumer, const dbi_kafka_property *properties, size_t count,
                                      dbi_err *err);

/* Ends the client; batches stay. NULL is allowed. @thread owner */
void dbi_consumer_free(dbi_consumer *consumer);

/* Lets the client end on a thread of its own: librdkafka waits for its threads then, for long where an answer is out, and
 * without end where a topic that was read has been deleted (seen with 2.0.2). @thread owner */
void dbi_consumer_set_lingering(dbi_consumer *consumer);
dbi_kafka *dbi_consumer_kafka(dbi_consumer *consumer);

/* Takes part in the group (group.id) for these topics; "^…" is a pattern. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_subscribe(dbi_consumer *consumer, const char *const *topics, size_t count,
                                            dbi_err *err);

/* Reads exactly these partitions, from their .offset (a number or RD_KAFKA_OFFSET_*). @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_assign(dbi_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                                         dbi_err *err);
DBI_NODISCARD dbi_rc dbi_consumer_unassign(dbi_consumer *consumer, dbi_err *err);

/* What is assigned now; the caller's to destroy. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_assignment(dbi_consumer *consumer, rd_kafka_topic_partition_list_t **partitions,
                                             dbi_err *err);

/* Waits for the first message until the deadline, then takes what is there at once: up to max_messages, and up to
 * max_bytes of keys and values (0 = no limit; one message always fits). An empty batch is not an error; an end of
 * partition ends the batch, and so does a rebalance: it happens within this call and dbi_consumer_close alone, so between
 * two polls the assignment and the generation under which offsets are committed stay what they are, or commits fail.
 * *batch is the caller's: dbi_batch_free. @thread one at a time */
DBI_NODISCARD dbi_rc dbi_consumer_poll(dbi_consumer *consumer, size_t max_messages, size_t max_bytes,
                                       int64_t deadline, dbi_batch **batch, dbi_err *err);

/* Goes to each partition's .offset. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_seek(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                       int64_t deadline, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_consumer_pause(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                        dbi_err *err);
DBI_NODISCARD dbi_rc dbi_consumer_resume(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                         dbi_err *err);

/* Commits each partition's .offset (the next one to read) with its .metadata, and waits for the answer until the deadline:
 * after DBI_ETIMEOUT the offsets may be committed or not. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_commit(dbi_consumer *consumer, const rd_kafka_topic_partition_list_t *offsets,
                                         int64_t deadline, dbi_err *err);

/* Fills .offset (and .metadata) with what the group has committed; RD_KAFKA_OFFSET_INVALID = nothing. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_committed(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                            int64_t deadline, dbi_err *err);

/* Fills .offset with the next offset to be read. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_position(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                           dbi_err *err);

/* The first offset kept and the one after the last, asked of the broker. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_watermarks(dbi_consumer *consumer, const char *topic, int32_t partition,
                                             int64_t deadline, int64_t *low, int64_t *high, dbi_err *err);

/* The group's metadata for a transaction's offsets; the caller's to destroy. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_group(dbi_consumer *consumer, rd_kafka_consumer_group_metadata_t **group,
                                        dbi_err *err);

/* Leaves the group. Only the first call does it. @thread any */
DBI_NODISCARD dbi_rc dbi_consumer_close(dbi_consumer *consumer, dbi_err *err);
bool dbi_consumer_closed(const dbi_consumer *consumer);

#endif
