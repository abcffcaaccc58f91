/* breaker.c - CircuitBreaker, and the two small things that come with it: CircuitState and CircuitChange. */
#include "alloc.h"
#include "breaker_type.h"

/* --- CircuitState and CircuitChange --- */

int dbi_circuit_states_add(PyObject *module, dbi_state *state) {
    PyObject *enums = NULL, *members = NULL, *args = NULL, *names = NULL, *cls = NULL;
    int rc = -1;

    members = Py_BuildValue("["
#define STATE_FORMAT(name, text) "(ss)"
                            DBI_CIRCUIT_MAP(STATE_FORMAT)
#undef STATE_FORMAT
                                "]"
#define STATE_PAIR(name, text) , #name, text
                            DBI_CIRCUIT_MAP(STATE_PAIR)
#undef STATE_PAIR
    );
    if (members == NULL || (enums = PyImport_ImportModule("enum")) == NULL)
        goto done;
    args = Py_BuildValue("(sO)", "CircuitState", members);
    names = Py_BuildValue("{ss}", "module", "dbint._core");
    cls = PyObject_GetAttrString(enums, "StrEnum");
    if (args == NULL || names == NULL || cls == NULL)
        goto done;
    Py_SETREF(cls, PyObject_Call(cls, args, names));
    if (cls == NULL)
        goto done;
    for (Py_ssize_t i = 0; i < DBI_CIRCUIT_COUNT; i++) {
        PyObject *name = PyTuple_GET_ITEM(PyList_GET_ITEM(members, i), 0);

        state->circuit_states[i] = PyObject_GetAttr(cls, name);
        if (state->circuit_states[i] == NULL)
            goto done;
    }
    rc = PyModule_AddObjectRef(module, "CircuitState", cls);
done:
    Py_XDECREF(enums);
    Py_XDECREF(members);
    Py_XDECREF(args);
    Py_XDECREF(names);
    Py_XDECREF(cls);
    return rc;
}

static PyStructSequence_Field change_fields[] = {
    {"name", "the breaker's name"},
    {"from_state", "the CircuitState before"},
    {"to_state", "the CircuitState now"},
    {"reason", "why, in words"},
    {"generation", "counts the changes, modulo 2**24: for those who hear of two in the wrong order"},
    {NULL, NULL},
};

static PyStructSequence_Desc change_desc = {
    .name = "dbint._core.CircuitChange",
    .doc = "A change of state of a circuit breaker, as its listeners get it.",
    .fields = change_fields,
    .n_in_sequence = 5,
};

int dbi_add_circuit_change(PyObject *module, dbi_state *state) {
    state->circuit_change_type = PyStructSequence_NewType(&change_desc);
    return state->circuit_change_type != NULL ? PyModule_AddType(module, state->circuit_change_type) : -1;
}

static PyObject *change_new(const breaker_object *self, const dbi_breaker_event *event) {
    PyObject *change = PyStructSequence_New(self->state->circuit_change_type);

    if (change == NULL)
        return NULL;
    PyStructSequence_SET_ITEM(change, 0, PyUnicode_FromString(dbi_breaker_name(self->breaker)));
    PyStructSequence_SET_ITEM(change, 1, Py_NewRef(self->state->circuit_states[event->from]));
    PyStructSequence_SET_ITEM(change, 2, Py_NewRef(self->state->circuit_states[event->to]));
    PyStructSequence_SET_ITEM(change, 3, PyUnicode_FromString(dbi_change_text(event->change)));
    PyStructSequence_SET_ITEM(change, 4, PyLong_FromUnsignedLong(event->generation));
    if (PyErr_Occurred())
        Py_CLEAR(change);
    return change;
}

/* What a listener raises must not take the place of what the guarded call returns or raises. */
void breaker_tell(breaker_object *self, const dbi_breaker_event *event) {
    PyObject *type, *value, *traceback, *listeners = self->listeners, *change;

    if (PyTuple_GET_SIZE(listeners) == 0)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    Py_INCREF(listeners);
    change = change_new(self, event);
    if (change == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    for (Py_ssize_t i = 0; change != NULL && i < PyTuple_GET_SIZE(listeners); i++) {
        PyObject *result = PyObject_CallOneArg(PyTuple_GET_ITEM(listeners, i), change);

        if (result == NULL)
            PyErr_WriteUnraisable(PyTuple_GET_ITEM(listeners, i));
        Py_XDECREF(result);
    }
    Py_XDECREF(change);
    Py_DECREF(listeners);
    PyErr_Restore(type, value, traceback);
}

/* The core calls it in the thread that changed the state: one that runs Python code, or one of a writer's shippers. */
static void breaker_changed(void *arg, const dbi_breaker_event *event) {
    breaker_object *self = arg;

    if (PyGILState_Check())
        breaker_tell(self, event);
    else
        breaker_news_add(self->news, event);
}

/* --- guarding a call --- */

static PyObject *refusal_new(breaker_object *self, int64_t retry_ns) {
    dbi_circuit circuit = dbi_breaker_state(self->breaker);
    const char *name = dbi_breaker_name(self->breaker);
    double seconds = (double)retry_ns / (double)DBI_NS_PER_S;
    PyObject *exc, *retry;
    dbi_err err;

    if (retry_ns != DBI_FOREVER)
        (void)dbi_err_set(&err, DBI_EOPEN, "circuit breaker '%s' is open; the next attempt is due in %.3f s", name,
                          seconds);
    else if (circuit == DBI_CIRCUIT_FORCED_OPEN)
        (void)dbi_err_set(&err, DBI_EOPEN, "circuit breaker '%s' is forced open until it is set to another state",
                          name);
    else
        (void)dbi_err_set(&err, DBI_EOPEN, "circuit breaker '%s' is half-open and its probes are under way", name);
    exc = dbi_error_new(self->state, &err);
    if (exc == NULL || retry_ns == DBI_FOREVER)
        return exc;
    retry = PyFloat_FromDouble(seconds);
    if (retry == NULL || PyObject_SetAttrString(exc, "retry_after", retry) < 0)
        Py_CLEAR(exc);
    Py_XDECREF(retry);
    return exc;
}

bool dbi_guard_enter(breaker_object *self, dbi_permit *permit) {
    int64_t retry_ns;
    PyObject *exc;

    if (dbi_breaker_acquire(self->breaker, permit, &retry_ns) == DBI_OK)
        return true;
    exc = refusal_new(self, retry_ns);
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return false;
}

static bool is_class_filter(PyObject *filter) {
    return PyTuple_Check(filter) || PyExceptionClass_Check(filter);
}

static bool filter_matches(PyObject *filter, PyObject *exc) {
    PyObject *answer;
    int matches;

    if (is_class_filter(filter))
        return PyErr_GivenExceptionMatches(exc, filter);
    answer = PyObject_CallOneArg(filter, exc);
    matches = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (matches < 0)
        PyErr_WriteUnraisable(filter);
    return matches > 0;
}

dbi_outcome dbi_guard_outcome(breaker_object *self, PyObject *exc) {
    if (exc == NULL)
        return DBI_OUTCOME_SUCCEEDED;
    if (filter_matches(self->ignore, exc))
        return DBI_OUTCOME_IGNORED;
    if (filter_matches(self->record, exc))
        return DBI_OUTCOME_FAILED;
    /* an error that does not count means that the other side answered; what is no error (the cancellation of a task,
     * KeyboardInterrupt, a generator's end) says nothing about it */
    return PyErr_GivenExceptionMatches(exc, PyExc_Exception) ? DBI_OUTCOME_SUCCEEDED : DBI_OUTCOME_CANCELLED;
}

/* Reports the outcome of the exception that is set, and leaves it set. */
static void done_raising(breaker_object *self, dbi_permit *permit) {
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    dbi_breaker_done(self->breaker, permit, dbi_guard_outcome(self, value));
    PyErr_Restore(type, value, traceback);
}

PyObject *dbi_guard_call(breaker_object *self, PyObject *func, PyObject *const *args, size_t nargsf,
                         PyObject *kwnames) {
    dbi_permit permit;
    PyObject *result;

    if (!dbi_guard_enter(self, &permit))
        return NULL;
    result = PyObject_Vectorcall(func, args, nargsf, kwnames);
    if (result == NULL) {
        done_raising(self, &permit);
    } else if (PyCoro_CheckExact(result)) { /* nothing has been done yet: that would be a success of nothing */
        dbi_breaker_done(self->breaker, &permit, DBI_OUTCOME_CANCELLED);
        Py_XDECREF(PyObject_CallMethod(result, "close", NULL));
        PyErr_Clear();
        Py_CLEAR(result);
        (void)PyErr_Format(PyExc_TypeError,
                           "%R returned a coroutine, whose outcome comes later: await it inside `async with breaker`, "
                           "or decorate an async function",
                           func);
    } else {
        dbi_breaker_done(self->breaker, &permit, DBI_OUTCOME_SUCCEEDED);
    }
    return result;
}

PyDoc_STRVAR(call_doc, "call($self, func, /, *args, **kwargs)\n--\n\n"
                       "Calls func(*args, **kwargs) and returns what it returns.\n\n"
                       "Raises CircuitOpenError, without calling it, when the breaker refuses.");

static PyObject *breaker_call(breaker_object *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "call() misses the function to call");
        return NULL;
    }
    return dbi_guard_call(self, args[0], args + 1, (size_t)(nargs - 1), kwnames);
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /)\n--\n\n"
                          "A Permit for one call, to be reported on by its methods or by `with permit:`.\n\n"
                          "Raises CircuitOpenError when the breaker refuses.");

static PyObject *breaker_acquire(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    return PyObject_CallOneArg((PyObject *)self->state->permit_type, (PyObject *)self);
}

/* --- with breaker: --- */

static void held_remove(breaker_object *self, size_t at) {
    self->held_count--;
    memmove(&self->held[at], &self->held[at + 1], (self->held_count - at) * sizeof *self->held);
}

/* The permit that this exit belongs to: the newest of this thread and context. A context can come into being inside the
 * block, and a generator can be closed by another thread: then the next best. */
static size_t held_find(const breaker_object *self) {
    unsigned long thread = PyThread_get_thread_ident();
    const void *context = PyThreadState_Get()->context;
    size_t best = self->held_count;
    int best_score = -1;

    for (size_t i = self->held_count; i-- > 0 && best_score < 3;) {
        const held_permit *held = &self->held[i];
        int score = held->thread != thread ? 0 : held->context == context ? 3 : held->context == NULL ? 2 : 1;

        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}

static bool held_push(breaker_object *self, const dbi_permit *permit) {
    if (self->held_count == self->held_capacity) {
        size_t capacity = self->held_capacity != 0 ? 2 * self->held_capacity : 8;
        held_permit *grown = dbi_realloc(self->held, capacity * sizeof *grown);

        if (grown == NULL)
            return false;
        self->held = grown;
        self->held_capacity = capacity;
    }
    self->held[self->held_count++] = (held_permit){*permit, PyThread_get_thread_ident(), PyThreadState_Get()->context};
    return true;
}

static PyObject *breaker_enter(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_permit permit;

    if (!dbi_guard_enter(self, &permit))
        return NULL;
    if (!held_push(self, &permit)) {
        dbi_breaker_done(self->breaker, &permit, DBI_OUTCOME_CANCELLED);
        return PyErr_NoMemory();
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *breaker_exit(breaker_object *self, PyObject *const *args, Py_ssize_t nargs) {
    PyObject *exc = nargs >= 2 && args[1] != Py_None ? args[1] : NULL;
    size_t at = held_find(self);
    dbi_permit permit;

    if (at == self->held_count)
        return dbi_raise_as(self->state, DBI_ERROR_INTERFACE, "circuit breaker '%s': __exit__ without __enter__",
                            dbi_breaker_name(self->breaker));
    permit = self->held[at].permit;
    held_remove(self, at);
    dbi_breaker_done(self->breaker, &permit, dbi_guard_outcome(self, exc));
    Py_RETURN_NONE;
}

/* --- states and listeners --- */

PyDoc_STRVAR(force_doc,
             "force($self, state, /)\n--\n\n"
             "Enters a CircuitState (or its name) by hand, whichever the breaker is in, with fresh counts.\n\n"
             "FORCED_OPEN, DISABLED and METRICS_ONLY stay until the next force().");

static PyObject *breaker_force(breaker_object *self, PyObject *wanted) {
    for (size_t i = 0; i < DBI_CIRCUIT_COUNT; i++) {
        int equal = PyObject_RichCompareBool(wanted, self->state->circuit_states[i], Py_EQ);

        if (equal < 0)
            return NULL;
        if (equal > 0) {
            dbi_breaker_force(self->breaker, (dbi_circuit)i);
            Py_RETURN_NONE;
        }
    }
    return dbi_raise_as(self->state, DBI_ERROR_CONFIGURATION,
                        "state must be a CircuitState: closed, open, half_open, forced_open, disabled or metrics_only, "
                        "not %R",
                        wanted);
}

PyDoc_STRVAR(reset_doc, "reset($self, /)\n--\n\nCloses the breaker and forgets failures: force(CircuitState.CLOSED).");

static PyObject *breaker_reset(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    dbi_breaker_force(self->breaker, DBI_CIRCUIT_CLOSED);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(add_listener_doc,
             "add_listener($self, listener, /)\n--\n\n"
             "Calls listener(change) with a CircuitChange after each change of state.\n\n"
             "The thread that brought the change about calls it, at once; what it raises goes to sys.unraisablehook.\n"
             "Of a change that a BatchWriter's own threads brought about, it is told by the main thread, when that next\n"
             "runs Python code.");

static PyObject *breaker_add_listener(breaker_object *self, PyObject *listener) {
    Py_ssize_t count = PyTuple_GET_SIZE(self->listeners);
    PyObject *listeners;

    if (!PyCallable_Check(listener))
        return PyErr_Format(PyExc_TypeError, "listener must be callable, not %s", Py_TYPE(listener)->tp_name);
    listeners = PyTuple_New(count + 1);
    if (listeners == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(listeners, i, Py_NewRef(PyTuple_GET_ITEM(self->listeners, i)));
    PyTuple_SET_ITEM(listeners, count, Py_NewRef(listener));
    Py_SETREF(self->listeners, listeners);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_listener_doc, "remove_listener($self, listener, /)\n--\n\n"
                                  "Calls it no more. Raises ValueError when it is not a listener.");

static PyObject *breaker_remove_listener(breaker_object *self, PyObject *listener) {
    PyObject *listeners = PySequence_List(self->listeners);
    Py_ssize_t at = listeners != NULL ? PySequence_Index(listeners, listener) : -1;

    if (at >= 0 && PySequence_DelItem(listeners, at) == 0) {
        PyObject *left = PyList_AsTuple(listeners);

        Py_DECREF(listeners);
        if (left == NULL)
            return NULL;
        Py_SETREF(self->listeners, left);
        Py_RETURN_NONE;
    }
    Py_XDECREF(listeners);
    if (PyErr_ExceptionMatches(PyExc_ValueError))
        (void)PyErr_Format(PyExc_ValueError, "%R is not a listener of this breaker", listener);
    return NULL;
}

/* --- looking at it --- */

/* Puts value (stolen; NULL: an error is set) into dict. */
static bool put(PyObject *dict, const char *key, PyObject *value) {
    bool done = value != NULL && PyDict_SetItemString(dict, key, value) == 0;

    Py_XDECREF(value);
    return done;
}

static PyObject *seconds_or_none(int64_t ns) {
    return ns != DBI_FOREVER ? PyFloat_FromDouble((double)ns / (double)DBI_NS_PER_S) : Py_NewRef(Py_None);
}

static PyObject *rate_or_none(double rate) {
    return rate >= 0 ? PyFloat_FromDouble(rate) : Py_NewRef(Py_None);
}

static bool put_counters(PyObject *dict, const dbi_breaker_view *view) {
#define PUT_OUTCOME(name, text) put(dict, text, PyLong_FromUnsignedLongLong(view->outcomes[DBI_OUTCOME_##name])) &&
    return DBI_OUTCOME_MAP(PUT_OUTCOME) put(dict, "rejected", PyLong_FromUnsignedLongLong(view->rejected)) &&
           put(dict, "slow", PyLong_FromUnsignedLongLong(view->slow)) &&
           put(dict, "late", PyLong_FromUnsignedLongLong(view->late)) &&
           put(dict, "opened", PyLong_FromUnsignedLongLong(view->opened));
#undef PUT_OUTCOME
}

PyDoc_STRVAR(metrics_doc,
             "metrics($self, /)\n--\n\n"
             "The counters since the breaker was made: calls that succeeded, failed, were ignored, cancelled\n"
             "or rejected; those that were slow; those whose outcome came late (after the state had\n"
             "changed); and how often it opened.");

static PyObject *breaker_metrics(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *dict = PyDict_New();
    dbi_breaker_view view;

    dbi_breaker_read(self->breaker, &view);
    if (dict != NULL && !put_counters(dict, &view))
        Py_CLEAR(dict);
    return dict;
}

PyDoc_STRVAR(snapshot_doc,
             "snapshot($self, /)\n--\n\n"
             "What the breaker knows: state, times in seconds, the window, and the counters of metrics().");

static PyObject *breaker_snapshot(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *dict = PyDict_New();
    dbi_breaker_view view;

    dbi_breaker_read(self->breaker, &view);
    if (dict != NULL && !(put(dict, "name", PyUnicode_FromString(dbi_breaker_name(self->breaker))) &&
                          put(dict, "state", Py_NewRef(self->state->circuit_states[view.state])) &&
                          put(dict, "generation", PyLong_FromUnsignedLong(view.generation)) &&
                          put(dict, "state_age", seconds_or_none(view.since_ns)) &&
                          put(dict, "retry_after", seconds_or_none(view.retry_ns)) &&
                          put(dict, "consecutive_failures", PyLong_FromUnsignedLong(view.consecutive_failures)) &&
                          put(dict, "permits", PyLong_FromUnsignedLong(view.permits)) &&
                          put(dict, "window_calls", PyLong_FromUnsignedLongLong(view.window_calls)) &&
                          put(dict, "window_failed", PyLong_FromUnsignedLongLong(view.window_failed)) &&
                          put(dict, "window_slow", PyLong_FromUnsignedLongLong(view.window_slow)) &&
                          put(dict, "failure_rate", rate_or_none(view.failure_rate)) &&
                          put(dict, "slow_call_rate", rate_or_none(view.slow_rate)) && put_counters(dict, &view)))
        Py_CLEAR(dict);
    return dict;
}

static PyObject *breaker_get_name(breaker_object *self, void *Py_UNUSED(closure)) {
    return PyUnicode_FromString(dbi_breaker_name(self->breaker));
}

static PyObject *breaker_get_state(breaker_object *self, void *Py_UNUSED(closure)) {
    return Py_NewRef(self->state->circuit_states[dbi_breaker_state(self->breaker)]);
}

static PyObject *breaker_repr(breaker_object *self) {
    return PyUnicode_FromFormat("<CircuitBreaker '%s': %s>", dbi_breaker_name(self->breaker),
                                dbi_circuit_text(dbi_breaker_state(self->breaker)));
}

static PyObject *breaker_reduce(breaker_object *self, PyObject *Py_UNUSED(ignored)) {
    return PyErr_Format(PyExc_TypeError,
                        "circuit breaker '%s' cannot be pickled or copied: its state belongs to this process. "
                        "Make one in each process, at import",
                        dbi_breaker_name(self->breaker));
}

/* --- making one --- */

/* A filter as it is kept (borrowed), or NULL with TypeError set. */
static PyObject *check_filter(PyObject *filter, const char *name) {
    Py_ssize_t count = PyTuple_Check(filter) ? PyTuple_GET_SIZE(filter) : 0;

    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyExceptionClass_Check(PyTuple_GET_ITEM(filter, i)))
            return PyErr_Format(PyExc_TypeError, "%s must hold exception classes, not %R", name,
                                PyTuple_GET_ITEM(filter, i));
    if (is_class_filter(filter) || (PyCallable_Check(filter) && !PyType_Check(filter)))
        return filter;
    return PyErr_Format(PyExc_TypeError,
                        "%s must be an exception class, a tuple of them, or a function of the exception, not %R", name,
                        filter);
}

static bool arg_count(const dbi_state *state, PyObject *value, const char *name, int64_t high, uint32_t *count) {
    int64_t number = *count;

    if (value != NULL && !dbi_arg_int(state, value, name, 1, high, &number))
        return false;
    *count = (uint32_t)number;
    return true;
}

/* A time that must be a number: None is no time. */
static bool arg_time(const dbi_state *state, PyObject *value, const char *name, int64_t *ns) {
    if (value == Py_None) {
        (void)PyErr_Format(PyExc_TypeError, "%s must be a number of seconds, not None", name);
        return false;
    }
    return value == NULL || dbi_arg_seconds(state, value, name, ns);
}

static bool arg_window(const dbi_state *state, PyObject *value, dbi_window *window) {
    *window = DBI_WINDOW_NONE;
    if (value == NULL || value == Py_None)
        return true;
    if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "count") == 0)
        *window = DBI_WINDOW_COUNT;
    else if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "time") == 0)
        *window = DBI_WINDOW_TIME;
    else
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "window must be 'count', 'time' or None, not %R", value);
    return *window != DBI_WINDOW_NONE;
}

/* The keyword arguments, in this order. */
enum {
    ARG_FAILURE_THRESHOLD,
    ARG_RECOVERY_TIMEOUT,
    ARG_HALF_OPEN_CALLS,
    ARG_HALF_OPEN_TIMEOUT,
    ARG_WINDOW,
    ARG_WINDOW_SIZE,
    ARG_MINIMUM_CALLS,
    ARG_FAILURE_RATE,
    ARG_SLOW_CALL_DURATION,
    ARG_SLOW_CALL_RATE,
    ARG_RECORD,
    ARG_IGNORE,
    ARG_CLOCK,
    ARG_COUNT
};

/* The core checks ranges and contradictions; here is what only Python's types can get wrong. */
static bool read_config(const dbi_state *state, PyObject **args, dbi_breaker_config *config) {
    dbi_window window;
    bool by_count;

    if (!arg_window(state, args[ARG_WINDOW], &window))
        return false;
    dbi_breaker_defaults(config, window);
    by_count = window == DBI_WINDOW_COUNT;
    if (args[ARG_WINDOW_SIZE] != NULL &&
        (by_count
             ? !dbi_arg_int(state, args[ARG_WINDOW_SIZE], "window_size", 1, DBI_BREAKER_CALLS_MAX, &config->window_size)
             : !arg_time(state, args[ARG_WINDOW_SIZE], "window_size", &config->window_size)))
        return false;
    if (by_count && config->minimum_calls > config->window_size) /* the default of a window smaller than it */
        config->minimum_calls = (uint32_t)config->window_size;
    if (args[ARG_SLOW_CALL_DURATION] == Py_None)
        args[ARG_SLOW_CALL_DURATION] = NULL;
    if (args[ARG_SLOW_CALL_DURATION] != NULL && args[ARG_SLOW_CALL_RATE] == NULL)
        config->slow_call_rate = 1;
    return arg_count(state, args[ARG_FAILURE_THRESHOLD], "failure_threshold", DBI_BREAKER_FAILURES_MAX,
                     &config->failure_threshold) &&
           arg_time(state, args[ARG_RECOVERY_TIMEOUT], "recovery_timeout", &config->recovery_timeout) &&
           arg_count(state, args[ARG_HALF_OPEN_CALLS], "half_open_calls", DBI_BREAKER_PROBES_MAX,
                     &config->half_open_calls) &&
           (args[ARG_HALF_OPEN_TIMEOUT] == NULL ||
            dbi_arg_seconds(state, args[ARG_HALF_OPEN_TIMEOUT], "half_open_timeout", &config->half_open_timeout)) &&
           arg_count(state, args[ARG_MINIMUM_CALLS], "minimum_calls", DBI_BREAKER_MINIMUM_MAX,
                     &config->minimum_calls) &&
           (args[ARG_FAILURE_RATE] == NULL ||
            dbi_arg_float(args[ARG_FAILURE_RATE], "failure_rate", &config->failure_rate)) &&
           arg_time(state, args[ARG_SLOW_CALL_DURATION], "slow_call_duration", &config->slow_call_duration) &&
           (args[ARG_SLOW_CALL_RATE] == NULL ||
            dbi_arg_float(args[ARG_SLOW_CALL_RATE], "slow_call_rate", &config->slow_call_rate));
}

static PyObject *breaker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name",
                            "failure_threshold",
                            "recovery_timeout",
                            "half_open_calls",
                            "half_open_timeout",
                            "window",
                            "window_size",
                            "minimum_calls",
                            "failure_rate",
                            "slow_call_duration",
                            "slow_call_rate",
                            "record",
                            "ignore",
                            "clock",
                            NULL};
    dbi_state *state = dbi_state_of(type);
    const char *name = "default";
    PyObject *values[ARG_COUNT] = {NULL};
    breaker_object *self = NULL;
    dbi_breaker_config config;
    dbi_err err;

    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|s$OOOOOOOOOOOOO:CircuitBreaker", names, &name, &values[0],
                                     &values[1], &values[2], &values[3], &values[4], &values[5], &values[6], &values[7],
                                     &values[8], &values[9], &values[10], &values[11], &values[12]))
        return NULL;
    if (!read_config(state, values, &config))
        return NULL;
    if (values[ARG_CLOCK] == Py_None)
        values[ARG_CLOCK] = NULL;
    if (values[ARG_CLOCK] != NULL && !Py_IS_TYPE(values[ARG_CLOCK], state->manual_clock_type))
        return PyErr_Format(PyExc_TypeError, "clock must be a ManualClock or None, not %s",
                            Py_TYPE(values[ARG_CLOCK])->tp_name);
    self = (breaker_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->record =
        Py_XNewRef(check_filter(values[ARG_RECORD] != NULL ? values[ARG_RECORD] : PyExc_Exception, "record"));
    self->listeners = PyTuple_New(0);
    self->ignore =
        Py_XNewRef(values[ARG_IGNORE] != NULL ? check_filter(values[ARG_IGNORE], "ignore") : self->listeners);
    self->clock = Py_XNewRef(values[ARG_CLOCK]);
    if (self->record == NULL || self->ignore == NULL || self->listeners == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    self->news = breaker_news_new(self);
    if (self->news == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (self->clock != NULL)
        config.clock = (dbi_clock){dbi_manual_clock_read, &((manual_clock_object *)self->clock)->now};
    config.on_change = breaker_changed;
    config.on_change_arg = self;
    if (dbi_breaker_new(&self->breaker, name, &config, &err) != DBI_OK) {
        Py_DECREF(self);
        return dbi_raise(state, &err);
    }
    return (PyObject *)self;
}

static int breaker_traverse(breaker_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->record);
    Py_VISIT(self->ignore);
    Py_VISIT(self->listeners);
    Py_VISIT(self->clock);
    return 0;
}

/* A cycle is broken at the listeners and filters; empty tuples stand in for them, for the breaker may still be called.
 */
static int breaker_clear(breaker_object *self) {
    PyObject *none = PyTuple_New(0); /* the one empty tuple: this cannot fail once one exists */

    if (none == NULL)
        PyErr_Clear();
    Py_XSETREF(self->record, Py_XNewRef(none));
    Py_XSETREF(self->ignore, Py_XNewRef(none));
    Py_XSETREF(self->listeners, none);
    return 0;
}

static void breaker_dealloc(breaker_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    dbi_breaker_free(self->breaker);
    breaker_news_free(self->news);
    dbi_free(self->held);
    Py_CLEAR(self->record);
    Py_CLEAR(self->ignore);
    Py_CLEAR(self->listeners);
    Py_CLEAR(self->clock);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef breaker_methods[] = {
    {"call", (PyCFunction)(void (*)(void))breaker_call, METH_FASTCALL | METH_KEYWORDS, call_doc},
    {"acquire", (PyCFunction)breaker_acquire, METH_NOARGS, acquire_doc},
    {"__enter__", (PyCFunction)breaker_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))breaker_exit, METH_FASTCALL, NULL},
    {"force", (PyCFunction)breaker_force, METH_O, force_doc},
    {"reset", (PyCFunction)breaker_reset, METH_NOARGS, reset_doc},
    {"add_listener", (PyCFunction)breaker_add_listener, METH_O, add_listener_doc},
    {"remove_listener", (PyCFunction)breaker_remove_listener, METH_O, remove_listener_doc},
    {"metrics", (PyCFunction)breaker_metrics, METH_NOARGS, metrics_doc},
    {"snapshot", (PyCFunction)breaker_snapshot, METH_NOARGS, snapshot_doc},
    {"__reduce__", (PyCFunction)breaker_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef breaker_getset[] = {
    {"name", (getter)breaker_get_name, NULL, "The name it was given: in errors, events and metrics.", NULL},
    {"state", (getter)breaker_get_state, NULL,
     "The CircuitState now. OPEN stays OPEN after its wait until a call asks for a permit.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef breaker_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(breaker_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(breaker_doc,
             "CircuitBreaker(name='default', *, failure_threshold=5, recovery_timeout=60.0, half_open_calls=3,\n"
             "               half_open_timeout=60.0, window=None, window_size=..., minimum_calls=10,\n"
             "               failure_rate=0.5, slow_call_duration=None, slow_call_rate=1.0,\n"
             "               record=Exception, ignore=(), clock=None)\n\n"
             "The C side of dbint.breaker.CircuitBreaker, which documents it.");

static PyType_Slot breaker_slots[] = {
    {Py_tp_doc, (void *)breaker_doc}, {Py_tp_new, breaker_new},
    {Py_tp_dealloc, breaker_dealloc}, {Py_tp_traverse, breaker_traverse},
    {Py_tp_clear, breaker_clear},     {Py_tp_repr, breaker_repr},
    {Py_tp_methods, breaker_methods}, {Py_tp_getset, breaker_getset},
    {Py_tp_members, breaker_members}, {0, NULL},
};

static PyType_Spec breaker_spec = {
    .name = "dbint._core.CircuitBreaker",
    .basicsize = sizeof(breaker_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = breaker_slots,
};

int dbi_add_breaker(PyObject *module, dbi_state *state) {
    state->breaker_type = dbi_type_add(module, &breaker_spec);
    return state->breaker_type != NULL ? 0 : -1;
}
