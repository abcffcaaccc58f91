/* mailbox.c - where delivery reports arrive for those who wait for them (see producer.h)
 *
 * A mailbox has one owner and any number of promised tickets. It lives until the owner has let go and the last ticket
 * has been delivered or withdrawn: a report may come long after the event loop that wanted it is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "producer_int.h"

struct dbi_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* CLOCK_MONOTONIC */
    dbi_ticket *head, **tail;
    size_t promised; /* tickets on their way */
    size_t waiting;  /* tickets arrived and not taken */
    bool owned;
    int fd;
};

dbi_rc dbi_mailbox_new(dbi_mailbox **mailbox_out, bool pollable, dbi_err *err) {
    dbi_mailbox *mailbox = dbi_calloc(1, sizeof *mailbox);
    pthread_condattr_t attr;

    *mailbox_out = NULL;
    if (mailbox == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a mailbox");
    mailbox->fd = pollable ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (pollable && mailbox->fd < 0) {
        int sys = errno;
        dbi_free(mailbox);
        return dbi_err_sys(err, DBI_ESYS, sys, "a descriptor for delivery reports");
    }
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&mailbox->arrived, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->tail = &mailbox->head;
    mailbox->owned = true;
    *mailbox_out = mailbox;
    return DBI_OK;
}

static void mailbox_destroy(dbi_mailbox *mailbox) {
    dbi_ticket *ticket = mailbox->head;

    while (ticket != NULL) {
        dbi_ticket *next = ticket->next;
        dbi_ticket_free(ticket);
        ticket = next;
    }
    if (mailbox->fd >= 0)
        (void)close(mailbox->fd);
    (void)pthread_cond_destroy(&mailbox->arrived);
    (void)pthread_mutex_destroy(&mailbox->lock);
    dbi_free(mailbox);
}

/* @locks mailbox held; gives it back, and frees the mailbox when nobody needs it any more */
static void mailbox_unlock(dbi_mailbox *mailbox) {
    bool last = !mailbox->owned && mailbox->promised == 0;

    (void)pthread_mutex_unlock(&mailbox->lock);
    if (last)
        mailbox_destroy(mailbox);
}

void dbi_mailbox_free(dbi_mailbox *mailbox) {
    if (mailbox == NULL)
        return;
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->owned = false;
    mailbox_unlock(mailbox);
}

int dbi_mailbox_fd(const dbi_mailbox *mailbox) {
    return mailbox->fd;
}

size_t dbi_mailbox_pending(dbi_mailbox *mailbox) {
    size_t pending;

    (void)pthread_mutex_lock(&mailbox->lock);
    pending = mailbox->promised + mailbox->waiting;
    (void)pthread_mutex_unlock(&mailbox->lock);
    return pending;
}

dbi_ticket *dbi__mailbox_promise(dbi_mailbox *mailbox, void *user) {
    dbi_ticket *ticket = dbi_calloc(1, sizeof *ticket);

    if (ticket == NULL)
        return NULL;
    ticket->mailbox = mailbox;
    ticket->user = user;
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->promised++;
    (void)pthread_mutex_unlock(&mailbox->lock);
    return ticket;
}

void dbi__mailbox_withdraw(dbi_ticket *ticket) {
    dbi_mailbox *mailbox = ticket->mailbox;

    dbi_ticket_free(ticket);
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->promised--;
    mailbox_unlock(mailbox);
}

void dbi__mailbox_deliver(dbi_mailbox *mailbox, dbi_ticket *first, dbi_ticket *last, size_t count) {
    (void)pthread_mutex_lock(&mailbox->lock);
    last->next = NULL;
    *mailbox->tail = first;
    mailbox->tail = &last->next;
    /* One write per batch, and none while the reader has not yet taken the one before. */
    if (mailbox->fd >= 0 && mailbox->waiting == 0)
        (void)eventfd_write(mailbox->fd, 1);
    mailbox->waiting += count;
    mailbox->promised -= count;
    (void)pthread_cond_broadcast(&mailbox->arrived);
    mailbox_unlock(mailbox);
}

/* @locks mailbox held */
static dbi_ticket *mailbox_take(dbi_mailbox *mailbox) {
    dbi_ticket *tickets = mailbox->head;
    eventfd_t value;

    mailbox->head = NULL;
    mailbox->tail = &mailbox->head;
    mailbox->waiting = 0;
    if (mailbox->fd >= 0)
        (void)eventfd_read(mailbox->fd, &value); /* EAGAIN: it was quiet */
    return tickets;
}

dbi_ticket *dbi_mailbox_take(dbi_mailbox *mailbox) {
    dbi_ticket *tickets;

    (void)pthread_mutex_lock(&mailbox->lock);
    tickets = mailbox_take(mailbox);
    (void)pthread_mutex_unlock(&mailbox->lock);
    return tickets;
}

dbi_ticket *dbi_mailbox_wait(dbi_mailbox *mailbox, int64_t deadline) {
    struct timespec until = dbi_clock_timespec(deadline);
    dbi_ticket *tickets;

    (void)pthread_mutex_lock(&mailbox->lock);
    while (mailbox->head == NULL)
        if (pthread_cond_timedwait(&mailbox->arrived, &mailbox->lock, &until) != 0)
            break;
    tickets = mailbox_take(mailbox);
    (void)pthread_mutex_unlock(&mailbox->lock);
    return tickets;
}

void dbi_ticket_free(dbi_ticket *ticket) {
    dbi_free(ticket);
}
