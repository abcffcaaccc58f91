/* test_producer_journal.c - messages that wait on disk: order, refusals, policies, what a dead process leaves. Against a
 * mock cluster, which neither deduplicates nor fences; restarts of a real broker are tested from Python. */
#include "producer_journal.h"

#include <sys/wait.h>

#include "bytes_int.h"
#include "journal_test.h"
#include "kafka_mock.h"
#include "producer_record.h"

#define LEAVES "threads of the journal allocate at times of their own"

typedef struct setup {
    const char *bootstrap;
    dbi_when_full when_full;
    dbi_producer_journal_config config;
    dbi_kafka_property more[3];
} setup;

static setup setup_at(const place *at, const char *bootstrap) {
    setup made = {.bootstrap = bootstrap};

    dbi_producer_journal_defaults(&made.config);
    made.config.journal.directory = at->path;
    made.config.journal.segment_min = 16384;
    made.config.journal.segment_max = 65536;
    made.config.journal.max_bytes = 1 << 20;
    made.config.retry_min = 20 * DBI_NS_PER_MS;
    made.config.retry_max = 100 * DBI_NS_PER_MS;
    made.config.adopt_every = 100 * DBI_NS_PER_MS;
    return made;
}

static dbi_rc make(dbi_producer **producer, const setup *with, dbi_err *err) {
    const dbi_producer_options options = {.when_full = with->when_full, .journal = &with->config};
    dbi_kafka_property properties[8] = {{"bootstrap.servers", with->bootstrap},
                                        {"linger.ms", "1"},
                                        {"reconnect.backoff.max.ms", "100"},
                                        {"topic.metadata.refresh.interval.ms", "1000"},
                                        {"topic.metadata.propagation.max.ms", "300"}};
    size_t count = 5;

    for (size_t i = 0; i < 3 && with->more[i].name != NULL; i++)
        properties[count++] = with->more[i];
    return dbi_producer_new(producer, properties, count, &options, err);
}

static void put_away(dbi_producer *producer) {
    if (producer != NULL && !dbi_producer_closed(producer))
        CHECK_RC(dbi_producer_close(producer, NULL), DBI_OK);
    dbi_producer_free(producer);
}

static dbi_rc say(dbi_producer *producer, dbi_topic *topic, const char *key, const char *value, dbi_err *err) {
    const dbi_message message = {.key = key,
                                 .key_len = key != NULL ? strlen(key) : 0,
                                 .value = value,
                                 .value_len = strlen(value),
                                 .partition = RD_KAFKA_PARTITION_UA};

    return dbi_producer_enqueue(producer, topic, &message, err);
}

/* Messages k0..k9 in turn, values from..to-1. */
static void say_many(dbi_producer *producer, const char *name, int from, int to) {
    dbi_topic *topic;
    dbi_err err;

    CHECK_RC(dbi_producer_topic(producer, name, &topic, &err), DBI_OK);
    for (int i = from; i < to; i++) {
        char key[8], value[16];

        (void)snprintf(key, sizeof key, "k%d", i % 10);
        (void)snprintf(value, sizeof value, "%d", i);
        CHECK_RC(say(producer, topic, key, value, &err), DBI_OK);
    }
}

static dbi_producer_counts counts_of(const dbi_producer *producer) {
    dbi_producer_counts counts;

    dbi_producer_counts_get(producer, &counts);
    CHECK_INT(counts.accepted + counts.recovered,
              counts.delivered + counts.failed + counts.journaled + counts.dropped_oldest + counts.damaged);
    return counts;
}

static void flushed(dbi_producer *producer) {
    uint64_t left;
    dbi_err err;
    dbi_rc rc = dbi_producer_flush(producer, after_ms(15000), &left, &err);

    if (rc != DBI_OK) {
        dbi_producer_journal_view view;

        CHECK(dbi_producer_journal_view_get(producer, &view));
        test_fail(__FILE__, __LINE__, "%s (state %d: %s)", err.msg, (int)view.state, view.why);
    }
    CHECK_INT(left, 0);
}

/* What has arrived: every message of the topic, partition by partition. */
typedef struct arrived {
    int count, distinct;
    int last[10];      /* of each key, the last value */
    bool in_order;     /* without those that came before: a message is followed by all that came after it */
    char ids[4096][37];
    int values[4096];
} arrived;

static arrived all;

static void consume_all(const mock *cluster, const char *topic, int expected) {
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(2);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int64_t deadline = after_ms(10000);
    bool seen[8192] = {false};
    char text[200];
    rd_kafka_t *rk;

    memset(&all, 0, sizeof all);
    all.in_order = true;
    for (int i = 0; i < 10; i++)
        all.last[i] = -1;
    CHECK_INT(rd_kafka_conf_set(conf, "bootstrap.servers", cluster->bootstrap, text, sizeof text), 0);
    CHECK_INT(rd_kafka_conf_set(conf, "group.id", "g", text, sizeof text), 0);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    CHECK(rk != NULL);
    for (int i = 0; i < 2; i++)
        rd_kafka_topic_partition_list_add(parts, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    CHECK_INT(rd_kafka_assign(rk, parts), 0);
    while (all.distinct < expected && dbi_clock_left(NULL, deadline) > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 100);
        rd_kafka_headers_t *headers;
        const void *id;
        size_t length;

        if (message == NULL)
            continue;
        if (message->err == 0) {
            int value, key;

            CHECK(message->len < 16 && message->key_len == 2 && all.count < 4096);
            memcpy(text, message->payload, message->len);
            text[message->len] = '\0';
            value = atoi(text);
            key = ((const char *)message->key)[1] - '0';
            CHECK_INT(rd_kafka_message_headers(message, &headers), 0);
            CHECK_INT(rd_kafka_header_get_last(headers, DBI__MESSAGE_ID, &id, &length), 0);
            CHECK_INT(length, 36);
            memcpy(all.ids[all.count], id, length);
            all.values[all.count++] = value;
            all.distinct += !seen[value];
            if (!seen[value] && value < all.last[key])
                all.in_order = false; /* the first time, and behind a later one */
            seen[value] = true;
            all.last[key] = value;
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(parts);
    (void)rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* -- the record ----------------------------------------------------------------------------------------------------- */

TEST(a_record_is_as_the_format_says) {
    static const uint8_t expected[] = {
        1, 3, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0,         /* 1700000000000 */
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,                          /* id */
        1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,                                 /* lengths, headers */
        't', 'k', 'v', 'w', 1, 0, 0, 0, 1, 0, 0, 0, 'h', 'x', 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'n'};
    static const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(2), *read = NULL;
    dbi_message message = {.key = "k", .key_len = 1, .value = "vw", .value_len = 2, .partition = -1, .headers = headers};
    uint8_t body[sizeof expected];
    dbi__message_view view;
    const void *value;
    size_t length;

    CHECK_INT(rd_kafka_header_add(headers, "h", -1, "x", 1), 0);
    CHECK_INT(rd_kafka_header_add(headers, "n", -1, NULL, 0), 0);
    CHECK_INT(dbi__message_size("t", &message), sizeof expected);
    dbi__message_write("t", &message, 1700000000000, id, body);
    for (size_t i = 0; i < sizeof expected; i++)
        if (body[i] != expected[i])
            test_fail(__FILE__, __LINE__, "byte %zu is %u, expected %u", i, body[i], expected[i]);
    CHECK(dbi__message_read(body, sizeof body, &view));
    CHECK(view.topic_length == 1 && view.key_length == 1 && view.value_length == 2 && view.header_count == 2);
    CHECK_INT(view.timestamp_ms, 1700000000000);
    read = dbi__message_headers(&view);
    CHECK_INT(rd_kafka_header_cnt(read), 3);
    CHECK_INT(rd_kafka_header_get_last(read, "n", &value, &length), 0);
    CHECK(value == NULL && length == 0);
    CHECK_INT(rd_kafka_header_get_last(read, "dbint.id", &value, &length), 0);
    CHECK(memcmp(value, "01020304-0506-0708-090a-0b0c0d0e0f10", 36) == 0);
    /* one that is cut anywhere, or longer, is refused and never read past its end */
    for (size_t cut = 0; cut < sizeof body; cut++) {
        uint8_t *part = malloc(cut + 1);

        memcpy(part, body, cut);
        CHECK(!dbi__message_read(part, cut, &view));
        free(part);
    }
    {
        uint8_t longer[sizeof expected + 1] = {0};

        memcpy(longer, body, sizeof body);
        CHECK(!dbi__message_read(longer, sizeof longer, &view));
    }
    rd_kafka_headers_destroy(read);
    rd_kafka_headers_destroy(headers);
}

TEST(null_and_empty_are_kept_apart) {
    dbi_message message = {.value = "", .partition = 3, .timestamp_ms = 7};
    static const uint8_t none[16];
    uint8_t body[64];
    dbi__message_view view;
    size_t length = dbi__message_size("t", &message);

    dbi__message_write("t", &message, 1, none, body);
    CHECK(dbi__message_read(body, length, &view));
    CHECK(view.key == NULL && view.value != NULL && view.value_length == 0);
    CHECK(view.partition == 3 && view.timestamp_ms == 7);
    message.value = NULL;
    dbi__message_write("t", &message, 1, none, body);
    CHECK(dbi__message_read(body, length, &view) && view.value == NULL);
    CHECK_INT(dbi__message_size("", &message), 0);
}

TEST(lanes_are_chosen_as_java_clients_choose_partitions) {
    /* of Kafka's own tests (UtilsTest.testMurmur2) */
    CHECK_INT((int32_t)dbi__murmur2("21", 2), -973932308);
    CHECK_INT((int32_t)dbi__murmur2("foobar", 6), -790332482);
    CHECK_INT((int32_t)dbi__murmur2("a-little-bit-long-string", 24), -985981536);
    CHECK_INT((int32_t)dbi__murmur2("abc", 3), 479470107);
}

/* -- the way through ------------------------------------------------------------------------------------------------ */

TEST(what_cannot_work_is_refused) {
    place at;
    setup with;
    dbi_producer *producer = NULL;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    with.more[0] = (dbi_kafka_property){"message.timeout.ms", "5000"};
    TRY_RC(make(&producer, &with, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "message.timeout.ms");
    with.more[0] = (dbi_kafka_property){"enable.idempotence", "false"};
    TRY_RC(make(&producer, &with, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "order of messages");
    with.more[0] = (dbi_kafka_property){"transactional.id", "x"};
    TRY_RC(make(&producer, &with, &err), DBI_ECONFIG);
    with.more[0] = (dbi_kafka_property){NULL, NULL};
    with.config.lanes = 65;
    TRY_RC(make(&producer, &with, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "lanes");
    with.config.lanes = 1;
    with.config.durability = DBI_DURABILITY_MEMORY;
    TRY_RC(make(&producer, &with, &err), DBI_ECONFIG);
    with = setup_at(&at, NOWHERE);
    with.config.journal.directory = "/proc/nowhere";
    TRY(make(&producer, &with, &err)); /* it is opened with the client */
    TRY_RC(dbi_producer_start(producer, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "/proc/nowhere");
done:
    put_away(producer);
    place_remove(&at);
}

TEST(opening_without_memory_leaves_nothing_behind) {
    dbi_producer *producer = NULL;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    with.config.lanes = 2;
    TRY(make(&producer, &with, &err));
    TRY(dbi_producer_start(producer, &err));
done:
    put_away(producer);
    place_remove(&at);
}

TEST_WITH(messages_go_through, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_mailbox *mailbox = NULL;
    dbi_ticket *ticket;
    dbi_producer *producer;
    dbi_producer_journal_view view;
    dbi_topic *topic;
    setup with;
    place at;
    dbi_err err;
    const dbi_message hello = {.key = "k1", .key_len = 2, .value = "500", .value_len = 3, .partition = 1};

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 500);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_mailbox_new(&mailbox, false, &err), DBI_OK);
    CHECK_RC(dbi_producer_send(producer, topic, &hello, mailbox, &at, &err), DBI_OK);
    ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(10000));
    CHECK(ticket != NULL && ticket->letter.user == &at);
    CHECK(ticket->error == 0 && ticket->partition == 1 && ticket->offset >= 0 && !ticket->journaled);
    dbi_letter_free(ticket);
    flushed(producer);
    CHECK_INT(counts_of(producer).delivered, 501);
    CHECK_INT(counts_of(producer).journaled, 0);
    CHECK(dbi_producer_journal_view_get(producer, &view));
    CHECK_INT(view.state, DBI_PRODUCER_JOURNAL_RUNNING);
    CHECK_STR(view.journal.directory, at.path);
    CHECK_INT(view.resent, 0);
    put_away(producer);
    consume_all(&cluster, "t", 501);
    CHECK_INT(all.count, 501);
    CHECK(all.in_order);
    dbi_mailbox_free(mailbox);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(with_no_broker_messages_wait, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_counts counts;
    uint64_t left;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 300);
    CHECK_RC(dbi_producer_flush(producer, after_ms(100), &left, &err), DBI_ETIMEOUT);
    CHECK_INT(left, 300);
    counts = counts_of(producer);
    CHECK(counts.accepted == 300 && counts.journaled == 300 && counts.in_flight == 300);
    CHECK_RC(dbi_producer_purge(producer, &err), DBI_ESTATE);
    put_away(producer);

    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.config.lanes = 3; /* another number: what was there goes first all the same */
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_producer_start(producer, &err), DBI_OK);
    say_many(producer, "t", 300, 600);
    flushed(producer);
    counts = counts_of(producer);
    CHECK(counts.accepted == 300 && counts.recovered == 300 && counts.delivered == 600);
    put_away(producer);
    consume_all(&cluster, "t", 600);
    CHECK_INT(all.count, 600);
    CHECK(all.in_order);
    mock_down(&cluster);
    place_remove(&at);
}

/* A process that waits to be told, writes messages and is killed. It is forked before there is any thread. */
typedef struct victim {
    pid_t pid;
    int go;
} victim;

static victim victim_make(const setup *with, int from, int to) {
    int ends[2];
    victim made;

    CHECK_INT(pipe(ends), 0);
    made.pid = fork();
    made.go = ends[1];
    if (made.pid == 0) {
        dbi_producer *producer;
        dbi_err err;
        char byte;

        (void)close(ends[1]);
        if (read(ends[0], &byte, 1) != 1)
            _exit(1);
        CHECK_RC(make(&producer, with, &err), DBI_OK);
        say_many(producer, "t", from, to);
        (void)kill(getpid(), SIGKILL);
    }
    (void)close(ends[0]);
    return made;
}

static void victim_go(const victim *one) {
    int status;

    CHECK_INT(write(one->go, "", 1), 1);
    CHECK(waitpid(one->pid, &status, 0) == one->pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)close(one->go);
}

TEST_WITH(what_killed_processes_left_goes_first, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer, *neighbour;
    dbi_producer_counts counts;
    setup with, away;
    victim first, second;
    place at;
    dbi_err err;

    place_make(&at);
    away = setup_at(&at, NOWHERE);
    first = victim_make(&away, 0, 100);
    second = victim_make(&away, 200, 300);
    CHECK_RC(make(&neighbour, &away, &err), DBI_OK); /* has slot 0 while another one has slot 1 */
    CHECK_RC(dbi_producer_start(neighbour, &err), DBI_OK);
    victim_go(&first);
    put_away(neighbour);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK); /* slot 0, and adopts slot 1 */
    say_many(producer, "t", 100, 200);
    flushed(producer);
    counts = counts_of(producer);
    CHECK(counts.accepted == 100 && counts.recovered == 100 && counts.delivered == 200);
    /* and a live process takes over who dies later */
    victim_go(&second);
    for (int i = 0; counts_of(producer).delivered < 300; i++) {
        CHECK(i < 1000);
        sleep_ms(10);
    }
    CHECK_INT(counts_of(producer).recovered, 200);
    put_away(producer);
    consume_all(&cluster, "t", 300);
    CHECK_INT(all.count, 300);
    CHECK(all.in_order);
    mock_down(&cluster);
    place_remove(&at);
}

/* -- what is refused ------------------------------------------------------------------------------------------------ */

/* Behind a refused request a broker refuses the next ones for their sequence numbers, at which the mock does not look. */
static const dbi_kafka_property one_request_at_a_time = {"max.in.flight.requests.per.connection", "1"};

TEST_WITH(a_message_that_is_refused_alone_is_dead_and_the_others_go_on, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_counts counts;
    dbi_mailbox *mailbox = NULL;
    dbi_ticket *ticket;
    dbi_topic *topic;
    const dbi_message lost = {.key = "k1", .key_len = 2, .value = "7777", .value_len = 4, .partition = 99};
    char *path, *text;
    setup with;
    size_t size;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_mailbox_new(&mailbox, false, &err), DBI_OK);
    say_many(producer, "t", 0, 100);
    flushed(producer);
    CHECK_RC(dbi_producer_send(producer, topic, &lost, mailbox, NULL, &err), DBI_OK);
    say_many(producer, "t", 100, 200);
    flushed(producer);
    ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(10000));
    CHECK(ticket != NULL && ticket->error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && !ticket->journaled);
    dbi_letter_free(ticket);
    counts = counts_of(producer);
    CHECK(counts.delivered == 200 && counts.failed == 1 && counts.journaled == 0);
    path = place_file(&at, "dead/*.jsonl", 0);
    CHECK(path != NULL);
    text = (char *)file_bytes(path, &size);
    text[size] = '\0';
    CHECK_HAS(text, "\"stream\":\"kafka\",\"topic\":\"t\",\"error\":\"_UNKNOWN_PARTITION\"");
    CHECK_HAS(text, "\"partition\":99");
    CHECK_HAS(text, "\"key\":\"azE=\",\"value\":\"Nzc3Nw==\",\"headers\":[]}\n");
    free(text);
    free(path);
    put_away(producer);
    consume_all(&cluster, "t", 200);
    CHECK(all.distinct == 200 && all.in_order);
    dbi_mailbox_free(mailbox);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(a_refused_request_is_sorted_out, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_counts counts;
    dbi_producer_journal_view view;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.more[0] = (dbi_kafka_property){"linger.ms", "50"};
    with.more[1] = one_request_at_a_time;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 10);
    flushed(producer);
    /* one request with many messages is refused, and then one with a single one */
    rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 2, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    say_many(producer, "t", 10, 400);
    flushed(producer);
    counts = counts_of(producer);
    CHECK_WITHIN(counts.failed, 0, 2);
    CHECK_INT(counts.delivered + counts.failed, 400);
    CHECK(dbi_producer_journal_view_get(producer, &view));
    CHECK(view.resent > 0 && view.state == DBI_PRODUCER_JOURNAL_RUNNING);
    put_away(producer);
    consume_all(&cluster, "t", (int)counts.delivered);
    CHECK_INT(all.distinct, counts.delivered);
    CHECK(all.in_order);
    for (int i = 0; i < all.count; i++) /* what came twice has one id */
        for (int j = 0; j < i; j++)
            CHECK((all.values[i] == all.values[j]) == (strcmp(all.ids[i], all.ids[j]) == 0));
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(what_is_not_allowed_is_held_until_it_is, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_journal_view view;
    setup with;
    place at;
    dbi_err err;
    bool held = false;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 10);
    flushed(producer);
    rd_kafka_mock_topic_set_error(cluster.cluster, "t", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    for (int i = 0; i < 30; i++) {
        const rd_kafka_resp_err_t no = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

        rd_kafka_mock_push_request_errors(cluster.cluster, MOCK_PRODUCE, 1, no);
    }
    say_many(producer, "t", 10, 300);
    for (int i = 0; i < 1000 && !held; i++) {
        CHECK(dbi_producer_journal_view_get(producer, &view));
        held = view.state == DBI_PRODUCER_JOURNAL_HELD;
        sleep_ms(5);
    }
    CHECK(held);
    CHECK_HAS(view.why, "authorization");
    CHECK_INT(counts_of(producer).failed, 0);
    rd_kafka_mock_topic_set_error(cluster.cluster, "t", RD_KAFKA_RESP_ERR_NO_ERROR);
    flushed(producer);
    CHECK_INT(counts_of(producer).delivered, 300);
    CHECK_INT(counts_of(producer).failed, 0);
    put_away(producer);
    consume_all(&cluster, "t", 300);
    /* Messages behind a refused one may get through before it is sent again, and they with it. */
    CHECK_INT(all.distinct, 300);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(after_a_fatal_error_the_client_is_made_anew, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_journal_view view;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.more[0] = (dbi_kafka_property){"linger.ms", "20"};
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 100);
    flushed(producer);
    say_many(producer, "t", 100, 200);
    CHECK_INT(rd_kafka_test_fatal_error(dbi_producer_kafka(producer) != NULL ? producer->kafka.rk : NULL,
                                        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "for the test"),
              0);
    say_many(producer, "t", 200, 300);
    flushed(producer);
    CHECK_INT(counts_of(producer).delivered, 300);
    CHECK_INT(counts_of(producer).failed, 0);
    CHECK(dbi_producer_journal_view_get(producer, &view));
    CHECK_INT(view.renewed, 1);
    CHECK_INT(dbi_kafka_fatal(dbi_producer_kafka(producer), NULL), 0);
    put_away(producer);
    consume_all(&cluster, "t", 300);
    CHECK(all.distinct == 300 && all.in_order);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(brokers_that_go_and_come_lose_nothing, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.config.lanes = 2;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    for (int i = 0; i < 5; i++) {
        say_many(producer, "t", i * 400, i * 400 + 200);
        CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
        say_many(producer, "t", i * 400 + 200, i * 400 + 400);
        sleep_ms(30);
        CHECK_INT(rd_kafka_mock_broker_set_up(cluster.cluster, 1), 0);
    }
    flushed(producer);
    CHECK_INT(counts_of(producer).delivered, 2000);
    put_away(producer);
    consume_all(&cluster, "t", 2000);
    CHECK_INT(all.distinct, 2000);
    for (int i = 0; i < 10; i++)
        CHECK_INT(all.last[i], 1990 + i);
    mock_down(&cluster);
    place_remove(&at);
}

/* -- policies ------------------------------------------------------------------------------------------------------- */

static uint64_t fill(dbi_producer *producer, dbi_rc expected) {
    char value[1000];
    dbi_topic *topic;
    dbi_err err;
    dbi_rc rc = DBI_OK;
    uint64_t count = 0;

    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    for (; count < 2000 && (rc = say(producer, topic, "k1", value, &err)) == DBI_OK; count++)
        continue;
    CHECK_RC(rc, expected);
    if (expected == DBI_EFULL) {
        CHECK_HAS(err.msg, "journal");
        CHECK_HAS(err.msg, "max_bytes");
    }
    return count;
}

TEST_WITH(a_full_journal_is_met_by_the_policy, .unswept = LEAVES) {
    dbi_producer *producer;
    dbi_producer_counts counts;
    uint64_t taken;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    with.when_full = DBI_WHEN_FULL_REFUSE;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    taken = fill(producer, DBI_EFULL);
    CHECK_WITHIN(taken, 700, 1100);
    counts = counts_of(producer);
    CHECK(counts.accepted == taken && counts.refused == 1 && counts.dropped == 0);
    put_away(producer);

    with.when_full = DBI_WHEN_FULL_DROP;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_INT(fill(producer, DBI_OK), 2000);
    counts = counts_of(producer);
    CHECK(counts.recovered == taken && counts.refused == 0);
    CHECK_INT(counts.accepted + counts.dropped, 2000);
    put_away(producer);
    place_run(&at, "rm -rf slot-*");

    with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_INT(fill(producer, DBI_OK), 2000);
    counts = counts_of(producer);
    CHECK(counts.accepted == 2000 && counts.dropped == 0);
    CHECK_WITHIN(counts.dropped_oldest, 900, 1400);
    taken = counts.journaled;
    put_away(producer);

    with.config.lanes = 3; /* lane 0 goes on; what is in it gives way to all */
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_INT(fill(producer, DBI_OK), 2000);
    counts = counts_of(producer);
    CHECK(counts.accepted == 2000 && counts.dropped == 0 && counts.recovered == taken);
    put_away(producer);
    place_remove(&at);
}

TEST_WITH(who_waits_is_told_what_was_dropped, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_mailbox *mailbox = NULL;
    dbi_producer_counts counts;
    dbi_topic *topic;
    dbi_message message = {.key = "k1", .key_len = 2, .value_len = 1000, .partition = RD_KAFKA_PARTITION_UA};
    uint64_t delivered = 0, dropped = 0;
    char value[1000] = "x";
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    CHECK_INT(rd_kafka_mock_broker_set_down(cluster.cluster, 1), 0);
    with = setup_at(&at, cluster.bootstrap);
    with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_mailbox_new(&mailbox, false, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    message.value = value;
    for (int i = 0; i < 2000; i++)
        CHECK_RC(dbi_producer_send(producer, topic, &message, mailbox, NULL, &err), DBI_OK);
    CHECK_INT(rd_kafka_mock_broker_set_up(cluster.cluster, 1), 0);
    while (delivered + dropped < 2000) {
        dbi_ticket *ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(10000)), *next;

        CHECK(ticket != NULL);
        for (; ticket != NULL; ticket = next) {
            next = (dbi_ticket *)ticket->letter.next;
            delivered += ticket->error == 0;
            dropped += ticket->error == RD_KAFKA_RESP_ERR__QUEUE_FULL;
            dbi_letter_free(ticket);
        }
    }
    flushed(producer);
    counts = counts_of(producer);
    CHECK(counts.delivered == delivered && counts.dropped_oldest == dropped && dropped > 0);
    put_away(producer);
    dbi_mailbox_free(mailbox);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(who_waits_at_the_close_is_told_that_nothing_is_lost, .unswept = LEAVES) {
    dbi_producer *producer;
    dbi_mailbox *mailbox = NULL;
    dbi_ticket *ticket;
    dbi_topic *topic;
    const dbi_message hello = {.value = "hello", .value_len = 5, .partition = RD_KAFKA_PARTITION_UA};
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_mailbox_new(&mailbox, false, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_send(producer, topic, &hello, mailbox, NULL, &err), DBI_OK);
    CHECK_RC(dbi_producer_close(producer, &err), DBI_OK);
    ticket = (dbi_ticket *)dbi_mailbox_wait(mailbox, after_ms(1000));
    CHECK(ticket != NULL && ticket->error != 0 && ticket->journaled);
    dbi_letter_free(ticket);
    CHECK_INT(counts_of(producer).journaled, 1);
    CHECK_RC(dbi_producer_enqueue(producer, topic, &hello, &err), DBI_ECLOSED);
    put_away(producer);
    dbi_mailbox_free(mailbox);
    place_remove(&at);
}

TEST_WITH(a_message_too_large_is_refused_at_the_door, .unswept = LEAVES) {
    static char value[1000001];
    const dbi_message message = {.value = value, .value_len = sizeof value, .partition = RD_KAFKA_PARTITION_UA};
    dbi_producer *producer;
    dbi_topic *topic;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    with.config.journal.segment_max = 4 << 20;
    with.config.journal.max_bytes = 16 << 20;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_enqueue(producer, topic, &message, &err), DBI_ETOOBIG);
    CHECK_HAS(err.msg, "message.max.bytes");
    CHECK(counts_of(producer).refused == 1 && counts_of(producer).accepted == 0);
    put_away(producer);
    place_remove(&at);
}

/* -- clusters, processes -------------------------------------------------------------------------------------------- */

TEST_WITH(messages_for_another_cluster_are_held, .timeout_s = 60, .unswept = LEAVES) {
    mock first = {0}, second = {0};
    dbi_producer *producer;
    dbi_producer_journal_view view;
    dbi_producer_counts counts;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&first);
    mock_up(&second);
    with = setup_at(&at, first.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 10);
    flushed(producer);
    CHECK_INT(rd_kafka_mock_broker_set_down(first.cluster, 1), 0);
    say_many(producer, "t", 10, 20);
    put_away(producer);

    with = setup_at(&at, second.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 20, 30);
    for (int i = 0; counts_of(producer).delivered < 10; i++) {
        CHECK(i < 1000);
        sleep_ms(10);
    }
    CHECK(dbi_producer_journal_view_get(producer, &view));
    CHECK_INT(view.state, DBI_PRODUCER_JOURNAL_HELD);
    CHECK_HAS(view.why, "another Kafka cluster");
    counts = counts_of(producer);
    CHECK(counts.recovered == 10 && counts.journaled == 10);
    put_away(producer);
    consume_all(&second, "t", 10);
    CHECK(all.count == 10 && all.values[0] >= 20);

    CHECK_INT(rd_kafka_mock_broker_set_up(first.cluster, 1), 0);
    with = setup_at(&at, first.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    CHECK_RC(dbi_producer_start(producer, &err), DBI_OK);
    flushed(producer);
    put_away(producer);
    consume_all(&first, "t", 20);
    CHECK_INT(all.distinct, 20);
    mock_down(&first);
    mock_down(&second);
    place_remove(&at);
}

TEST_WITH(a_child_of_fork_is_told_and_keeps_no_lock, .timeout_s = 60, .unswept = LEAVES) {
    dbi_producer *producer;
    dbi_topic *topic;
    setup away;
    int status, ends[2];
    pid_t pid;
    char byte;
    place at;
    dbi_err err;

    place_make(&at);
    away = setup_at(&at, NOWHERE);
    CHECK_RC(make(&producer, &away, &err), DBI_OK);
    say_many(producer, "t", 0, 10);
    CHECK_INT(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dbi_producer_counts counts;
        uint64_t left;

        CHECK_RC(dbi_producer_topic(producer, "t", &topic, &err), DBI_EFORK);
        CHECK_RC(dbi_producer_flush(producer, after_ms(10), &left, &err), DBI_EFORK);
        dbi_producer_counts_get(producer, &counts);
        CHECK_INT(counts.accepted, 0);
        dbi_producer_free(producer);
        CHECK_INT(write(ends[1], "", 1), 1);
        sleep_ms(30000);
        _exit(1);
    }
    CHECK_INT(read(ends[0], &byte, 1), 1);
    put_away(producer); /* the child lives: were the lock shared with it, nobody could take the slot */
    CHECK_RC(make(&producer, &away, &err), DBI_OK);
    CHECK_RC(dbi_producer_start(producer, &err), DBI_OK);
    CHECK_INT(counts_of(producer).recovered, 10);
    CHECK_INT(place_count(&at, "slot-*"), 1);
    put_away(producer);
    CHECK_INT(kill(pid, SIGKILL), 0);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    place_remove(&at);
}

TEST_WITH(a_producer_that_was_made_before_a_fork_is_used_after_it, .unswept = LEAVES) {
    dbi_producer *producer;
    setup away;
    int status;
    pid_t pid;
    place at;
    dbi_err err;

    place_make(&at);
    away = setup_at(&at, NOWHERE);
    CHECK_RC(make(&producer, &away, &err), DBI_OK);
    pid = fork();
    if (pid == 0) {
        say_many(producer, "t", 0, 10);
        (void)kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    say_many(producer, "t", 10, 20);
    CHECK_INT(counts_of(producer).recovered, 10);
    CHECK_INT(counts_of(producer).journaled, 20);
    put_away(producer);
    place_remove(&at);
}

TEST_WITH(rows_for_postgresql_are_not_sent, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_journal_view view = {0};
    dbi_journal *journal;
    dbi_chain *chain;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    CHECK_RC(small_open(&at, &journal), DBI_OK);
    CHECK_RC(dbi_journal_chain(journal, &stream, &chain, &err), DBI_OK);
    CHECK_RC(dbi_chain_append(chain, DBI_RECORD_ROW, "row", 3, NULL, &err), DBI_OK);
    dbi_journal_free(journal);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 10);
    for (int i = 0; counts_of(producer).delivered < 10; i++) {
        CHECK(i < 1000);
        sleep_ms(10);
    }
    CHECK(dbi_producer_journal_view_get(producer, &view));
    CHECK_INT(view.state, DBI_PRODUCER_JOURNAL_HELD);
    CHECK_HAS(view.why, "directory each");
    CHECK_INT(counts_of(producer).delivered, 10);
    put_away(producer);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(the_account_holds_at_all_times, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    setup with;
    place at;
    dbi_err err;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.config.lanes = 4;
    with.config.window = 64;
    with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    for (int i = 0; i < 100; i++) {
        say_many(producer, "t", i * 50, i * 50 + 50);
        (void)counts_of(producer);
    }
    flushed(producer);
    CHECK_INT(counts_of(producer).delivered + counts_of(producer).dropped_oldest, 5000);
    put_away(producer);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(damage_costs_one_message_and_holds_up_none, .timeout_s = 60, .unswept = LEAVES) {
    mock cluster = {0};
    dbi_producer *producer;
    dbi_producer_counts counts;
    setup with;
    char *path;
    place at;
    dbi_err err;

    place_make(&at);
    with = setup_at(&at, NOWHERE);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 0, 100);
    put_away(producer);
    path = place_file(&at, "slot-0000/*.seg", 0);
    CHECK(path != NULL);
    file_poke(path, 4096 + 50 * 72 + 30, "\xff\xff", 2); /* in the body of a record in the middle */
    free(path);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    CHECK_RC(make(&producer, &with, &err), DBI_OK);
    say_many(producer, "t", 100, 200);
    flushed(producer);
    counts = counts_of(producer);
    CHECK_INT(counts.damaged, 1);
    CHECK(counts.recovered == 100 && counts.accepted == 100 && counts.delivered == 199);
    put_away(producer);
    consume_all(&cluster, "t", 199);
    CHECK(all.distinct == 199 && all.in_order);
    CHECK_INT(place_count(&at, "quarantine/*.part"), 1);
    mock_down(&cluster);
    place_remove(&at);
}

TEST_WITH(short_lives_lose_nothing, .timeout_s = 120, .unswept = LEAVES) {
    mock cluster = {0};
    unsigned rounds = test_rounds(20);
    setup with;
    place at;

    place_make(&at);
    mock_up(&cluster);
    with = setup_at(&at, cluster.bootstrap);
    with.config.lanes = 4;
    for (unsigned i = 0; i < rounds; i++) {
        dbi_producer *producer;
        dbi_producer_counts counts;
        dbi_err err;

        with.config.durability = i % 2 == 0 ? DBI_DURABILITY_SYNC : DBI_DURABILITY_PROCESS;
        CHECK_RC(make(&producer, &with, &err), DBI_OK);
        say_many(producer, "t", 0, 50);
        flushed(producer);
        counts = counts_of(producer);
        CHECK(counts.accepted == 50 && counts.delivered == 50 && counts.failed == 0 && counts.recovered == 0);
        put_away(producer);
    }
    mock_down(&cluster);
    place_remove(&at);
}

TEST_MAIN()
