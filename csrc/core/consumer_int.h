/* consumer_int.h - what the consumer's files share */
#ifndef DBI_CONSUMER_INT_H
#define DBI_CONSUMER_INT_H

#include "batch_int.h"
#include "consumer.h"
#include "kafka_int.h"

struct dbi_consumer {
    dbi_kafka kafka;
    atomic_uint_fast64_t messages, bytes; /* handed out in batches */
    atomic_bool lingers; /* ends on a thread of its own: asked to, or a commit waits for its answer */
    dbi_batch *filling;  /* the one that a poll fills now: a rebalance is noted there */
    rd_kafka_resp_err_t rebalance_error; /* an assignment that could not be taken */
};

/* Takes what a rebalance gives, and gives back what it takes. On the thread that polls or closes. */
void dbi__consumer_rebalance(dbi_consumer *consumer, rd_kafka_resp_err_t code,
                             rd_kafka_topic_partition_list_t *partitions);

#endif
