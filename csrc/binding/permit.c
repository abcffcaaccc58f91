/* permit.c - Permit: leave to make one call, for code whose call has no shape of its own. */
#include "breaker_type.h"

typedef struct permit_object {
    PyObject_HEAD breaker_object *breaker;
    dbi_permit permit;
} permit_object;

static PyObject *permit_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    dbi_state *state = dbi_state_of(type);
    PyObject *breaker;
    permit_object *self;

    if (state == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0 &&
                          (PyErr_SetString(PyExc_TypeError, "Permit() takes no keyword arguments"), true)))
        return NULL;
    if (!PyArg_ParseTuple(args, "O!:Permit", state->breaker_type, &breaker))
        return NULL;
    self = (permit_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->breaker = (breaker_object *)Py_NewRef(breaker);
    if (!dbi_guard_enter(self->breaker, &self->permit)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void permit_done(permit_object *self, dbi_outcome outcome) {
    dbi_breaker_done(self->breaker->breaker, &self->permit, outcome);
}

PyDoc_STRVAR(success_doc, "success($self, /)\n--\n\nThe call succeeded. A permit counts once: what comes later does "
                          "nothing.");
PyDoc_STRVAR(failure_doc, "failure($self, /)\n--\n\nThe call failed.");
PyDoc_STRVAR(ignore_doc, "ignore($self, /)\n--\n\nThe call says nothing about the other side: gives the permit back.");
PyDoc_STRVAR(cancel_doc, "cancel($self, /)\n--\n\nThe call was given up: gives the permit back, as does losing the "
                         "permit.");

#define PERMIT_METHOD(name, outcome)                                                                                   \
    static PyObject *permit_##name(permit_object *self, PyObject *Py_UNUSED(ignored)) {                                \
        permit_done(self, outcome);                                                                                    \
        Py_RETURN_NONE;                                                                                                \
    }
PERMIT_METHOD(success, DBI_OUTCOME_SUCCEEDED)
PERMIT_METHOD(failure, DBI_OUTCOME_FAILED)
PERMIT_METHOD(ignore, DBI_OUTCOME_IGNORED)
PERMIT_METHOD(cancel, DBI_OUTCOME_CANCELLED)
#undef PERMIT_METHOD

static PyObject *permit_enter(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    return Py_NewRef(self);
}

static PyObject *permit_exit(permit_object *self, PyObject *const *args, Py_ssize_t nargs) {
    permit_done(self, dbi_guard_outcome(self->breaker, nargs >= 2 && args[1] != Py_None ? args[1] : NULL));
    Py_RETURN_NONE;
}

static int permit_traverse(permit_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->breaker);
    return 0;
}

static int permit_clear(permit_object *self) {
    if (self->breaker != NULL)
        permit_done(self, DBI_OUTCOME_CANCELLED);
    Py_CLEAR(self->breaker);
    return 0;
}

static void permit_dealloc(permit_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)permit_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef permit_methods[] = {
    {"success", (PyCFunction)permit_success, METH_NOARGS, success_doc},
    {"failure", (PyCFunction)permit_failure, METH_NOARGS, failure_doc},
    {"ignore", (PyCFunction)permit_ignore, METH_NOARGS, ignore_doc},
    {"cancel", (PyCFunction)permit_cancel, METH_NOARGS, cancel_doc},
    {"__enter__", (PyCFunction)permit_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))permit_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(permit_doc,
             "Permit(breaker, /)\n--\n\n"
             "Leave to make one call, as CircuitBreaker.acquire() gives it. Report how the call ended by one of\n"
             "its methods, or use it as `with permit:`. A permit that is lost without a report is cancelled.");

static PyType_Slot permit_slots[] = {
    {Py_tp_doc, (void *)permit_doc},
    {Py_tp_new, permit_new},
    {Py_tp_dealloc, permit_dealloc},
    {Py_tp_traverse, permit_traverse},
    {Py_tp_clear, permit_clear},
    {Py_tp_methods, permit_methods},
    {0, NULL},
};

static PyType_Spec permit_spec = {
    .name = "dbint._core.Permit",
    .basicsize = sizeof(permit_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = permit_slots,
};

int dbi_add_permit(PyObject *module, dbi_state *state) {
    state->permit_type = dbi_type_add(module, &permit_spec);
    return state->permit_type != NULL ? 0 : -1;
}
