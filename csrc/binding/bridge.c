/* bridge.c - between C and Python: errors become exceptions, arguments become C values, waits see signals. */
#include <math.h>

#include "binding.h"

#define WAIT_SLICE_NS (200 * DBI_NS_PER_MS)

/* --- raising --- */

/* By class of SQLSTATE (PostgreSQL's appendix A): the longest prefix that matches decides. */
static const struct {
    const char *prefix;
    dbi_error error;
} sqlstate_errors[] = {
    {"08", DBI_ERROR_UNREACHABLE},    /* connection exception */
    {"25006", DBI_ERROR_OPERATIONAL}, /* read-only transaction: a standby, or a failover under way */
    {"28", DBI_ERROR_AUTHENTICATION}, /* invalid authorization */
    {"40", DBI_ERROR_OPERATIONAL},    /* rollback: serialization failure, deadlock */
    {"53", DBI_ERROR_OPERATIONAL},    /* insufficient resources */
    {"55P03", DBI_ERROR_OPERATIONAL}, /* lock not available */
    {"57014", DBI_ERROR_DEADLINE},    /* query cancelled: statement_timeout */
    {"57P", DBI_ERROR_OPERATIONAL},   /* shutdown, crash, cannot connect now */
    {"58", DBI_ERROR_OPERATIONAL},    /* the server's system: I/O error, disk */
    {"", DBI_ERROR_DATABASE},
};

static dbi_error error_of_sqlstate(const char *sqlstate) {
    size_t i = 0;

    while (strncmp(sqlstate, sqlstate_errors[i].prefix, strlen(sqlstate_errors[i].prefix)) != 0)
        i++;
    return sqlstate_errors[i].error;
}

PyObject *dbi_error_class(const dbi_state *state, const dbi_err *err) {
    dbi_error error = DBI_ERROR_DATABASE;

    if (err->sqlstate[0] != '\0')
        return state->errors[error_of_sqlstate(err->sqlstate)];
    switch (err->rc) {
    case DBI_OK: /* raising without an error: a mistake of the binding, and shown as one */
        return PyExc_SystemError;
    case DBI_ENOMEM:
        return PyExc_MemoryError;
    case DBI_EINVAL:
    case DBI_ESTATE:
    case DBI_EFORK:
        error = DBI_ERROR_INTERFACE;
        break;
    case DBI_ETIMEOUT:
        error = DBI_ERROR_DEADLINE;
        break;
    case DBI_EFULL:
        error = DBI_ERROR_QUEUE_FULL;
        break;
    case DBI_ETOOBIG:
        error = DBI_ERROR_MESSAGE_TOO_LARGE;
        break;
    case DBI_ECLOSED:
        error = DBI_ERROR_CLOSED;
        break;
    case DBI_EOPEN:
        error = DBI_ERROR_CIRCUIT_OPEN;
        break;
    case DBI_ESYS:
    case DBI_EINTR:
        error = DBI_ERROR_OPERATIONAL;
        break;
    case DBI_ECONFIG:
        error = DBI_ERROR_CONFIGURATION;
        break;
    case DBI_ESERVER:
        error = DBI_ERROR_DATABASE;
        break;
    case DBI_EHELD:
        error = DBI_ERROR_OPERATIONAL;
        break;
    case DBI_ECORRUPT:
        error = DBI_ERROR_JOURNAL;
        break;
    case DBI_EKAFKA:
        error = DBI_ERROR_KAFKA;
        break;
    case DBI_EKAFKA_RETRIABLE:
        error = DBI_ERROR_KAFKA_RETRIABLE;
        break;
    case DBI_EKAFKA_ABORT:
        error = DBI_ERROR_KAFKA_ABORT;
        break;
    case DBI_EKAFKA_FATAL:
        error = DBI_ERROR_KAFKA_FATAL;
        break;
    case DBI_EAUTH:
        error = DBI_ERROR_AUTHENTICATION;
        break;
    case DBI_EUNREACHABLE:
        error = DBI_ERROR_UNREACHABLE;
        break;
    }
    return state->errors[error];
}

/* Sets exc.name to a new reference; false when that failed, or when value is NULL because making it did. */
static bool attr_set(PyObject *exc, const char *name, PyObject *value) {
    bool done = value != NULL && PyObject_SetAttrString(exc, name, value) == 0;

    Py_XDECREF(value);
    return done;
}

PyObject *dbi_error_new(const dbi_state *state, const dbi_err *err) {
    /* servers and the operating system answer in encodings of their own: what is not UTF-8 is shown replaced */
    PyObject *msg = PyUnicode_DecodeUTF8(err->msg, (Py_ssize_t)strlen(err->msg), "replace"), *exc;

    if (msg == NULL)
        return NULL;
    exc = PyObject_CallOneArg(dbi_error_class(state, err), msg);
    Py_DECREF(msg);
    if (exc == NULL)
        return NULL;
    if (!attr_set(exc, "code", PyUnicode_FromString(dbi_rc_name(err->rc))) ||
        (err->sqlstate[0] != '\0' && !attr_set(exc, "sqlstate", PyUnicode_FromString(err->sqlstate))) ||
        (err->kafka != 0 && !attr_set(exc, "kafka_code", PyLong_FromLong(err->kafka))))
        Py_CLEAR(exc);
    return exc;
}

PyObject *dbi_raise(const dbi_state *state, const dbi_err *err) {
    PyObject *exc;

    if (err->rc == DBI_EINTR && PyErr_Occurred())
        return NULL;
    if (err->rc == DBI_ENOMEM)
        return PyErr_NoMemory();
    exc = dbi_error_new(state, err);
    if (exc == NULL)
        return NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_DECREF(exc);
    return NULL;
}

PyObject *dbi_raise_as(const dbi_state *state, dbi_error which, const char *fmt, ...) {
    va_list args;

    va_start(args, fmt);
    (void)PyErr_FormatV(state->errors[which], fmt, args);
    va_end(args);
    return NULL;
}

/* --- arguments --- */

static Py_ssize_t params_find(const dbi_params *params, PyObject *name) {
    for (Py_ssize_t i = 0; params->names[i] != NULL; i++)
        if (PyUnicode_CompareWithASCIIString(name, params->names[i]) == 0)
            return i;
    return -1;
}

bool dbi_parse(const dbi_params *params, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
               PyObject **values) {
    Py_ssize_t named = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs > params->positional) {
        (void)PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional argument%s (%zd given)", params->func,
                           params->positional, params->positional == 1 ? "" : "s", nargs);
        return false;
    }
    for (Py_ssize_t i = 0; params->names[i] != NULL; i++)
        values[i] = i < nargs ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t at = params_find(params, name);

        if (at < 0) {
            (void)PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", params->func, name);
            return false;
        }
        if (values[at] != NULL) {
            (void)PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", params->func, name);
            return false;
        }
        values[at] = args[nargs + i];
    }
    for (Py_ssize_t i = 0; i < params->required; i++)
        if (values[i] == NULL) {
            (void)PyErr_Format(PyExc_TypeError, "%s() misses the required argument '%s'", params->func,
                               params->names[i]);
            return false;
        }
    return true;
}

bool dbi_arg_seconds(const dbi_state *state, PyObject *value, const char *name, int64_t *ns) {
    double seconds;

    if (value == Py_None) {
        *ns = DBI_FOREVER;
        return true;
    }
    if (!PyFloat_Check(value) && !PyLong_Check(value)) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be a number of seconds or None, not %s", name,
                           Py_TYPE(value)->tp_name);
        return false;
    }
    seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return false;
        PyErr_Clear(); /* an int beyond all floats */
        seconds = NAN;
    }
    if (isnan(seconds) || seconds < 0) {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%s must be a number of seconds, 0 or more, not %R", name,
                           value);
        return false;
    }
    *ns = seconds >= (double)DBI_FOREVER / (double)DBI_NS_PER_S ? DBI_FOREVER : llround(seconds * (double)DBI_NS_PER_S);
    return true;
}

bool dbi_arg_float(PyObject *value, const char *name, double *number) {
    if (!PyFloat_Check(value) && (!PyLong_Check(value) || PyBool_Check(value))) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be a number, not %s", name, Py_TYPE(value)->tp_name);
        return false;
    }
    *number = PyFloat_AsDouble(value);
    return *number != -1.0 || !PyErr_Occurred();
}

bool dbi_arg_int(const dbi_state *state, PyObject *value, const char *name, int64_t low, int64_t high,
                 int64_t *number) {
    int overflow;

    if (!PyLong_Check(value) || PyBool_Check(value)) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be an int, not %s", name, Py_TYPE(value)->tp_name);
        return false;
    }
    *number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0 || *number < low || *number > high) {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%s must be within %lld to %lld, not %R", name,
                           (long long)low, (long long)high, value);
        return false;
    }
    return true;
}

const char *dbi_arg_text(const dbi_state *state, PyObject *value, const char *name, dbi_error which) {
    Py_ssize_t length;
    const char *text;

    if (!PyUnicode_Check(value)) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be a str, not %s", name, Py_TYPE(value)->tp_name);
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(value, &length);
    if (text != NULL && strlen(text) != (size_t)length) {
        (void)dbi_raise_as(state, which, "%s must not contain a NUL character", name);
        return NULL;
    }
    return text;
}

bool dbi_arg_texts(const dbi_state *state, PyObject *value, const char *name, dbi_error which, PyObject **items,
                   const char ***texts) {
    *items = NULL;
    *texts = NULL;
    if (value == NULL || value == Py_None)
        return true;
    if (PyUnicode_Check(value)) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be a sequence of str, not one str", name);
        return false;
    }
    *items = PySequence_Tuple(value);
    if (*items == NULL)
        return false;
    *texts = PyMem_Calloc((size_t)PyTuple_GET_SIZE(*items) + 1, sizeof **texts);
    if (*texts == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(*items); i++) {
        (*texts)[i] = dbi_arg_text(state, PyTuple_GET_ITEM(*items, i), name, which);
        if ((*texts)[i] == NULL)
            return false;
    }
    return true;
}

/* --- waiting --- */

dbi_rc dbi_wait(dbi_wait_fn wait, void *arg, int64_t deadline, dbi_err *err) {
    for (;;) {
        int64_t slice = dbi_clock_deadline(NULL, WAIT_SLICE_NS);
        bool last = deadline <= slice;
        dbi_rc rc;

        Py_BEGIN_ALLOW_THREADS
            rc = wait(arg, last ? deadline : slice, err);
        Py_END_ALLOW_THREADS
        if (rc != DBI_ETIMEOUT) /* a result is never given up for a signal: the interpreter sees to that one next */
            return rc;
        if (PyErr_CheckSignals() < 0)
            return dbi_err_set(err, DBI_EINTR, "interrupted by a signal");
        if (last)
            return rc;
    }
}

dbi_rc dbi_check_signals(void *arg) {
    PyThreadState **thread = arg;
    int raised;

    PyEval_RestoreThread(*thread);
    raised = PyErr_CheckSignals();
    *thread = PyEval_SaveThread();
    return raised < 0 ? DBI_EINTR : DBI_OK;
}
