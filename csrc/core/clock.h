/* clock.h - the one source of time. Waits use monotonic deadlines; tests put in a clock of their own.
 *
 * All times are int64 nanoseconds. A deadline is a point on the monotonic clock; DBI_FOREVER never comes.
 */
#ifndef DBI_CLOCK_H
#define DBI_CLOCK_H

#include <stdint.h>
#include <time.h>

#define DBI_FOREVER INT64_MAX
#define DBI_NS_PER_US INT64_C(1000)
#define DBI_NS_PER_MS INT64_C(1000000)
#define DBI_NS_PER_S INT64_C(1000000000)

/* A clock is a function and its argument. A zeroed dbi_clock is the system's monotonic clock. */
typedef struct dbi_clock {
    int64_t (*now)(void *arg); /* monotonic ns; NULL = the system's */
    void *arg;
} dbi_clock;

/* Now on that clock, in monotonic ns. @thread any */
int64_t dbi_clock_now(const dbi_clock *clock);

/* The deadline `timeout_ns` from now; DBI_FOREVER for a negative timeout, and where the sum would overflow. */
int64_t dbi_clock_deadline(const dbi_clock *clock, int64_t timeout_ns);

/* Nanoseconds left until the deadline: 0 when it has passed, DBI_FOREVER when it never comes. */
int64_t dbi_clock_left(const dbi_clock *clock, int64_t deadline);

/* Microseconds since 1970-01-01 UTC, for timestamps that leave the process. @thread any */
int64_t dbi_clock_wall_us(void);

/* The deadline as a timespec of CLOCK_MONOTONIC, for condition variables that use that clock. */
struct timespec dbi_clock_timespec(int64_t deadline);

#endif
