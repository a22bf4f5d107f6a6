/*
 * co.c - starting, suspending, waking and ending coroutines.
 *
 * The loop's own stack runs the queue of ready coroutines and is the only place that switches into one; a coroutine
 * only ever switches back there. So nothing nests: a wake, a cancellation or a timer puts into the queue and returns. A
 * coroutine stands in at most one queue, and its state says which of the four may touch it.
 */
#include "runtime/co.h"

#include <stdlib.h>

#include "base/clock.h"
#include "runtime/loop_impl.h"

void co_init(Loop *loop) {
    const char *watermark = getenv("USHER_STACK_WATERMARK");
    loop->watermark = watermark != NULL && strcmp(watermark, "1") == 0;
    loop->live_max = CO_LIVE_DEFAULT;
}

void co_free_all(Loop *loop) {
    co_pool_free(loop);
}

void co_set_limit(Loop *loop, size_t live_max) {
    loop->live_max = live_max;
}

Co *co_self(void) {
    Loop *loop = loop_current();
    return loop == NULL ? NULL : loop->self;
}

Ctx *co_ctx(Co *co) {
    return &co->ctx;
}

/* --- switching --------------------------------------------------------------------------------------------------- */

static void make_ready(Co *co) {
    co->state = CO_READY;
    co_queue_add(&co->loop->ready, co);
}

/** Back to the loop; returns when the loop runs this coroutine again. */
void co_suspend(Co *co) {
    switch_to(&co->at, &co->loop->main, NULL);
}

NORETURN void co_entry(void *data) {
    Co *co = data;
    co->fn(&co->ctx, co->arg);
    co->state = CO_ENDED;
    switch_end(&co->at, &co->loop->main);
}

static void end(Loop *loop, Co *co) {
    ASSERT(co->timer.heap_index == 0 && co->waiting == NULL);
    if (co->live_prev != NULL)
        co->live_prev->live_next = co->live_next;
    else
        loop->live = co->live_next;
    if (co->live_next != NULL)
        co->live_next->live_prev = co->live_prev;
    loop->n_live--;
    co->state = CO_IDLE;
    arena_reset(co->arena);
    co_pool_give(loop, co);
    if (loop->draining && loop->n_live == 0)
        loop_stop(loop);
}

void co_run_ready(Loop *loop) {
    for (size_t n = loop->ready.n; n > 0; n--) {
        Co *co = co_queue_take(&loop->ready);
        ASSERT(co->state == CO_READY);
        co->state = CO_RUNNING;
        loop->self = co;
        switch_to(&loop->main, &co->at, co);
        loop->self = NULL;
        if (co->state == CO_ENDED)
            end(loop, co);
    }
}

/* --- starting ---------------------------------------------------------------------------------------------------- */

static void deadline_passed(Timer *timer) {
    Co *co = (Co *)((char *)timer - offsetof(Co, timer));
    if (co->state != CO_WAITING)
        return;
    co->why = ERR_TIMEOUT;
    make_ready(co);
}

static void begin_trace(Ctx *ctx, const Trace *from) {
    if (from == NULL) {
        trace_new(&ctx->trace);
        return;
    }
    ctx->trace = *from;
    /* The views may end with whoever gave them. A refused copy is absent: the work matters more than its tracestate. */
    if (from->state.p != NULL)
        ctx->trace.state = arena_str(ctx->arena, from->state);
    if (from->baggage.p != NULL)
        ctx->trace.baggage = arena_str(ctx->arena, from->baggage);
}

Err co_spawn(Loop *loop, CoFn fn, void *arg, const CoOptions *options, Co **ret_may_be_null) {
    static const CoOptions none = {0};
    if (options == NULL)
        options = &none;
    if (loop->n_live >= loop->live_max)
        return ERR_LIMIT;
    Co *co = co_pool_take(loop, options->arena_limit_bytes == 0 ? CO_ARENA_DEFAULT : options->arena_limit_bytes);
    if (co == NULL)
        return ERR_NO_MEMORY;
    co->loop = loop;
    co->fn = fn;
    co->arg = arg;
    co->name = options->name == NULL ? "unnamed" : options->name;
    co->cancelled = loop->draining;
    co->shielded = false;
    co->waiting = NULL;
    co->timer = (Timer){.fn = deadline_passed};
    co->ctx = (Ctx){.arena = co->arena, .now = clock_now(), .deadline_ms = options->deadline_ms};
    begin_trace(&co->ctx, options->trace);
    switch_prepare(&co->at, &co->stack);

    co->live_prev = NULL;
    co->live_next = loop->live;
    if (loop->live != NULL)
        loop->live->live_prev = co;
    loop->live = co;
    if (++loop->n_live > loop->n_peak)
        loop->n_peak = loop->n_live;
    make_ready(co);
    if (ret_may_be_null != NULL)
        *ret_may_be_null = co;
    return ERR_OK;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static bool cancelled_now(const Co *co) {
    return co->cancelled && !co->shielded;
}

/* The earlier of the coroutine's own deadline and that of the wait; 0: none. */
static int64_t nearest_deadline(const Co *co, int64_t deadline_ms) {
    int64_t own = co->shielded ? 0 : co->ctx.deadline_ms;
    if (own == 0 || deadline_ms == 0)
        return own == 0 ? deadline_ms : own;
    return MIN_OF(own, deadline_ms);
}

static Err take_result(Wait *wait) {
    Err result = wait->result;
    *wait = (Wait){0};
    return result;
}

CO_FN Err co_wait(Wait *wait, int64_t deadline_ms) {
    Co *co = co_self();
    ASSERT(co != NULL && wait->co == NULL);
    if (wait->done)
        return take_result(wait);
    if (cancelled_now(co))
        return ERR_CANCELLED;
    Loop *loop = co->loop;
    int64_t at_ms = nearest_deadline(co, deadline_ms);
    if (at_ms != 0) {
        if (at_ms <= loop->now_ms)
            return ERR_TIMEOUT;
        TRY(timer_arm(loop, &co->timer, at_ms));
    }
    wait->co = co;
    co->waiting = wait;
    co->state = CO_WAITING;
    co_suspend(co);

    timer_disarm(loop, &co->timer);
    co->waiting = NULL;
    wait->co = NULL;
    return wait->done ? take_result(wait) : co->why;
}

void wait_wake(Wait *wait, Err result) {
    if (wait->done)
        return;
    wait->done = true;
    wait->result = result;
    /* A waiter that is already on its way, by deadline or cancellation, finds `done` and takes this result instead. */
    if (wait->co != NULL && wait->co->state == CO_WAITING)
        make_ready(wait->co);
}

CO_FN Err co_yield (void) {
    Co *co = co_self();
    ASSERT(co != NULL);
    if (cancelled_now(co))
        return ERR_CANCELLED;
    int64_t at_ms = nearest_deadline(co, 0);
    if (at_ms != 0 && at_ms <= co->loop->now_ms)
        return ERR_TIMEOUT;
    co->state = CO_READY;
    co_queue_add(&co->loop->yielded, co);
    co_suspend(co);
    return cancelled_now(co) ? ERR_CANCELLED : ERR_OK;
}

CO_FN Err co_sleep(int64_t ms) {
    if (ms <= 0)
        return co_yield ();
    int64_t until_ms = clock_mono_ms() + ms;
    Wait wait = {0};
    Co *co = co_self();
    ASSERT(co != NULL);
    bool in_time = nearest_deadline(co, until_ms) == until_ms;
    Err err = co_wait(&wait, until_ms);
    return err == ERR_TIMEOUT && in_time ? ERR_OK : err;
}

/* --- cancelling -------------------------------------------------------------------------------------------------- */

void co_cancel(Co *co) {
    co->cancelled = true;
    if (co->state != CO_WAITING || co->shielded)
        return;
    co->why = ERR_CANCELLED;
    make_ready(co);
}

bool co_is_cancelled(void) {
    Co *co = co_self();
    return co != NULL && cancelled_now(co);
}

bool co_shield(bool on) {
    Co *co = co_self();
    ASSERT(co != NULL);
    bool was = co->shielded;
    co->shielded = on;
    return was;
}

typedef struct DrainTimer {
    Timer timer;
    Loop *loop;
} DrainTimer;

static void drain_late(Timer *timer) {
    loop_stop(((DrainTimer *)timer)->loop);
}

Err co_drain(Loop *loop, int64_t deadline_ms) {
    ASSERT(!loop->running && loop->self == NULL);
    if (loop->n_live == 0)
        return ERR_OK;
    loop->draining = true;
    for (Co *co = loop->live; co != NULL; co = co->live_next)
        co_cancel(co);
    DrainTimer late = {.timer = {.fn = drain_late}, .loop = loop};
    Err err = timer_arm(loop, &late.timer, deadline_ms);
    loop->stopping = false; /* asked while the loop stood: it is for these that it runs now */
    if (err == ERR_OK)
        loop_run(loop);
    timer_disarm(loop, &late.timer);
    loop->draining = false;
    if (err != ERR_OK)
        return err;
    return loop->n_live == 0 ? ERR_OK : ERR_TIMEOUT;
}

CoStats co_stats(Loop *loop) {
    return (CoStats){.live = loop->n_live,
                     .pooled = loop->n_warm + loop->n_cold,
                     .peak = loop->n_peak,
                     .watermark_bytes = loop->watermark_bytes};
}
