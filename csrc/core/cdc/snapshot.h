/* snapshot.h - the rows that a table has now, as messages (op r): the first load of a flow, in chunks
 *
 * A chunk is one transaction, and goes like this:
 *
 *     LOCK TABLE t IN ACCESS SHARE MODE      nobody alters it while the chunk is read
 *     what the table looks like              has that changed since the first chunk, nothing is sent: the caller begins
 *                                            the table again, for rows sent before lack the new column
 *     COPY (SELECT ... WHERE (k) > (last) ORDER BY k LIMIT n) TO STDOUT
 *     COMMIT
 *     wait until all of it is delivered
 *
 * When dbi_table_snapshot_chunk returns, its rows are in Kafka and `key` is the key of the last one: who keeps that goes
 * on behind it, after whatever has happened, and repeats no more than one chunk.
 *
 * Each chunk sees the table at a time of its own. That does no harm: all rows carry the same sequence, `point`, a place
 * in the log before the first of them was read, such that a commit before it is seen by whoever reads after it. What a
 * later commit changed comes, or comes again, with a higher sequence.
 *
 * A table without a key is read as one chunk, so in one statement: chunks by ctid would miss rows that an UPDATE moves
 * from a page not yet read to one already read, and with no key nothing would mend that.
 *
 * Row security is off for these reads (the server refuses them where it would filter): changes do not know it either.
 */
#ifndef DBI_CDC_SNAPSHOT_H
#define DBI_CDC_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cdc/outlet.h"
#include "cdc/pgoutput.h"
#include "conn.h"

typedef struct dbi_table_snapshot dbi_table_snapshot;

/* All is copied, but the outlet, which is the caller's and must outlive the snapshot. */
typedef struct dbi_table_snapshot_config {
    uint32_t oid;        /* of the table */
    const char *nspname; /* its names, unquoted */
    const char *relname;
    bool only;                  /* FROM ONLY: false for a partitioned table, whose partitions are read with it */
    const char *const *columns; /* those that are published; NULL and 0 = all that are not generated */
    unsigned column_count;
    const char *filter;  /* the publication's row filter, as SQL; NULL = none */
    const char *topic;
    const char *prefix;   /* source.name */
    const char *database; /* source.db */
    const char *version;  /* source.version */
    uint64_t point;       /* see above */
    const char *dead_letter_topic; /* where a note goes about a row that is too large for Kafka, as the capture writes it;
                                      NULL = it ends the chunk */
    dbi_outlet *outlet;
} dbi_table_snapshot_config;

/* DBI_OK; DBI_EINVAL (a name that is missing or no UTF-8), DBI_ENOMEM. @thread any */
DBI_NODISCARD dbi_rc dbi_table_snapshot_new(dbi_table_snapshot **snapshot, const dbi_table_snapshot_config *config,
                                            dbi_err *err);
void dbi_table_snapshot_free(dbi_table_snapshot *snapshot);

/* What a chunk came to. Pointers are the snapshot's: valid until its next call. */
typedef struct dbi_table_chunk {
    bool changed;           /* the table does not look like `layout`: nothing was sent */
    bool last;              /* there was nothing behind it when it was read */
    uint64_t rows, bytes;   /* sent; bytes of keys and values */
    uint64_t dead_letters;  /* of the rows: those of which a note was sent in their place */
    const char *layout;     /* what the table looks like, as text: to be given with the next chunk */
    unsigned key_count;     /* 0 = no row was sent, or the table has no key */
    const char *const *key; /* of the last row, values as the server writes them */
} dbi_table_chunk;

/* Reads up to `limit` rows behind `after` (NULL = from the first) and sends them. `layout`: as an earlier chunk had it;
 * NULL for the first. The interrupt is what `conn` was acquired with (NULL = none), and is looked at while the outlet is
 * waited for, too. Whatever it answers but DBI_OK, some of the rows may have been sent; when it was DBI_ETIMEOUT,
 * DBI_EINTR or DBI_EUNREACHABLE the same chunk may be asked for again. DBI_ETOOBIG, DBI_EINVAL: a row cannot be sent as
 * it is, but see dbi_table_snapshot_sort. @thread user of the outlet and owner of conn */
DBI_NODISCARD dbi_rc dbi_table_snapshot_chunk(dbi_table_snapshot *snapshot, dbi_conn *conn,
                                              const dbi_interrupt *interrupt, const char *layout,
                                              const char *const *after, unsigned after_count, uint64_t limit,
                                              int64_t deadline, dbi_table_chunk *chunk, dbi_err *err);

/* After DBI_ETOOBIG: whether a broker has refused messages that were sent together, so that the same chunk is to be
 * asked for once more, which finds out what of it is too large (sorter.h), as every later one does. @thread user of the
 * outlet */
bool dbi_table_snapshot_sort(dbi_table_snapshot *snapshot);

/* Sends that the table was emptied before `point` (op t), into every partition, and waits until that is delivered: rows
 * with an older sequence, that this snapshot has not sent again, are none of the table's any more. To be called behind
 * the last chunk of a table that was sent before. @thread user of the outlet */
DBI_NODISCARD dbi_rc dbi_table_snapshot_sweep(dbi_table_snapshot *snapshot, const dbi_interrupt *interrupt,
                                              int64_t deadline, dbi_err *err);

/* Takes apart one row of COPY's text format, in place: cells point into `row`, whose `length` bytes may end with a line
 * feed. DBI_ECORRUPT: it has not `count` fields. @thread any */
DBI_NODISCARD dbi_rc dbi_copy_row_read(char *row, size_t length, dbi_cell *cells, unsigned count, dbi_err *err);

#endif
