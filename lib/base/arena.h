/*
 * arena.h - memory with one end.
 *
 * Each request, job and batch has an arena; nobody frees inside; arena_reset gives all back at once. Every arena has a
 * hard limit: past it allocation returns NULL, which is an error like any other (ERR_NO_MEMORY, 503). Chunks are
 * recycled through a per-process cache, so that a request allocates nothing from the system in the steady state.
 */
#pragma once
#include "base/str.h"

typedef struct Arena Arena;

/** A new arena of at most limit_bytes. NULL: out of memory. Freed by arena_free. */
Arena *arena_new(size_t limit_bytes);
void arena_free(Arena *arena);
/** For CLEANUP. */
void arena_freep(Arena **arena);
/** Gives back everything allocated since arena_new; keeps the limit. Runs the reset callbacks, newest first. */
void arena_reset(Arena *arena);

/** Zeroed bytes aligned for any type, or NULL when the limit or the system refuses. size 0 gives a valid pointer. */
void *arena_alloc(Arena *arena, size_t size) __attribute__((malloc, alloc_size(2)));
/** As arena_alloc for n elements; NULL on overflow too. */
void *arena_alloc_array(Arena *arena, size_t n, size_t size);
/** Uninitialised variant for big buffers. */
void *arena_alloc_raw(Arena *arena, size_t size) __attribute__((malloc, alloc_size(2)));
/**
 * The allocation at p (or NULL) with room for new_size ≥ old_size bytes, the new ones uninitialised: in place where it
 * is the newest, else moved. NULL: refused, and p is still valid.
 */
void *arena_grow(Arena *arena, void *p, size_t old_size, size_t new_size);
#define ARENA_NEW(arena, T)      ((T *)arena_alloc((arena), sizeof(T)))
#define ARENA_ARRAY(arena, T, n) ((T *)arena_alloc_array((arena), (n), sizeof(T)))

/** A copy that lives as long as the arena, with a NUL behind it for C's sake. Absent on refusal. */
Str arena_str(Arena *arena, Str s);
/** printf into the arena. Absent on refusal. */
Str arena_printf(Arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/** Runs fn(data) when the arena is reset or freed. false: refused. */
MUST_USE bool arena_on_reset(Arena *arena, void (*fn)(void *data), void *data);

/** Bytes handed out since the last reset, and the limit. */
size_t arena_used(const Arena *arena);
size_t arena_limit(const Arena *arena);

/** How much all arenas of this process may hold together; 0, the default: any. Past it allocations are refused to those
 *  arenas that would hold more than ARENA_FAIR, so that a few large pieces of work cannot starve the many small. */
void arena_set_budget(size_t bytes);
#define ARENA_FAIR ((size_t)128 * 1024)
/** What all arenas hold now. */
size_t arena_total(void);

/** Test hook: the n-th allocation from now fails (1 = the next); 0 switches off. Process-wide, the heap's (heap.h)
 *  count too. */
void arena_fail_nth(uint64_t n);
