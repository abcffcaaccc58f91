/* shipper.h - lands the records of one chain in PostgreSQL, exactly once.
 *
 * A shipment is one message, so one round trip, and one transaction:
 *
 *     BEGIN;
 *     SELECT dbint.guard(...);
 *     COPY table (...) FROM STDIN (FORMAT binary);
 *     SELECT dbint.advance(chain, a, b, dead);
 *     COMMIT
 *
 * It has landed when its last command tag says COMMIT, and only then. When that answer does not come, the shipment is
 * ambiguous: it may have landed or not. Then, on another connection, the backend that worked on it is ended where it
 * can still be seen, and the ledger is asked: it says b (landed), or a (send again). Nothing hangs on the backend being
 * gone: advance() moves the chain only from `a`, so of two transactions for the same records one fails.
 *
 * What the ledger says decides, always:
 *   - As expected: go on.
 *   - Higher: landed, by a shipment whose answer was lost, of this process or of one before it. Higher than this
 *     journal can have sent: it is a restored copy. What was written to it since goes on under a new chain.
 *   - Lower than was seen to commit, or no entry: the server was restored, or failed over without its last
 *     transactions. Back to there; what the journal no longer holds is counted as lost_by_server.
 *   - No entry, and collect_chains has been at work since the chain last moved: it was forgotten. Go on.
 * A standby is not asked: its ledger is out of date.
 *
 * Reactions to errors, by SQLSTATE; a single code goes before its class:
 *
 *   hold       28 3D 3F 42 22P03 22P04 (our encoding) DBI03, and what is not named here. Kept in the journal; tried
 *              again every hold_retry, for somebody may have repaired it
 *   reconnect  08 57 25 (25006: a standby) 53300, and no answer. On another connection, after a back-off
 *   retry      40 (serialization, deadlock) 53 (53100: disk full) 55 (55P03: a lock was not had in time) 58 XX, and
 *              what fails on this side: memory, disk. After a back-off
 *   halve      57014 (cancelled: a statement_timeout) 53200 (out of memory). At once, with half the rows, and so for
 *              a while; a single row waits for a back-off
 *   row        22 23 P0 54 21 27 44, and codes of the user's own: some row's fault. Bisected under savepoints: good
 *              rows land, bad ones go to the dead letters (dead.h); hold after bad_rows_max in one shipment, or
 *              bad_rows_share of recent rows
 *   ledger     DBI01: the ledger is read again
 *   schema     DBI02: the catalogue is read again
 *
 * 08P01 on a connection that stays up means the bytes of a row: hold. After a timeout shipments are halved, too. A
 * back-off is full jitter under a limit that doubles from backoff_min to backoff_max.
 *
 * A table that has changed (DBI02): where each column of the rows still exists and its bytes mean the same (only
 * typmods differ, or one text type became another), COPY goes on as before. Where types differ, the rows go into a
 * temporary table of the old types, and from there by INSERT ... SELECT, with the casts that an assignment may use, in
 * the same transaction. Where the server refuses that too, or a column is gone, the chain is held.
 */
#ifndef DBI_SHIPPER_H
#define DBI_SHIPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "breaker.h"
#include "clock.h"
#include "err.h"
#include "journal.h"
#include "metrics.h"
#include "pool.h"
#include "schema.h"

typedef struct dbi_shipper dbi_shipper;

/* X(NAME, text) */
#define DBI_SHIP_STATE_MAP(X)                                                                                          \
    X(READY, "ready")             /* nothing is in the way */                                                          \
    X(SHIPPING, "shipping")       /* in dbi_shipper_run */                                                             \
    X(BACKING_OFF, "backing_off") /* an attempt failed; the next one waits */                                          \
    X(HELD, "held")               /* needs somebody: why says for what */

typedef enum dbi_ship_state {
#define DBI_SHIP_STATE_ENUM(name, text) DBI_SHIP_##name,
    DBI_SHIP_STATE_MAP(DBI_SHIP_STATE_ENUM)
#undef DBI_SHIP_STATE_ENUM
        DBI_SHIP_STATE_COUNT
} dbi_ship_state;

const char *dbi_ship_state_text(dbi_ship_state state);

/* What is done about an error of the server: X(NAME, text). */
#define DBI_REACTION_MAP(X)                                                                                            \
    X(HOLD, "hold")                                                                                                    \
    X(RECONNECT, "reconnect")                                                                                          \
    X(RETRY, "retry")                                                                                                  \
    X(HALVE, "halve")                                                                                                  \
    X(ROW, "row")                                                                                                      \
    X(LEDGER, "ledger")                                                                                                \
    X(SCHEMA, "schema")

typedef enum dbi_reaction {
#define DBI_REACTION_ENUM(name, text) DBI_REACTION_##name,
    DBI_REACTION_MAP(DBI_REACTION_ENUM)
#undef DBI_REACTION_ENUM
        DBI_REACTION_COUNT
} dbi_reaction;

const char *dbi_reaction_text(dbi_reaction reaction);

/* By the table above; "" = no answer from a server. @thread any */
dbi_reaction dbi_reaction_of(const char *sqlstate);

/* What a shipper tells, from inside dbi_shipper_run, with no lock held: X(NAME, text). */
#define DBI_SHIP_EVENT_MAP(X)                                                                                          \
    X(LANDED, "landed")     /* first..last are in the server, dead ones among them */                                  \
    X(DEAD, "dead")         /* `count` rows of first..last went to the dead letters */                                 \
    X(FAILED, "failed")     /* an attempt failed, another will follow: why */                                          \
    X(HELD, "held")         /* why */                                                                                  \
    X(RELEASED, "released") /* no longer held */                                                                       \
    X(CHANGED, "changed")   /* the table has changed: schema is what it is like now, with the stream's columns */      \
    X(REWOUND, "rewound")   /* the server went back to `first`; `count` rows are no longer held */                     \
    X(ENDED, "ended")       /* the chain is ended: why */                                                              \
    X(RESOLVED, "resolved") /* an ambiguous shipment turned out to have landed up to `last` */

typedef enum dbi_ship_event_kind {
#define DBI_SHIP_EVENT_ENUM(name, text) DBI_SHIP_EVENT_##name,
    DBI_SHIP_EVENT_MAP(DBI_SHIP_EVENT_ENUM)
#undef DBI_SHIP_EVENT_ENUM
        DBI_SHIP_EVENT_COUNT
} dbi_ship_event_kind;

const char *dbi_ship_event_text(dbi_ship_event_kind kind);

typedef struct dbi_ship_event {
    dbi_ship_event_kind kind;
    uint64_t first, last, count;
    const char *why;          /* a sentence, or NULL */
    const dbi_schema *schema; /* CHANGED only; valid during the call */
} dbi_ship_event;

typedef struct dbi_shipper_config {
    dbi_chain *chain; /* borrowed, as pool and breaker: they outlive the shipper */
    dbi_pool *pool;
    dbi_breaker *breaker;       /* NULL = none */
    const char *dead_directory; /* made when the first dead letter is written */
    const char *slot;           /* for dbint.chains: which slot, as people know it; NULL = not said */
    bool install;               /* the ledger, where it is missing: true */
    size_t batch_bytes;         /* of one shipment, at most: 4 MiB */
    int64_t stall_timeout;      /* a connection without progress is given up: 30 s */
    int64_t connect_timeout;    /* waiting for a connection of the pool: 10 s */
    int64_t backoff_min;        /* 100 ms */
    int64_t backoff_max;        /* 30 s */
    int64_t hold_retry;         /* 30 s */
    int64_t small_for;          /* how long halved shipments stay small, before they double again: 60 s */
    int64_t confirm_after;      /* idle for so long: is what landed still there? 45 s; less than the journal keeps */
    uint32_t bad_rows_max;      /* in one shipment: 100 */
    double bad_rows_share;      /* of about the last 1000 rows, once they are 10: 0.5 */
    dbi_clock clock;
    void (*on_event)(void *arg, const dbi_ship_event *event); /* NULL = no one listens */
    void *on_event_arg;
} dbi_shipper_config;

void dbi_shipper_defaults(dbi_shipper_config *config);

/* DBI_ECONFIG names the field; DBI_ENOMEM. Nothing is asked of a server. @thread any */
DBI_NODISCARD dbi_rc dbi_shipper_new(dbi_shipper **shipper, const dbi_shipper_config *config, dbi_err *err);
/* No call may be under way. NULL is allowed. Nothing is sent. */
void dbi_shipper_free(dbi_shipper *shipper);

/* When to come again. */
typedef struct dbi_ship_next {
    int64_t at; /* on the config's clock; in the past = at once; DBI_FOREVER = when there is something new */
    bool more;  /* records are known to wait */
} dbi_ship_next;

/* What records are read into. It is lent for a run, so that there is as much of it as threads that ship, and not as
 * chains; whoever ships again soon keeps it, for fresh pages cost more than what is read into them. */
typedef struct dbi_ship_buffers {
    dbi_records records;
    dbi_records ahead; /* the next ones, read while the server is busy with these */
} dbi_ship_buffers;

void dbi_ship_buffers_free(dbi_ship_buffers *buffers); /* {0} is empty, and what it leaves */

/* One attempt at one shipment: what is ready of one segment, up to batch_bytes; with a backlog, as many as land within
 * a second. `buffers` grow as needed; NULL: of this run's own. Called too early (before next->at, for what is held or backs off) it does nothing. DBI_OK: it landed, or
 * there was nothing to do. Otherwise the attempt failed and *err says how; the shipper has already decided what to do
 * about it, and *next says when. DBI_EINTR: cancel_fd became readable. Waits for the server. @thread one at a time
 * @locks none while waiting */
DBI_NODISCARD dbi_rc dbi_shipper_run(dbi_shipper *shipper, dbi_ship_buffers *buffers, int cancel_fd,
                                     dbi_ship_next *next, dbi_err *err);

/* Forgets the back-off and the hold: somebody repaired it. @thread any @locks shipper */
void dbi_shipper_kick(dbi_shipper *shipper);

/* When to come, as the last run said, or now after a kick. @thread any @locks shipper */
int64_t dbi_shipper_due(dbi_shipper *shipper);

typedef struct dbi_ship_view {
    dbi_ship_state state;
    int64_t since_us;       /* wall time of entering the state */
    char why[512];          /* HELD, BACKING_OFF: the reason, a sentence */
    dbi_err last_error;     /* of the last failed attempt; rc DBI_OK = none so far */
    int64_t last_error_us;  /* wall time; 0 = never */
    int64_t last_landed_us; /* the same */
    uint64_t landed;        /* the last sequence known to be committed */
    uint64_t attempts;      /* shipments sent */
    uint64_t shipments;     /* that landed */
    uint64_t rows;          /* that landed, without dead ones; less those that a server lost again */
    uint64_t bytes;         /* of them, where the answer came */
    uint64_t dead;          /* rows that went to the dead letters; less as above */
    uint64_t rows_rewound, dead_rewound; /* how many less: with these the two never fall */
    uint64_t reopened;      /* rows that an earlier process had landed, and that the server lost again. They wait once
                               more, as if they had been recovered, or are lost_by_server */
    uint64_t copies;        /* COPY statements, those of bisecting included */
    uint64_t casts;         /* shipments through a temporary table */
    uint64_t ambiguous;     /* shipments whose answer did not come */
    uint64_t ambiguous_resolved; /* and that turned out to have landed */
    uint64_t rewinds, lost_by_server;
    uint64_t backends_ended;
    uint64_t reactions[DBI_REACTION_COUNT];
    size_t batch_bytes; /* the limit now: lower after `halve` */
} dbi_ship_view;

/* @thread any @locks shipper */
void dbi_shipper_view(dbi_shipper *shipper, dbi_ship_view *view);

/* From BEGIN to COMMIT, of shipments that landed. Valid as long as the shipper. */
const dbi_histogram *dbi_shipper_durations(const dbi_shipper *shipper);

#endif
