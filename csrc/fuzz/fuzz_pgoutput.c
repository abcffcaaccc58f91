/* fuzz_pgoutput.c - a stream of pgoutput, from its bytes to messages for Kafka
 *
 * The input is a list of messages, each two bytes of length and its bytes; after a Relation message a byte that says
 * whether the catalogue is asked, and then one for each column that chooses its answer. What is read is handed on as a
 * capture does. What comes out must be JSON in UTF-8, and keys of a relation columns of it.
 */
#include "fuzz.h"

#include <stdbool.h>

#include "cdc/envelope.h"
#include "cdc/pgoutput.h"
#include "cdc/relation.h"
#include "utf8_int.h"

/* --- JSON, read strictly: the end of a value, NULL when there is none --- */

static const char *json_value(const char *at, const char *end, unsigned depth);

static const char *json_string(const char *at, const char *end) {
    if (at == end || *at++ != '"')
        return NULL;
    while (at < end && *at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\') {
            if (++at == end)
                return NULL;
            if (*at == 'u') {
                if (end - at < 5 || strspn(at + 1, "0123456789abcdef") < 4)
                    return NULL;
                at += 4;
            } else if (strchr("\"\\bfnrt", *at) == NULL) {
                return NULL;
            }
        }
        at++;
    }
    return at < end ? at + 1 : NULL;
}

static const char *json_digits(const char *at, const char *end) {
    const char *from = at;

    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > from ? at : NULL;
}

static const char *json_number(const char *at, const char *end) {
    const char *from;

    if (at < end && *at == '-')
        at++;
    from = at;
    at = json_digits(at, end);
    if (at == NULL || (*from == '0' && at - from > 1))
        return NULL;
    if (at < end && *at == '.' && (at = json_digits(at + 1, end)) == NULL)
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = json_digits(at, end);
    }
    return at;
}

static const char *json_list(const char *at, const char *end, unsigned depth) {
    char close = *at == '{' ? '}' : ']';

    if (++at < end && *at == close)
        return at + 1;
    for (;;) {
        if (close == '}') {
            at = json_string(at, end);
            if (at == NULL || at == end || *at++ != ':')
                return NULL;
        }
        at = json_value(at, end, depth + 1);
        if (at == NULL || at == end)
            return NULL;
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *json_value(const char *at, const char *end, unsigned depth) {
    static const char *const words[] = {"null", "true", "false"};

    if (at == end || depth > 20)
        return NULL;
    if (*at == '"')
        return json_string(at, end);
    if (*at == '{' || *at == '[')
        return json_list(at, end, depth);
    for (size_t i = 0; i < 3; i++)
        if ((size_t)(end - at) >= strlen(words[i]) && memcmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    return json_number(at, end);
}

static void check_json(const void *bytes, size_t length) {
    const char *at = bytes;

    FUZZ_CHECK(dbi__utf8_valid(bytes, length));
    FUZZ_CHECK(*at == '{' && json_value(at, at + length, 0) == at + length);
}

static void check_message(const dbi_envelope_message *message) {
    FUZZ_CHECK(message->op != '\0' && message->value != NULL && message->value_length > 0);
    check_json(message->value, message->value_length);
    if (message->key != NULL)
        check_json(message->key, message->key_length);
    if (message->newkey != NULL)
        check_json(message->newkey, message->newkey_length);
    if (message->oldkey != NULL)
        check_json(message->oldkey, message->oldkey_length);
    FUZZ_CHECK(message->unchanged == NULL || message->unchanged_length > 0);
}

/* --- the catalogue --- */

static const char *const bases[][4] = {/* base, arrays, typtype, typname */
                                       {"23", "0", "b", "int4"},
                                       {"25", "1", "b", "text"},
                                       {"701", "1", "b", "float8"},
                                       {"16400", "0", "b", "hstore"},
                                       {"16400", "1", "b", "hstore"},
                                       {"16401", "0", "e", "mood"},
                                       {"16402", "0", "b", "geometry"},
                                       {"16403", "0", "b", "vector"},
                                       {"1184", "1", "b", ""},
                                       {"1186", "0", "b", ""},
                                       {"600", "0", "b", ""},
                                       {"604", "0", "b", ""},
                                       {"17", "0", "b", ""},
                                       {"1562", "0", "b", ""},
                                       {"16404", "2", "b", ""},
                                       {"790", "0", "b", ""}};

static void describe(dbi_relations *relations, dbi_relation *relation, fuzz_input *input) {
    PGresult *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[16] = {{0}};
    static char none[] = "";

    for (int i = 0; i < 16; i++)
        attributes[i].name = none;
    FUZZ_CHECK(answer != NULL && PQsetResultAttrs(answer, 16, attributes));
    for (unsigned row = 0; row < relation->column_count; row++) {
        uint8_t which = fuzz_byte(input);
        const char *const *base = bases[which % (sizeof bases / sizeof bases[0])];
        char type[16], position[16];
        const char *fields[16] = {"1",
                                  relation->nspname,
                                  relation->relname,
                                  "d",
                                  relation->columns[row].name,
                                  type,
                                  "-1",
                                  "f",
                                  "f",
                                  which >= 0xc0 ? position : NULL,
                                  base[0],
                                  "-1",
                                  base[1],
                                  base[2],
                                  base[3],
                                  ","};

        (void)snprintf(type, sizeof type, "%lu", (unsigned long)relation->columns[row].type);
        (void)snprintf(position, sizeof position, "%u", (unsigned)(which & 3));
        for (int i = 0; i < 16; i++)
            FUZZ_CHECK(PQsetvalue(answer, (int)row, i, (char *)(uintptr_t)fields[i],
                                  fields[i] != NULL ? (int)strlen(fields[i]) : -1));
    }
    FUZZ_CHECK(dbi_relations_describe(relations, relation, answer, NULL) == DBI_OK && relation->described);
    FUZZ_CHECK(relation->key_count <= relation->column_count);
    for (unsigned i = 0; i < relation->key_count; i++)
        FUZZ_CHECK(relation->key[i] < relation->column_count && relation->columns[relation->key[i]].in_key);
    PQclear(answer);
}

/* --- the stream --- */

typedef struct fuzz_flow {
    dbi_pgoutput *decoder;
    dbi_relations *relations;
    dbi_envelope *envelope;
    dbi_origin origin;
} fuzz_flow;

static void take_change(fuzz_flow *flow, const dbi_pgoutput_message *message) {
    dbi_relation *relation = dbi_relations_find(flow->relations, message->change.relation);
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    unsigned count = 0;
    dbi_err err = {0};
    dbi_rc rc;

    if (relation == NULL)
        return;
    rc = dbi_envelope_change(flow->envelope, relation, message->kind, &message->change, &flow->origin, sent, &count,
                             &err);
    FUZZ_CHECK(rc == DBI_OK || ((rc == DBI_EINVAL || rc == DBI_ETOOBIG) && err.msg[0] != '\0' && count == 0));
    for (unsigned i = 0; i < count; i++)
        check_message(&sent[i]);
    if (rc == DBI_OK && message->change.new_row != NULL &&
        dbi_envelope_row(flow->envelope, relation, message->change.new_row, message->change.new_count, &flow->origin,
                         sent, &err) == DBI_OK)
        check_message(sent);
}

static void take(fuzz_flow *flow, const dbi_pgoutput_message *message, fuzz_input *input) {
    dbi_envelope_message sent;
    dbi_relation *relation;
    dbi_err err = {0};
    dbi_rc rc;

    switch (message->kind) {
    case DBI_PGOUTPUT_BEGIN:
        flow->origin.hi = message->begin.final_lsn;
        flow->origin.commit_us = message->begin.commit_us;
        flow->origin.xid = message->xid;
        return;
    case DBI_PGOUTPUT_RELATION:
        rc = dbi_relations_put(flow->relations, &message->relation, &relation, &err);
        FUZZ_CHECK(rc == DBI_OK || (rc == DBI_EINVAL && err.msg[0] != '\0'));
        if (rc == DBI_OK && fuzz_byte(input) != 0)
            describe(flow->relations, relation, input);
        return;
    case DBI_PGOUTPUT_INSERT:
    case DBI_PGOUTPUT_UPDATE:
    case DBI_PGOUTPUT_DELETE:
        take_change(flow, message);
        return;
    case DBI_PGOUTPUT_TRUNCATE:
        for (unsigned i = 0; i < message->truncate.count; i++) {
            relation = dbi_relations_find(flow->relations, message->truncate.relations[i]);
            if (relation == NULL)
                continue;
            FUZZ_CHECK(dbi_envelope_truncate(flow->envelope, relation, &flow->origin, &sent, &err) == DBI_OK);
            check_message(&sent);
        }
        return;
    case DBI_PGOUTPUT_MESSAGE:
        rc = dbi_envelope_logical(flow->envelope, message->message.prefix, message->message.content,
                                  message->message.length, &flow->origin, &sent, &err);
        FUZZ_CHECK(rc == DBI_OK || rc == DBI_EINVAL);
        if (rc == DBI_OK)
            check_message(&sent);
        return;
    default:
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const dbi_envelope_options options = {
        .name = "fuzz", .database = "fuzz", .version = "dbint", .value_max = 1 << 20};
    fuzz_input input = {.data = data, .left = size};
    fuzz_flow flow = {.origin.captured_us = 1};
    dbi_err err = {0};

    FUZZ_CHECK(dbi_pgoutput_new(&flow.decoder, &err) == DBI_OK && dbi_relations_new(&flow.relations, &err) == DBI_OK &&
               dbi_envelope_new(&flow.envelope, &options, &err) == DBI_OK);
    while (input.left > 0) {
        size_t wanted = (size_t)fuzz_number(&input, 2), length = 0;
        const uint8_t *bytes = fuzz_bytes(&input, wanted, &length);
        uint8_t *exact = malloc(length != 0 ? length : 1); /* so that a sanitizer sees each byte too far */
        dbi_pgoutput_message message;
        dbi_rc rc;

        FUZZ_CHECK(exact != NULL);
        if (length > 0)
            memcpy(exact, bytes, length);
        flow.origin.lo++;
        rc = dbi_pgoutput_read(flow.decoder, exact, length, &message, &err);
        FUZZ_CHECK(rc == DBI_OK || (rc == DBI_ECORRUPT && err.msg[0] != '\0'));
        if (rc == DBI_OK)
            take(&flow, &message, &input);
        free(exact);
    }
    dbi_envelope_free(flow.envelope);
    dbi_pgoutput_free(flow.decoder);
    dbi_relations_free(flow.relations);
    return 0;
}

/* --- examples: a table of some types and changes of it --- */

typedef struct example_wire {
    uint8_t *out;
    size_t length;
} example_wire;

static void put_number(example_wire *wire, uint64_t number, unsigned bytes) {
    while (bytes-- > 0)
        wire->out[wire->length++] = (uint8_t)(number >> 8 * bytes);
}

static void put_text(example_wire *wire, const char *text) {
    memcpy(wire->out + wire->length, text, strlen(text));
    wire->length += strlen(text);
}

static void put_end(example_wire *wire, size_t begin) {
    size_t length = wire->length - begin - 2;

    wire->out[begin] = (uint8_t)(length >> 8);
    wire->out[begin + 1] = (uint8_t)length;
}

static size_t put_begin(example_wire *wire, char kind) {
    size_t begin = wire->length;

    put_number(wire, 0, 2);
    put_number(wire, (uint64_t)kind, 1);
    return begin;
}

static void put_cell(example_wire *wire, const char *text) {
    put_number(wire, text == NULL ? 'n' : 't', 1);
    if (text != NULL) {
        put_number(wire, strlen(text), 4);
        put_text(wire, text);
    }
}

static const struct {
    uint32_t type;
    uint8_t described; /* as `bases` */
    const char *text;
} columns[] = {
    {23, 0xc0, "-17"},
    {25, 0x40, "text \"quoted\" \xc3\xa4\n"},
    {16, 0x40, "t"},
    {701, 0x40, "1.5e-07"},
    {1700, 0x40, "-12.50"},
    {790, 0x40, "-$1,234.50"},
    {17, 0x40, "\\x00ff10"},
    {1082, 0x40, "0044-03-15 BC"},
    {1083, 0x40, "12:34:56.5"},
    {1266, 0x40, "12:34:56.789+05:30"},
    {1114, 0x40, "2026-11-22 12:34:56.789"},
    {1184, 0x40, "2026-11-22 12:34:56.789+00"},
    {1186, 0x40, "1 year -2 mons 3 days -04:05:06.789"},
    {1560, 0x40, "10101"},
    {600, 0x40, "(1.5,-2)"},
    {628, 0x40, "{1,2,3}"},
    {718, 0x40, "<(1,2),3>"},
    {601, 0x40, "[(1,2),(3,4)]"},
    {603, 0x40, "(3,4),(1,2)"},
    {602, 0x40, "((1,2),(3,4))"},
    {604, 0x40, "((1,2),(3,4),(5,0))"},
    {16400, 0x43, "\"a\"=>\"1\", \"b\\\"\"=>NULL"},
    {16410, 0x44, "{\"\\\"a\\\"=>\\\"1\\\"\",NULL}"},
    {16401, 0x45, "happy"},
    {16402, 0x46, "0101000020E6100000000000000000F03F0000000000000040"},
    {16403, 0x47, "[1,2.5,-3e-05]"},
    {1007, 0x40, "[0:1][1:2]={{1,NULL},{3,4}}"},
    {1009, 0x41, "{a,NULL,\"b, c\",\"q \\\" \\\\\"}"},
    {16404, 0x4e, "whatever"},
};
#define COLUMNS (sizeof columns / sizeof columns[0])

static void put_row(example_wire *wire, char kind, size_t first, size_t count) {
    put_number(wire, (uint64_t)kind, 1);
    put_number(wire, count, 2);
    for (size_t i = 0; i < count; i++)
        put_cell(wire, columns[first + i].text);
}

/* Each example has the types from `first` on. */
size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    size_t first = nth, count = COLUMNS - first < 6 ? COLUMNS - first : 6, begin;
    example_wire wire = {.out = out};

    if (nth >= COLUMNS || capacity < 4096)
        return 0;
    begin = put_begin(&wire, 'B');
    put_number(&wire, 77, 8);
    put_number(&wire, 5, 8);
    put_number(&wire, 742, 4);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'R');
    put_number(&wire, 1, 4);
    put_text(&wire, "public");
    put_number(&wire, 0, 1);
    put_text(&wire, "t\"");
    put_number(&wire, 0, 1);
    put_number(&wire, 'd', 1);
    put_number(&wire, count, 2);
    for (size_t i = 0; i < count; i++) {
        put_number(&wire, i == 0, 1);
        put_number(&wire, 'a' + i, 1);
        put_number(&wire, 0, 1);
        put_number(&wire, columns[first + i].type, 4);
        put_number(&wire, UINT32_MAX, 4);
    }
    put_end(&wire, begin);
    put_number(&wire, 1, 1); /* described */
    for (size_t i = 0; i < count; i++)
        put_number(&wire, columns[first + i].described, 1);
    begin = put_begin(&wire, 'I');
    put_number(&wire, 1, 4);
    put_row(&wire, 'N', first, count);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'U');
    put_number(&wire, 1, 4);
    put_row(&wire, nth % 2 == 0 ? 'K' : 'O', first, count);
    put_number(&wire, 'N', 1);
    put_number(&wire, count, 2);
    for (size_t i = 0; i < count; i++)
        put_number(&wire, i % 2 == 0 ? 'u' : 'n', 1);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'D');
    put_number(&wire, 1, 4);
    put_row(&wire, 'K', first, count);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'T');
    put_number(&wire, 1, 4);
    put_number(&wire, 0, 1);
    put_number(&wire, 1, 4);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'M');
    put_number(&wire, 1, 1);
    put_number(&wire, 9, 8);
    put_text(&wire, "prefix");
    put_number(&wire, 0, 1);
    put_number(&wire, 3, 4);
    put_text(&wire, "abc");
    put_end(&wire, begin);
    begin = put_begin(&wire, 'S');
    put_number(&wire, 800, 4);
    put_number(&wire, 1, 1);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'I');
    put_number(&wire, 801, 4);
    put_number(&wire, 1, 4);
    put_row(&wire, 'N', first, count);
    put_end(&wire, begin);
    begin = put_begin(&wire, 'E');
    put_end(&wire, begin);
    begin = put_begin(&wire, 'c');
    put_number(&wire, 800, 4);
    put_number(&wire, 0, 1);
    put_number(&wire, 1, 8);
    put_number(&wire, 2, 8);
    put_number(&wire, 3, 8);
    put_end(&wire, begin);
    return wire.length;
}
