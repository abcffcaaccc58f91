/* test_clock.c - deadlines on a clock that the test sets */
#include "clock.h"

#include "test.h"

static int64_t read_manual(void *arg) {
    return *(int64_t *)arg;
}

TEST(a_zeroed_clock_is_the_systems) {
    dbi_clock clock = {0};
    int64_t before = dbi_clock_now(NULL), between = dbi_clock_now(&clock), after = dbi_clock_now(NULL);

    CHECK(before > 0);
    CHECK(before <= between && between <= after);
}

TEST(deadlines_follow_the_clock) {
    int64_t now = 100;
    dbi_clock clock = {read_manual, &now};
    int64_t deadline = dbi_clock_deadline(&clock, 50);

    CHECK_INT(deadline, 150);
    CHECK_INT(dbi_clock_left(&clock, deadline), 50);
    now = 149;
    CHECK_INT(dbi_clock_left(&clock, deadline), 1);
    now = 150;
    CHECK_INT(dbi_clock_left(&clock, deadline), 0);
    now = 1000;
    CHECK_INT(dbi_clock_left(&clock, deadline), 0);
}

TEST(forever_never_comes) {
    int64_t now = INT64_MAX - 10;
    dbi_clock clock = {read_manual, &now};

    CHECK_INT(dbi_clock_deadline(&clock, -1), DBI_FOREVER);
    CHECK_INT(dbi_clock_deadline(&clock, 11), DBI_FOREVER);
    CHECK_INT(dbi_clock_deadline(&clock, 9), INT64_MAX - 1);
    CHECK_INT(dbi_clock_left(&clock, DBI_FOREVER), DBI_FOREVER);
}

TEST(timespec_splits_the_seconds) {
    struct timespec ts = dbi_clock_timespec(3 * DBI_NS_PER_S + 7);

    CHECK_INT(ts.tv_sec, 3);
    CHECK_INT(ts.tv_nsec, 7);
}

TEST(wall_time_is_microseconds_since_1970) {
    int64_t seconds = dbi_clock_wall_us() / 1000000;
    int64_t reference = (int64_t)time(NULL);

    CHECK_WITHIN(seconds, reference - 1, reference + 1);
}

TEST_MAIN()
