/*
 * gateway_role.c - the role "gateway": usher in front of everything.
 *
 * It needs no database: with an HTTP server at LEGACY_URL it serves whatever that serves. The new side is reached as an
 * upstream like any other, also when it is the http role of the same usher.
 */
#include "usher/gateway_role.h"

#include "http/cidr.h"
#include "runtime/log.h"
#include "telemetry/instrument.h"
#include "telemetry/telemetry.h"
#include "usher/files.h"
#include "usher/listeners.h"
#include "usher/observe.h"
#include "usher/settings_file.h"
#include "usher/shadow_role.h"
#include "usher/tls.h"

enum { ROUTES_FILE_MAX = 4 << 20, OPTIONS_BYTES = 16 << 20, GATEWAY_ARENA_BYTES = 2 << 20 };

static GatewayShared *shared; /* made before the first fork */

/* A process is one worker. */
static struct {
    Gateway *gateway;
    HttpServer *server;
} self;

/* --- settings ----------------------------------------------------------------------------------------------------- */

Err check_upstream_urls(Ctx *ctx, Str value) {
    const char *why;
    while (value.p != NULL) {
        Str url = str_trim(str_cut(&value, ','), " ");
        if (!upstream_url_fits(url, &why))
            return ctx_problem(ctx, ERR_INVALID, NULL, "%s", why);
    }
    return ERR_OK;
}

Err check_networks(Ctx *ctx, Str value) {
    Cidr cidr;
    while (value.p != NULL)
        if (cidr_parse(str_trim(str_cut(&value, ','), " "), &cidr) != ERR_OK)
            return ctx_problem(ctx, ERR_INVALID, NULL,
                               "write networks as 10.0.0.0/8, 2001:db8::/32, 192.0.2.7 or unix");
    return ERR_OK;
}

Err check_access_format(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "json") && !str_eq_c(value, "combined"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is json or combined");
    return ERR_OK;
}

static bool has_role(const Settings *settings, const char *role) {
    Str rest = settings->roles;
    while (rest.p != NULL)
        if (str_eq_c(str_trim(str_cut(&rest, ','), " "), role))
            return true;
    return false;
}

/* Its first address without TLS: whom its certificate names, one does not know here. */
Str gateway_plain_address(Str listen) {
    while (listen.p != NULL) {
        Str address = str_trim(str_cut(&listen, ','), " ");
        if (str_starts_with(address, STR("http://")))
            return str_slice(address, 7, address.n);
        if (!str_starts_with(address, STR("https://")))
            return address;
    }
    return STR("");
}

/* The http role of this usher, where there is one, as one reaches it from here. */
static Str own_new_url(const Settings *settings, Arena *arena) {
    Str address = gateway_plain_address(settings->listen);
    if (!has_role(settings, "http") || address.n == 0)
        return (Str){NULL, 0};
    if (str_starts_with(address, STR("unix:")))
        return address;
    if (address.p[0] == ':' || address.p[0] == '*')
        return arena_printf(arena, "http://127.0.0.1%.*s", STR_ARG(str_slice(address, address.p[0] == '*', address.n)));
    if (str_starts_with(address, STR("0.0.0.0:")))
        return arena_printf(arena, "http://127.0.0.1%.*s", STR_ARG(str_slice(address, 7, address.n)));
    return arena_printf(arena, "http://%.*s", STR_ARG(address));
}

Err gateway_options(Ctx *ctx, const Settings *settings, GatewayOptions *ret) {
    GatewayOptions options = {.old_url = settings->legacy_url,
                              .new_url = settings->new_url,
                              .trusted_proxies = settings->gateway_trusted_proxies,
                              .shared = shared,
                              .access_log = settings->gateway_access_log,
                              .access_combined = str_eq_c(settings->gateway_access_format, "combined"),
                              .traces = telemetry_traces()};
    options.tables = app_route_tables(&options.table_count);
    if (options.new_url.n == 0)
        options.new_url = own_new_url(settings, ctx->arena);
    if (settings->gateway_routes.n > 0) {
        options.file_name = settings->gateway_routes;
        Str path = arena_str(ctx->arena, settings->gateway_routes);
        if (path.p == NULL)
            return ERR_NO_MEMORY;
        TRY(file_read(ctx, path.p, ROUTES_FILE_MAX, &options.file_text));
    }
    *ret = options;
    return ERR_OK;
}

/* --- the supervisor's side ---------------------------------------------------------------------------------------- */

static void log_mistakes(Buf *mistakes) {
    Str rest = buf_str(mistakes);
    while (rest.n > 0)
        LOG_E(NULL, "gateway configuration", F_STR("mistake", str_cut(&rest, '\n')));
}

static Err check(const Settings *settings) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20), out CLEANUP(buf_done) = buf_new(NULL, OPTIONS_BYTES);
    Ctx ctx;
    GatewayOptions options;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    Err err = gateway_options(&ctx, settings, &options);
    if (err != ERR_OK) {
        LOG_E(NULL, "gateway configuration", F_STR("mistake", ctx.problem.message));
        return err;
    }
    if (gateway_check(&options, false, &out, &mistakes) == 0)
        return ERR_OK;
    log_mistakes(&mistakes);
    return ERR_INVALID;
}

Err gateway_role_prepare(const Settings *settings, int workers, Arena *arena) {
    if (workers == 0)
        return ERR_OK;
    if ((shared = gateway_shared_new()) == NULL)
        return ERR_NO_MEMORY;
    TRY(check(settings));
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Err err = tls_prepare(&ctx, settings, settings->gateway_listen);
    if (err != ERR_OK) {
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
        return err;
    }
    return listeners_open("gateway", settings->gateway_listen, "GATEWAY_LISTEN", workers, arena);
}

Err gateway_settings_now(Ctx *ctx, Settings *ret) {
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20);
    return config_load(SETTINGS, ret, ctx->arena, settings_lookup, &mistakes);
}

Err gateway_role_check(void) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    Settings settings = {0};
    Ctx ctx;
    if (shared == NULL)
        return ERR_OK; /* no gateway here */
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    TRY(gateway_settings_now(&ctx, &settings));
    return check(&settings);
}

/* --- the worker --------------------------------------------------------------------------------------------------- */

static Err open_gateway(Worker *worker, const Settings *settings) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20);
    Ctx ctx;
    GatewayOptions options;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    TRY(gateway_options(&ctx, settings, &options));
    Err err = self.gateway == NULL ? gateway_new(worker->loop, &options, &mistakes, &self.gateway)
                                   : gateway_reload(self.gateway, &options, &mistakes);
    log_mistakes(&mistakes);
    return err;
}

static Err open_server(Worker *worker, const Settings *settings, HttpServerOptions *options) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    int fds[LISTENERS_PER_WORKER];
    size_t n = listeners_of("gateway", worker->index, fds);
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    Err err = tls_options(&ctx, settings, settings->gateway_listen, fds, n, options);
    if (err != ERR_OK)
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
    else
        err = http_server_new(worker->loop, fds, n, options, &self.server);
    tls_context_unref(options->tls);
    return err;
}

Err gateway_role_start(Worker *worker) {
    const Settings *settings = worker->settings;
    listeners_close_but("gateway", worker->index);
    observe_attach(worker);
    TRY(open_gateway(worker, settings));
    TRY(shadow_role_hook(worker, self.gateway));
    TRY(gateway_measure(self.gateway));
    HttpServerOptions options = {.limits = HTTP_LIMITS_DEFAULT,
                                 .handler = gateway_serve,
                                 .data = self.gateway,
                                 .proxy_protocol = settings->gateway_proxy_protocol};
    options.limits.connections_max = (int)settings->connections_max;
    options.limits.idle_timeout_ms = settings->idle_ms;
    options.limits.request_timeout_ms = 0; /* upstreams have time-outs of their own */
    options.limits.body_max = INT64_MAX;   /* bodies pass; how large they may be, the sides decide */
    options.limits.arena_bytes = GATEWAY_ARENA_BYTES;
    options.observer = telemetry_http_observer();
    arena_set_budget((size_t)settings->memory_max_bytes);
    TRY(open_server(worker, settings, &options));
    return observe_start(worker, NULL, self.server);
}

Err gateway_role_reload(Worker *worker) {
    Arena *arena CLEANUP(arena_freep) = arena_new(OPTIONS_BYTES);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1 << 20);
    Settings settings = {0};
    Ctx ctx;
    if (arena == NULL)
        return ERR_NO_MEMORY;
    ctx_init(&ctx, arena, 0);
    TRY(settings_reload(&ctx, &mistakes));
    TRY(gateway_settings_now(&ctx, &settings));
    TRY(open_gateway(worker, &settings));
    Err err = tls_reload(&ctx, self.server);
    if (err != ERR_OK) /* the old certificates go on */
        LOG_E(&ctx, "tls", F_STR("why", ctx.problem.message));
    return err;
}

static void on_drained(void *data) {
    shadow_role_unhook();
    gateway_free(self.gateway); /* what the access log holds is written */
    self.gateway = NULL;
    worker_drained(data);
}

void gateway_role_drain(Worker *worker) {
    const Settings *settings = worker->settings;
    observe_draining(worker);
    if (worker->succeeded)
        http_server_retire(self.server, clock_mono_ms() + settings->drain_ms / 2, on_drained, worker);
    else
        http_server_drain(self.server, on_drained, worker);
}
