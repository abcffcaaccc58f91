/* json.c - see json.h */
#include "json.h"

#include <ctype.h>

#include "row_int.h"
#include "utf8_int.h"

#define JSONB_VERSION 1
#define JSONB_STRING_MAX ((UINT32_C(1) << 28) - 1) /* bytes: what a jsonb entry can say its length is */
#define NUMBER_WHOLE_MAX 131072                    /* numeric's: digits before the point, and places after it */
#define NUMBER_SCALE_MAX 16383

/* How a character below 128 is written in a string: 0 = as it is, 'u' = \u00XX, else after a backslash. */
static const char json_escapes[128] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 0,   0,   '"', [92] = '\\',
};

static dbi_rc json_order(const dbi_json *json, dbi_err *err) {
    return dbi_row_refuse(json->row, json->column, DBI_ESTATE, err, "the JSON text is not written in order");
}

dbi_rc dbi_json_begin(dbi_json *json, dbi_row *row, const dbi_column *column, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = dbi__row_open(row, column, DBI__TYPES(JSON) | DBI__TYPES(JSONB), 1, &at, err);

    if (rc != DBI_OK)
        return rc;
    json->row = row;
    json->column = column;
    json->at = row->length;
    json->depth = 0;
    json->value_follows = true;
    json->comma = false;
    if (column->type == DBI_TYPE_JSONB)
        *at++ = JSONB_VERSION;
    row->length = (size_t)(at - row->bytes);
    return DBI_OK;
}

dbi_rc dbi_json_end(dbi_json *json, dbi_err *err) {
    if (json->depth != 0 || json->value_follows)
        return json_order(json, err);
    (void)dbi__put32be(json->row->bytes + json->at, (uint32_t)(json->row->length - json->at - 4));
    return DBI_OK;
}

static bool in_object(const dbi_json *json) {
    unsigned level = json->depth - 1;

    return json->depth != 0 && (json->in_object[level / 8] >> level % 8 & 1) != 0;
}

/* Makes room for a value of `room` bytes and puts the comma before it; what follows it then may be another. */
static dbi_rc json_value(dbi_json *json, size_t room, uint8_t **at, dbi_err *err) {
    dbi_row *row = json->row;
    dbi_rc rc;

    if (!json->value_follows)
        return json_order(json, err);
    rc = dbi__row_reserve(row, json->column, room + 1, err);
    if (rc != DBI_OK)
        return rc;
    *at = row->bytes + row->length;
    if (json->comma)
        *(*at)++ = ',';
    json->comma = json->depth != 0;
    json->value_follows = json->depth != 0 && !in_object(json);
    return DBI_OK;
}

static void json_written(dbi_json *json, const uint8_t *end) {
    json->row->length = (size_t)(end - json->row->bytes);
}

static dbi_rc json_literal(dbi_json *json, const char *text, size_t length, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = json_value(json, length, &at, err);

    if (rc != DBI_OK)
        return rc;
    memcpy(at, text, length);
    json_written(json, at + length);
    return DBI_OK;
}

dbi_rc dbi_json_null(dbi_json *json, dbi_err *err) {
    return json_literal(json, "null", 4, err);
}

dbi_rc dbi_json_bool(dbi_json *json, bool value, dbi_err *err) {
    return value ? json_literal(json, "true", 4, err) : json_literal(json, "false", 5, err);
}

dbi_rc dbi_json_int(dbi_json *json, int64_t value, dbi_err *err) {
    char text[24];

    return json_literal(json, text, dbi__decimal(text, value), err);
}

static size_t digits_at(const char *text, size_t length, size_t at) {
    size_t end = at;

    while (end < length && isdigit((unsigned char)text[end]))
        end++;
    return end - at;
}

/* Checks JSON's grammar, -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?, and that numeric can hold it. */
static bool number_valid(const char *text, size_t length) {
    size_t at = 0, whole, places = 0, digits;
    long exponent = 0;

    if (at < length && text[at] == '-')
        at++;
    whole = digits_at(text, length, at);
    if (whole == 0 || (whole > 1 && text[at] == '0') || whole > NUMBER_WHOLE_MAX)
        return false;
    at += whole;
    if (at < length && text[at] == '.') {
        places = digits_at(text, length, at + 1);
        if (places == 0 || places > NUMBER_SCALE_MAX)
            return false;
        at += 1 + places;
    }
    if (at < length && (text[at] == 'e' || text[at] == 'E')) {
        bool minus;

        at++;
        minus = at < length && text[at] == '-';
        if (at < length && (text[at] == '-' || text[at] == '+'))
            at++;
        digits = digits_at(text, length, at);
        if (digits == 0 || digits > 6)
            return false;
        for (; digits > 0; digits--)
            exponent = exponent * 10 + (text[at++] - '0');
        if (minus)
            exponent = -exponent;
    }
    return at == length && (long)whole + exponent <= NUMBER_WHOLE_MAX && (long)places - exponent <= NUMBER_SCALE_MAX;
}

dbi_rc dbi_json_number(dbi_json *json, const char *text, size_t length, dbi_err *err) {
    if (!number_valid(text, length))
        return dbi_row_refuse(json->row, json->column, DBI_EINVAL, err, "a number that JSON or PostgreSQL cannot hold");
    return json_literal(json, text, length, err);
}

/* How many of the characters from `text` on need no escape. */
static size_t plain_run(const uint8_t *text, size_t length) {
    size_t at = 0;

    while (at < length && json_escapes[text[at]] == 0)
        at++;
    return at;
}

static uint8_t *put_escape(uint8_t *at, uint32_t character) {
    static const char hex[] = "0123456789abcdef";
    char escape = json_escapes[character];

    *at++ = '\\';
    *at++ = (uint8_t)escape;
    if (escape == 'u') {
        *at++ = '0';
        *at++ = '0';
        *at++ = (uint8_t)hex[character >> 4];
        *at++ = (uint8_t)hex[character & 15];
    }
    return at;
}

static dbi_rc json_nul(const dbi_json *json, dbi_err *err) {
    return dbi_row_refuse(json->row, json->column, DBI_EINVAL, err,
                          "a string in the JSON holds a NUL character, which PostgreSQL cannot store");
}

/* Writes the characters between the quotes; the room for all of them is there but for escapes, which ask for theirs. */
static dbi_rc put_ascii(dbi_json *json, const uint8_t *text, size_t length, dbi_err *err) {
    dbi_row *row = json->row;

    for (;;) {
        size_t run = plain_run(text, length);
        dbi_rc rc;

        rc = dbi__row_reserve(row, json->column, run + 6, err);
        if (rc != DBI_OK)
            return rc;
        memcpy(row->bytes + row->length, text, run);
        row->length += run;
        if (run == length)
            return DBI_OK;
        if (text[run] == 0)
            return json_nul(json, err);
        row->length = (size_t)(put_escape(row->bytes + row->length, text[run]) - row->bytes);
        text += run + 1;
        length -= run + 1;
    }
}

static dbi_rc put_wide(dbi_json *json, const void *units, unsigned width, size_t count, dbi_err *err) {
    dbi_row *row = json->row;

    for (size_t i = 0; i < count; i++) {
        uint32_t character = dbi__unit(units, width, i);
        uint8_t *at;
        dbi_rc rc;

        if (character == 0)
            return json_nul(json, err);
        rc = dbi__row_reserve(row, json->column, 6, err);
        if (rc != DBI_OK)
            return rc;
        at = row->bytes + row->length;
        at = character < 128 && json_escapes[character] != 0 ? put_escape(at, character) : dbi__utf8_put(at, character);
        json_written(json, at);
    }
    return DBI_OK;
}

/* A string with its quotes, after what json_value or dbi_json_key has put before it. */
static dbi_rc json_string(dbi_json *json, const void *units, unsigned width, size_t count, bool ascii, dbi_err *err) {
    size_t bad = 0, size = ascii ? count : dbi__utf8_size(units, width, count, &bad);
    dbi_row *row = json->row;
    dbi_rc rc;

    if (size == SIZE_MAX)
        return dbi_row_refuse(row, json->column, DBI_EINVAL, err,
                              "character %zu of a string in the JSON is a lone surrogate", bad);
    if (size > JSONB_STRING_MAX || size > row->max)
        return dbi_row_refuse(row, json->column, DBI_ETOOBIG, err, "a string in the JSON is too large: %zu bytes",
                              size);
    if ((rc = dbi__row_reserve(row, json->column, size + 2, err)) != DBI_OK)
        return rc;
    row->bytes[row->length++] = '"';
    rc = ascii ? put_ascii(json, units, count, err) : put_wide(json, units, width, count, err);
    if (rc != DBI_OK || (rc = dbi__row_reserve(row, json->column, 2, err)) != DBI_OK)
        return rc;
    row->bytes[row->length++] = '"';
    return DBI_OK;
}

dbi_rc dbi_json_units(dbi_json *json, const void *units, unsigned width, size_t count, bool ascii, dbi_err *err) {
    uint8_t *at = NULL;
    dbi_rc rc = json_value(json, 0, &at, err);

    if (rc != DBI_OK)
        return rc;
    json_written(json, at);
    return json_string(json, units, width, count, ascii, err);
}

dbi_rc dbi_json_key(dbi_json *json, const void *units, unsigned width, size_t count, bool ascii, dbi_err *err) {
    dbi_row *row = json->row;
    dbi_rc rc;

    if (json->value_follows || !in_object(json))
        return json_order(json, err);
    if ((rc = dbi__row_reserve(row, json->column, 1, err)) != DBI_OK)
        return rc;
    if (json->comma)
        row->bytes[row->length++] = ',';
    if ((rc = json_string(json, units, width, count, ascii, err)) != DBI_OK ||
        (rc = dbi__row_reserve(row, json->column, 1, err)) != DBI_OK)
        return rc;
    row->bytes[row->length++] = ':';
    json->comma = false;
    json->value_follows = true;
    return DBI_OK;
}

dbi_rc dbi_json_open(dbi_json *json, bool object, dbi_err *err) {
    unsigned level = json->depth;
    uint8_t *at = NULL, bit = (uint8_t)(1u << level % 8);
    dbi_rc rc;

    if (level == DBI_JSON_DEPTH_MAX)
        return dbi_row_refuse(json->row, json->column, DBI_EINVAL, err,
                              "the JSON is nested more than %u levels deep, or holds itself", DBI_JSON_DEPTH_MAX);
    if ((rc = json_value(json, 1, &at, err)) != DBI_OK)
        return rc;
    *at++ = object ? '{' : '[';
    json_written(json, at);
    if (object)
        json->in_object[level / 8] |= bit;
    else
        json->in_object[level / 8] &= (uint8_t)~bit;
    json->depth++;
    json->comma = false;
    json->value_follows = !object;
    return DBI_OK;
}

dbi_rc dbi_json_close(dbi_json *json, dbi_err *err) {
    dbi_row *row = json->row;
    bool object = in_object(json);
    dbi_rc rc;

    if (json->depth == 0 || (object && json->value_follows))
        return json_order(json, err);
    if ((rc = dbi__row_reserve(row, json->column, 1, err)) != DBI_OK)
        return rc;
    row->bytes[row->length++] = object ? '}' : ']';
    json->depth--;
    json->comma = json->depth != 0;
    json->value_follows = json->depth != 0 && !in_object(json);
    return DBI_OK;
}
