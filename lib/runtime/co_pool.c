/*
 * co_pool.c - coroutines that have ended, kept for the next ones.
 *
 * The last to end is the first to be used again: its stack is in the cache. Past CO_WARM_MAX idle ones, a stack gives
 * its memory back but keeps its addresses (cold); past CO_COLD_MAX cold ones it is unmapped. So a burst of many
 * thousand costs memory while it lasts and not afterwards, and a steady load makes no system call at all.
 */
#include <malloc.h>

#include "base/heap.h"
#include "runtime/loop_impl.h"

#define CO_WARM_MAX 512
#define CO_COLD_MAX 4096
#define TRIM_EVERY  4096

#ifdef USHER_ASAN
#define STACK_BYTES (4 * CO_STACK_BYTES) /* red zones widen every frame */
#else
#define STACK_BYTES CO_STACK_BYTES
#endif

static Co *pop(Co **list, size_t *n) {
    Co *co = *list;
    if (co == NULL)
        return NULL;
    *list = co->next;
    (*n)--;
    return co;
}

static void push(Co **list, size_t *n, Co *co) {
    co->next = *list;
    *list = co;
    (*n)++;
}

/* The C library keeps what is freed below its newest block; after a burst that is most of it, 4 KiB of arena for
 * each. */
static void trim_sometimes(Loop *loop) {
    if (++loop->n_given_back < TRIM_EVERY)
        return;
    loop->n_given_back = 0;
    malloc_trim(0);
}

static void destroy(Co *co) {
    arena_free(co->arena);
    stack_free(&co->stack);
    heap_free(co);
}

static Co *make(Loop *loop) {
    Co *co = HEAP_NEW(Co);
    if (co == NULL)
        return NULL;
    if (stack_new(STACK_BYTES, &co->stack) != ERR_OK) {
        heap_free(co);
        return NULL;
    }
    if (loop->watermark)
        stack_paint(&co->stack);
    return co;
}

Co *co_pool_take(Loop *loop, size_t arena_limit_bytes) {
    Co *co = pop(&loop->warm, &loop->n_warm);
    if (co == NULL)
        co = pop(&loop->cold, &loop->n_cold);
    if (co == NULL)
        co = make(loop);
    if (co == NULL)
        return NULL;
    if (co->arena != NULL && arena_limit(co->arena) != arena_limit_bytes) {
        arena_free(co->arena);
        co->arena = NULL;
    }
    if (co->arena == NULL)
        co->arena = arena_new(arena_limit_bytes);
    if (co->arena == NULL) {
        co_pool_give(loop, co);
        return NULL;
    }
    return co;
}

void co_pool_give(Loop *loop, Co *co) {
    if (loop->watermark) {
        loop->watermark_bytes = MAX_OF(loop->watermark_bytes, stack_depth(&co->stack));
        push(&loop->warm, &loop->n_warm, co);
        return;
    }
    if (loop->n_warm < CO_WARM_MAX) {
        stack_forget(&co->stack);
        push(&loop->warm, &loop->n_warm, co);
        return;
    }
    if (loop->n_cold == CO_COLD_MAX) {
        destroy(co);
        trim_sometimes(loop);
        return;
    }
    stack_cool(&co->stack);
    arena_free(co->arena);
    co->arena = NULL;
    push(&loop->cold, &loop->n_cold, co);
    trim_sometimes(loop);
}

void co_pool_free(Loop *loop) {
    Co *co;
    while ((co = pop(&loop->warm, &loop->n_warm)) != NULL)
        destroy(co);
    while ((co = pop(&loop->cold, &loop->n_cold)) != NULL)
        destroy(co);
}
