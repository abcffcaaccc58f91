/* test_outlet.c - the outlet: what is confirmed when, what happens when it is full, and when a message is lost */
#include "cdc/outlet.h"

#include "kafka_mock.h"

/* Threads of librdkafka allocate, too, whenever they like. */
#define THREADS "librdkafka's threads deliver reports at any time"

static dbi_outlet *outlet_on(const mock *cluster, size_t messages, size_t bytes, int partitions) {
    const dbi_kafka_property properties[] = {
        {"bootstrap.servers", cluster->bootstrap}, {"linger.ms", "0"}, {"log_level", "0"}, {"max.in.flight", "1"}};
    dbi_outlet_config config;
    dbi_outlet *outlet;
    dbi_err err;

    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = sizeof properties / sizeof *properties;
    config.max_messages = messages;
    config.max_bytes = bytes;
    config.partitions = partitions;
    if (dbi_outlet_new(&outlet, &config, &err) != DBI_OK)
        test_fail(__FILE__, __LINE__, "%s", err.msg);
    return outlet;
}

static dbi_message message_of(const char *key, const char *value) {
    return (dbi_message){.key = key,
                         .key_len = strlen(key),
                         .value = value,
                         .value_len = strlen(value),
                         .partition = RD_KAFKA_PARTITION_UA};
}

static dbi_outlet_topic *topic_of(dbi_outlet *outlet) {
    dbi_outlet_topic *topic;
    dbi_err err;

    if (dbi_outlet_topic_get(outlet, "t", after_ms(10000), &topic, &err) != DBI_OK)
        test_fail(__FILE__, __LINE__, "%s", err.msg);
    return topic;
}

TEST_WITH(outlet_confirms_what_has_been_delivered, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_message message = message_of("k", "v");
    dbi_outlet_counts counts;
    dbi_outlet_topic *topic;
    dbi_outlet *outlet;

    mock_up(&cluster);
    outlet = outlet_on(&cluster, 100, 1000, 2);
    topic = topic_of(outlet);
    CHECK_STR(dbi_outlet_topic_name(topic), "t");
    CHECK_INT(dbi_outlet_topic_partitions(topic), 2);
    CHECK_INT(dbi_outlet_confirmed(outlet), 0);
    dbi_outlet_mark(outlet, 50); /* with nothing outstanding it counts at once */
    CHECK_INT(dbi_outlet_confirmed(outlet), 50);

    CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 0, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 100, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 0, NULL), DBI_OK);
    dbi_outlet_mark(outlet, 200);
    dbi_outlet_mark(outlet, 300); /* of the same message: the later one stands */
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(300), NULL), DBI_ETIMEOUT);
    CHECK_INT(dbi_outlet_confirmed(outlet), 50);
    CHECK(!dbi_outlet_idle(outlet));

    CHECK_INT(rd_kafka_mock_broker_set_up(cluster.cluster, 1), 0);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 300);
    CHECK(dbi_outlet_idle(outlet));
    dbi_outlet_mark(outlet, 250); /* it never falls */
    CHECK_INT(dbi_outlet_confirmed(outlet), 300);
    dbi_outlet_counts_get(outlet, &counts);
    CHECK_INT(counts.sent, 3);
    CHECK_INT(counts.delivered, 3);
    CHECK_INT(counts.sent_bytes, 6);
    CHECK_INT(counts.undelivered, 0);
    dbi_outlet_free(outlet);
    mock_down(&cluster);
}

TEST_WITH(outlet_is_full_by_number_and_by_bytes, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_message small = message_of("k", "v"), large = message_of("k", "123456789");
    dbi_outlet_counts counts;
    dbi_outlet_topic *topic;
    dbi_outlet *outlet;
    dbi_err err;

    mock_up(&cluster);
    outlet = outlet_on(&cluster, 4, 15, -1);
    topic = topic_of(outlet);
    CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
    CHECK_RC(dbi_outlet_send(outlet, topic, &large, 1, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_send(outlet, topic, &large, 2, &err), DBI_EFULL); /* 20 bytes */
    CHECK_RC(dbi_outlet_send(outlet, topic, &small, 2, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_send(outlet, topic, &small, 3, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_send_to_all(outlet, topic, &small, 4, &err), DBI_EFULL); /* needs two places */
    CHECK_RC(dbi_outlet_wait_room(outlet, after_ms(100), NULL), DBI_ETIMEOUT);
    CHECK_INT(rd_kafka_mock_broker_set_up(cluster.cluster, 1), 0);
    CHECK_RC(dbi_outlet_wait_room(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 3);
    CHECK_RC(dbi_outlet_send_to_all(outlet, topic, &small, 4, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 4);
    dbi_outlet_counts_get(outlet, &counts);
    CHECK_INT(counts.sent, 5);
    CHECK_INT(counts.full, 2);
    dbi_outlet_free(outlet);
    mock_down(&cluster);
}

TEST_WITH(outlet_takes_one_that_is_larger_than_its_window, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_message large = message_of("key", "more than ten bytes");
    dbi_outlet_topic *topic;
    dbi_outlet *outlet;

    mock_up(&cluster);
    outlet = outlet_on(&cluster, 4, 10, -1);
    topic = topic_of(outlet);
    CHECK_RC(dbi_outlet_send(outlet, topic, &large, 7, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 7);
    dbi_outlet_free(outlet);
    mock_down(&cluster);
}

TEST_WITH(outlet_never_passes_a_message_that_was_lost, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_message message = message_of("k", "v");
    dbi_outlet_topic *topic;
    dbi_outlet *outlet;
    dbi_err err;

    mock_up(&cluster);
    outlet = outlet_on(&cluster, 100, 1000, -1);
    topic = topic_of(outlet);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 10, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 20, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), &err), DBI_ETOOBIG);
    CHECK_HAS(err.msg, "topic \"t\"");
    CHECK_HAS(err.msg, "max.message.bytes");
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 30, &err), DBI_ETOOBIG); /* the reason stays */
    CHECK_INT(dbi_outlet_confirmed(outlet), 10);

    CHECK_RC(dbi_outlet_reset(outlet, &err), DBI_OK);
    CHECK(dbi_outlet_idle(outlet));
    CHECK_INT(dbi_outlet_confirmed(outlet), 10);
    topic = topic_of(outlet);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 20, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 20);
    dbi_outlet_free(outlet);
    mock_down(&cluster);
}

TEST_WITH(outlet_refuses_without_taking, .timeout_s = 60, .unswept = THREADS) {
    static char value[1100000];
    mock cluster = {0};
    dbi_message message = {.value = value, .value_len = sizeof value, .partition = RD_KAFKA_PARTITION_UA};
    dbi_outlet_topic *topic;
    dbi_outlet *outlet;
    dbi_err err;

    mock_up(&cluster);
    outlet = outlet_on(&cluster, 10, 10 << 20, 3);
    CHECK_RC(dbi_outlet_topic_get(outlet, "t", after_ms(10000), &topic, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "has 2 partitions, and 3 are configured");
    dbi_outlet_free(outlet);

    outlet = outlet_on(&cluster, 10, 10 << 20, 2);
    topic = topic_of(outlet);
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 1, &err), DBI_ETOOBIG);
    CHECK(dbi_outlet_idle(outlet));
    message.value_len = 10; /* and works on */
    CHECK_RC(dbi_outlet_send(outlet, topic, &message, 2, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_wait(outlet, after_ms(20000), NULL), DBI_OK);
    CHECK_INT(dbi_outlet_confirmed(outlet), 2);

    CHECK_RC(dbi_outlet_begin(outlet, NULL), DBI_OK);
    CHECK_RC(dbi_outlet_begin(outlet, &err), DBI_ESTATE);
    dbi_outlet_end(outlet);
    CHECK_RC(dbi_outlet_begin(outlet, NULL), DBI_OK);
    dbi_outlet_free(outlet);
    mock_down(&cluster);
}

TEST(outlet_is_made_or_not) {
    const dbi_kafka_property wrong[] = {{"bootstrap.server", NOWHERE}};
    dbi_outlet *outlet = NULL;
    dbi_outlet_config config;
    dbi_err err;

    dbi_outlet_defaults(&config);
    TRY(dbi_outlet_new(&outlet, &config, &err));
    dbi_outlet_free(outlet);
    outlet = NULL;
    config.max_messages = 0;
    TRY_RC(dbi_outlet_new(&outlet, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "max_messages");
    dbi_outlet_defaults(&config);
    config.partitions = 0;
    TRY_RC(dbi_outlet_new(&outlet, &config, &err), DBI_ECONFIG);
    dbi_outlet_defaults(&config);
    config.properties = wrong;
    config.property_count = 1;
    TRY_RC(dbi_outlet_new(&outlet, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "bootstrap.servers");
done:
    dbi_outlet_free(outlet);
}

TEST_MAIN()
