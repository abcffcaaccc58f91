/* server_shipper.c - a shipper against a real server, with a real journal
 *
 * DBINT_TEST_CONNINFO names a database to spoil, and a superuser; `make server-test` runs it. Each case has tables, a
 * journal and connections of its own. Time that only the shipper sees (back-off, hold) is set forward by hand.
 */
#include "shipper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "ledger.h"
#include "row.h"
#include "stream.h"
#include "test.h"

/* --- the server, as the test sees it --- */

static PGconn *observer;

/* Runs SQL; the first value of the last result, "" when there is none. Valid until the next call. */
static const char *sql(const char *fmt, ...) DBI_PRINTF(1, 2);
static const char *sql(const char *fmt, ...) {
    static char statement[8192];
    static PGresult *last;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(statement, sizeof statement, fmt, args);
    va_end(args);
    if (observer == NULL)
        observer = PQconnectdb(getenv("DBINT_TEST_CONNINFO"));
    PQclear(last);
    last = PQexec(observer, statement);
    if (PQresultStatus(last) != PGRES_TUPLES_OK && PQresultStatus(last) != PGRES_COMMAND_OK)
        test_fail(__FILE__, __LINE__, "%s: %s", statement, PQerrorMessage(observer));
    return PQntuples(last) > 0 ? PQgetvalue(last, 0, 0) : "";
}

static int64_t number(const char *text) {
    return strtoll(text, NULL, 10);
}

#define CHECK_SQL(expected, ...) CHECK_STR(sql(__VA_ARGS__), (expected))

/* --- a way to the server that loses answers --- */

typedef struct test_proxy {
    int listener;
    uint16_t port;
    char server[64];            /* port of the real one */
    atomic_bool deaf;           /* what the server says is not passed on */
    atomic_bool deaf_on_copy;   /* ... after it asked for rows */
    atomic_bool deaf_at_commit; /* ... after the client said COMMIT, and nothing of a COPY with it */
    atomic_llong upstream;      /* this many bytes are passed on to the server, then no more */
    pthread_t thread;
} test_proxy;

typedef struct proxy_pair {
    test_proxy *proxy;
    int client, server;
} proxy_pair;

static void *proxy_pump(void *arg) {
    proxy_pair pair = *(proxy_pair *)arg;
    test_proxy *proxy = pair.proxy;
    char bytes[16384];

    free(arg);
    for (;;) {
        struct pollfd fds[2] = {{.fd = pair.client, .events = POLLIN}, {.fd = pair.server, .events = POLLIN}};
        ssize_t got;

        if (atomic_load(&proxy->upstream) <= 0)
            fds[0].fd = -1; /* what the client sends piles up */
        if (poll(fds, 2, 50) < 0)
            break;
        if (fds[0].fd >= 0 && fds[0].revents != 0) {
            got = recv(pair.client, bytes, sizeof bytes, 0);
            if (got <= 0)
                break;
            if (atomic_load(&proxy->upstream) < got)
                got = (ssize_t)atomic_load(&proxy->upstream);
            atomic_fetch_sub(&proxy->upstream, got);
            if (atomic_load(&proxy->deaf_at_commit) && memmem(bytes, (size_t)got, ";COMMIT", 7) != NULL &&
                memmem(bytes, (size_t)got, "COPY", 4) == NULL)
                atomic_store(&proxy->deaf, true);
            if (send(pair.server, bytes, (size_t)got, MSG_NOSIGNAL) != got)
                break;
        }
        if (fds[1].revents != 0) {
            got = recv(pair.server, bytes, sizeof bytes, 0);
            if (got <= 0)
                break;
            if (atomic_load(&proxy->deaf))
                continue;
            if (atomic_load(&proxy->deaf_on_copy) && memchr(bytes, 'G', (size_t)got) != NULL)
                atomic_store(&proxy->deaf, true); /* CopyInResponse is passed on, and nothing after it */
            if (send(pair.client, bytes, (size_t)got, MSG_NOSIGNAL) != got)
                break;
        }
    }
    /* The server keeps its half open while the client's answers are lost: it is not told that nobody listens. */
    close(pair.client);
    if (!atomic_load(&proxy->deaf) && atomic_load(&proxy->upstream) > 0)
        close(pair.server);
    return NULL;
}

static void *proxy_serve(void *arg) {
    test_proxy *proxy = arg;

    for (;;) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        proxy_pair *pair = malloc(sizeof *pair);
        pthread_t thread;

        CHECK(pair != NULL);
        pair->proxy = proxy;
        pair->client = accept(proxy->listener, NULL, NULL);
        if (pair->client < 0)
            break;
        address.sin_port = htons((uint16_t)number(proxy->server));
        pair->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(connect(pair->server, (struct sockaddr *)&address, sizeof address), 0);
        CHECK_INT(pthread_create(&thread, NULL, proxy_pump, pair), 0);
        (void)pthread_detach(thread);
    }
    return NULL;
}

static void proxy_start(test_proxy *proxy) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    (void)sql("SELECT 1");
    (void)snprintf(proxy->server, sizeof proxy->server, "%s", PQport(observer));
    atomic_store(&proxy->upstream, INT64_MAX);
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(proxy->listener, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(proxy->listener, 16), 0);
    CHECK_INT(getsockname(proxy->listener, (struct sockaddr *)&address, &length), 0);
    proxy->port = ntohs(address.sin_port);
    CHECK_INT(pthread_create(&proxy->thread, NULL, proxy_serve, proxy), 0);
}

/* --- one case's own world --- */

static int64_t skew; /* ns that the shipper's clock is ahead */

static int64_t skewed(void *arg) {
    (void)arg;
    return dbi_clock_now(NULL) + skew;
}

typedef struct test_world {
    char directory[64], dead[128];
    dbi_journal *journal;
    dbi_chain *chain;
    dbi_pool *pool;
    dbi_shipper *shipper;
    dbi_shipper_config config;
    dbi_schema *schema;
    dbi_row row;
    unsigned events[DBI_SHIP_EVENT_COUNT];
    uint64_t event_rows[DBI_SHIP_EVENT_COUNT];
    char why[512];
    dbi_err err;
    dbi_ship_next next;
    dbi_ship_view view;
} test_world;

static void hear(void *arg, const dbi_ship_event *event) {
    test_world *world = arg;

    world->events[event->kind]++;
    world->event_rows[event->kind] += event->count;
    if (event->why != NULL)
        (void)snprintf(world->why, sizeof world->why, "%s", event->why);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void journal_open_with(test_world *world, dbi_journal_config *config) {
    dbi_chain_config chain = {.name = "orders", .durability = DBI_DURABILITY_PROCESS};
    uint8_t *meta = NULL;

    config->directory = world->directory;
    CHECK_RC(dbi_journal_open(&world->journal, config, &world->err), DBI_OK);
    CHECK_RC(dbi_stream_meta_pack("orders", world->schema, &meta, &chain.meta_length, NULL), DBI_OK);
    chain.meta = meta;
    CHECK_RC(dbi_journal_chain(world->journal, &chain, &world->chain, &world->err), DBI_OK);
    dbi_free(meta);
}

static void journal_open(test_world *world) {
    dbi_journal_config config;

    dbi_journal_defaults(&config);
    journal_open_with(world, &config);
}

static void shipper_open(test_world *world) {
    world->config.chain = world->chain;
    world->config.pool = world->pool;
    CHECK_RC(dbi_shipper_new(&world->shipper, &world->config, &world->err), DBI_OK);
}

static void pool_open(test_world *world, const char *more) {
    dbi_pool_config config;
    char conninfo[1024];

    (void)snprintf(conninfo, sizeof conninfo, "%s %s", getenv("DBINT_TEST_CONNINFO"), more);
    dbi_pool_defaults(&config);
    config.conninfo = conninfo;
    CHECK_RC(dbi_pool_new(&world->pool, &config, &world->err), DBI_OK);
}

/* A table "orders" of its own schema, with the columns that rows() fills, unless `table` says otherwise. */
static void world_begin(test_world *world, const char *table) {
    memset(world, 0, sizeof *world);
    skew = 0;
    strcpy(world->directory, "/tmp/dbint-ship-XXXXXX");
    CHECK(mkdtemp(world->directory) != NULL);
    (void)snprintf(world->dead, sizeof world->dead, "%s/dead", world->directory);
    (void)sql(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA IF EXISTS dbint CASCADE;"
        "CREATE SCHEMA shop; %s",
        table != NULL ? table : "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name varchar(50), v int4)");
    CHECK_RC(dbi_schema_new(&world->schema, "shop", "orders", 3, NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&world->schema->columns[0], "id", "int8 not null", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&world->schema->columns[1], "name", "varchar(50)", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&world->schema->columns[2], "v", "int4", NULL), DBI_OK);
    dbi_row_init(&world->row, DBI_ROW_MAX);
    dbi_shipper_defaults(&world->config);
    world->config.dead_directory = world->dead;
    world->config.clock.now = skewed;
    world->config.on_event = hear;
    world->config.on_event_arg = world;
    pool_open(world, "");
    journal_open(world);
    shipper_open(world);
}

static void world_end(test_world *world) {
    dbi_shipper_free(world->shipper);
    dbi_pool_free(world->pool);
    dbi_journal_free(world->journal);
    dbi_schema_free(world->schema);
    dbi_row_free(&world->row);
    (void)nftw(world->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    PQfinish(observer);
    observer = NULL;
}

/* The process dies and another one takes its place. */
static void restart(test_world *world) {
    dbi_shipper_free(world->shipper);
    dbi_journal_free(world->journal);
    journal_open(world);
    shipper_open(world);
}

static void row_add(test_world *world, int64_t id, const char *name, int64_t v) {
    const dbi_column *columns = world->schema->columns;
    dbi_row *row = &world->row;

    CHECK_RC(dbi_row_begin(row, 3, &world->err), DBI_OK);
    CHECK_RC(dbi_row_int(row, &columns[0], id, &world->err), DBI_OK);
    CHECK_RC(dbi_row_text(row, &columns[1], name, strlen(name), &world->err), DBI_OK);
    CHECK_RC(dbi_row_int(row, &columns[2], v, &world->err), DBI_OK);
    CHECK_RC(dbi_chain_append(world->chain, DBI_RECORD_ROW, row->bytes, row->length, NULL, &world->err), DBI_OK);
}

/* Rows first..last, v being the id. */
static void rows(test_world *world, int64_t first, int64_t last) {
    for (int64_t id = first; id <= last; id++)
        row_add(world, id, "name", id);
}

static dbi_rc run(test_world *world) {
    dbi_rc rc = dbi_shipper_run(world->shipper, NULL, -1, &world->next, &world->err);

    dbi_shipper_view(world->shipper, &world->view);
    return rc;
}

/* Runs until nothing is left, and nothing may go wrong. */
static void drain(test_world *world) {
    for (unsigned i = 0; i < 100; i++) {
        dbi_rc rc = run(world);

        if (rc != DBI_OK)
            test_fail(__FILE__, __LINE__, "%s: %s", dbi_rc_name(rc), world->err.msg);
        if (!world->next.more)
            return;
    }
    test_fail(__FILE__, __LINE__, "no end of it");
}

static void forward(int64_t ns) {
    skew += ns;
}

static const char *ledger_last(void) {
    return sql("SELECT last FROM dbint.chains");
}

static void dead_read(const test_world *world, char *text, size_t size) {
    dbi_chain_view chain;
    char path[256];
    ssize_t got;
    int fd, at;

    dbi_chain_view_get(world->chain, &chain);
    at = snprintf(path, sizeof path, "%s/", world->dead);
    for (size_t i = 0; i < 16; i++)
        at += snprintf(path + at, sizeof path - (size_t)at, "%02x", chain.id[i]);
    (void)snprintf(path + at, sizeof path - (size_t)at, ".jsonl");
    text[0] = '\0';
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return;
    got = read(fd, text, size - 1);
    CHECK(got >= 0);
    text[got] = '\0';
    close(fd);
}

#define CASE(title)                                                                                                    \
    TEST_WITH(title, .timeout_s = 60, .unswept = "libpq's memory is not the core's, and it takes a server")

/* --- landing --- */

CASE(rows_land_once_and_the_ledger_says_so) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 1000);
    CHECK_RC(run(&world), DBI_OK);
    CHECK(!world.next.more);
    CHECK_SQL("1000", "SELECT count(*) FROM shop.orders WHERE v = id AND name = 'name'");
    CHECK_SQL("1000",
              "SELECT last FROM dbint.chains WHERE stream = 'orders' AND relation = 'shop.orders' AND dead = 0");
    CHECK_INT(world.view.shipments, 1);
    CHECK_INT(world.view.rows, 1000);
    CHECK_INT(world.view.landed, 1000);
    CHECK_INT(world.view.copies, 1);
    CHECK_INT(world.view.state, DBI_SHIP_READY);
    CHECK_INT(world.view.ambiguous_resolved, 0);
    CHECK_INT(world.events[DBI_SHIP_EVENT_LANDED], 1);
    CHECK_INT(world.event_rows[DBI_SHIP_EVENT_LANDED], 1000);
    CHECK_RC(run(&world), DBI_OK); /* nothing to do asks for nothing */
    CHECK_INT(world.view.attempts, 1);
    rows(&world, 1001, 1001);
    CHECK_RC(run(&world), DBI_OK);
    CHECK_SQL("1001", "SELECT count(*) FROM shop.orders");
    CHECK_STR(ledger_last(), "1001");
    world_end(&world);
}

CASE(a_backlog_goes_in_batches) {
    dbi_ship_view view;
    test_world world;

    world_begin(&world, NULL);
    dbi_shipper_free(world.shipper);
    world.config.batch_bytes = 20000;
    shipper_open(&world);
    rows(&world, 1, 2000);
    drain(&world);
    CHECK_SQL("2000", "SELECT count(*) FROM shop.orders");
    CHECK_STR(ledger_last(), "2000");
    dbi_shipper_view(world.shipper, &view);
    CHECK(view.shipments > 3);
    CHECK_INT(view.rows, 2000);
    world_end(&world);
}

CASE(a_commit_is_as_durable_as_asked_or_more) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8, name text, v int4); CREATE TABLE shop.seen (mode text);"
                        "CREATE FUNCTION shop.see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                        "INSERT INTO shop.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$;"
                        "CREATE TRIGGER see AFTER INSERT ON shop.orders EXECUTE FUNCTION shop.see()");
    static const char *const modes[][2] = {
        {"off", "on"}, {"local", "on"}, {"remote_write", "on"}, {"on", "on"}, {"remote_apply", "remote_apply"}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char option[64];

        (void)snprintf(option, sizeof option, "options='-c synchronous_commit=%s'", modes[i][0]);
        dbi_shipper_free(world.shipper);
        dbi_pool_free(world.pool);
        pool_open(&world, option);
        shipper_open(&world);
        rows(&world, 1, 1);
        drain(&world);
        CHECK_SQL(modes[i][1], "DELETE FROM shop.seen RETURNING mode");
    }
    world_end(&world);
}

CASE(a_process_that_comes_after_goes_on) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 10);
    drain(&world);
    rows(&world, 11, 20);
    restart(&world);
    rows(&world, 21, 30);
    drain(&world);
    CHECK_SQL("30", "SELECT count(*) FROM shop.orders");
    CHECK_SQL("1", "SELECT count(*) FROM dbint.chains");
    CHECK_STR(ledger_last(), "30");
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_AMBIGUOUS_RESOLVED), 0);
    world_end(&world);
}

/* --- bad rows --- */

CASE(one_bad_row_among_10000_costs_a_logarithm) {
    test_world world;
    char letters[4096];

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v >= 0))");
    rows(&world, 1, 7000);
    row_add(&world, 7001, "bad", -1);
    rows(&world, 7002, 10000);
    drain(&world);
    CHECK_SQL("9999", "SELECT count(*) FROM shop.orders");
    CHECK_SQL("10000 1", "SELECT last || ' ' || dead FROM dbint.chains");
    CHECK_INT(world.view.dead, 1);
    CHECK_INT(world.view.rows, 9999);
    CHECK_WITHIN(world.view.copies, 2, 30 + world.view.shipments); /* 2 log2(10000) = 26.6 */
    CHECK_INT(world.events[DBI_SHIP_EVENT_DEAD], 1);
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_DEAD), 1);
    dead_read(&world, letters, sizeof letters);
    CHECK_HAS(letters,
              "\"sequence\":7001,\"stream\":\"orders\",\"table\":[\"shop\",\"orders\"],\"sqlstate\":\"23514\"");
    CHECK_HAS(letters, "violates check constraint");
    CHECK(strchr(letters, '\n')[1] == '\0');
    world_end(&world);
}

CASE(many_bad_rows_are_found_each) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v % 37 <> 0))");
    rows(&world, 1, 3000);
    drain(&world);
    CHECK_SQL("2919", "SELECT count(*) FROM shop.orders");
    CHECK_SQL("81", "SELECT dead FROM dbint.chains");
    CHECK_INT(world.view.dead, 81);
    world_end(&world);
}

CASE(too_many_bad_rows_hold_the_chain_until_somebody_acts) {
    char letters[256];
    test_world world;

    world_begin(&world,
                "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CONSTRAINT c CHECK (v > 101))");
    rows(&world, 1, 1000);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.err.msg, "more than 100 of 1000 rows are refused");
    CHECK_HAS(world.err.msg, "violates check constraint");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    CHECK_INT(world.events[DBI_SHIP_EVENT_HELD], 1);
    CHECK_SQL("0", "SELECT count(*) FROM shop.orders");
    CHECK_STR(ledger_last(), "0");
    dead_read(&world, letters, sizeof letters);
    CHECK_STR(letters, "");
    CHECK_RC(run(&world), DBI_OK); /* not yet time */
    CHECK_INT(world.view.attempts, 1);
    (void)sql("ALTER TABLE shop.orders DROP CONSTRAINT c");
    dbi_shipper_kick(world.shipper);
    drain(&world);
    CHECK_SQL("1000", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.state, DBI_SHIP_READY);
    CHECK_INT(world.events[DBI_SHIP_EVENT_RELEASED], 1);
    CHECK_INT(world.view.dead, 0);
    world_end(&world);
}

CASE(half_of_the_rows_bad_is_not_the_rows) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v % 3 = 0))");
    rows(&world, 1, 60);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.err.msg, "40 of the last 60 rows are refused");
    CHECK_STR(ledger_last(), "0");
    world_end(&world);
}

CASE(a_trickle_of_bad_rows_is_held_as_well) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v < 0))");
    for (int i = 1; i < 10; i++) {
        rows(&world, i, i);
        CHECK_RC(run(&world), DBI_OK);
        CHECK_INT(world.view.dead, i);
    }
    rows(&world, 10, 10);
    CHECK_RC(run(&world), DBI_EHELD);
    world_end(&world);
}

CASE(what_a_trigger_raises_is_the_rows_fault) {
    char letters[4096];
    test_world world;

    world_begin(&world,
                "CREATE TABLE shop.orders (id int8, name text, v int4);"
                "CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                "IF NEW.v = 5 THEN RAISE 'five is not liked'; END IF; "
                "IF NEW.v = 15 THEN RAISE 'nor is fifteen' USING ERRCODE = 'MY015'; END IF; RETURN NEW; END$$;"
                "CREATE TRIGGER refuse BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.refuse()");
    rows(&world, 1, 20);
    drain(&world);
    CHECK_SQL("18", "SELECT count(*) FROM shop.orders");
    dead_read(&world, letters, sizeof letters);
    CHECK_HAS(letters, "\"sequence\":5,");
    CHECK_HAS(letters, "\"sqlstate\":\"P0001\",\"message\":\"five is not liked\"");
    CHECK_HAS(letters, "\"sqlstate\":\"MY015\",\"message\":\"nor is fifteen\"");
    world_end(&world);
}

CASE(a_constraint_that_waits_for_the_commit_finds_its_row_too) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 UNIQUE DEFERRABLE INITIALLY DEFERRED, name text, v int4)");
    rows(&world, 1, 50);
    row_add(&world, 25, "again", 0);
    rows(&world, 51, 60);
    drain(&world);
    CHECK_SQL("60", "SELECT count(DISTINCT id) FROM shop.orders");
    CHECK_SQL("60 61 1", "SELECT (SELECT count(*) FROM shop.orders) || ' ' || last || ' ' || dead FROM dbint.chains");
    world_end(&world);
}

CASE(a_missing_partition_is_the_rows_fault) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8, name text, v int4) PARTITION BY RANGE (v);"
                        "CREATE TABLE shop.low PARTITION OF shop.orders FOR VALUES FROM (0) TO (100)");
    rows(&world, 1, 98);
    rows(&world, 200, 201);
    drain(&world);
    CHECK_SQL("98", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.dead, 2);
    world_end(&world);
}

/* The commit fails after the letter is on disk; then the table is repaired, and the row lands after all. */
CASE(a_letter_is_withdrawn_when_its_row_lands) {
    char letters[8192];
    test_world world;

    world_begin(&world,
                "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CONSTRAINT c CHECK (v <> 7))");
    rows(&world, 1, 1);
    drain(&world);
    (void)sql("CREATE FUNCTION shop.conflict() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
              "RAISE 'conflict' USING ERRCODE = '40001'; END$$;"
              "CREATE TRIGGER conflict BEFORE UPDATE ON dbint.chains FOR EACH ROW EXECUTE FUNCTION shop.conflict()");
    rows(&world, 2, 20);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "40001");
    CHECK_INT(world.view.state, DBI_SHIP_BACKING_OFF);
    dead_read(&world, letters, sizeof letters);
    CHECK_HAS(letters, "\"sequence\":7,\"stream\"");
    (void)sql("DROP TRIGGER conflict ON dbint.chains; ALTER TABLE shop.orders DROP CONSTRAINT c");
    restart(&world); /* what is remembered is in the file */
    drain(&world);
    CHECK_SQL("20", "SELECT count(*) FROM shop.orders");
    dead_read(&world, letters, sizeof letters);
    CHECK_HAS(letters, "\"sequence\":7,\"withdrawn\":true");
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_DEAD), 0);
    world_end(&world);
}

CASE(dead_letters_that_cannot_be_written_keep_the_rows) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v <> 7))");
    dbi_shipper_free(world.shipper);
    world.config.dead_directory = "/proc/no/such/directory";
    shipper_open(&world);
    rows(&world, 1, 20);
    CHECK_RC(run(&world), DBI_ESYS);
    CHECK_HAS(world.view.why, "/proc/no/such");
    CHECK_SQL("0", "SELECT count(*) FROM shop.orders");
    CHECK_STR(ledger_last(), "0");
    world_end(&world);
}

/* --- tables that change --- */

CASE(a_dropped_table_holds_and_a_new_one_releases) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    drain(&world);
    (void)sql("DROP TABLE shop.orders");
    rows(&world, 6, 10);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "42P01");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    CHECK_HAS(world.view.why, "shop.orders");
    (void)sql("CREATE TABLE shop.orders (id int8, name varchar(50), v int4)");
    forward(29 * DBI_NS_PER_S);
    CHECK_RC(run(&world), DBI_OK);
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    forward(2 * DBI_NS_PER_S); /* it looks by itself, every 30 s */
    drain(&world);
    CHECK_INT(world.view.state, DBI_SHIP_READY);
    CHECK_SQL("5", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.events[DBI_SHIP_EVENT_RELEASED], 1);
    world_end(&world);
}

CASE(a_revoked_privilege_holds) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 1);
    drain(&world);
    (void)sql(
        "DROP ROLE IF EXISTS shop_writer; CREATE ROLE shop_writer; GRANT USAGE ON SCHEMA shop, dbint TO shop_writer;"
        "GRANT SELECT ON dbint.server TO shop_writer; GRANT SELECT, INSERT, UPDATE ON dbint.chains TO shop_writer");
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    pool_open(&world, "options='-c role=shop_writer'");
    shipper_open(&world);
    rows(&world, 2, 2);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "42501");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    (void)sql("GRANT INSERT ON shop.orders TO shop_writer");
    dbi_shipper_kick(world.shipper);
    drain(&world);
    CHECK_SQL("2", "SELECT count(*) FROM shop.orders");
    (void)sql("DROP SCHEMA shop CASCADE; DROP SCHEMA dbint CASCADE; DROP ROLE shop_writer");
    world_end(&world);
}

/* int8 bytes load into a float8 column without an error, as nonsense: this is what guard() is for. */
CASE(bytes_of_an_old_type_are_never_taken_for_a_new_one) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    drain(&world);
    rows(&world, 6, 10);
    (void)sql("ALTER TABLE shop.orders ALTER id TYPE float8");
    drain(&world);
    CHECK_SQL("1,2,3,4,5,6,7,8,9,10", "SELECT string_agg(id::text, ',' ORDER BY id) FROM shop.orders");
    CHECK_INT(world.view.casts, 1);
    CHECK_INT(world.events[DBI_SHIP_EVENT_CHANGED], 1);
    rows(&world, 11, 11); /* the plan is kept */
    drain(&world);
    CHECK_INT(world.events[DBI_SHIP_EVENT_CHANGED], 1);
    CHECK_INT(world.view.casts, 2);
    CHECK_SQL("11", "SELECT max(id) FROM shop.orders");
    world_end(&world);
}

CASE(a_bad_row_on_the_way_through_a_cast_is_found) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int2 PRIMARY KEY, name text, v int4)");
    rows(&world, 1, 40);
    row_add(&world, 70000, "too large for int2", 0);
    rows(&world, 41, 60);
    drain(&world);
    CHECK_SQL("60", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.dead, 1);
    CHECK_STR(ledger_last(), "61");
    world_end(&world);
}

CASE(what_no_assignment_casts_is_held_with_the_reason) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    (void)sql("ALTER TABLE shop.orders ALTER v TYPE date USING NULL");
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "42804");
    CHECK_HAS(world.view.why, "\"v\" is of type date but expression is of type integer");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    (void)sql("ALTER TABLE shop.orders ALTER v TYPE int4 USING NULL");
    dbi_shipper_kick(world.shipper);
    drain(&world);
    CHECK_SQL("5", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.casts, 0);
    world_end(&world);
}

CASE(a_dropped_column_holds_and_is_named) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    (void)sql("ALTER TABLE shop.orders DROP v");
    CHECK_RC(run(&world), DBI_EINVAL);
    CHECK_HAS(world.view.why, "table shop.orders has no column \"v\"");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    world_end(&world);
}

CASE(a_new_column_and_a_new_limit_need_no_detour) {
    char letters[4096];
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 50);
    row_add(&world, 51, "longer than ten characters", 51);
    (void)sql("ALTER TABLE shop.orders ADD later text, ALTER name TYPE varchar(10)");
    drain(&world);
    CHECK_SQL("50", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.casts, 0);
    dead_read(&world, letters, sizeof letters);
    CHECK_HAS(letters, "\"sequence\":51,");
    CHECK_HAS(letters, "22001");
    world_end(&world);
}

CASE(an_alter_in_progress_is_waited_for) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    drain(&world);
    (void)sql("ALTER DATABASE %s SET lock_timeout = '200ms'", sql("SELECT current_database()"));
    dbi_pool_free(world.pool);
    pool_open(&world, "");
    dbi_shipper_free(world.shipper);
    shipper_open(&world);
    (void)sql("BEGIN; ALTER TABLE shop.orders ALTER id TYPE int4");
    rows(&world, 6, 10);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "55P03");
    CHECK_INT(world.view.state, DBI_SHIP_BACKING_OFF);
    (void)sql("COMMIT");
    forward(DBI_NS_PER_S);
    drain(&world);
    CHECK_SQL("10", "SELECT count(*) FROM shop.orders");
    (void)sql("ALTER DATABASE %s RESET lock_timeout", sql("SELECT current_database()"));
    world_end(&world);
}

/* --- servers in trouble --- */

CASE(a_cancelled_shipment_is_sent_in_halves) {
    test_world world;

    world_begin(
        &world,
        "CREATE TABLE shop.orders (id int8, name text, v int4);"
        "CREATE FUNCTION shop.slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "IF (SELECT count(*) FROM new) > 300 THEN RAISE 'too slow' USING ERRCODE = '57014'; END IF; "
        "RETURN NULL; END$$;"
        "CREATE TRIGGER slow AFTER INSERT ON shop.orders REFERENCING NEW TABLE AS new EXECUTE FUNCTION shop.slow()");
    rows(&world, 1, 2000);
    for (int i = 0; i < 3; i++) {
        CHECK_RC(run(&world), DBI_ESERVER);
        CHECK_INT(world.next.at, 0); /* nothing is waited for: it is another attempt */
    }
    CHECK_INT(world.view.reactions[DBI_REACTION_HALVE], 3);
    drain(&world);
    CHECK_SQL("2000", "SELECT count(*) FROM shop.orders");
    CHECK_WITHIN(world.view.batch_bytes, 4096, 16384);
    (void)sql("DROP TRIGGER slow ON shop.orders");
    for (int64_t i = 0; i < 12; i++) { /* it grows again, a step a minute */
        forward(61 * DBI_NS_PER_S);
        rows(&world, 2001 + i, 2001 + i);
        drain(&world);
    }
    CHECK_INT(world.view.batch_bytes, world.config.batch_bytes);
    world_end(&world);
}

CASE(a_server_slower_than_anybody_waits_gets_less_at_once) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8, name text, v int4);"
                        "CREATE FUNCTION shop.slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                        "PERFORM pg_sleep(0.005); RETURN NULL; END$$;"
                        "CREATE TRIGGER slow AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.slow()");
    dbi_shipper_free(world.shipper);
    world.config.stall_timeout = DBI_NS_PER_S;
    shipper_open(&world);
    rows(&world, 1, 600);
    for (int i = 0; i < 20 && (run(&world) != DBI_OK || world.next.more); i++)
        forward(DBI_NS_PER_S);
    CHECK_SQL("600", "SELECT count(*) FROM shop.orders");
    CHECK(world.view.ambiguous >= 2 && world.view.backends_ended >= 2);
    CHECK_STR(ledger_last(), "600");
    world_end(&world);
}

CASE(a_conflict_is_tried_again_after_a_while) {
    test_world world;

    world_begin(
        &world,
        "CREATE TABLE shop.orders (id int8, name text, v int4); CREATE TABLE shop.luck (n int); INSERT INTO shop.luck "
        "VALUES (0);"
        "CREATE SEQUENCE shop.tries; CREATE FUNCTION shop.conflict() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "IF nextval('shop.tries') <= 3 THEN RAISE 'deadlock' USING ERRCODE = '40P01'; END IF; RETURN NULL; END$$;"
        "CREATE TRIGGER conflict AFTER INSERT ON shop.orders EXECUTE FUNCTION shop.conflict()");
    rows(&world, 1, 5);
    for (int i = 0; i < 3; i++) {
        CHECK_RC(run(&world), DBI_ESERVER);
        CHECK_WITHIN(world.next.at - skewed(NULL), -DBI_NS_PER_S, (100 << i) * DBI_NS_PER_MS);
        forward(DBI_NS_PER_S);
    }
    drain(&world);
    CHECK_SQL("5", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.reactions[DBI_REACTION_RETRY], 3);
    CHECK_INT(world.view.ambiguous, 0);
    world_end(&world);
}

CASE(a_read_only_server_is_left_for_another) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 1);
    drain(&world);
    (void)sql("ALTER DATABASE %s SET default_transaction_read_only = on", sql("SELECT current_database()"));
    dbi_pool_free(world.pool);
    pool_open(&world, "");
    dbi_shipper_free(world.shipper);
    shipper_open(&world);
    rows(&world, 2, 2);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "25006");
    CHECK_INT(world.view.state, DBI_SHIP_BACKING_OFF);
    (void)sql("SET default_transaction_read_only = off; ALTER DATABASE %s RESET default_transaction_read_only",
              sql("SELECT current_database()"));
    forward(30 * DBI_NS_PER_S);
    drain(&world);
    CHECK_SQL("2", "SELECT count(*) FROM shop.orders");
    world_end(&world);
}

static void *kill_backend(void *arg) {
    PGconn *conn = PQconnectdb(getenv("DBINT_TEST_CONNINFO"));

    (void)arg;
    for (int i = 0; i < 200; i++) {
        PGresult *result =
            PQexec(conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '/* dbint%' "
                         "AND wait_event = 'PgSleep'");
        int found = PQntuples(result);

        PQclear(result);
        if (found > 0)
            break;
        usleep(10000);
    }
    PQfinish(conn);
    return NULL;
}

CASE(a_killed_backend_means_another_connection) {
    pthread_t killer;
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8, name text, v int4); CREATE SEQUENCE shop.tries;"
                        "CREATE FUNCTION shop.wait() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                        "IF nextval('shop.tries') = 1 THEN PERFORM pg_sleep(20); END IF; RETURN NULL; END$$;"
                        "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON shop.orders DEFERRABLE INITIALLY DEFERRED "
                        "FOR EACH ROW EXECUTE FUNCTION shop.wait()");
    rows(&world, 1, 1);
    CHECK_INT(pthread_create(&killer, NULL, kill_backend, NULL), 0);
    CHECK_RC(run(&world), DBI_EUNREACHABLE); /* in its COMMIT */
    CHECK_STR(world.err.sqlstate, "57P01");
    CHECK_INT(world.view.ambiguous, 1);
    (void)pthread_join(killer, NULL);
    forward(DBI_NS_PER_S);
    drain(&world);
    CHECK_SQL("1", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.ambiguous_resolved, 0);
    world_end(&world);
}

/* The answer to COMMIT is lost: the rows are in, and the sender cannot know. */
CASE(a_commit_whose_answer_is_lost_is_not_repeated) {
    test_proxy proxy = {0};
    char way[64];
    test_world world;

    world_begin(&world, NULL);
    proxy_start(&proxy);
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    (void)snprintf(way, sizeof way, "host=127.0.0.1 port=%u sslmode=disable", proxy.port);
    pool_open(&world, way);
    world.config.stall_timeout = DBI_NS_PER_S;
    shipper_open(&world);
    rows(&world, 1, 10);
    drain(&world);
    rows(&world, 11, 30);
    atomic_store(&proxy.deaf_on_copy, true);
    CHECK_RC(run(&world), DBI_ETIMEOUT);
    CHECK_INT(world.view.state, DBI_SHIP_BACKING_OFF);
    CHECK_INT(world.view.ambiguous, 1);
    CHECK_SQL("30", "SELECT count(*) FROM shop.orders");
    atomic_store(&proxy.deaf_on_copy, false);
    atomic_store(&proxy.deaf, false);
    forward(DBI_NS_PER_S);
    drain(&world);
    CHECK_INT(world.view.ambiguous_resolved, 1);
    CHECK_INT(world.view.rows, 30);
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_AMBIGUOUS_RESOLVED), 1);
    CHECK_INT(world.events[DBI_SHIP_EVENT_RESOLVED], 1);
    CHECK_SQL("30", "SELECT count(*) FROM shop.orders");
    rows(&world, 31, 31);
    drain(&world);
    CHECK_SQL("31", "SELECT count(*) FROM shop.orders");
    world_end(&world);
}

/* The same, and the process dies before it can ask. A dead letter is among them. */
CASE(a_commit_that_a_dead_process_did_not_hear_of_is_found) {
    test_proxy proxy = {0};
    char way[64];
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v <> 15))");
    proxy_start(&proxy);
    rows(&world, 1, 10);
    drain(&world);
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    (void)snprintf(way, sizeof way, "host=127.0.0.1 port=%u sslmode=disable", proxy.port);
    pool_open(&world, way);
    world.config.stall_timeout = DBI_NS_PER_S;
    shipper_open(&world);
    rows(&world, 11, 30);
    atomic_store(&proxy.deaf_at_commit, true);
    CHECK_RC(run(&world), DBI_ETIMEOUT);
    CHECK_SQL("29", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.rows + world.view.dead, 0);
    atomic_store(&proxy.deaf_at_commit, false);
    atomic_store(&proxy.deaf, false);
    restart(&world);
    rows(&world, 31, 40);
    drain(&world);
    CHECK_SQL("39", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.ambiguous_resolved, 1);
    CHECK_INT(world.view.rows, 29);
    CHECK_INT(world.view.dead, 1);
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_DEAD), 1);
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_AMBIGUOUS_RESOLVED), 1);
    world_end(&world);
}

/* Half a message arrives; its backend waits for the rest for ever, and takes notice of neither cancel nor timeout. */
CASE(a_backend_stalled_in_copy_is_ended_before_the_retry) {
    test_proxy proxy = {0};
    char way[64];
    test_world world;

    world_begin(&world, NULL);
    proxy_start(&proxy);
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    (void)snprintf(way, sizeof way, "host=127.0.0.1 port=%u sslmode=disable", proxy.port);
    pool_open(&world, way);
    world.config.stall_timeout = DBI_NS_PER_S;
    shipper_open(&world);
    rows(&world, 1, 10);
    drain(&world);
    rows(&world, 11, 5000);
    atomic_store(&proxy.upstream, 20000);
    CHECK_RC(run(&world), DBI_ETIMEOUT);
    CHECK_SQL("1", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* dbint%%' AND state = 'active'");
    forward(DBI_NS_PER_S);
    dbi_pool_free(world.pool); /* straight to the server: the stalled way stays stalled */
    pool_open(&world, "");
    dbi_shipper_free(world.shipper);
    shipper_open(&world);
    drain(&world);
    CHECK_INT(world.view.backends_ended, 1);
    CHECK_SQL("5000", "SELECT count(*) FROM shop.orders");
    CHECK_SQL("0", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* dbint%%' AND state <> 'idle'");
    world_end(&world);
}

/* The first attempt cannot be seen, and so not be ended; it holds the ledger's row, and then commits. */
CASE(a_retry_while_the_first_attempt_is_uncommitted_lands_nothing_twice) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8, name text, v int4)");
    rows(&world, 1, 10);
    drain(&world);
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    pool_open(&world, "options='-c lock_timeout=300ms'");
    shipper_open(&world);
    rows(&world, 11, 20);
    (void)sql("BEGIN; INSERT INTO shop.orders SELECT i, 'name', i FROM generate_series(11, 20) AS i;"
              "SELECT dbint.advance(chain, 10, 20, 0) FROM dbint.chains");
    (void)sql("SELECT 1"); /* what it did last says nothing of the chain */
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "55P03");
    (void)sql("COMMIT");
    forward(DBI_NS_PER_S);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "DBI01");
    drain(&world);
    CHECK_SQL("20", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.ambiguous_resolved, 1);
    world_end(&world);
}

CASE(an_ended_run_leaves_nothing_in_doubt) {
    int cancel = eventfd(1, EFD_CLOEXEC);
    dbi_ship_next next;
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 10);
    CHECK_RC(dbi_shipper_run(world.shipper, NULL, cancel, &next, &world.err), DBI_EINTR);
    drain(&world);
    CHECK_SQL("10", "SELECT count(*) FROM shop.orders");
    close(cancel);
    world_end(&world);
}

static atomic_bool looking;

static void *look_at_it(void *arg) {
    test_world *world = arg;
    dbi_ship_view view;

    while (atomic_load(&looking)) {
        dbi_shipper_view(world->shipper, &view);
        CHECK(view.state < DBI_SHIP_STATE_COUNT);
        (void)dbi_shipper_due(world->shipper);
        dbi_shipper_kick(world->shipper);
        usleep(100);
    }
    return NULL;
}

CASE(it_can_be_looked_at_and_kicked_while_it_ships) {
    pthread_t onlooker;
    dbi_ship_next next;
    test_world world;

    world_begin(&world, NULL);
    dbi_shipper_free(world.shipper);
    world.config.batch_bytes = 8192;
    shipper_open(&world);
    rows(&world, 1, 3000);
    atomic_store(&looking, true);
    CHECK_INT(pthread_create(&onlooker, NULL, look_at_it, &world), 0);
    do
        CHECK_RC(dbi_shipper_run(world.shipper, NULL, -1, &next, NULL), DBI_OK);
    while (next.more);
    atomic_store(&looking, false);
    (void)pthread_join(onlooker, NULL);
    CHECK_SQL("3000", "SELECT count(*) FROM shop.orders");
    world_end(&world);
}

CASE(a_breaker_counts_servers_and_not_rows) {
    dbi_breaker_config config;
    dbi_breaker_view seen;
    dbi_breaker *breaker;
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v <> 7))");
    dbi_breaker_defaults(&config, DBI_WINDOW_NONE);
    config.clock.now = skewed;
    CHECK_RC(dbi_breaker_new(&breaker, "server", &config, NULL), DBI_OK);
    dbi_shipper_free(world.shipper);
    world.config.breaker = breaker;
    shipper_open(&world);
    rows(&world, 1, 20);
    drain(&world);
    dbi_breaker_read(breaker, &seen);
    CHECK_INT(seen.outcomes[DBI_OUTCOME_FAILED], 0);
    CHECK_INT(seen.outcomes[DBI_OUTCOME_SUCCEEDED], 1);
    (void)sql("DROP TABLE shop.orders");
    rows(&world, 21, 21);
    CHECK_RC(run(&world), DBI_ESERVER);
    dbi_breaker_read(breaker, &seen);
    CHECK_INT(seen.outcomes[DBI_OUTCOME_FAILED], 0);
    (void)sql("CREATE TABLE shop.orders (id int8, name varchar(50), v int4)");
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    pool_open(&world, "port=1 connect_timeout=1");
    shipper_open(&world);
    for (int i = 0; i < 5; i++) {
        CHECK_RC(run(&world), DBI_EUNREACHABLE);
        forward(30 * DBI_NS_PER_S);
    }
    CHECK_INT(dbi_breaker_state(breaker), DBI_CIRCUIT_OPEN);
    CHECK_RC(run(&world), DBI_EOPEN);
    CHECK_INT(world.view.state, DBI_SHIP_BACKING_OFF);
    CHECK_HAS(world.view.why, "circuit breaker \"server\" is open");
    CHECK_WITHIN(world.next.at - skewed(NULL), 1, 30 * DBI_NS_PER_S);
    dbi_shipper_free(world.shipper);
    world.shipper = NULL;
    dbi_breaker_free(breaker);
    world_end(&world);
}

/* Each allocation on the way fails once, in one shipment after the other, bad rows and a changed table included. */
CASE(no_memory_loses_and_repeats_nothing) {
    uint64_t nth = 0, reached;
    int64_t sent = 0;
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int4, name text, v int4 CHECK (v % 10 <> 0))");
    do {
        restart(&world); /* so that everything is learnt anew */
        rows(&world, sent + 1, sent + 20);
        sent += 20;
        dbi_alloc_fail_nth(++nth);
        for (int i = 0; i < 3; i++) {
            (void)run(&world);
            forward(31 * DBI_NS_PER_S);
        }
        reached = dbi_alloc_count();
        dbi_alloc_fail_nth(0);
        drain(&world);
    } while (nth <= reached);
    CHECK(nth > 20);
    CHECK_INT(number(sql("SELECT count(*) FROM shop.orders")), sent * 9 / 10);
    CHECK_INT(number(sql("SELECT count(DISTINCT id) FROM shop.orders")), sent * 9 / 10);
    CHECK_INT(number(sql("SELECT dead FROM dbint.chains")), sent / 10);
    CHECK_INT(number(ledger_last()), sent);
    world_end(&world);
}

/* --- the ledger and the journal disagree --- */

CASE(a_server_restored_to_an_older_state_gets_what_is_still_held) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 50);
    drain(&world);
    rows(&world, 51, 100);
    drain(&world);
    (void)sql("DELETE FROM shop.orders WHERE id > 50; UPDATE dbint.chains SET last = 50");
    rows(&world, 101, 110);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "DBI01");
    CHECK_INT(world.next.at, 0);
    drain(&world);
    CHECK_SQL("110", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.rewinds, 1);
    CHECK_INT(world.view.lost_by_server, 0);
    CHECK_INT(world.view.reopened, 0);
    CHECK_INT(world.view.rows, 110);
    CHECK_STR(ledger_last(), "110");
    world_end(&world);
}

CASE(what_an_earlier_process_had_landed_is_taken_up_again) {
    test_world world;

    world_begin(&world, "CREATE TABLE shop.orders (id int8 PRIMARY KEY, name text, v int4 CHECK (v % 40 <> 0))");
    rows(&world, 1, 30);
    drain(&world);
    rows(&world, 31, 100);
    drain(&world);
    CHECK_INT(world.view.dead, 2);
    restart(&world);
    rows(&world, 101, 120);
    drain(&world);
    CHECK_INT(world.view.rows, 19);
    CHECK_INT(world.view.dead, 1);
    (void)sql("DELETE FROM shop.orders WHERE id > 30; UPDATE dbint.chains SET last = 30, dead = 0");
    forward(46 * DBI_NS_PER_S);
    drain(&world);
    CHECK_SQL("117", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.reopened, 70);
    CHECK_INT(world.view.rows, 17 + 70);
    CHECK_INT(world.view.dead, 3);
    CHECK_INT(world.view.rows + world.view.dead, 20 + world.view.reopened);
    CHECK_INT(dbi_chain_counted(world.chain, DBI_CHAIN_DEAD), 3);
    world_end(&world);
}

CASE(what_the_journal_no_longer_holds_is_counted_as_lost) {
    dbi_journal_config config;
    test_world world;

    world_begin(&world, NULL);
    dbi_shipper_free(world.shipper);
    dbi_journal_free(world.journal);
    dbi_journal_defaults(&config);
    config.keep_ns = 1;
    config.keep_bytes = 0;
    config.segment_min = config.segment_max = 16384;
    journal_open_with(&world, &config);
    shipper_open(&world);
    rows(&world, 1, 3000);
    drain(&world);
    for (int i = 0; i < 3; i++)
        CHECK_RC(dbi_journal_tend(world.journal, NULL, &world.err), DBI_OK);
    (void)sql("DELETE FROM shop.orders WHERE id > 10; UPDATE dbint.chains SET last = 10");
    forward(46 * DBI_NS_PER_S);
    drain(&world);
    CHECK_INT(world.view.rewinds, 1);
    CHECK_WITHIN(world.view.lost_by_server, 1000, 2989);
    CHECK_INT(number(sql("SELECT count(*) FROM shop.orders")) + (int64_t)world.view.lost_by_server, 3000);
    CHECK_INT(world.view.reopened, 0);
    CHECK_INT(world.view.rows + world.view.lost_by_server, 3000);
    CHECK_STR(ledger_last(), "3000");
    world_end(&world);
}

CASE(an_idle_chain_looks_once_whether_its_rows_are_still_there) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 10);
    drain(&world);
    CHECK_WITHIN(world.next.at - skewed(NULL), 40 * DBI_NS_PER_S, 45 * DBI_NS_PER_S);
    (void)sql("DELETE FROM shop.orders; DELETE FROM dbint.chains"); /* as if the standby had never heard of it */
    CHECK_RC(run(&world), DBI_OK);
    CHECK_SQL("0", "SELECT count(*) FROM shop.orders");
    forward(46 * DBI_NS_PER_S);
    drain(&world);
    CHECK_SQL("10", "SELECT count(*) FROM shop.orders");
    CHECK_INT(world.view.rewinds, 1);
    forward(46 * DBI_NS_PER_S);
    drain(&world);
    CHECK(world.next.at == DBI_FOREVER);
    world_end(&world);
}

CASE(another_database_holds_and_says_how_to_go_on) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 5);
    drain(&world);
    (void)sql("UPDATE dbint.server SET identity = gen_random_uuid()");
    rows(&world, 6, 10);
    CHECK_RC(run(&world), DBI_ESERVER);
    CHECK_STR(world.err.sqlstate, "DBI03");
    CHECK_INT(world.next.at, 0);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.view.why, "python -m dbint.journal retarget");
    CHECK_INT(world.view.state, DBI_SHIP_HELD);
    CHECK_SQL("5", "SELECT count(*) FROM shop.orders");
    world_end(&world);
}

CASE(a_restored_copy_of_the_volume_goes_on_under_a_new_chain) {
    char copy[128], command[512];
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 10);
    drain(&world);
    (void)snprintf(copy, sizeof copy, "%s-copy", world.directory);
    (void)snprintf(command, sizeof command, "cp -a %s %s", world.directory, copy);
    CHECK_INT(system(command), 0);
    rows(&world, 11, 60);
    drain(&world);
    dbi_shipper_free(world.shipper);
    dbi_journal_free(world.journal);
    (void)snprintf(command, sizeof command, "rm -rf %s && mv %s %s", world.directory, copy, world.directory);
    CHECK_INT(system(command), 0);
    journal_open(&world);
    shipper_open(&world);
    rows(&world, 101, 130); /* with sequences that the ledger has seen for others */
    drain(&world);
    CHECK_SQL("90", "SELECT count(*) FROM shop.orders");
    CHECK_SQL("2", "SELECT count(*) FROM dbint.chains");
    CHECK_INT(world.events[DBI_SHIP_EVENT_ENDED], 1);
    restart(&world);
    rows(&world, 131, 140);
    drain(&world);
    CHECK_SQL("100", "SELECT count(*) FROM shop.orders");
    world_end(&world);
}

/* As if what has landed so far had done so 91 days ago, and collect_chains had been at work since. */
static void forget(void) {
    (void)sql(
        "UPDATE dbint.chains SET advanced_at = now() - interval '91 days'; SELECT dbint.collect_chains('90 days')");
    CHECK_SQL("0", "SELECT count(*) FROM dbint.chains");
    (void)sql("UPDATE dbint.server SET collected_before = now() + interval '1 minute'");
}

CASE(a_chain_that_was_forgotten_goes_on_where_it_was) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 10);
    drain(&world);
    restart(&world);
    (void)sql("DO $$BEGIN PERFORM dbint.collect_chains('1 hour'); RAISE 'one hour was let pass';"
              "EXCEPTION WHEN invalid_parameter_value THEN NULL; END$$");
    CHECK_SQL("0", "SELECT dbint.collect_chains('1 day')");
    forget();
    rows(&world, 11, 20);
    drain(&world);
    CHECK_SQL("20", "SELECT count(*) FROM shop.orders");
    CHECK_STR(ledger_last(), "20");
    CHECK_INT(world.view.rewinds, 0);
    world_end(&world);
}

/* Of two servers the one that is left has never heard of the chain, though it has collected chains before. */
CASE(a_chain_that_a_failover_lost_was_not_forgotten) {
    test_world world;

    for (int restarted = 0; restarted < 2; restarted++) {
        world_begin(&world, NULL);
        rows(&world, 1, 10);
        drain(&world);
        if (restarted)
            restart(&world);
        CHECK_SQL("0", "SELECT dbint.collect_chains('90 days')");
        (void)sql("DELETE FROM shop.orders; DELETE FROM dbint.chains");
        rows(&world, 11, 20);
        if (!restarted)
            CHECK_RC(run(&world), DBI_ESERVER); /* it is not where it was */
        drain(&world);
        CHECK_SQL("20", "SELECT count(*) FROM shop.orders");
        CHECK_STR(ledger_last(), "20");
        CHECK_INT(world.view.rewinds, 1);
        CHECK_INT(world.view.reopened, restarted ? 10 : 0);
        CHECK_INT(world.view.lost_by_server, 0);
        world_end(&world);
    }
}

/* It was forgotten, came back, and then the server lost it: what had landed before is not sent a second time, and is
 * not lost, though a segment that the journal still has holds it. */
CASE(what_was_forgotten_has_landed_for_good) {
    test_world world;

    for (int restarted = 0; restarted < 2; restarted++) {
        world_begin(&world, NULL);
        rows(&world, 1, 10);
        drain(&world);
        restart(&world);
        forget();
        rows(&world, 11, 20);
        drain(&world);
        CHECK_SQL("20", "SELECT count(*) FROM shop.orders");
        (void)sql("UPDATE dbint.server SET collected_before = now() - interval '90 days'");
        (void)sql("DELETE FROM shop.orders WHERE id > 10; DELETE FROM dbint.chains");
        if (restarted)
            restart(&world);
        rows(&world, 21, 30);
        if (!restarted)
            CHECK_RC(run(&world), DBI_ESERVER);
        drain(&world);
        CHECK_SQL("30", "SELECT count(*) FROM shop.orders");
        CHECK_STR(ledger_last(), "30");
        CHECK_INT(world.view.rewinds, 1);
        CHECK_INT(world.view.reopened, restarted ? 10 : 0);
        CHECK_INT(world.view.lost_by_server, 0);
        world_end(&world);
    }
}

/* --- installing --- */

CASE(a_role_that_may_not_install_is_told_what_to_run) {
    test_world world;

    world_begin(&world, NULL);
    (void)sql("DROP ROLE IF EXISTS shop_writer; CREATE ROLE shop_writer; GRANT USAGE ON SCHEMA shop TO shop_writer;"
              "GRANT INSERT ON shop.orders TO shop_writer");
    dbi_shipper_free(world.shipper);
    dbi_pool_free(world.pool);
    pool_open(&world, "options='-c role=shop_writer'");
    shipper_open(&world);
    rows(&world, 1, 2);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.view.why, "to be installed by a role that may");
    dbi_shipper_free(world.shipper);
    world.config.install = false;
    shipper_open(&world);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.view.why, "not installed in this database");
    (void)sql("%s", dbi_ledger_sql());
    dbi_shipper_kick(world.shipper);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.view.why, "GRANT USAGE ON SCHEMA dbint");
    (void)sql("GRANT USAGE ON SCHEMA dbint TO shop_writer; GRANT SELECT ON dbint.server TO shop_writer;"
              "GRANT SELECT, INSERT, UPDATE ON dbint.chains TO shop_writer");
    dbi_shipper_kick(world.shipper);
    drain(&world);
    CHECK_SQL("2", "SELECT count(*) FROM shop.orders");
    (void)sql("DROP SCHEMA shop CASCADE; DROP SCHEMA dbint CASCADE; DROP ROLE shop_writer");
    world_end(&world);
}

CASE(a_newer_ledger_is_left_alone) {
    test_world world;

    world_begin(&world, NULL);
    rows(&world, 1, 2);
    drain(&world);
    (void)sql("UPDATE dbint.server SET version = 2");
    restart(&world);
    rows(&world, 3, 4);
    CHECK_RC(run(&world), DBI_EHELD);
    CHECK_HAS(world.view.why, "upgrade dbint");
    world_end(&world);
}

CASE(the_catalogue_is_read_as_a_schema) {
    dbi_schema *schema = NULL;
    char *fingerprint;
    dbi_conn *conn;
    test_world world;

    world_begin(&world, "CREATE TYPE shop.mood AS ENUM ('ok'); CREATE DOMAIN shop.short AS varchar(10) NOT NULL;"
                        "CREATE TABLE shop.orders (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, at timestamptz NOT "
                        "NULL DEFAULT now(),"
                        "\"we\"\"ird\" numeric(10,2), moods shop.mood[], s shop.short, n serial, g int GENERATED "
                        "ALWAYS AS (1) STORED)");
    CHECK_RC(dbi_pool_acquire(world.pool, &conn, dbi_clock_deadline(NULL, DBI_NS_PER_S), -1, &world.err), DBI_OK);
    CHECK_RC(
        dbi_ledger_schema(conn, "shop", "orders", NULL, 0, dbi_clock_deadline(NULL, DBI_NS_PER_S), &schema, &world.err),
        DBI_OK);
    CHECK_INT(schema->column_count, 5);
    CHECK_STR(schema->columns[2].name, "we\"ird");
    CHECK_INT(schema->columns[3].type, DBI_TYPE_ENUM);
    CHECK(schema->columns[3].array && schema->columns[4].domain_oid != 0 && !schema->columns[4].nullable);
    fingerprint = dbi_ledger_fingerprint(schema);
    CHECK_STR(fingerprint,
              sql("SELECT string_agg(format(E'%%s:%%s:%%s', attname, atttypid, atttypmod), E'\\n' ORDER BY attnum)"
                  " FROM pg_attribute WHERE attrelid = 'shop.orders'::regclass AND attnum BETWEEN 1 AND 5"));
    dbi_free(fingerprint);
    dbi_schema_free(schema);
    CHECK_RC(
        dbi_ledger_schema(conn, NULL, "nothing", NULL, 0, dbi_clock_deadline(NULL, DBI_NS_PER_S), &schema, &world.err),
        DBI_EINVAL);
    dbi_pool_release(world.pool, conn, DBI_CONN_KEEP, NULL);
    world_end(&world);
}

int main(int argc, char **argv) {
    if (getenv("DBINT_TEST_CONNINFO") == NULL) {
        (void)fprintf(stderr, "%s: DBINT_TEST_CONNINFO names no database to test against\n", argv[0]);
        return 2;
    }
    return test_main(argc, argv);
}
