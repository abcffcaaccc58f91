/* batch.h - messages that a consumer has read, copied out of librdkafka's memory.
 *
 * A message of librdkafka's takes some 400 bytes beside its contents, and while it lives so does the whole answer of the
 * broker in which it came, with what that held of other partitions. So a poll copies keys, values and headers and gives
 * the messages back. What came of one partition is a part, in memory of its own that is as large as its contents: a batch
 * can be split, and each part then goes when it is no longer needed.
 */
#ifndef DBI_BATCH_H
#define DBI_BATCH_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef struct dbi_batch dbi_batch;

/* A message. What it points to lives as long as its batch. */
typedef struct dbi_fetched {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp;        /* ms since 1970; -1 = none */
    const void *key, *value;  /* NULL = Kafka's null */
    size_t key_len, value_len;
    const uint8_t *headers; /* dbi_fetched_header reads them */
    size_t headers_len;
} dbi_fetched;

typedef struct dbi_header {
    const char *name;
    const void *value; /* NULL = Kafka's null */
    size_t value_len;
} dbi_header;

/* What a batch holds of one partition. */
typedef struct dbi_part {
    const char *topic;
    int32_t partition;
    int64_t first, last; /* offsets */
    size_t count, bytes; /* bytes of values */
} dbi_part;

/* NULL is allowed. @thread any, one at a time for one batch */
void dbi_batch_free(dbi_batch *batch);
size_t dbi_batch_count(const dbi_batch *batch);
size_t dbi_batch_bytes(const dbi_batch *batch);  /* of keys and values */
size_t dbi_batch_memory(const dbi_batch *batch); /* what it takes, in bytes */

/* The message at an index: by partition, in the order in which these first came, and within one in the order of reading.
 * False behind the last. */
bool dbi_batch_message(const dbi_batch *batch, size_t index, dbi_fetched *fetched);

/* Steps through a message's headers, *at being 0 at first; false behind the last. */
bool dbi_fetched_header(const dbi_fetched *fetched, size_t *at, dbi_header *header);

size_t dbi_batch_parts(const dbi_batch *batch);
dbi_part dbi_batch_part(const dbi_batch *batch, size_t index);

/* A batch of one part alone, which it shares with the one that is split. @thread any */
DBI_NODISCARD dbi_rc dbi_batch_split(const dbi_batch *batch, size_t index, dbi_batch **part, dbi_err *err);

/* The partitions whose end this batch reached: topic, partition, and in .offset the next offset. */
const rd_kafka_topic_partition_list_t *dbi_batch_ends(const dbi_batch *batch);

/* What a rebalance has given to this consumer and taken from it since the last batch; it came after the batch's messages.
 * NULL = nothing of the kind. Lost: the group took them without asking, and others may have them already. */
const rd_kafka_topic_partition_list_t *dbi_batch_assigned(const dbi_batch *batch);
const rd_kafka_topic_partition_list_t *dbi_batch_revoked(const dbi_batch *batch);
bool dbi_batch_lost(const dbi_batch *batch);

/* Which messages are meant. */
typedef struct dbi_selection {
    const char *topic; /* NULL = all */
    int32_t partition;
    int64_t start, end;     /* offsets: start <= offset < end */
    const int64_t *offsets; /* rising; NULL = all within start and end */
    size_t count;
    bool without; /* all but `offsets` */
} dbi_selection;

#define DBI_SELECT_ALL ((dbi_selection){.start = INT64_MIN, .end = INT64_MAX})

/* A place in a batch; all zero is before its first message. */
typedef struct dbi_cursor {
    size_t part, index, listed;
} dbi_cursor;

/* Steps to the next message that is meant; false behind the last. */
bool dbi_batch_next(const dbi_batch *batch, const dbi_selection *selection, dbi_cursor *cursor, dbi_fetched *fetched);

/* The values joined by the separator; null values (tombstones) are left out. The first call with out = NULL gives
 * *size, the second writes exactly that many bytes. */
void dbi_batch_concat(const dbi_batch *batch, const dbi_selection *selection, const void *separator,
                      size_t separator_len, void *out, size_t *size);

#endif
