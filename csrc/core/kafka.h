/* kafka.h - what the producer, the consumer and the admin client have in common: one librdkafka client.
 *
 * A client is opened on its first use, not when it is made: librdkafka starts threads, and threads do not survive a
 * fork. A client made before a fork and first used after it works; one carried over a fork answers DBI_EFORK.
 * Any property of librdkafka passes through. Values that are secrets are never repeated in an error.
 */
#ifndef DBI_KAFKA_H
#define DBI_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef struct dbi_kafka dbi_kafka;

/* One configuration property, as librdkafka names it ("linger.ms"). */
typedef struct dbi_kafka_property {
    const char *name;
    const char *value;
} dbi_kafka_property;

/* One line that librdkafka logged. `level` is syslog's (3 = error, 7 = debug). */
typedef struct dbi_kafka_log {
    int64_t wall_us;
    int level;
    char facility[24];
    char text[232]; /* truncated, never overrun */
} dbi_kafka_log;

/* Which dbi_rc a code of librdkafka or of a broker belongs to. @thread any */
dbi_rc dbi_kafka_rc(rd_kafka_resp_err_t code);

/* Fills *err with "<what>: <librdkafka's text>" and the code; returns its class. @thread any */
dbi_rc dbi_kafka_err(dbi_err *err, rd_kafka_resp_err_t code, const char *fmt, ...) DBI_PRINTF(3, 4);

/* Whether the client was opened by a process that this one was forked from: then it is of no use here. @thread any */
bool dbi_kafka_forked(const dbi_kafka *kafka);

/* Sets what calls that wait for a broker ask every 100 ms, on the caller's thread and with no lock held: anything but
 * DBI_OK ends the wait and is the call's result. Where librdkafka has one blocking call only (metadata, committed
 * offsets, watermarks, a transaction's offsets), it is asked ever less often while no answer comes, at least every 2 s.
 * To be set before the client is used. @thread owner */
void dbi_kafka_set_check(dbi_kafka *kafka, dbi_rc (*check)(void));

/* New SASL user name and password (PLAIN, SCRAM), used from the next authentication on; open connections stay until
 * the broker asks again (connections.max.reauth.ms) or they break. @thread any */
DBI_NODISCARD dbi_rc dbi_kafka_set_credentials(dbi_kafka *kafka, const char *username, const char *password,
                                               dbi_err *err);

/* Hands librdkafka an OAUTHBEARER token, valid until `expires_ms` (since 1970), or the reason why there is none;
 * after a reason it asks again ten seconds later. @thread any */
DBI_NODISCARD dbi_rc dbi_kafka_set_token(dbi_kafka *kafka, const char *token, int64_t expires_ms,
                                         const char *principal, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_kafka_set_token_failure(dbi_kafka *kafka, const char *reason, dbi_err *err);

/* Waits until librdkafka asks for a token. DBI_OK = it does (asked once per request), DBI_ETIMEOUT, DBI_ECLOSED.
 * @thread any @locks kafka */
DBI_NODISCARD dbi_rc dbi_kafka_wait_token_request(dbi_kafka *kafka, int64_t deadline, dbi_err *err);

/* Moves up to `capacity` of the oldest log lines out of the ring; *lost counts the lines that were overwritten since
 * the last call. Returns how many were moved. @thread any @locks kafka */
size_t dbi_kafka_take_logs(dbi_kafka *kafka, dbi_kafka_log *logs, size_t capacity, uint64_t *lost);

/* The latest statistics document (JSON; statistics.interval.ms must be set), to be given to dbi_free; NULL in *json
 * while there is none. @thread any @locks kafka */
DBI_NODISCARD dbi_rc dbi_kafka_stats(dbi_kafka *kafka, char **json, dbi_err *err);

/* The fatal error of the client: its code, or 0; with its text in err. @thread any @locks kafka */
rd_kafka_resp_err_t dbi_kafka_fatal(dbi_kafka *kafka, dbi_err *err);

/* The last error that concerns the client as a whole (no broker reachable, credentials refused), with its text:
 * DBI_OK when all went well since the last success. @thread any @locks kafka */
dbi_rc dbi_kafka_last_error(dbi_kafka *kafka, dbi_err *err);

#endif
