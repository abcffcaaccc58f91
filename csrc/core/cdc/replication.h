/* replication.h - the client's side of logical replication: one walsender's stream, read without waiting
 *
 * A connection is got from a pool whose conninfo dbi_replication_conninfo made, and begins to stream with
 * dbi_replication_start. From then on the server sends CopyData messages of two kinds, and the client one:
 *
 *     'w'  int64 start of the log this is about, int64 server's end of the log, int64 time, then a message of pgoutput
 *     'k'  int64 server's end of the log, int64 time, byte 1 = answer at once
 *     'r'  int64 written, int64 flushed, int64 applied (each one past the last byte), int64 time, byte 1 = answer
 *
 * All numbers are big-endian; times are microseconds since 2000-01-01 UTC.
 */
#ifndef DBI_REPLICATION_H
#define DBI_REPLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "err.h"

/* A conninfo for a walsender's connection, made from one for the database, or, not `walsender`, for one that reads the
 * catalogue in the same way: both with the settings that values are read under (relation.h). To be given to dbi_free.
 * DBI_ECONFIG repeats nothing of the conninfo. @thread any */
DBI_NODISCARD dbi_rc dbi_replication_conninfo(const char *conninfo, bool walsender, char **made, dbi_err *err);

typedef struct dbi_replication_options {
    const char *slot;
    const char *publication;
    uint64_t start; /* 0 = where the slot stands; one before that is moved up by the server */
    bool streaming; /* protocol version 2, transactions streamed before they commit */
    bool messages;  /* pg_logical_emit_message's, too */
} dbi_replication_options;

/* Makes the connection stream. What the server refuses is DBI_ESERVER with its SQLSTATE, and advice. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_start(dbi_conn *conn, const dbi_replication_options *options, int64_t deadline,
                                           dbi_err *err);

/* The server's wal_sender_timeout in ns, DBI_FOREVER when it is off; to be asked before the start. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_timeout(dbi_conn *conn, int64_t deadline, int64_t *timeout, dbi_err *err);

typedef enum dbi_frame_kind {
    DBI_FRAME_NONE, /* nothing has arrived: wait for the socket, then dbi_replication_receive */
    DBI_FRAME_CHANGE,
    DBI_FRAME_KEEPALIVE
} dbi_frame_kind;

typedef struct dbi_frame {
    dbi_frame_kind kind;
    const uint8_t *bytes; /* pgoutput's message */
    size_t length;
    uint64_t start; /* of a change */
    uint64_t end;   /* the server's end of the log */
    bool reply;     /* asked for */
    char *memory;   /* libpq's, of the whole */
} dbi_frame;

/* Reads what a CopyData message holds. DBI_ECORRUPT. @thread any */
DBI_NODISCARD dbi_rc dbi_frame_read(const uint8_t *bytes, size_t length, dbi_frame *frame, dbi_err *err);

/* The next frame that has arrived, to be given back by dbi_frame_reset. The stream's end is an error, for it has none
 * of its own: DBI_EUNREACHABLE, or DBI_ESERVER with what the server says. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_next(dbi_conn *conn, dbi_frame *frame, dbi_err *err);
void dbi_frame_reset(dbi_frame *frame);

/* Takes what the socket has, without waiting. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_receive(dbi_conn *conn, dbi_err *err);

#define DBI_FEEDBACK_SIZE 34u

void dbi_feedback_write(uint8_t bytes[DBI_FEEDBACK_SIZE], uint64_t written, uint64_t flushed, int64_t wall_us);

/* Says what has been read and what is safe. Waits for nothing: *more = some of it is still to be sent by
 * dbi_replication_flush, when the socket takes it. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_feedback(dbi_conn *conn, uint64_t written, uint64_t flushed, bool *more,
                                              dbi_err *err);
DBI_NODISCARD dbi_rc dbi_replication_flush(dbi_conn *conn, bool *more, dbi_err *err);

/* Ends the stream: tells the server, and waits until it has agreed, so that the slot is free. @thread owner */
DBI_NODISCARD dbi_rc dbi_replication_end(dbi_conn *conn, int64_t deadline, dbi_err *err);

/* "16/B374D848", as the server writes positions. @thread any */
#define DBI_LSN_SIZE 20u
const char *dbi_lsn_text(uint64_t lsn, char text[DBI_LSN_SIZE]);

#endif
