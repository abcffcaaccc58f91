/* producer.h - a Kafka producer that accounts for every message.
 *
 * enqueue() hands a copy of the message to librdkafka and returns; one thread of ours consumes the delivery reports in
 * batches. At any time, and readable without stopping anybody:
 *
 *     accepted = delivered + failed + in_flight
 *
 * A message that is refused at the door (full queue, too large, unknown partition) was never accepted; it is counted
 * under `refused` or, where the policy says drop, under `dropped`.
 *
 * send() is enqueue() with a receipt: the report comes back as a ticket in a mailbox, which a thread can wait for and
 * an event loop can poll (it has a file descriptor, written once per batch).
 */
#ifndef DBI_PRODUCER_H
#define DBI_PRODUCER_H

#include "kafka.h"
#include "mailbox.h"

typedef struct dbi_producer dbi_producer;
typedef struct dbi_topic dbi_topic;

typedef enum dbi_when_full {
    DBI_WHEN_FULL_REFUSE, /* DBI_EFULL, counted as refused */
    DBI_WHEN_FULL_WAIT,   /* DBI_EFULL, not counted: the caller waits for room and tries again, or gives up */
    DBI_WHEN_FULL_DROP    /* the new message is dropped and counted; the call succeeds */
} dbi_when_full;

typedef struct dbi_producer_options {
    dbi_when_full when_full;
    int64_t require_topic_ns; /* > 0: a topic must exist; looked up on its first use, within this time */
} dbi_producer_options;

/* What to send. NULL key or value = Kafka's null; partition RD_KAFKA_PARTITION_UA = the partitioner chooses;
 * timestamp_ms 0 = now. All memory is the caller's and is copied. */
typedef struct dbi_message {
    const void *key, *value;
    size_t key_len, value_len;
    int32_t partition;
    int64_t timestamp_ms;
    const rd_kafka_headers_t *headers; /* copied; NULL = none */
} dbi_message;

/* A delivery report. `user` is what send() was given. Owned by whoever took it: dbi_letter_free. */
typedef struct dbi_ticket {
    dbi_letter letter; /* first: a mailbox gives out letters */
    const dbi_topic *topic;
    rd_kafka_resp_err_t error; /* 0 = delivered */
    bool fatal;                /* the producer has raised a fatal error */
    int32_t partition;         /* -1 = unknown */
    int64_t offset;            /* RD_KAFKA_OFFSET_INVALID = unknown (acks=0) */
    int64_t timestamp_ms;      /* -1 = unknown */
} dbi_ticket;

/* accepted = delivered + failed + in_flight; failed includes purged. */
typedef struct dbi_producer_counts {
    uint64_t accepted, delivered, failed, in_flight;
    uint64_t purged;  /* failed because purge() or close() gave them up */
    uint64_t refused; /* never accepted: an error was returned */
    uint64_t dropped; /* never accepted: full queue under DBI_WHEN_FULL_DROP */
    uint64_t accepted_bytes;
} dbi_producer_counts;

/* What enqueue refused and reports failed with, by code. */
typedef struct dbi_producer_reason {
    rd_kafka_resp_err_t code;
    uint64_t failed, refused;
} dbi_producer_reason;

/* Makes a producer; checks every property, starts nothing. Idempotence (and so acks=all) is the default.
 * DBI_ECONFIG names the property that is wrong and the nearest one that exists. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_new(dbi_producer **producer, const dbi_kafka_property *properties, size_t count,
                                      const dbi_producer_options *options, dbi_err *err);

/* Frees the producer. Messages still in flight are not waited for: a producer that was not closed goes on delivering
 * in the background until the last one is reported, and frees itself then. NULL is allowed. @thread owner */
void dbi_producer_free(dbi_producer *producer);

/* The client underneath (logs, statistics, credentials); lives as long as the producer. */
dbi_kafka *dbi_producer_kafka(dbi_producer *producer);

/* The topic of that name, made on first use; borrowed, valid while the producer lives. May wait for a broker when
 * topics are required to exist. @thread any @locks producer.topics */
DBI_NODISCARD dbi_rc dbi_producer_topic(dbi_producer *producer, const char *name, dbi_topic **topic, dbi_err *err);
const char *dbi_topic_name(const dbi_topic *topic);

/* Whether dbi_producer_topic would answer at once. @thread any @locks producer.topics */
bool dbi_producer_knows_topic(dbi_producer *producer, const char *name);

/* Hands the message over; never waits. DBI_EFULL, DBI_ETOOBIG, DBI_EKAFKA_*: refused and counted. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_enqueue(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                          dbi_err *err);

/* The same, with a report into the mailbox. On DBI_OK `user` comes back in exactly one ticket; otherwise it stays the
 * caller's. With DBI_WHEN_FULL_DROP a drop is DBI_EFULL here, for somebody waits for the answer. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_send(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                       dbi_mailbox *mailbox, void *user, dbi_err *err);

/* Counts one message as refused: its sender has waited for room long enough. @thread any */
void dbi_producer_gave_up(dbi_producer *producer);

/* Waits until the queue may have room again: a report came in, or the deadline passed. @thread any @locks kafka */
DBI_NODISCARD dbi_rc dbi_producer_wait_room(dbi_producer *producer, int64_t deadline, dbi_err *err);

/* Waits until nothing is in flight, without lingering. *left = messages in flight at the end (DBI_ETIMEOUT: > 0).
 * @thread any */
DBI_NODISCARD dbi_rc dbi_producer_flush(dbi_producer *producer, int64_t deadline, uint64_t *left, dbi_err *err);

/* Gives up what is queued and in flight; each message is reported as failed. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_purge(dbi_producer *producer, dbi_err *err);

/* Purges what is left after the caller's flush, waits for its reports, ends the thread and the client. Only the first
 * call does it. Every other call answers DBI_ECLOSED from then on. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_close(dbi_producer *producer, dbi_err *err);
bool dbi_producer_closed(const dbi_producer *producer);

/* Transactions. Each call waits until the deadline; DBI_ETIMEOUT may be repeated (init, commit and abort go on where
 * they were). DBI_EKAFKA_ABORT: abort and begin again; DBI_EKAFKA_FATAL: make a new producer. @thread one at a time */
DBI_NODISCARD dbi_rc dbi_producer_init_transactions(dbi_producer *producer, int64_t deadline, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_producer_begin_transaction(dbi_producer *producer, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_producer_commit_transaction(dbi_producer *producer, int64_t deadline, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_producer_abort_transaction(dbi_producer *producer, int64_t deadline, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_producer_send_offsets(dbi_producer *producer,
                                               const rd_kafka_topic_partition_list_t *offsets,
                                               const rd_kafka_consumer_group_metadata_t *group, int64_t deadline,
                                               dbi_err *err);

/* Counters now. @thread any @locks none */
void dbi_producer_counts_get(const dbi_producer *producer, dbi_producer_counts *counts);

/* The reasons with a count, up to `capacity`; returns how many there are. @thread any @locks none */
size_t dbi_producer_reasons(const dbi_producer *producer, dbi_producer_reason *reasons, size_t capacity);

#endif
