/*
 * span.c - one span into its OTLP bytes (opentelemetry-proto, trace/v1/trace.proto, message Span).
 *
 * Encoding in the worker costs no more than copying a struct whose texts would have to be copied too, and leaves
 * nothing for the exporter to do but to put lengths in front. The buffer is one, static: nothing waits while it is
 * filled.
 */
#include "telemetry/span.h"

#include "telemetry/protobuf.h"
#include "telemetry/state.h"

/* Field numbers of message Span. */
enum {
    SPAN_TRACE_ID = 1,
    SPAN_ID = 2,
    SPAN_TRACE_STATE = 3,
    SPAN_PARENT_ID = 4,
    SPAN_NAME = 5,
    SPAN_KIND = 6,
    SPAN_START = 7,
    SPAN_END = 8,
    SPAN_ATTRIBUTES = 9,
    SPAN_LINKS = 13,
    SPAN_LINKS_DROPPED = 14,
    SPAN_STATUS = 15,
    SPAN_FLAGS = 16
};
enum { FLAG_HAS_IS_REMOTE = 0x100, FLAG_IS_REMOTE = 0x200, STATUS_ERROR = 2 };

static uint8_t memory[RECORD_MAX];
static Pb pb;

static bool sampled(const Trace *trace) {
    return telemetry.tracing && telemetry.slot != NULL && (trace->flags & TRACE_SAMPLED) != 0;
}

static bool is_zero(const uint8_t id[8]) {
    static const uint8_t zero[8];
    return memcmp(id, zero, 8) == 0;
}

void span_new_id(const Trace *trace, uint8_t out[8]) {
    memset(out, 0, 8);
    while (sampled(trace) && is_zero(out))
        random_bytes(out, 8);
}

void span_begin(Ctx *ctx, Span *span) {
    *span = (Span){0};
    if (!telemetry.recording)
        return;
    span->began_ns = clock_mono_ns();
    if (!sampled(&ctx->trace))
        return;
    span->recording = true;
    memcpy(span->outer_span, ctx->trace.span_id, 8);
    memcpy(span->outer_parent, ctx->trace.parent_id, 8);
    memcpy(ctx->trace.parent_id, ctx->trace.span_id, 8);
    span_new_id(&ctx->trace, ctx->trace.span_id);
}

int64_t span_elapsed_ns(const Span *span) {
    return span->began_ns == 0 ? 0 : clock_mono_ns() - span->began_ns;
}

bool span_end(Ctx *ctx, const Span *span, Str name, SpanKind kind, bool failed) {
    if (!span->recording)
        return false;
    SpanInfo info = {.trace = &ctx->trace, .name = name, .kind = kind, .began_ns = span->began_ns, .failed = failed};
    bool writes = span_write(&info);
    memcpy(ctx->trace.span_id, span->outer_span, 8);
    memcpy(ctx->trace.parent_id, span->outer_parent, 8);
    return writes;
}

static void write_link(const Trace *trace) {
    size_t link = pb_begin(&pb, SPAN_LINKS);
    pb_bytes(&pb, 1, trace->trace_id, 16);
    pb_bytes(&pb, 2, trace->span_id, 8);
    if (trace->state.n > 0)
        pb_text(&pb, 3, trace->state);
    pb_fixed32(&pb, 6, trace->flags);
    pb_end(&pb, link);
}

static void write_links(const Trace *own, const TraceBatch *batch) {
    size_t written = 0, dropped = 0;
    for (size_t i = 0; i < batch->n; i++) {
        const Trace *trace = batch->traces[i];
        /* Its parent is one of the batch, and is no link. */
        bool parent = memcmp(trace->span_id, own->parent_id, 8) == 0 || trace == own;
        if (parent || (trace->flags & TRACE_SAMPLED) == 0)
            continue;
        if (written < SPAN_LINKS_MAX)
            write_link(trace);
        dropped += written++ >= SPAN_LINKS_MAX;
    }
    if (dropped > 0)
        pb_uint(&pb, SPAN_LINKS_DROPPED, dropped);
}

bool span_write(const SpanInfo *info) {
    const Trace *trace = info->trace;
    if (!sampled(trace))
        return false;
    int64_t now_ns = clock_mono_ns(), now_unix_ns = telemetry_unix_ns();
    int64_t ended_ns = info->ended_ns == 0 ? now_ns : info->ended_ns;
    pb = (Pb){.p = memory, .capacity = sizeof memory};
    pb_bytes(&pb, SPAN_TRACE_ID, trace->trace_id, 16);
    pb_bytes(&pb, SPAN_ID, trace->span_id, 8);
    if (trace->state.n > 0)
        pb_text(&pb, SPAN_TRACE_STATE, trace->state);
    if (!is_zero(trace->parent_id))
        pb_bytes(&pb, SPAN_PARENT_ID, trace->parent_id, 8);
    pb_text(&pb, SPAN_NAME, info->name);
    pb_uint(&pb, SPAN_KIND, (uint64_t)info->kind);
    pb_fixed64(&pb, SPAN_START, (uint64_t)(now_unix_ns - (now_ns - info->began_ns)));
    pb_fixed64(&pb, SPAN_END, (uint64_t)(now_unix_ns - (now_ns - ended_ns)));
    if (info->links != NULL)
        write_links(trace, info->links);
    if (info->failed) {
        size_t status = pb_begin(&pb, SPAN_STATUS);
        pb_uint(&pb, 3, STATUS_ERROR);
        pb_end(&pb, status);
    }
    pb_fixed32(&pb, SPAN_FLAGS,
               (uint32_t)trace->flags | FLAG_HAS_IS_REMOTE | (info->remote_parent ? FLAG_IS_REMOTE : 0));
    return true;
}

void span_text(const char *key, Str value) {
    pb_attribute_text(&pb, SPAN_ATTRIBUTES, key, value);
}

void span_int(const char *key, int64_t value) {
    pb_attribute_int(&pb, SPAN_ATTRIBUTES, key, value);
}

void span_close(void) {
    if (pb.full)
        add_u64(&telemetry.slot->ring.dropped, 1);
    else
        ring_put(telemetry.region, telemetry.slot_at, RECORD_SPAN, pb.p, pb.n);
}
