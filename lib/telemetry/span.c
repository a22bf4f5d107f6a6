/*
 * span.c - one span into its OTLP bytes (opentelemetry-proto, trace/v1/trace.proto, message Span).
 *
 * Encoding in the worker costs no more than copying a struct whose texts would have to be copied too, and leaves
 * nothing for the exporter to do but to put lengths in front. The buffer is one, static: nothing waits while it is
 * filled.
 */
#include "telemetry/span.h"

#include <endian.h>

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

Str span_name_join(char out[SPAN_NAME_MAX], Str a, char between, Str b) {
    a = str_slice(a, 0, SPAN_NAME_MAX - 1);
    b = str_slice(b, 0, SPAN_NAME_MAX - 1 - a.n);
    memcpy(out, a.p, a.n);
    out[a.n] = between;
    memcpy(out + a.n + 1, b.p, b.n);
    return (Str){out, a.n + 1 + b.n};
}

static bool is_zero(const uint8_t id[8]) {
    static const uint8_t zero[8];
    return memcmp(id, zero, 8) == 0;
}

/* Ids are to differ, not to be secret: splitmix64 from a random beginning costs no system call. */
static uint64_t next_id(void) {
    static uint64_t at;
    static pid_t of; /* a fork must not go on where its parent stood */
    if (of != telemetry.slot->pid) {
        of = telemetry.slot->pid;
        at = random_u64();
    }
    uint64_t x = at += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

void span_new_id(const Trace *trace, uint8_t out[8]) {
    memset(out, 0, 8);
    while (sampled(trace) && is_zero(out)) {
        uint64_t id = next_id();
        memcpy(out, &id, sizeof id);
    }
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

bool span_end(Ctx *ctx, const Span *span, int64_t ended_ns, Str name, SpanKind kind, bool failed) {
    if (!span->recording)
        return false;
    SpanInfo info = {.trace = &ctx->trace,
                     .name = name,
                     .kind = kind,
                     .began_ns = span->began_ns,
                     .ended_ns = ended_ns,
                     .failed = failed};
    bool writes = span_write(&info);
    memcpy(ctx->trace.span_id, span->outer_span, 8);
    memcpy(ctx->trace.parent_id, span->outer_parent, 8);
    return writes;
}

/* Without a tracestate its length is known: one copy. */
static void write_plain_link(const Trace *trace) {
    uint8_t link[35] = {SPAN_LINKS << 3 | 2, 33, 1 << 3 | 2, 16};
    memcpy(link + 4, trace->trace_id, 16);
    link[20] = 2 << 3 | 2;
    link[21] = 8;
    memcpy(link + 22, trace->span_id, 8);
    link[30] = 6 << 3 | 5;
    link[31] = trace->flags;
    pb_raw(&pb, link, sizeof link);
}

static void write_link(const Trace *trace) {
    if (trace->state.n == 0) {
        write_plain_link(trace);
        return;
    }
    size_t link = pb_begin(&pb, SPAN_LINKS);
    pb_bytes(&pb, 1, trace->trace_id, 16);
    pb_bytes(&pb, 2, trace->span_id, 8);
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

/* From the monotonic clock to the wall clock; looked at again each second, since the wall clock is set now and then. */
static int64_t unix_offset_ns(int64_t now_ns) {
    static int64_t offset_ns, read_at_ns = INT64_MIN / 2;
    if (now_ns - read_at_ns > 1000000000 || now_ns < read_at_ns) {
        offset_ns = telemetry_unix_ns() - clock_mono_ns();
        read_at_ns = now_ns;
    }
    return offset_ns;
}

/* trace_id, span_id and, unless this is the root, parent_span_id: their lengths are known. */
static void write_ids(const Trace *trace) {
    uint8_t ids[38] = {SPAN_TRACE_ID << 3 | 2, 16};
    memcpy(ids + 2, trace->trace_id, 16);
    ids[18] = SPAN_ID << 3 | 2;
    ids[19] = 8;
    memcpy(ids + 20, trace->span_id, 8);
    ids[28] = SPAN_PARENT_ID << 3 | 2;
    ids[29] = 8;
    memcpy(ids + 30, trace->parent_id, 8);
    pb_raw(&pb, ids, is_zero(trace->parent_id) ? 28 : 38);
}

/* kind, both times and flags, whose lengths are known too. */
static void write_numbers(const SpanInfo *info, int64_t offset_ns) {
    uint64_t start = htole64((uint64_t)(info->began_ns + offset_ns));
    uint64_t end = htole64((uint64_t)(info->ended_ns + offset_ns));
    uint32_t remote = info->remote_parent ? FLAG_IS_REMOTE : 0;
    uint32_t flags = htole32((uint32_t)info->trace->flags | FLAG_HAS_IS_REMOTE | remote);
    uint8_t numbers[26] = {SPAN_KIND << 3, (uint8_t)info->kind, SPAN_START << 3 | 1};
    memcpy(numbers + 3, &start, 8);
    numbers[11] = SPAN_END << 3 | 1;
    memcpy(numbers + 12, &end, 8);
    numbers[20] = ((SPAN_FLAGS << 3 | 5) & 0x7F) | 0x80; /* a field of 16 has a tag of two bytes */
    numbers[21] = SPAN_FLAGS >> 4;
    memcpy(numbers + 22, &flags, 4);
    pb_raw(&pb, numbers, sizeof numbers);
}

bool span_write(const SpanInfo *info) {
    const Trace *trace = info->trace;
    if (!sampled(trace))
        return false;
    int64_t offset_ns = unix_offset_ns(info->ended_ns);
    pb = (Pb){.p = memory, .capacity = sizeof memory};
    write_ids(trace);
    if (trace->state.n > 0)
        pb_text(&pb, SPAN_TRACE_STATE, trace->state);
    if (info->name.p != NULL)
        span_name(info->name);
    write_numbers(info, offset_ns);
    if (info->links != NULL)
        write_links(trace, info->links);
    if (info->failed) {
        size_t status = pb_begin(&pb, SPAN_STATUS);
        pb_uint(&pb, 3, STATUS_ERROR);
        pb_end(&pb, status);
    }
    return true;
}

void span_name(Str name) {
    pb_text(&pb, SPAN_NAME, name);
}

void span_text_of(Str key, Str value) {
    pb_key_text(&pb, SPAN_ATTRIBUTES, key, value);
}

void span_int_of(Str key, int64_t value) {
    pb_key_int(&pb, SPAN_ATTRIBUTES, key, value);
}

size_t span_mark(void) {
    return pb.n;
}

Str span_since(size_t mark) {
    return pb.full ? (Str){NULL, 0} : (Str){(const char *)pb.p + mark, pb.n - mark};
}

void span_encoded(Str attributes) {
    pb_raw(&pb, attributes.p, attributes.n);
}

void span_close(void) {
    if (pb.full)
        add_u64(&telemetry.slot->ring.dropped, 1);
    else
        ring_put(telemetry.region, telemetry.slot_at, RECORD_SPAN, pb.p, pb.n);
}
