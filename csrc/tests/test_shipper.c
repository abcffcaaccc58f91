/* test_shipper.c - what a shipper decides without a server; server_shipper.c has the rest */
#include "shipper.h"

#include <stdlib.h>

#include "shipment_int.h"
#include "test.h"

TEST(each_error_has_its_reaction) {
    static const struct {
        const char *sqlstates; /* of 5 characters each, with a space between */
        dbi_reaction reaction;
    } table[] = {
        {"42P01 42703 42501 42804 42601 3D000 3F000 28P01 28000 22P03 22P04 DBI03 0A000 2F000 0LP01 HV000 F0000 01000",
         DBI_REACTION_HOLD},
        {"08000 08006 08P01 57P01 57P02 57P03 57P04 57P05 57000 25006 25P03 53300", DBI_REACTION_RECONNECT},
        {"40001 40P01 55P03 55006 53100 53000 53400 58030 58P01 XX000 XX001", DBI_REACTION_RETRY},
        {"57014 53200", DBI_REACTION_HALVE},
        {"22001 22P02 22003 22021 23505 23514 23502 P0001 P0002 54000 54011 21000 27000 44000 MY001 U0001 99999",
         DBI_REACTION_ROW},
        {"DBI01", DBI_REACTION_LEDGER},
        {"DBI02", DBI_REACTION_SCHEMA},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (const char *at = table[i].sqlstates; at != NULL; at = strchr(at, ' ')) {
            char sqlstate[6];

            at += *at == ' ';
            (void)snprintf(sqlstate, sizeof sqlstate, "%.5s", at);
            if (dbi_reaction_of(sqlstate) != table[i].reaction)
                test_fail(__FILE__, __LINE__, "%s: %s, expected %s", sqlstate,
                          dbi_reaction_text(dbi_reaction_of(sqlstate)), dbi_reaction_text(table[i].reaction));
        }
    CHECK_INT(dbi_reaction_of(""), DBI_REACTION_RECONNECT);
    CHECK_INT(dbi_reaction_of(NULL), DBI_REACTION_RECONNECT);
}

TEST(states_and_events_have_names) {
    CHECK_STR(dbi_ship_state_text(DBI_SHIP_BACKING_OFF), "backing_off");
    CHECK_STR(dbi_ship_event_text(DBI_SHIP_EVENT_REWOUND), "rewound");
    CHECK_STR(dbi_reaction_text(DBI_REACTION_HALVE), "halve");
    CHECK_STR(dbi_ship_state_text(DBI_SHIP_STATE_COUNT), "unknown");
    CHECK_STR(dbi_ship_event_text(DBI_SHIP_EVENT_COUNT), "unknown");
    CHECK_STR(dbi_reaction_text(DBI_REACTION_COUNT), "unknown");
}

static const uint8_t identity[16] = {0};
#define NIL "00000000-0000-0000-0000-000000000000"

static dbi_rc schema_make(dbi_schema **schema, const char *type) {
    dbi_rc rc = dbi_schema_new(schema, "my\\schema", "o'\"clock", 2, NULL);

    if (rc == DBI_OK)
        rc = dbi_column_declare(&(*schema)->columns[0], "it's", "int4", NULL);
    if (rc == DBI_OK)
        rc = dbi_column_declare(&(*schema)->columns[1], "b", type, NULL);
    return rc;
}

TEST(names_are_quoted_whatever_they_hold) {
    dbi_schema *schema = NULL;
    dbi__plan plan = {0};

    TRY(schema_make(&schema, "text"));
    TRY(dbi__plan_make(&plan, schema, NULL, identity, NULL));
    CHECK(!plan.cast);
    CHECK_STR(plan.guard.bytes, "SELECT dbint.guard('" NIL "',E'\"my\\\\schema\".\"o''\"\"clock\"',"
                                "E'it''s:23:-1\nb:25:-1',ARRAY[E'it''s',E'b']::text[]);");
    CHECK_STR(plan.copy.bytes, "COPY \"my\\schema\".\"o'\"\"clock\" (\"it's\",\"b\") FROM STDIN (FORMAT binary);");
    CHECK_STR(plan.after.bytes, "");
done:
    dbi__plan_free(&plan);
    dbi_schema_free(schema);
}

TEST(another_typmod_needs_no_cast_and_is_what_guard_expects) {
    dbi_schema *schema = NULL, *now = NULL;
    dbi__plan plan = {0};

    TRY(schema_make(&schema, "varchar(50)"));
    TRY(schema_make(&now, "varchar(10)"));
    TRY(dbi__plan_make(&plan, schema, now, identity, NULL));
    CHECK(!plan.cast);
    CHECK_HAS(plan.guard.bytes, "b:1043:14");
    CHECK_STR(plan.after.bytes, "");
done:
    dbi__plan_free(&plan);
    dbi_schema_free(schema);
    dbi_schema_free(now);
}

TEST(another_type_goes_through_a_temporary_table_of_the_old_ones) {
    dbi_schema *schema = NULL, *now = NULL;
    dbi__plan plan = {0};

    TRY(schema_make(&schema, "numeric(10,2)"));
    TRY(schema_make(&now, "float8"));
    TRY(dbi__plan_make(&plan, schema, now, identity, NULL));
    CHECK(plan.cast);
    CHECK_HAS(plan.guard.bytes, "b:701:-1");
    CHECK_HAS(plan.guard.bytes,
              "CREATE TEMP TABLE dbint_shipment (\"it's\" integer,\"b\" numeric(10,2)) ON COMMIT DROP;");
    CHECK_STR(plan.copy.bytes, "COPY pg_temp.dbint_shipment (\"it's\",\"b\") FROM STDIN (FORMAT binary);");
    CHECK_HAS(plan.after.bytes, "INSERT INTO \"my\\schema\".\"o'\"\"clock\" (\"it's\",\"b\")");
done:
    dbi__plan_free(&plan);
    dbi_schema_free(schema);
    dbi_schema_free(now);
}

TEST(bytes_mean_the_same_only_to_kin) {
    static const struct {
        const char *written, *now;
        bool reads;
    } table[] = {
        {"int4", "int4", true},
        {"int4", "int8", false},
        {"int8", "float8", false},
        {"varchar(50)", "text", true},
        {"text", "char(5)", true},
        {"numeric(10,2)", "numeric(12,4)", true},
        {"timestamp", "timestamptz", false},
        {"json", "jsonb", false},
        {"text", "json", false},
        {"int4[]", "int4", false},
        {"int4[]", "int4[]", true},
        {"text[]", "varchar(5)[]", false},
        {"inet", "cidr", false},
        {"bytea", "text", false},
        {"timestamptz(3)", "timestamptz", true},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        dbi_column written, now;

        CHECK_RC(dbi_column_declare(&written, "a", table[i].written, NULL), DBI_OK);
        CHECK_RC(dbi_column_declare(&now, "a", table[i].now, NULL), DBI_OK);
        if (dbi__column_reads(&written, &now) != table[i].reads)
            test_fail(__FILE__, __LINE__, "%s to %s", table[i].written, table[i].now);
    }
}

TEST(a_label_of_an_enum_is_text) {
    dbi_column text, mood, other;

    CHECK_RC(dbi_column_declare(&text, "a", "text", NULL), DBI_OK);
    CHECK_RC(dbi_column_resolve(&mood, 16400, -1, 'e', 0, '\0', "mood", NULL), DBI_OK);
    CHECK_RC(dbi_column_resolve(&other, 16500, -1, 'e', 0, '\0', "mood", NULL), DBI_OK);
    CHECK(dbi__column_reads(&text, &mood));
    CHECK(dbi__column_reads(&mood, &text));
    CHECK(dbi__column_reads(&mood, &other)); /* dropped and made anew */
}

TEST(a_configuration_that_cannot_work_is_refused) {
    dbi_shipper *shipper = NULL;
    dbi_shipper_config config;
    dbi_err err;

    dbi_shipper_defaults(&config);
    CHECK_RC(dbi_shipper_new(&shipper, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "needs a chain");
    config.chain = (dbi_chain *)(uintptr_t)64; /* never looked at */
    config.pool = (dbi_pool *)(uintptr_t)64;
    config.dead_directory = "/nowhere";
#define REFUSED(field, value, part)                                                                                    \
    do {                                                                                                               \
        dbi_shipper_config wrong = config;                                                                             \
        wrong.field = value;                                                                                           \
        CHECK_RC(dbi_shipper_new(&shipper, &wrong, &err), DBI_ECONFIG);                                                \
        CHECK_HAS(err.msg, part);                                                                                      \
    } while (0)
    REFUSED(stall_timeout, 0, "stall_timeout");
    REFUSED(hold_retry, -1, "hold_retry");
    REFUSED(backoff_max, DBI_NS_PER_MS, "backoff_max");
    REFUSED(batch_bytes, 1, "batch_bytes");
    REFUSED(bad_rows_max, 0, "bad_rows_max");
    REFUSED(bad_rows_share, 0, "bad_rows_share");
    REFUSED(bad_rows_share, 1.1, "bad_rows_share");
    CHECK(shipper == NULL);
}

/* A chain in memory with some records in it, which nothing has to understand as long as no server answers. */
static dbi_rc chain_make(dbi_journal **journal, dbi_chain **chain, const char *directory) {
    dbi_journal_config config;
    dbi_chain_config lane = {.name = "orders", .durability = DBI_DURABILITY_MEMORY};
    dbi_rc rc;

    dbi_journal_defaults(&config);
    config.directory = directory;
    rc = dbi_journal_open(journal, &config, NULL);
    if (rc == DBI_OK)
        rc = dbi_journal_chain(*journal, &lane, chain, NULL);
    return rc;
}

TEST(a_server_that_is_not_there_is_asked_less_and_less_often) {
    char directory[] = "/tmp/dbint-shipper-XXXXXX", command[64];
    dbi_journal *journal = NULL;
    dbi_shipper *shipper = NULL;
    dbi_pool *pool = NULL;
    dbi_chain *chain;
    dbi_pool_config pool_config;
    dbi_shipper_config config;
    dbi_ship_next next;
    dbi_ship_view view;
    dbi_err err = {0};

    CHECK(mkdtemp(directory) != NULL);
    dbi_pool_defaults(&pool_config);
    pool_config.conninfo = "host=127.0.0.1 port=1";
    TRY(dbi_pool_new(&pool, &pool_config, NULL));
    TRY(chain_make(&journal, &chain, directory));
    dbi_shipper_defaults(&config);
    config.chain = chain;
    config.pool = pool;
    config.dead_directory = "/nowhere";
    config.backoff_min = DBI_NS_PER_MS;
    config.backoff_max = 2 * DBI_NS_PER_MS;
    TRY(dbi_shipper_new(&shipper, &config, NULL));
    TRY(dbi_shipper_run(shipper, NULL, -1, &next, &err));
    CHECK(next.at == DBI_FOREVER && !next.more);
    TRY(dbi_chain_append(chain, DBI_RECORD_ROW, "x", 1, NULL, NULL));
    for (int i = 0; i < 4; i++) {
        dbi_shipper_kick(shipper);
        TRY_RC(dbi_shipper_run(shipper, NULL, -1, &next, &err), DBI_EUNREACHABLE);
        CHECK(next.more);
        CHECK_WITHIN(next.at - dbi_clock_now(NULL), -DBI_NS_PER_S, 2 * DBI_NS_PER_MS);
    }
    dbi_shipper_view(shipper, &view);
    CHECK_INT(view.state, DBI_SHIP_BACKING_OFF);
    CHECK_INT(view.attempts, 0);
    CHECK_INT(view.reactions[DBI_REACTION_RECONNECT], 4);
    CHECK_HAS(view.why, "127.0.0.1");
    TRY(dbi_pool_close(pool, DBI_FOREVER, NULL));
    dbi_shipper_kick(shipper);
    TRY_RC(dbi_shipper_run(shipper, NULL, -1, &next, &err), DBI_ECLOSED);
    CHECK(next.at == DBI_FOREVER && next.more);
done:
    dbi_shipper_free(shipper);
    dbi_pool_free(pool);
    dbi_journal_free(journal);
    (void)snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK_INT(system(command), 0);
}

TEST_MAIN()
