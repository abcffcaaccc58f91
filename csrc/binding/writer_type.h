/* writer_type.h - what the Python types around the batch writer share. */
#ifndef DBI_WRITER_TYPE_H
#define DBI_WRITER_TYPE_H

#include "binding.h"
#include "channel.h"
#include "writer.h"

typedef struct writer_object {
    PyObject_HEAD
    dbi_state *state;
    dbi_writer *writer;
    PyObject *pool;    /* these two are borrowed by the core's writer */
    PyObject *breaker; /* a CircuitBreaker, or NULL */
    channels channels;
    PyObject *weakrefs;
} writer_object;

/* A Stream of that writer; NULL with an exception set. `table` is for people. */
PyObject *stream_new(writer_object *writer, dbi_stream *stream, PyObject *table);

/* The figures of the stream of that name as a dict; NULL with an exception set. */
PyObject *stream_snapshot(writer_object *writer, const char *name);

/* What a receipt means: None or an error, or the rows that are left. */
PyObject *receipt_outcome(channel_object *channel, const dbi_state *state, const dbi_letter *letter);

/* --- awaitables (awaitable.c) --- */

/* What is done already: one object for all, with the result None. */
PyObject *completion_done(dbi_state *state);

/* Withdraws what `future` stands for, when it is cancelled. True: no letter will come. */
typedef bool (*completion_withdraw_fn)(void *from, const void *user);

/* What `future` (taken) will tell. When it is cancelled, withdraw(from, future) is called; `owner` keeps `from` alive.
 * NULL with an exception set. */
PyObject *completion_new(dbi_state *state, PyObject *future, PyObject *owner, completion_withdraw_fn withdraw,
                         void *from);

#endif
