/*
 * findings.h - what the shadow worker has found and not yet written to Postgres.
 *
 * Counted by cause, bounded, and written once a second in one transaction. While Postgres is away findings gather up to
 * the bounds; what is over them is lost and counted. A commit whose outcome is unknown is written again: counts may
 * then be too high, never too low.
 */
#pragma once
#include "api_gateway/copies.h"
#include "api_gateway/differ.h"
#include "pg/pg.h"

typedef enum FindingClass { FINDING_REAL, FINDING_LAG, FINDING_EXPECTED } FindingClass;

/** What one comparison came to; exactly one of these. */
typedef enum Outcome { OUTCOME_EQUAL, OUTCOME_NOISY, OUTCOME_REAL, OUTCOME_LAG, OUTCOME_EXPECTED } Outcome;

typedef struct Findings Findings;

/** ERR_NO_MEMORY. source: "live" or "replay". */
MUST_USE Err findings_new(const Board *board, const char *source, int64_t samples_max, Findings **ret);
void findings_free(Findings *findings);

/** One comparison of a route, with what it showed. new_answer is the other side's, as compared. */
void findings_add(Findings *findings, const Copy *copy, const Answer *old_answer, const Answer *new_answer,
                  const Comparison *comparison, Outcome outcome);
/** Skipped ones are counted on the board; this notes how many there are by now. */
void findings_skipped(Findings *findings, size_t route, uint64_t total);
/** What a trial would have written and published: the "actions" of trials.h. */
void findings_effects(Findings *findings, size_t route, const Json *actions);
void findings_caller(Findings *findings, size_t route, Str caller);
uint64_t findings_lost(const Findings *findings);
/** Writes what there is. ERR_*: it stays, and the next call tries again. */
CO_FN Err findings_write(Findings *findings, Ctx *ctx, PgPool *pool) MUST_USE;
