/* manual_clock.c - ManualClock: a clock that stands until it is moved, for tests of what waits. */
#include "breaker_type.h"

int64_t dbi_manual_clock_read(void *now) {
    return atomic_load_explicit((_Atomic int64_t *)now, memory_order_relaxed);
}

static PyObject *clock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"now", NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *now = NULL;
    int64_t ns = 0;
    manual_clock_object *self;

    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ManualClock", names, &now))
        return NULL;
    if (now != NULL && !dbi_arg_seconds(state, now, "now", &ns))
        return NULL;
    self = (manual_clock_object *)type->tp_alloc(type, 0);
    if (self != NULL)
        atomic_init(&self->now, ns);
    return (PyObject *)self;
}

static void clock_dealloc(manual_clock_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(advance_doc, "advance($self, seconds, /)\n--\n\nMoves the clock forward.");

static PyObject *clock_advance(manual_clock_object *self, PyObject *seconds) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    int64_t ns, now = atomic_load_explicit(&self->now, memory_order_relaxed);

    if (state == NULL || !dbi_arg_seconds(state, seconds, "seconds", &ns))
        return NULL;
    atomic_store_explicit(&self->now, ns > INT64_MAX - now ? INT64_MAX : now + ns, memory_order_relaxed);
    Py_RETURN_NONE;
}

static PyObject *clock_get_now(manual_clock_object *self, void *Py_UNUSED(closure)) {
    return PyFloat_FromDouble((double)dbi_manual_clock_read(&self->now) / (double)DBI_NS_PER_S);
}

static PyMethodDef clock_methods[] = {
    {"advance", (PyCFunction)clock_advance, METH_O, advance_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef clock_getset[] = {
    {"now", (getter)clock_get_now, NULL, "The time in seconds.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(clock_doc, "ManualClock(now=0.0)\n--\n\n"
                        "A clock that stands until it is moved: give it to a CircuitBreaker to test what waits.\n\n"
                        "now is the time in seconds to begin with.");

static PyType_Slot clock_slots[] = {
    {Py_tp_doc, (void *)clock_doc}, {Py_tp_new, clock_new},       {Py_tp_dealloc, clock_dealloc},
    {Py_tp_methods, clock_methods}, {Py_tp_getset, clock_getset}, {0, NULL},
};

static PyType_Spec clock_spec = {
    .name = "dbint._core.ManualClock",
    .basicsize = sizeof(manual_clock_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = clock_slots,
};

int dbi_add_manual_clock(PyObject *module, dbi_state *state) {
    state->manual_clock_type = dbi_type_add(module, &clock_spec);
    return state->manual_clock_type != NULL ? 0 : -1;
}
