/* test_journal_slots.c - slots, forks and threads, and an operating system that says no */
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>

#include "journal.h"
#include "journal_test.h"

static uint32_t slot_of(dbi_journal *journal) {
    dbi_journal_view view;

    dbi_journal_view_get(journal, &view);
    return view.slot;
}

/* --- slots --- */

TEST(the_lowest_free_slot_is_taken) {
    dbi_journal *journals[3] = {NULL};
    place at;

    place_make(&at);
    for (uint32_t i = 0; i < 3; i++) {
        TRY(small_open(&at, &journals[i]));
        CHECK_INT(slot_of(journals[i]), i);
    }
    dbi_journal_free(journals[1]);
    journals[1] = NULL;
    TRY(small_open(&at, &journals[1]));
    CHECK_INT(slot_of(journals[1]), 1);
    place_run(&at, "grep -q \"^pid $PPID on \" slot-0001/lock");
done:
    for (size_t i = 0; i < 3; i++)
        dbi_journal_free(journals[i]);
    place_remove(&at);
}

/* Another process that appends, says so, and waits to be killed. */
static pid_t other_process(const place *at, uint64_t records) {
    int pipes[2];
    char done;
    pid_t pid;

    CHECK_INT(pipe(pipes), 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dbi_journal *journal;
        dbi_chain *chain;

        (void)alarm(60); /* should the test fail before it ends this process */
        dbi_alloc_fail_nth(0);
        if (small_open(at, &journal) == DBI_OK && dbi_journal_chain(journal, &stream, &chain, NULL) == DBI_OK &&
            append_range(chain, 1, records) == DBI_OK && write(pipes[1], "x", 1) == 1)
            (void)pause();
        _exit(1);
    }
    (void)close(pipes[1]);
    CHECK_INT(read(pipes[0], &done, 1), 1);
    (void)close(pipes[0]);
    return pid;
}

static void end_process(pid_t pid) {
    int status;

    CHECK_INT(kill(pid, SIGKILL), 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

TEST(the_slots_of_the_dead_are_adopted) {
    dbi_journal *journal = NULL;
    dbi_chain *chains[4], *adopted = NULL;
    dbi_chain_view view;
    dbi_journal_view seen;
    bool found = true, changed = false, renewed;
    reading got;
    pid_t pid;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    pid = other_process(&at, 600);
    if (dbi_journal_adopt(journal, &found, NULL) == DBI_OK)
        CHECK(!found); /* its owner lives */
    end_process(pid);
    TRY(dbi_journal_adopt(journal, &found, NULL));
    CHECK(found);
    CHECK_INT(dbi_journal_chains(journal, chains, 4), 1);
    adopted = chains[0];
    dbi_chain_view_get(adopted, &view);
    CHECK(view.adopted && !view.gone);
    CHECK_INT(view.held, 600);
    TRY(dbi_journal_adopt(journal, &found, NULL));
    CHECK(!found); /* it has it already */
    dbi_journal_view_get(journal, &seen);
    CHECK_INT(seen.adopted, 1);
    CHECK_INT(seen.bytes, 0); /* the cap is on what this process makes */
    TRY(dbi_chain_met(adopted, 0, &renewed, NULL));
    TRY(read_all(adopted, 0, &got));
    CHECK_INT(got.count, 600);
    TRY(dbi_journal_tend(journal, &changed, NULL));
    CHECK(!changed);
    dbi_chain_landed(adopted, 600);
    TRY(dbi_journal_tend(journal, &changed, NULL));
    CHECK(changed);
    dbi_chain_view_get(adopted, &view); /* still good to look at */
    CHECK(view.gone);
    CHECK_INT(dbi_journal_chains(journal, chains, 4), 0);
    TRY(read_all(adopted, 0, &got));
    CHECK_INT(got.count, 0);
    TRY(dbi_journal_adopt(journal, &found, NULL));
    CHECK(!found); /* drained */
    pid = other_process(&at, 20); /* somebody goes on with it, and dies: looked into again */
    end_process(pid);
    TRY(dbi_journal_adopt(journal, &found, NULL));
    CHECK(found);
    CHECK_INT(dbi_journal_chains(journal, chains, 4), 1);
    dbi_chain_view_get(chains[0], &view);
    CHECK_INT(view.held, 20);
    dbi_journal_free(journal);
    journal = NULL;
    {
        dbi_journal *first = NULL;

        TRY(small_open(&at, &first));
        if (small_open(&at, &journal) == DBI_OK) { /* whoever takes the slot goes on with the chain */
            CHECK_INT(slot_of(journal), 1);
            CHECK_INT(dbi_journal_chains(journal, chains, 4), 1);
            CHECK_INT(dbi_chain_last(chains[0]), 620);
        }
        dbi_journal_free(first);
    }
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(of_two_adopters_one_wins) {
    dbi_journal *journals[2] = {NULL};
    bool found[2] = {false, false};
    pid_t pid;
    place at;

    place_make(&at);
    for (size_t i = 0; i < 2; i++)
        TRY(small_open(&at, &journals[i]));
    pid = other_process(&at, 10);
    end_process(pid);
    for (size_t i = 0; i < 2; i++)
        TRY(dbi_journal_adopt(journals[i], &found[i], NULL));
    CHECK_INT(found[0] + found[1], 1);
done:
    for (size_t i = 0; i < 2; i++)
        dbi_journal_free(journals[i]);
    place_remove(&at);
}

static void *adopt_often(void *arg) {
    dbi_journal *journal = arg;
    uintptr_t count = 0;

    for (unsigned i = 0; i < 20; i++) {
        bool found = false;

        if (dbi_journal_adopt(journal, &found, NULL) == DBI_OK)
            count += found;
    }
    return (void *)count;
}

TEST_WITH(adopters_race, .unswept = "who gets the failing allocation is chance") {
    enum { DEAD = 5, ADOPTERS = 3 };
    dbi_journal *journals[ADOPTERS];
    pthread_t threads[ADOPTERS];
    pid_t pids[DEAD];
    uintptr_t total = 0;
    place at;

    place_make(&at);
    for (size_t i = 0; i < ADOPTERS; i++)
        CHECK_RC(small_open(&at, &journals[i]), DBI_OK);
    for (size_t i = 0; i < DEAD; i++)
        pids[i] = other_process(&at, 10);
    for (size_t i = 0; i < DEAD; i++)
        end_process(pids[i]);
    for (size_t i = 0; i < ADOPTERS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, adopt_often, journals[i]), 0);
    for (size_t i = 0; i < ADOPTERS; i++) {
        void *count;

        CHECK_INT(pthread_join(threads[i], &count), 0);
        total += (uintptr_t)count;
    }
    CHECK_INT(total, DEAD);
    for (size_t i = 0; i < ADOPTERS; i++)
        dbi_journal_free(journals[i]);
    place_remove(&at);
}

/* --- forks --- */

static unsigned open_in_place(const place *at) {
    DIR *listed = opendir("/proc/self/fd");
    const struct dirent *entry;
    unsigned count = 0;

    CHECK(listed != NULL);
    while ((entry = readdir(listed)) != NULL) {
        char path[300], target[300] = "";

        (void)snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof target - 1) > 0 && strncmp(target, at->path, strlen(at->path)) == 0)
            count++;
    }
    (void)closedir(listed);
    return count;
}

static unsigned mapped_in_place(const place *at) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned count = 0;

    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, at->path) != NULL;
    (void)fclose(maps);
    return count;
}

/* In a child of a process that has a journal open: 0, or which check failed. */
static int child_checks(const place *at, dbi_journal *journal, dbi_chain *chain) {
    dbi_journal *own = NULL;
    dbi_chain *other;
    dbi_records records = {0};
    dbi_chain_view view;
    bool flag;
    int failed = 0;

    if (open_in_place(at) != 0 || mapped_in_place(at) != 0)
        return 1;
    if (append(chain, 201, NULL) != DBI_EFORK || dbi_chain_read(chain, 0, 10, &records, NULL) != DBI_EFORK ||
        dbi_chain_sync(chain, NULL, NULL) != DBI_EFORK || dbi_chain_drop_oldest(chain, NULL, NULL) != DBI_EFORK ||
        dbi_chain_met(chain, 0, &flag, NULL) != DBI_EFORK || dbi_journal_tend(journal, NULL, NULL) != DBI_EFORK ||
        dbi_journal_adopt(journal, &flag, NULL) != DBI_EFORK || dbi_journal_chains(journal, &other, 1) != 0 ||
        dbi_chain_bind(chain, (const uint8_t[16]){1}, NULL) != DBI_EFORK ||
        dbi_journal_chain(journal, &stream, &other, NULL) != DBI_EFORK)
        return 2;
    dbi_chain_landed(chain, 100);
    dbi_chain_count(chain, DBI_CHAIN_DEAD, 1);
    dbi_chain_view_get(chain, &view);
    if (view.last != 200 || dbi_chain_counted(chain, DBI_CHAIN_DEAD) != 0)
        return 3;
    dbi_journal_free(journal);
    if (small_open(at, &own) != DBI_OK || slot_of(own) != 1) /* the parent's lock is still held */
        return 4;
    if (dbi_journal_chain(own, &stream, &other, NULL) != DBI_OK || append(other, 1, NULL) != DBI_OK)
        failed = 5;
    dbi_journal_free(own);
    return failed;
}

TEST(a_forked_child_lets_go) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    reading found;
    int status = -1;
    pid_t pid;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 200));
    CHECK(open_in_place(&at) > 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dbi_alloc_fail_nth(0);
        _exit(child_checks(&at, journal, chain));
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    TRY(append_range(chain, 201, 1000)); /* the parent goes on */
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 1000);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* A process dies, a child that it forked lives on: its slot is free all the same. */
TEST(a_child_does_not_hold_its_parents_slot) {
    dbi_journal *journal = NULL;
    int pipes[2], status;
    pid_t parent, child = 0;
    place at;

    place_make(&at);
    CHECK_INT(pipe(pipes), 0);
    parent = fork();
    CHECK(parent >= 0);
    if (parent == 0) {
        (void)alarm(60);
        dbi_alloc_fail_nth(0);
        if (small_open(&at, &journal) != DBI_OK)
            _exit(1);
        if (fork() == 0) {
            (void)alarm(60);
            child = getpid();
            if (write(pipes[1], &child, sizeof child) != sizeof child)
                _exit(1);
        }
        (void)pause();
    }
    CHECK_INT(read(pipes[0], &child, sizeof child), sizeof child);
    CHECK_INT(kill(parent, SIGKILL), 0);
    CHECK(waitpid(parent, &status, 0) == parent);
    TRY(small_open(&at, &journal));
    CHECK_INT(slot_of(journal), 0);
done:
    CHECK_INT(kill(child, SIGKILL), 0);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- threads --- */

enum { APPENDERS = 3, EACH = 20000 };

typedef struct traffic {
    dbi_journal *journal;
    dbi_chain *chain;
    atomic_uint running, appenders;
} traffic;

typedef struct traffic_body {
    uint32_t who, number;
} traffic_body;

static void *traffic_append(void *arg) {
    traffic *shared = arg;
    uint32_t who = atomic_fetch_add(&shared->appenders, 1);

    for (uint32_t i = 1; i <= EACH; i++) {
        traffic_body body = {who, i};
        dbi_rc rc;

        while ((rc = dbi_chain_append(shared->chain, DBI_RECORD_KAFKA, &body, sizeof body, NULL, NULL)) == DBI_EFULL)
            (void)usleep(100);
        CHECK_RC(rc, DBI_OK);
    }
    atomic_fetch_sub(&shared->running, 1);
    return NULL;
}

static void *traffic_keep(void *arg) {
    traffic *shared = arg;

    while (atomic_load(&shared->running) > 0) {
        CHECK_RC(dbi_journal_tend(shared->journal, NULL, NULL), DBI_OK);
        (void)usleep(500);
    }
    return NULL;
}

static void *traffic_sync(void *arg) {
    traffic *shared = arg;
    uint64_t before = 0, synced = 0;

    while (atomic_load(&shared->running) > 0) {
        dbi_chain_view view;

        CHECK_RC(dbi_chain_sync(shared->chain, &synced, NULL), DBI_OK);
        CHECK(synced >= before);
        before = synced;
        dbi_chain_view_get(shared->chain, &view);
        CHECK(view.synced >= synced && view.last >= view.landed);
        dbi_chain_count(shared->chain, DBI_CHAIN_DEAD, 1);
    }
    return NULL;
}

TEST_WITH(appending_reading_tending_and_syncing_at_once, .timeout_s = 120,
          .unswept = "threads: whose allocation fails is chance") {
    traffic shared = {.running = APPENDERS};
    pthread_t threads[APPENDERS + 2];
    uint32_t seen[APPENDERS] = {0};
    dbi_chain_config config = stream;
    dbi_records records = {0};
    uint64_t last = 0, count = 0;
    dbi_err err;
    place at;

    config.durability = DBI_DURABILITY_INTERVAL;
    place_make(&at);
    CHECK_RC(small_open(&at, &shared.journal), DBI_OK);
    CHECK_RC(dbi_journal_chain(shared.journal, &config, &shared.chain, NULL), DBI_OK);
    for (size_t i = 0; i < APPENDERS + 2; i++)
        CHECK_INT(pthread_create(&threads[i], NULL,
                                 i < APPENDERS ? traffic_append : i == APPENDERS ? traffic_keep : traffic_sync,
                                 &shared),
                  0);
    while (count < (uint64_t)APPENDERS * EACH) {
        dbi_record record;

        if (dbi_chain_read(shared.chain, last, 4096, &records, &err) != DBI_OK)
            test_fail(__FILE__, __LINE__, "%s", err.msg);
        while (dbi_records_next(&records, &record)) {
            traffic_body body;

            CHECK_INT(record.length, sizeof body);
            memcpy(&body, record.body, sizeof body);
            CHECK(body.who < APPENDERS);
            CHECK_INT(body.number, ++seen[body.who]); /* of each thread all, in its order */
            CHECK_INT(record.sequence, ++last);
            count++;
        }
        dbi_chain_landed(shared.chain, last);
    }
    for (size_t i = 0; i < APPENDERS + 2; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_INT(dbi_chain_counted(shared.chain, DBI_CHAIN_DAMAGED), 0);
    dbi_records_free(&records);
    dbi_journal_free(shared.journal);
    place_remove(&at);
}

/* --- memory and descriptors --- */

#ifdef TEST_SANITIZED
enum { BACKLOG = 1000 };
#else
enum { BACKLOG = 10000 };
#endif

TEST_WITH(a_backlog_of_many_segments, .timeout_s = 60, .unswept = "thousands of allocations of the same kind") {
    static char body[11000];
    dbi_journal_config config;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view view;
    dbi_records records = {0};
    uint64_t last = 0;
    place at;

    place_make(&at);
    config = small(&at);
    config.max_bytes = UINT64_C(1) << 30;
    config.segment_max = 16384;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    for (unsigned i = 0; i < BACKLOG; i++) {
        TRY(dbi_chain_append(chain, DBI_RECORD_ROW, body, sizeof body, NULL, NULL));
        if (i % 16 == 0)
            TRY(dbi_journal_tend(journal, NULL, NULL));
    }
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_chain_view_get(chain, &view);
    CHECK_WITHIN(view.segments, BACKLOG, BACKLOG + 1);
    CHECK(open_in_place(&at) <= 5); /* directory, slot, lock, the active segment and the spare */
    CHECK(mapped_in_place(&at) <= 2);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK(open_in_place(&at) <= 4);
    CHECK(mapped_in_place(&at) <= 2); /* the header of the newest one, and the spare */
    do {
        CHECK_RC(dbi_chain_read(chain, last, 65536, &records, NULL), DBI_OK);
        last = records.last;
        dbi_chain_landed(chain, last);
        if (last % 100 == 0)
            CHECK(open_in_place(&at) <= 6);
    } while (records.first <= records.last);
    CHECK_INT(last, BACKLOG);
    CHECK(records.capacity <= 65536);
    TRY(dbi_journal_tend(journal, NULL, NULL));
    dbi_chain_view_get(chain, &view);
    CHECK(view.segments <= 3);
done:
    dbi_records_free(&records);
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- pages --- */

static uint64_t pages_fetched; /* in bytes */

static int pretended_populate(void *at, size_t size) {
    (void)at;
    pages_fetched += size;
    return 0;
}

TEST(pages_are_fetched_in_front_of_what_is_written) {
    static const uint64_t mib = UINT64_C(1) << 20, slack = UINT64_C(1) << 16;
    static char body[65536 - DBI__RECORD_HEADER];
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_journal_config config;
    uint64_t written = 0;
    place at;

    dbi__journal_os_calls.populate = pretended_populate;
    place_make(&at);
    dbi_journal_defaults(&config);
    config.directory = at.path;
    config.segment_min = config.segment_max = 16 * mib;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    for (unsigned i = 0; i < 24 * 16; i++) { /* into the second segment */
        TRY(dbi_chain_append(chain, DBI_RECORD_ROW, body, sizeof body, NULL, NULL));
        written += sizeof body + DBI__RECORD_HEADER;
        if (i % 4 != 0)
            continue;
        TRY(dbi_journal_tend(journal, NULL, NULL));
        CHECK(pages_fetched >= written + 7 * mib);
        CHECK(pages_fetched <= written + 8 * mib + slack);
    }
    pages_fetched = 0;
    for (unsigned i = 0; i < 4; i++)
        TRY(dbi_journal_tend(journal, NULL, NULL));
    CHECK(pages_fetched <= mib); /* nothing was written meanwhile */
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

static void rolled_count(void *arg) {
    ++*(unsigned *)arg;
}

TEST(a_segment_that_is_begun_is_told_of) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_journal_config config;
    unsigned rolled = 0;
    dbi_chain_view view;
    place at;

    place_make(&at);
    config = small(&at);
    config.rolled = rolled_count;
    config.rolled_arg = &rolled;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(rolled, 0);
    for (unsigned i = 1; i <= 300; i++) {
        TRY(append(chain, i, NULL));
        if (i % 10 == 0)
            TRY(dbi_journal_tend(journal, NULL, NULL)); /* some segments are made by it, some by who appends */
        dbi_chain_view_get(chain, &view);
        CHECK(view.segments == rolled || view.segments == rolled + 1); /* the spare has not begun */
    }
    CHECK(rolled >= 3);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- an operating system that says no --- */

static int allocate_sys; /* errno of fallocate; 0 = it works */

static int pretended_allocate(int fd, off_t size) {
    errno = allocate_sys;
    return allocate_sys != 0 ? -1 : fallocate(fd, 0, 0, size);
}

TEST(a_full_disk_is_full_and_no_more) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    uint64_t number = 0;
    reading found;
    dbi_err err;
    dbi_rc rc;
    place at;

    dbi__journal_os_calls.allocate = pretended_allocate;
    allocate_sys = ENOSPC;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL)); /* opening a stream does not need the room yet */
    TRY_RC(append(chain, 1, &err), DBI_EFULL);
    CHECK_HAS(err.msg, "No space left");
    CHECK_HAS(err.msg, at.path);
    CHECK_HAS(err.msg, "holds 0 of at most 1048576 bytes");
    CHECK_HAS(err.msg, "make room on its disk, or move the journal to a larger one (DBINT_JOURNAL_DIR)");
    CHECK_HAS(err.msg, "when_full");
    allocate_sys = EDQUOT;
    TRY_RC(append(chain, 1, &err), DBI_EFULL);
    CHECK_HAS(err.msg, "raise the user's quota");
    CHECK_HAS(err.msg, "quota exceeded");
    allocate_sys = EFBIG;
    TRY_RC(append(chain, 1, &err), DBI_EFULL);
    CHECK_HAS(err.msg, "ulimit -f");
    TRY_RC(append(chain, 1, NULL), DBI_EFULL);
    allocate_sys = 0;
    TRY(append(chain, ++number, NULL));
    allocate_sys = ENOSPC;
    while ((rc = append(chain, number + 1, NULL)) == DBI_OK) /* what is mapped has its blocks */
        number++;
    TRY_RC(rc, DBI_EFULL);
    CHECK(number > 20);
    TRY(dbi_journal_tend(journal, NULL, NULL));
    allocate_sys = 0;
    TRY(append(chain, ++number, NULL));
    allocate_sys = EIO;
    for (rc = DBI_OK; rc == DBI_OK; number += rc == DBI_OK)
        rc = append(chain, number + 1, &err);
    if (rc != DBI_ENOMEM)
        CHECK_RC(rc, DBI_ESYS);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, number);
    CHECK_INT(place_count(&at, "slot-0000/*.tmp"), 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* What is to be done stands at the end of a message, and others put their own words in front of it. */
TEST(a_long_path_leaves_room_for_the_advice) {
    static const int causes[] = {ENOSPC, EDQUOT, EFBIG, 0};
    char deep[1024];
    size_t used;
    dbi_journal *journal = NULL;
    dbi_journal_config config;
    dbi_chain *chain = NULL;
    dbi_err err;
    place at;

    dbi__journal_os_calls.allocate = pretended_allocate;
    place_make(&at);
    used = (size_t)snprintf(deep, sizeof deep, "%s", at.path);
    for (unsigned i = 0; i < 4; i++)
        used += (size_t)snprintf(deep + used, sizeof deep - used, "/%0160u", i);
    deep[used++] = '/';
    for (unsigned i = 0; i < 100; i++) /* the path is cut within a character */
        used += (size_t)snprintf(deep + used, sizeof deep - used, "\u00e4");
    deep[used++] = 'x';
    deep[used] = '\0';
    config = small(&at);
    config.directory = deep;
    config.max_bytes = 4 * config.segment_min;
    allocate_sys = 0;
    TRY(dbi_journal_open(&journal, &config, NULL));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        dbi_rc rc;

        allocate_sys = causes[i];
        for (rc = DBI_OK; rc == DBI_OK;)
            rc = append(chain, dbi_chain_last(chain) + 1, &err);
        TRY_RC(rc, DBI_EFULL);
        CHECK_HAS(err.msg, "the journal ...\u00e4");
        CHECK_HAS(err.msg, deep + used - 101);
        CHECK_HAS(err.msg, i < 2 ? "DBINT_JOURNAL_DIR" : i == 2 ? "ulimit -f" : "DBINT_JOURNAL_MAX_BYTES");
        CHECK_HAS(err.msg, "(when_full)");
        CHECK(strlen(err.msg) < sizeof err.msg - 160);
        CHECK_INT(err.sys, causes[i]);
    }
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(a_file_system_that_cannot_allocate) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    struct stat found;
    char *path = NULL;
    place at;

    dbi__journal_os_calls.allocate = pretended_allocate;
    allocate_sys = EOPNOTSUPP;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append(chain, 1, NULL));
    path = place_file(&at, "slot-0000/*.seg", 0);
    CHECK_INT(stat(path, &found), 0);
    CHECK_INT(found.st_size, 16384);
    CHECK(found.st_blocks * 512 >= 16384); /* every block is there */
done:
    free(path);
    dbi_journal_free(journal);
    place_remove(&at);
}

/* The real thing: a file system of 1 MiB. Needs the right to mount; the cases above need none. */
TEST_WITH(a_small_file_system, .unswept = "the mount is the point") {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    uint64_t number = 0;
    reading found;
    dbi_err err;
    dbi_rc rc;
    place at;

    place_make(&at);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", at.path, "tmpfs", 0, "size=1M,mode=700") != 0) {
        (void)printf("  a_small_file_system: no right to mount one, see a_full_disk_is_full_and_no_more\n");
        (void)rmdir(at.path);
        return;
    }
    {
        dbi_journal_config config = small(&at);

        config.max_bytes = 1 << 24;
        CHECK_RC(dbi_journal_open(&journal, &config, NULL), DBI_OK);
    }
    CHECK_RC(dbi_journal_chain(journal, &stream, &chain, NULL), DBI_OK);
    CHECK_RC(append(chain, ++number, NULL), DBI_OK);
    place_run(&at, "head -c 500000 /dev/zero > ballast; cat /dev/zero > more 2>&- || rm more; true");
    while ((rc = append(chain, number + 1, &err)) == DBI_OK)
        number++;
    CHECK_RC(rc, DBI_EFULL);
    CHECK_HAS(err.msg, "No space left");
    place_run(&at, "rm ballast");
    for (uint64_t to = number + 1000; number < to; number++)
        CHECK_RC(append(chain, number + 1, NULL), DBI_OK);
    CHECK_RC(read_all(chain, 0, &found), DBI_OK);
    CHECK_INT(found.count, number);
    dbi_journal_free(journal);
    CHECK_INT(mount("tmpfs", at.path, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=1M,mode=700"), 0);
    CHECK_RC(small_open(&at, &journal), DBI_ESYS);
    {
        dbi_journal_config config = small(&at);

        CHECK_RC(dbi_journal_open(&journal, &config, &err), DBI_ESYS);
        CHECK_HAS(err.msg, at.path);
        CHECK_HAS(err.msg, "Read-only");
    }
    CHECK_INT(umount(at.path), 0);
    CHECK_INT(rmdir(at.path), 0);
}

TEST(a_slot_directory_deleted_under_the_process) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    reading found;
    dbi_err err;
    dbi_rc rc = DBI_OK;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 20));
    place_run(&at, "rm -rf slot-0000");
    TRY(append(chain, 21, NULL)); /* the mapping outlives the name */
    TRY_RC(dbi_journal_tend(journal, NULL, &err), DBI_ESYS);
    CHECK_HAS(err.msg, "slot-0000 was deleted");
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 21);
    for (uint64_t i = 22; rc == DBI_OK; i++)
        rc = append(chain, i, &err);
    if (rc != DBI_ENOMEM)
        CHECK_RC(rc, DBI_ESYS);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- fsync --- */

static ino_t synced_inodes[64];
static unsigned syncs;
static int sync_failures; /* how many of the next ones fail */

static int pretended_sync(int fd) {
    struct stat found;

    CHECK_INT(fstat(fd, &found), 0);
    CHECK(syncs < 64);
    synced_inodes[syncs++] = found.st_ino;
    if (sync_failures > 0) {
        sync_failures--;
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

TEST(a_file_is_not_synced_again_after_a_failed_fsync) {
    dbi_chain_config config = stream;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    uint64_t synced = 0;
    reading found;
    dbi_err err;
    place at;

    config.durability = DBI_DURABILITY_SYNC;
    dbi__journal_os_calls.sync = pretended_sync;
    syncs = 0;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &config, &chain, NULL));
    TRY(append_range(chain, 1, 30));
    TRY(dbi_chain_sync(chain, &synced, NULL));
    CHECK_INT(synced, 30);
    TRY(append_range(chain, 31, 40));
    sync_failures = 2; /* that of the file, and that of the one it moves to */
    TRY_RC(dbi_chain_sync(chain, &synced, &err), DBI_ESYS);
    CHECK_INT(synced, 30);
    CHECK_HAS(err.msg, "cannot sync");
    sync_failures = 0;
    TRY(append_range(chain, 41, 45));
    TRY(dbi_chain_sync(chain, &synced, NULL));
    CHECK_INT(synced, 45);
    for (unsigned i = 0; i < syncs; i++)
        CHECK(i == 1 || i == 0 || synced_inodes[i] != synced_inodes[1]);
    TRY(append_range(chain, 46, 50));
    sync_failures = 1;
    TRY_RC(dbi_chain_sync(chain, &synced, NULL), DBI_ESYS); /* moved at once, and said */
    TRY(dbi_chain_sync(chain, &synced, NULL));
    CHECK_INT(synced, 50);
    TRY(append_range(chain, 51, 300));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 300);
    CHECK_INT(found.damages, 0);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &config, &chain, NULL));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, 300);
    CHECK_INT(found.damages, 0);
    CHECK_INT(place_count(&at, "slot-0000/*.tmp"), 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST_MAIN()
