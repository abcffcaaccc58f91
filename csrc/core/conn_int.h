/* conn_int.h - what the files of the connection and its pool share */
#ifndef DBI_CONN_INT_H
#define DBI_CONN_INT_H

#include "clock.h"
#include "conn.h"
#include "pool.h"

/* --- conn_info.c: what connections are opened with --- */

/* One host of a conninfo: its part of the three lists; NULL = libpq's default. */
enum { DBI__HOST_NAME, DBI__HOST_ADDRESS, DBI__HOST_PORT, DBI__HOST_PARTS };

typedef struct dbi__host {
    const char *parts[DBI__HOST_PARTS];
} dbi__host;

typedef struct dbi__conninfo {
    PQconninfoOption *options; /* as libpq read the conninfo; ended by a NULL keyword */
    unsigned host_count;       /* at least 1; 1 where libpq is to go through the hosts itself */
    dbi__host *hosts;
    char *texts; /* of the hosts */
} dbi__conninfo;

/* DBI_ECONFIG repeats nothing of the conninfo. */
DBI_NODISCARD dbi_rc dbi__conninfo_init(dbi__conninfo *info, const char *conninfo, dbi_err *err);
void dbi__conninfo_reset(dbi__conninfo *info);

/* The value given for an option, NULL = none. */
const char *dbi__conninfo_get(const dbi__conninfo *info, const char *keyword);

/* Keywords and values for PQconnectStartParams. They point into info, host and credentials. */
#define DBI__PARAMS_MAX 96u

typedef struct dbi__params {
    unsigned count;
    const char *keywords[DBI__PARAMS_MAX + 1];
    const char *values[DBI__PARAMS_MAX + 1];
} dbi__params;

void dbi__params_fill(dbi__params *params, const dbi__conninfo *info, const dbi__host *host,
                      const dbi_credentials *credentials);

/* --- conn_wait.c: waiting for a descriptor --- */

/* Waits until the descriptor is ready for `events`: DBI_OK. With slice_ns > 0 also DBI_OK when so much time has passed.
 * DBI_ETIMEOUT when the deadline passed first; DBI_EINTR or what the check said; DBI_ESYS. Messages begin with `what`.
 */
DBI_NODISCARD dbi_rc dbi__fd_wait(int fd, short events, const dbi_interrupt *interrupt, int64_t deadline,
                                  int64_t slice_ns, const char *what, dbi_err *err);

/* --- conn.c, conn_open.c --- */

/* The states of a connection are lists of its pool; pool_move changes them. */
typedef enum dbi__conn_state {
    DBI__CONN_NONE, /* in no list */
    DBI__CONN_OPENING,
    DBI__CONN_IDLE,
    DBI__CONN_USED,
    DBI__CONN_CLOSING,
    DBI__CONN_STATES
} dbi__conn_state;

struct dbi_conn {
    /* the pool's, under its lock */
    dbi_conn *next, *prev;
    dbi_conn *chain; /* of those that a thread has taken out, and closes next */
    dbi__conn_state state;
    uint64_t generation; /* of the credentials */
    int64_t expires_at;  /* on the pool's clock, as the next */
    int64_t used_at;

    /* its owner's: the thread that opens, uses or closes it */
    PGconn *pq;
    uint64_t number;
    uint64_t fork;
    uint64_t statements;
    uint64_t counted; /* of the statements: those that the pool knows of */
    dbi_interrupt interrupt;
    bool lost;
    bool copying;         /* in a COPY FROM STDIN */
    bool refused_write;   /* the server said 25006 */
    bool began_read_only; /* it was read-only when it was opened: as it was wanted, perhaps */
    char place[300];
};

/* Opens: connects to the host within the deadline and makes the session ours. conn->interrupt is set. On failure
 * conn->pq is NULL again. */
DBI_NODISCARD dbi_rc dbi__conn_open(dbi_conn *conn, const dbi__params *params, int64_t deadline, dbi_err *err);

/* Ends the connection politely, without waiting; leaves the struct. Nothing is done where the process has forked. */
void dbi__conn_finish(dbi_conn *conn);

/* Takes note of what has arrived while it was idle, without waiting: false when it is lost. */
bool dbi__conn_quiet(dbi_conn *conn);

/* Asks the server for a sign of life. */
DBI_NODISCARD dbi_rc dbi__conn_check(dbi_conn *conn, int64_t deadline, dbi_err *err);

/* Just opened: keeps what it was like then. */
void dbi__conn_begin(dbi_conn *conn);

/* It was not read-only once, and is now. */
bool dbi__conn_became_read_only(const dbi_conn *conn);

/* In the child of a fork: closes this process's copy of the socket. Async-signal-safe. */
void dbi__conn_abandon(dbi_conn *conn);

/* Copies the message without line ends, hints and severities, and finds its SQLSTATE. */
void dbi__conn_message(const char *message, char *text, size_t size, char sqlstate[6]);

/* --- pool_fork.c --- */

/* Makes the pool known to forks, and unknown. @locks pools */
void dbi__pools_add(dbi_pool *pool);
void dbi__pools_remove(dbi_pool *pool);

/* Around every call of libpq that may open, replace or close a socket, or look up a name: a fork waits until none is
 * under way, so that a child knows every socket, and glibc's lock on look-ups is free in it. */
void dbi__step_begin(void);
void dbi__step_end(void);

#endif
