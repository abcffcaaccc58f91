/* utf8.c - see utf8_int.h */
#include "utf8_int.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

static bool is_continuation(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/* The length of the character that begins with a byte above 127; 0 when it is not one. */
static size_t utf8_step(const uint8_t *at, size_t left) {
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t length;

    if (first >= 0xc2 && first <= 0xdf)
        length = 2;
    else if (first >= 0xe0 && first <= 0xef)
        length = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        length = 4;
    else
        return 0;
    if (first == 0xe0) /* overlong */
        low = 0xa0;
    else if (first == 0xed) /* surrogates */
        high = 0x9f;
    else if (first == 0xf0) /* overlong */
        low = 0x90;
    else if (first == 0xf4) /* past U+10FFFF */
        high = 0x8f;
    if (left < length || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (!is_continuation(at[i]))
            return 0;
    return length;
}

bool dbi__utf8_read(const uint8_t *bytes, size_t length, size_t *characters) {
    size_t at = 0, count = 0;

    while (at < length) {
        uint64_t eight;
        size_t step = 1;

        if (length - at >= sizeof eight) {
            memcpy(&eight, bytes + at, sizeof eight);
            if ((eight & HIGH_BITS) == 0) {
                at += sizeof eight;
                count += sizeof eight;
                continue;
            }
        }
        if (bytes[at] >= 0x80) {
            step = utf8_step(bytes + at, length - at);
            if (step == 0)
                return false;
        }
        at += step;
        count++;
    }
    if (characters != NULL)
        *characters = count;
    return true;
}

uint32_t dbi__unit(const void *units, unsigned width, size_t at) {
    if (width == 1)
        return ((const uint8_t *)units)[at];
    if (width == 2)
        return ((const uint16_t *)units)[at];
    return ((const uint32_t *)units)[at];
}

size_t dbi__utf8_size(const void *units, unsigned width, size_t count, size_t *bad) {
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t character = dbi__unit(units, width, i);

        if ((character >= 0xd800 && character <= 0xdfff) || character > 0x10ffff) {
            *bad = i;
            return SIZE_MAX;
        }
        size += character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    }
    return size;
}

uint8_t *dbi__utf8_put(uint8_t *at, uint32_t character) {
    if (character < 0x80) {
        *at++ = (uint8_t)character;
        return at;
    }
    if (character < 0x800) {
        *at++ = (uint8_t)(0xc0 | character >> 6);
    } else {
        if (character < 0x10000) {
            *at++ = (uint8_t)(0xe0 | character >> 12);
        } else {
            *at++ = (uint8_t)(0xf0 | character >> 18);
            *at++ = (uint8_t)(0x80 | (character >> 12 & 0x3f));
        }
        *at++ = (uint8_t)(0x80 | (character >> 6 & 0x3f));
    }
    *at++ = (uint8_t)(0x80 | (character & 0x3f));
    return at;
}
