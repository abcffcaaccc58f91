/* pgvalue_int.h - what pgvalue.c, pgvalue_time.c and pgvalue_geometry.c share */
#ifndef DBI_CDC_PGVALUE_INT_H
#define DBI_CDC_PGVALUE_INT_H

#include "pgvalue.h"

/* How many digits there are from `text` on. */
static inline size_t dbi__digits(const uint8_t *text, size_t length) {
    size_t count = 0;

    while (count < length && text[count] >= '0' && text[count] <= '9')
        count++;
    return count;
}

/* What a hexadecimal digit stands for, or -1. */
int dbi__hex_digit(uint8_t byte);

/* Hexadecimal digits as base64, without quotes; false when there are others. */
bool dbi__put_hex_as_base64(dbi__out *out, const uint8_t *hex, size_t length);

/* A number, or one of "NaN", "Infinity" and "-Infinity"; false when it is none of these. */
bool dbi__put_float(dbi__out *out, const uint8_t *text, size_t length);

/* Values that are made of numbers; false when the text is not what the type is written as. */
bool dbi__put_point(dbi__pgvalues *values, dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_line(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_circle(dbi__pgvalues *values, dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_shape(dbi__pgvalues *values, dbi__out *out, dbi_pgkind kind, const uint8_t *text, size_t length);
bool dbi__put_geometry(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_vector(dbi__out *out, const uint8_t *text, size_t length);

/* Each writes a string in ISO 8601; false when the text is not what the type is written as. */
bool dbi__put_date(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_time(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timetz(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timestamp(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timestamptz(dbi__out *out, const uint8_t *text, size_t length, int32_t typmod);
bool dbi__put_interval(dbi__out *out, const uint8_t *text, size_t length);

#endif
