/* crc32c.c - see crc32c.h */
#include "crc32c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "bytes_int.h"

#define CRC32C_POLYNOMIAL UINT32_C(0x82F63B78) /* 0x1EDC6F41, bits reversed */

/* -- by tables: 8 bytes a step, as in Intel's "slicing by 8" ------------------------------------------------------- */

static uint32_t crc_table[8][256];

static void crc_table_make(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;

        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
        crc_table[0][byte] = crc;
    }
    for (unsigned slice = 1; slice < 8; slice++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[slice - 1][byte];

            crc_table[slice][byte] = (before >> 8) ^ crc_table[0][before & 0xFF];
        }
}

uint32_t dbi_crc32c_by_table(uint32_t crc, const void *bytes, size_t length) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *at = bytes;

    (void)pthread_once(&once, crc_table_make);
    crc = ~crc;
    for (; length >= 8; length -= 8, at += 8) {
        uint32_t low = crc ^ dbi__get32le(at);

        crc = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^
              crc_table[0][at[7]];
    }
    for (; length > 0; length--, at++)
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

/* -- by instruction ------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)

#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    uint64_t state = (uint32_t)~crc;

    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    if (length >= 4) {
        uint32_t word;

        memcpy(&word, at, sizeof word);
        state = _mm_crc32_u32((uint32_t)state, word);
        length -= 4;
        at += 4;
    }
    for (; length > 0; length--, at++)
        state = _mm_crc32_u8((uint32_t)state, *at);
    return ~(uint32_t)state;
}

typedef uint32_t (*crc_fn)(uint32_t crc, const void *bytes, size_t length);

static uint32_t crc_choose(uint32_t crc, const void *bytes, size_t length);

static _Atomic(crc_fn) crc_chosen = crc_choose;

static uint32_t crc_choose(uint32_t crc, const void *bytes, size_t length) {
    crc_fn chosen = __builtin_cpu_supports("sse4.2") ? crc_by_instruction : dbi_crc32c_by_table;

    atomic_store_explicit(&crc_chosen, chosen, memory_order_relaxed);
    return chosen(crc, bytes, length);
}

uint32_t dbi_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return atomic_load_explicit(&crc_chosen, memory_order_relaxed)(crc, bytes, length);
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

uint32_t dbi_crc32c(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *at = bytes;

    crc = ~crc;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; length > 0; length--, at++)
        crc = __crc32cb(crc, *at);
    return ~crc;
}

#else

uint32_t dbi_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return dbi_crc32c_by_table(crc, bytes, length);
}

#endif
