/* test_replication.c - the bytes of the replication stream, and the spool of transactions that are streamed */
#include "cdc/replication.h"

#include <dirent.h>

#include "cdc/spool.h"
#include "test.h"

/* --- frames --- */

TEST(replication_frames_are_read) {
    /* 'w', start 16/B374D848, end 16/B374D900, a time, then the message */
    static const uint8_t change[] = "w\0\0\0\x16\xB3\x74\xD8\x48\0\0\0\x16\xB3\x74\xD9\0\0\1\2\3\4\5\6\7Bxy";
    static const uint8_t keepalive[] = "k\0\0\0\x16\xB3\x74\xD9\0\0\1\2\3\4\5\6\7\1";
    char text[DBI_LSN_SIZE];
    dbi_frame frame;
    dbi_err err;

    CHECK_RC(dbi_frame_read(change, sizeof change - 1, &frame, &err), DBI_OK);
    CHECK_INT(frame.kind, DBI_FRAME_CHANGE);
    CHECK_STR(dbi_lsn_text(frame.start, text), "16/B374D848");
    CHECK_STR(dbi_lsn_text(frame.end, text), "16/B374D900");
    CHECK_INT(frame.length, 3);
    CHECK(memcmp(frame.bytes, "Bxy", 3) == 0);
    CHECK_RC(dbi_frame_read(keepalive, sizeof keepalive - 1, &frame, &err), DBI_OK);
    CHECK_INT(frame.kind, DBI_FRAME_KEEPALIVE);
    CHECK_STR(dbi_lsn_text(frame.end, text), "16/B374D900");
    CHECK(frame.reply);

    /* cut short, too long, of another kind, empty */
    for (size_t length = 0; length < 25; length++)
        CHECK_RC(dbi_frame_read(change, length, &frame, &err), DBI_ECORRUPT);
    for (size_t length = 0; length < 18; length++)
        CHECK_RC(dbi_frame_read(keepalive, length, &frame, &err), DBI_ECORRUPT);
    CHECK_RC(dbi_frame_read(keepalive, sizeof keepalive, &frame, &err), DBI_ECORRUPT);
    CHECK_RC(dbi_frame_read((const uint8_t *)"x1234567890123456789012345", 26, &frame, &err), DBI_ECORRUPT);
    CHECK_HAS(err.msg, "0x78");
}

TEST(replication_feedback_is_written) {
    static const uint8_t wanted[] = "r\0\0\0\x16\xB3\x74\xD9\0\0\0\0\x16\xB3\x74\xD8\x48\0\0\0\x16\xB3\x74\xD8\x48"
                                    "\0\0\0\0\0\0\0\x2A\0";
    uint8_t bytes[DBI_FEEDBACK_SIZE];

    CHECK_INT(sizeof wanted - 1, DBI_FEEDBACK_SIZE);
    dbi_feedback_write(bytes, UINT64_C(0x16B374D900), UINT64_C(0x16B374D848), INT64_C(946684800000042));
    CHECK(memcmp(bytes, wanted, sizeof bytes) == 0);
}

/* --- conninfo --- */

static const char *option(const PQconninfoOption *options, const char *keyword) {
    while (strcmp(options->keyword, keyword) != 0)
        options++;
    return options->val;
}

TEST(replication_conninfo_keeps_what_was_given) {
    PQconninfoOption *options = NULL;
    char *made = NULL;
    dbi_err err;

    TRY(dbi_replication_conninfo("postgresql://me:it%27s%5C@db:5433/shop?options=-c%20geqo%3Doff&replication=true",
                                 true, &made, &err));
    options = PQconninfoParse(made, NULL);
    CHECK(options != NULL);
    CHECK_STR(option(options, "user"), "me");
    CHECK_STR(option(options, "password"), "it's\\");
    CHECK_STR(option(options, "port"), "5433");
    CHECK_STR(option(options, "dbname"), "shop");
    CHECK_STR(option(options, "replication"), "database");
    CHECK_HAS(option(options, "options"), "-c geqo=off -c ");
    CHECK_HAS(option(options, "options"), "-c TimeZone=UTC");
    dbi_free(made);
    PQconninfoFree(options);
    options = NULL;

    TRY(dbi_replication_conninfo("dbname=shop", false, &made, &err));
    options = PQconninfoParse(made, NULL);
    CHECK(options != NULL);
    CHECK(option(options, "replication") == NULL);
    CHECK_HAS(option(options, "options"), "-c TimeZone=UTC");
    dbi_free(made);

    TRY_RC(dbi_replication_conninfo("password = secret nonsense", true, &made, &err), DBI_ECONFIG);
    CHECK(strstr(err.msg, "secret") == NULL);
done:
    PQconninfoFree(options);
    if (test_injected())
        dbi_free(made);
}

/* --- the spool --- */

static char directory[] = "/tmp/dbint-test-spool-XXXXXX";

/* Record `n` of transaction `xid`: of another length each, with bytes that say where they belong. */
static size_t record(uint32_t xid, unsigned n, uint8_t bytes[4096]) {
    size_t length = (n * 37u + xid) % 4000;

    memset(bytes, (int)((n + xid) & 0xFF), length);
    return length;
}

static void check_records(dbi_spool *spool, uint32_t xid, unsigned count) {
    uint8_t wanted[4096];
    const uint8_t *bytes;
    uint64_t position;
    size_t length;

    dbi_spool_rewind(spool, xid);
    for (unsigned n = 0; n < count; n++) {
        CHECK_RC(dbi_spool_next(spool, xid, &position, &bytes, &length, NULL), DBI_OK);
        CHECK(bytes != NULL);
        CHECK_INT(position, n + 1000u);
        CHECK_INT(length, record(xid, n, wanted));
        CHECK(memcmp(bytes, wanted, length) == 0);
    }
    CHECK_RC(dbi_spool_next(spool, xid, &position, &bytes, &length, NULL), DBI_OK);
    CHECK(bytes == NULL);
}

TEST(spool_gives_back_what_it_was_given) {
    /* all in memory, some of it, next to none */
    static const size_t memories[] = {64 << 20, 300000, 0};
    uint8_t bytes[4096];
    dbi_spool *spool = NULL;

    CHECK(mkdtemp(directory) != NULL);
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) {
        TRY(dbi_spool_new(&spool, memories[i], directory, NULL));
        for (unsigned n = 0; n < 500; n++)
            for (uint32_t xid = 7; xid < 10; xid++) {
                size_t length = record(xid, n, bytes);

                if (xid < 9 || n < 3)
                    TRY(dbi_spool_add(spool, xid, n + 1000u, bytes, length, NULL));
            }
        CHECK(dbi_spool_bytes(spool) > 1000000);
        if (test_fail_nth != 0)
            goto done;
        check_records(spool, 7, 500);
        check_records(spool, 8, 500);
        check_records(spool, 9, 3);
        check_records(spool, 7, 500); /* once more */
        check_records(spool, 10, 0);  /* there is none */
        dbi_spool_drop(spool, 8);
        check_records(spool, 8, 0);
        check_records(spool, 9, 3);
        dbi_spool_clear(spool);
        CHECK_INT(dbi_spool_bytes(spool), 0);
        dbi_spool_free(spool);
        spool = NULL;
    }
done:
    dbi_spool_free(spool);
    CHECK_INT(rmdir(directory), 0); /* it is empty: files have no names */
}

TEST(spool_knows_what_was_rolled_back) {
    static const uint32_t aborted[] = {21, 3, 4000000000u, 17};
    dbi_spool *spool = NULL;

    TRY(dbi_spool_new(&spool, 1000, NULL, NULL));
    for (size_t i = 0; i < sizeof aborted / sizeof *aborted; i++)
        TRY(dbi_spool_abort(spool, 7, aborted[i], NULL));
    TRY(dbi_spool_abort(spool, 8, 5, NULL));
    dbi_spool_rewind(spool, 7);
    for (size_t i = 0; i < sizeof aborted / sizeof *aborted; i++)
        CHECK(dbi_spool_aborted(spool, 7, aborted[i]));
    CHECK(!dbi_spool_aborted(spool, 7, 7));
    CHECK(!dbi_spool_aborted(spool, 7, 5));
    CHECK(!dbi_spool_aborted(spool, 6, 5));
done:
    dbi_spool_free(spool);
}

TEST(spool_says_where_it_cannot_write) {
    dbi_spool *spool = NULL;
    dbi_err err;

    TRY(dbi_spool_new(&spool, 0, "/nonexistent/directory", NULL));
    TRY(dbi_spool_add(spool, 1, 1, "abc", 3, NULL)); /* the first one is in memory in any case */
    TRY_RC(dbi_spool_add(spool, 1, 2, "abc", 3, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "/nonexistent/directory");
done:
    dbi_spool_free(spool);
}

TEST_MAIN()
