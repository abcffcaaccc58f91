/* bytes_int.h - numbers as bytes, in either order whatever the machine's is
 *
 * be: network order, as PostgreSQL speaks it; each call gives the end of what it wrote. le: as our own formats have it.
 */
#ifndef DBI_BYTES_INT_H
#define DBI_BYTES_INT_H

#include <stdint.h>

static inline uint8_t *dbi__put16be(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static inline uint8_t *dbi__put32be(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
    return at + 4;
}

static inline uint8_t *dbi__put64be(uint8_t *at, uint64_t value) {
    return dbi__put32be(dbi__put32be(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static inline void dbi__put16le(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void dbi__put32le(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
}

static inline void dbi__put64le(uint8_t *at, uint64_t value) {
    dbi__put32le(at, (uint32_t)value);
    dbi__put32le(at + 4, (uint32_t)(value >> 32));
}

static inline uint32_t dbi__get32le(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t dbi__get64le(const uint8_t *at) {
    return dbi__get32le(at) | (uint64_t)dbi__get32le(at + 4) << 32;
}

#endif
