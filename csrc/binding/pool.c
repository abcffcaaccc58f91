/* pool.c - Pool: PostgreSQL connections for the batch writer, and single statements for whoever has one */
#include "pool_type.h"

#include "alloc.h"

/* --- making one --- */

enum {
    MIN_SIZE,
    MAX_SIZE,
    MAX_WAITING,
    CONNECT_TIMEOUT,
    MAX_AGE,
    MAX_AGE_JITTER,
    MAX_QUERIES,
    MAX_IDLE,
    CHECK_AFTER_IDLE,
    THRESHOLD,
    ARG_COUNT
};

static bool read_size(const dbi_state *state, PyObject *value, const char *name, uint32_t *size) {
    int64_t number;

    if (value == NULL)
        return true;
    if (!dbi_arg_int(state, value, name, 0, UINT32_MAX, &number))
        return false;
    *size = (uint32_t)number;
    return true;
}

static bool read_time(const dbi_state *state, PyObject *value, const char *name, int64_t *ns) {
    return value == NULL || dbi_arg_seconds(state, value, name, ns);
}

static bool read_share(PyObject *value, const char *name, double *number) {
    return value == NULL || dbi_arg_float(value, name, number);
}

static bool read_config(const dbi_state *state, PyObject *const *values, dbi_pool_config *config) {
    int64_t queries = (int64_t)config->max_queries;

    if (!read_size(state, values[MIN_SIZE], "min_size", &config->min_size) ||
        !read_size(state, values[MAX_SIZE], "max_size", &config->max_size) ||
        !read_size(state, values[MAX_WAITING], "max_waiting", &config->max_waiting) ||
        !read_time(state, values[CONNECT_TIMEOUT], "connect_timeout", &config->connect_timeout) ||
        !read_time(state, values[MAX_AGE], "max_age", &config->max_age) ||
        !read_share(values[MAX_AGE_JITTER], "max_age_jitter", &config->max_age_jitter) ||
        (values[MAX_QUERIES] != NULL && values[MAX_QUERIES] != Py_None &&
         !dbi_arg_int(state, values[MAX_QUERIES], "max_queries", 1, INT64_MAX, &queries)) ||
        !read_time(state, values[MAX_IDLE], "max_idle", &config->max_idle) ||
        !read_time(state, values[CHECK_AFTER_IDLE], "check_after_idle", &config->check_after_idle) ||
        !read_share(values[THRESHOLD], "exhaustion_threshold", &config->exhaustion_threshold))
        return false;
    config->max_queries = values[MAX_QUERIES] == Py_None ? 0 : (uint64_t)queries;
    if (values[MIN_SIZE] == NULL && config->min_size > config->max_size) /* the default is for those who do not care */
        config->min_size = config->max_size;
    return true;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {
        "conninfo", "name",           "min_size",    "max_size", "max_waiting",      "connect_timeout",
        "max_age",  "max_age_jitter", "max_queries", "max_idle", "check_after_idle", "exhaustion_threshold",
        NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *conninfo = NULL, *name = NULL, *v[ARG_COUNT] = {NULL};
    dbi_pool_config config;
    pool_object *self;
    dbi_err err;

    dbi_pool_defaults(&config);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOOOOOOOO:Pool", names, &conninfo, &name, &v[0], &v[1], &v[2],
                                     &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9]) ||
        (conninfo != NULL && (config.conninfo = dbi_arg_text(state, conninfo, "conninfo", DBI_ERROR_INTERFACE)) == NULL) ||
        (name != NULL && (config.name = dbi_arg_text(state, name, "name", DBI_ERROR_INTERFACE)) == NULL) || !read_config(state, v, &config))
        return NULL;
    self = (pool_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    if (dbi_pool_new(&self->pool, &config, &err) != DBI_OK) {
        Py_DECREF(self);
        return dbi_raise(state, &err);
    }
    return (PyObject *)self;
}

static int pool_traverse(pool_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void pool_dealloc(pool_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Py_BEGIN_ALLOW_THREADS
        dbi_pool_free(self->pool);
    Py_END_ALLOW_THREADS
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- execute --- */

/* The parameters as C strings, which live as long as *items; false with an exception set. */
static bool params_read(const dbi_state *state, PyObject *params, PyObject **items, const char ***values) {
    Py_ssize_t count;

    *values = NULL;
    if (PyUnicode_Check(params)) {
        *items = NULL;
        (void)PyErr_SetString(PyExc_TypeError, "params must be a sequence of str and None, not one str");
        return false;
    }
    *items = PySequence_Tuple(params); /* of our own: another thread may change a list meanwhile */
    if (*items == NULL)
        return false;
    count = PyTuple_GET_SIZE(*items);
    *values = PyMem_Calloc((size_t)count + 1, sizeof **values);
    if (*values == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(*items, i);

        if (item != Py_None && ((*values)[i] = dbi_arg_text(state, item, "each of params", DBI_ERROR_INTERFACE)) == NULL)
            return false;
    }
    return true;
}

/* Text comes as UTF-8; bytes of a database without an encoding (SQL_ASCII) that are none are kept as surrogates. */
static PyObject *row_tuple(const PGresult *result, int row) {
    PyObject *tuple = PyTuple_New(PQnfields(result));

    for (int column = 0; tuple != NULL && column < PQnfields(result); column++) {
        PyObject *value = PQgetisnull(result, row, column)
                              ? Py_NewRef(Py_None)
                              : PyUnicode_DecodeUTF8(PQgetvalue(result, row, column), PQgetlength(result, row, column),
                                                     "surrogateescape");

        if (value == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, column, value);
    }
    return tuple;
}

static PyObject *rows_list(const PGresult *result) {
    PyObject *list = PyList_New(PQntuples(result));

    for (int row = 0; list != NULL && row < PQntuples(result); row++) {
        PyObject *tuple = row_tuple(result, row);

        if (tuple == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, row, tuple);
    }
    return list;
}

typedef struct statement {
    const char *sql;
    int count; /* of parameters */
    const char *const *values;
    int64_t deadline;
} statement;

/* Without the GIL, but in dbi_check_signals. */
static dbi_rc statement_run(dbi_pool *pool, const statement *statement, const dbi_interrupt *interrupt,
                            PGresult **result, dbi_err *err) {
    dbi_conn *conn = NULL;
    dbi_rc rc = dbi_pool_acquire_with(pool, &conn, statement->deadline, interrupt, err);

    if (rc != DBI_OK)
        return rc;
    if (statement->count > 0)
        rc = dbi_conn_exec_params(conn, statement->sql, statement->count, statement->values, statement->deadline,
                                  result, err);
    else
        rc = dbi_conn_exec(conn, statement->sql, statement->deadline, result, err);
    if (rc == DBI_ETIMEOUT || rc == DBI_EINTR)
        dbi_pool_release(pool, conn, DBI_CONN_DISCARD, "its statement was not waited for");
    else
        dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    return rc;
}

PyDoc_STRVAR(execute_doc,
             "execute($self, sql, params=(), *, timeout=30.0)\n--\n\n"
             "Run a statement on a connection of the pool, in a transaction of its own, and return its rows.\n\n"
             "Values come as text (str) or None. params stand for $1, $2, ... in the statement; without them sql may\n"
             "hold several statements, which are one transaction, and the rows are the last one's. timeout is in\n"
             "seconds, waiting for a connection included; None waits for ever. After a DeadlineError the server may\n"
             "still carry the statement out. A transaction that sql begins and does not end is rolled back.");

static PyObject *pool_execute(pool_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "execute", .required = 1, .positional = 2, .names = {"sql", "params", "timeout", NULL}};
    PyObject *values[3], *items = NULL, *rows = NULL;
    statement statement = {.deadline = 30 * DBI_NS_PER_S};
    dbi_interrupt interrupt = {.fd = -1, .check = dbi_check_signals};
    PGresult *result = NULL;
    const char **texts = NULL;
    PyThreadState *thread;
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        (statement.sql = dbi_arg_text(self->state, values[0], "sql", DBI_ERROR_INTERFACE)) == NULL ||
        (values[2] != NULL && !dbi_arg_seconds(self->state, values[2], "timeout", &statement.deadline)))
        return NULL;
    if (values[1] != NULL) {
        if (!params_read(self->state, values[1], &items, &texts))
            goto done;
        if (PyTuple_GET_SIZE(items) > 65535) {
            (void)dbi_raise_as(self->state, DBI_ERROR_INTERFACE, "a statement takes at most 65535 params, not %zd",
                               PyTuple_GET_SIZE(items));
            goto done;
        }
        statement.count = (int)PyTuple_GET_SIZE(items);
        statement.values = texts;
    }
    statement.deadline = dbi_clock_deadline(NULL, statement.deadline == DBI_FOREVER ? -1 : statement.deadline);
    interrupt.arg = &thread;
    thread = PyEval_SaveThread();
    rc = statement_run(self->pool, &statement, &interrupt, &result, &err);
    PyEval_RestoreThread(thread);
    rows = rc == DBI_OK ? rows_list(result) : dbi_raise(self->state, &err);
    PQclear(result);
done:
    PyMem_Free(texts);
    Py_XDECREF(items);
    return rows;
}

/* --- the rest --- */

PyDoc_STRVAR(set_credentials_doc,
             "set_credentials($self, user, password)\n--\n\n"
             "Open connections with these from now on; None: with what the conninfo says.\n\n"
             "No connection that was opened, or is being opened, with others is handed out any more.");

static PyObject *pool_set_credentials(pool_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {
        .func = "set_credentials", .required = 2, .positional = 2, .names = {"user", "password", NULL}};
    const char *user = NULL, *password = NULL;
    PyObject *values[2];
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != Py_None && (user = dbi_arg_text(self->state, values[0], "user", DBI_ERROR_INTERFACE)) == NULL) ||
        (values[1] != Py_None && (password = dbi_arg_text(self->state, values[1], "password", DBI_ERROR_INTERFACE)) == NULL))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        rc = dbi_pool_set_credentials(self->pool, user, password, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tidy_doc,
             "tidy($self, /)\n--\n\n"
             "Close idle connections that are too old or too many, as acquiring and releasing do by the way.");

static PyObject *pool_tidy(pool_object *self, PyObject *Py_UNUSED(ignored)) {
    Py_BEGIN_ALLOW_THREADS
        dbi_pool_tidy(self->pool);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *seconds(int64_t ns) {
    return PyFloat_FromDouble((double)ns / (double)DBI_NS_PER_S);
}

static PyObject *waits_dict(const dbi_pool *pool) {
    dbi_histogram_view view;

    dbi_histogram_read(dbi_pool_waits(pool), &view);
    return Py_BuildValue("{sK sN sN sN sN}", "count", (unsigned long long)view.count, "sum", seconds(view.sum), "max",
                         seconds(view.max), "p50", seconds(dbi_histogram_percentile(&view, 50)), "p99",
                         seconds(dbi_histogram_percentile(&view, 99)));
}

static PyObject *closes_dict(const dbi_pool_view *view) {
    PyObject *dict = PyDict_New();

    for (unsigned i = 0; dict != NULL && i < DBI_CONN_CLOSE_COUNT; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(view->closes[i]);

        if (count == NULL || PyDict_SetItemString(dict, dbi_conn_close_label((dbi_conn_close)i), count) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(count);
    }
    return dict;
}

/* A text that may be cut in the middle of a character, or be the server's in an encoding of its own; None for "". */
static PyObject *text_or_none(const char *text) {
    return text[0] != '\0' ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace") : Py_NewRef(Py_None);
}

PyDoc_STRVAR(snapshot_doc,
             "snapshot($self, /)\n--\n\n"
             "What the pool has and what it has counted.\n\n"
             "utilization is in percent of max_size; wait holds seconds; closed_by counts connections by\n"
             "the reason they were closed for, and last_close says the last one in words.");

static PyObject *pool_snapshot(pool_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_pool_view view;

    dbi_pool_read(self->pool, &view);
    return Py_BuildValue("{sN sI sI sI sI sI sI sI sd sN sN sK sK sK sK sK sK sK sK sK sK sN sN sN sN}", "name",
                         PyUnicode_FromString(dbi_pool_name(self->pool)), "min_size", view.min_size, "max_size",
                         view.max_size, "size", view.size, "idle", view.idle, "in_use", view.used, "opening",
                         view.opening, "waiting", view.waiting, "utilization", view.utilization, "nearly_exhausted",
                         PyBool_FromLong(view.nearly_exhausted), "closed", PyBool_FromLong(view.closed), "acquired",
                         (unsigned long long)view.acquired, "waits", (unsigned long long)view.waits, "timeouts",
                         (unsigned long long)view.timeouts, "refused", (unsigned long long)view.refused, "exhausted",
                         (unsigned long long)view.exhausted, "opened", (unsigned long long)view.opened, "open_errors",
                         (unsigned long long)view.failed, "checks", (unsigned long long)view.checks, "statements",
                         (unsigned long long)view.statements, "generation", (unsigned long long)view.generation,
                         "closed_by", closes_dict(&view), "last_close", text_or_none(view.last_close), "last_error",
                         text_or_none(view.last_error.msg), "wait", waits_dict(self->pool));
}

static dbi_rc close_slice(void *arg, int64_t deadline, dbi_err *err) {
    return dbi_pool_close(arg, deadline, err);
}

static PyObject *pool_end(pool_object *self, int64_t timeout) {
    dbi_err err;

    if (dbi_wait(close_slice, self->pool, dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout), &err) !=
        DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, timeout=5.0)\n--\n\n"
                        "Close every connection; those in use when they come back.\n\n"
                        "Waits for these, timeout seconds at most (None: for ever), then raises DeadlineError.");

static PyObject *pool_close(pool_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "close", .positional = 1, .names = {"timeout", NULL}};
    int64_t timeout = 5 * DBI_NS_PER_S;
    PyObject *values[1];

    if (!dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != NULL && !dbi_arg_seconds(self->state, values[0], "timeout", &timeout)))
        return NULL;
    return pool_end(self, timeout);
}

static PyObject *pool_enter(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    return Py_NewRef(self);
}

static PyObject *pool_exit(pool_object *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs)) {
    return pool_end(self, 5 * DBI_NS_PER_S);
}

static PyObject *pool_repr(pool_object *self) {
    dbi_pool_view view;

    dbi_pool_read(self->pool, &view);
    return PyUnicode_FromFormat("<Pool '%s'%s: %u of %u in use, %u idle>", dbi_pool_name(self->pool),
                                view.closed ? " (closed)" : "", view.used, view.max_size, view.idle);
}

static PyObject *pool_get_name(pool_object *self, void *Py_UNUSED(closure)) {
    return PyUnicode_FromString(dbi_pool_name(self->pool));
}

static PyObject *pool_get_closed(pool_object *self, void *Py_UNUSED(closure)) {
    dbi_pool_view view;

    dbi_pool_read(self->pool, &view);
    return PyBool_FromLong(view.closed);
}

static PyGetSetDef pool_getset[] = {
    {"name", (getter)pool_get_name, NULL, "The pool's name in metrics and messages.", NULL},
    {"closed", (getter)pool_get_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef pool_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(pool_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef pool_methods[] = {
    {"execute", (PyCFunction)(void (*)(void))pool_execute, METH_FASTCALL | METH_KEYWORDS, execute_doc},
    {"set_credentials", (PyCFunction)(void (*)(void))pool_set_credentials, METH_FASTCALL | METH_KEYWORDS,
     set_credentials_doc},
    {"snapshot", (PyCFunction)pool_snapshot, METH_NOARGS, snapshot_doc},
    {"tidy", (PyCFunction)pool_tidy, METH_NOARGS, tidy_doc},
    {"close", (PyCFunction)(void (*)(void))pool_close, METH_FASTCALL | METH_KEYWORDS, close_doc},
    {"__enter__", pool_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))pool_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    pool_doc,
    "Pool(conninfo='', *, name='default', min_size=5, max_size=20, max_waiting=1000, connect_timeout=10.0,\n"
    "     max_age=3600.0, max_age_jitter=0.1, max_queries=10000, max_idle=600.0, check_after_idle=30.0,\n"
    "     exhaustion_threshold=80.0)\n--\n\n"
    "PostgreSQL connections, opened when they are needed and shared by threads.\n\n"
    "conninfo is libpq's ('host=... dbname=...' or a URI); what it leaves out comes from libpq's environment.\n"
    "Times are in seconds, None = no limit; exhaustion_threshold is in percent of max_size. A connection is closed\n"
    "max_age after it was opened (shortened by up to max_age_jitter of it, at random), after max_queries statements,\n"
    "and, where there are more than min_size, when it was idle for max_idle. One that was idle for check_after_idle\n"
    "is asked whether it is alive before it is used. Works on both sides of a fork.");

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, (void *)pool_doc},   {Py_tp_new, pool_new},         {Py_tp_dealloc, pool_dealloc},
    {Py_tp_traverse, pool_traverse}, {Py_tp_repr, pool_repr},       {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},     {Py_tp_members, pool_members}, {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "dbint._core.Pool",
    .basicsize = sizeof(pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pool_slots,
};

int dbi_add_pool(PyObject *module, dbi_state *state) {
    state->pool_type = dbi_type_add(module, &pool_spec);
    return state->pool_type != NULL ? 0 : -1;
}
