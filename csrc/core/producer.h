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
 *
 * With a journal behind it (producer_journal.h), enqueue() writes the message to disk and returns: it is delivered, in
 * order per key, by this process or by the next one that opens the journal, however long the brokers are away. Then
 *
 *     accepted + recovered = delivered + failed + journaled + dropped_oldest + damaged
 *
 * and in_flight is what is journaled: accepted and not yet reported on.
 */
#ifndef DBI_PRODUCER_H
#define DBI_PRODUCER_H

#include "journal.h"
#include "kafka.h"
#include "mailbox.h"

typedef struct dbi_producer dbi_producer;
typedef struct dbi_topic dbi_topic;

typedef enum dbi_when_full {
    DBI_WHEN_FULL_REFUSE, /* DBI_EFULL, counted as refused */
    DBI_WHEN_FULL_WAIT,   /* DBI_EFULL, not counted: the caller waits for room and tries again, or gives up */
    DBI_WHEN_FULL_DROP,   /* the new message is dropped and counted; the call succeeds */
    DBI_WHEN_FULL_DROP_OLDEST /* with a journal only: what has waited longest is dropped and counted */
} dbi_when_full;

#define DBI_PRODUCER_LANES_MAX 64

typedef struct dbi_producer_journal_config {
    dbi_journal_config journal; /* directory and cap; what has been delivered is not kept */
    uint32_t lanes;             /* 1; a key's messages are in one lane, lanes give up order among each other */
    dbi_durability durability;  /* PROCESS, INTERVAL or SYNC: what a message survives when enqueue() returns */
    int64_t sync_interval;      /* between two fsyncs; 100 ms */
    int64_t adopt_every;        /* how often the slots of dead processes are looked for; 5 s */
    uint32_t window;            /* messages of a lane on their way to the brokers, at most; 16384, a power of two */
    int64_t retry_min, retry_max; /* pauses between attempts where a topic is refused: 1 s to 30 s */
} dbi_producer_journal_config;

void dbi_producer_journal_defaults(dbi_producer_journal_config *config);

typedef struct dbi_producer_options {
    dbi_when_full when_full;
    int64_t require_topic_ns; /* > 0: a topic must exist; looked up on its first use, within this time */
    const dbi_producer_journal_config *journal; /* copied; NULL = none */
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
    rd_kafka_resp_err_t error; /* 0 = delivered; __INCONSISTENT: no broker has said so, it may be lost */
    bool fatal;                /* the producer has raised a fatal error */
    int32_t partition;         /* -1 = unknown */
    int64_t offset;            /* RD_KAFKA_OFFSET_INVALID = unknown (acks=0) */
    int64_t timestamp_ms;      /* -1 = unknown */
    bool journaled;            /* with an error: the message is in the journal still, and will be delivered */
} dbi_ticket;

/* accepted = delivered + failed + in_flight; failed includes purged. With a journal the line at the top of this file;
 * failed are the dead letters, and none is purged. */
typedef struct dbi_producer_counts {
    uint64_t accepted, delivered, failed, in_flight;
    uint64_t purged;  /* failed because purge() or close() gave them up */
    uint64_t refused; /* never accepted: an error was returned */
    uint64_t dropped; /* never accepted: full queue under DBI_WHEN_FULL_DROP */
    uint64_t accepted_bytes;
    uint64_t journaled;      /* with a journal: not yet delivered, those of dead processes that were taken over included */
    uint64_t recovered;      /* found in the journal, left by an earlier process or a dead neighbour */
    uint64_t dropped_oldest; /* under DBI_WHEN_FULL_DROP_OLDEST */
    uint64_t damaged;        /* unreadable, set aside in quarantine */
} dbi_producer_counts;

/* What enqueue refused and reports failed with, by code. */
typedef struct dbi_producer_reason {
    rd_kafka_resp_err_t code;
    uint64_t failed, refused;
} dbi_producer_reason;

/* Makes a producer; checks every property, starts nothing. Idempotence (and so acks=all) is the default. With a journal
 * it is required, message.timeout.ms is 0, and transactions are excluded. DBI_ECONFIG names the property that is wrong and the nearest one that exists. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_new(dbi_producer **producer, const dbi_kafka_property *properties, size_t count,
                                      const dbi_producer_options *options, dbi_err *err);

/* Frees the producer. Messages still in flight are not waited for: a producer that was not closed goes on delivering
 * in the background until the last one is reported, and frees itself then. NULL is allowed. @thread owner */
void dbi_producer_free(dbi_producer *producer);

/* Opens the client, and the journal: what an earlier process has left is sent from now on. The first message does the
 * same. Errors as of dbi_journal_open. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_start(dbi_producer *producer, dbi_err *err);

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

/* Waits until nothing is in flight, without lingering; with a journal, until all that it held at the time of the call
 * has been delivered or is dead. *left = messages in flight at the end (DBI_ETIMEOUT: > 0).
 * @thread any */
DBI_NODISCARD dbi_rc dbi_producer_flush(dbi_producer *producer, int64_t deadline, uint64_t *left, dbi_err *err);

/* Gives up what is queued and in flight; each message is reported as failed. DBI_ESTATE with a journal. @thread any */
DBI_NODISCARD dbi_rc dbi_producer_purge(dbi_producer *producer, dbi_err *err);

/* Purges what is left after the caller's flush, waits for its reports, ends the thread and the client; a journal keeps
 * what has not been delivered. Only the first call does it. Every other call answers DBI_ECLOSED from then on. @thread any */
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

/* What a producer's journal does at present. */
typedef enum dbi_producer_journal_state {
    DBI_PRODUCER_JOURNAL_CLOSED,  /* not opened yet, closed, or a parent process's */
    DBI_PRODUCER_JOURNAL_WAITING, /* no broker answers: `why` */
    DBI_PRODUCER_JOURNAL_RUNNING,
    DBI_PRODUCER_JOURNAL_SORTING, /* a message was refused: finding out which one of those sent together */
    DBI_PRODUCER_JOURNAL_HELD     /* `why`: the messages of a lane wait until it is repaired */
} dbi_producer_journal_state;

typedef struct dbi_producer_journal_view {
    dbi_producer_journal_state state;
    char why[512];            /* of HELD and WAITING: what is wrong, or was last; "" = nothing */
    dbi_journal_view journal; /* its directory is the producer's own text */
    int64_t oldest_wall_us;   /* about when the oldest message was taken; 0 = none waits */
    uint64_t resent;          /* messages handed over again: after one was refused, or the client was made anew */
    uint64_t renewed;         /* how often the client was made anew */
} dbi_producer_journal_view;

/* False where the producer has no journal. @thread any @locks the journal's */
bool dbi_producer_journal_view_get(dbi_producer *producer, dbi_producer_journal_view *view);

/* The reasons with a count, up to `capacity`; returns how many there are. @thread any @locks none */
size_t dbi_producer_reasons(const dbi_producer *producer, dbi_producer_reason *reasons, size_t capacity);

#endif
