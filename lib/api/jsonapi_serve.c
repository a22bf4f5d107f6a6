/*
 * jsonapi_serve.c - which surface a path belongs to, and what this one answers where it has no route.
 */
#include "api/answer.h"
#include "api/jsonapi_internal.h"

static bool is_under(Str path, Str prefix) {
    return str_eq_nocase(str_slice(path, 0, prefix.n), prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

/* HEAD is served as GET (RFC 9110 §9.3.2); the server leaves the body out. */
static RouteOutcome match(const CompatApp *app, Request *req, Str *allow) {
    bool head = req->method == METHOD_HEAD;
    Str text = req->method_text;
    if (head) {
        req->method = METHOD_GET;
        req->method_text = STR("GET");
    }
    RouteOutcome outcome = router_match(app->router, req, allow);
    if (head) {
        req->method = METHOD_HEAD;
        req->method_text = text;
    }
    return outcome;
}

static void answer_unrouted(const CompatApp *app, Request *req, Response *res, RouteOutcome outcome) {
    ApiCall *call = ARENA_NEW(req->ctx->arena, ApiCall);
    ApiRoute *route = ARENA_NEW(req->ctx->arena, ApiRoute);
    int status = outcome == ROUTE_NO_METHOD ? 405 : 404;
    if (call == NULL || route == NULL) {
        res->status = 503;
        return;
    }
    *call = (ApiCall){.req = req, .res = res, .ctx = req->ctx, .app = app, .route = route};
    Err err = status == 405 ? api_error(call, 405, "method-not-allowed", "This place does not take that method.")
                            : api_error(call, 404, "not-found", "There is nothing at this path.");
    api_answer_failure(call, err);
}

CO_FN void surfaces_serve(Request *req, Response *res, void *data) {
    const CompatApp *app = data;
    bool documents = is_under(req->path, STR("/openapi.json")) || is_under(req->path, STR("/docs"));
    if (!documents && !is_under(req->path, STR("/api"))) {
        compat_serve(req, res, data);
        return;
    }
    Str allow = {0};
    RouteOutcome outcome = match(app, req, &allow);
    if (outcome == ROUTE_FOUND) {
        req->route->handler(req, res, data);
        return;
    }
    if (outcome == ROUTE_NO_METHOD)
        response_header(res, "Allow", allow);
    if (documents)
        answer_problem(req->ctx, res, outcome == ROUTE_NO_METHOD ? 405 : 404, (Str){0});
    else
        answer_unrouted(app, req, res, outcome);
}
