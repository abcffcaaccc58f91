/* module.c - the extension module dbint._core: its state, and where its types come together. */
#include "binding.h"
#include "breaker_type.h"
#include "crc32c.h"
#include "ledger.h"
#include "version.h"

static const char *const error_names[] = {
#define ERROR_NAME(name, text) text,
    DBI_ERROR_MAP(ERROR_NAME)
#undef ERROR_NAME
};

/* What all interpreters of a process would share, as the calls that the main thread makes for the core's threads, is
 * the main one's. */
static bool interpreter_is_main(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main())
        return true;
    PyErr_SetString(PyExc_ImportError,
                    "dbint._core works in the main interpreter of a process alone, and this is a sub-interpreter: "
                    "under mod_wsgi set WSGIApplicationGroup %{GLOBAL}, under uWSGI single-interpreter");
    return false;
}

static int module_exec(PyObject *module) {
    dbi_state *state = PyModule_GetState(module);
    PyObject *errors;

    if (!interpreter_is_main())
        return -1;
    errors = PyImport_ImportModule("dbint.errors");
    if (errors == NULL)
        return -1;
    for (size_t i = 0; i < DBI_ERROR_COUNT; i++) {
        state->errors[i] = PyObject_GetAttrString(errors, error_names[i]);
        if (state->errors[i] == NULL) {
            Py_DECREF(errors);
            return -1;
        }
    }
    Py_DECREF(errors);
    if (dbi_circuit_states_add(module, state) < 0)
        return -1;
#define TYPE_ADD(noun)                                                                                                 \
    if (dbi_add_##noun(module, state) < 0)                                                                             \
        return -1;
    DBI_TYPE_MAP(TYPE_ADD)
#undef TYPE_ADD
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    dbi_state *state = PyModule_GetState(module);

    for (size_t i = 0; i < DBI_ERROR_COUNT; i++)
        Py_VISIT(state->errors[i]);
    for (size_t i = 0; i < DBI_CIRCUIT_COUNT; i++)
        Py_VISIT(state->circuit_states[i]);
    Py_VISIT(state->completed);
    Py_VISIT(state->writers);
#define TYPE_VISIT(noun) Py_VISIT(state->noun##_type);
    DBI_TYPE_MAP(TYPE_VISIT)
#undef TYPE_VISIT
    return 0;
}

static int module_clear(PyObject *module) {
    dbi_state *state = PyModule_GetState(module);

    for (size_t i = 0; i < DBI_ERROR_COUNT; i++)
        Py_CLEAR(state->errors[i]);
    for (size_t i = 0; i < DBI_CIRCUIT_COUNT; i++)
        Py_CLEAR(state->circuit_states[i]);
    Py_CLEAR(state->completed);
    Py_CLEAR(state->writers);
#define TYPE_CLEAR(noun) Py_CLEAR(state->noun##_type);
    DBI_TYPE_MAP(TYPE_CLEAR)
#undef TYPE_CLEAR
    return 0;
}

static void module_free(void *module) {
    (void)module_clear(module);
}

PyDoc_STRVAR(error_class_doc, "error_class(code, sqlstate='', /)\n--\n\n"
                              "The exception class that the core's result code raises.\n\n"
                              "code is a result code (csrc/core/err.h); sqlstate, when given, decides by its class.");

static PyObject *module_error_class(PyObject *module, PyObject *args) {
    dbi_err err = {0};
    int code;
    const char *sqlstate = "";

    if (!PyArg_ParseTuple(args, "i|s:error_class", &code, &sqlstate))
        return NULL;
    err.rc = (dbi_rc)code;
    if (strcmp(dbi_rc_name(err.rc), "unknown") == 0 || err.rc == DBI_OK)
        return PyErr_Format(PyExc_ValueError, "error_class: %d is not a result code of an error", code);
    if (strlen(sqlstate) >= sizeof err.sqlstate)
        return PyErr_Format(PyExc_ValueError, "error_class: a SQLSTATE has 5 characters");
    strcpy(err.sqlstate, sqlstate);
    return Py_NewRef(dbi_error_class(PyModule_GetState(module), &err));
}

PyDoc_STRVAR(library_versions_doc, "library_versions()\n--\n\n"
                                   "The versions of libpq and librdkafka that this process has loaded.");

static PyObject *module_library_versions(PyObject *module, PyObject *ignored) {
    char libpq[DBI_VERSION_SIZE], librdkafka[DBI_VERSION_SIZE];

    (void)module;
    (void)ignored;
    dbi_version_libpq(libpq);
    dbi_version_librdkafka(librdkafka);
    return Py_BuildValue("{s:s,s:s}", "libpq", libpq, "librdkafka", librdkafka);
}

PyDoc_STRVAR(ledger_sql_doc, "ledger_sql()\n--\n\n"
                             "The SQL that installs schema dbint, the ledger of event journals, in a database.\n\n"
                             "Idempotent; to be run in one transaction, by a role that may create a schema.");

static PyObject *module_ledger_sql(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    return PyUnicode_FromString(dbi_ledger_sql());
}

PyDoc_STRVAR(crc32c_doc, "crc32c(data, value=0, /)\n--\n\n"
                         "The CRC-32C of what value is the CRC-32C of, followed by data (bytes-like).");

static PyObject *module_crc32c(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    unsigned long value = 0;
    Py_buffer data;

    (void)module;
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "crc32c() takes 1 or 2 arguments, not %zd", count);
    if (count == 2) {
        value = PyLong_AsUnsignedLong(args[1]);
        if (value == (unsigned long)-1 && PyErr_Occurred() != NULL)
            return NULL;
        if (value > UINT32_MAX)
            return PyErr_Format(PyExc_OverflowError, "crc32c: the value has more than 32 bits");
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    value = dbi_crc32c((uint32_t)value, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(value);
}

static PyMethodDef module_methods[] = {
    {"capture_settings", dbi_capture_settings, METH_NOARGS, dbi_capture_settings_doc},
    {"crc32c", (PyCFunction)(void *)module_crc32c, METH_FASTCALL, crc32c_doc},
    {"decode_changes", (PyCFunction)(void *)dbi_decode_changes, METH_VARARGS | METH_KEYWORDS, dbi_decode_changes_doc},
    {"error_class", module_error_class, METH_VARARGS, error_class_doc},
    {"ledger_sql", module_ledger_sql, METH_NOARGS, ledger_sql_doc},
    {"library_versions", module_library_versions, METH_NOARGS, library_versions_doc},
    {"metrics_snapshot", dbi_metrics_snapshot, METH_NOARGS, dbi_metrics_snapshot_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef dbi_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "dbint._core",
    .m_doc = "The C core of dbint: circuit breaker, metrics, Kafka producer and consumer.",
    .m_size = sizeof(dbi_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&dbi_module);
}

dbi_state *dbi_state_of(PyTypeObject *type) {
    PyObject *module = PyType_GetModuleByDef(type, &dbi_module);

    return module != NULL ? PyModule_GetState(module) : NULL;
}

PyTypeObject *dbi_type_add(PyObject *module, PyType_Spec *spec) {
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);

    if (type != NULL && PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}
