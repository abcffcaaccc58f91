/* dead.h - dead letters: rows and messages that a server refuses, kept in a file so that the others can land.
 *
 * <journal>/dead/<chain>.jsonl, <chain> being its id in 32 hexadecimal digits; directory 0700, file 0600. JSON lines,
 * in UTF-8, each ended by a newline and in this order of keys:
 *
 *     {"v":1,"chain":"<32 digits>","sequence":17,"stream":"orders","table":["public","orders"],"sqlstate":"22001",
 *      "message":"value too long for type character varying(50)","at":"2026-01-31T12:00:00.000001Z",
 *      "columns":[["id","uuid"],["name","character varying(50)"]],"tuple":"<base64>"}
 *
 * or, of a Kafka message, with the Kafka protocol's name of the error:
 *
 *     {"v":1,"chain":"<32 digits>","sequence":17,"stream":"kafka","topic":"orders","error":"MSG_SIZE_TOO_LARGE",
 *      "message":"Broker: Message size too large","at":"2026-01-31T12:00:00.000001Z","partition":-1,
 *      "timestamp":1767225600000,"id":"019c…","key":"<base64>","value":"<base64>","headers":[["name","<base64>"]]}
 *
 * in which id, key, value and a header's value may be null.
 *
 * `tuple` is one tuple of COPY BINARY, of these columns in their order: int16 number of fields, then each field; no
 * file header or trailer. `message` is the server's primary message; `table` is schema and name.
 *
 *     {"v":1,"chain":"<32 digits>","sequence":17,"withdrawn":true,"at":"2026-01-31T12:00:05.000001Z"}
 *
 * takes the letter back. Letters are on disk before their transaction commits, for a row must not be gone from both
 * sides; so when the commit fails, the row is still in the journal and the letter is in the file. It may be written
 * again, or land after all, when somebody has repaired the table. Hence, for each chain and sequence:
 *
 *   - the last line decides, and
 *   - a letter counts once the chain has landed up to its sequence. Before that the row is also still in the journal.
 *
 * A line that is not whole JSON (a torn one, or an empty one before the next) is to be passed over.
 */
#ifndef DBI_DEAD_H
#define DBI_DEAD_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "schema.h"

struct dbi__message_view; /* producer_record.h */

typedef struct dbi_dead dbi_dead; /* the file of one chain; open only within calls */

/* Touches no file. @thread any */
DBI_NODISCARD dbi_rc dbi_dead_new(dbi_dead **dead, const char *directory, const uint8_t chain[16], dbi_err *err);
void dbi_dead_free(dbi_dead *dead);

/* Finds the letters after sequence `landed`, those of shipments that did not commit. No file: none. DBI_ESYS.
 * @thread one at a time, as all below */
DBI_NODISCARD dbi_rc dbi_dead_load(dbi_dead *dead, uint64_t landed, dbi_err *err);

typedef struct dbi_dead_letter {
    uint64_t sequence;
    const char *stream;
    const dbi_schema *schema;
    const char *sqlstate, *message;
    const uint8_t *tuple;
    size_t length;
    const struct dbi__message_view *kafka; /* of a message; then `error` is set, and not schema, sqlstate, tuple */
    const char *error;
} dbi_dead_letter;

/* A shipment of first..last begins; what was put for an earlier one and has not landed may be withdrawn by this one. */
void dbi_dead_begin(dbi_dead *dead, uint64_t first, uint64_t last);
/* One letter of it. DBI_ESYS, DBI_ENOMEM: it may or may not be in the file. */
DBI_NODISCARD dbi_rc dbi_dead_put(dbi_dead *dead, const dbi_dead_letter *letter, dbi_err *err);
/* To be called before the shipment may commit: withdraws earlier letters of its rows that were not put again, and
 * returns when everything is on disk. Does nothing, at no cost, when there is nothing to write. */
DBI_NODISCARD dbi_rc dbi_dead_sync(dbi_dead *dead, dbi_err *err);
/* It committed: letters up to `last` are final. */
void dbi_dead_landed(dbi_dead *dead, uint64_t last);

#endif
