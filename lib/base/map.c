/*
 * map.c - entries in insertion order, found through a table of indexes.
 *
 * The entries stand in one dense array, so walking is a loop and needs no tombstones; the open-addressed table holds
 * only 32-bit indexes into it (0 is empty) and is at most half full. There is no removal: nothing that uses a Map wants
 * it.
 */
#include "base/map.h"

typedef struct Entry {
    Str key;
    uint64_t hash;
    void *value;
} Entry;

struct Map {
    Arena *arena;
    Entry *entries;
    uint32_t n, capacity;
    uint32_t *table; /* index of the entry + 1; twice the capacity, a power of two */
};

#define ENTRIES_MIN 8
#define ENTRIES_MAX (1U << 30)

static uint64_t looks;

static uint32_t table_size(const Map *map) {
    return map->capacity * 2;
}

/* The slot where key stands, or the empty one where it would. */
static uint32_t *slot_of(const Map *map, Str key, uint64_t hash) {
    uint32_t mask = table_size(map) - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &map->table[i];
        looks++;
        if (*slot == 0)
            return slot;
        const Entry *entry = &map->entries[*slot - 1];
        if (entry->hash == hash && str_eq(entry->key, key))
            return slot;
    }
}

static Err resize(Map *map, uint32_t capacity) {
    Entry *entries = arena_alloc_array(map->arena, capacity, sizeof *entries);
    uint32_t *table = arena_alloc_array(map->arena, (size_t)capacity * 2, sizeof *table);
    if (entries == NULL || table == NULL)
        return ERR_NO_MEMORY;
    if (map->n > 0)
        memcpy(entries, map->entries, map->n * sizeof *entries);
    map->entries = entries;
    map->table = table;
    map->capacity = capacity;
    for (uint32_t i = 0; i < map->n; i++)
        *slot_of(map, entries[i].key, entries[i].hash) = i + 1;
    return ERR_OK;
}

Map *map_new(Arena *arena, size_t expected) {
    uint32_t capacity = ENTRIES_MIN;
    while (capacity < expected && capacity < ENTRIES_MAX)
        capacity *= 2;
    Map *map = ARENA_NEW(arena, Map);
    if (map == NULL)
        return NULL;
    map->arena = arena;
    return resize(map, capacity) == ERR_OK ? map : NULL;
}

void *map_get(const Map *map, Str key) {
    uint32_t slot = *slot_of(map, key, str_hash(key));
    return slot == 0 ? NULL : map->entries[slot - 1].value;
}

Err map_put(Map *map, Str key, void *value, void **ret_old) {
    uint64_t hash = str_hash(key);
    uint32_t *slot = slot_of(map, key, hash);
    void *old = NULL;
    if (*slot != 0) {
        Entry *entry = &map->entries[*slot - 1];
        old = entry->value;
        entry->value = value;
    } else {
        if (map->n == map->capacity) {
            if (map->capacity >= ENTRIES_MAX)
                return ERR_NO_MEMORY;
            TRY(resize(map, map->capacity * 2));
            slot = slot_of(map, key, hash);
        }
        map->entries[map->n] = (Entry){key, hash, value};
        *slot = ++map->n;
    }
    if (ret_old != NULL)
        *ret_old = old;
    return ERR_OK;
}

size_t map_count(const Map *map) {
    return map->n;
}

bool map_next(const Map *map, size_t *at, Str *ret_key, void **ret_value) {
    if (*at >= map->n)
        return false;
    const Entry *entry = &map->entries[(*at)++];
    *ret_key = entry->key;
    *ret_value = entry->value;
    return true;
}

uint64_t map_looks(void) {
    return looks;
}
