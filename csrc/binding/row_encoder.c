/* row_encoder.c - RowEncoder: one tuple of COPY BINARY from named values, with no stream and no server. */
#include "values.h"

typedef struct row_encoder_object {
    PyObject_HEAD dbi_fields *fields;
} row_encoder_object;

static PyObject *row_encoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"columns", "fill", "name", NULL};
    dbi_state *state = dbi_state_of(type);
    PyObject *columns, *fill = Py_None;
    const char *name = NULL;
    dbi_schema *schema;
    row_encoder_object *self;

    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|$Oz:RowEncoder", names, &columns, &fill, &name))
        return NULL;
    schema = dbi_schema_from_mapping(state, "public", "row", columns);
    if (schema == NULL)
        return NULL;
    if (!dbi_schema_set_fill(state, schema, fill)) {
        dbi_schema_free(schema);
        return NULL;
    }
    self = (row_encoder_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        dbi_schema_free(schema);
        return NULL;
    }
    self->fields = dbi_fields_new(state, name, schema);
    if (self->fields == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* The tuple as bytes; takes the frame. */
static PyObject *tuple_take(dbi_frame *frame) {
    PyObject *bytes;

    if (frame == NULL)
        return NULL;
    bytes =
        PyBytes_FromStringAndSize((const char *)dbi_frame_row(frame)->bytes, (Py_ssize_t)dbi_frame_row(frame)->length);
    dbi_frame_done(frame);
    return bytes;
}

PyDoc_STRVAR(encode_doc, "encode($self, /, **fields)\n--\n\n"
                         "The event as one tuple of COPY … (FORMAT binary), without the file's header.\n\n"
                         "Raises InvalidEventError, which names the field.");

static PyObject *row_encoder_encode(row_encoder_object *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
    return tuple_take(dbi_fields_encode(self->fields, args, nargs, kwnames));
}

PyDoc_STRVAR(encode_mapping_doc, "encode_mapping($self, fields, /)\n--\n\nThe same from a mapping.");

static PyObject *row_encoder_encode_mapping(row_encoder_object *self, PyObject *mapping) {
    return tuple_take(dbi_fields_encode_mapping(self->fields, mapping));
}

static int row_encoder_traverse(row_encoder_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return dbi_fields_traverse(self->fields, visit, arg);
}

static void row_encoder_dealloc(row_encoder_object *self) {
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    dbi_fields_free(self->fields);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef row_encoder_methods[] = {
    {"encode", (PyCFunction)(void (*)(void))row_encoder_encode, METH_FASTCALL | METH_KEYWORDS, encode_doc},
    {"encode_mapping", (PyCFunction)row_encoder_encode_mapping, METH_O, encode_mapping_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(row_encoder_doc,
             "RowEncoder(columns, *, fill=None, name=None)\n--\n\n"
             "Encodes rows of a table for PostgreSQL's COPY … (FORMAT binary).\n\n"
             "columns maps each column's name to its type as SQL writes it ('varchar(50)', 'timestamptz not null',\n"
             "'int4[]'); built-in types only. fill maps columns that an event need not give to what they get then:\n"
             "'null', 'uuid7' (a UUID of version 7, in ascending order) or 'now'. name stands in messages as that of\n"
             "the stream. Raises ConfigurationError.");

static PyType_Slot row_encoder_slots[] = {
    {Py_tp_doc, (void *)row_encoder_doc},   {Py_tp_new, row_encoder_new},         {Py_tp_dealloc, row_encoder_dealloc},
    {Py_tp_traverse, row_encoder_traverse}, {Py_tp_methods, row_encoder_methods}, {0, NULL},
};

static PyType_Spec row_encoder_spec = {
    .name = "dbint._core.RowEncoder",
    .basicsize = sizeof(row_encoder_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = row_encoder_slots,
};

int dbi_add_row_encoder(PyObject *module, dbi_state *state) {
    state->row_encoder_type = dbi_type_add(module, &row_encoder_spec);
    return state->row_encoder_type != NULL ? 0 : -1;
}
