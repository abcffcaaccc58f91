/* batch.c - _core.Batch: messages that become Python objects only when somebody looks */
#include "glance.h"
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

static PyObject *headers_tuple(const dbi_fetched *fetched) {
    size_t at = 0, count = 0;
    dbi_header header;
    PyObject *tuple;

    while (dbi_fetched_header(fetched, &at, &header))
        count++;
    tuple = PyTuple_New((Py_ssize_t)count);
    at = 0;
    for (Py_ssize_t i = 0; tuple != NULL && dbi_fetched_header(fetched, &at, &header); i++) {
        PyObject *text = PyUnicode_DecodeUTF8(header.name, (Py_ssize_t)strlen(header.name), "replace");
        PyObject *pair = text != NULL ? Py_BuildValue("(NN)", text, bytes_or_none(header.value, header.value_len)) : NULL;

        if (pair == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, pair);
    }
    return tuple;
}

static PyObject *message_new(const dbi_state *state, const dbi_fetched *fetched) {
    PyObject *object = PyStructSequence_New(state->message_type);

    if (object == NULL)
        return NULL;
    PyStructSequence_SET_ITEM(object, 0, PyUnicode_FromString(fetched->topic));
    PyStructSequence_SET_ITEM(object, 1, PyLong_FromLong(fetched->partition));
    PyStructSequence_SET_ITEM(object, 2, PyLong_FromLongLong(fetched->offset));
    PyStructSequence_SET_ITEM(object, 3,
                              fetched->timestamp < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(fetched->timestamp));
    PyStructSequence_SET_ITEM(object, 4, bytes_or_none(fetched->key, fetched->key_len));
    PyStructSequence_SET_ITEM(object, 5, bytes_or_none(fetched->value, fetched->value_len));
    PyStructSequence_SET_ITEM(object, 6, headers_tuple(fetched));
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

    Py_BEGIN_ALLOW_THREADS /* giving megabytes back takes its time */
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
    dbi_fetched fetched;

    if (index < 0 || !dbi_batch_message(self->batch, (size_t)index, &fetched)) {
        (void)PyErr_SetString(PyExc_IndexError, "batch index out of range");
        return NULL;
    }
    return state != NULL ? message_new(state, &fetched) : NULL;
}

/* -- which messages are meant: topic=None, partition=None, start=None, end=None, only=None, without=None ----------- */

#define SELECTION_NAMES "topic", "partition", "start", "end", "only", "without"
#define SELECTION_COUNT 6

/* Reads rising offsets into memory of PyMem; NULL with an exception set. */
static int64_t *offsets_read(PyObject *value, const char *name, size_t *count) {
    PyObject *items = PySequence_Fast(value, "only and without are sequences of offsets");
    int64_t *offsets;

    if (items == NULL)
        return NULL;
    *count = (size_t)PySequence_Fast_GET_SIZE(items);
    offsets = PyMem_Calloc(*count + 1, sizeof *offsets);
    if (offsets == NULL)
        (void)PyErr_NoMemory();
    for (size_t i = 0; offsets != NULL && i < *count; i++) {
        offsets[i] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i));
        if (!PyErr_Occurred() && i > 0 && offsets[i] <= offsets[i - 1])
            (void)PyErr_Format(PyExc_ValueError, "%s: the offsets are to rise", name);
        if (PyErr_Occurred()) {
            PyMem_Free(offsets);
            offsets = NULL;
        }
    }
    Py_DECREF(items);
    return offsets;
}

/* False with an exception set. selection->offsets is to be given to PyMem_Free. */
static bool selection_read(const dbi_state *state, PyObject *const values[SELECTION_COUNT], dbi_selection *selection) {
    PyObject *given[SELECTION_COUNT];
    int64_t partition;

    *selection = DBI_SELECT_ALL;
    for (int i = 0; i < SELECTION_COUNT; i++)
        given[i] = values[i] == Py_None ? NULL : values[i];
    if ((given[0] == NULL) != (given[1] == NULL) || (given[4] != NULL && given[5] != NULL)) {
        (void)PyErr_SetString(PyExc_TypeError, "topic and partition go together, only and without do not");
        return false;
    }
    if (given[0] != NULL) {
        selection->topic = dbi_arg_text(state, given[0], "topic", DBI_ERROR_CONFIGURATION);
        if (selection->topic == NULL || !dbi_arg_int(state, given[1], "partition", 0, INT32_MAX, &partition))
            return false;
        selection->partition = (int32_t)partition;
    }
    if ((given[2] != NULL && !dbi_arg_int(state, given[2], "start", INT64_MIN, INT64_MAX, &selection->start)) ||
        (given[3] != NULL && !dbi_arg_int(state, given[3], "end", INT64_MIN, INT64_MAX, &selection->end)))
        return false;
    if (given[4] != NULL || given[5] != NULL) {
        selection->without = given[5] != NULL;
        selection->offsets = selection->without ? offsets_read(given[5], "without", &selection->count)
                                                : offsets_read(given[4], "only", &selection->count);
        return selection->offsets != NULL;
    }
    return true;
}

/* The arguments of concat() and concat_size(). selection->offsets is to be given to PyMem_Free, the separator released
 * where it has an object. */
static bool concat_read(batch_object *self, const dbi_params *params, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames, Py_buffer *separator, dbi_selection *selection) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[1 + SELECTION_COUNT];

    *separator = (Py_buffer){0};
    *selection = DBI_SELECT_ALL;
    return state != NULL && dbi_parse(params, args, nargs, kwnames, values) &&
           selection_read(state, values + 1, selection) &&
           (values[0] == NULL || PyObject_GetBuffer(values[0], separator, PyBUF_SIMPLE) == 0);
}

static void concat_reset(Py_buffer *separator, dbi_selection *selection) {
    if (separator->obj != NULL)
        PyBuffer_Release(separator);
    PyMem_Free((void *)selection->offsets);
}

PyDoc_STRVAR(concat_doc,
             "concat($self, separator=b'', topic=None, partition=None, *, start=None, end=None, only=None, without=None)\n"
             "--\n\n"
             "The values, joined by the separator and not looked at, as one bytes object.\n\n"
             "With topic and partition, only that partition's; of these the offsets from start up to, not including,\n"
             "end; of these only, or all but, the rising offsets given. Null values (tombstones) are left out.");

static PyObject *batch_concat(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "concat", .positional = 3, .names = {"separator", SELECTION_NAMES, NULL}};
    PyObject *joined = NULL;
    dbi_selection selection;
    Py_buffer separator;
    size_t size;

    if (concat_read(self, &params, args, nargs, kwnames, &separator, &selection)) {
        dbi_batch_concat(self->batch, &selection, separator.buf, (size_t)separator.len, NULL, &size);
        if (size <= PY_SSIZE_T_MAX)
            joined = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        else
            (void)PyErr_NoMemory();
        if (joined != NULL)
            dbi_batch_concat(self->batch, &selection, separator.buf, (size_t)separator.len, PyBytes_AS_STRING(joined),
                             &size);
    }
    concat_reset(&separator, &selection);
    return joined;
}

PyDoc_STRVAR(concat_size_doc,
             "concat_size($self, separator=b'', topic=None, partition=None, *, start=None, end=None, only=None, "
             "without=None)\n"
             "--\n\n"
             "How many bytes concat() gives for the same arguments.");

static PyObject *batch_concat_size(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "concat_size", .positional = 3, .names = {"separator", SELECTION_NAMES, NULL}};
    dbi_selection selection;
    Py_buffer separator;
    bool is_read = concat_read(self, &params, args, nargs, kwnames, &separator, &selection);
    size_t size = 0;

    if (is_read)
        dbi_batch_concat(self->batch, &selection, separator.buf, (size_t)separator.len, NULL, &size);
    concat_reset(&separator, &selection);
    return is_read ? PyLong_FromSize_t(size) : NULL;
}

PyDoc_STRVAR(keys_doc, "keys($self, topic=None, partition=None, *, start=None, end=None, only=None, without=None)\n--\n\n"
                       "[(offset, key)] of these messages; a key is bytes, or None.");

static PyObject *batch_keys(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "keys", .positional = 2, .names = {SELECTION_NAMES, NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[SELECTION_COUNT], *list;
    dbi_cursor cursor = {0};
    dbi_selection selection;
    dbi_fetched fetched;

    if (state == NULL || !dbi_parse(&params, args, nargs, kwnames, values) ||
        !selection_read(state, values, &selection))
        return NULL;
    list = PyList_New(0);
    while (list != NULL && dbi_batch_next(self->batch, &selection, &cursor, &fetched)) {
        PyObject *key = bytes_or_none(fetched.key, fetched.key_len);
        PyObject *item = key != NULL ? Py_BuildValue("(LN)", (long long)fetched.offset, key) : NULL;

        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    PyMem_Free((void *)selection.offsets);
    return list;
}

/* -- what the changes are ------------------------------------------------------------------------------------------ */

#define HEADER_UNCHANGED "dbint.unchanged"

/* The change that a message is; dbint's own messages say by a header which values are missing. */
static void change_of(const dbi_fetched *fetched, const dbi_glance_text *placeholders, size_t count,
                      dbi_glance *glance) {
    dbi_header header;
    size_t at = 0;

    dbi_glance_read(glance, fetched->value, fetched->value_len, placeholders, count);
    if (!glance->own || (glance->kind != DBI_GLANCE_ROW && glance->kind != DBI_GLANCE_PARTIAL))
        return;
    glance->kind = DBI_GLANCE_ROW;
    while (dbi_fetched_header(fetched, &at, &header))
        if (strcmp(header.name, HEADER_UNCHANGED) == 0) { /* the last one counts */
            glance->kind = DBI_GLANCE_PARTIAL;
            glance->missing = dbi_glance_listed(header.value, header.value_len);
        }
}

/* Appends a tuple made elsewhere (taken); false with an exception set. */
static bool list_append(PyObject *list, PyObject *item) {
    bool appended = item != NULL && PyList_Append(list, item) == 0;

    Py_XDECREF(item);
    return appended;
}

#define SHAPES_MAX 64 /* in one batch; a table has one or two */

PyDoc_STRVAR(survey_doc,
             "survey($self, placeholders, topic=None, partition=None, *, start=None, end=None, only=None, without=None)\n"
             "--\n\n"
             "What a sink has to know of these messages (envelopes as Debezium writes them), none of them parsed.\n\n"
             "Returns (messages, bytes of values, shapes, special). shapes: [(hash of the names of a row's fields,\n"
             "offset of the first message that has them)]. special: [(offset, kind, hash)] of what is no whole row: kind\n"
             "'p' lacks the values of some columns (the hash stands for which), 't' empties the table, 'm' is a logical\n"
             "message, '0' has no value, '?' is no envelope. placeholders: JSON texts that stand for missing values.");

static PyObject *batch_survey(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const char kinds[] = {[DBI_GLANCE_ROW] = 'r',      [DBI_GLANCE_PARTIAL] = 'p', [DBI_GLANCE_TRUNCATE] = 't',
                                 [DBI_GLANCE_LOGICAL] = 'm', [DBI_GLANCE_NULL] = '0',    [DBI_GLANCE_UNKNOWN] = '?'};
    static const dbi_params params = {
        .func = "survey", .required = 1, .positional = 3, .names = {"placeholders", SELECTION_NAMES, NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[1 + SELECTION_COUNT], *texts = NULL, *shapes = NULL, *special = NULL, *result = NULL;
    dbi_glance_text *placeholders = NULL;
    uint64_t known[SHAPES_MAX];
    size_t known_count = 0, count = 0, bytes = 0;
    dbi_selection selection = DBI_SELECT_ALL;
    dbi_cursor cursor = {0};
    dbi_fetched fetched;
    Py_ssize_t text_count;

    if (state == NULL || !dbi_parse(&params, args, nargs, kwnames, values) ||
        !selection_read(state, values + 1, &selection) ||
        (texts = PySequence_Tuple(values[0])) == NULL)
        goto done;
    text_count = PyTuple_GET_SIZE(texts);
    placeholders = PyMem_Calloc((size_t)text_count + 1, sizeof *placeholders);
    if (placeholders == NULL) {
        (void)PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < text_count; i++) {
        PyObject *text = PyTuple_GET_ITEM(texts, i);

        if (!PyBytes_Check(text)) {
            (void)PyErr_SetString(PyExc_TypeError, "placeholders are bytes");
            goto done;
        }
        placeholders[i] = (dbi_glance_text){PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)};
    }
    shapes = PyList_New(0);
    special = PyList_New(0);
    if (shapes == NULL || special == NULL)
        goto done;
    while (dbi_batch_next(self->batch, &selection, &cursor, &fetched)) {
        dbi_glance glance;
        size_t i = 0;

        count++;
        bytes += fetched.value_len;
        change_of(&fetched, placeholders, (size_t)text_count, &glance);
        if (glance.kind != DBI_GLANCE_ROW &&
            !list_append(special, Py_BuildValue("(LCK)", (long long)fetched.offset, (int)kinds[glance.kind],
                                                (unsigned long long)glance.missing)))
            goto done;
        while (i < known_count && known[i] != glance.shape)
            i++;
        if (glance.shape == 0 || i < known_count)
            continue;
        if (known_count < SHAPES_MAX)
            known[known_count++] = glance.shape;
        if (!list_append(shapes, Py_BuildValue("(KL)", (unsigned long long)glance.shape, (long long)fetched.offset)))
            goto done;
    }
    result = Py_BuildValue("(nnOO)", (Py_ssize_t)count, (Py_ssize_t)bytes, shapes, special);
done:
    Py_XDECREF(shapes);
    Py_XDECREF(special);
    Py_XDECREF(texts);
    PyMem_Free(placeholders);
    PyMem_Free((void *)selection.offsets);
    return result;
}

PyDoc_STRVAR(at_doc, "at($self, topic, partition, offset)\n--\n\nThe message at this offset. Raises KeyError.");

static PyObject *batch_at(batch_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "at", .required = 3, .positional = 3, .names = {"topic", "partition", "offset", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_selection selection = {.start = 0};
    dbi_cursor cursor = {0};
    dbi_fetched fetched;
    int64_t partition;
    PyObject *values[3];

    if (state == NULL || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (selection.topic = dbi_arg_text(state, values[0], "topic", DBI_ERROR_CONFIGURATION)) == NULL ||
        !dbi_arg_int(state, values[1], "partition", 0, INT32_MAX, &partition) ||
        !dbi_arg_int(state, values[2], "offset", 0, INT64_MAX - 1, &selection.start))
        return NULL;
    selection.partition = (int32_t)partition;
    selection.end = selection.start + 1;
    if (dbi_batch_next(self->batch, &selection, &cursor, &fetched))
        return message_new(state, &fetched);
    PyErr_SetObject(PyExc_KeyError, values[2]);
    return NULL;
}

PyDoc_STRVAR(ranges_doc, "ranges($self, /)\n--\n\n"
                         "What is in the batch, by partition, in order of appearance.\n\n"
                         "A list of (topic, partition, first offset, last offset, messages, bytes of values).");

static PyObject *batch_ranges(batch_object *self, PyObject *Py_UNUSED(ignored)) {
    size_t count = dbi_batch_parts(self->batch);
    PyObject *list = PyList_New((Py_ssize_t)count);

    for (size_t i = 0; list != NULL && i < count; i++) {
        dbi_part part = dbi_batch_part(self->batch, i);
        PyObject *item = Py_BuildValue("(siLLnn)", part.topic, (int)part.partition, (long long)part.first,
                                       (long long)part.last, (Py_ssize_t)part.count, (Py_ssize_t)part.bytes);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyDoc_STRVAR(split_doc, "split($self, /)\n--\n\n"
                        "A batch for each partition, in the order of ranges(). Nothing is copied; what is held is given\n"
                        "back partition by partition, as these go.");

static PyObject *batch_split(batch_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    size_t count = dbi_batch_parts(self->batch);
    PyObject *list = state != NULL ? PyList_New((Py_ssize_t)count) : NULL;

    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = NULL;
        dbi_batch *part;
        dbi_err err;

        if (dbi_batch_split(self->batch, i, &part, &err) == DBI_OK)
            item = batch_new(state, part);
        else
            (void)dbi_raise(state, &err);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *batch_get_nbytes(batch_object *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(dbi_batch_bytes(self->batch));
}

static PyObject *batch_get_memory(batch_object *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(dbi_batch_memory(self->batch));
}

static PyObject *batch_get_ends(batch_object *self, void *Py_UNUSED(closure)) {
    return kafka_partitions_list(dbi_batch_ends(self->batch));
}

static PyObject *places_or_empty(const rd_kafka_topic_partition_list_t *partitions) {
    return partitions != NULL ? kafka_partitions_list(partitions) : PyList_New(0);
}

static PyObject *batch_get_assigned(batch_object *self, void *Py_UNUSED(closure)) {
    return places_or_empty(dbi_batch_assigned(self->batch));
}

static PyObject *batch_get_revoked(batch_object *self, void *Py_UNUSED(closure)) {
    return places_or_empty(dbi_batch_revoked(self->batch));
}

static PyObject *batch_get_lost(batch_object *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(dbi_batch_lost(self->batch));
}

static PyMethodDef batch_methods[] = {
    {"at", (PyCFunction)(void *)batch_at, METH_FASTCALL | METH_KEYWORDS, at_doc},
    {"concat", (PyCFunction)(void *)batch_concat, METH_FASTCALL | METH_KEYWORDS, concat_doc},
    {"concat_size", (PyCFunction)(void *)batch_concat_size, METH_FASTCALL | METH_KEYWORDS, concat_size_doc},
    {"keys", (PyCFunction)(void *)batch_keys, METH_FASTCALL | METH_KEYWORDS, keys_doc},
    {"ranges", (PyCFunction)batch_ranges, METH_NOARGS, ranges_doc},
    {"split", (PyCFunction)batch_split, METH_NOARGS, split_doc},
    {"survey", (PyCFunction)(void *)batch_survey, METH_FASTCALL | METH_KEYWORDS, survey_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_getset[] = {
    {"nbytes", (getter)batch_get_nbytes, NULL, "Bytes of keys and values.", NULL},
    {"memory", (getter)batch_get_memory, NULL, "Bytes of memory that the batch takes.", NULL},
    {"ends", (getter)batch_get_ends, NULL,
     "Partitions whose end was reached: (topic, partition, next offset, None) each.", NULL},
    {"assigned", (getter)batch_get_assigned, NULL,
     "Partitions that a rebalance, after these messages, gave to the consumer.", NULL},
    {"revoked", (getter)batch_get_revoked, NULL,
     "Partitions that a rebalance, after these messages, took from the consumer.", NULL},
    {"lost", (getter)batch_get_lost, NULL,
     "Whether they were taken without asking: others may have them already.", NULL},
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
