/*
 * tracing.h - what actions, sets and their messages tell of themselves. For lib/resource and lib/bus.
 *
 * A request that joins a set is in its own trace; the set's statement is in that of its first sampled member and links
 * to the others (lib/telemetry). A message gets a span of its own at once, whose id travels in its outbox row, and
 * which is written when the row is committed.
 */
#pragma once
#include "resource/resource.h"
#include "telemetry/span.h"
#include "telemetry/telemetry.h"

/** Ends the action's span and counts it. */
void trace_action_end(Ctx *ctx, const Span *span, const Resource *resource, const char *action, Err err);

/** The trace that a set's statements belong to. */
const Trace *trace_of_set(Member *const *members, size_t n);
/** Tells ctx, the set's, whose work it does. batch lives as long as ctx does that. */
void trace_set(Ctx *ctx, Member *const *members, size_t n, TraceBatch *batch);
/** ctx takes on the first sampled trace of the batch; with more than one trace it names them all. */
void trace_batch_adopt(Ctx *ctx, const TraceBatch *batch);

void trace_message_begin(const Ctx *ctx, Outgoing *message);
/** The message's span into a copy of its member's trace. */
void trace_message_ids(const Outgoing *message, Trace *trace);
/** The messages of members that are well are in the outbox now. */
void trace_messages_end(const Set *set, const Resource *outbox);
