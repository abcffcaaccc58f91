/* breaker.c - what the closed circuit breaker adds to a call, from C.
 *
 *   breaker REPEATS CALLS
 *
 * Times CALLS calls of a function that does nothing, bare and guarded (acquire, call, done), REPEATS times in turn, and
 * keeps the quickest of each: whatever the machine does in between only ever adds. Prints the line that
 * bench/contenders/breaker.py prints.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "breaker.h"

static __attribute__((noinline)) void nothing(void)
{
    __asm__ volatile("");
}

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* VmHWM in bytes, or 0 where /proc does not say. */
static int64_t peak_rss(void)
{
    char line[256];
    long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        return 0;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1)
            break;
    fclose(status);
    return (int64_t)kib * 1024;
}

static int64_t bare(int64_t calls)
{
    int64_t begun = wall_ns();
    for (int64_t i = 0; i < calls; i++)
        nothing();
    return wall_ns() - begun;
}

static int64_t guarded(dbi_breaker *breaker, int64_t calls)
{
    int64_t begun = wall_ns();
    for (int64_t i = 0; i < calls; i++) {
        dbi_permit permit;
        if (dbi_breaker_acquire(breaker, &permit, NULL) != DBI_OK)
            exit(1);
        nothing();
        dbi_breaker_done(breaker, &permit, DBI_OUTCOME_SUCCEEDED);
    }
    return wall_ns() - begun;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: breaker REPEATS CALLS\n");
        return 2;
    }
    int64_t repeats = atoll(argv[1]), calls = atoll(argv[2]);
    dbi_breaker_config config;
    dbi_breaker *breaker = NULL;
    dbi_err err;
    dbi_breaker_defaults(&config, DBI_WINDOW_NONE);
    if (dbi_breaker_new(&breaker, "bench", &config, &err) != DBI_OK) {
        fprintf(stderr, "breaker: %s\n", err.msg);
        return 1;
    }
    int64_t best_bare = INT64_MAX, best_guarded = INT64_MAX;
    double cpu = 0;
    for (int64_t i = 0; i < repeats; i++) {
        int64_t taken = bare(calls);
        best_bare = taken < best_bare ? taken : best_bare;
        double before = cpu_seconds();
        taken = guarded(breaker, calls);
        cpu += cpu_seconds() - before;
        best_guarded = taken < best_guarded ? taken : best_guarded;
    }
    dbi_breaker_view view;
    dbi_breaker_read(breaker, &view);
    if (view.outcomes[DBI_OUTCOME_SUCCEEDED] != (uint64_t)(repeats * calls)) {
        fprintf(stderr, "breaker: %" PRIu64 " calls counted, %" PRId64 " made\n", view.outcomes[DBI_OUTCOME_SUCCEEDED],
                repeats * calls);
        return 1;
    }
    dbi_breaker_free(breaker);
    printf("{\"bare_ns\": %.4f, \"guarded_ns\": %.4f, \"cpu_ns\": %.4f, \"peak_rss\": %" PRId64 ", \"versions\": {}}\n",
           (double)best_bare / (double)calls, (double)best_guarded / (double)calls,
           cpu * 1e9 / (double)(repeats * calls), peak_rss());
    return 0;
}
