/*
 * serve.c - the roles: what a worker of each kind sets up, and how it ends.
 *
 *   http     serves clients; every worker has its own listening sockets (SO_REUSEPORT), bound by the supervisor before
 *   the
 *            first fork, so that a worker that dies leaves its backlog to its successor
 *   relay    carries each context's outbox to the transport
 *   consume  takes messages from the transport into the contexts
 */
#include <unistd.h>

#include "api/jsonapi.h"
#include "core_tickets/core_tickets.h"
#include "legacy/quirks.h"
#include "runtime/log.h"
#include "runtime/supervisor.h"
#include "usher/app.h"

#define LISTENERS_MAX 8
#define WORKERS_MAX   256

/* The parent's sockets: one row per worker, made before the first fork. A process has one set of them, hence static. */
static int sockets[WORKERS_MAX][LISTENERS_MAX];
static size_t sockets_per_worker;

/* The worker's own; a process is one worker. */
static struct {
    App app;
    HttpServer *server;
    CompatApp compat;
    CompatStyle style;
    Relay relays[CONTEXTS_MAX]; /* borrowed by their coroutines */
    Consumer consumers[CONTEXTS_MAX];
    Co *loops[CONTEXTS_MAX];
    size_t n_loops;
} self;

static Engine *engine_of(const char *context, void *data) {
    return app_engine((const App *)data, context);
}

static Err start_http(Worker *worker) {
    const Settings *settings = worker->settings;
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
    return http_server_new(worker->loop, sockets[worker->index], sockets_per_worker, &options, &self.server);
}

static void http_drained(void *data) {
    worker_drained(data);
}

static void drain_http(Worker *worker) {
    http_server_drain(self.server, http_drained, worker);
}

static Err start_relay(Worker *worker) {
    const Settings *settings = worker->settings;
    TRY(app_open(&self.app, worker->loop, settings, NULL));
    for (size_t i = 0; CONTEXTS[i] != NULL; i++) {
        bool has_outbox = false;
        for (const Resource *const *resource = CONTEXTS[i]->resources; *resource != NULL; resource++)
            has_outbox = has_outbox || strcmp((*resource)->name, "outbox") == 0;
        if (!has_outbox)
            continue;
        Relay *relay = &self.relays[self.n_loops];
        *relay = (Relay){.engine = self.app.engines[i],
                         .transport = self.app.transport,
                         .batch = (size_t)settings->relay_batch,
                         .poll_ms = settings->relay_poll_ms};
        TRY(relay_start(worker->loop, relay, &self.loops[self.n_loops++]));
    }
    return ERR_OK;
}

static Err start_consume(Worker *worker) {
    const Settings *settings = worker->settings;
    TRY(app_open(&self.app, worker->loop, settings, (const char *const[]){"tickets", "bus", NULL}));
    static const char *const queues[] = {"tickets-inbox-events", "tickets-inbox-users", NULL};
    for (const char *const *queue = queues; *queue != NULL; queue++) {
        Consumer *consumer = &self.consumers[self.n_loops];
        *consumer = (Consumer){.name = *queue,
                               .engine = app_engine(&self.app, "tickets"),
                               .transport = self.app.transport,
                               .subscriptions = CORE_TICKETS_SUBSCRIPTIONS,
                               .batch = (size_t)settings->consumer_batch};
        TRY(consumer_start(worker->loop, consumer, &self.loops[self.n_loops++]));
    }
    return ERR_OK;
}

/* Relay and consumers end between batches; what was in hand is committed or comes again. */
static void drain_loops(Worker *worker) {
    const Settings *settings = worker->settings;
    if (co_drain(worker->loop, clock_mono_ms() + settings->drain_ms) != ERR_OK)
        LOG_W(NULL, "drain deadline passed");
    worker_drained(worker);
}

/* --- the supervisor's side --------------------------------------------------------------------------------------- */

static Err bind_worker(const Settings *settings, Arena *arena, int *row, size_t *ret_n) {
    Str rest = settings->listen;
    size_t n = 0;
    while (rest.p != NULL) {
        Str address = str_trim(str_cut(&rest, ','), " ");
        Str why = {NULL, 0};
        if (n == LISTENERS_MAX) {
            LOG_E(NULL, "too many addresses in LISTEN", F_INT("most", LISTENERS_MAX));
            return ERR_LIMIT;
        }
        Err err = http_listen_socket(address, &row[n], &why, arena);
        if (err != ERR_OK) {
            LOG_E(NULL, "cannot listen", F_STR("address", address), F_STR("why", why));
            return err;
        }
        n++;
    }
    *ret_n = n;
    return ERR_OK;
}

static Err prepare(void *data) {
    const Settings *settings = data;
    Arena *arena CLEANUP(arena_freep) = arena_new(1024 * 1024);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    for (int64_t i = 0; i < settings->http_workers; i++)
        TRY(bind_worker(settings, arena, sockets[i], &sockets_per_worker));
    return ERR_OK;
}

static Err reload(void *data) {
    (void)data;
    LOG_I(NULL, "reloaded");
    return ERR_OK;
}

static int count_of(const Settings *settings, const char *role, int64_t count) {
    Str rest = settings->roles;
    while (rest.p != NULL)
        if (str_eq_c(str_trim(str_cut(&rest, ','), " "), role))
            return (int)count;
    return 0;
}

int serve_run(Settings *settings, void (*ready)(void *settings)) {
    const Role roles[] = {
        {.name = "http",
         .count = count_of(settings, "http", settings->http_workers),
         .start = start_http,
         .drain = drain_http},
        {.name = "relay", .count = count_of(settings, "relay", 1), .start = start_relay, .drain = drain_loops},
        {.name = "consume", .count = count_of(settings, "consume", 1), .start = start_consume, .drain = drain_loops},
        {.name = NULL},
    };
    SupervisorOptions options = {
        .roles = roles,
        .settings = settings,
        .drain_ms = settings->drain_ms,
        .intensity = (int)settings->restart_intensity,
        .period_ms = settings->restart_period_ms,
        .ready = ready,
        .prepare = roles[0].count > 0 ? prepare : NULL,
        .reload = reload,
    };
    return supervisor_run(&options);
}
