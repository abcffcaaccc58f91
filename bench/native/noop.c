/* noop.c - the floor of every awaited call into C: takes any keywords, looks at none, and is done.
 *
 * An extension module of one function. noop(**anything) returns an awaitable that has always completed.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *awaitable;

static PyObject *noop(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    (void)module, (void)args, (void)count, (void)names;
    return Py_NewRef(awaitable);
}

/* Returning NULL without an exception is StopIteration(None): the await is over and its result is None. */
static PyObject *iternext(PyObject *self)
{
    (void)self;
    return NULL;
}

static PySendResult send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)self, (void)value;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyType_Slot slots[] = {
    {Py_am_await, PyObject_SelfIter}, {Py_am_send, send}, {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, iternext}, {0, NULL},
};
static PyType_Spec spec = {
    .name = "noop.Done", .basicsize = sizeof(PyObject), .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, .slots = slots,
};

static PyMethodDef methods[] = {
    {"noop", (PyCFunction)(void (*)(void))noop, METH_FASTCALL | METH_KEYWORDS, "Do nothing, awaitably."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "noop", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_noop(void);
__attribute__((visibility("default"))) PyObject *PyInit_noop(void)
{
    PyObject *type = PyType_FromSpec(&spec);
    awaitable = type ? ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0) : NULL;
    Py_XDECREF(type); /* its instance holds it */
    return awaitable ? PyModule_Create(&definition) : NULL;
}
