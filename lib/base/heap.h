/*
 * heap.h - memory with no arena: what lives as long as the process, or grows and shrinks on its own.
 *
 * Thin on purpose. It exists so that a refusal is always NULL (never an abort), memory is always zeroed, and the n-th
 * allocation can be made to fail in tests. banned.h refuses malloc and friends everywhere else.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

void heap_free(void *p);
/** Zeroed bytes aligned for any type, or NULL when the system refuses. size 0 gives a valid pointer. */
void *heap_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
/** As heap_alloc for n elements; NULL on overflow too. */
void *heap_alloc_array(size_t n, size_t size);
/** Moves p (may be NULL) to a block of new_size; bytes past old_size are zero. NULL: refused, and p is still valid. */
MUST_USE void *heap_realloc(void *p, size_t old_size, size_t new_size);
#define HEAP_NEW(T)      ((T *)heap_alloc(sizeof(T)))
#define HEAP_ARRAY(T, n) ((T *)heap_alloc_array((n), sizeof(T)))

/** Test hook, process-wide: the n-th allocation from now, on the heap or in any arena, fails (1 = the next); 0: off. */
void heap_fail_nth(uint64_t n);
/** For the allocators of this folder: true when this allocation is the one to fail. Counts it. */
bool heap_refuses(void);
/** Allocations asked for since heap_fail_nth was last called: a test that sweeps n ends when n passes this. */
uint64_t heap_allocations(void);
