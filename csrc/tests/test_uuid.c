/* test_uuid.c - UUIDs of version 7: their form, their order, sources and forks */
#include "uuid.h"

#include "clock.h"
#include "test.h"

static uint64_t number(const uint8_t *bytes, unsigned count) {
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

TEST(uuid_has_the_form_of_the_rfc) {
    dbi_uuid7_source source = {0};
    uint8_t uuid[16];

    dbi_uuid7(&source, INT64_C(1700000000123) * 1000000, uuid);
    CHECK_INT(number(uuid, 6), INT64_C(1700000000123));
    CHECK_INT(uuid[6] >> 4, 7);
    CHECK_INT(uuid[8] >> 6, 2);
}

TEST(uuid_keeps_the_fraction_of_the_millisecond) {
    dbi_uuid7_source source = {0};
    uint8_t uuid[16];

    dbi_uuid7(&source, INT64_C(1000000) * 5 + 750000, uuid);
    CHECK_INT(number(uuid, 6), 5);
    CHECK_INT(number(uuid + 6, 2) & 0xfff, 4096 * 3 / 4);
}

TEST(uuid_ascends_when_the_clock_stands_or_goes_back) {
    dbi_uuid7_source source = {0};
    uint8_t last[16], next[16];

    dbi_uuid7(&source, INT64_C(1700000000) * DBI_NS_PER_S, last);
    for (int i = 0; i < 10000; i++) {
        dbi_uuid7(&source, INT64_C(1700000000) * DBI_NS_PER_S - i * DBI_NS_PER_S, next);
        CHECK(memcmp(last, next, 8) < 0); /* by the part that is no chance */
        CHECK_INT(next[6] >> 4, 7);
        memcpy(last, next, sizeof last);
    }
}

TEST(uuid_of_a_time_before_1970_is_of_1970) {
    dbi_uuid7_source source = {0};
    uint8_t uuid[16];

    dbi_uuid7(&source, -DBI_NS_PER_S, uuid);
    CHECK_INT(number(uuid, 6), 0);
}

TEST(uuid_of_another_source_has_random_bits_of_its_own) {
    dbi_uuid7_source one = {0}, other = {0};
    uint8_t first[16], second[16];

    dbi_uuid7(&one, DBI_NS_PER_S, first);
    dbi_uuid7(&other, DBI_NS_PER_S, second);
    CHECK(memcmp(first, second, 8) == 0);
    CHECK(memcmp(first + 8, second + 8, 8) != 0);
}

/* The random part after a fork: the child must not go on with the parent's numbers. */
TEST(uuid_of_a_forked_child_has_random_bits_of_its_own) {
    dbi_uuid7_source source = {0};
    uint8_t parent[16], child[16];
    int ends[2], status = 0;
    pid_t pid;

    dbi_uuid7(&source, DBI_NS_PER_S, parent); /* seeds it */
    CHECK(pipe(ends) == 0);
    pid = fork();
    if (pid == 0) {
        dbi_uuid7(&source, DBI_NS_PER_S, child);
        _exit(write(ends[1], child, sizeof child) == (ssize_t)sizeof child ? 0 : 1);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(read(ends[0], child, sizeof child) == (ssize_t)sizeof child);
    dbi_uuid7(&source, DBI_NS_PER_S, parent);
    CHECK(memcmp(parent + 8, child + 8, 8) != 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST_MAIN()
