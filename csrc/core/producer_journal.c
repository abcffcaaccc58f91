/* producer_journal.c - see producer_journal.h */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "producer_journal_int.h"
#include "producer_record.h"
#include "uuid.h"

#define KEEP_BUSY (20 * DBI_NS_PER_MS)
#define KEEP_IDLE (200 * DBI_NS_PER_MS)
#define KEEP_MANY 1000u
#define BODY_ON_STACK 4096u

/* -- configuration ------------------------------------------------------------------------------------------------- */

void dbi_producer_journal_defaults(dbi_producer_journal_config *config) {
    *config = (dbi_producer_journal_config){
        .lanes = 1,
        .durability = DBI_DURABILITY_PROCESS,
        .sync_interval = 100 * DBI_NS_PER_MS,
        .adopt_every = 5 * DBI_NS_PER_S,
        .window = 16384, /* more than a request holds by default */
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

/* -- taking messages ----------------------------------------------------------------------------------------------- */

static dbi__replay_lane *lane_choose(dbi__producer_journal *journal, const dbi_message *message) {
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
static bool make_room(dbi__producer_journal *journal, const dbi__replay_lane *lane) {
    uint32_t place = (uint32_t)(lane - journal->lanes), count = journal->config.lanes;
    bool made = false;

    (void)pthread_mutex_lock(&journal->lock);
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL && !made; duty = duty->next_duty)
        made = duty->old && dbi_chain_drop_oldest(duty->chain, NULL, NULL) == DBI_OK;
    (void)pthread_mutex_unlock(&journal->lock);
    for (uint32_t i = 0; i < count && !made; i++)
        made = dbi_chain_drop_oldest(journal->lanes[(place + i) % count].chain, NULL, NULL) == DBI_OK;
    return made;
}

static dbi_rc append(dbi__producer_journal *journal, dbi__replay_lane *lane, const uint8_t *bytes, size_t length,
                     dbi__replay_waiting *waiting, dbi_err *err) {
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
                       "the producer's journal %.200s holds %llu of at most %llu bytes: its messages wait for the "
                       "brokers; make it larger (max_bytes), or choose what gives way (when_full)",
                       view.directory, (unsigned long long)view.bytes, (unsigned long long)view.max_bytes);
}

dbi_rc dbi__producer_journal_take(dbi__producer_journal *journal, dbi_topic *topic, const dbi_message *message,
                                  dbi_mailbox *mailbox, void *user, dbi_err *err) {
    static _Thread_local dbi_uuid7_source ids;
    size_t length = dbi__message_size(dbi_topic_name(topic), message);
    uint8_t small[BODY_ON_STACK], id[16] = {0}, *bytes = small;
    dbi__replay_lane *lane = lane_choose(journal, message);
    dbi__replay_waiting *waiting = NULL;
    int64_t now_us;
    dbi_rc rc;

    if (length == 0 || dbi__replay_wire_bytes(length) > journal->message_max)
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
        for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
            if (duty->number == goals[i].duty && duty->released < goals[i].upto)
                left += goals[i].upto - duty->released;
    return left;
}

dbi_rc dbi__producer_journal_flush(dbi__producer_journal *journal, int64_t deadline, uint64_t *left, dbi_err *err) {
    size_t count = 0;
    journal_goal *goals;

    (void)pthread_mutex_lock(&journal->lock);
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        count++;
    goals = dbi_malloc((count + 1) * sizeof *goals);
    if (goals == NULL) {
        (void)pthread_mutex_unlock(&journal->lock);
        return dbi_err_set(err, DBI_ENOMEM, "no memory to flush a producer");
    }
    count = 0;
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
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
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        dbi__replay_duty_count(duty, counts);
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
        if (journal->mode != DBI__MODE_RUN)
            view->state = DBI_PRODUCER_JOURNAL_SORTING;
        (void)snprintf(view->why, sizeof view->why, "%s", journal->why);
        if (dbi_kafka_last_error(&journal->producer->kafka, &err) != DBI_OK) {
            view->state = DBI_PRODUCER_JOURNAL_WAITING;
            (void)snprintf(view->why, sizeof view->why, "%s", err.msg);
        }
    }
    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
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
        sys = pthread_create(&journal->replay, NULL, dbi__replay_main, journal);
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
        const dbi_chain_config config = {.name = DBI__REPLAY_STREAM, .lane = i,
                                         .durability = journal->config.durability};

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
        rc = dbi__replay_duties_enumerate(journal, err);
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
    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        for (uint64_t i = duty->head; i < duty->tail; i++) {
            dbi__replay_flight *flight = dbi__replay_flight_at(journal, duty, i);

            dbi__replay_waiting_fail(journal, flight->waiting, RD_KAFKA_RESP_ERR__DESTROY, true);
            flight->waiting = NULL;
        }
    for (uint32_t i = 0; journal->lanes != NULL && i < journal->config.lanes; i++)
        while (journal->lanes[i].first != NULL) {
            dbi__replay_waiting *first = journal->lanes[i].first;

            journal->lanes[i].first = first->next;
            dbi__replay_waiting_fail(journal, first, RD_KAFKA_RESP_ERR__DESTROY, true);
        }
    dbi__replay_letters_flush(journal);
}

void dbi__producer_journal_end(dbi__producer_journal *journal) {
    int64_t now = dbi_clock_now(NULL);

    (void)pthread_mutex_lock(&journal->lock);
    (void)dbi__replay_reports_take(journal);
    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (duty->ready)
            dbi__replay_duty_release(journal, duty, now);
    for (uint32_t i = 0; i < journal->config.lanes; i++)
        if (journal->config.durability != DBI_DURABILITY_PROCESS)
            (void)!dbi_chain_sync(journal->lanes[i].chain, NULL, NULL);
    waiting_dismiss(journal);
    dbi__replay_duties_retire(journal, true);
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
        dbi__replay_duty *next = journal->duties->next_duty;

        dbi__replay_duty_free(journal, journal->duties);
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
