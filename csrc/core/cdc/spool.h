/* spool.h - where the messages of streamed transactions wait for their commit
 *
 * A spool holds a list of records for each of a few transactions: in memory while all of them together are small, and
 * in a temporary file without a name, one for a transaction, beyond that. Records come back in the order they went in.
 * A file is gone when its transaction is dropped, or its process ends, however it does.
 *
 * A record in memory and in the file: uint32 length, uint64 position, the bytes; numbers in the machine's order.
 */
#ifndef DBI_SPOOL_H
#define DBI_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef struct dbi_spool dbi_spool;

/* `memory` bytes are kept in memory, over all transactions; `directory` (copied) is where files go, NULL = $TMPDIR,
 * else /tmp. A spool belongs to one thread. */
DBI_NODISCARD dbi_rc dbi_spool_new(dbi_spool **spool, size_t memory, const char *directory, dbi_err *err);
void dbi_spool_free(dbi_spool *spool);

/* Adds a record to the transaction, which begins with its first one. DBI_ENOMEM; DBI_ESYS: the file cannot be written,
 * and the transaction's records are to be dropped. */
DBI_NODISCARD dbi_rc dbi_spool_add(dbi_spool *spool, uint32_t xid, uint64_t position, const void *bytes, size_t length,
                                   dbi_err *err);

/* Notes that a subtransaction was rolled back; dbi_spool_aborted tells, after a rewind. */
DBI_NODISCARD dbi_rc dbi_spool_abort(dbi_spool *spool, uint32_t xid, uint32_t subxid, dbi_err *err);
bool dbi_spool_aborted(const dbi_spool *spool, uint32_t xid, uint32_t subxid);

/* Goes to the first record of the transaction. */
void dbi_spool_rewind(dbi_spool *spool, uint32_t xid);

/* The next record, valid until the next call: *bytes NULL when there is no more. */
DBI_NODISCARD dbi_rc dbi_spool_next(dbi_spool *spool, uint32_t xid, uint64_t *position, const uint8_t **bytes,
                                    size_t *length, dbi_err *err);

/* Forgets the transaction, or all of them. */
void dbi_spool_drop(dbi_spool *spool, uint32_t xid);
void dbi_spool_clear(dbi_spool *spool);

/* Bytes that wait, in memory and on disk. */
uint64_t dbi_spool_bytes(const dbi_spool *spool);

#endif
