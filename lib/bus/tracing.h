/*
 * tracing.h - spans and metrics of messages on their way. Internal to lib/bus.
 *
 * One span per message and step, in the trace that its outbox row carries: so a trace can be followed from the request
 * to the effect. The loops that carry messages are no trace themselves.
 */
#pragma once
#include "bus/bus.h"
#include "resource/tracing.h"

/** The transport confirmed n messages, or did not. */
void trace_published(Ctx *ctx, const Envelope *messages, size_t n, int64_t began_ns, Err err);
/** Messages of a context's outbox were confirmed, appended at those moments (microseconds since 1970). */
void trace_relayed(const char *context, const int64_t *appended_us, size_t n);
/** A delivery's ctx, whose trace was read from its message (continued) or is new: who decides is asked. */
void trace_delivered(Ctx *ctx, bool continued);
/** A delivery has its outcome. */
void trace_processed(const Ctx *ctx, const char *queue, const Envelope *message, int64_t began_ns,
                     DeliveryOutcome outcome);
