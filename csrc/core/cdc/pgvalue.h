/* pgvalue.h - a value as PostgreSQL writes it in text, as JSON that says the same; inside the core only
 *
 * relation.h has the kinds, docs/flow.md the table of how each is written.
 */
#ifndef DBI_CDC_PGVALUE_H
#define DBI_CDC_PGVALUE_H

#include <locale.h>

#include "out_int.h"
#include "relation.h"

/* What writing values needs besides: buffers for values inside values, the locale in which numbers have a point. */
typedef struct dbi__pgvalues {
    dbi__out element; /* of an array, without its quotes and backslashes */
    dbi__out object;  /* of hstore, or bytes of a shape */
    locale_t plain;   /* the C locale */
} dbi__pgvalues;

DBI_NODISCARD bool dbi__pgvalues_init(dbi__pgvalues *values, size_t max);
void dbi__pgvalues_free(dbi__pgvalues *values);

/* Writes one value that is not null. False when the text is not what its type says: then what was written is to be
 * thrown away. Whether there was room is out->rc. */
DBI_NODISCARD bool dbi__pgvalue_put(dbi__pgvalues *values, dbi__out *out, const dbi_relation_column *column,
                                    const uint8_t *text, size_t length);

/* Writes the placeholder of a value that the server did not send. */
void dbi__pgvalue_put_unavailable(dbi__out *out, const dbi_relation_column *column);

/* The kind of a type: by its OID where it is built in (*array says whether it is an array of that kind; *base its
 * element), else by what the catalogue says: typtype and typname, which may be NULL. */
dbi_pgkind dbi__pgkind_of(uint32_t oid, char typtype, const char *typname, bool *array, uint32_t *base);

#endif
