/* fuzz_row.c - values of every type into tuples
 *
 * The input says which columns there are and which values they get. A tuple that the encoder makes must pass a reader
 * that knows only the formats (row.c, row_numeric.c, json.h) and shares no code with the encoder; a value that the
 * encoder refuses must leave it able to go on.
 */
#include "fuzz.h"

#include <stdbool.h>

#include "json.h"
#include "row.h"

#define COLUMNS 6
#define ROW_MAX 65536
#define ROW_SMALL 256

/* --- the reader --- */

typedef struct reader {
    const uint8_t *at, *end;
} reader;

static uint64_t read_number(reader *from, unsigned bytes) {
    uint64_t number = 0;

    FUZZ_CHECK((size_t)(from->end - from->at) >= bytes);
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | *from->at++;
    return number;
}

/* Characters of UTF-8 without a NUL: each must be the shortest form of a Unicode scalar value. */
static size_t read_text(reader *from) {
    size_t count = 0;

    for (; from->at < from->end; count++) {
        uint32_t first = *from->at++, character = first;
        unsigned more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        static const uint32_t least[] = {1, 0x80, 0x800, 0x10000};

        FUZZ_CHECK(first < 0x80 || (first >= 0xc0 && first < 0xf8));
        if (more != 0)
            character = first & (0x3fu >> more);
        for (unsigned i = 0; i < more; i++) {
            FUZZ_CHECK(from->at < from->end && (*from->at & 0xc0) == 0x80);
            character = character << 6 | (*from->at++ & 0x3fu);
        }
        FUZZ_CHECK(character >= least[more] && character <= 0x10ffff && (character < 0xd800 || character > 0xdfff));
    }
    return count;
}

static void check_numeric(reader value) {
    uint64_t digits = read_number(&value, 2), first = 0, digit = 0;
    int weight = (int16_t)read_number(&value, 2);
    uint64_t sign = read_number(&value, 2), scale = read_number(&value, 2);

    FUZZ_CHECK(sign == 0 || sign == 0x4000 || sign == 0xc000 || sign == 0xd000 || sign == 0xf000);
    FUZZ_CHECK(scale <= 16383 && (size_t)(value.end - value.at) == digits * 2);
    if (sign > 0x4000 || digits == 0)
        FUZZ_CHECK(digits == 0 && weight == 0 && sign != 0x4000);
    for (uint64_t i = 0; i < digits; i++) {
        digit = read_number(&value, 2);
        FUZZ_CHECK(digit < 10000);
        if (i == 0)
            first = digit;
    }
    FUZZ_CHECK(digits == 0 || (first != 0 && digit != 0));                               /* none at either end is 0 */
    FUZZ_CHECK(digits == 0 || ((int64_t)digits - 1 - weight) * 4 <= (int64_t)scale + 3); /* no digit past the scale */
}

static void skip_json_digits(reader *from) {
    const uint8_t *begin = from->at;

    while (from->at < from->end && *from->at >= '0' && *from->at <= '9')
        from->at++;
    FUZZ_CHECK(from->at > begin);
}

static void check_json_string(reader *from) {
    FUZZ_CHECK(from->at < from->end && *from->at++ == '"');
    for (;;) {
        FUZZ_CHECK(from->at < from->end && *from->at >= 0x20);
        if (*from->at == '"')
            break;
        if (*from->at++ != '\\')
            continue;
        FUZZ_CHECK(from->at < from->end && strchr("\"\\/bfnrtu", *from->at) != NULL);
        if (*from->at++ == 'u') {
            FUZZ_CHECK(from->end - from->at >= 4 && memcmp(from->at, "00", 2) == 0 && memcmp(from->at, "0000", 4) != 0);
            from->at += 4;
        }
    }
    from->at++;
}

static bool json_word(reader *from, const char *word) {
    size_t length = strlen(word);

    if ((size_t)(from->end - from->at) < length || memcmp(from->at, word, length) != 0)
        return false;
    from->at += length;
    return true;
}

static void check_json_value(reader *from, unsigned depth) {
    FUZZ_CHECK(from->at < from->end && depth <= DBI_JSON_DEPTH_MAX);
    if (*from->at == '"') {
        check_json_string(from);
    } else if (*from->at == '{' || *from->at == '[') {
        uint8_t close = *from->at++ == '{' ? '}' : ']';

        while (from->at < from->end && *from->at != close) {
            if (close == '}') {
                check_json_string(from);
                FUZZ_CHECK(json_word(from, ":"));
            }
            check_json_value(from, depth + 1);
            if (json_word(from, ","))
                FUZZ_CHECK(from->at < from->end && *from->at != close);
            else
                FUZZ_CHECK(from->at < from->end && *from->at == close);
        }
        FUZZ_CHECK(from->at < from->end);
        from->at++;
    } else if (!json_word(from, "null") && !json_word(from, "true") && !json_word(from, "false")) {
        (void)json_word(from, "-");
        if (!json_word(from, "0"))
            skip_json_digits(from);
        if (json_word(from, "."))
            skip_json_digits(from);
        if (json_word(from, "e") || json_word(from, "E")) {
            (void)(json_word(from, "+") || json_word(from, "-"));
            skip_json_digits(from);
        }
    }
}

static void check_json(reader value, bool binary) {
    reader text;

    if (binary)
        FUZZ_CHECK(read_number(&value, 1) == 1);
    text = value;
    (void)read_text(&text);
    check_json_value(&value, 0);
    FUZZ_CHECK(value.at == value.end);
}

static void check_address(reader value, bool network) {
    uint64_t family = read_number(&value, 1), bits = read_number(&value, 1);
    uint64_t flag = read_number(&value, 1), length = read_number(&value, 1);

    FUZZ_CHECK((family == 2 && length == 4) || (family == 3 && length == 16));
    FUZZ_CHECK(bits <= length * 8 && flag == (network ? 1u : 0u) && (uint64_t)(value.end - value.at) == length);
    for (uint64_t bit = bits; network && bit < length * 8; bit++)
        FUZZ_CHECK((value.at[bit / 8] >> (7 - bit % 8) & 1) == 0);
}

static void check_text(const dbi_column *column, reader value) {
    const uint8_t *begin = value.at;
    size_t bytes = (size_t)(value.end - value.at), limit = column->typmod >= 4 ? (size_t)column->typmod - 4 : SIZE_MAX;
    size_t characters = read_text(&value);

    FUZZ_CHECK(column->type != DBI_TYPE_ENUM || (bytes >= 1 && bytes <= 63));
    for (; column->type == DBI_TYPE_TEXT && characters > limit; characters--)
        FUZZ_CHECK(begin[--bytes] == ' ');
}

static void check_value(const dbi_column *column, reader value) {
    size_t length = (size_t)(value.end - value.at);

    switch (column->type) {
    case DBI_TYPE_BOOL:
        FUZZ_CHECK(length == 1 && *value.at <= 1);
        break;
    case DBI_TYPE_INT2:
        FUZZ_CHECK(length == 2);
        break;
    case DBI_TYPE_INT4:
    case DBI_TYPE_FLOAT4:
        FUZZ_CHECK(length == 4);
        break;
    case DBI_TYPE_DATE:
        FUZZ_CHECK(length == 4);
        FUZZ_CHECK((int32_t)read_number(&value, 4) >= -2451545);
        break;
    case DBI_TYPE_INT8:
    case DBI_TYPE_FLOAT8:
        FUZZ_CHECK(length == 8);
        break;
    case DBI_TYPE_TIMESTAMPTZ:
    case DBI_TYPE_TIMESTAMP:
        FUZZ_CHECK(length == 8);
        FUZZ_CHECK((int64_t)read_number(&value, 8) >= INT64_C(-211813488000000000));
        break;
    case DBI_TYPE_TIME:
        FUZZ_CHECK(length == 8);
        FUZZ_CHECK(read_number(&value, 8) <= UINT64_C(86400000000));
        break;
    case DBI_TYPE_UUID:
    case DBI_TYPE_INTERVAL:
        FUZZ_CHECK(length == 16);
        break;
    case DBI_TYPE_NUMERIC:
        check_numeric(value);
        break;
    case DBI_TYPE_TEXT:
    case DBI_TYPE_ENUM:
        check_text(column, value);
        break;
    case DBI_TYPE_JSON:
    case DBI_TYPE_JSONB:
        check_json(value, column->type == DBI_TYPE_JSONB);
        break;
    case DBI_TYPE_INET:
    case DBI_TYPE_CIDR:
        check_address(value, column->type == DBI_TYPE_CIDR);
        break;
    case DBI_TYPE_BYTEA:
    case DBI_TYPE_COUNT:
        break;
    }
}

/* The next field or element; false = NULL. */
static bool read_field(reader *from, reader *value) {
    int32_t length = (int32_t)read_number(from, 4);

    FUZZ_CHECK(length >= -1 && (length < 0 || length <= from->end - from->at));
    value->at = from->at;
    value->end = from->at + (length > 0 ? length : 0);
    from->at = value->end;
    return length >= 0;
}

static void check_array(const dbi_column *column, reader value) {
    uint64_t dimensions = read_number(&value, 4), marked = read_number(&value, 4), elements = dimensions != 0;
    bool null_seen = false;
    reader element;

    FUZZ_CHECK(dimensions <= DBI_ARRAY_DIMENSIONS_MAX && marked <= 1);
    FUZZ_CHECK(read_number(&value, 4) == column->element_oid);
    for (; dimensions > 0; dimensions--) {
        elements *= read_number(&value, 4);
        FUZZ_CHECK(elements != 0 && read_number(&value, 4) == 1);
    }
    for (; elements > 0; elements--) {
        if (read_field(&value, &element))
            check_value(column, element);
        else
            null_seen = true;
    }
    FUZZ_CHECK(null_seen == (marked != 0) && value.at == value.end);
}

static void check_tuple(const dbi_column *columns, unsigned count, const dbi_row *row) {
    reader from = {row->bytes, row->bytes + row->length}, value;

    FUZZ_CHECK(read_number(&from, 2) == count);
    for (unsigned i = 0; i < count; i++) {
        if (!read_field(&from, &value))
            FUZZ_CHECK(columns[i].nullable);
        else if (columns[i].array)
            check_array(&columns[i], value);
        else
            check_value(&columns[i], value);
    }
    FUZZ_CHECK(from.at == from.end);
}

/* --- values from the input --- */

static const char *const types[] = {
    "bool",          "int2", "int4",       "int8",    "float4", "float8",      "numeric",   "numeric(6,2)",
    "numeric(3,-2)", "text", "varchar(5)", "char(3)", "bytea",  "timestamptz", "timestamp", "date",
    "uuid",          "json", "jsonb",      "inet",    "cidr",   "time",        "interval",
};
#define TYPES (sizeof types / sizeof types[0])

static void column_choose(fuzz_input *input, dbi_column *column) {
    char text[40];
    uint8_t which = fuzz_byte(input);

    if (which % 32 == 31) {
        *column = (dbi_column){.name = "mood", .nullable = true};
        FUZZ_CHECK(dbi_column_resolve(column, 16433, -1, 'e', (which & 0x80) != 0 ? 16434 : 0, 'e', "mood", NULL) ==
                   DBI_OK);
        return;
    }
    (void)snprintf(text, sizeof text, "%s%s%s", types[which % 32 % TYPES], (which & 0x80) != 0 ? "[]" : "",
                   (which & 0x40) != 0 ? " not null" : "");
    FUZZ_CHECK(dbi_column_declare(column, "c", text, NULL) == DBI_OK);
}

static dbi_rc put_units(fuzz_input *input, dbi_row *row, const dbi_column *column, dbi_json *json, bool key,
                        dbi_err *err) {
    static const unsigned widths[] = {1, 2, 4, 1};
    uint8_t how = fuzz_byte(input);
    unsigned width = widths[how % 4];
    uint32_t units[64];
    uint8_t ascii[256];
    size_t length, count;
    const uint8_t *bytes = fuzz_bytes(input, how >> 1, &length);

    count = length / width;
    memcpy(units, bytes, count * width); /* aligned */
    if (how % 4 == 3) {
        for (size_t i = 0; i < length; i++)
            ascii[i] = bytes[i] & 0x7f;
        bytes = ascii;
    } else {
        bytes = (const uint8_t *)units;
    }
    if (json == NULL)
        return dbi_row_units(row, column, bytes, width, count, how % 4 == 3, err);
    return key ? dbi_json_key(json, bytes, width, count, how % 4 == 3, err)
               : dbi_json_units(json, bytes, width, count, how % 4 == 3, err);
}

static dbi_rc put_json(fuzz_input *input, dbi_row *row, const dbi_column *column, dbi_err *err) {
    const uint8_t *text;
    dbi_json json;
    size_t length;
    dbi_rc rc = dbi_json_begin(&json, row, column, err);

    while (rc == DBI_OK && input->left != 0) {
        uint8_t what = fuzz_byte(input);

        switch (what % 10) {
        case 0:
            rc = dbi_json_null(&json, err);
            break;
        case 1:
            rc = dbi_json_bool(&json, (what & 0x80) != 0, err);
            break;
        case 2:
            rc = dbi_json_int(&json, (int64_t)fuzz_number(input, 8), err);
            break;
        case 3:
            text = fuzz_bytes(input, what / 10, &length);
            rc = dbi_json_number(&json, (const char *)text, length, err);
            break;
        case 4:
            rc = put_units(input, row, column, &json, false, err);
            break;
        case 5:
            rc = put_units(input, row, column, &json, true, err);
            break;
        case 6:
            rc = dbi_json_open(&json, (what & 0x80) != 0, err);
            break;
        case 7:
            rc = dbi_json_close(&json, err);
            break;
        case 8:
            for (unsigned i = 0; rc == DBI_OK && i < what * 5u; i++)
                rc = dbi_json_open(&json, false, err);
            break;
        default:
            while (rc == DBI_OK && json.depth != 0)
                rc = dbi_json_close(&json, err);
            return rc == DBI_OK ? dbi_json_end(&json, err) : rc;
        }
        if (rc == DBI_ESTATE) /* out of order: refused, and nothing written */
            rc = DBI_OK;
    }
    while (rc == DBI_OK && json.depth != 0)
        rc = dbi_json_close(&json, err);
    return rc == DBI_OK ? dbi_json_end(&json, err) : rc;
}

static dbi_rc put_decimal(fuzz_input *input, dbi_row *row, const dbi_column *column, dbi_err *err) {
    size_t length;
    uint8_t how = fuzz_byte(input);
    const uint8_t *text = fuzz_bytes(input, how & 0x3f, &length);
    char digits[256];

    if ((how & 0x80) != 0)
        return dbi_row_decimal(row, column, (const char *)text, length, err);
    for (size_t i = 0; i < length; i++) /* mostly a number */
        digits[i] = text[i] < 0xf0 ? (char)('0' + text[i] % 10) : "-.eE+.-e0999.0EE"[text[i] & 15];
    return dbi_row_decimal(row, column, digits, length, err);
}

static double double_of(uint64_t bits) {
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static dbi_rc put_value(fuzz_input *input, dbi_row *row, const dbi_column *column, dbi_err *err) {
    uint8_t how = fuzz_byte(input), bytes16[16] = {0};
    const uint8_t *bytes;
    size_t length;

    if (how == 0xff)
        return dbi_row_null(row, column, err);
    switch (how >= 0xf0 ? how % DBI_TYPE_COUNT : column->type) { /* now and then the function of another type */
    case DBI_TYPE_BOOL:
        return dbi_row_bool(row, column, how != 0, err);
    case DBI_TYPE_INT2:
    case DBI_TYPE_INT4:
    case DBI_TYPE_INT8:
        return dbi_row_int(row, column, (int64_t)fuzz_number(input, 8) >> how % 64, err);
    case DBI_TYPE_FLOAT4:
    case DBI_TYPE_FLOAT8:
        if (how % 2 != 0)
            return dbi_row_int(row, column, (int64_t)fuzz_number(input, 8) >> how % 64, err);
        return dbi_row_double(row, column, double_of(fuzz_number(input, 8)), err);
    case DBI_TYPE_NUMERIC:
        if (how % 4 == 0)
            return dbi_row_int(row, column, (int64_t)fuzz_number(input, 8) >> how % 64, err);
        return put_decimal(input, row, column, err);
    case DBI_TYPE_TEXT:
    case DBI_TYPE_ENUM:
        if (how % 2 != 0)
            return put_units(input, row, column, NULL, false, err);
        bytes = fuzz_bytes(input, how / 2, &length);
        return dbi_row_text(row, column, (const char *)bytes, length, err);
    case DBI_TYPE_BYTEA:
        bytes = fuzz_bytes(input, how, &length);
        return dbi_row_bytes(row, column, bytes, length, err);
    case DBI_TYPE_TIMESTAMPTZ:
    case DBI_TYPE_TIMESTAMP:
    case DBI_TYPE_TIME:
        return dbi_row_micros(row, column, (int64_t)fuzz_number(input, 8) >> how % 64, err);
    case DBI_TYPE_DATE:
        return dbi_row_days(row, column, (int64_t)fuzz_number(input, 8) >> how % 64, err);
    case DBI_TYPE_UUID:
        bytes = fuzz_bytes(input, 16, &length);
        memcpy(bytes16, bytes, length);
        return dbi_row_uuid(row, column, bytes16, err);
    case DBI_TYPE_JSON:
    case DBI_TYPE_JSONB:
        return put_json(input, row, column, err);
    case DBI_TYPE_INET:
    case DBI_TYPE_CIDR:
        bytes = fuzz_bytes(input, 16, &length);
        memcpy(bytes16, bytes, length);
        return dbi_row_inet(row, column, bytes16,
                            how % 8 == 0   ? how % 32
                            : how % 2 != 0 ? 4
                                           : 16,
                            fuzz_byte(input), err);
    default:
        return dbi_row_interval(row, column, (int32_t)fuzz_number(input, 4), (int32_t)fuzz_number(input, 4),
                                (int64_t)fuzz_number(input, 8), err);
    }
}

static dbi_rc put_array(fuzz_input *input, dbi_row *row, const dbi_column *column, dbi_err *err) {
    uint8_t how = fuzz_byte(input);
    unsigned dimensions = how % 8;
    uint32_t sizes[8], elements = dimensions != 0;
    dbi_rc rc;

    if (how == 0xff)
        return dbi_row_null(row, column, err);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t size = i < dimensions ? fuzz_byte(input) : 1;

        sizes[i] = size < 0xf8 ? size % 4u : UINT32_C(1) << (size % 32);
        elements = (uint32_t)(elements * (uint64_t)sizes[i]);
    }
    rc = dbi_row_array_begin(row, column, dimensions, sizes, err);
    for (uint32_t i = how >= 0xf0; rc == DBI_OK && i < elements && input->left != 0; i++)
        rc = put_value(input, row, column, err);
    return rc == DBI_OK ? dbi_row_array_end(row, column, err) : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    dbi_column columns[COLUMNS];
    uint8_t how = fuzz_byte(&input);
    size_t max = (how & 0x80) != 0 ? ROW_SMALL : ROW_MAX;
    unsigned count = how % COLUMNS + 1;
    dbi_err err = {0};
    dbi_row row;
    dbi_rc rc;

    dbi_row_init(&row, max);
    for (unsigned i = 0; i < count; i++)
        column_choose(&input, &columns[i]);
    for (int again = 0; again < 2; again++) { /* a row that failed can be begun anew */
        FUZZ_CHECK(dbi_row_begin(&row, count, &err) == DBI_OK);
        rc = DBI_OK;
        for (unsigned i = 0; rc == DBI_OK && i < count; i++)
            rc = columns[i].array ? put_array(&input, &row, &columns[i], &err)
                                  : put_value(&input, &row, &columns[i], &err);
        FUZZ_CHECK(row.length <= max);
        if (rc == DBI_OK) {
            FUZZ_CHECK(dbi_row_complete(&row));
            check_tuple(columns, count, &row);
        } else {
            FUZZ_CHECK(strstr(err.msg, "field \"") == err.msg);
        }
    }
    dbi_row_free(&row);
    return 0;
}

/* One column, by its number in `types`, how its value is made (see put_value), and what of. */
static const struct fuzz_value {
    char how[4];
    const char *text;
} examples[] = {
    {"\x06\x01\x83", "NaN"},         {"\x06\x01\x89", "-Infinity"},  {"\x07\x01\x88", "Infinity"},
    {"\x07\x01\x87", "9999.99"},     {"\x07\x01\x88", "9999.995"},   {"\x08\x01\x85", "99949"},
    {"\x06\x01\x8b", "+00.0120e-7"}, {"\x11\x01\x53", "-12.5e-3\t"}, {"\x12\x01\x71", "1.0625E+003\t"},
    {"\x0a\x10", "four    "},
};
#define EXAMPLES (sizeof examples / sizeof examples[0])

/* The above; then one column of each type, and of arrays of each, with bytes to make values of. */
size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    if (nth < EXAMPLES) {
        out[0] = 0;
        return (size_t)snprintf((char *)out + 1, capacity - 1, "%s%s", examples[nth].how, examples[nth].text) + 1;
    }
    nth -= (unsigned)EXAMPLES;
    if (nth >= 2 * 32 || capacity < 96)
        return 0;
    out[0] = 0;
    out[1] = (uint8_t)(nth < 32 ? nth : 0x80 + nth - 32);
    for (unsigned i = 2; i < 96; i++)
        out[i] = (uint8_t)(nth < 32 ? 3 + i * nth : 2 + i % 5);
    return 96;
}
