/* fuzz.h - what a fuzz target and its driver have in common
 *
 * A target is one file fuzz_<noun>.c with an LLVMFuzzerTestOneInput, so that libFuzzer can drive it, too. It ends the
 * process (FUZZ_CHECK, or a sanitizer does) when something is wrong with what the code made of the input.
 */
#ifndef DBI_FUZZ_H
#define DBI_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Handles one input; 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional, for driver.c: writes the nth example of an input, from 0 on; its length, 0 = there is no such example. The
 * driver's mutations start from these. */
size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity);

#define FUZZ_CHECK(cond)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            (void)fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* An input being read: what lies past its end is zero. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t left;
} fuzz_input;

static inline uint8_t fuzz_byte(fuzz_input *input) {
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}

static inline uint64_t fuzz_number(fuzz_input *input, unsigned bytes) {
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | fuzz_byte(input);
    return number;
}

/* Up to `wanted` bytes of the input; *length is how many there are. */
static inline const uint8_t *fuzz_bytes(fuzz_input *input, size_t wanted, size_t *length) {
    const uint8_t *bytes = input->data;

    *length = wanted < input->left ? wanted : input->left;
    input->data += *length;
    input->left -= *length;
    return bytes;
}

#endif
