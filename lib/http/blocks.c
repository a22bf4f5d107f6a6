/*
 * blocks.c - two free lists of buffers.
 *
 * The lists are per server and bounded, so that a flood leaves no mountain of idle memory behind; what is over goes
 * back to the heap. Not arenas: a block outlives requests and moves between connections.
 */
#include "http/blocks.h"

#include "base/heap.h"

Block *block_take(BlockPool *pool, uint32_t capacity) {
    Block **list = capacity == BLOCK_SMALL ? &pool->free_small : &pool->free_big;
    int *pooled = capacity == BLOCK_SMALL ? &pool->pooled_small : &pool->pooled_big;
    Block *block = *list;
    if (block != NULL) {
        *list = block->next;
        (*pooled)--;
    } else {
        block = heap_alloc(sizeof(Block) + capacity);
        if (block == NULL)
            return NULL;
        block->capacity = capacity;
    }
    block->next = NULL;
    block->from = block->to = 0;
    head_reset(&block->parser);
    return block;
}

void block_give(BlockPool *pool, Block *block) {
    if (block == NULL)
        return;
    bool small = block->capacity == BLOCK_SMALL;
    Block **list = small ? &pool->free_small : &pool->free_big;
    int *pooled = small ? &pool->pooled_small : &pool->pooled_big;
    if (*pooled >= BLOCKS_POOLED_MAX) {
        heap_free(block);
        return;
    }
    block->next = *list;
    *list = block;
    (*pooled)++;
}

static void list_free(Block *list) {
    while (list != NULL) {
        Block *next = list->next;
        heap_free(list);
        list = next;
    }
}

void blocks_done(BlockPool *pool) {
    list_free(pool->free_small);
    list_free(pool->free_big);
    *pool = (BlockPool){0};
}

void block_compact(Block *block) {
    if (block->from == 0)
        return;
    memmove(block->data, block->data + block->from, block->to - block->from);
    block->to -= block->from;
    block->from = 0;
}

size_t block_append(Block *block, Str bytes) {
    if (bytes.n > block->capacity - block->to)
        block_compact(block);
    size_t n = MIN_OF(bytes.n, (size_t)(block->capacity - block->to));
    if (n > 0)
        memcpy(block->data + block->to, bytes.p, n);
    block->to += (uint32_t)n;
    return n;
}

Block *block_grow(BlockPool *pool, Block *block) {
    if (block->capacity == BLOCK_BIG)
        return block;
    Block *big = block_take(pool, BLOCK_BIG);
    if (big == NULL)
        return NULL;
    big->parser = block->parser;
    block_append(big, block_str(block));
    block_give(pool, block);
    return big;
}
