/*
 * export.c - from the rings to the collector, in a process of its own.
 *
 * It looks ten times a second; it sends when a ring is a quarter full or the delay has passed. While a batch waits for
 * a collector that is away, nothing else is taken from the rings: they fill, then the workers drop and count. So memory
 * is bounded by the rings and one batch, and a worker never knows whether anybody listens.
 *
 * A thread in each worker would do the same and cost each a stack, a lock and a second connection.
 */
#include "runtime/log.h"
#include "telemetry/otlp.h"
#include "telemetry/post.h"

enum {
    TICK_MS = 100,
    ATTEMPTS = 6,
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 15000,
    LAST_MS = 2000,
    BATCH_BYTES = 1024 * 1024,
    METRICS_BYTES = 4 * 1024 * 1024,
    HEADERS_MAX = 8 * 1024,
    EXPORT_ARENA = 16 * 1024 * 1024
};

typedef struct Exporter {
    Ctx *ctx;
    Poster traces, metrics, logs;
    char headers_text[HEADERS_MAX];
    Str headers;
    bool failing; /* told in the log */
    bool last;    /* going: one attempt, and not long */
    int64_t give_up_at_ms;
    uint8_t record[RECORD_MAX];
} Exporter;

/* A process has one. */
static Exporter exporter;

/* --- one request -------------------------------------------------------------------------------------------------- */

static bool may_retry(Err err, int status) {
    return err != ERR_OK || status == 429 || status == 502 || status == 503 || status == 504;
}

static void tell(Exporter *e, const CollectorUrl *url, bool fine, Err err, int status) {
    if (fine != e->failing)
        return;
    e->failing = !fine;
    if (fine)
        LOG_I(NULL, "telemetry.export", F_STR("to", url->host), F_C("state", "works again"));
    else
        LOG_W(NULL, "telemetry.export", F_STR("to", url->host), F_ERR(err), F_INT("status", status));
}

/* False: given up. *ret_rejected: of those sent, how many the collector threw away. */
static CO_FN bool deliver(Exporter *e, Poster *poster, const CollectorUrl *url, Str body, uint64_t *ret_rejected) {
    int64_t backoff_ms = BACKOFF_MIN_MS;
    for (int attempt = 1;; attempt++) {
        PostAnswer answer = {0};
        int64_t deadline = clock_mono_ms() + telemetry.config.timeout_ms;
        deadline = e->last ? MIN_OF(deadline, e->give_up_at_ms) : deadline;
        /* Told to end in the midst of it, it is still answered: else the batch would be sent twice. */
        bool was = co_shield(true);
        Err err = post_send(poster, e->ctx, url, e->headers, body, deadline, &answer);
        co_shield(was);
        bool fine = err == ERR_OK && answer.status >= 200 && answer.status < 300;
        tell(e, url, fine, err, answer.status);
        *ret_rejected = fine ? otlp_rejected(answer.body) : 0;
        if (fine)
            return true;
        add_u64(&telemetry.region->failed_batches, 1);
        if (e->last || attempt == ATTEMPTS || !may_retry(err, answer.status))
            return false;
        int64_t pause = answer.retry_after_ms > 0 ? answer.retry_after_ms
                                                  : backoff_ms / 2 + (int64_t)random_below((uint64_t)backoff_ms);
        backoff_ms = MIN_OF(backoff_ms * 2, (int64_t)BACKOFF_MAX_MS);
        if (co_sleep(pause) != ERR_OK && !e->last) {
            /* Told to end: once more, and then never. */
            e->last = true;
            e->give_up_at_ms = clock_mono_ms() + LAST_MS;
            co_shield(true);
        }
    }
}

/* --- spans and log records ---------------------------------------------------------------------------------------- */

/* Moves what fits of one kind from all rings into the batch; records of another kind end a ring's turn. */
static void fill(Exporter *e, OtlpBatch *batch, RecordKind wanted) {
    for (size_t slot = 0; slot < telemetry.region->n_slots; slot++) {
        RecordKind kind;
        size_t n;
        while (batch->n < (size_t)telemetry.config.batch_max &&
               ring_peek(telemetry.region, slot, &kind, e->record, &n) && kind == wanted) {
            if (!otlp_batch_add(batch, e->record, n))
                return;
            ring_skip(telemetry.region, slot, n);
        }
    }
}

static CO_FN size_t send_records(Exporter *e, RecordKind kind) {
    bool spans = kind == RECORD_SPAN;
    const CollectorUrl *url = spans ? &telemetry.traces : &telemetry.logs;
    OtlpBatch batch;
    arena_reset(e->ctx->arena);
    void *memory = arena_alloc_raw(e->ctx->arena, BATCH_BYTES);
    if (memory == NULL)
        return 0;
    otlp_batch_begin(&batch, memory, BATCH_BYTES);
    fill(e, &batch, kind);
    if (batch.n == 0)
        return 0;
    uint64_t rejected = 0, n = batch.n;
    bool sent = deliver(e, spans ? &e->traces : &e->logs, url, otlp_batch_end(&batch), &rejected);
    uint64_t lost = sent ? MIN_OF(rejected, n) : n;
    Region *region = telemetry.region;
    add_u64(spans ? &region->exported_spans : &region->exported_logs, n - lost);
    add_u64(spans ? &region->refused_spans : &region->refused_logs, lost);
    return batch.n;
}

/* Until the rings are empty, or time is up. */
static CO_FN void send_all_records(Exporter *e) {
    while (!e->last || clock_mono_ms() < e->give_up_at_ms) {
        size_t n = send_records(e, RECORD_SPAN);
        n += send_records(e, RECORD_LOG);
        if (n == 0)
            return;
    }
}

static CO_FN void send_metrics(Exporter *e) {
    Str body;
    uint64_t rejected;
    arena_reset(e->ctx->arena);
    void *memory = arena_alloc_raw(e->ctx->arena, METRICS_BYTES);
    if (memory == NULL || otlp_metrics(e->ctx->arena, memory, METRICS_BYTES, &body) != ERR_OK) {
        LOG_W(NULL, "telemetry.export", F_C("state", "the metrics are too many for one request"));
        return;
    }
    (void)deliver(e, &e->metrics, &telemetry.metrics, body, &rejected);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static bool rings_press(void) {
    for (size_t i = 0; i < telemetry.region->n_slots; i++)
        if (ring_fill(telemetry.region, i) > telemetry.region->ring_bytes / 4)
            return true;
    return false;
}

/* "a=b,c=d" → header lines. What could split a message is left out. */
static Str header_lines(Str given, char *out, size_t room) {
    Buf lines = {.p = out, .capacity = room, .max = room};
    while (given.p != NULL && given.n > 0) {
        Str value = str_cut(&given, ','), name = str_trim(str_cut(&value, '='), " ");
        bool clean = name.n > 0 && value.p != NULL && lines.n + name.n + value.n + 4 < room;
        for (size_t i = 0; clean && i < name.n; i++)
            clean = name.p[i] > ' ' && name.p[i] < 0x7f && name.p[i] != ':';
        for (size_t i = 0; clean && i < value.n; i++)
            clean = (uint8_t)value.p[i] >= ' ' && value.p[i] != 0x7f;
        if (!clean)
            continue;
        buf_add(&lines, name);
        buf_add_c(&lines, ": ");
        buf_add(&lines, str_trim(value, " "));
        buf_add_c(&lines, "\r\n");
    }
    return buf_str(&lines);
}

static CO_FN void export_co(Ctx *ctx, void *arg) {
    Exporter *e = arg;
    e->ctx = ctx;
    bool records = telemetry.traces.url.p != NULL || telemetry.logs.url.p != NULL;
    bool metrics = telemetry.metrics.url.p != NULL && telemetry.recording;
    int64_t now = clock_mono_ms(), records_at = now + telemetry.config.delay_ms;
    int64_t metrics_at = now + telemetry.config.metric_interval_ms;
    while (!e->last) {
        if (co_sleep(records ? TICK_MS : MAX_OF(metrics_at - clock_mono_ms(), 1)) != ERR_OK) {
            e->last = true;
            e->give_up_at_ms = clock_mono_ms() + LAST_MS;
            co_shield(true);
        }
        now = clock_mono_ms();
        if (records && (e->last || now >= records_at || rings_press())) {
            send_all_records(e);
            records_at = clock_mono_ms() + telemetry.config.delay_ms;
        }
        /* A predecessor reports until we have started, and we for it from then on. */
        bool ours = telemetry_has_started() && !telemetry.succeeded;
        if (metrics && ours && (e->last || now >= metrics_at)) {
            send_metrics(e);
            metrics_at = clock_mono_ms() + telemetry.config.metric_interval_ms;
        }
    }
    post_close(&e->traces);
    post_close(&e->metrics);
    post_close(&e->logs);
}

Err telemetry_export_start(Loop *loop, Co **ret) {
    Exporter *e = &exporter;
    *e = (Exporter){.traces = POSTER_CLOSED, .metrics = POSTER_CLOSED, .logs = POSTER_CLOSED};
    e->headers = header_lines(telemetry.config.headers, e->headers_text, sizeof e->headers_text);
    return co_spawn(loop, export_co, e, &(CoOptions){.name = "export", .arena_limit_bytes = EXPORT_ARENA}, ret);
}
