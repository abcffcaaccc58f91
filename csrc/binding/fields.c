/* fields.c - a stream's fields, the frames in which its events are encoded; see values.h */
#include "values_int.h"

#include <time.h>

#include "alloc.h"
#include "uuid.h"

#define SCRATCH_KEPT ((size_t)64 << 10) /* of a frame's buffer between events */
#define NAMES_SHOWN 20                  /* of a stream's fields, in a message */

/* --- frames --- */

static dbi_frame *frame_new(dbi_fields *fields) {
    unsigned columns = fields->schema->column_count;
    dbi_frame *frame = dbi_calloc(1, sizeof *frame + (size_t)DBI__CALL_SITES * columns * sizeof frame->from[0]);

    if (frame == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    frame->fields = fields;
    dbi_row_init(&frame->row, DBI_ROW_MAX);
    frame->row.stream = fields->stream;
    for (unsigned i = 0; i < DBI__CALL_SITES; i++)
        frame->sites[i].from = frame->from + (size_t)i * columns;
    return frame;
}

static void frame_free(dbi_frame *frame) {
    if (frame == NULL)
        return;
    dbi_row_free(&frame->row);
    for (unsigned i = 0; i < DBI__CALL_SITES; i++)
        Py_XDECREF(frame->sites[i].kwnames);
    dbi_free(frame);
}

static dbi_frame *frame_take(dbi_fields *fields) {
    dbi_frame *frame = fields->spare;

    if (frame != NULL)
        fields->spare = NULL;
    else if ((frame = frame_new(fields)) == NULL)
        return NULL;
    fields->users++;
    frame->wall_ns = 0;
    return frame;
}

const dbi_row *dbi_frame_row(const dbi_frame *frame) {
    return &frame->row;
}

void dbi_frame_done(dbi_frame *frame) {
    dbi_fields *fields;

    if (frame == NULL)
        return;
    fields = frame->fields;
    dbi_row_shrink(&frame->row, SCRATCH_KEPT);
    if (fields->spare == NULL)
        fields->spare = frame;
    else
        frame_free(frame);
    dbi_fields_free(fields);
}

/* --- which argument is which field --- */

/* "of stream …", for messages; empty when it has no name. */
#define OF_STREAM(fields)                                                                                              \
    (fields)->stream != NULL ? " of stream \"" : "", (fields)->stream != NULL ? (fields)->stream : "",                 \
        (fields)->stream != NULL ? "\"" : ""

static void raise_unknown(const dbi_fields *fields, PyObject *name) {
    char names[NAMES_SHOWN * (DBI_NAME_SIZE + 2) + 8] = "";
    size_t used = 0;

    for (unsigned i = 0; i < fields->schema->column_count && i < NAMES_SHOWN; i++) {
        int more =
            snprintf(names + used, sizeof names - used, "%s%s", i != 0 ? ", " : "", fields->schema->columns[i].name);

        used += (size_t)more;
    }
    if (fields->schema->column_count > NAMES_SHOWN)
        (void)snprintf(names + used, sizeof names - used, ", …");
    (void)dbi_raise_as(fields->state, DBI_ERROR_INVALID_EVENT,
                       "field \"%S\"%s%s%s: there is no such field; there are %s", name, OF_STREAM(fields), names);
}

static void raise_missing(const dbi_fields *fields, unsigned column) {
    (void)dbi_raise_as(fields->state, DBI_ERROR_INVALID_EVENT, "field \"%s\"%s%s%s: it is missing",
                       fields->schema->columns[column].name, OF_STREAM(fields));
}

static bool must_be_given(const dbi_fields *fields, unsigned column) {
    return fields->schema->columns[column].fill == DBI_FILL_NONE;
}

/* Writes into from[] where each column's value is among the names. */
static bool names_resolve(const dbi_fields *fields, PyObject *kwnames, int16_t *from) {
    unsigned columns = fields->schema->column_count;

    for (unsigned i = 0; i < columns; i++)
        from[i] = -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i), *index = PyDict_GetItemWithError(fields->indexes, name);

        if (index == NULL) {
            if (!PyErr_Occurred())
                raise_unknown(fields, name);
            return false;
        }
        from[PyLong_AsLong(index)] = (int16_t)i;
    }
    for (unsigned i = 0; i < columns; i++)
        if (from[i] < 0 && must_be_given(fields, i)) {
            raise_missing(fields, i);
            return false;
        }
    return true;
}

/* The same names, one by one: calls with **mapping make a tuple anew each time. */
static bool same_names(PyObject *known, PyObject *kwnames) {
    Py_ssize_t size = PyTuple_GET_SIZE(kwnames);

    if (known == NULL || PyTuple_GET_SIZE(known) != size)
        return false;
    for (Py_ssize_t i = 0; i < size; i++)
        if (PyTuple_GET_ITEM(known, i) != PyTuple_GET_ITEM(kwnames, i))
            return false;
    return true;
}

/* Where the columns' values are, from memory where that call was seen lately. NULL with an exception set. */
static const int16_t *site_find(dbi_frame *frame, PyObject *kwnames) {
    call_site *site = &frame->sites[frame->newest];
    PyObject *old;

    if (site->kwnames == kwnames || same_names(site->kwnames, kwnames))
        return site->from;
    for (unsigned i = 0; i < DBI__CALL_SITES; i++)
        if (frame->sites[i].kwnames == kwnames)
            return frame->sites[i].from;
    frame->newest = (frame->newest + 1) % DBI__CALL_SITES;
    site = &frame->sites[frame->newest];
    old = site->kwnames;
    site->kwnames = NULL;
    Py_XDECREF(old);
    if (!names_resolve(frame->fields, kwnames, site->from))
        return NULL;
    site->kwnames = Py_NewRef(kwnames);
    return site->from;
}

/* --- encoding --- */

/* When the event is encoded, in ns since 1970-01-01: one time for all that it is filled with. */
static int64_t frame_wall(dbi_frame *frame) {
    struct timespec now;

    if (frame->wall_ns == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail: the clock is there and the address is good */
        frame->wall_ns = (int64_t)now.tv_sec * DBI_NS_PER_S + now.tv_nsec;
    }
    return frame->wall_ns;
}

/* One for the process, so that ids ascend whichever thread and stream they are for: the GIL guards it. */
static dbi_uuid7_source uuids;

static dbi_put put_fill(dbi_frame *frame, unsigned index) {
    const dbi_column *column = &frame->fields->schema->columns[index];
    int64_t micros;
    uint8_t uuid[16];

    switch (column->fill) {
    case DBI_FILL_NULL:
        return dbi__put_core(frame, dbi_row_null(&frame->row, column, &frame->err));
    case DBI_FILL_UUID7:
        dbi_uuid7(&uuids, frame_wall(frame), uuid);
        return dbi__put_core(frame, dbi_row_uuid(&frame->row, column, uuid, &frame->err));
    case DBI_FILL_NOW:
        micros = frame_wall(frame) / DBI_NS_PER_US;
        if (dbi_row_short_micros(&frame->row, micros))
            return DBI_PUT_DONE;
        return dbi__put_core(frame, dbi_row_micros(&frame->row, column, micros, &frame->err));
    case DBI_FILL_NONE:
    case DBI_FILL_COUNT:
        break;
    }
    raise_missing(frame->fields, index);
    return DBI_PUT_FAILED;
}

/* Most values are short texts: these go past what finds out which way a value goes. */
static inline bool put_short(dbi_frame *frame, unsigned index, PyObject *value) {
    size_t length;

    if (!PyUnicode_CheckExact(value) || !PyUnicode_IS_COMPACT_ASCII(value))
        return false;
    length = (size_t)PyUnicode_GET_LENGTH(value);
    return length - 1 < frame->fields->short_max[index] && dbi_row_short(&frame->row, PyUnicode_1BYTE_DATA(value), length);
}

/* Encodes the values: values[from[i]] of column i, or values[i] where from is NULL. */
static bool frame_encode(dbi_frame *frame, PyObject *const *values, const int16_t *from) {
    const dbi_schema *schema = frame->fields->schema;
    dbi_put done = dbi__put_core(frame, dbi_row_begin(&frame->row, schema->column_count, &frame->err));

    for (unsigned i = 0; done == DBI_PUT_DONE && i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];
        PyObject *value = from == NULL ? values[i] : from[i] >= 0 ? values[from[i]] : NULL;

        if (value != NULL) {
            if (!put_short(frame, i, value))
                done = dbi__put_field(frame, column, value);
        } else if (column->fill != DBI_FILL_NULL || !dbi_row_short_null(&frame->row)) {
            done = put_fill(frame, i);
        }
    }
    return done == DBI_PUT_DONE;
}

dbi_frame *dbi_fields_encode(dbi_fields *fields, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    dbi_frame *frame;
    const int16_t *from;

    if (nargs != 0) {
        (void)PyErr_Format(PyExc_TypeError, "fields are given by name, not by position");
        return NULL;
    }
    frame = frame_take(fields);
    if (frame == NULL)
        return NULL;
    from = site_find(frame, kwnames != NULL ? kwnames : fields->no_names);
    if (from == NULL || !frame_encode(frame, args, from)) {
        dbi_frame_done(frame);
        return NULL;
    }
    return frame;
}

/* Sorts the values of a dict by column; strong references. False with an exception set. */
static bool values_collect(const dbi_fields *fields, PyObject *dict, PyObject **values) {
    Py_ssize_t found = 0, at = 0;
    PyObject *name, *value;

    for (unsigned i = 0; i < fields->schema->column_count; i++) {
        values[i] = Py_XNewRef(PyDict_GetItemWithError(dict, fields->names[i]));
        if (PyErr_Occurred())
            return false;
        if (values[i] == NULL && must_be_given(fields, i)) {
            raise_missing(fields, i);
            return false;
        }
        found += values[i] != NULL;
    }
    if (found == PyDict_GET_SIZE(dict))
        return true;
    while (PyDict_Next(dict, &at, &name, &value)) {
        int known = PyDict_Contains(fields->indexes, name);

        if (known < 0)
            return false;
        if (known == 0) {
            Py_INCREF(name);
            raise_unknown(fields, name);
            Py_DECREF(name);
            return false;
        }
    }
    return true;
}

/* A dict of one's own, which no one else changes: a new reference, NULL with an exception set. */
static PyObject *dict_of(PyObject *mapping) {
    PyObject *dict = PyDict_New();

    if (dict == NULL || PyDict_Update(dict, mapping) == 0)
        return dict;
    if (PyErr_ExceptionMatches(PyExc_AttributeError))
        (void)PyErr_Format(PyExc_TypeError, "fields must be a mapping of str to values, not %s",
                           Py_TYPE(mapping)->tp_name);
    Py_DECREF(dict);
    return NULL;
}

dbi_frame *dbi_fields_encode_mapping(dbi_fields *fields, PyObject *mapping) {
    unsigned columns = fields->schema->column_count;
    dbi_frame *frame = NULL;
    PyObject *dict = dict_of(mapping), **values = NULL;
    bool encoded = false;

    if (dict == NULL)
        goto done;
    values = PyMem_Calloc(columns, sizeof *values);
    if (values == NULL) {
        (void)PyErr_NoMemory();
        goto done;
    }
    frame = frame_take(fields);
    encoded = frame != NULL && values_collect(fields, dict, values) && frame_encode(frame, values, NULL);
done:
    for (unsigned i = 0; values != NULL && i < columns; i++)
        Py_XDECREF(values[i]);
    PyMem_Free(values);
    Py_XDECREF(dict);
    if (!encoded) {
        dbi_frame_done(frame);
        frame = NULL;
    }
    return frame;
}

/* --- fields --- */

/* module.name as a type; NULL with an exception set. */
static PyTypeObject *type_import(const char *module, const char *name) {
    PyObject *from = PyImport_ImportModule(module), *type = NULL;

    if (from != NULL)
        type = PyObject_GetAttrString(from, name);
    Py_XDECREF(from);
    if (type != NULL && !PyType_Check(type)) {
        (void)PyErr_Format(PyExc_TypeError, "%s.%s is not a type", module, name);
        Py_CLEAR(type);
    }
    return (PyTypeObject *)type;
}

static bool has_type(const dbi_schema *schema, dbi_type type) {
    for (unsigned i = 0; i < schema->column_count; i++)
        if (schema->columns[i].type == type)
            return true;
    return false;
}

static bool classes_import(dbi_fields *fields) {
    const dbi_schema *schema = fields->schema;

    if (!dbi__values_ready() || (fields->enum_type = type_import("enum", "Enum")) == NULL)
        return false;
    if (has_type(schema, DBI_TYPE_NUMERIC) && (fields->decimal_type = type_import("decimal", "Decimal")) == NULL)
        return false;
    if (has_type(schema, DBI_TYPE_UUID) && (fields->uuid_type = type_import("uuid", "UUID")) == NULL)
        return false;
    if (!has_type(schema, DBI_TYPE_INET) && !has_type(schema, DBI_TYPE_CIDR))
        return true;
    return (fields->address4_type = type_import("ipaddress", "IPv4Address")) != NULL &&
           (fields->address6_type = type_import("ipaddress", "IPv6Address")) != NULL &&
           (fields->interface4_type = type_import("ipaddress", "IPv4Interface")) != NULL &&
           (fields->interface6_type = type_import("ipaddress", "IPv6Interface")) != NULL &&
           (fields->network4_type = type_import("ipaddress", "IPv4Network")) != NULL &&
           (fields->network6_type = type_import("ipaddress", "IPv6Network")) != NULL;
}

static bool texts_intern(dbi_fields *fields) {
    return (fields->text_int = PyUnicode_InternFromString("int")) != NULL &&
           (fields->text_packed = PyUnicode_InternFromString("packed")) != NULL &&
           (fields->text_prefixlen = PyUnicode_InternFromString("prefixlen")) != NULL &&
           (fields->text_network = PyUnicode_InternFromString("network")) != NULL &&
           (fields->text_network_address = PyUnicode_InternFromString("network_address")) != NULL &&
           (fields->text_scope_id = PyUnicode_InternFromString("scope_id")) != NULL &&
           (fields->text_utcoffset = PyUnicode_InternFromString("utcoffset")) != NULL &&
           (fields->text_value = PyUnicode_InternFromString("value")) != NULL &&
           (fields->no_names = PyTuple_New(0)) != NULL;
}

static bool names_intern(dbi_fields *fields) {
    unsigned columns = fields->schema->column_count;

    fields->names = dbi_calloc(columns, sizeof *fields->names);
    fields->indexes = fields->names != NULL ? PyDict_New() : PyErr_NoMemory();
    if (fields->indexes == NULL)
        return false;
    for (unsigned i = 0; i < columns; i++) {
        PyObject *index = PyLong_FromUnsignedLong(i);
        bool set;

        fields->names[i] = PyUnicode_InternFromString(fields->schema->columns[i].name);
        set =
            index != NULL && fields->names[i] != NULL && PyDict_SetItem(fields->indexes, fields->names[i], index) == 0;
        Py_XDECREF(index);
        if (!set)
            return false;
    }
    return true;
}

dbi_fields *dbi_fields_new(const dbi_state *state, const char *stream, dbi_schema *schema) {
    dbi_fields *fields = dbi_calloc(1, sizeof *fields);
    dbi_err err;

    if (fields == NULL) {
        dbi_schema_free(schema);
        (void)PyErr_NoMemory();
        return NULL;
    }
    fields->users = 1;
    fields->state = state;
    fields->schema = schema;
    if (dbi_schema_check(schema, &err) != DBI_OK) {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%s", err.msg);
        goto failed;
    }
    if (stream != NULL && (fields->stream = dbi_strdup(stream)) == NULL) {
        (void)PyErr_NoMemory();
        goto failed;
    }
    if ((fields->short_max = dbi_calloc(schema->column_count, 1)) == NULL) {
        (void)PyErr_NoMemory();
        goto failed;
    }
    for (unsigned i = 0; i < schema->column_count; i++)
        fields->short_max[i] = dbi_row_short_max(&schema->columns[i]);
    if (texts_intern(fields) && names_intern(fields) && classes_import(fields))
        return fields;
failed:
    dbi_fields_free(fields);
    return NULL;
}

void dbi_fields_free(dbi_fields *fields) {
    if (fields == NULL || --fields->users != 0)
        return;
    frame_free(fields->spare);
    for (unsigned i = 0; fields->names != NULL && i < fields->schema->column_count; i++)
        Py_XDECREF(fields->names[i]);
    dbi_free(fields->names);
    dbi_free(fields->short_max);
    Py_XDECREF(fields->indexes);
    Py_XDECREF(fields->no_names);
    Py_XDECREF(fields->text_int);
    Py_XDECREF(fields->text_packed);
    Py_XDECREF(fields->text_prefixlen);
    Py_XDECREF(fields->text_network);
    Py_XDECREF(fields->text_network_address);
    Py_XDECREF(fields->text_scope_id);
    Py_XDECREF(fields->text_utcoffset);
    Py_XDECREF(fields->text_value);
    Py_XDECREF(fields->enum_type);
    Py_XDECREF(fields->decimal_type);
    Py_XDECREF(fields->uuid_type);
    Py_XDECREF(fields->address4_type);
    Py_XDECREF(fields->address6_type);
    Py_XDECREF(fields->interface4_type);
    Py_XDECREF(fields->interface6_type);
    Py_XDECREF(fields->network4_type);
    Py_XDECREF(fields->network6_type);
    dbi_schema_free(fields->schema);
    dbi_free(fields->stream);
    dbi_free(fields);
}

const dbi_schema *dbi_fields_schema(const dbi_fields *fields) {
    return fields->schema;
}

int dbi_fields_traverse(dbi_fields *fields, visitproc visit, void *arg) {
    if (fields == NULL)
        return 0;
    Py_VISIT(fields->enum_type);
    Py_VISIT(fields->decimal_type);
    Py_VISIT(fields->uuid_type);
    Py_VISIT(fields->address4_type);
    Py_VISIT(fields->address6_type);
    Py_VISIT(fields->interface4_type);
    Py_VISIT(fields->interface6_type);
    Py_VISIT(fields->network4_type);
    Py_VISIT(fields->network6_type);
    return 0;
}
