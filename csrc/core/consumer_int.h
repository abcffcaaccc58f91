/* consumer_int.h - what the consumer's files share */
#ifndef DBI_CONSUMER_INT_H
#define DBI_CONSUMER_INT_H

#include "consumer.h"
#include "kafka_int.h"

/* Messages are librdkafka's and must be gone before its client is: so every batch holds a reference. */
struct dbi_consumer {
    dbi_kafka kafka;
    atomic_int refs; /* the owner's and one per batch */
    atomic_uint_fast64_t messages, bytes; /* handed out in batches */
    atomic_bool lingers; /* ends on a thread of its own: asked to, or a commit waits for its answer */
    dbi_batch *filling;  /* the one that a poll fills now: a rebalance is noted there */
    rd_kafka_resp_err_t rebalance_error; /* an assignment that could not be taken */
};

struct dbi_batch {
    dbi_consumer *consumer;
    rd_kafka_topic_partition_list_t *ends;
    rd_kafka_topic_partition_list_t *assigned, *revoked; /* NULL = no rebalance */
    bool lost;
    size_t count, capacity, bytes;
    rd_kafka_message_t **messages;
};

/* Takes what a rebalance gives, and gives back what it takes. On the thread that polls or closes. */
void dbi__consumer_rebalance(dbi_consumer *consumer, rd_kafka_resp_err_t code,
                             rd_kafka_topic_partition_list_t *partitions);

/* Gives one reference back; the last one ends the client. @thread any */
void dbi__consumer_release(dbi_consumer *consumer);

#endif
