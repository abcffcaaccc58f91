/* producer_channel.c - delivery reports for asyncio (see producer_binding.h) */
#include "producer_binding.h"

/* -- the report --------------------------------------------------------------------------------------------------- */

static PyStructSequence_Field delivery_fields[] = {
    {"topic", "name of the topic"},
    {"partition", "the partition it went to"},
    {"offset", "its offset there; None when the broker does not say (acks=0)"},
    {"timestamp", "its time in milliseconds since 1970; None when unknown"},
    {NULL, NULL},
};

static PyStructSequence_Desc delivery_desc = {
    .name = "dbint._core.Delivery",
    .doc = "Where a message that was delivered has gone.",
    .fields = delivery_fields,
    .n_in_sequence = 4,
};

int dbi_add_delivery(PyObject *module, dbi_state *state) {
    state->delivery_type = PyStructSequence_NewType(&delivery_desc);
    return state->delivery_type != NULL ? PyModule_AddType(module, state->delivery_type) : -1;
}

PyObject *delivery_new(const dbi_state *state, PyObject *topic, const dbi_ticket *ticket) {
    PyObject *delivery = PyStructSequence_New(state->delivery_type);
    PyObject *partition = PyLong_FromLong(ticket->partition);
    PyObject *offset = ticket->offset < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(ticket->offset);
    PyObject *timestamp = ticket->timestamp_ms < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(ticket->timestamp_ms);

    if (delivery == NULL || partition == NULL || offset == NULL || timestamp == NULL) {
        Py_XDECREF(delivery);
        Py_XDECREF(partition);
        Py_XDECREF(offset);
        Py_XDECREF(timestamp);
        return NULL;
    }
    PyStructSequence_SET_ITEM(delivery, 0, Py_NewRef(topic));
    PyStructSequence_SET_ITEM(delivery, 1, partition);
    PyStructSequence_SET_ITEM(delivery, 2, offset);
    PyStructSequence_SET_ITEM(delivery, 3, timestamp);
    return delivery;
}

void delivery_error(const dbi_ticket *ticket, dbi_err *err) {
    dbi_rc rc = dbi_kafka_err(err, ticket->error, "a message for topic \"%.200s\" was not delivered",
                              dbi_topic_name(ticket->topic));

    if (ticket->fatal && rc == DBI_EKAFKA)
        err->rc = DBI_EKAFKA_FATAL;
}

/* -- the channel -------------------------------------------------------------------------------------------------- */

channel_object *channel_new(dbi_state *state, PyObject *producer, PyObject *loop) {
    channel_object *channel = PyObject_GC_New(channel_object, state->channel_type);
    PyObject *drain = NULL, *registered = NULL;
    dbi_err err;

    if (channel == NULL)
        return NULL;
    channel->mailbox = NULL;
    channel->loop = Py_NewRef(loop);
    channel->producer = producer;
    channel->topic = NULL;
    channel->topic_name = NULL;
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

PyObject *channel_send(channel_object *channel, dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                       dbi_err *err) {
    PyObject *future = PyObject_CallNoArgs(channel->create_future);

    if (future == NULL)
        return NULL;
    if (dbi_producer_send(producer, topic, message, channel->mailbox, future, err) != DBI_OK) {
        Py_DECREF(future);
        return NULL;
    }
    Py_INCREF(future); /* the ticket's; it cannot have been taken yet, that needs the GIL */
    Py_INCREF(channel->producer);
    return future;
}

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

static PyObject *channel_topic_name(channel_object *channel, const dbi_topic *topic) {
    if (channel->topic != topic) {
        PyObject *name = PyUnicode_FromString(dbi_topic_name(topic));

        if (name == NULL)
            return NULL;
        Py_XSETREF(channel->topic_name, name);
        channel->topic = topic;
    }
    return channel->topic_name;
}

/* Tells the future what became of its message. */
static void channel_resolve(channel_object *channel, const dbi_state *state, const dbi_ticket *ticket) {
    PyObject *topic, *method, *type, *outcome = NULL, *traceback;
    dbi_err err;

    if (ticket->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        topic = channel_topic_name(channel, ticket->topic);
        if (topic != NULL)
            outcome = delivery_new(state, topic, ticket);
        if (outcome != NULL) {
            future_set(ticket->letter.user, channel->set_result, outcome);
            Py_DECREF(outcome);
            return;
        }
    } else {
        delivery_error(ticket, &err);
        (void)dbi_raise(state, &err);
    }
    /* What is raised now, the failed delivery or a lack of memory, is the future's. */
    PyErr_Fetch(&type, &outcome, &traceback);
    PyErr_NormalizeException(&type, &outcome, &traceback);
    method = PyUnicode_InternFromString("set_exception");
    if (method != NULL)
        future_set(ticket->letter.user, method, outcome);
    else
        PyErr_WriteUnraisable(ticket->letter.user);
    Py_XDECREF(method);
    Py_XDECREF(type);
    Py_XDECREF(outcome);
    Py_XDECREF(traceback);
}

/* Frees the tickets, whose futures are resolved with `state`, and let go of without. */
static void channel_take(channel_object *channel, const dbi_state *state) {
    dbi_ticket *ticket = (dbi_ticket *)dbi_mailbox_take(channel->mailbox);
    PyObject *producer = channel->producer;
    size_t taken = 0;

    while (ticket != NULL) {
        dbi_ticket *next = (dbi_ticket *)ticket->letter.next;

        if (state != NULL)
            channel_resolve(channel, state, ticket);
        Py_DECREF((PyObject *)ticket->letter.user);
        dbi_letter_free(ticket);
        ticket = next;
        taken++;
    }
    /* Each ticket kept the producer alive. The last one may end it, and with it this channel: nothing after this. */
    while (taken-- > 0)
        Py_DECREF(producer);
}

bool channel_discard(channel_object *channel) {
    channel_take(channel, NULL);
    return dbi_mailbox_pending(channel->mailbox) == 0;
}

PyDoc_STRVAR(channel_drain_doc, "drain($self, /)\n--\n\nResolve the futures whose delivery reports have arrived.");

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

void channel_detach(channel_object *channel) {
    PyObject *stop = PyObject_GetAttrString((PyObject *)channel, "stop");
    PyObject *handle = NULL;

    if (stop != NULL)
        handle = PyObject_CallMethod(channel->loop, "call_soon_threadsafe", "O", stop);
    if (handle == NULL) /* the loop is closed: it reads nothing any more */
        PyErr_Clear();
    Py_XDECREF(stop);
    Py_XDECREF(handle);
}

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
    Py_XDECREF(self->topic_name);
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
    {Py_tp_doc, "Brings delivery reports to one event loop. Made by Producer.send."},
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
