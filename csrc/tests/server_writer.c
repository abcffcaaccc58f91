/* server_writer.c - a whole writer against a real server: threads that write, wait, flush and look, all at once
 *
 * DBINT_TEST_CONNINFO names a database to spoil; `make server-test` runs it, VARIANT=tsan shows races.
 */
#include <ftw.h>
#include <libpq-fe.h>

#include "test.h"
#include "writer_int.h"

#define SENDERS 3
#define SENT 20000u
#define SYNCED 500u

static dbi_writer *writer;
static atomic_bool looking;

typedef struct sender {
    dbi_stream *stream;
    uint32_t first; /* of its numbers */
} sender;

/* (number, fifty letters) */
static size_t tuple_make(uint8_t tuple[100], uint32_t number) {
    const uint8_t head[14] = {0, 2, 0, 0, 0, 4, (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                              (uint8_t)number, 0, 0, 0, 50};

    memcpy(tuple, head, sizeof head);
    memset(tuple + sizeof head, 'x', 50);
    return sizeof head + 50;
}

static void *send_many(void *arg) {
    const sender *mine = arg;
    uint8_t tuple[100];

    for (uint32_t i = 0; i < SENT; i++) {
        size_t length = tuple_make(tuple, mine->first + i);

        CHECK_RC(dbi_stream_append(mine->stream, dbi_stream_schema(mine->stream), tuple, length, NULL), DBI_OK);
        if (i % 100 == 0)
            (void)usleep(500);
    }
    return NULL;
}

static void *send_and_wait(void *arg) {
    const sender *mine = arg;
    dbi_mailbox *mailbox;
    uint8_t tuple[100];

    CHECK_RC(dbi_mailbox_new(&mailbox, true, NULL), DBI_OK);
    for (uint32_t i = 0; i < SYNCED; i++) {
        size_t length = tuple_make(tuple, mine->first + i);
        dbi_receipt *receipt;

        CHECK_RC(dbi_stream_submit(mine->stream, dbi_stream_schema(mine->stream), tuple, length, mailbox, NULL, NULL),
                 DBI_OK);
        receipt = (dbi_receipt *)dbi_mailbox_wait(mailbox, dbi_clock_deadline(NULL, 20 * DBI_NS_PER_S));
        CHECK(receipt != NULL && receipt->letter.next == NULL);
        CHECK_RC(receipt->err.rc, DBI_OK);
        dbi_letter_free(receipt);
        if (i % 50 == 0)
            CHECK_RC(dbi_writer_flush(writer, dbi_clock_deadline(NULL, 60 * DBI_NS_PER_S), NULL, NULL), DBI_OK);
    }
    dbi_mailbox_free(mailbox);
    return NULL;
}

static void *look(void *arg) {
    (void)arg;
    while (atomic_load(&looking)) {
        dbi_chain_report reports[8];
        dbi_stream_view views[4];
        dbi_journal_view journal;
        dbi_snapshot snapshot;

        (void)dbi_writer_streams(writer, views, 4);
        (void)dbi_writer_chains(writer, reports, 8);
        (void)dbi_writer_journal(writer, &journal);
        CHECK_RC(dbi_snapshot_take(&snapshot, NULL), DBI_OK);
        dbi_snapshot_reset(&snapshot);
        (void)usleep(3000);
    }
    return NULL;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *ftw) {
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static const char *sql(PGconn *conn, const char *statement) {
    static PGresult *last;

    PQclear(last);
    last = PQexec(conn, statement);
    if (PQresultStatus(last) != PGRES_TUPLES_OK && PQresultStatus(last) != PGRES_COMMAND_OK)
        test_fail(__FILE__, __LINE__, "%s: %s", statement, PQerrorMessage(conn));
    return PQntuples(last) > 0 ? PQgetvalue(last, 0, 0) : "";
}

TEST_WITH(all_at_once, .timeout_s = 180) {
    static const dbi_durability durabilities[SENDERS] = {DBI_DURABILITY_PROCESS, DBI_DURABILITY_PROCESS,
                                                         DBI_DURABILITY_MEMORY};
    static const char *const names[SENDERS] = {"lanes", "one", "memory"};
    PGconn *conn = PQconnectdb(getenv("DBINT_TEST_CONNINFO"));
    char directory[] = "/tmp/dbint-writer-XXXXXX";
    pthread_t threads[SENDERS + 1], looker;
    sender senders[SENDERS + 1];
    dbi_breaker_config breaker_config;
    dbi_stream_view views[SENDERS + 1];
    dbi_writer_config config;
    dbi_pool_config pool;
    dbi_schema *schema;
    uint64_t left;

    CHECK(mkdtemp(directory) != NULL);
    (void)sql(conn, "SET client_min_messages = warning; DROP TABLE IF EXISTS all_at_once;"
                    "CREATE TABLE all_at_once (id int4 PRIMARY KEY, name text)");
    dbi_pool_defaults(&pool);
    pool.conninfo = getenv("DBINT_TEST_CONNINFO");
    dbi_writer_defaults(&config);
    CHECK_RC(dbi_pool_new(&config.pool, &pool, NULL), DBI_OK);
    dbi_breaker_defaults(&breaker_config, DBI_WINDOW_NONE);
    CHECK_RC(dbi_breaker_new(&config.breaker, "server", &breaker_config, NULL), DBI_OK);
    config.journal.directory = directory;
    config.journal.segment_min = 65536; /* many segments */
    config.journal.segment_max = 1 << 20;
    config.shippers = 3;
    CHECK_RC(dbi_writer_new(&writer, &config, NULL), DBI_OK);
    CHECK_RC(dbi_schema_new(&schema, "public", "all_at_once", 2, NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&schema->columns[0], "id", "int4 not null", NULL), DBI_OK);
    CHECK_RC(dbi_column_declare(&schema->columns[1], "name", "text", NULL), DBI_OK);
    for (uint32_t i = 0; i <= SENDERS; i++) {
        dbi_stream_config stream;

        dbi_stream_defaults(&stream);
        stream.schema = schema;
        stream.name = i < SENDERS ? names[i] : "synced";
        stream.durability = i < SENDERS ? durabilities[i] : DBI_DURABILITY_SYNC;
        stream.lanes = i == 0 ? 2 : 1;
        senders[i].first = i * SENT;
        CHECK_RC(dbi_writer_stream(writer, &stream, &senders[i].stream, NULL), DBI_OK);
    }
    atomic_store(&looking, true);
    CHECK_INT(pthread_create(&looker, NULL, look, NULL), 0);
    for (int i = 0; i <= SENDERS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, i < SENDERS ? send_many : send_and_wait, &senders[i]), 0);
    for (int i = 0; i <= SENDERS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_RC(dbi_writer_close(writer, dbi_clock_deadline(NULL, 60 * DBI_NS_PER_S), &left, NULL), DBI_OK);
    atomic_store(&looking, false);
    CHECK_INT(pthread_join(looker, NULL), 0);
    CHECK_INT(left, 0);
    CHECK_INT(dbi_writer_streams(writer, views, SENDERS + 1), SENDERS + 1);
    for (int i = 0; i <= SENDERS; i++) {
        CHECK_INT(views[i].landed, strcmp(views[i].name, "synced") == 0 ? SYNCED : SENT);
        CHECK_INT(views[i].accepted, views[i].landed);
        CHECK_INT(views[i].journaled, 0);
    }
    CHECK_INT(atoll(sql(conn, "SELECT count(*) FROM all_at_once")), SENDERS * SENT + SYNCED);
    dbi_writer_free(writer);
    dbi_breaker_free(config.breaker);
    dbi_pool_free(config.pool);
    dbi_schema_free(schema);
    (void)sql(conn, "DROP TABLE all_at_once");
    PQfinish(conn);
    (void)nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv) {
    if (getenv("DBINT_TEST_CONNINFO") == NULL) {
        (void)fprintf(stderr, "%s: DBINT_TEST_CONNINFO names no database to test against\n", argv[0]);
        return 2;
    }
    return test_main(argc, argv);
}
