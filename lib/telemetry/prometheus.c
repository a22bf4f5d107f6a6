/*
 * prometheus.c - the text format, and OpenTelemetry's names in it.
 *
 * Names follow OpenTelemetry's "Prometheus and OpenMetrics compatibility": dots become underscores, the unit's word and
 * _total are appended; units in braces say nothing.
 */
#include "telemetry/metrics.h"

#include <stdio.h>

#include "telemetry/state.h"

static void add_name(Buf *out, Str name) {
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        buf_add_char(out, plain ? c : '_');
    }
}

static void add_metric_name(Buf *out, const Metric *metric) {
    add_name(out, str_c(metric->name));
    if (strcmp(metric->unit, "s") == 0)
        buf_add_c(out, "_seconds");
    if (metric->kind == METRIC_COUNTER)
        buf_add_c(out, "_total");
}

static void add_quoted(Buf *out, Str value) {
    buf_add_char(out, '"');
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"')
            buf_add_char(out, '\\');
        if (c == '\n')
            buf_add_c(out, "\\n");
        else
            buf_add_char(out, c);
    }
    buf_add_char(out, '"');
}

/* {a="b",le="0.1"}; nothing when there is none. */
static void add_labels(Buf *out, Str labels, Str bound) {
    Str name, value;
    bool any = false, number;
    while (metric_label_next(&labels, &name, &value, &number)) {
        buf_add_char(out, any ? ',' : '{');
        any = true;
        add_name(out, name);
        buf_add_char(out, '=');
        add_quoted(out, value);
    }
    if (bound.p != NULL)
        buf_printf(out, "%sle=\"%.*s\"", any ? "," : "{", STR_ARG(bound));
    if (any || bound.p != NULL)
        buf_add_char(out, '}');
}

/* ns as seconds, without floating point: 0.075, 10. */
static void add_scaled(Buf *out, const Metric *metric, int64_t value) {
    if (strcmp(metric->unit, "s") != 0) {
        buf_add_i64(out, value);
        return;
    }
    char text[40];
    int n =
        snprintf(text, sizeof text, "%lld.%09lld", (long long)(value / 1000000000), (long long)(value % 1000000000));
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    buf_add_bytes(out, text, (size_t)MAX_OF(n, 0));
}

static void add_histogram(Buf *out, const Metric *metric, const MetricPoint *point) {
    size_t n;
    const int64_t *bounds = metric_bounds(metric->bounds, &n);
    uint64_t below = 0;
    for (size_t i = 0; i <= n; i++) {
        char text[48];
        Buf bound = {.p = text, .capacity = sizeof text, .max = sizeof text};
        if (i < n)
            add_scaled(&bound, metric, bounds[i]);
        else
            buf_add_c(&bound, "+Inf");
        below += point->buckets[i];
        add_metric_name(out, metric);
        buf_add_c(out, "_bucket");
        add_labels(out, point->labels, buf_str(&bound));
        buf_printf(out, " %llu\n", (unsigned long long)below);
    }
    add_metric_name(out, metric);
    buf_add_c(out, "_sum");
    add_labels(out, point->labels, (Str){NULL, 0});
    buf_add_char(out, ' ');
    add_scaled(out, metric, point->sum);
    buf_add_char(out, '\n');
    add_metric_name(out, metric);
    buf_add_c(out, "_count");
    add_labels(out, point->labels, (Str){NULL, 0});
    buf_printf(out, " %llu\n", (unsigned long long)below);
}

static void add_head(Buf *out, const Metric *metric) {
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_UP_DOWN] = "gauge",
        [METRIC_GAUGE_MAX] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
    };
    buf_add_c(out, "# HELP ");
    add_metric_name(out, metric);
    buf_printf(out, " %s\n# TYPE ", metric->doc);
    add_metric_name(out, metric);
    buf_printf(out, " %s\n", types[metric->kind]);
}

Err metrics_prometheus(Arena *arena, Buf *out) {
    MetricPoint *points;
    size_t n;
    TRY(metrics_collect(arena, &points, &n));
    for (size_t i = 0; i < n; i++) {
        const Metric *metric = &METRIC_TABLE[points[i].id];
        if (i == 0 || points[i].id != points[i - 1].id)
            add_head(out, metric);
        if (metric->kind == METRIC_HISTOGRAM) {
            add_histogram(out, metric, &points[i]);
            continue;
        }
        add_metric_name(out, metric);
        add_labels(out, points[i].labels, (Str){NULL, 0});
        buf_add_char(out, ' ');
        add_scaled(out, metric, points[i].value);
        buf_add_char(out, '\n');
    }
    return out->err;
}
