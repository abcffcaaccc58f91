/* producer_int.h - what the producer's files share */
#ifndef DBI_PRODUCER_INT_H
#define DBI_PRODUCER_INT_H

#include "kafka_int.h"
#include "producer.h"

#define DBI__TOPIC_BUCKETS 64
#define DBI__CODES 512 /* librdkafka's codes, from -256 on; what lies outside is counted as UNKNOWN */

struct dbi__producer_journal;

struct dbi_topic {
    struct dbi_topic *next;
    rd_kafka_topic_t *rkt;
    bool met;    /* with a journal: its last message that was reported on was delivered, by this client; the replay thread's */
    char name[]; /* NUL-terminated */
};

/* Each side's counters keep clear of the other's cache lines. */
struct dbi_producer {
    dbi_kafka kafka;
    dbi_producer_options options; /* its journal points to journal_config */
    dbi_producer_journal_config journal_config;
    char *journal_directory;
    bool idempotent;
    size_t message_max; /* message.max.bytes */
    size_t request_bytes, request_messages; /* what fits into one request */
    _Atomic(struct dbi__producer_journal *) journal; /* NULL = none, or not yet open */
    pthread_t thread; /* consumes delivery reports; runs while the client is open */
    atomic_bool stop;
    atomic_bool abandoned; /* nobody owns the producer any more: the thread frees it */
    atomic_int room_waiters;
    atomic_uint_fast64_t room_below; /* they want to be woken when no more than this is in flight */

    pthread_mutex_t topics_lock;
    dbi_topic *topics[DBI__TOPIC_BUCKETS];

    char apart_1[64];
    atomic_uint_fast64_t accepted; /* by callers; with a journal, what was handed to librdkafka */
    atomic_uint_fast64_t accepted_bytes;
    atomic_uint_fast64_t refused, dropped;
    atomic_uint_fast64_t refused_by[DBI__CODES];
    char apart_2[64];
    atomic_uint_fast64_t delivered; /* by the thread */
    atomic_uint_fast64_t failed, purged;
    atomic_uint_fast64_t failed_by[DBI__CODES];
    dbi_histogram *latency; /* from enqueue to report, of one message in each batch of reports */
};

#endif
