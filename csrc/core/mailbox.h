/* mailbox.h - where answers from the core's threads arrive for those who wait for them.
 *
 * A mailbox has one owner and any number of promised letters. It lives until the owner has let go and the last letter
 * has been delivered or withdrawn: an answer may come long after the event loop that wanted it is gone.
 *
 * Fork: in a child, a mailbox of the parent is empty, and all that can be done with it is to free it; its descriptor is
 * the parent's, too, and is not read.
 */
#ifndef DBI_MAILBOX_H
#define DBI_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef struct dbi_mailbox dbi_mailbox;

/* What every answer begins with; the answer is one block of dbi_malloc. `user` is what the asker gave. */
typedef struct dbi_letter {
    struct dbi_letter *next;
    dbi_mailbox *mailbox;
    void *user;
} dbi_letter;

/* With `pollable` it has a descriptor that becomes readable once per batch of letters. */
DBI_NODISCARD dbi_rc dbi_mailbox_new(dbi_mailbox **mailbox, bool pollable, dbi_err *err);
void dbi_mailbox_free(dbi_mailbox *mailbox);
bool dbi_mailbox_forked(const dbi_mailbox *mailbox); /* it is of a parent process */
int dbi_mailbox_fd(const dbi_mailbox *mailbox); /* -1 when not pollable */

/* Letters promised and not yet taken. @thread any @locks mailbox */
size_t dbi_mailbox_pending(dbi_mailbox *mailbox);

/* All letters that have arrived, oldest first; NULL = none. The descriptor is quiet afterwards. @locks mailbox */
dbi_letter *dbi_mailbox_take(dbi_mailbox *mailbox);

/* The same, after waiting for the first; NULL when the deadline passed. @locks mailbox */
dbi_letter *dbi_mailbox_wait(dbi_mailbox *mailbox, int64_t deadline);

/* Frees a letter that was taken; NULL is allowed. `letter` points to what begins with a dbi_letter. */
void dbi_letter_free(void *letter);

/* --- the other side: whoever answers --- */

/* Makes a letter of `size` bytes, zeroed but for its first three fields; NULL when memory is out. */
void *dbi_mailbox_promise(dbi_mailbox *mailbox, size_t size, void *user);

/* Takes the promise back and frees the letter: there will be no answer. */
void dbi_mailbox_withdraw(dbi_letter *letter);

/* Puts a list of letters into the mailbox and wakes its reader, once. */
void dbi_mailbox_deliver(dbi_mailbox *mailbox, dbi_letter *first, dbi_letter *last, size_t count);

#endif
