/* pool.h - PostgreSQL connections, made when they are needed, kept while they are good, shared by threads.
 *
 *                 room                     connected                acquired
 *     (nothing) --------> OPENING ------------------------> IDLE <----------> USED
 *                            |                               |                  |
 *                            +--------- failed, closed ------+---- a reason ----+-----> (nothing)
 *
 * There are never more than max_size, those that are being opened included. One that is needed and not there is opened
 * by the thread that needs it; nothing is opened in advance, and there is no thread of the pool's own. Who finds none
 * free waits: first come, first served. The one used last is taken first, so that those that are too many grow old and
 * are closed. A connection is closed when it is older than max_age or served max_queries, idle for max_idle while there
 * are more than min_size, lost, found dead or read-only, opened with credentials that have been replaced, or given back
 * in the middle of something. Every close has its reason, counted and in words.
 *
 * Ageing is looked at whenever a connection comes, goes or is asked for, and by dbi_pool_tidy.
 *
 * Fork: a pool can be used on both sides. The child closes its copies of the sockets, sends nothing on them, and opens
 * connections of its own.
 */
#ifndef DBI_POOL_H
#define DBI_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "conn.h"
#include "err.h"
#include "metrics.h"

typedef struct dbi_pool dbi_pool;

/* A user name and a password (or token). Either may be empty: then it comes from the conninfo, the environment or the
 * password file. */
#define DBI_USER_SIZE 256u
#define DBI_PASSWORD_SIZE 8192u

typedef struct dbi_credentials {
    char user[DBI_USER_SIZE];
    char password[DBI_PASSWORD_SIZE];
} dbi_credentials;

/* Called before a connection is opened, by the thread that needs it, with no lock held; the memory is zeroed before and
 * after. It must end within the deadline. What it answers but DBI_OK is why the connection cannot be had. */
typedef dbi_rc (*dbi_credentials_fn)(void *arg, int64_t deadline, dbi_credentials *credentials, dbi_err *err);

/* Times in nanoseconds. Strings are copied. */
typedef struct dbi_pool_config {
    const char *name;               /* in metrics and messages */
    const char *conninfo;           /* libpq's "host=… dbname=…" or URI; need hold no password */
    uint32_t min_size;              /* this many are kept, however long they are idle */
    uint32_t max_size;              /* 1 to DBI_POOL_SIZE_MAX */
    uint32_t max_waiting;           /* threads that wait for a connection; the next one is refused (DBI_EFULL) */
    int64_t connect_timeout;        /* for each host of the conninfo, with all its addresses and authentication */
    int64_t max_age;                /* since it was opened; DBI_FOREVER = no limit */
    double max_age_jitter;          /* 0 to 1: each connection's max_age is shortened by a random part of this share */
    uint64_t max_queries;           /* statements on one connection; 0 = no limit */
    int64_t max_idle;               /* above min_size; DBI_FOREVER = no limit */
    int64_t check_after_idle;       /* one idle for longer is asked whether it is alive before it is used */
    double exhaustion_threshold;    /* percent of max_size in use from which the pool counts as nearly exhausted */
    dbi_credentials_fn credentials; /* NULL = what the conninfo says */
    void *credentials_arg;
    dbi_clock clock; /* of ages; deadlines are the system's */
} dbi_pool_config;

#define DBI_POOL_SIZE_MAX 1000u
#define DBI_POOL_WAITING_MAX 1000000u

/* Why connections are closed: X(NAME, label in metrics, text). */
#define DBI_CONN_CLOSE_MAP(X)                                                                                          \
    X(AGE, "age", "it reached its maximum age")                                                                        \
    X(QUERIES, "queries", "it served its number of statements")                                                        \
    X(IDLE, "idle", "it was idle for too long")                                                                        \
    X(LOST, "lost", "it was lost")                                                                                     \
    X(UNRESPONSIVE, "unresponsive", "it did not answer when asked whether it is alive")                                \
    X(READ_ONLY, "read_only", "it became read-only")                                                                   \
    X(CREDENTIALS, "credentials", "its credentials were replaced")                                                     \
    X(UNFINISHED, "unfinished", "it was given back in the middle of something")                                        \
    X(DISCARDED, "discarded", "its user gave it up")                                                                   \
    X(POOL_CLOSED, "pool_closed", "the pool was closed")

typedef enum dbi_conn_close {
#define DBI_CONN_CLOSE_ENUM(name, label, text) DBI_CONN_CLOSE_##name,
    DBI_CONN_CLOSE_MAP(DBI_CONN_CLOSE_ENUM)
#undef DBI_CONN_CLOSE_ENUM
        DBI_CONN_CLOSE_COUNT
} dbi_conn_close;

const char *dbi_conn_close_label(dbi_conn_close why);
const char *dbi_conn_close_text(dbi_conn_close why);

/* name "default", min 5, max 20, 1000 may wait, connect_timeout 10 s, max_age 3600 s with a jitter of 0.1, 10000
 * statements, max_idle 600 s, check_after_idle 30 s, threshold 80 %. The conninfo is empty: libpq's environment. */
void dbi_pool_defaults(dbi_pool_config *config);

/* Makes a pool; opens nothing. DBI_ECONFIG names the field and its range; of a conninfo that cannot be read it says
 * what is wrong and repeats none of it. @thread any @locks pools, registry */
DBI_NODISCARD dbi_rc dbi_pool_new(dbi_pool **pool, const dbi_pool_config *config, dbi_err *err);

/* Closes what is left and frees the pool. No connection may be in use, no other call under way. NULL is allowed.
 * @thread owner @locks pools, pool, registry */
void dbi_pool_free(dbi_pool *pool);

/* Hands out nothing more: whoever waits gets DBI_ECLOSED, idle connections are closed, used ones when they come back.
 * Waits for those until the deadline: DBI_ETIMEOUT; may be called again. @thread any @locks pool */
DBI_NODISCARD dbi_rc dbi_pool_close(dbi_pool *pool, int64_t deadline, dbi_err *err);

/* These are the credentials from now on, whatever the callback or the conninfo say; both NULL: ask those again.
 * Connections opened with earlier ones are not handed out any more, those included that are being opened right now:
 * idle ones are closed here, used ones when they come back. @thread any @locks pool */
DBI_NODISCARD dbi_rc dbi_pool_set_credentials(dbi_pool *pool, const char *user, const char *password, dbi_err *err);

/* Gets a connection: an idle one, a new one, or the next that comes back. On DBI_OK it is to be given back by
 * dbi_pool_release. cancel_fd: -1, or a descriptor that ends this wait, and those on the connection, when it becomes
 * readable. DBI_ETIMEOUT, DBI_EINTR, DBI_ECLOSED, DBI_EFULL (too many wait), DBI_EFORK (forked while waiting), or why
 * no connection could be opened: DBI_EUNREACHABLE, DBI_EAUTH, DBI_ESERVER with its SQLSTATE. Looking up a host's name
 * cannot be bounded (libpq): give addresses, or hostaddr, where the deadline must hold. @thread any @locks pools, pool
 */
DBI_NODISCARD dbi_rc dbi_pool_acquire(dbi_pool *pool, dbi_conn **conn, int64_t deadline, int cancel_fd, dbi_err *err);

/* The same with all that may end a wait; `interrupt` (NULL = nothing) is copied. */
DBI_NODISCARD dbi_rc dbi_pool_acquire_with(dbi_pool *pool, dbi_conn **conn, int64_t deadline,
                                           const dbi_interrupt *interrupt, dbi_err *err);

typedef enum dbi_conn_end {
    DBI_CONN_KEEP,   /* it is good, as far as its user knows */
    DBI_CONN_DISCARD /* to be closed, for the reason given */
} dbi_conn_end;

/* Gives a connection back. One that is lost, read-only, in a transaction or in the middle of a statement is closed,
 * too. Waits for nothing. `conn` NULL is allowed. @thread any @locks pools, pool */
void dbi_pool_release(dbi_pool *pool, dbi_conn *conn, dbi_conn_end how, const char *reason);

/* Closes the idle connections that are too old or too many. For who has a thread that comes by from time to time.
 * @thread any @locks pools, pool */
void dbi_pool_tidy(dbi_pool *pool);

/* The pool now. Counts are since it was made; those from before a fork are in the child's, too. */
typedef struct dbi_pool_view {
    uint32_t min_size, max_size;
    uint32_t size; /* connected: idle + used */
    uint32_t idle, used, opening, waiting;
    double utilization;    /* percent of max_size in use or being opened */
    bool nearly_exhausted; /* utilization has reached exhaustion_threshold */
    bool closed;
    uint64_t acquired, released;
    uint64_t waits;          /* acquisitions that found no free connection and no room */
    uint64_t timeouts;       /* acquisitions that ended with DBI_ETIMEOUT, connecting included */
    uint64_t refused;        /* acquisitions that ended with DBI_EFULL */
    uint64_t exhausted;      /* times that exhaustion_threshold was crossed upwards */
    uint64_t opened, failed; /* connections that came up, attempts that did not */
    uint64_t checks;         /* idle connections asked whether they are alive */
    uint64_t statements;
    uint64_t closes[DBI_CONN_CLOSE_COUNT];
    uint64_t generation;  /* of the credentials, from 1 on */
    char last_close[160]; /* why the last one was closed, in words; "" = none was */
    dbi_err last_error;   /* of opening a connection; DBI_OK when the last attempt came up */
} dbi_pool_view;

/* @thread any @locks pool */
void dbi_pool_read(dbi_pool *pool, dbi_pool_view *view);

/* How long acquisitions took, in ns. Valid as long as the pool. */
const dbi_histogram *dbi_pool_waits(const dbi_pool *pool);

const char *dbi_pool_name(const dbi_pool *pool);

#endif
