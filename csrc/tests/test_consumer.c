/* test_consumer.c - the consumer's batches and the admin client, against a mock cluster */
#include "consumer.h"

#include "admin.h"
#include "kafka_mock.h"
#include "metrics.h"
#include "producer.h"

/* Puts `count` messages "v0", "v1", ... into partition 0, every third with a null value, every fifth with headers. */
static void fill(const mock *cluster, int count) {
    const dbi_producer_options options = {.when_full = DBI_WHEN_FULL_REFUSE};
    const dbi_kafka_property bootstrap = {"bootstrap.servers", cluster->bootstrap};
    uint64_t nth = test_fail_nth, before = dbi_alloc_count();
    rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
    dbi_producer *producer;
    dbi_topic *topic;
    uint64_t left;
    dbi_err err;

    dbi_alloc_fail_nth(0); /* the producer is not what is tested */
    CHECK_INT(rd_kafka_header_add(headers, "some", -1, "thing", 5), 0);
    CHECK_INT(rd_kafka_header_add(headers, "null", -1, NULL, 0), 0);
    CHECK_INT(rd_kafka_header_add(headers, "", -1, "", 0), 0);
    CHECK_RC(dbi_producer_new(&producer, &bootstrap, 1, &options, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    for (int i = 0; i < count; i++) {
        char text[16];
        dbi_message message = {.key = "k", .key_len = 1, .partition = 0};

        message.value_len = (size_t)snprintf(text, sizeof text, "v%d", i);
        message.value = i % 3 == 2 ? NULL : text;
        if (message.value == NULL)
            message.value_len = 0;
        message.headers = i % 5 == 4 ? headers : NULL;
        CHECK_RC(dbi_producer_enqueue(producer, topic, &message, &err), DBI_OK);
    }
    CHECK_RC(dbi_producer_flush(producer, after_ms(10000), &left, &err), DBI_OK);
    CHECK_RC(dbi_producer_close(producer, &err), DBI_OK);
    dbi_producer_free(producer);
    rd_kafka_headers_destroy(headers);
    CHECK_INT(before, 0); /* it comes first in each case, so that the count can start anew */
    dbi_alloc_fail_nth(nth);
}

static dbi_rc make(dbi_consumer **consumer, const char *bootstrap, dbi_err *err) {
    const dbi_kafka_property properties[] = {{"bootstrap.servers", bootstrap},
                                             {"group.id", "g"},
                                             {"auto.offset.reset", "earliest"},
                                             {"reconnect.backoff.max.ms", "200"}};

    return dbi_consumer_new(consumer, properties, COUNT_OF(properties), err);
}

static rd_kafka_topic_partition_list_t *partition(int32_t number, int64_t offset) {
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(partitions, "t", number)->offset = offset;
    return partitions;
}

TEST(a_batch_holds_what_was_sent) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, RD_KAFKA_OFFSET_BEGINNING);
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    dbi_selection chosen = DBI_SELECT_ALL;
    size_t total = 0, size = 0;
    bool ended = false;
    char text[64] = "";
    dbi_fetched fetched;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 7);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    for (int i = 0; !ended; i++) {
        CHECK(i < 20);
        TRY(dbi_consumer_poll(consumer, 100, 0, after_ms(10000), &batch, &err));
        for (size_t j = 0; j < dbi_batch_count(batch); j++) {
            CHECK(dbi_batch_message(batch, j, &fetched));
            CHECK_INT(fetched.offset, (int64_t)total++);
            CHECK_INT(fetched.key_len, 1);
            CHECK(fetched.timestamp > 0);
        }
        CHECK(!dbi_batch_message(batch, dbi_batch_count(batch), &fetched));
        if (total == 7 && dbi_batch_count(batch) == 7) {
            CHECK_INT(dbi_batch_bytes(batch), 7 + 5 * 2);
            dbi_batch_concat(batch, &DBI_SELECT_ALL, ", ", 2, NULL, &size);
            CHECK_INT(size, 5 * 2 + 4 * 2);
            chosen.topic = "t";
            dbi_batch_concat(batch, &chosen, ", ", 2, text, &size);
            CHECK_STR(text, "v0, v1, v3, v4, v6");
            chosen.start = 1;
            chosen.end = 4;
            dbi_batch_concat(batch, &chosen, "", 0, text, &size);
            text[size] = '\0';
            CHECK_STR(text, "v1v3");
            chosen = (dbi_selection){
                .topic = "t", .start = 0, .end = 7, .offsets = (const int64_t[]){0, 2, 4, 9}, .count = 4};
            dbi_batch_concat(batch, &chosen, "", 0, text, &size);
            text[size] = '\0';
            CHECK_STR(text, "v0v4");
            chosen.without = true;
            dbi_batch_concat(batch, &chosen, "", 0, text, &size);
            text[size] = '\0';
            CHECK_STR(text, "v1v3v6");
            chosen.partition = 1;
            dbi_batch_concat(batch, &chosen, ", ", 2, NULL, &size);
            CHECK_INT(size, 0);
            chosen.topic = "u";
            dbi_batch_concat(batch, &chosen, ", ", 2, NULL, &size);
            CHECK_INT(size, 0);
        }
        ended = dbi_batch_ends(batch)->cnt == 1;
        if (ended)
            CHECK_INT(dbi_batch_ends(batch)->elems[0].offset, 7);
        dbi_batch_free(batch);
        batch = NULL;
    }
    CHECK_INT(total, 7);
    TRY(dbi_consumer_poll(consumer, 100, 0, after_ms(50), &batch, &err));
    CHECK_INT(dbi_batch_count(batch), 0);
done:
    dbi_batch_free(batch);
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST(a_batch_keeps_to_its_limits_and_outlives_the_consumer) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, 1);
    dbi_consumer *consumer = NULL;
    dbi_batch *first = NULL, *second = NULL;
    dbi_fetched fetched;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 20);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    TRY(dbi_consumer_poll(consumer, 3, 0, after_ms(10000), &first, &err));
    CHECK_WITHIN(dbi_batch_count(first), 1, 3);
    TRY(dbi_consumer_poll(consumer, 100, 1, after_ms(10000), &second, &err)); /* one always fits */
    CHECK_INT(dbi_batch_count(second), 1);
    TRY(dbi_consumer_close(consumer, &err));
    CHECK_RC(dbi_consumer_close(consumer, &err), DBI_ECLOSED);
    CHECK_RC(dbi_consumer_assign(consumer, at, &err), DBI_ECLOSED);
    dbi_consumer_free(consumer);
    consumer = NULL;
    CHECK(dbi_batch_message(first, 0, &fetched));
    CHECK_INT(fetched.offset, 1);
    CHECK(dbi_batch_message(second, 0, &fetched));
    CHECK_STR(fetched.topic, "t");
done:
    dbi_consumer_free(consumer);
    dbi_batch_free(first);
    dbi_batch_free(second);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST(headers_come_with_their_message) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, 3);
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    dbi_fetched fetched;
    dbi_header header;
    size_t next = 0;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 5);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    TRY(dbi_consumer_poll(consumer, 1, 0, after_ms(10000), &batch, &err));
    CHECK(dbi_batch_message(batch, 0, &fetched));
    CHECK(!dbi_fetched_header(&fetched, &next, &header));
    dbi_batch_free(batch);
    batch = NULL;
    TRY(dbi_consumer_poll(consumer, 1, 0, after_ms(10000), &batch, &err));
    CHECK(dbi_batch_message(batch, 0, &fetched));
    CHECK_INT(fetched.offset, 4);
    CHECK(dbi_fetched_header(&fetched, &next, &header));
    CHECK_STR(header.name, "some");
    CHECK_INT(header.value_len, 5);
    CHECK(memcmp(header.value, "thing", 5) == 0);
    CHECK(dbi_fetched_header(&fetched, &next, &header));
    CHECK_STR(header.name, "null");
    CHECK(header.value == NULL);
    CHECK(dbi_fetched_header(&fetched, &next, &header));
    CHECK_STR(header.name, "");
    CHECK(header.value != NULL);
    CHECK_INT(header.value_len, 0);
    CHECK(!dbi_fetched_header(&fetched, &next, &header));
done:
    dbi_batch_free(batch);
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST(a_part_outlives_the_batch_it_was_split_from) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, RD_KAFKA_OFFSET_BEGINNING);
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL, *part = NULL;
    dbi_fetched fetched;
    size_t count;
    dbi_part told;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 4);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    TRY(dbi_consumer_poll(consumer, 2, 0, after_ms(10000), &batch, &err));
    count = dbi_batch_count(batch);
    CHECK_WITHIN(count, 1, 2);
    CHECK_INT(dbi_batch_parts(batch), 1);
    /* Room for the messages that came, and no more: what a sink holds is counted by it. */
    CHECK(dbi_batch_memory(batch) > dbi_batch_bytes(batch));
    if (!test_injected()) /* it is not made smaller where there is no memory for that */
        CHECK(dbi_batch_memory(batch) < dbi_batch_bytes(batch) + 120 * count + 300);
    TRY(dbi_batch_split(batch, 0, &part, &err));
    dbi_batch_free(batch);
    batch = NULL;
    told = dbi_batch_part(part, 0);
    CHECK_STR(told.topic, "t");
    CHECK_INT(told.partition, 0);
    CHECK_INT(told.first, 0);
    CHECK_INT(told.last, (int64_t)count - 1);
    CHECK_INT(told.count, count);
    CHECK_INT(told.bytes, 2 * count);
    CHECK_INT(dbi_batch_bytes(part), 3 * count);
    CHECK_INT(dbi_batch_ends(part)->cnt, 0);
    CHECK(dbi_batch_message(part, 0, &fetched));
    CHECK(memcmp(fetched.value, "v0", 2) == 0);
done:
    dbi_batch_free(batch);
    dbi_batch_free(part);
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST_WITH(a_message_without_memory_is_read_again, .unswept = "makes allocations fail itself") {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, RD_KAFKA_OFFSET_BEGINNING);
    dbi_consumer *consumer = NULL;
    int64_t expected = 0, deadline;
    unsigned refused = 0;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 40); /* more than a part has room for at first */
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    deadline = after_ms(15000);
    for (uint64_t nth = 1; expected < 40; nth++) {
        dbi_batch *batch = NULL;
        dbi_fetched fetched;
        dbi_rc rc;

        CHECK(dbi_clock_left(NULL, deadline) > 0);
        dbi_alloc_fail_nth(nth % 8 + 1);
        rc = dbi_consumer_poll(consumer, 20, 0, after_ms(2000), &batch, &err);
        dbi_alloc_fail_nth(0);
        CHECK(rc == DBI_OK || rc == DBI_ENOMEM);
        if (rc == DBI_ENOMEM)
            refused++;
        for (size_t i = 0; rc == DBI_OK && dbi_batch_message(batch, i, &fetched); i++)
            CHECK_INT(fetched.offset, expected++);
        dbi_batch_free(batch);
    }
    CHECK(refused > 0);
done:
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST(offsets_are_committed_with_their_metadata) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *offsets = partition(0, 5), *asked = partition(0, RD_KAFKA_OFFSET_INVALID);
    dbi_consumer *consumer = NULL;
    int64_t low, high;
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 6);
    offsets->elems[0].metadata = strdup("to 9");
    offsets->elems[0].metadata_size = 4;
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_commit(consumer, offsets, after_ms(10000), &err));
    TRY(dbi_consumer_committed(consumer, asked, after_ms(10000), &err));
    CHECK_INT(asked->elems[0].offset, 5);
    CHECK_INT(asked->elems[0].metadata_size, 4);
    CHECK(memcmp(asked->elems[0].metadata, "to 9", 4) == 0);
    TRY(dbi_consumer_watermarks(consumer, "t", 0, after_ms(10000), &low, &high, &err));
    CHECK_INT(low, 0);
    CHECK_INT(high, 6);
done:
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_topic_partition_list_destroy(asked);
    mock_down(&cluster);
}

TEST(a_commit_waits_no_longer_than_its_deadline) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *offsets = partition(0, 5);
    dbi_consumer *consumer = NULL;
    int64_t start;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_commit(consumer, offsets, after_ms(10000), &err));
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 3000);
    start = dbi_clock_now(NULL);
    offsets->elems[0].offset = 6;
    TRY_RC(dbi_consumer_commit(consumer, offsets, after_ms(300), &err), DBI_ETIMEOUT);
    CHECK_HAS(err.msg, "may be committed");
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 250, 2000);
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 0);
done:
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    for (int i = 0; dbi_alloc_live() > 0 && i < 100; i++) /* librdkafka keeps it until the commit is answered */
        sleep_ms(100);
    rd_kafka_topic_partition_list_destroy(offsets);
    mock_down(&cluster);
}

TEST(what_the_group_gives_and_takes_is_told) {
    mock cluster = {0};
    const dbi_kafka_property properties[] = {{"bootstrap.servers", NULL}, {"group.id", "shared"}};
    dbi_kafka_property own[COUNT_OF(properties)];
    const rd_kafka_topic_partition_list_t *given = NULL;
    const char *topic = "t";
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    int64_t deadline = after_ms(15000);
    dbi_err err;

    mock_up(&cluster);
    memcpy(own, properties, sizeof own);
    own[0].value = cluster.bootstrap;
    TRY(dbi_consumer_new(&consumer, own, COUNT_OF(own), &err));
    TRY(dbi_consumer_subscribe(consumer, &topic, 1, &err));
    while (given == NULL) {
        CHECK(dbi_clock_left(NULL, deadline) > 0);
        dbi_batch_free(batch);
        batch = NULL;
        TRY(dbi_consumer_poll(consumer, 100, 0, after_ms(1000), &batch, &err));
        CHECK(dbi_batch_revoked(batch) == NULL);
        CHECK_INT(dbi_batch_count(batch), 0); /* a rebalance ends the batch */
        given = dbi_batch_assigned(batch);
    }
    CHECK_INT(given->cnt, 2);
    CHECK_STR(given->elems[0].topic, "t");
    CHECK(!dbi_batch_lost(batch));
done:
    dbi_batch_free(batch);
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    mock_down(&cluster);
}

TEST(an_unreachable_cluster_is_told_once_and_before_the_deadline) {
    rd_kafka_topic_partition_list_t *at = partition(0, 0);
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    int64_t low, high, start = dbi_clock_now(NULL);
    const char *topic = "t";
    dbi_err err;

    TRY(make(&consumer, NOWHERE, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    TRY_RC(dbi_consumer_poll(consumer, 10, 0, after_ms(15000), &batch, &err), DBI_EUNREACHABLE);
    CHECK(batch == NULL);
    CHECK_HAS(err.msg, "127.0.0.1:1");
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 0, 10000);
    CHECK(dbi_consumer_watermarks(consumer, "t", 0, after_ms(300), &low, &high, &err) != DBI_OK);
    TRY(dbi_consumer_subscribe(consumer, &topic, 1, &err));
    TRY(dbi_consumer_unassign(consumer, &err));
done:
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
}

TEST(admin_describes_and_says_what_failed) {
    mock cluster = {0};
    dbi_kafka_property bootstrap = {"bootstrap.servers", NULL};
    const struct rd_kafka_metadata *metadata = NULL;
    dbi_admin *admin = NULL;
    char *cluster_id = NULL;
    int32_t controller;
    int64_t start;
    dbi_err err;

    mock_up(&cluster);
    bootstrap.value = cluster.bootstrap;
    TRY(dbi_admin_new(&admin, &bootstrap, 1, &err));
    TRY(dbi_admin_describe(admin, true, NULL, after_ms(10000), &metadata, &cluster_id, &controller, &err));
    CHECK_INT(metadata->broker_cnt, 1);
    CHECK_INT(metadata->topic_cnt, 1);
    CHECK_INT(metadata->topics[0].partition_cnt, 2);
    CHECK(cluster_id != NULL);
    TRY(dbi_admin_close(admin, &err));
    CHECK_RC(dbi_admin_delete_topic(admin, "t", after_ms(100), &err), DBI_ECLOSED);
    dbi_admin_free(admin);
    admin = NULL;
    bootstrap.value = NOWHERE;
    TRY(dbi_admin_new(&admin, &bootstrap, 1, &err));
    start = dbi_clock_now(NULL);
    TRY_RC(dbi_admin_create_topic(admin, "u", 1, 1, NULL, 0, after_ms(15000), &err), DBI_EUNREACHABLE);
    CHECK_HAS(err.msg, "127.0.0.1:1");
    TRY_RC(dbi_admin_delete_topic(admin, "u", after_ms(15000), &err), DBI_EUNREACHABLE);
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 0, 10000);
done:
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    dbi_free(cluster_id);
    dbi_admin_free(admin);
    mock_down(&cluster);
}

TEST(waits_for_a_silent_broker_can_be_interrupted) {
    rd_kafka_topic_partition_list_t *at = partition(0, 0);
    const struct rd_kafka_metadata *metadata = NULL;
    dbi_kafka_property bootstrap = {"bootstrap.servers", NULL};
    dbi_consumer *consumer = NULL;
    dbi_admin *admin = NULL;
    int64_t low, high, start = dbi_clock_now(NULL);
    silent server;
    dbi_err err;

    silent_up(&server);
    bootstrap.value = server.address;
    TRY(make(&consumer, server.address, &err));
    dbi_kafka_set_check(dbi_consumer_kafka(consumer), check_twice);
    TRY(dbi_admin_new(&admin, &bootstrap, 1, &err));
    dbi_kafka_set_check(dbi_admin_kafka(admin), check_twice);
    TRY_RC(dbi_consumer_committed(consumer, at, DBI_FOREVER, &err), DBI_EINTR);
    TRY_RC(dbi_consumer_watermarks(consumer, "t", 0, DBI_FOREVER, &low, &high, &err), DBI_EINTR);
    TRY_RC(dbi_admin_describe(admin, true, NULL, DBI_FOREVER, &metadata, NULL, NULL, &err), DBI_EINTR);
    CHECK(metadata == NULL);
    TRY_RC(dbi_admin_create_topic(admin, "u", 1, 1, NULL, 0, DBI_FOREVER, &err), DBI_EINTR);
    TRY_RC(dbi_admin_delete_topic(admin, "u", DBI_FOREVER, &err), DBI_EINTR);
    CHECK_HAS(err.msg, "interrupted");
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 500, 6000);
done:
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    dbi_admin_free(admin);
    rd_kafka_topic_partition_list_destroy(at);
    (void)close(server.fd);
}

TEST(an_interrupted_close_can_be_freed) {
    mock cluster = {0};
    const char *topic = "t";
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    dbi_rc rc;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_subscribe(consumer, &topic, 1, &err));
    for (int i = 0; i < 50 && batch == NULL; i++) /* until it is a member */
        TRY(dbi_consumer_poll(consumer, 1, 0, after_ms(200), &batch, &err));
done:
    dbi_batch_free(batch);
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 2000);
    if (consumer != NULL) {
        dbi_kafka_set_check(dbi_consumer_kafka(consumer), check_twice);
        rc = dbi_consumer_close(consumer, &err);
        CHECK(rc == DBI_EINTR || rc == DBI_OK);
    }
    dbi_consumer_free(consumer);
    mock_down(&cluster);
}

TEST(what_was_read_is_shown) {
    mock cluster = {0};
    rd_kafka_topic_partition_list_t *at = partition(0, RD_KAFKA_OFFSET_BEGINNING);
    dbi_consumer *consumer = NULL;
    dbi_batch *batch = NULL;
    dbi_snapshot snapshot = {0};
    dbi_err err;

    mock_up(&cluster);
    fill(&cluster, 3); /* "v0", "v1" and a null, each with a key of one byte */
    TRY(make(&consumer, cluster.bootstrap, &err));
    TRY(dbi_consumer_assign(consumer, at, &err));
    for (uint64_t read = 0; read < 3; read += dbi_batch_count(batch)) {
        dbi_batch_free(batch);
        batch = NULL;
        TRY(dbi_consumer_poll(consumer, 10, 0, after_ms(10000), &batch, &err));
    }
    TRY(dbi_snapshot_take(&snapshot, &err));
    CHECK_INT(snapshot.count, 2);
    CHECK_STR(snapshot.metrics[0].name, "dbint_kafka_consumer_read_messages_total");
    CHECK_STR(snapshot.metrics[0].labels[0].value, "rdkafka");
    CHECK_INT(snapshot.metrics[0].counter, 3);
    CHECK_INT(snapshot.metrics[1].counter, 7);
done:
    dbi_snapshot_reset(&snapshot);
    dbi_batch_free(batch);
    if (consumer != NULL)
        CHECK_RC(dbi_consumer_close(consumer, NULL), DBI_OK);
    dbi_consumer_free(consumer);
    rd_kafka_topic_partition_list_destroy(at);
    mock_down(&cluster);
}

TEST_MAIN()
