/* shipment.c - runs one shipment on a connection: see shipment_int.h */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "shipment_int.h"
#include "shipper.h"

#define STAGING_BYTES ((size_t)65536)
#define WHAT "shipment"
#define FEW_ROWS 10u /* of fewer, even all may be refused: that says nothing about the others */

/* COPY BINARY: 11 bytes of signature, no flags, no extension; at the end a field count of -1. */
static const uint8_t copy_head[19] = "PGCOPY\n\377\r\n";
static const uint8_t copy_tail[2] = {0xff, 0xff};

void dbi__shipment_free(dbi__shipment *shipment) {
    dbi__text_free(&shipment->sql);
    dbi_free(shipment->staging);
    shipment->staging = NULL;
}

/* A row that was refused, and with which words. */
typedef struct bad_row {
    dbi_record record;
    char sqlstate[6];
    char message[sizeof((dbi_err *)0)->msg];
} bad_row;

/* Some of the records: where reading them begins, and how many. */
typedef struct row_range {
    size_t at;
    uint64_t next, count;
} row_range;

static int64_t soon(const dbi__shipment *shipment) {
    return dbi_clock_deadline(NULL, shipment->stall_timeout);
}

/* --- sending rows --- */

typedef struct row_sink {
    dbi__shipment *shipment;
    size_t length; /* in staging */
} row_sink;

static dbi_rc sink_flush(row_sink *sink, dbi_err *err) {
    dbi__shipment *shipment = sink->shipment;
    size_t length = sink->length;

    sink->length = 0;
    return length > 0 ? dbi_conn_copy_put(shipment->conn, shipment->staging, length, soon(shipment), err) : DBI_OK;
}

/* Rows go out in large pieces: a message of its own for each would cost more than the row. */
static dbi_rc sink_put(row_sink *sink, const uint8_t *bytes, size_t length, dbi_err *err) {
    dbi_rc rc;

    if (length > STAGING_BYTES - sink->length) {
        rc = sink_flush(sink, err);
        if (rc != DBI_OK)
            return rc;
    }
    while (length > STAGING_BYTES) { /* a piece at a time: each is progress, with a deadline of its own */
        rc = dbi_conn_copy_put(sink->shipment->conn, bytes, STAGING_BYTES, soon(sink->shipment), err);
        if (rc != DBI_OK)
            return rc;
        bytes += STAGING_BYTES;
        length -= STAGING_BYTES;
    }
    memcpy(sink->shipment->staging + sink->length, bytes, length);
    sink->length += length;
    return DBI_OK;
}

static dbi_rc rows_send(dbi__shipment *shipment, row_range range, dbi_err *err) {
    row_sink sink = {.shipment = shipment};
    dbi_record record;
    dbi_rc rc;

    shipment->copies++;
    shipment->sent = 0;
    rc = sink_put(&sink, copy_head, sizeof copy_head, err);
    shipment->records->at = range.at;
    shipment->records->next = range.next;
    for (uint64_t i = 0; rc == DBI_OK && i < range.count && dbi_records_next(shipment->records, &record); i++) {
        if (record.kind != DBI_RECORD_ROW) /* the connection is given up in its COPY: this does not happen */
            return dbi_err_set(err, DBI_ECORRUPT, "record %" PRIu64 " is of kind %u, and no row", record.sequence,
                               record.kind);
        shipment->sent += record.length;
        rc = sink_put(&sink, record.body, record.length, err);
    }
    if (rc == DBI_OK)
        rc = sink_put(&sink, copy_tail, sizeof copy_tail, err);
    if (rc == DBI_OK)
        rc = sink_flush(&sink, err);
    return rc;
}

/* --- statements --- */

/* Begins the text of a message: every one is marked, so that end_shipments finds who is busy with it. */
static void message_begin(dbi__shipment *shipment) {
    dbi__text_reset(&shipment->sql);
    dbi__text_put(&shipment->sql, DBI_LEDGER_MARK);
    dbi__text_put(&shipment->sql, shipment->chain);
    dbi__text_put(&shipment->sql, " */ ");
}

static void message_advance(dbi__shipment *shipment, uint64_t dead) {
    dbi__text_putf(&shipment->sql, "SELECT dbint.advance('%s',%" PRIu64 ",%" PRIu64 ",%" PRIu64 ");COMMIT",
                   shipment->chain, shipment->expected, shipment->records->last, dead);
}

/* Sends the message and takes what it answers; rows are sent when it asks for them. `commits`: it ends in COMMIT. */
static dbi_rc message_run(dbi__shipment *shipment, row_range range, bool commits, dbi_err *err) {
    dbi_conn *conn = shipment->conn;
    dbi_rc rc, failure = DBI_OK;
    bool may_commit = commits && range.count == 0;

    if (shipment->sql.failed)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for the SQL of a shipment");
    shipment->committing = shipment->committing || may_commit;
    rc = dbi_conn_send(conn, shipment->sql.bytes, soon(shipment), err);
    while (rc == DBI_OK) {
        PGresult *result = NULL;
        dbi_err late;

        rc = dbi_conn_result(conn, soon(shipment), &result, failure == DBI_OK ? err : &late);
        if (rc != DBI_OK || result == NULL)
            break;
        switch (PQresultStatus(result)) {
        case PGRES_COPY_IN:
            rc = rows_send(shipment, range, err);
            if (rc == DBI_OK) { /* from here on the server goes on to COMMIT by itself */
                shipment->committing = commits;
                rc = dbi_conn_copy_end(conn, NULL, soon(shipment), err);
                if (rc == DBI_OK && commits)
                    shipment->meanwhile(shipment->meanwhile_arg);
            }
            break;
        case PGRES_FATAL_ERROR:
            if (failure == DBI_OK)
                failure = dbi_conn_fail(conn, result, err, WHAT);
            break;
        default:
            if (commits && strcmp(PQcmdStatus(result), "COMMIT") == 0)
                shipment->committed = true;
        }
        PQclear(result);
    }
    if (shipment->committed) /* whatever happens to the connection after these words */
        return DBI_OK;
    if (failure != DBI_OK)
        return failure;
    if (rc == DBI_OK && commits) /* a transaction that failed answers COMMIT with ROLLBACK */
        return dbi_err_set(err, DBI_ESERVER, "shipment: the server did not commit, and gave no reason");
    return rc;
}

/* Out of a transaction that did not come to its end, so that the connection can be used again. Where that fails, or the
 * connection is in the middle of a statement, the pool closes it. */
static void transaction_end(dbi__shipment *shipment) {
    PGTransactionStatusType status = PQtransactionStatus(dbi_conn_pq(shipment->conn));

    if (!dbi_conn_lost(shipment->conn) && (status == PQTRANS_INERROR || status == PQTRANS_INTRANS))
        (void)!dbi_conn_exec(shipment->conn, "ROLLBACK", soon(shipment), NULL, NULL);
}

static dbi_rc staging_make(dbi__shipment *shipment, dbi_err *err) {
    if (shipment->staging == NULL)
        shipment->staging = dbi_malloc(STAGING_BYTES);
    return shipment->staging != NULL ? DBI_OK : dbi_err_set(err, DBI_ENOMEM, "out of memory for a shipment");
}

static row_range range_all(const dbi_records *records) {
    return (row_range){.at = 0, .next = records->first, .count = records->count};
}

#define BEGIN "BEGIN ISOLATION LEVEL READ COMMITTED;"

dbi_rc dbi__shipment_send(dbi__shipment *shipment, dbi_err *err) {
    row_range all = range_all(shipment->records);
    dbi_rc rc = staging_make(shipment, err);

    if (rc != DBI_OK)
        return rc;
    dbi_dead_begin(shipment->dead, shipment->records->first, shipment->records->last);
    rc = dbi_dead_sync(shipment->dead, err); /* takes back the letters of an earlier try: these rows are to land */
    if (rc != DBI_OK)
        return rc;
    message_begin(shipment);
    dbi__text_put(&shipment->sql, BEGIN);
    if (all.count > 0) {
        dbi__text_put(&shipment->sql, shipment->plan->guard.bytes);
        dbi__text_put(&shipment->sql, shipment->plan->copy.bytes);
        dbi__text_put(&shipment->sql, shipment->plan->after.bytes);
    }
    message_advance(shipment, 0);
    rc = message_run(shipment, all, true, err);
    if (rc == DBI_OK)
        shipment->bytes = shipment->sent;
    else
        transaction_end(shipment);
    return rc;
}

/* --- bisecting --- */

typedef struct bisecting {
    dbi__shipment *shipment;
    bad_row *bad; /* room for bad_max */
    uint32_t bad_count;
    bool undo; /* the savepoint is to be gone back to before anything else */
} bisecting;

/* Before the statement that follows, whatever it is. */
static void bisection_begin(bisecting *bisection) {
    message_begin(bisection->shipment);
    if (bisection->undo)
        dbi__text_put(&bisection->shipment->sql, "ROLLBACK TO SAVEPOINT dbint;");
    bisection->undo = false;
}

/* Lands the range, under a savepoint. */
static dbi_rc bisection_try(bisecting *bisection, row_range range, dbi_err *err) {
    dbi__shipment *shipment = bisection->shipment;
    dbi_rc rc;

    bisection_begin(bisection);
    dbi__text_put(&shipment->sql, shipment->plan->copy.bytes);
    dbi__text_put(&shipment->sql, shipment->plan->after.bytes);
    dbi__text_put(&shipment->sql, "RELEASE SAVEPOINT dbint;SAVEPOINT dbint");
    rc = message_run(shipment, range, false, err);
    if (rc == DBI_OK)
        shipment->bytes += shipment->sent;
    else
        bisection->undo = true;
    return rc;
}

static bool is_rows_fault(const dbi__shipment *shipment, dbi_rc rc, const dbi_err *err) {
    return rc == DBI_ESERVER && !dbi_conn_lost(shipment->conn) && dbi_reaction_of(err->sqlstate) == DBI_REACTION_ROW;
}

/* The server's own words, without what dbi_conn_fail puts in front. */
static const char *message_said(const char *message) {
    return strncmp(message, WHAT ": ", sizeof WHAT ": " - 1) == 0 ? message + sizeof WHAT ": " - 1 : message;
}

static dbi_rc bisection_refused(bisecting *bisection, row_range range, dbi_err *err) {
    dbi__shipment *shipment = bisection->shipment;
    bad_row *bad;

    if (bisection->bad_count == shipment->bad_max)
        return dbi_err_set(
            err, DBI_EHELD, "more than %" PRIu32 " of %" PRIu64 " rows are refused; the last but one: %.300s",
            shipment->bad_max, shipment->records->count, bisection->bad[bisection->bad_count - 1].message);
    bad = &bisection->bad[bisection->bad_count++];
    memcpy(bad->sqlstate, err->sqlstate, sizeof bad->sqlstate);
    (void)snprintf(bad->message, sizeof bad->message, "%s", message_said(err->msg));
    shipment->records->at = range.at;
    shipment->records->next = range.next;
    if (!dbi_records_next(shipment->records, &bad->record))
        return dbi_err_set(err, DBI_ECORRUPT, "shipment: a record is not where it was");
    return DBI_OK;
}

/* Takes the first half off the range. */
static row_range range_split(dbi_records *records, row_range *range) {
    row_range head = {.at = range->at, .next = range->next, .count = range->count / 2};
    dbi_record record;

    records->at = range->at;
    records->next = range->next;
    for (uint64_t i = 0; i < head.count; i++)
        if (!dbi_records_next(records, &record))
            break;
    range->at = records->at;
    range->next = records->next;
    range->count -= head.count;
    return head;
}

/* Lands the good rows of the range. `refused`: as a whole it is known to be. When the first half could be landed, the
 * rest is what was refused, and need not be tried as a whole. As deep as the logarithm of the count. */
static dbi_rc bisection_go(bisecting *bisection, row_range range, bool refused, dbi_err *err) {
    uint32_t before = bisection->bad_count;
    row_range head;
    dbi_rc rc;

    if (!refused || range.count == 1) { /* a single row has yet to hear what it is refused for */
        rc = bisection_try(bisection, range, err);
        if (rc == DBI_OK || !is_rows_fault(bisection->shipment, rc, err))
            return rc;
        if (range.count == 1)
            return bisection_refused(bisection, range, err);
    }
    head = range_split(bisection->shipment->records, &range);
    rc = bisection_go(bisection, head, false, err);
    return rc == DBI_OK ? bisection_go(bisection, range, bisection->bad_count == before, err) : rc;
}

/* Half of what came lately is refused: then it is not the rows. */
static dbi_rc bisection_judge(const bisecting *bisection, dbi_err *err) {
    const dbi__shipment *shipment = bisection->shipment;
    uint64_t rows = shipment->seen + shipment->records->count, bad = shipment->seen_bad + bisection->bad_count;

    if (rows < FEW_ROWS || (double)bad <= shipment->bad_share * (double)rows)
        return DBI_OK;
    return dbi_err_set(err, DBI_EHELD, "%" PRIu64 " of the last %" PRIu64 " rows are refused; the last one: %.300s",
                       bad, rows, bisection->bad[bisection->bad_count - 1].message);
}

static dbi_rc bisection_bury(const bisecting *bisection, dbi_err *err) {
    dbi__shipment *shipment = bisection->shipment;

    dbi_dead_begin(shipment->dead, shipment->records->first, shipment->records->last);
    for (uint32_t i = 0; i < bisection->bad_count; i++) {
        const bad_row *bad = &bisection->bad[i];
        const dbi_dead_letter letter = {.sequence = bad->record.sequence,
                                        .stream = shipment->stream,
                                        .schema = shipment->plan->schema,
                                        .sqlstate = bad->sqlstate,
                                        .message = bad->message,
                                        .tuple = bad->record.body,
                                        .length = bad->record.length};
        dbi_rc rc = dbi_dead_put(shipment->dead, &letter, err);

        if (rc != DBI_OK)
            return rc;
    }
    return dbi_dead_sync(shipment->dead, err);
}

dbi_rc dbi__shipment_bisect(dbi__shipment *shipment, dbi_err *err) {
    bisecting bisection = {.shipment = shipment};
    row_range all = range_all(shipment->records), none = {0};
    dbi_rc rc = staging_make(shipment, err);

    if (rc != DBI_OK)
        return rc;
    shipment->bytes = 0;
    bisection.bad = dbi_calloc(shipment->bad_max, sizeof *bisection.bad);
    if (bisection.bad == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for refused rows");
    message_begin(shipment);
    dbi__text_put(&shipment->sql, BEGIN "SET CONSTRAINTS ALL IMMEDIATE;"); /* COMMIT would not tell which row it was */
    dbi__text_put(&shipment->sql, shipment->plan->guard.bytes);
    dbi__text_put(&shipment->sql, "SAVEPOINT dbint");
    rc = message_run(shipment, none, false, err);
    if (rc == DBI_OK)
        rc = bisection_go(&bisection, all, true, err);
    if (rc == DBI_OK && bisection.bad_count > 0)
        rc = bisection_judge(&bisection, err);
    if (rc == DBI_OK)
        rc = bisection_bury(&bisection, err);
    if (rc == DBI_OK) {
        bisection_begin(&bisection);
        message_advance(shipment, bisection.bad_count);
        rc = message_run(shipment, none, true, err);
    }
    if (rc == DBI_OK)
        shipment->bad = bisection.bad_count;
    else
        transaction_end(shipment);
    dbi_free(bisection.bad);
    return rc;
}
