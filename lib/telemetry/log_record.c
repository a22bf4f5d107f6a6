/*
 * log_record.c - a log line into its OTLP bytes (opentelemetry-proto, logs/v1/logs.proto, message LogRecord).
 *
 * The event's name is the body and, since OTLP has a place for it, the event name too; fields are attributes under
 * their own names, with the same secrets masked as on stderr.
 */
#include "telemetry/protobuf.h"
#include "telemetry/state.h"

enum {
    LOG_TIME = 1,
    LOG_SEVERITY = 2,
    LOG_SEVERITY_TEXT = 3,
    LOG_BODY = 5,
    LOG_ATTRIBUTES = 6,
    LOG_FLAGS = 8,
    LOG_TRACE_ID = 9,
    LOG_SPAN_ID = 10,
    LOG_OBSERVED = 11,
    LOG_EVENT_NAME = 12
};

/* Severity numbers of the log data model. */
static const struct {
    uint64_t number;
    const char *text;
} severities[] = {
    [LOG_DEBUG] = {5, "DEBUG"}, [LOG_INFO] = {9, "INFO"}, [LOG_WARN] = {13, "WARN"}, [LOG_ERROR] = {17, "ERROR"}};

static void write_field(Pb *pb, const LogField *field) {
    if (log_is_secret(field->name))
        pb_attribute_text(pb, LOG_ATTRIBUTES, field->name, STR("***"));
    else if (field->kind == LOG_FIELD_STR)
        pb_attribute_text(pb, LOG_ATTRIBUTES, field->name, field->str);
    else if (field->kind == LOG_FIELD_INT)
        pb_attribute_int(pb, LOG_ATTRIBUTES, field->name, field->num);
    else
        pb_attribute_text(pb, LOG_ATTRIBUTES, field->name, field->num != 0 ? STR("true") : STR("false"));
}

void log_record_write(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n) {
    static uint8_t memory[RECORD_MAX];
    Pb pb = {.p = memory, .capacity = sizeof memory};
    uint64_t now = (uint64_t)telemetry_unix_ns();
    if (telemetry.slot == NULL)
        return;
    pb_fixed64(&pb, LOG_TIME, now);
    pb_fixed64(&pb, LOG_OBSERVED, now);
    pb_uint(&pb, LOG_SEVERITY, severities[level].number);
    pb_text(&pb, LOG_SEVERITY_TEXT, str_c(severities[level].text));
    size_t body = pb_begin(&pb, LOG_BODY);
    pb_text(&pb, 1, str_c(event));
    pb_end(&pb, body);
    pb_text(&pb, LOG_EVENT_NAME, str_c(event));
    pb_attribute_text(&pb, LOG_ATTRIBUTES, "usher.role", str_c(telemetry.slot->role));
    for (size_t i = 0; i < n; i++)
        write_field(&pb, &fields[i]);
    if (ctx != NULL) {
        pb_bytes(&pb, LOG_TRACE_ID, ctx->trace.trace_id, 16);
        pb_bytes(&pb, LOG_SPAN_ID, ctx->trace.span_id, 8);
        pb_fixed32(&pb, LOG_FLAGS, ctx->trace.flags);
    }
    if (pb.full)
        add_u64(&telemetry.slot->ring.dropped, 1);
    else
        ring_put(telemetry.region, telemetry.slot_at, RECORD_LOG, pb.p, pb.n);
}
