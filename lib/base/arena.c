/*
 * arena.c - bump allocation in chunks that are recycled.
 *
 * An arena starts as one small chunk that also holds the Arena itself, so an idle connection costs 4 KiB; it grows by
 * large chunks. Both sizes come from a per-process cache of bounded length. What is bigger than a quarter of a large
 * chunk gets a block of its own (so at most a quarter of a chunk is ever wasted), which can be moved by realloc while
 * it grows.
 *
 * Released bytes are poisoned under ASan and made inaccessible under valgrind, with a gap between allocations, so that
 * both see overruns and late uses inside a chunk as they would with malloc.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heap.h"

#if defined(USHER_ASAN)
#include <sanitizer/asan_interface.h>
/* A function, because gcc takes a pointer to const for a promise to read, and warns. */
static __attribute__((noinline)) void hide(void *p, size_t n) {
    __asan_poison_memory_region(p, n);
}
#define HIDE(p, n)   hide((p), (n))
#define REVEAL(p, n) __asan_unpoison_memory_region((p), (n))
#define GAP          16
#elif defined(USHER_VALGRIND)
#include <valgrind/memcheck.h>
#define HIDE(p, n)   ((void)VALGRIND_MAKE_MEM_NOACCESS((p), (n)))
#define REVEAL(p, n) ((void)VALGRIND_MAKE_MEM_UNDEFINED((p), (n)))
#define GAP          16
#else
#define HIDE(p, n)   ((void)0)
#define REVEAL(p, n) ((void)0)
#define GAP          0
#endif

#define ALIGN       16
#define SMALL_SIZE  ((size_t)4096 - 32) /* with malloc's header a chunk stays within its pages */
#define LARGE_SIZE  ((size_t)32768 - 32)
#define BIG_MIN     (LARGE_SIZE / 4)
#define CACHED_MAX  256 /* of each size: 1 MiB and 8 MiB */
#define HEADER_SIZE ((sizeof(Chunk) + ALIGN - 1) / ALIGN * ALIGN)

typedef struct Chunk {
    struct Chunk *next;
    size_t size; /* of the whole block, header included */
} Chunk;

typedef struct Callback {
    struct Callback *next;
    void (*fn)(void *data);
    void *data;
} Callback;

struct Arena {
    char *at, *end; /* free room in the newest chunk */
    char *last;     /* the newest allocation in a chunk: the one that can grow in place */
    size_t used, limit;
    Chunk *first;  /* small, holds this struct */
    Chunk *chunks; /* large, newest first */
    Chunk *bigs;   /* one allocation each, newest first */
    Callback *callbacks;
};

/* One cache per size. No locks: a worker is one thread. */
typedef struct Cache {
    Chunk *free;
    unsigned n;
} Cache;
static Cache cache_small, cache_large;

/* What all arenas have handed out, and how much that may be (0: any). */
static size_t total, budget;

static size_t round_up(size_t size) {
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

static char *chunk_data(Chunk *chunk) {
    return (char *)chunk + HEADER_SIZE;
}

static Chunk *chunk_take(Cache *cache, size_t size) {
    Chunk *chunk = cache->free;
    if (chunk != NULL) {
        cache->free = chunk->next;
        cache->n--;
        return chunk;
    }
    chunk = malloc(size);
    if (chunk == NULL)
        return NULL;
    *chunk = (Chunk){.size = size};
    HIDE(chunk_data(chunk), size - HEADER_SIZE);
    return chunk;
}

static void chunk_free(Chunk *chunk) {
    REVEAL(chunk_data(chunk), chunk->size - HEADER_SIZE);
    free(chunk);
}

static void chunk_give(Cache *cache, Chunk *chunk) {
    if (cache->n >= CACHED_MAX) {
        chunk_free(chunk);
        return;
    }
    HIDE(chunk_data(chunk), chunk->size - HEADER_SIZE);
    chunk->next = cache->free;
    cache->free = chunk;
    cache->n++;
}

/* Puts the arena back to its first chunk, everything behind the struct free. */
static void arena_rewind(Arena *arena) {
    char *data = chunk_data(arena->first);
    arena->at = data + round_up(sizeof *arena);
    arena->end = (char *)arena->first + arena->first->size;
    arena->last = NULL;
    arena->used = 0;
    HIDE(arena->at, (size_t)(arena->end - arena->at));
}

Arena *arena_new(size_t limit_bytes) {
    Chunk *chunk = heap_refuses() ? NULL : chunk_take(&cache_small, SMALL_SIZE);
    if (chunk == NULL)
        return NULL;
    REVEAL(chunk_data(chunk), sizeof(Arena));
    Arena *arena = (Arena *)(void *)chunk_data(chunk);
    *arena = (Arena){.limit = limit_bytes, .first = chunk};
    arena_rewind(arena);
    return arena;
}

void arena_reset(Arena *arena) {
    while (arena->callbacks != NULL) { /* a callback may still use the arena, even add another */
        Callback *callback = arena->callbacks;
        arena->callbacks = callback->next;
        callback->fn(callback->data);
    }
    for (Chunk *next, *chunk = arena->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        chunk_give(&cache_large, chunk);
    }
    for (Chunk *next, *big = arena->bigs; big != NULL; big = next) {
        next = big->next;
        chunk_free(big);
    }
    arena->chunks = NULL;
    arena->bigs = NULL;
    total -= arena->used;
    arena_rewind(arena);
}

void arena_free(Arena *arena) {
    if (arena == NULL)
        return;
    arena_reset(arena);
    chunk_give(&cache_small, arena->first);
}

void arena_freep(Arena **arena) {
    arena_free(*arena);
    *arena = NULL;
}

/* May the arena hand out that much more? When memory is short the large go first: who holds little is never refused. */
static bool may_take(const Arena *arena, size_t more) {
    if (heap_refuses() || more > arena->limit - arena->used)
        return false;
    return budget == 0 || arena->used + more <= ARENA_FAIR || total + more <= budget;
}

static void take(Arena *arena, size_t more) {
    arena->used += more;
    total += more;
}

static void *big_alloc(Arena *arena, size_t size) {
    Chunk *big = malloc(HEADER_SIZE + size);
    if (big == NULL)
        return NULL;
    *big = (Chunk){.next = arena->bigs, .size = HEADER_SIZE + size};
    arena->bigs = big;
    return chunk_data(big);
}

/* size is rounded and within the limit. */
static void *chunk_alloc(Arena *arena, size_t size) {
    if ((size_t)(arena->end - arena->at) < size + GAP) {
        if (size > BIG_MIN)
            return big_alloc(arena, size);
        Chunk *chunk = chunk_take(&cache_large, LARGE_SIZE);
        if (chunk == NULL)
            return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->at = chunk_data(chunk);
        arena->end = (char *)chunk + chunk->size;
    }
    char *p = arena->at;
    arena->at += size + GAP;
    arena->last = p;
    return p;
}

void *arena_alloc_raw(Arena *arena, size_t size) {
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t rounded = round_up(size == 0 ? 1 : size);
    if (!may_take(arena, rounded))
        return NULL;
    char *p = chunk_alloc(arena, rounded);
    if (p == NULL)
        return NULL;
    REVEAL(p, size);
    take(arena, rounded);
    return p;
}

void *arena_alloc(Arena *arena, size_t size) {
    void *p = arena_alloc_raw(arena, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

void *arena_alloc_array(Arena *arena, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

/* The newest big block, grown by realloc. */
static void *big_grow(Arena *arena, size_t size) {
    Chunk *big = realloc(arena->bigs, HEADER_SIZE + size);
    if (big == NULL)
        return NULL;
    big->size = HEADER_SIZE + size;
    arena->bigs = big;
    return chunk_data(big);
}

void *arena_grow(Arena *arena, void *p, size_t old_size, size_t new_size) {
    ASSERT(new_size >= old_size);
    if (p == NULL || new_size > SIZE_MAX / 2)
        return new_size > SIZE_MAX / 2 ? NULL : arena_alloc_raw(arena, new_size);
    size_t was = round_up(old_size == 0 ? 1 : old_size), is = round_up(new_size == 0 ? 1 : new_size);
    bool newest = p == arena->last && is - was <= (size_t)(arena->end - arena->at);
    bool big = arena->bigs != NULL && p == chunk_data(arena->bigs);
    if (!newest && !big) {
        void *copy = arena_alloc_raw(arena, new_size);
        if (copy != NULL && old_size > 0)
            memcpy(copy, p, old_size);
        return copy;
    }
    if (!may_take(arena, is - was))
        return NULL;
    if (big) {
        p = big_grow(arena, is);
        if (p == NULL)
            return NULL;
    } else {
        arena->at += is - was;
    }
    REVEAL((char *)p + old_size, new_size - old_size);
    take(arena, is - was);
    return p;
}

Str arena_str(Arena *arena, Str s) {
    if (s.p == NULL)
        return s;
    char *p = arena_alloc_raw(arena, s.n + 1);
    if (p == NULL)
        return (Str){NULL, 0};
    memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (Str){p, s.n};
}

Str arena_printf(Arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *p = n < 0 ? NULL : arena_alloc_raw(arena, (size_t)n + 1);
    if (p == NULL)
        return (Str){NULL, 0};
    va_start(arguments, format);
    (void)vsnprintf(p, (size_t)n + 1, format, arguments);
    va_end(arguments);
    return (Str){p, (size_t)n};
}

bool arena_on_reset(Arena *arena, void (*fn)(void *data), void *data) {
    Callback *callback = ARENA_NEW(arena, Callback);
    if (callback == NULL)
        return false;
    *callback = (Callback){arena->callbacks, fn, data};
    arena->callbacks = callback;
    return true;
}

size_t arena_used(const Arena *arena) {
    return arena->used;
}

size_t arena_limit(const Arena *arena) {
    return arena->limit;
}

void arena_fail_nth(uint64_t n) {
    heap_fail_nth(n);
}

void arena_set_budget(size_t bytes) {
    budget = bytes;
}

size_t arena_total(void) {
    return total;
}
