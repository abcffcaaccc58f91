/* version.h - which client libraries are loaded: not those of the headers, those of this process. */
#ifndef DBI_VERSION_H
#define DBI_VERSION_H

#include <stddef.h>

#define DBI_VERSION_SIZE 32

/* libpq's version as PostgreSQL writes it ("15.18"), librdkafka's as it calls itself ("2.0.2"). Both are written to
 * the caller's buffer of DBI_VERSION_SIZE and truncated, never overrun. @thread any */
void dbi_version_libpq(char *text);
void dbi_version_librdkafka(char *text);

#endif
