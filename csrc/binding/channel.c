/* channel.c - see channel.h */
#include "channel.h"

/* -- life --------------------------------------------------------------------------------------------------------- */

static channel_object *channel_new(dbi_state *state, PyObject *owner, channel_outcome_fn outcome, PyObject *loop) {
    channel_object *channel = PyObject_GC_New(channel_object, state->channel_type);
    PyObject *drain = NULL, *registered = NULL;
    dbi_err err;

    if (channel == NULL)
        return NULL;
    channel->mailbox = NULL;
    channel->outcome = outcome;
    channel->loop = Py_NewRef(loop);
    channel->owner = owner;
    channel->noted = NULL;
    channel->note = NULL;
    channel->create_future = PyObject_GetAttrString(loop, "create_future");
    channel->set_result = PyUnicode_InternFromString("set_result");
    PyObject_GC_Track(channel);
    if (channel->create_future == NULL || channel->set_result == NULL) {
        Py_DECREF(channel);
        return NULL;
    }
    if (dbi_mailbox_new(&channel->mailbox, true, &err) != DBI_OK) {
        (void)dbi_raise(state, &err);
    } else {
        drain = PyObject_GetAttrString((PyObject *)channel, "drain");
        if (drain != NULL)
            registered = PyObject_CallMethod(loop, "add_reader", "iO", dbi_mailbox_fd(channel->mailbox), drain);
        Py_XDECREF(drain);
    }
    if (registered == NULL)
        Py_CLEAR(channel);
    Py_XDECREF(registered);
    return channel;
}

PyObject *channel_future(channel_object *channel) {
    return PyObject_CallNoArgs(channel->create_future);
}

void channel_promised(channel_object *channel, PyObject *future) {
    Py_INCREF(future); /* the letter cannot have been taken yet: that needs the GIL */
    Py_INCREF(channel->owner);
}

/* -- letters ------------------------------------------------------------------------------------------------------ */

/* Calls future.method(arg). A future that is done already (cancelled) is left as it is. */
static void future_set(PyObject *future, PyObject *method, PyObject *arg) {
    PyObject *result = PyObject_CallMethodOneArg(future, method, arg);

    if (result == NULL) {
        PyObject *type, *value, *traceback, *done;
        bool was_done;

        PyErr_Fetch(&type, &value, &traceback);
        done = PyObject_CallMethod(future, "done", NULL);
        was_done = done != NULL && PyObject_IsTrue(done) == 1;
        Py_XDECREF(done);
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
        if (was_done)
            PyErr_Clear();
        else
            PyErr_WriteUnraisable(future);
    }
    Py_XDECREF(result);
}

/* Tells the future what its letter says. */
static void letter_resolve(channel_object *channel, const dbi_state *state, const dbi_letter *letter) {
    PyObject *outcome = channel->outcome(channel, state, letter), *method, *type, *traceback;

    if (outcome != NULL) {
        future_set(letter->user, channel->set_result, outcome);
        Py_DECREF(outcome);
        return;
    }
    PyErr_Fetch(&type, &outcome, &traceback);
    PyErr_NormalizeException(&type, &outcome, &traceback);
    method = PyUnicode_InternFromString("set_exception");
    if (method != NULL)
        future_set(letter->user, method, outcome);
    else
        PyErr_WriteUnraisable(letter->user);
    Py_XDECREF(method);
    Py_XDECREF(type);
    Py_XDECREF(outcome);
    Py_XDECREF(traceback);
}

/* Frees the letters, whose futures are resolved with `state`, and let go of without. */
static void channel_take(channel_object *channel, const dbi_state *state) {
    dbi_letter *letter = dbi_mailbox_take(channel->mailbox);
    PyObject *owner = channel->owner;
    size_t taken = 0;

    while (letter != NULL) {
        dbi_letter *next = letter->next;

        if (state != NULL)
            letter_resolve(channel, state, letter);
        Py_DECREF((PyObject *)letter->user);
        dbi_letter_free(letter);
        letter = next;
        taken++;
    }
    /* Each letter kept the owner alive. The last one may end it, and with it this channel: nothing after this. */
    while (taken-- > 0)
        Py_DECREF(owner);
}

PyDoc_STRVAR(channel_drain_doc, "drain($self, /)\n--\n\nResolve the futures whose answers have arrived.");

static PyObject *channel_drain(channel_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));

    if (state == NULL)
        return NULL;
    channel_take(self, state);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(channel_stop_doc, "stop($self, /)\n--\n\nThe last drain: the loop reads this channel no more.");

static PyObject *channel_stop(channel_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));

    if (state == NULL)
        return NULL;
    channel_take(self, state);
    return PyObject_CallMethod(self->loop, "remove_reader", "i", dbi_mailbox_fd(self->mailbox));
}

static void channel_detach(channel_object *channel) {
    PyObject *stop = PyObject_GetAttrString((PyObject *)channel, "stop");
    PyObject *handle = NULL;

    if (stop != NULL)
        handle = PyObject_CallMethod(channel->loop, "call_soon_threadsafe", "O", stop);
    if (handle == NULL) /* the loop is closed: it reads nothing any more */
        PyErr_Clear();
    Py_XDECREF(stop);
    Py_XDECREF(handle);
}

/* -- the channels of one owner ------------------------------------------------------------------------------------ */

bool channels_init(channels *channels) {
    PyObject *asyncio = PyImport_ImportModule("asyncio");

    if (asyncio == NULL)
        return false;
    Py_XSETREF(channels->get_running_loop, PyObject_GetAttrString(asyncio, "get_running_loop"));
    Py_DECREF(asyncio);
    Py_XSETREF(channels->list, PyList_New(0));
    return channels->get_running_loop != NULL && channels->list != NULL;
}

int channels_traverse(channels *channels, visitproc visit, void *arg) {
    Py_VISIT(channels->get_running_loop);
    Py_VISIT(channels->list);
    return 0;
}

void channels_clear(channels *channels) {
    channels->last = NULL;
    Py_CLEAR(channels->get_running_loop);
    Py_CLEAR(channels->list);
}

/* In a child they are the parent's, and so are the loops. */
static bool channels_forked(const channels *channels) {
    return PyList_GET_SIZE(channels->list) > 0 &&
           dbi_mailbox_forked(((channel_object *)PyList_GET_ITEM(channels->list, 0))->mailbox);
}

/* Channels of loops that are closed have nobody to tell: what has arrived is let go of, and the channel when nothing is
 * to come any more. */
static void channels_sweep(channels *channels) {
    for (Py_ssize_t i = PyList_GET_SIZE(channels->list) - 1; i >= 0; i--) {
        channel_object *channel = (channel_object *)PyList_GET_ITEM(channels->list, i);
        PyObject *closed = PyObject_CallMethod(channel->loop, "is_closed", NULL);

        if (closed == NULL)
            PyErr_Clear();
        if (closed == Py_True) {
            channel_take(channel, NULL);
            if (dbi_mailbox_pending(channel->mailbox) == 0)
                (void)PyList_SetSlice(channels->list, i, i + 1, NULL);
        }
        Py_XDECREF(closed);
    }
    channels->last = NULL;
}

channel_object *channels_find(channels *channels, dbi_state *state, PyObject *owner, channel_outcome_fn outcome) {
    PyObject *loop = PyObject_CallNoArgs(channels->get_running_loop);
    channel_object *channel = channels->last;

    if (loop == NULL)
        return NULL;
    if (channels_forked(channels)) {
        (void)PyList_SetSlice(channels->list, 0, PyList_GET_SIZE(channels->list), NULL);
        channel = NULL;
    }
    if (channel == NULL || channel->loop != loop) {
        channel = NULL;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(channels->list) && channel == NULL; i++)
            if (((channel_object *)PyList_GET_ITEM(channels->list, i))->loop == loop)
                channel = (channel_object *)PyList_GET_ITEM(channels->list, i);
    }
    if (channel == NULL) {
        channels_sweep(channels);
        channel = channel_new(state, owner, outcome, loop);
        if (channel != NULL) {
            int failed = PyList_Append(channels->list, (PyObject *)channel);
            if (failed)
                channel_detach(channel);
            Py_DECREF(channel);
            if (failed)
                channel = NULL;
        }
    }
    channels->last = channel;
    Py_DECREF(loop); /* the channel holds it */
    return channel;
}

void channels_detach(channels *channels) {
    for (Py_ssize_t i = 0; !channels_forked(channels) && i < PyList_GET_SIZE(channels->list); i++)
        channel_detach((channel_object *)PyList_GET_ITEM(channels->list, i));
    channels->last = NULL;
    (void)PyList_SetSlice(channels->list, 0, PyList_GET_SIZE(channels->list), NULL);
}

/* -- the type ----------------------------------------------------------------------------------------------------- */

static int channel_traverse(channel_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->create_future);
    return 0;
}

static int channel_clear(channel_object *self) {
    Py_CLEAR(self->loop);
    Py_CLEAR(self->create_future);
    return 0;
}

static void channel_dealloc(channel_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)channel_clear(self);
    Py_XDECREF(self->note);
    Py_XDECREF(self->set_result);
    dbi_mailbox_free(self->mailbox);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef channel_methods[] = {
    {"drain", (PyCFunction)channel_drain, METH_NOARGS, channel_drain_doc},
    {"stop", (PyCFunction)channel_stop, METH_NOARGS, channel_stop_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, "Brings answers from the core's threads to one event loop. Made where one is first waited for."},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_methods, channel_methods},
    {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "dbint._core.Channel",
    .basicsize = sizeof(channel_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = channel_slots,
};

int dbi_add_channel(PyObject *module, dbi_state *state) {
    state->channel_type = dbi_type_add(module, &channel_spec);
    return state->channel_type != NULL ? 0 : -1;
}
