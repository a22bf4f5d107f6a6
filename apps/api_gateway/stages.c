/*
 * stages.c - names of stages, and which row decides.
 */
#include "api_gateway/stages.h"

static const char *const NAMES[] = {
#define STAGE_NAME(code, name) name,
    STAGE_LIST(STAGE_NAME)
#undef STAGE_NAME
};

const char *stage_name(StageKind kind) {
    return NAMES[kind];
}

Err stage_parse(Str name, StageKind *ret) {
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++)
        if (str_eq_c(name, NAMES[i])) {
            *ret = (StageKind)i;
            return ERR_OK;
        }
    return ERR_SYNTAX;
}

const char *stage_part_name(StagePart part) {
    return part == PART_READS ? "reads" : "writes";
}

const Stage *stage_of(const StageTable *table, Str context, StagePart part, Str route) {
    const Stage *found = NULL;
    for (size_t i = 0; i < table->n; i++) {
        const Stage *row = &table->rows[i];
        if (row->part != part || !str_eq_c(context, row->context))
            continue;
        if (row->route[0] != 0 && str_eq_c(route, row->route))
            return row;
        if (row->route[0] == 0)
            found = row;
    }
    return found;
}

uint32_t stage_bucket(Str key) {
    uint64_t hash = 14695981039346656037ULL;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ (uint8_t)key.p[i]) * 1099511628211ULL;
    hash ^= hash >> 32; /* neighbours in the last byte differ only low down */
    hash *= 0x9E3779B97F4A7C15ULL;
    return (uint32_t)((hash >> 32) % 10000);
}
