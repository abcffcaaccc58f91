/* alloc.h - every allocation of the core goes through here, so that a test can make the Nth one fail.
 *
 * The injection is compiled in always (one relaxed load and a predictable branch; no hot path of the core allocates),
 * so that what is tested is what ships.
 */
#ifndef DBI_ALLOC_H
#define DBI_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Like malloc, calloc, realloc and free; NULL when memory is out. dbi_calloc checks count * size for overflow.
 * @thread any */
void *dbi_malloc(size_t size);
void *dbi_calloc(size_t count, size_t size);
void *dbi_realloc(void *ptr, size_t size);
void dbi_free(void *ptr);
char *dbi_strdup(const char *text);

/* Lets the nth allocation from now on fail (1 = the next), once; 0 switches injection off. Tests only. @thread any */
void dbi_alloc_fail_nth(uint64_t nth);

/* Allocations asked for since the last dbi_alloc_fail_nth: how a sweep over N knows when it has seen them all. */
uint64_t dbi_alloc_count(void);

/* Blocks handed out and not yet given back, process-wide: 0 at the end of a test that leaks nothing. */
int64_t dbi_alloc_live(void);

#endif
