/* test_uuid.c - UUIDs of version 7: their form, their order, threads and forks */
#include "uuid.h"

#include <pthread.h>

#include "clock.h"
#include "test.h"

static uint64_t number(const uint8_t *bytes, unsigned count) {
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

TEST(uuid_has_the_form_of_the_rfc) {
    int64_t before = dbi_clock_wall_us() / 1000;
    uint8_t uuid[16];
    int64_t made;

    dbi_uuid7(uuid);
    made = (int64_t)number(uuid, 6);
    CHECK_INT(uuid[6] >> 4, 7);
    CHECK_INT(uuid[8] >> 6, 2);
    CHECK_WITHIN(made, before, dbi_clock_wall_us() / 1000 + 1);
}

TEST(uuid_keeps_the_fraction_of_the_millisecond) {
    uint8_t uuid[16];

    dbi_uuid7_at(INT64_C(1000000) * 5 + 750000, uuid);
    CHECK_INT(number(uuid, 6), 5);
    CHECK_INT(number(uuid + 6, 2) & 0xfff, 4096 * 3 / 4);
}

TEST(uuid_ascends_when_the_clock_stands_or_goes_back) {
    uint8_t last[16], next[16];

    dbi_uuid7_at(INT64_C(1700000000) * DBI_NS_PER_S, last);
    for (int i = 0; i < 10000; i++) {
        dbi_uuid7_at(INT64_C(1700000000) * DBI_NS_PER_S - i * DBI_NS_PER_S, next);
        CHECK(memcmp(last, next, 8) < 0); /* by the part that is no chance */
        CHECK_INT(next[6] >> 4, 7);
        memcpy(last, next, sizeof last);
    }
}

TEST(uuid_of_a_time_before_1970_is_of_1970) {
    uint8_t uuid[16];

    dbi_uuid7_at(-DBI_NS_PER_S, uuid);
    CHECK_INT(number(uuid, 6), 0);
}

#define THREADS 4
#define EACH 20000

static void *make_many(void *arg) {
    uint8_t(*out)[16] = arg;

    for (size_t i = 0; i < EACH; i++)
        dbi_uuid7(out[i]);
    return NULL;
}

static int compare(const void *a, const void *b) {
    return memcmp(a, b, 8);
}

TEST(uuid_differs_and_ascends_across_threads) {
    static uint8_t made[THREADS][EACH][16];
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, make_many, made[i]) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        for (size_t j = 1; j < EACH; j++)
            CHECK(memcmp(made[i][j - 1], made[i][j], 8) < 0);
    qsort(made, (size_t)THREADS * EACH, 16, compare);
    for (size_t i = 1; i < (size_t)THREADS * EACH; i++)
        CHECK(memcmp(made[0][0] + (i - 1) * 16, made[0][0] + i * 16, 8) != 0);
}

/* The random part after a fork: the child must not go on with the parent's numbers. */
TEST(uuid_of_a_forked_child_has_random_bits_of_its_own) {
    uint8_t parent[16], child[16];
    int ends[2], status = 0;
    pid_t pid;

    dbi_uuid7(parent); /* seeds this thread's generator */
    CHECK(pipe(ends) == 0);
    pid = fork();
    if (pid == 0) {
        dbi_uuid7(child);
        _exit(write(ends[1], child, sizeof child) == (ssize_t)sizeof child ? 0 : 1);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(read(ends[0], child, sizeof child) == (ssize_t)sizeof child);
    dbi_uuid7(parent);
    CHECK(memcmp(parent + 8, child + 8, 8) != 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST_MAIN()
