/* snapshot.c - TableSnapshot: the rows of a table, chunk by chunk, into Kafka (dbint.flow.snapshot is its front) */
#include "cdc/snapshot.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "outlet_type.h"
#include "pool_type.h"

typedef struct table_snapshot_object {
    PyObject_HEAD
    dbi_state *state;
    dbi_table_snapshot *snapshot;
    PyObject *outlet; /* the core's snapshot borrows what is in it */
    int stop_fd;      /* readable from stop() on */
    bool busy;        /* a call is under way, without the GIL */
} table_snapshot_object;

/* --- making one --- */

static const char *text_read(const dbi_state *state, PyObject *value, const char *name, bool *good) {
    const char *text = value != NULL && value != Py_None ? dbi_arg_text(state, value, name, DBI_ERROR_INTERFACE) : NULL;

    if (text == NULL && value != NULL && value != Py_None)
        *good = false;
    return text;
}

static PyObject *table_snapshot_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"outlet",   "schema",  "table", "oid",  "topic",   "prefix",
                            "database", "version", "point", "only", "columns", "filter", "dead_letter_topic", NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *outlet, *schema, *table, *topic = NULL, *prefix = NULL, *database = NULL, *version = NULL;
    PyObject *columns = NULL, *filter = NULL, *dead_letter_topic = NULL, *items = NULL;
    table_snapshot_object *self = NULL;
    dbi_table_snapshot_config config = {0};
    unsigned long long point = 0;
    unsigned int oid;
    const char **texts = NULL;
    bool good = true;
    int only = 1;
    dbi_err err;

    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OUUI|$UUUUKpOOO:TableSnapshot", names, &outlet, &schema, &table, &oid,
                                     &topic, &prefix, &database, &version, &point, &only, &columns, &filter,
                                     &dead_letter_topic))
        return NULL;
    if (topic == NULL || prefix == NULL || database == NULL || version == NULL || point == 0)
        return PyErr_Format(PyExc_TypeError, "TableSnapshot() needs topic, prefix, database, version and point");
    if (!PyObject_TypeCheck(outlet, state->outlet_type))
        return PyErr_Format(PyExc_TypeError, "outlet must be an Outlet, not %.100s", Py_TYPE(outlet)->tp_name);
    config.outlet = ((outlet_object *)outlet)->outlet;
    config.nspname = text_read(state, schema, "schema", &good);
    config.relname = text_read(state, table, "table", &good);
    config.topic = text_read(state, topic, "topic", &good);
    config.prefix = text_read(state, prefix, "prefix", &good);
    config.database = text_read(state, database, "database", &good);
    config.version = text_read(state, version, "version", &good);
    config.filter = text_read(state, filter, "filter", &good);
    config.dead_letter_topic = text_read(state, dead_letter_topic, "dead_letter_topic", &good);
    if (!good || !dbi_arg_texts(state, columns, "columns", DBI_ERROR_INTERFACE, &items, &texts))
        goto done;
    config.oid = oid;
    config.only = only != 0;
    config.point = point;
    config.columns = items != NULL && PyTuple_GET_SIZE(items) > 0 ? texts : NULL;
    config.column_count = config.columns != NULL ? (unsigned)PyTuple_GET_SIZE(items) : 0;
    self = (table_snapshot_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto done;
    self->state = state;
    self->outlet = Py_NewRef(outlet);
    self->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->stop_fd < 0) {
        (void)PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(self);
    } else if (dbi_table_snapshot_new(&self->snapshot, &config, &err) != DBI_OK) {
        (void)dbi_raise(state, &err);
        Py_CLEAR(self);
    }
done:
    PyMem_Free(texts);
    Py_XDECREF(items);
    return (PyObject *)self;
}

static int table_snapshot_traverse(table_snapshot_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->outlet);
    return 0;
}

static void table_snapshot_dealloc(table_snapshot_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    dbi_table_snapshot_free(self->snapshot);
    Py_XDECREF(self->outlet);
    if (self->stop_fd >= 0)
        (void)close(self->stop_fd);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- calls that wait --- */

/* One call at a time: its answer lies in the snapshot. */
static bool busy_begin(table_snapshot_object *self) {
    if (self->busy) {
        (void)dbi_raise_as(self->state, DBI_ERROR_INTERFACE, "another thread uses this snapshot");
        return false;
    }
    self->busy = true;
    return true;
}

static PyObject *key_tuple(const dbi_table_chunk *chunk) {
    PyObject *key;

    if (chunk->key_count == 0)
        return Py_NewRef(Py_None);
    key = PyTuple_New((Py_ssize_t)chunk->key_count);
    for (unsigned i = 0; key != NULL && i < chunk->key_count; i++) {
        PyObject *part = PyUnicode_FromString(chunk->key[i]);

        if (part == NULL)
            Py_CLEAR(key);
        else
            PyTuple_SET_ITEM(key, (Py_ssize_t)i, part);
    }
    return key;
}

PyDoc_STRVAR(chunk_doc,
             "chunk($self, pool, *, layout=None, after=None, rows=50000, timeout=None)\n--\n\n"
             "Read up to rows rows behind the key after, send them, and wait until they are delivered.\n\n"
             "Returns (changed, last, rows, bytes, layout, key, dead_letters): whether the table no longer looks like\n"
             "layout (then nothing was sent), whether there is nothing behind this chunk, how much was sent, what the\n"
             "table looks like, the key of the last row as a tuple of str (None: no row, or a table without a key),\n"
             "and how many rows were too large and have a note in dead_letter_topic in their place. pool is a Pool of\n"
             "the source database. timeout is in seconds. Raises OperationalError after stop().");

static PyObject *table_snapshot_chunk(table_snapshot_object *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames) {
    static const dbi_params params = {.func = "chunk",
                                      .required = 1,
                                      .positional = 1,
                                      .names = {"pool", "layout", "after", "rows", "timeout", NULL}};
    PyObject *values[5], *items = NULL, *answer = NULL;
    int64_t timeout = DBI_FOREVER, rows = 50000, deadline;
    dbi_interrupt interrupt = {.fd = self->stop_fd, .check = dbi_check_signals};
    const char **after = NULL, *layout;
    unsigned after_count = 0;
    dbi_table_chunk chunk;
    PyThreadState *thread;
    dbi_conn *conn = NULL;
    dbi_pool *pool;
    bool good = true;
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values))
        return NULL;
    if (!PyObject_TypeCheck(values[0], self->state->pool_type))
        return PyErr_Format(PyExc_TypeError, "pool must be a Pool, not %.100s", Py_TYPE(values[0])->tp_name);
    layout = text_read(self->state, values[1], "layout", &good);
    if (!good || !dbi_arg_texts(self->state, values[2], "after", DBI_ERROR_INTERFACE, &items, &after) ||
        (values[3] != NULL && !dbi_arg_int(self->state, values[3], "rows", 1, INT64_MAX, &rows)) ||
        (values[4] != NULL && !dbi_arg_seconds(self->state, values[4], "timeout", &timeout)) || !busy_begin(self))
        goto done;
    if (items != NULL)
        after_count = (unsigned)PyTuple_GET_SIZE(items);
    deadline = dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout);
    pool = ((pool_object *)values[0])->pool;
    interrupt.arg = &thread;
    thread = PyEval_SaveThread();
    do {
        rc = dbi_pool_acquire_with(pool, &conn, deadline, &interrupt, &err);
        if (rc != DBI_OK)
            break;
        rc = dbi_table_snapshot_chunk(self->snapshot, conn, &interrupt, layout, after, after_count, (uint64_t)rows,
                                      deadline, &chunk, &err);
        dbi_pool_release(pool, conn, rc == DBI_OK ? DBI_CONN_KEEP : DBI_CONN_DISCARD, "its chunk did not come to an end");
    } while (rc == DBI_ETOOBIG && dbi_table_snapshot_sort(self->snapshot));
    PyEval_RestoreThread(thread);
    if (rc != DBI_OK) {
        (void)dbi_raise(self->state, &err);
    } else {
        PyObject *key = key_tuple(&chunk);

        if (key != NULL)
            answer = Py_BuildValue("(OOKKsNK)", chunk.changed ? Py_True : Py_False, chunk.last ? Py_True : Py_False,
                                   (unsigned long long)chunk.rows, (unsigned long long)chunk.bytes, chunk.layout, key,
                                   (unsigned long long)chunk.dead_letters);
    }
    self->busy = false;
done:
    PyMem_Free(after);
    Py_XDECREF(items);
    return answer;
}

PyDoc_STRVAR(sweep_doc,
             "sweep($self, timeout=None)\n--\n\n"
             "Send that whatever is older than this snapshot is gone (op t), and wait until that is delivered.\n\n"
             "To be called behind the last chunk of a table that had been sent before. timeout is in seconds.");

static PyObject *table_snapshot_sweep(table_snapshot_object *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames) {
    static const dbi_params params = {.func = "sweep", .positional = 1, .names = {"timeout", NULL}};
    dbi_interrupt interrupt = {.fd = self->stop_fd, .check = dbi_check_signals};
    int64_t timeout = DBI_FOREVER, deadline;
    PyThreadState *thread;
    PyObject *values[1];
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != NULL && !dbi_arg_seconds(self->state, values[0], "timeout", &timeout)) || !busy_begin(self))
        return NULL;
    deadline = dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout);
    interrupt.arg = &thread;
    thread = PyEval_SaveThread();
    rc = dbi_table_snapshot_sweep(self->snapshot, &interrupt, deadline, &err);
    PyEval_RestoreThread(thread);
    self->busy = false;
    if (rc != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "stop($self, /)\n--\n\n"
                       "End the call that is under way, and every later one, with OperationalError. From any thread.");

static PyObject *table_snapshot_stop(table_snapshot_object *self, PyObject *Py_UNUSED(ignored)) {
    if (eventfd_write(self->stop_fd, 1) != 0 && errno != EAGAIN)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef table_snapshot_methods[] = {
    {"chunk", (PyCFunction)(void (*)(void))table_snapshot_chunk, METH_FASTCALL | METH_KEYWORDS, chunk_doc},
    {"sweep", (PyCFunction)(void (*)(void))table_snapshot_sweep, METH_FASTCALL | METH_KEYWORDS, sweep_doc},
    {"stop", (PyCFunction)table_snapshot_stop, METH_NOARGS, stop_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(table_snapshot_doc,
             "TableSnapshot(outlet, schema, table, oid, *, topic, prefix, database, version, point, only=True,\n"
             "              columns=None, filter=None, dead_letter_topic=None)\n--\n\n"
             "The rows of a table of PostgreSQL as messages of Kafka (op r).\n\n"
             "point is the place in the log that the rows' sequence names. columns are those to be sent, None: all\n"
             "that are not generated; filter is SQL, of the columns. only=False reads partitions, too.");

static PyType_Slot table_snapshot_slots[] = {
    {Py_tp_doc, (void *)table_snapshot_doc},    {Py_tp_new, table_snapshot_new},
    {Py_tp_dealloc, table_snapshot_dealloc},    {Py_tp_traverse, table_snapshot_traverse},
    {Py_tp_methods, table_snapshot_methods},    {0, NULL},
};

static PyType_Spec table_snapshot_spec = {
    .name = "dbint._core.TableSnapshot",
    .basicsize = sizeof(table_snapshot_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_snapshot_slots,
};

int dbi_add_table_snapshot(PyObject *module, dbi_state *state) {
    state->table_snapshot_type = dbi_type_add(module, &table_snapshot_spec);
    return state->table_snapshot_type != NULL ? 0 : -1;
}
