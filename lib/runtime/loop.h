/*
 * loop.h - one worker's event loop: libuv, coroutines, timers and turns.
 *
 * A *turn* is: wait for I/O, run every coroutine that became ready, run the turn-end hooks (batches are sent, sockets
 * are written), repeat the last two until nothing is ready, wait again. Whatever is asked during one turn goes out
 * together at its end: that is where grouped reads, grouped commits and single flushes come from.
 *
 * One loop per process; a coroutine never changes loop.
 */
#pragma once
#include "runtime/ctx.h"

typedef struct uv_loop_s uv_loop_t; /* <uv.h> is included only where it is used */

typedef struct Loop Loop;
typedef struct Co Co;

/** ERR_NO_MEMORY, ERR_IO. */
MUST_USE Err loop_new(Loop **ret);
/** Runs until loop_stop, or until nothing is left to do. */
void loop_run(Loop *loop);
/** Ends loop_run at the end of the turn. */
void loop_stop(Loop *loop);
/** Closes what is still open and frees it. Every coroutine must have ended. */
void loop_free(Loop *loop);
uv_loop_t *loop_uv(Loop *loop);
/** The loop this thread runs, or NULL. */
Loop *loop_current(void);
/** Monotonic milliseconds, cached at the start of the turn. */
int64_t loop_now_ms(Loop *loop);

/* Turn-end hooks, run in rising order of `rank` each time the ready queue is empty; re-armed by turn_hook_arm only, so
 * that an idle turn costs nothing. */
typedef struct TurnHook {
    void (*fn)(struct TurnHook *hook);
    int rank; /* TURN_BATCH before TURN_FLUSH before TURN_WRITE */
    bool armed;
    struct TurnHook *next;
} TurnHook;
enum {
    TURN_BATCH = 10, /* collect what was asked into statements (keyed reads, sets) */
    TURN_FLUSH = 20, /* flush Postgres pipelines */
    TURN_WRITE = 30  /* write sockets */
};
/** One hook per module, not per connection: arming walks the list of those that are armed. */
void turn_hook_arm(Loop *loop, TurnHook *hook);
/** Before the memory of a hook that may be armed goes. */
void turn_hook_disarm(Loop *loop, TurnHook *hook);

/* Timers without an allocation: embed one; at most one firing per arm. */
typedef struct Timer {
    void (*fn)(struct Timer *timer);
    int64_t at_ms;
    size_t heap_index; /* 0: not armed */
} Timer;
/** Arms or re-arms. ERR_NO_MEMORY only when the heap of timers cannot grow. */
MUST_USE Err timer_arm(Loop *loop, Timer *timer, int64_t at_ms);
void timer_disarm(Loop *loop, Timer *timer);
