/* clock.c - see clock.h */
#include "clock.h"

#include <stddef.h>

static int64_t clock_read(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * DBI_NS_PER_S + ts.tv_nsec;
}

int64_t dbi_clock_now(const dbi_clock *clock) {
    if (clock != NULL && clock->now != NULL)
        return clock->now(clock->arg);
    return clock_read(CLOCK_MONOTONIC);
}

int64_t dbi_clock_deadline(const dbi_clock *clock, int64_t timeout_ns) {
    int64_t now;

    if (timeout_ns < 0)
        return DBI_FOREVER;
    now = dbi_clock_now(clock);
    return timeout_ns > DBI_FOREVER - now ? DBI_FOREVER : now + timeout_ns;
}

int64_t dbi_clock_left(const dbi_clock *clock, int64_t deadline) {
    int64_t now;

    if (deadline == DBI_FOREVER)
        return DBI_FOREVER;
    now = dbi_clock_now(clock);
    return now >= deadline ? 0 : deadline - now;
}

int64_t dbi_clock_wall_us(void) {
    return clock_read(CLOCK_REALTIME) / DBI_NS_PER_US;
}

struct timespec dbi_clock_timespec(int64_t deadline) {
    struct timespec ts = {.tv_sec = (time_t)(deadline / DBI_NS_PER_S), .tv_nsec = (long)(deadline % DBI_NS_PER_S)};
    return ts;
}
