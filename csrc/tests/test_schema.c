/* test_schema.c - columns declared and resolved, the packed form, the fingerprint */
#include "schema.h"

#include "md5_int.h"
#include "test.h"

static dbi_column declared(const char *type_text) {
    dbi_column column;
    dbi_err err;

    if (dbi_column_declare(&column, "c", type_text, &err) != DBI_OK)
        test_fail(type_text, 0, "%s", err.msg);
    return column;
}

TEST(schema_declares_types_as_sql_writes_them) {
    /* oid, array, typmod and type_name are what pg_attribute and format_type() say of a table made with these words */
    static const struct {
        const char *text, *type_name;
        uint32_t oid, element_oid;
        int32_t typmod;
        dbi_type type;
    } rows[] = {
        {"bool", "boolean", 16, 0, -1, DBI_TYPE_BOOL},
        {"SMALLINT", "smallint", 21, 0, -1, DBI_TYPE_INT2},
        {" int ", "integer", 23, 0, -1, DBI_TYPE_INT4},
        {"int4[]", "integer[]", 1007, 23, -1, DBI_TYPE_INT4},
        {"int8 [ ]", NULL, 0, 0, 0, DBI_TYPE_INT8},
        {"bigint[][]", "bigint[]", 1016, 20, -1, DBI_TYPE_INT8},
        {"real", "real", 700, 0, -1, DBI_TYPE_FLOAT4},
        {"double\tprecision", "double precision", 701, 0, -1, DBI_TYPE_FLOAT8},
        {"numeric", "numeric", 1700, 0, -1, DBI_TYPE_NUMERIC},
        {"numeric(10,2)", "numeric(10,2)", 1700, 0, 655366, DBI_TYPE_NUMERIC},
        {"decimal( 10 , 2 )", "numeric(10,2)", 1700, 0, 655366, DBI_TYPE_NUMERIC},
        {"numeric(5)", "numeric(5,0)", 1700, 0, 327684, DBI_TYPE_NUMERIC},
        {"numeric(3,-2)", "numeric(3,-2)", 1700, 0, 198658, DBI_TYPE_NUMERIC},
        {"text", "text", 25, 0, -1, DBI_TYPE_TEXT},
        {"varchar", "character varying", 1043, 0, -1, DBI_TYPE_TEXT},
        {"varchar(50)", "character varying(50)", 1043, 0, 54, DBI_TYPE_TEXT},
        {"character varying (50)[]", "character varying(50)[]", 1015, 1043, 54, DBI_TYPE_TEXT},
        {"char", "character(1)", 1042, 0, 5, DBI_TYPE_TEXT},
        {"char(3)", "character(3)", 1042, 0, 7, DBI_TYPE_TEXT},
        {"bpchar", "bpchar", 1042, 0, -1, DBI_TYPE_TEXT},
        {"bytea", "bytea", 17, 0, -1, DBI_TYPE_BYTEA},
        {"timestamptz", "timestamp with time zone", 1184, 0, -1, DBI_TYPE_TIMESTAMPTZ},
        {"timestamptz(3)", "timestamp(3) with time zone", 1184, 0, 3, DBI_TYPE_TIMESTAMPTZ},
        {"timestamp (0) with time zone", "timestamp(0) with time zone", 1184, 0, 0, DBI_TYPE_TIMESTAMPTZ},
        {"timestamp", "timestamp without time zone", 1114, 0, -1, DBI_TYPE_TIMESTAMP},
        {"time(6)", "time(6) without time zone", 1083, 0, 6, DBI_TYPE_TIME},
        {"interval", "interval", 1186, 0, -1, DBI_TYPE_INTERVAL},
        {"interval(2)", "interval(2)", 1186, 0, 2147418114, DBI_TYPE_INTERVAL},
        {"date", "date", 1082, 0, -1, DBI_TYPE_DATE},
        {"uuid", "uuid", 2950, 0, -1, DBI_TYPE_UUID},
        {"json", "json", 114, 0, -1, DBI_TYPE_JSON},
        {"jsonb[]", "jsonb[]", 3807, 3802, -1, DBI_TYPE_JSONB},
        {"inet", "inet", 869, 0, -1, DBI_TYPE_INET},
        {"cidr", "cidr", 650, 0, -1, DBI_TYPE_CIDR},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dbi_column column;

        if (rows[i].type_name == NULL) {
            CHECK_RC(dbi_column_declare(&column, "c", rows[i].text, NULL), DBI_EINVAL);
            continue;
        }
        column = declared(rows[i].text);
        CHECK_STR(column.type_name, rows[i].type_name);
        CHECK_INT(column.oid, rows[i].oid);
        CHECK_INT(column.element_oid, rows[i].element_oid);
        CHECK_INT(column.array, rows[i].element_oid != 0);
        CHECK_INT(column.typmod, rows[i].typmod);
        CHECK_INT(column.type, rows[i].type);
        CHECK(column.nullable && column.fill == DBI_FILL_NONE);
    }
    CHECK(!declared("text NOT  NULL").nullable);
    CHECK(declared("varchar(5) null").nullable);
    CHECK_STR(declared("int[] not null").type_name, "integer[]");
}

#define LONGEST_NAME "123456789 123456789 123456789 123456789 123456789 123456789 123"

TEST(schema_refuses_what_it_cannot_declare) {
    static const char *const texts[] = {
        "",
        "[]",
        "not null",
        "mood",
        "point",
        "text(5)",
        "varchar(0)",
        "varchar(10485761)",
        "varchar(-1)",
        "varchar(x)",
        "varchar(",
        "varchar()",
        "varchar)",
        "varchar(5)(6)",
        "varchar(5,6)",
        "numeric(0)",
        "numeric(1001)",
        "numeric(5,1001)",
        "numeric(1,2,3)",
        "numeric(123456789)",
        "timestamp(7)",
        "interval(9)",
        "serial",
        "name",
        "a type whose name goes on and on and on and on and on and on and on and on and on",
    };
    dbi_column column;
    dbi_err err;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK_RC(dbi_column_declare(&column, "field", texts[i], &err), DBI_EINVAL);
        CHECK_HAS(err.msg, "column \"field\"");
    }
    CHECK_RC(dbi_column_declare(&column, "", "text", &err), DBI_EINVAL);
    CHECK_RC(dbi_column_declare(&column, LONGEST_NAME "4", "text", &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "at most 63 bytes");
    CHECK_RC(dbi_column_declare(&column, LONGEST_NAME, "text", &err), DBI_OK);
}

static dbi_rc resolved(dbi_column *column, uint32_t oid, char typtype, uint32_t element_oid, char element_typtype,
                       const char *type_name, dbi_err *err) {
    *column = (dbi_column){.name = "field", .nullable = true};
    return dbi_column_resolve(column, oid, -1, typtype, element_oid, element_typtype, type_name, err);
}

TEST(schema_resolves_types_of_the_catalogue) {
    dbi_column column;
    dbi_err err;
    char name[400];

    CHECK_RC(resolved(&column, 1043, 'b', 0, '\0', "character varying", &err), DBI_OK);
    CHECK_INT(column.type, DBI_TYPE_TEXT);
    CHECK_RC(resolved(&column, 16433, 'e', 0, '\0', "mood", &err), DBI_OK);
    CHECK_INT(column.type, DBI_TYPE_ENUM);
    CHECK_RC(resolved(&column, 16432, 'b', 16433, 'e', "mood[]", &err), DBI_OK);
    CHECK(column.type == DBI_TYPE_ENUM && column.array && column.element_oid == 16433);
    CHECK_RC(resolved(&column, 16500, 'b', 0, '\0', "public.citext", &err), DBI_OK);
    CHECK_INT(column.type, DBI_TYPE_TEXT);
    CHECK_RC(resolved(&column, 16505, 'b', 16500, 'b', "citext[]", &err), DBI_OK);
    CHECK_INT(column.type, DBI_TYPE_TEXT);
    CHECK_RC(resolved(&column, 1007, 'b', 23, 'b', "integer[]", &err), DBI_OK);
    CHECK(column.array && column.type == DBI_TYPE_INT4);

    CHECK_RC(resolved(&column, 600, 'b', 701, 'b', "point", &err), DBI_EINVAL); /* has elements, and is no array */
    CHECK_HAS(err.msg, "column \"field\" is of type point");
    CHECK_RC(resolved(&column, 22, 'b', 21, 'b', "int2vector", &err), DBI_EINVAL);
    CHECK_RC(resolved(&column, 16600, 'c', 0, '\0', "pair", &err), DBI_EINVAL);
    CHECK_RC(resolved(&column, 3904, 'r', 0, '\0', "int4range", &err), DBI_EINVAL);
    CHECK_RC(resolved(&column, 19, 'b', 18, 'b', "name", &err), DBI_EINVAL);
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK_RC(resolved(&column, 16433, 'e', 0, '\0', name, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "longer than 255 bytes");
}

/* A schema with a column of each kind; NULL with DBI_ENOMEM. */
static dbi_rc example(dbi_schema **schema) {
    dbi_rc rc = dbi_schema_new(schema, "agent_observability", "trace_events", 5, NULL);

    if (rc != DBI_OK)
        return rc;
    CHECK_RC(dbi_column_declare(&(*schema)->columns[0], "id", "uuid not null", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&(*schema)->columns[1], "at", "timestamptz(3)", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&(*schema)->columns[2], "größe", "numeric(10,2)[]", NULL), DBI_OK);
    CHECK_RC(resolved(&(*schema)->columns[3], 16433, 'e', 0, '\0', "mood", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&(*schema)->columns[4], "email", "varchar(50)", NULL), DBI_OK);
    (*schema)->columns[0].fill = DBI_FILL_UUID7;
    (*schema)->columns[1].fill = DBI_FILL_NOW;
    (*schema)->columns[2].fill = DBI_FILL_NULL;
    (*schema)->columns[4].domain_oid = 16700;
    return dbi_schema_check(*schema, NULL);
}

static void check_same(const dbi_schema *a, const dbi_schema *b) {
    CHECK_STR(a->nspname, b->nspname);
    CHECK_STR(a->relname, b->relname);
    CHECK_INT(a->column_count, b->column_count);
    for (unsigned i = 0; i < a->column_count; i++) {
        const dbi_column *left = &a->columns[i], *right = &b->columns[i];

        CHECK_STR(left->name, right->name);
        CHECK_STR(left->type_name, right->type_name);
        CHECK_INT(left->oid, right->oid);
        CHECK_INT(left->element_oid, right->element_oid);
        CHECK_INT(left->domain_oid, right->domain_oid);
        CHECK_INT(left->typmod, right->typmod);
        CHECK_INT(left->type, right->type);
        CHECK_INT(left->fill, right->fill);
        CHECK(left->array == right->array && left->nullable == right->nullable);
    }
}

TEST(schema_packs_and_unpacks) {
    dbi_schema *schema = NULL, *copy = NULL, *back = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;

    TRY(example(&schema));
    TRY(dbi_schema_copy(&copy, schema, NULL));
    check_same(schema, copy);
    TRY(dbi_schema_pack(schema, &bytes, &length, NULL));
    TRY(dbi_schema_unpack(&back, bytes, length, NULL));
    check_same(schema, back);
done:
    dbi_free(bytes);
    dbi_schema_free(schema);
    dbi_schema_free(copy);
    dbi_schema_free(back);
}

/* The packed form, byte by byte: files hold it, so it does not change. */
TEST(schema_packs_these_bytes) {
    dbi_schema *schema = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;

    TRY(dbi_schema_new(&schema, "s", "table", 1, NULL));
    CHECK_RC(dbi_column_declare(&schema->columns[0], "c", "varchar(50)[] not null", NULL), DBI_OK);
    TRY(dbi_schema_pack(schema, &bytes, &length, NULL));
    CHECK_INT(length, 16 + 19 + 2 + 24);
    CHECK(memcmp(bytes,
                 "dbis\x01\0" /* magic, version */
                 "\x01\0"     /* number of columns */
                 "\x01"
                 "s" /* schema */
                 "\x05"
                 "table"        /* table */
                 "\xf7\x03\0\0" /* oid: 1015 */
                 "\x13\x04\0\0" /* of the elements: 1043 */
                 "\0\0\0\0"     /* no domain */
                 "\x36\0\0\0"   /* typmod: 54 */
                 "\x07\x01\0"   /* text; array, not nullable; no fill */
                 "\x01"
                 "c" /* name */
                 "\x17"
                 "character varying(50)[]",
                 length) == 0);
done:
    dbi_free(bytes);
    dbi_schema_free(schema);
}

/* Every cut and every flipped bit is refused, or gives a schema that packs to the same bytes. */
TEST_WITH(schema_unpack_trusts_nothing, .timeout_s = 60, .unswept = "schema_packs_and_unpacks makes the same ones") {
    dbi_schema *schema = NULL, *back = NULL;
    uint8_t *bytes = NULL, *again = NULL;
    size_t length = 0, length_again = 0;
    dbi_err err;

    TRY(example(&schema));
    TRY(dbi_schema_pack(schema, &bytes, &length, NULL));
    for (size_t cut = 0; cut < length; cut++) {
        TRY_RC(dbi_schema_unpack(&back, bytes, cut, &err), DBI_ECORRUPT);
        CHECK_HAS(err.msg, "packed schema");
    }
    for (size_t bit = 0; bit < length * 8; bit++) {
        dbi_rc rc;

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc = dbi_schema_unpack(&back, bytes, length, &err);
        if (rc == DBI_OK) {
            rc = dbi_schema_pack(back, &again, &length_again, NULL);
            if (rc == DBI_OK)
                CHECK(length_again == length && memcmp(again, bytes, length) == 0);
            dbi_free(again);
            again = NULL;
            dbi_schema_free(back);
            back = NULL;
            TRY(rc);
        } else {
            TRY_RC(rc, DBI_ECORRUPT);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
done:
    dbi_free(bytes);
    dbi_schema_free(schema);
    dbi_schema_free(back);
}

TEST(schema_unpack_names_a_newer_version) {
    static const uint8_t bytes[] = {'d', 'b', 'i', 's', 2, 0, 1, 0};
    dbi_schema *schema = NULL;
    dbi_err err;

    CHECK_RC(dbi_schema_unpack(&schema, bytes, sizeof bytes, &err), DBI_ECORRUPT);
    CHECK_HAS(err.msg, "version 2");
    CHECK(schema == NULL);
}

TEST(schema_checks_its_columns_together) {
    dbi_schema *schema = NULL;
    dbi_err err;

    TRY(dbi_schema_new(&schema, "s", "t", 2, NULL));
    CHECK_RC(dbi_column_declare(&schema->columns[0], "a", "int not null", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&schema->columns[1], "a", "uuid[]", NULL), DBI_OK);
    CHECK_RC(dbi_schema_check(schema, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "column \"a\" is there twice");
    strcpy(schema->columns[1].name, "b");
    CHECK_RC(dbi_schema_check(schema, &err), DBI_OK);
    for (int fill = DBI_FILL_NULL; fill <= DBI_FILL_NOW; fill++) {
        schema->columns[0].fill = (dbi_fill)fill;
        CHECK_RC(dbi_schema_check(schema, &err), DBI_EINVAL);
        CHECK_HAS(err.msg, dbi_fill_text((dbi_fill)fill));
    }
    schema->columns[0].fill = DBI_FILL_NONE;
    schema->columns[1].fill = DBI_FILL_UUID7; /* an array of them is no UUID */
    CHECK_RC(dbi_schema_check(schema, &err), DBI_EINVAL);
done:
    dbi_schema_free(schema);
}

TEST(schema_has_a_name_and_columns) {
    dbi_schema *schema = NULL;
    dbi_err err;

    TRY_RC(dbi_schema_new(&schema, "", "t", 1, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "name of a schema is empty");
    CHECK_RC(dbi_schema_new(&schema, "s", "t", 0, &err), DBI_EINVAL);
    CHECK_RC(dbi_schema_new(&schema, "s", "t", DBI_COLUMNS_MAX + 1, &err), DBI_EINVAL);
    CHECK(schema == NULL);
done:
    dbi_schema_free(schema);
}

static void check_hex(const uint8_t sum[16], const char *expected) {
    char hex[33];

    for (size_t i = 0; i < 16; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    CHECK_STR(hex, expected);
}

static void check_md5(const char *text, const char *expected) {
    uint8_t sum[16];
    dbi__md5 md5;

    dbi__md5_init(&md5);
    for (size_t i = 0; i < strlen(text); i += 7) /* in pieces */
        dbi__md5_add(&md5, text + i, strlen(text) - i < 7 ? strlen(text) - i : 7);
    dbi__md5_end(&md5, sum);
    check_hex(sum, expected);
}

/* RFC 1321, A.5, and lengths around a block. */
TEST(schema_md5_is_that_of_the_rfc) {
    check_md5("", "d41d8cd98f00b204e9800998ecf8427e");
    check_md5("abc", "900150983cd24fb0d6963f7d28e17f72");
    check_md5("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f");
    check_md5("12345678901234567890123456789012345678901234567890123456789012345678901234567890",
              "57edf4a22be3c955ac49da2e2107b67a");
}

/* What PostgreSQL says to SELECT md5(e'id:2950:-1\nat:1184:3\ngröße:1231:655366\nfield:16433:-1\nemail:16700:-1') */
TEST(schema_fingerprint_is_the_servers) {
    dbi_schema *schema = NULL;
    uint8_t sum[16];

    TRY(example(&schema));
    dbi_schema_fingerprint(schema, sum);
    check_hex(sum, "19ae8812dee50ae3a3e73ff991ac1a8e");
done:
    dbi_schema_free(schema);
}

TEST_MAIN()
