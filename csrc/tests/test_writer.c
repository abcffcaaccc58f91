/* test_writer.c - taking events, waiting, flushing, closing, forking: what needs no server. Its pool leads nowhere. */
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/seccomp.h>

#include "test.h"
#include "writer_int.h"

/* A writer on a directory of its own. */
typedef struct fixture {
    char directory[64];
    dbi_pool *pool;
    dbi_writer *writer;
    dbi_writer_config config;
    dbi_schema *schema;
} fixture;

static int64_t after_ms(int64_t ms) {
    return dbi_clock_deadline(NULL, ms * DBI_NS_PER_MS);
}

static dbi_rc schema_make(dbi_schema **schema, const char *type) {
    dbi_rc rc = dbi_schema_new(schema, "public", "events", 2, NULL);

    if (rc == DBI_OK)
        rc = dbi_column_declare(&(*schema)->columns[0], "name", "text", NULL);
    if (rc == DBI_OK)
        rc = dbi_column_declare(&(*schema)->columns[1], "number", type, NULL);
    return rc;
}

static dbi_rc setup(fixture *test, uint64_t max_bytes) {
    dbi_pool_config pool;
    dbi_rc rc;

    strcpy(test->directory, "/tmp/dbint-writer-XXXXXX");
    CHECK(mkdtemp(test->directory) != NULL);
    dbi_pool_defaults(&pool);
    pool.conninfo = "host=127.0.0.1 port=1";
    rc = dbi_pool_new(&test->pool, &pool, NULL);
    if (rc == DBI_OK)
        rc = schema_make(&test->schema, "int4");
    dbi_writer_defaults(&test->config);
    test->config.pool = test->pool;
    test->config.journal.directory = test->directory;
    test->config.journal.segment_min = 16384;
    test->config.journal.segment_max = 65536;
    test->config.journal.keep_bytes = 0;
    if (max_bytes != 0)
        test->config.journal.max_bytes = max_bytes;
    if (rc == DBI_OK)
        rc = dbi_writer_new(&test->writer, &test->config, NULL);
    return rc;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *ftw) {
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void teardown(fixture *test) {
    dbi_writer_free(test->writer);
    dbi_pool_free(test->pool);
    dbi_schema_free(test->schema);
    (void)nftw(test->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static dbi_rc stream_open(fixture *test, dbi_stream **stream, const dbi_stream_config *like, const char *name) {
    dbi_stream_config config = *like;

    config.name = name;
    config.schema = test->schema;
    return dbi_writer_stream(test->writer, &config, stream, NULL);
}

static dbi_stream_config defaults(dbi_durability durability) {
    dbi_stream_config config;

    dbi_stream_defaults(&config);
    config.durability = durability;
    return config;
}

/* A tuple of (name, number): the name is one letter `size` times. */
static size_t tuple_make(uint8_t *tuple, char letter, uint32_t size, uint32_t number) {
    const uint8_t head[6] = {0, 2, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
    const uint8_t tail[8] = {0,
                             0,
                             0,
                             4,
                             (uint8_t)(number >> 24),
                             (uint8_t)(number >> 16),
                             (uint8_t)(number >> 8),
                             (uint8_t)number};

    memcpy(tuple, head, sizeof head);
    memset(tuple + 6, letter, size);
    memcpy(tuple + 6 + size, tail, sizeof tail);
    return sizeof head + size + sizeof tail;
}

static dbi_rc put(dbi_stream *stream, char letter, uint32_t size, uint32_t number) {
    uint8_t tuple[4096];
    size_t length = tuple_make(tuple, letter, size, number);

    return dbi_stream_append(stream, dbi_stream_schema(stream), tuple, length, NULL);
}

static dbi_stream_view view_of(dbi_writer *writer, const char *name) {
    dbi_stream_view views[8];
    size_t count = dbi_writer_streams(writer, views, 8);

    for (size_t i = 0; i < count; i++)
        if (strcmp(views[i].name, name) == 0)
            return views[i];
    test_fail(__FILE__, __LINE__, "no stream %s", name);
}

/* The invariant. */
static void check_sum(const dbi_stream_view *view) {
    CHECK_INT(view->accepted + view->recovered, view->landed + view->journaled + view->dead + view->dropped_oldest +
                                                    view->damaged + view->lost_by_server);
}

/* As if all that has been taken had landed. */
static void land(dbi_stream *stream) {
    for (uint32_t i = 0; i < stream->config.lanes; i++) {
        dbi_chain *chain = atomic_load(&stream->lanes[i].chain);

        dbi_chain_landed(chain, dbi_chain_last(chain));
    }
}

static dbi_rc submit(dbi_stream *stream, char letter, uint32_t size, uint32_t number, dbi_mailbox *mailbox,
                     void *user) {
    uint8_t tuple[4096];
    size_t length = tuple_make(tuple, letter, size, number);

    return dbi_stream_submit(stream, dbi_stream_schema(stream), tuple, length, mailbox, user, NULL);
}

/* The next answer's user and result; frees it. */
static dbi_rc answer(dbi_mailbox *mailbox, int64_t ms, void **user) {
    dbi_receipt *receipt = (dbi_receipt *)dbi_mailbox_wait(mailbox, after_ms(ms));
    dbi_rc rc = DBI_ESTATE;

    *user = NULL;
    while (receipt != NULL) { /* the tests below look at the last of them, but where they ask for one by one */
        dbi_receipt *next = (dbi_receipt *)receipt->letter.next;

        *user = receipt->letter.user;
        rc = receipt->err.rc;
        dbi_letter_free(receipt);
        receipt = next;
    }
    return rc;
}

/* -- taking ------------------------------------------------------------------------------------------------------- */

static void check_taking(dbi_durability durability) {
    dbi_stream_config config = defaults(durability);
    dbi_stream *stream, *again;
    fixture test = {0};
    dbi_stream_view view;
    uint64_t left;

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    CHECK(!dbi_writer_running(test.writer));
    for (uint32_t i = 0; i < 1000; i++)
        TRY(put(stream, 'a', 100, i));
    CHECK(dbi_writer_running(test.writer));
    view = view_of(test.writer, "events");
    CHECK_INT(view.accepted, 1000);
    CHECK_INT(view.journaled, 1000);
    CHECK_INT(view.recovered, 0);
    CHECK(view.open && view.chains == 1 && view.journaled_bytes >= 100000 && view.oldest_ns >= 0);
    check_sum(&view);
    TRY(stream_open(&test, &again, &config, "events"));
    CHECK(again == stream);
    TRY_RC(dbi_writer_flush(test.writer, after_ms(30), &left, NULL), DBI_ETIMEOUT);
    CHECK_INT(left, 1000);
    TRY(dbi_writer_close(test.writer, after_ms(30), &left, NULL));
    CHECK_INT(left, 1000);
    CHECK_RC(put(stream, 'a', 1, 1), DBI_ECLOSED);
    CHECK_RC(dbi_writer_close(test.writer, 0, &left, NULL), DBI_ECLOSED);
    view = view_of(test.writer, "events"); /* the figures outlive it */
    CHECK_INT(view.journaled, 1000);
    CHECK(!view.open && view.chains == 0);
    check_sum(&view);
done:
    teardown(&test);
}

TEST(events_in_memory_are_taken_and_counted) {
    check_taking(DBI_DURABILITY_MEMORY);
}

TEST(events_on_disk_are_taken_and_counted) {
    check_taking(DBI_DURABILITY_PROCESS);
}

#ifndef TEST_SANITIZED
/* From the prctl on, the kernel kills this thread at any system call but read, write and exit. */
static void *append_without_the_kernel(void *arg) {
    dbi_stream *stream = arg;
    atomic_uint *taken = &stream->turn; /* unused by a stream of one lane */

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
        return NULL;
    for (uint32_t i = 0; i < 2000; i++)
        if (put(stream, 'a', 100, i) == DBI_OK)
            atomic_fetch_add(taken, 1);
    (void)syscall(SYS_exit, 0);
    return NULL;
}

TEST(an_append_makes_no_system_call) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    pthread_t thread;

    TRY(setup(&test, 0));
    dbi_writer_free(test.writer);
    test.writer = NULL;
    test.config.journal.segment_min = 1 << 20;
    test.config.journal.segment_max = 1 << 20;
    TRY(dbi_writer_new(&test.writer, &test.config, NULL));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(put(stream, 'a', 100, 0)); /* starts the threads */
    CHECK_INT(pthread_create(&thread, NULL, append_without_the_kernel, stream), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(atomic_load(&stream->turn), 2000);
    CHECK_INT(view_of(test.writer, "events").accepted, 2001);
done:
    teardown(&test);
}
#endif

TEST(what_a_closed_writer_left_is_recovered) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 10; i++)
        TRY(put(stream, 'a', 10, i));
    TRY(dbi_writer_close(test.writer, 0, NULL, NULL));
    dbi_writer_free(test.writer);
    test.writer = NULL;
    TRY(dbi_writer_new(&test.writer, &test.config, NULL));
    view = view_of(test.writer, "events"); /* of no open stream yet, and shipped all the same */
    CHECK(!view.open);
    CHECK_INT(view.recovered, 10);
    CHECK_INT(view.journaled, 10);
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 5; i++)
        TRY(put(stream, 'a', 10, i));
    view = view_of(test.writer, "events");
    CHECK(view.open);
    CHECK_INT(view.accepted, 5);
    CHECK_INT(view.recovered, 10);
    CHECK_INT(view.journaled, 15);
    check_sum(&view);
done:
    teardown(&test);
}

TEST(a_stream_that_differs_is_refused) {
    dbi_stream_config config = defaults(DBI_DURABILITY_MEMORY), other;
    dbi_schema *schema = NULL;
    dbi_stream *stream, *again;
    fixture test = {0};
    dbi_err err;

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    config.name = "events";
    config.schema = test.schema;
    other = config;
    other.batch_size = 7;
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "batch_size");
    other = config;
    other.lane_key = "name";
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "lane_key");
    other = config;
    TRY(schema_make(&schema, "int8"));
    other.schema = schema;
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "columns");
    other = config;
    other.name = "another";
    other.lanes = 65;
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "lanes");
    other.lanes = 1;
    other.lane_key = "colour";
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "colour");
    other = config;
    other.name = "";
    TRY_RC(dbi_writer_stream(test.writer, &other, &again, &err), DBI_ECONFIG);
done:
    dbi_schema_free(schema);
    teardown(&test);
}

TEST(a_writer_checks_its_configuration) {
    dbi_writer_config config;
    dbi_writer *writer;
    fixture test = {0};
    dbi_err err;

    TRY(setup(&test, 0));
    config = test.config;
    config.shippers = 0;
    TRY_RC(dbi_writer_new(&writer, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "shippers");
    config = test.config;
    config.journal.directory = "";
    TRY_RC(dbi_writer_new(&writer, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "directory");
    config = test.config;
    config.pool = NULL;
    TRY_RC(dbi_writer_new(&writer, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "pool");
done:
    teardown(&test);
}

TEST(the_age_is_that_of_the_oldest_that_has_not_landed) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    int64_t deadline = after_ms(10000);
    dbi_stream *stream;
    fixture test = {0};

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    CHECK_INT(view_of(test.writer, "events").oldest_ns, -1);
    TRY(put(stream, 'a', 10, 1));
    for (uint32_t i = 0; i < 100; i++) { /* more than there are marks */
        (void)usleep(3000);
        TRY(put(stream, 'a', 10, i));
    }
    CHECK_WITHIN(view_of(test.writer, "events").oldest_ns, 200 * DBI_NS_PER_MS, 9000 * DBI_NS_PER_MS);
    land(stream);
    TRY(put(stream, 'a', 10, 1));
    do { /* the next attempt, which fails, sees what has landed */
        CHECK(dbi_clock_left(NULL, deadline) > 0);
        dbi_writer_retry(test.writer);
        (void)usleep(5000);
    } while (view_of(test.writer, "events").oldest_ns > 150 * DBI_NS_PER_MS);
done:
    teardown(&test);
}

/* -- lanes -------------------------------------------------------------------------------------------------------- */

TEST(lanes_take_turns_in_runs) {
    dbi_stream_config config = defaults(DBI_DURABILITY_MEMORY);
    dbi_stream *stream;
    fixture test = {0};

    config.lanes = 3;
    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 250; i++)
        TRY(put(stream, 'a', 10, i));
    CHECK_INT(dbi_chain_last(atomic_load(&stream->lanes[0].chain)), 100);
    CHECK_INT(dbi_chain_last(atomic_load(&stream->lanes[1].chain)), 100);
    CHECK_INT(dbi_chain_last(atomic_load(&stream->lanes[2].chain)), 50);
    CHECK_INT(view_of(test.writer, "events").chains, 3);
done:
    teardown(&test);
}

TEST(a_key_stays_in_its_lane) {
    dbi_stream_config config = defaults(DBI_DURABILITY_MEMORY);
    uint64_t before[8], used = 0;
    dbi_stream *stream;
    fixture test = {0};

    config.lanes = 8;
    config.lane_key = "name";
    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (char letter = 'a'; letter <= 'z'; letter++) {
        unsigned moved = 0;

        for (int i = 0; i < 8; i++)
            before[i] = dbi_chain_last(atomic_load(&stream->lanes[i].chain));
        for (uint32_t i = 0; i < 5; i++)
            TRY(put(stream, letter, 10, i));
        for (int i = 0; i < 8; i++)
            moved += dbi_chain_last(atomic_load(&stream->lanes[i].chain)) == before[i] + 5;
        CHECK_INT(moved, 1);
    }
    for (int i = 0; i < 8; i++)
        used += dbi_chain_last(atomic_load(&stream->lanes[i].chain)) > 0;
    CHECK(used >= 5); /* 26 keys in 8 lanes */
done:
    teardown(&test);
}

/* -- no room ------------------------------------------------------------------------------------------------------ */

#define SMALL_CAP (200 * 1024)

/* Appends until the journal is full; how many were taken. */
static uint32_t fill(dbi_stream *stream) {
    uint32_t taken = 0;
    dbi_rc rc;

    while ((rc = put(stream, 'a', 1000, taken)) == DBI_OK) {
        taken++;
        CHECK(taken < 10000);
    }
    if (!test_injected())
        CHECK_RC(rc, DBI_EFULL);
    return taken;
}

TEST(full_and_reject) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;
    uint32_t taken;
    dbi_err err;

    config.when_full = DBI_FULL_REJECT;
    TRY(setup(&test, SMALL_CAP));
    TRY(stream_open(&test, &stream, &config, "events"));
    taken = fill(stream);
    if (test_injected())
        goto done;
    CHECK(taken > 50);
    CHECK_RC(dbi_stream_append(stream, dbi_stream_schema(stream), "x", 1, &err), DBI_OK); /* a small one still fits */
    view = view_of(test.writer, "events");
    CHECK_INT(view.accepted, taken + 1);
    CHECK_INT(view.rejected, 1);
    CHECK(view.journaled_bytes <= SMALL_CAP);
    check_sum(&view);
    CHECK_RC(put(stream, 'a', 4000, 1), DBI_EFULL);
    CHECK_INT(view_of(test.writer, "events").rejected, 2);
done:
    teardown(&test);
}

TEST(full_and_drop_oldest) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;

    config.when_full = DBI_FULL_DROP_OLDEST;
    TRY(setup(&test, SMALL_CAP));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 1000; i++)
        TRY(put(stream, 'a', 1000, i));
    view = view_of(test.writer, "events");
    CHECK_INT(view.accepted, 1000);
    CHECK(view.dropped_oldest > 700 && view.journaled > 50);
    CHECK(view.journaled_bytes <= SMALL_CAP);
    CHECK_INT(view.rejected, 0);
    check_sum(&view);
done:
    teardown(&test);
}

TEST(who_waits_for_room_is_served_in_order) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_mailbox *mailbox = NULL;
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;
    int users[5];
    void *user;

    TRY(setup(&test, SMALL_CAP));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(dbi_mailbox_new(&mailbox, true, NULL));
    (void)fill(stream);
    if (test_injected())
        goto done;
    for (uint32_t i = 0; i < 5; i++)
        TRY(submit(stream, 'b', 1000, i, mailbox, &users[i]));
    CHECK_INT(view_of(test.writer, "events").waiting, 5);
    CHECK_RC(put(stream, 'c', 1, 1), DBI_EFULL); /* it would fit, and would overtake */
    CHECK(dbi_stream_withdraw(stream, &users[2]));
    CHECK(!dbi_stream_withdraw(stream, &users[2]));
    CHECK_INT(dbi_mailbox_pending(mailbox), 4);
    CHECK_RC(answer(mailbox, 30, &user), DBI_ESTATE); /* nothing yet */
    land(stream);
    for (int i = 0, got = 0; got < 4; i++) {
        dbi_receipt *receipt = (dbi_receipt *)dbi_mailbox_wait(mailbox, after_ms(5000));

        CHECK(i < 4 && receipt != NULL);
        while (receipt != NULL) {
            dbi_receipt *next = (dbi_receipt *)receipt->letter.next;

            CHECK(receipt->letter.user == &users[got < 2 ? got : got + 1]);
            CHECK_RC(receipt->err.rc, DBI_OK);
            dbi_letter_free(receipt);
            receipt = next;
            got++;
        }
    }
    TRY(put(stream, 'c', 1, 1));
    view = view_of(test.writer, "events");
    CHECK_INT(view.waiting, 0);
    CHECK_INT(view.rejected, 0);
done:
    dbi_mailbox_free(mailbox);
    teardown(&test);
}

TEST(who_waits_too_long_is_told) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_mailbox *mailbox = NULL;
    dbi_stream *stream;
    fixture test = {0};
    int one, two;
    void *user;

    config.block_timeout = 50 * DBI_NS_PER_MS;
    config.waiting_max = 1;
    TRY(setup(&test, SMALL_CAP));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(dbi_mailbox_new(&mailbox, true, NULL));
    (void)fill(stream);
    if (test_injected())
        goto done;
    TRY(submit(stream, 'b', 1000, 1, mailbox, &one));
    TRY_RC(submit(stream, 'b', 1000, 2, mailbox, &two), DBI_EFULL); /* too many wait */
    CHECK_RC(answer(mailbox, 5000, &user), DBI_EFULL);
    CHECK(user == &one);
    CHECK_INT(view_of(test.writer, "events").rejected, 2);
done:
    dbi_mailbox_free(mailbox);
    teardown(&test);
}

TEST(closing_answers_those_who_wait) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_mailbox *mailbox = NULL;
    dbi_stream *stream;
    fixture test = {0};
    int one;
    void *user;

    TRY(setup(&test, SMALL_CAP));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(dbi_mailbox_new(&mailbox, false, NULL));
    (void)fill(stream);
    if (test_injected())
        goto done;
    TRY(submit(stream, 'b', 1000, 1, mailbox, &one));
    TRY(dbi_writer_seal(test.writer, NULL));
    CHECK_RC(answer(mailbox, 5000, &user), DBI_ECLOSED);
    CHECK(user == &one);
    TRY(dbi_writer_close(test.writer, 0, NULL, NULL));
    CHECK_RC(submit(stream, 'b', 1000, 1, mailbox, &one), DBI_ECLOSED);
done:
    dbi_mailbox_free(mailbox);
    teardown(&test);
}

/* -- the disk ----------------------------------------------------------------------------------------------------- */

TEST(sync_answers_when_it_is_on_disk) {
    dbi_stream_config config = defaults(DBI_DURABILITY_SYNC);
    dbi_mailbox *mailbox = NULL;
    dbi_chain_view chain;
    dbi_stream *stream;
    fixture test = {0};
    size_t got = 0;
    int users[50];

    config.lanes = 2;
    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    CHECK(!dbi_stream_is_immediate(stream));
    TRY(dbi_mailbox_new(&mailbox, true, NULL));
    for (uint32_t i = 0; i < 50; i++)
        TRY(submit(stream, 'b', 1000, i, mailbox, &users[i]));
    while (got < 50) {
        dbi_receipt *receipt = (dbi_receipt *)dbi_mailbox_wait(mailbox, after_ms(5000));

        CHECK(receipt != NULL);
        while (receipt != NULL) {
            dbi_receipt *next = (dbi_receipt *)receipt->letter.next;

            if (!test_injected())
                CHECK_RC(receipt->err.rc, DBI_OK);
            dbi_letter_free(receipt);
            receipt = next;
            got++;
        }
    }
    dbi_chain_view_get(atomic_load(&stream->lanes[0].chain), &chain);
    if (!test_injected())
        CHECK_INT(chain.synced, 50);
done:
    dbi_mailbox_free(mailbox);
    teardown(&test);
}

TEST(interval_syncs_by_itself) {
    dbi_stream_config config = defaults(DBI_DURABILITY_INTERVAL);
    int64_t deadline = after_ms(5000);
    dbi_stream *stream;
    fixture test = {0};
    dbi_chain_view chain;

    config.sync_interval = 10 * DBI_NS_PER_MS;
    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(put(stream, 'a', 10, 1));
    do {
        dbi_chain_view_get(atomic_load(&stream->lanes[0].chain), &chain);
        CHECK(dbi_clock_left(NULL, deadline) > 0);
        (void)usleep(2000);
    } while (chain.synced < 1);
done:
    teardown(&test);
}

/* -- changed columns ---------------------------------------------------------------------------------------------- */

TEST(events_follow_a_table_that_changed) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    const dbi_schema *old, *renewed;
    dbi_schema *changed = NULL;
    dbi_records records = {0};
    dbi_stream *stream;
    fixture test = {0};
    uint8_t tuple[100];
    size_t length = tuple_make(tuple, 'a', 10, 1);

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    old = dbi_stream_schema(stream);
    TRY(dbi_stream_append(stream, old, tuple, length, NULL));
    TRY(schema_make(&changed, "int8"));
    TRY(dbi__stream_changed(stream, changed, NULL));
    CHECK(dbi_stream_schema(stream) != old);
    renewed = dbi_stream_schema(stream);
    TRY(dbi__stream_changed(stream, changed, NULL)); /* told again: nothing new */
    CHECK(dbi_stream_schema(stream) == renewed);
    CHECK_INT(dbi_stream_schema(stream)->columns[1].type, DBI_TYPE_INT8);
    TRY(dbi_stream_append(stream, dbi_stream_schema(stream), tuple, length, NULL));
    TRY(dbi_stream_append(stream, old, tuple, length, NULL)); /* it was encoded before the change was known */
    TRY_RC(dbi_stream_append(stream, changed, tuple, length, NULL), DBI_EINVAL); /* a stranger's */
    for (uint64_t i = 1; i <= 3; i++) { /* each segment says what its records were encoded by */
        char name[DBI_STREAM_NAME_SIZE];
        dbi_schema *said = NULL;

        TRY(dbi_chain_read(atomic_load(&stream->lanes[0].chain), i - 1, 1, &records, NULL));
        CHECK_INT(records.first, i);
        TRY(dbi_stream_meta_unpack(records.meta, records.meta_length, name, &said, NULL));
        CHECK_STR(name, "events");
        CHECK_INT(said->columns[1].type, i == 2 ? DBI_TYPE_INT8 : DBI_TYPE_INT4);
        dbi_schema_free(said);
    }
done:
    dbi_records_free(&records);
    dbi_schema_free(changed);
    teardown(&test);
}

TEST(a_description_that_was_damaged_is_refused) {
    uint8_t *meta = NULL;
    dbi_schema *schema = NULL, *said = NULL;
    char name[DBI_STREAM_NAME_SIZE], *long_name = NULL;
    size_t length;

    TRY(schema_make(&schema, "int4"));
    TRY(dbi_stream_meta_pack("events", schema, &meta, &length, NULL));
    TRY(dbi_stream_meta_unpack(meta, length, name, &said, NULL));
    CHECK_STR(name, "events");
    CHECK_INT(said->column_count, 2);
    dbi_schema_free(said);
    said = NULL;
    for (size_t i = 0; i < length; i++) {
        meta[i] ^= 0x10;
        TRY_RC(dbi_stream_meta_unpack(meta, length, NULL, &said, NULL), DBI_ECORRUPT);
        meta[i] ^= 0x10;
        TRY_RC(dbi_stream_meta_unpack(meta, i, NULL, &said, NULL), DBI_ECORRUPT);
    }
    long_name = dbi_calloc(1, 200);
    if (long_name == NULL)
        goto done;
    memset(long_name, 'x', 128);
    dbi_free(meta);
    TRY_RC(dbi_stream_meta_pack(long_name, schema, &meta, &length, NULL), DBI_EINVAL);
done:
    dbi_free(long_name);
    dbi_free(meta);
    dbi_schema_free(said);
    dbi_schema_free(schema);
}

TEST(columns_that_nobody_knows_need_the_server) {
    const char *names[] = {"name"};
    dbi_schema *schema;
    fixture test = {0};
    dbi_err err;

    TRY(setup(&test, 0));
    TRY_RC(dbi_writer_schema(test.writer, "public", "events", names, 1, after_ms(2000), NULL, &schema, &err),
           DBI_EUNREACHABLE);
    CHECK_HAS(err.msg, "public.events");
    CHECK_HAS(err.msg, "columns=");
done:
    teardown(&test);
}

/* -- flushing ----------------------------------------------------------------------------------------------------- */

TEST(a_flush_is_over_when_all_has_landed) {
    dbi_stream_config config = defaults(DBI_DURABILITY_MEMORY);
    dbi_mailbox *mailbox = NULL;
    dbi_receipt *receipt;
    dbi_stream *stream;
    fixture test = {0};
    uint64_t left;

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(dbi_mailbox_new(&mailbox, true, NULL));
    TRY(dbi_writer_flush(test.writer, 0, &left, NULL)); /* nothing to do */
    CHECK_INT(left, 0);
    CHECK(!dbi_writer_running(test.writer));
    TRY(put(stream, 'a', 10, 1));
    TRY(dbi_writer_flush_later(test.writer, DBI_FOREVER, mailbox, &left, NULL));
    CHECK(dbi_mailbox_wait(mailbox, after_ms(30)) == NULL);
    CHECK(dbi_writer_flush_withdraw(test.writer, &left, &left));
    CHECK_INT(left, 1);
    CHECK_INT(dbi_mailbox_pending(mailbox), 0);
    TRY(dbi_writer_flush_later(test.writer, after_ms(50), mailbox, NULL, NULL));
    receipt = (dbi_receipt *)dbi_mailbox_wait(mailbox, after_ms(5000));
    CHECK(receipt != NULL && receipt->flush && receipt->left == 1 && receipt->err.rc == DBI_ETIMEOUT);
    dbi_letter_free(receipt);
    TRY(dbi_writer_flush_later(test.writer, DBI_FOREVER, mailbox, NULL, NULL));
    TRY(dbi_writer_close(test.writer, 0, NULL, NULL)); /* it does not wait for ever */
    receipt = (dbi_receipt *)dbi_mailbox_take(mailbox);
    CHECK(receipt != NULL && receipt->left == 1);
    dbi_letter_free(receipt);
done:
    dbi_mailbox_free(mailbox);
    teardown(&test);
}

/* -- threads and processes ---------------------------------------------------------------------------------------- */

typedef struct sender {
    dbi_stream *stream;
    uint64_t taken;
} sender;

static void *send_until_closed(void *arg) {
    sender *mine = arg;

    for (uint32_t i = 0;; i++) {
        dbi_rc rc = put(mine->stream, 'a', 50, i);

        if (rc == DBI_OK)
            mine->taken++;
        else if (rc == DBI_ECLOSED)
            return NULL;
        else
            CHECK(test_injected() || rc == DBI_EFULL);
    }
}

TEST_WITH(closing_while_others_write, .timeout_s = 60) {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    sender senders[3] = {{0}};
    pthread_t threads[3];
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;
    uint64_t left, taken = 0;
    int running = 0;

    TRY(setup(&test, (uint64_t)64 << 20));
    config.lanes = 2;
    TRY(stream_open(&test, &stream, &config, "events"));
    for (; running < 3; running++) {
        senders[running].stream = stream;
        CHECK_INT(pthread_create(&threads[running], NULL, send_until_closed, &senders[running]), 0);
    }
    (void)usleep(100000);
    CHECK_RC(dbi_writer_close(test.writer, after_ms(50), &left, NULL), DBI_OK);
    for (int i = 0; i < running; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        taken += senders[i].taken;
    }
    view = view_of(test.writer, "events");
    CHECK_INT(view.accepted, taken);
    CHECK_INT(left, taken);
    check_sum(&view);
done:
    teardown(&test);
}

TEST(metrics_tell_of_each_stream) {
    dbi_stream_config config = defaults(DBI_DURABILITY_MEMORY);
    dbi_snapshot snapshot = {0};
    unsigned accepted = 0, held = 0;
    dbi_stream *stream;
    fixture test = {0};

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 3; i++)
        TRY(put(stream, 'a', 10, i));
    TRY(dbi_snapshot_take(&snapshot, NULL));
    for (size_t i = 0; i < snapshot.count; i++) {
        const dbi_metric *metric = &snapshot.metrics[i];

        if (strcmp(metric->name, "dbint_writer_accepted_total") == 0) {
            CHECK_INT(metric->counter, 3);
            CHECK_STR(metric->labels[0].value, "default");
            CHECK_STR(metric->labels[1].value, "events");
            accepted++;
        }
        if (strcmp(metric->name, "dbint_writer_chains") == 0 && strcmp(metric->labels[2].value, "held") == 0)
            held++;
    }
    CHECK_INT(accepted, 1);
    CHECK_INT(held, 1);
    dbi_snapshot_reset(&snapshot);
done:
    teardown(&test);
}

/* A sanitizer's allocator may stay locked in a child of a process with threads: there the child only looks. */
#ifndef TEST_SANITIZED
static void in_child(dbi_writer *writer, dbi_stream *stream) {
    dbi_journal_view journal;
    dbi_stream_view view;
    uint64_t left;

    CHECK(!dbi_writer_journal(writer, &journal));
    CHECK_RC(dbi_writer_flush(writer, 0, &left, NULL), DBI_OK); /* the parent's events are the parent's */
    CHECK_INT(left, 0);
    for (uint32_t i = 0; i < 7; i++)
        CHECK_RC(put(stream, 'c', 10, i), DBI_OK);
    CHECK(dbi_writer_running(writer));
    CHECK(dbi_writer_journal(writer, &journal));
    CHECK_INT(journal.slot, 1);
    view = view_of(writer, "events");
    CHECK_INT(view.accepted, 7);
    CHECK_INT(view.journaled, 7);
    check_sum(&view);
    CHECK_RC(dbi_writer_close(writer, 0, &left, NULL), DBI_OK);
    CHECK_INT(left, 7);
    _exit(0);
}

TEST_WITH(a_forked_child_begins_afresh, .unswept = "the child's allocations are counted in the child") {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    dbi_stream_view view;
    int status;
    pid_t pid;

    TRY(setup(&test, 0));
    test.config.adopt_every = 50 * DBI_NS_PER_MS;
    dbi_writer_free(test.writer);
    test.writer = NULL;
    TRY(dbi_writer_new(&test.writer, &test.config, NULL));
    TRY(stream_open(&test, &stream, &config, "events"));
    for (uint32_t i = 0; i < 5; i++)
        TRY(put(stream, 'p', 10, i));
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        in_child(test.writer, stream);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    TRY(put(stream, 'p', 10, 5));
    for (int64_t deadline = after_ms(5000);; (void)usleep(5000)) { /* the child is dead: its events are adopted */
        view = view_of(test.writer, "events");
        CHECK_INT(view.accepted, 6);
        if (view.recovered == 7)
            break;
        CHECK(dbi_clock_left(NULL, deadline) > 0);
    }
    CHECK_INT(view.journaled, 13);
    check_sum(&view);
done:
    teardown(&test);
}

TEST_WITH(a_child_that_does_nothing_disturbs_nothing, .unswept = "the child's allocations are counted in the child") {
    dbi_stream_config config = defaults(DBI_DURABILITY_PROCESS);
    dbi_stream *stream;
    fixture test = {0};
    uint64_t left;
    int status;
    pid_t pid;

    TRY(setup(&test, 0));
    TRY(stream_open(&test, &stream, &config, "events"));
    TRY(put(stream, 'p', 10, 0));
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        dbi_writer_free(test.writer);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    TRY(put(stream, 'p', 10, 1));
    TRY(dbi_writer_close(test.writer, 0, &left, NULL));
    CHECK_INT(left, 2);
done:
    teardown(&test);
}
#endif

TEST_MAIN()
