/* uuid.h - UUIDs of version 7 (RFC 9562, section 5.7), in the order in which they were made.
 *
 * 48 bits of milliseconds since 1970, 12 bits of the fraction of the millisecond (the RFC's method 3), 62 random bits.
 * No two of a source have the same first 60 bits: one that would be no greater than the last takes the last plus one, so
 * ids of a source ascend, past a clock that is set back, too. The random bits are seeded by the kernel, and anew in a
 * forked child: they keep sources and processes apart, and are no secret.
 */
#ifndef DBI_UUID_H
#define DBI_UUID_H

#include <stdint.h>

/* Zeroed, it is ready. */
typedef struct dbi_uuid7_source {
    uint64_t random[4]; /* state of a xoshiro256** (Blackman and Vigna) */
    uint64_t forks;     /* under which dbi__fork_now() it was seeded; 0 = not yet */
    uint64_t last;      /* stamp: milliseconds since 1970 in the upper bits, 12 bits of fraction below them */
} dbi_uuid7_source;

/* `wall_ns`: ns since 1970-01-01 UTC. @thread one at a time with the same source @locks none; a system call only in the
 * first call, and the first after a fork */
void dbi_uuid7(dbi_uuid7_source *source, int64_t wall_ns, uint8_t out[16]);

#endif
