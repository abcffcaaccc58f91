/* capture.c - _core.Capture: the thread that carries a replication slot to Kafka (dbint.flow.Capture is its front) */
#include "cdc/capture.h"

#include "cdc/replication.h"
#include "outlet_type.h"

typedef struct capture_object {
    PyObject_HEAD
    dbi_state *state;
    PyObject *outlet; /* is not given up while the capture lives */
    dbi_capture *capture;
} capture_object;

/* --- making one --- */

enum { NAME, CONNINFO, SLOT, PUBLICATION, PREFIX, VERSION, DEAD_LETTER_TOPIC, SPOOL_DIRECTORY, TEXTS };

static bool read_texts(const dbi_state *state, PyObject *const *values, const char **texts) {
    static const char *const names[TEXTS] = {"name",   "conninfo", "slot",              "publication",
                                             "prefix", "version",  "dead_letter_topic", "spool_directory"};

    for (int i = 0; i < TEXTS; i++) {
        texts[i] = NULL;
        if (values[i] != NULL && values[i] != Py_None &&
            (texts[i] = dbi_arg_text(state, values[i], names[i], DBI_ERROR_CONFIGURATION)) == NULL)
            return false;
    }
    return true;
}

static bool read_time(const dbi_state *state, PyObject *value, const char *name, int64_t *ns) {
    return value == NULL || dbi_arg_seconds(state, value, name, ns);
}

static PyObject *capture_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"outlet",          "name",              "conninfo",        "slot",     "publication",
                            "prefix",          "version",           "dead_letter_topic", "spool_directory",
                            "start",           "streaming",         "messages",        "spool_memory",
                            "connect_timeout", "feedback",          NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *outlet, *texts[TEXTS] = {NULL}, *start = NULL, *memory = NULL, *connect = NULL, *feedback = NULL;
    PyObject *messages = NULL, *items = NULL;
    const char *given[TEXTS], **prefixes = NULL;
    capture_object *self = NULL;
    dbi_capture_config config;
    int streaming = 0;
    int64_t number;
    dbi_err err;

    dbi_capture_defaults(&config);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$OOOOOOOOOpOOOO:Capture", names, state->outlet_type, &outlet,
                                     &texts[NAME], &texts[CONNINFO], &texts[SLOT], &texts[PUBLICATION], &texts[PREFIX],
                                     &texts[VERSION], &texts[DEAD_LETTER_TOPIC], &texts[SPOOL_DIRECTORY], &start,
                                     &streaming, &messages, &memory, &connect, &feedback) ||
        !read_texts(state, texts, given) || !read_time(state, connect, "connect_timeout", &config.connect_timeout) ||
        !read_time(state, feedback, "feedback", &config.feedback))
        return NULL;
    if (!dbi_arg_texts(state, messages, "messages", DBI_ERROR_CONFIGURATION, &items, &prefixes))
        goto done;
    if (start != NULL) {
        config.start = PyLong_AsUnsignedLongLong(start);
        if (config.start == (unsigned long long)-1 && PyErr_Occurred() != NULL)
            goto done;
    }
    if (memory != NULL) {
        if (!dbi_arg_int(state, memory, "spool_memory", 0, INT64_MAX, &number))
            goto done;
        config.spool_memory = (size_t)number;
    }
    config.name = given[NAME];
    config.conninfo = given[CONNINFO];
    config.slot = given[SLOT];
    config.publication = given[PUBLICATION];
    config.prefix = given[PREFIX];
    config.version = given[VERSION];
    config.dead_letter_topic = given[DEAD_LETTER_TOPIC];
    config.spool_directory = given[SPOOL_DIRECTORY];
    config.streaming = streaming != 0;
    config.messages = prefixes;
    config.message_count = items != NULL ? (size_t)PyTuple_GET_SIZE(items) : 0;
    config.outlet = ((outlet_object *)outlet)->outlet;
    self = (capture_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto done;
    self->state = state;
    self->outlet = Py_NewRef(outlet);
    if (dbi_capture_new(&self->capture, &config, &err) != DBI_OK) {
        Py_CLEAR(self);
        (void)dbi_raise(state, &err);
    }
done:
    PyMem_Free(prefixes);
    Py_XDECREF(items);
    return (PyObject *)self;
}

static int capture_traverse(capture_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->outlet);
    return 0;
}

static void capture_dealloc(capture_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_BEGIN_ALLOW_THREADS
        dbi_capture_free(self->capture);
    Py_END_ALLOW_THREADS
    Py_CLEAR(self->outlet);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- running --- */

PyDoc_STRVAR(start_doc, "start($self, /)\n--\n\nStart the thread. Raises InterfaceError when it runs, or when the "
                        "outlet is in use.");

static PyObject *capture_start(capture_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_err err;

    if (dbi_capture_start(self->capture, &err) != DBI_OK)
        return dbi_raise(self->state, &err);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc,
             "stop($self, timeout=30.0)\n--\n\n"
             "Ask the thread to read no more, wait until what it has read is delivered, tell the server, and end; after\n"
             "timeout seconds it ends as it is. Returns at once: join() waits.");

static PyObject *capture_stop(capture_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "stop", .positional = 1, .names = {"timeout", NULL}};
    int64_t timeout = 30 * DBI_NS_PER_S;
    PyObject *values[1];

    if (!dbi_parse(&params, args, nargs, kwnames, values) || !read_time(self->state, values[0], "timeout", &timeout))
        return NULL;
    dbi_capture_stop(self->capture, dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(join_doc,
             "join($self, timeout=None)\n--\n\n"
             "Wait until the thread has ended; whether it has. Raises, once, what ended it: DeadlineError when a stop's\n"
             "time passed before everything was delivered.");

typedef struct join_wait {
    dbi_capture *capture;
    dbi_rc rc;
    dbi_err err;
} join_wait;

static dbi_rc join_slice(void *arg, int64_t deadline, dbi_err *err) {
    join_wait *wait = arg;
    bool ended;

    (void)err;
    wait->rc = dbi_capture_join(wait->capture, deadline, &ended, &wait->err);
    return ended ? DBI_OK : DBI_ETIMEOUT;
}

static PyObject *capture_join(capture_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    static const dbi_params params = {.func = "join", .positional = 1, .names = {"timeout", NULL}};
    join_wait wait = {.capture = self->capture};
    int64_t timeout = DBI_FOREVER;
    PyObject *values[1];
    dbi_err err;
    dbi_rc rc;

    if (!dbi_parse(&params, args, nargs, kwnames, values) || !read_time(self->state, values[0], "timeout", &timeout))
        return NULL;
    rc = dbi_wait(join_slice, &wait, dbi_clock_deadline(NULL, timeout == DBI_FOREVER ? -1 : timeout), &err);
    if (rc == DBI_ETIMEOUT)
        Py_RETURN_FALSE;
    if (rc != DBI_OK)
        return dbi_raise(self->state, &err);
    if (wait.rc != DBI_OK)
        return dbi_raise(self->state, &wait.err);
    Py_RETURN_TRUE;
}

/* --- looking --- */

PyDoc_STRVAR(status_doc,
             "status($self, /)\n--\n\n"
             "The capture now: state (str), error (str or None), positions in the log (int), commit times (seconds since\n"
             "1970, None while there is none), and counts since it was made.");

static PyObject *seconds(int64_t us) {
    return us != 0 ? PyFloat_FromDouble((double)us / 1e6) : Py_NewRef(Py_None);
}

static PyObject *error_text(const dbi_err *error) {
    if (error->rc == DBI_OK)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(error->msg, (Py_ssize_t)strlen(error->msg), "replace");
}

static PyObject *server_age(int64_t at) {
    return at != 0 ? PyFloat_FromDouble((double)(dbi_clock_now(NULL) - at) / 1e9) : Py_NewRef(Py_None);
}

static PyObject *capture_status(capture_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_capture_view view;

    dbi_capture_read(self->capture, &view);
#define COUNT(value) (unsigned long long)(value)
    return Py_BuildValue(
        "{s:s,s:N,s:s,s:i,s:K,s:K,s:K,s:N,s:N,s:N,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", //
        "state", dbi_capture_state_text(view.state),                                                           //
        "error", error_text(&view.error),                                                                      //
        "error_code", view.error.rc != DBI_OK ? dbi_rc_name(view.error.rc) : "",                               //
        "backend_pid", view.backend_pid,                                                                       //
        "received", COUNT(view.received),                                                                      //
        "confirmed", COUNT(view.confirmed),                                                                    //
        "server_end", COUNT(view.server_end),                                                                  //
        "server_end_age", server_age(view.server_end_at),                                                      //
        "confirmed_commit", seconds(view.confirmed_commit_us),                                                 //
        "received_commit", seconds(view.received_commit_us),                                                   //
        "transactions", COUNT(view.transactions),                                                              //
        "inserts", COUNT(view.inserts),                                                                        //
        "updates", COUNT(view.updates),                                                                        //
        "deletes", COUNT(view.deletes),                                                                        //
        "truncates", COUNT(view.truncates),                                                                    //
        "messages", COUNT(view.messages),                                                                      //
        "skipped", COUNT(view.skipped),                                                                        //
        "dead_letters", COUNT(view.dead_letters),                                                              //
        "refusals", COUNT(view.refusals),                                                                      //
        "bytes", COUNT(view.bytes),                                                                            //
        "connects", COUNT(view.connects),                                                                      //
        "stalls", COUNT(view.stalls),                                                                          //
        "spooled_bytes", COUNT(view.spooled_bytes),                                                            //
        "delivered", COUNT(view.outlet.delivered),                                                             //
        "undelivered", COUNT(view.outlet.undelivered),                                                         //
        "undelivered_bytes", COUNT(view.outlet.undelivered_bytes));
#undef COUNT
}

static PyMethodDef capture_methods[] = {
    {"join", (PyCFunction)(void *)capture_join, METH_FASTCALL | METH_KEYWORDS, join_doc},
    {"start", (PyCFunction)capture_start, METH_NOARGS, start_doc},
    {"status", (PyCFunction)capture_status, METH_NOARGS, status_doc},
    {"stop", (PyCFunction)(void *)capture_stop, METH_FASTCALL | METH_KEYWORDS, stop_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot capture_slots[] = {
    {Py_tp_doc, "Capture(outlet, *, name, conninfo, slot, publication, prefix, version, dead_letter_topic=None, "
                "spool_directory=None, start=0, streaming=False, messages=(), spool_memory=16777216, "
                "connect_timeout=10.0, feedback=10.0)\n--\n\n"
                "A thread that carries a logical replication slot's changes through an outlet to Kafka."},
    {Py_tp_new, capture_new},
    {Py_tp_dealloc, capture_dealloc},
    {Py_tp_traverse, capture_traverse},
    {Py_tp_methods, capture_methods},
    {0, NULL},
};

static PyType_Spec capture_spec = {
    .name = "dbint._core.Capture",
    .basicsize = sizeof(capture_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = capture_slots,
};

int dbi_add_capture(PyObject *module, dbi_state *state) {
    state->capture_type = dbi_type_add(module, &capture_spec);
    return state->capture_type != NULL ? 0 : -1;
}
