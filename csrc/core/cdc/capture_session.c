/* capture_session.c - one connection to the server, from its start to its end
 *
 * Where it waits. In dbi__session_run, for the server; in dbi__session_stall, for Kafka, when the outlet is full, in
 * the middle of whatever is being sent; between two sessions, in pause_for (capture.c). All three look at the stop
 * descriptor and the outlet's, and the first two send feedback when it is due. Opening connections and asking the
 * catalogue end at once when a stop is asked for. A topic is looked up in slices of 2 s.
 */
#include "capture_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define TLS_SLICE (50 * DBI_NS_PER_MS) /* what TLS has decrypted does not make the socket readable */
#define FEEDBACK_SOON DBI_NS_PER_S     /* what is newly confirmed is told after so long */
#define CLOSING (2 * DBI_NS_PER_S)     /* to part with the server politely */
#define WAIT_SLICE (200 * DBI_NS_PER_MS)

/* --- feedback and waiting --- */

static int64_t stop_deadline(const dbi_capture *capture) {
    return dbi__capture_stopping(capture) ? (int64_t)atomic_load(&capture->stop_at) : DBI_FOREVER;
}

dbi_rc dbi__session_feedback(dbi_capture *capture, dbi_err *err) {
    uint64_t confirmed = dbi_outlet_confirmed(capture->outlet);
    int64_t now = dbi_clock_now(NULL);
    dbi_rc rc = DBI_OK;

    dbi__capture_confirmed(capture, confirmed);
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

dbi_rc dbi__session_poll(dbi_capture *capture, bool reading, int64_t deadline, dbi_err *err) {
    PGconn *pq = capture->conn != NULL ? dbi_conn_pq(capture->conn) : NULL;
    struct pollfd fds[3] = {
        {.fd = dbi_outlet_fd(capture->outlet), .events = POLLIN},
        {.fd = dbi__capture_stopping(capture) ? -1 : capture->stop_fd, .events = POLLIN},
        {.fd = pq != NULL ? PQsocket(pq) : -1},
    };
    int64_t left = dbi_clock_left(NULL, dbi__sooner(deadline, pq != NULL ? capture->feedback_at : DBI_FOREVER));
    struct timespec timeout;

    left = dbi__sooner(left, DBI_NS_PER_S); /* and look what the brokers say */
    if (pq != NULL && PQsslInUse(pq))
        left = dbi__sooner(left, TLS_SLICE);
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

dbi_rc dbi__session_stall(dbi_capture *capture, bool all, dbi_err *err) {
    capture->now.stalls++;
    for (;;) {
        dbi_rc rc = dbi_outlet_wait_room(capture->outlet, 0, err);

        if (rc != DBI_ETIMEOUT && (rc != DBI_OK || !all || dbi_outlet_idle(capture->outlet)))
            return rc;
        if (dbi_clock_left(NULL, stop_deadline(capture)) == 0)
            return dbi__capture_stopped(err);
        trouble_note(capture);
        dbi__capture_publish(capture);
        rc = dbi__session_feedback(capture, err);
        if (rc == DBI_OK)
            rc = dbi__session_poll(capture, false, stop_deadline(capture), err);
        if (rc != DBI_OK)
            return rc;
    }
}

dbi_rc dbi__session_settle(dbi_capture *capture, dbi_err *err) {
    for (;;) {
        int64_t deadline = stop_deadline(capture), slice = dbi_clock_deadline(NULL, WAIT_SLICE);
        dbi_rc rc = dbi_outlet_wait(capture->outlet, dbi__sooner(deadline, slice), err);

        if (rc != DBI_ETIMEOUT)
            return rc;
        if (dbi_clock_left(NULL, deadline) == 0)
            return dbi__capture_stopped(err);
        trouble_note(capture);
        dbi__capture_publish(capture);
        rc = dbi__session_feedback(capture, err);
        if (rc != DBI_OK)
            return rc;
    }
}

/* --- frames --- */

static dbi_rc frame_take(dbi_capture *capture, const dbi_frame *frame, dbi_err *err) {
    if (frame->end > capture->now.server_end)
        capture->now.server_end = frame->end;
    capture->now.server_end_at = dbi_clock_now(NULL);
    if (frame->kind == DBI_FRAME_CHANGE) {
        capture->now.bytes += frame->length;
        return dbi__change_take(capture, frame, err);
    }
    capture->answer = capture->answer || frame->reply;
    if (!capture->in_transaction && !capture->in_stream) { /* all that committed before it has been read */
        if (frame->end > capture->now.received)
            capture->now.received = frame->end;
        dbi_sorter_mark(capture->sorter, frame->end);
    }
    return DBI_OK;
}

/* --- its start and its end --- */

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

dbi_rc dbi__session_open(dbi_capture *capture, dbi_err *err) {
    const dbi_interrupt interrupt = {.fd = capture->stop_fd};
    dbi_replication_options options = {.slot = capture->slot,
                                       .publication = capture->publication,
                                       .start = dbi_outlet_confirmed(capture->outlet),
                                       .streaming = capture->streaming,
                                       .messages = capture->message_count > 0};
    int64_t deadline = dbi_clock_deadline(NULL, capture->connect_timeout), timeout = DBI_FOREVER;
    dbi_rc rc = dbi_outlet_poll(capture->outlet, err);

    if (rc != DBI_OK)
        rc = dbi_outlet_reset(capture->outlet, err);
    if (options.start < capture->start)
        options.start = capture->start;
    dbi__tables_clear(capture);
    dbi_relations_clear(capture->relations);
    dbi_pgoutput_reset(capture->decoder);
    dbi_spool_clear(capture->spool);
    dbi_sorter_clear(capture->sorter);
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
    capture->interval = dbi__sooner(capture->feedback_ns, timeout / 3);
    capture->feedback_at = dbi_clock_now(NULL) + capture->interval;
    capture->now.backend_pid = dbi_conn_pid(capture->conn);
    capture->now.connects++;
    dbi_err_reset(&capture->now.error);
    dbi__capture_state_set(capture, DBI_CAPTURE_STREAMING);
    return DBI_OK;
}

/* Takes the frames that have come, up to a number: *idle = there are no more. */
static dbi_rc session_take(dbi_capture *capture, bool *idle, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    *idle = false;
    for (unsigned n = 0; n < DBI__CAPTURE_FRAMES && rc == DBI_OK; n++) {
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

dbi_rc dbi__session_run(dbi_capture *capture, dbi_err *err) {
    while (!dbi__capture_stopping(capture)) {
        bool idle;
        dbi_rc rc = session_take(capture, &idle, err);

        if (rc == DBI_OK)
            rc = dbi_outlet_poll(capture->outlet, err);
        if (rc == DBI_OK)
            rc = dbi__session_feedback(capture, err);
        if (rc == DBI_OK && idle)
            rc = dbi__changes_sort(capture, err);
        if (rc == DBI_OK && idle) {
            trouble_note(capture);
            dbi__capture_publish(capture);
            rc = dbi__session_poll(capture, true, DBI_FOREVER, err);
            if (rc == DBI_OK)
                rc = dbi_replication_receive(capture->conn, err);
        } else {
            dbi__capture_publish(capture);
        }
        if (rc != DBI_OK)
            return rc;
    }
    return DBI_OK;
}

void dbi__session_close(dbi_capture *capture, bool politely) {
    int64_t deadline = dbi_clock_deadline(NULL, CLOSING);
    const char *reason = "the session ended";
    dbi_err late;

    if (capture->conn == NULL)
        return;
    capture->answer = true; /* what is confirmed is told in any case, as far as it can be */
    if (dbi__session_feedback(capture, &late) != DBI_OK ||
        (politely && dbi_replication_end(capture->conn, deadline, &late) != DBI_OK))
        reason = late.msg;
    dbi_pool_release(capture->walsender, capture->conn, DBI_CONN_DISCARD, reason);
    capture->conn = NULL;
    capture->now.backend_pid = 0;
}

dbi_rc dbi__session_drain(dbi_capture *capture, dbi_err *err) {
    dbi_rc rc = DBI_OK;
    dbi_err late;

    dbi__capture_state_set(capture, DBI_CAPTURE_DRAINING);
    while (rc == DBI_OK && !dbi_outlet_idle(capture->outlet)) {
        int64_t deadline = stop_deadline(capture), slice = dbi_clock_deadline(NULL, WAIT_SLICE);

        rc = dbi_outlet_wait(capture->outlet, dbi__sooner(deadline, slice), err);
        if (rc == DBI_ETIMEOUT && dbi_clock_left(NULL, deadline) == 0)
            break;
        if (rc == DBI_ETIMEOUT) {
            trouble_note(capture);
            dbi__capture_publish(capture);
            rc = DBI_OK;
        }
        if (rc == DBI_OK && dbi__session_feedback(capture, &late) != DBI_OK) /* it will be told by the next session */
            dbi__session_close(capture, false);
    }
    return rc;
}

