/* batch_int.h - how a poll fills a batch */
#ifndef DBI_BATCH_INT_H
#define DBI_BATCH_INT_H

#include "batch.h"

typedef struct dbi__part dbi__part;

struct dbi_batch {
    rd_kafka_topic_partition_list_t *ends;
    rd_kafka_topic_partition_list_t *assigned, *revoked; /* NULL = no rebalance */
    bool lost;
    size_t count, bytes;
    dbi__part **parts;
    size_t part_count, part_capacity;
};

DBI_NODISCARD dbi_rc dbi__batch_new(dbi_batch **batch, dbi_err *err);

/* Copies a message into the batch; when there is no memory for it the batch stays as it was. */
DBI_NODISCARD dbi_rc dbi__batch_add(dbi_batch *batch, const rd_kafka_message_t *message, dbi_err *err);

/* Gives back what was made ready for messages that did not come. */
void dbi__batch_trim(dbi_batch *batch);

#endif
