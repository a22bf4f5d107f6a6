/*
 * gateway_impl.h - one gateway worker from inside. Private to api_gateway's proxy half.
 *
 * A request holds the table (configuration, routes, upstreams) that it began with, so that a reload changes nothing
 * under its feet; the last one to go frees it.
 */
#pragma once
#include "api_gateway/access_log.h"
#include "api_gateway/gateway_config.h"
#include "api_gateway/upstream_metrics.h"
#include "base/map.h"

enum { SEGMENTS_MAX = 32 };

typedef struct RoutePlan {
    GatewayRoute route;
    uint32_t methods;  /* bit per Method; 0: any */
    Slice(Str) others; /* methods without a number */
    Str *segments;     /* absent text: a placeholder */
    size_t segment_count;
    bool rest; /* ends with ** */
    RateRule rate;
} RoutePlan;

typedef struct GatewayTable {
    int refs;
    Arena *arena;
    GatewayConfig config;
    Upstream **upstreams; /* by index of config.upstreams */
    RoutePlan *plans;
    Upstream *sides[2]; /* of what no route knows */
    ForwardRules rules;
} GatewayTable;

struct GatewayShared {
    RateTable *rates;
};

struct Gateway {
    Loop *loop;
    Arena *arena; /* as long as the worker: names that metrics know by their address */
    Map *names;   /* Route by its text */
    GatewayTable *table;
    const GatewayHooks *hooks;
    GatewayShared *shared;
    bool own_shared;
    AccessLog *log;
    UpstreamMetrics *metrics; /* NULL: not a worker that serves */
    bool traces;
};

/* gateway_routes.c */
/** Compiles the configuration's routes into table->plans, in the order in which they are tried. */
MUST_USE Err plans_compile(Gateway *gateway, GatewayTable *table);
/** The upstream of that name, or NULL. */
Upstream *table_upstream(const GatewayTable *table, Str name);
/** The first route that fits, or NULL. */
const RoutePlan *plan_find(const GatewayTable *table, const Request *req);

/* gateway_answer.c */
/** What the gateway itself says: problem+json, as quiet as the old system's own errors. */
void gateway_problem(Request *req, Response *res, int status);
/** OPTIONS and TRACE with Max-Forwards (RFC 9110 §7.6.2): true when this is where they end. */
bool gateway_ends_here(const Request *req, Response *res);

/* gateway.c */
void table_unref(GatewayTable *table);
