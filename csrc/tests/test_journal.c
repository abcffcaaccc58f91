/* test_journal.c - the journal as its users see it: what was appended is read, whatever happens in between */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_int.h"
#include "test.h"

/* A directory of the test's own, removed at the end. */
typedef struct place {
    char path[64];
} place;

static void place_make(place *at) {
    (void)snprintf(at->path, sizeof at->path, "/tmp/dbint-journal-XXXXXX");
    CHECK(mkdtemp(at->path) != NULL);
}

static void place_remove(const place *at) {
    char command[96];

    (void)snprintf(command, sizeof command, "rm -rf %s", at->path);
    CHECK_INT(system(command), 0);
}

static dbi_journal_config small(const place *at) {
    dbi_journal_config config;

    dbi_journal_defaults(&config);
    config.directory = at->path;
    config.segment_min = 16384;
    config.segment_max = 65536;
    config.max_bytes = 1 << 20;
    config.keep_ns = 0;
    return config;
}

static const dbi_chain_config stream = {
    .name = "public.events", .durability = DBI_DURABILITY_PROCESS, .meta = "columns", .meta_length = 7};

/* A body that says which record it is, of a length that differs. */
static size_t body_make(uint64_t number, char body[512]) {
    size_t length = 1 + number * 37 % 300;

    memset(body, (int)('a' + number % 26), length);
    (void)snprintf(body + length, 32, ":%" PRIu64, number);
    return strlen(body);
}

static dbi_rc append(dbi_chain *chain, uint64_t number, dbi_err *err) {
    char body[512] = "";
    size_t length = body_make(number, body);

    return dbi_chain_append(chain, DBI_RECORD_ROW, body, length, NULL, err);
}

/* Reads all after `after`; every record must be the one that its sequence says. Returns the last one. */
static dbi_rc read_all(dbi_chain *chain, uint64_t after, uint64_t *last, dbi_err *err) {
    dbi_records records = {0};
    dbi_rc rc;

    *last = after;
    while ((rc = dbi_chain_read(chain, *last, 8192, &records, err)) == DBI_OK && records.first <= records.last) {
        dbi_record record;
        uint64_t count = 0;

        while (dbi_records_next(&records, &record)) {
            char body[512] = "";
            size_t length = body_make(record.sequence, body);

            CHECK_INT(record.kind, DBI_RECORD_ROW);
            CHECK_INT(record.length, length);
            CHECK(memcmp(record.body, body, length) == 0);
            CHECK(record.sequence > *last);
            *last = record.sequence;
            count++;
        }
        CHECK_INT(count, records.count);
        *last = records.last;
    }
    dbi_records_free(&records);
    return rc;
}

TEST(what_was_appended_is_read) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    place at;
    uint64_t last = 0;

    place_make(&at);
    {
        dbi_journal_config config = small(&at);

        TRY(dbi_journal_open(&journal, &config, NULL));
    }
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    for (uint64_t i = 1; i <= 2000; i++) {
        TRY(append(chain, i, NULL));
        if (i % 50 == 0)
            TRY(dbi_journal_tend(journal, NULL, NULL));
    }
    TRY(read_all(chain, 0, &last, NULL));
    CHECK_INT(last, 2000);
    TRY(read_all(chain, 1234, &last, NULL));
    CHECK_INT(last, 2000);
    dbi_journal_free(journal);
    journal = NULL;
    {
        dbi_journal_config config = small(&at);

        TRY(dbi_journal_open(&journal, &config, NULL));
    }
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(dbi_chain_last(chain), 2000);
    for (uint64_t i = 2001; i <= 3000; i++)
        TRY(append(chain, i, NULL));
    TRY(read_all(chain, 0, &last, NULL));
    CHECK_INT(last, 3000);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST_MAIN()
