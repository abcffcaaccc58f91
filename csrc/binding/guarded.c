/* guarded.c - GuardedFunction: what the decorator makes of a function, callable at the cost of a C call. */
#include "breaker_type.h"

typedef struct guarded_object {
    PyObject_HEAD vectorcallfunc vectorcall;
    breaker_object *breaker;
    PyObject *func;
    PyObject *dict; /* __wrapped__, __name__, __doc__ ...: functools.update_wrapper fills it */
    PyObject *weakrefs;
} guarded_object;

static PyObject *guarded_vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    guarded_object *self = (guarded_object *)callable;

    return dbi_guard_call(self->breaker, self->func, args, nargsf, kwnames);
}

static PyObject *guarded_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    dbi_state *state = dbi_state_of(type);
    PyObject *breaker, *func;
    guarded_object *self;

    if (state == NULL || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0 &&
                          (PyErr_SetString(PyExc_TypeError, "GuardedFunction() takes no keyword arguments"), true)))
        return NULL;
    if (!PyArg_ParseTuple(args, "O!O:GuardedFunction", state->breaker_type, &breaker, &func))
        return NULL;
    if (!PyCallable_Check(func))
        return PyErr_Format(PyExc_TypeError, "func must be callable, not %s", Py_TYPE(func)->tp_name);
    self = (guarded_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->vectorcall = guarded_vectorcall;
    self->breaker = (breaker_object *)Py_NewRef(breaker);
    self->func = Py_NewRef(func);
    return (PyObject *)self;
}

/* As a function does: a method when it is looked up on an instance. */
static PyObject *guarded_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(owner)) {
    return instance != NULL && instance != Py_None ? PyMethod_New(self, instance) : Py_NewRef(self);
}

static PyObject *guarded_repr(guarded_object *self) {
    return PyUnicode_FromFormat("<%R guarded by %R>", self->func, self->breaker);
}

static int guarded_traverse(guarded_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->breaker);
    Py_VISIT(self->func);
    Py_VISIT(self->dict);
    return 0;
}

/* The breaker and the function stay: it can be called until it is gone, and a cycle through them is broken here. */
static int guarded_clear(guarded_object *self) {
    Py_CLEAR(self->dict);
    return 0;
}

static void guarded_dealloc(guarded_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->breaker);
    Py_CLEAR(self->func);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef guarded_members[] = {
    {"breaker", T_OBJECT, offsetof(guarded_object, breaker), READONLY, "The CircuitBreaker that guards it."},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(guarded_object, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(guarded_object, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(guarded_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef guarded_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(guarded_doc, "GuardedFunction(breaker, func, /)\n--\n\n"
                          "Calls func under the breaker's permit. The decorator of CircuitBreaker makes these.");

static PyType_Slot guarded_slots[] = {
    {Py_tp_doc, (void *)guarded_doc},
    {Py_tp_new, guarded_new},
    {Py_tp_dealloc, guarded_dealloc},
    {Py_tp_traverse, guarded_traverse},
    {Py_tp_clear, guarded_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, guarded_get},
    {Py_tp_repr, guarded_repr},
    {Py_tp_members, guarded_members},
    {Py_tp_getset, guarded_getset},
    {0, NULL},
};

static PyType_Spec guarded_spec = {
    .name = "dbint._core.GuardedFunction",
    .basicsize = sizeof(guarded_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = guarded_slots,
};

int dbi_add_guarded(PyObject *module, dbi_state *state) {
    state->guarded_type = dbi_type_add(module, &guarded_spec);
    return state->guarded_type != NULL ? 0 : -1;
}
