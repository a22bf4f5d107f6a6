/*
 * gateway_rules.c - from what was read to what will run: defaults, the contexts' routes, and every check.
 *
 * Each message says where, what, and what to write instead.
 */
#include "api_gateway/gateway_config.h"
#include "base/map.h"

void gateway_config_parse(GatewayConfig *config, Str text, Buf *mistakes);

static const ConfigUpstream *upstream_find(const GatewayConfig *config, Str name) {
    for (size_t i = 0; i < config->upstream_count; i++)
        if (str_eq(config->upstreams[i].name, name))
            return &config->upstreams[i];
    return NULL;
}

/* LEGACY_URL and NEW_URL are upstreams named old and new, unless the file has such. */
static void url_upstream(GatewayConfig *config, const char *name, Str url, const char *setting) {
    if (url.n == 0 || upstream_find(config, str_c(name)) != NULL || config->upstream_count == CONFIG_UPSTREAMS_MAX)
        return;
    Str *urls = ARENA_ARRAY(config->arena, Str, UPSTREAM_URLS_MAX + 1);
    size_t n = 0;
    while (urls != NULL && url.p != NULL && n <= UPSTREAM_URLS_MAX) {
        Str one = str_trim(str_cut(&url, ','), " ");
        urls[n++] = arena_str(config->arena, one);
    }
    config->upstreams[config->upstream_count++] =
        (ConfigUpstream){.name = str_c(name), .setting = setting, .urls = {urls, n}, .limits = UPSTREAM_LIMITS_DEFAULT};
}

static void check_url(const GatewayConfig *config, const ConfigUpstream *upstream, Str url, Buf *mistakes) {
    Ctx ctx;
    ctx_init(&ctx, config->arena, 0);
    if (upstream_url_try(&ctx, url) == ERR_OK)
        return;
    if (upstream->setting != NULL)
        config_mistake(mistakes, config->file, NULL, "%s: \"%.*s\": %.*s", upstream->setting, STR_ARG(url),
                       STR_ARG(ctx.problem.message));
    else
        config_mistake(mistakes, config->file, &upstream->at, "upstream \"%.*s\": \"%.*s\": %.*s",
                       STR_ARG(upstream->name), STR_ARG(url), STR_ARG(ctx.problem.message));
}

static void check_upstreams(const GatewayConfig *config, Buf *mistakes) {
    for (size_t i = 0; i < config->upstream_count; i++) {
        const ConfigUpstream *upstream = &config->upstreams[i];
        if (upstream_find(config, upstream->name) != upstream)
            config_mistake(mistakes, config->file, &upstream->at, "upstream \"%.*s\" is there twice",
                           STR_ARG(upstream->name));
        if (upstream->urls.n == 0 || upstream->urls.n > UPSTREAM_URLS_MAX)
            config_mistake(mistakes, config->file, &upstream->at,
                           "upstream \"%.*s\" wants 1 to %d urls: \"urls\": [\"http://10.0.0.5:5000\"]",
                           STR_ARG(upstream->name), UPSTREAM_URLS_MAX);
        for (size_t j = 0; j < upstream->urls.n; j++)
            check_url(config, upstream, upstream->urls.p[j], mistakes);
        bool check_fits = upstream->check.p == NULL || (upstream->check.n > 0 && upstream->check.p[0] == '/');
        for (size_t j = 0; upstream->check.p != NULL && j < upstream->check.n; j++)
            check_fits = check_fits && upstream->check.p[j] > ' ' && upstream->check.p[j] < 0x7f;
        if (!check_fits)
            config_mistake(mistakes, config->file, &upstream->at,
                           "upstream \"%.*s\": check is a path that begins with /", STR_ARG(upstream->name));
    }
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

const char *pattern_check(Str pattern) {
    if (pattern.n == 0 || pattern.p[0] != '/')
        return "a path begins with /";
    Str rest = str_slice(pattern, 1, pattern.n);
    while (rest.p != NULL) {
        Str segment = str_cut(&rest, '/');
        if (segment.n == 0 && (rest.p != NULL || pattern.n > 1))
            return "a path has no empty segments, and no / at its end";
        if (str_eq(segment, STR("**"))) {
            if (rest.p != NULL)
                return "** stands only at the end: it is whatever follows";
            continue;
        }
        bool opens = segment.n > 0 && segment.p[0] == '{', closes = segment.n > 0 && segment.p[segment.n - 1] == '}';
        if (opens != closes || (opens && segment.n < 3) || str_index(segment, '*') >= 0 ||
            str_index(str_slice(segment, opens, segment.n), '{') >= 0 || str_index(segment, '?') >= 0)
            return "a segment is a word, {name}, or ** at the end";
    }
    return NULL;
}

static bool is_group(Str group) {
    return str_eq(group, STR("reads")) || str_eq(group, STR("writes"));
}

static bool is_context(const GatewayOptions *options, Str name) {
    for (size_t i = 0; i < options->table_count; i++)
        for (const Route *own = options->tables[i]; own->pattern != NULL; own++)
            if (str_eq_c(name, own->context))
                return true;
    return false;
}

/* With what a route is switched: both or neither, and something that there is. */
static void check_switched_with(const GatewayConfig *config, const GatewayOptions *options, const ConfigRoute *route,
                                Buf *mistakes) {
    if (route->group.p != NULL && !is_group(route->group))
        config_mistake(mistakes, config->file, &route->at, "route \"%.*s\": group is \"reads\" or \"writes\"",
                       STR_ARG(route->name));
    if ((route->group.p != NULL) != (route->context.p != NULL))
        config_mistake(mistakes, config->file, &route->at,
                       "route \"%.*s\": context and group go together: they say with what it is switched",
                       STR_ARG(route->name));
    if (route->context.p != NULL && !is_context(options, route->context))
        config_mistake(mistakes, config->file, &route->at,
                       "route \"%.*s\": there is no context \"%.*s\"; `usher routes` shows which there are",
                       STR_ARG(route->name), STR_ARG(route->context));
}

static void check_side(const GatewayConfig *config, const ConfigRoute *route, const char *side, Str name,
                       Buf *mistakes) {
    if (name.n > 0 && upstream_find(config, name) == NULL)
        config_mistake(mistakes, config->file, &route->at,
                       "route \"%.*s\": %s is \"%.*s\", but no upstream has that name; add it to upstreams",
                       STR_ARG(route->name), side, STR_ARG(name));
}

static void check_methods(const GatewayConfig *config, const ConfigRoute *route, Buf *mistakes) {
    for (size_t i = 0; i < route->methods.n; i++) {
        Str method = route->methods.p[i];
        bool fits = method.n > 0;
        for (size_t j = 0; j < method.n; j++)
            fits = fits && ((method.p[j] >= 'A' && method.p[j] <= 'Z') || method.p[j] == '-');
        if (!fits)
            config_mistake(mistakes, config->file, &route->at,
                           "route \"%.*s\": \"%.*s\" is no method; they are written GET, POST, …", STR_ARG(route->name),
                           STR_ARG(method));
    }
}

static void check_route(const GatewayConfig *config, const GatewayOptions *options, const ConfigRoute *route,
                        Map *names, Buf *mistakes) {
    const JsonPosition *at = &route->at;
    void *former = NULL;
    const char *why = pattern_check(route->path);
    if (route->name.n == 0)
        config_mistake(mistakes, config->file, at, "this route wants a name: \"name\": \"events.get\"");
    else if (map_put(names, route->name, (void *)(uintptr_t)route, &former) == ERR_OK && former != NULL && !route->own)
        config_mistake(mistakes, config->file, at, "route \"%.*s\" is there twice; names are for logs and stages",
                       STR_ARG(route->name));
    if (why != NULL)
        config_mistake(mistakes, config->file, at, "route \"%.*s\": path \"%.*s\": %s", STR_ARG(route->name),
                       STR_ARG(route->path), why);
    check_switched_with(config, options, route, mistakes);
    if (route->always.p != NULL && !str_eq(route->always, STR("old")) && !str_eq(route->always, STR("new")))
        config_mistake(mistakes, config->file, at, "route \"%.*s\": always is \"old\" or \"new\"",
                       STR_ARG(route->name));
    check_methods(config, route, mistakes);
    check_side(config, route, "old", route->old_side, mistakes);
    check_side(config, route, "new", route->new_side, mistakes);
    if (str_eq(route->always, STR("new")) && (route->new_side.p != NULL ? route->new_side : config->new_side).n == 0)
        config_mistake(mistakes, config->file, at,
                       "route \"%.*s\": there is no new side; set NEW_URL or name an upstream", STR_ARG(route->name));
}

/* Routes that usher's own contexts serve, by their method reads or writes. */
static void add_contexts(GatewayConfig *config, const GatewayOptions *options) {
    for (size_t i = 0; i < options->table_count && !config->without_contexts; i++) {
        for (const Route *own = options->tables[i]; own->pattern != NULL; own++) {
            Str *methods = ARENA_ARRAY(config->arena, Str, 1);
            static const char *const names[] = {
#define METHOD_NAME(name) [METHOD_##name] = #name,
                HTTP_METHODS(METHOD_NAME)
#undef METHOD_NAME
            };
            if (methods == NULL || config->route_count == CONFIG_ROUTES_MAX)
                return;
            methods[0] = str_c(names[own->method]);
            bool reads = own->method == METHOD_GET || own->method == METHOD_HEAD || own->method == METHOD_OPTIONS;
            config->routes[config->route_count++] = (ConfigRoute){.name = str_c(own->name),
                                                                  .methods = {methods, 1},
                                                                  .path = str_c(own->pattern),
                                                                  .context = str_c(own->context),
                                                                  .group = reads ? STR("reads") : STR("writes"),
                                                                  .own = true};
        }
    }
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static void trusted_read(GatewayConfig *config, const GatewayOptions *options, Buf *mistakes) {
    Cidr *items = ARENA_ARRAY(config->arena, Cidr, 2 * CONFIG_LIST_MAX);
    size_t n = 0;
    Str rest = options->trusted_proxies;
    for (size_t i = 0; items != NULL && i < config->trusted_texts.n + CONFIG_LIST_MAX; i++) {
        bool of_file = i < config->trusted_texts.n;
        if (!of_file && rest.n == 0)
            break;
        Str text = of_file ? config->trusted_texts.p[i] : str_trim(str_cut(&rest, ','), " ");
        if (cidr_parse(text, &items[n]) == ERR_OK)
            n++;
        else
            config_mistake(mistakes, config->file, NULL,
                           "%s: \"%.*s\" is no network; write 10.0.0.0/8, 2001:db8::/32, 192.0.2.7 or unix",
                           of_file ? "trusted_proxies" : "GATEWAY_TRUSTED_PROXIES", STR_ARG(text));
    }
    config->trusted = (CidrList){items, n};
}

static void check_words(const GatewayConfig *config, Buf *mistakes) {
    for (size_t i = 0; i < config->forwarded.n; i++)
        if (!str_eq(config->forwarded.p[i], STR("x")) && !str_eq(config->forwarded.p[i], STR("standard")) &&
            !str_eq(config->forwarded.p[i], STR("none")))
            config_mistake(mistakes, config->file, NULL,
                           "forwarded: \"%.*s\" is none of \"x\" (X-Forwarded-*), \"standard\" (Forwarded), \"none\"",
                           STR_ARG(config->forwarded.p[i]));
    for (size_t i = 0; i < config->upgrades.n; i++)
        if (str_starts_with(config->upgrades.p[i], STR("h2")) || str_index(config->upgrades.p[i], '/') >= 0)
            config_mistake(mistakes, config->file, NULL,
                           "upgrades: \"%.*s\" would let clients speak HTTP past the gateway; leave it out",
                           STR_ARG(config->upgrades.p[i]));
}

static void sides_settle(GatewayConfig *config, Buf *mistakes) {
    if (config->old_side.n == 0 && upstream_find(config, STR("old")) != NULL)
        config->old_side = STR("old");
    if (config->new_side.n == 0 && upstream_find(config, STR("new")) != NULL)
        config->new_side = STR("new");
    if (config->old_side.n == 0)
        config_mistake(mistakes, config->file, NULL,
                       "nobody answers what no route knows: set LEGACY_URL, or \"old\" to the name of an upstream");
    else if (upstream_find(config, config->old_side) == NULL)
        config_mistake(mistakes, config->file, NULL, "old is \"%.*s\", but no upstream has that name",
                       STR_ARG(config->old_side));
    if (config->new_side.n > 0 && upstream_find(config, config->new_side) == NULL)
        config_mistake(mistakes, config->file, NULL, "new is \"%.*s\", but no upstream has that name",
                       STR_ARG(config->new_side));
}

Err gateway_config_read(const GatewayOptions *options, Arena *arena, Buf *mistakes, GatewayConfig *ret) {
    static const Str websocket[] = {STR_INIT("websocket")};
    GatewayConfig config = {.arena = arena,
                            .file = options->file_name.n > 0 ? arena_str(arena, options->file_name) : STR("routes"),
                            .upstreams = ARENA_ARRAY(arena, ConfigUpstream, CONFIG_UPSTREAMS_MAX),
                            .routes = ARENA_ARRAY(arena, ConfigRoute, CONFIG_ROUTES_MAX),
                            .upgrades = {(Str *)(uintptr_t)websocket, 1}};
    Map *names = map_new(arena, 64);
    size_t before = mistakes->n;
    if (config.upstreams == NULL || config.routes == NULL || names == NULL || config.file.p == NULL)
        return ERR_NO_MEMORY;
    if (options->file_text.p != NULL)
        gateway_config_parse(&config, options->file_text, mistakes);
    url_upstream(&config, "old", options->old_url, "LEGACY_URL");
    url_upstream(&config, "new", options->new_url, "NEW_URL");
    sides_settle(&config, mistakes);
    trusted_read(&config, options, mistakes);
    check_upstreams(&config, mistakes);
    check_words(&config, mistakes);
    add_contexts(&config, options);
    for (size_t i = 0; i < config.route_count; i++)
        check_route(&config, options, &config.routes[i], names, mistakes);
    TRY(mistakes->err);
    *ret = config;
    return mistakes->n > before ? ERR_INVALID : ERR_OK;
}
