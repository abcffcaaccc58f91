/* test.h - the harness of the C tests: named cases, each in a process of its own with a time limit.
 *
 * One program per test_<noun>.c, which includes this header once, writes cases and ends with TEST_MAIN():
 *
 *     TEST(ring_wraps) {                       TEST_WITH(ring_threads, .timeout_s = 60) { ... }
 *         dbi_ring *ring = NULL;
 *
 *         TRY(dbi_ring_new(&ring, 8, NULL));
 *         CHECK_INT(dbi_ring_used(ring), 0);
 *     done:
 *         dbi_ring_free(ring);
 *     }
 *
 * Run as `test_ring [--alloc-failures] [--list] [NAME...]` (a NAME selects the cases that contain it). With
 * --alloc-failures each case runs again and again, the Nth allocation failing for N = 1, 2, 3 ... until a run makes
 * fewer than N: TRY then accepts DBI_ENOMEM and jumps to `done`. Every run must end with dbi_alloc_live() == 0.
 * Exit code 0 when all cases passed; 1 when one failed, or none ran.
 */
#ifndef DBI_TEST_H
#define DBI_TEST_H

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "err.h"

/* Built with AddressSanitizer or ThreadSanitizer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED
#endif
#endif

typedef struct test_case {
    const char *name;
    void (*run)(void);
    unsigned timeout_s;  /* 0 = TEST_TIMEOUT_S */
    const char *unswept; /* why allocation failures cannot be swept here; shown in the report. NULL = they are */
    struct test_case *next;
} test_case;

#define TEST_TIMEOUT_S 20u

/* How much more than usual the cases that go round and round are to do: DBINT_TEST_ROUNDS times, with as much more time
 * for every case. */
static inline unsigned test_rounds(unsigned usual) {
    const char *text = getenv("DBINT_TEST_ROUNDS");
    unsigned long factor = text != NULL ? strtoul(text, NULL, 10) : 1;

    return usual * (factor >= 1 && factor <= 1000 ? (unsigned)factor : 1);
}

/* What a case's process tells the one that watches it. */
typedef struct test_report {
    bool injected; /* the allocation that was to fail was reached */
} test_report;

static test_case *test_cases;
static uint64_t test_fail_nth; /* in the case's process: which allocation fails; 0 = none */

static inline void test_register(test_case *added) {
    test_case **tail = &test_cases;

    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = added;
}

/* Defines a case; TEST_WITH takes options, which are designated initialisers of test_case: .timeout_s, .unswept. */
#define TEST(title) TEST_WITH(title, .next = NULL)
#define TEST_WITH(title, ...)                                                                                          \
    static void test_run_##title(void);                                                                                \
    static test_case test_case_##title = {.name = #title, .run = test_run_##title, __VA_ARGS__};                       \
    __attribute__((constructor)) static void test_register_##title(void) {                                             \
        test_register(&test_case_##title);                                                                             \
    }                                                                                                                  \
    static void test_run_##title(void)

/* Ends the case's process as failed. The message is written before the process ends, sanitizers included. */
_Noreturn static inline void test_fail(const char *file, int line, const char *fmt, ...) DBI_PRINTF(3, 4);
_Noreturn static inline void test_fail(const char *file, int line, const char *fmt, ...) {
    va_list args;

    (void)fprintf(stderr, "    %s:%d: ", file, line);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    if (test_fail_nth != 0)
        (void)fprintf(stderr, " [allocation %" PRIu64 " failing]", test_fail_nth);
    (void)fputc('\n', stderr);
    (void)fflush(NULL);
    _exit(1);
}

/* True in a run in which an allocation has been made to fail: then a case cannot expect full success. */
static inline bool test_injected(void) {
    return test_fail_nth != 0 && dbi_alloc_count() >= test_fail_nth;
}

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            test_fail(__FILE__, __LINE__, "not true: %s", #cond);                                                      \
    } while (0)

#define CHECK_INT(actual, expected)                                                                                    \
    do {                                                                                                               \
        int64_t actual_ = (int64_t)(actual), expected_ = (int64_t)(expected);                                          \
        if (actual_ != expected_)                                                                                      \
            test_fail(__FILE__, __LINE__, "%s is %" PRId64 ", expected %" PRId64, #actual, actual_, expected_);        \
    } while (0)

/* low <= actual <= high */
#define CHECK_WITHIN(actual, low, high)                                                                                \
    do {                                                                                                               \
        double actual_ = (double)(actual), low_ = (double)(low), high_ = (double)(high);                               \
        if (!(actual_ >= low_ && actual_ <= high_))                                                                    \
            test_fail(__FILE__, __LINE__, "%s is %.9g, expected %.9g to %.9g", #actual, actual_, low_, high_);         \
    } while (0)

#define CHECK_STR(actual, expected)                                                                                    \
    do {                                                                                                               \
        const char *actual_ = (actual), *expected_ = (expected);                                                       \
        if (actual_ == NULL || strcmp(actual_, expected_) != 0)                                                        \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #actual, actual_ ? actual_ : "(null)",      \
                      expected_);                                                                                      \
    } while (0)

/* `text` contains `part`. */
#define CHECK_HAS(text, part)                                                                                          \
    do {                                                                                                               \
        const char *text_ = (text), *part_ = (part);                                                                   \
        if (text_ == NULL || strstr(text_, part_) == NULL)                                                             \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", which lacks \"%s\"", #text, text_ ? text_ : "(null)", part_); \
    } while (0)

#define CHECK_RC(call, expected)                                                                                       \
    do {                                                                                                               \
        dbi_rc rc_ = (call), expected_ = (expected);                                                                   \
        if (rc_ != expected_)                                                                                          \
            test_fail(__FILE__, __LINE__, "%s gave %s, expected %s", #call, dbi_rc_name(rc_), dbi_rc_name(expected_)); \
    } while (0)

/* The call must give DBI_OK; DBI_ENOMEM in a run with an injected failure goes to the case's `done:`. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dbi_rc rc_ = (call);                                                                                           \
        if (rc_ == DBI_ENOMEM && test_injected())                                                                      \
            goto done;                                                                                                 \
        if (rc_ != DBI_OK)                                                                                             \
            test_fail(__FILE__, __LINE__, "%s gave %s", #call, dbi_rc_name(rc_));                                      \
    } while (0)

/* The same for calls that fail with DBI_ENOMEM or with `expected`. */
#define TRY_RC(call, expected)                                                                                         \
    do {                                                                                                               \
        dbi_rc rc_ = (call), expected_ = (expected);                                                                   \
        if (rc_ == DBI_ENOMEM && test_injected())                                                                      \
            goto done;                                                                                                 \
        if (rc_ != expected_)                                                                                          \
            test_fail(__FILE__, __LINE__, "%s gave %s, expected %s", #call, dbi_rc_name(rc_), dbi_rc_name(expected_)); \
    } while (0)

/* Runs one case in a child, with the nth allocation failing (0: none). True when it passed. */
static inline bool test_run(const test_case *test, uint64_t nth, test_report *report) {
    unsigned timeout_s = test_rounds(test->timeout_s != 0 ? test->timeout_s : TEST_TIMEOUT_S);
    int status = 0;
    pid_t pid;

    report->injected = false;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)setpgid(0, 0); /* with the processes that the case starts, so that none outlives it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(timeout_s); /* its default action ends the process, whatever it is stuck in */
        test_fail_nth = nth;
        dbi_alloc_fail_nth(nth);
        test->run();
        report->injected = test_injected();
        if (dbi_alloc_live() != 0)
            test_fail(test->name, 0, "%" PRId64 " allocations not given back", dbi_alloc_live());
        exit(0); /* not _exit: LeakSanitizer looks at exit */
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("    fork or waitpid");
        return false;
    }
    (void)kill(-pid, SIGKILL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        (void)fprintf(stderr, "    no end within %u s", timeout_s);
    else if (WIFSIGNALED(status))
        (void)fprintf(stderr, "    killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)fprintf(stderr, "    exit code %d", WEXITSTATUS(status));
    (void)fprintf(stderr, nth != 0 ? " with allocation %" PRIu64 " failing\n" : "\n", nth);
    return false;
}

/* The case once for every allocation it makes. True when all runs passed; *runs says how many there were. */
static inline bool test_sweep(const test_case *test, test_report *report, uint64_t *runs) {
    for (uint64_t nth = 1;; nth++) {
        if (!test_run(test, nth, report))
            return false;
        if (!report->injected)
            return true;
        (*runs)++;
    }
}

static inline bool test_selected(const test_case *test, int argc, char **argv) {
    bool named = false;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0)
            continue;
        named = true;
        if (strstr(test->name, argv[i]) != NULL)
            return true;
    }
    return !named;
}

static inline int test_main(int argc, char **argv) {
    bool sweep = false, list = false;
    unsigned ran = 0, failed = 0, left_out = 0;
    uint64_t injected = 0;
    test_report *report;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--alloc-failures") == 0)
            sweep = true;
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strncmp(argv[i], "--", 2) == 0) {
            (void)fprintf(stderr, "usage: %s [--alloc-failures] [--list] [NAME...]\n", argv[0]);
            return 2;
        }
    }
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (const test_case *test = test_cases; test != NULL; test = test->next) {
        uint64_t runs = 0;
        bool passed;

        if (!test_selected(test, argc, argv))
            continue;
        if (list) {
            (void)puts(test->name);
            continue;
        }
        if (sweep && test->unswept != NULL) {
            (void)printf("  left out %s: %s\n", test->name, test->unswept);
            left_out++;
            continue;
        }
        passed = sweep ? test_sweep(test, report, &runs) : test_run(test, 0, report);
        injected += runs;
        ran++;
        failed += !passed;
        if (!passed)
            (void)printf("  FAILED %s\n", test->name);
    }
    (void)munmap(report, sizeof *report);
    if (list)
        return 0;
    (void)printf("%s: %u passed, %u failed", strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0], ran - failed,
                 failed);
    if (sweep)
        (void)printf(", %u left out, %" PRIu64 " failing allocations", left_out, injected);
    (void)printf(ran == 0 && left_out == 0 ? " - no case ran\n" : "\n");
    return failed != 0 || (ran == 0 && left_out == 0);
}

#define TEST_MAIN()                                                                                                    \
    int main(int argc, char **argv) {                                                                                  \
        return test_main(argc, argv);                                                                                  \
    }

#endif
