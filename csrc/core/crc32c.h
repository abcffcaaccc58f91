/* crc32c.h - CRC-32C (Castagnoli, polynomial 0x1EDC6F41): what every record of the journal carries.
 *
 * By the processor's instruction where it has one (SSE4.2, ARMv8 when compiled for it), by tables elsewhere.
 */
#ifndef DBI_CRC32C_H
#define DBI_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` is the CRC of, followed by these bytes; 0 is the CRC of nothing. @thread any @locks none */
uint32_t dbi_crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same by tables, on every machine: what the fast way is tested against. */
uint32_t dbi_crc32c_by_table(uint32_t crc, const void *bytes, size_t length);

#endif
