/* channel.h - how answers from the core's threads reach an event loop
 *
 * A channel is a mailbox of the core and the loop that reads it: its descriptor is registered with the loop once, and
 * each wake-up resolves all futures whose letters have arrived. A letter's `user` is a reference to its future. Every
 * promised letter also holds a reference to the owner (a producer, a writer), so that the owner outlives it; the
 * channel itself holds none. All is called with the GIL held.
 */
#ifndef DBI_CHANNEL_H
#define DBI_CHANNEL_H

#include "binding.h"
#include "mailbox.h"

typedef struct channel_object channel_object;

/* What a letter means: a new reference to the result of its future, or NULL with the exception of its future set. */
typedef PyObject *(*channel_outcome_fn)(channel_object *channel, const dbi_state *state, const dbi_letter *letter);

struct channel_object {
    PyObject_HEAD
    dbi_mailbox *mailbox;
    channel_outcome_fn outcome;
    PyObject *loop;
    PyObject *create_future; /* loop.create_future */
    PyObject *set_result;    /* the method's name */
    PyObject *owner; /* borrowed: alive while letters are promised, and not used otherwise */
    const void *noted; /* for `outcome`: what it remembered last, and the object made of it */
    PyObject *note;
};

/* The channels of one owner, one for each event loop. */
typedef struct channels {
    PyObject *get_running_loop;
    PyObject *list;
    channel_object *last; /* the one last used; borrowed from the list */
} channels;

bool channels_init(channels *channels);
int channels_traverse(channels *channels, visitproc visit, void *arg);
void channels_clear(channels *channels);

/* The running loop's channel, made when there is none; borrowed. NULL with RuntimeError set where no loop runs. */
channel_object *channels_find(channels *channels, dbi_state *state, PyObject *owner, channel_outcome_fn outcome);

/* Asks the loops, from any thread, to take what has arrived and to stop reading. */
void channels_detach(channels *channels);

/* A future of the channel's loop: a new reference, to be the `user` of a letter. */
PyObject *channel_future(channel_object *channel);

/* The letter is on its way: it holds the future and the owner from now on. To be called before the GIL is let go of. */
void channel_promised(channel_object *channel, PyObject *future);

#endif
