/*
 * co.h - stackful coroutines: straight-line code over the loop.
 *
 * Each has a fixed stack with a guard page below it and an arena that is reset when it ends; both are pooled. A
 * coroutine waits by calling a CO_FN function; every wait ends by its wake, at the nearest deadline (ERR_TIMEOUT) or by
 * cancellation (ERR_CANCELLED, delivered to the waiter so that its cleanups run). After cancellation every further wait
 * fails at once with
 * ERR_CANCELLED, unless inside co_shield.
 *
 * No pointer into one coroutine's stack may be followed by another after the first has ended.
 */
#pragma once
#include "runtime/loop.h"

typedef void (*CoFn)(Ctx *ctx, void *arg);

typedef struct CoOptions {
    const char *name;         /* for logs and dumps; static text */
    size_t arena_limit_bytes; /* 0: CO_ARENA_DEFAULT */
    int64_t deadline_ms;      /* absolute, clock_mono_ms(); 0: none */
    const Trace *trace;       /* copied; NULL: a new root */
} CoOptions;

#define CO_STACK_BYTES   (64 * 1024) /* four times that under ASan */
#define CO_ARENA_DEFAULT (4 * 1024 * 1024)
#define CO_LIVE_DEFAULT  65536

/** Starts fn(ctx, arg) in this turn. The Co is valid until fn returns; nothing of it may be touched afterwards.
 *  ERR_NO_MEMORY, ERR_LIMIT: too many coroutines. */
MUST_USE Err co_spawn(Loop *loop, CoFn fn, void *arg, const CoOptions *options, Co **ret_may_be_null);
/** The running coroutine, or NULL outside of any. */
Co *co_self(void);
Ctx *co_ctx(Co *co);
/** Asks a coroutine to end: its current and later waits return ERR_CANCELLED. Safe to repeat. */
void co_cancel(Co *co);
bool co_is_cancelled(void);

/* --- the one primitive
 * --------------------------------------------------------------------------------------------- */

/** A place where one coroutine waits; embed one in whatever completes. Zeroed = idle; idle again when co_wait returns.
 *  It must stay in memory until the waiter has run, not only until it was woken. */
typedef struct Wait {
    Co *co;
    Err result;
    bool done;
} Wait;

/** Suspends until wait_wake, the deadline (the earlier of ctx's and deadline_ms, 0 = none) or cancellation. When it
 *  returns anything but the wake's result, the waker must still be told (the caller unlinks the Wait): it may not be
 *  woken later. */
CO_FN Err co_wait(Wait *wait, int64_t deadline_ms) MUST_USE;
/** Completes a wait; the waiter runs in this turn. Before co_wait is called it makes that return at once. A wake that
 *  comes before the waiter runs again wins over a deadline or a cancellation, so that what was handed over is never
 *  lost; a second wake of the same wait is ignored. */
void wait_wake(Wait *wait, Err result);

CO_FN Err co_sleep(int64_t ms) MUST_USE;
/** Lets the others that are ready run, and the loop look at its sockets. */
CO_FN Err co_yield (void) MUST_USE;
enum { CO_READABLE = 1, CO_WRITABLE = 2 };
/** Until the fd is readable or writable (a mask of the two), or has an error, which the next call on it will tell. The
 *  fd becomes non-blocking; it must not be closed while waited for. ERR_IO: it is of a kind that cannot be polled (a
 *  regular file). */
CO_FN Err co_wait_fd(int fd, int events, int64_t deadline_ms) MUST_USE;
/** While shielded, cancellation and ctx's deadline are held back (commit in flight, cleanup). Returns the former
 *  state. */
bool co_shield(bool on);

/** How many live now, how many ended ones are kept for reuse, the most that ever lived at once, and the deepest stack
 *  use seen in bytes (0 unless USHER_STACK_WATERMARK=1). */
typedef struct CoStats {
    size_t live, pooled, peak, watermark_bytes;
} CoStats;
CoStats co_stats(Loop *loop);
/** How many may live at once; CO_LIVE_DEFAULT until set. */
void co_set_limit(Loop *loop, size_t live_max);
/** Ends every coroutine by cancellation and runs the loop until all have ended or the deadline passes (ERR_TIMEOUT).
 *  What is spawned meanwhile is born cancelled. Not to be called from inside loop_run. */
MUST_USE Err co_drain(Loop *loop, int64_t deadline_ms);
