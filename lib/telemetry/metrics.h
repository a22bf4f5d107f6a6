/*
 * metrics.h - counters, gauges and histograms, in memory shared by all workers.
 *
 * Recording costs a look into a small cache and a few additions to the worker's own memory; nothing is locked, nothing
 * is allocated. Names, units and bounds are those of OpenTelemetry's semantic conventions where there is one; ours
 * begin with "usher.".
 */
#pragma once
#include "runtime/ctx.h"

typedef enum MetricKind { METRIC_COUNTER, METRIC_UP_DOWN, METRIC_GAUGE_MAX, METRIC_HISTOGRAM } MetricKind;
typedef enum MetricBounds { BOUNDS_NONE, BOUNDS_HTTP, BOUNDS_DB, BOUNDS_MESSAGING, BOUNDS_SIZE } MetricBounds;

/*
 * How to add one: a row here; record it; a row in docs/telemetry.md (a test compares). UP_DOWN is summed over the
 * workers, GAUGE_MAX is the largest of them. Unit "s" is recorded in nanoseconds.
 */
#define METRICS(X)                                                                                                     \
    X(METRIC_HTTP_DURATION, "http.server.request.duration", METRIC_HISTOGRAM, "s", BOUNDS_HTTP,                        \
      "Duration of HTTP server requests.")                                                                             \
    X(METRIC_HTTP_ACTIVE, "http.server.active_requests", METRIC_UP_DOWN, "{request}", BOUNDS_NONE,                     \
      "Number of active HTTP server requests.")                                                                        \
    X(METRIC_HTTP_CLIENT_DURATION, "http.client.request.duration", METRIC_HISTOGRAM, "s", BOUNDS_HTTP,                 \
      "Duration of HTTP client requests: the gateway's to its sides.")                                                 \
    X(METRIC_CLIENT_ACTIVE, "http.client.active_requests", METRIC_UP_DOWN, "{request}", BOUNDS_NONE,                   \
      "Requests in work at an instance of an upstream.")                                                               \
    X(METRIC_CLIENT_CONNECTIONS, "http.client.open_connections", METRIC_UP_DOWN, "{connection}", BOUNDS_NONE,          \
      "Connections to an instance of an upstream.")                                                                    \
    X(METRIC_UPSTREAM_DURATION, "usher.upstream.request.duration", METRIC_HISTOGRAM, "s", BOUNDS_HTTP,                 \
      "Duration of requests to an instance of an upstream, whatever their route.")                                     \
    X(METRIC_UPSTREAM_FAILURES, "usher.upstream.failures", METRIC_COUNTER, "{attempt}", BOUNDS_NONE,                   \
      "Attempts at an instance of an upstream that failed, those tried again elsewhere included.")                     \
    X(METRIC_UPSTREAM_STATE, "usher.upstream.state", METRIC_UP_DOWN, "{worker}", BOUNDS_NONE,                          \
      "Workers that see an instance of an upstream in this state.")                                                    \
    X(METRIC_DB_DURATION, "db.client.operation.duration", METRIC_HISTOGRAM, "s", BOUNDS_DB,                            \
      "Duration of database client operations.")                                                                       \
    X(METRIC_MESSAGING_DURATION, "messaging.client.operation.duration", METRIC_HISTOGRAM, "s", BOUNDS_MESSAGING,       \
      "Duration of publishing a batch to the transport.")                                                              \
    X(METRIC_MESSAGING_SENT, "messaging.client.sent.messages", METRIC_COUNTER, "{message}", BOUNDS_NONE,               \
      "Messages that the transport confirmed.")                                                                        \
    X(METRIC_MESSAGING_CONSUMED, "messaging.client.consumed.messages", METRIC_COUNTER, "{message}", BOUNDS_NONE,       \
      "Messages delivered to a consumer, repetitions included.")                                                       \
    X(METRIC_MESSAGING_PROCESS, "messaging.process.duration", METRIC_HISTOGRAM, "s", BOUNDS_MESSAGING,                 \
      "From a message's delivery to its outcome.")                                                                     \
    X(METRIC_ACTION_DURATION, "usher.action.duration", METRIC_HISTOGRAM, "s", BOUNDS_DB,                               \
      "Duration of resource actions, waiting for their set included.")                                                 \
    X(METRIC_SET_SIZE, "usher.set.size", METRIC_HISTOGRAM, "{member}", BOUNDS_SIZE,                                    \
      "Members of the sets that were run, one commit each.")                                                           \
    X(METRIC_OUTBOX_DEPTH, "usher.outbox.depth", METRIC_GAUGE_MAX, "{message}", BOUNDS_NONE,                           \
      "Messages waiting in an outbox; counted up to 100000.")                                                          \
    X(METRIC_OUTBOX_AGE, "usher.outbox.age", METRIC_GAUGE_MAX, "s", BOUNDS_NONE,                                       \
      "Age of the oldest message in an outbox.")                                                                       \
    X(METRIC_OUTBOX_DELAY, "usher.outbox.delay", METRIC_HISTOGRAM, "s", BOUNDS_MESSAGING,                              \
      "From a message's append to its confirmed publication.")                                                         \
    X(METRIC_JOB_DURATION, "usher.job.duration", METRIC_HISTOGRAM, "s", BOUNDS_DB,                                     \
      "From a job's start to its verdict.")                                                                            \
    X(METRIC_JOB_DELAY, "usher.job.delay", METRIC_HISTOGRAM, "s", BOUNDS_DB,                                           \
      "From when a job might run to when it was claimed.")                                                             \
    X(METRIC_JOBS_DEPTH, "usher.jobs.depth", METRIC_GAUGE_MAX, "{job}", BOUNDS_NONE,                                   \
      "Jobs that are due and wait; counted up to 100000.")                                                             \
    X(METRIC_JOBS_AGE, "usher.jobs.age", METRIC_GAUGE_MAX, "s", BOUNDS_NONE,                                           \
      "How long the oldest of them has waited.")                                                                       \
    X(METRIC_JOBS_RUNNING, "usher.jobs.running", METRIC_UP_DOWN, "{job}", BOUNDS_NONE, "Jobs that run.")               \
    X(METRIC_COROUTINES, "usher.coroutines", METRIC_UP_DOWN, "{coroutine}", BOUNDS_NONE, "Coroutines that live.")      \
    X(METRIC_CONNECTIONS, "usher.http.connections", METRIC_UP_DOWN, "{connection}", BOUNDS_NONE,                       \
      "Client connections that are open.")                                                                             \
    X(METRIC_POOL_CONNECTED, "usher.pool.connected", METRIC_UP_DOWN, "{worker}", BOUNDS_NONE,                          \
      "Workers whose Postgres pool is connected.")                                                                     \
    X(METRIC_WORKERS, "usher.workers", METRIC_UP_DOWN, "{worker}", BOUNDS_NONE, "Workers that run.")                   \
    X(METRIC_RESTARTS, "usher.worker.restarts", METRIC_COUNTER, "{restart}", BOUNDS_NONE,                              \
      "Workers begun in the place of one that ended.")                                                                 \
    X(METRIC_SHADOW_COMPARED, "usher.shadow.compared", METRIC_COUNTER, "{exchange}", BOUNDS_NONE,                      \
      "Exchanges of which both sides' answers were compared, by outcome.")                                             \
    X(METRIC_SHADOW_SKIPPED, "usher.shadow.skipped", METRIC_COUNTER, "{exchange}", BOUNDS_NONE,                        \
      "Exchanges that were to be mirrored and were not compared, by reason.")                                          \
    X(METRIC_SHADOW_MESSAGES, "usher.shadow.messages", METRIC_COUNTER, "{message}", BOUNDS_NONE,                       \
      "Messages that mirrored writes would publish, against the old side's, by outcome.")                              \
    X(METRIC_LOG_DROPPED, "usher.log.dropped", METRIC_COUNTER, "{line}", BOUNDS_NONE,                                  \
      "Log lines dropped because stderr was full.")                                                                    \
    X(METRIC_SPANS_EXPORTED, "usher.spans.exported", METRIC_COUNTER, "{span}", BOUNDS_NONE,                            \
      "Spans that the collector took.")                                                                                \
    X(METRIC_SPANS_DROPPED, "usher.spans.dropped", METRIC_COUNTER, "{span}", BOUNDS_NONE,                              \
      "Spans and log records lost: a ring was full, or the collector would not take them.")                            \
    X(METRIC_EXPORT_FAILURES, "usher.export.failures", METRIC_COUNTER, "{batch}", BOUNDS_NONE,                         \
      "Attempts to send a batch that failed.")

typedef enum MetricId {
#define METRIC_ENUM(id, name, kind, unit, bounds, doc) id,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
} MetricId;

typedef struct Metric {
    const char *name, *unit, *doc;
    MetricKind kind;
    MetricBounds bounds;
} Metric;
extern const Metric METRIC_TABLE[METRIC_COUNT];

/** A label: text, or a number where text is NULL. A name of NULL leaves it out. Both texts must live as long as the
 *  worker: they are known by their address. */
typedef struct Label {
    const char *name;
    const char *text;
    int64_t number;
} Label;
#define LABELS_MAX  7
#define LABELS(...) (const Label[]){__VA_ARGS__}, sizeof((const Label[]){__VA_ARGS__}) / sizeof(Label)

/** Counter or UP_DOWN: adds. */
void metric_add(MetricId id, int64_t by, const Label *labels, size_t n);
/** UP_DOWN or GAUGE_MAX: this worker's value is now. */
void metric_set(MetricId id, int64_t value, const Label *labels, size_t n);
/** Histogram: one value, in ns where the unit is "s". */
void metric_record(MetricId id, int64_t value, const Label *labels, size_t n);

/** A series, for who adds to it at each request: good while metrics_generation is the same. NULL: nothing is recorded.
 */
struct Series *metric_series(MetricId id, const Label *labels, size_t n);
void series_add(struct Series *series, int64_t by);
void series_record(struct Series *series, int64_t value);
uint32_t metrics_generation(void);

/** The bounds in the metric's recorded unit; *ret_n of them. */
const int64_t *metric_bounds(MetricBounds which, size_t *ret_n);

/** One series, all workers together. */
typedef struct MetricPoint {
    MetricId id;
    Str labels; /* name=text or name#number, METRIC_LABEL_END between */
    int64_t value;
    int64_t sum;
    uint64_t buckets[16];
} MetricPoint;
#define METRIC_LABEL_END '\x1f'
/** All series, in the order of the table, then by labels. In the arena. */
MUST_USE Err metrics_collect(Arena *arena, MetricPoint **ret, size_t *ret_n);
/** Takes the next label off *rest; false at the end. */
bool metric_label_next(Str *rest, Str *name, Str *value, bool *is_number);
/** Appends the whole in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats). */
MUST_USE Err metrics_prometheus(Arena *arena, Buf *out);
