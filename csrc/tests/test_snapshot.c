/* test_snapshot.c - rows of COPY taken apart, and snapshots made and freed; reading tables is tested against a server */
#include "cdc/snapshot.h"

#include "test.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Takes apart a copy of `text` and checks each field against `wanted`, NULL standing for SQL's. */
static void check_row(const char *text, const char *const *wanted, unsigned count) {
    size_t length = strlen(text);
    char row[400];
    dbi_cell cells[16];
    dbi_err err;

    CHECK(length < sizeof row);
    memcpy(row, text, length);
    CHECK_RC(dbi_copy_row_read(row, length, cells, count, &err), DBI_OK);
    for (unsigned i = 0; i < count; i++) {
        if (wanted[i] == NULL) {
            CHECK_INT(cells[i].kind, DBI_CELL_NULL);
            continue;
        }
        CHECK_INT(cells[i].kind, DBI_CELL_TEXT);
        CHECK_INT(cells[i].length, strlen(wanted[i]));
        CHECK(memcmp(cells[i].bytes, wanted[i], cells[i].length) == 0);
    }
}

TEST(copy_row_plain) {
    const char *const wanted[] = {"1", "", NULL, "four"};

    check_row("1\t\t\\N\tfour\n", wanted, 4);
    check_row("1\t\t\\N\tfour", wanted, 4);
}

/* All that COPY TO puts a backslash before, and what it does not. */
TEST(copy_row_escapes) {
    const char *const wanted[] = {"a\tb\nc\rd\be\ff\vg\\h", "\\N", "N", "\\"};

    check_row("a\\tb\\nc\\rd\\be\\ff\\vg\\\\h\t\\\\N\tN\t\\\\\n", wanted, 4);
}

/* A field that begins with \N and goes on is text; a backslash at the very end stands for itself. */
TEST(copy_row_odd) {
    const char *const wanted[] = {"Nx", "\\"};

    check_row("\\Nx\t\\", wanted, 2);
}

TEST(copy_row_one_empty_field) {
    const char *const wanted[] = {""};

    check_row("\n", wanted, 1);
    check_row("", wanted, 1);
}

TEST(copy_row_of_another_width) {
    char row[] = "1\t2\t3\n";
    dbi_cell cells[4];
    dbi_err err;

    CHECK_RC(dbi_copy_row_read(row, 6, cells, 2, &err), DBI_ECORRUPT);
    CHECK_HAS(err.msg, "more than 2 fields");
    CHECK_RC(dbi_copy_row_read(row, 6, cells, 4, &err), DBI_ECORRUPT);
    CHECK_HAS(err.msg, "3 fields, and 4");
}

/* Nothing outside the row is read or written: the row ends where the memory does. */
TEST(copy_row_stays_inside) {
    static const char text[] = "abc\\\\\t\\N\tx\\";
    size_t length = sizeof text - 1;
    dbi_cell cells[3];

    for (size_t cut = 0; cut <= length; cut++) {
        char *row = malloc(cut > 0 ? cut : 1);

        CHECK(row != NULL);
        memcpy(row, text, cut);
        (void)!dbi_copy_row_read(row, cut, cells, 3, NULL);
        free(row);
    }
}

TEST(snapshot_made_and_freed) {
    const dbi_kafka_property properties[] = {{"bootstrap.servers", "127.0.0.1:1"}};
    const char *const columns[] = {"id", "name"};
    dbi_table_snapshot_config config = {.oid = 7,
                                        .nspname = "public",
                                        .relname = "t",
                                        .columns = columns,
                                        .column_count = 2,
                                        .filter = "id > 0",
                                        .topic = "p.public.t",
                                        .prefix = "p",
                                        .database = "d",
                                        .version = "dbint 1",
                                        .point = 1};
    dbi_table_snapshot *snapshot = NULL;
    dbi_outlet *outlet = NULL;
    dbi_outlet_config outlet_config;
    dbi_err err;

    CHECK_RC(dbi_table_snapshot_new(&snapshot, &config, &err), DBI_EINVAL);
    CHECK(snapshot == NULL);
    dbi_outlet_defaults(&outlet_config);
    outlet_config.properties = properties;
    outlet_config.property_count = COUNT_OF(properties);
    TRY(dbi_outlet_new(&outlet, &outlet_config, &err));
    config.outlet = outlet;
    TRY(dbi_table_snapshot_new(&snapshot, &config, &err));
    CHECK_RC(dbi_table_snapshot_sweep(snapshot, NULL, 0, &err), DBI_ESTATE);
    CHECK_HAS(err.msg, "no chunk of public.t was read");
    config.prefix = "";
    dbi_table_snapshot_free(snapshot);
    TRY_RC(dbi_table_snapshot_new(&snapshot, &config, &err), DBI_EINVAL);
done:
    dbi_table_snapshot_free(snapshot);
    dbi_outlet_free(outlet);
}

TEST_MAIN()
