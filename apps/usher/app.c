/*
 * app.c - which contexts there are, and a worker's hold on them.
 */
#include "usher/app.h"

#include "api/jsonapi.h"
#include "api_gateway/api_gateway.h"
#include "core_events/core_events.h"
#include "core_tickets/core_tickets.h"
#include "core_users/core_users.h"
#include "jobs/jobs.h"
#include "legacy/quirks.h"
#include "messaging/messages.h"
#include "telemetry/instrument.h"
#include "usher/amqp.h"

#define BUS_WRITERS        4
#define TRIAL_STATEMENT_MS 3000

const Context *const CONTEXTS[] = {
    &CORE_EVENTS_CONTEXT,
    &CORE_USERS_CONTEXT,
    &CORE_TICKETS_CONTEXT,
    &BUS_CONTEXT,
    &JOBS_CONTEXT,
    &GATEWAY_CONTEXT,
    NULL,
};
_Static_assert(ARRAY_LEN(CONTEXTS) <= CONTEXTS_MAX, "raise CONTEXTS_MAX");

const Route *const *app_route_tables(size_t *ret_n) {
    static const Route *tables[CONTEXTS_MAX];
    size_t n = 0;
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if ((*context)->routes != NULL)
            tables[n++] = (*context)->routes;
    *ret_n = n;
    return tables;
}

Err app_router(Ctx *ctx, Arena *arena, Router **ret) {
    size_t n;
    const Route *const *compat = app_route_tables(&n);
    const Route **tables = ARENA_ARRAY(arena, const Route *, n + 1);
    JsonApi *api;
    if (tables == NULL)
        return ERR_NO_MEMORY;
    memcpy(tables, compat, n * sizeof *tables);
    TRY(jsonapi_new(ctx, arena, CONTEXTS, &api));
    tables[n++] = api->routes;
    RouterOptions options = {.ignore_case = quirk(QUIRK_PATHS_ANY_CASE),
                             .trailing_slash = quirk(QUIRK_PATHS_ANY_CASE),
                             .method_ignores_case = quirk(QUIRK_METHODS_ANY_CASE)};
    return router_new(ctx, arena, tables, n, options, ret);
}

Str settings_database_url(const Settings *settings, const char *database_env) {
    for (const Setting *row = SETTINGS; row->env != NULL; row++) {
        if (strcmp(row->env, database_env) != 0)
            continue;
        Str own;
        memcpy(&own, (const char *)settings + row->offset, sizeof own);
        if (own.p != NULL && own.n > 0)
            return own;
    }
    return settings->database_url;
}

static bool is_wanted(const char *const *wanted, const char *name) {
    for (; wanted != NULL && *wanted != NULL; wanted++)
        if (strcmp(*wanted, name) == 0)
            return true;
    return wanted == NULL;
}

static Err open_context(App *app, const Context *context, size_t at) {
    PgConfig config = {
        .url = settings_database_url(app->settings, context->database_env),
        .role = app->settings->set_role ? str_c(context->role) : (Str){NULL, 0},
        .application_name = arena_printf(app->arena, "usher/%s", context->name),
        /* One writer suits sets best; on the transport each queue and outbox holds a transaction of its own. */
        .writers = strcmp(context->name, "bus") == 0 ? BUS_WRITERS : app->writers,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = app->tries ? TRIAL_STATEMENT_MS : 30000,
        .rolls_back = app->tries,
        .observer = telemetry_pg_observer(),
        .pooled = app->settings->database_pooled,
    };
    TRY(pg_pool_new(app->loop, &config, &app->pools[at]));
    TRY(engine_new(app->loop, context, app->pools[at], &app->engines[at]));
    jobs_attach(app->engines[at]);
    return ERR_OK;
}

Err app_open(App *app, Loop *loop, const Settings *settings, const char *const *contexts) {
    return app_open_wide(app, loop, settings, contexts, 1);
}

static Err open_contexts(App *app, const char *const *contexts) {
    app->arena = arena_new(16 * 1024 * 1024);
    if (app->arena == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; CONTEXTS[i] != NULL; i++)
        if (contexts == NULL ? CONTEXTS[i] != &GATEWAY_CONTEXT : is_wanted(contexts, CONTEXTS[i]->name))
            TRY(open_context(app, CONTEXTS[i], i));
    return ERR_OK;
}

Err app_open_trial(App *app, Loop *loop, const Settings *settings, const char *const *contexts, TrialTold told,
                   void *data) {
    *app = (App){.loop = loop, .settings = settings, .writers = 1, .tries = true};
    TRY(open_contexts(app, contexts));
    for (size_t i = 0; i < CONTEXTS_MAX; i++)
        if (app->engines[i] != NULL)
            engine_try(app->engines[i], told, data);
    return ERR_OK;
}

Err app_open_wide(App *app, Loop *loop, const Settings *settings, const char *const *contexts, int writers) {
    *app = (App){.loop = loop, .settings = settings, .writers = writers};
    TRY(open_contexts(app, contexts));
    PgPool *bus = app_pool(app, "bus");
    if (bus == NULL)
        return ERR_OK;
    if (settings->amqp_url.n > 0)
        return app_open_amqp(app);
    return transport_pg_new(loop, bus, BINDINGS, &app->transport);
}

void app_close(App *app) {
    if (app->transport != NULL)
        app->transport->ops->free(app->transport);
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (app->engines[i] != NULL)
            engine_free(app->engines[i]);
        if (app->pools[i] != NULL)
            pg_pool_free(app->pools[i]);
    }
    arena_freep(&app->arena);
    *app = (App){0};
}

Engine *app_engine(const App *app, const char *context) {
    for (size_t i = 0; CONTEXTS[i] != NULL; i++)
        if (strcmp(CONTEXTS[i]->name, context) == 0)
            return app->engines[i];
    return NULL;
}

PgPool *app_pool(const App *app, const char *context) {
    for (size_t i = 0; CONTEXTS[i] != NULL; i++)
        if (strcmp(CONTEXTS[i]->name, context) == 0)
            return app->pools[i];
    return NULL;
}
