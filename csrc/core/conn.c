/* conn.c - see conn.h */
#include "conn.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conn_int.h"
#include "fork_int.h"

/* A COPY is handed to libpq in pieces of this size, each sent before the next: libpq's buffer takes whatever it is
 * given, and would grow to the size of the whole. */
#define COPY_PIECE ((size_t)65536)

/* What TLS has decrypted does not make the socket readable: libpq is asked again after so much time. */
#define TLS_SLICE (50 * DBI_NS_PER_MS)

int dbi_conn_pid(const dbi_conn *conn) {
    return PQbackendPID(conn->pq);
}

bool dbi_conn_lost(const dbi_conn *conn) {
    return conn->lost || conn->fork != dbi__fork_now() || PQstatus(conn->pq) != CONNECTION_OK;
}

PGconn *dbi_conn_pq(const dbi_conn *conn) {
    return conn->pq;
}

uint64_t dbi_conn_number(const dbi_conn *conn) {
    return conn->number;
}

const char *dbi_conn_place(const dbi_conn *conn) {
    return conn->place;
}

/* --- errors --- */

/* The server's message, its first line: what follows could be data. */
static void message_copy(const PGresult *result, const char *fallback, char *text, size_t size) {
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char sqlstate[6];

    if (primary != NULL)
        (void)snprintf(text, size, "%.*s", (int)strcspn(primary, "\n"), primary);
    else
        dbi__conn_message(fallback, text, size, sqlstate);
    if (text[0] == '\0')
        (void)snprintf(text, size, "no reason was given");
}

/* What a result says about the connection itself. */
static void conn_note(dbi_conn *conn, const PGresult *result) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (sqlstate != NULL && strcmp(sqlstate, "25006") == 0)
        conn->refused_write = true;
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        conn->lost = true; /* the server closes it after these words */
    if (PQstatus(conn->pq) != CONNECTION_OK)
        conn->lost = true;
}

dbi_rc dbi_conn_fail(dbi_conn *conn, const PGresult *result, dbi_err *err, const char *what) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    dbi_rc rc = DBI_ESERVER;
    char text[400];

    conn_note(conn, result);
    message_copy(result, PQerrorMessage(conn->pq), text, sizeof text);
    if (sqlstate != NULL && strncmp(sqlstate, "28", 2) == 0)
        rc = DBI_EAUTH;
    else if (conn->lost || (sqlstate != NULL && strncmp(sqlstate, "08", 2) == 0))
        rc = DBI_EUNREACHABLE;
    if (conn->lost)
        rc = dbi_err_set(err, rc, "%s: connection to %s lost: %s", what, conn->place, text);
    else
        rc = dbi_err_set(err, rc, "%s: %s", what, text);
    if (err != NULL && sqlstate != NULL)
        (void)snprintf(err->sqlstate, sizeof err->sqlstate, "%.5s", sqlstate);
    return rc;
}

/* The connection broke: its reason is what the server said last, if libpq has heard it. */
static dbi_rc conn_broken(dbi_conn *conn, const char *what, dbi_err *err) {
    PGresult *result = NULL, *next;
    dbi_rc rc;

    conn->lost = true;
    if (conn->copying) /* libpq looks at errors only after the COPY's end */
        (void)PQputCopyEnd(conn->pq, NULL);
    /* without a socket, PQgetResult waits for nothing */
    while (PQstatus(conn->pq) != CONNECTION_OK && PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL) {
        next = PQgetResult(conn->pq);
        if (next == NULL)
            break;
        PQclear(result);
        result = next;
    }
    rc = dbi_conn_fail(conn, result, err, what);
    PQclear(result);
    return rc;
}

/* Whether the connection can be asked for anything. */
static dbi_rc conn_usable(dbi_conn *conn, const char *what, dbi_err *err) {
    if (conn->fork != dbi__fork_now())
        return dbi_err_set(err, DBI_EFORK, "%s: the connection was opened before a fork, by the parent of this process",
                           what);
    if (conn->lost || PQstatus(conn->pq) != CONNECTION_OK) {
        conn->lost = true;
        return dbi_err_set(err, DBI_EUNREACHABLE, "%s: the connection to %s is lost", what, conn->place);
    }
    return DBI_OK;
}

/* --- waiting --- */

/* Waits for the socket, then takes what has arrived. */
static dbi_rc conn_wait(dbi_conn *conn, short events, int64_t deadline, const char *what, dbi_err *err) {
    int64_t slice = PQsslInUse(conn->pq) ? TLS_SLICE : 0;
    dbi_rc rc = dbi__fd_wait(PQsocket(conn->pq), events, &conn->interrupt, deadline, slice, what, err);

    if (conn->fork != dbi__fork_now()) /* the check let a signal handler fork */
        return conn_usable(conn, what, err);
    if (rc == DBI_OK && !PQconsumeInput(conn->pq))
        return conn_broken(conn, what, err);
    if (rc == DBI_ETIMEOUT)
        return dbi_err_set(err, rc, "%s: %s did not go on before the deadline", what, conn->place);
    return rc;
}

/* Sends what libpq holds, and reads meanwhile. */
static dbi_rc conn_flush(dbi_conn *conn, int64_t deadline, const char *what, dbi_err *err) {
    for (;;) {
        int left = PQflush(conn->pq);
        dbi_rc rc;

        if (left < 0)
            return conn_broken(conn, what, err);
        if (left == 0)
            return DBI_OK;
        rc = conn_wait(conn, POLLIN | POLLOUT, deadline, what, err);
        if (rc != DBI_OK)
            return rc;
    }
}

/* --- statements --- */

static dbi_rc conn_sent(dbi_conn *conn, int sent, int64_t deadline, dbi_err *err) {
    static const char what[] = "sending a statement";

    if (!sent && PQstatus(conn->pq) != CONNECTION_OK)
        return conn_broken(conn, what, err);
    if (!sent && PQtransactionStatus(conn->pq) == PQTRANS_ACTIVE)
        return dbi_err_set(err, DBI_ESTATE, "%s: the one before has not ended", what);
    if (!sent) /* libpq has no memory for it, or too many parameters: nothing was sent */
        return dbi_err_set(err, DBI_EINVAL, "%s: %.*s", what, (int)strcspn(PQerrorMessage(conn->pq), "\n"),
                           PQerrorMessage(conn->pq));
    conn->statements++;
    return conn_flush(conn, deadline, what, err);
}

dbi_rc dbi_conn_send(dbi_conn *conn, const char *sql, int64_t deadline, dbi_err *err) {
    dbi_rc rc = conn_usable(conn, "sending a statement", err);

    return rc == DBI_OK ? conn_sent(conn, PQsendQuery(conn->pq, sql), deadline, err) : rc;
}

dbi_rc dbi_conn_result(dbi_conn *conn, int64_t deadline, PGresult **result, dbi_err *err) {
    static const char what[] = "waiting for a result";
    dbi_rc rc = conn_usable(conn, what, err);

    *result = NULL;
    if (rc != DBI_OK)
        return rc;
    for (;;) {
        int left = PQflush(conn->pq);

        if (left >= 0 && !PQisBusy(conn->pq))
            break;
        rc = left < 0 ? conn_broken(conn, what, err)
                      : conn_wait(conn, left > 0 ? POLLIN | POLLOUT : POLLIN, deadline, what, err);
        if (rc != DBI_OK)
            return rc;
    }
    *result = PQgetResult(conn->pq);
    conn->copying = PQresultStatus(*result) == PGRES_COPY_IN;
    if (PQresultStatus(*result) != PGRES_FATAL_ERROR || *result == NULL)
        return DBI_OK;
    conn_note(conn, *result);
    if (PQresultErrorField(*result, PG_DIAG_SQLSTATE) != NULL || !conn->lost)
        return DBI_OK;
    rc = dbi_conn_fail(conn, *result, err, what); /* libpq's own words: no answer of the server's */
    PQclear(*result);
    *result = NULL;
    return rc;
}

/* Takes all results: the last one is the call's, unless one before was an error. */
static dbi_rc conn_collect(dbi_conn *conn, int64_t deadline, PGresult **last, dbi_err *err) {
    dbi_rc rc, failure = DBI_OK;
    PGresult *result;

    for (;;) {
        dbi_err late;

        rc = dbi_conn_result(conn, deadline, &result, failure == DBI_OK ? err : &late);
        if (rc != DBI_OK || result == NULL)
            break;
        switch (PQresultStatus(result)) {
        case PGRES_FATAL_ERROR:
            if (failure == DBI_OK)
                failure = dbi_conn_fail(conn, result, err, "statement");
            break;
        case PGRES_COPY_IN:
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
            PQclear(result); /* the connection is of no more use: the pool sees that it is in a COPY */
            return dbi_err_set(err, DBI_ESTATE, "statement: COPY needs calls of its own");
        default:
            break;
        }
        PQclear(*last);
        *last = result;
        if (conn->lost)
            break;
    }
    return failure != DBI_OK ? failure : rc;
}

static dbi_rc conn_run(dbi_conn *conn, dbi_rc sent, int64_t deadline, PGresult **result, dbi_err *err) {
    PGresult *last = NULL;
    dbi_rc rc = sent == DBI_OK ? conn_collect(conn, deadline, &last, err) : sent;

    if (rc != DBI_OK || result == NULL) {
        PQclear(last);
        last = NULL;
    }
    if (result != NULL)
        *result = last;
    return rc;
}

dbi_rc dbi_conn_exec(dbi_conn *conn, const char *sql, int64_t deadline, PGresult **result, dbi_err *err) {
    return conn_run(conn, dbi_conn_send(conn, sql, deadline, err), deadline, result, err);
}

dbi_rc dbi_conn_exec_params(dbi_conn *conn, const char *sql, int count, const char *const *values, int64_t deadline,
                            PGresult **result, dbi_err *err) {
    dbi_rc rc = conn_usable(conn, "sending a statement", err);

    if (rc == DBI_OK)
        rc = conn_sent(conn, PQsendQueryParams(conn->pq, sql, count, NULL, values, NULL, NULL, 0), deadline, err);
    return conn_run(conn, rc, deadline, result, err);
}

/* --- COPY --- */

dbi_rc dbi_conn_copy_put(dbi_conn *conn, const void *bytes, size_t length, int64_t deadline, dbi_err *err) {
    static const char what[] = "sending rows";
    const char *at = bytes;
    dbi_rc rc = conn_usable(conn, what, err);

    while (rc == DBI_OK && length > 0) {
        size_t piece = length < COPY_PIECE ? length : COPY_PIECE;
        int taken = PQputCopyData(conn->pq, at, (int)piece);

        if (taken == 0)
            return dbi_err_set(err, DBI_ENOMEM, "%s: no memory for libpq's buffer", what);
        if (taken < 0 && PQstatus(conn->pq) == CONNECTION_OK)
            return dbi_err_set(err, DBI_ESTATE, "%s: the connection is not in a COPY FROM STDIN", what);
        rc = taken < 0 ? conn_broken(conn, what, err) : conn_flush(conn, deadline, what, err);
        at += piece;
        length -= piece;
    }
    return rc;
}

dbi_rc dbi_conn_copy_end(dbi_conn *conn, const char *errormsg, int64_t deadline, dbi_err *err) {
    static const char what[] = "ending a COPY";
    dbi_rc rc = conn_usable(conn, what, err);
    int taken;

    if (rc != DBI_OK)
        return rc;
    taken = PQputCopyEnd(conn->pq, errormsg);
    conn->copying = false;
    if (taken == 0)
        return dbi_err_set(err, DBI_ENOMEM, "%s: no memory for libpq's buffer", what);
    if (taken < 0 && PQstatus(conn->pq) == CONNECTION_OK)
        return dbi_err_set(err, DBI_ESTATE, "%s: the connection is not in a COPY FROM STDIN", what);
    return taken < 0 ? conn_broken(conn, what, err) : conn_flush(conn, deadline, what, err);
}

dbi_rc dbi_conn_copy_get(dbi_conn *conn, int64_t deadline, char **row, size_t *length, dbi_err *err) {
    static const char what[] = "receiving rows";
    dbi_rc rc = conn_usable(conn, what, err);

    *row = NULL;
    *length = 0;
    while (rc == DBI_OK) {
        int got = PQgetCopyData(conn->pq, row, 1);

        if (got > 0)
            *length = (size_t)got;
        if (got > 0 || got == -1)
            return DBI_OK;
        if (got < 0 && PQstatus(conn->pq) == CONNECTION_OK)
            return dbi_err_set(err, DBI_ESTATE, "%s: %.*s", what, (int)strcspn(PQerrorMessage(conn->pq), "\n"),
                               PQerrorMessage(conn->pq));
        rc = got < 0 ? conn_broken(conn, what, err) : conn_wait(conn, POLLIN, deadline, what, err);
    }
    return rc;
}

/* --- for the pool --- */

bool dbi__conn_quiet(dbi_conn *conn) {
    for (int i = 0; i < 16 && !conn->lost; i++) {
        struct pollfd fd = {.fd = PQsocket(conn->pq), .events = POLLIN};

        if (poll(&fd, 1, 0) <= 0)
            break;
        if (!PQconsumeInput(conn->pq))
            conn->lost = true;
    }
    return !conn->lost;
}

dbi_rc dbi__conn_check(dbi_conn *conn, int64_t deadline, dbi_err *err) {
    return dbi_conn_exec(conn, "", deadline, NULL, err);
}

static bool says_on(const dbi_conn *conn, const char *name) {
    const char *value = PQparameterStatus(conn->pq, name);

    return value != NULL && strcmp(value, "on") == 0;
}

/* From PostgreSQL 14 on the server tells both by itself, whenever they change; an older one only refuses to write. */
static bool is_read_only(const dbi_conn *conn) {
    return says_on(conn, "in_hot_standby") || says_on(conn, "default_transaction_read_only");
}

void dbi__conn_begin(dbi_conn *conn) {
    conn->began_read_only = is_read_only(conn);
}

bool dbi__conn_became_read_only(const dbi_conn *conn) {
    return conn->refused_write || (!conn->began_read_only && is_read_only(conn));
}

void dbi__conn_finish(dbi_conn *conn) {
    if (conn->pq == NULL || conn->fork != dbi__fork_now())
        return;
    dbi__step_begin();
    PQfinish(conn->pq);
    conn->pq = NULL;
    dbi__step_end();
}

/* libpq's memory is given up: a thread of the parent may have been in the middle of changing it. */
void dbi__conn_abandon(dbi_conn *conn) {
    int fd = conn->pq != NULL ? PQsocket(conn->pq) : -1;

    if (fd >= 0)
        (void)close(fd);
}
