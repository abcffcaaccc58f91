/* values_int.h - what the files share that turn Python values into a tuple: fields.c, values.c, values_json.c */
#ifndef DBI_VALUES_INT_H
#define DBI_VALUES_INT_H

#include "json.h"
#include "values.h"

#define DBI__CALL_SITES 4

/* A tuple of keyword names, as a call site passes it again and again, and where the columns' values are among them. */
typedef struct call_site {
    PyObject *kwnames; /* NULL = not used */
    int16_t *from;     /* of each column: the number of its argument; -1 = it is filled */
} call_site;

struct dbi_frame {
    dbi_fields *fields;
    dbi_row row;
    unsigned newest;
    call_site sites[DBI__CALL_SITES];
    int64_t wall_ns; /* when the event was encoded; 0 = not asked yet */
    dbi_err err;
    int16_t from[]; /* of the call sites */
};

struct dbi_fields {
    Py_ssize_t users; /* the owner, and frames in use */
    const dbi_state *state;
    dbi_schema *schema;
    char *stream; /* NULL = it has no name */
    uint8_t *short_max; /* of each column: dbi_row_short_max */
    PyObject **names;
    PyObject *indexes; /* dict: name to number of column */
    PyObject *no_names;
    PyObject *text_int, *text_packed, *text_prefixlen, *text_network, *text_network_address, *text_scope_id,
        *text_utcoffset, *text_value;
    PyTypeObject *enum_type;
    PyTypeObject *decimal_type, *uuid_type; /* NULL where no column has a use for them; so the rest */
    PyTypeObject *address4_type, *address6_type, *interface4_type, *interface6_type, *network4_type, *network6_type;
    dbi_frame *spare;
};

/* How writing a value ended. */
typedef enum dbi_put {
    DBI_PUT_DONE,
    DBI_PUT_FAILED, /* an exception is set */
    DBI_PUT_OTHER,  /* the value is not of the column's type; nothing was written */
} dbi_put;

/* To be called before the first value is written; false with an exception set. */
bool dbi__values_ready(void);

/* Writes one value, or an array of them, into the frame's row. */
dbi_put dbi__put_field(dbi_frame *frame, const dbi_column *column, PyObject *value);

/* Writes a value as JSON text. */
dbi_put dbi__put_json(dbi_frame *frame, const dbi_column *column, PyObject *value);

/* Raises what the core said in frame->err, unless it said DBI_OK. */
dbi_put dbi__put_core(dbi_frame *frame, dbi_rc rc);

/* Refuses the value for that reason. */
dbi_put dbi__put_refused(dbi_frame *frame, const dbi_column *column, const char *why);

/* Code of the user's raised: what it said becomes the cause of an InvalidEventError. What is no error of the value,
 * such as MemoryError and KeyboardInterrupt, goes on as it is. */
dbi_put dbi__put_raised(dbi_frame *frame, const dbi_column *column);

/* Refuses the value for its class. */
dbi_put dbi__put_wrong_type(dbi_frame *frame, const dbi_column *column, PyObject *value);

/* The digits of an int, a new reference; NULL with InvalidEventError or another set. */
PyObject *dbi__int_digits(dbi_frame *frame, const dbi_column *column, PyObject *number);

static inline bool dbi__is_a(PyObject *value, PyTypeObject *type) {
    return PyType_IsSubtype(Py_TYPE(value), type);
}

/* numpy's scalars, told by name: dbint does not import numpy. "bool" or "bool_", "float16", "float32". */
static inline bool dbi__is_numpy(PyObject *value, const char *name) {
    const char *type = Py_TYPE(value)->tp_name;

    return strncmp(type, "numpy.", 6) == 0 && strncmp(type + 6, name, strlen(name)) == 0;
}

static inline bool dbi__str_ready(PyObject *text) {
#if PY_VERSION_HEX < 0x030c0000
    return PyUnicode_READY(text) == 0;
#else
    (void)text;
    return true;
#endif
}

#endif
