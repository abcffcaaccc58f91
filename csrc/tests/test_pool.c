#include <fcntl.h>
#include <stdlib.h>

#include "metrics.h"
#include "pool.h"
#include "postgres_fake.h"

#define MS DBI_NS_PER_MS
#define S DBI_NS_PER_S

/* The pool of most cases: 3 connections at most, none kept by number, ages by a clock that stands still. */
static int64_t now_ns = 1000 * S;

static int64_t clock_read(void *arg) {
    return __atomic_load_n((int64_t *)arg, __ATOMIC_RELAXED);
}

static void clock_advance(int64_t ns) {
    (void)__atomic_add_fetch(&now_ns, ns, __ATOMIC_RELAXED);
}

static dbi_pool_config config_for(const char *conninfo) {
    dbi_pool_config config;

    dbi_pool_defaults(&config);
    config.name = "test";
    config.conninfo = conninfo;
    config.min_size = 0;
    config.max_size = 3;
    config.max_age_jitter = 0;
    config.connect_timeout = 5 * S;
    config.clock = (dbi_clock){clock_read, &now_ns};
    return config;
}

static dbi_pool_view view_of(dbi_pool *pool) {
    dbi_pool_view view;

    dbi_pool_read(pool, &view);
    return view;
}

#define CHECK_POOL(pool, want_idle, want_used)                                                                         \
    do {                                                                                                               \
        dbi_pool_view view_ = view_of(pool);                                                                           \
        CHECK_INT(view_.idle, want_idle);                                                                              \
        CHECK_INT(view_.used, want_used);                                                                              \
    } while (0)

#define CHECK_CLOSED_BY(pool, why, count) CHECK_INT(view_of(pool).closes[DBI_CONN_CLOSE_##why], count)

/* One statement on a connection of the pool. */
static dbi_rc once(dbi_pool *pool, const char *sql, int64_t deadline, dbi_err *err) {
    dbi_conn *conn;
    dbi_rc rc = dbi_pool_acquire(pool, &conn, deadline, -1, err);

    if (rc != DBI_OK)
        return rc;
    rc = dbi_conn_exec(conn, sql, deadline, NULL, err);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    return rc;
}

/* What another thread does is seen a little later. */
#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        int64_t until_ = after_ms(5000);                                                                               \
        while (!(condition) && dbi_clock_left(NULL, until_) > 0)                                                       \
            sleep_ms(1);                                                                                               \
        CHECK(condition);                                                                                              \
    } while (0)

/* --- life --- */

TEST(connections_are_opened_when_needed_and_used_again) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *first = NULL, *second = NULL;
    PGresult *result = NULL;
    uint64_t number;
    char place[64];

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    CHECK_POOL(pool, 0, 0);
    CHECK_INT(server.connected, 0);
    TRY(dbi_pool_acquire(pool, &first, after_ms(5000), -1, NULL));
    CHECK_INT(dbi_conn_pid(first), 7);
    CHECK(!dbi_conn_lost(first));
    (void)snprintf(place, sizeof place, "127.0.0.1:%d", server.port);
    CHECK_STR(dbi_conn_place(first), place);
    CHECK_STR(PQparameterStatus(dbi_conn_pq(first), "client_encoding"), "UTF8");
    TRY(dbi_conn_exec(first, "rows 3", after_ms(5000), &result, NULL));
    CHECK_INT(PQntuples(result), 3);
    PQclear(result);
    result = NULL;
    TRY(dbi_conn_exec_params(first, "any", 2, (const char *const[]){"1", NULL}, after_ms(5000), &result, NULL));
    CHECK_INT(PQresultStatus(result), PGRES_COMMAND_OK);
    number = dbi_conn_number(first);
    TRY(dbi_pool_acquire(pool, &second, after_ms(5000), -1, NULL));
    CHECK(dbi_conn_number(second) != number);
    CHECK_POOL(pool, 0, 2);
    dbi_pool_release(pool, first, DBI_CONN_KEEP, NULL);
    dbi_pool_release(pool, second, DBI_CONN_KEEP, NULL);
    dbi_pool_release(pool, NULL, DBI_CONN_KEEP, NULL);
    first = second = NULL;
    CHECK_POOL(pool, 2, 0);
    TRY(dbi_pool_acquire(pool, &first, after_ms(5000), -1, NULL)); /* the one used last is taken first */
    CHECK(dbi_conn_number(first) != number);
    CHECK_INT(server.connected, 2);
    CHECK_INT(view_of(pool).acquired, 3);
    CHECK_INT(view_of(pool).statements, 2);
done:
    PQclear(result);
    dbi_pool_release(pool, first, DBI_CONN_KEEP, NULL);
    dbi_pool_release(pool, second, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
    CHECK_INT(server.terminated, server.connected); /* politely */
}

TEST(an_error_of_the_server_is_told_without_its_detail) {
    static const struct {
        const char *sql, *sqlstate;
        dbi_rc rc;
    } cases[] = {
        {"error 22P02", "22P02", DBI_ESERVER},
        {"error 28000", "28000", DBI_EAUTH},
        {"error 08P01", "08P01", DBI_EUNREACHABLE},
        {"error 53300", "53300", DBI_ESERVER},
    };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    PGresult *result;
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
        CHECK_RC(dbi_conn_exec(conn, cases[i].sql, after_ms(5000), &result, &err), cases[i].rc);
        CHECK(result == NULL);
        CHECK_STR(err.sqlstate, cases[i].sqlstate);
        CHECK_STR(err.msg, "statement: it was refused");
        dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
        conn = NULL;
    }
    CHECK_INT(server.connected, 1); /* it was good all the time */
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_lost_connection_says_why) {
    static const struct {
        const char *sql, *sqlstate, *text;
    } cases[] = {{"fatal", "57P01", "lost: terminating connection"}, {"reset", "", "lost: "}};
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (int i = 0; i < 2; i++) {
        TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
        CHECK_RC(dbi_conn_exec(conn, cases[i].sql, after_ms(5000), NULL, &err), DBI_EUNREACHABLE);
        CHECK_STR(err.sqlstate, cases[i].sqlstate);
        CHECK_HAS(err.msg, cases[i].text);
        CHECK_HAS(err.msg, dbi_conn_place(conn));
        CHECK(dbi_conn_lost(conn));
        CHECK_RC(dbi_conn_exec(conn, "any", after_ms(5000), NULL, &err), DBI_EUNREACHABLE);
        CHECK_RC(dbi_conn_copy_put(conn, "x", 1, after_ms(5000), &err), DBI_EUNREACHABLE);
        CHECK_RC(dbi_conn_copy_end(conn, NULL, after_ms(5000), &err), DBI_EUNREACHABLE);
        dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
        conn = NULL;
        CHECK_CLOSED_BY(pool, LOST, (uint64_t)i + 1);
    }
    TRY(once(pool, "any", after_ms(5000), NULL));
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- opening --- */

TEST(no_server_no_answer_and_a_wrong_password_are_told_apart) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    int64_t started;
    dbi_err err;

    fake_up(&server);
    config = config_for("host=127.0.0.1 port=1 user=u gssencmode=disable");
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY_RC(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, &err), DBI_EUNREACHABLE);
    CHECK_HAS(err.msg, "\"127.0.0.1\", port 1 failed: Connection refused");
    CHECK(strchr(err.msg, '\n') == NULL && strstr(err.msg, "Is the server running") == NULL);
    CHECK_STR(view_of(pool).last_error.msg, err.msg);
    CHECK_INT(view_of(pool).failed, 1);
    dbi_pool_free(pool);
    pool = NULL;

    server.mute = true;
    config = config_for(server.conninfo);
    config.connect_timeout = 50 * MS;
    TRY(dbi_pool_new(&pool, &config, NULL));
    started = dbi_clock_now(NULL);
    TRY_RC(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, &err), DBI_EUNREACHABLE);
    CHECK_WITHIN((dbi_clock_now(NULL) - started) / MS, 49, 2000);
    CHECK_HAS(err.msg, "no connection to 127.0.0.1:");
    TRY_RC(dbi_pool_acquire(pool, &conn, after_ms(20), -1, &err), DBI_ETIMEOUT);
    CHECK_INT(view_of(pool).timeouts, 1);
    dbi_pool_free(pool);
    pool = NULL;

    server.mute = false;
    server.password = "right";
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY_RC(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, &err), DBI_EAUTH);
    CHECK_HAS(err.msg, "no password supplied");
    TRY(dbi_pool_set_credentials(pool, "u", "wrong", NULL));
    TRY_RC(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, &err), DBI_EAUTH);
    CHECK_STR(err.sqlstate, "28P01");
    CHECK_HAS(err.msg, "failed: password authentication failed for user \"u\"");
    CHECK(strstr(err.msg, "wrong") == NULL && strstr(err.msg, "28P01") == NULL);
    TRY(dbi_pool_set_credentials(pool, "u", "right", NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(view_of(pool).last_error.rc, DBI_OK);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_host_that_does_not_answer_leaves_time_for_the_next) {
    fake away = {.mute = true}, server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    char conninfo[200];
    int64_t started;
    int asked;
    dbi_err err;

    fake_up(&away);
    fake_up(&server);
    (void)snprintf(conninfo, sizeof conninfo,
                   "postgresql://u@127.0.0.1:1,127.0.0.1:%d,127.0.0.1:%d/d?gssencmode=disable"
                   "&sslmode=disable",
                   away.port, server.port);
    config = config_for(conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    started = dbi_clock_now(NULL);
    TRY(once(pool, "any", after_ms(2000), &err)); /* refused at once; half of the time; up */
    CHECK_WITHIN((dbi_clock_now(NULL) - started) / MS, 990, 2000);
    dbi_pool_free(pool);
    pool = NULL;

    config.connect_timeout = 300 * MS;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY_RC(once(pool, "reset", after_ms(5000), &err), DBI_EUNREACHABLE);
    asked = away.count;
    TRY(once(pool, "any", after_ms(5000), &err)); /* the host that answered last is tried first */
    CHECK_INT(away.count, asked);
    dbi_pool_free(pool);
    pool = NULL;

    server.password = "right";
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY_RC(once(pool, "any", after_ms(5000), &err), DBI_EAUTH); /* says more than "unreachable" */
    CHECK_HAS(err.msg, "port 1 failed: Connection refused; ");
    CHECK_HAS(err.msg, "; connection to server at \"127.0.0.1\", port");
done:
    dbi_pool_free(pool);
    fake_down(&server);
    fake_down(&away);
}

TEST(a_conninfo_that_cannot_work_is_refused_and_not_repeated) {
    static const struct {
        const char *conninfo, *says;
    } cases[] = {
        {"hunter2", "conninfo: missing \"…\" in connection info string"},
        {"password=my hunter2=x", "conninfo: invalid connection option \"…\""},
        {"postgresql://u:hun\"ter2@[h/d", "\"…\""},
        {"postgresql://u:hun@ter2@h/d", "percent-encoded"},
        {"postgresql://u:hun/ter2@h/d", "percent-encoded"},
        {"host=a,b hostaddr=127.0.0.1", "2 hosts and 1 addresses"},
        {"host=a,b,c port=1,2", "2 ports for 3 hosts"},
        {"host=a port=0", "a port is not a number"},
        {"host=a port=65536", "a port is not a number"},
    };
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_err err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config = config_for(cases[i].conninfo);
        TRY_RC(dbi_pool_new(&pool, &config, &err), DBI_ECONFIG);
        CHECK(pool == NULL);
        CHECK_HAS(err.msg, cases[i].says);
        CHECK(strstr(err.msg, "hun") == NULL && strstr(err.msg, "ter2") == NULL);
    }
    config = config_for("host=a,b port=,5433 target_session_attrs=prefer-standby"); /* libpq sees both at once */
    TRY(dbi_pool_new(&pool, &config, &err));
done:
    dbi_pool_free(pool);
}

TEST(a_configuration_out_of_range_is_refused) {
    dbi_pool_config config = config_for("");
    dbi_pool *pool;
    dbi_err err;

#define REFUSED(field, wrong)                                                                                          \
    do {                                                                                                               \
        dbi_pool_config bad = config;                                                                                  \
        bad.field = wrong;                                                                                             \
        CHECK_RC(dbi_pool_new(&pool, &bad, &err), DBI_ECONFIG);                                                        \
        CHECK_HAS(err.msg, "pool: " #field " must ");                                                                  \
    } while (0)
    REFUSED(name, "");
    REFUSED(conninfo, NULL);
    REFUSED(max_size, 0);
    REFUSED(max_size, DBI_POOL_SIZE_MAX + 1);
    REFUSED(min_size, 4);
    REFUSED(max_waiting, DBI_POOL_WAITING_MAX + 1);
    REFUSED(connect_timeout, 0);
    REFUSED(max_age, 0);
    REFUSED(max_age_jitter, 1.01);
    REFUSED(max_idle, -1);
    REFUSED(check_after_idle, -1);
    REFUSED(exhaustion_threshold, 0);
    REFUSED(exhaustion_threshold, 100.5);
}

/* --- waits that end otherwise --- */

TEST(a_stalled_server_ends_in_a_timeout_and_costs_the_connection) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    PGresult *result = NULL;
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    TRY(dbi_conn_send(conn, "late", after_ms(5000), &err));
    CHECK_RC(dbi_conn_send(conn, "any", after_ms(5000), &err), DBI_ESTATE);
    CHECK_RC(dbi_conn_result(conn, after_ms(30), &result, &err), DBI_ETIMEOUT);
    CHECK_HAS(err.msg, dbi_conn_place(conn));
    TRY(dbi_conn_result(conn, after_ms(5000), &result, &err)); /* taken up again */
    CHECK_INT(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    TRY(dbi_conn_result(conn, after_ms(5000), &result, &err));
    CHECK(result == NULL);
    CHECK_RC(dbi_conn_exec(conn, "stall", after_ms(30), &result, &err), DBI_ETIMEOUT);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    CHECK_CLOSED_BY(pool, UNFINISHED, 1);
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    CHECK_RC(dbi_conn_exec(conn, "stall", after_ms(30), &result, &err), DBI_ETIMEOUT);
    dbi_pool_release(pool, conn, DBI_CONN_DISCARD, "it stalled");
    conn = NULL;
    CHECK_CLOSED_BY(pool, DISCARDED, 1);
    CHECK_STR(view_of(pool).last_close, "its user gave it up: it stalled");
    CHECK_POOL(pool, 0, 0);
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* Lets a wait go on once, then ends it. */
static dbi_rc check_twice(void *arg) {
    return ++*(int *)arg % 2 == 0 ? DBI_EINTR : DBI_OK;
}

TEST(a_descriptor_or_a_check_ends_every_wait) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL, *other = NULL;
    int checks = 0, pipes[2];
    dbi_interrupt check = {.fd = -1, .check = check_twice, .arg = &checks};
    dbi_err err;

    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = 1;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), pipes[0], NULL));
    CHECK_INT(write(pipes[1], "x", 1), 1);
    CHECK_RC(dbi_conn_exec(conn, "stall", DBI_FOREVER, NULL, &err), DBI_EINTR);
    CHECK_RC(dbi_pool_acquire(pool, &other, DBI_FOREVER, pipes[0], &err), DBI_EINTR);
    CHECK_RC(dbi_pool_acquire_with(pool, &other, DBI_FOREVER, &check, &err), DBI_EINTR);
    CHECK_INT(checks, 2);
    CHECK_HAS(err.msg, "pool \"test\": waiting for a connection: interrupted");
    CHECK_INT(view_of(pool).waiting, 0);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    server.mute = true;
    TRY_RC(dbi_pool_acquire(pool, &conn, DBI_FOREVER, pipes[0], &err), DBI_EINTR); /* while it connects */
    TRY_RC(dbi_pool_acquire_with(pool, &conn, DBI_FOREVER, &check, &err), DBI_EINTR);
    server.mute = false;
    TRY(dbi_pool_acquire_with(pool, &conn, after_ms(5000), &check, &err));
    CHECK_RC(dbi_conn_exec(conn, "stall", DBI_FOREVER, NULL, &err), DBI_EINTR);
    CHECK_INT(checks, 6);
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

TEST(what_a_timeout_left_unsent_is_sent_with_the_next_wait) {
    enum { SIZE = 16000000 };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    PGresult *result = NULL;
    char *sql = malloc(SIZE + 1);
    dbi_err err;

    CHECK(sql != NULL);
    memset(sql, ' ', SIZE);
    sql[SIZE] = '\0';
    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(15000), -1, NULL));
    server.asleep = true;
    CHECK_RC(dbi_conn_send(conn, sql, 0, &err), DBI_ETIMEOUT); /* more than the sockets hold */
    server.asleep = false;
    TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
    CHECK_INT(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
    CHECK(result == NULL);
done:
    free(sql);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* Gives back what the waiting thread waits for, and ends its wait. */
typedef struct late_gift {
    dbi_pool *pool;
    dbi_conn *conn;
    dbi_conn_end how;
} late_gift;

static dbi_rc give_and_interrupt(void *arg) {
    late_gift *gift = arg;

    dbi_pool_release(gift->pool, gift->conn, gift->how, "for the test");
    gift->conn = NULL;
    return DBI_EINTR;
}

TEST(who_is_served_and_does_not_want_it_any_more_leaves_it_to_others) {
    fake server = {0};
    dbi_pool_config config;
    late_gift gift = {0};
    dbi_interrupt interrupt = {.fd = -1, .check = give_and_interrupt, .arg = &gift};
    dbi_conn *conn = NULL;
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = 1;
    TRY(dbi_pool_new(&gift.pool, &config, NULL));
    for (int discard = 0; discard < 2; discard++) { /* a connection, then a place */
        gift.how = discard ? DBI_CONN_DISCARD : DBI_CONN_KEEP;
        TRY(dbi_pool_acquire(gift.pool, &gift.conn, after_ms(5000), -1, NULL));
        CHECK_RC(dbi_pool_acquire_with(gift.pool, &conn, DBI_FOREVER, &interrupt, &err), DBI_EINTR);
        CHECK(conn == NULL);
        CHECK_POOL(gift.pool, !discard, 0);
        CHECK_INT(view_of(gift.pool).opening, 0);
    }
    TRY(once(gift.pool, "any", after_ms(5000), NULL));
done:
    dbi_pool_release(gift.pool, gift.conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(gift.pool);
    fake_down(&server);
}

/* --- waiting for a connection --- */

typedef struct waiter {
    dbi_pool *pool;
    pthread_t thread;
    int64_t deadline;
    dbi_rc rc;
    int turn;
    dbi_err err;
} waiter;

static atomic_int turns;

static void *wait_in_line(void *arg) {
    waiter *self = arg;
    dbi_conn *conn = NULL;

    self->rc = dbi_pool_acquire(self->pool, &conn, self->deadline, -1, &self->err);
    self->turn = ++turns;
    dbi_pool_release(self->pool, conn, DBI_CONN_KEEP, NULL);
    return NULL;
}

/* Starts a thread that waits in line, and sees it there. */
static void line_up(waiter *who, dbi_pool *pool, int64_t deadline, uint32_t place) {
    who->pool = pool;
    who->deadline = deadline;
    CHECK_INT(pthread_create(&who->thread, NULL, wait_in_line, who), 0);
    UNTIL(view_of(pool).waiting == place);
}

TEST(who_waits_longest_is_served_first) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL, *none = NULL;
    waiter line[6] = {0};
    int64_t started;
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = 1;
    config.max_waiting = 6;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    line_up(&line[0], pool, after_ms(2000), 1); /* gives up, and leaves the line in order */
    for (uint32_t i = 1; i < 6; i++)
        line_up(&line[i], pool, after_ms(15000), i + 1);
    CHECK_RC(dbi_pool_acquire(pool, &none, after_ms(5000), -1, &err), DBI_EFULL);
    CHECK_HAS(err.msg, "6 already wait for one of its 1 connections");
    CHECK_INT(pthread_join(line[0].thread, NULL), 0);
    CHECK_RC(line[0].rc, DBI_ETIMEOUT);
    CHECK_HAS(line[0].err.msg, "(1 of 1 in use, 5 others waiting)");
    started = dbi_clock_now(NULL);
    CHECK_RC(dbi_pool_acquire(pool, &none, after_ms(0), -1, &err), DBI_ETIMEOUT); /* does not wait at all */
    CHECK_WITHIN((dbi_clock_now(NULL) - started) / MS, 0, 1000);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    for (int i = 1; i < 6; i++) {
        CHECK_INT(pthread_join(line[i].thread, NULL), 0);
        CHECK_RC(line[i].rc, DBI_OK);
        CHECK_INT(line[i].turn, i + 1);
    }
    CHECK_INT(server.connected, 1);
    CHECK_INT(view_of(pool).waits, 7);
    CHECK_INT(view_of(pool).timeouts, 2);
    CHECK_INT(view_of(pool).refused, 1);
    CHECK_POOL(pool, 1, 0);
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_place_that_becomes_free_goes_to_the_first_who_waits) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    waiter line[2] = {0};

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = 1;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    line_up(&line[0], pool, after_ms(15000), 1);
    line_up(&line[1], pool, after_ms(15000), 2);
    dbi_pool_release(pool, conn, DBI_CONN_DISCARD, "for the test");
    conn = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_join(line[i].thread, NULL), 0);
        if (!test_injected()) {
            CHECK_RC(line[i].rc, DBI_OK);
            CHECK_INT(line[i].turn, i + 1);
        }
    }
    if (!test_injected())
        CHECK_INT(server.connected, 2);
    CHECK_INT(view_of(pool).opening, 0);
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_closed_pool_sends_everybody_away) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL, *none = NULL;
    waiter line[2] = {0};
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = 2;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_POOL(pool, 1, 1);
    CHECK_RC(dbi_pool_close(pool, after_ms(10), &err), DBI_ETIMEOUT);
    CHECK_HAS(err.msg, "1 connections are still in use");
    CHECK_POOL(pool, 0, 1);
    CHECK_RC(dbi_pool_acquire(pool, &none, after_ms(5000), -1, &err), DBI_ECLOSED);
    CHECK(none == NULL);
    TRY(dbi_conn_exec(conn, "any", after_ms(5000), NULL, &err)); /* what is in use may be used */
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    TRY(dbi_pool_close(pool, after_ms(5000), &err));
    CHECK_CLOSED_BY(pool, POOL_CLOSED, 2);
    CHECK(view_of(pool).closed);
    dbi_pool_free(pool);
    pool = NULL;

    config.max_size = 1;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    line_up(&line[0], pool, DBI_FOREVER, 1);
    line_up(&line[1], pool, DBI_FOREVER, 2);
    CHECK_RC(dbi_pool_close(pool, 0, &err), DBI_ETIMEOUT);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pthread_join(line[i].thread, NULL), 0);
        CHECK_RC(line[i].rc, DBI_ECLOSED);
    }
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- why connections are closed --- */

TEST(connections_grow_old) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conns[3] = {NULL};

    fake_up(&server);
    config = config_for(server.conninfo);
    config.min_size = 1;
    config.max_age = 100 * S;
    config.max_idle = 30 * S;
    config.check_after_idle = DBI_FOREVER;
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (int i = 0; i < 3; i++)
        TRY(dbi_pool_acquire(pool, &conns[i], after_ms(5000), -1, NULL));
    for (int i = 0; i < 3; i++) {
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
        conns[i] = NULL;
    }
    clock_advance(29 * S);
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_POOL(pool, 3, 0);
    clock_advance(2 * S); /* two have been idle for 31 s */
    dbi_pool_tidy(pool);
    CHECK_POOL(pool, 1, 0);
    CHECK_CLOSED_BY(pool, IDLE, 2);
    clock_advance(60 * S); /* min_size are kept, however long they are idle */
    dbi_pool_tidy(pool);
    CHECK_POOL(pool, 1, 0);
    clock_advance(8 * S);
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.connected, 3);
    clock_advance(2 * S); /* 101 s: too old, and found so by whoever comes */
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.connected, 4);
    CHECK_CLOSED_BY(pool, AGE, 1);
    TRY(dbi_pool_acquire(pool, &conns[0], after_ms(5000), -1, NULL));
    clock_advance(101 * S);
    dbi_pool_release(pool, conns[0], DBI_CONN_KEEP, NULL);
    conns[0] = NULL;
    CHECK_CLOSED_BY(pool, AGE, 2);
    CHECK_STR(view_of(pool).last_close, "it reached its maximum age");
done:
    for (int i = 0; i < 3; i++)
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(jitter_spreads_the_ends) {
    enum { COUNT = 20 };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conns[COUNT] = {NULL};
    uint32_t left = COUNT, steps = 0;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_size = COUNT;
    config.min_size = COUNT;
    config.max_age = 100 * S;
    config.max_age_jitter = 0.5;
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (int i = 0; i < COUNT; i++)
        TRY(dbi_pool_acquire(pool, &conns[i], after_ms(5000), -1, NULL));
    for (int i = 0; i < COUNT; i++) {
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
        conns[i] = NULL;
    }
    clock_advance(50 * S - 1);
    dbi_pool_tidy(pool);
    CHECK_INT(view_of(pool).idle, COUNT);
    for (int i = 0; i < 10; i++) {
        clock_advance(5 * S);
        dbi_pool_tidy(pool);
        steps += view_of(pool).idle < left;
        left = view_of(pool).idle;
    }
    clock_advance(1);
    dbi_pool_tidy(pool);
    CHECK_INT(view_of(pool).idle, 0);
    CHECK_WITHIN(steps, 3, 10);
done:
    for (int i = 0; i < COUNT; i++)
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_connection_serves_its_number_of_statements) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.max_queries = 3;
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (int i = 0; i < 7; i++)
        TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.connected, 3);
    CHECK_CLOSED_BY(pool, QUERIES, 2);
    CHECK_INT(view_of(pool).statements, 7);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(an_open_transaction_is_not_handed_on) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(once(pool, "begin", after_ms(5000), NULL));
    CHECK_POOL(pool, 0, 0);
    CHECK_CLOSED_BY(pool, UNFINISHED, 1);
    TRY_RC(once(pool, "copy", after_ms(5000), NULL), DBI_ESTATE); /* nor a COPY that nobody feeds */
    CHECK_CLOSED_BY(pool, UNFINISHED, 2);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_connection_that_became_read_only_is_closed) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(once(pool, "read only", after_ms(5000), NULL));
    CHECK_CLOSED_BY(pool, READ_ONLY, 1);
    TRY_RC(once(pool, "error 25006", after_ms(5000), NULL), DBI_ESERVER);
    CHECK_CLOSED_BY(pool, READ_ONLY, 2);
    CHECK_POOL(pool, 0, 0);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(idle_connections_are_asked_whether_they_live) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conns[3] = {NULL};
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.check_after_idle = 10 * S;
    config.connect_timeout = 1 * S;
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    clock_advance(9 * S);
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.checks, 0);
    clock_advance(11 * S);
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.checks, 1);
    CHECK_INT(server.connected, 1);

    /* one that was lost makes the others suspect, and those alone that were idle then */
    for (int i = 0; i < 3; i++)
        TRY(dbi_pool_acquire(pool, &conns[i], after_ms(5000), -1, NULL));
    dbi_pool_release(pool, conns[0], DBI_CONN_KEEP, NULL);
    dbi_pool_release(pool, conns[1], DBI_CONN_KEEP, NULL);
    conns[0] = conns[1] = NULL;
    clock_advance(1);
    CHECK_RC(dbi_conn_exec(conns[2], "reset", after_ms(5000), NULL, &err), DBI_EUNREACHABLE);
    dbi_pool_release(pool, conns[2], DBI_CONN_KEEP, NULL);
    conns[2] = NULL;
    clock_advance(1);
    TRY(once(pool, "any", after_ms(5000), NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(server.checks, 2);

    /* a caller without time learns nothing about the others */
    clock_advance(11 * S);
    server.deaf = true;
    CHECK_RC(dbi_pool_acquire(pool, &conns[0], after_ms(20), -1, &err), DBI_ETIMEOUT);
    CHECK_CLOSED_BY(pool, UNRESPONSIVE, 1);
    CHECK_POOL(pool, 1, 0);
    server.deaf = false;
    TRY(dbi_pool_acquire(pool, &conns[0], after_ms(5000), -1, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    dbi_pool_release(pool, conns[0], DBI_CONN_KEEP, NULL);
    conns[0] = NULL;
    CHECK_POOL(pool, 2, 0);

    /* one that does not answer in all the time there is is closed, and with it all that are idle */
    clock_advance(11 * S);
    server.deaf = true;
    TRY_RC(dbi_pool_acquire(pool, &conns[0], after_ms(15000), -1, &err), DBI_EUNREACHABLE);
    CHECK_CLOSED_BY(pool, UNRESPONSIVE, 3);
    CHECK_POOL(pool, 0, 0);
done:
    for (int i = 0; i < 3; i++)
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_connection_closed_while_idle_is_never_handed_out) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_INT(shutdown(server.clients[0].fd, SHUT_RDWR), 0);
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_CLOSED_BY(pool, LOST, 1);
    CHECK_INT(server.connected, 2);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- credentials --- */

/* A provider whose answer is out of date before the connection is opened: on its first call a rotation runs. */
typedef struct rotation {
    dbi_pool *pool;
    fake *server;
    int calls;
    dbi_rc rc; /* what it answers when not DBI_OK */
} rotation;

static dbi_rc rotate_while_asked(void *arg, int64_t deadline, dbi_credentials *credentials, dbi_err *err) {
    rotation *self = arg;

    CHECK(dbi_clock_left(NULL, deadline) > 0);
    CHECK_STR(credentials->password, "");
    if (self->rc != DBI_OK)
        return dbi_err_set(err, self->rc, "the provider is away");
    (void)snprintf(credentials->user, sizeof credentials->user, "u");
    (void)snprintf(credentials->password, sizeof credentials->password, self->calls++ == 0 ? "old" : "new");
    if (self->calls == 1)
        return dbi_pool_set_credentials(self->pool, NULL, NULL, err); /* "ask again": a new generation */
    return DBI_OK;
}

TEST(credentials_replaced_while_they_are_found_out_are_not_used) {
    fake server = {.password = "old"};
    dbi_pool_config config;
    rotation provider = {.server = &server};
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.credentials = rotate_while_asked;
    config.credentials_arg = &provider;
    TRY(dbi_pool_new(&provider.pool, &config, NULL));
    provider.rc = DBI_EUNREACHABLE;
    TRY_RC(once(provider.pool, "any", after_ms(5000), &err), DBI_EUNREACHABLE);
    CHECK_STR(err.msg, "the provider is away");
    provider.rc = DBI_OK;
    /* the server takes both passwords: the first connection comes up with "old", and is not handed out */
    TRY_RC(once(provider.pool, "any", after_ms(5000), &err), DBI_EAUTH); /* "new" is refused by this server */
    CHECK_INT(provider.calls, 2);
    CHECK_CLOSED_BY(provider.pool, CREDENTIALS, 1);
    server.password = "new";
    TRY(once(provider.pool, "any", after_ms(5000), &err));
    CHECK_POOL(provider.pool, 1, 0);
done:
    dbi_pool_free(provider.pool);
    fake_down(&server);
}

/* The server has the password, and has not answered yet, when the rotation comes. */
static void rotate_while_authenticating(void *arg, const char *given) {
    rotation *self = arg;

    if (strcmp(given, "old") == 0 && self->calls++ == 0)
        CHECK_RC(dbi_pool_set_credentials(self->pool, "u", "new", NULL), DBI_OK);
    self->server->password = given[0] == 'o' && self->rc == DBI_OK ? "old" : "new";
}

TEST_WITH(credentials_replaced_while_a_connection_is_opened_are_not_served,
          .unswept = "the server's thread sets the credentials, and must succeed") {
    for (int refused = 0; refused < 2; refused++) {
        fake server = {.password = "?", .on_password = rotate_while_authenticating};
        rotation hook = {.server = &server, .rc = refused ? DBI_EAUTH : DBI_OK};
        dbi_pool_config config;
        dbi_pool_view view;

        fake_up(&server);
        server.arg = &hook;
        config = config_for(server.conninfo);
        TRY(dbi_pool_new(&hook.pool, &config, NULL));
        TRY(dbi_pool_set_credentials(hook.pool, "u", "old", NULL));
        TRY(once(hook.pool, "any", after_ms(5000), NULL)); /* refused: "old" was no error of ours, but late */
        view = view_of(hook.pool);
        CHECK_INT(view.generation, 3);
        CHECK_INT(view.closes[DBI_CONN_CLOSE_CREDENTIALS], !refused);
        CHECK_INT(view.failed, refused);
        CHECK_INT(view.idle, 1);
    done:
        dbi_pool_free(hook.pool);
        fake_down(&server);
    }
}

TEST(a_rotation_ends_idle_connections_at_once_and_used_ones_when_they_come_back) {
    fake server = {.password = "old"};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    char longest[DBI_PASSWORD_SIZE + 1];
    dbi_err err;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_set_credentials(pool, NULL, "old", NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_POOL(pool, 1, 1);
    server.password = "new";
    TRY(dbi_pool_set_credentials(pool, NULL, "new", NULL));
    CHECK_POOL(pool, 0, 1);
    TRY(dbi_conn_exec(conn, "any", after_ms(5000), NULL, NULL)); /* its user is not disturbed */
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    CHECK_CLOSED_BY(pool, CREDENTIALS, 2);
    TRY(once(pool, "any", after_ms(5000), NULL));
    memset(longest, 'x', DBI_PASSWORD_SIZE);
    longest[DBI_PASSWORD_SIZE] = '\0';
    CHECK_RC(dbi_pool_set_credentials(pool, NULL, longest, &err), DBI_EINVAL);
    CHECK_HAS(err.msg, "a password 8191");
    CHECK_INT(view_of(pool).generation, 3);
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- COPY --- */

TEST(a_copy_is_sent_and_refused) {
    enum { SIZE = 16000001 };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    PGresult *result = NULL;
    char *rows = calloc(1, SIZE);
    dbi_err err;

    static const struct {
        const char *sql, *errormsg, *sqlstate;
    } cases[] = {
        {"copy", NULL, NULL},
        {"copy noise", NULL, NULL}, /* neither side waits for the other to read first */
        {"copy", "changed its mind", "57014"},
        {"copy error", NULL, "22P04"},
    };

    CHECK(rows != NULL);
    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(15000), -1, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        server.copied = 0;
        TRY(dbi_conn_send(conn, cases[i].sql, after_ms(15000), &err));
        TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
        CHECK_INT(PQresultStatus(result), PGRES_COPY_IN);
        PQclear(result);
        TRY(dbi_conn_copy_put(conn, rows, SIZE, after_ms(15000), &err));
        TRY(dbi_conn_copy_end(conn, cases[i].errormsg, after_ms(15000), &err));
        TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
        if (cases[i].sqlstate == NULL) {
            CHECK_INT(PQresultStatus(result), PGRES_COMMAND_OK);
            CHECK_INT(server.copied, SIZE);
        } else {
            CHECK_INT(PQresultStatus(result), PGRES_FATAL_ERROR);
            CHECK_RC(dbi_conn_fail(conn, result, &err, "shipping"), DBI_ESERVER);
            CHECK_STR(err.sqlstate, cases[i].sqlstate);
            CHECK_HAS(err.msg, "shipping: ");
        }
        PQclear(result);
        TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
        CHECK(result == NULL);
        CHECK_RC(dbi_conn_copy_put(conn, rows, 1, after_ms(15000), &err), DBI_ESTATE);
        CHECK_RC(dbi_conn_copy_end(conn, NULL, after_ms(15000), &err), DBI_ESTATE);
    }
    TRY(dbi_conn_exec(conn, "any", after_ms(15000), NULL, &err));

    /* the server ends in the middle of it: what it said last is the reason */
    TRY(dbi_conn_send(conn, "copy fatal", after_ms(15000), &err));
    TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
    PQclear(result);
    err.rc = DBI_OK;
    for (int i = 0; i < 1000 && err.rc == DBI_OK; i++)
        if (dbi_conn_copy_put(conn, rows, SIZE, after_ms(15000), &err) == DBI_OK)
            err.rc = DBI_OK;
    CHECK_RC(err.rc, DBI_EUNREACHABLE);
    CHECK_STR(err.sqlstate, "57P01");
done:
    free(rows);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(a_copy_into_a_server_that_does_not_read_ends_in_a_timeout) {
    enum { SIZE = 32 << 20 };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    PGresult *result = NULL;
    char *rows = calloc(1, SIZE);
    dbi_err err;

    CHECK(rows != NULL);
    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(15000), -1, NULL));
    TRY(dbi_conn_send(conn, "copy stall", after_ms(15000), &err));
    TRY(dbi_conn_result(conn, after_ms(15000), &result, &err));
    PQclear(result);
    CHECK_RC(dbi_conn_copy_put(conn, rows, SIZE, after_ms(100), &err), DBI_ETIMEOUT); /* more than the sockets hold */
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    conn = NULL;
    CHECK_CLOSED_BY(pool, UNFINISHED, 1);
done:
    free(rows);
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- fork --- */

#ifndef TEST_SANITIZED
/* In the child: the parent's connection is refused, and the pool opens its own. */
static int child_of_a_fork(dbi_pool *pool, dbi_conn *inherited) {
    dbi_pool_view view = view_of(pool);
    dbi_err err;

    if (view.idle != 0 || view.used != 0)
        return 1;
    if (dbi_conn_exec(inherited, "any", after_ms(5000), NULL, &err) != DBI_EFORK)
        return 2;
    dbi_pool_release(pool, inherited, DBI_CONN_KEEP, NULL);
    if (once(pool, "any", after_ms(5000), &err) != DBI_OK)
        return 3;
    view = view_of(pool);
    if (view.idle != 1 || view.used != 0)
        return 4;
    if (dbi_pool_close(pool, after_ms(5000), &err) != DBI_OK)
        return 5;
    dbi_pool_free(pool);
    return 0;
}
#endif

TEST(both_sides_of_a_fork_have_connections) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conn = NULL;
    int status, sockets[2] = {0};
    pid_t pid;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    TRY(dbi_pool_acquire(pool, &conn, after_ms(5000), -1, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    sockets[0] = PQsocket(dbi_conn_pq(conn));
    pid = fork();
    if (pid == 0) {
        if (fcntl(sockets[0], F_GETFD) != -1) /* the copy is closed before anything else happens */
            _exit(9);
#ifdef TEST_SANITIZED
        _exit(0); /* a sanitizer's allocator and threads may stay locked in the child of a process with threads */
#else
        _exit(child_of_a_fork(pool, conn));
#endif
    }
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    TRY(dbi_conn_exec(conn, "any", after_ms(5000), NULL, NULL));
    TRY(once(pool, "any", after_ms(5000), NULL));
    CHECK_POOL(pool, 1, 1);
#ifndef TEST_SANITIZED
    CHECK_INT(server.connected, 3);
    UNTIL(server.terminated == 1); /* the child's own */
#endif
done:
    dbi_pool_release(pool, conn, DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

/* --- all at once --- */

typedef struct user {
    dbi_pool *pool;
    pthread_t thread;
    unsigned seed;
    int acquired;
} user;

static void *use_at_random(void *arg) {
    user *self = arg;

    for (int i = 0; i < 60; i++) {
        unsigned what = (self->seed = self->seed * 1103515245 + 12345) >> 16;
        dbi_conn *conn;
        dbi_rc rc = dbi_pool_acquire(self->pool, &conn, after_ms(what % 8 == 0 ? 1 : 15000), -1, NULL);

        if (rc != DBI_OK) {
            CHECK(rc == DBI_ETIMEOUT || (rc == DBI_ENOMEM && test_injected()));
            continue;
        }
        self->acquired++;
        rc = dbi_conn_exec(conn, what % 50 == 1 ? "reset" : "any", after_ms(15000), NULL, NULL);
        CHECK(rc == DBI_OK || what % 50 == 1);
        dbi_pool_release(self->pool, conn, what % 25 == 2 ? DBI_CONN_DISCARD : DBI_CONN_KEEP, "for the test");
        if (what % 60 == 3)
            CHECK_RC(dbi_pool_set_credentials(self->pool, "u", "x", NULL), DBI_OK);
        if (what % 16 == 4) {
            dbi_snapshot snapshot;

            dbi_pool_tidy(self->pool);
            if (dbi_snapshot_take(&snapshot, NULL) == DBI_OK)
                dbi_snapshot_reset(&snapshot);
        }
    }
    return NULL;
}

TEST_WITH(many_threads_share_few_connections, .timeout_s = 60,
          .unswept = "which thread makes the failing allocation is chance") {
    enum { USERS = 12 };
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    user users[USERS] = {0};
    dbi_pool_view view;
    uint64_t closed = 0;
    int acquired = 0;

    fake_up(&server);
    config = config_for(server.conninfo);
    TRY(dbi_pool_new(&pool, &config, NULL));
    for (unsigned i = 0; i < USERS; i++) {
        users[i] = (user){.pool = pool, .seed = i + 1};
        CHECK_INT(pthread_create(&users[i].thread, NULL, use_at_random, &users[i]), 0);
    }
    for (unsigned i = 0; i < USERS; i++) {
        CHECK_INT(pthread_join(users[i].thread, NULL), 0);
        acquired += users[i].acquired;
    }
    view = view_of(pool);
    CHECK_INT(view.acquired, acquired);
    CHECK_INT(view.released, acquired);
    CHECK_INT(view.waiting + view.opening + view.used, 0);
    CHECK(view.size <= 3);
    for (int i = 0; i < DBI_CONN_CLOSE_COUNT; i++)
        closed += view.closes[i];
    CHECK_INT(view.opened, closed + view.idle);
done:
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST(what_it_counts_is_in_the_snapshot) {
    fake server = {0};
    dbi_pool_config config;
    dbi_pool *pool = NULL;
    dbi_conn *conns[3] = {NULL};
    dbi_snapshot snapshot = {0};
    unsigned found = 0;

    fake_up(&server);
    config = config_for(server.conninfo);
    config.exhaustion_threshold = 60;
    TRY(dbi_pool_new(&pool, &config, NULL));
    CHECK_STR(dbi_pool_name(pool), "test");
    for (int i = 0; i < 3; i++) {
        TRY(dbi_pool_acquire(pool, &conns[i], after_ms(5000), -1, NULL));
        CHECK_INT(view_of(pool).nearly_exhausted, i >= 1); /* 33 %, 67 %, 100 % */
    }
    CHECK_WITHIN(view_of(pool).utilization, 100, 100);
    for (int i = 0; i < 2; i++) {
        dbi_pool_release(pool, conns[i], i == 0 ? DBI_CONN_KEEP : DBI_CONN_DISCARD, "for the test");
        conns[i] = NULL;
    }
    CHECK(!view_of(pool).nearly_exhausted);
    CHECK_INT(view_of(pool).exhausted, 1);
    TRY(dbi_snapshot_take(&snapshot, NULL));
    for (size_t i = 0; i < snapshot.count; i++) {
        const dbi_metric *metric = &snapshot.metrics[i];
        const char *label = metric->label_count > 1 ? metric->labels[1].value : "";

        if (strcmp(metric->labels[0].name, "pool") != 0)
            continue;
        CHECK_STR(metric->labels[0].value, "test");
        if (strcmp(metric->name, "dbint_pool_connections") == 0 && strcmp(label, "idle") == 0)
            found += metric->gauge == 1;
        if (strcmp(metric->name, "dbint_pool_closed_total") == 0)
            found += metric->counter == (strcmp(label, "discarded") == 0);
        if (strcmp(metric->name, "dbint_pool_acquire_duration_seconds") == 0)
            found += metric->histogram->count == 3;
    }
    CHECK_INT(found, 2 + DBI_CONN_CLOSE_COUNT);
    CHECK_STR(dbi_conn_close_label(DBI_CONN_CLOSE_COUNT), "unknown");
    CHECK_STR(dbi_conn_close_text(DBI_CONN_CLOSE_COUNT), "unknown");
done:
    dbi_snapshot_reset(&snapshot);
    for (int i = 0; i < 3; i++)
        dbi_pool_release(pool, conns[i], DBI_CONN_KEEP, NULL);
    dbi_pool_free(pool);
    fake_down(&server);
}

TEST_MAIN()
