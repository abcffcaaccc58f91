/* breaker.c - see breaker.h
 *
 * Two words hold the state, each replaced as a whole by compare-and-exchange:
 *
 *     word    since (37 bits) | generation (24) | state (3)
 *     tally   generation (24) | what that generation counts (40)
 *
 * Generations are numbered from 1 to 2^24 - 1, then from 1 again; 0 is what calloc leaves, and older than any.
 * `since` is the monotonic time in milliseconds at which the state was entered, modulo 2^37 (4 years); times that are
 * compared with it are at most one year. The tally counts failures in a row (CLOSED, METRICS_ONLY without a window), or
 * the probes (HALF_OPEN): started | succeeded | failed | slow, 10 bits each. A tally of an older generation than the
 * word's counts as zero, so that a change of state is the exchange of one word; a thread that comes late with an older
 * generation fails to exchange either.
 */
#include "breaker.h"

#include <math.h>
#include <string.h>

#include "alloc.h"
#include "metrics_int.h"
#include "window_int.h"

#define STATE_BITS 3u
#define STATE_MASK ((1u << STATE_BITS) - 1)
#define SINCE_SHIFT (STATE_BITS + DBI__GENERATION_BITS)
#define SINCE_BITS (64u - SINCE_SHIFT)
#define SINCE_MASK ((UINT64_C(1) << SINCE_BITS) - 1)

#define TALLY_SHIFT 40u
#define TALLY_MASK ((UINT64_C(1) << TALLY_SHIFT) - 1)
#define PROBE_BITS 10u
#define PROBE_MASK ((1u << PROBE_BITS) - 1)
#define PROBE_STARTED (UINT64_C(1) << 3 * PROBE_BITS)
#define PROBE_SUCCEEDED (UINT64_C(1) << 2 * PROBE_BITS)
#define PROBE_FAILED (UINT64_C(1) << PROBE_BITS)
#define PROBE_SLOW UINT64_C(1)

/* A permit is the state and generation of the word that it was given for: never 0, for no generation is. */
#define PERMIT_MASK ((UINT32_C(1) << SINCE_SHIFT) - 1)
#define PPM 1000000u
#define UNLIKELY(condition) __builtin_expect(condition, false)
#define SLOW_PATH __attribute__((noinline)) /* inlined, its registers would be saved on the fast path, too */

_Static_assert(DBI_CIRCUIT_COUNT <= STATE_MASK + 1, "a state fits its bits");
_Static_assert(DBI_BREAKER_PROBES_MAX <= PROBE_MASK, "the probes fit their bits");

/* Counters: the outcomes, then these. */
enum { REJECTED = DBI_OUTCOME_COUNT, SLOW, LATE, OPENED, COUNTER_COUNT };
_Static_assert((int)COUNTER_COUNT <= (int)DBI_COUNTERS_SIZE, "one set of counters is enough");

struct dbi_breaker {
    _Atomic uint64_t word;
    _Atomic uint64_t tally;
    dbi__cell *cells; /* of counters */
    bool timed;       /* durations of calls are measured */
    bool windowed;    /* the rule is rates over a window */
    dbi_breaker_config config;
    uint64_t failure_ppm, slow_ppm; /* the rates, in millionths: compared without rounding */
    int64_t recovery_ms;
    _Atomic int64_t last_probe; /* when the last probe started, in ns */
    dbi__count_window count_window;
    dbi__time_window time_window;
    dbi_counters *counters;
    dbi_histogram *durations; /* NULL unless timed */
    dbi_source source;
    char *name;
};

/* --- texts --- */

const char *dbi_circuit_text(dbi_circuit circuit) {
    static const char *const texts[] = {
#define CIRCUIT_TEXT(name, text) text,
        DBI_CIRCUIT_MAP(CIRCUIT_TEXT)
#undef CIRCUIT_TEXT
    };
    return (unsigned)circuit < DBI_CIRCUIT_COUNT ? texts[circuit] : "unknown";
}

const char *dbi_change_text(dbi_change change) {
    static const char *const texts[] = {
#define CHANGE_TEXT(name, text) text,
        DBI_CHANGE_MAP(CHANGE_TEXT)
#undef CHANGE_TEXT
    };
    return (unsigned)change < DBI_CHANGE_COUNT ? texts[change] : "unknown";
}

/* --- the state word --- */

static dbi_circuit word_state(uint64_t word) {
    return (dbi_circuit)(word & STATE_MASK);
}

static uint32_t word_generation(uint64_t word) {
    return (uint32_t)(word >> STATE_BITS) & DBI__GENERATION_MASK;
}

/* Rounded up: with word_age_ms, which rounds down, a state never seems older than it is. */
static uint64_t word_make(dbi_circuit state, uint32_t generation, int64_t now) {
    uint64_t since = (uint64_t)(now / DBI_NS_PER_MS + (now % DBI_NS_PER_MS != 0)) & SINCE_MASK;

    return since << SINCE_SHIFT | (uint64_t)generation << STATE_BITS | (uint64_t)state;
}

static int64_t word_age_ms(uint64_t word, int64_t now) {
    uint64_t age = ((uint64_t)(now / DBI_NS_PER_MS) - (word >> SINCE_SHIFT)) & SINCE_MASK;

    return age <= SINCE_MASK / 2 ? (int64_t)age : 0; /* else entered after `now` was read */
}

/* The one place where the state changes. False, and nothing done, when it has changed from `word` meanwhile. */
static bool breaker_change(dbi_breaker *breaker, uint64_t word, dbi_circuit to, dbi_change change) {
    uint32_t generation = word_generation(word) == DBI__GENERATION_MASK ? 1 : word_generation(word) + 1;
    dbi_breaker_event event = {word_state(word), to, change, generation};
    uint64_t next = word_make(to, generation, dbi_clock_now(&breaker->config.clock));

    if (!atomic_compare_exchange_strong_explicit(&breaker->word, &word, next, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    if (to == DBI_CIRCUIT_OPEN)
        dbi__count(breaker->cells, OPENED, 1);
    if (breaker->config.on_change != NULL && event.from != to)
        breaker->config.on_change(breaker->config.on_change_arg, &event);
    return true;
}

/* --- judging --- */

static bool rate_reached(uint64_t count, uint64_t calls, uint64_t ppm) {
    return ppm != 0 && count * PPM >= ppm * calls;
}

/* Whether the rates break the rule, and which. */
static bool rates_broken(const dbi_breaker *breaker, const dbi__window_sums *sums, dbi_change *change) {
    *change = DBI_CHANGE_FAILURE_RATE;
    if (rate_reached(sums->failed, sums->calls, breaker->failure_ppm))
        return true;
    *change = DBI_CHANGE_SLOW_RATE;
    return rate_reached(sums->slow, sums->calls, breaker->slow_ppm);
}

static void judge_window(dbi_breaker *breaker, uint64_t word, int64_t now, bool failed, bool slow) {
    uint32_t generation = word_generation(word);
    dbi__window_sums sums = breaker->config.window == DBI_WINDOW_COUNT
                                ? dbi__count_window_add(&breaker->count_window, generation, failed, slow)
                                : dbi__time_window_add(&breaker->time_window, generation, now, failed, slow);
    dbi_change change;

    if (word_state(word) == DBI_CIRCUIT_CLOSED && sums.calls >= breaker->config.minimum_calls &&
        rates_broken(breaker, &sums, &change))
        (void)breaker_change(breaker, word, DBI_CIRCUIT_OPEN, change);
}

/* What the tally counts for that generation; false when it has gone on to a newer one. */
static bool tally_of(uint64_t tally, uint32_t generation, uint64_t *counts) {
    uint32_t theirs = (uint32_t)(tally >> TALLY_SHIFT);

    *counts = theirs == generation ? tally & TALLY_MASK : 0;
    return !dbi__ahead(theirs, generation, DBI__GENERATION_BITS);
}

static bool tally_replace(dbi_breaker *breaker, uint64_t *tally, uint32_t generation, uint64_t counts) {
    return atomic_compare_exchange_weak_explicit(&breaker->tally, tally, (uint64_t)generation << TALLY_SHIFT | counts,
                                                 memory_order_acq_rel, memory_order_acquire);
}

static void judge_row(dbi_breaker *breaker, uint64_t word, bool failed) {
    uint32_t generation = word_generation(word);
    uint64_t tally = atomic_load_explicit(&breaker->tally, memory_order_relaxed), failures;

    do {
        /* a success clears what an older generation left, too, so that the next one need not look at it */
        if (!tally_of(tally, generation, &failures) || (!failed && (tally & TALLY_MASK) == 0))
            return;
        failures = failed ? failures + 1 : 0;
    } while (!tally_replace(breaker, &tally, generation, failures));
    if (word_state(word) == DBI_CIRCUIT_CLOSED && failures >= breaker->config.failure_threshold)
        (void)breaker_change(breaker, word, DBI_CIRCUIT_OPEN, DBI_CHANGE_FAILURES);
}

/* --- probing --- */

typedef struct probes {
    uint32_t started, succeeded, failed, slow;
} probes;

static probes probes_unpack(uint64_t counts) {
    probes seen = {
        .started = (uint32_t)(counts >> 3 * PROBE_BITS) & PROBE_MASK,
        .succeeded = (uint32_t)(counts >> 2 * PROBE_BITS) & PROBE_MASK,
        .failed = (uint32_t)(counts >> PROBE_BITS) & PROBE_MASK,
        .slow = (uint32_t)counts & PROBE_MASK,
    };
    return seen;
}

/* Leaves HALF_OPEN when the probes allow a verdict. Whoever sees that calls it, not only who brought the last answer.
 */
static bool judge_probes(dbi_breaker *breaker, uint64_t word, uint64_t counts) {
    probes seen = probes_unpack(counts);
    dbi__window_sums sums = {.calls = seen.succeeded + seen.failed, .failed = seen.failed, .slow = seen.slow};
    dbi_change change = DBI_CHANGE_PROBE_FAILED;
    bool broken;

    if (breaker->config.window == DBI_WINDOW_NONE) {
        broken = seen.failed != 0;
    } else {
        if (sums.calls < breaker->config.half_open_calls)
            return false;
        broken = rates_broken(breaker, &sums, &change);
    }
    if (!broken && sums.calls < breaker->config.half_open_calls)
        return false;
    return broken ? breaker_change(breaker, word, DBI_CIRCUIT_OPEN, change)
                  : breaker_change(breaker, word, DBI_CIRCUIT_CLOSED, DBI_CHANGE_PROBES_SUCCEEDED);
}

static void probe_done(dbi_breaker *breaker, uint64_t word, dbi_outcome outcome, bool slow) {
    uint32_t generation = word_generation(word);
    uint64_t tally = atomic_load_explicit(&breaker->tally, memory_order_acquire), counts;

    do {
        if (!tally_of(tally, generation, &counts))
            return;
        switch (outcome) {
        case DBI_OUTCOME_SUCCEEDED:
            counts += PROBE_SUCCEEDED + (slow ? PROBE_SLOW : 0);
            break;
        case DBI_OUTCOME_FAILED:
            counts += PROBE_FAILED + (slow ? PROBE_SLOW : 0);
            break;
        default: /* ignored, cancelled: another call may probe in its place */
            counts -= PROBE_STARTED;
            break;
        }
    } while (!tally_replace(breaker, &tally, generation, counts));
    (void)judge_probes(breaker, word, counts);
}

static void raise_time(_Atomic int64_t *time, int64_t to) {
    int64_t seen = atomic_load_explicit(time, memory_order_relaxed);

    while (to > seen &&
           !atomic_compare_exchange_weak_explicit(time, &seen, to, memory_order_relaxed, memory_order_relaxed))
        continue;
}

typedef enum entry { ENTER, REFUSE, LOOK_AGAIN } entry;

/* In HALF_OPEN: takes one of the probes, where there is one left. */
static entry probe_start(dbi_breaker *breaker, uint64_t word) {
    uint32_t generation = word_generation(word);
    int64_t now = dbi_clock_now(&breaker->config.clock), timeout = breaker->config.half_open_timeout;
    uint64_t tally = atomic_load_explicit(&breaker->tally, memory_order_acquire), counts;

    do {
        if (!tally_of(tally, generation, &counts))
            return LOOK_AGAIN;
        if (probes_unpack(counts).started >= breaker->config.half_open_calls) {
            if (judge_probes(breaker, word, counts))
                return LOOK_AGAIN;
            if (timeout != DBI_FOREVER &&
                now - atomic_load_explicit(&breaker->last_probe, memory_order_relaxed) >= timeout)
                return breaker_change(breaker, word, DBI_CIRCUIT_OPEN, DBI_CHANGE_PROBES_LOST) ? REFUSE : LOOK_AGAIN;
            return REFUSE;
        }
        raise_time(&breaker->last_probe, now); /* before the exchange: who sees the last probe taken sees its time */
    } while (!tally_replace(breaker, &tally, generation, counts + PROBE_STARTED));
    return ENTER;
}

static int64_t open_left(const dbi_breaker *breaker, uint64_t word, int64_t now) {
    int64_t left = breaker->recovery_ms - word_age_ms(word, now);

    return left > 0 ? left * DBI_NS_PER_MS : 0;
}

/* In OPEN: the first call after the wait leads to HALF_OPEN. */
static entry open_enter(dbi_breaker *breaker, uint64_t word) {
    if (open_left(breaker, word, dbi_clock_now(&breaker->config.clock)) > 0)
        return REFUSE;
    (void)breaker_change(breaker, word, DBI_CIRCUIT_HALF_OPEN, DBI_CHANGE_WAIT_OVER);
    return LOOK_AGAIN;
}

/* --- calls --- */

/* Until OPEN ends, on the state as it is now. */
static int64_t retry_left(const dbi_breaker *breaker) {
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_acquire);

    return word_state(word) == DBI_CIRCUIT_OPEN ? open_left(breaker, word, dbi_clock_now(&breaker->config.clock))
                                                : DBI_FOREVER;
}

static SLOW_PATH dbi_rc acquire_slowly(dbi_breaker *breaker, dbi_permit *permit, int64_t *retry_ns) {
    entry answer = LOOK_AGAIN;
    uint64_t word = 0;

    while (answer == LOOK_AGAIN) {
        word = atomic_load_explicit(&breaker->word, memory_order_acquire);
        switch (word_state(word)) {
        case DBI_CIRCUIT_OPEN:
            answer = open_enter(breaker, word);
            break;
        case DBI_CIRCUIT_HALF_OPEN:
            answer = probe_start(breaker, word);
            break;
        case DBI_CIRCUIT_FORCED_OPEN:
            answer = REFUSE;
            break;
        default:
            answer = ENTER;
            break;
        }
    }
    if (answer == REFUSE) {
        permit->stamp = 0;
        if (retry_ns != NULL)
            *retry_ns = retry_left(breaker);
        dbi__count(breaker->cells, REJECTED, 1);
        return DBI_EOPEN;
    }
    permit->stamp = (uint32_t)word & PERMIT_MASK;
    if (breaker->timed)
        permit->started = dbi_clock_now(&breaker->config.clock);
    return DBI_OK;
}

dbi_rc dbi_breaker_acquire(dbi_breaker *breaker, dbi_permit *permit, int64_t *retry_ns) {
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_acquire);

    if (UNLIKELY((word & STATE_MASK) != DBI_CIRCUIT_CLOSED || breaker->timed))
        return acquire_slowly(breaker, permit, retry_ns);
    permit->stamp = (uint32_t)word & PERMIT_MASK;
    return DBI_OK;
}

static SLOW_PATH void done_slowly(dbi_breaker *breaker, dbi_permit *permit, uint64_t word, dbi_outcome outcome) {
    bool judged = outcome == DBI_OUTCOME_SUCCEEDED || outcome == DBI_OUTCOME_FAILED, slow = false;
    bool needs_time = breaker->timed || breaker->config.window == DBI_WINDOW_TIME;
    int64_t now = needs_time ? dbi_clock_now(&breaker->config.clock) : 0;
    uint32_t stamp = permit->stamp;

    if (stamp == 0)
        return;
    permit->stamp = 0;
    dbi__count(breaker->cells, outcome, 1);
    if (breaker->timed && judged) {
        int64_t duration = now - permit->started;

        slow = duration > breaker->config.slow_call_duration;
        dbi_histogram_record(breaker->durations, duration);
        if (slow)
            dbi__count(breaker->cells, SLOW, 1);
    }
    if (((uint32_t)word & PERMIT_MASK) != stamp) {
        if (judged)
            dbi__count(breaker->cells, LATE, 1);
        return;
    }
    switch (word_state(word)) {
    case DBI_CIRCUIT_CLOSED:
    case DBI_CIRCUIT_METRICS_ONLY:
        if (!judged)
            break;
        if (breaker->windowed)
            judge_window(breaker, word, now, outcome == DBI_OUTCOME_FAILED, slow);
        else
            judge_row(breaker, word, outcome == DBI_OUTCOME_FAILED);
        break;
    case DBI_CIRCUIT_HALF_OPEN:
        probe_done(breaker, word, outcome, slow);
        break;
    default:
        break;
    }
}

void dbi_breaker_done(dbi_breaker *breaker, dbi_permit *permit, dbi_outcome outcome) {
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_acquire);
    uint64_t tally = atomic_load_explicit(&breaker->tally, memory_order_relaxed);

    /* Nearly every call: a success in CLOSED, nothing has changed since it began, there is no row of failures to break
     * and no window. One branch: each of these is 0 then. */
    _Static_assert(DBI_OUTCOME_SUCCEEDED == 0 && DBI_CIRCUIT_CLOSED == 0, "so that all can be told at once");
    if (UNLIKELY(((word & STATE_MASK) | ((word ^ permit->stamp) & PERMIT_MASK) | (tally & TALLY_MASK) |
                  (uint64_t)outcome | breaker->windowed) != 0)) {
        done_slowly(breaker, permit, word, outcome);
        return;
    }
    permit->stamp = 0;
    dbi__count(breaker->cells, DBI_OUTCOME_SUCCEEDED, 1);
}

void dbi_breaker_force(dbi_breaker *breaker, dbi_circuit circuit) {
    while (!breaker_change(breaker, atomic_load_explicit(&breaker->word, memory_order_acquire), circuit,
                           DBI_CHANGE_FORCED))
        continue;
}

/* --- looking at it --- */

dbi_circuit dbi_breaker_state(const dbi_breaker *breaker) {
    return word_state(atomic_load_explicit(&breaker->word, memory_order_acquire));
}

const dbi_histogram *dbi_breaker_durations(const dbi_breaker *breaker) {
    return breaker->durations;
}

const char *dbi_breaker_name(const dbi_breaker *breaker) {
    return breaker->name;
}

void dbi_breaker_read(const dbi_breaker *breaker, dbi_breaker_view *view) {
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_acquire);
    uint64_t tally = atomic_load_explicit(&breaker->tally, memory_order_acquire), counts;
    int64_t now = dbi_clock_now(&breaker->config.clock);
    dbi__window_sums sums = {0};

    memset(view, 0, sizeof *view);
    view->state = word_state(word);
    view->generation = word_generation(word);
    view->since_ns = word_age_ms(word, now) * DBI_NS_PER_MS;
    view->retry_ns = view->state == DBI_CIRCUIT_OPEN ? open_left(breaker, word, now) : DBI_FOREVER;
    (void)tally_of(tally, view->generation, &counts);
    if (view->state == DBI_CIRCUIT_HALF_OPEN) {
        probes seen = probes_unpack(counts);

        view->permits = breaker->config.half_open_calls - seen.started;
        sums.calls = seen.succeeded + seen.failed;
        sums.failed = seen.failed;
        sums.slow = seen.slow;
    } else if (breaker->config.window == DBI_WINDOW_NONE) {
        view->consecutive_failures = (uint32_t)counts;
    } else {
        sums = breaker->config.window == DBI_WINDOW_COUNT
                   ? dbi__count_window_read(&breaker->count_window, view->generation)
                   : dbi__time_window_read(&breaker->time_window, view->generation, now);
    }
    view->window_calls = sums.calls;
    view->window_failed = sums.failed;
    view->window_slow = sums.slow;
    view->failure_rate = view->slow_rate = -1;
    if (breaker->config.window != DBI_WINDOW_NONE && view->state != DBI_CIRCUIT_HALF_OPEN &&
        sums.calls >= breaker->config.minimum_calls) {
        view->failure_rate = (double)sums.failed / (double)sums.calls;
        view->slow_rate = (double)sums.slow / (double)sums.calls;
    }
    for (unsigned i = 0; i < DBI_OUTCOME_COUNT; i++)
        view->outcomes[i] = dbi_counters_read(breaker->counters, i);
    view->rejected = dbi_counters_read(breaker->counters, REJECTED);
    view->slow = dbi_counters_read(breaker->counters, SLOW);
    view->late = dbi_counters_read(breaker->counters, LATE);
    view->opened = dbi_counters_read(breaker->counters, OPENED);
}

static dbi_rc breaker_collect(void *arg, dbi_snapshot *snapshot) {
    static const char *const outcomes[] = {
#define OUTCOME_TEXT(name, text) text,
        DBI_OUTCOME_MAP(OUTCOME_TEXT)
#undef OUTCOME_TEXT
    };
    const dbi_breaker *breaker = arg;
    dbi_label labels[] = {{"breaker", breaker->name}, {"outcome", NULL}};
    dbi_breaker_view view;
    dbi_rc rc = DBI_OK;

    dbi_breaker_read(breaker, &view);
    for (unsigned i = 0; i < DBI_OUTCOME_COUNT && rc == DBI_OK; i++) {
        labels[1].value = outcomes[i];
        rc = dbi_snapshot_add_counter(snapshot, "dbint_breaker_calls_total", labels, 2, view.outcomes[i]);
    }
    labels[1].value = "rejected";
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_breaker_calls_total", labels, 2, view.rejected);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_breaker_slow_calls_total", labels, 1, view.slow);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_breaker_late_calls_total", labels, 1, view.late);
    if (rc == DBI_OK)
        rc = dbi_snapshot_add_counter(snapshot, "dbint_breaker_opened_total", labels, 1, view.opened);
    labels[1].name = "state";
    for (unsigned i = 0; i < DBI_CIRCUIT_COUNT && rc == DBI_OK; i++) {
        labels[1].value = dbi_circuit_text((dbi_circuit)i);
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_breaker_state", labels, 2, i == view.state);
    }
    if (view.failure_rate >= 0 && rc == DBI_OK)
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_breaker_failure_ratio", labels, 1, view.failure_rate);
    if (breaker->timed && view.slow_rate >= 0 && rc == DBI_OK)
        rc = dbi_snapshot_add_gauge(snapshot, "dbint_breaker_slow_call_ratio", labels, 1, view.slow_rate);
    if (breaker->timed && rc == DBI_OK)
        rc = dbi_snapshot_add_histogram(snapshot, "dbint_breaker_call_duration_seconds", labels, 1, breaker->durations);
    return rc;
}

/* --- making one --- */

void dbi_breaker_defaults(dbi_breaker_config *config, dbi_window window) {
    memset(config, 0, sizeof *config);
    config->window = window;
    config->recovery_timeout = config->half_open_timeout = 60 * DBI_NS_PER_S;
    config->half_open_calls = 3;
    if (window == DBI_WINDOW_NONE) {
        config->failure_threshold = 5;
    } else {
        config->window_size = window == DBI_WINDOW_COUNT ? 100 : 60 * DBI_NS_PER_S;
        config->minimum_calls = 10;
        config->failure_rate = 0.5;
    }
}

static dbi_rc check_count(const char *name, int64_t value, int64_t high, dbi_err *err) {
    if (value >= 1 && value <= high)
        return DBI_OK;
    return dbi_err_set(err, DBI_ECONFIG, "%s must be 1 to %lld, not %lld", name, (long long)high, (long long)value);
}

static dbi_rc check_time(const char *name, int64_t value, int64_t low, dbi_err *err) {
    if (value >= low && value <= DBI_BREAKER_TIME_MAX)
        return DBI_OK;
    return dbi_err_set(err, DBI_ECONFIG, "%s must be %.15g to %.15g seconds, not %.15g", name,
                       (double)low / DBI_NS_PER_S, (double)DBI_BREAKER_TIME_MAX / DBI_NS_PER_S,
                       (double)value / DBI_NS_PER_S);
}

static dbi_rc check_rate(const char *name, double value, dbi_err *err) {
    if (value >= 1.0 / PPM && value <= 1)
        return DBI_OK;
    return dbi_err_set(err, DBI_ECONFIG, "%s must be 0.000001 to 1, not %g", name, value);
}

static dbi_rc check_unused(const char *name, bool set, const char *rule, dbi_err *err) {
    return set ? dbi_err_set(err, DBI_ECONFIG, "%s does nothing %s: leave it out", name, rule) : DBI_OK;
}

static dbi_rc check_row(const dbi_breaker_config *config, dbi_err *err) {
    static const char rule[] = "without a window";
    dbi_rc rc = check_count("failure_threshold", config->failure_threshold, DBI_BREAKER_FAILURES_MAX, err);

    if (rc == DBI_OK)
        rc = check_unused("window_size", config->window_size != 0, rule, err);
    if (rc == DBI_OK)
        rc = check_unused("minimum_calls", config->minimum_calls != 0, rule, err);
    if (rc == DBI_OK)
        rc = check_unused("failure_rate", config->failure_rate != 0, rule, err);
    if (rc == DBI_OK)
        rc = check_unused("slow_call_duration", config->slow_call_duration != 0, rule, err);
    return rc;
}

static dbi_rc check_window(const dbi_breaker_config *config, dbi_err *err) {
    bool by_count = config->window == DBI_WINDOW_COUNT;
    dbi_rc rc = check_unused("failure_threshold", config->failure_threshold != 0, "with a window", err);

    if (rc == DBI_OK)
        rc = by_count ? check_count("window_size", config->window_size, DBI_BREAKER_CALLS_MAX, err)
                      : check_time("window_size", config->window_size, DBI_NS_PER_S, err);
    if (rc == DBI_OK)
        rc = check_count("minimum_calls", config->minimum_calls,
                         by_count ? config->window_size : DBI_BREAKER_MINIMUM_MAX, err);
    if (rc == DBI_OK)
        rc = check_rate("failure_rate", config->failure_rate, err);
    if (rc == DBI_OK && config->slow_call_duration != 0)
        rc = check_time("slow_call_duration", config->slow_call_duration, 1, err);
    return rc;
}

static dbi_rc check_config(const dbi_breaker_config *config, dbi_err *err) {
    dbi_rc rc = config->window == DBI_WINDOW_NONE ? check_row(config, err) : check_window(config, err);

    if (rc == DBI_OK)
        rc = config->slow_call_duration != 0
                 ? check_rate("slow_call_rate", config->slow_call_rate, err)
                 : check_unused("slow_call_rate", config->slow_call_rate != 0, "without slow_call_duration", err);
    if (rc == DBI_OK)
        rc = check_time("recovery_timeout", config->recovery_timeout, DBI_BREAKER_TIME_MIN, err);
    if (rc == DBI_OK)
        rc = check_count("half_open_calls", config->half_open_calls, DBI_BREAKER_PROBES_MAX, err);
    if (rc == DBI_OK && config->half_open_timeout != DBI_FOREVER)
        rc = check_time("half_open_timeout", config->half_open_timeout, DBI_BREAKER_TIME_MIN, err);
    return rc;
}

dbi_rc dbi_breaker_new(dbi_breaker **breaker, const char *name, const dbi_breaker_config *config, dbi_err *err) {
    dbi_breaker *made = NULL;
    dbi_rc rc = check_config(config, err);

    *breaker = NULL;
    if (rc != DBI_OK)
        return rc;
    rc = DBI_ENOMEM;
    made = dbi_calloc(1, sizeof *made);
    if (made == NULL || (made->name = dbi_strdup(name)) == NULL) {
        (void)dbi_err_set(err, rc, "no memory for a circuit breaker");
        goto done;
    }
    made->config = *config;
    made->timed = config->slow_call_duration != 0;
    made->windowed = config->window != DBI_WINDOW_NONE;
    made->failure_ppm = (uint64_t)llround(config->failure_rate * PPM);
    made->slow_ppm = (uint64_t)llround(config->slow_call_rate * PPM);
    made->recovery_ms = (config->recovery_timeout + DBI_NS_PER_MS - 1) / DBI_NS_PER_MS;
    rc = dbi_counters_new(&made->counters, err);
    if (rc != DBI_OK)
        goto done;
    made->cells = made->counters->cells;
    if (made->timed && (rc = dbi_histogram_new(&made->durations, err)) != DBI_OK)
        goto done;
    if (config->window == DBI_WINDOW_COUNT &&
        (rc = dbi__count_window_init(&made->count_window, (uint32_t)config->window_size, err)) != DBI_OK)
        goto done;
    if (config->window == DBI_WINDOW_TIME)
        dbi__time_window_init(&made->time_window, config->window_size);
    atomic_init(&made->word, word_make(DBI_CIRCUIT_CLOSED, 1, dbi_clock_now(&config->clock)));
    dbi_source_add(&made->source, breaker_collect, made);
    *breaker = made;
    made = NULL;
done:
    dbi_breaker_free(made);
    return rc;
}

void dbi_breaker_free(dbi_breaker *breaker) {
    if (breaker == NULL)
        return;
    dbi_source_remove(&breaker->source);
    dbi__count_window_reset(&breaker->count_window);
    dbi_histogram_free(breaker->durations);
    dbi_counters_free(breaker->counters);
    dbi_free(breaker->name);
    dbi_free(breaker);
}
