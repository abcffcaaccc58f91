/* values.c - see values.h
 *
 * What a value must be, by the column's type. Nothing else is taken: no value is converted on the quiet.
 *
 *     boolean                   bool
 *     smallint, integer, bigint int (not bool), or what has __index__
 *     real, double precision    float; int where it has an exact image there; numpy's shorter floats
 *     numeric                   Decimal, int
 *     text, varchar, enum, …    str
 *     bytea                     bytes, bytearray, memoryview
 *     timestamptz               datetime with a time zone
 *     timestamp, date, time     datetime and time without one, date
 *     interval                  timedelta
 *     uuid                      UUID
 *     inet, cidr                addresses, interfaces and networks of module ipaddress
 *     json, jsonb               dict with keys of str, list, tuple, str, int, float, bool; None within them is null; a
 *                               str is a JSON string, not JSON text
 *     arrays                    list or tuple, nested for more dimensions; of json and jsonb one dimension only
 *
 * None is NULL. A member of an enum.Enum stands for its value.
 */
#include "values.h"

#include <datetime.h>
#include <math.h>
#include <time.h>

#include "alloc.h"
#include "json.h"
#include "uuid.h"

#define CALL_SITES 4
#define SCRATCH_KEPT ((size_t)64 << 10) /* of a frame's buffer between events */
#define NAMES_SHOWN 20                  /* of a stream's fields, in a message */

/* A tuple of keyword names, as a call site passes it again and again, and where the columns' values are among them. */
typedef struct call_site {
    PyObject *kwnames; /* NULL = not used */
    int16_t *from;     /* of each column: the number of its argument; -1 = it is filled */
} call_site;

struct dbi_frame {
    dbi_fields *fields;
    dbi_row row;
    unsigned newest;
    call_site sites[CALL_SITES];
    int64_t wall_ns; /* when the event was encoded; 0 = not asked yet */
    dbi_err err;
    int16_t from[]; /* of the call sites */
};

struct dbi_fields {
    Py_ssize_t users; /* the owner, and frames in use */
    const dbi_state *state;
    dbi_schema *schema;
    char *stream; /* NULL = it has no name */
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

typedef enum put {
    PUT_DONE,
    PUT_FAILED, /* an exception is set */
    PUT_OTHER,  /* the value is not of the column's type; nothing was written */
} put;

/* --- refusing --- */

/* Raises what the core said in frame->err. */
static void frame_raise(dbi_frame *frame) {
    if (frame->err.rc == DBI_EINVAL || frame->err.rc == DBI_ETOOBIG)
        (void)dbi_raise_as(frame->fields->state, DBI_ERROR_INVALID_EVENT, "%s", frame->err.msg);
    else
        (void)dbi_raise(frame->fields->state, &frame->err);
}

static put put_core(dbi_frame *frame, dbi_rc rc) {
    if (rc == DBI_OK)
        return PUT_DONE;
    frame_raise(frame);
    return PUT_FAILED;
}

static put put_refused(dbi_frame *frame, const dbi_column *column, const char *why) {
    return put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "%s", why));
}

/* Code of the user's raised: what it said becomes the cause of an InvalidEventError. What is no error of the value, such
 * as MemoryError and KeyboardInterrupt, goes on as it is. */
static put put_raised(dbi_frame *frame, const dbi_column *column) {
    PyObject *type, *cause, *trace, *error;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
        PyErr_ExceptionMatches(PyExc_RecursionError))
        return PUT_FAILED;
    PyErr_Fetch(&type, &cause, &trace);
    PyErr_NormalizeException(&type, &cause, &trace);
    if (trace != NULL)
        (void)PyException_SetTraceback(cause, trace);
    (void)put_refused(frame, column, "the value could not be read: its own code failed");
    Py_XDECREF(type);
    Py_XDECREF(trace);
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    PyException_SetCause(error, cause); /* takes the reference */
    PyErr_Restore(type, error, trace);
    return PUT_FAILED;
}

static const char *const wanted[DBI_TYPE_COUNT] = {
    [DBI_TYPE_BOOL] = "bool",
    [DBI_TYPE_INT2] = "int",
    [DBI_TYPE_INT4] = "int",
    [DBI_TYPE_INT8] = "int",
    [DBI_TYPE_FLOAT4] = "float or int",
    [DBI_TYPE_FLOAT8] = "float or int",
    [DBI_TYPE_NUMERIC] = "Decimal or int",
    [DBI_TYPE_TEXT] = "str",
    [DBI_TYPE_BYTEA] = "bytes, bytearray or memoryview",
    [DBI_TYPE_TIMESTAMPTZ] = "datetime with a time zone",
    [DBI_TYPE_TIMESTAMP] = "datetime without a time zone",
    [DBI_TYPE_DATE] = "date",
    [DBI_TYPE_UUID] = "UUID",
    [DBI_TYPE_JSON] = "dict, list, tuple, str, int, float or bool",
    [DBI_TYPE_JSONB] = "dict, list, tuple, str, int, float or bool",
    [DBI_TYPE_INET] = "an address of module ipaddress",
    [DBI_TYPE_CIDR] = "an address or a network of module ipaddress",
    [DBI_TYPE_ENUM] = "str",
    [DBI_TYPE_TIME] = "time without a time zone",
    [DBI_TYPE_INTERVAL] = "timedelta",
};

static put put_wrong_type(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    return put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "%.80s takes %s, not %.100s",
                                          column->type_name, wanted[column->type], Py_TYPE(value)->tp_name));
}

static bool is_a(PyObject *value, PyTypeObject *type) {
    return PyType_IsSubtype(Py_TYPE(value), type);
}

/* numpy's scalars, told by name: dbint does not import numpy. "bool" or "bool_", "float16", "float32". */
static bool is_numpy(PyObject *value, const char *name) {
    const char *type = Py_TYPE(value)->tp_name;

    return strncmp(type, "numpy.", 6) == 0 && strncmp(type + 6, name, strlen(name)) == 0;
}

/* --- text --- */

static bool str_ready(PyObject *text) {
#if PY_VERSION_HEX < 0x030c0000
    return PyUnicode_READY(text) == 0;
#else
    (void)text;
    return true;
#endif
}

static put put_text(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyUnicode_Check(value))
        return PUT_OTHER;
    if (!str_ready(value))
        return PUT_FAILED;
    return put_core(frame, dbi_row_units(&frame->row, column, PyUnicode_DATA(value), PyUnicode_KIND(value),
                                         (size_t)PyUnicode_GET_LENGTH(value), PyUnicode_IS_ASCII(value), &frame->err));
}

static put put_bytes(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    Py_buffer view;
    put done;

    if (PyBytes_Check(value))
        return put_core(frame, dbi_row_bytes(&frame->row, column, PyBytes_AS_STRING(value),
                                             (size_t)PyBytes_GET_SIZE(value), &frame->err));
    if (!PyByteArray_Check(value) && !PyMemoryView_Check(value))
        return PUT_OTHER;
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0)
        return put_raised(frame, column);
    done = put_core(frame, dbi_row_bytes(&frame->row, column, view.buf, (size_t)view.len, &frame->err));
    PyBuffer_Release(&view);
    return done;
}

/* --- numbers --- */

static put put_bool(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int truth;

    if (!PyBool_Check(value) && !is_numpy(value, "bool"))
        return PUT_OTHER;
    truth = PyObject_IsTrue(value);
    if (truth < 0)
        return put_raised(frame, column);
    return put_core(frame, dbi_row_bool(&frame->row, column, truth != 0, &frame->err));
}

/* What the value is as an int: itself, or what __index__ says. A new reference in *number; PUT_OTHER for bool. */
static put read_int(dbi_frame *frame, const dbi_column *column, PyObject *value, PyObject **number) {
    if (PyBool_Check(value) || is_numpy(value, "bool"))
        return PUT_OTHER;
    if (PyLong_Check(value)) {
        *number = Py_NewRef(value);
        return PUT_DONE;
    }
    if (!PyIndex_Check(value))
        return PUT_OTHER;
    *number = PyNumber_Index(value);
    return *number != NULL ? PUT_DONE : put_raised(frame, column);
}

/* The digits of an int, a new reference; NULL with InvalidEventError or another set. */
static PyObject *int_digits(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    PyObject *digits = PyNumber_ToBase(number, 10);

    if (digits == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* sys.set_int_max_str_digits() */
        (void)put_refused(frame, column, "an int of more digits than the interpreter's limit");
    }
    return digits;
}

static put put_decimal_text(dbi_frame *frame, const dbi_column *column, PyObject *text) {
    Py_ssize_t length;
    const char *digits = PyUnicode_AsUTF8AndSize(text, &length);

    if (digits == NULL)
        return PUT_FAILED;
    return put_core(frame, dbi_row_decimal(&frame->row, column, digits, (size_t)length, &frame->err));
}

/* An int beyond int64. */
static put put_large_int(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    PyObject *text;
    put done;

    if (column->type != DBI_TYPE_NUMERIC)
        return put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "out of range of %s",
                                              dbi_type_text(column->type)));
    text = int_digits(frame, column, number);
    if (text == NULL)
        return PUT_FAILED;
    done = put_decimal_text(frame, column, text);
    Py_DECREF(text);
    return done;
}

static put put_int(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *number = NULL;
    int overflow;
    long long small;
    put done = read_int(frame, column, value, &number);

    if (done != PUT_DONE)
        return done;
    small = PyLong_AsLongLongAndOverflow(number, &overflow);
    done = overflow == 0 ? put_core(frame, dbi_row_int(&frame->row, column, small, &frame->err))
                         : put_large_int(frame, column, number);
    Py_DECREF(number);
    return done;
}

/* An int beyond int64 into a floating-point column, where it has an exact image. */
static put put_large_float(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    double image = PyLong_AsDouble(number);
    PyObject *as_float, *same;
    bool exact;

    if (image == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return PUT_FAILED;
        PyErr_Clear();
        return put_refused(frame, column, "out of range");
    }
    as_float = PyFloat_FromDouble(column->type == DBI_TYPE_FLOAT4 ? (double)(float)image : image);
    if (as_float == NULL)
        return PUT_FAILED;
    same = PyFloat_Type.tp_richcompare(as_float, number, Py_EQ); /* exact, however large the int is */
    exact = same == Py_True;
    Py_DECREF(as_float);
    if (same == NULL)
        return PUT_FAILED;
    Py_DECREF(same);
    if (!exact)
        return put_refused(frame, column, "the integer has no exact image there");
    return put_core(frame, dbi_row_double(&frame->row, column, image, &frame->err));
}

static put put_float(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *number = NULL;
    int overflow;
    long long small;
    put done;

    if (PyFloat_Check(value))
        return put_core(frame, dbi_row_double(&frame->row, column, PyFloat_AS_DOUBLE(value), &frame->err));
    if (is_numpy(value, "float")) {
        double wide = PyFloat_AsDouble(value);

        if (wide == -1.0 && PyErr_Occurred())
            return put_raised(frame, column);
        return put_core(frame, dbi_row_double(&frame->row, column, wide, &frame->err));
    }
    done = read_int(frame, column, value, &number);
    if (done != PUT_DONE)
        return done;
    small = PyLong_AsLongLongAndOverflow(number, &overflow);
    done = overflow == 0 ? put_core(frame, dbi_row_int(&frame->row, column, small, &frame->err))
                         : put_large_float(frame, column, number);
    Py_DECREF(number);
    return done;
}

static put put_numeric(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *text;
    put done;

    if (!is_a(value, frame->fields->decimal_type))
        return put_int(frame, column, value);
    text = frame->fields->decimal_type->tp_str(value); /* not a subclass's: it may write as it likes */
    if (text == NULL)
        return put_raised(frame, column);
    done = put_decimal_text(frame, column, text);
    Py_DECREF(text);
    return done;
}

/* --- dates and times --- */

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

/* Days since 1970-01-01 in the proleptic Gregorian calendar: years counted from March, in cycles of 400. */
static int64_t days_of(int year, int month, int day) {
    int64_t from_march = month > 2 ? year : year - 1;
    int64_t cycle = from_march / 400, of_cycle = from_march % 400; /* years are 1 and up */
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return cycle * 146097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719468;
}

static int64_t date_days(PyObject *value) {
    return days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
}

static int64_t datetime_micros(PyObject *value) {
    int64_t seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 + PyDateTime_DATE_GET_MINUTE(value) * 60 +
                      PyDateTime_DATE_GET_SECOND(value);

    return date_days(value) * DAY + seconds * SECOND + PyDateTime_DATE_GET_MICROSECOND(value);
}

static int64_t delta_micros(PyObject *delta) {
    return PyDateTime_DELTA_GET_DAYS(delta) * DAY + PyDateTime_DELTA_GET_SECONDS(delta) * SECOND +
           PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

static put put_timestamptz(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *offset;
    int64_t micros;

    if (!PyDateTime_Check(value))
        return PUT_OTHER;
    micros = datetime_micros(value);
    if (PyDateTime_DATE_GET_TZINFO(value) != PyDateTime_TimeZone_UTC) {
        offset = PyObject_CallMethodNoArgs(value, frame->fields->text_utcoffset);
        if (offset == NULL)
            return put_raised(frame, column);
        if (!PyDelta_Check(offset)) { /* None: naive */
            Py_DECREF(offset);
            return put_refused(frame, column, "the datetime has no time zone");
        }
        micros -= delta_micros(offset);
        Py_DECREF(offset);
    }
    return put_core(frame, dbi_row_micros(&frame->row, column, micros, &frame->err));
}

static put put_timestamp(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyDateTime_Check(value))
        return PUT_OTHER;
    if (PyDateTime_DATE_GET_TZINFO(value) != Py_None)
        return put_refused(frame, column, "the datetime has a time zone, which the column would lose");
    return put_core(frame, dbi_row_micros(&frame->row, column, datetime_micros(value), &frame->err));
}

static put put_date(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyDate_Check(value) || PyDateTime_Check(value))
        return PUT_OTHER;
    return put_core(frame, dbi_row_days(&frame->row, column, date_days(value), &frame->err));
}

static put put_time(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int64_t seconds;

    if (!PyTime_Check(value))
        return PUT_OTHER;
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None)
        return put_refused(frame, column, "the time has a time zone, which the column would lose");
    seconds = PyDateTime_TIME_GET_HOUR(value) * 3600 + PyDateTime_TIME_GET_MINUTE(value) * 60 +
              PyDateTime_TIME_GET_SECOND(value);
    return put_core(frame, dbi_row_micros(&frame->row, column,
                                          seconds * SECOND + PyDateTime_TIME_GET_MICROSECOND(value), &frame->err));
}

static put put_interval(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int64_t micros;

    if (!PyDelta_Check(value))
        return PUT_OTHER;
    micros = PyDateTime_DELTA_GET_SECONDS(value) * SECOND + PyDateTime_DELTA_GET_MICROSECONDS(value);
    return put_core(frame, dbi_row_interval(&frame->row, column, 0, PyDateTime_DELTA_GET_DAYS(value), micros,
                                            &frame->err));
}

/* --- identifiers and addresses --- */

/* Splits an int of 128 bits; false, with or without an exception, when it is none. */
static bool uuid_bytes(PyObject *number, uint8_t out[16]) {
    PyObject *shift, *upper;
    uint64_t low, high;

    if (!PyLong_Check(number))
        return false;
    shift = PyLong_FromLong(64);
    upper = shift != NULL ? PyLong_Type.tp_as_number->nb_rshift(number, shift) : NULL;
    Py_XDECREF(shift);
    if (upper == NULL)
        return false;
    low = PyLong_AsUnsignedLongLongMask(number);
    high = PyLong_AsUnsignedLongLong(upper);
    Py_DECREF(upper);
    if (PyErr_Occurred())
        return false;
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(high >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return true;
}

static put put_uuid(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    uint8_t bytes[16];
    PyObject *number;
    bool read;

    if (!is_a(value, frame->fields->uuid_type))
        return PUT_OTHER;
    number = PyObject_GetAttr(value, frame->fields->text_int);
    if (number == NULL)
        return put_raised(frame, column);
    read = uuid_bytes(number, bytes);
    Py_DECREF(number);
    if (!read)
        return PyErr_Occurred() ? put_raised(frame, column) : put_refused(frame, column, "no UUID of 128 bits");
    return put_core(frame, dbi_row_uuid(&frame->row, column, bytes, &frame->err));
}

/* The bits of a network: owner.prefixlen. -1 with an exception set. */
static long prefix_read(const dbi_fields *fields, PyObject *network) {
    PyObject *bits = PyObject_GetAttr(network, fields->text_prefixlen);
    long value = bits != NULL ? PyLong_AsLong(bits) : -1;

    Py_XDECREF(bits);
    if (value < 0 && !PyErr_Occurred())
        (void)PyErr_Format(PyExc_ValueError, "a prefix of less than 0 bits");
    return value;
}

/* address.packed; false with an exception set. */
static bool packed_read(const dbi_fields *fields, PyObject *address, uint8_t out[16], unsigned *length) {
    PyObject *packed = PyObject_GetAttr(address, fields->text_packed);
    bool fits;

    if (packed == NULL)
        return false;
    fits = PyBytes_Check(packed) && (PyBytes_GET_SIZE(packed) == 4 || PyBytes_GET_SIZE(packed) == 16);
    if (fits) {
        *length = (unsigned)PyBytes_GET_SIZE(packed);
        memcpy(out, PyBytes_AS_STRING(packed), *length);
    } else {
        (void)PyErr_Format(PyExc_ValueError, "an address of neither 4 nor 16 bytes");
    }
    Py_DECREF(packed);
    return fits;
}

/* 1 when an IPv6 address has a scope ("fe80::1%eth0"), which inet cannot hold; -1 with an exception set. */
static int has_scope(const dbi_fields *fields, PyObject *address) {
    PyObject *scope;
    int has;

    if (!is_a(address, fields->address6_type))
        return 0;
    scope = PyObject_GetAttr(address, fields->text_scope_id);
    if (scope == NULL)
        return -1;
    has = scope != Py_None;
    Py_DECREF(scope);
    return has;
}

static put put_inet(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    dbi_fields *fields = frame->fields;
    bool interface = is_a(value, fields->interface4_type) || is_a(value, fields->interface6_type);
    bool network = is_a(value, fields->network4_type) || is_a(value, fields->network6_type);
    PyObject *address = NULL, *prefixed = NULL;
    uint8_t bytes[16] = {0};
    unsigned length = 0;
    long bits = -1;
    int scope;
    put done = PUT_FAILED;

    if (!interface && !network && !is_a(value, fields->address4_type) && !is_a(value, fields->address6_type))
        return PUT_OTHER;
    address = network ? PyObject_GetAttr(value, fields->text_network_address) : Py_NewRef(value);
    prefixed = interface ? PyObject_GetAttr(value, fields->text_network) : Py_NewRef(value);
    if (address == NULL || prefixed == NULL || !packed_read(fields, address, bytes, &length) ||
        (scope = has_scope(fields, address)) < 0)
        done = put_raised(frame, column);
    else if (scope != 0)
        done = put_refused(frame, column, "the IPv6 address has a scope, which PostgreSQL cannot store");
    else if ((bits = interface || network ? prefix_read(fields, prefixed) : (long)length * 8) < 0)
        done = put_raised(frame, column);
    else
        done = put_core(frame, dbi_row_inet(&frame->row, column, bytes, length, (unsigned)bits, &frame->err));
    Py_XDECREF(address);
    Py_XDECREF(prefixed);
    return done;
}

/* --- JSON --- */

static put json_value(dbi_frame *frame, dbi_json *json, PyObject *value);

static put json_str(dbi_frame *frame, dbi_json *json, PyObject *text, bool key) {
    dbi_rc (*write)(dbi_json *, const void *, unsigned, size_t, bool, dbi_err *) = key ? dbi_json_key : dbi_json_units;

    if (!str_ready(text))
        return PUT_FAILED;
    return put_core(frame, write(json, PyUnicode_DATA(text), PyUnicode_KIND(text), (size_t)PyUnicode_GET_LENGTH(text),
                                 PyUnicode_IS_ASCII(text), &frame->err));
}

static put json_int(dbi_frame *frame, dbi_json *json, PyObject *number) {
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(number, &overflow);
    PyObject *text;
    const char *digits;
    Py_ssize_t length;
    put done = PUT_FAILED;

    if (overflow == 0)
        return put_core(frame, dbi_json_int(json, small, &frame->err));
    text = int_digits(frame, json->column, number);
    if (text == NULL)
        return PUT_FAILED;
    digits = PyUnicode_AsUTF8AndSize(text, &length);
    if (digits != NULL)
        done = put_core(frame, dbi_json_number(json, digits, (size_t)length, &frame->err));
    Py_DECREF(text);
    return done;
}

/* The shortest text that reads back as the same float, as repr() writes it. */
static put json_float(dbi_frame *frame, dbi_json *json, double number) {
    char *text;
    put done;

    if (!isfinite(number))
        return put_refused(frame, json->column, "JSON has no NaN and no infinity");
    text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL)
        return PUT_FAILED;
    done = put_core(frame, dbi_json_number(json, text, strlen(text), &frame->err));
    PyMem_Free(text);
    return done;
}

static put json_item(dbi_frame *frame, dbi_json *json, PyObject *key, PyObject *value) {
    put done;

    if (!PyUnicode_Check(key))
        return put_core(frame, dbi_row_refuse(&frame->row, json->column, DBI_EINVAL, &frame->err,
                                              "keys of JSON objects are str, not %.100s", Py_TYPE(key)->tp_name));
    done = json_str(frame, json, key, true);
    return done == PUT_DONE ? json_value(frame, json, value) : done;
}

static put json_changed(dbi_frame *frame, const dbi_json *json) {
    return put_refused(frame, json->column, "a container changed while it was encoded");
}

static put json_dict(dbi_frame *frame, dbi_json *json, PyObject *dict) {
    Py_ssize_t at = 0, size = PyDict_GET_SIZE(dict);
    PyObject *key, *value;

    while (PyDict_Next(dict, &at, &key, &value)) {
        put done;

        Py_INCREF(key); /* what is encoded may run code that takes them out of the dict */
        Py_INCREF(value);
        done = json_item(frame, json, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (done != PUT_DONE)
            return done;
        if (PyDict_GET_SIZE(dict) != size)
            return json_changed(frame, json);
    }
    return PUT_DONE;
}

/* A subclass of dict: it may have an order and items of its own. */
static put json_mapping(dbi_frame *frame, dbi_json *json, PyObject *mapping) {
    PyObject *items = PyMapping_Items(mapping);
    put done = PUT_DONE;

    if (items == NULL)
        return put_raised(frame, json->column);
    for (Py_ssize_t i = 0; done == PUT_DONE && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);

        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
            done = put_refused(frame, json->column, "a mapping whose items are no pairs");
        else
            done = json_item(frame, json, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
    }
    Py_DECREF(items);
    return done;
}

static put json_list(dbi_frame *frame, dbi_json *json, PyObject *list) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) { /* a list may shrink meanwhile */
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(list, i));
        put done = json_value(frame, json, item);

        Py_DECREF(item);
        if (done != PUT_DONE)
            return done;
    }
    return PUT_DONE;
}

static put json_container(dbi_frame *frame, dbi_json *json, PyObject *value) {
    bool object = PyDict_Check(value);
    put done = put_core(frame, dbi_json_open(json, object, &frame->err));

    if (done == PUT_DONE)
        done = !object                  ? json_list(frame, json, value)
               : PyDict_CheckExact(value) ? json_dict(frame, json, value)
                                          : json_mapping(frame, json, value);
    return done == PUT_DONE ? put_core(frame, dbi_json_close(json, &frame->err)) : done;
}

/* What is not of JSON's own types: enum members, and scalars that can be read as one of them. */
static put json_other(dbi_frame *frame, dbi_json *json, PyObject *value) {
    PyObject *plain;
    put done;

    if (is_a(value, frame->fields->enum_type))
        plain = PyObject_GetAttr(value, frame->fields->text_value);
    else if (is_numpy(value, "bool"))
        plain = PyBool_FromLong(PyObject_IsTrue(value));
    else if (is_numpy(value, "float"))
        plain = PyNumber_Float(value);
    else if (PyIndex_Check(value))
        plain = PyNumber_Index(value);
    else
        return PUT_OTHER;
    if (plain == NULL || PyErr_Occurred()) {
        Py_XDECREF(plain);
        return put_raised(frame, json->column);
    }
    done = is_a(plain, frame->fields->enum_type) ? PUT_OTHER : json_value(frame, json, plain);
    Py_DECREF(plain);
    return done;
}

static put json_value(dbi_frame *frame, dbi_json *json, PyObject *value) {
    put done;

    if (PyUnicode_Check(value))
        return json_str(frame, json, value, false);
    if (value == Py_None)
        return put_core(frame, dbi_json_null(json, &frame->err));
    if (PyBool_Check(value))
        return put_core(frame, dbi_json_bool(json, value == Py_True, &frame->err));
    if (PyLong_Check(value))
        return json_int(frame, json, value);
    if (PyFloat_Check(value))
        return json_float(frame, json, PyFloat_AS_DOUBLE(value));
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value))
        return json_container(frame, json, value);
    done = json_other(frame, json, value);
    if (done == PUT_OTHER)
        return put_wrong_type(frame, json->column, value);
    return done;
}

static put put_json(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    dbi_json json;
    put done = put_core(frame, dbi_json_begin(&json, &frame->row, column, &frame->err));

    if (done == PUT_DONE)
        done = json_value(frame, &json, value);
    return done == PUT_DONE ? put_core(frame, dbi_json_end(&json, &frame->err)) : done;
}

/* --- any value --- */

typedef put (*put_fn)(dbi_frame *frame, const dbi_column *column, PyObject *value);

static const put_fn putters[DBI_TYPE_COUNT] = {
    [DBI_TYPE_BOOL] = put_bool,
    [DBI_TYPE_INT2] = put_int,
    [DBI_TYPE_INT4] = put_int,
    [DBI_TYPE_INT8] = put_int,
    [DBI_TYPE_FLOAT4] = put_float,
    [DBI_TYPE_FLOAT8] = put_float,
    [DBI_TYPE_NUMERIC] = put_numeric,
    [DBI_TYPE_TEXT] = put_text,
    [DBI_TYPE_BYTEA] = put_bytes,
    [DBI_TYPE_TIMESTAMPTZ] = put_timestamptz,
    [DBI_TYPE_TIMESTAMP] = put_timestamp,
    [DBI_TYPE_DATE] = put_date,
    [DBI_TYPE_UUID] = put_uuid,
    [DBI_TYPE_JSON] = put_json,
    [DBI_TYPE_JSONB] = put_json,
    [DBI_TYPE_INET] = put_inet,
    [DBI_TYPE_CIDR] = put_inet,
    [DBI_TYPE_ENUM] = put_text,
    [DBI_TYPE_TIME] = put_time,
    [DBI_TYPE_INTERVAL] = put_interval,
};

/* A member of an enum.Enum whose class is not of the column's type by itself: its value is written. */
static put put_member(dbi_frame *frame, const dbi_column *column, PyObject *member) {
    PyObject *value = PyObject_GetAttr(member, frame->fields->text_value);
    put done;

    if (value == NULL)
        return put_raised(frame, column);
    done = value == Py_None ? PUT_OTHER : putters[column->type](frame, column, value);
    Py_DECREF(value);
    return done;
}

/* One value, or element of an array. */
static put put_value(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    put done;

    if (value == Py_None)
        return put_core(frame, dbi_row_null(&frame->row, column, &frame->err));
    done = putters[column->type](frame, column, value);
    if (done == PUT_OTHER && is_a(value, frame->fields->enum_type))
        done = put_member(frame, column, value);
    return done == PUT_OTHER ? put_wrong_type(frame, column, value) : done;
}

/* --- arrays --- */

static bool is_list(PyObject *value) {
    return PyList_Check(value) || PyTuple_Check(value);
}

typedef struct shape {
    unsigned dimensions;
    uint32_t sizes[DBI_ARRAY_DIMENSIONS_MAX];
} shape;

/* The shape that the first elements have. */
static put shape_read(dbi_frame *frame, const dbi_column *column, PyObject *value, shape *dims) {
    bool flat = column->type == DBI_TYPE_JSON || column->type == DBI_TYPE_JSONB; /* a list in it is a value */

    for (dims->dimensions = 0; is_list(value) && !(flat && dims->dimensions == 1); dims->dimensions++) {
        Py_ssize_t size = PySequence_Fast_GET_SIZE(value);

        if (size == 0 && dims->dimensions == 0)
            return PUT_DONE;
        if (dims->dimensions == DBI_ARRAY_DIMENSIONS_MAX)
            return put_refused(frame, column, "an array has at most 6 dimensions");
        if (size == 0)
            return put_refused(frame, column, "an array within the array is empty");
        if ((size_t)size > frame->row.max / 4)
            return put_refused(frame, column, "an array of too many elements");
        dims->sizes[dims->dimensions] = (uint32_t)size;
        value = PySequence_Fast_GET_ITEM(value, 0);
    }
    return PUT_DONE;
}

static put put_elements(dbi_frame *frame, const dbi_column *column, PyObject *list, const shape *dims,
                        unsigned dimension) {
    put done = PUT_DONE;

    for (Py_ssize_t i = 0; done == PUT_DONE && i < (Py_ssize_t)dims->sizes[dimension]; i++) {
        PyObject *item;

        /* looked at each time: code that encoding runs may change the list */
        if (!is_list(list) || PySequence_Fast_GET_SIZE(list) != (Py_ssize_t)dims->sizes[dimension])
            return put_refused(frame, column, "the lists of an array must be of the same length in each dimension");
        item = Py_NewRef(PySequence_Fast_GET_ITEM(list, i));
        done = dimension + 1 < dims->dimensions ? put_elements(frame, column, item, dims, dimension + 1)
                                                 : put_value(frame, column, item);
        Py_DECREF(item);
    }
    return done;
}

static put put_array(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    shape dims;
    put done;

    if (!is_list(value))
        return put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err,
                                              "%.80s takes list or tuple, not %.100s", column->type_name,
                                              Py_TYPE(value)->tp_name));
    done = shape_read(frame, column, value, &dims);
    if (done == PUT_DONE)
        done = put_core(frame,
                        dbi_row_array_begin(&frame->row, column, dims.dimensions, dims.sizes, &frame->err));
    if (done == PUT_DONE && dims.dimensions != 0)
        done = put_elements(frame, column, value, &dims, 0);
    return done == PUT_DONE ? put_core(frame, dbi_row_array_end(&frame->row, column, &frame->err)) : done;
}

/* --- frames --- */

static dbi_frame *frame_new(dbi_fields *fields) {
    unsigned columns = fields->schema->column_count;
    dbi_frame *frame = dbi_calloc(1, sizeof *frame + (size_t)CALL_SITES * columns * sizeof frame->from[0]);

    if (frame == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    frame->fields = fields;
    dbi_row_init(&frame->row, DBI_ROW_MAX);
    frame->row.stream = fields->stream;
    for (unsigned i = 0; i < CALL_SITES; i++)
        frame->sites[i].from = frame->from + (size_t)i * columns;
    return frame;
}

static void frame_free(dbi_frame *frame) {
    if (frame == NULL)
        return;
    dbi_row_free(&frame->row);
    for (unsigned i = 0; i < CALL_SITES; i++)
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
#define OF_STREAM(fields) (fields)->stream != NULL ? " of stream \"" : "", \
    (fields)->stream != NULL ? (fields)->stream : "", (fields)->stream != NULL ? "\"" : ""

static void raise_unknown(const dbi_fields *fields, PyObject *name) {
    char names[NAMES_SHOWN * (DBI_NAME_SIZE + 2) + 8] = "";
    size_t used = 0;

    for (unsigned i = 0; i < fields->schema->column_count && i < NAMES_SHOWN; i++) {
        int more = snprintf(names + used, sizeof names - used, "%s%s", i != 0 ? ", " : "",
                            fields->schema->columns[i].name);

        used += (size_t)more;
    }
    if (fields->schema->column_count > NAMES_SHOWN)
        (void)snprintf(names + used, sizeof names - used, ", …");
    (void)dbi_raise_as(fields->state, DBI_ERROR_INVALID_EVENT, "field \"%S\"%s%s%s: there is no such field; there are %s",
                       name, OF_STREAM(fields), names);
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
    for (unsigned i = 0; i < CALL_SITES; i++)
        if (frame->sites[i].kwnames == kwnames)
            return frame->sites[i].from;
    frame->newest = (frame->newest + 1) % CALL_SITES;
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

static put put_fill(dbi_frame *frame, unsigned index) {
    const dbi_column *column = &frame->fields->schema->columns[index];
    uint8_t uuid[16];

    switch (column->fill) {
    case DBI_FILL_NULL:
        return put_core(frame, dbi_row_null(&frame->row, column, &frame->err));
    case DBI_FILL_UUID7:
        dbi_uuid7_at(frame_wall(frame), uuid);
        return put_core(frame, dbi_row_uuid(&frame->row, column, uuid, &frame->err));
    case DBI_FILL_NOW:
        return put_core(frame,
                        dbi_row_micros(&frame->row, column, frame_wall(frame) / DBI_NS_PER_US, &frame->err));
    case DBI_FILL_NONE:
    case DBI_FILL_COUNT:
        break;
    }
    raise_missing(frame->fields, index);
    return PUT_FAILED;
}

/* Encodes the values: values[from[i]] of column i, or values[i] where from is NULL. */
static bool frame_encode(dbi_frame *frame, PyObject *const *values, const int16_t *from) {
    const dbi_schema *schema = frame->fields->schema;
    put done = put_core(frame, dbi_row_begin(&frame->row, schema->column_count, &frame->err));

    for (unsigned i = 0; done == PUT_DONE && i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];
        PyObject *value = from == NULL ? values[i] : from[i] >= 0 ? values[from[i]] : NULL;

        if (value == NULL)
            done = put_fill(frame, i);
        else if (column->array && value != Py_None)
            done = put_array(frame, column, value);
        else
            done = put_value(frame, column, value);
    }
    return done == PUT_DONE;
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

    if (PyDateTimeAPI == NULL)
        PyDateTime_IMPORT;
    if (PyDateTimeAPI == NULL || (fields->enum_type = type_import("enum", "Enum")) == NULL)
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
        set = index != NULL && fields->names[i] != NULL &&
              PyDict_SetItem(fields->indexes, fields->names[i], index) == 0;
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

/* --- schemas from Python --- */

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
