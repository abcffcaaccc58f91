/* dead_int.h - the lines of dead letters, apart from their file */
#ifndef DBI_DEAD_INT_H
#define DBI_DEAD_INT_H

#include <stdbool.h>

#include "dead.h"
#include "text_int.h"

/* The line of a letter or, without one, of a withdrawal, with its newline. at_us is wall time. */
void dbi__dead_line(dbi__text *text, const char *chain, uint64_t sequence, const dbi_dead_letter *letter,
                    int64_t at_us);

/* What a writer needs of a line, without its newline: false for one that is not whole. */
bool dbi__dead_read(const char *line, size_t length, const char *chain, uint64_t *sequence, bool *withdrawn);

#endif
