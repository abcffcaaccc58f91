/* text.c - see text_int.h */
#include "text_int.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"

void dbi__text_free(dbi__text *text) {
    dbi_free(text->bytes);
    *text = (dbi__text){0};
}

void dbi__text_reset(dbi__text *text) {
    text->length = 0;
    text->failed = false;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

bool dbi__text_room(dbi__text *text, size_t more) {
    size_t capacity = text->capacity;
    char *bytes;

    if (text->failed)
        return false;
    if (text->bytes != NULL && more < capacity - text->length)
        return true;
    while (capacity - text->length <= more) {
        if (capacity > SIZE_MAX / 2) {
            text->failed = true;
            return false;
        }
        capacity = capacity == 0 ? 1024 : capacity * 2;
    }
    bytes = dbi_realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void dbi__text_add(dbi__text *text, const char *bytes, size_t length) {
    if (!dbi__text_room(text, length))
        return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void dbi__text_put(dbi__text *text, const char *string) {
    dbi__text_add(text, string, strlen(string));
}

void dbi__text_putf(dbi__text *text, const char *fmt, ...) {
    char small[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    dbi__text_put(text, small);
}

/* The string, each of the characters in `doubled` twice. */
static void text_doubling(dbi__text *text, const char *string, const char *doubled) {
    while (*string != '\0') {
        size_t plain = strcspn(string, doubled);

        dbi__text_add(text, string, plain);
        string += plain;
        if (*string != '\0') {
            dbi__text_add(text, string, 1);
            dbi__text_add(text, string, 1);
            string++;
        }
    }
}

void dbi__text_identifier(dbi__text *text, const char *name) {
    dbi__text_put(text, "\"");
    text_doubling(text, name, "\"");
    dbi__text_put(text, "\"");
}

void dbi__text_literal(dbi__text *text, const char *string) {
    dbi__text_put(text, "E'");
    text_doubling(text, string, "'\\");
    dbi__text_put(text, "'");
}
