/* kafka_client.h - what the Python types over the core's Kafka clients share */
#ifndef DBI_BINDING_KAFKA_H
#define DBI_BINDING_KAFKA_H

#include "binding.h"
#include "kafka.h"

/* The base type of Producer, Consumer and Admin. `kafka` is borrowed from the client of the subtype; NULL before
 * __init__. */
typedef struct kafka_object {
    PyObject_HEAD
    dbi_kafka *kafka;
} kafka_object;

/* Makes a type with KafkaClient as its base and adds it to the module. */
PyTypeObject *kafka_type_add(PyObject *module, dbi_state *state, PyType_Spec *spec);

/* Properties read from a mapping of str to str. The strings are borrowed from `pairs`. */
typedef struct kafka_properties {
    PyObject *pairs;
    dbi_kafka_property *items;
    size_t count;
} kafka_properties;

bool kafka_properties_read(PyObject *mapping, const char *name, kafka_properties *properties);
void kafka_properties_reset(kafka_properties *properties);

/* Reads a sequence of (topic, partition[, offset[, metadata]]); NULL with an exception set. */
rd_kafka_topic_partition_list_t *kafka_partitions_read(const dbi_state *state, PyObject *value, const char *name);

/* A list of (topic, partition, offset, metadata); offset and metadata are None where there is none. */
PyObject *kafka_partitions_list(const rd_kafka_topic_partition_list_t *partitions);

/* Stand around a call of the core that may wait for a broker: no GIL, and signals are looked at while it waits. A
 * handler that raises ends the wait with DBI_EINTR. */
void kafka_wait_begin(void);
void kafka_wait_end(void);

/* To be called when the client of the subtype has been made. */
void kafka_client_ready(kafka_object *self, dbi_kafka *kafka);

/* A time left out means forever. */
bool kafka_timeout(const dbi_state *state, PyObject *value, int64_t *deadline);

/* Raises err; for a deadline that passed, what the brokers said is raised in its place where there is something. */
PyObject *kafka_raise(const dbi_state *state, dbi_kafka *kafka, dbi_err *err);

/* The consumer's group, for a transaction's offsets; NULL with an exception set. */
rd_kafka_consumer_group_metadata_t *kafka_consumer_group(dbi_state *state, PyObject *consumer);

#endif
