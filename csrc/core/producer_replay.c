/* producer_replay.c - the replay thread of a producer's journal: handing over, and what is done about refusals */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "md5_int.h"
#include "producer_journal_int.h"
#include "producer_record.h"

#define READ_BYTES ((size_t)256 << 10)  /* of records at a time */
#define HAND_OVER 512u                  /* messages before who asks for the counters gets a turn */
#define SEND_MS 2                       /* a flush, at first; where other lanes may have something to do meanwhile */
#define SEND_MS_MAX 16
#define LOOK_MS 100                     /* at most between two looks at everything */
#define CROWDED_MS 5                    /* librdkafka's own queue is full */
#define PATIENCE (5 * DBI_NS_PER_S)     /* for reports, before what is queued is taken back */
#define SORTED 1024u                    /* messages at a time that went well: there is nothing to sort out any more */
#define TOPIC_MAX 512u /* more than Kafka allows */

/* -- handing over -------------------------------------------------------------------------------------------------- */

typedef enum journal_handed {
    HANDED_ONE,
    HANDED_NONE, /* the next one cannot be handed over now */
} journal_handed;

/* Whether a record is at hand, or could be read. */
static bool duty_read(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now) {
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
            dbi__replay_duty_hold(journal, duty, now, "%.250s", err.msg);
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
static rd_kafka_resp_err_t duty_topic(dbi__producer_journal *journal, dbi__replay_duty *duty,
                                      const dbi__message_view *view, dbi_rc *rc, dbi_err *err) {
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

static rd_kafka_resp_err_t flight_send(dbi__producer_journal *journal, dbi__replay_duty *duty, const dbi_record *record,
                                       uint64_t index, dbi_rc *rc, dbi_err *err) {
    dbi__message_view view;
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t code;
    dbi_message message;
    dbi__replay_wire *wire = NULL;

    *rc = DBI_OK;
    if (!dbi__message_read(record->body, record->length, &view))
        return RD_KAFKA_RESP_ERR__BAD_MSG;
    code = duty_topic(journal, duty, &view, rc, err);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return code;
    if (!duty->topic->met && duty->flying > 0) /* librdkafka would part what waits for the topic's partitions */
        return RD_KAFKA_RESP_ERR__IN_PROGRESS;
    headers = dbi__message_headers(&view);
    wire = dbi_mailbox_promise(journal->reports, sizeof *wire, NULL);
    if (headers == NULL || wire == NULL) {
        *rc = dbi_err_set(err, DBI_ENOMEM, "no memory to hand a message over");
        code = RD_KAFKA_RESP_ERR__FAIL;
        goto done;
    }
    wire->ticket.topic = duty->topic;
    wire->duty = duty;
    wire->topic = duty->topic;
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

static dbi__replay_body *body_copy(const dbi_record *record) {
    dbi__replay_body *copy = dbi_malloc(sizeof *copy + record->length);

    if (copy != NULL) {
        copy->length = record->length;
        memcpy(copy->bytes, record->body, record->length);
    }
    return copy;
}

/* Brings `next` to the flight of that sequence; a new one, where it was never handed over. */
static dbi__replay_flight *duty_flight(dbi__producer_journal *journal, dbi__replay_duty *duty,
                                       const dbi_record *record) {
    dbi__replay_flight *flight;

    while (duty->next < duty->tail && dbi__replay_flight_at(journal, duty, duty->next)->sequence < record->sequence) {
        /* it was there once, and could not be read again */
        flight = dbi__replay_flight_at(journal, duty, duty->next++);
        flight->state = DBI__FLIGHT_DONE;
        if (flight->waiting != NULL)
            dbi__replay_waiting_lost(journal, flight->waiting);
        flight->waiting = NULL;
    }
    if (duty->next < duty->tail)
        return dbi__replay_flight_at(journal, duty, duty->next);
    if (duty->tail - duty->head > journal->window_mask)
        return NULL;
    flight = dbi__replay_flight_at(journal, duty, duty->tail);
    *flight = (struct dbi__replay_flight){.sequence = record->sequence, .state = DBI__FLIGHT_FAILED};
    return flight;
}

/* Whether a message may go along with what is on its way. All of that is to fit into one request, whatever its partition,
 * and no lane takes the others' room. */
static bool volley_takes(const dbi__producer_journal *journal, const dbi__replay_duty *duty, size_t bytes) {
    size_t messages = journal->producer->request_messages, room = journal->producer->request_bytes;

    if (journal->flying == 0)
        return true;
    if (journal->flying >= messages || journal->flying_bytes + bytes > room)
        return false;
    return duty->flying == 0 || (duty->flying < messages / journal->config.lanes &&
                                 duty->flying_bytes + bytes <= room / journal->config.lanes);
}

static journal_handed hand_over_one(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now) {
    size_t at = duty->records.at;
    uint64_t next = duty->records.next;
    rd_kafka_resp_err_t code;
    dbi_record record;
    dbi__replay_flight *flight;
    dbi_err err;
    dbi_rc rc;

    dbi_err_reset(&err);
    if (!dbi_records_next(&duty->records, &record))
        return HANDED_NONE;
    if (journal->barrier && record.sequence > duty->found_to)
        goto not_now;
    if (record.kind != DBI_RECORD_KAFKA) {
        duty->stuck = true;
        dbi__replay_duty_hold(journal, duty, now,
                              "%.150s holds rows for PostgreSQL: give events and messages a directory each",
                              journal->directory);
        goto not_now;
    }
    flight = duty_flight(journal, duty, &record);
    if (flight == NULL)
        goto not_now;
    if (flight->state != DBI__FLIGHT_DEAD) {
        bool first = duty->next == duty->tail, lone = duty->limit == 1 || duty->probing;
        size_t bytes = dbi__replay_wire_bytes(record.length);

        if (!volley_takes(journal, duty, bytes))
            goto not_now;
        if (lone && flight->copy == NULL && (flight->copy = body_copy(&record)) == NULL) {
            dbi__replay_duty_hold(journal, duty, now, "no memory");
            goto not_now;
        }
        code = flight_send(journal, duty, &record, duty->next, &rc, &err);
        if (code == RD_KAFKA_RESP_ERR__FATAL) {
            journal->renew = true;
            dbi__replay_drain(journal);
        }
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            journal->crowded = true;
        else if (code == RD_KAFKA_RESP_ERR__BAD_MSG && rc == DBI_OK) {
            duty->stuck = true;
            dbi__replay_duty_hold(journal, duty, now,
                                  "message %llu in %.100s is of a layout that this version of dbint does not read",
                      (unsigned long long)record.sequence, journal->directory);
        } else if (code != RD_KAFKA_RESP_ERR_NO_ERROR && !dbi__replay_is_deadly(code) &&
                   code != RD_KAFKA_RESP_ERR__FATAL && code != RD_KAFKA_RESP_ERR__IN_PROGRESS && rc != DBI_ECLOSED) {
            dbi__replay_duty_hold(journal, duty, now, "%.250s", err.msg[0] != '\0' ? err.msg : rd_kafka_err2str(code));
            duty->ask = duty->topic != NULL;
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && flight->copy == NULL && dbi__replay_is_deadly(code))
            flight->copy = body_copy(&record);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && (!dbi__replay_is_deadly(code) || flight->copy == NULL)) {
            if (first) {
                dbi_free(flight->copy);
                flight->copy = NULL;
            }
            goto not_now;
        }
        if (first) {
            flight->waiting = dbi__replay_lane_waiting(journal, duty->lane, record.sequence);
            duty->tail++;
        } else if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            journal->resent++;
        }
        flight->code = code;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            dbi__replay_flight_dead(journal, duty, flight);
        } else {
            flight->state = DBI__FLIGHT_FLYING;
            flight->bytes = (uint32_t)bytes;
            duty->flying++;
            duty->flying_bytes += flight->bytes;
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

/* How many messages of the chain may be handed over now: a volley, and none behind it until it has been reported on. */
static uint64_t duty_room(const dbi__producer_journal *journal, const dbi__replay_duty *duty, int64_t now) {
    if (!duty->ready || duty->stuck || duty->not_before > now || duty->flying > 0)
        return 0;
    if (journal->mode == DBI__MODE_DRAIN || (journal->mode == DBI__MODE_SORT && journal->alone != duty))
        return 0;
    if (journal->mode == DBI__MODE_SORT)
        return journal->flying == 0 ? duty->limit : 0;
    return duty->probing ? 1 : journal->producer->request_messages;
}

/* True when something was done. */
static bool duty_hand_over(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now) {
    uint64_t room = duty_room(journal, duty, now), count = 0;

    while (count < room && !journal->crowded && duty_read(journal, duty, now) &&
           hand_over_one(journal, duty, now) == HANDED_ONE)
        if (++count % HAND_OVER == 0) {
            (void)pthread_mutex_unlock(&journal->lock);
            (void)pthread_mutex_lock(&journal->lock);
        }
    if (count > 0) {
        journal->send_at = 0;
        journal->send_ms = journal->config.lanes > 1 ? SEND_MS : SEND_MS_MAX;
    }
    if (journal->mode == DBI__MODE_SORT && room > 0)
        duty->volley = count;
    return count > 0;
}

/* Lets librdkafka send. It does so only while this flush lasts, so not in the middle of a volley, and until all has been
 * reported on. Once is not enough where a broker's thread was late, a broker is away, or a request has to be repeated.
 * (A thread that was stopped just after it saw the flush may still send the first part of another lane's volley; were that
 * part refused, the rest would be ahead of it.) */
static void volleys_send(dbi__producer_journal *journal) {
    if (journal->flying == 0 || journal->send_at > dbi_clock_now(NULL) ||
        dbi__kafka_enter(&journal->producer->kafka, NULL) != DBI_OK)
        return;
    (void)pthread_mutex_unlock(&journal->lock);
    (void)rd_kafka_flush(journal->producer->kafka.rk, journal->send_ms);
    (void)pthread_mutex_lock(&journal->lock);
    dbi__kafka_leave(&journal->producer->kafka);
    journal->send_at = dbi_clock_now(NULL) + journal->send_ms * DBI_NS_PER_MS;
    journal->send_ms = journal->send_ms < SEND_MS_MAX ? 2 * journal->send_ms : SEND_MS_MAX;
}

/* -- what was refused ---------------------------------------------------------------------------------------------- */

/* The first flight that has failed; `next` where none has. */
static uint64_t duty_failed(const dbi__producer_journal *journal, const dbi__replay_duty *duty) {
    uint64_t index = duty->head;

    while (index < duty->next && dbi__replay_flight_at(journal, duty, index)->state != DBI__FLIGHT_FAILED)
        index++;
    return index;
}

/* Everything has been reported on: who is taken back, and who has to be looked at. */
static void drained(dbi__producer_journal *journal) {
    journal->mode = DBI__MODE_RUN;
    journal->alone = NULL;
    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        uint64_t failed = duty_failed(journal, duty);

        duty->limit = 0;
        if (failed == duty->next)
            continue;
        if (journal->alone == NULL && !dbi__replay_is_passing(dbi__replay_flight_at(journal, duty, failed)->code)) {
            journal->alone = duty;
            journal->mode = DBI__MODE_SORT;
            duty->limit = 1;
            duty->volley = 0;
        }
        dbi__replay_duty_rewind(journal, duty, failed);
    }
}

/* One lane alone, and nothing of it on its way. */
static void sort_on(dbi__producer_journal *journal, int64_t now) {
    dbi__replay_duty *duty = journal->alone;
    uint64_t failed = duty_failed(journal, duty);
    dbi__replay_flight *flight = dbi__replay_flight_at(journal, duty, failed);

    if (failed == duty->next) { /* all went well: is all sent that was taken back, or something else in the way? */
        if (duty->next == duty->tail || duty->limit >= SORTED || (duty->volley == 0 && duty->not_before > now)) {
            journal->mode = DBI__MODE_RUN;
            journal->alone = NULL;
            duty->limit = 0;
        } else if (duty->volley > 0) {
            duty->limit *= 2;
        }
        duty->volley = 0;
        return;
    }
    if (dbi__replay_is_passing(flight->code)) {
        dbi__replay_duty_rewind(journal, duty, failed);
    } else if (duty->volley > 1) {
        duty->limit = duty->limit > 4 ? duty->limit / 4 : 1;
        dbi__replay_duty_rewind(journal, duty, failed);
    } else if (dbi__replay_is_deadly(flight->code) && flight->copy != NULL) {
        dbi__replay_flight_dead(journal, duty, flight);
        duty->limit = 1;
    } else {
        dbi__replay_duty_hold(journal, duty, now, "a message was refused: %s", rd_kafka_err2str(flight->code));
        dbi__replay_duty_rewind(journal, duty, failed);
        duty->probing = true;
        duty->limit = 0;
        journal->mode = DBI__MODE_RUN;
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

    if (journal->mode == DBI__MODE_RUN)
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
    if (journal->mode == DBI__MODE_DRAIN)
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

/* What librdkafka knows of a refused topic is renewed by itself only after a long time. A lane is held meanwhile, and
 * the question is short. */
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

        journal->enumerate = dbi__replay_duties_enumerate(journal, &err) != DBI_OK; /* without memory: tried again */
        dbi__replay_duties_retire(journal, false);
    }
    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        if (!duty->ready && duty->not_before <= now) {
            dbi__replay_duty_prepare(journal, duty, now);
        } else if (duty->foreign && duty->lane != NULL && dbi_chain_last(duty->chain) > duty->found_to &&
                 duty->part_at <= now) { /* what came since goes to a chain of its own */
            duty->part_at = now + DBI_NS_PER_S;
            dbi__replay_duty_prepare(journal, duty, now);
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

    for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty) {
        duty->seen = dbi_chain_last(duty->chain);
        done = duty_hand_over(journal, duty, now) || done;
    }
    return done;
}

/* Whether a record has come since the last look. Nobody wakes the replay thread for it, which was not idle then; for
 * what was there and could not be handed over it waits. */
static bool records_came(const dbi__producer_journal *journal) {
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (dbi_chain_last(duty->chain) > duty->seen)
            return true;
    return false;
}

/* How long to wait for reports and records. */
static int wait_ms(const dbi__producer_journal *journal, int64_t now) {
    int64_t until = now + LOOK_MS * DBI_NS_PER_MS;

    if (journal->crowded)
        return CROWDED_MS;
    if (journal->flying > 0 && journal->send_at < until)
        until = journal->send_at > now ? journal->send_at : now;
    for (const dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
        if (duty->not_before > now && duty->not_before < until)
            until = duty->not_before;
    return (int)((until - now) / DBI_NS_PER_MS) + 1;
}

void *dbi__replay_main(void *arg) {
    dbi__producer_journal *journal = arg;
    struct pollfd fds[2] = {{.fd = dbi_mailbox_fd(journal->reports), .events = POLLIN},
                            {.fd = journal->wake_fd, .events = POLLIN}};

    while (!atomic_load(&journal->stop) && !journal->known)
        cluster_ask(journal);
    (void)pthread_mutex_lock(&journal->lock);
    while (!atomic_load(&journal->stop)) {
        int64_t now = dbi_clock_now(NULL);
        bool done = dbi__replay_reports_take(journal);
        eventfd_t ignored;
        int ms;

        for (dbi__replay_duty *duty = journal->duties; duty != NULL; duty = duty->next_duty)
            if (duty->ready)
                dbi__replay_duty_release(journal, duty, now);
        mode_step(journal, now);
        journal->crowded = false;
        duties_look(journal, now);
        done = duties_hand_over(journal, now) || done;
        dbi__replay_letters_flush(journal);
        volleys_send(journal);
        if (done) { /* who asks for the counters gets a turn */
            (void)pthread_mutex_unlock(&journal->lock);
            (void)pthread_mutex_lock(&journal->lock);
            continue;
        }
        ms = wait_ms(journal, now);
        if (journal->mode == DBI__MODE_SORT && journal->flying == 0)
            ms = 1;
        atomic_store(&journal->idle, true);
        if (records_came(journal))
            ms = 0;
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
