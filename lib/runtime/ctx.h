/*
 * ctx.h - what every request, message and job carries along.
 *
 * Clock, randomness, memory, deadline and trace come from here, never from globals, so that a test can set each of
 * them.
 */
#pragma once
#include "base/arena.h"
#include "base/clock.h"

/** W3C trace context of the work in hand (https://www.w3.org/TR/trace-context/). */
typedef struct Trace {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t parent_id[8]; /* zero: this is the root */
    uint8_t flags;        /* bit 0: sampled */
    Str state;            /* tracestate as received, valid, at most TRACESTATE_MAX bytes; absent: none */
    Str baggage;          /* as received, at most BAGGAGE_MAX bytes */
} Trace;

#define TRACESTATE_MAX 512  /* trace context §3.3.1.5 */
#define BAGGAGE_MAX    8192 /* https://www.w3.org/TR/baggage/ §3.3.2 */

#define TRACE_SAMPLED 0x01

/** Whose work is done together with ours, by one statement say: for links between their traces. */
typedef struct TraceBatch {
    const Trace *const *traces;
    size_t n;
} TraceBatch;

/** Words for the eyes of whoever sent the input. One per piece of work; the first stays unless problem_clear. */
typedef struct Problem {
    Err code;
    Str message; /* what is wrong, in the surface's wording */
    Str field;   /* which attribute or argument; absent: the whole */
    Str hint;    /* how to mend it; absent: none */
} Problem;

typedef struct Ctx {
    Arena *arena;
    Problem problem;
    Trace trace;
    Instant now;             /* when the work began; one value for the whole piece of work */
    int64_t deadline_ms;     /* clock_mono_ms() at which every wait ends; 0: none */
    void *actor;             /* who asks; NULL until sign-in exists */
    const TraceBatch *batch; /* NULL: this work is for nobody else's trace */
} Ctx;

/** A Ctx with now = clock_now(), a new root trace and no problem. */
void ctx_init(Ctx *ctx, Arena *arena, int64_t deadline_ms);
/** Forgets the problem, so that the next one is kept. */
static inline void problem_clear(Ctx *ctx) {
    ctx->problem = (Problem){0};
}
/** Records a problem (printf into the arena) and returns its code: `return ctx_problem(ctx, ERR_INVALID, "name",
 *  "…")`. */
Err ctx_problem(Ctx *ctx, Err code, const char *field, const char *format, ...) PRINTF_LIKE(4, 5);

/** A new root: random ids, sampled. */
void trace_new(Trace *ret);
/** From a traceparent header value; a new span id below it. ERR_SYNTAX leaves *ret as trace_new made it. */
MUST_USE Err trace_parse(Str traceparent, Trace *ret);
/** Is it a tracestate (§3.3.1)? What is none is not passed on: the next vendor would throw all of it away. */
bool trace_state_is_valid(Str state);
#define TRACEPARENT_LEN 55
/** "00-<32 hex>-<16 hex>-<2 hex>", no NUL. */
void trace_format(const Trace *trace, char out[TRACEPARENT_LEN]);
