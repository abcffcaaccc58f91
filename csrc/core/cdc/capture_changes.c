/* capture_changes.c - what comes over a session becomes messages for Kafka: tables, transactions, changes
 *
 * A change is sent when it comes; one of a transaction that is streamed before its commit waits in the spool for that.
 * What is too large for Kafka, as its producer or a broker says, ends the capture, or a note takes its place.
 */
#include "capture_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"

#define TOPIC_SLICE (2 * DBI_NS_PER_S)
#define TOPIC_MAX 249u          /* Kafka's */
#define REFUSAL_SIZE ((size_t)1024) /* with the names of a table as JSON, of 63 bytes that take six each at most */

/* --- sending --- */

/* Waits for room where there is none; what half of the window is too small for, for all of it. */
static dbi_rc outlet_send(dbi_capture *capture, dbi_outlet_topic *topic, const dbi_message *message, bool to_all,
                          dbi_err *err) {
    for (bool again = false;; again = true) {
        dbi_rc rc = to_all ? dbi_outlet_send_to_all(capture->outlet, topic, message, 0, err)
                           : dbi_outlet_send(capture->outlet, topic, message, 0, err);

        if (rc != DBI_EFULL)
            return rc;
        rc = dbi__session_stall(capture, again, err);
        if (rc != DBI_OK)
            return rc;
    }
}

/* A topic, looked up in slices: the server gets its feedback while the brokers are away. */
static dbi_rc topic_get(dbi_capture *capture, const char *name, dbi_outlet_topic **topic, dbi_err *err) {
    for (;;) {
        int64_t slice = dbi__sooner(TOPIC_SLICE, capture->interval / 2);
        dbi_rc rc = dbi_outlet_topic_get(capture->outlet, name, dbi_clock_deadline(NULL, slice), topic, err);
        dbi_err late;

        if (rc != DBI_ETIMEOUT && rc != DBI_EUNREACHABLE && rc != DBI_EKAFKA_RETRIABLE)
            return rc;
        if (dbi__capture_stopping(capture))
            return dbi__capture_stopped(err);
        if (err != NULL)
            capture->now.error = *err;
        dbi__capture_publish(capture);
        rc = dbi__session_feedback(capture, &late);
        if (rc == DBI_OK) /* a broker that refuses connections does so at once */
            rc = dbi__session_poll(capture, false, dbi_clock_deadline(NULL, 200 * DBI_NS_PER_MS), &late);
        if (rc == DBI_OK)
            rc = dbi_outlet_poll(capture->outlet, &late);
        if (rc != DBI_OK) {
            if (err != NULL)
                *err = late;
            return rc;
        }
    }
}

/* What is said of a change that is too large for Kafka: the note that takes its place, or why it ends the capture. */
static void refusal_write(const dbi_capture *capture, const dbi_relation *relation, const dbi_envelope_message *message,
                          char text[REFUSAL_SIZE]) {
    static const char no_table[] = "\"schema\":\"\",\"table\":\"\""; /* as in a logical message */
    const dbi_origin *origin = &capture->origin;
    char lsn[DBI_LSN_SIZE];

    if (capture->dead_letter_topic != NULL)
        (void)snprintf(text, REFUSAL_SIZE,
                       "{\"reason\":\"message too large\",%.*s,\"op\":\"%c\",\"lsn\":%" PRIu64
                       ",\"sequence\":[\"%" PRIu64 "\",\"%" PRIu64 "\"],\"bytes\":%zu}",
                       relation != NULL ? (int)relation->json_length : (int)sizeof no_table - 1,
                       relation != NULL ? relation->json : no_table, message->op, origin->lo, origin->hi, origin->lo,
                       message->value_length);
    else
        (void)snprintf(text, REFUSAL_SIZE,
                       "a change of table %.100s.%.100s at %s is a message of %zu bytes, more than Kafka takes: raise "
                       "the producer's message.max.bytes together with the topic's max.message.bytes",
                       relation != NULL ? relation->nspname : "(none", relation != NULL ? relation->relname : "op m)",
                       dbi_lsn_text(origin->lo, lsn), message->value_length);
}

/* A change that is too large: it ends the capture, or the note takes its place. */
static dbi_rc change_refused(void *arg, const void *key, size_t key_len, const char *text, dbi_err *err) {
    dbi_capture *capture = arg;
    const dbi_message note = dbi_sorter_note(key, key_len, text);
    dbi_outlet_topic *topic;
    dbi_rc rc;

    if (capture->dead_letter_topic == NULL)
        return dbi_err_set(err, DBI_ETOOBIG, "%s", text);
    rc = topic_get(capture, capture->dead_letter_topic, &topic, err);
    if (rc != DBI_OK)
        return rc;
    capture->now.dead_letters++;
    return outlet_send(capture, topic, &note, false, err);
}

static dbi_rc sorter_wait(void *arg, bool all, dbi_err *err) {
    return all ? dbi__session_settle(arg, err) : dbi__session_stall(arg, false, err);
}

static dbi_sorter_calls sorter_calls(dbi_capture *capture) {
    return (dbi_sorter_calls){.wait = sorter_wait, .refused = change_refused, .arg = capture};
}

dbi_rc dbi__changes_sort(dbi_capture *capture, dbi_err *err) {
    const dbi_sorter_calls calls = sorter_calls(capture);

    return dbi_sorter_send(capture->sorter, &calls, err);
}

/* Sends it at once, or, up to where a broker has refused messages, through the sorter. */
static dbi_rc message_send(dbi_capture *capture, dbi_outlet_topic *topic, const dbi_relation *relation,
                           const dbi_envelope_message *written, const dbi_message *message, bool to_all,
                           dbi_err *err) {
    const dbi_sorter_calls calls = sorter_calls(capture);
    char text[REFUSAL_SIZE];
    dbi_rc rc = DBI_OK;

    if (capture->origin.hi <= capture->sort_until) {
        refusal_write(capture, relation, written, text);
        return dbi_sorter_add(capture->sorter, &calls, topic, message, to_all, text, err);
    }
    if (!dbi_sorter_empty(capture->sorter))
        rc = dbi__changes_sort(capture, err);
    if (rc == DBI_OK)
        rc = outlet_send(capture, topic, message, to_all, err);
    if (rc != DBI_ETOOBIG || dbi_sorter_needed(capture->outlet))
        return rc;
    refusal_write(capture, relation, written, text);
    return change_refused(capture, written->key, written->key_length, text, err);
}

static bool header_add(rd_kafka_headers_t **headers, const char *name, const void *value, size_t length) {
    if (value == NULL)
        return true;
    if (*headers == NULL)
        *headers = rd_kafka_headers_new(2);
    return *headers != NULL &&
           rd_kafka_header_add(*headers, name, -1, value, (ssize_t)length) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static dbi_rc envelope_send(dbi_capture *capture, dbi_outlet_topic *topic, const dbi_relation *relation,
                            const dbi_envelope_message *written, bool to_all, dbi_err *err) {
    rd_kafka_headers_t *headers = NULL;
    dbi_message message = {.key = written->key,
                           .key_len = written->key_length,
                           .value = written->value,
                           .value_len = written->value_length,
                           .partition = RD_KAFKA_PARTITION_UA};
    dbi_rc rc;

    if (!header_add(&headers, DBI_ENVELOPE_HEADER_UNCHANGED, written->unchanged, written->unchanged_length) ||
        !header_add(&headers, DBI_ENVELOPE_HEADER_NEWKEY, written->newkey, written->newkey_length) ||
        !header_add(&headers, DBI_ENVELOPE_HEADER_OLDKEY, written->oldkey, written->oldkey_length)) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a message's headers");
    } else {
        message.headers = headers;
        rc = message_send(capture, topic, relation, written, &message, to_all, err);
    }
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    return rc;
}

/* --- tables --- */

static capture_table *table_find(dbi_capture *capture, uint32_t oid) {
    capture_table *table = capture->last;

    if (table != NULL && table->oid == oid)
        return table;
    table = capture->tables[oid % DBI__CAPTURE_BUCKETS];
    while (table != NULL && table->oid != oid)
        table = table->next;
    if (table != NULL)
        capture->last = table;
    return table;
}

static dbi_rc table_get(dbi_capture *capture, uint32_t oid, capture_table **table, dbi_err *err) {
    *table = table_find(capture, oid);
    if (*table != NULL)
        return DBI_OK;
    return dbi_err_set(err, DBI_ECORRUPT, "the replication stream has a change of table %" PRIu32
                       ", which it has not described", oid);
}

static bool fits_topics(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

/* <prefix>.<schema>.<table>; each character that Kafka does not allow becomes "_", as with Debezium. */
static dbi_rc topic_name(const dbi_capture *capture, const dbi_relation *relation, char name[TOPIC_MAX + 2],
                         dbi_err *err) {
    char full[1024]; /* a prefix and two names of PostgreSQL's, of 63 bytes each */
    int length = snprintf(full, sizeof full, "%s.%s.%s", capture->prefix, relation->nspname, relation->relname);
    size_t used = 0;

    for (const char *at = full; *at != '\0' && used <= TOPIC_MAX; at++)
        if (((unsigned char)*at & 0xC0u) != 0x80u) /* of a character in UTF-8 the first byte */
            name[used++] = fits_topics(*at) ? *at : '_';
    if (length < 0 || length >= (int)sizeof full || used > TOPIC_MAX)
        return dbi_err_set(err, DBI_ECONFIG,
                           "the topic of table %.100s.%.100s would have a name of more than %u characters, which is "
                           "all that Kafka allows",
                           relation->nspname, relation->relname, TOPIC_MAX);
    name[used] = '\0';
    return DBI_OK;
}

/* Two tables must not share a topic, which the replaced characters would allow. */
static dbi_rc topic_check(const dbi_capture *capture, const capture_table *table, dbi_err *err) {
    for (size_t i = 0; i < DBI__CAPTURE_BUCKETS; i++)
        for (const capture_table *other = capture->tables[i]; other != NULL; other = other->next)
            if (other != table && other->topic == table->topic &&
                (strcmp(other->relation->relname, table->relation->relname) != 0 ||
                 strcmp(other->relation->nspname, table->relation->nspname) != 0))
                return dbi_err_set(err, DBI_ECONFIG,
                                   "tables %.60s.%.60s and %.60s.%.60s would share topic %.120s: rename one of them",
                                   other->relation->nspname, other->relation->relname, table->relation->nspname,
                                   table->relation->relname, dbi_outlet_topic_name(table->topic));
    return DBI_OK;
}

/* What the catalogue knows and the stream does not say. */
static dbi_rc relation_describe(dbi_capture *capture, dbi_relation *relation, dbi_err *err) {
    const dbi_interrupt interrupt = {.fd = capture->stop_fd};
    int64_t deadline = dbi_clock_deadline(NULL, capture->connect_timeout);
    char sql[DBI_RELATION_SQL_SIZE];
    PGresult *answer = NULL;
    dbi_conn *conn;
    dbi_rc rc = dbi_pool_acquire_with(capture->catalogue, &conn, deadline, &interrupt, err);

    if (rc != DBI_OK)
        return rc;
    dbi_relation_question(relation, sql);
    rc = dbi_conn_exec(conn, sql, deadline, &answer, err);
    if (rc == DBI_OK)
        rc = dbi_relations_describe(capture->relations, relation, answer, err);
    PQclear(answer);
    dbi_pool_release(capture->catalogue, conn, rc == DBI_OK ? DBI_CONN_KEEP : DBI_CONN_DISCARD,
                     "asking the catalogue failed");
    return rc;
}

static dbi_rc relation_take(dbi_capture *capture, const dbi_pgoutput_relation *message, dbi_err *err) {
    char name[TOPIC_MAX + 2];
    dbi_relation *relation;
    capture_table *table;
    dbi_rc rc = dbi_relations_put(capture->relations, message, &relation, err);

    if (rc == DBI_OK && !relation->described)
        rc = relation_describe(capture, relation, err);
    if (rc == DBI_OK)
        rc = topic_name(capture, relation, name, err);
    if (rc != DBI_OK)
        return rc;
    table = table_find(capture, relation->oid);
    if (table == NULL) {
        table = dbi_calloc(1, sizeof *table);
        if (table == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for a table");
        table->oid = relation->oid;
        table->next = capture->tables[relation->oid % DBI__CAPTURE_BUCKETS];
        capture->tables[relation->oid % DBI__CAPTURE_BUCKETS] = table;
    }
    table->relation = relation;
    rc = topic_get(capture, name, &table->topic, err);
    return rc == DBI_OK ? topic_check(capture, table, err) : rc;
}

/* --- messages of the stream --- */

static dbi_rc change_send(dbi_capture *capture, const dbi_pgoutput_message *message, dbi_err *err) {
    dbi_envelope_message written[DBI_ENVELOPE_MESSAGES_MAX];
    capture_table *table;
    unsigned count = 0;
    dbi_rc rc = table_get(capture, message->change.relation, &table, err);

    if (rc == DBI_OK)
        rc = dbi_envelope_change(capture->envelope, table->relation, message->kind, &message->change, &capture->origin,
                                 written, &count, err);
    for (unsigned i = 0; i < count && rc == DBI_OK; i++)
        rc = envelope_send(capture, table->topic, table->relation, &written[i], false, err);
    if (rc != DBI_OK)
        return rc;
    if (message->kind == DBI_PGOUTPUT_INSERT)
        capture->now.inserts++;
    else if (message->kind == DBI_PGOUTPUT_UPDATE)
        capture->now.updates++;
    else
        capture->now.deletes++;
    return DBI_OK;
}

/* To each partition, so that who reads one of them learns of it in its place. */
static dbi_rc truncate_send(dbi_capture *capture, const dbi_pgoutput_message *message, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    for (unsigned i = 0; i < message->truncate.count && rc == DBI_OK; i++) {
        dbi_envelope_message written;
        capture_table *table;

        rc = table_get(capture, message->truncate.relations[i], &table, err);
        if (rc == DBI_OK)
            rc = dbi_envelope_truncate(capture->envelope, table->relation, &capture->origin, &written, err);
        if (rc == DBI_OK)
            rc = envelope_send(capture, table->topic, table->relation, &written, true, err);
        capture->now.truncates++;
    }
    return rc;
}

static bool message_wanted(const dbi_capture *capture, const char *prefix) {
    for (size_t i = 0; i < capture->message_count; i++)
        if (strcmp(capture->messages[i], prefix) == 0 || strcmp(capture->messages[i], "*") == 0)
            return true;
    return false;
}

/* What pg_logical_emit_message has written, into the one topic that the flow has for that. */
static dbi_rc logical_send(dbi_capture *capture, const dbi_pgoutput_message *message, dbi_err *err) {
    char name[TOPIC_MAX + 1];
    dbi_envelope_message written;
    dbi_outlet_topic *topic;
    dbi_rc rc;

    if (!message_wanted(capture, message->message.prefix))
        return DBI_OK;
    if (!message->message.transactional) { /* it comes when it is written, between transactions */
        capture->origin.hi = capture->origin.lo = message->message.lsn;
        capture->origin.xid = 0;
        capture->origin.commit_us = capture->origin.captured_us;
    }
    if (snprintf(name, sizeof name, "%s.message", capture->prefix) >= (int)sizeof name)
        return dbi_err_set(err, DBI_ECONFIG, "the topic prefix is longer than Kafka allows");
    rc = topic_get(capture, name, &topic, err);
    if (rc == DBI_OK)
        rc = dbi_envelope_logical(capture->envelope, message->message.prefix, message->message.content,
                                  message->message.length, &capture->origin, &written, err);
    if (rc == DBI_OK)
        rc = envelope_send(capture, topic, NULL, &written, false, err);
    if (rc == DBI_OK)
        capture->now.messages++;
    return rc;
}

/* A change, a relation, or what stands between them in a transaction. */
static dbi_rc message_handle(dbi_capture *capture, const dbi_pgoutput_message *message, dbi_err *err) {
    switch (message->kind) {
    case DBI_PGOUTPUT_INSERT:
    case DBI_PGOUTPUT_UPDATE:
    case DBI_PGOUTPUT_DELETE:
        return change_send(capture, message, err);
    case DBI_PGOUTPUT_TRUNCATE:
        return truncate_send(capture, message, err);
    case DBI_PGOUTPUT_RELATION:
        return relation_take(capture, &message->relation, err);
    case DBI_PGOUTPUT_MESSAGE:
        return logical_send(capture, message, err);
    default: /* origins, types */
        return DBI_OK;
    }
}

static void transaction_end(dbi_capture *capture, uint64_t end, int64_t commit_us) {
    dbi_sorter_mark(capture->sorter, end);
    dbi__capture_committed(capture, end, commit_us);
    capture->in_transaction = false;
    capture->now.transactions++;
    if (end > capture->now.received)
        capture->now.received = end;
}

/* A streamed transaction has committed: what was put aside is sent now, but for what was rolled back. */
static dbi_rc stream_replay(dbi_capture *capture, const dbi_pgoutput_message *commit, dbi_err *err) {
    uint32_t xid = commit->xid;
    uint64_t end = commit->commit.end_lsn;
    int64_t commit_us = commit->commit.commit_us;
    dbi_pgoutput_message message;
    const uint8_t *bytes;
    size_t length;
    dbi_rc rc;

    capture->origin = (dbi_origin){.hi = commit->commit.lsn, .xid = xid, .commit_us = commit_us};
    capture->in_transaction = true;
    dbi_spool_rewind(capture->spool, xid);
    dbi_pgoutput_streamed(capture->decoder, true);
    for (unsigned n = 0;; n++) {
        rc = dbi_spool_next(capture->spool, xid, &capture->origin.lo, &bytes, &length, err);
        if (rc != DBI_OK || bytes == NULL)
            break;
        if (n % DBI__CAPTURE_FRAMES == DBI__CAPTURE_FRAMES - 1) {
            rc = dbi_outlet_poll(capture->outlet, err);
            if (rc == DBI_OK)
                rc = dbi__session_feedback(capture, err);
            dbi__capture_publish(capture);
            if (rc == DBI_OK && dbi__capture_stopping(capture)) /* it will come again, whole */
                rc = dbi__capture_stopped(err);
            if (rc != DBI_OK)
                break;
        }
        capture->origin.captured_us = dbi_clock_wall_us();
        rc = dbi_pgoutput_read(capture->decoder, bytes, length, &message, err);
        if (rc != DBI_OK)
            break;
        /* A relation counts for the transaction, whichever part of it caused the server to send it. */
        if (message.kind != DBI_PGOUTPUT_RELATION && dbi_spool_aborted(capture->spool, xid, message.xid)) {
            capture->now.skipped++;
            continue;
        }
        rc = message_handle(capture, &message, err);
        if (rc != DBI_OK)
            break;
    }
    dbi_pgoutput_streamed(capture->decoder, false);
    dbi_spool_drop(capture->spool, xid);
    if (rc == DBI_OK)
        transaction_end(capture, end, commit_us);
    return rc;
}

dbi_rc dbi__change_take(dbi_capture *capture, const dbi_frame *frame, dbi_err *err) {
    dbi_pgoutput_message message;
    dbi_rc rc;

    if (capture->in_stream && frame->length > 0 && frame->bytes[0] != DBI_PGOUTPUT_STREAM_STOP)
        return dbi_spool_add(capture->spool, capture->stream_xid, frame->start, frame->bytes, frame->length, err);
    rc = dbi_pgoutput_read(capture->decoder, frame->bytes, frame->length, &message, err);
    if (rc != DBI_OK)
        return rc;
    capture->origin.lo = frame->start;
    capture->origin.captured_us = dbi_clock_wall_us();
    switch (message.kind) {
    case DBI_PGOUTPUT_BEGIN:
        capture->origin.hi = message.begin.final_lsn;
        capture->origin.xid = message.xid;
        capture->origin.commit_us = message.begin.commit_us;
        capture->in_transaction = true;
        return DBI_OK;
    case DBI_PGOUTPUT_COMMIT:
        transaction_end(capture, message.commit.end_lsn, message.commit.commit_us);
        return DBI_OK;
    case DBI_PGOUTPUT_STREAM_START:
        capture->in_stream = true;
        capture->stream_xid = message.xid;
        return DBI_OK;
    case DBI_PGOUTPUT_STREAM_STOP:
        capture->in_stream = false;
        return DBI_OK;
    case DBI_PGOUTPUT_STREAM_COMMIT:
        return stream_replay(capture, &message, err);
    case DBI_PGOUTPUT_STREAM_ABORT:
        if (message.stream_abort.subxid != message.xid)
            return dbi_spool_abort(capture->spool, message.xid, message.stream_abort.subxid, err);
        dbi_spool_drop(capture->spool, message.xid);
        return DBI_OK;
    default:
        return message_handle(capture, &message, err);
    }
}

void dbi__tables_clear(dbi_capture *capture) {
    for (size_t i = 0; i < DBI__CAPTURE_BUCKETS; i++)
        while (capture->tables[i] != NULL) {
            capture_table *table = capture->tables[i];

            capture->tables[i] = table->next;
            dbi_free(table);
        }
    capture->last = NULL;
}
