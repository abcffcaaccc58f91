/* ledger.h - what the target database knows of the chains of the journal: schema `dbint`, and how it is spoken to.
 *
 * dbint.server: one row, with the identity of this database and the version of what is installed. Physical copies carry
 * it along, so it is the same after a failover, and another one in another database.
 *
 * dbint.chains: one row per chain, with the last sequence that has been committed (`last`), and how many rows up to
 * there went to the dead letters instead (`dead`).
 *
 * dbint.guard(identity, relation, fingerprint, names) begins a shipment. Is this the right database (else SQLSTATE
 * DBI03), is it no standby (else 25006), and is the table still what the rows were encoded for (else DBI02)? Locks the
 * table ROW EXCLUSIVE, so that it stays so. Raises synchronous_commit to `on` where it is weaker, and limits waiting
 * for locks and for a client that is gone, where nothing limits it. Answers with the pid of the backend.
 *
 * dbint.advance(chain, expected, new, dead) ends a shipment: moves the chain from `expected` to `new`, else DBI01.
 *
 * dbint.end_shipments(chain) terminates the backends that are still busy with a shipment of the chain, and counts them.
 *
 * dbint.collect_chains(older_than) forgets chains that have not moved for that long; how many they were.
 *
 * Fingerprint: "name:oid:typmod" of each column of the stream, in its order, joined by "\n". The text itself and no
 * hash of it: MD5 does not exist in databases that run under FIPS rules.
 *
 * What ships marks its statements with a comment at their start, DBI_LEDGER_MARK and the chain's id, by which
 * end_shipments finds them in pg_stat_activity: so also what a process left behind that is dead by now.
 *
 * PostgreSQL 13 or later. Sequences are int8 in SQL: up to INT64_MAX.
 */
#ifndef DBI_LEDGER_H
#define DBI_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "err.h"
#include "schema.h"

#define DBI_LEDGER_VERSION 1
#define DBI_LEDGER_MARK "/* dbint "

#define DBI_SQLSTATE_ADVANCED "DBI01" /* the chain is not where it was expected */
#define DBI_SQLSTATE_CHANGED "DBI02"  /* the table is not what the rows were encoded for */
#define DBI_SQLSTATE_NO_LEDGER "42P01" /* the ledger is not installed */
#define DBI_SQLSTATE_TARGET "DBI03"   /* another database */

/* The whole of it as SQL: idempotent, brings any older version up to this one, one transaction. @thread any */
const char *dbi_ledger_sql(void);

/* Makes sure that the ledger is installed in the right version, and reads the identity. With `install` it is installed
 * or brought up to date where that is needed and allowed. DBI_ESERVER with 25006: a standby. DBI_EHELD: not installed
 * (DBI_SQLSTATE_NO_LEDGER), too old, too new, or no right to use it: the message says what to run.
 * @thread as the conn */
DBI_NODISCARD dbi_rc dbi_ledger_prepare(dbi_conn *conn, bool install, int64_t deadline, uint8_t identity[16],
                                        dbi_err *err);

/* Where a chain is. */
typedef struct dbi_ledger_entry {
    bool found;
    uint64_t last, dead;
    int64_t collected_before_us; /* chains that stood still since then (wall time) may have been forgotten; INT64_MIN */
} dbi_ledger_entry;

/* What people who read dbint.chains are told of one. */
typedef struct dbi_ledger_chain {
    const char *stream, *relation, *slot;
    uint32_t lane;
} dbi_ledger_chain;

/* Writes the chain's row, in a transaction of its own, unless there is one. It starts with 0 and 0, but where it was
 * forgotten by collect_chains. @thread as the conn */
DBI_NODISCARD dbi_rc dbi_ledger_register(dbi_conn *conn, const uint8_t chain[16], const dbi_ledger_chain *about,
                                         const dbi_ledger_entry *start, int64_t deadline, dbi_err *err);

/* @thread as the conn */
DBI_NODISCARD dbi_rc dbi_ledger_read(dbi_conn *conn, const uint8_t chain[16], int64_t deadline, dbi_ledger_entry *entry,
                                     dbi_err *err);

/* Terminates the backends that are busy with the chain (*ended of them), this conn's own left out, and waits until none
 * is to be seen, or nearly until the deadline: then *left is not 0, which is no error. cancel_fd as of
 * dbi_pool_acquire. @thread as the conn */
DBI_NODISCARD dbi_rc dbi_ledger_end_shipments(dbi_conn *conn, const uint8_t chain[16], int cancel_fd, int64_t deadline,
                                              unsigned *ended, unsigned *left, dbi_err *err);

/* The columns of a table, from the catalogue. nspname NULL or "" = where search_path finds it. With names (count > 0)
 * exactly these, in this order. Without: all that an event gives, in the table's order. Left out are generated columns,
 * and those whose default is neither an id nor a time, so that the server fills them. A uuid column with a random or
 * time-ordered default gets DBI_FILL_UUID7, a time with the default now() DBI_FILL_NOW, one that may be NULL
 * DBI_FILL_NULL. DBI_EINVAL names the table, the column or the type that does not do. @thread as the conn */
DBI_NODISCARD dbi_rc dbi_ledger_schema(dbi_conn *conn, const char *nspname, const char *relname,
                                       const char *const *names, size_t count, int64_t deadline, dbi_schema **schema,
                                       dbi_err *err);

/* "name:oid:typmod\n…", NUL-terminated, to be given to dbi_free; NULL when memory is out. @thread any */
char *dbi_ledger_fingerprint(const dbi_schema *schema);

#endif
