/* journal_test.h - what the tests of the journal share: a directory, records that say which they are, bytes on disk */
#ifndef DBI_JOURNAL_TEST_H
#define DBI_JOURNAL_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sys/stat.h>

#include "journal_int.h"
#include "test.h"

/* A directory of the test's own, on disk and not in memory. */
typedef struct place {
    char path[64];
} place;

static inline void place_make(place *at) {
    (void)snprintf(at->path, sizeof at->path, "/var/tmp/dbint-journal-XXXXXX");
    CHECK(mkdtemp(at->path) != NULL);
}

static inline void place_run(const place *at, const char *command) {
    char line[1024];

    (void)snprintf(line, sizeof line, "cd %s && %s", at->path, command);
    CHECK_INT(system(line), 0);
}

static inline void place_remove(const place *at) {
    place_run(at, "chmod -R u+rwx . && cd / && rm -rf \"$OLDPWD\"");
}

/* The n-th file, in the order of names, that fits a pattern below the place, to be freed; NULL: there are no more. */
static inline char *place_file(const place *at, const char *pattern, size_t nth) {
    char whole[192], *path = NULL;
    glob_t found;

    (void)snprintf(whole, sizeof whole, "%s/%s", at->path, pattern);
    if (glob(whole, 0, NULL, &found) != 0)
        return NULL;
    if (nth < found.gl_pathc)
        path = strdup(found.gl_pathv[nth]);
    globfree(&found);
    return path;
}

static inline size_t place_count(const place *at, const char *pattern) {
    size_t count = 0;
    char whole[192];
    glob_t found;

    (void)snprintf(whole, sizeof whole, "%s/%s", at->path, pattern);
    if (glob(whole, 0, NULL, &found) == 0) {
        count = found.gl_pathc;
        globfree(&found);
    }
    return count;
}

static inline uint8_t *file_bytes(const char *path, size_t *size) {
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes;

    CHECK(fd >= 0 && fstat(fd, &found) == 0);
    *size = (size_t)found.st_size;
    bytes = malloc(*size + 1);
    CHECK(bytes != NULL && dbi__pread(fd, bytes, *size, 0) == *size);
    (void)close(fd);
    return bytes;
}

static inline void file_write(const char *path, const uint8_t *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0 && dbi__pwrite(fd, bytes, size, 0));
    (void)close(fd);
}

static inline void file_poke(const char *path, uint64_t offset, const void *bytes, size_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    CHECK(fd >= 0 && dbi__pwrite(fd, bytes, length, offset));
    (void)close(fd);
}

/* Small segments, nothing kept: what is retired is retired at once. */
static inline dbi_journal_config small(const place *at) {
    dbi_journal_config config;

    dbi_journal_defaults(&config);
    config.directory = at->path;
    config.segment_min = 16384;
    config.segment_max = 65536;
    config.max_bytes = 1 << 20;
    config.keep_ns = 0;
    return config;
}

static inline dbi_rc small_open(const place *at, dbi_journal **journal) {
    dbi_journal_config config = small(at);

    return dbi_journal_open(journal, &config, NULL);
}

static const dbi_chain_config stream = {
    .name = "public.events", .durability = DBI_DURABILITY_PROCESS, .meta = "columns", .meta_length = 7};

/* A body that says which record it is, of a length that differs. */
static inline size_t body_make(uint64_t number, char body[512]) {
    size_t length = 1 + number * 37 % 300;

    memset(body, (int)('a' + number % 26), length);
    (void)snprintf(body + length, 32, ":%" PRIu64, number);
    return strlen(body);
}

static inline dbi_rc append(dbi_chain *chain, uint64_t number, dbi_err *err) {
    char body[512];
    size_t length = body_make(number, body);

    return dbi_chain_append(chain, DBI_RECORD_ROW, body, length, NULL, err);
}

static inline dbi_rc append_range(dbi_chain *chain, uint64_t from, uint64_t to) {
    dbi_rc rc = DBI_OK;

    for (uint64_t i = from; i <= to && rc == DBI_OK; i++)
        rc = append(chain, i, NULL);
    return rc;
}

/* What reading found: how many records, up to where, and how often damage was told of. */
typedef struct reading {
    uint64_t count, last, damages;
} reading;

/* Reads all after `after`. Every record must be the one that its sequence (plus `shift`) says; sequences must rise. */
static inline dbi_rc read_shifted(dbi_chain *chain, uint64_t after, uint64_t shift, reading *found) {
    dbi_records records = {0};
    uint64_t seen = after;
    dbi_rc rc;

    memset(found, 0, sizeof *found);
    found->last = after;
    for (;;) {
        dbi_record record;
        uint64_t count = 0;

        rc = dbi_chain_read(chain, found->last, 8192, &records, NULL);
        if (rc == DBI_ECORRUPT && found->damages++ < 1000)
            continue;
        if (rc != DBI_OK || records.first > records.last)
            break;
        while (dbi_records_next(&records, &record)) {
            char body[512];
            size_t length = body_make(record.sequence + shift, body);

            CHECK_INT(record.kind, DBI_RECORD_ROW);
            CHECK_INT(record.length, length);
            CHECK(memcmp(record.body, body, length) == 0);
            CHECK(record.sequence > seen && record.sequence <= records.last);
            seen = record.sequence;
            count++;
        }
        CHECK_INT(count, records.count);
        CHECK(records.last > found->last);
        found->count += count;
        found->last = records.last;
    }
    dbi_records_free(&records);
    return rc;
}

static inline dbi_rc read_all(dbi_chain *chain, uint64_t after, reading *found) {
    return read_shifted(chain, after, 0, found);
}

/* A clock that tests set. */
static inline int64_t clock_read(void *arg) {
    return atomic_load((_Atomic int64_t *)arg);
}

#endif
