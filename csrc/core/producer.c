/* producer.c - handing messages over and counting their reports (see producer.h)
 *
 * Counting. `accepted` is added to after librdkafka took the message, so a report may be counted first. Whoever reads
 * the counters takes accepted as at least what has been reported on: such a message was accepted, its caller has just
 * not come to the counter yet. So accepted = delivered + failed + in_flight holds for every reader, and no counter
 * ever goes back.
 */
#include "producer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "producer_int.h"
#include "producer_journal.h"

#define PRODUCER_IDLE_MS 500
#define LINGER_FOR_EVER "900000" /* the most that librdkafka allows, in ms */
#define PRODUCER_PURGE_NS (10 * DBI_NS_PER_S) /* purging needs no broker: this is far more than it takes */

static void add(atomic_uint_fast64_t *counter, uint64_t count) {
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static uint64_t get(const atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_acquire);
}

static size_t code_index(rd_kafka_resp_err_t code) {
    int index = (int)code + DBI__CODES / 2;

    return index >= 0 && index < DBI__CODES ? (size_t)index : (size_t)(RD_KAFKA_RESP_ERR_UNKNOWN + DBI__CODES / 2);
}

/* -- reports ------------------------------------------------------------------------------------------------------ */

/* Tickets for one mailbox, collected so that its reader is woken once. */
typedef struct report_chain {
    dbi_mailbox *mailbox;
    dbi_ticket *first, *last;
    size_t count;
} report_chain;

static void chain_deliver(report_chain *chain) {
    if (chain->count > 0)
        dbi_mailbox_deliver(chain->mailbox, &chain->first->letter, &chain->last->letter, chain->count);
    chain->count = 0;
}

static void chain_add(report_chain *chain, const rd_kafka_message_t *message, rd_kafka_resp_err_t error, bool fatal) {
    dbi_ticket *ticket = message->_private;

    if (chain->count > 0 && chain->mailbox != ticket->letter.mailbox)
        chain_deliver(chain);
    ticket->error = error;
    ticket->fatal = fatal;
    ticket->partition = message->partition;
    ticket->offset = message->offset;
    ticket->timestamp_ms = rd_kafka_message_timestamp(message, NULL);
    ticket->letter.next = NULL;
    if (chain->count == 0) {
        chain->mailbox = ticket->letter.mailbox;
        chain->first = ticket;
    } else {
        chain->last->letter.next = &ticket->letter;
    }
    chain->last = ticket;
    chain->count++;
}

/* How a message fared. When librdkafka is about to repeat a request and a later one succeeds, it takes the messages of
 * the earlier one as delivered, too: a broker that knows the producer refuses the later one without the earlier. But one
 * that does not know it yet (its first requests to a partition, while the topic has just been made or its leader moves)
 * accepts it, and the earlier messages are nowhere. What is taken as delivered in this way has no offset. */
static rd_kafka_resp_err_t report_error(const dbi_producer *producer, const rd_kafka_message_t *message) {
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->offset == RD_KAFKA_OFFSET_INVALID && producer->idempotent)
        return RD_KAFKA_RESP_ERR__INCONSISTENT;
    return message->err;
}

/* Counts one batch of reports and hands out their tickets. */
static void producer_reports(dbi_producer *producer, rd_kafka_event_t *event) {
    const rd_kafka_message_t *message;
    report_chain chain = {0};
    uint64_t delivered = 0, failed = 0, purged = 0;
    bool fatal = false;

    while ((message = rd_kafka_event_message_next(event)) != NULL) {
        rd_kafka_resp_err_t error = report_error(producer, message);

        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (delivered++ == 0) /* its neighbours' is about the same: reading the clock for each would be felt */
                dbi_histogram_record(producer->latency, rd_kafka_message_latency(message) * DBI_NS_PER_US);
        } else {
            failed++;
            if (producer->options.journal == NULL) /* with one, it decides whether that is the end of the message */
                add(&producer->failed_by[code_index(error)], 1);
            if (error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
                purged++;
            if (!fatal)
                fatal = rd_kafka_fatal_error(producer->kafka.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
        }
        if (message->_private != NULL)
            chain_add(&chain, message, error, fatal);
    }
    add(&producer->purged, purged);
    atomic_fetch_add_explicit(&producer->failed, failed, memory_order_release);
    atomic_fetch_add_explicit(&producer->delivered, delivered, memory_order_release);
    chain_deliver(&chain); /* after counting: who has a report finds it counted */
    if (delivered > 0)
        dbi__kafka_well(&producer->kafka);
}

static void counts_read(const dbi_producer *producer, dbi_producer_counts *counts);

/* In librdkafka's hands. */
static uint64_t producer_in_flight(const dbi_producer *producer) {
    dbi_producer_counts counts;

    counts_read(producer, &counts);
    return counts.in_flight;
}

static void producer_wake_waiters(dbi_producer *producer) {
    if (atomic_load_explicit(&producer->room_waiters, memory_order_relaxed) == 0 ||
        producer_in_flight(producer) > atomic_load_explicit(&producer->room_below, memory_order_relaxed))
        return;
    (void)pthread_mutex_lock(&producer->kafka.lock);
    (void)pthread_cond_broadcast(&producer->kafka.wake);
    (void)pthread_mutex_unlock(&producer->kafka.lock);
}

static void producer_destroy(dbi_producer *producer);

/* The thread: librdkafka's main queue is its alone. */
static void *producer_main(void *arg) {
    dbi_producer *producer = arg;

    while (!atomic_load(&producer->stop)) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(producer->kafka.events, PRODUCER_IDLE_MS);

        if (event != NULL) {
            if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
                producer_reports(producer, event);
            else
                dbi__kafka_note(&producer->kafka, event);
            rd_kafka_event_destroy(event); /* only now is there room in librdkafka's queue */
            producer_wake_waiters(producer);
        }
        if (atomic_load(&producer->abandoned) && producer_in_flight(producer) == 0) {
            (void)pthread_detach(pthread_self());
            producer_destroy(producer);
            break;
        }
    }
    return NULL;
}

/* Handles of topics that are known from a client before this one. */
static dbi_rc topics_reopen(dbi_producer *producer, dbi_err *err) {
    for (size_t i = 0; i < DBI__TOPIC_BUCKETS; i++)
        for (dbi_topic *topic = producer->topics[i]; topic != NULL; topic = topic->next) {
            topic->met = false;
            if (topic->rkt == NULL)
                topic->rkt = rd_kafka_topic_new(producer->kafka.rk, topic->name, NULL);
            if (topic->rkt == NULL)
                return dbi_kafka_err(err, rd_kafka_last_error(), "topic \"%.200s\"", topic->name);
        }
    return DBI_OK;
}

static void topics_release(dbi_producer *producer) {
    for (size_t i = 0; i < DBI__TOPIC_BUCKETS; i++)
        for (dbi_topic *topic = producer->topics[i]; topic != NULL; topic = topic->next) {
            if (topic->rkt != NULL)
                rd_kafka_topic_destroy(topic->rkt);
            topic->rkt = NULL;
        }
}

/* Called when the client has been opened. */
static dbi_rc producer_opened(void *arg, dbi_err *err) {
    dbi_producer *producer = arg;
    dbi__producer_journal *journal;
    sigset_t all, before;
    dbi_rc rc;
    int sys;

    rc = topics_reopen(producer, err);
    if (rc != DBI_OK) {
        topics_release(producer);
        return rc;
    }
    if (producer->options.journal != NULL && atomic_load(&producer->journal) == NULL) {
        rc = dbi__producer_journal_open(&journal, producer, producer->options.journal, producer->message_max, err);
        if (rc != DBI_OK)
            return rc;
        atomic_store(&producer->journal, journal);
    }
    /* Signals are the application's: none is to be handled on this thread. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    sys = pthread_create(&producer->thread, NULL, producer_main, producer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys != 0)
        return dbi_err_sys(err, DBI_ESYS, sys, "the thread for Kafka's delivery reports");
    return DBI_OK;
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static dbi_rc producer_collect(void *arg, dbi_snapshot *snapshot) {
    dbi_producer *producer = arg;
    dbi_label labels[DBI__KAFKA_LABELS];
    dbi_producer_journal_view journal;
    dbi_producer_counts counts;
    char number[24];
    dbi_rc rc = DBI_OK;

    if (dbi_kafka_forked(&producer->kafka)) /* the parent shows them */
        return DBI_OK;
    dbi__kafka_labels(&producer->kafka, labels, number);
    dbi_producer_counts_get(producer, &counts);
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"dbint_kafka_producer_accepted_messages_total", counts.accepted},
        {"dbint_kafka_producer_accepted_bytes_total", counts.accepted_bytes},
        {"dbint_kafka_producer_delivered_messages_total", counts.delivered},
        {"dbint_kafka_producer_failed_messages_total", counts.failed},
        {"dbint_kafka_producer_refused_messages_total", counts.refused},
        {"dbint_kafka_producer_dropped_messages_total", counts.dropped + counts.dropped_oldest},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters && rc == DBI_OK; i++)
        rc = dbi_snapshot_add_counter(snapshot, counters[i].name, labels, DBI__KAFKA_LABELS, counters[i].value);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_kafka_producer_in_flight_messages", labels, DBI__KAFKA_LABELS,
                                    (double)counts.in_flight);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_histogram(snapshot, "dbint_kafka_producer_delivery_latency_seconds", labels,
                                        DBI__KAFKA_LABELS, producer->latency);
    if (rc != DBI_OK || !dbi_producer_journal_view_get(producer, &journal))
        return rc;
    rc = dbi_snapshot_add_counter(snapshot, "dbint_kafka_producer_recovered_messages_total", labels, DBI__KAFKA_LABELS,
                                  counts.recovered);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_kafka_producer_resent_messages_total", labels,
                                      DBI__KAFKA_LABELS, journal.resent);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_kafka_producer_damaged_messages_total", labels,
                                      DBI__KAFKA_LABELS, counts.damaged);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_kafka_producer_journal_bytes", labels, DBI__KAFKA_LABELS,
                                    (double)journal.journal.bytes);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_kafka_producer_held", labels, DBI__KAFKA_LABELS,
                                    journal.state == DBI_PRODUCER_JOURNAL_HELD);
    return rc;
}

/* A property as text; "" = it is not set. */
static const char *conf_text(const rd_kafka_conf_t *conf, const char *name, char text[64]) {
    size_t size = 64;

    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK)
        text[0] = '\0';
    return text;
}

/* What a journal asks of the client, and the limits on messages and requests. librdkafka sends nothing of itself, but
 * when the replay thread asks for it (producer_journal.h). */
static dbi_rc journal_prepare(dbi_producer *producer, dbi_err *err) {
    static const struct {
        const char *name, *value, *why;
    } needed[] = {
        {"enable.idempotence", "true", "without it, retries change the order of messages"},
        {"message.timeout.ms", "0", "a journal waits for the brokers as long as it takes"},
        {"transactional.id", "", "a transaction ends with its process, and its messages would go on"},
    };
    rd_kafka_conf_t *conf = producer->kafka.conf;
    dbi_rc rc = dbi__producer_journal_check(producer->options.journal, err);
    char value[64];

    for (size_t i = 0; i < sizeof needed / sizeof *needed && rc == DBI_OK; i++)
        if (strcmp(conf_text(conf, needed[i].name, value), needed[i].value) != 0)
            rc = dbi_err_set(err, DBI_ECONFIG, "a producer with a journal needs %s to be \"%s\": %s", needed[i].name,
                             needed[i].value, needed[i].why);
    if (rc == DBI_OK && producer->options.require_topic_ns > 0)
        rc = dbi_err_set(err, DBI_ECONFIG,
                         "a producer with a journal takes messages while no broker is there to say whether their topic "
                         "exists: leave the check out");
    producer->message_max = strtoul(conf_text(conf, "message.max.bytes", value), NULL, 10);
    producer->request_bytes = strtoul(conf_text(conf, "batch.size", value), NULL, 10);
    if (producer->request_bytes > producer->message_max)
        producer->request_bytes = producer->message_max;
    producer->request_messages = strtoul(conf_text(conf, "batch.num.messages", value), NULL, 10);
    if (rc == DBI_OK)
        rc = dbi__kafka_conf_set(conf, "linger.ms", LINGER_FOR_EVER, err);
    return rc;
}

/* The caller's structure and its strings are copied. */
static dbi_rc journal_adopt_config(dbi_producer *producer, const dbi_producer_journal_config *config, dbi_err *err) {
    producer->journal_config = *config;
    producer->options.journal = &producer->journal_config;
    if (config->journal.directory == NULL)
        return DBI_OK; /* which the check says */
    producer->journal_directory = dbi_strdup(config->journal.directory);
    producer->journal_config.journal.directory = producer->journal_directory;
    if (producer->journal_directory == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a Kafka producer");
    return DBI_OK;
}

dbi_rc dbi_producer_new(dbi_producer **producer_out, const dbi_kafka_property *properties, size_t count,
                        const dbi_producer_options *options, dbi_err *err) {
    dbi_kafka_property defaults[3] = {{"enable.idempotence", "true"}};
    size_t default_count = 1;
    dbi_producer *producer = dbi_calloc(1, sizeof *producer);
    char value[64];
    dbi_rc rc;

    *producer_out = NULL;
    if (producer == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a Kafka producer");
    producer->options = *options;
    /* Looking a topic up must not create it. */
    if (options->require_topic_ns > 0)
        defaults[default_count++] = (dbi_kafka_property){"allow.auto.create.topics", "false"};
    if (options->journal != NULL)
        defaults[default_count++] = (dbi_kafka_property){"message.timeout.ms", "0"};
    (void)pthread_mutex_init(&producer->topics_lock, NULL);
    rc = dbi__kafka_init(&producer->kafka, RD_KAFKA_PRODUCER, defaults, default_count, properties, count,
                         RD_KAFKA_EVENT_DR, err);
    producer->kafka.on_open = producer_opened;
    producer->kafka.on_open_arg = producer;
    if (rc == DBI_OK)
        producer->idempotent = strcmp(conf_text(producer->kafka.conf, "enable.idempotence", value), "true") == 0;
    if (rc == DBI_OK && options->journal != NULL)
        rc = journal_adopt_config(producer, options->journal, err);
    if (rc == DBI_OK && options->journal != NULL)
        rc = journal_prepare(producer, err);
    else if (rc == DBI_OK && options->when_full == DBI_WHEN_FULL_DROP_OLDEST)
        rc = dbi_err_set(err, DBI_ECONFIG, "only a producer with a journal can drop the oldest messages");
    if (rc == DBI_OK)
        rc = dbi_histogram_new(&producer->latency, err);
    if (rc != DBI_OK) {
        dbi_producer_free(producer);
        return rc;
    }
    dbi_source_add(&producer->kafka.source, producer_collect, producer);
    *producer_out = producer;
    return DBI_OK;
}

/* Ends librdkafka's client. Nobody else uses it any more. */
static void producer_end(dbi_producer *producer) {
    topics_release(producer);
    rd_kafka_queue_destroy(producer->kafka.events);
    rd_kafka_destroy(producer->kafka.rk);
    producer->kafka.rk = NULL;
}

/* Frees all memory; ends the client if that has not been done and it is ours to end. */
static void producer_destroy(dbi_producer *producer) {
    if (producer->kafka.rk != NULL && !dbi_kafka_forked(&producer->kafka))
        producer_end(producer);
    for (size_t i = 0; i < DBI__TOPIC_BUCKETS; i++)
        while (producer->topics[i] != NULL) {
            dbi_topic *topic = producer->topics[i];
            producer->topics[i] = topic->next;
            dbi_free(topic);
        }
    (void)pthread_mutex_destroy(&producer->topics_lock);
    dbi_source_remove(&producer->kafka.source); /* it shows what the journal counts */
    dbi__producer_journal_free(atomic_load(&producer->journal));
    dbi_free(producer->journal_directory);
    dbi__kafka_reset(&producer->kafka);
    dbi_histogram_free(producer->latency);
    dbi_free(producer);
}

void dbi_producer_free(dbi_producer *producer) {
    if (producer == NULL)
        return;
    if (atomic_load(&producer->journal) != NULL && !dbi_kafka_forked(&producer->kafka))
        (void)!dbi_producer_close(producer, NULL); /* what is left stays in the journal; it may have been closed already */
    if (producer->kafka.rk != NULL && !dbi_kafka_forked(&producer->kafka)) {
        atomic_store(&producer->kafka.state, DBI__KAFKA_CLOSED);
        atomic_store(&producer->abandoned, true); /* the thread's from here on */
        return;
    }
    producer_destroy(producer);
}

dbi_kafka *dbi_producer_kafka(dbi_producer *producer) {
    return &producer->kafka;
}

bool dbi_producer_closed(const dbi_producer *producer) {
    return atomic_load(&producer->kafka.state) == DBI__KAFKA_CLOSED;
}

dbi_rc dbi_producer_close(dbi_producer *producer, dbi_err *err) {
    dbi__producer_journal *journal;
    bool was_open;
    int64_t deadline;
    dbi_rc rc = dbi__kafka_begin_close(&producer->kafka, &was_open, err);

    if (rc != DBI_OK)
        return rc;
    journal = atomic_load(&producer->journal);
    if (journal != NULL)
        dbi__producer_journal_stop(journal);
    if (!was_open) {
        if (journal != NULL)
            dbi__producer_journal_end(journal);
        return DBI_OK;
    }
    deadline = dbi_clock_deadline(NULL, PRODUCER_PURGE_NS);
    while (producer_in_flight(producer) > 0 && dbi_clock_left(NULL, deadline) > 0) {
        (void)rd_kafka_purge(producer->kafka.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(producer->kafka.rk, 100);
    }
    atomic_store(&producer->stop, true);
    rd_kafka_queue_yield(producer->kafka.events);
    (void)pthread_join(producer->thread, NULL);
    if (journal != NULL)
        dbi__producer_journal_end(journal);
    producer_end(producer);
    return DBI_OK;
}

/* Of a client whose messages have all been reported on. */
static void producer_end_client(void *arg) {
    dbi_producer *producer = arg;

    atomic_store(&producer->stop, true);
    rd_kafka_queue_yield(producer->kafka.events);
    (void)pthread_join(producer->thread, NULL);
    atomic_store(&producer->stop, false);
    producer_end(producer);
}

dbi_rc dbi__producer_renew(dbi_producer *producer, dbi_err *err) {
    return dbi__kafka_renew(&producer->kafka, producer_end_client, producer, err);
}

dbi_rc dbi_producer_start(dbi_producer *producer, dbi_err *err) {
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc == DBI_OK)
        dbi__kafka_leave(&producer->kafka);
    return rc;
}

/* -- topics ------------------------------------------------------------------------------------------------------- */

/* FNV-1a */
static size_t topic_bucket(const char *name) {
    uint32_t hash = 2166136261u;

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % DBI__TOPIC_BUCKETS;
}

/* @locks producer.topics held */
static dbi_topic *topic_find(const dbi_producer *producer, const char *name) {
    dbi_topic *topic = producer->topics[topic_bucket(name)];

    while (topic != NULL && strcmp(topic->name, name) != 0)
        topic = topic->next;
    return topic;
}

static dbi_rc topic_check(dbi_producer *producer, rd_kafka_topic_t *rkt, const char *name, dbi_err *err) {
    const struct rd_kafka_metadata *metadata = NULL;
    dbi__slices slices = {.kafka = &producer->kafka,
                          .deadline = dbi_clock_deadline(NULL, producer->options.require_topic_ns),
                          .length = DBI__KAFKA_SLICE,
                          .restarts = true};
    rd_kafka_resp_err_t code;
    dbi_rc rc;

    do
        code = rd_kafka_metadata(producer->kafka.rk, 0, rkt, &metadata, dbi__slice_ms(&slices));
    while (dbi__slice_again(&slices, code, &rc, err));
    if (rc != DBI_OK)
        return rc;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return dbi__kafka_fail(&producer->kafka, err, code, "asking the brokers whether the topic exists");
    if (metadata->topic_cnt != 1)
        code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    else
        code = metadata->topics[0].err;
    rd_kafka_metadata_destroy(metadata);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? DBI_OK : dbi_kafka_err(err, code, "topic \"%.200s\"", name);
}

/* @locks producer.topics */
static dbi_rc topic_make(dbi_producer *producer, const char *name, dbi_topic **topic_out, dbi_err *err) {
    size_t size = strlen(name) + 1;
    dbi_topic *topic, *other;
    rd_kafka_topic_t *rkt;
    dbi_rc rc = DBI_OK;

    if (size == 1)
        return dbi_err_set(err, DBI_EINVAL, "a topic's name must not be empty");
    topic = dbi_calloc(1, sizeof *topic + size);
    if (topic == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a topic");
    memcpy(topic->name, name, size);
    rkt = rd_kafka_topic_new(producer->kafka.rk, name, NULL);
    if (rkt == NULL)
        rc = dbi_kafka_err(err, rd_kafka_last_error(), "topic \"%.200s\"", name);
    else if (producer->options.require_topic_ns > 0)
        rc = topic_check(producer, rkt, name, err);
    if (rc != DBI_OK) {
        if (rkt != NULL)
            rd_kafka_topic_destroy(rkt);
        dbi_free(topic);
        return rc;
    }
    (void)pthread_mutex_lock(&producer->topics_lock);
    other = topic_find(producer, name); /* another thread may have been quicker */
    if (other == NULL) {
        topic->rkt = rkt;
        topic->next = producer->topics[topic_bucket(name)];
        producer->topics[topic_bucket(name)] = topic;
    }
    (void)pthread_mutex_unlock(&producer->topics_lock);
    if (other != NULL) {
        rd_kafka_topic_destroy(rkt);
        dbi_free(topic);
    }
    *topic_out = other != NULL ? other : topic;
    return DBI_OK;
}

dbi_rc dbi_producer_topic(dbi_producer *producer, const char *name, dbi_topic **topic, dbi_err *err) {
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    *topic = NULL;
    if (rc != DBI_OK)
        return rc;
    (void)pthread_mutex_lock(&producer->topics_lock);
    *topic = topic_find(producer, name);
    (void)pthread_mutex_unlock(&producer->topics_lock);
    if (*topic == NULL)
        rc = topic_make(producer, name, topic, err);
    dbi__kafka_leave(&producer->kafka);
    return rc;
}

bool dbi_producer_knows_topic(dbi_producer *producer, const char *name) {
    bool known;

    if (dbi_kafka_forked(&producer->kafka))
        return false;
    (void)pthread_mutex_lock(&producer->topics_lock);
    known = topic_find(producer, name) != NULL;
    (void)pthread_mutex_unlock(&producer->topics_lock);
    return known;
}

const char *dbi_topic_name(const dbi_topic *topic) {
    return topic->name;
}

/* -- messages ----------------------------------------------------------------------------------------------------- */

/* `headers` are librdkafka's when it has taken the message. */
static rd_kafka_resp_err_t message_produce(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                           rd_kafka_headers_t *headers, void *opaque) {
    /* librdkafka copies; its parameter only lacks the const */
    void *value = (void *)(uintptr_t)message->value, *key = (void *)(uintptr_t)message->key;

    if (headers == NULL && message->timestamp_ms == 0) {
        if (rd_kafka_produce(topic->rkt, message->partition, RD_KAFKA_MSG_F_COPY, value, message->value_len, key,
                             message->key_len, opaque) == 0)
            return RD_KAFKA_RESP_ERR_NO_ERROR;
        return rd_kafka_last_error();
    }
    return rd_kafka_producev(producer->kafka.rk, RD_KAFKA_V_RKT(topic->rkt), RD_KAFKA_V_PARTITION(message->partition),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(value, message->value_len),
                             RD_KAFKA_V_KEY(key, message->key_len), RD_KAFKA_V_TIMESTAMP(message->timestamp_ms),
                             RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
}

/* Says why librdkafka did not take the message. */
static dbi_rc message_error(dbi_producer *producer, const dbi_topic *topic, const dbi_message *message,
                            rd_kafka_resp_err_t code, dbi_err *err) {
    char text[300] = "";
    dbi_rc rc;

    switch (code) {
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        rc = dbi_err_set(err, DBI_EFULL,
                         "the producer's queue is full: %llu messages in flight "
                         "(queue.buffering.max.messages, queue.buffering.max.kbytes)",
                         (unsigned long long)producer_in_flight(producer));
        break;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        rc = dbi_err_set(err, DBI_ETOOBIG,
                         "a message of %zu bytes for topic \"%.200s\" is larger than the producer's limit "
                         "(message.max.bytes)",
                         message->key_len + message->value_len, topic->name);
        break;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        rc = dbi_err_set(err, DBI_EKAFKA, "topic \"%.200s\" has no partition %d", topic->name,
                         (int)message->partition);
        break;
    case RD_KAFKA_RESP_ERR__STATE:
        rc = dbi_err_set(err, DBI_ESTATE,
                         "a transactional producer takes messages only within a transaction (begin_transaction), "
                         "and not after it has failed");
        break;
    case RD_KAFKA_RESP_ERR__FATAL:
        code = rd_kafka_fatal_error(producer->kafka.rk, text, sizeof text);
        rc = dbi_err_set(err, DBI_EKAFKA_FATAL, "the producer cannot go on, make a new one: %s", text);
        break;
    default:
        return dbi_kafka_err(err, code, "a message for topic \"%.200s\"", topic->name);
    }
    if (err != NULL)
        err->kafka = code;
    return rc;
}

static void count_refused(dbi_producer *producer, rd_kafka_resp_err_t code) {
    add(&producer->refused_by[code_index(code)], 1);
    add(&producer->refused, 1);
}

static dbi_rc message_hand_over(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                dbi_ticket *ticket, dbi_err *err) {
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    if (message->headers != NULL)
        headers = rd_kafka_headers_copy(message->headers);
    code = message_produce(producer, topic, message, headers, ticket);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL)
        rd_kafka_headers_destroy(headers);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        add(&producer->accepted, 1);
        add(&producer->accepted_bytes, message->key_len + message->value_len);
    } else if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL && producer->options.when_full == DBI_WHEN_FULL_DROP) {
        add(&producer->dropped, 1);
        if (ticket != NULL) /* somebody waits for the answer */
            rc = message_error(producer, topic, message, code, err);
    } else {
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || producer->options.when_full != DBI_WHEN_FULL_WAIT)
            count_refused(producer, code);
        rc = message_error(producer, topic, message, code, err);
    }
    dbi__kafka_leave(&producer->kafka);
    return rc;
}

rd_kafka_resp_err_t dbi__producer_wire(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                       rd_kafka_headers_t *headers, dbi_ticket *ticket, dbi_rc *rc, dbi_err *err) {
    rd_kafka_resp_err_t code;

    *rc = dbi__kafka_enter(&producer->kafka, err);
    if (*rc != DBI_OK)
        return RD_KAFKA_RESP_ERR__FAIL;
    code = message_produce(producer, topic, message, headers, ticket);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        add(&producer->accepted, 1);
    else
        *rc = message_error(producer, topic, message, code, err);
    dbi__kafka_leave(&producer->kafka);
    return code;
}

void dbi__producer_count_dead(dbi_producer *producer, rd_kafka_resp_err_t code) {
    add(&producer->failed_by[code_index(code)], 1);
}

/* The way into the journal. */
static dbi_rc message_keep(dbi_producer *producer, dbi_topic *topic, const dbi_message *message, dbi_mailbox *mailbox,
                           void *user, dbi_err *err) {
    dbi_when_full policy = producer->options.when_full;
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    rc = dbi__producer_journal_take(atomic_load(&producer->journal), topic, message, mailbox, user, err);
    if (rc == DBI_OK) {
        add(&producer->accepted_bytes, message->key_len + message->value_len);
    } else if (rc == DBI_EFULL && policy == DBI_WHEN_FULL_DROP) {
        add(&producer->dropped, 1);
        if (mailbox == NULL)
            rc = DBI_OK;
    } else if (rc == DBI_ETOOBIG) {
        count_refused(producer, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    } else if (rc == DBI_EFULL && policy != DBI_WHEN_FULL_WAIT) {
        count_refused(producer, RD_KAFKA_RESP_ERR__QUEUE_FULL);
    }
    dbi__kafka_leave(&producer->kafka);
    return rc;
}

dbi_rc dbi_producer_enqueue(dbi_producer *producer, dbi_topic *topic, const dbi_message *message, dbi_err *err) {
    if (producer->options.journal != NULL)
        return message_keep(producer, topic, message, NULL, NULL, err);
    return message_hand_over(producer, topic, message, NULL, err);
}

dbi_rc dbi_producer_send(dbi_producer *producer, dbi_topic *topic, const dbi_message *message, dbi_mailbox *mailbox,
                         void *user, dbi_err *err) {
    dbi_ticket *ticket;
    dbi_rc rc;

    if (producer->options.journal != NULL)
        return message_keep(producer, topic, message, mailbox, user, err);
    ticket = dbi_mailbox_promise(mailbox, sizeof *ticket, user);
    if (ticket == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a delivery report");
    ticket->topic = topic;
    rc = message_hand_over(producer, topic, message, ticket, err);
    if (rc != DBI_OK)
        dbi_mailbox_withdraw(&ticket->letter);
    return rc;
}

void dbi_producer_gave_up(dbi_producer *producer) {
    count_refused(producer, RD_KAFKA_RESP_ERR__QUEUE_FULL);
}

dbi_rc dbi_producer_wait_room(dbi_producer *producer, int64_t deadline, dbi_err *err) {
    /* Room made just before the wait began wakes nobody: so no wait is long, and every return is worth a try. */
    int64_t soon = dbi_clock_deadline(NULL, 10 * DBI_NS_PER_MS);
    struct timespec until = dbi_clock_timespec(deadline < soon ? deadline : soon);
    dbi_rc rc = dbi__kafka_enter(&producer->kafka, err);

    if (rc != DBI_OK)
        return rc;
    /* A waiter that was woken for every message would only take turns with the thread. */
    atomic_store_explicit(&producer->room_below, producer_in_flight(producer) / 8 * 7, memory_order_relaxed);
    atomic_fetch_add(&producer->room_waiters, 1);
    (void)pthread_mutex_lock(&producer->kafka.lock);
    (void)pthread_cond_timedwait(&producer->kafka.wake, &producer->kafka.lock, &until);
    (void)pthread_mutex_unlock(&producer->kafka.lock);
    atomic_fetch_sub(&producer->room_waiters, 1);
    dbi__kafka_leave(&producer->kafka);
    if (dbi_clock_left(NULL, deadline) == 0)
        return dbi_err_set(err, DBI_ETIMEOUT, "the producer's queue stayed full");
    return DBI_OK;
}

dbi_rc dbi_producer_flush(dbi_producer *producer, int64_t deadline, uint64_t *left, dbi_err *err) {
    dbi__producer_journal *journal = atomic_load(&producer->journal);
    dbi_rc rc;

    *left = 0;
    if (journal != NULL) {
        if (dbi_kafka_forked(&producer->kafka) || dbi_producer_closed(producer))
            return dbi_producer_start(producer, err); /* which says so */
        return dbi__producer_journal_flush(journal, deadline, left, err);
    }
    if (atomic_load(&producer->kafka.state) == DBI__KAFKA_NEW)
        return DBI_OK;
    rc = dbi__kafka_enter(&producer->kafka, err);
    if (rc != DBI_OK)
        return rc;
    do {
        int64_t slice = dbi_clock_deadline(NULL, DBI__KAFKA_SLICE);
        (void)rd_kafka_flush(producer->kafka.rk, dbi__kafka_ms(deadline < slice ? deadline : slice));
        *left = producer_in_flight(producer);
    } while (*left > 0 && dbi_clock_left(NULL, deadline) > 0 && !dbi_producer_closed(producer));
    dbi__kafka_leave(&producer->kafka);
    if (*left > 0)
        rc = dbi_err_set(err, DBI_ETIMEOUT, "%llu messages are still in flight", (unsigned long long)*left);
    return rc;
}

dbi_rc dbi_producer_purge(dbi_producer *producer, dbi_err *err) {
    rd_kafka_resp_err_t code;
    dbi_rc rc;

    if (producer->options.journal != NULL)
        return dbi_err_set(err, DBI_ESTATE, "what is in a journal is not given up by the producer: close it, and remove "
                                            "the journal's directory if its messages are not wanted");
    if (atomic_load(&producer->kafka.state) == DBI__KAFKA_NEW)
        return DBI_OK;
    rc = dbi__kafka_enter(&producer->kafka, err);
    if (rc != DBI_OK)
        return rc;
    code = rd_kafka_purge(producer->kafka.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi_kafka_err(err, code, "giving up the messages in flight");
    dbi__kafka_leave(&producer->kafka);
    return rc;
}

/* -- counters ----------------------------------------------------------------------------------------------------- */

static void counts_read(const dbi_producer *producer, dbi_producer_counts *counts) {
    uint64_t reported;
    int tries = 0;

    memset(counts, 0, sizeof *counts);
    /* Reports that come between the two readings would make more seem in flight than ever were. */
    do {
        counts->delivered = get(&producer->delivered);
        counts->failed = get(&producer->failed);
        counts->purged = get(&producer->purged);
        counts->accepted = get(&producer->accepted);
    } while (++tries < 8 && (get(&producer->delivered) != counts->delivered ||
                             get(&producer->failed) != counts->failed));
    counts->accepted_bytes = get(&producer->accepted_bytes);
    counts->refused = get(&producer->refused);
    counts->dropped = get(&producer->dropped);
    reported = counts->delivered + counts->failed;
    if (counts->accepted < reported)
        counts->accepted = reported;
    counts->in_flight = counts->accepted - reported;
    if (counts->purged > counts->failed) /* read a moment later */
        counts->purged = counts->failed;
}

void dbi_producer_counts_get(const dbi_producer *producer, dbi_producer_counts *counts) {
    dbi__producer_journal *journal = atomic_load(&producer->journal);

    if (producer->options.journal == NULL) {
        counts_read(producer, counts);
        return;
    }
    memset(counts, 0, sizeof *counts);
    if (journal != NULL && !dbi_kafka_forked(&producer->kafka))
        dbi__producer_journal_counts(journal, counts);
    counts->accepted_bytes = get(&producer->accepted_bytes);
    counts->refused = get(&producer->refused);
    counts->dropped = get(&producer->dropped);
}

bool dbi_producer_journal_view_get(dbi_producer *producer, dbi_producer_journal_view *view) {
    dbi__producer_journal *journal = atomic_load(&producer->journal);

    memset(view, 0, sizeof *view);
    if (producer->options.journal == NULL)
        return false;
    view->journal.directory = producer->journal_directory;
    view->journal.max_bytes = producer->journal_config.journal.max_bytes;
    if (journal != NULL && !dbi_kafka_forked(&producer->kafka))
        dbi__producer_journal_look(journal, view);
    return true;
}

size_t dbi_producer_reasons(const dbi_producer *producer, dbi_producer_reason *reasons, size_t capacity) {
    size_t count = 0;

    for (size_t i = 0; i < DBI__CODES; i++) {
        uint64_t failed = get(&producer->failed_by[i]), refused = get(&producer->refused_by[i]);

        if (failed == 0 && refused == 0)
            continue;
        if (count < capacity)
            reasons[count] = (dbi_producer_reason){
                .code = (rd_kafka_resp_err_t)((int)i - DBI__CODES / 2), .failed = failed, .refused = refused};
        count++;
    }
    return count;
}
