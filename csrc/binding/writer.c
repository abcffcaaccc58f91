/* writer.c - BatchWriter: streams of events on their way into PostgreSQL */
#include "alloc.h"
#include "breaker_type.h"
#include "pool_type.h"
#include "values.h"
#include "writer_type.h"

#define EXIT_TIMEOUT (5 * DBI_NS_PER_S) /* for all writers together, when the interpreter ends */

/* -- arguments ---------------------------------------------------------------------------------------------------- */

/* Its place among the names; -1 with ConfigurationError set. */
static int choice_read(const dbi_state *state, const char *name, const char *text, const char *const *choices,
                       int count) {
    char known[128] = "";
    size_t used = 0;

    for (int i = 0; i < count; i++) {
        if (strcmp(text, choices[i]) == 0)
            return i;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s'%s'", i != 0 ? ", " : "", choices[i]);
    }
    (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%s must be one of %s, not '%s'", name, known, text);
    return -1;
}

/* NULL = not given: *number stays as it is. */
static bool count_read(const dbi_state *state, PyObject *value, const char *name, int64_t high, int64_t *number) {
    return value == NULL || dbi_arg_int(state, value, name, 1, high, number);
}

static bool time_read(const dbi_state *state, PyObject *value, const char *name, int64_t *ns) {
    return value == NULL || dbi_arg_seconds(state, value, name, ns);
}

/* One name of a table: as it stands there, or "quoted" where it holds a dot. *text moves behind it. */
static bool name_read(const char **text, char name[DBI_NAME_SIZE]) {
    bool quoted = **text == '"';
    const char *at = *text + quoted;
    size_t length = 0;

    for (; *at != '\0' && (quoted ? *at != '"' || at[1] == '"' : *at != '.'); at++) {
        if (length == DBI_NAME_SIZE - 1)
            return false;
        name[length++] = *at;
        if (quoted && *at == '"')
            at++;
    }
    if (quoted && *at++ != '"')
        return false;
    name[length] = '\0';
    *text = at;
    return length > 0;
}

/* "table", "schema.table"; nspname "" = not said. False with ConfigurationError set. */
static bool table_read(const dbi_state *state, const char *text, char nspname[DBI_NAME_SIZE],
                       char relname[DBI_NAME_SIZE]) {
    const char *at = text;

    nspname[0] = '\0';
    if (name_read(&at, relname) && *at == '.') {
        strcpy(nspname, relname);
        at++;
        if (name_read(&at, relname) && *at == '\0')
            return true;
    } else if (at != text && *at == '\0') {
        return true;
    }
    (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION,
                       "table must be 'table' or 'schema.table', a name of at most %d bytes each and in double quotes "
                       "where it holds a dot, not '%s'",
                       DBI_NAME_SIZE - 1, text);
    return false;
}

/* -- life --------------------------------------------------------------------------------------------------------- */

typedef struct writer_args {
    const char *name;
    PyObject *pool, *directory, *breaker, *shippers, *max_bytes, *keep_bytes, *keep_seconds, *segment_min, *segment_max,
        *batch_bytes, *stall_timeout, *adopt_every;
} writer_args;

static bool config_read(const dbi_state *state, const writer_args *args, dbi_writer_config *config) {
    int64_t shippers = config->shippers, max = (int64_t)config->journal.max_bytes,
            keep = (int64_t)config->journal.keep_bytes, segment_min = (int64_t)config->journal.segment_min,
            segment_max = (int64_t)config->journal.segment_max, batch = (int64_t)config->batch_bytes;

    if (!count_read(state, args->shippers, "shippers", 64, &shippers) ||
        !count_read(state, args->max_bytes, "max_bytes", INT64_MAX, &max) ||
        (args->keep_bytes != NULL && !dbi_arg_int(state, args->keep_bytes, "keep_bytes", 0, INT64_MAX, &keep)) ||
        !time_read(state, args->keep_seconds, "keep_seconds", &config->journal.keep_ns) ||
        !count_read(state, args->segment_min, "segment_min", INT64_MAX, &segment_min) ||
        !count_read(state, args->segment_max, "segment_max", INT64_MAX, &segment_max) ||
        !count_read(state, args->batch_bytes, "batch_bytes", (int64_t)1 << 30, &batch) ||
        !time_read(state, args->stall_timeout, "stall_timeout", &config->stall_timeout) ||
        !time_read(state, args->adopt_every, "adopt_every", &config->adopt_every))
        return false;
    config->shippers = (uint32_t)shippers;
    config->journal.max_bytes = (uint64_t)max;
    config->journal.keep_bytes = (uint64_t)keep;
    config->journal.segment_min = (uint64_t)segment_min;
    config->journal.segment_max = (uint64_t)segment_max;
    config->batch_bytes = (size_t)batch;
    return true;
}

static PyObject *writers_open(dbi_state *state, PyObject *module);

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pool",        "directory",   "name",        "breaker",       "shippers",
                            "max_bytes",   "keep_bytes",  "keep_seconds", "segment_min",  "segment_max",
                            "batch_bytes", "stall_timeout", "adopt_every", NULL};
    dbi_state *state = dbi_state_of(type);
    writer_args given = {.name = "default", .breaker = Py_None};
    PyObject *added, *writers;
    dbi_writer_config config;
    writer_object *self = NULL;
    dbi_err err;
    dbi_rc rc;

    dbi_writer_defaults(&config);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!O&|$sOOOOOOOOOO:BatchWriter", names, state->pool_type,
                                     &given.pool, PyUnicode_FSConverter, &given.directory, &given.name, &given.breaker,
                                     &given.shippers, &given.max_bytes, &given.keep_bytes, &given.keep_seconds,
                                     &given.segment_min, &given.segment_max, &given.batch_bytes, &given.stall_timeout,
                                     &given.adopt_every))
        goto done;
    if (given.breaker != Py_None && !PyObject_TypeCheck(given.breaker, state->breaker_type)) {
        (void)PyErr_Format(PyExc_TypeError, "breaker must be a CircuitBreaker or None, not %s",
                           Py_TYPE(given.breaker)->tp_name);
        goto done;
    }
    config.name = given.name;
    config.pool = ((pool_object *)given.pool)->pool;
    config.journal.directory = PyBytes_AS_STRING(given.directory);
    if (given.breaker != Py_None)
        config.breaker = ((breaker_object *)given.breaker)->breaker;
    if (!config_read(state, &given, &config))
        goto done;
    self = (writer_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto done;
    self->state = state;
    self->pool = Py_NewRef(given.pool);
    self->breaker = given.breaker != Py_None ? Py_NewRef(given.breaker) : NULL;
    if (!channels_init(&self->channels)) {
        Py_CLEAR(self);
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
        rc = dbi_writer_new(&self->writer, &config, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK) {
        (void)dbi_raise(state, &err);
        Py_CLEAR(self);
        goto done;
    }
    writers = writers_open(state, PyType_GetModuleByDef(type, &dbi_module));
    added = writers != NULL ? PyObject_CallMethod(writers, "add", "O", self) : NULL;
    if (added == NULL)
        Py_CLEAR(self);
    Py_XDECREF(added);
done:
    Py_XDECREF(given.directory);
    return (PyObject *)self;
}

static uint64_t rows_left(dbi_writer *writer) {
    dbi_stream_view views[64];
    size_t count = dbi_writer_streams(writer, views, 64);
    uint64_t left = 0;

    for (size_t i = 0; i < count && i < 64; i++)
        left += views[i].journaled;
    return left;
}

/* One that was not closed says so; what it holds stays in the journal. */
static void writer_finalize(PyObject *object) {
    writer_object *self = (writer_object *)object;
    PyObject *type, *value, *traceback;

    if (self->writer == NULL)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (!dbi_writer_closed(self->writer) && dbi_writer_running(self->writer) &&
        PyErr_ResourceWarning(object, 1, "a BatchWriter was not closed; events that stay in the journal: %llu",
                              (unsigned long long)rows_left(self->writer)) < 0)
        PyErr_WriteUnraisable(object);
    channels_detach(&self->channels);
    PyErr_Restore(type, value, traceback);
}

static int writer_traverse(writer_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->pool);
    Py_VISIT(self->breaker);
    return channels_traverse(&self->channels, visit, arg);
}

/* Pool and breaker stay until the core's writer is gone. */
static int writer_clear(writer_object *self) {
    channels_clear(&self->channels);
    return 0;
}

static void writer_dealloc(PyObject *object) {
    writer_object *self = (writer_object *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    Py_BEGIN_ALLOW_THREADS
        dbi_writer_free(self->writer);
    Py_END_ALLOW_THREADS
    (void)writer_clear(self);
    Py_XDECREF(self->pool);
    Py_XDECREF(self->breaker);
    type->tp_free(object);
    Py_DECREF(type);
}

/* -- streams ------------------------------------------------------------------------------------------------------ */

/* Between two slices of a wait: takes the GIL for as long as signal handlers need. */
static dbi_rc signals_check(void *arg) {
    PyThreadState **thread = arg;
    int raised;

    PyEval_RestoreThread(*thread);
    raised = PyErr_CheckSignals();
    *thread = PyEval_SaveThread();
    return raised < 0 ? DBI_EINTR : DBI_OK;
}

/* The columns from the server. `columns` is NULL or a sequence of str. NULL with an exception set. */
static dbi_schema *schema_ask(writer_object *self, const char *nspname, const char *relname, PyObject *columns,
                              int64_t deadline) {
    PyObject *items = columns != NULL ? PySequence_Tuple(columns) : PyTuple_New(0);
    dbi_interrupt interrupt = {.fd = -1, .check = signals_check};
    const char **names = NULL;
    dbi_schema *schema = NULL;
    PyThreadState *thread;
    Py_ssize_t count;
    dbi_err err;
    dbi_rc rc;

    if (items == NULL)
        return NULL;
    count = PyTuple_GET_SIZE(items);
    names = PyMem_Calloc((size_t)count + 1, sizeof *names);
    if (names == NULL) {
        (void)PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t length;

        names[i] = PyUnicode_Check(PyTuple_GET_ITEM(items, i))
                       ? PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(items, i), &length)
                       : NULL;
        if (names[i] == NULL || (size_t)length != strlen(names[i])) {
            if (!PyErr_Occurred())
                (void)PyErr_Format(PyExc_TypeError, "columns must be names of columns, not %R",
                                   PyTuple_GET_ITEM(items, i));
            goto done;
        }
    }
    if (columns != NULL && count == 0) {
        (void)dbi_raise_as(self->state, DBI_ERROR_CONFIGURATION, "columns: a stream has at least one");
        goto done;
    }
    interrupt.arg = &thread;
    thread = PyEval_SaveThread();
    rc = dbi_writer_schema(self->writer, nspname, relname, names, (size_t)count, deadline, &interrupt, &schema, &err);
    PyEval_RestoreThread(thread);
    if (rc == DBI_EINVAL)
        (void)dbi_raise_as(self->state, DBI_ERROR_CONFIGURATION, "%s", err.msg);
    else if (rc != DBI_OK)
        (void)dbi_raise(self->state, &err);
done:
    PyMem_Free(names);
    Py_DECREF(items);
    return schema;
}

PyDoc_STRVAR(
    stream_doc,
    "stream($self, table, *, name=None, columns=None, fill={}, durability='process', sync_interval=0.1,\n"
    "       batch_size=100, batch_timeout=1.0, lanes=1, lane_key=None, when_full='block', block_timeout=None,\n"
    "       timeout=5.0)\n--\n\n"
    "Open a stream of events into a table: 'schema.table', or 'table' as search_path finds it.\n\n"
    "columns maps names to types as SQL writes them, and needs no server; a sequence of names, or None for all that\n"
    "an event gives, asks the server for the types, for at most timeout seconds, or takes them as they were when it\n"
    "was last asked. fill maps a column that an event need not give to what it then gets: 'null', 'uuid7', 'now'.\n"
    "durability: 'memory' is lost with the process; 'process' survives its death; 'interval' also that of the\n"
    "machine, but for the last sync_interval seconds; 'sync' waits for the disk. Rows are shipped when there are\n"
    "batch_size of them, or after batch_timeout seconds. lanes are shipped side by side and keep order only in\n"
    "themselves: rows that agree in the column lane_key share one. when_full: 'block' waits, block_timeout seconds\n"
    "at most, 'reject' raises QueueFullError, 'drop_oldest' gives up what has waited longest. The same name gives\n"
    "the same stream again.\n\n"
    "Raises ConfigurationError; UnreachableError where the columns are not known and the server is away.");

static PyObject *writer_stream(writer_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"table",         "name",     "columns",   "fill",          "durability",
                            "sync_interval", "batch_size", "batch_timeout", "lanes",   "lane_key",
                            "when_full",     "block_timeout", "timeout", NULL};
    static const char *const durabilities[] = {"memory", "process", "interval", "sync"};
    static const char *const policies[] = {"block", "reject", "drop_oldest"};
    const char *table, *name = NULL, *durability = "process", *lane_key = NULL, *when_full = "block";
    PyObject *columns = Py_None, *fill = NULL, *sync_interval = NULL, *batch_size = NULL, *batch_timeout = NULL,
             *lanes = NULL, *block_timeout = NULL, *timeout = NULL, *shown, *result = NULL;
    int64_t size, count = 1, wait = 5 * DBI_NS_PER_S;
    char nspname[DBI_NAME_SIZE], relname[DBI_NAME_SIZE], both[2 * DBI_NAME_SIZE];
    dbi_schema *schema = NULL;
    dbi_stream_config config;
    dbi_stream *stream;
    dbi_err err;
    dbi_rc rc;
    int choice;

    dbi_stream_defaults(&config);
    size = config.batch_size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|$zOOsOOOOzsOO:stream", names, &table, &name, &columns, &fill,
                                     &durability, &sync_interval, &batch_size, &batch_timeout, &lanes, &lane_key,
                                     &when_full, &block_timeout, &timeout) ||
        !table_read(self->state, table, nspname, relname) ||
        !time_read(self->state, sync_interval, "sync_interval", &config.sync_interval) ||
        !count_read(self->state, batch_size, "batch_size", UINT32_MAX, &size) ||
        !time_read(self->state, batch_timeout, "batch_timeout", &config.batch_timeout) ||
        !count_read(self->state, lanes, "lanes", DBI_STREAM_LANES_MAX, &count) ||
        !time_read(self->state, block_timeout, "block_timeout", &config.block_timeout) ||
        !time_read(self->state, timeout, "timeout", &wait))
        return NULL;
    if ((choice = choice_read(self->state, "durability", durability, durabilities, 4)) < 0)
        return NULL;
    config.durability = (dbi_durability)choice;
    if ((choice = choice_read(self->state, "when_full", when_full, policies, 3)) < 0)
        return NULL;
    config.when_full = (dbi_full)choice;
    config.batch_size = (uint32_t)size;
    config.lanes = (uint32_t)count;
    config.lane_key = lane_key;
    (void)snprintf(both, sizeof both, "%s%s%s", nspname, nspname[0] != '\0' ? "." : "", relname);
    config.name = name != NULL ? name : both;
    if (columns != Py_None && PyMapping_Check(columns) && !PySequence_Check(columns))
        schema = dbi_schema_from_mapping(self->state, nspname[0] != '\0' ? nspname : "public", relname, columns);
    else if (columns != Py_None && PyUnicode_Check(columns))
        (void)PyErr_Format(PyExc_TypeError, "columns must be a mapping or a sequence of names, not one str");
    else
        schema = schema_ask(self, nspname, relname, columns != Py_None ? columns : NULL,
                            dbi_clock_deadline(NULL, wait == DBI_FOREVER ? -1 : wait));
    if (schema == NULL || (fill != NULL && !dbi_schema_set_fill(self->state, schema, fill)))
        goto done;
    if (dbi_schema_check(schema, &err) != DBI_OK) {
        (void)dbi_raise_as(self->state, DBI_ERROR_CONFIGURATION, "stream \"%s\": %s", config.name, err.msg);
        goto done;
    }
    config.schema = schema;
    Py_BEGIN_ALLOW_THREADS
        rc = dbi_writer_stream(self->writer, &config, &stream, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK) {
        (void)dbi_raise(self->state, &err);
        goto done;
    }
    shown = PyUnicode_FromString(table);
    if (shown != NULL)
        result = stream_new(self, stream, shown);
    Py_XDECREF(shown);
done:
    dbi_schema_free(schema);
    return result;
}

/* -- flushing and closing ----------------------------------------------------------------------------------------- */

PyObject *receipt_outcome(channel_object *Py_UNUSED(channel), const dbi_state *state, const dbi_letter *letter) {
    const dbi_receipt *receipt = (const dbi_receipt *)letter;

    if (receipt->flush)
        return PyLong_FromUnsignedLongLong(receipt->left);
    return receipt->err.rc == DBI_OK ? Py_NewRef(Py_None) : dbi_raise(state, &receipt->err);
}

typedef struct flush_wait {
    dbi_mailbox *mailbox;
    dbi_receipt *receipt;
} flush_wait;

static dbi_rc flush_slice(void *arg, int64_t deadline, dbi_err *err) {
    flush_wait *wait = arg;

    wait->receipt = (dbi_receipt *)dbi_mailbox_wait(wait->mailbox, deadline);
    return wait->receipt != NULL ? DBI_OK : dbi_err_set(err, DBI_ETIMEOUT, "the flush still waits");
}

/* *left = events that have not landed at the deadline. DBI_EINTR with the exception of a signal handler set. */
static dbi_rc flush(writer_object *self, int64_t deadline, uint64_t *left, dbi_err *err) {
    flush_wait wait = {0};
    dbi_rc rc = dbi_mailbox_new(&wait.mailbox, false, err);

    *left = 0;
    if (rc == DBI_OK)
        rc = dbi_writer_flush_later(self->writer, deadline, wait.mailbox, wait.mailbox, err);
    if (rc == DBI_OK) {
        rc = dbi_wait(flush_slice, &wait, deadline, err);
        if (rc != DBI_OK && !dbi_writer_flush_withdraw(self->writer, wait.mailbox, left))
            wait.receipt = (dbi_receipt *)dbi_mailbox_take(wait.mailbox);
        if (wait.receipt != NULL)
            *left = wait.receipt->left;
        if (rc == DBI_ETIMEOUT)
            rc = DBI_OK;
    }
    dbi_letter_free(wait.receipt);
    dbi_mailbox_free(wait.mailbox);
    return rc;
}

/* The timeout as a deadline; NULL = `otherwise`. */
static bool deadline_read(const dbi_state *state, PyObject *value, int64_t otherwise, int64_t *deadline) {
    int64_t timeout = otherwise;

    if (!time_read(state, value, "timeout", &timeout))
        return false;
    *deadline = dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout);
    return true;
}

PyDoc_STRVAR(flush_doc, "flush($self, timeout=None)\n--\n\n"
                        "Wait until all events taken so far have landed, timeout seconds at most.\n\n"
                        "Returns how many have not: 0 = all have. They stay in the journal, and on their way.");

static PyObject *writer_flush(writer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "flush", .positional = 1, .names = {"timeout", NULL}};
    PyObject *values[1];
    int64_t deadline;
    uint64_t left;
    dbi_err err;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        !deadline_read(self->state, values[0], DBI_FOREVER, &deadline))
        return NULL;
    if (flush(self, deadline, &left, &err) != DBI_OK)
        return dbi_raise(self->state, &err);
    return PyLong_FromUnsignedLongLong(left);
}

static bool flush_withdraw(void *writer, const void *user) {
    uint64_t left;

    return dbi_writer_flush_withdraw(writer, user, &left);
}

PyDoc_STRVAR(flush_async_doc, "flush_async($self, timeout=None)\n--\n\nflush() to be awaited.");

static PyObject *writer_flush_async(writer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "flush_async", .positional = 1, .names = {"timeout", NULL}};
    channel_object *channel;
    PyObject *values[1], *future;
    int64_t deadline;
    dbi_err err;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        !deadline_read(self->state, values[0], DBI_FOREVER, &deadline) ||
        (channel = channels_find(&self->channels, self->state, (PyObject *)self, receipt_outcome)) == NULL ||
        (future = channel_future(channel)) == NULL)
        return NULL;
    if (dbi_writer_flush_later(self->writer, deadline, channel->mailbox, future, &err) != DBI_OK) {
        Py_DECREF(future);
        return dbi_raise(self->state, &err);
    }
    channel_promised(channel, future);
    return completion_new(self->state, future, (PyObject *)self, flush_withdraw, self->writer);
}

/* Ends it, whatever has been raised meanwhile. */
static dbi_rc close_at(writer_object *self, int64_t deadline, uint64_t *left, dbi_err *err) {
    uint64_t waiting;
    dbi_err ignored;
    dbi_rc rc, flushed;

    *left = 0;
    Py_BEGIN_ALLOW_THREADS
        rc = dbi_writer_seal(self->writer, err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return rc;
    flushed = dbi_writer_running(self->writer) ? flush(self, deadline, &waiting, err) : DBI_OK;
    Py_BEGIN_ALLOW_THREADS
        rc = dbi_writer_close(self->writer, 0, left, &ignored);
    Py_END_ALLOW_THREADS
    channels_detach(&self->channels);
    return flushed;
}

PyDoc_STRVAR(close_doc, "close($self, timeout=5.0)\n--\n\n"
                        "Take no more events, flush for at most timeout seconds, and end the writer's threads.\n\n"
                        "Returns how many events have not landed: they stay in the journal, for the next process that\n"
                        "opens it, or one that runs beside this one. A second close returns 0.");

static PyObject *writer_close(writer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "close", .positional = 1, .names = {"timeout", NULL}};
    PyObject *values[1];
    int64_t deadline;
    uint64_t left;
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        !deadline_read(self->state, values[0], 5 * DBI_NS_PER_S, &deadline))
        return NULL;
    rc = close_at(self, deadline, &left, &err);
    if (rc != DBI_OK && rc != DBI_ECLOSED)
        return dbi_raise(self->state, &err);
    return PyLong_FromUnsignedLongLong(left);
}

/* -- the interpreter's end ---------------------------------------------------------------------------------------- */

/* atexit: all writers take no more, and have 5 s together for what they hold. */
static PyObject *writers_close(PyObject *module, PyObject *Py_UNUSED(ignored)) {
    dbi_state *state = PyModule_GetState(module);
    int64_t deadline = dbi_clock_deadline(NULL, EXIT_TIMEOUT);
    PyObject *writers = PySequence_List(state->writers);

    if (writers == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(writers); i++) {
        writer_object *self = (writer_object *)PyList_GET_ITEM(writers, i);
        uint64_t left;
        dbi_err err;
        dbi_rc rc = close_at(self, deadline, &left, &err);

        if (rc != DBI_OK && rc != DBI_ECLOSED) {
            (void)dbi_raise(state, &err);
            PyErr_WriteUnraisable((PyObject *)self);
        }
    }
    Py_DECREF(writers);
    Py_RETURN_NONE;
}

static PyMethodDef writers_close_method = {"_close_writers", writers_close, METH_NOARGS, NULL};

/* The set, by weak references, of writers to be closed at exit; borrowed. NULL with an exception set. */
static PyObject *writers_open(dbi_state *state, PyObject *module) {
    PyObject *weakref, *atexit = NULL, *hook = NULL, *registered = NULL, *writers = NULL;

    if (state->writers != NULL)
        return state->writers;
    weakref = PyImport_ImportModule("weakref");
    if (weakref != NULL)
        writers = PyObject_CallMethod(weakref, "WeakSet", NULL);
    if (writers != NULL && (atexit = PyImport_ImportModule("atexit")) != NULL)
        hook = PyCFunction_NewEx(&writers_close_method, module, NULL);
    if (hook != NULL)
        registered = PyObject_CallMethod(atexit, "register", "O", hook);
    if (registered != NULL)
        state->writers = Py_NewRef(writers);
    Py_XDECREF(weakref);
    Py_XDECREF(atexit);
    Py_XDECREF(hook);
    Py_XDECREF(registered);
    Py_XDECREF(writers);
    return state->writers;
}

/* -- looking at it ------------------------------------------------------------------------------------------------ */

/* Puts value (stolen; NULL: an error is set) into dict. */
static bool put(PyObject *dict, const char *key, PyObject *value) {
    bool done = value != NULL && PyDict_SetItemString(dict, key, value) == 0;

    Py_XDECREF(value);
    return done;
}

static PyObject *number(uint64_t value) {
    return PyLong_FromUnsignedLongLong(value);
}

static PyObject *text_or_none(const char *text) {
    return text[0] != '\0' ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace") : Py_NewRef(Py_None);
}

static PyObject *seconds_or_none(int64_t ns) {
    return ns >= 0 && ns != DBI_FOREVER ? PyFloat_FromDouble((double)ns / (double)DBI_NS_PER_S) : Py_NewRef(Py_None);
}

static PyObject *chain_dict(const dbi_chain_report *report) {
    const dbi_err *error = &report->ship.last_error;
    PyObject *dict = PyDict_New();
    char id[33];

    for (int i = 0; i < 16; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", report->chain.id[i]);
    if (dict != NULL &&
        !(put(dict, "chain", PyUnicode_FromString(id)) && put(dict, "lane", number(report->chain.lane)) &&
          put(dict, "adopted", PyBool_FromLong(report->chain.adopted)) &&
          put(dict, "ended", PyBool_FromLong(report->chain.ended)) && put(dict, "last", number(report->chain.last)) &&
          put(dict, "landed", number(report->chain.landed)) && put(dict, "bytes", number(report->chain.bytes)) &&
          put(dict, "state", PyUnicode_FromString(dbi_ship_state_text(report->ship.state))) &&
          put(dict, "reason", text_or_none(report->ship.why)) &&
          put(dict, "last_error", text_or_none(error->rc != DBI_OK ? error->msg : "")) &&
          put(dict, "retry_in", seconds_or_none(report->retry_ns)) &&
          put(dict, "attempts", number(report->ship.attempts))))
        Py_CLEAR(dict);
    return dict;
}

static PyObject *stream_dict(const dbi_stream_view *view, const dbi_chain_report *reports, size_t count) {
    PyObject *dict = PyDict_New(), *chains = PyList_New(0);

    for (size_t i = 0; chains != NULL && i < count; i++) {
        PyObject *chain;

        if (strcmp(reports[i].name, view->name) != 0)
            continue;
        chain = chain_dict(&reports[i]);
        if (chain == NULL || PyList_Append(chains, chain) < 0)
            Py_CLEAR(chains);
        Py_XDECREF(chain);
    }
    if (dict != NULL &&
        !(put(dict, "open", PyBool_FromLong(view->open)) && put(dict, "accepted", number(view->accepted)) &&
          put(dict, "recovered", number(view->recovered)) && put(dict, "landed", number(view->landed)) &&
          put(dict, "journaled", number(view->journaled)) && put(dict, "dead", number(view->dead)) &&
          put(dict, "dropped", Py_BuildValue("{sK}", "oldest", (unsigned long long)view->dropped_oldest)) &&
          put(dict, "damaged", number(view->damaged)) && put(dict, "lost_by_server", number(view->lost_by_server)) &&
          put(dict, "rejected", number(view->rejected)) && put(dict, "waiting", number(view->waiting)) &&
          put(dict, "journaled_bytes", number(view->journaled_bytes)) &&
          put(dict, "ambiguous_commits_resolved", number(view->ambiguous_resolved)) &&
          put(dict, "oldest_age", seconds_or_none(view->oldest_ns)) && put(dict, "chains", Py_XNewRef(chains))))
        Py_CLEAR(dict);
    Py_XDECREF(chains);
    return dict;
}

/* All there is to see of streams and chains, copied while nobody else adds to it. */
typedef struct figures {
    dbi_stream_view *streams;
    dbi_chain_report *chains;
    size_t stream_count, chain_count;
} figures;

static void figures_reset(figures *figures) {
    PyMem_Free(figures->streams);
    PyMem_Free(figures->chains);
}

static bool figures_take(writer_object *self, figures *figures) {
    size_t streams = dbi_writer_streams(self->writer, NULL, 0) + 4; /* room for some that come meanwhile */
    size_t chains = dbi_writer_chains(self->writer, NULL, 0) + 8;

    figures->streams = PyMem_Calloc(streams, sizeof *figures->streams);
    figures->chains = PyMem_Calloc(chains, sizeof *figures->chains);
    if (figures->streams == NULL || figures->chains == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    figures->chain_count = dbi_writer_chains(self->writer, figures->chains, chains);
    figures->stream_count = dbi_writer_streams(self->writer, figures->streams, streams);
    if (figures->chain_count > chains)
        figures->chain_count = chains;
    if (figures->stream_count > streams)
        figures->stream_count = streams;
    return true;
}

PyObject *stream_snapshot(writer_object *self, const char *name) {
    dbi_stream_view none = {.oldest_ns = -1};
    const dbi_stream_view *view = &none; /* a child that has taken nothing yet */
    figures figures = {0};
    PyObject *dict = NULL;

    if (figures_take(self, &figures)) {
        (void)snprintf(none.name, sizeof none.name, "%s", name);
        for (size_t i = 0; i < figures.stream_count; i++)
            if (strcmp(figures.streams[i].name, name) == 0)
                view = &figures.streams[i];
        dict = stream_dict(view, figures.chains, figures.chain_count);
    }
    figures_reset(&figures);
    return dict;
}

static PyObject *journal_dict(writer_object *self) {
    PyObject *dict = PyDict_New(), *warnings = PyList_New(0);
    dbi_journal_view view;

    (void)dbi_writer_journal(self->writer, &view);
    if (warnings != NULL && view.warning[0] != '\0') {
        PyObject *warning = text_or_none(view.warning);

        if (warning == NULL || PyList_Append(warnings, warning) < 0)
            Py_CLEAR(warnings);
        Py_XDECREF(warning);
    }
    if (dict != NULL && !(put(dict, "directory", PyUnicode_DecodeFSDefault(dbi_writer_directory(self->writer))) &&
                          put(dict, "slot", number(view.slot)) && put(dict, "bytes", number(view.bytes)) &&
                          put(dict, "max_bytes", number(view.max_bytes)) &&
                          put(dict, "quarantined", number(view.quarantined)) &&
                          put(dict, "adopted", number(view.adopted)) && put(dict, "error", text_or_none(view.error)) &&
                          put(dict, "warnings", Py_XNewRef(warnings))))
        Py_CLEAR(dict);
    Py_XDECREF(warnings);
    return dict;
}

PyDoc_STRVAR(writer_snapshot_doc,
             "snapshot($self, /)\n--\n\n"
             "What the writer knows: its journal, the breaker, and for each stream, those of other processes that it\n"
             "adopted included, what became of its events: accepted + recovered = landed + journaled + dead +\n"
             "dropped + damaged + lost_by_server, and the state of each chain: why it waits, the last error.");

static PyObject *writer_snapshot(writer_object *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *dict = PyDict_New(), *streams = PyDict_New();
    figures figures = {0};
    uint64_t held = 0;

    if (dict == NULL || streams == NULL || !figures_take(self, &figures))
        goto failed;
    for (size_t i = 0; i < figures.chain_count; i++)
        held += figures.chains[i].ship.state == DBI_SHIP_HELD;
    for (size_t i = 0; i < figures.stream_count; i++)
        if (!put(streams, figures.streams[i].name,
                 stream_dict(&figures.streams[i], figures.chains, figures.chain_count)))
            goto failed;
    if (!(put(dict, "name", PyUnicode_FromString(dbi_writer_name(self->writer))) &&
          put(dict, "closed", PyBool_FromLong(dbi_writer_closed(self->writer))) &&
          put(dict, "running", PyBool_FromLong(dbi_writer_running(self->writer))) && put(dict, "held", number(held)) &&
          put(dict, "journal", journal_dict(self)) && put(dict, "streams", Py_NewRef(streams)) &&
          put(dict, "breaker", self->breaker != NULL ? PyObject_CallMethod(self->breaker, "snapshot", NULL)
                                                     : Py_NewRef(Py_None))))
        goto failed;
    figures_reset(&figures);
    Py_DECREF(streams);
    return dict;
failed:
    figures_reset(&figures);
    Py_XDECREF(streams);
    Py_XDECREF(dict);
    return NULL;
}

PyDoc_STRVAR(start_doc, "start($self, /)\n--\n\n"
                        "Start the writer's threads, so that what an earlier process left is shipped before the first\n"
                        "event comes. They start by themselves with the first event or flush. Not before a fork.");

static PyObject *writer_start(writer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    Py_BEGIN_ALLOW_THREADS
        rc = dbi_writer_start(self->writer, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(retry_doc, "retry($self, /)\n--\n\n"
                        "Ship now what is held or waits before another attempt: somebody has repaired the cause.");

static PyObject *writer_retry(writer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_writer_retry(self->writer);
    Py_RETURN_NONE;
}

static PyObject *writer_enter(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    return Py_NewRef(self);
}

static PyObject *writer_exit(writer_object *self, PyObject *Py_UNUSED(args)) {
    PyObject *left = writer_close(self, NULL, 0, NULL);

    if (left == NULL)
        return NULL;
    Py_DECREF(left);
    Py_RETURN_NONE;
}

static PyObject *writer_reduce(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    return PyErr_Format(PyExc_TypeError, "%s cannot be pickled: it belongs to its process", Py_TYPE(self)->tp_name);
}

static PyObject *writer_get_name(writer_object *self, void *Py_UNUSED(closure)) {
    return PyUnicode_FromString(dbi_writer_name(self->writer));
}

static PyObject *writer_get_closed(writer_object *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(dbi_writer_closed(self->writer));
}

static PyObject *writer_repr(writer_object *self) {
    return PyUnicode_FromFormat("<%s '%s' in %s%s>", Py_TYPE(self)->tp_name, dbi_writer_name(self->writer),
                                dbi_writer_directory(self->writer), dbi_writer_closed(self->writer) ? ", closed" : "");
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))writer_##name, METH_FASTCALL | METH_KEYWORDS, name##_doc}

static PyMethodDef writer_methods[] = {
    FAST(close),
    FAST(flush),
    FAST(flush_async),
    {"retry", (PyCFunction)writer_retry, METH_NOARGS, retry_doc},
    {"snapshot", (PyCFunction)writer_snapshot, METH_NOARGS, writer_snapshot_doc},
    {"start", (PyCFunction)writer_start, METH_NOARGS, start_doc},
    {"stream", (PyCFunction)(void (*)(void))writer_stream, METH_VARARGS | METH_KEYWORDS, stream_doc},
    {"__enter__", writer_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)writer_exit, METH_VARARGS, NULL},
    {"__reduce__", writer_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef writer_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(writer_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"closed", (getter)writer_get_closed, NULL, "Whether close() was called.", NULL},
    {"name", (getter)writer_get_name, NULL, "The writer's name, as in its metrics.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(writer_doc,
             "BatchWriter(pool, directory, *, name='default', breaker=None, shippers=2, max_bytes=1073741824,\n"
             "            keep_bytes=67108864, keep_seconds=60.0, segment_min=1048576, segment_max=67108864,\n"
             "            batch_bytes=4194304, stall_timeout=30.0, adopt_every=5.0)\n--\n\n"
             "Takes events into a journal on disk and lands each of them in PostgreSQL exactly once.\n\n"
             "directory holds the journal of one target database, for any number of processes. max_bytes caps what\n"
             "this process puts there. Landed segments are kept for keep_seconds, up to keep_bytes, for a server that\n"
             "is restored to an older state. shippers is how many threads send; they start with the first event. Times\n"
             "are in seconds. In a forked child the writer begins afresh, with a slot of its own.\n\n"
             "Raises ConfigurationError; OperationalError where the directory cannot be used.");

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, (void *)writer_doc},
    {Py_tp_new, writer_new},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_finalize, writer_finalize},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_repr, writer_repr},
    {Py_tp_methods, writer_methods},
    {Py_tp_members, writer_members},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "dbint._core.BatchWriter",
    .basicsize = sizeof(writer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = writer_slots,
};

int dbi_add_writer(PyObject *module, dbi_state *state) {
    state->writer_type = dbi_type_add(module, &writer_spec);
    return state->writer_type != NULL ? 0 : -1;
}
