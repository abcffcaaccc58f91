/* test_alloc.c - allocation, its counters and its injected failures */
#include "alloc.h"

#include <pthread.h>

#include "test.h"

TEST(live_counts_blocks) {
    void *small = dbi_malloc(1), *zeroed = dbi_calloc(4, 8);
    char *copy = dbi_strdup("text");

    if (!test_injected()) {
        CHECK_INT(dbi_alloc_live(), 3);
        CHECK_STR(copy, "text");
        for (size_t i = 0; i < 32; i++)
            CHECK_INT(((char *)zeroed)[i], 0);
    } else {
        CHECK_INT(dbi_alloc_live(), 2);
    }
    dbi_free(small);
    dbi_free(zeroed);
    dbi_free(copy);
    dbi_free(NULL);
}

TEST(nothing_is_never_null) {
    void *none = dbi_malloc(0), *no_items = dbi_calloc(0, 8);

    CHECK((none != NULL && no_items != NULL) || test_injected());
    dbi_free(none);
    dbi_free(no_items);
}

TEST(calloc_refuses_an_overflow) {
    /* volatile: or the compiler warns of what is being tested */
    volatile size_t count = SIZE_MAX / 2;

    CHECK(dbi_calloc(count, 4) == NULL);
    CHECK_INT(dbi_alloc_live(), 0);
}

TEST(a_failed_realloc_keeps_the_block) {
    char *block = dbi_malloc(4), *moved;

    if (block != NULL) {
        memcpy(block, "abc", 4);
        moved = dbi_realloc(block, 4000);
        if (moved != NULL)
            block = moved;
        CHECK(moved != NULL || test_injected());
        CHECK_STR(block, "abc");
        CHECK_INT(dbi_alloc_live(), 1);
    }
    dbi_free(block);
}

TEST(realloc_of_null_allocates) {
    void *block = dbi_realloc(NULL, 16);

    CHECK(block != NULL || test_injected());
    CHECK_INT(dbi_alloc_live(), block != NULL);
    dbi_free(block);
}

TEST_WITH(the_nth_fails_once, .unswept = "sets its own failing allocation") {
    void *blocks[5];

    dbi_alloc_fail_nth(3);
    for (size_t i = 0; i < 5; i++)
        blocks[i] = dbi_malloc(8);
    CHECK_INT(dbi_alloc_count(), 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK((blocks[i] == NULL) == (i == 2));
        dbi_free(blocks[i]);
    }
    dbi_alloc_fail_nth(0);
}

static void *churn(void *unused) {
    for (int i = 0; i < 10000; i++)
        dbi_free(dbi_malloc(16));
    return unused;
}

TEST_WITH(counters_are_exact_among_threads, .unswept = "80000 allocations that all behave alike") {
    pthread_t threads[8];

    for (size_t i = 0; i < 8; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (size_t i = 0; i < 8; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_INT(dbi_alloc_count(), 80000);
}

TEST_MAIN()
