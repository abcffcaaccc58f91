/* capture_int.h - what the three files of the capture share; inside the core only
 *
 *     capture.c          what it is: configuration, counts, the thread and its attempts
 *     capture_session.c  one connection to the server: its start, feedback, waiting, its end
 *     capture_changes.c  what comes over it: tables, transactions, messages for Kafka
 *
 * All of it is for the capture's own thread, but for its configuration and what says how it is stopped.
 */
#ifndef DBI_CAPTURE_INT_H
#define DBI_CAPTURE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "cdc/capture.h"
#include "cdc/envelope.h"
#include "cdc/pgoutput.h"
#include "cdc/relation.h"
#include "cdc/replication.h"
#include "cdc/sorter.h"
#include "cdc/spool.h"
#include "clock.h"
#include "metrics.h"
#include "uuid.h"

#define DBI__CAPTURE_FRAMES 512u   /* handled between two looks at outlet and clock */
#define DBI__CAPTURE_COMMITS 1024u /* commit times kept for what is not confirmed */
#define DBI__CAPTURE_BUCKETS 256u

/* A table that has changed in this session. */
typedef struct capture_table {
    struct capture_table *next;
    uint32_t oid;
    const dbi_relation *relation;
    dbi_outlet_topic *topic;
} capture_table;

typedef struct commit_time {
    uint64_t end;
    int64_t commit_us;
} commit_time;

struct dbi_capture {
    /* configuration */
    char *name, *slot, *publication, *prefix, *version, *dead_letter_topic;
    dbi_pool *walsender, *catalogue;
    dbi_outlet *outlet;
    uint64_t start;
    bool streaming;
    char **messages; /* prefixes */
    size_t message_count;
    int64_t connect_timeout, feedback_ns, backoff_min, backoff_max;

    /* the thread, and how it is stopped */
    pthread_t thread;
    uint64_t fork;
    bool started;      /* the owner's: to be joined */
    atomic_bool ended; /* the thread is at its end */
    atomic_int_fast64_t stop_at;
    atomic_bool stopping;
    int stop_fd;
    dbi_err result; /* of the thread, read after its end */

    /* the thread's */
    dbi_pgoutput *decoder;
    dbi_relations *relations;
    dbi_envelope *envelope; /* made when the database's name is known */
    dbi_spool *spool;
    dbi_sorter *sorter;
    uint64_t sort_until; /* commits up to here are sent through the sorter: a broker has refused one of them */
    capture_table *tables[DBI__CAPTURE_BUCKETS];
    capture_table *last; /* the one that changed last */
    dbi_conn *conn;
    char system[32];  /* the cluster's identifier; "" = not met yet */
    bool unsent;      /* libpq holds feedback that the socket has not taken */
    bool in_transaction, in_stream;
    uint32_t stream_xid;
    dbi_origin origin; /* of the changes that come now */
    uint64_t told;     /* the last position that the server was told */
    int64_t interval, feedback_at;
    bool answer; /* the server has asked */
    commit_time commits[DBI__CAPTURE_COMMITS];
    unsigned commit_head, commit_count;
    dbi_uuid7_source random; /* of the pauses */
    dbi_capture_view now; /* published into `view` */

    dbi_source source;
    pthread_mutex_t lock; /* guards view: a leaf */
    dbi_capture_view view;
};

static inline bool dbi__capture_stopping(const dbi_capture *capture) {
    return atomic_load_explicit(&capture->stopping, memory_order_acquire);
}

/* What a call answers that a stop has ended. */
static inline dbi_rc dbi__capture_stopped(dbi_err *err) {
    return dbi_err_set(err, DBI_EINTR, "the capture was stopped");
}

static inline int64_t dbi__sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- counts: capture.c --- */

/* Shows others how it is. @locks capture */
void dbi__capture_publish(dbi_capture *capture);
void dbi__capture_state_set(dbi_capture *capture, dbi_capture_state state);

/* A transaction has been read; what has been confirmed needs its commit times no more. */
void dbi__capture_committed(dbi_capture *capture, uint64_t end, int64_t commit_us);
void dbi__capture_confirmed(dbi_capture *capture, uint64_t confirmed);

/* --- a session: capture_session.c --- */

DBI_NODISCARD dbi_rc dbi__session_open(dbi_capture *capture, dbi_err *err);

/* Carries until something ends it: DBI_OK = a stop was asked for. */
DBI_NODISCARD dbi_rc dbi__session_run(dbi_capture *capture, dbi_err *err);

/* Waits until what was read is delivered, as long as the stop allows, and tells the server. */
DBI_NODISCARD dbi_rc dbi__session_drain(dbi_capture *capture, dbi_err *err);
void dbi__session_close(dbi_capture *capture, bool politely);

/* Says what is confirmed, where that is due or asked for. */
DBI_NODISCARD dbi_rc dbi__session_feedback(dbi_capture *capture, dbi_err *err);

/* Waits for the outlet, the stop and, with `reading`, the server, until feedback is due or the deadline passes. */
dbi_rc dbi__session_poll(dbi_capture *capture, bool reading, int64_t deadline, dbi_err *err);

/* The outlet is full: nothing is read until half of it has been delivered, or `all`. */
DBI_NODISCARD dbi_rc dbi__session_stall(dbi_capture *capture, bool all, dbi_err *err);

/* Waits until everything that was sent has been delivered, without lingering. */
DBI_NODISCARD dbi_rc dbi__session_settle(dbi_capture *capture, dbi_err *err);

/* --- changes: capture_changes.c --- */

/* Handles what a frame holds: one message of pgoutput. */
DBI_NODISCARD dbi_rc dbi__change_take(dbi_capture *capture, const dbi_frame *frame, dbi_err *err);

/* Sends what the sorter has. */
DBI_NODISCARD dbi_rc dbi__changes_sort(dbi_capture *capture, dbi_err *err);

/* Forgets the tables of a session. */
void dbi__tables_clear(dbi_capture *capture);

#endif
