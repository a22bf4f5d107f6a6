/*
 * stages.h - which side answers what: legacy → shadow → canary n % → new → retired.
 *
 * A stage belongs to a context's reads or writes, or to a single route, which then goes its own way. Rows live in
 * Postgres; a gateway keeps the table that it saw last, and goes on with it while Postgres is away.
 */
#pragma once
#include "base/instant.h"

#define STAGE_LIST(X)                                                                                                  \
    X(STAGE_LEGACY, "legacy")   /* the old side answers */                                                             \
    X(STAGE_SHADOW, "shadow")   /* the same; reads are mirrored to the new side, writes tried there, and compared */   \
    X(STAGE_CANARY, "canary")   /* so many of a hundred callers are answered by the new side */                        \
    X(STAGE_NEW, "new")         /* the new side answers; reads may be mirrored to the old one */                       \
    X(STAGE_RETIRED, "retired") /* the new side answers, says until when, and then 410 */
typedef enum StageKind {
#define STAGE_ENUM(code, name) code,
    STAGE_LIST(STAGE_ENUM)
#undef STAGE_ENUM
        STAGE_COUNT
} StageKind;
const char *stage_name(StageKind kind);
MUST_USE Err stage_parse(Str name, StageKind *ret);

#define STAGE_CONTEXT_MAX 32
#define STAGE_ROUTE_MAX   96
#define STAGES_MAX        256

typedef enum StagePart { PART_READS, PART_WRITES } StagePart;
const char *stage_part_name(StagePart part);

/** One row. Plain bytes, for it lies in memory that processes share. */
typedef struct Stage {
    char context[STAGE_CONTEXT_MAX];
    char route[STAGE_ROUTE_MAX]; /* "": all of the context's part that have no row of their own */
    uint8_t part, kind;
    bool stepped_back; /* by this gateway itself, and not yet in Postgres */
    int32_t canary_percent;
    int64_t epoch;
    int64_t paused_until_us; /* unix; 0: not paused */
    int64_t deprecated_us, gone_us;
} Stage;

typedef struct StageTable {
    size_t n;
    Stage rows[STAGES_MAX];
} StageTable;

/** The row that decides about a route of a context: its own, else the context's; NULL: none, which is legacy. */
const Stage *stage_of(const StageTable *table, Str context, StagePart part, Str route);
/** 0..9999 from a caller's key: the same caller gets the same side in every gateway, and stays there as the percentage
 *  grows. FNV-1a, so that it never changes. */
uint32_t stage_bucket(Str key);
static inline bool stage_takes(const Stage *stage, uint32_t bucket) {
    return bucket < (uint32_t)stage->canary_percent * 100;
}
