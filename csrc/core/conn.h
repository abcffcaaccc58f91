/* conn.h - one connection to PostgreSQL: libpq without blocking, and every wait with a deadline.
 *
 * A connection is got from a pool and given back to it (pool.h); in between it belongs to one thread. What is here
 * waits for the socket, for the deadline, and for whatever the connection was acquired with that may end a wait sooner
 * (dbi_interrupt). Deadlines are points on the system's monotonic clock. While a call sends, it also reads: a server
 * that has something to say before it takes more cannot bring both sides to a standstill.
 *
 * Whatever a call answers but DBI_OK:
 *   DBI_ETIMEOUT      the deadline passed. The statement may still be under way: the same wait may be taken up again
 *                     (dbi_conn_result), or the connection is to be given back, and is then closed.
 *   DBI_EINTR         something ended the wait; as above.
 *   DBI_EUNREACHABLE  the connection is lost. Whether a statement under way was carried out is not known.
 *   DBI_ESERVER, DBI_EAUTH   the server said no; err->sqlstate says why.
 *   DBI_EFORK         the connection belongs to the parent of this process.
 *   DBI_ESTATE, DBI_EINVAL, DBI_ENOMEM   nothing was sent.
 * Messages hold the server's primary message, never its DETAIL, HINT or CONTEXT, which may quote rows; and no password.
 */
#ifndef DBI_CONN_H
#define DBI_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef struct dbi_conn dbi_conn;

/* What may end a wait before its deadline. Zeroed but for fd = -1: nothing does. */
typedef struct dbi_interrupt {
    int fd;                     /* when it becomes readable, waits end with DBI_EINTR; -1 = none */
    dbi_rc (*check)(void *arg); /* asked every 200 ms of a wait, on the waiting thread, with no lock held: anything but
                                   DBI_OK is the call's result. NULL = none */
    void *arg;
} dbi_interrupt;

/* Runs the statements of `sql` (simple protocol) and waits for them. *result (NULL allowed) is the last one's, to be
 * cleared by the caller; NULL when the call fails. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_exec(dbi_conn *conn, const char *sql, int64_t deadline, PGresult **result, dbi_err *err);

/* Runs one statement with `count` parameters as text; NULL is SQL's NULL. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_exec_params(dbi_conn *conn, const char *sql, int count, const char *const *values,
                                          int64_t deadline, PGresult **result, dbi_err *err);

/* Sends the statements of `sql` (simple protocol) without waiting for an answer. After DBI_ETIMEOUT or DBI_EINTR the
 * rest is sent by dbi_conn_result. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_send(dbi_conn *conn, const char *sql, int64_t deadline, dbi_err *err);

/* Waits for the next result. DBI_OK with *result = NULL: there is no more, and the connection can take the next
 * statement. What the server refuses is a result, too (PGRES_FATAL_ERROR), for dbi_conn_fail to tell; PGRES_COPY_IN
 * asks for dbi_conn_copy_put. The result is to be cleared by the caller. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_result(dbi_conn *conn, int64_t deadline, PGresult **result, dbi_err *err);

/* Sends bytes of a COPY FROM STDIN, and returns when the kernel has taken them. A server that refuses the data says so
 * in the result after dbi_conn_copy_end; one that has gone ends the call. After DBI_ETIMEOUT or DBI_EINTR the COPY
 * cannot go on: it is not known how much was sent. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_copy_put(dbi_conn *conn, const void *bytes, size_t length, int64_t deadline,
                                       dbi_err *err);

/* Ends the COPY: as complete, or with `errormsg`, which makes the server fail it. dbi_conn_result has the outcome.
 * @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_copy_end(dbi_conn *conn, const char *errormsg, int64_t deadline, dbi_err *err);

/* Takes the next row of a COPY TO STDOUT, after a result PGRES_COPY_OUT; to be given to PQfreemem. *row = NULL: there is no
 * more, and dbi_conn_result has the outcome. @thread owner @locks none */
DBI_NODISCARD dbi_rc dbi_conn_copy_get(dbi_conn *conn, int64_t deadline, char **row, size_t *length, dbi_err *err);

/* Fills err with "<what>: <the server's primary message>" and the SQLSTATE, and returns the class of the failure:
 * DBI_EAUTH for 28xxx, DBI_EUNREACHABLE for 08xxx and when the connection is lost (the SQLSTATE then says why, where
 * the server said it), else DBI_ESERVER. `result` (NULL = libpq's own message) stays the caller's. @thread owner */
dbi_rc dbi_conn_fail(dbi_conn *conn, const PGresult *result, dbi_err *err, const char *what);

/* The server's process, as pg_stat_activity has it; behind a pooler it is the pooler's number. @thread owner */
int dbi_conn_pid(const dbi_conn *conn);

/* The connection is of no more use. @thread owner */
bool dbi_conn_lost(const dbi_conn *conn);

/* libpq's connection, for what asks nothing of the server (PQparameterStatus, PQserverVersion). @thread owner */
PGconn *dbi_conn_pq(const dbi_conn *conn);

/* From 1 on, and never the same for two connections of a process: what was learnt on a connection is known by it. */
uint64_t dbi_conn_number(const dbi_conn *conn);

/* Where it is connected to: "host:port", or the socket's path. Valid as long as the connection. */
const char *dbi_conn_place(const dbi_conn *conn);

#endif
