/* mailbox.c - see mailbox.h */
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "fork_int.h"
#include "mailbox.h"

struct dbi_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* CLOCK_MONOTONIC */
    dbi_letter *head, **tail;
    size_t promised; /* letters on their way */
    size_t waiting;  /* letters arrived and not taken */
    bool owned;
    int fd;
    uint64_t fork; /* the generation it belongs to */
};

dbi_rc dbi_mailbox_new(dbi_mailbox **mailbox_out, bool pollable, dbi_err *err) {
    dbi_mailbox *mailbox = dbi_calloc(1, sizeof *mailbox);
    pthread_condattr_t attr;

    *mailbox_out = NULL;
    if (mailbox == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a mailbox");
    dbi__fork_watch();
    mailbox->fork = dbi__fork_now();
    mailbox->fd = pollable ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (pollable && mailbox->fd < 0) {
        int sys = errno;
        dbi_free(mailbox);
        return dbi_err_sys(err, DBI_ESYS, sys, "a descriptor for answers");
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
    dbi_letter *letter = mailbox->head;

    while (letter != NULL) {
        dbi_letter *next = letter->next;
        dbi_letter_free(letter);
        letter = next;
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
    if (dbi_mailbox_forked(mailbox)) {
        if (mailbox->fd >= 0)
            (void)close(mailbox->fd);
        return; /* the rest stays: its lock may have been held at the fork */
    }
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->owned = false;
    mailbox_unlock(mailbox);
}

bool dbi_mailbox_forked(const dbi_mailbox *mailbox) {
    return mailbox->fork != dbi__fork_now();
}

int dbi_mailbox_fd(const dbi_mailbox *mailbox) {
    return mailbox->fd;
}

size_t dbi_mailbox_pending(dbi_mailbox *mailbox) {
    size_t pending;

    if (dbi_mailbox_forked(mailbox))
        return 0;
    (void)pthread_mutex_lock(&mailbox->lock);
    pending = mailbox->promised + mailbox->waiting;
    (void)pthread_mutex_unlock(&mailbox->lock);
    return pending;
}

void *dbi_mailbox_promise(dbi_mailbox *mailbox, size_t size, void *user) {
    dbi_letter *letter = dbi_calloc(1, size);

    if (letter == NULL)
        return NULL;
    letter->mailbox = mailbox;
    letter->user = user;
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->promised++;
    (void)pthread_mutex_unlock(&mailbox->lock);
    return letter;
}

void dbi_mailbox_withdraw(dbi_letter *letter) {
    dbi_mailbox *mailbox = letter->mailbox;

    dbi_letter_free(letter);
    (void)pthread_mutex_lock(&mailbox->lock);
    mailbox->promised--;
    mailbox_unlock(mailbox);
}

void dbi_mailbox_deliver(dbi_mailbox *mailbox, dbi_letter *first, dbi_letter *last, size_t count) {
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
static dbi_letter *mailbox_take(dbi_mailbox *mailbox) {
    dbi_letter *letters = mailbox->head;
    eventfd_t value;

    mailbox->head = NULL;
    mailbox->tail = &mailbox->head;
    mailbox->waiting = 0;
    if (mailbox->fd >= 0)
        (void)eventfd_read(mailbox->fd, &value); /* EAGAIN: it was quiet */
    return letters;
}

dbi_letter *dbi_mailbox_take(dbi_mailbox *mailbox) {
    dbi_letter *letters;

    if (dbi_mailbox_forked(mailbox))
        return NULL;
    (void)pthread_mutex_lock(&mailbox->lock);
    letters = mailbox_take(mailbox);
    (void)pthread_mutex_unlock(&mailbox->lock);
    return letters;
}

dbi_letter *dbi_mailbox_wait(dbi_mailbox *mailbox, int64_t deadline) {
    struct timespec until = dbi_clock_timespec(deadline);
    dbi_letter *letters;

    (void)pthread_mutex_lock(&mailbox->lock);
    while (mailbox->head == NULL)
        if (pthread_cond_timedwait(&mailbox->arrived, &mailbox->lock, &until) != 0)
            break;
    letters = mailbox_take(mailbox);
    (void)pthread_mutex_unlock(&mailbox->lock);
    return letters;
}

void dbi_letter_free(void *letter) {
    dbi_free(letter);
}
