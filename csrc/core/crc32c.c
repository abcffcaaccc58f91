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
#include <wmmintrin.h>

/* The instruction takes 3 cycles, and another can begin in each: three thirds are done side by side, and their states
 * joined. A state before n more bytes is, as a polynomial, multiplied by x^8n. The instruction itself multiplies the 64 bits
 * it is given by x^32, and a product without carries of two reflected numbers has one factor x too many: the other
 * factor is x^(8n - 33). (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", 2011) */

#define THIRD_MIN 3u  /* words of 8 bytes: below that, joining takes longer than it saves */
#define THIRD_MAX 64u /* at once */

static uint64_t crc_shifts[2 * THIRD_MAX + 1]; /* [n]: for n words */

static void crc_shifts_make(void) {
    uint32_t power = UINT32_C(1) << 31; /* x^0, reflected */

    for (unsigned exponent = 0; exponent < 64 * 2 * THIRD_MAX - 33; exponent++) {
        if ((exponent + 33) % 64 == 0)
            crc_shifts[(exponent + 33) / 64] = power;
        power = (power >> 1) ^ ((power & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
    }
    crc_shifts[2 * THIRD_MAX] = power;
}

#define CRC_TARGET __attribute__((target("sse4.2,pclmul")))

/* The state as if `words` words of 0 had followed. */
CRC_TARGET static inline uint64_t crc_shift(uint64_t state, size_t words) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)state),
                                           _mm_cvtsi64_si128((long long)crc_shifts[words]), 0);

    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

CRC_TARGET static uint32_t crc_by_instruction(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    uint64_t state = (uint32_t)~crc;

    while (length >= 3 * 8 * THIRD_MIN) {
        size_t words = length / (3 * 8) < THIRD_MAX ? length / (3 * 8) : THIRD_MAX;
        const uint8_t *second = at + 8 * words, *third = second + 8 * words, *end = second;
        uint64_t state2 = 0, state3 = 0;

        for (; at < end; at += 8, second += 8, third += 8) {
            state = _mm_crc32_u64(state, dbi__get64le(at));
            state2 = _mm_crc32_u64(state2, dbi__get64le(second));
            state3 = _mm_crc32_u64(state3, dbi__get64le(third));
        }
        state = crc_shift(state, 2 * words) ^ crc_shift(state2, words) ^ state3;
        at = third;
        length -= 3 * 8 * words;
    }
    for (; length >= 8; length -= 8, at += 8)
        state = _mm_crc32_u64(state, dbi__get64le(at));
    if (length >= 4) {
        state = _mm_crc32_u32((uint32_t)state, dbi__get32le(at));
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
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    crc_fn chosen = dbi_crc32c_by_table;

    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        (void)pthread_once(&once, crc_shifts_make);
        chosen = crc_by_instruction;
    }
    atomic_store_explicit(&crc_chosen, chosen, memory_order_release);
    return chosen(crc, bytes, length);
}

uint32_t dbi_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return atomic_load_explicit(&crc_chosen, memory_order_acquire)(crc, bytes, length);
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
