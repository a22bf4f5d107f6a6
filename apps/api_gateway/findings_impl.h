/*
 * findings_impl.h - what findings.c gathers and findings_write.c writes. Private to the two.
 */
#pragma once
#include "api_gateway/findings.h"

typedef struct Sample {
    Str method, target, request_headers, request_body, old_headers, old_body, new_headers, new_body, differences,
        effects;
    int old_status, new_status;
} Sample;

typedef struct Cause {
    size_t route;
    Str pointer, old_value, new_value;
    DifferenceKind kind;
    FindingClass class;
    int64_t count, at_us;
    Sample *sample; /* NULL: none in this batch */
} Cause;

typedef struct Tally {
    int64_t outcomes[5], skipped;
} Tally;

typedef struct Batch {
    Arena *arena;
    Map *causes, *callers, *effects;
    IdPair *pairs;
    Tally tallies[BOARD_ROUTES_MAX];
    size_t samples;
    bool any;
} Batch;

typedef struct Caller {
    size_t route;
    Str caller;
    int64_t count;
} Caller;

/** What trials of a route would have done to a table, or published of a type. */
typedef struct Effect {
    size_t route;
    Str what; /* "users.users"; or the message's type */
    int64_t inserted, updated, deleted, published;
} Effect;

struct Findings {
    const Board *board;
    const char *source;
    int64_t samples_max;
    Batch batches[2];
    int gathering; /* the other one is empty, or has yet to be written */
    uint64_t skipped_before[BOARD_ROUTES_MAX];
    uint64_t lost;
};

/** Empties it, or makes it. False: no memory. */
bool batch_clear(Batch *batch);
