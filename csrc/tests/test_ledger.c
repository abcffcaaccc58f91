/* test_ledger.c - the ledger's answers, read without a server: results are put together by hand */
#include "ledger.h"

#include "ledger_int.h"
#include "test.h"

#define NO ((const char *)-1) /* end of the fields */

/* A result of `columns` columns, filled row by row; NULL is SQL's NULL. */
static PGresult *answer_make(int columns, const char *const *fields) {
    PGresult *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[20] = {0};

    CHECK(answer != NULL && columns <= 20);
    for (int i = 0; i < columns; i++)
        attributes[i].name = (char *)(uintptr_t)"c";
    CHECK(PQsetResultAttrs(answer, columns, attributes));
    for (int i = 0; fields[i] != NO; i++)
        CHECK(PQsetvalue(answer, i / columns, i % columns, (char *)(uintptr_t)fields[i],
                         fields[i] != NULL ? (int)strlen(fields[i]) : -1));
    return answer;
}

#define ANSWER(columns, ...) answer_make((columns), (const char *const[]){__VA_ARGS__, NO})

#define ID "01234567-89ab-cdef-fedc-ba9876543210"
static const uint8_t id[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                               0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};

TEST(an_identity_is_read_and_written_as_the_server_does) {
    PGresult *answer = ANSWER(3, ID, "1", "f");
    char text[DBI__UUID_TEXT_SIZE];
    uint8_t identity[16];
    int64_t version = 0;

    CHECK_RC(dbi__ledger_server(answer, identity, &version, NULL), DBI_OK);
    CHECK(memcmp(identity, id, 16) == 0);
    CHECK_INT(version, 1);
    dbi__uuid_text(id, text);
    CHECK_STR(text, ID);
    PQclear(answer);
}

TEST(an_identity_of_another_shape_is_refused) {
    static const char *const wrong[][2] = {{"", "1"},
                                           {"01234567-89ab-cdef-fedc-ba987654321", "1"},
                                           {ID "0", "1"},
                                           {ID, "0"},
                                           {ID, "2147483648"},
                                           {"0123456789abcdeffedcba9876543210", "1"},
                                           {ID, "one"},
                                           {ID, ""},
                                           {ID, "-1"},
                                           {"01234567-89AB-cdef-fedc-ba9876543210", "1"},
                                           {ID, "9223372036854775808"},
                                           {NULL, "1"},
                                           {ID, NULL}};
    uint8_t identity[16];
    int64_t version;
    dbi_err err;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        PGresult *answer = ANSWER(3, wrong[i][0], wrong[i][1], "f");

        CHECK_RC(dbi__ledger_server(answer, identity, &version, &err), DBI_ESERVER);
        CHECK_HAS(err.msg, "dbint.server");
        PQclear(answer);
    }
    PGresult *none = answer_make(3, (const char *const[]){NO});
    PGresult *two = ANSWER(3, ID, "1", "f", ID, "1", "f");
    CHECK_RC(dbi__ledger_server(none, identity, &version, NULL), DBI_ESERVER);
    CHECK_RC(dbi__ledger_server(two, identity, &version, NULL), DBI_ESERVER);
    CHECK_RC(dbi__ledger_server(NULL, identity, &version, NULL), DBI_ESERVER);
    PQclear(none);
    PQclear(two);
}

TEST(a_standby_is_not_asked_about_the_ledger) {
    PGresult *answer = ANSWER(3, ID, "1", "t");
    uint8_t identity[16];
    int64_t version;
    dbi_err err;

    CHECK_RC(dbi__ledger_server(answer, identity, &version, &err), DBI_ESERVER);
    CHECK_STR(err.sqlstate, "25006");
    CHECK_HAS(err.msg, "standby");
    PQclear(answer);
}

TEST(an_entry_is_found_or_not) {
    PGresult *found = ANSWER(3, "9223372036854775807", "3", "1769860800000000"), *not = ANSWER(3, NULL, NULL, NULL);
    dbi_ledger_entry entry;

    CHECK_RC(dbi__ledger_entry(found, &entry, NULL), DBI_OK);
    CHECK(entry.found && entry.last == INT64_MAX && entry.dead == 3);
    CHECK_INT(entry.collected_before_us, 1769860800000000);
    CHECK_RC(dbi__ledger_entry(not, &entry, NULL), DBI_OK);
    CHECK(!entry.found && entry.last == 0 && entry.collected_before_us == INT64_MIN);
    PQclear(found);
    PQclear(not);
}

TEST(an_entry_that_cannot_be_is_refused) {
    static const char *const wrong[][3] = {{"-1", "0", NULL}, {"1", NULL, NULL}, {NULL, "1", NULL}, {"1", "x", NULL},
                                           {"1", "0", "now"}, {"", "0", NULL},   {"1 ", "0", NULL}, {"1", "-2", NULL}};
    dbi_ledger_entry entry;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        PGresult *answer = ANSWER(3, wrong[i][0], wrong[i][1], wrong[i][2]);

        CHECK_RC(dbi__ledger_entry(answer, &entry, NULL), DBI_ESERVER);
        PQclear(answer);
    }
}

/* --- columns --- */

#define COLUMN(name, oid, typmod, typtype, element, element_typtype, type, domain, not_null, made, expression)         \
    "public", "t", "r", name, oid, typmod, typtype, element, element_typtype, type, domain, not_null, made, expression
#define TEXT_COLUMN(name) COLUMN(name, "25", "-1", "b", "0", "", "text", "0", "f", "", NULL)

static PGresult *table_make(void) {
    return ANSWER(DBI__COLUMNS_FIELDS,
                  COLUMN("id", "2950", "-1", "b", "0", "", "uuid", "0", "t", "", "gen_random_uuid()"),
                  COLUMN("at", "1184", "-1", "b", "0", "", "timestamp with time zone", "0", "t", "", "now()"),
                  COLUMN("name", "1043", "54", "b", "0", "", "character varying(50)", "0", "f", "", NULL),
                  COLUMN("tags", "1009", "-1", "b", "25", "b", "text[]", "0", "t", "", NULL),
                  COLUMN("state", "16400", "-1", "e", "0", "", "mood", "0", "t", "", "'ok'::mood"),
                  COLUMN("serial", "20", "-1", "b", "0", "", "bigint", "0", "t", "", "nextval('s'::regclass)"),
                  COLUMN("always", "20", "-1", "b", "0", "", "bigint", "0", "t", "identity", NULL),
                  COLUMN("sum", "20", "-1", "b", "0", "", "bigint", "0", "f", "generated", "(a + b)"),
                  COLUMN("short", "1043", "14", "b", "0", "", "character varying(10)", "16401", "t", "", NULL),
                  COLUMN("place", "600", "-1", "b", "0", "", "point", "0", "f", "", "'(0,0)'::point"));
}

TEST(all_columns_of_a_table_are_those_that_events_give) {
    PGresult *answer = table_make();
    dbi_schema *schema = NULL;
    char *fingerprint = NULL;
    dbi_err err = {0};

    TRY(dbi__ledger_columns(answer, "", "t", NULL, 0, &schema, &err));
    CHECK_STR(schema->nspname, "public");
    CHECK_STR(schema->relname, "t");
    CHECK_INT(schema->column_count, 5);
    CHECK_STR(schema->columns[0].name, "id");
    CHECK_INT(schema->columns[0].fill, DBI_FILL_UUID7);
    CHECK_STR(schema->columns[1].name, "at");
    CHECK_INT(schema->columns[1].fill, DBI_FILL_NOW);
    CHECK_STR(schema->columns[2].name, "name");
    CHECK_INT(schema->columns[2].fill, DBI_FILL_NULL);
    CHECK_INT(schema->columns[2].typmod, 54);
    CHECK(schema->columns[2].nullable && !schema->columns[1].nullable);
    CHECK_STR(schema->columns[3].name, "tags");
    CHECK(schema->columns[3].array && schema->columns[3].element_oid == 25);
    CHECK_INT(schema->columns[3].fill, DBI_FILL_NONE);
    CHECK_STR(schema->columns[4].name, "short");
    CHECK_INT(schema->columns[4].domain_oid, 16401);
    fingerprint = dbi_ledger_fingerprint(schema);
    if (fingerprint != NULL)
        CHECK_STR(fingerprint, "id:2950:-1\nat:1184:-1\nname:1043:54\ntags:1009:-1\nshort:16401:-1");
    else
        CHECK(test_injected());
done:
    dbi_free(fingerprint);
    dbi_schema_free(schema);
    PQclear(answer);
}

TEST(named_columns_come_in_their_order_whoever_fills_them) {
    static const char *const names[] = {"state", "serial", "always", "id"};
    PGresult *answer = table_make();
    dbi_schema *schema = NULL;

    TRY(dbi__ledger_columns(answer, "", "t", names, 4, &schema, NULL));
    CHECK_INT(schema->column_count, 4);
    CHECK_STR(schema->columns[0].name, "state");
    CHECK_INT(schema->columns[0].type, DBI_TYPE_ENUM);
    CHECK_INT(schema->columns[0].fill, DBI_FILL_NONE);
    CHECK_STR(schema->columns[2].name, "always");
    CHECK_INT(schema->columns[3].fill, DBI_FILL_UUID7);
done:
    dbi_schema_free(schema);
    PQclear(answer);
}

TEST(what_cannot_be_written_is_named) {
    static const char *const missing[] = {"name", "colour"}, *const generated[] = {"sum"}, *const point[] = {"place"};
    PGresult *answer = table_make(), *none = answer_make(DBI__COLUMNS_FIELDS, (const char *const[]){NO});
    PGresult *index =
        ANSWER(DBI__COLUMNS_FIELDS, "public", "i", "i", "a", "25", "-1", "b", "0", "", "text", "0", "f", "", NULL);
    dbi_schema *schema = NULL;
    dbi_err err;

    TRY_RC(dbi__ledger_columns(answer, "public", "t", missing, 2, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "table public.t has no column \"colour\"");
    TRY_RC(dbi__ledger_columns(answer, NULL, "t", generated, 1, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "\"sum\"");
    TRY_RC(dbi__ledger_columns(answer, NULL, "t", point, 1, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "place");
    CHECK_HAS(err.msg, "point");
    TRY_RC(dbi__ledger_columns(none, "shop", "orders", NULL, 0, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "no table shop.orders");
    TRY_RC(dbi__ledger_columns(index, "", "i", NULL, 0, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "nothing that rows can be written to");
    CHECK(schema == NULL);
done:
    PQclear(answer);
    PQclear(none);
    PQclear(index);
}

TEST(columns_that_cannot_be_understood_are_refused) {
    PGresult *wrong[] = {
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("a", "0", "-1", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("a", "4294967296", "-1", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("a", "25", "x", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("a", "25", "-1", "b", "0", "", "text", "0", "maybe", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("", "25", "-1", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN(NULL, "25", "-1", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("a123456789012345678901234567890123456789012345678901234567890123", "25",
                                           "-1", "b", "0", "", "text", "0", "f", "", NULL)),
        ANSWER(3, "a", "b", "c"),
    };
    dbi_schema *schema = NULL;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        TRY_RC(dbi__ledger_columns(wrong[i], "", "t", NULL, 0, &schema, NULL), DBI_ESERVER);
done:
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        PQclear(wrong[i]);
}

TEST(a_table_that_fills_all_columns_itself_takes_no_events) {
    PGresult *answer =
        ANSWER(DBI__COLUMNS_FIELDS, COLUMN("n", "20", "-1", "b", "0", "", "bigint", "0", "t", "identity", NULL));
    dbi_schema *schema = NULL;
    dbi_err err;

    TRY_RC(dbi__ledger_columns(answer, "", "t", NULL, 0, &schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "no column that an event could give");
done:
    PQclear(answer);
}

TEST(the_mark_in_the_sql_is_that_of_the_messages) {
    char like[64];

    (void)snprintf(like, sizeof like, "starts_with(a.query, '%s' || chain || ' */')", DBI_LEDGER_MARK);
    CHECK_HAS(dbi_ledger_sql(), like);
    CHECK_HAS(dbi_ledger_sql(), "'" DBI_SQLSTATE_ADVANCED "'");
    CHECK_HAS(dbi_ledger_sql(), "'" DBI_SQLSTATE_CHANGED "'");
    CHECK_HAS(dbi_ledger_sql(), "'" DBI_SQLSTATE_TARGET "'");
}

TEST_MAIN()
