/* test_envelope.c - messages: keys, values, headers; each type of value, and what is no value of its type */
#include "cdc/envelope.h"

#include "cdc_test.h"

#define TYPE_INT 23
#define TYPE_TEXT 25

static const dbi_envelope_options shop = {.name = "shop", .database = "orders", .version = "dbint 1"};

static const dbi_origin origin = {.hi = UINT64_C(24000000000),
                                  .lo = 1234567890123,
                                  .xid = 742,
                                  .commit_us = 1700000000123456,
                                  .captured_us = 1700000001000001};

#define SOURCE                                                                                                         \
    "\"source\":{\"version\":\"dbint 1\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":1700000000123,"      \
    "\"snapshot\":\"false\",\"db\":\"orders\",\"sequence\":\"[\\\"24000000000\\\",\\\"1234567890123\\\"]\","           \
    "\"ts_us\":1700000000123456,\"ts_ns\":1700000000123456000,\"schema\":\"public\",\"table\":\"t\",\"txId\":742,"     \
    "\"lsn\":1234567890123,\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":null,"
#define END ",\"ts_ms\":1700000001000,\"ts_us\":1700000001000001,\"ts_ns\":1700000001000001000}"

/* A table with an int key and a text; what a case needs. */
typedef struct test_world {
    dbi_relations *relations;
    dbi_relation *relation;
    dbi_envelope *envelope;
} test_world;

static dbi_rc world_open(test_world *world, char identity, const dbi_envelope_options *options, dbi_err *err) {
    static const dbi_pgoutput_column columns[] = {{true, "id", TYPE_INT, -1}, {false, "name", TYPE_TEXT, -1}};
    const dbi_pgoutput_relation message = {
        .oid = 16400, .nspname = "public", .relname = "t", .identity = identity, .column_count = 2, .columns = columns};
    static const answer_column known[] = {{.name = "id", .type = "23", .in_identity = "t", .key = "0"},
                                          {.name = "name", .type = "25"}};
    PGresult *answer = answer_make("16400", "public", "t", "d", known, 2);
    dbi_rc rc = dbi_relations_new(&world->relations, err);

    if (rc == DBI_OK)
        rc = dbi_relations_put(world->relations, &message, &world->relation, err);
    if (rc == DBI_OK)
        rc = dbi_relations_describe(world->relations, world->relation, answer, err);
    if (rc == DBI_OK)
        rc = dbi_envelope_new(&world->envelope, options, err);
    PQclear(answer);
    return rc;
}

static void world_close(test_world *world) {
    dbi_envelope_free(world->envelope);
    dbi_relations_free(world->relations);
}

static dbi_cell cell(const char *text) {
    if (text == NULL)
        return (dbi_cell){.kind = DBI_CELL_NULL};
    if (strcmp(text, "\1") == 0)
        return (dbi_cell){.kind = DBI_CELL_UNCHANGED};
    return (dbi_cell){.kind = DBI_CELL_TEXT, .length = (uint32_t)strlen(text), .bytes = (const uint8_t *)text};
}

static void check_bytes(const void *bytes, size_t length, const char *expected) {
    char copy[8192];

    CHECK(length < sizeof copy);
    if (length > 0)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    CHECK_STR(copy, expected);
}

static dbi_rc change(test_world *world, dbi_pgoutput_kind kind, dbi_old_row has_old, const dbi_cell *old_row,
                     const dbi_cell *new_row, dbi_envelope_message *messages, unsigned *count, dbi_err *err) {
    const dbi_pgoutput_change given = {.relation = 16400,
                                       .has_old = has_old,
                                       .old_count = old_row != NULL ? 2 : 0,
                                       .new_count = new_row != NULL ? 2 : 0,
                                       .old_row = old_row,
                                       .new_row = new_row};

    return dbi_envelope_change(world->envelope, world->relation, kind, &given, &origin, messages, count, err);
}

TEST(envelope_of_each_operation) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX], one;
    const dbi_cell old_row[] = {cell("1"), cell(NULL)}, new_row[] = {cell("1"), cell("a\"b")};
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'd', &shop, &err));
    TRY(change(&world, DBI_PGOUTPUT_INSERT, DBI_OLD_NONE, NULL, new_row, sent, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(sent[0].op, 'c');
    check_bytes(sent[0].key, sent[0].key_length, "{\"id\":1}");
    check_bytes(sent[0].value, sent[0].value_length,
                "{\"before\":null,\"after\":{\"id\":1,\"name\":\"a\\\"b\"}," SOURCE "\"op\":\"c\"" END);
    CHECK(sent[0].unchanged == NULL && sent[0].newkey == NULL && sent[0].oldkey == NULL);
    TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_NONE, NULL, new_row, sent, &count, &err));
    CHECK_INT(count, 1);
    check_bytes(sent[0].key, sent[0].key_length, "{\"id\":1}");
    check_bytes(sent[0].value, sent[0].value_length,
                "{\"before\":null,\"after\":{\"id\":1,\"name\":\"a\\\"b\"}," SOURCE "\"op\":\"u\"" END);
    TRY(change(&world, DBI_PGOUTPUT_DELETE, DBI_OLD_KEY, old_row, NULL, sent, &count, &err));
    check_bytes(sent[0].key, sent[0].key_length, "{\"id\":1}");
    check_bytes(sent[0].value, sent[0].value_length,
                "{\"before\":{\"id\":1,\"name\":null},\"after\":null," SOURCE "\"op\":\"d\"" END);
    TRY(dbi_envelope_truncate(world.envelope, world.relation, &origin, &one, &err));
    CHECK(one.key == NULL);
    CHECK_INT(one.op, 't');
    check_bytes(one.value, one.value_length, "{\"before\":null,\"after\":null," SOURCE "\"op\":\"t\"" END);
done:
    world_close(&world);
}

TEST(envelope_of_a_snapshots_row) {
    test_world world = {0};
    dbi_envelope_message sent;
    const dbi_cell row[] = {cell("7"), cell(NULL)};
    const dbi_origin point = {.hi = 9, .lo = 9, .commit_us = -1, .captured_us = 0, .snapshot = true};
    dbi_err err = {0};

    TRY(world_open(&world, 'd', &shop, &err));
    TRY(dbi_envelope_row(world.envelope, world.relation, row, 2, &point, &sent, &err));
    CHECK_INT(sent.op, 'r');
    check_bytes(sent.key, sent.key_length, "{\"id\":7}");
    check_bytes(sent.value, sent.value_length,
                "{\"before\":null,\"after\":{\"id\":7,\"name\":null},\"source\":{\"version\":\"dbint 1\",\"connector\":"
                "\"postgresql\",\"name\":\"shop\",\"ts_ms\":-1,\"snapshot\":\"true\",\"db\":\"orders\",\"sequence\":"
                "\"[\\\"9\\\",\\\"9\\\"]\",\"ts_us\":-1,\"ts_ns\":-1000,\"schema\":\"public\",\"table\":\"t\",\"txId\":"
                "null,\"lsn\":9,\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":null,\"op\":\"r\","
                "\"ts_ms\":0,\"ts_us\":0,\"ts_ns\":0}");
    TRY_RC(dbi_envelope_row(world.envelope, world.relation, row, 1, &point, &sent, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "a row of public.t has 1 columns, the table was announced with 2");
done:
    world_close(&world);
}

TEST(envelope_of_a_changed_key_is_a_delete_and_a_create) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    const dbi_cell old_row[] = {cell("1"), cell(NULL)}, new_row[] = {cell("2"), cell("\1")};
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'd', &shop, &err));
    TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_KEY, old_row, new_row, sent, &count, &err));
    CHECK_INT(count, 2);
    CHECK_INT(sent[0].op, 'd');
    check_bytes(sent[0].key, sent[0].key_length, "{\"id\":1}");
    check_bytes(sent[0].newkey, sent[0].newkey_length, "{\"id\":2}");
    CHECK(sent[0].oldkey == NULL && sent[0].unchanged == NULL);
    check_bytes(sent[0].value, sent[0].value_length,
                "{\"before\":{\"id\":1,\"name\":null},\"after\":null," SOURCE "\"op\":\"d\"" END);
    CHECK_INT(sent[1].op, 'c');
    check_bytes(sent[1].key, sent[1].key_length, "{\"id\":2}");
    check_bytes(sent[1].oldkey, sent[1].oldkey_length, "{\"id\":1}");
    CHECK(sent[1].newkey == NULL);
    check_bytes(sent[1].unchanged, sent[1].unchanged_length, "name");
    check_bytes(sent[1].value, sent[1].value_length,
                "{\"before\":null,\"after\":{\"id\":2,\"name\":\"" DBI_ENVELOPE_UNAVAILABLE "\"}," SOURCE
                "\"op\":\"c\"" END);
done:
    world_close(&world);
}

TEST(envelope_takes_unchanged_values_from_the_whole_old_row) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    const dbi_cell old_row[] = {cell("1"), cell("long")}, new_row[] = {cell("2"), cell("\1")};
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'f', &shop, &err));
    TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_FULL, old_row, new_row, sent, &count, &err));
    CHECK_INT(count, 2);
    CHECK(sent[1].unchanged == NULL);
    check_bytes(sent[0].value, sent[0].value_length,
                "{\"before\":{\"id\":1,\"name\":\"long\"},\"after\":null," SOURCE "\"op\":\"d\"" END);
    check_bytes(sent[1].value, sent[1].value_length,
                "{\"before\":null,\"after\":{\"id\":2,\"name\":\"long\"}," SOURCE "\"op\":\"c\"" END);
done:
    world_close(&world);
}

TEST(envelope_without_a_key_has_a_null_key) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    const dbi_cell old_row[] = {cell("1"), cell("a")}, new_row[] = {cell("2"), cell("b")};
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'f', &shop, &err));
    world.relation->key_count = 0;
    TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_FULL, old_row, new_row, sent, &count, &err));
    CHECK_INT(count, 1); /* and so none that could change */
    CHECK(sent[0].key == NULL);
    CHECK_INT(sent[0].op, 'u');
done:
    world_close(&world);
}

TEST(envelope_of_a_logical_message) {
    test_world world = {0};
    dbi_envelope_message sent;
    dbi_err err = {0};

    TRY(world_open(&world, 'd', &shop, &err));
    TRY(dbi_envelope_logical(world.envelope, "p\"", (const uint8_t *)"ab\xff", 3, &origin, &sent, &err));
    CHECK_INT(sent.op, 'm');
    check_bytes(sent.key, sent.key_length, "{\"prefix\":\"p\\\"\"}");
    check_bytes(
        sent.value, sent.value_length,
        "{\"op\":\"m\",\"ts_ms\":1700000001000,\"source\":{\"version\":\"dbint 1\",\"connector\":\"postgresql\","
        "\"name\":\"shop\",\"ts_ms\":1700000000123,\"snapshot\":\"false\",\"db\":\"orders\",\"sequence\":"
        "\"[\\\"24000000000\\\",\\\"1234567890123\\\"]\",\"ts_us\":1700000000123456,\"ts_ns\":"
        "1700000000123456000,\"schema\":\"\",\"table\":\"\",\"txId\":742,\"lsn\":1234567890123,\"xmin\":null,"
        "\"origin\":null,\"origin_lsn\":null},\"transaction\":null,\"message\":{\"prefix\":\"p\\\"\","
        "\"content\":\"YWL/\"}}");
    TRY_RC(dbi_envelope_logical(world.envelope, "\xff", NULL, 0, &origin, &sent, &err), DBI_EINVAL);
done:
    world_close(&world);
}

TEST(envelope_refuses_rows_that_do_not_fit) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    const dbi_cell row[] = {cell("1"), cell("a")};
    dbi_pgoutput_change given = {.new_count = 3, .new_row = row};
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'd', &shop, &err));
    TRY_RC(
        dbi_envelope_change(world.envelope, world.relation, DBI_PGOUTPUT_INSERT, &given, &origin, sent, &count, &err),
        DBI_EINVAL);
    CHECK_HAS(err.msg, "a row of public.t has 3 columns, the table was announced with 2");
    given = (dbi_pgoutput_change){.old_count = 1, .old_row = row};
    TRY_RC(
        dbi_envelope_change(world.envelope, world.relation, DBI_PGOUTPUT_DELETE, &given, &origin, sent, &count, &err),
        DBI_EINVAL);
    given = (dbi_pgoutput_change){.old_count = 2, .old_row = row};
    TRY_RC(
        dbi_envelope_change(world.envelope, world.relation, DBI_PGOUTPUT_UPDATE, &given, &origin, sent, &count, &err),
        DBI_EINVAL);
    CHECK_HAS(err.msg, "has not the row that its kind must have");
    CHECK_INT(count, 0);
done:
    world_close(&world);
}

TEST(envelope_has_a_largest_value) {
    const dbi_envelope_options small = {.name = "shop", .database = "orders", .version = "dbint 1", .value_max = 2000};
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    static char text[20000];
    dbi_cell row[] = {cell("1"), cell("")};
    unsigned count;
    dbi_err err = {0};

    memset(text, 'x', sizeof text - 1);
    TRY(world_open(&world, 'd', &small, &err));
    row[1] = cell(text);
    for (uint32_t length = 0; length < sizeof text; length += 1000) {
        dbi_rc rc;

        row[1].length = length;
        rc = change(&world, DBI_PGOUTPUT_INSERT, DBI_OLD_NONE, NULL, row, sent, &count, &err);
        if (rc == DBI_ENOMEM && test_injected())
            goto done;
        if (length <= 1000) {
            CHECK_RC(rc, DBI_OK);
            CHECK(sent[0].value_length > length);
        } else {
            CHECK_RC(rc, DBI_ETOOBIG);
            CHECK_HAS(err.msg, "a change of public.t makes a message of more than 2000 bytes");
        }
    }
    row[1].length = 1; /* and goes on */
    TRY(change(&world, DBI_PGOUTPUT_INSERT, DBI_OLD_NONE, NULL, row, sent, &count, &err));
done:
    world_close(&world);
}

TEST(envelope_needs_names) {
    dbi_envelope *envelope = NULL;
    dbi_envelope_options options[] = {shop, shop, shop};
    dbi_err err = {0};

    options[0].name = "";
    options[1].database = "\xff";
    options[2].version = NULL;
    for (size_t i = 0; i < 3; i++) {
        CHECK_RC(dbi_envelope_new(&envelope, &options[i], &err), DBI_EINVAL);
        CHECK(envelope == NULL);
    }
}

TEST(envelope_names_what_is_unchanged) {
    static const dbi_pgoutput_column columns[] = {{true, "id", TYPE_INT, -1},
                                                  {false, "a,b", TYPE_TEXT, -1},
                                                  {false, "c\\d", TYPE_TEXT, -1},
                                                  {false, "e", 17, -1}};
    const dbi_pgoutput_relation message = {
        .oid = 1, .nspname = "s", .relname = "t", .identity = 'd', .column_count = 4, .columns = columns};
    const dbi_cell row[] = {cell("1"), cell("\1"), cell("\1"), cell("\1")};
    const dbi_pgoutput_change given = {.new_count = 4, .new_row = row};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    dbi_relations *relations = NULL;
    dbi_envelope *envelope = NULL;
    dbi_relation *relation;
    unsigned count;
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    TRY(dbi_envelope_new(&envelope, &shop, &err));
    TRY(dbi_envelope_change(envelope, relation, DBI_PGOUTPUT_UPDATE, &given, &origin, sent, &count, &err));
    check_bytes(sent[0].unchanged, sent[0].unchanged_length, "a\\,b,c\\\\d,e");
done:
    dbi_envelope_free(envelope);
    dbi_relations_free(relations);
}

/* --- values --- */

typedef struct value_sample {
    const char *type; /* as the catalogue would say: OID, or a name of an extension's */
    const char *text;
    const char *json; /* NULL = it is refused */
} value_sample;

#define P "__debezium_unavailable_value"

static const value_sample samples[] = {
    {"16", "t", "true"},
    {"16", "f", "false"},
    {"16", "", NULL},
    {"16", "true", NULL},
    {"16", "\1", "\"" P "\""},
    {"23", "0", "0"},
    {"23", "-2147483648", "-2147483648"},
    {"20", "9223372036854775807", "9223372036854775807"},
    {"26", "4294967295", "4294967295"},
    {"23", "", NULL},
    {"23", "-", NULL},
    {"23", "01", NULL},
    {"23", "1.0", NULL},
    {"23", "1 ", NULL},
    {"23", "99999999999999999999", NULL},
    {"701", "1e+30", "1e+30"},
    {"701", "-0", "-0"},
    {"701", "5e-324", "5e-324"},
    {"701", "0.1", "0.1"},
    {"701", "NaN", "\"NaN\""},
    {"701", "-Infinity", "\"-Infinity\""},
    {"701", "inf", NULL},
    {"701", ".5", NULL},
    {"701", "1.", NULL},
    {"701", "1e", NULL},
    {"701", "0x1p3", NULL},
    {"701", "", NULL},
    {"1700", "1.50", "\"1.50\""},
    {"1700", "-123456789012345678901234567890.00", "\"-123456789012345678901234567890.00\""},
    {"1700", "NaN", "\"NAN\""},
    {"1700", "Infinity", "\"POSITIVE_INFINITY\""},
    {"1700", "-Infinity", "\"NEGATIVE_INFINITY\""},
    {"1700", "1\"", NULL},
    {"790", "$1,234.50", "\"1234.50\""},
    {"790", "-$92,233,720,368,547,758.08", "\"-92233720368547758.08\""},
    {"790", "1.234,50 \xe2\x82\xac", NULL},
    {"790", "$", NULL},
    {"25", "", "\"\""},
    {"25", "plain text, longer than eight bytes", "\"plain text, longer than eight bytes\""},
    {"25", "1234567\"1234567\\12345678\n", "\"1234567\\\"1234567\\\\12345678\\n\""},
    {"25", "\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
    {"25", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
    {"25",
     "12345678\xc3\xa4"
     "12345678\xc3\xa4",
     "\"12345678\xc3\xa4"
     "12345678\xc3\xa4\""},
    {"25", "\xe2\x82", NULL},
    {"25", "abc\xff", NULL},
    {"25", "\xed\xa0\x80", NULL},
    {"25", "\xc0\x80", NULL},
    {"3802", "{\"a\": 1}", "\"{\\\"a\\\": 1}\""},
    {"17", "\\x", "\"\""},
    {"17", "\\x00", "\"AA==\""},
    {"17", "\\x0102", "\"AQI=\""},
    {"17", "\\x0102fF", "\"AQL/\""},
    {"17", "\\x010", NULL},
    {"17", "\\x0g", NULL},
    {"17", "abc", NULL},
    {"17", "\1", "\"" P "\""},
    {"1082", "2026-11-22", "\"2026-11-22Z\""},
    {"1082", "0001-01-01", "\"0001-01-01Z\""},
    {"1082", "0001-12-31 BC", "\"0000-12-31Z\""},
    {"1082", "4713-01-01 BC", "\"-4712-01-01Z\""},
    {"1082", "12026-01-01", "\"+12026-01-01Z\""},
    {"1082", "5874897-12-31", "\"+5874897-12-31Z\""},
    {"1082", "infinity", "\"infinity\""},
    {"1082", "-infinity", "\"-infinity\""},
    {"1082", "22.11.2026", NULL},
    {"1082", "2026-11-22 AD", NULL},
    {"1082", " BC", NULL},
    {"1082", "2026-1-22", NULL},
    {"1083", "23:59:59.5", "\"23:59:59.5Z\""},
    {"1083", "24:00:00", "\"24:00:00Z\""},
    {"1083", "23:59", NULL},
    {"1083", "23:59:59.", NULL},
    {"1083", "23:59:59.1234567", NULL},
    {"1266", "12:34:56.789+02", "\"10:34:56.789Z\""},
    {"1266", "00:00:00+15:59", "\"08:01:00Z\""},
    {"1266", "23:59:59-00:00:10", "\"00:00:09Z\""},
    {"1266", "24:00:00+00", "\"24:00:00Z\""},
    {"1266", "12:34:56", NULL},
    {"1266", "12:34:56+2", NULL},
    {"1266", "12:34:56+02:", NULL},
    {"1266", "12:34:56+02:00:00:00", NULL},
    {"1114", "2026-11-22 12:34:56", "\"2026-11-22T12:34:56Z\""},
    {"1114", "2026-11-22 12:34:56.000001", "\"2026-11-22T12:34:56.000001Z\""},
    {"1114", "0044-03-15 12:00:00 BC", "\"-0043-03-15T12:00:00Z\""},
    {"1114", "infinity", "\"infinity\""},
    {"1114", "2026-11-22", NULL},
    {"1114", "2026-11-22T12:34:56", NULL},
    {"1184", "2026-11-22 12:34:56+00", "\"2026-11-22T12:34:56.000000Z\""},
    {"1184", "2026-11-22 12:34:56.5+00", "\"2026-11-22T12:34:56.500000Z\""},
    {"1184", "0044-03-15 12:00:00+00 BC", "\"-0043-03-15T12:00:00.000000Z\""},
    {"1184", "-infinity", "\"-infinity\""},
    {"1184", "2026-11-22 12:34:56+01", NULL}, /* a session in another zone */
    {"1184", "2026-11-22 12:34:56", NULL},
    {"1184(3)", "2026-11-22 12:34:56+00", "\"2026-11-22T12:34:56.000Z\""},
    {"1184(0)", "2026-11-22 12:34:56+00", "\"2026-11-22T12:34:56Z\""},
    {"1186", "00:00:00", "\"P0Y0M0DT0H0M0S\""},
    {"1186", "1 year 2 mons 3 days 04:05:06.789", "\"P1Y2M3DT4H5M6.789S\""},
    {"1186", "-1 years -2 mons +3 days -04:05:06.7", "\"P-1Y-2M3DT-4H-5M-6.7S\""},
    {"1186", "1 mon", "\"P0Y1M0DT0H0M0S\""},
    {"1186", "-00:00:00.5", "\"P0Y0M0DT0H0M-0.5S\""},
    {"1186", "1000000:00:01", "\"P0Y0M0DT1000000H0M1S\""},
    {"1186", "P1Y", NULL},
    {"1186", "", NULL},
    {"1186", "1 week", NULL},
    {"1186", "1 day ", NULL},
    {"1186", "@ 1 day", NULL},
    {"1560(1)", "1", "true"},
    {"1560(1)", "0", "false"},
    {"1560(8)", "10101010", "\"qg==\""},
    {"1560(12)", "101010101111", "\"rwo=\""},
    {"1560(8)", "00000000", "\"\""},
    {"1562", "101", "\"BQ==\""},
    {"1562", "", "\"\""},
    {"1562", "102", NULL},
    {"600", "(1.5,2)", "{\"x\":1.5,\"y\":2,\"wkb\":\"AQEAAAAAAAAAAAD4PwAAAAAAAABA\",\"srid\":null}"},
    {"600", "(NaN,0)", "{\"x\":\"NaN\",\"y\":0,\"wkb\":\"AQEAAAAAAAAAAAD4fwAAAAAAAAAA\",\"srid\":null}"},
    {"600", "(1,2", NULL},
    {"600", "(1,2) ", NULL},
    {"600", "1,2", NULL},
    {"600", "(x,2)", NULL},
    {"628", "{1,-1,0}", "{\"a\":1,\"b\":-1,\"c\":0}"},
    {"628", "{1,2}", NULL},
    {"718", "<(0,0),1>",
     "{\"center\":{\"x\":0,\"y\":0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null},\"radius\":1}"},
    {"718", "<(0,0)>", NULL},
    {"601", "[(1,2),(3,4)]",
     "{\"wkb\":\"AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAAEEA=\",\"srid\":null,\"extensions\":{\"type\":"
     "\"lseg\"}}"},
    {"601", "[(1,2)]", NULL},
    {"602", "[(0,0)]",
     "{\"wkb\":\"AQIAAAABAAAAAAAAAAAAAAAAAAAAAAAAAA==\",\"srid\":null,\"extensions\":{\"type\":\"path\",\"closed\":"
     "\"false\"}}"},
    {"604", "((0,0))",
     "{\"wkb\":\"AQMAAAABAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"srid\":null,\"extensions\":{\"type\":\"polygon\"}}"},
    {"604", "()", NULL},
    {"604", "[(0,0)]", NULL},
    {"604", "((0,0)(1,1))", NULL},
    {"604", "((0,0),)", NULL},
    {"603", "(0,0)", NULL},
    {"hstore", "", "\"{}\""},
    {"hstore", "\"a\"=>\"1\", \"b\"=>NULL", "\"{\\\"a\\\":\\\"1\\\",\\\"b\\\":null}\""},
    {"hstore", "\"k \\\"q\\\"\"=>\"NULL\\\\\"", "\"{\\\"k \\\\\\\"q\\\\\\\"\\\":\\\"NULL\\\\\\\\\\\"}\""},
    {"hstore", "\"a\"=>\"1\",\"b\"=>NULL", NULL},
    {"hstore", "a=>1", NULL},
    {"hstore", "\"a\"=>", NULL},
    {"hstore", "\"a\"=>\"", NULL},
    {"hstore", "\"a\"=>\"1\", ", NULL},
    {"hstore", "\"a\\", NULL},
    {"hstore", "\1", "\"{\\\"" P "\\\":\\\"" P "\\\"}\""},
    {"geometry", "0101000000000000000000F03F0000000000000040",
     "{\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAABA\",\"srid\":null}"},
    {"geometry", "0101000020E6100000000000000000F03F0000000000000040",
     "{\"wkb\":\"AQEAACDmEAAAAAAAAAAA8D8AAAAAAAAAQA==\",\"srid\":4326}"},
    {"geometry", "0020000001000010E63FF00000000000004000000000000000",
     "{\"wkb\":\"ACAAAAEAABDmP/AAAAAAAABAAAAAAAAAAA==\",\"srid\":4326}"},
    {"geometry", "0101", NULL},
    {"geometry", "POINT(1 2) is not hexadecimal", NULL},
    {"vector", "[1,2.5,-3e-05]", "[1,2.5,-3e-05]"},
    {"vector", "[1,,2]", NULL},
    {"vector", "[1,2", NULL},
    {"vector", "[]", NULL},
    {"vector", "[1,]", NULL},
    {"citext", "Ab", "\"Ab\""},
    {"ltree", "a.b", "\"a.b\""},
    {"unknown", "(1,\"a b\")", "\"KDEsImEgYiIp\""},
    {"unknown", "\xff", "\"/w==\""}, /* whatever it is */
    {"22", "1 2", "\"MSAy\""},       /* int2vector: not written as an array */
    {"1007", "{}", "[]"},
    {"1007", "{1,NULL,-3}", "[1,null,-3]"},
    {"1007", "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
    {"1007", "[0:1]={5,6}", "[5,6]"},
    {"1007", "[1:1][-2:-1]={{5,6}}", "[[5,6]]"},
    {"1007", "{{{{{{1}}}}}}", "[[[[[[1]]]]]]"},
    {"1007", "{{{{{{{1}}}}}}}", NULL},
    {"1007", "{1", NULL},
    {"1007", "{1,}", NULL},
    {"1007", "{,1}", NULL},
    {"1007", "{1}2", NULL},
    {"1007", "{1{2}}", NULL},
    {"1007", "{1,x}", NULL},
    {"1007", "}", NULL},
    {"1007", "", NULL},
    {"1007", "[0:1]", NULL},
    {"1007", "\1",
     "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]"},
    {"1009", "{a,NULL,\"NULL\",\"\",\"b, c\",\"q \\\" \\\\\"}", "[\"a\",null,\"NULL\",\"\",\"b, c\",\"q \\\" \\\\\"]"},
    {"1009", "{\"a}", NULL},
    {"1009", "{\"a\\", NULL},
    {"1009", "{\"\xff\"}", NULL},
    {"1009", "\1", "[\"" P "\"]"},
    {"1001", "{\"\\\\x0102\",NULL}", "[\"AQI=\",null]"},
    {"1231", "{1.50,NaN}", "[\"1.50\",\"NAN\"]"},
    {"1185", "{\"2026-11-22 12:34:56+00\"}", "[\"2026-11-22T12:34:56.000000Z\"]"},
    {"1187", "{\"1 day\",NULL}", "[\"P0Y0M1DT0H0M0S\",null]"},
    {"1020", "{(1,1),(0,0);(2,2),(1,1)}",
     "[{\"wkb\":\"AQMAAAABAAAABQAAAAAAAAAAAPA/"
     "AAAAAAAA8D8AAAAAAADwPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8D8A"
     "AAAAAADwPwAAAAAAAPA/"
     "\",\"srid\":null,\"extensions\":{\"type\":\"box\"}},{\"wkb\":\"AQMAAAABAAAABQAAAAAAAAAAAABAAAAAAAAA"
     "AEAAAAAAAAAAQAAAAAAAAPA/AAAAAAAA8D8AAAAAAADwPwAAAAAAAPA/AAAAAAAAAEAAAAAAAAAAQAAAAAAAAABA\",\"srid\":null,"
     "\"extensions\":{\"type\":\"box\"}}]"},
};

/* A table of one column of the sample's type, as the catalogue describes it. */
static dbi_rc sample_relation(dbi_relations *relations, const value_sample *sample, dbi_relation **relation,
                              dbi_err *err) {
    char type[32], typmod[32] = "-1";
    const char *limit = strchr(sample->type, '(');
    bool builtin = sample->type[0] >= '0' && sample->type[0] <= '9';
    answer_column known = {.name = "c", .type = type, .typmod = typmod, .typname = sample->type};
    dbi_pgoutput_column column = {.name = "c"};
    dbi_pgoutput_relation message = {
        .oid = 1, .nspname = "s", .relname = "t", .identity = 'd', .column_count = 1, .columns = &column};
    PGresult *answer;
    dbi_rc rc;

    (void)snprintf(type, sizeof type, "%.*s", (int)strcspn(sample->type, "("), builtin ? sample->type : "99999");
    if (limit != NULL)
        (void)snprintf(typmod, sizeof typmod, "%.*s", (int)strcspn(limit + 1, ")"), limit + 1);
    column.type = (uint32_t)strtoul(type, NULL, 10);
    column.typmod = (int32_t)strtol(typmod, NULL, 10);
    if (column.type == 1020) { /* box[]: as the catalogue says it, with the delimiter */
        known.base = "603";
        known.arrays = "1";
        known.delimiter = ";";
    }
    answer = answer_make("1", "s", "t", "d", &known, 1);
    rc = dbi_relations_put(relations, &message, relation, err);
    if (rc == DBI_OK)
        rc = dbi_relations_describe(relations, *relation, answer, err);
    PQclear(answer);
    return rc;
}

TEST_WITH(envelope_writes_each_type, .timeout_s = 60, .unswept = "a table of values; other cases are swept") {
    dbi_relations *relations = NULL;
    dbi_envelope *envelope = NULL;
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_envelope_new(&envelope, &shop, &err));
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        const value_sample *sample = &samples[i];
        size_t length = strlen(sample->text);
        uint8_t *exact = malloc(length != 0 ? length : 1); /* so that a sanitizer sees each byte too far */
        dbi_cell row[] = {cell(sample->text)};
        dbi_envelope_message sent;
        dbi_relation *relation;
        char expected[2048];
        const char *begin, *end;
        dbi_rc rc;

        CHECK(exact != NULL);
        memcpy(exact, sample->text, length);
        if (row[0].kind == DBI_CELL_TEXT)
            row[0].bytes = exact;
        TRY(sample_relation(relations, sample, &relation, &err));
        rc = dbi_envelope_row(envelope, relation, row, 1, &origin, &sent, &err);
        if (sample->json == NULL) {
            if (rc != DBI_EINVAL)
                test_fail(__FILE__, __LINE__, "type %s took \"%s\"", sample->type, sample->text);
            CHECK_HAS(err.msg, "column \"c\" of table s.t");
        } else {
            if (rc != DBI_OK)
                test_fail(__FILE__, __LINE__, "type %s refused \"%s\": %s", sample->type, sample->text, err.msg);
            begin = (const char *)sent.value + strlen("{\"before\":null,\"after\":{\"c\":");
            end = strstr(begin, "},\"source\":{");
            CHECK(end != NULL);
            (void)snprintf(expected, sizeof expected, "%.*s", (int)(end - begin), begin);
            CHECK_STR(expected, sample->json);
        }
        free(exact);
    }
done:
    dbi_envelope_free(envelope);
    dbi_relations_free(relations);
}

TEST(envelope_writes_long_binary_values) {
    static const value_sample bytea = {"17", "", NULL}, bits = {"1562", "", NULL};
    const value_sample *const kinds[] = {&bytea, &bits};
    static char text[20003];
    dbi_relations *relations = NULL;
    dbi_envelope *envelope = NULL;
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_envelope_new(&envelope, &shop, &err));
    for (size_t i = 0; i < 2; i++) {
        dbi_cell row[1];
        dbi_envelope_message sent;
        dbi_relation *relation;
        size_t digits = 0;
        const char *at;

        memset(text, '1', sizeof text - 1);
        if (i == 0)
            memcpy(text, "\\x", 2);
        row[0] = cell(text);
        TRY(sample_relation(relations, kinds[i], &relation, &err));
        TRY(dbi_envelope_row(envelope, relation, row, 1, &origin, &sent, &err));
        at = (const char *)sent.value + strlen("{\"before\":null,\"after\":{\"c\":\"");
        digits = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
        digits += strspn(at + digits, "=");
        CHECK_INT(digits, i == 0 ? (10000 + 2) / 3 * 4 : (20002 / 8 + 1 + 2) / 3 * 4);
        CHECK_INT(at[digits], '"');
        CHECK(strncmp(at, i == 0 ? "ERER" : "////", 4) == 0);
    }
done:
    dbi_envelope_free(envelope);
    dbi_relations_free(relations);
}

TEST(envelope_allocates_nothing_per_row) {
    test_world world = {0};
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    const dbi_cell old_row[] = {cell("1"), cell("a")}, new_row[] = {cell("2"), cell("\xc3\xa4 \"quoted\" text")};
    uint64_t before;
    unsigned count;
    dbi_err err = {0};

    TRY(world_open(&world, 'f', &shop, &err));
    TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_FULL, old_row, new_row, sent, &count, &err));
    before = dbi_alloc_count();
    for (unsigned i = 0; i < 100; i++)
        TRY(change(&world, DBI_PGOUTPUT_UPDATE, DBI_OLD_FULL, old_row, new_row, sent, &count, &err));
    CHECK_INT(dbi_alloc_count(), before);
done:
    world_close(&world);
}

TEST_MAIN()
