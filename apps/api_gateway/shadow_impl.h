/*
 * shadow_impl.h - what shadow.c, shadow_compare.c and keeper.c share.
 */
#pragma once
#include "api_gateway/budget.h"
#include "api_gateway/shadow.h"

/** Worker 0's part: the board follows Postgres. */
typedef struct Keeper {
    Id run; /* of this worker: what its traffic is counted under, since a successor begins at nothing */
    StageTable stages, read; /* as on the board; as just read */
    BudgetRow budgets[STAGES_MAX];
    int64_t holding_epoch;
    int64_t followed_epochs; /* sum of the epochs of the stages that every worker here goes by */
    Wait wake;               /* follow_co waits here */
    bool waiting, notified;
    int64_t minute;
    Traffic base[BOARD_ROUTES_MAX][BOARD_SIDES]; /* totals when the minute began */
} Keeper;

struct Shadow {
    Loop *loop;
    ShadowOptions options;
    Findings *findings;
    Differ differ;
    Arena *expected_arenas[2]; /* the list in use, and the one before, which a comparison may still name */
    int expected_at;
    bool pairs_known; /* nothing is compared before: it would learn what contradicts them */
    int64_t active, rechecks;
    Wait slot; /* the dispatcher waits here for one of `active` to end */
    bool slot_wanted;
    Keeper keeper;
};

/** One copy through to its outcome. Frees the job. */
typedef struct Job {
    Shadow *shadow;
    Buf record;
} Job;
CO_FN void shadow_job_co(Ctx *ctx, void *arg);
void shadow_slot_free(Shadow *shadow);

/** One comparison under way. */
typedef struct Looking {
    Shadow *shadow;
    Ctx *ctx;
    Copy copy;
    const Header *request_headers;
    size_t request_n;
    Answer old_answer, new_answer; /* of the round */
    bool has_slot;                 /* one of options.concurrency is ours */
} Looking;
/* shadow_compare.c */
void looking_skip(const Looking *look, SkipReason reason);
void looking_settle(Looking *look, const Comparison *comparison, Outcome outcome);
/** Of a comparison without real differences. */
Outcome looking_calm(const Comparison *comparison);
/** The request's head for another side, but for its end: what stands between two hops is left out. */
void looking_head(const Looking *look, Str method, Str target, Buf *out);
/** The answer that the client got, as the old or new one. */
MUST_USE Err looking_primary(const Looking *look, Answer *ret);
/** Until the sync has passed the copy, or recheck_ms times round. ERR_CANCELLED. */
CO_FN Err looking_wait_for_sync(const Looking *look, int round) MUST_USE;
/** Gives the slot back before a wait. False: too many wait already; it was skipped. looking_end_wait behind it. */
bool looking_begin_wait(Looking *look);
void looking_end_wait(Looking *look);
/* shadow_try.c */
/** A copy of a write. */
CO_FN Err shadow_try(Looking *look) MUST_USE;

/* keeper.c; keeper_counts.c; keeper_prune.c */
MUST_USE Err keeper_start(Shadow *shadow);
CO_FN void keeper_write_co(Ctx *ctx, void *arg);
CO_FN void keeper_prune_co(Ctx *ctx, void *arg);

#define KEEPER_QUERY_MS 4000

static inline bool is_first(const Shadow *shadow) {
    return shadow->options.shadow == 0;
}

/** Before each piece of work of a coroutine that lives for ever; and behind it, since its deadline would end the waits
 *  for the next one, and with them the coroutine. */
static inline void begin_work(Ctx *ctx) {
    arena_reset(ctx->arena);
    problem_clear(ctx);
    ctx->deadline_ms = clock_mono_ms() + KEEPER_QUERY_MS;
    ctx->trace.flags = 0;
}
static inline void end_work(Ctx *ctx) {
    ctx->deadline_ms = 0;
}
