/* conn_wait.c - see conn_int.h */
#include <errno.h>
#include <poll.h>

#include "conn_int.h"

#define CHECK_SLICE (200 * DBI_NS_PER_MS)

static int64_t shorter(int64_t a, int64_t b) {
    return a < b ? a : b;
}

dbi_rc dbi__fd_wait(int fd, short events, const dbi_interrupt *interrupt, int64_t deadline, int64_t slice_ns,
                    const char *what, dbi_err *err) {
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = interrupt->fd, .events = POLLIN}};

    for (;;) {
        int64_t left = dbi_clock_left(NULL, deadline), slice = left;
        struct timespec timeout;
        int ready;

        if (interrupt->check != NULL)
            slice = shorter(slice, CHECK_SLICE);
        if (slice_ns > 0)
            slice = shorter(slice, slice_ns);
        timeout = dbi_clock_timespec(slice);
        ready = ppoll(fds, 2, slice == DBI_FOREVER ? NULL : &timeout, NULL); /* a descriptor of -1 is left out */
        if (ready < 0 && errno != EINTR)
            return dbi_err_sys(err, DBI_ESYS, errno, "%s: waiting for the socket", what);
        if (ready > 0 && fds[1].revents != 0)
            return dbi_err_set(err, DBI_EINTR, "%s: interrupted", what);
        if (ready > 0)
            return DBI_OK;
        if (interrupt->check != NULL) {
            dbi_rc rc = interrupt->check(interrupt->arg);

            if (rc != DBI_OK)
                return dbi_err_set(err, rc, "%s: interrupted", what);
        }
        if (ready == 0 && left == slice)
            return dbi_err_set(err, DBI_ETIMEOUT, "%s: the deadline passed", what);
        if (slice_ns > 0)
            return DBI_OK;
    }
}
