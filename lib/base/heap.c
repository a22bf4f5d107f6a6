/*
 * heap.c - malloc, zeroed, countable and made to fail on demand.
 *
 * One counter serves heap and arenas: a test that fails the n-th allocation of a body must not care which kind it was.
 */
#include "base/heap.h"

#include <stdlib.h>
#include <string.h>

static struct {
    uint64_t asked; /* since heap_fail_nth */
    uint64_t fail;  /* which one fails; 0: none */
} heap;

void heap_fail_nth(uint64_t n) {
    heap.asked = 0;
    heap.fail = n;
}

uint64_t heap_allocations(void) {
    return heap.asked;
}

bool heap_refuses(void) {
    return ++heap.asked == heap.fail;
}

void *heap_alloc(size_t size) {
    if (heap_refuses())
        return NULL;
    return calloc(1, size == 0 ? 1 : size);
}

void *heap_alloc_array(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return heap_alloc(bytes);
}

void *heap_realloc(void *p, size_t old_size, size_t new_size) {
    if (heap_refuses())
        return NULL;
    char *moved = realloc(p, new_size == 0 ? 1 : new_size);
    if (moved != NULL && new_size > old_size)
        memset(moved + old_size, 0, new_size - old_size);
    return moved;
}

void heap_free(void *p) {
    free(p);
}
