/* pool.c - see pool.h
 *
 * A place is what max_size counts: a connection in one of the lists, or one that is about to be opened. Whoever frees a
 * place, or gives a connection back, serves those who wait, the first one first, with the connection or with the place;
 * a thread that was served needs nobody else any more. While somebody waits, nobody who comes later is served.
 *
 * What takes time (opening, asking, closing) is done without the lock, by the thread that needs it or caused it.
 */
#include "pool.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "fork_int.h"
#include "pool_int.h"

/* The pool's ageing is not looked at more often than this. */
#define TIDY_INTERVAL DBI_NS_PER_S

#define GOOD DBI_CONN_CLOSE_COUNT /* no reason to close it */

static int64_t pool_now(const dbi_pool *pool) {
    return dbi_clock_now(&pool->config.clock);
}

/* --- under the lock --- */

static uint32_t pool_places(const dbi_pool *pool) {
    return pool->opening + pool->counts[DBI__CONN_IDLE] + pool->counts[DBI__CONN_USED] +
           pool->counts[DBI__CONN_CLOSING];
}

/* Takes note of whether the pool is nearly exhausted: when all that changes together has changed. */
static void pool_gauge(dbi_pool *pool) {
    uint32_t busy = pool->counts[DBI__CONN_USED] + pool->opening;
    bool nearly = 100.0 * busy >= pool->config.exhaustion_threshold * pool->config.max_size;

    if (nearly && !pool->nearly_exhausted)
        pool->exhausted++;
    pool->nearly_exhausted = nearly;
}

/* The one place where a connection changes its state. */
static void pool_move(dbi_pool *pool, dbi_conn *conn, dbi__conn_state to) {
    dbi__conn_list *list = &pool->lists[conn->state];

    if (conn->state != DBI__CONN_NONE) {
        *(conn->prev != NULL ? &conn->prev->next : &list->head) = conn->next;
        *(conn->next != NULL ? &conn->next->prev : &list->tail) = conn->prev;
        pool->counts[conn->state]--;
    }
    conn->state = to;
    conn->next = conn->prev = NULL;
    if (to != DBI__CONN_NONE) {
        list = &pool->lists[to];
        conn->prev = list->tail;
        *(list->tail != NULL ? &list->tail->next : &list->head) = conn;
        list->tail = conn;
        pool->counts[to]++;
    }
}

static void waiter_add(dbi_pool *pool, dbi__waiter *waiter) {
    waiter->next = NULL;
    waiter->prev = pool->last_waiter;
    *(waiter->prev != NULL ? &waiter->prev->next : &pool->first_waiter) = waiter;
    pool->last_waiter = waiter;
    pool->waiting++;
}

static void waiter_remove(dbi_pool *pool, dbi__waiter *waiter) {
    *(waiter->prev != NULL ? &waiter->prev->next : &pool->first_waiter) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->prev : &pool->last_waiter) = waiter->prev;
    pool->waiting--;
}

/* Under the lock, or the waiter could be gone before it is woken. */
static void waiter_serve(dbi_pool *pool, dbi__waiter *waiter, dbi_conn *conn, bool room) {
    waiter_remove(pool, waiter);
    waiter->conn = conn;
    waiter->room = room;
    waiter->served = true;
    (void)eventfd_write(waiter->fd, 1);
}

/* Gives what there is to those who wait: the last thing after any change. */
static void pool_serve(dbi_pool *pool) {
    while (pool->first_waiter != NULL) {
        dbi_conn *conn = pool->lists[DBI__CONN_IDLE].tail;

        if (conn != NULL)
            pool_move(pool, conn, DBI__CONN_USED);
        else if (pool_places(pool) < pool->config.max_size)
            pool->opening++;
        else
            break;
        waiter_serve(pool, pool->first_waiter, conn, conn == NULL);
    }
    pool_gauge(pool);
    if (pool->closed && pool_places(pool) == 0)
        (void)pthread_cond_broadcast(&pool->drained);
}

/* Why this connection, which nobody uses at the moment, must not be used again; GOOD = it may. */
static dbi_conn_close pool_judge(const dbi_pool *pool, const dbi_conn *conn, int64_t now) {
    if (pool->closed)
        return DBI_CONN_CLOSE_POOL_CLOSED;
    if (conn->generation != pool->generation)
        return DBI_CONN_CLOSE_CREDENTIALS;
    if (dbi_conn_lost(conn))
        return DBI_CONN_CLOSE_LOST;
    if (dbi__conn_became_read_only(conn))
        return DBI_CONN_CLOSE_READ_ONLY;
    if (PQtransactionStatus(conn->pq) != PQTRANS_IDLE)
        return DBI_CONN_CLOSE_UNFINISHED;
    if (pool->config.max_queries != 0 && conn->statements >= pool->config.max_queries)
        return DBI_CONN_CLOSE_QUERIES;
    if (now >= conn->expires_at)
        return DBI_CONN_CLOSE_AGE;
    return GOOD;
}

/* Takes a connection out, into the chain of those to be finished without the lock. `detail` (NULL = none) goes on the
 * reason. */
static void pool_retire(dbi_pool *pool, dbi_conn *conn, dbi_conn_close why, const char *detail, dbi_conn **chain) {
    pool->closes[why]++;
    (void)snprintf(pool->last_close, sizeof pool->last_close, "%s%s%s", dbi_conn_close_text(why),
                   detail != NULL ? ": " : "", detail != NULL ? detail : "");
    /* what befell this one may have befallen the others */
    if (why == DBI_CONN_CLOSE_LOST || why == DBI_CONN_CLOSE_UNRESPONSIVE || why == DBI_CONN_CLOSE_READ_ONLY)
        pool->suspect_at = pool_now(pool);
    pool_move(pool, conn, DBI__CONN_CLOSING);
    conn->chain = *chain;
    *chain = conn;
}

/* Takes out the idle connections that are too old, and those that are too many for too long, the longest idle first. */
static void pool_age(dbi_pool *pool, int64_t now, dbi_conn **chain) {
    dbi_conn *next;

    pool->tidied_at = now;
    for (dbi_conn *conn = pool->lists[DBI__CONN_IDLE].head; conn != NULL; conn = next) {
        dbi_conn_close why = pool_judge(pool, conn, now);

        next = conn->next;
        if (why == GOOD && pool->counts[DBI__CONN_IDLE] + pool->counts[DBI__CONN_USED] > pool->config.min_size &&
            now - conn->used_at >= pool->config.max_idle)
            why = DBI_CONN_CLOSE_IDLE;
        if (why != GOOD)
            pool_retire(pool, conn, why, NULL, chain);
    }
}

static void pool_retire_idle(dbi_pool *pool, dbi_conn_close why, dbi_conn **chain) {
    while (pool->lists[DBI__CONN_IDLE].head != NULL)
        pool_retire(pool, pool->lists[DBI__CONN_IDLE].head, why, NULL, chain);
}

/* --- without the lock --- */

static dbi_conn *conn_new(const dbi_interrupt *interrupt) {
    static _Atomic uint64_t numbers;
    dbi_conn *conn = dbi_calloc(1, sizeof *conn);

    if (conn == NULL)
        return NULL;
    conn->number = ++numbers;
    conn->fork = dbi__fork_now();
    conn->interrupt = *interrupt;
    return conn;
}

/* Closes the connections of the chain, then gives their places to those who wait. */
static void pool_finish(dbi_pool *pool, dbi_conn *chain) {
    if (chain == NULL)
        return;
    for (dbi_conn *conn = chain; conn != NULL; conn = conn->chain)
        dbi__conn_finish(conn);
    (void)pthread_mutex_lock(&pool->lock);
    for (dbi_conn *conn = chain; conn != NULL; conn = conn->chain)
        pool_move(pool, conn, DBI__CONN_NONE);
    pool_serve(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    for (dbi_conn *next; chain != NULL; chain = next) {
        next = chain->chain;
        dbi_free(chain);
    }
}

/* Closes one connection that the calling thread has. */
static void pool_drop(dbi_pool *pool, dbi_conn *conn, dbi_conn_close why, const char *detail) {
    dbi_conn *chain = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    pool_retire(pool, conn, why, detail, &chain);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
}

/* --- opening --- */

/* A random share of the jitter shortens the age, so that connections opened together do not end together. */
static int64_t pool_expiry(const dbi_pool *pool, uint64_t number, int64_t now) {
    uint64_t mixed = (number ^ (uint64_t)now) * UINT64_C(0x9E3779B97F4A7C15); /* splitmix64's steps */
    double share;
    int64_t age = pool->config.max_age;

    if (age == DBI_FOREVER)
        return DBI_FOREVER;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    share = (double)((mixed ^ mixed >> 31) >> 11) / (double)(UINT64_C(1) << 53);
    age -= (int64_t)((double)age * pool->config.max_age_jitter * share);
    return age > DBI_FOREVER - now ? DBI_FOREVER : now + age;
}

/* The credentials to open a connection with. Their generation is taken first: if they are replaced while they are being
 * found out, or while the connection is being opened, the connection is not of the pool's generation any more. */
static dbi_rc pool_credentials(dbi_pool *pool, dbi_conn *conn, int64_t deadline, dbi_credentials *credentials,
                               dbi_err *err) {
    bool by_hand;

    memset(credentials, 0, sizeof *credentials);
    (void)pthread_mutex_lock(&pool->lock);
    conn->generation = pool->generation;
    by_hand = pool->credentials != NULL;
    if (by_hand)
        *credentials = *pool->credentials;
    (void)pthread_mutex_unlock(&pool->lock);
    if (by_hand || pool->config.credentials == NULL)
        return DBI_OK;
    return pool->config.credentials(pool->config.credentials_arg, deadline, credentials, err);
}

/* One host: within connect_timeout, and within its share of what is left for all. */
static dbi_rc pool_connect_host(dbi_pool *pool, dbi_conn *conn, unsigned host, unsigned hosts_left,
                                const dbi_credentials *credentials, int64_t deadline, dbi_err *err) {
    int64_t left = dbi_clock_left(NULL, deadline), limit = pool->config.connect_timeout;
    dbi__params params;
    dbi_rc rc;

    if (left != DBI_FOREVER && left / hosts_left < limit)
        limit = left / hosts_left;
    dbi__params_fill(&params, &pool->conninfo, &pool->conninfo.hosts[host], credentials);
    rc = dbi__conn_open(conn, &params, dbi_clock_deadline(NULL, limit), err);
    /* a server that does not answer in time is away, unless it was the caller who had no more time */
    if (rc == DBI_ETIMEOUT && dbi_clock_left(NULL, deadline) > 0) {
        rc = DBI_EUNREACHABLE;
        err->rc = rc;
    }
    return rc;
}

/* Whether there is a point in trying the next host. */
static bool next_host_may_do(dbi_rc rc) {
    return rc == DBI_EUNREACHABLE || rc == DBI_ESERVER;
}

/* All hosts, beginning with the one that answered last. err has what each of them said. */
static dbi_rc pool_connect(dbi_pool *pool, dbi_conn *conn, const dbi_credentials *credentials, int64_t deadline,
                           dbi_err *err) {
    unsigned count = pool->conninfo.host_count, first = pool->first_host;
    dbi_rc rc = DBI_OK;
    dbi_err one;

    dbi_err_reset(err);
    for (unsigned i = 0; i < count; i++) {
        unsigned host = (first + i) % count;
        size_t used = strlen(err->msg);

        rc = pool_connect_host(pool, conn, host, count - i, credentials, deadline, &one);
        if (rc == DBI_OK) {
            pool->first_host = host;
            dbi_err_reset(err);
            return rc;
        }
        /* "unreachable" says least: any other reason is the one to act on */
        if (used == 0 || one.rc != DBI_EUNREACHABLE) {
            err->rc = one.rc;
            err->sys = one.sys;
            memcpy(err->sqlstate, one.sqlstate, sizeof err->sqlstate);
        }
        (void)snprintf(err->msg + used, sizeof err->msg - used, "%s%s", used > 0 ? "; " : "", one.msg);
        if (!next_host_may_do(rc))
            break;
    }
    return err->rc;
}

/* What became of an attempt; the connection is no longer the caller's unless *rc is DBI_OK and the answer false. True:
 * another attempt is to be made, with the credentials that came meanwhile. */
static bool pool_opened(dbi_pool *pool, dbi_conn *conn, dbi_rc *rc, const dbi_err *failure, dbi_err *err) {
    dbi_conn *chain = NULL;
    bool up = *rc == DBI_OK, again, stale;

    (void)pthread_mutex_lock(&pool->lock);
    stale = conn->generation != pool->generation;
    again = stale && !pool->closed && (up || *rc == DBI_EAUTH);
    if (!again)
        pool->opening--;
    if (!up) {
        pool->failed++;
        pool->last_error = *failure;
        pool_move(pool, conn, DBI__CONN_NONE);
    } else {
        pool->opened++;
        dbi_err_reset(&pool->last_error);
        if (pool->closed) {
            pool_retire(pool, conn, DBI_CONN_CLOSE_POOL_CLOSED, NULL, &chain);
            *rc = dbi_err_set(err, DBI_ECLOSED, "pool \"%s\" is closed", pool->name);
        } else if (stale) {
            pool_retire(pool, conn, DBI_CONN_CLOSE_CREDENTIALS, NULL, &chain);
        } else {
            conn->used_at = pool_now(pool);
            conn->expires_at = pool_expiry(pool, conn->number, conn->used_at);
            pool_move(pool, conn, DBI__CONN_USED);
        }
    }
    pool_serve(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
    if (!up)
        dbi_free(conn);
    return again;
}

/* Opens a connection in the place that the calling thread has taken; frees the place when there will be none. */
static dbi_rc pool_open(dbi_pool *pool, dbi_conn **opened, int64_t deadline, const dbi_interrupt *interrupt,
                        dbi_err *err) {
    uint64_t fork = dbi__fork_now();
    dbi_credentials credentials;
    dbi_conn *conn;
    dbi_err failure;
    bool again;
    dbi_rc rc;

    do {
        conn = conn_new(interrupt);
        if (conn == NULL) {
            (void)pthread_mutex_lock(&pool->lock);
            pool->opening--;
            pool_serve(pool);
            (void)pthread_mutex_unlock(&pool->lock);
            return dbi_err_set(err, DBI_ENOMEM, "no memory for a connection");
        }
        (void)pthread_mutex_lock(&pool->lock);
        pool_move(pool, conn, DBI__CONN_OPENING);
        (void)pthread_mutex_unlock(&pool->lock);
        dbi_err_reset(&failure);
        rc = pool_credentials(pool, conn, deadline, &credentials, &failure);
        if (rc == DBI_OK)
            rc = pool_connect(pool, conn, &credentials, deadline, &failure);
        explicit_bzero(&credentials, sizeof credentials);
        if (fork != dbi__fork_now()) { /* nothing of this is known to the child's pool */
            dbi_free(conn);
            return dbi_err_set(err, DBI_EFORK, "pool \"%s\": the process was forked while a connection was opened",
                               pool->name);
        }
        if (rc != DBI_OK && err != NULL)
            *err = failure;
        again = pool_opened(pool, conn, &rc, &failure, err);
    } while (again);
    if (rc == DBI_OK)
        *opened = conn;
    return rc;
}

/* --- acquiring --- */

/* Under the lock. An idle connection, or a place to open one (*conn = NULL): DBI_OK. DBI_ESTATE: one must wait. */
static dbi_rc pool_try(dbi_pool *pool, dbi_conn **conn, dbi_conn **chain) {
    int64_t now = pool_now(pool);

    *conn = NULL;
    if (pool->closed)
        return DBI_ECLOSED;
    if (now - pool->tidied_at >= TIDY_INTERVAL)
        pool_age(pool, now, chain);
    /* Nobody is overtaken: while somebody waits, pool_serve has left neither an idle connection nor a place. */
    while (pool->lists[DBI__CONN_IDLE].tail != NULL) {
        dbi_conn *idle = pool->lists[DBI__CONN_IDLE].tail;
        dbi_conn_close why = pool_judge(pool, idle, now);

        if (why == GOOD) {
            pool_move(pool, idle, DBI__CONN_USED);
            pool_gauge(pool);
            *conn = idle;
            return DBI_OK;
        }
        pool_retire(pool, idle, why, NULL, chain);
    }
    if (pool_places(pool) < pool->config.max_size) {
        pool->opening++;
        pool_gauge(pool);
        return DBI_OK;
    }
    return pool->waiting < pool->config.max_waiting ? DBI_ESTATE : DBI_EFULL;
}

/* Waits until the thread is served. */
static dbi_rc pool_wait(dbi_pool *pool, dbi__waiter *waiter, int64_t deadline, const dbi_interrupt *interrupt,
                        dbi_err *err) {
    uint64_t fork = dbi__fork_now();
    char what[160];
    dbi_rc rc;

    (void)snprintf(what, sizeof what, "pool \"%.100s\": waiting for a connection", pool->name);
    rc = dbi__fd_wait(waiter->fd, POLLIN, interrupt, deadline, 0, what, err);
    if (fork != dbi__fork_now()) { /* the child's pool knows of no waiter, and has closed the descriptor */
        waiter->fd = -1;
        return dbi_err_set(err, DBI_EFORK, "%s: the process was forked meanwhile", what);
    }
    (void)pthread_mutex_lock(&pool->lock);
    if (!waiter->served) {
        waiter_remove(pool, waiter);
        if (rc == DBI_ETIMEOUT)
            rc = dbi_err_set(err, rc, "%s: the deadline passed (%u of %u in use, %u others waiting)", what,
                             pool->counts[DBI__CONN_USED], pool->config.max_size, pool->waiting);
    } else if (waiter->conn == NULL && !waiter->room) {
        rc = DBI_ECLOSED;
    } else if (rc == DBI_OK || rc == DBI_ETIMEOUT) {
        rc = DBI_OK;                   /* served, if only at the last moment */
    } else if (waiter->conn != NULL) { /* served, and does not want it any more */
        pool_move(pool, waiter->conn, DBI__CONN_IDLE);
        pool_serve(pool);
    } else {
        pool->opening--;
        pool_serve(pool);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return rc;
}

/* Takes an idle connection or a place to open one (*conn = NULL), at once or after waiting for it. */
static dbi_rc pool_take(dbi_pool *pool, dbi_conn **conn, int64_t deadline, const dbi_interrupt *interrupt,
                        dbi_err *err) {
    dbi__waiter waiter = {.fd = -1};
    dbi_conn *chain = NULL;
    bool waits = false;
    dbi_rc rc;

    while (!waits) {
        bool again;

        (void)pthread_mutex_lock(&pool->lock);
        rc = pool_try(pool, conn, &chain);
        waits = rc == DBI_ESTATE && chain == NULL && waiter.fd >= 0;
        if (waits) {
            waiter_add(pool, &waiter);
            pool->waits++;
        }
        (void)pthread_mutex_unlock(&pool->lock);
        again = chain != NULL; /* there is room when these are closed */
        pool_finish(pool, chain);
        chain = NULL;
        if (rc != DBI_ESTATE)
            goto done;
        if (!waits && !again) {
            waiter.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (waiter.fd < 0) {
                rc = dbi_err_sys(err, DBI_ESYS, errno, "pool \"%s\": no descriptor to wait for a connection with",
                                 pool->name);
                goto done;
            }
        }
    }
    rc = pool_wait(pool, &waiter, deadline, interrupt, err);
    *conn = waiter.conn;
done:
    if (rc == DBI_EFULL)
        (void)dbi_err_set(err, rc, "pool \"%s\": %u already wait for one of its %u connections", pool->name,
                          pool->config.max_waiting, pool->config.max_size);
    if (rc == DBI_ECLOSED)
        (void)dbi_err_set(err, rc, "pool \"%s\" is closed", pool->name);
    if (waiter.fd >= 0)
        (void)close(waiter.fd);
    return rc;
}

/* Whether a connection that was idle is good: DBI_OK with *why = GOOD, or with why it is not. A failure ends the
 * acquisition. */
static dbi_rc pool_vet(dbi_pool *pool, dbi_conn *conn, int64_t deadline, dbi_conn_close *why, dbi_err *err) {
    int64_t limit = dbi_clock_deadline(NULL, pool->config.connect_timeout), now = pool_now(pool);
    bool suspect;
    dbi_rc rc;

    *why = DBI_CONN_CLOSE_LOST;
    if (!dbi__conn_quiet(conn))
        return DBI_OK;
    (void)pthread_mutex_lock(&pool->lock);
    suspect = conn->used_at <= pool->suspect_at || now - conn->used_at >= pool->config.check_after_idle;
    (void)pthread_mutex_unlock(&pool->lock);
    *why = GOOD;
    if (!suspect)
        return DBI_OK;
    pool->checks++;
    rc = dbi__conn_check(conn, limit < deadline ? limit : deadline, err);
    if (rc == DBI_OK) {
        if (dbi__conn_became_read_only(conn))
            *why = DBI_CONN_CLOSE_READ_ONLY;
        return DBI_OK;
    }
    if (rc == DBI_ETIMEOUT) {
        *why = DBI_CONN_CLOSE_UNRESPONSIVE;
        return dbi_clock_left(NULL, deadline) > 0 ? DBI_OK : rc;
    }
    if (rc != DBI_EFORK && dbi_conn_lost(conn)) {
        *why = DBI_CONN_CLOSE_LOST;
        return DBI_OK;
    }
    *why = DBI_CONN_CLOSE_DISCARDED;
    return rc;
}

/* One attempt: DBI_OK with *conn = NULL means to try again. */
static dbi_rc pool_acquire_once(dbi_pool *pool, dbi_conn **conn, int64_t deadline, const dbi_interrupt *interrupt,
                                dbi_err *err) {
    dbi_conn_close why;
    dbi_conn *idle;
    dbi_rc rc = pool_take(pool, &idle, deadline, interrupt, err);

    if (rc != DBI_OK)
        return rc;
    if (idle == NULL)
        return pool_open(pool, conn, deadline, interrupt, err);
    idle->interrupt = *interrupt;
    rc = pool_vet(pool, idle, deadline, &why, err);
    if (rc == DBI_EFORK) { /* not of this process's pool */
        dbi_free(idle);
        return rc;
    }
    if (why == GOOD)
        *conn = idle;
    else
        pool_drop(pool, idle, why, NULL);
    if (why == DBI_CONN_CLOSE_UNRESPONSIVE && rc == DBI_OK) { /* it had all its time, and so would each of the others */
        dbi_conn *chain = NULL;

        (void)pthread_mutex_lock(&pool->lock);
        pool_retire_idle(pool, why, &chain);
        (void)pthread_mutex_unlock(&pool->lock);
        pool_finish(pool, chain);
    }
    return rc;
}

dbi_rc dbi_pool_acquire_with(dbi_pool *pool, dbi_conn **conn, int64_t deadline, const dbi_interrupt *interrupt,
                             dbi_err *err) {
    static const dbi_interrupt none = {.fd = -1};
    int64_t started = dbi_clock_now(NULL);
    dbi_rc rc = DBI_OK;

    *conn = NULL;
    while (rc == DBI_OK && *conn == NULL)
        rc = pool_acquire_once(pool, conn, deadline, interrupt != NULL ? interrupt : &none, err);
    if (rc == DBI_OK)
        pool->acquired++;
    else if (rc == DBI_ETIMEOUT)
        pool->timeouts++;
    else if (rc == DBI_EFULL)
        pool->refused++;
    dbi_histogram_record(pool->durations, dbi_clock_now(NULL) - started);
    return rc;
}

dbi_rc dbi_pool_acquire(dbi_pool *pool, dbi_conn **conn, int64_t deadline, int cancel_fd, dbi_err *err) {
    const dbi_interrupt interrupt = {.fd = cancel_fd};

    return dbi_pool_acquire_with(pool, conn, deadline, &interrupt, err);
}

/* --- giving back --- */

void dbi_pool_release(dbi_pool *pool, dbi_conn *conn, dbi_conn_end how, const char *reason) {
    dbi_conn *chain = NULL;
    dbi_conn_close why;
    int64_t now;

    if (conn == NULL)
        return;
    if (conn->fork != dbi__fork_now()) {
        dbi_free(conn);
        return;
    }
    conn->interrupt = (dbi_interrupt){.fd = -1};
    now = pool_now(pool);
    (void)pthread_mutex_lock(&pool->lock);
    pool->released++;
    pool->statements += conn->statements - conn->counted;
    conn->counted = conn->statements;
    why = pool_judge(pool, conn, now);
    if (how == DBI_CONN_DISCARD && (why == GOOD || why == DBI_CONN_CLOSE_UNFINISHED))
        why = DBI_CONN_CLOSE_DISCARDED;
    if (why == GOOD) {
        conn->used_at = now;
        pool_move(pool, conn, DBI__CONN_IDLE);
    } else {
        pool_retire(pool, conn, why, reason, &chain);
    }
    if (now - pool->tidied_at >= TIDY_INTERVAL)
        pool_age(pool, now, &chain);
    pool_serve(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
}

void dbi_pool_tidy(dbi_pool *pool) {
    dbi_conn *chain = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    pool_age(pool, pool_now(pool), &chain);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
}

/* --- credentials --- */

dbi_rc dbi_pool_set_credentials(dbi_pool *pool, const char *user, const char *password, dbi_err *err) {
    dbi_credentials *made = NULL, *old;
    dbi_conn *chain = NULL;

    if (user != NULL || password != NULL) {
        size_t user_size = user != NULL ? strlen(user) + 1 : 1,
               password_size = password != NULL ? strlen(password) + 1 : 1;

        if (user_size > DBI_USER_SIZE || password_size > DBI_PASSWORD_SIZE)
            return dbi_err_set(err, DBI_EINVAL, "pool \"%s\": a user name has at most %u bytes, a password %u",
                               pool->name, DBI_USER_SIZE - 1, DBI_PASSWORD_SIZE - 1);
        made = dbi_calloc(1, sizeof *made);
        if (made == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for credentials");
        if (user != NULL)
            memcpy(made->user, user, user_size);
        if (password != NULL)
            memcpy(made->password, password, password_size);
    }
    (void)pthread_mutex_lock(&pool->lock);
    old = pool->credentials;
    pool->credentials = made;
    pool->generation++;
    pool_retire_idle(pool, DBI_CONN_CLOSE_CREDENTIALS, &chain);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
    if (old != NULL)
        explicit_bzero(old, sizeof *old);
    dbi_free(old);
    return DBI_OK;
}

/* --- making and ending --- */

void dbi_pool_defaults(dbi_pool_config *config) {
    *config = (dbi_pool_config){.name = "default",
                                .conninfo = "",
                                .min_size = 5,
                                .max_size = 20,
                                .max_waiting = 1000,
                                .connect_timeout = 10 * DBI_NS_PER_S,
                                .max_age = 3600 * DBI_NS_PER_S,
                                .max_age_jitter = 0.1,
                                .max_queries = 10000,
                                .max_idle = 600 * DBI_NS_PER_S,
                                .check_after_idle = 30 * DBI_NS_PER_S,
                                .exhaustion_threshold = 80};
}

static dbi_rc config_check(const dbi_pool_config *config, dbi_err *err) {
    const struct {
        const char *name;
        bool valid;
        const char *range;
    } rules[] = {
        {"name", config->name != NULL && config->name[0] != '\0', "not be empty"},
        {"conninfo", config->conninfo != NULL, "be given"},
        {"max_size", config->max_size >= 1 && config->max_size <= DBI_POOL_SIZE_MAX, "be within 1 to 1000"},
        {"min_size", config->min_size <= config->max_size, "not be above max_size"},
        {"max_waiting", config->max_waiting <= DBI_POOL_WAITING_MAX, "be within 0 to 1000000"},
        {"connect_timeout", config->connect_timeout > 0, "be above 0"},
        {"max_age", config->max_age > 0, "be above 0"},
        {"max_age_jitter", config->max_age_jitter >= 0 && config->max_age_jitter <= 1, "be within 0 to 1"},
        {"max_idle", config->max_idle >= 0, "be 0 or more"},
        {"check_after_idle", config->check_after_idle >= 0, "be 0 or more"},
        {"exhaustion_threshold", config->exhaustion_threshold > 0 && config->exhaustion_threshold <= 100,
         "be above 0 and at most 100 (percent)"},
    };

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].valid)
            return dbi_err_set(err, DBI_ECONFIG, "pool: %s must %s", rules[i].name, rules[i].range);
    return DBI_OK;
}

/* A connect_timeout in the conninfo is meant for each host, as ours is; 0 and less are "none" there. */
static void timeout_of_conninfo(dbi_pool *pool) {
    const char *text = dbi__conninfo_get(&pool->conninfo, "connect_timeout");
    long seconds = 0;

    if (text == NULL || sscanf(text, "%ld", &seconds) != 1) /* libpq says what is wrong with it */
        return;
    pool->config.connect_timeout = seconds <= 0 || seconds > INT32_MAX ? DBI_FOREVER : seconds * DBI_NS_PER_S;
}

dbi_rc dbi_pool_new(dbi_pool **pool_out, const dbi_pool_config *config, dbi_err *err) {
    dbi_pool *pool = NULL;
    dbi_rc rc = config_check(config, err);

    *pool_out = NULL;
    if (rc != DBI_OK)
        return rc;
    pool = dbi_calloc(1, sizeof *pool);
    if (pool == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a pool");
    pool->config = *config;
    pool->generation = 1;
    pool->tidied_at = pool_now(pool);
    pool->suspect_at = INT64_MIN;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->drained, NULL);
    rc = dbi__conninfo_init(&pool->conninfo, config->conninfo, err);
    if (rc != DBI_OK)
        goto done;
    timeout_of_conninfo(pool);
    rc = dbi_histogram_new(&pool->durations, err);
    if (rc != DBI_OK)
        goto done;
    pool->name = dbi_strdup(config->name);
    if (pool->name == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a pool");
        goto done;
    }
    pool->config.name = pool->name;
    pool->config.conninfo = NULL; /* taken apart in pool->conninfo */
    dbi__pools_add(pool);
    dbi_source_add(&pool->source, dbi__pool_collect, pool);
    *pool_out = pool;
    pool = NULL;
done:
    dbi_pool_free(pool);
    return rc;
}

/* Under the lock: nobody is let in any more, and those who wait are sent away. */
static void pool_shut(dbi_pool *pool, dbi_conn **chain) {
    pool->closed = true;
    while (pool->first_waiter != NULL)
        waiter_serve(pool, pool->first_waiter, NULL, false);
    pool_retire_idle(pool, DBI_CONN_CLOSE_POOL_CLOSED, chain);
}

dbi_rc dbi_pool_close(dbi_pool *pool, int64_t deadline, dbi_err *err) {
    struct timespec until = dbi_clock_timespec(deadline);
    dbi_conn *chain = NULL;
    uint32_t left;

    (void)pthread_mutex_lock(&pool->lock);
    pool_shut(pool, &chain);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
    (void)pthread_mutex_lock(&pool->lock);
    while (pool_places(pool) > 0)
        if (pthread_cond_clockwait(&pool->drained, &pool->lock, CLOCK_MONOTONIC, &until) != 0)
            break;
    left = pool_places(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    if (left > 0)
        return dbi_err_set(err, DBI_ETIMEOUT,
                           "pool \"%s\": %u connections are still in use; they are closed when they "
                           "come back",
                           pool->name, left);
    return DBI_OK;
}

void dbi_pool_free(dbi_pool *pool) {
    dbi_conn *chain = NULL;

    if (pool == NULL)
        return;
    dbi_source_remove(&pool->source);
    (void)pthread_mutex_lock(&pool->lock);
    pool_shut(pool, &chain);
    (void)pthread_mutex_unlock(&pool->lock);
    pool_finish(pool, chain);
    dbi__pools_remove(pool);
    (void)pthread_cond_destroy(&pool->drained);
    (void)pthread_mutex_destroy(&pool->lock);
    if (pool->credentials != NULL)
        explicit_bzero(pool->credentials, sizeof *pool->credentials);
    dbi_free(pool->credentials);
    dbi__conninfo_reset(&pool->conninfo);
    dbi_histogram_free(pool->durations);
    dbi_free(pool->name);
    dbi_free(pool);
}

void dbi__pool_forget(dbi_pool *pool) {
    for (int state = 0; state < DBI__CONN_STATES; state++) {
        for (dbi_conn *conn = pool->lists[state].head; conn != NULL; conn = conn->next)
            dbi__conn_abandon(conn);
        pool->lists[state] = (dbi__conn_list){0};
        pool->counts[state] = 0;
    }
    for (dbi__waiter *waiter = pool->first_waiter; waiter != NULL; waiter = waiter->next)
        (void)close(waiter->fd);
    pool->first_waiter = pool->last_waiter = NULL;
    pool->waiting = pool->opening = 0;
    pool->nearly_exhausted = false;
    pool->drained = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

const dbi_histogram *dbi_pool_waits(const dbi_pool *pool) {
    return pool->durations;
}

const char *dbi_pool_name(const dbi_pool *pool) {
    return pool->name;
}
