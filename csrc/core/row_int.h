/* row_int.h - what the files that write values share */
#ifndef DBI_ROW_INT_H
#define DBI_ROW_INT_H

#include <string.h>

#include "bytes_int.h"
#include "row.h"

DBI_NODISCARD dbi_rc dbi__row_grow(dbi_row *row, const dbi_column *column, size_t more, dbi_err *err);

/* Makes room for `more` bytes past the row's length. */
DBI_NODISCARD static inline dbi_rc dbi__row_reserve(dbi_row *row, const dbi_column *column, size_t more, dbi_err *err) {
    return more <= row->capacity - row->length ? DBI_OK : dbi__row_grow(row, column, more, err);
}

/* The function does not write values of the column's type: a mistake of the caller's. */
DBI_NODISCARD dbi_rc dbi__row_mismatch(const dbi_row *row, const dbi_column *column, dbi_err *err);

/* There is no field or element left to give. */
DBI_NODISCARD dbi_rc dbi__row_surplus(const dbi_row *row, const dbi_column *column, dbi_err *err);

/* A set of types. */
#define DBI__TYPES(type) (UINT32_C(1) << DBI_TYPE_##type)

/* Begins a value of one of `types`: counts it, makes room for its length and `room` bytes. *at is where it begins. */
DBI_NODISCARD static inline dbi_rc dbi__row_open(dbi_row *row, const dbi_column *column, uint32_t types, size_t room,
                                                 uint8_t **at, dbi_err *err) {
    dbi_rc rc;

    if ((types >> column->type & 1) == 0 || column->array != (row->array_at != 0))
        return dbi__row_mismatch(row, column, err);
    if (row->array_at != 0 ? row->elements == 0 : row->left == 0)
        return dbi__row_surplus(row, column, err);
    rc = dbi__row_reserve(row, column, room + 4, err);
    if (rc != DBI_OK)
        return rc;
    if (row->array_at != 0)
        row->elements--;
    else
        row->left--;
    *at = row->bytes + row->length + 4;
    return DBI_OK;
}

/* Ends a value that was written whole from `at` on, within the room asked for. */
static inline void dbi__row_close(dbi_row *row, const uint8_t *end) {
    size_t length = (size_t)(end - (row->bytes + row->length + 4));

    (void)dbi__put32be(row->bytes + row->length, (uint32_t)length);
    row->length += 4 + length;
}

/* numeric of [-]digits[.digits][E…]: see row_numeric.c. */
DBI_NODISCARD dbi_rc dbi__row_numeric(dbi_row *row, const dbi_column *column, const char *text, size_t length,
                                      dbi_err *err);

/* Writes the decimal digits of a number, without an end; up to 20 bytes. */
size_t dbi__decimal(char *text, int64_t value);

#endif
