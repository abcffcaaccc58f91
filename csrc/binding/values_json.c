/* values_json.c - Python's containers and scalars as JSON text, with no detour through a str */
#include "values_int.h"

#include <math.h>

static dbi_put json_value(dbi_frame *frame, dbi_json *json, PyObject *value);

static dbi_put json_str(dbi_frame *frame, dbi_json *json, PyObject *text, bool key) {
    dbi_rc (*write)(dbi_json *, const void *, unsigned, size_t, bool, dbi_err *) = key ? dbi_json_key : dbi_json_units;

    if (!dbi__str_ready(text))
        return DBI_PUT_FAILED;
    return dbi__put_core(frame, write(json, PyUnicode_DATA(text), PyUnicode_KIND(text),
                                      (size_t)PyUnicode_GET_LENGTH(text), PyUnicode_IS_ASCII(text), &frame->err));
}

static dbi_put json_int(dbi_frame *frame, dbi_json *json, PyObject *number) {
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(number, &overflow);
    PyObject *text;
    const char *digits;
    Py_ssize_t length;
    dbi_put done = DBI_PUT_FAILED;

    if (overflow == 0)
        return dbi__put_core(frame, dbi_json_int(json, small, &frame->err));
    text = dbi__int_digits(frame, json->column, number);
    if (text == NULL)
        return DBI_PUT_FAILED;
    digits = PyUnicode_AsUTF8AndSize(text, &length);
    if (digits != NULL)
        done = dbi__put_core(frame, dbi_json_number(json, digits, (size_t)length, &frame->err));
    Py_DECREF(text);
    return done;
}

/* The shortest text that reads back as the same float, as repr() writes it. */
static dbi_put json_float(dbi_frame *frame, dbi_json *json, double number) {
    char *text;
    dbi_put done;

    if (!isfinite(number))
        return dbi__put_refused(frame, json->column, "JSON has no NaN and no infinity");
    text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL)
        return DBI_PUT_FAILED;
    done = dbi__put_core(frame, dbi_json_number(json, text, strlen(text), &frame->err));
    PyMem_Free(text);
    return done;
}

static dbi_put json_item(dbi_frame *frame, dbi_json *json, PyObject *key, PyObject *value) {
    dbi_put done;

    if (!PyUnicode_Check(key))
        return dbi__put_core(frame, dbi_row_refuse(&frame->row, json->column, DBI_EINVAL, &frame->err,
                                                   "keys of JSON objects are str, not %.100s", Py_TYPE(key)->tp_name));
    done = json_str(frame, json, key, true);
    return done == DBI_PUT_DONE ? json_value(frame, json, value) : done;
}

static dbi_put json_changed(dbi_frame *frame, const dbi_json *json) {
    return dbi__put_refused(frame, json->column, "a container changed while it was encoded");
}

static dbi_put json_dict(dbi_frame *frame, dbi_json *json, PyObject *dict) {
    Py_ssize_t at = 0, size = PyDict_GET_SIZE(dict);
    PyObject *key, *value;

    while (PyDict_Next(dict, &at, &key, &value)) {
        dbi_put done;

        Py_INCREF(key); /* what is encoded may run code that takes them out of the dict */
        Py_INCREF(value);
        done = json_item(frame, json, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (done != DBI_PUT_DONE)
            return done;
        if (PyDict_GET_SIZE(dict) != size)
            return json_changed(frame, json);
    }
    return DBI_PUT_DONE;
}

/* A subclass of dict: it may have an order and items of its own. */
static dbi_put json_mapping(dbi_frame *frame, dbi_json *json, PyObject *mapping) {
    PyObject *items = PyMapping_Items(mapping);
    dbi_put done = DBI_PUT_DONE;

    if (items == NULL)
        return dbi__put_raised(frame, json->column);
    for (Py_ssize_t i = 0; done == DBI_PUT_DONE && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);

        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
            done = dbi__put_refused(frame, json->column, "a mapping whose items are no pairs");
        else
            done = json_item(frame, json, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
    }
    Py_DECREF(items);
    return done;
}

static dbi_put json_list(dbi_frame *frame, dbi_json *json, PyObject *list) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) { /* a list may shrink meanwhile */
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(list, i));
        dbi_put done = json_value(frame, json, item);

        Py_DECREF(item);
        if (done != DBI_PUT_DONE)
            return done;
    }
    return DBI_PUT_DONE;
}

static dbi_put json_container(dbi_frame *frame, dbi_json *json, PyObject *value) {
    bool object = PyDict_Check(value);
    dbi_put done = dbi__put_core(frame, dbi_json_open(json, object, &frame->err));

    if (done == DBI_PUT_DONE)
        done = !object                    ? json_list(frame, json, value)
               : PyDict_CheckExact(value) ? json_dict(frame, json, value)
                                          : json_mapping(frame, json, value);
    return done == DBI_PUT_DONE ? dbi__put_core(frame, dbi_json_close(json, &frame->err)) : done;
}

/* What is not of JSON's own types: enum members, and scalars that can be read as one of them. */
static dbi_put json_other(dbi_frame *frame, dbi_json *json, PyObject *value) {
    PyObject *plain;
    dbi_put done;

    if (dbi__is_a(value, frame->fields->enum_type))
        plain = PyObject_GetAttr(value, frame->fields->text_value);
    else if (dbi__is_numpy(value, "bool"))
        plain = PyBool_FromLong(PyObject_IsTrue(value));
    else if (dbi__is_numpy(value, "float"))
        plain = PyNumber_Float(value);
    else if (PyIndex_Check(value))
        plain = PyNumber_Index(value);
    else
        return DBI_PUT_OTHER;
    if (plain == NULL || PyErr_Occurred()) {
        Py_XDECREF(plain);
        return dbi__put_raised(frame, json->column);
    }
    done = dbi__is_a(plain, frame->fields->enum_type) ? DBI_PUT_OTHER : json_value(frame, json, plain);
    Py_DECREF(plain);
    return done;
}

static dbi_put json_value(dbi_frame *frame, dbi_json *json, PyObject *value) {
    dbi_put done;

    if (PyUnicode_Check(value))
        return json_str(frame, json, value, false);
    if (value == Py_None)
        return dbi__put_core(frame, dbi_json_null(json, &frame->err));
    if (PyBool_Check(value))
        return dbi__put_core(frame, dbi_json_bool(json, value == Py_True, &frame->err));
    if (PyLong_Check(value))
        return json_int(frame, json, value);
    if (PyFloat_Check(value))
        return json_float(frame, json, PyFloat_AS_DOUBLE(value));
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value))
        return json_container(frame, json, value);
    done = json_other(frame, json, value);
    if (done == DBI_PUT_OTHER)
        return dbi__put_wrong_type(frame, json->column, value);
    return done;
}

dbi_put dbi__put_json(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    dbi_json json;
    dbi_put done = dbi__put_core(frame, dbi_json_begin(&json, &frame->row, column, &frame->err));

    if (done == DBI_PUT_DONE)
        done = json_value(frame, &json, value);
    return done == DBI_PUT_DONE ? dbi__put_core(frame, dbi_json_end(&json, &frame->err)) : done;
}
