/* producer.c - _core.Producer: the core's producer for Python (dbint.kafka.KafkaProducer is its front) */
#include "producer_binding.h"

#include <structmember.h>

typedef struct producer_object {
    kafka_object base;
    dbi_producer *producer;
    PyObject *topic_name; /* the str last used for a topic, and its handle: most callers use one */
    dbi_topic *topic;
    bool block; /* wait for room in a full queue, up to block_ns */
    int64_t block_ns;
    bool require_topics;
    bool journaled;
    bool sync; /* enqueue waits for the disk */
    Py_ssize_t waiting; /* sends that wait for room or a topic: later ones queue behind them */
    channels channels;
} producer_object;

/* -- life --------------------------------------------------------------------------------------------------------- */

static bool producer_ready(producer_object *self) {
    if (self->producer == NULL)
        (void)PyErr_SetString(PyExc_RuntimeError, "Producer.__init__() was not called");
    return self->producer != NULL;
}

static bool when_full_read(const dbi_state *state, const char *text, producer_object *self,
                           dbi_producer_options *options) {
    self->block = strcmp(text, "block") == 0;
    if (self->block) {
        options->when_full = DBI_WHEN_FULL_WAIT;
    } else if (strcmp(text, "reject") == 0) {
        options->when_full = DBI_WHEN_FULL_REFUSE;
    } else if (strcmp(text, "drop_newest") == 0) {
        options->when_full = DBI_WHEN_FULL_DROP;
    } else if (strcmp(text, "drop_oldest") == 0) {
        options->when_full = DBI_WHEN_FULL_DROP_OLDEST;
    } else {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION,
                           "when_full must be 'block', 'reject' or 'drop_newest' (with a journal also 'drop_oldest'), not "
                           "'%s'",
                           text);
        return false;
    }
    return true;
}

static bool durability_read(const dbi_state *state, const char *text, dbi_durability *durability) {
    for (int i = 0; i < DBI_DURABILITY_COUNT; i++)
        if (strcmp(text, dbi_durability_text((dbi_durability)i)) == 0) {
            *durability = (dbi_durability)i;
            return true;
        }
    (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "durability must be 'process', 'interval' or 'sync', not '%s'",
                       text);
    return false;
}

static int producer_init(producer_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"properties",        "when_full",     "block_timeout",      "topic_timeout",
                            "journal_directory", "journal_bytes", "journal_durability", "lanes",
                            NULL};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *mapping, *block_timeout = Py_None, *topic_timeout = Py_None;
    const char *when_full = "block", *durability = "process";
    dbi_producer_journal_config journal;
    unsigned long long journal_bytes;
    kafka_properties properties;
    dbi_producer_options options = {0};
    dbi_err err;
    dbi_rc rc;

    dbi_producer_journal_defaults(&journal);
    journal_bytes = journal.journal.max_bytes;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|$sOOzKsI:Producer", names, &mapping, &when_full,
                                                      &block_timeout, &topic_timeout, &journal.journal.directory,
                                                      &journal_bytes, &durability, &journal.lanes))
        return -1;
    if (self->producer != NULL) {
        (void)PyErr_SetString(PyExc_RuntimeError, "Producer.__init__() was called twice");
        return -1;
    }
    if (!when_full_read(state, when_full, self, &options) ||
        !dbi_arg_seconds(state, block_timeout, "block_timeout", &self->block_ns))
        return -1;
    if (topic_timeout != Py_None) {
        if (!dbi_arg_seconds(state, topic_timeout, "topic_timeout", &options.require_topic_ns))
            return -1;
        self->require_topics = options.require_topic_ns > 0;
    }
    journal.journal.max_bytes = journal_bytes;
    if (!durability_read(state, durability, &journal.durability))
        return -1;
    self->journaled = journal.journal.directory != NULL;
    self->sync = self->journaled && journal.durability == DBI_DURABILITY_SYNC;
    if (self->journaled)
        options.journal = &journal;
    if (!channels_init(&self->channels) ||
        !kafka_properties_read(mapping, "properties", &properties))
        return -1;
    rc = dbi_producer_new(&self->producer, properties.items, properties.count, &options, &err);
    kafka_properties_reset(&properties);
    if (rc != DBI_OK) {
        (void)dbi_raise(state, &err);
        return -1;
    }
    kafka_client_ready(&self->base, dbi_producer_kafka(self->producer));
    return 0;
}

/* A producer that was not closed says so. The core goes on delivering what is in flight. */
static void producer_finalize(PyObject *object) {
    producer_object *self = (producer_object *)object;
    PyObject *type, *value, *traceback;
    dbi_producer_counts counts;

    if (self->producer == NULL || dbi_kafka_forked(self->base.kafka)) /* in a child, loops and client are the parent's */
        return;
    PyErr_Fetch(&type, &value, &traceback);
    dbi_producer_counts_get(self->producer, &counts);
    if (!dbi_producer_closed(self->producer) && counts.accepted > 0 &&
        PyErr_ResourceWarning(object, 1, "a Kafka producer was not closed; messages %s: %llu",
                              self->journaled ? "in its journal" : "in flight",
                              (unsigned long long)counts.in_flight) < 0)
        PyErr_WriteUnraisable(object);
    channels_detach(&self->channels);
    PyErr_Restore(type, value, traceback);
}

static int producer_traverse(producer_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return channels_traverse(&self->channels, visit, arg);
}

static int producer_clear(producer_object *self) {
    channels_clear(&self->channels);
    return 0;
}

static void producer_dealloc(PyObject *object) {
    producer_object *self = (producer_object *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    PyObject_GC_UnTrack(object);
    (void)producer_clear(self);
    Py_XDECREF(self->topic_name);
    dbi_producer_free(self->producer);
    type->tp_free(object);
    Py_DECREF(type);
}

/* -- one message -------------------------------------------------------------------------------------------------- */

/* A message read from Python arguments: pointers into objects that the caller keeps, and what must be released. */
typedef struct message_args {
    dbi_message message;
    Py_buffer key, value; /* .obj NULL = not in use */
    rd_kafka_headers_t *headers;
} message_args;

static void message_reset(message_args *args) {
    if (args->key.obj != NULL)
        PyBuffer_Release(&args->key);
    if (args->value.obj != NULL)
        PyBuffer_Release(&args->value);
    if (args->headers != NULL)
        rd_kafka_headers_destroy(args->headers);
}

/* str as UTF-8, bytes and buffers as they are, None (or left out) as Kafka's null. */
static bool payload_read(PyObject *value, const char *name, Py_buffer *view, const void **data, size_t *size) {
    Py_ssize_t len;

    if (value != NULL && PyBytes_CheckExact(value)) {
        *data = PyBytes_AS_STRING(value);
        *size = (size_t)PyBytes_GET_SIZE(value);
        return true;
    }
    if (value == NULL || value == Py_None)
        return true;
    if (PyUnicode_Check(value)) {
        *data = PyUnicode_AsUTF8AndSize(value, &len);
        *size = (size_t)len;
        return *data != NULL;
    }
    if (!PyObject_CheckBuffer(value)) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be bytes, str, a buffer or None, not %s", name,
                           Py_TYPE(value)->tp_name);
        return false;
    }
    if (PyObject_GetBuffer(value, view, PyBUF_SIMPLE) < 0)
        return false;
    *data = view->buf != NULL ? view->buf : "";
    *size = (size_t)view->len;
    return true;
}

static bool header_add(rd_kafka_headers_t *headers, PyObject *name, PyObject *value) {
    const char *text;
    const void *data = NULL;
    size_t size = 0;
    Py_ssize_t len = 0;
    Py_buffer view = {0};
    rd_kafka_resp_err_t code;

    if (!PyUnicode_Check(name)) {
        (void)PyErr_Format(PyExc_TypeError, "a header's name must be a str, not %s", Py_TYPE(name)->tp_name);
        return false;
    }
    text = PyUnicode_AsUTF8AndSize(name, &len);
    if (text == NULL || !payload_read(value, "a header's value", &view, &data, &size))
        return false;
    code = rd_kafka_header_add(headers, text, len, data, (ssize_t)size);
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)PyErr_NoMemory();
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A mapping, or a sequence of (name, value): a name may come more than once there. */
static bool headers_read(PyObject *value, message_args *args) {
    bool mapping = PyMapping_Check(value) && PyObject_HasAttrString(value, "items"); /* not bytes, not a list */
    PyObject *items, *pairs = mapping ? PyMapping_Items(value) : Py_NewRef(value);
    bool done = false;

    if (pairs == NULL)
        return false;
    items = PySequence_Fast(pairs, "headers must be a mapping or a sequence of (name, value)");
    Py_DECREF(pairs);
    if (items == NULL)
        return false;
    args->headers = rd_kafka_headers_new((size_t)PySequence_Fast_GET_SIZE(items));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(items, i);

        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            (void)PyErr_SetString(PyExc_TypeError, "headers must be a mapping or a sequence of (name, value)");
            goto done;
        }
        if (!header_add(args->headers, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)))
            goto done;
    }
    args->message.headers = args->headers;
    done = true;
done:
    Py_DECREF(items);
    return done;
}

enum { ARG_TOPIC, ARG_VALUE, ARG_KEY, ARG_HEADERS, ARG_PARTITION, ARG_TIMESTAMP, ARG_TIMEOUT, ARG_COUNT };

/* Reads all but the topic; on false, message_reset is still due. */
static bool message_read(producer_object *self, PyObject *const *values, message_args *args) {
    dbi_message *message = &args->message;
    int64_t number;

    memset(args, 0, sizeof *args);
    message->partition = RD_KAFKA_PARTITION_UA;
    if (!payload_read(values[ARG_VALUE], "value", &args->value, &message->value, &message->value_len) ||
        !payload_read(values[ARG_KEY], "key", &args->key, &message->key, &message->key_len))
        return false;
    if (values[ARG_HEADERS] != NULL && values[ARG_HEADERS] != Py_None && !headers_read(values[ARG_HEADERS], args))
        return false;
    if (values[ARG_PARTITION] != NULL && values[ARG_PARTITION] != Py_None) {
        if (!dbi_arg_int(dbi_state_of(Py_TYPE(self)), values[ARG_PARTITION], "partition", 0, INT32_MAX, &number))
            return false;
        message->partition = (int32_t)number;
    }
    if (values[ARG_TIMESTAMP] != NULL && values[ARG_TIMESTAMP] != Py_None)
        return dbi_arg_int(dbi_state_of(Py_TYPE(self)), values[ARG_TIMESTAMP], "timestamp", 1, INT64_MAX,
                           &message->timestamp_ms);
    return true;
}

/* The handle of the topic. `may_wait` = the brokers may be asked; without, NULL and no exception stands for "ask". */
static dbi_topic *topic_read(producer_object *self, PyObject *name, bool may_wait) {
    const dbi_state *state;
    dbi_topic *topic = NULL;
    const char *text;
    dbi_err err;
    dbi_rc rc;

    if (name == self->topic_name)
        return self->topic;
    state = dbi_state_of(Py_TYPE(self));
    text = state != NULL ? dbi_arg_text(state, name, "topic", DBI_ERROR_CONFIGURATION) : NULL;
    if (text == NULL)
        return NULL;
    if (dbi_producer_knows_topic(self->producer, text)) {
        rc = dbi_producer_topic(self->producer, text, &topic, &err);
    } else {
        if (self->require_topics && !may_wait)
            return NULL;
        kafka_wait_begin();
        rc = dbi_producer_topic(self->producer, text, &topic, &err);
        kafka_wait_end();
    }
    if (rc != DBI_OK) {
        (void)dbi_raise(state, &err);
        return NULL;
    }
    Py_XSETREF(self->topic_name, Py_NewRef(name));
    self->topic = topic;
    return topic;
}

static const dbi_params enqueue_params = {
    .func = "enqueue",
    .required = 1,
    .positional = 3,
    .names = {"topic", "value", "key", "headers", "partition", "timestamp", NULL},
};

/* A message that waits for room. */
typedef struct room_wait {
    dbi_producer *producer;
    dbi_topic *topic;
    const dbi_message *message;
    dbi_mailbox *mailbox; /* NULL = enqueue */
} room_wait;

static dbi_rc room_try(const room_wait *wait, dbi_err *err) {
    return wait->mailbox == NULL
               ? dbi_producer_enqueue(wait->producer, wait->topic, wait->message, err)
               : dbi_producer_send(wait->producer, wait->topic, wait->message, wait->mailbox, NULL, err);
}

static dbi_rc room_slice(void *arg, int64_t deadline, dbi_err *err) {
    const room_wait *wait = arg;
    dbi_rc rc;

    do {
        rc = dbi_producer_wait_room(wait->producer, deadline, err);
        if (rc == DBI_OK)
            rc = room_try(wait, err);
    } while (rc == DBI_EFULL);
    return rc;
}

/* Tries, and where the policy says so waits for room until the deadline. */
static dbi_rc room_hand_over(producer_object *self, room_wait *wait, int64_t deadline, dbi_err *err) {
    int64_t patience;
    dbi_rc rc;

    if (self->sync)
        kafka_wait_begin();
    rc = room_try(wait, err);
    if (self->sync)
        kafka_wait_end();
    if (rc != DBI_EFULL || !self->block)
        return rc;
    patience = self->block_ns == DBI_FOREVER ? DBI_FOREVER : dbi_clock_deadline(NULL, self->block_ns);
    rc = dbi_wait(room_slice, wait, patience < deadline ? patience : deadline, err);
    if (rc == DBI_ETIMEOUT) {
        dbi_producer_gave_up(self->producer);
        rc = dbi_err_set(err, DBI_EFULL,
                         "the producer's queue stayed full for as long as was to be waited (block_timeout)");
    }
    return rc;
}

PyDoc_STRVAR(enqueue_doc,
             "enqueue($self, topic, value=None, key=None, *, headers=None, partition=None, timestamp=None)\n--\n\n"
             "Hand one message over and account for it: no object, no callback, no waiting for the broker.\n\n"
             "value and key are bytes, str (sent as UTF-8), a buffer or None (Kafka's null). headers is a mapping\n"
             "or a sequence of (name, value). timestamp is in milliseconds since 1970, by default now. A full queue\n"
             "is met by the policy when_full. Raises QueueFullError, MessageTooLargeError, KafkaError,\n"
             "KafkaFatalError, ClosedError; TypeError names the argument that is wrong.");

static PyObject *producer_enqueue(producer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    PyObject *values[ARG_COUNT];
    message_args message;
    room_wait wait;
    dbi_err err;
    dbi_rc rc;

    if (!producer_ready(self) || !dbi_parse(&enqueue_params, args, nargs, kwnames, values))
        return NULL;
    if (!message_read(self, values, &message) ||
        (wait.topic = topic_read(self, values[ARG_TOPIC], true)) == NULL) {
        message_reset(&message);
        return NULL;
    }
    wait.producer = self->producer;
    wait.message = &message.message;
    wait.mailbox = NULL;
    rc = room_hand_over(self, &wait, DBI_FOREVER, &err);
    message_reset(&message);
    if (rc != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

static const dbi_params send_params = {
    .func = "send",
    .required = 1,
    .positional = 3,
    .names = {"topic", "value", "key", "headers", "partition", "timestamp", NULL},
};

/* Sends with a report to the running loop; a new reference to its future. NULL without an exception and *err filled when
 * the message was refused. */
static PyObject *channel_send(producer_object *self, channel_object *channel, dbi_topic *topic,
                              const dbi_message *message, dbi_err *err) {
    PyObject *future = channel_future(channel);

    if (future == NULL)
        return NULL;
    if (dbi_producer_send(self->producer, topic, message, channel->mailbox, future, err) != DBI_OK) {
        Py_DECREF(future);
        return NULL;
    }
    channel_promised(channel, future);
    return future;
}

/* The way that never waits. NULL without an exception: it would have to. */
static PyObject *send_now(producer_object *self, PyObject *const *values) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    channel_object *channel;
    message_args message;
    PyObject *future = NULL;
    dbi_topic *topic;
    dbi_err err = {0};

    if (state == NULL ||
        (channel = channels_find(&self->channels, state, (PyObject *)self, delivery_outcome)) == NULL)
        return NULL;
    if (message_read(self, values, &message) && (topic = topic_read(self, values[ARG_TOPIC], false)) != NULL)
        future = channel_send(self, channel, topic, &message.message, &err);
    message_reset(&message);
    if (future == NULL && err.rc != DBI_OK && !(err.rc == DBI_EFULL && self->block) && !PyErr_Occurred())
        (void)dbi_raise(state, &err);
    return future;
}

PyDoc_STRVAR(send_doc,
             "send($self, topic, value=None, key=None, *, headers=None, partition=None, timestamp=None)\n--\n\n"
             "Hand one message over; await the returned asyncio.Future for its delivery report (a Delivery).\n\n"
             "The arguments are enqueue's. The message is on its way when send returns, awaited or not; cancelling\n"
             "the wait does not take it back, and it stays accounted for. The event loop is never blocked: a full\n"
             "queue under when_full='block' makes the future wait. send raises what enqueue raises; the future\n"
             "raises what the report says: KafkaError and its kin, DeadlineError after the delivery timeout.");

static PyObject *producer_send(producer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    PyObject *values[ARG_COUNT], *later, *method, *future = NULL;

    if (!producer_ready(self) || !dbi_parse(&send_params, args, nargs, kwnames, values))
        return NULL;
    if (self->waiting == 0)
        future = send_now(self, values);
    if (future != NULL || PyErr_Occurred())
        return future;
    method = PyUnicode_InternFromString("_send_later");
    if (method == NULL)
        return NULL;
    later = PyObject_GetAttr((PyObject *)self, method);
    Py_DECREF(method);
    if (later == NULL)
        return NULL;
    future = PyObject_Vectorcall(later, args, (size_t)nargs, kwnames);
    Py_DECREF(later);
    return future;
}

PyDoc_STRVAR(try_send_doc,
             "try_send($self, topic, value=None, key=None, *, headers=None, partition=None, timestamp=None)\n--\n\n"
             "send() that answers None instead of waiting for room, or for a topic to be looked up.");

static PyObject *producer_try_send(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *kwnames) {
    PyObject *values[ARG_COUNT], *future;

    if (!producer_ready(self) || !dbi_parse(&send_params, args, nargs, kwnames, values))
        return NULL;
    future = send_now(self, values);
    if (future == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return future;
}

static const dbi_params send_sync_params = {
    .func = "send_sync",
    .required = 1,
    .positional = 3,
    .names = {"topic", "value", "key", "headers", "partition", "timestamp", "timeout", NULL},
};

typedef struct report_wait {
    dbi_mailbox *mailbox;
    dbi_ticket *ticket;
} report_wait;

static dbi_rc report_slice(void *arg, int64_t deadline, dbi_err *err) {
    report_wait *wait = arg;

    wait->ticket = (dbi_ticket *)dbi_mailbox_wait(wait->mailbox, deadline);
    return wait->ticket != NULL ? DBI_OK
                                : dbi_err_set(err, DBI_ETIMEOUT,
                                              "no delivery report came within the timeout; the message is still in "
                                              "flight, and its report will be counted");
}

PyDoc_STRVAR(send_sync_doc,
             "send_sync($self, topic, value=None, key=None, *, headers=None, partition=None, timestamp=None,\n"
             "          timeout=None)\n--\n\n"
             "Hand one message over and wait for its delivery report, for code without an event loop.\n\n"
             "timeout is in seconds, None waits as long as it takes (the delivery timeout ends it). Raises\n"
             "DeadlineError when no report came in time; the message stays in flight and accounted for.");

static PyObject *producer_send_sync(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
    PyObject *values[ARG_COUNT], *delivery = NULL;
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    message_args message;
    report_wait report = {0};
    room_wait wait = {0};
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !producer_ready(self) || !dbi_parse(&send_sync_params, args, nargs, kwnames, values) ||
        !kafka_timeout(state, values[ARG_TIMEOUT], &deadline))
        return NULL;
    if (!message_read(self, values, &message) ||
        (wait.topic = topic_read(self, values[ARG_TOPIC], true)) == NULL) {
        message_reset(&message);
        return NULL;
    }
    wait.producer = self->producer;
    wait.message = &message.message;
    rc = dbi_mailbox_new(&report.mailbox, false, &err);
    wait.mailbox = report.mailbox;
    if (rc == DBI_OK)
        rc = room_hand_over(self, &wait, deadline, &err);
    if (rc == DBI_OK)
        rc = dbi_wait(report_slice, &report, deadline, &err);
    if (rc == DBI_OK && report.ticket->error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        delivery_error(report.ticket, &err);
        rc = err.rc;
    }
    if (rc == DBI_OK)
        delivery = delivery_new(state, values[ARG_TOPIC], report.ticket);
    else
        (void)dbi_raise(state, &err);
    dbi_letter_free(report.ticket);
    dbi_mailbox_free(report.mailbox);
    message_reset(&message);
    return delivery;
}

PyDoc_STRVAR(check_topic_doc, "check_topic($self, topic, /)\n--\n\n"
                              "Open the client and make the topic's handle now instead of with its first message.\n\n"
                              "Where topics are required to exist, the brokers are asked; KafkaError when it does not.");

static PyObject *producer_check_topic(producer_object *self, PyObject *name) {
    if (!producer_ready(self) || topic_read(self, name, true) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(gave_up_doc, "gave_up($self, /)\n--\n\nCount one message as refused that has waited for room in vain.");

static PyObject *producer_gave_up(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    if (!producer_ready(self))
        return NULL;
    dbi_producer_gave_up(self->producer);
    Py_RETURN_NONE;
}

/* -- all messages ------------------------------------------------------------------------------------------------- */

typedef struct flush_wait {
    dbi_producer *producer;
    uint64_t left;
} flush_wait;

static dbi_rc flush_slice(void *arg, int64_t deadline, dbi_err *err) {
    flush_wait *wait = arg;

    return dbi_producer_flush(wait->producer, deadline, &wait->left, err);
}

PyDoc_STRVAR(flush_doc, "flush($self, timeout=None)\n--\n\n"
                        "Wait until every message is reported on, at most timeout seconds (None: as long as it takes).\n\n"
                        "Returns how many messages are left in flight: 0 when all are reported on. With a journal, waits for\n"
                        "all that it held when flush was called.");

static PyObject *producer_flush(producer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "flush", .positional = 1, .names = {"timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[1];
    flush_wait wait = {0};
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !producer_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        !kafka_timeout(state, values[0], &deadline))
        return NULL;
    wait.producer = self->producer;
    rc = dbi_wait(flush_slice, &wait, deadline, &err);
    if (rc != DBI_OK && rc != DBI_ETIMEOUT)
        return dbi_raise(state, &err);
    return PyLong_FromUnsignedLongLong(wait.left);
}

PyDoc_STRVAR(purge_doc, "purge($self, /)\n--\n\n"
                        "Give up every message that is queued or in flight. Each is reported as failed and counted as\n"
                        "purged; one that was on its way may have arrived all the same.");

static PyObject *producer_purge(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    if (!producer_ready(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = dbi_producer_purge(self->producer, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, timeout=10.0)\n--\n\n"
                        "Flush for at most timeout seconds, give up what is left, and end the client.\n\n"
                        "Returns how many messages were given up; they are counted as purged. With a journal none is: it\n"
                        "returns how many stay there for the next process. A second close returns 0.");

static PyObject *producer_close(producer_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "close", .positional = 1, .names = {"timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    dbi_producer_counts before, after;
    PyObject *values[1];
    flush_wait wait = {0};
    int64_t deadline = dbi_clock_deadline(NULL, 10 * DBI_NS_PER_S);
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !producer_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        (values[0] != NULL && !kafka_timeout(state, values[0], &deadline)))
        return NULL;
    wait.producer = self->producer;
    dbi_producer_counts_get(self->producer, &before);
    rc = dbi_wait(flush_slice, &wait, deadline, &err);
    if (rc == DBI_OK || rc == DBI_ETIMEOUT) {
        Py_BEGIN_ALLOW_THREADS
        rc = dbi_producer_close(self->producer, &err);
        Py_END_ALLOW_THREADS
    }
    if (rc == DBI_ECLOSED)
        return PyLong_FromLong(0);
    if (rc != DBI_OK)
        return dbi_raise(state, &err);
    channels_detach(&self->channels);
    dbi_producer_counts_get(self->producer, &after);
    return PyLong_FromUnsignedLongLong(self->journaled ? after.journaled : after.purged - before.purged);
}

PyDoc_STRVAR(start_doc, "start($self, /)\n--\n\n"
                        "Open the client now, and the journal: what an earlier process has left in it is sent.\n\n"
                        "The first message does the same. JournalError when the journal cannot be opened.");

static PyObject *producer_start(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;
    dbi_rc rc;

    if (!producer_ready(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = dbi_producer_start(self->producer, &err);
    Py_END_ALLOW_THREADS
    if (rc != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

/* -- transactions ------------------------------------------------------------------------------------------------- */

typedef dbi_rc (*txn_fn)(dbi_producer *producer, int64_t deadline, dbi_err *err);

static PyObject *txn_run(producer_object *self, const dbi_params *params, txn_fn call, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames) {
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    PyObject *values[1];
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !producer_ready(self) || !dbi_parse(params, args, nargs, kwnames, values) ||
        !kafka_timeout(state, values[0], &deadline))
        return NULL;
    kafka_wait_begin();
    rc = call(self->producer, deadline, &err);
    kafka_wait_end();
    if (rc != DBI_OK)
        return kafka_raise(state, self->base.kafka, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(init_transactions_doc,
             "init_transactions($self, timeout=None)\n--\n\n"
             "Register the transactional id: earlier producers with it are fenced, their transactions ended.\n\n"
             "Once, before the first transaction. May be repeated after DeadlineError.");

static PyObject *producer_init_transactions(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                            PyObject *kwnames) {
    static const dbi_params params = {.func = "init_transactions", .positional = 1, .names = {"timeout", NULL}};

    return txn_run(self, &params, dbi_producer_init_transactions, args, nargs, kwnames);
}

PyDoc_STRVAR(begin_transaction_doc, "begin_transaction($self, /)\n--\n\nBegin a transaction; asks no broker.");

static PyObject *producer_begin_transaction(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;

    if (!producer_ready(self))
        return NULL;
    if (dbi_producer_begin_transaction(self->producer, &err) != DBI_OK)
        return dbi_raise(dbi_state_of(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(commit_transaction_doc,
             "commit_transaction($self, timeout=None)\n--\n\n"
             "Deliver what is in flight and commit.\n\n"
             "May be repeated after DeadlineError and KafkaRetriableError. KafkaAbortError: abort, then begin again.\n"
             "KafkaFatalError: make a new producer.");

static PyObject *producer_commit_transaction(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                             PyObject *kwnames) {
    static const dbi_params params = {.func = "commit_transaction", .positional = 1, .names = {"timeout", NULL}};

    return txn_run(self, &params, dbi_producer_commit_transaction, args, nargs, kwnames);
}

PyDoc_STRVAR(abort_transaction_doc, "abort_transaction($self, timeout=None)\n--\n\n"
                                    "Give up the transaction and what is in flight of it.");

static PyObject *producer_abort_transaction(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                            PyObject *kwnames) {
    static const dbi_params params = {.func = "abort_transaction", .positional = 1, .names = {"timeout", NULL}};

    return txn_run(self, &params, dbi_producer_abort_transaction, args, nargs, kwnames);
}

PyDoc_STRVAR(send_offsets_doc,
             "send_offsets($self, offsets, consumer, timeout=None)\n--\n\n"
             "Commit the consumer's offsets as part of the transaction.\n\n"
             "offsets is a sequence of (topic, partition, offset[, metadata]), each offset the next one to be read.");

static PyObject *producer_send_offsets(producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames) {
    static const dbi_params params = {
        .func = "send_offsets", .required = 2, .positional = 3, .names = {"offsets", "consumer", "timeout", NULL}};
    dbi_state *state = dbi_state_of(Py_TYPE(self));
    rd_kafka_consumer_group_metadata_t *group = NULL;
    rd_kafka_topic_partition_list_t *offsets = NULL;
    PyObject *values[3], *result = NULL;
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    if (state == NULL || !producer_ready(self) || !dbi_parse(&params, args, nargs, kwnames, values) ||
        !kafka_timeout(state, values[2], &deadline))
        return NULL;
    offsets = kafka_partitions_read(state, values[0], "offsets");
    if (offsets == NULL)
        return NULL;
    group = kafka_consumer_group(state, values[1]);
    if (group != NULL) {
        kafka_wait_begin();
        rc = dbi_producer_send_offsets(self->producer, offsets, group, deadline, &err);
        kafka_wait_end();
        result = rc == DBI_OK ? Py_NewRef(Py_None) : kafka_raise(state, self->base.kafka, &err);
        rd_kafka_consumer_group_metadata_destroy(group);
    }
    rd_kafka_topic_partition_list_destroy(offsets);
    return result;
}

/* -- counters ----------------------------------------------------------------------------------------------------- */

/* A dict of the reasons with a count other than 0. */
static PyObject *reasons_dict(const dbi_producer_reason *reasons, size_t count, bool failed) {
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict != NULL && i < count; i++) {
        uint64_t number = failed ? reasons[i].failed : reasons[i].refused;
        PyObject *value = number != 0 ? PyLong_FromUnsignedLongLong(number) : NULL;

        if (number != 0 && (value == NULL || PyDict_SetItemString(dict, rd_kafka_err2name(reasons[i].code), value) < 0))
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

#define REASONS_MAX 64

PyDoc_STRVAR(metrics_doc,
             "metrics($self, /)\n--\n\n"
             "The counters now, as a dict: accepted = delivered + failed + in_flight holds in every answer.\n\n"
             "purged is part of failed. refused (an error was raised) and dropped (a full queue under\n"
             "'drop_newest') were never accepted. failed_by and refused_by count by Kafka's name of the reason.\n"
             "With a journal: accepted + recovered = delivered + failed + journaled + dropped_oldest + damaged;\n"
             "in_flight is journaled, and failed are the dead letters.");

static PyObject *producer_metrics(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_producer_reason reasons[REASONS_MAX];
    dbi_producer_counts counts;
    PyObject *failed_by, *refused_by, *metrics;
    size_t count;

    if (!producer_ready(self))
        return NULL;
    dbi_producer_counts_get(self->producer, &counts);
    count = dbi_producer_reasons(self->producer, reasons, REASONS_MAX);
    if (count > REASONS_MAX)
        count = REASONS_MAX;
    failed_by = reasons_dict(reasons, count, true);
    refused_by = failed_by != NULL ? reasons_dict(reasons, count, false) : NULL;
    if (refused_by == NULL) {
        Py_XDECREF(failed_by);
        return NULL;
    }
    metrics = Py_BuildValue("{sKsKsKsKsKsKsKsKsNsN}", "accepted", (unsigned long long)counts.accepted, "delivered",
                         (unsigned long long)counts.delivered, "failed", (unsigned long long)counts.failed,
                         "in_flight", (unsigned long long)counts.in_flight, "purged",
                         (unsigned long long)counts.purged, "refused", (unsigned long long)counts.refused, "dropped",
                         (unsigned long long)counts.dropped, "accepted_bytes",
                         (unsigned long long)counts.accepted_bytes, "failed_by", failed_by, "refused_by", refused_by);
    if (metrics != NULL && self->journaled) {
        PyObject *more = Py_BuildValue("{sKsKsKsK}", "journaled", (unsigned long long)counts.journaled, "recovered",
                                       (unsigned long long)counts.recovered, "dropped_oldest",
                                       (unsigned long long)counts.dropped_oldest, "damaged",
                                       (unsigned long long)counts.damaged);

        if (more == NULL || PyDict_Update(metrics, more) < 0)
            Py_CLEAR(metrics);
        Py_XDECREF(more);
    }
    return metrics;
}

static const char *const journal_states[] = {"closed", "waiting", "running", "sorting", "held"};

PyDoc_STRVAR(journal_status_doc,
             "journal_status($self, /)\n--\n\n"
             "What the journal does now, as a dict; None without a journal.\n\n"
             "state is 'closed' (not opened yet, or closed), 'waiting' (no broker has answered yet), 'running',\n"
             "'sorting' (a request was refused: finding out which message of it was) or 'held' (why says what must be\n"
             "repaired). oldest is about when the oldest message that waits was taken, in seconds since 1970.");

static PyObject *producer_journal_status(producer_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_producer_journal_view view;
    PyObject *oldest;
    bool journaled;

    if (!producer_ready(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    journaled = dbi_producer_journal_view_get(self->producer, &view);
    Py_END_ALLOW_THREADS
    if (!journaled)
        Py_RETURN_NONE;
    oldest = view.oldest_wall_us != 0 ? PyFloat_FromDouble((double)view.oldest_wall_us / 1e6) : Py_NewRef(Py_None);
    if (oldest == NULL)
        return NULL;
    return Py_BuildValue("{sssssssIsKsKsIsKsKsKsssssN}", "state", journal_states[view.state], "why", view.why,
                         "directory", view.journal.directory, "slot", view.journal.slot, "bytes",
                         (unsigned long long)view.journal.bytes, "max_bytes",
                         (unsigned long long)view.journal.max_bytes, "adopted", view.journal.adopted, "quarantined",
                         (unsigned long long)view.journal.quarantined, "resent", (unsigned long long)view.resent,
                         "renewed", (unsigned long long)view.renewed, "error", view.journal.error, "warning",
                         view.journal.warning, "oldest", oldest);
}

static PyObject *producer_get_in_flight(producer_object *self, void *Py_UNUSED(closure)) {
    dbi_producer_counts counts;

    if (!producer_ready(self))
        return NULL;
    dbi_producer_counts_get(self->producer, &counts);
    return PyLong_FromUnsignedLongLong(counts.in_flight);
}

static PyObject *producer_get_closed(producer_object *self, void *Py_UNUSED(closure)) {
    return producer_ready(self) ? PyBool_FromLong(dbi_producer_closed(self->producer)) : NULL;
}

/* -- the type ----------------------------------------------------------------------------------------------------- */

#define FAST(name) {#name, (PyCFunction)(void *)producer_##name, METH_FASTCALL | METH_KEYWORDS, name##_doc}
#define PLAIN(name, flags) {#name, (PyCFunction)producer_##name, flags, name##_doc}

static PyMethodDef producer_methods[] = {
    FAST(abort_transaction),
    PLAIN(begin_transaction, METH_NOARGS),
    PLAIN(check_topic, METH_O),
    FAST(close),
    FAST(commit_transaction),
    FAST(enqueue),
    FAST(flush),
    PLAIN(gave_up, METH_NOARGS),
    FAST(init_transactions),
    PLAIN(journal_status, METH_NOARGS),
    PLAIN(metrics, METH_NOARGS),
    PLAIN(purge, METH_NOARGS),
    FAST(send),
    FAST(send_offsets),
    FAST(send_sync),
    PLAIN(start, METH_NOARGS),
    FAST(try_send),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef producer_members[] = {
    {"waiting", T_PYSSIZET, offsetof(producer_object, waiting), 0,
     "How many sends wait for room or for a topic; kept by the subclass that does the waiting."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef producer_getset[] = {
    {"closed", (getter)producer_get_closed, NULL, "Whether close() was called.", NULL},
    {"in_flight", (getter)producer_get_in_flight, NULL, "Messages accepted and not yet reported on.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot producer_slots[] = {
    {Py_tp_doc, "Producer(properties, *, when_full='block', block_timeout=None, topic_timeout=None,\n"
                "         journal_directory=None, journal_bytes=1073741824, journal_durability='process', lanes=1)\n--\n\n"
                "The core's Kafka producer. properties maps librdkafka's names to str.\n\n"
                "when_full is 'block' (for at most block_timeout seconds), 'reject' or 'drop_newest'. With\n"
                "topic_timeout, topics must exist: each is looked up on first use, within that many seconds.\n"
                "With journal_directory, messages wait on disk: at most journal_bytes of them, as durable as\n"
                "journal_durability says ('process', 'interval', 'sync'), in so many lanes; when_full is about them,\n"
                "and may be 'drop_oldest'."},
    {Py_tp_init, producer_init},
    {Py_tp_dealloc, producer_dealloc},
    {Py_tp_finalize, producer_finalize},
    {Py_tp_traverse, producer_traverse},
    {Py_tp_clear, producer_clear},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_methods, producer_methods},
    {Py_tp_members, producer_members},
    {Py_tp_getset, producer_getset},
    {0, NULL},
};

static PyType_Spec producer_spec = {
    .name = "dbint._core.Producer",
    .basicsize = sizeof(producer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = producer_slots,
};

int dbi_add_producer(PyObject *module, dbi_state *state) {
    state->producer_type = kafka_type_add(module, state, &producer_spec);
    return state->producer_type != NULL ? 0 : -1;
}
