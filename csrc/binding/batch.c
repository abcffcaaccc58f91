/* batch.c - _core.Batch: messages that become Python objects only when somebody looks */
#include "consumer_binding.h"

typedef struct batch_object {
    PyObject_HEAD
    dbi_batch *batch;
} batch_object;

/* -- one message -------------------------------------------------------------------------------------------------- */

static PyStructSequence_Field message_fields[] = {
    {"topic", "name of the topic"},
    {"partition", "the partition it was read from"},
    {"offset", "its offset there"},
    {"timestamp", "its time in milliseconds since 1970; None when it has none"},
    {"key", "bytes, or None for Kafka's null"},
    {"value", "bytes, or None for Kafka's null (a tombstone)"},
    {"headers", "tuple of (name, value), value bytes or None"},
    {NULL, NULL},
};

static PyStructSequence_Desc message_desc = {
    .name = "dbint._core.Message",
    .doc = "A message read from Kafka.",
    .fields = message_fields,
    .n_in_sequence = 7,
};

int dbi_add_message(PyObject *module, dbi_state *state) {
    state->message_type = PyStructSequence_NewType(&message_desc);
    return state->message_type != NULL ? PyModule_AddType(module, state->message_type) : -1;
}

static PyObject *bytes_or_none(const void *data, size_t size) {
    return data == NULL ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *headers_tuple(const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t count, size;
    PyObject *tuple;

    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return PyTuple_New(0);
    count = rd_kafka_header_cnt(headers);
    tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *pair = NULL;

        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
            pair = text != NULL ? Py_BuildValue("(NN)", text, bytes_or_none(value, size)) : NULL;
        } else {
            (void)PyErr_SetString(PyExc_SystemError, "a header that was counted is not there");
        }
        if (pair == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, pair);
    }
    return tuple;
}

static PyObject *message_new(const dbi_state *state, const rd_kafka_message_t *message) {
    PyObject *object = PyStructSequence_New(state->message_type);
    rd_kafka_timestamp_type_t kind;
    int64_t timestamp = rd_kafka_message_timestamp(message, &kind);

    if (object == NULL)
        return NULL;
    PyStructSequence_SET_ITEM(object, 0, PyUnicode_FromString(rd_kafka_topic_name(message->rkt)));
    PyStructSequence_SET_ITEM(object, 1, PyLong_FromLong(message->partition));
    PyStructSequence_SET_ITEM(object, 2, PyLong_FromLongLong(message->offset));
    PyStructSequence_SET_ITEM(object, 3,
                              kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? Py_NewRef(Py_None)
                                                                       : PyLong_FromLongLong(timestamp));
    PyStructSequence_SET_ITEM(object, 4, bytes_or_none(message->key, message->key_len));
    PyStructSequence_SET_ITEM(object, 5, bytes_or_none(message->payload, message->len));
    PyStructSequence_SET_ITEM(object, 6, headers_tuple(message));
    for (Py_ssize_t i = 0; i < 7; i++)
        if (PyStructSequence_GET_ITEM(object, i) == NULL) {
            Py_DECREF(object);
            return NULL;
        }
    return object;
}

/* -- the batch ---------------------------------------------------------------------------------------------------- */

PyObject *batch_new(dbi_state *state, dbi_batch *batch) {
    batch_object *self = PyObject_New(batch_object, state->batch_type);

    if (self == NULL) {
        dbi_batch_free(batch);
        return NULL;
    }
    self->batch = batch;
    return (PyObject *)self;
}

static void batch_dealloc(batch_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    Py_BEGIN_ALLOW_THREADS /* the last batch of a closed consumer ends its client */
    dbi_batch_free(self->batch);
    Py_END_ALLOW_THREADS
    PyObject_Free(self);
    Py_DECREF(type);
}

static Py_ssize_t batch_length(batch_object *self) {
    return (Py_ssize_t)dbi_batch_count(self->batch);
}

static PyObject *batch_item(batch_object *self, Py_ssize_t index) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    const rd_kafka_message_t *message = index < 0 ? NULL : dbi_batch_message(self->batch, (size_t)index);

    if (message == NULL) {
        (void)PyErr_SetString(PyExc_IndexError, "batch index out of range");
        return NULL;
    }
    return state != NULL ? message_new(state, message) : NULL;
}

PyDoc_STRVAR(concat_doc,
             "concat($self, separator=b'', topic=None, partition=None)\n--\n\n"
             "The values, joined by the separator and not looked at, as one bytes object.\n\n"
             "With topic and partition, only that partition's. Null values (tombstones) are left out.");

static PyObject *batch_concat(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "concat", .positional = 3, .names = {"separator", "topic", "partition", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[3], *joined = NULL;
    Py_buffer separator = {0};
    const char *topic = NULL;
    int64_t partition = 0;
    size_t size;

    if (state == NULL || !dbi_parse(&params, args, nargs, kwnames, values))
        return NULL;
    if (values[1] == Py_None)
        values[1] = NULL;
    if (values[2] == Py_None)
        values[2] = NULL;
    if ((values[1] == NULL) != (values[2] == NULL)) {
        (void)PyErr_SetString(PyExc_TypeError, "concat(): topic and partition go together");
        return NULL;
    }
    if (values[1] != NULL && ((topic = dbi_arg_text(state, values[1], "topic", DBI_ERROR_CONFIGURATION)) == NULL ||
                              !dbi_arg_int(state, values[2], "partition", 0, INT32_MAX, &partition)))
        return NULL;
    if (values[0] != NULL && PyObject_GetBuffer(values[0], &separator, PyBUF_SIMPLE) < 0)
        return NULL;
    dbi_batch_concat(self->batch, topic, (int32_t)partition, separator.buf, (size_t)separator.len, NULL, &size);
    if (size <= PY_SSIZE_T_MAX)
        joined = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    else
        (void)PyErr_NoMemory();
    if (joined != NULL)
        dbi_batch_concat(self->batch, topic, (int32_t)partition, separator.buf, (size_t)separator.len,
                         PyBytes_AS_STRING(joined), &size);
    if (separator.obj != NULL)
        PyBuffer_Release(&separator);
    return joined;
}

/* What the batch holds of one partition. */
typedef struct batch_range {
    const rd_kafka_message_t *first, *last;
    size_t count, bytes;
} batch_range;

static batch_range *range_find(batch_range *ranges, size_t count, const rd_kafka_message_t *message) {
    for (size_t i = count; i-- > 0;) /* from the end: messages of one partition mostly come together */
        if (ranges[i].first->partition == message->partition && ranges[i].first->rkt == message->rkt)
            return &ranges[i];
    return NULL;
}

PyDoc_STRVAR(ranges_doc, "ranges($self, /)\n--\n\n"
                         "What is in the batch, by partition, in order of appearance.\n\n"
                         "A list of (topic, partition, first offset, last offset, messages, bytes of values).");

static PyObject *batch_ranges(batch_object *self, PyObject *Py_UNUSED(ignored)) {
    size_t total = dbi_batch_count(self->batch), count = 0, capacity = 0;
    batch_range *ranges = NULL;
    PyObject *list = NULL;

    for (size_t i = 0; i < total; i++) {
        const rd_kafka_message_t *message = dbi_batch_message(self->batch, i);
        batch_range *range = range_find(ranges, count, message);

        if (range == NULL) {
            if (count == capacity) {
                batch_range *more;
                capacity = capacity * 2 + 8;
                more = PyMem_Realloc(ranges, capacity * sizeof *ranges);
                if (more == NULL) {
                    (void)PyErr_NoMemory();
                    goto done;
                }
                ranges = more;
            }
            range = &ranges[count++];
            *range = (batch_range){.first = message};
        }
        range->last = message;
        range->count++;
        range->bytes += message->len;
    }
    list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = Py_BuildValue("(siLLnn)", rd_kafka_topic_name(ranges[i].first->rkt),
                                       (int)ranges[i].first->partition, (long long)ranges[i].first->offset,
                                       (long long)ranges[i].last->offset, (Py_ssize_t)ranges[i].count,
                                       (Py_ssize_t)ranges[i].bytes);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
done:
    PyMem_Free(ranges);
    return list;
}

static PyObject *batch_get_nbytes(batch_object *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(dbi_batch_bytes(self->batch));
}

static PyObject *batch_get_ends(batch_object *self, void *Py_UNUSED(closure)) {
    return kafka_partitions_list(dbi_batch_ends(self->batch));
}

static PyMethodDef batch_methods[] = {
    {"concat", (PyCFunction)(void *)batch_concat, METH_FASTCALL | METH_KEYWORDS, concat_doc},
    {"ranges", (PyCFunction)batch_ranges, METH_NOARGS, ranges_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_getset[] = {
    {"nbytes", (getter)batch_get_nbytes, NULL, "Bytes of keys and values.", NULL},
    {"ends", (getter)batch_get_ends, NULL,
     "Partitions whose end was reached: (topic, partition, next offset, None) each.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, "Messages read at one time: a sequence of Message, each made when it is looked at."},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_getset},
    {Py_tp_iter, PySeqIter_New},
    {Py_sq_length, batch_length},
    {Py_sq_item, batch_item},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "dbint._core.Batch",
    .basicsize = sizeof(batch_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = batch_slots,
};

int dbi_add_batch(PyObject *module, dbi_state *state) {
    state->batch_type = dbi_type_add(module, &batch_spec);
    return state->batch_type != NULL ? 0 : -1;
}
