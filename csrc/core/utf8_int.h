/* utf8_int.h - UTF-8 as PostgreSQL takes it: no overlong forms, no surrogates, nothing past U+10FFFF; and no NUL. */
#ifndef DBI_UTF8_INT_H
#define DBI_UTF8_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is it UTF-8? *characters (may be NULL) counts them. A NUL is valid here: look for it with memchr. */
bool dbi__utf8_read(const uint8_t *bytes, size_t length, size_t *characters);

static inline bool dbi__utf8_valid(const uint8_t *bytes, size_t length) {
    return dbi__utf8_read(bytes, length, NULL);
}

/* Units of 1 byte (Latin-1), 2 (UCS-2) or 4 (UCS-4), in the machine's order. */
uint32_t dbi__unit(const void *units, unsigned width, size_t at);

/* The bytes that the units take as UTF-8; SIZE_MAX with *bad set to the first that is a surrogate or past U+10FFFF. */
size_t dbi__utf8_size(const void *units, unsigned width, size_t count, size_t *bad);

/* Writes one character that dbi__utf8_size let pass; the end of what was written. */
uint8_t *dbi__utf8_put(uint8_t *at, uint32_t character);

#endif
