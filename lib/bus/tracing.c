/*
 * tracing.c - publish and process (semantic conventions: messaging; still in development there).
 *
 * The message's own span is "append" (lib/resource); publishing and processing are its children. Its traceparent is
 * therefore never rewritten on the way.
 */
#include "bus/tracing.h"

#include "telemetry/sampler.h"

static const char SYSTEM[] = "postgresql";

/* Labels are known by their address; types come from rows. What is not declared has no name of its own. */
static const char *kept_type(Str type) {
    static char kept[32][80];
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        if (kept[i][0] == '\0' && type.n < sizeof kept[i])
            memcpy(kept[i], type.p, type.n);
        if (str_eq_c(type, kept[i]))
            return kept[i];
    }
    return "other";
}

static void message_attributes(const Envelope *message, const char *operation, const char *type, Str destination) {
    char id[ID_TEXT_LEN];
    id_format(&message->message_id, id);
    span_text("messaging.system", str_c(SYSTEM));
    span_text("messaging.operation.name", str_c(operation));
    span_text("messaging.operation.type", str_c(type));
    span_text("messaging.destination.name", destination);
    span_text("messaging.message.id", (Str){id, ID_TEXT_LEN});
    span_text("usher.message.type", message->type);
}

static void write_publish(const Envelope *message, int64_t began_ns, int64_t ended_ns, Err err) {
    Trace trace;
    char name[SPAN_NAME_MAX];
    if (message->traceparent.p == NULL || trace_parse(message->traceparent, &trace) != ERR_OK)
        return;
    trace.state = message->tracestate;
    SpanInfo info = {.trace = &trace,
                     .name = span_name_join(name, STR("publish"), ' ', message->type),
                     .kind = SPAN_PRODUCER,
                     .began_ns = began_ns,
                     .ended_ns = ended_ns,
                     .remote_parent = true,
                     .failed = err != ERR_OK};
    if (!span_write(&info))
        return;
    message_attributes(message, "publish", "send", message->type);
    if (err != ERR_OK)
        span_text("error.type", str_c(err_name(err)));
    span_close();
}

void trace_published(Ctx *ctx UNUSED, const Envelope *messages, size_t n, int64_t began_ns, Err err) {
    const char *failure = err == ERR_OK ? NULL : err_name(err);
    int64_t ended_ns = clock_mono_ns();
    metric_record(METRIC_MESSAGING_DURATION, ended_ns - began_ns,
                  LABELS({"messaging.system", SYSTEM, 0}, {"messaging.operation.name", "publish", 0},
                         {"messaging.operation.type", "send", 0}, {failure == NULL ? NULL : "error.type", failure, 0}));
    for (size_t i = 0; i < n; i++) {
        if (err == ERR_OK)
            metric_add(METRIC_MESSAGING_SENT, 1,
                       LABELS({"messaging.system", SYSTEM, 0}, {"messaging.operation.name", "publish", 0},
                              {"messaging.destination.name", kept_type(messages[i].type), 0}));
        if (telemetry_traces())
            write_publish(&messages[i], began_ns, ended_ns, err);
    }
}

void trace_relayed(const char *context, const int64_t *appended_us, size_t n) {
    int64_t now_us = instant_to_unix_us(clock_now());
    for (size_t i = 0; i < n; i++)
        metric_record(METRIC_OUTBOX_DELAY, MAX_OF(now_us - appended_us[i], 0) * 1000,
                      LABELS({"usher.context", context, 0}));
}

void trace_delivered(Ctx *ctx, bool continued) {
    if (telemetry_traces() && !telemetry_samples(&ctx->trace, continued))
        ctx->trace.flags = (uint8_t)(ctx->trace.flags & ~TRACE_SAMPLED);
}

static const char *outcome_name(DeliveryOutcome outcome) {
    static const char *const names[] = {
        [DELIVERY_DONE] = "done", [DELIVERY_RETRY] = "retry", [DELIVERY_DEAD] = "dead", [DELIVERY_HELD] = "held"};
    return names[outcome];
}

void trace_processed(const Ctx *ctx, const char *queue, const Envelope *message, int64_t began_ns,
                     DeliveryOutcome outcome) {
    if (outcome == DELIVERY_HELD) /* was not tried */
        return;
    char name[SPAN_NAME_MAX];
    const char *failure = outcome == DELIVERY_DONE ? NULL : outcome_name(outcome);
    const Label destination = {"messaging.destination.name", queue, 0};
    metric_add(METRIC_MESSAGING_CONSUMED, 1,
               LABELS({"messaging.system", SYSTEM, 0}, {"messaging.operation.name", "process", 0}, destination,
                      {failure == NULL ? NULL : "error.type", failure, 0}));
    int64_t ended_ns = clock_mono_ns();
    metric_record(METRIC_MESSAGING_PROCESS, ended_ns - began_ns,
                  LABELS({"messaging.system", SYSTEM, 0}, {"messaging.operation.name", "process", 0}, destination,
                         {failure == NULL ? NULL : "error.type", failure, 0}));
    SpanInfo info = {.trace = &ctx->trace,
                     .name = span_name_join(name, STR("process"), ' ', str_c(queue)),
                     .kind = SPAN_CONSUMER,
                     .began_ns = began_ns,
                     .ended_ns = ended_ns,
                     .remote_parent = true,
                     .failed = failure != NULL};
    if (!span_write(&info))
        return;
    message_attributes(message, "process", "process", str_c(queue));
    if (failure != NULL)
        span_text("error.type", str_c(failure));
    span_int("usher.message.attempt", message->attempt);
    span_close();
}
