/* test_dead.c - dead letters: their lines, and what becomes of the file when shipments and disks fail */
#include "dead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "dead_int.h"
#include "test.h"

static const uint8_t chain[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                  0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
#define CHAIN "0123456789abcdeffedcba9876543210"

static char directory[64], path[160];

/* A directory of the case's own, which is removed by the next case's or by the system. */
static void directory_make(void) {
    strcpy(directory, "/tmp/dbint-dead-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    strcat(directory, "/dead");
    (void)snprintf(path, sizeof path, "%s/" CHAIN ".jsonl", directory);
}

static void directory_remove(void) {
    (void)unlink(path);
    (void)rmdir(directory);
    *strrchr(directory, '/') = '\0';
    CHECK_INT(rmdir(directory), 0);
}

static size_t file_read(char *text, size_t size) {
    int fd = open(path, O_RDONLY);
    ssize_t got;

    text[0] = '\0';
    if (fd < 0)
        return 0;
    got = read(fd, text, size - 1);
    CHECK(got >= 0);
    text[got] = '\0';
    close(fd);
    return (size_t)got;
}

static void file_write(const char *text) {
    int fd;

    (void)mkdir(directory, 0700);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static dbi_column columns[2] = {{.name = "id", .type_name = "uuid"},
                                {.name = "na\"me", .type_name = "character varying(50)"}};
static dbi_schema schema = {.nspname = "public", .relname = "t", .column_count = 2, .columns = columns};

static dbi_dead_letter letter(uint64_t sequence) {
    return (dbi_dead_letter){.sequence = sequence,
                             .stream = "orders",
                             .schema = &schema,
                             .sqlstate = "22001",
                             .message = "too \"long\"\n",
                             .tuple = (const uint8_t *)"\0\1\xff\xff",
                             .length = 4};
}

static unsigned lines_with(const char *text, const char *part) {
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

TEST(a_letters_line_is_as_written_down) {
    dbi__text text = {0};
    dbi_dead_letter one = letter(17);

    dbi__dead_line(&text, CHAIN, 17, &one, INT64_C(1769860800000001));
    if (!text.failed)
        CHECK_STR(text.bytes,
                  "{\"v\":1,\"chain\":\"" CHAIN "\",\"sequence\":17,\"stream\":\"orders\",\"table\":[\"public\",\"t\"],"
                  "\"sqlstate\":\"22001\",\"message\":\"too \\u0022long\\u0022\\u000a\","
                  "\"at\":\"2026-01-31T12:00:00.000001Z\",\"columns\":[[\"id\",\"uuid\"],"
                  "[\"na\\u0022me\",\"character varying(50)\"]],\"tuple\":\"AAH//w==\"}\n");
    dbi__text_reset(&text);
    dbi__dead_line(&text, CHAIN, 18, NULL, INT64_C(1769860805000001));
    if (!text.failed)
        CHECK_STR(text.bytes, "{\"v\":1,\"chain\":\"" CHAIN "\",\"sequence\":18,\"withdrawn\":true,"
                              "\"at\":\"2026-01-31T12:00:05.000001Z\"}\n");
    dbi__text_free(&text);
}

TEST(base64_pads_each_length) {
    static const char *const expected[] = {"\"\"", "\"AP8=\"", "\"AP8Q\"", "\"AP8QIA==\""};
    static const size_t lengths[] = {0, 2, 3, 4};
    static const uint8_t bytes[4] = {0x00, 0xff, 0x10, 0x20};

    for (size_t i = 0; i < 4; i++) {
        dbi__text text = {0};
        dbi_dead_letter one = letter(1);

        one.tuple = bytes;
        one.length = lengths[i];
        dbi__dead_line(&text, CHAIN, 1, &one, 0);
        if (!text.failed)
            CHECK_HAS(text.bytes, expected[i]);
        dbi__text_free(&text);
    }
}

TEST(what_is_not_utf8_is_made_so) {
    dbi__text text = {0};
    dbi_dead_letter one = letter(1);

    one.message = "caf\xe9";
    one.stream = "caf\xc3\xa9";
    dbi__dead_line(&text, CHAIN, 1, &one, 0);
    if (!text.failed) {
        CHECK_HAS(text.bytes, "\"caf\xef\xbf\xbd\"");
        CHECK_HAS(text.bytes, "\"caf\xc3\xa9\"");
    }
    dbi__text_free(&text);
}

TEST(a_line_is_read_back_and_a_torn_one_is_not) {
    dbi__text text = {0};
    dbi_dead_letter one = letter(UINT64_MAX);
    uint64_t sequence = 0;
    bool withdrawn = true;

    dbi__dead_line(&text, CHAIN, UINT64_MAX, &one, 0);
    if (!text.failed) {
        CHECK(dbi__dead_read(text.bytes, text.length - 1, CHAIN, &sequence, &withdrawn));
        CHECK(sequence == UINT64_MAX && !withdrawn);
        CHECK(!dbi__dead_read(text.bytes, text.length - 1, "f" CHAIN, &sequence, &withdrawn));
        for (size_t length = 0; length < text.length - 1; length++)
            if (text.bytes[length == 0 ? 0 : length - 1] != '}')
                CHECK(!dbi__dead_read(text.bytes, length, CHAIN, &sequence, &withdrawn));
    }
    dbi__text_free(&text);
}

TEST(letters_are_private_and_on_disk_after_sync) {
    dbi_dead *dead = NULL;
    struct stat status;
    char text[4096];

    directory_make();
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    dbi_dead_begin(dead, 1, 10);
    for (uint64_t i = 3; i <= 4; i++) {
        dbi_dead_letter one = letter(i);

        TRY(dbi_dead_put(dead, &one, NULL));
    }
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\n"), 2);
    CHECK_HAS(text, "\"sequence\":3,");
    CHECK_HAS(text, "\"sequence\":4,");
    CHECK_INT(stat(path, &status), 0);
    CHECK_INT(status.st_mode & 0777, 0600);
    CHECK_INT(stat(directory, &status), 0);
    CHECK_INT(status.st_mode & 0777, 0700);
done:
    dbi_dead_free(dead);
    directory_remove();
}

TEST(nothing_is_written_where_nothing_is_refused) {
    dbi_dead *dead = NULL;

    directory_make();
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    TRY(dbi_dead_load(dead, 0, NULL));
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_sync(dead, NULL));
    dbi_dead_landed(dead, 10);
    CHECK_INT(access(directory, F_OK), -1);
done:
    dbi_dead_free(dead);
    (void)mkdir(directory, 0700);
    directory_remove();
}

/* The commit failed after the letter was written; then somebody repaired the table, and the row lands. */
TEST(a_letter_is_taken_back_when_its_row_lands_after_all) {
    dbi_dead *dead = NULL;
    dbi_dead_letter one = letter(5), two = letter(6);
    char text[4096];

    directory_make();
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &one, NULL));
    TRY(dbi_dead_put(dead, &two, NULL));
    TRY(dbi_dead_sync(dead, NULL));
    dbi_dead_begin(dead, 1, 5); /* a smaller shipment: 6 is not in it */
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\"withdrawn\":true"), 1);
    CHECK_HAS(text, "\"sequence\":5,\"withdrawn\":true");
    dbi_dead_landed(dead, 5);
    dbi_dead_begin(dead, 6, 10);
    TRY(dbi_dead_put(dead, &two, NULL)); /* refused again: stays */
    TRY(dbi_dead_sync(dead, NULL));
    dbi_dead_landed(dead, 10);
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\"withdrawn\":true"), 1);
done:
    dbi_dead_free(dead);
    directory_remove();
}

/* The same, and the process died in between: the next one finds the letter in the file. */
TEST(a_letter_of_a_dead_process_is_taken_back_too) {
    dbi_dead *dead = NULL;
    dbi_dead_letter four = letter(4), five = letter(5), six = letter(6);
    char text[4096];

    directory_make();
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &four, NULL));
    TRY(dbi_dead_put(dead, &five, NULL));
    TRY(dbi_dead_put(dead, &six, NULL));
    TRY(dbi_dead_sync(dead, NULL));
    dbi_dead_free(dead);
    dead = NULL;
    file_write("{\"v\":1,\"chain\":\"" CHAIN
               "\",\"sequence\":6,\"withdrawn\":true,\"at\":\"2026-01-31T12:00:05.000001Z\"}\n");
    file_write("not a line\n\n{\"v\":1,\"chain\":\"" CHAIN "\",\"sequence\":7,\"stream\":\"torn");
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    TRY(dbi_dead_load(dead, 4, NULL)); /* 4 has landed as a letter; 5 is open; 6 was taken back; 7 is torn */
    dbi_dead_begin(dead, 5, 10);
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\"withdrawn\":true"), 2);
    CHECK_HAS(text, "torn\n{\"v\":1,\"chain\":\"" CHAIN "\",\"sequence\":5,\"withdrawn\":true");
done:
    dbi_dead_free(dead);
    directory_remove();
}

/* Lines longer than what is read of them at once, and of its chunks. */
TEST(long_lines_are_read_over) {
    dbi_dead *dead = NULL;
    static uint8_t tuple[300000];
    static char text[1000000];

    directory_make();
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    dbi_dead_begin(dead, 1, 3);
    for (uint64_t i = 1; i <= 2; i++) {
        dbi_dead_letter one = letter(i);

        one.tuple = tuple;
        one.length = sizeof tuple;
        TRY(dbi_dead_put(dead, &one, NULL));
    }
    TRY(dbi_dead_sync(dead, NULL));
    TRY(dbi_dead_load(dead, 0, NULL));
    dbi_dead_begin(dead, 1, 3);
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\"withdrawn\":true"), 2);
done:
    dbi_dead_free(dead);
    directory_remove();
}

TEST(a_full_disk_is_an_error_and_leaves_a_file_that_can_be_gone_on_with) {
    struct rlimit limit = {.rlim_cur = 200, .rlim_max = RLIM_INFINITY};
    dbi_dead *dead = NULL;
    dbi_dead_letter one = letter(5), two = letter(6);
    char text[4096];
    dbi_err err;

    directory_make();
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &one, NULL));
    TRY(dbi_dead_put(dead, &two, NULL));
    TRY_RC(dbi_dead_sync(dead, &err), DBI_ESYS);
    CHECK_HAS(err.msg, path);
    limit.rlim_cur = RLIM_INFINITY;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &one, NULL));
    TRY(dbi_dead_put(dead, &two, NULL));
    TRY(dbi_dead_sync(dead, NULL));
    (void)file_read(text, sizeof text);
    CHECK_INT(lines_with(text, "\"tuple\":\"AAH//w==\"}\n"), 2);
    CHECK_INT(lines_with(text, "\n"), 3); /* the torn one got an end of its own */
done:
    dbi_dead_free(dead);
    directory_remove();
}

TEST(a_directory_that_cannot_be_made_is_named) {
    dbi_dead *dead = NULL;
    dbi_dead_letter one = letter(5);
    dbi_err err;

    TRY(dbi_dead_new(&dead, "/proc/no/such", chain, NULL));
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &one, NULL));
    TRY_RC(dbi_dead_sync(dead, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "/proc/no/such");
done:
    dbi_dead_free(dead);
}

/* A link in its place could lead letters, which hold rows, somewhere else. */
TEST(a_link_is_not_followed) {
    dbi_dead *dead = NULL;
    dbi_dead_letter one = letter(5);

    directory_make();
    CHECK_INT(mkdir(directory, 0700), 0);
    CHECK_INT(symlink("/dev/null", path), 0);
    TRY(dbi_dead_new(&dead, directory, chain, NULL));
    TRY_RC(dbi_dead_load(dead, 0, NULL), DBI_ESYS);
    dbi_dead_begin(dead, 1, 10);
    TRY(dbi_dead_put(dead, &one, NULL));
    TRY_RC(dbi_dead_sync(dead, NULL), DBI_ESYS);
done:
    dbi_dead_free(dead);
    directory_remove();
}

TEST_MAIN()
