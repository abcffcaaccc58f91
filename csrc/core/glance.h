/* glance.h - what a sink has to know of a change before it loads it, read from its envelope in one pass
 *
 * The envelope is Debezium's, one JSON object without line breaks: {"before":…,"after":{…},"source":{…},"op":"u",…}. It
 * is not parsed into anything and nothing is allocated: braces and strings are followed, names are compared and hashed as
 * they stand. What is not such an object (also: a line break between its tokens, which would make two lines of one
 * message) is of kind UNKNOWN; whether numbers and escapes are right JSON is left to whoever loads them.
 *
 * A value that the log did not carry (an unchanged TOAST value) stands as a placeholder, which looks differently by type;
 * the caller says how. dbint's own messages name such columns in a header, so that a placeholder without it is data.
 */
#ifndef DBI_GLANCE_H
#define DBI_GLANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dbi_glance_kind {
    DBI_GLANCE_ROW,      /* op c, u, r: a whole row; op d: it is gone */
    DBI_GLANCE_PARTIAL,  /* a row in which values are missing */
    DBI_GLANCE_TRUNCATE, /* op t */
    DBI_GLANCE_LOGICAL,  /* op m: a message, not a change */
    DBI_GLANCE_NULL,     /* no value: a tombstone */
    DBI_GLANCE_UNKNOWN   /* not an envelope */
} dbi_glance_kind;

/* JSON text of a value, as it stands in a message. Borrowed. */
typedef struct dbi_glance_text {
    const void *data;
    size_t length;
} dbi_glance_text;

typedef struct dbi_glance {
    dbi_glance_kind kind;
    char op;            /* as in the envelope; 0 = none */
    bool own;           /* dbint wrote it: source.version begins with "dbint" */
    uint64_t shape;     /* hash of the names in `after`, in their order; 0 = `after` is null or missing */
    uint64_t missing;   /* hash of the names whose value is a placeholder; 0 = none */
} dbi_glance;

/* value NULL is Kafka's null. @thread any */
void dbi_glance_read(dbi_glance *glance, const void *value, size_t length, const dbi_glance_text *placeholders,
                     size_t count);

/* The hash that `missing` becomes for a message whose header lists the columns. Never 0. @thread any */
uint64_t dbi_glance_listed(const void *header, size_t length);

#endif
