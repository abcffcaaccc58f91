/* test_breaker.c - every rule of the circuit breaker on a clock that the test sets, and its races among threads */
#include "breaker.h"

#include <math.h>
#include <pthread.h>

#include "test.h"
#include "window_int.h"

static int64_t manual_read(void *arg) {
    return atomic_load_explicit((_Atomic int64_t *)arg, memory_order_relaxed);
}

/* The time of all cases; each case runs in a process of its own. */
static _Atomic int64_t time_now = 1000 * DBI_NS_PER_S;

static void pass(double seconds) {
    atomic_fetch_add_explicit(&time_now, (int64_t)(seconds * (double)DBI_NS_PER_S), memory_order_relaxed);
}

static dbi_breaker_config config_of(dbi_window window) {
    dbi_breaker_config config;

    dbi_breaker_defaults(&config, window);
    config.clock = (dbi_clock){manual_read, &time_now};
    return config;
}

/* One whole call. False when it was refused. */
static bool call(dbi_breaker *breaker, dbi_outcome outcome) {
    dbi_permit permit;

    if (dbi_breaker_acquire(breaker, &permit, NULL) != DBI_OK)
        return false;
    dbi_breaker_done(breaker, &permit, outcome);
    return true;
}

static bool slow_call(dbi_breaker *breaker, dbi_outcome outcome, double seconds) {
    dbi_permit permit;

    if (dbi_breaker_acquire(breaker, &permit, NULL) != DBI_OK)
        return false;
    pass(seconds);
    dbi_breaker_done(breaker, &permit, outcome);
    return true;
}

#define CHECK_STATE(breaker, name) CHECK_STR(dbi_circuit_text(dbi_breaker_state(breaker)), name)
#define GOOD(breaker) CHECK(call(breaker, DBI_OUTCOME_SUCCEEDED))
#define BAD(breaker) CHECK(call(breaker, DBI_OUTCOME_FAILED))
#define REFUSED(breaker) CHECK(!call(breaker, DBI_OUTCOME_SUCCEEDED))

static void trip(dbi_breaker *breaker) {
    for (int i = 0; i < 5; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "open");
}

/* --- failures in a row --- */

TEST(five_failures_in_a_row_open_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    CHECK_STATE(breaker, "closed");
    for (int i = 0; i < 4; i++)
        BAD(breaker);
    GOOD(breaker); /* breaks the row */
    for (int i = 0; i < 4; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "closed");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.consecutive_failures, 4);
    BAD(breaker);
    CHECK_STATE(breaker, "open");
    REFUSED(breaker);
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.outcomes[DBI_OUTCOME_FAILED], 9);
    CHECK_INT(view.outcomes[DBI_OUTCOME_SUCCEEDED], 1);
    CHECK_INT(view.rejected, 1);
    CHECK_INT(view.opened, 1);
done:
    dbi_breaker_free(breaker);
}

TEST(sixty_seconds_later_three_successes_close_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permit;
    int64_t retry;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(20);
    CHECK_RC(dbi_breaker_acquire(breaker, &permit, &retry), DBI_EOPEN);
    CHECK_INT(retry, 40 * DBI_NS_PER_S);
    CHECK_INT(permit.stamp, 0);
    pass(39.999);
    REFUSED(breaker);
    pass(0.001);
    CHECK_STATE(breaker, "open"); /* until someone calls */
    GOOD(breaker);
    CHECK_STATE(breaker, "half_open");
    GOOD(breaker);
    CHECK_STATE(breaker, "half_open");
    GOOD(breaker);
    CHECK_STATE(breaker, "closed");
    for (int i = 0; i < 4; i++) /* it starts from nothing */
        BAD(breaker);
    CHECK_STATE(breaker, "closed");
done:
    dbi_breaker_free(breaker);
}

TEST(a_failed_probe_opens_it_again_for_the_whole_wait) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(60);
    GOOD(breaker);
    GOOD(breaker);
    BAD(breaker);
    CHECK_STATE(breaker, "open");
    pass(59);
    REFUSED(breaker);
    pass(1);
    GOOD(breaker);
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.opened, 2);
    CHECK_INT(view.permits, 2);
done:
    dbi_breaker_free(breaker);
}

TEST(open_never_ends_early) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;

    config.recovery_timeout = 2 * DBI_NS_PER_MS;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    pass(0.0009); /* not on a whole millisecond */
    trip(breaker);
    REFUSED(breaker);
    pass(0.001999);
    REFUSED(breaker);
    pass(0.001);
    GOOD(breaker);
done:
    dbi_breaker_free(breaker);
}

/* --- probes and their permits --- */

TEST(half_open_lets_only_so_many_through) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permits[4];
    int64_t retry = 0;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(60);
    for (size_t i = 0; i < 3; i++)
        CHECK_RC(dbi_breaker_acquire(breaker, &permits[i], NULL), DBI_OK);
    CHECK_RC(dbi_breaker_acquire(breaker, &permits[3], &retry), DBI_EOPEN);
    CHECK_INT(retry, DBI_FOREVER); /* when a probe will answer is not known */
    for (size_t i = 0; i < 3; i++)
        dbi_breaker_done(breaker, &permits[i], DBI_OUTCOME_SUCCEEDED);
    CHECK_STATE(breaker, "closed");
done:
    dbi_breaker_free(breaker);
}

TEST(cancelled_and_ignored_probes_give_their_permit_back) {
    static const dbi_outcome outcomes[] = {DBI_OUTCOME_CANCELLED, DBI_OUTCOME_IGNORED};
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permit;
    dbi_breaker_view view;

    config.half_open_calls = 1;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(60);
    for (size_t i = 0; i < 2; i++) {
        CHECK_RC(dbi_breaker_acquire(breaker, &permit, NULL), DBI_OK);
        REFUSED(breaker);
        dbi_breaker_done(breaker, &permit, outcomes[i]);
        CHECK_STATE(breaker, "half_open");
    }
    GOOD(breaker);
    CHECK_STATE(breaker, "closed");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.outcomes[DBI_OUTCOME_CANCELLED], 1);
    CHECK_INT(view.outcomes[DBI_OUTCOME_IGNORED], 1);
    CHECK_INT(view.rejected, 2);
done:
    dbi_breaker_free(breaker);
}

TEST(a_permit_counts_once) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permit, none = {0};
    dbi_breaker_view view;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    CHECK_RC(dbi_breaker_acquire(breaker, &permit, NULL), DBI_OK);
    for (int i = 0; i < 10; i++)
        dbi_breaker_done(breaker, &permit, DBI_OUTCOME_FAILED);
    dbi_breaker_done(breaker, &none, DBI_OUTCOME_FAILED);
    CHECK_STATE(breaker, "closed");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.outcomes[DBI_OUTCOME_FAILED], 1);
done:
    dbi_breaker_free(breaker);
}

/* what came from before the trouble says nothing about the present */
TEST(late_outcomes_are_counted_but_not_judged) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit early[3], probe, late_probe;
    dbi_breaker_view view;

    config.half_open_calls = 2;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    for (size_t i = 0; i < 3; i++)
        CHECK_RC(dbi_breaker_acquire(breaker, &early[i], NULL), DBI_OK);
    trip(breaker);
    pass(60);
    CHECK_RC(dbi_breaker_acquire(breaker, &probe, NULL), DBI_OK);
    CHECK_RC(dbi_breaker_acquire(breaker, &late_probe, NULL), DBI_OK);
    dbi_breaker_done(breaker, &early[0], DBI_OUTCOME_SUCCEEDED);
    dbi_breaker_done(breaker, &early[1], DBI_OUTCOME_SUCCEEDED); /* as many as would close it */
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_done(breaker, &early[2], DBI_OUTCOME_FAILED);
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_done(breaker, &probe, DBI_OUTCOME_FAILED);
    CHECK_STATE(breaker, "open");
    pass(60);
    GOOD(breaker);
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_done(breaker, &late_probe, DBI_OUTCOME_CANCELLED); /* of the last round: gives nothing back here */
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.permits, 1);
    CHECK_INT(view.late, 3);
done:
    dbi_breaker_free(breaker);
}

TEST(lost_probes_cannot_wedge_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permits[3];
    int64_t retry;

    config.half_open_timeout = 10 * DBI_NS_PER_S;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(60);
    CHECK_RC(dbi_breaker_acquire(breaker, &permits[0], NULL), DBI_OK);
    CHECK_RC(dbi_breaker_acquire(breaker, &permits[1], NULL), DBI_OK);
    pass(500); /* few calls: as long as a permit is left, no time passes */
    CHECK_RC(dbi_breaker_acquire(breaker, &permits[2], NULL), DBI_OK);
    CHECK_STATE(breaker, "half_open");
    pass(9.999);
    REFUSED(breaker);
    CHECK_STATE(breaker, "half_open");
    pass(0.001);
    CHECK_RC(dbi_breaker_acquire(breaker, &permits[0], &retry), DBI_EOPEN);
    CHECK_STATE(breaker, "open");
    CHECK_INT(retry, 60 * DBI_NS_PER_S);
    pass(60);
    GOOD(breaker);
    GOOD(breaker);
    GOOD(breaker);
    CHECK_STATE(breaker, "closed");
done:
    dbi_breaker_free(breaker);
}

TEST(without_a_limit_half_open_waits_for_ever) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permit;

    config.half_open_timeout = DBI_FOREVER;
    config.half_open_calls = 1;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    trip(breaker);
    pass(60);
    CHECK_RC(dbi_breaker_acquire(breaker, &permit, NULL), DBI_OK);
    pass(86400);
    REFUSED(breaker);
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_done(breaker, &permit, DBI_OUTCOME_SUCCEEDED);
    CHECK_STATE(breaker, "closed");
done:
    dbi_breaker_free(breaker);
}

/* --- windows --- */

TEST(the_failure_rate_of_the_last_calls_opens_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    config.window_size = 10;
    config.minimum_calls = 4;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    BAD(breaker);
    BAD(breaker);
    BAD(breaker);
    dbi_breaker_read(breaker, &view);
    CHECK(view.failure_rate < 0); /* below the minimum of calls there is no rate */
    GOOD(breaker);                /* the fourth call: 3 of 4; a success can be what opens it */
    CHECK_STATE(breaker, "open");

    dbi_breaker_force(breaker, DBI_CIRCUIT_CLOSED);
    for (int i = 0; i < 6; i++)
        GOOD(breaker);
    for (int i = 0; i < 4; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "closed"); /* 4 of 10 */
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 10);
    CHECK_INT(view.window_failed, 4);
    CHECK_WITHIN(view.failure_rate, 0.4, 0.4);
    BAD(breaker); /* the oldest success leaves: 5 of 10 */
    CHECK_STATE(breaker, "open");
done:
    dbi_breaker_free(breaker);
}

TEST(the_window_forgets) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    config.window_size = 8;
    config.minimum_calls = 8;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    for (int round = 0; round < 50; round++)
        for (int i = 0; i < 8; i++)
            CHECK(call(breaker, i < 3 ? DBI_OUTCOME_FAILED : DBI_OUTCOME_SUCCEEDED));
    CHECK_STATE(breaker, "closed");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 8);
    CHECK_INT(view.window_failed, 3);
done:
    dbi_breaker_free(breaker);
}

TEST(cancelled_and_ignored_calls_stay_out_of_the_window) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    config.minimum_calls = 1;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    CHECK(call(breaker, DBI_OUTCOME_CANCELLED));
    CHECK(call(breaker, DBI_OUTCOME_IGNORED));
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 0);
done:
    dbi_breaker_free(breaker);
}

TEST(the_failure_rate_of_the_last_seconds_opens_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_TIME);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    config.window_size = 10 * DBI_NS_PER_S;
    config.minimum_calls = 4;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    for (int i = 0; i < 3; i++)
        BAD(breaker);
    pass(10); /* and they are forgotten */
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 0);
    for (int i = 0; i < 3; i++) {
        GOOD(breaker);
        pass(1);
    }
    BAD(breaker);
    pass(5);
    BAD(breaker);
    CHECK_STATE(breaker, "closed"); /* 2 of 5 */
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 5);
    pass(2);      /* the first success leaves */
    BAD(breaker); /* 3 of 5 */
    CHECK_STATE(breaker, "open");
done:
    dbi_breaker_free(breaker);
}

TEST(a_time_window_survives_long_idleness) {
    dbi_breaker_config config = config_of(DBI_WINDOW_TIME);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;

    config.window_size = DBI_NS_PER_S;
    config.minimum_calls = 2;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    GOOD(breaker);
    pass(100.0 * 86400); /* more laps than half of what a tag tells apart */
    GOOD(breaker);
    BAD(breaker);
    CHECK_STATE(breaker, "open");
    dbi_breaker_force(breaker, DBI_CIRCUIT_CLOSED);
    pass(1000.0 * 86400);
    GOOD(breaker);
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 1);
done:
    dbi_breaker_free(breaker);
}

TEST(slow_calls_open_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    dbi_breaker_view view;
    dbi_histogram_view durations;

    config.minimum_calls = 4;
    config.slow_call_duration = DBI_NS_PER_S;
    config.slow_call_rate = 0.75;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    CHECK(slow_call(breaker, DBI_OUTCOME_SUCCEEDED, 1.0)); /* not more than a second */
    CHECK(slow_call(breaker, DBI_OUTCOME_SUCCEEDED, 1.1));
    CHECK(slow_call(breaker, DBI_OUTCOME_FAILED, 1.1));
    CHECK_STATE(breaker, "closed");
    CHECK(slow_call(breaker, DBI_OUTCOME_SUCCEEDED, 5));
    CHECK_STATE(breaker, "open");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.slow, 3);
    dbi_histogram_read(dbi_breaker_durations(breaker), &durations);
    CHECK_INT(durations.count, 4);
    CHECK_INT(durations.max, 5 * DBI_NS_PER_S);
done:
    dbi_breaker_free(breaker);
}

TEST(with_a_window_all_probes_are_judged_together) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;

    config.minimum_calls = 2;
    config.half_open_calls = 4;
    config.slow_call_duration = DBI_NS_PER_S;
    config.slow_call_rate = 0.5;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    BAD(breaker);
    BAD(breaker);
    pass(60);
    BAD(breaker); /* one of four is below the rate */
    CHECK_STATE(breaker, "half_open");
    GOOD(breaker);
    GOOD(breaker);
    GOOD(breaker);
    CHECK_STATE(breaker, "closed");

    BAD(breaker);
    BAD(breaker);
    pass(60);
    GOOD(breaker);
    GOOD(breaker);
    BAD(breaker);
    CHECK_STATE(breaker, "half_open");
    BAD(breaker); /* two of four */
    CHECK_STATE(breaker, "open");

    pass(60);
    GOOD(breaker);
    GOOD(breaker);
    CHECK(slow_call(breaker, DBI_OUTCOME_SUCCEEDED, 2));
    CHECK(slow_call(breaker, DBI_OUTCOME_SUCCEEDED, 2));
    CHECK_STATE(breaker, "open"); /* two of four too slow */
done:
    dbi_breaker_free(breaker);
}

/* A rate is a fraction: 7 of 100 is 0.07, though 0.07 * 100 is more than 7 in binary. */
TEST(rates_are_compared_without_rounding) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;

    config.minimum_calls = 100;
    config.failure_rate = 0.07;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    for (int i = 0; i < 93; i++)
        GOOD(breaker);
    for (int i = 0; i < 6; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "closed");
    BAD(breaker);
    CHECK_STATE(breaker, "open");
done:
    dbi_breaker_free(breaker);
}

TEST(a_late_writer_leaves_a_newer_window_alone) {
    dbi__count_window calls = {0};
    dbi__time_window times;
    int64_t now = 5 * DBI_NS_PER_S;

    TRY(dbi__count_window_init(&calls, 3, NULL));
    dbi__time_window_init(&times, DBI_NS_PER_S);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(dbi__count_window_add(&calls, 9, true, false).calls, i + 1);
        CHECK_INT(dbi__time_window_add(&times, 9, now, true, false).calls, i + 1);
    }
    CHECK_INT(dbi__count_window_add(&calls, 6, false, true).calls, 0);
    CHECK_INT(dbi__time_window_add(&times, 6, now, false, true).calls, 0);
    CHECK_INT(dbi__time_window_add(&times, 9, now - DBI_NS_PER_S, false, true).calls, 0); /* the last lap */
    CHECK_INT(dbi__count_window_read(&calls, 9).failed, 3);
    CHECK_INT(dbi__count_window_read(&calls, 9).slow, 0);
    CHECK_INT(dbi__time_window_read(&times, 9, now).calls, 3);
    CHECK_INT(dbi__time_window_read(&times, 9, now).slow, 0);
    CHECK_INT(dbi__count_window_add(&calls, 12, false, false).calls, 1); /* the next generation finds it empty */
    CHECK_INT(dbi__count_window_read(&calls, 12).failed, 0);
    CHECK_INT(dbi__count_window_read(&calls, 9).calls, 0);
done:
    dbi__count_window_reset(&calls);
}

TEST_WITH(a_full_slice_keeps_its_rate, .timeout_s = 60) {
    dbi__time_window times;
    dbi__window_sums sums = {0};

    dbi__time_window_init(&times, DBI_NS_PER_S);
    for (int i = 0; i < (1 << 24) + 1000; i++)
        sums = dbi__time_window_add(&times, 1, 0, i % 2 == 0, false);
    CHECK_INT(sums.calls, (1 << 24) - 1);
    CHECK_INT(sums.failed, 1 << 23);
}

/* --- states set by hand --- */

TEST(forced_states_stay) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;
    dbi_permit permit;
    dbi_breaker_view view;
    int64_t retry = 0;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    dbi_breaker_force(breaker, DBI_CIRCUIT_FORCED_OPEN);
    pass(100000);
    CHECK_RC(dbi_breaker_acquire(breaker, &permit, &retry), DBI_EOPEN);
    CHECK_INT(retry, DBI_FOREVER);
    CHECK_STATE(breaker, "forced_open");

    dbi_breaker_force(breaker, DBI_CIRCUIT_DISABLED);
    for (int i = 0; i < 20; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "disabled");

    dbi_breaker_force(breaker, DBI_CIRCUIT_METRICS_ONLY);
    for (int i = 0; i < 20; i++)
        BAD(breaker);
    CHECK_STATE(breaker, "metrics_only");
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.consecutive_failures, 20);

    dbi_breaker_force(breaker, DBI_CIRCUIT_OPEN);
    REFUSED(breaker);
    pass(59);
    dbi_breaker_force(breaker, DBI_CIRCUIT_OPEN); /* the wait begins anew */
    pass(59);
    REFUSED(breaker);
    dbi_breaker_force(breaker, DBI_CIRCUIT_HALF_OPEN);
    GOOD(breaker);
    CHECK_STATE(breaker, "half_open");
    dbi_breaker_force(breaker, DBI_CIRCUIT_CLOSED);
    GOOD(breaker);
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.outcomes[DBI_OUTCOME_FAILED], 40);
done:
    dbi_breaker_free(breaker);
}

TEST(a_reset_clears_the_count) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;

    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            BAD(breaker);
        dbi_breaker_force(breaker, DBI_CIRCUIT_CLOSED);
    }
    CHECK_STATE(breaker, "closed");
done:
    dbi_breaker_free(breaker);
}

/* --- listening --- */

typedef struct heard {
    dbi_breaker *breaker;
    dbi_breaker_event events[16];
    size_t count;
} heard;

static void listen(void *arg, const dbi_breaker_event *event) {
    heard *ears = arg;

    CHECK(ears->count < 16);
    ears->events[ears->count++] = *event;
    CHECK_INT(dbi_breaker_state(ears->breaker), event->to); /* it may call the breaker */
}

TEST(listeners_hear_each_change_and_why) {
    static const char *const expected[][3] = {
        {"closed", "open", "too many failures in a row"}, {"open", "half_open", "the wait is over"},
        {"half_open", "open", "a probe failed"},          {"open", "half_open", "the wait is over"},
        {"half_open", "closed", "the probes succeeded"},  {"closed", "forced_open", "set by hand"},
    };
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    heard ears = {0};

    config.on_change = listen;
    config.on_change_arg = &ears;
    TRY(dbi_breaker_new(&ears.breaker, "db", &config, NULL));
    trip(ears.breaker);
    pass(60);
    BAD(ears.breaker);
    pass(60);
    for (int i = 0; i < 3; i++)
        GOOD(ears.breaker);
    dbi_breaker_force(ears.breaker, DBI_CIRCUIT_CLOSED); /* a reset is no change of state */
    dbi_breaker_force(ears.breaker, DBI_CIRCUIT_FORCED_OPEN);
    CHECK_INT(ears.count, 6);
    for (size_t i = 0; i < ears.count; i++) {
        CHECK_STR(dbi_circuit_text(ears.events[i].from), expected[i][0]);
        CHECK_STR(dbi_circuit_text(ears.events[i].to), expected[i][1]);
        CHECK_STR(dbi_change_text(ears.events[i].change), expected[i][2]);
        CHECK(i == 0 || ears.events[i].generation > ears.events[i - 1].generation);
    }
done:
    dbi_breaker_free(ears.breaker);
}

/* --- metrics --- */

TEST(the_snapshot_shows_it) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    dbi_snapshot snapshot = {0};
    unsigned found = 0;

    config.minimum_calls = 1;
    config.failure_rate = 1;
    config.slow_call_duration = 1;
    config.slow_call_rate = 1;
    TRY(dbi_breaker_new(&breaker, "orders", &config, NULL));
    GOOD(breaker);
    TRY(dbi_snapshot_take(&snapshot, NULL));
    for (size_t i = 0; i < snapshot.count; i++) {
        const dbi_metric *metric = &snapshot.metrics[i];

        CHECK_STR(metric->labels[0].name, "breaker");
        CHECK_STR(metric->labels[0].value, "orders");
        if (strcmp(metric->name, "dbint_breaker_calls_total") == 0) {
            CHECK_INT(metric->counter, strcmp(metric->labels[1].value, "succeeded") == 0);
            found++;
        }
        if (strcmp(metric->name, "dbint_breaker_state") == 0) {
            CHECK((metric->gauge > 0) == (strcmp(metric->labels[1].value, "closed") == 0));
            found++;
        }
        if (metric->kind == DBI_HISTOGRAM)
            CHECK_INT(metric->histogram->count, 1);
    }
    CHECK_INT(found, 5 + DBI_CIRCUIT_COUNT);
done:
    dbi_snapshot_reset(&snapshot);
    dbi_breaker_free(breaker);
}

/* --- bad settings --- */

typedef struct bad_setting {
    dbi_window window;
    size_t offset, size;
    int64_t number;
    double rate; /* where it is not 0, the field is a double and gets this */
    const char *message;
} bad_setting;

#define FIELD(name) offsetof(dbi_breaker_config, name), sizeof(((dbi_breaker_config *)0)->name)

TEST(bad_settings_are_refused_by_name_and_range) {
    static const bad_setting bad[] = {
        {DBI_WINDOW_NONE, FIELD(failure_threshold), 0, 0, "failure_threshold must be 1 to 1000000, not 0"},
        {DBI_WINDOW_NONE, FIELD(failure_threshold), 1000001, 0, "failure_threshold must be 1 to 1000000, not 1000001"},
        {DBI_WINDOW_NONE, FIELD(window_size), 5, 0, "window_size does nothing without a window"},
        {DBI_WINDOW_NONE, FIELD(minimum_calls), 5, 0, "minimum_calls does nothing without a window"},
        {DBI_WINDOW_NONE, FIELD(failure_rate), 0, 0.5, "failure_rate does nothing without a window"},
        {DBI_WINDOW_NONE, FIELD(slow_call_duration), 5, 0, "slow_call_duration does nothing without a window"},
        {DBI_WINDOW_NONE, FIELD(recovery_timeout), 0, 0, "recovery_timeout must be 0.001 to 31536000 seconds, not 0"},
        {DBI_WINDOW_NONE, FIELD(recovery_timeout), INT64_MAX, 0, "recovery_timeout must be 0.001"},
        {DBI_WINDOW_NONE, FIELD(half_open_calls), 0, 0, "half_open_calls must be 1 to 1000, not 0"},
        {DBI_WINDOW_NONE, FIELD(half_open_calls), 1001, 0, "half_open_calls must be 1 to 1000, not 1001"},
        {DBI_WINDOW_NONE, FIELD(half_open_timeout), 0, 0, "half_open_timeout must be 0.001"},
        {DBI_WINDOW_COUNT, FIELD(failure_threshold), 5, 0, "failure_threshold does nothing with a window"},
        {DBI_WINDOW_COUNT, FIELD(window_size), 4097, 0, "window_size must be 1 to 4096, not 4097"},
        {DBI_WINDOW_COUNT, FIELD(minimum_calls), 101, 0, "minimum_calls must be 1 to 100, not 101"},
        {DBI_WINDOW_COUNT, FIELD(failure_rate), 0, 1.01, "failure_rate must be 0.000001 to 1, not 1.01"},
        {DBI_WINDOW_COUNT, FIELD(failure_rate), 0, (double)NAN, "failure_rate must be 0.000001 to 1, not"},
        {DBI_WINDOW_COUNT, FIELD(slow_call_duration), -1, 0, "slow_call_duration must be 1e-09"},
        {DBI_WINDOW_COUNT, FIELD(slow_call_duration), 5, 0, "slow_call_rate must be 0.000001 to 1, not 0"},
        {DBI_WINDOW_COUNT, FIELD(slow_call_rate), 0, 0.5, "slow_call_rate does nothing without slow_call_duration"},
        {DBI_WINDOW_TIME, FIELD(window_size), DBI_NS_PER_S - 1, 0, "window_size must be 1 to 31536000 seconds"},
        {DBI_WINDOW_TIME, FIELD(minimum_calls), 1000001, 0, "minimum_calls must be 1 to 1000000, not 1000001"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dbi_breaker_config config = config_of(bad[i].window);
        dbi_breaker *breaker;
        dbi_err err;
        void *field = (char *)&config + bad[i].offset;
        uint32_t narrow = (uint32_t)bad[i].number;

        if (bad[i].rate != 0)
            memcpy(field, &bad[i].rate, sizeof bad[i].rate);
        else if (bad[i].size == sizeof narrow)
            memcpy(field, &narrow, sizeof narrow);
        else
            memcpy(field, &bad[i].number, sizeof bad[i].number);
        CHECK_RC(dbi_breaker_new(&breaker, "db", &config, &err), DBI_ECONFIG);
        CHECK(breaker == NULL);
        CHECK_HAS(err.msg, bad[i].message);
    }
}

/* --- races --- */

typedef struct crowd {
    dbi_breaker *breaker;
    _Atomic uint64_t permitted, refused, inside, most_inside;
    unsigned seed;
} crowd;

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void *crowd_member(void *arg) {
    crowd *all = arg;
    uint32_t random = (uint32_t)(uintptr_t)pthread_self() ^ all->seed;

    for (int i = 0; i < 20000; i++) {
        dbi_permit permit;
        uint32_t dice = next_random(&random) % 100;

        if (dice == 0)
            pass(0.5);
        if (dbi_breaker_acquire(all->breaker, &permit, NULL) != DBI_OK) {
            atomic_fetch_add(&all->refused, 1);
            continue;
        }
        atomic_fetch_add(&all->permitted, 1);
        dbi_breaker_done(all->breaker, &permit,
                         dice < 40   ? DBI_OUTCOME_FAILED
                         : dice < 45 ? DBI_OUTCOME_CANCELLED
                         : dice < 48 ? DBI_OUTCOME_IGNORED
                                     : DBI_OUTCOME_SUCCEEDED);
        if (dice == 99)
            dbi_breaker_force(all->breaker, DBI_CIRCUIT_CLOSED);
    }
    return NULL;
}

static void run_crowd(dbi_breaker *breaker) {
    crowd all = {.breaker = breaker, .seed = 4711};
    pthread_t threads[4];
    dbi_breaker_view view;
    uint64_t done = 0;

    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, crowd_member, &all), 0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    dbi_breaker_read(breaker, &view);
    for (size_t i = 0; i < DBI_OUTCOME_COUNT; i++)
        done += view.outcomes[i];
    CHECK_INT(done, all.permitted);
    CHECK_INT(view.rejected, all.refused);
    CHECK(view.opened > 0);

    /* whatever they did, it is not stuck: with nobody about, the window is in order and the rule works as ever */
    dbi_breaker_force(breaker, DBI_CIRCUIT_CLOSED);
    for (int i = 0; i < 10; i++)
        GOOD(breaker);
    CHECK_STATE(breaker, "closed");
    for (int i = 0; i < 10; i++)
        (void)call(breaker, DBI_OUTCOME_FAILED);
    CHECK_STATE(breaker, "open");
    pass(1);
    for (int i = 0; i < 3; i++)
        GOOD(breaker);
    CHECK_STATE(breaker, "closed");
}

TEST_WITH(a_crowd_on_failures_in_a_row, .timeout_s = 60) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    dbi_breaker *breaker = NULL;

    config.recovery_timeout = DBI_NS_PER_S;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    run_crowd(breaker);
done:
    dbi_breaker_free(breaker);
}

TEST_WITH(a_crowd_on_a_window_of_calls, .timeout_s = 60) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;

    config.recovery_timeout = DBI_NS_PER_S;
    config.window_size = 20;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    run_crowd(breaker);
done:
    dbi_breaker_free(breaker);
}

TEST_WITH(a_crowd_on_a_window_of_time, .timeout_s = 60) {
    dbi_breaker_config config = config_of(DBI_WINDOW_TIME);
    dbi_breaker *breaker = NULL;

    config.recovery_timeout = DBI_NS_PER_S;
    config.window_size = DBI_NS_PER_S;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    run_crowd(breaker);
done:
    dbi_breaker_free(breaker);
}

/* Calls that stay inside a while: there are never more of them than probes in HALF_OPEN. */
static void *prober(void *arg) {
    crowd *all = arg;

    for (int i = 0; i < 2000; i++) {
        dbi_permit permit;
        uint64_t inside, most;

        if (dbi_breaker_acquire(all->breaker, &permit, NULL) != DBI_OK)
            continue;
        inside = atomic_fetch_add(&all->inside, 1) + 1;
        most = atomic_load(&all->most_inside);
        while (inside > most && !atomic_compare_exchange_weak(&all->most_inside, &most, inside))
            continue;
        atomic_fetch_sub(&all->inside, 1);
        dbi_breaker_done(all->breaker, &permit, DBI_OUTCOME_CANCELLED);
    }
    return NULL;
}

TEST(never_more_probes_than_allowed) {
    dbi_breaker_config config = config_of(DBI_WINDOW_NONE);
    crowd all = {0};
    pthread_t threads[6];
    dbi_breaker_view view;

    config.half_open_calls = 2;
    TRY(dbi_breaker_new(&all.breaker, "db", &config, NULL));
    trip(all.breaker);
    pass(60);
    for (size_t i = 0; i < 6; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, prober, &all), 0);
    for (size_t i = 0; i < 6; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_WITHIN(all.most_inside, 1, 2);
    dbi_breaker_read(all.breaker, &view);
    CHECK_INT(view.permits, 2); /* all given back */
    CHECK_STATE(all.breaker, "half_open");
done:
    dbi_breaker_free(all.breaker);
}

/* After every thread has gone, the window's sums are those of its slots. */
static void *window_writer(void *arg) {
    for (int i = 0; i < 20000; i++)
        (void)call(arg, i % 4 == 0 ? DBI_OUTCOME_FAILED : DBI_OUTCOME_SUCCEEDED);
    return NULL;
}

TEST(the_window_is_exact_when_the_threads_have_gone) {
    dbi_breaker_config config = config_of(DBI_WINDOW_COUNT);
    dbi_breaker *breaker = NULL;
    pthread_t threads[4];
    dbi_breaker_view view;

    config.window_size = 7; /* they overtake each other often */
    config.minimum_calls = 1;
    config.failure_rate = 1;
    TRY(dbi_breaker_new(&breaker, "db", &config, NULL));
    dbi_breaker_force(breaker, DBI_CIRCUIT_METRICS_ONLY);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, window_writer, breaker), 0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 7);
    CHECK_WITHIN(view.window_failed, 0, 7);
    for (int i = 0; i < 7; i++) /* seven successes push everything else out */
        GOOD(breaker);
    dbi_breaker_read(breaker, &view);
    CHECK_INT(view.window_calls, 7);
    CHECK_INT(view.window_failed, 0);
done:
    dbi_breaker_free(breaker);
}

TEST_MAIN()
