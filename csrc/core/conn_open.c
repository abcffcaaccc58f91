/* conn_open.c - opening a connection: libpq's steps under a deadline, then the session's settings */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "conn_int.h"
#include "fork_int.h"

#define OPENING "connecting to PostgreSQL"

/* The server's side of the connection: a client that has gone is noticed within a minute, and its locks are freed. Not
 * among the startup parameters, which a pooler would refuse; settings that this server does not know, and those that
 * its administrator or the conninfo's options have set, are left alone. */
static const char settings_sql[] =
    "SELECT set_config(name, wanted.value, false) FROM pg_catalog.pg_settings JOIN (VALUES "
    "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'), "
    "('tcp_user_timeout', '60000'), ('client_connection_check_interval', '10000')) AS wanted(name, value) "
    "USING (name) WHERE source = 'default'";

/* What the server remarks in passing is nobody's to print. */
static void notice_ignore(void *arg, const PGresult *result) {
    (void)arg;
    (void)result;
}

/* --- libpq's message ---
 *
 * While connecting, libpq does not hand out the SQLSTATE, but shows it, when asked to be verbose:
 *
 *     connection to server at "::1", port 5432 failed: Connection refused
 *     	Is the server running on that host and accepting TCP/IP connections?
 *     connection to server at "127.0.0.1", port 5432 failed: FATAL:  28P01: password authentication failed for user "a"
 *     LOCATION:  auth_failed, auth.c:338
 */

/* Where ":  28P01: " begins in the line; NULL = nowhere. */
static const char *sqlstate_find(const char *line, size_t length) {
    for (size_t i = 0; i + 10 <= length; i++) {
        size_t digits = 0;

        if (strncmp(line + i, ":  ", 3) != 0)
            continue;
        while (digits < 5 &&
               (isdigit((unsigned char)line[i + 3 + digits]) || isupper((unsigned char)line[i + 3 + digits])))
            digits++;
        if (digits == 5 && strncmp(line + i + 8, ": ", 2) == 0)
            return line + i;
    }
    return NULL;
}

/* A hint of libpq, or one of the fields that verbosity adds ("LOCATION:  …"). */
static bool is_aside(const char *line, size_t length) {
    const char *colon = memchr(line, ':', length < 24 ? length : 24);

    return length == 0 || line[0] == '\t' ||
           (colon != NULL && (size_t)(colon - line) + 2 < length && colon[1] == ' ' && colon[2] == ' ');
}

void dbi__conn_message(const char *message, char *text, size_t size, char sqlstate[6]) {
    size_t used = 0;

    text[0] = sqlstate[0] = '\0';
    for (size_t length; *message != '\0'; message += length + (message[length] != '\0')) {
        const char *code, *rest = message;
        size_t head = 0;

        length = strcspn(message, "\n");
        code = sqlstate_find(message, length);
        if (code != NULL) {
            memcpy(sqlstate, code + 3, 5);
            sqlstate[5] = '\0';
            head = (size_t)(code - message);
            while (head > 0 && message[head - 1] != ' ') /* back over the severity */
                head--;
            rest = code + 10;
        } else if (is_aside(message, length)) {
            continue;
        }
        if (used + 1 < size)
            used += (size_t)snprintf(text + used, size - used, "%s%.*s%.*s", used > 0 ? "; " : "", (int)head, message,
                                     (int)(message + length - rest), rest);
    }
}

/* Why there is no connection. */
static dbi_rc open_fail(dbi_conn *conn, dbi_err *err) {
    dbi_rc rc = DBI_EUNREACHABLE;
    char text[400], sqlstate[6];

    dbi__conn_message(PQerrorMessage(conn->pq), text, sizeof text, sqlstate);
    if (strncmp(sqlstate, "28", 2) == 0 || PQconnectionNeedsPassword(conn->pq))
        rc = DBI_EAUTH;
    else if (sqlstate[0] != '\0' && strncmp(sqlstate, "08", 2) != 0)
        rc = DBI_ESERVER;
    rc = dbi_err_set(err, rc, "%s", text[0] != '\0' ? text : OPENING " failed, and no reason was given");
    if (err != NULL)
        memcpy(err->sqlstate, sqlstate, sizeof sqlstate);
    return rc;
}

static void place_set(dbi_conn *conn) {
    const char *host = PQhost(conn->pq), *port = PQport(conn->pq);

    if (host == NULL || port == NULL)
        host = port = "?";
    if (host[0] == '/')
        (void)snprintf(conn->place, sizeof conn->place, "%s/.s.PGSQL.%s", host, port);
    else
        (void)snprintf(conn->place, sizeof conn->place, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

/* libpq's own steps, until it is connected or says why not. */
static dbi_rc open_steps(dbi_conn *conn, const dbi__params *params, int64_t deadline, dbi_err *err) {
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    dbi_rc rc;

    dbi__step_begin();
    conn->pq = PQconnectStartParams(params->keywords, params->values, 0);
    dbi__step_end();
    if (conn->pq == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a connection");
    (void)PQsetNoticeReceiver(conn->pq, notice_ignore, NULL);
    (void)PQsetErrorVerbosity(conn->pq, PQERRORS_VERBOSE);
    if (PQstatus(conn->pq) == CONNECTION_BAD)
        return open_fail(conn, err);
    while (step != PGRES_POLLING_OK) {
        place_set(conn);
        rc = dbi__fd_wait(PQsocket(conn->pq), step == PGRES_POLLING_READING ? POLLIN : POLLOUT, &conn->interrupt,
                          deadline, 0, OPENING, err);
        if (conn->fork != dbi__fork_now())
            return dbi_err_set(err, DBI_EFORK, OPENING ": the process was forked meanwhile");
        if (rc == DBI_ETIMEOUT)
            return dbi_err_set(err, DBI_ETIMEOUT, OPENING ": no connection to %s within the time", conn->place);
        if (rc != DBI_OK)
            return rc;
        dbi__step_begin();
        step = PQconnectPoll(conn->pq);
        dbi__step_end();
        if (step == PGRES_POLLING_FAILED)
            return open_fail(conn, err);
    }
    place_set(conn);
    return DBI_OK;
}

dbi_rc dbi__conn_open(dbi_conn *conn, const dbi__params *params, int64_t deadline, dbi_err *err) {
    dbi_rc rc = open_steps(conn, params, deadline, err);

    if (rc != DBI_OK)
        goto done;
    (void)PQsetErrorVerbosity(conn->pq, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn->pq, 1) != 0) {
        rc = dbi_conn_fail(conn, NULL, err, OPENING);
        goto done;
    }
    rc = dbi_conn_exec(conn, settings_sql, deadline, NULL, err);
    if (rc == DBI_ESERVER) /* it is a connection all the same */
        rc = DBI_OK;
    conn->statements = 0;
    dbi__conn_begin(conn);
done:
    if (rc != DBI_OK)
        dbi__conn_finish(conn);
    return rc;
}
