/* admin.c - _core.Admin: the core's admin client for Python (dbint.kafka.KafkaAdmin is its front) */
#include "admin.h"
#include "alloc.h"
#include "kafka_client.h"

typedef struct admin_object {
    kafka_object base;
    dbi_admin *admin;
} admin_object;

static bool admin_ready(admin_object *self) {
    if (self->admin == NULL)
        (void)PyErr_SetString(PyExc_RuntimeError, "Admin.__init__() was not called");
    return self->admin != NULL;
}

static int admin_init(admin_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"properties", NULL};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    kafka_properties properties;
    PyObject *mapping;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O:Admin", names, &mapping))
        return -1;
    if (self->admin != NULL) {
        (void)PyErr_SetString(PyExc_RuntimeError, "Admin.__init__() was called twice");
        return -1;
    }
    if (!kafka_properties_read(mapping, "properties", &properties))
        return -1;
    rc = dbi_admin_new(&self->admin, properties.items, properties.count, &err);
    kafka_properties_reset(&properties);
    if (rc != DBI_OK) {
        (void)dbi_raise(state, &err);
        return -1;
    }
    kafka_client_ready(&self->base, dbi_admin_kafka(self->admin));
    return 0;
}

static int admin_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void admin_dealloc(PyObject *object) {
    admin_object *self = (admin_object *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    Py_BEGIN_ALLOW_THREADS
    dbi_admin_free(self->admin);
    Py_END_ALLOW_THREADS
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(create_topic_doc,
             "create_topic($self, topic, partitions=None, replication=None, configs=None, timeout=None)\n--\n\n"
             "Create a topic and wait until the cluster has it. None stands for the broker's default.\n\n"
             "configs maps topic properties ('retention.ms') to str. Raises KafkaError, with kafka_code 36 when\n"
             "the topic exists.");

static PyObject *admin_create_topic(admin_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "create_topic",
                                      .required = 1,
                                      .positional = 5,
                                      .names = {"topic", "partitions", "replication", "configs", "timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    int64_t partitions = -1, replication = -1, deadline;
    kafka_properties configs = {0};
    PyObject *values[5];
    const char *topic;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !admin_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (topic = dbi_arg_text(state, values[0], "topic", DBI_ERROR_CONFIGURATION)) == NULL ||
        (values[1] != NULL && values[1] != Py_None &&
         !dbi_arg_int(state, values[1], "partitions", 1, 100000, &partitions)) ||
        (values[2] != NULL && values[2] != Py_None &&
         !dbi_arg_int(state, values[2], "replication", 1, INT16_MAX, &replication)) ||
        !kafka_timeout(state, values[4], &deadline) ||
        (values[3] != NULL && values[3] != Py_None && !kafka_properties_read(values[3], "configs", &configs)))
        return NULL;
    kafka_wait_begin();
    rc = dbi_admin_create_topic(self->admin, topic, (int)partitions, (int)replication, configs.items, configs.count,
                                deadline, &err);
    kafka_wait_end();
    kafka_properties_reset(&configs);
    if (rc != DBI_OK)
        return kafka_raise(state, self->base.kafka, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(delete_topic_doc, "delete_topic($self, topic, timeout=None)\n--\n\n"
                               "Delete a topic. Raises KafkaError, with kafka_code 3 when there is none.");

static PyObject *admin_delete_topic(admin_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "delete_topic", .required = 1, .positional = 2, .names = {"topic", "timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[2];
    const char *topic;
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !admin_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (topic = dbi_arg_text(state, values[0], "topic", DBI_ERROR_CONFIGURATION)) == NULL || !kafka_timeout(state, values[1], &deadline))
        return NULL;
    kafka_wait_begin();
    rc = dbi_admin_delete_topic(self->admin, topic, deadline, &err);
    kafka_wait_end();
    if (rc != DBI_OK)
        return kafka_raise(state, self->base.kafka, &err);
    Py_RETURN_NONE;
}

/* (partition, leader, replicas, in-sync replicas) */
static PyObject *partition_tuple(const struct rd_kafka_metadata_partition *partition) {
    return Py_BuildValue("(iiii)", (int)partition->id, (int)partition->leader, partition->replica_cnt,
                         partition->isr_cnt);
}

static PyObject *topic_tuple(const struct rd_kafka_metadata_topic *topic) {
    PyObject *partitions = PyList_New(topic->partition_cnt);

    for (int i = 0; partitions != NULL && i < topic->partition_cnt; i++) {
        PyObject *item = partition_tuple(&topic->partitions[i]);

        if (item == NULL)
            Py_CLEAR(partitions);
        else
            PyList_SET_ITEM(partitions, i, item);
    }
    return partitions != NULL ? Py_BuildValue("(siN)", topic->topic, (int)topic->err, partitions) : NULL;
}

static PyObject *metadata_tuple(const struct rd_kafka_metadata *metadata, const char *cluster_id, int controller) {
    PyObject *brokers = PyList_New(metadata->broker_cnt), *topics = PyList_New(metadata->topic_cnt);
    PyObject *item;

    for (int i = 0; brokers != NULL && i < metadata->broker_cnt; i++) {
        item = Py_BuildValue("(isi)", (int)metadata->brokers[i].id, metadata->brokers[i].host,
                             metadata->brokers[i].port);
        if (item == NULL)
            Py_CLEAR(brokers);
        else
            PyList_SET_ITEM(brokers, i, item);
    }
    for (int i = 0; topics != NULL && i < metadata->topic_cnt; i++) {
        item = topic_tuple(&metadata->topics[i]);
        if (item == NULL)
            Py_CLEAR(topics);
        else
            PyList_SET_ITEM(topics, i, item);
    }
    if (brokers == NULL || topics == NULL) {
        Py_XDECREF(brokers);
        Py_XDECREF(topics);
        return NULL;
    }
    return Py_BuildValue("(ziNN)", cluster_id, controller, brokers, topics);
}

PyDoc_STRVAR(describe_doc,
             "describe($self, topic=None, timeout=None, all_topics=False)\n--\n\n"
             "What the cluster consists of: (cluster id, controller's id, brokers, topics).\n\n"
             "brokers are (id, host, port). topics, the one named or all, are (name, error code, partitions), and\n"
             "partitions (id, leader's id, replicas, replicas in sync). -1 stands for unknown.");

static PyObject *admin_describe(admin_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "describe", .positional = 3, .names = {"topic", "timeout", "all_topics", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    const struct rd_kafka_metadata *metadata;
    const char *topic = NULL;
    char *cluster_id;
    int32_t controller = -1;
    PyObject *values[3], *result;
    int all_topics = 0;
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !admin_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != NULL && values[0] != Py_None && (topic = dbi_arg_text(state, values[0], "topic", DBI_ERROR_CONFIGURATION)) == NULL) ||
        !kafka_timeout(state, values[1], &deadline) ||
        (values[2] != NULL && (all_topics = PyObject_IsTrue(values[2])) < 0))
        return NULL;
    kafka_wait_begin();
    rc = dbi_admin_describe(self->admin, all_topics != 0, topic, deadline, &metadata, &cluster_id, &controller, &err);
    kafka_wait_end();
    if (rc != DBI_OK)
        return kafka_raise(state, self->base.kafka, &err);
    result = metadata_tuple(metadata, cluster_id, controller);
    rd_kafka_metadata_destroy(metadata);
    dbi_free(cluster_id);
    return result;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nEnd the client.");

static PyObject *admin_close(admin_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    if (!admin_ready(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = dbi_admin_close(self->admin, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK && rc != DBI_ECLOSED)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

static PyMethodDef admin_methods[] = {
    {"close", (PyCFunction)admin_close, METH_NOARGS, close_doc},
    {"create_topic", (PyCFunction)(void *)admin_create_topic, METH_FASTCALL | METH_KEYWORDS, create_topic_doc},
    {"delete_topic", (PyCFunction)(void *)admin_delete_topic, METH_FASTCALL | METH_KEYWORDS, delete_topic_doc},
    {"describe", (PyCFunction)(void *)admin_describe, METH_FASTCALL | METH_KEYWORDS, describe_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot admin_slots[] = {
    {Py_tp_doc, "Admin(properties)\n--\n\nThe core's Kafka admin client. properties maps librdkafka's names to str."},
    {Py_tp_init, admin_init},
    {Py_tp_dealloc, admin_dealloc},
    {Py_tp_traverse, admin_traverse},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_methods, admin_methods},
    {0, NULL},
};

static PyType_Spec admin_spec = {
    .name = "dbint._core.Admin",
    .basicsize = sizeof(admin_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = admin_slots,
};

int dbi_add_admin(PyObject *module, dbi_state *state) {
    state->admin_type = kafka_type_add(module, state, &admin_spec);
    return state->admin_type != NULL ? 0 : -1;
}
