/* consumer.c - _core.Consumer: the core's consumer for Python (dbint.kafka.KafkaConsumer is its front) */
#include "consumer_binding.h"

typedef struct consumer_object {
    kafka_object base;
    dbi_consumer *consumer;
} consumer_object;

static bool consumer_ready(consumer_object *self) {
    if (self->consumer == NULL)
        (void)PyErr_SetString(PyExc_RuntimeError, "Consumer.__init__() was not called");
    return self->consumer != NULL;
}

static int consumer_init(consumer_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"properties", NULL};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    kafka_properties properties;
    PyObject *mapping;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O:Consumer", names, &mapping))
        return -1;
    if (self->consumer != NULL) {
        (void)PyErr_SetString(PyExc_RuntimeError, "Consumer.__init__() was called twice");
        return -1;
    }
    if (!kafka_properties_read(mapping, "properties", &properties))
        return -1;
    rc = dbi_consumer_new(&self->consumer, properties.items, properties.count, &err);
    kafka_properties_reset(&properties);
    if (rc != DBI_OK) {
        (void)dbi_raise(state, &err);
        return -1;
    }
    dbi_consumer_set_lingering(self->consumer); /* the garbage collector waits for nobody */
    kafka_client_ready(&self->base, dbi_consumer_kafka(self->consumer));
    return 0;
}

static int consumer_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void consumer_dealloc(PyObject *object) {
    consumer_object *self = (consumer_object *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    Py_BEGIN_ALLOW_THREADS
    dbi_consumer_free(self->consumer);
    Py_END_ALLOW_THREADS
    type->tp_free(object);
    Py_DECREF(type);
}

rd_kafka_consumer_group_metadata_t *kafka_consumer_group(dbi_state *state, PyObject *consumer) {
    rd_kafka_consumer_group_metadata_t *group = NULL;
    dbi_err err;

    if (!PyObject_TypeCheck(consumer, state->consumer_type)) {
        (void)PyErr_Format(PyExc_TypeError, "consumer must be a KafkaConsumer, not %s", Py_TYPE(consumer)->tp_name);
        return NULL;
    }
    if (!consumer_ready((consumer_object *)consumer))
        return NULL;
    if (dbi_consumer_group(((consumer_object *)consumer)->consumer, &group, &err) != DBI_OK)
        (void)dbi_raise(state, &err);
    return group;
}

PyDoc_STRVAR(subscribe_doc, "subscribe($self, topics, /)\n--\n\n"
                            "Take part in the group for these topics; a name that begins with ^ is a pattern.");

static PyObject *consumer_subscribe(consumer_object *self, PyObject *topics) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *items;
    const char **names;
    Py_ssize_t count, read = 0;
    dbi_err err;
    dbi_rc rc = DBI_OK;

    if (state == NULL || !consumer_ready(self))
        return NULL;
    if (PyUnicode_Check(topics)) {
        (void)PyErr_SetString(PyExc_TypeError, "topics must be a sequence of names, not one str");
        return NULL;
    }
    items = PySequence_Fast(topics, "topics must be a sequence of names");
    if (items == NULL)
        return NULL;
    count = PySequence_Fast_GET_SIZE(items);
    names = PyMem_Calloc((size_t)count + 1, sizeof *names);
    if (names == NULL)
        (void)PyErr_NoMemory();
    while (names != NULL && read < count &&
           (names[read] = dbi_arg_text(state, PySequence_Fast_GET_ITEM(items, read), "topic", DBI_ERROR_CONFIGURATION)) != NULL)
        read++;
    if (names != NULL && read == count) {
        Py_BEGIN_ALLOW_THREADS
        rc = dbi_consumer_subscribe(self->consumer, names, (size_t)count, &err);
        Py_END_ALLOW_THREADS
        if (rc != DBI_OK)
            (void)dbi_raise(state, &err);
    }
    PyMem_Free(names);
    Py_DECREF(items);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* A call on a list of partitions; `answer` = the list comes back changed. */
typedef dbi_rc (*partitions_fn)(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                                int64_t deadline, dbi_err *err);

static PyObject *partitions_run(consumer_object *self, partitions_fn call, PyObject *value, PyObject *timeout,
                                bool answer) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    rd_kafka_topic_partition_list_t *partitions;
    PyObject *result = NULL;
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !consumer_ready(self) || !kafka_timeout(state, timeout, &deadline))
        return NULL;
    partitions = kafka_partitions_read(state, value, "partitions");
    if (partitions == NULL)
        return NULL;
    kafka_wait_begin();
    rc = call(self->consumer, partitions, deadline, &err);
    kafka_wait_end();
    if (rc != DBI_OK)
        (void)kafka_raise(state, self->base.kafka, &err);
    else
        result = answer ? kafka_partitions_list(partitions) : Py_NewRef(Py_None);
    rd_kafka_topic_partition_list_destroy(partitions);
    return result;
}

static PyObject *partitions_run_timed(consumer_object *self, partitions_fn call, const dbi_params *params,
                                      PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, bool answer) {
    PyObject *values[2];

    if (!dbi_parse(params, args, nargs, kwnames, values))
        return NULL;
    return partitions_run(self, call, values[0], values[1], answer);
}

static dbi_rc fn_assign(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                        dbi_err *err) {
    (void)deadline;
    return dbi_consumer_assign(consumer, partitions, err);
}

PyDoc_STRVAR(assign_doc, "assign($self, partitions, /)\n--\n\n"
                         "Read exactly these: (topic, partition[, offset]) each. Offset -2 is the beginning, -1 the end,\n"
                         "-1000 what the group has committed; None means what auto.offset.reset says.");

static PyObject *consumer_assign(consumer_object *self, PyObject *partitions) {
    return partitions_run(self, fn_assign, partitions, NULL, false);
}

static dbi_rc fn_pause(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                       dbi_err *err) {
    (void)deadline;
    return dbi_consumer_pause(consumer, partitions, err);
}

PyDoc_STRVAR(pause_doc, "pause($self, partitions, /)\n--\n\nRead no more from these until resume().");

static PyObject *consumer_pause(consumer_object *self, PyObject *partitions) {
    return partitions_run(self, fn_pause, partitions, NULL, false);
}

static dbi_rc fn_resume(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                        dbi_err *err) {
    (void)deadline;
    return dbi_consumer_resume(consumer, partitions, err);
}

PyDoc_STRVAR(resume_doc, "resume($self, partitions, /)\n--\n\nRead from these again.");

static PyObject *consumer_resume(consumer_object *self, PyObject *partitions) {
    return partitions_run(self, fn_resume, partitions, NULL, false);
}

static dbi_rc fn_position(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                          dbi_err *err) {
    (void)deadline;
    return dbi_consumer_position(consumer, partitions, err);
}

PyDoc_STRVAR(position_doc, "position($self, partitions, /)\n--\n\n"
                           "The same partitions with the offset that is read next; None before the first message.");

static PyObject *consumer_position(consumer_object *self, PyObject *partitions) {
    return partitions_run(self, fn_position, partitions, NULL, true);
}

static dbi_rc fn_commit(dbi_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int64_t deadline,
                        dbi_err *err) {
    return dbi_consumer_commit(consumer, partitions, deadline, err);
}

PyDoc_STRVAR(commit_doc, "commit($self, offsets, timeout=None)\n--\n\n"
                         "Commit (topic, partition, offset[, metadata]) each for the group, and wait for the answer.\n\n"
                         "The offset is the next one to be read. metadata is a str that committed() gives back. After\n"
                         "DeadlineError the offsets may be committed or not.");

static PyObject *consumer_commit(consumer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "commit", .required = 1, .positional = 2, .names = {"offsets", "timeout", NULL}};

    return partitions_run_timed(self, fn_commit, &params, args, nargs, kwnames, false);
}

PyDoc_STRVAR(committed_doc, "committed($self, partitions, timeout=None)\n--\n\n"
                            "The same partitions with the offset and metadata that the group has committed, or None.");

static PyObject *consumer_committed(consumer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
    static const dbi_params params = {
        .func = "committed", .required = 1, .positional = 2, .names = {"partitions", "timeout", NULL}};

    return partitions_run_timed(self, dbi_consumer_committed, &params, args, nargs, kwnames, true);
}

PyDoc_STRVAR(seek_doc, "seek($self, partitions, timeout=None)\n--\n\n"
                       "Go to (topic, partition, offset) each; they must be assigned.");

static PyObject *consumer_seek(consumer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "seek", .required = 1, .positional = 2, .names = {"partitions", "timeout", NULL}};

    return partitions_run_timed(self, dbi_consumer_seek, &params, args, nargs, kwnames, false);
}

PyDoc_STRVAR(unassign_doc, "unassign($self, /)\n--\n\nGive all partitions and subscriptions back.");

static PyObject *consumer_unassign(consumer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    if (!consumer_ready(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = dbi_consumer_unassign(self->consumer, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(assignment_doc, "assignment($self, /)\n--\n\nThe partitions that are assigned now.");

static PyObject *consumer_assignment(consumer_object *self, PyObject *Py_UNUSED(ignored)) {
    rd_kafka_topic_partition_list_t *partitions;
    PyObject *list;
    dbi_err err;

    if (!consumer_ready(self))
        return NULL;
    if (dbi_consumer_assignment(self->consumer, &partitions, &err) != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    list = kafka_partitions_list(partitions);
    rd_kafka_topic_partition_list_destroy(partitions);
    return list;
}

PyDoc_STRVAR(watermarks_doc, "watermarks($self, topic, partition, timeout=None)\n--\n\n"
                             "(first offset kept, offset after the last), asked of the broker.");

static PyObject *consumer_watermarks(consumer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames) {
    static const dbi_params params = {.func = "watermarks",
                                      .required = 2,
                                      .positional = 3,
                                      .names = {"topic", "partition", "timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    int64_t partition, deadline, low, high;
    PyObject *values[3];
    const char *topic;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !consumer_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (topic = dbi_arg_text(state, values[0], "topic", DBI_ERROR_CONFIGURATION)) == NULL ||
        !dbi_arg_int(state, values[1], "partition", 0, INT32_MAX, &partition) ||
        !kafka_timeout(state, values[2], &deadline))
        return NULL;
    kafka_wait_begin();
    rc = dbi_consumer_watermarks(self->consumer, topic, (int32_t)partition, deadline, &low, &high, &err);
    kafka_wait_end();
    if (rc != DBI_OK)
        return kafka_raise(state, self->base.kafka, &err);
    return Py_BuildValue("(LL)", (long long)low, (long long)high);
}

typedef struct poll_wait {
    dbi_consumer *consumer;
    size_t max_messages, max_bytes;
    dbi_batch *batch;
} poll_wait;

static dbi_rc poll_slice(void *arg, int64_t deadline, dbi_err *err) {
    poll_wait *wait = arg;
    dbi_rc rc = dbi_consumer_poll(wait->consumer, wait->max_messages, wait->max_bytes, deadline, &wait->batch, err);

    if (rc != DBI_OK || dbi_batch_count(wait->batch) > 0 || dbi_batch_ends(wait->batch)->cnt > 0 ||
        dbi_batch_assigned(wait->batch) != NULL || dbi_batch_revoked(wait->batch) != NULL)
        return rc;
    if (dbi_clock_left(NULL, deadline) > 0)
        return DBI_OK;
    dbi_batch_free(wait->batch);
    wait->batch = NULL;
    return DBI_ETIMEOUT;
}

PyDoc_STRVAR(poll_batch_doc,
             "poll_batch($self, max_messages=500, max_bytes=0, timeout=1.0)\n--\n\n"
             "Wait up to timeout seconds for a first message, then take what is there at once.\n\n"
             "At most max_messages, and no more after max_bytes of keys and values (0: no limit). Returns a Batch,\n"
             "or None when nothing came; a Batch without messages says in .ends which partitions are read to\n"
             "their end, and in .assigned and .revoked what a rebalance changed. Raises UnreachableError and AuthenticationError once per trouble, KafkaError.");

static PyObject *consumer_poll_batch(consumer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames) {
    static const dbi_params params = {
        .func = "poll_batch", .positional = 3, .names = {"max_messages", "max_bytes", "timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    int64_t max_messages = 500, max_bytes = 0, deadline = dbi_clock_deadline(NULL, DBI_NS_PER_S);
    PyObject *values[3];
    poll_wait wait = {0};
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !consumer_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != NULL && !dbi_arg_int(state, values[0], "max_messages", 1, 10000000, &max_messages)) ||
        (values[1] != NULL && !dbi_arg_int(state, values[1], "max_bytes", 0, INT64_MAX, &max_bytes)) ||
        (values[2] != NULL && !kafka_timeout(state, values[2], &deadline)))
        return NULL;
    wait.consumer = self->consumer;
    wait.max_messages = (size_t)max_messages;
    wait.max_bytes = (size_t)max_bytes;
    rc = dbi_wait(poll_slice, &wait, deadline, &err);
    if (rc == DBI_ETIMEOUT)
        Py_RETURN_NONE;
    if (rc != DBI_OK)
        return dbi_raise(state, &err);
    return batch_new(state, wait.batch);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nLeave the group and end the client. Batches stay readable.");

static PyObject *consumer_close(consumer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    if (!consumer_ready(self))
        return NULL;
    kafka_wait_begin();
    rc = dbi_consumer_close(self->consumer, &err);
    kafka_wait_end();
    if (rc != DBI_OK && rc != DBI_ECLOSED)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

static PyObject *consumer_get_closed(consumer_object *self, void *Py_UNUSED(closure)) {
    return consumer_ready(self) ? PyBool_FromLong(dbi_consumer_closed(self->consumer)) : NULL;
}

#define FAST(name) {#name, (PyCFunction)(void *)consumer_##name, METH_FASTCALL | METH_KEYWORDS, name##_doc}
#define PLAIN(name, flags) {#name, (PyCFunction)consumer_##name, flags, name##_doc}

static PyMethodDef consumer_methods[] = {
    PLAIN(assign, METH_O),        PLAIN(assignment, METH_NOARGS), PLAIN(close, METH_NOARGS),
    FAST(commit),                 FAST(committed),                PLAIN(pause, METH_O),
    FAST(poll_batch),             PLAIN(position, METH_O),        PLAIN(resume, METH_O),
    FAST(seek),                   PLAIN(subscribe, METH_O),       PLAIN(unassign, METH_NOARGS),
    FAST(watermarks),             {NULL, NULL, 0, NULL},
};

static PyGetSetDef consumer_getset[] = {
    {"closed", (getter)consumer_get_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot consumer_slots[] = {
    {Py_tp_doc, "Consumer(properties)\n--\n\nThe core's Kafka consumer. properties maps librdkafka's names to str.\n\n"
                "Nothing is committed but by commit()."},
    {Py_tp_init, consumer_init},
    {Py_tp_dealloc, consumer_dealloc},
    {Py_tp_traverse, consumer_traverse},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_methods, consumer_methods},
    {Py_tp_getset, consumer_getset},
    {0, NULL},
};

static PyType_Spec consumer_spec = {
    .name = "dbint._core.Consumer",
    .basicsize = sizeof(consumer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = consumer_slots,
};

int dbi_add_consumer(PyObject *module, dbi_state *state) {
    state->consumer_type = kafka_type_add(module, state, &consumer_spec);
    return state->consumer_type != NULL ? 0 : -1;
}
