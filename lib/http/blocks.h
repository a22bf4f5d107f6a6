/*
 * blocks.h - pooled buffers for bytes in transit. Private to lib/http.
 *
 * A connection owns a block only while bytes wait in it: an idle one owns none. Two sizes: most partial heads and
 * answers fit a small one; a big one holds the largest head that the limits allow.
 */
#pragma once
#include "http/head.h"

typedef struct Block {
    struct Block *next;
    uint32_t from, to, capacity;
    HeadParser parser; /* of the head that begins at `from`, when this holds input */
    char data[];
} Block;

enum { BLOCK_SMALL = 4 * 1024, BLOCK_BIG = 64 * 1024, BLOCKS_POOLED_MAX = 64 };

typedef struct BlockPool {
    Block *free_small, *free_big;
    int pooled_small, pooled_big;
} BlockPool;

/** An empty block of BLOCK_SMALL or BLOCK_BIG bytes, or NULL. */
Block *block_take(BlockPool *pool, uint32_t capacity);
/** NULL is allowed. */
void block_give(BlockPool *pool, Block *block);
void blocks_done(BlockPool *pool);

static inline size_t block_length(const Block *block) {
    return block == NULL ? 0 : block->to - block->from;
}
static inline Str block_str(const Block *block) {
    return (Str){block->data + block->from, block->to - block->from};
}
/** Appends as much as fits; the bytes taken. Moves what is left to the front when that makes room. */
size_t block_append(Block *block, Str bytes);
/** A block with the same bytes and parser and at least `capacity`; the old one is given back. NULL: out of memory,
 *  block stays. */
Block *block_grow(BlockPool *pool, Block *block);
/** Moves the bytes to the front. */
void block_compact(Block *block);
