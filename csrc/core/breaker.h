/* breaker.h - a circuit breaker: stops calling what keeps failing, probes it after a while, then closes again.
 *
 *              rule broken                      wait over: the next call is a probe
 *     CLOSED ----------------> OPEN ------------------------------------> HALF_OPEN
 *        ^                      ^                                           |   |
 *        |                      +---- a probe failed, or none answered -----+   |
 *        +------------------------------- the probes succeeded -----------------+
 *
 * Two rules for leaving CLOSED: a number of failures in a row (the default: 5), or rates over a sliding window, of the
 * last N calls or of the last N seconds, once it holds a minimum of calls: failures, and calls that took too long. In
 * HALF_OPEN a limited number of calls goes through. By the first rule each must succeed and one failure re-opens; by
 * the rates all of them are judged together. FORCED_OPEN, DISABLED and METRICS_ONLY are entered and left only by
 * dbi_breaker_force.
 *
 * Each change of state begins a new generation. A permit carries the generation that gave it, and what it reports
 * counts there or nowhere: the late success of a call from before the trouble does not close the breaker.
 *
 * Everything is atomic operations: no call waits for another. A guarded call that succeeds in CLOSED by the default
 * rule reads the clock not once. States last whole milliseconds: never less than configured, less than 1 ms more.
 */
#ifndef DBI_BREAKER_H
#define DBI_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "err.h"
#include "metrics.h"

/* X(NAME, text) */
#define DBI_CIRCUIT_MAP(X)                                                                                             \
    X(CLOSED, "closed")                                                                                                \
    X(OPEN, "open")                                                                                                    \
    X(HALF_OPEN, "half_open")                                                                                          \
    X(FORCED_OPEN, "forced_open")   /* refuses every call until told otherwise */                                      \
    X(DISABLED, "disabled")         /* lets every call through and judges nothing */                                   \
    X(METRICS_ONLY, "metrics_only") /* lets every call through; windows are kept, and judged by no one */

typedef enum dbi_circuit {
#define DBI_CIRCUIT_ENUM(name, text) DBI_CIRCUIT_##name,
    DBI_CIRCUIT_MAP(DBI_CIRCUIT_ENUM)
#undef DBI_CIRCUIT_ENUM
        DBI_CIRCUIT_COUNT
} dbi_circuit;

/* Why a state was entered: X(NAME, text). */
#define DBI_CHANGE_MAP(X)                                                                                              \
    X(FAILURES, "too many failures in a row")                                                                          \
    X(FAILURE_RATE, "the failure rate reached its threshold")                                                          \
    X(SLOW_RATE, "the rate of slow calls reached its threshold")                                                       \
    X(WAIT_OVER, "the wait is over")                                                                                   \
    X(PROBE_FAILED, "a probe failed")                                                                                  \
    X(PROBES_SUCCEEDED, "the probes succeeded")                                                                        \
    X(PROBES_LOST, "the probes did not answer in time")                                                                \
    X(FORCED, "set by hand")

typedef enum dbi_change {
#define DBI_CHANGE_ENUM(name, text) DBI_CHANGE_##name,
    DBI_CHANGE_MAP(DBI_CHANGE_ENUM)
#undef DBI_CHANGE_ENUM
        DBI_CHANGE_COUNT
} dbi_change;

const char *dbi_circuit_text(dbi_circuit circuit);
const char *dbi_change_text(dbi_change change);

/* One change of state. `generation` counts them (modulo 2^24), for listeners that hear of two in the wrong order. */
typedef struct dbi_breaker_event {
    dbi_circuit from, to;
    dbi_change change;
    uint32_t generation;
} dbi_breaker_event;

typedef struct dbi_breaker dbi_breaker;

typedef enum dbi_window {
    DBI_WINDOW_NONE, /* the rule is failures in a row */
    DBI_WINDOW_COUNT,
    DBI_WINDOW_TIME, /* in ten slices: it looks back 90 to 100 % of its length */
} dbi_window;

#define DBI_BREAKER_FAILURES_MAX 1000000
#define DBI_BREAKER_PROBES_MAX 1000
#define DBI_BREAKER_CALLS_MAX 4096      /* of a window that counts calls */
#define DBI_BREAKER_MINIMUM_MAX 1000000 /* of calls before a time window is judged */
#define DBI_BREAKER_TIME_MIN DBI_NS_PER_MS
#define DBI_BREAKER_TIME_MAX (INT64_C(365) * 86400 * DBI_NS_PER_S)

/* All times in nanoseconds. What a rule does not use must be 0: a setting that would do nothing is refused. */
typedef struct dbi_breaker_config {
    dbi_window window;
    uint32_t failure_threshold; /* failures in a row that open it; without a window only */
    int64_t window_size;        /* calls (1 to DBI_BREAKER_CALLS_MAX) or time (1 s to DBI_BREAKER_TIME_MAX) */
    uint32_t minimum_calls;     /* in the window before it is judged */
    double failure_rate;        /* with a window: 0.000001 to 1; at or above it the breaker opens */
    int64_t slow_call_duration; /* a call that takes longer is slow; 0 = durations are not measured */
    double slow_call_rate;      /* as failure_rate, for slow calls */
    int64_t recovery_timeout;   /* how long OPEN lasts */
    uint32_t half_open_calls;   /* how many probes HALF_OPEN lets through */
    int64_t half_open_timeout;  /* all probes started, no verdict for so long: OPEN again; DBI_FOREVER = never */
    dbi_clock clock;
    /* Called after a change, by the thread that brought it about, inside its call and outside any lock: it may call the
     * breaker again. NULL = no one listens. */
    void (*on_change)(void *arg, const dbi_breaker_event *event);
    void *on_change_arg;
} dbi_breaker_config;

/* The rule of the database layer: 5 failures in a row open it for 60 s, 3 successful probes close it. For a window: of
 * 100 calls or 60 s, judged from 10 calls on, at a failure rate of 0.5. */
void dbi_breaker_defaults(dbi_breaker_config *config, dbi_window window);

/* Makes a breaker, CLOSED, and registers its metrics under the name (copied). DBI_ECONFIG, with a message that names
 * the field and its range; DBI_ENOMEM. */
DBI_NODISCARD dbi_rc dbi_breaker_new(dbi_breaker **breaker, const char *name, const dbi_breaker_config *config,
                                     dbi_err *err);

/* No other call may be under way. NULL is allowed. */
void dbi_breaker_free(dbi_breaker *breaker);

/* Leave to make one call. To be given back by exactly one dbi_breaker_done; zeroed = none. */
typedef struct dbi_permit {
    uint32_t stamp;  /* of the generation that gave it */
    int64_t started; /* on the breaker's clock; set only where durations are measured */
} dbi_permit;

/* How the call ended: X(NAME, text). */
#define DBI_OUTCOME_MAP(X)                                                                                             \
    X(SUCCEEDED, "succeeded")                                                                                          \
    X(FAILED, "failed")                                                                                                \
    X(IGNORED, "ignored")     /* says nothing about the other side: its permit is given back */                        \
    X(CANCELLED, "cancelled") /* was given up before it had an outcome: its permit is given back */

typedef enum dbi_outcome {
#define DBI_OUTCOME_ENUM(name, text) DBI_OUTCOME_##name,
    DBI_OUTCOME_MAP(DBI_OUTCOME_ENUM)
#undef DBI_OUTCOME_ENUM
        DBI_OUTCOME_COUNT
} dbi_outcome;

/* DBI_OK and a permit, or DBI_EOPEN and none; *retry_ns (may be NULL) is then the time until OPEN ends, or DBI_FOREVER
 * where that is not known: probes are under way, or it was forced open. @thread any @locks none */
DBI_NODISCARD dbi_rc dbi_breaker_acquire(dbi_breaker *breaker, dbi_permit *permit, int64_t *retry_ns);

/* Reports the end of the call and takes the permit away; with a zeroed permit it does nothing. @thread any @locks none
 */
void dbi_breaker_done(dbi_breaker *breaker, dbi_permit *permit, dbi_outcome outcome);

/* Enters a state by hand, from whichever it is in, with a fresh count: CLOSED resets, OPEN starts its wait anew.
 * @thread any @locks none */
void dbi_breaker_force(dbi_breaker *breaker, dbi_circuit circuit);

/* The state now. OPEN stays OPEN after its wait until a call asks for a permit. @thread any @locks none */
dbi_circuit dbi_breaker_state(const dbi_breaker *breaker);

/* What it knows. Counters are since the start, the rest is of the present generation. */
typedef struct dbi_breaker_view {
    dbi_circuit state;
    uint32_t generation;
    int64_t since_ns;              /* how long ago the state was entered */
    int64_t retry_ns;              /* until OPEN ends; DBI_FOREVER in other states */
    uint32_t consecutive_failures; /* without a window */
    uint32_t permits;              /* in HALF_OPEN: probes that may still start */
    uint64_t window_calls, window_failed, window_slow;
    double failure_rate, slow_rate; /* -1 below the minimum of calls, and without a window */
    uint64_t outcomes[DBI_OUTCOME_COUNT];
    uint64_t rejected; /* calls that got no permit */
    uint64_t slow;     /* calls, succeeded or failed, that took longer than slow_call_duration */
    uint64_t late;     /* outcomes that came after their generation: counted in outcomes, judged nowhere */
    uint64_t opened;   /* times that OPEN was entered */
} dbi_breaker_view;

/* @thread any @locks none */
void dbi_breaker_read(const dbi_breaker *breaker, dbi_breaker_view *view);

/* The durations of calls, NULL where they are not measured. Valid as long as the breaker. */
const dbi_histogram *dbi_breaker_durations(const dbi_breaker *breaker);

const char *dbi_breaker_name(const dbi_breaker *breaker);

#endif
