/* md5_int.h - MD5 (RFC 1321), for fingerprints that SQL computes too by md5(); no protection against anybody. */
#ifndef DBI_MD5_INT_H
#define DBI_MD5_INT_H

#include <stddef.h>
#include <stdint.h>

typedef struct dbi__md5 {
    uint32_t state[4];
    uint64_t length; /* in bytes, of all that was added */
    uint8_t block[64];
} dbi__md5;

void dbi__md5_init(dbi__md5 *md5);
void dbi__md5_add(dbi__md5 *md5, const void *bytes, size_t length);
void dbi__md5_end(dbi__md5 *md5, uint8_t out[16]);

#endif
