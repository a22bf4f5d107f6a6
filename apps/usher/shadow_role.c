/*
 * shadow_role.c - the role "shadow", beside every role "gateway": compares what is mirrored, keeps the stages in step
 * with Postgres.
 *
 * It can be missed: its deaths stop nobody (Role.dispensable), and without it the gateway goes on by the stages known
 * last.
 */
#include "usher/shadow_role.h"

#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

#include "messaging/messages.h"
#include "runtime/log.h"
#include "usher/gateway_role.h"
#include "usher/observe.h"
#include "usher/settings_file.h"
#include "usher/shadow_settings.h"
#include "usher/trial_role.h"

enum { ROUTER_BYTES = 16 << 20, OPTIONS_BYTES = 16 << 20, KINDS_MAX = 32, TYPES_MAX = 32, NICE = 10 };

/* Made before the first fork, the same in every process; NULL: there is no gateway. */
static Board *board;
static Router *router;

/* A process is one worker. */
static struct {
    Switch *sw;
    Recorder *recorder;
    App app;
    Gateway *sides; /* for its upstreams only */
    Shadow *shadow;
    const char *learn[KINDS_MAX + 1];
    Upstream *trials;
    Ear *ear;
    const char *types[TYPES_MAX + 1];
    Arena *arena;
} self;

/* A gateway needs no database: without one there are no stages, and the old side answers everything. */
int shadow_role_count(const Settings *settings, int gateways) {
    bool has_database = settings_database_url(settings, GATEWAY_CONTEXT.database_env).n > 0;
    return gateways > 0 && has_database ? (int)settings->shadow_workers : 0;
}

Err shadow_role_prepare(const Settings *settings, int gateways) {
    static BoardRoute routes[BOARD_ROUTES_MAX];
    if (gateways == 0)
        return ERR_OK;
    Arena *arena = arena_new(ROUTER_BYTES); /* as long as the process */
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    TRY(app_router(&ctx, arena, &router));
    BoardOptions options = {.routes = routes,
                            .route_n = switch_routes(router, routes),
                            .gateways = (size_t)gateways,
                            .shadows = (size_t)MAX_OF(shadow_role_count(settings, gateways), 1),
                            .ring_bytes = (size_t)settings->shadow_queue_bytes};
    Err err = board_new(&options, &board);
    if (err != ERR_OK)
        LOG_E(NULL, "no memory for the stages and copies of the gateway", F_ERR(err), F_INT("workers", gateways));
    return err;
}

/* --- in a gateway worker ------------------------------------------------------------------------------------------ */

static Err open_recorder(const Settings *settings, Recorder **ret) {
    const char *why;
    char path[PATH_MAX];
    if (settings->gateway_record.n == 0)
        return ERR_OK;
    (void)snprintf(path, sizeof path, "%.*s", STR_ARG(settings->gateway_record));
    if (settings->gateway_workers != 1) {
        LOG_E(NULL, "GATEWAY_RECORD takes GATEWAY_WORKERS=1: a file has one writer");
        return ERR_INVALID;
    }
    Err err = recorder_open(path, &self.recorder, &why);
    *ret = self.recorder;
    if (err != ERR_OK)
        LOG_E(NULL, "cannot record", F_C("file", path), F_C("why", why));
    return err;
}

Err shadow_role_hook(Worker *worker, Gateway *gateway) {
    const Settings *settings = worker->settings;
    SwitchOptions options = {.board = board,
                             .worker = (size_t)worker->index,
                             .router = router,
                             .sample_ppm = settings_ppm(settings->shadow_sample),
                             .mirror_back = settings->shadow_back,
                             .tries = trial_role_count(settings, 1) > 0,
                             .canary_key = settings->canary_key,
                             .tester_secret = settings->tester_secret};
    TRY(redact_configure(settings->shadow_redact)); /* recordings go by it too */
    TRY(open_recorder(settings, &options.recorder));
    TRY(switch_new(worker->loop, &options, &self.sw));
    gateway_hook(gateway, switch_hooks(self.sw));
    return ERR_OK;
}

void shadow_role_unhook(void) {
    switch_free(self.sw);
    if (self.recorder != NULL)
        LOG_I(NULL, "recorded", F_INT("exchanges", (int64_t)recorder_written(self.recorder)),
              F_INT("left_out", (int64_t)recorder_left_out(self.recorder)));
    recorder_close(self.recorder);
    self.recorder = NULL;
    self.sw = NULL;
}

/* --- the role ----------------------------------------------------------------------------------------------------- */

static Err read_kinds(const Settings *settings) {
    Str rest = settings->shadow_learn_ids;
    for (size_t n = 0; rest.p != NULL && n < KINDS_MAX;) {
        Str kind = arena_str(self.arena, str_trim(str_cut(&rest, ','), " "));
        if (kind.p == NULL)
            return ERR_NO_MEMORY;
        if (kind.n > 0)
            self.learn[n++] = kind.p;
    }
    return ERR_OK;
}

/* The same sides as the gateway's, with connections of our own. */
static Err open_sides(Worker *worker, const Settings *settings, Ctx *ctx) {
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20);
    GatewayOptions options;
    TRY(gateway_options(ctx, settings, &options));
    options.access_log = STR("off");
    return self.sides == NULL ? gateway_new(worker->loop, &options, &mistakes, &self.sides)
                              : gateway_reload(self.sides, &options, &mistakes);
}

/* Without a broker messages are told and not compared: those of Postgres' transport are all our own. */
static Err open_ear(Worker *worker, const Settings *settings) {
    size_t n = 0;
    Ctx ctx;
    if (settings->amqp_url.n == 0 || settings->shadow_trials == 0)
        return ERR_OK;
    for (const MessageType *const *type = MESSAGES; *type != NULL; type++) {
        ASSERT(n < TYPES_MAX);
        self.types[n++] = (*type)->name;
    }
    ctx_init(&ctx, self.arena, 0);
    return ear_new(&ctx, worker->loop, &(EarOptions){.url = settings->amqp_url, .types = self.types}, &self.ear);
}

Err shadow_role_start(Worker *worker) {
    const Settings *settings = worker->settings;
    Ctx ctx;
    /* What nobody waits for gives way to what somebody does. On another core too: the kernel weighs sessions against
     * each other, and a worker that is busy there takes half of what ours has on the gateway's (autogroup,
     * sched(7)). */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE);
    observe_attach(worker);
    self.arena = arena_new(OPTIONS_BYTES);
    if (self.arena == NULL)
        return ERR_NO_MEMORY;
    TRY(redact_configure(settings->shadow_redact));
    TRY(read_kinds(settings));
    ctx_init(&ctx, self.arena, 0);
    TRY(open_sides(worker, settings, &ctx));
    TRY(trial_role_upstream(worker->loop, settings, &self.trials));
    TRY(open_ear(worker, settings));
    TRY(app_open(&self.app, worker->loop, settings, (const char *const[]){"gateway", NULL}));
    ShadowOptions options = {.board = board,
                             .shadow = (size_t)worker->index,
                             .pool = app_pool(&self.app, "gateway"),
                             .gateway = self.sides,
                             .concurrency = settings->shadow_concurrency,
                             .rechecks_max = settings->shadow_rechecks,
                             .timeout_ms = settings->shadow_timeout_ms,
                             .recheck_ms = settings->shadow_recheck_ms,
                             .samples_max = settings->shadow_samples,
                             .budget_ppm = settings_ppm(settings->error_budget),
                             .learn = self.learn,
                             .trials = self.trials,
                             .trial_key = trial_role_key(),
                             .ear = self.ear,
                             .message_wait_ms = settings->shadow_message_wait_ms};
    TRY(shadow_start(worker->loop, &options, &self.shadow));
    return observe_start(worker, &self.app, NULL);
}

/* Where the gateway's sides are other ones, so are ours; the supervisor has found them well. */
Err shadow_role_reload(Worker *worker) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20);
    Settings settings = {0};
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    TRY(settings_reload(&ctx, &mistakes));
    TRY(gateway_settings_now(&ctx, &settings));
    return open_sides(worker, &settings, &ctx);
}

void shadow_role_drain(Worker *worker) {
    const Settings *settings = worker->settings;
    observe_draining(worker);
    if (co_drain(worker->loop, clock_mono_ms() + settings->drain_ms) != ERR_OK)
        LOG_W(NULL, "drain deadline passed");
    worker_drained(worker);
}
