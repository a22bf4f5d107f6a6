/*
 * coverage.c - matches every recorded exchange against the router.
 *
 * A recording with `raw` bytes counts for the method and path that it notes beside them.
 */
#include "usher/coverage.h"

#include <glob.h>

#include "usher/files.h"
#include "json/json.h"

#define RECORDING_MAX (32 * 1024 * 1024)

static size_t place_of(const Router *router, const Route *wanted) {
    size_t at = 0, place = 0;
    const Route *route;
    while ((route = router_each(router, &at)) != NULL && route != wanted)
        place++;
    return place;
}

static Method method_of(Str text) {
#define IS(name)                                                                                                       \
    if (str_eq_c(text, #name))                                                                                         \
        return METHOD_##name;
    HTTP_METHODS(IS)
#undef IS
    return METHOD_OTHER;
}

static void count_exchange(Ctx *ctx, const Coverage *coverage, size_t *counts, const Json *request) {
    Str target = json_text(json_member(request, "path"));
    Request req = {.ctx = ctx, .method_text = json_text(json_member(request, "method")), .target = target};
    req.method = method_of(req.method_text);
    req.query = target;
    req.path = str_cut(&req.query, '?');
    Str allow;
    if (req.path.p != NULL && router_match(coverage->router, &req, &allow) == ROUTE_FOUND)
        counts[place_of(coverage->router, req.route)]++;
}

static Err read_recording(Ctx *ctx, Coverage *coverage, const char *path, size_t n_routes) {
    Str text;
    Json *recording;
    TRY(file_read(ctx, path, RECORDING_MAX, &text));
    TRY(json_parse(text, ctx->arena, JSON_DUPLICATES_REJECT, &recording, NULL));
    size_t *counts = ARENA_ARRAY(ctx->arena, size_t, n_routes + 1);
    if (counts == NULL)
        return ERR_NO_MEMORY;
    const Json *exchanges = json_member(recording, "exchanges");
    for (const Json *exchange = exchanges == NULL ? NULL : exchanges->first; exchange != NULL;
         exchange = exchange->next)
        count_exchange(ctx, coverage, counts, json_member(exchange, "request"));
    coverage->names[coverage->n] = json_text(json_member(recording, "name"));
    coverage->counts[coverage->n++] = counts;
    return ERR_OK;
}

Err coverage_read(Ctx *ctx, const Router *router, const char *folder, Coverage *ret) {
    Str pattern = arena_printf(ctx->arena, "%s/http/*.json", folder);
    if (pattern.p == NULL)
        return ERR_NO_MEMORY;
    glob_t found CLEANUP(globfree) = {0};
    if (glob(pattern.p, 0, NULL, &found) != 0)
        return ctx_problem(ctx, ERR_NOT_FOUND, NULL, "no recordings at %s", pattern.p);
    Coverage coverage = {.router = router,
                         .names = ARENA_ARRAY(ctx->arena, Str, found.gl_pathc),
                         .counts = ARENA_ARRAY(ctx->arena, size_t *, found.gl_pathc)};
    if (coverage.names == NULL || coverage.counts == NULL)
        return ERR_NO_MEMORY;
    size_t n_routes = place_of(router, NULL);
    for (size_t i = 0; i < found.gl_pathc; i++)
        TRY(read_recording(ctx, &coverage, found.gl_pathv[i], n_routes));
    *ret = coverage;
    return ERR_OK;
}

size_t coverage_count(const Coverage *coverage, size_t recording, const Route *route) {
    return coverage->counts[recording][place_of(coverage->router, route)];
}
