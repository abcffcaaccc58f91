/* envelope.h - writes a change as the message that Debezium's PostgreSQL connector would send: key and value in JSON
 *
 * docs/flow.md has the format, type by type. Nothing is allocated per row: one buffer per envelope grows to the largest
 * message. Values are text as the server sends it (relation.h says under which settings); what cannot be read as its
 * type says, or is no UTF-8, is refused (DBI_EINVAL names table and column), so that invalid JSON is never written.
 *
 * A dbi_envelope belongs to one thread.
 */
#ifndef DBI_CDC_ENVELOPE_H
#define DBI_CDC_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "pgoutput.h"
#include "relation.h"

#define DBI_ENVELOPE_UNAVAILABLE "__debezium_unavailable_value"
#define DBI_ENVELOPE_HEADER_UNCHANGED "dbint.unchanged" /* names of columns, comma-separated */
#define DBI_ENVELOPE_HEADER_NEWKEY "__debezium.newkey"  /* of the delete of a changed key: the new key as JSON */
#define DBI_ENVELOPE_HEADER_OLDKEY "__debezium.oldkey"  /* of the create that follows it */
#define DBI_ENVELOPE_MAX_DEFAULT (UINT32_C(256) << 20)  /* bytes of a value */

typedef struct dbi_envelope_options {
    const char *name;     /* topic prefix: source.name */
    const char *database; /* source.db */
    const char *version;  /* source.version: "dbint <version>" */
    size_t value_max;     /* bytes; 0 = DBI_ENVELOPE_MAX_DEFAULT */
} dbi_envelope_options;

/* What a message says of its origin. */
typedef struct dbi_origin {
    uint64_t hi;       /* sequence: the transaction's final LSN (begin.final_lsn); of a snapshot the consistent point */
    uint64_t lo;       /* sequence and source.lsn: the change's LSN; of a snapshot the same as hi */
    uint32_t xid;      /* 0 = null */
    int64_t commit_us; /* source.ts_*: commit time; of a snapshot when it was read; since 1970 */
    int64_t captured_us; /* ts_*: now */
    bool snapshot;
} dbi_origin;

/* One message to send. All pointers are the envelope's: valid until its next call. */
typedef struct dbi_envelope_message {
    const uint8_t *key; /* NULL = null */
    size_t key_length;
    const uint8_t *value;
    size_t value_length;
    const char *unchanged; /* for header dbint.unchanged; NULL = none */
    size_t unchanged_length;
    const uint8_t *newkey; /* for header __debezium.newkey; NULL = none */
    size_t newkey_length;
    const uint8_t *oldkey; /* for header __debezium.oldkey; NULL = none */
    size_t oldkey_length;
    char op; /* c u d r t m */
} dbi_envelope_message;

#define DBI_ENVELOPE_MESSAGES_MAX 2

typedef struct dbi_envelope dbi_envelope;

/* DBI_OK, DBI_ENOMEM, DBI_EINVAL (a name that is empty or no UTF-8). */
DBI_NODISCARD dbi_rc dbi_envelope_new(dbi_envelope **envelope, const dbi_envelope_options *options, dbi_err *err);
void dbi_envelope_free(dbi_envelope *envelope);

/* Writes one change as one message, or two: an update that changes the key is a delete of the old key, then a create of
 * the new one. kind is DBI_PGOUTPUT_INSERT, _UPDATE or _DELETE; the rows have as many cells as the relation has
 * columns. DBI_OK; DBI_EINVAL (a row of another width, a value that is not what its type says); DBI_ETOOBIG;
 * DBI_ENOMEM. */
DBI_NODISCARD dbi_rc dbi_envelope_change(dbi_envelope *envelope, const dbi_relation *relation, dbi_pgoutput_kind kind,
                                         const dbi_pgoutput_change *change, const dbi_origin *origin,
                                         dbi_envelope_message messages[DBI_ENVELOPE_MESSAGES_MAX], unsigned *count,
                                         dbi_err *err);

/* Writes a row as it was read (op r); `count` cells. */
DBI_NODISCARD dbi_rc dbi_envelope_row(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *row,
                                      unsigned count, const dbi_origin *origin, dbi_envelope_message *message,
                                      dbi_err *err);

/* Writes that the table was emptied (op t, key null): once per table of a TRUNCATE. */
DBI_NODISCARD dbi_rc dbi_envelope_truncate(dbi_envelope *envelope, const dbi_relation *relation,
                                           const dbi_origin *origin, dbi_envelope_message *message, dbi_err *err);

/* Writes what pg_logical_emit_message sent (op m): key {"prefix":...}, content as base64. */
DBI_NODISCARD dbi_rc dbi_envelope_logical(dbi_envelope *envelope, const char *prefix, const uint8_t *content,
                                          size_t length, const dbi_origin *origin, dbi_envelope_message *message,
                                          dbi_err *err);

#endif
