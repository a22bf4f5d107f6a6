/*
 * replay_tally.h - what a replay compared, by route, for the gates of a cutover: a replayed corpus fills rare routes.
 */
#pragma once
#include "usher/cli.h"
#include "usher/replay.h"

typedef struct ReplayTally ReplayTally;

/** ERR_NO_MEMORY, or what keeps the routes from being known. */
MUST_USE Err replay_tally_new(Ctx *ctx, ReplayTally **ret);
/** ReplayTarget.compared; data is the tally. */
void replay_tally_compared(void *data, int64_t exchange, const Json *request);
/** The scenario is over: those that differ, and are not expected, by their number. Call for each, then _end. */
void replay_tally_differs(ReplayTally *tally, int64_t exchange);
void replay_tally_end(ReplayTally *tally);
/** Adds the counts to gateway.tallies. Prints what went wrong; the exit status, 0 when nothing. */
int replay_tally_write(Invocation *call, const ReplayTally *tally);
