/* test_journal_part.c - another database than before: what an earlier process left becomes a chain of its own */
#include "journal_test.h"

#define LEFT UINT64_C(200)  /* records of the earlier process; a few segments */
#define ADDED UINT64_C(150) /* of this one */

static const uint8_t first_target[16] = {1}, second_target[16] = {2}, none[16];

/* A process that met a database, where `landed` of its records came to, and died. */
static dbi_rc leave(const place *at, uint64_t landed) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    bool renewed;
    dbi_rc rc = small_open(at, &journal);

    if (rc == DBI_OK)
        rc = dbi_journal_chain(journal, &stream, &chain, NULL);
    if (rc == DBI_OK)
        rc = dbi_chain_bind(chain, first_target, NULL);
    if (rc == DBI_OK)
        rc = dbi_chain_met(chain, 0, &renewed, NULL);
    if (rc == DBI_OK)
        rc = append_range(chain, 1, LEFT);
    if (rc == DBI_OK)
        dbi_chain_landed(chain, landed);
    if (rc == DBI_OK)
        dbi_chain_count(chain, DBI_CHAIN_DEAD, 3);
    dbi_journal_free(journal);
    return rc;
}

/* The next one, which goes on with the chain. */
static dbi_rc go_on(const place *at, dbi_journal **journal, dbi_chain **chain) {
    dbi_rc rc = small_open(at, journal);

    if (rc == DBI_OK)
        rc = dbi_journal_chain(*journal, &stream, chain, NULL);
    if (rc == DBI_OK)
        rc = append_range(*chain, LEFT + 1, LEFT + ADDED);
    return rc;
}

/* The chain of the journal that is not this one; NULL: there is none. */
static dbi_chain *other_than(dbi_journal *journal, const dbi_chain *chain) {
    dbi_chain *chains[4] = {NULL};
    size_t count = dbi_journal_chains(journal, chains, 4);

    CHECK(count <= 2);
    for (size_t i = 0; i < count; i++)
        if (chains[i] != chain)
            return chains[i];
    return NULL;
}

TEST(what_was_left_becomes_a_chain_of_its_own) {
    static const uint64_t landed[] = {0, 120, LEFT - 1};

    for (size_t i = 0; i < sizeof landed / sizeof landed[0]; i++) {
        uint64_t waiting = LEFT - landed[i], bytes;
        dbi_journal *journal = NULL;
        dbi_chain *chain = NULL, *old;
        dbi_chain_view before, after, left;
        dbi_journal_view whole;
        bool parted = false, renewed;
        reading found;
        place at;

        place_make(&at);
        TRY(leave(&at, landed[i]));
        TRY(go_on(&at, &journal, &chain));
        dbi_chain_view_get(chain, &before);
        CHECK_INT(before.found, waiting);
        dbi_journal_view_get(journal, &whole);
        bytes = whole.bytes;
        TRY_RC(dbi_chain_bind(chain, second_target, NULL), DBI_EHELD);
        TRY(read_all(chain, landed[i], &found)); /* the reader stands at the end of what is there now */
        TRY(dbi_chain_part(chain, &parted, NULL));
        CHECK(parted);

        dbi_chain_view_get(chain, &after);
        CHECK(memcmp(after.id, before.id, 16) != 0);
        CHECK(memcmp(after.target, none, 16) == 0);
        CHECK_INT(after.base, LEFT);
        CHECK_INT(after.landed, 0);
        CHECK_INT(after.held, ADDED);
        CHECK_INT(after.found, 0);
        CHECK_INT(after.parted, waiting);
        CHECK(!after.ended && !after.gone);
        old = other_than(journal, chain);
        CHECK(old != NULL);
        dbi_chain_view_get(old, &left);
        CHECK(memcmp(left.id, before.id, 16) == 0);
        CHECK(memcmp(left.target, first_target, 16) == 0);
        CHECK_STR(left.name, stream.name);
        CHECK(left.ended && !left.gone && !left.adopted);
        CHECK_INT(left.held, waiting);
        CHECK_INT(left.found, waiting);
        CHECK_INT(left.last, LEFT);
        CHECK_INT(left.landed, landed[i]);
        CHECK_INT(left.counted[DBI_CHAIN_DEAD] + after.counted[DBI_CHAIN_DEAD], 0); /* the earlier process told */
        dbi_journal_view_get(journal, &whole);
        CHECK_INT(whole.bytes, bytes);

        TRY(read_all(old, landed[i], &found));
        CHECK_INT(found.count, waiting);
        CHECK_INT(found.last, LEFT);
        CHECK_INT(found.damages, 0);
        TRY(read_all(chain, 0, &found));
        CHECK_INT(found.count, ADDED);
        CHECK_INT(found.damages, 0);
        TRY_RC(dbi_chain_bind(old, second_target, NULL), DBI_EHELD);
        TRY(dbi_chain_bind(chain, second_target, NULL));
        TRY(dbi_chain_met(chain, 0, &renewed, NULL)); /* the ledger there does not know it */
        CHECK(!renewed);
        TRY(dbi_chain_part(chain, &parted, NULL));
        CHECK(!parted);
        TRY(append_range(chain, LEFT + ADDED + 1, LEFT + ADDED + 10));
        dbi_chain_landed(chain, LEFT + ADDED);
        dbi_chain_landed(old, LEFT - 1); /* the first database is back */
        dbi_journal_free(journal);
        journal = NULL;

        TRY(small_open(&at, &journal)); /* the files say the same */
        dbi_journal_view_get(journal, &whole);
        CHECK(strstr(whole.warning, "are gone") == NULL); /* the old one ends where it ends */
        TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
        dbi_chain_view_get(chain, &before);
        CHECK(memcmp(before.id, after.id, 16) == 0);
        CHECK(memcmp(before.target, second_target, 16) == 0);
        CHECK_INT(before.found, 10);
        CHECK_INT(before.parted, 0);
        CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DEAD), 3);
        old = other_than(journal, chain);
        CHECK(old != NULL);
        dbi_chain_view_get(old, &before);
        CHECK(memcmp(before.id, left.id, 16) == 0);
        CHECK(memcmp(before.target, first_target, 16) == 0);
        CHECK(before.ended);
        CHECK_INT(before.found, 1);
        TRY(read_all(old, LEFT - 1, &found));
        CHECK_INT(found.count, 1);
        TRY(read_all(chain, LEFT + ADDED, &found));
        CHECK_INT(found.count, 10);
    done:
        dbi_journal_free(journal);
        place_remove(&at);
    }
}

/* Where all that was left has landed, nothing is to be kept for the other database. */
TEST(nothing_left_is_no_chain) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view before, after;
    bool parted = false;
    reading found;
    place at;

    place_make(&at);
    TRY(leave(&at, LEFT));
    TRY(go_on(&at, &journal, &chain));
    dbi_chain_view_get(chain, &before);
    TRY(dbi_chain_part(chain, &parted, NULL));
    CHECK(parted);
    dbi_chain_view_get(chain, &after);
    CHECK(memcmp(after.id, before.id, 16) != 0);
    CHECK(memcmp(after.target, none, 16) == 0);
    CHECK_INT(after.parted, 0);
    CHECK_INT(after.held, ADDED);
    CHECK_INT(dbi_chain_counted(chain, DBI_CHAIN_DEAD), 3);
    CHECK_INT(after.counted[DBI_CHAIN_DEAD], 0);
    CHECK(other_than(journal, chain) == NULL);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, ADDED);
    CHECK_INT(found.damages, 0);
done:
    dbi_journal_free(journal);
    place_remove(&at);
}

/* Damage that this process has found and told of stays in its account. */
TEST_WITH(damage_that_was_told_of_stays_with_who_told,
          .unswept = "a void without memory to remember it counts as records until it is read") {
    static const uint8_t rubbish[64] = {1, 2, 3};
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view after, left;
    char *path = NULL;
    bool parted = false;
    reading found;
    place at;

    place_make(&at);
    TRY(leave(&at, 0));
    path = place_file(&at, "slot-0000/*.seg", 0);
    file_poke(path, 4096, rubbish, sizeof rubbish);
    TRY(go_on(&at, &journal, &chain));
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.damages, 1);
    TRY(dbi_chain_part(chain, &parted, NULL));
    CHECK(parted);
    dbi_chain_view_get(chain, &after);
    dbi_chain_view_get(other_than(journal, chain), &left);
    CHECK(after.counted[DBI_CHAIN_DAMAGED] > 0);
    CHECK_INT(after.found, after.counted[DBI_CHAIN_DAMAGED]);
    CHECK_INT(left.counted[DBI_CHAIN_DAMAGED], 0);
    CHECK_INT(left.found, left.held);
    CHECK_INT(left.found + after.found, LEFT);
done:
    free(path);
    dbi_journal_free(journal);
    place_remove(&at);
}

/* --- what is not parted --- */

static dbi_rc part_refused(dbi_journal *journal, dbi_chain *chain) {
    dbi_chain_view before, after;
    size_t chains = dbi_journal_chains(journal, NULL, 0);
    bool parted = true;
    dbi_rc rc;

    dbi_chain_view_get(chain, &before);
    rc = dbi_chain_part(chain, &parted, NULL);
    dbi_chain_view_get(chain, &after);
    CHECK(!parted);
    CHECK(memcmp(before.id, after.id, 16) == 0);
    CHECK(memcmp(before.target, after.target, 16) == 0);
    CHECK_INT(before.held, after.held);
    CHECK_INT(dbi_journal_chains(journal, NULL, 0), chains);
    return rc;
}

TEST(what_belongs_together_is_not_parted) {
    dbi_chain_config memory = stream;
    dbi_journal *journal = NULL, *second = NULL;
    dbi_chain *chain = NULL, *adopted[2] = {NULL};
    bool renewed, found;
    place at;

    memory.durability = DBI_DURABILITY_MEMORY;
    place_make(&at);
    TRY(small_open(&at, &journal)); /* it has met no database */
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append(chain, 1, NULL));
    TRY(part_refused(journal, chain));
    TRY(dbi_journal_chain(journal, &memory, &chain, NULL)); /* nobody was there before */
    TRY(append(chain, 1, NULL));
    TRY(part_refused(journal, chain));
    dbi_journal_free(journal);
    journal = NULL;
    place_run(&at, "rm -rf slot-0000");

    TRY(leave(&at, 0));
    TRY(small_open(&at, &journal)); /* nothing was appended since */
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(part_refused(journal, chain));
    TRY(append(chain, LEFT + 1, NULL));
    TRY(dbi_chain_bind(chain, first_target, NULL)); /* what was appended is for the database that it met */
    TRY(part_refused(journal, chain));
    dbi_journal_free(journal);
    journal = NULL;

    TRY(small_open(&at, &journal)); /* the ledger was met */
    TRY(dbi_journal_chain(journal, &stream, &chain, NULL));
    TRY(append(chain, LEFT + 2, NULL));
    TRY(dbi_chain_met(chain, 0, &renewed, NULL));
    TRY(part_refused(journal, chain));
    dbi_journal_free(journal);
    journal = NULL;

    TRY(small_open(&at, &journal)); /* another's: nothing is appended to it */
    TRY(small_open(&at, &second));
    dbi_journal_free(journal);
    journal = NULL;
    TRY(dbi_journal_adopt(second, &found, NULL));
    CHECK(found);
    CHECK_INT(dbi_journal_chains(second, adopted, 2), 1);
    TRY(part_refused(second, adopted[0]));
done:
    dbi_journal_free(journal);
    dbi_journal_free(second);
    place_remove(&at);
}

/* --- failures --- */

/* One of its files cannot be given the new name: all have the old one again, and nothing is lost. */
TEST(an_error_leaves_all_as_it_was) {
    dbi_journal *journal = NULL;
    dbi_chain *chain = NULL;
    dbi_chain_view before, after;
    char *path = NULL, *away = NULL;
    bool parted = true;
    reading found;
    size_t files;
    dbi_err err;
    place at;

    place_make(&at);
    TRY(leave(&at, 50));
    TRY(go_on(&at, &journal, &chain));
    dbi_chain_view_get(chain, &before);
    files = place_count(&at, "slot-0000/*.seg");
    CHECK(files >= 4);
    path = place_file(&at, "slot-0000/*.seg", files - 1);
    away = place_file(&at, "slot-0000/lock", 0);
    CHECK(away != NULL);
    memcpy(strrchr(away, '/') + 1, "away", 4);
    CHECK_INT(rename(path, away), 0);
    TRY_RC(dbi_chain_part(chain, &parted, &err), DBI_ESYS);
    CHECK(!parted);
    CHECK_HAS(err.msg, at.path);
    CHECK_HAS(err.msg, stream.name);
    CHECK_INT(rename(away, path), 0);
    dbi_chain_view_get(chain, &after);
    CHECK(memcmp(before.id, after.id, 16) == 0);
    CHECK(memcmp(after.target, first_target, 16) == 0);
    CHECK_INT(after.held, before.held);
    CHECK_INT(after.base, before.base);
    CHECK(other_than(journal, chain) == NULL);
    TRY(read_all(chain, 50, &found));
    CHECK_INT(found.count, LEFT - 50 + ADDED);
    TRY(dbi_chain_part(chain, &parted, NULL)); /* and now it can */
    CHECK(parted);
    TRY(read_all(chain, 0, &found));
    CHECK_INT(found.count, ADDED);
    TRY(read_all(other_than(journal, chain), 50, &found));
    CHECK_INT(found.count, LEFT - 50);
done:
    free(path);
    free(away);
    dbi_journal_free(journal);
    place_remove(&at);
}

TEST_MAIN()
