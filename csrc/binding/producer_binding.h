/* producer_binding.h - delivery reports as Python sees them */
#ifndef DBI_PRODUCER_BINDING_H
#define DBI_PRODUCER_BINDING_H

#include "channel.h"
#include "kafka_client.h"
#include "producer.h"

/* The report as (topic, partition, offset, timestamp); topic is borrowed. */
PyObject *delivery_new(const dbi_state *state, PyObject *topic, const dbi_ticket *ticket);

/* The report of a message that was not delivered, as an error. */
void delivery_error(const dbi_ticket *ticket, dbi_err *err);

/* What a delivery report means to the future of its message. */
PyObject *delivery_outcome(channel_object *channel, const dbi_state *state, const dbi_letter *letter);

#endif
