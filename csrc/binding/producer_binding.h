/* producer_binding.h - the channel through which delivery reports reach one event loop
 *
 * A channel is a mailbox of the core and the loop that reads it: its descriptor is registered with the loop once, and
 * each wake-up resolves all futures whose reports have arrived. Every promised report holds a reference to the
 * producer, so that the producer outlives it; the channel itself holds none.
 */
#ifndef DBI_PRODUCER_BINDING_H
#define DBI_PRODUCER_BINDING_H

#include "kafka_client.h"
#include "producer.h"

typedef struct channel_object {
    PyObject_HEAD
    dbi_mailbox *mailbox;
    PyObject *loop;
    PyObject *create_future; /* loop.create_future */
    PyObject *set_result;    /* the method's name */
    PyObject *producer; /* borrowed: alive while reports are promised, and not used otherwise */
    const dbi_topic *topic; /* whose name topic_name is */
    PyObject *topic_name;
} channel_object;

/* A channel for that loop, registered with it; NULL with an exception set. */
channel_object *channel_new(dbi_state *state, PyObject *producer, PyObject *loop);

/* Hands the message over; a new reference to the loop's future, which its report resolves. NULL without an exception
 * and *err filled when the message was refused. */
PyObject *channel_send(channel_object *channel, dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                       dbi_err *err);

/* The loop is closed: lets go of the futures of reports that have arrived. True when none is to come any more. */
bool channel_discard(channel_object *channel);

/* Asks the loop, from any thread, to take what has arrived and to stop reading. */
void channel_detach(channel_object *channel);

/* The report as (topic, partition, offset, timestamp); topic is borrowed. */
PyObject *delivery_new(const dbi_state *state, PyObject *topic, const dbi_ticket *ticket);

/* The report of a message that was not delivered, as an error. */
void delivery_error(const dbi_ticket *ticket, dbi_err *err);

#endif
