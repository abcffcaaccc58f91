/* pgoutput.c - see pgoutput.h
 *
 * The format is PostgreSQL's, "Logical Replication Message Formats": numbers in network order, strings up to a NUL.
 *
 *   B  final LSN 8, commit time 8, xid 4
 *   C  flags 1 = 0, commit LSN 8, end LSN 8, commit time 8
 *   O  origin's commit LSN 8, name
 *   R  [xid 4] oid 4, namespace (empty = pg_catalog), name, replica identity 1, columns 2, then for each:
 *      flags 1 (1 = of the identity), name, type 4, typmod 4
 *   Y  [xid 4] oid 4, namespace, name
 *   I  [xid 4] oid 4, 'N' row
 *   U  [xid 4] oid 4, ['K' row | 'O' row] 'N' row
 *   D  [xid 4] oid 4, 'K' row | 'O' row
 *   T  [xid 4] relations 4, flags 1 (1 = cascade, 2 = restart identity), oid 4 each
 *   M  [xid 4] flags 1 (1 = transactional), LSN 8, prefix, length 4, content
 *   S  xid 4, first segment 1       E  nothing
 *   c  xid 4, flags 1 = 0, commit LSN 8, end LSN 8, commit time 8
 *   A  xid 4, subxid 4
 *
 *   row: columns 2, then for each 'n' (null), 'u' (unchanged, not sent), or 't' length 4, bytes
 *
 * Times are microseconds since 2000-01-01 UTC. [xid 4] is there between S and E only.
 */
#include "pgoutput.h"

#include <string.h>

#include "alloc.h"

#define EPOCH_2000_US INT64_C(946684800000000) /* 2000-01-01 since 1970-01-01 */

#define FLAG_IDENTITY 1u
#define FLAG_CASCADE 1u
#define FLAG_RESTART_IDENTITY 2u
#define FLAG_TRANSACTIONAL 1u

typedef struct row_cells {
    dbi_cell *cells;
    unsigned capacity;
} row_cells;

struct dbi_pgoutput {
    bool streamed;
    row_cells old_row, new_row;
    dbi_pgoutput_column *columns;
    unsigned column_capacity;
    uint32_t *oids;
    unsigned oid_capacity;
};

dbi_rc dbi_pgoutput_new(dbi_pgoutput **decoder, dbi_err *err) {
    *decoder = dbi_calloc(1, sizeof **decoder);
    return *decoder != NULL ? DBI_OK : dbi_err_set(err, DBI_ENOMEM, "out of memory for a decoder of changes");
}

void dbi_pgoutput_free(dbi_pgoutput *decoder) {
    if (decoder == NULL)
        return;
    dbi_free(decoder->old_row.cells);
    dbi_free(decoder->new_row.cells);
    dbi_free(decoder->columns);
    dbi_free(decoder->oids);
    dbi_free(decoder);
}

void dbi_pgoutput_reset(dbi_pgoutput *decoder) {
    decoder->streamed = false;
}

void dbi_pgoutput_streamed(dbi_pgoutput *decoder, bool streamed) {
    decoder->streamed = streamed;
}

/* --- reading: what fails is said once, and everything after it reads zero --- */

typedef struct pg_reader {
    const uint8_t *begin, *at, *end;
    char kind;
    dbi_rc rc;
    dbi_err *err;
} pg_reader;

static void reader_fail(pg_reader *reader, const char *what) {
    if (reader->rc == DBI_OK)
        reader->rc = dbi_err_set(reader->err, DBI_ECORRUPT,
                                 "a replication message of kind '%c' (%zu bytes): %s at byte %zu", reader->kind,
                                 (size_t)(reader->end - reader->begin), what, (size_t)(reader->at - reader->begin));
    reader->at = reader->end;
}

static size_t reader_left(const pg_reader *reader) {
    return (size_t)(reader->end - reader->at);
}

static const uint8_t *read_bytes(pg_reader *reader, size_t length, const char *what) {
    const uint8_t *at = reader->at;

    if (reader_left(reader) < length) {
        reader_fail(reader, what);
        return NULL;
    }
    reader->at += length;
    return at;
}

static uint8_t read_byte(pg_reader *reader, const char *what) {
    const uint8_t *at = read_bytes(reader, 1, what);

    return at != NULL ? *at : 0;
}

static uint16_t read_16(pg_reader *reader, const char *what) {
    const uint8_t *at = read_bytes(reader, 2, what);

    if (at == NULL)
        return 0;
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get_32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t read_32(pg_reader *reader, const char *what) {
    const uint8_t *at = read_bytes(reader, 4, what);

    return at != NULL ? get_32(at) : 0;
}

static uint64_t read_64(pg_reader *reader, const char *what) {
    const uint8_t *at = read_bytes(reader, 8, what);

    return at != NULL ? (uint64_t)get_32(at) << 32 | get_32(at + 4) : 0;
}

static int64_t read_time(pg_reader *reader, const char *what) {
    int64_t time = (int64_t)read_64(reader, what);

    if (time > INT64_MAX - EPOCH_2000_US) {
        reader_fail(reader, "a time past the end of time");
        return 0;
    }
    return time + EPOCH_2000_US;
}

static const char *read_string(pg_reader *reader, const char *what) {
    const uint8_t *at = reader->at, *nul = memchr(at, 0, reader_left(reader));

    if (nul == NULL) {
        reader_fail(reader, what);
        return "";
    }
    reader->at = nul + 1;
    return (const char *)at;
}

static void read_no_flags(pg_reader *reader) {
    if (read_byte(reader, "no flags") != 0)
        reader_fail(reader, "unknown flags");
}

/* Makes an array of the decoder's at least so long. */
static bool array_room(pg_reader *reader, void **array, unsigned *capacity, unsigned count, size_t size) {
    void *grown;

    if (count <= *capacity)
        return true;
    grown = dbi_realloc(*array, count * size);
    if (grown == NULL) {
        if (reader->rc == DBI_OK)
            reader->rc =
                dbi_err_set(reader->err, DBI_ENOMEM, "out of memory for a replication message of %u entries", count);
        reader->at = reader->end;
        return false;
    }
    *array = grown;
    *capacity = count;
    return true;
}

/* --- messages --- */

static unsigned read_column_count(pg_reader *reader) {
    unsigned count = read_16(reader, "no number of columns");

    if (count > DBI_RELATION_COLUMNS_MAX) {
        reader_fail(reader, "more columns than a table can have");
        return 0;
    }
    return count;
}

static const dbi_cell *read_row(pg_reader *reader, row_cells *row, unsigned *count) {
    unsigned columns = read_column_count(reader);
    void *array = row->cells;

    *count = columns;
    if (!array_room(reader, &array, &row->capacity, columns != 0 ? columns : 1, sizeof *row->cells))
        return NULL;
    row->cells = array;
    for (unsigned i = 0; i < columns; i++) {
        dbi_cell *cell = &row->cells[i];
        uint8_t kind = read_byte(reader, "the row is cut short");

        cell->length = 0;
        cell->bytes = NULL;
        switch (kind) {
        case 'n':
            cell->kind = DBI_CELL_NULL;
            break;
        case 'u':
            cell->kind = DBI_CELL_UNCHANGED;
            break;
        case 't':
            cell->kind = DBI_CELL_TEXT;
            cell->length = read_32(reader, "a value has no length");
            cell->bytes = read_bytes(reader, cell->length, "a value is longer than the message");
            break;
        default:
            reader_fail(reader, kind == 'b' ? "a binary value, which was not asked for" : "a value of no known kind");
        }
        if (reader->rc != DBI_OK)
            return NULL;
    }
    return row->cells;
}

static void read_change(dbi_pgoutput *decoder, pg_reader *reader, dbi_pgoutput_message *message) {
    dbi_pgoutput_change *change = &message->change;
    uint8_t kind;

    change->relation = read_32(reader, "no relation");
    kind = read_byte(reader, "no row");
    if ((kind == 'K' || kind == 'O') && message->kind != DBI_PGOUTPUT_INSERT) {
        change->has_old = kind == 'K' ? DBI_OLD_KEY : DBI_OLD_FULL;
        change->old_row = read_row(reader, &decoder->old_row, &change->old_count);
        if (message->kind == DBI_PGOUTPUT_DELETE)
            return;
        kind = read_byte(reader, "no new row");
    }
    if (kind != 'N' || message->kind == DBI_PGOUTPUT_DELETE) {
        reader_fail(reader, "a row of another kind than this message has");
        return;
    }
    change->new_row = read_row(reader, &decoder->new_row, &change->new_count);
}

static void read_relation(dbi_pgoutput *decoder, pg_reader *reader, dbi_pgoutput_relation *relation) {
    void *array = decoder->columns;

    relation->oid = read_32(reader, "no relation");
    relation->nspname = read_string(reader, "the schema's name has no end");
    if (relation->nspname[0] == '\0')
        relation->nspname = "pg_catalog";
    relation->relname = read_string(reader, "the table's name has no end");
    relation->identity = (char)read_byte(reader, "no replica identity");
    relation->column_count = read_column_count(reader);
    if (!array_room(reader, &array, &decoder->column_capacity, relation->column_count, sizeof *decoder->columns))
        return;
    decoder->columns = array;
    for (unsigned i = 0; i < relation->column_count; i++) {
        dbi_pgoutput_column *column = &decoder->columns[i];

        column->in_identity = (read_byte(reader, "a column has no flags") & FLAG_IDENTITY) != 0;
        column->name = read_string(reader, "a column's name has no end");
        column->type = read_32(reader, "a column has no type");
        column->typmod = (int32_t)read_32(reader, "a column has no type modifier");
    }
    relation->columns = decoder->columns;
}

static void read_truncate(dbi_pgoutput *decoder, pg_reader *reader, dbi_pgoutput_message *message) {
    uint32_t count = read_32(reader, "no number of relations");
    uint8_t flags = read_byte(reader, "no flags");
    void *array = decoder->oids;

    if (reader_left(reader) / 4 < count) {
        reader_fail(reader, "relations are missing");
        return;
    }
    if (!array_room(reader, &array, &decoder->oid_capacity, count, sizeof *decoder->oids))
        return;
    decoder->oids = array;
    for (uint32_t i = 0; i < count; i++)
        decoder->oids[i] = read_32(reader, "relations are missing");
    message->truncate.cascade = (flags & FLAG_CASCADE) != 0;
    message->truncate.restart_identity = (flags & FLAG_RESTART_IDENTITY) != 0;
    message->truncate.count = count;
    message->truncate.relations = decoder->oids;
}

static void read_commit(pg_reader *reader, dbi_pgoutput_message *message) {
    read_no_flags(reader);
    message->commit.lsn = read_64(reader, "no commit LSN");
    message->commit.end_lsn = read_64(reader, "no end LSN");
    message->commit.commit_us = read_time(reader, "no commit time");
}

static void read_body(dbi_pgoutput *decoder, pg_reader *reader, dbi_pgoutput_message *message) {
    switch (message->kind) {
    case DBI_PGOUTPUT_BEGIN:
        message->begin.final_lsn = read_64(reader, "no final LSN");
        message->begin.commit_us = read_time(reader, "no commit time");
        message->xid = read_32(reader, "no transaction");
        return;
    case DBI_PGOUTPUT_STREAM_COMMIT:
        message->xid = read_32(reader, "no transaction");
        read_commit(reader, message);
        return;
    case DBI_PGOUTPUT_COMMIT:
        read_commit(reader, message);
        return;
    case DBI_PGOUTPUT_ORIGIN:
        message->origin.lsn = read_64(reader, "no LSN");
        message->origin.name = read_string(reader, "the origin's name has no end");
        return;
    case DBI_PGOUTPUT_STREAM_START:
        message->xid = read_32(reader, "no transaction");
        message->stream_start.first = read_byte(reader, "no number of the segment") != 0;
        return;
    case DBI_PGOUTPUT_STREAM_STOP:
        return;
    case DBI_PGOUTPUT_STREAM_ABORT:
        message->xid = read_32(reader, "no transaction");
        message->stream_abort.subxid = read_32(reader, "no subtransaction");
        return;
    case DBI_PGOUTPUT_RELATION:
    case DBI_PGOUTPUT_TYPE:
    case DBI_PGOUTPUT_INSERT:
    case DBI_PGOUTPUT_UPDATE:
    case DBI_PGOUTPUT_DELETE:
    case DBI_PGOUTPUT_TRUNCATE:
    case DBI_PGOUTPUT_MESSAGE:
        break;
    default:
        reader_fail(reader, "no kind that protocol version 2 without two-phase commit knows");
        return;
    }
    if (decoder->streamed)
        message->xid = read_32(reader, "no transaction");
    switch (message->kind) {
    case DBI_PGOUTPUT_RELATION:
        read_relation(decoder, reader, &message->relation);
        return;
    case DBI_PGOUTPUT_TYPE:
        message->type.oid = read_32(reader, "no type");
        message->type.nspname = read_string(reader, "the schema's name has no end");
        if (message->type.nspname[0] == '\0')
            message->type.nspname = "pg_catalog";
        message->type.typname = read_string(reader, "the type's name has no end");
        return;
    case DBI_PGOUTPUT_TRUNCATE:
        read_truncate(decoder, reader, message);
        return;
    case DBI_PGOUTPUT_MESSAGE:
        message->message.transactional = (read_byte(reader, "no flags") & FLAG_TRANSACTIONAL) != 0;
        message->message.lsn = read_64(reader, "no LSN");
        message->message.prefix = read_string(reader, "the prefix has no end");
        message->message.length = read_32(reader, "no length");
        message->message.content = read_bytes(reader, message->message.length, "the content is cut short");
        return;
    default:
        read_change(decoder, reader, message);
    }
}

dbi_rc dbi_pgoutput_read(dbi_pgoutput *decoder, const uint8_t *bytes, size_t length, dbi_pgoutput_message *message,
                         dbi_err *err) {
    pg_reader reader = {.begin = bytes, .at = bytes, .end = bytes + length, .kind = '?', .err = err};
    uint8_t kind;

    memset(message, 0, sizeof *message);
    if (length == 0)
        return dbi_err_set(err, DBI_ECORRUPT, "an empty replication message");
    kind = read_byte(&reader, "no kind");
    reader.kind = kind > ' ' && kind < 127 ? (char)kind : '?';
    message->kind = (dbi_pgoutput_kind)kind;
    read_body(decoder, &reader, message);
    if (reader.rc == DBI_OK && reader.at != reader.end)
        reader_fail(&reader, "more than the message has");
    if (reader.rc != DBI_OK)
        return reader.rc;
    if (message->kind == DBI_PGOUTPUT_STREAM_START)
        decoder->streamed = true;
    else if (message->kind == DBI_PGOUTPUT_STREAM_STOP)
        decoder->streamed = false;
    return DBI_OK;
}
