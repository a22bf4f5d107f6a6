/*
 * test_metrics.c - counting, buckets, adding up workers, Prometheus' text, the ring.
 */
#include "unit.h"

#include "telemetry/otlp.h"
#include "telemetry/region.h"
#include "telemetry/span.h"
#include "telemetry/telemetry.h"

static const TelemetryRole roles[] = {{"http", 2, true}, {"relay", 1, false}, {0}};

static void open_telemetry(const char *traces) {
    TelemetryConfig config = {.sampler = {.parent_based = true, .threshold = SAMPLER_ALL},
                              .traces_url = str_c(traces),
                              .queue_max = 16,
                              .batch_max = 8};
    assert_int_equal(telemetry_open(&config, roles), ERR_OK);
}

static int setup(void **state) {
    *state = arena_new(8 * 1024 * 1024);
    open_telemetry(NULL);
    return 0;
}

static int teardown(void **state) {
    telemetry_close();
    arena_free(*state);
    return 0;
}

static const MetricPoint *point(Arena *arena, MetricId id, const char *labels) {
    MetricPoint *points;
    size_t n;
    assert_int_equal(metrics_collect(arena, &points, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (points[i].id == id && str_eq_c(points[i].labels, labels))
            return &points[i];
    return NULL;
}

static void test_nothing_without_a_slot(void **state) {
    metric_add(METRIC_MESSAGING_SENT, 1, NULL, 0);
    assert_null(point(*state, METRIC_MESSAGING_SENT, ""));
}

static void test_counters_add_up_over_workers(void **state) {
    telemetry_attach("http", 0);
    metric_add(METRIC_MESSAGING_SENT, 2, LABELS({"a", "x", 0}));
    telemetry_attach("http", 1);
    metric_add(METRIC_MESSAGING_SENT, 3, LABELS({"a", "x", 0}));
    metric_add(METRIC_MESSAGING_SENT, 4, LABELS({"a", "y", 0}, {"n", NULL, 200}, {NULL, NULL, 0}));
    assert_int_equal(point(*state, METRIC_MESSAGING_SENT, "a=x")->value, 5);
    assert_int_equal(point(*state, METRIC_MESSAGING_SENT, "a=y\x1fn#200")->value, 4);
}

static void test_equal_labels_at_other_addresses_are_one(void **state) {
    char one[] = "x", two[] = "x";
    telemetry_attach("http", 0);
    metric_add(METRIC_MESSAGING_SENT, 1, LABELS({"a", one, 0}));
    metric_add(METRIC_MESSAGING_SENT, 1, LABELS({"a", two, 0}));
    assert_int_equal(point(*state, METRIC_MESSAGING_SENT, "a=x")->value, 2);
}

static void test_a_restart_keeps_counters_and_forgets_gauges(void **state) {
    telemetry_attach("relay", 0);
    metric_add(METRIC_MESSAGING_SENT, 2, NULL, 0);
    metric_set(METRIC_OUTBOX_DEPTH, 9, NULL, 0);
    metric_set(METRIC_COROUTINES, 5, NULL, 0);
    telemetry_attach("relay", 0);
    metric_add(METRIC_MESSAGING_SENT, 1, NULL, 0);
    assert_int_equal(point(*state, METRIC_MESSAGING_SENT, "")->value, 3);
    assert_int_equal(point(*state, METRIC_OUTBOX_DEPTH, "")->value, 0);
    assert_int_equal(point(*state, METRIC_COROUTINES, "")->value, 0);
    assert_int_equal(point(*state, METRIC_RESTARTS, "usher.role=relay")->value, 1);
    assert_int_equal(point(*state, METRIC_WORKERS, "usher.role=relay")->value, 1);
}

static void test_sums_and_largest(void **state) {
    telemetry_attach("http", 0);
    metric_set(METRIC_COROUTINES, 5, NULL, 0);
    metric_set(METRIC_OUTBOX_AGE, 7, NULL, 0);
    telemetry_attach("http", 1);
    metric_set(METRIC_COROUTINES, 6, NULL, 0);
    metric_set(METRIC_OUTBOX_AGE, 4, NULL, 0);
    assert_int_equal(point(*state, METRIC_COROUTINES, "")->value, 11);
    assert_int_equal(point(*state, METRIC_OUTBOX_AGE, "")->value, 7);
}

static const struct {
    const char *label;
    int64_t ns;
    size_t bucket;
} durations[] = {
    {"nothing", 0, 0},
    {"a clock that went back", -5, 0},
    {"just below a bound", 4999999, 0},
    {"a bound belongs to what is below it", 5000000, 0},
    {"just above it", 5000001, 1},
    {"0.07 s", 70000000, 4},
    {"the last bound", 10000000000, 13},
    {"above all", 10000000001, 14},
    {"for ever", INT64_MAX / 2, 14},
};

static void test_histogram(void **state) {
    telemetry_attach("http", 0);
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        char name[16];
        print_message("%s\n", durations[i].label);
        (void)snprintf(name, sizeof name, "a#%zu", i);
        metric_record(METRIC_HTTP_DURATION, durations[i].ns, LABELS({"a", NULL, (int64_t)i}));
        const MetricPoint *p = point(*state, METRIC_HTTP_DURATION, name);
        assert_int_equal(p->value, 1);
        assert_int_equal(p->sum, MAX_OF(durations[i].ns, 0));
        assert_int_equal(p->buckets[durations[i].bucket], 1);
    }
}

static void test_bounds_are_the_conventions(void **state) {
    (void)state;
    static const double http[] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10};
    static const double db[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10};
    size_t n;
    const int64_t *bounds = metric_bounds(METRIC_TABLE[METRIC_HTTP_DURATION].bounds, &n);
    assert_int_equal(n, ARRAY_LEN(http));
    for (size_t i = 0; i < n; i++)
        assert_true((double)bounds[i] / 1e9 == http[i]);
    bounds = metric_bounds(METRIC_TABLE[METRIC_DB_DURATION].bounds, &n);
    assert_int_equal(n, ARRAY_LEN(db));
    for (size_t i = 0; i < n; i++)
        assert_true((double)bounds[i] / 1e9 == db[i]);
}

/* Whatever a stranger makes of labels, the table is bounded and totals stay right. */
static void test_too_many_label_sets_overflow(void **state) {
    telemetry_attach("http", 0);
    for (int64_t i = 0; i < 2000; i++) {
        metric_add(METRIC_MESSAGING_SENT, 1, LABELS({"n", NULL, i}));
        metric_add(METRIC_MESSAGING_CONSUMED, 1, LABELS({"n", NULL, i}));
    }
    MetricPoint *points;
    size_t n;
    int64_t sent = 0;
    assert_int_equal(metrics_collect(*state, &points, &n), ERR_OK);
    assert_true(n <= SLOT_SERIES_MAX + 3);
    for (size_t i = 0; i < n; i++)
        sent += points[i].id == METRIC_MESSAGING_SENT ? points[i].value : 0;
    assert_int_equal(sent, 2000);
    assert_true(point(*state, METRIC_MESSAGING_SENT, "otel.metric.overflow=true")->value > 1000);
    metric_add(METRIC_RESTARTS, 1, NULL, 0); /* a metric that comes late still finds a place */
    assert_non_null(point(*state, METRIC_RESTARTS, "otel.metric.overflow=true"));
}

static void test_prometheus(void **state) {
    telemetry_attach("http", 0);
    metric_add(METRIC_MESSAGING_SENT, 2, LABELS({"messaging.destination.name", "a\"b\\c\nd", 0}));
    metric_set(METRIC_OUTBOX_AGE, 1500000000, NULL, 0);
    metric_record(METRIC_DB_DURATION, 7000000, LABELS({"db.system.name", "postgresql", 0}));
    Buf text = buf_new(*state, 1024 * 1024);
    assert_int_equal(metrics_prometheus(*state, &text), ERR_OK);
    static const char *const lines[] = {
        "# TYPE messaging_client_sent_messages_total counter\n",
        "messaging_client_sent_messages_total{messaging_destination_name=\"a\\\"b\\\\c\\nd\"} 2\n",
        "usher_outbox_age_seconds 1.5\n",
        "# TYPE db_client_operation_duration_seconds histogram\n",
        "db_client_operation_duration_seconds_bucket{db_system_name=\"postgresql\",le=\"0.005\"} 0\n",
        "db_client_operation_duration_seconds_bucket{db_system_name=\"postgresql\",le=\"0.01\"} 1\n",
        "db_client_operation_duration_seconds_bucket{db_system_name=\"postgresql\",le=\"+Inf\"} 1\n",
        "db_client_operation_duration_seconds_sum{db_system_name=\"postgresql\"} 0.007\n",
        "db_client_operation_duration_seconds_count{db_system_name=\"postgresql\"} 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (str_find(buf_str(&text), str_c(lines[i])) < 0)
            fail_msg("not there: %s in:\n%.*s", lines[i], STR_ARG(buf_str(&text)));
}

/* --- the ring ----------------------------------------------------------------------------------------------------- */

static void test_ring_keeps_order_and_bytes(void **state) {
    (void)state;
    Region *region = telemetry.region;
    uint8_t in[300], out[RECORD_MAX];
    RecordKind kind;
    size_t n;
    uint64_t put = 0, taken = 0;
    assert_false(ring_peek(region, 0, &kind, out, &n));
    for (int round = 0; round < 5000; round++) { /* many times around, in records of changing length */
        size_t length = (size_t)(put % sizeof in);
        memset(in, (int)(put & 0xff), length);
        assert_true(ring_put(region, 0, put % 2 == 0 ? RECORD_SPAN : RECORD_LOG, in, length));
        put++;
        while (put - taken > (uint64_t)(round % 50)) {
            assert_true(ring_peek(region, 0, &kind, out, &n));
            assert_int_equal(kind, taken % 2 == 0 ? RECORD_SPAN : RECORD_LOG);
            assert_int_equal(n, taken % sizeof in);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(out[i], taken & 0xff);
            ring_skip(region, 0, n);
            taken++;
        }
    }
    assert_int_equal(region->slots[0].ring.dropped, 0);
}

static void test_a_full_ring_drops_and_counts(void **state) {
    uint8_t bytes[1000] = {0};
    Region *region = telemetry.region;
    size_t kept = 0;
    for (int i = 0; i < 1000; i++)
        kept += ring_put(region, 1, RECORD_SPAN, bytes, sizeof bytes);
    assert_int_equal(kept, region->ring_bytes / 1004);
    assert_int_equal(region->slots[1].ring.dropped, 1000 - kept);
    assert_int_equal(point(*state, METRIC_SPANS_DROPPED, "")->value, 1000 - kept);
    assert_int_equal(region->slots[0].ring.head, 0); /* a neighbour's is its own */
}

/* --- spans -------------------------------------------------------------------------------------------------------- */

static void test_spans_nest_and_give_back(void **state) {
    Ctx ctx;
    open_telemetry("http://127.0.0.1:1/v1/traces");
    telemetry_attach("http", 0);
    ctx_init(&ctx, *state, 0);
    const Trace before = ctx.trace;
    Span span;
    span_begin(&ctx, &span);
    assert_memory_equal(ctx.trace.trace_id, before.trace_id, 16);
    assert_memory_equal(ctx.trace.parent_id, before.span_id, 8);
    assert_memory_not_equal(ctx.trace.span_id, before.span_id, 8);
    assert_true(span_end(&ctx, &span, clock_mono_ns(), STR("x"), SPAN_INTERNAL, false));
    span_close();
    assert_memory_equal(&ctx.trace, &before, sizeof before);
    RecordKind kind;
    uint8_t out[RECORD_MAX];
    size_t n;
    assert_true(ring_peek(telemetry.region, 0, &kind, out, &n));
    assert_int_equal(kind, RECORD_SPAN);
    assert_memory_equal(out + 2, before.trace_id, 16);
}

static void test_what_is_not_sampled_is_not_written(void **state) {
    Ctx ctx;
    open_telemetry("http://127.0.0.1:1/v1/traces");
    telemetry_attach("http", 0);
    ctx_init(&ctx, *state, 0);
    ctx.trace.flags = 0;
    const Trace before = ctx.trace;
    Span span;
    span_begin(&ctx, &span);
    assert_memory_equal(&ctx.trace, &before, sizeof before);
    assert_false(span_end(&ctx, &span, clock_mono_ns(), STR("x"), SPAN_INTERNAL, false));
    assert_int_equal(ring_fill(telemetry.region, 0), 0);
}

static void test_a_span_too_long_is_dropped_and_counted(void **state) {
    Ctx ctx;
    Arena *arena = *state;
    open_telemetry("http://127.0.0.1:1/v1/traces");
    telemetry_attach("http", 0);
    ctx_init(&ctx, arena, 0);
    char text[PB_TEXT_MAX];
    memset(text, 'x', sizeof text);
    Span span;
    span_begin(&ctx, &span);
    assert_true(span_end(&ctx, &span, clock_mono_ns(), STR("x"), SPAN_INTERNAL, false));
    for (int i = 0; i < 20; i++)
        span_text("k", (Str){text, sizeof text});
    span_close();
    assert_int_equal(ring_fill(telemetry.region, 0), 0);
    assert_int_equal(telemetry.region->slots[0].ring.dropped, 1);
}

/* --- collectors --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *url, *host, *path;
    int port; /* 0: refused */
} urls[] = {
    {"http://127.0.0.1:4318/v1/traces", "127.0.0.1", "/v1/traces", 4318},
    {"http://collector", "collector", "/", 80},
    {"http://[::1]:4318/x", "::1", "/x", 4318},
    {"http://[::1]", "::1", "/", 80},
    {"https://collector:4318", NULL, NULL, 0},
    {"collector:4318", NULL, NULL, 0},
    {"http://", NULL, NULL, 0},
    {"http://:4318/", NULL, NULL, 0},
    {"http://h:0/", NULL, NULL, 0},
    {"http://h:65536/", NULL, NULL, 0},
    {"http://h:4318x/", NULL, NULL, 0},
    {"http://[::1/", NULL, NULL, 0},
    {"http://[::1]x/", NULL, NULL, 0},
    {"http://user@h/", NULL, NULL, 0},
    {"http://h/a b", NULL, NULL, 0},
    {"http://h/a\r\nX: y", NULL, NULL, 0},
    {"", NULL, NULL, 0},
};

static void test_urls(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        CollectorUrl url;
        print_message("%s\n", urls[i].url);
        assert_int_equal(collector_url_parse(str_c(urls[i].url), &url), urls[i].port == 0 ? ERR_INVALID : ERR_OK);
        assert_int_equal(telemetry_url_fits(str_c(urls[i].url)), urls[i].port != 0);
        if (urls[i].port == 0)
            continue;
        assert_true(str_eq_c(url.host, urls[i].host));
        assert_true(str_eq_c(url.path, urls[i].path));
        assert_int_equal(url.port, urls[i].port);
    }
}

static const struct {
    const char *label;
    Str answer;
    uint64_t want;
} answers[] = {
    {"nothing", STR_INIT(""), 0},
    {"three were refused", STR_INIT("\x0a\x02\x08\x03"), 3},
    {"with words", STR_INIT("\x0a\x07\x08\x80\x01\x12\x02no"), 128},
    {"only words", STR_INIT("\x0a\x04\x12\x02no"), 0},
    {"JSON after all", STR_INIT("{}"), 0},
    {"cut off", STR_INIT("\x0a\x05\x08"), 0},
    {"a number without end", STR_INIT("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 0},
};

static void test_partial_success(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        print_message("%s\n", answers[i].label);
        assert_int_equal(otlp_rejected(answers[i].answer), answers[i].want);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_without_a_slot),
        TEST(test_counters_add_up_over_workers),
        TEST(test_equal_labels_at_other_addresses_are_one),
        TEST(test_a_restart_keeps_counters_and_forgets_gauges),
        TEST(test_sums_and_largest),
        TEST(test_histogram),
        TEST(test_bounds_are_the_conventions),
        TEST(test_too_many_label_sets_overflow),
        TEST(test_prometheus),
        TEST(test_ring_keeps_order_and_bytes),
        TEST(test_a_full_ring_drops_and_counts),
        TEST(test_spans_nest_and_give_back),
        TEST(test_what_is_not_sampled_is_not_written),
        TEST(test_a_span_too_long_is_dropped_and_counted),
        TEST(test_urls),
        TEST(test_partial_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
