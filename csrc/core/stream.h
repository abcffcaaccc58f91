/* stream.h - one kind of event on its way into one table.
 *
 * A stream has one lane or more. A lane is a chain of the journal: what goes into it keeps its order, lanes among each
 * other do not. The events themselves are tuples of COPY BINARY, made by whoever calls (row.h).
 *
 * Meta: what each segment of the journal says of the stream that its records belong to, so that they can be shipped
 * when nobody has the stream open. Numbers are little-endian.
 *
 *     at  size  field
 *      0    4   magic "DBSM"
 *      4    2   version, 1
 *      6    2   length of the name, 1 to 127
 *      8    4   length of the packed schema
 *     12    4   CRC32C of all the rest
 *     16    -   the name, UTF-8, no NUL
 *      -    -   the schema (schema.h says how it is packed); it ends the meta
 */
#ifndef DBI_STREAM_H
#define DBI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "journal.h"
#include "mailbox.h"
#include "schema.h"

#define DBI_STREAM_NAME_SIZE 128 /* with the closing NUL */
#define DBI_STREAM_LANES_MAX 64

/* *meta is to be freed by dbi_free. DBI_EINVAL for a name that is empty or too long. @thread any */
DBI_NODISCARD dbi_rc dbi_stream_meta_pack(const char *name, const dbi_schema *schema, uint8_t **meta, size_t *length,
                                          dbi_err *err);

/* Trusts nothing. `name` may be NULL; *schema is to be freed. DBI_ECORRUPT says what does not fit. @thread any */
DBI_NODISCARD dbi_rc dbi_stream_meta_unpack(const void *meta, size_t length, char name[DBI_STREAM_NAME_SIZE],
                                            dbi_schema **schema, dbi_err *err);

typedef struct dbi_stream dbi_stream;

/* What happens to an event for which there is no room in the journal. */
typedef enum dbi_full {
    DBI_FULL_BLOCK,      /* its sender waits */
    DBI_FULL_REJECT,     /* it is refused, and counted */
    DBI_FULL_DROP_OLDEST /* the oldest that have not landed make room, and are counted */
} dbi_full;

typedef struct dbi_stream_config {
    const char *name;
    const dbi_schema *schema; /* copied */
    dbi_durability durability;
    int64_t sync_interval;  /* DBI_DURABILITY_INTERVAL: time between two fsyncs; 100 ms */
    uint32_t batch_size;    /* so many rows are shipped at once; 100 */
    int64_t batch_timeout;  /* fewer are shipped after this time; 1 s */
    uint32_t lanes;         /* 1 to DBI_STREAM_LANES_MAX */
    const char *lane_key;   /* a column: rows that agree in it share a lane; NULL = runs of rows take turns */
    dbi_full when_full;
    int64_t block_timeout;  /* how long a sender waits for room, or for the disk; DBI_FOREVER */
    uint32_t waiting_max;   /* how many may wait; 10,000. One more is refused */
} dbi_stream_config;

void dbi_stream_defaults(dbi_stream_config *config);

/* The columns to encode the next event by: as the stream was opened, or as the table has become since. Valid while the
 * writer lives. @thread any @locks none */
const dbi_schema *dbi_stream_schema(const dbi_stream *stream);

/* Takes one event, encoded by `schema`, which dbi_stream_schema gave. DBI_OK: it is kept as the stream's durability
 * says, but for DBI_DURABILITY_SYNC, where it is kept as for PROCESS. No system call, no wait, no allocation while the
 * journal has a segment ready. DBI_EFULL; DBI_ETOOBIG; DBI_ECLOSED. In a forked child the first call opens a journal of
 * the child's own, and may fail as opening one can. @thread any, but one at a time with another schema @locks chain */
DBI_NODISCARD dbi_rc dbi_stream_append(dbi_stream *stream, const dbi_schema *schema, const void *tuple, size_t length,
                                       dbi_err *err);

/* The same a little quicker, because dbi_writer_close does not wait for it: between dbi_writer_seal and
 * dbi_writer_close the caller waits until none of these calls is in progress. */
DBI_NODISCARD dbi_rc dbi_stream_append_uncounted(dbi_stream *stream, const dbi_schema *schema, const void *tuple,
                                                 size_t length, dbi_err *err);

/* Whether dbi_stream_append keeps all that the configuration promises: false for DBI_DURABILITY_SYNC. */
bool dbi_stream_is_immediate(const dbi_stream *stream);

/* Whether an event for which there is no room may wait for it, by dbi_stream_submit: DBI_FULL_BLOCK. */
bool dbi_stream_may_wait(const dbi_stream *stream);

/* The answer to a submitted event, or to a flush. Comes to its mailbox once; freed by dbi_letter_free. */
typedef struct dbi_receipt {
    dbi_letter letter; /* first: a mailbox gives out letters */
    dbi_err err;       /* of an event: err.rc == DBI_OK, it is taken, and on disk where that is asked for */
    bool flush;        /* it is of a flush */
    uint64_t left;     /* rows that have not landed */
} dbi_receipt;

/* Takes a copy of the event and answers later: when it is in the journal and, with DBI_DURABILITY_SYNC, on disk.
 * Events that wait for room are taken in the order in which they came. On DBI_OK there comes exactly one receipt, with
 * DBI_EFULL when block_timeout passed. `user` comes back in it, and names it until then. @thread any @locks writer */
DBI_NODISCARD dbi_rc dbi_stream_submit(dbi_stream *stream, const dbi_schema *schema, const void *tuple, size_t length,
                                       dbi_mailbox *mailbox, void *user, dbi_err *err);

/* Takes a submitted event back. True: it is not in the journal and no receipt comes; false: it is too late, the receipt
 * comes or has come. @thread any @locks writer */
bool dbi_stream_withdraw(dbi_stream *stream, const void *user);

const char *dbi_stream_name(const dbi_stream *stream);

#endif
