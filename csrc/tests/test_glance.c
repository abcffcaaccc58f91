/* test_glance.c - what is read of an envelope without parsing it */
#include "glance.h"

#include "test.h"

static const dbi_glance_text placeholders[] = {{"\"__debezium_unavailable_value\"", 30},
                                               {"[\"__debezium_unavailable_value\"]", 32}};

static dbi_glance read_text(const char *text) {
    dbi_glance glance;

    dbi_glance_read(&glance, text, strlen(text), placeholders, 2);
    return glance;
}

TEST(rows_of_both_engines) {
    dbi_glance own = read_text("{\"before\":null,\"after\":{\"id\":1,\"name\":\"a}\\\"{\"},\"source\":{\"version\":\"dbint "
                               "1.0\",\"lsn\":5},\"transaction\":null,\"op\":\"c\",\"ts_ms\":1}");
    dbi_glance other = read_text("{\"before\":{\"id\":1},\"after\":{\"id\": 2.5e3, \"name\" :null},\"source\":{\"version\":\"3.7."
                                 "0.Final\",\"connector\":\"postgresql\"},\"op\":\"u\"}");
    dbi_glance longer = read_text("{\"after\":{\"id\":1,\"name\":[{\"x\":[]}],\"extra\":{}},\"op\":\"r\"}");

    CHECK_INT(own.kind, DBI_GLANCE_ROW);
    CHECK_INT(own.op, 'c');
    CHECK(own.own);
    CHECK_INT(other.kind, DBI_GLANCE_ROW);
    CHECK_INT(other.op, 'u');
    CHECK(!other.own);
    CHECK(own.shape != 0 && own.shape == other.shape);
    CHECK_INT(longer.kind, DBI_GLANCE_ROW);
    CHECK(longer.shape != own.shape && longer.shape != 0);
}

TEST(other_kinds) {
    dbi_glance glance;

    CHECK_INT(read_text("{\"before\":{\"id\":1},\"after\":null,\"op\":\"d\"}").kind, DBI_GLANCE_ROW);
    CHECK_INT(read_text("{\"before\":{\"id\":1},\"after\":null,\"op\":\"d\"}").shape, 0);
    CHECK_INT(read_text("{\"before\":null,\"after\":null,\"op\":\"t\"}").kind, DBI_GLANCE_TRUNCATE);
    CHECK_INT(read_text("{\"op\":\"m\",\"message\":{\"prefix\":\"p\"}}").kind, DBI_GLANCE_LOGICAL);
    dbi_glance_read(&glance, NULL, 0, NULL, 0);
    CHECK_INT(glance.kind, DBI_GLANCE_NULL);
}

TEST(missing_values) {
    const char *one = "{\"after\":{\"id\":1,\"big\":\"__debezium_unavailable_value\"},\"op\":\"u\"}";
    dbi_glance list = read_text("{\"after\":{\"id\":1,\"big\":[\"__debezium_unavailable_value\"]},\"op\":\"u\"}");
    dbi_glance another = read_text("{\"after\":{\"id\":\"__debezium_unavailable_value\",\"big\":1},\"op\":\"c\"}");
    dbi_glance within = read_text("{\"after\":{\"id\":1,\"big\":\"x __debezium_unavailable_value\"},\"op\":\"u\"}");
    dbi_glance before = read_text("{\"before\":{\"big\":\"__debezium_unavailable_value\"},\"after\":{\"id\":1},\"op\":\"u\"}");
    dbi_glance glance;

    CHECK_INT(read_text(one).kind, DBI_GLANCE_PARTIAL);
    CHECK_INT(list.kind, DBI_GLANCE_PARTIAL);
    CHECK(read_text(one).missing == list.missing && list.missing != 0);
    CHECK_INT(another.kind, DBI_GLANCE_PARTIAL);
    CHECK(another.missing != list.missing);
    CHECK_INT(within.kind, DBI_GLANCE_ROW);
    CHECK_INT(within.missing, 0);
    CHECK_INT(before.kind, DBI_GLANCE_ROW);
    dbi_glance_read(&glance, one, strlen(one), NULL, 0);
    CHECK_INT(glance.kind, DBI_GLANCE_ROW);
    CHECK(dbi_glance_listed("big", 3) != dbi_glance_listed("bit", 3));
    CHECK(dbi_glance_listed("", 0) != 0);
}

TEST(what_is_no_envelope_on_one_line) {
    static const char *texts[] = {"",
                                  "null",
                                  "[]",
                                  "{}",
                                  "{\"op\":\"c\"}",
                                  "{\"after\":{\"id\":1},\"op\":\"x\"}",
                                  "{\"after\":{\"id\":1},\"op\":\"cc\"}",
                                  "{\"after\":{\"id\":1},\"op\":1}",
                                  "{\"after\":{\"id\":1},\"op\":\"c\"",
                                  "{\"after\":{\"id\":1},\"op\":\"c\"}{}",
                                  "{\"after\":{\"id\":1},\n\"op\":\"c\"}",
                                  "{\"after\":{\"id\":1}\n,\"op\":\"c\"}",
                                  "{\"after\":{\"id\":[1,\n2]},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":\"a\nb\"},\"op\":\"c\"}",
                                  "{\"after\":{\"id\"},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":1,},\"op\":\"c\"}",
                                  "{\"after\":{id:1},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":\"1},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":\"1\\\"},\"op\":\"c\"}",
                                  "{\"after\":{\"id\":1},\"op\":\"c\"}\n",
                                  "\xef\xbb\xbf{\"after\":{\"id\":1},\"op\":\"c\"}"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (read_text(texts[i]).kind != DBI_GLANCE_UNKNOWN)
            test_fail(__FILE__, __LINE__, "taken for a change: %s", texts[i]);
    CHECK_INT(read_text(" { \"after\" : { } ,\t\"op\" : \"c\" } ").kind, DBI_GLANCE_ROW);
}

TEST(no_prefix_of_a_message_is_read_past_its_end) {
    const char *text = "{\"before\":null,\"after\":{\"id\":1,\"t\":\"\\u00e9\\\\\",\"j\":[{\"k\":true}]},\"source\":{\"version\":"
                       "\"dbint 1\"},\"op\":\"c\",\"ts_ms\":1}";
    size_t length = strlen(text);

    for (size_t i = 0; i <= length; i++) {
        char *copy = dbi_calloc(1, i + 1); /* of its own size, so that the sanitizer sees a step too far */
        dbi_glance glance;

        if (copy == NULL)
            return;
        memcpy(copy, text, i);
        dbi_glance_read(&glance, copy, i, placeholders, 2);
        CHECK_INT(glance.kind, i == length ? DBI_GLANCE_ROW : DBI_GLANCE_UNKNOWN);
        dbi_free(copy);
    }
}

TEST_MAIN()
