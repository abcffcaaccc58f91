/* capture.c - see capture.h
 *
 * What is confirmed. Commits are marked in the outlet by the end of their record, keepalives by the end of the log that
 * the server names in them, where no transaction is open. The outlet says which mark everything before has been
 * delivered up to, and that is what feedback tells. On the next start the server sends every transaction whose commit
 * record begins at or after it.
 *
 * Where it waits. In session_run, for the server; in capture_stall, for Kafka, when the outlet is full, in the middle
 * of whatever is being sent; in pause_for, between two attempts. All three look at the stop descriptor and the
 * outlet's, and the first two send feedback when it is due. Opening connections and asking the catalogue end at once
 * when a stop is asked for. A topic is looked up in slices of 2 s.
 */
#include "cdc/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "cdc/envelope.h"
#include "cdc/pgoutput.h"
#include "cdc/relation.h"
#include "cdc/replication.h"
#include "cdc/spool.h"
#include "clock.h"
#include "fork_int.h"
#include "metrics.h"
#include "uuid.h"

#define FRAMES 512u                          /* handled between two looks at outlet and clock */
#define TLS_SLICE (50 * DBI_NS_PER_MS)       /* what TLS has decrypted does not make the socket readable */
#define FEEDBACK_SOON DBI_NS_PER_S           /* what is newly confirmed is told after so long */
#define TOPIC_SLICE (2 * DBI_NS_PER_S)
#define CLOSING (2 * DBI_NS_PER_S)           /* to part with the server politely */
#define GOOD_SESSION (30 * DBI_NS_PER_S)     /* after one of these, attempts begin to be counted anew */
#define COMMITS 1024u                        /* commit times kept for what is not confirmed */
#define TOPIC_MAX 249u                       /* Kafka's */
#define TABLE_BUCKETS 256u

/* A table that has changed in this session. */
typedef struct capture_table {
    struct capture_table *next;
    uint32_t oid;
    const dbi_relation *relation;
    dbi_outlet_topic *topic;
} capture_table;

typedef struct commit_time {
    uint64_t end;
    int64_t commit_us;
} commit_time;

struct dbi_capture {
    /* configuration */
    char *name, *slot, *publication, *prefix, *version, *dead_letter_topic;
    dbi_pool *walsender, *catalogue;
    dbi_outlet *outlet;
    uint64_t start;
    bool streaming, messages;
    int64_t connect_timeout, feedback_ns, backoff_min, backoff_max;

    /* the thread, and how it is stopped */
    pthread_t thread;
    uint64_t fork;
    bool started;      /* the owner's: to be joined */
    atomic_bool ended; /* the thread is at its end */
    atomic_int_fast64_t stop_at;
    atomic_bool stopping;
    int stop_fd;
    dbi_err result; /* of the thread, read after its end */

    /* the thread's */
    dbi_pgoutput *decoder;
    dbi_relations *relations;
    dbi_envelope *envelope; /* made when the database's name is known */
    dbi_spool *spool;
    capture_table *tables[TABLE_BUCKETS];
    capture_table *last; /* the one that changed last */
    dbi_conn *conn;
    char system[32];  /* the cluster's identifier; "" = not met yet */
    bool unsent;      /* libpq holds feedback that the socket has not taken */
    bool in_transaction, in_stream;
    uint32_t stream_xid;
    dbi_origin origin; /* of the changes that come now */
    uint64_t told;     /* the last position that the server was told */
    int64_t interval, feedback_at;
    bool answer; /* the server has asked */
    commit_time commits[COMMITS];
    unsigned commit_head, commit_count;
    dbi_uuid7_source random; /* of the pauses */
    dbi_capture_view now; /* published into `view` */

    dbi_source source;
    pthread_mutex_t lock; /* guards view: a leaf */
    dbi_capture_view view;
};

const char *dbi_capture_state_text(dbi_capture_state state) {
    switch (state) {
#define STATE_TEXT(name, text)                                                                                         \
    case DBI_CAPTURE_##name:                                                                                           \
        return text;
        DBI_CAPTURE_STATE_MAP(STATE_TEXT)
#undef STATE_TEXT
    }
    return "unknown";
}

/* --- what others see --- */

static void view_publish(dbi_capture *capture) {
    capture->now.confirmed = dbi_outlet_confirmed(capture->outlet);
    capture->now.spooled_bytes = dbi_spool_bytes(capture->spool);
    (void)pthread_mutex_lock(&capture->lock);
    capture->view = capture->now;
    (void)pthread_mutex_unlock(&capture->lock);
}

static void state_set(dbi_capture *capture, dbi_capture_state state) {
    capture->now.state = state;
    view_publish(capture);
}

void dbi_capture_read(dbi_capture *capture, dbi_capture_view *view) {
    if (capture->fork != dbi__fork_now()) { /* its thread is the parent's, and may hold the lock */
        *view = (dbi_capture_view){0};
        return;
    }
    (void)pthread_mutex_lock(&capture->lock);
    *view = capture->view;
    (void)pthread_mutex_unlock(&capture->lock);
    dbi_outlet_counts_get(capture->outlet, &view->outlet);
}

/* The commit times of what has been confirmed are no longer needed, but for the last one. */
static void commits_advance(dbi_capture *capture, uint64_t confirmed) {
    while (capture->commit_count > 0 && capture->commits[capture->commit_head].end <= confirmed) {
        capture->now.confirmed_commit_us = capture->commits[capture->commit_head].commit_us;
        capture->commit_head = (capture->commit_head + 1) % COMMITS;
        capture->commit_count--;
    }
}

/* When there are too many, the newest stands for all that come after it. */
static void commits_add(dbi_capture *capture, uint64_t end, int64_t commit_us) {
    if (capture->commit_count < COMMITS)
        capture->commit_count++;
    capture->commits[(capture->commit_head + capture->commit_count - 1) % COMMITS] =
        (commit_time){.end = end, .commit_us = commit_us};
    capture->now.received_commit_us = commit_us;
}

/* --- configuration --- */

void dbi_capture_defaults(dbi_capture_config *config) {
    *config = (dbi_capture_config){
        .spool_memory = 16u << 20,
        .connect_timeout = 10 * DBI_NS_PER_S,
        .feedback = 10 * DBI_NS_PER_S,
        .backoff_min = 200 * DBI_NS_PER_MS,
        .backoff_max = 30 * DBI_NS_PER_S,
    };
}

static bool text_copy(char **copy, const char *text) {
    *copy = text != NULL ? dbi_strdup(text) : NULL;
    return text == NULL || *copy != NULL;
}

static dbi_rc config_check(const dbi_capture_config *config, dbi_err *err) {
    const struct {
        const char *what, *text;
    } names[] = {{"name", config->name},
                 {"conninfo", config->conninfo},
                 {"slot", config->slot},
                 {"publication", config->publication},
                 {"prefix", config->prefix},
                 {"version", config->version}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].text == NULL || names[i].text[0] == '\0')
            return dbi_err_set(err, DBI_ECONFIG, "capture: %s must not be empty", names[i].what);
    if (config->outlet == NULL)
        return dbi_err_set(err, DBI_EINVAL, "capture: it needs an outlet");
    if (config->connect_timeout <= 0 || config->feedback <= 0 || config->backoff_min <= 0 ||
        config->backoff_max < config->backoff_min)
        return dbi_err_set(err, DBI_ECONFIG,
                           "capture: connect_timeout, feedback and backoff_min must be above 0, and backoff_max not "
                           "below backoff_min");
    return DBI_OK;
}

static dbi_rc pool_make(dbi_pool **pool, const dbi_capture_config *config, bool walsender, dbi_err *err) {
    dbi_pool_config pool_config;
    char *conninfo;
    dbi_rc rc = dbi_replication_conninfo(config->conninfo, walsender, &conninfo, err);

    if (rc != DBI_OK)
        return rc;
    dbi_pool_defaults(&pool_config);
    pool_config.name = walsender ? "flow_replication" : "flow_catalogue";
    pool_config.conninfo = conninfo;
    pool_config.min_size = 0;
    pool_config.max_size = 1;
    pool_config.connect_timeout = config->connect_timeout;
    pool_config.max_idle = config->feedback / 2;
    rc = dbi_pool_new(pool, &pool_config, err);
    memset(conninfo, 0, strlen(conninfo)); /* it may hold a password */
    dbi_free(conninfo);
    return rc;
}

static dbi_rc capture_collect(void *arg, dbi_snapshot *snapshot) {
    dbi_capture *capture = arg;
    const dbi_label labels[] = {{"flow", capture->name}};
    dbi_capture_view view;
    dbi_rc rc = DBI_OK;

    if (capture->fork != dbi__fork_now()) /* the parent shows them */
        return DBI_OK;
    dbi_capture_read(capture, &view);
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"dbint_flow_capture_transactions_total", view.transactions},
        {"dbint_flow_capture_changes_total", view.inserts + view.updates + view.deletes + view.truncates},
        {"dbint_flow_capture_read_bytes_total", view.bytes},
        {"dbint_flow_capture_delivered_messages_total", view.outlet.delivered},
        {"dbint_flow_capture_dead_letters_total", view.dead_letters},
        {"dbint_flow_capture_connects_total", view.connects},
        {"dbint_flow_capture_stalls_total", view.stalls},
    };
    const struct {
        const char *name;
        double value;
    } gauges[] = {
        {"dbint_flow_capture_streaming", view.state == DBI_CAPTURE_STREAMING},
        {"dbint_flow_capture_lag_bytes",
         view.server_end > view.confirmed && view.confirmed > 0 ? (double)(view.server_end - view.confirmed) : 0},
        {"dbint_flow_capture_undelivered_messages", (double)view.outlet.undelivered},
        {"dbint_flow_capture_spooled_bytes", (double)view.spooled_bytes},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters && rc == DBI_OK; i++)
        rc = dbi_snapshot_add_counter(snapshot, counters[i].name, labels, 1, counters[i].value);
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges && rc == DBI_OK; i++)
        rc = dbi_snapshot_add_gauge(snapshot, gauges[i].name, labels, 1, gauges[i].value);
    return rc;
}

dbi_rc dbi_capture_new(dbi_capture **capture_out, const dbi_capture_config *config, dbi_err *err) {
    dbi_capture *capture;
    dbi_rc rc = config_check(config, err);

    *capture_out = NULL;
    if (rc != DBI_OK)
        return rc;
    capture = dbi_calloc(1, sizeof *capture);
    if (capture == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a capture");
    dbi__fork_watch();
    capture->fork = dbi__fork_now();
    (void)pthread_mutex_init(&capture->lock, NULL);
    capture->outlet = config->outlet;
    capture->start = config->start;
    capture->streaming = config->streaming;
    capture->messages = config->messages;
    capture->connect_timeout = config->connect_timeout;
    capture->feedback_ns = config->feedback;
    capture->backoff_min = config->backoff_min;
    capture->backoff_max = config->backoff_max;
    capture->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (capture->stop_fd < 0)
        rc = dbi_err_sys(err, DBI_ESYS, errno, "a descriptor to stop a capture with");
    else if (!text_copy(&capture->name, config->name) || !text_copy(&capture->slot, config->slot) ||
             !text_copy(&capture->publication, config->publication) || !text_copy(&capture->prefix, config->prefix) ||
             !text_copy(&capture->version, config->version) ||
             !text_copy(&capture->dead_letter_topic, config->dead_letter_topic))
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a capture");
    if (rc == DBI_OK)
        rc = pool_make(&capture->walsender, config, true, err);
    if (rc == DBI_OK)
        rc = pool_make(&capture->catalogue, config, false, err);
    if (rc == DBI_OK)
        rc = dbi_pgoutput_new(&capture->decoder, err);
    if (rc == DBI_OK)
        rc = dbi_relations_new(&capture->relations, err);
    if (rc == DBI_OK)
        rc = dbi_spool_new(&capture->spool, config->spool_memory, config->spool_directory, err);
    if (rc != DBI_OK) {
        dbi_capture_free(capture);
        return rc;
    }
    dbi_source_add(&capture->source, capture_collect, capture);
    *capture_out = capture;
    return DBI_OK;
}

static void tables_clear(dbi_capture *capture) {
    for (size_t i = 0; i < TABLE_BUCKETS; i++)
        while (capture->tables[i] != NULL) {
            capture_table *table = capture->tables[i];

            capture->tables[i] = table->next;
            dbi_free(table);
        }
    capture->last = NULL;
}

void dbi_capture_free(dbi_capture *capture) {
    if (capture == NULL)
        return;
    dbi_source_remove(&capture->source);
    if (capture->fork != dbi__fork_now()) { /* a child's copy: what the thread was in the middle of stays as it is */
        if (capture->stop_fd >= 0)
            (void)close(capture->stop_fd);
        return;
    }
    if (capture->started) {
        dbi_capture_stop(capture, dbi_clock_now(NULL));
        (void)pthread_join(capture->thread, NULL);
    }
    tables_clear(capture);
    dbi_spool_free(capture->spool);
    dbi_envelope_free(capture->envelope);
    dbi_relations_free(capture->relations);
    dbi_pgoutput_free(capture->decoder);
    dbi_pool_free(capture->catalogue);
    dbi_pool_free(capture->walsender);
    if (capture->stop_fd >= 0)
        (void)close(capture->stop_fd);
    (void)pthread_mutex_destroy(&capture->lock);
    dbi_free(capture->name);
    dbi_free(capture->slot);
    dbi_free(capture->publication);
    dbi_free(capture->prefix);
    dbi_free(capture->version);
    dbi_free(capture->dead_letter_topic);
    dbi_free(capture);
}

/* --- feedback and waiting --- */

static bool stopping(const dbi_capture *capture) {
    return atomic_load_explicit(&capture->stopping, memory_order_acquire);
}

static int64_t stop_deadline(const dbi_capture *capture) {
    return stopping(capture) ? (int64_t)atomic_load(&capture->stop_at) : DBI_FOREVER;
}

static int64_t sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Says what is confirmed, where that is due or asked for. */
static dbi_rc feedback(dbi_capture *capture, dbi_err *err) {
    uint64_t confirmed = dbi_outlet_confirmed(capture->outlet);
    int64_t now = dbi_clock_now(NULL);
    dbi_rc rc = DBI_OK;

    commits_advance(capture, confirmed);
    if (capture->conn == NULL)
        return DBI_OK;
    if (confirmed > capture->told && capture->feedback_at > now + FEEDBACK_SOON)
        capture->feedback_at = now + FEEDBACK_SOON;
    if (capture->unsent)
        rc = dbi_replication_flush(capture->conn, &capture->unsent, err);
    if (rc != DBI_OK || capture->unsent || (!capture->answer && now < capture->feedback_at))
        return rc;
    /* 0 = invalid to the server: nothing has been confirmed yet */
    rc = dbi_replication_feedback(capture->conn, capture->now.received > confirmed ? capture->now.received : confirmed,
                                  confirmed, &capture->unsent, err);
    capture->told = confirmed;
    capture->answer = false;
    capture->feedback_at = now + capture->interval;
    dbi_pool_tidy(capture->catalogue);
    return rc;
}

/* Waits for the outlet, the stop and, with `reading`, the server, until feedback is due or the deadline passes. */
static dbi_rc capture_poll(dbi_capture *capture, bool reading, int64_t deadline, dbi_err *err) {
    PGconn *pq = capture->conn != NULL ? dbi_conn_pq(capture->conn) : NULL;
    struct pollfd fds[3] = {
        {.fd = dbi_outlet_fd(capture->outlet), .events = POLLIN},
        {.fd = stopping(capture) ? -1 : capture->stop_fd, .events = POLLIN},
        {.fd = pq != NULL ? PQsocket(pq) : -1},
    };
    int64_t left = dbi_clock_left(NULL, sooner(deadline, pq != NULL ? capture->feedback_at : DBI_FOREVER));
    struct timespec timeout;

    left = sooner(left, DBI_NS_PER_S); /* and look what the brokers say */
    if (pq != NULL && PQsslInUse(pq))
        left = sooner(left, TLS_SLICE);
    fds[2].events = (short)((reading ? POLLIN : 0) | (capture->unsent ? POLLOUT : 0));
    timeout = dbi_clock_timespec(left);
    if (ppoll(fds, 3, &timeout, NULL) < 0 && errno != EINTR)
        return dbi_err_sys(err, DBI_ESYS, errno, "waiting for the replication stream");
    if ((fds[2].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 && !reading)
        return dbi_err_set(err, DBI_EUNREACHABLE, "replication: the connection to %s is lost",
                           dbi_conn_place(capture->conn));
    return DBI_OK;
}

/* What the brokers say while messages wait for them. */
static void trouble_note(dbi_capture *capture) {
    dbi_err trouble;

    if (dbi_outlet_idle(capture->outlet))
        dbi_err_reset(&capture->now.error);
    else if (dbi_outlet_trouble(capture->outlet, &trouble) != DBI_OK)
        capture->now.error = trouble;
    else
        dbi_err_reset(&capture->now.error);
}

static dbi_rc stopped(dbi_err *err) {
    return dbi_err_set(err, DBI_EINTR, "the capture was stopped");
}

/* The outlet is full: nothing is read until half of it has been delivered, or `all`. */
static dbi_rc capture_stall(dbi_capture *capture, bool all, dbi_err *err) {
    capture->now.stalls++;
    for (;;) {
        dbi_rc rc = dbi_outlet_wait_room(capture->outlet, 0, err);

        if (rc != DBI_ETIMEOUT && (rc != DBI_OK || !all || dbi_outlet_idle(capture->outlet)))
            return rc;
        if (dbi_clock_left(NULL, stop_deadline(capture)) == 0)
            return stopped(err);
        trouble_note(capture);
        view_publish(capture);
        rc = feedback(capture, err);
        if (rc == DBI_OK)
            rc = capture_poll(capture, false, stop_deadline(capture), err);
        if (rc != DBI_OK)
            return rc;
    }
}

/* --- sending --- */

/* Waits for room where there is none; what half of the window is too small for, for all of it. */
static dbi_rc outlet_send(dbi_capture *capture, dbi_outlet_topic *topic, const dbi_message *message, bool to_all,
                          dbi_err *err) {
    for (bool again = false;; again = true) {
        dbi_rc rc = to_all ? dbi_outlet_send_to_all(capture->outlet, topic, message, 0, err)
                           : dbi_outlet_send(capture->outlet, topic, message, 0, err);

        if (rc != DBI_EFULL)
            return rc;
        rc = capture_stall(capture, again, err);
        if (rc != DBI_OK)
            return rc;
    }
}

/* A topic, looked up in slices: the server gets its feedback while the brokers are away. */
static dbi_rc topic_get(dbi_capture *capture, const char *name, dbi_outlet_topic **topic, dbi_err *err) {
    for (;;) {
        int64_t slice = sooner(TOPIC_SLICE, capture->interval / 2);
        dbi_rc rc = dbi_outlet_topic_get(capture->outlet, name, dbi_clock_deadline(NULL, slice), topic, err);
        dbi_err late;

        if (rc != DBI_ETIMEOUT && rc != DBI_EUNREACHABLE && rc != DBI_EKAFKA_RETRIABLE)
            return rc;
        if (stopping(capture))
            return stopped(err);
        if (err != NULL)
            capture->now.error = *err;
        view_publish(capture);
        rc = feedback(capture, &late);
        if (rc == DBI_OK) /* a broker that refuses connections does so at once */
            rc = capture_poll(capture, false, dbi_clock_deadline(NULL, 200 * DBI_NS_PER_MS), &late);
        if (rc == DBI_OK)
            rc = dbi_outlet_poll(capture->outlet, &late);
        if (rc != DBI_OK) {
            if (err != NULL)
                *err = late;
            return rc;
        }
    }
}

/* A change that Kafka's limit does not let through: it ends the capture, or a note takes its place. */
static dbi_rc too_big(dbi_capture *capture, const dbi_relation *relation, const dbi_envelope_message *message,
                      dbi_err *err) {
    char lsn[DBI_LSN_SIZE], note[1024];
    dbi_outlet_topic *topic;
    dbi_message letter;
    int length;
    dbi_rc rc;

    (void)dbi_lsn_text(capture->origin.lo, lsn);
    if (capture->dead_letter_topic == NULL)
        return dbi_err_set(err, DBI_ETOOBIG,
                           "a change of table %.100s.%.100s at %s is a message of %zu bytes, more than the producer's "
                           "message.max.bytes: raise it together with the topic's max.message.bytes",
                           relation->nspname, relation->relname, lsn, message->value_length);
    rc = topic_get(capture, capture->dead_letter_topic, &topic, err);
    if (rc != DBI_OK)
        return rc;
    length = snprintf(note, sizeof note,
                      "{\"reason\":\"message too large\",%.*s,\"op\":\"%c\",\"lsn\":%" PRIu64
                      ",\"sequence\":[\"%" PRIu64 "\",\"%" PRIu64 "\"],\"bytes\":%zu}",
                      (int)(relation->json_length < 512 ? relation->json_length : 0), relation->json, message->op,
                      capture->origin.lo, capture->origin.hi, capture->origin.lo, message->value_length);
    letter = (dbi_message){.key = message->key,
                           .key_len = message->key_length,
                           .value = note,
                           .value_len = (size_t)length,
                           .partition = RD_KAFKA_PARTITION_UA};
    capture->now.dead_letters++;
    return outlet_send(capture, topic, &letter, false, err);
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
        rc = outlet_send(capture, topic, &message, to_all, err);
    }
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    if (rc == DBI_ETOOBIG && relation != NULL)
        rc = too_big(capture, relation, written, err);
    return rc;
}

/* --- tables --- */

static capture_table *table_find(dbi_capture *capture, uint32_t oid) {
    capture_table *table = capture->last;

    if (table != NULL && table->oid == oid)
        return table;
    table = capture->tables[oid % TABLE_BUCKETS];
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
    for (size_t i = 0; i < TABLE_BUCKETS; i++)
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
        table->next = capture->tables[relation->oid % TABLE_BUCKETS];
        capture->tables[relation->oid % TABLE_BUCKETS] = table;
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

static dbi_rc logical_send(dbi_capture *capture, const dbi_pgoutput_message *message, dbi_err *err) {
    char name[TOPIC_MAX + 1];
    dbi_origin origin = capture->origin;
    dbi_envelope_message written;
    dbi_outlet_topic *topic;
    dbi_rc rc;

    if (!message->message.transactional) { /* it comes when it is written, in no transaction */
        origin.hi = origin.lo = message->message.lsn;
        origin.xid = 0;
        origin.commit_us = origin.captured_us;
    }
    if (snprintf(name, sizeof name, "%s.message", capture->prefix) >= (int)sizeof name)
        return dbi_err_set(err, DBI_ECONFIG, "the topic prefix is longer than Kafka allows");
    rc = topic_get(capture, name, &topic, err);
    if (rc == DBI_OK)
        rc = dbi_envelope_logical(capture->envelope, message->message.prefix, message->message.content,
                                  message->message.length, &origin, &written, err);
    if (rc == DBI_OK)
        rc = envelope_send(capture, topic, NULL, &written, false, err);
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
    dbi_outlet_mark(capture->outlet, end);
    commits_add(capture, end, commit_us);
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
        if (n % FRAMES == FRAMES - 1) {
            rc = dbi_outlet_poll(capture->outlet, err);
            if (rc == DBI_OK)
                rc = feedback(capture, err);
            view_publish(capture);
            if (rc == DBI_OK && stopping(capture)) /* it will come again, whole */
                rc = stopped(err);
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

static dbi_rc change_take(dbi_capture *capture, const dbi_frame *frame, dbi_err *err) {
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

static dbi_rc frame_take(dbi_capture *capture, const dbi_frame *frame, dbi_err *err) {
    if (frame->end > capture->now.server_end)
        capture->now.server_end = frame->end;
    capture->now.server_end_at = dbi_clock_now(NULL);
    if (frame->kind == DBI_FRAME_CHANGE) {
        capture->now.bytes += frame->length;
        return change_take(capture, frame, err);
    }
    capture->answer = capture->answer || frame->reply;
    if (!capture->in_transaction && !capture->in_stream) { /* all that committed before it has been read */
        if (frame->end > capture->now.received)
            capture->now.received = frame->end;
        dbi_outlet_mark(capture->outlet, frame->end);
    }
    return DBI_OK;
}

/* --- a session --- */

/* The same cluster as before, and not an earlier state of it. */
static dbi_rc session_identify(dbi_capture *capture, uint64_t start, int64_t deadline, dbi_err *err) {
    char at[DBI_LSN_SIZE], wanted[DBI_LSN_SIZE];
    PGresult *result = NULL;
    unsigned high, low;
    dbi_rc rc = dbi_conn_exec(capture->conn, "IDENTIFY_SYSTEM", deadline, &result, err);

    if (rc == DBI_OK && (PQntuples(result) != 1 || PQnfields(result) < 4 ||
                         sscanf(PQgetvalue(result, 0, 2), "%X/%X", &high, &low) != 2))
        rc = dbi_err_set(err, DBI_ESERVER, "replication: IDENTIFY_SYSTEM was answered with what cannot be read");
    if (rc == DBI_OK && capture->system[0] == '\0') {
        (void)snprintf(capture->system, sizeof capture->system, "%s", PQgetvalue(result, 0, 0));
    } else if (rc == DBI_OK && strcmp(capture->system, PQgetvalue(result, 0, 0)) != 0) {
        rc = dbi_err_set(err, DBI_ECONFIG,
                         "%s is another cluster (system identifier %.24s) than the one that was read from (%s)",
                         dbi_conn_place(capture->conn), PQgetvalue(result, 0, 0), capture->system);
    }
    if (rc == DBI_OK && ((uint64_t)high << 32 | low) < start)
        rc = dbi_err_set(err, DBI_ECONFIG,
                         "the log of %s ends at %s, and changes up to %s have been delivered: the server has lost "
                         "commits (a failover, or a restored copy). Begin anew with a snapshot (manage.py run_flow "
                         "--resync)",
                         dbi_conn_place(capture->conn), dbi_lsn_text((uint64_t)high << 32 | low, at),
                         dbi_lsn_text(start, wanted));
    PQclear(result);
    return rc;
}

static dbi_rc envelope_make(dbi_capture *capture, dbi_err *err) {
    const dbi_envelope_options options = {.name = capture->prefix,
                                          .database = PQdb(dbi_conn_pq(capture->conn)),
                                          .version = capture->version};

    if (capture->envelope != NULL)
        return DBI_OK;
    return dbi_envelope_new(&capture->envelope, &options, err);
}

static dbi_rc session_open(dbi_capture *capture, dbi_err *err) {
    const dbi_interrupt interrupt = {.fd = capture->stop_fd};
    dbi_replication_options options = {.slot = capture->slot,
                                       .publication = capture->publication,
                                       .start = dbi_outlet_confirmed(capture->outlet),
                                       .streaming = capture->streaming,
                                       .messages = capture->messages};
    int64_t deadline = dbi_clock_deadline(NULL, capture->connect_timeout), timeout = DBI_FOREVER;
    dbi_rc rc = dbi_outlet_poll(capture->outlet, err);

    if (rc != DBI_OK)
        rc = dbi_outlet_reset(capture->outlet, err);
    if (options.start < capture->start)
        options.start = capture->start;
    tables_clear(capture);
    dbi_relations_clear(capture->relations);
    dbi_pgoutput_reset(capture->decoder);
    dbi_spool_clear(capture->spool);
    capture->in_transaction = capture->in_stream = capture->unsent = capture->answer = false;
    capture->told = 0;
    if (rc == DBI_OK)
        rc = dbi_pool_acquire_with(capture->walsender, &capture->conn, deadline, &interrupt, err);
    if (rc == DBI_OK)
        rc = session_identify(capture, options.start, deadline, err);
    if (rc == DBI_OK)
        rc = dbi_replication_timeout(capture->conn, deadline, &timeout, err);
    if (rc == DBI_OK)
        rc = envelope_make(capture, err);
    if (rc == DBI_OK)
        rc = dbi_replication_start(capture->conn, &options, deadline, err);
    if (rc != DBI_OK)
        return rc;
    capture->interval = sooner(capture->feedback_ns, timeout / 3);
    capture->feedback_at = dbi_clock_now(NULL) + capture->interval;
    capture->now.backend_pid = dbi_conn_pid(capture->conn);
    capture->now.connects++;
    dbi_err_reset(&capture->now.error);
    state_set(capture, DBI_CAPTURE_STREAMING);
    return DBI_OK;
}

/* Takes the frames that have come, up to a number: *idle = there are no more. */
static dbi_rc session_take(dbi_capture *capture, bool *idle, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    *idle = false;
    for (unsigned n = 0; n < FRAMES && rc == DBI_OK; n++) {
        dbi_frame frame;

        rc = dbi_replication_next(capture->conn, &frame, err);
        if (rc != DBI_OK || frame.kind == DBI_FRAME_NONE) {
            *idle = true;
            break;
        }
        rc = frame_take(capture, &frame, err);
        dbi_frame_reset(&frame);
    }
    return rc;
}

/* Carries until something ends it: DBI_OK = a stop was asked for. */
static dbi_rc session_run(dbi_capture *capture, dbi_err *err) {
    while (!stopping(capture)) {
        bool idle;
        dbi_rc rc = session_take(capture, &idle, err);

        if (rc == DBI_OK)
            rc = dbi_outlet_poll(capture->outlet, err);
        if (rc == DBI_OK)
            rc = feedback(capture, err);
        if (rc == DBI_OK && idle) {
            trouble_note(capture);
            view_publish(capture);
            rc = capture_poll(capture, true, DBI_FOREVER, err);
            if (rc == DBI_OK)
                rc = dbi_replication_receive(capture->conn, err);
        } else {
            view_publish(capture);
        }
        if (rc != DBI_OK)
            return rc;
    }
    return DBI_OK;
}

static void session_close(dbi_capture *capture, bool politely) {
    int64_t deadline = dbi_clock_deadline(NULL, CLOSING);
    const char *reason = "the session ended";
    dbi_err late;

    if (capture->conn == NULL)
        return;
    capture->answer = true; /* what is confirmed is told in any case, as far as it can be */
    if (feedback(capture, &late) != DBI_OK ||
        (politely && dbi_replication_end(capture->conn, deadline, &late) != DBI_OK))
        reason = late.msg;
    dbi_pool_release(capture->walsender, capture->conn, DBI_CONN_DISCARD, reason);
    capture->conn = NULL;
    capture->now.backend_pid = 0;
}

/* Waits until what was read is delivered, as long as the stop allows, and tells the server. */
static dbi_rc session_drain(dbi_capture *capture, dbi_err *err) {
    dbi_rc rc = DBI_OK;
    dbi_err late;

    state_set(capture, DBI_CAPTURE_DRAINING);
    while (rc == DBI_OK && !dbi_outlet_idle(capture->outlet)) {
        int64_t deadline = stop_deadline(capture);

        rc = dbi_outlet_wait(capture->outlet, sooner(deadline, dbi_clock_deadline(NULL, 200 * DBI_NS_PER_MS)), err);
        if (rc == DBI_ETIMEOUT && dbi_clock_left(NULL, deadline) == 0)
            break;
        if (rc == DBI_ETIMEOUT) {
            trouble_note(capture);
            view_publish(capture);
            rc = DBI_OK;
        }
        if (rc == DBI_OK && feedback(capture, &late) != DBI_OK) /* it will be told by the next session */
            session_close(capture, false);
    }
    return rc;
}

/* --- the thread --- */

/* Whether trying again may help. */
static bool may_heal(const dbi_err *err) {
    static const char *const final[] = {"0A", "22", "3D", "42", "55000", "58P01"};

    for (size_t i = 0; i < sizeof final / sizeof *final; i++)
        if (err->sqlstate[0] != '\0' && strncmp(err->sqlstate, final[i], strlen(final[i])) == 0)
            return false;
    switch (err->rc) {
    case DBI_EAUTH: /* whoever starts it again may have other credentials */
    case DBI_EINVAL:
    case DBI_ESTATE:
    case DBI_ECONFIG:
    case DBI_ETOOBIG:
    case DBI_EKAFKA:
    case DBI_EFORK:
    case DBI_ECLOSED:
    case DBI_ECORRUPT:
        return false;
    default:
        return true;
    }
}

/* Full jitter: anything between nothing and the limit, which doubles with each attempt. */
static int64_t backoff(dbi_capture *capture, unsigned attempt) {
    int64_t limit = capture->backoff_min;
    uint8_t random[16];
    uint64_t number;

    while (attempt-- > 0 && limit < capture->backoff_max)
        limit *= 2;
    if (limit > capture->backoff_max)
        limit = capture->backoff_max;
    dbi_uuid7(&capture->random, dbi_clock_wall_us() * DBI_NS_PER_US, random);
    memcpy(&number, random + 8, 8);
    return (int64_t)(number % (uint64_t)limit);
}

/* Between two attempts; deliveries go on. */
static void pause_for(dbi_capture *capture, int64_t time) {
    int64_t deadline = dbi_clock_deadline(NULL, time);
    dbi_err late;

    state_set(capture, DBI_CAPTURE_WAITING);
    while (!stopping(capture) && dbi_clock_left(NULL, deadline) > 0) {
        if (dbi_outlet_poll(capture->outlet, &late) != DBI_OK) { /* to be made anew: nothing more comes */
            struct pollfd fd = {.fd = capture->stop_fd, .events = POLLIN};

            (void)poll(&fd, 1, (int)(dbi_clock_left(NULL, deadline) / DBI_NS_PER_MS) + 1);
            break;
        }
        commits_advance(capture, dbi_outlet_confirmed(capture->outlet));
        view_publish(capture);
        (void)capture_poll(capture, false, deadline, &late);
    }
}

static void capture_carry(dbi_capture *capture) {
    unsigned attempts = 0;
    dbi_err err;

    while (!stopping(capture)) {
        int64_t began = dbi_clock_now(NULL);
        dbi_rc rc;

        dbi_err_reset(&err);
        state_set(capture, DBI_CAPTURE_CONNECTING);
        rc = session_open(capture, &err);
        if (rc == DBI_OK)
            rc = session_run(capture, &err);
        if (stopping(capture) && (rc == DBI_OK || rc == DBI_EINTR))
            break;
        session_close(capture, false);
        capture->now.error = err;
        if (!may_heal(&err)) {
            capture->result = err;
            return;
        }
        if (dbi_clock_now(NULL) - began > GOOD_SESSION)
            attempts = 0;
        pause_for(capture, backoff(capture, attempts++));
    }
    dbi_err_reset(&err);
    if (session_drain(capture, &err) != DBI_OK)
        capture->result = err;
    session_close(capture, capture->result.rc == DBI_OK || capture->result.rc == DBI_ETIMEOUT);
}

static void *capture_main(void *arg) {
    dbi_capture *capture = arg;

    capture_carry(capture);
    dbi_outlet_end(capture->outlet);
    dbi_pool_tidy(capture->catalogue);
    if (capture->result.rc != DBI_OK)
        capture->now.error = capture->result;
    state_set(capture, capture->result.rc == DBI_OK || stopping(capture) ? DBI_CAPTURE_STOPPED : DBI_CAPTURE_FAILED);
    atomic_store(&capture->ended, true);
    return NULL;
}

dbi_rc dbi_capture_start(dbi_capture *capture, dbi_err *err) {
    sigset_t all, before;
    eventfd_t value;
    int sys;
    dbi_rc rc;

    if (capture->fork != dbi__fork_now())
        return dbi_err_set(err, DBI_EFORK, "this capture was made before a fork, by the parent of this process");
    if (capture->started)
        return dbi_err_set(err, DBI_ESTATE, "the capture runs already");
    rc = dbi_outlet_begin(capture->outlet, err);
    if (rc != DBI_OK)
        return rc;
    atomic_store(&capture->stopping, false);
    atomic_store(&capture->stop_at, DBI_FOREVER);
    atomic_store(&capture->ended, false);
    (void)eventfd_read(capture->stop_fd, &value); /* EAGAIN: it was quiet */
    dbi_err_reset(&capture->result);
    /* Signals are the application's: none is to be handled on this thread. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    sys = pthread_create(&capture->thread, NULL, capture_main, capture);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys != 0) {
        dbi_outlet_end(capture->outlet);
        return dbi_err_sys(err, DBI_ESYS, sys, "the thread of a capture");
    }
    capture->started = true;
    return DBI_OK;
}

void dbi_capture_stop(dbi_capture *capture, int64_t deadline) {
    atomic_store(&capture->stop_at, deadline);
    atomic_store_explicit(&capture->stopping, true, memory_order_release);
    (void)eventfd_write(capture->stop_fd, 1);
}

dbi_rc dbi_capture_join(dbi_capture *capture, int64_t deadline, bool *ended, dbi_err *err) {
    *ended = true;
    if (capture->fork != dbi__fork_now())
        return dbi_err_set(err, DBI_EFORK, "this capture was made before a fork, by the parent of this process");
    if (!capture->started)
        return DBI_OK;
    while (!atomic_load(&capture->ended)) {
        *ended = dbi_clock_left(NULL, deadline) > 0;
        if (!*ended)
            return DBI_OK;
        (void)nanosleep(&(struct timespec){.tv_nsec = 5 * DBI_NS_PER_MS}, NULL);
    }
    (void)pthread_join(capture->thread, NULL);
    capture->started = false;
    if (capture->result.rc != DBI_OK && err != NULL)
        *err = capture->result;
    return capture->result.rc;
}
