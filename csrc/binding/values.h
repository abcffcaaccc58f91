/* values.h - Python values become the bytes of a tuple: what a stream's methods and RowEncoder share.
 *
 * A dbi_fields is a schema made ready for Python: names interned, classes looked up, call sites remembered. Encoding
 * happens in a dbi_frame: a row, and what is known of the call sites. Encoding may run code of the user (__index__,
 * utcoffset(), finalizers), which may encode by the same dbi_fields again or let another thread do so: who finds the
 * frame in use gets one of its own. A frame keeps its dbi_fields alive, so a stream may replace its fields at any time.
 * Everything here is called with the GIL held.
 */
#ifndef DBI_VALUES_H
#define DBI_VALUES_H

#include "binding.h"
#include "row.h"
#include "schema.h"

typedef struct dbi_fields dbi_fields;
typedef struct dbi_frame dbi_frame;

/* A schema from {name: "type"} (see dbi_column_declare). NULL with ConfigurationError or TypeError set. */
dbi_schema *dbi_schema_from_mapping(const dbi_state *state, const char *nspname, const char *relname,
                                    PyObject *columns);

/* Sets the columns' fills from {name: "null" | "uuid7" | "now"}; NULL or None = none. False with ConfigurationError or
 * TypeError set. */
bool dbi_schema_set_fill(const dbi_state *state, dbi_schema *schema, PyObject *fill);

/* Makes the fields of a stream. The schema is taken, on success and on failure alike. NULL with an exception set. */
dbi_fields *dbi_fields_new(const dbi_state *state, const char *stream, dbi_schema *schema);
/* Gives it up; it lives on as long as a frame is in use. NULL is allowed. */
void dbi_fields_free(dbi_fields *fields);
int dbi_fields_traverse(dbi_fields *fields, visitproc visit, void *arg);
const dbi_schema *dbi_fields_schema(const dbi_fields *fields);

/* Encodes one event from the arguments of a METH_FASTCALL | METH_KEYWORDS method (no positional ones). The tuple is in
 * the frame, valid until dbi_frame_done. NULL with InvalidEventError, or what code of the user raised, set. */
dbi_frame *dbi_fields_encode(dbi_fields *fields, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* The same from a mapping of str to values. */
dbi_frame *dbi_fields_encode_mapping(dbi_fields *fields, PyObject *mapping);

/* The tuple that is in the frame. */
const dbi_row *dbi_frame_row(const dbi_frame *frame);

/* Gives the frame back. NULL is allowed. */
void dbi_frame_done(dbi_frame *frame);

#endif
