/* test_relation.c - what tables look like: messages, the catalogue's answers, versions */
#include "cdc/relation.h"

#include "cdc_test.h"

static const dbi_pgoutput_column two_columns[] = {{true, "id", 23, -1}, {false, "name", 25, -1}};

static dbi_pgoutput_relation two(void) {
    return (dbi_pgoutput_relation){
        .oid = 16400, .nspname = "public", .relname = "t", .identity = 'd', .column_count = 2, .columns = two_columns};
}

TEST(relation_is_made_of_a_message) {
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    CHECK(dbi_relations_find(relations, 16400) == NULL);
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK(dbi_relations_find(relations, 16400) == relation);
    CHECK(dbi_relations_find(relations, 0) == NULL);
    CHECK(dbi_relations_find(relations, 1) == NULL);
    CHECK_INT(relation->version, 1);
    CHECK(!relation->described);
    CHECK_STR(relation->nspname, "public");
    CHECK_STR(relation->relname, "t");
    CHECK_STR(relation->json, "\"schema\":\"public\",\"table\":\"t\"");
    CHECK_INT(relation->json_length, strlen(relation->json));
    CHECK_STR(relation->columns[1].json, "\"name\":");
    CHECK_INT(relation->columns[0].kind, DBI_PGKIND_INT);
    CHECK_INT(relation->columns[1].kind, DBI_PGKIND_STRING);
    /* The replica identity stands for the key. */
    CHECK_INT(relation->key_count, 1);
    CHECK_INT(relation->key[0], 0);
    CHECK(relation->columns[0].in_key && !relation->columns[1].in_key);
done:
    dbi_relations_free(relations);
}

TEST(relation_has_a_version_for_each_change) {
    static const dbi_pgoutput_column three[] = {{true, "id", 23, -1}, {false, "name", 25, -1}, {false, "x", 16, -1}};
    static const dbi_pgoutput_column typed[] = {{true, "id", 20, -1}, {false, "name", 25, -1}};
    static const dbi_pgoutput_column named[] = {{true, "id", 23, -1}, {false, "title", 25, -1}};
    static const dbi_pgoutput_column limited[] = {{true, "id", 23, -1}, {false, "name", 25, 12}};
    const dbi_pgoutput_column *const others[] = {typed, named, limited};
    dbi_relations *relations = NULL;
    dbi_relation *relation, *again;
    dbi_pgoutput_relation message = two();
    uint32_t version = 1;
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    relation->described = true;
    TRY(dbi_relations_put(relations, &message, &again, &err));
    CHECK(again == relation); /* the same layout */
    CHECK_INT(again->version, 1);
    CHECK(!again->described); /* but who knows about the key */
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        message = two();
        message.columns = others[i];
        TRY(dbi_relations_put(relations, &message, &relation, &err));
        CHECK_INT(relation->version, ++version);
    }
    message = two();
    message.columns = three;
    message.column_count = 3;
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK_INT(relation->version, ++version);
    message.identity = 'f';
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK_INT(relation->version, ++version);
    CHECK_INT(relation->key_count, 0); /* the whole row is no key */
    message.relname = "renamed";
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK_INT(relation->version, ++version);
    dbi_relations_clear(relations);
    CHECK(dbi_relations_find(relations, 16400) == NULL);
    TRY(dbi_relations_put(relations, &message, &relation, &err)); /* a new session */
    CHECK_INT(relation->version, ++version);
done:
    dbi_relations_free(relations);
}

TEST(relation_cache_grows) {
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    for (uint32_t oid = 1; oid <= 300; oid++) {
        dbi_pgoutput_relation message = two();

        message.oid = oid * 64;
        TRY(dbi_relations_put(relations, &message, &relation, &err));
    }
    for (uint32_t oid = 1; oid <= 300; oid++) {
        relation = dbi_relations_find(relations, oid * 64);
        CHECK(relation != NULL && relation->oid == oid * 64);
        CHECK(dbi_relations_find(relations, oid * 64 + 1) == NULL);
    }
done:
    dbi_relations_free(relations);
}

TEST(relation_refuses_names_that_no_table_has) {
    static const char *const bad[] = {"", "\xff", "\xed\xa0\x80"};
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_err err = {0};
    char long_name[1100];

    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    TRY(dbi_relations_new(&relations, &err));
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        const char *name = i < sizeof bad / sizeof bad[0] ? bad[i] : long_name;
        dbi_pgoutput_column column = {false, name, 25, -1};
        dbi_pgoutput_relation message = two();

        message.relname = name;
        CHECK_RC(dbi_relations_put(relations, &message, &relation, &err), DBI_EINVAL);
        CHECK_HAS(err.msg, "the table with OID 16400 has a name");
        message = two();
        message.columns = &column;
        message.column_count = 1;
        CHECK_RC(dbi_relations_put(relations, &message, &relation, &err), DBI_EINVAL);
        CHECK_HAS(err.msg, "column 1 of table public.t");
        CHECK(relation == NULL);
    }
done:
    dbi_relations_free(relations);
}

TEST(relation_escapes_names_once) {
    static const dbi_pgoutput_column odd[] = {{true, "a \"b\" \\ \n\xc3\xa9", 23, -1}};
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    dbi_err err = {0};

    message.relname = "Odd \"N\xc3\xa4me\"";
    message.columns = odd;
    message.column_count = 1;
    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK_STR(relation->json, "\"schema\":\"public\",\"table\":\"Odd \\\"N\xc3\xa4me\\\"\"");
    CHECK_STR(relation->columns[0].name, odd[0].name);
    CHECK_STR(relation->columns[0].json, "\"a \\\"b\\\" \\\\ \\n\xc3\xa9\":");
done:
    dbi_relations_free(relations);
}

/* --- the catalogue --- */

TEST(relation_sql_fits_and_names_the_table) {
    char sql[DBI_RELATION_SQL_SIZE];

    dbi_relation_sql(UINT32_MAX, sql);
    CHECK(strlen(sql) + 1 < DBI_RELATION_SQL_SIZE);
    CHECK_HAS(sql, "attrelid = 4294967295 AND");
    CHECK_HAS(sql, "c.oid = 4294967295)");
    CHECK_HAS(sql, "'{}'::oid[]");
}

TEST(relation_asks_about_each_type_once) {
    static dbi_pgoutput_column columns[DBI_RELATION_COLUMNS_MAX];
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    char sql[DBI_RELATION_SQL_SIZE];
    dbi_err err = {0};

    for (uint32_t i = 0; i < DBI_RELATION_COLUMNS_MAX; i++)
        columns[i] = (dbi_pgoutput_column){false, "c", UINT32_MAX - i / 2, -1};
    columns[1].type = 25; /* built in: it is known */
    message.oid = UINT32_MAX;
    message.columns = columns;
    message.column_count = 4;
    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    dbi_relation_question(relation, sql);
    CHECK_HAS(sql, "'{4294967295,4294967294}'::oid[]");
    message.column_count = DBI_RELATION_COLUMNS_MAX;
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    dbi_relation_question(relation, sql);
    CHECK(strlen(sql) + 1 < DBI_RELATION_SQL_SIZE);
    CHECK_HAS(sql, " ORDER BY a.attnum"); /* its end */
done:
    dbi_relations_free(relations);
}

TEST(relation_knows_types_that_its_columns_have_no_more) {
    static const dbi_pgoutput_column said[] = {
        {true, "id", 23, -1}, {false, "mood", 16501, -1}, {false, "tags", 16502, -1}};
    static const answer_column known[] = {{.name = "", .type = "16502", .base = "16501", .arrays = "1", .typtype = "e"},
                                          {.name = "", .type = "16501", .typtype = "e"},
                                          {.name = "id", .type = "23", .key = "0"},
                                          {.name = "mood", .type = "25"}};
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    PGresult *answer = answer_make("16400", "public", "t", "d", known, 4);
    PGresult *dropped = answer_make("0", "", "", "n", known, 2);
    dbi_err err = {0};

    message.columns = said;
    message.column_count = 3;
    TRY(dbi_relations_new(&relations, &err));
    for (int i = 0; i < 2; i++) {
        dbi_relations_clear(relations);
        TRY(dbi_relations_put(relations, &message, &relation, &err));
        TRY(dbi_relations_describe(relations, relation, i == 0 ? answer : dropped, &err));
        CHECK_INT(relation->columns[1].kind, DBI_PGKIND_STRING);
        CHECK(!relation->columns[1].array);
        CHECK_INT(relation->columns[2].kind, DBI_PGKIND_STRING);
        CHECK(relation->columns[2].array);
        CHECK_INT(relation->key_count, 1);
    }
done:
    PQclear(dropped);
    PQclear(answer);
    dbi_relations_free(relations);
}

TEST(relation_learns_its_key_and_types) {
    static const dbi_pgoutput_column said[] = {
        {false, "a", 23, -1},     {true, "b", 16500, -1},     {true, "mood", 16501, -1},  {false, "tags", 16502, -1},
        {false, "h", 16503, -1},  {false, "gone", 16504, -1}, {false, "pair", 16505, -1}, {false, "bit", 1560, 1},
        {false, "bits", 1560, 8}, {false, "deep", 16506, -1}, {false, "ints", 1007, -1}};
    static const answer_column known[] = {
        {.name = "a", .type = "23", .key = "1"},
        {.name = "b", .type = "16500", .in_identity = "t", .key = "0", .base = "1700", .base_typmod = "655366"},
        {.name = "mood", .type = "16501", .typtype = "e", .typname = "mood"},
        {.name = "tags", .type = "16502", .base = "603", .arrays = "1", .typname = "box", .delimiter = ";"},
        {.name = "h", .type = "16503", .typname = "hstore"},
        {.name = "gone", .type = "25"}, /* of another type by now */
        {.name = "pair", .type = "16505", .typtype = "c", .typname = "hstore"},
        {.name = "bit", .type = "1560", .typmod = "1", .base_typmod = "1"},
        {.name = "bits", .type = "1560", .typmod = "8", .base_typmod = "8"},
        {.name = "deep", .type = "16506", .base = "23", .arrays = "2"},
        {.name = "ints", .type = "1007", .base = "23", .arrays = "1"},
        {.name = "added", .type = "25"}, /* since */
    };
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    PGresult *answer = answer_make("16400", "public", "t", "d", known, sizeof known / sizeof known[0]);
    dbi_err err = {0};

    message.columns = said;
    message.column_count = sizeof said / sizeof said[0];
    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    CHECK_INT(relation->columns[1].kind, DBI_PGKIND_UNKNOWN);
    CHECK_INT(relation->key_count, 2);
    CHECK_INT(relation->key[0], 1);
    TRY(dbi_relations_describe(relations, relation, answer, &err));
    CHECK(relation->described);
    CHECK_INT(relation->version, 2);
    CHECK_INT(relation->key_count, 2); /* in the order of the index, not of the table */
    CHECK_INT(relation->key[0], 1);
    CHECK_INT(relation->key[1], 0);
    CHECK(relation->columns[0].in_key && relation->columns[1].in_key && !relation->columns[2].in_key);
    CHECK_INT(relation->columns[1].kind, DBI_PGKIND_NUMERIC); /* by way of a domain */
    CHECK_INT(relation->columns[1].base_typmod, 655366);
    CHECK_INT(relation->columns[2].kind, DBI_PGKIND_STRING);
    CHECK(relation->columns[3].array);
    CHECK_INT(relation->columns[3].kind, DBI_PGKIND_BOX);
    CHECK_INT(relation->columns[3].delimiter, ';');
    CHECK_INT(relation->columns[4].kind, DBI_PGKIND_HSTORE);
    CHECK_INT(relation->columns[5].kind, DBI_PGKIND_UNKNOWN);
    CHECK_INT(relation->columns[6].kind, DBI_PGKIND_UNKNOWN); /* a composite type may be called anything */
    CHECK_INT(relation->columns[7].kind, DBI_PGKIND_BIT);
    CHECK_INT(relation->columns[8].kind, DBI_PGKIND_BITS);
    CHECK_INT(relation->columns[9].kind, DBI_PGKIND_UNKNOWN);
    CHECK(relation->columns[10].array);
    CHECK_INT(relation->columns[10].kind, DBI_PGKIND_INT);
    TRY(dbi_relations_describe(relations, relation, answer, &err)); /* nothing new */
    CHECK_INT(relation->version, 2);
done:
    PQclear(answer);
    dbi_relations_free(relations);
}

TEST(relation_keeps_the_identity_when_the_key_is_not_in_the_message) {
    static const answer_column renamed[] = {{.name = "number", .type = "23", .in_identity = "t", .key = "0"},
                                            {.name = "name", .type = "25"}};
    static const answer_column half[] = {{.name = "id", .type = "23", .key = "0"},
                                         {.name = "new", .type = "23", .key = "1"}};
    static const answer_column none[] = {{.name = "id", .type = "23"}, {.name = "name", .type = "25"}};
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    dbi_pgoutput_relation message = two();
    PGresult *answers[] = {
        answer_make("16400", "public", "t", "d", renamed, 2), answer_make("16400", "public", "t", "d", half, 2),
        answer_make("16400", "public", "t", "d", none, 2), answer_make("16400", "public", "t", "d", none, 0)};
    dbi_err err = {0};

    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_put(relations, &message, &relation, &err));
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        relation->described = false;
        TRY(dbi_relations_describe(relations, relation, answers[i], &err));
        CHECK(relation->described);
        CHECK_INT(relation->key_count, 1);
        CHECK_INT(relation->key[0], 0);
        CHECK(relation->columns[0].in_key && !relation->columns[1].in_key);
    }
done:
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        PQclear(answers[i]);
    dbi_relations_free(relations);
}

TEST(relation_is_loaded_for_a_snapshot) {
    static const answer_column known[] = {{.name = "id", .type = "23", .in_identity = "t", .key = "0"},
                                          {.name = "twice", .type = "23", .generated = "t"},
                                          {.name = "at", .type = "1184", .typmod = "3"}};
    static const char *const names[] = {"at", "id"};
    static const char *const missing[] = {"id", "nothing"};
    dbi_relations *relations = NULL;
    dbi_relation *relation;
    PGresult *answer = answer_make("16400", "shop", "orders", "d", known, 3);
    PGresult *empty = answer_make("16400", "shop", "orders", "d", known, 0);
    PGresult *foreign = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
    dbi_err err = {0};

    CHECK(foreign != NULL);
    TRY(dbi_relations_new(&relations, &err));
    TRY(dbi_relations_load(relations, answer, NULL, 0, &relation, &err));
    CHECK_INT(relation->oid, 16400);
    CHECK(relation->described);
    CHECK_INT(relation->column_count, 2); /* without what the server computes */
    CHECK_STR(relation->columns[1].name, "at");
    CHECK_INT(relation->columns[1].base_typmod, 3);
    CHECK_STR(relation->json, "\"schema\":\"shop\",\"table\":\"orders\"");
    CHECK_INT(relation->key_count, 1);
    TRY(dbi_relations_load(relations, answer, names, 2, &relation, &err));
    CHECK_STR(relation->columns[0].name, "at");
    CHECK_INT(relation->key[0], 1);
    TRY_RC(dbi_relations_load(relations, answer, missing, 2, &relation, &err), DBI_ESERVER);
    CHECK_HAS(err.msg, "table shop.orders has no column \"nothing\"");
    CHECK(relation == NULL);
    CHECK_RC(dbi_relations_load(relations, empty, NULL, 0, &relation, &err), DBI_ESERVER);
    CHECK_HAS(err.msg, "no such table");
    CHECK_RC(dbi_relations_load(relations, foreign, NULL, 0, &relation, &err), DBI_ESERVER);
    CHECK_HAS(err.msg, "did not say what a table looks like");
done:
    PQclear(foreign);
    PQclear(empty);
    PQclear(answer);
    dbi_relations_free(relations);
}

TEST_MAIN()
