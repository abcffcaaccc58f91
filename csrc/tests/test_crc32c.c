/* test_crc32c.c - known values, and both ways of computing agree */
#include "crc32c.h"

#include "test.h"

/* RFC 3720, appendix B.4; the last one is the check value of the catalogues of CRCs. */
TEST(known_values) {
    uint8_t bytes[32];

    CHECK_INT(dbi_crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof bytes);
    CHECK_INT(dbi_crc32c(0, bytes, sizeof bytes), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof bytes);
    CHECK_INT(dbi_crc32c(0, bytes, sizeof bytes), 0x62A8AB43);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    CHECK_INT(dbi_crc32c(0, bytes, sizeof bytes), 0x46DD794E);
    CHECK_INT(dbi_crc32c(0, "123456789", 9), 0xE3069283);
    CHECK_INT(dbi_crc32c_by_table(0, "123456789", 9), 0xE3069283);
}

TEST(both_ways_agree_at_every_length_and_alignment) {
    uint8_t bytes[3300]; /* more than is done in one go */

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 131 + 7);
    for (unsigned from = 0; from < 9; from++)
        for (unsigned length = 0; length + from <= sizeof bytes; length++)
            CHECK_INT(dbi_crc32c(from, bytes + from, length), dbi_crc32c_by_table(from, bytes + from, length));
}

TEST(a_crc_is_gone_on_with) {
    static const char text[] = "a record is its body, then its header";

    for (size_t cut = 0; cut < sizeof text; cut++)
        CHECK_INT(dbi_crc32c(dbi_crc32c(0, text, cut), text + cut, sizeof text - cut),
                  dbi_crc32c(0, text, sizeof text));
}

TEST_MAIN()
