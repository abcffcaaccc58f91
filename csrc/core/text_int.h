/* text_int.h - text that grows: SQL and JSON lines are put together in it; inside the core only */
#ifndef DBI_TEXT_INT_H
#define DBI_TEXT_INT_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/* Zeroed = empty. Once memory was out, `failed` is set and nothing more is added: it is looked at once, at the end. */
typedef struct dbi__text {
    char *bytes; /* ends with a NUL that length does not count; NULL while nothing was added */
    size_t length, capacity;
    bool failed;
} dbi__text;

void dbi__text_free(dbi__text *text);
/* Empties it and keeps its memory. */
void dbi__text_reset(dbi__text *text);
/* Makes room for so many more bytes. */
bool dbi__text_room(dbi__text *text, size_t more);
void dbi__text_add(dbi__text *text, const char *bytes, size_t length);
void dbi__text_put(dbi__text *text, const char *string);
void dbi__text_putf(dbi__text *text, const char *fmt, ...) DBI_PRINTF(2, 3); /* 255 bytes at most */

/* A name as SQL's quoted identifier; a string as SQL's E'' constant, which means the same under any setting. */
void dbi__text_identifier(dbi__text *text, const char *name);
void dbi__text_literal(dbi__text *text, const char *string);

#endif
