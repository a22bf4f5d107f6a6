/*
 * serve.c - the roles: what a worker of each kind sets up, and how it ends.
 *
 *   http     serves clients on its own listening sockets (listeners.h)
 *   gateway  stands in front of the old and the new side: gateway_role.c
 *   shadow   beside it: compares what is mirrored, keeps the stages in step with Postgres: shadow_role.c
 *   trial    beside that: tries mirrored writes and rolls them back: trial_role.c
 *   relay    carries each context's outbox to the transport
 *   consume  takes messages from the transport into the contexts
 *   jobs     runs the contexts' background work: boards.c
 *   telemetry (not one of ROLES) serves the admin listener and exports what the others recorded: observe.c
 */
#include "api/jsonapi.h"
#include "core_tickets/core_tickets.h"
#include "legacy/quirks.h"
#include "runtime/heirloom.h"
#include "runtime/log.h"
#include "runtime/supervisor.h"
#include "telemetry/instrument.h"
#include "telemetry/telemetry.h"
#include "usher/amqp.h"
#include "usher/app.h"
#include "usher/boards.h"
#include "usher/gateway_role.h"
#include "usher/listeners.h"
#include "usher/observe.h"
#include "usher/ops_settings.h"
#include "usher/settings_file.h"
#include "usher/shadow_role.h"
#include "usher/tls.h"
#include "usher/trial_role.h"
#include "usher/trial_server.h"

#define RELOAD_BYTES (16 * 1024 * 1024)

#define DECLARATION_MISTAKES_MAX (64 * 1024)

/* The worker's own; a process is one worker. */
static struct {
    App app;
    HttpServer *server;
    CompatApp compat;
    CompatStyle style;
    Relay relays[CONTEXTS_MAX]; /* borrowed by their coroutines */
    Pipeline pipelines[CONSUMED_QUEUES_MAX];
    int64_t redeliver_ms[REDELIVERIES_MAX + 1];
    Consumer consumers[CONSUMED_QUEUES_MAX];
    Co *loops[CONTEXTS_MAX + CONSUMED_QUEUES_MAX];
    size_t n_loops;
} self;

static Engine *engine_of(const char *context, void *data) {
    return app_engine((const App *)data, context);
}

static Err start_http(Worker *worker) {
    const Settings *settings = worker->settings;
    listeners_close_but("http", worker->index);
    observe_attach(worker);
    TRY(app_open(&self.app, worker->loop, settings, (const char *const[]){"events", "users", "tickets", NULL}));
    Ctx ctx;
    ctx_init(&ctx, self.app.arena, 0);
    quirks_style(&self.style);
    self.compat = (CompatApp){.engine_of = engine_of,
                              .data = &self.app,
                              .style = &self.style,
                              .body_max = (uint64_t)settings->body_max_bytes};
    TRY(app_router(&ctx, self.app.arena, &self.compat.router));
    HttpServerOptions options = {
        .limits = HTTP_LIMITS_DEFAULT, .handler = surfaces_serve, .data = &self.compat, .server_name = STR("usher")};
    options.limits.connections_max = (int)settings->connections_max;
    options.limits.idle_timeout_ms = settings->idle_ms;
    options.limits.request_timeout_ms = settings->request_ms;
    options.limits.body_max = (uint64_t)settings->body_max_bytes;
    /* A body, its unescaped text and its place in a statement; a limit, not what a request takes. */
    options.limits.arena_bytes = HTTP_LIMITS_DEFAULT.arena_bytes + 4 * (size_t)settings->body_max_bytes;
    arena_set_budget((size_t)settings->memory_max_bytes);
    options.observer = telemetry_http_observer();
    int fds[LISTENERS_PER_WORKER];
    size_t n_fds = listeners_of("http", worker->index, fds);
    Err err = tls_options(&ctx, settings, settings->listen, fds, n_fds, &options);
    if (err != ERR_OK)
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
    if (err == ERR_OK)
        err = http_server_new(worker->loop, fds, n_fds, &options, &self.server);
    tls_context_unref(options.tls);
    TRY(err);
    return observe_start(worker, &self.app, self.server);
}

/* The supervisor has read the same before us and found it well; a worker that cannot follow goes on as it was. */
static Err reload_worker(Worker *worker) {
    (void)worker;
    Arena *arena CLEANUP(arena_freep) = arena_new(RELOAD_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, RELOAD_BYTES);
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    return settings_reload(&ctx, &mistakes);
}

/* Connections go on with what they began with; a worker that cannot follow its parent keeps what it has. */
static Err reload_certificates(void) {
    Arena *arena CLEANUP(arena_freep) = arena_new(RELOAD_BYTES);
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    Err err = tls_reload(&ctx, self.server);
    if (err != ERR_OK)
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
    return err;
}

/* Requests in work go on with the router they began with: it stays, in the worker's arena. */
static Err reload_http(Worker *worker) {
    Ctx ctx;
    TRY(reload_worker(worker));
    ctx_init(&ctx, self.app.arena, 0);
    TRY(app_router(&ctx, self.app.arena, &self.compat.router));
    quirks_style(&self.style);
    return reload_certificates();
}

static void http_drained(void *data) {
    worker_drained(data);
}

static void drain_http(Worker *worker) {
    const Settings *settings = worker->settings;
    observe_draining(worker);
    if (worker->succeeded)
        http_server_retire(self.server, clock_mono_ms() + settings->drain_ms / 2, http_drained, worker);
    else
        http_server_drain(self.server, http_drained, worker);
}

/* One for each lane of a relay. */
#define RELAY_WRITERS 2

static bool has_outbox(const Context *context) {
    for (const Resource *const *resource = context->resources; *resource != NULL; resource++)
        if (strcmp((*resource)->name, "outbox") == 0)
            return true;
    return false;
}

static Err open_outboxes(Worker *worker) {
    const char *names[CONTEXTS_MAX + 2] = {"bus"};
    size_t n = 1;
    for (size_t i = 0; CONTEXTS[i] != NULL; i++)
        if (has_outbox(CONTEXTS[i]))
            names[n++] = CONTEXTS[i]->name;
    return app_open_wide(&self.app, worker->loop, worker->settings, names, RELAY_WRITERS);
}

static Err start_relay(Worker *worker) {
    const Settings *settings = worker->settings;
    listeners_close_but(NULL, 0);
    observe_attach(worker);
    TRY(open_outboxes(worker));
    for (size_t i = 0; CONTEXTS[i] != NULL; i++) {
        if (!has_outbox(CONTEXTS[i]))
            continue;
        Relay *relay = &self.relays[self.n_loops];
        *relay = (Relay){.engine = self.app.engines[i],
                         .transport = self.app.transport,
                         .batch = (size_t)settings->relay_batch,
                         .poll_ms = settings->relay_poll_ms,
                         .index = worker->index,
                         .count = (int)settings->relay_workers};
        TRY(relay_start(worker->loop, relay, &self.loops[self.n_loops++]));
    }
    return observe_start(worker, &self.app, NULL);
}

static Err start_consume(Worker *worker) {
    const Settings *settings = worker->settings;
    listeners_close_but(NULL, 0);
    observe_attach(worker);
    TRY(app_open(&self.app, worker->loop, settings, (const char *const[]){"tickets", "bus", NULL}));
    size_t n = app_pipelines(&self.app, self.pipelines);
    for (size_t i = 0; i < n; i++) {
        Consumer *consumer = &self.consumers[self.n_loops];
        *consumer = (Consumer){.pipeline = &self.pipelines[i],
                               .engine = app_engine(&self.app, "tickets"),
                               .transport = self.app.transport,
                               .batch = (size_t)settings->consumer_batch,
                               .redeliver_ms = settings_delays(settings->redeliver, self.redeliver_ms)};
        TRY(consumer_start(worker->loop, consumer, &self.loops[self.n_loops++]));
    }
    return observe_start(worker, &self.app, NULL);
}

static Err start_shadow(Worker *worker) {
    listeners_close_but(NULL, 0);
    return shadow_role_start(worker);
}

static Err reload_trial(Worker *worker) {
    TRY(reload_worker(worker));
    return trial_server_reload();
}

/* One connection stores ends, one is for claims under limits, one leads, one is for upkeep, which holds its job. */
#define JOBS_WRITERS 4

static Err start_jobs(Worker *worker) {
    listeners_close_but(NULL, 0);
    observe_attach(worker);
    TRY(app_open_wide(&self.app, worker->loop, worker->settings,
                      (const char *const[]){"events", "users", "tickets", "jobs", NULL}, JOBS_WRITERS));
    TRY(jobs_start(worker, &self.app));
    return observe_start(worker, &self.app, NULL);
}

static void drain_jobs(Worker *worker) {
    observe_draining(worker);
    jobs_drain(worker);
}

static Err start_telemetry(Worker *worker) {
    listeners_close_but("admin", worker->index);
    return observe_process_start(worker);
}

/* Relay and consumers end between batches; what was in hand is committed or comes again. */
static void drain_loops(Worker *worker) {
    const Settings *settings = worker->settings;
    observe_draining(worker);
    if (co_drain(worker->loop, clock_mono_ms() + settings->drain_ms) != ERR_OK)
        LOG_W(NULL, "drain deadline passed");
    worker_drained(worker);
}

/* --- the supervisor's side --------------------------------------------------------------------------------------- */

/* The supervisor's own: what it runs, and whom to tell when all of it serves. */
static struct {
    const Role *roles;
    void (*ready)(void *settings);
} parent;

static void on_ready(void *settings) {
    telemetry_started();
    pidfile_write(settings);
    if (parent.ready != NULL)
        parent.ready(settings);
}

static void stopping(void *data) {
    (void)data;
    listeners_close_but(NULL, 0);
}

static int count_of(const Settings *settings, const char *role, int64_t count) {
    Str rest = settings->roles;
    while (rest.p != NULL)
        if (str_eq_c(str_trim(str_cut(&rest, ','), " "), role))
            return (int)count;
    return 0;
}

/* What the compiler cannot see in the tables; a program whose declarations contradict each other serves nobody. */
static Err check_declarations(void) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++) {
        Buf mistakes CLEANUP(buf_done) = buf_new(NULL, DECLARATION_MISTAKES_MAX);
        if (context_verify(*context, &mistakes) == 0)
            continue;
        LOG_E(NULL, "declarations contradict each other", F_C("context", (*context)->name),
              F_STR("mistakes", buf_str(&mistakes)));
        return ERR_INTERNAL;
    }
    for (const JobBoard *const *board = BOARDS; *board != NULL; board++) {
        Buf mistakes CLEANUP(buf_done) = buf_new(NULL, DECLARATION_MISTAKES_MAX);
        if (jobs_verify(*board, &mistakes) == 0)
            continue;
        LOG_E(NULL, "jobs contradict their declarations", F_C("context", (*board)->context->name),
              F_STR("mistakes", buf_str(&mistakes)));
        return ERR_INTERNAL;
    }
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, DECLARATION_MISTAKES_MAX);
    if (pipeline_verify(CORE_TICKETS_PIPELINES, &mistakes) == 0)
        return ERR_OK;
    LOG_E(NULL, "pipelines contradict the rest", F_STR("mistakes", buf_str(&mistakes)));
    return ERR_INTERNAL;
}

static Err open_listeners(const Settings *settings) {
    Arena *arena CLEANUP(arena_freep) = arena_new(1024 * 1024);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    int http_workers = count_of(settings, "http", settings->http_workers);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Err err = http_workers == 0 ? ERR_OK : tls_prepare(&ctx, settings, settings->listen);
    if (err != ERR_OK) {
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
        return err;
    }
    if (http_workers > 0)
        TRY(listeners_open("http", settings->listen, "LISTEN", http_workers, arena));
    if (observe_process_count(settings) > 0)
        TRY(listeners_open("admin", settings->admin_listen, "ADMIN_LISTEN", 1, arena));
    int gateways = count_of(settings, "gateway", settings->gateway_workers);
    TRY(shadow_role_prepare(settings, gateways));
    TRY(trial_role_prepare(trial_role_count(settings, shadow_role_count(settings, gateways)), arena));
    TRY(gateway_role_prepare(settings, gateways, arena));
    size_t closed = heirlooms_close_untaken();
    if (closed > 0)
        LOG_I(NULL, "sockets that nobody here wants were closed", F_INT("sockets", (int64_t)closed));
    return ERR_OK;
}

static Err prepare(void *data) {
    const Settings *settings = data;
    TRY(check_declarations());
    TRY(handover_inherit());
    TRY(observe_prepare(settings, parent.roles));
    return open_listeners(settings);
}

static Err reload(void *data) {
    (void)data;
    Arena *arena CLEANUP(arena_freep) = arena_new(RELOAD_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, RELOAD_BYTES);
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    Err err = settings_reload(&ctx, &mistakes);
    if (err == ERR_OK)
        err = tls_reload(&ctx, NULL);
    if (err == ERR_OK)
        err = gateway_role_check();
    if (err == ERR_OK)
        LOG_I(NULL, "reloaded");
    else
        LOG_E(NULL, "not reloaded", F_STR("why", mistakes.n > 0 ? buf_str(&mistakes) : ctx.problem.message));
    return err;
}

/* Lives as long as the process: workers started later need it too. */
static Err find_confinement(const Settings *settings, Confinement *ret) {
    static Arena *arena;
    Ctx ctx;
    if (arena == NULL) /* read, so that the compiler keeps what nobody else looks at: a leak checker asks */
        arena = arena_new(64 * 1024);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    return ops_confinement(&ctx, settings, ret);
}

int serve_run(Settings *settings, void (*ready)(void *settings)) {
    Confinement confinement;
    int shadows = shadow_role_count(settings, count_of(settings, "gateway", settings->gateway_workers));
    if (find_confinement(settings, &confinement) != ERR_OK) {
        LOG_E(NULL, "cannot find the user to run as", F_STR("RUN_AS", settings->run_as));
        return 2;
    }
    const Role roles[] = {
        {.name = "http",
         .count = count_of(settings, "http", settings->http_workers),
         .start = start_http,
         .drain = drain_http,
         .reload = reload_http},
        {.name = "gateway",
         .count = count_of(settings, "gateway", settings->gateway_workers),
         .start = gateway_role_start,
         .drain = gateway_role_drain,
         .reload = gateway_role_reload},
        {.name = "shadow",
         .count = shadows,
         .start = start_shadow,
         .drain = shadow_role_drain,
         .reload = shadow_role_reload,
         .dispensable = true},
        {.name = "trial",
         .count = trial_role_count(settings, shadows),
         .start = trial_role_start,
         .drain = trial_role_drain,
         .reload = reload_trial,
         .dispensable = true},
        {.name = "relay",
         .count = count_of(settings, "relay", settings->relay_workers),
         .start = start_relay,
         .drain = drain_loops,
         .reload = reload_worker},
        {.name = "consume",
         .count = count_of(settings, "consume", 1),
         .start = start_consume,
         .drain = drain_loops,
         .reload = reload_worker},
        {.name = "jobs",
         .count = count_of(settings, "jobs", settings->jobs_workers),
         .start = start_jobs,
         .drain = drain_jobs,
         .reload = reload_worker},
        {.name = "telemetry",
         .count = observe_process_count(settings),
         .start = start_telemetry,
         .drain = observe_process_drain,
         .reload = reload_worker},
        {.name = NULL},
    };
    parent.roles = roles;
    parent.ready = ready;
    SupervisorOptions options = {
        .roles = roles,
        .settings = settings,
        .drain_ms = settings->drain_ms,
        .handover_ms = ready == NULL ? settings->handover_ms : 0, /* `usher dev` is no service: its parent would end */
        .confinement = &confinement,
        .intensity = (int)settings->restart_intensity,
        .period_ms = settings->restart_period_ms,
        .ready = on_ready,
        .prepare = prepare,
        .reload = reload,
        .stopping = stopping,
    };
    int status = supervisor_run(&options);
    pidfile_remove(settings);
    return status;
}
