/* producer_journal_int.h - what the files of a producer's journal share: producer_journal.c (taking messages, the
 * keeper, its life), producer_duty.c (chains, reports, releasing), producer_replay.c (the replay thread: handing over,
 * and what is done about refusals). How it works is in producer_journal.h.
 */
#ifndef DBI_PRODUCER_JOURNAL_INT_H
#define DBI_PRODUCER_JOURNAL_INT_H

#include "dead.h"
#include "producer_journal.h"
#include "producer_record.h"

#define DBI__REPLAY_STREAM "kafka" /* the name of its chains */
#define DBI__REPLAY_OVERHEAD 128u  /* of a message in a request, our header included; not less than librdkafka's estimate */

/* A receipt that somebody waits for. */
typedef struct dbi__replay_waiting {
    dbi_ticket ticket; /* first: it is a letter */
    struct dbi__replay_waiting *next;
    uint64_t sequence;
} dbi__replay_waiting;

typedef struct dbi__replay_lane {
    dbi_chain *chain;
    pthread_mutex_t lock;
    dbi__replay_waiting *first, *last; /* of messages that were not handed over yet, ascending */
} dbi__replay_lane;

typedef enum dbi__replay_flight_state {
    DBI__FLIGHT_FLYING, /* handed over */
    DBI__FLIGHT_DONE,   /* delivered */
    DBI__FLIGHT_FAILED, /* to be handed over again */
    DBI__FLIGHT_DEAD    /* never again */
} dbi__replay_flight_state;

typedef struct dbi__replay_body {
    size_t length;
    uint8_t bytes[];
} dbi__replay_body;

/* A message that was handed over once, and that is not released. */
typedef struct dbi__replay_flight {
    uint64_t sequence;
    dbi__replay_waiting *waiting;
    dbi__replay_body *copy; /* of one that was alone, or is dead */
    rd_kafka_resp_err_t code;
    uint32_t bytes;
    uint8_t state;
    bool counted; /* as delivered or dead */
} dbi__replay_flight;

/* One chain and how far it is. Indices count flights; modulo the window they are places in the ring. */
typedef struct dbi__replay_duty {
    struct dbi__replay_duty *next_duty;
    uint64_t number;
    dbi_chain *chain;
    dbi__replay_lane *lane; /* NULL = nothing is appended to it */
    uint8_t id[16];
    dbi_dead *dead;
    dbi__replay_flight *ring;              /* NULL while nothing was read */
    uint64_t head, next, tail; /* released up to, to be handed over, known up to */
    dbi_records records;
    uint64_t read, passed, released; /* sequences: asked for, taken out of `records`, delivered or dead */
    uint64_t seen;                   /* the last one that was there when it was last looked at */
    uint64_t found_to;               /* what was there when the journal was opened */
    uint64_t flying, counted;        /* flights: on their way; counted and not released */
    size_t flying_bytes;
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
} dbi__replay_duty;

/* What librdkafka carries along with a message. */
typedef struct dbi__replay_wire {
    dbi_ticket ticket;
    dbi__replay_duty *duty;
    dbi_topic *topic;
    uint64_t index;
} dbi__replay_wire;

typedef enum dbi__replay_mode {
    DBI__MODE_RUN,
    DBI__MODE_DRAIN, /* what is on its way is waited for */
    DBI__MODE_SORT   /* one lane alone, few messages at a time */
} dbi__replay_mode;

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
    dbi__replay_lane *lanes;
    pthread_t replay, keeper;
    bool replay_runs, keeper_runs;

    pthread_mutex_t lock;
    pthread_cond_t keep, progress; /* CLOCK_MONOTONIC */
    dbi__replay_duty *duties;
    uint64_t duty_number;
    uint64_t window_mask;
    dbi__replay_mode mode;
    dbi__replay_duty *alone;
    bool barrier;   /* what was found goes first */
    bool enumerate; /* the list of chains is another one */
    bool renew;
    bool known, has_target;
    uint8_t target[16];
    int64_t asked_at, drain_since, purged_at, renew_at;
    uint64_t flying;
    size_t flying_bytes;
    bool crowded;
    int64_t send_at; /* when librdkafka is to send what it was given, */
    int send_ms;     /* and how long it is let */
    bool ended;
    dbi_producer_counts gone; /* of chains that are gone; after the end, of all */
    uint64_t delivered, dead, resent, renewed;
    dbi_mailbox *letters_to; /* letters for one mailbox, so that its reader is woken once */
    dbi_letter *letters, *letters_last;
    size_t letter_count;
    char why[256]; /* no broker, no memory, a disk */
};

/* The lock is held in all that follows; lists and flights are the replay thread's to change. */

void dbi__replay_letters_flush(dbi__producer_journal *journal);
void dbi__replay_waiting_fail(dbi__producer_journal *journal, dbi__replay_waiting *waiting,
                               rd_kafka_resp_err_t code, bool journaled);
/* What is no longer there: given up by the policy, or unreadable. */
void dbi__replay_waiting_lost(dbi__producer_journal *journal, dbi__replay_waiting *waiting);
/* Who waits for this message of the lane; those who wait for earlier ones, which were not there, are told. */
dbi__replay_waiting *dbi__replay_lane_waiting(dbi__producer_journal *journal, dbi__replay_lane *lane,
                                              uint64_t sequence);
void dbi__replay_duty_free(dbi__producer_journal *journal, dbi__replay_duty *duty);
/* Makes a duty for each chain that has none. */
DBI_NODISCARD dbi_rc dbi__replay_duties_enumerate(dbi__producer_journal *journal, dbi_err *err);
void dbi__replay_duty_count(const dbi__replay_duty *duty, dbi_producer_counts *counts);
/* Lets go of chains that have nothing to read any more. */
void dbi__replay_duties_retire(dbi__producer_journal *journal, bool all);
void dbi__replay_duty_hold(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now, const char *fmt,
                           ...) DBI_PRINTF(4, 5);

/* The chain belongs to the cluster that answers, or to none yet, or not at all. */
void dbi__replay_duty_prepare(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now);
/* Notes the longest prefix of delivered and dead messages. Their letters are on disk first. */
void dbi__replay_duty_release(dbi__producer_journal *journal, dbi__replay_duty *duty, int64_t now);
/* The message itself is to blame, if it was alone. */
bool dbi__replay_is_deadly(rd_kafka_resp_err_t code);
/* Nobody is to blame: the message was taken back, or the client is over. */
bool dbi__replay_is_passing(rd_kafka_resp_err_t code);
void dbi__replay_flight_dead(dbi__producer_journal *journal, dbi__replay_duty *duty, dbi__replay_flight *flight);
/* Takes the lane back to a flight: from there on all is handed over again. Nothing of it is on its way. */
void dbi__replay_duty_rewind(dbi__producer_journal *journal, dbi__replay_duty *duty, uint64_t index);
void dbi__replay_drain(dbi__producer_journal *journal);
bool dbi__replay_reports_take(dbi__producer_journal *journal);

static inline dbi__replay_flight *dbi__replay_flight_at(const dbi__producer_journal *journal,
                                                        const dbi__replay_duty *duty, uint64_t index) {
    return &duty->ring[index & journal->window_mask];
}

/* What a message takes in a request, at most, by the length of its record. */
static inline size_t dbi__replay_wire_bytes(size_t length) {
    return length - DBI__MESSAGE_FIXED + DBI__REPLAY_OVERHEAD;
}

/* The thread: takes the lock itself. */
void *dbi__replay_main(void *journal);

#endif
