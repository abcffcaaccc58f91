/* bytes_int.h - numbers in network order; each call gives the end of what it wrote */
#ifndef DBI_BYTES_INT_H
#define DBI_BYTES_INT_H

#include <stdint.h>

static inline uint8_t *dbi__put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static inline uint8_t *dbi__put32(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
    return at + 4;
}

static inline uint8_t *dbi__put64(uint8_t *at, uint64_t value) {
    return dbi__put32(dbi__put32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

#endif
