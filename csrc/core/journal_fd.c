/* journal_fd.c - the journal's descriptors, known so that a forked child can let go of them
 *
 * A flock belongs to the open file, which parent and child share: a child that kept the descriptor of a lock would hold
 * the slot after its parent's death. Opening and noting are one step, which a fork waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "alloc.h"
#include "journal_int.h"

static pthread_mutex_t fds_lock = PTHREAD_MUTEX_INITIALIZER;
static int *fds;
static size_t fds_count, fds_capacity;

static void fds_before_fork(void) {
    dbi__lock(&fds_lock);
}

static void fds_in_parent(void) {
    dbi__unlock(&fds_lock);
}

static void fds_in_child(void) {
    for (size_t i = 0; i < fds_count; i++)
        (void)close(fds[i]);
    fds_count = 0; /* the table itself is freed with its next descriptor, or with the process */
    dbi__unlock(&fds_lock);
}

static void fds_watch(void) {
    (void)pthread_atfork(fds_before_fork, fds_in_parent, fds_in_child);
}

/* Room for one more, under the lock; false when memory is out. */
static bool fds_reserve(void) {
    size_t capacity = fds_capacity != 0 ? fds_capacity * 2 : 16;
    int *grown;

    if (fds_count < fds_capacity)
        return true;
    grown = dbi_realloc(fds, capacity * sizeof *fds);
    if (grown == NULL)
        return false;
    fds = grown;
    fds_capacity = capacity;
    return true;
}

/* The table does not outlive the last descriptor. Under the lock. */
static void fds_shrink(void) {
    if (fds_count > 0)
        return;
    dbi_free(fds);
    fds = NULL;
    fds_capacity = 0;
}

/* Opens `name`, or (NULL) what `directory` is, once more. */
static int fd_open(int directory, const char *name, int flags, mode_t mode) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int fd = -1, sys = ENOMEM;

    (void)pthread_once(&once, fds_watch);
    dbi__lock(&fds_lock);
    if (fds_reserve()) {
        fd = name != NULL ? openat(directory, name, flags | O_CLOEXEC, mode) : fcntl(directory, F_DUPFD_CLOEXEC, 0);
        sys = errno;
        if (fd >= 0)
            fds[fds_count++] = fd;
    }
    fds_shrink();
    dbi__unlock(&fds_lock);
    errno = sys;
    return fd;
}

int dbi__fd_open(int directory, const char *name, int flags, mode_t mode) {
    return fd_open(directory, name, flags | O_NOFOLLOW, mode);
}

int dbi__fd_dup(int fd) {
    return fd_open(fd, NULL, 0, 0);
}

int dbi__fd_open_followed(const char *directory) {
    return fd_open(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
}

void dbi__fd_close(int *fd) {
    if (*fd < 0)
        return;
    dbi__lock(&fds_lock);
    for (size_t i = 0; i < fds_count; i++)
        if (fds[i] == *fd) {
            fds[i] = fds[--fds_count];
            (void)close(*fd);
            break;
        }
    fds_shrink();
    dbi__unlock(&fds_lock);
    *fd = -1;
}
