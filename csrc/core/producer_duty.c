/* producer_duty.c - chains of a producer's journal: their messages on the way, reports, releasing */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "producer_journal_int.h"
#include "producer_record.h"

/* -- receipts ------------------------------------------------------------------------------------------------------ */

void dbi__replay_letters_flush(dbi__producer_journal *journal) {
    if (journal->letter_count > 0)
        dbi_mailbox_deliver(journal->letters_to, journal->letters, journal->letters_last, journal->letter_count);
    journal->letter_count = 0;
}

static void waiting_answer(dbi__producer_journal *journal, dbi__replay_waiting *waiting) {
    dbi_letter *letter = &waiting->ticket.letter;

    if (journal->letter_count > 0 && journal->letters_to != letter->mailbox)
        dbi__replay_letters_flush(journal);
    letter->next = NULL;
    if (journal->letter_count++ == 0) {
        journal->letters_to = letter->mailbox;
        journal->letters = letter;
    } else {
        journal->letters_last->next = letter;
    }
    journal->letters_last = letter;
}

void dbi__replay_waiting_fail(dbi__producer_journal *journal, dbi__replay_waiting *waiting,
                               rd_kafka_resp_err_t code, bool journaled) {
    if (waiting == NULL)
        return;
    waiting->ticket.error = code;
    waiting->ticket.partition = -1;
    waiting->ticket.offset = RD_KAFKA_OFFSET_INVALID;
    waiting->ticket.timestamp_ms = -1;
    waiting->ticket.journaled = journaled;
    waiting_answer(journal, waiting);
}

void dbi__replay_waiting_lost(dbi__producer_journal *journal, dbi__replay_waiting *waiting) {
    bool dropped = journal->producer->options.when_full == DBI_WHEN_FULL_DROP_OLDEST;

    dbi__replay_waiting_fail(journal, waiting, dropped ? RD_KAFKA_RESP_ERR__QUEUE_FULL : RD_KAFKA_RESP_ERR__FS, false);
}

dbi__replay_waiting *dbi__replay_lane_waiting(dbi__producer_journal *journal, dbi__replay_lane *lane,
                                              uint64_t sequence) {
    dbi__replay_waiting *found = NULL;

    if (lane == NULL)
        return NULL;
    (void)pthread_mutex_lock(&lane->lock);
    while (lane->first != NULL && lane->first->sequence <= sequence) {
        dbi__replay_waiting *first = lane->first;

        lane->first = first->next;
        if (first->sequence == sequence)
            found = first;
        else
            dbi__replay_waiting_lost(journal, first);
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return found;
}

/* -- duties -------------------------------------------------------------------------------------------------------- */

void dbi__replay_duty_free(dbi__producer_journal *journal, dbi__replay_duty *duty) {
    for (uint64_t i = duty->head; i < duty->tail; i++)
        dbi_free(dbi__replay_flight_at(journal, duty, i)->copy);
    dbi_free(duty->ring);
    dbi_dead_free(duty->dead);
    dbi_records_free(&duty->records);
    dbi_free(duty);
}

static dbi_rc duty_new(dbi__producer_journal *journal, dbi_chain *chain, dbi_err *err) {
    dbi__replay_duty *made = dbi_calloc(1, sizeof *made), **at = &journal->duties;
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

dbi_rc dbi__replay_duties_enumerate(dbi__producer_journal *journal, dbi_err *err) {
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
        dbi__replay_duty *duty = journal->duties;

        while (duty != NULL && duty->chain != chains[i])
            duty = duty->next_duty;
        if (duty == NULL)
            rc = duty_new(journal, chains[i], err);
    }
    dbi_free(chains);
    return rc;
}

void dbi__replay_duty_count(const dbi__replay_duty *duty, dbi_producer_counts *counts) {
    dbi_chain_view view;

    dbi_chain_view_get(duty->chain, &view);
    counts->accepted += view.last - view.opened;
    counts->recovered += view.found;
    counts->journaled += view.held > duty->counted ? view.held - duty->counted : 0;
    counts->dropped_oldest += view.counted[DBI_CHAIN_DROPPED_OLDEST];
    counts->damaged += view.counted[DBI_CHAIN_DAMAGED];
}

void dbi__replay_duties_retire(dbi__producer_journal *journal, bool all) {
    for (dbi__replay_duty **at = &journal->duties, *duty; (duty = *at) != NULL;) {
        dbi_chain_view view;

        dbi_chain_view_get(duty->chain, &view);
        if (!all && (!view.gone || duty->flying > 0 || duty->head != duty->tail)) {
            at = &duty->next_duty;
            continue;
        }
        dbi__replay_duty_count(duty, &journal->gone);
        *at = duty->next_duty;
        if (journal->alone == duty) {
            journal->alone = NULL;
            journal->mode = DBI__MODE_RUN;
        }
        dbi__replay_duty_free(journal, duty);
    }
}

void dbi__replay_duty_hold(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now, const char *fmt, ...) {
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(duty->why, sizeof duty->why, fmt, args);
    va_end(args);
    duty->pause = duty->pause == 0 ? journal->config.retry_min : 2 * duty->pause;
    if (duty->pause > journal->config.retry_max)
        duty->pause = journal->config.retry_max;
    duty->not_before = now + duty->pause;
}

static void duty_well(dbi__replay_duty *duty) {
    duty->probing = false;
    duty->pause = 0;
    duty->not_before = 0;
    duty->why[0] = '\0';
}

void dbi__replay_duty_prepare(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now) {
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
            dbi__replay_duty_hold(journal, duty, now,
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
        dbi__replay_duty_hold(journal, duty, now, "%.250s", err.msg);
        return;
    }
    duty_well(duty);
    duty->ready = true;
}

/* -- releasing ----------------------------------------------------------------------------------------------------- */

static dbi_rc letter_put(dbi__replay_duty *duty, const dbi__replay_flight *flight, dbi_err *err) {
    dbi__message_view message;
    dbi_dead_letter letter = {.sequence = flight->sequence,
                              .stream = DBI__REPLAY_STREAM,
                              .error = rd_kafka_err2name(flight->code),
                              .message = rd_kafka_err2str(flight->code),
                              .kafka = &message};

    if (!dbi__message_read(flight->copy->bytes, flight->copy->length, &message))
        return dbi_err_set(err, DBI_ECORRUPT, "a message in memory is not what it was");
    return dbi_dead_put(duty->dead, &letter, err);
}

void dbi__replay_duty_release(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now) {
    uint64_t head = duty->head, upto = duty->passed;
    dbi_err err;
    dbi_rc rc = DBI_OK;

    while (head < duty->next && dbi__replay_flight_at(journal, duty, head)->state != DBI__FLIGHT_FLYING &&
           dbi__replay_flight_at(journal, duty, head)->state != DBI__FLIGHT_FAILED)
        head++;
    if (head < duty->tail)
        upto = dbi__replay_flight_at(journal, duty, head)->sequence - 1;
    if (upto <= duty->released || (duty->not_before > now && !duty->probing))
        return;
    dbi_dead_begin(duty->dead, duty->released + 1, upto);
    for (uint64_t i = duty->head; i < head && rc == DBI_OK; i++)
        if (dbi__replay_flight_at(journal, duty, i)->state == DBI__FLIGHT_DEAD)
            rc = letter_put(duty, dbi__replay_flight_at(journal, duty, i), &err);
    if (rc == DBI_OK)
        rc = dbi_dead_sync(duty->dead, &err);
    if (rc != DBI_OK) {
        dbi__replay_duty_hold(journal, duty, now, "%.250s", err.msg);
        return;
    }
    for (uint64_t i = duty->head; i < head; i++) {
        dbi__replay_flight *flight = dbi__replay_flight_at(journal, duty, i);

        if (flight->state == DBI__FLIGHT_DEAD)
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

bool dbi__replay_is_deadly(rd_kafka_resp_err_t code) {
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

bool dbi__replay_is_passing(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT ||
           code == RD_KAFKA_RESP_ERR__FATAL || code == RD_KAFKA_RESP_ERR__DESTROY ||
           code == RD_KAFKA_RESP_ERR__INCONSISTENT;
}

static void flight_count(dbi__replay_duty *duty, dbi__replay_flight *flight, uint64_t *counter) {
    if (flight->counted)
        return;
    flight->counted = true;
    duty->counted++;
    (*counter)++;
}

void dbi__replay_flight_dead(dbi__producer_journal *journal, dbi__replay_duty *duty, dbi__replay_flight *flight) {
    flight->state = DBI__FLIGHT_DEAD;
    if (!flight->counted)
        dbi__producer_count_dead(journal->producer, flight->code);
    flight_count(duty, flight, &journal->dead);
    dbi__replay_waiting_fail(journal, flight->waiting, flight->code, false);
    flight->waiting = NULL;
}

void dbi__replay_duty_rewind(dbi__producer_journal *journal, dbi__replay_duty *duty, uint64_t index) {
    for (uint64_t i = index; i < duty->next; i++)
        if (dbi__replay_flight_at(journal, duty, i)->state != DBI__FLIGHT_DEAD)
            dbi__replay_flight_at(journal, duty, i)->state = DBI__FLIGHT_FAILED;
    duty->next = index;
    duty->read = duty->passed = dbi__replay_flight_at(journal, duty, index)->sequence - 1;
    duty->records.length = duty->records.at = 0;
}

void dbi__replay_drain(dbi__producer_journal *journal) {
    if (journal->mode == DBI__MODE_DRAIN)
        return;
    journal->mode = DBI__MODE_DRAIN;
    journal->drain_since = journal->purged_at = dbi_clock_now(NULL);
}

static void report_take(dbi__producer_journal *journal, const dbi__replay_wire *wire) {
    dbi__replay_duty *duty = wire->duty;
    dbi__replay_flight *flight = dbi__replay_flight_at(journal, duty, wire->index);

    duty->flying--;
    duty->flying_bytes -= flight->bytes;
    journal->flying--;
    journal->flying_bytes -= flight->bytes;
    journal->send_at = 0; /* the brokers are at work: no pause */
    wire->topic->met = wire->ticket.error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (wire->ticket.error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        flight->state = DBI__FLIGHT_DONE;
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
    flight->state = DBI__FLIGHT_FAILED;
    flight->code = wire->ticket.error;
    if (wire->ticket.fatal || wire->ticket.error == RD_KAFKA_RESP_ERR__FATAL)
        journal->renew = true;
    if (journal->mode == DBI__MODE_RUN && duty->probing && !journal->renew && !dbi__replay_is_passing(flight->code) &&
        !dbi__replay_is_deadly(flight->code)) { /* as it was: the others need not wait for it */
        dbi__replay_duty_hold(journal, duty, dbi_clock_now(NULL), "topic \"%.100s\": %s",
                              dbi_topic_name(wire->ticket.topic),
                  rd_kafka_err2str(flight->code));
        dbi__replay_duty_rewind(journal, duty, wire->index);
    } else if (journal->mode == DBI__MODE_RUN) {
        dbi__replay_drain(journal);
    }
}

bool dbi__replay_reports_take(dbi__producer_journal *journal) {
    dbi_letter *letter = dbi_mailbox_take(journal->reports), *next;
    bool some = letter != NULL;

    for (; letter != NULL; letter = next) {
        next = letter->next;
        report_take(journal, (const dbi__replay_wire *)letter);
        dbi_letter_free(letter);
    }
    return some;
}
