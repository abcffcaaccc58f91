/* bytes_int.h - numbers as bytes, in either order whatever the machine's is
 *
 * be: network order, as PostgreSQL speaks it; each call gives the end of what it wrote. le: as our own formats have it.
 */
#ifndef DBI_BYTES_INT_H
#define DBI_BYTES_INT_H

#include <stdint.h>
#include <string.h>

/* An instruction to turn a number round: not every compiler sees one in shifts byte by byte. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define DBI__BE(value, bits) __builtin_bswap##bits(value)
#define DBI__LE(value, bits) (value)
#else
#define DBI__BE(value, bits) (value)
#define DBI__LE(value, bits) __builtin_bswap##bits(value)
#endif

static inline uint8_t *dbi__put16be(uint8_t *at, uint16_t value) {
    value = DBI__BE(value, 16);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *dbi__put32be(uint8_t *at, uint32_t value) {
    value = DBI__BE(value, 32);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *dbi__put64be(uint8_t *at, uint64_t value) {
    value = DBI__BE(value, 64);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline void dbi__put16le(uint8_t *at, uint16_t value) {
    value = DBI__LE(value, 16);
    memcpy(at, &value, sizeof value);
}

static inline void dbi__put32le(uint8_t *at, uint32_t value) {
    value = DBI__LE(value, 32);
    memcpy(at, &value, sizeof value);
}

static inline void dbi__put64le(uint8_t *at, uint64_t value) {
    value = DBI__LE(value, 64);
    memcpy(at, &value, sizeof value);
}

static inline uint32_t dbi__get32le(const uint8_t *at) {
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return DBI__LE(value, 32);
}

static inline uint64_t dbi__get64le(const uint8_t *at) {
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return DBI__LE(value, 64);
}

#endif
