/* test_pgoutput.c - messages of pgoutput: whole ones, cut ones, ones that cannot be */
#include "cdc/pgoutput.h"

#include "cdc_test.h"

#define US_2000 INT64_C(946684800000000)

static void put_begin(pg_wire *wire) {
    wire_byte(wire, 'B');
    wire_64(wire, 0x100000002);
    wire_64(wire, 5);
    wire_32(wire, 742);
}

static void put_commit(pg_wire *wire) {
    wire_byte(wire, 'C');
    wire_byte(wire, 0);
    wire_64(wire, 0x100000002);
    wire_64(wire, 0x100000032);
    wire_64(wire, 5);
}

static void put_relation(pg_wire *wire, uint32_t xid) {
    wire_byte(wire, 'R');
    if (xid != 0)
        wire_32(wire, xid);
    wire_32(wire, 16400);
    wire_string(wire, "public");
    wire_string(wire, "t");
    wire_byte(wire, 'd');
    wire_16(wire, 2);
    wire_byte(wire, 1);
    wire_string(wire, "id");
    wire_32(wire, 23);
    wire_32(wire, UINT32_MAX);
    wire_byte(wire, 0);
    wire_string(wire, "name");
    wire_32(wire, 1043);
    wire_32(wire, 24);
}

static void put_row(pg_wire *wire, char kind, const char *id, const char *name) {
    wire_byte(wire, (uint8_t)kind);
    wire_16(wire, 2);
    wire_cell(wire, id);
    wire_cell(wire, name);
}

static void put_insert(pg_wire *wire, uint32_t xid) {
    wire_byte(wire, 'I');
    if (xid != 0)
        wire_32(wire, xid);
    wire_32(wire, 16400);
    put_row(wire, 'N', "1", NULL);
}

static void put_update(pg_wire *wire, char old) {
    wire_byte(wire, 'U');
    wire_32(wire, 16400);
    if (old != '\0')
        put_row(wire, old, "1", NULL);
    put_row(wire, 'N', "2", "\1");
}

static void put_delete(pg_wire *wire) {
    wire_byte(wire, 'D');
    wire_32(wire, 16400);
    put_row(wire, 'O', "1", "");
}

static void put_truncate(pg_wire *wire) {
    wire_byte(wire, 'T');
    wire_32(wire, 2);
    wire_byte(wire, 3);
    wire_32(wire, 16400);
    wire_32(wire, 16500);
}

static void put_message(pg_wire *wire) {
    wire_byte(wire, 'M');
    wire_byte(wire, 1);
    wire_64(wire, 77);
    wire_string(wire, "prefix");
    wire_32(wire, 3);
    wire_text(wire, "abc");
}

static void put_type(pg_wire *wire) {
    wire_byte(wire, 'Y');
    wire_32(wire, 16390);
    wire_string(wire, "");
    wire_string(wire, "mood");
}

static void put_origin(pg_wire *wire) {
    wire_byte(wire, 'O');
    wire_64(wire, 9);
    wire_string(wire, "elsewhere");
}

static void put_stream_start(pg_wire *wire) {
    wire_byte(wire, 'S');
    wire_32(wire, 800);
    wire_byte(wire, 1);
}

static void put_stream_commit(pg_wire *wire) {
    wire_byte(wire, 'c');
    wire_32(wire, 800);
    wire_byte(wire, 0);
    wire_64(wire, 10);
    wire_64(wire, 20);
    wire_64(wire, 30);
}

static void put_stream_abort(pg_wire *wire) {
    wire_byte(wire, 'A');
    wire_32(wire, 800);
    wire_32(wire, 801);
}

static void put_update_with_key(pg_wire *wire) {
    put_update(wire, 'K');
}

static void put_insert_alone(pg_wire *wire) {
    put_insert(wire, 0);
}

static void put_relation_alone(pg_wire *wire) {
    put_relation(wire, 0);
}

static void (*const messages[])(pg_wire *) = {
    put_begin,   put_commit, put_relation_alone, put_insert_alone, put_update_with_key, put_delete,      put_truncate,
    put_message, put_type,   put_origin,         put_stream_start, put_stream_commit,   put_stream_abort};

/* Reads a message out of memory of exactly its length, so that a sanitizer sees each byte too far. */
static dbi_rc read_exactly(dbi_pgoutput *decoder, const uint8_t *bytes, size_t length, dbi_pgoutput_message *message,
                           dbi_err *err) {
    uint8_t *copy = malloc(length != 0 ? length : 1);
    dbi_rc rc;

    CHECK(copy != NULL);
    memcpy(copy, bytes, length);
    rc = dbi_pgoutput_read(decoder, copy, length, message, err);
    free(copy);
    return rc;
}

TEST(pgoutput_reads_a_transaction) {
    dbi_pgoutput *decoder = NULL;
    dbi_pgoutput_message message;
    dbi_err err = {0};
    pg_wire wire = {.length = 0};

    TRY(dbi_pgoutput_new(&decoder, &err));
    put_begin(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.kind, DBI_PGOUTPUT_BEGIN);
    CHECK_INT(message.begin.final_lsn, 0x100000002);
    CHECK_INT(message.begin.commit_us, US_2000 + 5);
    CHECK_INT(message.xid, 742);
    wire.length = 0;
    put_relation(&wire, 0);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.relation.oid, 16400);
    CHECK_STR(message.relation.nspname, "public");
    CHECK_STR(message.relation.relname, "t");
    CHECK_INT(message.relation.identity, 'd');
    CHECK_INT(message.relation.column_count, 2);
    CHECK(message.relation.columns[0].in_identity && !message.relation.columns[1].in_identity);
    CHECK_STR(message.relation.columns[1].name, "name");
    CHECK_INT(message.relation.columns[1].type, 1043);
    CHECK_INT(message.relation.columns[0].typmod, -1);
    CHECK_INT(message.relation.columns[1].typmod, 24);
    wire.length = 0;
    put_update(&wire, 'K');
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 0);
    CHECK_INT(message.change.relation, 16400);
    CHECK_INT(message.change.has_old, DBI_OLD_KEY);
    CHECK_INT(message.change.old_count, 2);
    CHECK_INT(message.change.old_row[0].length, 1);
    CHECK(message.change.old_row[0].bytes > wire.bytes && message.change.old_row[0].bytes < wire.bytes + wire.length);
    CHECK_INT(message.change.old_row[1].kind, DBI_CELL_NULL);
    CHECK_INT(message.change.new_row[0].bytes[0], '2');
    CHECK_INT(message.change.new_row[1].kind, DBI_CELL_UNCHANGED);
    wire.length = 0;
    put_delete(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.change.has_old, DBI_OLD_FULL);
    CHECK(message.change.new_row == NULL);
    CHECK_INT(message.change.old_row[1].kind, DBI_CELL_TEXT);
    CHECK_INT(message.change.old_row[1].length, 0);
    wire.length = 0;
    put_truncate(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK(message.truncate.cascade && message.truncate.restart_identity);
    CHECK_INT(message.truncate.count, 2);
    CHECK_INT(message.truncate.relations[1], 16500);
    wire.length = 0;
    put_message(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK(message.message.transactional);
    CHECK_STR(message.message.prefix, "prefix");
    CHECK_INT(message.message.length, 3);
    wire.length = 0;
    put_type(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_STR(message.type.nspname, "pg_catalog");
    CHECK_STR(message.type.typname, "mood");
    wire.length = 0;
    put_origin(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_STR(message.origin.name, "elsewhere");
    wire.length = 0;
    put_commit(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.commit.end_lsn, 0x100000032);
    CHECK_INT(message.commit.commit_us, US_2000 + 5);
done:
    dbi_pgoutput_free(decoder);
}

TEST(pgoutput_follows_streams) {
    dbi_pgoutput *decoder = NULL;
    dbi_pgoutput_message message;
    dbi_err err = {0};
    pg_wire wire = {.length = 0};
    static const uint8_t stop[] = {'E'};

    TRY(dbi_pgoutput_new(&decoder, &err));
    put_stream_start(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 800);
    CHECK(message.stream_start.first);
    wire.length = 0;
    put_relation(&wire, 801);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 801);
    CHECK_STR(message.relation.relname, "t");
    wire.length = 0;
    put_insert(&wire, 801);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 801);
    CHECK_INT(message.change.relation, 16400);
    TRY(dbi_pgoutput_read(decoder, stop, sizeof stop, &message, &err));
    /* Bytes that were put aside. */
    TRY_RC(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err), DBI_ECORRUPT);
    dbi_pgoutput_streamed(decoder, true);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 801);
    dbi_pgoutput_streamed(decoder, false);
    wire.length = 0;
    put_stream_abort(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 800);
    CHECK_INT(message.stream_abort.subxid, 801);
    wire.length = 0;
    put_stream_commit(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 800);
    CHECK_INT(message.commit.lsn, 10);
    CHECK_INT(message.commit.end_lsn, 20);
    CHECK_INT(message.commit.commit_us, US_2000 + 30);
    wire.length = 0;
    put_stream_start(&wire);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    dbi_pgoutput_reset(decoder); /* a new session */
    wire.length = 0;
    put_insert(&wire, 0);
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.xid, 0);
done:
    dbi_pgoutput_free(decoder);
}

TEST(pgoutput_refuses_each_cut_message) {
    dbi_pgoutput *decoder = NULL;
    dbi_pgoutput_message message;
    dbi_err err = {0};

    TRY(dbi_pgoutput_new(&decoder, &err));
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        pg_wire wire = {.length = 0};

        messages[i](&wire);
        for (size_t length = 0; length < wire.length; length++) {
            dbi_pgoutput_reset(decoder);
            TRY_RC(read_exactly(decoder, wire.bytes, length, &message, &err), DBI_ECORRUPT);
            CHECK(length == 0 || strstr(err.msg, " at byte ") != NULL);
        }
        dbi_pgoutput_reset(decoder);
        TRY(read_exactly(decoder, wire.bytes, wire.length, &message, &err));
        dbi_pgoutput_reset(decoder);
        wire_byte(&wire, 0);
        TRY_RC(read_exactly(decoder, wire.bytes, wire.length, &message, &err), DBI_ECORRUPT);
        CHECK_HAS(err.msg, "more than the message has");
    }
done:
    dbi_pgoutput_free(decoder);
}

/* One byte (or number) of a message changed, and what is said of it. */
static void check_refused(dbi_pgoutput *decoder, const pg_wire *wire, const char *said) {
    dbi_pgoutput_message message;
    dbi_err err = {0};
    dbi_rc rc = dbi_pgoutput_read(decoder, wire->bytes, wire->length, &message, &err);

    if (rc == DBI_ENOMEM && test_injected())
        return;
    CHECK_INT(rc, DBI_ECORRUPT);
    CHECK_HAS(err.msg, said);
}

TEST(pgoutput_refuses_what_cannot_be) {
    dbi_pgoutput *decoder = NULL;
    dbi_err err = {0};
    pg_wire wire = {.length = 0};

    TRY(dbi_pgoutput_new(&decoder, &err));
    wire_text(&wire, "b two-phase");
    check_refused(decoder, &wire, "kind 'b' (11 bytes): no kind that protocol version 2");
    wire.bytes[0] = 0xff;
    check_refused(decoder, &wire, "kind '?'");
    wire.length = 0;
    put_commit(&wire);
    wire.bytes[1] = 1;
    check_refused(decoder, &wire, "unknown flags at byte 2");
    wire.length = 0;
    put_insert(&wire, 0);
    wire.bytes[5] = 'K';
    check_refused(decoder, &wire, "a row of another kind");
    wire.length = 0;
    put_insert(&wire, 0);
    wire.bytes[6] = 0xff;
    check_refused(decoder, &wire, "more columns than a table can have");
    wire.length = 0;
    put_insert(&wire, 0);
    wire.bytes[8] = 'b';
    check_refused(decoder, &wire, "a binary value, which was not asked for");
    wire.bytes[8] = 'x';
    check_refused(decoder, &wire, "a value of no known kind");
    wire.bytes[8] = 't';
    wire.bytes[9] = 0xff; /* of the length */
    check_refused(decoder, &wire, "a value is longer than the message");
    wire.length = 0;
    put_delete(&wire);
    wire.bytes[5] = 'N';
    check_refused(decoder, &wire, "a row of another kind");
    wire.length = 0;
    put_truncate(&wire);
    wire.bytes[1] = 0xff;
    check_refused(decoder, &wire, "relations are missing");
    wire.length = 0;
    put_message(&wire);
    wire.bytes[wire.length - 7] = 0x7f;
    check_refused(decoder, &wire, "the content is cut short");
    wire.length = 0;
    put_begin(&wire);
    memset(wire.bytes + 9, 0xff, 8);
    wire.bytes[9] = 0x7f;
    check_refused(decoder, &wire, "a time past the end of time");
done:
    dbi_pgoutput_free(decoder);
}

TEST(pgoutput_reads_a_table_of_all_columns) {
    dbi_pgoutput *decoder = NULL;
    dbi_pgoutput_message message;
    dbi_err err = {0};
    pg_wire wire = {.length = 0};

    TRY(dbi_pgoutput_new(&decoder, &err));
    wire_byte(&wire, 'I');
    wire_32(&wire, 1);
    wire_byte(&wire, 'N');
    wire_16(&wire, DBI_RELATION_COLUMNS_MAX);
    for (unsigned i = 0; i < DBI_RELATION_COLUMNS_MAX; i++)
        wire_byte(&wire, i % 2 == 0 ? 'n' : 'u');
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK_INT(message.change.new_count, DBI_RELATION_COLUMNS_MAX);
    CHECK_INT(message.change.new_row[DBI_RELATION_COLUMNS_MAX - 1].kind, DBI_CELL_UNCHANGED);
    wire.length = 6;
    wire_16(&wire, 0); /* a table without columns */
    TRY(dbi_pgoutput_read(decoder, wire.bytes, wire.length, &message, &err));
    CHECK(message.change.new_row != NULL);
    CHECK_INT(message.change.new_count, 0);
done:
    dbi_pgoutput_free(decoder);
}

TEST_MAIN()
