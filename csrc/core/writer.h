/* writer.h - takes events and lands them in PostgreSQL: streams, the journal behind them, the threads that ship it.
 *
 *     application -> dbi_stream_append -> journal -> shipper threads -> PostgreSQL
 *
 * At any time, for each stream, over all its chains:
 *
 *     accepted + recovered = landed + journaled + dead + dropped + damaged + lost_by_server
 *
 * accepted: taken by this process; recovered: found in the journal, left by an earlier one or a dead neighbour.
 *
 * Threads: a keeper (segments ahead of time, adoption, events that wait for room), a syncer where a stream asks for
 * fsync, and the shippers. They start with the first event or flush, so in the process that works, not in the one that
 * forks it; none of them ever takes Python's lock, and all signals are blocked in them.
 *
 * Fork: a child has the streams and nothing of the journal: its first event opens a slot of its own.
 */
#ifndef DBI_WRITER_H
#define DBI_WRITER_H

#include "breaker.h"
#include "journal.h"
#include "metrics.h"
#include "pool.h"
#include "shipper.h"
#include "stream.h"

typedef struct dbi_writer dbi_writer;

typedef struct dbi_writer_config {
    const char *name;          /* in metrics and logs; "default" */
    dbi_pool *pool;            /* borrowed, as the breaker: both outlive the writer */
    dbi_breaker *breaker;      /* NULL = none */
    dbi_journal_config journal;
    uint32_t shippers;         /* threads; 2 */
    int64_t tick;              /* the shortest time between two looks for rows; 20 ms */
    int64_t adopt_every;       /* how often the slots of dead processes are looked for; 5 s */
    size_t batch_bytes;        /* of one shipment; 4 MiB */
    int64_t stall_timeout;     /* of a connection that makes no progress; 30 s */
} dbi_writer_config;

void dbi_writer_defaults(dbi_writer_config *config);

/* Opens the journal; starts no thread and asks no server. Errors as of dbi_journal_open. @thread any */
DBI_NODISCARD dbi_rc dbi_writer_new(dbi_writer **writer, const dbi_writer_config *config, dbi_err *err);

/* Closes without waiting for what has not landed, which stays in the journal. No other call may be under way. */
void dbi_writer_free(dbi_writer *writer);

/* Opens a stream, or gives the one of that name; borrowed, valid while the writer lives. DBI_ECONFIG when it is open
 * and differs, or a value is out of range. @thread any @locks writer */
DBI_NODISCARD dbi_rc dbi_writer_stream(dbi_writer *writer, const dbi_stream_config *config, dbi_stream **stream,
                                       dbi_err *err);

/* The columns of a table, as the server has them, or as it had them when it was last asked: they are kept in the
 * journal's directory. names == NULL: all of them. DBI_EUNREACHABLE when the server is away and nothing is kept;
 * DBI_EINVAL when the table or a column is missing. Waits, as long as `interrupt` lets it. @thread any @locks none
 * while waiting */
DBI_NODISCARD dbi_rc dbi_writer_schema(dbi_writer *writer, const char *nspname, const char *relname,
                                       const char *const *names, size_t count, int64_t deadline,
                                       const dbi_interrupt *interrupt, dbi_schema **schema, dbi_err *err);

/* Starts the threads, where there is something to do before the first event: what an earlier process left. */
DBI_NODISCARD dbi_rc dbi_writer_start(dbi_writer *writer, dbi_err *err);

/* Waits until all that had been taken when it was called has landed or is dead. *left = rows that have not; DBI_OK also
 * when they are held or the server is away: then at the deadline, with DBI_ETIMEOUT. @thread any @locks writer */
DBI_NODISCARD dbi_rc dbi_writer_flush(dbi_writer *writer, int64_t deadline, uint64_t *left, dbi_err *err);

/* The same for an event loop: a receipt comes to the mailbox when it is done, its err DBI_ETIMEOUT at the deadline.
 * `user` comes back in it, and names it until then. @thread any @locks writer */
DBI_NODISCARD dbi_rc dbi_writer_flush_later(dbi_writer *writer, int64_t deadline, dbi_mailbox *mailbox, void *user,
                                            dbi_err *err);

/* Takes the flush back; *left as of now. False: it is over, the receipt comes. @thread any @locks writer */
bool dbi_writer_flush_withdraw(dbi_writer *writer, const void *user, uint64_t *left);

/* Takes no more events; what was taken goes on being shipped, at once where it waited for another attempt. Those who
 * wait for room get DBI_ECLOSED. The first half of closing, for a caller who waits in a way of his own in between.
 * DBI_ECLOSED: it was called before. @thread any */
DBI_NODISCARD dbi_rc dbi_writer_seal(dbi_writer *writer, dbi_err *err);

/* Seals it, flushes until the deadline, ends the threads and gives up the slot. *left (may be NULL) = rows that stay in
 * the journal. Only the first call does it, others get DBI_ECLOSED. @thread any */
DBI_NODISCARD dbi_rc dbi_writer_close(dbi_writer *writer, int64_t deadline, uint64_t *left, dbi_err *err);
bool dbi_writer_closed(const dbi_writer *writer);

/* Ships what is held or waits for a back-off now: somebody repaired it. @thread any @locks writer */
void dbi_writer_retry(dbi_writer *writer);

/* --- looking at it --- */

/* One stream, by name: the open ones, and those whose chains were left by others. */
typedef struct dbi_stream_view {
    char name[DBI_STREAM_NAME_SIZE];
    bool open;
    uint32_t chains;
    uint64_t accepted, recovered;
    uint64_t landed, journaled, dead, dropped_oldest, damaged, lost_by_server; /* rows; they add up to the line above */
    uint64_t landed_rewound, dead_rewound; /* no longer among landed and dead, for the server has lost them again */
    uint64_t rejected;        /* never accepted: full, under DBI_FULL_REJECT, or block_timeout passed */
    uint64_t waiting;         /* for room or for fsync */
    uint64_t journaled_bytes; /* segments on disk, or in memory */
    uint64_t ambiguous_resolved;
    int64_t oldest_ns;        /* for how long the oldest row has not landed; -1 = all have */
} dbi_stream_view;

/* Up to `capacity` of them; returns how many there are. @thread any @locks writer */
size_t dbi_writer_streams(dbi_writer *writer, dbi_stream_view *views, size_t capacity);

/* One chain and who ships it. */
typedef struct dbi_chain_report {
    char name[DBI_STREAM_NAME_SIZE];
    dbi_chain_view chain;
    dbi_ship_view ship;
    int64_t retry_ns; /* HELD, BACKING_OFF: until the next attempt; else -1 */
} dbi_chain_report;
size_t dbi_writer_chains(dbi_writer *writer, dbi_chain_report *reports, size_t capacity);


/* False, and a view of zeros, when it is closed or, in a child, not yet opened. */
bool dbi_writer_journal(dbi_writer *writer, dbi_journal_view *view);

bool dbi_writer_running(const dbi_writer *writer); /* its threads are at work */
const char *dbi_writer_name(const dbi_writer *writer);
const char *dbi_writer_directory(const dbi_writer *writer);

#endif
