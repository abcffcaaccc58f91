/* pgvalue_int.h - what pgvalue.c and pgvalue_time.c share */
#ifndef DBI_CDC_PGVALUE_INT_H
#define DBI_CDC_PGVALUE_INT_H

#include "out_int.h"

/* How many digits there are from `text` on. */
static inline size_t dbi__digits(const uint8_t *text, size_t length) {
    size_t count = 0;

    while (count < length && text[count] >= '0' && text[count] <= '9')
        count++;
    return count;
}

/* Each writes a string in ISO 8601; false when the text is not what the type is written as. */
bool dbi__put_date(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_time(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timetz(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timestamp(dbi__out *out, const uint8_t *text, size_t length);
bool dbi__put_timestamptz(dbi__out *out, const uint8_t *text, size_t length, int32_t typmod);
bool dbi__put_interval(dbi__out *out, const uint8_t *text, size_t length);

#endif
