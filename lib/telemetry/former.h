/*
 * former.h - the counts of the generations before us. Private to lib/telemetry.
 *
 * At a hand-over (runtime/heirloom.h) the successor is given the memory that its predecessor's workers write into, and
 * adds it to its own whenever it is asked: no count is lost while the old ones drain, and no counter falls, which a
 * reader would have to take for a restart. A region whose processes are all gone is added to one slot of ours at the
 * next hand-over and forgotten, so that the chain stays short.
 */
#pragma once
#include "telemetry/state.h"

/** Takes over what a predecessor left, before the first fork; regions of another layout are left out, told in the log.
 *  state->region is there already. */
void formers_take(TelemetryState *state);
/** Forgets them, and what was offered: for tests. */
void formers_done(TelemetryState *state);

/** A region's memory is to be handed on; the descriptor is no longer the caller's. ERR_LIMIT. */
MUST_USE Err former_offer(int fd);
