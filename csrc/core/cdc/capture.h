/* capture.h - one thread that carries a logical replication slot's changes into an outlet.
 *
 *     start -> CONNECTING -> STREAMING -> (connection lost, broker's fatal error) -> WAITING -> CONNECTING ...
 *                 |             |
 *                 |             +-- stop -> DRAINING -> STOPPED
 *                 |             +-- (messages refused by a broker as too large) -> CONNECTING, and sorted (sorter.h)
 *                 +-- what time does not heal (slot missing or invalidated, login refused, message too large) -> FAILED
 *
 * It reads `START_REPLICATION SLOT ... LOGICAL`, writes each change as Debezium's envelope (envelope.h) into topic
 * <prefix>.<schema>.<table>, and confirms to the server what the outlet has delivered, at the ends of transactions: so
 * no commit is missed, whatever dies, and after a crash some come again.
 *
 * - Feedback is sent every 10 s (a third of wal_sender_timeout where that is less), a second after there is news, when
 *   the server asks for it, and also while nothing is read because the outlet's window is full. What the server's
 *   keepalives say is confirmed, too: a database in which other tables are written does not hold back its log.
 * - Memory: the outlet's window, one row, and `spool_memory` for transactions that are streamed before their commit;
 *   what they hold beyond it goes to a temporary file without a name in `spool_directory`.
 * - Schemas' keys and types come from the catalog, asked over a second connection that is open only as long as it is
 *   needed.
 */
#ifndef DBI_CAPTURE_H
#define DBI_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "cdc/outlet.h"
#include "pool.h"

typedef struct dbi_capture dbi_capture;

/* All is copied, but the outlet, which is the caller's and must outlive the capture. Times in ns. */
typedef struct dbi_capture_config {
    const char *name;        /* the flow's, in metrics and messages */
    const char *conninfo;    /* of the source database */
    const char *slot;
    const char *publication;
    const char *prefix;      /* of topics, and source.name */
    const char *version;     /* source.version */
    dbi_outlet *outlet;
    uint64_t start;          /* begin at this position where the slot is behind it; 0 = where the slot stands */
    bool streaming;          /* let the server send large transactions before they commit (PostgreSQL 14+) */
    const char *const *messages; /* prefixes of pg_logical_emit_message that are carried, too, into topic
                                    <prefix>.message; "*" = all */
    size_t message_count;        /* 0 = none */
    const char *dead_letter_topic; /* where a note goes about a change that is too large for Kafka; NULL = it ends the
                                      capture */
    size_t spool_memory;     /* 16 MiB */
    const char *spool_directory; /* NULL = $TMPDIR, else /tmp */
    int64_t connect_timeout; /* 10 s */
    int64_t feedback;        /* 10 s */
    int64_t backoff_min, backoff_max; /* 200 ms, 30 s: full jitter between the attempts */
} dbi_capture_config;

void dbi_capture_defaults(dbi_capture_config *config);

/* Checks the configuration; connects to nothing. @thread any */
DBI_NODISCARD dbi_rc dbi_capture_new(dbi_capture **capture, const dbi_capture_config *config, dbi_err *err);

/* Stops at once, if it runs, and frees. NULL is allowed. @thread owner */
void dbi_capture_free(dbi_capture *capture);

/* Starts the thread. DBI_ESTATE when it runs. May be called again after it has ended. @thread owner */
DBI_NODISCARD dbi_rc dbi_capture_start(dbi_capture *capture, dbi_err *err);

/* Asks the thread to read no more, to wait until what was read is delivered, to confirm it, and to end; at `deadline`
 * it ends as it is. Does not wait. @thread any */
void dbi_capture_stop(dbi_capture *capture, int64_t deadline);

/* Waits until the thread has ended; *ended false: the deadline passed first. Then DBI_OK, or, once, what ended it:
 * DBI_ETIMEOUT when a stop's deadline passed before all that was read had been delivered. @thread owner */
DBI_NODISCARD dbi_rc dbi_capture_join(dbi_capture *capture, int64_t deadline, bool *ended, dbi_err *err);

#define DBI_CAPTURE_STATE_MAP(X)                                                                                       \
    X(STOPPED, "stopped")                                                                                              \
    X(CONNECTING, "connecting")                                                                                        \
    X(STREAMING, "streaming")                                                                                          \
    X(WAITING, "waiting")   /* between two attempts; view.error says why */                                            \
    X(DRAINING, "draining") /* stopping */                                                                             \
    X(FAILED, "failed")     /* view.error says why */

typedef enum dbi_capture_state {
#define DBI_CAPTURE_STATE_ENUM(name, text) DBI_CAPTURE_##name,
    DBI_CAPTURE_STATE_MAP(DBI_CAPTURE_STATE_ENUM)
#undef DBI_CAPTURE_STATE_ENUM
} dbi_capture_state;

const char *dbi_capture_state_text(dbi_capture_state state);

/* The capture now. Counts are since it was made. */
typedef struct dbi_capture_view {
    dbi_capture_state state;
    dbi_err error;             /* the last one; DBI_OK when it has been streaming since */
    int backend_pid;           /* of the walsender; 0 = none */
    uint64_t received;         /* end of the last thing read */
    uint64_t confirmed;        /* what the server has been told, or will be with the next feedback */
    uint64_t server_end;       /* the server's end of the log, as it said last */
    int64_t server_end_at;     /* when, on the monotonic clock; 0 = never */
    int64_t confirmed_commit_us;  /* commit time of the last transaction confirmed, µs since 1970; 0 = none yet */
    int64_t received_commit_us;   /* of the last transaction read */
    uint64_t transactions, inserts, updates, deletes, truncates, messages;
    uint64_t skipped;          /* streamed changes that were rolled back */
    uint64_t dead_letters;
    uint64_t refusals;         /* times that a broker refused messages as too large */
    uint64_t bytes;            /* read from the server */
    uint64_t connects;         /* times that streaming began */
    uint64_t stalls;           /* times that reading stopped because the outlet was full */
    uint64_t spooled_bytes;    /* of streamed transactions, in memory and on disk, now */
    dbi_outlet_counts outlet;
} dbi_capture_view;

/* @thread any @locks capture */
void dbi_capture_read(dbi_capture *capture, dbi_capture_view *view);

#endif
