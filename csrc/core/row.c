/* row.c - see row.h
 *
 * The value of a type, as its receive function reads it (all numbers big-endian):
 *
 *     bool                     one byte, 0 or 1
 *     smallint, integer, …     2, 4 or 8 bytes, two's complement
 *     real, double precision   IEEE 754 bits in 4 or 8 bytes
 *     numeric                  see row_numeric.c
 *     text, varchar, enum, …   UTF-8
 *     json                     UTF-8; jsonb: a byte of version, 1, before it
 *     bytea, uuid              the bytes
 *     timestamptz, timestamp   int64 of microseconds since 2000-01-01
 *     time                     int64 of microseconds since midnight
 *     date                     int32 of days since 2000-01-01
 *     interval                 int64 of microseconds, int32 of days, int32 of months
 *     inet, cidr               family (2 or 3), bits of the network, 1 for cidr, length of the address; the address
 *     array                    int32 each of: dimensions, 1 if there is a NULL, oid of the elements; for each dimension
 *                              its size and lower bound (1); then the elements, each as a field of a tuple
 */
#include "row_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "alloc.h"
#include "utf8_int.h"

#define CAPACITY_FIRST 512u

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_DAYS 10957
#define EPOCH_MICROS INT64_C(946684800000000)
#define MICROS_MIN (INT64_C(-211813488000000000) + EPOCH_MICROS) /* 4714-11-24 BC; int64 ends before the last */
#define DAYS_MIN (-2451545 + EPOCH_DAYS)                         /* 4714-11-24 BC */
#define DAYS_END (INT64_C(2145031949) + EPOCH_DAYS)              /* 5874898-01-01 */
#define MICROS_PER_DAY INT64_C(86400000000)

#define LABEL_MAX 63 /* bytes of an enum's label: a name */

/* --- the buffer --- */

void dbi_row_init(dbi_row *row, size_t max) {
    *row = (dbi_row){.max = max};
}

void dbi_row_free(dbi_row *row) {
    if (row == NULL)
        return;
    dbi_free(row->bytes);
    row->bytes = NULL;
    row->length = row->capacity = 0;
}

void dbi_row_shrink(dbi_row *row, size_t keep) {
    if (row->capacity > keep)
        dbi_row_free(row);
}

static dbi_rc row_enlarge(dbi_row *row, size_t need) {
    size_t capacity = row->capacity != 0 ? row->capacity : CAPACITY_FIRST;
    uint8_t *bytes;

    while (capacity < need)
        capacity *= 2; /* need <= max, which is far below SIZE_MAX / 2 */
    if (capacity > row->max)
        capacity = row->max;
    bytes = dbi_realloc(row->bytes, capacity);
    if (bytes == NULL)
        return DBI_ENOMEM;
    row->bytes = bytes;
    row->capacity = capacity;
    return DBI_OK;
}

dbi_rc dbi__row_grow(dbi_row *row, const dbi_column *column, size_t more, dbi_err *err) {
    if (more > row->max - row->length)
        return dbi_row_refuse(row, column, DBI_ETOOBIG, err, "the event would be larger than %zu bytes", row->max);
    if (row_enlarge(row, row->length + more) != DBI_OK)
        return dbi_row_refuse(row, column, DBI_ENOMEM, err, "no memory for %zu bytes", row->length + more);
    return DBI_OK;
}

dbi_rc dbi_row_begin(dbi_row *row, unsigned columns, dbi_err *err) {
    row->length = 0;
    row->left = columns;
    row->array_at = 0;
    if (columns > DBI_COLUMNS_MAX)
        return dbi_err_set(err, DBI_EINVAL, "a tuple has at most %d fields, not %u", DBI_COLUMNS_MAX, columns);
    if (row->capacity < 2 && (row->max < 2 || row_enlarge(row, 2) != DBI_OK))
        return dbi_err_set(err, row->max < 2 ? DBI_ETOOBIG : DBI_ENOMEM, "no room for a tuple");
    (void)dbi__put16be(row->bytes, (uint16_t)columns);
    row->length = 2;
    return DBI_OK;
}

/* --- refusals --- */

dbi_rc dbi_row_refuse(const dbi_row *row, const dbi_column *column, dbi_rc rc, dbi_err *err, const char *fmt, ...) {
    char reason[384] = "";
    va_list args;

    if (err == NULL)
        return rc;
    va_start(args, fmt);
    (void)vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    if (row->stream != NULL)
        return dbi_err_set(err, rc, "field \"%s\" of stream \"%.127s\": %s", column->name, row->stream, reason);
    return dbi_err_set(err, rc, "field \"%s\": %s", column->name, reason);
}

dbi_rc dbi__row_mismatch(const dbi_row *row, const dbi_column *column, dbi_err *err) {
    return dbi_row_refuse(row, column, DBI_EINVAL, err, "this is no value of type %.80s", column->type_name);
}

dbi_rc dbi__row_surplus(const dbi_row *row, const dbi_column *column, dbi_err *err) {
    return dbi_row_refuse(row, column, DBI_ESTATE, err, "more %s than announced",
                          row->array_at != 0 ? "elements" : "fields");
}

static dbi_rc out_of_range(const dbi_row *row, const dbi_column *column, dbi_err *err) {
    return dbi_row_refuse(row, column, DBI_EINVAL, err, "out of range of %s", dbi_type_text(column->type));
}

/* --- plain values --- */

dbi_rc dbi_row_null(dbi_row *row, const dbi_column *column, dbi_err *err) {
    dbi_rc rc;

    if (row->array_at == 0 && !column->nullable)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "NULL, which the column does not take");
    if (row->array_at != 0 ? row->elements == 0 : row->left == 0)
        return dbi__row_surplus(row, column, err);
    rc = dbi__row_reserve(row, column, 4, err);
    if (rc != DBI_OK)
        return rc;
    (void)dbi__put32be(row->bytes + row->length, UINT32_MAX);
    row->length += 4;
    if (row->array_at != 0) {
        (void)dbi__put32be(row->bytes + row->array_at + 8, 1); /* the array's mark that it holds a NULL */
        row->elements--;
    } else {
        row->left--;
    }
    return DBI_OK;
}

dbi_rc dbi_row_bool(dbi_row *row, const dbi_column *column, bool value, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(BOOL), 1, &at, err);

    if (rc != DBI_OK)
        return rc;
    *at++ = value;
    dbi__row_close(row, at);
    return DBI_OK;
}

size_t dbi__decimal(char *text, int64_t value) {
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[20];
    size_t count = 0, length = 0;

    do
        digits[count++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        text[length++] = '-';
    while (count > 0)
        text[length++] = digits[--count];
    return length;
}

/* An integer into a floating-point column: only where nothing is lost. */
static dbi_rc row_exact(dbi_row *row, const dbi_column *column, int64_t value, dbi_err *err) {
    double image = column->type == DBI_TYPE_FLOAT4 ? (double)(float)value : (double)value;

    /* 2^63 as a double is beyond int64: to convert it back would be undefined */
    if (image >= 0x1p63 || (int64_t)image != value)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "the integer has no exact image in %s",
                              dbi_type_text(column->type));
    return dbi_row_double(row, column, image, err);
}

dbi_rc dbi_row_int(dbi_row *row, const dbi_column *column, int64_t value, dbi_err *err) {
    char text[24];
    uint8_t *at = NULL;
    dbi_rc rc;

    switch (column->type) {
    case DBI_TYPE_FLOAT4:
    case DBI_TYPE_FLOAT8:
        return row_exact(row, column, value, err);
    case DBI_TYPE_NUMERIC:
        return dbi__row_numeric(row, column, text, dbi__decimal(text, value), err);
    case DBI_TYPE_INT2:
        if (value < INT16_MIN || value > INT16_MAX)
            return dbi_row_refuse(row, column, DBI_EINVAL, err, "out of range of smallint (-32768 to 32767)");
        break;
    case DBI_TYPE_INT4:
        if (value < INT32_MIN || value > INT32_MAX)
            return dbi_row_refuse(row, column, DBI_EINVAL, err, "out of range of integer (-2147483648 to 2147483647)");
        break;
    default:
        break;
    }
    rc = dbi__row_open(row, column, DBI__TYPES(INT2) | DBI__TYPES(INT4) | DBI__TYPES(INT8), 8, &at, err);
    if (rc != DBI_OK)
        return rc;
    if (column->type == DBI_TYPE_INT2)
        at = dbi__put16be(at, (uint16_t)value);
    else if (column->type == DBI_TYPE_INT4)
        at = dbi__put32be(at, (uint32_t)value);
    else
        at = dbi__put64be(at, (uint64_t)value);
    dbi__row_close(row, at);
    return DBI_OK;
}

/* PostgreSQL knows one NaN, and its own has these bits. */
#define NAN_BITS4 UINT32_C(0x7fc00000)
#define NAN_BITS8 UINT64_C(0x7ff8000000000000)

dbi_rc dbi_row_double(dbi_row *row, const dbi_column *column, double value, dbi_err *err) {
    float narrow = (float)value;
    uint32_t bits4;
    uint64_t bits8;
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(FLOAT4) | DBI__TYPES(FLOAT8), 8, &at, err);

    if (rc != DBI_OK)
        return rc;
    if (column->type == DBI_TYPE_FLOAT4) {
        if ((isfinite(value) && isinf(narrow)) || (fpclassify(value) != FP_ZERO && fpclassify(narrow) == FP_ZERO))
            return out_of_range(row, column, err);
        memcpy(&bits4, &narrow, sizeof bits4);
        at = dbi__put32be(at, isnan(value) ? NAN_BITS4 : bits4);
    } else {
        memcpy(&bits8, &value, sizeof bits8);
        at = dbi__put64be(at, isnan(value) ? NAN_BITS8 : bits8);
    }
    dbi__row_close(row, at);
    return DBI_OK;
}

dbi_rc dbi_row_decimal(dbi_row *row, const dbi_column *column, const char *text, size_t length, dbi_err *err) {
    return dbi__row_numeric(row, column, text, length, err);
}

dbi_rc dbi_row_bytes(dbi_row *row, const dbi_column *column, const void *bytes, size_t length, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc;

    if (length > row->max)
        return dbi_row_refuse(row, column, DBI_ETOOBIG, err, "%zu bytes; an event has at most %zu", length, row->max);
    rc = dbi__row_open(row, column, DBI__TYPES(BYTEA), length, &at, err);
    if (rc != DBI_OK)
        return rc;
    if (length != 0)
        memcpy(at, bytes, length);
    dbi__row_close(row, at + length);
    return DBI_OK;
}

dbi_rc dbi_row_uuid(dbi_row *row, const dbi_column *column, const uint8_t uuid[16], dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(UUID), 16, &at, err);

    if (rc != DBI_OK)
        return rc;
    memcpy(at, uuid, 16);
    dbi__row_close(row, at + 16);
    return DBI_OK;
}

/* --- dates and times --- */

dbi_rc dbi_row_micros(dbi_row *row, const dbi_column *column, int64_t micros, dbi_err *err) {
    bool time = column->type == DBI_TYPE_TIME;
    uint8_t *at = NULL;
    dbi_rc rc =
        dbi__row_open(row, column, DBI__TYPES(TIMESTAMPTZ) | DBI__TYPES(TIMESTAMP) | DBI__TYPES(TIME), 8, &at, err);

    if (rc != DBI_OK)
        return rc;
    if (time ? micros < 0 || micros > MICROS_PER_DAY : micros < MICROS_MIN)
        return out_of_range(row, column, err);
    dbi__row_close(row, dbi__put64be(at, (uint64_t)(time ? micros : micros - EPOCH_MICROS)));
    return DBI_OK;
}

dbi_rc dbi_row_days(dbi_row *row, const dbi_column *column, int64_t days, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(DATE), 4, &at, err);

    if (rc != DBI_OK)
        return rc;
    if (days < DAYS_MIN || days >= DAYS_END)
        return out_of_range(row, column, err);
    dbi__row_close(row, dbi__put32be(at, (uint32_t)(days - EPOCH_DAYS)));
    return DBI_OK;
}

dbi_rc dbi_row_interval(dbi_row *row, const dbi_column *column, int32_t months, int32_t days, int64_t micros,
                        dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(INTERVAL), 16, &at, err);

    if (rc != DBI_OK)
        return rc;
    at = dbi__put64be(at, (uint64_t)micros);
    at = dbi__put32be(at, (uint32_t)days);
    dbi__row_close(row, dbi__put32be(at, (uint32_t)months));
    return DBI_OK;
}

/* --- addresses --- */

#define FAMILY_INET 2 /* PostgreSQL's own numbers, the same on all systems */
#define FAMILY_INET6 3

dbi_rc dbi_row_inet(dbi_row *row, const dbi_column *column, const uint8_t *address, unsigned length, unsigned bits,
                    dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(INET) | DBI__TYPES(CIDR), 4 + 16, &at, err);

    if (rc != DBI_OK)
        return rc;
    if ((length != 4 && length != 16) || bits > length * 8)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "no address of 4 or 16 bytes with bits of its network");
    if (column->type == DBI_TYPE_CIDR)
        for (unsigned bit = bits; bit < length * 8; bit++)
            if ((address[bit / 8] >> (7 - bit % 8) & 1) != 0)
                return dbi_row_refuse(row, column, DBI_EINVAL, err,
                                      "the address has bits set to the right of its network's %u", bits);
    *at++ = length == 4 ? FAMILY_INET : FAMILY_INET6;
    *at++ = (uint8_t)bits;
    *at++ = column->type == DBI_TYPE_CIDR;
    *at++ = (uint8_t)length;
    memcpy(at, address, length);
    dbi__row_close(row, at + length);
    return DBI_OK;
}

/* --- text --- */

/* The characters that varchar(n) or char(n) takes; SIZE_MAX for other types. */
static size_t text_limit(const dbi_column *column) {
    return column->type == DBI_TYPE_TEXT && column->typmod >= 4 ? (size_t)column->typmod - 4 : SIZE_MAX;
}

static dbi_rc text_nul(const dbi_row *row, const dbi_column *column, dbi_err *err) {
    return dbi_row_refuse(row, column, DBI_EINVAL, err, "a NUL character, which PostgreSQL cannot store");
}

static dbi_rc text_long(const dbi_row *row, const dbi_column *column, size_t characters, dbi_err *err) {
    return dbi_row_refuse(row, column, DBI_EINVAL, err, "%zu characters are too many for %.80s", characters,
                          column->type_name);
}

/* Checks what does not depend on how the text is written. */
static dbi_rc text_check(const dbi_row *row, const dbi_column *column, size_t length, dbi_err *err) {
    if (length > row->max)
        return dbi_row_refuse(row, column, DBI_ETOOBIG, err, "%zu characters; an event has at most %zu bytes", length,
                              row->max);
    if (column->type == DBI_TYPE_ENUM && (length == 0 || length > LABEL_MAX))
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "no label of an enum: it has 1 to %d bytes", LABEL_MAX);
    return DBI_OK;
}

static bool only_spaces(const char *text, size_t length) {
    while (length > 0 && text[length - 1] == ' ')
        length--;
    return length == 0;
}

/* Where the `skip`th character of valid UTF-8 begins. */
static size_t utf8_offset(const char *utf8, size_t skip) {
    size_t at = 0;

    for (; skip > 0; skip--)
        do
            at++;
        while (((uint8_t)utf8[at] & 0xc0) == 0x80);
    return at;
}

/* Valid UTF-8 of so many characters. */
static dbi_rc row_text(dbi_row *row, const dbi_column *column, const char *utf8, size_t length, size_t characters,
                       dbi_err *err) {
    size_t limit = text_limit(column);
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(TEXT) | DBI__TYPES(ENUM), length, &at, err);

    if (rc != DBI_OK)
        return rc;
    if (characters > limit) {
        size_t rest = utf8_offset(utf8, limit);

        if (!only_spaces(utf8 + rest, length - rest))
            return text_long(row, column, characters, err);
    }
    if (memchr(utf8, '\0', length) != NULL)
        return text_nul(row, column, err);
    memcpy(at, utf8, length);
    dbi__row_close(row, at + length);
    return DBI_OK;
}

dbi_rc dbi_row_text(dbi_row *row, const dbi_column *column, const char *utf8, size_t length, dbi_err *err) {
    size_t characters = 0;
    dbi_rc rc = text_check(row, column, length, err);

    if (rc != DBI_OK)
        return rc;
    if (!dbi__utf8_read((const uint8_t *)utf8, length, &characters))
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "not valid UTF-8");
    return row_text(row, column, utf8, length, characters, err);
}

dbi_rc dbi_row_units(dbi_row *row, const dbi_column *column, const void *units, unsigned width, size_t count,
                     bool ascii, dbi_err *err) {
    size_t bad = 0, size, limit = text_limit(column);
    uint8_t *at = NULL;
    dbi_rc rc = text_check(row, column, count, err);

    if (rc != DBI_OK)
        return rc;
    if (ascii)
        return row_text(row, column, units, count, count, err);
    size = dbi__utf8_size(units, width, count, &bad);
    if (size == SIZE_MAX)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "character %zu is a lone surrogate", bad);
    if ((rc = text_check(row, column, size, err)) != DBI_OK ||
        (rc = dbi__row_open(row, column, DBI__TYPES(TEXT) | DBI__TYPES(ENUM), size, &at, err)) != DBI_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        uint32_t character = dbi__unit(units, width, i);

        if (character == 0)
            return text_nul(row, column, err);
        if (i >= limit && character != ' ')
            return text_long(row, column, count, err);
        at = dbi__utf8_put(at, character);
    }
    dbi__row_close(row, at);
    return DBI_OK;
}

/* --- short text --- */

#define SHORT_MAX 64u /* bytes; longer text takes more time than the ways to it */

/* 1 to 7 bytes as a number, the first lowest. */
static uint64_t few_bytes(const char *from, size_t length) {
    const uint8_t *at = (const uint8_t *)from;

    if (length >= 4)
        return dbi__get32le(at) | (uint64_t)dbi__get32le(at + length - 4) << 8 * (length - 4);
    return at[0] | (uint64_t)at[length / 2] << 8 * (length / 2) | (uint64_t)at[length - 1] << 8 * (length - 1);
}

/* Copies 1 to SHORT_MAX bytes of ASCII, up to 7 of no meaning after them; false when one is NUL: 0 less 1 has the highest
 * bit, which no other byte has, but for those above a 0. */
static bool short_copy(uint8_t *to, const char *from, size_t length) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word, seen = 0;

    if (length < sizeof word) {
        word = few_bytes(from, length);
        dbi__put64le(to, word);
        seen = word - (ones >> (64 - 8 * length));
    } else {
        for (size_t i = 0; i < length - sizeof word; i += sizeof word) {
            memcpy(&word, from + i, sizeof word);
            memcpy(to + i, &word, sizeof word);
            seen |= word - ones;
        }
        memcpy(&word, from + length - sizeof word, sizeof word); /* overlaps what was copied before it */
        memcpy(to + length - sizeof word, &word, sizeof word);
        seen |= word - ones;
    }
    return (seen & ones << 7) == 0;
}

uint8_t dbi_row_short_max(const dbi_column *column) {
    size_t limit = column->type == DBI_TYPE_TEXT && !column->array ? text_limit(column) : 0;

    return (uint8_t)(limit < SHORT_MAX ? limit : SHORT_MAX);
}

bool dbi_row_short(dbi_row *row, const void *ascii, size_t length) {
    uint8_t *at = row->bytes + row->length;

    if (row->left == 0 || row->capacity - row->length < 4 + SHORT_MAX + 8 || !short_copy(at + 4, ascii, length))
        return false;
    (void)dbi__put32be(at, (uint32_t)length);
    row->length += 4 + length;
    row->left--;
    return true;
}

bool dbi_row_short_micros(dbi_row *row, int64_t micros) {
    uint8_t *at = row->bytes + row->length;

    if (row->left == 0 || row->capacity - row->length < 12 || micros < 0)
        return false;
    at = dbi__put32be(at, 8);
    (void)dbi__put64be(at, (uint64_t)(micros - EPOCH_MICROS));
    row->length += 12;
    row->left--;
    return true;
}

/* --- arrays --- */

dbi_rc dbi_row_array_begin(dbi_row *row, const dbi_column *column, unsigned dimensions, const uint32_t *sizes,
                           dbi_err *err) {
    uint64_t elements = dimensions != 0;
    uint8_t *at = NULL;
    dbi_rc rc;

    if (!column->array || row->array_at != 0)
        return dbi__row_mismatch(row, column, err);
    if (row->left == 0)
        return dbi__row_surplus(row, column, err);
    if (dimensions > DBI_ARRAY_DIMENSIONS_MAX)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "an array has at most %d dimensions",
                              DBI_ARRAY_DIMENSIONS_MAX);
    for (unsigned i = 0; i < dimensions; i++) {
        if (sizes[i] == 0)
            return dbi_row_refuse(row, column, DBI_EINVAL, err, "a dimension of an array has 1 element or more");
        if (sizes[i] > row->max / 4 / elements) /* each takes 4 bytes at least */
            return dbi_row_refuse(row, column, DBI_ETOOBIG, err, "too many elements for an event of %zu bytes",
                                  row->max);
        elements *= sizes[i];
    }
    rc = dbi__row_reserve(row, column, 4 + 12 + (size_t)dimensions * 8, err);
    if (rc != DBI_OK)
        return rc;
    row->array_at = row->length;
    row->elements = (uint32_t)elements;
    at = row->bytes + row->length + 4;
    at = dbi__put32be(at, dimensions);
    at = dbi__put32be(at, 0);
    at = dbi__put32be(at, column->element_oid);
    for (unsigned i = 0; i < dimensions; i++)
        at = dbi__put32be(dbi__put32be(at, sizes[i]), 1);
    row->length = (size_t)(at - row->bytes);
    return DBI_OK;
}

dbi_rc dbi_row_array_end(dbi_row *row, const dbi_column *column, dbi_err *err) {
    if (row->array_at == 0 || row->elements != 0)
        return dbi_row_refuse(row, column, DBI_ESTATE, err, "the array has fewer elements than announced");
    (void)dbi__put32be(row->bytes + row->array_at, (uint32_t)(row->length - row->array_at - 4));
    row->array_at = 0;
    row->left--;
    return DBI_OK;
}
