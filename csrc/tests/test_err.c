/* test_err.c - result codes and error detail */
#include "err.h"

#include <errno.h>

#include "test.h"

TEST(names_and_texts_come_from_the_one_list) {
    CHECK_STR(dbi_rc_name(DBI_OK), "DBI_OK");
    CHECK_STR(dbi_rc_name(DBI_EOPEN), "DBI_EOPEN");
    CHECK_STR(dbi_rc_text(DBI_EOPEN), "circuit breaker is open");
    CHECK_STR(dbi_rc_name((dbi_rc)4711), "unknown");
    CHECK_STR(dbi_rc_text((dbi_rc)4711), "unknown");
}

TEST(codes_are_zero_or_negative_and_distinct) {
    static const dbi_rc codes[] = {
#define TEST_CODE(name, value, text) DBI_##name,
        DBI_RC_MAP(TEST_CODE)
#undef TEST_CODE
    };
    size_t count = sizeof codes / sizeof codes[0];

    CHECK(count > 10);
    for (size_t i = 0; i < count; i++) {
        CHECK(codes[i] <= 0);
        for (size_t j = 0; j < i; j++)
            CHECK(codes[i] != codes[j]);
    }
}

TEST(set_replaces_everything) {
    dbi_err err = {.rc = DBI_EKAFKA, .sys = 3, .kafka = 7, .sqlstate = "57014", .msg = "before"};

    CHECK_RC(dbi_err_set(&err, DBI_EFULL, "queue of %d is full", 8), DBI_EFULL);
    CHECK_RC(err.rc, DBI_EFULL);
    CHECK_INT(err.sys, 0);
    CHECK_INT(err.kafka, 0);
    CHECK_STR(err.sqlstate, "");
    CHECK_STR(err.msg, "queue of 8 is full");
    dbi_err_reset(&err);
    CHECK_RC(err.rc, DBI_OK);
    CHECK_STR(err.msg, "");
}

TEST(a_missing_err_is_allowed) {
    dbi_err_reset(NULL);
    CHECK_RC(dbi_err_set(NULL, DBI_EINVAL, "x"), DBI_EINVAL);
    CHECK_RC(dbi_err_sys(NULL, DBI_ESYS, ENOSPC, "x"), DBI_ESYS);
}

TEST(long_messages_are_cut_not_overrun) {
    struct {
        dbi_err err;
        char guard[16];
    } held;
    char text[2000];

    memset(&held, 'g', sizeof held);
    memset(text, 'm', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)dbi_err_set(&held.err, DBI_EINVAL, "%s", text);
    CHECK_INT(strlen(held.err.msg), sizeof held.err.msg - 1);
    (void)dbi_err_sys(&held.err, DBI_ESYS, ENOSPC, "%s", text);
    CHECK_INT(strlen(held.err.msg), sizeof held.err.msg - 1);
    for (size_t i = 0; i < sizeof held.guard; i++)
        CHECK_INT(held.guard[i], 'g');
}

TEST(sys_says_the_number_and_the_text) {
    dbi_err err;

    CHECK_RC(dbi_err_sys(&err, DBI_ESYS, ENOSPC, "write %s", "segment"), DBI_ESYS);
    CHECK_INT(err.sys, ENOSPC);
    CHECK_STR(err.msg, "write segment: No space left on device");
    (void)dbi_err_sys(&err, DBI_ESYS, 99999, "odd");
    CHECK_HAS(err.msg, "odd: ");
}

TEST_MAIN()
