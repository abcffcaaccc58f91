/* capture.c - see capture.h; capture_int.h says what the other two files do
 *
 * What is confirmed. Commits are marked in the outlet by the end of their record, keepalives by the end of the log that
 * the server names in them, where no transaction is open. The outlet says which mark everything before has been
 * delivered up to, and that is what feedback tells. On the next start the server sends every transaction whose commit
 * record begins at or after it.
 */
#include "capture_int.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "fork_int.h"

#define GOOD_SESSION (30 * DBI_NS_PER_S) /* after one of these, attempts begin to be counted anew */

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

void dbi__capture_publish(dbi_capture *capture) {
    capture->now.confirmed = dbi_outlet_confirmed(capture->outlet);
    capture->now.spooled_bytes = dbi_spool_bytes(capture->spool);
    (void)pthread_mutex_lock(&capture->lock);
    capture->view = capture->now;
    (void)pthread_mutex_unlock(&capture->lock);
}

void dbi__capture_state_set(dbi_capture *capture, dbi_capture_state state) {
    capture->now.state = state;
    dbi__capture_publish(capture);
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
void dbi__capture_confirmed(dbi_capture *capture, uint64_t confirmed) {
    while (capture->commit_count > 0 && capture->commits[capture->commit_head].end <= confirmed) {
        capture->now.confirmed_commit_us = capture->commits[capture->commit_head].commit_us;
        capture->commit_head = (capture->commit_head + 1) % DBI__CAPTURE_COMMITS;
        capture->commit_count--;
    }
}

/* When there are too many, the newest stands for all that come after it. */
void dbi__capture_committed(dbi_capture *capture, uint64_t end, int64_t commit_us) {
    if (capture->commit_count < DBI__CAPTURE_COMMITS)
        capture->commit_count++;
    capture->commits[(capture->commit_head + capture->commit_count - 1) % DBI__CAPTURE_COMMITS] =
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

static bool messages_copy(dbi_capture *capture, const dbi_capture_config *config) {
    if (config->message_count == 0)
        return true;
    capture->messages = dbi_calloc(config->message_count, sizeof *capture->messages);
    for (size_t i = 0; capture->messages != NULL && i < config->message_count; i++) {
        capture->message_count++;
        if (!text_copy(&capture->messages[i], config->messages[i]))
            return false;
    }
    return capture->messages != NULL;
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
             !text_copy(&capture->dead_letter_topic, config->dead_letter_topic) || !messages_copy(capture, config))
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
    if (rc == DBI_OK)
        rc = dbi_sorter_new(&capture->sorter, capture->outlet, err);
    if (rc != DBI_OK) {
        dbi_capture_free(capture);
        return rc;
    }
    dbi_source_add(&capture->source, capture_collect, capture);
    *capture_out = capture;
    return DBI_OK;
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
    dbi__tables_clear(capture);
    dbi_sorter_free(capture->sorter);
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
    for (size_t i = 0; i < capture->message_count; i++)
        dbi_free(capture->messages[i]);
    dbi_free(capture->messages);
    dbi_free(capture);
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
    case DBI_EFORK:
    case DBI_ECLOSED:
    case DBI_ECORRUPT:
        return false;
    case DBI_EKAFKA: /* a producer that does not know whether a message has arrived */
        return err->kafka == RD_KAFKA_RESP_ERR__INCONSISTENT;
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

    dbi__capture_state_set(capture, DBI_CAPTURE_WAITING);
    while (!dbi__capture_stopping(capture) && dbi_clock_left(NULL, deadline) > 0) {
        if (dbi_outlet_poll(capture->outlet, &late) != DBI_OK) { /* to be made anew: nothing more comes */
            struct pollfd fd = {.fd = capture->stop_fd, .events = POLLIN};

            (void)poll(&fd, 1, (int)(dbi_clock_left(NULL, deadline) / DBI_NS_PER_MS) + 1);
            break;
        }
        dbi__capture_confirmed(capture, dbi_outlet_confirmed(capture->outlet));
        dbi__capture_publish(capture);
        (void)dbi__session_poll(capture, false, deadline, &late);
    }
}

/* A broker has refused what was sent together: which of it is too large is found out when it comes again. */
static bool refused_together(dbi_capture *capture, const dbi_err *err) {
    if (err->rc != DBI_ETOOBIG || !dbi_sorter_needed(capture->outlet) || capture->origin.hi <= capture->sort_until)
        return false;
    capture->sort_until = capture->origin.hi;
    capture->now.refusals++;
    return true;
}

static void capture_carry(dbi_capture *capture) {
    unsigned attempts = 0;
    dbi_err err;

    while (!dbi__capture_stopping(capture)) {
        int64_t began = dbi_clock_now(NULL);
        dbi_rc rc;

        dbi_err_reset(&err);
        dbi__capture_state_set(capture, DBI_CAPTURE_CONNECTING);
        rc = dbi__session_open(capture, &err);
        if (rc == DBI_OK)
            rc = dbi__session_run(capture, &err);
        if (dbi__capture_stopping(capture) && (rc == DBI_OK || rc == DBI_EINTR))
            break;
        dbi__session_close(capture, false);
        capture->now.error = err;
        if (refused_together(capture, &err))
            continue;
        if (!may_heal(&err)) {
            capture->result = err;
            return;
        }
        if (dbi_clock_now(NULL) - began > GOOD_SESSION)
            attempts = 0;
        pause_for(capture, backoff(capture, attempts++));
    }
    dbi_err_reset(&err);
    if (dbi__session_drain(capture, &err) != DBI_OK)
        capture->result = err;
    dbi__session_close(capture, capture->result.rc == DBI_OK || capture->result.rc == DBI_ETIMEOUT);
}

static void *capture_main(void *arg) {
    dbi_capture *capture = arg;

    capture_carry(capture);
    dbi_outlet_end(capture->outlet);
    dbi_pool_tidy(capture->catalogue);
    if (capture->result.rc != DBI_OK)
        capture->now.error = capture->result;
    dbi__capture_state_set(capture, capture->result.rc == DBI_OK || dbi__capture_stopping(capture)
                                        ? DBI_CAPTURE_STOPPED
                                        : DBI_CAPTURE_FAILED);
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
