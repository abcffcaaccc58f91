/* row.h - writes one tuple of PostgreSQL's COPY … (FORMAT binary), value by value.
 *
 * A tuple, all numbers big-endian: int16 number of fields, then for each an int32 length (-1 = NULL) and so many bytes.
 * The bytes of a value are those of its type's receive function: see row.c, row_numeric.c and json.c.
 *
 *     dbi_row_begin(row, schema->column_count);
 *     for each column, in order: exactly one dbi_row_<kind>(row, column, value, err);
 *     row->bytes, row->length are the tuple when dbi_row_complete(row)
 *
 * What the server would refuse is refused here, while the one who gave the value can still be told: DBI_EINVAL with a
 * message that names the field, and the stream where row->stream is set, and never shows the value. DBI_ETOOBIG: the
 * tuple would pass the row's maximum; DBI_ENOMEM. After a failure the row is to be begun anew.
 *
 * A row belongs to one thread at a time. No function here makes a system call but by allocating.
 */
#ifndef DBI_ROW_H
#define DBI_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "err.h"
#include "schema.h"

#define DBI_ROW_MAX (UINT32_C(16) << 20) /* of one tuple, in bytes */
#define DBI_ARRAY_DIMENSIONS_MAX 6       /* PostgreSQL's MAXDIM */
#define DBI_JSON_DEPTH_MAX 1000u

typedef struct dbi_row {
    uint8_t *bytes;
    size_t length, capacity;
    size_t max;         /* of the tuple, in bytes */
    const char *stream; /* for messages; borrowed; NULL = they name the field alone */
    unsigned left;      /* fields still to come */
    size_t array_at;    /* where the open array begins; 0 = none is open */
    uint32_t elements;  /* still to come in the open array */
} dbi_row;

void dbi_row_init(dbi_row *row, size_t max);
void dbi_row_free(dbi_row *row);
/* Gives the buffer back when it has grown past `keep` bytes. */
void dbi_row_shrink(dbi_row *row, size_t keep);

/* Begins a tuple; what was in the row is forgotten. `columns` is at most DBI_COLUMNS_MAX. */
DBI_NODISCARD dbi_rc dbi_row_begin(dbi_row *row, unsigned columns, dbi_err *err);

/* Every field was given, no array is open. */
static inline bool dbi_row_complete(const dbi_row *row) {
    return row->left == 0 && row->array_at == 0 && row->length != 0;
}

/* Refuses a value for a reason of the caller's: fills err with 'field "…" of stream "…": ' and the text. */
DBI_NODISCARD dbi_rc dbi_row_refuse(const dbi_row *row, const dbi_column *column, dbi_rc rc, dbi_err *err,
                                    const char *fmt, ...) DBI_PRINTF(5, 6);

/* NULL; refused where the column is not nullable (the elements of arrays are). */
DBI_NODISCARD dbi_rc dbi_row_null(dbi_row *row, const dbi_column *column, dbi_err *err);

DBI_NODISCARD dbi_rc dbi_row_bool(dbi_row *row, const dbi_column *column, bool value, dbi_err *err);

/* int2, int4, int8, numeric, and float4, float8 where the number has an exact image there. */
DBI_NODISCARD dbi_rc dbi_row_int(dbi_row *row, const dbi_column *column, int64_t value, dbi_err *err);

/* float8, and float4: rounded to nearest, refused where it would become infinity or zero. */
DBI_NODISCARD dbi_rc dbi_row_double(dbi_row *row, const dbi_column *column, double value, dbi_err *err);

/* numeric from decimal text: [+-]digits[.digits][E[+-]digits], "NaN", "Infinity", "-Infinity" (PostgreSQL 14). */
DBI_NODISCARD dbi_rc dbi_row_decimal(dbi_row *row, const dbi_column *column, const char *text, size_t length,
                                     dbi_err *err);

/* text, varchar(n), char(n), citext, enums: UTF-8, which is checked. n counts characters; spaces past n are let pass,
 * for the server cuts them off. */
DBI_NODISCARD dbi_rc dbi_row_text(dbi_row *row, const dbi_column *column, const char *utf8, size_t length,
                                  dbi_err *err);

/* The same from `count` units of `width` bytes in the machine's order: 1 = Latin-1, 2 = UCS-2, 4 = UCS-4. Surrogates
 * are refused. `ascii`: the caller vouches that no unit is above 127 (width 1). */
DBI_NODISCARD dbi_rc dbi_row_units(dbi_row *row, const dbi_column *column, const void *units, unsigned width,
                                   size_t count, bool ascii, dbi_err *err);

/* Most values there are, quicker, for fields that are not within an array. False: it is not one of these, nothing was
 * written, and the function above is to be asked. */

/* Bytes that dbi_row_short takes at most for the column; 0 = none. */
uint8_t dbi_row_short_max(const dbi_column *column);
/* 1 to dbi_row_short_max bytes of ASCII. */
DBI_NODISCARD bool dbi_row_short(dbi_row *row, const void *ascii, size_t length);
/* timestamptz of a time since 1970, as a clock gives it. */
DBI_NODISCARD bool dbi_row_short_micros(dbi_row *row, int64_t micros);
/* NULL for a nullable column. */
DBI_NODISCARD static inline bool dbi_row_short_null(dbi_row *row) {
    const uint32_t length = UINT32_MAX;

    if (row->left == 0 || row->capacity - row->length < sizeof length)
        return false;
    memcpy(row->bytes + row->length, &length, sizeof length);
    row->length += sizeof length;
    row->left--;
    return true;
}

/* bytea */
DBI_NODISCARD dbi_rc dbi_row_bytes(dbi_row *row, const dbi_column *column, const void *bytes, size_t length,
                                   dbi_err *err);

/* timestamptz, timestamp: microseconds since 1970-01-01 (UTC); time: since midnight, 0 to 86,400,000,000. */
DBI_NODISCARD dbi_rc dbi_row_micros(dbi_row *row, const dbi_column *column, int64_t micros, dbi_err *err);

/* date: days since 1970-01-01 */
DBI_NODISCARD dbi_rc dbi_row_days(dbi_row *row, const dbi_column *column, int64_t days, dbi_err *err);

DBI_NODISCARD dbi_rc dbi_row_interval(dbi_row *row, const dbi_column *column, int32_t months, int32_t days,
                                      int64_t micros, dbi_err *err);

DBI_NODISCARD dbi_rc dbi_row_uuid(dbi_row *row, const dbi_column *column, const uint8_t uuid[16], dbi_err *err);

/* inet, cidr: 4 or 16 bytes of address and the bits of its network; cidr refuses bits set past these. */
DBI_NODISCARD dbi_rc dbi_row_inet(dbi_row *row, const dbi_column *column, const uint8_t *address, unsigned length,
                                  unsigned bits, dbi_err *err);

/* Opens an array of `dimensions` (0 = empty, at most DBI_ARRAY_DIMENSIONS_MAX) of the given sizes (1 or more each). Its
 * elements follow, the last index running fastest, by the functions above and dbi_json; then dbi_row_array_end. */
DBI_NODISCARD dbi_rc dbi_row_array_begin(dbi_row *row, const dbi_column *column, unsigned dimensions,
                                         const uint32_t *sizes, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_row_array_end(dbi_row *row, const dbi_column *column, dbi_err *err);

#endif
