/*
 * gateway.c - a gateway's configuration at run time, and how one takes the place of another.
 */
#include "api_gateway/gateway.h"

#include "api_gateway/gateway_impl.h"
#include "base/heap.h"
#include "runtime/log.h"

enum { TABLE_BYTES_MAX = 64 << 20, NAMES_BYTES_MAX = 16 << 20, RATE_SLOTS = 65536 };

const char *gateway_side_name(GatewaySide side) {
    return side == SIDE_NEW ? "new" : "legacy";
}

GatewayShared *gateway_shared_new(void) {
    GatewayShared *shared = HEAP_NEW(GatewayShared);
    if (shared == NULL)
        return NULL;
    shared->rates = rate_table_new(RATE_SLOTS);
    if (shared->rates == NULL) {
        heap_free(shared);
        return NULL;
    }
    return shared;
}

static void shared_free(GatewayShared *shared) {
    if (shared != NULL)
        rate_table_free(shared->rates);
    heap_free(shared);
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

void table_unref(GatewayTable *table) {
    if (table == NULL || --table->refs > 0)
        return;
    for (size_t i = 0; table->upstreams != NULL && i < table->config.upstream_count; i++)
        upstream_unref(table->upstreams[i]);
    arena_free(table->arena);
    heap_free(table);
}

/* The one that runs already, where nothing about it has changed; so its connections stay. */
static Upstream *upstream_kept(const GatewayTable *former, const UpstreamOptions *options) {
    for (size_t i = 0; former != NULL && i < former->config.upstream_count; i++)
        if (upstream_same(former->upstreams[i], options)) {
            upstream_renew(former->upstreams[i]);
            return upstream_ref(former->upstreams[i]);
        }
    return NULL;
}

static Err upstreams_open(Gateway *gateway, GatewayTable *table) {
    size_t n = table->config.upstream_count;
    table->config.upstream_count = 0; /* so many are open: what table_unref goes by */
    table->upstreams = ARENA_ARRAY(table->arena, Upstream *, n);
    if (table->upstreams == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const ConfigUpstream *config = &table->config.upstreams[i];
        UpstreamOptions options = {.name = config->name,
                                   .urls = config->urls.p,
                                   .url_count = config->urls.n,
                                   .check_path = config->check,
                                   .limits = config->limits};
        table->upstreams[i] = upstream_kept(gateway->table, &options);
        if (table->upstreams[i] == NULL)
            TRY(upstream_new(gateway->loop, &options, &table->upstreams[i]));
        table->config.upstream_count++;
    }
    return ERR_OK;
}

static bool has_word(const GatewayConfig *config, Str word) {
    for (size_t i = 0; i < config->forwarded.n; i++)
        if (str_eq(config->forwarded.p[i], word))
            return true;
    return config->forwarded.n == 0; /* both, unless it is said */
}

static Err table_fill(Gateway *gateway, const GatewayOptions *options, Buf *mistakes, GatewayTable *table) {
    TRY(gateway_config_read(options, table->arena, mistakes, &table->config));
    TRY(upstreams_open(gateway, table));
    TRY(plans_compile(gateway, table));
    table->rules = (ForwardRules){.trusted = table->config.trusted,
                                  .via = STR("usher"),
                                  .hides_x = !has_word(&table->config, STR("x")),
                                  .hides_forwarded = !has_word(&table->config, STR("standard")),
                                  .traces = options->traces,
                                  .upgrades = table->config.upgrades.p,
                                  .upgrade_count = table->config.upgrades.n};
    return ERR_OK;
}

static Err table_new(Gateway *gateway, const GatewayOptions *options, Buf *mistakes, GatewayTable **ret) {
    GatewayTable *table = HEAP_NEW(GatewayTable);
    if (table == NULL)
        return ERR_NO_MEMORY;
    table->refs = 1;
    table->arena = arena_new(TABLE_BYTES_MAX);
    Err err = table->arena == NULL ? ERR_NO_MEMORY : table_fill(gateway, options, mistakes, table);
    if (err != ERR_OK) {
        if (table->arena == NULL)
            heap_free(table);
        else
            table_unref(table);
        return err;
    }
    *ret = table;
    return ERR_OK;
}

/* --- beginning, reload, end --------------------------------------------------------------------------------------- */

static Err gateway_open(Gateway *gateway, const GatewayOptions *options, Buf *mistakes) {
    gateway->arena = arena_new(NAMES_BYTES_MAX);
    gateway->names = gateway->arena == NULL ? NULL : map_new(gateway->arena, 64);
    gateway->own_shared = options->shared == NULL;
    gateway->shared = gateway->own_shared ? gateway_shared_new() : options->shared;
    gateway->traces = options->traces;
    if (gateway->names == NULL || gateway->shared == NULL)
        return ERR_NO_MEMORY;
    TRY(table_new(gateway, options, mistakes, &gateway->table));
    if (options->access_log.n == 0 || str_eq(options->access_log, STR("off")))
        return ERR_OK;
    Err err = access_log_new(gateway->loop, options->access_log, options->access_combined, &gateway->log);
    if (err != ERR_OK)
        config_mistake(mistakes, STR(""), NULL, "GATEWAY_ACCESS_LOG: %.*s cannot be opened for writing",
                       STR_ARG(options->access_log));
    return err;
}

Err gateway_new(Loop *loop, const GatewayOptions *options, Buf *mistakes, Gateway **ret) {
    Gateway *gateway = HEAP_NEW(Gateway);
    if (gateway == NULL)
        return ERR_NO_MEMORY;
    gateway->loop = loop;
    Err err = gateway_open(gateway, options, mistakes);
    if (err != ERR_OK) {
        gateway_free(gateway);
        return err;
    }
    *ret = gateway;
    return ERR_OK;
}

Err gateway_reload(Gateway *gateway, const GatewayOptions *options, Buf *mistakes) {
    GatewayTable *table;
    access_log_reopen(gateway->log);
    TRY(table_new(gateway, options, mistakes, &table));
    table_unref(gateway->table);
    gateway->table = table;
    upstream_metrics_watch(gateway->metrics, table->upstreams, table->config.upstream_count);
    return ERR_OK;
}

void gateway_free(Gateway *gateway) {
    if (gateway == NULL)
        return;
    upstream_metrics_free(gateway->metrics);
    table_unref(gateway->table);
    access_log_free(gateway->log);
    if (gateway->own_shared)
        shared_free(gateway->shared);
    arena_freep(&gateway->arena);
    heap_free(gateway);
}

/* --- for hooks ---------------------------------------------------------------------------------------------------- */

void gateway_hook(Gateway *gateway, const GatewayHooks *hooks) {
    gateway->hooks = hooks;
}

Err gateway_measure(Gateway *gateway) {
    TRY(upstream_metrics_new(gateway->loop, &gateway->metrics));
    upstream_metrics_watch(gateway->metrics, gateway->table->upstreams, gateway->table->config.upstream_count);
    return ERR_OK;
}

Upstream *gateway_upstream(const Gateway *gateway, const GatewayRoute *route, GatewaySide side) {
    return route != NULL ? route->sides[side] : gateway->table->sides[side];
}

Upstream *gateway_upstream_named(const Gateway *gateway, Str name) {
    return table_upstream(gateway->table, name);
}

Err gateway_request_head(const Gateway *gateway, Ctx *ctx, const Request *req, Str body, Str *ret) {
    Buf head = buf_new(ctx->arena, 128 * 1024);
    ForwardBody framing = {.kind = body.p == NULL ? BODY_NONE : BODY_LENGTH, .length = body.n};
    forward_head(req, &gateway->table->rules, &framing, ctx, &head);
    return buf_finish(&head, ret);
}

const GatewayRoute *gateway_route_each(const Gateway *gateway, size_t *at) {
    return *at < gateway->table->config.route_count ? &gateway->table->plans[(*at)++].route : NULL;
}
