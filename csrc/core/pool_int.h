/* pool_int.h - the pool's inside, for the files it consists of */
#ifndef DBI_POOL_INT_H
#define DBI_POOL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "conn_int.h"

/* A thread that waits for a connection. It lives on that thread's stack; the list is the pool's. */
typedef struct dbi__waiter {
    struct dbi__waiter *next, *prev;
    int fd;         /* an eventfd: written once, when the wait is over */
    bool served;    /* no longer in the list */
    dbi_conn *conn; /* what it was served with; NULL = room to open one */
    bool room;      /* both none: the pool was closed */
} dbi__waiter;

typedef struct dbi__conn_list {
    dbi_conn *head, *tail;
} dbi__conn_list;

/* Counters: X(name). */
#define DBI__POOL_COUNTER_MAP(X)                                                                                       \
    X(acquired) X(released) X(waits) X(timeouts) X(refused) X(exhausted) X(opened) X(failed) X(checks) X(statements)

struct dbi_pool {
    dbi_pool *next, *prev; /* of the process's pools */
    dbi_pool_config config;
    char *name;
    dbi__conninfo conninfo;
    dbi_histogram *durations; /* of acquisitions */
    dbi_source source;
    atomic_uint first_host; /* the one that answered last: tried first */

    pthread_mutex_t lock; /* guards what follows; the atomics are written under it and read without */
    pthread_cond_t drained;
    dbi__conn_list lists[DBI__CONN_STATES];
    _Atomic uint32_t counts[DBI__CONN_STATES];
    _Atomic uint32_t opening; /* places taken for connections that are being opened, or about to be */
    _Atomic uint32_t waiting;
    dbi__waiter *first_waiter, *last_waiter;
    atomic_bool closed;
    atomic_bool nearly_exhausted;
    _Atomic uint64_t generation;   /* of the credentials */
    dbi_credentials *credentials;  /* set by hand; NULL = none */
    int64_t tidied_at, suspect_at; /* on the pool's clock */
    char last_close[160];
    dbi_err last_error;

#define DBI__POOL_COUNTER_FIELD(counter) _Atomic uint64_t counter;
    DBI__POOL_COUNTER_MAP(DBI__POOL_COUNTER_FIELD)
#undef DBI__POOL_COUNTER_FIELD
    _Atomic uint64_t closes[DBI_CONN_CLOSE_COUNT];
};

/* pool_metrics.c: the pool as a source. */
dbi_rc dbi__pool_collect(void *arg, dbi_snapshot *snapshot);

/* In the child of a fork: the connections are the parent's, and so are the threads that waited. Async-signal-safe. */
void dbi__pool_forget(dbi_pool *pool);

#endif
