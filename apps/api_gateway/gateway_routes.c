/*
 * gateway_routes.c - which route a request belongs to.
 *
 * Routes are tried in the file's order, the contexts' own behind them; the first that fits decides. An order that can
 * be read beats a ranking that must be known, and `usher gateway check` says where one route hides another. Matching is
 * by the decoded path, letters in any case and one trailing slash ignored, as the old system's router does; what goes
 * on to a side is the target as it came.
 */
#include "api_gateway/gateway_impl.h"

/* --- compiling ---------------------------------------------------------------------------------------------------- */

static Err segments_compile(Arena *arena, Str pattern, RoutePlan *plan) {
    Str rest = str_slice(pattern, 1, pattern.n);
    size_t room = 1;
    for (size_t i = 0; i < pattern.n; i++)
        room += pattern.p[i] == '/';
    plan->segments = ARENA_ARRAY(arena, Str, room);
    if (plan->segments == NULL)
        return ERR_NO_MEMORY;
    while (rest.n > 0) {
        Str segment = str_cut(&rest, '/');
        plan->rest = plan->rest || str_eq(segment, STR("**"));
        if (!plan->rest)
            plan->segments[plan->segment_count++] = segment.p[0] == '{' ? (Str){NULL, 0} : segment;
    }
    return ERR_OK;
}

static Method method_number(Str text) {
#define METHOD_CASE(name)                                                                                              \
    if (str_eq(text, STR(#name)))                                                                                      \
        return METHOD_##name;
    HTTP_METHODS(METHOD_CASE)
#undef METHOD_CASE
    return METHOD_OTHER;
}

static Err methods_compile(Arena *arena, const ConfigRoute *config, RoutePlan *plan) {
    Str *others = ARENA_ARRAY(arena, Str, config->methods.n + 1);
    if (others == NULL)
        return ERR_NO_MEMORY;
    plan->others.p = others;
    for (size_t i = 0; i < config->methods.n; i++) {
        Method method = method_number(config->methods.p[i]);
        if (method == METHOD_OTHER)
            others[plan->others.n++] = config->methods.p[i];
        plan->methods |= 1u << method;
    }
    return ERR_OK;
}

/* The Route that spans and metrics see. It must outlive the table: equal ones are made once for the worker's life. */
static Err route_intern(Gateway *gateway, const ConfigRoute *config, const Route **ret) {
    Method method = config->methods.n == 1 ? method_number(config->methods.p[0]) : METHOD_OTHER;
    Str key = arena_printf(gateway->arena, "%d %.*s %.*s %.*s", (int)method, STR_ARG(config->path),
                           STR_ARG(config->name), STR_ARG(config->context.p == NULL ? STR("") : config->context));
    if (key.p == NULL)
        return ERR_NO_MEMORY;
    *ret = map_get(gateway->names, key);
    if (*ret != NULL)
        return ERR_OK;
    Route *route = ARENA_NEW(gateway->arena, Route);
    if (route == NULL)
        return ERR_NO_MEMORY;
    route->method = method;
    route->pattern = arena_str(gateway->arena, config->path).p;
    route->name = arena_str(gateway->arena, config->name).p;
    route->context = config->context.p == NULL ? NULL : arena_str(gateway->arena, config->context).p;
    route->surface = "gateway";
    if (route->pattern == NULL || route->name == NULL)
        return ERR_NO_MEMORY;
    *ret = route;
    return map_put(gateway->names, key, route, NULL);
}

Upstream *table_upstream(const GatewayTable *table, Str name) {
    for (size_t i = 0; i < table->config.upstream_count; i++)
        if (str_eq(table->config.upstreams[i].name, name))
            return table->upstreams[i];
    return NULL;
}

static Err plan_compile(Gateway *gateway, GatewayTable *table, const ConfigRoute *config, RoutePlan *plan) {
    GatewayRoute *route = &plan->route;
    TRY(segments_compile(table->arena, config->path, plan));
    TRY(methods_compile(table->arena, config, plan));
    TRY(route_intern(gateway, config, &route->route));
    route->group = str_eq(config->group, STR("reads"))    ? "reads"
                   : str_eq(config->group, STR("writes")) ? "writes"
                                                          : NULL;
    route->host = config->host;
    route->sides[SIDE_OLD] = config->old_side.n > 0 ? table_upstream(table, config->old_side) : table->sides[SIDE_OLD];
    route->sides[SIDE_NEW] = config->new_side.n > 0 ? table_upstream(table, config->new_side) : table->sides[SIDE_NEW];
    route->fixed = config->always.p != NULL;
    route->always = str_eq(config->always, STR("new")) ? SIDE_NEW : SIDE_OLD;
    route->plan = plan;
    plan->rate = config->rate;
    return ERR_OK;
}

Err plans_compile(Gateway *gateway, GatewayTable *table) {
    table->sides[SIDE_OLD] = table_upstream(table, table->config.old_side);
    table->sides[SIDE_NEW] = table_upstream(table, table->config.new_side);
    table->plans = ARENA_ARRAY(table->arena, RoutePlan, table->config.route_count);
    if (table->plans == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < table->config.route_count; i++)
        TRY(plan_compile(gateway, table, &table->config.routes[i], &table->plans[i]));
    return ERR_OK;
}

/* --- matching ----------------------------------------------------------------------------------------------------- */

typedef struct PathSegments {
    Str items[SEGMENTS_MAX];
    size_t n;
    bool more; /* than there is room for: only ** can fit */
} PathSegments;

static void path_split(Str path, PathSegments *ret) {
    Str rest = str_slice(path, 1, path.n);
    if (rest.n > 0 && rest.p[rest.n - 1] == '/')
        rest.n--;
    while (rest.n > 0 && ret->n < SEGMENTS_MAX)
        ret->items[ret->n++] = str_cut(&rest, '/');
    ret->more = rest.n > 0;
}

static bool method_fits(const RoutePlan *plan, const Request *req) {
    if (plan->methods == 0 || (req->method != METHOD_OTHER && (plan->methods & (1u << req->method)) != 0))
        return true;
    for (size_t i = 0; i < plan->others.n; i++)
        if (str_eq(plan->others.p[i], req->method_text))
            return true;
    return false;
}

static bool path_fits(const RoutePlan *plan, const PathSegments *path) {
    if (plan->rest ? path->n < plan->segment_count : path->n != plan->segment_count || path->more)
        return false;
    for (size_t i = 0; i < plan->segment_count; i++)
        if (plan->segments[i].p == NULL ? path->items[i].n == 0 : !str_eq_nocase(plan->segments[i], path->items[i]))
            return false;
    return true;
}

/* Host without its port. */
static Str host_of(const Request *req) {
    Str host = request_header(req, "Host");
    ptrdiff_t bracket = host.n > 0 && host.p[0] == '[' ? str_index(host, ']') : -1;
    Str tail = str_slice(host, bracket < 0 ? 0 : (size_t)bracket, host.n);
    ptrdiff_t colon = str_index(tail, ':');
    return colon < 0 ? host : str_slice(host, 0, host.n - tail.n + (size_t)colon);
}

const RoutePlan *plan_find(const GatewayTable *table, const Request *req) {
    PathSegments path = {.n = 0};
    Str host = {NULL, 0};
    path_split(req->path, &path);
    for (size_t i = 0; i < table->config.route_count; i++) {
        const RoutePlan *plan = &table->plans[i];
        if (!path_fits(plan, &path) || !method_fits(plan, req))
            continue;
        if (plan->route.host.p != NULL && host.p == NULL)
            host = host_of(req);
        if (plan->route.host.p == NULL || str_eq_nocase(plan->route.host, host))
            return plan;
    }
    return NULL;
}
