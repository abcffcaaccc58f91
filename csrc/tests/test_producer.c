/* test_producer.c - the producer's counters, policies and failures, against a mock cluster */
#include "producer.h"

#include <poll.h>
#include <pthread.h>

#include "kafka_mock.h"
#include "metrics.h"
#include "producer_int.h"

/* A producer for that address with up to three more properties. */
static dbi_rc make(dbi_producer **producer, const char *bootstrap, dbi_when_full when_full,
                   const dbi_kafka_property more[3], dbi_err *err) {
    const dbi_producer_options options = {.when_full = when_full};
    dbi_kafka_property properties[6] = {
        {"bootstrap.servers", bootstrap}, {"linger.ms", "0"}, {"reconnect.backoff.max.ms", "200"}};
    size_t count = 3;

    for (size_t i = 0; more != NULL && i < 3 && more[i].name != NULL; i++)
        properties[count++] = more[i];
    return dbi_producer_new(producer, properties, count, &options, err);
}

static const dbi_message hello = {.value = "hello", .value_len = 5, .partition = RD_KAFKA_PARTITION_UA};

static void check_counts(const dbi_producer *producer, uint64_t accepted, uint64_t delivered, uint64_t failed) {
    dbi_producer_counts counts;

    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.accepted, accepted);
    CHECK_INT(counts.delivered, delivered);
    CHECK_INT(counts.failed, failed);
    CHECK_INT(counts.in_flight, accepted - delivered - failed);
}

TEST(a_wrong_property_is_named_and_the_nearest_suggested) {
    const dbi_producer_options options = {0};
    const dbi_kafka_property unknown = {"linger.mss", "5"}, value = {"linger.ms", "soon"}, other = {"qqqqqqqqqq", "1"};
    const dbi_kafka_property secret = {"enable.sasl.oauthbearer.unsecure.jwt", "s3cret"};
    dbi_producer *producer;
    dbi_err err;

    TRY_RC(dbi_producer_new(&producer, &unknown, 1, &options, &err), DBI_ECONFIG);
    CHECK(producer == NULL);
    CHECK_HAS(err.msg, "\"linger.mss\"");
    CHECK_HAS(err.msg, "did you mean \"linger.ms\"");
    TRY_RC(dbi_producer_new(&producer, &value, 1, &options, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "\"linger.ms\"");
    TRY_RC(dbi_producer_new(&producer, &other, 1, &options, &err), DBI_ECONFIG);
    CHECK(strstr(err.msg, "did you mean") == NULL);
    TRY_RC(dbi_producer_new(&producer, &secret, 1, &options, &err), DBI_ECONFIG);
done:;
}

TEST(a_secret_is_not_shown) {
    const dbi_producer_options options = {0};
    const dbi_kafka_property properties[] = {{"ssl.key.pem", "-----BEGIN not a key s3cret"}, {"ssl.key.password", "s3cret"},
                                             {"bootstrap.servers", NOWHERE}, {"security.protocol", "ssl"}};
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    dbi_err err;
    dbi_rc rc;

    rc = dbi_producer_new(&producer, properties, COUNT_OF(properties), &options, &err);
    if (rc == DBI_OK)
        rc = dbi_producer_topic(producer, "t", &topic, &err);
    CHECK(rc == DBI_ECONFIG || (rc == DBI_ENOMEM && test_injected()));
    CHECK(strstr(err.msg, "s3cret") == NULL);
    dbi_producer_free(producer);
}

TEST(a_producer_that_was_never_used_costs_nothing) {
    dbi_producer *producer = NULL;
    uint64_t left = 7;
    dbi_topic *topic;
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, NULL, &err));
    CHECK_RC(dbi_producer_flush(producer, DBI_FOREVER, &left, &err), DBI_OK);
    CHECK_INT(left, 0);
    check_counts(producer, 0, 0, 0);
    CHECK_RC(dbi_producer_purge(producer, &err), DBI_OK);
    CHECK_RC(dbi_producer_close(producer, &err), DBI_OK);
    CHECK_RC(dbi_producer_close(producer, &err), DBI_ECLOSED);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_ECLOSED);
    CHECK(dbi_producer_closed(producer));
done:
    dbi_producer_free(producer);
}

TEST(what_is_logged_while_opening_is_kept) {
    const dbi_producer_options options = {0};
    dbi_producer *producer = NULL;
    dbi_kafka_log log;
    dbi_topic *topic;
    uint64_t lost;
    dbi_err err;

    TRY(dbi_producer_new(&producer, NULL, 0, &options, &err)); /* no address: librdkafka warns of it */
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    CHECK_INT(dbi_kafka_take_logs(dbi_producer_kafka(producer), &log, 1, &lost), 1);
    CHECK_HAS(log.text, "bootstrap.servers");
    CHECK_INT(lost, 0);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
}

TEST(every_message_is_counted) {
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_producer_counts counts;
    dbi_topic *topic, *again;
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    CHECK_STR(dbi_topic_name(topic), "t");
    TRY(dbi_producer_topic(producer, "t", &again, &err));
    CHECK(again == topic && dbi_producer_knows_topic(producer, "t") && !dbi_producer_knows_topic(producer, "u"));
    for (int i = 0; i < 1000; i++)
        TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_flush(producer, after_ms(10000), &left, &err));
    check_counts(producer, 1000, 1000, 0);
    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.accepted_bytes, 5000);
    CHECK_INT(dbi_producer_reasons(producer, NULL, 0), 0);
    TRY(dbi_producer_close(producer, &err));
    CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_ECLOSED);
    check_counts(producer, 1000, 1000, 0);
done:
    dbi_producer_free(producer);
    mock_down(&cluster);
    /* without a close, the thread frees the producer a moment later */
    for (int i = 0; dbi_alloc_live() > 0 && i < 300; i++)
        sleep_ms(10);
}

TEST(headers_and_timestamp_are_taken) {
    mock cluster = {0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(2);
    dbi_message message = {.key = "k", .key_len = 1, .value = "", .partition = 1, .timestamp_ms = 1700000000000};
    dbi_producer *producer = NULL;
    dbi_mailbox *mailbox = NULL;
    dbi_ticket *ticket = NULL;
    dbi_topic *topic;
    dbi_err err;

    mock_up(&cluster);
    CHECK_INT(rd_kafka_header_add(headers, "id", -1, "1", -1), 0);
    message.headers = headers;
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_mailbox_new(&mailbox, false, &err));
    TRY(dbi_producer_send(producer, topic, &message, mailbox, &message, &err));
    ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(10000));
    CHECK(ticket != NULL && ticket->letter.user == &message && ticket->letter.next == NULL);
    CHECK_INT(ticket->error, 0);
    CHECK_INT(ticket->partition, 1);
    message.partition = 99;
    TRY_RC(dbi_producer_send(producer, topic, &message, mailbox, NULL, &err), DBI_EKAFKA);
    CHECK_HAS(err.msg, "no partition 99");
    CHECK_INT(dbi_mailbox_pending(mailbox), 0);
done:
    dbi_letter_free(ticket);
    dbi_mailbox_free(mailbox);
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    rd_kafka_headers_destroy(headers);
    mock_down(&cluster);
}

TEST(a_pollable_mailbox_is_woken_once_per_batch) {
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_mailbox *mailbox = NULL;
    struct pollfd fd = {.events = POLLIN};
    dbi_topic *topic;
    int64_t deadline = after_ms(10000);
    size_t taken = 0;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_mailbox_new(&mailbox, true, &err));
    fd.fd = dbi_mailbox_fd(mailbox);
    for (intptr_t i = 0; i < 10; i++)
        TRY(dbi_producer_send(producer, topic, &hello, mailbox, (void *)(i + 1), &err));
    while (taken < 10) {
        CHECK(dbi_clock_left(NULL, deadline) > 0);
        CHECK_INT(poll(&fd, 1, 5000), 1);
        for (dbi_ticket *ticket = (dbi_ticket *)dbi_mailbox_take(mailbox), *next; ticket != NULL; ticket = next, taken++) {
            next = (dbi_ticket *)ticket->letter.next;
            CHECK_INT(ticket->error, 0);
            dbi_letter_free(ticket);
        }
    }
    CHECK_INT(poll(&fd, 1, 0), 0); /* quiet again */
    CHECK_INT(dbi_mailbox_pending(mailbox), 0);
done:
    dbi_mailbox_free(mailbox);
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(a_mailbox_may_go_before_its_reports_come) {
    dbi_producer *producer = NULL;
    dbi_mailbox *mailbox = NULL;
    dbi_topic *topic;
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_mailbox_new(&mailbox, true, &err));
    for (int i = 0; i < 3; i++)
        TRY(dbi_producer_send(producer, topic, &hello, mailbox, NULL, &err));
    CHECK_INT(dbi_mailbox_pending(mailbox), 3);
    CHECK(dbi_mailbox_wait(mailbox, after_ms(20)) == NULL);
done:
    dbi_mailbox_free(mailbox);
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK); /* purges: the reports come now */
    dbi_producer_free(producer);
}

TEST(errors_of_the_broker_are_counted_by_reason) {
    static const dbi_kafka_property more[3] = {{"enable.idempotence", "false"}};
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_producer_reason reason = {0};
    dbi_topic *topic;
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    /* those that pass are librdkafka's to retry */
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 2, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_flush(producer, after_ms(15000), &left, &err));
    check_counts(producer, 1, 1, 0);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_flush(producer, after_ms(10000), &left, &err));
    check_counts(producer, 2, 1, 1);
    CHECK_INT(dbi_producer_reasons(producer, &reason, 1), 1);
    CHECK_INT(reason.code, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    CHECK_INT(reason.failed, 1);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

/* librdkafka takes the success of a later request for that of an earlier one that it was about to repeat. A broker that
 * does not know the producer yet accepts the later one alone, as the mock does. */
TEST_WITH(what_no_broker_has_acknowledged_is_not_delivered, .unswept = "an answer must come later than a request") {
    const dbi_message first = {.value = "hello", .value_len = 5};
    dbi_producer_counts counts;
    dbi_producer *producer;
    int64_t low, high;
    dbi_topic *topic;
    mock cluster = {0};
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    CHECK_RC(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_enqueue(producer, topic, &first, &err), DBI_OK);
    CHECK_RC(dbi_producer_flush(producer, after_ms(10000), &left, &err), DBI_OK);
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 300);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    for (int i = 0; i < 2; i++) { /* the second one before the first one's answer */
        CHECK_RC(dbi_producer_enqueue(producer, topic, &first, &err), DBI_OK);
        sleep_ms(60);
    }
    CHECK_RC(dbi_producer_flush(producer, after_ms(10000), &left, &err), DBI_OK);
    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.delivered + counts.failed, 3);
    CHECK_INT(rd_kafka_query_watermark_offsets(producer->kafka.rk, "t", 0, &low, &high, 5000), 0);
    CHECK_INT(counts.delivered, high - low);
    CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST_WITH(a_fatal_error_ends_the_producer_and_is_said, .unswept = "librdkafka's own threads") {
    dbi_mailbox *mailbox = NULL;
    dbi_producer *producer;
    dbi_ticket *ticket;
    dbi_topic *topic;
    mock cluster = {0};
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    CHECK_RC(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err), DBI_OK);
    CHECK_RC(dbi_mailbox_new(&mailbox, false, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_OK);
    CHECK_RC(dbi_producer_flush(producer, after_ms(10000), &left, &err), DBI_OK);
    CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
    CHECK_RC(dbi_producer_send(producer, topic, &hello, mailbox, NULL, &err), DBI_OK);
    CHECK_INT(rd_kafka_test_fatal_error(producer->kafka.rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "it was lost"),
              0);
    ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(10000));
    CHECK(ticket != NULL && ticket->error != 0 && ticket->fatal);
    CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_EKAFKA_FATAL);
    CHECK_HAS(err.msg, "make a new one");
    CHECK_HAS(err.msg, "it was lost");
    CHECK_INT(err.kafka, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int i = 0; dbi_kafka_fatal(dbi_producer_kafka(producer), &err) == 0; i++) { /* its event comes by the main queue */
        CHECK(i < 1000);
        sleep_ms(10);
    }
    CHECK_HAS(err.msg, "it was lost");
    check_counts(producer, 2, 1, 1);
    dbi_letter_free(ticket);
    dbi_mailbox_free(mailbox);
    CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(a_message_that_is_too_large_is_refused) {
    static const dbi_kafka_property more[3] = {{"message.max.bytes", "1000"}};
    static const char large[2000];
    const dbi_message message = {.value = large, .value_len = sizeof large, .partition = RD_KAFKA_PARTITION_UA};
    dbi_producer_counts counts;
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY_RC(dbi_producer_enqueue(producer, topic, &message, &err), DBI_ETOOBIG);
    CHECK_HAS(err.msg, "message.max.bytes");
    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.refused, 1);
    check_counts(producer, 0, 0, 0);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
}

/* Fills a queue of 10 that goes nowhere, then asks for one more. */
static void full_queue(dbi_when_full when_full, dbi_rc expected, uint64_t refused, uint64_t dropped) {
    static const dbi_kafka_property more[3] = {{"queue.buffering.max.messages", "10"}};
    dbi_producer_counts counts;
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    int64_t deadline;
    dbi_err err;
    dbi_rc rc;

    TRY(make(&producer, NOWHERE, when_full, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    for (int i = 0; i < 10; i++)
        TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY_RC(dbi_producer_enqueue(producer, topic, &hello, &err), expected);
    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.refused, refused);
    CHECK_INT(counts.dropped, dropped);
    if (when_full == DBI_WHEN_FULL_WAIT) {
        deadline = after_ms(30);
        while ((rc = dbi_producer_wait_room(producer, deadline, &err)) == DBI_OK)
            CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_EFULL);
        CHECK_RC(rc, DBI_ETIMEOUT);
        dbi_producer_gave_up(producer);
        dbi_producer_counts_get(producer, &counts);
        CHECK_INT(counts.refused, 1);
    }
    check_counts(producer, 10, 0, 0);
    TRY(dbi_producer_close(producer, &err));
    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.purged, 10);
    check_counts(producer, 10, 0, 10);
done:
    if (producer != NULL)
        (void)!dbi_producer_close(producer, NULL);
    dbi_producer_free(producer);
}

TEST(a_full_queue_refuses) {
    full_queue(DBI_WHEN_FULL_REFUSE, DBI_EFULL, 1, 0);
}

TEST(a_full_queue_lets_wait) {
    full_queue(DBI_WHEN_FULL_WAIT, DBI_EFULL, 0, 0);
}

TEST(a_full_queue_drops) {
    full_queue(DBI_WHEN_FULL_DROP, DBI_OK, 0, 1);
}

TEST(the_delivery_timeout_fails_and_the_brokers_say_why) {
    static const dbi_kafka_property more[3] = {{"message.timeout.ms", "300"}, {"statistics.interval.ms", "100"}};
    dbi_producer_reason reason = {0};
    dbi_kafka_log logs[8];
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    char *stats = NULL;
    uint64_t left, lost;
    size_t count;
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY_RC(dbi_producer_flush(producer, after_ms(20), &left, &err), DBI_ETIMEOUT);
    CHECK_INT(left, 1);
    TRY(dbi_producer_flush(producer, after_ms(10000), &left, &err));
    check_counts(producer, 1, 0, 1);
    CHECK_INT(dbi_producer_reasons(producer, &reason, 1), 1);
    CHECK_INT(reason.code, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
    CHECK_INT(dbi_kafka_last_error(dbi_producer_kafka(producer), &err), DBI_EUNREACHABLE);
    CHECK_HAS(err.msg, "127.0.0.1:1");
    count = dbi_kafka_take_logs(dbi_producer_kafka(producer), logs, COUNT_OF(logs), &lost);
    CHECK(count > 0 && logs[0].level <= 6 && logs[0].wall_us > 0);
    TRY(dbi_kafka_stats(dbi_producer_kafka(producer), &stats, &err));
    CHECK(test_injected() || stats != NULL);
    CHECK(stats == NULL || strstr(stats, "\"brokers\"") != NULL);
done:
    dbi_free(stats);
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
}

TEST(a_topic_that_must_exist_is_looked_up) {
    const dbi_producer_options options = {.require_topic_ns = 5 * DBI_NS_PER_S};
    const dbi_producer_options hasty = {.require_topic_ns = 200 * DBI_NS_PER_MS};
    dbi_kafka_property bootstrap = {"bootstrap.servers", NULL};
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    dbi_err err;

    mock_up(&cluster);
    rd_kafka_mock_topic_set_error(cluster.cluster, "missing", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    bootstrap.value = cluster.bootstrap;
    TRY(dbi_producer_new(&producer, &bootstrap, 1, &options, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY_RC(dbi_producer_topic(producer, "missing", &topic, &err), DBI_EKAFKA);
    CHECK_INT(err.kafka, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    CHECK_HAS(err.msg, "\"missing\"");
    CHECK(topic == NULL && !dbi_producer_knows_topic(producer, "missing"));
    CHECK_RC(dbi_producer_topic(producer, "", &topic, &err), DBI_EINVAL);
    TRY(dbi_producer_close(producer, &err));
    dbi_producer_free(producer);
    producer = NULL;
    bootstrap.value = NOWHERE;
    TRY(dbi_producer_new(&producer, &bootstrap, 1, &hasty, &err));
    TRY_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_EUNREACHABLE);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(a_broker_that_comes_back_gets_its_messages) {
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_flush(producer, after_ms(10000), &left, &err));
    CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
    for (int i = 0; i < 100; i++)
        TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY_RC(dbi_producer_flush(producer, after_ms(300), &left, &err), DBI_ETIMEOUT);
    CHECK_INT(rd_kafka_mock_broker_set_up(cluster.cluster, 1), 0);
    TRY(dbi_producer_flush(producer, after_ms(15000), &left, &err));
    check_counts(producer, 101, 101, 0);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(a_child_is_told_to_make_its_own) {
    dbi_producer *producer = NULL, *unused = NULL;
    dbi_topic *topic;
    uint64_t left;
    int status;
    pid_t pid;
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(make(&unused, NOWHERE, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    pid = fork();
    if (pid == 0) {
        (void)alarm(10);
        dbi_alloc_fail_nth(0);
        CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_EFORK);
        CHECK_HAS(err.msg, "fork");
        CHECK_RC(dbi_producer_flush(producer, DBI_FOREVER, &left, &err), DBI_EFORK);
        CHECK_RC(dbi_producer_close(producer, &err), DBI_EFORK);
        dbi_producer_free(producer);
#ifndef TEST_SANITIZED /* the sanitizers' own locks may be held in a child: its new threads would wait for ever */
        /* one that was not used before the fork is the child's to use */
        CHECK_RC(dbi_producer_topic(unused, "t", &topic, &err), DBI_OK);
        CHECK_RC(dbi_producer_enqueue(unused, topic, &hello, &err), DBI_OK);
        CHECK_RC(dbi_producer_close(unused, &err), DBI_OK);
        dbi_producer_free(unused);
#endif
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    dbi_producer_free(unused);
}

/* Reads until the other end has closed the connection: true when that was within five seconds. */
static bool sees_the_end(int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    char bytes[256];

    while (poll(&poller, 1, 5000) > 0)
        if (read(fd, bytes, sizeof bytes) <= 0)
            return true;
    return false;
}

TEST(a_child_does_not_hold_its_parents_connections) {
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    silent server;
    int connection = -1, status;
    pid_t pid;
    dbi_err err;

    silent_up(&server);
    TRY(make(&producer, server.address, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    connection = accept(server.fd, NULL, NULL);
    CHECK(connection >= 0);
    pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        (void)close(connection);
        (void)pause();
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    CHECK(sees_the_end(connection));
    (void)kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(WTERMSIG(status), SIGKILL); /* it was alive until then */
done:
    if (producer != NULL && !dbi_producer_closed(producer))
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    if (connection >= 0)
        (void)close(connection);
    (void)close(server.fd);
}

TEST(a_producer_let_go_of_delivers_first) {
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    dbi_err err;

    mock_up(&cluster);
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 300);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    for (int i = 0; i < 10; i++)
        TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
done:
    dbi_producer_free(producer);
    for (int i = 0; dbi_alloc_live() > 0 && i < 1000; i++)
        sleep_ms(10);
    CHECK_INT(dbi_alloc_live(), 0);
    mock_down(&cluster);
}

TEST(transactions_are_asked_for_in_order) {
    static const dbi_kafka_property more[3] = {{"transactional.id", "tx"}};
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_topic *topic;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    TRY(dbi_producer_init_transactions(producer, after_ms(15000), &err));
    TRY_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_ESTATE);
    CHECK_HAS(err.msg, "begin_transaction");
    TRY(dbi_producer_begin_transaction(producer, &err));
    TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_commit_transaction(producer, after_ms(10000), &err));
    check_counts(producer, 1, 1, 0);
    TRY(dbi_producer_begin_transaction(producer, &err));
    TRY(dbi_producer_abort_transaction(producer, after_ms(10000), &err));
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(transactions_ride_out_what_passes) {
    static const dbi_kafka_property more[3] = {{"transactional.id", "tx"}};
    const rd_kafka_resp_err_t loading = RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new("g");
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_err err;

    rd_kafka_topic_partition_list_add(offsets, "t", 0)->offset = 5;
    mock_up(&cluster);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_INIT_PRODUCER_ID, 3, loading, loading, loading);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_init_transactions(producer, after_ms(15000), &err));
    TRY(dbi_producer_begin_transaction(producer, &err));
    /* Longer than the first slices, which have to be made again. */
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 400);
    TRY(dbi_producer_send_offsets(producer, offsets, group, after_ms(15000), &err));
    rd_kafka_mock_broker_set_rtt(cluster.cluster, 1, 0);
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_END_TXN, 2, loading, loading);
    TRY(dbi_producer_commit_transaction(producer, after_ms(15000), &err));
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(offsets);
    mock_down(&cluster);
}

TEST(looking_a_topic_up_can_be_interrupted) {
    const dbi_producer_options options = {.require_topic_ns = 60 * DBI_NS_PER_S};
    dbi_kafka_property bootstrap = {"bootstrap.servers", NULL};
    dbi_producer *producer = NULL;
    int64_t start = dbi_clock_now(NULL);
    dbi_topic *topic;
    silent server;
    dbi_err err;

    silent_up(&server);
    bootstrap.value = server.address;
    TRY(dbi_producer_new(&producer, &bootstrap, 1, &options, &err));
    dbi_kafka_set_check(dbi_producer_kafka(producer), check_twice);
    TRY_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_EINTR);
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 100, 3000);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    (void)close(server.fd);
}

static const dbi_metric *metric_named(const dbi_snapshot *snapshot, const char *name) {
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->metrics[i].name, name) == 0)
            return &snapshot->metrics[i];
    CHECK_STR("no metric", name);
    return NULL;
}

TEST(what_was_sent_is_shown) {
    static const dbi_kafka_property more[3] = {{"client.id", "shown"}};
    mock cluster = {0};
    dbi_producer *producer = NULL;
    dbi_snapshot snapshot = {0};
    const dbi_metric *accepted, *latency;
    dbi_topic *topic;
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    TRY(make(&producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY(dbi_producer_topic(producer, "t", &topic, &err));
    for (int i = 0; i < 3; i++)
        TRY(dbi_producer_enqueue(producer, topic, &hello, &err));
    TRY(dbi_producer_flush(producer, after_ms(10000), &left, &err));
    TRY(dbi_snapshot_take(&snapshot, &err));
    accepted = metric_named(&snapshot, "dbint_kafka_producer_accepted_messages_total");
    CHECK_INT(accepted->counter, 3);
    CHECK_STR(accepted->labels[0].value, "shown");
    CHECK_STR(accepted->labels[1].value, "1");
    CHECK_INT(metric_named(&snapshot, "dbint_kafka_producer_accepted_bytes_total")->counter, 15);
    CHECK_INT(metric_named(&snapshot, "dbint_kafka_producer_delivered_messages_total")->counter, 3);
    CHECK_INT(metric_named(&snapshot, "dbint_kafka_producer_failed_messages_total")->counter, 0);
    CHECK_WITHIN(metric_named(&snapshot, "dbint_kafka_producer_in_flight_messages")->gauge, 0, 0);
    latency = metric_named(&snapshot, "dbint_kafka_producer_delivery_latency_seconds");
    CHECK_WITHIN(latency->histogram->count, 1, 3);
    CHECK_WITHIN(latency->histogram->max, 1, 10 * DBI_NS_PER_S);
done:
    dbi_snapshot_reset(&snapshot);
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
    mock_down(&cluster);
}

TEST(transactions_without_a_broker_end_at_the_deadline) {
    static const dbi_kafka_property more[3] = {{"transactional.id", "tx"}};
    dbi_producer *producer = NULL;
    int64_t start = dbi_clock_now(NULL);
    dbi_err err;

    TRY(make(&producer, NOWHERE, DBI_WHEN_FULL_REFUSE, more, &err));
    TRY_RC(dbi_producer_init_transactions(producer, after_ms(400), &err), DBI_ETIMEOUT);
    CHECK_WITHIN((dbi_clock_now(NULL) - start) / DBI_NS_PER_MS, 300, 5000);
done:
    if (producer != NULL)
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
}

/* -- many threads ------------------------------------------------------------------------------------------------- */

#define THREADS 3
#define PER_THREAD 5000

typedef struct crowd {
    dbi_producer *producer;
    dbi_topic *topic;
    atomic_bool stop;
    atomic_int refused;
} crowd;

static void *crowd_enqueue(void *arg) {
    crowd *all = arg;
    dbi_err err;

    for (int i = 0; i < PER_THREAD; i++)
        while (dbi_producer_enqueue(all->producer, all->topic, &hello, &err) == DBI_EFULL)
            (void)!dbi_producer_wait_room(all->producer, after_ms(1000), &err);
    return NULL;
}

static void *crowd_watch(void *arg) {
    crowd *all = arg;
    dbi_producer_counts counts, before = {0};

    while (!atomic_load(&all->stop)) {
        dbi_producer_counts_get(all->producer, &counts);
        CHECK_INT(counts.accepted, counts.delivered + counts.failed + counts.in_flight);
        CHECK(counts.accepted >= before.accepted && counts.delivered >= before.delivered);
        before = counts;
    }
    return NULL;
}

TEST_WITH(the_sum_holds_at_all_times, .timeout_s = 60, .unswept = "its threads allocate nothing of ours") {
    static const dbi_kafka_property more[3] = {{"queue.buffering.max.messages", "1000"}};
    mock cluster = {0};
    crowd all = {0};
    pthread_t threads[THREADS], watcher;
    uint64_t left;
    dbi_err err;

    mock_up(&cluster);
    CHECK_RC(make(&all.producer, cluster.bootstrap, DBI_WHEN_FULL_WAIT, more, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(all.producer, "t", &all.topic, &err), DBI_OK);
    CHECK_INT(pthread_create(&watcher, NULL, crowd_watch, &all), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, crowd_enqueue, &all), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_RC(dbi_producer_flush(all.producer, after_ms(30000), &left, &err), DBI_OK);
    atomic_store(&all.stop, true);
    CHECK_INT(pthread_join(watcher, NULL), 0);
    check_counts(all.producer, THREADS * PER_THREAD, THREADS * PER_THREAD, 0);
    CHECK_RC(dbi_producer_close(all.producer, &err), DBI_OK);
    dbi_producer_free(all.producer);
    mock_down(&cluster);
}

static void *crowd_until_closed(void *arg) {
    crowd *all = arg;
    dbi_err err;
    dbi_rc rc;

    do
        rc = dbi_producer_enqueue(all->producer, all->topic, &hello, &err);
    while (rc == DBI_OK || rc == DBI_EFULL);
    CHECK_RC(rc, DBI_ECLOSED);
    return NULL;
}

TEST_WITH(a_close_among_senders_loses_no_count, .timeout_s = 60, .unswept = "its threads allocate nothing of ours") {
    mock cluster = {0};
    crowd all = {0};
    pthread_t threads[THREADS];
    dbi_producer_counts counts;
    dbi_err err;

    mock_up(&cluster);
    CHECK_RC(make(&all.producer, cluster.bootstrap, DBI_WHEN_FULL_REFUSE, NULL, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(all.producer, "t", &all.topic, &err), DBI_OK);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, crowd_until_closed, &all), 0);
    sleep_ms(50);
    CHECK_RC(dbi_producer_close(all.producer, &err), DBI_OK);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    dbi_producer_counts_get(all.producer, &counts);
    CHECK_INT(counts.in_flight, 0);
    CHECK_INT(counts.accepted, counts.delivered + counts.failed);
    CHECK(counts.accepted > 0);
    dbi_producer_free(all.producer);
    mock_down(&cluster);
}

TEST_MAIN()
