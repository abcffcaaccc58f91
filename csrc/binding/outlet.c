/* outlet.c - _core.Outlet: where captures and snapshots send to, and how far that has arrived */
#include "outlet_type.h"

#include "kafka_client.h"

static bool read_size(const dbi_state *state, PyObject *value, const char *name, size_t *size) {
    int64_t number;

    if (value == NULL)
        return true;
    if (!dbi_arg_int(state, value, name, 1, INT64_MAX, &number))
        return false;
    *size = (size_t)number;
    return true;
}

static bool read_number(const dbi_state *state, PyObject *value, const char *name, int high, int *number) {
    int64_t given;

    if (value == NULL || value == Py_None)
        return true;
    if (!dbi_arg_int(state, value, name, 1, high, &given))
        return false;
    *number = (int)given;
    return true;
}

static PyObject *outlet_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"properties", "max_messages", "max_bytes", "partitions", "replication", "topic_properties",
                            NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *mapping, *messages = NULL, *bytes = NULL, *partitions = NULL, *replication = NULL, *topic = NULL;
    kafka_properties properties = {0}, topic_properties = {0};
    outlet_object *self = NULL;
    dbi_outlet_config config;
    dbi_err err;

    dbi_outlet_defaults(&config);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOOO:Outlet", names, &mapping, &messages, &bytes, &partitions,
                                     &replication, &topic) ||
        !read_size(state, messages, "max_messages", &config.max_messages) ||
        !read_size(state, bytes, "max_bytes", &config.max_bytes) ||
        !read_number(state, partitions, "partitions", 100000, &config.partitions) ||
        !read_number(state, replication, "replication", INT16_MAX, &config.replication) ||
        !kafka_properties_read(mapping, "properties", &properties))
        return NULL;
    if (topic != NULL && topic != Py_None && !kafka_properties_read(topic, "topic_properties", &topic_properties))
        goto done;
    config.properties = properties.items;
    config.property_count = properties.count;
    config.topic_properties = topic_properties.items;
    config.topic_property_count = topic_properties.count;
    self = (outlet_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto done;
    self->state = state;
    if (dbi_outlet_new(&self->outlet, &config, &err) != DBI_OK) {
        Py_CLEAR(self);
        (void)dbi_raise(state, &err);
    }
done:
    kafka_properties_reset(&properties);
    kafka_properties_reset(&topic_properties);
    return (PyObject *)self;
}

static int outlet_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void outlet_dealloc(outlet_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_BEGIN_ALLOW_THREADS
        dbi_outlet_free(self->outlet);
    Py_END_ALLOW_THREADS
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- topics --- */

PyDoc_STRVAR(ensure_topic_doc,
             "ensure_topic($self, name, timeout=30.0)\n--\n\n"
             "Look a topic up, make it where it is missing, and return the number of its partitions.\n\n"
             "Raises ConfigurationError for one that has another number of partitions than the outlet's.");

typedef struct topic_wait {
    dbi_outlet *outlet;
    const char *name;
    int partitions;
} topic_wait;

static dbi_rc ensure_topic(void *arg, int64_t deadline, dbi_err *err) {
    topic_wait *wait = arg;
    dbi_outlet_topic *topic;
    dbi_rc rc = dbi_outlet_topic_get(wait->outlet, wait->name, deadline, &topic, err);

    if (rc == DBI_OK)
        wait->partitions = dbi_outlet_topic_partitions(topic);
    return rc;
}

static PyObject *outlet_ensure_topic(outlet_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "ensure_topic", .required = 1, .positional = 2, .names = {"name", "timeout", NULL}};
    PyObject *values[2];
    int64_t timeout = 30 * DBI_NS_PER_S;
    topic_wait wait = {.outlet = self->outlet};
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        (wait.name = dbi_arg_text(self->state, values[0], "name", DBI_ERROR_CONFIGURATION)) == NULL ||
        (values[1] != NULL && !dbi_arg_seconds(self->state, values[1], "timeout", &timeout)))
        return NULL;
    if (dbi_outlet_begin(self->outlet, &err) != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_BEGIN_ALLOW_THREADS
        rc = ensure_topic(&wait, dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout), &err);
    Py_END_ALLOW_THREADS
    dbi_outlet_end(self->outlet);
    return rc == DBI_OK ? PyLong_FromLong(wait.partitions) : dbi_raise(self->state, &err);
}

/* --- looking --- */

PyDoc_STRVAR(counts_doc, "counts($self, /)\n--\n\n"
                         "What has been sent and delivered, and what is under way now, in messages and bytes.");

static PyObject *outlet_counts(outlet_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_outlet_counts counts;

    dbi_outlet_counts_get(self->outlet, &counts);
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "sent", (unsigned long long)counts.sent, "delivered",
                         (unsigned long long)counts.delivered, "sent_bytes", (unsigned long long)counts.sent_bytes,
                         "undelivered", (unsigned long long)counts.undelivered, "undelivered_bytes",
                         (unsigned long long)counts.undelivered_bytes, "full", (unsigned long long)counts.full,
                         "resets", (unsigned long long)counts.resets);
}

static PyObject *outlet_confirmed(outlet_object *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(dbi_outlet_confirmed(self->outlet));
}

static PyMethodDef outlet_methods[] = {
    {"counts", (PyCFunction)outlet_counts, METH_NOARGS, counts_doc},
    {"ensure_topic", (PyCFunction)(void *)outlet_ensure_topic, METH_FASTCALL | METH_KEYWORDS, ensure_topic_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef outlet_getset[] = {
    {"confirmed", (getter)outlet_confirmed, NULL, "The position up to which everything has been delivered; 0 = none.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot outlet_slots[] = {
    {Py_tp_doc, "Outlet(properties, *, max_messages=100000, max_bytes=33554432, partitions=None, replication=None, "
                "topic_properties=None)\n--\n\n"
                "A Kafka producer that knows up to where everything has been delivered. properties are librdkafka's;\n"
                "max_messages and max_bytes bound what is under way; partitions, replication and topic_properties are\n"
                "of the topics that it makes. One capture or snapshot uses it at a time."},
    {Py_tp_new, outlet_new},
    {Py_tp_dealloc, outlet_dealloc},
    {Py_tp_traverse, outlet_traverse},
    {Py_tp_methods, outlet_methods},
    {Py_tp_getset, outlet_getset},
    {0, NULL},
};

static PyType_Spec outlet_spec = {
    .name = "dbint._core.Outlet",
    .basicsize = sizeof(outlet_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = outlet_slots,
};

int dbi_add_outlet(PyObject *module, dbi_state *state) {
    state->outlet_type = dbi_type_add(module, &outlet_spec);
    return state->outlet_type != NULL ? 0 : -1;
}
