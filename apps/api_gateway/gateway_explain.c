/*
 * gateway_explain.c - what a configuration does, route by route, without running it.
 */
#include "api_gateway/gateway_config.h"

enum { CHECK_BYTES_MAX = 64 << 20 };

/* Would every request that `later` takes be taken by `earlier`? Segment by segment, an answer that is always right when
 * it is yes. */
static bool hides(const ConfigRoute *earlier, const ConfigRoute *later) {
    if (earlier->host.p != NULL && !str_eq_nocase(earlier->host, later->host))
        return false;
    for (size_t i = 0; i < later->methods.n || (later->methods.n == 0 && i == 0); i++) {
        bool taken = earlier->methods.n == 0;
        for (size_t j = 0; later->methods.n > 0 && j < earlier->methods.n; j++)
            taken = taken || str_eq(earlier->methods.p[j], later->methods.p[i]);
        if (!taken)
            return false;
    }
    Str a = str_slice(earlier->path, 1, earlier->path.n), b = str_slice(later->path, 1, later->path.n);
    while (a.p != NULL && b.p != NULL) {
        Str of_a = str_cut(&a, '/'), of_b = str_cut(&b, '/');
        if (str_eq(of_a, STR("**")))
            return true;
        if (str_eq(of_b, STR("**")) || (of_b.n > 0 && of_b.p[0] == '{' && !(of_a.n > 0 && of_a.p[0] == '{')))
            return false;
        if (!(of_a.n > 0 && of_a.p[0] == '{') && !str_eq_nocase(of_a, of_b))
            return false;
    }
    return a.p == NULL && b.p == NULL;
}

static const ConfigRoute *hidden_by(const GatewayConfig *config, size_t at) {
    for (size_t i = 0; i < at; i++)
        if (hides(&config->routes[i], &config->routes[at]))
            return &config->routes[i];
    return NULL;
}

static void methods_text(const ConfigRoute *route, Buf *out) {
    if (route->methods.n == 0)
        buf_add(out, STR("any method"));
    for (size_t i = 0; i < route->methods.n; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add(out, route->methods.p[i]);
    }
}

/* One sentence: who answers. */
static void answer_text(const GatewayConfig *config, const ConfigRoute *route, Buf *out) {
    Str old_side = route->old_side.n > 0 ? route->old_side : config->old_side;
    Str new_side = route->new_side.n > 0 ? route->new_side : config->new_side;
    if (str_eq(route->always, STR("new")))
        buf_printf(out, "always %.*s", STR_ARG(new_side));
    else if (route->always.p != NULL || route->group.p == NULL)
        buf_printf(out, "always %.*s", STR_ARG(old_side));
    else if (new_side.n == 0)
        buf_printf(out, "%.*s; nothing to switch to: set NEW_URL", STR_ARG(old_side));
    else
        buf_printf(out, "%.*s, or %.*s by the stage of %.*s %.*s", STR_ARG(old_side), STR_ARG(new_side),
                   STR_ARG(route->context), STR_ARG(route->group));
}

static void explain_text(const GatewayConfig *config, Buf *out) {
    for (size_t i = 0; i < config->upstream_count; i++) {
        const ConfigUpstream *upstream = &config->upstreams[i];
        buf_printf(out, "upstream %.*s:", STR_ARG(upstream->name));
        for (size_t j = 0; j < upstream->urls.n; j++)
            buf_printf(out, " %.*s", STR_ARG(upstream->urls.p[j]));
        if (upstream->check.p != NULL)
            buf_printf(out, ", asked for %.*s every %lld ms", STR_ARG(upstream->check),
                       (long long)upstream->limits.check_ms);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < config->route_count; i++) {
        const ConfigRoute *route = &config->routes[i], *by = hidden_by(config, i);
        buf_printf(out, "route %.*s: ", STR_ARG(route->name));
        methods_text(route, out);
        buf_printf(out, " %.*s%.*s: ", STR_ARG(route->host), STR_ARG(route->path));
        answer_text(config, route, out);
        if (route->rate.requests > 0)
            buf_printf(out, "; each client %lld requests in %lld ms", (long long)route->rate.requests,
                       (long long)route->rate.per_ms);
        if (by != NULL)
            buf_printf(out, "; never reached: %.*s comes first", STR_ARG(by->name));
        buf_add_char(out, '\n');
    }
    buf_printf(out, "everything else: %.*s\n", STR_ARG(config->old_side));
}

static void member(JsonWriter *w, const char *name, Str value) {
    json_name(w, str_c(name));
    json_write_string(w, value);
}

static void explain_route(const GatewayConfig *config, size_t at, JsonWriter *w, Arena *arena) {
    const ConfigRoute *route = &config->routes[at], *by = hidden_by(config, at);
    Buf answer = buf_new(arena, 1024);
    answer_text(config, route, &answer);
    json_object(w);
    member(w, "name", route->name);
    json_name(w, STR("methods"));
    json_array(w);
    for (size_t i = 0; i < route->methods.n; i++)
        json_write_string(w, route->methods.p[i]);
    json_array_end(w);
    member(w, "host", route->host);
    member(w, "path", route->path);
    member(w, "context", route->context);
    member(w, "group", route->group);
    member(w, "answers", buf_str(&answer));
    member(w, "hiddenBy", by == NULL ? (Str){NULL, 0} : by->name);
    json_object_end(w);
}

static void explain_json(const GatewayConfig *config, Buf *out) {
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 2);
    json_object(&w);
    json_name(&w, STR("upstreams"));
    json_array(&w);
    for (size_t i = 0; i < config->upstream_count; i++) {
        json_object(&w);
        member(&w, "name", config->upstreams[i].name);
        json_name(&w, STR("urls"));
        json_array(&w);
        for (size_t j = 0; j < config->upstreams[i].urls.n; j++)
            json_write_string(&w, config->upstreams[i].urls.p[j]);
        json_array_end(&w);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_name(&w, STR("routes"));
    json_array(&w);
    for (size_t i = 0; i < config->route_count; i++)
        explain_route(config, i, &w, config->arena);
    json_array_end(&w);
    member(&w, "otherwise", config->old_side);
    json_object_end(&w);
    buf_add_char(out, '\n');
}

size_t gateway_check(const GatewayOptions *options, bool json, Buf *out, Buf *mistakes) {
    Arena *arena CLEANUP(arena_freep) = arena_new(CHECK_BYTES_MAX);
    GatewayConfig config;
    size_t before = mistakes->n, count = 0;
    Err err = arena == NULL ? ERR_NO_MEMORY : gateway_config_read(options, arena, mistakes, &config);
    for (size_t i = before; i < mistakes->n; i++)
        count += mistakes->p[i] == '\n';
    if (err == ERR_OK && json)
        explain_json(&config, out);
    else if (err == ERR_OK)
        explain_text(&config, out);
    else if (count == 0)
        count = 1; /* out of memory */
    return count;
}
