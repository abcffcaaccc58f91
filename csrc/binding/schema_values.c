/* schema_values.c - schemas from mappings of Python; see values.h */
#include "values.h"

/* {str: str} as a list of pairs, checked; a new reference, NULL with TypeError set. */
static PyObject *pairs_of(PyObject *mapping, const char *what) {
    PyObject *items = PyMapping_Items(mapping);

    if (items == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError))
            (void)PyErr_Format(PyExc_TypeError, "%s must be a mapping of str to str, not %s", what,
                               Py_TYPE(mapping)->tp_name);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);

        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(item, 0)) ||
            !PyUnicode_Check(PyTuple_GET_ITEM(item, 1))) {
            (void)PyErr_Format(PyExc_TypeError, "%s must be a mapping of str to str", what);
            Py_DECREF(items);
            return NULL;
        }
    }
    return items;
}

/* A str without a NUL in it; NULL with ConfigurationError or another set. */
static const char *plain_text(const dbi_state *state, PyObject *text) {
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);

    if (utf8 != NULL && strlen(utf8) != (size_t)length) {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%R holds a NUL character", text);
        return NULL;
    }
    return utf8;
}

dbi_schema *dbi_schema_from_mapping(const dbi_state *state, const char *nspname, const char *relname,
                                    PyObject *columns) {
    PyObject *items = pairs_of(columns, "columns");
    dbi_schema *schema = NULL;
    bool declared = false;
    dbi_err err = {0};

    if (items == NULL)
        return NULL;
    if (PyList_GET_SIZE(items) > DBI_COLUMNS_MAX) {
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "columns: a stream has at most %d", DBI_COLUMNS_MAX);
        goto done;
    }
    if (dbi_schema_new(&schema, nspname, relname, (unsigned)PyList_GET_SIZE(items), &err) != DBI_OK)
        goto done;
    for (unsigned i = 0; i < schema->column_count; i++) {
        PyObject *item = PyList_GET_ITEM(items, (Py_ssize_t)i);
        const char *name = plain_text(state, PyTuple_GET_ITEM(item, 0));
        const char *type_text = name != NULL ? plain_text(state, PyTuple_GET_ITEM(item, 1)) : NULL;

        if (type_text == NULL || dbi_column_declare(&schema->columns[i], name, type_text, &err) != DBI_OK)
            goto done;
    }
    declared = true;
done:
    Py_DECREF(items);
    if (declared)
        return schema;
    dbi_schema_free(schema);
    if (!PyErr_Occurred() && err.rc == DBI_ENOMEM)
        (void)PyErr_NoMemory();
    else if (!PyErr_Occurred())
        (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "%s", err.msg);
    return NULL;
}

/* The fill of that name; DBI_FILL_COUNT when there is none. */
static dbi_fill fill_named(PyObject *text) {
#define FILL_NAMED(name, number, text_)                                                                                \
    if (PyUnicode_CompareWithASCIIString(text, text_) == 0)                                                            \
        return DBI_FILL_##name;
    DBI_FILL_MAP(FILL_NAMED)
#undef FILL_NAMED
    return DBI_FILL_COUNT;
}

static dbi_column *column_named(dbi_schema *schema, PyObject *name) {
    const char *utf8 = PyUnicode_AsUTF8(name);

    for (unsigned i = 0; utf8 != NULL && i < schema->column_count; i++)
        if (strcmp(schema->columns[i].name, utf8) == 0)
            return &schema->columns[i];
    return NULL;
}

bool dbi_schema_set_fill(const dbi_state *state, dbi_schema *schema, PyObject *fill) {
    PyObject *items;
    bool set = false;

    if (fill == NULL || fill == Py_None)
        return true;
    items = pairs_of(fill, "fill");
    if (items == NULL)
        return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i), *name = PyTuple_GET_ITEM(item, 0), *how = PyTuple_GET_ITEM(item, 1);
        dbi_column *column = column_named(schema, name);
        dbi_fill named = fill_named(how);

        if (PyErr_Occurred())
            goto done;
        if (column == NULL || named == DBI_FILL_COUNT || named == DBI_FILL_NONE) {
            if (column == NULL)
                (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION, "fill: there is no column %R", name);
            else
                (void)dbi_raise_as(state, DBI_ERROR_CONFIGURATION,
                                   "fill of column %R must be 'null', 'uuid7' or 'now', not %R", name, how);
            goto done;
        }
        column->fill = named;
    }
    set = true;
done:
    Py_DECREF(items);
    return set;
}
