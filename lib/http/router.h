/*
 * router.h - which route a request belongs to.
 *
 * Routes are const tables beside each context. A pattern is literal segments and {placeholders}:
 * "/events/{id}/tickets". Matching ignores ASCII case and one trailing slash (RouterOptions). First the path decides,
 * then the method: a known path with another method is 405 with Allow; a placeholder declared {id:id} whose text is no
 * Id is 404, but only after the method.
 */
#pragma once
#include "http/http.h"

typedef struct Route {
    Method method;
    const char *pattern;
    const char *name;    /* "events.read": context.action; for logs, metrics and `usher routes` */
    const char *context; /* "events" */
    const char *action;  /* "read" */
    const char *surface; /* "compat" */
    Handler handler;
    const void *data;          /* given to the handler's surface: its declaration */
    const char *const *quirks; /* names of the quirks that shape it; NULL-ended; may be NULL */
} Route;

typedef struct Router Router;

typedef struct RouterOptions {
    bool ignore_case;
    bool trailing_slash;
    bool method_ignores_case; /* "get" works, as it did in the old system */
} RouterOptions;

/** Builds a matcher over tables (each ended by pattern == NULL). ERR_INVALID: two routes claim one method and path, or
 *  a pattern is malformed; the problem says which. */
MUST_USE Err router_new(Ctx *ctx, Arena *arena, const Route *const *tables, size_t n_tables, RouterOptions options,
                        Router **ret);

typedef enum RouteOutcome { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD, ROUTE_BAD_ID } RouteOutcome;
/** Sets req->route and req->path_values when found; *allow ("GET, POST", static to the router) when the method is
 *  wrong. */
RouteOutcome router_match(const Router *router, Request *req, Str *allow);
/** Walks all routes in table order: *at from 0. NULL at the end. */
const Route *router_each(const Router *router, size_t *at);
