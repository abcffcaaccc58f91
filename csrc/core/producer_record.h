/* producer_record.h - a Kafka message as a record of the journal (kind 2): its format is in journal.h */
#ifndef DBI_PRODUCER_RECORD_H
#define DBI_PRODUCER_RECORD_H

#include <stdbool.h>

#include "producer.h"

#define DBI__MESSAGE_FIXED 48u      /* bytes in front of the topic */
#define DBI__MESSAGE_ID "dbint.id"  /* the header that an event id is sent in */

/* A message read from a record: pointers into its body. */
typedef struct dbi__message_view {
    const char *topic; /* not ended by a NUL */
    size_t topic_length;
    const void *key, *value; /* NULL = Kafka's null */
    size_t key_length, value_length;
    int32_t partition; /* RD_KAFKA_PARTITION_UA = the partitioner chooses */
    int64_t timestamp_ms;
    uint8_t id[16]; /* zero = the message's own headers have one */
    uint32_t header_count;
    const uint8_t *headers; /* as they lie there */
    size_t headers_length;
} dbi__message_view;

/* How long the body is; 0 for a message that no record can hold. */
size_t dbi__message_size(const char *topic, const dbi_message *message);

/* Writes the body, dbi__message_size bytes. `timestamp_ms` and `id` stand for what the message does not say. */
void dbi__message_write(const char *topic, const dbi_message *message, int64_t timestamp_ms, const uint8_t id[16],
                        uint8_t *body);

/* Whether the message brings an event id of its own. */
bool dbi__message_has_id(const dbi_message *message);

/* False for a body that is not as the format says. */
bool dbi__message_read(const uint8_t *body, size_t length, dbi__message_view *view);

/* The next of the headers at `at`, which moves on; false at the end, or where they are not whole. `value` NULL = null. */
bool dbi__message_header(const uint8_t **at, const uint8_t *end, const char **name, size_t *name_length,
                         const void **value, size_t *value_length);

/* The message's headers for librdkafka, event id included; the caller's to destroy. NULL without memory. */
rd_kafka_headers_t *dbi__message_headers(const dbi__message_view *view);

/* Kafka's murmur2, as its Java clients' partitioner has it (sign bit not yet taken off). */
uint32_t dbi__murmur2(const void *bytes, size_t length);

#endif
