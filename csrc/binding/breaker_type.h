/* breaker_type.h - what the Python types around the circuit breaker share. */
#ifndef DBI_BREAKER_TYPE_H
#define DBI_BREAKER_TYPE_H

#include <stdatomic.h>

#include "binding.h"

/* The permit of a `with breaker:` that is open, and whose it is: a thread and a context (one for each asyncio task). */
typedef struct held_permit {
    dbi_permit permit;
    unsigned long thread;
    const void *context; /* compared, never followed */
} held_permit;

/* breaker_news.c: changes that threads without the GIL bring about, to be told to the listeners by one that has it. */
typedef struct breaker_news breaker_news;

typedef struct breaker_object {
    PyObject_HEAD dbi_breaker *breaker;
    dbi_state *state;
    PyObject *record, *ignore; /* a class or tuple of classes, or a predicate */
    PyObject *listeners;       /* a tuple, replaced as a whole: it can change while it is gone through */
    PyObject *clock;           /* a ManualClock, or NULL */
    PyObject *weakrefs;
    breaker_news *news;
    held_permit *held;
    size_t held_count, held_capacity;
} breaker_object;

typedef struct manual_clock_object {
    PyObject_HEAD _Atomic int64_t now;
} manual_clock_object;

/* dbi_clock's function for a ManualClock's `now`. */
int64_t dbi_manual_clock_read(void *now);

/* Takes a permit; false with CircuitOpenError set. */
bool dbi_guard_enter(breaker_object *self, dbi_permit *permit);

/* How a call that raised `exc` (NULL: it did not) ended, by `record` and `ignore`. Keeps the current exception. */
dbi_outcome dbi_guard_outcome(breaker_object *self, PyObject *exc);

/* Calls `func` with the vectorcall arguments under a permit, and reports how that ended. */
PyObject *dbi_guard_call(breaker_object *self, PyObject *func, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* NULL when memory is out. */
breaker_news *breaker_news_new(breaker_object *breaker);
/* The breaker ends; no thread uses it any more. NULL is allowed. */
void breaker_news_free(breaker_news *news);
/* Called without the GIL. */
void breaker_news_add(breaker_news *news, const dbi_breaker_event *event);
/* Tells the listeners now. What one raises goes to sys.unraisablehook. */
void breaker_tell(breaker_object *self, const dbi_breaker_event *event);

/* Makes CircuitState, an enum.StrEnum, with the core's list of states. */
int dbi_circuit_states_add(PyObject *module, dbi_state *state);

#endif
