/*
 * id_pairs.c - a bijection per kind, in two maps.
 *
 * Keys are the kind, a byte for the side, and the id. Nothing is ever forgotten, since that would let a contradiction
 * pass; hence the limit.
 */
#include "api_gateway/id_pairs.h"

#include "base/heap.h"

enum {
    KIND_MAX = 48,
    KEY_MAX = KIND_MAX + 17,
    BYTES_PER_PAIR = 640,
    PENDING_BYTES = 1 << 20,
    TRANSLATED_MAX = 1 << 20
};

struct IdPairs {
    Arena *arena, *pending_arena;
    Map *map;      /* kind + side + id → the Id on the other side */
    Map *any_kind; /* old id → new id where they differ: for translating */
    IdPair *pending;
    size_t n, max;
};

IdPairs *id_pairs_new(size_t pairs_max) {
    IdPairs *pairs = HEAP_NEW(IdPairs);
    if (pairs == NULL)
        return NULL;
    pairs->max = pairs_max;
    pairs->arena = arena_new(pairs_max * BYTES_PER_PAIR + (1 << 20));
    pairs->pending_arena = arena_new(PENDING_BYTES);
    pairs->map = pairs->arena == NULL ? NULL : map_new(pairs->arena, 64);
    pairs->any_kind = pairs->arena == NULL ? NULL : map_new(pairs->arena, 64);
    if (pairs->map != NULL && pairs->any_kind != NULL && pairs->pending_arena != NULL)
        return pairs;
    id_pairs_free(pairs);
    return NULL;
}

void id_pairs_free(IdPairs *pairs) {
    if (pairs == NULL)
        return;
    if (pairs->arena != NULL)
        arena_free(pairs->arena);
    if (pairs->pending_arena != NULL)
        arena_free(pairs->pending_arena);
    heap_free(pairs);
}

size_t id_pairs_count(const IdPairs *pairs) {
    return pairs->n;
}

static Str key_into(char out[KEY_MAX], Str kind, char side, Id id) {
    kind = str_slice(kind, 0, KIND_MAX);
    if (kind.n > 0)
        memcpy(out, kind.p, kind.n);
    out[kind.n] = side;
    memcpy(out + kind.n + 1, id.bytes, 16);
    return (Str){out, kind.n + 17};
}

static const Id *partner(const IdPairs *pairs, Str kind, char side, Id id) {
    char key[KEY_MAX];
    return map_get(pairs->map, key_into(key, kind, side, id));
}

static Err put_one(IdPairs *pairs, Map *map, Str key, Id value) {
    Str kept = arena_str(pairs->arena, key);
    Id *partner_id = ARENA_NEW(pairs->arena, Id);
    if (kept.p == NULL || partner_id == NULL)
        return ERR_NO_MEMORY;
    *partner_id = value;
    return map_put(map, kept, partner_id, NULL);
}

/** What the kept pairs say: KNOWN, CONTRADICTS or UNKNOWN. */
static IdVerdict look_up(const IdPairs *pairs, Str kind, Id old_id, Id new_id) {
    const Id *of_old = partner(pairs, kind, 'o', old_id), *of_new = partner(pairs, kind, 'n', new_id);
    if (of_old == NULL && of_new == NULL)
        return ID_UNKNOWN;
    bool fits = (of_old == NULL || id_eq(*of_old, new_id)) && (of_new == NULL || id_eq(*of_new, old_id));
    if (fits && (of_old == NULL || of_new == NULL))
        return ID_UNKNOWN; /* half of it was put when memory ran out */
    return fits ? ID_KNOWN : ID_CONTRADICTS;
}

Err id_pairs_put(IdPairs *pairs, Str kind, Id old_id, Id new_id) {
    char key[KEY_MAX];
    IdVerdict verdict = look_up(pairs, kind, old_id, new_id);
    if (verdict != ID_UNKNOWN)
        return verdict == ID_KNOWN ? ERR_OK : ERR_CONFLICT;
    if (pairs->n == pairs->max)
        return ERR_LIMIT;
    TRY(put_one(pairs, pairs->map, key_into(key, kind, 'o', old_id), new_id));
    TRY(put_one(pairs, pairs->map, key_into(key, kind, 'n', new_id), old_id));
    pairs->n++;
    return id_eq(old_id, new_id) ? ERR_OK
                                 : put_one(pairs, pairs->any_kind, (Str){(const char *)old_id.bytes, 16}, new_id);
}

void id_pairs_begin(IdPairs *pairs) {
    pairs->pending = NULL;
    arena_reset(pairs->pending_arena);
}

static IdVerdict look_at_pending(const IdPairs *pairs, Str kind, Id old_id, Id new_id) {
    for (const IdPair *pair = pairs->pending; pair != NULL; pair = pair->next) {
        if (!str_eq(pair->kind, kind) || (!id_eq(pair->old_id, old_id) && !id_eq(pair->new_id, new_id)))
            continue;
        return id_eq(pair->old_id, old_id) && id_eq(pair->new_id, new_id) ? ID_KNOWN : ID_CONTRADICTS;
    }
    return ID_UNKNOWN;
}

IdVerdict id_pairs_judge(IdPairs *pairs, Str kind, Id old_id, Id new_id, bool learn) {
    kind = str_slice(kind, 0, KIND_MAX);
    IdVerdict verdict = look_up(pairs, kind, old_id, new_id);
    if (verdict == ID_UNKNOWN)
        verdict = look_at_pending(pairs, kind, old_id, new_id);
    if (verdict != ID_UNKNOWN || !(learn || id_eq(old_id, new_id)) || pairs->n == pairs->max)
        return verdict;
    IdPair *pair = ARENA_NEW(pairs->pending_arena, IdPair);
    Str kept = arena_str(pairs->pending_arena, kind);
    if (pair == NULL || kept.p == NULL)
        return ID_NO_MEMORY;
    *pair = (IdPair){.kind = kept, .old_id = old_id, .new_id = new_id, .next = pairs->pending};
    pairs->pending = pair;
    return ID_LEARNT;
}

IdPair *id_pairs_end(IdPairs *pairs, bool keep, Arena *arena) {
    IdPair *new_ones = NULL;
    for (const IdPair *pair = keep ? pairs->pending : NULL; pair != NULL; pair = pair->next) {
        if (id_pairs_put(pairs, pair->kind, pair->old_id, pair->new_id) != ERR_OK)
            break; /* at the limit, or no memory: the rest stays unknown */
        if (id_eq(pair->old_id, pair->new_id))
            continue;
        IdPair *copy = ARENA_NEW(arena, IdPair);
        if (copy == NULL)
            break;
        *copy = *pair;
        copy->kind = arena_str(arena, pair->kind);
        copy->next = new_ones;
        new_ones = copy;
    }
    pairs->pending = NULL;
    return new_ones;
}

Err id_pairs_translate(const IdPairs *pairs, Arena *arena, Str text, Str *ret) {
    if (map_count(pairs->any_kind) == 0 || text.n < ID_TEXT_LEN) {
        *ret = text;
        return ERR_OK;
    }
    Buf out = buf_new(arena, MAX_OF((size_t)TRANSLATED_MAX, text.n));
    for (size_t at = 0; at < text.n;) {
        Id id;
        const Id *other = NULL;
        if (at + ID_TEXT_LEN <= text.n && text.p[at + 8] == '-' &&
            id_parse(str_slice(text, at, at + ID_TEXT_LEN), ID_FORM_D, &id) == ERR_OK)
            other = map_get(pairs->any_kind, (Str){(const char *)id.bytes, 16});
        if (other != NULL)
            buf_add_id(&out, *other);
        else
            buf_add_char(&out, text.p[at]);
        at += other != NULL ? ID_TEXT_LEN : 1;
    }
    return buf_finish(&out, ret);
}
