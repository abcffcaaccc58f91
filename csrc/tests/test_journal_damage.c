/* test_journal_damage.c - what kill -9, power loss, flipped bits and people do to the files: nothing acknowledged is
 * lost that need not be, nothing damaged is delivered, and the start is never stopped */
#include <sys/mman.h>

#include "journal.h"
#include "journal_test.h"

/* --- kill -9 --- */

/* A child appends and says after each record, in a page shared with its parent, how far it is. */
static void child_appends(const place *at, _Atomic uint64_t *acknowledged) {
    dbi_journal *journal;
    dbi_chain *chain;
    uint64_t number;

    if (small_open(at, &journal) != DBI_OK || dbi_journal_chain(journal, &stream, &chain, NULL) != DBI_OK)
        _exit(2);
    for (number = dbi_chain_last(chain) + 1;; number++) {
        if (append(chain, number, NULL) != DBI_OK)
            (void)pause(); /* full: the rest of the round there is nothing to do */
        atomic_store(acknowledged, number);
        if (number % 64 == 0 && dbi_journal_tend(journal, NULL, NULL) != DBI_OK)
            _exit(4);
    }
}

TEST_WITH(a_kill_loses_nothing_acknowledged, .timeout_s = 120, .unswept = "its allocations are in children") {
    _Atomic uint64_t *acknowledged =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned rounds = test_rounds(100), grown = 0;
    uint64_t before = 0, seed = 88172645463325252u;
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    place at;

    CHECK(acknowledged != MAP_FAILED);
    place_make(&at);
    for (unsigned i = 0; i < rounds; i++) {
        reading found;
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0)
            child_appends(&at, acknowledged);
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        for (uint64_t start = atomic_load(acknowledged), turns = 0;
             atomic_load(acknowledged) < start + seed % 300 && turns < 100000; turns++)
            (void)usleep(10);
        CHECK_INT(kill(pid, SIGKILL), 0);
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        TRY(small_open(&at, &journal));
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
        CHECK(dbi_chain_last(chain) >= atomic_load(acknowledged)); /* one may be whole and not acknowledged */
        CHECK(dbi_chain_last(chain) <= atomic_load(acknowledged) + 1);
        TRY(read_all(chain, before, &found));
        CHECK_INT(found.damages, 0);
        CHECK_INT(found.last, dbi_chain_last(chain));
        grown += found.last > before;
        before = found.last;
        dbi_chain_landed(chain, before);
        TRY(dbi_journal_tend(journal, NULL, NULL));
        CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DAMAGED), 0);
        dbi_journal_free(journal);
        journal = NULL;
    }
    CHECK(grown > rounds / 2);
    CHECK_INT(place_count(&at, "quarantine/*"), 0);
    CHECK_INT(place_count(&at, "slot-*"), 1);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- power loss --- */

static uint8_t boot = 1;

static void pretended_boot(uint8_t id[16]) {
    memset(id, boot, 16);
}

/* Of each page of the newest segment either the state at the last sync or the present one is on disk. */
TEST_WITH(power_loss, .timeout_s = 120, .unswept = "many runs of the same") {
    uint64_t seed = 123456789;

    dbi__journal_os_calls.boot = pretended_boot;
    for (unsigned round = 0; round < test_rounds(60); round++) {
        dbi_journal *journal = NULL;
        dbi_chain *chain = NULL, *old[4];
        dbi_chain_view view;
        uint64_t synced = 0;
        size_t size, later;
        uint8_t *before, *after;
        reading found;
        char *path;
        place at;

        boot = (uint8_t)(2 * (round % 100));
        place_make(&at);
        TRY(small_open(&at, &journal));
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
        TRY(append_range(chain, 1, 20));
        TRY(dbi_chain_sync(chain, &synced, NULL));
        CHECK_INT(synced, 20);
        path = place_file(&at, "slot-0000/*.seg", 0);
        before = file_bytes(path, &size);
        TRY(append_range(chain, 21, 60));
        after = file_bytes(path, &later);
        dbi_journal_free(journal);
        journal = NULL;
        CHECK_INT(later, size);
        for (size_t page = 0; page < size; page += 4096) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            if (seed % 3 == 0)
                memcpy(after + page, before + page, 4096);
        }
        file_write(path, after, size);
        free(before);
        free(after);
        free(path);
        boot++;
        TRY(small_open(&at, &journal));
        CHECK_INT(dbi_journal_chains(journal, old, 4), 1);
        dbi_chain_view_get(old[0], &view);
        CHECK(view.ended);
        CHECK(view.last >= 20 && view.last <= 60);
        TRY(read_all(old[0], 0, &found));
        CHECK(found.count >= 20);
        CHECK_INT(found.last, view.last);
        CHECK_INT(found.count + dbi_chain_counted(old[0], DBI_CHAIN_DAMAGED), view.last);
        CHECK_INT(dbi_chain_counted(old[0], DBI_CHAIN_DAMAGED) != 0, place_count(&at, "quarantine/*.part") == 1);
        CHECK_INT(place_count(&at, "quarantine/*.part"), place_count(&at, "quarantine/*.txt"));
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL)); /* new records do not take sequences that may be used */
        CHECK(chain != old[0]);
        TRY(append_range(chain, 1, 5));
        dbi_journal_free(journal);
        journal = NULL;
        TRY(small_open(&at, &journal)); /* once more: nothing new is found, nothing counted twice */
        CHECK_INT(dbi_journal_chains(journal, old, 4), 2);
        for (size_t i = 0; i < 2; i++) {
            dbi_chain_view again;

            dbi_chain_view_get(old[i], &again);
            TRY(read_all(old[i], 0, &found));
            CHECK_INT(found.count + dbi_chain_counted(old[i], DBI_CHAIN_DAMAGED), again.ended ? view.last : 5);
            CHECK_INT(found.damages, 0);
        }
        CHECK(place_count(&at, "quarantine/*.part") <= 1);
    done:
        dbi_journal_free(journal);
        place_remove(&at);
    }
}

/* An ended chain leaves when it is drained; its counts pass to the next one. */
TEST(an_ended_chain_leaves) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL, *old = NULL;
    dbi_chain_view view;
    bool renewed, changed = false;
    reading found;
    place at;

    dbi__journal_os_calls.boot = pretended_boot;
    boot = 1;
    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 500));
    dbi_chain_count(chain, DBI_CHAIN_DEAD, 9);
    dbi_journal_free(journal);
    journal = NULL;
    boot = 2;
    TRY(small_open(&at, &journal));
    CHECK_INT(dbi_journal_chains(journal, &old, 1), 1);
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 2);
    TRY(append(chain, 1, NULL));
    TRY(dbi_chain_met(old, 0, &renewed, NULL));
    TRY(read_all(old, 0, &found));
    CHECK_INT(found.count, 500);
    dbi_chain_landed(old, 500);
    for (unsigned i = 0; i < 3 && !changed; i++) {
        TRY(read_all(old, 500, &found));
        TRY(dbi_journal_tend(journal, &changed, NULL));
    }
    CHECK(changed);
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), 1);
    dbi_chain_view_get(old, &view);
    CHECK(view.gone);
    TRY(read_all(old, 0, &found));
    CHECK_INT(found.count, 0);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DEAD), 9);
    dbi_journal_free(journal);
    journal = NULL;
    TRY(small_open(&at, &journal));
    CHECK_INT(dbi_journal_chains(journal, &chain, 1), 1);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DEAD), 9);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- damage --- */

/* Two segments, the first of which is changed by `damage` between two processes; what is left is read. */
typedef struct wreck {
    place at;
    dbi_journal *journal;
    dbi_chain *old[4];
    size_t chains;
    reading found; /* of all chains together */
    uint64_t damaged;
} wreck;

static dbi_rc wreck_make(wreck *made, uint64_t records) {
    dbi_chain *chain;
    bool renewed;
    dbi_rc rc;

    memset(made, 0, sizeof *made);
    place_make(&made->at);
    rc = small_open(&made->at, &made->journal);
    if (rc == DBI_OK)
        rc = dbi_journal_chain(made->journal, &stream, &chain, NULL);
    if (rc == DBI_OK)
        rc = append_range(chain, 1, records);
    if (rc == DBI_OK)
        rc = dbi_chain_met(chain, 0, &renewed, NULL);
    dbi_journal_free(made->journal);
    made->journal = NULL;
    return rc;
}

static dbi_rc wreck_read(wreck *made) {
    dbi_rc rc = small_open(&made->at, &made->journal);

    memset(&made->found, 0, sizeof made->found);
    made->damaged = 0;
    if (rc != DBI_OK)
        return rc;
    made->chains = dbi_journal_chains(made->journal, made->old, 4);
    for (size_t i = 0; i < made->chains && rc == DBI_OK; i++) {
        reading found;

        rc = read_all(made->old[i], 0, &found);
        made->found.count += found.count;
        made->found.last += found.last;
        made->found.damages += found.damages;
        made->damaged += dbi_chain_counted(made->old[i], DBI_CHAIN_DAMAGED);
    }
    return rc;
}

static dbi_rc wreck_again(wreck *made) {
    dbi_journal_free(made->journal);
    made->journal = NULL;
    return wreck_read(made);
}

static void wreck_remove(wreck *made) {
    dbi_journal_free(made->journal);
    place_remove(&made->at);
}

/* Every bit of every byte that means something, flipped: what is delivered is right (read_all checks each record), and
 * whatever is missing has been counted, or its file is in quarantine, or a newer version is waited for. */
TEST_WITH(flipped_bits, .timeout_s = 300, .unswept = "thousands of runs of the same") {
    wreck made;
    uint8_t *bytes;
    size_t size, tried = 0;
    char *path;

    CHECK_RC(wreck_make(&made, 6), DBI_OK);
    path = place_file(&made.at, "slot-0000/*.seg", 0);
    bytes = file_bytes(path, &size);
    for (size_t byte = 0; byte < 5400; byte++) {
        uint8_t changed = bytes[byte] ^ (uint8_t)(1u << byte % 8);
        size_t waiting;

        if (byte >= 530 && byte < 4096) /* between the meta and the records: nothing looks there */
            continue;
        if (byte % 100 == 0)
            place_run(&made.at, "rm -rf quarantine");
        for (char *left; (left = place_file(&made.at, "slot-0000/*.seg", 0)) != NULL; free(left))
            CHECK_INT(unlink(left), 0);
        file_write(path, bytes, size);
        file_poke(path, byte, &changed, 1);
        CHECK_RC(wreck_read(&made), DBI_OK);
        waiting = place_count(&made.at, "slot-0001");
        if (made.found.count < 6 && made.damaged == 0 && waiting == 0) {
            char *kept = place_file(&made.at, "quarantine/*.seg*", 0);

            if (kept == NULL)
                test_fail(__FILE__, __LINE__, "byte %zu flipped: %d records, nothing counted, nothing set aside", byte,
                          (int)made.found.count);
            free(kept);
        }
        CHECK(made.found.count <= 6);
        CHECK(made.damaged <= 6);
        dbi_journal_free(made.journal);
        made.journal = NULL;
        if (waiting != 0)
            place_run(&made.at, "rm -rf slot-0001");
        tried++;
    }
    CHECK(tried > 1500);
    free(bytes);
    free(path);
    wreck_remove(&made);
}

TEST(one_damaged_record_costs_one_record) {
    wreck made;
    char *path = NULL;

    TRY(wreck_make(&made, 500)); /* in several segments */
    path = place_file(&made.at, "slot-0000/*.seg", 1);
    file_poke(path, 4096 + 16 + 3, "\xFF", 1); /* in the first body of the second */
    TRY(wreck_read(&made));
    CHECK_INT(made.found.count, 499);
    CHECK_INT(made.found.last, 500);
    CHECK_INT(made.found.damages, 1);
    CHECK_INT(made.damaged, 1);
    CHECK_INT(place_count(&made.at, "quarantine/*.part"), 1);
    CHECK_INT(place_count(&made.at, "quarantine/*.txt"), 1);
    TRY(wreck_again(&made)); /* counted once */
    CHECK_INT(made.found.count, 499);
    CHECK_INT(made.found.damages, 0);
    CHECK_INT(made.damaged, 1);
done:
    free(path);
    wreck_remove(&made);
}

/* the length is wrong, so nothing behind it can be found: the rest of that segment is set aside, counted rightly */
TEST(a_damaged_length_costs_the_rest_of_its_segment) {
    wreck made;
    char *path = NULL;
    dbi_chain_view view;

    TRY(wreck_make(&made, 500));
    path = place_file(&made.at, "slot-0000/*.seg", 1);
    file_poke(path, 4096, "\xFF\xFF\xFF\x7F", 4);
    TRY(wreck_read(&made));
    CHECK_INT(made.found.last, 500);
    CHECK(made.found.count < 500 && made.found.count > 300);
    CHECK_INT(made.found.count + made.damaged, 500);
    CHECK_INT(made.found.damages, 1);
    dbi_chain_view_get(made.old[0], &view);
    CHECK(!view.ended); /* the end is known for sure */
    TRY(wreck_again(&made));
    CHECK_INT(made.found.count + made.damaged, 500);
    CHECK_INT(made.found.damages, 0);
done:
    free(path);
    wreck_remove(&made);
}

TEST(a_damaged_end_ends_the_chain) {
    static const uint8_t rubbish[64] = {1, 2, 3}, unknown[8], too_many[8] = {100};
    static const struct {
        const uint8_t *last; /* put where the header says how many there were; NULL = as it is */
        uint64_t damaged;
    } cases[] = {{NULL, 6}, {unknown, 1}, {too_many, 1}}; /* where it cannot be seen: at least one */

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dbi_chain *chain;
        dbi_chain_view view;
        wreck made;
        char *path = NULL;

        TRY(wreck_make(&made, 6));
        path = place_file(&made.at, "slot-0000/*.seg", 0);
        file_poke(path, 4096, rubbish, sizeof rubbish);
        if (cases[i].last != NULL)
            file_poke(path, DBI__AT_LAST, cases[i].last, 8);
        TRY(wreck_read(&made));
        CHECK_INT(made.found.count, 0);
        CHECK_INT(made.damaged, cases[i].damaged);
        dbi_chain_view_get(made.old[0], &view);
        CHECK(view.ended);
        CHECK_INT(view.found, cases[i].damaged);
        CHECK_INT(view.counted[DBI_CHAIN_DAMAGED], cases[i].damaged);
        TRY(dbi_journal_chain(made.journal, &stream, &chain, NULL));
        CHECK(chain != made.old[0]);
        TRY(append(chain, 1, NULL));
        TRY(wreck_again(&made));
        CHECK_INT(made.chains, 2);
        CHECK_INT(made.found.count, 1);
        CHECK_INT(made.damaged, cases[i].damaged);
        for (size_t j = 0; j < 2; j++) { /* another process told of it */
            dbi_chain_view_get(made.old[j], &view);
            CHECK_INT(view.counted[DBI_CHAIN_DAMAGED], 0);
        }
    done:
        free(path);
        wreck_remove(&made);
    }
}

/* Its bytes are worth nothing any more, and cost nothing either. */
TEST(damage_of_what_has_landed_is_no_loss) {
    static const uint64_t from[] = {4096, 0}; /* the first record, or the last ones */

    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        static const uint8_t rubbish[64] = {1, 2, 3};
        dbi_journal *journal = NULL;
        dbi_chain *chain = NULL;
        uint64_t offset = from[i];
        dbi_chain_view view;
        char *path = NULL;
        bool renewed;
        reading found;
        place at;

        place_make(&at);
        TRY(small_open(&at, &journal));
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
        TRY(append_range(chain, 1, 20));
        TRY(dbi_chain_met(chain, 0, &renewed, NULL));
        dbi_chain_landed(chain, 15);
        dbi_journal_free(journal);
        journal = NULL;
        path = place_file(&at, "slot-0000/*.seg", 0);
        if (offset == 0) /* the 14th: the end of what has landed, and all that has not */
            for (uint64_t number = 1, size; number < 14; number++, offset += size) {
                char body[512];

                size = dbi__record_size(body_make(number, body));
                offset = offset != 0 ? offset : 4096;
            }
        file_poke(path, offset, rubbish, sizeof rubbish);
        TRY(small_open(&at, &journal));
        CHECK_INT(dbi_journal_chains(journal, &chain, 1), 1);
        TRY(read_all(chain, 15, &found));
        dbi_chain_view_get(chain, &view);
        CHECK_INT(view.found, 5);
        CHECK_INT(found.count + view.counted[DBI_CHAIN_DAMAGED], 5);
        CHECK_INT(view.held, found.count);
    done:
        free(path);
        dbi_journal_free(journal);
        place_remove(&at);
    }
}

/* The file ends behind a whole record: no bytes are left that could be set aside. Nor are 8 enough for a void. */
TEST(an_end_that_was_cut_off_is_counted_once) {
    static const uint64_t left[] = {0, 8, 16, 24};

    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        uint64_t offset = 4096;
        dbi_chain_view view;
        wreck made;
        char *path = NULL;

        TRY(wreck_make(&made, 10));
        path = place_file(&made.at, "slot-0000/*.seg", 0);
        for (uint64_t number = 1; number <= 4; number++) {
            char body[512];

            offset += dbi__record_size(body_make(number, body));
        }
        CHECK_INT(truncate(path, (off_t)(offset + left[i])), 0);
        for (unsigned round = 0; round < 3; round++) {
            TRY(wreck_again(&made));
            CHECK_INT(made.chains, 1);
            CHECK_INT(made.found.count, 4);
            CHECK_INT(made.damaged, 6);
            dbi_chain_view_get(made.old[0], &view);
            CHECK(view.ended);
            CHECK_INT(view.counted[DBI_CHAIN_DAMAGED], round == 0 ? 6 : 0);
            CHECK_INT(view.found, round == 0 ? 10 : 4);
            CHECK_INT(view.held, 4);
        }
        CHECK_INT(place_count(&made.at, "quarantine/*.part"), left[i] != 0);
    done:
        free(path);
        wreck_remove(&made);
    }
}

/* while the process runs, in the segment that is appended to */
TEST(damage_in_the_active_segment) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    char *path = NULL;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 10));
    path = place_file(&at, "slot-0000/*.seg", 0);
    file_poke(path, 4096, "\xFF\xFF", 2);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.damages, 1);
    CHECK_INT(found.count, 0);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DAMAGED), 10);
    TRY(append_range(chain, 11, 20)); /* it goes on behind the void */
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.damages, 0);
    CHECK_INT(found.count, 10);
    CHECK_INT(found.last, 20);
done:
    free(path);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST(a_deleted_segment_is_noticed) {
    static const struct {
        int index; /* from the end when negative */
        bool ends;
    } cases[] = {{0, false}, {1, false}, {-1, true}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dbi_chain_view view;
        wreck made;
        char *path = NULL;
        size_t count;

        TRY(wreck_make(&made, 600));
        count = place_count(&made.at, "slot-0000/*.seg");
        CHECK(count >= 3);
        path = place_file(&made.at, "slot-0000/*.seg",
                          cases[i].index >= 0 ? (size_t)cases[i].index : count + (size_t)(int64_t)cases[i].index);
        CHECK_INT(unlink(path), 0);
        TRY(wreck_read(&made));
        CHECK_INT(made.chains, 1);
        dbi_chain_view_get(made.old[0], &view);
        CHECK_INT(view.ended, cases[i].ends);
        CHECK(made.found.count < 600);
        if (cases[i].ends) {
            dbi_journal_view seen;

            dbi_journal_view_get(made.journal, &seen);
            CHECK_HAS(seen.warning, "newest segments are gone");
        } else {
            CHECK_INT(made.found.count + made.damaged, 600);
            CHECK_INT(made.found.damages, 1);
        }
        TRY(wreck_again(&made));
        CHECK_INT(made.found.damages, 0); /* said and counted once */
        if (!cases[i].ends)
            CHECK_INT(made.found.count + made.damaged, 600);
    done:
        free(path);
        wreck_remove(&made);
    }
}

TEST(a_segment_deleted_while_it_is_used) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    char *path = NULL;
    reading found;
    place at;

    place_make(&at);
    TRY(small_open(&at, &journal));
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append_range(chain, 1, 600));
    path = place_file(&at, "slot-0000/*.seg", 1);
    CHECK_INT(unlink(path), 0);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.damages, 1);
    CHECK_INT(found.last, 600);
    CHECK_INT(found.count + dbi_chain_counted(chain, DBI_CHAIN_DAMAGED), 600);
done:
    free(path);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST_WITH(truncated_files, .unswept = "20 runs of the same") {
    static const off_t sizes[] = {0, 100, 511, 512, 519, 4096, 4100, 4500, 5000, 8192};

    for (size_t which = 0; which < 2; which++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            dbi_chain *chain;
            wreck made;
            char *path = NULL;

            TRY(wreck_make(&made, 300));
            path = place_file(&made.at, "slot-0000/*.seg",
                              which == 0 ? 0 : place_count(&made.at, "slot-0000/*.seg") - 1);
            CHECK_INT(truncate(path, sizes[i]), 0);
            TRY(wreck_read(&made));
            if (which == 0)
                CHECK_INT(made.found.last, 300);
            if (which == 0 || sizes[i] >= 519) /* else the header is gone with it */
                CHECK_INT(made.found.count + made.damaged, 300);
            TRY(dbi_journal_chain(made.journal, &stream, &chain, NULL));
            CHECK_INT(chain == made.old[0], which == 0); /* the newest was cut: a new chain */
            TRY(append(chain, dbi_chain_last(chain) + 1, NULL));
        done:
            free(path);
            wreck_remove(&made);
        }
}

TEST(foreign_files_are_set_aside_or_left_alone) {
    wreck made;

    TRY(wreck_make(&made, 10));
    place_run(&made.at, "cd slot-0000 && cp *.seg 55555555555555555555555555555555.0000000000000002.seg "
                        "&& echo hello > 00000000000000000000000000000000.0000000000000001.seg "
                        "&& head -c 70000 /dev/zero > 11111111111111111111111111111111.0000000000000001.seg "
                        "&& ln -s /etc/passwd 22222222222222222222222222222222.0000000000000001.seg "
                        "&& mkfifo 33333333333333333333333333333333.0000000000000001.seg "
                        "&& mkdir 44444444444444444444444444444444.0000000000000001.seg "
                        "&& echo > 66666666666666666666666666666666.0000000000000001.tmp && echo > README");
    TRY(wreck_read(&made));
    CHECK_INT(made.chains, 1);
    CHECK_INT(made.found.count, 10);
    CHECK_INT(made.damaged, 0);
    CHECK_INT(place_count(&made.at, "slot-0000/*.seg"), 1);
    CHECK_INT(place_count(&made.at, "slot-0000/*.tmp"), 0);
    CHECK_INT(place_count(&made.at, "slot-0000/README"), 1);
    CHECK_INT(place_count(&made.at, "quarantine/*.seg"), 6);
    CHECK_INT(place_count(&made.at, "quarantine/*.txt"), 6);
    place_run(&made.at, "grep -q 'shorter' quarantine/0*.txt && grep -q 'does not begin' quarantine/1*.txt && "
                        "grep -q 'another name' quarantine/5*.txt && "
                        "grep -q 'no regular file' quarantine/2*.txt");
done:
    wreck_remove(&made);
}

TEST(a_newer_format_is_left_alone) {
    dbi_journal_view view;
    wreck made;
    char *path = NULL;
    uint8_t *bytes = NULL, *after = NULL;
    size_t size = 0;

    TRY(wreck_make(&made, 10));
    path = place_file(&made.at, "slot-0000/*.seg", 0);
    bytes = file_bytes(path, &size);
    bytes[8] = 2;
    dbi__put32le(bytes + DBI__AT_CRC, dbi__header_crc(bytes, 7));
    file_write(path, bytes, size);
    TRY(wreck_read(&made));
    CHECK_INT(made.chains, 0);
    dbi_journal_view_get(made.journal, &view);
    CHECK_INT(view.slot, 1);
    CHECK_HAS(view.warning, "newer format");
    after = file_bytes(path, &size);
    CHECK(memcmp(bytes, after, size) == 0);
    CHECK_INT(place_count(&made.at, "quarantine/*"), 0);
    {
        bool found = true;

        TRY(dbi_journal_adopt(made.journal, &found, NULL));
        CHECK(!found);
    }
done:
    free(bytes);
    free(after);
    free(path);
    wreck_remove(&made);
}

/* quarantine cannot be written: the start goes on, and the file is kept when its turn to go comes */
TEST(no_quarantine_to_write_to) {
    dbi_chain *chain;
    wreck made;
    char *path = NULL;

    TRY(wreck_make(&made, 500));
    path = place_file(&made.at, "slot-0000/*.seg", 1);
    file_poke(path, 4096 + 16 + 3, "\xFF", 1);
    place_run(&made.at, "echo > quarantine");
    TRY(wreck_read(&made));
    CHECK_INT(made.found.count, 499);
    CHECK_INT(made.damaged, 1);
    place_run(&made.at, "rm quarantine");
    TRY(dbi_journal_chain(made.journal, &stream, &chain, NULL));
    dbi_chain_landed(chain, 500);
    TRY(dbi_journal_tend(made.journal, NULL, NULL));
    CHECK_INT(place_count(&made.at, "quarantine/*.seg"), 1);
done:
    free(path);
    wreck_remove(&made);
}

TEST_MAIN()
