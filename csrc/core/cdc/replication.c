/* replication.c - see replication.h */
#include "cdc/replication.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "cdc/relation.h"
#include "clock.h"

#define CHANGE_HEADER 25u
#define KEEPALIVE_SIZE 18u
#define EPOCH_US INT64_C(946684800000000) /* 2000-01-01 in µs since 1970 */
#define SQL_MAX ((size_t)1024)
#define CONNINFO_MAX ((size_t)65536)

const char *dbi_lsn_text(uint64_t lsn, char text[DBI_LSN_SIZE]) {
    (void)snprintf(text, DBI_LSN_SIZE, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
    return text;
}

/* --- text with a maximum --- */

typedef struct text {
    char *at;
    size_t length, size;
    bool full;
} text;

static void text_add(text *out, const char *piece, size_t length) {
    if (length >= out->size - out->length) {
        out->full = true;
        return;
    }
    memcpy(out->at + out->length, piece, length);
    out->length += length;
    out->at[out->length] = '\0';
}

static void text_put(text *out, const char *piece) {
    text_add(out, piece, strlen(piece));
}

/* Between two of `quote`, what is `quote` or, with a backslash as escape, one of both, marked by `escape`. */
static void text_quote(text *out, const char *piece, char quote, char escape) {
    text_add(out, &quote, 1);
    for (; *piece != '\0'; piece++) {
        if (*piece == quote || *piece == escape)
            text_add(out, &escape, 1);
        text_add(out, piece, 1);
    }
    text_add(out, &quote, 1);
}

/* --- conninfo --- */

static void conninfo_add(text *out, const char *keyword, const char *value) {
    if (out->length > 0)
        text_put(out, " ");
    text_put(out, keyword);
    text_put(out, "=");
    text_quote(out, value, '\'', '\\');
}

/* The options of the conninfo, before ours: of one that comes twice, the server takes the last. */
static void options_add(text *out, const char *given) {
    text options = {.at = dbi_malloc(CONNINFO_MAX), .size = CONNINFO_MAX};

    if (options.at == NULL) {
        out->full = true;
        return;
    }
    options.at[0] = '\0';
    if (given != NULL && given[0] != '\0') {
        text_put(&options, given);
        text_put(&options, " ");
    }
    text_put(&options, DBI_RELATION_OPTIONS);
    out->full = out->full || options.full;
    conninfo_add(out, "options", options.at);
    dbi_free(options.at);
}

dbi_rc dbi_replication_conninfo(const char *conninfo, bool walsender, char **made, dbi_err *err) {
    PQconninfoOption *given = PQconninfoParse(conninfo, NULL);
    text out = {.size = CONNINFO_MAX};
    const char *options = NULL;

    *made = NULL;
    if (given == NULL) /* whoever opened a pool with it would say what is wrong */
        return dbi_err_set(err, DBI_ECONFIG, "the source's conninfo cannot be read by libpq");
    out.at = dbi_malloc(out.size);
    if (out.at != NULL)
        out.at[0] = '\0';
    for (const PQconninfoOption *option = given; out.at != NULL && option->keyword != NULL; option++) {
        if (option->val == NULL || option->val[0] == '\0' || strcmp(option->keyword, "replication") == 0)
            continue;
        if (strcmp(option->keyword, "options") == 0)
            options = option->val;
        else
            conninfo_add(&out, option->keyword, option->val);
    }
    if (out.at != NULL)
        options_add(&out, options);
    if (out.at != NULL && walsender)
        conninfo_add(&out, "replication", "database");
    PQconninfoFree(given);
    if (out.at == NULL || out.full) {
        dbi_free(out.at);
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a conninfo, or it is longer than %zu bytes", CONNINFO_MAX);
    }
    *made = out.at;
    return DBI_OK;
}

/* --- starting --- */

/* What a refusal means to whoever runs the flow. */
static const char *start_advice(const char *sqlstate) {
    if (strcmp(sqlstate, "42704") == 0)
        return ". The slot is gone, and with it every change since the last one confirmed: begin anew with a snapshot "
               "(manage.py run_flow --resync)";
    if (strcmp(sqlstate, "55006") == 0)
        return ". Another process reads this slot, or one that has died and is not yet noticed (wal_sender_timeout)";
    if (strcmp(sqlstate, "55000") == 0)
        return ". The slot cannot be used: where it was invalidated (max_slot_wal_keep_size), changes are lost: begin "
               "anew with a snapshot (manage.py run_flow --resync)";
    if (strcmp(sqlstate, "42501") == 0)
        return ". Grant the role REPLICATION: ALTER ROLE … REPLICATION";
    return "";
}

dbi_rc dbi_replication_start(dbi_conn *conn, const dbi_replication_options *options, int64_t deadline, dbi_err *err) {
    char sql[SQL_MAX], names[SQL_MAX], number[DBI_LSN_SIZE];
    text command = {.at = sql, .size = sizeof sql}, list = {.at = names, .size = sizeof names};
    PGresult *result = NULL;
    dbi_rc rc;

    sql[0] = names[0] = '\0';
    text_quote(&list, options->publication, '"', '"'); /* an identifier, within a literal */
    text_put(&command, "START_REPLICATION SLOT ");
    text_quote(&command, options->slot, '"', '"');
    text_put(&command, " LOGICAL ");
    text_put(&command, dbi_lsn_text(options->start, number));
    text_put(&command, options->streaming ? " (proto_version '2', streaming 'on'" : " (proto_version '1'");
    if (options->messages)
        text_put(&command, ", messages 'true'");
    text_put(&command, ", publication_names ");
    text_quote(&command, names, '\'', '\'');
    text_put(&command, ")");
    if (command.full || list.full)
        return dbi_err_set(err, DBI_ECONFIG, "the names of slot and publication are too long");
    rc = dbi_conn_send(conn, sql, deadline, err);
    if (rc == DBI_OK)
        rc = dbi_conn_result(conn, deadline, &result, err);
    if (rc == DBI_OK && PQresultStatus(result) != PGRES_COPY_BOTH) {
        dbi_err said;
        size_t used;

        rc = dbi_conn_fail(conn, result, &said, "starting replication");
        if (err != NULL) {
            *err = said;
            used = strlen(err->msg);
            (void)snprintf(err->msg + used, sizeof err->msg - used, "%s", start_advice(err->sqlstate));
        }
    }
    PQclear(result);
    return rc;
}

dbi_rc dbi_replication_timeout(dbi_conn *conn, int64_t deadline, int64_t *timeout, dbi_err *err) {
    PGresult *result = NULL;
    long long ms;
    dbi_rc rc = dbi_conn_exec(conn, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'",
                              deadline, &result, err);

    *timeout = DBI_FOREVER;
    if (rc == DBI_OK && PQntuples(result) == 1 && (ms = strtoll(PQgetvalue(result, 0, 0), NULL, 10)) > 0)
        *timeout = ms * DBI_NS_PER_MS;
    PQclear(result);
    return rc;
}

/* --- reading --- */

static uint64_t read_u64(const uint8_t *bytes) {
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | bytes[i];
    return number;
}

static void write_u64(uint8_t *bytes, uint64_t number) {
    for (int i = 7; i >= 0; i--, number >>= 8)
        bytes[i] = (uint8_t)number;
}

dbi_rc dbi_frame_read(const uint8_t *bytes, size_t length, dbi_frame *frame, dbi_err *err) {
    *frame = (dbi_frame){0};
    if (length >= CHANGE_HEADER && bytes[0] == 'w') {
        frame->kind = DBI_FRAME_CHANGE;
        frame->start = read_u64(bytes + 1);
        frame->end = read_u64(bytes + 9);
        frame->bytes = bytes + CHANGE_HEADER;
        frame->length = length - CHANGE_HEADER;
        return DBI_OK;
    }
    if (length == KEEPALIVE_SIZE && bytes[0] == 'k') {
        frame->kind = DBI_FRAME_KEEPALIVE;
        frame->end = read_u64(bytes + 1);
        frame->reply = bytes[17] != 0;
        return DBI_OK;
    }
    return dbi_err_set(err, DBI_ECORRUPT,
                       "the replication stream holds a message of kind 0x%02X with %zu bytes, which is none of "
                       "PostgreSQL's",
                       length > 0 ? bytes[0] : 0u, length);
}

/* The stream has ended, which is the server's doing: it says why. */
static dbi_rc stream_ended(dbi_conn *conn, dbi_err *err) {
    static const char what[] = "replication ended";
    PGresult *result = PQgetResult(dbi_conn_pq(conn)); /* does not wait: the end has been read */
    dbi_rc rc;

    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        rc = dbi_conn_fail(conn, result, err, what);
        if (err != NULL && strcmp(err->sqlstate, "42704") == 0) {
            size_t used = strlen(err->msg);

            (void)snprintf(err->msg + used, sizeof err->msg - used,
                           ". A publication made anew does not hold the changes from before it was made: create it, "
                           "then begin anew with a snapshot (manage.py run_flow --resync)");
        }
    } else {
        rc = dbi_err_set(err, DBI_EUNREACHABLE, "%s: %s closed the stream", what, dbi_conn_place(conn));
    }
    PQclear(result);
    return rc;
}

dbi_rc dbi_replication_next(dbi_conn *conn, dbi_frame *frame, dbi_err *err) {
    char *memory = NULL;
    int length = PQgetCopyData(dbi_conn_pq(conn), &memory, 1);
    dbi_rc rc;

    *frame = (dbi_frame){0};
    if (length == 0)
        return DBI_OK;
    if (length == -1)
        return stream_ended(conn, err);
    if (length < 0)
        return dbi_conn_fail(conn, NULL, err, "reading the replication stream");
    rc = dbi_frame_read((const uint8_t *)memory, (size_t)length, frame, err);
    frame->memory = memory;
    if (rc != DBI_OK)
        dbi_frame_reset(frame);
    return rc;
}

void dbi_frame_reset(dbi_frame *frame) {
    if (frame->memory != NULL)
        PQfreemem(frame->memory);
    *frame = (dbi_frame){0};
}

dbi_rc dbi_replication_receive(dbi_conn *conn, dbi_err *err) {
    if (!PQconsumeInput(dbi_conn_pq(conn)))
        return dbi_conn_fail(conn, NULL, err, "reading the replication stream");
    return DBI_OK;
}

/* --- feedback --- */

void dbi_feedback_write(uint8_t bytes[DBI_FEEDBACK_SIZE], uint64_t written, uint64_t flushed, int64_t wall_us) {
    bytes[0] = 'r';
    write_u64(bytes + 1, written);
    write_u64(bytes + 9, flushed);
    write_u64(bytes + 17, flushed);
    write_u64(bytes + 25, (uint64_t)(wall_us - EPOCH_US));
    bytes[33] = 0;
}

dbi_rc dbi_replication_flush(dbi_conn *conn, bool *more, dbi_err *err) {
    int left = PQflush(dbi_conn_pq(conn));

    *more = left > 0;
    return left >= 0 ? DBI_OK : dbi_conn_fail(conn, NULL, err, "answering the server");
}

dbi_rc dbi_replication_feedback(dbi_conn *conn, uint64_t written, uint64_t flushed, bool *more, dbi_err *err) {
    uint8_t bytes[DBI_FEEDBACK_SIZE];

    dbi_feedback_write(bytes, written, flushed, dbi_clock_wall_us());
    if (PQputCopyData(dbi_conn_pq(conn), (const char *)bytes, (int)sizeof bytes) != 1)
        return dbi_conn_fail(conn, NULL, err, "answering the server");
    return dbi_replication_flush(conn, more, err);
}

dbi_rc dbi_replication_end(dbi_conn *conn, int64_t deadline, dbi_err *err) {
    dbi_rc rc = dbi_conn_copy_end(conn, NULL, deadline, err);
    char *memory = NULL;
    size_t length;

    /* What the server still sends until it has seen the end is not wanted: it will come again. */
    do {
        if (memory != NULL)
            PQfreemem(memory);
        memory = NULL;
        if (rc == DBI_OK)
            rc = dbi_conn_copy_get(conn, deadline, &memory, &length, err);
    } while (memory != NULL);
    return rc;
}
