/* test_sorter.c - which of the messages that a broker has refused together are too large */
#include "cdc/sorter.h"

#include "kafka_mock.h"

#define THREADS "librdkafka's threads deliver reports at any time"

/* What a sorter's caller has, and does: waits, and notes what was refused. */
typedef struct caller {
    mock cluster;
    dbi_outlet *outlet;
    dbi_outlet_topic *topic;
    dbi_sorter *sorter;
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
static void caller_up(caller *self, size_t messages) {
    dbi_kafka_property properties[] = {
        {"bootstrap.servers", NULL}, {"linger.ms", "1000"}, {"log_level", "0"}, {"message.max.bytes", "5000"}};
    dbi_outlet_config config;
    dbi_err err;

    *self = (caller){.calls = {.wait = caller_wait, .refused = caller_refused, .arg = self}};
    mock_up(&self->cluster);
    properties[0].value = self->cluster.bootstrap;
    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = sizeof properties / sizeof *properties;
    config.max_messages = messages;
    CHECK_RC(dbi_outlet_new(&self->outlet, &config, &err), DBI_OK);
    CHECK_RC(dbi_outlet_topic_get(self->outlet, "t", after_ms(10000), &self->topic, &err), DBI_OK);
    CHECK_RC(dbi_sorter_new(&self->sorter, self->outlet, &err), DBI_OK);
}

static void caller_down(caller *self) {
    dbi_sorter_free(self->sorter);
    dbi_outlet_free(self->outlet);
    mock_down(&self->cluster);
}

static dbi_rc add(const caller *self, const char *key, size_t size, dbi_err *err) {
    static char value[10000];
    const dbi_message message = {.key = key, .key_len = strlen(key), .value = value, .value_len = size};

    return dbi_sorter_add(self->sorter, &self->calls, self->topic, &message, false, "text", err);
}

TEST_WITH(sorter_finds_what_is_too_large, .timeout_s = 60, .unswept = THREADS) {
    caller self;
    dbi_err err;

    caller_up(&self, 100);
    dbi_sorter_mark(self.sorter, 10); /* it has nothing: the outlet's */
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 10);

    /* together, then the second of them alone */
    rd_kafka_mock_push_request_errors(self.cluster.cluster, MOCK_PRODUCE, 3, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    for (const char *key = "abc"; *key != '\0'; key++)
        CHECK_RC(add(&self, (char[]){*key, '\0'}, 100, &err), DBI_OK);
    dbi_sorter_mark(self.sorter, 20);
    CHECK(!dbi_sorter_empty(self.sorter));
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 10);
    CHECK_RC(dbi_sorter_send(self.sorter, &self.calls, &err), DBI_OK);
    CHECK(dbi_sorter_empty(self.sorter));
    CHECK_STR(self.refused, "b:text ");
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 20);

    /* together alone */
    rd_kafka_mock_push_request_errors(self.cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    CHECK_RC(add(&self, "d", 100, &err), DBI_OK);
    CHECK_RC(add(&self, "e", 100, &err), DBI_OK);
    CHECK_RC(dbi_sorter_send(self.sorter, &self.calls, &err), DBI_OK);
    CHECK_STR(self.refused, "b:text ");

    /* by the producer */
    CHECK_RC(add(&self, "f", 6000, &err), DBI_OK);
    CHECK_RC(add(&self, "g", 100, &err), DBI_OK);
    dbi_sorter_mark(self.sorter, 30);
    CHECK_RC(dbi_sorter_send(self.sorter, &self.calls, &err), DBI_OK);
    CHECK_STR(self.refused, "b:text f:text ");
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 30);

    caller_down(&self);
}

TEST_WITH(sorter_ends_where_its_caller_wants, .timeout_s = 60, .unswept = THREADS) {
    caller self;
    dbi_err err;

    caller_up(&self, 100);
    self.answer = DBI_ETOOBIG;
    rd_kafka_mock_push_request_errors(self.cluster.cluster, MOCK_PRODUCE, 2, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    CHECK_RC(add(&self, "a", 100, &err), DBI_OK);
    CHECK_RC(add(&self, "b", 100, &err), DBI_OK);
    dbi_sorter_mark(self.sorter, 20);
    CHECK_RC(dbi_sorter_send(self.sorter, &self.calls, &err), DBI_ETOOBIG);
    CHECK_STR(err.msg, "text");
    CHECK_STR(self.refused, "a:text ");
    CHECK(dbi_sorter_empty(self.sorter));
    CHECK(!dbi_sorter_needed(self.outlet)); /* it is the caller's answer, not the outlet's end */
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 0);
    caller_down(&self);
}

TEST_WITH(sorter_sends_what_is_enough_through_a_small_window, .timeout_s = 60, .unswept = THREADS) {
    dbi_outlet_counts counts;
    unsigned added = 0;
    caller self;
    dbi_err err;

    caller_up(&self, 50);
    do
        CHECK_RC(add(&self, "k", 4000, &err), DBI_OK);
    while (++added < 1000 && !dbi_sorter_empty(self.sorter));
    CHECK(added < 1000);
    dbi_outlet_counts_get(self.outlet, &counts);
    CHECK_INT(counts.delivered, added);
    CHECK(counts.full > 0);
    caller_down(&self);
}

TEST(sorter_keeps_copies) {
    const dbi_kafka_property properties[] = {{"bootstrap.servers", NOWHERE}};
    dbi_outlet_config config;
    caller self = {0};
    dbi_err err;

    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = 1;
    TRY(dbi_outlet_new(&self.outlet, &config, &err));
    TRY(dbi_sorter_new(&self.sorter, self.outlet, &err));
    TRY(add(&self, "a", 100, &err));
    TRY(add(&self, "b", 0, &err));
    dbi_sorter_mark(self.sorter, 20);
    CHECK(!dbi_sorter_empty(self.sorter));
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 0);
    dbi_sorter_clear(self.sorter);
    CHECK(dbi_sorter_empty(self.sorter));
    dbi_sorter_mark(self.sorter, 30);
    CHECK_INT(dbi_outlet_confirmed(self.outlet), 30);
done:
    dbi_sorter_free(self.sorter);
    dbi_outlet_free(self.outlet);
}

TEST_MAIN()
