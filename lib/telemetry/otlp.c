/*
 * otlp.c - who speaks (Resource, InstrumentationScope), then spans as they come, or metrics.
 */
#include "telemetry/otlp.h"

#ifndef USHER_VERSION
#define USHER_VERSION "unknown"
#endif

enum { CUMULATIVE = 2 };

/* --- resource ----------------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    int lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* %20 → ' ', as in baggage (the specification's form for OTEL_RESOURCE_ATTRIBUTES). */
static Str percent_decoded(Str text, char *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; i < text.n && n < room; i++) {
        int high = text.p[i] == '%' && i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.p[i + 2]) : -1;
        out[n] = text.p[i];
        if (low >= 0) {
            out[n] = (char)(high << 4 | low);
            i += 2;
        }
        n++;
    }
    return (Str){out, n};
}

/* The name's own variable wins over one among the attributes. */
static void given_attributes(Pb *pb, Str rest) {
    bool named = telemetry.config.service_name.n > 0;
    while (rest.p != NULL && rest.n > 0) {
        char key_text[128], value_text[512];
        Str value = str_cut(&rest, ','), key = str_trim(str_cut(&value, '='), " ");
        if (key.n == 0 || key.n >= sizeof key_text || value.p == NULL)
            continue;
        if (str_eq_c(key, "service.name")) {
            if (named)
                continue;
            named = true;
        }
        memcpy(key_text, key.p, key.n);
        key_text[key.n] = '\0';
        pb_attribute_text(pb, 1, key_text, percent_decoded(str_trim(value, " "), value_text, sizeof value_text));
    }
    if (telemetry.config.service_name.n > 0)
        pb_attribute_text(pb, 1, "service.name", telemetry.config.service_name);
    else if (!named)
        pb_attribute_text(pb, 1, "service.name", STR("usher"));
}

/* A Resource as field 1. */
static void resource(Pb *pb) {
    size_t at = pb_begin(pb, 1);
    pb_attribute_text(pb, 1, "service.version", STR(USHER_VERSION));
    pb_attribute_text(pb, 1, "telemetry.sdk.name", STR("usher"));
    pb_attribute_text(pb, 1, "telemetry.sdk.language", STR("c"));
    pb_attribute_text(pb, 1, "telemetry.sdk.version", STR(USHER_VERSION));
    given_attributes(pb, telemetry.config.resource_attributes);
    pb_end(pb, at);
}

static void scope(Pb *pb) {
    size_t at = pb_begin(pb, 1);
    pb_bytes(pb, 1, "usher", 5);
    pb_bytes(pb, 2, USHER_VERSION, sizeof USHER_VERSION - 1);
    pb_end(pb, at);
}

/* --- spans, log records ------------------------------------------------------------------------------------------- */

void otlp_batch_begin(OtlpBatch *batch, void *memory, size_t bytes) {
    *batch = (OtlpBatch){.pb = {.p = memory, .capacity = bytes}};
    batch->outer = pb_begin(&batch->pb, 1);
    resource(&batch->pb);
    batch->inner = pb_begin(&batch->pb, 2);
    scope(&batch->pb);
    ASSERT(!batch->pb.full);
}

bool otlp_batch_add(OtlpBatch *batch, const uint8_t *record, size_t n) {
    if (batch->pb.capacity - batch->pb.n < n + 8)
        return false;
    pb_bytes(&batch->pb, 2, record, n);
    batch->n++;
    return true;
}

Str otlp_batch_end(OtlpBatch *batch) {
    pb_end(&batch->pb, batch->inner);
    pb_end(&batch->pb, batch->outer);
    return (Str){(const char *)batch->pb.p, batch->pb.n};
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

typedef struct Times {
    uint64_t began, now;
} Times;

static void attributes(Pb *pb, int field, Str labels) {
    Str name, value;
    bool is_number;
    while (metric_label_next(&labels, &name, &value, &is_number)) {
        char key[64];
        uint64_t number;
        if (name.n >= sizeof key)
            continue;
        memcpy(key, name.p, name.n);
        key[name.n] = '\0';
        if (is_number && str_to_u64(value, INT64_MAX, &number) == ERR_OK)
            pb_attribute_int(pb, field, key, (int64_t)number);
        else
            pb_attribute_text(pb, field, key, value);
    }
}

/* Floating point is what the format has: here, and nowhere before. */
static double scaled(const Metric *metric, int64_t value) {
    return strcmp(metric->unit, "s") == 0 ? (double)value / 1e9 : (double)value;
}

static void number_point(Pb *pb, const Metric *metric, const MetricPoint *point, Times times) {
    size_t at = pb_begin(pb, 1);
    pb_fixed64(pb, 2, times.began);
    pb_fixed64(pb, 3, times.now);
    if (strcmp(metric->unit, "s") == 0)
        pb_double(pb, 4, scaled(metric, point->value));
    else
        pb_fixed64(pb, 6, (uint64_t)point->value);
    attributes(pb, 7, point->labels);
    pb_end(pb, at);
}

static void histogram_point(Pb *pb, const Metric *metric, const MetricPoint *point, Times times) {
    size_t n, at = pb_begin(pb, 1);
    const int64_t *bounds = metric_bounds(metric->bounds, &n);
    pb_fixed64(pb, 2, times.began);
    pb_fixed64(pb, 3, times.now);
    pb_fixed64(pb, 4, (uint64_t)point->value);
    pb_double(pb, 5, scaled(metric, point->sum));
    /* Unpacked: every decoder must take both forms, and this one needs no length. */
    for (size_t i = 0; i <= n; i++)
        pb_fixed64(pb, 6, point->buckets[i]);
    for (size_t i = 0; i < n; i++)
        pb_double(pb, 7, scaled(metric, bounds[i]));
    attributes(pb, 9, point->labels);
    pb_end(pb, at);
}

/* All points of one metric. */
static void metric_message(Pb *pb, const MetricPoint *points, size_t n, Times times) {
    static const int data_field[] = {
        [METRIC_GAUGE_MAX] = 5, [METRIC_COUNTER] = 7, [METRIC_UP_DOWN] = 7, [METRIC_HISTOGRAM] = 9};
    const Metric *metric = &METRIC_TABLE[points[0].id];
    size_t message = pb_begin(pb, 2);
    pb_bytes(pb, 1, metric->name, strlen(metric->name));
    pb_bytes(pb, 2, metric->doc, strlen(metric->doc));
    pb_bytes(pb, 3, metric->unit, strlen(metric->unit));
    size_t data = pb_begin(pb, data_field[metric->kind]);
    for (size_t i = 0; i < n; i++) {
        if (metric->kind == METRIC_HISTOGRAM)
            histogram_point(pb, metric, &points[i], times);
        else
            number_point(pb, metric, &points[i], times);
    }
    if (metric->kind != METRIC_GAUGE_MAX)
        pb_uint(pb, 2, CUMULATIVE);
    if (metric->kind == METRIC_COUNTER)
        pb_uint(pb, 3, 1); /* monotonic */
    pb_end(pb, data);
    pb_end(pb, message);
}

Err otlp_metrics(Arena *arena, void *memory, size_t bytes, Str *ret) {
    MetricPoint *points;
    size_t n;
    TRY(metrics_collect(arena, &points, &n));
    OtlpBatch batch;
    otlp_batch_begin(&batch, memory, bytes);
    Times times = {.began = (uint64_t)telemetry.region->began_unix_ns, .now = (uint64_t)telemetry_unix_ns()};
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && points[end].id == points[i].id;)
            end++;
        metric_message(&batch.pb, &points[i], end - i, times);
    }
    *ret = otlp_batch_end(&batch);
    return batch.pb.full ? ERR_LIMIT : ERR_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool varint_take(Str *rest, uint64_t *ret) {
    *ret = 0;
    for (size_t i = 0; i < rest->n && i < 10; i++) {
        *ret |= (uint64_t)((uint8_t)rest->p[i] & 0x7F) << (7 * i);
        if (((uint8_t)rest->p[i] & 0x80) == 0) {
            *rest = str_slice(*rest, i + 1, rest->n);
            return true;
        }
    }
    return false;
}

/* Export*ServiceResponse { partial_success = 1 { rejected_* = 1 } }, each the first field of its message. */
uint64_t otlp_rejected(Str answer) {
    uint64_t tag, length, rejected;
    if (!varint_take(&answer, &tag) || tag != (1 << 3 | 2) || !varint_take(&answer, &length) || length > answer.n)
        return 0;
    Str partial = str_slice(answer, 0, (size_t)length);
    if (!varint_take(&partial, &tag) || tag != (1 << 3 | 0) || !varint_take(&partial, &rejected))
        return 0;
    return rejected;
}
