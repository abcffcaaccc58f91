/* relation.h - what a table looks like to those who read its changes: one dbi_relation for each version of a table
 *
 * Two sources say it. A Relation message of pgoutput has the columns that changes will have, their types, and which of
 * them are the replica identity; it comes before the first change of a table in a session, and again after each ALTER.
 * The catalogue knows the rest: the primary key, and what types that are no built-in ones are (enum, domain, array,
 * composite, of an extension). Whoever has a connection asks dbi_relation_question and feeds the answer in; until that
 * has happened (relation->described), or where it is not possible, the columns of the replica identity stand for the
 * key, and types that are not built in are written as unknown ones.
 *
 * A snapshot has no Relation message: dbi_relations_load makes the relation from the catalogue's answer alone.
 *
 * Text of values is expected as a session with DBI_RELATION_OPTIONS writes it, in UTF-8.
 *
 * A dbi_relations belongs to one thread. A relation is valid until the same table is put or loaded again with another
 * layout, is forgotten, or the cache is freed.
 */
#ifndef DBI_CDC_RELATION_H
#define DBI_CDC_RELATION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* What a session must have set so that the text of its values is what this reader expects: as `options` of a
 * connection (also of a replication connection), and as SQL; client_encoding=UTF8 is asked for besides. */
#define DBI_RELATION_OPTIONS                                                                                           \
    "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC -c extra_float_digits=1 -c bytea_output=hex "          \
    "-c lc_monetary=C"
#define DBI_RELATION_SETTINGS                                                                                          \
    "SET DateStyle=ISO; SET IntervalStyle=postgres; SET TimeZone=UTC; SET extra_float_digits=1; SET bytea_output=hex;" \
    " SET lc_monetary='C'"

#define DBI_RELATION_COLUMNS_MAX 1664 /* MaxTupleAttributeNumber */

/* How a value is written in JSON; docs/flow.md has the table. */
typedef enum dbi_pgkind {
    DBI_PGKIND_UNKNOWN, /* base64 of its text */
    DBI_PGKIND_STRING,  /* a string: text, varchar, bpchar, uuid, json, xml, inet, ranges, enums ... */
    DBI_PGKIND_BOOL,    /* true, false */
    DBI_PGKIND_INT,     /* a number: int2, int4, int8, oid */
    DBI_PGKIND_FLOAT,   /* a number; "NaN", "Infinity", "-Infinity" as strings */
    DBI_PGKIND_NUMERIC, /* a string; "NAN", "POSITIVE_INFINITY", "NEGATIVE_INFINITY" */
    DBI_PGKIND_MONEY,   /* a string without currency and separators */
    DBI_PGKIND_DATE,    /* the temporal types: strings in ISO 8601, in UTC */
    DBI_PGKIND_TIME,
    DBI_PGKIND_TIMETZ,
    DBI_PGKIND_TIMESTAMP,
    DBI_PGKIND_TIMESTAMPTZ,
    DBI_PGKIND_INTERVAL, /* P1Y2M3DT4H5M6.789S */
    DBI_PGKIND_BYTEA,    /* base64 */
    DBI_PGKIND_BIT,      /* bit(1): true, false */
    DBI_PGKIND_BITS,     /* base64 of the bits, little-endian */
    DBI_PGKIND_HSTORE,   /* a string that holds a JSON object */
    DBI_PGKIND_POINT,    /* {"x":, "y":, "wkb":, "srid":} */
    DBI_PGKIND_LINE,     /* {"a":, "b":, "c":} */
    DBI_PGKIND_CIRCLE,   /* {"center": point, "radius":} */
    DBI_PGKIND_LSEG,     /* these four: {"wkb":, "srid":, "extensions": {"type":}} */
    DBI_PGKIND_BOX,
    DBI_PGKIND_PATH,
    DBI_PGKIND_POLYGON,
    DBI_PGKIND_GEOMETRY, /* PostGIS: {"wkb":, "srid":} */
    DBI_PGKIND_VECTOR,   /* pgvector: an array of numbers */
} dbi_pgkind;

typedef struct dbi_relation_column {
    const char *name; /* NUL-terminated UTF-8 */
    uint32_t type;    /* OID, as declared */
    int32_t typmod;   /* -1 = none */
    bool in_identity; /* is part of the replica identity */
    bool in_key;      /* is part of the message's key */
    bool array;       /* the value is an array whose elements are of `kind` */
    dbi_pgkind kind;
    uint32_t base; /* OID that decided on the kind: of the element, and under the domains */
    int32_t base_typmod;
    char delimiter;   /* between elements of an array */
    const char *json; /* "name": as it stands in JSON, with the quotes and the colon */
    size_t json_length;
} dbi_relation_column;

typedef struct dbi_relation {
    uint32_t oid;
    uint32_t version;    /* from 1 on; one more for each change of what stands here */
    const char *nspname; /* NUL-terminated UTF-8 */
    const char *relname;
    char identity;  /* pg_class.relreplident: d, n, f, i */
    bool described; /* the catalogue's answer is in; cleared by each Relation message */
    unsigned column_count;
    dbi_relation_column *columns; /* in the order of a change's values */
    unsigned key_count;           /* 0 = no key: messages have none */
    unsigned *key;                /* indexes into columns, in the key's order */
    const char *json;             /* "schema":"...","table":"..." */
    size_t json_length;
} dbi_relation;

typedef struct dbi_relations dbi_relations;

/* One column of a Relation message; borrowed from the message's bytes: names end with a NUL there. */
typedef struct dbi_pgoutput_column {
    bool in_identity;
    const char *name;
    uint32_t type;
    int32_t typmod;
} dbi_pgoutput_column;

typedef struct dbi_pgoutput_relation {
    uint32_t oid;
    const char *nspname; /* never empty: pg_catalog is filled in */
    const char *relname;
    char identity;
    unsigned column_count;
    const dbi_pgoutput_column *columns;
} dbi_pgoutput_relation;

/* DBI_OK, DBI_ENOMEM. @thread any */
DBI_NODISCARD dbi_rc dbi_relations_new(dbi_relations **relations, dbi_err *err);
void dbi_relations_free(dbi_relations *relations);

/* The table of that OID, or NULL. */
dbi_relation *dbi_relations_find(dbi_relations *relations, uint32_t oid);

/* Forgets all tables (a new session sends its Relation messages again), but not their versions. */
void dbi_relations_clear(dbi_relations *relations);

/* Takes a Relation message in. With the same columns as before, the relation stays what it is but for `described`,
 * which is false after each message: a key or a type may have changed without a trace in the message. DBI_OK,
 * DBI_ENOMEM, DBI_EINVAL (text that is not UTF-8). */
DBI_NODISCARD dbi_rc dbi_relations_put(dbi_relations *relations, const dbi_pgoutput_relation *message,
                                       dbi_relation **relation, dbi_err *err);

/* The question to the catalogue: SQL for a simple query or any driver, no parameters. dbi_relation_sql asks about a
 * table (an answer without rows: there is none); dbi_relation_question besides about the types that a message names,
 * which its columns need no longer have when the answer is given. */
#define DBI_RELATION_SQL_SIZE 8192
void dbi_relation_sql(uint32_t oid, char sql[DBI_RELATION_SQL_SIZE]);
void dbi_relation_question(const dbi_relation *relation, char sql[DBI_RELATION_SQL_SIZE]);

/* Takes the answer in (a PGRES_TUPLES_OK in text). Columns are matched by name: the catalogue is of now, the message of
 * then. A key of which a column is missing in the message is not used: then the replica identity stands for it.
 * An answer without rows (dropped since) leaves the relation as it is, described.
 * The relation keeps its address. DBI_OK, DBI_ENOMEM, DBI_ESERVER (not an answer to that question). */
DBI_NODISCARD dbi_rc dbi_relations_describe(dbi_relations *relations, dbi_relation *relation, const PGresult *answer,
                                            dbi_err *err);

/* Makes a relation from the answer alone, for rows that hold the named columns in that order (count 0 and names NULL:
 * all columns that are not generated, in the table's order). DBI_OK, DBI_ENOMEM, DBI_ESERVER (no such table, no such
 * column, not an answer to that question). */
DBI_NODISCARD dbi_rc dbi_relations_load(dbi_relations *relations, const PGresult *answer, const char *const *names,
                                        unsigned count, dbi_relation **relation, dbi_err *err);

#endif
