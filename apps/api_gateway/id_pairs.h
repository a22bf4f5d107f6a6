/*
 * id_pairs.h - which id of the old system is which of ours.
 *
 * Ids that each side makes for itself differ, and still are the same thing. A pair is learnt where two answers show one
 * at the same place; from then on each of the two may only stand for the other (a bijection per kind, "ticket" say),
 * and whatever contradicts that is a difference. What one comparison learns counts only when nothing in it
 * contradicted: see id_pairs_begin.
 */
#pragma once
#include "base/map.h"
#include "base/uuid.h"

typedef enum IdVerdict { ID_KNOWN, ID_LEARNT, ID_UNKNOWN, ID_CONTRADICTS, ID_NO_MEMORY } IdVerdict;

/** One pair on its way to be kept. */
typedef struct IdPair {
    Str kind;
    Id old_id, new_id;
    struct IdPair *next;
} IdPair;

typedef struct IdPairs IdPairs;

/** At most pairs_max of them; further ones are not learnt (ID_UNKNOWN). NULL: no memory. */
IdPairs *id_pairs_new(size_t pairs_max);
void id_pairs_free(IdPairs *pairs);
/** Takes over one that was kept. ERR_CONFLICT: it contradicts another; ERR_LIMIT; ERR_NO_MEMORY. */
MUST_USE Err id_pairs_put(IdPairs *pairs, Str kind, Id old_id, Id new_id);
size_t id_pairs_count(const IdPairs *pairs);

/** Starts a comparison: nothing pending. */
void id_pairs_begin(IdPairs *pairs);
/** Are these two the same thing? @learn  an unknown pair may become one. An id paired with itself is always learnt. */
IdVerdict id_pairs_judge(IdPairs *pairs, Str kind, Id old_id, Id new_id, bool learn);
/** Keeps (true) or forgets what the comparison learnt. Returns the pairs that are new, for storing, in arena; NULL:
 *  none. Pairs of an id with itself are not among them. */
IdPair *id_pairs_end(IdPairs *pairs, bool keep, Arena *arena);

/** The text with every known old id (in its 36-character form) replaced by ours: for sending what refers to one. */
MUST_USE Err id_pairs_translate(const IdPairs *pairs, Arena *arena, Str text, Str *ret);
