/* fuzz_schema.c - packed schemas and declared types
 *
 * The first byte chooses. A packed schema that is let in must pack to the same bytes and be sound; a type that is let
 * in must pack and unpack.
 */
#include "fuzz.h"

#include "alloc.h"
#include "schema.h"

static void check_sound(const dbi_schema *schema) {
    uint8_t sum[16];

    FUZZ_CHECK(schema->column_count >= 1 && schema->column_count <= DBI_COLUMNS_MAX);
    for (unsigned i = 0; i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];

        FUZZ_CHECK(column->name[0] != '\0' && column->type_name[0] != '\0');
        FUZZ_CHECK((unsigned)column->type < DBI_TYPE_COUNT && (unsigned)column->fill < DBI_FILL_COUNT);
        FUZZ_CHECK(column->array == (column->element_oid != 0));
        FUZZ_CHECK(strcmp(dbi_type_text(column->type), "unknown") != 0);
    }
    FUZZ_CHECK(dbi_schema_check(schema, NULL) == DBI_OK);
    dbi_schema_fingerprint(schema, sum);
}

static void try_packed(const uint8_t *data, size_t size) {
    dbi_schema *schema = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;
    dbi_err err = {0};
    dbi_rc rc = dbi_schema_unpack(&schema, data, size, &err);

    if (rc != DBI_OK) {
        FUZZ_CHECK(rc == DBI_ECORRUPT && schema == NULL && err.msg[0] != '\0');
        return;
    }
    check_sound(schema);
    FUZZ_CHECK(dbi_schema_pack(schema, &bytes, &length, &err) == DBI_OK);
    FUZZ_CHECK(length == size && memcmp(bytes, data, size) == 0);
    dbi_free(bytes);
    dbi_schema_free(schema);
}

static void try_declared(const uint8_t *data, size_t size) {
    dbi_schema *schema = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;
    char *text = dbi_calloc(1, size + 1);

    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    FUZZ_CHECK(dbi_schema_new(&schema, "s", "t", 1, NULL) == DBI_OK);
    if (dbi_column_declare(&schema->columns[0], "c", text, NULL) == DBI_OK) {
        check_sound(schema);
        FUZZ_CHECK(dbi_schema_pack(schema, &bytes, &length, NULL) == DBI_OK);
        try_packed(bytes, length);
    }
    dbi_free(bytes);
    dbi_schema_free(schema);
    dbi_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    if (data[0] % 4 == 0)
        try_declared(data + 1, size - 1);
    else
        try_packed(data + 1, size - 1);
    return 0;
}

static const char *const types[] = {
    "uuid not null",    "timestamp(3) with time zone",
    "numeric(10,-2)",   "character varying(50)[]",
    "int4 [] not null", "jsonb",
    "interval(2)",      "char(3)",
    "cidr[]",           "double precision",
};
#define TYPES (sizeof types / sizeof types[0])

/* Each type declared, then schemas of one column up to all of them. */
size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    dbi_schema *schema = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;

    if (nth < TYPES) {
        out[0] = 0;
        memcpy(out + 1, types[nth], strlen(types[nth]));
        return 1 + strlen(types[nth]);
    }
    nth -= (unsigned)TYPES;
    if (nth >= TYPES || dbi_schema_new(&schema, "agent_observability", "trace_events", nth + 1, NULL) != DBI_OK)
        return 0;
    for (unsigned i = 0; i <= nth; i++) {
        char name[8];

        (void)snprintf(name, sizeof name, "c%u", i);
        FUZZ_CHECK(dbi_column_declare(&schema->columns[i], name, types[i], NULL) == DBI_OK);
    }
    FUZZ_CHECK(dbi_schema_pack(schema, &bytes, &length, NULL) == DBI_OK && length < capacity);
    out[0] = 1;
    memcpy(out + 1, bytes, length);
    dbi_free(bytes);
    dbi_schema_free(schema);
    return length + 1;
}
