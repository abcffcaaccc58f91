/* awaitable.c - what Stream.write() and BatchWriter.flush_async() return: a coroutine that costs no more than a call
 *
 * Nearly always the work is done when the call returns: then it is the one Completion without a future, for which
 * `await` is two C calls. Where something is waited for, it is a Completion around a future of the running loop.
 * Both have what a coroutine has, so that asyncio.create_task() and its kin take them. The event is taken by the call, not
 * by the await.
 */
#include "writer_type.h"

typedef struct completion_object {
    PyObject_HEAD
    PyObject *future;   /* NULL: it is done */
    PyObject *iterator; /* of the future, while it is awaited */
    PyObject *owner;
    completion_withdraw_fn withdraw;
    void *from;
} completion_object;

/* -- life --------------------------------------------------------------------------------------------------------- */

static completion_object *completion_make(dbi_state *state) {
    completion_object *self = PyObject_GC_New(completion_object, state->completion_type);

    if (self != NULL) {
        self->future = self->iterator = self->owner = NULL;
        self->withdraw = NULL;
        PyObject_GC_Track(self);
    }
    return self;
}

PyObject *completion_done(dbi_state *state) {
    return Py_NewRef(state->completed);
}

PyObject *completion_new(dbi_state *state, PyObject *future, PyObject *owner, completion_withdraw_fn withdraw,
                         void *from) {
    completion_object *self = completion_make(state);
    PyObject *callback = NULL, *added = NULL;

    if (self == NULL) {
        Py_DECREF(future);
        return NULL;
    }
    self->future = future;
    self->owner = Py_NewRef(owner);
    self->withdraw = withdraw;
    self->from = from;
    callback = PyObject_GetAttrString((PyObject *)self, "_settled");
    if (callback != NULL)
        added = PyObject_CallMethod(future, "add_done_callback", "O", callback);
    if (added == NULL)
        Py_CLEAR(self);
    Py_XDECREF(callback);
    Py_XDECREF(added);
    return (PyObject *)self;
}

static int completion_traverse(completion_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->future);
    Py_VISIT(self->iterator);
    Py_VISIT(self->owner);
    return 0;
}

static int completion_clear(completion_object *self) {
    Py_CLEAR(self->future);
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->owner);
    return 0;
}

static void completion_dealloc(completion_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)completion_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(settled_doc, "_settled($self, future, /)\n--\n\n"
                          "The future is done: takes the event back if it was cancelled.");

/* What has not happened yet is taken back; its letter, which will not come, gives back what it holds. */
static PyObject *completion_settled(completion_object *self, PyObject *future) {
    PyObject *cancelled = PyObject_CallMethod(future, "cancelled", NULL);

    if (cancelled == NULL)
        return NULL;
    if (cancelled == Py_True && self->withdraw != NULL && self->withdraw(self->from, future)) {
        Py_DECREF(future);
        Py_DECREF(self->owner);
    }
    self->withdraw = NULL;
    Py_DECREF(cancelled);
    Py_RETURN_NONE;
}

/* -- awaiting ----------------------------------------------------------------------------------------------------- */

static PySendResult completion_am_send(completion_object *self, PyObject *value, PyObject **result) {
    PySendResult sent;

    if (self->future == NULL) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (self->iterator == NULL && (self->iterator = PyObject_CallMethod(self->future, "__await__", NULL)) == NULL) {
        *result = NULL;
        return PYGEN_ERROR;
    }
    sent = PyIter_Send(self->iterator, value, result);
    if (sent != PYGEN_NEXT)
        Py_CLEAR(self->iterator); /* awaited again, it gives the same again */
    return sent;
}

/* As a method and an iterator tell their end: by StopIteration. */
static PyObject *completion_step(completion_object *self, PyObject *value) {
    PyObject *result, *stop;

    if (completion_am_send(self, value, &result) != PYGEN_RETURN)
        return result;
    stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    return NULL;
}

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nOne step, as of a coroutine.");

static PyObject *completion_send(completion_object *self, PyObject *value) {
    return completion_step(self, value);
}

static PyObject *completion_next(completion_object *self) {
    if (self->future == NULL)
        return NULL; /* the end, with the result None */
    return completion_step(self, Py_None);
}

/* Gives up what is waited for. */
static bool completion_cancel(completion_object *self) {
    PyObject *cancelled;

    if (self->future == NULL)
        return true;
    cancelled = PyObject_CallMethod(self->future, "cancel", NULL);
    Py_XDECREF(cancelled);
    return cancelled != NULL;
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Raises the exception where it is awaited. An event that still waits for room is taken back.");

static PyObject *completion_throw(completion_object *self, PyObject *const *args, Py_ssize_t nargs) {
    PyObject *type, *value, *traceback;

    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments (%zd given)", nargs);
    if (self->iterator != NULL) {
        PyObject *name = PyUnicode_InternFromString("throw"), *method = NULL, *result = NULL;

        if (name != NULL)
            method = PyObject_GetAttr(self->iterator, name);
        if (method != NULL)
            result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_XDECREF(name);
        Py_XDECREF(method);
        if (result == NULL)
            Py_CLEAR(self->iterator);
        return result;
    }
    type = args[0];
    value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    traceback = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (traceback != NULL && !PyTraceBack_Check(traceback))
        return PyErr_Format(PyExc_TypeError, "throw() third argument must be a traceback object");
    if (PyExceptionInstance_Check(type)) {
        if (value != NULL)
            return PyErr_Format(PyExc_TypeError, "instance exception may not have a separate value");
        value = type;
        type = PyExceptionInstance_Class(value);
    } else if (!PyExceptionClass_Check(type)) {
        return PyErr_Format(PyExc_TypeError, "exceptions must derive from BaseException, not %s",
                            Py_TYPE(type)->tp_name);
    }
    if (!completion_cancel(self))
        return NULL;
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nWaits no more. An event that still waits for room is taken back.");

static PyObject *completion_close(completion_object *self, PyObject *Py_UNUSED(ignored)) {
    if (!completion_cancel(self))
        return NULL;
    Py_CLEAR(self->iterator);
    Py_RETURN_NONE;
}

/* -- the type ----------------------------------------------------------------------------------------------------- */

static PyMethodDef completion_methods[] = {
    {"_settled", (PyCFunction)completion_settled, METH_O, settled_doc},
    {"close", (PyCFunction)completion_close, METH_NOARGS, close_doc},
    {"send", (PyCFunction)completion_send, METH_O, send_doc},
    {"throw", (PyCFunction)(void (*)(void))completion_throw, METH_FASTCALL, throw_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot completion_slots[] = {
    {Py_tp_doc, "What Stream.write() and BatchWriter.flush_async() return: a coroutine."},
    {Py_tp_dealloc, completion_dealloc},
    {Py_tp_traverse, completion_traverse},
    {Py_tp_clear, completion_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, completion_next},
    {Py_am_await, Py_NewRef},
    {Py_am_send, completion_am_send},
    {Py_tp_methods, completion_methods},
    {0, NULL},
};

static PyType_Spec completion_spec = {
    .name = "dbint._core.Completion",
    .basicsize = sizeof(completion_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = completion_slots,
};

int dbi_add_completion(PyObject *module, dbi_state *state) {
    state->completion_type = dbi_type_add(module, &completion_spec);
    if (state->completion_type == NULL)
        return -1;
    state->completed = (PyObject *)completion_make(state);
    return state->completed != NULL ? 0 : -1;
}
