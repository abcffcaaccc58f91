/* uuid.h - UUIDs of version 7 (RFC 9562, section 5.7), in the order in which they were made.
 *
 * 48 bits of milliseconds since 1970, 12 bits of the fraction of the millisecond (the RFC's method 3), 62 random bits.
 * No two of a process have the same first 60 bits: one that would be no greater than the last takes the last plus one,
 * so ids of a process ascend across its threads, and past a clock that is set back. The random bits come from a
 * generator of each thread, seeded by the kernel, and anew in a forked child: they keep processes apart, and are no
 * secret.
 */
#ifndef DBI_UUID_H
#define DBI_UUID_H

#include <stdint.h>

/* @thread any @locks none; a system call only in a thread's first call, and its first after a fork */
void dbi_uuid7(uint8_t out[16]);

/* The same at a time already read: ns since 1970-01-01 UTC. */
void dbi_uuid7_at(int64_t wall_ns, uint8_t out[16]);

#endif
