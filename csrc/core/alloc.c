/* alloc.c - see alloc.h */
#include "alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t alloc_count;
static atomic_uint_fast64_t alloc_fail_at; /* the count at which to fail; 0 = never */
static atomic_int_fast64_t alloc_live;

static bool alloc_denied(void) {
    uint64_t nth = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed) + 1;
    return nth == atomic_load_explicit(&alloc_fail_at, memory_order_relaxed);
}

static void *alloc_counted(void *ptr) {
    if (ptr != NULL)
        atomic_fetch_add_explicit(&alloc_live, 1, memory_order_relaxed);
    return ptr;
}

void *dbi_malloc(size_t size) {
    return alloc_denied() ? NULL : alloc_counted(malloc(size != 0 ? size : 1));
}

void *dbi_calloc(size_t count, size_t size) {
    return alloc_denied() ? NULL : alloc_counted(calloc(count != 0 ? count : 1, size != 0 ? size : 1));
}

void *dbi_realloc(void *ptr, size_t size) {
    void *moved = alloc_denied() ? NULL : realloc(ptr, size != 0 ? size : 1);
    return ptr == NULL ? alloc_counted(moved) : moved;
}

void dbi_free(void *ptr) {
    if (ptr == NULL)
        return;
    atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed);
    free(ptr);
}

char *dbi_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = dbi_malloc(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

void dbi_alloc_fail_nth(uint64_t nth) {
    atomic_store_explicit(&alloc_fail_at, 0, memory_order_relaxed);
    atomic_store_explicit(&alloc_count, 0, memory_order_relaxed);
    atomic_store_explicit(&alloc_fail_at, nth, memory_order_relaxed);
}

uint64_t dbi_alloc_count(void) {
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

int64_t dbi_alloc_live(void) {
    return atomic_load_explicit(&alloc_live, memory_order_relaxed);
}
