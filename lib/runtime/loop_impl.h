/*
 * loop_impl.h - what the files of lib/runtime know of each other. Nobody else includes it.
 */
#pragma once
#include <uv.h>

#include "runtime/co.h"
#include "runtime/stack.h"

/* A queue of coroutines, linked through Co.next; a coroutine stands in at most one. */
typedef struct CoQueue {
    Co *first, *last;
    size_t n;
} CoQueue;

/* A binary heap of timers, earliest at at[1]; at[0] is unused so that heap_index 0 can mean "not armed". */
typedef struct TimerHeap {
    Timer **at;
    size_t n, capacity;
} TimerHeap;

typedef struct FdWatch FdWatch;
#define FD_BUCKETS 64

struct Loop {
    uv_loop_t uv;
    uv_prepare_t prepare; /* before the poll: what timers and closing handles made ready */
    uv_check_t check;     /* after the poll: what I/O made ready */
    uv_idle_t idle;       /* active only while something is left ready: the poll then does not block */
    uv_timer_t timer;     /* stands at the earliest of `timers` */
    int64_t timer_at_ms;  /* 0: not started */
    int64_t now_ms;
    bool running, stopping;
    TimerHeap timers;
    TurnHook *hooks; /* armed, in rising rank */

    /* coroutines: co.c */
    Co *self;        /* the one that runs, or NULL */
    CoQueue ready;   /* run in this turn */
    CoQueue yielded; /* run in the next one, after a poll that does not block */
    Co *live;        /* all that have not ended */
    size_t n_live, n_peak, live_max;
    Co *warm, *cold; /* ended, to be used again; the cold ones' stacks hold no memory */
    size_t n_warm, n_cold;
    size_t n_given_back; /* since the C library was last asked to trim */
    size_t watermark_bytes;
    bool watermark; /* USHER_STACK_WATERMARK=1 */
    bool draining;  /* co_drain: whatever is spawned is born cancelled */
    SwitchPoint main;

    /* co_wait_fd: co_fd.c */
    FdWatch *watches[FD_BUCKETS];
    FdWatch *watches_free;
    size_t n_watches_free;
};

enum { CO_IDLE, CO_READY, CO_RUNNING, CO_WAITING, CO_ENDED };

struct Co {
    SwitchPoint at; /* where it stands while it does not run */
    Loop *loop;
    Co *next; /* in a queue or pool */
    Co *live_prev, *live_next;
    Wait *waiting; /* what it is suspended on */
    Err why;       /* result of a wait that ended without its wake */
    uint8_t state;
    bool cancelled, shielded;
    Timer timer; /* the deadline of the wait in hand */
    CoFn fn;
    void *arg;
    const char *name;
    Arena *arena;
    Stack stack;
    Ctx ctx;
};

/* loop.c */
void co_queue_add(CoQueue *queue, Co *co);
Co *co_queue_take(CoQueue *queue);

/* timers.c */
void timers_run(Loop *loop);
/** Moves the one uv_timer to the earliest timer; called before each poll. */
void timers_aim(Loop *loop);
void timers_free(Loop *loop);

/* co.c */
/** Runs those that are ready now, each once. */
void co_run_ready(Loop *loop);
void co_init(Loop *loop);
/** Frees the pools. */
void co_free_all(Loop *loop);
void co_suspend(Co *co);

/* co_pool.c */
/** One that has a stack and an empty arena of the limit, or NULL. */
Co *co_pool_take(Loop *loop, size_t arena_limit_bytes);
void co_pool_give(Loop *loop, Co *co);
void co_pool_free(Loop *loop);

/* co_fd.c */
void co_fd_free_all(Loop *loop);

/* overflow.c */
/** Installs, unless it is, the handler that names a coroutine whose stack overflowed. */
void overflow_install(void);
