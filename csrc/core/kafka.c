/* kafka.c - see kafka.h and kafka_int.h */
#include "kafka.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "clock.h"
#include "kafka_int.h"

static void kafka_once(void) {
    dbi__fork_watch();
    (void)pthread_atfork(dbi__kafka_before_fork, dbi__kafka_after_fork_parent, dbi__kafka_after_fork_child);
}

/* -- errors ------------------------------------------------------------------------------------------------------ */

dbi_rc dbi_kafka_rc(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return DBI_OK;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return DBI_EFULL;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return DBI_ETOOBIG;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
        return DBI_ETIMEOUT;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
        return DBI_EKAFKA_FATAL;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        return DBI_EAUTH;
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return DBI_EUNREACHABLE;
    case RD_KAFKA_RESP_ERR__STATE:
        return DBI_ESTATE;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return DBI_EINVAL;
    case RD_KAFKA_RESP_ERR__DESTROY:
        return DBI_ECLOSED;
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return DBI_EKAFKA_RETRIABLE;
    default:
        return DBI_EKAFKA;
    }
}

dbi_rc dbi_kafka_err(dbi_err *err, rd_kafka_resp_err_t code, const char *fmt, ...) {
    dbi_rc rc = dbi_kafka_rc(code);
    char what[256];
    va_list args;

    if (err == NULL)
        return rc;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    (void)dbi_err_set(err, rc, "%s: %s", what, rd_kafka_err2str(code));
    err->kafka = code;
    return rc;
}

dbi_rc dbi__kafka_error_take(dbi_err *err, rd_kafka_error_t *error, const char *what) {
    rd_kafka_resp_err_t code;
    dbi_rc rc;

    if (error == NULL)
        return DBI_OK;
    code = rd_kafka_error_code(error);
    if (rd_kafka_error_is_fatal(error))
        rc = DBI_EKAFKA_FATAL;
    else if (rd_kafka_error_txn_requires_abort(error))
        rc = DBI_EKAFKA_ABORT;
    else if (code == RD_KAFKA_RESP_ERR__TIMED_OUT)
        rc = DBI_ETIMEOUT;
    else if (rd_kafka_error_is_retriable(error))
        rc = DBI_EKAFKA_RETRIABLE;
    else
        rc = dbi_kafka_rc(code);
    rc = dbi_err_set(err, rc, "%s: %s", what, rd_kafka_error_string(error));
    if (err != NULL)
        err->kafka = code;
    rd_kafka_error_destroy(error);
    return rc;
}

dbi_rc dbi__kafka_fail(dbi_kafka *kafka, dbi_err *err, rd_kafka_resp_err_t code, const char *what) {
    dbi_err trouble;
    dbi_rc rc = dbi_kafka_rc(code);

    if (rc != DBI_ETIMEOUT && rc != DBI_EUNREACHABLE)
        return dbi_kafka_err(err, code, "%s", what);
    /* "Timed out" is what the caller saw; what the brokers said is what helps. */
    rc = dbi_kafka_last_error(kafka, &trouble);
    if (rc == DBI_OK)
        return dbi_kafka_err(err, code, "%s", what);
    rc = dbi_err_set(err, rc, "%s: %.400s", what, trouble.msg);
    if (err != NULL)
        err->kafka = trouble.kafka;
    return rc;
}

int dbi__kafka_ms(int64_t deadline) {
    int64_t left = dbi_clock_left(NULL, deadline);

    if (left >= INT64_C(86400000) * DBI_NS_PER_MS)
        return 86400000;
    return (int)((left + DBI_NS_PER_MS - 1) / DBI_NS_PER_MS);
}

/* -- waiting ------------------------------------------------------------------------------------------------------ */

int dbi__slice_ms(const dbi__slices *slices) {
    int64_t slice = dbi_clock_deadline(NULL, slices->length);

    return dbi__kafka_ms(slices->deadline < slice ? slices->deadline : slice);
}

dbi_rc dbi__slice_next(dbi__slices *slices, dbi_err *err) {
    dbi_kafka *kafka = slices->kafka;
    dbi_rc rc;

    if (atomic_load(&kafka->state) == DBI__KAFKA_CLOSED && !slices->closing)
        return dbi_err_set(err, DBI_ECLOSED, "the Kafka client was closed meanwhile");
    if (kafka->check != NULL && (rc = kafka->check()) != DBI_OK)
        return dbi_err_set(err, rc, "waiting for a Kafka broker was interrupted");
    if (slices->restarts)
        slices->length += slices->length / 2;
    if (slices->length > DBI__KAFKA_SLICE_MAX)
        slices->length = DBI__KAFKA_SLICE_MAX;
    return DBI_OK;
}

bool dbi__slice_again(dbi__slices *slices, rd_kafka_resp_err_t code, dbi_rc *rc, dbi_err *err) {
    *rc = DBI_OK;
    if ((code != RD_KAFKA_RESP_ERR__TIMED_OUT && code != RD_KAFKA_RESP_ERR__TRANSPORT &&
         code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) ||
        dbi_clock_left(NULL, slices->deadline) == 0 || (*rc = dbi__slice_next(slices, err)) != DBI_OK)
        return false;
    if (code == RD_KAFKA_RESP_ERR__TRANSPORT) /* it may have answered at once */
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * DBI_NS_PER_MS}, NULL);
    return true;
}

rd_kafka_event_t *dbi__slice_poll(dbi__slices *slices, rd_kafka_queue_t *queue, dbi_rc *rc, dbi_err *err) {
    rd_kafka_event_t *event;

    *rc = DBI_OK;
    for (;;) {
        event = rd_kafka_queue_poll(queue, dbi__slice_ms(slices));
        if (event != NULL || dbi_clock_left(NULL, slices->deadline) == 0)
            return event;
        *rc = dbi__slice_next(slices, err);
        if (*rc != DBI_OK)
            return NULL;
    }
}

void dbi_kafka_set_check(dbi_kafka *kafka, dbi_rc (*check)(void)) {
    kafka->check = check;
}

/* -- what librdkafka tells us ------------------------------------------------------------------------------------- */

/* On any of librdkafka's threads: no call back into it, no allocation. */
static void kafka_log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    dbi_kafka *kafka = rk != NULL ? rd_kafka_opaque(rk) : NULL;
    dbi_kafka_log *log;

    if (kafka == NULL)
        return;
    (void)pthread_mutex_lock(&kafka->lock);
    log = &kafka->logs[(kafka->log_head + kafka->log_count) % DBI__KAFKA_LOGS];
    if (kafka->log_count < DBI__KAFKA_LOGS) {
        kafka->log_count++;
    } else {
        kafka->log_head = (kafka->log_head + 1) % DBI__KAFKA_LOGS;
        kafka->log_lost++;
    }
    log->wall_us = dbi_clock_wall_us();
    log->level = level;
    (void)snprintf(log->facility, sizeof log->facility, "%s", facility);
    (void)snprintf(log->text, sizeof log->text, "%s", text);
    (void)pthread_mutex_unlock(&kafka->lock);
}

/* On librdkafka's background thread. */
static void kafka_token_cb(rd_kafka_t *rk, const char *config, void *opaque) {
    dbi_kafka *kafka = opaque;

    (void)rk;
    (void)config;
    (void)pthread_mutex_lock(&kafka->lock);
    kafka->token_wanted = true;
    (void)pthread_cond_broadcast(&kafka->wake);
    (void)pthread_mutex_unlock(&kafka->lock);
}

void dbi__kafka_note_fatal(dbi_kafka *kafka) {
    char text[sizeof kafka->fatal_text] = "";
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(kafka->rk, text, sizeof text);

    (void)pthread_mutex_lock(&kafka->lock);
    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR && kafka->fatal == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka->fatal = fatal;
        memcpy(kafka->fatal_text, text, sizeof text);
    }
    (void)pthread_mutex_unlock(&kafka->lock);
}

static void kafka_note_error(dbi_kafka *kafka, rd_kafka_event_t *event) {
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);

    if (rd_kafka_event_error_is_fatal(event) || code == RD_KAFKA_RESP_ERR__FATAL)
        dbi__kafka_note_fatal(kafka);
    (void)pthread_mutex_lock(&kafka->lock);
    switch (dbi_kafka_rc(code)) {
    case DBI_EAUTH:
        kafka->refused = true;
        kafka->refused_at = dbi_clock_now(NULL);
        break;
    case DBI_EUNREACHABLE:
        break;
    default:
        text = NULL;
    }
    if (text != NULL) {
        if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
            kafka->all_down = true;
        /* "1/1 brokers are down" says less than the line before it. */
        if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || kafka->last_text[0] == '\0') {
            kafka->last_broker = code;
            (void)snprintf(kafka->last_text, sizeof kafka->last_text, "%s", text);
        }
        atomic_store_explicit(&kafka->troubled, true, memory_order_relaxed);
    }
    (void)pthread_cond_broadcast(&kafka->wake);
    (void)pthread_mutex_unlock(&kafka->lock);
}

static void kafka_note_stats(dbi_kafka *kafka, rd_kafka_event_t *event) {
    char *stats = dbi_strdup(rd_kafka_event_stats(event)); /* without memory, the previous document stays */
    char *old = NULL;

    (void)pthread_mutex_lock(&kafka->lock);
    if (stats != NULL) {
        old = kafka->stats;
        kafka->stats = stats;
    }
    (void)pthread_mutex_unlock(&kafka->lock);
    dbi_free(old);
}

void dbi__kafka_note(dbi_kafka *kafka, rd_kafka_event_t *event) {
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_ERROR:
        kafka_note_error(kafka, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        kafka_note_stats(kafka, event);
        break;
    default:
        break;
    }
}

void dbi__kafka_serve(dbi_kafka *kafka) {
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(kafka->events, 0)) != NULL) {
        dbi__kafka_note(kafka, event);
        rd_kafka_event_destroy(event);
    }
}

/* After a change, a refusal may still be about a connection begun with the old credentials. And one of the new ones may
 * never be heard of: librdkafka does not repeat an error that it reported within 30 s. So they get the time in which it
 * connects again at its slowest (reconnect.backoff.max.ms). */
#define REFUSED_STALE_NS (2 * DBI_NS_PER_S)
#define REFUSED_RETRY_NS (10 * DBI_NS_PER_S)

bool dbi__kafka_refused(dbi_kafka *kafka) {
    bool refused;

    (void)pthread_mutex_lock(&kafka->lock);
    refused = kafka->refused &&
              (kafka->changed_at == 0 || kafka->refused_at - kafka->changed_at >= REFUSED_STALE_NS ||
               dbi_clock_now(NULL) - kafka->changed_at >= REFUSED_RETRY_NS);
    (void)pthread_mutex_unlock(&kafka->lock);
    return refused;
}

void dbi__kafka_well(dbi_kafka *kafka) {
    if (!atomic_load_explicit(&kafka->troubled, memory_order_relaxed))
        return;
    (void)pthread_mutex_lock(&kafka->lock);
    atomic_store_explicit(&kafka->troubled, false, memory_order_relaxed);
    kafka->all_down = kafka->refused = false;
    kafka->last_broker = RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka->last_text[0] = '\0';
    (void)pthread_mutex_unlock(&kafka->lock);
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static atomic_uint_fast64_t kafka_count; /* clients made in this process */

static dbi_rc kafka_conf_all(rd_kafka_conf_t *conf, const dbi_kafka_property *properties, size_t count, dbi_err *err) {
    for (size_t i = 0; i < count; i++) {
        dbi_rc rc = dbi__kafka_conf_set(conf, properties[i].name, properties[i].value, err);
        if (rc != DBI_OK)
            return rc;
    }
    return DBI_OK;
}

static bool kafka_conf_is(const rd_kafka_conf_t *conf, const char *name, const char *value) {
    char buf[64] = "";
    size_t size = sizeof buf;

    return rd_kafka_conf_get(conf, name, buf, &size) == RD_KAFKA_CONF_OK && strcmp(buf, value) == 0;
}

/* A copy of the property's value; NULL where it is not set. */
static dbi_rc kafka_conf_text(const rd_kafka_conf_t *conf, const char *name, char **text, dbi_err *err) {
    size_t size = 0;

    if (rd_kafka_conf_get(conf, name, NULL, &size) != RD_KAFKA_CONF_OK)
        return DBI_OK;
    *text = dbi_malloc(size);
    if (*text == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a Kafka client");
    (void)rd_kafka_conf_get(conf, name, *text, &size);
    return DBI_OK;
}

dbi_rc dbi__kafka_init(dbi_kafka *kafka, rd_kafka_type_t type, const dbi_kafka_property *defaults,
                       size_t default_count, const dbi_kafka_property *properties, size_t count, int events,
                       dbi_err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_condattr_t attr;
    dbi_rc rc;

    (void)pthread_once(&once, kafka_once);
    kafka->type = type;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&kafka->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&kafka->lock, NULL);
    (void)pthread_mutex_init(&kafka->opening, NULL);

    kafka->conf = rd_kafka_conf_new();
    rc = kafka_conf_all(kafka->conf, defaults, default_count, err);
    if (rc == DBI_OK)
        rc = kafka_conf_all(kafka->conf, properties, count, err);
    if (rc != DBI_OK)
        return rc;
    rc = kafka_conf_text(kafka->conf, "client.id", &kafka->client_id, err);
    if (rc == DBI_OK)
        rc = kafka_conf_text(kafka->conf, "sasl.username", &kafka->username, err);
    if (rc != DBI_OK)
        return rc;
    kafka->number = atomic_fetch_add_explicit(&kafka_count, 1, memory_order_relaxed) + 1;
    rd_kafka_conf_set_opaque(kafka->conf, kafka);
    dbi__kafka_follow_sockets(kafka->conf);
    rd_kafka_conf_set_log_cb(kafka->conf, kafka_log_cb);
    rd_kafka_conf_set_events(kafka->conf, events | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
    /* Its client-final message repeats the client's nonce, which Kafka accepted before version 4 (librdkafka's pull
     * request 4895). */
    kafka->scram_in_doubt = rd_kafka_version() < 0x020601ff &&
                            (kafka_conf_is(kafka->conf, "sasl.mechanisms", "SCRAM-SHA-512") ||
                             kafka_conf_is(kafka->conf, "sasl.mechanisms", "SCRAM-SHA-256"));
    if (kafka_conf_is(kafka->conf, "sasl.mechanisms", "OAUTHBEARER") &&
        !kafka_conf_is(kafka->conf, "sasl.oauthbearer.method", "oidc") &&
        !kafka_conf_is(kafka->conf, "enable.sasl.oauthbearer.unsecure.jwt", "true")) {
        kafka->token_callback = true;
        rd_kafka_conf_set_oauthbearer_token_refresh_cb(kafka->conf, kafka_token_cb);
        rd_kafka_conf_enable_sasl_queue(kafka->conf, 1);
    }
    return DBI_OK;
}

void dbi__kafka_reset(dbi_kafka *kafka) {
    dbi_source_remove(&kafka->source); /* before anything that its metrics show is gone */
    if (kafka->conf != NULL)
        rd_kafka_conf_destroy(kafka->conf);
    kafka->conf = NULL;
    dbi_free(kafka->stats);
    dbi_free(kafka->client_id);
    dbi_free(kafka->username);
    kafka->stats = kafka->client_id = kafka->username = NULL;
    (void)pthread_cond_destroy(&kafka->wake);
    (void)pthread_mutex_destroy(&kafka->lock);
    (void)pthread_mutex_destroy(&kafka->opening);
}

/* @locks kafka.opening held */
static dbi_rc kafka_open(dbi_kafka *kafka, dbi_err *err) {
    char text[400] = "";
    /* A copy: a failed rd_kafka_new may already have changed the configuration that it hands back. */
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(kafka->conf);
    rd_kafka_t *rk = rd_kafka_new(kafka->type, conf, text, sizeof text);
    rd_kafka_error_t *error;
    dbi_rc rc = DBI_OK;

    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return dbi_err_set(err, DBI_ECONFIG, "the Kafka client cannot be made from its configuration: %s", text);
    }
    kafka->rk = rk;
    kafka->events = rd_kafka_queue_get_main(rk);
    if (kafka->token_callback && (error = rd_kafka_sasl_background_callbacks_enable(rk)) != NULL)
        rc = dbi__kafka_error_take(err, error, "OAUTHBEARER token requests");
    if (rc == DBI_OK && kafka->on_open != NULL)
        rc = kafka->on_open(kafka->on_open_arg, err);
    if (rc != DBI_OK) {
        rd_kafka_queue_destroy(kafka->events);
        rd_kafka_destroy(rk);
        kafka->events = NULL;
        kafka->rk = NULL;
    }
    return rc;
}

bool dbi_kafka_forked(const dbi_kafka *kafka) {
    uint64_t fork = atomic_load_explicit(&kafka->fork, memory_order_relaxed);

    return fork != 0 && fork != dbi__fork_now();
}

static dbi_rc kafka_forked(dbi_err *err) {
    return dbi_err_set(err, DBI_EFORK,
                       "this Kafka client was opened before a fork and belongs to the parent process: make one in the "
                       "child, or make it before the fork and first use it after");
}

dbi_rc dbi__kafka_enter_slow(dbi_kafka *kafka, dbi_err *err) {
    uint64_t none = 0;
    dbi_rc rc = DBI_OK;

    /* The generation is set before the lock is taken, so that a child forked meanwhile never waits for that lock. */
    (void)atomic_compare_exchange_strong(&kafka->fork, &none, dbi__fork_now());
    if (dbi_kafka_forked(kafka))
        return kafka_forked(err);
    (void)pthread_mutex_lock(&kafka->opening);
    if (atomic_load(&kafka->state) == DBI__KAFKA_NEW) {
        rc = kafka_open(kafka, err);
        if (rc == DBI_OK)
            atomic_store(&kafka->state, DBI__KAFKA_OPEN);
    }
    if (rc == DBI_OK) {
        atomic_fetch_add(&kafka->users, 1);
        if (atomic_load(&kafka->state) == DBI__KAFKA_CLOSED) {
            dbi__kafka_leave(kafka);
            rc = dbi_err_set(err, DBI_ECLOSED, "the Kafka client is closed");
        }
    }
    (void)pthread_mutex_unlock(&kafka->opening);
    return rc;
}

static void kafka_wait_users(const dbi_kafka *kafka) {
    while (atomic_load(&kafka->users) > 0) {
        const struct timespec pause = {.tv_sec = 0, .tv_nsec = DBI_NS_PER_MS};
        (void)nanosleep(&pause, NULL);
    }
}

dbi_rc dbi__kafka_renew(dbi_kafka *kafka, void (*end)(void *arg), void *arg, dbi_err *err) {
    dbi_rc rc;

    (void)pthread_mutex_lock(&kafka->opening);
    if (atomic_load(&kafka->state) == DBI__KAFKA_CLOSED) {
        rc = dbi_err_set(err, DBI_ECLOSED, "the Kafka client is closed");
        goto done;
    }
    if (atomic_load(&kafka->state) == DBI__KAFKA_OPEN) {
        atomic_store(&kafka->state, DBI__KAFKA_NEW);
        kafka_wait_users(kafka);
        end(arg);
        kafka->rk = NULL;
    }
    (void)pthread_mutex_lock(&kafka->lock);
    kafka->fatal = RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka->fatal_text[0] = '\0';
    (void)pthread_mutex_unlock(&kafka->lock);
    rc = kafka_open(kafka, err);
    if (rc == DBI_OK)
        atomic_store(&kafka->state, DBI__KAFKA_OPEN);
done:
    (void)pthread_mutex_unlock(&kafka->opening);
    return rc;
}

dbi_rc dbi__kafka_begin_close(dbi_kafka *kafka, bool *was_open, dbi_err *err) {
    int before;

    *was_open = false;
    if (dbi_kafka_forked(kafka))
        return kafka_forked(err);
    (void)pthread_mutex_lock(&kafka->opening);
    before = atomic_exchange(&kafka->state, DBI__KAFKA_CLOSED);
    (void)pthread_mutex_unlock(&kafka->opening);
    (void)pthread_mutex_lock(&kafka->lock);
    (void)pthread_cond_broadcast(&kafka->wake);
    (void)pthread_mutex_unlock(&kafka->lock);
    if (before == DBI__KAFKA_CLOSED)
        return dbi_err_set(err, DBI_ECLOSED, "the Kafka client is closed");
    *was_open = before == DBI__KAFKA_OPEN;
    kafka_wait_users(kafka);
    return DBI_OK;
}

/* -- what callers ask ---------------------------------------------------------------------------------------------- */

dbi_rc dbi_kafka_set_credentials(dbi_kafka *kafka, const char *username, const char *password, dbi_err *err) {
    char *name = NULL, *old;
    dbi_rc rc = dbi__kafka_enter(kafka, err);

    if (rc != DBI_OK)
        return rc;
    if ((name = dbi_strdup(username)) == NULL)
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for new SASL credentials");
    else
        rc = dbi__kafka_error_take(err, rd_kafka_sasl_set_credentials(kafka->rk, username, password),
                                   "new SASL credentials");
    if (rc == DBI_OK) {
        (void)pthread_mutex_lock(&kafka->lock);
        old = kafka->username;
        kafka->username = name;
        name = old;
        kafka->changed_at = dbi_clock_now(NULL);
        (void)pthread_mutex_unlock(&kafka->lock);
    }
    dbi_free(name);
    dbi__kafka_leave(kafka);
    if (rc == DBI_OK) { /* for a client that is made anew */
        (void)pthread_mutex_lock(&kafka->opening);
        rc = dbi__kafka_conf_set(kafka->conf, "sasl.username", username, err);
        if (rc == DBI_OK)
            rc = dbi__kafka_conf_set(kafka->conf, "sasl.password", password, err);
        (void)pthread_mutex_unlock(&kafka->opening);
    }
    return rc;
}

dbi_rc dbi_kafka_set_token(dbi_kafka *kafka, const char *token, int64_t expires_ms, const char *principal,
                           dbi_err *err) {
    char text[256] = "";
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(kafka, err);

    if (rc != DBI_OK)
        return rc;
    code = rd_kafka_oauthbearer_set_token(kafka->rk, token, expires_ms, principal, NULL, 0, text, sizeof text);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = dbi_err_set(err, dbi_kafka_rc(code), "the OAUTHBEARER token was not accepted: %s", text);
        if (err != NULL)
            err->kafka = code;
    }
    dbi__kafka_leave(kafka);
    return rc;
}

dbi_rc dbi_kafka_set_token_failure(dbi_kafka *kafka, const char *reason, dbi_err *err) {
    rd_kafka_resp_err_t code;
    dbi_rc rc = dbi__kafka_enter(kafka, err);

    if (rc != DBI_OK)
        return rc;
    code = rd_kafka_oauthbearer_set_token_failure(kafka->rk, reason);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = dbi_kafka_err(err, code, "reporting that there is no OAUTHBEARER token");
    dbi__kafka_leave(kafka);
    return rc;
}

dbi_rc dbi_kafka_wait_token_request(dbi_kafka *kafka, int64_t deadline, dbi_err *err) {
    struct timespec until = dbi_clock_timespec(deadline);
    bool wanted;
    dbi_rc rc = DBI_OK;

    if (dbi_kafka_forked(kafka))
        return kafka_forked(err);
    (void)pthread_mutex_lock(&kafka->lock);
    while (!kafka->token_wanted && atomic_load(&kafka->state) != DBI__KAFKA_CLOSED) {
        if (deadline == DBI_FOREVER)
            (void)pthread_cond_wait(&kafka->wake, &kafka->lock);
        else if (pthread_cond_timedwait(&kafka->wake, &kafka->lock, &until) != 0)
            break;
    }
    wanted = kafka->token_wanted;
    if (atomic_load(&kafka->state) == DBI__KAFKA_CLOSED)
        rc = dbi_err_set(err, DBI_ECLOSED, "the Kafka client is closed");
    else if (!wanted)
        rc = dbi_err_set(err, DBI_ETIMEOUT, "no OAUTHBEARER token was asked for");
    kafka->token_wanted = false;
    (void)pthread_mutex_unlock(&kafka->lock);
    return rc;
}

void dbi__kafka_labels(const dbi_kafka *kafka, dbi_label labels[DBI__KAFKA_LABELS], char number[24]) {
    (void)snprintf(number, 24, "%llu", (unsigned long long)kafka->number);
    labels[0] = (dbi_label){"client_id", kafka->client_id != NULL ? kafka->client_id : ""};
    labels[1] = (dbi_label){"client", number};
}

size_t dbi_kafka_take_logs(dbi_kafka *kafka, dbi_kafka_log *logs, size_t capacity, uint64_t *lost) {
    size_t count = 0;

    *lost = 0;
    if (dbi_kafka_forked(kafka))
        return 0;
    (void)pthread_mutex_lock(&kafka->lock);
    while (count < capacity && kafka->log_count > 0) {
        logs[count++] = kafka->logs[kafka->log_head];
        kafka->log_head = (kafka->log_head + 1) % DBI__KAFKA_LOGS;
        kafka->log_count--;
    }
    *lost = kafka->log_lost;
    kafka->log_lost = 0;
    (void)pthread_mutex_unlock(&kafka->lock);
    return count;
}

dbi_rc dbi_kafka_stats(dbi_kafka *kafka, char **json, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    *json = NULL;
    if (dbi_kafka_forked(kafka))
        return kafka_forked(err);
    (void)pthread_mutex_lock(&kafka->lock);
    if (kafka->stats != NULL && (*json = dbi_strdup(kafka->stats)) == NULL)
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the statistics");
    (void)pthread_mutex_unlock(&kafka->lock);
    return rc;
}

rd_kafka_resp_err_t dbi_kafka_fatal(dbi_kafka *kafka, dbi_err *err) {
    rd_kafka_resp_err_t code;

    dbi_err_reset(err);
    if (dbi_kafka_forked(kafka))
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    (void)pthread_mutex_lock(&kafka->lock);
    code = kafka->fatal;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)dbi_err_set(err, DBI_EKAFKA_FATAL, "%s: %s", rd_kafka_err2str(code), kafka->fatal_text);
    (void)pthread_mutex_unlock(&kafka->lock);
    if (err != NULL)
        err->kafka = code;
    return code;
}

dbi_rc dbi_kafka_last_error(dbi_kafka *kafka, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    dbi_err_reset(err);
    if (dbi_kafka_forked(kafka))
        return kafka_forked(err);
    (void)pthread_mutex_lock(&kafka->lock);
    if (kafka->refused && kafka->username != NULL && kafka->refused_at < kafka->changed_at)
        rc = dbi_err_set(err, DBI_EAUTH, "the broker has not let in user \"%.100s\" yet; before the change: %s",
                         kafka->username, kafka->last_text);
    else if (kafka->refused && kafka->username != NULL && kafka->scram_in_doubt)
        rc = dbi_err_set(err, DBI_EAUTH,
                         "the broker refuses user \"%.100s\", or librdkafka %s: with Kafka 4, SCRAM needs 2.6.1 or "
                         "newer: %s",
                         kafka->username, rd_kafka_version_str(), kafka->last_text);
    else if (kafka->refused && kafka->username != NULL)
        rc = dbi_err_set(err, DBI_EAUTH, "the broker refuses user \"%.100s\": %s", kafka->username, kafka->last_text);
    else if (kafka->refused)
        rc = dbi_err_set(err, DBI_EAUTH, "the broker refuses this client: %s", kafka->last_text);
    else if (kafka->all_down)
        rc = dbi_err_set(err, DBI_EUNREACHABLE, "no Kafka broker can be reached: %s", kafka->last_text);
    if (rc != DBI_OK && err != NULL)
        err->kafka = kafka->last_broker;
    (void)pthread_mutex_unlock(&kafka->lock);
    return rc;
}
