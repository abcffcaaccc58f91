/* test_row.c - the encoder of tuples: bytes, limits, refusals, order. Bytes "of the server" are from COPY TO. */
#include "row.h"

#include <float.h>
#include <math.h>

#include "test.h"

static dbi_column column_of(const char *type_text) {
    dbi_column column;

    CHECK_RC(dbi_column_declare(&column, "c", type_text, NULL), DBI_OK);
    return column;
}

/* The tuple has one field of these bytes. */
static void check_field(const dbi_row *row, const char *bytes, size_t length) {
    CHECK(dbi_row_complete(row));
    CHECK_INT(row->length, 6 + length);
    CHECK(memcmp(row->bytes, "\0\1\0\0", 4) == 0);
    CHECK_INT(row->bytes[4] << 8 | row->bytes[5], length);
    CHECK(memcmp(row->bytes + 6, bytes, length) == 0);
}
#define CHECK_FIELD(row, literal) check_field(row, literal, sizeof(literal) - 1)

/* Begins a tuple of one column of that type and puts a value into it: PUT(dbi_row_int, "int4", 5). */
#define PUT(call, type_text, ...)                                                                                      \
    (column = column_of(type_text),                                                                                    \
     dbi_row_begin(&row, 1, &err) != DBI_OK ? err.rc : call(&row, &column, __VA_ARGS__, &err))

#define REFUSED(expected, part, call, type_text, ...)                                                                  \
    do {                                                                                                               \
        TRY_RC(PUT(call, type_text, __VA_ARGS__), expected);                                                           \
        CHECK_HAS(err.msg, "field \"c\": ");                                                                           \
        CHECK_HAS(err.msg, part);                                                                                      \
    } while (0)

/* What each case has at hand. */
#define ROW_CASE                                                                                                       \
    dbi_row row;                                                                                                       \
    dbi_column column;                                                                                                 \
    dbi_err err = {0};                                                                                                 \
    dbi_row_init(&row, DBI_ROW_MAX)

TEST(row_writes_plain_values) {
    ROW_CASE;
    TRY(PUT(dbi_row_bool, "bool", true));
    CHECK_FIELD(&row, "\1");
    TRY(PUT(dbi_row_int, "int2", -2));
    CHECK_FIELD(&row, "\xff\xfe");
    TRY(PUT(dbi_row_int, "int4", INT32_MIN));
    CHECK_FIELD(&row, "\x80\0\0\0");
    TRY(PUT(dbi_row_int, "int8", INT64_MAX));
    CHECK_FIELD(&row, "\x7f\xff\xff\xff\xff\xff\xff\xff");
    TRY(PUT(dbi_row_double, "float8", -1.5));
    CHECK_FIELD(&row, "\xbf\xf8\0\0\0\0\0\0");
    TRY(PUT(dbi_row_double, "float4", 0.1)); /* rounded to nearest */
    CHECK_FIELD(&row, "\x3d\xcc\xcc\xcd");
    TRY(PUT(dbi_row_int, "float4", 1 << 24));
    CHECK_FIELD(&row, "\x4b\x80\0\0");
    TRY(PUT(dbi_row_int, "float8", INT64_MIN));
    CHECK_FIELD(&row, "\xc3\xe0\0\0\0\0\0\0");
    TRY(PUT(dbi_row_bytes, "bytea", "\0\xff", 2));
    CHECK_FIELD(&row, "\0\xff");
    TRY(PUT(dbi_row_bytes, "bytea", NULL, 0));
    CHECK_FIELD(&row, "");
    TRY(PUT(dbi_row_uuid, "uuid", (const uint8_t *)"0123456789abcdef"));
    CHECK_FIELD(&row, "0123456789abcdef");
    TRY(PUT(dbi_row_interval, "interval", 1, -2, 3));
    CHECK_FIELD(&row, "\0\0\0\0\0\0\0\3\xff\xff\xff\xfe\0\0\0\1");
done:
    dbi_row_free(&row);
}

TEST(row_writes_every_nan_as_the_servers) {
    ROW_CASE;
    TRY(PUT(dbi_row_double, "float8", copysign(NAN, -1)));
    CHECK_FIELD(&row, "\x7f\xf8\0\0\0\0\0\0");
    TRY(PUT(dbi_row_double, "float4", copysign(NAN, -1)));
    CHECK_FIELD(&row, "\x7f\xc0\0\0");
done:
    dbi_row_free(&row);
}

TEST(row_refuses_numbers_out_of_range) {
    ROW_CASE;
    REFUSED(DBI_EINVAL, "smallint (-32768 to 32767)", dbi_row_int, "int2", 32768);
    REFUSED(DBI_EINVAL, "integer (", dbi_row_int, "int4", INT64_C(-2147483649));
    REFUSED(DBI_EINVAL, "no exact image in real", dbi_row_int, "float4", (1 << 24) + 1);
    REFUSED(DBI_EINVAL, "no exact image in double precision", dbi_row_int, "float8", (INT64_C(1) << 53) + 1);
    REFUSED(DBI_EINVAL, "no exact image", dbi_row_int, "float8", INT64_MAX); /* rounds up to 2^63 */
    REFUSED(DBI_EINVAL, "out of range of real", dbi_row_double, "float4", 1e39);
    REFUSED(DBI_EINVAL, "out of range of real", dbi_row_double, "float4", -DBL_MIN);
    TRY(PUT(dbi_row_double, "float4", INFINITY));
    CHECK_FIELD(&row, "\x7f\x80\0\0");
    TRY(PUT(dbi_row_double, "float4", -0.0));
    CHECK_FIELD(&row, "\x80\0\0\0");
done:
    dbi_row_free(&row);
}

TEST(row_writes_numerics_as_the_server_does) {
    static const struct {
        const char *text;
        size_t length;
        const char *bytes;
    } rows[] = {
#define NUMERIC(text, bytes) {text, sizeof(bytes) - 1, bytes}
        NUMERIC("0", "\0\0\0\0\0\0\0\0"),
        NUMERIC("-0.00", "\0\0\0\0\0\0\0\2"),
        NUMERIC("1", "\0\1\0\0\0\0\0\0\0\1"),
        NUMERIC("+1.10", "\0\2\0\0\0\0\0\2\0\1\x03\xe8"),
        NUMERIC("-10000", "\0\1\0\1\x40\0\0\0\0\1"),
        NUMERIC("1e20", "\0\1\0\5\0\0\0\0\0\1"),
        NUMERIC("1E-20", "\0\1\xff\xfb\0\0\0\x14\0\1"),
        NUMERIC(".00012", "\0\2\xff\xff\0\0\0\5\0\1\x07\xd0"),
        NUMERIC("012345678.00012300", "\0\4\0\1\0\0\0\x08\x04\xd2\x16\x2e\0\1\x08\xfc"),
        NUMERIC("100.", "\0\1\0\0\0\0\0\0\0\x64"),
        NUMERIC("123e-1", "\0\2\0\0\0\0\0\1\0\x0c\x0b\xb8"),
        NUMERIC("NaN", "\0\0\0\0\xc0\0\0\0"),
        NUMERIC("Infinity", "\0\0\0\0\xd0\0\0\x20"),
        NUMERIC("-infinity", "\0\0\0\0\xf0\0\0\x20"),
        NUMERIC("0e999999999999", "\0\0\0\0\0\0\0\0"),
#undef NUMERIC
    };

    ROW_CASE;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        TRY(PUT(dbi_row_decimal, "numeric", rows[i].text, strlen(rows[i].text)));
        check_field(&row, rows[i].bytes, rows[i].length);
    }
    TRY(PUT(dbi_row_int, "numeric", INT64_MIN));
    CHECK_FIELD(&row, "\0\5\0\4\x40\0\0\0\x03\x9a\x0d\x2c\x01\x70\x15\x65\x16\xb0"); /* 922 3372 0368 5477 5808 */
done:
    dbi_row_free(&row);
}

TEST(row_refuses_what_is_no_numeric) {
    static const char *const texts[] = {"",    ".",   "-",    "1e",   "1e+",      "1.2.3", "0x10", "1 ",  " 1",
                                        "1_0", "--1", "-NaN", "sNaN", "NaN12345", "e5",    "inf",  "1e5x"};

    ROW_CASE;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        REFUSED(DBI_EINVAL, "not a decimal number", dbi_row_decimal, "numeric", texts[i], strlen(texts[i]));
    REFUSED(DBI_EINVAL, "131072 digits before", dbi_row_decimal, "numeric", "1e131072", 8);
    REFUSED(DBI_EINVAL, "131072 digits before", dbi_row_decimal, "numeric", "1e99999999999999999999", 22);
    REFUSED(DBI_EINVAL, "16383 decimal places", dbi_row_decimal, "numeric", "1e-16384", 8);
    REFUSED(DBI_EINVAL, "too large for numeric(4,2)", dbi_row_decimal, "numeric(4,2)", "99.995", 6);
    REFUSED(DBI_EINVAL, "too large for numeric(4,2)", dbi_row_int, "numeric(4,2)", -100);
    REFUSED(DBI_EINVAL, "cannot hold an infinite value", dbi_row_decimal, "numeric(4,2)", "Infinity", 8);
    TRY(PUT(dbi_row_decimal, "numeric(4,2)", "99.994999", 9));
    TRY(PUT(dbi_row_decimal, "numeric(4,2)", "NaN", 3));
    TRY(PUT(dbi_row_decimal, "numeric", "1e131071", 8));
    TRY(PUT(dbi_row_decimal, "numeric", "1e-16383", 8));
done:
    dbi_row_free(&row);
}

TEST(row_writes_dates_and_times_from_2000_on) {
    ROW_CASE;
    TRY(PUT(dbi_row_micros, "timestamptz", INT64_C(946684800000001)));
    CHECK_FIELD(&row, "\0\0\0\0\0\0\0\1");
    TRY(PUT(dbi_row_micros, "timestamp", 0)); /* 1970 */
    CHECK_FIELD(&row, "\xff\xfc\xa2\xfe\xc4\xc8\x20\0");
    TRY(PUT(dbi_row_micros, "time", INT64_C(86400000000)));
    CHECK_FIELD(&row, "\0\0\0\x14\x1d\xd7\x60\0");
    TRY(PUT(dbi_row_days, "date", 10956));
    CHECK_FIELD(&row, "\xff\xff\xff\xff");
    REFUSED(DBI_EINVAL, "out of range", dbi_row_micros, "timestamptz", INT64_C(-210866803200000001)); /* 4714 BC */
    TRY(PUT(dbi_row_micros, "timestamptz", INT64_C(-210866803200000000)));
    REFUSED(DBI_EINVAL, "out of range", dbi_row_micros, "time", -1);
    REFUSED(DBI_EINVAL, "out of range", dbi_row_micros, "time", INT64_C(86400000001));
    REFUSED(DBI_EINVAL, "out of range", dbi_row_days, "date", -2440589);
    REFUSED(DBI_EINVAL, "out of range", dbi_row_days, "date", INT64_C(2145042906));
    TRY(PUT(dbi_row_days, "date", -2440588));
    TRY(PUT(dbi_row_days, "date", INT64_C(2145042905)));
done:
    dbi_row_free(&row);
}

TEST(row_writes_addresses) {
    static const uint8_t four[] = {192, 168, 0, 1}, six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

    ROW_CASE;
    TRY(PUT(dbi_row_inet, "inet", four, 4, 24));
    CHECK_FIELD(&row, "\2\x18\0\4\xc0\xa8\0\1");
    TRY(PUT(dbi_row_inet, "inet", six, 16, 128));
    CHECK_FIELD(&row, "\3\x80\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1");
    TRY(PUT(dbi_row_inet, "cidr", four, 4, 32));
    CHECK_FIELD(&row, "\2\x20\1\4\xc0\xa8\0\1");
    REFUSED(DBI_EINVAL, "right of its network's 24", dbi_row_inet, "cidr", four, 4, 24);
    REFUSED(DBI_EINVAL, "4 or 16 bytes", dbi_row_inet, "inet", four, 4, 33);
    REFUSED(DBI_EINVAL, "4 or 16 bytes", dbi_row_inet, "inet", six, 6, 8);
done:
    dbi_row_free(&row);
}

TEST(row_checks_text) {
    static const struct {
        const char *text;
        size_t length;
    } bad[] = {{"\x80", 1},
               {"\xc3", 1},
               {"\xc0\x80", 2},
               {"\xe0\x80\x80", 3},
               {"\xed\xa0\x80", 3},
               {"\xf0\x80\x80\x80", 4},
               {"\xf4\x90\x80\x80", 4},
               {"\xf5\x80\x80\x80", 4},
               {"\xe2\x82", 2},
               {"1234567\xff", 8}};

    ROW_CASE;
    TRY(PUT(dbi_row_text, "text", "", 0));
    CHECK_FIELD(&row, "");
    TRY(PUT(dbi_row_text, "text", "gr\xc3\xb6\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80", 13));
    CHECK_FIELD(&row, "gr\xc3\xb6\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSED(DBI_EINVAL, "not valid UTF-8", dbi_row_text, "text", bad[i].text, bad[i].length);
    TRY(PUT(dbi_row_text, "varchar(2)", "\xc3\xb6\xc3\xb6  ", 6)); /* characters, and spaces past them */
    REFUSED(DBI_EINVAL, "3 characters are too many for character varying(2)", dbi_row_text, "varchar(2)", "abc", 3);
    REFUSED(DBI_EINVAL, "3 characters are too many", dbi_row_text, "char(2)", " \xc3\xb6z", 4);
    for (size_t length = 1; length < 100; length++) { /* a NUL at each place of a text of each length */
        char text[100];

        memset(text, 'x', sizeof text);
        TRY(PUT(dbi_row_text, "text", text, length));
        CHECK(row.length == 6 + length && memcmp(row.bytes + 6, text, length) == 0);
        for (size_t at = 0; at < length; at++) {
            text[at] = '\0';
            REFUSED(DBI_EINVAL, "a NUL character", dbi_row_text, "text", text, length);
            text[at] = 'x';
        }
    }
done:
    dbi_row_free(&row);
}

TEST(row_takes_text_in_units) {
    static const uint8_t latin[] = {'g', 0xf6, 0xff};
    static const uint16_t ucs2[] = {'a', 0x20ac, 0xffff};
    static const uint32_t ucs4[] = {'a', 0x7ff, 0x1f600, 0x10ffff};
    static const uint16_t lone[] = {'a', 'b', 0xdc00};
    static const uint32_t beyond[] = {0x110000}, nul[] = {0x1f600, 0};
    static const uint16_t three[] = {0x20ac, 0x20ac, ' ', ' '};

    ROW_CASE;
    TRY(PUT(dbi_row_units, "text", latin, 1, 3, false));
    CHECK_FIELD(&row, "g\xc3\xb6\xc3\xbf");
    TRY(PUT(dbi_row_units, "text", ucs2, 2, 3, false));
    CHECK_FIELD(&row, "a\xe2\x82\xac\xef\xbf\xbf");
    TRY(PUT(dbi_row_units, "text", ucs4, 4, 4, false));
    CHECK_FIELD(&row, "a\xdf\xbf\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf");
    TRY(PUT(dbi_row_units, "text", "plain", 1, 5, true));
    CHECK_FIELD(&row, "plain");
    REFUSED(DBI_EINVAL, "character 2 is a lone surrogate", dbi_row_units, "text", lone, 2, 3, false);
    REFUSED(DBI_EINVAL, "character 0 is", dbi_row_units, "text", beyond, 4, 1, false);
    REFUSED(DBI_EINVAL, "a NUL character", dbi_row_units, "text", nul, 4, 2, false);
    REFUSED(DBI_EINVAL, "a NUL character", dbi_row_units, "text", "\0", 1, 1, true);
    TRY(PUT(dbi_row_units, "varchar(2)", three, 2, 4, false));
    REFUSED(DBI_EINVAL, "4 characters are too many", dbi_row_units, "varchar(1)", three, 2, 4, false);
done:
    dbi_row_free(&row);
}

TEST(row_takes_labels_of_enums) {
    char label[64];

    ROW_CASE;
    memset(label, 'x', sizeof label);
    column = (dbi_column){.name = "c", .nullable = true};
    CHECK_RC(dbi_column_resolve(&column, 16433, -1, 'e', 0, '\0', "mood", NULL), DBI_OK);
    TRY(dbi_row_begin(&row, 1, &err));
    TRY(dbi_row_text(&row, &column, label, 63, &err));
    TRY(dbi_row_begin(&row, 1, &err));
    CHECK_RC(dbi_row_text(&row, &column, label, 64, &err), DBI_EINVAL);
    CHECK_RC(dbi_row_units(&row, &column, label, 1, 0, true, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "no label of an enum");
done:
    dbi_row_free(&row);
}

TEST(row_writes_arrays) {
    static const uint32_t sizes[] = {2, 3, 1, 1, 1, 1, 1};

    ROW_CASE;
    TRY(PUT(dbi_row_array_begin, "int2[]", 2, sizes));
    for (int i = 0; i < 5; i++)
        TRY(dbi_row_int(&row, &column, i, &err));
    TRY(dbi_row_null(&row, &column, &err));
    CHECK(!dbi_row_complete(&row));
    CHECK_RC(dbi_row_null(&row, &column, &err), DBI_ESTATE);
    CHECK_HAS(err.msg, "more elements than announced");
    TRY(dbi_row_array_end(&row, &column, &err));
    CHECK_FIELD(&row, "\0\0\0\2\0\0\0\1\0\0\0\x15\0\0\0\2\0\0\0\1\0\0\0\3\0\0\0\1"
                      "\0\0\0\2\0\0\0\0\0\2\0\1\0\0\0\2\0\2\0\0\0\2\0\3\0\0\0\2\0\4\xff\xff\xff\xff");
    TRY(PUT(dbi_row_array_begin, "text[]", 0, NULL));
    TRY(dbi_row_array_end(&row, &column, &err));
    CHECK_FIELD(&row, "\0\0\0\0\0\0\0\0\0\0\0\x19");

    REFUSED(DBI_EINVAL, "at most 6 dimensions", dbi_row_array_begin, "int2[]", 7, sizes);
    REFUSED(DBI_EINVAL, "1 element or more", dbi_row_array_begin, "int2[]", 1, &(const uint32_t){0});
    REFUSED(DBI_ETOOBIG, "too many elements", dbi_row_array_begin, "int2[]", 1, &(const uint32_t){UINT32_MAX});
    REFUSED(DBI_EINVAL, "no value of type integer", dbi_row_array_begin, "int4", 1, sizes);
    REFUSED(DBI_EINVAL, "no value of type integer[]", dbi_row_int, "int4[]", 5);
    TRY(PUT(dbi_row_array_begin, "int2[]", 1, sizes));
    CHECK_RC(dbi_row_array_end(&row, &column, &err), DBI_ESTATE);
    CHECK_HAS(err.msg, "fewer elements than announced");
    CHECK_RC(dbi_row_array_begin(&row, &column, 1, sizes, &err), DBI_EINVAL); /* one within another */
done:
    dbi_row_free(&row);
}

TEST(row_keeps_to_its_fields) {
    dbi_column strict;

    ROW_CASE;
    TRY(PUT(dbi_row_int, "int4", 1));
    CHECK_RC(dbi_row_int(&row, &column, 2, &err), DBI_ESTATE);
    CHECK_HAS(err.msg, "more fields than announced");
    CHECK_RC(dbi_row_null(&row, &column, &err), DBI_ESTATE);
    TRY(dbi_row_begin(&row, 2, &err));
    CHECK(!dbi_row_complete(&row));
    TRY(dbi_row_null(&row, &column, &err));
    CHECK(!dbi_row_complete(&row));
    TRY(dbi_row_null(&row, &column, &err));
    CHECK(dbi_row_complete(&row));
    CHECK(row.length == 10 && memcmp(row.bytes, "\0\2\xff\xff\xff\xff\xff\xff\xff\xff", 10) == 0);
    strict = column_of("int4 not null");
    TRY(dbi_row_begin(&row, 1, &err));
    CHECK_RC(dbi_row_null(&row, &strict, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "NULL, which the column does not take");
    CHECK_RC(dbi_row_text(&row, &strict, "x", 1, &err), DBI_EINVAL);
    CHECK_RC(dbi_row_begin(&row, DBI_COLUMNS_MAX + 1, &err), DBI_EINVAL);
done:
    dbi_row_free(&row);
}

TEST(row_names_field_and_stream) {
    ROW_CASE;
    row.stream = "events";
    TRY_RC(PUT(dbi_row_int, "int2", 70000), DBI_EINVAL);
    CHECK_STR(err.msg, "field \"c\" of stream \"events\": out of range of smallint (-32768 to 32767)");
    CHECK_RC(dbi_row_int(&row, &column, 70000, NULL), DBI_EINVAL); /* without detail, too */
done:
    dbi_row_free(&row);
}

TEST(row_has_a_maximum) {
    static char text[2000];
    dbi_row row;
    dbi_column column = column_of("text"), bytes = column_of("bytea");
    dbi_err err;

    dbi_row_init(&row, 1000);
    memset(text, 'x', sizeof text);
    TRY(dbi_row_begin(&row, 3, &err));
    TRY(dbi_row_text(&row, &column, text, 986, &err));
    CHECK_INT(row.length, 992);
    CHECK_RC(dbi_row_text(&row, &column, text, 5, &err), DBI_ETOOBIG);
    CHECK_HAS(err.msg, "field \"c\": the event would be larger than 1000 bytes");
    TRY(dbi_row_text(&row, &column, text, 4, &err));
    CHECK_INT(row.length, 1000);
    CHECK_RC(dbi_row_null(&row, &column, &err), DBI_ETOOBIG);
    CHECK(row.capacity <= 1000);
    TRY(dbi_row_begin(&row, 1, &err));
    CHECK_RC(dbi_row_text(&row, &column, text, 2000, &err), DBI_ETOOBIG);
    CHECK_RC(dbi_row_units(&row, &column, text, 1, SIZE_MAX, true, &err), DBI_ETOOBIG);
    CHECK_RC(dbi_row_bytes(&row, &bytes, text, SIZE_MAX, &err), DBI_ETOOBIG);
    dbi_row_shrink(&row, 1000);
    CHECK(row.bytes != NULL);
    dbi_row_shrink(&row, 10);
    CHECK(row.bytes == NULL);
    TRY(dbi_row_begin(&row, 1, &err)); /* and goes on */
    TRY(dbi_row_null(&row, &column, &err));
done:
    dbi_row_free(&row);
}

TEST_MAIN()
