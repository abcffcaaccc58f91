/* out.c - see out_int.h */
#include "out_int.h"

#include "alloc.h"
#include "utf8_int.h"

#define CAPACITY_MIN 1024u

void dbi__out_free(dbi__out *out) {
    dbi_free(out->bytes);
    *out = (dbi__out){.max = out->max};
}

bool dbi__out_grow(dbi__out *out, size_t more) {
    size_t needed, capacity = out->capacity;
    uint8_t *bytes;

    if (out->rc != DBI_OK)
        return false;
    if (more > out->max || out->length > out->max - more) {
        out->rc = DBI_ETOOBIG;
        return false;
    }
    needed = out->length + more;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    while (capacity < needed)
        capacity = capacity > out->max / 2 ? out->max : capacity * 2;
    if (capacity < needed)
        capacity = needed;
    bytes = dbi_realloc(out->bytes, capacity);
    if (bytes == NULL) {
        out->rc = DBI_ENOMEM;
        return false;
    }
    out->bytes = bytes;
    out->capacity = capacity;
    return true;
}

void dbi__out_unsigned(dbi__out *out, uint64_t value) {
    char text[20];
    size_t at = sizeof text;

    do
        text[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    dbi__out_put(out, text + at, sizeof text - at);
}

void dbi__out_signed(dbi__out *out, int64_t value) {
    if (value < 0)
        dbi__out_byte(out, '-');
    dbi__out_unsigned(out, value < 0 ? UINT64_C(0) - (uint64_t)value : (uint64_t)value);
}

/* --- strings --- */

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* The high bit of each byte that cannot be copied as it is (control, quote, backslash, above 127); bytes after the
 * first such one may be marked without being one. */
static inline uint64_t special_bytes(uint64_t eight) {
    uint64_t control = eight - ONES * 0x20;
    uint64_t quote = (eight ^ ONES * '"') - ONES;
    uint64_t backslash = (eight ^ ONES * '\\') - ONES;

    return (((control & ~eight) | (quote & ~(eight ^ ONES * '"')) | (backslash & ~(eight ^ ONES * '\\'))) | eight) &
           HIGHS;
}

static inline bool is_special(uint8_t byte) {
    return byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
}

/* How many bytes from `at` on go into a JSON string as they are. */
static size_t plain_length(const uint8_t *at, size_t length) {
    size_t plain = 0;

    for (; length - plain >= 8; plain += 8) {
        uint64_t eight;

        memcpy(&eight, at + plain, sizeof eight);
        if (special_bytes(eight) != 0)
            break;
    }
    while (plain < length && !is_special(at[plain]))
        plain++;
    return plain;
}

static uint8_t *put_escape(uint8_t *at, uint8_t byte) {
    static const char hex[] = "0123456789abcdef";

    *at++ = '\\';
    switch (byte) {
    case '"':
    case '\\':
        *at++ = byte;
        return at;
    case '\b':
        *at++ = 'b';
        return at;
    case '\f':
        *at++ = 'f';
        return at;
    case '\n':
        *at++ = 'n';
        return at;
    case '\r':
        *at++ = 'r';
        return at;
    case '\t':
        *at++ = 't';
        return at;
    default:
        *at++ = 'u';
        *at++ = '0';
        *at++ = '0';
        *at++ = (uint8_t)hex[byte >> 4];
        *at++ = (uint8_t)hex[byte & 15];
        return at;
    }
}

/* The end of the run of bytes above 127 that begins at `from`. */
static size_t wide_end(const uint8_t *bytes, size_t from, size_t length) {
    while (from < length && bytes[from] >= 0x80)
        from++;
    return from;
}

bool dbi__out_string_part(dbi__out *out, const uint8_t *bytes, size_t length) {
    size_t at = 0;

    while (at < length) {
        size_t plain = plain_length(bytes + at, length - at);
        uint8_t *to;

        dbi__out_put(out, bytes + at, plain);
        at += plain;
        if (at == length)
            break;
        if (bytes[at] >= 0x80) {
            size_t end = wide_end(bytes, at, length);

            if (!dbi__utf8_valid(bytes + at, end - at))
                return false;
            dbi__out_put(out, bytes + at, end - at);
            at = end;
            continue;
        }
        to = dbi__out_room(out, 6);
        if (to == NULL)
            return true;
        dbi__out_end(out, put_escape(to, bytes[at++]));
    }
    return true;
}

bool dbi__out_string(dbi__out *out, const uint8_t *bytes, size_t length) {
    bool valid;

    dbi__out_byte(out, '"');
    valid = dbi__out_string_part(out, bytes, length);
    dbi__out_byte(out, '"');
    return valid;
}

void dbi__out_base64(dbi__out *out, const uint8_t *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    uint8_t *to;

    if (length > SIZE_MAX / 2 || (to = dbi__out_room(out, (length + 2) / 3 * 4)) == NULL)
        return;
    for (; length - at >= 3; at += 3) {
        uint32_t three = (uint32_t)bytes[at] << 16 | (uint32_t)bytes[at + 1] << 8 | bytes[at + 2];

        *to++ = (uint8_t)digits[three >> 18];
        *to++ = (uint8_t)digits[three >> 12 & 63];
        *to++ = (uint8_t)digits[three >> 6 & 63];
        *to++ = (uint8_t)digits[three & 63];
    }
    if (at < length) {
        uint32_t rest = (uint32_t)bytes[at] << 16 | (length - at == 2 ? (uint32_t)bytes[at + 1] << 8 : 0);

        *to++ = (uint8_t)digits[rest >> 18];
        *to++ = (uint8_t)digits[rest >> 12 & 63];
        *to++ = length - at == 2 ? (uint8_t)digits[rest >> 6 & 63] : '=';
        *to++ = '=';
    }
    dbi__out_end(out, to);
}
