/*
 * loops.c - a loop that outlives any failure.
 */
#include "bus/loops.h"

#include "runtime/log.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

const Statement ASYNC_COMMIT = {.name = "bus_async_commit", .sql = "SET LOCAL synchronous_commit = off"};

static void log_step(Ctx *ctx, const char *event, const char *name, Err err, Err *last) {
    if (err == *last)
        return;
    if (err == ERR_OK)
        LOG_I(ctx, event, F_C("name", name), F_C("state", "works again"));
    else
        LOG_W(ctx, event, F_C("name", name), F_ERR(err), F_STR("detail", ctx->problem.message));
    *last = err;
}

void loop_step_begin(Ctx *ctx) {
    arena_reset(ctx->arena);
    ctx->problem = (Problem){0};
    ctx->deadline_ms = 0;
    trace_new(&ctx->trace);
    ctx->trace.flags = 0; /* looking for work is no trace: the messages bring theirs */
    ctx->batch = NULL;
    ctx->now = clock_now();
}

CO_FN void loop_steps(Ctx *ctx, const char *event, const char *name, LoopStep step, void *data) {
    Err last = ERR_OK;
    int64_t backoff_ms = BACKOFF_MIN_MS;
    while (!co_is_cancelled()) {
        loop_step_begin(ctx);
        Err err = step(ctx, data);
        ctx->deadline_ms = 0;
        if (co_is_cancelled())
            break;
        log_step(ctx, event, name, err, &last);
        if (err == ERR_OK) {
            backoff_ms = BACKOFF_MIN_MS;
            continue;
        }
        if (co_sleep(backoff_ms) == ERR_CANCELLED)
            break;
        backoff_ms = MIN_OF(backoff_ms * 2, BACKOFF_MAX_MS);
    }
}
