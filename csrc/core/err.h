/* err.h - result codes and the error detail that goes with them.
 *
 * A fallible call returns a dbi_rc: DBI_OK (0) or a negative code. Detail (what, where, the server's own code) goes to
 * an optional, caller-owned dbi_err; filling one never allocates and never fails.
 */
#ifndef DBI_ERR_H
#define DBI_ERR_H

#include <stdarg.h>

#if defined(__GNUC__)
#define DBI_NODISCARD __attribute__((warn_unused_result))
#define DBI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define DBI_NODISCARD
#define DBI_PRINTF(fmt, args)
#endif

/* The one list of codes: X(NAME, value, text). Values are stable: they appear in logs. */
#define DBI_RC_MAP(X)                                                                                                  \
    X(OK, 0, "ok")                                                                                                     \
    X(ENOMEM, -1, "out of memory")                                                                                     \
    X(EINVAL, -2, "invalid argument")                                                                                  \
    X(ESTATE, -3, "not possible in this state")                                                                        \
    X(ETIMEOUT, -4, "deadline passed")                                                                                 \
    X(EFULL, -5, "full")                                                                                               \
    X(ETOOBIG, -6, "too large")                                                                                        \
    X(ECLOSED, -7, "closed")                                                                                           \
    X(EOPEN, -8, "circuit breaker is open")                                                                            \
    X(ESYS, -9, "operating system error")                                                                              \
    X(ECONFIG, -10, "bad configuration")                                                                               \
    X(EKAFKA, -11, "Kafka error")                                                                                      \
    X(EKAFKA_RETRIABLE, -12, "Kafka error that may pass")                                                              \
    X(EKAFKA_ABORT, -13, "Kafka transaction must be aborted")                                                          \
    X(EKAFKA_FATAL, -14, "fatal Kafka error: the client must be made anew")                                            \
    X(EAUTH, -15, "authentication failed")                                                                             \
    X(EUNREACHABLE, -16, "server unreachable")                                                                         \
    X(EFORK, -17, "handle belongs to another process (fork)")                                                          \
    X(EINTR, -18, "interrupted")                                                                                       \
    X(ESERVER, -19, "the server refused or failed")                                                                    \
    X(ECORRUPT, -20, "stored data is damaged")                                                                         \
    X(EHELD, -21, "held until somebody acts")

typedef enum dbi_rc {
#define DBI_RC_ENUM(name, value, text) DBI_##name = (value),
    DBI_RC_MAP(DBI_RC_ENUM)
#undef DBI_RC_ENUM
} dbi_rc;

/* Where an error came from, in full. All strings are NUL-terminated and safe to show: never a secret. */
typedef struct dbi_err {
    dbi_rc rc;
    int sys;          /* errno, or 0 */
    int kafka;        /* rd_kafka_resp_err_t, or 0 */
    char sqlstate[6]; /* PostgreSQL's SQLSTATE, or "" */
    char msg[512];    /* a sentence; truncated, never overrun */
} dbi_err;

/* "DBI_ENOMEM" and "out of memory"; "unknown" for a value that is not in the list. @thread any */
const char *dbi_rc_name(dbi_rc rc);
const char *dbi_rc_text(dbi_rc rc);

/* Sets *err to "no error". NULL is allowed everywhere an err is taken. @thread any */
void dbi_err_reset(dbi_err *err);

/* Fills *err and returns rc, so that `return dbi_err_set(err, DBI_EINVAL, "…")` reads as one thing.
 * The previous content is replaced. @thread any */
dbi_rc dbi_err_set(dbi_err *err, dbi_rc rc, const char *fmt, ...) DBI_PRINTF(3, 4);

/* The same with errno's number and text appended (sys is the errno to report). @thread any */
dbi_rc dbi_err_sys(dbi_err *err, dbi_rc rc, int sys, const char *fmt, ...) DBI_PRINTF(4, 5);

#endif
