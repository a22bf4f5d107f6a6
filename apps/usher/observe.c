/*
 * observe.c - telemetry's process, and the reporter in each worker.
 *
 * The process serves the admin listener and exports. It is there whenever either is asked for, whatever ROLES says,
 * because it speaks for the workers of this machine. It goes last: when told to drain it waits for the others to end,
 * so that what they recorded while draining is sent too.
 */
#include "usher/observe.h"

#include "runtime/log.h"
#include "telemetry/instrument.h"
#include "telemetry/telemetry.h"
#include "usher/listeners.h"

enum {
    REPORT_MS = 1000,
    UNREADY_MS = 100,
    OUTBOX_MS = 5000,
    OUTBOX_QUERY_MS = 2000,
    WATCH_MS = 20,
    TAKE_OVER_MS = 1000
};

/* A process is one worker. */
static struct {
    const App *app;
    const HttpServer *server;
    bool draining;
    HttpServer *admin;
    bool retiring; /* clients of admin are still to be answered */
    Co *export;
} self;

/* --- settings ----------------------------------------------------------------------------------------------------- */

static Str first_of(Arena *arena, Str given, Str base, const char *path) {
    if (given.n > 0 || base.n == 0)
        return given;
    if (str_ends_with(base, STR("/")))
        base.n--;
    return arena_printf(arena, "%.*s%s", STR_ARG(base), path);
}

static bool is_otlp(Str exporter) {
    return str_eq_c(exporter, "otlp");
}

int observe_process_count(const Settings *s) {
    bool exports = (is_otlp(s->otel_traces_exporter) && (s->otel_endpoint.n > 0 || s->otel_traces_endpoint.n > 0)) ||
                   (is_otlp(s->otel_metrics_exporter) && (s->otel_endpoint.n > 0 || s->otel_metrics_endpoint.n > 0)) ||
                   (is_otlp(s->otel_logs_exporter) && (s->otel_endpoint.n > 0 || s->otel_logs_endpoint.n > 0));
    return s->admin_listen.n > 0 || (exports && !s->otel_disabled) ? 1 : 0;
}

static Err open_telemetry(const Settings *s, const TelemetryRole *roles, Arena *arena) {
    const char *why;
    TelemetryConfig config = {
        .disabled = s->otel_disabled,
        .service_name = s->otel_service_name,
        .resource_attributes = s->otel_resource_attributes,
        .headers = s->otel_headers,
        .timeout_ms = s->otel_timeout_ms,
        .delay_ms = s->otel_delay_ms,
        .metric_interval_ms = s->otel_metric_interval_ms,
        .queue_max = s->otel_queue_max,
        .batch_max = s->otel_batch_max,
    };
    TRY(sampler_parse(s->otel_sampler, s->otel_sampler_arg, &config.sampler, &why));
    if (!s->otel_disabled && is_otlp(s->otel_traces_exporter))
        config.traces_url = first_of(arena, s->otel_traces_endpoint, s->otel_endpoint, "/v1/traces");
    if (!s->otel_disabled && is_otlp(s->otel_metrics_exporter))
        config.metrics_url = first_of(arena, s->otel_metrics_endpoint, s->otel_endpoint, "/v1/metrics");
    if (!s->otel_disabled && is_otlp(s->otel_logs_exporter))
        config.logs_url = first_of(arena, s->otel_logs_endpoint, s->otel_endpoint, "/v1/logs");
    return telemetry_open(&config, roles);
}

static bool serves_clients(const char *role) {
    return strcmp(role, "http") == 0 || strcmp(role, "gateway") == 0;
}

Err observe_prepare(const Settings *settings, const Role *roles) {
    static Arena *arena; /* the URLs composed here are used as long as the process lives */
    static TelemetryRole telemetry_roles[16];
    size_t n = 0;
    for (const Role *role = roles; role->name != NULL; role++, n++) {
        ASSERT(n + 1 < ARRAY_LEN(telemetry_roles));
        telemetry_roles[n] =
            (TelemetryRole){.name = role->name, .count = role->count, .serves = strcmp(role->name, "telemetry") != 0};
    }
    /* Where clients are served, only that decides whether they should come here. */
    bool clients = false;
    for (size_t i = 0; i < n; i++)
        clients = clients || (telemetry_roles[i].count > 0 && serves_clients(telemetry_roles[i].name));
    for (size_t i = 0; clients && i < n; i++)
        telemetry_roles[i].serves = serves_clients(telemetry_roles[i].name);
    telemetry_roles[n] = (TelemetryRole){0};
    if (observe_process_count(settings) == 0)
        return ERR_OK;
    arena = arena == NULL ? arena_new(64 * 1024) : arena;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    return open_telemetry(settings, telemetry_roles, arena);
}

/* --- in each worker ----------------------------------------------------------------------------------------------- */

static bool report_pools(void) {
    bool all = true;
    for (size_t i = 0; self.app != NULL && CONTEXTS[i] != NULL; i++) {
        if (self.app->pools[i] == NULL)
            continue;
        bool up = pg_pool_ready(self.app->pools[i]);
        metric_set(METRIC_POOL_CONNECTED, up, LABELS({"usher.pool", CONTEXTS[i]->name, 0}));
        all = all && up;
    }
    return all;
}

/* Only the relay's worker asks: one answer a machine is enough. */
static CO_FN void report_outbox(Ctx *ctx, Engine *engine) {
    OutboxState state;
    if (engine_outbox(engine) == NULL)
        return;
    ctx->deadline_ms = clock_mono_ms() + OUTBOX_QUERY_MS;
    if (outbox_state(engine, &state) == ERR_OK) {
        const Label context = {"usher.context", engine_context(engine)->name, 0};
        metric_set(METRIC_OUTBOX_DEPTH, state.depth, &context, 1);
        metric_set(METRIC_OUTBOX_AGE, state.age_ns, &context, 1);
    }
    ctx->deadline_ms = 0;
}

static CO_FN void report_co(Ctx *ctx, void *arg) {
    const Worker *worker = arg;
    bool relays = strcmp(worker->role, "relay") == 0;
    for (int64_t outbox_at = 0;;) {
        bool ready = report_pools();
        telemetry_beat(ready, self.draining);
        metric_set(METRIC_COROUTINES, (int64_t)co_stats(worker->loop).live, LABELS({"usher.role", worker->role, 0}));
        if (self.server != NULL)
            metric_set(METRIC_CONNECTIONS, http_server_stats(self.server).connections, NULL, 0);
        bool look = relays && ready && clock_mono_ms() >= outbox_at;
        outbox_at = look ? clock_mono_ms() + OUTBOX_MS : outbox_at;
        for (size_t i = 0; look && CONTEXTS[i] != NULL; i++)
            if (self.app->engines[i] != NULL)
                report_outbox(ctx, self.app->engines[i]);
        arena_reset(ctx->arena);
        ctx->problem = (Problem){0};
        ctx->trace.flags = 0;
        if (co_sleep(ready || worker->draining ? REPORT_MS : UNREADY_MS) != ERR_OK)
            return;
    }
}

void observe_attach(const Worker *worker) {
    telemetry_attach(worker->role, worker->index);
}

Err observe_start(Worker *worker, const App *app, const HttpServer *server) {
    self.app = app;
    self.server = server;
    if (observe_process_count(worker->settings) == 0)
        return ERR_OK;
    return co_spawn(worker->loop, report_co, worker, &(CoOptions){.name = "report"}, NULL);
}

void observe_draining(const Worker *worker) {
    if (worker->succeeded)
        return; /* the service goes on: whoever asks us before the successor answers shall hear that */
    self.draining = true;
    telemetry_beat(false, true);
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static Err serve_admin(Worker *worker) {
    int fds[LISTENERS_PER_WORKER];
    size_t n = listeners_of("admin", worker->index, fds);
    HttpServerOptions options = {.limits = HTTP_LIMITS_DEFAULT, .handler = telemetry_admin_serve};
    options.limits.connections_max = 64;
    options.limits.body_max = 4096;
    return n == 0 ? ERR_OK : http_server_new(worker->loop, fds, n, &options, &self.admin);
}

/* While a predecessor answers for both, who asks after our health shall not hear that we have only begun. */
static CO_FN void take_over_co(Ctx *ctx, void *arg) {
    (void)ctx;
    while (!telemetry_has_started() && co_sleep(WATCH_MS) == ERR_OK) {
    }
    /* Connecting to Postgres takes a moment; a Postgres that is away is bad health in any case. */
    int64_t until_ms = clock_mono_ms() + TAKE_OVER_MS;
    while (!telemetry_is_ready() && clock_mono_ms() < until_ms && co_sleep(WATCH_MS) == ERR_OK) {
    }
    Err err = serve_admin(arg);
    if (err != ERR_OK)
        LOG_E(NULL, "no admin listener", F_ERR(err));
}

Err observe_process_start(Worker *worker) {
    observe_attach(worker);
    if (handover_has_predecessor())
        TRY(co_spawn(worker->loop, take_over_co, worker, &(CoOptions){.name = "take over"}, NULL));
    else
        TRY(serve_admin(worker));
    TRY(observe_start(worker, NULL, NULL));
    return telemetry_export_start(worker->loop, &self.export);
}

/* Runs in the drain: waits for the others, lets the exporter send its last, and is done. */
static CO_FN void leave_co(Ctx *ctx, void *arg) {
    (void)ctx;
    Worker *worker = arg;
    while ((telemetry_others_alive() > 0 || self.retiring) && co_sleep(WATCH_MS) == ERR_OK) {
    }
    loop_stop(worker->loop);
}

static void admin_retired(void *data) {
    (void)data;
    self.retiring = false;
}

void observe_process_drain(Worker *worker) {
    const Settings *settings = worker->settings;
    observe_draining(worker);
    if (worker->succeeded)
        telemetry_succeeded();
    if (worker->succeeded && self.admin != NULL) { /* the successor's health is asked after now, not ours */
        self.retiring = true;
        http_server_retire(self.admin, clock_mono_ms() + settings->drain_ms / 2, admin_retired, NULL);
    }
    Co *watch;
    /* A second of the time is kept for the last batch. */
    CoOptions options = {.name = "leave", .deadline_ms = clock_mono_ms() + MAX_OF(settings->drain_ms - 1000, 0)};
    if (co_spawn(worker->loop, leave_co, worker, &options, &watch) == ERR_OK)
        loop_run(worker->loop);
    http_server_free(self.admin);
    if (co_drain(worker->loop, clock_mono_ms() + 3000) != ERR_OK)
        LOG_W(NULL, "drain deadline passed");
    worker_drained(worker);
}
