/* test_sorter.c - which of the messages that a broker has refused together are too large */
#include "cdc/sorter.h"

#include "kafka_mock.h"

#define THREADS "librdkafka's threads deliver reports at any time"

/* What a sorter's caller does: waits, and notes what was refused. */
typedef struct caller {
    dbi_outlet *outlet;
    dbi_sorter_calls calls;
    dbi_rc answer; /* to what is refused */
    char refused[64];
} caller;

static dbi_rc caller_wait(void *arg, bool all, dbi_err *err) {
    const caller *self = arg;

    return all ? dbi_outlet_wait(self->outlet, after_ms(20000), err)
               : dbi_outlet_wait_room(self->outlet, after_ms(20000), err);
}

static dbi_rc caller_refused(void *arg, const void *key, size_t key_len, const char *text, dbi_err *err) {
    caller *self = arg;
    size_t used = strlen(self->refused);

    CHECK(!dbi_sorter_needed(self->outlet));
    (void)snprintf(self->refused + used, sizeof self->refused - used, "%.*s:%s ", (int)key_len, (const char *)key, text);
    return self->answer == DBI_OK ? DBI_OK : dbi_err_set(err, self->answer, "%s", text);
}

/* What is sent within the second leaves in one request. */
static void caller_up(caller *self, const char *bootstrap, size_t messages) {
    const dbi_kafka_property properties[] = {
        {"bootstrap.servers", bootstrap}, {"linger.ms", "1000"}, {"log_level", "0"}, {"message.max.bytes", "5000"}};
    dbi_outlet_config config;
    dbi_err err;

    *self = (caller){.calls = {.wait = caller_wait, .refused = caller_refused, .arg = self}};
    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = sizeof properties / sizeof *properties;
    config.max_messages = messages;
    if (dbi_outlet_new(&self->outlet, &config, &err) != DBI_OK)
        test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static dbi_rc add(dbi_sorter *sorter, const caller *self, dbi_outlet_topic *topic, const char *key, size_t size,
                  dbi_err *err) {
    static char value[10000];
    const dbi_message message = {.key = key, .key_len = strlen(key), .value = value, .value_len = size};

    return dbi_sorter_add(sorter, &self->calls, topic, &message, false, "text", err);
}

TEST_WITH(sorter_finds_what_is_too_large, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_outlet_topic *topic;
    dbi_sorter *sorter;
    caller self;
    dbi_err err;

    mock_up(&cluster);
    caller_up(&self, cluster.bootstrap, 100);
    CHECK_RC(dbi_outlet_topic_get(self.outlet, "t", after_ms(10000), &topic, &err), DBI_OK);
    CHECK_RC(dbi_sorter_new(&sorter, self.outlet, &err), DBI_OK);
    dbi_sorter_mark(sorter, 10); /* it has nothing: the outlet's */
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 10);

    /* together, then the second of them alone */
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 3, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    for (const char *key = "abc"; *key != '\0'; key++)
        CHECK_RC(add(sorter, &self, topic, (char[]){*key, '\0'}, 100, &err), DBI_OK);
    dbi_sorter_mark(sorter, 20);
    CHECK(!dbi_sorter_empty(sorter));
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 10);
    CHECK_RC(dbi_sorter_send(sorter, &self.calls, &err), DBI_OK);
    CHECK(dbi_sorter_empty(sorter));
    CHECK_STR(self.refused, "b:text ");
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 20);

    /* together alone */
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    CHECK_RC(add(sorter, &self, topic, "d", 100, &err), DBI_OK);
    CHECK_RC(add(sorter, &self, topic, "e", 100, &err), DBI_OK);
    CHECK_RC(dbi_sorter_send(sorter, &self.calls, &err), DBI_OK);
    CHECK_STR(self.refused, "b:text ");

    /* by the producer */
    CHECK_RC(add(sorter, &self, topic, "f", 6000, &err), DBI_OK);
    CHECK_RC(add(sorter, &self, topic, "g", 100, &err), DBI_OK);
    dbi_sorter_mark(sorter, 30);
    CHECK_RC(dbi_sorter_send(sorter, &self.calls, &err), DBI_OK);
    CHECK_STR(self.refused, "b:text f:text ");
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 30);

    dbi_sorter_free(sorter);
    dbi_outlet_free(self.outlet);
    mock_down(&cluster);
}

TEST_WITH(sorter_ends_where_its_caller_wants, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_outlet_topic *topic;
    dbi_sorter *sorter;
    caller self;
    dbi_err err;

    mock_up(&cluster);
    caller_up(&self, cluster.bootstrap, 100);
    self.answer = DBI_ETOOBIG;
    CHECK_RC(dbi_outlet_topic_get(self.outlet, "t", after_ms(10000), &topic, &err), DBI_OK);
    CHECK_RC(dbi_sorter_new(&sorter, self.outlet, &err), DBI_OK);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 2, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    CHECK_RC(add(sorter, &self, topic, "a", 100, &err), DBI_OK);
    CHECK_RC(add(sorter, &self, topic, "b", 100, &err), DBI_OK);
    dbi_sorter_mark(sorter, 20);
    CHECK_RC(dbi_sorter_send(sorter, &self.calls, &err), DBI_ETOOBIG);
    CHECK_STR(err.msg, "text");
    CHECK_STR(self.refused, "a:text ");
    CHECK(dbi_sorter_empty(sorter));
    CHECK(!dbi_sorter_needed(self.outlet)); /* it is the caller's answer, not the outlet's end */
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 0);
    dbi_sorter_free(sorter);
    dbi_outlet_free(self.outlet);
    mock_down(&cluster);
}

TEST_WITH(sorter_sends_what_is_enough_through_a_small_window, .timeout_s = 60, .unswept = THREADS) {
    mock cluster = {0};
    dbi_outlet_topic *topic;
    dbi_outlet_counts counts;
    dbi_sorter *sorter;
    unsigned added = 0;
    caller self;
    dbi_err err;

    mock_up(&cluster);
    caller_up(&self, cluster.bootstrap, 50);
    CHECK_RC(dbi_outlet_topic_get(self.outlet, "t", after_ms(10000), &topic, &err), DBI_OK);
    CHECK_RC(dbi_sorter_new(&sorter, self.outlet, &err), DBI_OK);
    do
        CHECK_RC(add(sorter, &self, topic, "k", 4000, &err), DBI_OK);
    while (++added < 1000 && !dbi_sorter_empty(sorter));
    CHECK(added < 1000);
    dbi_outlet_counts_get(self.outlet, &counts);
    CHECK_INT(counts.delivered, added);
    CHECK(counts.full > 0);
    dbi_sorter_free(sorter);
    dbi_outlet_free(self.outlet);
    mock_down(&cluster);
}

TEST(sorter_keeps_copies) {
    const dbi_kafka_property properties[] = {{"bootstrap.servers", NOWHERE}};
    dbi_outlet *outlet = NULL;
    dbi_sorter *sorter = NULL;
    dbi_outlet_config config;
    const caller self = {0};
    dbi_err err;

    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = 1;
    TRY(dbi_outlet_new(&outlet, &config, &err));
    TRY(dbi_sorter_new(&sorter, outlet, &err));
    TRY(add(sorter, &self, NULL, "a", 100, &err));
    TRY(add(sorter, &self, NULL, "b", 0, &err));
    dbi_sorter_mark(sorter, 20);
    CHECK(!dbi_sorter_empty(sorter));
    CHECK_INT(dbi_outlet_confirmed(outlet), 0);
    dbi_sorter_clear(sorter);
    CHECK(dbi_sorter_empty(sorter));
    dbi_sorter_mark(sorter, 30);
    CHECK_INT(dbi_outlet_confirmed(outlet), 30);
done:
    dbi_sorter_free(sorter);
    dbi_outlet_free(outlet);
}

TEST_MAIN()
