/*
 * map.h - a hash map from bytes to pointers, in an arena.
 *
 * Open addressing, keys hashed with the process's random key (str_hash), so that strangers cannot make it slow. Keys
 * are borrowed; copy them into the arena first where they may vanish.
 */
#pragma once
#include "base/arena.h"

typedef struct Map Map;

/** An empty map for about `expected` entries; grows in the arena. NULL: refused. */
Map *map_new(Arena *arena, size_t expected);
/** The value at key, or NULL. */
void *map_get(const Map *map, Str key);
/** Sets or replaces; *ret_old (may be NULL) receives what stood there. ERR_NO_MEMORY. */
MUST_USE Err map_put(Map *map, Str key, void *value, void **ret_old);
size_t map_count(const Map *map);
/** Walks in insertion order: start with *at = 0; false at the end. */
bool map_next(const Map *map, size_t *at, Str *ret_key, void **ret_value);

/** Test hook: how many places all maps of this process have looked at so far. Work is bounded when this is. */
uint64_t map_looks(void);
