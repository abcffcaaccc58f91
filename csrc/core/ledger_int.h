/* ledger_int.h - reading the server's answers, apart from asking: so that any answer can be tried. Trusts nothing. */
#ifndef DBI_LEDGER_INT_H
#define DBI_LEDGER_INT_H

#include "ledger.h"

#define DBI__UUID_TEXT_SIZE 37 /* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and a NUL */

void dbi__uuid_text(const uint8_t id[16], char text[DBI__UUID_TEXT_SIZE]);

/* Each takes the answer to its question and gives DBI_ESERVER, saying what does not fit, for any other; server also
 * that with SQLSTATE 25006 for a standby. */
DBI_NODISCARD dbi_rc dbi__ledger_server(const PGresult *answer, uint8_t identity[16], int64_t *version, dbi_err *err);
DBI_NODISCARD dbi_rc dbi__ledger_entry(const PGresult *answer, dbi_ledger_entry *entry, dbi_err *err);
DBI_NODISCARD dbi_rc dbi__ledger_number(const PGresult *answer, int64_t *number, dbi_err *err);

/* The answer to DBI__COLUMNS_SQL as a schema; names as of dbi_ledger_schema. nspname and relname are for messages, the
 * schema has those of the answer. DBI_EINVAL: no such table or column, or one that cannot be written. */
DBI_NODISCARD dbi_rc dbi__ledger_columns(const PGresult *answer, const char *nspname, const char *relname,
                                         const char *const *names, size_t count, dbi_schema **schema, dbi_err *err);

#define DBI__COLUMNS_FIELDS 14

#endif
