/* sorter.h - finds out which of the messages that a broker has refused together are too large
 *
 * A broker refuses a request as a whole. Where one message is larger than the topic's max.message.bytes, or all of them
 * together are, each is reported as too large, and librdkafka divides nothing. A sorter keeps copies of the messages of
 * some requests, sends them, waits until they are delivered and, where they are refused, sends them once more, one by
 * one. What is refused alone is too large: it is told to the caller, who may send something in its place.
 *
 * So a caller sends through the outlet as long as all goes well. When that has failed with DBI_ETOOBIG, it begins again
 * where everything before has been delivered, and sends through a sorter what it had sent by then. Order stays; some
 * messages come twice.
 *
 * A sorter belongs to the thread that uses the outlet.
 */
#ifndef DBI_SORTER_H
#define DBI_SORTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cdc/outlet.h"

typedef struct dbi_sorter dbi_sorter;

/* What the caller does for it, with `arg`; anything but DBI_OK ends the call that it was made in. */
typedef struct dbi_sorter_calls {
    /* Waits until half of the outlet's window is free, or, `all`, until everything has been delivered. */
    dbi_rc (*wait)(void *arg, bool all, dbi_err *err);
    /* A message is too large; `text` is what was added with it. The outlet works. */
    dbi_rc (*refused)(void *arg, const void *key, size_t key_len, const char *text, dbi_err *err);
    void *arg;
} dbi_sorter_calls;

/* What may be sent in place of a message that is too large: its key, and `text`. Borrows both. */
dbi_message dbi_sorter_note(const void *key, size_t key_len, const char *text);

/* @thread any */
DBI_NODISCARD dbi_rc dbi_sorter_new(dbi_sorter **sorter, dbi_outlet *outlet, dbi_err *err);
void dbi_sorter_free(dbi_sorter *sorter);

/* Whether the outlet works no more because a broker has refused messages as too large. */
bool dbi_sorter_needed(dbi_outlet *outlet);

/* Keeps a copy of the message (`to_all`: one for each partition), and sends what it has when that is enough.
 * DBI_ENOMEM, or as dbi_sorter_send. */
DBI_NODISCARD dbi_rc dbi_sorter_add(dbi_sorter *sorter, const dbi_sorter_calls *calls, dbi_outlet_topic *topic,
                                    const dbi_message *message, bool to_all, const char *text, dbi_err *err);

/* dbi_outlet_mark, behind what it has. */
void dbi_sorter_mark(dbi_sorter *sorter, uint64_t position);

/* Sends what it has, and waits until that is delivered or refused. It is empty then, whatever it answers. */
DBI_NODISCARD dbi_rc dbi_sorter_send(dbi_sorter *sorter, const dbi_sorter_calls *calls, dbi_err *err);

bool dbi_sorter_empty(const dbi_sorter *sorter);

/* Forgets what it has. */
void dbi_sorter_clear(dbi_sorter *sorter);

#endif
