/* json.h - writes one JSON text into a row, as the value of a json or jsonb column.
 *
 * The writer puts the commas and colons, and keeps the rules: one value at the top, keys only in objects and before
 * each of their values, no more than DBI_JSON_DEPTH_MAX levels, no NUL character (jsonb cannot hold it), no lone
 * surrogate. Text is written in UTF-8; only ", \ and control characters are escaped. Failures are the row's: see row.h;
 * a call out of order is DBI_ESTATE.
 */
#ifndef DBI_JSON_H
#define DBI_JSON_H

#include "row.h"

typedef struct dbi_json {
    dbi_row *row;
    const dbi_column *column;
    size_t at;                                       /* where the value's length goes */
    unsigned depth;                                  /* open arrays and objects */
    bool value_follows;                              /* a value may come now: at the top, in an array, after a key */
    bool comma;                                      /* ... and is not the first of its array or object */
    uint8_t in_object[(DBI_JSON_DEPTH_MAX + 7) / 8]; /* one bit a level */
} dbi_json;

DBI_NODISCARD dbi_rc dbi_json_begin(dbi_json *json, dbi_row *row, const dbi_column *column, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_end(dbi_json *json, dbi_err *err);

DBI_NODISCARD dbi_rc dbi_json_null(dbi_json *json, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_bool(dbi_json *json, bool value, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_int(dbi_json *json, int64_t value, dbi_err *err);
/* A number as text, checked against JSON's grammar and numeric's range. */
DBI_NODISCARD dbi_rc dbi_json_number(dbi_json *json, const char *text, size_t length, dbi_err *err);
/* A string, or a key, from units as dbi_row_units takes them. */
DBI_NODISCARD dbi_rc dbi_json_units(dbi_json *json, const void *units, unsigned width, size_t count, bool ascii,
                                    dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_key(dbi_json *json, const void *units, unsigned width, size_t count, bool ascii,
                                  dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_open(dbi_json *json, bool object, dbi_err *err);
DBI_NODISCARD dbi_rc dbi_json_close(dbi_json *json, dbi_err *err);

#endif
