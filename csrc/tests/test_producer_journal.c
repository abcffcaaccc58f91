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

/* Where the other cases play: a directory, brokers or none yet, a producer, a mailbox for its receipts. */
typedef struct scene {
    place at;
    mock cluster;
    setup with;
    dbi_producer *producer;
    dbi_mailbox *mailbox;
} scene;

static void scene_brokers(scene *on) {
    mock_up(&on->cluster);
    on->with = setup_at(&on->at, on->cluster.bootstrap);
}

static void scene_up(scene *on, bool brokers) {
    memset(on, 0, sizeof *on);
    place_make(&on->at);
    on->with = setup_at(&on->at, NOWHERE);
    if (brokers)
        scene_brokers(on);
    CHECK_RC(dbi_mailbox_new(&on->mailbox, false, NULL), DBI_OK);
}

static void scene_open(scene *on) {
    dbi_err err;

    CHECK_RC(make(&on->producer, &on->with, &err), DBI_OK);
    if (dbi_producer_start(on->producer, &err) != DBI_OK)
        test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void scene_close(scene *on) {
    put_away(on->producer);
    on->producer = NULL;
}

static void scene_down(scene *on) {
    scene_close(on);
    dbi_mailbox_free(on->mailbox);
    mock_down(&on->cluster);
    place_remove(&on->at);
}

/* Sends one message with a receipt. */
static void scene_send(scene *on, const dbi_message *message, void *user) {
    dbi_topic *topic;
    dbi_err err;

    CHECK_RC(dbi_producer_topic(on->producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_send(on->producer, topic, message, on->mailbox, user, &err), DBI_OK);
}

static dbi_ticket *scene_receipt(scene *on) {
    dbi_ticket *ticket = (dbi_ticket *)dbi_mailbox_wait(on->mailbox, after_ms(10000));

    CHECK(ticket != NULL);
    return ticket;
}

static dbi_producer_journal_view scene_view(scene *on) {
    dbi_producer_journal_view view;

    CHECK(dbi_producer_journal_view_get(on->producer, &view));
    return view;
}

static void delivered(const scene *on, uint64_t count) {
    for (int i = 0; counts_of(on->producer).delivered < count; i++) {
        CHECK(i < 1000);
        sleep_ms(10);
    }
}

static void held(scene *on, const char *why) {
    dbi_producer_journal_view view = scene_view(on);

    for (int i = 0; view.state != DBI_PRODUCER_JOURNAL_HELD; i++) {
        CHECK(i < 1000);
        sleep_ms(10);
        view = scene_view(on);
    }
    CHECK_HAS(view.why, why);
}

TEST_WITH(messages_go_through, .unswept = LEAVES) {
    const dbi_message hello = {.key = "k1", .key_len = 2, .value = "500", .value_len = 3, .partition = 1};
    dbi_producer_journal_view view;
    dbi_ticket *ticket;
    scene on;

    scene_up(&on, true);
    scene_open(&on);
    say_many(on.producer, "t", 0, 500);
    scene_send(&on, &hello, &on);
    ticket = scene_receipt(&on);
    CHECK(ticket->letter.user == &on && ticket->error == 0 && !ticket->journaled);
    CHECK(ticket->partition == 1 && ticket->offset >= 0);
    dbi_letter_free(ticket);
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 501);
    CHECK_INT(counts_of(on.producer).journaled, 0);
    view = scene_view(&on);
    CHECK_INT(view.state, DBI_PRODUCER_JOURNAL_RUNNING);
    CHECK_STR(view.journal.directory, on.at.path);
    CHECK_INT(view.resent, 0);
    scene_close(&on);
    consume_all(&on.cluster, "t", 501);
    CHECK_INT(all.count, 501);
    CHECK(all.in_order);
    scene_down(&on);
}

TEST_WITH(with_no_broker_messages_wait, .unswept = LEAVES) {
    dbi_producer_counts counts;
    uint64_t left;
    dbi_err err;
    scene on;

    scene_up(&on, false);
    scene_open(&on);
    say_many(on.producer, "t", 0, 300);
    CHECK_RC(dbi_producer_flush(on.producer, after_ms(100), &left, &err), DBI_ETIMEOUT);
    CHECK_INT(left, 300);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == 300 && counts.journaled == 300 && counts.in_flight == 300);
    CHECK_RC(dbi_producer_purge(on.producer, &err), DBI_ESTATE);
    scene_close(&on);

    scene_brokers(&on);
    on.with.config.lanes = 3; /* another number: what was there goes first all the same */
    scene_open(&on);
    say_many(on.producer, "t", 300, 600);
    flushed(on.producer);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == 300 && counts.recovered == 300 && counts.delivered == 600);
    scene_close(&on);
    consume_all(&on.cluster, "t", 600);
    CHECK_INT(all.count, 600);
    CHECK(all.in_order);
    scene_down(&on);
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
    dbi_producer_counts counts;
    victim first, second;
    scene on;

    scene_up(&on, false);
    first = victim_make(&on.with, 0, 100);
    second = victim_make(&on.with, 200, 300);
    scene_open(&on); /* has slot 0 while another one has slot 1 */
    victim_go(&first);
    scene_close(&on);
    scene_brokers(&on);
    scene_open(&on); /* slot 0, and adopts slot 1 */
    say_many(on.producer, "t", 100, 200);
    flushed(on.producer);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == 100 && counts.recovered == 100 && counts.delivered == 200);
    /* and a live process takes over who dies later */
    victim_go(&second);
    delivered(&on, 300);
    CHECK_INT(counts_of(on.producer).recovered, 200);
    scene_close(&on);
    consume_all(&on.cluster, "t", 300);
    CHECK_INT(all.count, 300);
    CHECK(all.in_order);
    scene_down(&on);
}

/* -- what is refused ------------------------------------------------------------------------------------------------ */

TEST_WITH(a_message_that_is_refused_alone_is_dead_and_the_others_go_on, .timeout_s = 60, .unswept = LEAVES) {
    const dbi_message lost = {.key = "k1", .key_len = 2, .value = "7777", .value_len = 4, .partition = 99};
    dbi_producer_counts counts;
    dbi_ticket *ticket;
    char *path, *text;
    size_t size;
    scene on;

    scene_up(&on, true);
    scene_open(&on);
    say_many(on.producer, "t", 0, 100);
    flushed(on.producer);
    scene_send(&on, &lost, NULL);
    say_many(on.producer, "t", 100, 200);
    flushed(on.producer);
    ticket = scene_receipt(&on);
    CHECK(ticket->error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && !ticket->journaled);
    dbi_letter_free(ticket);
    counts = counts_of(on.producer);
    CHECK(counts.delivered == 200 && counts.failed == 1 && counts.journaled == 0);
    path = place_file(&on.at, "dead/*.jsonl", 0);
    CHECK(path != NULL);
    text = (char *)file_bytes(path, &size);
    text[size] = '\0';
    CHECK_HAS(text, "\"stream\":\"kafka\",\"topic\":\"t\",\"error\":\"_UNKNOWN_PARTITION\"");
    CHECK_HAS(text, "\"partition\":99");
    CHECK_HAS(text, "\"key\":\"azE=\",\"value\":\"Nzc3Nw==\",\"headers\":[]}\n");
    free(text);
    free(path);
    scene_close(&on);
    consume_all(&on.cluster, "t", 200);
    CHECK(all.distinct == 200 && all.in_order);
    scene_down(&on);
}

/* The mock looks at no sequence numbers: what is on its way behind a refused request, it takes. So nothing may be. */
TEST_WITH(a_refused_request_is_sorted_out, .timeout_s = 60, .unswept = LEAVES) {
    dbi_producer_journal_view view;
    dbi_producer_counts counts;
    scene on;

    scene_up(&on, true);
    scene_open(&on);
    say_many(on.producer, "t", 0, 10);
    flushed(on.producer);
    rd_kafka_mock_broker_set_rtt(on.cluster.cluster, 1, 100);
    /* a request is refused while more is there to send, and then one with a single message */
    rd_kafka_mock_push_request_errors(on.cluster.cluster, MOCK_PRODUCE, 2, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    say_many(on.producer, "t", 10, 12);
    sleep_ms(30);
    say_many(on.producer, "t", 12, 40);
    sleep_ms(30);
    rd_kafka_mock_broker_set_rtt(on.cluster.cluster, 1, 5);
    say_many(on.producer, "t", 40, 400);
    flushed(on.producer);
    counts = counts_of(on.producer);
    CHECK_WITHIN(counts.failed, 0, 2);
    CHECK_INT(counts.delivered + counts.failed, 400);
    view = scene_view(&on);
    CHECK(view.resent > 0 && view.state == DBI_PRODUCER_JOURNAL_RUNNING);
    scene_close(&on);
    consume_all(&on.cluster, "t", (int)counts.delivered);
    CHECK_INT(all.distinct, counts.delivered);
    CHECK(all.in_order);
    for (int i = 0; i < all.count; i++) /* what came twice has one id */
        for (int j = 0; j < i; j++)
            CHECK((all.values[i] == all.values[j]) == (strcmp(all.ids[i], all.ids[j]) == 0));
    scene_down(&on);
}

TEST_WITH(what_is_not_allowed_is_held_until_it_is, .timeout_s = 60, .unswept = LEAVES) {
    const rd_kafka_resp_err_t no = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    scene on;

    scene_up(&on, true);
    scene_open(&on);
    say_many(on.producer, "t", 0, 10);
    flushed(on.producer);
    rd_kafka_mock_topic_set_error(on.cluster.cluster, "t", no);
    for (int i = 0; i < 30; i++)
        rd_kafka_mock_push_request_errors(on.cluster.cluster, MOCK_PRODUCE, 1, no);
    say_many(on.producer, "t", 10, 300);
    held(&on, "authorization");
    CHECK_INT(counts_of(on.producer).failed, 0);
    rd_kafka_mock_topic_set_error(on.cluster.cluster, "t", RD_KAFKA_RESP_ERR_NO_ERROR);
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 300);
    CHECK_INT(counts_of(on.producer).failed, 0);
    scene_close(&on);
    consume_all(&on.cluster, "t", 300);
    CHECK(all.distinct == 300 && all.in_order);
    scene_down(&on);
}

/* librdkafka takes the success of a later request for that of an earlier one that it was about to repeat. A broker that
 * does not know the producer yet accepts the later one alone, as the mock does. */
TEST_WITH(what_no_broker_has_acknowledged_is_not_delivered, .timeout_s = 60, .unswept = LEAVES) {
    char keys[2][3] = {"k0", "k1"};
    dbi_message message = {.key_len = 2, .value_len = 1, .partition = 0};
    scene on;

    while ((dbi__murmur2(keys[0], 2) & 1) == (dbi__murmur2(keys[1], 2) & 1)) /* each has a lane */
        keys[1][1]++;
    scene_up(&on, true);
    on.with.config.lanes = 2;
    scene_open(&on);
    say_many(on.producer, "t", 0, 1);
    flushed(on.producer);
    rd_kafka_mock_broker_set_rtt(on.cluster.cluster, 1, 300);
    rd_kafka_mock_push_request_errors(on.cluster.cluster, MOCK_PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    for (int i = 0; i < 2; i++) { /* the second one before the first one's answer */
        message.key = keys[i];
        message.value = i == 0 ? "1" : "2";
        scene_send(&on, &message, NULL);
        sleep_ms(60);
    }
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 3);
    for (int got = 0; got < 2;)
        for (dbi_ticket *ticket = scene_receipt(&on), *next; ticket != NULL; ticket = next, got++) {
            next = (dbi_ticket *)ticket->letter.next;
            CHECK(ticket->error == 0 && ticket->offset >= 0);
            dbi_letter_free(ticket);
        }
    scene_close(&on);
    rd_kafka_mock_broker_set_rtt(on.cluster.cluster, 1, 0);
    consume_all(&on.cluster, "t", 3);
    CHECK_INT(all.distinct, 3);
    scene_down(&on);
}

TEST_WITH(after_a_fatal_error_the_client_is_made_anew, .timeout_s = 60, .unswept = LEAVES) {
    dbi_producer_journal_view view;
    scene on;

    scene_up(&on, true);
    scene_open(&on);
    say_many(on.producer, "t", 0, 100);
    flushed(on.producer);
    say_many(on.producer, "t", 100, 200);
    CHECK_INT(rd_kafka_test_fatal_error(on.producer->kafka.rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "for the test"),
              0);
    say_many(on.producer, "t", 200, 300);
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 300);
    CHECK_INT(counts_of(on.producer).failed, 0);
    view = scene_view(&on);
    CHECK_INT(view.renewed, 1);
    CHECK_INT(dbi_kafka_fatal(dbi_producer_kafka(on.producer), NULL), 0);
    scene_close(&on);
    consume_all(&on.cluster, "t", 300);
    CHECK(all.distinct == 300 && all.in_order);
    scene_down(&on);
}

TEST_WITH(brokers_that_go_and_come_lose_nothing, .timeout_s = 60, .unswept = LEAVES) {
    scene on;

    scene_up(&on, true);
    on.with.config.lanes = 2;
    scene_open(&on);
    for (int i = 0; i < 5; i++) {
        say_many(on.producer, "t", i * 400, i * 400 + 200);
        CHECK_INT(rd_kafka_mock_broker_set_down(on.cluster.cluster, 1), 0);
        say_many(on.producer, "t", i * 400 + 200, i * 400 + 400);
        sleep_ms(30);
        CHECK_INT(rd_kafka_mock_broker_set_up(on.cluster.cluster, 1), 0);
    }
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 2000);
    scene_close(&on);
    consume_all(&on.cluster, "t", 2000);
    CHECK(all.distinct == 2000 && all.in_order);
    for (int i = 0; i < 10; i++)
        CHECK_INT(all.last[i], 1990 + i);
    scene_down(&on);
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
    dbi_producer_counts counts;
    uint64_t taken;
    scene on;

    scene_up(&on, false);
    on.with.when_full = DBI_WHEN_FULL_REFUSE;
    scene_open(&on);
    taken = fill(on.producer, DBI_EFULL);
    CHECK_WITHIN(taken, 700, 1100);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == taken && counts.refused == 1 && counts.dropped == 0);
    scene_close(&on);

    on.with.when_full = DBI_WHEN_FULL_DROP;
    scene_open(&on);
    CHECK_INT(fill(on.producer, DBI_OK), 2000);
    counts = counts_of(on.producer);
    CHECK(counts.recovered == taken && counts.refused == 0);
    CHECK_INT(counts.accepted + counts.dropped, 2000);
    scene_close(&on);
    place_run(&on.at, "rm -rf slot-*");

    on.with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    scene_open(&on);
    CHECK_INT(fill(on.producer, DBI_OK), 2000);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == 2000 && counts.dropped == 0);
    CHECK_WITHIN(counts.dropped_oldest, 900, 1400);
    taken = counts.journaled;
    scene_close(&on);

    on.with.config.lanes = 3; /* lane 0 goes on; what is in it gives way to all */
    scene_open(&on);
    CHECK_INT(fill(on.producer, DBI_OK), 2000);
    counts = counts_of(on.producer);
    CHECK(counts.accepted == 2000 && counts.dropped == 0 && counts.recovered == taken);
    scene_down(&on);
}

TEST_WITH(who_waits_is_told_what_was_dropped, .unswept = LEAVES) {
    const char value[1000] = "x";
    const dbi_message message = {.key = "k1", .key_len = 2, .value = value, .value_len = sizeof value,
                                 .partition = RD_KAFKA_PARTITION_UA};
    uint64_t arrivals = 0, dropped = 0;
    dbi_producer_counts counts;
    scene on;

    scene_up(&on, true);
    CHECK_INT(rd_kafka_mock_broker_set_down(on.cluster.cluster, 1), 0);
    on.with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    scene_open(&on);
    for (int i = 0; i < 2000; i++)
        scene_send(&on, &message, NULL);
    CHECK_INT(rd_kafka_mock_broker_set_up(on.cluster.cluster, 1), 0);
    while (arrivals + dropped < 2000)
        for (dbi_ticket *ticket = scene_receipt(&on), *next; ticket != NULL; ticket = next) {
            next = (dbi_ticket *)ticket->letter.next;
            arrivals += ticket->error == 0;
            dropped += ticket->error == RD_KAFKA_RESP_ERR__QUEUE_FULL;
            dbi_letter_free(ticket);
        }
    flushed(on.producer);
    counts = counts_of(on.producer);
    CHECK(counts.delivered == arrivals && counts.dropped_oldest == dropped && dropped > 0);
    scene_down(&on);
}

TEST_WITH(who_waits_at_the_close_is_told_that_nothing_is_lost, .unswept = LEAVES) {
    const dbi_message hello = {.value = "hello", .value_len = 5, .partition = RD_KAFKA_PARTITION_UA};
    dbi_ticket *ticket;
    dbi_topic *topic;
    dbi_err err;
    scene on;

    scene_up(&on, false);
    scene_open(&on);
    scene_send(&on, &hello, NULL);
    CHECK_RC(dbi_producer_topic(on.producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_close(on.producer, &err), DBI_OK);
    ticket = scene_receipt(&on);
    CHECK(ticket->error != 0 && ticket->journaled);
    dbi_letter_free(ticket);
    CHECK_INT(counts_of(on.producer).journaled, 1);
    CHECK_RC(dbi_producer_enqueue(on.producer, topic, &hello, &err), DBI_ECLOSED);
    scene_down(&on);
}

TEST_WITH(a_message_too_large_is_refused_at_the_door, .unswept = LEAVES) {
    static char value[1000001];
    const dbi_message message = {.value = value, .value_len = sizeof value, .partition = RD_KAFKA_PARTITION_UA};
    dbi_topic *topic;
    dbi_err err;
    scene on;

    scene_up(&on, false);
    on.with.config.journal.segment_max = 4 << 20;
    on.with.config.journal.max_bytes = 16 << 20;
    scene_open(&on);
    CHECK_RC(dbi_producer_topic(on.producer, "t", &topic, &err), DBI_OK);
    CHECK_RC(dbi_producer_enqueue(on.producer, topic, &message, &err), DBI_ETOOBIG);
    CHECK_HAS(err.msg, "message.max.bytes");
    CHECK(counts_of(on.producer).refused == 1 && counts_of(on.producer).accepted == 0);
    scene_down(&on);
}

/* Each lane has its share of a request; a message that needs more waits until there is room. */
TEST_WITH(a_large_message_goes_among_small_ones, .timeout_s = 60, .unswept = LEAVES) {
    static char value[900000];
    const dbi_message large = {.key = "k1", .key_len = 2, .value = value, .value_len = sizeof value, .partition = 1};
    dbi_ticket *ticket;
    scene on;

    scene_up(&on, true);
    on.with.config.lanes = 4;
    on.with.config.journal.segment_max = 4 << 20;
    on.with.config.journal.max_bytes = 16 << 20;
    scene_open(&on);
    say_many(on.producer, "t", 0, 2000);
    scene_send(&on, &large, NULL);
    say_many(on.producer, "t", 2000, 4000);
    ticket = scene_receipt(&on);
    CHECK_INT(ticket->error, 0);
    dbi_letter_free(ticket);
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered, 4001);
    scene_down(&on);
}

/* -- clusters, processes -------------------------------------------------------------------------------------------- */

TEST_WITH(messages_for_another_cluster_are_held, .timeout_s = 60, .unswept = LEAVES) {
    dbi_producer_counts counts;
    mock second = {0};
    setup first;
    scene on;

    scene_up(&on, true);
    first = on.with;
    mock_up(&second);
    scene_open(&on);
    say_many(on.producer, "t", 0, 10);
    flushed(on.producer);
    CHECK_INT(rd_kafka_mock_broker_set_down(on.cluster.cluster, 1), 0);
    say_many(on.producer, "t", 10, 20);
    scene_close(&on);

    on.with = setup_at(&on.at, second.bootstrap);
    scene_open(&on);
    say_many(on.producer, "t", 20, 30);
    delivered(&on, 10);
    held(&on, "another Kafka cluster");
    counts = counts_of(on.producer);
    CHECK(counts.recovered == 10 && counts.journaled == 10);
    scene_close(&on);
    consume_all(&second, "t", 10);
    CHECK(all.count == 10 && all.values[0] >= 20);

    CHECK_INT(rd_kafka_mock_broker_set_up(on.cluster.cluster, 1), 0);
    on.with = first;
    scene_open(&on);
    flushed(on.producer);
    scene_close(&on);
    consume_all(&on.cluster, "t", 20);
    CHECK_INT(all.distinct, 20);
    mock_down(&second);
    scene_down(&on);
}

TEST_WITH(a_child_of_fork_is_told_and_keeps_no_lock, .timeout_s = 60, .unswept = LEAVES) {
    dbi_topic *topic;
    int status, ends[2];
    dbi_err err;
    pid_t pid;
    char byte;
    scene on;

    scene_up(&on, false);
    scene_open(&on);
    say_many(on.producer, "t", 0, 10);
    CHECK_INT(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dbi_producer_counts counts;
        uint64_t left;

        CHECK_RC(dbi_producer_topic(on.producer, "t", &topic, &err), DBI_EFORK);
        CHECK_RC(dbi_producer_flush(on.producer, after_ms(10), &left, &err), DBI_EFORK);
        dbi_producer_counts_get(on.producer, &counts);
        CHECK_INT(counts.accepted, 0);
        dbi_producer_free(on.producer);
        CHECK_INT(write(ends[1], "", 1), 1);
        sleep_ms(30000);
        _exit(1);
    }
    CHECK_INT(read(ends[0], &byte, 1), 1);
    scene_close(&on); /* the child lives: were the lock shared with it, nobody could take the slot */
    scene_open(&on);
    CHECK_INT(counts_of(on.producer).recovered, 10);
    CHECK_INT(place_count(&on.at, "slot-*"), 1);
    scene_close(&on);
    CHECK_INT(kill(pid, SIGKILL), 0);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    scene_down(&on);
}

TEST_WITH(a_producer_that_was_made_before_a_fork_is_used_after_it, .unswept = LEAVES) {
    dbi_err err;
    int status;
    pid_t pid;
    scene on;

    scene_up(&on, false);
    CHECK_RC(make(&on.producer, &on.with, &err), DBI_OK);
    pid = fork();
    if (pid == 0) {
        say_many(on.producer, "t", 0, 10);
        (void)kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    say_many(on.producer, "t", 10, 20);
    CHECK_INT(counts_of(on.producer).recovered, 10);
    CHECK_INT(counts_of(on.producer).journaled, 20);
    scene_down(&on);
}

TEST_WITH(rows_for_postgresql_are_not_sent, .unswept = LEAVES) {
    dbi_journal *journal;
    dbi_chain *chain;
    dbi_err err;
    scene on;

    scene_up(&on, true);
    CHECK_RC(small_open(&on.at, &journal), DBI_OK);
    CHECK_RC(dbi_journal_chain(journal, &stream, &chain, &err), DBI_OK);
    CHECK_RC(dbi_chain_append(chain, DBI_RECORD_ROW, "row", 3, NULL, &err), DBI_OK);
    dbi_journal_free(journal);
    scene_open(&on);
    say_many(on.producer, "t", 0, 10);
    delivered(&on, 10);
    held(&on, "directory each");
    CHECK_INT(counts_of(on.producer).delivered, 10);
    scene_down(&on);
}

TEST_WITH(the_account_holds_at_all_times, .timeout_s = 60, .unswept = LEAVES) {
    scene on;

    scene_up(&on, true);
    on.with.config.lanes = 4;
    on.with.config.window = 64;
    on.with.when_full = DBI_WHEN_FULL_DROP_OLDEST;
    scene_open(&on);
    for (int i = 0; i < 100; i++) {
        say_many(on.producer, "t", i * 50, i * 50 + 50);
        (void)counts_of(on.producer);
    }
    flushed(on.producer);
    CHECK_INT(counts_of(on.producer).delivered + counts_of(on.producer).dropped_oldest, 5000);
    scene_down(&on);
}

TEST_WITH(damage_costs_one_message_and_holds_up_none, .timeout_s = 60, .unswept = LEAVES) {
    dbi_producer_counts counts;
    char *path;
    scene on;

    scene_up(&on, false);
    scene_open(&on);
    say_many(on.producer, "t", 0, 100);
    scene_close(&on);
    path = place_file(&on.at, "slot-0000/*.seg", 0);
    CHECK(path != NULL);
    file_poke(path, 4096 + 50 * 72 + 30, "\xff\xff", 2); /* in the body of a record in the middle */
    free(path);
    scene_brokers(&on);
    scene_open(&on);
    say_many(on.producer, "t", 100, 200);
    flushed(on.producer);
    counts = counts_of(on.producer);
    CHECK_INT(counts.damaged, 1);
    CHECK(counts.recovered == 100 && counts.accepted == 100 && counts.delivered == 199);
    scene_close(&on);
    consume_all(&on.cluster, "t", 199);
    CHECK(all.distinct == 199 && all.in_order);
    CHECK_INT(place_count(&on.at, "quarantine/*.part"), 1);
    scene_down(&on);
}

TEST_WITH(short_lives_lose_nothing, .timeout_s = 120, .unswept = LEAVES) {
    unsigned rounds = test_rounds(20);
    scene on;

    scene_up(&on, true);
    on.with.config.lanes = 4;
    for (unsigned i = 0; i < rounds; i++) {
        dbi_producer_counts counts;

        on.with.config.durability = i % 2 == 0 ? DBI_DURABILITY_SYNC : DBI_DURABILITY_PROCESS;
        scene_open(&on);
        say_many(on.producer, "t", 0, 50);
        flushed(on.producer);
        counts = counts_of(on.producer);
        CHECK(counts.accepted == 50 && counts.delivered == 50 && counts.failed == 0 && counts.recovered == 0);
        scene_close(&on);
    }
    scene_down(&on);
}

TEST_MAIN()
