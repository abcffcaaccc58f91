/* delivery.c - a delivery report as Python sees it: a Delivery, or the error that it says */
#include "producer_binding.h"

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
    dbi_rc rc;

    if (ticket->journaled) {
        (void)dbi_err_set(err, DBI_ECLOSED,
                          "the producer was closed before a message for topic \"%.200s\" was delivered: it is in the "
                          "journal, and will be sent by the next process that opens it",
                          dbi_topic_name(ticket->topic));
        return;
    }
    rc = dbi_kafka_err(err, ticket->error,
                       ticket->error == RD_KAFKA_RESP_ERR__INCONSISTENT
                           ? "a message for topic \"%.200s\" may be lost: brokers took one behind it and never said that "
                             "they have this one; send it again where it may come twice"
                           : "a message for topic \"%.200s\" was not delivered",
                       dbi_topic_name(ticket->topic));
    if (ticket->fatal && rc == DBI_EKAFKA)
        err->rc = DBI_EKAFKA_FATAL;
}

/* The topic's name as a str; most messages of a loop go to one topic. Borrowed. */
static PyObject *topic_name(channel_object *channel, const dbi_topic *topic) {
    if (channel->noted != topic) {
        PyObject *name = PyUnicode_FromString(dbi_topic_name(topic));

        if (name == NULL)
            return NULL;
        Py_XSETREF(channel->note, name);
        channel->noted = topic;
    }
    return channel->note;
}

PyObject *delivery_outcome(channel_object *channel, const dbi_state *state, const dbi_letter *letter) {
    const dbi_ticket *ticket = (const dbi_ticket *)letter;
    PyObject *topic;
    dbi_err err;

    if (ticket->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        delivery_error(ticket, &err);
        return dbi_raise(state, &err);
    }
    topic = topic_name(channel, ticket->topic);
    return topic != NULL ? delivery_new(state, topic, ticket) : NULL;
}
