/* consumer_binding.h - what the consumer's files share */
#ifndef DBI_CONSUMER_BINDING_H
#define DBI_CONSUMER_BINDING_H

#include "consumer.h"
#include "kafka_client.h"

/* A batch as a Python object, which takes it; NULL with an exception set, the batch freed. */
PyObject *batch_new(dbi_state *state, dbi_batch *batch);

#endif
