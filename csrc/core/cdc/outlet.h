/* outlet.h - where changes leave for Kafka, and how far they have arrived.
 *
 * An outlet is a producer with a memory of order: it knows which of the messages handed to it have been delivered, and
 * so up to where everything before has been. Messages and positions (of the source's log, or any other number that only
 * rises) go in, in order:
 *
 *     send m1   send m2   mark 100   send m3   mark 200
 *
 * confirmed() becomes 100 when m1 and m2 have been delivered, whatever m3 does, and 200 when m3 has been, too. A mark
 * with nothing outstanding before it counts at once.
 *
 * Undelivered messages are bounded in number and bytes (the window). When the window is full, send answers DBI_EFULL
 * and has taken nothing: the caller stops reading its source, waits for room, and sends the same message again.
 *
 * A message that cannot be delivered ends the outlet's work: the reason is the result of every call from then on, and
 * confirmed() never passes that message. dbi_outlet_reset makes a new producer and an empty window, for a caller that
 * begins again from confirmed(). While no broker can be reached nothing fails: messages wait (message.timeout.ms=0).
 *
 * One thread uses an outlet at a time (dbi_outlet_begin, dbi_outlet_end); what says "@thread any" may be called by
 * others meanwhile.
 */
#ifndef DBI_OUTLET_H
#define DBI_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "producer.h"

typedef struct dbi_outlet dbi_outlet;
typedef struct dbi_outlet_topic dbi_outlet_topic;

/* All is copied. */
typedef struct dbi_outlet_config {
    const dbi_kafka_property *properties; /* librdkafka's; before them come the outlet's own (outlet.c) */
    size_t property_count;
    size_t max_messages; /* the window: undelivered messages ... */
    size_t max_bytes;    /* ... and their keys and values; one message may exceed it, alone */
    int partitions;      /* of topics; one that exists with another number is an error. -1 = as it is, or the broker's
                            default */
    int replication;     /* of topics that are made; -1 = the broker's default */
    const dbi_kafka_property *topic_properties; /* of topics that are made, after cleanup.policy=delete */
    size_t topic_property_count;
} dbi_outlet_config;

/* 100,000 messages, 32 MiB, -1 and -1. */
void dbi_outlet_defaults(dbi_outlet_config *config);

/* Makes an outlet; checks every property, connects to nothing. @thread any */
DBI_NODISCARD dbi_rc dbi_outlet_new(dbi_outlet **outlet, const dbi_outlet_config *config, dbi_err *err);

/* Gives up what is undelivered, after the caller's dbi_outlet_wait. NULL is allowed. @thread owner */
void dbi_outlet_free(dbi_outlet *outlet);

/* The calling thread uses the outlet from now on: DBI_ESTATE when another does. @thread any */
DBI_NODISCARD dbi_rc dbi_outlet_begin(dbi_outlet *outlet, dbi_err *err);
void dbi_outlet_end(dbi_outlet *outlet);

/* The topic of that name, borrowed, valid as long as the outlet; it is looked up, and made where it is missing, when it
 * is asked for the first time. DBI_ECONFIG: it has another number of partitions than configured. @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_topic_get(dbi_outlet *outlet, const char *name, int64_t deadline,
                                          dbi_outlet_topic **topic, dbi_err *err);
const char *dbi_outlet_topic_name(const dbi_outlet_topic *topic);
int dbi_outlet_topic_partitions(const dbi_outlet_topic *topic);

/* Takes a message, which is copied (dbi_message: key, value, headers, partition or RD_KAFKA_PARTITION_UA).
 * `position` is that of a mark right behind it, 0 = none. DBI_EFULL: nothing was taken, wait for room. DBI_ETOOBIG:
 * larger than message.max.bytes; nothing was taken, the outlet works on. Anything else: see above. Never waits.
 * @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_send(dbi_outlet *outlet, dbi_outlet_topic *topic, const dbi_message *message,
                                     uint64_t position, dbi_err *err);

/* The same message into each partition of the topic: all or none. */
DBI_NODISCARD dbi_rc dbi_outlet_send_to_all(dbi_outlet *outlet, dbi_outlet_topic *topic,
                                            const dbi_message *message, uint64_t position, dbi_err *err);

/* Everything up to `position` has been handed over. @thread user */
void dbi_outlet_mark(dbi_outlet *outlet, uint64_t position);

/* Takes the delivery reports that have come; waits for nothing. DBI_OK, or why the outlet works no more.
 * @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_poll(dbi_outlet *outlet, dbi_err *err);

/* Becomes readable when reports have come, which dbi_outlet_poll then takes. */
int dbi_outlet_fd(const dbi_outlet *outlet);

/* Waits until the window is at most half full: DBI_OK; DBI_ETIMEOUT, or why the outlet works no more. @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_wait_room(dbi_outlet *outlet, int64_t deadline, dbi_err *err);

/* Waits until everything has been delivered, without lingering. @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_wait(dbi_outlet *outlet, int64_t deadline, dbi_err *err);

/* Everything up to here has been delivered; 0 = nothing was marked yet. Never falls. @thread any */
uint64_t dbi_outlet_confirmed(const dbi_outlet *outlet);

/* What the brokers say while messages wait for them: DBI_OK when nothing is wrong, DBI_EUNREACHABLE, DBI_EAUTH ...
 * @thread user */
dbi_rc dbi_outlet_trouble(const dbi_outlet *outlet, dbi_err *err);

/* Nothing is outstanding. @thread user */
bool dbi_outlet_idle(const dbi_outlet *outlet);

/* Gives up what is undelivered and begins anew with a new producer; topics are looked up again. confirmed() stays.
 * @thread user */
DBI_NODISCARD dbi_rc dbi_outlet_reset(dbi_outlet *outlet, dbi_err *err);

typedef struct dbi_outlet_counts {
    uint64_t sent, delivered;           /* messages; sent = delivered + undelivered + given up by a reset */
    uint64_t sent_bytes;                /* keys and values */
    uint64_t undelivered;               /* now */
    uint64_t undelivered_bytes;         /* now */
    uint64_t full;                      /* times that send found the window full */
    uint64_t resets;
} dbi_outlet_counts;

/* @thread any @locks none */
void dbi_outlet_counts_get(const dbi_outlet *outlet, dbi_outlet_counts *counts);

#endif
