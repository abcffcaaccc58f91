/* kafka_int.h - the client that producer, consumer and admin are built on; inside the core only.
 *
 * Life: NEW (properties checked, conf kept) -> OPEN (rd_kafka_new done) -> CLOSED. Every call that uses `rk` stands
 * between dbi__kafka_enter and dbi__kafka_leave; closing waits until nobody is between them.
 */
#ifndef DBI_KAFKA_INT_H
#define DBI_KAFKA_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "clock.h"
#include "fork_int.h"
#include "kafka.h"
#include "metrics.h"

#define DBI__KAFKA_LOGS 128
#define DBI__KAFKA_SLICE (100 * DBI_NS_PER_MS) /* waits look up this often, to see a close or a signal */
#define DBI__KAFKA_SLICE_MAX (2 * DBI_NS_PER_S)

typedef enum dbi__kafka_state { DBI__KAFKA_NEW, DBI__KAFKA_OPEN, DBI__KAFKA_CLOSED } dbi__kafka_state;

struct dbi_kafka {
    rd_kafka_type_t type;
    rd_kafka_conf_t *conf; /* ours until the client is open */
    rd_kafka_t *rk;
    rd_kafka_queue_t *events; /* librdkafka's main queue: delivery reports, errors, statistics */
    atomic_int state;
    atomic_int users;      /* calls in progress */
    atomic_uint_fast64_t fork; /* the fork generation of the process that opened it; 0 = not opened */
    atomic_bool troubled;  /* last_* below is set */

    char *client_id;       /* the property */
    uint64_t number;       /* of the client in its process, from 1 on: client ids are often the same */
    dbi_rc (*check)(void); /* dbi_kafka_set_check */
    dbi_source source;     /* metrics; registered by those who have some */
    bool scram_in_doubt;   /* this librdkafka's SCRAM is refused by Kafka 4, whatever the password */
    bool token_callback;   /* librdkafka asks us for OAUTHBEARER tokens */

    pthread_mutex_t opening; /* taken before `lock`, held while the client is opened: librdkafka logs meanwhile */

    /* Called once, while opening, when the client has been made. */
    dbi_rc (*on_open)(void *arg, dbi_err *err);
    void *on_open_arg;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* CLOCK_MONOTONIC; something below changed, or room was made */
    bool token_wanted;
    char *username; /* SASL; NULL = none */
    char *stats;
    rd_kafka_resp_err_t fatal;
    char fatal_text[256];
    rd_kafka_resp_err_t last_broker; /* the last error of one broker */
    char last_text[256];
    bool all_down;
    bool refused; /* the credentials were */
    int64_t refused_at, changed_at; /* when, and when they were last changed; 0 = never */
    size_t log_head, log_count;
    uint64_t log_lost;
    dbi_kafka_log logs[DBI__KAFKA_LOGS];
};

/* Initialises; builds librdkafka's configuration from `defaults`, then `properties`. @thread owner */
DBI_NODISCARD dbi_rc dbi__kafka_init(dbi_kafka *kafka, rd_kafka_type_t type, const dbi_kafka_property *defaults,
                                     size_t default_count, const dbi_kafka_property *properties, size_t count,
                                     int events, dbi_err *err);

/* Sets one property. DBI_ECONFIG says what is wrong, names the nearest property there is, and shows no secret. */
DBI_NODISCARD dbi_rc dbi__kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, dbi_err *err);

/* Frees everything but librdkafka's client. @thread owner */
void dbi__kafka_reset(dbi_kafka *kafka);

/* Slow path of enter: opens a new client, or says why the call cannot be made. */
DBI_NODISCARD dbi_rc dbi__kafka_enter_slow(dbi_kafka *kafka, dbi_err *err);

/* Ends the open client by `end`, when no call is in progress, and opens another one; those who come meanwhile wait. Where
 * that fails, the next call tries again. @thread one @locks kafka.opening */
DBI_NODISCARD dbi_rc dbi__kafka_renew(dbi_kafka *kafka, void (*end)(void *arg), void *arg, dbi_err *err);

/* Sets CLOSED and waits for calls in progress. *was_open says whether there is a client to end; DBI_ECLOSED when
 * somebody else closes or has closed it, DBI_EFORK in a child. */
DBI_NODISCARD dbi_rc dbi__kafka_begin_close(dbi_kafka *kafka, bool *was_open, dbi_err *err);

/* Takes note of an error or statistics event; other kinds are ignored. @locks kafka */
void dbi__kafka_note(dbi_kafka *kafka, rd_kafka_event_t *event);

/* Keeps librdkafka's fatal error, the first one, if it has raised any. The client is open. @thread any @locks kafka */
void dbi__kafka_note_fatal(dbi_kafka *kafka);

/* Takes note of what has arrived on the main queue, without waiting (clients with no thread of their own). */
void dbi__kafka_serve(dbi_kafka *kafka);

/* All went well: forget the last error. */
void dbi__kafka_well(dbi_kafka *kafka);

/* Whether the brokers refuse the credentials that the client has now, as far as can be known. */
bool dbi__kafka_refused(dbi_kafka *kafka);

/* The client's trouble if it has one, else the error `code` of the call itself. */
dbi_rc dbi__kafka_fail(dbi_kafka *kafka, dbi_err *err, rd_kafka_resp_err_t code, const char *what);

/* Consumes an rd_kafka_error_t; NULL is DBI_OK. */
dbi_rc dbi__kafka_error_take(dbi_err *err, rd_kafka_error_t *error, const char *what);

/* Milliseconds left, rounded up, for librdkafka's timeouts. */
int dbi__kafka_ms(int64_t deadline);

/* A wait in slices of DBI__KAFKA_SLICE. Where librdkafka offers only one blocking call, each slice `restarts` the
 * request: then slices grow, or a slow broker's answer would never be waited for. */
typedef struct dbi__slices {
    dbi_kafka *kafka;
    int64_t deadline;
    int64_t length;
    bool restarts;
    bool closing; /* the wait is the closing itself */
} dbi__slices;

/* The timeout of the slice that begins now. */
int dbi__slice_ms(const dbi__slices *slices);

/* Between two slices: DBI_OK = go on, DBI_ECLOSED, or what dbi_kafka_set_check's function says. The deadline is the
 * caller's to look at. */
DBI_NODISCARD dbi_rc dbi__slice_next(dbi__slices *slices, dbi_err *err);

/* For requests that restart: whether one that ended with `code` is to be made again, because no broker was there or
 * answered in this slice. When not, *rc says why the wait ended, DBI_OK for its own end: `code` is the result. */
bool dbi__slice_again(dbi__slices *slices, rd_kafka_resp_err_t code, dbi_rc *rc, dbi_err *err);

/* Polls the queue for one event until the deadline; NULL with *rc = DBI_OK when it has passed, or with the reason why
 * the wait ended before. */
rd_kafka_event_t *dbi__slice_poll(dbi__slices *slices, rd_kafka_queue_t *queue, dbi_rc *rc, dbi_err *err);

/* The labels of a client's metrics: its client.id, and its number in the process. `number` is their memory. */
#define DBI__KAFKA_LABELS 2u
void dbi__kafka_labels(const dbi_kafka *kafka, dbi_label labels[DBI__KAFKA_LABELS], char number[24]);

/* kafka_socket.c: sockets are close-on-exec, and closed in a forked child. */
void dbi__kafka_follow_sockets(rd_kafka_conf_t *conf);
void dbi__kafka_before_fork(void);
void dbi__kafka_after_fork_parent(void);
void dbi__kafka_after_fork_child(void);

static inline void dbi__kafka_leave(dbi_kafka *kafka) {
    atomic_fetch_sub_explicit(&kafka->users, 1, memory_order_release);
}

/* Registers a call in progress. On DBI_OK it must be followed by dbi__kafka_leave. */
DBI_NODISCARD static inline dbi_rc dbi__kafka_enter(dbi_kafka *kafka, dbi_err *err) {
    atomic_fetch_add_explicit(&kafka->users, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&kafka->state, memory_order_seq_cst) == DBI__KAFKA_OPEN &&
        atomic_load_explicit(&kafka->fork, memory_order_relaxed) == dbi__fork_now())
        return DBI_OK;
    dbi__kafka_leave(kafka);
    return dbi__kafka_enter_slow(kafka, err);
}

#endif
