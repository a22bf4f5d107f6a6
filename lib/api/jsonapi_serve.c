/*
 * jsonapi_serve.c - which surface a path belongs to, and what this one answers where it has no route.
 */
#include "api/answer.h"
#include "api/docs_page.h"
#include "api/jsonapi_internal.h"

/* --- documents */

static void serve_document(const ApiRoute *route, Response *res) {
    bool page = route->op == API_OP_DOCS;
    response_header(res, "Content-Type", page ? STR("text/html; charset=utf-8") : STR("application/json"));
    response_header(res, "X-Content-Type-Options", STR("nosniff"));
    if (page)
        response_header(res, "Content-Security-Policy", STR(DOCS_POLICY));
    buf_add(&res->body, page ? str_c(DOCS_PAGE) : route->api->openapi);
    res->status = res->body.err == ERR_OK ? 200 : 503;
}

/* --- the handler --------------------------------------------------------------------------------------------- */

CO_FN static Err serve(ApiCall *call) {
    TRY(api_check_accept(call));
    switch (call->route->op) {
    case API_OP_ROOT:
        return api_serve_root(call);
    case API_OP_LIST:
        return api_serve_list(call);
    case API_OP_CREATE:
        return api_serve_create(call);
    case API_OP_GET:
        return api_serve_get(call);
    case API_OP_UPDATE:
        return api_serve_update(call);
    case API_OP_DESTROY:
        return api_serve_destroy(call);
    case API_OP_RELATED:
        return api_serve_related(call);
    case API_OP_LINKAGE:
        return api_serve_linkage(call);
    case API_OP_LINKAGE_WRITE:
        return api_serve_linkage_write(call);
    case API_OP_ACTION:
        return api_serve_action(call);
    case API_OP_OPENAPI:
    case API_OP_DOCS:
        break;
    }
    return ERR_INTERNAL;
}

CO_FN void api_handler(Request *req, Response *res, void *data) {
    ApiCall *call = ARENA_NEW(req->ctx->arena, ApiCall);
    if (call == NULL) {
        res->status = 503;
        return;
    }
    const ApiRoute *route = req->route->data;
    if (route->op == API_OP_OPENAPI || route->op == API_OP_DOCS) {
        serve_document(route, res);
        return;
    }
    *call = (ApiCall){.req = req, .res = res, .ctx = req->ctx, .app = data, .route = req->route->data};
    Err err = serve(call);
    if (err != ERR_OK)
        api_answer_failure(call, err);
}

/* --- which surface --- */

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
