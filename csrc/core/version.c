/* version.c - see version.h */
#include "version.h"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>

/* Since 10: major * 10000 + minor. */
void dbi_version_libpq(char *text) {
    int version = PQlibVersion();

    (void)snprintf(text, DBI_VERSION_SIZE, "%d.%d", version / 10000, version % 10000);
}

void dbi_version_librdkafka(char *text) {
    (void)snprintf(text, DBI_VERSION_SIZE, "%s", rd_kafka_version_str());
}
