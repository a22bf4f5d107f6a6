/*
 * trial_server.c - requests in work, and what was told of each.
 */
#include "usher/trial_server.h"

#include <openssl/crypto.h>

#include "api/jsonapi.h"
#include "api_gateway/api_gateway.h"
#include "legacy/quirks.h"
#include "runtime/log.h"

#define ENVELOPE_MAX (64 * 1024 * 1024)
#define REQUEST_MS   5000

/* One request in work; on its coroutine's stack. */
typedef struct TrialCall {
    Ctx *ctx;
    Buf actions; /* the list's elements */
    struct TrialCall *next;
} TrialCall;

/* The process's own. */
static struct {
    TrialServerOptions options;
    App app;
    bool open; /* the app is */
    HttpServer *server;
    CompatApp compat;
    CompatStyle style;
    TrialCall *calls;
} self;

static void note_trial(Ctx *ctx, const Trial *trial, void *data UNUSED) {
    for (TrialCall *call = self.calls; call != NULL; call = call->next)
        if (call->ctx == ctx)
            trial_action_add(&call->actions, trial);
}

static Engine *engine_of(const char *context, void *data) {
    return app_engine((const App *)data, context);
}

/* Does not suspend: who comes second finds it open. */
static Err open_contexts(void) {
    static const char *const contexts[] = {"events", "users", "tickets", NULL};
    const Settings *settings = self.options.settings;
    Err err = app_open_trial(&self.app, self.options.loop, settings, contexts, note_trial, NULL);
    if (err == ERR_OK) {
        self.compat = (CompatApp){.engine_of = engine_of,
                                  .data = &self.app,
                                  .style = &self.style,
                                  .body_max = (uint64_t)settings->body_max_bytes};
        self.open = true;
        err = trial_server_reload();
    }
    if (err == ERR_OK)
        return ERR_OK;
    self.open = false;
    app_close(&self.app);
    return err;
}

static bool may_ask(const Request *req) {
    Str key = self.options.key, given = request_header(req, TRIAL_KEY_HEADER);
    return key.p == NULL || (given.n == key.n && CRYPTO_memcmp(given.p, key.p, key.n) == 0);
}

static CO_FN void serve_trial(Request *req, Response *res, void *data UNUSED) {
    if (!may_ask(req)) {
        res->status = 404;
        return;
    }
    Err err = self.open ? ERR_OK : open_contexts();
    if (err != ERR_OK) {
        LOG_E(req->ctx, "no databases for trials", F_ERR(err));
        res->status = 503;
        return;
    }
    TrialCall call = {.ctx = req->ctx, .actions = buf_new(req->ctx->arena, ENVELOPE_MAX), .next = self.calls};
    self.calls = &call;
    surfaces_serve(req, res, &self.compat);
    for (TrialCall **at = &self.calls; *at != NULL; at = &(*at)->next) {
        if (*at == &call) {
            *at = call.next;
            break;
        }
    }
    if (!res->streaming)
        trial_envelope(req, res, &call.actions, ENVELOPE_MAX);
}

Err trial_server_start(const TrialServerOptions *options) {
    self.options = *options;
    HttpServerOptions server = {.limits = HTTP_LIMITS_DEFAULT, .handler = serve_trial};
    server.limits.connections_max = TRIALS_AT_ONCE * options->askers;
    server.limits.request_timeout_ms = REQUEST_MS;
    server.limits.body_max = (uint64_t)options->settings->body_max_bytes;
    return http_server_new(options->loop, options->fds, options->n_fds, &server, &self.server);
}

/* Requests in work go on with the router they began with: it stays, in the app's arena. */
Err trial_server_reload(void) {
    Ctx ctx;
    if (!self.open)
        return ERR_OK;
    ctx_init(&ctx, self.app.arena, 0);
    TRY(app_router(&ctx, self.app.arena, &self.compat.router));
    quirks_style(&self.style);
    return ERR_OK;
}

void trial_server_drain(void (*done)(void *data), void *data) {
    http_server_drain(self.server, done, data);
}
