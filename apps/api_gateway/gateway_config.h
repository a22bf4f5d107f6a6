/*
 * gateway_config.h - what the routes file says, read and checked, before anything of it runs. Private to api_gateway.
 */
#pragma once
#include "api_gateway/api_gateway.h"
#include "api_gateway/rate_limit.h"
#include "http/forward.h"
#include "json/json.h"

typedef struct ConfigUpstream {
    const char *setting; /* that it was made of; NULL: it stands in the file */
    Str name;
    Slice(Str) urls;
    Str check;
    UpstreamLimits limits;
    JsonPosition at;
} ConfigUpstream;

typedef struct ConfigRoute {
    Str name;
    Slice(Str) methods; /* none: any */
    Str path;
    Str host; /* absent: any */
    Str context, group;
    Str old_side, new_side; /* names of upstreams; absent: the configuration's */
    Str always;             /* "old" or "new": no decision is asked for; absent: asked */
    RateRule rate;
    bool own; /* of usher's own contexts, not of the file */
    JsonPosition at;
} ConfigRoute;

typedef struct GatewayConfig {
    Arena *arena;
    Str file;
    ConfigUpstream *upstreams;
    size_t upstream_count;
    ConfigRoute *routes;
    size_t route_count;
    Str old_side, new_side;
    Slice(Str) trusted_texts, upgrades, forwarded;
    CidrList trusted;
    RateRule rate; /* per client, over all routes */
    bool without_contexts;
    size_t copy_max;
} GatewayConfig;

enum { CONFIG_UPSTREAMS_MAX = 64, CONFIG_ROUTES_MAX = 2048, CONFIG_LIST_MAX = 256 };

/** Reads options' file (absent: an empty one), adds LEGACY_URL and NEW_URL and the contexts' routes, checks all of it.
 *  Every mistake is a line "file:line:column: what; how to mend it" in `mistakes`; ERR_INVALID when there is one. */
MUST_USE Err gateway_config_read(const GatewayOptions *options, Arena *arena, Buf *mistakes, GatewayConfig *ret);
/** One mistake; at may be NULL. */
void config_mistake(Buf *mistakes, Str file, const JsonPosition *at, const char *format, ...) PRINTF_LIKE(4, 5);

/** Path patterns: words, {names}, and ** at the end for whatever follows. NULL, or what is wrong with it (static
 *  text). */
const char *pattern_check(Str pattern);
