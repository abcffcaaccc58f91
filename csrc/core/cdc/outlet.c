/* outlet.c - see outlet.h
 *
 * The window is a ring. An entry is a message that has not been delivered, or one that has while an older one has not;
 * a mark is a number at the newest entry, counted when that entry leaves the ring. A delivery report finds its entry by
 * the number that the message was sent under; numbers begin at 1 and go on over the life of a producer.
 */
#include "cdc/outlet.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "alloc.h"
#include "clock.h"
#include "mailbox.h"

#define OUTLET_WAIT_SLICE (100 * DBI_NS_PER_MS)
#define OUTLET_MESSAGES_MAX ((size_t)10000000)     /* librdkafka's queue.buffering.max.messages ends there */
#define OUTLET_BYTES_MAX ((size_t)1 << 40)
#define OUTLET_KBYTES_MAX UINT64_C(2147483647)     /* queue.buffering.max.kbytes */
#define MESSAGE_MAX_BYTES UINT64_C(1000000)        /* librdkafka's default of message.max.bytes */

/* What a user's properties come after: order, exactness and waiting for ever are the outlet's promises. */
static const dbi_kafka_property outlet_properties[] = {
    {"client.id", "dbint-flow"},
    {"partitioner", "murmur2_random"},     /* as Java clients choose: any engine puts a key into the same partition */
    {"message.timeout.ms", "0"},           /* a broker that is away is waited for */
    {"allow.auto.create.topics", "false"}, /* topics are made with the partitions that were asked for, or not at all */
};
#define OUTLET_PROPERTIES (sizeof outlet_properties / sizeof *outlet_properties)

struct dbi_outlet_topic {
    dbi_outlet_topic *next;
    dbi_topic *topic; /* the producer's; NULL = not asked for yet */
    int partitions;
    bool checked; /* since the last reset */
    char name[];  /* NUL-terminated */
};

typedef struct outlet_entry {
    uint64_t position; /* reached when the entry leaves; 0 = none */
    uint32_t bytes;
    bool delivered;
} outlet_entry;

struct dbi_outlet {
    dbi_kafka_property *properties; /* with their texts in one block each */
    size_t property_count;
    dbi_kafka_property *topic_properties;
    size_t topic_property_count;
    size_t max_messages, max_bytes;
    int partitions, replication;
    atomic_bool used;

    dbi_producer *producer;
    dbi_admin *admin; /* NULL until a topic is looked up */
    dbi_mailbox *mailbox;
    dbi_outlet_topic *topics;
    dbi_err failure; /* rc DBI_OK = works */

    outlet_entry *ring;
    size_t head, count; /* the oldest entry, and how many there are */
    uint64_t number;    /* of the oldest entry */
    size_t bytes;

    atomic_uint_fast64_t confirmed;
    atomic_uint_fast64_t sent, delivered, sent_bytes, undelivered, undelivered_bytes, full, resets;
};

static void add(atomic_uint_fast64_t *counter, uint64_t count) {
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

/* --- configuration --- */

void dbi_outlet_defaults(dbi_outlet_config *config) {
    *config = (dbi_outlet_config){.max_messages = 100000, .max_bytes = 32u << 20, .partitions = -1, .replication = -1};
}

static void properties_free(dbi_kafka_property *properties, size_t count) {
    for (size_t i = 0; properties != NULL && i < count; i++) {
        dbi_free((void *)(uintptr_t)properties[i].name);
        dbi_free((void *)(uintptr_t)properties[i].value);
    }
    dbi_free(properties);
}

static bool property_set(dbi_kafka_property *property, const char *name, const char *value) {
    property->name = dbi_strdup(name);
    property->value = dbi_strdup(value);
    return property->name != NULL && property->value != NULL;
}

/* The largest message that the producer takes. */
static uint64_t message_max(const dbi_outlet_config *config) {
    uint64_t max = MESSAGE_MAX_BYTES;

    for (size_t i = 0; i < config->property_count; i++)
        if (strcmp(config->properties[i].name, "message.max.bytes") == 0)
            max = strtoull(config->properties[i].value, NULL, 10);
    return max;
}

/* librdkafka's queue is never what limits: the window is. A message is in that queue until its report has been freed, a
 * moment after we have it, so that a window may be delivered and still be counted there beside the next one. */
static dbi_rc properties_copy(dbi_outlet *outlet, const dbi_outlet_config *config, dbi_err *err) {
    size_t messages = config->max_messages < OUTLET_MESSAGES_MAX / 2 ? 2 * config->max_messages : OUTLET_MESSAGES_MAX;
    uint64_t kbytes = 2 * (config->max_bytes + message_max(config)) / 1024 + 1;
    size_t count = OUTLET_PROPERTIES + 2 + config->property_count;
    dbi_kafka_property *properties = outlet->properties = dbi_calloc(count, sizeof *properties);
    char text[24];
    bool copied = properties != NULL;

    outlet->property_count = copied ? count : 0;
    for (size_t i = 0; copied && i < OUTLET_PROPERTIES; i++)
        copied = property_set(properties++, outlet_properties[i].name, outlet_properties[i].value);
    (void)snprintf(text, sizeof text, "%zu", messages);
    copied = copied && property_set(properties++, "queue.buffering.max.messages", text);
    kbytes = kbytes < OUTLET_KBYTES_MAX ? kbytes : OUTLET_KBYTES_MAX;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)kbytes);
    copied = copied && property_set(properties++, "queue.buffering.max.kbytes", text);
    for (size_t i = 0; copied && i < config->property_count; i++)
        copied = property_set(properties++, config->properties[i].name, config->properties[i].value);

    properties = outlet->topic_properties =
        copied ? dbi_calloc(1 + config->topic_property_count, sizeof *properties) : NULL;
    copied = properties != NULL;
    outlet->topic_property_count = copied ? 1 + config->topic_property_count : 0;
    copied = copied && property_set(properties++, "cleanup.policy", "delete");
    for (size_t i = 0; copied && i < config->topic_property_count; i++)
        copied = property_set(properties++, config->topic_properties[i].name, config->topic_properties[i].value);
    return copied ? DBI_OK : dbi_err_set(err, DBI_ENOMEM, "no memory for an outlet to Kafka");
}

static dbi_rc config_check(const dbi_outlet_config *config, dbi_err *err) {
    if (config->max_messages < 1 || config->max_messages > OUTLET_MESSAGES_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "outlet: max_messages must be within 1 to %zu, not %zu",
                           OUTLET_MESSAGES_MAX, config->max_messages);
    if (config->max_bytes < 1 || config->max_bytes > OUTLET_BYTES_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "outlet: max_bytes must be within 1 to %zu, not %zu", OUTLET_BYTES_MAX,
                           config->max_bytes);
    if (config->partitions == 0 || config->partitions < -1)
        return dbi_err_set(err, DBI_ECONFIG, "outlet: partitions must be 1 or more, or -1, not %d", config->partitions);
    if (config->replication == 0 || config->replication < -1 || config->replication > INT16_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "outlet: replication must be within 1 to %d, or -1, not %d", INT16_MAX,
                           config->replication);
    return DBI_OK;
}

/* --- life --- */

/* A producer, and a mailbox for its reports: reports of an earlier producer go to an earlier mailbox. */
static dbi_rc outlet_open(dbi_outlet *outlet, dbi_err *err) {
    static const dbi_producer_options options = {.when_full = DBI_WHEN_FULL_WAIT};
    dbi_rc rc = dbi_mailbox_new(&outlet->mailbox, true, err);

    if (rc == DBI_OK)
        rc = dbi_producer_new(&outlet->producer, outlet->properties, outlet->property_count, &options, err);
    return rc;
}

static void outlet_shut(dbi_outlet *outlet) {
    dbi_rc ignored = DBI_OK; /* in a forked child there is nothing to end */

    dbi_admin_free(outlet->admin);
    outlet->admin = NULL;
    if (outlet->producer != NULL)
        ignored = dbi_producer_close(outlet->producer, NULL);
    (void)ignored;
    dbi_producer_free(outlet->producer);
    outlet->producer = NULL;
    dbi_mailbox_free(outlet->mailbox);
    outlet->mailbox = NULL;
}

dbi_rc dbi_outlet_new(dbi_outlet **outlet_out, const dbi_outlet_config *config, dbi_err *err) {
    dbi_outlet *outlet = NULL;
    dbi_rc rc = config_check(config, err);

    *outlet_out = NULL;
    if (rc != DBI_OK)
        return rc;
    outlet = dbi_calloc(1, sizeof *outlet);
    if (outlet == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for an outlet to Kafka");
    outlet->max_messages = config->max_messages;
    outlet->max_bytes = config->max_bytes;
    outlet->partitions = config->partitions;
    outlet->replication = config->replication;
    outlet->number = 1;
    rc = properties_copy(outlet, config, err);
    if (rc == DBI_OK && (outlet->ring = dbi_calloc(config->max_messages, sizeof *outlet->ring)) == NULL)
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a window of %zu messages", config->max_messages);
    if (rc == DBI_OK)
        rc = outlet_open(outlet, err);
    if (rc != DBI_OK) {
        dbi_outlet_free(outlet);
        return rc;
    }
    *outlet_out = outlet;
    return DBI_OK;
}

void dbi_outlet_free(dbi_outlet *outlet) {
    if (outlet == NULL)
        return;
    outlet_shut(outlet);
    while (outlet->topics != NULL) {
        dbi_outlet_topic *topic = outlet->topics;

        outlet->topics = topic->next;
        dbi_free(topic);
    }
    properties_free(outlet->properties, outlet->property_count);
    properties_free(outlet->topic_properties, outlet->topic_property_count);
    dbi_free(outlet->ring);
    dbi_free(outlet);
}

dbi_rc dbi_outlet_begin(dbi_outlet *outlet, dbi_err *err) {
    if (atomic_exchange(&outlet->used, true))
        return dbi_err_set(err, DBI_ESTATE, "the outlet to Kafka is in use: one capture or one snapshot at a time");
    return DBI_OK;
}

void dbi_outlet_end(dbi_outlet *outlet) {
    atomic_store(&outlet->used, false);
}

static void window_clear(dbi_outlet *outlet) {
    outlet->number += outlet->count;
    outlet->head = outlet->count = outlet->bytes = 0;
    atomic_store_explicit(&outlet->undelivered, 0, memory_order_relaxed);
    atomic_store_explicit(&outlet->undelivered_bytes, 0, memory_order_relaxed);
}

dbi_rc dbi_outlet_reset(dbi_outlet *outlet, dbi_err *err) {
    dbi_rc rc;

    outlet_shut(outlet);
    window_clear(outlet);
    for (dbi_outlet_topic *topic = outlet->topics; topic != NULL; topic = topic->next) {
        topic->topic = NULL;
        topic->checked = false;
    }
    dbi_err_reset(&outlet->failure);
    add(&outlet->resets, 1);
    rc = outlet_open(outlet, &outlet->failure);
    if (rc != DBI_OK) {
        outlet_shut(outlet);
        if (err != NULL)
            *err = outlet->failure;
    }
    return rc;
}

/* Why the outlet works no more; DBI_OK when it does. */
static dbi_rc outlet_state(const dbi_outlet *outlet, dbi_err *err) {
    if (outlet->failure.rc != DBI_OK && err != NULL)
        *err = outlet->failure;
    return outlet->failure.rc;
}

/* --- topics --- */

/* Looks the topic up, or makes it; somebody else may be making it, too. */
static dbi_rc topic_check(dbi_outlet *outlet, dbi_outlet_topic *topic, int64_t deadline, dbi_err *err) {
    const struct rd_kafka_metadata *metadata;
    bool made = false;
    dbi_rc rc = DBI_OK;

    if (outlet->admin == NULL)
        rc = dbi_admin_new(&outlet->admin, outlet->properties, outlet->property_count, err);
    while (rc == DBI_OK) {
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        dbi_err trouble;

        rc = dbi_admin_describe(outlet->admin, false, topic->name, deadline, &metadata, NULL, NULL, err);
        if (rc != DBI_OK)
            break;
        if (metadata->topic_cnt == 1) {
            code = metadata->topics[0].err;
            topic->partitions = metadata->topics[0].partition_cnt;
        }
        rd_kafka_metadata_destroy(metadata);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        if (code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
            rc = dbi_kafka_err(err, code, "topic \"%.200s\"", topic->name);
        } else if (!made && code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            rc = dbi_admin_create_topic(outlet->admin, topic->name, outlet->partitions, outlet->replication,
                                        outlet->topic_properties, outlet->topic_property_count, deadline, &trouble);
            if (trouble.kafka == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
                rc = DBI_OK;
            else if (rc != DBI_OK && err != NULL)
                *err = trouble;
            made = true;
        } else if (dbi_clock_left(NULL, deadline) == 0) {
            rc = dbi_err_set(err, DBI_ETIMEOUT, "topic \"%.200s\" was made, and no broker leads it yet", topic->name);
        } else {
            (void)nanosleep(&(struct timespec){.tv_nsec = 50 * DBI_NS_PER_MS}, NULL);
        }
    }
    if (rc == DBI_OK && outlet->partitions > 0 && topic->partitions != outlet->partitions)
        rc = dbi_err_set(err, DBI_ECONFIG,
                         "topic \"%.200s\" has %d partitions, and %d are configured: keys would change their places. "
                         "Set PARTITIONS to %d, or stop the flow, drain and delete the topic, and begin with a new "
                         "snapshot",
                         topic->name, topic->partitions, outlet->partitions, topic->partitions);
    topic->checked = rc == DBI_OK;
    return rc;
}

dbi_rc dbi_outlet_topic_get(dbi_outlet *outlet, const char *name, int64_t deadline, dbi_outlet_topic **topic_out,
                            dbi_err *err) {
    dbi_outlet_topic *topic = outlet->topics;
    size_t size = strlen(name) + 1;
    dbi_rc rc = outlet_state(outlet, err);

    *topic_out = NULL;
    if (rc != DBI_OK)
        return rc;
    while (topic != NULL && strcmp(topic->name, name) != 0)
        topic = topic->next;
    if (topic == NULL) {
        topic = dbi_calloc(1, sizeof *topic + size);
        if (topic == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for a topic");
        memcpy(topic->name, name, size);
        topic->next = outlet->topics;
        outlet->topics = topic;
    }
    if (!topic->checked)
        rc = topic_check(outlet, topic, deadline, err);
    if (rc == DBI_OK && topic->topic == NULL)
        rc = dbi_producer_topic(outlet->producer, topic->name, &topic->topic, err);
    if (rc == DBI_OK)
        *topic_out = topic;
    return rc;
}

const char *dbi_outlet_topic_name(const dbi_outlet_topic *topic) {
    return topic->name;
}

int dbi_outlet_topic_partitions(const dbi_outlet_topic *topic) {
    return topic->partitions;
}

/* --- reports --- */

static void outlet_confirm(dbi_outlet *outlet, uint64_t position) {
    if (position > atomic_load_explicit(&outlet->confirmed, memory_order_relaxed))
        atomic_store_explicit(&outlet->confirmed, position, memory_order_release);
}

/* Why the message was not delivered, and what can be done about it. */
static void outlet_fail(dbi_outlet *outlet, const dbi_ticket *ticket) {
    const char *topic = dbi_topic_name(ticket->topic), *advice = "";
    dbi_err fatal;

    if (outlet->failure.rc != DBI_OK)
        return;
    if (ticket->fatal && dbi_kafka_fatal(dbi_producer_kafka(outlet->producer), &fatal) != 0) {
        outlet->failure = fatal;
        return;
    }
    switch (ticket->error) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        advice = ": the broker takes less than the producer's message.max.bytes; raise the topic's max.message.bytes";
        break;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        advice = ": the topic was deleted while it was written to; what it held is lost to its readers";
        break;
    default:
        break;
    }
    (void)dbi_kafka_err(&outlet->failure, ticket->error, "a message for topic \"%.150s\" was not delivered%s", topic,
                        advice);
}

static void outlet_report(dbi_outlet *outlet, const dbi_ticket *ticket) {
    uint64_t index = (uint64_t)(uintptr_t)ticket->letter.user - outlet->number;

    if (ticket->error != RD_KAFKA_RESP_ERR_NO_ERROR)
        outlet_fail(outlet, ticket);
    else
        outlet->ring[(outlet->head + index) % outlet->max_messages].delivered = true;
}

static void window_advance(dbi_outlet *outlet) {
    uint64_t position = 0, count = 0;

    while (outlet->count > 0 && outlet->ring[outlet->head].delivered) {
        const outlet_entry *entry = &outlet->ring[outlet->head];

        if (entry->position > position)
            position = entry->position;
        outlet->bytes -= entry->bytes;
        outlet->head = outlet->head + 1 < outlet->max_messages ? outlet->head + 1 : 0;
        outlet->count--;
        outlet->number++;
        count++;
    }
    if (count == 0)
        return;
    outlet_confirm(outlet, position);
    add(&outlet->delivered, count);
    atomic_store_explicit(&outlet->undelivered, outlet->count, memory_order_relaxed);
    atomic_store_explicit(&outlet->undelivered_bytes, outlet->bytes, memory_order_relaxed);
}

static void outlet_take(dbi_outlet *outlet, dbi_letter *letters) {
    while (letters != NULL) {
        dbi_letter *next = letters->next;

        outlet_report(outlet, (const dbi_ticket *)letters);
        dbi_letter_free(letters);
        letters = next;
    }
    window_advance(outlet);
}

dbi_rc dbi_outlet_poll(dbi_outlet *outlet, dbi_err *err) {
    if (outlet->mailbox != NULL)
        outlet_take(outlet, dbi_mailbox_take(outlet->mailbox));
    return outlet_state(outlet, err);
}

int dbi_outlet_fd(const dbi_outlet *outlet) {
    return outlet->mailbox != NULL ? dbi_mailbox_fd(outlet->mailbox) : -1;
}

/* --- messages --- */

static bool has_room(const dbi_outlet *outlet, size_t messages, size_t bytes) {
    if (messages > outlet->max_messages - outlet->count)
        return false;
    return outlet->count == 0 || (outlet->bytes < outlet->max_bytes && bytes <= outlet->max_bytes - outlet->bytes);
}

static dbi_rc room_make(dbi_outlet *outlet, size_t messages, size_t bytes, dbi_err *err) {
    dbi_rc rc = outlet_state(outlet, err);

    if (rc != DBI_OK || has_room(outlet, messages, bytes))
        return rc;
    rc = dbi_outlet_poll(outlet, err);
    if (rc != DBI_OK || has_room(outlet, messages, bytes))
        return rc;
    add(&outlet->full, 1);
    return dbi_err_set(err, DBI_EFULL, "%zu messages with %zu bytes are under way to Kafka", outlet->count,
                       outlet->bytes);
}

/* The window has room for it. */
static dbi_rc message_send(dbi_outlet *outlet, dbi_outlet_topic *topic, const dbi_message *message, dbi_err *err) {
    size_t bytes = message->key_len + message->value_len, at = (outlet->head + outlet->count) % outlet->max_messages;
    void *number = (void *)(uintptr_t)(outlet->number + outlet->count);
    dbi_rc rc = DBI_OK;

    if (topic->topic == NULL)
        rc = dbi_producer_topic(outlet->producer, topic->name, &topic->topic, err);
    if (rc == DBI_OK)
        rc = dbi_producer_send(outlet->producer, topic->topic, message, outlet->mailbox, number, err);
    if (rc != DBI_OK)
        return rc;
    outlet->ring[at] = (outlet_entry){.bytes = (uint32_t)bytes};
    outlet->count++;
    outlet->bytes += bytes;
    add(&outlet->sent, 1);
    add(&outlet->sent_bytes, bytes);
    atomic_store_explicit(&outlet->undelivered, outlet->count, memory_order_relaxed);
    atomic_store_explicit(&outlet->undelivered_bytes, outlet->bytes, memory_order_relaxed);
    return DBI_OK;
}

/* After a refusal: what ends the outlet's work, and what does not. */
static dbi_rc send_refused(dbi_outlet *outlet, dbi_rc rc, const dbi_err *trouble, dbi_err *err) {
    if (rc != DBI_EFULL && rc != DBI_ETOOBIG && rc != DBI_ENOMEM)
        outlet->failure = *trouble;
    if (err != NULL)
        *err = *trouble;
    return rc;
}

dbi_rc dbi_outlet_send(dbi_outlet *outlet, dbi_outlet_topic *topic, const dbi_message *message, uint64_t position,
                       dbi_err *err) {
    dbi_err trouble;
    dbi_rc rc = room_make(outlet, 1, message->key_len + message->value_len, err);

    if (rc != DBI_OK)
        return rc;
    rc = message_send(outlet, topic, message, &trouble);
    if (rc != DBI_OK)
        return send_refused(outlet, rc, &trouble, err);
    if (position != 0)
        dbi_outlet_mark(outlet, position);
    return DBI_OK;
}

dbi_rc dbi_outlet_send_to_all(dbi_outlet *outlet, dbi_outlet_topic *topic, const dbi_message *message,
                              uint64_t position, dbi_err *err) {
    size_t partitions = (size_t)topic->partitions;
    dbi_message copy = *message;
    dbi_err trouble;
    dbi_rc rc;

    if (partitions > outlet->max_messages)
        return dbi_err_set(err, DBI_ECONFIG, "outlet: max_messages (%zu) must not be below a topic's %zu partitions",
                           outlet->max_messages, partitions);
    rc = room_make(outlet, partitions, partitions * (message->key_len + message->value_len), err);
    if (rc != DBI_OK)
        return rc;
    for (size_t i = 0; i < partitions; i++) {
        copy.partition = (int32_t)i;
        rc = message_send(outlet, topic, &copy, &trouble);
        if (rc == DBI_OK)
            continue;
        if (i > 0 && (rc == DBI_EFULL || rc == DBI_ENOMEM)) /* some have gone: the caller cannot send it again */
            outlet->failure = trouble;
        return send_refused(outlet, rc, &trouble, err);
    }
    if (position != 0)
        dbi_outlet_mark(outlet, position);
    return DBI_OK;
}

void dbi_outlet_mark(dbi_outlet *outlet, uint64_t position) {
    if (outlet->count == 0)
        outlet_confirm(outlet, position);
    else
        outlet->ring[(outlet->head + outlet->count - 1) % outlet->max_messages].position = position;
}

/* --- waiting --- */

static int64_t sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

dbi_rc dbi_outlet_wait_room(dbi_outlet *outlet, int64_t deadline, dbi_err *err) {
    for (;;) {
        dbi_rc rc = dbi_outlet_poll(outlet, err);

        if (rc != DBI_OK || (outlet->count <= outlet->max_messages / 2 && outlet->bytes <= outlet->max_bytes / 2))
            return rc;
        if (dbi_clock_left(NULL, deadline) == 0)
            return dbi_err_set(err, DBI_ETIMEOUT, "%zu messages are still under way to Kafka", outlet->count);
        outlet_take(outlet, dbi_mailbox_wait(outlet->mailbox,
                                             sooner(deadline, dbi_clock_deadline(NULL, OUTLET_WAIT_SLICE))));
    }
}

dbi_rc dbi_outlet_wait(dbi_outlet *outlet, int64_t deadline, dbi_err *err) {
    for (;;) {
        dbi_rc rc = dbi_outlet_poll(outlet, err);
        uint64_t left;

        if (rc != DBI_OK || outlet->count == 0)
            return rc;
        if (dbi_clock_left(NULL, deadline) == 0)
            return dbi_err_set(err, DBI_ETIMEOUT, "%zu messages are still under way to Kafka", outlet->count);
        rc = dbi_producer_flush(outlet->producer, sooner(deadline, dbi_clock_deadline(NULL, OUTLET_WAIT_SLICE)), &left,
                                err);
        if (rc != DBI_OK && rc != DBI_ETIMEOUT)
            return rc;
        if (rc == DBI_OK) /* delivered and counted: the reports are as good as here */
            outlet_take(outlet, dbi_mailbox_wait(outlet->mailbox,
                                                 sooner(deadline, dbi_clock_deadline(NULL, DBI_NS_PER_MS))));
    }
}

/* --- looking --- */

uint64_t dbi_outlet_confirmed(const dbi_outlet *outlet) {
    return atomic_load_explicit(&outlet->confirmed, memory_order_acquire);
}

bool dbi_outlet_idle(const dbi_outlet *outlet) {
    return outlet->count == 0;
}

dbi_rc dbi_outlet_trouble(const dbi_outlet *outlet, dbi_err *err) {
    if (outlet->failure.rc != DBI_OK)
        return outlet_state(outlet, err);
    return dbi_kafka_last_error(dbi_producer_kafka(outlet->producer), err);
}

void dbi_outlet_counts_get(const dbi_outlet *outlet, dbi_outlet_counts *counts) {
    counts->sent = atomic_load_explicit(&outlet->sent, memory_order_relaxed);
    counts->delivered = atomic_load_explicit(&outlet->delivered, memory_order_relaxed);
    counts->sent_bytes = atomic_load_explicit(&outlet->sent_bytes, memory_order_relaxed);
    counts->undelivered = atomic_load_explicit(&outlet->undelivered, memory_order_relaxed);
    counts->undelivered_bytes = atomic_load_explicit(&outlet->undelivered_bytes, memory_order_relaxed);
    counts->full = atomic_load_explicit(&outlet->full, memory_order_relaxed);
    counts->resets = atomic_load_explicit(&outlet->resets, memory_order_relaxed);
}
