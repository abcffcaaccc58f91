/* pgvalue_time.c - dates, times and intervals of PostgreSQL as ISO 8601
 *
 * What comes in is DateStyle ISO, TimeZone UTC and IntervalStyle postgres:
 *
 *   date         2026-11-22 · 0044-03-15 BC · 12026-01-01 · infinity · -infinity
 *   time         23:59:59.5 · 24:00:00
 *   timetz       23:59:59.5+05:30 · 00:00:00-00:00:10
 *   timestamp    2026-11-22 23:59:59.5 · 0044-03-15 12:00:00 BC · infinity
 *   timestamptz  the same with +00 before the BC
 *   interval     1 year 2 mons -3 days +04:05:06.789
 *
 * What goes out has a T between date and time and a Z at the end (the values of types without a zone, too: that is how
 * Debezium writes them), years of astronomy (1 BC is 0000, 2 BC is -0001) with a sign past 9999.
 */
#include "pgvalue_int.h"

#include <stdlib.h>

#define DAY_S 86400

static bool is_infinity(const uint8_t *text, size_t length) {
    return (length == 8 && memcmp(text, "infinity", 8) == 0) || (length == 9 && memcmp(text, "-infinity", 9) == 0);
}

static bool put_infinity(dbi__out *out, const uint8_t *text, size_t length) {
    dbi__out_byte(out, '"');
    dbi__out_put(out, text, length);
    dbi__out_byte(out, '"');
    return true;
}

/* Takes a " BC" off the end. */
static bool take_bc(const uint8_t *text, size_t *length) {
    if (*length < 3 || memcmp(text + *length - 3, " BC", 3) != 0)
        return false;
    *length -= 3;
    return true;
}

static unsigned two_digits(const uint8_t *text) {
    return (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
}

/* The date that the text begins with, from year to day; how many bytes of the text it takes, 0 = it is none. */
static size_t put_day(dbi__out *out, const uint8_t *text, size_t length, bool bc) {
    size_t digits = dbi__digits(text, length);

    if (digits < 4 || digits > 7 || length < digits + 6 || text[digits] != '-' || text[digits + 3] != '-' ||
        dbi__digits(text + digits + 1, 2) != 2 || dbi__digits(text + digits + 4, 2) != 2)
        return 0;
    if (digits == 4 && !bc) {
        dbi__out_put(out, text, 4);
    } else {
        int year = 0;
        uint8_t *at = dbi__out_room(out, 16);

        for (size_t i = 0; i < digits; i++)
            year = year * 10 + (text[i] - '0');
        if (bc)
            year = 1 - year;
        if (at != NULL) {
            char padded[16];
            int magnitude = year < 0 ? -year : year;
            size_t width = 0;

            if (year < 0)
                *at++ = '-';
            else if (year > 9999)
                *at++ = '+';
            for (; magnitude > 0 || width < 4; magnitude /= 10)
                padded[width++] = (char)('0' + magnitude % 10);
            while (width > 0)
                *at++ = (uint8_t)padded[--width];
            dbi__out_end(out, at);
        }
    }
    dbi__out_put(out, text + digits, 6);
    return digits + 6;
}

/* HH:MM:SS[.ffffff]: how many bytes it takes, 0 = it is none. */
static size_t time_length(const uint8_t *text, size_t length) {
    size_t digits;

    if (length < 8 || dbi__digits(text, 2) != 2 || text[2] != ':' || dbi__digits(text + 3, 2) != 2 || text[5] != ':' ||
        dbi__digits(text + 6, 2) != 2)
        return 0;
    if (length == 8 || text[8] != '.')
        return 8;
    digits = dbi__digits(text + 9, length - 9);
    return digits >= 1 && digits <= 6 ? 9 + digits : 0;
}

bool dbi__put_date(dbi__out *out, const uint8_t *text, size_t length) {
    bool bc;

    if (is_infinity(text, length))
        return put_infinity(out, text, length);
    bc = take_bc(text, &length);
    dbi__out_byte(out, '"');
    if (put_day(out, text, length, bc) != length || length == 0)
        return false;
    DBI__OUT_TEXT(out, "Z\"");
    return true;
}

bool dbi__put_time(dbi__out *out, const uint8_t *text, size_t length) {
    if (length == 0 || time_length(text, length) != length)
        return false;
    dbi__out_byte(out, '"');
    dbi__out_put(out, text, length);
    DBI__OUT_TEXT(out, "Z\"");
    return true;
}

static uint8_t *put_two(uint8_t *at, int value) {
    *at++ = (uint8_t)('0' + value / 10);
    *at++ = (uint8_t)('0' + value % 10);
    return at;
}

/* +HH[:MM[:SS]] in seconds; false when it is not that. */
static bool read_offset(const uint8_t *text, size_t length, int *seconds) {
    int unit = 3600, sum = 0;

    if (length < 3 || (text[0] != '+' && text[0] != '-'))
        return false;
    for (size_t at = 1; at < length; at += 3, unit /= 60) {
        if (unit == 0 || length - at < 2 || dbi__digits(text + at, 2) != 2 ||
            (at + 2 < length && text[at + 2] != ':') || at + 3 == length)
            return false;
        sum += (int)two_digits(text + at) * unit;
    }
    *seconds = text[0] == '-' ? -sum : sum;
    return true;
}

/* The same moment of the day in UTC. */
bool dbi__put_timetz(dbi__out *out, const uint8_t *text, size_t length) {
    size_t time = time_length(text, length);
    int offset = 0, seconds;
    uint8_t *at;

    if (time == 0 || !read_offset(text + time, length - time, &offset))
        return false;
    seconds = (int)two_digits(text) * 3600 + (int)two_digits(text + 3) * 60 + (int)two_digits(text + 6);
    if (seconds != DAY_S || offset != 0) /* 24:00:00+00 stays what it is */
        seconds = ((seconds - offset) % DAY_S + DAY_S) % DAY_S;
    at = dbi__out_room(out, 32);
    if (at == NULL)
        return true;
    *at++ = '"';
    at = put_two(at, seconds / 3600);
    *at++ = ':';
    at = put_two(at, seconds / 60 % 60);
    *at++ = ':';
    at = put_two(at, seconds % 60);
    memcpy(at, text + 8, time - 8);
    at += time - 8;
    *at++ = 'Z';
    *at++ = '"';
    dbi__out_end(out, at);
    return true;
}

/* Date, T and time; the bytes of text that it takes, 0 = it is none. */
static size_t put_day_and_time(dbi__out *out, const uint8_t *text, size_t length, bool bc) {
    size_t day = put_day(out, text, length, bc), time;

    if (day == 0 || day == length || text[day] != ' ')
        return 0;
    time = time_length(text + day + 1, length - day - 1);
    if (time == 0)
        return 0;
    dbi__out_byte(out, 'T');
    dbi__out_put(out, text + day + 1, time);
    return day + 1 + time;
}

bool dbi__put_timestamp(dbi__out *out, const uint8_t *text, size_t length) {
    bool bc;

    if (is_infinity(text, length))
        return put_infinity(out, text, length);
    bc = take_bc(text, &length);
    dbi__out_byte(out, '"');
    if (length == 0 || put_day_and_time(out, text, length, bc) != length)
        return false;
    DBI__OUT_TEXT(out, "Z\"");
    return true;
}

/* With as many decimals as the type has (6 where it does not say), but none for timestamptz(0). */
bool dbi__put_timestamptz(dbi__out *out, const uint8_t *text, size_t length, int32_t typmod) {
    size_t taken, dot, decimals, wanted = typmod >= 0 && typmod <= 6 ? (size_t)typmod : 6;
    bool bc;

    if (is_infinity(text, length))
        return put_infinity(out, text, length);
    bc = take_bc(text, &length);
    dbi__out_byte(out, '"');
    taken = put_day_and_time(out, text, length, bc);
    if (taken == 0 || length - taken != 3 || memcmp(text + taken, "+00", 3) != 0)
        return false;
    for (dot = taken; dot > 0 && text[dot - 1] >= '0' && text[dot - 1] <= '9'; dot--)
        ;
    decimals = text[dot - 1] == '.' ? taken - dot : 0;
    if (decimals == 0 && wanted > 0)
        dbi__out_byte(out, '.');
    for (; decimals < wanted; decimals++)
        dbi__out_byte(out, '0');
    DBI__OUT_TEXT(out, "Z\"");
    return true;
}

/* --- intervals --- */

typedef struct pg_span {
    long years, months, days, hours, minutes, seconds;
    const uint8_t *fraction; /* digits, without zeros at the end */
    size_t fraction_length;
    bool negative; /* the time */
} pg_span;

static bool unit_is(const uint8_t *text, size_t length, const char *unit) {
    size_t one = strlen(unit);

    return (length == one || (length == one + 1 && text[one] == 's')) && memcmp(text, unit, one) == 0;
}

/* Digits as a number; false when there are none, or too many. */
static bool read_long(const uint8_t *text, size_t digits, long *value) {
    if (digits == 0 || digits > 12)
        return false;
    *value = 0;
    for (size_t i = 0; i < digits; i++)
        *value = *value * 10 + (text[i] - '0');
    return true;
}

/* [+-]H…:MM:SS[.ffffff] */
static bool read_span_time(const uint8_t *text, size_t length, pg_span *span) {
    size_t digits = dbi__digits(text, length), at = digits;

    if (!read_long(text, digits, &span->hours) || length < at + 6 || text[at] != ':' ||
        dbi__digits(text + at + 1, 2) != 2 || text[at + 3] != ':' || dbi__digits(text + at + 4, 2) != 2)
        return false;
    span->minutes = (long)two_digits(text + at + 1);
    span->seconds = (long)two_digits(text + at + 4);
    at += 6;
    if (at == length)
        return true;
    span->fraction = text + at + 1;
    span->fraction_length = length - at - 1;
    if (text[at] != '.' || span->fraction_length == 0 || span->fraction_length > 6 ||
        dbi__digits(span->fraction, span->fraction_length) != span->fraction_length)
        return false;
    while (span->fraction_length > 0 && span->fraction[span->fraction_length - 1] == '0')
        span->fraction_length--;
    return true;
}

static bool read_span(const uint8_t *text, size_t length, pg_span *span) {
    const uint8_t *at = text, *end = text + length;

    while (at < end) {
        bool negative = *at == '-';
        size_t digits, unit;
        long value;

        if (*at == '-' || *at == '+')
            at++;
        digits = dbi__digits(at, (size_t)(end - at));
        if (at + digits < end && at[digits] == ':') {
            span->negative = negative;
            return read_span_time(at, (size_t)(end - at), span);
        }
        if (!read_long(at, digits, &value) || at + digits == end || at[digits] != ' ')
            return false;
        value = negative ? -value : value;
        at += digits + 1;
        for (unit = 0; at + unit < end && at[unit] != ' '; unit++)
            ;
        if (unit_is(at, unit, "year"))
            span->years = value;
        else if (unit_is(at, unit, "mon"))
            span->months = value;
        else if (unit_is(at, unit, "day"))
            span->days = value;
        else
            return false;
        at += unit;
        if (at < end && ++at == end)
            return false;
    }
    return length > 0;
}

/* P1Y2M3DT4H5M6.789S: all parts, also those that are zero; the sign stands before each part that is not. */
bool dbi__put_interval(dbi__out *out, const uint8_t *text, size_t length) {
    pg_span span = {0};
    long sign;

    if (!read_span(text, length, &span))
        return false;
    sign = span.negative ? -1 : 1;
    DBI__OUT_TEXT(out, "\"P");
    dbi__out_signed(out, span.years);
    dbi__out_byte(out, 'Y');
    dbi__out_signed(out, span.months);
    dbi__out_byte(out, 'M');
    dbi__out_signed(out, span.days);
    DBI__OUT_TEXT(out, "DT");
    dbi__out_signed(out, sign * span.hours);
    dbi__out_byte(out, 'H');
    dbi__out_signed(out, sign * span.minutes);
    dbi__out_byte(out, 'M');
    if (span.negative && span.seconds == 0 && span.fraction_length > 0)
        dbi__out_byte(out, '-');
    dbi__out_signed(out, sign * span.seconds);
    if (span.fraction_length > 0) {
        dbi__out_byte(out, '.');
        dbi__out_put(out, span.fraction, span.fraction_length);
    }
    DBI__OUT_TEXT(out, "S\"");
    return true;
}
