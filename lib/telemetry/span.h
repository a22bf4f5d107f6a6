/*
 * span.h - spans: what took how long, for whom, and how it ended.
 *
 *   Span span;
 *   span_begin(ctx, &span);                       a child of ctx's span, and now ctx's span itself
 *   …
 *   if (span_end(ctx, &span, clock_mono_ns(), name, SPAN_INTERNAL, failed)) {
 *       span_text("usher.resource", name);        attributes, while it is written
 *       span_close();
 *   }
 *
 * The ids of the span in hand are those of ctx->trace, so that log lines and outbox rows name it without further ado. A
 * span is encoded once, when it ends, into the worker's ring; between its ends it is but the moment of its beginning.
 * Between span_end and span_close nothing may wait.
 */
#pragma once
#include "runtime/ctx.h"

typedef enum SpanKind {
    SPAN_INTERNAL = 1,
    SPAN_SERVER,
    SPAN_CLIENT,
    SPAN_PRODUCER,
    SPAN_CONSUMER
} SpanKind; /* OTLP's numbers */

typedef struct Span {
    int64_t began_ns; /* clock_mono_ns; 0: telemetry is off */
    uint8_t outer_span[8], outer_parent[8];
    bool recording; /* sampled: ctx has a span id of this span's own */
} Span;

/* Of the traces that share a batch; further ones are counted. */
#define SPAN_LINKS_MAX 64

/** Starts the clock; where ctx's trace is sampled, makes this span ctx's. */
void span_begin(Ctx *ctx, Span *span);
/** Gives ctx its former span back. ended_ns: clock_mono_ns, which the metric beside it wants too. True when the span is
 *  to be written: attributes, then span_close. */
MUST_USE bool span_end(Ctx *ctx, const Span *span, int64_t ended_ns, Str name, SpanKind kind, bool failed);

/** A span whose ids are known already: the server's, a message's. */
typedef struct SpanInfo {
    const Trace *trace; /* span_id is its own, parent_id its parent */
    Str name;           /* absent: span_name follows, or is among what is encoded already */
    SpanKind kind;
    int64_t began_ns, ended_ns; /* clock_mono_ns */
    bool remote_parent, failed;
    const TraceBatch *links; /* NULL: none. trace itself is left out */
} SpanInfo;
/** False: tracing is off or the trace is not sampled. Otherwise attributes, then span_close. */
MUST_USE bool span_write(const SpanInfo *info);
void span_name(Str name);
/** An absent value writes nothing. */
static inline void span_text(const char *key, Str value);
static inline void span_int(const char *key, int64_t value);
void span_close(void);

/** What many spans share is encoded once (span_memo.h): what was written since span_mark, absent where it did not fit,
 *  until span_close; and such bytes again. */
size_t span_mark(void);
Str span_since(size_t mark);
void span_encoded(Str attributes);

void span_text_of(Str key, Str value);
void span_int_of(Str key, int64_t value);
/* Inline for the literal's length. */
static inline void span_text(const char *key, Str value) {
    if (value.p != NULL)
        span_text_of(str_c(key), value);
}
static inline void span_int(const char *key, int64_t value) {
    span_int_of(str_c(key), value);
}

/* "publish", "x" → "publish x" in out, without printf; cut where it does not fit. */
#define SPAN_NAME_MAX 160
Str span_name_join(char out[SPAN_NAME_MAX], Str a, char between, Str b);

/** A span id for a message that is to be its own span's parent; zero where the trace is not sampled. */
void span_new_id(const Trace *trace, uint8_t out[8]);
