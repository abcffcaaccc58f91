/* stream.c - Stream: the methods through which events of one kind go */
#include "values.h"
#include "writer_type.h"

typedef struct stream_object {
    PyObject_HEAD
    dbi_state *state;
    dbi_stream *stream; /* the writer's */
    dbi_fields *fields;
    const dbi_schema *schema; /* the core's, which `fields` was made from */
    bool immediate;           /* an event that was taken needs no answer */
    writer_object *writer;
    PyObject *table;
    PyObject *keyword; /* calls that give it are diverted; NULL = none */
    PyObject *elsewhere, *elsewhere_sync;
    PyObject *plain; /* kwnames of the last call that did not give it */
} stream_object;

/* -- life --------------------------------------------------------------------------------------------------------- */

/* The fields for the columns as they are now. False with an exception set, and the old ones kept. */
static bool fields_refresh(stream_object *self) {
    const dbi_schema *schema = dbi_stream_schema(self->stream);
    dbi_fields *fields, *old = self->fields;
    dbi_schema *copy;
    dbi_err err;

    if (dbi_schema_copy(&copy, schema, &err) != DBI_OK) {
        (void)dbi_raise(self->state, &err);
        return false;
    }
    fields = dbi_fields_new(self->state, dbi_stream_name(self->stream), copy);
    if (fields == NULL)
        return false;
    self->fields = fields;
    self->schema = schema;
    dbi_fields_free(old);
    return true;
}

PyObject *stream_new(writer_object *writer, dbi_stream *stream, PyObject *table) {
    stream_object *self = PyObject_GC_New(stream_object, writer->state->stream_type);

    if (self == NULL)
        return NULL;
    self->state = writer->state;
    self->stream = stream;
    self->fields = NULL;
    self->schema = NULL;
    self->immediate = dbi_stream_is_immediate(stream);
    self->writer = (writer_object *)Py_NewRef((PyObject *)writer);
    self->table = Py_NewRef(table);
    self->keyword = self->elsewhere = self->elsewhere_sync = self->plain = NULL;
    PyObject_GC_Track(self);
    if (!fields_refresh(self))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int stream_traverse(stream_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)self->writer);
    Py_VISIT(self->elsewhere);
    Py_VISIT(self->elsewhere_sync);
    return self->fields != NULL ? dbi_fields_traverse(self->fields, visit, arg) : 0;
}

static int stream_clear(stream_object *self) {
    Py_CLEAR(self->keyword);
    Py_CLEAR(self->elsewhere);
    Py_CLEAR(self->elsewhere_sync);
    Py_CLEAR(self->plain);
    return 0;
}

static void stream_dealloc(stream_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)stream_clear(self);
    dbi_fields_free(self->fields);
    Py_DECREF(self->table);
    Py_DECREF((PyObject *)self->writer);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* -- calls that go elsewhere -------------------------------------------------------------------------------------- */

static bool names_hold(PyObject *kwnames, PyObject *keyword) {
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, i), keyword) == 0)
            return true;
    return false;
}

/* Whether the call gives the keyword. One place in the code gives the same names each time: it costs a comparison. */
static inline bool is_diverted(stream_object *self, PyObject *kwnames) {
    if (__builtin_expect(self->keyword == NULL || kwnames == self->plain, 1))
        return false;
    if (names_hold(kwnames, self->keyword))
        return true;
    Py_XSETREF(self->plain, Py_XNewRef(kwnames));
    return false;
}

PyDoc_STRVAR(divert_doc,
             "divert($self, keyword, write, write_sync, /)\n--\n\n"
             "From now on, calls of write() and write_sync() that give this keyword go to these, as they are.\n\n"
             "Raises ConfigurationError when it is a column of the stream.");

static PyObject *stream_divert(stream_object *self, PyObject *const *args, Py_ssize_t nargs) {
    const dbi_schema *schema = dbi_stream_schema(self->stream);
    const char *keyword;

    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "divert() takes keyword, write and write_sync");
    keyword = dbi_arg_text(self->state, args[0], "keyword", DBI_ERROR_CONFIGURATION);
    if (keyword == NULL)
        return NULL;
    for (unsigned i = 0; i < schema->column_count; i++)
        if (strcmp(schema->columns[i].name, keyword) == 0)
            return dbi_raise_as(self->state, DBI_ERROR_CONFIGURATION, "\"%s\" is a column of stream \"%s\"", keyword,
                                dbi_stream_name(self->stream));
    Py_XSETREF(self->keyword, Py_NewRef(args[0]));
    Py_XSETREF(self->elsewhere, Py_NewRef(args[1]));
    Py_XSETREF(self->elsewhere_sync, Py_NewRef(args[2]));
    Py_CLEAR(self->plain);
    Py_RETURN_NONE;
}

/* -- one event ---------------------------------------------------------------------------------------------------- */

/* The event as it goes into the journal: the frame holds the tuple. */
typedef struct event {
    dbi_frame *frame;
    const dbi_schema *schema;
} event;

/* Encoding may run code of the user, which may refresh the fields: what is encoded by is taken down before. */
static inline bool event_encode(stream_object *self, event *event, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames) {
    if (__builtin_expect(dbi_stream_schema(self->stream) != self->schema, 0) && !fields_refresh(self))
        return false;
    event->schema = self->schema;
    event->frame = dbi_fields_encode(self->fields, args, nargs, kwnames);
    return event->frame != NULL;
}

static bool event_encode_mapping(stream_object *self, event *event, PyObject *mapping) {
    if (dbi_stream_schema(self->stream) != self->schema && !fields_refresh(self))
        return false;
    event->schema = self->schema;
    event->frame = dbi_fields_encode_mapping(self->fields, mapping);
    return event->frame != NULL;
}

/* Hands the event over. The GIL is held from begin to end: whoever takes it after dbi_writer_seal knows that no such
 * call is in progress, and writer_close does. */
static inline dbi_rc event_append(stream_object *self, event *event, dbi_err *err) {
    const dbi_row *row = dbi_frame_row(event->frame);

    return dbi_stream_append_uncounted(self->stream, event->schema, row->bytes, row->length, err);
}

static dbi_rc event_submit(stream_object *self, event *event, dbi_mailbox *mailbox, void *user, dbi_err *err) {
    const dbi_row *row = dbi_frame_row(event->frame);

    return dbi_stream_submit(self->stream, event->schema, row->bytes, row->length, mailbox, user, err);
}

/* -- for event loops ---------------------------------------------------------------------------------------------- */

static bool event_withdraw(void *stream, const void *user) {
    return dbi_stream_withdraw(stream, user);
}

/* The event in an awaitable that waits; gives the frame back. */
static PyObject *event_later(stream_object *self, event *event) {
    channel_object *channel =
        channels_find(&self->writer->channels, self->state, (PyObject *)self->writer, receipt_outcome);
    PyObject *future = channel != NULL ? channel_future(channel) : NULL;
    dbi_err err;
    dbi_rc rc;

    if (future == NULL) {
        dbi_frame_done(event->frame);
        return NULL;
    }
    rc = event_submit(self, event, channel->mailbox, future, &err);
    dbi_frame_done(event->frame);
    if (rc != DBI_OK) {
        Py_DECREF(future);
        return dbi_raise(self->state, &err);
    }
    channel_promised(channel, future);
    return completion_new(self->state, future, (PyObject *)self->writer, event_withdraw, self->stream);
}

/* Takes an encoded event: an awaitable. */
static inline PyObject *event_take(stream_object *self, event *event) {
    dbi_err err;
    dbi_rc rc;

    if (!self->immediate)
        return event_later(self, event);
    rc = event_append(self, event, &err);
    if (rc == DBI_EFULL && dbi_stream_may_wait(self->stream))
        return event_later(self, event);
    dbi_frame_done(event->frame);
    return rc == DBI_OK ? completion_done(self->state) : dbi_raise(self->state, &err);
}

PyDoc_STRVAR(write_doc,
             "write($self, /, **fields)\n--\n\n"
             "Take one event; await the result.\n\n"
             "The event is taken by the call, and in the journal when write() returns, awaited or not; the awaitable\n"
             "is done already. It is one that waits only where durability is 'sync', for the disk, and where the\n"
             "journal is full and the stream blocks, for room: there, cancelling it takes an event back that still\n"
             "waits for room. Raises InvalidEventError, which names the field; QueueFullError; ClosedError.");

static PyObject *stream_write(stream_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    event event;

    if (is_diverted(self, kwnames))
        return PyObject_Vectorcall(self->elsewhere, args, (size_t)nargs, kwnames);
    return event_encode(self, &event, args, nargs, kwnames) ? event_take(self, &event) : NULL;
}

PyDoc_STRVAR(write_mapping_doc, "write_mapping($self, fields, /)\n--\n\nwrite() with the fields from a mapping.");

static PyObject *stream_write_mapping(stream_object *self, PyObject *mapping) {
    event event;

    return event_encode_mapping(self, &event, mapping) ? event_take(self, &event) : NULL;
}

/* -- for threads -------------------------------------------------------------------------------------------------- */

typedef struct receipt_wait {
    dbi_mailbox *mailbox;
    dbi_receipt *receipt;
} receipt_wait;

static dbi_rc receipt_slice(void *arg, int64_t deadline, dbi_err *err) {
    receipt_wait *wait = arg;

    wait->receipt = (dbi_receipt *)dbi_mailbox_wait(wait->mailbox, deadline);
    return wait->receipt != NULL ? DBI_OK : dbi_err_set(err, DBI_ETIMEOUT, "the event still waits");
}

/* Waits until the event is taken; gives the frame back. A signal's exception takes one back that waits for room. */
static PyObject *event_wait(stream_object *self, event *event) {
    receipt_wait wait = {0};
    PyObject *result = NULL;
    dbi_err err;
    dbi_rc rc = dbi_mailbox_new(&wait.mailbox, false, &err);

    if (rc == DBI_OK)
        rc = event_submit(self, event, wait.mailbox, wait.mailbox, &err);
    dbi_frame_done(event->frame);
    if (rc == DBI_OK) {
        rc = dbi_wait(receipt_slice, &wait, DBI_FOREVER, &err);
        if (rc != DBI_OK)
            (void)dbi_stream_withdraw(self->stream, wait.mailbox);
    }
    if (rc != DBI_OK)
        (void)dbi_raise(self->state, &err);
    else if (wait.receipt->err.rc != DBI_OK)
        (void)dbi_raise(self->state, &wait.receipt->err);
    else
        result = Py_NewRef(Py_None);
    dbi_letter_free(wait.receipt);
    dbi_mailbox_free(wait.mailbox);
    return result;
}

PyDoc_STRVAR(write_sync_doc,
             "write_sync($self, /, **fields)\n--\n\n"
             "Take one event, for code without an event loop.\n\n"
             "Returns at once, but where write() would wait: there it waits, without holding up other threads, for\n"
             "the disk, or for room at most as long as the stream's block_timeout. Raises what write() raises.");

static PyObject *stream_write_sync(stream_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    event event;
    dbi_err err;
    dbi_rc rc;

    if (is_diverted(self, kwnames))
        return PyObject_Vectorcall(self->elsewhere_sync, args, (size_t)nargs, kwnames);
    if (!event_encode(self, &event, args, nargs, kwnames))
        return NULL;
    if (!self->immediate)
        return event_wait(self, &event);
    rc = event_append(self, &event, &err);
    if (rc == DBI_EFULL && dbi_stream_may_wait(self->stream))
        return event_wait(self, &event);
    dbi_frame_done(event.frame);
    if (rc != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

/* -- looking at it ------------------------------------------------------------------------------------------------ */

PyDoc_STRVAR(snapshot_doc,
             "snapshot($self, /)\n--\n\n"
             "What became of the stream's events: accepted + recovered = landed + journaled + dead + dropped +\n"
             "damaged + lost_by_server. recovered ones were found in the journal, left by an earlier process.");

static PyObject *stream_snapshot_method(stream_object *self, PyObject *Py_UNUSED(ignored)) {
    return stream_snapshot(self->writer, dbi_stream_name(self->stream));
}

static PyObject *stream_get_name(stream_object *self, void *Py_UNUSED(closure)) {
    return PyUnicode_FromString(dbi_stream_name(self->stream));
}

static PyObject *stream_get_table(stream_object *self, void *Py_UNUSED(closure)) {
    return Py_NewRef(self->table);
}

static PyObject *stream_get_writer(stream_object *self, void *Py_UNUSED(closure)) {
    return Py_NewRef((PyObject *)self->writer);
}

static PyObject *stream_get_columns(stream_object *self, void *Py_UNUSED(closure)) {
    const dbi_schema *schema = dbi_stream_schema(self->stream);
    PyObject *columns = PyDict_New();

    for (unsigned i = 0; columns != NULL && i < schema->column_count; i++) {
        PyObject *type = PyUnicode_FromString(schema->columns[i].type_name);

        if (type == NULL || PyDict_SetItemString(columns, schema->columns[i].name, type) < 0)
            Py_CLEAR(columns);
        Py_XDECREF(type);
    }
    return columns;
}

static PyObject *stream_repr(stream_object *self) {
    return PyUnicode_FromFormat("<Stream '%s' into %U>", dbi_stream_name(self->stream), self->table);
}

static PyObject *stream_reduce(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    return PyErr_Format(PyExc_TypeError, "%s cannot be pickled: it belongs to its process", Py_TYPE(self)->tp_name);
}

static PyMethodDef stream_methods[] = {
    {"write", (PyCFunction)(void (*)(void))stream_write, METH_FASTCALL | METH_KEYWORDS, write_doc},
    {"write_mapping", (PyCFunction)stream_write_mapping, METH_O, write_mapping_doc},
    {"write_sync", (PyCFunction)(void (*)(void))stream_write_sync, METH_FASTCALL | METH_KEYWORDS, write_sync_doc},
    {"divert", (PyCFunction)(void (*)(void))stream_divert, METH_FASTCALL, divert_doc},
    {"snapshot", (PyCFunction)stream_snapshot_method, METH_NOARGS, snapshot_doc},
    {"__reduce__", stream_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
    {"columns", (getter)stream_get_columns, NULL, "The columns and their types, as SQL writes them.", NULL},
    {"name", (getter)stream_get_name, NULL, "The stream's name.", NULL},
    {"table", (getter)stream_get_table, NULL, "The table, as it was given.", NULL},
    {"writer", (getter)stream_get_writer, NULL, "The BatchWriter.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "Takes events of one kind for one table. Made by BatchWriter.stream()."},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear},
    {Py_tp_repr, stream_repr},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_getset},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "dbint._core.Stream",
    .basicsize = sizeof(stream_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = stream_slots,
};

int dbi_add_stream(PyObject *module, dbi_state *state) {
    state->stream_type = dbi_type_add(module, &stream_spec);
    return state->stream_type != NULL ? 0 : -1;
}
