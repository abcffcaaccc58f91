/* fuzz_ledger.c - what the server answers about the ledger and the catalogue, and the lines of dead letters
 *
 * The first byte chooses the question. For an answer, fields follow, each a byte of length (255 = NULL) and its bytes.
 * An answer that is let in must be sound: an identity reads as it was written, a schema makes SQL that names what it
 * names. A dead letter is made of four strings and must be one line of JSON, that is read back as what it is.
 */
#include "fuzz.h"

#include "alloc.h"
#include "dead_int.h"
#include "ledger_int.h"
#include "shipment_int.h"

static const int widths[] = {3, 3, 1, DBI__COLUMNS_FIELDS};
enum { TRY_SERVER, TRY_ENTRY, TRY_NUMBER, TRY_COLUMNS, TRY_LINE, TRY_LETTER, TRIES };

static PGresult *answer_make(fuzz_input *input, int columns) {
    PGresult *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[DBI__COLUMNS_FIELDS] = {0};
    static char name[] = "c";

    FUZZ_CHECK(answer != NULL);
    for (int i = 0; i < columns; i++)
        attributes[i].name = name;
    FUZZ_CHECK(PQsetResultAttrs(answer, columns, attributes));
    for (int i = 0; input->left > 0; i++) {
        char value[256];
        size_t length = fuzz_byte(input);
        bool null = length == 255;
        const uint8_t *bytes = fuzz_bytes(input, null ? 0 : length, &length);

        memcpy(value, bytes, length);
        FUZZ_CHECK(PQsetvalue(answer, i / columns, i % columns, value, null ? -1 : (int)length));
    }
    return answer;
}

/* --- SQL --- */

/* Reads a quoted identifier; it must be `name`. */
static const char *expect_identifier(const char *at, const char *name) {
    FUZZ_CHECK(*at++ == '"');
    for (;; name++, at++) {
        if (*at == '"' && *++at != '"')
            break;
        FUZZ_CHECK(*at != '\0' && *at == *name);
    }
    FUZZ_CHECK(*name == '\0');
    return at;
}

static const char *expect(const char *at, const char *text) {
    FUZZ_CHECK(strncmp(at, text, strlen(text)) == 0);
    return at + strlen(text);
}

/* Outside of quotes there is nothing that would end a statement before its end. */
static void check_quotes(const char *sql) {
    char quote = '\0';

    for (; *sql != '\0'; sql++) {
        if (quote == '\'' && *sql == '\\')
            FUZZ_CHECK(*++sql != '\0');
        else if (quote != '\0' && *sql == quote)
            quote = '\0'; /* a doubled one opens again at once */
        else if (quote == '\0' && (*sql == '"' || *sql == '\''))
            quote = *sql;
        else if (quote == '\0')
            FUZZ_CHECK(*sql != ';' || sql[1] == '\0' || strncmp(sql + 1, "CREATE", 6) == 0);
    }
    FUZZ_CHECK(quote == '\0');
}

static void check_schema(const dbi_schema *schema) {
    static const uint8_t identity[16] = {0};
    char *fingerprint = dbi_ledger_fingerprint(schema);
    dbi__plan plan;
    const char *at;

    FUZZ_CHECK(schema->column_count >= 1 && dbi_schema_check(schema, NULL) == DBI_OK);
    FUZZ_CHECK(fingerprint != NULL);
    dbi_free(fingerprint);
    FUZZ_CHECK(dbi__plan_make(&plan, schema, NULL, identity, NULL) == DBI_OK);
    at = expect_identifier(expect(plan.copy.bytes, "COPY "), schema->nspname);
    at = expect(expect_identifier(expect(at, "."), schema->relname), " (");
    for (unsigned i = 0; i < schema->column_count; i++)
        at = expect_identifier(expect(at, i > 0 ? "," : ""), schema->columns[i].name);
    FUZZ_CHECK(strcmp(at, ") FROM STDIN (FORMAT binary);") == 0);
    check_quotes(plan.guard.bytes);
    dbi__plan_free(&plan);
}

static void try_answer(unsigned which, fuzz_input *input) {
    PGresult *answer = answer_make(input, widths[which]);
    char text[DBI__UUID_TEXT_SIZE];
    dbi_ledger_entry entry;
    dbi_schema *schema;
    uint8_t identity[16];
    int64_t number;
    dbi_err err = {0};
    dbi_rc rc;

    switch (which) {
    case TRY_SERVER:
        rc = dbi__ledger_server(answer, identity, &number, &err);
        if (rc == DBI_OK) {
            dbi__uuid_text(identity, text);
            FUZZ_CHECK(strcmp(text, PQgetvalue(answer, 0, 0)) == 0 && number >= 1);
        }
        break;
    case TRY_ENTRY:
        rc = dbi__ledger_entry(answer, &entry, &err);
        if (rc == DBI_OK)
            FUZZ_CHECK(entry.last <= INT64_MAX && entry.dead <= INT64_MAX && (entry.found || entry.last == 0));
        break;
    case TRY_NUMBER:
        rc = dbi__ledger_number(answer, &number, &err);
        if (rc == DBI_OK)
            FUZZ_CHECK(number == strtoll(PQgetvalue(answer, 0, 0), NULL, 10));
        break;
    default:
        rc = dbi__ledger_columns(answer, "s", "t", NULL, 0, &schema, &err);
        FUZZ_CHECK((rc == DBI_OK) == (schema != NULL));
        if (rc == DBI_OK)
            check_schema(schema);
        dbi_schema_free(schema);
    }
    FUZZ_CHECK(rc == DBI_OK || ((rc == DBI_ESERVER || rc == DBI_EINVAL) && err.msg[0] != '\0'));
    PQclear(answer);
}

/* --- dead letters --- */

#define CHAIN "0123456789abcdeffedcba9876543210"

static void try_line(fuzz_input *input) {
    uint64_t sequence;
    bool withdrawn;

    (void)dbi__dead_read((const char *)input->data, input->left, CHAIN, &sequence, &withdrawn);
}

/* JSON as far as our lines go: objects, arrays, strings without escapes but \u00xx, numbers, true. The end of a value.
 */
static const char *json_skip(const char *at) {
    if (*at == '"') {
        for (at++; *at != '"'; at++) {
            FUZZ_CHECK((unsigned char)*at >= 0x20);
            if (*at == '\\') {
                at = expect(at + 1, "u00");
                FUZZ_CHECK(strspn(at, "0123456789abcdef") >= 2);
                at++;
            }
        }
        return at + 1;
    }
    if (*at == '{' || *at == '[') {
        char end = *at == '{' ? '}' : ']';

        for (at++; *at != end;) {
            if (end == '}')
                at = expect(json_skip(at), ":");
            at = json_skip(at);
            FUZZ_CHECK(*at == end || *at == ',');
            at += *at == ',';
        }
        return at + 1;
    }
    if (*at == 't')
        return expect(at, "true");
    FUZZ_CHECK(*at >= '0' && *at <= '9');
    return at + strspn(at, "0123456789");
}

static void string_read(fuzz_input *input, char *out, size_t size) {
    size_t length = fuzz_byte(input);
    const uint8_t *bytes = fuzz_bytes(input, length < size ? length : size - 1, &length);

    memcpy(out, bytes, length);
    out[length] = '\0';
}

static void try_letter(fuzz_input *input) {
    char stream[128], message[256], sqlstate[6];
    dbi_column column = {.type_name = "text"};
    dbi_schema schema = {.nspname = "s", .column_count = 1, .columns = &column};
    dbi_dead_letter letter = {.stream = stream, .schema = &schema, .sqlstate = sqlstate, .message = message};
    uint64_t written = fuzz_number(input, 8), sequence = 0;
    dbi__text text = {0};
    bool withdrawn = true;

    string_read(input, stream, sizeof stream);
    string_read(input, message, sizeof message);
    string_read(input, sqlstate, sizeof sqlstate);
    string_read(input, column.name, sizeof column.name);
    string_read(input, schema.relname, sizeof schema.relname);
    letter.sequence = written;
    letter.tuple = input->data;
    letter.length = input->left;
    dbi__dead_line(&text, CHAIN, written, &letter, (int64_t)(written % (UINT64_C(1) << 52)));
    FUZZ_CHECK(!text.failed && strcmp(json_skip(text.bytes), "\n") == 0);
    FUZZ_CHECK(dbi__dead_read(text.bytes, text.length - 1, CHAIN, &sequence, &withdrawn) == (written != 0));
    FUZZ_CHECK(written == 0 || (sequence == written && !withdrawn));
    dbi__text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {.data = data, .left = size};
    unsigned which = fuzz_byte(&input) % TRIES;

    if (which == TRY_LINE)
        try_line(&input);
    else if (which == TRY_LETTER)
        try_letter(&input);
    else
        try_answer(which, &input);
    return 0;
}

static const char *const server[] = {"01234567-89ab-cdef-fedc-ba9876543210", "1", "f", NULL};
static const char *const entry[] = {"9223372036854775807", "17", "1769860800000000", NULL};
static const char *const one[] = {"-42", NULL};
static const char *const columns[] = {"public",   "t",
                                      "r",        "id",
                                      "2950",     "-1",
                                      "b",        "0",
                                      "",         "uuid",
                                      "0",        "t",
                                      "",         "gen_random_uuid()",
                                      "public",   "t",
                                      "r",        "at",
                                      "1184",     "-1",
                                      "b",        "0",
                                      "",         "timestamp with time zone",
                                      "0",        "t",
                                      "",         "now()",
                                      "public",   "t",
                                      "p",        "ta\"gs",
                                      "1009",     "-1",
                                      "b",        "25",
                                      "b",        "text[]",
                                      "0",        "f",
                                      "",         "",
                                      "public",   "t",
                                      "r",        "mood",
                                      "16400",    "-1",
                                      "e",        "0",
                                      "",         "shop.mood",
                                      "16401",    "f",
                                      "",         "",
                                      "public",   "t",
                                      "r",        "n",
                                      "20",       "-1",
                                      "b",        "0",
                                      "",         "bigint",
                                      "0",        "t",
                                      "identity", "",
                                      NULL};
static const char *const *const examples[] = {server, entry, one, columns};

size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    static const char line[] = "{\"v\":1,\"chain\":\"" CHAIN "\",\"sequence\":17,\"withdrawn\":true}";
    size_t length = 0;

    out[length++] = (uint8_t)nth;
    if (nth == TRY_LINE) {
        memcpy(out + length, line, sizeof line - 1);
        return length + sizeof line - 1;
    }
    if (nth == TRY_LETTER)
        return 1 + (size_t)snprintf((char *)out + length, capacity - length,
                                    "12345678\6orders\13caf\xc3\xa9 \"x\"\n\1\00522001\2id\1tBYTES");
    if (nth >= TRIES)
        return 0;
    for (const char *const *field = examples[nth]; *field != NULL; field++) {
        bool null = (*field)[0] == '\0' && nth == TRY_COLUMNS && (field - examples[nth]) % DBI__COLUMNS_FIELDS == 13;

        out[length++] = null ? 255 : (uint8_t)strlen(*field);
        memcpy(out + length, *field, strlen(*field));
        length += strlen(*field);
    }
    return length;
}
