/* schema.h - what a stream's table looks like to COPY BINARY: its columns in the stream's order, and their types.
 *
 * A schema is read from the server's catalogue or declared by hand, kept in the journal beside the rows that were
 * encoded by it, and compared with the table by its fingerprint before they are loaded.
 *
 * Packed form, all numbers little-endian; a string is one byte of length and its bytes (UTF-8, no NUL):
 *
 *     4   magic "dbis"
 *     2   version: 1
 *     2   number of columns, 1 to 1600
 *         string: schema (nspname)
 *         string: table (relname)
 *     then for each column
 *     4   oid of the type; of a domain, that of the type below it
 *     4   oid of the elements of an array, else 0
 *     4   oid of the domain, else 0
 *     4   typmod, signed; -1 = none
 *     1   type, as numbered by DBI_COLUMN_TYPE_MAP; of an array, its elements'
 *     1   flags: 1 = array, 2 = nullable
 *     1   fill, as numbered by DBI_FILL_MAP
 *         string: name
 *         string: type as SQL writes it ("character varying(50)")
 *
 * Nothing follows the last column.
 */
#ifndef DBI_SCHEMA_H
#define DBI_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* What a value is made of in COPY BINARY: X(NAME, number, name). Numbers are in files: they stay. TEXT is
 * also varchar, char(n) and citext, told apart by the oid; ENUM has an oid of the database's own. */
#define DBI_COLUMN_TYPE_MAP(X)                                                                                         \
    X(BOOL, 0, "boolean")                                                                                              \
    X(INT2, 1, "smallint")                                                                                             \
    X(INT4, 2, "integer")                                                                                              \
    X(INT8, 3, "bigint")                                                                                               \
    X(FLOAT4, 4, "real")                                                                                               \
    X(FLOAT8, 5, "double precision")                                                                                   \
    X(NUMERIC, 6, "numeric")                                                                                           \
    X(TEXT, 7, "text")                                                                                                 \
    X(BYTEA, 8, "bytea")                                                                                               \
    X(TIMESTAMPTZ, 9, "timestamp with time zone")                                                                      \
    X(TIMESTAMP, 10, "timestamp without time zone")                                                                    \
    X(DATE, 11, "date")                                                                                                \
    X(UUID, 12, "uuid")                                                                                                \
    X(JSON, 13, "json")                                                                                                \
    X(JSONB, 14, "jsonb")                                                                                              \
    X(INET, 15, "inet")                                                                                                \
    X(CIDR, 16, "cidr")                                                                                                \
    X(ENUM, 17, "enum")                                                                                                \
    X(TIME, 18, "time without time zone")                                                                              \
    X(INTERVAL, 19, "interval")

typedef enum dbi_type {
#define DBI_COLUMN_TYPE_VALUE(name, number, text) DBI_TYPE_##name = (number),
    DBI_COLUMN_TYPE_MAP(DBI_COLUMN_TYPE_VALUE)
#undef DBI_COLUMN_TYPE_VALUE
        DBI_TYPE_COUNT
} dbi_type;

/* What an event that does not give the field gets: X(NAME, number, name). */
#define DBI_FILL_MAP(X)                                                                                                \
    X(NONE, 0, "none") /* it must be given */                                                                          \
    X(NULL, 1, "null")                                                                                                 \
    X(UUID7, 2, "uuid7")                                                                                               \
    X(NOW, 3, "now")

typedef enum dbi_fill {
#define DBI_FILL_VALUE(name, number, text) DBI_FILL_##name = (number),
    DBI_FILL_MAP(DBI_FILL_VALUE)
#undef DBI_FILL_VALUE
        DBI_FILL_COUNT
} dbi_fill;

#define DBI_NAME_SIZE 64       /* PostgreSQL's NAMEDATALEN: 63 bytes and a NUL */
#define DBI_TYPE_NAME_SIZE 288 /* two quoted names at their longest, a typmod, brackets: at most 255 are packed */
#define DBI_COLUMNS_MAX 1600   /* PostgreSQL's MaxHeapAttributeNumber */

typedef struct dbi_column {
    char name[DBI_NAME_SIZE];
    char type_name[DBI_TYPE_NAME_SIZE]; /* format_type(): "character varying(50)"; of a domain, of the type below it */
    uint32_t oid;                       /* of the type; of a domain, of the type below it */
    uint32_t element_oid;               /* of an array's elements; else 0 */
    uint32_t domain_oid;                /* of the domain that the column is declared with; else 0 */
    int32_t typmod;                     /* -1 = none */
    dbi_type type;                      /* of an array, its elements' */
    bool array;
    bool nullable;
    dbi_fill fill;
} dbi_column;

typedef struct dbi_schema {
    char nspname[DBI_NAME_SIZE], relname[DBI_NAME_SIZE];
    unsigned column_count;
    dbi_column *columns;
} dbi_schema;

/* A schema of that many columns, zeroed: to be filled by dbi_column_declare or dbi_column_resolve. DBI_EINVAL: a name
 * that is empty or longer than 63 bytes, or a number of columns that no table has. DBI_ENOMEM. @thread any */
DBI_NODISCARD dbi_rc dbi_schema_new(dbi_schema **schema, const char *nspname, const char *relname, unsigned columns,
                                    dbi_err *err);
DBI_NODISCARD dbi_rc dbi_schema_copy(dbi_schema **copy, const dbi_schema *schema, dbi_err *err);
void dbi_schema_free(dbi_schema *schema);

/* Names of enumerators, for messages: "double precision", "uuid7". */
const char *dbi_type_text(dbi_type type);
const char *dbi_fill_text(dbi_fill fill);

/* Fills a column from SQL text: "varchar(50)", "timestamptz", "int4[]", "text not null". Built-in types only, for these
 * have the same oids everywhere. The column is nullable unless it says "not null"; no fill. DBI_EINVAL names the column
 * and what was not understood. @thread any */
DBI_NODISCARD dbi_rc dbi_column_declare(dbi_column *column, const char *name, const char *type_text, dbi_err *err);

/* Fills type, oid, element_oid, typmod, array and type_name from the catalogue; name must be set, nullable and fill are
 * the caller's to set. `oid`, `typtype` and `element_oid` are pg_type's oid, typtype and (where typcategory is 'A')
 * typelem, `element_typtype` that of the elements. Of a domain, give the type below it, its typtypmod and the domain's
 * own oid as `column->domain_oid` afterwards. DBI_EINVAL, naming column and type: one that cannot be encoded. */
DBI_NODISCARD dbi_rc dbi_column_resolve(dbi_column *column, uint32_t oid, int32_t typmod, char typtype,
                                        uint32_t element_oid, char element_typtype, const char *type_name,
                                        dbi_err *err);

/* Checks what holds for the columns together and for fills: names differ, a fill suits its type (uuid7: uuid; now:
 * timestamptz; null: a nullable column). DBI_EINVAL names the column. @thread any */
DBI_NODISCARD dbi_rc dbi_schema_check(const dbi_schema *schema, dbi_err *err);

/* Writes the packed form into *bytes, the caller's to dbi_free. @thread any */
DBI_NODISCARD dbi_rc dbi_schema_pack(const dbi_schema *schema, uint8_t **bytes, size_t *length, dbi_err *err);

/* Reads a packed form; trusts nothing in it. DBI_ECORRUPT says what is wrong and at which byte. @thread any */
DBI_NODISCARD dbi_rc dbi_schema_unpack(dbi_schema **schema, const uint8_t *bytes, size_t length, dbi_err *err);

/* MD5 of the lines "name:oid:typmod" (of a domain: its own oid, and -1), joined by \n, in the stream's order: what SQL
 * computes as md5(string_agg(format('%s:%s:%s', attname, atttypid, atttypmod), e'\n' ORDER BY …)) of a UTF-8 database.
 * @thread any */
void dbi_schema_fingerprint(const dbi_schema *schema, uint8_t out[16]);

#endif
