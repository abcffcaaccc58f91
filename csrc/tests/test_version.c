/* test_version.c - the libraries that are loaded say who they are */
#include "version.h"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include "test.h"

TEST(libraries_say_who_they_are) {
    char text[DBI_VERSION_SIZE];
    int major = 0, minor = 0;

    dbi_version_libpq(text);
    CHECK(sscanf(text, "%d.%d", &major, &minor) == 2);
    CHECK_INT(major * 10000 + minor, PQlibVersion());

    dbi_version_librdkafka(text);
    CHECK(strcmp(text, rd_kafka_version_str()) == 0);
}

TEST_MAIN()
