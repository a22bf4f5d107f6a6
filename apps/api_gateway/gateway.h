/*
 * gateway.h - one gateway worker: routes, which side answers each request, and who watches.
 *
 *   Request → route → hooks.decide (which side) → lib/http's proxy → the side's answer, unchanged → hooks.finished
 *
 * A route names its context ("events") and group ("reads" or "writes"): what is switched together. Without a decision,
 * and for whatever no route knows, the old side answers.
 */
#pragma once
#include "http/router.h"
#include "http/upstream.h"

typedef enum GatewaySide { SIDE_OLD, SIDE_NEW } GatewaySide;
/** "legacy" or "new": the value of usher.backend. */
const char *gateway_side_name(GatewaySide side);

typedef struct GatewayRoute {
    const Route
        *route;        /* pattern, name ("events.get"), context, method (METHOD_OTHER: any or several); lives as long as
                          the worker */
    const char *group; /* "reads" or "writes"; NULL: neither, never switched */
    Str host;          /* absent: any */
    Upstream *sides[2]; /* by GatewaySide; NULL: not there */
    bool fixed;         /* `always` answers, no decision is asked for */
    GatewaySide always;
    const struct RoutePlan *plan; /* private */
} GatewayRoute;

/* What decide says of one request; zeroed before the call, but for the client: the old side, no copy, nothing added. */
typedef struct GatewayDecision {
    Str client; /* told to decide: as in GatewayExchange */
    GatewaySide side;
    bool copy;         /* keep the request's body and the answer, each up to hooks.copy_max bytes, for finished */
    int answer_status; /* not 0: nobody is asked; this is answered (410, 503), with problem+json */
    Str answer_head;   /* lines "Name: value\r\n" added to the client's answer; lives as long as the request */
    void *data;        /* the hook's own */
} GatewayDecision;

/* One exchange that is over. Borrowed until finished returns. */
typedef struct GatewayExchange {
    const Request *req;        /* the head as the client sent it */
    const GatewayRoute *route; /* NULL: no route knows it */
    const GatewayDecision *decision;
    Upstream *const *sides;  /* by GatewaySide: who answers this route; NULL in it: not there */
    Str client;              /* textual address behind the proxies that are trusted */
    int status;              /* the side's; 0: no whole answer came (connection, time-out, reset, truncated) */
    UpstreamFailure failure; /* why not */
    bool client_left;        /* before it had the whole answer */
    const Header *headers;   /* of the side's answer, all of them */
    size_t header_count;
    Str request_body, body; /* absent: not copied, or longer than copy_max (then *_cut) */
    bool request_cut, body_cut;
    int64_t began_ns, answered_ns, ended_ns; /* clock_mono_ns: request's head came; answer's head came; all sent */
} GatewayExchange;

typedef struct GatewayHooks {
    /** May suspend: writes wait while a switch pauses. */
    CO_FN void (*decide)(Request *req, const GatewayRoute *route, GatewayDecision *ret, void *data);
    /** Exactly once for each decide, also when the client went or the side failed; when the last byte has been given
     *  out. May not suspend, and should only copy and queue: the client's connection waits for it. */
    void (*finished)(const GatewayExchange *exchange, void *data);
    void *data;
    size_t copy_max; /* bytes of each body; 65536 */
} GatewayHooks;

typedef struct Gateway Gateway;

/** Hooks stay the caller's; NULL: all goes to the old side. Before the first request. */
void gateway_hook(Gateway *gateway, const GatewayHooks *hooks);
/** Upstreams are told of in this worker's metrics from now on. ERR_NO_MEMORY. */
MUST_USE Err gateway_measure(Gateway *gateway);
/** The side's upstream for a request that no route knows, or of `route`; NULL: that side is not there. */
Upstream *gateway_upstream(const Gateway *gateway, const GatewayRoute *route, GatewaySide side);
/** The upstream of that name, as now configured, or NULL. The next reload may free it. */
Upstream *gateway_upstream_named(const Gateway *gateway, Str name);
/** The bytes that the gateway sends to a side for this request: target, fields rewritten (hop-by-hop ones gone, Via,
 *  Forwarded, X-Forwarded-*, traceparent), and the framing of a body of that length (absent body: none). ctx: whose
 *  trace it belongs to. For mirrors. ERR_NO_MEMORY. */
MUST_USE Err gateway_request_head(const Gateway *gateway, Ctx *ctx, const Request *req, Str body, Str *ret);
/** The routes in use, in the order in which they are tried; they may change with the next reload. */
const GatewayRoute *gateway_route_each(const Gateway *gateway, size_t *at);
