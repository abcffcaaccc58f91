/* row_numeric.c - numeric
 *
 * The value, all of 16 bits: number of digits; weight; sign (0, 0x4000 negative, 0xC000 NaN, 0xD000 and 0xF000 plus and
 * minus infinity); the number of decimal places to show; the digits, of base 10,000. The first digit counts
 * 10,000^weight. As the server writes it, there is no zero digit at either end, and infinities show 32 places.
 *
 * Digits of the text are taken where they stand: one that counts 10^p belongs to the digit of 10,000^floor(p / 4).
 */
#include <ctype.h>
#include <strings.h>

#include "row_int.h"

#define SIGN_NEGATIVE 0x4000
#define SIGN_NAN 0xc000
#define SIGN_PLUS_INFINITY 0xd000
#define SIGN_MINUS_INFINITY 0xf000
#define INFINITY_SCALE 32   /* bits of the server's own form that shine through; it does not read them */
#define SCALE_MAX 16383     /* decimal places */
#define WHOLE_MAX 131072    /* digits before the point */
#define EXPONENT_MAX 200000 /* beyond it every number but zero is out of range, and no sum of these overflows */

/* Decimal text, taken apart: the digits are text[first..end), with a point somewhere among them or none. */
typedef struct decimal {
    const char *text;
    size_t first, end; /* from the first digit that is not 0 to past the last one; equal: the number is 0 */
    size_t point;      /* where the point stands, or would */
    long exponent;
    long scale; /* decimal places */
    bool negative;
} decimal;

/* The power of ten that the digit at `at` counts. */
static long digit_power(const decimal *number, size_t at) {
    long from_point = (long)number->point - (long)at;

    return (from_point > 0 ? from_point - 1 : from_point) + number->exponent;
}

/* floor(power / 4) */
static long group_of(long power) {
    return (power >= 0 ? power : power - 3) / 4;
}

/* False when it is not decimal text. */
static bool decimal_read(decimal *number, const char *text, size_t length) {
    size_t at = 0, digits = 0, start, places = 0;
    bool pointed = false;

    *number = (decimal){.text = text};
    if (at < length && (text[at] == '-' || text[at] == '+'))
        number->negative = text[at++] == '-';
    start = at;
    for (; at < length && (isdigit((unsigned char)text[at]) || (text[at] == '.' && !pointed)); at++) {
        if (text[at] == '.') {
            pointed = true;
            number->point = at;
        } else {
            digits++;
            places += pointed;
        }
    }
    if (digits == 0)
        return false;
    if (!pointed)
        number->point = at;
    number->first = start;
    number->end = at;
    while (number->first < number->end && (text[number->first] == '0' || text[number->first] == '.'))
        number->first++;
    while (number->end > number->first && (text[number->end - 1] == '0' || text[number->end - 1] == '.'))
        number->end--;
    if (at < length && (text[at] == 'e' || text[at] == 'E')) {
        bool minus;

        at++;
        minus = at < length && text[at] == '-';
        if (at < length && (text[at] == '-' || text[at] == '+'))
            at++;
        if (at == length)
            return false;
        for (; at < length && isdigit((unsigned char)text[at]); at++)
            if (number->exponent < EXPONENT_MAX)
                number->exponent = number->exponent * 10 + (text[at] - '0');
        if (minus)
            number->exponent = -number->exponent;
    }
    number->scale = (long)places - number->exponent > 0 ? (long)places - number->exponent : 0;
    return at == length;
}

static int typmod_precision(int32_t typmod) {
    return (typmod - 4) >> 16 & 0xffff;
}

static int typmod_scale(int32_t typmod) {
    return (((typmod - 4) & 0x7ff) ^ 1024) - 1024; /* 11 bits, signed */
}

/* Would it be too large for numeric(precision, scale) once the server has rounded it? It is when it has more digits
 * before the point than `precision - scale`, or as many and rounds up to one more: 9s down to the last place kept, and
 * a 5 or more after it. */
static bool decimal_overflows(const decimal *number, int32_t typmod) {
    long scale = typmod_scale(typmod), room = typmod_precision(typmod) - scale;
    long power;

    if (number->first == number->end)
        return false;
    power = digit_power(number, number->first);
    if (power + 1 != room)
        return power + 1 > room;
    for (size_t at = number->first; at < number->end; at++) {
        if (number->text[at] == '.')
            continue;
        power = digit_power(number, at);
        if (power < -scale)
            return number->text[at] >= '5';
        if (number->text[at] != '9')
            return false;
    }
    return false;
}

static uint8_t *put_head(uint8_t *at, size_t digits, long weight, uint16_t sign, long scale) {
    at = dbi__put16be(at, (uint16_t)digits);
    at = dbi__put16be(at, (uint16_t)(int16_t)weight);
    at = dbi__put16be(at, sign);
    return dbi__put16be(at, (uint16_t)scale);
}

/* NaN and the infinities, as Python and PostgreSQL spell them; 0 for anything else. */
static uint16_t special_sign(const char *text, size_t length) {
    bool minus = length != 0 && text[0] == '-';

    if (length != 0 && (text[0] == '-' || text[0] == '+')) {
        text++;
        length--;
    } else if (length == 3 && strncasecmp(text, "nan", 3) == 0) {
        return SIGN_NAN;
    }
    if (length == 8 && strncasecmp(text, "infinity", 8) == 0)
        return minus ? SIGN_MINUS_INFINITY : SIGN_PLUS_INFINITY;
    return 0;
}

static dbi_rc row_special(dbi_row *row, const dbi_column *column, uint16_t sign, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc;

    if (sign != SIGN_NAN && column->typmod >= 4)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "%.80s cannot hold an infinite value", column->type_name);
    rc = dbi__row_open(row, column, DBI__TYPES(NUMERIC), 8, &at, err);
    if (rc == DBI_OK)
        dbi__row_close(row, put_head(at, 0, 0, sign, sign != SIGN_NAN ? INFINITY_SCALE : 0));
    return rc;
}

dbi_rc dbi__row_numeric(dbi_row *row, const dbi_column *column, const char *text, size_t length, dbi_err *err) {
    static const unsigned powers[] = {1, 10, 100, 1000};
    uint16_t special = special_sign(text, length);
    decimal number;
    long weight = 0, group;
    size_t digits = 0;
    unsigned sum = 0;
    uint8_t *at = NULL;
    dbi_rc rc;

    if (special != 0)
        return row_special(row, column, special, err);
    if (!decimal_read(&number, text, length))
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "not a decimal number");
    if (number.first < number.end) {
        if (digit_power(&number, number.first) >= WHOLE_MAX)
            return dbi_row_refuse(row, column, DBI_EINVAL, err, "more than %d digits before the decimal point",
                                  WHOLE_MAX);
        weight = group_of(digit_power(&number, number.first));
    } else {
        number.negative = false;
    }
    if (number.scale > SCALE_MAX)
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "more than %d decimal places", SCALE_MAX);
    if (number.first < number.end)
        digits = (size_t)(weight - group_of(digit_power(&number, number.end - 1)) + 1);
    if (column->typmod >= 4 && decimal_overflows(&number, column->typmod))
        return dbi_row_refuse(row, column, DBI_EINVAL, err, "too large for %.80s", column->type_name);
    rc = dbi__row_open(row, column, DBI__TYPES(NUMERIC), 8 + 2 * digits, &at, err);
    if (rc != DBI_OK)
        return rc;
    at = put_head(at, digits, weight, number.negative ? SIGN_NEGATIVE : 0, number.scale);
    group = weight;
    for (size_t i = number.first; i < number.end; i++) {
        long power;

        if (text[i] == '.')
            continue;
        power = digit_power(&number, i);
        for (; group > group_of(power); group--) {
            at = dbi__put16be(at, (uint16_t)sum);
            sum = 0;
        }
        sum += (unsigned)(text[i] - '0') * powers[power - 4 * group];
    }
    if (digits != 0)
        at = dbi__put16be(at, (uint16_t)sum);
    dbi__row_close(row, at);
    return DBI_OK;
}
