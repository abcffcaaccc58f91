/* kafka_client.c - _core.KafkaClient: what producer, consumer and admin client have in common */
#include "kafka_client.h"

#include "alloc.h"

/* -- arguments ---------------------------------------------------------------------------------------------------- */

void kafka_properties_reset(kafka_properties *properties) {
    PyMem_Free(properties->items);
    properties->items = NULL;
    Py_CLEAR(properties->pairs);
}

bool kafka_properties_read(PyObject *mapping, const char *name, kafka_properties *properties) {
    Py_ssize_t count;

    *properties = (kafka_properties){0};
    properties->pairs = PyMapping_Items(mapping);
    if (properties->pairs == NULL)
        return false;
    count = PyList_GET_SIZE(properties->pairs);
    properties->items = PyMem_Calloc((size_t)count + 1, sizeof *properties->items);
    if (properties->items == NULL) {
        (void)PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(properties->pairs, i);
        dbi_kafka_property *item = &properties->items[i];

        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0)) ||
            !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1))) {
            (void)PyErr_Format(PyExc_TypeError, "%s must map str to str", name);
            goto failed;
        }
        item->name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(pair, 0));
        item->value = PyUnicode_AsUTF8(PyTuple_GET_ITEM(pair, 1));
        if (item->name == NULL || item->value == NULL)
            goto failed;
    }
    properties->count = (size_t)count;
    return true;
failed:
    kafka_properties_reset(properties);
    return false;
}

static bool partition_read(const dbi_state *state, PyObject *item, const char *name,
                           rd_kafka_topic_partition_list_t *partitions) {
    PyObject *fields = PySequence_Fast(item, "each partition must be (topic, partition[, offset[, metadata]])");
    rd_kafka_topic_partition_t *partition;
    const char *topic, *metadata = NULL;
    int64_t number, offset = RD_KAFKA_OFFSET_INVALID;
    Py_ssize_t count;
    bool done = false;

    if (fields == NULL)
        return false;
    count = PySequence_Fast_GET_SIZE(fields);
    if (count < 2 || count > 4) {
        (void)PyErr_Format(PyExc_TypeError, "%s: each must be (topic, partition[, offset[, metadata]])", name);
        goto done;
    }
    topic = dbi_arg_text(state, PySequence_Fast_GET_ITEM(fields, 0), "topic", DBI_ERROR_CONFIGURATION);
    if (topic == NULL || !dbi_arg_int(state, PySequence_Fast_GET_ITEM(fields, 1), "partition", 0, INT32_MAX, &number))
        goto done;
    if (count > 2 && PySequence_Fast_GET_ITEM(fields, 2) != Py_None &&
        !dbi_arg_int(state, PySequence_Fast_GET_ITEM(fields, 2), "offset", RD_KAFKA_OFFSET_INVALID, INT64_MAX, &offset))
        goto done;
    if (count > 3 && PySequence_Fast_GET_ITEM(fields, 3) != Py_None) {
        metadata = dbi_arg_text(state, PySequence_Fast_GET_ITEM(fields, 3), "metadata", DBI_ERROR_CONFIGURATION);
        if (metadata == NULL)
            goto done;
    }
    partition = rd_kafka_topic_partition_list_add(partitions, topic, (int32_t)number);
    partition->offset = offset;
    if (metadata != NULL) {
        partition->metadata = strdup(metadata); /* librdkafka's to free */
        if (partition->metadata == NULL) {
            (void)PyErr_NoMemory();
            goto done;
        }
        partition->metadata_size = strlen(metadata);
    }
    done = true;
done:
    Py_DECREF(fields);
    return done;
}

rd_kafka_topic_partition_list_t *kafka_partitions_read(const dbi_state *state, PyObject *value, const char *name) {
    PyObject *items = PySequence_Fast(value, "partitions must be a sequence");
    rd_kafka_topic_partition_list_t *partitions;

    if (items == NULL)
        return NULL;
    partitions = rd_kafka_topic_partition_list_new((int)PySequence_Fast_GET_SIZE(items));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++)
        if (!partition_read(state, PySequence_Fast_GET_ITEM(items, i), name, partitions)) {
            rd_kafka_topic_partition_list_destroy(partitions);
            partitions = NULL;
            break;
        }
    Py_DECREF(items);
    return partitions;
}

PyObject *kafka_partitions_list(const rd_kafka_topic_partition_list_t *partitions) {
    PyObject *list = PyList_New(partitions->cnt);

    for (int i = 0; list != NULL && i < partitions->cnt; i++) {
        const rd_kafka_topic_partition_t *partition = &partitions->elems[i];
        PyObject *offset = partition->offset == RD_KAFKA_OFFSET_INVALID ? Py_NewRef(Py_None)
                                                                        : PyLong_FromLongLong(partition->offset);
        PyObject *metadata =
            partition->metadata_size == 0
                ? Py_NewRef(Py_None)
                : PyUnicode_DecodeUTF8(partition->metadata, (Py_ssize_t)partition->metadata_size, "replace");
        PyObject *item = offset != NULL && metadata != NULL ? Py_BuildValue("(siOO)", partition->topic,
                                                                            (int)partition->partition, offset, metadata)
                                                            : NULL;

        Py_XDECREF(offset);
        Py_XDECREF(metadata);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    return list;
}

bool kafka_timeout(const dbi_state *state, PyObject *value, int64_t *deadline) {
    int64_t timeout_ns = DBI_FOREVER;

    if (value != NULL && !dbi_arg_seconds(state, value, "timeout", &timeout_ns))
        return false;
    *deadline = timeout_ns == DBI_FOREVER ? DBI_FOREVER : dbi_clock_deadline(NULL, timeout_ns);
    return true;
}

PyObject *kafka_raise(const dbi_state *state, dbi_kafka *kafka, dbi_err *err) {
    dbi_err trouble;

    if (err->rc == DBI_ETIMEOUT && dbi_kafka_last_error(kafka, &trouble) != DBI_OK)
        return dbi_raise(state, &trouble);
    return dbi_raise(state, err);
}

/* -- waiting ------------------------------------------------------------------------------------------------------ */

/* The thread state of a call in progress, while it is without the GIL; NULL on all other threads. */
static _Thread_local PyThreadState *waiting;

void kafka_wait_begin(void) {
    waiting = PyEval_SaveThread();
}

void kafka_wait_end(void) {
    PyEval_RestoreThread(waiting);
    waiting = NULL;
}

/* Asked by the core between two slices of a wait. */
static dbi_rc wait_check(void) {
    int raised;

    if (waiting == NULL) /* a wait that looks at signals itself (dbi_wait) */
        return DBI_OK;
    kafka_wait_end(); /* a handler may make Kafka calls of its own */
    raised = PyErr_CheckSignals();
    kafka_wait_begin();
    return raised < 0 ? DBI_EINTR : DBI_OK;
}

void kafka_client_ready(kafka_object *self, dbi_kafka *kafka) {
    dbi_kafka_set_check(kafka, wait_check);
    self->kafka = kafka;
}

/* -- KafkaClient -------------------------------------------------------------------------------------------------- */

static dbi_kafka *client_of(kafka_object *self) {
    if (self->kafka == NULL)
        (void)PyErr_SetString(PyExc_RuntimeError, "__init__ of the Kafka client was not called");
    return self->kafka;
}

PyDoc_STRVAR(set_credentials_doc,
             "set_credentials($self, username, password, /)\n--\n\n"
             "Use another SASL user name and password from the next authentication on (PLAIN and SCRAM).\n\n"
             "Connections that are open stay open until they break or the broker asks again.");

static PyObject *client_set_credentials(kafka_object *self, PyObject *args) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    const char *username, *password;
    dbi_err err;

    if (state == NULL || kafka == NULL || !PyArg_ParseTuple(args, "ss:set_credentials", &username, &password))
        return NULL;
    if (dbi_kafka_set_credentials(kafka, username, password, &err) != DBI_OK)
        return dbi_raise(state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_token_doc, "set_token($self, token, expires_ms, principal, /)\n--\n\n"
                            "Hand over an OAUTHBEARER token, valid until expires_ms (milliseconds since 1970).");

static PyObject *client_set_token(kafka_object *self, PyObject *args) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    const char *token, *principal;
    long long expires_ms;
    dbi_err err;

    if (state == NULL || kafka == NULL || !PyArg_ParseTuple(args, "sLs:set_token", &token, &expires_ms, &principal))
        return NULL;
    if (dbi_kafka_set_token(kafka, token, expires_ms, principal, &err) != DBI_OK)
        return dbi_raise(state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_token_failure_doc, "set_token_failure($self, reason, /)\n--\n\n"
                                    "Say why there is no OAUTHBEARER token; it is asked for again ten seconds later.");

static PyObject *client_set_token_failure(kafka_object *self, PyObject *reason) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    const char *text;
    dbi_err err;

    if (state == NULL || kafka == NULL || (text = dbi_arg_text(state, reason, "reason", DBI_ERROR_CONFIGURATION)) == NULL)
        return NULL;
    if (dbi_kafka_set_token_failure(kafka, text, &err) != DBI_OK)
        return dbi_raise(state, &err);
    Py_RETURN_NONE;
}

static dbi_rc wait_token(void *arg, int64_t deadline, dbi_err *err) {
    return dbi_kafka_wait_token_request(arg, deadline, err);
}

PyDoc_STRVAR(wait_token_request_doc,
             "wait_token_request($self, timeout, /)\n--\n\n"
             "Wait up to timeout seconds until an OAUTHBEARER token is asked for; False when none was.\n\n"
             "Raises ClosedError when the client is closed.");

static PyObject *client_wait_token_request(kafka_object *self, PyObject *timeout) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || kafka == NULL || !kafka_timeout(state, timeout, &deadline))
        return NULL;
    rc = dbi_wait(wait_token, kafka, deadline, &err);
    if (rc != DBI_OK && rc != DBI_ETIMEOUT)
        return dbi_raise(state, &err);
    return PyBool_FromLong(rc == DBI_OK);
}

#define LOGS_AT_ONCE 16

PyDoc_STRVAR(logs_doc, "logs($self, /)\n--\n\n"
                       "Take what the client logged since the last call, oldest first, and how much was lost.\n\n"
                       "Returns ([(time, level, facility, text), ...], lost): time in seconds since 1970, level as\n"
                       "in syslog (3 = error). The ring holds 128 lines; older ones are overwritten and counted.");

static PyObject *client_logs(kafka_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_kafka *kafka = client_of(self);
    dbi_kafka_log logs[LOGS_AT_ONCE];
    uint64_t lost, lost_now;
    size_t count;
    PyObject *list;

    if (kafka == NULL || (list = PyList_New(0)) == NULL)
        return NULL;
    count = dbi_kafka_take_logs(kafka, logs, LOGS_AT_ONCE, &lost);
    while (count > 0) {
        for (size_t i = 0; i < count; i++) {
            PyObject *text = PyUnicode_DecodeUTF8(logs[i].text, (Py_ssize_t)strlen(logs[i].text), "replace");
            PyObject *line = text == NULL ? NULL
                                          : Py_BuildValue("(disN)", (double)logs[i].wall_us / 1e6, logs[i].level,
                                                          logs[i].facility, text);
            int failed = line == NULL || PyList_Append(list, line) < 0;

            Py_XDECREF(line);
            if (failed) {
                Py_DECREF(list);
                return NULL;
            }
        }
        count = dbi_kafka_take_logs(kafka, logs, LOGS_AT_ONCE, &lost_now);
        lost += lost_now;
    }
    return Py_BuildValue("(NK)", list, (unsigned long long)lost);
}

PyDoc_STRVAR(stats_json_doc, "stats_json($self, /)\n--\n\n"
                             "The latest statistics document of librdkafka (STATISTICS.md there), or None.\n\n"
                             "There is one every statistics.interval.ms, which is off by default.");

static PyObject *client_stats_json(kafka_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    char *json;
    PyObject *text;
    dbi_err err;

    if (state == NULL || kafka == NULL)
        return NULL;
    if (dbi_kafka_stats(kafka, &json, &err) != DBI_OK)
        return dbi_raise(state, &err);
    if (json == NULL)
        Py_RETURN_NONE;
    text = PyUnicode_FromString(json);
    dbi_free(json);
    return text;
}

static PyObject *client_fatal_error(kafka_object *self, void *Py_UNUSED(closure)) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_kafka *kafka = client_of(self);
    PyObject *type, *value, *traceback;
    dbi_err err;

    if (state == NULL || kafka == NULL)
        return NULL;
    if (dbi_kafka_fatal(kafka, &err) == RD_KAFKA_RESP_ERR_NO_ERROR)
        Py_RETURN_NONE;
    (void)dbi_raise(state, &err);
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static int client_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void client_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef client_methods[] = {
    {"logs", (PyCFunction)client_logs, METH_NOARGS, logs_doc},
    {"set_credentials", (PyCFunction)client_set_credentials, METH_VARARGS, set_credentials_doc},
    {"set_token", (PyCFunction)client_set_token, METH_VARARGS, set_token_doc},
    {"set_token_failure", (PyCFunction)client_set_token_failure, METH_O, set_token_failure_doc},
    {"stats_json", (PyCFunction)client_stats_json, METH_NOARGS, stats_json_doc},
    {"wait_token_request", (PyCFunction)client_wait_token_request, METH_O, wait_token_request_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_getset[] = {
    {"fatal_error", (getter)client_fatal_error, NULL,
     "The KafkaFatalError that ended the client's usefulness, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, "What every Kafka client can do: logs, statistics, credentials. Not to be made by itself."},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_getset},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "dbint._core.KafkaClient",
    .basicsize = sizeof(kafka_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};

int dbi_add_kafka_client(PyObject *module, dbi_state *state) {
    state->kafka_client_type = dbi_type_add(module, &client_spec);
    return state->kafka_client_type != NULL ? 0 : -1;
}

PyTypeObject *kafka_type_add(PyObject *module, dbi_state *state, PyType_Spec *spec) {
    PyTypeObject *type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)state->kafka_client_type);

    if (type != NULL && PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}
