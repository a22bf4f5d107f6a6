/*
 * loops.h - what relay and consumer have in common: a loop that outlives any failure. Internal to lib/bus.
 *
 * One step is one batch. Its memory is the coroutine's arena, given back before the next step; nothing else of a step
 * lives on.
 */
#pragma once
#include "bus/bus.h"

/* Memory of one step: a batch of payloads as read, decoded and bound again. */
#define LOOP_ARENA_BYTES (512u * 1024 * 1024)

/** First in a transaction that only forgets or acknowledges: its commit need not be on the disk. What a crash of the
 *  server takes back comes again, and the next keeper knows its id. */
extern const Statement ASYNC_COMMIT;

/** A coroutine's ctx as a step finds it: memory given back, no deadline, no failure, no trace. */
void loop_step_begin(Ctx *ctx);
/** Does one batch, or waits a while for one. */
typedef CO_FN Err (*LoopStep)(Ctx *ctx, void *data);

/** Runs step until it is cancelled. A failure is logged when it begins and when it changes, then waited out (50 ms
 *  doubling to 2 s). */
CO_FN void loop_steps(Ctx *ctx, const char *event, const char *name, LoopStep step, void *data);
