/* binding.h - what the files of the binding share: the module's state, raising errors, reading arguments, waiting.
 *
 * One file per Python type. A type is a heap type made from a spec by its dbi_add_<noun>() and kept in the module's
 * state; no PyObject lives at file scope. A call reads its arguments, calls the core (without the GIL where the core
 * can wait) and translates what came back.
 */
#ifndef DBI_BINDING_H
#define DBI_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>

#include "breaker.h"
#include "clock.h"
#include "err.h"

/* The exceptions of dbint.errors that the core raises: X(NAME, Python name). */
#define DBI_ERROR_MAP(X)                                                                                               \
    X(AUTHENTICATION, "AuthenticationError")                                                                           \
    X(CIRCUIT_OPEN, "CircuitOpenError")                                                                                \
    X(CLOSED, "ClosedError")                                                                                           \
    X(CONFIGURATION, "ConfigurationError")                                                                             \
    X(DATABASE, "DatabaseError")                                                                                       \
    X(DEADLINE, "DeadlineError")                                                                                       \
    X(INTERFACE, "InterfaceError")                                                                                     \
    X(INVALID_EVENT, "InvalidEventError")                                                                              \
    X(JOURNAL, "JournalError")                                                                                         \
    X(KAFKA, "KafkaError")                                                                                             \
    X(KAFKA_ABORT, "KafkaAbortError")                                                                                  \
    X(KAFKA_FATAL, "KafkaFatalError")                                                                                  \
    X(KAFKA_RETRIABLE, "KafkaRetriableError")                                                                          \
    X(MESSAGE_TOO_LARGE, "MessageTooLargeError")                                                                       \
    X(OPERATIONAL, "OperationalError")                                                                                 \
    X(QUEUE_FULL, "QueueFullError")                                                                                    \
    X(UNREACHABLE, "UnreachableError")

typedef enum dbi_error {
#define DBI_ERROR_ENUM(name, text) DBI_ERROR_##name,
    DBI_ERROR_MAP(DBI_ERROR_ENUM)
#undef DBI_ERROR_ENUM
        DBI_ERROR_COUNT
} dbi_error;

/* The types of the module, one line each: X(noun). dbi_add_<noun>() makes the type, puts it into the module and into
 * state-><noun>_type. */
#define DBI_TYPE_MAP(X)                                                                                                \
    X(manual_clock)                                                                                                    \
    X(circuit_change)                                                                                                  \
    X(breaker)                                                                                                         \
    X(permit)                                                                                                          \
    X(guarded)                                                                                                         \
    X(kafka_client) /* before its subtypes */                                                                          \
    X(delivery)                                                                                                        \
    X(channel)                                                                                                         \
    X(producer)                                                                                                        \
    X(message)                                                                                                         \
    X(batch)                                                                                                           \
    X(consumer)                                                                                                        \
    X(completion)                                                                                                      \
    X(stream)                                                                                                          \
    X(writer)                                                                                                          \
    X(row_encoder)                                                                                                     \
    X(pool)                                                                                                            \
    X(outlet) /* before those that send through it */                                                                  \
    X(capture)                                                                                                         \
    X(table_snapshot)                                                                                                  \
    X(admin)

typedef struct dbi_state {
    PyObject *errors[DBI_ERROR_COUNT];
    PyObject *circuit_states[DBI_CIRCUIT_COUNT]; /* the members of CircuitState */
    PyObject *completed; /* the Completion of what is done when its call returns */
    PyObject *writers;   /* a weakref.WeakSet of those to be closed at exit; NULL = there was none yet */
#define DBI_TYPE_FIELD(noun) PyTypeObject *noun##_type;
    DBI_TYPE_MAP(DBI_TYPE_FIELD)
#undef DBI_TYPE_FIELD
} dbi_state;

#define DBI_TYPE_ADD(noun) int dbi_add_##noun(PyObject *module, dbi_state *state);
DBI_TYPE_MAP(DBI_TYPE_ADD)
#undef DBI_TYPE_ADD

extern struct PyModuleDef dbi_module;

/* The state of the module that defined the type (or a base of it); NULL with TypeError set. */
dbi_state *dbi_state_of(PyTypeObject *type);

/* Makes a heap type from its spec and adds it to the module under its short name; a new reference, NULL on error. */
PyTypeObject *dbi_type_add(PyObject *module, PyType_Spec *spec);

/* --- raising (bridge.c) --- */

/* The exception class for a result code; err->sqlstate, when set, decides by its class. Borrowed. */
PyObject *dbi_error_class(const dbi_state *state, const dbi_err *err);

/* The exception for err, with the attributes code, sqlstate and kafka_code; a new reference, NULL with another set. */
PyObject *dbi_error_new(const dbi_state *state, const dbi_err *err);

/* Raises err as its exception. One that is set already (a signal handler's) is kept for DBI_EINTR. Always NULL. */
PyObject *dbi_raise(const dbi_state *state, const dbi_err *err);

/* Raises one of the exceptions with a message of the binding's own. Always NULL. */
PyObject *dbi_raise_as(const dbi_state *state, dbi_error which, const char *fmt, ...);

/* The check of a dbi_interrupt, between two slices of a wait: takes the GIL for as long as signal handlers need. `arg`:
 * where the waiting thread's PyThreadState * is kept. */
dbi_rc dbi_check_signals(void *arg);

/* --- arguments (bridge.c) --- */

/* The parameters of a METH_FASTCALL | METH_KEYWORDS method: the first `positional` may be given by position, the rest
 * by name only; the first `required` must be given. */
typedef struct dbi_params {
    const char *func; /* as in "enqueue" */
    Py_ssize_t required;
    Py_ssize_t positional;
    const char *names[]; /* ASCII; closed by NULL */
} dbi_params;

/* Sorts the arguments into values[] (borrowed; NULL = not given), which has room for all names. False with TypeError
 * set when one is missing, unknown, doubled or too many. */
bool dbi_parse(const dbi_params *params, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
               PyObject **values);

/* A time in seconds (int or float) as nanoseconds. None is DBI_FOREVER; times past 292 years are, too.
 * False with TypeError, or ConfigurationError for NaN or a negative number, set. */
bool dbi_arg_seconds(const dbi_state *state, PyObject *value, const char *name, int64_t *ns);

/* An int within low..high. False with TypeError, or ConfigurationError that names the range, set. */
bool dbi_arg_int(const dbi_state *state, PyObject *value, const char *name, int64_t low, int64_t high,
                 int64_t *number);

/* A str without NUL as UTF-8, borrowed from it. NULL with TypeError, or `which` for a NUL, set. */
const char *dbi_arg_text(const dbi_state *state, PyObject *value, const char *name, dbi_error which);

/* The str of a sequence, borrowed from *items, in an array of one more, which ends with NULL; None and NULL have none,
 * and *items NULL then. False with TypeError, or `which`, set. In any case PyMem_Free(*texts), Py_XDECREF(*items). */
bool dbi_arg_texts(const dbi_state *state, PyObject *value, const char *name, dbi_error which, PyObject **items,
                   const char ***texts);

/* An int or float as a double. False with TypeError set. */
bool dbi_arg_float(PyObject *value, const char *name, double *number);

/* --- metrics (metrics.c) --- */

/* _core.metrics_snapshot() */
PyObject *dbi_metrics_snapshot(PyObject *module, PyObject *ignored);
extern const char dbi_metrics_snapshot_doc[];

/* --- changes (decode.c) --- */

/* _core.decode_changes(), _core.capture_settings() */
PyObject *dbi_decode_changes(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *dbi_capture_settings(PyObject *module, PyObject *ignored);
extern const char dbi_decode_changes_doc[], dbi_capture_settings_doc[];

/* --- waiting (bridge.c) --- */

/* One slice of a wait in the core, called without the GIL: returns DBI_ETIMEOUT when `deadline` passed first. */
typedef dbi_rc (*dbi_wait_fn)(void *arg, int64_t deadline, dbi_err *err);

/* Calls wait() in slices of at most 200 ms and looks at signals between them, until it returns anything but
 * DBI_ETIMEOUT or the deadline has passed. DBI_EINTR, with the handler's exception set, when a handler raised. To be
 * called with the GIL held. */
dbi_rc dbi_wait(dbi_wait_fn wait, void *arg, int64_t deadline, dbi_err *err);

#endif
