/* producer_journal.c - see producer_journal.h */
#include "producer_journal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "dead.h"
#include "md5_int.h"
#include "producer_record.h"
#include "uuid.h"

#define STREAM "kafka"                  /* the name of its chains */
#define READ_BYTES ((size_t)256 << 10)  /* of records at a time */
#define HAND_OVER 512u                  /* messages of one lane before another one has its turn */
#define LOOK_MS 100                     /* at most between two looks at everything */
#define CROWDED_MS 5                    /* librdkafka's own queue is full */
#define PATIENCE (5 * DBI_NS_PER_S)     /* for reports, before what is queued is taken back */
#define SORTED 1024u                    /* messages at a time that went well: there is nothing to sort out any more */
#define KEEP_BUSY (20 * DBI_NS_PER_MS)
#define KEEP_IDLE (200 * DBI_NS_PER_MS)
#define KEEP_MANY 1000u
#define BODY_ON_STACK 4096u
#define TOPIC_MAX 512u /* more than Kafka allows */
#define OVERHEAD 128u  /* of a message in its request, our header included; not less than librdkafka's own estimate */

/* A receipt that somebody waits for. */
typedef struct journal_waiting {
    dbi_ticket ticket; /* first: it is a letter */
    struct journal_waiting *next;
    uint64_t sequence;
} journal_waiting;

typedef struct journal_lane {
    dbi_chain *chain;
    pthread_mutex_t lock;
    journal_waiting *first, *last; /* of messages that were not handed over yet, ascending */
} journal_lane;

typedef enum journal_flight_state {
    FLIGHT_FLYING, /* handed over */
    FLIGHT_DONE,   /* delivered */
    FLIGHT_FAILED, /* to be handed over again */
    FLIGHT_DEAD    /* never again */
} journal_flight_state;

typedef struct journal_body {
    size_t length;
    uint8_t bytes[];
} journal_body;

/* A message that was handed over once, and that is not released. */
typedef struct journal_flight {
    uint64_t sequence;
    journal_waiting *waiting;
    journal_body *copy; /* of one that was alone, or is dead */
    rd_kafka_resp_err_t code;
    uint32_t bytes;
    uint8_t state;
    bool counted; /* as delivered or dead */
} journal_flight;

/* One chain and how far it is. Indices count flights; modulo the window they are places in the ring. */
typedef struct journal_duty {
    struct journal_duty *next_duty;
    uint64_t number;
    dbi_chain *chain;
    journal_lane *lane; /* NULL = nothing is appended to it */
    uint8_t id[16];
    dbi_dead *dead;
    journal_flight *ring;              /* NULL while nothing was read */
    uint64_t head, next, tail; /* released up to, to be handed over, known up to */
    dbi_records records;
    uint64_t read, passed, released; /* sequences: asked for, taken out of `records`, delivered or dead */
    uint64_t found_to;               /* what was there when the journal was opened */
    uint64_t flying, counted;        /* flights: on their way; counted and not released */
    uint64_t limit, volley;          /* while sorting: messages at a time; how many were in the last one */
    dbi_topic *topic;                /* the last one used */
    int64_t not_before, pause;
    int64_t part_at; /* when what came since may be parted from another cluster's */
    bool old;     /* of the own slot, and takes no more records */
    bool ready;   /* bound to the cluster */
    bool foreign; /* another cluster's */
    bool stuck;   /* holds what this version does not send */
    bool ask;     /* the brokers about `topic` before it is tried again */
    bool probing; /* held: one message at a time until one is delivered */
    char why[256];
} journal_duty;

/* What librdkafka carries along with a message. */
typedef struct journal_wire {
    dbi_ticket ticket;
    journal_duty *duty;
    uint64_t index;
} journal_wire;

typedef enum journal_mode {
    MODE_RUN,
    MODE_DRAIN, /* what is on its way is waited for */
    MODE_SORT   /* one lane alone, few messages at a time */
} journal_mode;

struct dbi__producer_journal {
    dbi_producer *producer;
    dbi_producer_journal_config config;
    char *directory, *dead_directory;
    size_t message_max;
    uint64_t fork;
    dbi_journal *journal;
    dbi_mailbox *reports;
    int wake_fd;
    atomic_bool idle; /* the replay thread waits for records */
    atomic_bool stop;
    atomic_uint turn; /* of messages without a key */
    journal_lane *lanes;
    pthread_t replay, keeper;
    bool replay_runs, keeper_runs;

    pthread_mutex_t lock;
    pthread_cond_t keep, progress; /* CLOCK_MONOTONIC */
    journal_duty *duties;
    uint64_t duty_number, turn_duty;
    uint64_t window_mask;
    journal_mode mode;
    journal_duty *alone;
    bool barrier;   /* what was found goes first */
    bool enumerate; /* the list of chains is another one */
    bool renew;
    bool known, has_target;
    uint8_t target[16];
    int64_t asked_at, drain_since, purged_at, renew_at;
    uint64_t flying;
    size_t flying_bytes;
    bool crowded;
    bool ended;
    dbi_producer_counts gone; /* of chains that are gone; after the end, of all */
    uint64_t delivered, dead, resent, renewed;
    dbi_mailbox *letters_to; /* letters for one mailbox, so that its reader is woken once */
    dbi_letter *letters, *letters_last;
    size_t letter_count;
    char why[256]; /* no broker, no memory, a disk */
};

/* -- configuration ------------------------------------------------------------------------------------------------- */

void dbi_producer_journal_defaults(dbi_producer_journal_config *config) {
    *config = (dbi_producer_journal_config){
        .lanes = 1,
        .durability = DBI_DURABILITY_PROCESS,
        .sync_interval = 100 * DBI_NS_PER_MS,
        .adopt_every = 5 * DBI_NS_PER_S,
        .window = 32768,
        .window_bytes = (size_t)64 << 20,
        .retry_min = DBI_NS_PER_S,
        .retry_max = 30 * DBI_NS_PER_S,
    };
    dbi_journal_defaults(&config->journal);
    config->journal.keep_ns = 0;
    config->journal.keep_bytes = 0;
}

dbi_rc dbi__producer_journal_check(const dbi_producer_journal_config *config, dbi_err *err) {
    if (config->journal.directory == NULL || config->journal.directory[0] == '\0')
        return dbi_err_set(err, DBI_ECONFIG, "a producer's journal needs a directory");
    if (config->lanes < 1 || config->lanes > DBI_PRODUCER_LANES_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "the lanes of a producer's journal must be within 1 to %d, not %u",
                           DBI_PRODUCER_LANES_MAX, config->lanes);
    if (config->durability != DBI_DURABILITY_PROCESS && config->durability != DBI_DURABILITY_INTERVAL &&
        config->durability != DBI_DURABILITY_SYNC)
        return dbi_err_set(err, DBI_ECONFIG,
                           "the durability of a producer's journal must be process, interval or sync");
    if (config->window < 16 || (config->window & (config->window - 1)) != 0)
        return dbi_err_set(err, DBI_ECONFIG, "the window of a producer's journal must be a power of two from 16 on");
    if (config->sync_interval < DBI_NS_PER_MS || config->adopt_every < DBI_NS_PER_MS || config->retry_min <= 0 ||
        config->retry_max < config->retry_min)
        return dbi_err_set(err, DBI_ECONFIG, "the intervals of a producer's journal must be 1 ms or more");
    return DBI_OK;
}

/* -- receipts ------------------------------------------------------------------------------------------------------ */

static void letters_flush(dbi__producer_journal *journal) {
    if (journal->letter_count > 0)
        dbi_mailbox_deliver(journal->letters_to, journal->letters, journal->letters_last, journal->letter_count);
    journal->letter_count = 0;
}

static void waiting_answer(dbi__producer_journal *journal, journal_waiting *waiting) {
    dbi_letter *letter = &waiting->ticket.letter;

    if (journal->letter_count > 0 && journal->letters_to != letter->mailbox)
        letters_flush(journal);
    letter->next = NULL;
    if (journal->letter_count++ == 0) {
        journal->letters_to = letter->mailbox;
        journal->letters = letter;
    } else {
        journal->letters_last->next = letter;
    }
    journal->letters_last = letter;
}

static void waiting_fail(dbi__producer_journal *journal, journal_waiting *waiting, rd_kafka_resp_err_t code, bool journaled) {
    if (waiting == NULL)
        return;
    waiting->ticket.error = code;
    waiting->ticket.partition = -1;
    waiting->ticket.offset = RD_KAFKA_OFFSET_INVALID;
    waiting->ticket.timestamp_ms = -1;
    waiting->ticket.journaled = journaled;
    waiting_answer(journal, waiting);
}

/* What is no longer there: given up by the policy, or unreadable. */
static void waiting_lost(dbi__producer_journal *journal, journal_waiting *waiting) {
    bool dropped = journal->producer->options.when_full == DBI_WHEN_FULL_DROP_OLDEST;

    waiting_fail(journal, waiting, dropped ? RD_KAFKA_RESP_ERR__QUEUE_FULL : RD_KAFKA_RESP_ERR__FS, false);
}

/* Who waits for this message of the lane; those who wait for earlier ones, which were not there, are told. */
static journal_waiting *lane_waiting(dbi__producer_journal *journal, journal_lane *lane, uint64_t sequence) {
    journal_waiting *found = NULL;

    if (lane == NULL)
        return NULL;
    (void)pthread_mutex_lock(&lane->lock);
    while (lane->first != NULL && lane->first->sequence <= sequence) {
        journal_waiting *first = lane->first;

        lane->first = first->next;
        if (first->sequence == sequence)
            found = first;
        else
            waiting_lost(journal, first);
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return found;
}

/* -- taking messages ----------------------------------------------------------------------------------------------- */

static journal_lane *lane_choose(dbi__producer_journal *journal, const dbi_message *message) {
    uint32_t place;

    if (journal->config.lanes == 1)
        return &journal->lanes[0];
    if (message->key != NULL)
        place = dbi__murmur2(message->key, message->key_len) & 0x7fffffff;
    else if (message->partition != RD_KAFKA_PARTITION_UA)
        place = (uint32_t)message->partition;
    else
        place = atomic_fetch_add_explicit(&journal->turn, 1, memory_order_relaxed);
    return &journal->lanes[place % journal->config.lanes];
}

/* The replay thread has something to do. */
static void wake(dbi__producer_journal *journal) {
    (void)eventfd_write(journal->wake_fd, 1);
}

/* Gives up what has waited longest: what an earlier process left in the slot, else in this lane, else in another one.
 * @locks lock */
static bool make_room(dbi__producer_journal *journal, const journal_lane *lane) {
    uint32_t place = (uint32_t)(lane - journal->lanes), count = journal->config.lanes;
    bool made = false;

    (void)pthread_mutex_lock(&journal->lock);
    for (const journal_duty *duty = journal->duties; duty != NULL && !made; duty = duty->next_duty)
        made = duty->old && dbi_chain_drop_oldest(duty->chain, NULL, NULL) == DBI_OK;
    (void)pthread_mutex_unlock(&journal->lock);
    for (uint32_t i = 0; i < count && !made; i++)
        made = dbi_chain_drop_oldest(journal->lanes[(place + i) % count].chain, NULL, NULL) == DBI_OK;
    return made;
}

static dbi_rc append(dbi__producer_journal *journal, journal_lane *lane, const uint8_t *bytes, size_t length, journal_waiting *waiting,
                     dbi_err *err) {
    dbi_when_full policy = journal->producer->options.when_full;
    uint64_t sequence;
    dbi_rc rc;

    for (unsigned attempt = 0;; attempt++) {
        if (waiting != NULL)
            (void)pthread_mutex_lock(&lane->lock); /* so that receipts queue in the order of their messages */
        rc = dbi_chain_append(lane->chain, DBI_RECORD_KAFKA, bytes, length, &sequence, err);
        if (waiting != NULL) {
            if (rc == DBI_OK) {
                waiting->sequence = sequence;
                waiting->next = NULL;
                if (lane->first == NULL)
                    lane->first = waiting;
                else
                    lane->last->next = waiting;
                lane->last = waiting;
            }
            (void)pthread_mutex_unlock(&lane->lock);
        }
        if (rc != DBI_EFULL || policy != DBI_WHEN_FULL_DROP_OLDEST || attempt == 1000 || !make_room(journal, lane))
            return rc;
    }
}

static dbi_rc journal_full(dbi__producer_journal *journal, dbi_err *err) {
    dbi_journal_view view;

    if (err == NULL || err->sys != 0) /* the disk's own words */
        return DBI_EFULL;
    dbi_journal_view_get(journal->journal, &view);
    return dbi_err_set(err, DBI_EFULL,
                       "the producer's journal %.200s holds %llu of at most %llu bytes: its messages wait for the brokers; "
                       "make it larger (max_bytes), or choose what gives way (when_full)",
                       view.directory, (unsigned long long)view.bytes, (unsigned long long)view.max_bytes);
}

dbi_rc dbi__producer_journal_take(dbi__producer_journal *journal, dbi_topic *topic, const dbi_message *message,
                                  dbi_mailbox *mailbox, void *user, dbi_err *err) {
    static _Thread_local dbi_uuid7_source ids;
    size_t length = dbi__message_size(dbi_topic_name(topic), message);
    uint8_t small[BODY_ON_STACK], id[16] = {0}, *bytes = small;
    journal_lane *lane = lane_choose(journal, message);
    journal_waiting *waiting = NULL;
    int64_t now_us;
    dbi_rc rc;

    if (length == 0 || length - DBI__MESSAGE_FIXED + OVERHEAD > journal->message_max)
        return dbi_err_set(err, DBI_ETOOBIG,
                           "a message of %zu bytes for topic \"%.200s\" is larger than the producer's limit "
                           "(message.max.bytes)",
                           message->key_len + message->value_len, dbi_topic_name(topic));
    if (length > sizeof small && (bytes = dbi_malloc(length)) == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a message of %zu bytes", length);
    if (mailbox != NULL) {
        waiting = dbi_mailbox_promise(mailbox, sizeof *waiting, user);
        if (waiting == NULL) {
            rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a delivery report");
            goto done;
        }
        waiting->ticket.topic = topic;
    }
    now_us = dbi_clock_wall_us();
    if (!dbi__message_has_id(message))
        dbi_uuid7(&ids, now_us * DBI_NS_PER_US, id);
    dbi__message_write(dbi_topic_name(topic), message, now_us / 1000, id, bytes);
    rc = append(journal, lane, bytes, length, waiting, err);
    if (rc != DBI_OK && waiting != NULL)
        dbi_mailbox_withdraw(&waiting->ticket.letter);
    if (rc == DBI_EFULL) {
        rc = journal_full(journal, err);
        if (journal->producer->options.when_full == DBI_WHEN_FULL_DROP)
            dbi_chain_count(lane->chain, DBI_CHAIN_DROPPED_FULL, 1);
    }
    if (rc != DBI_OK)
        goto done;
    atomic_thread_fence(memory_order_seq_cst); /* the replay thread says that it is idle, then looks for records */
    if (atomic_load_explicit(&journal->idle, memory_order_relaxed) && atomic_exchange(&journal->idle, false))
        wake(journal);
    if (journal->config.durability == DBI_DURABILITY_SYNC && mailbox == NULL)
        rc = dbi_chain_sync(lane->chain, NULL, err);
done:
    if (bytes != small)
        dbi_free(bytes);
    return rc;
}

/* -- duties -------------------------------------------------------------------------------------------------------- */

/* The lock is held in all that follows, unless it says otherwise; lists and flights are the replay thread's to change. */

static journal_flight *flight_at(const dbi__producer_journal *journal, const journal_duty *duty, uint64_t index) {
    return &duty->ring[index & journal->window_mask];
}

static void duty_free(dbi__producer_journal *journal, journal_duty *duty) {
    for (uint64_t i = duty->head; i < duty->tail; i++)
        dbi_free(flight_at(journal, duty, i)->copy);
    dbi_free(duty->ring);
    dbi_dead_free(duty->dead);
    dbi_records_free(&duty->records);
    dbi_free(duty);
}

static dbi_rc duty_new(dbi__producer_journal *journal, dbi_chain *chain, dbi_err *err) {
    journal_duty *made = dbi_calloc(1, sizeof *made), **at = &journal->duties;
    dbi_chain_view view;

    if (made == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a chain of the producer's journal");
    dbi_chain_view_get(chain, &view);
    made->chain = chain;
    made->number = ++journal->duty_number;
    made->released = view.landed > view.base ? view.landed : view.base;
    made->found_to = view.adopted ? view.last : view.opened;
    for (uint32_t i = 0; i < journal->config.lanes; i++)
        if (journal->lanes[i].chain == chain)
            made->lane = &journal->lanes[i];
    made->old = made->lane == NULL && !view.adopted;
    while (*at != NULL)
        at = &(*at)->next_duty;
    *at = made;
    return DBI_OK;
}

/* Makes a duty for each chain that has none. */
static dbi_rc duties_enumerate(dbi__producer_journal *journal, dbi_err *err) {
    size_t capacity = 16 + DBI_PRODUCER_LANES_MAX, count;
    dbi_chain **chains = NULL;
    dbi_rc rc = DBI_OK;

    for (;;) {
        chains = dbi_malloc(capacity * sizeof(dbi_chain *));
        if (chains == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for the chains of the producer's journal");
        count = dbi_journal_chains(journal->journal, chains, capacity);
        if (count <= capacity)
            break;
        dbi_free(chains);
        capacity = 2 * count;
    }
    for (size_t i = 0; i < count && rc == DBI_OK; i++) {
        journal_duty *duty = journal->duties;

        while (duty != NULL && duty->chain != chains[i])
            duty = duty->next_duty;
        if (duty == NULL)
            rc = duty_new(journal, chains[i], err);
    }
    dbi_free(chains);
    return rc;
}

static void duty_count(const journal_duty *duty, dbi_producer_counts *counts) {
    dbi_chain_view view;

    dbi_chain_view_get(duty->chain, &view);
    counts->accepted += view.last - view.opened;
    counts->recovered += view.found;
    counts->journaled += view.held > duty->counted ? view.held - duty->counted : 0;
    counts->dropped_oldest += view.counted[DBI_CHAIN_DROPPED_OLDEST];
    counts->damaged += view.counted[DBI_CHAIN_DAMAGED];
}

/* Lets go of chains that have nothing to read any more. */
static void duties_retire(dbi__producer_journal *journal, bool all) {
    for (journal_duty **at = &journal->duties, *duty; (duty = *at) != NULL;) {
        dbi_chain_view view;

        dbi_chain_view_get(duty->chain, &view);
        if (!all && (!view.gone || duty->flying > 0 || duty->head != duty->tail)) {
            at = &duty->next_duty;
            continue;
        }
        duty_count(duty, &journal->gone);
        *at = duty->next_duty;
        if (journal->alone == duty) {
            journal->alone = NULL;
            journal->mode = MODE_RUN;
        }
        duty_free(journal, duty);
    }
}

static void duty_hold(dbi__producer_journal *journal, journal_duty *duty, int64_t now, const char *fmt, ...) DBI_PRINTF(4, 5);
static void duty_hold(dbi__producer_journal *journal, journal_duty *duty, int64_t now, const char *fmt, ...) {
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(duty->why, sizeof duty->why, fmt, args);
    va_end(args);
    duty->pause = duty->pause == 0 ? journal->config.retry_min : 2 * duty->pause;
    if (duty->pause > journal->config.retry_max)
        duty->pause = journal->config.retry_max;
    duty->not_before = now + duty->pause;
}

static void duty_well(journal_duty *duty) {
    duty->probing = false;
    duty->pause = 0;
    duty->not_before = 0;
    duty->why[0] = '\0';
}

/* The chain belongs to the cluster that answers, or to none yet, or not at all. */
static void duty_prepare(dbi__producer_journal *journal, journal_duty *duty, int64_t now) {
    dbi_chain_view view;
    bool parted = false, renewed;
    dbi_err err;
    dbi_rc rc = DBI_OK;

    if (journal->has_target)
        rc = dbi_chain_bind(duty->chain, journal->target, &err);
    if (rc == DBI_EHELD) {
        dbi_chain_view_get(duty->chain, &view);
        rc = dbi_chain_part(duty->chain, &parted, &err);
        if (rc == DBI_OK && parted) {
            journal->enumerate = true;
            rc = dbi_chain_bind(duty->chain, journal->target, &err);
        } else if (rc == DBI_OK) {
            duty->foreign = true;
            duty_hold(journal, duty, now,
                      "messages in %.120s belong to another Kafka cluster than the one that answers: connect to that "
                      "one, or give them to this one (python -m dbint.journal retarget)",
                      journal->directory);
            return;
        }
    }
    if (rc == DBI_OK) {
        dbi_chain_view_get(duty->chain, &view);
        duty->foreign = false;
        duty->read = duty->passed = duty->released = view.landed > view.base ? view.landed : view.base;
        rc = dbi_chain_met(duty->chain, duty->released, &renewed, &err);
    }
    if (rc == DBI_OK && (duty->dead == NULL || memcmp(duty->id, view.id, sizeof duty->id) != 0)) {
        dbi_dead_free(duty->dead);
        duty->dead = NULL;
        memcpy(duty->id, view.id, sizeof duty->id);
        rc = dbi_dead_new(&duty->dead, journal->dead_directory, duty->id, &err);
    }
    if (rc == DBI_OK)
        rc = dbi_dead_load(duty->dead, duty->released, &err);
    if (rc == DBI_OK && duty->ring == NULL) {
        duty->ring = dbi_calloc(journal->config.window, sizeof *duty->ring);
        if (duty->ring == NULL)
            rc = dbi_err_set(&err, DBI_ENOMEM, "no memory to send the messages of a producer's journal");
    }
    if (rc != DBI_OK) {
        duty_hold(journal, duty, now, "%.250s", err.msg);
        return;
    }
    duty_well(duty);
    duty->ready = true;
}

/* -- releasing ----------------------------------------------------------------------------------------------------- */

static dbi_rc letter_put(journal_duty *duty, const journal_flight *flight, dbi_err *err) {
    dbi__message_view message;
    dbi_dead_letter letter = {.sequence = flight->sequence,
                              .stream = STREAM,
                              .error = rd_kafka_err2name(flight->code),
                              .message = rd_kafka_err2str(flight->code),
                              .kafka = &message};

    if (!dbi__message_read(flight->copy->bytes, flight->copy->length, &message))
        return dbi_err_set(err, DBI_ECORRUPT, "a message in memory is not what it was");
    return dbi_dead_put(duty->dead, &letter, err);
}

/* Notes the longest prefix of delivered and dead messages. Their letters are on disk first. */
static void duty_release(dbi__producer_journal *journal, journal_duty *duty, int64_t now) {
    uint64_t head = duty->head, upto = duty->passed;
    dbi_err err;
    dbi_rc rc = DBI_OK;

    while (head < duty->next && flight_at(journal, duty, head)->state != FLIGHT_FLYING &&
           flight_at(journal, duty, head)->state != FLIGHT_FAILED)
        head++;
    if (head < duty->tail)
        upto = flight_at(journal, duty, head)->sequence - 1;
    if (upto <= duty->released || (duty->not_before > now && !duty->probing))
        return;
    dbi_dead_begin(duty->dead, duty->released + 1, upto);
    for (uint64_t i = duty->head; i < head && rc == DBI_OK; i++)
        if (flight_at(journal, duty, i)->state == FLIGHT_DEAD)
            rc = letter_put(duty, flight_at(journal, duty, i), &err);
    if (rc == DBI_OK)
        rc = dbi_dead_sync(duty->dead, &err);
    if (rc != DBI_OK) {
        duty_hold(journal, duty, now, "%.250s", err.msg);
        return;
    }
    for (uint64_t i = duty->head; i < head; i++) {
        journal_flight *flight = flight_at(journal, duty, i);

        if (flight->state == FLIGHT_DEAD)
            dbi_chain_count(duty->chain, DBI_CHAIN_DEAD, 1);
        duty->counted -= flight->counted;
        dbi_free(flight->copy);
        flight->copy = NULL;
    }
    duty->head = head;
    duty->released = upto;
    dbi_chain_landed(duty->chain, upto);
    dbi_dead_landed(duty->dead, upto);
    if (!duty->probing)
        duty_well(duty);
    (void)pthread_cond_broadcast(&journal->progress);
}

/* -- reports ------------------------------------------------------------------------------------------------------- */

/* The message itself is to blame, if it was alone. */
static bool is_deadly(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return true;
    default:
        return false;
    }
}

/* Nobody is to blame: the message was taken back, or the client is over. */
static bool is_passing(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT ||
           code == RD_KAFKA_RESP_ERR__FATAL || code == RD_KAFKA_RESP_ERR__DESTROY;
}

static void flight_count(journal_duty *duty, journal_flight *flight, uint64_t *counter) {
    if (flight->counted)
        return;
    flight->counted = true;
    duty->counted++;
    (*counter)++;
}

static void flight_dead(dbi__producer_journal *journal, journal_duty *duty, journal_flight *flight) {
    flight->state = FLIGHT_DEAD;
    if (!flight->counted)
        dbi__producer_count_dead(journal->producer, flight->code);
    flight_count(duty, flight, &journal->dead);
    waiting_fail(journal, flight->waiting, flight->code, false);
    flight->waiting = NULL;
}

/* Takes the lane back to a flight: from there on all is handed over again. Nothing of it is on its way. */
static void duty_rewind(dbi__producer_journal *journal, journal_duty *duty, uint64_t index) {
    for (uint64_t i = index; i < duty->next; i++)
        if (flight_at(journal, duty, i)->state != FLIGHT_DEAD)
            flight_at(journal, duty, i)->state = FLIGHT_FAILED;
    duty->next = index;
    duty->read = duty->passed = flight_at(journal, duty, index)->sequence - 1;
    duty->records.length = duty->records.at = 0;
}

static void drain(dbi__producer_journal *journal) {
    if (journal->mode == MODE_DRAIN)
        return;
    journal->mode = MODE_DRAIN;
    journal->drain_since = journal->purged_at = dbi_clock_now(NULL);
}

static void report_take(dbi__producer_journal *journal, const journal_wire *wire) {
    journal_duty *duty = wire->duty;
    journal_flight *flight = flight_at(journal, duty, wire->index);

    duty->flying--;
    journal->flying--;
    journal->flying_bytes -= flight->bytes;
    if (wire->ticket.error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        flight->state = FLIGHT_DONE;
        flight_count(duty, flight, &journal->delivered);
        dbi_free(flight->copy);
        flight->copy = NULL;
        if (flight->waiting != NULL) {
            flight->waiting->ticket.partition = wire->ticket.partition;
            flight->waiting->ticket.offset = wire->ticket.offset;
            flight->waiting->ticket.timestamp_ms = wire->ticket.timestamp_ms;
            waiting_answer(journal, flight->waiting);
            flight->waiting = NULL;
        }
        duty_well(duty);
        return;
    }
    flight->state = FLIGHT_FAILED;
    flight->code = wire->ticket.error;
    if (wire->ticket.fatal || wire->ticket.error == RD_KAFKA_RESP_ERR__FATAL)
        journal->renew = true;
    if (journal->mode == MODE_RUN && duty->probing && !journal->renew && !is_passing(flight->code) &&
        !is_deadly(flight->code)) { /* as it was: the others need not wait for it */
        duty_hold(journal, duty, dbi_clock_now(NULL), "topic \"%.100s\": %s", dbi_topic_name(wire->ticket.topic),
                  rd_kafka_err2str(flight->code));
        duty_rewind(journal, duty, wire->index);
    } else if (journal->mode == MODE_RUN) {
        drain(journal);
    }
}

static bool reports_take(dbi__producer_journal *journal) {
    dbi_letter *letter = dbi_mailbox_take(journal->reports), *next;
    bool some = letter != NULL;

    for (; letter != NULL; letter = next) {
        next = letter->next;
        report_take(journal, (const journal_wire *)letter);
        dbi_letter_free(letter);
    }
    return some;
}

/* -- handing over -------------------------------------------------------------------------------------------------- */

typedef enum journal_handed {
    HANDED_ONE,
    HANDED_NONE, /* the next one cannot be handed over now */
} journal_handed;

/* Whether a record is at hand, or could be read. */
static bool duty_read(dbi__producer_journal *journal, journal_duty *duty, int64_t now) {
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        dbi_err err;
        dbi_rc rc;

        if (duty->records.at < duty->records.length)
            return true;
        if (duty->records.last > duty->passed && duty->records.last == duty->read)
            duty->passed = duty->records.last; /* voids at its end */
        rc = dbi_chain_read(duty->chain, duty->read, READ_BYTES, &duty->records, &err);
        if (rc == DBI_ECORRUPT)
            continue; /* set aside and counted */
        if (rc != DBI_OK) {
            duty_hold(journal, duty, now, "%.250s", err.msg);
            duty->records.length = duty->records.at = 0;
            return false;
        }
        if (duty->records.first > duty->records.last)
            return false;
        duty->read = duty->records.last;
        if (duty->records.length == 0)
            duty->passed = duty->read; /* voids only */
    }
    return false;
}

/* The topic's handle, by the one that was used before. */
static rd_kafka_resp_err_t duty_topic(dbi__producer_journal *journal, journal_duty *duty, const dbi__message_view *view,
                                      dbi_rc *rc, dbi_err *err) {
    const char *known = duty->topic != NULL ? dbi_topic_name(duty->topic) : "";
    char name[TOPIC_MAX];

    *rc = DBI_OK;
    if (strlen(known) == view->topic_length && memcmp(known, view->topic, view->topic_length) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    if (view->topic_length >= sizeof name || memchr(view->topic, '\0', view->topic_length) != NULL)
        return RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
    memcpy(name, view->topic, view->topic_length);
    name[view->topic_length] = '\0';
    *rc = dbi_producer_topic(journal->producer, name, &duty->topic, err);
    if (*rc == DBI_OK)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return err->kafka != 0 ? (rd_kafka_resp_err_t)err->kafka : RD_KAFKA_RESP_ERR__FAIL;
}

static rd_kafka_resp_err_t flight_send(dbi__producer_journal *journal, journal_duty *duty, const dbi_record *record,
                                       uint64_t index, dbi_rc *rc, dbi_err *err) {
    dbi__message_view view;
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t code;
    dbi_message message;
    journal_wire *wire = NULL;

    *rc = DBI_OK;
    if (!dbi__message_read(record->body, record->length, &view))
        return RD_KAFKA_RESP_ERR__BAD_MSG;
    code = duty_topic(journal, duty, &view, rc, err);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return code;
    headers = dbi__message_headers(&view);
    wire = dbi_mailbox_promise(journal->reports, sizeof *wire, NULL);
    if (headers == NULL || wire == NULL) {
        *rc = dbi_err_set(err, DBI_ENOMEM, "no memory to hand a message over");
        code = RD_KAFKA_RESP_ERR__FAIL;
        goto done;
    }
    wire->ticket.topic = duty->topic;
    wire->duty = duty;
    wire->index = index;
    message = (dbi_message){.key = view.key,
                            .value = view.value,
                            .key_len = view.key_length,
                            .value_len = view.value_length,
                            .partition = view.partition,
                            .timestamp_ms = view.timestamp_ms};
    code = dbi__producer_wire(journal->producer, duty->topic, &message, headers, &wire->ticket, rc, err);
done:
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (headers != NULL)
            rd_kafka_headers_destroy(headers);
        if (wire != NULL)
            dbi_mailbox_withdraw(&wire->ticket.letter);
    }
    return code;
}

static journal_body *body_copy(const dbi_record *record) {
    journal_body *copy = dbi_malloc(sizeof *copy + record->length);

    if (copy != NULL) {
        copy->length = record->length;
        memcpy(copy->bytes, record->body, record->length);
    }
    return copy;
}

/* Brings `next` to the flight of that sequence; a new one, where it was never handed over. */
static journal_flight *duty_flight(dbi__producer_journal *journal, journal_duty *duty, const dbi_record *record) {
    journal_flight *flight;

    while (duty->next < duty->tail && flight_at(journal, duty, duty->next)->sequence < record->sequence) {
        flight = flight_at(journal, duty, duty->next++); /* it was there once, and could not be read again */
        flight->state = FLIGHT_DONE;
        if (flight->waiting != NULL)
            waiting_lost(journal, flight->waiting);
        flight->waiting = NULL;
    }
    if (duty->next < duty->tail)
        return flight_at(journal, duty, duty->next);
    if (duty->tail - duty->head > journal->window_mask)
        return NULL;
    flight = flight_at(journal, duty, duty->tail);
    *flight = (struct journal_flight){.sequence = record->sequence, .state = FLIGHT_FAILED};
    return flight;
}

static journal_handed hand_over_one(dbi__producer_journal *journal, journal_duty *duty, int64_t now) {
    size_t at = duty->records.at;
    uint64_t next = duty->records.next;
    rd_kafka_resp_err_t code;
    dbi_record record;
    journal_flight *flight;
    dbi_err err;
    dbi_rc rc;

    dbi_err_reset(&err);
    if (!dbi_records_next(&duty->records, &record))
        return HANDED_NONE;
    if (journal->barrier && record.sequence > duty->found_to)
        goto not_now;
    if (record.kind != DBI_RECORD_KAFKA) {
        duty->stuck = true;
        duty_hold(journal, duty, now, "%.150s holds rows for PostgreSQL: give events and messages a directory each",
                  journal->directory);
        goto not_now;
    }
    flight = duty_flight(journal, duty, &record);
    if (flight == NULL)
        goto not_now;
    if (flight->state != FLIGHT_DEAD) {
        bool first = duty->next == duty->tail, lone = duty->limit == 1 || duty->probing;

        if (lone && flight->copy == NULL && (flight->copy = body_copy(&record)) == NULL) {
            duty_hold(journal, duty, now, "no memory");
            goto not_now;
        }
        code = flight_send(journal, duty, &record, duty->next, &rc, &err);
        if (code == RD_KAFKA_RESP_ERR__FATAL) {
            journal->renew = true;
            drain(journal);
        }
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            journal->crowded = true;
        else if (code == RD_KAFKA_RESP_ERR__BAD_MSG && rc == DBI_OK) {
            duty->stuck = true;
            duty_hold(journal, duty, now, "message %llu in %.100s is of a layout that this version of dbint does not read",
                      (unsigned long long)record.sequence, journal->directory);
        } else if (code != RD_KAFKA_RESP_ERR_NO_ERROR && !is_deadly(code) && code != RD_KAFKA_RESP_ERR__FATAL &&
                   rc != DBI_ECLOSED) {
            duty_hold(journal, duty, now, "%.250s", err.msg[0] != '\0' ? err.msg : rd_kafka_err2str(code));
            duty->ask = duty->topic != NULL;
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && flight->copy == NULL && is_deadly(code))
            flight->copy = body_copy(&record);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && (!is_deadly(code) || flight->copy == NULL)) {
            if (first) {
                dbi_free(flight->copy);
                flight->copy = NULL;
            }
            goto not_now;
        }
        if (first) {
            flight->waiting = lane_waiting(journal, duty->lane, record.sequence);
            duty->tail++;
        } else if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            journal->resent++;
        }
        flight->code = code;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            flight_dead(journal, duty, flight);
        } else {
            flight->state = FLIGHT_FLYING;
            flight->bytes = (uint32_t)record.length;
            duty->flying++;
            journal->flying++;
            journal->flying_bytes += flight->bytes;
        }
    }
    duty->next++;
    duty->passed = record.sequence;
    if (duty->records.at >= duty->records.length)
        duty->passed = duty->records.last;
    return HANDED_ONE;
not_now:
    duty->records.at = at;
    duty->records.next = next;
    return HANDED_NONE;
}

/* How many messages of the chain may be handed over now. */
static uint64_t duty_room(const dbi__producer_journal *journal, const journal_duty *duty, int64_t now) {
    if (!duty->ready || duty->stuck || duty->not_before > now)
        return 0;
    if (journal->mode == MODE_DRAIN || (journal->mode == MODE_SORT && journal->alone != duty))
        return 0;
    if (journal->mode == MODE_SORT)
        return journal->flying == 0 ? duty->limit : 0;
    if (duty->probing)
        return duty->flying == 0;
    return HAND_OVER;
}

/* True when something was done. */
static bool duty_hand_over(dbi__producer_journal *journal, journal_duty *duty, int64_t now) {
    uint64_t room = duty_room(journal, duty, now), count = 0;

    while (count < room && !journal->crowded &&
           (journal->flying == 0 || journal->flying_bytes < journal->config.window_bytes) &&
           duty_read(journal, duty, now) && hand_over_one(journal, duty, now) == HANDED_ONE)
        count++;
    if (journal->mode == MODE_SORT && room > 0)
        duty->volley = count;
    return count > 0;
}

/* -- what was refused ---------------------------------------------------------------------------------------------- */

/* The first flight that has failed; `next` where none has. */
static uint64_t duty_failed(const dbi__producer_journal *journal, const journal_duty *duty) {
    uint64_t index = duty->head;

    while (index < duty->next && flight_at(journal, duty, index)->state != FLIGHT_FAILED)
        index++;
    return index;
}

/* Everything has been reported on: who is taken back, and who has to be looked at. */
static void drained(dbi__producer_journal *journal) {
    journal->mode = MODE_RUN;
    journal->alone = NULL;
    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        uint64_t failed = duty_failed(journal, duty);

        duty->limit = 0;
        if (failed == duty->next)
            continue;
        if (journal->alone == NULL && !is_passing(flight_at(journal, duty, failed)->code)) {
            journal->alone = duty;
            journal->mode = MODE_SORT;
            duty->limit = 1;
            duty->volley = 0;
        }
        duty_rewind(journal, duty, failed);
    }
}

/* One lane alone, and nothing of it on its way. */
static void sort_on(dbi__producer_journal *journal, int64_t now) {
    journal_duty *duty = journal->alone;
    uint64_t failed = duty_failed(journal, duty);
    journal_flight *flight = flight_at(journal, duty, failed);

    if (failed == duty->next) { /* all went well; what was taken back has all been sent, or something else is in the way */
        if (duty->next == duty->tail || duty->limit >= SORTED || (duty->volley == 0 && duty->not_before > now)) {
            journal->mode = MODE_RUN;
            journal->alone = NULL;
            duty->limit = 0;
        } else if (duty->volley > 0) {
            duty->limit *= 2;
        }
        duty->volley = 0;
        return;
    }
    if (is_passing(flight->code)) {
        duty_rewind(journal, duty, failed);
    } else if (duty->volley > 1) {
        duty->limit = duty->limit > 4 ? duty->limit / 4 : 1;
        duty_rewind(journal, duty, failed);
    } else if (is_deadly(flight->code) && flight->copy != NULL) {
        flight_dead(journal, duty, flight);
        duty->limit = 1;
    } else {
        duty_hold(journal, duty, now, "a message was refused: %s", rd_kafka_err2str(flight->code));
        duty_rewind(journal, duty, failed);
        duty->probing = true;
        duty->limit = 0;
        journal->mode = MODE_RUN;
        journal->alone = NULL;
    }
    duty->volley = 0;
}

/* The lock is let go of while the client is made anew. */
static bool renew(dbi__producer_journal *journal, int64_t now) {
    dbi_err err;
    dbi_rc rc;

    if (journal->renew_at > now)
        return false;
    (void)pthread_mutex_unlock(&journal->lock);
    rc = dbi__producer_renew(journal->producer, &err);
    (void)pthread_mutex_lock(&journal->lock);
    journal->renew_at = now + DBI_NS_PER_S; /* also after a success: one that comes back at once is not to spin */
    if (rc != DBI_OK) {
        (void)snprintf(journal->why, sizeof journal->why, "%.250s", err.msg);
        return false;
    }
    journal->renew = false;
    journal->renewed++;
    return true;
}

static void mode_step(dbi__producer_journal *journal, int64_t now) {
    rd_kafka_t *rk;

    if (journal->mode == MODE_RUN)
        return;
    if (journal->flying > 0) {
        /* A broker that is away must not hold up the others: what waits in a queue is taken back. */
        if (now - journal->drain_since >= PATIENCE && now - journal->purged_at >= DBI_NS_PER_S &&
            dbi__kafka_enter(&journal->producer->kafka, NULL) == DBI_OK) {
            rk = journal->producer->kafka.rk;
            (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE);
            dbi__kafka_leave(&journal->producer->kafka);
            journal->purged_at = now;
        }
        return;
    }
    if (journal->renew && !renew(journal, now))
        return;
    if (journal->mode == MODE_DRAIN)
        drained(journal);
    else
        sort_on(journal, now);
    journal->drain_since = now;
}

/* -- the replay thread --------------------------------------------------------------------------------------------- */

/* Waits for a broker that says which cluster it is of; at most a moment. The lock is not held. */
static void cluster_ask(dbi__producer_journal *journal) {
    const struct rd_kafka_metadata *metadata = NULL;
    dbi_kafka *kafka = &journal->producer->kafka;
    int64_t now = dbi_clock_now(NULL);
    bool answered = false;
    char *id = NULL;
    dbi_err err;

    if (dbi__kafka_enter(kafka, NULL) != DBI_OK) {
        (void)usleep(1000);
        return;
    }
    id = rd_kafka_clusterid(kafka->rk, LOOK_MS);
    if (id == NULL && now - journal->asked_at > DBI_NS_PER_S) { /* some proxies have no id to tell */
        answered = rd_kafka_metadata(kafka->rk, 0, NULL, &metadata, 5 * LOOK_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
        journal->asked_at = now;
        if (answered)
            id = rd_kafka_clusterid(kafka->rk, 0);
    }
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    if (id != NULL) {
        dbi__md5 md5;

        dbi__md5_init(&md5);
        dbi__md5_add(&md5, id, strlen(id));
        dbi__md5_end(&md5, journal->target);
        rd_kafka_mem_free(kafka->rk, id);
    }
    dbi__kafka_leave(kafka);
    (void)pthread_mutex_lock(&journal->lock);
    journal->has_target = id != NULL;
    journal->known = id != NULL || answered;
    journal->why[0] = '\0';
    if (!journal->known && dbi_kafka_last_error(kafka, &err) != DBI_OK)
        (void)snprintf(journal->why, sizeof journal->why, "%.250s", err.msg);
    (void)pthread_mutex_unlock(&journal->lock);
}

/* What librdkafka knows of a refused topic is renewed by itself only after a long time. A lane is held meanwhile, and the
 * question is short. */
static void topic_ask(dbi__producer_journal *journal, const dbi_topic *topic) {
    const struct rd_kafka_metadata *metadata = NULL;

    if (dbi__kafka_enter(&journal->producer->kafka, NULL) != DBI_OK)
        return;
    (void)pthread_mutex_unlock(&journal->lock);
    if (rd_kafka_metadata(journal->producer->kafka.rk, 0, topic->rkt, &metadata, LOOK_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    (void)pthread_mutex_lock(&journal->lock);
    dbi__kafka_leave(&journal->producer->kafka);
}

static void duties_look(dbi__producer_journal *journal, int64_t now) {
    bool waits = false;

    if (journal->enumerate) {
        dbi_err err;

        journal->enumerate = duties_enumerate(journal, &err) != DBI_OK; /* without memory: tried again */
        duties_retire(journal, false);
    }
    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        if (!duty->ready && duty->not_before <= now) {
            duty_prepare(journal, duty, now);
        } else if (duty->foreign && duty->lane != NULL && dbi_chain_last(duty->chain) > duty->found_to &&
                 duty->part_at <= now) { /* what came since goes to a chain of its own */
            duty->part_at = now + DBI_NS_PER_S;
            duty_prepare(journal, duty, now);
        }
        if (duty->ask && duty->not_before <= now) {
            duty->ask = false;
            topic_ask(journal, duty->topic);
        }
        waits = waits || (duty->released < duty->found_to && !duty->foreign && !duty->stuck);
    }
    journal->barrier = journal->barrier && waits;
}

/* Hands over what there is, each chain in its turn. True when something was done. */
static bool duties_hand_over(dbi__producer_journal *journal, int64_t now) {
    bool done = false;

    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        done = duty_hand_over(journal, duty, now) || done;
    return done;
}

/* Whether a record has come of which the replay thread does not know, and that it could hand over. */
static bool records_came(const dbi__producer_journal *journal, int64_t now) {
    for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (duty_room(journal, duty, now) > 0 && duty->tail - duty->head <= journal->window_mask && !journal->barrier &&
            dbi_chain_last(duty->chain) > duty->read)
            return true;
    return false;
}

/* How long to wait for reports and records. */
static int wait_ms(const dbi__producer_journal *journal, int64_t now) {
    int64_t until = now + LOOK_MS * DBI_NS_PER_MS;

    if (journal->crowded)
        return CROWDED_MS;
    for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (duty->not_before > now && duty->not_before < until)
            until = duty->not_before;
    return (int)((until - now) / DBI_NS_PER_MS) + 1;
}

static void *replay_main(void *arg) {
    dbi__producer_journal *journal = arg;
    struct pollfd fds[2] = {{.fd = dbi_mailbox_fd(journal->reports), .events = POLLIN},
                            {.fd = journal->wake_fd, .events = POLLIN}};

    while (!atomic_load(&journal->stop) && !journal->known)
        cluster_ask(journal);
    (void)pthread_mutex_lock(&journal->lock);
    while (!atomic_load(&journal->stop)) {
        int64_t now = dbi_clock_now(NULL);
        bool done = reports_take(journal);
        eventfd_t ignored;
        int ms;

        for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
            if (duty->ready)
                duty_release(journal, duty, now);
        mode_step(journal, now);
        journal->crowded = false;
        duties_look(journal, now);
        done = duties_hand_over(journal, now) || done;
        letters_flush(journal);
        if (done) { /* who asks for the counters gets a turn */
            (void)pthread_mutex_unlock(&journal->lock);
            (void)pthread_mutex_lock(&journal->lock);
            continue;
        }
        ms = wait_ms(journal, now);
        if (journal->mode == MODE_SORT && journal->flying == 0)
            ms = 1;
        atomic_store(&journal->idle, true);
        if (records_came(journal, now)) {
            atomic_store(&journal->idle, false);
            continue;
        }
        (void)pthread_mutex_unlock(&journal->lock);
        (void)poll(fds, 2, ms);
        atomic_store(&journal->idle, false);
        if ((fds[1].revents & POLLIN) != 0)
            (void)eventfd_read(journal->wake_fd, &ignored);
        (void)pthread_mutex_lock(&journal->lock);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* -- the keeper ---------------------------------------------------------------------------------------------------- */

static void journal_rolled(void *arg) {
    dbi__producer_journal *journal = arg;

    (void)pthread_cond_signal(&journal->keep);
}

static void *keeper_main(void *arg) {
    dbi__producer_journal *journal = arg;
    const dbi_producer_journal_config *config = &journal->config;
    int64_t adopt_at = dbi_clock_now(NULL) + config->adopt_every, sync_at = 0;
    uint64_t before = 0;

    (void)pthread_mutex_lock(&journal->lock);
    while (!atomic_load(&journal->stop)) {
        int64_t now = dbi_clock_now(NULL), until = now + KEEP_IDLE;
        bool changed = false, found = false;
        struct timespec at;
        uint64_t taken = 0;

        (void)pthread_mutex_unlock(&journal->lock);
        (void)!dbi_journal_tend(journal->journal, &changed, NULL); /* its view says what went wrong */
        if (now >= adopt_at) {
            (void)!dbi_journal_adopt(journal->journal, &found, NULL);
            adopt_at = found ? 0 : now + config->adopt_every; /* there may be more of them */
        }
        for (uint32_t i = 0; i < config->lanes; i++) {
            if (config->durability != DBI_DURABILITY_PROCESS && now >= sync_at)
                (void)!dbi_chain_sync(journal->lanes[i].chain, NULL, NULL); /* the next one says whether it went well */
            taken += dbi_chain_last(journal->lanes[i].chain);
        }
        if (now >= sync_at)
            sync_at = now + config->sync_interval;
        (void)pthread_mutex_lock(&journal->lock);
        if (changed || found) {
            journal->enumerate = true;
            wake(journal);
        }
        if (taken - before > KEEP_MANY)
            until = now + KEEP_BUSY;
        if (config->durability != DBI_DURABILITY_PROCESS && sync_at < until)
            until = sync_at;
        before = taken;
        at = dbi_clock_timespec(until);
        if (!atomic_load(&journal->stop))
            (void)pthread_cond_timedwait(&journal->keep, &journal->lock, &at);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* -- what callers ask ---------------------------------------------------------------------------------------------- */

typedef struct journal_goal {
    uint64_t duty, upto;
} journal_goal;

static uint64_t goals_left(const dbi__producer_journal *journal, const journal_goal *goals, size_t count) {
    uint64_t left = 0;

    for (size_t i = 0; i < count; i++)
        for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
            if (duty->number == goals[i].duty && duty->released < goals[i].upto)
                left += goals[i].upto - duty->released;
    return left;
}

dbi_rc dbi__producer_journal_flush(dbi__producer_journal *journal, int64_t deadline, uint64_t *left, dbi_err *err) {
    size_t count = 0;
    journal_goal *goals;

    (void)pthread_mutex_lock(&journal->lock);
    for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        count++;
    goals = dbi_malloc((count + 1) * sizeof *goals);
    if (goals == NULL) {
        (void)pthread_mutex_unlock(&journal->lock);
        return dbi_err_set(err, DBI_ENOMEM, "no memory to flush a producer");
    }
    count = 0;
    for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        goals[count++] = (journal_goal){duty->number, dbi_chain_last(duty->chain)};
    while ((*left = goals_left(journal, goals, count)) > 0 && dbi_clock_left(NULL, deadline) > 0 &&
           !dbi_producer_closed(journal->producer)) {
        int64_t soon = dbi_clock_deadline(NULL, DBI__KAFKA_SLICE);
        struct timespec at = dbi_clock_timespec(deadline < soon ? deadline : soon);

        (void)pthread_cond_timedwait(&journal->progress, &journal->lock, &at);
    }
    (void)pthread_mutex_unlock(&journal->lock);
    dbi_free(goals);
    if (*left > 0)
        return dbi_err_set(err, DBI_ETIMEOUT, "%llu messages wait in the journal", (unsigned long long)*left);
    return DBI_OK;
}

void dbi__producer_journal_counts(dbi__producer_journal *journal, dbi_producer_counts *counts) {
    (void)pthread_mutex_lock(&journal->lock);
    *counts = journal->gone;
    for (const journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        duty_count(duty, counts);
    counts->delivered = journal->delivered;
    counts->failed = journal->dead;
    counts->in_flight = counts->journaled;
    (void)pthread_mutex_unlock(&journal->lock);
}

void dbi__producer_journal_look(dbi__producer_journal *journal, dbi_producer_journal_view *view) {
    dbi_err err;

    (void)pthread_mutex_lock(&journal->lock);
    if (!journal->ended) {
        dbi_journal_view_get(journal->journal, &view->journal);
        view->state = journal->known ? DBI_PRODUCER_JOURNAL_RUNNING : DBI_PRODUCER_JOURNAL_WAITING;
        if (journal->mode != MODE_RUN)
            view->state = DBI_PRODUCER_JOURNAL_SORTING;
        (void)snprintf(view->why, sizeof view->why, "%s", journal->why);
        if (dbi_kafka_last_error(&journal->producer->kafka, &err) != DBI_OK) {
            view->state = DBI_PRODUCER_JOURNAL_WAITING;
            (void)snprintf(view->why, sizeof view->why, "%s", err.msg);
        }
    }
    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        dbi_chain_view chain;

        dbi_chain_view_get(duty->chain, &chain);
        if (chain.held > 0 && chain.oldest_wall_us != 0 &&
            (view->oldest_wall_us == 0 || chain.oldest_wall_us < view->oldest_wall_us))
            view->oldest_wall_us = chain.oldest_wall_us;
        if (duty->why[0] != '\0' && chain.held > 0) {
            view->state = DBI_PRODUCER_JOURNAL_HELD;
            (void)snprintf(view->why, sizeof view->why, "%s", duty->why);
        }
    }
    view->journal.directory = journal->directory;
    view->resent = journal->resent;
    view->renewed = journal->renewed;
    (void)pthread_mutex_unlock(&journal->lock);
}

/* -- life ---------------------------------------------------------------------------------------------------------- */

static void cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static dbi_rc threads_start(dbi__producer_journal *journal, dbi_err *err) {
    sigset_t all, before;
    int sys;

    (void)sigfillset(&all); /* signals are for the application's threads */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    sys = pthread_create(&journal->keeper, NULL, keeper_main, journal);
    journal->keeper_runs = sys == 0;
    if (sys == 0) {
        sys = pthread_create(&journal->replay, NULL, replay_main, journal);
        journal->replay_runs = sys == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return sys == 0 ? DBI_OK : dbi_err_sys(err, DBI_ESYS, sys, "a thread of the producer's journal");
}

static dbi_rc lanes_open(dbi__producer_journal *journal, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    journal->lanes = dbi_calloc(journal->config.lanes, sizeof *journal->lanes);
    if (journal->lanes == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for the lanes of a producer's journal");
    for (uint32_t i = 0; i < journal->config.lanes; i++)
        (void)pthread_mutex_init(&journal->lanes[i].lock, NULL);
    for (uint32_t i = 0; i < journal->config.lanes && rc == DBI_OK; i++) {
        const dbi_chain_config config = {.name = STREAM, .lane = i, .durability = journal->config.durability};

        rc = dbi_journal_chain(journal->journal, &config, &journal->lanes[i].chain, err);
    }
    return rc;
}

dbi_rc dbi__producer_journal_open(dbi__producer_journal **opened, dbi_producer *producer,
                                  const dbi_producer_journal_config *config, size_t message_max, dbi_err *err) {
    dbi__producer_journal *journal = dbi_calloc(1, sizeof *journal);
    size_t length = strlen(config->journal.directory) + sizeof "/dead";
    bool found = true;
    dbi_rc rc;

    *opened = NULL;
    if (journal == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a producer's journal");
    journal->producer = producer;
    journal->config = *config;
    journal->message_max = message_max;
    journal->fork = dbi__fork_now();
    journal->window_mask = config->window - 1;
    journal->barrier = true;
    journal->wake_fd = -1;
    (void)pthread_mutex_init(&journal->lock, NULL);
    cond_init(&journal->keep);
    cond_init(&journal->progress);
    journal->directory = dbi_strdup(config->journal.directory);
    journal->dead_directory = dbi_malloc(length);
    if (journal->directory == NULL || journal->dead_directory == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a producer's journal");
        goto done;
    }
    (void)snprintf(journal->dead_directory, length, "%s/dead", journal->directory);
    journal->config.journal.directory = journal->directory;
    journal->config.journal.rolled = journal_rolled;
    journal->config.journal.rolled_arg = journal;
    journal->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (journal->wake_fd < 0) {
        rc = dbi_err_sys(err, DBI_ESYS, errno, "a descriptor for a producer's journal");
        goto done;
    }
    rc = dbi_mailbox_new(&journal->reports, true, err);
    if (rc == DBI_OK)
        rc = dbi_journal_open(&journal->journal, &journal->config.journal, err);
    while (rc == DBI_OK && found) /* all that dead processes have left */
        rc = dbi_journal_adopt(journal->journal, &found, err);
    if (rc == DBI_OK)
        rc = lanes_open(journal, err);
    if (rc == DBI_OK)
        rc = duties_enumerate(journal, err);
    if (rc == DBI_OK)
        rc = threads_start(journal, err);
    if (rc != DBI_OK)
        goto done;
    *opened = journal;
    journal = NULL;
done:
    dbi__producer_journal_free(journal);
    return rc;
}

void dbi__producer_journal_stop(dbi__producer_journal *journal) {
    (void)pthread_mutex_lock(&journal->lock);
    atomic_store(&journal->stop, true);
    (void)pthread_cond_broadcast(&journal->keep);
    (void)pthread_cond_broadcast(&journal->progress);
    (void)pthread_mutex_unlock(&journal->lock);
    wake(journal);
    if (journal->replay_runs)
        (void)pthread_join(journal->replay, NULL);
    if (journal->keeper_runs)
        (void)pthread_join(journal->keeper, NULL);
    journal->replay_runs = journal->keeper_runs = false;
}

/* Who still waits is told that the message is not lost. */
static void waiting_dismiss(dbi__producer_journal *journal) {
    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        for (uint64_t i = duty->head; i < duty->tail; i++) {
            journal_flight *flight = flight_at(journal, duty, i);

            waiting_fail(journal, flight->waiting, RD_KAFKA_RESP_ERR__DESTROY, true);
            flight->waiting = NULL;
        }
    for (uint32_t i = 0; journal->lanes != NULL && i < journal->config.lanes; i++)
        while (journal->lanes[i].first != NULL) {
            journal_waiting *first = journal->lanes[i].first;

            journal->lanes[i].first = first->next;
            waiting_fail(journal, first, RD_KAFKA_RESP_ERR__DESTROY, true);
        }
    letters_flush(journal);
}

void dbi__producer_journal_end(dbi__producer_journal *journal) {
    int64_t now = dbi_clock_now(NULL);

    (void)pthread_mutex_lock(&journal->lock);
    (void)reports_take(journal);
    for (journal_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (duty->ready)
            duty_release(journal, duty, now);
    for (uint32_t i = 0; i < journal->config.lanes; i++)
        if (journal->config.durability != DBI_DURABILITY_PROCESS)
            (void)!dbi_chain_sync(journal->lanes[i].chain, NULL, NULL);
    waiting_dismiss(journal);
    duties_retire(journal, true);
    journal->ended = true;
    dbi_journal_free(journal->journal);
    journal->journal = NULL;
    (void)pthread_mutex_unlock(&journal->lock);
}

void dbi__producer_journal_free(dbi__producer_journal *journal) {
    bool forked;

    if (journal == NULL)
        return;
    forked = journal->fork != dbi__fork_now();
    if (!forked && !journal->ended) {
        dbi__producer_journal_stop(journal);
        waiting_dismiss(journal);
    }
    while (journal->duties != NULL) {
        journal_duty *next = journal->duties->next_duty;

        duty_free(journal, journal->duties);
        journal->duties = next;
    }
    for (uint32_t i = 0; !forked && journal->lanes != NULL && i < journal->config.lanes; i++)
        (void)pthread_mutex_destroy(&journal->lanes[i].lock);
    dbi_free(journal->lanes);
    dbi_journal_free(journal->journal);
    dbi_mailbox_free(journal->reports);
    if (journal->wake_fd >= 0)
        (void)close(journal->wake_fd); /* in a child, its copy */
    if (!forked) {
        (void)pthread_cond_destroy(&journal->keep);
        (void)pthread_cond_destroy(&journal->progress);
        (void)pthread_mutex_destroy(&journal->lock);
    }
    dbi_free(journal->directory);
    dbi_free(journal->dead_directory);
    dbi_free(journal);
}
