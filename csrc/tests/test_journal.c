/* test_journal.c - the journal as its users see it: what was appended is read, until it has landed and is retired */
#include "journal.h"

#include <sys/vfs.h>

#include "crc32c.h"
#include "journal_test.h"

/* --- the format --- */

/* A segment with two records and a void, byte for byte: made by hand from the text in journal.h, CRCs by another
 * implementation of CRC32C (RFC 3720's). */
TEST(golden_bytes) {
    static const uint64_t salt = UINT64_C(0x1122334455667788);
    static const uint64_t packed = UINT64_C(0xF024000000000003);
    uint8_t record[40] = {0}, blank[24] = {0};

    memcpy(record + 16, "hello", 5);
    dbi__record_seal(record, dbi_crc32c(0, "hello", 5), 5, DBI_RECORD_ROW, salt, UINT64_C(0x500000003));
    CHECK(memcmp(record, "\x05\0\0\0" "\x64\x58\x75\xf8" "\3\0\0\0" "\1\0\0\0" "hello", 21) == 0);
    CHECK(dbi__number_pack(salt, DBI__AT_FIRST, 3) == packed);
    CHECK_INT(dbi__number_unpack(salt, DBI__AT_FIRST, packed), 3);
    CHECK_INT(dbi__number_unpack(salt, DBI__AT_FIRST, packed ^ 1), 0);
    CHECK_INT(dbi__number_unpack(salt, DBI__AT_LANDED, packed), 0);
    CHECK_INT(dbi__void_format(blank, 64, salt, 7, 9), 24);
    CHECK(memcmp(blank, "\x30\0\0\0" "\x52\x2b\x44\xa1" "\7\0\0\0" "\0\0\0\0" "\x9\0\0\0\0\0\0\0", 24) == 0);
}

TEST(a_header_is_read_as_it_was_written) {
    dbi__header header = {.number = 7, .size = 65536, .salt = 99, .made_us = 1234567, .records_at = 4096, .lane = 3,
                          .meta_length = 5, .durability = DBI_DURABILITY_SYNC, .name = "s.t", .first = 41,
                          .published = 5000, .synced = 4096};
    uint8_t bytes[600];
    dbi__header found;

    header.state = (dbi__state){.base = 1, .unmet = 2, .missing_from = 3, .missing_to = 4, .landed = 5, .mark = 6};
    memset(header.state.target, 0xAB, 16);
    header.state.counters[DBI_CHAIN_DEAD] = 12;
    memset(header.id, 0x5A, 16);
    memset(&found, 0, sizeof found);
    dbi__header_format(&header, "meta!", bytes);
    CHECK_INT(dbi__header_meta(bytes), 5);
    CHECK_INT(dbi__header_parse(bytes, 517, &found, NULL), DBI__HEADER_WHOLE);
    CHECK_INT(found.number, 7);
    CHECK_INT(found.size, 65536);
    CHECK_INT(found.salt, 99);
    CHECK_INT(found.made_us, 1234567);
    CHECK_INT(found.lane, 3);
    CHECK_INT(found.durability, DBI_DURABILITY_SYNC);
    CHECK_STR(found.name, "s.t");
    CHECK_INT(found.first, 41);
    CHECK_INT(found.published, 5000);
    CHECK_INT(found.synced, 4096);
    CHECK(memcmp(&found.state, &header.state, sizeof found.state) == 0);
    CHECK(memcmp(found.id, header.id, 16) == 0);
    CHECK_INT(dbi__header_parse(bytes, 516, &found, NULL), DBI__HEADER_BAD); /* the meta is cut */
    bytes[8] = 2;
    CHECK_INT(dbi__header_parse(bytes, 517, &found, NULL), DBI__HEADER_BAD); /* a damaged 1 */
    dbi__put32le(bytes + DBI__AT_CRC, dbi__header_crc(bytes, 5));
    CHECK_INT(dbi__header_parse(bytes, 517, &found, NULL), DBI__HEADER_NEWER);
}

/* --- appending and reading --- */

TEST(what_was_appended_is_read) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    for (uint64_t i = 1; i <= 2000; i += 50) {
        TRY(append_range(chain, i, i + 49));
        TRY(dbi_journal_tend(journal, NULL, NULL));
    }
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 2000);
    TRY(read_all(chain, 1234, &found));
    CHECK_INT(found.count, 766);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(dbi_chain_last(chain), 2000);
    TRY(append_range(chain, 2001, 3000));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 3000);
    CHECK_INT(found.damages, 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(files_are_private) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    place at;

    place_make(&at);
    (void)umask(0);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append(chain, 1, NULL));
    place_run(&at, "test -z \"$(find . -mindepth 1 -type f ! -perm 600 -o -mindepth 1 -type d ! -perm 700)\"");
    place_run(&at, "test -n \"$(find . -name '*.seg' -perm 600)\"");
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(lanes_and_streams_are_chains_of_their_own) {
    dbi_journal *journal = NULL;
    dbi_chain *chains[3], *again, *listed[8];
    dbi_chain_config configs[3] = {stream, stream, stream};
    dbi_chain_view view;
    reading found;
    place at;

    configs[1].lane = 1;
    configs[2].name = "public.other";
    place_make(&at);
    TRY(small_open(&at, &journal));
    for (size_t i = 0; i < 3; i++) {
        TRY(dbi_journal_chain(journal, &configs[i], &chains[i], NULL));
        TRY(append_range(chains[i], 1, 10 * (i + 1)));
    }
    TRY(dbi_journal_chain(journal, &configs[1], &again, NULL));
    CHECK(again == chains[1]);
    CHECK_INT(dbi_journal_chains(journal, listed, 8), 3);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 3);
    for (size_t i = 0; i < 3; i++) {
        TRY(dbi_journal_chain(journal, &configs[i], &chains[i], NULL));
        dbi_chain_view_get(chains[i], &view);
        CHECK_INT(view.last, 10 * (i + 1));
        CHECK_INT(view.opened, view.last);
        CHECK_INT(view.held, view.last);
        CHECK(view.oldest_wall_us > 0);
        TRY(read_all(chains[i], 0, &found));
        CHECK_INT(found.count, view.last);
    }
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 3);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(records_are_as_large_as_a_segment_lets_them) {
    static char body[65536];
    dbi_records records = {0};
    dbi_record record;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    place at;

    memset(body, 'x', sizeof body);
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(dbi_chain_append(chain, DBI_RECORD_ROW, "", 0, NULL, NULL));
    TRY(dbi_chain_append(chain, DBI_RECORD_KAFKA, body, 65536 - 4096 - 16, NULL, NULL));
    TRY_RC(dbi_chain_append(chain, DBI_RECORD_ROW, body, 65536 - 4096 - 15, NULL, NULL), DBI_ETOOBIG);
    TRY_RC(dbi_chain_append(chain, DBI_RECORD_ROW, body, (size_t)1 << 62, NULL, NULL), DBI_ETOOBIG);
    TRY_RC(dbi_chain_append(chain, 3, body, 1, NULL, NULL), DBI_EINVAL);
    TRY(dbi_chain_read(chain, 0, 1, &records, NULL));
    CHECK(dbi_records_next(&records, &record));
    CHECK_INT(record.length, 0);
    CHECK(!dbi_records_next(&records, &record));
    TRY(dbi_chain_read(chain, 1, 1, &records, NULL)); /* larger than max_bytes: read all the same */
    CHECK(dbi_records_next(&records, &record));
    CHECK_INT(record.length, 65536 - 4096 - 16);
    CHECK_INT(record.kind, DBI_RECORD_KAFKA);
    TRY(dbi_chain_read(chain, 2, 1, &records, NULL));
    CHECK(records.first > records.last);
done:
    dbi_records_free(&records);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(another_meta_begins_another_segment) {
    dbi_chain_config changed = stream;
    dbi_records records = {0};
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL, *same = NULL;
    place at;

    changed.meta = "other columns";
    changed.meta_length = 13;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 5));
    TRY(dbi_journal_chain(journal, &changed, &same, NULL));
    CHECK(same == chain);
    TRY(append_range(chain, 6, 9));
    TRY(dbi_chain_read(chain, 0, 1 << 20, &records, NULL));
    CHECK_INT(records.last, 5);
    CHECK(records.meta_length == 7 && memcmp(records.meta, "columns", 7) == 0);
    TRY(dbi_chain_read(chain, 5, 1 << 20, &records, NULL));
    CHECK_INT(records.last, 9);
    CHECK(records.meta_length == 13 && memcmp(records.meta, "other columns", 13) == 0);
done:
    dbi_records_free(&records);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(memory_is_the_same_without_files) {
    dbi_chain_config config = stream;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_journal_view view;
    uint64_t synced = 0;
    reading found;
    place at;

    config.durability = DBI_DURABILITY_MEMORY;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &config, &chain, NULL));
    TRY(append_range(chain, 1, 1000));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 1000);
    TRY(dbi_chain_sync(chain, &synced, NULL));
    CHECK_INT(synced, 1000);
    CHECK_INT(place_count(&at, "slot-0000/*.seg"), 0);
    dbi_chain_landed(chain, 1000);
    TRY(dbi_journal_tend(journal, NULL, NULL));
    TRY(read_all(chain, 1000, &found)); /* lets go of the segment it was in */
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_journal_view_get(journal, &view);
    CHECK(view.bytes <= 2 * 65536);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- landing, keeping, room --- */

TEST(landed_segments_are_kept_a_while) {
    _Atomic int64_t now = 1;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_journal_config config;
    dbi_chain_view view;
    uint64_t lost = 0;
    reading found;
    place at;

    place_make(&at);
    config = small(&at);
    config.keep_ns = 60 * DBI_NS_PER_S;
    config.keep_bytes = 1 << 20;
    config.clock = (dbi_clock){clock_read, &now};
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 1000));
    TRY(read_all(chain, 0, &found));
    dbi_chain_landed(chain, 900);
    now += 59 * DBI_NS_PER_S;
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_chain_view_get(chain, &view);
    CHECK_INT(view.first, 1);
    CHECK_INT(view.landed, 900);
    CHECK_INT(view.held, 100);
    dbi_chain_rewind(chain, 700, &lost); /* the server lost the last commits: they are still here */
    CHECK_INT(lost, 0);
    TRY(read_all(chain, 700, &found));
    CHECK_INT(found.count, 300);
    CHECK_INT(found.damages, 0);
    dbi_chain_landed(chain, 1000);
    now += 2 * DBI_NS_PER_S;
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_chain_view_get(chain, &view);
    CHECK_WITHIN(view.first, 2, 701); /* what had landed first is gone, the rest waits for its own minute */
    dbi_chain_rewind(chain, 0, &lost);
    CHECK_INT(lost, view.first - 1);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_LOST_BY_SERVER), lost);
    TRY(read_all(chain, 0, &found)); /* what was counted as lost is not counted as damaged, too */
    CHECK_INT(found.count, 1000 - lost);
    CHECK_INT(found.damages, 0);
    dbi_chain_landed(chain, 1000);
    now += 61 * DBI_NS_PER_S;
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_chain_view_get(chain, &view);
    CHECK(view.first > 900); /* the newest segment is never deleted */
    CHECK_WITHIN(view.segments, 1, 2);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* all of the active segment has landed, then more is appended to it */
TEST(a_segment_has_landed_when_it_is_full) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 10));
    dbi_chain_landed(chain, 10);
    TRY(append_range(chain, 11, 300));
    TRY(dbi_journal_tend(journal, NULL, NULL));
    TRY(read_all(chain, 10, &found));
    CHECK_INT(found.count, 290);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(the_cap_holds_and_kept_segments_go_first) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_journal_config config;
    dbi_journal_view view;
    uint64_t number = 0, half, dropped = 0, total = 0;
    bool renewed;
    reading found;
    dbi_err err;
    dbi_rc rc;
    place at;

    place_make(&at);
    config = small(&at);
    config.max_bytes = 256 << 10;
    config.keep_ns = 3600 * DBI_NS_PER_S;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(dbi_chain_met(chain, 0, &renewed, NULL));
    while ((rc = append(chain, number + 1, NULL)) == DBI_OK) {
        number++;
        if (number % 100 == 0) {
            dbi_journal_view_get(journal, &view);
            CHECK(view.bytes <= config.max_bytes);
            TRY(dbi_journal_tend(journal, NULL, NULL));
        }
    }
    TRY_RC(rc, DBI_EFULL);
    CHECK(number > 800);
    dbi_journal_view_get(journal, &view);
    CHECK_WITHIN(view.bytes, 192 << 10, 256 << 10);
    TRY_RC(append(chain, number + 1, &err), DBI_EFULL);
    CHECK_HAS(err.msg, at.path);
    CHECK_HAS(err.msg, " of at most 262144 bytes");
    CHECK_HAS(err.msg, "raise max_bytes (DBINT_JOURNAL_MAX_BYTES), or choose what gives way (when_full)");
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, number);
    half = number / 2;
    TRY(dbi_chain_met(chain, half, &renewed, NULL));
    for (uint64_t to = number + number / 4; number < to; number++) /* kept ones make room, nothing is lost */
        TRY(append(chain, number + 1, NULL));
    while ((rc = append(chain, number + 1, NULL)) == DBI_OK)
        number++;
    TRY_RC(rc, DBI_EFULL);
    TRY_RC(append(chain, number + 1, NULL), DBI_EFULL);
    TRY(dbi_chain_met(chain, half, &renewed, NULL));
    for (unsigned i = 0; i < 3; i++) {
        TRY(dbi_chain_drop_oldest(chain, &dropped, NULL));
        total += dropped;
        CHECK(dropped > 0);
    }
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DROPPED_OLDEST), total);
    TRY(append(chain, ++number, NULL));
    TRY(read_all(chain, half, &found)); /* the gap that dropping left is no damage */
    CHECK_INT(found.damages, 0);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DAMAGED), 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* what the shipper has in its hands is not dropped; the gap behind it is known after a restart, too */
TEST(dropping_spares_what_is_read) {
    dbi_records records = {0}, ahead = {0};
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    uint64_t dropped = 0;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY_RC(dbi_chain_drop_oldest(chain, &dropped, NULL), DBI_EFULL);
    TRY(append_range(chain, 1, 1000));
    TRY(dbi_chain_read(chain, 0, 1000, &records, NULL));
    TRY(dbi_chain_read(chain, 200, 1000, &ahead, NULL)); /* read ahead: another segment, both are on their way */
    TRY(dbi_chain_drop_oldest(chain, &dropped, NULL));
    CHECK(dropped > 0);
    TRY(read_all(chain, 0, &found));
    CHECK(found.count > 210);
    TRY(read_all(chain, ahead.last, &found));
    CHECK(found.count < 1000 - ahead.last);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 1000 - dropped);
    CHECK_INT(found.damages, 0);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DROPPED_OLDEST), dropped);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 1000 - dropped);
    CHECK_INT(found.damages, 0);
done:
    dbi_records_free(&records);
    dbi_records_free(&ahead);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(counters_are_carried_on) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    dbi_chain_count(chain, DBI_CHAIN_DROPPED_FULL, 3); /* before there is a segment in use */
    TRY(append_range(chain, 1, 100));
    dbi_chain_count(chain, DBI_CHAIN_DEAD, 5);
    TRY(append_range(chain, 101, 1000));
    dbi_chain_count(chain, DBI_CHAIN_AMBIGUOUS_RESOLVED, 7);
    dbi_chain_landed(chain, 1000);
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DROPPED_FULL), 3);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DEAD), 5);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_AMBIGUOUS_RESOLVED), 7);
    CHECK_STR(dbi_chain_counter_text(DBI_CHAIN_AMBIGUOUS_RESOLVED), "ambiguous_commits_resolved");
    CHECK_STR(dbi_durability_text(DBI_DURABILITY_INTERVAL), "interval");
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(a_chain_belongs_to_one_database) {
    static const uint8_t one[16] = {1}, other[16] = {2};
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view view;
    dbi_err err;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append(chain, 1, NULL));
    TRY(dbi_chain_bind(chain, one, NULL));
    TRY(dbi_chain_bind(chain, one, NULL));
    CHECK_RC(dbi_chain_bind(chain, other, &err), DBI_EHELD);
    CHECK_HAS(err.msg, "public.events");
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_RC(dbi_chain_bind(chain, other, NULL), DBI_EHELD);
    dbi_chain_view_get(chain, &view);
    CHECK(memcmp(view.target, one, 16) == 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- meeting the ledger --- */

static const char *const copy_out = "cp -a slot-0000 copy", *const copy_back = "rm -rf slot-0000 && mv copy slot-0000";

/* A volume is restored, the application goes on and writes before it has met the ledger, which is ahead: the new
 * records, though their sequences were used before, get an id of their own; the old ones are not shipped again. */
TEST(a_restored_copy_gets_a_chain_of_its_own) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view before, after;
    bool renewed = true;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 500));
    TRY(dbi_chain_met(chain, 0, &renewed, NULL));
    CHECK(!renewed);
    dbi_chain_landed(chain, 450);
    dbi_journal_free(journal);
    journal = NULL;
    place_run(&at, copy_out);
    TRY(small_open(&at, &journal)); /* the other life: 501 to 800 are appended, and land */
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 501, 800));
    TRY(dbi_chain_met(chain, 450, &renewed, NULL));
    CHECK(!renewed);
    dbi_chain_landed(chain, 800);
    dbi_journal_free(journal);
    journal = NULL;
    place_run(&at, copy_back);
    for (uint64_t from = 501; from < 1000; from += 250) { /* two processes, none of which reaches the server */
        TRY(small_open(&at, &journal));
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
        CHECK_INT(dbi_chain_last(chain), from - 1);
        TRY(append_range(chain, from, from + 249));
        dbi_journal_free(journal);
        journal = NULL;
    }
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1001, 1010));
    dbi_chain_view_get(chain, &before);
    TRY(dbi_chain_met(chain, 800, &renewed, NULL));
    CHECK(renewed);
    dbi_chain_view_get(chain, &after);
    CHECK(memcmp(before.id, after.id, 16) != 0);
    CHECK_INT(after.held, 510);
    TRY(dbi_chain_met(chain, 0, &renewed, NULL)); /* the new id is not in the ledger yet */
    CHECK(!renewed);
    TRY(append_range(chain, 1011, 1020));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 520); /* 501 to 1020 */
    CHECK_INT(found.damages, 0);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 1);
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    dbi_chain_view_get(chain, &before);
    CHECK(memcmp(before.id, after.id, 16) == 0);
    TRY(dbi_chain_met(chain, 700, &renewed, NULL));
    CHECK(!renewed);
    TRY(read_all(chain, 700, &found));
    CHECK_INT(found.count, 320);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* killed after COMMIT and before it was noted: the ledger is ahead of `landed`, and that is no restored copy */
TEST(a_ledger_ahead_of_landed_is_usual) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view view;
    bool renewed = true;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 400));
    TRY(dbi_chain_met(chain, 0, &renewed, NULL));
    CHECK(!renewed);
    TRY(append_range(chain, 401, 500));
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 501, 510));
    TRY(dbi_chain_met(chain, 500, &renewed, NULL));
    CHECK(!renewed);
    dbi_chain_view_get(chain, &view);
    CHECK_INT(view.landed, 500);
    CHECK_INT(view.held, 10);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* two histories at the same time: the ledger passed what this one has ever sent */
TEST(a_ledger_ahead_of_what_was_sent_renews) {
    dbi_records records = {0};
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    bool renewed = true;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 500));
    TRY(dbi_chain_met(chain, 0, &renewed, NULL));
    TRY(dbi_chain_read(chain, 0, 2000, &records, NULL));
    TRY(dbi_chain_met(chain, records.last, &renewed, NULL)); /* sent, and its answer lost */
    CHECK(!renewed);
    TRY(dbi_chain_met(chain, records.last + 1, &renewed, NULL));
    CHECK(renewed);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 500 - records.last);
    CHECK_INT(found.last, 500);
done:
    dbi_records_free(&records);
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- what cannot work is said --- */

TEST(settings_that_cannot_work) {
    dbi_journal_config config, good;
    dbi_journal *journal = NULL;
    dbi_chain_config odd = stream;
    dbi_chain *chain;
    dbi_err err;
    char name[200];
    place at;

    place_make(&at);
    good = config = small(&at);
    config.directory = "";
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    config = good;
    config.segment_min = 4096;
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    config = good;
    config.segment_max = config.segment_min - 1;
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    config = good;
    config.max_bytes = 16384 * 3;
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "max_bytes");
    config = good;
    config.keep_ns = -1;
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    config = good;
    config.directory = "/proc/version/journal";
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "/proc/version/journal");
    TRY(dbi_journal_open(&journal, &good, &err));
    odd.name = "";
    TRY_RC(dbi_journal_chain(journal, &odd, &chain, &err), DBI_EINVAL);
    memset(name, 'n', sizeof name);
    name[128] = '\0';
    odd.name = name;
    TRY_RC(dbi_journal_chain(journal, &odd, &chain, &err), DBI_EINVAL);
    name[127] = '\0';
    TRY(dbi_journal_chain(journal, &odd, &chain, &err));
    odd.meta_length = DBI_CHAIN_META_MAX + 1;
    TRY_RC(dbi_journal_chain(journal, &odd, &chain, &err), DBI_ETOOBIG);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(a_directory_that_others_can_write_to_is_refused) {
    dbi_journal *journal = NULL;
    dbi_journal_config config;
    dbi_err err;
    place at;

    place_make(&at);
    config = small(&at);
    CHECK_INT(chmod(at.path, 0770), 0);
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "chmod");
    CHECK_INT(chmod(at.path, 0700), 0);
    place_run(&at, "mkdir -m 777 slot-0000");
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "slot-0000");
    place_run(&at, "rmdir slot-0000 && ln -s /var/tmp slot-0000");
    TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ESYS);
    place_run(&at, "rm slot-0000");
    if (geteuid() == 0) {
        CHECK_INT(chown(at.path, 12345, 12345), 0);
        TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
        CHECK_HAS(err.msg, "12345");
        CHECK_INT(chown(at.path, 0, 0), 0);
    }
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

static uint32_t pretended;

static int pretended_filesystem(int fd, struct statfs *found) {
    (void)fd;
    memset(found, 0, sizeof *found);
    found->f_type = (__typeof__(found->f_type))pretended;
    return 0;
}

TEST(file_systems_are_looked_at) {
    static const uint32_t refused[] = {0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x65735546, 0x01021997};
    static const uint32_t warned[] = {0x01021994, 0x794C7630};
    dbi_journal *journal = NULL;
    dbi_journal_config config;
    dbi_journal_view view;
    dbi_err err;
    place at;

    place_make(&at);
    config = small(&at);
    dbi__journal_os_calls.filesystem = pretended_filesystem;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        pretended = refused[i];
        TRY_RC(dbi_journal_open(&journal, &config, &err), DBI_ECONFIG);
        CHECK_HAS(err.msg, "network");
    }
    for (size_t i = 0; i < sizeof warned / sizeof warned[0]; i++) {
        pretended = warned[i];
        TRY(dbi_journal_open(&journal, &config, &err));
        dbi_journal_view_get(journal, &view);
        CHECK_HAS(view.warning, "do not survive");
        dbi_journal_free(journal);
        journal = NULL;
    }
    pretended = 0xEF53; /* ext4 */
    TRY(dbi_journal_open(&journal, &config, &err));
    dbi_journal_view_get(journal, &view);
    CHECK_STR(view.warning, "");
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST_MAIN()
