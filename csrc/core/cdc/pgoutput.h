/* pgoutput.h - reads the messages of PostgreSQL's logical replication plugin, protocol versions 1 and 2
 *
 * One call reads one message: what a CopyData message of kind 'w' holds after its header of 25 bytes. Nothing is
 * copied: names and values point into the bytes given, and are valid as long as those are; arrays are the decoder's,
 * and valid until its next call. No byte past the end is looked at; a message that is cut short, too long, or says what
 * cannot be is refused whole (DBI_ECORRUPT), with what was expected and at which byte.
 *
 * Streamed transactions (version 2): between Stream Start and Stream Stop, messages of changes, relations and types
 * begin with the (sub)transaction's id. The decoder follows that by itself in the order of the wire. Who puts the bytes
 * aside to read them after Stream Commit says so: dbi_pgoutput_streamed.
 */
#ifndef DBI_CDC_PGOUTPUT_H
#define DBI_CDC_PGOUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "relation.h"

/* A value of a row. */
typedef enum dbi_cell_kind {
    DBI_CELL_NULL,
    DBI_CELL_UNCHANGED, /* stored out of line and not touched by the update: the server does not send it */
    DBI_CELL_TEXT,
} dbi_cell_kind;

typedef struct dbi_cell {
    dbi_cell_kind kind;
    uint32_t length;
    const uint8_t *bytes; /* not terminated; NULL unless text */
} dbi_cell;

/* The first byte of a message. */
typedef enum dbi_pgoutput_kind {
    DBI_PGOUTPUT_BEGIN = 'B',
    DBI_PGOUTPUT_COMMIT = 'C',
    DBI_PGOUTPUT_ORIGIN = 'O',
    DBI_PGOUTPUT_RELATION = 'R',
    DBI_PGOUTPUT_TYPE = 'Y',
    DBI_PGOUTPUT_INSERT = 'I',
    DBI_PGOUTPUT_UPDATE = 'U',
    DBI_PGOUTPUT_DELETE = 'D',
    DBI_PGOUTPUT_TRUNCATE = 'T',
    DBI_PGOUTPUT_MESSAGE = 'M',
    DBI_PGOUTPUT_STREAM_START = 'S',
    DBI_PGOUTPUT_STREAM_STOP = 'E',
    DBI_PGOUTPUT_STREAM_COMMIT = 'c',
    DBI_PGOUTPUT_STREAM_ABORT = 'A',
} dbi_pgoutput_kind;

/* Which old row a change has. */
typedef enum dbi_old_row {
    DBI_OLD_NONE,
    DBI_OLD_KEY,  /* 'K': the replica identity's columns; the others are null */
    DBI_OLD_FULL, /* 'O': replica identity full */
} dbi_old_row;

typedef struct dbi_pgoutput_change {
    uint32_t relation;   /* OID */
    dbi_old_row has_old; /* of update and delete */
    unsigned old_count, new_count;
    const dbi_cell *old_row; /* NULL when there is none */
    const dbi_cell *new_row; /* NULL for delete */
} dbi_pgoutput_change;

/* Times are microseconds since 1970-01-01 UTC. */
typedef struct dbi_pgoutput_message {
    dbi_pgoutput_kind kind;
    uint32_t xid; /* of begin and the stream messages; inside a stream: of the (sub)transaction that made the change;
                   * else 0 */
    union {
        struct {
            uint64_t final_lsn; /* start of the commit record */
            int64_t commit_us;
        } begin;
        struct {              /* commit and stream commit */
            uint64_t lsn;     /* start of the commit record */
            uint64_t end_lsn; /* what may be confirmed */
            int64_t commit_us;
        } commit;
        struct {
            uint64_t lsn;
            const char *name;
        } origin;
        struct {
            uint32_t oid;
            const char *nspname, *typname;
        } type;
        dbi_pgoutput_relation relation;
        dbi_pgoutput_change change; /* insert, update, delete */
        struct {
            bool cascade, restart_identity;
            unsigned count;
            const uint32_t *relations; /* OIDs */
        } truncate;
        struct {
            bool transactional;
            uint64_t lsn;
            const char *prefix;
            const uint8_t *content;
            size_t length;
        } message;
        struct {
            bool first; /* segment of its transaction */
        } stream_start;
        struct {
            uint32_t subxid; /* == xid: the whole transaction is undone */
        } stream_abort;
    };
} dbi_pgoutput_message;

typedef struct dbi_pgoutput dbi_pgoutput;

/* DBI_OK, DBI_ENOMEM. @thread one at a time */
DBI_NODISCARD dbi_rc dbi_pgoutput_new(dbi_pgoutput **decoder, dbi_err *err);
void dbi_pgoutput_free(dbi_pgoutput *decoder);

/* Outside of any stream, as at the start of a session. */
void dbi_pgoutput_reset(dbi_pgoutput *decoder);

/* Says that the messages that follow were sent inside a stream (true), or were not (false). */
void dbi_pgoutput_streamed(dbi_pgoutput *decoder, bool streamed);

/* DBI_OK; DBI_ECORRUPT; DBI_ENOMEM. Allocates only for a table with more columns, or a TRUNCATE or Relation message
 * with more entries, than any before. */
DBI_NODISCARD dbi_rc dbi_pgoutput_read(dbi_pgoutput *decoder, const uint8_t *bytes, size_t length,
                                       dbi_pgoutput_message *message, dbi_err *err);

#endif
