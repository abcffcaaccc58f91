/* test_json.c - JSON text as a value of a row */
#include "json.h"

#include "test.h"

#define JSON_CASE(type_text)                                                                                           \
    dbi_row row;                                                                                                       \
    dbi_column column;                                                                                                 \
    dbi_json json;                                                                                                     \
    dbi_err err = {0};                                                                                                 \
    dbi_row_init(&row, DBI_ROW_MAX);                                                                                   \
    CHECK_RC(dbi_column_declare(&column, "c", type_text, NULL), DBI_OK);                                               \
    TRY(dbi_row_begin(&row, 1, &err));                                                                                 \
    TRY(dbi_json_begin(&json, &row, &column, &err))

static void check_text(const dbi_row *row, const char *text) {
    CHECK(dbi_row_complete(row));
    CHECK_INT(row->bytes[4] << 8 | row->bytes[5], strlen(text));
    CHECK_INT(row->length, 6 + strlen(text));
    CHECK(memcmp(row->bytes + 6, text, strlen(text)) == 0);
}

static dbi_rc ascii(dbi_json *json, const char *text, dbi_err *err) {
    return dbi_json_units(json, text, 1, strlen(text), true, err);
}

static dbi_rc key(dbi_json *json, const char *text, dbi_err *err) {
    return dbi_json_key(json, text, 1, strlen(text), true, err);
}

TEST(json_puts_its_commas_and_colons) {
    JSON_CASE("json");
    TRY(dbi_json_open(&json, true, &err));
    TRY(key(&json, "a", &err));
    TRY(dbi_json_open(&json, false, &err));
    TRY(dbi_json_int(&json, -1, &err));
    TRY(dbi_json_open(&json, true, &err));
    TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_open(&json, false, &err));
    TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_bool(&json, true, &err));
    TRY(dbi_json_bool(&json, false, &err));
    TRY(dbi_json_null(&json, &err));
    TRY(dbi_json_close(&json, &err));
    TRY(key(&json, "b", &err));
    TRY(dbi_json_number(&json, "1.5e-7", 6, &err));
    TRY(key(&json, "", &err));
    TRY(ascii(&json, "text", &err));
    TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_end(&json, &err));
    check_text(&row, "{\"a\":[-1,{},[],true,false,null],\"b\":1.5e-7,\"\":\"text\"}");
done:
    dbi_row_free(&row);
}

TEST(json_of_jsonb_has_its_version) {
    JSON_CASE("jsonb");
    TRY(dbi_json_int(&json, INT64_MIN, &err));
    TRY(dbi_json_end(&json, &err));
    check_text(&row, "\1-9223372036854775808");
done:
    dbi_row_free(&row);
}

TEST(json_escapes_what_it_must) {
    static const uint16_t wide[] = {0xf6, '"', 0x20ac, '\\', 0x1f, 0x7f};
    static const uint32_t wider[] = {0x1f600, '\n'};

    JSON_CASE("json");
    TRY(dbi_json_open(&json, false, &err));
    TRY(ascii(&json, "\"\\/\b\f\n\r\t\x01\x1f\x7f", &err));
    TRY(dbi_json_units(&json, wide, 2, 6, false, &err));
    TRY(dbi_json_units(&json, wider, 4, 2, false, &err));
    TRY(dbi_json_units(&json, "\xe9", 1, 1, false, &err));
    TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_end(&json, &err));
    check_text(&row, "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\",\"\xc3\xb6\\\"\xe2\x82\xac\\\\\\u001f\x7f\","
                     "\"\xf0\x9f\x98\x80\\n\",\"\xc3\xa9\"]");
done:
    dbi_row_free(&row);
}

TEST(json_refuses_strings_that_postgresql_cannot_hold) {
    static const uint16_t lone[] = {'a', 0xd800}, nul[] = {0x20ac, 0};

    JSON_CASE("json");
    TRY_RC(dbi_json_units(&json, lone, 2, 2, false, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "field \"c\": character 1 of a string in the JSON is a lone surrogate");
    TRY(dbi_row_begin(&row, 1, &err));
    TRY(dbi_json_begin(&json, &row, &column, &err));
    TRY_RC(dbi_json_units(&json, nul, 2, 2, false, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "NUL");
    TRY(dbi_row_begin(&row, 1, &err));
    TRY(dbi_json_begin(&json, &row, &column, &err));
    TRY_RC(dbi_json_units(&json, "a\0", 1, 2, true, &err), DBI_EINVAL);
    TRY(dbi_row_begin(&row, 1, &err));
    TRY(dbi_json_begin(&json, &row, &column, &err));
    TRY_RC(dbi_json_units(&json, "", 1, SIZE_MAX - 1, true, &err), DBI_ETOOBIG);
done:
    dbi_row_free(&row);
}

TEST(json_numbers_keep_to_the_grammar_and_to_numeric) {
    static const char *const good[] = {"0", "-0", "10", "1.0", "-1.5e10", "1E+5", "1e-16383", "1e131071", "0.5e3"};
    static const char *const bad[] = {"",         "-",        "01",        "+1",       ".5",    "1.",
                                      "1e",       "1e+",      "NaN",       "Infinity", "1 ",    "0x1",
                                      "1e131072", "1e-16384", "1e9999999", "--1",      "1.5.5", "\"1\""};

    JSON_CASE("json");
    TRY(dbi_json_open(&json, false, &err));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        TRY(dbi_json_number(&json, good[i], strlen(good[i]), &err));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        TRY_RC(dbi_json_number(&json, bad[i], strlen(bad[i]), &err), DBI_EINVAL);
    TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_end(&json, &err));
done:
    dbi_row_free(&row);
}

TEST(json_refuses_calls_out_of_order) {
    JSON_CASE("json");
    CHECK_RC(dbi_json_end(&json, &err), DBI_ESTATE); /* no value */
    CHECK_RC(dbi_json_close(&json, &err), DBI_ESTATE);
    CHECK_RC(key(&json, "a", &err), DBI_ESTATE); /* outside an object */
    TRY(dbi_json_open(&json, true, &err));
    CHECK_RC(dbi_json_null(&json, &err), DBI_ESTATE); /* no key */
    CHECK_RC(dbi_json_end(&json, &err), DBI_ESTATE);  /* open */
    TRY(key(&json, "a", &err));
    CHECK_RC(key(&json, "b", &err), DBI_ESTATE);
    CHECK_RC(dbi_json_close(&json, &err), DBI_ESTATE); /* no value for the key */
    TRY(dbi_json_null(&json, &err));
    TRY(dbi_json_close(&json, &err));
    CHECK_RC(dbi_json_null(&json, &err), DBI_ESTATE); /* a second one at the top */
    CHECK_HAS(err.msg, "not written in order");
    TRY(dbi_json_end(&json, &err));
    check_text(&row, "{\"a\":null}");
done:
    dbi_row_free(&row);
}

TEST(json_is_nested_up_to_its_depth) {
    JSON_CASE("jsonb");
    for (unsigned i = 0; i < DBI_JSON_DEPTH_MAX; i++) {
        TRY(dbi_json_open(&json, i % 3 == 0, &err));
        if (i % 3 == 0)
            TRY(key(&json, "k", &err));
    }
    CHECK_RC(dbi_json_open(&json, false, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "nested more than 1000 levels deep, or holds itself");
    TRY(dbi_json_null(&json, &err));
    for (unsigned i = 0; i < DBI_JSON_DEPTH_MAX; i++)
        TRY(dbi_json_close(&json, &err));
    TRY(dbi_json_end(&json, &err));
    CHECK_INT(row.length, 6 + 1 + 2 * 1000 + 4 * 334 + 4);
done:
    dbi_row_free(&row);
}

TEST(json_is_for_columns_of_json) {
    dbi_json json;
    dbi_column column;
    dbi_err err;
    dbi_row row;

    dbi_row_init(&row, DBI_ROW_MAX);
    CHECK_RC(dbi_column_declare(&column, "c", "text", NULL), DBI_OK);
    TRY(dbi_row_begin(&row, 1, &err));
    CHECK_RC(dbi_json_begin(&json, &row, &column, &err), DBI_EINVAL);
done:
    dbi_row_free(&row);
}

TEST_MAIN()
