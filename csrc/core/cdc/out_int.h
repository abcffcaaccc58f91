/* out_int.h - bytes that grow, up to a maximum: messages are written in it; inside the core only
 *
 * A failure stays: once memory was out or the maximum passed, `rc` says which and nothing more is added, so that it is
 * looked at once, at the end.
 */
#ifndef DBI_CDC_OUT_INT_H
#define DBI_CDC_OUT_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "err.h"

typedef struct dbi__out {
    uint8_t *bytes;
    size_t length, capacity;
    size_t max; /* of length */
    dbi_rc rc;
} dbi__out;

void dbi__out_free(dbi__out *out);

/* Makes room for `more` bytes; false when there is none. */
bool dbi__out_grow(dbi__out *out, size_t more);

static inline void dbi__out_reset(dbi__out *out) {
    out->length = 0;
    out->rc = DBI_OK;
}

/* Where the next `more` bytes go, whose end is then told to dbi__out_end; NULL when there is no room. */
static inline uint8_t *dbi__out_room(dbi__out *out, size_t more) {
    if (out->capacity - out->length < more && !dbi__out_grow(out, more))
        return NULL;
    return out->bytes + out->length;
}

static inline void dbi__out_end(dbi__out *out, const uint8_t *end) {
    out->length = (size_t)(end - out->bytes);
}

static inline void dbi__out_put(dbi__out *out, const void *bytes, size_t length) {
    uint8_t *at = dbi__out_room(out, length);

    if (at == NULL || length == 0)
        return;
    memcpy(at, bytes, length);
    out->length += length;
}

static inline void dbi__out_byte(dbi__out *out, char byte) {
    uint8_t *at = dbi__out_room(out, 1);

    if (at == NULL)
        return;
    *at = (uint8_t)byte;
    out->length++;
}

#define DBI__OUT_TEXT(out, text) dbi__out_put((out), (text), sizeof(text) - 1)

/* Decimal digits. */
void dbi__out_unsigned(dbi__out *out, uint64_t value);
void dbi__out_signed(dbi__out *out, int64_t value);

/* A JSON string with its quotes; false when the bytes are no UTF-8 (what was written is then to be thrown away). */
bool dbi__out_string(dbi__out *out, const uint8_t *bytes, size_t length);
/* The same without the quotes. */
bool dbi__out_string_part(dbi__out *out, const uint8_t *bytes, size_t length);

/* Base64 with padding, without quotes. */
void dbi__out_base64(dbi__out *out, const uint8_t *bytes, size_t length);

#endif
