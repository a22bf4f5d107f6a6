/*
 * tracing.c - spans and metrics of actions and of what they append to the outbox.
 *
 * A refusal is an answer, not an error: only what the caller could not have caused marks a span as failed.
 */
#include "resource/tracing.h"

#include <stdio.h>

#include "telemetry/metrics.h"
#include "telemetry/span_memo.h"

static bool is_fault(Err err) {
    switch (err) {
    case ERR_NO_MEMORY:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_RETRY:
    case ERR_EOF:
    case ERR_IO:
    case ERR_INTERNAL:
        return true;
    default:
        return false;
    }
}

static void write_action(const Resource *resource, const char *action, Err err, SpanMemo *memo) {
    if (memo->n > 0) {
        span_encoded((Str){memo->bytes, memo->n});
        return;
    }
    char name[SPAN_NAME_MAX];
    size_t mark = span_mark();
    span_name(span_name_join(name, str_c(resource->name), '.', str_c(action)));
    span_text("usher.resource", str_c(resource->name));
    span_text("usher.action", str_c(action));
    span_text("usher.outcome", str_c(err_name(err)));
    if (is_fault(err))
        span_text("error.type", str_c(err_name(err)));
    span_memo_keep(span_since(mark), memo->bytes, sizeof memo->bytes, &memo->n);
}

static struct Series *duration_of(const Resource *resource, const char *action, Err err) {
    return metric_series(METRIC_ACTION_DURATION,
                         LABELS({"usher.resource", resource->name, 0}, {"usher.action", action, 0},
                                {"usher.outcome", err_name(err), 0},
                                {is_fault(err) ? "error.type" : NULL, err_name(err), 0}));
}

void trace_action_end(Ctx *ctx, const Span *span, const Resource *resource, const char *action, Err err) {
    if (span->began_ns == 0)
        return;
    int64_t ended_ns = clock_mono_ns();
    const uint64_t key[MEMO_WORDS] = {METRIC_ACTION_DURATION, (uintptr_t)resource->name, (uintptr_t)action,
                                      (uint64_t)err};
    SpanMemo *memo = span_memo(key);
    if (memo->duration == NULL)
        memo->duration = duration_of(resource, action, err);
    if (memo->duration != NULL)
        series_record(memo->duration, ended_ns - span->began_ns);
    if (span->recording && span_end(ctx, span, ended_ns, (Str){NULL, 0}, SPAN_INTERNAL, is_fault(err))) {
        write_action(resource, action, err, memo);
        span_close();
    }
}

/* --- sets --------------------------------------------------------------------------------------------------------- */

const Trace *trace_of_set(Member *const *members, size_t n) {
    for (size_t i = 0; i < n && telemetry_traces(); i++)
        if ((members[i]->ctx->trace.flags & TRACE_SAMPLED) != 0)
            return &members[i]->ctx->trace;
    return &members[0]->ctx->trace;
}

void trace_set(Ctx *ctx, Member *const *members, size_t n, TraceBatch *batch) {
    *batch = (TraceBatch){0};
    if (n < 2 || !telemetry_traces())
        return;
    const Trace **traces = ARENA_ARRAY(ctx->arena, const Trace *, n);
    if (traces == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        traces[i] = &members[i]->ctx->trace;
    *batch = (TraceBatch){.traces = traces, .n = n};
    ctx->batch = batch;
}

void trace_batch_adopt(Ctx *ctx, const TraceBatch *batch) {
    if (batch->n == 0)
        return;
    const Trace *first = batch->traces[0];
    for (size_t i = 0; i < batch->n && (first->flags & TRACE_SAMPLED) == 0; i++)
        first = batch->traces[i];
    ctx->trace = *first;
    ctx->batch = batch->n > 1 ? batch : NULL;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

void trace_message_begin(const Ctx *ctx, Outgoing *message) {
    span_new_id(&ctx->trace, message->span_id);
    message->began_ns = telemetry_traces() ? clock_mono_ns() : 0;
}

static bool has_span(const Outgoing *message) {
    static const uint8_t zero[8];
    return memcmp(message->span_id, zero, 8) != 0;
}

void trace_message_ids(const Outgoing *message, Trace *trace) {
    if (!has_span(message))
        return;
    memcpy(trace->parent_id, trace->span_id, 8);
    memcpy(trace->span_id, message->span_id, 8);
}

static void write_append(const Ctx *ctx, const Outgoing *message, const char *destination) {
    Trace trace = ctx->trace;
    char name[SPAN_NAME_MAX], id[ID_TEXT_LEN];
    trace_message_ids(message, &trace);
    SpanInfo info = {.trace = &trace,
                     .name = span_name_join(name, STR("append"), ' ', str_c(destination)),
                     .kind = SPAN_PRODUCER,
                     .began_ns = message->began_ns,
                     .ended_ns = clock_mono_ns()};
    if (!span_write(&info))
        return;
    id_format(&message->id, id);
    span_text("messaging.system", STR("postgresql"));
    span_text("messaging.operation.name", STR("append"));
    span_text("messaging.operation.type", STR("create"));
    span_text("messaging.destination.name", str_c(destination));
    span_text("messaging.message.id", (Str){id, ID_TEXT_LEN});
    span_text("usher.message.type", message->type);
    span_close();
}

void trace_messages_end(const Set *set, const Resource *outbox) {
    char destination[80];
    if (!telemetry_traces() || outbox == NULL)
        return;
    (void)snprintf(destination, sizeof destination, "%s.outbox", outbox->schema);
    for (size_t i = 0; i < set->n; i++) {
        const Member *member = set->members[i];
        for (const Outgoing *m = member->outcome == ERR_OK ? member->outgoing : NULL; m != NULL; m = m->next)
            if (has_span(m))
                write_append(member->ctx, m, destination);
    }
}
