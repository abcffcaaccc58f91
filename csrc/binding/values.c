/* values.c - values of Python into a row
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
#include "values_int.h"

#include <datetime.h>

/* --- refusing --- */

static void frame_raise(dbi_frame *frame) {
    if (frame->err.rc == DBI_EINVAL || frame->err.rc == DBI_ETOOBIG)
        (void)dbi_raise_as(frame->fields->state, DBI_ERROR_INVALID_EVENT, "%s", frame->err.msg);
    else
        (void)dbi_raise(frame->fields->state, &frame->err);
}

dbi_put dbi__put_core(dbi_frame *frame, dbi_rc rc) {
    if (rc == DBI_OK)
        return DBI_PUT_DONE;
    frame_raise(frame);
    return DBI_PUT_FAILED;
}

dbi_put dbi__put_refused(dbi_frame *frame, const dbi_column *column, const char *why) {
    return dbi__put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "%s", why));
}

dbi_put dbi__put_raised(dbi_frame *frame, const dbi_column *column) {
    PyObject *type, *cause, *trace, *error;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
        PyErr_ExceptionMatches(PyExc_RecursionError))
        return DBI_PUT_FAILED;
    PyErr_Fetch(&type, &cause, &trace);
    PyErr_NormalizeException(&type, &cause, &trace);
    if (trace != NULL)
        (void)PyException_SetTraceback(cause, trace);
    (void)dbi__put_refused(frame, column, "the value could not be read: its own code failed");
    Py_XDECREF(type);
    Py_XDECREF(trace);
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    PyException_SetCause(error, cause); /* takes the reference */
    PyErr_Restore(type, error, trace);
    return DBI_PUT_FAILED;
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

dbi_put dbi__put_wrong_type(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    return dbi__put_core(frame,
                         dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "%.80s takes %s, not %.100s",
                                        column->type_name, wanted[column->type], Py_TYPE(value)->tp_name));
}

/* --- text --- */

static dbi_put put_text(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyUnicode_Check(value))
        return DBI_PUT_OTHER;
    if (!dbi__str_ready(value))
        return DBI_PUT_FAILED;
    return dbi__put_core(frame,
                         dbi_row_units(&frame->row, column, PyUnicode_DATA(value), PyUnicode_KIND(value),
                                       (size_t)PyUnicode_GET_LENGTH(value), PyUnicode_IS_ASCII(value), &frame->err));
}

static dbi_put put_bytes(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    Py_buffer view;
    dbi_put done;

    if (PyBytes_Check(value))
        return dbi__put_core(frame, dbi_row_bytes(&frame->row, column, PyBytes_AS_STRING(value),
                                                  (size_t)PyBytes_GET_SIZE(value), &frame->err));
    if (!PyByteArray_Check(value) && !PyMemoryView_Check(value))
        return DBI_PUT_OTHER;
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0)
        return dbi__put_raised(frame, column);
    done = dbi__put_core(frame, dbi_row_bytes(&frame->row, column, view.buf, (size_t)view.len, &frame->err));
    PyBuffer_Release(&view);
    return done;
}

/* --- numbers --- */

static dbi_put put_bool(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int truth;

    if (!PyBool_Check(value) && !dbi__is_numpy(value, "bool"))
        return DBI_PUT_OTHER;
    truth = PyObject_IsTrue(value);
    if (truth < 0)
        return dbi__put_raised(frame, column);
    return dbi__put_core(frame, dbi_row_bool(&frame->row, column, truth != 0, &frame->err));
}

/* What the value is as an int: itself, or what __index__ says. A new reference in *number; DBI_PUT_OTHER for bool. */
static dbi_put read_int(dbi_frame *frame, const dbi_column *column, PyObject *value, PyObject **number) {
    if (PyBool_Check(value) || dbi__is_numpy(value, "bool"))
        return DBI_PUT_OTHER;
    if (PyLong_Check(value)) {
        *number = Py_NewRef(value);
        return DBI_PUT_DONE;
    }
    if (!PyIndex_Check(value))
        return DBI_PUT_OTHER;
    *number = PyNumber_Index(value);
    return *number != NULL ? DBI_PUT_DONE : dbi__put_raised(frame, column);
}

PyObject *dbi__int_digits(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    PyObject *digits = PyNumber_ToBase(number, 10);

    if (digits == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* sys.set_int_max_str_digits() */
        (void)dbi__put_refused(frame, column, "an int of more digits than the interpreter's limit");
    }
    return digits;
}

static dbi_put put_decimal_text(dbi_frame *frame, const dbi_column *column, PyObject *text) {
    Py_ssize_t length;
    const char *digits = PyUnicode_AsUTF8AndSize(text, &length);

    if (digits == NULL)
        return DBI_PUT_FAILED;
    return dbi__put_core(frame, dbi_row_decimal(&frame->row, column, digits, (size_t)length, &frame->err));
}

/* An int beyond int64. */
static dbi_put put_large_int(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    PyObject *text;
    dbi_put done;

    if (column->type != DBI_TYPE_NUMERIC)
        return dbi__put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err, "out of range of %s",
                                                   dbi_type_text(column->type)));
    text = dbi__int_digits(frame, column, number);
    if (text == NULL)
        return DBI_PUT_FAILED;
    done = put_decimal_text(frame, column, text);
    Py_DECREF(text);
    return done;
}

static dbi_put put_int(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *number = NULL;
    int overflow;
    long long small;
    dbi_put done = read_int(frame, column, value, &number);

    if (done != DBI_PUT_DONE)
        return done;
    small = PyLong_AsLongLongAndOverflow(number, &overflow);
    done = overflow == 0 ? dbi__put_core(frame, dbi_row_int(&frame->row, column, small, &frame->err))
                         : put_large_int(frame, column, number);
    Py_DECREF(number);
    return done;
}

/* An int beyond int64 into a floating-point column, where it has an exact image. */
static dbi_put put_large_float(dbi_frame *frame, const dbi_column *column, PyObject *number) {
    double image = PyLong_AsDouble(number);
    PyObject *as_float, *same;
    bool exact;

    if (image == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return DBI_PUT_FAILED;
        PyErr_Clear();
        return dbi__put_refused(frame, column, "out of range");
    }
    as_float = PyFloat_FromDouble(column->type == DBI_TYPE_FLOAT4 ? (double)(float)image : image);
    if (as_float == NULL)
        return DBI_PUT_FAILED;
    same = PyFloat_Type.tp_richcompare(as_float, number, Py_EQ); /* exact, however large the int is */
    exact = same == Py_True;
    Py_DECREF(as_float);
    if (same == NULL)
        return DBI_PUT_FAILED;
    Py_DECREF(same);
    if (!exact)
        return dbi__put_refused(frame, column, "the integer has no exact image there");
    return dbi__put_core(frame, dbi_row_double(&frame->row, column, image, &frame->err));
}

static dbi_put put_float(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *number = NULL;
    int overflow;
    long long small;
    dbi_put done;

    if (PyFloat_Check(value))
        return dbi__put_core(frame, dbi_row_double(&frame->row, column, PyFloat_AS_DOUBLE(value), &frame->err));
    if (dbi__is_numpy(value, "float")) {
        double wide = PyFloat_AsDouble(value);

        if (wide == -1.0 && PyErr_Occurred())
            return dbi__put_raised(frame, column);
        return dbi__put_core(frame, dbi_row_double(&frame->row, column, wide, &frame->err));
    }
    done = read_int(frame, column, value, &number);
    if (done != DBI_PUT_DONE)
        return done;
    small = PyLong_AsLongLongAndOverflow(number, &overflow);
    done = overflow == 0 ? dbi__put_core(frame, dbi_row_int(&frame->row, column, small, &frame->err))
                         : put_large_float(frame, column, number);
    Py_DECREF(number);
    return done;
}

static dbi_put put_numeric(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *text;
    dbi_put done;

    if (!dbi__is_a(value, frame->fields->decimal_type))
        return put_int(frame, column, value);
    text = frame->fields->decimal_type->tp_str(value); /* not a subclass's: it may write as it likes */
    if (text == NULL)
        return dbi__put_raised(frame, column);
    done = put_decimal_text(frame, column, text);
    Py_DECREF(text);
    return done;
}

/* --- dates and times --- */

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define UTC_FIRST (-719162 * DAY)  /* 0001-01-01 */
#define UTC_LAST (2932897 * DAY - 1) /* 9999-12-31 23:59:59.999999 */

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

static dbi_put put_timestamptz(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    PyObject *offset;
    int64_t micros;

    if (!PyDateTime_Check(value))
        return DBI_PUT_OTHER;
    micros = datetime_micros(value);
    if (PyDateTime_DATE_GET_TZINFO(value) != PyDateTime_TimeZone_UTC) {
        offset = PyObject_CallMethodNoArgs(value, frame->fields->text_utcoffset);
        if (offset == NULL)
            return dbi__put_raised(frame, column);
        if (!PyDelta_Check(offset)) { /* None: naive */
            Py_DECREF(offset);
            return dbi__put_refused(frame, column, "the datetime has no time zone");
        }
        micros -= delta_micros(offset);
        Py_DECREF(offset);
        /* PostgreSQL would take it, and no query could give it back to Python */
        if (micros < UTC_FIRST || micros > UTC_LAST)
            return dbi__put_refused(frame, column, "out of range: in UTC it is not in the years 1 to 9999");
    }
    return dbi__put_core(frame, dbi_row_micros(&frame->row, column, micros, &frame->err));
}

static dbi_put put_timestamp(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyDateTime_Check(value))
        return DBI_PUT_OTHER;
    if (PyDateTime_DATE_GET_TZINFO(value) != Py_None)
        return dbi__put_refused(frame, column, "the datetime has a time zone, which the column would lose");
    return dbi__put_core(frame, dbi_row_micros(&frame->row, column, datetime_micros(value), &frame->err));
}

static dbi_put put_date(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    if (!PyDate_Check(value) || PyDateTime_Check(value))
        return DBI_PUT_OTHER;
    return dbi__put_core(frame, dbi_row_days(&frame->row, column, date_days(value), &frame->err));
}

static dbi_put put_time(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int64_t seconds;

    if (!PyTime_Check(value))
        return DBI_PUT_OTHER;
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None)
        return dbi__put_refused(frame, column, "the time has a time zone, which the column would lose");
    seconds = PyDateTime_TIME_GET_HOUR(value) * 3600 + PyDateTime_TIME_GET_MINUTE(value) * 60 +
              PyDateTime_TIME_GET_SECOND(value);
    return dbi__put_core(frame, dbi_row_micros(&frame->row, column,
                                               seconds * SECOND + PyDateTime_TIME_GET_MICROSECOND(value), &frame->err));
}

static dbi_put put_interval(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    int64_t micros;

    if (!PyDelta_Check(value))
        return DBI_PUT_OTHER;
    micros = PyDateTime_DELTA_GET_SECONDS(value) * SECOND + PyDateTime_DELTA_GET_MICROSECONDS(value);
    return dbi__put_core(
        frame, dbi_row_interval(&frame->row, column, 0, PyDateTime_DELTA_GET_DAYS(value), micros, &frame->err));
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

static dbi_put put_uuid(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    uint8_t bytes[16];
    PyObject *number;
    bool read;

    if (!dbi__is_a(value, frame->fields->uuid_type))
        return DBI_PUT_OTHER;
    number = PyObject_GetAttr(value, frame->fields->text_int);
    if (number == NULL)
        return dbi__put_raised(frame, column);
    read = uuid_bytes(number, bytes);
    Py_DECREF(number);
    if (!read)
        return PyErr_Occurred() ? dbi__put_raised(frame, column)
                                : dbi__put_refused(frame, column, "no UUID of 128 bits");
    return dbi__put_core(frame, dbi_row_uuid(&frame->row, column, bytes, &frame->err));
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

    if (!dbi__is_a(address, fields->address6_type))
        return 0;
    scope = PyObject_GetAttr(address, fields->text_scope_id);
    if (scope == NULL)
        return -1;
    has = scope != Py_None;
    Py_DECREF(scope);
    return has;
}

static dbi_put put_inet(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    dbi_fields *fields = frame->fields;
    bool interface = dbi__is_a(value, fields->interface4_type) || dbi__is_a(value, fields->interface6_type);
    bool network = dbi__is_a(value, fields->network4_type) || dbi__is_a(value, fields->network6_type);
    PyObject *address = NULL, *prefixed = NULL;
    uint8_t bytes[16] = {0};
    unsigned length = 0;
    long bits = -1;
    int scope;
    dbi_put done = DBI_PUT_FAILED;

    if (!interface && !network && !dbi__is_a(value, fields->address4_type) && !dbi__is_a(value, fields->address6_type))
        return DBI_PUT_OTHER;
    address = network ? PyObject_GetAttr(value, fields->text_network_address) : Py_NewRef(value);
    prefixed = interface ? PyObject_GetAttr(value, fields->text_network) : Py_NewRef(value);
    if (address == NULL || prefixed == NULL || !packed_read(fields, address, bytes, &length) ||
        (scope = has_scope(fields, address)) < 0)
        done = dbi__put_raised(frame, column);
    else if (scope != 0)
        done = dbi__put_refused(frame, column, "the IPv6 address has a scope, which PostgreSQL cannot store");
    else if ((bits = interface || network ? prefix_read(fields, prefixed) : (long)length * 8) < 0)
        done = dbi__put_raised(frame, column);
    else
        done = dbi__put_core(frame, dbi_row_inet(&frame->row, column, bytes, length, (unsigned)bits, &frame->err));
    Py_XDECREF(address);
    Py_XDECREF(prefixed);
    return done;
}

/* --- any value --- */

typedef dbi_put (*put_fn)(dbi_frame *frame, const dbi_column *column, PyObject *value);

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
    [DBI_TYPE_JSON] = dbi__put_json,
    [DBI_TYPE_JSONB] = dbi__put_json,
    [DBI_TYPE_INET] = put_inet,
    [DBI_TYPE_CIDR] = put_inet,
    [DBI_TYPE_ENUM] = put_text,
    [DBI_TYPE_TIME] = put_time,
    [DBI_TYPE_INTERVAL] = put_interval,
};

/* A member of an enum.Enum whose class is not of the column's type by itself: its value is written. */
static dbi_put put_member(dbi_frame *frame, const dbi_column *column, PyObject *member) {
    PyObject *value = PyObject_GetAttr(member, frame->fields->text_value);
    dbi_put done;

    if (value == NULL)
        return dbi__put_raised(frame, column);
    done = value == Py_None ? DBI_PUT_OTHER : putters[column->type](frame, column, value);
    Py_DECREF(value);
    return done;
}

/* One value, or element of an array. */
static dbi_put put_value(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    dbi_put done;

    if (value == Py_None)
        return dbi__put_core(frame, dbi_row_null(&frame->row, column, &frame->err));
    done = putters[column->type](frame, column, value);
    if (done == DBI_PUT_OTHER && dbi__is_a(value, frame->fields->enum_type))
        done = put_member(frame, column, value);
    return done == DBI_PUT_OTHER ? dbi__put_wrong_type(frame, column, value) : done;
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
static dbi_put shape_read(dbi_frame *frame, const dbi_column *column, PyObject *value, shape *dims) {
    bool flat = column->type == DBI_TYPE_JSON || column->type == DBI_TYPE_JSONB; /* a list in it is a value */

    for (dims->dimensions = 0; is_list(value) && !(flat && dims->dimensions == 1); dims->dimensions++) {
        Py_ssize_t size = PySequence_Fast_GET_SIZE(value);

        if (size == 0 && dims->dimensions == 0)
            return DBI_PUT_DONE;
        if (dims->dimensions == DBI_ARRAY_DIMENSIONS_MAX)
            return dbi__put_refused(frame, column, "an array has at most 6 dimensions");
        if (size == 0)
            return dbi__put_refused(frame, column, "an array within the array is empty");
        if ((size_t)size > frame->row.max / 4)
            return dbi__put_refused(frame, column, "an array of too many elements");
        dims->sizes[dims->dimensions] = (uint32_t)size;
        value = PySequence_Fast_GET_ITEM(value, 0);
    }
    return DBI_PUT_DONE;
}

static dbi_put put_elements(dbi_frame *frame, const dbi_column *column, PyObject *list, const shape *dims,
                            unsigned dimension) {
    dbi_put done = DBI_PUT_DONE;

    for (Py_ssize_t i = 0; done == DBI_PUT_DONE && i < (Py_ssize_t)dims->sizes[dimension]; i++) {
        PyObject *item;

        /* looked at each time: code that encoding runs may change the list */
        if (!is_list(list) || PySequence_Fast_GET_SIZE(list) != (Py_ssize_t)dims->sizes[dimension])
            return dbi__put_refused(frame, column,
                                    "the lists of an array must be of the same length in each dimension");
        item = Py_NewRef(PySequence_Fast_GET_ITEM(list, i));
        done = dimension + 1 < dims->dimensions ? put_elements(frame, column, item, dims, dimension + 1)
                                                : put_value(frame, column, item);
        Py_DECREF(item);
    }
    return done;
}

static dbi_put put_array(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    shape dims;
    dbi_put done;

    if (!is_list(value))
        return dbi__put_core(frame, dbi_row_refuse(&frame->row, column, DBI_EINVAL, &frame->err,
                                                   "%.80s takes list or tuple, not %.100s", column->type_name,
                                                   Py_TYPE(value)->tp_name));
    done = shape_read(frame, column, value, &dims);
    if (done == DBI_PUT_DONE)
        done = dbi__put_core(frame, dbi_row_array_begin(&frame->row, column, dims.dimensions, dims.sizes, &frame->err));
    if (done == DBI_PUT_DONE && dims.dimensions != 0)
        done = put_elements(frame, column, value, &dims, 0);
    return done == DBI_PUT_DONE ? dbi__put_core(frame, dbi_row_array_end(&frame->row, column, &frame->err)) : done;
}

dbi_put dbi__put_field(dbi_frame *frame, const dbi_column *column, PyObject *value) {
    return column->array && value != Py_None ? put_array(frame, column, value) : put_value(frame, column, value);
}

bool dbi__values_ready(void) {
    if (PyDateTimeAPI == NULL)
        PyDateTime_IMPORT;
    return PyDateTimeAPI != NULL;
}
